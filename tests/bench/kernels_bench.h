/* What the kernels' benchmark is made of: arrays, stages that run over them, figures. */
#pragma once

#include "common/cpu.h"
#include "common/layout.h"
#include "tests/bench/bandwidth.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_VALUES 4 /* workers whose values are averaged */
#define BENCH_STAGES_MAX 96

/* What a vote is asked for beside its result: nothing; margin, ties, unanimous and flips; those and how often each
 * worker disagrees. */
enum bench_statistics { BENCH_PLAIN, BENCH_MARGIN, BENCH_DISAGREEMENT };

/* Arrays of `coordinates` numbers or bits, all aligned to 64 bytes, written before anything is timed. */
struct bench_data {
    size_t coordinates;
    unsigned voters; /* for which `votes` and `window` have room */
    struct sp_layout layout;
    float *values[BENCH_VALUES];
    float *theta, *out;
    float *second; /* moments: none is negative */
    uint8_t *bits, *previous, *result, *bulk;
    uint8_t *planes; /* counts of 4 votes */
    uint8_t *votes;  /* a buffer a voter, votes_stride bytes apart */
    uint8_t *window; /* as the server has them: a few chunks a voter, window_stride bytes apart */
    size_t votes_stride, window_stride, votes_bytes, window_bytes;
};

/* Ends the program with words if there is no memory. */
void bench_data_make(struct bench_data *data, size_t coordinates, unsigned voters);
void bench_data_free(struct bench_data *data);
/* Bytes that bench_data_make() takes. */
double bench_data_bytes(size_t coordinates, unsigned voters);

/* A stage by its public function. What it must at least do with memory, in bytes a coordinate: read, and write (which
 * is read and written back; caches fetch a line before they change it). */
struct bench_stage {
    char name[48];
    void (*run)(const struct bench_stage *stage, struct bench_data *data);
    double read, write;
    unsigned voters; /* of a vote: its input bits are what it must read */
    bool chunks;     /* the vote takes a window of chunks, as the server does */
    enum bench_statistics statistics;
    double goal;  /* part of the limit, or GB/s of a vote's bits; 0 if there is none */
    bool orients; /* none of our kernels, so there is one row */
};

/* All stages; votes with each of `voters`. Returns their number. */
unsigned bench_stages(struct bench_stage stages[BENCH_STAGES_MAX], const unsigned voters[], unsigned voters_count);

/* The votes among them. */
unsigned bench_stages_vote(struct bench_stage stages[], const unsigned voters[], unsigned voters_count);

/* What was measured of a stage with a set of kernels. */
struct bench_row {
    const struct bench_stage *stage;
    enum sp_cpu set;
    double ns;        /* a coordinate, over all of them */
    double ns_cached; /* a coordinate, over a block that stays in the cache */
    double gbs;       /* of what the stage must read and write, the latter twice */
    double of[LIMIT_KINDS];
};

void bench_print_limits(FILE *to, const struct limits *limits, size_t coordinates);
void bench_print_head(FILE *to);
void bench_print_row(FILE *to, const struct bench_row *row);
void bench_print_goals(FILE *to, const struct bench_row rows[], unsigned n, enum sp_cpu set);
/* Returns 0, or errno if it cannot be written. */
int bench_write_json(const char *path, const struct limits *limits, size_t coordinates, const struct bench_row rows[],
                     unsigned n);
