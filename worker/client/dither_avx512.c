#include "common/x86.h"
#include "worker/client/dither_kernels.h"

#define V(instruction) _mm512_##instruction
#define CIPHERS 4

typedef __m512i shorts;
typedef __m512 floats;
typedef __m512i aes;
typedef uint64_t part_bits;

/* Vectors have 32 coordinates each, in the order in which a pack of two registers leaves them: 0..3, 16..19, 4..7,
 * 20..23, and so on. */
static inline floats load_low(const float *m, int i)
{
    return _mm512_loadu_ps(m + 32 * i);
}

static inline floats load_high(const float *m, int i)
{
    return _mm512_loadu_ps(m + 32 * i + 16);
}

static inline shorts as_shorts(floats v)
{
    return _mm512_castps_si512(v);
}

static inline part_bits bits_of(shorts signs, shorts low, shorts high)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i negative = _mm512_xor_si512(signs, _mm512_packs_epi16(low, high));

    return ~(part_bits)_mm512_movepi8_mask(_mm512_permutexvar_epi32(order, negative));
}

static inline aes in_all_blocks(uint64_t low, uint64_t high)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x((long long)high, (long long)low));
}

/* The 16 blocks from a counter on; its index is a multiple of 8 alone, so this is a sum. */
static inline void begin_blocks(aes counter, aes key, aes block[CIPHERS])
{
    for (int i = 0; i < CIPHERS; i++) {
        __m512i index = _mm512_setr_epi64(4 * i, 0, 4 * i + 1, 0, 4 * i + 2, 0, 4 * i + 3, 0);

        block[i] = _mm512_xor_si512(key, _mm512_add_epi64(counter, index));
    }
}

static inline void aes_round(aes key, aes block[CIPHERS])
{
    for (int i = 0; i < CIPHERS; i++)
        block[i] = _mm512_aesenc_epi128(block[i], key);
}

static inline void end_blocks(aes key, aes block[CIPHERS], shorts draws[4])
{
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);

    for (int i = 0; i < CIPHERS; i++)
        draws[i] = _mm512_permutexvar_epi64(order, _mm512_aesenclast_epi128(block[i], key));
}

static inline aes next_counter(aes counter)
{
    return _mm512_add_epi64(counter, in_all_blocks(16, 0));
}

#include "worker/client/dither_template.h"

void sp_dither_avx512(const float *m, size_t words, float gain, const struct sp_dither_draws *draws, uint64_t index,
                      uint8_t *bits)
{
    dither_steps(m, words / 2, gain, draws, index, bits);
    if (words % 2 != 0)
        sp_dither_avx2(m + 64 * (words - 1), 1, gain, draws, index + 8 * (words - 1), bits + 8 * (words - 1));
}
