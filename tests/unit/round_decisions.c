/* Decisions to change the phase: by an operator, in dry runs, and refused ones; each has one line and one record. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>

static const uint64_t small[] = {4, 9, 0};
static const float ramp[13] = {3, -4, 0, 0, 1, -2, 2, 4, 0, 0, 0, 0, 0}; /* norms 5 and 5 */
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static void open_job(const char *one, const char *two, const char *three, const char *four)
{
    drive_open(&d, (const char *[]){"optimizer.beta2=0.5", "optimizer.sgd.clip=0", one, two, three, four, NULL}, small);
    (void)drive_join(&d, 0);
    drive_clear(&d);
}

static void plain_round(void)
{
    ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
}

/* A round whose statistics are A = dot of the round before and B = bucket^2. */
static void full_round(double dot, float bucket)
{
    struct sp_push push = {.has_scalars = true, .loss = 1.0, .gradient_norm2 = 4.0, .examples = 16};

    push.has_sketch = true;
    push.sketch[3] = bucket;
    ck_assert_int_eq(drive_push_scalars(&d, 1, ramp, dot, &push), SP_OK);
}

static const struct sp_event *event(unsigned n)
{
    const struct drive_entry *entry = drive_find(&d, SP_ACTION_EVENT, n);

    ck_assert_ptr_nonnull(entry);
    return &entry->action.event;
}

/* The words of the line that goes with it. */
static void expect_line(unsigned n, enum sp_note level, const char *words)
{
    const struct drive_entry *entry = drive_find(&d, SP_ACTION_EVENT, n) - 1;

    ck_assert_int_eq(entry->action.note.level, level);
    ck_assert_str_eq(entry->action.note.line, words);
}

static void expect_near(double expected, double is)
{
    ck_assert_double_eq_tol(is, expected, 1e-6 * expected);
}

/* --- by an operator ------------------------------------------------------------------------------------------------
 */

static void expect_refused(const char *why)
{
    struct sp_error error = {0};
    char line[300];

    drive_clear(&d);
    ck_assert_int_eq(drive_switch(&d, &error), SP_E_STATE);
    ck_assert_str_eq(error.text, why);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_NOTE), 1);
    ck_assert_int_eq(event(0)->type, SP_EVENT_REFUSAL);
    ck_assert_str_eq(event(0)->test, "manual");
    ck_assert_int_eq(event(0)->to, event(0)->from);
    (void)snprintf(line, sizeof line, "an operator asked for one, but %s", why);
    ck_assert_str_eq(event(0)->reason, line);
    ck_assert(drive_said(&d, line));
}

START_TEST(test_refused_before_the_start)
{
    drive_open(&d, (const char *[]){"workers=2", NULL}, small);
    expect_refused("the job has not started");
    ck_assert_uint_eq(event(0)->round, 0);
    ck_assert_double_nan(event(0)->gamma);
    (void)drive_join(&d, 0);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    expect_refused("the job has not started");
    (void)drive_join(&d, 1);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    drive_close(&d);
}
END_TEST

START_TEST(test_refused_in_other_modes)
{
    open_job(_i == 0 ? "optimizer.mode=sgd" : "optimizer.mode=adam", "optimizer.switch.when=manual", NULL, NULL);
    expect_refused("optimizer.mode is not hybrid, and such a job has one phase only");
    plain_round();
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_refused_in_the_last_phase_and_round)
{
    open_job("optimizer.switch.when=manual", "train.rounds=3", "optimizer.sgd.lr=0.5", NULL);
    plain_round();
    if (_i == 0)
        ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    plain_round();
    if (_i == 0)
        expect_refused("the SGD phase is the last one");
    else
        expect_refused("the last round is under way");
    if (_i == 0)
        ck_assert_double_nan(event(0)->gamma);
    else
        expect_near(0.0625, event(0)->gamma);
    plain_round();
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    expect_refused("all rounds are done");
    drive_close(&d);
}
END_TEST

static const char *const whens[] = {"optimizer.switch.when=manual", "optimizer.switch.when=never",
                                    "optimizer.switch.when=auto", "optimizer.switch.when=swats"};

