/* What a fuzz target makes its input of, byte by byte; zeros when there are no more. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *data;
    size_t size;
};

/* Little-endian. */
static inline uint64_t take(struct input *in, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes && in->size > 0; i++, in->data++, in->size--)
        value |= (uint64_t)in->data[0] << (8 * i);
    return value;
}
