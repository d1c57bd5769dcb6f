/* Sums over many coordinates, in an order that is the same on every kernel path.
 *
 * Values are taken in blocks of SP_SUM_BLOCK coordinates. In a block, lane l of 16 adds the terms of coordinates
 * j = l (mod 16) in double, in order of j; the lanes are then added pairwise (l and l+8, l and l+4, l and l+2, l and
 * l+1), and the blocks in order. Each term is computed in double from float32 values. Design, section 3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_SUM_BLOCK 65536
#define SP_SKETCH_BUCKETS 128

/* Sum of squares. */
double sp_sum_squares(const float *values, size_t count);

/* <s, values> with s = +1 where the bit is set, -1 elsewhere; bit 0 of `bits` belongs to values[0]. */
double sp_dot_signs(const uint8_t *bits, const float *values, size_t count);

bool sp_all_finite(const float *values, size_t count);

/* A running sum of squares or dot over ranges that arrive one after another and end anywhere: it cuts at the same
 * blocks as one call over the whole would. All zero bytes is an empty sum. */
struct sp_running_sum {
    double total;
    double lane[16];
    uint64_t count;
};

void sp_running_add_squares(struct sp_running_sum *sum, const float *values, size_t count);
/* Bit `first`+j of `bits` belongs to values[j]. */
void sp_running_add_dot(struct sp_running_sum *sum, const uint8_t *bits, uint64_t first, const float *values,
                        size_t count);
/* Adds a[j]*b[j]. */
void sp_running_add_products(struct sp_running_sum *sum, const float *a, const float *b, size_t count);
/* Adds values[j] where signs[j] > 0, -values[j] where it is < 0, and 0 where it is 0. */
void sp_running_add_sign_products(struct sp_running_sum *sum, const float *signs, const float *values, size_t count);
double sp_running_total(const struct sp_running_sum *sum);

/* Count sketch with one row (Charikar, Chen, Farach-Colton 2002): adds sign(seed, t, j)*values[j-first] to bucket
 * j mod SP_SKETCH_BUCKETS, for j in first..first+count-1, each bucket in order of j. The mean over many workers of
 * their sketches has the expected squared norm of their mean gradient. */
void sp_sketch_add(double sketch[SP_SKETCH_BUCKETS], uint64_t seed, uint32_t t, uint64_t first, const float *values,
                   size_t count);

/* sp_running_add_squares() and sp_sketch_add() of the same values in one pass. */
void sp_running_add_squares_sketch(struct sp_running_sum *sum, double sketch[SP_SKETCH_BUCKETS], uint64_t seed,
                                   uint32_t t, uint64_t first, const float *values, size_t count);
