/* What a job may have beside signs and two plain tensors, as the program and the server see it: traits of tensors,
 * buffers, and the phases after the first.
 */
#include "client_cases.h"
#include "common/pack.h"
#include "common/values.h"
#include "common/weights.h"
#include "scripted.h"

#include <math.h>

#define BUFFERS 3

static struct scripted play;
static float gradient[SCRIPTED_D];

static void setup(void)
{
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        gradient[j] = (j % 3 == 0 ? -1.0f : 0.5f) * (float)(j + 1);
    scripted_listen(&play);
}

static void teardown(void)
{
    scripted_end(&play);
}

static void open_plain(void)
{
    const struct signpost_options options = scripted_options(&play);

    scripted_open(&play, &options);
}

/* The same model with two buffers of 2 and 1 values. */
static void open_with_buffers(void)
{
    static const uint64_t shape_a[] = {3, 4}, shape_b[] = {5}, shape_mean[] = {2};
    static const struct signpost_tensor tensors[] = {{"a", shape_a, 2, SIGNPOST_DECAY},
                                                     {"b", shape_b, 1, 0},
                                                     {"mean", shape_mean, 1, SIGNPOST_BUFFER},
                                                     {"seen", NULL, 0, SIGNPOST_BUFFER}};
    struct signpost_options options = scripted_options(&play);

    options.tensors = tensors;
    options.tensors_count = 4;
    scripted_open(&play, &options);
}

static void send_commit(uint32_t round, enum sp_phase next_phase, enum sp_wire next_wire, bool next_buffers)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_COMMIT, .round = round},
                                       .commit = {.rate = 0.125f,
                                                  .decay = 1.0f,
                                                  .voters = {1u << 2},
                                                  .next_phase = next_phase,
                                                  .next_wire = next_wire,
                                                  .next_buffers = next_buffers}};

    scripted_send(&play, &message, NULL, 0);
}

static void send_chunk(enum sp_frame_type type, uint32_t round, unsigned flags, uint32_t count, const void *bulk,
                       size_t bytes)
{
    struct sp_message message = {.frame = {.type = type, .flags = (uint16_t)flags, .round = round, .count = count}};

    if (type == SP_FRAME_WEIGHTS && (flags & SP_FRAME_LAST) != 0)
        message.digest = sp_weights_digest(signpost_weights(play.s), SCRIPTED_D);
    if (type == SP_FRAME_UPDATE)
        message.voters = 3;
    scripted_send(&play, &message, bulk, bytes);
}

/* An UPDATE of all signs +1, in its main section. */
static void send_signs(uint32_t round, unsigned flags)
{
    send_chunk(SP_FRAME_UPDATE, round, flags, SCRIPTED_D, "\xff\xff\x01", 3);
}

static void expect_gradient(uint32_t round)
{
    ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, round);
}

static void give_gradient(void)
{
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.5, 16), SIGNPOST_OK);
}

static struct sp_push expect_push(uint32_t round, unsigned flags, uint32_t count, size_t bytes)
{
    struct sp_message message;

    scripted_receive(&play, SP_FRAME_PUSH, &message);
    ck_assert_uint_eq(message.frame.round, round);
    ck_assert_uint_eq(message.frame.flags, flags);
    ck_assert_uint_eq(message.frame.first, 0);
    ck_assert_uint_eq(message.frame.count, count);
    ck_assert_uint_eq(message.frame.bulk_bytes, bytes);
    return message.push;
}

static void expect_buffers(float a, float b, float c)
{
    const float *buffers = signpost_buffers(play.s);

    ck_assert_float_eq(buffers[0], a);
    ck_assert_float_eq(buffers[1], b);
    ck_assert_float_eq(buffers[2], c);
}

static void set_buffers(float a, float b, float c)
{
    float *buffers = signpost_buffers(play.s);

    buffers[0] = a;
    buffers[1] = b;
    buffers[2] = c;
}

static void expect_lost(const char *words)
{
    scripted_expect_end(&play);
    scripted_accept(&play);
    ck_assert_int_eq(play.code, 0);
    ck_assert_msg(strstr(play.log, words) != NULL, "no '%s' in: %s", words, play.log);
}

/* --- buffers --------------------------------------------------------------------------------------------------------
 */

/* Up to INIT. */
static void take_init(void)
{
    scripted_take_handshake(&play);
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    (void)scripted_expect_event(&play, SIGNPOST_INIT);
}

