/* Sums in their documented order, bit for bit, against a twin that follows the words of sums.h; and the sketch. */
#include "common/sums.h"
#include "unit.h"

#include <float.h>
#include <math.h>

static const size_t sizes[] = {0,     1,     2,     15,    16,    17,    31,     33,     255,    65535,
                               65536, 65537, 65552, 65553, 81919, 81937, 131071, 131072, 131073, 200000};

/* --- the twin ---------------------------------------------------------------------------------------------------- */

/* The term of one coordinate: a square, or a value with the sign of its bit. */
static double term(const float *values, const uint8_t *bits, size_t j)
{
    double value = (double)values[j];

    if (bits == NULL)
        return value * value;
    return (bits[j / 8] & (1u << (j % 8))) != 0 ? value : -value;
}

/* "Added pairwise (l and l+8, l and l+4, l and l+2, l and l+1)": the sum of the lanes l, l+apart, l+2*apart, ... */
static double tree(const double lane[16], unsigned l, unsigned apart)
{
    if (apart == 16)
        return lane[l];
    return tree(lane, l, 2 * apart) + tree(lane, l + apart, 2 * apart);
}

static double block_sum(const float *values, const uint8_t *bits, size_t first, size_t end)
{
    double lane[16];

    for (size_t l = 0; l < 16; l++) {
        lane[l] = 0.0;
        for (size_t j = first + l; j < end; j += 16)
            lane[l] += term(values, bits, j);
    }
    return tree(lane, 0, 1);
}

/* `bits` NULL: of squares. */
static double twin_sum(const float *values, const uint8_t *bits, size_t count)
{
    double sum = 0.0;

    for (size_t first = 0; first < count; first += 65536)
        sum += block_sum(values, bits, first, first + 65536 < count ? first + 65536 : count);
    return sum;
}

/* --- sums -------------------------------------------------------------------------------------------------------- */

static void same(double a, double b)
{
    unit_assert(memcmp(&a, &b, sizeof a) == 0, "%a is not %a", a, b);
}

static float *random_values(uint64_t seed, size_t count)
{
    struct sp_rng rng = unit_rng(seed);
    float *values = unit_alloc(count * sizeof *values);

    for (size_t j = 0; j < count; j++)
        values[j] = unit_wide(&rng);
    return values;
}

static uint8_t *random_bits(uint64_t seed, size_t count)
{
    struct sp_rng rng = unit_rng(seed);
    uint8_t *bits = unit_alloc((count + 7) / 8);

    for (size_t i = 0; i < (count + 7) / 8; i++)
        bits[i] = (uint8_t)sp_rng_next(&rng);
    return bits;
}

START_TEST(test_sums)
{
    size_t count = sizes[_i];
    float *values = random_values(count, count);
    uint8_t *bits = random_bits(count, count);

    same(sp_sum_squares(values, count), twin_sum(values, NULL, count));
    same(sp_dot_signs(bits, values, count), twin_sum(values, bits, count));
    free(values);
    free(bits);
}
END_TEST

/* The comparisons above can fail: with these values another order gives another sum. */
START_TEST(test_order_matters)
{
    float *values = random_values(1, 200000);
    uint8_t *bits = random_bits(1, 200000);
    double squares = 0.0, dot = 0.0;

    for (size_t j = 0; j < 200000; j++) {
        squares += term(values, NULL, j);
        dot += term(values, bits, j);
    }
    ck_assert(squares != sp_sum_squares(values, 200000));
    ck_assert(dot != sp_dot_signs(bits, values, 200000));
    free(values);
    free(bits);
}
END_TEST

START_TEST(test_sums_of_known_values)
{
    static const float values[] = {3.0f, -4.0f, 0.0f, 12.0f, -0x1p100f};
    const uint8_t bits = 0x16; /* -, +, +, -, + */

    ck_assert(sp_sum_squares(values, 4) == 169.0);
    ck_assert(sp_sum_squares(values + 4, 1) == 0x1p200); /* beyond float32 */
    ck_assert(sp_dot_signs(&bits, values, 4) == -3.0 - 4.0 - 12.0);
    ck_assert(sp_dot_signs(&bits, values, 5) == -0x1p100);
}
END_TEST

