/* What a COMMIT says: rates, decay, dither, phase; the switch and its rates; the statistics on the way there. */
#include "drive.h"
#include "round_cases.h"

#include "common/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t small[] = {4, 9, 0};
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

/* Of the last switch; 0 and "" if there was none. */
static uint32_t switch_round(void)
{
    struct sp_view view = look();

    return view.switches_count > 0 ? view.switches[view.switches_count - 1].round : 0;
}

static const char *switch_reason(void)
{
    struct sp_view view = look();

    return view.switches_count > 0 ? view.switches[view.switches_count - 1].reason : "";
}

static const struct drive_entry *last_commit(void)
{
    return drive_last(&d, SP_ACTION_COMMIT);
}

static const struct sp_report *last_report(void)
{
    return &drive_last(&d, SP_ACTION_REPORT)->action.report;
}

static void open_settings(uint32_t workers, const char *const *settings)
{
    drive_open(&d, settings, small);
    ck_assert_uint_eq(d.job.workers, workers);
    ck_assert_uint_eq(drive_join_all(&d, workers), 1);
}

static const float ramp[13] = {3, -4, 0, 0, 1, -2, 2, 4, 0, 0, 0, 0, 0}; /* norms 5 and 5 */

static void all_push(const float *values)
{
    for (uint32_t peer = 1; peer <= d.job.workers; peer++)
        ck_assert_int_eq(drive_push(&d, peer, values), SP_OK);
}

/* --- sign rounds ---------------------------------------------------------------------------------------------------
 */

START_TEST(test_rates_and_dither_of_sign_rounds)
{
    open_settings(1, (const char *[]){"optimizer.sign.lr=0.3", "optimizer.sign.schedule=linear", "train.rounds=7",
                                      "optimizer.dither.sigma0=0.7", "optimizer.dither.schedule=cosine", NULL});
    ck_assert_uint_eq(last_commit()->action.round, 0);
    ck_assert_float_eq(last_commit()->action.commit.next_sigma, 0.7f);
    ck_assert_float_eq(last_commit()->action.commit.decay, 1.0f);
    for (uint32_t t = 1; t <= 7; t++) {
        const struct sp_commit *c;

        ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
        c = &last_commit()->action.commit;
        ck_assert_uint_eq(last_commit()->action.round, t);
        ck_assert_float_eq(c->rate, (float)(0.3 * (double)(8 - t) / 7.0));
        ck_assert_float_eq(c->decay, 1.0f);
        ck_assert_uint_eq(c->rates_count, 0);
        ck_assert_int_eq(c->last, t == 7);
        ck_assert_uint_eq(c->next_phase, SP_PHASE_SIGN);
        ck_assert_float_eq(c->next_sigma, t == 7 ? 0.0f : (float)(0.7 * (0.5 * (1.0 + cos(M_PI * t / 7.0)))));
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 1);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    ck_assert_uint_eq(look().float32_bytes, 7 * 13 * 4);
    drive_close(&d);
}
END_TEST

START_TEST(test_weight_decay_of_sign_rounds)
{
    float expected;

    open_settings(1, (const char *[]){"optimizer.weight_decay=0.5", NULL});
    ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
    ck_assert_float_eq(last_commit()->action.commit.decay, 0.96875f);
    /* The first tensor decays, the second does not. Coordinate 0 has sign +1, coordinate 4 too. */
    expected = drive_weight(0) * 0.96875f;
    ck_assert_float_eq(d.theta[0], expected - 0.0625f);
    ck_assert_float_eq(d.theta[4], drive_weight(4) - 0.0625f);
    drive_close(&d);
}
END_TEST

START_TEST(test_digest_every_hundred_rounds)
{
    open_settings(1, (const char *[]){"train.rounds=250", NULL});
    for (uint32_t t = 1; t <= 250; t++) {
        ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK); /* the twin compares the digest */
        ck_assert_int_eq(last_commit()->action.commit.has_digest, t == 100 || t == 200);
    }
    drive_close(&d);
}
END_TEST

/* --- the switch ----------------------------------------------------------------------------------------------------
 */

static void expect_rate(double expected, float is)
{
    ck_assert_double_eq_tol((double)is, expected, 1e-7 * expected);
}

