/* A worker's part of a round: gradient in, pushes out; update in, weights out. */
#include "common/pack.h"
#include "common/sums.h"
#include "common/weights.h"
#include "unit.h"
#include "worker/client/dither.h"
#include "worker/client/learner.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BETA1 0.9
#define SEED 77

static struct sp_layout layout;
static struct sp_learner learner;
static struct sp_learner_setup setup;
static uint8_t bulk[SP_BULK_BYTES_MAX];
static struct sp_error error;
static float *gradient;

static void open_with(uint64_t first, uint64_t second)
{
    struct sp_tensor tensor = {.name = "a", .dims = 1, .shape = {first}};

    memset(&layout, 0, sizeof layout);
    ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    (void)strcpy(tensor.name, "b");
    tensor.shape[0] = second;
    ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    setup = (struct sp_learner_setup){.seed = SEED, .slot = 2, .beta1 = BETA1, .momentum_after = true};
    ck_assert_int_eq(sp_learner_create(&learner, &layout), SP_OK);
    ck_assert_int_eq(sp_learner_set_up(&learner, &setup), SP_OK);
    for (uint64_t j = 0; j < layout.coordinates; j++)
        learner.theta[j] = (float)(j % 13) * 0.25f - 1.5f;
    sp_learner_replaced(&learner, 0);
    gradient = calloc(layout.coordinates, sizeof *gradient);
    ck_assert_ptr_nonnull(gradient);
}

static void finish(void)
{
    sp_learner_finish(&learner);
    sp_learner_finish(&learner); /* as often as one likes */
    sp_layout_finish(&layout);
    free(gradient);
}

static void fill(uint32_t t)
{
    for (uint64_t j = 0; j < layout.coordinates; j++)
        gradient[j] = sinf((float)j * 0.37f + (float)t);
}

/* Begins a round and gives all of the gradient. */
static void give(void)
{
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, layout.coordinates, gradient), SP_OK);
}

static uint32_t packable(void)
{
    uint64_t first;
    uint32_t count;

    sp_learner_packable(&learner, &first, &count);
    ck_assert_uint_eq(first, learner.packed);
    return count;
}

/* Stages an update of one chunk: the signs of `values` in the sign phase, or themselves. */
static int stage(uint64_t first, uint32_t count, const float *values)
{
    struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .round = learner.round + 1, .first = first, .count = count}};
    struct sp_frame *frame = &message.frame;
    bool sign = learner.phase == SP_PHASE_SIGN;
    void *to;

    frame->bulk_bytes = (uint32_t)(sign ? sp_bits_bytes(count) : count * sizeof(float));
    frame->flags = first + count == layout.coordinates ? SP_FRAME_LAST : 0;
    to = sp_learner_place(&learner, &message, &error);
    if (to == NULL)
        return error.code;
    if (sign)
        sp_pack_signs(values + first, first, count, frame->round, to);
    else
        memcpy(to, values + first, frame->bulk_bytes);
    return sp_learner_staged(&learner, &message, &error);
}

static int commit(float rate, enum sp_phase next_phase, float next_sigma)
{
    struct sp_commit c = {.rate = rate, .decay = 1.0f, .next_phase = next_phase, .next_sigma = next_sigma};

    return sp_learner_commit(&learner, learner.round + 1, &c, &error);
}

static void whole_round(uint32_t t, enum sp_phase next_phase, float next_sigma)
{
    fill(t);
    give();
    while (packable() > 0)
        (void)sp_learner_pack(&learner, bulk);
    ck_assert_int_eq(stage(0, (uint32_t)layout.coordinates, gradient), SP_OK);
    ck_assert_int_eq(commit(0.125f, next_phase, next_sigma), SP_OK);
    ck_assert_uint_eq(learner.round, t);
}

/* --- a round -------------------------------------------------------------------------------------------------------
 */

START_TEST(test_round_by_hand)
{
    struct sp_push push = {0};
    float m[20], theta[20];
    uint8_t expected[3];
    double dot = 0.0;

    open_with(13, 7);
    ck_assert_uint_eq((uintptr_t)learner.theta % 64, 0);
    memcpy(theta, learner.theta, sizeof theta);
    fill(1);
    give();
    for (int j = 0; j < 20; j++)
        m[j] = (float)(1.0 - BETA1) * gradient[j];
    ck_assert_mem_eq(learner.m, m, sizeof m);
    ck_assert_uint_eq(packable(), 20);
    ck_assert_uint_eq(sp_learner_pack(&learner, bulk), 3);
    sp_pack_signs(m, 0, 20, 1, expected);
    ck_assert_mem_eq(bulk, expected, 3);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot);
    sp_learner_scalars(&learner, 2.5, 16, &push);
    ck_assert(push.has_scalars && push.has_sketch && push.loss == 2.5 && push.examples == 16);
    ck_assert_double_eq(push.gradient_norm2, sp_sum_squares(gradient, 20));
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_mem_eq(learner.theta, theta, sizeof theta); /* provisional until the COMMIT */
    ck_assert_int_eq(commit(0.125f, SP_PHASE_SIGN, 0.0f), SP_OK);
    for (int j = 0; j < 20; j++) {
        ck_assert_float_eq(learner.theta[j], theta[j] - (gradient[j] > 0.0f ? 0.125f : -0.125f));
        dot += fabs((double)gradient[j]);
    }
    ck_assert_uint_eq(learner.round, 1);
    sp_learner_dot(&learner, &push);
    ck_assert(push.has_dot);
    ck_assert_double_eq_tol(push.dot, dot, 1e-12);
    finish();
}
END_TEST

