#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#include <string.h>

/* 16 coordinates: their distances as 16-bit numbers, doubled, in the order in which a pack of two registers leaves
 * them, 0..3, 8..11, 4..7, 12..15; in `signs` their signs, in the same order. A product beyond the 32-bit integers,
 * infinite ones too, becomes -2^31, then -32768, then the largest distance. */
static __m256i distances(const float *m, __m256 scale, __m256i *signs)
{
    __m256 low = _mm256_loadu_ps(m), high = _mm256_loadu_ps(m + 8);
    __m256i p = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, scale)),
                                   _mm256_cvtps_epi32(_mm256_mul_ps(high, scale)));

    *signs = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
    p = _mm256_abs_epi16(p);
    return _mm256_adds_epu16(p, p);
}

static __m256i word(int value)
{
    return _mm256_set1_epi16((short)value);
}

/* The flips of 16 coordinates per 65536, less 32768: what a draw as a signed number is compared with. */
static __m256i flips(__m256i x)
{
    __m256i y = _mm256_sub_epi16(word(SP_DITHER_C4), _mm256_mulhi_epu16(x, word(SP_DITHER_C5)));

    y = _mm256_add_epi16(word(SP_DITHER_C3), _mm256_mulhi_epu16(x, y));
    y = _mm256_sub_epi16(word(SP_DITHER_C2), _mm256_mulhi_epu16(x, y));
    y = _mm256_add_epi16(word(SP_DITHER_C1), _mm256_mulhi_epu16(x, y));
    y = _mm256_sub_epi16(word(SP_DITHER_ROOT), _mm256_mulhi_epu16(x, y));
    y = _mm256_mulhi_epu16(y, y);
    y = _mm256_mulhi_epu16(y, y);
    return _mm256_add_epi16(y, word(32767));
}

/* Two blocks in the order of distances(). */
static __m256i draw(__m128i even, __m128i odd)
{
    return _mm256_permute4x64_epi64(_mm256_inserti128_si256(_mm256_castsi128_si256(even), odd, 1), 0xd8);
}

static uint32_t dither_32(const float *m, __m256 scale, const __m128i block[4])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i signs[2], flip[2], minus;

    for (int i = 0; i < 2; i++) {
        __m256i x = distances(m + 16 * i, scale, &signs[i]);

        flip[i] = _mm256_cmpgt_epi16(flips(x), draw(block[2 * i], block[2 * i + 1]));
    }
    minus = _mm256_xor_si256(_mm256_packs_epi16(signs[0], signs[1]), _mm256_packs_epi16(flip[0], flip[1]));
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(minus, order));
}

/* The 8 blocks from a counter on, whose index is a multiple of 8: they differ in 3 bits. Eight at a time keep the units
 * for AES busy. */
static void draw_blocks(__m128i counter, const __m128i key[SP_ARS_ROUNDS + 1], __m128i block[8])
{
    counter = _mm_xor_si128(counter, key[0]);
    for (int b = 0; b < 8; b++)
        block[b] = _mm_xor_si128(counter, _mm_set_epi64x(0, b));
    for (int round = 1; round < SP_ARS_ROUNDS; round++) {
        for (int b = 0; b < 8; b++)
            block[b] = _mm_aesenc_si128(block[b], key[round]);
    }
    for (int b = 0; b < 8; b++)
        block[b] = _mm_aesenclast_si128(block[b], key[SP_ARS_ROUNDS]);
}

void sp_dither_avx2(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                    uint8_t *bits)
{
    const __m256 scale = _mm256_set1_ps(gain * SP_DITHER_STEPS);
    __m128i counter = _mm_set_epi64x((long long)draws->lane, (long long)index);
    __m128i key[SP_ARS_ROUNDS + 1], block[8];

    for (int i = 0; i <= SP_ARS_ROUNDS; i++)
        key[i] = _mm_loadu_si128((const __m128i *)draws->ars.key[i]);
    for (size_t i = 0; i < words; i++) {
        uint32_t half[2];

        draw_blocks(counter, key, block);
        counter = _mm_add_epi64(counter, _mm_set_epi64x(0, 8));
        half[0] = dither_32(m + 64 * i, scale, block);
        half[1] = dither_32(m + 64 * i + 32, scale, block + 4);
        memcpy(bits + 8 * i, half, sizeof half);
    }
}

void sp_momentum_avx2(float *m, const float *gradient, size_t blocks, float beta1, float one_minus_beta1)
{
    const __m256 keep = _mm256_set1_ps(beta1), add = _mm256_set1_ps(one_minus_beta1);

    for (size_t j = 0; j < 32 * blocks; j += 8) {
        __m256 kept = _mm256_mul_ps(keep, _mm256_loadu_ps(m + j));

        _mm256_storeu_ps(m + j, _mm256_add_ps(kept, _mm256_mul_ps(add, _mm256_loadu_ps(gradient + j))));
    }
}
