/* The margin phase: its updates are the vote counts themselves. From sign to margin, and on to SGD. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include "common/planes.h"

#include <math.h>
#include <stdio.h>

static const uint64_t small[] = {100, 37, 0};
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

static void expect_rate(double expected, double is)
{
    ck_assert_double_eq_tol(is, expected, 1e-6 * expected);
}

/* Freed by the caller. */
static float *draw(uint64_t seed)
{
    struct sp_rng rng = unit_rng(seed);
    float *values = unit_alloc(d.layout.coordinates * sizeof *values);

    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        values[j] = unit_uniform(&rng);
    return values;
}

/* theta*decay where the tensor has it, then - rate*V/M; V counts values[i][j] > 0, i < votes. */
static void step_naively(float *theta, float *const values[], unsigned votes, uint64_t first, uint64_t end)
{
    const struct sp_commit *c = &last_commit()->action.commit;

    for (uint64_t j = first; j < end; j++) {
        int v = 0;

        for (unsigned i = 0; i < votes; i++)
            v += values[i][j] > 0.0f ? 1 : -1;
        if ((d.layout.tensors[sp_layout_find(&d.layout, j)].flags & SP_TENSOR_DECAY) != 0)
            theta[j] = theta[j] * c->decay;
        theta[j] = theta[j] - c->rate * (votes > 0 ? (float)v / (float)votes : 0.0f);
    }
}

/* --- counts --------------------------------------------------------------------------------------------------------
 */

static const unsigned numbers[] = {1, 2, 3, 5, 8};

START_TEST(test_counts_of_votes)
{
    unsigned m = numbers[_i];
    char workers[32];
    float *values[8], *theta;

    (void)snprintf(workers, sizeof workers, "workers=%u", m);
    drive_open(&d,
               (const char *[]){workers, "optimizer.start=margin", "optimizer.margin.lr=0.5",
                                "optimizer.margin.sigma0=0.25", "optimizer.weight_decay=0.125", "train.report=1", NULL},
               small);
    ck_assert_uint_eq(drive_join_all(&d, m), 1);
    theta = unit_alloc(137 * sizeof *theta);
    for (uint32_t t = 1; t <= 3; t++) {
        const struct drive_entry *update;

        ck_assert_int_eq(d.form.phase, SP_PHASE_MARGIN);
        ck_assert_float_eq(last_commit()->action.commit.next_sigma, 0.25f);
        memcpy(theta, d.theta, 137 * sizeof *theta);
        for (unsigned i = 0; i < m; i++) {
            values[i] = draw(8 * t + i);
            ck_assert_int_eq(drive_push(&d, i + 1, values[i]), SP_OK);
        }
        ck_assert_uint_eq(d.committed, t);
        update = drive_last(&d, SP_ACTION_UPDATE);
        ck_assert_uint_eq(update->action.update.voters, m);
        ck_assert_uint_eq(update->action.update.bytes, sp_planes(m) * 18);
        ck_assert_float_eq(last_commit()->action.commit.rate, 0.5f);
        ck_assert_float_eq(last_commit()->action.commit.decay, 0.9375f);
        ck_assert_uint_eq(last_commit()->action.commit.rates_count, 0);
        step_naively(theta, values, m, 0, 137);
        ck_assert_mem_eq(theta, d.theta, 137 * sizeof *theta);
        for (unsigned i = 0; i < m; i++)
            free(values[i]);
    }
    ck_assert_int_eq(drive_last(&d, SP_ACTION_REPORT)->action.report.phase, SP_PHASE_MARGIN);
    ck_assert_double_eq(drive_last(&d, SP_ACTION_REPORT)->action.report.rate, 0.5);
    free(theta);
    drive_close(&d);
}
END_TEST

/* One of four breaks off after the first of two chunks, or all do after it: each chunk is divided by its own M, and
 * what nobody voted on stays as it is. */
