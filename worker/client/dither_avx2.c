#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#include <string.h>

/* 64 coordinates at a time, in 4 vectors of 16-bit numbers: coordinates 0..7 and 16..23, 8..15 and 24..31, and so on,
 * so that what is packed from two of them is in order.
 *
 * The next 64 draws are made while the flips of these are computed, a round of AES after each step of the polynomial:
 * both are chains, each step of which waits for the one before, and a processor looks ahead only so far for others. */
#define VECTORS 4

/* The first block of a vector, and so an eighth of its first coordinate; the other one is the second after it. */
static inline int block_of(int i)
{
    return 4 * (i / 2) + i % 2;
}

/* m[0..3] and m[16..19]. The units that move numbers between the halves of a vector are few; these instructions need
 * none. */
static inline __m256 two_parts(const float *m)
{
    return _mm256_blend_ps(_mm256_castps128_ps256(_mm_loadu_ps(m)),
                           _mm256_broadcast_ps((const __m128 *)(const void *)(m + 16)), 0xf0);
}

static __m256i word(int value)
{
    return _mm256_set1_epi16((short)value);
}

static inline void look_ahead(const float *m)
{
    for (int i = 0; i < 4; i++)
        sp_prefetch(m + 16 * i);
}

/* Distances as 16-bit numbers, doubled, and signs. A product beyond the 32-bit integers, infinite ones too, becomes
 * -2^31, then -32768, then the largest distance. */
static inline void distances(const float *m, __m256 scale, __m256i x[VECTORS], __m256i signs[VECTORS])
{
    for (int i = 0; i < VECTORS; i++) {
        __m256 low = two_parts(m + 8 * block_of(i)), high = two_parts(m + 8 * block_of(i) + 4);

        signs[i] = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
        x[i] = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, scale)),
                                  _mm256_cvtps_epi32(_mm256_mul_ps(high, scale)));
    }
    for (int i = 0; i < VECTORS; i++) {
        x[i] = _mm256_abs_epi16(x[i]);
        x[i] = _mm256_adds_epu16(x[i], x[i]);
    }
    signs[0] = _mm256_packs_epi16(signs[0], signs[1]);
    signs[1] = _mm256_packs_epi16(signs[2], signs[3]);
}

static inline void minus(int c, const __m256i x[VECTORS], __m256i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm256_sub_epi16(word(c), _mm256_mulhi_epu16(x[i], y[i]));
}

static inline void plus(int c, const __m256i x[VECTORS], __m256i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm256_add_epi16(word(c), _mm256_mulhi_epu16(x[i], y[i]));
}

static inline void square(__m256i y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm256_mulhi_epu16(y[i], y[i]);
}

/* The 8 blocks from a counter on, whose index is a multiple of 8: they differ in 3 bits. */
static inline void begin_blocks(__m128i counter, __m128i key, __m128i block[8])
{
    counter = _mm_xor_si128(counter, key);
    for (int b = 0; b < 8; b++)
        block[b] = _mm_xor_si128(counter, _mm_set_epi64x(0, b));
}

static inline void aes_round(__m128i key, __m128i block[8])
{
    for (int b = 0; b < 8; b++)
        block[b] = _mm_aesenc_si128(block[b], key);
}

static inline void end_blocks(__m128i key, __m128i block[8], __m256i draws[VECTORS])
{
    for (int b = 0; b < 8; b++)
        block[b] = _mm_aesenclast_si128(block[b], key);
    for (int i = 0; i < VECTORS; i++) {
        int b = block_of(i);

        draws[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(block[b]), block[b + 2], 1);
    }
}

static inline uint32_t bits_32(__m256i signs, __m256i low, __m256i high)
{
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_xor_si256(signs, _mm256_packs_epi16(low, high)));
}

/* `draws` are those of m, and then those from the counter on. */
static inline void dither_64(const float *m, __m256 scale, __m128i counter, const __m128i key[SP_ARS_ROUNDS + 1],
                             __m256i draws[VECTORS], uint8_t *bits)
{
    __m256i signs[VECTORS], x[VECTORS],
        y[VECTORS] = {word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5)};
    __m128i block[8];
    uint32_t half[2];

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
    for (int i = 0; i < VECTORS; i++)
        y[i] = _mm256_cmpgt_epi16(_mm256_add_epi16(y[i], word(32767)), draws[i]);
    end_blocks(key[5], block, draws);
    half[0] = bits_32(signs[0], y[0], y[1]);
    half[1] = bits_32(signs[1], y[2], y[3]);
    memcpy(bits, half, sizeof half);
}

void sp_dither_avx2(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                    uint8_t *bits)
{
    const __m256 scale = _mm256_set1_ps(gain * SP_DITHER_STEPS);
    __m128i counter = _mm_set_epi64x((long long)draws->lane, (long long)index);
    __m128i key[SP_ARS_ROUNDS + 1], block[8];
    __m256i drawn[VECTORS];

    for (int i = 0; i <= SP_ARS_ROUNDS; i++)
        key[i] = _mm_set_epi64x((long long)draws->ars.key[i][1], (long long)draws->ars.key[i][0]);
    begin_blocks(counter, key[0], block);
    for (int round = 1; round < SP_ARS_ROUNDS; round++)
        aes_round(key[round], block);
    end_blocks(key[SP_ARS_ROUNDS], block, drawn);
    for (size_t i = 0; i < words; i++) {
        counter = _mm_add_epi64(counter, _mm_set_epi64x(0, 8));
        dither_64(m + 64 * i, scale, counter, key, drawn, bits + 8 * i);
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
