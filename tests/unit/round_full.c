/* Tensors that travel in full precision, whatever the phase. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include <math.h>

/* The rules leave two tensors to the vote, one of them without its weight decay, and give one in full a decay. */
static const struct drive_tensor model[] = {
    {"w", 20, SP_TENSOR_DECAY}, {"bn1", 6, 0}, {"v", 30, SP_TENSOR_DECAY}, {"bn2", 5, 0}, {.count = 0}};
#define RULES "tensors=[{match: \"bn*\", update: full}, {match: \"bn1\", decay: true}, {match: \"v\", decay: false}]"
#define ALL 61

static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static const struct drive_entry *last_commit(void)
{
    return drive_last(&d, SP_ACTION_COMMIT);
}

static const struct sp_report *last_report(void)
{
    return &drive_last(&d, SP_ACTION_REPORT)->action.report;
}

static void expect_rate(double expected, float is)
{
    ck_assert_double_eq_tol((double)is, expected, 1e-6 * expected);
}

static void open_full(const char *workers, const char *setting, const char *another, const char *third)
{
    drive_open_model(&d,
                     (const char *[]){RULES, workers, "full.lr=0.25", "optimizer.sign.lr=0.5",
                                      "optimizer.sign.schedule=linear", "train.report=1", setting, another, third,
                                      NULL},
                     model);
    ck_assert_uint_eq(drive_join_all(&d, d.job.workers), 1);
    drive_clear(&d);
}

static void fill(uint64_t seed, float values[ALL])
{
    struct sp_rng rng = unit_rng(seed);

    for (unsigned j = 0; j < ALL; j++)
        values[j] = unit_uniform(&rng);
}

static bool is_full(unsigned j)
{
    return (j >= 20 && j < 26) || j >= 56;
}

/* --- sign and margin rounds ----------------------------------------------------------------------------------------
 */

/* The mean of their values with their own rate, which follows the sign phase's schedule, and a decay by that rate where
 * they have one; the others as ever, sign by sign or by V/M. */
START_TEST(test_mean_beside_the_vote)
{
    float theta[ALL], values[3][ALL];

    open_full("workers=3", "optimizer.weight_decay=0.125", _i == 0 ? "optimizer.start=sign" : "optimizer.start=margin",
              "optimizer.margin.lr=0.5");
    for (uint32_t t = 1; t <= 4; t++) {
        double factor = (11.0 - t) / 10.0;
        float gamma = (float)(0.5 * factor), full = (float)(0.25 * factor);
        float gamma_decay = (float)(1.0 - 0.5 * factor * 0.125), full_decay = (float)(1.0 - 0.25 * factor * 0.125);
        const float rates[4] = {gamma, full, gamma, full};
        const float decays[4] = {gamma_decay, full_decay, gamma_decay, full_decay};

        memcpy(theta, d.theta, sizeof theta);
        for (uint32_t i = 0; i < 3; i++) {
            fill(3 * t + i, values[i]);
            ck_assert_int_eq(drive_push(&d, i + 1, values[i]), SP_OK);
        }
        ck_assert_uint_eq(last_commit()->action.commit.rates_count, 4);
        ck_assert_mem_eq(last_commit()->rates, rates, sizeof rates);
        ck_assert_uint_eq(last_commit()->action.commit.decays_count, 4);
        ck_assert_mem_eq(last_commit()->decays, decays, sizeof decays);
        ck_assert_float_eq(last_commit()->action.commit.rate, gamma);
        ck_assert_double_eq_tol(last_report()->rate, (double)gamma, 1e-9);
        for (unsigned j = 0; j < ALL; j++) {
            float mean = (float)(((double)values[0][j] + (double)values[1][j] + (double)values[2][j]) / 3.0);
            int v = (values[0][j] > 0.0f ? 1 : -1) + (values[1][j] > 0.0f ? 1 : -1) + (values[2][j] > 0.0f ? 1 : -1);
            float vote = _i == 0 ? (v > 0 ? 1.0f : -1.0f) : (float)v / 3.0f;

            if (j < 26) /* w and bn1 */
                theta[j] *= j < 20 ? gamma_decay : full_decay;
            theta[j] -= is_full(j) ? full * mean : gamma * vote;
            unit_assert(d.theta[j] == theta[j], "weight %u after round %u", j, t);
        }
    }
    drive_close(&d);
}
END_TEST

