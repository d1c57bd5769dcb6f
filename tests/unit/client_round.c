/* Rounds: gradients and scores in, weights out; and what becomes of a round whose connection is lost. */
#include "client_cases.h"
#include "common/pack.h"
#include "common/weights.h"
#include "scripted.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

static struct scripted play;
static float gradient[SCRIPTED_D];

static void setup(void)
{
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        gradient[j] = (j % 3 == 0 ? -1.0f : 0.5f) * (float)(j + 1);
}

static void teardown(void)
{
    scripted_end(&play);
}

static void start(void)
{
    scripted_begin(&play, false);
    scripted_start(&play);
}

static void expect_weights(uint32_t round)
{
    ck_assert_uint_eq(signpost_round(play.s), round);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(signpost_weights(play.s)[j], scripted_weight(j) - 0.125f * (float)round);
}

/* The one PUSH of a round: all signs of the gradient, and its scalars. */
static struct sp_push expect_push(uint32_t round)
{
    struct sp_message message;
    uint8_t bits[3];

    scripted_receive(&play, SP_FRAME_PUSH, &message);
    ck_assert_uint_eq(message.frame.round, round);
    ck_assert_uint_eq(message.frame.flags, SP_FRAME_LAST);
    ck_assert_uint_eq(message.frame.count, SCRIPTED_D);
    sp_pack_signs(gradient, 0, SCRIPTED_D, round, bits);
    ck_assert_mem_eq(play.bulk, bits, sizeof bits);
    return message.push;
}

static void expect_log(const char *words)
{
    ck_assert_msg(strstr(play.log, words) != NULL, "no '%s' in: %s", words, play.log);
}

/* --- blocking -------------------------------------------------------------------------------------------------------
 */

/* A caller of the blocking interface, in a thread of its own, while the test is the server. */
struct caller {
    pthread_t thread;
    signpost *s;
    const float *initial;
    int rc;
    unsigned steps;
};

static void *call(void *arg)
{
    struct caller *caller = arg;

    caller->rc = signpost_join(caller->s, caller->initial);
    while (caller->rc == SIGNPOST_OK) {
        caller->rc = signpost_step(caller->s, gradient, 1.5, 16);
        caller->steps++;
    }
    return NULL;
}

static void begin_caller(struct caller *caller, const float *initial)
{
    scripted_begin(&play, true);
    *caller = (struct caller){.s = play.s, .initial = initial};
    play.s = NULL; /* it is the thread's now */
    ck_assert_int_eq(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static void end_caller(struct caller *caller, int rc, unsigned steps)
{
    ck_assert_int_eq(pthread_join(caller->thread, NULL), 0);
    play.s = caller->s;
    ck_assert_msg(caller->rc == rc, "%d: %s", caller->rc, signpost_error(play.s));
    ck_assert_uint_eq(caller->steps, steps);
}

/* The server's side of INIT: the weights that came are at `values`. */
static void take_initial(float *values)
{
    scripted_take_handshake(&play);
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    scripted_receive(&play, SP_FRAME_WEIGHTS, NULL);
    memcpy(values, play.bulk, SCRIPTED_D * sizeof *values);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    scripted_commit(&play, 0);
}

/* The whole of it: join, a step a round, and SIGNPOST_OVER at the end, as often as one asks. */
START_TEST(test_join_and_step)
{
    float initial[SCRIPTED_D], values[SCRIPTED_D];
    struct caller caller;

    for (unsigned j = 0; j < SCRIPTED_D; j++)
        initial[j] = scripted_weight(j);
    begin_caller(&caller, initial);
    take_initial(values);
    ck_assert_mem_eq(values, initial, sizeof initial);
    for (uint32_t round = 1; round <= 3; round++) {
        struct sp_push push = expect_push(round);

        ck_assert(push.has_scalars && push.loss == 1.5 && push.examples == 16);
        ck_assert_int_eq(push.has_dot, round > 1);
        scripted_update(&play, round);
    }
    (void)expect_push(4);
    scripted_send_bye(&play, SP_REASON_DONE, "all is over");
    end_caller(&caller, SIGNPOST_OVER, 4);
    ck_assert_str_eq(signpost_error(play.s), "all is over");
    ck_assert_int_eq(signpost_reason(play.s), SIGNPOST_REASON_DONE);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_PUSHES), 4);
    expect_weights(3);
    ck_assert_int_eq(signpost_join(play.s, NULL), SIGNPOST_OVER);
}
END_TEST

