/* Control messages: there and back, as they are on the wire, what is refused, and that no bytes of a peer do harm. */
#include "codec_messages.h"
#include "common/rng.h"

#include <math.h>
#include <stdio.h>

#define TYPES 18

static bool has_no_control(enum sp_frame_type type)
{
    return type == SP_FRAME_INIT || type == SP_FRAME_ALIVE;
}

/* --- there and back ------------------------------------------------------------------------------------------------
 */

/* A frame in a buffer of a pool, and one around a bulk that is in its place, are the same to the byte. */
static void expect_same_pooled(const struct sp_message *sent, const void *bulk, size_t bulk_bytes,
                               const struct sp_buffer *plain)
{
    struct sp_buffers pool = {0};
    struct sp_buffer *buffer = sp_codec_encode_pooled(&pool, sent, bulk, bulk_bytes);
    bool fits = plain->bytes - bulk_bytes <= SP_BUFFER_HEAD_BYTES;

    ck_assert_ptr_nonnull(buffer);
    ck_assert(fits == (buffer->pool == &pool));
    ck_assert_uint_eq(buffer->bytes, plain->bytes);
    ck_assert_mem_eq(buffer->data, plain->data, plain->bytes);
    sp_buffer_release(buffer);
    if (fits) {
        buffer = sp_buffer_take(&pool);
        memset(sp_buffer_bulk(buffer) - SP_BUFFER_HEAD_BYTES, 0xee, SP_BUFFER_HEAD_BYTES);
        memcpy(sp_buffer_bulk(buffer), bulk, bulk_bytes);
        sp_codec_complete(buffer, sent, bulk_bytes);
        ck_assert_uint_eq(buffer->bytes, plain->bytes);
        ck_assert_mem_eq(buffer->data, plain->data, plain->bytes);
        sp_buffer_release(buffer);
    }
    sp_buffers_finish(&pool);
}

/* Decoded in an arena, of which an earlier message has left something, it is the same message. */
static void expect_same_in_arena(const struct sp_message *sent, const struct sp_buffer *plain)
{
    struct sp_arena *arena = unit_alloc(sizeof *arena);
    struct sp_message back = {0};

    memset(arena, 0xee, sizeof *arena);
    arena->used = SP_ARENA_BYTES;
    ck_assert_int_eq(sp_frame_decode(plain->data, &back.frame, NULL), SP_OK);
    ck_assert_int_eq(sp_codec_decode_in(arena, &back, plain->data + SP_FRAME_HEADER_BYTES, NULL), SP_OK);
    ck_assert_uint_le(arena->used, SP_ARENA_BYTES);
    codec_expect_same(&back, sent);
    sp_message_finish(&back);
    free(arena);
}

static void round_trip(const struct sp_message *message, size_t bulk_bytes)
{
    uint8_t *bulk = unit_alloc(bulk_bytes);
    struct sp_message back, sent = *message;
    struct sp_error error = {0};
    struct sp_buffer *buffer;

    for (size_t i = 0; i < bulk_bytes; i++)
        bulk[i] = (uint8_t)(sp_mix64(i) >> 3);
    sent.frame.first = bulk_bytes > 0 ? UINT64_C(1) << 33 : 0;
    sent.frame.count = (uint32_t)bulk_bytes * 8;
    buffer = sp_codec_encode(&sent, bulk, bulk_bytes);
    ck_assert_ptr_nonnull(buffer);
    ck_assert_uint_eq(buffer->holders, 1);
    ck_assert_msg(codec_decode_frame(buffer, &back, &error) == SP_OK, "%s", error.text);
    ck_assert_uint_eq(back.frame.bulk_bytes, bulk_bytes);
    ck_assert_mem_eq(buffer->data + buffer->bytes - bulk_bytes, bulk, bulk_bytes);
    codec_expect_same(&back, &sent);
    expect_same_pooled(&sent, bulk, bulk_bytes, buffer);
    expect_same_in_arena(&sent, buffer);
    sp_message_finish(&back);
    sp_buffer_release(buffer);
    free(bulk);
}

START_TEST(test_random_messages)
{
    enum sp_frame_type type = (enum sp_frame_type)(_i + 1);
    struct sp_rng rng = unit_rng(type);

    for (int k = 0; k < 100; k++) {
        struct sp_message message;

        codec_make(&message, type, &rng, false);
        round_trip(&message, codec_bulk_max(type) > 0 && k % 2 ? 1 + sp_rng_below(&rng, 200) : 0);
        sp_message_finish(&message);
    }
}
END_TEST

/* All that may be in one frame at once does fit into it. */
START_TEST(test_largest_messages)
{
    enum sp_frame_type type = (enum sp_frame_type)(_i + 1);
    struct sp_rng rng = unit_rng(type);
    struct sp_message message;

    codec_make(&message, type, &rng, true);
    round_trip(&message, codec_bulk_max(type));
    sp_message_finish(&message);
}
END_TEST

