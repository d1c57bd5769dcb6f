/* From the momentum to PUSH frames: dither and pack in the sign and margin phases, code values in the SGD phase. */
#include "common/check.h"
#include "common/pack.h"
#include "worker/client/dither.h"
#include "worker/client/learner.h"

#include <math.h>
#include <string.h>

static bool dithers(const struct sp_learner *learner)
{
    return learner->phase != SP_PHASE_SGD && learner->sigma > 0.0f;
}

/* How much of the gradient must be there before the noise of a chunk is known. Noise that is relative to the rms of a
 * round before which there was none waits for that of this round: of all of m, or of the tensors that it touches. */
static uint64_t noise_needs(const struct sp_learner *learner, const struct sp_chunk *chunk)
{
    struct sp_layout_part part = {0};
    uint64_t needs = 0;

    if (!dithers(learner) || learner->setup.dither_scale == SP_DITHER_SCALE_ABSOLUTE)
        return 0;
    if (learner->setup.dither_scale == SP_DITHER_SCALE_JOB)
        return learner->rms == 0.0 ? learner->layout.coordinates : 0;
    while (sp_layout_next(&learner->layout, chunk->first, chunk->count, &part)) {
        if (learner->rms_tensor[part.index] == 0.0 && !sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            needs = part.tensor->first + part.tensor->count;
    }
    return needs;
}

/* False if all chunks are packed. */
static bool look_at_next(const struct sp_learner *learner, struct sp_chunk *chunk)
{
    struct sp_round_form form = sp_learner_form(learner);

    if (learner->next_chunk == sp_chunks_count(&learner->layout, &form))
        return false;
    *chunk = sp_chunk_at(&learner->layout, &form, learner->next_chunk);
    return true;
}

void sp_learner_expect_chunk(struct sp_learner *learner)
{
    struct sp_chunk chunk;

    if (look_at_next(learner, &chunk) && chunk.section == SP_SECTION_MAIN)
        learner->noise_from = noise_needs(learner, &chunk);
}

/* Whether there is a next chunk, and it can be packed now. `pushed`: the caller has given all of the round. */
static bool next_chunk(const struct sp_learner *learner, bool pushed, struct sp_chunk *chunk)
{
    if (!look_at_next(learner, chunk))
        return false;
    if (chunk->section != SP_SECTION_MAIN)
        return learner->given == learner->layout.coordinates && (pushed || chunk->section != SP_SECTION_BUFFERS);
    return learner->given >= chunk->first + chunk->count && learner->given >= learner->noise_from;
}

void sp_learner_packable(const struct sp_learner *learner, uint64_t *first, uint32_t *count)
{
    struct sp_chunk chunk = {.first = learner->packed};
    bool ready = next_chunk(learner, false, &chunk);

    *first = chunk.first;
    *count = ready ? chunk.count : 0;
}

/* A worker that began with m = 0 in the middle of the job pushes m/(1-beta1^n), as Adam does, n its rounds so far. */
static float late_correction(const struct sp_learner *learner)
{
    double left = pow(sp_learner_beta1(learner), (double)learner->own_rounds);

    return learner->late ? (float)(1.0 / (1.0 - left)) : 1.0f;
}

/* Values of m as they are pushed: m itself, or in `work` if they have to be corrected. */
static const float *corrected(struct sp_learner *learner, uint64_t first, uint32_t count)
{
    const float *m = learner->m + first;
    float factor = late_correction(learner);

    if (factor == 1.0f)
        return m;
    for (uint32_t j = 0; j < count; j++)
        learner->work[j] = m[j] * factor;
    return learner->work;
}

static float tensor_gain(const struct sp_learner *learner, uint32_t tensor)
{
    double rms = learner->rms_tensor[tensor];

    return sp_dither_gain((double)learner->sigma, rms > 0.0 ? rms : learner->rms_now[tensor]);
}

static float whole_gain(const struct sp_learner *learner)
{
    double scale = 1.0;

    if (!dithers(learner))
        return 0.0f;
    if (learner->setup.dither_scale == SP_DITHER_SCALE_JOB)
        scale = learner->rms > 0.0 ? learner->rms : sp_learner_momentum_rms(learner);
    return sp_dither_gain((double)learner->sigma, scale);
}

static void pack_signs_by_tensor(struct sp_learner *learner, uint64_t first, size_t count, uint8_t *bits)
{
    bool by_tensor = dithers(learner) && learner->setup.dither_scale == SP_DITHER_SCALE_TENSOR;
    float gain = whole_gain(learner);
    struct sp_layout_part part = {0};

    while (sp_layout_next(&learner->layout, first, count, &part))
        learner->gains[part.index] = by_tensor ? tensor_gain(learner, part.index) : gain;
    sp_dither_pack_tensors(&learner->layout, learner->gains, learner->m + first, first, count, learner->key,
                           learner->setup.slot, learner->round + 1, bits);
}

/* The signs up to coordinate `end` that are not in learner->signs yet. */
static void pack_signs(struct sp_learner *learner, uint64_t end)
{
    uint64_t first = learner->ahead;
    uint8_t *bits = learner->signs + (first - learner->packed) / 8;
    size_t count = (size_t)(end - first);

    if (count == 0)
        return;
    if (learner->gains != NULL)
        pack_signs_by_tensor(learner, first, count, bits);
    else
        sp_dither_pack(learner->m + first, first, count, whole_gain(learner), learner->key, learner->setup.slot,
                       learner->round + 1, bits);
    learner->ahead = end;
}

void sp_learner_pack_ahead(struct sp_learner *learner)
{
    struct sp_chunk chunk;
    uint64_t end = learner->given;

    if (learner->phase == SP_PHASE_SGD || learner->given < learner->noise_from || !look_at_next(learner, &chunk) ||
        chunk.section != SP_SECTION_MAIN)
        return;
    if (end >= chunk.first + chunk.count)
        end = chunk.first + chunk.count;
    else
        end -= end % 8; /* a byte is packed when all of it is there */
    pack_signs(learner, end);
}

/* The values first.. of those that travel in full, gathered from their tensors. */
static void pack_full(struct sp_learner *learner, const struct sp_chunk *chunk, uint8_t *bulk)
{
    const struct sp_layout *layout = &learner->layout;
    uint64_t at = chunk->first, end = chunk->first + chunk->count;

    for (uint32_t i = 0; i < layout->trained && at < end; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];
        uint64_t skip, n;

        if (!sp_tensor_is(tensor, SP_TENSOR_FULL) || at >= tensor->full_first + tensor->count)
            continue;
        skip = at - tensor->full_first;
        n = tensor->count - skip < end - at ? tensor->count - skip : end - at;
        memcpy(bulk, corrected(learner, tensor->first + skip, (uint32_t)n), (size_t)n * sizeof(float));
        bulk += (size_t)n * sizeof(float);
        at += n;
    }
}

