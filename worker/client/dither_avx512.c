#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#include <string.h>

/* dither_avx2.c with registers of twice the width, which hold 4 blocks; what is explained there is not here. */
static __m512i distances(const float *m, __m512 scale, __m512i *signs)
{
    __m512 low = _mm512_loadu_ps(m), high = _mm512_loadu_ps(m + 16);
    __m512i p = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(low, scale)),
                                   _mm512_cvtps_epi32(_mm512_mul_ps(high, scale)));

    *signs = _mm512_packs_epi32(_mm512_castps_si512(low), _mm512_castps_si512(high));
    p = _mm512_abs_epi16(p);
    return _mm512_adds_epu16(p, p);
}

static __m512i word(int value)
{
    return _mm512_set1_epi16((short)value);
}

static __m512i flips(__m512i x)
{
    __m512i y = _mm512_sub_epi16(word(SP_DITHER_C4), _mm512_mulhi_epu16(x, word(SP_DITHER_C5)));

    y = _mm512_add_epi16(word(SP_DITHER_C3), _mm512_mulhi_epu16(x, y));
    y = _mm512_sub_epi16(word(SP_DITHER_C2), _mm512_mulhi_epu16(x, y));
    y = _mm512_add_epi16(word(SP_DITHER_C1), _mm512_mulhi_epu16(x, y));
    y = _mm512_sub_epi16(word(SP_DITHER_ROOT), _mm512_mulhi_epu16(x, y));
    y = _mm512_mulhi_epu16(y, y);
    y = _mm512_mulhi_epu16(y, y);
    return _mm512_add_epi16(y, word(32767));
}

/* Negative where 32 coordinates flip. A saturated difference has the sign of the true one. */
static __m512i flipped(__m512i x, __m512i block)
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);

    return _mm512_subs_epi16(_mm512_permutexvar_epi64(order, block), flips(x));
}

static uint64_t dither_64(const float *m, __m512 scale, __m512i low_block, __m512i high_block)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i signs[2], flip[2], minus;

    flip[0] = flipped(distances(m, scale, &signs[0]), low_block);
    flip[1] = flipped(distances(m + 32, scale, &signs[1]), high_block);
    minus = _mm512_xor_si512(_mm512_packs_epi16(signs[0], signs[1]), _mm512_packs_epi16(flip[0], flip[1]));
    return ~(uint64_t)_mm512_movepi8_mask(_mm512_permutexvar_epi32(order, minus));
}

/* The 8 blocks from `index` on, which stands in all four lanes; the three terms of a counter are joined by one
 * instruction. Their rounds, each of which waits for the one before, go on side by side. */
static void draw_blocks(__m512i index, const __m512i key[SP_ARS_ROUNDS + 1], __m512i block[2])
{
    block[0] = _mm512_ternarylogic_epi64(index, key[0], _mm512_setr_epi64(0, 0, 1, 0, 2, 0, 3, 0), 0x96);
    block[1] = _mm512_ternarylogic_epi64(index, key[0], _mm512_setr_epi64(4, 0, 5, 0, 6, 0, 7, 0), 0x96);
    for (int round = 1; round < SP_ARS_ROUNDS; round++) {
        block[0] = _mm512_aesenc_epi128(block[0], key[round]);
        block[1] = _mm512_aesenc_epi128(block[1], key[round]);
    }
    block[0] = _mm512_aesenclast_epi128(block[0], key[SP_ARS_ROUNDS]);
    block[1] = _mm512_aesenclast_epi128(block[1], key[SP_ARS_ROUNDS]);
}

static __m512i in_all_lanes(uint64_t low, uint64_t high)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x((long long)high, (long long)low));
}

void sp_dither_avx512(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                      uint8_t *bits)
{
    const __m512 scale = _mm512_set1_ps(gain * SP_DITHER_STEPS);
    __m512i at = in_all_lanes(index, draws->lane), key[SP_ARS_ROUNDS + 1], block[2];

    for (int i = 0; i <= SP_ARS_ROUNDS; i++)
        key[i] = in_all_lanes(draws->ars.key[i][0], draws->ars.key[i][1]);
    for (size_t i = 0; i < words; i++) {
        uint64_t word_bits;

        draw_blocks(at, key, block);
        at = _mm512_add_epi64(at, in_all_lanes(8, 0));
        word_bits = dither_64(m + 64 * i, scale, block[0], block[1]);
        memcpy(bits + 8 * i, &word_bits, sizeof word_bits);
    }
}
