#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#define V(instruction) _mm256_##instruction
#define CIPHERS 8

typedef __m256i shorts;
typedef __m256 floats;
typedef __m128i aes;
typedef uint32_t part_bits;

/* Vectors have coordinates 0..7 and 16..23, 8..15 and 24..31, and so on, so that what is packed from two of them is in
 * order. This is the first block of a vector, and so an eighth of its first coordinate; the other one is the second
 * after it. */
static inline int block_of(int i)
{
    return 4 * (i / 2) + i % 2;
}

/* m[0..3] and m[16..19]. The units that move numbers between the halves of a vector are few; these instructions need
 * none. */
static inline floats two_parts(const float *m)
{
    return _mm256_blend_ps(_mm256_castps128_ps256(_mm_loadu_ps(m)),
                           _mm256_broadcast_ps((const __m128 *)(const void *)(m + 16)), 0xf0);
}

static inline floats load_low(const float *m, int i)
{
    return two_parts(m + 8 * block_of(i));
}

static inline floats load_high(const float *m, int i)
{
    return two_parts(m + 8 * block_of(i) + 4);
}

static inline shorts as_shorts(floats v)
{
    return _mm256_castps_si256(v);
}

static inline part_bits bits_of(shorts signs, shorts low, shorts high)
{
    return ~(part_bits)_mm256_movemask_epi8(_mm256_xor_si256(signs, _mm256_packs_epi16(low, high)));
}

static inline aes in_all_blocks(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* The 8 blocks from a counter on, whose index is a multiple of 8: they differ in 3 bits. */
static inline void begin_blocks(aes counter, aes key, aes block[CIPHERS])
{
    counter = _mm_xor_si128(counter, key);
    for (int b = 0; b < CIPHERS; b++)
        block[b] = _mm_xor_si128(counter, _mm_set_epi64x(0, b));
}

static inline void aes_round(aes key, aes block[CIPHERS])
{
    for (int b = 0; b < CIPHERS; b++)
        block[b] = _mm_aesenc_si128(block[b], key);
}

static inline void end_blocks(aes key, aes block[CIPHERS], shorts draws[4])
{
    for (int b = 0; b < CIPHERS; b++)
        block[b] = _mm_aesenclast_si128(block[b], key);
    for (int i = 0; i < 4; i++) {
        int b = block_of(i);

        draws[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(block[b]), block[b + 2], 1);
    }
}

static inline aes next_counter(aes counter)
{
    return _mm_add_epi64(counter, in_all_blocks(8, 0));
}

#include "worker/client/dither_template.h"

void sp_dither_avx2(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                    uint8_t *bits)
{
    dither_steps(m, words, gain, draws, index, bits);
}

void sp_momentum_avx2(float *m, const float *gradient, size_t blocks, float beta1, float one_minus_beta1)
{
    const __m256 keep = _mm256_set1_ps(beta1), add = _mm256_set1_ps(one_minus_beta1);

    for (size_t j = 0; j < 32 * blocks; j += 8) {
        __m256 kept = _mm256_mul_ps(keep, _mm256_loadu_ps(m + j));

        _mm256_storeu_ps(m + j, _mm256_add_ps(kept, _mm256_mul_ps(add, _mm256_loadu_ps(gradient + j))));
    }
}
