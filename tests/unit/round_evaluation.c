/* Evaluations, resynchronisation, and ends. */
#include "drive.h"
#include "round_cases.h"

#include "common/weights.h"
#include "server/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint64_t small[] = {5, 3, 0};
static const float up[8] = {1, 1, 1, 1, 1, 1, 1, 1};
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

/* `workers` workers and 10 test examples; an epoch has 4 rounds, and the job 8, unless the settings say otherwise. */
static void open_tests(uint32_t workers, const char *setting, const char *another)
{
    char w[32];

    (void)snprintf(w, sizeof w, "workers=%u", workers);
    drive_open(
        &d,
        (const char *[]){w, "train.batch=10", "train.rounds=8", "server.evaluate_timeout=30", setting, another, NULL},
        small);
    d.examples = 4ull * 10 * workers;
    d.test_examples = 10;
    ck_assert_uint_eq(drive_join_all(&d, workers), 1);
}

static void all_push(void)
{
    for (uint32_t i = 0; i < d.job.workers; i++) {
        if (look().slots[i].ready)
            ck_assert_int_eq(drive_push(&d, look().slots[i].peer, up), SP_OK);
    }
}

static void rounds_until(uint32_t t)
{
    while (d.committed < t)
        all_push();
    drive_clear(&d);
}

static size_t position(const struct drive_entry *entry)
{
    return (size_t)(entry - d.log);
}

/* --- parts ---------------------------------------------------------------------------------------------------------
 */

START_TEST(test_parts_go_out_before_the_commit)
{
    open_tests(3, NULL, NULL);
    rounds_until(3);
    all_push();
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVAL), 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct drive_entry *eval = drive_to(&d, SP_ACTION_EVAL, i + 1);

        ck_assert_uint_eq(eval->action.round, 4);
        ck_assert_uint_eq(eval->action.eval.part, i);
        ck_assert_uint_eq(eval->action.eval.parts, 3);
        ck_assert_uint_lt(position(eval), position(drive_find(&d, SP_ACTION_COMMIT, 0)));
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_REPORT), 0);
    drive_close(&d);
}
END_TEST

/* The next round is collected and voted on, but not committed before the scores are in: until then a lost part can go
 * to another that holds these weights. */
START_TEST(test_scores_before_the_next_commit)
{
    const struct sp_report *report;

    open_tests(2, NULL, NULL);
    rounds_until(4);
    all_push();
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 1);
    drive_tick(&d, 20);
    ck_assert_str_eq(look().waits, "the evaluation after round 4: 0 of 2 parts are in");
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 3, 5), SP_OK);
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 4, 5), SP_OK);
    ck_assert_uint_eq(d.committed, 5);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_REPORT), 1);
    report = &drive_find(&d, SP_ACTION_REPORT, 0)->action.report;
    ck_assert_uint_lt(position(drive_find(&d, SP_ACTION_REPORT, 0)), position(drive_find(&d, SP_ACTION_COMMIT, 0)));
    ck_assert(report->evaluated);
    ck_assert_uint_eq(report->round, 4);
    ck_assert_uint_eq(report->correct, 7);
    ck_assert_uint_eq(report->total, 10);
    ck_assert_uint_eq(report->expected, 10);
    ck_assert_double_eq(report->test_loss, 0.5);
    ck_assert(look().evaluated && !look().partial);
    ck_assert_uint_eq(look().correct, 7);
    drive_close(&d);
}
END_TEST

/* The sum is taken in the order of parts, whatever order they come in: in another one it differs in its last bits. */
START_TEST(test_scores_are_added_in_order)
{
    const double loss[4] = {0.1, 1e16, 0.3, -1e16};
    struct sp_part_score score = {.correct = 1, .total = 2};
    struct sp_error error;
    double sum = 0.0;

    open_tests(4, NULL, NULL);
    rounds_until(4);
    for (uint32_t i = 4; i-- > 0;) {
        score.part = i;
        score.loss_sum = loss[i];
        score.total = i < 2 ? 3 : 2;
        ck_assert_int_eq(sp_round_score(d.round, i + 1, 4, &score, d.now_ms, &error), SP_OK);
    }
    drive_absorb(&d);
    for (int i = 0; i < 4; i++)
        sum += loss[i];
    ck_assert_double_ne(sum, ((loss[3] + loss[2]) + loss[1]) + loss[0]);
    ck_assert_double_eq(look().test_loss, sum / 10.0);
    drive_close(&d);
}
END_TEST

