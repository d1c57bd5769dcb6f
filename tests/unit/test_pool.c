/* Pooling and flattening, against twins of plain loops, differences, and by hand; and the sums of wide.h, to the bit.
 */
#include "tests/unit/naive_images.h"
#include "tests/unit/near.h"
#include "worker/train/pool.h"
#include "worker/train/wide.h"

#define PLANES 5

static const uint32_t windows[][3] = {{2, 6, 8}, {2, 7, 5}, {3, 9, 6}, {3, 11, 10}, {1, 4, 3}, {2, 2, 2}, {4, 5, 7}};

START_TEST(test_max_pool_against_naive)
{
    const uint32_t window = windows[_i][0], height = windows[_i][1], width = windows[_i][2];
    const struct sp_pool pool = {window, height, width, height / window, width / window};
    const size_t plane = (size_t)height * width, out = (size_t)pool.out_height * pool.out_width;
    double *x = near_random(PLANES * plane, 1), *d_y = near_random(PLANES * out, 2);
    double *y = near_doubles(PLANES * out), *d_x = near_doubles(PLANES * plane);
    float *fx = near_narrow(x, PLANES * plane), *fd_y = near_narrow(d_y, PLANES * out);
    float *fy = near_output(PLANES * out), *fd_x = near_output(PLANES * plane);
    void *all[] = {x, d_y, y, d_x, fx, fd_y, fy, fd_x};

    for (size_t p = 0; p < PLANES; p++) {
        naive_max_pool_forward(x + p * plane, height, width, window, y + p * out);
        naive_max_pool_backward(x + p * plane, height, width, window, d_y + p * out, d_x + p * plane);
    }
    sp_max_pool_forward(&pool, fx, PLANES, fy);
    sp_max_pool_backward(&pool, fx, fd_y, PLANES, fd_x);
    for (size_t i = 0; i < PLANES * out; i++)
        unit_assert((double)fy[i] == y[i], "y[%zu]", i);
    for (size_t i = 0; i < PLANES * plane; i++)
        unit_assert((double)fd_x[i] == d_x[i], "d_x[%zu]", i);
    for (size_t i = 0; i < UNIT_COUNT(all); i++)
        free(all[i]);
}
END_TEST

/* Of equal values the first in row-major order counts; NaN wins, as in PyTorch; the last row and column are left out.
 */
START_TEST(test_max_pool_by_hand)
{
    const struct sp_pool pool = {2, 3, 5, 1, 2};
    const float x[] = {1, 2, 9, NAN, 100, 2, 2, 9, 3, 100, 100, 100, 100, 100, 100}, d_y[] = {7, 8};
    float y[2], d_x[15];

    sp_max_pool_forward(&pool, x, 1, y);
    ck_assert(y[0] == 2.0f && isnan(y[1]));
    sp_max_pool_backward(&pool, x, d_y, 1, d_x);
    for (int i = 0; i < 15; i++)
        ck_assert_msg(d_x[i] == (i == 1 ? 7.0f : i == 3 ? 8.0f : 0.0f), "d_x[%d] is %g", i, (double)d_x[i]);
}
END_TEST

struct pooled {
    double *x, *d_y, y[6];
};

static double max_loss(void *arg)
{
    struct pooled *k = arg;

    naive_max_pool_forward(k->x, 4, 6, 2, k->y);
    return near_dot(k->y, k->d_y, 6);
}

static double mean_loss(void *arg)
{
    struct pooled *k = arg;

    naive_mean_pool_forward(k->x, 3, 2, 4, k->y);
    return near_dot(k->y, k->d_y, 6);
}

START_TEST(test_differences)
{
    struct pooled k = {.x = near_random(24, 3), .d_y = near_random(6, 4)};
    double d_x[24];

    naive_max_pool_backward(k.x, 4, 6, 2, k.d_y, d_x);
    near_expect_differences(max_loss, &k, k.x, 24, d_x, "max-pool");
    naive_mean_pool_backward(k.d_y, 3, 2, 4, d_x);
    near_expect_differences(mean_loss, &k, k.x, 24, d_x, "mean-pool");
    free(k.x);
    free(k.d_y);
}
END_TEST

