/* signpost plot: runs beside each other in a picture, from their history.jsonl.
 *
 * gnuplot works in a folder of its own beside the picture, which takes the picture's name when it is whole.
 */
#include "deploy/tool/plot.h"

#include "common/cli.h"
#include "deploy/tool/gnuplot.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT "plot.gp"
#define PICTURE "picture"
#define LOG "gnuplot.log"

static enum plot_axis parse_axis(const char *text, struct argp_state *state)
{
    static const char *const names[PLOT_AXES] = {"round", "epoch", "seconds", "bytes"};

    for (int i = 0; i < PLOT_AXES; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum plot_axis)i;
    argp_error(state, "invalid --x -- '%s': use round, epoch, seconds or bytes", text);
    return PLOT_EPOCH;
}

static void check(struct plot *plot, struct argp_state *state)
{
    const char *ending = plot->out != NULL ? strrchr(plot->out, '.') : NULL;

    if (plot->runs_count == 0)
        argp_error(state, "name the runs: their folders, or their job files");
    if (plot->out == NULL)
        argp_error(state, "-o FILE is required");
    plot->png = ending != NULL && strcmp(ending, ".png") == 0;
    if (ending == NULL || (!plot->png && strcmp(ending, ".svg") != 0))
        argp_error(state, "invalid -o -- '%s': the file's name must end with .svg or .png", plot->out);
    if (plot->out != NULL && strlen(plot->out) + 32 > PLOT_PATH_BYTES)
        argp_error(state, "invalid -o: the name is longer than %d bytes", PLOT_PATH_BYTES - 32);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct plot *plot = state->input;

    switch (key) {
    case 'o':
        plot->out = value;
        break;
    case 'x':
        plot->axis = parse_axis(value, state);
        break;
    case ARGP_KEY_ARG:
        if (plot->runs_count == PLOT_RUNS_MAX)
            argp_error(state, "more than %d runs, which cannot be told apart in one picture", PLOT_RUNS_MAX);
        plot->runs[plot->runs_count++].argument = value;
        break;
    case ARGP_KEY_END:
        check(plot, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"out", 'o', "FILE", 0, "The picture (required); its name ends with .svg or .png", 0},
    {"x", 'x', "WHAT", 0, "round, epoch (default), seconds or bytes: what runs along the picture", 0},
    {0}};

/* --- drawing ---------------------------------------------------------------------------------------------------------
 */

static int fail(struct sp_error *error, const char *verb, const char *what)
{
    return sp_error_set(error, errno == ENOMEM ? SP_E_NOMEM : SP_E_IO, "cannot %s %s: %s", verb, what, strerror(errno));
}

static int write_script(const struct plot *plot, struct sp_error *error)
{
    FILE *file = fopen(SCRIPT, "we");
    bool failed;

    if (file == NULL)
        return fail(error, "write", "gnuplot's script");
    plot_script(file, plot, PICTURE);
    failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return fail(error, "write", "gnuplot's script");
    return SP_OK;
}

/* In the working folder, which is made empty again but for the picture. */
static int draw(const struct plot *plot, struct sp_error *error)
{
    static const char *const scripts[] = {SCRIPT, NULL};
    struct stat status;
    int rc = write_script(plot, error);

    if (rc == SP_OK)
        rc = gnuplot_run(scripts, LOG, error);
    if (rc == SP_E_MISSING)
        rc = sp_error_set(error, SP_E_MISSING,
                          "there is no gnuplot, which draws the picture: install the package " GNUPLOT_PACKAGE);
    if (rc == SP_OK && (stat(PICTURE, &status) != 0 || status.st_size == 0))
        rc = sp_error_set(error, SP_E_IO, "gnuplot drew nothing");
    (void)unlink(SCRIPT);
    (void)unlink(LOG);
    if (rc != SP_OK)
        (void)unlink(PICTURE);
    return rc;
}

static int draw_in(const struct plot *plot, const char *work, struct sp_error *error)
{
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char picture[PLOT_PATH_BYTES + 16];
    int rc = SP_OK;

    if (here < 0)
        return fail(error, "open", "the folder that we are in");
    if (chdir(work) != 0)
        rc = fail(error, "enter", work);
    if (rc == SP_OK)
        rc = draw(plot, error);
    if (fchdir(here) != 0 && rc == SP_OK)
        rc = fail(error, "return to", "the folder that we were in");
    (void)close(here);
    (void)snprintf(picture, sizeof picture, "%s/" PICTURE, work);
    if (rc == SP_OK && rename(picture, plot->out) != 0) {
        rc = fail(error, "write", plot->out);
        (void)unlink(picture);
    }
    return rc;
}

static int make_picture(const struct plot *plot, struct sp_error *error)
{
    char work[PLOT_PATH_BYTES];
    int rc;

    (void)snprintf(work, sizeof work, "%s.XXXXXX", plot->out);
    if (mkdtemp(work) == NULL)
        return fail(error, "write", plot->out);
    rc = draw_in(plot, work, error);
    (void)rmdir(work);
    return rc;
}

static int read_runs(struct plot *plot)
{
    struct sp_error error = {0};
    int rc = SP_EXIT_DONE;

    for (size_t i = 0; i < plot->runs_count && rc == SP_EXIT_DONE; i++) {
        struct plot_run *run = &plot->runs[i];

        rc = tool_folder(run->argument, run->folder, sizeof run->folder);
        if (rc == SP_EXIT_DONE && plot_read(run, &error) != SP_OK)
            rc = sp_cli_fail(TOOL, error.text);
    }
    if (rc == SP_EXIT_DONE && plot_name(plot, &error) != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        rc = SP_EXIT_USAGE;
    }
    return rc;
}

int tool_plot(int argc, char **argv)
{
    static const struct argp argp = {options,
                                     parse,
                                     "RUN...",
                                     "Compares runs in a picture, from their history.jsonl: training loss, test "
                                     "accuracy, rates, and bytes. RUN is a run's folder (runs/<job>) or its job file; "
                                     "it may still be going on." SP_CLI_EXAMPLE
                                     "signpost plot runs/digits runs/digits-signs -o compared.svg --x bytes",
                                     NULL,
                                     NULL,
                                     NULL};
    static struct plot plot = {.axis = PLOT_EPOCH};
    struct sp_error error = {0};
    int rc = argp_parse(&argp, argc, argv, 0, NULL, &plot);

    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    rc = read_runs(&plot);
    if (rc == SP_EXIT_DONE && make_picture(&plot, &error) != SP_OK)
        rc = sp_cli_fail(TOOL, error.text);
    if (rc == SP_EXIT_DONE)
        (void)printf("%s: %zu run%s\n", plot.out, plot.runs_count, plot.runs_count == 1 ? "" : "s");
    for (size_t i = 0; i < plot.runs_count; i++)
        free(plot.runs[i].points);
    return rc;
}