/* To the first round, with weights of zero and buffers 1, 2, 3. */
static void start_with_buffers(bool due)
{
    open_with_buffers();
    take_init();
    set_buffers(1.0f, 2.0f, 3.0f);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_WEIGHTS, NULL);
    scripted_receive(&play, SP_FRAME_WEIGHTS, NULL);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    send_commit(0, SP_PHASE_SIGN, SP_WIRE_F32, due);
    expect_gradient(1);
}

START_TEST(test_no_buffers)
{
    open_plain();
    ck_assert_ptr_null(signpost_buffers(play.s));
    ck_assert_ptr_null(signpost_buffers(NULL));
    scripted_start(&play);
    ck_assert_ptr_null(signpost_buffers(play.s));
}
END_TEST

/* They are no coordinates, and have their place from the start to the end. */
START_TEST(test_place_of_buffers)
{
    const float *buffers;

    open_with_buffers();
    buffers = signpost_buffers(play.s);
    ck_assert_ptr_nonnull(buffers);
    expect_buffers(0.0f, 0.0f, 0.0f);
    ck_assert_uint_eq(signpost_coordinates(play.s), SCRIPTED_D);
    take_init();
    ck_assert_ptr_eq(signpost_buffers(play.s), buffers);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_OK);
    scripted_hang_up(&play);
    scripted_take_handshake(&play);
    scripted_welcome(&play, 5, 8);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    ck_assert_ptr_eq(signpost_buffers(play.s), buffers);
}
END_TEST

/* After INIT they are zeros, whatever stood there; what the program then writes goes out after the weights. */
START_TEST(test_initial_buffers)
{
    static const float values[BUFFERS] = {4.0f, 5.0f, 6.0f};
    struct sp_message message;

    open_with_buffers();
    set_buffers(NAN, 8.0f, 9.0f);
    take_init();
    expect_buffers(0.0f, 0.0f, 0.0f);
    set_buffers(4.0f, 5.0f, 6.0f);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_OK);
    scripted_receive(&play, SP_FRAME_WEIGHTS, NULL);
    ck_assert_uint_eq(play.frame.flags, 0);
    ck_assert_uint_eq(play.frame.count, SCRIPTED_D);
    scripted_receive(&play, SP_FRAME_WEIGHTS, &message);
    ck_assert_uint_eq(play.frame.flags, SP_FRAME_BUFFERS | SP_FRAME_LAST);
    ck_assert_uint_eq(play.frame.first, 0);
    ck_assert_uint_eq(play.frame.count, BUFFERS);
    ck_assert_mem_eq(play.bulk, values, sizeof values);
    ck_assert_uint_eq(message.digest, signpost_weights_digest(play.s)); /* of the weights alone */
    scripted_receive(&play, SP_FRAME_READY, NULL);
}
END_TEST

START_TEST(test_initial_buffers_that_are_not_finite)
{
    open_with_buffers();
    take_init();
    set_buffers(0.0f, 0.0f, INFINITY);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_E_RANGE);
    scripted_expect_code(&play, SIGNPOST_E_RANGE, "not finite", SIGNPOST_REASON_NONE);
}
END_TEST

/* In a round that does not average them nothing of them travels, and they stay the program's. */
START_TEST(test_buffers_that_are_not_due)
{
    start_with_buffers(false);
    give_gradient();
    ck_assert(expect_push(1, SP_FRAME_LAST, SCRIPTED_D, 3).has_scalars);
    send_signs(1, SP_FRAME_LAST);
    send_commit(1, SP_PHASE_SIGN, SP_WIRE_F32, false);
    expect_gradient(2);
    expect_buffers(1.0f, 2.0f, 3.0f);
}
END_TEST

/* When they are due the push waits for signpost_push(), up to which the program may write them; their mean is there
 * from the COMMIT on, and not before. */