START_TEST(test_abstaining_midway)
{
    const uint64_t all = SP_CHUNK_MARGIN + 50;
    float *values[4], *theta;

    drive_open(&d, (const char *[]){"workers=4", "optimizer.start=margin", NULL}, (const uint64_t[]){all, 0});
    (void)drive_join_all(&d, 4);
    theta = unit_alloc(all * sizeof *theta);
    memcpy(theta, d.theta, all * sizeof *theta);
    for (uint32_t i = 0; i < 4; i++) {
        struct drive_chunk chunk = {.round = 1};

        values[i] = draw(i);
        chunk.values = values[i];
        ck_assert_int_eq(drive_push_chunk(&d, i + 1, &chunk), SP_OK);
        chunk.k = 1;
        if (_i == 1 || i == 3)
            ck_assert_int_eq(drive_abstain(&d, i + 1, 1), SP_OK);
        else
            ck_assert_int_eq(drive_push_chunk(&d, i + 1, &chunk), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_UPDATE, 0)->action.update.voters, 4);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_UPDATE, 0)->action.update.bytes, 3 * SP_CHUNK_MARGIN / 8);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_UPDATE, 1)->action.update.voters, _i == 1 ? 0 : 3);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_UPDATE, 1)->action.update.bytes, _i == 1 ? 7 : 14);
    ck_assert_uint_eq(last_commit()->action.commit.voters[0], _i == 1 ? 0 : 7);
    ck_assert_float_eq(last_commit()->action.commit.rate, 0.25f); /* four times the sign phase's */
    step_naively(theta, values, 4, 0, SP_CHUNK_MARGIN);
    step_naively(theta, values, _i == 1 ? 0 : 3, SP_CHUNK_MARGIN, all);
    ck_assert_mem_eq(theta, d.theta, all * sizeof *theta);
    for (int i = 0; i < 4; i++)
        free(values[i]);
    free(theta);
    drive_close(&d);
}
END_TEST

/* Counts for people: the majority is still taken, for flips and disagreement. */
START_TEST(test_report_of_a_margin_round)
{
    const float up[8] = {1, 1, 1, 1, 1, 1, 1, 1}, half[8] = {1, 1, 1, 1, -1, -1, -1, -1};
    const float other[8] = {-1, -1, -1, -1, -1, -1, 1, 1};
    const struct sp_report *report;

    drive_open(&d, (const char *[]){"workers=3", "optimizer.start=margin", "train.report=2", NULL},
               (const uint64_t[]){8, 0});
    (void)drive_join_all(&d, 3);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(drive_push(&d, 1, round == 0 ? up : other), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, half), SP_OK);
        ck_assert_int_eq(drive_push(&d, 3, half), SP_OK);
    }
    report = &drive_last(&d, SP_ACTION_REPORT)->action.report;
    /* |V| of round 1: 3 3 3 3 1 1 1 1; of round 2: 1 1 1 1 3 3 1 1. The majority is `half` in both. */
    ck_assert_double_eq_tol(report->margin, (16.0 + 12.0) / 3.0 / 16.0, 1e-12);
    ck_assert_double_eq(report->unanimous, (4.0 + 2.0) / 16.0);
    ck_assert_double_eq(report->ties, 0.0);
    ck_assert_double_eq(report->flips, 0.0);
    ck_assert_uint_eq(look().slots[0].disagreed, 4 + 6);
    ck_assert_uint_eq(look().slots[1].disagreed, 0);
    drive_close(&d);
}
END_TEST

/* --- from phase to phase -------------------------------------------------------------------------------------------
 */

static void open_three_phases(const char *setting)
{
    drive_open(&d,
               (const char *[]){"workers=2", "optimizer.sign.lr=0.5", "optimizer.sign.schedule=linear",
                                "optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.switch.to=margin",
                                "optimizer.margin.until=0.5", "optimizer.sgd.scale=0.8", setting, NULL},
               (const uint64_t[]){4, 9, 0});
    (void)drive_join_all(&d, 2);
}

static const float even[13] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static const float mixed[13] = {-1, 1, 1, 1, -1, -1, -1, -1, -1, 1, 1, 1, 1}; /* V/M is 0 five times in t1 */
static const float means[13] = {3, -4, 0, 0, 2, -4, 4, 8, 0, 0, 0, 0, 0};     /* norms 5 and 10 */

static void both_push(const float *one, const float *other)
{
    ck_assert_int_eq(drive_push(&d, 1, one), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, other), SP_OK);
}

