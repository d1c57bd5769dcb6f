#include "common/pack.h"
#include "common/pack_kernels.h"
#include "common/x86.h"

/* 8 coordinates a comparison, and the signs of a register as bits in one instruction. Zeros are rare, or many of a dead
 * unit: their coins come word by word. */
void sp_pack_avx2(const float *values, uint64_t first, size_t words, uint32_t t, uint8_t *bits)
{
    const __m256 zero = _mm256_setzero_ps();
    const uint8_t *coins = sp_coins();

    for (size_t i = 0; i < words; i++) {
        uint64_t word = 0, zeros = 0;
        __m256 any = zero;

        for (unsigned k = 0; k < 8; k++) {
            __m256 v = _mm256_loadu_ps(values + i * 64 + k * 8);

            if (k % 2 == 0)
                sp_prefetch(values + i * 64 + k * 8);
            any = _mm256_or_ps(any, _mm256_cmp_ps(v, zero, _CMP_EQ_OQ));
            word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_GT_OQ)) << (8 * k);
        }
        if (_mm256_movemask_ps(any) != 0) {
            for (unsigned k = 0; k < 8; k++) {
                __m256 v = _mm256_loadu_ps(values + i * 64 + k * 8);

                zeros |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_EQ_OQ)) << (8 * k);
            }
            word |= zeros & sp_coin_word(coins, first + i * 64, t);
        }
        memcpy(bits + i * 8, &word, sizeof word);
    }
}
