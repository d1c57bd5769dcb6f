/* What people are told before a switch comes: how near it is and what it would choose; and how late each worker is. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t small[] = {4, 9, 0};
static const float ramp[13] = {3, -4, 0, 0, 1, -2, 2, 4, 0, 0, 0, 0, 0};
static struct drive d;
static struct sp_outlook outlook;

static void open_job(const char *one, const char *two, const char *three)
{
    drive_open(&d, (const char *[]){"optimizer.beta2=0.5", "train.rounds=200", one, two, three, NULL}, small);
    sp_round_outlook(d.round, &outlook);
    ck_assert_str_eq(outlook.words, "the job has not started");
    (void)drive_join(&d, 0);
}

/* A round with a loss, and with statistics A = 2 and B = 4 of the round before. */
static void full_round(double loss)
{
    struct sp_push push = {.has_scalars = true, .loss = loss, .gradient_norm2 = 4.0, .examples = 16};

    push.has_sketch = true;
    push.sketch[3] = 2.0f;
    ck_assert_int_eq(drive_push_scalars(&d, 1, ramp, 2.0, &push), SP_OK);
    sp_round_outlook(d.round, &outlook);
}

static void expect(bool pending, enum sp_phase to, const char *words)
{
    ck_assert_str_eq(outlook.words, words);
    ck_assert_int_eq(outlook.pending, pending);
    ck_assert_int_eq(outlook.to, to);
}

/* 4000 examples a window: batches of 80 make windows of 50 rounds. */
START_TEST(test_auto)
{
    open_job("optimizer.switch.when=auto", "train.batch=80", "optimizer.sgd.lambda=ratio");
    full_round(1.0);
    expect(true, SP_PHASE_SGD,
           "lambda is not known before the statistics of some rounds; no window of 50 rounds is over yet; not before "
           "round 20; at round 140 in any case");
    ck_assert_double_nan(outlook.lambda);
    for (uint32_t t = 2; t <= 50; t++)
        full_round(0.5);
    /* gamma * A / B */
    expect(true, SP_PHASE_SGD,
           "would switch at lambda 0.0312; flat windows 0 of 2, last gain 100 %, bar 1 %; at round 140 in any case");
    ck_assert_double_eq_tol(outlook.lambda, 0.03125, 1e-9);
    ck_assert(!outlook.about);
    for (uint32_t t = 51; t <= 100; t++)
        full_round(0.6);
    expect(true, SP_PHASE_SGD,
           "would switch at lambda 0.0312; flat windows 1 of 2, last gain -18.4 %, bar 1 %; at round 140 in any case");
    ck_assert_uint_eq(outlook.numbers.flat, 1);
    for (uint32_t t = 101; t <= 150; t++)
        full_round(0.6);
    expect(false, SP_PHASE_SGD, "the SGD phase is the last one");
    drive_close(&d);
}
END_TEST

/* What was said is what the switch then does. */
START_TEST(test_foretold)
{
    double lambda;

    open_job("optimizer.switch.when=manual", "optimizer.sgd.lambda=denoised", NULL);
    for (uint32_t t = 1; t <= 10; t++)
        full_round(1.0 / t);
    expect(true, SP_PHASE_SGD,
           "would switch at lambda 0.0312; waits for 'signpost switch' (optimizer.switch.when: manual)");
    lambda = outlook.lambda;
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    full_round(1.0);
    ck_assert_double_eq_tol(drive_last(&d, SP_ACTION_EVENT)->action.event.lambda, lambda, 1e-12);
    drive_close(&d);
}
END_TEST

START_TEST(test_guess_of_a_norm_rule)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=150", "optimizer.sgd.lambda=norm_tensor");
    full_round(1.0);
    full_round(1.0);
    ck_assert(outlook.about);
    ck_assert_double_gt(outlook.lambda, 0.0);
    ck_assert_ptr_nonnull(strstr(outlook.words, "would switch at lambda about "));
    ck_assert_ptr_nonnull(strstr(outlook.words, "; comes after round 150 (optimizer.switch), in 148 rounds"));
    ck_assert_uint_eq(outlook.latest, 150);
    drive_close(&d);
}
END_TEST

START_TEST(test_swats)
{
    open_job("optimizer.switch.when=swats", "optimizer.switch.patience=9", NULL);
    for (uint32_t t = 1; t <= 7; t++)
        full_round(1.0);
    ck_assert_ptr_nonnull(strstr(outlook.words, " of the average ("));
    ck_assert_ptr_nonnull(strstr(outlook.words, ") for 6 of 9 rounds; not before round 20"));
    drive_close(&d);
}
END_TEST

START_TEST(test_to_margin_and_until)
{
    open_job("optimizer.switch.to=margin", "optimizer.switch.when=manual", "optimizer.margin.until=0.5");
    full_round(1.0);
    expect(true, SP_PHASE_MARGIN,
           "would switch to margin updates at gamma 0.25; waits for 'signpost switch' (optimizer.switch.when: manual)");
    ck_assert_double_nan(outlook.lambda);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    full_round(1.0);
    ck_assert_ptr_nonnull(strstr(outlook.words, "; comes after round 100 (optimizer.margin.until), in 98 rounds"));
    ck_assert_int_eq(outlook.to, SP_PHASE_SGD);
    drive_close(&d);
}
END_TEST

