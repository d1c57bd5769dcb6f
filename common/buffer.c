#include "common/buffer.h"

#include "common/check.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT alignof(struct sp_buffer)

static struct sp_buffer *make(size_t bytes)
{
    struct sp_buffer *buffer;

    if (bytes > SIZE_MAX - sizeof *buffer - ALIGNMENT)
        return NULL;
    buffer = aligned_alloc(ALIGNMENT, (sizeof *buffer + bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (buffer == NULL)
        return NULL;
    buffer->holders = 1;
    buffer->pool = NULL;
    buffer->next = NULL;
    buffer->data = buffer->memory;
    buffer->bytes = bytes;
    return buffer;
}

struct sp_buffer *sp_buffer_create(size_t bytes)
{
    return make(bytes);
}

struct sp_buffer *sp_buffer_take(struct sp_buffers *pool)
{
    struct sp_buffer *buffer = pool->free;

    if (buffer != NULL) {
        pool->free = buffer->next;
        pool->free_count--;
        buffer->next = NULL;
        buffer->holders = 1;
    } else {
        buffer = make(SP_BUFFER_HEAD_BYTES + SP_BUFFER_BULK_BYTES);
        if (buffer == NULL)
            return NULL;
        memset(buffer->memory, 0, SP_BUFFER_HEAD_BYTES + SP_BUFFER_BULK_BYTES); /* whatever is sent, it is our own */
        buffer->pool = pool;
    }
    buffer->data = sp_buffer_bulk(buffer);
    buffer->bytes = 0;
    return buffer;
}

uint8_t *sp_buffer_bulk(struct sp_buffer *buffer)
{
    sp_assert(buffer->pool != NULL);
    return buffer->memory + SP_BUFFER_HEAD_BYTES;
}

struct sp_buffer *sp_buffer_hold(struct sp_buffer *buffer)
{
    sp_assert(buffer->holders > 0 && buffer->holders < UINT32_MAX);
    buffer->holders++;
    return buffer;
}

void sp_buffer_release(struct sp_buffer *buffer)
{
    struct sp_buffers *pool;

    if (buffer == NULL)
        return;
    sp_assert(buffer->holders > 0);
    if (--buffer->holders > 0)
        return;
    pool = buffer->pool;
    if (pool == NULL || pool->free_count >= (pool->kept_max > 0 ? pool->kept_max : SP_BUFFERS_KEPT_MAX)) {
        free(buffer);
        return;
    }
    buffer->next = pool->free;
    pool->free = buffer;
    pool->free_count++;
}

void sp_buffers_finish(struct sp_buffers *pool)
{
    while (pool->free != NULL) {
        struct sp_buffer *buffer = pool->free;

        pool->free = buffer->next;
        free(buffer);
    }
    pool->free_count = 0;
}