/* Weights carry their digest with the last chunk alone. */
START_TEST(test_digest_of_the_last_chunk)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS}, .digest = 77}, back;
    struct sp_buffer *buffer = sp_codec_encode(&message, NULL, 0);

    ck_assert_uint_eq(buffer->bytes, SP_FRAME_HEADER_BYTES);
    ck_assert_int_eq(codec_decode_frame(buffer, &back, NULL), SP_OK);
    ck_assert_uint_eq(back.digest, 0);
    sp_buffer_release(buffer);
    message.frame.flags = SP_FRAME_LAST;
    buffer = sp_codec_encode(&message, NULL, 0);
    ck_assert_int_eq(codec_decode_frame(buffer, &back, NULL), SP_OK);
    ck_assert_uint_eq(back.digest, 77);
    sp_buffer_release(buffer);
}
END_TEST

/* proto3 leaves out what equals 0: the sign of a zero is lost, except in a list. No scalar of ours needs it. */
START_TEST(test_negative_zero)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH}}, back;
    struct sp_buffer *buffer;

    message.push.has_dot = message.push.has_sketch = true;
    message.push.dot = -0.0;
    message.push.sketch[127] = -0.0f;
    buffer = sp_codec_encode(&message, NULL, 0);
    ck_assert_int_eq(codec_decode_frame(buffer, &back, NULL), SP_OK);
    ck_assert(back.push.dot == 0.0);
    ck_assert(signbit(back.push.sketch[127]) && !signbit(back.push.sketch[126]));
    sp_buffer_release(buffer);
}
END_TEST

/* --- on the wire ---------------------------------------------------------------------------------------------------
 */

static struct codec_bytes wire, part;

static void begin(void)
{
    wire.used = 0;
}

/* The message must be encoded to the bytes in `wire`, and these decoded to it. */
static void expect_wire(const struct sp_message *message)
{
    struct sp_buffer *buffer = sp_codec_encode(message, NULL, 0);
    struct sp_error error = {0};
    struct sp_message back;

    ck_assert_ptr_nonnull(buffer);
    ck_assert_uint_eq(buffer->bytes, SP_FRAME_HEADER_BYTES + wire.used);
    ck_assert_mem_eq(buffer->data + SP_FRAME_HEADER_BYTES, wire.data, wire.used);
    ck_assert_int_eq(codec_decode(&back, message->frame.type, message->frame.flags, wire.data, wire.used, &error),
                     SP_OK);
    codec_expect_same(&back, message);
    sp_message_finish(&back);
    sp_buffer_release(buffer);
}

static void put_tensor(const char *name, const uint64_t *shape, size_t dims, uint64_t flags)
{
    static struct codec_bytes sizes;

    part.used = sizes.used = 0;
    if (name[0] != '\0')
        codec_put_text(&part, 1, name);
    for (size_t i = 0; i < dims; i++)
        codec_put_varint(&sizes, shape[i]);
    if (dims > 0)
        codec_put_bytes(&part, 2, sizes.data, sizes.used);
    if (flags != 0)
        codec_put_uint(&part, 3, flags);
    codec_put_bytes(&wire, 1, part.data, part.used);
}

static const uint8_t ticket[SP_TICKET_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t nonce[SP_NONCE_BYTES] = {0xa0, 0xa1, 0, [31] = 0xaf};
static const uint8_t proof[SP_PROOF_BYTES] = {0, 0xb1, 0xb2, [31] = 0xbf};

START_TEST(test_wire_of_hello)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}};
    struct sp_hello *hello = &message.hello;

    (void)strcpy(hello->job, "digits");
    (void)strcpy(hello->program, "signpost-worker 0.1.0");
    hello->role = SP_ROLE_OPERATOR;
    hello->layout_digest = UINT64_C(0xfedcba9876543210);
    hello->examples = 60000;
    hello->data_digest = UINT64_C(0x0123456789abcdef);
    hello->wanted_slot = 0;
    hello->has_ticket = hello->has_nonce = true;
    memcpy(hello->ticket, ticket, sizeof ticket);
    memcpy(hello->nonce, nonce, sizeof nonce);
    hello->test_examples = 10000;
    begin();
    codec_put_text(&wire, 1, "digits");
    codec_put_text(&wire, 2, "signpost-worker 0.1.0");
    codec_put_uint(&wire, 3, 1);
    codec_put_fixed64(&wire, 4, UINT64_C(0xfedcba9876543210));
    codec_put_uint(&wire, 5, 60000);
    codec_put_fixed64(&wire, 6, UINT64_C(0x0123456789abcdef));
    codec_put_uint(&wire, 7, 1);
    codec_put_bytes(&wire, 8, ticket, sizeof ticket);
    codec_put_uint(&wire, 9, 10000);
    codec_put_bytes(&wire, 10, nonce, sizeof nonce);
    expect_wire(&message);
}
END_TEST

/* A worker without wishes, ticket and secret says little. */
START_TEST(test_wire_of_the_smallest_hello)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}};

    message.hello.wanted_slot = SP_ANY_SLOT;
    begin();
    expect_wire(&message);
}
END_TEST

