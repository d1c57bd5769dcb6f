/* Random and special inputs for every comparison of kernels. SP_TEST_SLOW=1, for builds in which
 * all takes longer, draws a tenth of them. */
#include "common/rng.h"
#include "tests/kernels/kernels.h"
#include "tests/unit/unit.h"

#include <inttypes.h>
#include <stdio.h>

#define DRAWS 1000

START_TEST(test_sets_agree)
{
    const struct comparison *comparison = &comparisons[_i];
    unsigned draws = getenv("SP_TEST_SLOW") != NULL ? DRAWS / 10 : DRAWS;

    for (unsigned i = 0; i < draws; i++) {
        struct source source = {.state = sp_mix64((uint64_t)_i << 32 | i)};

        comparison->run(&source);
    }
    (void)fprintf(stderr, "digest of %s: %016" PRIx64 "\n", comparison->name, compared_digest);
}
END_TEST

/* On a processor without any of the faster sets the comparisons above say nothing: at least say so. */
START_TEST(test_sets)
{
    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++)
        (void)fprintf(stderr, "kernels for %s: %s\n", sp_cpu_name(set), sp_cpu_has(set) ? "compared" : "not here");
    ck_assert(sp_cpu_has(SP_CPU_SCALAR));
#ifdef SP_CPU_EMULATED
    ck_assert(sp_cpu_has(SP_CPU_AVX512));
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tests = tcase_create("sets");

    tcase_add_test(tests, test_sets);
    tcase_add_loop_test(tests, test_sets_agree, 0, (int)comparisons_count);
    return unit_run(suite, tests);
}
