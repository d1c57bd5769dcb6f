#include "common/values.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A chunk of i8 has up to 32768 coordinates, and its bulk 64 KiB. */
_Static_assert(SP_I8_BYTES_MAX(32768) <= 65536, "a chunk of i8 fits whatever the layout");

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Values travel as they lie in little-endian memory; this processor is big-endian"
#endif

#define ROUNDER 12582912.0f /* 1.5 * 2^23: a float32 of this size has no bits behind the point */
#define FINITE_MAX UINT32_C(0x7f7fffff)
#define INFINITE_BITS UINT32_C(0x7f800000)
#define BLOCK SP_I8_BLOCK

static size_t blocks_of(uint64_t count)
{
    return (size_t)((count + BLOCK - 1) / BLOCK);
}

static size_t count_blocks(const struct sp_layout *layout, uint64_t first, uint64_t count)
{
    struct sp_layout_part part = {0};
    size_t blocks = 0;

    while (sp_layout_next(layout, first, count, &part))
        blocks += blocks_of(part.count);
    return blocks;
}

size_t sp_values_bytes(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count)
{
    if (wire == SP_WIRE_I8)
        return (size_t)count + 4 * count_blocks(layout, first, count);
    return (size_t)count * (wire == SP_WIRE_F32 ? 4 : 2);
}

/* --- bf16: the upper half of a float32 ------------------------------------------------------------------------------
 */

static uint16_t to_bf16(uint32_t bits)
{
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40; /* the bits of a NaN below could all be 0, which would make it infinite */

    return (uint16_t)((bits & UINT32_C(0x7fffffff)) > INFINITE_BITS ? quiet : rounded);
}

static void encode_bf16(const float *values, uint64_t count, uint8_t *bulk)
{
    for (uint64_t done = 0; done < count; done += BLOCK) {
        size_t n = count - done < BLOCK ? (size_t)(count - done) : BLOCK;
        uint32_t bits[BLOCK];
        uint16_t halves[BLOCK];

        memcpy(bits, values + done, n * sizeof *bits);
        for (size_t j = 0; j < n; j++)
            halves[j] = to_bf16(bits[j]);
        memcpy(bulk + done * 2, halves, n * sizeof *halves);
    }
}

static void decode_bf16(const uint8_t *bulk, uint64_t count, float *values)
{
    for (uint64_t done = 0; done < count; done += BLOCK) {
        size_t n = count - done < BLOCK ? (size_t)(count - done) : BLOCK;
        uint32_t bits[BLOCK];
        uint16_t halves[BLOCK];

        memcpy(halves, bulk + done * 2, n * sizeof *halves);
        for (size_t j = 0; j < n; j++)
            bits[j] = (uint32_t)halves[j] << 16;
        memcpy(values + done, bits, n * sizeof *bits);
    }
}

/* --- i8 ------------------------------------------------------------------------------------------------------------
 */

/* |x| as bits orders as the numbers do, and puts what is not finite on top. */
static float largest(const float x[BLOCK], size_t n)
{
    int32_t bits[BLOCK], top = 0;
    float result;

    memcpy(bits, x, n * sizeof *bits);
    for (size_t j = 0; j < n; j++) {
        int32_t size = bits[j] & INT32_C(0x7fffffff);

        top = size > top ? size : top;
    }
    memcpy(&result, &top, sizeof result);
    return result;
}

/* |x|*inverse is below 127.5, so that no q needs to be clamped: each factor is within 2^-24 of the exact one. */
static void quantise(const float x[BLOCK], size_t n, float inverse, float scale, int8_t q[BLOCK], float residual[BLOCK])
{
    for (size_t j = 0; j < n; j++) {
        float whole = (x[j] * inverse + ROUNDER) - ROUNDER;

        q[j] = (int8_t)(int32_t)whole;
        residual[j] = x[j] - whole * scale;
    }
}

/* Returns the scale. */
static float encode_block(const float *values, float *residual, size_t n, uint8_t *bulk)
{
    float x[BLOCK], left[BLOCK], top, scale;
    int8_t q[BLOCK] = {0};

    for (size_t j = 0; j < n; j++)
        x[j] = residual != NULL ? values[j] + residual[j] : values[j];
    top = largest(x, n);
    scale = top / 127.0f;
    if (!(scale * 127.0f <= FLT_MAX)) {
        memset(bulk, 0, n);
        return INFINITY;
    }
    if (top > 0.0f && 127.0f / top <= FLT_MAX) {
        quantise(x, n, 127.0f / top, scale, q, left);
    } else {
        memcpy(left, x, n * sizeof *x);
        scale = 0.0f;
    }
    memcpy(bulk, q, n);
    if (residual != NULL)
        memcpy(residual, left, n * sizeof *left);
    return scale;
}

