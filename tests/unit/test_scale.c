/* From elements to what a model takes: given and computed means and standard deviations, for bytes and floats. */
#include "tests/unit/unit.h"
#include "worker/train/data.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct sp_job job;
static struct sp_scale scale;
static struct sp_error error;

static void setup(void)
{
    sp_job_init(&job);
    memset(&scale, 0, sizeof scale);
}

static void teardown(void)
{
    sp_scale_finish(&scale);
}

static void set(const char *key, const char *value)
{
    ck_assert_int_eq(sp_job_set(&job, key, value, &error), SP_OK);
}

/* Two examples of [2, 1, 3]. */
static const uint8_t bytes[] = {0, 10, 20, 100, 100, 100, 30, 40, 50, 100, 100, 100};
static const float floats[] = {0, 1, 2, -7, -7, -7, 3, 4, 5, -7, -7, -7};
static uint8_t labels[] = {0, 1};
static struct sp_part byte_part = {.count = 2, .images = bytes, .stride = 6};
static struct sp_part float_part = {.count = 2, .images = (const uint8_t *)floats, .stride = 24};
static const struct sp_examples of_bytes = {.count = 2,
                                            .inputs = 6,
                                            .shape = {2, 1, 3},
                                            .parts = &byte_part,
                                            .parts_count = 1,
                                            .labels = labels,
                                            .from = "images"};
static const struct sp_examples of_floats = {.count = 2,
                                             .inputs = 6,
                                             .shape = {2, 1, 3},
                                             .element = SP_ELEMENT_FLOAT,
                                             .parts = &float_part,
                                             .parts_count = 1,
                                             .labels = labels,
                                             .from = "rows"};

static void create(const struct sp_examples *examples)
{
    sp_scale_finish(&scale);
    ck_assert_msg(sp_scale_create(&scale, &job, examples, NULL, NULL, &error) == SP_OK, "%s", error.text);
}

/* Every element of both examples against the formula, with the means and stds of its set. */
static void expect(const struct sp_examples *examples, double divide, const double *mean, const double *std,
                   uint32_t sets)
{
    const uint32_t indices[] = {1, 0};
    float x[12];
    uint8_t got[2];

    sp_examples_gather(examples, indices, 2, &scale, x, got);
    ck_assert_uint_eq(got[0], 1);
    ck_assert_uint_eq(got[1], 0);
    for (uint32_t i = 0; i < 12; i++) {
        const uint32_t at = i < 6 ? i + 6 : i - 6, set_of = i % 6 / (6 / sets);
        const double element = examples->element == SP_ELEMENT_FLOAT ? (double)floats[at] : bytes[at];

        ck_assert_msg(x[i] == (float)((element / divide - mean[set_of]) / std[set_of]), "%u: %.9g", i, x[i]);
    }
}

START_TEST(test_divide)
{
    const double mean = 0, std = 1;

    create(&of_bytes);
    expect(&of_bytes, 255, &mean, &std, 1);
    set("data.format", "csv");
    create(&of_floats);
    expect(&of_floats, 1, &mean, &std, 1);
    set("data.scale.divide", "16");
    create(&of_floats);
    expect(&of_floats, 16, &mean, &std, 1);
    create(&of_bytes);
    expect(&of_bytes, 16, &mean, &std, 1);
}
END_TEST

START_TEST(test_given)
{
    const double mean[] = {0.25, -3}, std[] = {0.5, 0.125}, same[] = {0.3, 0.3};

    set("data.scale.divide", "7");
    set("data.scale.mean", "[0.25, -3]");
    set("data.scale.std", "[0.5, 0.125]");
    create(&of_bytes);
    expect(&of_bytes, 7, mean, std, 2);
    create(&of_floats);
    expect(&of_floats, 7, mean, std, 2);
    set("data.scale.std", "0.3");
    create(&of_bytes);
    expect(&of_bytes, 7, mean, same, 2);
    set("data.scale.mean", "[0.3]");
    create(&of_floats);
    expect(&of_floats, 7, same, same, 1);
}
END_TEST

START_TEST(test_wrong_counts)
{
    struct sp_examples grey = of_bytes;

    grey.shape = (struct sp_shape){1, 1, 6};
    set("data.scale.mean", "[1, 2, 3]");
    ck_assert_int_eq(sp_scale_create(&scale, &job, &of_bytes, NULL, NULL, &error), SP_E_MISMATCH);
    ck_assert_str_eq(error.text,
                     "data.scale.mean has 3 numbers, but images has 2 channels; give one for all, or one for "
                     "each channel");
    set("data.scale.mean", "1");
    set("data.scale.std", "[1, 2]");
    ck_assert_int_eq(sp_scale_create(&scale, &job, &grey, NULL, NULL, &error), SP_E_MISMATCH);
    ck_assert_str_eq(error.text, "data.scale.std has 2 numbers, but images has 1 channel; give one for all");
}
END_TEST

/* By hand: of bytes 0..50 in steps of 10 the mean is 25 and the variance 875/3; the second channel is constant. */
START_TEST(test_computed)
{
    const double byte_mean[] = {25.0 / 255, 100.0 / 255}, byte_std[] = {sqrt(875.0 / 3) / 255, 1};
    const double float_mean[] = {2.5, -7}, float_std[] = {sqrt(17.5 / 6), 1};

    set("data.scale.compute", "channel");
    create(&of_bytes);
    expect(&of_bytes, 255, byte_mean, byte_std, 2);
    set("data.scale.divide", "1");
    create(&of_floats);
    expect(&of_floats, 1, float_mean, float_std, 2);
}
END_TEST