START_TEST(test_scores_that_cannot_be)
{
    struct sp_part_score score = {.part = 0, .correct = 2, .total = 5, .loss_sum = (double)NAN};
    struct sp_error error;

    open_tests(2, NULL, NULL);
    ck_assert_int_eq(drive_score(&d, 1, 1, 0, 1, 5), SP_OK); /* of an evaluation that is over, or was never asked for */
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 1, 1, 5), SP_OK);         /* the other's part: ignored */
    ck_assert_int_eq(drive_score(&d, 1, 4, 2, 1, 5), SP_E_PROTOCOL); /* no such part */
    ck_assert_int_eq(drive_score(&d, 1, 4, UINT32_MAX, 1, 5), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 6, 5), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 11), SP_E_PROTOCOL);
    ck_assert_int_eq(sp_round_score(d.round, 1, 4, &score, d.now_ms, &error), SP_E_PROTOCOL);
    ck_assert(!look().evaluated);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 5), SP_OK);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 5, 5), SP_OK); /* once is enough */
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 1, 5), SP_OK);
    ck_assert_uint_eq(look().correct, 2);
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 1, 5), SP_OK);
    ck_assert_uint_eq(look().correct, 2);
    drive_close(&d);
}
END_TEST

static uint32_t parts_of(uint32_t peer)
{
    uint32_t parts = 0;

    for (size_t i = 0; i < d.count; i++)
        parts += d.log[i].action.type == SP_ACTION_EVAL && d.log[i].action.peer == peer;
    return parts;
}

/* Two of four leave: each of the others gets one of their parts. */
START_TEST(test_lost_parts_go_to_the_least_busy)
{
    open_tests(4, NULL, NULL);
    rounds_until(4);
    drive_left(&d, 2);
    ck_assert_uint_eq(parts_of(1), 1);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_EVAL, 1)->action.eval.part, 1);
    drive_left(&d, 4);
    ck_assert_uint_eq(parts_of(1), 1);
    ck_assert_uint_eq(parts_of(3), 1);
    ck_assert_int_eq(drive_score(&d, 3, 4, 1, 0, 2), SP_OK); /* that one is 1's: ignored */
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 2), SP_OK);
    ck_assert_int_eq(drive_score(&d, 1, 4, 1, 1, 3), SP_OK);
    ck_assert_int_eq(drive_score(&d, 3, 4, 2, 1, 2), SP_OK);
    ck_assert_int_eq(drive_score(&d, 3, 4, 3, 1, 3), SP_OK);
    ck_assert(look().evaluated && !look().partial);
    ck_assert_uint_eq(look().correct, 4);
    all_push();
    ck_assert_uint_eq(d.committed, 5);
    drive_close(&d);
}
END_TEST

/* Its part waits for one that comes, if nobody else can do it. A score that is in stays. */
START_TEST(test_part_waits_for_somebody)
{
    uint32_t back;

    open_tests(2, NULL, NULL);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 5), SP_OK);
    drive_left(&d, 2);
    drive_left(&d, 1);
    back = drive_return(&d, 2);
    ck_assert_uint_eq(parts_of(back), 0);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert_uint_eq(parts_of(back), 1);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_EVAL, back)->action.eval.part, 1);
    ck_assert_int_eq(drive_score(&d, back, 4, 1, 1, 5), SP_OK);
    ck_assert_uint_eq(look().total, 10);
    drive_close(&d);
}
END_TEST

