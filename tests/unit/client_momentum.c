/* Momentum that outlives a process: saved, found by the next one, kept or dropped, and what is said of it. */
#include "client_cases.h"
#include "scripted.h"
#include "tests/unit/files.h"
#include "worker/client/client_state.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scripted play;
static float gradient[SCRIPTED_D], left[SCRIPTED_D]; /* the latter: the momentum that was saved last */
static char base[32], folder[300], path[400];

static void setup(void)
{
    static unsigned tests;

    for (unsigned j = 0; j < SCRIPTED_D; j++)
        gradient[j] = (j % 3 == 0 ? -1.0f : 0.5f) * (float)(j + 1);
    (void)snprintf(base, sizeof base, "%d-%u", (int)getpid(), tests++);
    (void)snprintf(folder, sizeof folder, "%s/run", files_path(base));
    (void)snprintf(path, sizeof path, "%s/momentum-2", folder);
}

static void teardown(void)
{
    scripted_end(&play);
}

/* A process that saves after every round, however short. */
static void open_process(void)
{
    struct signpost_options options = scripted_options(&play);

    options.momentum_folder = folder;
    options.momentum_every = 1;
    scripted_open(&play, &options);
}

static void start(void)
{
    scripted_listen(&play);
    play.run = 7;
    open_process();
    scripted_start(&play);
}

/* Its end by kill -9, as far as files go: it says goodbye, but no more than that. Another one comes. */
static void kill_process(void)
{
    scripted_hang_up(&play);
    signpost_close(play.s);
    play.events_count = 0;
    play.log[0] = '\0';
    open_process();
}

static void push(void)
{
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
}

/* A round, after which its momentum lies in the file. */
static void save_round(uint32_t round)
{
    play.s->momentum.due_ms = 0;
    push();
    memcpy(left, play.s->learner.m, sizeof left);
    scripted_update(&play, round);
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, round + 1);
}

static bool is_there(void)
{
    return access(path, F_OK) == 0;
}

static void expect_log(const char *words)
{
    ck_assert_msg(strstr(play.log, words) != NULL, "no '%s' in: %s", words, play.log);
}

static void expect_not_in_log(const char *words)
{
    ck_assert_msg(strstr(play.log, words) == NULL, "'%s' in: %s", words, play.log);
}

START_TEST(test_the_next_process_goes_on)
{
    char line[500];

    start();
    save_round(1);
    save_round(2);
    kill_process();
    ck_assert(is_there());
    scripted_take_back(&play, 12);
    (void)snprintf(line, sizeof line, "2 goes on with the momentum of round 2, which %s kept", path);
    expect_log(line);
    ck_assert_mem_eq(play.s->learner.m, left, sizeof left);
    ck_assert_uint_eq(play.s->learner.own_rounds, 2);
    ck_assert(!play.s->learner.late);
    scripted_hang_up(&play);
    scripted_take_back(&play, 12);
    ck_assert_ptr_null(strstr(strstr(play.log, "goes on") + 1, "goes on")); /* that is its own by now */
}
END_TEST

START_TEST(test_too_old_for_the_weights)
{
    const float zero[SCRIPTED_D] = {0};

    start();
    save_round(1);
    kill_process();
    scripted_take_back(&play, 12);
    expect_log("2 the momentum of round 1 is 11 rounds old; it begins at zero");
    expect_not_in_log("goes on");
    ck_assert_mem_eq(play.s->learner.m, zero, sizeof zero);
    ck_assert(play.s->learner.late);
}
END_TEST

START_TEST(test_too_new_for_the_weights)
{
    start();
    for (uint32_t t = 1; t <= 12; t++)
        save_round(t);
    kill_process();
    scripted_take_back(&play, 1);
    expect_log("2 the momentum of round 12 is 11 rounds ahead of the weights; it begins at zero");
}
END_TEST

/* Of another run it is nothing to speak of; it stays, until this run has something to save. */
START_TEST(test_of_another_run)
{
    start();
    save_round(1);
    play.run = 8;
    kill_process();
    scripted_take_back(&play, 2);
    expect_log("3 the momentum in ");
    expect_log("is of another run; it is left alone");
    ck_assert(play.s->learner.own_rounds == 0 && play.s->learner.late);
    play.s->momentum.slot = 2; /* it is 0 by itself, which is a slot as well */
    scripted_send_bye(&play, SP_REASON_DONE, "done");
    (void)scripted_expect_event(&play, SIGNPOST_DONE);
    ck_assert(is_there());
}
END_TEST

START_TEST(test_damaged)
{
    start();
    save_round(1);
    kill_process();
    ck_assert_int_eq(truncate(path, 100), 0);
    scripted_take_back(&play, 2);
    expect_log("1 ");
    expect_log("is cut short: it has 100 of 124 bytes; the momentum begins at zero");
    ck_assert(play.s->learner.late);
    save_round(3);
    kill_process();
    scripted_take_back(&play, 3);
    expect_log("goes on with the momentum of round 3");
}
END_TEST

