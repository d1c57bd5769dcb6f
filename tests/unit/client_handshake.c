/* Up to WELCOME: who says what, what is believed before the server has proved itself, and how it may turn a worker
 * away.
 */
#include "client_cases.h"
#include "scripted.h"

#include <stdio.h>

static struct scripted play;

static void begin(bool secret)
{
    scripted_begin(&play, secret);
}

static void teardown(void)
{
    scripted_end(&play);
}

/* The line ends without a word of the end, and the client comes again. */
static void expect_return(void)
{
    scripted_expect_end(&play);
    scripted_accept(&play);
    ck_assert_int_eq(play.code, 0);
    ck_assert_uint_eq(play.events_count, 0);
    ck_assert_int_eq(signpost_reason(play.s), SIGNPOST_REASON_NONE);
}

static void expect_log(const char *words)
{
    ck_assert_msg(strstr(play.log, words) != NULL, "no '%s' in: %s", words, play.log);
}

/* --- the happy path -------------------------------------------------------------------------------------------------
 */

/* Without a secret HELLO and LAYOUT come at once, and the rest waits for WELCOME. */
START_TEST(test_without_secret)
{
    struct signpost_options options;

    scripted_listen(&play);
    options = scripted_options(&play);
    options.slot = 3;
    options.test_examples = 77;
    options.data_digest = UINT64_C(0x123456789abcdef0);
    scripted_open(&play, &options);
    scripted_take_hello(&play);
    ck_assert_str_eq(play.hello.job, "test");
    ck_assert_int_eq(strncmp(play.hello.program, "libsignpost ", 12), 0);
    ck_assert_str_eq(play.hello.program + 12, signpost_version());
    ck_assert_uint_eq(play.hello.role, SP_ROLE_WORKER);
    ck_assert_int_eq(play.hello.wanted_slot, 3);
    ck_assert_uint_eq(play.hello.examples, 1000);
    ck_assert_uint_eq(play.hello.test_examples, 77);
    ck_assert_uint_eq(play.hello.data_digest, UINT64_C(0x123456789abcdef0));
    ck_assert(!play.hello.has_ticket && !play.hello.has_nonce);
    scripted_expect_quiet(&play, 30);
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    scripted_expect_quiet(&play, 10);
}
END_TEST

/* What is not given is told as such: any slot, one example. */
START_TEST(test_smallest_hello)
{
    struct signpost_options options;

    scripted_listen(&play);
    options = scripted_options(&play);
    options.examples = 0;
    scripted_open(&play, &options);
    scripted_take_hello(&play);
    ck_assert_int_eq(play.hello.wanted_slot, SP_ANY_SLOT);
    ck_assert_uint_eq(play.hello.examples, 1);
    ck_assert_uint_eq(play.hello.test_examples, 0);
    ck_assert_uint_eq(play.hello.data_digest, 0);
}
END_TEST

/* With a secret nothing follows HELLO before the server's proof; then ours, and the layout. */
START_TEST(test_with_secret)
{
    begin(true);
    scripted_take_hello(&play);
    ck_assert(play.hello.has_nonce);
    scripted_expect_quiet(&play, 30);
    scripted_challenge(&play, &play.secret, SP_PROVER_SERVER);
    scripted_take_proof(&play);
    scripted_expect_quiet(&play, 10);
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    ck_assert_int_eq(signpost_slot(play.s), 2);
}
END_TEST

