#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#include <string.h>

/* As dither_avx2.c, where all is explained: 128 coordinates at a time, in 4 vectors of 32, each in the order in which a
 * pack of two vectors leaves them: 0..3, 16..19, 4..7, 20..23, and so on. */
#define VECTORS 4

static __m512i word(int value)
{
    return _mm512_set1_epi16((short)value);
}

static inline void look_ahead(const float *m)
{
    for (int i = 0; i < 8; i++)
        sp_prefetch(m + 16 * i);
}

static inline void distances(const float *m, __m512 scale, __m512i x[VECTORS], __m512i signs[VECTORS])
{
    for (int i = 0; i < VECTORS; i++) {
        __m512 low = _mm512_loadu_ps(m + 32 * i), high = _mm512_loadu_ps(m + 32 * i + 16);

        signs[i] = _mm512_packs_epi32(_mm512_castps_si512(low), _mm512_castps_si512(high));
        x[i] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(low, scale)),
                                  _mm512_cvtps_epi32(_mm512_mul_ps(high, scale)));
    }
    for (int i = 0; i < VECTORS; i++) {
        x[i] = _mm512_abs_epi16(x[i]);
        x[i] = _mm512_adds_epu16(x[i], x[i]);
    }
    signs[0] = _mm512_packs_epi16(signs[0], signs[1]);
    signs[1] = _mm512_packs_epi16(signs[2], signs[3]);
}

static inline void minus(int c, const __m512i x[VECTORS], __m512i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm512_sub_epi16(word(c), _mm512_mulhi_epu16(x[i], y[i]));
}

static inline void plus(int c, const __m512i x[VECTORS], __m512i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm512_add_epi16(word(c), _mm512_mulhi_epu16(x[i], y[i]));
}

static inline void square(__m512i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm512_mulhi_epu16(y[i], y[i]);
}

/* The 16 blocks from a counter on, which stands in all lanes; its index is a multiple of 8 alone, so this is a sum. */
static inline void begin_blocks(__m512i counter, __m512i key, __m512i block[VECTORS])
{
    for (int i = 0; i < VECTORS; i++) {
        __m512i index = _mm512_setr_epi64(4 * i, 0, 4 * i + 1, 0, 4 * i + 2, 0, 4 * i + 3, 0);

        block[i] = _mm512_xor_si512(key, _mm512_add_epi64(counter, index));
    }
}

static inline void aes_round(__m512i key, __m512i block[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        block[i] = _mm512_aesenc_epi128(block[i], key);
}

static inline void end_blocks(__m512i key, __m512i block[VECTORS], __m512i draws[VECTORS])
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);

    for (int i = 0; i < VECTORS; i++)
        draws[i] = _mm512_permutexvar_epi64(order, _mm512_aesenclast_epi128(block[i], key));
}

static inline uint64_t bits_64(__m512i signs, __m512i low, __m512i high)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i negative = _mm512_xor_si512(signs, _mm512_packs_epi16(low, high));

    return ~(uint64_t)_mm512_movepi8_mask(_mm512_permutexvar_epi32(order, negative));
}

static inline void dither_128(const float *m, __m512 scale, __m512i counter, const __m512i key[SP_ARS_ROUNDS + 1],
                              __m512i draws[VECTORS], uint8_t *bits)
{
    __m512i signs[VECTORS], x[VECTORS],
        y[VECTORS] = {word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5)};
    __m512i block[VECTORS];
    uint64_t half[2];

    look_ahead(m);
    begin_blocks(counter, key[0], block);
    distances(m, scale, x, signs);
    minus(SP_DITHER_C4, x, y);
    aes_round(key[1], block);
    plus(SP_DITHER_C3, x, y);
    aes_round(key[2], block);
    minus(SP_DITHER_C2, x, y);
    aes_round(key[3], block);
    plus(SP_DITHER_C1, x, y);
    aes_round(key[4], block);
    minus(SP_DITHER_ROOT, x, y);
    square(y);
    square(y);
    /* A saturated difference has the sign of the true one: negative where a coordinate flips. */
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm512_subs_epi16(draws[i], _mm512_add_epi16(y[i], word(32767)));
    end_blocks(key[5], block, draws);
    half[0] = bits_64(signs[0], y[0], y[1]);
    half[1] = bits_64(signs[1], y[2], y[3]);
    memcpy(bits, half, sizeof half);
}

static __m512i in_all_lanes(uint64_t low, uint64_t high)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x((long long)high, (long long)low));
}

void sp_dither_avx512(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                      uint8_t *bits)
{
    const __m512 scale = _mm512_set1_ps(gain * SP_DITHER_STEPS);
    __m512i counter = in_all_lanes(index, draws->lane);
    __m512i key[SP_ARS_ROUNDS + 1], block[VECTORS], drawn[VECTORS];

    for (int i = 0; i <= SP_ARS_ROUNDS; i++)
        key[i] = in_all_lanes(draws->ars.key[i][0], draws->ars.key[i][1]);
    begin_blocks(counter, key[0], block);
    for (int round = 1; round < SP_ARS_ROUNDS; round++)
        aes_round(key[round], block);
    end_blocks(key[SP_ARS_ROUNDS], block, drawn);
    for (size_t i = 0; i + 2 <= words; i += 2) {
        counter = _mm512_add_epi64(counter, in_all_lanes(16, 0));
        dither_128(m + 64 * i, scale, counter, key, drawn, bits + 8 * i);
    }
    if (words % 2 != 0)
        sp_dither_avx2(m + 64 * (words - 1), 1, gain, draws, index + 8 * (words - 1), bits + 8 * (words - 1));
}
