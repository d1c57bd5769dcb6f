/* Convolutions: against a twin of plain loops, over shapes that take every way through conv.c, and the twin against
 * differences. */
#include "tests/unit/naive_images.h"
#include "tests/unit/near.h"
#include "worker/train/conv.h"

/* in, out, kernel, stride, pad, height, width, n */
static const uint32_t shapes[][8] = {
    {1, 1, 1, 1, 0, 1, 1, 1},    {2, 3, 1, 1, 0, 4, 5, 2},    {2, 3, 1, 2, 0, 5, 7, 3},   {1, 2, 3, 1, 1, 4, 4, 2},
    {3, 4, 3, 1, 1, 8, 8, 3},    {2, 3, 3, 1, 1, 16, 16, 2},  {3, 2, 3, 1, 1, 32, 32, 2}, {2, 3, 3, 2, 1, 9, 11, 3},
    {2, 2, 3, 3, 2, 10, 7, 2},   {1, 3, 5, 1, 0, 28, 28, 2},  {3, 2, 5, 1, 2, 13, 12, 5}, {2, 2, 5, 2, 2, 9, 6, 2},
    {1, 1, 3, 1, 2, 1, 1, 2},    {2, 1, 5, 1, 3, 2, 3, 1},    {1, 2, 2, 3, 0, 11, 8, 2},  {2, 2, 4, 4, 0, 8, 8, 2},
    {16, 3, 3, 1, 1, 32, 32, 5}, /* several blocks, which begin within an image */
    {64, 2, 3, 1, 1, 8, 8, 9},   /* blocks of several images, and a strip of each */
    {300, 2, 3, 1, 1, 9, 5, 12}, /* at least so many columns, although their room is large */
    {40, 3, 5, 2, 2, 23, 19, 7}, {29, 2, 3, 1, 1, 4, 260, 2}, /* a single output row at a time */
};

struct work {
    struct sp_conv conv;
    struct naive_conv naive;
    uint32_t n;
    size_t xs, ys, ws;
    double *x, *w, *b, *d_y, *y, *d_w, *d_b, *d_x;
};

static void make(struct work *k, const uint32_t shape[8])
{
    k->conv = (struct sp_conv){.in = shape[0],
                               .out = shape[1],
                               .kernel = shape[2],
                               .stride = shape[3],
                               .pad = shape[4],
                               .in_height = shape[5],
                               .in_width = shape[6],
                               .out_height = (shape[5] + 2 * shape[4] - shape[2]) / shape[3] + 1,
                               .out_width = (shape[6] + 2 * shape[4] - shape[2]) / shape[3] + 1};
    k->naive =
        (struct naive_conv){k->conv.in,        k->conv.out,      k->conv.kernel,     k->conv.stride,   k->conv.pad,
                            k->conv.in_height, k->conv.in_width, k->conv.out_height, k->conv.out_width};
    k->n = shape[7];
    k->xs = (size_t)k->conv.in * k->n * k->conv.in_height * k->conv.in_width;
    k->ys = (size_t)k->conv.out * k->n * k->conv.out_height * k->conv.out_width;
    k->ws = (size_t)k->conv.out * k->conv.in * k->conv.kernel * k->conv.kernel;
    k->x = near_random(k->xs, 1);
    k->w = near_random(k->ws, 2);
    k->b = near_random(k->conv.out, 3);
    k->d_y = near_random(k->ys, 4);
    k->y = near_doubles(k->ys);
    k->d_w = near_doubles(k->ws);
    k->d_b = near_doubles(k->conv.out);
    k->d_x = near_doubles(k->xs);
}

static void forget(struct work *k)
{
    double *all[] = {k->x, k->w, k->b, k->d_y, k->y, k->d_w, k->d_b, k->d_x};

    for (size_t i = 0; i < UNIT_COUNT(all); i++)
        free(all[i]);
}

/* The same images example by example, [n, channels, height, width]. */
static float *by_example(const struct work *k, const float *x)
{
    const size_t pixels = (size_t)k->conv.in_height * k->conv.in_width;
    float *other = unit_alloc(k->xs * sizeof *other);

    for (size_t c = 0; c < k->conv.in; c++)
        for (size_t i = 0; i < k->n; i++)
            memcpy(other + (i * k->conv.in + c) * pixels, x + (c * k->n + i) * pixels, pixels * sizeof *x);
    return other;
}

