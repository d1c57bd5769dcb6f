/* Which rows there are, what each sets, and which runs that makes. */
#include "deploy/tool/compare.h"
#include "deploy/tool/tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define REFUSED_SHOWN 3

void compare_sets(const struct compare *compare, size_t row, struct sp_sets *sets)
{
    const struct compare_row *r = &compare->grid.rows[row];

    *sets = compare->sets;
    for (size_t i = 0; i < r->sets_count; i++)
        sets->item[sets->count++] = r->sets[i];
    sets->item[sets->count++] = "server.listen=127.0.0.1:0";
    sets->item[sets->count++] = "server.http=";
}

/* All keys of a job but the seed; NULL without memory. */
static char *settings_text(const struct sp_job *job)
{
    char value[SP_VALUE_BYTES], *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    bool whole = stream != NULL;

    for (size_t i = 0; whole && i < sp_job_keys_count; i++) {
        if (strcmp(sp_job_keys[i].path, "seed") == 0)
            continue;
        sp_job_get(job, &sp_job_keys[i], value, sizeof value);
        whole = fprintf(stream, "%s: %s\n", sp_job_keys[i].path, value) > 0;
    }
    if (stream != NULL && fclose(stream) != 0)
        whole = false;
    if (whole)
        return text;
    free(text);
    return NULL;
}

/* Loads the job as a row has it; an exit code. */
static int load_row(struct compare *compare, size_t row, struct sp_job *job)
{
    struct sp_error error = {0};
    struct sp_sets sets;
    int rc;

    compare_sets(compare, row, &sets);
    rc = sp_cli_load(TOOL, compare->file, &sets, job);
    if (rc == SP_EXIT_DONE && sp_job_need_data(job, &error) != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        rc = SP_EXIT_USAGE;
    }
    if (rc == SP_EXIT_USAGE)
        (void)fprintf(stderr, TOOL ": that was row '%s'\n", compare->grid.rows[row].name);
    if (rc != SP_EXIT_DONE)
        return rc;
    if (job->workers > compare->workers)
        compare->workers = job->workers;
    compare->settings[row] = settings_text(job);
    return compare->settings[row] != NULL ? SP_EXIT_DONE : sp_cli_fail(TOOL, "out of memory");
}

/* Every row's keys are checked before anything runs. */
int compare_load_rows(struct compare *compare)
{
    static struct sp_job job;
    struct sp_error error = {0};
    size_t refused = 0;
    int rc = compare_grid_build(&compare->grid, "as it is", &error);

    if (rc != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        return rc == SP_E_NOMEM ? SP_EXIT_FAILED : SP_EXIT_USAGE;
    }
    compare->settings = calloc(compare->grid.rows_count, sizeof *compare->settings);
    if (compare->settings == NULL)
        return sp_cli_fail(TOOL, "out of memory");
    for (size_t i = 0; i < compare->grid.rows_count && refused < REFUSED_SHOWN; i++) {
        rc = load_row(compare, i, &job);
        if (rc == SP_EXIT_FAILED)
            return rc;
        refused += rc == SP_EXIT_USAGE;
        if (i == 0)
            (void)snprintf(compare->job, sizeof compare->job, "%s", job.job);
    }
    return refused > 0 ? SP_EXIT_USAGE : SP_EXIT_DONE;
}

int compare_plan_runs(struct compare *compare)
{
    const size_t rows = compare->grid.rows_count;

    compare->runs_count = rows * compare->seeds;
    if (compare->runs_count > COMPARE_RUNS_MAX) {
        (void)fprintf(stderr, TOOL ": %zu rows with %u seeds each are more than %d runs\n", rows, compare->seeds,
                      COMPARE_RUNS_MAX);
        return SP_EXIT_USAGE;
    }
    compare->runs = calloc(compare->runs_count, sizeof *compare->runs);
    compare->stats = calloc(rows, sizeof *compare->stats);
    if (compare->runs == NULL || compare->stats == NULL)
        return sp_cli_fail(TOOL, "out of memory");
    for (size_t i = 0; i < compare->runs_count; i++) {
        compare->runs[i].row = (uint32_t)(i % rows);
        compare->runs[i].seed = compare->first_seed + i / rows;
        for (unsigned k = 0; k < COMPARE_METRICS; k++)
            compare->runs[i].metric[k] = (double)NAN;
    }
    if (compare->jobs == 0) {
        compare->jobs = uv_available_parallelism() / (compare->workers + 1);
        compare->jobs = compare->jobs < 1 ? 1 : compare->jobs > COMPARE_JOBS_MAX ? COMPARE_JOBS_MAX : compare->jobs;
    }
    return SP_EXIT_DONE;
}
