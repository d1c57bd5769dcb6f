/* A stream on a libuv loop, and the other end of its connection as a plain socket that a test writes and reads by hand.
 *
 * The sockets have little room, so that few bytes fill them. Nothing here waits for time to pass: the loop runs until
 * what must come has come.
 */
#pragma once

#include "common/stream.h"
#include "unit.h"

#include <uv.h>

enum loopback_event { EVENT_CONNECTED, EVENT_FILLED, EVENT_DRAINED, EVENT_FAILED, EVENT_CLOSED, EVENTS };

struct loopback {
    uv_loop_t loop;
    struct sp_stream *stream; /* NULL once it is closed */
    int peer;                 /* the other end; -1 if closed */
    unsigned count[EVENTS];   /* how often each event came */
    int code;                 /* of `failed` */
    char words[256];
    void (*hook)(struct loopback *l, enum loopback_event event); /* called within each event, if not NULL */
    void *user;                                                  /* of the test */
    bool ended; /* close or finish was called: only `closed` may come */
};

/* The stream accepted a connection of the peer. */
void loopback_open(struct loopback *l, size_t queue_bytes_max);
/* The stream made the connection, and the peer accepted it; `connected` has not come yet. */
void loopback_open_connecting(struct loopback *l, size_t queue_bytes_max);
/* The same with TLS, which the stream owns then. */
void loopback_open_connecting_tls(struct loopback *l, size_t queue_bytes_max, struct sp_tls *tls);
/* A stream without connection. */
void loopback_create(struct loopback *l, size_t queue_bytes_max);
/* Closes what is open, and checks that the stream and the loop went without leaving anything. */
void loopback_close(struct loopback *l);

void loopback_close_stream(struct loopback *l);
void loopback_finish_stream(struct loopback *l);

/* Runs the loop until the condition holds. A loop with nothing left to wait for fails the test. */
#define loopback_run_until(l, condition)                                                                               \
    do {                                                                                                               \
        while (!(condition))                                                                                           \
            loopback_run_once(l, #condition);                                                                          \
    } while (0)
void loopback_run_once(struct loopback *l, const char *what);
/* Takes what is there to be taken, without waiting. */
void loopback_run_idle(struct loopback *l);

/* All of it, while the loop runs if the socket is full. */
void loopback_peer_send(struct loopback *l, const void *bytes, size_t count);
/* Exactly so many bytes, while the loop runs. */
void loopback_peer_receive(struct loopback *l, void *bytes, size_t count);
/* The peer must get the end of the stream, not a reset. */
void loopback_peer_expect_end(struct loopback *l);
/* No more from this side; it still reads. */
void loopback_peer_half_close(struct loopback *l);
void loopback_peer_close(struct loopback *l);
/* Ends the connection by a reset. */
void loopback_peer_reset(struct loopback *l);

/* The stream's own handle and socket, and how many bytes lie unread in it once at least `least` have arrived. */
uv_handle_t *loopback_handle(struct loopback *l);
int loopback_socket(struct loopback *l);
size_t loopback_unread(struct loopback *l, size_t least);
/* Bytes 0, 1, 2, ... that do not repeat with any power of two; a caller releases the buffer. */
uint8_t loopback_byte(size_t i);
struct sp_buffer *loopback_buffer(size_t bytes, size_t from);
/* They are those, from number `from` on. */
static inline void loopback_expect_bytes(const uint8_t *bytes, size_t count, size_t from)
{
    for (size_t i = 0; i < count; i++)
        unit_assert(bytes[i] == loopback_byte(from + i), "byte %zu is wrong", from + i);
}
/* 127.0.0.1 and a port of its own, on which a new socket listens, or only lies, so that a connection is refused. */
int loopback_bound_socket(struct sockaddr_in *address, bool listening);
