#include "common/x86.h"
#include "server/aggregate_kernels.h"

#include <stdbool.h>

/* --- mean ----------------------------------------------------------------------------------------------------------
 *
 * Many arrays at a time are more than caches and their prefetching follow: they are added eight at a time, and what
 * comes of a block waits in the first cache for the next eight.
 */

#define MEAN_BLOCK 1024
#define MEAN_AT_A_TIME 8

struct mean {
    const float *const *values;
    unsigned voters;
    __m256d by; /* the number of voters, or 1 by it */
};

/* Voters from..to-1, 16 coordinates from j on; the sums so far are in `sum`, unless these are the first voters. */
static inline void add_16(const struct mean *mean, unsigned from, unsigned to, size_t j, const double *sum,
                          __m256d s[4])
{
    for (unsigned k = 0; k < 4; k++)
        s[k] = from > 0 ? _mm256_loadu_pd(sum + 4 * k) : _mm256_setzero_pd();
    for (unsigned i = from; i < to; i++) {
        const float *x = mean->values[i] + j;

        for (unsigned k = 0; k < 4; k++)
            s[k] = _mm256_add_pd(s[k], _mm256_cvtps_pd(_mm_loadu_ps(x + 4 * k)));
    }
}

static inline void write_16(const struct mean *mean, bool multiply, const __m256d s[4], float *to)
{
    for (unsigned k = 0; k < 4; k++) {
        __m256d result = multiply ? _mm256_mul_pd(s[k], mean->by) : _mm256_div_pd(s[k], mean->by);

        _mm_storeu_ps(to + 4 * k, _mm256_cvtpd_ps(result));
    }
}

static inline void mean_block(const struct mean *mean, bool multiply, size_t first, size_t n, float *to)
{
    double sum[MEAN_BLOCK];
    __m256d s[4];
    unsigned from = 0;

    for (; mean->voters - from > MEAN_AT_A_TIME; from += MEAN_AT_A_TIME) {
        for (size_t j = 0; j < n; j += 16) {
            add_16(mean, from, from + MEAN_AT_A_TIME, first + j, sum + j, s);
            for (unsigned k = 0; k < 4; k++)
                _mm256_storeu_pd(sum + j + 4 * k, s[k]);
        }
    }
    for (size_t j = 0; j < n; j += 16) {
        add_16(mean, from, mean->voters, first + j, sum + j, s);
        write_16(mean, multiply, s, to + first + j);
    }
}

/* To divide by a power of two is to multiply by its inverse, to the bit: no sum of float32 is near the limits of a
 * double. */
void sp_mean_avx2(const float *const values[], unsigned voters, size_t first, size_t end, float *to)
{
    bool multiply = (voters & (voters - 1)) == 0;
    struct mean of = {values, voters, _mm256_set1_pd(multiply ? 1.0 / (double)voters : (double)voters)};

    for (size_t start = first; start < end; start += MEAN_BLOCK) {
        size_t n = end - start < MEAN_BLOCK ? end - start : MEAN_BLOCK;

        if (multiply)
            mean_block(&of, true, start, n, to);
        else
            mean_block(&of, false, start, n, to);
    }
}

/* --- median and trimmed mean ---------------------------------------------------------------------------------------
 */

#define V(instruction) _mm256_##instruction
#define LANES 8
typedef __m256 vector;
typedef __m256d wide;

static inline wide lower(vector v)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

static inline wide upper(vector v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

static inline vector narrow(wide a, wide b)
{
    return _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a));
}

#include "server/aggregate_rows.h"

/* --- Adam ----------------------------------------------------------------------------------------------------------
 */

void sp_adam_avx2(const struct sp_adam *adam, const float *gradient, size_t first, size_t end, float *m, float *v,
                  float *update)
{
    const __m256 beta1 = _mm256_set1_ps(adam->beta1), rest1 = _mm256_set1_ps(adam->one_minus_beta1);
    const __m256 beta2 = _mm256_set1_ps(adam->beta2), rest2 = _mm256_set1_ps(adam->one_minus_beta2);
    const __m256 c1 = _mm256_set1_ps(adam->c1), c2 = _mm256_set1_ps(adam->c2), eps = _mm256_set1_ps(adam->eps);

    for (size_t j = first; j < end; j += 8) {
        __m256 g = _mm256_loadu_ps(gradient + j), a = _mm256_mul_ps(beta1, _mm256_loadu_ps(m + j));
        __m256 b = _mm256_mul_ps(beta2, _mm256_loadu_ps(v + j));

        a = _mm256_add_ps(a, _mm256_mul_ps(rest1, g));
        b = _mm256_add_ps(b, _mm256_mul_ps(_mm256_mul_ps(rest2, g), g));
        _mm256_storeu_ps(m + j, a);
        _mm256_storeu_ps(v + j, b);
        b = _mm256_add_ps(_mm256_sqrt_ps(_mm256_mul_ps(b, c2)), eps);
        _mm256_storeu_ps(update + j, _mm256_div_ps(_mm256_mul_ps(a, c1), b));
    }
}

const struct sp_aggregate_kernels sp_aggregate_avx2 = {
    .mean = sp_mean_avx2,
    .median = median,
    .trimmed_mean = trimmed_mean,
    .adam = sp_adam_avx2,
};
