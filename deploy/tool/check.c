/* signpost check: what a job file means, before anything runs; and whether its server would let a worker in. */
#include "deploy/tool/check.h"
#include "common/cli.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct arguments {
    const char *file;
    const char *server; /* NULL: the job's */
    bool connects, awaits_server;
    struct sp_sets sets;
};

enum { KEY_KEYS = 256, KEY_CONNECT };

/* After --connect without a value comes its server, or the job file. */
static bool is_server(const struct arguments *arguments, const char *value)
{
    if (!arguments->awaits_server)
        return false;
    return arguments->file != NULL || (strchr(value, ':') != NULL && access(value, F_OK) != 0);
}

static void take_argument(struct arguments *arguments, char *value, struct argp_state *state)
{
    if (is_server(arguments, value)) {
        arguments->server = value;
        arguments->awaits_server = false;
    } else if (arguments->file != NULL) {
        argp_error(state, "unexpected argument -- '%s'", value);
    } else {
        arguments->file = value;
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 's':
        sp_sets_add(&arguments->sets, value, state);
        break;
    case KEY_KEYS:
        check_list_keys();
        exit(SP_EXIT_DONE);
    case KEY_CONNECT:
        arguments->connects = true;
        arguments->server = value;
        arguments->awaits_server = value == NULL;
        break;
    case ARGP_KEY_ARG:
        take_argument(arguments, value, state);
        break;
    case ARGP_KEY_END:
        if (arguments->file == NULL)
            argp_error(state, "name the job file");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

void check_model_finish(struct check_model *model)
{
    sp_layout_finish(&model->layout);
    model->known = false;
}

static int check(const struct sp_job *job, const struct arguments *arguments)
{
    struct check_model model = {.wants_digest = arguments->connects};
    struct sp_error error = {0};
    int code = SP_EXIT_DONE;

    check_keys(job);
    if (check_data(job, &model, &error) != SP_OK || check_secrets(job, &error) != SP_OK)
        code = sp_cli_fail(TOOL, error.text);
    if (code == SP_EXIT_DONE && model.known)
        check_need(job, &model);
    if (code == SP_EXIT_DONE && arguments->connects)
        code = check_connect(job, &model, arguments->server != NULL ? arguments->server : job->server.listen);
    check_model_finish(&model);
    return code;
}

int tool_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file; repeatable", 0},
        {"keys", KEY_KEYS, NULL, 0, "List every key that a job file may have, with default and meaning", 0},
        {"connect", KEY_CONNECT, "HOST:PORT", OPTION_ARG_OPTIONAL,
         "Ask the server (default: server.listen of the job) whether it would let a worker of this job in", 0},
        {0}};
    static const struct argp argp = {
        options,
        parse,
        "JOB.yaml",
        "Checks a job file and its training data, and prints every key with its value." SP_CLI_EXAMPLE
        "signpost check configs/digits.yaml --set workers=8",
        NULL,
        NULL,
        NULL};
    static struct arguments arguments;
    static struct sp_job job;
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    if (sp_cli_load(TOOL, arguments.file, &arguments.sets, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    sp_mapping_guard(TOOL);
    return check(&job, &arguments);
}
