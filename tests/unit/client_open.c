/* Options, one wrong at a time; and every function with arguments or at a time for which it is not made. */
#include "client_cases.h"
#include "scripted.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scripted play;

static void setup(void)
{
    scripted_listen(&play);
}

static void teardown(void)
{
    scripted_end(&play);
}

static void begin(void)
{
    const struct signpost_options options = scripted_options(&play);

    scripted_open(&play, &options);
}

/* --- options --------------------------------------------------------------------------------------------------------
 */

/* Refused with this code, no client, and words in which all of these stand. */
static void refuse(const struct signpost_options *options, int code, const char *one, const char *two)
{
    static int something;
    signpost *s = (signpost *)(void *)&something;
    char words[512] = "untouched", few[8];

    ck_assert_int_eq(signpost_open(&s, options, words, sizeof words), code);
    ck_assert_ptr_null(s);
    ck_assert_msg(strstr(words, one) != NULL, "'%s' does not say '%s'", words, one);
    ck_assert_msg(strstr(words, two) != NULL, "'%s' does not say '%s'", words, two);
    ck_assert_int_eq(signpost_open(&s, options, NULL, 0), code);
    ck_assert_int_eq(signpost_open(&s, options, few, sizeof few), code);
    ck_assert_uint_eq(strlen(few), sizeof few - 1);
    ck_assert_int_eq(strncmp(few, words, sizeof few - 1), 0);
    few[0] = 'x';
    ck_assert_int_eq(signpost_open(&s, options, few, 0), code);
    ck_assert_int_eq(few[0], 'x');
}

START_TEST(test_options_that_are_missing)
{
    struct signpost_options options = scripted_options(&play);

    ck_assert_int_eq(signpost_open(NULL, &options, NULL, 0), SIGNPOST_E_MISSING);
    refuse(NULL, SIGNPOST_E_MISSING, "options", "SIGNPOST_OPTIONS_INIT");
    options.size = 0;
    refuse(&options, SIGNPOST_E_MISSING, "size", "SIGNPOST_OPTIONS_INIT");
    options.size = offsetof(struct signpost_options, log_arg);
    refuse(&options, SIGNPOST_E_MISSING, "size", "SIGNPOST_OPTIONS_INIT");
    options.size = SIZE_MAX;
    refuse(&options, SIGNPOST_E_UNSUPPORTED, "later libsignpost", "0.1.0");
    options = scripted_options(&play);
    options.server = NULL;
    refuse(&options, SIGNPOST_E_MISSING, "server", "required");
    options = scripted_options(&play);
    options.job = NULL;
    refuse(&options, SIGNPOST_E_MISSING, "job", "required");
    options = scripted_options(&play);
    options.tensors = NULL;
    refuse(&options, SIGNPOST_E_MISSING, "tensors", "required");
    options = scripted_options(&play);
    options.tensors_count = 0;
    refuse(&options, SIGNPOST_E_MISSING, "tensors", "required");
}
END_TEST

START_TEST(test_options_out_of_range)
{
    static const int32_t slots[] = {-2, INT32_MIN, 255, INT32_MAX};
    const double seconds[] = {-1.0, -1e-9, (double)NAN, -(double)INFINITY};
    struct signpost_options options = scripted_options(&play);
    char name[65];

    memset(name, 'n', 64);
    name[64] = '\0';
    options.job = name;
    refuse(&options, SIGNPOST_E_RANGE, "job", "1 to 63");
    options.job = "";
    refuse(&options, SIGNPOST_E_RANGE, "job", "1 to 63");
    options = scripted_options(&play);
    for (size_t i = 0; i < UNIT_COUNT(slots); i++) {
        options.slot = slots[i];
        refuse(&options, SIGNPOST_E_RANGE, "slot", "0 to 254");
    }
    options = scripted_options(&play);
    for (size_t i = 0; i < UNIT_COUNT(seconds); i++) {
        options.give_up_s = seconds[i];
        refuse(&options, SIGNPOST_E_RANGE, "give_up_s", "at least 0");
    }
    options = scripted_options(&play);
    options.tensors_count = 4097;
    refuse(&options, SIGNPOST_E_RANGE, "tensors", "4096");
}
END_TEST

