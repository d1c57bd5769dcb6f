#include "worker/train/batch.h"

#include "common/check.h"
#include "common/rng.h"
#include "worker/train/data.h"

#include <stdbool.h>
#include <stdlib.h>

struct sp_batches {
    uint64_t seed;
    uint64_t examples;     /* N */
    uint64_t workers;      /* W */
    uint64_t batch;        /* b */
    uint64_t epoch_rounds; /* R */
    uint32_t epoch;        /* that `order` belongs to; meaningless until `shuffled` */
    bool shuffled;
    uint32_t order[]; /* perm_epoch: N items */
};

int sp_batches_create(struct sp_batches **out, uint64_t seed, uint64_t examples, uint32_t workers, uint32_t batch,
                      struct sp_error *error)
{
    struct sp_batches *batches;
    uint64_t together = (uint64_t)workers * batch;

    sp_assert(examples >= 1 && examples <= SP_EXAMPLES_MAX);
    sp_assert(workers >= 1 && batch >= 1);
    batches = malloc(sizeof *batches + (size_t)examples * sizeof batches->order[0]);
    if (batches == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the order of %llu examples",
                            (unsigned long long)examples);
    batches->seed = seed;
    batches->examples = examples;
    batches->workers = workers;
    batches->batch = batch;
    batches->epoch_rounds = examples / together + (examples % together != 0);
    batches->epoch = 0;
    batches->shuffled = false;
    *out = batches;
    return SP_OK;
}

void sp_batches_destroy(struct sp_batches *batches)
{
    free(batches);
}

uint64_t sp_batches_epoch_rounds(const struct sp_batches *batches)
{
    return batches->epoch_rounds;
}

static void shuffle(struct sp_batches *batches, uint32_t epoch)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(batches->seed, SP_RNG_BATCH), epoch, 0);
    for (uint32_t i = 0; i < batches->examples; i++)
        batches->order[i] = i;
    for (uint32_t i = (uint32_t)(batches->examples - 1); i > 0; i--) {
        uint32_t other = sp_rng_below(&rng, i + 1);
        uint32_t moved = batches->order[other];

        batches->order[other] = batches->order[i];
        batches->order[i] = moved;
    }
    batches->epoch = epoch;
    batches->shuffled = true;
}

void sp_batches_pick(struct sp_batches *batches, uint32_t round, uint32_t slot, uint32_t *indices)
{
    uint32_t epoch;
    uint64_t at;

    sp_assert(round >= 1);
    sp_assert(slot < batches->workers);
    epoch = (uint32_t)((round - 1) / batches->epoch_rounds);
    if (!batches->shuffled || batches->epoch != epoch)
        shuffle(batches, epoch);
    /* Within an epoch at most N + W*b, which is far below 2^64. */
    at = ((round - 1) % batches->epoch_rounds * batches->workers + slot) * batches->batch;
    for (uint64_t n = 0; n < batches->batch; n++)
        indices[n] = batches->order[(at + n) % batches->examples];
}
