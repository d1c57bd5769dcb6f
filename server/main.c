/* signpostd: arguments only. */
#include "common/cli.h"
#include "common/log.h"
#include "server/server.h"
#include "version.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRAM "signpostd"

enum { KEY_LISTEN = 256, KEY_SET, KEY_VALIDATE, KEY_LOG };

struct arguments {
    const char *config, *listen, *out;
    struct sp_sets sets;
    bool validate;
};

static const struct argp_option options[] = {
    {"config", 'c', "JOB.yaml", 0, "The job to serve (required)", 0},
    {"listen", KEY_LISTEN, "HOST:PORT", 0, "Where to listen, instead of server.listen; port 0: any free one", 0},
    {"out", 'o', "DIR", 0, "The run's folder; default runs/<job>", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "Overrides a key of the job file, e.g. optimizer.switch.when=never; repeatable",
     0},
    {"validate", KEY_VALIDATE, NULL, 0, "Check the job file and exit", 0},
    {"log", KEY_LOG, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    enum sp_log_level level;

    switch (key) {
    case 'c':
        arguments->config = value;
        break;
    case 'o':
        arguments->out = value;
        break;
    case KEY_LISTEN:
        arguments->listen = value;
        break;
    case KEY_SET:
        if (arguments->sets.count == SP_SETS_MAX)
            argp_error(state, "more than %d times --set", SP_SETS_MAX);
        arguments->sets.item[arguments->sets.count++] = value;
        break;
    case KEY_VALIDATE:
        arguments->validate = true;
        break;
    case KEY_LOG:
        if (!sp_log_level_parse(value, &level))
            argp_error(state, "invalid --log -- '%s': use error, warn, info or debug", value);
        sp_log_set_level(level);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument -- '%s'", value);
        break;
    case ARGP_KEY_END:
        if (arguments->config == NULL)
            argp_error(state, "--config JOB.yaml is required");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int serve(const struct arguments *arguments, const struct sp_job *job)
{
    struct sp_server_options server_options = {.job = job, .listen = arguments->listen, .out = arguments->out};
    struct sp_server *server;
    struct sp_error error = {0};
    char out[128];
    int rc;

    if (server_options.out == NULL) {
        (void)snprintf(out, sizeof out, "runs/%s", job->job);
        server_options.out = out;
    }
    rc = sp_server_open(&server, &server_options, &error);
    if (rc != SP_OK)
        return sp_cli_fail(PROGRAM, error.text[0] != '\0' ? error.text : sp_code_text(rc));
    rc = sp_server_run(server, &error);
    sp_server_destroy(server);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(PROGRAM, error.text);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "Signpost's server: collects the workers' signs, votes, decides when to switch to SGD, "
        "and writes the results.",
        NULL,
        NULL,
        NULL};
    static struct arguments arguments;
    static struct sp_job job;

    argp_program_version = PROGRAM " " SP_VERSION;
    argp_err_exit_status = SP_EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments) != 0)
        return SP_EXIT_USAGE;
    if (sp_cli_load(PROGRAM, arguments.config, &arguments.sets, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    if (arguments.validate) {
        (void)printf("%s: valid\n", arguments.config);
        return SP_EXIT_DONE;
    }
    return serve(&arguments, &job);
}
