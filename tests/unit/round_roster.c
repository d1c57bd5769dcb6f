/* Who takes part: hello, slots, tickets, spares, initial weights, start. */
#include "drive.h"
#include "round_cases.h"

#include "common/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint64_t small[] = {5, 3, 0};
static struct drive d;

static void open_with(uint32_t workers, uint32_t min_live)
{
    char w[32], l[32];

    (void)snprintf(w, sizeof w, "workers=%u", workers);
    (void)snprintf(l, sizeof l, "server.min_live=%u", min_live);
    drive_open(&d, (const char *[]){w, l, "server.start_timeout=30", "server.init_timeout=20", NULL}, small);
}

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static void expect_welcome(uint32_t peer, bool spare, uint32_t slot)
{
    const struct drive_entry *welcome = drive_to(&d, SP_ACTION_WELCOME, peer);

    ck_assert_ptr_nonnull(welcome);
    ck_assert_int_eq(welcome->action.welcome.spare, spare);
    ck_assert_uint_eq(welcome->action.welcome.slot, slot);
}

/* --- the start -----------------------------------------------------------------------------------------------------
 */

START_TEST(test_first_gives_weights_all_get_them)
{
    uint32_t a, b;

    open_with(2, 1);
    ck_assert_int_eq(look().stage, SP_STAGE_NEW);
    a = drive_hello(&d, SP_ANY_SLOT);
    b = drive_hello(&d, SP_ANY_SLOT);
    expect_welcome(a, false, 0);
    expect_welcome(b, false, 1);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_INIT, a));
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_INIT), 1);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_WEIGHTS), 0);
    ck_assert_int_eq(drive_init(&d, a), SP_OK);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_FOLLOW, a));
    ck_assert_ptr_null(drive_to(&d, SP_ACTION_WEIGHTS, a));
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, b));
    ck_assert(!drive_to(&d, SP_ACTION_WEIGHTS, b)->action.started);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        ck_assert_float_eq(look().theta[j], drive_weight(j));
    ck_assert_int_eq(drive_ready(&d, a), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_COMMIT), 0);
    ck_assert_int_eq(drive_ready(&d, b), SP_OK);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_COMMIT), 1);
    ck_assert_uint_eq(drive_find(&d, SP_ACTION_COMMIT, 0)->action.round, 0);
    ck_assert_int_eq(look().stage, SP_STAGE_RUNNING);
    ck_assert_uint_eq(look().live, 2);
    drive_close(&d);
}
END_TEST

START_TEST(test_start_timeout)
{
    uint32_t late;

    open_with(4, 2);
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_tick(&d, 30001);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING); /* one is not enough, however long it takes */
    ck_assert_ptr_nonnull(strstr(look().waits, "1 live, server.min_live is 2"));
    (void)drive_join(&d, SP_ANY_SLOT);
    ck_assert_int_eq(look().stage, SP_STAGE_RUNNING);
    ck_assert_uint_eq(look().live, 2);
    /* One that comes before the first vote takes part in it: it gets the COMMIT that begins the round as well. */
    drive_clear(&d);
    late = drive_hello(&d, SP_ANY_SLOT);
    ck_assert(drive_to(&d, SP_ACTION_WEIGHTS, late)->action.started);
    ck_assert_int_eq(drive_ready(&d, late), SP_OK);
    ck_assert_int_eq(drive_push(&d, 1, d.theta), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 0);
    ck_assert_int_eq(drive_push(&d, late, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_start_timeout_counts_from_the_weights)
{
    uint32_t a, b;

    open_with(3, 2);
    a = drive_hello(&d, SP_ANY_SLOT);
    drive_tick(&d, 10000);
    ck_assert_int_eq(drive_init(&d, a), SP_OK);
    ck_assert_int_eq(drive_ready(&d, a), SP_OK);
    b = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_int_eq(drive_ready(&d, b), SP_OK);
    drive_tick(&d, 29999);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    ck_assert_ptr_nonnull(strstr(look().waits, "2 of 3 are ready, without slot 2"));
    drive_tick(&d, 1);
    ck_assert_int_eq(look().stage, SP_STAGE_RUNNING);
    drive_close(&d);
}
END_TEST

/* --- refusals ------------------------------------------------------------------------------------------------------
 */

static void expect_refusal(const struct sp_hello *hello, enum sp_reason reason, const char *words)
{
    uint32_t peer;

    drive_clear(&d);
    peer = drive_hello_with(&d, hello);
    drive_expect_bye(&d, peer, reason);
    ck_assert_msg(drive_said(&d, words), "%s", drive_to(&d, SP_ACTION_BYE, peer)->action.bye.words);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_WELCOME), 0);
    drive_left(&d, peer); /* as the daemon says next; unknown here */
}

