/* Mean, median, trimmed mean and Adam against plain loops. */
#include "server/aggregate.h"
#include "unit.h"

#include <float.h>
#include <math.h>
#include <signal.h>

#define COUNT_MAX 3000

static const unsigned numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 127, 128, 254, 255};
static const size_t counts_tried[] = {1, 2, 7, 8, 9, 63, 64, 65, 100, 511, 512, 513, 520, 576, 1000, 1024, 1031, 2999};

/* --- mean ----------------------------------------------------------------------------------------------------------
 */

static float values[SP_VALUES_MAX][COUNT_MAX];
static const float *value_pointers[SP_VALUES_MAX];

START_TEST(test_mean)
{
    unsigned voters = numbers[_i];
    struct sp_rng rng;
    float mean[COUNT_MAX + 1];

    sp_rng_init(&rng, sp_rng_key(1, SP_RNG_TEST), voters, 0);
    for (unsigned i = 0; i < voters; i++) {
        value_pointers[i] = values[i];
        for (size_t j = 0; j < COUNT_MAX; j++)
            values[i][j] = ldexpf(sp_rng_unit(sp_rng_next(&rng)) - 0.5f, (int)sp_rng_below(&rng, 60) - 30);
    }
    for (size_t k = 0; k < sizeof counts_tried / sizeof counts_tried[0]; k++) {
        size_t count = counts_tried[k];

        mean[count] = 42.0f;
        sp_mean(value_pointers, voters, count, mean);
        ck_assert_float_eq(mean[count], 42.0f);
        for (size_t j = 0; j < count; j++) {
            double sum = 0.0;

            for (unsigned i = 0; i < voters; i++)
                sum += (double)values[i][j];
            if (mean[j] != (voters > 0 ? (float)(sum / (double)voters) : 0.0f))
                ck_abort_msg("coordinate %zu of %zu", j, count);
        }
    }
}
END_TEST

/* Sums in double depend on the order, and the order is that of the slots. */
START_TEST(test_mean_goes_in_order)
{
    const float big = 0x1p60f, one = 1.0f, minus = -0x1p60f;
    const float *order[2][3] = {{&big, &minus, &one}, {&big, &one, &minus}};
    float mean;

    sp_mean(order[0], 3, 1, &mean);
    ck_assert_float_eq(mean, (float)(1.0 / 3.0));
    sp_mean(order[1], 3, 1, &mean);
    ck_assert_float_eq(mean, 0.0f);
}
END_TEST

/* The mean of equal values is that value to the bit; a sum in float32 would not be, for three of them. */
START_TEST(test_mean_of_equals)
{
    struct sp_rng rng;
    float mean[COUNT_MAX];
    unsigned wrong = 0;

    sp_rng_init(&rng, sp_rng_key(2, SP_RNG_TEST), 0, 0);
    for (size_t j = 0; j < COUNT_MAX; j++)
        values[0][j] = ldexpf(sp_rng_unit(sp_rng_next(&rng)) - 0.5f, (int)sp_rng_below(&rng, 200) - 100);
    for (size_t k = 1; k < sizeof numbers / sizeof numbers[0]; k++) {
        for (unsigned i = 0; i < numbers[k]; i++)
            value_pointers[i] = values[0];
        sp_mean(value_pointers, numbers[k], COUNT_MAX, mean);
        ck_assert_mem_eq(mean, values[0], sizeof mean);
    }
    for (size_t j = 0; j < COUNT_MAX; j++) {
        volatile float sum = values[0][j] + values[0][j];

        sum = sum + values[0][j];
        wrong += sum / 3.0f != values[0][j];
    }
    ck_assert_uint_gt(wrong, 0);
}
END_TEST

/* Means that lie right between two float32 go to the even one: a sum times 1/voters, which differs from the quotient in
 * the last bit of a double, would be seen here, and hardly anywhere else. */
