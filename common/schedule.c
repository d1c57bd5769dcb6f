#include "common/schedule.h"

#include "common/check.h"

#include <math.h>
#include <stdbool.h>

double sp_schedule_factor(enum sp_schedule schedule, uint32_t t, uint32_t rounds)
{
    sp_assert(t >= 1 && t <= rounds);
    switch (schedule) {
    case SP_SCHEDULE_CONSTANT:
        return 1.0;
    case SP_SCHEDULE_LINEAR:
        return (double)(rounds - t + 1) / (double)rounds;
    }
    sp_assert(false && "a schedule of the list");
    return 0.0;
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
