#include "common/x86.h"
#include "server/aggregate_kernels.h"

/* Twice the columns, and 32 registers, in which sixteen rows are sorted without a detour through memory. Mean and Adam
 * wait for memory, and for a unit of division that is no wider. */

#define LANES 16
typedef __m512 vector;
typedef __m512d wide;

static inline vector load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline void store(float *to, vector v)
{
    _mm512_storeu_ps(to, v);
}

static inline vector fill(float x)
{
    return _mm512_set1_ps(x);
}

static inline vector least(vector a, vector b)
{
    return _mm512_min_ps(a, b);
}

static inline vector most(vector a, vector b)
{
    return _mm512_max_ps(a, b);
}

static inline vector add(vector a, vector b)
{
    return _mm512_add_ps(a, b);
}

static inline wide lower(vector v)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}

static inline wide upper(vector v)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

static inline vector narrow(wide a, wide b)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b), 1);
}

static inline wide wide_fill(double x)
{
    return _mm512_set1_pd(x);
}

static inline wide wide_add(wide a, wide b)
{
    return _mm512_add_pd(a, b);
}

static inline wide wide_mul(wide a, wide b)
{
    return _mm512_mul_pd(a, b);
}

static inline wide wide_div(wide a, wide b)
{
    return _mm512_div_pd(a, b);
}

#include "server/aggregate_rows.h"

const struct sp_aggregate_kernels sp_aggregate_avx512 = {
    .mean = sp_mean_avx2,
    .median = median,
    .trimmed_mean = trimmed_mean,
    .adam = sp_adam_avx2,
};
