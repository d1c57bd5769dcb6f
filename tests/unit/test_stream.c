/* The stream over real sockets on loopback: exact reads, the bounded queue, and every way to an end. */
#include "common/stream.h"
#include "loopback.h"
#include "stream_cases.h"
#include "tls_made.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define QUEUE_MAX 100000

/* --- reading -------------------------------------------------------------------------------------------------------
 */

/* However large a read is, it is filled to the byte, and once. */
START_TEST(test_reads_are_exact)
{
    static const size_t sizes[] = {1, 2, 40, 1000, 65536, 3, 200000, 1};
    struct loopback l;
    size_t from = 0;

    loopback_open(&l, QUEUE_MAX);
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        uint8_t *got = unit_alloc(sizes[i]);
        struct sp_buffer *sent = loopback_buffer(sizes[i] + 10, from);

        sp_stream_read(l.stream, got, sizes[i]);
        loopback_run_idle(&l);
        ck_assert_uint_eq(l.count[EVENT_FILLED], i);
        loopback_peer_send(&l, sent->data, sizes[i]);
        loopback_run_until(&l, l.count[EVENT_FILLED] > i);
        loopback_run_idle(&l);
        ck_assert_uint_eq(l.count[EVENT_FILLED], i + 1);
        loopback_expect_bytes(got, sizes[i], from);
        from += sizes[i];
        ck_assert_uint_eq(sp_stream_bytes_received(l.stream), from);
        sp_buffer_release(sent);
        free(got);
    }
    loopback_close(&l);
}
END_TEST

/* 20 bytes that come in two parts, with others behind them that nobody has asked for. */
START_TEST(test_reads_cut_anywhere)
{
    struct sp_buffer *sent = loopback_buffer(25, 0);

    for (size_t cut = 1; cut < 20; cut++) {
        uint8_t *got = unit_alloc(20);
        struct loopback l;

        loopback_open(&l, QUEUE_MAX);
        sp_stream_read(l.stream, got, 20);
        loopback_peer_send(&l, sent->data, cut);
        loopback_run_until(&l, sp_stream_bytes_received(l.stream) == cut);
        ck_assert_uint_eq(l.count[EVENT_FILLED], 0);
        loopback_peer_send(&l, sent->data + cut, 25 - cut);
        loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
        loopback_expect_bytes(got, 20, 0);
        loopback_run_idle(&l);
        ck_assert_uint_eq(sp_stream_bytes_received(l.stream), 20);
        ck_assert_uint_eq(loopback_unread(&l, 5), 5);
        sp_stream_read(l.stream, got, 5);
        loopback_run_until(&l, l.count[EVENT_FILLED] == 2);
        loopback_expect_bytes(got, 5, 20);
        free(got);
        loopback_close(&l);
    }
    sp_buffer_release(sent);
}
END_TEST

/* What nobody asks for stays in the socket: TCP then holds the peer back. */
START_TEST(test_nothing_is_read_unasked)
{
    struct sp_buffer *sent = loopback_buffer(100, 0);
    uint8_t got[60];
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    loopback_peer_send(&l, sent->data, 100);
    ck_assert_uint_eq(loopback_unread(&l, 100), 100);
    loopback_run_idle(&l);
    ck_assert_uint_eq(loopback_unread(&l, 100), 100);
    sp_stream_read(l.stream, got, 60);
    loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
    loopback_run_idle(&l);
    ck_assert_uint_eq(loopback_unread(&l, 0), 40);
    loopback_expect_bytes(got, 60, 0);
    sp_buffer_release(sent);
    loopback_close(&l);
}
END_TEST

