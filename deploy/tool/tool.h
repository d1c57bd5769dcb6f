/* The program `signpost`: one file a subcommand, listed in main.c. */
#pragma once

#include "common/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define TOOL "signpost"

/* Each takes its own arguments, argv[0] being "signpost NAME", and returns an exit code. */
int tool_run(int argc, char **argv);
int tool_compare(int argc, char **argv);
int tool_eval(int argc, char **argv);
int tool_bench(int argc, char **argv);
int tool_bench_load(int argc, char **argv);
int tool_bench_spare(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_checkpoint(int argc, char **argv);
int tool_launch(int argc, char **argv);
int tool_plot(int argc, char **argv);
int tool_replay(int argc, char **argv);
int tool_status(int argc, char **argv);
int tool_stop(int argc, char **argv);
int tool_switch(int argc, char **argv);
int tool_token(int argc, char **argv);
int tool_watch(int argc, char **argv);

/* --- operator.c --- */

/* Sends a line to the operator's socket of the server that writes to `folder`, and returns its answer, a new reference;
 * NULL with words if there is none within a few seconds. */
json_t *tool_ask(const char *folder, const char *line, struct sp_error *error);

/* The answer; or NULL, with words, if it is that of a server `who` refused: then it is dropped. */
json_t *tool_take_refusal(json_t *answer, const char *who, const char *line, struct sp_error *error);

/* Writes all of it to a socket, over signals and short writes; false with errno if that cannot be. */
bool tool_send_all(int fd, const void *bytes, size_t count);

/* The run's folder that an argument names: a folder, the job.yaml in one, or a job file (then runs/<job>). 0 or an exit
 * code, after words on standard error. */
int tool_folder(const char *argument, char *folder, size_t bytes);

/* --- reading.c --- */

/* Parses JSON that stands in the file `path`. NULL and SP_OK: it is none; then *why, unless `why` is NULL, says why not
 * until the next call. SP_E_NOMEM in words. */
int tool_parse_json(const char *text, size_t bytes, const char *path, json_t **json, const char **why,
                    struct sp_error *error);

/* --- remote.c --- */

/* A server on another machine, and what an operator shows it. */
struct tool_remote {
    const char *server;          /* HOST:PORT */
    const char *token_file;      /* NULL: no secret */
    const char *cert, *key, *ca; /* NULL: no TLS */
    const char *name;            /* that its certificate must have; NULL: HOST */
};

/* The same over the network, from a server that has security.operator_token_file or security.tls. */
json_t *tool_ask_remote(const struct tool_remote *remote, const char *command, struct sp_error *error);

/* --- result.c --- */

/* Prints FOLDER/summary.json for people. */
int tool_print_result(FILE *to, const char *folder, struct sp_error *error);

/* "25.9 MB"; the text is valid until the fourth call after it. */
const char *tool_bytes(double bytes);
