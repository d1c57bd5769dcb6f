/* Bounds of rates, SWATS' test, the modes that do not decide, and the numbers that records show. */
#include "server/decide.h"
#include "unit.h"

#include <math.h>

static struct sp_job job;
static struct sp_decide decide;

static void set(const char *path, const char *value)
{
    struct sp_error error = {0};

    ck_assert_msg(sp_job_set(&job, path, value, &error) == SP_OK, "%s: %s", path, error.text);
}

static void setup(void)
{
    sp_job_init(&job);
    set("job", "decide");
}

static void init(void)
{
    sp_decide_init(&decide, &job, 1000);
}

static void expect_near(double value, double expected)
{
    ck_assert_double_eq_tol(value, expected, 1e-9 * fabs(expected) + 1e-30);
}

/* One worker's statistics of a round at rate 0.1, in which the paper's rate is `lambda`. */
static void see_rate(double lambda)
{
    const struct sp_statistics statistics = {10.0 * lambda, 1.0, 1.0, 1};

    sp_decide_statistics(&decide, &statistics, 0.1);
}

static bool fires(uint32_t t)
{
    struct sp_decision decision;

    sp_decide_switch(&decide, t, &decision);
    return decision.fires;
}

/* --- bounds --------------------------------------------------------------------------------------------------------
 */

/* The job's bounds hold for all three rules of statistics, and what they changed is told. */
START_TEST(test_bounds_of_the_job)
{
    static const enum sp_lambda_rule rules[] = {SP_LAMBDA_PAPER, SP_LAMBDA_RATIO, SP_LAMBDA_DENOISED};
    static const struct {
        double rate, expected;
    } cases[] = {{0.01, 0.02}, {0.03, 0.03}, {0.5, 0.05}};
    struct sp_estimates estimates;
    double unbounded;

    set("optimizer.sgd.lambda_min", "0.02");
    set("optimizer.sgd.lambda_max", "0.05");
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        init();
        see_rate(cases[i].rate);
        sp_decide_estimates(&decide, 0.1, &estimates);
        expect_near(estimates.paper, cases[i].expected);
        expect_near(estimates.ratio, cases[i].expected);
        expect_near(estimates.denoised, cases[i].expected);
        for (size_t k = 0; k < UNIT_COUNT(rules); k++) {
            decide.rule = rules[k];
            expect_near(sp_decide_lambda(&decide, 0.1, 1.0, &unbounded), cases[i].expected);
            expect_near(unbounded, cases[i].rate == cases[i].expected ? 0.0 : cases[i].rate);
        }
    }
}
END_TEST

/* They are of the rules of statistics: neither a norm rule's guess nor a rate that the job fixes is bounded. */
START_TEST(test_bounds_are_not_for_all)
{
    const struct sp_statistics statistics = {1.0, 1.0, 1.0, 1};
    double unbounded = 5.0;

    set("optimizer.sgd.lambda_min", "0.02");
    set("optimizer.sgd.lambda_max", "0.05");
    set("optimizer.sgd.scale", "1");
    set("optimizer.sgd.lambda", "norm");
    init();
    sp_decide_statistics(&decide, &statistics, 0.1);
    ck_assert_double_gt(sp_decide_lambda(&decide, 0.1, 30.0, &unbounded), 1.0);
    ck_assert_double_eq(unbounded, 0.0);
    set("optimizer.sgd.lr", "3");
    init();
    unbounded = 5.0;
    ck_assert_double_eq(sp_decide_lambda(&decide, 0.1, 30.0, &unbounded), 3.0);
    ck_assert_double_eq(unbounded, 0.0);
}
END_TEST

/* Nothing to guess from is no reason for a number of 1e10. */
START_TEST(test_no_guess_without_statistics)
{
    init();
    ck_assert(sp_decide_needs_mean(&decide));
    ck_assert_double_nan(sp_decide_lambda(&decide, 0.1, 30.0, NULL));
}
END_TEST

START_TEST(test_which_rules_can_switch)
{
    for (enum sp_lambda_rule rule = SP_LAMBDA_PAPER; rule <= SP_LAMBDA_NORM_TENSOR; rule++) {
        init();
        decide.rule = rule;
        ck_assert_int_eq(sp_decide_can_switch(&decide), rule >= SP_LAMBDA_NORM);
        see_rate(0.1);
        ck_assert(sp_decide_can_switch(&decide));
    }
    set("optimizer.sgd.lambda", "ratio");
    set("optimizer.sgd.lr", "0.3");
    init();
    ck_assert(sp_decide_can_switch(&decide));
}
END_TEST

START_TEST(test_names_of_rules)
{
    static const char *const names[] = {"paper", "ratio", "denoised", "norm", "norm_tensor"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        set("optimizer.sgd.lambda", names[i]);
        init();
        ck_assert_str_eq(sp_decide_rule_name(&decide), names[i]);
    }
    set("optimizer.sgd.lr", "0.3");
    init();
    ck_assert_str_eq(sp_decide_rule_name(&decide), "optimizer.sgd.lr");
}
END_TEST

/* --- SWATS ---------------------------------------------------------------------------------------------------------
 */

