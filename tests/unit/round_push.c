/* What is counted, and when a round closes: pushes, abstention, leaving, the window, min_live, quorum. */
#include "drive.h"
#include "round_cases.h"

#include "common/pack.h"
#include "common/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t small[] = {5, 3, 0};
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static void open_small(uint32_t workers, const char *setting)
{
    char w[32];

    (void)snprintf(w, sizeof w, "workers=%u", workers);
    drive_open(&d, (const char *[]){w, setting, NULL}, small);
}

static const float up[8] = {1, 1, 1, 1, 1, 1, 1, 1}, down[8] = {-1, -1, -1, -1, -1, -1, -1, -1};

/* Bits of the last update in the log, which is one chunk of 8. */
static unsigned result(void)
{
    return drive_find(&d, SP_ACTION_UPDATE, drive_number(&d, SP_ACTION_UPDATE) - 1)->bulk[0];
}

static unsigned coins(uint32_t t)
{
    return (unsigned)(sp_coin_word(sp_coins(), 0, t) & 0xff);
}

/* A model of seven chunks in the SGD phase, whose rate is 1/4 and which begins with round 2. */
static void open_values(uint32_t workers, const char *setting, const char *another)
{
    char w[32];

    (void)snprintf(w, sizeof w, "workers=%u", workers);
    drive_open(&d,
               (const char *[]){w, "optimizer.switch.when=at", "optimizer.switch.step=1", "optimizer.sgd.lr=0.25",
                                setting, another, NULL},
               (const uint64_t[]){6 * SP_CHUNK_VALUES + 1000, 0});
    ck_assert_uint_eq(drive_join_all(&d, workers), 1);
    for (uint32_t peer = 1; peer <= workers; peer++)
        ck_assert_int_eq(drive_push(&d, peer, d.theta), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    ck_assert_uint_eq(drive_chunks(&d), 7);
    drive_clear(&d);
}

/* All of the model's coordinates have one value. Freed by the caller. */
static float *constant(float value)
{
    float *values = calloc(d.layout.coordinates, sizeof *values);

    ck_assert_ptr_nonnull(values);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        values[j] = value;
    return values;
}

/* As they are now. Freed by the caller. */
static float *weights(void)
{
    float *copy = constant(0.0f);

    memcpy(copy, d.theta, d.layout.coordinates * sizeof *copy);
    return copy;
}

/* ck_assert() of each of many would take most of the test's time. */
static void expect_weight(uint64_t j, float expected)
{
    if (d.theta[j] != expected)
        ck_abort_msg("weight %llu is %g, not %g", (unsigned long long)j, (double)d.theta[j], (double)expected);
}

static int push_chunk(uint32_t peer, uint32_t k, const float *values)
{
    struct drive_chunk chunk = {.round = d.committed + 1, .k = k, .values = values};

    return drive_push_chunk(&d, peer, &chunk);
}

/* --- votes ---------------------------------------------------------------------------------------------------------
 */

START_TEST(test_votes_of_two_chunks)
{
    const uint64_t all = SP_CHUNK_SIGNS + 100;
    float *v[3];

    drive_open(&d, (const char *[]){"workers=3", NULL}, (const uint64_t[]){all, 0});
    (void)drive_join_all(&d, 3);
    for (int i = 0; i < 3; i++) {
        v[i] = constant(1.0f);
        for (uint64_t j = 0; j < all; j++)
            v[i][j] = (j * (uint64_t)(i + 3) * 2654435761u >> 7) & 1 ? 1.0f : -1.0f;
    }
    ck_assert_int_eq(drive_push(&d, 3, v[2]), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, v[0]), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 0);
    ck_assert_int_eq(push_chunk(2, 0, v[1]), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 1); /* it leaves while the rest still comes */
    ck_assert_uint_eq(d.committed, 0);
    ck_assert_int_eq(push_chunk(2, 1, v[1]), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 2);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 1)->action.commit.voters[0], 7);
    for (uint64_t j = 0; j < all; j++)
        expect_weight(j, drive_weight(j) - (v[0][j] + v[1][j] + v[2][j] > 0.0f ? 0.0625f : -0.0625f));
    for (int i = 0; i < 3; i++)
        free(v[i]);
    drive_close(&d);
}
END_TEST

/* Two workers that never agree: the vote is the coin, which alternates over the rounds. */
START_TEST(test_opposed_workers_alternate)
{
    open_small(2, "train.rounds=20");
    (void)drive_join_all(&d, 2);
    for (uint32_t t = 1; t <= 20; t++) {
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, down), SP_OK);
        ck_assert_uint_eq(d.committed, t);
        ck_assert_uint_eq(result(), coins(t));
        ck_assert_uint_eq(result(), coins(1) ^ (t % 2 == 1 ? 0 : 0xff));
        for (uint64_t j = 0; t % 2 == 0 && j < 8; j++)
            ck_assert_float_eq(d.theta[j], drive_weight(j));
    }
    drive_close(&d);
}
END_TEST

