/* Workers whose votes oppose the others': warned of, or excluded and not waited for, counted, asked. */
#include "drive.h"
#include "round_cases.h"

#include "common/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Without momentum every second round is sampled; the fourth sample is the first that is judged. */
enum { WORKERS = 5, LIAR = 4, JUDGED = 8, COORDINATES = 2000 };

static struct drive d;
static uint32_t peers[WORKERS];
static float *truth, *lie;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static void open_model(const char *rule, const char *setting, const struct drive_tensor *model)
{
    char quarantine[64];

    (void)snprintf(quarantine, sizeof quarantine, "server.quarantine=%s", rule);
    drive_open_model(
        &d, (const char *[]){"workers=5", "train.rounds=60", "optimizer.beta1=0", quarantine, setting, NULL}, model);
    truth = calloc(d.layout.coordinates, sizeof *truth);
    lie = calloc(d.layout.coordinates, sizeof *lie);
    ck_assert(truth != NULL && lie != NULL);
}

static void join(void)
{
    (void)drive_join_all(&d, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++)
        peers[i] = i + 1;
}

static void open_with(const char *rule, const char *setting)
{
    open_model(rule, setting, (const struct drive_tensor[]){{"w", COORDINATES, 0}, {NULL, 0, 0}});
    join();
}

/* Two chunks of values, the second of COORDINATES. */
static void open_two_chunks(void)
{
    open_model("exclude", "optimizer.mode=sgd",
               (const struct drive_tensor[]){{"w", SP_CHUNK_VALUES + COORDINATES, 0}, {NULL, 0, 0}});
    join();
}

static void close_all(void)
{
    free(truth);
    free(lie);
    drive_close(&d);
}

/* What the gradient of the round that is collected looks like; the lie begins with coordinate `from`. */
static void make_round(uint64_t from)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(1, SP_RNG_TEST), d.committed, 0);
    for (uint64_t j = 0; j < d.layout.coordinates; j++) {
        truth[j] = sp_rng_next(&rng) % 2 == 0 ? 0.5f : -0.5f;
        lie[j] = j >= from ? -truth[j] : truth[j];
    }
}

static void push(uint32_t slot)
{
    ck_assert_int_eq(drive_push(&d, peers[slot], slot == LIAR ? lie : truth), SP_OK);
}

static void honest_push(void)
{
    for (uint32_t slot = 0; slot < LIAR; slot++)
        push(slot);
}

/* All push, the liar first. */
static void one_round(uint64_t from)
{
    uint32_t t = d.committed;

    make_round(from);
    push(LIAR);
    honest_push();
    ck_assert_uint_eq(d.committed, t + 1);
}

static void rounds_until(uint32_t t)
{
    while (d.committed < t)
        one_round(0);
}

static unsigned voters(void)
{
    return drive_last(&d, SP_ACTION_COMMIT)->action.commit.voters[0];
}

/* --- the rules -----------------------------------------------------------------------------------------------------
 */

START_TEST(test_excluded_from_the_next_round_on)
{
    const struct sp_event *event;

    open_with("exclude", NULL);
    rounds_until(JUDGED - 1);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 0);
    one_round(0);
    ck_assert_uint_eq(voters(), 0x1f);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    event = &drive_last(&d, SP_ACTION_EVENT)->action.event;
    ck_assert_int_eq(event->type, SP_EVENT_QUARANTINE);
    ck_assert_uint_eq(event->round, JUDGED);
    ck_assert_uint_eq(event->suspect.slot, LIAR);
    ck_assert_uint_eq(event->suspect.opposed, 4);
    ck_assert_uint_eq(event->suspect.others, 4);
    ck_assert_uint_eq(event->suspect.samples, 4);
    ck_assert(event->suspect.correlation == -1.0);
    ck_assert(event->excluded);
    ck_assert(drive_said(&d, "worker peer5, slot 4, votes against 4 of 4 others (correlation -1.000, 4 samples); it is "
                             "excluded from the next round on"));
    ck_assert(look().slots[LIAR].suspected && look().slots[LIAR].is_excluded && look().slots[LIAR].live);
    ck_assert(!look().slots[0].suspected && look().slots[0].correlation == 1.0);
    ck_assert_uint_eq(look().live, 4);
    rounds_until(JUDGED + 20);
    ck_assert_uint_eq(voters(), 0x0f);
    ck_assert_uint_eq(look().slots[LIAR].votes, JUDGED);
    ck_assert_uint_eq(look().slots[LIAR].excluded, 20);
    ck_assert_uint_eq(look().slots[LIAR].missed + look().slots[LIAR].late + look().slots[LIAR].abstained, 0);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    close_all();
}
END_TEST