/* Each with the tensor's place or name. */
START_TEST(test_tensors_that_cannot_be)
{
    static const uint64_t shape[] = {2, 2, 2, 2, 2, 2, 2, 2, 2}, zero[] = {3, 0},
                          huge[] = {UINT64_C(1) << 33, UINT64_C(1) << 33}, large[] = {UINT64_C(1) << 34};
    static char name[65];
    const struct {
        struct signpost_tensor tensor;
        int code;
        const char *one, *two;
    } rows[] = {
        {{NULL, shape, 1, 0}, SIGNPOST_E_MISSING, "tensors[1]", "no name"},
        {{"u", NULL, 1, 0}, SIGNPOST_E_MISSING, "tensors[1]", "no shape"},
        {{"u", shape, 9, 0}, SIGNPOST_E_RANGE, "tensors[1]", "9 dimensions"},
        {{"u", shape, UINT32_MAX, 0}, SIGNPOST_E_RANGE, "tensors[1]", "at most 8"},
        {{"u", shape, 1, 4}, SIGNPOST_E_RANGE, "tensors[1]", "0x4"},
        {{"u", shape, 1, 7}, SIGNPOST_E_RANGE, "tensors[1]", "SIGNPOST_BUFFER are known"},
        {{"u", shape, 1, UINT32_MAX}, SIGNPOST_E_RANGE, "tensors[1]", "SIGNPOST_DECAY"},
        {{name, shape, 1, 0}, SIGNPOST_E_RANGE, "tensors[1]", "63 bytes"},
        {{"", shape, 1, 0}, SIGNPOST_E_RANGE, "tensor 1", "1 to 63"},
        {{"t", shape, 1, 0}, SIGNPOST_E_RANGE, "'t'", "twice"},
        {{"u", zero, 2, 0}, SIGNPOST_E_RANGE, "'u'", "dimension 1"},
        {{"u", huge, 2, 0}, SIGNPOST_E_RANGE, "'u'", "dimension 1"},
        {{"u", large, 1, 0}, SIGNPOST_E_RANGE, "coordinates", "in all"},
    };

    memset(name, 'n', 64);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const struct signpost_tensor tensors[] = {{"t", shape, 1, 0}, rows[i].tensor};
        struct signpost_options options = scripted_options(&play);

        options.tensors = tensors;
        options.tensors_count = 2;
        refuse(&options, rows[i].code, rows[i].one, rows[i].two);
    }
}
END_TEST

START_TEST(test_servers_that_cannot_be)
{
    static const char *const servers[] = {"''", "'here'", "'here:'", "'here:70000'", "':7700'", "'::1:7700'"};
    struct signpost_options options = scripted_options(&play);

    for (size_t i = 0; i < UNIT_COUNT(servers); i++) {
        char server[32];

        (void)snprintf(server, sizeof server, "%.*s", (int)strlen(servers[i]) - 2, servers[i] + 1);
        options.server = server;
        refuse(&options, SIGNPOST_E_SYNTAX, servers[i], "");
    }
}
END_TEST

/* The words name the file and what to do. */
START_TEST(test_token_files_that_cannot_be)
{
    struct signpost_options options = scripted_options(&play);

    options.token_file = ""; /* as from a variable that is not set: not to be taken for none */
    refuse(&options, SIGNPOST_E_RANGE, "token_file", "NULL");
    options.token_file = "/tmp/there is no such file";
    refuse(&options, SIGNPOST_E_IO, "", "/tmp/there is no such file");
    refuse(&options, SIGNPOST_E_IO, "", "signpost token");
    options.token_file = "/tmp";
    refuse(&options, SIGNPOST_E_IO, "", "/tmp is not a file");
    scripted_share_secret(&play);
    options.token_file = play.token;
    ck_assert_int_eq(chmod(play.token, 0644), 0);
    refuse(&options, SIGNPOST_E_RANGE, play.token, "chmod 600");
    ck_assert_int_eq(chmod(play.token, 0600), 0);
    ck_assert_int_eq(truncate(play.token, 31), 0);
    refuse(&options, SIGNPOST_E_RANGE, play.token, "31 bytes");
}
END_TEST