/* The plan can be read from SIGNPOST_JOINED on. */
START_TEST(test_plan)
{
    const char *key = NULL, *value = NULL;
    size_t items = 0;

    begin(false);
    scripted_take_hello(&play);
    scripted_welcome(&play, 3, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    ck_assert_uint_eq(signpost_rounds(play.s), 100);
    ck_assert_str_eq(signpost_plan(play.s, "optimizer.beta1"), "0.9");
    ck_assert_ptr_null(signpost_plan(play.s, "optimizer.beta"));
    ck_assert_ptr_null(signpost_plan(play.s, ""));
    while (signpost_plan_item(play.s, items, &key, &value)) {
        ck_assert_ptr_eq(signpost_plan(play.s, key), value);
        items++;
    }
    ck_assert_uint_eq(items, 7);
    ck_assert_str_eq(key, "optimizer.sgd.rate");
    ck_assert_int_eq(signpost_plan_item(play.s, SIZE_MAX, &key, &value), 0);
}
END_TEST

/* Each connection has a nonce of its own, so that no old proof is of use. */
START_TEST(test_nonces_are_fresh)
{
    uint8_t before[SP_NONCE_BYTES];

    begin(true);
    scripted_take_hello(&play);
    memcpy(before, play.hello.nonce, sizeof before);
    scripted_hang_up(&play);
    scripted_take_hello(&play);
    ck_assert_mem_ne(play.hello.nonce, before, 8);
    ck_assert_mem_ne(play.hello.nonce + 24, before + 24, 8);
}
END_TEST

/* A spare has a place, but nothing to do, until the WELCOME with a slot. */
START_TEST(test_spare)
{
    const struct sp_message spare = {.frame = {.type = SP_FRAME_WELCOME}, .welcome = {.spare = true}};

    begin(false);
    scripted_take_hello(&play);
    scripted_send(&play, &spare, NULL, 0);
    scripted_expect_quiet(&play, 30);
    ck_assert_uint_eq(play.events_count, 0);
    ck_assert_int_eq(signpost_slot(play.s), -1);
    expect_log("as a spare");
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    ck_assert_int_eq(signpost_slot(play.s), 2);
}
END_TEST

/* --- proofs ---------------------------------------------------------------------------------------------------------
 */

/* A server that does not hold the secret hears why, and that is the end: it would be the same again. */
static void expect_wrong_proof(void)
{
    struct sp_message message;

    scripted_receive(&play, SP_FRAME_BYE, &message);
    ck_assert_uint_eq(message.bye.reason, SP_REASON_SECRET);
    ck_assert_ptr_nonnull(strstr(message.bye.words, "the server's proof is wrong"));
    scripted_expect_end(&play);
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "did not prove", SIGNPOST_REASON_NONE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), play.address));
    ck_assert(!scripted_is_called(&play));
}

START_TEST(test_server_with_another_secret)
{
    struct sp_secret other;

    begin(true);
    scripted_take_hello(&play);
    other = play.secret;
    other.data[39] ^= 1;
    scripted_challenge(&play, &other, SP_PROVER_SERVER);
    expect_wrong_proof();
}
END_TEST

/* What the client itself would prove with is no proof of the server's. */
START_TEST(test_proof_of_the_wrong_side)
{
    begin(true);
    scripted_take_hello(&play);
    scripted_challenge(&play, &play.secret, SP_PROVER_CLIENT);
    expect_wrong_proof();
}
END_TEST

/* Nor is one that was right for an earlier connection. */
START_TEST(test_proof_of_an_earlier_connection)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_CHALLENGE}};

    begin(true);
    scripted_take_hello(&play);
    memset(message.challenge.nonce, 5, sizeof message.challenge.nonce);
    ck_assert_int_eq(sp_proof_make(&play.secret, SP_PROVER_SERVER, &play.hello, message.challenge.nonce,
                                   &(struct sp_channel){0}, message.challenge.proof),
                     SP_OK);
    scripted_hang_up(&play);
    scripted_take_hello(&play);
    scripted_send(&play, &message, NULL, 0);
    expect_wrong_proof();
}
END_TEST

/* A server that goes on as if there were no secret is not joined; and since it may be another program that has the port
 * for a moment, the client comes again. */
START_TEST(test_frames_before_the_proof)
{
    static const enum sp_frame_type types[] = {SP_FRAME_INIT, SP_FRAME_ALIVE, SP_FRAME_COMMIT, SP_FRAME_EVAL};
    struct sp_message message = {.eval = {.part = 0, .parts = 1}};

    begin(true);
    scripted_take_hello(&play);
    if (_i == 0)
        scripted_welcome(&play, 0, 7);
    else if (_i < 4)
        scripted_send_bare(&play, types[_i - 1]);
    else {
        message.frame.type = SP_FRAME_EVAL;
        scripted_send(&play, &message, NULL, 0);
    }
    expect_return();
    ck_assert_int_eq(signpost_slot(play.s), -1);
    expect_log("without proving that it holds the secret");
}
END_TEST