static void expect_switch(unsigned n, uint32_t round, enum sp_phase from, enum sp_phase to, const char *test,
                          double gamma)
{
    const struct sp_event *event = &drive_find(&d, SP_ACTION_EVENT, n)->action.event;
    struct sp_view view = look();

    ck_assert_int_eq(event->type, SP_EVENT_SWITCH);
    ck_assert_uint_eq(event->round, round);
    ck_assert_int_eq(event->from, from);
    ck_assert_int_eq(event->to, to);
    ck_assert_str_eq(event->test, test);
    expect_rate(gamma, event->gamma);
    ck_assert_uint_gt(view.switches_count, n);
    ck_assert_uint_eq(view.switches[n].round, round);
    ck_assert_int_eq(view.switches[n].from, from);
    ck_assert_int_eq(view.switches[n].to, to);
    ck_assert_str_eq(view.switches[n].test, test);
    ck_assert_str_eq(view.switches[n].reason, event->reason);
}

/* Two rounds of signs, margin up to half of the job, then SGD; the rate of a tensor keeps the length of V/M. */
START_TEST(test_sign_margin_sgd)
{
    static const enum sp_phase phases[] = {SP_PHASE_SIGN,   SP_PHASE_SIGN,   SP_PHASE_SIGN, SP_PHASE_MARGIN,
                                           SP_PHASE_MARGIN, SP_PHASE_MARGIN, SP_PHASE_SGD};

    open_three_phases(_i == 0 ? "optimizer.sgd.wire=f32" : "optimizer.sgd.wire=i8");
    for (uint32_t t = 1; t <= 10; t++) {
        enum sp_phase phase = phases[t < 6 ? t : 6];

        ck_assert_int_eq(d.form.phase, phase);
        ck_assert_int_eq(sp_round_phase(d.round, t), phase);
        ck_assert_int_eq(look().phase, phase);
        if (phase == SP_PHASE_SGD)
            both_push(means, means);
        else
            both_push(even, mixed);
        ck_assert_uint_eq(d.committed, t);
    }
    expect_switch(0, 2, SP_PHASE_SIGN, SP_PHASE_MARGIN, "at", 0.5 * 0.9);
    expect_switch(1, 5, SP_PHASE_MARGIN, SP_PHASE_SGD, "until", 4.0 * 0.5 * 0.6);
    ck_assert(drive_said(&d, "switch from sign updates to margin updates after round 2: at: round 2, as the job file"));
    ck_assert(drive_said(&d, "switch from margin updates to SGD after round 5: until: round 5, as optimizer.margin."));
    for (uint32_t t = 1; t <= 10; t++)
        ck_assert_int_eq(sp_round_phase(d.round, t), phases[t < 6 ? t : 6]);
    /* ||V/M||^2 is 3 and 4 of 4 and 9. */
    for (uint32_t t = 6; t <= 10; t++) {
        const struct drive_entry *commit = drive_find(&d, SP_ACTION_COMMIT, t);
        double factor = (11.0 - t) / 10.0 / 0.6;

        ck_assert_uint_eq(commit->action.commit.rates_count, 2);
        expect_rate(0.8 * 1.2 * sqrt(3.0) / 5.0 * factor, (double)commit->rates[0]);
        expect_rate(0.8 * 1.2 * sqrt(4.0) / 10.0 * factor, (double)commit->rates[1]);
        expect_rate(0.8 * 1.2 * sqrt(7.0 / 125.0) * factor, (double)commit->action.commit.rate);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 3); /* and the rates */
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    drive_close(&d);
}
END_TEST

/* Without `until` the margin phase is the last one. */
START_TEST(test_margin_to_the_end)
{
    open_three_phases("optimizer.margin.until=0");
    for (uint32_t t = 1; t <= 10; t++)
        both_push(even, mixed);
    ck_assert_int_eq(sp_round_phase(d.round, 10), SP_PHASE_MARGIN);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    expect_switch(0, 2, SP_PHASE_SIGN, SP_PHASE_MARGIN, "at", 0.45);
    drive_close(&d);
}
END_TEST