/* Switch after round 3 of 8; the rate of that round is 0.5 * 6/8, the factors from there on 5/6, 4/6.. */
START_TEST(test_norm_tensor_rates_come_with_the_first_round)
{
    const float values[2][13] = {{6, -8, 0, 0, 4, -8, 8, 16, 0, 0, 0, 0, 0}, {0}};
    const double step = 0.8 * 0.375;

    open_settings(2, (const char *[]){"workers=2", "train.rounds=8", "optimizer.sign.lr=0.5",
                                      "optimizer.sign.schedule=linear", "optimizer.switch.when=at",
                                      "optimizer.switch.step=3", "optimizer.sgd.scale=0.8", "train.report=1", NULL});
    for (uint32_t t = 1; t <= 3; t++) {
        ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN);
        all_push(ramp);
        ck_assert_uint_eq(last_commit()->action.commit.next_phase, t == 3 ? SP_PHASE_SGD : SP_PHASE_SIGN);
    }
    ck_assert_uint_eq(switch_round(), 3);
    ck_assert_str_eq(switch_reason(), "at: round 3, as the job file says");
    ck_assert(drive_said(&d,
                         "switch from sign updates to SGD after round 3: at: round 3, as the job file says; the rate "
                         "(norm_tensor) comes with the first SGD round"));
    /* The mean is {3, -4, 0, 0} and {2, -4, 4, 8, 0..}: norms 5 and 10, together sqrt(125). */
    for (uint32_t t = 4; t <= 8; t++) {
        const struct drive_entry *entry;
        double factor = (9.0 - t) / 6.0;

        ck_assert_int_eq(drive_push(&d, 1, values[0]), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, values[1]), SP_OK);
        entry = last_commit();
        ck_assert_uint_eq(entry->action.round, t);
        ck_assert_uint_eq(entry->action.commit.rates_count, 2);
        ck_assert_uint_eq(entry->action.commit.decays_count, 0);
        expect_rate(step * 2.0 / 5.0 * factor, entry->rates[0]);
        expect_rate(step * 3.0 / 10.0 * factor, entry->rates[1]);
        expect_rate(step * sqrt(13.0) / sqrt(125.0) * factor, entry->action.commit.rate);
        expect_rate(step * 3.0 / 10.0 * factor, (float)last_report()->rate); /* of the largest tensor */
        ck_assert_int_eq(last_report()->phase, SP_PHASE_SGD);
    }
    ck_assert_float_eq(look().rates[0], (float)(step * 2.0 / (5.0 + 1e-12)));
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    drive_close(&d);
}
END_TEST

START_TEST(test_norm_rate_is_one_for_all)
{
    open_settings(1, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.fraction=0.2",
                                      "optimizer.sgd.lambda=norm", "optimizer.sgd.scale=1", NULL});
    for (int t = 1; t <= 3; t++)
        all_push(ramp);
    ck_assert_uint_eq(switch_round(), 2);
    ck_assert_uint_eq(last_commit()->action.commit.rates_count, 0);
    expect_rate(0.0625 * sqrt(13.0) / sqrt(50.0), last_commit()->action.commit.rate);
    ck_assert_ptr_null(look().rates);
    ck_assert_double_eq_tol(look().lambda, 0.0625 * sqrt(13.0) / sqrt(50.0), 1e-12);
    all_push(ramp); /* the schedule is constant, and so is the rate */
    expect_rate(0.0625 * sqrt(13.0) / sqrt(50.0), last_commit()->action.commit.rate);
    drive_close(&d);
}
END_TEST

START_TEST(test_fixed_rate_and_its_schedules)
{
    open_settings(1, (const char *[]){"optimizer.sign.schedule=linear", "optimizer.switch.when=at",
                                      "optimizer.switch.step=5", "optimizer.sgd.lr=0.75",
                                      _i == 0 ? "optimizer.sgd.schedule=continue" : "optimizer.sgd.schedule=constant",
                                      NULL});
    for (int t = 1; t <= 5; t++)
        all_push(ramp);
    ck_assert_double_eq(look().lambda, 0.75); /* known with the switch */
    for (int t = 6; t <= 10; t++) {
        all_push(ramp);
        expect_rate(_i == 0 ? 0.75 * (11.0 - t) / 6.0 : 0.75, last_commit()->action.commit.rate);
        ck_assert_uint_eq(last_commit()->action.commit.rates_count, 0);
    }
    drive_close(&d);
}
END_TEST

