/* Crops and mirror images: by hand, against a naive twin that pads, and what is drawn. */
#include "common/rng.h"
#include "tests/unit/unit.h"
#include "worker/train/augment.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct sp_job job;
static struct sp_error error;

static void setup(void)
{
    sp_job_init(&job);
}

static void set(const char *key, const char *value)
{
    ck_assert_int_eq(sp_job_set(&job, key, value, &error), SP_OK);
}

/* By hand. */

static const struct sp_shape small = {1, 2, 3};
static const uint8_t image[] = {1, 2, 3, 4, 5, 6};

static const struct {
    struct sp_augment_window window;
    uint8_t out[6];
} cases[] = {
    {{0, 0, false}, {1, 2, 3, 4, 5, 6}},  {{0, 0, true}, {3, 2, 1, 6, 5, 4}},   {{1, 0, false}, {4, 5, 6, 0, 0, 0}},
    {{-1, 0, false}, {0, 0, 0, 1, 2, 3}}, {{0, 1, false}, {2, 3, 0, 5, 6, 0}},  {{0, -2, false}, {0, 0, 1, 0, 0, 4}},
    {{1, -1, true}, {5, 4, 0, 0, 0, 0}},  {{-1, 2, false}, {0, 0, 0, 3, 0, 0}},
};

START_TEST(test_by_hand)
{
    uint8_t out[6];

    memset(out, 0xee, sizeof out);
    sp_augment_apply(&cases[_i].window, &small, 1, image, out);
    ck_assert_mem_eq(out, cases[_i].out, sizeof out);
}
END_TEST

/* The naive twin: pads, cuts the window out, mirrors it. */
static void naive(const struct sp_augment_window *window, const struct sp_shape *shape, int crop, const float *raw,
                  float *out)
{
    const int h = (int)shape->height, w = (int)shape->width, ph = h + 2 * crop, pw = w + 2 * crop;

    for (int c = 0; c < (int)shape->channels; c++) {
        float *padded = calloc((size_t)(ph * pw), sizeof *padded);

        ck_assert_ptr_nonnull(padded);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                padded[(y + crop) * pw + x + crop] = raw[(c * h + y) * w + x];
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                out[(c * h + y) * w + (window->flip ? w - 1 - x : x)] =
                    padded[(y + crop + window->down) * pw + x + crop + window->right];
        free(padded);
    }
}

START_TEST(test_like_the_naive_one)
{
    const struct sp_shape shape = {3, 5, 4};
    enum { INPUTS = 3 * 5 * 4, CROP = 3 };
    float raw[INPUTS], out[INPUTS], expected[INPUTS];
    uint8_t raw_bytes[INPUTS], out_bytes[INPUTS];

    for (int i = 0; i < INPUTS; i++) {
        raw[i] = (float)i + 1;
        raw_bytes[i] = (uint8_t)(i + 1);
    }
    for (int down = -CROP; down <= CROP; down++) {
        for (int right = -CROP; right <= CROP; right++) {
            for (int flip = 0; flip < 2; flip++) {
                const struct sp_augment_window window = {down, right, flip != 0};

                naive(&window, &shape, CROP, raw, expected);
                sp_augment_apply(&window, &shape, sizeof(float), raw, out);
                ck_assert_mem_eq(out, expected, sizeof out);
                sp_augment_apply(&window, &shape, 1, raw_bytes, out_bytes);
                for (int i = 0; i < INPUTS; i++)
                    ck_assert(out_bytes[i] == (uint8_t)expected[i]);
            }
        }
    }
}
END_TEST

/* What is drawn. */

START_TEST(test_draws_follow_the_header)
{
    const struct sp_augment augment = {.seed = 0x123456789abcdefu, .crop = 4, .flip = true};

    for (uint32_t n = 0; n < 100; n++) {
        const struct sp_augment_window window = sp_augment_draw(&augment, 77, 3, n);
        uint32_t w[4];

        sp_rng_block(sp_rng_key(augment.seed, (enum sp_rng_stream)6), n, 77, 3, w);
        ck_assert_int_eq(window.down, (int)((double)w[0] * 9 / 4294967296.0) - 4);
        ck_assert_int_eq(window.right, (int)((double)w[1] * 9 / 4294967296.0) - 4);
        ck_assert(window.flip == (w[2] >= 0x80000000u));
    }
}
END_TEST

/* Each shift and each flip comes about as often, and rounds, slots, examples and seeds differ. */
START_TEST(test_draws_are_even)
{
    struct sp_augment augment = {.seed = 1, .crop = 2, .flip = true};
    unsigned shifts[5][5] = {{0}}, flips = 0, same = 0;

    for (uint32_t n = 0; n < 25000; n++) {
        const struct sp_augment_window window = sp_augment_draw(&augment, 1 + n / 1000, n / 100 % 10, n % 100);

        ck_assert(window.down >= -2 && window.down <= 2 && window.right >= -2 && window.right <= 2);
        shifts[window.down + 2][window.right + 2]++;
        flips += window.flip;
    }
    for (int i = 0; i < 25; i++)
        ck_assert_msg(abs((int)shifts[i / 5][i % 5] - 1000) < 160, "%d: %u", i, shifts[i / 5][i % 5]);
    ck_assert(abs((int)flips - 12500) < 400);
    for (uint32_t n = 0; n < 1000; n++) {
        const struct sp_augment_window a = sp_augment_draw(&augment, 1, 0, n);
        const struct sp_augment_window b = sp_augment_draw(&augment, 2, 0, n);
        const struct sp_augment_window c = sp_augment_draw(&augment, 1, 1, n);

        same += (a.down == b.down && a.right == b.right) + (a.down == c.down && a.right == c.right);
    }
    ck_assert_msg(same < 150, "%u", same);
}
END_TEST

