#include "worker/train/wide.h"

#define LANES 16

static double tree(double lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++)
            lane[k] += lane[k + half];
    return lane[0];
}

SP_WIDE double sp_wide_sum(const float *values, size_t count)
{
    double lane[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] += (double)values[i + k];
    for (size_t k = 0; i + k < count; k++)
        lane[k] += (double)values[i + k];
    return tree(lane);
}

SP_WIDE double sp_wide_spread(const float *values, size_t count, double mean)
{
    double lane[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double away = (double)values[i + k] - mean;

            lane[k] += away * away;
        }
    for (size_t k = 0; i + k < count; k++) {
        double away = (double)values[i + k] - mean;

        lane[k] += away * away;
    }
    return tree(lane);
}

SP_WIDE double sp_wide_dot(const float *d, const float *values, size_t count, double mean)
{
    double lane[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] += (double)d[i + k] * ((double)values[i + k] - mean);
    for (size_t k = 0; i + k < count; k++)
        lane[k] += (double)d[i + k] * ((double)values[i + k] - mean);
    return tree(lane);
}