START_TEST(test_weight_decay_of_sgd_rounds)
{
    float before;

    open_settings(1, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=1", "optimizer.sgd.scale=1",
                                      "optimizer.weight_decay=0.25", NULL});
    all_push(ramp);
    before = d.theta[0];
    all_push(ramp);
    /* Rates 0.0625 * 2/5 and 0.0625 * 3/5. */
    ck_assert_uint_eq(last_commit()->action.commit.decays_count, 2);
    expect_rate(1.0 - 0.025 * 0.25, last_commit()->decays[0]);
    expect_rate(1.0 - 0.0375 * 0.25, last_commit()->decays[1]);
    before *= last_commit()->decays[0];
    ck_assert_float_eq(d.theta[0], before - last_commit()->rates[0] * 3.0f);
    drive_close(&d);
}
END_TEST

/* Nobody's values, or none but zeros: there is no length to keep the step's by. A rate of step/eps would be used to the
 * job's end. */
START_TEST(test_first_round_without_a_mean)
{
    const float zero[13] = {0};
    float before[13];

    open_settings(1, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=1", "optimizer.sgd.scale=1",
                                      _i == 0 ? "optimizer.sgd.lambda=norm" : "optimizer.sgd.lambda=norm_tensor",
                                      "optimizer.weight_decay=0.25", NULL});
    all_push(ramp);
    memcpy(before, d.theta, sizeof before);
    ck_assert_int_eq(drive_abstain(&d, 1, 2), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_float_eq(last_commit()->action.commit.rate, 0.0f);
    ck_assert_mem_eq(d.theta, before, sizeof before);
    all_push(zero);
    ck_assert_uint_eq(d.committed, 3);
    ck_assert_mem_eq(d.theta, before, sizeof before);
    all_push(ramp);
    expect_rate(0.0625 * sqrt(13.0) / sqrt(50.0), last_commit()->action.commit.rate);
    ck_assert_uint_eq(last_commit()->action.commit.rates_count, _i == 0 ? 0 : 2);
    ck_assert_mem_ne(d.theta, before, sizeof before);
    drive_close(&d);
}
END_TEST