/* A challenge is for who has a secret, and comes once. */
START_TEST(test_challenge_without_secret)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_CHALLENGE}};

    begin(false);
    scripted_take_hello(&play);
    scripted_send(&play, &message, NULL, 0);
    expect_return();
    expect_log("asks for a proof");
}
END_TEST

START_TEST(test_second_challenge)
{
    begin(true);
    scripted_take_handshake(&play);
    scripted_challenge(&play, &play.secret, SP_PROVER_SERVER);
    expect_return();
}
END_TEST

/* --- the server says goodbye ----------------------------------------------------------------------------------------
 */

/* Whoever answers at the address could say so: it is not believed before the proof. */
START_TEST(test_end_before_the_proof_is_not_believed)
{
    begin(true);
    scripted_take_hello(&play);
    scripted_send_bye(&play, _i == 0 ? SP_REASON_DONE : SP_REASON_STOPPED, "all is over");
    expect_return();
    expect_log("'all is over'");
    expect_log("did not prove");
}
END_TEST

/* Nor that it is the wrong job or data, for which a worker would have to give up. */
START_TEST(test_refusal_before_the_proof_is_not_believed)
{
    static const uint32_t reasons[] = {
        SP_REASON_JOB, SP_REASON_LAYOUT, SP_REASON_DATA, SP_REASON_SLOT, SP_REASON_REPLACED, SP_REASON_WEIGHTS, 200};

    begin(true);
    scripted_take_hello(&play);
    scripted_send_bye(&play, reasons[_i], "go away");
    expect_return();
    expect_log("'go away'");
}
END_TEST

/* But that the secrets do not fit together, which must be said before there can be a proof. */
START_TEST(test_refusal_for_the_secret_is_believed)
{
    begin(_i == 0);
    scripted_take_hello(&play);
    scripted_send_bye(&play, SP_REASON_SECRET, "no such secret here");
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "no such secret here", SIGNPOST_REASON_SECRET);
}
END_TEST

static void expect_done(bool stopped)
{
    struct signpost_event event = scripted_expect_event(&play, SIGNPOST_DONE);

    ck_assert_uint_eq(event.stopped, stopped);
    ck_assert_str_eq(signpost_error(play.s), "all is over");
    ck_assert_int_eq(signpost_reason(play.s), stopped ? SIGNPOST_REASON_STOPPED : SIGNPOST_REASON_DONE);
    scripted_expect_end(&play);
    for (int i = 0; i < 3; i++) { /* it goes on saying so */
        memset(&event, 0, sizeof event);
        ck_assert_int_eq(signpost_wait(play.s, -1, &event), SIGNPOST_OK);
        ck_assert_uint_eq(event.type, SIGNPOST_DONE);
        ck_assert_uint_eq(event.stopped, stopped);
        ck_assert_int_eq(signpost_process(play.s, &event), SIGNPOST_OK);
        ck_assert_uint_eq(event.type, SIGNPOST_DONE);
    }
    ck_assert_int_eq(signpost_timeout_ms(play.s), 0);
    ck_assert(!scripted_is_called(&play));
}

/* After the proof, and from a server without a secret at any time, it is. */
START_TEST(test_end_after_the_proof)
{
    begin(_i % 2 == 0);
    scripted_take_handshake(&play);
    scripted_send_bye(&play, _i < 2 ? SP_REASON_DONE : SP_REASON_STOPPED, "all is over");
    expect_done(_i >= 2);
}
END_TEST

START_TEST(test_end_in_a_round)
{
    begin(true);
    scripted_start(&play);
    scripted_send_bye(&play, SP_REASON_DONE, "all is over");
    expect_done(false);
    ck_assert_float_eq(signpost_weights(play.s)[3], scripted_weight(3)); /* still there */
}
END_TEST

