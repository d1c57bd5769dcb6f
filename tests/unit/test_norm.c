/* Batch norms: against a twin of plain loops, the twin against differences, and where single precision is short. */
#include "tests/unit/naive_images.h"
#include "tests/unit/near.h"
#include "worker/train/layers.h"
#include "worker/train/norm.h"

#define CHANNELS 3

static const uint32_t sizes[] = {2, 3, 16, 17, 100, 4097};

struct work {
    size_t values;
    double *x, *around, *d_y, *y, *d_x;
    double weight[CHANNELS], bias[CHANNELS], d_weight[CHANNELS], d_bias[CHANNELS];
    double mean[CHANNELS], variance[CHANNELS];
};

static void make(struct work *k, size_t values)
{
    const double weight[] = {1.5, -0.5, 0.25}, bias[] = {0.125, -0.25, 0.5};

    k->values = values;
    k->x = near_random(CHANNELS * values, 1);
    k->around = near_random(CHANNELS * values, 2);
    k->d_y = near_random(CHANNELS * values, 3);
    k->y = near_doubles(CHANNELS * values);
    k->d_x = near_doubles(CHANNELS * values);
    memcpy(k->weight, weight, sizeof weight);
    memcpy(k->bias, bias, sizeof bias);
}

static void forget(struct work *k)
{
    double *all[] = {k->x, k->around, k->d_y, k->y, k->d_x};

    for (size_t i = 0; i < UNIT_COUNT(all); i++)
        free(all[i]);
}

static void run_naive(struct work *k, bool around, bool relu)
{
    for (size_t c = 0; c < CHANNELS; c++)
        naive_norm_forward(k->x + c * k->values, k->values, k->weight[c], k->bias[c], &k->mean[c], &k->variance[c],
                           k->y + c * k->values);
    for (size_t i = 0; around && i < CHANNELS * k->values; i++)
        k->y[i] += k->around[i];
    for (size_t i = 0; relu && i < CHANNELS * k->values; i++)
        k->y[i] = fmax(k->y[i], 0.0);
}

/* Without and with a way around, without and with ReLU. */
START_TEST(test_against_naive)
{
    struct work k;
    const size_t values = sizes[_i / 4], all = CHANNELS * values;
    const struct sp_norm norm = {.channels = CHANNELS, .relu = _i % 2 == 1};
    const bool way = _i / 2 % 2 == 1;
    struct sp_norm_saved saved[CHANNELS];

    make(&k, values);
    float *x = near_narrow(k.x, all), *around = near_narrow(k.around, all), *d = near_narrow(k.d_y, all);
    float *weight = near_narrow(k.weight, CHANNELS), *bias = near_narrow(k.bias, CHANNELS), *y = near_output(all);
    float *d_weight = near_output(CHANNELS), *d_bias = near_output(CHANNELS);
    float mean[] = {1.0f, 2.0f, 3.0f}, variance[] = {4.0f, 5.0f, 6.0f};
    void *owned[] = {x, around, d, weight, bias, y, d_weight, d_bias};

    run_naive(&k, way, norm.relu);
    sp_norm_forward(&norm, x, values, weight, bias, way ? around : NULL, saved, mean, variance, y);
    near_expect(y, k.y, all, "y");
    for (size_t c = 0; c < CHANNELS; c++) {
        const double unbiased = k.variance[c] * (double)values / (double)(values - 1);

        ck_assert_double_eq_tol((double)mean[c], 0.9 * (double)(c + 1) + 0.1 * k.mean[c], 1e-6);
        ck_assert_double_eq_tol((double)variance[c], 0.9 * (double)(c + 4) + 0.1 * unbiased, 1e-6);
    }
    if (norm.relu) {
        sp_relu_backward(y, d, all);
        for (size_t i = 0; i < all; i++)
            k.d_y[i] = k.y[i] > 0.0 ? k.d_y[i] : 0.0;
    }
    sp_norm_backward(&norm, x, values, weight, saved, d_weight, d_bias, d);
    for (size_t c = 0; c < CHANNELS; c++)
        naive_norm_backward(k.x + c * values, values, k.weight[c], k.d_y + c * values, &k.d_weight[c], &k.d_bias[c],
                            k.d_x + c * values);
    near_expect(d_weight, k.d_weight, CHANNELS, "d_weight");
    near_expect(d_bias, k.d_bias, CHANNELS, "d_bias");
    if (values > 2) /* with two, all of d_x cancels out: it is rounding alone */
        near_expect(d, k.d_x, all, "d_x");
    for (size_t i = 0; i < UNIT_COUNT(owned); i++)
        free(owned[i]);
    forget(&k);
}
END_TEST

static double loss(void *arg)
{
    struct work *k = arg;

    run_naive(k, false, false);
    return near_dot(k->y, k->d_y, CHANNELS * k->values);
}

/* Mean and variance depend on x as well. */
START_TEST(test_differences)
{
    struct work k;

    make(&k, 7);
    for (size_t c = 0; c < CHANNELS; c++)
        naive_norm_backward(k.x + c * 7, 7, k.weight[c], k.d_y + c * 7, &k.d_weight[c], &k.d_bias[c], k.d_x + c * 7);
    near_expect_differences(loss, &k, k.weight, CHANNELS, k.d_weight, "d_weight");
    near_expect_differences(loss, &k, k.bias, CHANNELS, k.d_bias, "d_bias");
    near_expect_differences(loss, &k, k.x, CHANNELS * 7, k.d_x, "d_x");
    forget(&k);
}
END_TEST

