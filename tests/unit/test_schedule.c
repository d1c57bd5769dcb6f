/* The schedules, at points worked out by hand. */
#include "common/schedule.h"
#include "unit.h"

#include <math.h>
#include <signal.h>

static void near(double value, double expected)
{
    ck_assert_msg(fabs(value - expected) <= 1e-15, "%.17g is not %.17g", value, expected);
}

static struct sp_course course(enum sp_schedule schedule, uint32_t rounds, uint32_t warmup)
{
    return (struct sp_course){
        .schedule = schedule, .rounds = rounds, .warmup = warmup, .step_rounds = 3, .step_factor = 0.1};
}

static double factor(enum sp_schedule schedule, uint32_t t, uint32_t rounds)
{
    const struct sp_course plain = course(schedule, rounds, 0);

    return sp_schedule_factor(&plain, t);
}

START_TEST(test_constant)
{
    ck_assert(factor(SP_SCHEDULE_CONSTANT, 1, 1) == 1.0);
    ck_assert(factor(SP_SCHEDULE_CONSTANT, 1, 10) == 1.0);
    ck_assert(factor(SP_SCHEDULE_CONSTANT, 10, 10) == 1.0);
}
END_TEST

/* From 1 at t = 1 down to 1/T at t = T. */
START_TEST(test_linear)
{
    ck_assert(factor(SP_SCHEDULE_LINEAR, 1, 1) == 1.0);
    ck_assert(factor(SP_SCHEDULE_LINEAR, 1, 8) == 1.0);
    ck_assert(factor(SP_SCHEDULE_LINEAR, 2, 8) == 0.875);
    ck_assert(factor(SP_SCHEDULE_LINEAR, 5, 8) == 0.5);
    ck_assert(factor(SP_SCHEDULE_LINEAR, 8, 8) == 0.125);
    near(factor(SP_SCHEDULE_LINEAR, 3, 10), 0.8);
    ck_assert(factor(SP_SCHEDULE_LINEAR, 1, UINT32_MAX) == 1.0);
    near(factor(SP_SCHEDULE_LINEAR, UINT32_MAX, UINT32_MAX), 1.0 / 4294967295.0);
}
END_TEST

/* Without a warm-up it is (T-t+1)/T to the bit: digests of jobs, and the golden trajectories, hang on that. */
START_TEST(test_linear_to_the_bit)
{
    for (uint32_t rounds = 1; rounds <= 1000; rounds++)
        for (uint32_t t = 1; t <= rounds; t++)
            unit_assert(factor(SP_SCHEDULE_LINEAR, t, rounds) == ((double)rounds - (double)t + 1.0) / (double)rounds,
                        "round %u of %u", t, rounds);
}
END_TEST

/* (1 + cos(pi (t-1)/T))/2: as the dither's below, 1 at first and never 0. */
START_TEST(test_cosine)
{
    ck_assert(factor(SP_SCHEDULE_COSINE, 1, 1) == 1.0);
    ck_assert(factor(SP_SCHEDULE_COSINE, 1, 8) == 1.0);
    near(factor(SP_SCHEDULE_COSINE, 3, 8), 0.8535533905932738);
    near(factor(SP_SCHEDULE_COSINE, 5, 8), 0.5);
    near(factor(SP_SCHEDULE_COSINE, 8, 8), 0.0380602337443566);
    near(factor(SP_SCHEDULE_COSINE, 3, 6), 0.75);
}
END_TEST

/* Three rounds each of 1, 0.1, 0.01, 0.001. */
START_TEST(test_step)
{
    static const double steps[] = {1.0, 0.1, 0.01, 0.001};

    for (uint32_t t = 1; t <= 12; t++)
        near(factor(SP_SCHEDULE_STEP, t, 12), steps[(t - 1) / 3]);
    ck_assert(factor(SP_SCHEDULE_STEP, 3, 12) == 1.0);
    ck_assert(factor(SP_SCHEDULE_STEP, 4, 12) == 0.1);
}
END_TEST