/* The next read is asked for within `filled`, as a reader of frames does. */
START_TEST(test_reads_from_within_filled)
{
    struct sp_buffer *sent = loopback_buffer(5000, 0);
    struct stream_chain chain = {.bytes = 5000, .longest = 7};
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    stream_chain_begin(&l, &chain);
    loopback_peer_send(&l, sent->data, 5000);
    loopback_run_until(&l, chain.at + chain.next > chain.bytes);
    ck_assert_uint_eq(sp_stream_bytes_received(l.stream), chain.at);
    loopback_expect_bytes(chain.got, chain.at, 0);
    sp_buffer_release(sent);
    loopback_close(&l);
}
END_TEST

START_TEST(test_read_of_nothing_aborts)
{
    struct loopback l;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    sp_stream_read(l.stream, &byte, 0);
}
END_TEST

START_TEST(test_second_read_aborts)
{
    struct loopback l;
    uint8_t bytes[2];

    loopback_open(&l, QUEUE_MAX);
    sp_stream_read(l.stream, bytes, 1);
    sp_stream_read(l.stream, bytes + 1, 1);
}
END_TEST

/* --- writing -------------------------------------------------------------------------------------------------------
 */

/* What the socket takes at once leaves at once: no event, no queue, no hold on the buffer. */
START_TEST(test_send)
{
    struct loopback l;
    uint8_t got[1100];

    loopback_open(&l, QUEUE_MAX);
    for (size_t i = 0; i < 3; i++) {
        static const size_t sizes[] = {1000, 1, 99};
        struct sp_buffer *buffer = loopback_buffer(sizes[i], i == 0 ? 0 : i == 1 ? 1000 : 1001);

        ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_OK);
        ck_assert_uint_eq(buffer->holders, 1);
        ck_assert_uint_eq(sp_stream_queued(l.stream), 0);
        sp_buffer_release(buffer);
    }
    loopback_peer_receive(&l, got, sizeof got);
    loopback_expect_bytes(got, sizeof got, 0);
    ck_assert_uint_eq(l.count[EVENT_DRAINED], 0);
    loopback_close(&l);
}
END_TEST

/* Sends numbered buffers until one is refused; answers how many bytes were taken. */
static size_t fill_queue(struct loopback *l, size_t bytes, size_t taken)
{
    for (;;) {
        struct sp_buffer *buffer = loopback_buffer(bytes, taken);
        size_t queued = sp_stream_queued(l->stream);
        int rc = sp_stream_send(l->stream, buffer);
        uint32_t holders = buffer->holders;

        sp_buffer_release(buffer);
        if (rc != SP_OK) {
            ck_assert_int_eq(rc, SP_E_BACKLOG);
            ck_assert_uint_eq(holders, 1);
            ck_assert_uint_eq(sp_stream_queued(l->stream), queued);
            return taken;
        }
        ck_assert_uint_eq(holders, sp_stream_queued(l->stream) > 0 ? 2 : 1);
        taken += bytes;
    }
}

/* A peer that does not read: the queue grows to its limit, what does not fit is refused whole, and when the peer reads
 * at last it gets exactly what was taken. */
START_TEST(test_backlog)
{
    uint8_t *got = unit_alloc(2 * QUEUE_MAX);
    struct loopback l;
    size_t taken;

    loopback_open(&l, QUEUE_MAX);
    taken = fill_queue(&l, 5000, 0);
    ck_assert_uint_le(sp_stream_queued(l.stream), QUEUE_MAX);
    ck_assert_uint_gt(sp_stream_queued(l.stream), QUEUE_MAX - 5000);
    ck_assert_uint_gt(taken, QUEUE_MAX - 5000);
    taken = fill_queue(&l, 1, taken);
    ck_assert_uint_eq(sp_stream_queued(l.stream), QUEUE_MAX);
    ck_assert_uint_lt(taken, 2 * QUEUE_MAX);
    ck_assert_uint_eq(l.count[EVENT_DRAINED], 0);
    loopback_peer_receive(&l, got, taken);
    loopback_expect_bytes(got, taken, 0);
    loopback_run_until(&l, sp_stream_queued(l.stream) == 0);
    ck_assert_uint_eq(l.count[EVENT_DRAINED], 1);

    /* There is room again, and the order is kept. */
    taken = fill_queue(&l, 5000, taken) - taken;
    loopback_peer_receive(&l, got, taken);
    loopback_run_until(&l, sp_stream_queued(l.stream) == 0);
    ck_assert_uint_eq(l.count[EVENT_DRAINED], 2);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 0);
    free(got);
    loopback_close(&l);
}
END_TEST

