/* Which examples a worker takes in which round. The answer follows from (seed, N, workers, batch, round, slot) alone,
 * so that a worker that joins late or takes over a slot needs to be told nothing else.
 *
 * With W workers, b examples a batch and N examples, an epoch has R = ceil(N/(W*b)) rounds. In round t (from 1), of
 * epoch k = (t-1)/R at position p = (t-1)%R, example n of slot i's batch is
 *
 *     perm_k[(p*W*b + i*b + n) % N]
 *
 * where perm_k is the Fisher-Yates shuffle (R. Durstenfeld, CACM 7(7), 1964) of 0..N-1: for i from N-1 down to 1, swap
 * items i and sp_rng_below(i+1), of stream SP_RNG_BATCH with t = k and lane = 0. Where W*b does not divide N the last
 * round of an epoch wraps to its first examples.
 */
#pragma once

#include "common/error.h"

#include <stdint.h>

struct sp_batches;

/* examples: 1..SP_EXAMPLES_MAX; workers, batch: at least 1. Takes 4 bytes per example. On success the caller owns *out;
 * the one error is SP_E_NOMEM. */
int sp_batches_create(struct sp_batches **out, uint64_t seed, uint64_t examples, uint32_t workers, uint32_t batch,
                      struct sp_error *error);

/* NULL is allowed. */
void sp_batches_destroy(struct sp_batches *batches);

/* R, the number of rounds in an epoch. */
uint64_t sp_batches_epoch_rounds(const struct sp_batches *batches);

/* Writes the `batch` indices of this round (from 1) and slot (below `workers`). Rounds may come in any order; a round
 * of another epoch than the call before costs a shuffle of N. */
void sp_batches_pick(struct sp_batches *batches, uint32_t round, uint32_t slot, uint32_t *indices);
