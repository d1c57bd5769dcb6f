/* From statistics to rates and to the switch. */
#include "golden.h"

#include "server/decide.h"
#include "tests/unit/unit.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sp_job job;
static struct sp_decide decide;

static void set(const char *path, const char *value)
{
    struct sp_error error = {0};

    ck_assert_msg(sp_job_set(&job, path, value, &error) == SP_OK, "%s: %s", path, error.text);
}

/* A job of one worker and as many rounds as are said, which decides on its own. */
static void setup(void)
{
    sp_job_init(&job);
    set("job", "decide");
    set("optimizer.switch.when", "auto");
}

static void init(uint64_t examples)
{
    sp_decide_init(&decide, &job, examples);
}

static void expect_near(double value, double expected)
{
    ck_assert_double_le(fabs(value - expected), 1e-12 * fabs(expected));
}

static bool fires(uint32_t t)
{
    struct sp_decision decision;

    sp_decide_switch(&decide, t, &decision);
    return decision.fires;
}

/* --- rates from the statistics -------------------------------------------------------------------------------------
 */

/* Statistics to all three estimates, for each round of the recorded runs, and to the rate at their switch. The runs but
 * `nolag` decide in round 9 with the statistics up to round 8. */
START_TEST(test_golden_estimates)
{
    static const enum sp_lambda_rule rules[] = {SP_LAMBDA_RATIO, SP_LAMBDA_PAPER, SP_LAMBDA_DENOISED, SP_LAMBDA_RATIO,
                                                SP_LAMBDA_RATIO};
    struct golden golden;
    struct sp_estimates estimates;

    golden_load(golden_names[_i], &golden);
    set("optimizer.beta2", "0.9");
    init(100);
    decide.rule = rules[_i];
    for (unsigned t = 1; t <= GOLDEN_SWITCH; t++) {
        const struct golden_round *round = &golden.round[t - 1];
        struct sp_statistics statistics = {fabs(round->sg), round->g2sk, round->mg2, golden.workers};

        if (round->switch_lambda > 0.0 && strcmp(golden_names[_i], "nolag") != 0)
            expect_near(sp_decide_lambda(&decide, 0.05, sqrt(GOLDEN_D), NULL), round->switch_lambda);
        sp_decide_statistics(&decide, &statistics, 0.05);
        sp_decide_estimates(&decide, 0.05, &estimates);
        expect_near(estimates.paper, round->paper);
        expect_near(estimates.ratio, round->ratio);
        expect_near(estimates.denoised, round->dn);
        if (round->switch_lambda > 0.0 && strcmp(golden_names[_i], "nolag") == 0)
            expect_near(sp_decide_lambda(&decide, 0.05, sqrt(GOLDEN_D), NULL), round->switch_lambda);
    }
}
END_TEST

