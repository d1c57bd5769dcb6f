/* What the unit tests share: how a suite is run, and random values that are the same in every run. */
#pragma once

#include "common/rng.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* An assertion for inner loops: each of check's own writes to a pipe, which takes longer than what is tested. */
#define unit_assert(condition, ...)                                                                                    \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

/* Runs a suite, and answers what main() returns. */
static inline int unit_run_all(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The same for a suite of one case. */
static inline int unit_run(Suite *suite, TCase *tests)
{
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return unit_run_all(suite);
}

static inline struct sp_rng unit_rng(uint64_t seed)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(seed, SP_RNG_TEST), 0, 0);
    return rng;
}

static inline uint64_t unit_next64(struct sp_rng *rng)
{
    uint64_t high = sp_rng_next(rng);

    return high << 32 | sp_rng_next(rng);
}

/* Uniform on [-1, 1). */
static inline float unit_uniform(struct sp_rng *rng)
{
    return 2.0f * sp_rng_unit(sp_rng_next(rng)) - 1.0f;
}

static inline float unit_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Numbers of very different size and both signs, so that another order of additions gives another sum. */
static inline float unit_wide(struct sp_rng *rng)
{
    uint32_t bits = sp_rng_next(rng);

    return unit_float((bits & UINT32_C(0x807fffff)) | (UINT32_C(107) + sp_rng_below(rng, 40)) << 23);
}

/* A block on the heap with not a byte to spare, so that AddressSanitizer sees a step past its end. */
static inline void *unit_alloc(size_t bytes)
{
    void *block = malloc(bytes > 0 ? bytes : 1);

    ck_assert_ptr_nonnull(block);
    return block;
}
