#include "worker/client/dither.h"

#include "common/check.h"
#include "common/pack.h"
#include "worker/client/dither_kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void momentum_scalar(float *m, const float *gradient, size_t blocks, float beta1, float one_minus_beta1)
{
    for (size_t j = 0; j < 32 * blocks; j++)
        m[j] = beta1 * m[j] + one_minus_beta1 * gradient[j];
}

static sp_momentum_kernel *const momentum_kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(momentum_scalar, sp_momentum_avx2, sp_momentum_avx2);

void sp_momentum(float *m, const float *gradient, size_t count, float beta1, float one_minus_beta1)
{
    momentum_kernels[sp_cpu()](m, gradient, count / 32, beta1, one_minus_beta1);
    for (size_t j = count / 32 * 32; j < count; j++)
        m[j] = beta1 * m[j] + one_minus_beta1 * gradient[j];
}

float sp_dither_gain(double sigma, double scale)
{
    double spread = sigma * scale;
    double gain;

    if (!(spread > 0.0))
        return 0.0f;
    gain = 1.0 / spread;
    if (gain > (double)SP_DITHER_GAIN_MAX)
        return SP_DITHER_GAIN_MAX;
    return gain < (double)FLT_MIN ? FLT_MIN : (float)gain;
}

/* Upper half of the product of two 16-bit numbers. */
static uint32_t high(uint32_t a, uint32_t b)
{
    return (a * b) >> 16;
}

uint32_t sp_dither_flip(float x)
{
    float p = x * SP_DITHER_STEPS;
    uint32_t v, y;

    /* Adding 2^23 leaves no bits after the point: the sum is rounded to the nearest whole number, ties to even. */
    v = 2 * (uint32_t)((p < 32767.0f ? p : 32767.0f) + 0x1p23f - 0x1p23f);
    y = SP_DITHER_C4 - high(v, SP_DITHER_C5);
    y = SP_DITHER_C3 + high(v, y);
    y = SP_DITHER_C2 - high(v, y);
    y = SP_DITHER_C1 + high(v, y);
    y = SP_DITHER_ROOT - high(v, y);
    y = high(y, y);
    return high(y, y) - 1;
}

static unsigned dither_byte(const float *m, size_t n, float gain, const struct sp_dither_draws *draws, uint64_t index)
{
    const uint64_t counter[2] = {index, draws->lane};
    uint64_t block[2];
    unsigned byte = 0;

    sp_ars_block(&draws->ars, counter, block);
    for (size_t k = 0; k < n; k++) {
        uint32_t u = (uint32_t)(block[k / 4] >> (16 * (k % 4)) & 0xffff) ^ 0x8000;
        unsigned flip = u < sp_dither_flip(fabsf(m[k]) * gain);

        byte |= ((signbit(m[k]) ? 0u : 1u) ^ flip) << k;
    }
    return byte;
}

static void dither_bytes(const float *m, size_t count, float gain, const struct sp_dither_draws *draws, uint64_t index,
                         uint8_t *bits)
{
    for (size_t j = 0; j < count; j += 8)
        bits[j / 8] = (uint8_t)dither_byte(m + j, count - j < 8 ? count - j : 8, gain, draws, index + j / 8);
}

static void dither_scalar(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                          uint8_t *bits)
{
    dither_bytes(m, 64 * words, gain, draws, index, bits);
}

static sp_dither_kernel *const dither_kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(dither_scalar, sp_dither_avx2, sp_dither_avx512);

/* The kernels begin at a multiple of 64. */
static void dither(const float *m, uint64_t first, size_t count, float gain, const struct sp_dither_draws *draws,
                   uint8_t *bits)
{
    size_t head = (size_t)(-first % 64), body;

    if (head > count)
        head = count;
    body = (count - head) / 64 * 64;
    dither_bytes(m, head, gain, draws, first / 8, bits);
    if (body > 0)
        dither_kernels[sp_cpu()](m + head, body / 64, gain, draws, (first + head) / 8, bits + head / 8);
    dither_bytes(m + head + body, count - head - body, gain, draws, (first + head + body) / 8,
                 bits + (head + body) / 8);
}

void sp_dither_pack(const float *m, uint64_t first, size_t count, float gain, struct sp_rng_key key, uint32_t slot,
                    uint32_t t, uint8_t *bits)
{
    struct sp_dither_draws draws = {.lane = t | (uint64_t)slot << 32};

    sp_assert(first % 8 == 0 && gain <= SP_DITHER_GAIN_MAX);
    if (gain == 0.0f) {
        sp_pack_signs(m, first, count, t, bits);
        return;
    }
    sp_ars_init(&draws.ars, key.word[0] | (uint64_t)key.word[1] << 32, 0);
    dither(m, first, count, gain, &draws, bits);
}

/* What all calls of one range have in common. */
struct draw {
    struct sp_rng_key key;
    uint32_t slot, t;
};

/* `n` coordinates within one byte, of which other bits belong to other tensors. */
static void pack_within_byte(const float *m, uint64_t first, size_t n, float gain, const struct draw *draw,
                             uint8_t *byte)
{
    size_t at = (size_t)(first % 8);
    float whole[8] = {0};
    uint8_t drawn;

    memcpy(whole + at, m, n * sizeof *m);
    sp_dither_pack(whole, first - at, 8, gain, draw->key, draw->slot, draw->t, &drawn);
    *byte |= (uint8_t)(drawn & (((1u << n) - 1) << at));
}

/* The ends of a part may share their bytes with other tensors; the bytes between them are its own. */
static void pack_part(const float *m, uint64_t first, size_t count, float gain, const struct draw *draw, uint8_t *bits)
{
    size_t head = (size_t)(-first % 8), body;

    if (head > count)
        head = count;
    body = (count - head) / 8 * 8;
    if (head > 0)
        pack_within_byte(m, first, head, gain, draw, bits++);
    if (body > 0)
        sp_dither_pack(m + head, first + head, body, gain, draw->key, draw->slot, draw->t, bits);
    if (head + body < count)
        pack_within_byte(m + head + body, first + head + body, count - head - body, gain, draw, bits + body / 8);
}

void sp_dither_pack_tensors(const struct sp_layout *layout, const float *gains, const float *m, uint64_t first,
                            size_t count, struct sp_rng_key key, uint32_t slot, uint32_t t, uint8_t *bits)
{
    const struct draw draw = {.key = key, .slot = slot, .t = t};
    struct sp_layout_part part = {0};

    sp_assert(first % 8 == 0);
    memset(bits, 0, sp_bits_bytes(count));
    while (sp_layout_next(layout, first, count, &part)) {
        uint64_t at = part.first - first;

        if (!sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            pack_part(m + at, part.first, (size_t)part.count, gains[part.index], &draw, bits + at / 8);
    }
}