START_TEST(test_estimates_by_hand)
{
    const struct sp_statistics first = {4.0, 2.0, 3.0, 3}, second = {1.0, 4.0, 10.0, 5};
    struct sp_estimates e;
    double a, b, d;

    set("optimizer.beta2", "0.75");
    set("train.batch", "8");
    init(100);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert(e.paper == 0.0 && e.ratio == 0.0 && e.denoised == 0.0 && e.noise_scale == 0.0 && e.stationarity == 0.0);
    sp_decide_statistics(&decide, &first, 0.2);
    sp_decide_statistics(&decide, &second, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    a = 0.75 * 0.25 * 4.0 + 0.25 * 1.0;
    b = 0.75 * 0.25 * 2.0 + 0.25 * 4.0;
    d = 0.75 * 0.25 * 1.5 + 0.25 * 2.5;
    /* With eps = 1e-12 each, which is less than the tolerance here. */
    ck_assert_double_eq_tol(e.paper, (0.75 * 0.25 * 0.2 * 2.0 + 0.25 * 0.1 * 0.25) / (1.0 - 0.5625), 1e-11);
    ck_assert_double_eq_tol(e.ratio, 0.1 * a / b, 1e-11);
    ck_assert_double_eq_tol(e.denoised, 0.1 * a / d, 1e-11);
    ck_assert_double_eq_tol(e.stationarity, a / (1.0 - 0.5625), 1e-11);
    /* tr(covariance) of one example's gradient: batch times the noise of a worker's, E - D. */
    ck_assert_double_eq_tol(e.noise_scale, 8.0 * (0.75 * 0.25 * 1.5 + 0.25 * 7.5) / d, 1e-10);
}
END_TEST

/* Nobody's statistics change nothing; one worker's leave D alone; without any D, denoised is ratio. */
START_TEST(test_one_worker_leaves_d_alone)
{
    const struct sp_statistics nobody = {7.0, 7.0, 7.0, 0}, one = {1.0, 2.0, 2.0, 1}, two = {1.0, 2.0, 3.0, 2};
    struct sp_estimates e;

    init(100);
    sp_decide_statistics(&decide, &nobody, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert_double_eq(e.ratio, 0.0);
    for (int i = 0; i < 5; i++)
        sp_decide_statistics(&decide, &one, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert_double_gt(e.ratio, 0.0);
    ck_assert_double_eq(e.denoised, e.ratio);
    ck_assert_double_eq(e.noise_scale, 0.0);
    ck_assert_double_eq(decide.ema_d, 0.0);
    sp_decide_statistics(&decide, &two, 0.1);
    ck_assert_double_eq_tol(decide.ema_d, 0.01 * 1.0, 1e-15);
    sp_decide_statistics(&decide, &one, 0.1);
    ck_assert_double_eq_tol(decide.ema_d, 0.01 * 1.0, 1e-15);
}
END_TEST

/* Noise that drowns the signal makes D negative: a tenth of B stands in for it, and no rate is negative. */
START_TEST(test_d_is_bounded_from_below)
{
    const struct sp_statistics noisy = {0.5, 2.0, 50.0, 2};
    struct sp_estimates e;

    init(100);
    sp_decide_statistics(&decide, &noisy, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert_double_lt(decide.ema_d, 0.0);
    ck_assert_double_eq_tol(e.denoised, 10.0 * e.ratio, 1e-9);
    ck_assert_double_gt(e.noise_scale, 0.0);
}
END_TEST

START_TEST(test_estimates_are_clamped)
{
    const struct sp_statistics high = {1e9, 1e-9, 1e-9, 2}, low = {1e-9, 1e9, 1e9, 2};
    struct sp_estimates e;

    init(100);
    sp_decide_statistics(&decide, &high, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert(e.paper == 1.0 && e.ratio == 1.0 && e.denoised == 1.0);
    init(100);
    sp_decide_statistics(&decide, &low, 0.1);
    sp_decide_estimates(&decide, 0.1, &e);
    ck_assert(e.paper == 1e-5 && e.ratio == 1e-5 && e.denoised == 1e-5);
    /* Before there are any statistics the rules of statistics give the least rate, never 0. */
    init(100);
    decide.rule = SP_LAMBDA_RATIO;
    ck_assert_double_eq(sp_decide_lambda(&decide, 0.1, 3.0, NULL), 1e-5);
}
END_TEST

/* --- norm rules ----------------------------------------------------------------------------------------------------
 */

static void add(struct sp_layout *layout, uint64_t count)
{
    struct sp_tensor tensor = {.dims = 1, .shape = {count}};

    (void)snprintf(tensor.name, sizeof tensor.name, "t%u", layout->tensors_count);
    ck_assert_int_eq(sp_layout_add(layout, &tensor, NULL), SP_OK);
}

START_TEST(test_norm_rates_by_hand)
{
    double steps[3] = {4, 3, 2}, means[3] = {25, 0, 169};
    const struct sp_norms step = {9, steps}, mean = {194, means};
    struct sp_layout layout = {0};
    float rates[3];
    double whole;

    add(&layout, 4);
    add(&layout, 3);
    add(&layout, 2);
    set("optimizer.sgd.scale", "0.5");
    init(100);
    whole = sp_decide_norm(&decide, 0.1, &layout, &step, &mean, rates);
    ck_assert_double_eq_tol(whole, 0.5 * 0.1 * 3.0 / sqrt(194.0), 1e-14);
    ck_assert_float_eq(rates[0], (float)(0.5 * 0.1 * 2.0 / (5.0 + 1e-12)));
    ck_assert_float_eq(rates[2], (float)(0.5 * 0.1 * sqrt(2.0) / (13.0 + 1e-12)));
    /* A tensor without any gradient: the rate of the whole, not step/eps. */
    ck_assert_float_eq(rates[1], (float)whole);
    ck_assert_double_eq(sp_decide_norm(&decide, 0.1, &layout, &step, &mean, NULL), whole);
    sp_layout_finish(&layout);
}
END_TEST

/* After a margin phase a step per unit of gamma is ||V/M||, of the whole and of each tensor. */
START_TEST(test_norm_rates_after_margin)
{
    double steps[2] = {0.25, 2.25}, means[2] = {4, 1};
    const struct sp_norms step = {2.5, steps}, mean = {5, means};
    struct sp_layout layout = {0};
    float rates[2];

    add(&layout, 100);
    add(&layout, 300);
    set("optimizer.sgd.scale", "0.5");
    init(100);
    ck_assert_double_eq_tol(sp_decide_norm(&decide, 0.2, &layout, &step, &mean, rates), 0.1 * sqrt(0.5), 1e-12);
    ck_assert_float_eq(rates[0], (float)(0.1 * 0.5 / (2.0 + 1e-12)));
    ck_assert_float_eq(rates[1], (float)(0.1 * 1.5 / (1.0 + 1e-12)));
    sp_layout_finish(&layout);
}
END_TEST

/* Just below the limit a tensor has its own rate. */
START_TEST(test_norm_rate_below_the_limit)
{
    double steps[2] = {1, 1}, means[2] = {1, 1.0 / 16384.0};
    struct sp_norms step = {2, steps}, mean = {1.0 + 1.0 / 16384.0, means};
    struct sp_layout layout = {0};
    float rates[2];
    double whole;

    add(&layout, 1);
    add(&layout, 1);
    set("optimizer.sgd.scale", "1");
    init(100);
    /* Its rate is 128; the whole's sqrt(2)/1.00003, of which a hundred times is 141.4 */
    whole = sp_decide_norm(&decide, 1.0, &layout, &step, &mean, rates);
    ck_assert_double_eq_tol(whole, sqrt(2.0) / sqrt(1.0 + 1.0 / 16384.0), 1e-11);
    ck_assert_float_eq(rates[1], 128.0f);
    means[1] = 1.0 / 65536.0;
    mean.whole = 1.0 + means[1];
    whole = sp_decide_norm(&decide, 1.0, &layout, &step, &mean, rates);
    ck_assert_float_eq(rates[1], (float)(100.0 * whole));
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_which_rules_need_the_mean)
{
    init(100);
    for (enum sp_lambda_rule rule = SP_LAMBDA_PAPER; rule <= SP_LAMBDA_NORM_TENSOR; rule++) {
        decide.rule = rule;
        ck_assert_int_eq(sp_decide_needs_mean(&decide), rule == SP_LAMBDA_NORM || rule == SP_LAMBDA_NORM_TENSOR);
    }
    decide.fixed = 0.3;
    ck_assert(!sp_decide_needs_mean(&decide));
    ck_assert_double_eq(sp_decide_lambda(&decide, 0.1, 3.0, NULL), 0.3);
    decide.fixed = 30.0; /* what the job says is not clamped */
    ck_assert_double_eq(sp_decide_lambda(&decide, 0.1, 3.0, NULL), 30.0);
}
END_TEST

/* "about x": den + (eB - den)*(1-beta1)/(1+beta1), den = max(eD, eB/10), with both averages corrected for their start.
 */
START_TEST(test_guess_for_dry_runs)
{
    const struct sp_statistics two = {1.0, 8.0, 12.0, 2}, noisy = {1.0, 8.0, 80.0, 2};

    set("optimizer.sgd.scale", "0.5");
    set("optimizer.beta1", "0.8");
    init(100);
    decide.rule = _i == 0 ? SP_LAMBDA_NORM : SP_LAMBDA_NORM_TENSOR;
    sp_decide_statistics(&decide, &two, 0.1);
    /* B = 8, D = 4: 4 + 4/9. */
    ck_assert_double_eq_tol(sp_decide_lambda(&decide, 0.2, 5.0, NULL), 0.5 * 0.2 * 5.0 / sqrt(4.0 + 4.0 / 9.0), 1e-9);
    init(100);
    decide.rule = SP_LAMBDA_NORM;
    sp_decide_statistics(&decide, &noisy, 0.1);
    /* D < 0, so den = 0.8: 0.8 + 7.2/9. */
    ck_assert_double_eq_tol(sp_decide_lambda(&decide, 0.2, 5.0, NULL), 0.5 * 0.2 * 5.0 / sqrt(1.6), 1e-9);
}
END_TEST

/* --- when ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_never)
{
    set("optimizer.switch.when", "never");
    set("train.rounds", "1000");
    init(100);
    for (uint32_t t = 1; t <= 1000; t++) {
        sp_decide_loss(&decide, t, 1.0);
        ck_assert(!fires(t));
    }
}
END_TEST

static uint32_t first_round(uint32_t rounds)
{
    for (uint32_t t = 1; t <= rounds; t++) {
        if (fires(t))
            return t;
    }
    return 0;
}

static uint32_t at(const char *path, const char *value, const char *rounds)
{
    setup();
    set("optimizer.switch.when", "at");
    set("train.rounds", rounds);
    set("train.batch", "10");
    set(path, value);
    init(100); /* 10 rounds an epoch */
    return first_round((uint32_t)strtoul(rounds, NULL, 10));
}

START_TEST(test_at)
{
    struct sp_decision decision;

    ck_assert_uint_eq(at("optimizer.switch.step", "7", "100"), 7);
    ck_assert_uint_eq(at("optimizer.switch.step", "99", "100"), 99);
    ck_assert_uint_eq(at("optimizer.switch.step", "100", "100"), 0); /* nothing would come after it */
    ck_assert_uint_eq(at("optimizer.switch.step", "4000000000", "100"), 0);
    ck_assert_uint_eq(at("optimizer.switch.epoch", "3", "100"), 30);
    ck_assert_uint_eq(at("optimizer.switch.epoch", "0.01", "100"), 1);
    ck_assert_uint_eq(at("optimizer.switch.epoch", "2.55", "100"), 26);
    ck_assert_uint_eq(at("optimizer.switch.fraction", "0.5", "100"), 50);
    ck_assert_uint_eq(at("optimizer.switch.fraction", "0.001", "100"), 1);
    ck_assert_uint_eq(at("optimizer.switch.fraction", "0.123", "100"), 13);
    ck_assert_uint_eq(at("optimizer.switch.fraction", "1", "100"), 0);
    /* In binary 1.1 * 10 and 0.55 * 100 are a little more than 11 and 55. */
    ck_assert_uint_eq(at("optimizer.switch.epoch", "1.1", "100"), 11);
    ck_assert_uint_eq(at("optimizer.switch.fraction", "0.55", "100"), 55);
    sp_decide_switch(&decide, 55, &decision);
    ck_assert_str_eq(decision.reason, "at: round 55, as the job file says");
    ck_assert(!decision.capped);
}
END_TEST

static uint32_t window(const char *workers, const char *batch, uint64_t examples)
{
    setup();
    set("workers", workers);
    set("train.batch", batch);
    init(examples);
    return decide.window;
}

/* max(50, ceil(rounds_per_epoch/4), ceil(4000/(M*batch))) */
START_TEST(test_window_length)
{
    ck_assert_uint_eq(window("4", "20", 1000), 50);
    ck_assert_uint_eq(window("4", "16", 100), 63);    /* 4000/64 = 62.5 */
    ck_assert_uint_eq(window("1", "16", 100), 250);   /* 4000/16 */
    ck_assert_uint_eq(window("4", "32", 60000), 118); /* 469 rounds an epoch, a quarter of them is 117.25 */
    ck_assert_uint_eq(window("1", "1", 100), 4000);
    ck_assert_uint_eq(window("255", "512", 100), 50);
}
END_TEST

static void open_auto(const char *rounds)
{
    setup();
    set("train.rounds", rounds);
    set("train.batch", "100"); /* windows of 50 */
    init(1000);
    ck_assert_uint_eq(decide.window, 50);
}

/* Goes on for one window at a loss; returns the round in which it fires, or 0. */
static uint32_t one_window(uint32_t *t, double loss)
{
    uint32_t fired = 0;

    for (int i = 0; i < 50; i++) {
        ++*t;
        sp_decide_loss(&decide, *t, loss);
        if (fired == 0 && fires(*t))
            fired = *t;
    }
    return fired;
}

/* Losses 4 (the first), then windows: the bar is a hundredth of what was won, best or not. */
START_TEST(test_auto_fires_at_two_flat_windows)
{
    struct sp_decision decision;
    uint32_t t = 1;

    open_auto("2000");
    sp_decide_loss(&decide, t, 4.0);
    for (int i = 2; i <= 50; i++)
        sp_decide_loss(&decide, ++t, 2.0); /* mean 2.04, the first is never flat */
    ck_assert_uint_eq(decide.flat, 0);
    ck_assert_uint_eq(one_window(&t, 1.0), 0); /* gains 1.04 of 3 */
    ck_assert_uint_eq(one_window(&t, 0.98), 0);
    ck_assert_uint_eq(decide.flat, 1); /* 0.02 of 3.02 is less than a hundredth */
    ck_assert_uint_eq(one_window(&t, 0.94), 0);
    ck_assert_uint_eq(decide.flat, 0); /* 0.04 of 3.06 is not */
    ck_assert_uint_eq(one_window(&t, 1.5), 0);
    ck_assert_uint_eq(decide.flat, 1); /* worse is flat, and the best stays */
    ck_assert_double_eq_tol(decide.best, 0.94, 1e-12);
    ck_assert_uint_eq(one_window(&t, 0.93), 300); /* 0.01 of 3.07: the second in a row; t = 300 is more than 0.1 T */
    sp_decide_switch(&decide, t, &decision);
    ck_assert(decision.fires && !decision.capped);
    ck_assert_ptr_nonnull(
        strstr(decision.reason, "2 windows of 50 rounds in a row brought less than 1 % (the last 0.33 %)"));
}
END_TEST

/* A gain of exactly a hundredth is not flat; the loss of one that is equal to the best is. */
START_TEST(test_auto_bar_is_exact)
{
    uint32_t t = 0;

    open_auto("2000");
    sp_decide_loss(&decide, ++t, 1024.0);
    for (int i = 2; i <= 50; i++)
        sp_decide_loss(&decide, ++t, 1024.0);
    (void)one_window(&t, 0.0); /* L0 - best = 1024 */
    ck_assert_uint_eq(decide.flat, 0);
    (void)one_window(&t, 0.0);
    ck_assert_uint_eq(decide.flat, 1);
    (void)one_window(&t, -0.01 * 1024.0); /* base 1034.24: 10.24 is less than 10.3424 */
    ck_assert_uint_eq(decide.flat, 2);
    (void)one_window(&t, -0.01 * 1024.0 - 11.0);
    ck_assert_uint_eq(decide.flat, 0);
}
END_TEST

START_TEST(test_auto_not_before_a_tenth)
{
    uint32_t t = 0;

    open_auto("2000");
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(one_window(&t, 1.0), 0);
    ck_assert_uint_eq(decide.flat, 2); /* at 150 of 2000 */
    ck_assert_uint_eq(one_window(&t, 1.0), 200);
}
END_TEST

/* A loss that goes on falling: at 0.7 of the job, and it says that it is the cap. */
START_TEST(test_auto_is_capped)
{
    struct sp_decision decision;

    open_auto("1000");
    for (uint32_t t = 1; t < 700; t++) {
        sp_decide_loss(&decide, t, 1000.0 - t);
        ck_assert(!fires(t));
    }
    sp_decide_loss(&decide, 700, 300.0);
    sp_decide_switch(&decide, 700, &decision);
    ck_assert(decision.fires && decision.capped);
    ck_assert_ptr_nonnull(strstr(decision.reason, "auto: cap, round 700 is 70 % of the job"));
    ck_assert(fires(701));   /* whoever asks later */
    ck_assert(!fires(1000)); /* but not in the last round */
}
END_TEST

/* Rounds without a loss do not count in the mean; a window without any does not count at all. */
START_TEST(test_auto_losses_that_are_missing)
{
    uint32_t t = 0;

    open_auto("2000");
    for (int i = 0; i < 50; i++)
        sp_decide_loss(&decide, ++t, i < 10 ? (double)NAN : 3.0);
    ck_assert_double_eq(decide.best, 3.0);
    ck_assert_double_eq(decide.first_loss, 3.0);
    (void)one_window(&t, (double)NAN);
    ck_assert_uint_eq(decide.windows, 1);
    ck_assert_uint_eq(decide.flat, 0);
    (void)one_window(&t, (double)INFINITY);
    ck_assert_uint_eq(decide.windows, 1);
    (void)one_window(&t, 3.0);
    ck_assert_uint_eq(decide.flat, 1);
}
END_TEST

int main(void)
{
    Suite *all = suite_create("decide");
    TCase *cases = tcase_create("decide");

    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_add_loop_test(cases, test_golden_estimates, 0, golden_count);
    tcase_add_test(cases, test_estimates_by_hand);
    tcase_add_test(cases, test_one_worker_leaves_d_alone);
    tcase_add_test(cases, test_d_is_bounded_from_below);
    tcase_add_test(cases, test_estimates_are_clamped);
    tcase_add_test(cases, test_norm_rates_by_hand);
    tcase_add_test(cases, test_norm_rates_after_margin);
    tcase_add_test(cases, test_norm_rate_below_the_limit);
    tcase_add_test(cases, test_which_rules_need_the_mean);
    tcase_add_loop_test(cases, test_guess_for_dry_runs, 0, 2);
    tcase_add_test(cases, test_never);
    tcase_add_test(cases, test_at);
    tcase_add_test(cases, test_window_length);
    tcase_add_test(cases, test_auto_fires_at_two_flat_windows);
    tcase_add_test(cases, test_auto_bar_is_exact);
    tcase_add_test(cases, test_auto_not_before_a_tenth);
    tcase_add_test(cases, test_auto_is_capped);
    tcase_add_test(cases, test_auto_losses_that_are_missing);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
