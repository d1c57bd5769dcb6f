/* Every set of kernels against the scalar one, bit for bit. Inputs are drawn from bytes, so that the same comparisons
 * serve random tests (test_kernels.c) and a fuzzer (tests/fuzz/fuzz_kernels.c).
 */
#pragma once

#include "common/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A source of bytes that never ends: what is given, then what a generator makes of it. */
struct source {
    const uint8_t *data;
    size_t size;
    uint64_t state;
};

uint64_t source_number(struct source *source, uint64_t below);
uint32_t source_word(struct source *source);
void source_bytes(struct source *source, void *to, size_t bytes);

/* Float32 of all kinds: any bits, ordinary numbers, the same few again and again, zeros, subnormal and huge ones. With
 * `finite` none is infinite or NaN. */
void source_floats(struct source *source, bool finite, float *to, size_t count);

/* `bytes` bytes on the heap, aligned to 4 but to nothing more where the source says so, with not a byte to spare at the
 * end. */
struct room {
    void *block;
    void *at;
};
struct room room_for(struct source *source, size_t bytes);
void room_free(struct room *room);

/* Calls run(arg, out) with each set that this processor has: all must leave the same `bytes` bytes in `out` as the
 * scalar one. What `out` holds before is the same for all. */
typedef void run_kernel(void *arg, void *out);
void compare_sets(const char *what, run_kernel *run, void *arg, const void *before, size_t bytes);

/* A digest of all that the scalar kernels have left so far: of two processors it must be the same. */
extern uint64_t compared_digest;

/* One comparison each, of a file of its own; all in the table of kernels.c. */
typedef void compare_kernel(struct source *source);
compare_kernel compare_adam;
compare_kernel compare_aggregate;
compare_kernel compare_dither;
compare_kernel compare_momentum;
compare_kernel compare_pack;
compare_kernel compare_planes;
compare_kernel compare_sums;
compare_kernel compare_values;
compare_kernel compare_vote;
compare_kernel compare_weights;

struct comparison {
    const char *name;
    compare_kernel *run;
};
extern const struct comparison comparisons[];
extern const size_t comparisons_count;
