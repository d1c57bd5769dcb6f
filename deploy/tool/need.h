/* What memory a server and a worker take, by what it is for, from the sizes of the arrays that they hold. Pure: the
 * unit test has the figures by hand, and README what processes took in fact.
 *
 * Memory is taken when the first round that needs it comes near, and kept: a column has all that came before it. It is
 * what is resident at the most, so arrays count where they are written, and what may wait counts as far as it does on a
 * machine that keeps up.
 */
#pragma once

#include "common/values.h"
#include "proto/chunks.h"

#include <stdbool.h>
#include <stdint.h>

enum need_column { NEED_START, NEED_SIGN, NEED_MARGIN, NEED_SGD, NEED_COLUMNS };

#define NEED_ROWS_MAX 20
#define NEED_JOURNAL_BYTES (64.0 * 1024.0 * 1024.0) /* after which rounds wait for the disk */
#define NEED_WINDOW 4                               /* chunks of a slot that the server takes ahead: SP_TALLY_WINDOW */

struct need_job {
    const struct sp_layout *layout; /* borrowed; with the traits of the job's rules */
    unsigned workers;
    bool has[NEED_COLUMNS]; /* phases that the job may have; START is always there */
    enum sp_wire wire;      /* of the SGD phase */
    bool adam;
    bool journals, checkpoints;
    bool init_file; /* no worker is asked for the initial weights */
    /* of signpost-worker */
    double data_bytes; /* of all examples, with their labels */
    uint64_t examples;
    double activation_bytes; /* and derivatives */
    uint32_t inputs, batch;
};

struct need_row {
    const char *what; /* static */
    double bytes[NEED_COLUMNS];
};

struct need {
    struct need_row row[NEED_ROWS_MAX]; /* without those that are 0 everywhere */
    unsigned rows;
    double checkpoint[NEED_COLUMNS]; /* on top, while one is made: at the start, then as the job says */
};

/* What the worker's row of these is called. */
extern const char need_waiting[];

void need_of_server(const struct need_job *job, struct need *need);
void need_of_worker(const struct need_job *job, struct need *need);

double need_total(const struct need *need, enum need_column column);
/* The largest of the columns that the job has, with a checkpoint. */
double need_most(const struct need_job *job, const struct need *need);