/* The next round is voted on already, so that nobody who comes gets these weights any more: it is no use to wait. */
START_TEST(test_nobody_is_left_to_evaluate)
{
    uint32_t back;

    open_tests(3, NULL, NULL);
    d.test_examples = 0;
    drive_left(&d, 3);
    back = drive_return(&d, 3); /* without a test set */
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 5), SP_OK);
    all_push();
    drive_left(&d, 2); /* its part goes to 1 */
    ck_assert_uint_eq(d.committed, 4);
    if (_i == 0) {
        drive_left(&d, 1);
        ck_assert_uint_eq(d.committed, 5);
        ck_assert(drive_said(&d, "partial, 1 of 2 parts: nobody is left who holds these weights"));
        ck_assert_uint_eq(look().total, 5);
    } else {
        ck_assert_int_eq(drive_score(&d, 1, 4, 1, 1, 5), SP_OK);
        ck_assert_uint_eq(d.committed, 5);
        ck_assert(!look().partial);
    }
    drive_close(&d);
}
END_TEST

/* One that is getting these weights now is waited for. */
START_TEST(test_somebody_comes_to_evaluate)
{
    uint32_t comes;

    open_tests(2, NULL, NULL);
    rounds_until(4);
    drive_left(&d, 2);
    comes = drive_return(&d, 2);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WEIGHTS, comes)->action.round, 4);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK); /* the vote is complete without it */
    drive_left(&d, 1);
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_int_eq(drive_ready(&d, comes), SP_OK);
    ck_assert_uint_eq(parts_of(comes), 2);
    ck_assert_int_eq(drive_score(&d, comes, 4, 0, 1, 5), SP_OK);
    ck_assert_int_eq(drive_score(&d, comes, 4, 1, 1, 5), SP_OK);
    ck_assert_uint_eq(d.committed, 5);
    ck_assert(!look().partial);
    drive_close(&d);
}
END_TEST

START_TEST(test_workers_without_a_test_set)
{
    uint32_t blind;

    open_tests(3, NULL, NULL);
    drive_left(&d, 2);
    d.test_examples = 0;
    blind = drive_return(&d, 2);
    ck_assert_int_eq(drive_ready(&d, blind), SP_OK);
    rounds_until(3);
    all_push();
    ck_assert_uint_eq(parts_of(blind), 0);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_EVAL, 3)->action.eval.parts, 2);
    drive_left(&d, 3);
    ck_assert_uint_eq(parts_of(1), 2);
    drive_left(&d, 1);
    ck_assert_uint_eq(parts_of(blind), 0);
    drive_close(&d);
}
END_TEST

/* --- how they end --------------------------------------------------------------------------------------------------
 */

START_TEST(test_evaluate_timeout)
{
    open_tests(2, NULL, NULL);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 2, 5), SP_OK);
    all_push();
    drive_tick(&d, 29999);
    ck_assert_uint_eq(d.committed, 4);
    drive_tick(&d, 1);
    ck_assert_uint_eq(d.committed, 5);
    ck_assert(drive_said(&d, "partial, 1 of 2 parts: server.evaluate_timeout has passed"));
    ck_assert(look().evaluated && look().partial);
    ck_assert_uint_eq(look().total, 5);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_REPORT, 0)->action.report.expected, 10);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 5, 5), SP_OK); /* too late */
    ck_assert_uint_eq(look().total, 5);
    drive_close(&d);
}
END_TEST

START_TEST(test_job_ends_after_its_last_evaluation)
{
    open_tests(2, "train.evaluate=0", NULL);
    rounds_until(7);
    all_push();
    ck_assert_uint_eq(d.committed, 8);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVAL), 2); /* 0: none but this */
    ck_assert_int_eq(look().stage, SP_STAGE_CLOSING);
    ck_assert_int_eq(drive_score(&d, 1, 8, 0, 5, 5), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 0);
    if (_i == 0) {
        ck_assert_int_eq(drive_score(&d, 2, 8, 1, 5, 5), SP_OK);
        ck_assert_str_eq(look().over_reason, "the job is done: 8 rounds");
    } else {
        drive_tick(&d, 30000);
        ck_assert_str_eq(look().over_reason, "the job is done: 8 rounds, but the last evaluation is partial");
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 1);
    ck_assert_int_eq(drive_find(&d, SP_ACTION_OVER, 0)->action.bye.reason, SP_REASON_DONE);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    drive_clear(&d);
    drive_expect_bye(&d, drive_return(&d, 1), SP_REASON_DONE);
    drive_left(&d, 1);
    drive_tick(&d, 100000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 0);
    drive_close(&d);
}
END_TEST