START_TEST(test_counts_of_the_vote)
{
    const float two[8] = {1, 1, 1, 1, -1, -1, 1, -1}, three[8] = {1, 1, -1, -1, -1, -1, -1, -1};
    const struct sp_report *report;

    open_small(3, "train.report=2");
    (void)drive_join_all(&d, 3);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(drive_push(&d, 1, round == 0 ? up : down), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, two), SP_OK);
        ck_assert_int_eq(drive_push(&d, 3, three), SP_OK);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_REPORT), 1);
    report = &drive_find(&d, SP_ACTION_REPORT, 0)->action.report;
    ck_assert_uint_eq(report->round, 2);
    ck_assert_uint_eq(report->live, 3);
    ck_assert_uint_eq(report->voters, 3);
    /* Votes of round 1: 11111111 11110010 11000000 -> 11110010; of round 2: 00000000 for the first -> 11000000. */
    ck_assert_double_eq_tol(report->margin, (2 * 3 + 6 * 1 + 3 * 3 + 5 * 1) / 3.0 / 16.0, 1e-15);
    ck_assert_double_eq(report->unanimous, 5.0 / 16.0);
    ck_assert_double_eq(report->ties, 0.0);
    ck_assert_double_eq(report->flips, 3.0 / 16.0); /* round 1 has nothing to differ from */
    ck_assert_uint_eq(look().slots[0].compared, 16);
    ck_assert_uint_eq(look().slots[0].disagreed, 3 + 2);
    ck_assert_uint_eq(look().slots[1].disagreed, 0 + 3);
    ck_assert_uint_eq(look().slots[2].disagreed, 3 + 0);
    ck_assert_uint_eq(look().slots[2].votes, 2);
    drive_close(&d);
}
END_TEST

/* --- leaving and abstaining ----------------------------------------------------------------------------------------
 */

/* A leaves after two of seven chunks: those count, the others are of the rest alone. */
START_TEST(test_leaving_in_the_middle)
{
    float *a, *b, *before;

    open_values(3, NULL, NULL);
    a = constant(6.0f);
    b = constant(3.0f);
    before = weights();
    ck_assert_int_eq(push_chunk(1, 0, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, 1, a), SP_OK);
    ck_assert_int_eq(push_chunk(2, 0, b), SP_OK);
    ck_assert_int_eq(push_chunk(3, 0, b), SP_OK); /* chunk 0 is tallied, chunk 1 of A waits */
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 1);
    drive_left(&d, 1);
    for (uint32_t k = 1; k < 7; k++) {
        ck_assert_int_eq(push_chunk(2, k, b), SP_OK);
        ck_assert_int_eq(push_chunk(3, k, b), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 6);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        expect_weight(j, before[j] - 0.25f * (j < 2 * SP_CHUNK_VALUES ? 4.0f : 3.0f));
    free(a);
    free(b);
    free(before);
    drive_close(&d);
}
END_TEST

/* All leave: chunks that are counted stay so, the rest changes nothing, and the next round waits. */
START_TEST(test_all_leave_in_the_middle)
{
    float *a, *before;

    open_values(2, "server.rejoin_timeout=0", NULL);
    a = constant(2.0f);
    before = weights();
    ck_assert_int_eq(push_chunk(1, 0, a), SP_OK);
    ck_assert_int_eq(push_chunk(2, 0, a), SP_OK);
    drive_left(&d, 1);
    ck_assert_uint_eq(d.committed, 1);
    drive_left(&d, 2);
    ck_assert(drive_said(&d, "round 2: it begins anew"));
    ck_assert_uint_eq(look().live, 0);
    drive_tick(&d, 60000);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 1)), SP_OK);
    ck_assert_int_eq(drive_push(&d, 3, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 1);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        expect_weight(j, before[j] - 0.5f);
    free(a);
    free(before);
    drive_close(&d);
}
END_TEST