START_TEST(test_mean_of_ties)
{
    float mean[COUNT_MAX];

    for (unsigned voters = 2; voters <= SP_VALUES_MAX; voters++) {
        for (unsigned i = 0; i < voters; i++)
            value_pointers[i] = values[i];
        for (size_t j = 0; j < COUNT_MAX; j++) {
            for (unsigned i = 0; i < voters; i++)
                values[i][j] = i == 1 ? 2.875f : 1.875f;
            values[0][j] = 0.875f + (float)(voters * (2 * j + 1)) * 0x1p-24f;
        }
        sp_mean(value_pointers, voters, COUNT_MAX, mean);
        for (size_t j = 0; j < COUNT_MAX; j++)
            unit_assert(mean[j] == 1.875f + (float)((j + 1) / 2) * 0x1p-22f, "coordinate %zu of %u voters", j, voters);
    }
}
END_TEST

/* --- median and trimmed mean ---------------------------------------------------------------------------------------
 */

#define LENGTH_MAX 700

/* Many equal ones, zeros of both signs, subnormal ones and the largest among numbers of any size. */
static void draw(struct sp_rng *rng, unsigned voters, size_t count)
{
    static const float special[] = {0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, FLT_MAX, -FLT_MAX, 1.0f, -1.0f};

    for (unsigned i = 0; i < voters; i++) {
        value_pointers[i] = values[i];
        for (size_t j = 0; j < count; j++)
            values[i][j] = sp_rng_below(rng, 3) == 0 ? special[sp_rng_below(rng, UNIT_COUNT(special))] : unit_wide(rng);
    }
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* cut < 0: the median. */
static float naive_of_sorted(const float *sorted, unsigned voters, int cut)
{
    double sum = 0.0;
    float result;

    if (voters == 0)
        return 0.0f;
    if (cut < 0) {
        result = voters % 2 != 0 ? sorted[voters / 2]
                                 : (float)(((double)sorted[voters / 2 - 1] + (double)sorted[voters / 2]) / 2.0);
    } else {
        for (unsigned i = (unsigned)cut; i < voters - (unsigned)cut; i++)
            sum += (double)sorted[i];
        result = (float)(sum / (double)(voters - 2 * (unsigned)cut));
    }
    return result == 0.0f ? 0.0f : result;
}

static void compare(unsigned voters, int cut, size_t count)
{
    float result[LENGTH_MAX + 1], sorted[SP_VALUES_MAX];

    result[count] = 42.0f;
    if (cut < 0)
        sp_median(value_pointers, voters, count, result);
    else
        sp_trimmed_mean(value_pointers, voters, (unsigned)cut, count, result);
    ck_assert(result[count] == 42.0f);
    for (size_t j = 0; j < count; j++) {
        float expected;

        for (unsigned i = 0; i < voters; i++)
            sorted[i] = values[i][j];
        qsort(sorted, voters, sizeof *sorted, compare_floats);
        expected = naive_of_sorted(sorted, voters, cut);
        unit_assert(memcmp(&result[j], &expected, sizeof expected) == 0,
                    "%u voters, cut %d, coordinate %zu: %a is not %a", voters, cut, j, (double)result[j],
                    (double)expected);
    }
}

START_TEST(test_sorted)
{
    unsigned voters = numbers[_i];
    struct sp_rng rng = unit_rng(voters);

    for (size_t count = 1; count <= LENGTH_MAX; count += voters > 5 ? 31 : 1) {
        int most = voters > 0 ? ((int)voters - 1) / 2 : 0;

        draw(&rng, voters, count);
        compare(voters, -1, count);
        compare(voters, 0, count);
        compare(voters, most, count);
        compare(voters, (int)sp_rng_below(&rng, (uint32_t)most + 1), count);
    }
}
END_TEST

/* Of sorted zeros and ones, the rows from `cut` to voters-cut-1 hold so many ones. */
static void expect_ones(unsigned voters, unsigned cut, size_t count)
{
    static float result[COUNT_MAX];
    unsigned left = voters - 2 * cut;

    sp_trimmed_mean(value_pointers, voters, cut, count, result);
    for (size_t j = 0; j < count; j++) {
        unsigned ones = 0;

        for (unsigned i = 0; i < voters; i++)
            ones += values[i][j] == 1.0f;
        ones = ones < cut ? 0 : ones - cut;
        ones = ones < left ? ones : left;
        unit_assert(result[j] == (float)((double)ones / (double)left), "%u voters, cut %u, column %zu", voters, cut, j);
    }
}

/* A network of comparisons that sorts every column of zeros and ones sorts everything (Knuth, The Art of Computer
 * Programming, 5.3.4, theorem Z): all columns of up to 11 rows. */
START_TEST(test_zeros_and_ones)
{
    unsigned voters = (unsigned)_i;
    size_t count = (size_t)1 << voters;

    for (unsigned i = 0; i < voters; i++) {
        value_pointers[i] = values[i];
        for (size_t j = 0; j < count; j++)
            values[i][j] = (float)((j >> i) & 1);
    }
    for (unsigned cut = 0; 2 * cut < voters; cut++)
        expect_ones(voters, cut, count);
}
END_TEST

/* Of more rows: those whose first k are ones, which have the longest way, and single ones and zeros. */
START_TEST(test_steps_and_strays)
{
    for (unsigned voters = 12; voters <= SP_VALUES_MAX; voters += voters < 36 ? 1 : 9) {
        for (unsigned i = 0; i < voters; i++) {
            value_pointers[i] = values[i];
            for (unsigned k = 0; k < voters; k++) {
                values[i][k] = i < k ? 1.0f : 0.0f;
                values[i][voters + k] = i == k ? 1.0f : 0.0f;
                values[i][2 * voters + k] = i != k ? 1.0f : 0.0f;
            }
        }
        for (unsigned cut = 0; 2 * cut < voters; cut += 1 + voters / 12)
            expect_ones(voters, cut, (size_t)3 * voters);
        expect_ones(voters, (voters - 1) / 2, (size_t)3 * voters);
    }
}
END_TEST

/* The same values in other slots give the same bits. */
START_TEST(test_slots_do_not_matter)
{
    static const unsigned voters = 9;
    struct sp_rng rng = unit_rng(9);
    float median[2][200], trimmed[2][200];

    draw(&rng, voters, 200);
    sp_median(value_pointers, voters, 200, median[0]);
    sp_trimmed_mean(value_pointers, voters, 2, 200, trimmed[0]);
    for (int turn = 0; turn < 50; turn++) {
        for (unsigned i = 0; i < voters; i++) {
            unsigned other = sp_rng_below(&rng, voters);
            const float *kept = value_pointers[i];

            value_pointers[i] = value_pointers[other];
            value_pointers[other] = kept;
        }
        sp_median(value_pointers, voters, 200, median[1]);
        sp_trimmed_mean(value_pointers, voters, 2, 200, trimmed[1]);
        ck_assert_mem_eq(median[0], median[1], sizeof median[0]);
        ck_assert_mem_eq(trimmed[0], trimmed[1], sizeof trimmed[0]);
    }
}
END_TEST

START_TEST(test_median_by_hand)
{
    static const float a[] = {5.0f, FLT_MAX, -0.0f, 1.0f}, b[] = {1.0f, FLT_MAX, 0.0f, 2.0f};
    static const float c[] = {2.0f, -FLT_MAX, -0.0f, 1e10f}, d[] = {3.0f, FLT_MAX, -0.0f, -1e10f};
    const float *four[] = {a, b, c, d};
    float result[4];

    sp_median(four, 3, 4, result);
    ck_assert_mem_eq(result, ((float[]){2.0f, FLT_MAX, 0.0f, 2.0f}), sizeof result);
    sp_median(four, 4, 4, result);
    ck_assert_mem_eq(result, ((float[]){2.5f, FLT_MAX, 0.0f, 1.5f}), sizeof result);
    sp_trimmed_mean(four, 4, 1, 4, result);
    ck_assert_mem_eq(result, ((float[]){2.5f, FLT_MAX, 0.0f, 1.5f}), sizeof result);
    sp_trimmed_mean(four, 4, 0, 4, result);
    ck_assert_mem_eq(result, ((float[]){2.75f, FLT_MAX / 2.0f, 0.0f, 0.75f}), sizeof result);
}
END_TEST

START_TEST(test_trimming_too_much_aborts)
{
    const float *none[4] = {values[0], values[0], values[0], values[0]};
    float result;

    sp_trimmed_mean(none, 4, 2, 1, &result);
}
END_TEST

/* Of 0..voters-1 with the last a million: how many were cut shows in the mean. */
START_TEST(test_aggregate_values)
{
    static const struct {
        unsigned voters;
        double trim;
        unsigned cut;
    } rows[] = {{1, 0.25, 0}, {2, 0.25, 0}, {3, 0.25, 0}, {3, 0.34, 1},      {4, 0.25, 1},   {5, 0.25, 1},
                {8, 0.25, 2}, {4, 0.49, 1}, {9, 0.0, 0},  {255, 0.499, 127}, {4, 0.5, 1},    {2, 0.5, 0},
                {1, 0.9, 0},  {0, 0.25, 0}, {10, 0.3, 3}, {10, 0.299, 2},    {255, 0.25, 63}};

    for (size_t k = 0; k < UNIT_COUNT(rows); k++) {
        unsigned voters = rows[k].voters;
        float result, expected;

        for (unsigned i = 0; i < voters; i++) {
            values[i][0] = i + 1 == voters ? 1e6f : (float)i;
            value_pointers[i] = values[i];
        }
        sp_trimmed_mean(value_pointers, voters, rows[k].cut, 1, &expected);
        sp_aggregate_values(SP_AGGREGATE_TRIMMED_MEAN, rows[k].trim, value_pointers, voters, 1, &result);
        ck_assert(result == expected);
        sp_mean(value_pointers, voters, 1, &expected);
        sp_aggregate_values(SP_AGGREGATE_MEAN, rows[k].trim, value_pointers, voters, 1, &result);
        ck_assert(result == expected);
        sp_median(value_pointers, voters, 1, &expected);
        sp_aggregate_values(SP_AGGREGATE_MEDIAN, rows[k].trim, value_pointers, voters, 1, &result);
        ck_assert(result == expected);
    }
}
END_TEST

/* --- Adam ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_adam_factors)
{
    struct sp_adam adam;

    for (uint32_t t = 1; t < 3000; t++) {
        sp_adam_init(&adam, 0.9, 0.999, 1e-8, t);
        ck_assert(adam.beta1 == 0.9f && adam.beta2 == 0.999f && adam.eps == 1e-8f);
        ck_assert(adam.one_minus_beta1 == (float)(1.0 - 0.9) && adam.one_minus_beta2 == (float)(1.0 - 0.999));
        /* Not to the bit: pow() is somebody else's. */
        ck_assert(fabs((double)adam.c1 * (1.0 - pow(0.9, t)) - 1.0) < 1e-7);
        ck_assert(fabs((double)adam.c2 * (1.0 - pow(0.999, t)) - 1.0) < 1e-7);
    }
    sp_adam_init(&adam, 0.0, 0.0, 1e-8, 1);
    ck_assert(adam.c1 == 1.0f && adam.c2 == 1.0f && adam.one_minus_beta1 == 1.0f);
    sp_adam_init(&adam, 0.9, 0.999, 1e-8, UINT32_MAX);
    ck_assert(adam.c1 == 1.0f && adam.c2 == 1.0f);
    sp_adam_init(&adam, 0.5, 0.75, 1e-8, 2);
    ck_assert(adam.c1 == (float)(4.0 / 3.0) && adam.c2 == (float)(16.0 / 7.0));
}
END_TEST