/* One that comes when all is committed gets the weights and can do a lost part. */
START_TEST(test_joining_at_the_end)
{
    uint32_t back;

    open_tests(1, "train.evaluate=0", NULL);
    rounds_until(8);
    drive_left(&d, 1);
    ck_assert_int_eq(look().stage, SP_STAGE_CLOSING);
    back = drive_return(&d, 1);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, back));
    ck_assert(drive_to(&d, SP_ACTION_WEIGHTS, back)->action.started);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert_int_eq(drive_score(&d, back, 8, 0, 1, 10), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 1);
    drive_close(&d);
}
END_TEST

/* A server that comes back while the last evaluation is under way has no round that a switch could follow. */
START_TEST(test_switch_asked_after_the_end_and_a_restart)
{
    struct sp_checkpoint checkpoint;
    struct sp_error error = {0};
    struct sp_round *round;

    open_tests(1, "train.evaluate=0", NULL);
    rounds_until(8);
    ck_assert_int_eq(sp_round_checkpoint(d.round, &error), SP_OK);
    ck_assert(sp_round_copy(d.round, SIZE_MAX) && sp_round_copied(d.round, &checkpoint));
    ck_assert_int_eq(sp_round_create(&round, &d.job), SP_OK);
    ck_assert_int_eq(sp_round_restore(round, &checkpoint, &error), SP_OK);
    sp_round_go_on(round, d.now_ms);
    ck_assert_int_eq(sp_round_switch(round, d.now_ms, &error), SP_E_STATE);
    ck_assert_str_eq(error.text, "all rounds are done");
    sp_round_destroy(round);
    sp_checkpoint_finish(&checkpoint);
    drive_close(&d);
}
END_TEST

/* Every 0.3 epochs of 4 rounds: after 1.2, 2.4.. rounds, that is with rounds 2, 3, 4, 5, 6, 8 (1.2 k rounded up). */
START_TEST(test_evaluate_every)
{
    bool is[9] = {false};

    open_tests(1, "train.evaluate=0.3", NULL);
    for (uint32_t t = 1; t <= 8; t++) {
        drive_clear(&d);
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        is[t] = drive_number(&d, SP_ACTION_EVAL) == 1;
        if (is[t])
            ck_assert_int_eq(drive_score(&d, 1, t, 0, 1, 10), SP_OK);
    }
    for (uint32_t t = 1; t <= 8; t++)
        ck_assert_int_eq(is[t], t != 1 && t != 7);
    drive_close(&d);
}
END_TEST

/* The weights that are evaluated stay until all scores are in (or their time is over), whatever the quorum. */
START_TEST(test_quorum_waits_for_scores)
{
    open_tests(2, "server.close.quorum=1", NULL);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 5), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_uint_eq(d.committed, 4);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 1, 5), SP_OK);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(d.committed, 5);
    drive_close(&d);
}
END_TEST

/* One that is behind does not hold these weights yet when the others have them: it gets no part. */
START_TEST(test_behind_evaluates_nothing)
{
    open_tests(3, "server.close.quorum=2", NULL);
    for (uint32_t t = 1; t <= 4; t++) {
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
        drive_tick(&d, t == 1 ? 1000 : 0);
        ck_assert_uint_eq(d.committed, t);
    }
    ck_assert(look().slots[2].behind);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVAL), 2);
    ck_assert_ptr_null(drive_to(&d, SP_ACTION_EVAL, 3));
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_EVAL, 1)->action.eval.parts, 2);
    drive_close(&d);
}
END_TEST

/* --- resync --------------------------------------------------------------------------------------------------------
 */

static int resync(uint32_t peer)
{
    struct sp_error error;
    int rc = sp_round_resync(d.round, peer, d.committed, 0xbad, d.now_ms, &error);

    drive_absorb(&d);
    return rc;
}