/* Reasons for which it would be the same again end the client; its caller gets the number and the server's words. */
static const struct {
    uint32_t number;
    int reason;
} refusals[] = {
    {SP_REASON_VERSION, SIGNPOST_REASON_VERSION},
    {SP_REASON_JOB, SIGNPOST_REASON_JOB},
    {SP_REASON_LAYOUT, SIGNPOST_REASON_LAYOUT},
    {SP_REASON_DATA, SIGNPOST_REASON_DATA},
    {SP_REASON_SLOT, SIGNPOST_REASON_SLOT},
    {SP_REASON_LEAVING, SIGNPOST_REASON_LEAVING},
    {SP_REASON_REPLACED, SIGNPOST_REASON_REPLACED},
    {SP_REASON_WEIGHTS, SIGNPOST_REASON_WEIGHTS},
    {SP_REASON_SECRET, SIGNPOST_REASON_SECRET},
    {SP_REASON_OPERATOR, SIGNPOST_REASON_OPERATOR},
    {200, 200},
    {UINT32_MAX, INT32_MAX},
};

START_TEST(test_refusals)
{
    begin(false);
    scripted_take_hello(&play);
    scripted_send_bye(&play, refusals[_i].number, "because of this and that");
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "because of this and that", refusals[_i].reason);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), play.address));
    scripted_expect_end(&play);
    ck_assert(!scripted_is_called(&play));
}
END_TEST

/* Without words of the server's those of the reason stand in. */
START_TEST(test_refusal_without_words)
{
    begin(false);
    scripted_take_hello(&play);
    scripted_send_bye(&play, SP_REASON_JOB, "");
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "the job's name differs", SIGNPOST_REASON_JOB);
}
END_TEST

/* Reasons that pass: the client comes again, and there is no reason to tell. */
START_TEST(test_reasons_to_come_again)
{
    static const uint32_t reasons[] = {SP_REASON_PROTOCOL, SP_REASON_INIT_TIMEOUT, SP_REASON_SILENT,
                                       SP_REASON_BACKLOG,  SP_REASON_BUSY,         SP_REASON_FAILED};

    begin(_i % 2 != 0);
    scripted_take_hello(&play);
    scripted_send_bye(&play, reasons[_i / 2], "not now");
    expect_return();
    expect_log("the server says: not now");
}
END_TEST

/* --- other versions -------------------------------------------------------------------------------------------------
 */

/* A BYE of any version can be read. */
START_TEST(test_goodbye_of_another_version)
{
    static const uint8_t versions[] = {0, 3, 5, 255};
    const struct sp_message message = {.frame = {.type = SP_FRAME_BYE},
                                       .bye = {.reason = SP_REASON_VERSION, .words = "install release 9"}};

    begin(_i >= 4);
    scripted_take_hello(&play);
    scripted_send_version(&play, &message, versions[_i % 4]);
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "install release 9", SIGNPOST_REASON_VERSION);
}
END_TEST

/* Of another frame only that it is of another version. */
START_TEST(test_frame_of_another_version)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME}, .welcome = {.spare = true}};
    char words[64];

    begin(_i >= 2);
    scripted_take_hello(&play);
    scripted_send_version(&play, &message, _i % 2 == 0 ? 5 : 3);
    (void)snprintf(words, sizeof words, "speaks version %d of Signpost's protocol, this one version 4",
                   _i % 2 == 0 ? 5 : 3);
    scripted_expect_code(&play, SIGNPOST_E_UNSUPPORTED, words, SIGNPOST_REASON_NONE);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), play.address));
}
END_TEST

/* Once the server has spoken our version, another one is damage: the connection is lost, and made again. */
START_TEST(test_another_version_in_the_middle)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_ALIVE}};

    begin(false);
    scripted_take_hello(&play);
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    scripted_send_version(&play, &message, 5);
    expect_return();
    expect_log("lost the server");
}
END_TEST

/* --- what is no server of ours --------------------------------------------------------------------------------------
 */