START_TEST(test_refusals)
{
    struct sp_hello hello;

    open_with(2, 1);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.examples = 0;
    expect_refusal(&hello, SP_REASON_DATA, "without training examples");
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    (void)strcpy(hello.job, "other");
    expect_refusal(&hello, SP_REASON_JOB, "'drive', not 'other'");
    drive_hello_of(&d, 2, &hello);
    expect_refusal(&hello, SP_REASON_SLOT, "slot 2 does not exist");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.examples++;
    expect_refusal(&hello, SP_REASON_DATA, "160 training examples, this worker 161");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.data_digest++;
    expect_refusal(&hello, SP_REASON_DATA, "data differ");
    ck_assert_uint_eq(look().live, 1);
    ck_assert_uint_eq(look().spares, 0);
    drive_close(&d);
}
END_TEST

START_TEST(test_layout_is_compared)
{
    struct sp_layout other = {0};
    struct sp_tensor tensor = {.name = "t0", .dims = 1, .shape = {5}, .flags = SP_TENSOR_DECAY};
    struct sp_hello hello;

    open_with(2, 1);
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    ck_assert_int_eq(sp_layout_add(&other, &tensor, NULL), SP_OK);
    hello.layout = other;
    hello.layout_digest = sp_layout_digest(&other);
    expect_refusal(&hello, SP_REASON_LAYOUT, "1 tensors, the job's has 2");
    (void)strcpy(tensor.name, "t1");
    tensor.shape[0] = 4;
    tensor.flags = 0;
    ck_assert_int_eq(sp_layout_add(&other, &tensor, NULL), SP_OK);
    hello.layout = other;
    hello.layout_digest = sp_layout_digest(&other);
    expect_refusal(&hello, SP_REASON_LAYOUT, "from tensor 1 on: here 't1' with 3 coordinates, there 't1' with 4");
    sp_layout_finish(&other);
    drive_close(&d);
}
END_TEST

/* A digest of 0 is not compared, and neither is a worker without a test set. */
START_TEST(test_what_is_not_compared)
{
    struct sp_hello hello;

    d.test_examples = 0;
    open_with(4, 1);
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.data_digest = 0;
    hello.test_examples = 70;
    expect_welcome(drive_hello_with(&d, &hello), false, 1);
    ck_assert_uint_eq(look().test_examples, 70);
    hello.test_examples = 0;
    expect_welcome(drive_hello_with(&d, &hello), false, 2);
    hello.test_examples = 71;
    expect_refusal(&hello, SP_REASON_DATA, "70 test examples, this worker 71");
    drive_close(&d);
}
END_TEST

/* --- slots, spares, tickets ----------------------------------------------------------------------------------------
 */

START_TEST(test_slots_are_given_lowest_first_or_as_wanted)
{
    uint32_t c;

    open_with(4, 1);
    expect_welcome(drive_hello(&d, 2), false, 2);
    expect_welcome(drive_hello(&d, SP_ANY_SLOT), false, 0);
    c = drive_hello(&d, SP_ANY_SLOT);
    expect_welcome(c, false, 1);
    expect_welcome(drive_hello(&d, 2), true, 0); /* what it wants is taken */
    ck_assert_uint_eq(look().spares, 1);
    expect_welcome(drive_hello(&d, SP_ANY_SLOT), false, 3); /* a slot is free for one that takes any */
    drive_left(&d, c);
    ck_assert(!look().slots[1].live);
    ck_assert_uint_eq(look().spares, 1); /* still: slot 1 is not what it wants */
    drive_close(&d);
}
END_TEST