START_TEST(test_resync_gets_the_weights)
{
    open_tests(2, "train.evaluate=0", NULL);
    rounds_until(2);
    ck_assert_int_eq(resync(2), SP_OK);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WEIGHTS, 2)->action.round, 2);
    ck_assert(drive_to(&d, SP_ACTION_WEIGHTS, 2)->action.started);
    ck_assert(drive_said(&d, "went astray"));
    ck_assert_uint_eq(look().live, 1);
    ck_assert_uint_eq(look().slots[1].resyncs, 1);
    ck_assert(look().slots[1].live && !look().slots[1].ready);
    ck_assert_int_eq(resync(2), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_ready(&d, 2), SP_OK);
    all_push();
    ck_assert_uint_eq(d.committed, 3);
    ck_assert_uint_eq(look().slots[1].votes, 3);
    ck_assert_int_eq(resync(9), SP_E_PROTOCOL);
    drive_close(&d);
}
END_TEST

/* The round waited for this worker alone: without it, it is committed at once, and the weights are those after it. The
 * twin in drive.c compares them. */
START_TEST(test_resync_commits_the_round)
{
    open_tests(2, "train.evaluate=0", NULL);
    rounds_until(2);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(resync(2), SP_OK);
    ck_assert_uint_eq(d.committed, 3);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WEIGHTS, 2)->action.round, 3);
    ck_assert(position(drive_to(&d, SP_ACTION_WEIGHTS, 2)) > position(drive_find(&d, SP_ACTION_COMMIT, 0)));
    ck_assert_int_eq(drive_ready(&d, 2), SP_OK);
    all_push();
    ck_assert_uint_eq(d.committed, 4);
    drive_close(&d);
}
END_TEST

START_TEST(test_resync_passes_its_part_on)
{
    open_tests(2, NULL, NULL);
    rounds_until(4);
    ck_assert_int_eq(resync(1), SP_OK);
    ck_assert_uint_eq(parts_of(2), 1);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 1, 5), SP_E_PROTOCOL); /* it is not ready */
    ck_assert_int_eq(drive_score(&d, 2, 4, 0, 1, 5), SP_OK);
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 1, 5), SP_OK);
    ck_assert(look().evaluated && !look().partial);
    drive_close(&d);
}
END_TEST

/* What the one before had found stays, and that the last weights were not evaluated is said; a job that was stopped has
 * said so already. */
START_TEST(test_an_evaluation_that_nobody_answers)
{
    bool stopped = _i == 1;

    open_tests(2, NULL, NULL);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 4, 5), SP_OK);
    ck_assert_int_eq(drive_score(&d, 2, 4, 1, 5, 5), SP_OK);
    rounds_until(8);
    drive_clear(&d);
    if (stopped)
        sp_round_stop(d.round, "stopped by a test", d.now_ms);
    drive_tick(&d, 30000);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    ck_assert(drive_said(&d, "the evaluation after round 8 is partial, 0 of 2 parts"));
    ck_assert(!drive_find(&d, SP_ACTION_REPORT, 0)->action.report.evaluated);
    ck_assert(look().evaluated && look().partial == !stopped);
    ck_assert_uint_eq(look().evaluated_round, 4);
    ck_assert_uint_eq(look().correct, 9);
    ck_assert_str_eq(look().over_reason, stopped ? "stopped by a test after round 8 of 8"
                                                 : "the job is done: 8 rounds, but nobody evaluated the last weights");
    drive_close(&d);
}
END_TEST

/* The others are gone, and the late one has finished the round: it holds its weights. */
START_TEST(test_a_late_one_evaluates_where_nobody_else_does)
{
    drive_open(&d, (const char *[]){"workers=2", "server.close.quorum=1", "train.rounds=4", NULL},
               (const uint64_t[]){SP_CHUNK_SIGNS + 8, 0});
    d.test_examples = 10;
    (void)drive_join_all(&d, 2);
    for (uint32_t t = 1; t <= 3; t++) {
        ck_assert_int_eq(drive_push(&d, 1, d.theta), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, d.theta), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 3);
    drive_clear(&d);
    ck_assert_int_eq(drive_push_chunk(&d, 1, &(struct drive_chunk){.round = 4, .k = 0, .values = d.theta}), SP_OK);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 1);
    drive_left(&d, 1);
    ck_assert_int_eq(drive_push(&d, 2, d.theta), SP_OK);
    ck_assert_uint_eq(d.committed, 4);
    ck_assert_uint_eq(parts_of(2), 1);
    ck_assert_int_eq(drive_score(&d, 2, 4, 0, 10, 10), SP_OK);
    ck_assert_str_eq(look().over_reason, "the job is done: 4 rounds");
    drive_close(&d);
}
END_TEST