/* The sketch goes by the round and the seed, and is not there in the SGD phase. */
START_TEST(test_sketch)
{
    double sketch[SP_SKETCH_BUCKETS] = {0};
    struct sp_push push = {0};

    open_with(500, 77);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    fill(2);
    give();
    sp_learner_scalars(&learner, 1.0, 1, &push);
    sp_sketch_add(sketch, SEED, 2, 0, gradient, 577);
    for (int b = 0; b < SP_SKETCH_BUCKETS; b++)
        ck_assert_float_eq(push.sketch[b], (float)sketch[b]);
    (void)sp_learner_pack(&learner, bulk);
    ck_assert_int_eq(stage(0, 577, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SGD, 0.0f), SP_OK);
    give();
    memset(&push, 0, sizeof push);
    sp_learner_dot(&learner, &push);
    sp_learner_scalars(&learner, 1.0, 1, &push);
    ck_assert(push.has_scalars && !push.has_sketch);
    ck_assert(push.has_dot); /* of the last sign round; the server may leave it */
    ck_assert_int_eq(stage(0, 577, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SGD, 0.0f), SP_OK);
    memset(&push, 0, sizeof push);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot); /* an SGD round has none */
    finish();
}
END_TEST

/* A gradient that comes in ranges cut anywhere gives the same momentum, pushes and scalars as one that comes whole. */
START_TEST(test_ranges_do_not_matter)
{
    static const uint64_t cuts[] = {1, 16, 17, 64, 100, 65535, 65536, 65537, 65539, 131072, 131080, 140000};
    struct sp_push whole[3] = {0}, parts[3] = {0};
    float *m;
    uint8_t bits[3][17600];

    open_with(139000, 1000);
    for (uint32_t t = 1; t <= 3; t++) {
        fill(t);
        give();
        sp_learner_dot(&learner, &whole[t - 1]);
        sp_learner_scalars(&learner, 1.0, 1, &whole[t - 1]);
        ck_assert_uint_eq(sp_learner_pack(&learner, bits[t - 1]), 17500);
        ck_assert_int_eq(stage(0, 140000, gradient), SP_OK);
        ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.5f), SP_OK);
    }
    m = learner.m;
    learner.m = NULL;
    finish();
    open_with(139000, 1000);
    for (uint32_t t = 1; t <= 3; t++) {
        uint64_t first = 0;

        fill(t);
        sp_learner_begin(&learner);
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; first = cuts[i++])
            ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, cuts[i] - first, gradient + first), SP_OK);
        sp_learner_dot(&learner, &parts[t - 1]);
        sp_learner_scalars(&learner, 1.0, 1, &parts[t - 1]);
        (void)sp_learner_pack(&learner, bulk);
        ck_assert_mem_eq(bulk, bits[t - 1], 17500);
        ck_assert_int_eq(stage(0, 140000, gradient), SP_OK);
        ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.5f), SP_OK);
    }
    ck_assert_mem_eq(m, learner.m, 140000 * sizeof *m);
    ck_assert_mem_eq(whole, parts, sizeof whole);
    free(m);
    finish();
}
END_TEST

/* Pushes leave as soon as their coordinates are there; the last one waits for the scalars. */
START_TEST(test_chunks_leave_early)
{
    struct sp_message message;
    struct sp_push scalars = {0};
    size_t bytes;

    open_with(SP_CHUNK_SIGNS, 40);
    fill(1);
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, SP_CHUNK_SIGNS - 1, gradient), SP_OK);
    ck_assert(!sp_learner_next_push(&learner, NULL, &message, bulk, &bytes));
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 11, gradient + SP_CHUNK_SIGNS - 1), SP_OK);
    ck_assert(sp_learner_next_push(&learner, NULL, &message, bulk, &bytes));
    ck_assert_uint_eq(bytes, SP_BULK_BYTES_MAX);
    ck_assert_uint_eq(message.frame.round, 1);
    ck_assert_uint_eq(message.frame.count, SP_CHUNK_SIGNS);
    ck_assert_uint_eq(message.frame.flags, 0);
    ck_assert(!message.push.has_scalars);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 30, gradient + SP_CHUNK_SIGNS + 10), SP_OK);
    ck_assert_uint_eq(packable(), 40);
    ck_assert(!sp_learner_next_push(&learner, NULL, &message, bulk, &bytes));
    sp_learner_scalars(&learner, 3.0, 2, &scalars);
    ck_assert(sp_learner_next_push(&learner, &scalars, &message, bulk, &bytes));
    ck_assert_uint_eq(bytes, 5);
    ck_assert_uint_eq(message.frame.first, SP_CHUNK_SIGNS);
    ck_assert_uint_eq(message.frame.flags, SP_FRAME_LAST);
    ck_assert(message.push.has_scalars && message.push.loss == 3.0);
    ck_assert(!sp_learner_next_push(&learner, &scalars, &message, bulk, &bytes));
    finish();
}
END_TEST

/* --- dither --------------------------------------------------------------------------------------------------------
 */

