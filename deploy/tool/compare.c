/* signpost compare: a grid of jobs on this machine, some seeds each, and a table of what came out. */
#include "deploy/tool/compare.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FIXED_SETS 3 /* of every run: its seed and its ports */
#define SEEDS_DEFAULT 3

enum { KEY_SEEDS = 256, KEY_FIRST_SEED, KEY_TARGET, KEY_NO_PLOTS };

/* --- arguments -------------------------------------------------------------------------------------------------------
 */

static uint64_t whole_number(const char *option, const char *text, uint64_t least, uint64_t most,
                             struct argp_state *state)
{
    unsigned long long value;

    errno = 0;
    value = strtoull(text, NULL, 10);
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' || errno != 0 || value < least || value > most)
        argp_error(state, "invalid %s -- '%s': it must be a whole number from %llu to %llu", option, text,
                   (unsigned long long)least, (unsigned long long)most);
    return value;
}

static double accuracy(const char *text, struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value > 0.0 && value <= 1.0))
        argp_error(state, "invalid --target -- '%s': it must be more than 0 and at most 1, such as 0.95", text);
    return value;
}

static void take(struct compare *compare, int key, const char *value, struct argp_state *state)
{
    struct sp_error error = {0};
    int rc;

    if (key == 's')
        rc = compare_grid_may_set(value, &error);
    else
        rc = (key == 'v' ? compare_grid_vary : compare_grid_case)(&compare->grid, value, &error);
    if (rc == SP_E_NOMEM)
        exit(sp_cli_fail(TOOL, error.text));
    if (rc != SP_OK)
        argp_error(state, "%s", error.text);
    if (key == 's')
        sp_sets_add(&compare->sets, value, state);
}

static void take_file(struct compare *compare, const char *file, struct argp_state *state)
{
    if (compare->file != NULL)
        argp_error(state, "unexpected argument -- '%s'", file);
    compare->file = file;
}

