/* How fast one core of this machine reads memory, and reads and writes it: what no kernel over that memory can beat.
 *
 * There are several ways to walk an array (one stream or four, with or without prefetching); limits_choose() takes the
 * fastest of them, with the widest registers that help, so that the limit is an upper bound.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LIMIT_STEP 4096 /* a pass takes whole multiples of it */

/* Reads all bytes. The result is there to be used. */
typedef uint64_t limit_read_pass(const void *memory, size_t bytes);

/* value -= zero for each float32. */
typedef void limit_write_pass(void *memory, size_t bytes, float zero);

struct limit_way {
    const char *name;
    limit_read_pass *read;
    limit_write_pass *write;
};

#define LIMIT_WAYS 4
extern const struct limit_way limit_ways[LIMIT_WAYS];
#if defined(__x86_64__)
extern const struct limit_way limit_ways_avx2[LIMIT_WAYS];
extern const struct limit_way limit_ways_avx512[LIMIT_WAYS];
#endif

/* The fastest way here, or the plainest: one stream with the widest registers. A kernel that walks its arrays from the
 * beginning to the end can be held to the second where it cannot reach the first. */
enum limit_kind { LIMIT_FASTEST, LIMIT_ONE_STREAM, LIMIT_KINDS };

struct limits {
    struct limit_of {
        const char *read_name, *write_name;
        limit_read_pass *read;
        limit_write_pass *write;
        double read_gbs, write_gbs; /* as chosen: bytes read; bytes read and bytes written together */
    } of[LIMIT_KINDS];
};

/* Seconds that this thread has had of a processor: what other programs take meanwhile does not count. */
double bench_now(void);

/* The middle of n numbers, which it sorts. */
double bench_median(double *numbers, size_t n);

/* `memory` holds finite float32, which stay as they are. */
void limits_choose(struct limits *limits, void *memory, size_t bytes);

/* Seconds that a pass over `bytes` bytes takes, of memory of `span` bytes that is walked again and again. */
double limits_time_read(const struct limits *limits, enum limit_kind kind, const void *memory, size_t span,
                        size_t bytes);
double limits_time_write(const struct limits *limits, enum limit_kind kind, void *memory, size_t span, size_t bytes);
