#include "common/x86.h"

#include <stddef.h>
#include <stdint.h>

typedef __m512i vec;
#define VEC_BYTES 64u

static inline vec vec_load(const void *from)
{
    return _mm512_loadu_si512(from);
}

static inline void vec_store(void *to, vec a)
{
    _mm512_storeu_si512(to, a);
}

static inline vec vec_zero(void)
{
    return _mm512_setzero_si512();
}

static inline vec vec_splat(uint64_t word)
{
    return _mm512_set1_epi64((long long)word);
}

static inline vec vec_and(vec a, vec b)
{
    return _mm512_and_si512(a, b);
}

static inline vec vec_or(vec a, vec b)
{
    return _mm512_or_si512(a, b);
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm512_xor_si512(a, b);
}

static inline vec vec_andnot(vec a, vec b)
{
    return _mm512_andnot_si512(a, b);
}

static inline vec vec_xor3(vec a, vec b, vec c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

static inline vec vec_majority(vec a, vec b, vec c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0xe8);
}

static uint64_t count_differing(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    vec sum = vec_zero();
    uint64_t lane[8], total = 0;

    for (size_t at = 0; at < bytes; at += VEC_BYTES) {
        vec x = vec_load(a + at);

        if (b != NULL)
            x = vec_xor(x, vec_load(b + at));
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(x));
    }
    vec_store(lane, sum);
    for (unsigned i = 0; i < 8; i++)
        total += lane[i];
    return total;
}

#include "server/vote_template.h"

void sp_vote_avx512(const struct sp_vote_work *work, size_t bytes)
{
    vote_all(work, bytes);
}
