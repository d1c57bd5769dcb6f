#include "common/sums_kernels.h"
#include "common/x86.h"

#include <stdalign.h>

#define V(instruction) _mm256_##instruction
#define KERNEL(name) name##_avx2
#define VEC_LANES 4

typedef __m256d doubles;
typedef __m128 floats;

static inline floats load_floats(const float *values)
{
    return _mm_loadu_ps(values);
}

static inline floats with_sign(floats value, floats other)
{
    floats sign = _mm_and_ps(other, _mm_set1_ps(-0.0f));

    return _mm_and_ps(_mm_xor_ps(value, sign), _mm_cmp_ps(other, _mm_setzero_ps(), _CMP_NEQ_OQ));
}

/* The sign bits of four doubles for each of the 16 patterns of four bits: set is minus. */
#define SIGN(pattern, l) ((uint64_t)(((pattern) >> (l)) & 1) << 63)
#define SIGNS(pattern)                                                                                                 \
    {                                                                                                                  \
        SIGN(pattern, 0), SIGN(pattern, 1), SIGN(pattern, 2), SIGN(pattern, 3)                                         \
    }
static alignas(32) const uint64_t signs[16][4] = {SIGNS(0),  SIGNS(1),  SIGNS(2),  SIGNS(3), SIGNS(4),  SIGNS(5),
                                                  SIGNS(6),  SIGNS(7),  SIGNS(8),  SIGNS(9), SIGNS(10), SIGNS(11),
                                                  SIGNS(12), SIGNS(13), SIGNS(14), SIGNS(15)};

/* Values with the signs that bits k..k+3 of `word` turn. */
static inline doubles turned(doubles values, uint64_t word, unsigned k)
{
    __m256i sign = _mm256_load_si256((const __m256i *)signs[(word >> k) & 15]);

    return _mm256_xor_pd(values, _mm256_castsi256_pd(sign));
}

#include "common/sums_template.h"

/* Half of the buckets get a word. Unless `lanes` is NULL, they get its squares. */
static inline void add_word(double *bucket, struct lanes *lanes, uint64_t minus, const float *values)
{
    for (unsigned k = 0; k < 64; k += SP_SUM_LANES) {
        sp_prefetch(values + k);
        for (unsigned p = 0; p < 4; p++) {
            double *at = bucket + k + 4 * p;
            doubles v = load_doubles(values + k + 4 * p);

            if (lanes != NULL)
                add_part(lanes, p, _mm256_mul_pd(v, v));
            _mm256_storeu_pd(at, _mm256_add_pd(_mm256_loadu_pd(at), turned(v, minus, k + 4 * p)));
        }
    }
}

/* The 128 buckets do not fit the registers. Strips of buckets that do were slower: they read a block several times
 * over, and not in order, which processors fetch badly. */
static inline void add_words(double *sketch, struct lanes *lanes, struct sp_sketch_place place, const float *values,
                             size_t words)
{
    for (size_t i = 0; i < words; i++)
        add_word(sp_sketch_half(sketch, &place, i), lanes, sp_sketch_minus(&place, i), values + i * 64);
}

/* The largest magnitude, as a number, is that of the largest exponent; infinity and NaN have the largest of all. */
bool sp_finite_avx2(const float *values, size_t words)
{
    const __m256 exponent = _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000));
    __m256i most[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};

    for (size_t j = 0; j < words * 64; j += 32) {
        sp_prefetch(values + j);
        sp_prefetch(values + j + 16);
        for (unsigned p = 0; p < 4; p++) {
            __m256 of = _mm256_and_ps(exponent, _mm256_loadu_ps(values + j + 8 * p));

            most[p] = _mm256_max_epi32(most[p], _mm256_castps_si256(of));
        }
    }
    most[0] = _mm256_max_epi32(_mm256_max_epi32(most[0], most[1]), _mm256_max_epi32(most[2], most[3]));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(most[0], _mm256_castps_si256(exponent))) == 0;
}
