/* One byte stream to a peer, on a libuv loop: exact reads into the destination, a bounded write queue, an orderly end;
 * with or without TLS, which its owner does not notice further.
 *
 * Happy path: create, accept or connect; then again and again `sp_stream_read(dst, n)` and, when all n bytes are there,
 * the event `filled`. Nothing is read while no read is asked for: TCP then holds the peer back. Frames go out by
 * `sp_stream_send()`, tried at once and queued if the socket is full. At the end `sp_stream_finish()` sends what is
 * queued, says end of stream, waits for the peer's own for at most LINGER_MS, and closes.
 *
 * With TLS (sp_stream_secure()) `connected` comes after the handshake, and what is sent before the handshake is over is
 * dropped; only if the other side has not said anything yet it goes out as it is.
 *
 * Failure: a broken or closed connection, in either direction, gives one event `failed`; the owner then calls
 * `sp_stream_close()`. After `sp_stream_close()` or `sp_stream_finish()` the only event still to come is `closed`; the
 * stream frees itself after it. An owner may call either from within any event.
 */
#pragma once

#include "common/buffer.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;
struct sp_stream;
struct sp_tls;
struct uv_loop_s;
struct uv_stream_s;

struct sp_stream_events {
    void (*connected)(void *owner); /* only after sp_stream_connect() */
    void (*filled)(void *owner);    /* the bytes asked for are there */
    void (*drained)(void *owner);   /* the write queue ran empty; may be NULL */
    void (*failed)(void *owner, int code, const char *words);
    void (*closed)(void *owner); /* the stream is gone; may be NULL */
};

/* `queue_bytes_max` bounds what may wait to be written; an empty queue takes one frame of any size. NULL if out of
 * memory. */
struct sp_stream *sp_stream_create(struct uv_loop_s *loop, const struct sp_stream_events *events, void *owner,
                                   size_t queue_bytes_max);

/* TLS from the first byte on: `tls`, which the stream owns from here on. Right after sp_stream_accept(), or before
 * sp_stream_connect(). */
void sp_stream_secure(struct sp_stream *stream, struct sp_tls *tls);
/* Its TLS, with which nothing is to be read or written; NULL: none. */
const struct sp_tls *sp_stream_tls(const struct sp_stream *stream);

int sp_stream_accept(struct sp_stream *stream, struct uv_stream_s *listener, struct sp_error *error);
int sp_stream_connect(struct sp_stream *stream, const struct sockaddr *address, struct sp_error *error);

/* Asks for exactly `bytes` (> 0) bytes at `destination`, which stays the owner's and must stay valid until `filled`,
 * `failed` or the stream's end. One read at a time. */
void sp_stream_read(struct sp_stream *stream, void *destination, size_t bytes);

/* Sends a buffer; holds it as long as needed. SP_E_BACKLOG if it does not fit into the queue (nothing is sent),
 * SP_E_CLOSED after an end. */
int sp_stream_send(struct sp_stream *stream, struct sp_buffer *buffer);

/* While paused nothing is read, though a read is asked for: the loop then turns for what is to be written alone. */
void sp_stream_pause(struct sp_stream *stream, bool pause);

/* The same for a frame that others follow shortly: they leave together, when there are more than SP_STREAM_HELD_MAX, or
 * at sp_stream_flush(), sp_stream_send() or sp_stream_finish(). Writing several at once halves what a
 * connection costs the kernel. After a code the
 * stream takes no more frames, unless the one frame that was refused was the only one. */
#define SP_STREAM_HELD_MAX 4
int sp_stream_hold(struct sp_stream *stream, struct sp_buffer *buffer);
int sp_stream_flush(struct sp_stream *stream);

void sp_stream_set_queue_max(struct sp_stream *stream, size_t queue_bytes_max);
size_t sp_stream_queued(const struct sp_stream *stream);
/* Bytes that lie in the socket, or behind it, and were not asked for yet. */
size_t sp_stream_unread(const struct sp_stream *stream);
uint64_t sp_stream_bytes_received(const struct sp_stream *stream);

/* sp_address_group() of the other side; 0 before there is one. */
uint64_t sp_stream_group(const struct sp_stream *stream);

/* "127.0.0.1:43210" of the other side; valid as long as the stream. */
const char *sp_stream_peer(const struct sp_stream *stream);

void sp_stream_finish(struct sp_stream *stream);
void sp_stream_close(struct sp_stream *stream);