/* At its limits, and of a later version with more members. */
START_TEST(test_options_at_their_limits)
{
    static const uint64_t ones[] = {1, 1, 1, 1, 1, 1, 1, 2};
    static char name[64], job[64];
    const struct signpost_tensor tensors[] = {{name, ones, 8, 0}, {"number", NULL, 0, 0}};
    struct later {
        struct signpost_options options;
        uint64_t more[4];
    } later = {.options = scripted_options(&play), .more = {0}};

    memset(name, 'n', 63);
    memset(job, 'j', 63);
    later.options.size = sizeof later;
    later.options.tensors = tensors;
    later.options.job = job;
    later.options.slot = 254;
    later.options.give_up_s = (double)INFINITY;
    later.options.program = "";
    scripted_open(&play, &later.options);
    ck_assert_uint_eq(signpost_coordinates(play.s), 3); /* a tensor without dimensions is one number */
    scripted_take_hello(&play);
    ck_assert_int_eq(play.hello.wanted_slot, 254);
    ck_assert_str_eq(play.hello.job, job);
}
END_TEST

/* A program that was compiled before there were more members: what lies behind its options is not looked at. */
START_TEST(test_options_of_the_first_version)
{
    struct signpost_options options = scripted_options(&play);

    options.size = offsetof(struct signpost_options, momentum_folder);
    options.momentum_folder = "";
    scripted_open(&play, &options);
    scripted_take_hello(&play);
    ck_assert_str_eq(play.hello.job, "test");
}
END_TEST

START_TEST(test_momentum_folders_that_cannot_be)
{
    static char name[4001];
    struct signpost_options options = scripted_options(&play);

    options.momentum_folder = "";
    refuse(&options, SIGNPOST_E_RANGE, "momentum_folder", "NULL");
    memset(name, 'n', 4000);
    options.momentum_folder = name;
    refuse(&options, SIGNPOST_E_RANGE, "momentum_folder", "3999 bytes");
}
END_TEST

/* A member that this library does not know may be a secret or a certificate: it is not passed over in silence. */
START_TEST(test_options_of_a_later_version)
{
    struct later {
        struct signpost_options options;
        const char *certificate;
    } later = {.options = scripted_options(&play), .certificate = "cert.pem"};

    later.options.size = sizeof later;
    refuse(&later.options, SIGNPOST_E_UNSUPPORTED, "later libsignpost", "0.1.0");
}
END_TEST

/* Nothing but log_arg is kept by reference. */
START_TEST(test_options_are_copied)
{
    struct {
        uint64_t shape[1];
        struct signpost_tensor tensor;
        char name[8], job[8], server[64], program[8], token[80], folder[8];
        struct signpost_options options;
    } *o = unit_alloc(sizeof *o);

    scripted_share_secret(&play);
    o->options = scripted_options(&play);
    o->shape[0] = 5;
    (void)strcpy(o->name, "t");
    (void)strcpy(o->job, "job");
    (void)strcpy(o->program, "mine 1");
    (void)strcpy(o->server, play.address);
    (void)strcpy(o->token, play.token);
    o->tensor = (struct signpost_tensor){o->name, o->shape, 1, 0};
    o->options.tensors = &o->tensor;
    o->options.tensors_count = 1;
    o->options.job = o->job;
    o->options.server = o->server;
    o->options.program = o->program;
    o->options.token_file = o->token;
    (void)strcpy(o->folder, "/tmp");
    o->options.momentum_folder = o->folder;
    scripted_open(&play, &o->options);
    memset(o, 0xee, sizeof *o);
    free(o);
    ck_assert_int_eq(unlink(play.token), 0);
    scripted_take_handshake(&play);
    ck_assert_str_eq(play.hello.job, "job");
    ck_assert_str_eq(play.hello.program, "mine 1");
}
END_TEST

/* Opening connects to nobody, and one that was only opened is closed at once. */
START_TEST(test_open_sends_nothing)
{
    uint64_t begin_ms;

    begin();
    (void)poll(NULL, 0, 50);
    ck_assert(!scripted_is_called(&play));
    begin_ms = scripted_now_ms();
    signpost_close(play.s);
    play.s = NULL;
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 1000);
    ck_assert(!scripted_is_called(&play));
    signpost_close(NULL);
}
END_TEST

