/* Inside values.c and its kernels. */
#pragma once

#include "common/cpu.h"
#include "common/values.h"

#include <float.h>
#include <math.h>

/* Kernels take a multiple of so many coordinates, of i8 whole blocks; values.c does the rest. */
#define SP_VALUES_STEP 64

#define SP_I8_ROUNDER 12582912.0f /* 1.5 * 2^23: a float32 of this size has no bits behind the point */

struct sp_values_kernels {
    void (*encode_bf16)(const float *values, size_t count, uint8_t *bulk);
    void (*decode_bf16)(const uint8_t *bulk, size_t count, float *values);
    /* Scales and coordinates of `blocks` whole blocks. `residual` may be NULL. */
    void (*encode_i8)(const float *values, float *residual, size_t blocks, uint8_t *scales, uint8_t *bytes);
    void (*decode_i8)(const uint8_t *scales, const uint8_t *bytes, size_t blocks, float *values);
    bool (*finite_f32)(const uint8_t *bulk, size_t count);
    bool (*finite_bf16)(const uint8_t *bulk, size_t count);
    bool (*finite_i8)(const uint8_t *bytes, size_t count); /* of the coordinates: none is -128 */
};

/* The scalar ones take any number of coordinates. */
extern const struct sp_values_kernels sp_values_scalar;
extern const struct sp_values_kernels sp_values_avx2;

/* Of i8: no scale is negative, NaN or so large that 127*scale is infinite. */
bool sp_i8_good_scales(const uint8_t *scales, size_t blocks);

static inline uint16_t sp_to_bf16(uint32_t bits)
{
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40; /* the bits of a NaN below could all be 0, which would make it infinite */

    return (uint16_t)((bits & UINT32_C(0x7fffffff)) > UINT32_C(0x7f800000) ? quiet : rounded);
}

/* How a block is coded whose largest |x| is `top`. With an infinite scale it is not; with a scale of 0, which has an
 * inverse of 0, every q becomes 0 and every residual x. */
struct sp_i8_scale {
    float scale, inverse;
};

static inline struct sp_i8_scale sp_i8_scale(float top)
{
    struct sp_i8_scale by = {top / 127.0f, 127.0f / top};

    if (!(by.scale * 127.0f <= FLT_MAX))
        by.scale = INFINITY;
    else if (!(by.inverse <= FLT_MAX))
        by = (struct sp_i8_scale){0.0f, 0.0f};
    return by;
}