/* Without initial weights they are zeros. */
START_TEST(test_join_without_weights)
{
    static const float zeros[SCRIPTED_D];
    float values[SCRIPTED_D];
    struct caller caller;

    begin_caller(&caller, NULL);
    take_initial(values);
    ck_assert_mem_eq(values, zeros, sizeof zeros);
    (void)expect_push(1);
    scripted_send_bye(&play, SP_REASON_STOPPED, "enough");
    end_caller(&caller, SIGNPOST_OVER, 1);
    ck_assert_int_eq(signpost_reason(play.s), SIGNPOST_REASON_STOPPED);
}
END_TEST

/* A refusal ends join and step; each call after it gives the same code. */
START_TEST(test_join_is_refused)
{
    struct caller caller;

    begin_caller(&caller, NULL);
    scripted_take_handshake(&play);
    scripted_send_bye(&play, SP_REASON_LAYOUT, "another model");
    end_caller(&caller, SIGNPOST_E_REJECTED, 0);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "another model"));
    ck_assert_int_eq(signpost_join(play.s, NULL), SIGNPOST_E_REJECTED);
    ck_assert_int_eq(signpost_step(play.s, gradient, 1.0, 1), SIGNPOST_E_REJECTED);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "another model"));
    ck_assert_int_eq(signpost_reason(play.s), SIGNPOST_REASON_LAYOUT);
}
END_TEST

/* A connection lost in a step is made again, and the step ends with the weights that the server then has. */
START_TEST(test_step_goes_on_after_a_loss)
{
    struct sp_message weights = {
        .frame = {.type = SP_FRAME_WEIGHTS, .flags = SP_FRAME_LAST, .round = 5, .count = SCRIPTED_D}};
    float values[SCRIPTED_D];
    struct caller caller;

    begin_caller(&caller, NULL);
    take_initial(values);
    (void)expect_push(1);
    scripted_take_handshake(&play); /* the old line is closed first */
    ck_assert(play.hello.has_ticket);
    scripted_welcome(&play, 5, 8);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        values[j] = scripted_weight(j) - 0.125f * 5.0f;
    weights.digest = sp_weights_digest(values, SCRIPTED_D);
    scripted_send(&play, &weights, values, sizeof values);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    scripted_commit(&play, 5);
    (void)expect_push(6);
    scripted_send_bye(&play, SP_REASON_DONE, "");
    end_caller(&caller, SIGNPOST_OVER, 2);
    expect_weights(5);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_RECONNECTS), 1);
}
END_TEST

/* The last weights that initial ones may be: none that are not finite. Then it is over. */
START_TEST(test_initial_weights_that_are_not_finite)
{
    scripted_begin(&play, false);
    scripted_take_handshake(&play);
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    (void)scripted_expect_event(&play, SIGNPOST_INIT);
    signpost_weights_to_init(play.s)[16] = NAN;
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_E_RANGE);
    scripted_expect_code(&play, SIGNPOST_E_RANGE, "not finite", SIGNPOST_REASON_NONE);
}
END_TEST

/* --- gradients ------------------------------------------------------------------------------------------------------
 */

/* Tensor by tensor, from the last one on; the weights change with the next event, and not before. */
START_TEST(test_gradient_by_tensors)
{
    start();
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 1, gradient + 12), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 0, gradient), SIGNPOST_OK);
    scripted_expect_quiet(&play, 20); /* the last chunk waits for the scalars */
    ck_assert_int_eq(signpost_push(play.s, 2.5, 32), SIGNPOST_OK);
    ck_assert(expect_push(1).loss == 2.5);
    expect_weights(0);
    scripted_update(&play, 1);
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, 2);
    expect_weights(1);
    ck_assert_uint_eq(signpost_weights_digest(play.s), sp_weights_digest(signpost_weights(play.s), SCRIPTED_D));
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_PUSHES), 1);
}
END_TEST