/* 0.95 of 10 rounds is the tenth, after which there is none. */
START_TEST(test_no_switch_after_the_last_round)
{
    open_settings(1, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.fraction=0.95", NULL});
    for (uint32_t t = 1; t <= 10; t++)
        all_push(ramp);
    ck_assert_uint_eq(switch_round(), 0);
    ck_assert_uint_eq(last_commit()->action.commit.next_phase, SP_PHASE_SIGN);
    drive_close(&d);
}
END_TEST

/* --- statistics ----------------------------------------------------------------------------------------------------
 */

/* Loss, norm and a sketch of which two buckets are not 0. */
static struct sp_push scalars_of(double loss, double norm2, float first, float last)
{
    struct sp_push push = {.has_scalars = true, .loss = loss, .gradient_norm2 = norm2, .examples = 16};

    push.has_sketch = true;
    push.sketch[0] = first;
    push.sketch[SP_SKETCH_BUCKETS - 1] = last;
    return push;
}

static void push_with(uint32_t peer, double dot, struct sp_push scalars)
{
    ck_assert_int_eq(drive_push_scalars(&d, peer, ramp, dot, &scalars), SP_OK);
}

static void open_statistics(uint32_t workers)
{
    char w[32];

    (void)snprintf(w, sizeof w, "workers=%u", workers);
    drive_open(&d,
               (const char *[]){w, "train.report=1", "optimizer.beta2=0.5", "optimizer.sign.lr=0.125",
                                "optimizer.sign.schedule=linear", "train.rounds=8", NULL},
               small);
    (void)drive_join_all(&d, workers);
}

START_TEST(test_statistics_are_of_the_round_before)
{
    open_statistics(2);
    push_with(1, 99.0, scalars_of(1.0, 8.0, 1.0f, 0.0f)); /* this dot belongs to no round */
    push_with(2, 99.0, scalars_of(3.0, 4.0, 3.0f, 2.0f));
    ck_assert_double_eq(last_report()->loss, 2.0);
    ck_assert_double_eq(last_report()->estimates.ratio, 0.0); /* nothing is complete yet */
    push_with(1, -0.5, scalars_of(1.0, 100.0, 9.0f, 9.0f));
    push_with(2, 0.25, scalars_of(1.0, 100.0, 9.0f, 9.0f));
    /* Of round 1: A = |-0.125|; mean sketch (2, 1), so B = 5; E = 6; D = 2*5-6 = 4; gamma 0.125 in round 1, 7/64 in 2.
     */
    ck_assert_double_eq_tol(last_report()->estimates.paper, 0.125 * 0.125 / 5.0, 1e-12);
    ck_assert_double_eq_tol(last_report()->estimates.ratio, 7.0 / 64.0 * 0.125 / 5.0, 1e-12);
    ck_assert_double_eq_tol(last_report()->estimates.denoised, 7.0 / 64.0 * 0.125 / 4.0, 1e-12);
    ck_assert_double_eq_tol(last_report()->estimates.noise_scale, 16.0 * 2.0 / 4.0, 1e-9);
    ck_assert_double_eq_tol(last_report()->estimates.stationarity, 0.125, 1e-12);
    drive_close(&d);
}
END_TEST

/* Those who are not in all of push, sketch and dot are left out: 2 sends no sketch, 3 no dot. */
START_TEST(test_statistics_of_those_present)
{
    struct sp_push without = scalars_of(1.0, 50.0, 50.0f, 50.0f);

    open_statistics(4);
    without.has_sketch = false;
    push_with(1, 0.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    push_with(2, 0.0, without);
    push_with(3, 0.0, scalars_of(1.0, 50.0, 50.0f, 50.0f));
    push_with(4, 0.0, scalars_of(1.0, 4.0, 2.0f, 0.0f));
    push_with(1, 1.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    push_with(2, 77.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    ck_assert_int_eq(drive_push(&d, 3, ramp), SP_OK);
    push_with(4, 2.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    /* Of 1 and 4: A = 1.5, B = 2.25. */
    ck_assert_double_eq_tol(last_report()->estimates.ratio, 7.0 / 64.0 * 1.5 / 2.25, 1e-12);
    ck_assert_double_eq_tol(last_report()->estimates.denoised, 7.0 / 64.0 * 1.5 / 1.5, 1e-12);
    drive_close(&d);
}
END_TEST

/* A worker that left, or that broke off, has no part in them. */
START_TEST(test_statistics_without_the_lost)
{
    open_statistics(3);
    push_with(1, 0.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    push_with(2, 0.0, scalars_of(5.0, 50.0, 50.0f, 50.0f));
    drive_left(&d, 2); /* its loss counts, and its vote */
    push_with(3, 0.0, scalars_of(3.0, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq(last_report()->loss, 3.0);
    ck_assert_uint_eq(last_report()->voters, 3);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 2)), SP_OK);
    push_with(1, 1.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    push_with(3, 2.0, scalars_of(1.0, 2.0, 1.0f, 0.0f));
    push_with(4, 1000.0, scalars_of(1.0, 2.0, 1.0f, 0.0f)); /* a dot of a round that it cannot know */
    ck_assert_double_eq_tol(last_report()->estimates.stationarity, 1.5, 1e-12);
    drive_close(&d);
}
END_TEST

START_TEST(test_scalars_that_are_not_finite)
{
    struct sp_push bad = scalars_of((double)NAN, 2.0, 1.0f, INFINITY);

    open_statistics(2);
    push_with(1, 0.0, bad);
    push_with(2, 0.0, scalars_of(1.0, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq(last_report()->loss, 1.0);
    push_with(1, 5.0, scalars_of(1.0, 4.0, 2.0f, 0.0f));
    push_with(2, 3.0, scalars_of(1.0, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq_tol(last_report()->estimates.stationarity, 3.0, 1e-12);
    push_with(1, (double)INFINITY, scalars_of((double)NAN, 4.0, 2.0f, 0.0f));
    push_with(2, (double)NAN, scalars_of((double)NAN, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq_tol(last_report()->estimates.stationarity, 3.0, 1e-12);
    ck_assert_double_nan(last_report()->loss);
    drive_close(&d);
}
END_TEST

/* Scalars count only if the last chunk did, the dot only if the first did: of what rides elsewhere, as of one that
 * broke off, nothing is known. */
START_TEST(test_scalars_ride_where_they_belong)
{
    struct sp_push usual = scalars_of(1.0, 2.0, 1.0f, 0.0f), early = scalars_of(100.0, 50.0, 50.0f, 50.0f);
    float *values = calloc(SP_CHUNK_SIGNS + 8, sizeof *values);
    struct drive_chunk chunk = {.round = 1, .values = values, .scalars = &early, .astray = true};

    ck_assert_ptr_nonnull(values);
    drive_open(&d, (const char *[]){"workers=2", "train.report=1", "optimizer.beta2=0", NULL},
               (const uint64_t[]){SP_CHUNK_SIGNS, 8, 0});
    (void)drive_join_all(&d, 2);
    ck_assert_int_eq(drive_push_chunk(&d, 2, &chunk), SP_OK);
    drive_left(&d, 2);
    ck_assert_int_eq(drive_push_scalars(&d, 1, values, 3.0, &usual), SP_OK);
    ck_assert_double_eq(last_report()->loss, 1.0);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 2)), SP_OK);
    for (uint32_t peer = 1; peer <= 3; peer += 2)
        ck_assert_int_eq(drive_push_scalars(&d, peer, values, 3.0, &usual), SP_OK);
    /* Round 3: the dot of slot 1 comes with the last chunk, and there is none in the first. */
    chunk = (struct drive_chunk){.round = 3, .values = values};
    ck_assert_int_eq(drive_push_chunk(&d, 3, &chunk), SP_OK);
    chunk = (struct drive_chunk){.round = 3, .k = 1, .values = values, .scalars = &usual, .astray = true};
    chunk.has_dot = true;
    chunk.dot = 7.0;
    ck_assert_int_eq(drive_push_chunk(&d, 3, &chunk), SP_OK);
    ck_assert_int_eq(drive_push_scalars(&d, 1, values, 3.0, &usual), SP_OK);
    ck_assert_uint_eq(d.committed, 3);
    ck_assert_double_eq(last_report()->estimates.stationarity, 3.0);
    free(values);
    drive_close(&d);
}
END_TEST

/* The loss of a round is of those whose push of this round is whole. */
START_TEST(test_loss_is_of_this_round)
{
    open_statistics(2);
    push_with(1, 0.0, scalars_of(8.0, 2.0, 1.0f, 0.0f));
    push_with(2, 0.0, scalars_of(2.0, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq(last_report()->loss, 5.0);
    ck_assert_int_eq(drive_abstain(&d, 1, 2), SP_OK);
    push_with(2, 0.0, scalars_of(2.0, 4.0, 2.0f, 0.0f));
    ck_assert_double_eq(last_report()->loss, 2.0);
    ck_assert_uint_eq(last_report()->voters, 1);
    drive_close(&d);
}
END_TEST

/* Only the mean of the gradients of one worker is known: D stays as it is, and denoised is ratio. */
START_TEST(test_statistics_of_one)
{
    open_statistics(1);
    push_with(1, 0.0, scalars_of(1.0, 4.0, 1.0f, 1.0f));
    push_with(1, 0.5, scalars_of(1.0, 4.0, 1.0f, 1.0f));
    ck_assert_double_eq_tol(last_report()->estimates.ratio, 7.0 / 64.0 * 0.5 / 2.0, 1e-12);
    ck_assert_double_eq(last_report()->estimates.denoised, last_report()->estimates.ratio);
    ck_assert_double_eq(last_report()->estimates.noise_scale, 0.0);
    drive_close(&d);
}
END_TEST

/* The rate of the paper's rule, from pushes to the COMMIT of the first SGD round. */
START_TEST(test_lambda_from_the_statistics)
{
    open_settings(1, (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=2",
                                      "optimizer.sgd.lambda=ratio", "optimizer.sgd.clip=0", NULL});
    push_with(1, 0.0, scalars_of(1.0, 4.0, 1.0f, 1.0f));
    push_with(1, 3.0, scalars_of(1.0, 4.0, 1.0f, 1.0f));
    ck_assert_double_eq_tol(look().lambda, 0.0625 * 3.0 / 2.0, 1e-9);
    all_push(ramp);
    expect_rate(0.0625 * 3.0 / 2.0, last_commit()->action.commit.rate);
    drive_close(&d);
}
END_TEST

/* A loss that stands still, of 1000 rounds in windows of 100: the second and third are flat. */
START_TEST(test_auto_fires_in_a_round)
{
    open_settings(1, (const char *[]){"train.rounds=1000", "train.batch=40", "optimizer.switch.when=auto", NULL});
    for (uint32_t t = 1; t <= 300; t++) {
        push_with(1, 0.0, scalars_of(2.0, 4.0, 1.0f, 1.0f));
        ck_assert_uint_eq(last_commit()->action.commit.next_phase, t == 300 ? SP_PHASE_SGD : SP_PHASE_SIGN);
    }
    ck_assert_uint_eq(switch_round(), 300);
    ck_assert_ptr_nonnull(strstr(switch_reason(), "diminishing returns, 2 windows of 100 rounds"));
    drive_close(&d);
}
END_TEST

/* --- what people are told ------------------------------------------------------------------------------------------
 */

START_TEST(test_progress_and_reports)
{
    struct sp_welcome welcome = {0};

    open_settings(1, (const char *[]){"train.report=4", "optimizer.switch.when=at", "optimizer.switch.step=2",
                                      "optimizer.sgd.lr=0.5", "optimizer.dither.sigma0=0.5",
                                      "optimizer.dither.schedule=constant", "train.batch=40", NULL});
    sp_round_progress(d.round, &welcome);
    ck_assert_uint_eq(welcome.rounds, 10);
    ck_assert_uint_eq(welcome.round, 0);
    ck_assert_float_eq(welcome.sigma, 0.5f);
    for (uint32_t t = 1; t <= 10; t++)
        push_with(1, 0.0, scalars_of(t, 4.0, 1.0f, 1.0f));
    sp_round_progress(d.round, &welcome);
    ck_assert_uint_eq(welcome.round, 10);
    ck_assert_uint_eq(welcome.phase, SP_PHASE_SGD);
    ck_assert_float_eq(welcome.sigma, 0.0f);
    ck_assert_float_eq(welcome.lambda, 0.5f);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_REPORT), 3); /* 4, 8, and the last */
    ck_assert_double_eq(drive_find(&d, SP_ACTION_REPORT, 0)->action.report.loss, 2.5);
    ck_assert_double_eq(drive_find(&d, SP_ACTION_REPORT, 1)->action.report.loss, 6.5);
    ck_assert_double_eq(last_report()->loss, 9.5);
    ck_assert_double_eq(last_report()->epoch, 2.5); /* 160 examples, batches of 40 */
    ck_assert_double_eq(last_report()->rate, 0.5);
    ck_assert_double_eq(look().train_loss, 6.5); /* of the last whole epoch, rounds 5 to 8 */
    ck_assert(drive_said(&d, "the job is 10 rounds of a model with 13 parameters, 4 rounds an epoch"));
    drive_close(&d);
}
END_TEST

TCase *round_switch_cases(void)
{
    TCase *cases = tcase_create("switch");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_rates_and_dither_of_sign_rounds);
    tcase_add_test(cases, test_weight_decay_of_sign_rounds);
    tcase_add_test(cases, test_digest_every_hundred_rounds);
    tcase_add_test(cases, test_norm_tensor_rates_come_with_the_first_round);
    tcase_add_test(cases, test_norm_rate_is_one_for_all);
    tcase_add_loop_test(cases, test_fixed_rate_and_its_schedules, 0, 2);
    tcase_add_test(cases, test_weight_decay_of_sgd_rounds);
    tcase_add_loop_test(cases, test_first_round_without_a_mean, 0, 2);
    tcase_add_test(cases, test_no_switch_after_the_last_round);
    tcase_add_test(cases, test_statistics_are_of_the_round_before);
    tcase_add_test(cases, test_statistics_of_those_present);
    tcase_add_test(cases, test_statistics_without_the_lost);
    tcase_add_test(cases, test_scalars_that_are_not_finite);
    tcase_add_test(cases, test_scalars_ride_where_they_belong);
    tcase_add_test(cases, test_loss_is_of_this_round);
    tcase_add_test(cases, test_statistics_of_one);
    tcase_add_test(cases, test_lambda_from_the_statistics);
    tcase_add_test(cases, test_auto_fires_in_a_round);
    tcase_add_test(cases, test_progress_and_reports);
    return cases;
}