/* Nor does anybody wait for it, or hear that it abstains. */
START_TEST(test_excluded_is_not_waited_for)
{
    open_with("exclude", NULL);
    rounds_until(JUDGED);
    make_round(0);
    honest_push();
    ck_assert_uint_eq(d.committed, JUDGED + 1);
    ck_assert_int_eq(drive_abstain(&d, peers[LIAR], JUDGED + 2), SP_OK);
    ck_assert_uint_eq(look().slots[LIAR].abstained, 0);
    for (uint32_t slot = 1; slot < LIAR; slot++)
        drive_left(&d, peers[slot]);
    push(0);
    ck_assert_uint_eq(d.committed, JUDGED + 2);
    ck_assert_uint_eq(voters(), 1);
    drive_left(&d, peers[0]);
    ck_assert_uint_eq(look().live, 0);
    drive_tick(&d, 20000);
    ck_assert_uint_eq(d.committed, JUDGED + 2);
    ck_assert_str_eq(look().waits, "the return of 1 worker; none is back");
    close_all();
}
END_TEST

START_TEST(test_warned_of_once)
{
    open_with("warn", NULL);
    rounds_until(40);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    ck_assert(!drive_last(&d, SP_ACTION_EVENT)->action.event.excluded);
    ck_assert(drive_said(&d, "it still counts"));
    ck_assert(look().slots[LIAR].suspected && !look().slots[LIAR].is_excluded);
    ck_assert_uint_eq(look().live, 5);
    ck_assert_uint_eq(voters(), 0x1f);
    ck_assert_uint_eq(look().slots[LIAR].votes, 40);
    close_all();
}
END_TEST

START_TEST(test_off_and_by_label)
{
    open_with("off", NULL);
    rounds_until(40);
    ck_assert(!look().slots[LIAR].suspected);
    ck_assert(isnan(look().slots[LIAR].correlation));
    ck_assert(!drive_said(&d, "server.quarantine"));
    close_all();
    open_with("warn", "data.shards=by_label");
    rounds_until(40);
    ck_assert(!look().slots[LIAR].suspected);
    ck_assert(isnan(look().slots[LIAR].correlation));
    ck_assert(drive_said(&d, "nobody is suspected of bad votes (server.quarantine)"));
    close_all();
}
END_TEST

/* --- what is sampled -----------------------------------------------------------------------------------------------
 */

static const char *const phases[] = {"optimizer.start=sign", "optimizer.start=margin", "optimizer.mode=sgd",
                                     "optimizer.mode=adam"};

START_TEST(test_every_phase)
{
    open_with("exclude", phases[_i]);
    rounds_until(JUDGED);
    ck_assert(look().slots[LIAR].is_excluded);
    ck_assert(look().slots[LIAR].correlation == -1.0);
    ck_assert(look().slots[0].correlation == 1.0);
    close_all();
}
END_TEST

/* Values that are coded, and of which some are 0 for all. */
START_TEST(test_coded_values)
{
    drive_open(&d,
               (const char *[]){"workers=5", "train.rounds=60", "optimizer.beta1=0", "optimizer.mode=sgd",
                                _i == 0 ? "optimizer.sgd.wire=i8" : "optimizer.sgd.wire=bf16",
                                "server.quarantine=exclude", NULL},
               (const uint64_t[]){COORDINATES, 0});
    truth = calloc(COORDINATES, sizeof *truth);
    lie = calloc(COORDINATES, sizeof *lie);
    ck_assert(truth != NULL && lie != NULL);
    join();
    while (d.committed < JUDGED) {
        make_round(0);
        for (unsigned j = 0; j < COORDINATES; j += 3)
            truth[j] = lie[j] = 0.0f;
        for (uint32_t slot = 0; slot < WORKERS; slot++)
            push(slot);
    }
    ck_assert(look().slots[LIAR].is_excluded);
    ck_assert(look().slots[LIAR].correlation == -1.0);
    close_all();
}
END_TEST

/* Their bits are zeros for all: no agreement. */
START_TEST(test_tensors_in_full_are_left_out)
{
    open_model("exclude", "tensors=[{match: full, update: full}]",
               (const struct drive_tensor[]){{"a", 70, 0}, {"full", 500, 0}, {"b", 300, 0}, {NULL, 0, 0}});
    join();
    ck_assert_uint_eq(d.layout.full, 500);
    rounds_until(JUDGED);
    ck_assert(look().slots[LIAR].correlation == -1.0);
    close_all();
}
END_TEST