START_TEST(test_spares_wait_in_order)
{
    uint32_t a, b, s1, s2, s3;

    open_with(2, 1);
    a = drive_join_all(&d, 2);
    b = a + 1;
    s1 = drive_hello(&d, 0);
    s2 = drive_hello(&d, SP_ANY_SLOT);
    s3 = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_uint_eq(look().spares, 3);
    drive_clear(&d);
    drive_left(&d, b);
    expect_welcome(s2, false, 1); /* the first that takes any; s1 wants slot 0 */
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, s2));
    ck_assert_uint_eq(look().spares, 2);
    drive_left(&d, s3);
    ck_assert_uint_eq(look().spares, 1);
    drive_clear(&d);
    drive_left(&d, a);
    expect_welcome(s1, false, 0);
    ck_assert_uint_eq(look().spares, 0);
    ck_assert_uint_eq(look().live, 0);
    ck_assert_int_eq(drive_ready(&d, s1), SP_OK);
    ck_assert_int_eq(drive_ready(&d, s2), SP_OK);
    ck_assert_int_eq(drive_push(&d, s1, d.theta), SP_OK);
    ck_assert_int_eq(drive_push(&d, s2, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_too_many_peers)
{
    uint32_t last = 0;

    open_with(1, 1);
    for (unsigned i = 0; i <= SP_PEERS_MAX; i++)
        last = drive_hello(&d, SP_ANY_SLOT);
    drive_expect_bye(&d, last, SP_REASON_BUSY);
    ck_assert_uint_eq(look().spares, SP_PEERS_MAX - 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_ticket_takes_over_a_live_slot)
{
    uint32_t a, again, spare;

    open_with(2, 1);
    a = drive_join_all(&d, 2);
    spare = drive_hello(&d, SP_ANY_SLOT);
    drive_clear(&d);
    again = drive_return(&d, a);
    drive_expect_bye(&d, a, SP_REASON_REPLACED);
    expect_welcome(again, false, 0);
    ck_assert_ptr_null(drive_to(&d, SP_ACTION_WELCOME, spare)); /* the slot was not free for a moment */
    ck_assert_uint_eq(look().live, 1);
    ck_assert_uint_eq(look().spares, 1);
    ck_assert_int_eq(drive_ready(&d, again), SP_OK);
    ck_assert_uint_eq(look().live, 2);
    ck_assert_uint_eq(look().slots[0].joins, 2);
    drive_left(&d, a); /* the daemon says so when the old connection is gone */
    ck_assert_uint_eq(look().live, 2);
    /* The old ticket is void now: it was the old connection's. */
    drive_clear(&d);
    expect_welcome(drive_return(&d, a), true, 0);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_BYE), 0);
    drive_close(&d);
}
END_TEST

START_TEST(test_ticket_finds_its_free_slot)
{
    uint32_t a;

    open_with(3, 1);
    a = drive_join_all(&d, 3);
    drive_left(&d, a + 2);
    drive_left(&d, a);
    expect_welcome(drive_return(&d, a + 2), false, 2); /* though slot 0 is free */
    drive_close(&d);
}
END_TEST

/* A ticket that nobody gave, or a slot's number alone, takes nothing away. */
START_TEST(test_without_ticket_no_takeover)
{
    uint32_t a;

    open_with(1, 1);
    a = drive_join(&d, 0);
    drive_clear(&d);
    expect_welcome(drive_hello(&d, 0), true, 0);
    expect_welcome(drive_return(&d, 77), true, 0);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_BYE), 0);
    ck_assert_uint_eq(look().slots[0].peer, a);
    ck_assert(look().slots[0].ready);
    drive_close(&d);
}
END_TEST

/* A slot that was never taken has no ticket, and so none of zeros either. */
START_TEST(test_ticket_of_zeros)
{
    struct sp_hello hello;

    open_with(3, 1);
    drive_hello_of(&d, 1, &hello);
    hello.has_ticket = true;
    expect_welcome(drive_hello_with(&d, &hello), false, 1);
    drive_close(&d);
}
END_TEST

/* --- initial weights -----------------------------------------------------------------------------------------------
 */

START_TEST(test_init_timeout_passes_the_grant_on)
{
    uint32_t a, b;

    open_with(2, 1);
    a = drive_hello(&d, SP_ANY_SLOT);
    b = drive_hello(&d, SP_ANY_SLOT);
    drive_tick(&d, 19999);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_INIT), 1);
    drive_clear(&d);
    drive_tick(&d, 1);
    drive_expect_bye(&d, a, SP_REASON_INIT_TIMEOUT);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_INIT, b));
    ck_assert_int_ne(drive_init(&d, a), SP_OK); /* too late */
    ck_assert_int_eq(drive_init(&d, b), SP_OK);
    drive_tick(&d, 20001); /* the time limit is for weights alone */
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_BYE), 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_init_passes_on_when_its_giver_leaves)
{
    struct sp_message half = {.frame = {.type = SP_FRAME_WEIGHTS}};
    uint32_t a, b;
    void *to;

    drive_open(&d, (const char *[]){"workers=2", NULL}, (const uint64_t[]){SP_CHUNK_VALUES + 9, 0});
    a = drive_hello(&d, SP_ANY_SLOT);
    b = drive_hello(&d, SP_ANY_SLOT);
    half.frame.count = SP_CHUNK_VALUES;
    half.frame.bulk_bytes = SP_BULK_BYTES_MAX;
    ck_assert_int_eq(sp_round_place(d.round, a, &half.frame, &to, NULL), SP_OK);
    memset(to, 0x40, SP_BULK_BYTES_MAX);
    ck_assert_int_eq(sp_round_weights(d.round, a, &half, d.now_ms, NULL), SP_OK);
    drive_left(&d, a);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_INIT, b));
    ck_assert_int_eq(drive_init(&d, b), SP_OK); /* from its first chunk on */
    ck_assert_float_eq(d.theta[0], drive_weight(0));
    drive_close(&d);
}
END_TEST

