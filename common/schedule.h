/* How rates change over a job of T rounds; t counts from 1. Only the server evaluates these: workers get numbers. */
#pragma once

#include "common/job.h"

#include <stdint.h>

/* Factor of the learning rate: 1, or linearly from 1 at t = 1 down to 1/T at t = T. */
double sp_schedule_factor(enum sp_schedule schedule, uint32_t t, uint32_t rounds);

/* Factor of the dither: 0 (none), 1, exp(-5(t-1)/T), 1-(t-1)/T, (1+cos(pi(t-1)/T))/2, (1+t)^-0.55. */
double sp_dither_factor(enum sp_dither_schedule schedule, uint32_t t, uint32_t rounds);