static void expect_dithered(double sigma, double scale, uint32_t t)
{
    uint8_t expected[16];

    sp_dither_pack(learner.m, 0, 100, sp_dither_gain(sigma, scale), sp_rng_key(SEED, SP_RNG_DITHER), 2, t, expected);
    ck_assert_uint_eq(packable(), 100);
    ck_assert_uint_eq(sp_learner_pack(&learner, bulk), 13);
    ck_assert_mem_eq(bulk, expected, 13);
}

/* The first round has no rms of a round before: it waits for all of m, and takes its own. Then it is that of the round
 * before. */
START_TEST(test_first_round_waits_for_the_rms)
{
    struct sp_commit start = {.decay = 1.0f, .next_sigma = 0.5f};
    double rms;

    open_with(60, 40);
    ck_assert_int_eq(sp_learner_commit(&learner, 0, &start, &error), SP_OK);
    ck_assert_uint_eq(learner.round, 0);
    fill(1);
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 99, gradient), SP_OK);
    ck_assert_uint_eq(packable(), 0);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 1, gradient + 99), SP_OK);
    rms = sqrt(sp_sum_squares(learner.m, 100) / 100.0);
    expect_dithered(0.5, rms, 1);
    ck_assert_int_eq(stage(0, 100, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.25f), SP_OK);
    fill(2);
    give();
    expect_dithered(0.25, rms, 2); /* not that of the m which is there now */
    ck_assert_double_ne(rms, sqrt(sp_sum_squares(learner.m, 100) / 100.0));
    ck_assert_int_eq(stage(0, 100, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    fill(3);
    give();
    expect_dithered(0.0, 1.0, 3);
    finish();
}
END_TEST

START_TEST(test_absolute_dither_waits_for_nothing)
{
    struct sp_commit start = {.decay = 1.0f, .next_sigma = 0.05f};

    open_with(SP_CHUNK_SIGNS, 8);
    setup.dither_scale = SP_DITHER_SCALE_ABSOLUTE;
    ck_assert_int_eq(sp_learner_set_up(&learner, &setup), SP_OK);
    ck_assert_int_eq(sp_learner_commit(&learner, 0, &start, &error), SP_OK);
    fill(1);
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, SP_CHUNK_SIGNS, gradient), SP_OK);
    ck_assert_uint_eq(packable(), SP_CHUNK_SIGNS);
    finish();
    open_with(60, 40);
    setup.dither_scale = SP_DITHER_SCALE_ABSOLUTE;
    ck_assert_int_eq(sp_learner_set_up(&learner, &setup), SP_OK);
    ck_assert_int_eq(sp_learner_commit(&learner, 0, &start, &error), SP_OK);
    fill(1);
    give();
    expect_dithered((double)0.05f, 1.0, 1);
    finish();
}
END_TEST

/* All of m is 0: its rms is 0 as well, and the coin decides. */
START_TEST(test_dither_without_a_gradient)
{
    struct sp_commit start = {.decay = 1.0f, .next_sigma = 0.5f};

    open_with(60, 40);
    ck_assert_int_eq(sp_learner_commit(&learner, 0, &start, &error), SP_OK);
    give();
    ck_assert_uint_eq(packable(), 100);
    (void)sp_learner_pack(&learner, bulk);
    for (uint64_t j = 0; j < 100; j++)
        ck_assert_uint_eq((bulk[j / 8] >> (j % 8)) & 1, sp_coin(j, 1));
    finish();
}
END_TEST

/* A coordinate without gradient, of workers that are alone: the coin takes it back and forth, and never further than
 * one step. */
START_TEST(test_no_drift_without_a_gradient)
{
    struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .count = 20, .bulk_bytes = 3, .flags = SP_FRAME_LAST}};
    float before[20];

    open_with(13, 7);
    memcpy(before, learner.theta, sizeof before);
    for (uint32_t t = 1; t <= 51; t++) {
        give();
        (void)sp_learner_pack(&learner, bulk);
        message.frame.round = t;
        ck_assert_ptr_eq(sp_learner_place(&learner, &message, &error), learner.bits);
        memcpy(learner.bits, bulk, 3);
        ck_assert_int_eq(commit(0.0625f, SP_PHASE_SIGN, 0.0f), SP_OK);
        for (int j = 0; j < 20; j++)
            ck_assert_float_le(fabsf(learner.theta[j] - before[j]), 0.0625f);
        if (t % 2 == 0)
            ck_assert_mem_eq(learner.theta, before, sizeof before);
    }
    finish();
}
END_TEST

/* --- abstention ----------------------------------------------------------------------------------------------------
 */

START_TEST(test_abstention_at_the_start)
{
    struct sp_push push = {0};
    float m[20];

    open_with(13, 7);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    memcpy(m, learner.m, sizeof m);
    fill(2);
    gradient[_i == 0 ? 0 : 19] = _i == 0 ? NAN : INFINITY;
    give();
    ck_assert(learner.abstained);
    ck_assert_uint_eq(learner.abstentions, 1);
    ck_assert_mem_eq(learner.m, m, sizeof m);
    ck_assert_uint_eq(packable(), 0);
    ck_assert_int_eq(stage(0, 20, m), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK); /* it follows the others nonetheless */
    ck_assert_uint_eq(learner.round, 2);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot);
    whole_round(3, SP_PHASE_SIGN, 0.0f); /* and is there again in the next round */
    ck_assert_uint_eq(learner.abstentions, 1);
    finish();
}
END_TEST

