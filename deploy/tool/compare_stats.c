/* Mean and standard deviation of each row, and the tables for programs: table.csv, runs.csv. */
#include "deploy/tool/compare.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const metric_names[COMPARE_METRICS] = {
    [COMPARE_ACCURACY] = "test_accuracy_percent",
    [COMPARE_TEST_LOSS] = "test_loss",
    [COMPARE_TRAIN_LOSS] = "train_loss",
    [COMPARE_PUSHED] = "bytes_pushed",
    [COMPARE_UPDATED] = "bytes_updated",
    [COMPARE_BITS_UP] = "bits_up",
    [COMPARE_BITS_DOWN] = "bits_down",
    [COMPARE_TARGET] = "rounds_to_target",
    [COMPARE_SECONDS] = "train_seconds",
    [COMPARE_SWITCH] = "switch_fraction",
};

/* One value more, by Welford's update: equal values have a deviation of exactly 0. `sd` is the sum of squares until the
 * end. */
void compare_add_value(struct compare_stat *stat, double value)
{
    double before = value - stat->mean;

    stat->n++;
    stat->mean += before / stat->n;
    stat->sd += before * (value - stat->mean);
}

void compare_finish_stat(struct compare_stat *stat)
{
    if (stat->n == 0)
        stat->mean = (double)NAN;
    stat->sd = stat->n < 2 ? (double)NAN : sqrt(stat->sd / (stat->n - 1));
}

void compare_sum_up(struct compare *compare)
{
    for (size_t i = 0; i < compare->runs_count; i++) {
        const struct compare_run *run = &compare->runs[i];

        for (unsigned k = 0; k < COMPARE_METRICS; k++)
            if (run->state == COMPARE_DONE && !isnan(run->metric[k]))
                compare_add_value(&compare->stats[run->row][k], run->metric[k]);
    }
    for (size_t r = 0; r < compare->grid.rows_count; r++)
        for (unsigned k = 0; k < COMPARE_METRICS; k++)
            compare_finish_stat(&compare->stats[r][k]);
}

long compare_best(const struct compare *compare)
{
    long best = -1;

    for (size_t r = 0; r < compare->grid.rows_count; r++)
        if (compare->stats[r][COMPARE_ACCURACY].n > 0 &&
            (best < 0 || compare->stats[r][COMPARE_ACCURACY].mean > compare->stats[best][COMPARE_ACCURACY].mean))
            best = (long)r;
    return best;
}

FILE *compare_open(const char *path, struct sp_error *error)
{
    FILE *file = fopen(path, "we");

    if (file == NULL)
        (void)compare_io_error(error, "write", path);
    return file;
}

int compare_close(FILE *file, const char *path, struct sp_error *error)
{
    int failed = ferror(file);

    return fclose(file) != 0 || failed ? compare_io_error(error, "write", path) : SP_OK;
}

/* --- CSV, as RFC 4180 has it, with a plain newline -------------------------------------------------------------------
 */

static void put_text(FILE *file, const char *text, size_t length)
{
    bool quote = memchr(text, ',', length) != NULL || memchr(text, '"', length) != NULL;

    if (quote)
        (void)fputc('"', file);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            (void)fputc('"', file);
        (void)fputc(text[i], file);
    }
    if (quote)
        (void)fputc('"', file);
}

static void put_number(FILE *file, double value)
{
    if (isnan(value))
        (void)fputc(',', file);
    else
        (void)fprintf(file, ",%.10g", value);
}

/* A row's name, and what it has for every key that some row sets. */
static void put_row(FILE *file, const struct compare *compare, size_t row)
{
    put_text(file, compare->grid.rows[row].name, strlen(compare->grid.rows[row].name));
    for (size_t i = 0; i < compare->grid.keys_count; i++) {
        size_t length = strlen(compare->grid.keys[i]);
        const char *line = compare->settings[row];

        while (strncmp(line, compare->grid.keys[i], length) != 0 || line[length] != ':')
            line += strcspn(line, "\n") + 1; /* the key is there: the job was loaded with it */
        (void)fputc(',', file);
        put_text(file, line + length + 2, strcspn(line + length + 2, "\n"));
    }
}

static void put_heads(FILE *file, const struct compare *compare)
{
    (void)fputs("row", file);
    for (size_t i = 0; i < compare->grid.keys_count; i++)
        (void)fprintf(file, ",%s", compare->grid.keys[i]);
}

static int write_table(const struct compare *compare, struct sp_error *error)
{
    FILE *file = compare_open("table.csv", error);

    if (file == NULL)
        return error->code;
    put_heads(file, compare);
    (void)fputs(",n", file);
    for (unsigned k = 0; k < COMPARE_METRICS; k++)
        (void)fprintf(file, ",%s_mean,%s_sd", metric_names[k], metric_names[k]);
    (void)fputs(",rounds_to_target_n,switch_n\n", file);
    for (size_t r = 0; r < compare->grid.rows_count; r++) {
        const struct compare_stat *stats = compare->stats[r];

        put_row(file, compare, r);
        (void)fprintf(file, ",%" PRIu32, stats[COMPARE_SECONDS].n);
        for (unsigned k = 0; k < COMPARE_METRICS; k++) {
            put_number(file, stats[k].mean);
            put_number(file, stats[k].sd);
        }
        (void)fprintf(file, ",%" PRIu32 ",%" PRIu32 "\n", stats[COMPARE_TARGET].n, stats[COMPARE_SWITCH].n);
    }
    return compare_close(file, "table.csv", error);
}

static int write_runs(const struct compare *compare, struct sp_error *error)
{
    char path[COMPARE_PATH_BYTES];
    FILE *file = compare_open("runs.csv", error);

    if (file == NULL)
        return error->code;
    put_heads(file, compare);
    (void)fputs(",seed,state", file);
    for (unsigned k = 0; k < COMPARE_METRICS; k++)
        (void)fprintf(file, ",%s", metric_names[k]);
    (void)fputs(",folder\n", file);
    for (size_t i = 0; i < compare->runs_count; i++) {
        const struct compare_run *run = &compare->runs[i];

        put_row(file, compare, run->row);
        (void)fprintf(file, ",%" PRIu64 ",%s", run->seed, run->state == COMPARE_DONE ? "done" : "failed");
        for (unsigned k = 0; k < COMPARE_METRICS; k++)
            put_number(file, run->metric[k]);
        compare_path(compare, run, "", path);
        (void)fprintf(file, ",%s\n", path);
    }
    return compare_close(file, "runs.csv", error);
}

int compare_csv(struct compare *compare, struct sp_error *error)
{
    int rc = write_table(compare, error);

    return rc == SP_OK ? write_runs(compare, error) : rc;
}