START_TEST(test_abstention)
{
    open_small(2, NULL);
    (void)drive_join_all(&d, 2);
    ck_assert_int_eq(drive_abstain(&d, 1, 1), SP_OK);
    ck_assert_uint_eq(look().slots[0].abstained, 1);
    ck_assert(drive_said(&d, "abstains from round 1 from chunk 0 on"));
    ck_assert_int_eq(drive_abstain(&d, 1, 1), SP_OK); /* once is enough */
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);   /* and what it then pushes is not counted */
    ck_assert_uint_eq(d.committed, 0);
    ck_assert_int_eq(drive_push(&d, 2, down), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(result(), 0);
    ck_assert_uint_eq(look().slots[0].abstained, 1);
    ck_assert_uint_eq(look().slots[0].votes, 0);
    ck_assert_uint_eq(look().slots[0].missed, 1);
    /* The next round knows nothing of it. If all abstain the coins decide. */
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(result(), 0xff);
    ck_assert_int_eq(drive_abstain(&d, 1, 3), SP_OK);
    ck_assert_int_eq(drive_abstain(&d, 2, 3), SP_OK);
    ck_assert_uint_eq(d.committed, 3);
    ck_assert_uint_eq(result(), coins(3));
    ck_assert_int_eq(drive_abstain(&d, 2, 3), SP_OK); /* too late to mean anything */
    ck_assert_uint_eq(look().slots[1].abstained, 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_values_that_are_not_finite)
{
    float *a, *b, *before;

    open_values(2, NULL, NULL);
    a = constant(4.0f);
    b = constant(2.0f);
    before = weights();
    a[SP_CHUNK_VALUES + 17] = _i == 0 ? NAN : -INFINITY;
    ck_assert_int_eq(drive_push(&d, 1, a), SP_OK);
    ck_assert(drive_said(&d, "abstains from round 2 from chunk 1 on: values that are not finite"));
    for (uint32_t k = 0; k < 7; k++)
        ck_assert_int_eq(push_chunk(2, k, b), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 2);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        expect_weight(j, before[j] - 0.25f * (j < SP_CHUNK_VALUES ? 3.0f : 2.0f));
    ck_assert_uint_eq(look().slots[0].late, 0);
    free(a);
    free(b);
    free(before);
    drive_close(&d);
}
END_TEST

/* --- what is refused or dropped ------------------------------------------------------------------------------------
 */

START_TEST(test_duplicate_and_late_pushes)
{
    struct drive_chunk chunk = {.round = 1, .values = up};

    open_small(2, NULL);
    (void)drive_join_all(&d, 2);
    ck_assert_int_eq(drive_push_chunk(&d, 1, &chunk), SP_OK);
    chunk.values = down;
    ck_assert_int_eq(drive_push_chunk(&d, 1, &chunk), SP_OK); /* again: dropped, not counted over */
    ck_assert_uint_eq(look().slots[0].duplicates, 1);
    ck_assert_uint_eq(look().slots[0].late, 0);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(result(), 0xff);
    ck_assert_int_eq(drive_push_chunk(&d, 2, &chunk), SP_OK); /* of the round that is over */
    ck_assert_uint_eq(look().slots[1].late, 1);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(result(), 0xff);
    ck_assert_uint_eq(look().slots[0].duplicates + look().slots[1].duplicates, 1);
    drive_close(&d);
}
END_TEST

/* Of several chunks: each that comes again counts as a duplicate; a push counts as late once, whether all of it is late
 * or the round went on without its second half. */
START_TEST(test_late_once_a_round)
{
    float *a;

    open_values(3, "server.close.quorum=2", NULL);
    a = constant(1.0f);
    for (uint32_t peer = 1; peer <= 3; peer++)
        ck_assert_int_eq(push_chunk(peer, 0, a), SP_OK);
    ck_assert_int_eq(push_chunk(3, 0, a), SP_OK);
    ck_assert_int_eq(push_chunk(3, 0, a), SP_OK);
    ck_assert_uint_eq(look().slots[2].duplicates, 2);
    for (uint32_t k = 1; k < 4; k++) {
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
        ck_assert_int_eq(push_chunk(2, k, a), SP_OK);
    }
    drive_tick(&d, 20000);
    ck_assert_uint_eq(look().slots[2].late, 0);
    for (uint32_t k = 1; k < 7; k++)
        ck_assert_int_eq(push_chunk(3, k, a), SP_OK);
    ck_assert_uint_eq(look().slots[2].late, 1);
    for (uint32_t k = 4; k < 7; k++) {
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
        ck_assert_int_eq(push_chunk(2, k, a), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 2);
    for (uint32_t k = 0; k < 7; k++)
        ck_assert_int_eq(drive_push_chunk(&d, 1, &(struct drive_chunk){.round = 2, .k = k, .values = a}), SP_OK);
    ck_assert_uint_eq(look().slots[0].late, 1);
    ck_assert_uint_eq(look().slots[2].missed, 1);
    ck_assert_uint_eq(look().slots[2].duplicates, 2);
    free(a);
    drive_close(&d);
}
END_TEST

/* The rest of a push that its values ended early is no late one. */
START_TEST(test_abstention_is_not_late)
{
    float *a, *bad;

    open_values(2, NULL, NULL);
    a = constant(1.0f);
    bad = constant(NAN);
    ck_assert_int_eq(push_chunk(1, 0, a), SP_OK);
    for (uint32_t k = 1; k < 7; k++)
        ck_assert_int_eq(push_chunk(1, k, bad), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_int_eq(drive_push_chunk(&d, 1, &(struct drive_chunk){.round = 2, .k = 6, .values = a}), SP_OK);
    ck_assert_uint_eq(look().slots[0].abstained, 1);
    ck_assert_uint_eq(look().slots[0].late, 0);
    ck_assert_uint_eq(look().slots[0].duplicates, 0);
    free(a);
    free(bad);
    drive_close(&d);
}
END_TEST

START_TEST(test_future_pushes_are_refused)
{
    struct drive_chunk chunk = {.round = 2, .values = up};

    open_small(2, NULL);
    (void)drive_join(&d, 0);
    ck_assert_int_eq(drive_push_chunk(&d, 1, &chunk), SP_E_PROTOCOL);
    chunk.round = 1;
    /* Round 1 has not begun. Were this thrown away, and the round begun before its bulk is there, what lies in the
     * window would be counted instead. */
    ck_assert_int_eq(drive_push_chunk(&d, 1, &chunk), SP_E_PROTOCOL);
    (void)drive_join(&d, 1);
    ck_assert_int_eq(drive_push_chunk(&d, 1, &chunk), SP_OK);
    chunk.round = 2;
    ck_assert_int_eq(drive_push_chunk(&d, 2, &chunk), SP_E_PROTOCOL);
    chunk.round = UINT32_MAX;
    ck_assert_int_eq(drive_push_chunk(&d, 2, &chunk), SP_E_PROTOCOL);
    drive_close(&d);
}
END_TEST

START_TEST(test_pushes_of_those_who_may_not)
{
    struct drive_chunk chunk = {.round = 1, .values = up};
    uint32_t spare, joins;

    open_small(2, "server.start_timeout=1");
    (void)drive_join(&d, 0);
    drive_tick(&d, 1000);
    joins = drive_hello(&d, 1);
    spare = drive_hello(&d, 1);
    ck_assert_int_eq(drive_push_chunk(&d, spare, &chunk), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_abstain(&d, spare, 1), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_push_chunk(&d, joins, &chunk), SP_OK); /* not ready: thrown away */
    ck_assert_int_eq(drive_abstain(&d, joins, 1), SP_OK);
    ck_assert_uint_eq(look().slots[1].abstained, 0);
    ck_assert_uint_eq(look().slots[1].late, 1);
    ck_assert_int_eq(drive_push(&d, 1, down), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(result(), 0);
    drive_close(&d);
}
END_TEST

START_TEST(test_pushes_that_do_not_fit)
{
    const struct sp_frame frame = {
        .type = SP_FRAME_PUSH, .round = 1, .count = 8, .bulk_bytes = 1, .flags = SP_FRAME_LAST};
    struct sp_message message = {.frame = frame};
    struct sp_frame wrong[5];
    uint8_t *to;

    drive_open(&d, (const char *[]){NULL}, (const uint64_t[]){5, 2, 0});
    (void)drive_join(&d, 0);
    for (int i = 0; i < 5; i++)
        wrong[i] = frame;
    wrong[0].count = 9;
    wrong[1].first = 8;
    wrong[2].bulk_bytes = 2;
    wrong[3].flags = 0;
    wrong[4].count = 7;
    wrong[4].first = 3;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(sp_round_place(d.round, 1, &wrong[i], (void **)&to, NULL), SP_E_PROTOCOL);
    message.frame.count = 7;
    ck_assert_int_eq(sp_round_place(d.round, 1, &message.frame, (void **)&to, NULL), SP_OK);
    *to = 0x80; /* a bit beyond the seventh coordinate */
    ck_assert_int_eq(sp_round_push(d.round, 1, &message, d.now_ms, NULL), SP_E_PROTOCOL);
    message.frame.bulk_bytes = 0;
    ck_assert_int_eq(sp_round_push(d.round, 1, &message, d.now_ms, NULL), SP_E_PROTOCOL);
    ck_assert_uint_eq(d.committed, 0);
    drive_close(&d);
}
END_TEST

/* --- the window ----------------------------------------------------------------------------------------------------
 */

START_TEST(test_window_holds_and_resumes)
{
    float *a;

    open_values(2, NULL, NULL);
    a = constant(1.0f);
    for (uint32_t k = 0; k < SP_TALLY_WINDOW; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW, a), SP_ROUND_HOLD);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_RESUME), 0);
    ck_assert_int_eq(push_chunk(2, 0, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_RESUME), 1);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_RESUME, 1));
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW + 1, a), SP_ROUND_HOLD);
    drive_clear(&d);
    drive_left(&d, 2); /* nobody else is waited for now */
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_RESUME, 1));
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW + 1, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW + 2, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    free(a);
    drive_close(&d);
}
END_TEST

