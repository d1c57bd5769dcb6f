/* Instructions of AVX-512 that SIMD Everywhere 0.7.4 has not got, as plain C; and those of AES, which this processor
 * has, four times. */
#pragma once

#include <limits.h>
#include <math.h>
#include <simde/x86/avx512.h>
#include <string.h>
#include <wmmintrin.h>

/* Rounds to nearest even; what is no 32-bit integer becomes the lowest. */
static inline simde__m512i missing_cvtps_epi32(simde__m512 a)
{
    float from[16];
    int to[16];
    simde__m512i out;

    memcpy(from, &a, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = fabsf(from[i]) < 0x1p31f ? (int)rintf(from[i]) : INT_MIN;
    memcpy(&out, to, sizeof out);
    return out;
}
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(a) missing_cvtps_epi32(a)

static inline simde__m512i missing_aes(simde__m512i a, simde__m512i key, int last)
{
    __m128i v[4], k[4];

    memcpy(v, &a, sizeof v);
    memcpy(k, &key, sizeof k);
    for (int i = 0; i < 4; i++)
        v[i] = last ? _mm_aesenclast_si128(v[i], k[i]) : _mm_aesenc_si128(v[i], k[i]);
    memcpy(&a, v, sizeof v);
    return a;
}
#undef _mm512_aesenc_epi128
#define _mm512_aesenc_epi128(a, key) missing_aes(a, key, 0)
#undef _mm512_aesenclast_epi128
#define _mm512_aesenclast_epi128(a, key) missing_aes(a, key, 1)

static inline simde__m512i missing_mulhi_epu16(simde__m512i a, simde__m512i b)
{
    uint16_t x[32], y[32];

    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 32; i++)
        x[i] = (uint16_t)((uint32_t)x[i] * y[i] >> 16);
    memcpy(&a, x, sizeof x);
    return a;
}
#undef _mm512_mulhi_epu16
#define _mm512_mulhi_epu16(a, b) missing_mulhi_epu16(a, b)

static inline __m512d missing_cvtps_pd(__m256 values)
{
    simde__m256_private from = simde__m256_to_private(values);
    simde__m512d_private to;

    for (int l = 0; l < 8; l++)
        to.f64[l] = (double)from.f32[l];
    return simde__m512d_from_private(to);
}
#define _mm512_cvtps_pd missing_cvtps_pd

static inline __m256 missing_cvtpd_ps(__m512d values)
{
    simde__m512d_private from = simde__m512d_to_private(values);
    simde__m256_private to;

    for (int l = 0; l < 8; l++)
        to.f32[l] = (float)from.f64[l];
    return simde__m256_from_private(to);
}
#define _mm512_cvtpd_ps missing_cvtpd_ps

static inline __m256 missing_extractf32x8_ps(__m512 values, int half)
{
    return simde__m512_to_private(values).m256[half];
}
#define _mm512_extractf32x8_ps missing_extractf32x8_ps