START_TEST(test_adam_round_0_aborts)
{
    struct sp_adam adam;

    sp_adam_init(&adam, 0.9, 0.999, 1e-8, 0);
}
END_TEST

/* One coordinate, each operation rounded for itself; the root in double, whose rounding to float32 is the right one. */
static float twin_adam(const struct sp_adam *a, float g, float *m, float *v)
{
    volatile float kept, added, top, scaled, root, bottom;

    kept = a->beta1 * *m;
    added = a->one_minus_beta1 * g;
    *m = kept + added;
    kept = a->beta2 * *v;
    added = a->one_minus_beta2 * g;
    added = added * g;
    *v = kept + added;
    top = *m * a->c1;
    scaled = *v * a->c2;
    root = (float)sqrt((double)scaled);
    bottom = root + a->eps;
    return top / bottom;
}

START_TEST(test_adam)
{
    static float g[LENGTH_MAX], m[LENGTH_MAX + 1], v[LENGTH_MAX + 1], twin_m[LENGTH_MAX], twin_v[LENGTH_MAX];
    float update[LENGTH_MAX + 1];
    struct sp_rng rng = unit_rng(4);

    for (uint32_t t = 1; t <= LENGTH_MAX; t++) {
        size_t count = t;
        struct sp_adam adam;

        sp_adam_init(&adam, 0.9, 0.999, 1e-8, t);
        m[count] = v[count] = update[count] = 42.0f;
        for (size_t j = 0; j < count; j++)
            g[j] = j % 3 == 0 ? unit_uniform(&rng) : j % 7 == 1 ? 0.0f : unit_wide(&rng);
        sp_adam_update(&adam, g, count, m, v, update);
        ck_assert(m[count] == 42.0f && v[count] == 42.0f && update[count] == 42.0f);
        m[count] = v[count] = 0.0f;
        for (size_t j = 0; j < count; j++) {
            float expected = twin_adam(&adam, g[j], &twin_m[j], &twin_v[j]);

            unit_assert(update[j] == expected && m[j] == twin_m[j] && v[j] == twin_v[j], "coordinate %zu of round %u",
                        j, t);
        }
    }
}
END_TEST