static void open_swats(const char *rounds, const char *patience)
{
    set("optimizer.switch.when", "swats");
    set("optimizer.switch.tolerance", "0.1");
    set("optimizer.switch.patience", patience);
    set("optimizer.beta2", "0.5");
    set("train.rounds", rounds);
    init();
}

/* Random rates that come closer to each other: the count of close ones against its definition. */
START_TEST(test_swats_against_its_definition)
{
    struct sp_rng rng = unit_rng(7);
    double ema = 0.0, bias = 1.0;
    unsigned settled = 0, fired = 0;

    open_swats("300", "4");
    for (uint32_t t = 1; t < 300; t++) {
        double lambda = 0.1 + 0.08 * (double)unit_uniform(&rng) * (1.0 - t / 300.0), mean;

        see_rate(lambda);
        ema = 0.5 * ema + 0.5 * lambda;
        bias *= 0.5;
        mean = ema / (1.0 - bias);
        settled = fabs(lambda - mean) <= 0.1 * mean ? settled + 1 : 0;
        ck_assert_uint_eq(decide.settled, settled);
        ck_assert_int_eq(fires(t), settled >= 4 && t >= 30);
        fired += settled >= 4 && t >= 30;
    }
    ck_assert_uint_gt(fired, 10);
    ck_assert_uint_lt(fired, 200);
}
END_TEST

START_TEST(test_swats_by_hand)
{
    struct sp_decision decision;

    open_swats("20", "3");
    see_rate(0.4);
    see_rate(0.4);
    ck_assert(!fires(2));
    see_rate(0.9); /* the average is 0.6857 now */
    ck_assert_uint_eq(decide.settled, 0);
    see_rate(0.69); /* 0.688 */
    see_rate(0.69);
    ck_assert(!fires(5));
    see_rate(0.69);
    sp_decide_switch(&decide, 6, &decision);
    ck_assert(decision.fires && !decision.capped);
    ck_assert_str_eq(decision.test, "swats");
    ck_assert_ptr_nonnull(strstr(decision.reason, "swats: for 3 rounds the rate of a round (the last 0.69) was within "
                                                  "10 % of the average of rates (0.68"));
    ck_assert(!fires(20)); /* nothing would come after it */
}
END_TEST

/* Not before a tenth of the job, and not while there are no statistics. */
START_TEST(test_swats_not_before_a_tenth)
{
    open_swats("100", "2");
    for (uint32_t t = 1; t <= 5; t++)
        ck_assert(!fires(t));
    for (uint32_t t = 6; t <= 12; t++) {
        see_rate(0.25);
        ck_assert_int_eq(fires(t), t >= 10);
    }
    open_swats("100", "2");
    for (uint32_t t = 1; t < 100; t++)
        ck_assert(!fires(t));
}
END_TEST

/* A gradient of length 0, a sketch of length 0: the rates are 0, or very large, and always numbers. */
START_TEST(test_swats_of_odd_statistics)
{
    static const struct sp_statistics odd[] = {
        {0.0, 0.0, 0.0, 2}, {1.0, 0.0, 0.0, 1}, {0.0, 1.0, 1.0, 3}, {1e30, 1e-30, 1.0, 2}, {1e-30, 1e30, 1e30, 2}};
    struct sp_decision decision;
    struct sp_numbers numbers;
    struct sp_estimates estimates;

    open_swats("100", "1");
    for (size_t i = 0; i < 3 * UNIT_COUNT(odd); i++) {
        sp_decide_statistics(&decide, &odd[i % UNIT_COUNT(odd)], i % 2 == 0 ? 0.1 : 0.0);
        sp_decide_numbers(&decide, &numbers);
        sp_decide_estimates(&decide, 0.1, &estimates);
        ck_assert(isfinite(numbers.lambda_now) && isfinite(numbers.lambda_mean) && isfinite(numbers.noise_scale));
        ck_assert(isfinite(estimates.paper) && isfinite(estimates.ratio) && isfinite(estimates.denoised));
        sp_decide_switch(&decide, 50, &decision);
        ck_assert_ptr_null(strstr(decision.reason, "nan"));
    }
}
END_TEST

/* --- modes ---------------------------------------------------------------------------------------------------------
 */

/* One phase from the first round on, at a rate of its own; whatever `switch` says. */
START_TEST(test_modes)
{
    static const struct {
        const char *mode, *lr;
        double expected;
    } cases[] = {{"sgd", "0", 0.5}, {"sgd", "0.2", 0.2}, {"adam", "0", 3e-3}, {"adam", "0.2", 3e-3}};
    static const char *const whens[] = {"never", "at", "auto", "swats", "manual"};

    set("optimizer.adam.lr", "3e-3");
    set("optimizer.switch.step", "3");
    set("optimizer.switch.patience", "1");
    set("train.rounds", "400");
    for (size_t i = 0; i < UNIT_COUNT(cases) * UNIT_COUNT(whens); i++) {
        set("optimizer.mode", cases[i % UNIT_COUNT(cases)].mode);
        set("optimizer.sgd.lr", cases[i % UNIT_COUNT(cases)].lr);
        set("optimizer.switch.when", whens[i / UNIT_COUNT(cases)]);
        init();
        ck_assert_double_eq(decide.fixed, cases[i % UNIT_COUNT(cases)].expected);
        ck_assert(!sp_decide_needs_mean(&decide) && sp_decide_can_switch(&decide));
        ck_assert_double_eq(sp_decide_lambda(&decide, 0.0, 0.0, NULL), cases[i % UNIT_COUNT(cases)].expected);
        for (uint32_t t = 1; t <= 400; t++) {
            see_rate(0.1);
            sp_decide_loss(&decide, t, 1.0);
            ck_assert(!fires(t));
        }
    }
}
END_TEST

