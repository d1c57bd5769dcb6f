/* What the tests of layers share: random values, comparisons within a tolerance, and derivatives by differences. */
#pragma once

#include "tests/unit/unit.h"

#include <math.h>

/* Single precision against double: each sum in these tests has at most some thousand terms, so that its error is some
 * 1e-6 of the largest element. A wrong index, sign or factor shows as 1e-2 or more. */
#define NEAR_FLOAT 1e-5

/* Central differences in double err by f''' h^2/6, about 1e-10, and by rounding, 1e-16/h = 1e-11. Beside those, 1e-7
 * leaves room for a third derivative of 1000. */
#define NEAR_STEP 1e-5
#define NEAR_DIFFERENCE 1e-7

static inline double *near_doubles(size_t count)
{
    return unit_alloc(count * sizeof(double));
}

static inline float *near_floats(size_t count)
{
    return unit_alloc(count * sizeof(float));
}

static inline double *near_widen(const float *values, size_t count)
{
    double *wide = near_doubles(count);

    for (size_t i = 0; i < count; i++)
        wide[i] = (double)values[i];
    return wide;
}

/* Uniform on [-1, 1), and each a float32 too. The caller's. */
static inline double *near_random(size_t count, uint64_t seed)
{
    double *values = near_doubles(count);
    struct sp_rng rng = unit_rng(seed);

    for (size_t i = 0; i < count; i++)
        values[i] = (double)unit_uniform(&rng);
    return values;
}

static inline float *near_narrow(const double *values, size_t count)
{
    float *narrow = near_floats(count);

    for (size_t i = 0; i < count; i++)
        narrow[i] = (float)values[i];
    return narrow;
}

/* Output that a test gives to a function: what was there before must not matter, not even NaN. */
static inline float *near_output(size_t count)
{
    float *values = near_floats(count);

    memset(values, 0xff, count * sizeof *values);
    return values;
}

/* No element differs by more than `tolerance` of the largest element. */
static inline void near_expect_doubles(const double *got, const double *expected, size_t count, double tolerance,
                                       const char *what)
{
    double largest = 0.0;

    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(expected[i]));
    ck_assert_double_gt(largest, 0.0);
    for (size_t i = 0; i < count; i++)
        unit_assert(fabs(got[i] - expected[i]) <= tolerance * largest, "%s[%zu] is %.9g, not %.9g", what, i, got[i],
                    expected[i]);
}

static inline void near_expect(const float *got, const double *expected, size_t count, const char *what)
{
    double *wide = near_widen(got, count);

    near_expect_doubles(wide, expected, count, NEAR_FLOAT, what);
    free(wide);
}

/* The derivatives of loss(arg) with respect to `count` numbers that it depends on, each moved to both sides. */
static inline void near_differences(double (*loss)(void *arg), void *arg, double *moved, size_t count, double *found)
{
    for (size_t i = 0; i < count; i++) {
        double kept = moved[i], above;

        moved[i] = kept + NEAR_STEP;
        above = loss(arg);
        moved[i] = kept - NEAR_STEP;
        found[i] = (above - loss(arg)) / (2 * NEAR_STEP);
        moved[i] = kept;
    }
}

static inline void near_expect_differences(double (*loss)(void *arg), void *arg, double *moved, size_t count,
                                           const double *derivatives, const char *what)
{
    double *found = near_doubles(count);

    near_differences(loss, arg, moved, count, found);
    near_expect_doubles(derivatives, found, count, NEAR_DIFFERENCE, what);
    free(found);
}

static inline double near_dot(const double *a, const double *b, size_t count)
{
    double sum = 0.0;

    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}
