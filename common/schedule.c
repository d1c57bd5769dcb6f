#include "common/schedule.h"

#include "common/check.h"

#include <math.h>
#include <stdbool.h>

double sp_schedule_factor(const struct sp_course *course, uint32_t t)
{
    double passed, rounds = (double)(course->rounds - course->warmup);

    sp_assert(t >= 1 && t <= course->rounds && course->warmup < course->rounds);
    if (t <= course->warmup)
        return (double)t / (double)(course->warmup + 1);
    passed = (double)(t - course->warmup - 1);
    switch (course->schedule) {
    case SP_SCHEDULE_CONSTANT:
        return 1.0;
    case SP_SCHEDULE_LINEAR:
        return (rounds - passed) / rounds;
    case SP_SCHEDULE_COSINE:
        return 0.5 * (1.0 + cos(M_PI * passed / rounds));
    case SP_SCHEDULE_STEP:
        return pow(course->step_factor, floor((double)(t - 1) / (double)course->step_rounds));
    }
    sp_assert(false && "a schedule of the list");
    return 0.0;
}

static uint32_t rounds_of_epochs(const struct sp_job *job, uint64_t examples, double epochs)
{
    double rounds = sp_job_whole_rounds(epochs * (double)sp_job_epoch_rounds(job, examples));

    return rounds >= (double)UINT32_MAX ? UINT32_MAX : (uint32_t)rounds;
}

static struct sp_course make_course(const struct sp_job *job, uint64_t examples, uint32_t rounds,
                                    const struct sp_schedule_step *step)
{
    struct sp_course course = {.rounds = rounds, .step_factor = step->factor};

    course.step_rounds = rounds_of_epochs(job, examples, step->epochs);
    if (course.step_rounds == 0)
        course.step_rounds = 1;
    return course;
}

struct sp_course sp_job_sign_course(const struct sp_job *job, uint64_t examples)
{
    struct sp_course course = make_course(job, examples, sp_job_rounds(job, examples), &job->optimizer.sign.step);

    course.schedule = job->optimizer.sign.schedule;
    course.warmup = rounds_of_epochs(job, examples, job->optimizer.sign.warmup);
    if (course.warmup >= course.rounds)
        course.warmup = course.rounds - 1;
    return course;
}

struct sp_course sp_job_sgd_course(const struct sp_job *job, uint64_t examples, uint32_t rounds)
{
    static const enum sp_schedule schedules[] = {[SP_SGD_SCHEDULE_CONSTANT] = SP_SCHEDULE_CONSTANT,
                                                 [SP_SGD_SCHEDULE_LINEAR] = SP_SCHEDULE_LINEAR,
                                                 [SP_SGD_SCHEDULE_COSINE] = SP_SCHEDULE_COSINE,
                                                 [SP_SGD_SCHEDULE_STEP] = SP_SCHEDULE_STEP};
    struct sp_course course = make_course(job, examples, rounds, &job->optimizer.sgd.step);

    sp_assert(job->optimizer.sgd.schedule != SP_SGD_SCHEDULE_CONTINUE);
    course.schedule = schedules[job->optimizer.sgd.schedule];
    return course;
}

double sp_dither_factor(enum sp_dither_schedule schedule, uint32_t t, uint32_t rounds)
{
    double passed = (double)(t - 1) / (double)rounds;

    sp_assert(t >= 1 && t <= rounds);
    switch (schedule) {
    case SP_DITHER_NONE:
        return 0.0;
    case SP_DITHER_CONSTANT:
        return 1.0;
    case SP_DITHER_EXPONENTIAL:
        return exp(-5.0 * passed);
    case SP_DITHER_LINEAR:
        return 1.0 - passed;
    case SP_DITHER_COSINE:
        return 0.5 * (1.0 + cos(M_PI * passed));
    case SP_DITHER_INVERSE:
        return pow(1.0 + (double)t, -0.55);
    }
    sp_assert(false && "a schedule of the list");
    return 0.0;
}