/* One that is held back by the window while the round goes on without it. */
START_TEST(test_window_releases_the_dropped)
{
    float *a;

    open_values(3, "server.close.quorum=1", NULL);
    a = constant(1.0f);
    ck_assert_int_eq(push_chunk(2, 0, a), SP_OK);
    for (uint32_t k = 0; k < SP_TALLY_WINDOW; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, SP_TALLY_WINDOW, a), SP_ROUND_HOLD);
    drive_tick(&d, 20000); /* long past any deadline: 3 is dropped with chunk 0, then 2 with chunk 1, and 1 may go on */
    drive_tick(&d, 20000);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_RESUME, 1));
    for (uint32_t k = SP_TALLY_WINDOW; k < 7; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 1);
    ck_assert_uint_eq(look().slots[2].missed, 1);
    free(a);
    drive_close(&d);
}
END_TEST

/* --- who is waited for ---------------------------------------------------------------------------------------------
 */

START_TEST(test_min_live_waits_and_goes_on)
{
    uint32_t back;

    open_small(3, "server.min_live=2");
    (void)drive_join_all(&d, 3);
    drive_left(&d, 1);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    drive_left(&d, 3);
    ck_assert_uint_eq(d.committed, 0); /* 2 pushed, nobody else is live, and yet */
    drive_tick(&d, 60000);
    ck_assert_uint_eq(d.committed, 0);
    ck_assert(drive_said(&d, "waiting for workers: 1 live, server.min_live is 2"));
    ck_assert_str_eq(look().waits, "workers: 1 live, server.min_live is 2");
    back = drive_return(&d, 1);
    ck_assert_uint_eq(d.committed, 0);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert_uint_eq(d.committed, 0); /* it votes in this round: no chunk of it is tallied */
    ck_assert_int_eq(drive_push(&d, back, up), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(result(), 0xff);
    drive_close(&d);
}
END_TEST

/* A round whose first chunk is counted is finished, however few are left. */
START_TEST(test_min_live_lets_a_round_end)
{
    float *a;

    open_values(3, "server.min_live=3", NULL);
    a = constant(1.0f);
    for (uint32_t peer = 1; peer <= 3; peer++)
        ck_assert_int_eq(push_chunk(peer, 0, a), SP_OK);
    drive_left(&d, 1);
    drive_left(&d, 2);
    for (uint32_t k = 1; k < 7; k++)
        ck_assert_int_eq(push_chunk(3, k, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_int_eq(drive_push(&d, 3, a), SP_ROUND_HOLD); /* its chunks wait in the window */
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 7);
    free(a);
    drive_close(&d);
}
END_TEST

/* One that comes when a chunk of the round is counted gets weights with the next round. */
START_TEST(test_joining_in_the_middle)
{
    uint32_t late, same;
    float *a;

    open_values(3, NULL, NULL);
    a = constant(1.0f);
    drive_left(&d, 3);
    ck_assert_int_eq(push_chunk(1, 0, a), SP_OK);
    late = drive_hello(&d, 2);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, late)); /* nothing is counted yet */
    ck_assert_int_eq(push_chunk(2, 0, a), SP_OK);                 /* now it is, before it is ready */
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 1);
    ck_assert_int_eq(drive_ready(&d, late), SP_OK);
    drive_left(&d, 2);
    same = drive_hello(&d, 1);
    ck_assert_ptr_null(drive_to(&d, SP_ACTION_WEIGHTS, same));
    ck_assert_int_eq(push_chunk(late, 0, a), SP_OK); /* thrown away: it is not expected in this round */
    ck_assert_uint_eq(look().slots[2].late, 1);
    for (uint32_t k = 1; k < 7; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 1);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WEIGHTS, same)->action.round, 2);
    ck_assert_int_eq(drive_push(&d, 1, a), SP_ROUND_HOLD); /* the round waits for `late` now */
    free(a);
    drive_close(&d);
}
END_TEST

/* The chunks of one that died count; the one that takes its slot does not vote for it a second time. */
START_TEST(test_slot_votes_once_a_round)
{
    uint32_t back;

    open_small(2, NULL);
    (void)drive_join_all(&d, 2);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    drive_left(&d, 1);
    back = drive_return(&d, 1);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert_int_eq(drive_push(&d, back, down), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(result(), 0xff);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 1)->action.commit.voters[0], 3);
    ck_assert_uint_eq(look().slots[0].late, 1);
    drive_close(&d);
}
END_TEST

