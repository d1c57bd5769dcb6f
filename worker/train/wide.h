/* Loops over many values that are done in registers as wide as the processor has. What they compute does not depend on
 * it: no sum is taken in another order, and nothing is contracted. */
#pragma once

#include <stddef.h>

/* gcc compiles a function marked so once for each of these, and picks one when the program starts. clang and sanitizers
 * get the plain one. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SP_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define SP_WIDE
#endif

/* Sums in double, in 16 strided lanes that are added up by a fixed tree. */
double sp_wide_sum(const float *values, size_t count);

/* Sum of (value - mean)^2. */
double sp_wide_spread(const float *values, size_t count, double mean);

/* Sum of d * (value - mean). */
double sp_wide_dot(const float *d, const float *values, size_t count, double mean);
