/* What the commands that ask a running server have in common: which one, and how. */
#pragma once

#include "deploy/tool/tool.h"

#include <argp.h>

enum { TOOL_KEY_SERVER = 256, TOOL_KEY_TOKEN_FILE, TOOL_KEY_CERT, TOOL_KEY_KEY, TOOL_KEY_CA, TOOL_KEY_NAME };

struct tool_asking {
    const char *run;
    struct tool_remote remote; /* .server NULL: on this machine */
    bool json;
};

#define TOOL_REMOTE_OPTIONS                                                                                            \
    {"server",                                                                                                         \
     TOOL_KEY_SERVER,                                                                                                  \
     "HOST:PORT",                                                                                                      \
     0,                                                                                                                \
     "Ask a server on another machine; needs --token-file, or --cert, --key and --ca, or both",                        \
     0},                                                                                                               \
        {"token-file", TOOL_KEY_TOKEN_FILE, "FILE", 0, "The secret of the server's security.operator_token_file", 0},  \
        {"cert", TOOL_KEY_CERT, "FILE", 0, "An operator's certificate, for a server with TLS", 0},                     \
        {"key", TOOL_KEY_KEY, "FILE", 0, "Its private key", 0},                                                        \
        {"ca", TOOL_KEY_CA, "FILE", 0, "Who signs the server's certificate", 0},                                       \
    {                                                                                                                  \
        "name", TOOL_KEY_NAME, "NAME", 0, "The name that the server's certificate must have; default: its host", 0     \
    }

/* For struct argp; its input is a struct tool_asking. */
error_t tool_parse_asking(int key, char *value, struct argp_state *state);

/* Parses the arguments and asks; *answer is the caller's. An exit code, after words on standard error. */
int tool_ask_run(int argc, char **argv, const struct argp *argp, const char *line, struct tool_asking *asking,
                 json_t **answer);
/* Asks the same server again. */
int tool_ask_again(const struct tool_asking *asking, const char *line, json_t **answer);
/* The same without words on standard error, in any thread; .run is a folder here. NULL with words. */
json_t *tool_answer(const struct tool_asking *asking, const char *line, struct sp_error *error);
