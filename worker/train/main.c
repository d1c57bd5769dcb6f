/* signpost-worker: arguments only. */
#include "common/cli.h"
#include "version.h"
#include "worker/train/mapping.h"
#include "worker/train/train.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "signpost-worker"

enum { KEY_SERVER = 256, KEY_SLOT };

struct arguments {
    struct sp_cli cli;
    const char *server, *out;
    int slot;
};

static const struct argp_option options[] = {
    {"server", KEY_SERVER, "HOST:PORT", 0, "The server, instead of server.listen", 0},
    {"slot", KEY_SLOT, "N", 0, "The slot to take; default: any free one", 0},
    {"out", 'o', "DIR", 0, "Folder to save the momentum in, unless worker.momentum.folder says; default runs/<job>", 0},
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

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->cli;
        break;
    case KEY_SERVER:
        arguments->server = value;
        break;
    case KEY_SLOT:
        arguments->slot = parse_slot(value, state);
        break;
    case 'o':
        arguments->out = value;
        if (value[0] == '\0')
            argp_error(state, "--out names no folder");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_child children[] = {{&sp_cli_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {options,
                                     parse,
                                     NULL,
                                     "A worker of a Signpost job: computes gradients on its share of the data and "
                                     "pushes them. Its job file gives data "
                                     "paths, threads and address; the server's file governs the rest." SP_CLI_EXAMPLE
                                     "signpost-worker --config configs/digits.yaml --server 127.0.0.1:7700",
                                     children,
                                     NULL,
                                     NULL};
    static struct arguments arguments = {.slot = -1};
    static struct sp_job job;
    struct sp_train_options train = {.job = &job};
    struct sp_error error = {0};
    int rc;

    sp_cli_begin(PROGRAM " " SP_VERSION);
    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(PROGRAM, strerror(rc));
    if (sp_cli_kernels(PROGRAM) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    if (sp_cli_load(PROGRAM, arguments.cli.config, &arguments.cli.sets, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    if (arguments.cli.validate) {
        (void)printf("%s: valid\n", arguments.cli.config);
        return SP_EXIT_DONE;
    }
    if (sp_job_need_data(&job, &error) != SP_OK) {
        (void)sp_cli_fail(PROGRAM, error.text);
        return SP_EXIT_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    sp_mapping_guard(PROGRAM);
    train.server = arguments.server;
    train.slot = arguments.slot;
    train.folder = arguments.out;
    rc = sp_train(&train, &error);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(PROGRAM, error.text[0] != '\0' ? error.text : sp_code_text(rc));
}