/* 1 and 3 have mean 2 and variance 1 (unbiased 2); running statistics 4 and 9 have a deviation of 3. */
START_TEST(test_by_hand)
{
    const struct sp_norm norm = {.channels = 1};
    const float x[] = {1, 3}, weight[] = {2}, bias[] = {10}, around[] = {100, 200};
    float mean[] = {0}, variance[] = {1}, y[2];
    const float running_mean[] = {4}, running_var[] = {9};
    struct sp_norm_saved saved[1];

    sp_norm_forward(&norm, x, 2, weight, bias, around, saved, mean, variance, y);
    ck_assert_double_eq_tol((double)y[0], 108.0, 1e-4);
    ck_assert_double_eq_tol((double)y[1], 212.0, 1e-4);
    ck_assert_double_eq_tol((double)mean[0], 0.2, 1e-7);
    ck_assert_double_eq_tol((double)variance[0], 0.9 + 0.2, 1e-7);
    sp_norm_apply(&norm, x, 2, weight, bias, NULL, running_mean, running_var, y);
    ck_assert_double_eq_tol((double)y[0], 8.0, 1e-5);
    ck_assert_double_eq_tol((double)y[1], 10.0 - 2.0 / 3.0, 1e-5);
}
END_TEST

START_TEST(test_apply_takes_relu_and_the_way_around)
{
    const struct sp_norm norm = {.channels = 2, .relu = true};
    const float x[] = {1, 2, 3, 4}, weight[] = {1, 1}, bias[] = {0, 0}, around[] = {-5, 1, -5, 1};
    const float mean[] = {1, 3}, variance[] = {1, 1};
    float y[4];

    sp_norm_apply(&norm, x, 2, weight, bias, around, mean, variance, y);
    ck_assert(y[0] == 0.0f && y[2] == 0.0f);
    ck_assert_double_eq_tol((double)y[1], 2.0, 1e-5);
    ck_assert_double_eq_tol((double)y[3], 2.0, 1e-5);
}
END_TEST

/* The mean of squares less the square of the mean gives 1.297 here, also in double; values 2^23 + 0, 1, 2, 3. */
START_TEST(test_large_mean_small_variance)
{
    const struct sp_norm norm = {.channels = 1};
    const float weight[] = {1}, bias[] = {0};
    float x[1000], y[1000], mean[] = {0}, variance[] = {0};
    struct sp_norm_saved saved[1];

    for (int i = 0; i < 1000; i++)
        x[i] = 8388608.0f + (float)(i % 4);
    sp_norm_forward(&norm, x, 1000, weight, bias, NULL, saved, mean, variance, y);
    ck_assert_double_eq_tol(saved[0].mean, 8388609.5, 1e-6);
    ck_assert_double_eq_tol(saved[0].inverse, 1.0 / sqrt(1.25 + 1e-5), 1e-12);
}
END_TEST

/* A channel of equal values, or of one: the variance is 0, and nothing is divided by it. */
START_TEST(test_without_variance)
{
    const struct sp_norm norm = {.channels = 1};
    const float weight[] = {3}, bias[] = {0.5f}, x[] = {7, 7, 7, 7};
    float y[4], mean[] = {0}, variance[] = {1}, d[] = {1, 2, 3, 4}, d_weight[1], d_bias[1];
    struct sp_norm_saved saved[1];

    for (size_t values = 1; values <= 4; values += 3) {
        sp_norm_forward(&norm, x, values, weight, bias, NULL, saved, mean, variance, y);
        for (size_t i = 0; i < values; i++)
            ck_assert(y[i] == 0.5f);
        ck_assert(variance[0] < 1.0f && variance[0] > 0.8f);
        sp_norm_backward(&norm, x, values, weight, saved, d_weight, d_bias, d);
        ck_assert(isfinite(d[0]) && d_weight[0] == 0.0f);
        d[0] = 1.0f;
    }
    ck_assert(d_bias[0] == 10.0f);
}
END_TEST

START_TEST(test_not_a_number_passes)
{
    const struct sp_norm norm = {.channels = 2, .relu = true};
    const float weight[] = {1, 1}, bias[] = {0, 0}, x[] = {1, NAN, 3, 4};
    float y[4], mean[] = {0, 0}, variance[] = {1, 1};
    struct sp_norm_saved saved[2];

    sp_norm_forward(&norm, x, 2, weight, bias, NULL, saved, mean, variance, y);
    ck_assert(isnan(y[0]) && isnan(y[1]) && isnan(mean[0]) && isnan(variance[0]));
    ck_assert(isfinite(y[2]) && isfinite(mean[1]));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("norm");

    tcase_add_loop_test(tests, test_against_naive, 0, 4 * UNIT_COUNT(sizes));
    tcase_add_test(tests, test_differences);
    tcase_add_test(tests, test_by_hand);
    tcase_add_test(tests, test_apply_takes_relu_and_the_way_around);
    tcase_add_test(tests, test_large_mean_small_variance);
    tcase_add_test(tests, test_without_variance);
    tcase_add_test(tests, test_not_a_number_passes);
    return unit_run(suite_create("norm"), tests);
}