static void encode_i8(const struct sp_layout *layout, uint64_t first, uint64_t count, const float *values,
                      float *residual, uint8_t *bulk)
{
    struct sp_layout_part part = {0};
    uint8_t *scales = bulk, *bytes = bulk + 4 * count_blocks(layout, first, count);

    while (sp_layout_next(layout, first, count, &part)) {
        bool full = sp_tensor_is(part.tensor, SP_TENSOR_FULL);

        for (uint64_t done = 0; done < part.count; done += BLOCK) {
            size_t n = part.count - done < BLOCK ? (size_t)(part.count - done) : BLOCK;
            size_t at = (size_t)(part.first - first + done);
            float scale = 0.0f;

            if (full)
                memset(bytes + at, 0, n);
            else
                scale = encode_block(values + at, residual != NULL ? residual + at : NULL, n, bytes + at);
            memcpy(scales, &scale, sizeof scale);
            scales += sizeof scale;
        }
    }
}

static void decode_block(const uint8_t *bulk, size_t n, float scale, float *values)
{
    int8_t q[BLOCK];

    memcpy(q, bulk, n);
    for (size_t j = 0; j < n; j++)
        values[j] = (float)q[j] * scale;
}

static void decode_i8(const struct sp_layout *layout, uint64_t first, uint64_t count, const uint8_t *bulk,
                      float *values)
{
    struct sp_layout_part part = {0};
    const uint8_t *scales = bulk, *bytes = bulk + 4 * count_blocks(layout, first, count);

    while (sp_layout_next(layout, first, count, &part)) {
        for (uint64_t done = 0; done < part.count; done += BLOCK) {
            size_t n = part.count - done < BLOCK ? (size_t)(part.count - done) : BLOCK;
            size_t at = (size_t)(part.first - first + done);
            float scale;

            memcpy(&scale, scales, sizeof scale);
            scales += sizeof scale;
            decode_block(bytes + at, n, scale, values + at);
        }
    }
}

/* --- all three -----------------------------------------------------------------------------------------------------
 */

/* Zeros in place of tensors with FULL; `width` is the bytes of a value. */
static void clear_full(const struct sp_layout *layout, uint64_t first, uint64_t count, size_t width, uint8_t *to)
{
    struct sp_layout_part part = {0};

    while (layout->full > 0 && sp_layout_next(layout, first, count, &part)) {
        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            memset(to + (size_t)(part.first - first) * width, 0, (size_t)part.count * width);
    }
}

void sp_values_encode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const float *values, float *residual, uint8_t *bulk)
{
    if (count == 0)
        return;
    switch (wire) {
    case SP_WIRE_F32:
        memcpy(bulk, values, (size_t)count * 4);
        clear_full(layout, first, count, 4, bulk);
        break;
    case SP_WIRE_BF16:
        encode_bf16(values, count, bulk);
        clear_full(layout, first, count, 2, bulk);
        break;
    case SP_WIRE_I8:
        encode_i8(layout, first, count, values, residual, bulk);
        break;
    }
}

void sp_values_decode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk, float *values)
{
    if (count == 0)
        return;
    switch (wire) {
    case SP_WIRE_F32:
        memcpy(values, bulk, (size_t)count * 4);
        break;
    case SP_WIRE_BF16:
        decode_bf16(bulk, count, values);
        break;
    case SP_WIRE_I8:
        decode_i8(layout, first, count, bulk, values);
        break;
    }
    clear_full(layout, first, count, sizeof *values, (uint8_t *)values);
}

static bool finite_f32(const uint8_t *bulk, uint64_t count)
{
    uint32_t bad = 0;

    for (uint64_t j = 0; j < count; j++) {
        uint32_t bits;

        memcpy(&bits, bulk + j * 4, sizeof bits);
        bad |= (bits & INFINITE_BITS) == INFINITE_BITS;
    }
    return bad == 0;
}

static bool finite_bf16(const uint8_t *bulk, uint64_t count)
{
    uint32_t bad = 0;

    for (uint64_t j = 0; j < count; j++) {
        uint16_t bits;

        memcpy(&bits, bulk + j * 2, sizeof bits);
        bad |= (bits & 0x7f80) == 0x7f80;
    }
    return bad == 0;
}

static bool finite_i8(const uint8_t *bulk, size_t blocks, uint64_t count)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < blocks; i++) {
        float scale;
        uint32_t bits;

        memcpy(&scale, bulk + i * 4, sizeof scale);
        scale *= 127.0f;
        memcpy(&bits, &scale, sizeof bits);
        bad |= bits > FINITE_MAX; /* infinite, NaN, or with the sign set */
    }
    for (uint64_t j = 0; j < count; j++)
        bad |= bulk[blocks * 4 + j] == 0x80;
    return bad == 0;
}

bool sp_values_finite(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk)
{
    switch (wire) {
    case SP_WIRE_F32:
        return finite_f32(bulk, count);
    case SP_WIRE_BF16:
        return finite_bf16(bulk, count);
    case SP_WIRE_I8:
        return finite_i8(bulk, count_blocks(layout, first, count), count);
    }
    return false;
}
