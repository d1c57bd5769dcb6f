/* Inside `signpost bench-load`: what it measures (bench_record.c). */
#pragma once

#include "deploy/tool/bench.h"
#include "worker/client/client_state.h"

#include <time.h>

/* At the moment when worker 0 of this process holds the weights of a round: seconds. */
struct bench_moment {
    double when, cpu, server_cpu;
};

struct bench_record {
    struct bench_moment *moment; /* owned: [t] when round t + 1 is due */
    uint32_t room;
    uint32_t last; /* 0: not known */
    clockid_t server_clock;
    double server_rss, server_rss_peak; /* bytes, after the last round */
};

int bench_record_begin(struct bench_record *record, const struct bench_part *part, struct sp_error *error);
void bench_record_end(struct bench_record *record);

/* Worker 0 of this process is about to compute the gradient of `round`, and so holds the weights of the one before. The
 * first process says how long the measurement lasts. */
int bench_record_round(struct bench_record *record, const struct bench_part *part, struct bench_shared *shared,
                       uint32_t round, struct sp_error *error);

/* Writes FOLDER/load-N.json. */
int bench_record_write(const struct bench_record *record, const struct bench_part *part, struct sp_error *error);