/* The gradient comes in three ranges, of which the second is bad: what was before it counts, what comes after it does
 * not, and m stays as it was from there on. */
START_TEST(test_abstention_in_the_middle)
{
    const uint64_t all = 3ull * SP_CHUNK_VALUES;
    float *m = malloc(all * sizeof *m);

    ck_assert_ptr_nonnull(m);
    open_with(all - 5, 5);
    whole_round(1, SP_PHASE_SGD, 0.0f);
    memcpy(m, learner.m, all * sizeof *m);
    fill(2);
    gradient[SP_CHUNK_VALUES + 4] = NAN;
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, SP_CHUNK_VALUES, gradient), SP_OK);
    ck_assert_uint_eq(packable(), SP_CHUNK_VALUES);
    (void)sp_learner_pack(&learner, bulk);
    ck_assert_mem_eq(bulk, learner.m, SP_BULK_BYTES_MAX);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, SP_CHUNK_VALUES, gradient + SP_CHUNK_VALUES), SP_OK);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, SP_CHUNK_VALUES, gradient + 2 * SP_CHUNK_VALUES),
                     SP_OK);
    ck_assert(learner.abstained);
    ck_assert_uint_eq(packable(), 0);
    ck_assert_mem_ne(learner.m, m, SP_CHUNK_VALUES * sizeof *m);
    ck_assert_mem_eq(learner.m + SP_CHUNK_VALUES, m + SP_CHUNK_VALUES, 2 * SP_CHUNK_VALUES * sizeof *m);
    free(m);
    finish();
}
END_TEST

/* A gradient in one piece is looked at block by block: what lies before the block with the bad value is in m, and
 * chunks that are complete there can be pushed. */
START_TEST(test_abstention_by_blocks)
{
    const uint64_t d = 3ull * SP_CHUNK_VALUES, bad = 2ull * SP_CHUNK_VALUES + 2048;
    float *m = calloc(d, sizeof *m);

    ck_assert_ptr_nonnull(m);
    open_with(d - 7, 7);
    whole_round(1, SP_PHASE_SGD, 0.0f);
    memcpy(m, learner.m, d * sizeof *m);
    fill(2);
    gradient[bad + (_i == 0 ? 0 : 2047)] = NAN;
    give();
    ck_assert(learner.abstained);
    ck_assert_uint_eq(learner.given, bad);
    for (uint64_t j = 0; j < bad; j++)
        m[j] = (float)BETA1 * m[j] + (float)(1.0 - BETA1) * gradient[j];
    ck_assert_mem_eq(learner.m, m, d * sizeof *m);
    for (uint64_t k = 0; k < 2; k++) {
        ck_assert_uint_eq(packable(), SP_CHUNK_VALUES);
        (void)sp_learner_pack(&learner, bulk);
        ck_assert_mem_eq(bulk, m + k * SP_CHUNK_VALUES, SP_BULK_BYTES_MAX);
    }
    ck_assert_uint_eq(packable(), 0);
    free(m);
    finish();
}
END_TEST

/* Signs are packed while the gradient comes in, however it is cut: the bits are those of m packed at once. */
START_TEST(test_signs_packed_ahead)
{
    const uint64_t d = SP_CHUNK_SIGNS + 5001;
    uint8_t *right = malloc(sp_bits_bytes(d));

    ck_assert_ptr_nonnull(right);
    open_with(d - 1001, 1001);
    fill(1);
    sp_learner_begin(&learner);
    for (uint64_t first = 0, step = 1; first < d; first += step, step = step * 3 % 4099 + 1) {
        uint64_t count = d - first < step ? d - first : step;

        ck_assert_int_eq(sp_learner_gradient(&learner, first, count, gradient + first), SP_OK);
        ck_assert_uint_le(learner.ahead, learner.given);
        ck_assert_uint_ge(learner.ahead + 7, learner.given < SP_CHUNK_SIGNS ? learner.given : SP_CHUNK_SIGNS);
    }
    sp_pack_signs(learner.m, 0, d, 1, right);
    ck_assert_uint_eq(sp_learner_pack(&learner, bulk), SP_BULK_BYTES_MAX);
    ck_assert_mem_eq(bulk, right, SP_BULK_BYTES_MAX);
    ck_assert_uint_eq(sp_learner_pack(&learner, bulk), sp_bits_bytes(5001));
    ck_assert_mem_eq(bulk, right + SP_BULK_BYTES_MAX, sp_bits_bytes(5001));
    ck_assert_uint_eq(packable(), 0);
    free(right);
    finish();
}
END_TEST

/* The rms of an abstained round is not taken: dither goes by the last whole one. */
START_TEST(test_abstention_keeps_the_rms)
{
    double rms;

    open_with(60, 40);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    rms = learner.rms;
    ck_assert_double_gt(rms, 0.0);
    fill(2);
    gradient[99] = NAN;
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 50, gradient), SP_OK);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 50, gradient + 50), SP_OK);
    fill(2);
    ck_assert_int_eq(stage(0, 100, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.5f), SP_OK);
    ck_assert_double_eq(learner.rms, rms);
    fill(3);
    give();
    expect_dithered(0.5, rms, 3);
    finish();
}
END_TEST