START_TEST(test_computed_over_all)
{
    const double byte_mean = 750.0 / 12, byte_std = sqrt((12.0 * 65500 - 750.0 * 750) / 144);
    double float_mean = -27.0 / 12, sum = 0;

    set("data.scale.divide", "1");
    set("data.scale.compute", "all");
    create(&of_bytes);
    expect(&of_bytes, 1, &byte_mean, &byte_std, 1);
    for (int i = 0; i < 12; i++)
        sum += (floats[i] - float_mean) * (floats[i] - float_mean);
    sum = sqrt(sum / 12);
    create(&of_floats);
    expect(&of_floats, 1, &float_mean, &sum, 1);
}
END_TEST

START_TEST(test_computed_for_each_input)
{
    const double byte_mean[] = {15, 25, 35, 100, 100, 100}, byte_std[] = {15, 15, 15, 1, 1, 1};
    const double float_mean[] = {1.5, 2.5, 3.5, -7, -7, -7}, float_std[] = {1.5, 1.5, 1.5, 1, 1, 1};
    char words[128];

    set("data.scale.divide", "1");
    set("data.scale.compute", "input");
    create(&of_bytes);
    expect(&of_bytes, 1, byte_mean, byte_std, 6);
    sp_scale_words(&scale, words, sizeof words);
    ck_assert_str_eq(words, "6 means from 15 to 100, stds from 1 to 15");
    create(&of_floats);
    expect(&of_floats, 1, float_mean, float_std, 6);
}
END_TEST

/* Of equal values the deviation is 0, so 1, and the mean is that value. */
START_TEST(test_constant_floats)
{
    enum { N = 1000 };
    static float values[N];
    static uint8_t none[N];
    struct sp_part part = {.count = N, .images = (const uint8_t *)values, .stride = 4};
    const struct sp_examples examples = {.count = N,
                                         .inputs = 1,
                                         .shape = {1, 1, 1},
                                         .element = SP_ELEMENT_FLOAT,
                                         .parts = &part,
                                         .parts_count = 1,
                                         .labels = none};

    for (int i = 0; i < N; i++)
        values[i] = 0.1f;
    set("data.format", "csv");
    set("data.scale.compute", "input");
    create(&examples);
    ck_assert_double_eq(scale.one.mean, (double)0.1f);
    ck_assert_double_eq(scale.one.std, 1);
}
END_TEST

/* More sets than there are tables for: computed as they come, with the same bits. */
START_TEST(test_many_sets)
{
    enum { N = 5000 };
    static uint8_t images[2 * N], none[2];
    struct sp_part part = {.count = 2, .images = images, .stride = N};
    const struct sp_examples examples = {
        .count = 2, .inputs = N, .shape = {1, 1, N}, .parts = &part, .parts_count = 1, .labels = none};
    static float x[N];

    for (uint32_t i = 0; i < 2 * N; i++)
        images[i] = (uint8_t)(i * i >> 5);
    set("data.scale.compute", "input");
    create(&examples);
    ck_assert_ptr_null(scale.values);
    sp_scale_apply(&scale, &examples, images, x);
    for (uint32_t i = 0; i < N; i++) {
        const double a = images[i], b = images[N + i], mean = (a + b) / 2 / 255;
        const double std = a == b ? 1 : sqrt((2 * (a * a + b * b) - (a + b) * (a + b)) / 2 / 2) / 255;

        ck_assert(x[i] == (float)((a / 255 - mean) / std));
    }
}
END_TEST

static void count_calls(void *arg)
{
    ++*(int *)arg;
}

/* A caller who must say that he is alive gets to do so in every few million elements. */
START_TEST(test_progress)
{
    enum { N = 300, INPUTS = 1 << 16 };
    static uint8_t image[INPUTS], none[N];
    struct sp_part part = {.count = N, .images = image, .stride = 0};
    const struct sp_examples examples = {
        .count = N, .inputs = INPUTS, .shape = {1, 1, INPUTS}, .parts = &part, .parts_count = 1, .labels = none};
    int calls = 0;

    set("data.scale.compute", "all");
    ck_assert_int_eq(sp_scale_create(&scale, &job, &examples, count_calls, &calls, &error), SP_OK);
    ck_assert_int_eq(calls, N / 64);
}
END_TEST

START_TEST(test_words)
{
    char words[128];

    set("data.scale.mean", "[0.5, 0.25]");
    set("data.scale.std", "2");
    create(&of_bytes);
    sp_scale_words(&scale, words, sizeof words);
    ck_assert_str_eq(words, "mean [0.5, 0.25], std [2, 2]");
    set("data.scale.mean", "0.5");
    create(&of_bytes);
    sp_scale_words(&scale, words, sizeof words);
    ck_assert_str_eq(words, "mean 0.5, std 2");
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scale");
    TCase *all_of_it = tcase_create("scale");

    tcase_add_checked_fixture(all_of_it, setup, teardown);
    tcase_add_test(all_of_it, test_divide);
    tcase_add_test(all_of_it, test_given);
    tcase_add_test(all_of_it, test_wrong_counts);
    tcase_add_test(all_of_it, test_computed);
    tcase_add_test(all_of_it, test_computed_over_all);
    tcase_add_test(all_of_it, test_computed_for_each_input);
    tcase_add_test(all_of_it, test_constant_floats);
    tcase_add_test(all_of_it, test_many_sets);
    tcase_add_test(all_of_it, test_progress);
    tcase_add_test(all_of_it, test_words);
    suite_add_tcase(all, all_of_it);
    return all;
}

int main(void)
{
    return unit_run_all(suite());
}