/* --- stop ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_stop)
{
    open_tests(2, NULL, NULL);
    rounds_until(4);
    ck_assert_int_eq(drive_score(&d, 1, 4, 0, 5, 5), SP_OK);
    sp_round_stop(d.round, "stopped by a test", d.now_ms);
    drive_absorb(&d);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    ck_assert(look().stopped && look().partial);
    ck_assert_uint_eq(look().total, 5);
    ck_assert_str_eq(look().over_reason, "stopped by a test after round 4 of 8");
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 1);
    ck_assert_int_eq(drive_find(&d, SP_ACTION_OVER, 0)->action.bye.reason, SP_REASON_STOPPED);
    sp_round_stop(d.round, "stopped again", d.now_ms);
    all_push(); /* on their way when it came */
    drive_clear(&d);
    drive_expect_bye(&d, drive_hello(&d, SP_ANY_SLOT), SP_REASON_STOPPED);
    drive_left(&d, 2);
    drive_tick(&d, 100000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 0);
    ck_assert_uint_eq(d.committed, 4);
    drive_close(&d);
}
END_TEST

START_TEST(test_stop_before_there_is_anything)
{
    drive_open(&d, (const char *[]){NULL}, small);
    if (_i == 1)
        (void)drive_hello(&d, SP_ANY_SLOT);
    if (_i == 2)
        ck_assert_int_eq(drive_init(&d, drive_hello(&d, SP_ANY_SLOT)), SP_OK);
    sp_round_stop(d.round, "stopped", d.now_ms);
    drive_absorb(&d);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_OVER), 1);
    drive_left(&d, 1);
    drive_tick(&d, 1000000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_BYE), 0);
    drive_close(&d);
}
END_TEST

TCase *round_evaluation_cases(void)
{
    TCase *cases = tcase_create("evaluation");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_parts_go_out_before_the_commit);
    tcase_add_test(cases, test_scores_before_the_next_commit);
    tcase_add_test(cases, test_scores_are_added_in_order);
    tcase_add_test(cases, test_scores_that_cannot_be);
    tcase_add_test(cases, test_lost_parts_go_to_the_least_busy);
    tcase_add_test(cases, test_part_waits_for_somebody);
    tcase_add_loop_test(cases, test_nobody_is_left_to_evaluate, 0, 2);
    tcase_add_test(cases, test_somebody_comes_to_evaluate);
    tcase_add_test(cases, test_workers_without_a_test_set);
    tcase_add_test(cases, test_evaluate_timeout);
    tcase_add_loop_test(cases, test_job_ends_after_its_last_evaluation, 0, 2);
    tcase_add_test(cases, test_joining_at_the_end);
    tcase_add_test(cases, test_switch_asked_after_the_end_and_a_restart);
    tcase_add_test(cases, test_evaluate_every);
    tcase_add_test(cases, test_quorum_waits_for_scores);
    tcase_add_test(cases, test_behind_evaluates_nothing);
    tcase_add_test(cases, test_resync_gets_the_weights);
    tcase_add_test(cases, test_resync_commits_the_round);
    tcase_add_test(cases, test_resync_passes_its_part_on);
    tcase_add_test(cases, test_a_late_one_evaluates_where_nobody_else_does);
    tcase_add_loop_test(cases, test_an_evaluation_that_nobody_answers, 0, 2);
    tcase_add_test(cases, test_stop);
    tcase_add_loop_test(cases, test_stop_before_there_is_anything, 0, 3);
    return cases;
}
