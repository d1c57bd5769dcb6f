/* Inside sums.c and its kernels. */
#pragma once

#include "common/cpu.h"
#include "common/rng.h"
#include "common/sums.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_SUM_LANES 16

/* What terms are made of; each sum reads the members that it needs. */
struct sp_terms {
    const float *values;
    const float *others;
    const uint8_t *bits; /* bit `first`+j belongs to values[j] */
    uint64_t first;
};

/* Adds the terms of 64*words coordinates, which begin at `from`: lane l those of from+l, from+l+16, ... in order. */
typedef void sp_sum_kernel(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words);

sp_sum_kernel sp_squares_avx2, sp_squares_avx512;
sp_sum_kernel sp_dot_avx2, sp_dot_avx512;
sp_sum_kernel sp_products_avx2, sp_products_avx512;
sp_sum_kernel sp_sign_products_avx2, sp_sign_products_avx512;

/* sp_all_finite() of 64*words values. */
typedef bool sp_finite_kernel(const float *values, size_t words);

sp_finite_kernel sp_finite_avx2;

/* Where in the sketch's coordinates a kernel begins: at 64*word. */
struct sp_sketch_place {
    uint64_t seed;
    uint32_t t;
    uint64_t word;
};

/* The signs of word i from there on: minus where a bit is set. */
static inline uint64_t sp_sketch_minus(const struct sp_sketch_place *place, size_t i)
{
    return sp_sketch_signs(place->seed, place->t, place->word + i);
}

/* The 64 buckets that the word goes to. */
static inline double *sp_sketch_half(double *sketch, const struct sp_sketch_place *place, size_t i)
{
    return sketch + (place->word + i) % 2 * (SP_SKETCH_BUCKETS / 2);
}

/* sp_sketch_add() of 64*words coordinates; and the same together with their squares. */
typedef void sp_sketch_kernel(double *sketch, const struct sp_sketch_place *place, const float *values, size_t words);
typedef void sp_squares_sketch_kernel(double lane[SP_SUM_LANES], double *sketch, const struct sp_sketch_place *place,
                                      const float *values, size_t words);

sp_sketch_kernel sp_sketch_avx2, sp_sketch_avx512;
sp_squares_sketch_kernel sp_squares_sketch_avx2, sp_squares_sketch_avx512;

/* The 64 bits from bit `at` on, wherever that is in its byte. Reads no byte that has none of them. */
static inline uint64_t sp_bits_word(const uint8_t *bits, uint64_t at)
{
    unsigned shift = (unsigned)(at % 8);
    uint64_t word;

    __builtin_memcpy(&word, bits + at / 8, sizeof word);
    return shift == 0 ? word : word >> shift | (uint64_t)bits[at / 8 + 8] << (64 - shift);
}
