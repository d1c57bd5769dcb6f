/* Frames out of a stream over real sockets: whole however they are cut, held back when their owner says so, and one
 * `broken` for whatever is not right. */
#include "loopback.h"
#include "proto/reader.h"
#include "proto/reason.h"

#include <stdio.h>

#define QUEUE_MAX 100000
#define BULK_MAX 65536u

enum finish_at { FINISH_NEVER, FINISH_IN_PLACE, FINISH_IN_GOT, FINISH_IN_BROKEN };

struct reading {
    struct loopback l;
    struct sp_reader reader;
    unsigned headers, placed, got, broken;
    uint32_t placed_voters;
    enum sp_frame_type unwanted; /* the type that `header` refuses */
    unsigned holds;              /* how often `place` still answers SP_READER_HOLD */
    int place_code, got_code;
    enum finish_at finish_at;
    bool discards;           /* nobody wants the bulk */
    bool close_too;          /* the stream as well, as an owner does that has had enough */
    uint8_t *bulk;           /* the place: exactly as long as the frame's bulk */
    struct sp_error error;   /* of `broken` */
    struct sp_message *kept; /* if not NULL: the next message moves here */
    void (*check)(struct reading *r, const struct sp_message *message, const uint8_t *bulk);
};

/* --- the owner of a reader ------------------------------------------------------------------------------------------
 */

static void finish_here(struct reading *r, enum finish_at here)
{
    if (r->finish_at != here)
        return;
    sp_reader_finish(&r->reader);
    if (r->close_too)
        loopback_close_stream(&r->l);
}

static int place(void *owner, const struct sp_message *message, void **destination, struct sp_error *error)
{
    struct reading *r = owner;

    ck_assert_uint_eq(r->broken, 0);
    ck_assert_uint_gt(message->frame.bulk_bytes, 0);
    r->placed++;
    r->placed_voters = message->frame.type == SP_FRAME_UPDATE ? message->voters : 0;
    finish_here(r, FINISH_IN_PLACE);
    if (r->place_code != SP_OK)
        return sp_error_set(error, (enum sp_code)r->place_code, "no place for round %u", message->frame.round);
    if (r->holds > 0) {
        r->holds--;
        return SP_READER_HOLD;
    }
    free(r->bulk);
    r->bulk = unit_alloc(message->frame.bulk_bytes);
    memset(r->bulk, 0xee, message->frame.bulk_bytes);
    *destination = r->bulk;
    return r->discards ? SP_READER_DISCARD : SP_OK;
}

static int got(void *owner, struct sp_message *message, const void *bulk, struct sp_error *error)
{
    struct reading *r = owner;

    ck_assert_uint_eq(r->broken, 0);
    ck_assert_ptr_eq(bulk, message->frame.bulk_bytes > 0 && !r->discards ? r->bulk : NULL);
    if (r->check != NULL)
        r->check(r, message, bulk);
    r->got++;
    if (r->kept != NULL) {
        *r->kept = *message;
        memset(message, 0, sizeof *message);
    }
    finish_here(r, FINISH_IN_GOT);
    if (r->got_code != SP_OK)
        return sp_error_set(error, (enum sp_code)r->got_code, "not wanted");
    return SP_OK;
}

static void broken(void *owner, const struct sp_error *error)
{
    struct reading *r = owner;

    ck_assert_uint_eq(r->broken, 0);
    r->broken++;
    r->error = *error;
    finish_here(r, FINISH_IN_BROKEN);
}

static const struct sp_reader_events events = {.place = place, .got = got, .broken = broken};

/* An owner that looks at headers: nothing of this frame may have been asked of it before. */
static int look_at_header(void *owner, const struct sp_frame *frame, struct sp_error *error)
{
    struct reading *r = owner;

    ck_assert_uint_eq(r->broken, 0);
    ck_assert_uint_eq(r->headers, r->got);
    r->headers++;
    if (frame->type != r->unwanted)
        return SP_OK;
    return sp_error_set(error, SP_E_STATE, "no time for %s with %u bytes", sp_frame_name(frame->type),
                        frame->control_bytes);
}

static const struct sp_reader_events looking_events = {
    .header = look_at_header, .place = place, .got = got, .broken = broken};