/* Its slot has given half of a push and died: the half counts, and the round waits for no other half. */
START_TEST(test_slot_with_half_a_push)
{
    uint32_t back;
    float *a;

    open_values(2, NULL, NULL);
    a = constant(1.0f);
    ck_assert_int_eq(push_chunk(1, 0, a), SP_OK);
    ck_assert_int_eq(push_chunk(1, 1, a), SP_OK);
    drive_left(&d, 1);
    back = drive_return(&d, 1);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, a), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 2);
    ck_assert_int_eq(push_chunk(2, 0, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 7); /* round 3 waits for both */
    ck_assert_int_eq(push_chunk(back, 0, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 8);
    free(a);
    drive_close(&d);
}
END_TEST

/* The round waited for one worker alone. It leaves: the round is committed, and a spare gets its slot, in one event.
 * The spare must get the weights that it is told it gets, and must not be sent the round again that is in them. The
 * twin in drive.c compares. */
START_TEST(test_leaving_commits_and_a_spare_moves_up)
{
    const struct drive_entry *weights;
    uint32_t spare;

    open_small(2, NULL);
    (void)drive_join_all(&d, 2);
    spare = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    drive_clear(&d);
    drive_left(&d, 2);
    ck_assert_uint_eq(d.committed, 1);
    weights = drive_to(&d, SP_ACTION_WEIGHTS, spare);
    ck_assert_ptr_nonnull(weights);
    ck_assert_uint_eq(weights->action.round, 1);
    ck_assert(weights > drive_find(&d, SP_ACTION_COMMIT, 0)); /* it comes after */
    ck_assert_int_eq(drive_ready(&d, spare), SP_OK);
    drive_close(&d);
}
END_TEST

/* --- quorum --------------------------------------------------------------------------------------------------------
 */

START_TEST(test_quorum_waits_for_its_deadline)
{
    open_small(3, "server.close.quorum=2");
    (void)drive_join_all(&d, 3);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    drive_tick(&d, 30000);
    ck_assert_uint_eq(d.committed, 0); /* one is no quorum */
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    /* The quorum was in after 30000 ms: mean 30000, deviation 15000: the third has 30000 + 4 * 15000 = 90000 ms more.
     */
    drive_tick(&d, 89999);
    ck_assert_uint_eq(d.committed, 0);
    drive_tick(&d, 1);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_int_eq(drive_push(&d, 3, up), SP_OK); /* of round 2 */
    ck_assert_uint_eq(look().slots[2].missed, 1);
    drive_close(&d);
}
END_TEST

/* When a quorum is in, the others have the mean time of a quorum and four deviations. */
START_TEST(test_quorum_deadline_is_learned)
{
    open_small(3, "server.close.quorum=2");
    (void)drive_join_all(&d, 3);
    drive_tick(&d, 0);
    ck_assert_uint_eq(sp_round_due_ms(d.round), d.now_ms + 1000);
    drive_tick(&d, 100);
    for (uint32_t peer = 1; peer <= 3; peer++)
        ck_assert_int_eq(drive_push(&d, peer, up), SP_OK);
    ck_assert_uint_eq(d.committed, 1);
    /* One sample, 100: mean 100, deviation 50; no quorum is in yet. */
    ck_assert_uint_eq(sp_round_due_ms(d.round), d.now_ms + 1000);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 3, up), SP_OK);
    /* Another, 0: mean 87.5, deviation 62.5: 87.5 + 250 = 337 ms. */
    drive_tick(&d, 336);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(sp_round_due_ms(d.round), d.now_ms + 1);
    drive_tick(&d, 1);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 2)->action.commit.voters[0], 5);
    ck_assert_uint_eq(look().slots[1].missed, 1);
    drive_close(&d);
}
END_TEST

/* The late one is counted, does not move the deadline, and votes in the round that is on. */
START_TEST(test_quorum_late_one_catches_up)
{
    struct drive_chunk late = {.round = 1, .values = down};
    uint64_t due;

    open_small(3, "server.close.quorum=2");
    (void)drive_join_all(&d, 3);
    drive_tick(&d, 50);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    drive_tick(&d, 1000);
    ck_assert_uint_eq(d.committed, 1);
    due = sp_round_due_ms(d.round) - d.now_ms;
    ck_assert_int_eq(drive_push_chunk(&d, 3, &late), SP_OK);
    ck_assert_uint_eq(look().slots[2].late, 1);
    ck_assert_uint_eq(sp_round_due_ms(d.round) - d.now_ms, due);
    ck_assert_int_eq(drive_push(&d, 3, down), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, down), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(result(), 0);
    ck_assert_uint_eq(look().slots[2].votes, 1);
    drive_close(&d);
}
END_TEST

/* An abstention is an arrival; all in closes at once. */
START_TEST(test_quorum_counts_abstentions)
{
    open_small(3, "server.close.quorum=2");
    (void)drive_join_all(&d, 3);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_abstain(&d, 2, 1), SP_OK);
    ck_assert_uint_eq(d.committed, 0);
    drive_tick(&d, 10000);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 1)->action.commit.voters[0], 1);
    drive_close(&d);
}
END_TEST

/* --- those behind --------------------------------------------------------------------------------------------------
 */