/* t/(W+1) in rounds 1..W, then the schedule over the T-W rounds that are left, beginning at 1. */
START_TEST(test_warmup)
{
    static const enum sp_schedule schedules[] = {SP_SCHEDULE_CONSTANT, SP_SCHEDULE_LINEAR, SP_SCHEDULE_COSINE,
                                                 SP_SCHEDULE_STEP};
    struct sp_course warm;

    for (size_t i = 0; i < UNIT_COUNT(schedules); i++) {
        warm = course(schedules[i], 11, 3);
        warm.step_rounds = 100;
        ck_assert(sp_schedule_factor(&warm, 1) == 0.25);
        ck_assert(sp_schedule_factor(&warm, 2) == 0.5);
        ck_assert(sp_schedule_factor(&warm, 3) == 0.75);
        ck_assert(sp_schedule_factor(&warm, 4) == 1.0);
        for (uint32_t u = 1; u <= 8 && schedules[i] != SP_SCHEDULE_STEP; u++)
            ck_assert(sp_schedule_factor(&warm, 3 + u) == factor(schedules[i], u, 8));
    }
    warm = course(SP_SCHEDULE_LINEAR, 4, 3); /* all but one round */
    ck_assert(sp_schedule_factor(&warm, 3) == 0.75);
    ck_assert(sp_schedule_factor(&warm, 4) == 1.0);
}
END_TEST

/* A warm-up does not move the steps: they are counted from the start of the job. */
START_TEST(test_steps_after_a_warmup)
{
    const struct sp_course warm = course(SP_SCHEDULE_STEP, 12, 2);

    near(sp_schedule_factor(&warm, 2), 2.0 / 3.0);
    ck_assert(sp_schedule_factor(&warm, 3) == 1.0);
    near(sp_schedule_factor(&warm, 4), 0.1);
    near(sp_schedule_factor(&warm, 6), 0.1);
    near(sp_schedule_factor(&warm, 7), 0.01);
}
END_TEST

/* Courses of a job. */

static struct sp_job job;

static void set(const char *path, const char *value)
{
    struct sp_error error = {0};

    ck_assert_msg(sp_job_set(&job, path, value, &error) == SP_OK, "%s", error.text);
}

/* 10 examples, a worker, batches of 1: an epoch of 10 rounds. */
static void start(const char *epochs)
{
    sp_job_init(&job);
    set("train.batch", "1");
    set("train.epochs", epochs);
}

START_TEST(test_sign_course_of_a_job)
{
    struct sp_course made;

    start("3");
    made = sp_job_sign_course(&job, 10);
    ck_assert_int_eq(made.schedule, SP_SCHEDULE_LINEAR);
    ck_assert_uint_eq(made.rounds, 30);
    ck_assert_uint_eq(made.warmup, 0);
    ck_assert_uint_eq(made.step_rounds, 100);
    ck_assert(made.step_factor == 0.1);
    set("optimizer.sign.schedule", "step");
    set("optimizer.sign.warmup", "0.31"); /* rounded up, but 1.1 epochs are 11 rounds */
    set("optimizer.sign.step.epochs", "1.1");
    set("optimizer.sign.step.factor", "0.5");
    made = sp_job_sign_course(&job, 10);
    ck_assert_int_eq(made.schedule, SP_SCHEDULE_STEP);
    ck_assert_uint_eq(made.warmup, 4);
    ck_assert_uint_eq(made.step_rounds, 11);
    ck_assert(made.step_factor == 0.5);
}
END_TEST

