#include "worker/client/learner.h"

#include "common/check.h"
#include "common/pack.h"
#include "worker/client/dither.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static void *zeroed(uint64_t bytes)
{
    uint64_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, (size_t)rounded);

    if (memory != NULL)
        memset(memory, 0, (size_t)rounded);
    return memory;
}

static bool create_arrays(struct sp_learner *learner)
{
    uint64_t d = learner->layout.coordinates;

    learner->theta = zeroed(d * sizeof(float));
    learner->m = zeroed(d * sizeof(float));
    learner->bits = zeroed(sp_bits_bytes(d));
    learner->coded = zeroed(SP_BULK_BYTES_MAX);
    learner->work = zeroed((uint64_t)SP_CHUNK_SHORT * sizeof(float));
    learner->signs = zeroed(SP_BULK_BYTES_MAX);
    if (learner->layout.buffers > 0) {
        learner->buffers = zeroed(learner->layout.buffers * sizeof(float));
        learner->averages = zeroed(learner->layout.buffers * sizeof(float));
    }
    return learner->theta != NULL && learner->m != NULL && learner->bits != NULL && learner->coded != NULL &&
           learner->work != NULL && learner->signs != NULL &&
           (learner->layout.buffers == 0 || (learner->buffers != NULL && learner->averages != NULL));
}

int sp_learner_create(struct sp_learner *learner, const struct sp_layout *layout)
{
    memset(learner, 0, sizeof *learner);
    sp_assert(layout->coordinates > 0);
    if (sp_layout_copy(&learner->layout, layout) != SP_OK)
        return SP_E_NOMEM;
    if (!create_arrays(learner)) {
        sp_learner_finish(learner);
        return SP_E_NOMEM;
    }
    return SP_OK;
}

void sp_learner_finish(struct sp_learner *learner)
{
    sp_layout_finish(&learner->layout);
    free(learner->theta);
    free(learner->m);
    free(learner->buffers);
    free(learner->bits);
    free(learner->values);
    free(learner->full);
    free(learner->averages);
    free(learner->coded);
    free(learner->residual);
    free(learner->work);
    free(learner->signs);
    free(learner->ranges);
    free(learner->rms_tensor);
    free(learner->rms_now);
    free(learner->gains);
    memset(learner, 0, sizeof *learner);
}

/* Of each tensor; those that an earlier call made are kept. */
static bool set_up_tensors(struct sp_learner *learner)
{
    uint64_t trained = learner->layout.trained;

    if (learner->rms_tensor == NULL)
        learner->rms_tensor = zeroed(trained * sizeof(double));
    if (learner->rms_now == NULL)
        learner->rms_now = zeroed(trained * sizeof(double));
    if (learner->gains == NULL)
        learner->gains = zeroed(trained * sizeof(float));
    return learner->rms_tensor != NULL && learner->rms_now != NULL && learner->gains != NULL;
}

/* The arrays that only some jobs need. */
static bool set_up_arrays(struct sp_learner *learner)
{
    const struct sp_layout *layout = &learner->layout;

    free(learner->full);
    learner->full = layout->full > 0 ? zeroed(layout->full * sizeof(float)) : NULL;
    if (layout->full > 0 && learner->full == NULL)
        return false;
    return (learner->setup.dither_scale != SP_DITHER_SCALE_TENSOR && layout->full == 0) || set_up_tensors(learner);
}

int sp_learner_set_up(struct sp_learner *learner, const struct sp_learner_setup *setup)
{
    learner->setup = *setup;
    learner->setup.traits = NULL;
    learner->key = sp_rng_key(setup->seed, SP_RNG_DITHER);
    sp_layout_set_traits(&learner->layout, setup->traits);
    return set_up_arrays(learner) ? SP_OK : SP_E_NOMEM;
}

/* A server that was started again may be some rounds behind its workers: m may be ahead of the weights, too. */
static enum sp_momentum_fate judge_momentum(const struct sp_learner *learner, uint32_t round)
{
    uint32_t of = learner->momentum_round;
    uint64_t run = learner->setup.run;

    if (learner->own_rounds == 0)
        return SP_MOMENTUM_ABSENT;
    if (run != learner->momentum_run && run != 0 && learner->momentum_run != 0)
        return SP_MOMENTUM_FOREIGN;
    if (round == 0) /* the job begins, and nothing of before may show in it */
        return SP_MOMENTUM_OLD;
    return (round > of ? round - of : of - round) <= SP_MOMENTUM_AGE_MAX ? SP_MOMENTUM_KEPT : SP_MOMENTUM_OLD;
}

static void drop_momentum(struct sp_learner *learner)
{
    const struct sp_layout *layout = &learner->layout;

    memset(learner->m, 0, (size_t)layout->coordinates * sizeof *learner->m);
    learner->rms = 0.0;
    if (learner->rms_tensor != NULL)
        memset(learner->rms_tensor, 0, layout->trained * sizeof *learner->rms_tensor);
    learner->own_rounds = learner->momentum_round = 0;
    learner->momentum_run = 0;
}

