/* What a probe is told, and that nothing comes of it. */
#include "drive.h"
#include "round_cases.h"

#include <string.h>

static const uint64_t small[] = {5, 3, 0};
static struct drive d;
static struct sp_probe probe;

static void open_with(const char *workers)
{
    drive_open(&d, (const char *[]){workers, "server.min_live=1", NULL}, small);
}

/* Asks, and looks whether the core is as it was: no action, nobody more, no slot less. */
static bool ask(const struct sp_hello *hello)
{
    struct sp_action action;
    struct sp_view before, after;
    bool admitted;

    drive_clear(&d);
    drive_view(&d, &before);
    admitted = sp_round_probe(d.round, hello, &probe);
    ck_assert(!sp_round_next(d.round, &action));
    drive_view(&d, &after);
    ck_assert_int_eq(after.stage, before.stage);
    ck_assert_uint_eq(after.live, before.live);
    ck_assert_uint_eq(after.spares, before.spares);
    ck_assert_uint_eq(after.round, before.round);
    ck_assert_ptr_eq(after.layout, before.layout);
    ck_assert_ptr_eq(after.theta, before.theta);
    return admitted;
}

static void expect(int wanted, int slot, unsigned taken, bool compared)
{
    struct sp_hello hello;

    drive_hello_of(&d, wanted, &hello);
    ck_assert_msg(ask(&hello), "%s", probe.refusal.words);
    ck_assert_int_eq(probe.slot, slot);
    ck_assert_uint_eq(probe.taken, taken);
    ck_assert_int_eq(probe.compared, compared);
}

static void expect_refusal(const struct sp_hello *hello, enum sp_reason reason, const char *words)
{
    ck_assert(!ask(hello));
    ck_assert_int_eq(probe.refusal.reason, reason);
    ck_assert_msg(strstr(probe.refusal.words, words) != NULL, "%s", probe.refusal.words);
}

/* A worker that comes after the probe gets what it was told. */
START_TEST(test_slots)
{
    uint32_t a, b;

    open_with("workers=3");
    expect(SP_ANY_SLOT, 0, 0, false);
    a = drive_join(&d, SP_ANY_SLOT);
    expect(SP_ANY_SLOT, 1, 1, true);
    expect(2, 2, 1, true);
    expect(0, -1, 1, true);
    b = drive_join(&d, SP_ANY_SLOT);
    ck_assert_uint_eq(drive_to(&d, SP_ACTION_WELCOME, b)->action.welcome.slot, 1);
    (void)drive_join(&d, SP_ANY_SLOT);
    expect(SP_ANY_SLOT, -1, 3, true);
    drive_left(&d, a);
    expect(SP_ANY_SLOT, 0, 2, true);
    drive_close(&d);
}
END_TEST

START_TEST(test_refusals)
{
    struct sp_layout other = {0};
    struct sp_tensor tensor = {.name = "t0", .dims = 1, .shape = {4}};
    struct sp_hello hello;

    open_with("workers=2");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.examples = 0;
    expect_refusal(&hello, SP_REASON_DATA, "without training examples");
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, 2, &hello);
    expect_refusal(&hello, SP_REASON_SLOT, "slot 2 does not exist");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    (void)strcpy(hello.job, "other");
    expect_refusal(&hello, SP_REASON_JOB, "'drive', not 'other'");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.examples++;
    expect_refusal(&hello, SP_REASON_DATA, "160 training examples, this worker 161");
    ck_assert_int_eq(sp_layout_add(&other, &tensor, NULL), SP_OK);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.layout = other;
    hello.layout_digest = sp_layout_digest(&other);
    expect_refusal(&hello, SP_REASON_LAYOUT, "from tensor 0 on: here 't0' with 5 coordinates, there 't0' with 4");
    sp_layout_finish(&other);
    drive_close(&d);
}
END_TEST

/* Of a worker whose model is not known only the job is looked at. */
START_TEST(test_without_a_model)
{
    struct sp_hello hello;

    open_with("workers=2");
    (void)drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.layout_digest = hello.examples = 0;
    memset(&hello.layout, 0, sizeof hello.layout);
    ck_assert(ask(&hello));
    ck_assert_int_eq(probe.slot, 1);
    ck_assert(!probe.compared);
    (void)strcpy(hello.job, "other");
    expect_refusal(&hello, SP_REASON_JOB, "'drive', not 'other'");
    drive_close(&d);
}
END_TEST

START_TEST(test_a_job_that_is_over)
{
    struct sp_hello hello;

    open_with("workers=2");
    (void)drive_join(&d, SP_ANY_SLOT);
    sp_round_stop(d.round, "stopped by hand", d.now_ms);
    drive_absorb(&d);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    expect_refusal(&hello, SP_REASON_STOPPED, "stopped by hand");
    drive_close(&d);
}
END_TEST

START_TEST(test_a_full_house)
{
    struct sp_hello hello;

    open_with("workers=2");
    (void)drive_join(&d, SP_ANY_SLOT);
    for (int i = 1; i < SP_PEERS_MAX; i++)
        (void)drive_hello(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    expect_refusal(&hello, SP_REASON_BUSY, "more than 2048 workers");
    drive_close(&d);
}
END_TEST

/* It is no way to find out a ticket, and takes nobody's slot with one. */
START_TEST(test_a_ticket_counts_for_nothing)
{
    struct sp_hello hello;
    uint32_t a;

    open_with("workers=2");
    a = drive_join(&d, SP_ANY_SLOT);
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.has_ticket = true;
    drive_ticket(a, hello.ticket);
    ck_assert(ask(&hello));
    ck_assert_int_eq(probe.slot, 1);
    drive_close(&d);
}
END_TEST

TCase *round_probe_cases(void)
{
    TCase *cases = tcase_create("probe");

    tcase_add_test(cases, test_slots);
    tcase_add_test(cases, test_refusals);
    tcase_add_test(cases, test_without_a_model);
    tcase_add_test(cases, test_a_job_that_is_over);
    tcase_add_test(cases, test_a_full_house);
    tcase_add_test(cases, test_a_ticket_counts_for_nothing);
    return cases;
}