/* Whatever the numbers are, a course has at least a round after its warm-up, and a round between steps. */
START_TEST(test_limits_of_courses)
{
    struct sp_course made;

    start("3");
    set("train.rounds", "7");
    set("optimizer.sign.warmup", "2");
    set("optimizer.sign.step.epochs", "1e-30");
    made = sp_job_sign_course(&job, 10);
    ck_assert_uint_eq(made.rounds, 7);
    ck_assert_uint_eq(made.warmup, 6);
    ck_assert_uint_eq(made.step_rounds, 1);
    ck_assert(sp_schedule_factor(&made, 7) == 1.0);
    set("optimizer.sign.warmup", "1e6");
    set("optimizer.sign.step.epochs", "1e6");
    made = sp_job_sign_course(&job, UINT64_MAX);
    ck_assert_uint_eq(made.warmup, 6);
    ck_assert_uint_eq(made.step_rounds, UINT32_MAX);
    set("train.rounds", "1");
    made = sp_job_sign_course(&job, 10);
    ck_assert_uint_eq(made.warmup, 0);
    ck_assert(sp_schedule_factor(&made, 1) == 1.0);
}
END_TEST

/* A course of the SGD phase spans that phase, and has neither the sign phase's warm-up nor its steps. */
START_TEST(test_sgd_course_of_a_job)
{
    static const struct {
        const char *name;
        enum sp_schedule schedule;
    } schedules[] = {{"constant", SP_SCHEDULE_CONSTANT},
                     {"linear", SP_SCHEDULE_LINEAR},
                     {"cosine", SP_SCHEDULE_COSINE},
                     {"step", SP_SCHEDULE_STEP}};

    start("3");
    set("optimizer.sign.warmup", "1");
    set("optimizer.sign.step.epochs", "1");
    set("optimizer.sgd.step.epochs", "0.5");
    set("optimizer.sgd.step.factor", "0.2");
    for (size_t i = 0; i < UNIT_COUNT(schedules); i++) {
        struct sp_course made;

        set("optimizer.sgd.schedule", schedules[i].name);
        made = sp_job_sgd_course(&job, 10, 12);
        ck_assert_int_eq(made.schedule, schedules[i].schedule);
        ck_assert_uint_eq(made.rounds, 12);
        ck_assert_uint_eq(made.warmup, 0);
        ck_assert_uint_eq(made.step_rounds, 5);
        ck_assert(made.step_factor == 0.2);
    }
}
END_TEST

START_TEST(test_continue_is_no_course_of_its_own)
{
    start("3");
    (void)sp_job_sgd_course(&job, 10, 12);
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
        (void)factor(SP_SCHEDULE_CONSTANT, outside[_i].t, outside[_i].rounds);
}
END_TEST

/* So is a warm-up that leaves nothing: sp_job_sign_course() makes none. */
START_TEST(test_a_warmup_without_end_aborts)
{
    const struct sp_course endless = course(SP_SCHEDULE_LINEAR, 5, 5);

    (void)sp_schedule_factor(&endless, 1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("schedule");

    tcase_add_test(tests, test_constant);
    tcase_add_test(tests, test_linear);
    tcase_add_test(tests, test_linear_to_the_bit);
    tcase_add_test(tests, test_cosine);
    tcase_add_test(tests, test_step);
    tcase_add_test(tests, test_warmup);
    tcase_add_test(tests, test_steps_after_a_warmup);
    tcase_add_test(tests, test_sign_course_of_a_job);
    tcase_add_test(tests, test_limits_of_courses);
    tcase_add_test(tests, test_sgd_course_of_a_job);
    tcase_add_test_raise_signal(tests, test_continue_is_no_course_of_its_own, SIGABRT);
    tcase_add_test_raise_signal(tests, test_a_warmup_without_end_aborts, SIGABRT);
    tcase_add_test(tests, test_no_and_constant_dither);
    tcase_add_test(tests, test_exponential_dither);
    tcase_add_test(tests, test_linear_dither);
    tcase_add_test(tests, test_cosine_dither);
    tcase_add_test(tests, test_inverse_dither);
    tcase_add_loop_test_raise_signal(tests, test_rounds_outside_abort, SIGABRT, 0, (int)UNIT_COUNT(outside));
    return unit_run(suite_create("schedule"), tests);
}