static void on_event(struct loopback *l, enum loopback_event event)
{
    if (event == EVENT_FILLED)
        sp_reader_filled(&((struct reading *)l->user)->reader);
}

static struct reading *open_reading(void)
{
    struct reading *r = unit_alloc(sizeof *r);

    memset(r, 0, sizeof *r);
    loopback_open(&r->l, QUEUE_MAX);
    r->l.user = r;
    r->l.hook = on_event;
    sp_reader_start(&r->reader, r->l.stream, &events, r);
    return r;
}

/* The same with an owner that looks at headers. */
static struct reading *open_looking(enum sp_frame_type unwanted)
{
    struct reading *r = open_reading();

    r->unwanted = unwanted;
    r->reader.events = &looking_events; /* which it has not used yet */
    return r;
}

static void close_reading(struct reading *r)
{
    sp_reader_finish(&r->reader);
    loopback_close(&r->l);
    free(r->bulk);
    free(r);
}

/* --- frames ---------------------------------------------------------------------------------------------------------
 */

/* A PUSH of round `round` with so many bulk bytes. */
static struct sp_buffer *push_frame(uint32_t round, size_t bulk_bytes)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .round = round, .count = (uint32_t)bulk_bytes}};
    uint8_t *bulk = unit_alloc(bulk_bytes);
    struct sp_buffer *buffer;

    message.push.has_dot = true;
    message.push.dot = 0.5;
    for (size_t i = 0; i < bulk_bytes; i++)
        bulk[i] = loopback_byte(round + i);
    buffer = sp_codec_encode(&message, bulk, bulk_bytes);
    ck_assert_ptr_nonnull(buffer);
    free(bulk);
    return buffer;
}

static struct sp_buffer *bare_frame(enum sp_frame_type type, uint32_t round)
{
    const struct sp_message message = {.frame = {.type = type, .round = round}};

    return sp_codec_encode(&message, NULL, 0);
}

static struct sp_buffer *bye_frame(uint32_t round)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_BYE, .round = round},
                                       .bye = {.reason = SP_REASON_LEAVING, .words = "so long"}};

    return sp_codec_encode(&message, NULL, 0);
}

static struct sp_buffer *layout_frame(uint32_t tensors)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_LAYOUT}};
    struct sp_buffer *buffer;

    for (uint32_t i = 0; i < tensors; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {i + 1}};

        (void)snprintf(tensor.name, sizeof tensor.name, "%u.tensor", i);
        ck_assert_int_eq(sp_layout_add(&message.layout, &tensor, NULL), SP_OK);
    }
    buffer = sp_codec_encode(&message, NULL, 0);
    sp_message_finish(&message);
    return buffer;
}

static void send_frame(struct reading *r, struct sp_buffer *buffer)
{
    loopback_peer_send(&r->l, buffer->data, buffer->bytes);
    sp_buffer_release(buffer);
}

/* All kinds: without anything, with control alone, with bulk alone, with both. Answers their number. */
static size_t some_frames(uint8_t *bytes, size_t *count)
{
    const struct sp_message update = {.frame = {.type = SP_FRAME_UPDATE, .round = 3, .count = 8}};
    struct sp_buffer *frames[] = {bare_frame(SP_FRAME_ALIVE, 0), layout_frame(2), push_frame(2, 10),
                                  sp_codec_encode(&update, "\xa5", 1), bye_frame(4)};

    *count = 0;
    for (size_t i = 0; i < UNIT_COUNT(frames); i++) {
        memcpy(bytes + *count, frames[i]->data, frames[i]->bytes);
        *count += frames[i]->bytes;
        sp_buffer_release(frames[i]);
    }
    return UNIT_COUNT(frames);
}

/* The frames above, in their order. */
static void check_some_frame(struct reading *r, const struct sp_message *message, const uint8_t *bulk)
{
    static const enum sp_frame_type types[] = {SP_FRAME_ALIVE, SP_FRAME_LAYOUT, SP_FRAME_PUSH, SP_FRAME_UPDATE,
                                               SP_FRAME_BYE};
    unsigned i = r->got % UNIT_COUNT(types);

    unit_assert(message->frame.type == types[i], "type %d", message->frame.type);
    if (i == 1)
        unit_assert(message->layout.tensors_count == 2, "the layout is wrong");
    if (i == 2) {
        unit_assert(message->push.has_dot && message->push.dot == 0.5, "the control message is wrong");
        for (size_t k = 0; k < 10; k++)
            unit_assert(bulk[k] == loopback_byte(2 + k), "bulk byte %zu is wrong", k);
    }
    if (i == 3)
        unit_assert(bulk[0] == 0xa5 && message->frame.bulk_bytes == 1, "the bulk is wrong");
    if (i == 4)
        unit_assert(strcmp(message->bye.words, "so long") == 0, "the words are wrong");
}