/* After the round that is under way, whatever else would decide. */
START_TEST(test_fires_after_the_present_round)
{
    open_job(whens[_i], "optimizer.sgd.lr=0.5", "workers=2", NULL);
    (void)drive_join(&d, 1);
    ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, ramp), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, ramp), SP_OK);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK); /* twice is once */
    ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN);
    drive_clear(&d);
    ck_assert_int_eq(drive_push(&d, 2, ramp), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_int_eq(event(0)->type, SP_EVENT_SWITCH);
    ck_assert_str_eq(event(0)->test, "manual");
    ck_assert_str_eq(event(0)->reason, "manual: an operator asked for it");
    ck_assert_str_eq(event(0)->rule, "optimizer.sgd.lr");
    ck_assert_double_eq(event(0)->lambda, 0.5);
    ck_assert_uint_eq(event(0)->round, 2);
    expect_line(0, SP_NOTE_INFO,
                "switch from sign updates to SGD after round 2: manual: an operator asked for it; lambda = 0.5 "
                "(optimizer.sgd.lr)");
    ck_assert_str_eq(look().switches[0].test, "manual");
    drive_close(&d);
}
END_TEST

/* To margin first, then, once asked again, to SGD. */
START_TEST(test_twice_by_way_of_margin)
{
    open_job("optimizer.switch.when=manual", "optimizer.switch.to=margin", "optimizer.sgd.lr=0.5", NULL);
    for (uint32_t t = 1; t <= 6; t++) {
        if (t % 2 == 0)
            ck_assert_int_eq(t < 6 ? SP_OK : SP_E_STATE, drive_switch(&d, NULL));
        plain_round();
        ck_assert_int_eq(d.form.phase, t < 2 ? SP_PHASE_SIGN : t < 4 ? SP_PHASE_MARGIN : SP_PHASE_SGD);
    }
    ck_assert_uint_eq(look().switches_count, 2);
    expect_line(0, SP_NOTE_INFO,
                "switch from sign updates to margin updates after round 2: manual: an operator asked for it");
    ck_assert_ptr_null(event(0)->rule);
    ck_assert_double_nan(event(0)->lambda);
    drive_close(&d);
}
END_TEST

/* --- dry runs ------------------------------------------------------------------------------------------------------
 */

/* Each test that decides by itself: one event, one line, and the phase goes on to the end. */
static const struct {
    const char *when, *how, *test;
    uint32_t round;
} dry_runs[] = {{"optimizer.switch.when=at", "optimizer.switch.step=4", "at", 4},
                {"optimizer.switch.when=auto", "train.evaluate=0", "auto", 7}, /* the cap, 0.7 of 10 rounds */
                {"optimizer.switch.when=swats", "optimizer.switch.patience=4", "swats", 5}};

START_TEST(test_dry_run_goes_on)
{
    open_job(dry_runs[_i].when, dry_runs[_i].how, "optimizer.switch.dry_run=true", "optimizer.sgd.lambda=ratio");
    for (uint32_t t = 1; t <= 10; t++) {
        ck_assert_int_eq(look().dry_reason[0] != '\0', t > dry_runs[_i].round);
        full_round(3.0, 2.0f);
        ck_assert_int_eq(drive_last(&d, SP_ACTION_COMMIT)->action.commit.next_phase, SP_PHASE_SIGN);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_int_eq(event(0)->type, SP_EVENT_DRY_RUN);
    ck_assert_str_eq(event(0)->test, dry_runs[_i].test);
    ck_assert_uint_eq(event(0)->round, dry_runs[_i].round);
    ck_assert_int_eq(event(0)->from, SP_PHASE_SIGN);
    ck_assert_int_eq(event(0)->to, SP_PHASE_SGD);
    ck_assert_str_eq(event(0)->rule, "ratio");
    ck_assert(!event(0)->about);
    expect_near(0.0625 * 3.0 / 4.0, event(0)->lambda);
    expect_near(3.0, event(0)->numbers.a);
    expect_near(4.0, event(0)->numbers.b);
    ck_assert_uint_eq(event(0)->numbers.rounds_seen, dry_runs[_i].round - 1);
    ck_assert_uint_eq(look().switches_count, 0);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    if (_i == 0)
        expect_line(0, SP_NOTE_INFO,
                    "dry run: would switch from sign updates to SGD now, after round 4: at: round 4, as the job file "
                    "says; lambda = 0.046875 (ratio); going on");
    if (_i == 0)
        ck_assert_str_eq(look().dry_reason, "dry run, would have switched after round 4: at: round 4, as the job file "
                                            "says");
    drive_close(&d);
}
END_TEST

/* An operator may ask as often as he likes. */
START_TEST(test_dry_run_by_hand)
{
    open_job("optimizer.switch.when=manual", "optimizer.switch.dry_run=true", "optimizer.sgd.lr=0.5", NULL);
    for (uint32_t t = 1; t <= 4; t++) {
        if (t != 3)
            ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
        plain_round();
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 3);
    ck_assert_int_eq(event(2)->type, SP_EVENT_DRY_RUN);
    ck_assert_uint_eq(event(2)->round, 4);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN);
    drive_close(&d);
}
END_TEST

