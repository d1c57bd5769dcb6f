#include "common/sums_kernels.h"
#include "common/x86.h"

struct lanes {
    __m512d part[2];
};

static inline struct lanes load_lanes(const double lane[SP_SUM_LANES])
{
    return (struct lanes){{_mm512_loadu_pd(lane), _mm512_loadu_pd(lane + 8)}};
}

static inline void store_lanes(double lane[SP_SUM_LANES], const struct lanes *lanes)
{
    _mm512_storeu_pd(lane, lanes->part[0]);
    _mm512_storeu_pd(lane + 8, lanes->part[1]);
}

static inline void add_part(struct lanes *lanes, unsigned p, __m512d terms)
{
    lanes->part[p] = _mm512_add_pd(lanes->part[p], terms);
}

static inline __m512d eight(const float *values)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(values));
}

/* Values with the signs that bits k..k+7 of `word` turn. */
static inline __m512d turned(__m512d values, uint64_t word, unsigned k)
{
    __m512i v = _mm512_castpd_si512(values);

    return _mm512_castsi512_pd(_mm512_mask_xor_epi64(v, (__mmask8)(word >> k), v, _mm512_set1_epi64(INT64_MIN)));
}

void sp_squares_avx512(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        for (unsigned p = 0; p < 2; p++) {
            __m512d v = eight(values + j + 8 * p);

            add_part(&lanes, p, _mm512_mul_pd(v, v));
        }
    }
    store_lanes(lane, &lanes);
}

void sp_dot_avx512(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t i = 0; i < words; i++, values += 64) {
        uint64_t minus = ~sp_bits_word(terms->bits, terms->first + from + i * 64);

        for (unsigned k = 0; k < 64; k += SP_SUM_LANES) {
            sp_prefetch(values + k);
            for (unsigned p = 0; p < 2; p++)
                add_part(&lanes, p, turned(eight(values + k + 8 * p), minus, k + 8 * p));
        }
    }
    store_lanes(lane, &lanes);
}

void sp_products_avx512(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from, *others = terms->others + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        sp_prefetch(others + j);
        for (unsigned p = 0; p < 2; p++)
            add_part(&lanes, p, _mm512_mul_pd(eight(others + j + 8 * p), eight(values + j + 8 * p)));
    }
    store_lanes(lane, &lanes);
}

/* A value whose sign is turned where the other is negative, and 0 where that is 0. */
static inline __m256 with_sign(__m256 value, __m256 other)
{
    const __m256 zero = _mm256_setzero_ps();
    __mmask8 counts = _mm256_cmp_ps_mask(other, zero, _CMP_NEQ_OQ);

    return _mm256_maskz_mov_ps(counts, _mm256_xor_ps(value, _mm256_and_ps(other, _mm256_set1_ps(-0.0f))));
}

void sp_sign_products_avx512(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from, *others = terms->others + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        sp_prefetch(others + j);
        for (unsigned p = 0; p < 2; p++) {
            __m256 v = with_sign(_mm256_loadu_ps(values + j + 8 * p), _mm256_loadu_ps(others + j + 8 * p));

            add_part(&lanes, p, _mm512_cvtps_pd(v));
        }
    }
    store_lanes(lane, &lanes);
}

/* Half of the buckets, in 8 registers, get a word. Unless `lanes` is NULL, they get its squares. */
static inline void add_word(__m512d bucket[8], struct lanes *lanes, uint64_t minus, const float *values)
{
    for (unsigned r = 0; r < 8; r++) {
        __m512d v = eight(values + 8 * r);

        if (r % 2 == 0)
            sp_prefetch(values + 8 * r);
        if (lanes != NULL)
            add_part(lanes, r % 2, _mm512_mul_pd(v, v));
        bucket[r] = _mm512_add_pd(bucket[r], turned(v, minus, 8 * r));
    }
}

static inline void load_buckets(__m512d bucket[8], const double *half)
{
    for (unsigned r = 0; r < 8; r++)
        bucket[r] = _mm512_loadu_pd(half + 8 * r);
}

static inline void store_buckets(double *half, const __m512d bucket[8])
{
    for (unsigned r = 0; r < 8; r++)
        _mm512_storeu_pd(half + 8 * r, bucket[r]);
}

/* All 128 buckets in registers: those of the first word in `here`, of the next in `there`, and so on. */
static inline void add_words(double *sketch, struct lanes *lanes, const struct sp_sketch_place *place,
                             const float *values, size_t words)
{
    __m512d here[8], there[8];
    size_t i = 0;

    load_buckets(here, sp_sketch_half(sketch, place, 0));
    load_buckets(there, sp_sketch_half(sketch, place, 1));
    for (; i + 2 <= words; i += 2) {
        add_word(here, lanes, sp_sketch_minus(place, i), values + i * 64);
        add_word(there, lanes, sp_sketch_minus(place, i + 1), values + i * 64 + 64);
    }
    if (i < words)
        add_word(here, lanes, sp_sketch_minus(place, i), values + i * 64);
    store_buckets(sp_sketch_half(sketch, place, 0), here);
    store_buckets(sp_sketch_half(sketch, place, 1), there);
}

void sp_sketch_avx512(double *sketch, const struct sp_sketch_place *place, const float *values, size_t words)
{
    add_words(sketch, NULL, place, values, words);
}

void sp_squares_sketch_avx512(double lane[SP_SUM_LANES], double *sketch, const struct sp_sketch_place *place,
                              const float *values, size_t words)
{
    struct lanes lanes = load_lanes(lane);

    add_words(sketch, &lanes, place, values, words);
    store_lanes(lane, &lanes);
}