START_TEST(test_never)
{
    static const struct {
        const char *set, *words;
    } cases[] = {{"optimizer.switch.when=never", "never (optimizer.switch.when)"},
                 {"optimizer.mode=sgd", "none: optimizer.mode is not hybrid, and the job has one phase"},
                 {"optimizer.mode=adam", "none: optimizer.mode is not hybrid, and the job has one phase"}};

    drive_open(&d, (const char *[]){cases[_i].set, "train.rounds=2", NULL}, small);
    (void)drive_join(&d, 0);
    full_round(1.0);
    expect(false, SP_PHASE_SGD, cases[_i].words);
    full_round(1.0);
    ck_assert(!outlook.pending);
    drive_close(&d);
}
END_TEST

START_TEST(test_dry_run)
{
    open_job("optimizer.switch.when=manual", "optimizer.switch.dry_run=true", "optimizer.sgd.lr=0.5");
    full_round(1.0);
    expect(true, SP_PHASE_SGD,
           "would switch at lambda 0.5; waits for 'signpost switch' (optimizer.switch.when: manual); a dry run "
           "(optimizer.switch.dry_run): it is only said");
    drive_close(&d);
}
END_TEST

/* --- who is late ---------------------------------------------------------------------------------------------------
 */

START_TEST(test_latency)
{
    struct sp_view view;

    drive_open(&d, (const char *[]){"workers=3", "train.rounds=200", NULL}, small);
    ck_assert_uint_eq(drive_join_all(&d, 3), 1);
    drive_view(&d, &view);
    ck_assert_double_eq(view.slots[2].latency_ms, 0.0);
    for (unsigned t = 1; t <= 100; t++) {
        drive_tick(&d, 10);
        ck_assert_int_eq(drive_push(&d, 2, ramp), SP_OK);
        drive_tick(&d, t % 2 == 0 ? 1 : 2); /* 11.5 on average */
        ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
        drive_tick(&d, 30);
        ck_assert_int_eq(drive_push(&d, 3, ramp), SP_OK);
    }
    drive_view(&d, &view);
    ck_assert_double_eq_tol(view.slots[1].latency_ms, 10.0, 1e-9);
    ck_assert_double_eq_tol(view.slots[0].latency_ms, 11.5, 0.1);
    ck_assert_double_eq_tol(view.slots[2].latency_ms, 41.5, 0.1);
    ck_assert_uint_eq(view.slots[2].last, 100);
    ck_assert_uint_eq(view.slots[0].last + view.slots[1].last, 0);
    /* Whoever takes the slot is not blamed for who had it before. */
    drive_left(&d, 3);
    (void)drive_join(&d, 2);
    drive_view(&d, &view);
    ck_assert_double_eq(view.slots[2].latency_ms, 0.0);
    drive_close(&d);
}
END_TEST

/* Of a push of many chunks, those that nobody holds back: the others' do not wait for a slow one's. */
START_TEST(test_latency_of_long_pushes)
{
    const uint64_t tensors[] = {6 * SP_CHUNK_SIGNS + 1000, 0};
    float *values = calloc((size_t)tensors[0], sizeof *values);
    struct sp_view view;

    drive_open(&d, (const char *[]){"workers=2", "train.rounds=9", NULL}, tensors);
    ck_assert_uint_eq(drive_join_all(&d, 2), 1);
    ck_assert_uint_eq(drive_chunks(&d), 7);
    for (uint32_t k = 0; k < 7; k++) {
        for (uint32_t peer = 1; peer <= 2; peer++) { /* the second one's first chunk takes its time */
            struct drive_chunk chunk = {.round = 1, .k = k, .values = values};

            if (peer == 2 && k == 0)
                continue;
            if (peer == 2)
                chunk.k = k - 1;
            drive_tick(&d, peer == 2 ? 20 : 1);
            ck_assert_int_eq(drive_push_chunk(&d, peer, &chunk), SP_OK);
        }
    }
    drive_view(&d, &view);
    ck_assert_double_eq(view.slots[0].latency_ms, 44.0);
    ck_assert_double_eq(view.slots[1].latency_ms, 85.0);
    free(values);
    drive_close(&d);
}
END_TEST

TCase *round_outlook_cases(void)
{
    TCase *cases = tcase_create("outlook");

    tcase_add_test(cases, test_auto);
    tcase_add_test(cases, test_foretold);
    tcase_add_test(cases, test_guess_of_a_norm_rule);
    tcase_add_test(cases, test_swats);
    tcase_add_test(cases, test_to_margin_and_until);
    tcase_add_loop_test(cases, test_never, 0, 3);
    tcase_add_test(cases, test_dry_run);
    tcase_add_test(cases, test_latency);
    tcase_add_test(cases, test_latency_of_long_pushes);
    return cases;
}
