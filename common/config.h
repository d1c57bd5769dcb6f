/* Reads a job file (YAML) into a job, with file, line and column in every error.
 *
 * Unknown keys, repeated keys, wrong types and values out of range are all refused, and all reported at once.
 */
#pragma once

#include "common/job.h"

struct sp_problem {
    unsigned line, column; /* from 1; 0 if the problem has no place in the file */
    bool from_set;         /* it is of a --set, which the text names, and not of the file */
    char text[SP_ERROR_TEXT_BYTES];
};

#define SP_PROBLEMS_MAX 50

struct sp_problems {
    unsigned count; /* of those kept in item */
    unsigned dropped;
    char file[SP_STRING_BYTES];
    struct sp_problem item[SP_PROBLEMS_MAX];
};

/* Loads `path`, then applies `sets` (each "KEY=VALUE", as given to --set), then validates. A --set prevails: one that
 * names another optimizer.switch.when, or another moment for it, also takes out the file's epoch, step or fraction.
 * Returns 0, or a code with at least one problem in `problems`. `job` is complete only on success. */
int sp_config_load(const char *path, const char *const *sets, size_t sets_count, struct sp_job *job,
                   struct sp_problems *problems);

/* The same from memory; `name` stands for the file in messages. For tests and fuzzing. */
int sp_config_parse(const char *name, const char *text, size_t bytes, const char *const *sets, size_t sets_count,
                    struct sp_job *job, struct sp_problems *problems);

/* "FILE:LINE:COLUMN: words" of problem i; without a place "FILE: words"; of a --set
 * "--set KEY=VALUE: words". */
void sp_problem_text(const struct sp_problems *problems, unsigned i, char *text, size_t bytes);