/* Once nobody is left who could give weights the next worker may bring another model. */
START_TEST(test_layout_is_forgotten_with_its_last_worker)
{
    uint32_t a;

    open_with(2, 1);
    a = drive_hello(&d, SP_ANY_SLOT);
    drive_left(&d, a);
    ck_assert_ptr_null(look().layout);
    sp_layout_finish(&d.layout);
    ck_assert_int_eq(sp_layout_add(&d.layout, &(struct sp_tensor){.name = "another", .dims = 1, .shape = {7}}, NULL),
                     SP_OK);
    d.examples = 32;
    (void)drive_join(&d, SP_ANY_SLOT);
    ck_assert_uint_eq(look().layout->coordinates, 7);
    ck_assert_uint_eq(look().examples, 32);
    drive_close(&d);
}
END_TEST

/* The only worker reconnects before the server knows that its first connection is gone: the layout must stay. */
START_TEST(test_takeover_before_there_are_weights)
{
    uint32_t a, again;

    open_with(1, 1);
    a = drive_hello(&d, SP_ANY_SLOT);
    again = drive_return(&d, a);
    drive_expect_bye(&d, a, SP_REASON_REPLACED);
    expect_welcome(again, false, 0);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_INIT, again));
    ck_assert_ptr_nonnull(look().layout);
    ck_assert_int_eq(drive_init(&d, again), SP_OK);
    ck_assert_int_eq(drive_ready(&d, again), SP_OK);
    ck_assert_int_eq(drive_push(&d, again, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 1);
    drive_close(&d);
}
END_TEST

static int give(uint32_t peer, const float *theta, uint64_t digest)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .flags = SP_FRAME_LAST, .count = 8}};
    struct sp_error error = {0};
    void *to;
    int rc;

    message.frame.bulk_bytes = 8 * sizeof(float);
    message.digest = digest;
    rc = sp_round_place(d.round, peer, &message.frame, &to, &error);
    if (rc != SP_OK)
        return rc;
    memcpy(to, theta, 8 * sizeof(float));
    rc = sp_round_weights(d.round, peer, &message, d.now_ms, &error);
    drive_absorb(&d);
    return rc;
}