/* What the first SGD round would say can only be guessed, and without statistics not even that. */
START_TEST(test_dry_run_of_a_norm_rule)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=3", "optimizer.switch.dry_run=true",
             "optimizer.sgd.scale=1");
    for (uint32_t t = 1; t <= 3; t++) {
        if (_i == 0)
            full_round(1.0, 2.0f);
        else
            plain_round();
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_str_eq(event(0)->rule, "norm_tensor");
    ck_assert_int_eq(event(0)->about, _i == 0);
    if (_i == 0)
        expect_near(0.0625 * sqrt(13.0) / 2.0, event(0)->lambda); /* one worker: nothing tells noise from signal */
    else
        ck_assert_double_nan(event(0)->lambda);
    ck_assert_int_eq(drive_said(&d, "; lambda = about 0.11267 (norm_tensor); going on"), _i == 0);
    ck_assert_int_eq(drive_said(&d, "; the rate (norm_tensor) comes with the first SGD round; going on"), _i == 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_dry_run_to_margin)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=3", "optimizer.switch.dry_run=true",
             "optimizer.switch.to=margin");
    for (uint32_t t = 1; t <= 5; t++)
        plain_round();
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_int_eq(event(0)->to, SP_PHASE_MARGIN);
    ck_assert_ptr_null(event(0)->rule);
    expect_line(0, SP_NOTE_INFO,
                "dry run: would switch from sign updates to margin updates now, after round 3: at: round 3, as the "
                "job file says; going on");
    drive_close(&d);
}
END_TEST

/* --- refusals ------------------------------------------------------------------------------------------------------
 */

static const char *const statistics_rules[] = {"optimizer.sgd.lambda=paper", "optimizer.sgd.lambda=ratio",
                                               "optimizer.sgd.lambda=denoised"};

/* Rules of statistics need some: one refusal, and the switch as soon as there are. */
START_TEST(test_refused_without_statistics)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=2", statistics_rules[_i], NULL);
    for (uint32_t t = 1; t <= 5; t++)
        plain_round();
    ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert_int_eq(event(0)->type, SP_EVENT_REFUSAL);
    ck_assert_uint_eq(event(0)->round, 2);
    ck_assert_str_eq(event(0)->test, "at");
    ck_assert_int_eq(event(0)->to, SP_PHASE_SGD);
    ck_assert_uint_eq(event(0)->numbers.rounds_seen, 0);
    expect_line(0, SP_NOTE_WARN,
                "no switch from sign updates: at: round 2, as the job file says, but no worker has sent the "
                "statistics that its rate comes from (sketch and dot)");
    full_round(0.0, 2.0f);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN); /* its dot is still to come */
    full_round(3.0, 2.0f);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 2);
    ck_assert_int_eq(event(1)->type, SP_EVENT_SWITCH);
    ck_assert_uint_eq(event(1)->round, 7);
    expect_near(0.0625 * 3.0 / 4.0, event(1)->lambda);
    ck_assert_uint_eq(look().switches[0].round, 7);
    drive_close(&d);
}
END_TEST

/* Nor in a dry run; and an operator is told each time. */
START_TEST(test_refused_by_hand_without_statistics)
{
    open_job("optimizer.switch.when=manual", "optimizer.sgd.lambda=ratio",
             _i == 0 ? "optimizer.switch.dry_run=true" : "optimizer.switch.dry_run=false", NULL);
    for (uint32_t t = 1; t <= 3; t++) {
        if (t != 2)
            ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
        plain_round();
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 2);
    for (unsigned n = 0; n < 2; n++) {
        ck_assert_int_eq(event(n)->type, SP_EVENT_REFUSAL);
        ck_assert_str_eq(event(n)->test, "manual");
    }
    ck_assert_int_eq(d.form.phase, SP_PHASE_SIGN);
    ck_assert_str_eq(look().dry_reason, "");
    drive_close(&d);
}
END_TEST

/* That an operator was refused is not what the job's own test is told. */
START_TEST(test_refused_by_hand_and_by_itself)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=3", "optimizer.sgd.lambda=ratio", NULL);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    for (uint32_t t = 1; t <= 5; t++)
        plain_round();
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 2);
    ck_assert_str_eq(event(0)->test, "manual");
    ck_assert_str_eq(event(1)->test, "at");
    ck_assert_uint_eq(event(1)->round, 3);
    drive_close(&d);
}
END_TEST