enum sp_momentum_fate sp_learner_replaced(struct sp_learner *learner, uint32_t round)
{
    const struct sp_layout *layout = &learner->layout;
    enum sp_momentum_fate fate = judge_momentum(learner, round);

    learner->round = round;
    learner->begun = false;
    learner->staged = 0;
    learner->staged_chunks = 0;
    learner->has_dot = false;
    if (learner->residual != NULL)
        memset(learner->residual, 0, (size_t)layout->coordinates * sizeof *learner->residual);
    if (fate != SP_MOMENTUM_KEPT)
        drop_momentum(learner);
    if (learner->own_rounds == 0)
        learner->late = round > 0;
    return fate;
}

void sp_learner_keep_rms(struct sp_learner *learner)
{
    double *before = learner->rms_tensor;

    learner->rms = sp_learner_momentum_rms(learner);
    learner->rms_tensor = learner->rms_now;
    learner->rms_now = before;
}

void sp_learner_resume(struct sp_learner *learner, uint64_t run, uint32_t round, uint32_t own_rounds, bool late)
{
    sp_assert(learner->own_rounds == 0 && own_rounds > 0 && !learner->begun);
    learner->momentum_run = run;
    learner->momentum_round = round;
    learner->own_rounds = own_rounds;
    learner->late = late;
    sp_learner_measure(learner);
    sp_learner_keep_rms(learner);
}

struct sp_round_form sp_learner_form(const struct sp_learner *learner)
{
    return (struct sp_round_form){.phase = learner->phase, .wire = learner->wire, .buffers = learner->buffers_due};
}

void sp_learner_begin(struct sp_learner *learner)
{
    sp_assert(!learner->begun);
    learner->begun = true;
    learner->abstained = false;
    learner->given = 0;
    learner->packed = learner->ahead = 0;
    learner->next_chunk = 0;
    learner->ranges_count = learner->ranges_taken = 0;
    memset(&learner->gradient_squares, 0, sizeof learner->gradient_squares);
    memset(&learner->momentum_squares, 0, sizeof learner->momentum_squares);
    memset(&learner->tensor_squares, 0, sizeof learner->tensor_squares);
    memset(learner->sketch, 0, sizeof learner->sketch);
    sp_learner_expect_chunk(learner);
}

/* Index of the first range that begins after `first`. */
static uint32_t find_range(const struct sp_learner *learner, uint64_t first)
{
    uint32_t low = 0, high = learner->ranges_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (learner->ranges[middle].first <= first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int keep_range(struct sp_learner *learner, const struct sp_learner_range *range)
{
    uint32_t at = find_range(learner, range->first);
    struct sp_learner_range *ranges = learner->ranges;

    if ((at > 0 && ranges[at - 1].first + ranges[at - 1].count > range->first) ||
        (at < learner->ranges_count && range->first + range->count > ranges[at].first))
        return SP_E_RANGE;
    if (learner->ranges_count == learner->ranges_room) {
        uint32_t room = learner->ranges_room == 0 ? 16 : learner->ranges_room * 2;

        ranges = reallocarray(learner->ranges, room, sizeof *ranges);
        if (ranges == NULL)
            return SP_E_NOMEM;
        learner->ranges = ranges;
        learner->ranges_room = room;
    }
    memmove(&ranges[at + 1], &ranges[at], (learner->ranges_count - at) * sizeof *ranges);
    ranges[at] = *range;
    learner->ranges_count++;
    return SP_OK;
}

/* Where g is pushed, m is g itself: a momentum with beta1 = 0. */
double sp_learner_beta1(const struct sp_learner *learner)
{
    bool plain = learner->phase == SP_PHASE_SGD && !learner->setup.momentum_after;

    return plain ? 0.0 : learner->setup.beta1;
}

bool sp_learner_gives_statistics(const struct sp_learner *learner)
{
    return learner->phase != SP_PHASE_SGD || learner->setup.tracking;
}

double sp_learner_momentum_rms(const struct sp_learner *learner)
{
    uint64_t voted = learner->layout.coordinates - learner->layout.full;

    return voted > 0 ? sqrt(sp_running_total(&learner->momentum_squares) / (double)voted) : 0.0;
}

int sp_learner_offer(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values)
{
    const struct sp_learner_range range = {.first = first, .count = count, .values = values};
    uint64_t d = learner->layout.coordinates;

    sp_assert(learner->begun && first <= d && count <= d - first);
    return learner->abstained || count == 0 ? SP_OK : keep_range(learner, &range);
}

int sp_learner_gradient(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values)
{
    int rc = sp_learner_offer(learner, first, count, values);

    while (rc == SP_OK && sp_learner_take(learner))
        continue;
    return rc;
}
