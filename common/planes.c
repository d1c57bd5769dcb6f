#include "common/planes.h"

#include "common/check.h"
#include "common/pack.h"
#include "common/planes_kernels.h"

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

/* Coordinates from..to-1, `from` a multiple of 8. Returns the largest count; a bit behind the last coordinate is one
 * too large for anybody. */
static unsigned decode_range(const struct sp_planes_work *work, size_t from, size_t to)
{
    const unsigned needed = sp_planes(work->voters);
    unsigned largest = 0;

    for (size_t j = from; j < to; j += 8) {
        size_t n = to - j < 8 ? to - j : 8;
        uint64_t word = 0;

        for (unsigned p = 0; p < needed; p++)
            word |= spread(work->planes[p * work->stride + j / 8]) << p;
        for (size_t k = 0; k < n; k++) {
            unsigned c = (word >> (8 * k)) & 0xff;

            largest = c > largest ? c : largest;
            work->values[j + k] = work->table[c];
        }
        if (n < 8 && (word >> (8 * n)) != 0)
            largest = SP_PLANES_VOTERS_MAX + 1;
    }
    return largest;
}

static unsigned decode_scalar(const struct sp_planes_work *work, size_t count)
{
    return decode_range(work, 0, count);
}

static sp_planes_kernel *const kernels[SP_CPU_SETS] = SP_CPU_TABLE(decode_scalar, sp_planes_avx2, sp_planes_avx2);

bool sp_planes_decode(const uint8_t *planes, unsigned voters, size_t count, float *values)
{
    float table[SP_PLANES_VOTERS_MAX + 1];
    const struct sp_planes_work work = {
        .planes = planes, .stride = sp_bits_bytes(count), .voters = voters, .table = table, .values = values};
    const size_t whole = count / SP_PLANES_UNIT * SP_PLANES_UNIT;
    unsigned largest, rest;

    sp_assert(voters <= SP_PLANES_VOTERS_MAX);
    fill_table(table, voters);
    largest = kernels[sp_cpu()](&work, whole);
    rest = decode_range(&work, whole, count);
    return largest <= voters && rest <= voters;
}
