#include "common/cli.h"

#include "common/config.h"

#include <stdio.h>
#include <stdlib.h>

int sp_cli_fail(const char *program, const char *words)
{
    (void)fprintf(stderr, "%s: %s\n", program, words);
    return SP_EXIT_FAILED;
}

int sp_cli_load(const char *program, const char *path, const struct sp_sets *sets, struct sp_job *job)
{
    struct sp_problems *problems = calloc(1, sizeof *problems);
    char text[SP_ERROR_TEXT_BYTES + SP_STRING_BYTES];
    int rc;

    if (problems == NULL)
        return sp_cli_fail(program, "out of memory");
    rc = sp_config_load(path, sets->item, sets->count, job, problems);
    for (unsigned i = 0; rc != SP_OK && i < problems->count; i++) {
        sp_problem_text(problems, i, text, sizeof text);
        (void)fprintf(stderr, "%s\n", text);
    }
    if (rc != SP_OK) {
        unsigned n = problems->count + problems->dropped;

        if (problems->dropped > 0)
            (void)fprintf(stderr, "%s: and %u more\n", path, problems->dropped);
        (void)fprintf(stderr, "%s: %s was refused: %u problem%s\n", program, path, n, n == 1 ? "" : "s");
    }
    free(problems);
    return rc == SP_OK ? SP_EXIT_DONE : SP_EXIT_USAGE;
}