/* What is given twice, or lies beyond the model, is refused with words; the rest can still be given. */
START_TEST(test_ranges_that_cannot_be)
{
    start();
    ck_assert_int_eq(signpost_gradient(play.s, 5, 5, gradient + 5), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient(play.s, 9, 2, gradient + 9), SIGNPOST_E_RANGE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "2 coordinates from 9 on"));
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 0, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 2, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, UINT32_MAX, gradient), SIGNPOST_E_RANGE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "the model has 2"));
    ck_assert_int_eq(signpost_gradient(play.s, 17, 1, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient(play.s, 0, 18, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient(play.s, UINT64_MAX, 1, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient(play.s, 1, UINT64_MAX, gradient), SIGNPOST_E_RANGE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "the model has 17"));
    ck_assert_int_eq(signpost_gradient(play.s, 17, 0, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient(play.s, 10, 7, gradient + 10), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient(play.s, 0, 5, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    (void)expect_push(1);
}
END_TEST

/* A push before all is there says from where it is missing, and is possible later. */
START_TEST(test_push_before_all_is_given)
{
    start();
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_E_STATE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "missing from coordinate 0 on"));
    ck_assert_int_eq(signpost_gradient(play.s, 0, 10, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient(play.s, 11, 6, gradient + 11), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_E_STATE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "missing from coordinate 10 on"));
    ck_assert_int_eq(signpost_gradient(play.s, 10, 1, gradient + 10), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    (void)expect_push(1);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_PUSHES), 1);
}
END_TEST

/* A gradient that is not finite: the worker abstains, counts it, says so, and is there again in the next round. */
START_TEST(test_abstention)
{
    struct sp_message message;

    start();
    gradient[13] = NAN;
    ck_assert_int_eq(signpost_gradient(play.s, 12, 5, gradient + 12), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient(play.s, 0, 12, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_PUSH, &message);
    ck_assert_uint_eq(message.frame.flags, SP_FRAME_ABSTAIN);
    ck_assert_uint_eq(message.frame.bulk_bytes, 0);
    expect_log("not finite from coordinate 12 on");
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_ABSTENTIONS), 1);
    setup();
    scripted_update(&play, 1);
    (void)scripted_expect_event(&play, SIGNPOST_GRADIENT);
    expect_weights(1);
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_PUSH, &message);
    ck_assert_uint_eq(message.frame.flags, SP_FRAME_LAST);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_ABSTENTIONS), 1);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_PUSHES), 2);
}
END_TEST

/* A loss that is not finite is only left out of the statistics. */
START_TEST(test_loss_that_is_not_finite)
{
    struct sp_push push;

    start();
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, _i == 0 ? (double)NAN : (double)INFINITY, 1), SIGNPOST_OK);
    push = expect_push(1);
    ck_assert(!push.has_scalars && !push.has_sketch);
}
END_TEST

/* A worker that takes longer than a round: it goes on from the newest weights, and what it still gives is not used. */
START_TEST(test_round_goes_on_without_a_slow_worker)
{
    start();
    ck_assert_int_eq(signpost_gradient(play.s, 0, 5, gradient), SIGNPOST_OK);
    scripted_update(&play, 1);
    scripted_update(&play, 2);
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, 3);
    expect_weights(2);
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    (void)expect_push(3);
}
END_TEST

/* --- lost connections -----------------------------------------------------------------------------------------------
 */

/* Lost while the caller computes: what it gives then is taken and not used, and it comes back with its ticket. */
START_TEST(test_loss_in_the_gradient)
{
    start();
    ck_assert_int_eq(signpost_gradient(play.s, 0, 5, gradient), SIGNPOST_OK);
    scripted_hang_up(&play);
    scripted_until(&play, scripted_is_called(&play));
    ck_assert_int_eq(signpost_gradient(play.s, 5, 12, gradient + 5), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_E_STATE); /* once is enough */
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_PUSHES), 0);
    expect_log("lost the server");
    scripted_take_back(&play, 4);
    ck_assert(play.hello.has_ticket);
    ck_assert_uint_eq(play.hello.ticket[0], 7);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_RECONNECTS), 1);
    expect_weights(4);
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_PUSH, NULL);
    ck_assert_uint_eq(play.frame.round, 5);
}
END_TEST

/* Lost without the client knowing it yet: its calls find out, and none of them fails. */
START_TEST(test_loss_that_a_call_finds)
{
    start();
    if (_i == 0)
        scripted_hang_up(&play);
    for (int i = 0; i < 3; i++)
        signpost_alive(play.s);
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    if (_i == 1)
        scripted_hang_up(&play);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    scripted_take_back(&play, 2);
    expect_weights(2);
}
END_TEST

/* Lost while the caller makes the initial weights: the server asks again. */
START_TEST(test_loss_in_init)
{
    scripted_begin(&play, false);
    scripted_take_handshake(&play);
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    (void)scripted_expect_event(&play, SIGNPOST_INIT);
    scripted_hang_up(&play);
    scripted_until(&play, scripted_is_called(&play));
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_OK);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_E_STATE);
    scripted_start(&play);
}
END_TEST