static void pack_main(struct sp_learner *learner, const struct sp_chunk *chunk, uint8_t *bulk)
{
    if (learner->phase != SP_PHASE_SGD) {
        pack_signs(learner, chunk->first + chunk->count);
        memcpy(bulk, learner->signs, chunk->bytes);
    } else {
        float *residual = learner->wire == SP_WIRE_I8 ? learner->residual + chunk->first : NULL;

        sp_values_encode(learner->wire, &learner->layout, chunk->first, chunk->count,
                         corrected(learner, chunk->first, chunk->count), residual, bulk);
    }
    learner->packed += chunk->count;
    learner->ahead = learner->packed;
}

/* Any bits are signs, but for those past the end; values must be finite. */
static void pack_nothing(struct sp_learner *learner, const struct sp_chunk *chunk, uint8_t *bulk)
{
    if (chunk->section != SP_SECTION_MAIN || learner->phase == SP_PHASE_SGD || learner->layout.full > 0)
        memset(bulk, 0, chunk->bytes);
    else
        bulk[chunk->bytes - 1] &= (uint8_t)(0xff >> (-chunk->count % 8));
    if (chunk->section == SP_SECTION_MAIN)
        learner->packed += chunk->count;
}

static void pack(struct sp_learner *learner, const struct sp_chunk *chunk, uint8_t *bulk)
{
    if (learner->exchange_only)
        pack_nothing(learner, chunk, bulk);
    else if (chunk->section == SP_SECTION_MAIN)
        pack_main(learner, chunk, bulk);
    else if (chunk->section == SP_SECTION_FULL)
        pack_full(learner, chunk, bulk);
    else
        memcpy(bulk, learner->buffers + chunk->first, chunk->bytes);
    learner->next_chunk++;
    sp_learner_expect_chunk(learner);
}

size_t sp_learner_pack(struct sp_learner *learner, uint8_t *bulk)
{
    struct sp_chunk chunk;
    bool ready = next_chunk(learner, false, &chunk);

    sp_assert(ready);
    pack(learner, &chunk, bulk);
    return chunk.bytes;
}

void sp_learner_dot(const struct sp_learner *learner, struct sp_push *push)
{
    push->has_dot = learner->has_dot;
    push->dot = learner->has_dot ? learner->dot : 0.0;
}

bool sp_learner_has_push(const struct sp_learner *learner, const struct sp_push *scalars)
{
    struct sp_chunk chunk;

    return next_chunk(learner, scalars != NULL, &chunk) && (scalars != NULL || (chunk.flags & SP_FRAME_LAST) == 0);
}

bool sp_learner_next_push(struct sp_learner *learner, const struct sp_push *scalars, struct sp_message *message,
                          uint8_t *bulk, size_t *bytes)
{
    struct sp_frame *frame = &message->frame;
    struct sp_chunk chunk;
    bool last;

    memset(message, 0, sizeof *message);
    if (!sp_learner_has_push(learner, scalars) || !look_at_next(learner, &chunk))
        return false;
    last = (chunk.flags & SP_FRAME_LAST) != 0;
    if (last)
        message->push = *scalars;
    if (learner->next_chunk == 0)
        sp_learner_dot(learner, &message->push);
    frame->type = SP_FRAME_PUSH;
    frame->round = learner->round + 1;
    frame->first = chunk.first;
    frame->count = chunk.count;
    frame->flags = chunk.flags;
    pack(learner, &chunk, bulk);
    *bytes = chunk.bytes;
    return true;
}

void sp_learner_scalars(const struct sp_learner *learner, double loss, uint32_t examples, struct sp_push *push)
{
    sp_assert(!learner->abstained && learner->given == learner->layout.coordinates);
    push->has_scalars = true;
    push->loss = loss;
    push->examples = examples;
    push->gradient_norm2 = sp_running_total(&learner->gradient_squares);
    push->has_sketch = sp_learner_gives_statistics(learner);
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
        push->sketch[b] = (float)learner->sketch[b];
}