START_TEST(test_bad_initial_weights)
{
    float theta[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t a, b;

    open_with(2, 1);
    a = drive_hello(&d, SP_ANY_SLOT);
    b = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_int_eq(give(b, theta, sp_weights_digest(theta, 8)), SP_E_PROTOCOL); /* nobody asked it */
    ck_assert_int_eq(give(a, theta, sp_weights_digest(theta, 8) + 1), SP_E_CORRUPT);
    drive_left(&d, a);
    theta[3] = NAN;
    ck_assert_int_eq(give(b, theta, sp_weights_digest(theta, 8)), SP_E_RANGE);
    drive_left(&d, b);
    ck_assert_int_eq(look().stage, SP_STAGE_NEW);
    (void)drive_join(&d, SP_ANY_SLOT);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    drive_close(&d);
}
END_TEST

START_TEST(test_weights_out_of_order)
{
    struct sp_frame frame = {.type = SP_FRAME_WEIGHTS, .count = 8, .flags = SP_FRAME_LAST, .bulk_bytes = 32};
    struct sp_frame wrong[5];
    uint32_t a;
    void *to;

    open_with(1, 1);
    a = drive_hello(&d, SP_ANY_SLOT);
    for (int i = 0; i < 5; i++)
        wrong[i] = frame;
    wrong[0].first = 1;
    wrong[1].count = 9;
    wrong[2].bulk_bytes = 31;
    wrong[3].flags = 0;
    wrong[4].first = UINT64_MAX - 3;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(sp_round_place(d.round, a, &wrong[i], &to, NULL), SP_E_PROTOCOL);
    ck_assert_int_eq(sp_round_place(d.round, a, &frame, &to, NULL), SP_OK);
    drive_close(&d);
}
END_TEST

/* --- ready ---------------------------------------------------------------------------------------------------------
 */

START_TEST(test_ready_is_checked)
{
    uint64_t digest;
    uint32_t a, b;

    open_with(3, 1);
    a = drive_join(&d, SP_ANY_SLOT);
    b = drive_hello(&d, SP_ANY_SLOT);
    digest = sp_weights_digest(d.theta, 8);
    ck_assert_int_eq(sp_round_ready(d.round, b, 0, digest + 1, d.now_ms, NULL), SP_E_CORRUPT);
    ck_assert_int_eq(sp_round_ready(d.round, b, 1, digest, d.now_ms, NULL), SP_E_PROTOCOL);
    ck_assert_int_eq(sp_round_ready(d.round, a, 0, digest, d.now_ms, NULL), SP_E_PROTOCOL); /* again */
    ck_assert_int_eq(sp_round_ready(d.round, 99, 0, digest, d.now_ms, NULL), SP_E_PROTOCOL);
    ck_assert_uint_eq(look().live, 1);
    ck_assert_int_eq(drive_ready(&d, b), SP_OK);
    ck_assert_uint_eq(look().live, 2);
    drive_close(&d);
}
END_TEST

/* Weights were sent, rounds went on, READY comes for an earlier round: the COMMITs since are on their way. */
START_TEST(test_ready_of_an_earlier_round)
{
    uint32_t a, b;

    drive_open(&d, (const char *[]){"workers=2", "server.start_timeout=1", NULL}, small);
    a = drive_join(&d, SP_ANY_SLOT);
    drive_tick(&d, 1000);
    ck_assert_int_eq(drive_push(&d, a, d.theta), SP_OK);
    b = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WEIGHTS, b)->action.round, 1);
    ck_assert_int_eq(drive_push(&d, a, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 2);
    ck_assert_int_eq(sp_round_ready(d.round, b, 1, 12345, d.now_ms, NULL), SP_OK); /* of weights that are gone */
    drive_absorb(&d);
    ck_assert_int_eq(drive_push(&d, a, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 2); /* round 3 waits for it */
    ck_assert_int_eq(drive_push(&d, b, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 3);
    drive_close(&d);
}
END_TEST

START_TEST(test_unknown_peers_are_ignored)
{
    struct sp_frame push = {.type = SP_FRAME_PUSH, .round = 1, .count = 8, .bulk_bytes = 1};
    void *to;

    open_with(1, 1);
    drive_left(&d, 5);
    ck_assert_int_eq(sp_round_place(d.round, 5, &push, &to, NULL), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_abstain(&d, 5, 1), SP_E_PROTOCOL);
    ck_assert_int_eq(drive_score(&d, 5, 1, 0, 0, 0), SP_E_PROTOCOL);
    drive_tick(&d, 1000);
    ck_assert_uint_eq(d.count, 0);
    sp_round_destroy(NULL);
    drive_close(&d);
}
END_TEST

TCase *round_roster_cases(void)
{
    TCase *cases = tcase_create("roster");

    tcase_add_test(cases, test_first_gives_weights_all_get_them);
    tcase_add_test(cases, test_start_timeout);
    tcase_add_test(cases, test_start_timeout_counts_from_the_weights);
    tcase_add_test(cases, test_refusals);
    tcase_add_test(cases, test_layout_is_compared);
    tcase_add_test(cases, test_what_is_not_compared);
    tcase_add_test(cases, test_slots_are_given_lowest_first_or_as_wanted);
    tcase_add_test(cases, test_spares_wait_in_order);
    tcase_add_test(cases, test_too_many_peers);
    tcase_add_test(cases, test_ticket_takes_over_a_live_slot);
    tcase_add_test(cases, test_ticket_finds_its_free_slot);
    tcase_add_test(cases, test_without_ticket_no_takeover);
    tcase_add_test(cases, test_ticket_of_zeros);
    tcase_add_test(cases, test_init_timeout_passes_the_grant_on);
    tcase_add_test(cases, test_init_passes_on_when_its_giver_leaves);
    tcase_add_test(cases, test_layout_is_forgotten_with_its_last_worker);
    tcase_add_test(cases, test_takeover_before_there_are_weights);
    tcase_add_test(cases, test_bad_initial_weights);
    tcase_add_test(cases, test_weights_out_of_order);
    tcase_add_test(cases, test_ready_is_checked);
    tcase_add_test(cases, test_ready_of_an_earlier_round);
    tcase_add_test(cases, test_unknown_peers_are_ignored);
    return cases;
}