/* --- ranges in any order -------------------------------------------------------------------------------------------
 */

static void give_range(uint64_t first, uint64_t end)
{
    ck_assert_int_eq(sp_learner_gradient(&learner, first, end - first, gradient + first), SP_OK);
}

/* What can be packed is what is there from coordinate 0 on. */
START_TEST(test_chunks_leave_when_all_before_them_is_there)
{
    const uint64_t chunk = SP_CHUNK_VALUES;

    open_with(3 * chunk, 10);
    for (uint32_t i = 0; i < 3; i++)
        gradient[i * chunk] = 1.0f;
    learner.phase = SP_PHASE_SGD;
    sp_learner_begin(&learner);
    give_range(2 * chunk, 3 * chunk + 10);
    ck_assert_uint_eq(packable(), 0);
    give_range(1, 2 * chunk - 1);
    ck_assert_uint_eq(packable(), 0);
    ck_assert_uint_eq(learner.given, 0);
    give_range(0, 1);
    ck_assert_uint_eq(learner.given, 2 * chunk - 1);
    ck_assert_uint_eq(packable(), chunk);
    (void)sp_learner_pack(&learner, bulk);
    ck_assert_uint_eq(packable(), 0);
    give_range(2 * chunk - 1, 2 * chunk);
    ck_assert_uint_eq(learner.given, 3 * chunk + 10);
    for (int i = 0; i < 3; i++)
        (void)sp_learner_pack(&learner, bulk);
    ck_assert_uint_eq(learner.packed, 3 * chunk + 10);
    finish();
}
END_TEST

/* Coordinates one by one from the end: as many ranges as there can be. */
START_TEST(test_as_many_ranges_as_coordinates)
{
    float m[2000];

    open_with(1990, 10);
    fill(1);
    sp_learner_begin(&learner);
    for (uint64_t j = 2000; j-- > 0;)
        give_range(j, j + 1);
    for (int j = 0; j < 2000; j++)
        m[j] = (float)(1.0 - BETA1) * gradient[j];
    ck_assert_uint_eq(learner.given, 2000);
    ck_assert_mem_eq(learner.m, m, sizeof m);
    finish();
}
END_TEST

/* Ranges that touch what was given, of which some is in m already and some waits. */
static const struct {
    uint64_t first, end;
} overlaps[] = {
    {0, 10},  {0, 1},   {9, 10},  {9, 11},  {0, 100}, {3, 7},   {9, 41},  {10, 41}, {20, 41},
    {39, 41}, {40, 41}, {40, 60}, {45, 46}, {59, 60}, {59, 61}, {30, 70}, {40, 61}, {39, 60},
};

/* They are refused, and nothing at all is as if they had been there. */
START_TEST(test_overlaps_are_refused)
{
    struct sp_learner before;
    struct sp_learner_range ranges[8];
    float m[100];

    open_with(90, 10);
    fill(1);
    sp_learner_begin(&learner);
    give_range(40, 60);
    give_range(0, 10);
    memcpy(&before, &learner, sizeof before);
    memcpy(m, learner.m, sizeof m);
    memcpy(ranges, learner.ranges, learner.ranges_count * sizeof ranges[0]);
    for (size_t i = 0; i < UNIT_COUNT(overlaps); i++) {
        uint64_t first = overlaps[i].first, count = overlaps[i].end - first;

        unit_assert(sp_learner_gradient(&learner, first, count, gradient) == SP_E_RANGE, "overlap %zu is taken", i);
        unit_assert(memcmp(&before, &learner, sizeof before) == 0, "overlap %zu changes something", i);
        ck_assert_mem_eq(learner.m, m, sizeof m);
        ck_assert_mem_eq(learner.ranges, ranges, learner.ranges_count * sizeof ranges[0]);
    }
    give_range(5, 5); /* nothing is no overlap */
    give_range(50, 50);
    give_range(60, 100);
    give_range(10, 40);
    for (int j = 0; j < 100; j++)
        m[j] = (float)(1.0 - BETA1) * gradient[j];
    ck_assert_mem_eq(learner.m, m, sizeof m);
    ck_assert_int_eq(sp_learner_gradient(&learner, 0, 100, gradient), SP_E_RANGE);
    ck_assert_int_eq(sp_learner_gradient(&learner, 99, 1, gradient), SP_E_RANGE);
    finish();
}
END_TEST

/* What was given belongs to its round: in the next one all of it is asked for again. */
START_TEST(test_ranges_end_with_their_round)
{
    open_with(13, 7);
    fill(1);
    sp_learner_begin(&learner);
    give_range(10, 20);
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    sp_learner_begin(&learner);
    ck_assert_uint_eq(learner.given, 0);
    give_range(0, 10);
    ck_assert_uint_eq(learner.given, 10);
    give_range(10, 20);
    ck_assert_uint_eq(learner.given, 20);
    finish();
}
END_TEST

/* A range that is not finite and comes early: nothing happens until those before it are there. Then they count, and the
 * worker abstains exactly from that range on, whatever came after it. */