/* One chunk of values after the other: who lies in the second only is caught lying in every other sample. */
START_TEST(test_chunks_take_turns)
{
    open_two_chunks();
    while (d.committed < 40)
        one_round(SP_CHUNK_VALUES);
    ck_assert(!look().slots[LIAR].suspected);
    ck_assert(look().slots[LIAR].correlation == 0.0);
    close_all();
}
END_TEST

/* A round that is collected anew is sampled once. */
START_TEST(test_begun_anew)
{
    open_two_chunks();
    rounds_until(3); /* round 4 takes its sample of the first chunk */
    make_round(0);
    for (uint32_t slot = 0; slot < WORKERS; slot++) {
        const float *values = slot == LIAR ? lie : truth;

        ck_assert_int_eq(drive_push_chunk(&d, peers[slot], &(struct drive_chunk){.round = 4, .values = values}), SP_OK);
    }
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_UPDATE)->action.round, 4);
    for (uint32_t slot = 0; slot < WORKERS; slot++)
        drive_left(&d, peers[slot]);
    ck_assert(drive_said(&d, "it begins anew"));
    for (uint32_t slot = 0; slot < WORKERS; slot++) {
        peers[slot] = drive_return(&d, peers[slot]);
        ck_assert_int_eq(drive_ready(&d, peers[slot]), SP_OK);
    }
    rounds_until(JUDGED);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_EVENT)->action.event.round, JUDGED);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_EVENT)->action.event.suspect.samples, 4);
    close_all();
}
END_TEST

/* --- who is meant --------------------------------------------------------------------------------------------------
 */

START_TEST(test_returns_as_who_it_was)
{
    open_with("exclude", NULL);
    rounds_until(JUDGED);
    peers[LIAR] = drive_return(&d, peers[LIAR]); /* while its old connection is still there */
    ck_assert_int_eq(drive_ready(&d, peers[LIAR]), SP_OK);
    ck_assert_uint_eq(look().live, 4);
    one_round(0);
    ck_assert_uint_eq(voters(), 0x0f);
    drive_left(&d, peers[LIAR]);
    ck_assert_uint_eq(look().live, 4);
    make_round(0);
    honest_push();
    peers[LIAR] = drive_return(&d, peers[LIAR]);
    ck_assert_int_eq(drive_ready(&d, peers[LIAR]), SP_OK);
    ck_assert_uint_eq(look().live, 4);
    one_round(0);
    ck_assert_uint_eq(voters(), 0x0f);
    ck_assert(look().slots[LIAR].is_excluded);
    close_all();
}
END_TEST

/* Another one in the slot, or a spare that moves up, is not held to what was. */
START_TEST(test_another_worker_is_free_of_it)
{
    uint32_t spare;

    open_with("exclude", NULL);
    rounds_until(JUDGED);
    drive_left(&d, peers[LIAR]);
    peers[LIAR] = drive_join(&d, LIAR);
    ck_assert(!look().slots[LIAR].is_excluded && !look().slots[LIAR].suspected);
    ck_assert_uint_eq(look().live, 5);
    ck_assert(isnan(look().slots[LIAR].correlation));
    one_round(0);
    ck_assert_uint_eq(voters(), 0x1f);
    rounds_until(JUDGED + 7);
    ck_assert(!look().slots[LIAR].is_excluded);
    one_round(0); /* it lies as well */
    ck_assert(look().slots[LIAR].is_excluded);
    spare = drive_hello(&d, SP_ANY_SLOT);
    drive_left(&d, peers[LIAR]);
    peers[LIAR] = spare;
    ck_assert_int_eq(drive_ready(&d, spare), SP_OK);
    ck_assert_uint_eq(look().live, 5);
    one_round(COORDINATES);
    ck_assert_uint_eq(voters(), 0x1f);
    close_all();
}
END_TEST

START_TEST(test_min_live)
{
    open_with("exclude", "server.min_live=5");
    rounds_until(JUDGED);
    make_round(0);
    for (uint32_t slot = 0; slot < WORKERS; slot++)
        push(slot);
    ck_assert_uint_eq(d.committed, JUDGED);
    drive_tick(&d, 20000);
    ck_assert_str_eq(look().waits, "workers: 4 live, server.min_live is 5");
    drive_left(&d, peers[LIAR]);
    peers[LIAR] = drive_join(&d, LIAR);
    ck_assert_int_eq(drive_push(&d, peers[LIAR], truth), SP_OK);
    ck_assert_uint_eq(d.committed, JUDGED + 1);
    ck_assert_uint_eq(voters(), 0x1f);
    close_all();
}
END_TEST