/* --- words ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_words_of_codes)
{
    for (int code = -15; code <= 1; code++) {
        ck_assert_uint_gt(strlen(signpost_code_text(code)), 0);
        for (int other = -15; other < code; other++)
            ck_assert_str_ne(signpost_code_text(code), signpost_code_text(other));
    }
    ck_assert_str_eq(signpost_code_text(SIGNPOST_OVER), "the job is over");
    ck_assert_str_eq(signpost_code_text(-16), signpost_code_text(INT_MIN));
    ck_assert_str_eq(signpost_code_text(2), signpost_code_text(INT_MAX));
}
END_TEST

START_TEST(test_words_of_reasons)
{
    for (int reason = -1; reason <= 17; reason++) {
        ck_assert_uint_gt(strlen(signpost_reason_text(reason)), 0);
        for (int other = -1; other < reason; other++)
            ck_assert_str_ne(signpost_reason_text(reason), signpost_reason_text(other));
    }
    ck_assert_str_eq(signpost_reason_text(SIGNPOST_REASON_SECRET), "the secrets differ, or one side has none");
    ck_assert_str_eq(signpost_reason_text(18), "a reason that this version does not know");
    ck_assert_str_eq(signpost_reason_text(-2), "a reason that this version does not know");
    ck_assert_str_eq(signpost_reason_text(INT_MAX), "a reason that this version does not know");
    ck_assert_str_eq(signpost_reason_text(INT_MIN), "a reason that this version does not know");
}
END_TEST

START_TEST(test_version)
{
    int a, b, c;
    char end;

    ck_assert_int_eq(sscanf(signpost_version(), "%d.%d.%d%c", &a, &b, &c, &end), 3);
}
END_TEST

/* --- wrong arguments ------------------------------------------------------------------------------------------------
 */