/* --- whole frames ---------------------------------------------------------------------------------------------------
 */

START_TEST(test_frames_cut_anywhere)
{
    struct reading *r = open_reading();
    uint64_t sent = 0;
    uint8_t bytes[2000];
    size_t count, frames = some_frames(bytes, &count);

    r->check = check_some_frame;
    for (size_t cut = 1; cut < count; cut++) {
        loopback_peer_send(&r->l, bytes, cut);
        sent += cut;
        loopback_run_until(&r->l, sp_stream_bytes_received(r->l.stream) == sent);
        unit_assert(r->got < frames * cut, "a frame before its end");
        loopback_peer_send(&r->l, bytes + cut, count - cut);
        sent += count - cut;
        loopback_run_until(&r->l, r->got == frames * cut);
        ck_assert_uint_eq(sp_stream_bytes_received(r->l.stream), sent);
    }
    ck_assert_uint_eq(r->placed, 2 * (count - 1));
    ck_assert_uint_eq(r->broken, 0);
    close_reading(r);
}
END_TEST

START_TEST(test_frames_byte_by_byte)
{
    struct reading *r = open_reading();
    uint8_t bytes[2000];
    size_t count, frames = some_frames(bytes, &count);

    r->check = check_some_frame;
    for (size_t i = 0; i < count; i++) {
        loopback_peer_send(&r->l, bytes + i, 1);
        loopback_run_until(&r->l, sp_stream_bytes_received(r->l.stream) == i + 1);
    }
    loopback_run_until(&r->l, r->got == frames);
    ck_assert_uint_eq(r->placed, 2);
    close_reading(r);
}
END_TEST

START_TEST(test_frames_at_once)
{
    struct reading *r = open_reading();
    uint8_t bytes[2000];
    size_t count, frames = some_frames(bytes, &count);

    r->check = check_some_frame;
    for (int i = 0; i < 50; i++)
        loopback_peer_send(&r->l, bytes, count);
    loopback_run_until(&r->l, r->got == 50 * frames);
    ck_assert_uint_eq(r->broken, 0);
    close_reading(r);
}
END_TEST

/* Control messages of changing size, the largest last but one, and a chunk at its limit. */
START_TEST(test_sizes)
{
    static const uint32_t tensors[] = {1, 100, 4, SP_TENSORS_MAX, 2};
    struct reading *r = open_reading();

    for (unsigned i = 0; i < UNIT_COUNT(tensors); i++) {
        struct sp_message kept;

        r->kept = &kept;
        send_frame(r, layout_frame(tensors[i]));
        loopback_run_until(&r->l, r->got == i + 1);
        ck_assert_uint_eq(kept.layout.tensors_count, tensors[i]);
        sp_message_finish(&kept); /* it outlives the call if the owner moves it */
    }
    r->kept = NULL;
    send_frame(r, push_frame(9, BULK_MAX));
    loopback_run_until(&r->l, r->got == UNIT_COUNT(tensors) + 1);
    for (size_t k = 0; k < BULK_MAX; k++)
        unit_assert(r->bulk[k] == loopback_byte(9 + k), "bulk byte %zu is wrong", k);
    close_reading(r);
}
END_TEST

/* --- hold -----------------------------------------------------------------------------------------------------------
 */