/* Another program at the address, a frame that is damaged, a plan that cannot be, a frame out of order: try again. */
START_TEST(test_nonsense)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    static char seed[] = "seed", minus[] = "-1";
    struct sp_setting setting = {seed, minus};
    struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME}};

    begin(false);
    scripted_take_hello(&play);
    switch (_i) {
    case 0:
        scripted_send_bytes(&play, http, sizeof http - 1);
        break;
    case 1:
        scripted_hang_up(&play);
        scripted_accept(&play);
        return;
    case 2: /* no plan at all */
        scripted_send(&play, &message, NULL, 0);
        break;
    case 3:
        message.welcome.plan = &setting;
        message.welcome.plan_count = 1;
        scripted_send(&play, &message, NULL, 0);
        break;
    case 4:
        scripted_send_bare(&play, SP_FRAME_INIT);
        break;
    case 5:
        scripted_send_bare(&play, SP_FRAME_COMMIT);
        break;
    default: /* what only a client sends */
        scripted_send_bare(&play, (enum sp_frame_type[]){SP_FRAME_HELLO, SP_FRAME_PUSH, SP_FRAME_ASK}[_i - 6]);
        break;
    }
    expect_return();
}
END_TEST

/* A second WELCOME would change the slot in the middle of a round. */
START_TEST(test_second_welcome)
{
    begin(false);
    scripted_take_hello(&play);
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    scripted_welcome(&play, 0, 7);
    expect_return();
}
END_TEST

/* Nobody at the address for as long as the options say. */
START_TEST(test_give_up)
{
    struct signpost_options options;
    uint64_t begin_ms = scripted_now_ms();

    scripted_listen(&play);
    if (_i == 0)
        scripted_deafen(&play);
    options = scripted_options(&play);
    options.give_up_s = 0.5;
    scripted_open(&play, &options); /* with _i == 1 somebody listens, and never says a word */
    scripted_expect_code(&play, SIGNPOST_E_TIMEOUT, play.address, SIGNPOST_REASON_NONE);
    ck_assert_uint_ge(scripted_now_ms() - begin_ms, 500);
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 3000);
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "give_up_s"));
}
END_TEST

static void add_goodbyes(TCase *tests)
{
    tcase_add_loop_test(tests, test_end_before_the_proof_is_not_believed, 0, 2);
    tcase_add_loop_test(tests, test_refusal_before_the_proof_is_not_believed, 0, 7);
    tcase_add_loop_test(tests, test_refusal_for_the_secret_is_believed, 0, 2);
    tcase_add_loop_test(tests, test_end_after_the_proof, 0, 4);
    tcase_add_test(tests, test_end_in_a_round);
    tcase_add_loop_test(tests, test_refusals, 0, (int)UNIT_COUNT(refusals));
    tcase_add_test(tests, test_refusal_without_words);
    tcase_add_loop_test(tests, test_reasons_to_come_again, 0, 12);
    tcase_add_loop_test(tests, test_goodbye_of_another_version, 0, 8);
    tcase_add_loop_test(tests, test_frame_of_another_version, 0, 4);
    tcase_add_test(tests, test_another_version_in_the_middle);
}

TCase *client_handshake_cases(void)
{
    TCase *tests = tcase_create("handshake");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, test_without_secret);
    tcase_add_test(tests, test_smallest_hello);
    tcase_add_test(tests, test_with_secret);
    tcase_add_test(tests, test_plan);
    tcase_add_test(tests, test_nonces_are_fresh);
    tcase_add_test(tests, test_spare);
    tcase_add_test(tests, test_server_with_another_secret);
    tcase_add_test(tests, test_proof_of_the_wrong_side);
    tcase_add_test(tests, test_proof_of_an_earlier_connection);
    tcase_add_loop_test(tests, test_frames_before_the_proof, 0, 5);
    tcase_add_test(tests, test_challenge_without_secret);
    tcase_add_test(tests, test_second_challenge);
    add_goodbyes(tests);
    tcase_add_loop_test(tests, test_nonsense, 0, 9);
    tcase_add_test(tests, test_second_welcome);
    tcase_add_loop_test(tests, test_give_up, 0, 2);
    return tests;
}