/* A connection that was lost is no new process: what it has itself is newer than the file, and nothing is said. */
START_TEST(test_own_momentum_counts)
{
    float own[SCRIPTED_D];

    start();
    save_round(1);
    push();
    memcpy(own, play.s->learner.m, sizeof own);
    scripted_hang_up(&play);
    scripted_take_back(&play, 1);
    ck_assert_mem_eq(play.s->learner.m, own, sizeof own);
    expect_not_in_log("momentum");
    scripted_hang_up(&play);
    scripted_take_back(&play, 13);
    expect_log("2 the momentum of round 2 is 11 rounds old; it begins at zero");
}
END_TEST

/* The server was started again without a journal: the job begins anew, or did so some time ago. */
START_TEST(test_another_run)
{
    start();
    save_round(1);
    play.run = 8;
    scripted_hang_up(&play);
    if (_i == 0)
        scripted_start(&play);
    else
        scripted_take_back(&play, 2);
    expect_log("2 the momentum of round 1 is not of this run; it begins at zero");
    ck_assert_uint_eq(play.s->learner.own_rounds, 0);
}
END_TEST

/* Every so many rounds, and not again before its time. */
START_TEST(test_how_often)
{
    struct stat status;

    start();
    push(); /* within the first second nothing is worth it */
    ck_assert(!is_there());
    scripted_update(&play, 1);
    (void)scripted_expect_event(&play, SIGNPOST_GRADIENT);
    play.s->momentum.every = 3;
    for (uint32_t t = 2; t <= 6; t++) {
        save_round(t);
        ck_assert_int_eq(is_there(), t >= 3);
        ck_assert_uint_eq(play.s->momentum.saved_round, t >= 6 ? 6 : t >= 3 ? 3 : 0);
    }
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_ge(play.s->momentum.due_ms, scripted_now_ms() + 500);
    push();
    ck_assert_uint_eq(play.s->momentum.saved_round, 6);
    play.s->momentum.saved_round = 40; /* the server was started again, some rounds back */
    scripted_update(&play, 7);
    (void)scripted_expect_event(&play, SIGNPOST_GRADIENT);
    save_round(8);
    ck_assert_uint_eq(play.s->momentum.saved_round, 8);
}
END_TEST

/* Where the gradient itself is pushed there is nothing to go on with. */
START_TEST(test_not_without_momentum)
{
    start();
    play.s->learner.setup.beta1 = 0.0;
    play.s->momentum.due_ms = 0;
    push();
    ck_assert(!is_there());
}
END_TEST

/* Neither what a worker that abstains has in part, nor a round that is not its own. */
START_TEST(test_not_after_an_abstention)
{
    start();
    play.s->momentum.due_ms = 0;
    gradient[3] = NAN;
    push();
    ck_assert(!is_there());
}
END_TEST

START_TEST(test_not_without_a_computation)
{
    scripted_listen(&play);
    open_process();
    sp_client_exchange_only(play.s);
    scripted_start(&play);
    play.s->momentum.due_ms = 0;
    push();
    ck_assert(!is_there());
}
END_TEST

/* Of a job that is done nothing is left; of one that was stopped, or that this worker leaves, all. */
START_TEST(test_the_end)
{
    start();
    save_round(1);
    ck_assert(is_there());
    scripted_send_bye(&play, _i == 0 ? SP_REASON_DONE : SP_REASON_STOPPED, "over");
    (void)scripted_expect_event(&play, SIGNPOST_DONE);
    ck_assert_int_eq(is_there(), _i != 0);
}
END_TEST

/* Said once, and again when it is over; the training goes on. */
START_TEST(test_cannot_be_saved)
{
    const char *at;

    (void)files_write(base, "a file where a folder should be", 1);
    start();
    save_round(1);
    save_round(2);
    expect_log("1 cannot save the momentum in ");
    expect_log("Not a directory; the training goes on, but a process that takes this slot would begin at zero");
    at = strstr(play.log, "cannot save");
    ck_assert_ptr_null(strstr(at + 1, "cannot save"));
    ck_assert_int_eq(unlink(files_path(base)), 0);
    save_round(3);
    expect_log("2 the momentum can be saved again in ");
    ck_assert(is_there());
    save_round(4);
    at = strstr(play.log, "can be saved again");
    ck_assert_ptr_null(strstr(at + 1, "can be saved again"));
}
END_TEST

TCase *client_momentum_cases(void)
{
    TCase *tests = tcase_create("momentum");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_the_next_process_goes_on);
    tcase_add_test(tests, test_too_old_for_the_weights);
    tcase_add_test(tests, test_too_new_for_the_weights);
    tcase_add_test(tests, test_of_another_run);
    tcase_add_test(tests, test_damaged);
    tcase_add_test(tests, test_own_momentum_counts);
    tcase_add_loop_test(tests, test_another_run, 0, 2);
    tcase_add_test(tests, test_how_often);
    tcase_add_test(tests, test_not_without_momentum);
    tcase_add_test(tests, test_not_after_an_abstention);
    tcase_add_test(tests, test_not_without_a_computation);
    tcase_add_loop_test(tests, test_the_end, 0, 2);
    tcase_add_test(tests, test_cannot_be_saved);
    return tests;
}
