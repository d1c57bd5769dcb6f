#include "common/weights_kernels.h"
#include "common/x86.h"

#include <string.h>

/* 8 weights, whose bits stand at the top of the lanes of `bits`: where one is set, -rate becomes rate. */
static inline void apply_eight(float *theta, __m256i bits, __m256 decay, __m256 minus_rate)
{
    __m256 set = _mm256_and_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(-0.0f));
    __m256 decayed = _mm256_mul_ps(_mm256_loadu_ps(theta), decay);

    _mm256_storeu_ps(theta, _mm256_sub_ps(decayed, _mm256_xor_ps(minus_rate, set)));
}

void sp_apply_signs_avx2(float *theta, const uint8_t *bits, size_t bytes, float decay, float rate)
{
    const __m256i up = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256 factor = _mm256_set1_ps(decay), minus_rate = _mm256_set1_ps(-rate);
    size_t i = 0;

    for (; i + 4 <= bytes; i += 4, theta += 32) {
        uint32_t word;

        memcpy(&word, bits + i, sizeof word);
        sp_prefetch(theta);
        sp_prefetch(theta + 16);
        for (unsigned k = 0; k < 4; k++)
            apply_eight(theta + 8 * k, _mm256_sllv_epi32(_mm256_set1_epi32((int)(word >> (8 * k))), up), factor,
                        minus_rate);
    }
    for (; i < bytes; i++, theta += 8)
        apply_eight(theta, _mm256_sllv_epi32(_mm256_set1_epi32(bits[i]), up), factor, minus_rate);
}

void sp_apply_values_avx2(float *theta, const float *values, size_t groups, float decay, float rate)
{
    const __m256 factor = _mm256_set1_ps(decay), step = _mm256_set1_ps(rate);

    for (size_t j = 0; j < groups * 8; j += 8) {
        __m256 decayed = _mm256_mul_ps(_mm256_loadu_ps(theta + j), factor);

        if (j % 16 == 0) {
            sp_prefetch(theta + j);
            sp_prefetch(values + j);
        }
        _mm256_storeu_ps(theta + j, _mm256_sub_ps(decayed, _mm256_mul_ps(step, _mm256_loadu_ps(values + j))));
    }
}
