/* Instructions of AVX-512 that SIMD Everywhere 0.7.4 has not got, as plain C. */
#pragma once

#include <simde/x86/avx512.h>

static inline __m512d sp_emulated_cvtps_pd(__m256 values)
{
    simde__m256_private from = simde__m256_to_private(values);
    simde__m512d_private to;

    for (int l = 0; l < 8; l++)
        to.f64[l] = (double)from.f32[l];
    return simde__m512d_from_private(to);
}
#define _mm512_cvtps_pd sp_emulated_cvtps_pd

static inline __m256 sp_emulated_cvtpd_ps(__m512d values)
{
    simde__m512d_private from = simde__m512d_to_private(values);
    simde__m256_private to;

    for (int l = 0; l < 8; l++)
        to.f32[l] = (float)from.f64[l];
    return simde__m256_from_private(to);
}
#define _mm512_cvtpd_ps sp_emulated_cvtpd_ps

static inline __m256 sp_emulated_extractf32x8_ps(__m512 values, int half)
{
    return simde__m512_to_private(values).m256[half];
}
#define _mm512_extractf32x8_ps sp_emulated_extractf32x8_ps