/* Ranges that end anywhere: often after a few values, now and then after more than a block, sometimes empty. */
static size_t random_cut(struct sp_rng *rng, size_t left)
{
    static const uint32_t most[] = {1, 3, 17, 64, 5000, 70000};
    size_t n = sp_rng_below(rng, most[sp_rng_below(rng, UNIT_COUNT(most))] + 1);

    return n < left ? n : left;
}

START_TEST(test_running_sums)
{
    const size_t count = 200000;
    struct sp_rng rng = unit_rng((uint64_t)_i);
    float *values = random_values(7, count);
    uint8_t *bits = random_bits(7, count);
    struct sp_running_sum squares = {0}, dot = {0};
    size_t at = 0;

    while (at < count) {
        size_t n = random_cut(&rng, count - at);

        sp_running_add_squares(&squares, values + at, n);
        sp_running_add_dot(&dot, bits, at, values + at, n);
        at += n;
        if (sp_rng_below(&rng, 50) == 0 || at == count) {
            same(sp_running_total(&squares), twin_sum(values, NULL, at));
            same(sp_running_total(&dot), twin_sum(values, bits, at));
        }
    }
    ck_assert_uint_eq(squares.count, count);
    ck_assert_uint_eq(dot.count, count);
    free(values);
    free(bits);
}
END_TEST

/* Cuts beside each place where lanes or blocks begin. */
START_TEST(test_one_cut)
{
    const size_t count = 131090;
    float *values = random_values(8, count);
    double squares = twin_sum(values, NULL, count);

    for (size_t i = 0; i < UNIT_COUNT(sizes) && sizes[i] <= count; i++) {
        struct sp_running_sum sum = {0};

        sp_running_add_squares(&sum, values, sizes[i]);
        same(sp_running_total(&sum), twin_sum(values, NULL, sizes[i]));
        sp_running_add_squares(&sum, values + sizes[i], count - sizes[i]);
        same(sp_running_total(&sum), squares);
    }
    free(values);
}
END_TEST

/* The signs of a range may lie anywhere in the bits, apart from where the sum stands. */
START_TEST(test_running_dot_takes_its_bits_at_first)
{
    const size_t count = 300;
    float *values = random_values(9, count);
    uint8_t *bits = random_bits(9, 2 * count);

    for (size_t first = 0; first < 70; first++) {
        struct sp_running_sum sum = {0};
        double expected[16] = {0.0};

        sp_running_add_dot(&sum, bits, first, values, count);
        for (size_t j = 0; j < count; j++)
            expected[j % 16] +=
                (bits[(first + j) / 8] >> ((first + j) % 8)) & 1 ? (double)values[j] : -(double)values[j];
        same(sp_running_total(&sum), tree(expected, 0, 1));
    }
    free(values);
    free(bits);
}
END_TEST

/* Signs of all kinds: what is 0, with either sign, has no say. */
static float *random_directions(uint64_t seed, size_t count)
{
    static const float zeros[] = {0.0f, -0.0f};
    float *values = random_values(seed, count);
    struct sp_rng rng = unit_rng(seed + 1);

    for (size_t j = 0; j < count; j++)
        if (sp_rng_below(&rng, 3) == 0)
            values[j] = zeros[j % 2];
    return values;
}

static double product_term(const float *a, const float *b, size_t j, bool signs)
{
    if (!signs)
        return (double)a[j] * (double)b[j];
    return a[j] > 0.0f ? (double)b[j] : a[j] < 0.0f ? -(double)b[j] : 0.0;
}

static double twin_products(const float *a, const float *b, size_t count, bool signs)
{
    double sum = 0.0;

    for (size_t first = 0; first < count; first += 65536) {
        double lane[16] = {0.0};

        for (size_t j = first; j < first + 65536 && j < count; j++)
            lane[j % 16] += product_term(a, b, j, signs);
        sum += tree(lane, 0, 1);
    }
    return sum;
}