/* While it is held nothing is read, and `place` is asked again at each resume. */
START_TEST(test_hold)
{
    struct reading *r = open_reading();
    struct sp_buffer *first = push_frame(1, 5000);
    uint64_t before = first->bytes - 5000;

    r->holds = 3;
    send_frame(r, first);
    send_frame(r, bye_frame(2));
    loopback_run_until(&r->l, r->placed == 1);
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert(sp_reader_is_held(&r->reader));
        loopback_run_idle(&r->l);
        (void)loopback_unread(&r->l, 5000);
        loopback_run_idle(&r->l);
        ck_assert_uint_eq(sp_stream_bytes_received(r->l.stream), before);
        ck_assert_uint_eq(r->placed, i);
        ck_assert_uint_eq(r->got, 0);
        sp_reader_resume(&r->reader);
    }
    ck_assert_uint_eq(r->placed, 4);
    ck_assert(!sp_reader_is_held(&r->reader));
    sp_reader_resume(&r->reader); /* of nothing: no effect */
    ck_assert_uint_eq(r->placed, 4);
    loopback_run_until(&r->l, r->got == 2);
    for (size_t k = 0; k < 5000; k++)
        unit_assert(r->bulk[k] == loopback_byte(1 + k), "bulk byte %zu is wrong", k);
    ck_assert_uint_eq(r->broken, 0);
    close_reading(r);
}
END_TEST

/* A window that opens for one of several frames that wait in the socket. */
START_TEST(test_hold_again_and_again)
{
    struct reading *r = open_reading();

    for (uint32_t i = 0; i < 10; i++)
        send_frame(r, push_frame(i, 100));
    for (unsigned i = 0; i < 10; i++) {
        r->holds = 1;
        loopback_run_until(&r->l, r->placed == 2 * i + 1);
        loopback_run_idle(&r->l);
        ck_assert_uint_eq(r->got, i);
        ck_assert(sp_reader_is_held(&r->reader));
        r->holds = 0;
        sp_reader_resume(&r->reader);
        r->holds = 1;
        loopback_run_until(&r->l, r->got == i + 1);
    }
    close_reading(r);
}
END_TEST

START_TEST(test_refusal_after_a_hold)
{
    struct reading *r = open_reading();

    r->holds = 1;
    send_frame(r, push_frame(6, 100));
    loopback_run_until(&r->l, r->placed == 1);
    r->place_code = SP_E_STATE;
    sp_reader_resume(&r->reader);
    ck_assert_uint_eq(r->broken, 1);
    ck_assert_int_eq(r->error.code, SP_E_STATE);
    ck_assert_str_eq(r->error.text, "no place for round 6");
    ck_assert(!sp_reader_is_held(&r->reader));
    sp_reader_resume(&r->reader);
    ck_assert_uint_eq(r->placed, 2);
    close_reading(r);
}
END_TEST

START_TEST(test_finish_while_held)
{
    struct reading *r = open_reading();

    r->holds = 1;
    send_frame(r, push_frame(1, 100));
    loopback_run_until(&r->l, r->placed == 1);
    sp_reader_finish(&r->reader);
    ck_assert(!sp_reader_is_held(&r->reader));
    sp_reader_resume(&r->reader);
    ck_assert_uint_eq(r->placed, 1);
    close_reading(r);
}
END_TEST

/* --- broken ---------------------------------------------------------------------------------------------------------
 */

/* What is done to a good frame, and what is said of it. */
static const struct {
    size_t at; /* the byte that is changed */
    uint8_t flip;
    int code;
    const char *words;
} damage[] = {
    {0, 0x20, SP_E_PROTOCOL, "not a Signpost frame: it starts with bytes 73 47 4e 50, not \"SGNP\""},
    {4, 0x02, SP_E_UNSUPPORTED,
     "the other side speaks version 6 of Signpost's protocol, this one version 4; install the same release of Signpost "
     "on both"},
    {5, 0x80, SP_E_PROTOCOL, "unknown frame type 134"},
    {7, 0x80, SP_E_PROTOCOL, "PUSH frame with unknown flags 0x8000"},
    {15, 0xff, SP_E_PROTOCOL, "PUSH frame with 4278190091 control bytes; at most 40960 are allowed"},
    {31, 0xff, SP_E_PROTOCOL, "PUSH frame with 4278190180 bulk bytes; at most 65536 are allowed"},
    {8, 0x01, SP_E_CORRUPT, "PUSH frame: the checksum of its header does not match"},
    {36, 0x01, SP_E_CORRUPT, "PUSH frame: the checksum of its header does not match"},
    {41, 0x01, SP_E_CORRUPT, "PUSH frame: the checksum of its header does not match"},
    {51, 0x01, SP_E_CORRUPT, "PUSH frame: the checksum of its bulk bytes does not match"},
    {150, 0x80, SP_E_CORRUPT, "PUSH frame: the checksum of its bulk bytes does not match"},
};