START_TEST(test_buffers_that_are_due)
{
    static const float pushed[BUFFERS] = {1.5f, 2.0f, -3.0f}, mean[BUFFERS] = {10.0f, 20.0f, 30.0f};

    start_with_buffers(true);
    ck_assert_int_eq(signpost_gradient(play.s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert(!expect_push(1, 0, SCRIPTED_D, 3).has_scalars);
    scripted_expect_quiet(&play, 20);
    set_buffers(1.5f, 2.0f, -3.0f);
    ck_assert_int_eq(signpost_push(play.s, 1.5, 16), SIGNPOST_OK);
    ck_assert(expect_push(1, SP_FRAME_BUFFERS | SP_FRAME_LAST, BUFFERS, sizeof pushed).has_scalars);
    ck_assert_mem_eq(play.bulk, pushed, sizeof pushed);
    send_signs(1, 0);
    send_chunk(SP_FRAME_UPDATE, 1, SP_FRAME_BUFFERS | SP_FRAME_LAST, BUFFERS, mean, sizeof mean);
    scripted_expect_quiet(&play, 20);
    expect_buffers(1.5f, 2.0f, -3.0f);
    send_commit(1, SP_PHASE_SIGN, SP_WIRE_F32, false);
    expect_gradient(2);
    expect_buffers(10.0f, 20.0f, 30.0f);
    give_gradient();
    (void)expect_push(2, SP_FRAME_LAST, SCRIPTED_D, 3);
}
END_TEST

/* Who comes back gets them with the weights. */
START_TEST(test_buffers_with_weights)
{
    static const float values[BUFFERS] = {7.0f, 8.0f, 9.0f}, weights[SCRIPTED_D];

    start_with_buffers(false);
    scripted_hang_up(&play);
    scripted_take_handshake(&play);
    scripted_welcome(&play, 4, 8);
    send_chunk(SP_FRAME_WEIGHTS, 4, 0, SCRIPTED_D, weights, sizeof weights);
    send_chunk(SP_FRAME_WEIGHTS, 4, SP_FRAME_BUFFERS | SP_FRAME_LAST, BUFFERS, values, sizeof values);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    ck_assert_uint_eq(play.frame.round, 4);
    expect_buffers(7.0f, 8.0f, 9.0f);
}
END_TEST

/* More of them than the model has, or some for a model that has none. */
START_TEST(test_buffers_beyond_the_layout)
{
    static const float values[BUFFERS + 1];

    if (_i == 0)
        open_plain();
    else
        open_with_buffers();
    scripted_take_handshake(&play);
    scripted_welcome(&play, 4, 8);
    send_chunk(SP_FRAME_WEIGHTS, 4, SP_FRAME_BUFFERS, _i == 0 ? 1 : BUFFERS + 1, values,
               (_i == 0 ? 1 : BUFFERS + 1) * sizeof(float));
    expect_lost("WEIGHTS beyond the layout");
}
END_TEST

/* For an empty frame no place is asked: whatever this side waits for, it is not what was to come. */
START_TEST(test_frames_without_values)
{
    open_plain();
    if (_i < 2) {
        scripted_take_handshake(&play);
        if (_i == 1)
            scripted_welcome(&play, 4, 8);
    } else {
        scripted_start(&play);
    }
    send_chunk(_i < 3 ? SP_FRAME_WEIGHTS : SP_FRAME_UPDATE, 1, SP_FRAME_LAST, 0, NULL, 0);
    expect_lost(_i < 3 ? "WEIGHTS without values" : "UPDATE without values");
}
END_TEST

/* Nobody asks for a gradient of them. */
START_TEST(test_gradient_of_a_buffer)
{
    start_with_buffers(false);
    for (uint32_t tensor = 2; tensor < 5; tensor++) {
        ck_assert_int_eq(signpost_gradient_tensor(play.s, tensor, gradient), SIGNPOST_E_RANGE);
        ck_assert_ptr_nonnull(strstr(signpost_error(play.s), "the model has 2 that are trained"));
    }
    ck_assert_int_eq(signpost_gradient(play.s, SCRIPTED_D, 1, gradient), SIGNPOST_E_RANGE);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 1, gradient + 12), SIGNPOST_OK);
    ck_assert_int_eq(signpost_gradient_tensor(play.s, 0, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(play.s, 1.0, 1), SIGNPOST_OK);
    (void)expect_push(1, SP_FRAME_LAST, SCRIPTED_D, 3);
}
END_TEST

static void refuse(const struct signpost_tensor *tensors, uint32_t count, const char *expected)
{
    struct signpost_options options = scripted_options(&play);
    signpost *s = NULL;
    char words[256];

    options.tensors = tensors;
    options.tensors_count = count;
    ck_assert_int_eq(signpost_open(&s, &options, words, sizeof words), SIGNPOST_E_RANGE);
    ck_assert_ptr_null(s);
    ck_assert_msg(strstr(words, expected) != NULL, "'%s' does not say '%s'", words, expected);
}

START_TEST(test_buffers_come_last)
{
    static const struct signpost_tensor before[] = {{"mean", NULL, 0, SIGNPOST_BUFFER}, {"a", NULL, 0, 0}},
                                        nothing_else[] = {{"mean", NULL, 0, SIGNPOST_BUFFER}};

    refuse(before, 2, "tensor 'a' comes after a buffer");
    refuse(nothing_else, 1, "at least one must be trained");
}
END_TEST

/* --- traits ---------------------------------------------------------------------------------------------------------
 */

/* A server that speaks of another number of tensors than the model has means another model. Buffers have none. */
START_TEST(test_wrong_number_of_traits)
{
    if (_i == 0)
        open_plain();
    else
        open_with_buffers();
    scripted_take_handshake(&play);
    play.traits_count = _i == 0 ? 1 : 4;
    scripted_welcome(&play, 0, 7);
    expect_lost(_i == 0 ? "WELCOME with traits of 1 tensors; the model has 2 that are trained"
                        : "WELCOME with traits of 4 tensors; the model has 2 that are trained");
    ck_assert_uint_eq(play.events_count, 0);
}
END_TEST

/* The server says which tensors travel in full: "b" does, in a section of its own, in a sign round. */
START_TEST(test_tensor_in_full)
{
    static const float mean[5] = {1.0f, 2.0f, 4.0f, 8.0f, 16.0f};
    float pushed[5];

    open_plain();
    play.traits[1] = SP_TENSOR_FULL;
    play.traits_count = 2;
    scripted_start(&play);
    give_gradient();
    (void)expect_push(1, 0, SCRIPTED_D, 3);
    ck_assert(play.bulk[1] >> 4 == 0 && play.bulk[2] == 0); /* no signs of "b" */
    (void)expect_push(1, SP_FRAME_FULL | SP_FRAME_LAST, 5, sizeof pushed);
    memcpy(pushed, play.bulk, sizeof pushed);
    for (unsigned j = 0; j < 5; j++)
        ck_assert_float_eq(pushed[j], (float)(1.0 - 0.9) * gradient[12 + j]);
    send_signs(1, 0);
    send_chunk(SP_FRAME_UPDATE, 1, SP_FRAME_FULL | SP_FRAME_LAST, 5, mean, sizeof mean);
    scripted_commit(&play, 1);
    expect_gradient(2);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(signpost_weights(play.s)[j], scripted_weight(j) - 0.125f * (j < 12 ? 1.0f : mean[j - 12]));
}
END_TEST

/* Weight decay goes by the server's word as well: "a" declared it, and the job's rules move it to "b". A connection
 * whose WELCOME says nothing goes by what was declared. */
START_TEST(test_decay_goes_by_the_traits)
{
    struct sp_message commit = {.frame = {.type = SP_FRAME_COMMIT, .round = 1}, .commit = {.decay = 0.5f}};
    bool declared = _i == 1;

    open_plain();
    play.traits[1] = SP_TENSOR_DECAY;
    play.traits_count = 2;
    if (declared) {
        scripted_take_handshake(&play);
        scripted_welcome(&play, 0, 7);
        (void)scripted_expect_event(&play, SIGNPOST_JOINED);
        scripted_hang_up(&play);
        play.traits_count = 0;
    }
    scripted_start(&play);
    send_signs(1, SP_FRAME_LAST);
    scripted_send(&play, &commit, NULL, 0);
    expect_gradient(2);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(signpost_weights(play.s)[j], scripted_weight(j) * ((j < 12) == declared ? 0.5f : 1.0f));
}
END_TEST

/* --- phases ---------------------------------------------------------------------------------------------------------
 */

static void send_phase(uint32_t round, enum sp_phase phase, enum sp_wire wire)
{
    send_signs(round, SP_FRAME_LAST);
    send_commit(round, phase, wire, false);
    expect_gradient(round + 1);
    ck_assert_int_eq(signpost_phase(play.s), (int)phase);
}

/* Signs up; down come the counts of 3 votes, in two planes: 3 (all), 2, 1 and 0 in turn. */
START_TEST(test_margin)
{
    uint8_t planes[6] = {0}, bits[3];

    open_plain();
    ck_assert_int_eq(signpost_phase(play.s), SIGNPOST_PHASE_SIGN);
    scripted_start(&play);
    send_phase(1, SP_PHASE_MARGIN, SP_WIRE_F32);
    ck_assert_int_eq(SIGNPOST_PHASE_MARGIN, 2);
    give_gradient();
    (void)expect_push(2, SP_FRAME_LAST, SCRIPTED_D, 3);
    sp_pack_signs(gradient, 0, SCRIPTED_D, 2, bits);
    ck_assert_mem_eq(play.bulk, bits, sizeof bits);
    for (unsigned j = 0; j < SCRIPTED_D; j++) {
        planes[j / 8] |= (uint8_t)(((3 - j % 4) & 1) << (j % 8));
        planes[3 + j / 8] |= (uint8_t)(((3 - j % 4) >> 1) << (j % 8));
    }
    send_chunk(SP_FRAME_UPDATE, 2, SP_FRAME_LAST, SCRIPTED_D, planes, sizeof planes);
    send_commit(2, SP_PHASE_SGD, SP_WIRE_BF16, false);
    expect_gradient(3);
    ck_assert_int_eq(signpost_phase(play.s), SIGNPOST_PHASE_SGD);
    for (unsigned j = 0; j < SCRIPTED_D; j++) {
        float margin = (float)(3 - 2 * (int)(j % 4)) / 3.0f, change = 0.125f * margin;

        ck_assert_float_eq(signpost_weights(play.s)[j], scripted_weight(j) - 0.125f - change);
    }
}
END_TEST

/* A count that no vote of 2 can have: the connection is of no use. */
START_TEST(test_margin_beyond_its_votes)
{
    struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .flags = SP_FRAME_LAST, .round = 2, .count = SCRIPTED_D}, .voters = 2};

    open_plain();
    scripted_start(&play);
    send_phase(1, SP_PHASE_MARGIN, SP_WIRE_F32);
    scripted_send(&play, &message, "\x01\0\0\x01\0\0", 6);
    expect_lost("UPDATE of round 2 counts more than its 2 votes");
}
END_TEST

