/* Buffers: running statistics, which are averaged now and then and are no part of the weights. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include "common/weights.h"

#include <math.h>

static const struct drive_tensor model[] = {{"w", 20, SP_TENSOR_DECAY},
                                            {"running_mean", 3, SP_TENSOR_BUFFER},
                                            {"running_var", 2, SP_TENSOR_BUFFER},
                                            {.count = 0}};
static const float up[20] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static void open_buffers(uint32_t workers, const char *w, const char *setting)
{
    drive_open_model(&d,
                     (const char *[]){w, "train.batch=40", "train.evaluate=1", "optimizer.switch.when=at",
                                      "optimizer.switch.step=5", "optimizer.sgd.lr=0.5", setting, NULL},
                     model);
    d.examples = 160ull * workers; /* 4 rounds an epoch */
    d.test_examples = 10;
    ck_assert_uint_eq(drive_join_all(&d, workers), 1);
}

static void push_with(uint32_t peer, const float *buffers)
{
    d.own_buffers = buffers;
    ck_assert_int_eq(drive_push(&d, peer, up), SP_OK);
}

/* A round of one worker, and its evaluation. */
static void one_round(const float *buffers)
{
    push_with(1, buffers);
    if (drive_to(&d, SP_ACTION_EVAL, 1) != NULL)
        ck_assert_int_eq(drive_score(&d, 1, d.committed, 0, 1, 10), SP_OK);
}

static void expect_buffers(const float *expected)
{
    ck_assert_mem_eq(look().buffers, expected, 5 * sizeof *expected);
    ck_assert_mem_eq(d.buffers, expected, 5 * sizeof *expected);
}

/* In rounds after which the weights are evaluated, in the last one, and in the first of a phase: 4, 8; 10; 6. */
START_TEST(test_rounds_that_average_them)
{
    float values[5];

    open_buffers(1, "workers=1", NULL);
    for (uint32_t t = 1; t <= 10; t++) {
        bool due = t == 4 || t == 6 || t == 8 || t == 10;
        float before[5];

        memcpy(before, d.buffers, sizeof before);
        for (unsigned j = 0; j < 5; j++)
            values[j] = (float)(100 * t + j);
        ck_assert_int_eq(d.form.buffers, due);
        drive_clear(&d);
        one_round(values);
        ck_assert_uint_eq(d.committed, t);
        expect_buffers(due ? values : before);
        ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), due ? 2 : 1);
        ck_assert(t < 10 || !drive_last(&d, SP_ACTION_COMMIT)->action.commit.next_buffers);
    }
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    drive_close(&d);
}
END_TEST

/* Round 8 would be one of them, but the job ends with 7: nothing is announced of a round that does not come. */
START_TEST(test_nothing_after_the_last_round)
{
    open_buffers(1, "workers=1", "train.rounds=7");
    for (uint32_t t = 1; t <= 7; t++) {
        drive_clear(&d);
        one_round(up);
    }
    ck_assert(drive_last(&d, SP_ACTION_COMMIT)->action.commit.last);
    ck_assert(!drive_last(&d, SP_ACTION_COMMIT)->action.commit.next_buffers);
    drive_close(&d);
}
END_TEST

/* Without a test set: the first round of a phase, and the last one. */
START_TEST(test_rounds_without_evaluations)
{
    drive_open_model(
        &d, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=5", "optimizer.sgd.lr=0.5", NULL},
        model);
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 10; t++) {
        ck_assert_int_eq(d.form.buffers, t == 6 || t == 10);
        push_with(1, up);
    }
    drive_close(&d);
}
END_TEST

/* They begin as the worker has them that gives the initial weights; who joins gets them with the weights, then and
 * later. The driver compares them with its own when it sees WEIGHTS. */
START_TEST(test_initial_and_late)
{
    const float later[5] = {1, 2, 3, 4, 5};
    float initial[5];
    uint32_t late;

    for (unsigned j = 0; j < 5; j++)
        initial[j] = drive_buffer(j);
    open_buffers(2, "workers=2", "train.evaluate=0");
    expect_buffers(initial);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, 2));
    for (uint32_t t = 1; t <= 6; t++) {
        push_with(1, later);
        push_with(2, later);
    }
    expect_buffers(later);
    drive_left(&d, 2);
    late = drive_return(&d, 2);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, late));
    ck_assert_int_eq(drive_ready(&d, late), SP_OK); /* by the digest of the weights alone */
    drive_close(&d);
}
END_TEST

static void rounds_until(uint32_t t, uint32_t workers)
{
    while (d.committed < t) {
        for (uint32_t peer = 1; peer <= workers; peer++)
            push_with(peer, NULL);
    }
    drive_clear(&d);
}