/* One `broken`, with the right words, after the frames before it and none after it. */
START_TEST(test_damage)
{
    struct reading *r = open_reading();
    struct sp_buffer *bad = push_frame(3, 100);

    ck_assert_uint_eq(bad->bytes, 151);
    bad->data[damage[_i].at] ^= damage[_i].flip;
    send_frame(r, push_frame(1, 100));
    send_frame(r, bye_frame(2));
    send_frame(r, bad);
    send_frame(r, push_frame(4, 100));
    send_frame(r, bye_frame(5));
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_uint_eq(r->got, 2);
    ck_assert_int_eq(r->error.code, damage[_i].code);
    ck_assert_str_eq(r->error.text, damage[_i].words);
    loopback_run_idle(&r->l);
    sp_reader_filled(&r->reader); /* even if there were more */
    ck_assert_uint_eq(r->got, 2);
    ck_assert_uint_eq(r->l.count[EVENT_FAILED], 0); /* the stream is its owner's */
    close_reading(r);
}
END_TEST

/* Bulk that nobody wants may be read to a place that others read to as well: what lies there in the end is not looked
 * at, and the frames behind it are read as ever. */
START_TEST(test_discarded_bulk_is_not_checked)
{
    struct reading *r = open_reading();
    struct sp_buffer *damaged = push_frame(1, 3000);

    r->discards = true;
    damaged->data[damaged->bytes - 1] ^= 1;
    send_frame(r, damaged);
    loopback_run_until(&r->l, r->got == 1);
    r->discards = false;
    send_frame(r, push_frame(2, 50));
    loopback_run_until(&r->l, r->got == 2);
    ck_assert_uint_eq(r->broken, 0);
    damaged = push_frame(3, 50);
    damaged->data[damaged->bytes - 1] ^= 1;
    send_frame(r, damaged);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_int_eq(r->error.code, SP_E_CORRUPT);
    close_reading(r);
}
END_TEST

/* A frame whose checksums are right and whose control message is none. */
START_TEST(test_control_that_cannot_be_decoded)
{
    const struct sp_frame frame = {.type = SP_FRAME_COMMIT, .control_bytes = 4};
    struct reading *r = open_reading();
    uint8_t header[SP_FRAME_HEADER_BYTES];

    sp_frame_encode(&frame, "\xff\xff\xff\xff", NULL, header);
    loopback_peer_send(&r->l, header, sizeof header);
    loopback_peer_send(&r->l, "\xff\xff\xff\xff", 4);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_int_eq(r->error.code, SP_E_PROTOCOL);
    ck_assert_str_eq(r->error.text, "COMMIT frame: its control message cannot be decoded");
    ck_assert_uint_eq(r->got, 0);
    close_reading(r);
}
END_TEST

/* A length beyond the limit is refused when the header is there, before anything of that length is waited for. */
START_TEST(test_lengths_are_refused_at_once)
{
    struct reading *r = open_reading();
    uint8_t header[SP_FRAME_HEADER_BYTES] = {'S', 'G', 'N', 'P', 4, SP_FRAME_LAYOUT, [12] = 1, [14] = 0x10};

    loopback_peer_send(&r->l, header, sizeof header);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_str_eq(r->error.text, "LAYOUT frame with 1048577 control bytes; at most 1048576 are allowed");
    ck_assert_ptr_null(r->reader.control);
    close_reading(r);
}
END_TEST

/* A stranger may say 4 KiB and no more: a HELLO of the size of a layout is refused at its header. */
START_TEST(test_large_hello_is_refused_at_once)
{
    struct reading *r = open_reading();
    uint8_t header[SP_FRAME_HEADER_BYTES] = {'S', 'G', 'N', 'P', 4, SP_FRAME_HELLO, [12] = 1, [13] = 0x10};

    loopback_peer_send(&r->l, header, sizeof header);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_str_eq(r->error.text, "HELLO frame with 4097 control bytes; at most 4096 are allowed");
    ck_assert_ptr_null(r->reader.control);
    close_reading(r);
}
END_TEST

