/* What the three programs' command lines have in common. */
#pragma once

#include "common/job.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

#define SP_EXIT_DONE 0
#define SP_EXIT_FAILED 1
#define SP_EXIT_USAGE 2
#define SP_SETS_MAX 256

/* Behind what a program does, in argp's words about it: --help ends with an example, of one line. */
#define SP_CLI_EXAMPLE "\vExample: "

/* The values of --set KEY=VALUE, in the order given. */
struct sp_sets {
    const char *item[SP_SETS_MAX];
    size_t count;
};

/* Adds the value of a --set, as an argp parser met it. */
void sp_sets_add(struct sp_sets *sets, const char *value, struct argp_state *state);

/* The arguments that signpostd and signpost-worker share: --config, --set, --validate, --log, --log-format; a child
 * parser for argp, whose input is this. --config is required. */
struct sp_cli {
    const char *config;
    struct sp_sets sets;
    bool validate;
};

extern const struct argp sp_cli_argp;

/* Loads a job file and applies the sets. On failure every problem is on standard error, a line each, and the result is
 * SP_EXIT_USAGE. */
int sp_cli_load(const char *program, const char *path, const struct sp_sets *sets, struct sp_job *job);

/* Call it first: what --version says, and how --help and wrong arguments are answered. */
void sp_cli_begin(const char *version);

/* Takes the kernels that SIGNPOST_KERNELS names; if it cannot, says so: SP_EXIT_USAGE. */
int sp_cli_kernels(const char *program);

/* "program: words" on standard error, as an object with --log-format json; returns SP_EXIT_FAILED. */
int sp_cli_fail(const char *program, const char *words);
