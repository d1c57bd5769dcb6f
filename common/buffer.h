/* Bytes with a count of their holders: a frame is encoded once and queued to every peer. One thread only.
 *
 * Frames of a round come from a pool, so that a round allocates nothing: buffers of one size, whose bulk is written in
 * its place (or copied there) before the header and the control message in front of it are known.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What a pooled buffer has room for. */
#define SP_BUFFER_BULK_BYTES 65536u
#define SP_BUFFER_HEAD_BYTES 8192u /* a multiple of 64, so that bulk is aligned; a rate and a decay of 1000 tensors */
#define SP_BUFFERS_KEPT_MAX 64     /* free ones that a pool keeps, unless it is told another number */

struct sp_buffer {
    uint32_t holders;
    struct sp_buffers *pool; /* where it goes when the last holder releases it; NULL: it is freed */
    struct sp_buffer *next;  /* in the pool */
    uint8_t *data;           /* first byte of the frame, within `memory` */
    size_t bytes;            /* of the frame */
    _Alignas(64) uint8_t memory[];
};

/* All zero bytes is an empty pool. It must outlive its buffers. */
struct sp_buffers {
    struct sp_buffer *free; /* owned */
    uint32_t free_count;
    uint32_t kept_max; /* 0: SP_BUFFERS_KEPT_MAX */
};

/* With one holder, the caller; NULL if out of memory. The bytes are not initialised. */
struct sp_buffer *sp_buffer_create(size_t bytes);

/* One of the pool's, with one holder; NULL if out of memory. Its frame is empty and begins where bulk begins. */
struct sp_buffer *sp_buffer_take(struct sp_buffers *pool);

/* Where the bulk of a pooled buffer belongs: room for SP_BUFFER_BULK_BYTES, with SP_BUFFER_HEAD_BYTES before it. */
uint8_t *sp_buffer_bulk(struct sp_buffer *buffer);

/* One more holder. Returns its argument. */
struct sp_buffer *sp_buffer_hold(struct sp_buffer *buffer);

/* One holder fewer; the last one frees it, or gives it back to its pool. NULL is allowed. */
void sp_buffer_release(struct sp_buffer *buffer);

/* Frees what the pool keeps. */
void sp_buffers_finish(struct sp_buffers *pool);
