/* signpostd: arguments only. */
#include "common/cli.h"
#include "common/init.h"
#include "server/server.h"
#include "version.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PROGRAM "signpostd"

enum { KEY_LISTEN = 256, KEY_FRESH, KEY_EXCHANGE_ONLY };

struct arguments {
    struct sp_cli cli;
    const char *listen, *out;
    bool fresh, exchange_only;
};

static const struct argp_option options[] = {
    {"listen", KEY_LISTEN, "HOST:PORT", 0, "Where to listen, instead of server.listen; port 0: any free one", 0},
    {"out", 'o', "DIR", 0, "The run's folder; default runs/<job>", 0},
    {"fresh", KEY_FRESH, NULL, 0, "Begin anew, even if the folder holds a run that did not come to its end", 0},
    {"exchange-only", KEY_EXCHANGE_ONLY, NULL, OPTION_HIDDEN,
     "For 'signpost bench --compute off': updates are made and sent, but the weights stay as they are", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->cli;
        break;
    case 'o':
        arguments->out = value;
        break;
    case KEY_LISTEN:
        arguments->listen = value;
        break;
    case KEY_FRESH:
        arguments->fresh = true;
        break;
    case KEY_EXCHANGE_ONLY:
        arguments->exchange_only = true;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* What the job file or the arguments ask for and cannot be had is an error in them; the rest is the machine's. */
static int fail_to_open(int rc, const struct sp_error *error)
{
    bool usage = rc == SP_E_MISSING || rc == SP_E_RANGE || rc == SP_E_SYNTAX || rc == SP_E_MISMATCH;

    (void)sp_cli_fail(PROGRAM, error->text[0] != '\0' ? error->text : sp_code_text(rc));
    return usage ? SP_EXIT_USAGE : SP_EXIT_FAILED;
}

static int serve(const struct arguments *arguments, const struct sp_job *job)
{
    struct sp_server_options server_options = {.job = job,
                                               .listen = arguments->listen,
                                               .out = arguments->out,
                                               .fresh = arguments->fresh,
                                               .exchange_only = arguments->exchange_only};
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
        return fail_to_open(rc, &error);
    rc = sp_server_run(server, &error);
    sp_server_destroy(server);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(PROGRAM, error.text);
}

int main(int argc, char **argv)
{
    static const struct argp_child children[] = {{&sp_cli_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {options,
                                     parse,
                                     NULL,
                                     "Signpost's server: collects the workers' signs, votes, decides when to switch to "
                                     "SGD, and writes the results." SP_CLI_EXAMPLE
                                     "signpostd --config configs/digits.yaml --listen 127.0.0.1:7700",
                                     children,
                                     NULL,
                                     NULL};
    static struct arguments arguments;
    static struct sp_job job;
    struct sp_safetensors *init;
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
        /* Which model it must fit is known when a worker comes. */
        if (sp_init_open(&init, &job, &error) != SP_OK) {
            (void)sp_cli_fail(PROGRAM, error.text);
            return SP_EXIT_USAGE;
        }
        sp_safetensors_close(init);
        (void)printf("%s: valid\n", arguments.cli.config);
        return SP_EXIT_DONE;
    }
    return serve(&arguments, &job);
}
