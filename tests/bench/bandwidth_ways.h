/* The passes of bandwidth.h for registers of LIMIT_BYTES bytes, as the table LIMIT_TABLE: included by one file an
 * instruction set. */
#include "tests/bench/bandwidth.h"

typedef uint64_t words __attribute__((vector_size(LIMIT_BYTES), may_alias));
typedef float floats __attribute__((vector_size(LIMIT_BYTES), may_alias));

#define STEP_REGISTERS 8
#define AHEAD 2048 /* bytes; a distance at which prefetching still helped where it helped at all */

static inline uint64_t fold(words a)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < LIMIT_BYTES / sizeof all; i++)
        all += a[i];
    return all;
}

static inline __attribute__((always_inline)) uint64_t read_streams(const void *memory, size_t bytes, unsigned streams,
                                                                   unsigned ahead)
{
    const size_t each = bytes / streams / LIMIT_BYTES;
    const words *from = memory;
    words sum[STEP_REGISTERS] = {{0}};

    for (size_t i = 0; i < each; i += STEP_REGISTERS / streams) {
        for (unsigned s = 0; s < streams; s++) {
            const words *at = from + s * each + i;

            for (unsigned k = 0; k < STEP_REGISTERS / streams; k++)
                sum[s * (STEP_REGISTERS / streams) + k] += at[k];
            for (unsigned line = 0; ahead > 0 && line < STEP_REGISTERS / streams * LIMIT_BYTES; line += 64)
                __builtin_prefetch((const char *)at + ahead + line);
        }
    }
    for (unsigned k = 1; k < STEP_REGISTERS; k++)
        sum[0] += sum[k];
    return fold(sum[0]);
}

static inline __attribute__((always_inline)) void write_streams(void *memory, size_t bytes, float zero,
                                                                unsigned streams, unsigned ahead)
{
    const size_t each = bytes / streams / LIMIT_BYTES;
    floats *from = memory;

    for (size_t i = 0; i < each; i += STEP_REGISTERS / streams) {
        for (unsigned s = 0; s < streams; s++) {
            floats *at = from + s * each + i;

            for (unsigned k = 0; k < STEP_REGISTERS / streams; k++)
                at[k] -= zero;
            for (unsigned line = 0; ahead > 0 && line < STEP_REGISTERS / streams * LIMIT_BYTES; line += 64)
                __builtin_prefetch((const char *)at + ahead + line, 1);
        }
    }
}

static uint64_t read_one(const void *memory, size_t bytes)
{
    return read_streams(memory, bytes, 1, 0);
}

static uint64_t read_one_ahead(const void *memory, size_t bytes)
{
    return read_streams(memory, bytes, 1, AHEAD);
}

static uint64_t read_four(const void *memory, size_t bytes)
{
    return read_streams(memory, bytes, 4, 0);
}

static uint64_t read_two_ahead(const void *memory, size_t bytes)
{
    return read_streams(memory, bytes, 2, AHEAD);
}

static void write_one(void *memory, size_t bytes, float zero)
{
    write_streams(memory, bytes, zero, 1, 0);
}

static void write_one_ahead(void *memory, size_t bytes, float zero)
{
    write_streams(memory, bytes, zero, 1, AHEAD);
}

static void write_four(void *memory, size_t bytes, float zero)
{
    write_streams(memory, bytes, zero, 4, 0);
}

static void write_two_ahead(void *memory, size_t bytes, float zero)
{
    write_streams(memory, bytes, zero, 2, AHEAD);
}

const struct limit_way LIMIT_TABLE[LIMIT_WAYS] = {
    {"one stream, " LIMIT_NAME, read_one, write_one},
    {"one stream with prefetching, " LIMIT_NAME, read_one_ahead, write_one_ahead},
    {"two streams with prefetching, " LIMIT_NAME, read_two_ahead, write_two_ahead},
    {"four streams, " LIMIT_NAME, read_four, write_four},
};
