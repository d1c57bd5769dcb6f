#include "common/x86.h"
#include "server/aggregate_kernels.h"

/* Twice the columns, and 32 registers, in which sixteen rows are sorted without a detour through memory. Mean and Adam
 * wait for memory, and for a unit of division that is no wider. */

#define V(instruction) _mm512_##instruction
#define LANES 16
typedef __m512 vector;
typedef __m512d wide;

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

#include "server/aggregate_rows.h"

const struct sp_aggregate_kernels sp_aggregate_avx512 = {
    .mean = sp_mean_avx2,
    .median = median,
    .trimmed_mean = trimmed_mean,
    .adam = sp_adam_avx2,
};