START_TEST(test_limit_of_the_queue_changes)
{
    struct loopback l;
    size_t taken;

    loopback_open(&l, 1000);
    taken = fill_queue(&l, 1000, 0);
    ck_assert_uint_le(sp_stream_queued(l.stream), 1000);
    sp_stream_set_queue_max(l.stream, 20000);
    taken = fill_queue(&l, 1, fill_queue(&l, 1000, taken));
    ck_assert_uint_eq(sp_stream_queued(l.stream), 20000);
    sp_stream_set_queue_max(l.stream, 500);
    ck_assert_uint_eq(fill_queue(&l, 1, taken), taken);
    loopback_close(&l);
}
END_TEST

/* One frame larger than the queue may ever be: it goes when nothing waits before it. */
START_TEST(test_large_frame)
{
    struct sp_buffer *buffer = loopback_buffer(4 * QUEUE_MAX, 0);
    uint8_t *got = unit_alloc(buffer->bytes);
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_OK);
    ck_assert_uint_gt(sp_stream_queued(l.stream), QUEUE_MAX);
    ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_E_BACKLOG);
    loopback_peer_receive(&l, got, buffer->bytes);
    loopback_expect_bytes(got, buffer->bytes, 0);
    loopback_run_until(&l, sp_stream_queued(l.stream) == 0);
    ck_assert_uint_eq(buffer->holders, 1);
    sp_buffer_release(buffer);
    free(got);
    loopback_close(&l);
}
END_TEST

/* Closed with frames in the queue: they are let go. */
START_TEST(test_close_drops_the_queue)
{
    struct sp_buffer *buffer = loopback_buffer(3000, 0);
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    while (sp_stream_send(l.stream, buffer) == SP_OK)
        ;
    ck_assert_uint_gt(buffer->holders, 10);
    loopback_close_stream(&l);
    ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_E_CLOSED);
    loopback_run_until(&l, l.stream == NULL);
    ck_assert_uint_eq(buffer->holders, 1);
    sp_buffer_release(buffer);
    loopback_close(&l);
}
END_TEST

/* --- connecting ----------------------------------------------------------------------------------------------------
 */

START_TEST(test_connect)
{
    struct sp_buffer *buffer = loopback_buffer(10, 0);
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char expected[64];
    struct loopback l;
    uint8_t got[10];

    loopback_open_connecting(&l, QUEUE_MAX);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 0);
    loopback_run_until(&l, l.count[EVENT_CONNECTED] == 1);
    ck_assert_int_eq(getsockname(l.peer, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_str_eq(sp_stream_peer(l.stream), expected);
    ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_OK);
    loopback_peer_receive(&l, got, sizeof got);
    loopback_expect_bytes(got, sizeof got, 0);
    sp_stream_read(l.stream, got, sizeof got);
    loopback_peer_send(&l, buffer->data, 10);
    loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 1);
    sp_buffer_release(buffer);
    loopback_close(&l);
}
END_TEST

START_TEST(test_accept_knows_the_peer)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char expected[64];
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    ck_assert_int_eq(getsockname(l.peer, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_str_eq(sp_stream_peer(l.stream), expected);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 0);
    loopback_close(&l);
}
END_TEST

