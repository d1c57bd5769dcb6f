#include "common/planes.h"
#include "common/planes_kernels.h"
#include "common/x86.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Counts of 32 coordinates as bytes. Each half has four coordinates of every eight, so that what is made of its groups
 * of four afterwards lies in order without going from one half to the other. */
INLINE __m256i counts_at(const struct sp_planes_work *work, unsigned planes, size_t at)
{
    const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
                                          2, 2, 3, 3, 3, 3);
    const __m256i bit = _mm256_setr_epi32(0x08040201, 0x08040201, 0x08040201, 0x08040201, (int)0x80402010,
                                          (int)0x80402010, (int)0x80402010, (int)0x80402010);
    __m256i counts = _mm256_setzero_si256();

#pragma GCC unroll 8
    for (unsigned p = 0; p < planes; p++) {
        int32_t bits;
        __m256i one;

        memcpy(&bits, work->planes + p * work->stride + at / 8, sizeof bits);
        one = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte), bit);
        one = _mm256_cmpeq_epi8(one, bit);
        counts = _mm256_or_si256(counts, _mm256_and_si256(one, _mm256_set1_epi8((char)(1u << p))));
    }
    return counts;
}

/* Counts below 16 are looked up, each byte of the values by itself. */
INLINE void look_up(__m256i counts, const __m256i table[4], float *to)
{
    __m256i byte[4], low[2], high[2];

    for (unsigned i = 0; i < 4; i++)
        byte[i] = _mm256_shuffle_epi8(table[i], counts);
    low[0] = _mm256_unpacklo_epi8(byte[0], byte[1]);
    low[1] = _mm256_unpackhi_epi8(byte[0], byte[1]);
    high[0] = _mm256_unpacklo_epi8(byte[2], byte[3]);
    high[1] = _mm256_unpackhi_epi8(byte[2], byte[3]);
    for (unsigned i = 0; i < 2; i++) {
        _mm256_storeu_ps(to + i * 16, _mm256_castsi256_ps(_mm256_unpacklo_epi16(low[i], high[i])));
        _mm256_storeu_ps(to + i * 16 + 8, _mm256_castsi256_ps(_mm256_unpackhi_epi16(low[i], high[i])));
    }
}

/* (2c - M)/M: a division rounds as that which made the table. */
INLINE void divide(__m256i counts, unsigned voters, float *to)
{
    const __m256i first = _mm256_setr_epi8(0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1, 0, -1, -1, -1, 1,
                                           -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1);
    const __m256i all = _mm256_set1_epi32((int)voters);

    for (int i = 0; i < 4; i++) {
        __m256i c = _mm256_shuffle_epi8(counts, _mm256_or_si256(first, _mm256_set1_epi32(4 * i)));
        __m256 v = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_add_epi32(c, c), all));

        _mm256_storeu_ps(to + i * 8, _mm256_div_ps(v, _mm256_cvtepi32_ps(all)));
    }
}

INLINE unsigned decode(const struct sp_planes_work *given, size_t count, unsigned planes)
{
    const struct sp_planes_work work = *given;
    __m256i table[4], largest = _mm256_setzero_si256();
    uint8_t bytes[4][16], lanes[32];
    unsigned most = 0;

    for (unsigned c = 0; c < 16; c++) {
        for (unsigned i = 0; i < 4; i++)
            bytes[i][c] = ((const uint8_t *)&work.table[c])[i];
    }
    for (unsigned i = 0; i < 4; i++)
        table[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)bytes[i]));
    for (size_t at = 0; at < count; at += SP_PLANES_UNIT) {
        __m256i counts = counts_at(&work, planes, at);

        largest = _mm256_max_epu8(largest, counts);
        if (planes <= 4)
            look_up(counts, table, work.values + at);
        else
            divide(counts, work.voters, work.values + at);
    }
    _mm256_storeu_si256((void *)lanes, largest);
    for (unsigned i = 0; i < sizeof lanes; i++)
        most = lanes[i] > most ? lanes[i] : most;
    return most;
}

unsigned sp_planes_avx2(const struct sp_planes_work *work, size_t count)
{
    switch (sp_planes(work->voters)) {
    case 1:
        return decode(work, count, 1);
    case 2:
        return decode(work, count, 2);
    case 3:
        return decode(work, count, 3);
    case 4:
        return decode(work, count, 4);
    case 5:
        return decode(work, count, 5);
    case 6:
        return decode(work, count, 6);
    case 7:
        return decode(work, count, 7);
    default:
        return decode(work, count, 8);
    }
}