/* By quorum two liars and one honest worker close rounds; but there are two more honest ones. */
START_TEST(test_majority_of_all_who_are_live)
{
    open_with("exclude", "server.close.quorum=3");
    while (d.committed < 40) {
        make_round(0);
        ck_assert_int_eq(drive_push(&d, peers[0], truth), SP_OK);
        ck_assert_int_eq(drive_push(&d, peers[1], lie), SP_OK);
        ck_assert_int_eq(drive_push(&d, peers[2], lie), SP_OK);
        drive_tick(&d, 1000);
    }
    ck_assert(look().slots[0].correlation == -1.0);
    for (uint32_t slot = 0; slot < WORKERS; slot++)
        ck_assert(!look().slots[slot].suspected);
    close_all();
}
END_TEST

/* --- evaluation, resync --------------------------------------------------------------------------------------------
 */

/* Evaluations after rounds 8 and 16. */
static void open_tests(void)
{
    static const struct drive_tensor model[] = {{"w", COORDINATES, 0}, {NULL, 0, 0}};

    open_model("exclude", "train.evaluate=4", model);
    d.examples = 2ull * WORKERS * d.job.train.batch;
    d.test_examples = 10;
    join();
    rounds_until(JUDGED);
}

START_TEST(test_no_part_of_evaluations)
{
    open_tests();
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVAL), 4);
    for (uint32_t slot = 0; slot < LIAR; slot++)
        drive_left(&d, peers[slot]); /* the others' parts go to who is left, but not to the last one */
    ck_assert_uint_gt(drive_number(&d, SP_ACTION_EVAL), 4);
    ck_assert_ptr_null(drive_to(&d, SP_ACTION_EVAL, peers[LIAR]));
    close_all();
}
END_TEST

/* An evaluation that only an excluded worker could end is given up. */
START_TEST(test_evaluation_does_not_wait_for_it)
{
    open_tests();
    drive_left(&d, peers[LIAR]);
    peers[LIAR] = drive_return(&d, peers[LIAR]); /* it is being sent the weights */
    make_round(0);
    honest_push();
    ck_assert_uint_eq(d.committed, JUDGED);
    for (uint32_t slot = 0; slot < LIAR; slot++)
        drive_left(&d, peers[slot]);
    ck_assert_uint_eq(d.committed, JUDGED + 1);
    ck_assert(drive_said(&d, "nobody is left who holds these weights"));
    close_all();
}
END_TEST

START_TEST(test_resync)
{
    struct sp_error error = {0};

    open_with("exclude", NULL);
    rounds_until(JUDGED);
    ck_assert_int_eq(sp_round_resync(d.round, peers[LIAR], d.committed, 0xbad, d.now_ms, &error), SP_OK);
    drive_absorb(&d);
    ck_assert_uint_eq(look().live, 4);
    ck_assert_int_eq(drive_ready(&d, peers[LIAR]), SP_OK);
    ck_assert_uint_eq(look().live, 4);
    one_round(0);
    ck_assert_uint_eq(voters(), 0x0f);
    close_all();
}
END_TEST

TCase *round_quarantine_cases(void)
{
    TCase *cases = tcase_create("quarantine");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_excluded_from_the_next_round_on);
    tcase_add_test(cases, test_excluded_is_not_waited_for);
    tcase_add_test(cases, test_warned_of_once);
    tcase_add_test(cases, test_off_and_by_label);
    tcase_add_loop_test(cases, test_every_phase, 0, 4);
    tcase_add_loop_test(cases, test_coded_values, 0, 2);
    tcase_add_test(cases, test_tensors_in_full_are_left_out);
    tcase_add_test(cases, test_chunks_take_turns);
    tcase_add_test(cases, test_begun_anew);
    tcase_add_test(cases, test_returns_as_who_it_was);
    tcase_add_test(cases, test_another_worker_is_free_of_it);
    tcase_add_test(cases, test_min_live);
    tcase_add_test(cases, test_majority_of_all_who_are_live);
    tcase_add_test(cases, test_no_part_of_evaluations);
    tcase_add_test(cases, test_evaluation_does_not_wait_for_it);
    tcase_add_test(cases, test_resync);
    return cases;
}