START_TEST(test_connection_refused)
{
    struct sockaddr_in address;
    int holder = loopback_bound_socket(&address, false);
    struct loopback l;

    loopback_create(&l, QUEUE_MAX);
    ck_assert_str_eq(sp_stream_peer(l.stream), "unknown address");
    ck_assert_int_eq(sp_stream_connect(l.stream, (const struct sockaddr *)&address, NULL), SP_OK);
    loopback_run_until(&l, l.count[EVENT_FAILED] > 0);
    loopback_run_idle(&l);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 1);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 0);
    ck_assert_int_eq(l.code, SP_E_IO);
    ck_assert_str_eq(l.words, "connection refused");
    (void)close(holder);
    loopback_close(&l);
}
END_TEST

/* What cannot even be tried is an error of the call, and no event. */
START_TEST(test_connect_to_no_address)
{
    const struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct sp_error error = {0};
    struct loopback l;

    loopback_create(&l, QUEUE_MAX);
    ck_assert_int_eq(sp_stream_connect(l.stream, (const struct sockaddr *)&address, &error), SP_E_IO);
    ck_assert_str_eq(error.text, "cannot connect to unknown address: invalid argument");
    loopback_close(&l);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 0);
}
END_TEST

/* The connection that was announced is gone before it is accepted. */
START_TEST(test_accept_of_nothing)
{
    struct sockaddr_in address;
    struct sp_error error = {0};
    struct loopback l;
    uv_tcp_t listener;

    loopback_create(&l, QUEUE_MAX);
    ck_assert_int_eq(uv_tcp_init(&l.loop, &listener), 0);
    ck_assert_int_eq(uv_tcp_open(&listener, loopback_bound_socket(&address, true)), 0);
    ck_assert_int_eq(sp_stream_accept(l.stream, (uv_stream_t *)&listener, &error), SP_E_IO);
    ck_assert_str_eq(error.text, "cannot accept a connection: resource temporarily unavailable");
    uv_close((uv_handle_t *)&listener, NULL);
    loopback_close(&l);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------------------------------
 */

/* The peer ends in the middle of a read, before its first byte, after its last. */
START_TEST(test_peer_closes)
{
    static const size_t sent[] = {0, 1, 7};
    struct sp_buffer *buffer = loopback_buffer(7, 0);

    for (size_t i = 0; i < UNIT_COUNT(sent); i++) {
        struct loopback l;
        uint8_t got[8];

        loopback_open(&l, QUEUE_MAX);
        sp_stream_read(l.stream, got, sizeof got);
        loopback_peer_send(&l, buffer->data, sent[i]);
        loopback_peer_close(&l);
        loopback_run_until(&l, l.count[EVENT_FAILED] > 0);
        loopback_run_idle(&l);
        ck_assert_uint_eq(l.count[EVENT_FAILED], 1);
        ck_assert_uint_eq(l.count[EVENT_FILLED], 0);
        ck_assert_int_eq(l.code, SP_E_CLOSED);
        ck_assert_str_eq(l.words, "the other side closed the connection");
        ck_assert_uint_eq(sp_stream_bytes_received(l.stream), sent[i]);
        ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_E_CLOSED);
        ck_assert_uint_eq(buffer->holders, 1);
        loopback_close(&l);
    }
    sp_buffer_release(buffer);
}
END_TEST

/* All that the peer sent before its end is delivered first. */
START_TEST(test_peer_closes_after_a_whole_read)
{
    struct sp_buffer *buffer = loopback_buffer(8, 0);
    struct loopback l;
    uint8_t got[8];

    loopback_open(&l, QUEUE_MAX);
    loopback_peer_send(&l, buffer->data, 8);
    loopback_peer_close(&l);
    sp_stream_read(l.stream, got, sizeof got);
    loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
    loopback_expect_bytes(got, sizeof got, 0);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 0);
    sp_stream_read(l.stream, got, 1);
    loopback_run_until(&l, l.count[EVENT_FAILED] == 1);
    ck_assert_int_eq(l.code, SP_E_CLOSED);
    sp_buffer_release(buffer);
    loopback_close(&l);
}
END_TEST

