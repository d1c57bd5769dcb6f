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