START_TEST(test_no_client)
{
    struct signpost_event event = {.type = SIGNPOST_EVALUATE};
    const float gradient[SCRIPTED_D] = {0};
    const char *key, *value;

    signpost_close(NULL);
    signpost_alive(NULL);
    ck_assert_int_eq(signpost_join(NULL, gradient), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_step(NULL, gradient, 1.0, 1), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_wait(NULL, 0, &event), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_wait(NULL, -1, NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_process(NULL, &event), SIGNPOST_E_MISSING);
    ck_assert_int_lt(signpost_fd(NULL), 0);
    ck_assert_int_eq(signpost_timeout_ms(NULL), 0);
    ck_assert_ptr_null(signpost_weights_to_init(NULL));
    ck_assert_int_eq(signpost_init_done(NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_gradient(NULL, 0, SCRIPTED_D, gradient), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_gradient_tensor(NULL, 0, gradient), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_push(NULL, 1.0, 1), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_score(NULL, &event, 1, 1, 1.0), SIGNPOST_E_MISSING);
    ck_assert_ptr_null(signpost_weights(NULL));
    ck_assert_uint_eq(signpost_coordinates(NULL), 0);
    ck_assert_uint_eq(signpost_weights_digest(NULL), 0);
    ck_assert_int_eq(signpost_slot(NULL), -1);
    ck_assert_uint_eq(signpost_round(NULL), 0);
    ck_assert_uint_eq(signpost_rounds(NULL), 0);
    ck_assert_int_eq(signpost_phase(NULL), SIGNPOST_PHASE_SIGN);
    ck_assert_ptr_null(signpost_plan(NULL, "seed"));
    ck_assert_int_eq(signpost_plan_item(NULL, 0, &key, &value), 0);
    ck_assert_uint_eq(signpost_count(NULL, SIGNPOST_PUSHES), 0);
    ck_assert_ptr_nonnull(signpost_error(NULL));
    ck_assert_int_eq(signpost_reason(NULL), SIGNPOST_REASON_NONE);
}
END_TEST

/* The other pointers that must be there; the client goes on. */
START_TEST(test_missing_arguments)
{
    const char *key, *value;

    begin();
    scripted_start(&play);
    ck_assert_int_eq(signpost_wait(play.s, 0, NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_process(play.s, NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_step(play.s, NULL, 1.0, 1), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_gradient(play.s, 0, 1, NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_gradient(play.s, 0, 0, NULL), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 0, NULL), SIGNPOST_E_MISSING);
    ck_assert_int_eq(signpost_score(play.s, NULL, 1, 1, 1.0), SIGNPOST_E_MISSING);
    ck_assert_ptr_null(signpost_plan(play.s, NULL));
    ck_assert_int_eq(signpost_plan_item(play.s, 0, NULL, &value), 0);
    ck_assert_int_eq(signpost_plan_item(play.s, 0, &key, NULL), 0);
    scripted_update(&play, 1);
    (void)scripted_expect_event(&play, SIGNPOST_GRADIENT);
}
END_TEST

/* --- wrong times ----------------------------------------------------------------------------------------------------
 */

#define EXPECT_STATE(call)                                                                                             \
    do {                                                                                                               \
        ck_assert_int_eq(call, SIGNPOST_E_STATE);                                                                      \
        ck_assert_str_ne(signpost_error(play.s), "");                                                                  \
    } while (0)

/* Nothing is due that a caller could give. */
static void expect_nothing_due(void)
{
    const struct signpost_event event = {.type = SIGNPOST_GRADIENT};
    const float gradient[SCRIPTED_D] = {0};

    EXPECT_STATE(signpost_init_done(play.s));
    EXPECT_STATE(signpost_gradient(play.s, 0, SCRIPTED_D, gradient));
    EXPECT_STATE(signpost_gradient_tensor(play.s, 1, gradient));
    EXPECT_STATE(signpost_push(play.s, 1.0, 1));
    EXPECT_STATE(signpost_score(play.s, &event, 1, 1, 1.0));
}

START_TEST(test_before_the_connection)
{
    const float gradient[SCRIPTED_D] = {0};
    const char *key, *value;

    begin();
    expect_nothing_due();
    EXPECT_STATE(signpost_step(play.s, gradient, 1.0, 1));
    signpost_alive(play.s);
    ck_assert_uint_eq((uintptr_t)signpost_weights(play.s) % 64, 0);
    ck_assert_uint_eq(signpost_coordinates(play.s), SCRIPTED_D);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(signpost_weights(play.s)[j], 0.0f);
    ck_assert_int_eq(signpost_slot(play.s), -1);
    ck_assert_uint_eq(signpost_round(play.s), 0);
    ck_assert_uint_eq(signpost_rounds(play.s), 0);
    ck_assert_int_eq(signpost_phase(play.s), SIGNPOST_PHASE_SIGN);
    ck_assert_ptr_null(signpost_plan(play.s, "seed"));
    ck_assert_int_eq(signpost_plan_item(play.s, 0, &key, &value), 0);
    for (int counter = -1; counter <= SIGNPOST_RESYNCS + 1; counter++)
        ck_assert_uint_eq(signpost_count(play.s, counter), 0);
    ck_assert_int_eq(signpost_reason(play.s), SIGNPOST_REASON_NONE);
    scripted_start(&play); /* and nothing of it did any harm */
}
END_TEST

START_TEST(test_in_the_handshake)
{
    begin();
    scripted_take_hello(&play);
    expect_nothing_due();
    scripted_welcome(&play, 0, 7);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    expect_nothing_due();
    ck_assert_int_eq(signpost_slot(play.s), 2);
    ck_assert_uint_eq(signpost_rounds(play.s), 100);
}
END_TEST

/* Twice what is asked for once. */
START_TEST(test_after_it_was_done)
{
    const float gradient[SCRIPTED_D] = {0};

    begin();
    scripted_start(&play);
    EXPECT_STATE(signpost_init_done(play.s));
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    expect_nothing_due();
    scripted_receive(&play, SP_FRAME_PUSH, NULL);
    scripted_expect_quiet(&play, 20);
}
END_TEST

/* An evaluating worker has more to do than the blocking interface can say. */
START_TEST(test_join_of_who_evaluates)
{
    struct signpost_options options = scripted_options(&play);

    options.test_examples = 10;
    scripted_open(&play, &options);
    EXPECT_STATE(signpost_join(play.s, NULL));
    ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "signpost_wait"));
}
END_TEST

TCase *client_open_cases(void)
{
    TCase *tests = tcase_create("open");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_options_that_are_missing);
    tcase_add_test(tests, test_options_out_of_range);
    tcase_add_test(tests, test_tensors_that_cannot_be);
    tcase_add_test(tests, test_servers_that_cannot_be);
    tcase_add_test(tests, test_token_files_that_cannot_be);
    tcase_add_test(tests, test_options_at_their_limits);
    tcase_add_test(tests, test_options_of_the_first_version);
    tcase_add_test(tests, test_momentum_folders_that_cannot_be);
    tcase_add_test(tests, test_options_of_a_later_version);
    tcase_add_test(tests, test_options_are_copied);
    tcase_add_test(tests, test_open_sends_nothing);
    tcase_add_test(tests, test_words_of_codes);
    tcase_add_test(tests, test_words_of_reasons);
    tcase_add_test(tests, test_version);
    tcase_add_test(tests, test_no_client);
    tcase_add_test(tests, test_missing_arguments);
    tcase_add_test(tests, test_before_the_connection);
    tcase_add_test(tests, test_in_the_handshake);
    tcase_add_test(tests, test_after_it_was_done);
    tcase_add_test(tests, test_join_of_who_evaluates);
    return tests;
}
