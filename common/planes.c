#include "common/planes.h"

#include "common/check.h"
#include "common/pack.h"

#include <string.h>

unsigned sp_planes(unsigned voters)
{
    unsigned planes = 1;

    while (voters >> planes != 0)
        planes++;
    return planes;
}

size_t sp_planes_bytes(unsigned voters, uint64_t count)
{
    return sp_planes(voters) * sp_bits_bytes(count);
}

/* Bit k of `bits` becomes byte k of the word, 0 or 1. */
static uint64_t spread(uint8_t bits)
{
    uint64_t word = (bits * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);

    return ((word + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7) & UINT64_C(0x0101010101010101);
}

/* values[c] for every c that the planes can hold; what lies beyond M is never used. */
static void fill_table(float table[SP_PLANES_VOTERS_MAX + 1], unsigned voters)
{
    memset(table, 0, (SP_PLANES_VOTERS_MAX + 1) * sizeof *table);
    for (unsigned c = 0; c <= voters && voters > 0; c++)
        table[c] = (float)(2 * (int)c - (int)voters) / (float)voters;
}

bool sp_planes_decode(const uint8_t *planes, unsigned voters, size_t count, float *values)
{
    const size_t bytes = sp_bits_bytes(count);
    const unsigned needed = sp_planes(voters);
    float table[SP_PLANES_VOTERS_MAX + 1];
    unsigned bad = 0;

    sp_assert(voters <= SP_PLANES_VOTERS_MAX);
    fill_table(table, voters);
    for (size_t i = 0; i < bytes; i++) {
        size_t n = count - i * 8 < 8 ? count - i * 8 : 8;
        uint64_t word = 0;

        for (unsigned p = 0; p < needed; p++)
            word |= spread(planes[p * bytes + i]) << p;
        for (size_t k = 0; k < n; k++) {
            unsigned c = (word >> (8 * k)) & 0xff;

            bad |= c > voters;
            values[i * 8 + k] = table[c];
        }
        if (n < 8)
            bad |= (word >> (8 * n)) != 0;
    }
    return bad == 0;
}