/* The first step is the sign of the gradient, whatever its size; a gradient that was always 0 moves nothing. */
START_TEST(test_adam_first_step)
{
    static const float g[] = {1.0f, -1e-3f, 1e3f, 0.0f, -1e15f};
    float m[5] = {0}, v[5] = {0}, update[5];
    struct sp_adam adam;

    sp_adam_init(&adam, 0.9, 0.999, 1e-8, 1);
    sp_adam_update(&adam, g, 5, m, v, update);
    for (size_t j = 0; j < 5; j++)
        ck_assert(fabsf(update[j] - (j == 3 ? 0.0f : copysignf(1.0f, g[j]))) < 2e-5f);
    ck_assert(update[3] == 0.0f);
}
END_TEST

int main(void)
{
    const int count = (int)UNIT_COUNT(numbers);
    TCase *tests = tcase_create("aggregate");

    tcase_add_loop_test(tests, test_mean, 0, count);
    tcase_add_test(tests, test_mean_goes_in_order);
    tcase_add_test(tests, test_mean_of_equals);
    tcase_add_test(tests, test_mean_of_ties);
    tcase_add_loop_test(tests, test_sorted, 0, count);
    tcase_add_loop_test(tests, test_zeros_and_ones, 1, 12);
    tcase_add_test(tests, test_steps_and_strays);
    tcase_add_test(tests, test_slots_do_not_matter);
    tcase_add_test(tests, test_median_by_hand);
    tcase_add_test_raise_signal(tests, test_trimming_too_much_aborts, SIGABRT);
    tcase_add_test(tests, test_aggregate_values);
    tcase_add_test(tests, test_adam_factors);
    tcase_add_test_raise_signal(tests, test_adam_round_0_aborts, SIGABRT);
    tcase_add_test(tests, test_adam);
    tcase_add_test(tests, test_adam_first_step);
    return unit_run(suite_create("aggregate"), tests);
}