/* Products, of which V/M and a gradient are one kind; and values by the sign of others, in ranges cut anywhere. */
START_TEST(test_running_products)
{
    const size_t count = 200000;
    struct sp_rng rng = unit_rng(40 + (uint64_t)_i);
    float *a = random_directions(13, count), *b = random_values(14, count);
    struct sp_running_sum products = {0}, signs = {0};
    size_t at = 0;

    while (at < count) {
        size_t n = random_cut(&rng, count - at);

        sp_running_add_products(&products, a + at, b + at, n);
        sp_running_add_sign_products(&signs, a + at, b + at, n);
        at += n;
        if (sp_rng_below(&rng, 50) == 0 || at == count) {
            same(sp_running_total(&products), twin_products(a, b, at, false));
            same(sp_running_total(&signs), twin_products(a, b, at, true));
        }
    }
    ck_assert_uint_eq(products.count, count);
    ck_assert_uint_eq(signs.count, count);
    free(a);
    free(b);
}
END_TEST

START_TEST(test_products_of_known_values)
{
    static const float a[] = {3.0f, -0.5f, 0.0f, -0.0f, FLT_MAX, -FLT_TRUE_MIN};
    static const float b[] = {5.0f, 8.0f, 7.0f, 9.0f, FLT_MAX, 11.0f};
    struct sp_running_sum products = {0}, signs = {0};

    sp_running_add_products(&products, a, b, 4);
    ck_assert(sp_running_total(&products) == 15.0 - 4.0);
    sp_running_add_sign_products(&signs, a, b, 4);
    ck_assert(sp_running_total(&signs) == 5.0 - 8.0);
    sp_running_add_products(&products, a + 4, b + 4, 1); /* beyond float32 */
    ck_assert(sp_running_total(&products) > 1e76);
    sp_running_add_sign_products(&signs, a + 5, b + 5, 1); /* as small as can be, and yet not 0 */
    ck_assert(sp_running_total(&signs) == 5.0 - 8.0 - 11.0);
}
END_TEST

START_TEST(test_sums_of_nothing)
{
    struct sp_running_sum sum = {0};

    same(sp_sum_squares(NULL, 0), 0.0);
    same(sp_dot_signs(NULL, NULL, 0), 0.0);
    same(sp_running_total(&sum), 0.0);
    sp_running_add_products(&sum, NULL, NULL, 0);
    sp_running_add_sign_products(&sum, NULL, NULL, 0);
    same(sp_running_total(&sum), 0.0);
}
END_TEST

/* --- finiteness -------------------------------------------------------------------------------------------------- */

START_TEST(test_not_finite_anywhere)
{
    /* inf, -inf, NaNs: quiet, signalling, with the sign, with all bits */
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc00001, 0x7fbfffff, 0xffffffff};

    for (size_t count = 1; count <= 70; count++) {
        float *values = unit_alloc(count * sizeof *values);

        for (size_t j = 0; j < count; j++)
            values[j] = (float)j - 10.0f;
        ck_assert(sp_all_finite(values, count));
        for (size_t j = 0; j < count; j++) {
            for (size_t k = 0; k < UNIT_COUNT(bad); k++) {
                memcpy(&values[j], &bad[k], sizeof values[j]);
                unit_assert(!sp_all_finite(values, count), "%08x at %zu of %zu", bad[k], j, count);
            }
            values[j] = 0.0f;
        }
        free(values);
    }
}
END_TEST

START_TEST(test_finite_everywhere)
{
    static const float good[] = {0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, FLT_MAX, -FLT_MAX, 1.0f};
    float values[70];

    for (size_t j = 0; j < 70; j++)
        values[j] = good[j % UNIT_COUNT(good)];
    for (size_t count = 0; count <= 70; count++)
        ck_assert(sp_all_finite(values, count));
}
END_TEST