/* `header` sees every frame once, before its control bytes, `place` and `got`. */
START_TEST(test_header_sees_every_frame)
{
    struct reading *r = open_looking((enum sp_frame_type)0);
    uint8_t bytes[2000];
    size_t count, frames = some_frames(bytes, &count);

    r->check = check_some_frame;
    loopback_peer_send(&r->l, bytes, SP_FRAME_HEADER_BYTES - 1);
    loopback_run_until(&r->l, sp_stream_bytes_received(r->l.stream) == SP_FRAME_HEADER_BYTES - 1);
    ck_assert_uint_eq(r->headers, 0);
    loopback_peer_send(&r->l, bytes + SP_FRAME_HEADER_BYTES - 1, count - (SP_FRAME_HEADER_BYTES - 1));
    loopback_run_until(&r->l, r->got == frames);
    ck_assert_uint_eq(r->headers, frames);
    ck_assert_uint_eq(r->broken, 0);
    close_reading(r);
}
END_TEST

/* What `header` refuses is refused with its words when the header is there; for the rest nothing is allocated, and it
 * is not read. */
START_TEST(test_header_refuses_before_anything_is_allocated)
{
    struct reading *r = open_looking(SP_FRAME_LAYOUT);
    struct sp_buffer *layout = layout_frame(SP_TENSORS_MAX);
    char words[100];

    (void)snprintf(words, sizeof words, "no time for LAYOUT with %zu bytes", layout->bytes - SP_FRAME_HEADER_BYTES);
    send_frame(r, bare_frame(SP_FRAME_ALIVE, 0));
    loopback_peer_send(&r->l, layout->data, SP_FRAME_HEADER_BYTES);
    sp_buffer_release(layout);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_int_eq(r->error.code, SP_E_STATE);
    ck_assert_str_eq(r->error.text, words);
    ck_assert_ptr_null(r->reader.control);
    ck_assert_uint_eq(r->reader.control_room, 0);
    ck_assert_uint_eq(r->headers, 2);
    ck_assert_uint_eq(r->got, 1);
    close_reading(r);
}
END_TEST

/* `header` is not asked about what is beyond its type's limits anyway. */
START_TEST(test_header_comes_after_the_limits)
{
    struct reading *r = open_looking(SP_FRAME_HELLO);
    uint8_t header[SP_FRAME_HEADER_BYTES] = {'S', 'G', 'N', 'P', 4, SP_FRAME_HELLO, [12] = 1, [13] = 0x10};

    loopback_peer_send(&r->l, header, sizeof header);
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_int_eq(r->error.code, SP_E_PROTOCOL);
    ck_assert_uint_eq(r->headers, 0);
    close_reading(r);
}
END_TEST

/* `place` sees the control message already: how long an UPDATE's bulk must be follows from its votes. */
START_TEST(test_place_sees_the_control_message)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_UPDATE, .count = 8}, .voters = 255};
    struct reading *r = open_reading();

    send_frame(r, sp_codec_encode(&message, "12345678", 8));
    loopback_run_until(&r->l, r->got == 1);
    ck_assert_uint_eq(r->placed, 1);
    ck_assert_uint_eq(r->placed_voters, 255);
    close_reading(r);
}
END_TEST

START_TEST(test_place_refuses)
{
    struct reading *r = open_reading();

    r->place_code = SP_E_RANGE;
    send_frame(r, push_frame(7, 100));
    loopback_run_until(&r->l, r->broken == 1);
    ck_assert_int_eq(r->error.code, SP_E_RANGE);
    ck_assert_str_eq(r->error.text, "no place for round 7");
    ck_assert_uint_eq(r->got, 0);
    close_reading(r);
}
END_TEST

START_TEST(test_got_refuses)
{
    struct reading *r = open_reading();

    r->got_code = SP_E_MISMATCH;
    send_frame(r, layout_frame(3));
    send_frame(r, bye_frame(1));
    loopback_run_until(&r->l, r->broken == 1);
    loopback_run_idle(&r->l);
    ck_assert_int_eq(r->error.code, SP_E_MISMATCH);
    ck_assert_str_eq(r->error.text, "not wanted");
    ck_assert_uint_eq(r->got, 1);
    close_reading(r);
}
END_TEST

/* --- the end from within events --------------------------------------------------------------------------------------
 */

static const enum finish_at finish_places[] = {FINISH_IN_PLACE, FINISH_IN_GOT, FINISH_IN_BROKEN};

