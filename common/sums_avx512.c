#include "common/sums_kernels.h"
#include "common/x86.h"

#define V(instruction) _mm512_##instruction
#define KERNEL(name) name##_avx512
#define VEC_LANES 8

typedef __m512d doubles;
typedef __m256 floats;

static inline floats load_floats(const float *values)
{
    return _mm256_loadu_ps(values);
}

static inline floats with_sign(floats value, floats other)
{
    const floats zero = _mm256_setzero_ps();
    __mmask8 counts = _mm256_cmp_ps_mask(other, zero, _CMP_NEQ_OQ);

    return _mm256_maskz_mov_ps(counts, _mm256_xor_ps(value, _mm256_and_ps(other, _mm256_set1_ps(-0.0f))));
}

/* Values with the signs that bits k..k+7 of `word` turn. */
static inline doubles turned(doubles values, uint64_t word, unsigned k)
{
    __m512i v = _mm512_castpd_si512(values);

    return _mm512_castsi512_pd(_mm512_mask_xor_epi64(v, (__mmask8)(word >> k), v, _mm512_set1_epi64(INT64_MIN)));
}

#include "common/sums_template.h"

/* Half of the buckets, in 8 registers, get a word. Unless `lanes` is NULL, they get its squares. */
static inline void add_word(doubles bucket[8], struct lanes *lanes, uint64_t minus, const float *values)
{
    for (unsigned r = 0; r < 8; r++) {
        doubles v = load_doubles(values + 8 * r);

        if (r % 2 == 0)
            sp_prefetch(values + 8 * r);
        if (lanes != NULL)
            add_part(lanes, r % 2, _mm512_mul_pd(v, v));
        bucket[r] = _mm512_add_pd(bucket[r], turned(v, minus, 8 * r));
    }
}

static inline void load_buckets(doubles bucket[8], const double *half)
{
    for (unsigned r = 0; r < 8; r++)
        bucket[r] = _mm512_loadu_pd(half + 8 * r);
}

static inline void store_buckets(double *half, const doubles bucket[8])
{
    for (unsigned r = 0; r < 8; r++)
        _mm512_storeu_pd(half + 8 * r, bucket[r]);
}

/* All 128 buckets in registers: those of the first word in `here`, of the next in `there`, and so on. */
static inline void add_words(double *sketch, struct lanes *lanes, struct sp_sketch_place place, const float *values,
                             size_t words)
{
    doubles here[8], there[8];
    size_t i = 0;

    load_buckets(here, sp_sketch_half(sketch, &place, 0));
    load_buckets(there, sp_sketch_half(sketch, &place, 1));
    for (; i + 2 <= words; i += 2) {
        add_word(here, lanes, sp_sketch_minus(&place, i), values + i * 64);
        add_word(there, lanes, sp_sketch_minus(&place, i + 1), values + i * 64 + 64);
    }
    if (i < words)
        add_word(here, lanes, sp_sketch_minus(&place, i), values + i * 64);
    store_buckets(sp_sketch_half(sketch, &place, 0), here);
    store_buckets(sp_sketch_half(sketch, &place, 1), there);
}