START_TEST(test_abstention_out_of_order)
{
    struct sp_push push = {0};
    float m[300];

    open_with(290, 10);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    memcpy(m, learner.m, sizeof m);
    fill(2);
    gradient[_i == 0 ? 100 : 199] = _i == 0 ? NAN : -INFINITY;
    sp_learner_begin(&learner);
    give_range(100, 200);
    give_range(200, 300);
    ck_assert(!learner.abstained);
    ck_assert_uint_eq(learner.abstentions, 0);
    ck_assert_mem_eq(learner.m, m, sizeof m);
    give_range(50, 100);
    ck_assert(!learner.abstained);
    give_range(0, 50);
    ck_assert(learner.abstained);
    ck_assert_uint_eq(learner.abstentions, 1);
    ck_assert_uint_eq(learner.given, 100);
    ck_assert_uint_eq(packable(), 0);
    for (int j = 0; j < 100; j++) {
        float kept = (float)BETA1 * m[j], added = (float)(1.0 - BETA1) * gradient[j];

        m[j] = kept + added;
    }
    ck_assert_mem_eq(learner.m, m, sizeof m);
    ck_assert_int_eq(sp_learner_gradient(&learner, 0, 300, gradient), SP_OK); /* nobody looks at it any more */
    ck_assert_uint_eq(learner.abstentions, 1);
    fill(2);
    ck_assert_int_eq(stage(0, 300, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot);
    whole_round(3, SP_PHASE_SIGN, 0.0f);
    ck_assert_uint_eq(learner.abstentions, 1);
    finish();
}
END_TEST

/* One whose turn does not come before the round ends is no abstention. */
START_TEST(test_what_never_had_its_turn_is_no_abstention)
{
    open_with(13, 7);
    fill(1);
    gradient[19] = NAN;
    sp_learner_begin(&learner);
    give_range(10, 20);
    fill(1);
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    ck_assert_uint_eq(learner.abstentions, 0);
    whole_round(2, SP_PHASE_SIGN, 0.0f);
    ck_assert_uint_eq(learner.abstentions, 0);
    finish();
}
END_TEST

/* --- the SGD phase -------------------------------------------------------------------------------------------------
 */

START_TEST(test_momentum_goes_on_through_the_switch)
{
    float m[20], pushed[20];

    open_with(13, 7);
    whole_round(1, SP_PHASE_SGD, 0.0f);
    memcpy(m, learner.m, sizeof m);
    fill(2);
    give();
    for (int j = 0; j < 20; j++) {
        float kept = (float)BETA1 * m[j], added = (float)(1.0 - BETA1) * gradient[j];

        m[j] = kept + added;
    }
    ck_assert_uint_eq(sp_learner_pack(&learner, bulk), 80);
    memcpy(pushed, bulk, sizeof pushed);
    ck_assert_mem_eq(pushed, m, sizeof m);
    finish();
}
END_TEST

START_TEST(test_without_momentum_the_gradient_is_pushed)
{
    open_with(13, 7);
    setup.momentum_after = false;
    ck_assert_int_eq(sp_learner_set_up(&learner, &setup), SP_OK);
    whole_round(1, SP_PHASE_SGD, 0.0f);
    fill(2);
    give();
    (void)sp_learner_pack(&learner, bulk);
    ck_assert_mem_eq(bulk, gradient, 80);
    finish();
}
END_TEST

/* A worker that began with m = 0 in the middle of the job pushes m/(1-beta1^n). */
START_TEST(test_late_start_is_corrected)
{
    struct sp_commit last = {.decay = 1.0f, .next_phase = SP_PHASE_SGD};

    open_with(13, 7);
    sp_learner_replaced(&learner, 40);
    ck_assert_int_eq(sp_learner_commit(&learner, 40, &last, &error), SP_OK);
    for (uint32_t n = 1; n <= 3; n++) {
        float factor = (float)(1.0 / (1.0 - pow(BETA1, n))), pushed[20];

        fill(n);
        sp_learner_begin(&learner);
        ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 0, gradient),
                         SP_OK); /* an empty range is no round */
        ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 20, gradient), SP_OK);
        (void)sp_learner_pack(&learner, bulk);
        memcpy(pushed, bulk, sizeof pushed);
        for (int j = 0; j < 20; j++) {
            ck_assert_float_eq(pushed[j], learner.m[j] * factor);
            if (n == 1)
                ck_assert_double_eq_tol((double)pushed[j], (double)gradient[j], 1e-6);
        }
        ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
        ck_assert_int_eq(commit(0.1f, SP_PHASE_SGD, 0.0f), SP_OK);
    }
    finish();
}
END_TEST

/* The job's start is no such case, nor is a worker that comes back with its momentum. */
START_TEST(test_no_correction_for_the_first_and_the_returned)
{
    struct sp_push push = {0};

    open_with(13, 7);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    ck_assert(learner.has_dot);
    sp_learner_replaced(&learner, 8);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot); /* it is of a round that is long over */
    ck_assert_int_eq(
        sp_learner_commit(&learner, 8, &(struct sp_commit){.decay = 1.0f, .next_phase = SP_PHASE_SGD}, &error), SP_OK);
    fill(9);
    give();
    (void)sp_learner_pack(&learner, bulk);
    ck_assert_mem_eq(bulk, learner.m, 80);
    finish();
}
END_TEST

