#include "common/sums_kernels.h"
#include "common/x86.h"

#include <stdalign.h>

/* The sign bits of four doubles for each of the 16 patterns of four bits: set is minus. */
#define SIGN(pattern, l) ((uint64_t)(((pattern) >> (l)) & 1) << 63)
#define SIGNS(pattern)                                                                                                 \
    {                                                                                                                  \
        SIGN(pattern, 0), SIGN(pattern, 1), SIGN(pattern, 2), SIGN(pattern, 3)                                         \
    }
static alignas(32) const uint64_t signs[16][4] = {SIGNS(0),  SIGNS(1),  SIGNS(2),  SIGNS(3), SIGNS(4),  SIGNS(5),
                                                  SIGNS(6),  SIGNS(7),  SIGNS(8),  SIGNS(9), SIGNS(10), SIGNS(11),
                                                  SIGNS(12), SIGNS(13), SIGNS(14), SIGNS(15)};

static inline __m256d four(const float *values)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(values));
}

/* Values with the signs that bits k..k+3 of `word` turn. */
static inline __m256d turned(__m256d values, uint64_t word, unsigned k)
{
    __m256i sign = _mm256_load_si256((const __m256i *)signs[(word >> k) & 15]);

    return _mm256_xor_pd(values, _mm256_castsi256_pd(sign));
}

struct lanes {
    __m256d part[4];
};

static inline struct lanes load_lanes(const double lane[SP_SUM_LANES])
{
    return (struct lanes){
        {_mm256_loadu_pd(lane), _mm256_loadu_pd(lane + 4), _mm256_loadu_pd(lane + 8), _mm256_loadu_pd(lane + 12)}};
}

static inline void store_lanes(double lane[SP_SUM_LANES], const struct lanes *lanes)
{
    for (unsigned p = 0; p < 4; p++)
        _mm256_storeu_pd(lane + 4 * p, lanes->part[p]);
}

static inline void add_part(struct lanes *lanes, unsigned p, __m256d terms)
{
    lanes->part[p] = _mm256_add_pd(lanes->part[p], terms);
}

void sp_squares_avx2(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        for (unsigned p = 0; p < 4; p++) {
            __m256d v = four(values + j + 4 * p);

            add_part(&lanes, p, _mm256_mul_pd(v, v));
        }
    }
    store_lanes(lane, &lanes);
}

void sp_dot_avx2(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t i = 0; i < words; i++, values += 64) {
        uint64_t minus = ~sp_bits_word(terms->bits, terms->first + from + i * 64);

        for (unsigned k = 0; k < 64; k += SP_SUM_LANES) {
            sp_prefetch(values + k);
            for (unsigned p = 0; p < 4; p++)
                add_part(&lanes, p, turned(four(values + k + 4 * p), minus, k + 4 * p));
        }
    }
    store_lanes(lane, &lanes);
}

void sp_products_avx2(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from, *others = terms->others + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        sp_prefetch(others + j);
        for (unsigned p = 0; p < 4; p++)
            add_part(&lanes, p, _mm256_mul_pd(four(others + j + 4 * p), four(values + j + 4 * p)));
    }
    store_lanes(lane, &lanes);
}

/* A value whose sign is turned where the other is negative, and 0 where that is 0. */
static inline __m128 with_sign(__m128 value, __m128 other)
{
    __m128 sign = _mm_and_ps(other, _mm_set1_ps(-0.0f));

    return _mm_and_ps(_mm_xor_ps(value, sign), _mm_cmp_ps(other, _mm_setzero_ps(), _CMP_NEQ_OQ));
}

void sp_sign_products_avx2(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from, *others = terms->others + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        sp_prefetch(others + j);
        for (unsigned p = 0; p < 4; p++) {
            __m128 v = with_sign(_mm_loadu_ps(values + j + 4 * p), _mm_loadu_ps(others + j + 4 * p));

            add_part(&lanes, p, _mm256_cvtps_pd(v));
        }
    }
    store_lanes(lane, &lanes);
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

/* Half of the buckets get a word. Unless `lanes` is NULL, they get its squares. */
static inline void add_word(double *bucket, struct lanes *lanes, uint64_t minus, const float *values)
{
    for (unsigned k = 0; k < 64; k += SP_SUM_LANES) {
        sp_prefetch(values + k);
        for (unsigned p = 0; p < 4; p++) {
            double *at = bucket + k + 4 * p;
            __m256d v = four(values + k + 4 * p);

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

void sp_sketch_avx2(double *sketch, const struct sp_sketch_place *place, const float *values, size_t words)
{
    add_words(sketch, NULL, *place, values, words);
}

void sp_squares_sketch_avx2(double lane[SP_SUM_LANES], double *sketch, const struct sp_sketch_place *place,
                            const float *values, size_t words)
{
    struct lanes lanes = load_lanes(lane);

    add_words(sketch, &lanes, *place, values, words);
    store_lanes(lane, &lanes);
}