/* Two are a quorum, and in after 100 ms; the others were late in round 1. */
static void open_with_some_behind(uint32_t workers)
{
    drive_open(
        &d,
        (const char *[]){"train.rounds=2000", "server.close.quorum=2", workers == 3 ? "workers=3" : "workers=4", NULL},
        small);
    (void)drive_join_all(&d, workers);
    drive_tick(&d, 100);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 0);
    ck_assert(!look().slots[2].behind);
    drive_tick(&d, 300); /* 100 + 4 * 50 */
    ck_assert_uint_eq(d.committed, 1);
    ck_assert(look().slots[2].behind);
    ck_assert(drive_said(&d, "is behind: rounds from 1 on do not wait for it"));
}

static void rounds_by_1_and_2(uint32_t until)
{
    while (d.committed < until) {
        drive_tick(&d, 100);
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    }
}

/* Rounds end as if there were no such worker; every 32nd waits for it, in vain at first. */
START_TEST(test_behind_is_not_waited_for)
{
    uint32_t before;

    open_with_some_behind(3);
    for (uint32_t t = 2; t <= 31; t++) {
        rounds_by_1_and_2(t);
        ck_assert_uint_eq(d.committed, t);
    }
    before = d.committed;
    drive_tick(&d, 100);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, before); /* a probe */
    ck_assert_str_eq((drive_tick(&d, 0), look().waits), "the pushes of slot 2 in round 32");
    drive_tick(&d, 300);
    ck_assert_uint_eq(d.committed, 32);
    ck_assert(look().slots[2].behind);
    rounds_by_1_and_2(63);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 63);
    ck_assert_int_eq(drive_push(&d, 3, up), SP_OK); /* just in time */
    ck_assert_uint_eq(d.committed, 64);
    ck_assert(!look().slots[2].behind);
    ck_assert_uint_eq(look().slots[2].missed, 63);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 64); /* it is waited for, as it was at first */
    drive_close(&d);
}
END_TEST

/* What it gives while the round is on counts, and it is behind no more; so it is if it abstains in time. */
START_TEST(test_behind_comes_back_by_itself)
{
    open_with_some_behind(3);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    if (_i == 0)
        ck_assert_int_eq(drive_push(&d, 3, up), SP_OK);
    else
        ck_assert_int_eq(drive_abstain(&d, 3, 2), SP_OK);
    ck_assert_uint_eq(d.committed, 1); /* the quorum is in, but 2 is in time as a rule */
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_COMMIT)->action.commit.voters[0], _i == 0 ? 7 : 3);
    ck_assert(!look().slots[2].behind);
    drive_close(&d);
}
END_TEST