START_TEST(test_manual_never_fires_by_itself)
{
    set("optimizer.switch.when", "manual");
    set("train.rounds", "400");
    init();
    for (uint32_t t = 1; t <= 400; t++) {
        see_rate(0.1);
        sp_decide_loss(&decide, t, 1.0);
        ck_assert(!fires(t));
    }
}
END_TEST

/* --- numbers -------------------------------------------------------------------------------------------------------
 */

START_TEST(test_numbers_before_there_are_any)
{
    struct sp_numbers n;

    set("train.batch", "80"); /* windows of 50 rounds */
    init();
    sp_decide_numbers(&decide, &n);
    ck_assert(isnan(n.a) && isnan(n.b) && isnan(n.e) && isnan(n.d) && isnan(n.noise_scale));
    ck_assert(isnan(n.first_loss) && isnan(n.best_loss) && isnan(n.last_gain));
    ck_assert(isnan(n.lambda_now) && isnan(n.lambda_mean));
    ck_assert(n.rounds_seen == 0 && n.windows == 0 && n.flat == 0 && n.settled == 0);
    ck_assert_uint_eq(n.window, 50);
}
END_TEST

START_TEST(test_numbers_by_hand)
{
    const struct sp_statistics one = {4.0, 2.0, 3.0, 1}, three = {1.0, 4.0, 10.0, 3};
    struct sp_numbers n;

    set("optimizer.beta2", "0.75");
    set("train.batch", "80");
    set("optimizer.switch.tolerance", "0.01");
    init();
    sp_decide_statistics(&decide, &one, 0.2);
    sp_decide_numbers(&decide, &n);
    expect_near(n.a, 4.0); /* with one round: that round's */
    ck_assert(isnan(n.d) && isnan(n.noise_scale));
    ck_assert_uint_eq(n.settled, 1);
    sp_decide_statistics(&decide, &three, 0.1);
    sp_decide_numbers(&decide, &n);
    expect_near(n.a, (0.75 * 0.25 * 4.0 + 0.25 * 1.0) / 0.4375);
    expect_near(n.b, (0.75 * 0.25 * 2.0 + 0.25 * 4.0) / 0.4375);
    expect_near(n.e, (0.75 * 0.25 * 3.0 + 0.25 * 10.0) / 0.4375);
    expect_near(n.d, 1.0); /* (3*4 - 10)/2, of the one round that had it */
    ck_assert(isfinite(n.noise_scale));
    ck_assert_uint_eq(n.rounds_seen, 2);
    expect_near(n.lambda_now, 0.1 * 1.0 / 4.0);
    expect_near(n.lambda_mean, (0.75 * 0.25 * 0.2 * 2.0 + 0.25 * 0.1 * 0.25) / 0.4375);
    ck_assert_uint_eq(n.settled, 0);
    for (uint32_t t = 1; t <= 100; t++)
        sp_decide_loss(&decide, t, t <= 50 ? 2.0 : 1.0);
    sp_decide_numbers(&decide, &n);
    ck_assert_double_eq(n.first_loss, 2.0);
    ck_assert_double_eq(n.best_loss, 1.0);
    ck_assert_double_eq(n.last_gain, 1.0);
    ck_assert_uint_eq(n.windows, 2);
    ck_assert_uint_eq(n.flat, 0);
    for (uint32_t t = 101; t <= 150; t++)
        sp_decide_loss(&decide, t, 1.5);
    sp_decide_numbers(&decide, &n);
    ck_assert_double_eq(n.best_loss, 1.0);
    ck_assert_double_eq(n.last_gain, -0.5);
    ck_assert_uint_eq(n.flat, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decide_rules");
    TCase *tests = tcase_create("decide_rules");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_bounds_of_the_job);
    tcase_add_test(tests, test_bounds_are_not_for_all);
    tcase_add_test(tests, test_no_guess_without_statistics);
    tcase_add_test(tests, test_which_rules_can_switch);
    tcase_add_test(tests, test_names_of_rules);
    tcase_add_test(tests, test_swats_against_its_definition);
    tcase_add_test(tests, test_swats_by_hand);
    tcase_add_test(tests, test_swats_not_before_a_tenth);
    tcase_add_test(tests, test_swats_of_odd_statistics);
    tcase_add_test(tests, test_modes);
    tcase_add_test(tests, test_manual_never_fires_by_itself);
    tcase_add_test(tests, test_numbers_before_there_are_any);
    tcase_add_test(tests, test_numbers_by_hand);
    return unit_run(suite, tests);
}