/* `until` is over when the switch comes: one margin round, and on. */
START_TEST(test_until_before_the_switch)
{
    open_three_phases("optimizer.margin.until=0.1");
    for (uint32_t t = 1; t <= 3; t++)
        both_push(even, mixed);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    expect_switch(1, 3, SP_PHASE_MARGIN, SP_PHASE_SGD, "until", 4.0 * 0.5 * 0.8);
    drive_close(&d);
}
END_TEST

START_TEST(test_start_in_margin)
{
    struct sp_welcome welcome = {0};

    drive_open(&d,
               (const char *[]){"optimizer.start=margin", "optimizer.switch.when=at", "optimizer.switch.step=3",
                                "optimizer.sgd.lambda=norm", "optimizer.sgd.scale=1", "optimizer.margin.lr=0.5", NULL},
               (const uint64_t[]){4, 9, 0});
    (void)drive_join(&d, 0);
    sp_round_progress(d.round, &welcome);
    ck_assert_uint_eq(welcome.phase, SP_PHASE_MARGIN);
    ck_assert_float_eq(welcome.sigma, 1.0f);
    for (uint32_t t = 1; t <= 4; t++) {
        ck_assert_int_eq(d.form.phase, t <= 3 ? SP_PHASE_MARGIN : SP_PHASE_SGD);
        ck_assert_int_eq(drive_push(&d, 1, means), SP_OK);
    }
    expect_switch(0, 3, SP_PHASE_MARGIN, SP_PHASE_SGD, "at", 0.5);
    expect_rate(0.5 * sqrt(13.0 / 125.0), (double)last_commit()->action.commit.rate); /* one worker: |V/M| is 1 */
    drive_close(&d);
}
END_TEST

/* Votes of a tensor that all tie in the round before SGD, or nobody's votes: a rate of 0 would last to the job's end.
 * The length is that of the last round that had one. */
START_TEST(test_rates_after_ties)
{
    const float against[13] = {-1, -1, -1, -1, 1, -1, -1, -1, -1, 1, 1, 1, 1};

    open_three_phases(NULL);
    for (uint32_t t = 1; t <= 4; t++)
        both_push(even, mixed);
    if (_i == 0) {
        both_push(even, against);
    } else {
        ck_assert_int_eq(drive_abstain(&d, 1, 5), SP_OK);
        ck_assert_int_eq(drive_abstain(&d, 2, 5), SP_OK);
    }
    both_push(means, means);
    ck_assert_uint_eq(d.committed, 6);
    expect_rate(0.8 * 1.2 * sqrt(3.0) / 5.0 * 0.5 / 0.6, (double)last_commit()->rates[0]);
    expect_rate(0.8 * 1.2 * sqrt(_i == 0 ? 5.0 : 4.0) / 10.0 * 0.5 / 0.6, (double)last_commit()->rates[1]);
    drive_close(&d);
}
END_TEST

/* There was no such round: that of votes that all agree. */
START_TEST(test_rates_after_nothing_but_ties)
{
    const float against[13] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

    drive_open(&d,
               (const char *[]){"workers=2", "optimizer.start=margin", "optimizer.switch.when=at",
                                "optimizer.switch.step=1", "optimizer.sgd.scale=1", "optimizer.margin.lr=0.5", NULL},
               (const uint64_t[]){4, 9, 0});
    (void)drive_join_all(&d, 2);
    both_push(even, against);
    both_push(means, means);
    expect_rate(0.5 * 2.0 / 5.0, (double)last_commit()->rates[0]);
    expect_rate(0.5 * 3.0 / 10.0, (double)last_commit()->rates[1]);
    drive_close(&d);
}
END_TEST

TCase *round_margin_cases(void)
{
    TCase *cases = tcase_create("margin");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_counts_of_votes, 0, (int)UNIT_COUNT(numbers));
    tcase_add_loop_test(cases, test_abstaining_midway, 0, 2);
    tcase_add_test(cases, test_report_of_a_margin_round);
    tcase_add_loop_test(cases, test_sign_margin_sgd, 0, 2);
    tcase_add_test(cases, test_margin_to_the_end);
    tcase_add_test(cases, test_until_before_the_switch);
    tcase_add_test(cases, test_start_in_margin);
    tcase_add_loop_test(cases, test_rates_after_ties, 0, 2);
    tcase_add_test(cases, test_rates_after_nothing_but_ties);
    return cases;
}
