#include "common/buffer.h"

#include "common/check.h"

#include <stdlib.h>

struct sp_buffer *sp_buffer_create(size_t bytes)
{
    struct sp_buffer *buffer;

    if (bytes > SIZE_MAX - sizeof *buffer)
        return NULL;
    buffer = malloc(sizeof *buffer + bytes);
    if (buffer == NULL)
        return NULL;
    buffer->holders = 1;
    buffer->bytes = bytes;
    return buffer;
}

struct sp_buffer *sp_buffer_hold(struct sp_buffer *buffer)
{
    sp_assert(buffer->holders > 0 && buffer->holders < UINT32_MAX);
    buffer->holders++;
    return buffer;
}

void sp_buffer_release(struct sp_buffer *buffer)
{
    if (buffer == NULL)
        return;
    sp_assert(buffer->holders > 0);
    if (--buffer->holders == 0)
        free(buffer);
}
