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
    enum sp_shards shards;
    bool shuffled;    /* until then the next three say nothing */
    uint32_t epoch;   /* that `order` belongs to */
    uint32_t slot;    /* as well, with by_label */
    uint64_t count;   /* items of `order`: N, or S */
    uint32_t *sorted; /* with by_label: N indices, sorted by label; they lie behind `order` */
    uint32_t order[]; /* perm_epoch, or the slot's shard_epoch: room for N */
};

/* By counting: examples of equal labels stay in their order. */
static void sort_by_label(struct sp_batches *batches, const uint8_t *labels)
{
    uint32_t next[SP_CLASSES_MAX] = {0}, sum = 0;

    for (uint64_t i = 0; i < batches->examples; i++)
        next[labels[i]]++;
    for (unsigned label = 0; label < SP_CLASSES_MAX; label++) {
        uint32_t count = next[label];

        next[label] = sum;
        sum += count;
    }
    for (uint64_t i = 0; i < batches->examples; i++)
        batches->sorted[next[labels[i]]++] = (uint32_t)i;
}

int sp_batches_create(struct sp_batches **out, const struct sp_batches_options *options, struct sp_error *error)
{
    const uint64_t together = (uint64_t)options->workers * options->batch;
    const bool by_label = options->shards == SP_SHARDS_BY_LABEL;
    struct sp_batches *batches;

    sp_assert(options->examples >= 1 && options->examples <= SP_EXAMPLES_MAX);
    sp_assert(options->workers >= 1 && options->batch >= 1);
    sp_assert(!by_label || options->labels != NULL);
    batches = malloc(sizeof *batches + (size_t)options->examples * (by_label ? 2 : 1) * sizeof batches->order[0]);
    if (batches == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the order of %llu examples",
                            (unsigned long long)options->examples);
    *batches = (struct sp_batches){.seed = options->seed,
                                   .examples = options->examples,
                                   .workers = options->workers,
                                   .batch = options->batch,
                                   .epoch_rounds = options->examples / together + (options->examples % together != 0),
                                   .shards = options->shards};
    if (by_label) {
        batches->sorted = batches->order + options->examples;
        sort_by_label(batches, options->labels);
    }
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

/* Everything, in order. */
static void fill_all(struct sp_batches *batches)
{
    batches->count = batches->examples;
    for (uint32_t i = 0; i < batches->count; i++)
        batches->order[i] = i;
}

/* The slot's part of what was sorted. */
static void fill_shard(struct sp_batches *batches, uint32_t slot)
{
    uint64_t first = slot * batches->examples / batches->workers;
    uint64_t end = (slot + UINT64_C(1)) * batches->examples / batches->workers;

    if (batches->examples < batches->workers) {
        first = slot % batches->examples;
        end = first + 1;
    }
    batches->count = end - first;
    for (uint64_t i = first; i < end; i++)
        batches->order[i - first] = batches->sorted[i];
}

static void shuffle(struct sp_batches *batches, uint32_t epoch, uint32_t lane)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(batches->seed, SP_RNG_BATCH), epoch, lane);
    for (uint32_t i = (uint32_t)(batches->count - 1); i > 0; i--) {
        uint32_t other = sp_rng_below(&rng, i + 1);
        uint32_t moved = batches->order[other];

        batches->order[other] = batches->order[i];
        batches->order[i] = moved;
    }
}

/* Makes `order` that of this epoch and, if each has its own, of this slot. */
static void prepare(struct sp_batches *batches, uint32_t epoch, uint32_t slot)
{
    bool own = batches->shards == SP_SHARDS_BY_LABEL;

    if (batches->shuffled && batches->epoch == epoch && (!own || batches->slot == slot))
        return;
    if (own)
        fill_shard(batches, slot);
    else
        fill_all(batches);
    shuffle(batches, epoch, own ? slot + 1 : 0);
    batches->epoch = epoch;
    batches->slot = slot;
    batches->shuffled = true;
}

void sp_batches_pick(struct sp_batches *batches, uint32_t round, uint32_t slot, uint32_t *indices)
{
    uint64_t position, at;

    sp_assert(round >= 1);
    sp_assert(slot < batches->workers);
    prepare(batches, (uint32_t)((round - 1) / batches->epoch_rounds), slot);
    position = (round - 1) % batches->epoch_rounds;
    /* Within an epoch at most N + W*b, which is far below 2^64. */
    if (batches->shards == SP_SHARDS_BY_LABEL)
        at = position * batches->batch;
    else
        at = (position * batches->workers + slot) * batches->batch;
    for (uint64_t n = 0; n < batches->batch; n++)
        indices[n] = batches->order[(at + n) % batches->count];
}