START_TEST(test_wire_of_layout)
{
    struct sp_tensor a = {.name = "a.weight", .dims = 2, .flags = SP_TENSOR_DECAY, .shape = {300, 5}};
    struct sp_tensor b = {.name = "b", .dims = 1, .shape = {7}};
    struct sp_tensor c = {.name = "c", .dims = 1, .flags = SP_TENSOR_BUFFER, .shape = {9}};
    struct sp_message message = {.frame = {.type = SP_FRAME_LAYOUT}};

    ck_assert_int_eq(sp_layout_add(&message.layout, &a, NULL), SP_OK);
    ck_assert_int_eq(sp_layout_add(&message.layout, &b, NULL), SP_OK);
    ck_assert_int_eq(sp_layout_add(&message.layout, &c, NULL), SP_OK);
    begin();
    put_tensor("a.weight", a.shape, 2, 1);
    put_tensor("b", b.shape, 1, 0);
    put_tensor("c", c.shape, 1, 2);
    expect_wire(&message);
    sp_message_finish(&message);
}
END_TEST

/* What either side proves with, and what an operator says and hears. */
START_TEST(test_wire_of_the_handshake)
{
    char json[] = "{\"round\": 3}";
    struct sp_message message = {.frame = {.type = SP_FRAME_CHALLENGE}};

    memcpy(message.challenge.nonce, nonce, sizeof nonce);
    memcpy(message.challenge.proof, proof, sizeof proof);
    begin();
    codec_put_bytes(&wire, 1, nonce, sizeof nonce);
    codec_put_bytes(&wire, 2, proof, sizeof proof);
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_PROOF}};
    memcpy(message.proof, proof, sizeof proof);
    begin();
    codec_put_bytes(&wire, 1, proof, sizeof proof);
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_ASK}, .command = "status"};
    begin();
    codec_put_text(&wire, 1, "status");
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_ANSWER}, .answer = json};
    begin();
    codec_put_text(&wire, 1, json);
    expect_wire(&message);
}
END_TEST

static void put_setting(const char *key, const char *value)
{
    part.used = 0;
    codec_put_text(&part, 1, key);
    codec_put_text(&part, 2, value);
    codec_put_bytes(&wire, 4, part.data, part.used);
}

START_TEST(test_wire_of_welcome)
{
    char seed[] = "seed", one[] = "1", batch[] = "train.batch", sixteen[] = "16";
    struct sp_setting plan[] = {{seed, one}, {batch, sixteen}};
    uint8_t traits[] = {SP_TENSOR_DECAY, 0, SP_TENSOR_FULL, SP_TENSOR_DECAY | SP_TENSOR_FULL};
    struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME},
                                 .welcome = {.slot = 3,
                                             .plan = plan,
                                             .plan_count = 2,
                                             .rounds = 690,
                                             .round = 5,
                                             .phase = SP_PHASE_SGD,
                                             .sigma = 0.25f,
                                             .lambda = 1.5f,
                                             .traits = traits,
                                             .traits_count = sizeof traits,
                                             .alive_interval_ms = 1000,
                                             .silence_ms_max = 5000}};

    memcpy(message.welcome.ticket, ticket, sizeof ticket);
    begin();
    codec_put_uint(&wire, 2, 3);
    codec_put_bytes(&wire, 3, ticket, sizeof ticket);
    put_setting("seed", "1");
    put_setting("train.batch", "16");
    codec_put_uint(&wire, 5, 690);
    codec_put_uint(&wire, 6, 5);
    codec_put_uint(&wire, 7, 1);
    codec_put_float(&wire, 8, 0.25f);
    codec_put_float(&wire, 9, 1.5f);
    codec_put_uint(&wire, 10, 1000);
    codec_put_uint(&wire, 11, 5000);
    codec_put_bytes(&wire, 12, "\1\0\4\5", 4);
    expect_wire(&message);
    ck_assert_str_eq(sp_welcome_setting(&message.welcome, "train.batch"), "16");
    ck_assert_str_eq(sp_welcome_setting(&message.welcome, "seed"), "1");
    ck_assert_ptr_null(sp_welcome_setting(&message.welcome, "train"));
    ck_assert_ptr_null(sp_welcome_setting(&message.welcome, ""));

    message = (struct sp_message){.frame = {.type = SP_FRAME_WELCOME}, .welcome = {.spare = true}};
    begin();
    codec_put_uint(&wire, 1, 1);
    expect_wire(&message);
    ck_assert_ptr_null(sp_welcome_setting(&message.welcome, "seed"));
}
END_TEST

START_TEST(test_wire_of_push)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH}};
    struct sp_push *push = &message.push;

    begin();
    expect_wire(&message);
    push->has_dot = push->has_scalars = push->has_sketch = true;
    push->dot = -1.25;
    push->loss = 2.5;
    push->gradient_norm2 = 1e-30;
    push->examples = 16;
    for (int i = 0; i < SP_SKETCH_BUCKETS; i++)
        push->sketch[i] = (float)i / 3.0f;
    codec_put_uint(&wire, 1, 1);
    codec_put_double(&wire, 2, -1.25);
    codec_put_uint(&wire, 3, 1);
    codec_put_double(&wire, 4, 2.5);
    codec_put_double(&wire, 5, 1e-30);
    codec_put_uint(&wire, 6, 16);
    codec_put_bytes(&wire, 7, push->sketch, sizeof push->sketch);
    expect_wire(&message);
}
END_TEST

