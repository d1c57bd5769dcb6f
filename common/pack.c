#include "common/pack.h"

#include "common/check.h"
#include "common/pack_kernels.h"

#include <threads.h>

static uint8_t coins[SP_COINS_BYTES];
static once_flag coins_once = ONCE_FLAG_INIT;

static void make_coins(void)
{
    for (uint32_t j = 0; j < SP_COINS_BYTES * 8; j++)
        coins[j / 8] |= (uint8_t)(sp_coin(j, 1) << (j % 8));
}

const uint8_t *sp_coins(void)
{
    call_once(&coins_once, make_coins);
    return coins;
}

static unsigned pack_byte(const float *values, uint64_t first, size_t n, uint32_t t)
{
    unsigned byte = 0;

    for (size_t k = 0; k < n; k++) {
        float v = values[k];
        unsigned bit = v > 0.0f ? 1u : 0u;

        if (v == 0.0f)
            bit = sp_coin(first + k, t);
        byte |= bit << k;
    }
    return byte;
}

static void pack_scalar(const float *values, uint64_t first, size_t words, uint32_t t, uint8_t *bits)
{
    for (size_t i = 0; i < words * 8; i++)
        bits[i] = (uint8_t)pack_byte(values + i * 8, first + i * 8, 8, t);
}

static sp_pack_kernel *const kernels[SP_CPU_SETS] = SP_CPU_TABLE(pack_scalar, sp_pack_avx2, sp_pack_avx2);

void sp_pack_signs(const float *values, uint64_t first, size_t count, uint32_t t, uint8_t *bits)
{
    size_t words = count / 64;

    sp_assert(first % 8 == 0);
    kernels[sp_cpu()](values, first, words, t, bits);
    for (size_t j = words * 64; j < count; j += 8)
        bits[j / 8] = (uint8_t)pack_byte(values + j, first + j, count - j < 8 ? count - j : 8, t);
}

void sp_unpack_signs(const uint8_t *bits, size_t count, float *signs)
{
    for (size_t j = 0; j < count; j++)
        signs[j] = (bits[j / 8] >> (j % 8)) & 1u ? 1.0f : -1.0f;
}

int sp_bits_tail_clear(const uint8_t *bits, uint64_t count)
{
    return count % 8 == 0 || (bits[count / 8] >> (count % 8)) == 0;
}