/* The weights differ from the server's: it asks for them, and goes on from there. */
START_TEST(test_resync)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_UPDATE, .flags = SP_FRAME_LAST, .round = 1}};
    struct sp_message commit = {.frame = {.type = SP_FRAME_COMMIT, .round = 1},
                                .commit = {.rate = 0.125f, .decay = 1.0f, .has_digest = true, .digest = 1}};
    float values[SCRIPTED_D];

    start();
    message.frame.count = SCRIPTED_D;
    scripted_send(&play, &message, "\xff\xff\x01", 3);
    scripted_send(&play, &commit, NULL, 0);
    scripted_receive(&play, SP_FRAME_RESYNC, &message);
    ck_assert_uint_eq(message.digest, signpost_weights_digest(play.s));
    expect_weights(0);
    expect_log("asking the server for its weights");
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        values[j] = scripted_weight(j) - 0.25f;
    message = (struct sp_message){.frame = {.type = SP_FRAME_WEIGHTS, .flags = SP_FRAME_LAST, .round = 2}};
    message.frame.count = SCRIPTED_D;
    message.digest = sp_weights_digest(values, SCRIPTED_D);
    scripted_send(&play, &message, values, sizeof values);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    scripted_commit(&play, 2);
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, 3);
    expect_weights(2);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_RESYNCS), 1);
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_RECONNECTS), 0);
}
END_TEST

/* --- evaluation -----------------------------------------------------------------------------------------------------
 */

static void start_evaluation(struct signpost_event *event)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_EVAL, .round = 1}, .eval = {.part = 2, .parts = 4}};
    struct signpost_options options;

    scripted_listen(&play);
    options = scripted_options(&play);
    options.test_examples = 40;
    scripted_open(&play, &options);
    scripted_start(&play);
    scripted_update(&play, 1);
    scripted_send(&play, &message, NULL, 0);
    *event = scripted_expect_event(&play, SIGNPOST_EVALUATE);
    ck_assert_uint_eq(event->round, 1);
    ck_assert_uint_eq(event->part, 2);
    ck_assert_uint_eq(event->parts, 4);
}

/* The weights stay as they are until the score is there; one that cannot be is refused, and may be given again. */
START_TEST(test_score)
{
    struct signpost_event event;
    struct sp_message message;

    start_evaluation(&event);
    expect_weights(1);
    ck_assert_int_eq(signpost_score(play.s, &event, 11, 10, 1.0), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_score(play.s, &event, 1, 10, (double)NAN), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_score(play.s, &event, 1, 10, (double)INFINITY), SIGNPOST_E_RANGE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "1 of 10"));
    ck_assert_int_eq(signpost_score(play.s, &event, 9, 10, 3.5), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_SCORE, &message);
    ck_assert_uint_eq(message.frame.round, 1);
    ck_assert_uint_eq(message.score.part, 2);
    ck_assert_uint_eq(message.score.correct, 9);
    ck_assert_uint_eq(message.score.total, 10);
    ck_assert(message.score.loss_sum == 3.5);
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, 2);
}
END_TEST

/* Lost meanwhile: the part is somebody else's, and the next connection hears nothing of it. */
START_TEST(test_score_after_a_loss)
{
    struct signpost_event event;

    start_evaluation(&event);
    scripted_hang_up(&play);
    play.events_count = 0;
    scripted_until(&play, scripted_is_called(&play));
    play.events_count = 0; /* a gradient that was due */
    ck_assert_int_eq(signpost_score(play.s, &event, 9, 10, 3.5), SIGNPOST_OK);
    scripted_take_back(&play, 3);
    scripted_expect_quiet(&play, 20);
}
END_TEST

static void add_losses(TCase *tests)
{
    tcase_add_test(tests, test_loss_in_the_gradient);
    tcase_add_loop_test(tests, test_loss_that_a_call_finds, 0, 2);
    tcase_add_test(tests, test_loss_in_init);
    tcase_add_test(tests, test_resync);
    tcase_add_test(tests, test_score);
    tcase_add_test(tests, test_score_after_a_loss);
}

TCase *client_round_cases(void)
{
    TCase *tests = tcase_create("round");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_join_and_step);
    tcase_add_test(tests, test_join_without_weights);
    tcase_add_test(tests, test_join_is_refused);
    tcase_add_test(tests, test_step_goes_on_after_a_loss);
    tcase_add_test(tests, test_initial_weights_that_are_not_finite);
    tcase_add_test(tests, test_gradient_by_tensors);
    tcase_add_test(tests, test_ranges_that_cannot_be);
    tcase_add_test(tests, test_push_before_all_is_given);
    tcase_add_test(tests, test_abstention);
    tcase_add_loop_test(tests, test_loss_that_is_not_finite, 0, 2);
    tcase_add_test(tests, test_round_goes_on_without_a_slow_worker);
    add_losses(tests);
    return tests;
}