START_TEST(test_wire_of_commit)
{
    float rates[3] = {0.5f, -0.0f, 0.25f}, decays[2] = {1.0f, 0.75f};
    struct sp_message message = {.frame = {.type = SP_FRAME_COMMIT},
                                 .commit = {.rate = 0.001f,
                                            .decay = 0.999f,
                                            .rates = rates,
                                            .decays = decays,
                                            .rates_count = 3,
                                            .decays_count = 2,
                                            .voters = {0x0b, 0x00, 0x80},
                                            .last = true,
                                            .next_phase = SP_PHASE_MARGIN,
                                            .next_sigma = 0.125f,
                                            .next_wire = SP_WIRE_I8,
                                            .next_buffers = true,
                                            .has_digest = true,
                                            .digest = UINT64_C(0xfedcba9876543210)}};

    begin();
    codec_put_float(&wire, 1, 0.001f);
    codec_put_bytes(&wire, 2, rates, sizeof rates);
    codec_put_float(&wire, 3, 0.999f);
    codec_put_bytes(&wire, 4, "\x0b\0\x80", 3);
    codec_put_uint(&wire, 5, 1);
    codec_put_uint(&wire, 6, 2);
    codec_put_float(&wire, 7, 0.125f);
    codec_put_uint(&wire, 8, 1);
    codec_put_fixed64(&wire, 9, UINT64_C(0xfedcba9876543210));
    codec_put_bytes(&wire, 10, decays, sizeof decays);
    codec_put_uint(&wire, 11, 2);
    codec_put_uint(&wire, 12, 1);
    expect_wire(&message);
}
END_TEST

START_TEST(test_wire_of_small_messages)
{
    static const enum sp_frame_type digests[] = {SP_FRAME_WEIGHTS, SP_FRAME_READY, SP_FRAME_RESYNC};
    struct sp_message message;

    for (size_t i = 0; i < UNIT_COUNT(digests); i++) {
        message = (struct sp_message){.frame = {.type = digests[i], .flags = SP_FRAME_LAST}, .digest = 99};
        begin();
        codec_put_fixed64(&wire, 1, 99);
        expect_wire(&message);
    }
    message = (struct sp_message){.frame = {.type = SP_FRAME_UPDATE}, .voters = 200};
    begin();
    codec_put_uint(&wire, 1, 200);
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_UPDATE}}; /* nobody's vote was counted */
    begin();
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_EVAL}, .eval = {.part = 2, .parts = 4}};
    begin();
    codec_put_uint(&wire, 1, 2);
    codec_put_uint(&wire, 2, 4);
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_SCORE}, .score = {2, 970, 1000, 31.5}};
    begin();
    codec_put_uint(&wire, 1, 2);
    codec_put_uint(&wire, 2, 970);
    codec_put_uint(&wire, 3, 1000);
    codec_put_double(&wire, 4, 31.5);
    expect_wire(&message);
    message = (struct sp_message){.frame = {.type = SP_FRAME_BYE}, .bye = {.reason = 5, .words = "no"}};
    begin();
    codec_put_uint(&wire, 1, 5);
    codec_put_text(&wire, 2, "no");
    expect_wire(&message);
}
END_TEST

/* A later version may send more: fields that are not known are passed over. */
START_TEST(test_unknown_fields)
{
    struct sp_message message;

    begin();
    codec_put_uint(&wire, 1000, 5);
    codec_put_uint(&wire, 1, 1);
    codec_put_text(&wire, 99, "something new");
    codec_put_uint(&wire, 2, 3);
    codec_put_float(&wire, 98, 1.0f);
    ck_assert_int_eq(codec_decode(&message, SP_FRAME_EVAL, 0, wire.data, wire.used, NULL), SP_OK);
    ck_assert_uint_eq(message.eval.part, 1);
    ck_assert_uint_eq(message.eval.parts, 3);
}
END_TEST

/* Words of a peer may stand in a log line: nothing in them moves the cursor. */
START_TEST(test_control_characters)
{
    struct sp_message message;
    char words[64], expected[64];
    size_t n = 0;

    for (int c = 1; c <= ' '; c++) {
        words[n] = (char)c;
        expected[n++] = c < ' ' ? '?' : ' ';
    }
    (void)strcpy(words + n, "\x7f~\xc3\xa9");
    (void)strcpy(expected + n, "?~??"); /* the second half of C1 controls and of marks that turn text around */
    begin();
    codec_put_text(&wire, 2, words);
    ck_assert_int_eq(codec_decode(&message, SP_FRAME_BYE, 0, wire.data, wire.used, NULL), SP_OK);
    ck_assert_str_eq(message.bye.words, expected);
    ck_assert_int_eq(codec_decode(&message, SP_FRAME_HELLO, 0, wire.data, wire.used, NULL), SP_OK);
    ck_assert_str_eq(message.hello.program, expected);
    begin();
    codec_put_text(&wire, 1, words);
    ck_assert_int_eq(codec_decode(&message, SP_FRAME_ASK, 0, wire.data, wire.used, NULL), SP_OK);
    ck_assert_str_eq(message.command, expected);
}
END_TEST

