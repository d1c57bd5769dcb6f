/* signpost-worker, but it lies. The linker puts __wrap_sp_codec_complete() in front of what makes PUSH frames
 * (-Wl,--wrap), so that everything else, checksums included, is the real worker's.
 *
 *   SP_LIE=flip      every bit is turned over, every value negated
 *   SP_LIE=scale     values times 1e6; bits stay as they are
 *   SP_LIE=reverse   values times -1e6; bits turned over
 *   SP_LIE=nan       values that are not numbers; bits stay as they are
 *   SP_LIE=scalars   loss, norm, sketch and dot times 1e3 and negated, or random, in turns
 *   SP_LIE_FROM      the first round that it lies in; without it the first of the job
 *   SP_LIE_PHASE     sign or sgd: it lies in no other phase (a margin round's votes are those of the sign phase)
 */
#include "proto/codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void __real_sp_codec_complete(struct sp_buffer *buffer, const struct sp_message *message, size_t bulk_bytes);
void __wrap_sp_codec_complete(struct sp_buffer *buffer, const struct sp_message *message, size_t bulk_bytes);

enum lie { LIE_NONE, LIE_FLIP, LIE_SCALE, LIE_REVERSE, LIE_NAN, LIE_SCALARS };

static enum lie lie_of_job(void)
{
    static const char *const names[] = {"", "flip", "scale", "reverse", "nan", "scalars"};
    const char *word = getenv("SP_LIE");

    for (unsigned i = 0; word != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(word, names[i]) == 0)
            return (enum lie)i;
    }
    if (word != NULL) {
        (void)fprintf(stderr, "liar: SP_LIE=%s is not flip, scale, reverse, nan or scalars\n", word);
        exit(2);
    }
    return LIE_NONE;
}

static bool lies_in(uint32_t round, bool bits)
{
    const char *from = getenv("SP_LIE_FROM"), *phase = getenv("SP_LIE_PHASE");

    if (from != NULL && round < strtoul(from, NULL, 10))
        return false;
    return phase == NULL || strcmp(phase, bits ? "sign" : "sgd") == 0;
}

static void lie_in_bits(enum lie lie, const struct sp_frame *frame, uint8_t *bulk, size_t bytes)
{
    if (lie != LIE_FLIP && lie != LIE_REVERSE)
        return;
    for (size_t i = 0; i < bytes; i++)
        bulk[i] = (uint8_t)~bulk[i];
    bulk[bytes - 1] &= (uint8_t)(0xff >> (-frame->count % 8));
}

static float lie_of(enum lie lie, float value)
{
    if (lie == LIE_NAN)
        return NAN;
    if (lie == LIE_SCALE || lie == LIE_REVERSE)
        value *= 1e6f;
    return lie == LIE_FLIP || lie == LIE_REVERSE ? -value : value;
}

static void lie_in_floats(enum lie lie, uint8_t *bulk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float value;

        memcpy(&value, bulk + i * sizeof value, sizeof value);
        value = lie_of(lie, value);
        memcpy(bulk + i * sizeof value, &value, sizeof value);
    }
}

static void lie_in_halves(enum lie lie, uint8_t *bulk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)(bulk[2 * i] | bulk[2 * i + 1] << 8) << 16;
        float value;

        memcpy(&value, &bits, sizeof value);
        value = lie_of(lie, value);
        memcpy(&bits, &value, sizeof bits);
        bulk[2 * i] = (uint8_t)(bits >> 16);
        bulk[2 * i + 1] = (uint8_t)(bits >> 24);
    }
}

/* The scales of all blocks, then a byte a coordinate. No scale is negative. */
static void lie_in_blocks(enum lie lie, uint8_t *bulk, size_t bytes, size_t count)
{
    size_t scales = bytes - count;

    if (lie != LIE_FLIP)
        lie_in_floats(lie == LIE_REVERSE ? LIE_SCALE : lie, bulk, scales / sizeof(float));
    for (size_t i = scales; (lie == LIE_FLIP || lie == LIE_REVERSE) && i < bytes; i++)
        bulk[i] = (uint8_t)-bulk[i];
}

/* What form the numbers have follows from their length. */
static void lie_in_bulk(enum lie lie, const struct sp_frame *frame, uint8_t *bulk, size_t bytes)
{
    size_t count = frame->count;
    bool bits = bytes == (count + 7) / 8;

    if (!lies_in(frame->round, bits))
        return;
    if (bits)
        lie_in_bits(lie, frame, bulk, bytes);
    else if (bytes == 4 * count)
        lie_in_floats(lie, bulk, count);
    else if (bytes == 2 * count)
        lie_in_halves(lie, bulk, count);
    else
        lie_in_blocks(lie, bulk, bytes, count);
}

/* Rounds in turns: -1e3 times the truth, or a number that has nothing to do with it. */
static double forge(double value, uint32_t round, uint32_t k)
{
    if (round % 2 == 0)
        return -1e3 * value;
    return 1e3 * (2.0 * (double)((k * UINT32_C(2654435761) + round * UINT32_C(40503)) >> 8) / 16777216.0 - 1.0);
}

static void lie_in_scalars(uint32_t round, struct sp_push *push)
{
    push->dot = forge(push->dot, round, 1);
    push->loss = forge(push->loss, round, 2);
    push->gradient_norm2 = fabs(forge(push->gradient_norm2, round, 3));
    for (uint32_t b = 0; b < SP_SKETCH_BUCKETS; b++)
        push->sketch[b] = (float)forge((double)push->sketch[b], round, 4 + b);
}

void __wrap_sp_codec_complete(struct sp_buffer *buffer, const struct sp_message *message, size_t bulk_bytes)
{
    struct sp_message lied = *message;
    enum lie lie = lie_of_job();
    bool bits = bulk_bytes == (message->frame.count + 7) / 8;

    if (message->frame.type == SP_FRAME_PUSH && lie == LIE_SCALARS && lies_in(message->frame.round, bits))
        lie_in_scalars(message->frame.round, &lied.push);
    else if (message->frame.type == SP_FRAME_PUSH && lie != LIE_NONE)
        lie_in_bulk(lie, &message->frame, sp_buffer_bulk(buffer), bulk_bytes);
    __real_sp_codec_complete(buffer, &lied, bulk_bytes);
}