/* --- the sketch -------------------------------------------------------------------------------------------------- */

static void twin_sketch(double sketch[128], uint64_t seed, uint32_t t, uint64_t first, const float *values,
                        size_t count)
{
    for (uint64_t j = first; j < first + count; j++) {
        bool minus = (sp_sketch_signs(seed, t, j / 64) & (UINT64_C(1) << (j % 64))) != 0;
        double value = (double)values[j - first];

        sketch[j % 128] += minus ? -value : value;
    }
}

START_TEST(test_sketch)
{
    static const uint64_t firsts[] = {0, 1, 63, 64, 65, 100, 127, 128, 8000, (UINT64_C(1) << 34) - 5000};

    for (size_t i = 0; i < UNIT_COUNT(firsts); i++) {
        for (size_t count = 0; count <= 4200; count += count < 270 ? 1 : 787) {
            float *values = random_values(count, count);
            double sketch[128], twin[128];

            for (int b = 0; b < 128; b++)
                sketch[b] = twin[b] = (double)b; /* it adds to what is there */
            sp_sketch_add(sketch, 5, 6, firsts[i], values, count);
            twin_sketch(twin, 5, 6, firsts[i], values, count);
            ck_assert_mem_eq(sketch, twin, sizeof sketch);
            free(values);
        }
    }
}
END_TEST

START_TEST(test_sketch_over_ranges)
{
    const size_t count = 200000;
    float *values = random_values(4, count);
    double whole[SP_SKETCH_BUCKETS] = {0.0};

    sp_sketch_add(whole, 1, 2, 12345, values, count);
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct sp_rng rng = unit_rng(seed);
        double parts[SP_SKETCH_BUCKETS] = {0.0};
        size_t at = 0;

        while (at < count) {
            size_t n = random_cut(&rng, count - at);

            sp_sketch_add(parts, 1, 2, 12345 + at, values + at, n);
            at += n;
        }
        ck_assert_mem_eq(parts, whole, sizeof whole);
    }
    free(values);
}
END_TEST

/* Squares and sketch in one pass are those of two, wherever ranges are cut and the sum began before. */
START_TEST(test_squares_and_sketch)
{
    const size_t count = 200000;
    static const uint64_t firsts[] = {0, 64, 12345, 65536 - 64, 65536 - 32, 16};
    float *values = random_values(5, count);

    for (size_t i = 0; i < 2 * UNIT_COUNT(firsts); i++) {
        uint64_t first = firsts[i / 2];
        struct sp_rng rng = unit_rng(first);
        struct sp_running_sum sum = {0}, twin = {0};
        double sketch[SP_SKETCH_BUCKETS] = {0.0}, twin_buckets[SP_SKETCH_BUCKETS] = {0.0};
        size_t at = i % 2 == 0 ? 0 : 777;

        sp_running_add_squares(&sum, values, at);
        sp_running_add_squares(&twin, values, at);
        while (at < count) {
            size_t n = random_cut(&rng, count - at);

            sp_running_add_squares_sketch(&sum, sketch, 1, 2, first + at, values + at, n);
            sp_running_add_squares(&twin, values + at, n);
            sp_sketch_add(twin_buckets, 1, 2, first + at, values + at, n);
            at += n;
        }
        ck_assert_mem_eq(&sum, &twin, sizeof sum);
        ck_assert_mem_eq(sketch, twin_buckets, sizeof sketch);
        sp_running_add_squares_sketch(&sum, sketch, 1, 2, first, values, count);
        sp_running_add_squares(&twin, values, count);
        sp_sketch_add(twin_buckets, 1, 2, first, values, count);
        ck_assert_mem_eq(&sum, &twin, sizeof sum);
        ck_assert_mem_eq(sketch, twin_buckets, sizeof sketch);
    }
    free(values);
}
END_TEST

#define WORKERS 3
#define SKETCHED 1500
#define ROUNDS 4000

struct moments {
    double norm2, variance;
};

