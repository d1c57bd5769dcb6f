#include "common/values_kernels.h"

#include <string.h>

#define FINITE_MAX UINT32_C(0x7f7fffff)
#define INFINITE_BITS UINT32_C(0x7f800000)
#define BLOCK SP_I8_BLOCK

/* --- bf16: the upper half of a float32 ------------------------------------------------------------------------------
 */

static void encode_bf16(const float *values, size_t count, uint8_t *bulk)
{
    for (size_t j = 0; j < count; j++) {
        uint32_t bits;
        uint16_t half;

        memcpy(&bits, values + j, sizeof bits);
        half = sp_to_bf16(bits);
        memcpy(bulk + j * 2, &half, sizeof half);
    }
}

static void decode_bf16(const uint8_t *bulk, size_t count, float *values)
{
    for (size_t j = 0; j < count; j++) {
        uint16_t half;
        uint32_t bits;

        memcpy(&half, bulk + j * 2, sizeof half);
        bits = (uint32_t)half << 16;
        memcpy(values + j, &bits, sizeof bits);
    }
}

/* --- i8 ------------------------------------------------------------------------------------------------------------
 */

/* |x| as bits orders as the numbers do, and puts what is not finite on top. */
static float largest(const float x[BLOCK])
{
    int32_t bits[BLOCK], top = 0;
    float result;

    memcpy(bits, x, sizeof bits);
    for (size_t j = 0; j < BLOCK; j++) {
        int32_t size = bits[j] & INT32_C(0x7fffffff);

        top = size > top ? size : top;
    }
    memcpy(&result, &top, sizeof result);
    return result;
}

/* |x|*inverse is below 127.5, so that no q needs to be clamped: each factor is within 2^-24 of the exact one. */
static void quantise(const float x[BLOCK], struct sp_i8_scale by, uint8_t q[BLOCK], float residual[BLOCK])
{
    for (size_t j = 0; j < BLOCK; j++) {
        float whole = (x[j] * by.inverse + SP_I8_ROUNDER) - SP_I8_ROUNDER;

        q[j] = (uint8_t)(int32_t)whole;
        residual[j] = x[j] - whole * by.scale;
    }
}

/* Returns the scale. */
static float encode_block(const float *values, float *residual, uint8_t *bytes)
{
    float x[BLOCK], left[BLOCK];
    uint8_t q[BLOCK];
    struct sp_i8_scale by;

    for (size_t j = 0; j < BLOCK; j++)
        x[j] = residual != NULL ? values[j] + residual[j] : values[j];
    by = sp_i8_scale(largest(x));
    if (by.scale > FLT_MAX) {
        memset(bytes, 0, BLOCK);
        return by.scale;
    }
    quantise(x, by, q, left);
    memcpy(bytes, q, BLOCK);
    if (residual != NULL)
        memcpy(residual, left, sizeof left);
    return by.scale;
}

static void encode_i8(const float *values, float *residual, size_t blocks, uint8_t *scales, uint8_t *bytes)
{
    for (size_t i = 0; i < blocks; i++) {
        size_t at = i * BLOCK;
        float scale = encode_block(values + at, residual != NULL ? residual + at : NULL, bytes + at);

        memcpy(scales + i * 4, &scale, sizeof scale);
    }
}

static void decode_i8(const uint8_t *scales, const uint8_t *bytes, size_t blocks, float *values)
{
    for (size_t i = 0; i < blocks; i++) {
        float scale;

        memcpy(&scale, scales + i * 4, sizeof scale);
        for (size_t j = i * BLOCK; j < (i + 1) * BLOCK; j++)
            values[j] = (float)(int8_t)bytes[j] * scale;
    }
}

/* --- finite --------------------------------------------------------------------------------------------------------
 */

static bool finite_f32(const uint8_t *bulk, size_t count)
{
    uint32_t bad = 0;

    for (size_t j = 0; j < count; j++) {
        uint32_t bits;

        memcpy(&bits, bulk + j * 4, sizeof bits);
        bad |= (bits & INFINITE_BITS) == INFINITE_BITS;
    }
    return bad == 0;
}

static bool finite_bf16(const uint8_t *bulk, size_t count)
{
    uint32_t bad = 0;

    for (size_t j = 0; j < count; j++) {
        uint16_t bits;

        memcpy(&bits, bulk + j * 2, sizeof bits);
        bad |= (bits & 0x7f80) == 0x7f80;
    }
    return bad == 0;
}

static bool finite_i8(const uint8_t *bytes, size_t count)
{
    uint32_t bad = 0;

    for (size_t j = 0; j < count; j++)
        bad |= bytes[j] == 0x80;
    return bad == 0;
}

bool sp_i8_good_scales(const uint8_t *scales, size_t blocks)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < blocks; i++) {
        float scale;
        uint32_t bits;

        memcpy(&scale, scales + i * 4, sizeof scale);
        scale *= 127.0f;
        memcpy(&bits, &scale, sizeof bits);
        bad |= bits > FINITE_MAX; /* infinite, NaN, or with the sign set */
    }
    return bad == 0;
}

const struct sp_values_kernels sp_values_scalar = {
    .encode_bf16 = encode_bf16,
    .decode_bf16 = decode_bf16,
    .encode_i8 = encode_i8,
    .decode_i8 = decode_i8,
    .finite_f32 = finite_f32,
    .finite_bf16 = finite_bf16,
    .finite_i8 = finite_i8,
};
