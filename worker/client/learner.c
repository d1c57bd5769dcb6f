#include "worker/client/learner.h"

#include "common/check.h"
#include "common/pack.h"
#include "common/weights.h"
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

int sp_learner_create(struct sp_learner *learner, const struct sp_layout *layout)
{
    uint64_t d = layout->coordinates;

    memset(learner, 0, sizeof *learner);
    sp_assert(d > 0);
    if (sp_layout_copy(&learner->layout, layout) != SP_OK)
        return SP_E_NOMEM;
    learner->theta = zeroed(d * sizeof(float));
    learner->m = zeroed(d * sizeof(float));
    learner->bits = zeroed(sp_bits_bytes(d));
    if (learner->theta == NULL || learner->m == NULL || learner->bits == NULL) {
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
    free(learner->bits);
    free(learner->values);
    free(learner->ranges);
    memset(learner, 0, sizeof *learner);
}

void sp_learner_set_up(struct sp_learner *learner, const struct sp_learner_setup *setup)
{
    learner->setup = *setup;
    learner->key = sp_rng_key(setup->seed, SP_RNG_DITHER);
}

void sp_learner_replaced(struct sp_learner *learner, uint32_t round)
{
    bool anew = round == 0 || round < learner->round;

    learner->round = round;
    learner->begun = false;
    learner->staged = 0;
    learner->has_dot = false;
    if (anew) {
        /* The job's start, or a job that began anew while this worker was away: nothing of before may show in it. */
        memset(learner->m, 0, (size_t)learner->layout.coordinates * sizeof *learner->m);
        learner->rms = 0.0;
        learner->own_rounds = 0;
    }
    if (learner->own_rounds == 0)
        learner->late = round > 0;
}

void sp_learner_begin(struct sp_learner *learner)
{
    sp_assert(!learner->begun);
    learner->begun = true;
    learner->abstained = false;
    learner->given = 0;
    learner->packed = 0;
    learner->ranges_count = learner->ranges_taken = 0;
    memset(&learner->gradient_squares, 0, sizeof learner->gradient_squares);
    memset(&learner->momentum_squares, 0, sizeof learner->momentum_squares);
    memset(learner->sketch, 0, sizeof learner->sketch);
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

/* In the SGD phase without momentum m is g itself: a momentum with beta1 = 0. */
static double current_beta1(const struct sp_learner *learner)
{
    bool plain = learner->phase == SP_PHASE_SGD && !learner->setup.momentum_after;

    return plain ? 0.0 : learner->setup.beta1;
}

/* The next range is there: into the momentum and the statistics with it. */
static void take_range(struct sp_learner *learner, const struct sp_learner_range *range)
{
    double beta1 = current_beta1(learner);
    float *m = learner->m + range->first;

    if (!sp_all_finite(range->values, range->count)) {
        learner->abstained = true;
        learner->abstentions++;
        return;
    }
    if (learner->given == 0)
        learner->own_rounds++;
    sp_momentum(m, range->values, range->count, (float)beta1, (float)(1.0 - beta1));
    sp_running_add_squares(&learner->gradient_squares, range->values, range->count);
    sp_running_add_squares(&learner->momentum_squares, m, range->count);
    if (learner->phase == SP_PHASE_SIGN)
        sp_sketch_add(learner->sketch, learner->setup.seed, learner->round + 1, range->first, range->values,
                      range->count);
    learner->given += range->count;
    learner->ranges_taken++;
}

int sp_learner_gradient(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values)
{
    const struct sp_learner_range range = {.first = first, .count = count, .values = values};
    uint64_t d = learner->layout.coordinates;
    int rc;

    sp_assert(learner->begun && first <= d && count <= d - first);
    if (learner->abstained || count == 0)
        return SP_OK;
    rc = keep_range(learner, &range);
    while (rc == SP_OK && !learner->abstained && learner->ranges_taken < learner->ranges_count &&
           learner->ranges[learner->ranges_taken].first == learner->given)
        take_range(learner, &learner->ranges[learner->ranges_taken]);
    return rc;
}

static bool dithers(const struct sp_learner *learner)
{
    return learner->phase == SP_PHASE_SIGN && learner->sigma > 0.0f;
}

/* The first round has no rms of the round before: it is packed once the whole of m is there. */
static bool must_wait_for_rms(const struct sp_learner *learner)
{
    return dithers(learner) && !learner->setup.dither_absolute && learner->rms == 0.0;
}

static uint32_t chunk_coordinates(const struct sp_learner *learner)
{
    return learner->phase == SP_PHASE_SIGN ? SP_CHUNK_SIGNS : SP_CHUNK_VALUES;
}

void sp_learner_packable(const struct sp_learner *learner, uint64_t *first, uint32_t *count)
{
    uint64_t chunk = chunk_coordinates(learner);
    uint64_t d = learner->layout.coordinates;
    uint64_t end = learner->packed + chunk < d ? learner->packed + chunk : d;
    uint64_t needed = must_wait_for_rms(learner) ? d : end;

    *first = learner->packed;
    *count = learner->given >= needed ? (uint32_t)(end - learner->packed) : 0;
}

static double momentum_rms(const struct sp_learner *learner)
{
    return sqrt(sp_running_total(&learner->momentum_squares) / (double)learner->layout.coordinates);
}

/* A worker that began with m = 0 in the middle of the job pushes m/(1-beta1^n), as Adam does, n its rounds so far. */
static float late_correction(const struct sp_learner *learner)
{
    double left = pow(current_beta1(learner), (double)learner->own_rounds);

    return learner->late ? (float)(1.0 / (1.0 - left)) : 1.0f;
}

static void pack_values(const struct sp_learner *learner, const float *m, uint32_t count, uint8_t *bulk)
{
    float factor = late_correction(learner);
    float value;

    for (uint32_t j = 0; j < count; j++) {
        value = factor == 1.0f ? m[j] : m[j] * factor;
        memcpy(bulk + (size_t)j * sizeof value, &value, sizeof value);
    }
}

size_t sp_learner_pack(struct sp_learner *learner, uint8_t *bulk)
{
    uint64_t first;
    uint32_t count;
    size_t bytes;

    sp_learner_packable(learner, &first, &count);
    sp_assert(count > 0);
    if (learner->phase == SP_PHASE_SIGN) {
        double scale = learner->rms > 0.0 ? learner->rms : 0.0;
        float gain = 0.0f;

        if (dithers(learner)) {
            if (learner->setup.dither_absolute)
                scale = 1.0;
            else if (learner->rms == 0.0)
                scale = momentum_rms(learner);
            gain = sp_dither_gain((double)learner->sigma, scale);
        }
        sp_dither_pack(learner->m + first, first, count, gain, learner->key, learner->setup.slot, learner->round + 1,
                       bulk);
        bytes = sp_bits_bytes(count);
    } else {
        pack_values(learner, learner->m + first, count, bulk);
        bytes = (size_t)count * sizeof(float);
    }
    learner->packed += count;
    return bytes;
}

void sp_learner_dot(const struct sp_learner *learner, struct sp_push *push)
{
    push->has_dot = learner->has_dot;
    push->dot = learner->has_dot ? learner->dot : 0.0;
}

bool sp_learner_next_push(struct sp_learner *learner, const struct sp_push *scalars, struct sp_message *message,
                          uint8_t *bulk, size_t *bytes)
{
    struct sp_frame *frame = &message->frame;
    bool last;

    memset(message, 0, sizeof *message);
    frame->type = SP_FRAME_PUSH;
    frame->round = learner->round + 1;
    sp_learner_packable(learner, &frame->first, &frame->count);
    last = frame->first + frame->count == learner->layout.coordinates;
    if (frame->count == 0 || (last && scalars == NULL))
        return false;
    if (last) {
        message->push = *scalars;
        frame->flags = SP_FRAME_LAST;
    }
    if (frame->first == 0)
        sp_learner_dot(learner, &message->push);
    *bytes = sp_learner_pack(learner, bulk);
    return true;
}

void sp_learner_scalars(const struct sp_learner *learner, double loss, uint32_t examples, struct sp_push *push)
{
    sp_assert(!learner->abstained && learner->given == learner->layout.coordinates);
    push->has_scalars = true;
    push->loss = loss;
    push->examples = examples;
    push->gradient_norm2 = sp_running_total(&learner->gradient_squares);
    push->has_sketch = learner->phase == SP_PHASE_SIGN;
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
        push->sketch[b] = (float)learner->sketch[b];
}

void *sp_learner_place(struct sp_learner *learner, const struct sp_frame *frame, struct sp_error *error)
{
    uint64_t d = learner->layout.coordinates;
    uint32_t chunk = chunk_coordinates(learner);
    size_t bytes = learner->phase == SP_PHASE_SIGN ? sp_bits_bytes(frame->count) : (size_t)frame->count * sizeof(float);

    if (frame->round != learner->round + 1) {
        (void)sp_error_set(error, SP_E_PROTOCOL, "UPDATE of round %u while the weights are those after round %u",
                           frame->round, learner->round);
        return NULL;
    }
    if (frame->first == 0)
        learner->staged = 0; /* the server collects this round anew */
    if (frame->first != learner->staged || frame->count > chunk || frame->first + frame->count > d ||
        (frame->count < chunk && frame->first + frame->count != d) || frame->bulk_bytes != bytes) {
        (void)sp_error_set(error, SP_E_PROTOCOL, "UPDATE with %u coordinates from %llu in %u bytes does not fit",
                           frame->count, (unsigned long long)frame->first, frame->bulk_bytes);
        return NULL;
    }
    if (learner->phase == SP_PHASE_SGD && learner->values == NULL)
        learner->values = zeroed(d * sizeof(float));
    if (learner->phase == SP_PHASE_SGD && learner->values == NULL) {
        (void)sp_error_set(error, SP_E_NOMEM, "no memory for the update of %llu coordinates", (unsigned long long)d);
        return NULL;
    }
    learner->staged += frame->count;
    if (learner->phase == SP_PHASE_SIGN)
        return learner->bits + frame->first / 8;
    return learner->values + frame->first;
}

/* <s_t, g_t> once s_t is final: it rides in the first push of the next round. */
static void take_dot(struct sp_learner *learner)
{
    struct sp_running_sum sum = {0};

    learner->has_dot = false;
    if (!learner->begun || learner->abstained || learner->phase != SP_PHASE_SIGN ||
        learner->given != learner->layout.coordinates)
        return;
    for (uint32_t i = 0; i < learner->ranges_count; i++) {
        const struct sp_learner_range *range = &learner->ranges[i];

        sp_running_add_dot(&sum, learner->bits, range->first, range->values, range->count);
    }
    learner->dot = sp_running_total(&sum);
    learner->has_dot = true;
}

static int check_digest(const struct sp_learner *learner, const struct sp_commit *commit, struct sp_error *error)
{
    uint64_t own;

    if (!commit->has_digest)
        return SP_OK;
    own = sp_weights_digest(learner->theta, learner->layout.coordinates);
    if (own == commit->digest)
        return SP_OK;
    return sp_error_set(error, SP_E_MISMATCH, "weights after round %u have digest %016llx, the server's have %016llx",
                        learner->round, (unsigned long long)own, (unsigned long long)commit->digest);
}

static void apply(struct sp_learner *learner, const struct sp_commit *commit)
{
    struct sp_step step = {
        .decay = commit->decay, .rate = commit->rate, .rates = commit->rates, .decays = commit->decays};

    if (learner->phase == SP_PHASE_SIGN)
        sp_weights_apply_signs(&learner->layout, &step, learner->bits, learner->theta);
    else
        sp_weights_apply_values(&learner->layout, &step, learner->values, learner->theta);
}

int sp_learner_commit(struct sp_learner *learner, uint32_t round, const struct sp_commit *commit,
                      struct sp_error *error)
{
    int rc;

    if (round != learner->round) {
        if (round != learner->round + 1)
            return sp_error_set(error, SP_E_PROTOCOL, "COMMIT of round %u while the weights are those after round %u",
                                round, learner->round);
        if ((commit->rates_count != 0 && commit->rates_count != learner->layout.tensors_count) ||
            (commit->decays_count != 0 && commit->decays_count != learner->layout.tensors_count))
            return sp_error_set(error, SP_E_PROTOCOL, "COMMIT with %u rates for %u tensors", commit->rates_count,
                                learner->layout.tensors_count);
        if (learner->staged != learner->layout.coordinates)
            return sp_error_set(error, SP_E_PROTOCOL, "COMMIT of round %u after %llu of %llu coordinates", round,
                                (unsigned long long)learner->staged, (unsigned long long)learner->layout.coordinates);
        rc = check_digest(learner, commit, error);
        if (rc != SP_OK)
            return rc;
        take_dot(learner);
        apply(learner, commit);
        if (learner->begun && !learner->abstained && learner->given == learner->layout.coordinates)
            learner->rms = momentum_rms(learner);
        learner->round = round;
    }
    /* A COMMIT of the round that the weights are from begins the next one anew: nothing of before may count in it. */
    learner->begun = false;
    learner->staged = 0;
    learner->phase = (enum sp_phase)commit->next_phase;
    learner->sigma = commit->next_sigma;
    return SP_OK;
}