/* ||v||^2, and the variance of the squared norm of its sketch: in bucket b there are the terms s_i*v_i with independent
 * signs, so that the variance of their squared sum is 2 * ((sum of v_i^2)^2 - sum of v_i^4). */
static struct moments moments(const double *v)
{
    struct moments result = {0.0, 0.0};

    for (size_t b = 0; b < SP_SKETCH_BUCKETS; b++) {
        double squares = 0.0, fourths = 0.0;

        for (size_t j = b; j < SKETCHED; j += SP_SKETCH_BUCKETS) {
            squares += v[j] * v[j];
            fourths += v[j] * v[j] * v[j] * v[j];
        }
        result.norm2 += squares;
        result.variance += 2.0 * (squares * squares - fourths);
    }
    return result;
}

/* Squared norm of the mean of the workers' sketches in one round. */
static double mean_sketch_norm2(float values[WORKERS][SKETCHED], uint32_t t)
{
    double total[SP_SKETCH_BUCKETS] = {0.0}, norm2 = 0.0;

    for (size_t w = 0; w < WORKERS; w++)
        sp_sketch_add(total, 11, t, 0, values[w], SKETCHED);
    for (size_t b = 0; b < SP_SKETCH_BUCKETS; b++)
        norm2 += total[b] / WORKERS * (total[b] / WORKERS);
    return norm2;
}

/* The mean of R rounds has a standard deviation of sqrt(variance/R): five of them are allowed (0.9 % here). The
 * gradients have a common positive part, so that with signs that are not fair, or not fresh each round, the squared
 * norm would be several times too large. The scatter over rounds must be as calculated as well: the estimate of a
 * variance from 4000 rounds of a nearly normal number is off by 2.2 % (one standard deviation). */
START_TEST(test_sketch_is_unbiased)
{
    static float values[WORKERS][SKETCHED];
    static double mean[SKETCHED];
    struct sp_rng rng = unit_rng(10);
    double sum = 0.0, sum2 = 0.0, average, scatter;
    struct moments exact;

    for (size_t w = 0; w < WORKERS; w++) {
        for (size_t j = 0; j < SKETCHED; j++) {
            values[w][j] = 1.0f + unit_uniform(&rng);
            mean[j] += (double)values[w][j] / WORKERS;
        }
    }
    exact = moments(mean);
    for (uint32_t t = 1; t <= ROUNDS; t++) {
        double norm2 = mean_sketch_norm2(values, t);

        sum += norm2;
        sum2 += norm2 * norm2;
    }
    average = sum / ROUNDS;
    scatter = sum2 / ROUNDS - average * average;
    ck_assert_double_lt(fabs(average - exact.norm2), 5.0 * sqrt(exact.variance / ROUNDS));
    ck_assert_double_lt(5.0 * sqrt(exact.variance / ROUNDS), 0.01 * exact.norm2);
    ck_assert_double_gt(scatter, 0.85 * exact.variance);
    ck_assert_double_lt(scatter, 1.15 * exact.variance);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("sums");

    tcase_add_loop_test(tests, test_sums, 0, (int)UNIT_COUNT(sizes));
    tcase_add_test(tests, test_order_matters);
    tcase_add_test(tests, test_sums_of_known_values);
    tcase_add_loop_test(tests, test_running_sums, 0, 8);
    tcase_add_test(tests, test_one_cut);
    tcase_add_test(tests, test_running_dot_takes_its_bits_at_first);
    tcase_add_loop_test(tests, test_running_products, 0, 8);
    tcase_add_test(tests, test_products_of_known_values);
    tcase_add_test(tests, test_sums_of_nothing);
    tcase_add_test(tests, test_not_finite_anywhere);
    tcase_add_test(tests, test_finite_everywhere);
    tcase_add_test(tests, test_sketch);
    tcase_add_test(tests, test_sketch_over_ranges);
    tcase_add_test(tests, test_squares_and_sketch);
    tcase_add_test(tests, test_sketch_is_unbiased);
    return unit_run(suite_create("sums"), tests);
}