/* --- what is refused -----------------------------------------------------------------------------------------------
 */

static void refuse(enum sp_frame_type type, int code, const char *words)
{
    struct sp_error error = {0};
    struct sp_message message;

    ck_assert_int_eq(codec_decode(&message, type, 0, wire.data, wire.used, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_str_eq(error.text, words);
    ck_assert_int_eq(codec_decode(&message, type, 0, wire.data, wire.used, NULL), code);
}

static void accept(enum sp_frame_type type)
{
    struct sp_error error = {0};
    struct sp_message message;

    ck_assert_msg(codec_decode(&message, type, 0, wire.data, wire.used, &error) == SP_OK, "%s", error.text);
    sp_message_finish(&message);
}

/* Bytes of a length of its own: none, or exactly `right` of them. */
static void expect_length(enum sp_frame_type type, unsigned field, size_t right, const char *words)
{
    static const uint8_t bytes[64];

    for (size_t count = 0; count <= sizeof bytes; count++) {
        begin();
        codec_put_bytes(&wire, field, bytes, count);
        if (count == 0 || count == right)
            accept(type);
        else
            refuse(type, SP_E_PROTOCOL, words);
    }
}

START_TEST(test_hello_refused)
{
    static const uint32_t slots[] = {256, 257, UINT32_MAX}, roles[] = {3, 4, UINT32_MAX};
    char name[64];

    memset(name, 'n', sizeof name);
    for (unsigned field = 1; field <= 2; field++) {
        begin();
        codec_put_bytes(&wire, field, name, 63);
        accept(SP_FRAME_HELLO);
        begin();
        codec_put_bytes(&wire, field, name, 64);
        refuse(SP_FRAME_HELLO, SP_E_PROTOCOL, "HELLO frame: the name of the job or the program is too long");
    }
    expect_length(SP_FRAME_HELLO, 8, SP_TICKET_BYTES, "HELLO frame: a ticket of the wrong length");
    expect_length(SP_FRAME_HELLO, 10, SP_NONCE_BYTES, "HELLO frame: a nonce of the wrong length");
    begin();
    codec_put_uint(&wire, 7, 255);
    accept(SP_FRAME_HELLO);
    for (size_t i = 0; i < UNIT_COUNT(slots); i++) {
        begin();
        codec_put_uint(&wire, 7, slots[i]);
        refuse(SP_FRAME_HELLO, SP_E_PROTOCOL, "HELLO frame: no job has the slot that is wanted");
    }
    for (size_t i = 0; i < UNIT_COUNT(roles); i++) {
        begin();
        codec_put_uint(&wire, 3, roles[i]);
        refuse(SP_FRAME_HELLO, SP_E_PROTOCOL, "HELLO frame: an unknown role");
    }
}
END_TEST

/* A challenge and a proof have all their bytes, or are none. */
START_TEST(test_proofs_refused)
{
    static const uint8_t bytes[64];

    for (size_t count = 0; count <= sizeof bytes; count++) {
        for (unsigned field = 1; field <= 2; field++) {
            begin();
            codec_put_bytes(&wire, field, bytes, count);
            codec_put_bytes(&wire, 3 - field, bytes, 32);
            if (count == 32)
                accept(SP_FRAME_CHALLENGE);
            else
                refuse(SP_FRAME_CHALLENGE, SP_E_PROTOCOL, "CHALLENGE frame: a nonce or a proof of the wrong length");
        }
        begin();
        codec_put_bytes(&wire, 1, bytes, count);
        if (count == 32)
            accept(SP_FRAME_PROOF);
        else
            refuse(SP_FRAME_PROOF, SP_E_PROTOCOL, "PROOF frame: a proof of the wrong length");
    }
}
END_TEST

START_TEST(test_ask_refused)
{
    char command[64];

    memset(command, 'c', sizeof command);
    begin();
    codec_put_bytes(&wire, 1, command, 63);
    accept(SP_FRAME_ASK);
    begin();
    codec_put_bytes(&wire, 1, command, 64);
    refuse(SP_FRAME_ASK, SP_E_PROTOCOL, "ASK frame: a command that is too long");
}
END_TEST

/* A LAYOUT with the one tensor "t" of shape {2}. */
static void begin_layout(void)
{
    static const uint64_t shape[] = {2};

    begin();
    put_tensor("t", shape, 1, 0);
}

START_TEST(test_layout_refused)
{
    static const uint64_t shape[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, wraps[2] = {UINT64_C(1) << 33, UINT64_C(1) << 33},
                          zero[1] = {0};
    char name[65] = {0};

    begin_layout();
    accept(SP_FRAME_LAYOUT);
    begin();
    refuse(SP_FRAME_LAYOUT, SP_E_PROTOCOL, "LAYOUT frame: the layout has no tensors, or too many");
    memset(name, 'n', 64);
    begin_layout();
    put_tensor("u", shape, 9, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 1 has 9 dimensions; at most 8 are allowed");
    begin_layout();
    put_tensor("u", shape, 1, SP_TENSOR_FULL);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 1 has unknown flags 0x4");
    begin_layout();
    put_tensor("u", shape, 0, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 'u' has 0 dimensions; 1 to 8 are allowed");
    begin_layout();
    put_tensor(name, shape, 1, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "the name of tensor 1 is longer than 63 bytes");
    begin_layout();
    put_tensor("", shape, 1, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 1: its name must have 1 to 63 characters");
    begin_layout();
    put_tensor("t", shape, 1, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 't' appears twice");
    begin_layout();
    put_tensor("a b", shape, 1, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_SYNTAX,
           "tensor 1: character 2 of its name is not allowed (printable ASCII without space, quote and backslash)");
    begin_layout();
    put_tensor("u", wraps, 2, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 'u' is empty or too large in dimension 1");
    begin_layout();
    put_tensor("u", zero, 1, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 'u' is empty or too large in dimension 0");
}
END_TEST

/* Buffers come after everything that is trained, of which there must be something. */
START_TEST(test_layout_of_buffers)
{
    static const uint64_t shape[] = {3};

    begin_layout();
    put_tensor("u", shape, 1, SP_TENSOR_BUFFER);
    put_tensor("v", shape, 1, SP_TENSOR_BUFFER | SP_TENSOR_DECAY);
    accept(SP_FRAME_LAYOUT);
    put_tensor("w", shape, 1, SP_TENSOR_DECAY);
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 'w' comes after a buffer; buffers must be the last tensors");
    begin();
    put_tensor("u", shape, 1, SP_TENSOR_BUFFER);
    refuse(SP_FRAME_LAYOUT, SP_E_PROTOCOL, "LAYOUT frame: the layout has nothing but buffers");
}
END_TEST

START_TEST(test_number_of_tensors)
{
    begin();
    for (int i = 0; i < SP_TENSORS_MAX + 1; i++)
        codec_put_bytes(&wire, 1, NULL, 0);
    refuse(SP_FRAME_LAYOUT, SP_E_PROTOCOL, "LAYOUT frame: the layout has no tensors, or too many");
    wire.used -= 2;
    refuse(SP_FRAME_LAYOUT, SP_E_RANGE, "tensor 0: its name must have 1 to 63 characters");
}
END_TEST

static void begin_welcome(uint32_t slot, size_t ticket_bytes)
{
    static const uint8_t bytes[64];

    begin();
    codec_put_uint(&wire, 2, slot);
    codec_put_bytes(&wire, 3, bytes, ticket_bytes);
}

START_TEST(test_welcome_refused)
{
    begin_welcome(254, 16);
    accept(SP_FRAME_WELCOME);
    begin_welcome(255, 16);
    refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL, "WELCOME frame: a slot out of range or a ticket of the wrong length");
    begin_welcome(UINT32_MAX, 16);
    refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL, "WELCOME frame: a slot out of range or a ticket of the wrong length");
    for (size_t bytes = 0; bytes <= 32; bytes++) {
        begin_welcome(1, bytes);
        if (bytes != SP_TICKET_BYTES)
            refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL,
                   "WELCOME frame: a slot out of range or a ticket of the wrong length");
        codec_put_uint(&wire, 1, 1);
        accept(SP_FRAME_WELCOME); /* a spare needs neither */
    }
    begin_welcome(1, 16);
    codec_put_uint(&wire, 7, 2);
    accept(SP_FRAME_WELCOME);
    begin_welcome(1, 16);
    codec_put_uint(&wire, 7, 3);
    refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL, "WELCOME frame: an unknown phase");
    begin_welcome(1, 16);
    for (int i = 0; i < SP_SETTINGS_MAX; i++)
        codec_put_bytes(&wire, 4, NULL, 0);
    accept(SP_FRAME_WELCOME);
    codec_put_bytes(&wire, 4, NULL, 0);
    refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL, "WELCOME frame: a plan with too many settings");
}
END_TEST

/* As many as tensors: whether that is so only the model can say. None is the same as an empty field. */
START_TEST(test_number_of_traits)
{
    static const uint8_t traits[SP_TENSORS_MAX + 1];
    struct sp_message message;

    begin_welcome(1, 16);
    codec_put_bytes(&wire, 12, traits, SP_TENSORS_MAX);
    accept(SP_FRAME_WELCOME);
    begin_welcome(1, 16);
    codec_put_bytes(&wire, 12, traits, SP_TENSORS_MAX + 1);
    refuse(SP_FRAME_WELCOME, SP_E_PROTOCOL, "WELCOME frame: traits of too many tensors");
    begin_welcome(1, 16);
    codec_put_bytes(&wire, 12, traits, 0);
    ck_assert_int_eq(codec_decode(&message, SP_FRAME_WELCOME, 0, wire.data, wire.used, NULL), SP_OK);
    ck_assert_ptr_null(message.welcome.traits);
    ck_assert_uint_eq(message.welcome.traits_count, 0);
    sp_message_finish(&message);
}
END_TEST

START_TEST(test_votes_refused)
{
    static const uint32_t votes[] = {256, 257, UINT32_MAX};

    begin();
    codec_put_uint(&wire, 1, 255);
    accept(SP_FRAME_UPDATE);
    for (size_t i = 0; i < UNIT_COUNT(votes); i++) {
        begin();
        codec_put_uint(&wire, 1, votes[i]);
        refuse(SP_FRAME_UPDATE, SP_E_PROTOCOL, "UPDATE frame: more votes than there can be");
    }
}
END_TEST

START_TEST(test_push_refused)
{
    static const float sketch[256];

    for (size_t buckets = 0; buckets <= 256; buckets++) {
        begin();
        codec_put_bytes(&wire, 7, sketch, buckets * sizeof sketch[0]);
        if (buckets == 0 || buckets == 128)
            accept(SP_FRAME_PUSH);
        else
            refuse(SP_FRAME_PUSH, SP_E_PROTOCOL, "PUSH frame: a sketch of the wrong size");
    }
}
END_TEST

START_TEST(test_commit_refused)
{
    static const char words[] = "COMMIT frame: too many rates or voters, or an unknown phase or wire";
    static const float rates[SP_TENSORS_MAX + 1];
    static const uint8_t voters[33];

    for (unsigned field = 2; field <= 10; field += 8) {
        begin();
        codec_put_bytes(&wire, field, rates, SP_TENSORS_MAX * sizeof rates[0]);
        accept(SP_FRAME_COMMIT);
        begin();
        codec_put_bytes(&wire, field, rates, sizeof rates);
        refuse(SP_FRAME_COMMIT, SP_E_PROTOCOL, words);
    }
    begin();
    codec_put_bytes(&wire, 4, voters, 32);
    accept(SP_FRAME_COMMIT);
    begin();
    codec_put_bytes(&wire, 4, voters, 33);
    refuse(SP_FRAME_COMMIT, SP_E_PROTOCOL, words);
    for (unsigned field = 6; field <= 11; field += 5) { /* the next phase, the next wire: 0 to 2 */
        begin();
        codec_put_uint(&wire, field, 2);
        accept(SP_FRAME_COMMIT);
        begin();
        codec_put_uint(&wire, field, 3);
        refuse(SP_FRAME_COMMIT, SP_E_PROTOCOL, words);
        begin();
        codec_put_uint(&wire, field, UINT32_MAX);
        refuse(SP_FRAME_COMMIT, SP_E_PROTOCOL, words);
    }
}
END_TEST

START_TEST(test_eval_refused)
{
    static const uint32_t rows[][2] = {{0, 0}, {1, 1}, {5, 4}, {UINT32_MAX, UINT32_MAX}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        begin();
        codec_put_uint(&wire, 1, rows[i][0]);
        codec_put_uint(&wire, 2, rows[i][1]);
        refuse(SP_FRAME_EVAL, SP_E_PROTOCOL, "EVAL frame: a part that does not exist");
    }
    begin();
    refuse(SP_FRAME_EVAL, SP_E_PROTOCOL, "EVAL frame: a part that does not exist");
}
END_TEST

START_TEST(test_bye_refused)
{
    char words[257];

    memset(words, 'w', sizeof words);
    begin();
    codec_put_bytes(&wire, 2, words, 255);
    accept(SP_FRAME_BYE);
    begin();
    codec_put_bytes(&wire, 2, words, 256);
    refuse(SP_FRAME_BYE, SP_E_PROTOCOL, "BYE frame: words that are too long");
}
END_TEST

/* What is no protobuf at all: a cut varint, a length beyond the end, a field number of 0, a wire type that is none. */
START_TEST(test_not_decodable)
{
    static const struct {
        size_t bytes;
        const char *data;
    } rows[] = {{1, "\xff"},         {2, "\x08\x80"},
                {2, "\x0a\x05"},     {3, "\x0a\x05x"},
                {2, "\x00\x01"},     {2, "\x0f\x01"},
                {1, "\x09"},         {5, "\x09\x01\x02\x03\x04"},
                {3, "\x0d\x01\x02"}, {6, "\x0a\xff\xff\xff\xff\x0f"}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        for (unsigned type = 1; type <= TYPES; type++) {
            char words[64];

            if (has_no_control((enum sp_frame_type)type))
                continue;
            (void)snprintf(words, sizeof words, "%s frame: its control message cannot be decoded", sp_frame_name(type));
            begin();
            memcpy(wire.data, rows[i].data, rows[i].bytes);
            wire.used = rows[i].bytes;
            refuse((enum sp_frame_type)type, SP_E_PROTOCOL, words);
        }
    }
}
END_TEST

/* --- no bytes do harm ----------------------------------------------------------------------------------------------
 */

/* A decode ends in a message that can be finished, or in a code with words; AddressSanitizer and LeakSanitizer look on.
 */
static void decode_anything(const struct sp_message *like, const uint8_t *control, size_t bytes)
{
    struct sp_error error = {.code = SP_OK};
    struct sp_message message;
    int rc = codec_decode(&message, like->frame.type, like->frame.flags, control, bytes, &error);

    if (rc == SP_OK)
        sp_message_finish(&message);
    else
        unit_assert(rc < 0 && rc == (int)error.code && error.text[0] != '\0', "a refusal without code or words");
}

/* The control bytes of a message that fills as many fields as there are. */
static struct sp_buffer *rich_message(enum sp_frame_type type, struct sp_message *message)
{
    const size_t most = type == SP_FRAME_PUSH ? 900 : 300; /* a sketch has its size; the others are swept faster */
    struct sp_rng rng = unit_rng(100 + type);
    struct sp_buffer *buffer = NULL, *best = NULL;

    for (int k = 0; k < 30; k++) {
        codec_make(message, type, &rng, false);
        message->frame.flags = type == SP_FRAME_WEIGHTS ? SP_FRAME_LAST : message->frame.flags;
        buffer = sp_codec_encode(message, NULL, 0);
        sp_message_finish(message);
        if (best == NULL || best->bytes > most || (buffer->bytes > best->bytes && buffer->bytes <= most)) {
            sp_buffer_release(best);
            best = buffer;
        } else {
            sp_buffer_release(buffer);
        }
    }
    return best;
}

START_TEST(test_truncations)
{
    struct sp_message message;
    struct sp_buffer *buffer = rich_message((enum sp_frame_type)(_i + 1), &message);

    for (size_t bytes = 0; bytes <= buffer->bytes - SP_FRAME_HEADER_BYTES; bytes++)
        decode_anything(&message, buffer->data + SP_FRAME_HEADER_BYTES, bytes);
    sp_buffer_release(buffer);
}
END_TEST

START_TEST(test_mutations)
{
    struct sp_message message;
    struct sp_buffer *buffer = rich_message((enum sp_frame_type)(_i + 1), &message);
    size_t bytes = buffer->bytes - SP_FRAME_HEADER_BYTES;
    uint8_t *control = buffer->data + SP_FRAME_HEADER_BYTES;

    ck_assert_int_eq(bytes == 0, has_no_control(message.frame.type));
    for (size_t i = 0; i < bytes; i++) {
        uint8_t before = control[i];

        for (unsigned value = 0; value < 256; value++) {
            control[i] = (uint8_t)value;
            decode_anything(&message, control, bytes);
        }
        control[i] = before;
    }
    decode_anything(&message, control, bytes);
    sp_buffer_release(buffer);
}
END_TEST

START_TEST(test_garbage)
{
    struct sp_message message = {.frame = {.type = (enum sp_frame_type)(_i + 1), .flags = SP_FRAME_LAST}};
    struct sp_rng rng = unit_rng(300 + (uint64_t)_i);
    uint8_t bytes[64];

    for (int k = 0; k < 5000; k++) {
        size_t count = sp_rng_below(&rng, sizeof bytes + 1);

        for (size_t i = 0; i < count; i++)
            bytes[i] = (uint8_t)(sp_rng_below(&rng, 2) ? sp_rng_next(&rng) : sp_rng_below(&rng, 100));
        decode_anything(&message, bytes, count);
    }
}
END_TEST

static void add_refusals(TCase *tests)
{
    tcase_add_test(tests, test_hello_refused);
    tcase_add_test(tests, test_proofs_refused);
    tcase_add_test(tests, test_ask_refused);
    tcase_add_test(tests, test_layout_refused);
    tcase_add_test(tests, test_layout_of_buffers);
    tcase_add_test(tests, test_number_of_tensors);
    tcase_add_test(tests, test_welcome_refused);
    tcase_add_test(tests, test_number_of_traits);
    tcase_add_test(tests, test_votes_refused);
    tcase_add_test(tests, test_push_refused);
    tcase_add_test(tests, test_commit_refused);
    tcase_add_test(tests, test_eval_refused);
    tcase_add_test(tests, test_bye_refused);
    tcase_add_test(tests, test_not_decodable);
}

int main(void)
{
    TCase *tests = tcase_create("codec");

    tcase_add_loop_test(tests, test_random_messages, 0, TYPES);
    tcase_add_loop_test(tests, test_largest_messages, 0, TYPES);
    tcase_add_test(tests, test_digest_of_the_last_chunk);
    tcase_add_test(tests, test_negative_zero);
    tcase_add_test(tests, test_wire_of_hello);
    tcase_add_test(tests, test_wire_of_the_smallest_hello);
    tcase_add_test(tests, test_wire_of_layout);
    tcase_add_test(tests, test_wire_of_the_handshake);
    tcase_add_test(tests, test_wire_of_welcome);
    tcase_add_test(tests, test_wire_of_push);
    tcase_add_test(tests, test_wire_of_commit);
    tcase_add_test(tests, test_wire_of_small_messages);
    tcase_add_test(tests, test_unknown_fields);
    tcase_add_test(tests, test_control_characters);
    add_refusals(tests);
    tcase_add_loop_test(tests, test_truncations, 0, TYPES);
    tcase_add_loop_test(tests, test_mutations, 0, TYPES);
    tcase_add_loop_test(tests, test_garbage, 0, TYPES);
    return unit_run(suite_create("codec"), tests);
}
