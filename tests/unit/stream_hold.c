/* Frames that leave together, and reading that pauses. */
#include "loopback.h"
#include "stream_cases.h"

#include <sys/socket.h>

#define QUEUE_MAX 100000
#define FRAME 100u

/* Bytes of the stream that the peer's socket holds. */
static size_t arrived(const struct loopback *l)
{
    uint8_t bytes[4096];
    ssize_t n = recv(l->peer, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

    return n > 0 ? (size_t)n : 0;
}

static int hold(struct loopback *l, size_t k)
{
    struct sp_buffer *buffer = loopback_buffer(FRAME, k * FRAME);
    int rc = sp_stream_hold(l->stream, buffer);

    sp_buffer_release(buffer);
    return rc;
}

/* Nothing leaves until there are more than may be held, or a frame that is sent, or a flush; and in order. */
START_TEST(test_held_frames_leave_together)
{
    uint8_t got[8 * FRAME];
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    for (size_t k = 0; k < SP_STREAM_HELD_MAX; k++)
        ck_assert_int_eq(hold(&l, k), SP_OK);
    loopback_run_idle(&l);
    ck_assert_uint_eq(arrived(&l), 0);
    ck_assert_int_eq(hold(&l, SP_STREAM_HELD_MAX), SP_OK); /* one too many: those before it leave */
    ck_assert_uint_eq(arrived(&l), SP_STREAM_HELD_MAX * FRAME);
    ck_assert_int_eq(sp_stream_flush(l.stream), SP_OK);
    ck_assert_uint_eq(arrived(&l), (SP_STREAM_HELD_MAX + 1) * FRAME);
    ck_assert_int_eq(hold(&l, SP_STREAM_HELD_MAX + 1), SP_OK);
    if (_i == 0) {
        struct sp_buffer *last = loopback_buffer(FRAME, (SP_STREAM_HELD_MAX + 2) * FRAME);

        ck_assert_int_eq(sp_stream_send(l.stream, last), SP_OK);
        ck_assert_uint_eq(last->holders, 1);
        sp_buffer_release(last);
    } else {
        ck_assert_int_eq(hold(&l, SP_STREAM_HELD_MAX + 2), SP_OK);
        loopback_finish_stream(&l);
    }
    loopback_peer_receive(&l, got, (SP_STREAM_HELD_MAX + 3) * FRAME);
    loopback_expect_bytes(got, (SP_STREAM_HELD_MAX + 3) * FRAME, 0);
    loopback_close(&l);
}
END_TEST

/* A socket that takes a part of them: the rest waits in the queue, wherever it was cut, and nothing is lost. */
START_TEST(test_held_frames_wait_in_the_queue)
{
    const size_t bytes = 33333;
    uint8_t *got = unit_alloc(40 * bytes);
    struct loopback l;
    size_t taken = 0;
    int rc = SP_OK;

    loopback_open(&l, 40 * bytes);
    while (rc == SP_OK && sp_stream_queued(l.stream) < 8 * bytes) {
        struct sp_buffer *buffer = loopback_buffer(bytes, taken);

        rc = sp_stream_hold(l.stream, buffer);
        sp_buffer_release(buffer);
        taken += bytes;
    }
    ck_assert_int_eq(rc, SP_OK);
    ck_assert_int_eq(sp_stream_flush(l.stream), SP_OK);
    loopback_peer_receive(&l, got, taken);
    loopback_expect_bytes(got, taken, 0);
    loopback_run_until(&l, sp_stream_queued(l.stream) == 0);
    free(got);
    loopback_close(&l);
}
END_TEST

/* Those that do not fit into the queue are refused together; a stream that ends lets go of those it holds. */
START_TEST(test_held_frames_are_let_go)
{
    struct sp_buffer *buffer = loopback_buffer(20000, 0);
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    while (sp_stream_queued(l.stream) + buffer->bytes <= QUEUE_MAX)
        ck_assert_int_eq(sp_stream_send(l.stream, buffer), SP_OK);
    for (unsigned k = 0; k < 2; k++)
        ck_assert_int_eq(sp_stream_hold(l.stream, buffer), SP_OK);
    if (_i == 0) {
        uint32_t holders = buffer->holders;

        ck_assert_int_eq(sp_stream_flush(l.stream), SP_E_BACKLOG);
        ck_assert_uint_eq(buffer->holders, holders - 2);
        ck_assert_int_eq(sp_stream_flush(l.stream), SP_OK);
    }
    loopback_close_stream(&l);
    ck_assert_int_eq(sp_stream_hold(l.stream, buffer), SP_E_CLOSED);
    loopback_run_until(&l, l.stream == NULL);
    ck_assert_uint_eq(buffer->holders, 1);
    sp_buffer_release(buffer);
    loopback_close(&l);
}
END_TEST

/* The other side was gone when they were to leave: what it said last is read, and then the end. */
START_TEST(test_held_frames_meet_a_reset)
{
    struct sp_buffer *sent = loopback_buffer(50, 0);
    uint8_t got[50];
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    loopback_peer_send(&l, sent->data, 50);
    ck_assert_uint_eq(loopback_unread(&l, 50), 50);
    loopback_peer_reset(&l);
    for (size_t k = 0; k < 3; k++)
        ck_assert_int_eq(hold(&l, k), SP_OK);
    ck_assert_int_eq(sp_stream_flush(l.stream), SP_E_CLOSED);
    ck_assert_int_eq(hold(&l, 3), SP_E_CLOSED);
    ck_assert_int_eq(sp_stream_send(l.stream, sent), SP_E_CLOSED);
    ck_assert_int_eq(sp_stream_flush(l.stream), SP_OK); /* none is held */
    ck_assert_uint_eq(l.count[EVENT_FAILED], 0);
    sp_stream_read(l.stream, got, 50);
    loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
    loopback_expect_bytes(got, 50, 0);
    sp_stream_read(l.stream, got, 1);
    loopback_run_until(&l, l.count[EVENT_FAILED] == 1);
    sp_buffer_release(sent);
    loopback_close(&l);
}
END_TEST

/* While it pauses the loop turns, and what comes stays in the socket; a read that was asked for goes on afterwards. */
START_TEST(test_pause)
{
    struct sp_buffer *sent = loopback_buffer(50, 0);
    uint8_t got[50];
    struct loopback l;

    loopback_open(&l, QUEUE_MAX);
    if (_i == 0)
        sp_stream_read(l.stream, got, 50);
    sp_stream_pause(l.stream, true);
    sp_stream_pause(l.stream, true);
    if (_i == 1)
        sp_stream_read(l.stream, got, 50);
    loopback_peer_send(&l, sent->data, 50);
    ck_assert_uint_eq(loopback_unread(&l, 50), 50);
    loopback_run_idle(&l);
    ck_assert_uint_eq(l.count[EVENT_FILLED], 0);
    ck_assert_uint_eq(loopback_unread(&l, 50), 50);
    sp_stream_pause(l.stream, false);
    loopback_run_until(&l, l.count[EVENT_FILLED] == 1);
    loopback_expect_bytes(got, 50, 0);
    sp_buffer_release(sent);
    loopback_close(&l);
}
END_TEST

void stream_add_hold(TCase *tests)
{
    tcase_add_loop_test(tests, test_held_frames_leave_together, 0, 2);
    tcase_add_test(tests, test_held_frames_wait_in_the_queue);
    tcase_add_loop_test(tests, test_held_frames_are_let_go, 0, 2);
    tcase_add_test(tests, test_held_frames_meet_a_reset);
    tcase_add_loop_test(tests, test_pause, 0, 2);
}
