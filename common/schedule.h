/* How rates change over a job of T rounds; t counts from 1. Only the server evaluates these: workers get numbers. */
#pragma once

#include "common/job.h"

#include <stdint.h>

/* A learning rate's course. */
struct sp_course {
    enum sp_schedule schedule;
    uint32_t rounds;      /* T: of the whole job, or of the phase that the course spans */
    uint32_t warmup;      /* W: rounds in which it first rises; less than T */
    uint32_t step_rounds; /* with STEP: rounds between steps, at least 1 */
    double step_factor;
};

/* Factor of the learning rate in round t, 1..T: t/(W+1) up to round W; then with u = t-W of U = T-W
 *     constant 1    linear (U-u+1)/U    cosine (1+cos(pi(u-1)/U))/2    step step_factor^floor((t-1)/step_rounds)  */
double sp_schedule_factor(const struct sp_course *course, uint32_t t);

/* The course of the sign phase's rate, over the whole job; of the SGD phase's, if it is one of its own (not
 * `continue`), over `rounds`. A warm-up or a step is rounded up to whole rounds; a warm-up leaves the schedule one
 * round at least. */
struct sp_course sp_job_sign_course(const struct sp_job *job, uint64_t examples);
struct sp_course sp_job_sgd_course(const struct sp_job *job, uint64_t examples, uint32_t rounds);

/* Factor of the dither: 0 (none), 1, exp(-5(t-1)/T), 1-(t-1)/T, (1+cos(pi(t-1)/T))/2, (1+t)^-0.55. */
double sp_dither_factor(enum sp_dither_schedule schedule, uint32_t t, uint32_t rounds);
