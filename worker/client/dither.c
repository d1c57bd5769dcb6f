#include "worker/client/dither.h"

#include "common/check.h"
#include "common/pack.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define TABLE_STEPS 64
#define TABLE_END 4.0f

/* round(65536 * Q(k/16)), k = 0..64. Numbers, not erfc() at start-up: libm differs between machines, bits must not. */
static const uint16_t flip_table[TABLE_STEPS + 1] = {
    32768, 31135, 29508, 27894, 26299, 24729, 23189, 21684, 20220, 18801, 17432, 16114, 14852,
    13648, 12503, 11420, 10398, 9437,  8539,  7701,  6924,  6205,  5542,  4934,  4378,  3872,
    3413,  2999,  2625,  2291,  1992,  1726,  1491,  1283,  1101,  941,   801,   680,   575,
    485,   407,   341,   284,   236,   195,   161,   132,   108,   88,    72,    58,    47,
    38,    30,    24,    19,    15,    12,    9,     7,     6,     5,     3,     3,     2,
};

void sp_momentum(float *m, const float *gradient, size_t count, float beta1, float one_minus_beta1)
{
    for (size_t j = 0; j < count; j++)
        m[j] = beta1 * m[j] + one_minus_beta1 * gradient[j];
}

float sp_dither_gain(double sigma, double scale)
{
    double spread = sigma * scale;
    double gain;

    if (!(spread > 0.0))
        return 0.0f;
    gain = 1.0 / spread;
    if (gain > (double)FLT_MAX)
        return FLT_MAX;
    return gain < (double)FLT_MIN ? FLT_MIN : (float)gain;
}

uint32_t sp_dither_flip(float x)
{
    uint32_t position, step, fraction, drop;

    if (!(x < TABLE_END))
        return 0;
    position = (uint32_t)(x * (float)(16 * 65536));
    step = position >> 16;
    fraction = position & 0xffff;
    drop = (uint32_t)(flip_table[step] - flip_table[step + 1]);
    return flip_table[step] - ((drop * fraction) >> 16);
}

static unsigned dither_byte(const float *m, size_t n, float gain, const uint32_t block[4])
{
    unsigned byte = 0;

    for (size_t k = 0; k < n; k++) {
        uint32_t u = (block[k / 2] >> (16 * (k % 2))) & 0xffff;
        unsigned flip = u < sp_dither_flip(fabsf(m[k]) * gain);

        byte |= ((m[k] > 0.0f ? 1u : 0u) ^ flip) << k;
    }
    return byte;
}

void sp_dither_pack(const float *m, uint64_t first, size_t count, float gain, struct sp_rng_key key, uint32_t slot,
                    uint32_t t, uint8_t *bits)
{
    sp_assert(first % 8 == 0);
    if (gain == 0.0f) {
        sp_pack_signs(m, first, count, t, bits);
        return;
    }
    for (size_t i = 0; i * 8 < count; i++) {
        size_t n = count - i * 8 < 8 ? count - i * 8 : 8;
        uint32_t block[4];

        sp_rng_block(key, first / 8 + i, t, slot, block);
        bits[i] = (uint8_t)dither_byte(m + i * 8, n, gain, block);
    }
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
