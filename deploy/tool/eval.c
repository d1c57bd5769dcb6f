/* signpost eval: what a saved model makes of test data, class by class.
 *
 * The run's job.yaml says what model it is and how its data are read; model.safetensors has the weights.
 */
#include "deploy/tool/eval.h"

#include "common/cli.h"
#include "deploy/tool/eval_run.h"
#include "deploy/tool/tool.h"
#include "worker/train/mapping.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 1200
#define FILE_BYTES (PATH_BYTES + 32)
#define BATCH_MAX 1000000

enum { KEY_DATA = 256, KEY_BATCH };

struct arguments {
    const char *run, *data;
    struct sp_sets sets;
    uint32_t batch;
    bool json;
};

static uint32_t parse_batch(const char *text, struct argp_state *state)
{
    char *end;
    unsigned long batch = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || batch < 1 || batch > BATCH_MAX)
        argp_error(state, "invalid --batch -- '%s': a number from 1 to %d", text, BATCH_MAX);
    return (uint32_t)batch;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case KEY_DATA:
        arguments->data = value;
        break;
    case 's':
        sp_sets_add(&arguments->sets, value, state);
        break;
    case KEY_BATCH:
        arguments->batch = parse_batch(value, state);
        break;
    case 'j':
        arguments->json = true;
        break;
    case ARGP_KEY_ARG:
        if (arguments->run != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        arguments->run = value;
        break;
    case ARGP_KEY_END:
        if (arguments->run == NULL)
            argp_error(state, "name the run: its folder, or its job file");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* --- the run ---------------------------------------------------------------------------------------------------------
 */

struct run {
    char folder[PATH_BYTES];
    char job[FILE_BYTES]; /* the job file */
    char model[FILE_BYTES];
};

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int find_run(const char *argument, struct run *run)
{
    struct stat status;
    bool is_file = stat(argument, &status) == 0 && !S_ISDIR(status.st_mode);
    int rc = tool_folder(argument, run->folder, sizeof run->folder);

    if (rc != SP_EXIT_DONE)
        return rc;
    if (is_file && !exists(run->folder)) {
        (void)fprintf(stderr, TOOL ": there is no run of %s here: no folder %s; name the run's folder\n", argument,
                      run->folder);
        return SP_EXIT_USAGE;
    }
    (void)snprintf(run->job, sizeof run->job, "%s/job.yaml", run->folder);
    (void)snprintf(run->model, sizeof run->model, "%s/model.safetensors", run->folder);
    /* A run of an earlier version has no job.yaml; the job file that was named must do. */
    if (is_file && !exists(run->job))
        (void)snprintf(run->job, sizeof run->job, "%s", argument);
    return SP_EXIT_DONE;
}

/* Why there is no model: the run goes on, or it ended without one. */
static int refuse_unfinished(const struct run *run)
{
    struct sp_error error = {0};
    json_t *answer = tool_ask(run->folder, "status", &error);
    double round = json_number_value(json_object_get(answer, "round"));
    double rounds = json_number_value(json_object_get(answer, "rounds"));

    if (answer != NULL)
        (void)fprintf(stderr,
                      TOOL ": %s has no model.safetensors yet: the run is at round %.0f of %.0f, and its model is "
                           "written at its end; wait for that, or end it now with 'signpost stop %s'\n",
                      run->folder, round, rounds, run->folder);
    else
        (void)fprintf(stderr,
                      TOOL ": %s has no model.safetensors: no server runs there, so that the run ended before it had "
                           "a model; 'signpost run %s' makes it again\n",
                      run->folder, run->job);
    json_decref(answer);
    return SP_EXIT_FAILED;
}

static int check_run(const struct run *run)
{
    bool model = exists(run->model);

    if (!exists(run->job) && !model) {
        (void)fprintf(stderr, TOOL ": %s is not a run's folder: it has neither job.yaml nor model.safetensors\n",
                      run->folder);
        return SP_EXIT_USAGE;
    }
    if (!exists(run->job)) {
        (void)fprintf(stderr,
                      TOOL ": %s has no job.yaml, which says what model it is: an earlier version made it; give the "
                           "job file that it was made with in place of the folder, which is then runs/<job>\n",
                      run->folder);
        return SP_EXIT_USAGE;
    }
    return model ? SP_EXIT_DONE : refuse_unfinished(run);
}

/* --- the command -----------------------------------------------------------------------------------------------------
 */

static int print(const struct eval_report *report, bool json, struct sp_error *error)
{
    int rc = SP_OK;

    if (json)
        rc = eval_print_json(stdout, report, error);
    else
        eval_print_text(stdout, report);
    if (rc == SP_OK && (fflush(stdout) != 0 || ferror(stdout) != 0))
        rc = sp_error_set(error, SP_E_IO, "cannot print the result: %s", strerror(errno));
    return rc;
}

static int evaluate(const struct arguments *arguments, const struct run *run, const struct sp_job *job)
{
    static struct eval_report report;
    const struct eval_options options = {.job = job,
                                         .model = run->model,
                                         .data = arguments->data,
                                         .batch = arguments->batch,
                                         .progress = isatty(STDERR_FILENO) != 0};
    struct sp_error error = {0};
    int rc;

    report.run = run->folder;
    if (eval_find_data(&options, &report, &error) != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        return SP_EXIT_USAGE;
    }
    rc = eval_run(&options, &report, &error);
    if (rc == SP_OK)
        rc = print(&report, arguments->json, &error);
    eval_finish(&report);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(TOOL, error.text);
}

int tool_eval(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"data", KEY_DATA, "FILES", 0,
         "Evaluate on these instead of the job's test data: IMAGES,LABELS of data.format idx, else a file or pattern",
         0},
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job, e.g. model.threads=4; repeatable", 0},
        {"batch", KEY_BATCH, "N", 0, "Examples that are computed together (default: as many as the workers did)", 0},
        {"json", 'j', NULL, 0, "Print the result as JSON", 0},
        {0}};
    static const struct argp argp = {options,
                                     parse,
                                     "RUN",
                                     "Evaluates a run's model on test data: accuracy, loss, figures for each class, "
                                     "and the confusion matrix. RUN is "
                                     "the run's folder (runs/<job>) or its job file." SP_CLI_EXAMPLE
                                     "signpost eval runs/digits --json",
                                     NULL,
                                     NULL,
                                     NULL};
    static struct arguments arguments = {.batch = 0};
    static struct sp_job job;
    static struct run run;
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    sp_mapping_guard(TOOL);
    rc = find_run(arguments.run, &run);
    if (rc == SP_EXIT_DONE)
        rc = check_run(&run);
    if (rc == SP_EXIT_DONE)
        rc = sp_cli_load(TOOL, run.job, &arguments.sets, &job);
    return rc == SP_EXIT_DONE ? evaluate(&arguments, &run, &job) : rc;
}