START_TEST(test_only_what_was_asked_for)
{
    const struct sp_augment crop = {.seed = 1, .crop = 2}, flip = {.seed = 1, .flip = true};
    unsigned flips = 0;

    for (uint32_t n = 0; n < 100; n++) {
        ck_assert(!sp_augment_draw(&crop, 1, 0, n).flip);
        ck_assert_int_eq(sp_augment_draw(&flip, 1, 0, n).down, 0);
        ck_assert_int_eq(sp_augment_draw(&flip, 1, 0, n).right, 0);
        flips += sp_augment_draw(&flip, 1, 0, n).flip;
    }
    ck_assert(flips > 20 && flips < 80);
}
END_TEST

/* With examples. */

static uint8_t images[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
static uint8_t labels[] = {4, 5};
static struct sp_part part = {.count = 2, .images = images, .stride = 9};

static struct sp_examples of_shape(uint32_t channels, uint32_t height, uint32_t width)
{
    return (struct sp_examples){.count = 2,
                                .inputs = channels * height * width,
                                .shape = {channels, height, width},
                                .parts = &part,
                                .parts_count = 1,
                                .labels = labels,
                                .from = "images"};
}

/* Shifted first and scaled then: what is outside is the data's zero, scaled as the input where it comes to lie. */
START_TEST(test_gather)
{
    const struct sp_examples examples = of_shape(1, 3, 3);
    const uint32_t indices[] = {1, 0, 1, 1};
    struct sp_augment augment;
    struct sp_scale scale;
    float x[4 * 9], plain[4 * 9];
    uint8_t got[4], shifted[9];

    set("data.augment.crop", "2");
    set("data.augment.flip", "true");
    set("data.scale.compute", "input");
    set("seed", "9");
    ck_assert_int_eq(sp_augment_create(&augment, &job, &examples, &error), SP_OK);
    ck_assert_int_eq(sp_scale_create(&scale, &job, &examples, NULL, NULL, &error), SP_OK);
    sp_augment_gather(&augment, &examples, indices, 4, &scale, 5, 2, x, got);
    for (uint32_t i = 0; i < 4; i++) {
        const struct sp_augment_window window = sp_augment_draw(&augment, 5, 2, i);

        sp_augment_apply(&window, &examples.shape, 1, images + indices[i] * 9, shifted);
        sp_scale_apply(&scale, &examples, shifted, plain);
        ck_assert_mem_eq(x + i * 9, plain, sizeof shifted * sizeof *x);
        ck_assert_uint_eq(got[i], labels[indices[i]]);
    }
    sp_augment_finish(&augment);
    set("data.augment.crop", "0");
    set("data.augment.flip", "false");
    ck_assert_int_eq(sp_augment_create(&augment, &job, &examples, &error), SP_OK);
    sp_augment_gather(&augment, &examples, indices, 4, &scale, 5, 2, x, got);
    sp_examples_gather(&examples, indices, 4, &scale, plain, got);
    ck_assert_mem_eq(x, plain, sizeof x);
    sp_scale_finish(&scale);
}
END_TEST

static void refuse(const struct sp_examples *examples, const char *words)
{
    struct sp_augment augment;

    ck_assert_int_eq(sp_augment_create(&augment, &job, examples, &error), SP_E_MISMATCH);
    ck_assert_str_eq(error.text, words);
    ck_assert_ptr_null(augment.image);
}

START_TEST(test_no_images)
{
    const struct sp_examples flat = of_shape(1, 1, 9), square = of_shape(1, 3, 3);

    set("data.augment.flip", "true");
    refuse(&flat, "data.augment.flip: the data are no images: an example of images is 1 x 1 x 9; leave it out");
    set("data.format", "csv");
    refuse(&flat, "data.augment.flip: the data are no images: an example of images is 1 x 1 x 9; leave it out, or say "
                  "the shape by data.csv.shape");
    set("data.augment.crop", "3");
    refuse(&square, "data.augment.crop: 3 pixels could leave nothing of an image of 3 x 3; give fewer");
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("augment");
    TCase *images_of = tcase_create("augment");

    tcase_add_checked_fixture(images_of, setup, NULL);
    tcase_add_loop_test(images_of, test_by_hand, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(images_of, test_like_the_naive_one);
    tcase_add_test(images_of, test_draws_follow_the_header);
    tcase_add_test(images_of, test_draws_are_even);
    tcase_add_test(images_of, test_only_what_was_asked_for);
    tcase_add_test(images_of, test_gather);
    tcase_add_test(images_of, test_no_images);
    suite_add_tcase(all, images_of);
    return all;
}

int main(void)
{
    return unit_run_all(suite());
}