START_TEST(test_no_decays_without_weight_decay)
{
    float values[ALL];

    open_full("workers=1", NULL, NULL, NULL);
    fill(1, values);
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    ck_assert_uint_eq(last_commit()->action.commit.rates_count, 4);
    ck_assert_uint_eq(last_commit()->action.commit.decays_count, 0);
    ck_assert_float_eq(last_commit()->action.commit.decay, 1.0f);
    drive_close(&d);
}
END_TEST

/* They are told of at the start, and so is a rule that matches nothing. Late joiners get the traits. */
START_TEST(test_what_is_said_of_them)
{
    static const uint8_t traits[] = {SP_TENSOR_DECAY, SP_TENSOR_FULL | SP_TENSOR_DECAY, 0, SP_TENSOR_FULL};
    struct sp_welcome welcome = {0};

    drive_open_model(&d, (const char *[]){RULES, "train.rounds=3", NULL}, model);
    (void)drive_join(&d, 0);
    ck_assert(drive_said(&d, "11 of 61 parameters travel in full precision (tensors)"));
    sp_round_progress(d.round, &welcome);
    ck_assert_uint_eq(welcome.traits_count, 4);
    ck_assert_mem_eq(welcome.traits, traits, 4);
    ck_assert_mem_eq(look().traits, traits, 4);
    drive_close(&d);
    drive_open_model(&d, (const char *[]){"tensors=[{match: \"x*\", update: full}]", NULL}, model);
    (void)drive_join(&d, 0);
    ck_assert(drive_said(&d, "no tensor of the model matches 'x*' (tensors): that rule does nothing"));
    drive_close(&d);
}
END_TEST

/* Their places among the signs are zeros: anything else is no push of this job. */
START_TEST(test_bits_set_for_them)
{
    static const unsigned wrong[] = {20, 25, 56, 60}, right[] = {0, 19, 26, 55};
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .round = 1, .count = ALL, .bulk_bytes = 8}};

    for (unsigned i = 0; i < 8; i++) {
        unsigned j = i < 4 ? wrong[i] : right[i - 4];
        struct sp_error error = {0};
        void *to = NULL;
        int rc;

        open_full("workers=1", _i == 0 ? "optimizer.start=sign" : "optimizer.start=margin", NULL, NULL);
        ck_assert_int_eq(sp_round_place(d.round, 1, &message.frame, &to, &error), SP_OK);
        memset(to, 0, 8);
        ((uint8_t *)to)[j / 8] = (uint8_t)(1u << (j % 8));
        rc = sp_round_push(d.round, 1, &message, d.now_ms, &error);
        ck_assert_int_eq(rc, i < 4 ? SP_E_PROTOCOL : SP_OK);
        ck_assert_int_eq(strstr(error.text, "bits set for tensors that travel in full") != NULL, i < 4);
        drive_close(&d);
    }
}
END_TEST

/* Between the last two updates of a sign job, of those that are voted on. */
static unsigned count_flips(void)
{
    const struct drive_entry *before = drive_find(&d, SP_ACTION_UPDATE, drive_number(&d, SP_ACTION_UPDATE) - 4);
    const struct drive_entry *now = drive_find(&d, SP_ACTION_UPDATE, drive_number(&d, SP_ACTION_UPDATE) - 2);
    unsigned flips = 0;

    ck_assert_uint_eq(before->action.round + 1, now->action.round);
    for (unsigned j = 0; j < ALL; j++)
        flips += !is_full(j) && ((before->bulk[j / 8] ^ now->bulk[j / 8]) >> (j % 8) & 1) != 0;
    return flips;
}

