/* signpost compare, inside: what its files share. All of them work in the comparison's folder; paths are relative to
 * it. */
#pragma once

#include "common/cli.h"
#include "deploy/tool/compare_grid.h"

#include <stdint.h>
#include <stdio.h>

#define COMPARE_SEEDS_MAX 10000
#define COMPARE_RUNS_MAX 100000
#define COMPARE_JOBS_MAX 256
#define COMPARE_PATH_BYTES 128 /* of anything in the comparison's folder */

enum compare_metric {
    COMPARE_ACCURACY, /* in percent */
    COMPARE_TEST_LOSS,
    COMPARE_TRAIN_LOSS,
    COMPARE_PUSHED,
    COMPARE_UPDATED,
    COMPARE_BITS_UP, /* a coordinate and round, averaged over the job; float32 would be 32 */
    COMPARE_BITS_DOWN,
    COMPARE_TARGET, /* the round of the first evaluation that reached --target */
    COMPARE_SECONDS,
    COMPARE_SWITCH, /* the part of the job before the switch */
    COMPARE_METRICS
};

enum compare_state { COMPARE_WAITING, COMPARE_DONE, COMPARE_FAILED };

struct compare_run {
    uint32_t row;
    uint64_t seed;
    enum compare_state state;
    double metric[COMPARE_METRICS]; /* NAN: it has none */
    char *why;                      /* owned; the words of a failure, or NULL */
};

/* Over the runs of a row that have the metric; sd is NAN for less than two. */
struct compare_stat {
    uint32_t n;
    double mean, sd;
};

struct compare {
    const char *file;   /* as given */
    char *absolute;     /* owned; the same from the root */
    const char *wanted; /* --out as given, or NULL */
    char *out;          /* owned; that, or what is made from the job's name */
    struct sp_sets sets;
    struct compare_grid grid;
    char **settings; /* owned; of each row, "KEY: VALUE" lines without the seed */
    char job[64];
    uint64_t first_seed;
    uint32_t seeds, jobs, workers; /* workers: the most that a row has */
    double target;                 /* 0: none */
    bool no_plots;
    struct compare_run *runs; /* owned; all rows with the first seed, then all with the next */
    size_t runs_count;
    struct compare_stat (*stats)[COMPARE_METRICS]; /* owned; of each row */
};

/* --- compare_plan.c --- */

/* Makes the rows and checks every row's keys; an exit code, after words on standard error. */
int compare_load_rows(struct compare *compare);

/* Makes the runs, all of them waiting; an exit code. */
int compare_plan_runs(struct compare *compare);

/* What is set for a row's runs, without the seed; there is room for one more. */
void compare_sets(const struct compare *compare, size_t row, struct sp_sets *sets);

/* --- compare_folder.c: the folder of a run --- */

void compare_path(const struct compare *compare, const struct compare_run *run, const char *file,
                  char path[COMPARE_PATH_BYTES]);

/* Makes the folder and those above it. */
int compare_make_folder(const char *path, struct sp_error *error);

/* Whether a run like this one was made before: then it is done, with its metrics. Else `why` says in a few words why it
 * must be made again, or is empty if there is nothing yet. Waits for a server that still writes there. */
int compare_look(struct compare *compare, struct compare_run *run, char *why, size_t bytes, struct sp_error *error);

/* Empties the folder and writes what the run's settings are. */
int compare_prepare(struct compare *compare, struct compare_run *run, struct sp_error *error);

/* --- compare_result.c: what a run has left --- */

/* "cannot VERB PATH: words of errno". */
int compare_io_error(struct sp_error *error, const char *verb, const char *path);

/* All of a file, with a NUL after it, for free(). NULL with words (`error` is not NULL), SP_E_MISSING if there is none.
 */
char *compare_read(const char *path, struct sp_error *error);

/* Reads what a run has left; SP_E_MISMATCH, in words, if it did not come to its end. */
int compare_take(struct compare *compare, struct compare_run *run, struct sp_error *error);

/* A line of history.jsonl that tells of a round; NAN: it does not say. */
struct compare_point {
    uint32_t round;
    double epoch, train_loss, test_accuracy;
};

/* Calls `take` for each of them in order. */
int compare_history(struct compare *compare, const struct compare_run *run,
                    void (*take)(void *arg, const struct compare_point *point), void *arg, struct sp_error *error);

/* --- compare_run.c: the processes --- */

/* Makes all runs that wait. Returns an exit code. */
int compare_run_all(struct compare *compare);

/* --- compare_stats.c: numbers of a row, and tables for programs --- */

/* From all zero, value by value, to mean and sample standard deviation. */
void compare_add_value(struct compare_stat *stat, double value);
void compare_finish_stat(struct compare_stat *stat);

/* Sums up the runs of each row. */
void compare_sum_up(struct compare *compare);

/* The row with the best mean accuracy; -1 if there is none. */
long compare_best(const struct compare *compare);

/* Opens a file that is to be written anew; NULL in words. compare_close() says if not all of it could be written. */
FILE *compare_open(const char *path, struct sp_error *error);
int compare_close(FILE *file, const char *path, struct sp_error *error);

/* Writes table.csv and runs.csv. */
int compare_csv(struct compare *compare, struct sp_error *error);

/* --- compare_table.c: tables for people --- */

/* Writes table.md and prints the table. */
int compare_table(struct compare *compare, struct sp_error *error);

/* --- compare_curve.c: how a row went on --- */

/* Over the runs of a row at one round. */
struct compare_knot {
    uint32_t round;
    double epoch;
    struct compare_stat accuracy, loss; /* finished; n is 0 unless all runs of the row have it */
};

struct compare_curve {
    struct compare_knot *knots; /* owned */
    size_t count;
};

int compare_curve_read(struct compare *compare, size_t row, struct compare_curve *curve, struct sp_error *error);

/* --- compare_plot.c --- */

/* Writes the data and the scripts of the plots, and has them drawn. */
int compare_plots(struct compare *compare, struct sp_error *error);

/* --- compare_draw.c --- */

/* Has gnuplot draw NAME.gp for every name, up to a NULL; without gnuplot it only says so. */
int compare_draw(const struct compare *compare, const char *const *names, struct sp_error *error);
