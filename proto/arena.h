/* Memory for the control message that is being decoded: taken piece by piece, given back all at once. Rounds so decode
 * without the heap; what does not fit comes from there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_ARENA_BYTES 8192u /* a COMMIT with a rate and a decay of 900 tensors, a PUSH with its sketch */

struct sp_arena {
    size_t used;
    _Alignas(16) uint8_t memory[SP_ARENA_BYTES];
};

static inline void sp_arena_reset(struct sp_arena *arena)
{
    arena->used = 0;
}

/* Aligned to 16 bytes; NULL if there is no room. */
static inline void *sp_arena_take(struct sp_arena *arena, size_t bytes)
{
    void *at = arena->memory + arena->used;

    if (bytes == 0 || bytes > SP_ARENA_BYTES - arena->used)
        return NULL;
    arena->used += (bytes + 15) / 16 * 16;
    return at;
}

static inline bool sp_arena_holds(const struct sp_arena *arena, const void *at)
{
    const uint8_t *byte = at;

    return byte >= arena->memory && byte < arena->memory + SP_ARENA_BYTES;
}