/* Only rounds whose gradient went into m count for the correction. */
START_TEST(test_correction_counts_rounds_with_a_gradient)
{
    struct sp_commit last = {.decay = 1.0f, .next_phase = SP_PHASE_SGD};
    float pushed[20];

    open_with(13, 7);
    sp_learner_replaced(&learner, 5);
    ck_assert_int_eq(sp_learner_commit(&learner, 5, &last, &error), SP_OK);
    fill(6);
    gradient[0] = NAN;
    give();
    fill(6);
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SGD, 0.0f), SP_OK);
    give();
    (void)sp_learner_pack(&learner, bulk);
    memcpy(pushed, bulk, sizeof pushed);
    for (int j = 0; j < 20; j++)
        ck_assert_double_eq_tol((double)pushed[j], (double)gradient[j], 1e-6);
    finish();
}
END_TEST

/* --- updates and commits that do not fit ---------------------------------------------------------------------------
 */

START_TEST(test_updates_out_of_order)
{
    const uint32_t chunk = SP_CHUNK_SIGNS;
    const struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .round = 1, .count = SP_CHUNK_SIGNS, .bulk_bytes = SP_BULK_BYTES_MAX}};
    struct sp_message wrong[8];

    open_with(2ull * SP_CHUNK_SIGNS, 100);
    for (int i = 0; i < 8; i++)
        wrong[i] = message;
    wrong[0].frame.round = 2;
    wrong[1].frame.round = 0;
    wrong[2].frame.first = chunk; /* the second before the first */
    wrong[3].frame.bulk_bytes--;
    wrong[4].frame.count = 64; /* a short chunk that is not the last */
    wrong[4].frame.bulk_bytes = 8;
    wrong[5].frame.flags = SP_FRAME_LAST;
    wrong[6].frame.flags = SP_FRAME_FULL; /* of a section that this round does not have */
    wrong[7].frame.flags = SP_FRAME_BUFFERS;
    for (int i = 0; i < 8; i++) {
        ck_assert_ptr_null(sp_learner_place(&learner, &wrong[i], &error));
        ck_assert_int_eq(error.code, SP_E_PROTOCOL);
    }
    ck_assert_int_eq(stage(0, chunk, gradient), SP_OK);
    ck_assert_int_eq(stage(2ull * chunk, 100, gradient), SP_E_PROTOCOL);
    ck_assert_int_eq(stage(chunk, chunk, gradient), SP_OK);
    ck_assert_int_eq(stage(2ull * chunk, 101, gradient), SP_E_PROTOCOL); /* beyond the layout */
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_E_PROTOCOL);  /* 100 coordinates are missing */
    ck_assert_uint_eq(learner.round, 0);
    ck_assert_int_eq(stage(2ull * chunk, 100, gradient), SP_OK);
    ck_assert_int_eq(stage(2ull * chunk, 100, gradient), SP_E_PROTOCOL); /* again */
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    finish();
}
END_TEST

/* The server collects a round anew if nobody is left to finish it: its first chunk begins the update again. */
START_TEST(test_update_begins_again)
{
    const uint32_t chunk = SP_CHUNK_SIGNS;
    float *other;
    float before;

    open_with(SP_CHUNK_SIGNS, 100);
    other = malloc((chunk + 100) * sizeof *other);
    ck_assert_ptr_nonnull(other);
    for (uint32_t j = 0; j < chunk + 100; j++) {
        gradient[j] = 1.0f;
        other[j] = -1.0f;
    }
    before = learner.theta[7];
    ck_assert_int_eq(stage(0, chunk, gradient), SP_OK);
    ck_assert_int_eq(stage(0, chunk, other), SP_OK);
    ck_assert_int_eq(stage(chunk, 100, other), SP_OK);
    ck_assert_int_eq(commit(0.125f, SP_PHASE_SIGN, 0.0f), SP_OK);
    ck_assert_float_eq(learner.theta[7], before + 0.125f);
    free(other);
    finish();
}
END_TEST

START_TEST(test_staged_chunks_are_dropped_with_the_connection)
{
    open_with(2ull * SP_CHUNK_SIGNS - 50, 50);
    ck_assert_int_eq(stage(0, SP_CHUNK_SIGNS, gradient), SP_OK);
    sp_learner_replaced(&learner, 4);
    ck_assert_int_eq(stage(SP_CHUNK_SIGNS, SP_CHUNK_SIGNS, gradient), SP_E_PROTOCOL);
    ck_assert_int_eq(stage(0, SP_CHUNK_SIGNS, gradient), SP_OK);
    finish();
}
END_TEST

START_TEST(test_commits_that_do_not_fit)
{
    float rates[2] = {0.5f, 0.25f};
    struct sp_commit c = {.decay = 1.0f, .rates = rates};
    float before[20];

    open_with(13, 7);
    for (int j = 0; j < 20; j++)
        gradient[j] = 1.0f;
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(sp_learner_commit(&learner, 2, &c, &error), SP_E_PROTOCOL);
    c.rates_count = 3;
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_E_PROTOCOL);
    c.rates_count = 2;
    c.decays = rates;
    c.decays_count = 1;
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_E_PROTOCOL);
    c.decays = NULL;
    c.decays_count = 0;
    memcpy(before, learner.theta, sizeof before);
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_OK);
    ck_assert_float_eq(learner.theta[12], before[12] - 0.5f);
    ck_assert_float_eq(learner.theta[13], before[13] - 0.25f);
    /* The same round again says only what is next. */
    memcpy(before, learner.theta, sizeof before);
    c.next_phase = SP_PHASE_SGD;
    c.next_sigma = 0.75f;
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_OK);
    ck_assert_mem_eq(learner.theta, before, sizeof before);
    ck_assert_int_eq(learner.phase, SP_PHASE_SGD);
    ck_assert_float_eq(learner.sigma, 0.75f);
    finish();
}
END_TEST