START_TEST(test_mean_pool_against_naive)
{
    const uint32_t channels = 7, n = 3;
    const size_t pixels = _i == 0 ? 1 : _i == 1 ? 16 : 35, all = channels * n * pixels;
    double *x = near_random(all, 5), *d_y = near_random((size_t)channels * n, 6);
    double *y = near_doubles((size_t)channels * n), *d_x = near_doubles(all);
    float *fx = near_narrow(x, all), *fd_y = near_narrow(d_y, (size_t)channels * n);
    float *fy = near_output((size_t)channels * n), *fd_x = near_output(all);
    void *owned[] = {x, d_y, y, d_x, fx, fd_y, fy, fd_x};

    naive_mean_pool_forward(x, channels, n, pixels, y);
    naive_mean_pool_backward(d_y, channels, n, pixels, d_x);
    sp_mean_pool_forward(fx, channels, n, pixels, fy);
    sp_mean_pool_backward(fd_y, channels, n, pixels, fd_x);
    near_expect(fy, y, (size_t)channels * n, "y");
    near_expect(fd_x, d_x, all, "d_x");
    for (size_t i = 0; i < UNIT_COUNT(owned); i++)
        free(owned[i]);
}
END_TEST

/* Two channels of three images with two pixels, and back. */
START_TEST(test_flatten)
{
    const float x[] = {0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121};
    const float expected[] = {0, 1, 100, 101, 10, 11, 110, 111, 20, 21, 120, 121};
    float y[12], back[12];

    sp_flatten_forward(x, 2, 3, 2, y);
    ck_assert_mem_eq(y, expected, sizeof y);
    sp_flatten_backward(y, 2, 3, 2, back);
    ck_assert_mem_eq(back, x, sizeof x);
}
END_TEST

/* Lane i has values i, i + 16, ...; lanes are added in pairs that are 8, 4, 2 and 1 apart. */
static double by_lanes(const float *d, const float *values, size_t count, double mean, int power)
{
    double lane[16] = {0};

    for (size_t i = 0; i < count; i++) {
        double away = (double)values[i] - mean;

        lane[i % 16] += d != NULL ? (double)d[i] * away : power == 1 ? (double)values[i] : away * away;
    }
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

START_TEST(test_sums_to_the_bit)
{
    struct sp_rng rng = unit_rng(7);
    const size_t room = 5000;
    float *d = unit_alloc((room + 3) * sizeof *d), *values = unit_alloc((room + 3) * sizeof *values);

    for (size_t i = 0; i < room + 3; i++) {
        d[i] = unit_wide(&rng);
        values[i] = unit_wide(&rng);
    }
    for (size_t count = 0; count <= room; count += count < 100 ? 1 : 977) {
        const size_t off = count % 4;

        unit_assert(sp_wide_sum(values + off, count) == by_lanes(NULL, values + off, count, 0.0, 1), "sum of %zu",
                    count);
        unit_assert(sp_wide_spread(values + off, count, 0.3) == by_lanes(NULL, values + off, count, 0.3, 2),
                    "spread of %zu", count);
        unit_assert(sp_wide_dot(d + off, values + off, count, 0.3) == by_lanes(d + off, values + off, count, 0.3, 0),
                    "dot of %zu", count);
    }
    free(d);
    free(values);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pool");

    tcase_add_loop_test(tests, test_max_pool_against_naive, 0, UNIT_COUNT(windows));
    tcase_add_test(tests, test_max_pool_by_hand);
    tcase_add_test(tests, test_differences);
    tcase_add_loop_test(tests, test_mean_pool_against_naive, 0, 3);
    tcase_add_test(tests, test_flatten);
    tcase_add_test(tests, test_sums_to_the_bit);
    return unit_run(suite_create("pool"), tests);
}
