#include "common/x86.h"

#include <stddef.h>
#include <stdint.h>

typedef __m256i vec;
#define VEC_BYTES 32u

static inline vec vec_load(const void *from)
{
    return _mm256_loadu_si256(from);
}

static inline void vec_store(void *to, vec a)
{
    _mm256_storeu_si256(to, a);
}

static inline vec vec_zero(void)
{
    return _mm256_setzero_si256();
}

static inline vec vec_splat(uint64_t word)
{
    return _mm256_set1_epi64x((long long)word);
}

static inline vec vec_and(vec a, vec b)
{
    return _mm256_and_si256(a, b);
}

static inline vec vec_or(vec a, vec b)
{
    return _mm256_or_si256(a, b);
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm256_xor_si256(a, b);
}

static inline vec vec_andnot(vec a, vec b)
{
    return _mm256_andnot_si256(a, b);
}

static inline vec vec_xor3(vec a, vec b, vec c)
{
    return vec_xor(a, vec_xor(b, c));
}

/* In this form b ^ c is shared with vec_xor3(). */
static inline vec vec_majority(vec a, vec b, vec c)
{
    return vec_or(vec_and(b, c), vec_and(a, vec_xor(b, c)));
}

/* Ones of each 64 bits: those of 4 bits are looked up. */
static inline vec ones(vec a)
{
    const vec table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2,
                                       3, 2, 3, 3, 4);
    const vec low = _mm256_set1_epi8(15);
    vec n = _mm256_add_epi8(_mm256_shuffle_epi8(table, vec_and(a, low)),
                            _mm256_shuffle_epi8(table, vec_and(_mm256_srli_epi16(a, 4), low)));

    return _mm256_sad_epu8(n, vec_zero());
}

static inline uint64_t total(vec a)
{
    return (uint64_t)_mm256_extract_epi64(a, 0) + (uint64_t)_mm256_extract_epi64(a, 1) +
           (uint64_t)_mm256_extract_epi64(a, 2) + (uint64_t)_mm256_extract_epi64(a, 3);
}

static inline vec differing(const uint8_t *a, const uint8_t *b, size_t at)
{
    return b == NULL ? vec_load(a + at) : vec_xor(vec_load(a + at), vec_load(b + at));
}

/* Adds two vectors to a plane; returns what they carry. */
static inline vec carry_of(vec *plane, vec a, vec b)
{
    vec carry = vec_majority(*plane, a, b);

    *plane = vec_xor3(*plane, a, b);
    return carry;
}

/* Eight vectors are added in planes first (Harley and Seal), and only what they carry is counted. */
static inline uint64_t count_row(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    vec one = vec_zero(), two = vec_zero(), four = vec_zero(), eights = vec_zero(), rest = vec_zero();
    size_t at = 0;

    for (; at + 8 * VEC_BYTES <= bytes; at += 8 * VEC_BYTES) {
        vec twos[4], fours[2];

        for (unsigned i = 0; i < 4; i++)
            twos[i] =
                carry_of(&one, differing(a, b, at + 2 * i * VEC_BYTES), differing(a, b, at + (2 * i + 1) * VEC_BYTES));
        fours[0] = carry_of(&two, twos[0], twos[1]);
        fours[1] = carry_of(&two, twos[2], twos[3]);
        eights = _mm256_add_epi64(eights, ones(carry_of(&four, fours[0], fours[1])));
    }
    for (; at < bytes; at += VEC_BYTES)
        rest = _mm256_add_epi64(rest, ones(differing(a, b, at)));
    rest = _mm256_add_epi64(rest, _mm256_slli_epi64(eights, 3));
    rest = _mm256_add_epi64(rest, _mm256_slli_epi64(ones(four), 2));
    rest = _mm256_add_epi64(rest, _mm256_slli_epi64(ones(two), 1));
    return total(_mm256_add_epi64(rest, ones(one)));
}

static uint64_t count_differing(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    return b == NULL ? count_row(a, NULL, bytes) : count_row(a, b, bytes);
}

#include "server/vote_template.h"

void sp_vote_avx2(const struct sp_vote_work *work, size_t bytes)
{
    vote_all(work, bytes);
}