START_TEST(test_peer_resets)
{
    struct loopback l;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    sp_stream_read(l.stream, &byte, 1);
    loopback_peer_reset(&l);
    loopback_run_until(&l, l.count[EVENT_FAILED] > 0);
    loopback_run_idle(&l);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 1);
    ck_assert_int_eq(l.code, SP_E_IO);
    ck_assert_str_eq(l.words, "connection reset by peer");
    loopback_close(&l);
}
END_TEST

/* A queue that can never leave: the failure comes once, though every queued frame fails, and frees them. */
START_TEST(test_writes_fail)
{
    struct sp_buffer *buffer = loopback_buffer(3000, 0);
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    while (sp_stream_send(l.stream, buffer) == SP_OK)
        ;
    loopback_peer_reset(&l);
    loopback_run_until(&l, l.count[EVENT_FAILED] > 0);
    loopback_run_idle(&l);
    ck_assert_uint_eq(l.count[EVENT_FAILED], 1);
    ck_assert_uint_eq(l.count[EVENT_DRAINED], 0);
    ck_assert_int_eq(l.code, SP_E_IO);
    loopback_close(&l);
    ck_assert_uint_eq(buffer->holders, 1);
    sp_buffer_release(buffer);
}
END_TEST

static void read_byte(struct loopback *l, enum loopback_event event)
{
    if (event == EVENT_FILLED)
        sp_stream_read(l->stream, l->user, 1);
}

/* A peer that goes leaves its last words, and a queue that cannot be written any more. The words are read first. */
START_TEST(test_last_words_of_a_peer_that_goes)
{
    struct sp_buffer *words = loopback_buffer(300, 0);
    struct loopback l;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    l.hook = read_byte;
    l.user = &byte;
    (void)fill_queue(&l, 5000, 0);
    loopback_peer_send(&l, words->data, words->bytes);
    (void)loopback_unread(&l, words->bytes);
    sp_stream_read(l.stream, &byte, 1);
    loopback_peer_reset(&l);
    loopback_run_until(&l, l.count[EVENT_FAILED] == 1);
    ck_assert_uint_eq(l.count[EVENT_FILLED], words->bytes);
    ck_assert_uint_eq(byte, loopback_byte(words->bytes - 1));
    sp_buffer_release(words);
    loopback_close(&l);
}
END_TEST

