/* Bytes with a count of their holders: a frame is encoded once and queued to every peer. One thread only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sp_buffer {
    uint32_t holders;
    size_t bytes;
    uint8_t data[];
};

/* With one holder, the caller; NULL if out of memory. The bytes are not initialised. */
struct sp_buffer *sp_buffer_create(size_t bytes);

/* One more holder. Returns its argument. */
struct sp_buffer *sp_buffer_hold(struct sp_buffer *buffer);

/* One holder fewer; the last one frees it. NULL is allowed. */
void sp_buffer_release(struct sp_buffer *buffer);