/* Values up and down as the COMMIT before said: 4, 2 or 1 byte each, and a scale a tensor with int8. */
START_TEST(test_values)
{
    static const size_t bytes[] = {
        [SP_WIRE_F32] = SCRIPTED_D * 4, [SP_WIRE_BF16] = SCRIPTED_D * 2, [SP_WIRE_I8] = SCRIPTED_D + 2 * 4};
    uint8_t update[SCRIPTED_D * 4] = {0};

    open_plain();
    scripted_start(&play);
    send_phase(1, SP_PHASE_SGD, (enum sp_wire)_i);
    give_gradient();
    ck_assert(!expect_push(2, SP_FRAME_LAST, SCRIPTED_D, bytes[_i]).has_sketch);
    send_chunk(SP_FRAME_UPDATE, 2, SP_FRAME_LAST, SCRIPTED_D, update, bytes[_i]);
    send_commit(2, SP_PHASE_SGD, (enum sp_wire)_i, false);
    expect_gradient(3);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(signpost_weights(play.s)[j], scripted_weight(j) - 0.125f);
    send_chunk(SP_FRAME_UPDATE, 3, SP_FRAME_LAST, SCRIPTED_D, update, bytes[_i] - 1);
    expect_lost("does not fit");
}
END_TEST

TCase *client_phases_cases(void)
{
    TCase *tests = tcase_create("phases");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_no_buffers);
    tcase_add_test(tests, test_place_of_buffers);
    tcase_add_test(tests, test_initial_buffers);
    tcase_add_test(tests, test_initial_buffers_that_are_not_finite);
    tcase_add_test(tests, test_buffers_that_are_not_due);
    tcase_add_test(tests, test_buffers_that_are_due);
    tcase_add_test(tests, test_buffers_with_weights);
    tcase_add_loop_test(tests, test_frames_without_values, 0, 4);
    tcase_add_loop_test(tests, test_buffers_beyond_the_layout, 0, 2);
    tcase_add_test(tests, test_gradient_of_a_buffer);
    tcase_add_test(tests, test_buffers_come_last);
    tcase_add_loop_test(tests, test_wrong_number_of_traits, 0, 2);
    tcase_add_test(tests, test_tensor_in_full);
    tcase_add_loop_test(tests, test_decay_goes_by_the_traits, 0, 2);
    tcase_add_test(tests, test_margin);
    tcase_add_test(tests, test_margin_beyond_its_votes);
    tcase_add_loop_test(tests, test_values, SP_WIRE_F32, SP_WIRE_I8 + 1);
    return tests;
}