START_TEST(test_against_naive)
{
    struct work k;

    make(&k, shapes[_i]);
    const size_t pixels = (size_t)k.conv.in_height * k.conv.in_width;
    const struct sp_planes channels = {k.n * pixels, pixels}, examples = {pixels, k.conv.in * pixels};
    float *x = near_narrow(k.x, k.xs), *w = near_narrow(k.w, k.ws), *b = near_narrow(k.b, k.conv.out);
    float *d_y = near_narrow(k.d_y, k.ys), *y = near_output(k.ys), *d_w = near_output(k.ws);
    float *d_b = near_output(k.conv.out), *d_x = near_narrow(k.x, k.xs), *other = by_example(&k, x);
    float *again = near_output(k.ys), *d_w2 = near_output(k.ws);
    float *room = near_output((size_t)sp_conv_room(&k.conv));
    void *all[] = {x, w, b, d_y, y, d_w, d_b, d_x, other, again, d_w2, room};

    sp_conv_forward(&k.conv, x, channels, w, b, k.n, room, y);
    naive_conv_forward(&k.naive, k.x, k.w, k.b, k.n, k.y);
    near_expect(y, k.y, k.ys, "y");
    sp_conv_forward(&k.conv, other, examples, w, b, k.n, room, again);
    ck_assert_mem_eq(again, y, k.ys * sizeof *y);

    sp_conv_backward(&k.conv, x, channels, w, d_y, k.n, room, d_w, d_b, d_x);
    naive_conv_backward(&k.naive, k.x, k.w, k.d_y, k.n, k.d_w, k.d_b, k.d_x);
    for (size_t i = 0; i < k.xs; i++) /* it was x before, and is added to */
        k.d_x[i] += k.x[i];
    near_expect(d_w, k.d_w, k.ws, "d_weight");
    near_expect(d_b, k.d_b, k.conv.out, "d_bias");
    near_expect(d_x, k.d_x, k.xs, "d_x");
    sp_conv_backward(&k.conv, other, examples, w, d_y, k.n, room, d_w2, NULL, NULL);
    ck_assert_mem_eq(d_w2, d_w, k.ws * sizeof *d_w);

    sp_conv_forward(&k.conv, x, channels, w, NULL, k.n, room, again);
    naive_conv_forward(&k.naive, k.x, k.w, NULL, k.n, k.y);
    near_expect(again, k.y, k.ys, "y without bias");
    for (size_t i = 0; i < UNIT_COUNT(all); i++)
        free(all[i]);
    forget(&k);
}
END_TEST

static double loss(void *arg)
{
    struct work *k = arg;

    naive_conv_forward(&k->naive, k->x, k->w, k->b, k->n, k->y);
    return near_dot(k->y, k->d_y, k->ys);
}

/* The twin itself: with it right, the comparison above makes the real one right. */
START_TEST(test_differences)
{
    static const uint32_t few[][8] = {{2, 3, 3, 1, 1, 5, 4, 2}, {2, 2, 3, 2, 1, 6, 5, 2}, {1, 2, 5, 1, 2, 4, 4, 1}};
    struct work k;

    make(&k, few[_i]);
    naive_conv_backward(&k.naive, k.x, k.w, k.d_y, k.n, k.d_w, k.d_b, k.d_x);
    near_expect_differences(loss, &k, k.w, k.ws, k.d_w, "d_weight");
    near_expect_differences(loss, &k, k.b, k.conv.out, k.d_b, "d_bias");
    near_expect_differences(loss, &k, k.x, k.xs, k.d_x, "d_x");
    forget(&k);
}
END_TEST

/* A 2x2 window with pad 1 over the image 1 2 / 3 4: worked out by hand. */
START_TEST(test_by_hand)
{
    const struct sp_conv conv = {1, 1, 2, 1, 1, 2, 2, 3, 3};
    const float x[] = {1, 2, 3, 4}, w[] = {1, 10, 100, 1000}, b[] = {0.5f};
    const float expected[] = {1000.5f, 2100.5f, 200.5f, 3010.5f, 4321.5f, 402.5f, 30.5f, 43.5f, 4.5f};
    float *room = near_output((size_t)sp_conv_room(&conv)), y[9];

    sp_conv_forward(&conv, x, (struct sp_planes){4, 4}, w, b, 1, room, y);
    for (int i = 0; i < 9; i++)
        ck_assert_msg(y[i] == expected[i], "y[%d] is %g, not %g", i, (double)y[i], (double)expected[i]);
    free(room);
}
END_TEST

START_TEST(test_not_a_number_passes)
{
    const struct sp_conv conv = {1, 1, 3, 1, 1, 4, 4, 4, 4};
    float x[16] = {0}, w[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, y[16], d_w[9], d_x[16] = {0};
    float *room = near_output((size_t)sp_conv_room(&conv));

    x[5] = NAN;
    sp_conv_forward(&conv, x, (struct sp_planes){16, 16}, w, NULL, 1, room, y);
    ck_assert(isnan(y[0]) && isnan(y[10]) && y[3] == 0.0f && y[15] == 0.0f);
    sp_conv_backward(&conv, x, (struct sp_planes){16, 16}, w, y, 1, room, d_w, NULL, d_x);
    ck_assert(isnan(d_w[4]) && isnan(d_x[0]));
    free(room);
}
END_TEST

/* What is said at start: the room of a convolution does not grow with the batch, and hardly with the layer. */
START_TEST(test_room_is_bounded)
{
    const struct sp_conv first = {3, 64, 3, 1, 1, 32, 32, 32, 32}, last = {512, 512, 3, 1, 1, 4, 4, 4, 4};
    const uint64_t margin = (32 + 3) * 34, least = UINT64_C(512) * 9 * SP_CONV_COLUMNS_MIN;

    ck_assert_uint_le(sp_conv_room(&first), SP_CONV_ROOM_BYTES / sizeof(float) + margin);
    ck_assert_uint_ge(sp_conv_room(&last), least);
    ck_assert_uint_le(sp_conv_room(&last), least + margin);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("conv");

    tcase_add_loop_test(tests, test_against_naive, 0, UNIT_COUNT(shapes));
    tcase_add_loop_test(tests, test_differences, 0, 3);
    tcase_add_test(tests, test_by_hand);
    tcase_add_test(tests, test_not_a_number_passes);
    tcase_add_test(tests, test_room_is_bounded);
    return unit_run(suite_create("conv"), tests);
}