/* Without it there is no quorum: the round waits until it is in, and then for nobody. */
START_TEST(test_behind_is_needed)
{
    open_with_some_behind(3);
    drive_left(&d, 2);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    drive_tick(&d, 60000);
    ck_assert_uint_eq(d.committed, 1);
    ck_assert_str_eq(look().waits, "the pushes of slot 2 in round 2");
    ck_assert_int_eq(drive_push(&d, 3, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert(!look().slots[2].behind);
    drive_close(&d);
}
END_TEST

/* Two are behind, one of them is needed: whichever is first. */
START_TEST(test_one_of_two_behind_is_needed)
{
    open_with_some_behind(4);
    ck_assert(look().slots[3].behind);
    drive_left(&d, 1);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    drive_tick(&d, 60000);
    ck_assert_str_eq(look().waits, "the pushes of slots 2, 3 in round 2");
    ck_assert_int_eq(drive_push(&d, 4, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert(look().slots[2].behind && !look().slots[3].behind);
    drive_close(&d);
}
END_TEST

/* Another worker in its slot is not behind. The same one is, when it returns with its ticket. */
START_TEST(test_behind_stays_with_the_worker)
{
    uint32_t back;

    open_with_some_behind(3);
    drive_left(&d, 3);
    ck_assert(!look().slots[2].behind);
    back = drive_return(&d, 3);
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert(look().slots[2].behind);
    rounds_by_1_and_2(2);
    if (_i == 0) {
        drive_left(&d, back);
        back = drive_hello(&d, 2);
    } else {
        uint32_t spare = drive_hello(&d, SP_ANY_SLOT);

        drive_left(&d, back);
        back = spare;
    }
    ck_assert_int_eq(drive_ready(&d, back), SP_OK);
    ck_assert(!look().slots[2].behind);
    ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_int_eq(drive_push(&d, back, up), SP_OK);
    ck_assert_uint_eq(d.committed, 3);
    drive_close(&d);
}
END_TEST

/* Rounds of no time at all: waiting 20 ms in every 32nd of them would take most of it. */
START_TEST(test_probes_take_a_share_of_the_time)
{
    uint64_t waited = 0, probes = 0;

    open_with_some_behind(3);
    for (uint32_t t = 2; t <= 2000; t++) {
        drive_tick(&d, 1);
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
        probes += d.committed < t;
        for (; d.committed < t; waited++)
            drive_tick(&d, 1);
        drive_clear(&d);
    }
    ck_assert_uint_gt(probes, 5);
    ck_assert_uint_lt(probes, 30);                  /* not 2000 / 32: the others' patience is not spent on it */
    ck_assert_uint_lt(waited, (2000 + waited) / 4); /* a fifth, and what there is at first */
    drive_close(&d);
}
END_TEST

/* A round of seven chunks: after the gradient each worker gives a chunk every pace[peer - 1] ms, unless the window
 * holds it back. Returns the ms it took. */
static uint64_t round_of_lines(uint64_t gradient, const uint64_t pace[4], const float *values)
{
    uint32_t next[4] = {0}, round = d.committed + 1;
    uint64_t began = d.now_ms;

    for (; d.committed < round; drive_tick(&d, 1)) {
        for (uint32_t i = 0; i < 4; i++) {
            struct drive_chunk chunk = {.round = round, .k = next[i], .values = values};

            if (d.committed < round && next[i] < 7 && d.now_ms - began >= gradient + pace[i] * next[i])
                next[i] += drive_push_chunk(&d, i + 1, &chunk) == SP_OK;
        }
        ck_assert_uint_lt(d.now_ms - began, 10000);
    }
    return d.now_ms - began - 1;
}

/* A line is late with the round, not with each of its chunks: else one that needs ten times as long for all of them
 * would be waited for all the way. A line that is a little slower is not late, though it is behind with most chunks;
 * nor when the round has just waited for another one. */
START_TEST(test_slow_line_falls_behind)
{
    const uint64_t alike[4] = {200, 200, 200, 240}, slow[4] = {200, 200, 220, 2000};
    const uint64_t gradient = _i == 0 ? 0 : 1000;
    uint64_t took;
    float *a;

    open_values(4, "server.close.quorum=2", "train.rounds=30");
    a = constant(1.0f);
    for (int t = 0; t < 20; t++)
        ck_assert_uint_eq(round_of_lines(gradient, alike, a), gradient + 6 * 240);
    ck_assert_uint_eq(look().slots[3].missed, 0);
    took = round_of_lines(gradient, slow, a);
    ck_assert_uint_gt(took, gradient + 6 * 200);
    ck_assert_uint_lt(took, 2 * (gradient + 6 * 200) + 400);
    ck_assert(look().slots[3].behind);
    ck_assert_uint_eq(look().slots[3].missed, 1);
    ck_assert_uint_eq(round_of_lines(gradient, slow, a), gradient + 6 * 220);
    ck_assert_uint_eq(look().slots[2].missed, 0);
    free(a);
    drive_close(&d);
}
END_TEST

/* The round has waited for one as long as it may: the next one to be late with a chunk has time of its own. */
START_TEST(test_dropping_one_gives_the_others_time)
{
    float *a;

    open_values(4, "server.close.quorum=2", NULL);
    a = constant(1.0f);
    for (uint32_t k = 0; k < SP_TALLY_WINDOW; k++) {
        for (uint32_t peer = 1; peer <= 3; peer++)
            ck_assert_int_eq(push_chunk(peer, k, a), SP_OK);
    }
    drive_tick(&d, 20);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW);
    ck_assert(look().slots[3].behind);
    for (uint32_t peer = 1; peer <= 2; peer++)
        ck_assert_int_eq(push_chunk(peer, SP_TALLY_WINDOW, a), SP_OK);
    drive_tick(&d, 19);
    ck_assert_int_eq(push_chunk(3, SP_TALLY_WINDOW, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW + 1);
    ck_assert(!look().slots[2].behind);
    free(a);
    drive_close(&d);
}
END_TEST

/* The round went on without 3 from its first chunks on; then 2 stops in the midst of its push. What 3 still gives of
 * the round makes up the quorum, so that the round goes on without 2 as well. */
START_TEST(test_late_one_makes_up_the_quorum)
{
    float *a, *b, *before;

    open_values(3, "server.close.quorum=2", NULL);
    a = constant(2.0f);
    b = constant(4.0f);
    before = weights();
    for (uint32_t k = 0; k < SP_TALLY_WINDOW; k++) {
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
        ck_assert_int_eq(push_chunk(2, k, a), SP_OK);
    }
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW);
    for (uint32_t k = SP_TALLY_WINDOW; k < 7; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW); /* 1 alone is no quorum */
    ck_assert_str_eq(look().waits, "the pushes of slot 1 in round 2");
    for (uint32_t k = 0; k < 7; k++) {
        ck_assert_int_eq(push_chunk(3, k, b), SP_OK);
        ck_assert_int_eq(push_chunk(3, k, b), SP_OK); /* again: a duplicate, whether it was late or not */
    }
    ck_assert_uint_eq(look().slots[2].duplicates, 7);
    ck_assert_uint_eq(d.committed, 1); /* 2 has its time */
    drive_tick(&d, 20000);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.commit.voters[0], 1);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        expect_weight(j, before[j] - 0.25f * (j < SP_TALLY_WINDOW * SP_CHUNK_VALUES ? 2.0f : 3.0f));
    ck_assert_uint_eq(look().slots[2].late, 1);
    ck_assert_uint_eq(look().slots[2].missed, 1);
    ck_assert_uint_eq(look().slots[1].missed, 1);
    ck_assert(look().slots[1].behind && look().slots[2].behind);
    free(a);
    free(b);
    free(before);
    drive_close(&d);
}
END_TEST

/* Those who were in time are gone: the round is for the late one to finish, not for nobody. */
START_TEST(test_late_one_finishes_the_round)
{
    float *a, *b, *before;

    open_values(2, "server.close.quorum=1", NULL);
    a = constant(2.0f);
    b = constant(4.0f);
    before = weights();
    for (uint32_t k = 0; k < SP_TALLY_WINDOW; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW);
    drive_left(&d, 1);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), SP_TALLY_WINDOW);
    ck_assert_str_eq(look().waits, "the pushes of slot 1 in round 2");
    for (uint32_t k = 0; k < 7; k++)
        ck_assert_int_eq(push_chunk(2, k, b), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        expect_weight(j, before[j] - 0.25f * (j < SP_TALLY_WINDOW * SP_CHUNK_VALUES ? 2.0f : 4.0f));
    free(a);
    free(b);
    free(before);
    drive_close(&d);
}
END_TEST

/* Rounds of one chunk teach no pace. The first round of several has a deadline all the same: 3 is behind, and 2 stops
 * in the midst of its push. */
START_TEST(test_no_pace_is_no_wait_for_ever)
{
    float *a;

    drive_open(&d,
               (const char *[]){"workers=3", "optimizer.switch.when=at", "optimizer.switch.step=2",
                                "optimizer.sgd.lr=0.25", "server.close.quorum=2", NULL},
               (const uint64_t[]){6 * SP_CHUNK_VALUES + 1000, 0});
    ck_assert_uint_eq(drive_join_all(&d, 3), 1);
    for (uint32_t t = 1; t <= 2; t++) {
        drive_tick(&d, 10);
        ck_assert_int_eq(drive_push(&d, 1, d.theta), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, d.theta), SP_OK);
        drive_tick(&d, 10000);
        ck_assert_uint_eq(d.committed, t);
    }
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    ck_assert(look().slots[2].behind);
    a = constant(2.0f);
    drive_clear(&d);
    for (uint32_t k = 0; k < 2; k++) {
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
        ck_assert_int_eq(push_chunk(2, k, a), SP_OK);
    }
    for (uint32_t k = 2; k < 6; k++)
        ck_assert_int_eq(push_chunk(1, k, a), SP_OK);
    for (uint32_t k = 0; k < 6; k++)
        ck_assert_int_eq(push_chunk(3, k, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 2);
    drive_tick(&d, 1000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 2);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 6);
    ck_assert(look().slots[1].behind);
    free(a);
    drive_close(&d);
}
END_TEST