/* Shares are of the 50 coordinates that are voted on: two workers agree on the first 10 and the last 15 of them. */
START_TEST(test_counts_leave_them_out)
{
    float one[ALL], other[ALL];

    open_full("workers=2", _i == 0 ? "optimizer.start=sign" : "optimizer.start=margin", NULL, NULL);
    for (unsigned j = 0; j < ALL; j++) {
        one[j] = 1.0f;
        other[j] = j < 10 || j >= 41 ? 1.0f : -1.0f;
    }
    for (uint32_t t = 1; t <= 2; t++) {
        ck_assert_int_eq(drive_push(&d, 1, one), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, other), SP_OK);
        ck_assert_double_eq(last_report()->ties, 0.5);
        ck_assert_double_eq(last_report()->unanimous, 0.5);
        ck_assert_double_eq(last_report()->margin, 0.5);
        ck_assert_double_eq(last_report()->flips, t == 1 ? 0.0 : 0.5); /* the coins */
    }
    ck_assert_uint_eq(look().slots[0].compared, 100);
    ck_assert_uint_eq(look().slots[0].disagreed + look().slots[1].disagreed, 50);
    /* Nobody votes: nothing but coins, of these 50 too. */
    ck_assert_int_eq(drive_abstain(&d, 1, 3), SP_OK);
    ck_assert_int_eq(drive_abstain(&d, 2, 3), SP_OK);
    ck_assert_double_eq(last_report()->ties, 1.0);
    ck_assert_double_eq(last_report()->unanimous, 1.0);
    ck_assert_double_eq(last_report()->margin, 0.0);
    if (_i == 0)
        ck_assert_double_eq(last_report()->flips, (double)count_flips() / 50.0);
    drive_close(&d);
}
END_TEST

/* Nobody's values: they stay, as the coins of the others come and go. */
START_TEST(test_nobody_gives_them)
{
    float theta[ALL];

    open_full("workers=1", NULL, NULL, NULL);
    memcpy(theta, d.theta, sizeof theta);
    ck_assert_int_eq(drive_abstain(&d, 1, 1), SP_OK);
    for (unsigned j = 0; j < ALL; j++) {
        ck_assert_int_eq(d.theta[j] == theta[j], is_full(j));
        if (is_full(j)) /* zeros in the update, too */
            ck_assert_uint_eq(drive_find(&d, SP_ACTION_UPDATE, 0)->bulk[j / 8] >> (j % 8) & 1, 0);
    }
    drive_close(&d);
}
END_TEST