/* Margin needs no statistics. */
START_TEST(test_no_refusal_to_margin)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.sgd.lambda=ratio",
             "optimizer.switch.to=margin");
    plain_round();
    plain_round();
    ck_assert_int_eq(d.form.phase, SP_PHASE_MARGIN);
    ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
    plain_round();
    ck_assert_int_eq(d.form.phase, SP_PHASE_MARGIN); /* but what comes after it does */
    ck_assert_int_eq(event(1)->type, SP_EVENT_REFUSAL);
    expect_line(1, SP_NOTE_WARN,
                "no switch from margin updates: manual: an operator asked for it, but no worker has sent the "
                "statistics that its rate comes from (sketch and dot)");
    drive_close(&d);
}
END_TEST

/* --- what they say -------------------------------------------------------------------------------------------------
 */

START_TEST(test_bounds_are_told)
{
    open_job("optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.sgd.lambda=ratio",
             _i == 0 ? "optimizer.sgd.lambda_max=0.01" : "optimizer.sgd.lambda_min=0.25");
    full_round(0.0, 2.0f);
    full_round(3.0, 2.0f);
    expect_near(_i == 0 ? 0.01 : 0.25, event(0)->lambda);
    expect_near(0.046875, event(0)->unbounded);
    ck_assert(drive_said(&d, _i == 0 ? "; lambda = 0.01 (ratio; 0.0469 without optimizer.sgd.lambda_min and lambda_max)"
                                     : "; lambda = 0.25 (ratio; 0.0469 without optimizer.sgd.lambda_min and "
                                       "lambda_max)"));
    plain_round();
    expect_near(_i == 0 ? 0.01 : 0.25, (double)drive_last(&d, SP_ACTION_COMMIT)->action.commit.rate);
    drive_close(&d);
}
END_TEST

/* The switch of a norm rule does not know its rate; the rates are a decision of their own in the round after it. */
START_TEST(test_rates_are_told)
{
    const struct sp_event *rates;

    open_job("optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.sgd.scale=1", NULL);
    for (uint32_t t = 1; t <= 5; t++)
        plain_round();
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 2);
    ck_assert_int_eq(event(0)->type, SP_EVENT_SWITCH);
    ck_assert_str_eq(event(0)->rule, "norm_tensor");
    ck_assert_double_nan(event(0)->lambda);
    ck_assert(!event(0)->about);
    rates = event(1);
    ck_assert_int_eq(rates->type, SP_EVENT_RATES);
    ck_assert_uint_eq(rates->round, 3);
    ck_assert_str_eq(rates->test, "rate");
    ck_assert_int_eq(rates->from, SP_PHASE_SGD);
    expect_near(0.0625, rates->gamma);
    expect_near(0.0625 * 2.0 / 5.0, (double)drive_find(&d, SP_ACTION_EVENT, 1)->rates[0]);
    expect_near(0.0625 * 3.0 / 5.0, (double)drive_find(&d, SP_ACTION_EVENT, 1)->rates[1]);
    expect_line(1, SP_NOTE_INFO, "lambda from round 3: norm_tensor, scale 1: t0 0.025, t1 0.0375");
    drive_close(&d);
}
END_TEST

TCase *round_decisions_cases(void)
{
    TCase *cases = tcase_create("decisions");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_refused_before_the_start);
    tcase_add_loop_test(cases, test_refused_in_other_modes, 0, 2);
    tcase_add_loop_test(cases, test_refused_in_the_last_phase_and_round, 0, 2);
    tcase_add_loop_test(cases, test_fires_after_the_present_round, 0, (int)UNIT_COUNT(whens));
    tcase_add_test(cases, test_twice_by_way_of_margin);
    tcase_add_loop_test(cases, test_dry_run_goes_on, 0, (int)UNIT_COUNT(dry_runs));
    tcase_add_test(cases, test_dry_run_by_hand);
    tcase_add_loop_test(cases, test_dry_run_of_a_norm_rule, 0, 2);
    tcase_add_test(cases, test_dry_run_to_margin);
    tcase_add_loop_test(cases, test_refused_without_statistics, 0, (int)UNIT_COUNT(statistics_rules));
    tcase_add_loop_test(cases, test_refused_by_hand_without_statistics, 0, 2);
    tcase_add_test(cases, test_refused_by_hand_and_by_itself);
    tcase_add_test(cases, test_no_refusal_to_margin);
    tcase_add_loop_test(cases, test_bounds_are_told, 0, 2);
    tcase_add_test(cases, test_rates_are_told);
    return cases;
}
