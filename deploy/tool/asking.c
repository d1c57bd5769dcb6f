#include "deploy/tool/asking.h"

#include "common/cli.h"

#include <string.h>

#define PATH_BYTES 1200

static void check(const struct tool_asking *asking, struct argp_state *state)
{
    const struct tool_remote *remote = &asking->remote;
    const int tls = (remote->cert != NULL) + (remote->key != NULL) + (remote->ca != NULL);

    if ((asking->run == NULL) == (remote->server == NULL))
        argp_error(state, "name the run (its folder, or its job file), or a server on another machine by --server");
    if (tls != 0 && tls != 3)
        argp_error(state, "--cert, --key and --ca belong together");
    if (remote->server != NULL && remote->token_file == NULL && tls == 0)
        argp_error(state, "--server needs --token-file, or --cert, --key and --ca, or both");
    if (remote->server == NULL && (remote->token_file != NULL || tls != 0 || remote->name != NULL))
        argp_error(state, "--token-file, --cert, --key, --ca and --name are for --server");
}

error_t tool_parse_asking(int key, char *value, struct argp_state *state)
{
    struct tool_asking *asking = state->input;

    switch (key) {
    case 'j':
        asking->json = true;
        break;
    case TOOL_KEY_SERVER:
        asking->remote.server = value;
        break;
    case TOOL_KEY_TOKEN_FILE:
        asking->remote.token_file = value;
        break;
    case TOOL_KEY_CERT:
        asking->remote.cert = value;
        break;
    case TOOL_KEY_KEY:
        asking->remote.key = value;
        break;
    case TOOL_KEY_CA:
        asking->remote.ca = value;
        break;
    case TOOL_KEY_NAME:
        asking->remote.name = value;
        break;
    case ARGP_KEY_ARG:
        if (asking->run != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        asking->run = value;
        break;
    case ARGP_KEY_END:
        check(asking, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

json_t *tool_answer(const struct tool_asking *asking, const char *line, struct sp_error *error)
{
    return asking->remote.server != NULL ? tool_ask_remote(&asking->remote, line, error)
                                         : tool_ask(asking->run, line, error);
}

int tool_ask_again(const struct tool_asking *asking, const char *line, json_t **answer)
{
    struct sp_error error = {0};
    char folder[PATH_BYTES];
    int rc;

    if (asking->remote.server != NULL) {
        *answer = tool_ask_remote(&asking->remote, line, &error);
        return *answer != NULL ? SP_EXIT_DONE : sp_cli_fail(TOOL, error.text);
    }
    rc = tool_folder(asking->run, folder, sizeof folder);
    if (rc != SP_EXIT_DONE)
        return rc;
    *answer = tool_ask(folder, line, &error);
    return *answer != NULL ? SP_EXIT_DONE : sp_cli_fail(TOOL, error.text);
}

int tool_ask_run(int argc, char **argv, const struct argp *argp, const char *line, struct tool_asking *asking,
                 json_t **answer)
{
    int rc = argp_parse(argp, argc, argv, 0, NULL, asking);

    return rc == 0 ? tool_ask_again(asking, line, answer) : sp_cli_fail(TOOL, strerror(rc));
}