/* The main section of such a worker counts, its section in full does not. */
START_TEST(test_values_that_are_not_finite)
{
    float theta[ALL], good[ALL], bad[ALL];

    open_full("workers=3", NULL, NULL, NULL);
    fill(1, good);
    for (unsigned j = 0; j < ALL; j++)
        bad[j] = -good[j];
    bad[57] = NAN;
    memcpy(theta, d.theta, sizeof theta);
    ck_assert_int_eq(drive_push(&d, 1, bad), SP_OK);
    ck_assert_int_eq(drive_push(&d, 3, bad), SP_OK);
    ck_assert(drive_said(&d, "abstains from round 1 from chunk 1 on: values that are not finite"));
    ck_assert_int_eq(drive_push(&d, 2, good), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(last_commit()->action.commit.voters[0], 2);
    ck_assert_float_eq(d.theta[0], theta[0] - (bad[0] > 0.0f ? 0.5f : -0.5f));
    ck_assert_float_eq(d.theta[57], theta[57] - 0.25f * good[57]);
    drive_close(&d);
}
END_TEST

/* --- SGD -----------------------------------------------------------------------------------------------------------
 */

/* Their length has no part in the rates of the others, and they keep their own. */
START_TEST(test_norm_rates)
{
    float values[ALL] = {0};
    const struct drive_entry *event;

    open_full("workers=1", "optimizer.switch.when=at", "optimizer.switch.step=2",
              _i == 0 ? "optimizer.sgd.lambda=norm" : "optimizer.sgd.lambda=norm_tensor");
    values[0] = 3.0f; /* w has length 5, v 10 */
    values[1] = 4.0f;
    values[30] = 10.0f;
    values[22] = 1000.0f;
    values[58] = -1000.0f;
    for (uint32_t t = 1; t <= 6; t++) {
        double factor = (11.0 - t) / 10.0, step = 0.6 * 0.5 * 0.9, since = factor / 0.9;
        const float *rates;

        ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
        rates = last_commit()->rates;
        ck_assert_uint_eq(last_commit()->action.commit.rates_count, 4);
        expect_rate(0.25 * factor, rates[1]);
        expect_rate(0.25 * factor, rates[3]);
        if (t <= 2)
            continue;
        if (_i == 0) {
            expect_rate(step * sqrt(50.0 / 125.0) * since, rates[0]);
            expect_rate(step * sqrt(50.0 / 125.0) * since, rates[2]);
        } else {
            expect_rate(step * sqrt(20.0) / 5.0 * since, rates[0]);
            expect_rate(step * sqrt(30.0) / 10.0 * since, rates[2]);
        }
        ck_assert_double_eq_tol(last_report()->rate, (double)rates[2], 1e-9); /* v is the largest that is voted on */
    }
    ck_assert(drive_said(&d, "lambda"));
    ck_assert(!drive_said(&d, "bn1"));
    event = drive_last(&d, SP_ACTION_EVENT);
    ck_assert_int_eq(event->action.event.type, SP_EVENT_RATES);
    ck_assert_int_eq(event->rates != NULL, _i == 1);
    drive_close(&d);
}
END_TEST

/* While the rate of the others is not known they go on with theirs alone. */
START_TEST(test_first_round_without_a_mean)
{
    float values[ALL] = {0}, theta[ALL];

    open_full("workers=1", "optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.weight_decay=0.125");
    values[22] = 2.0f;
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    memcpy(theta, d.theta, sizeof theta);
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    ck_assert_float_eq(last_commit()->rates[0], 0.0f);
    ck_assert_float_eq(last_commit()->decays[0], 1.0f);
    expect_rate(0.25 * 0.8, last_commit()->rates[1]);
    expect_rate(1.0 - 0.25 * 0.8 * 0.125, last_commit()->decays[1]);
    ck_assert_mem_eq(d.theta, theta, 20 * sizeof *theta);
    ck_assert_float_eq(d.theta[22], theta[22] * last_commit()->decays[1] - last_commit()->rates[1] * 2.0f);
    drive_close(&d);
}
END_TEST

/* A rate for all still comes as one a tensor; coded values leave them as zeros and send them on in float32. */
START_TEST(test_fixed_rate)
{
    float values[ALL], theta[ALL];

    open_full("workers=1", "optimizer.switch.when=at", "optimizer.switch.step=1", "optimizer.sgd.lr=0.125");
    fill(1, values);
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    memcpy(theta, d.theta, sizeof theta);
    ck_assert_int_eq(drive_push(&d, 1, values), SP_OK);
    ck_assert_uint_eq(last_commit()->action.commit.rates_count, 4);
    expect_rate(0.125 * 0.9, last_commit()->rates[0]);
    expect_rate(0.25 * 0.9, last_commit()->rates[3]);
    for (unsigned j = 0; j < ALL; j++)
        unit_assert(d.theta[j] == theta[j] - last_commit()->rates[is_full(j) ? 1 : 0] * values[j], "weight %u", j);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_UPDATE)->action.update.flags, SP_FRAME_FULL | SP_FRAME_LAST);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_UPDATE)->action.update.count, 11);
    drive_close(&d);
}
END_TEST

TCase *round_full_cases(void)
{
    TCase *cases = tcase_create("full");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_mean_beside_the_vote, 0, 2);
    tcase_add_test(cases, test_no_decays_without_weight_decay);
    tcase_add_test(cases, test_what_is_said_of_them);
    tcase_add_loop_test(cases, test_bits_set_for_them, 0, 2);
    tcase_add_loop_test(cases, test_counts_leave_them_out, 0, 2);
    tcase_add_test(cases, test_nobody_gives_them);
    tcase_add_test(cases, test_values_that_are_not_finite);
    tcase_add_loop_test(cases, test_norm_rates, 0, 2);
    tcase_add_test(cases, test_first_round_without_a_mean);
    tcase_add_test(cases, test_fixed_rate);
    return cases;
}
