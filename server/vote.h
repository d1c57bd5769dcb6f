/* The majority vote over packed signs, and what people want to know of it. Pure.
 *
 * Per coordinate V = (ones) - (zeros) over the M votes; the result is 1 for V > 0, 0 for V < 0, coin(j, t) for V == 0
 * (which includes M == 0). Signs are counted 64 at a time in bit planes: plane p holds bit p of the number of ones.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SP_VOTES_MAX 255

struct sp_vote_counts {
    uint64_t coordinates;
    uint64_t margin;    /* sum of |V| */
    uint64_t ties;      /* V == 0 */
    uint64_t unanimous; /* |V| == M */
    uint64_t flips;     /* result differs from `previous` */
};

/* votes[i] points to the bits of coordinates first..first+count-1 (first a multiple of 64) of one worker, i < voters,
 * voters <= SP_VOTES_MAX. `previous` are the bits of the update before, or NULL. Bits past `count` in `result` are 0.
 * What is NULL of the rest is not wanted, and not paid for: `planes` gets the numbers of ones as common/planes.h has
 * them, sp_planes_bytes(voters, count) bytes; *counts and disagree[] are added to, disagree[i] being the number of
 * coordinates where worker i differs from the result. */
void sp_vote(const uint8_t *const votes[], unsigned voters, uint64_t first, size_t count, uint32_t t,
             const uint8_t *previous, uint8_t *result, uint8_t *planes, struct sp_vote_counts *counts,
             uint64_t disagree[]);