/* Finished within an event, the reader is silent, whatever that event answers and whatever is still to be read. */
START_TEST(test_finish_within_events)
{
    enum finish_at where = finish_places[_i / 4];
    struct reading *r = open_reading();
    struct sp_buffer *bad = push_frame(9, 100);

    r->finish_at = where;
    r->close_too = _i % 2 != 0;
    if (_i % 4 >= 2 && where == FINISH_IN_PLACE)
        r->place_code = SP_E_STATE;
    if (_i % 4 >= 2 && where == FINISH_IN_GOT)
        r->got_code = SP_E_STATE;
    if (where == FINISH_IN_BROKEN)
        bad->data[100] ^= 1;
    send_frame(r, bad);
    send_frame(r, layout_frame(3));
    loopback_run_until(&r->l, r->l.ended || r->broken > 0 || r->got > 0 || (where == FINISH_IN_PLACE && r->placed > 0));
    loopback_run_idle(&r->l);
    ck_assert_uint_eq(r->placed, 1);
    ck_assert_uint_eq(r->got, where == FINISH_IN_GOT);
    ck_assert_uint_eq(r->broken, where == FINISH_IN_BROKEN);
    close_reading(r);
}
END_TEST

/* A message that owns memory is in hand when its reader ends. */
START_TEST(test_finish_with_a_message_in_hand)
{
    struct reading *r = open_reading();

    r->finish_at = FINISH_IN_GOT;
    r->close_too = true;
    send_frame(r, layout_frame(5));
    loopback_run_until(&r->l, r->l.stream == NULL);
    ck_assert_uint_eq(r->got, 1);
    close_reading(r);
}
END_TEST

/* The peer goes in the middle of a frame: that is the stream's to say, and the reader leaves nothing behind. */
START_TEST(test_peer_goes_mid_frame)
{
    struct sp_buffer *frame = push_frame(1, 100);

    for (size_t count = 1; count < frame->bytes; count += 7) {
        struct reading *r = open_reading();

        loopback_peer_send(&r->l, frame->data, count);
        loopback_peer_close(&r->l);
        loopback_run_until(&r->l, r->l.count[EVENT_FAILED] == 1);
        ck_assert_int_eq(r->l.code, SP_E_CLOSED);
        ck_assert_uint_eq(r->got, 0);
        ck_assert_uint_eq(r->broken, 0);
        close_reading(r);
    }
    sp_buffer_release(frame);
}
END_TEST

START_TEST(test_finish_of_nothing)
{
    struct sp_reader reader = {0};

    sp_reader_finish(&reader);
    sp_reader_finish(&reader);
    ck_assert(!sp_reader_is_held(&reader));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("reader");

    tcase_add_test(tests, test_frames_cut_anywhere);
    tcase_add_test(tests, test_discarded_bulk_is_not_checked);
    tcase_add_test(tests, test_frames_byte_by_byte);
    tcase_add_test(tests, test_frames_at_once);
    tcase_add_test(tests, test_sizes);
    tcase_add_test(tests, test_hold);
    tcase_add_test(tests, test_hold_again_and_again);
    tcase_add_test(tests, test_refusal_after_a_hold);
    tcase_add_test(tests, test_finish_while_held);
    tcase_add_loop_test(tests, test_damage, 0, (int)UNIT_COUNT(damage));
    tcase_add_test(tests, test_control_that_cannot_be_decoded);
    tcase_add_test(tests, test_lengths_are_refused_at_once);
    tcase_add_test(tests, test_large_hello_is_refused_at_once);
    tcase_add_test(tests, test_header_sees_every_frame);
    tcase_add_test(tests, test_header_refuses_before_anything_is_allocated);
    tcase_add_test(tests, test_header_comes_after_the_limits);
    tcase_add_test(tests, test_place_sees_the_control_message);
    tcase_add_test(tests, test_place_refuses);
    tcase_add_test(tests, test_got_refuses);
    tcase_add_loop_test(tests, test_finish_within_events, 0, 4 * (int)UNIT_COUNT(finish_places));
    tcase_add_test(tests, test_finish_with_a_message_in_hand);
    tcase_add_test(tests, test_peer_goes_mid_frame);
    tcase_add_test(tests, test_finish_of_nothing);
    return unit_run(suite_create("reader"), tests);
}
