/* From the gradient to the momentum, block by block: what the stages need of a block is read from memory once, and lies
 * in the first-level cache for the rest. Signs are packed with it, as far as their noise is known.
 */
#include "common/check.h"
#include "worker/client/dither.h"
#include "worker/client/learner.h"

#include <math.h>
#include <string.h>

/* Coordinates: 8 KiB of the gradient and 8 KiB of the momentum. */
#define BLOCK 2048u

static void sum_values(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values)
{
    if (sp_learner_gives_statistics(learner))
        sp_running_add_squares_sketch(&learner->gradient_squares, learner->sketch, learner->setup.seed,
                                      learner->round + 1, first, values, count);
    else
        sp_running_add_squares(&learner->gradient_squares, values, count);
    sp_running_add_squares(&learner->momentum_squares, learner->m + first, count);
}

static void sum_tensor(struct sp_learner *learner, const struct sp_layout_part *part)
{
    const struct sp_tensor *tensor = part->tensor;

    sp_running_add_squares(&learner->tensor_squares, learner->m + part->first, part->count);
    if (part->first + part->count < tensor->first + tensor->count)
        return;
    learner->rms_now[part->index] = sqrt(sp_running_total(&learner->tensor_squares) / (double)tensor->count);
    memset(&learner->tensor_squares, 0, sizeof learner->tensor_squares);
}

/* The sums over a block that is in m, tensor by tensor where they are not all alike. */
static void sum_block(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values)
{
    struct sp_layout_part part = {0};

    if (learner->rms_now == NULL) {
        sum_values(learner, first, count, values);
        return;
    }
    while (sp_layout_next(&learner->layout, first, count, &part)) {
        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            continue;
        sum_values(learner, part.first, part.count, values + (part.first - first));
        sum_tensor(learner, &part);
    }
}

void sp_learner_measure(struct sp_learner *learner)
{
    struct sp_layout_part part = {0};

    memset(&learner->momentum_squares, 0, sizeof learner->momentum_squares);
    memset(&learner->tensor_squares, 0, sizeof learner->tensor_squares);
    if (learner->rms_now == NULL) {
        sp_running_add_squares(&learner->momentum_squares, learner->m, learner->layout.coordinates);
        return;
    }
    while (sp_layout_next(&learner->layout, 0, learner->layout.coordinates, &part)) {
        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            continue;
        sp_running_add_squares(&learner->momentum_squares, learner->m + part.first, part.count);
        sum_tensor(learner, &part);
    }
}

/* False if it is not finite: the worker abstains from there on. */
static bool take_block(struct sp_learner *learner, uint64_t count, const float *values)
{
    double beta1 = sp_learner_beta1(learner);
    uint64_t first = learner->given;

    if (!sp_all_finite(values, count)) {
        learner->abstained = true;
        learner->abstentions++;
        return false;
    }
    if (first == 0) {
        learner->own_rounds++;
        learner->momentum_round = learner->round + 1;
        learner->momentum_run = learner->setup.run;
    }
    sp_momentum(learner->m + first, values, count, (float)beta1, (float)(1.0 - beta1));
    sum_block(learner, first, count, values);
    learner->given += count;
    sp_learner_pack_ahead(learner);
    return true;
}

static void take_blocks(struct sp_learner *learner, const struct sp_learner_range *range, uint64_t end)
{
    bool good = true;

    if (learner->exchange_only)
        learner->given = end;
    while (good && learner->given < end) {
        uint64_t count = BLOCK - learner->given % BLOCK;

        if (count > end - learner->given)
            count = end - learner->given;
        good = take_block(learner, count, range->values + (learner->given - range->first));
    }
    learner->ranges_taken += learner->given == range->first + range->count;
}

bool sp_learner_take(struct sp_learner *learner)
{
    struct sp_round_form form = sp_learner_form(learner);
    const struct sp_learner_range *range = &learner->ranges[learner->ranges_taken];
    uint64_t size = sp_chunk_size(&form), end = (learner->given / size + 1) * size;

    if (learner->abstained || learner->ranges_taken == learner->ranges_count || learner->given < range->first)
        return false;
    if (end > range->first + range->count)
        end = range->first + range->count;
    take_blocks(learner, range, end);
    return true;
}
