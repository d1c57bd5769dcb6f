/* The schedules, at points worked out by hand. */
#include "common/schedule.h"
#include "unit.h"

#include <math.h>
#include <signal.h>

static void near(double value, double expected)
{
    ck_assert_msg(fabs(value - expected) <= 1e-15, "%.17g is not %.17g", value, expected);
}

START_TEST(test_constant)
{
    ck_assert(sp_schedule_factor(SP_SCHEDULE_CONSTANT, 1, 1) == 1.0);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_CONSTANT, 1, 10) == 1.0);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_CONSTANT, 10, 10) == 1.0);
}
END_TEST

/* From 1 at t = 1 down to 1/T at t = T. */
START_TEST(test_linear)
{
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 1, 1) == 1.0);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 1, 8) == 1.0);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 2, 8) == 0.875);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 5, 8) == 0.5);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 8, 8) == 0.125);
    near(sp_schedule_factor(SP_SCHEDULE_LINEAR, 3, 10), 0.8);
    ck_assert(sp_schedule_factor(SP_SCHEDULE_LINEAR, 1, UINT32_MAX) == 1.0);
    near(sp_schedule_factor(SP_SCHEDULE_LINEAR, UINT32_MAX, UINT32_MAX), 1.0 / 4294967295.0);
}
END_TEST

START_TEST(test_no_and_constant_dither)
{
    for (uint32_t t = 1; t <= 5; t++) {
        ck_assert(sp_dither_factor(SP_DITHER_NONE, t, 5) == 0.0);
        ck_assert(sp_dither_factor(SP_DITHER_CONSTANT, t, 5) == 1.0);
    }
}
END_TEST

/* exp(-5(t-1)/T): exp(-1) = 0.36787944117144233, exp(-2.5) = 0.08208499862389880, exp(-4.5) = 0.01110899653824231 */
START_TEST(test_exponential_dither)
{
    ck_assert(sp_dither_factor(SP_DITHER_EXPONENTIAL, 1, 10) == 1.0);
    near(sp_dither_factor(SP_DITHER_EXPONENTIAL, 3, 10), 0.36787944117144233);
    near(sp_dither_factor(SP_DITHER_EXPONENTIAL, 6, 10), 0.08208499862389880);
    near(sp_dither_factor(SP_DITHER_EXPONENTIAL, 10, 10), 0.01110899653824231);
}
END_TEST

START_TEST(test_linear_dither)
{
    ck_assert(sp_dither_factor(SP_DITHER_LINEAR, 1, 8) == 1.0);
    ck_assert(sp_dither_factor(SP_DITHER_LINEAR, 3, 8) == 0.75);
    ck_assert(sp_dither_factor(SP_DITHER_LINEAR, 8, 8) == 0.125);
}
END_TEST

/* (1 + cos(pi/4))/2 = 0.8535533905932738, (1 + cos(pi/3))/2 = 0.75, (1 + cos(7 pi/8))/2 = 0.0380602337443566 */
START_TEST(test_cosine_dither)
{
    ck_assert(sp_dither_factor(SP_DITHER_COSINE, 1, 8) == 1.0);
    near(sp_dither_factor(SP_DITHER_COSINE, 3, 8), 0.8535533905932738);
    near(sp_dither_factor(SP_DITHER_COSINE, 5, 8), 0.5);
    near(sp_dither_factor(SP_DITHER_COSINE, 8, 8), 0.0380602337443566);
    near(sp_dither_factor(SP_DITHER_COSINE, 3, 6), 0.75);
}
END_TEST

/* (1+t)^-0.55 whatever T is: 2^-0.55 = 0.6830201283771977, 4^-0.55 = 0.4665164957684037, 1024^-0.55 = 2^-5.5 =
 * 0.02209708691207961 */
START_TEST(test_inverse_dither)
{
    near(sp_dither_factor(SP_DITHER_INVERSE, 1, 1), 0.6830201283771977);
    near(sp_dither_factor(SP_DITHER_INVERSE, 1, 5000), 0.6830201283771977);
    near(sp_dither_factor(SP_DITHER_INVERSE, 3, 10), 0.4665164957684037);
    near(sp_dither_factor(SP_DITHER_INVERSE, 1023, 1023), 0.02209708691207961);
}
END_TEST

/* A round outside the job is a mistake of ours. */
static const struct {
    int dither;
    uint32_t t, rounds;
} outside[] = {{0, 0, 5}, {0, 6, 5}, {1, 0, 5}, {1, 6, 5}, {1, 0, UINT32_MAX}};

START_TEST(test_rounds_outside_abort)
{
    if (outside[_i].dither)
        (void)sp_dither_factor(SP_DITHER_LINEAR, outside[_i].t, outside[_i].rounds);
    else
        (void)sp_schedule_factor(SP_SCHEDULE_CONSTANT, outside[_i].t, outside[_i].rounds);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("schedule");

    tcase_add_test(tests, test_constant);
    tcase_add_test(tests, test_linear);
    tcase_add_test(tests, test_no_and_constant_dither);
    tcase_add_test(tests, test_exponential_dither);
    tcase_add_test(tests, test_linear_dither);
    tcase_add_test(tests, test_cosine_dither);
    tcase_add_test(tests, test_inverse_dither);
    tcase_add_loop_test_raise_signal(tests, test_rounds_outside_abort, SIGABRT, 0, (int)UNIT_COUNT(outside));
    return unit_run(suite_create("schedule"), tests);
}
