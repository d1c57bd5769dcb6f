/* signpost-worker: arguments only. */
#include "common/cli.h"
#include "common/log.h"
#include "version.h"
#include "worker/train/train.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRAM "signpost-worker"

enum { KEY_SERVER = 256, KEY_SLOT, KEY_SET, KEY_VALIDATE, KEY_LOG };

struct arguments {
    const char *config, *server;
    int slot;
    struct sp_sets sets;
    bool validate;
};

static const struct argp_option options[] = {
    {"config", 'c', "JOB.yaml", 0,
     "The job file: data paths, threads, address; the server's file governs the rest (required)", 0},
    {"server", KEY_SERVER, "HOST:PORT", 0, "The server, instead of server.listen", 0},
    {"slot", KEY_SLOT, "N", 0, "The slot to take; default: any free one", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "Overrides a key of the job file; repeatable", 0},
    {"validate", KEY_VALIDATE, NULL, 0, "Check the job file and exit", 0},
    {"log", KEY_LOG, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {0}};

static int parse_slot(const char *text, struct argp_state *state)
{
    char *end;
    long slot = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || slot < 0 || slot >= SP_WORKERS_MAX)
        argp_error(state, "invalid --slot -- '%s': a number from 0 to %d", text, SP_WORKERS_MAX - 1);
    return (int)slot;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    enum sp_log_level level;

    switch (key) {
    case 'c':
        arguments->config = value;
        break;
    case KEY_SERVER:
        arguments->server = value;
        break;
    case KEY_SLOT:
        arguments->slot = parse_slot(value, state);
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

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse,
        NULL,    "A worker of a Signpost job: computes gradients on its share of the data and pushes them.",
        NULL,    NULL,
        NULL};
    static struct arguments arguments = {.slot = -1};
    static struct sp_job job;
    struct sp_train_options train = {.job = &job};
    struct sp_error error = {0};
    int rc;

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
    (void)signal(SIGPIPE, SIG_IGN);
    train.server = arguments.server;
    train.slot = arguments.slot;
    rc = sp_train(&train, &error);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(PROGRAM, error.text[0] != '\0' ? error.text : sp_code_text(rc));
}
