/* Which kernels run, and what is said of those that cannot. */
#include "common/cpu.h"
#include "tests/unit/unit.h"

static enum sp_cpu best(void)
{
    enum sp_cpu set = SP_CPU_SETS - 1;

    while (!sp_cpu_has(set))
        set--;
    return set;
}

START_TEST(test_best_by_itself)
{
    (void)unsetenv("SIGNPOST_KERNELS");
    ck_assert_int_eq(sp_cpu(), best());
}
END_TEST

START_TEST(test_environment)
{
    struct sp_error error = {0};

    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
        (void)setenv("SIGNPOST_KERNELS", sp_cpu_name(set), 1);
        sp_cpu_use(SP_CPU_SCALAR);
        if (sp_cpu_has(set)) {
            ck_assert_int_eq(sp_cpu_choose(&error), SP_OK);
            ck_assert_int_eq(sp_cpu(), set);
        } else {
            ck_assert_int_eq(sp_cpu_choose(&error), SP_E_UNSUPPORTED);
            ck_assert_ptr_nonnull(strstr(error.text, sp_cpu_name(set)));
            ck_assert_ptr_nonnull(strstr(error.text, sp_cpu_name(best())));
            ck_assert_int_eq(sp_cpu(), SP_CPU_SCALAR);
        }
    }
    (void)setenv("SIGNPOST_KERNELS", "", 1);
    ck_assert_int_eq(sp_cpu_choose(&error), SP_OK);
    ck_assert_int_eq(sp_cpu(), best());
}
END_TEST

START_TEST(test_unknown)
{
    struct sp_error error = {0};

    (void)setenv("SIGNPOST_KERNELS", "AVX2", 1);
    sp_cpu_use(SP_CPU_SCALAR);
    ck_assert_int_eq(sp_cpu_choose(&error), SP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.text, "SIGNPOST_KERNELS"));
    ck_assert_ptr_nonnull(strstr(error.text, "'AVX2'"));
    ck_assert_int_eq(sp_cpu(), SP_CPU_SCALAR);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("sets");

    tcase_add_test(tests, test_best_by_itself);
    tcase_add_test(tests, test_environment);
    tcase_add_test(tests, test_unknown);
    return unit_run(suite_create("cpu"), tests);
}