/* However it is late: here always in time by the deadline, and never by the fifth of the time that there is for it. */
START_TEST(test_waiting_takes_a_share_of_the_time)
{
    uint64_t began;
    uint32_t votes;

    drive_open(&d, (const char *[]){"workers=3", "server.close.quorum=2", "train.rounds=2000", NULL}, small);
    (void)drive_join_all(&d, 3);
    began = d.now_ms;
    for (uint32_t t = 1; t < 1000; t++) {
        drive_tick(&d, 10);
        ck_assert_int_eq(drive_push(&d, 1, up), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, up), SP_OK);
        for (int ms = 0; ms < 9 && d.committed < t; ms++)
            drive_tick(&d, 1);
        if (d.committed < t)
            ck_assert_int_eq(drive_push(&d, 3, up), SP_OK);
        ck_assert_uint_eq(d.committed, t);
        drive_clear(&d);
    }
    votes = (uint32_t)look().slots[2].votes;
    ck_assert_uint_gt(votes, 100);
    ck_assert_uint_lt(votes, 400);
    ck_assert_uint_lt(d.now_ms - began, 10 * 1000 * 5 / 4 + 100);
    drive_close(&d);
}
END_TEST

/* --- many ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_two_hundred_and_fifty_five)
{
    open_small(255, NULL);
    (void)drive_join_all(&d, 255);
    for (uint32_t t = 1; t <= 3; t++) {
        for (uint32_t peer = 255; peer >= 1; peer--)
            ck_assert_int_eq(drive_push(&d, peer, peer <= 127 + t % 2 ? up : down), SP_OK);
        ck_assert_uint_eq(d.committed, t);
        ck_assert_uint_eq(result(), t % 2 == 1 ? 0xff : 0);
    }
    for (unsigned i = 0; i < 255; i++)
        ck_assert(drive_find(&d, SP_ACTION_COMMIT, 1)->action.commit.voters[i / 8] >> (i % 8) & 1);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 1)->action.commit.voters[31], 0x7f);
    drive_close(&d);
}
END_TEST

TCase *round_push_cases(void)
{
    TCase *cases = tcase_create("push");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_votes_of_two_chunks);
    tcase_add_test(cases, test_opposed_workers_alternate);
    tcase_add_test(cases, test_counts_of_the_vote);
    tcase_add_test(cases, test_leaving_in_the_middle);
    tcase_add_test(cases, test_all_leave_in_the_middle);
    tcase_add_test(cases, test_abstention);
    tcase_add_loop_test(cases, test_values_that_are_not_finite, 0, 2);
    tcase_add_test(cases, test_duplicate_and_late_pushes);
    tcase_add_test(cases, test_late_once_a_round);
    tcase_add_test(cases, test_abstention_is_not_late);
    tcase_add_test(cases, test_future_pushes_are_refused);
    tcase_add_test(cases, test_pushes_of_those_who_may_not);
    tcase_add_test(cases, test_pushes_that_do_not_fit);
    tcase_add_test(cases, test_window_holds_and_resumes);
    tcase_add_test(cases, test_window_releases_the_dropped);
    tcase_add_test(cases, test_min_live_waits_and_goes_on);
    tcase_add_test(cases, test_min_live_lets_a_round_end);
    tcase_add_test(cases, test_joining_in_the_middle);
    tcase_add_test(cases, test_slot_votes_once_a_round);
    tcase_add_test(cases, test_slot_with_half_a_push);
    tcase_add_test(cases, test_leaving_commits_and_a_spare_moves_up);
    tcase_add_test(cases, test_quorum_waits_for_its_deadline);
    tcase_add_test(cases, test_quorum_deadline_is_learned);
    tcase_add_test(cases, test_quorum_late_one_catches_up);
    tcase_add_test(cases, test_quorum_counts_abstentions);
    tcase_add_test(cases, test_behind_is_not_waited_for);
    tcase_add_loop_test(cases, test_behind_comes_back_by_itself, 0, 2);
    tcase_add_test(cases, test_behind_is_needed);
    tcase_add_test(cases, test_one_of_two_behind_is_needed);
    tcase_add_loop_test(cases, test_behind_stays_with_the_worker, 0, 2);
    tcase_add_test(cases, test_probes_take_a_share_of_the_time);
    tcase_add_test(cases, test_late_one_makes_up_the_quorum);
    tcase_add_test(cases, test_late_one_finishes_the_round);
    tcase_add_test(cases, test_no_pace_is_no_wait_for_ever);
    tcase_add_test(cases, test_waiting_takes_a_share_of_the_time);
    tcase_add_loop_test(cases, test_slow_line_falls_behind, 0, 2);
    tcase_add_test(cases, test_dropping_one_gives_the_others_time);
    tcase_add_test(cases, test_two_hundred_and_fifty_five);
    return cases;
}