/* Their mean, in double, over those who gave them: one leaves, or abstains, before that. Nobody's leave them alone. */
START_TEST(test_averages)
{
    const float a[5] = {1, 2, 3, 0.1f, 0}, b[5] = {4, 2, 0.3f, 7, 1e8f}, c[5] = {1, 1, 0.7f, 0.2f, -1};
    float expected[5], before[5];
    struct drive_chunk chunk = {.round = 4, .values = up};

    open_buffers(3, "workers=3", NULL);
    rounds_until(3, 3);
    ck_assert(d.form.buffers);
    memcpy(before, d.buffers, sizeof before);
    ck_assert_int_eq(drive_push_chunk(&d, 2, &chunk), SP_OK);
    if (_i == 0)
        push_with(2, b);
    else if (_i == 1)
        drive_left(&d, 2);
    else
        ck_assert_int_eq(drive_abstain(&d, 2, 4), SP_OK);
    if (_i < 3) {
        push_with(1, a);
        push_with(3, c);
    } else {
        ck_assert_int_eq(drive_abstain(&d, 1, 4), SP_OK);
        ck_assert_int_eq(drive_abstain(&d, 3, 4), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 4);
    for (unsigned j = 0; j < 5; j++) {
        double sum = (double)a[j] + (_i == 0 ? (double)b[j] : 0.0) + (double)c[j];

        expected[j] = (float)(sum / (_i == 0 ? 3.0 : 2.0));
    }
    expect_buffers(_i == 3 ? before : expected);
    if (_i == 3)
        ck_assert_mem_eq(drive_last(&d, SP_ACTION_UPDATE)->bulk, before, sizeof before);
    drive_close(&d);
}
END_TEST

START_TEST(test_averages_that_are_not_finite)
{
    const float bad[5] = {1, 2, NAN, 4, 5}, good[5] = {1, 2, 3, 4, 5};

    open_buffers(2, "workers=2", NULL);
    rounds_until(3, 2);
    push_with(1, bad);
    ck_assert(drive_said(&d, "abstains from round 4 from chunk 1 on: values that are not finite"));
    push_with(2, good);
    ck_assert_uint_eq(d.committed, 4);
    expect_buffers(good);
    drive_close(&d);
}
END_TEST

/* Digests are of the weights: those every hundred rounds too, which the driver compares with its own. */
START_TEST(test_outside_the_digest)
{
    float values[5] = {0};

    drive_open_model(&d, (const char *[]){"train.rounds=201", "train.batch=160", NULL}, model);
    d.test_examples = 10;
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 201; t++) {
        values[0] = (float)t;
        ck_assert(d.form.buffers); /* an epoch a round */
        drive_clear(&d);
        one_round(values);
        ck_assert_int_eq(drive_last(&d, SP_ACTION_COMMIT)->action.commit.has_digest, t % 100 == 0);
    }
    ck_assert_uint_eq(d.committed, 201);
    drive_close(&d);
}
END_TEST

/* --- the initial ones ----------------------------------------------------------------------------------------------
 */

static int give(uint32_t peer, uint32_t k, float *theta, float *buffers)
{
    struct sp_chunk chunk = sp_chunk_at(&d.layout, &sp_weights_form, k);
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = chunk.first, .flags = chunk.flags}};
    struct sp_error error = {0};
    void *to = NULL;
    int rc;

    message.frame.count = chunk.count;
    message.frame.bulk_bytes = (uint32_t)chunk.bytes;
    message.digest = sp_weights_digest(theta, d.layout.coordinates);
    rc = sp_round_place(d.round, peer, &message.frame, &to, &error);
    if (rc != SP_OK)
        return rc;
    memcpy(to, k == 0 ? theta : buffers, chunk.bytes);
    return sp_round_weights(d.round, peer, &message, d.now_ms, &error);
}

START_TEST(test_initial_buffers_that_are_not_finite)
{
    float theta[20] = {0}, buffers[5] = {1, 2, 3, 4, INFINITY};

    drive_open_model(&d, (const char *[]){NULL}, model);
    ck_assert_uint_eq(drive_hello(&d, 0), 1);
    ck_assert_int_eq(give(1, 1, theta, buffers), SP_E_PROTOCOL); /* the weights come first */
    ck_assert_int_eq(give(1, 0, theta, buffers), SP_OK);
    ck_assert_int_eq(give(1, 0, theta, buffers), SP_E_PROTOCOL);
    ck_assert_int_eq(give(1, 1, theta, buffers), SP_E_RANGE);
    /* It is sent away now; what it may have sent since is no reason to stumble. */
    ck_assert_int_eq(give(1, 1, theta, buffers), SP_E_PROTOCOL);
    ck_assert_ptr_null(look().theta);
    drive_close(&d);
}
END_TEST

/* For an empty frame no place is asked; it must not count as the next chunk. */
START_TEST(test_initial_weights_without_values)
{
    float theta[20] = {0}, buffers[5] = {0};
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS}};
    struct sp_error error = {0};

    drive_open_model(&d, (const char *[]){NULL}, model);
    ck_assert_uint_eq(drive_hello(&d, 0), 1);
    ck_assert_int_eq(sp_round_weights(d.round, 1, &message, d.now_ms, &error), SP_E_PROTOCOL);
    message.frame.flags = SP_FRAME_LAST;
    message.digest = sp_weights_digest(theta, d.layout.coordinates);
    ck_assert_int_eq(sp_round_weights(d.round, 1, &message, d.now_ms, &error), SP_E_PROTOCOL);
    ck_assert_ptr_null(look().theta);
    ck_assert_int_eq(give(1, 0, theta, buffers), SP_OK);
    ck_assert_int_eq(give(1, 1, theta, buffers), SP_OK);
    ck_assert_ptr_nonnull(look().theta);
    drive_close(&d);
}
END_TEST

TCase *round_buffers_cases(void)
{
    TCase *cases = tcase_create("buffers");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_rounds_that_average_them);
    tcase_add_test(cases, test_nothing_after_the_last_round);
    tcase_add_test(cases, test_rounds_without_evaluations);
    tcase_add_test(cases, test_initial_and_late);
    tcase_add_loop_test(cases, test_averages, 0, 4);
    tcase_add_test(cases, test_averages_that_are_not_finite);
    tcase_add_test(cases, test_outside_the_digest);
    tcase_add_test(cases, test_initial_buffers_that_are_not_finite);
    tcase_add_test(cases, test_initial_weights_without_values);
    return cases;
}
