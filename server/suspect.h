/* Which workers vote against the others: a test that is valid whenever it is looked at. Pure.
 *
 * Now and then a sample of the round's coordinates is taken, and each two voters i and j are compared:
 *     c_ij = mean of v_i*v_j over the coordinates on which both voted, v = +1 or -1
 * Workers that draw from the same data agree on what the gradient has in common: c_ij is not below zero on average. Of
 * every pair the sum of its samples is kept, and the two are *opposed* when it is lower than chance explains:
 *     sum + slack*k < -sigma * sqrt((k + 1) * (ln(k + 1) + 2*ln(1/alpha))),  k samples, at least 4
 * the bound of Robbins' normal mixture (Robbins, Ann. Math. Stat. 41, 1970), which a sum of k samples without drift
 * crosses at any k with a probability of at most alpha = 1e-3 / pairs of the job. A worker is *suspected* when it is
 * opposed to more than half of the others.
 *
 * Why pairs: what two honest workers have in common is out of reach of all others. As long as more than half of the
 * workers are honest, an honest one has at most half of the others against it, whatever these vote and however they
 * agree on it; to suspect it, a pair of honest workers must be found opposed. So at most one job in 1000 suspects an
 * honest worker. A worker that turns its bits over is opposed to every honest one.
 *
 * The slack of 0.01: examples are drawn without replacement, so that what one worker's batch has too much of the
 * others' have too little of; where the gradient is all noise, workers of a small data set oppose each other that
 * little. sigma^2 comes from differences between successive samples of a pair (a liar cannot make that of two honest
 * ones smaller), but is at least the median of all pairs', because few differences say little, and 1/coordinates.
 */
#pragma once

#include "proto/codec.h"

#include <stdbool.h>
#include <stdint.h>

#define SP_SUSPECT_PAIRS (SP_SLOTS_MAX * (SP_SLOTS_MAX - 1) / 2)
#define SP_SAMPLE_WORDS_MAX 256   /* of one voter */
#define SP_SAMPLE_WORDS_ALL 16384 /* of all: sp_vote_sample_begin() gives many voters fewer words each */

/* Two slots that have been compared. */
struct sp_suspect_pair {
    double sum;     /* of c_ij */
    double squares; /* of the differences between successive c_ij */
    double last;    /* c_ij of the last sample */
    uint32_t samples;
};

/* All that is kept between samples. All zeros: nothing yet. */
struct sp_suspicion {
    uint32_t round;                                 /* of the last sample; 0: none */
    bool suspected[SP_SLOTS_MAX];                   /* the worker that has this slot */
    bool excluded[SP_SLOTS_MAX];                    /* it is also kept out of rounds; set by who acts on suspicion */
    struct sp_suspect_pair pairs[SP_SUSPECT_PAIRS]; /* slots i < j at j*(j-1)/2 + i; those of n slots come first */
};

/* One sample: words of 64 coordinates; those of voter v begin at word v*words. */
struct sp_vote_sample {
    unsigned voters, words;
    uint64_t coordinates; /* how many the words have at most */
    uint8_t slots[SP_SLOTS_MAX];
    uint64_t signs[SP_SAMPLE_WORDS_ALL]; /* 1 is +1 */
    uint64_t given[SP_SAMPLE_WORDS_ALL]; /* whether there is a vote: a value of 0 is none */
    double variances[SP_SUSPECT_PAIRS];  /* room for the judge to order them */
};

struct sp_suspect {
    unsigned slot;
    unsigned opposed, others; /* it is opposed to so many of so many */
    double correlation;       /* as sp_suspicion_correlation() has it */
    uint32_t samples;         /* of the pair that has the most */
};

/* Rounds from one sample to the next: as many as momentum takes to forget most of the one before. */
uint32_t sp_suspect_interval(double beta1);

/* A sample of these voters' votes on `count` coordinates: sets voters, slots and how many words of each are taken. */
void sp_vote_sample_begin(struct sp_vote_sample *sample, unsigned voters, const uint8_t *slots, uint64_t count);

/* The sample is complete: adds it to the sums. */
void sp_suspicion_add(struct sp_suspicion *s, const struct sp_vote_sample *sample, uint32_t round);

/* Who of the voters of this sample, which was added last, is suspected now and was not before; their number. `workers`
 * are the slots of the job; `present` how many workers there are, whether they were in time to vote or not: it is their
 * majority that decides. */
unsigned sp_suspicion_judge(struct sp_suspicion *s, struct sp_vote_sample *sample, unsigned workers, unsigned present,
                            struct sp_suspect suspects[SP_SLOTS_MAX]);

/* Another worker takes the slot: nothing is known of it. */
void sp_suspicion_forget(struct sp_suspicion *s, unsigned slot);

/* Half of the others of `workers` that are not excluded, or more, have this mean of c_ij with the slot, or a higher
 * one: with an honest worker it is not below zero for long, whatever fewer than half of all do. NaN before the first.
 */
double sp_suspicion_correlation(const struct sp_suspicion *s, unsigned slot, unsigned workers);