static void check_arguments(struct compare *compare, struct argp_state *state)
{
    if (compare->file == NULL)
        argp_error(state, "name the job file");
    if (compare->first_seed > UINT64_MAX - compare->seeds)
        argp_error(state, "the last of these seeds would be too large");
    if (compare->sets.count + COMPARE_SETS_MAX + FIXED_SETS > SP_SETS_MAX)
        argp_error(state, "more than %d times --set", SP_SETS_MAX - COMPARE_SETS_MAX - FIXED_SETS);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct compare *compare = state->input;

    switch (key) {
    case 'v':
    case 'c':
    case 's':
        take(compare, key, value, state);
        break;
    case KEY_SEEDS:
        compare->seeds = (uint32_t)whole_number("--seeds", value, 1, COMPARE_SEEDS_MAX, state);
        break;
    case KEY_FIRST_SEED:
        compare->first_seed = whole_number("--first-seed", value, 0, UINT64_MAX, state);
        break;
    case 'j':
        compare->jobs = (uint32_t)whole_number("--jobs", value, 1, COMPARE_JOBS_MAX, state);
        break;
    case KEY_TARGET:
        compare->target = accuracy(value, state);
        break;
    case KEY_NO_PLOTS:
        compare->no_plots = true;
        break;
    case 'o':
        compare->wanted = value;
        break;
    case ARGP_KEY_ARG:
        take_file(compare, value, state);
        break;
    case ARGP_KEY_END:
        check_arguments(compare, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"vary", 'v', "KEY=V1,V2,...", 0, "A key and the values to try; several make a grid; repeatable", 0},
    {"case", 'c', "NAME: KEY=VALUE ...", 0,
     "A row of the table that sets several keys at once, or none; repeatable; with --vary each case has the whole grid",
     0},
    {"seeds", KEY_SEEDS, "N", 0, "How many seeds each row runs with; default 3", 0},
    {"first-seed", KEY_FIRST_SEED, "S", 0, "The first of them; default 1", 0},
    {"jobs", 'j', "K", 0, "Jobs at once; default: processors divided by a job's processes", 0},
    {"target", KEY_TARGET, "ACCURACY", 0, "Also say after how many rounds this test accuracy was reached, e.g. 0.95",
     0},
    {"out", 'o', "DIR", 0, "Folder of the comparison; default runs/compare-<job>", 0},
    {"no-plots", KEY_NO_PLOTS, NULL, 0, "Only the tables", 0},
    {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file in all rows; repeatable", 0},
    {0}};

/* --- the folder ------------------------------------------------------------------------------------------------------
 */

/* Goes to the comparison's folder, so that the paths in it stay short enough for a server's socket wherever it is. */
static int enter_folder(struct compare *compare, struct sp_error *error)
{
    char here[PATH_MAX] = "", made[128];
    bool rooted = compare->file[0] == '/';

    if (!rooted && getcwd(here, sizeof here) == NULL)
        return compare_io_error(error, "find", "the folder that we are in");
    if (asprintf(&compare->absolute, "%s%s%s", here, rooted ? "" : "/", compare->file) < 0) {
        compare->absolute = NULL;
        return sp_error_set(error, SP_E_NOMEM, "no memory for the job file's path");
    }
    if (strlen(compare->absolute) >= SP_STRING_BYTES)
        return sp_error_set(error, SP_E_RANGE, "the job file's path from the root is longer than %d bytes",
                            SP_STRING_BYTES - 1);
    (void)snprintf(made, sizeof made, "runs/compare-%s", compare->job);
    compare->out = strdup(compare->wanted != NULL ? compare->wanted : made);
    if (compare->out == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the folder's name");
    if (compare_make_folder(compare->out, error) != SP_OK)
        return error->code;
    return chdir(compare->out) == 0 ? SP_OK : compare_io_error(error, "go to", compare->out);
}

/* The lock is given back when the process ends. */
static int lock_folder(const struct compare *compare, struct sp_error *error)
{
    int fd = open("lock", O_CREAT | O_RDWR | O_CLOEXEC, 0666);

    if (fd < 0)
        return compare_io_error(error, "open the lock in", compare->out);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return SP_OK;
    if (errno != EWOULDBLOCK)
        (void)compare_io_error(error, "lock", compare->out);
    else
        (void)sp_error_set(error, SP_E_IO,
                           "another signpost compare works in %s now; wait for its end, or choose another --out",
                           compare->out);
    (void)close(fd);
    return error->code;
}

/* Finds the runs that are there already, and says how many. */
static int look_for_runs(struct compare *compare, struct sp_error *error)
{
    char why[SP_ERROR_TEXT_BYTES], first[2 * SP_ERROR_TEXT_BYTES] = "";
    size_t there = 0, again = 0;

    for (size_t i = 0; i < compare->runs_count; i++) {
        struct compare_run *run = &compare->runs[i];

        if (compare_look(compare, run, why, sizeof why, error) != SP_OK)
            return error->code;
        there += run->state == COMPARE_DONE;
        again += why[0] != '\0';
        if (again == 1 && first[0] == '\0')
            (void)snprintf(first, sizeof first, "%s seed %llu: %s", compare->grid.rows[run->row].name,
                           (unsigned long long)run->seed, why);
    }
    if (there == compare->runs_count)
        (void)fprintf(stderr, TOOL ": all runs (%zu) are there; only the tables%s are made anew\n", there,
                      compare->no_plots ? "" : " and plots");
    else
        (void)fprintf(stderr, TOOL ": rows: %zu, seeds: %u, runs: %zu; %zu of them are there already; %u at once\n",
                      compare->grid.rows_count, compare->seeds, compare->runs_count, there, compare->jobs);
    if (again > 0)
        (void)fprintf(stderr, TOOL ": %zu %s made again; %s%s\n", again, again == 1 ? "is" : "are",
                      again == 1 ? "" : "the first: ", first);
    return SP_OK;
}

static int make_all(struct compare *compare)
{
    struct sp_error error = {0};
    int rc;

    if (enter_folder(compare, &error) != SP_OK || lock_folder(compare, &error) != SP_OK ||
        look_for_runs(compare, &error) != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    rc = compare_run_all(compare);
    for (size_t i = 0; i < compare->runs_count; i++)
        if (compare->runs[i].state == COMPARE_WAITING)
            return rc;
    compare_sum_up(compare);
    if (compare_csv(compare, &error) != SP_OK || compare_table(compare, &error) != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    if (!compare->no_plots && compare_plots(compare, &error) != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    return rc;
}

static void finish(struct compare *compare)
{
    for (size_t i = 0; compare->settings != NULL && i < compare->grid.rows_count; i++)
        free(compare->settings[i]);
    for (size_t i = 0; compare->runs != NULL && i < compare->runs_count; i++)
        free(compare->runs[i].why);
    free(compare->settings);
    free(compare->runs);
    free(compare->stats);
    free(compare->absolute);
    free(compare->out);
    compare_grid_finish(&compare->grid);
}

int tool_compare(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "JOB.yaml",
        "Runs a job on this machine with several settings and seeds, and makes a table of the results (mean and "
        "standard "
        "deviation) and plots. What was made before is not made again: the same command goes on where it was "
        "stopped." SP_CLI_EXAMPLE "signpost compare configs/digits.yaml --vary workers=1,4,16 --seeds 5",
        NULL,
        NULL,
        NULL};
    static struct compare compare = {.seeds = SEEDS_DEFAULT, .first_seed = 1};
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &compare);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    rc = compare_load_rows(&compare);
    if (rc == SP_EXIT_DONE)
        rc = compare_plan_runs(&compare);
    if (rc == SP_EXIT_DONE)
        rc = make_all(&compare);
    finish(&compare);
    return rc;
}