/* After a failure a read is not begun, and a finish is a close. */
START_TEST(test_after_a_failure)
{
    struct loopback l;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    sp_stream_read(l.stream, &byte, 1);
    loopback_peer_close(&l);
    loopback_run_until(&l, l.count[EVENT_FAILED] == 1);
    loopback_finish_stream(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
}
END_TEST

/* Nor is there anything to wait for then, though the peer could still read the queue. */
START_TEST(test_finish_after_a_failure_is_a_close)
{
    struct loopback l;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    (void)fill_queue(&l, 5000, 0);
    sp_stream_read(l.stream, &byte, 1);
    loopback_peer_half_close(&l);
    loopback_run_until(&l, l.count[EVENT_FAILED] == 1);
    loopback_finish_stream(&l);
    ck_assert(uv_is_closing(loopback_handle(&l)));
    loopback_close(&l);
}
END_TEST

/* --- the end, from anywhere -----------------------------------------------------------------------------------------
 */

struct ending {
    enum loopback_event event;
    bool finish;
};

static const struct ending endings[] = {{EVENT_CONNECTED, false}, {EVENT_CONNECTED, true}, {EVENT_FILLED, false},
                                        {EVENT_FILLED, true},     {EVENT_DRAINED, false},  {EVENT_DRAINED, true},
                                        {EVENT_FAILED, false},    {EVENT_FAILED, true}};

static void end_at_event(struct loopback *l, enum loopback_event event)
{
    const struct ending *ending = l->user;

    if (event != ending->event)
        return;
    if (ending->finish)
        loopback_finish_stream(l);
    else
        loopback_close_stream(l);
    sp_stream_finish(l->stream); /* again, and the other: nothing more comes of it */
    if (!ending->finish)
        sp_stream_close(l->stream);
}

/* Close or finish from within each event, while the others are on their way as well: only `closed` follows. */
START_TEST(test_end_within_events)
{
    struct sp_buffer *buffer = loopback_buffer(3000, 0);
    struct ending ending = endings[_i];
    uint8_t *got = unit_alloc(QUEUE_MAX * 2);
    struct loopback l;
    size_t sent = 0;
    uint8_t bytes[2];

    loopback_open_connecting(&l, QUEUE_MAX);
    l.hook = end_at_event;
    l.user = &ending;
    loopback_run_until(&l, l.count[EVENT_CONNECTED] == 1);
    if (ending.event != EVENT_CONNECTED) {
        while (sp_stream_send(l.stream, buffer) == SP_OK)
            sent += 3000;
        sp_stream_read(l.stream, bytes, ending.event == EVENT_FILLED ? 1 : 2);
        loopback_peer_send(&l, buffer->data, 1);
        if (ending.event == EVENT_FAILED)
            loopback_peer_half_close(&l);
        if (ending.event == EVENT_DRAINED)
            loopback_peer_receive(&l, got, sent);
        loopback_run_until(&l, l.count[ending.event] == 1);
    }
    loopback_peer_close(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
    ck_assert_uint_eq(l.count[ending.event], 1);
    ck_assert_uint_eq(buffer->holders, 1);
    sp_buffer_release(buffer);
    free(got);
}
END_TEST

START_TEST(test_close_while_connecting)
{
    struct loopback l;

    loopback_open_connecting(&l, QUEUE_MAX);
    loopback_close_stream(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_peer_expect_end(&l);
    loopback_close(&l);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 0);
}
END_TEST

/* What was sent before there is a connection leaves with it. */
START_TEST(test_finish_while_connecting)
{
    struct sp_buffer *buffer = loopback_buffer(100, 0);
    struct loopback l;
    uint8_t got[100];

    loopback_open_connecting(&l, QUEUE_MAX);
    ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_OK);
    loopback_finish_stream(&l);
    loopback_peer_receive(&l, got, sizeof got);
    loopback_expect_bytes(got, sizeof got, 0);
    loopback_peer_expect_end(&l);
    loopback_peer_close(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
    ck_assert_uint_eq(l.count[EVENT_CONNECTED], 0);
    sp_buffer_release(buffer);
}
END_TEST

/* Nobody is there, and nobody wants to know any more. */
START_TEST(test_finish_before_a_refusal)
{
    struct sockaddr_in address;
    int holder = loopback_bound_socket(&address, false);
    struct loopback l;

    loopback_create(&l, QUEUE_MAX);
    ck_assert_int_eq(sp_stream_connect(l.stream, (const struct sockaddr *)&address, NULL), SP_OK);
    loopback_finish_stream(&l);
    loopback_run_until(&l, l.stream == NULL);
    (void)close(holder);
    loopback_close(&l);
}
END_TEST

/* --- the orderly end ------------------------------------------------------------------------------------------------
 */

/* A peer sent what nobody has read. Closing would reset the connection and take the last words with it. */
START_TEST(test_finish_with_unread_bytes)
{
    struct sp_buffer *junk = loopback_buffer(20000, 0), *last = loopback_buffer(100, 7);
    struct loopback l;
    uint8_t got[100];

    loopback_open(&l, QUEUE_MAX);
    loopback_peer_send(&l, junk->data, junk->bytes);
    ck_assert_uint_gt(loopback_unread(&l, 1000), 0);
    ck_assert_int_eq(sp_stream_send(l.stream, last), SP_OK);
    loopback_finish_stream(&l);
    ck_assert_int_eq(sp_stream_send(l.stream, last), SP_E_CLOSED);
    loopback_run_idle(&l);
    loopback_peer_send(&l, junk->data, junk->bytes); /* still talking */
    loopback_peer_receive(&l, got, sizeof got);
    loopback_expect_bytes(got, sizeof got, 7);
    loopback_peer_expect_end(&l);
    ck_assert_ptr_nonnull(l.stream);
    loopback_peer_close(&l);
    loopback_run_until(&l, l.stream == NULL);
    sp_buffer_release(junk);
    sp_buffer_release(last);
    loopback_close(&l);
}
END_TEST

/* Everything that is queued leaves first, however slowly the peer reads; it may have said its own end before. */
START_TEST(test_finish_with_a_queue)
{
    uint8_t *got = unit_alloc(2 * QUEUE_MAX);
    struct loopback l;
    size_t taken;
    uint8_t byte;

    loopback_open(&l, QUEUE_MAX);
    taken = fill_queue(&l, 5000, 0);
    if (_i == 1)
        sp_stream_read(l.stream, &byte, 1);
    loopback_finish_stream(&l);
    if (_i == 2)
        loopback_peer_half_close(&l);
    loopback_run_idle(&l);
    loopback_peer_receive(&l, got, taken);
    loopback_expect_bytes(got, taken, 0);
    loopback_peer_expect_end(&l);
    if (_i != 2)
        loopback_peer_close(&l);
    loopback_run_until(&l, l.stream == NULL);
    free(got);
    loopback_close(&l);
}
END_TEST

/* The peer goes away while the last bytes wait: closed, without another word. */
START_TEST(test_finish_to_a_peer_that_resets)
{
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    (void)fill_queue(&l, 5000, 0);
    loopback_finish_stream(&l);
    loopback_run_idle(&l);
    loopback_peer_reset(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
}
END_TEST

static void stop_timer(uv_handle_t *handle, void *arg)
{
    if (handle->type == UV_TIMER)
        ck_assert_int_eq(uv_timer_stop((uv_timer_t *)handle), 0);
}

/* The peer said its end, and then went without reading. That is seen at once: the timer is stopped, so that only the
 * failed write can end it. */
START_TEST(test_finish_to_a_peer_that_goes)
{
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    (void)fill_queue(&l, 5000, 0);
    loopback_finish_stream(&l);
    loopback_peer_half_close(&l);
    loopback_run_idle(&l);
    ck_assert_ptr_nonnull(l.stream);
    uv_walk(&l.loop, stop_timer, NULL);
    loopback_peer_reset(&l);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
}
END_TEST

static void hasten(uv_handle_t *handle, void *arg)
{
    uv_timer_t *timer = (uv_timer_t *)handle;
    unsigned *timers = arg;

    if (handle->type != UV_TIMER || !uv_is_active(handle))
        return;
    ck_assert_uint_le(uv_timer_get_due_in(timer), 3000);
    ck_assert_uint_gt(uv_timer_get_due_in(timer), 1000);
    uv_timer_set_repeat(timer, 1);
    ck_assert_int_eq(uv_timer_again(timer), 0);
    (*timers)++;
}

/* A peer that never ends, whether it reads or not, is not waited for without end. (The timer is hastened, not waited
 * for.) */
START_TEST(test_finish_does_not_wait_for_ever)
{
    unsigned timers = 0;
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    if (_i == 1) {
        (void)fill_queue(&l, 5000, 0);
    }
    loopback_finish_stream(&l);
    loopback_run_idle(&l);
    ck_assert_ptr_nonnull(l.stream);
    uv_walk(&l.loop, hasten, &timers);
    ck_assert_uint_eq(timers, 1);
    loopback_run_until(&l, l.stream == NULL);
    loopback_close(&l);
}
END_TEST

START_TEST(test_close_after_finish)
{
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    loopback_finish_stream(&l);
    loopback_run_idle(&l);
    ck_assert_ptr_nonnull(l.stream);
    loopback_close(&l);
}
END_TEST

/* An owner that does not care for `closed` and `drained` may leave them out. */
static void ignore_failure(void *owner, int code, const char *words)
{
}

START_TEST(test_events_that_may_be_missing)
{
    static const struct sp_stream_events few = {.failed = ignore_failure};
    struct sockaddr_in address;
    struct sp_buffer *buffer = loopback_buffer(100, 0);
    int listener = loopback_bound_socket(&address, true), peer;
    uint8_t got[100];
    uv_loop_t loop;
    struct sp_stream *stream;

    ck_assert_int_eq(uv_loop_init(&loop), 0);
    stream = sp_stream_create(&loop, &few, NULL, QUEUE_MAX);
    ck_assert_int_eq(sp_stream_connect(stream, (const struct sockaddr *)&address, NULL), SP_OK);
    ck_assert_int_eq(sp_stream_send(stream, buffer), SP_OK); /* queued until there is a connection */
    ck_assert_uint_eq(sp_stream_queued(stream), 100);
    peer = accept(listener, NULL, NULL);
    sp_stream_close(stream);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_uint_eq(buffer->holders, 1);
    ck_assert_int_eq(recv(peer, got, sizeof got, 0), 0);
    sp_buffer_release(buffer);
    (void)close(peer);
    (void)close(listener);
}
END_TEST

static void add_ends(TCase *tests)
{
    tcase_add_loop_test(tests, test_end_within_events, 0, (int)UNIT_COUNT(endings));
    tcase_add_test(tests, test_close_while_connecting);
    tcase_add_test(tests, test_finish_while_connecting);
    tcase_add_test(tests, test_finish_before_a_refusal);
    tcase_add_test(tests, test_finish_with_unread_bytes);
    tcase_add_loop_test(tests, test_finish_with_a_queue, 0, 3);
    tcase_add_test(tests, test_finish_to_a_peer_that_resets);
    tcase_add_test(tests, test_finish_to_a_peer_that_goes);
    tcase_add_loop_test(tests, test_finish_does_not_wait_for_ever, 0, 2);
    tcase_add_test(tests, test_close_after_finish);
    tcase_add_test(tests, test_events_that_may_be_missing);
}

int main(void)
{
    TCase *tests = tcase_create("stream");
    int rc;

    tls_made_begin();
    (void)signal(SIGPIPE, SIG_IGN);
    tcase_add_test(tests, test_reads_are_exact);
    tcase_add_test(tests, test_reads_cut_anywhere);
    tcase_add_test(tests, test_nothing_is_read_unasked);
    tcase_add_test(tests, test_reads_from_within_filled);
    tcase_add_test_raise_signal(tests, test_read_of_nothing_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, test_second_read_aborts, SIGABRT);
    tcase_add_test(tests, test_send);
    tcase_add_test(tests, test_backlog);
    tcase_add_test(tests, test_limit_of_the_queue_changes);
    tcase_add_test(tests, test_large_frame);
    tcase_add_test(tests, test_close_drops_the_queue);
    tcase_add_test(tests, test_connect);
    tcase_add_test(tests, test_accept_knows_the_peer);
    tcase_add_test(tests, test_connection_refused);
    tcase_add_test(tests, test_connect_to_no_address);
    tcase_add_test(tests, test_accept_of_nothing);
    tcase_add_test(tests, test_peer_closes);
    tcase_add_test(tests, test_peer_closes_after_a_whole_read);
    tcase_add_test(tests, test_peer_resets);
    tcase_add_test(tests, test_writes_fail);
    tcase_add_test(tests, test_last_words_of_a_peer_that_goes);
    tcase_add_test(tests, test_after_a_failure);
    tcase_add_test(tests, test_finish_after_a_failure_is_a_close);
    stream_add_hold(tests);
    stream_add_tls(tests);
    add_ends(tests);
    rc = unit_run(suite_create("stream"), tests);
    tls_made_end();
    return rc;
}
