/* Which examples a worker takes in which round. The answer follows from (seed, N, workers, batch, round, slot), and
 * with by_label from the labels too, so that a worker that joins late or takes over a slot needs to be told nothing
 * else.
 *
 * With W workers, b examples a batch and N examples, an epoch has R = ceil(N/(W*b)) rounds. Round t (from 1) is of
 * epoch k = (t-1)/R, at position p = (t-1)%R.
 *
 * data.shards: iid. Example n of slot i's batch is
 *
 *     perm_k[(p*W*b + i*b + n) % N]
 *
 * where perm_k is the Fisher-Yates shuffle (R. Durstenfeld, CACM 7(7), 1964) of 0..N-1: for i from N-1 down to 1, swap
 * items i and sp_rng_below(i+1), of stream SP_RNG_BATCH with t = k and lane = 0. Where W*b does not divide N the last
 * round of an epoch wraps to its first examples.
 *
 * data.shards: by_label. All examples, sorted by label and among equal labels by index, are cut into W parts: slot i's
 * shard is items floor(i*N/W) .. floor((i+1)*N/W)-1 of that order. Where N < W, so that some would be empty, it is the
 * one item i % N. A slot sees no other examples. With S the size of the shard, example n of slot i's batch is
 *
 *     shard_k[(p*b + n) % S]
 *
 * where shard_k is the shard, shuffled likewise by stream SP_RNG_BATCH with t = k and lane = i + 1. R*b >= S: every
 * epoch has the whole shard, and wraps within it.
 */
#pragma once

#include "common/error.h"
#include "common/job.h"

#include <stdint.h>

struct sp_batches;

struct sp_batches_options {
    uint64_t seed;
    uint64_t examples;       /* N: 1..SP_EXAMPLES_MAX */
    uint32_t workers, batch; /* W and b: at least 1 */
    enum sp_shards shards;
    const uint8_t *labels; /* [examples], borrowed for sp_batches_create() alone; with iid it is not looked at */
};

/* Takes 4 bytes per example, with by_label 8. On success the caller owns *out; the one error is SP_E_NOMEM. */
int sp_batches_create(struct sp_batches **out, const struct sp_batches_options *options, struct sp_error *error);

/* NULL is allowed. */
void sp_batches_destroy(struct sp_batches *batches);

/* R, the number of rounds in an epoch. */
uint64_t sp_batches_epoch_rounds(const struct sp_batches *batches);

/* Writes the `batch` indices of this round (from 1) and slot (below `workers`). Rounds may come in any order; a round
 * of another epoch than the call before costs a shuffle of N; with by_label one of another epoch or slot, of a shard.
 */
void sp_batches_pick(struct sp_batches *batches, uint32_t round, uint32_t slot, uint32_t *indices);