/* A server that repeats a COMMIT, even with another phase, makes the round begin anew; it does not make us fall over
 * what was begun or staged before. */
START_TEST(test_commit_of_the_present_round)
{
    struct sp_commit again = {.rate = 0.125f, .decay = 1.0f, .next_phase = SP_PHASE_SIGN};

    open_with(100, 1);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &again, &error), SP_OK);
    sp_learner_begin(&learner);
    ck_assert_int_eq(stage(0, (uint32_t)layout.coordinates, gradient), SP_OK);
    again.next_phase = SP_PHASE_SGD;
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &again, &error), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SGD, 0.0f), SP_E_PROTOCOL);
    finish();
}
END_TEST

/* The digest is of the weights before the round; with another nothing is applied. */
START_TEST(test_digest_mismatch)
{
    struct sp_commit c = {.rate = 0.5f, .decay = 1.0f, .has_digest = true};
    float before[20];

    open_with(13, 7);
    memcpy(before, learner.theta, sizeof before);
    c.digest = sp_weights_digest(before, 20) ^ 1;
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_E_MISMATCH);
    ck_assert_mem_eq(learner.theta, before, sizeof before);
    ck_assert_uint_eq(learner.round, 0);
    c.digest ^= 1;
    ck_assert_int_eq(sp_learner_commit(&learner, 1, &c, &error), SP_OK);
    ck_assert_mem_ne(learner.theta, before, sizeof before);
    finish();
}
END_TEST

/* A round that goes on without this worker (it was too slow): the update applies, there is no dot, its half-given
 * gradient is done with. */
START_TEST(test_commit_before_the_gradient_is_given)
{
    struct sp_push push = {0};

    open_with(13, 7);
    whole_round(1, SP_PHASE_SIGN, 0.0f);
    fill(2);
    sp_learner_begin(&learner);
    ck_assert_int_eq(sp_learner_gradient(&learner, learner.given, 5, gradient), SP_OK);
    ck_assert_int_eq(stage(0, 20, gradient), SP_OK);
    ck_assert_int_eq(commit(0.1f, SP_PHASE_SIGN, 0.0f), SP_OK);
    sp_learner_dot(&learner, &push);
    ck_assert(!push.has_dot);
    whole_round(3, SP_PHASE_SIGN, 0.0f);
    sp_learner_dot(&learner, &push);
    ck_assert(push.has_dot);
    finish();
}
END_TEST

static void add_orders(TCase *cases)
{
    tcase_add_test(cases, test_chunks_leave_when_all_before_them_is_there);
    tcase_add_test(cases, test_as_many_ranges_as_coordinates);
    tcase_add_test(cases, test_overlaps_are_refused);
    tcase_add_test(cases, test_ranges_end_with_their_round);
    tcase_add_loop_test(cases, test_abstention_out_of_order, 0, 2);
    tcase_add_test(cases, test_what_never_had_its_turn_is_no_abstention);
}

int main(void)
{
    Suite *all = suite_create("learner");
    TCase *cases = tcase_create("learner");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_round_by_hand);
    tcase_add_test(cases, test_sketch);
    tcase_add_test(cases, test_ranges_do_not_matter);
    tcase_add_test(cases, test_chunks_leave_early);
    tcase_add_test(cases, test_first_round_waits_for_the_rms);
    tcase_add_test(cases, test_absolute_dither_waits_for_nothing);
    tcase_add_test(cases, test_dither_without_a_gradient);
    tcase_add_test(cases, test_no_drift_without_a_gradient);
    tcase_add_loop_test(cases, test_abstention_at_the_start, 0, 2);
    tcase_add_test(cases, test_abstention_in_the_middle);
    tcase_add_loop_test(cases, test_abstention_by_blocks, 0, 2);
    tcase_add_test(cases, test_signs_packed_ahead);
    tcase_add_test(cases, test_abstention_keeps_the_rms);
    add_orders(cases);
    tcase_add_test(cases, test_momentum_goes_on_through_the_switch);
    tcase_add_test(cases, test_without_momentum_the_gradient_is_pushed);
    tcase_add_test(cases, test_late_start_is_corrected);
    tcase_add_test(cases, test_no_correction_for_the_first_and_the_returned);
    tcase_add_test(cases, test_correction_counts_rounds_with_a_gradient);
    tcase_add_test(cases, test_updates_out_of_order);
    tcase_add_test(cases, test_update_begins_again);
    tcase_add_test(cases, test_staged_chunks_are_dropped_with_the_connection);
    tcase_add_test(cases, test_commits_that_do_not_fit);
    tcase_add_test(cases, test_commit_of_the_present_round);
    tcase_add_test(cases, test_digest_mismatch);
    tcase_add_test(cases, test_commit_before_the_gradient_is_given);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
