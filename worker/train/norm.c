#include "worker/train/norm.h"

#include "worker/train/wide.h"

#include <math.h>

/* y = (x - mean)*scale + bias (+ around), of one channel. NaN fails the comparison of ReLU, and is thus kept. */
SP_WIDE static void shift(const float *x, size_t values, float mean, float scale, float bias, const float *around,
                          bool relu, float *y)
{
    if (around != NULL)
        for (size_t i = 0; i < values; i++)
            y[i] = (x[i] - mean) * scale + bias + around[i];
    else
        for (size_t i = 0; i < values; i++)
            y[i] = (x[i] - mean) * scale + bias;
    if (relu)
        for (size_t i = 0; i < values; i++)
            y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

void sp_norm_forward(const struct sp_norm *norm, const float *x, size_t values, const float *weight, const float *bias,
                     const float *around, struct sp_norm_saved *saved, float *running_mean, float *running_var,
                     float *y)
{
    for (size_t c = 0; c < norm->channels; c++, x += values, y += values) {
        const double mean = sp_wide_sum(x, values) / (double)values;
        const double spread = sp_wide_spread(x, values, mean);
        const double unbiased = values > 1 ? spread / (double)(values - 1) : 0.0;

        saved[c].mean = mean;
        saved[c].inverse = 1.0 / sqrt(spread / (double)values + SP_NORM_EPS);
        running_mean[c] = (float)((1.0 - SP_NORM_MOMENTUM) * (double)running_mean[c] + SP_NORM_MOMENTUM * mean);
        running_var[c] = (float)((1.0 - SP_NORM_MOMENTUM) * (double)running_var[c] + SP_NORM_MOMENTUM * unbiased);
        shift(x, values, (float)mean, (float)((double)weight[c] * saved[c].inverse), bias[c],
              around != NULL ? around + c * values : NULL, norm->relu, y);
    }
}

void sp_norm_apply(const struct sp_norm *norm, const float *x, size_t values, const float *weight, const float *bias,
                   const float *around, const float *running_mean, const float *running_var, float *y)
{
    for (size_t c = 0; c < norm->channels; c++) {
        const double scale = (double)weight[c] / sqrt((double)running_var[c] + SP_NORM_EPS);

        shift(x + c * values, values, running_mean[c], (float)scale, bias[c],
              around != NULL ? around + c * values : NULL, norm->relu, y + c * values);
    }
}

/* d_x = scale * (d_y - mean(d_y) - (x - mean) * slope) */
SP_WIDE static void pull_back(const float *x, size_t values, float mean, float scale, float d_mean, float slope,
                              float *d)
{
    for (size_t i = 0; i < values; i++)
        d[i] = scale * (d[i] - d_mean - (x[i] - mean) * slope);
}

void sp_norm_backward(const struct sp_norm *norm, const float *x, size_t values, const float *weight,
                      const struct sp_norm_saved *saved, float *d_weight, float *d_bias, float *d)
{
    for (size_t c = 0; c < norm->channels; c++, x += values, d += values) {
        const double mean = saved[c].mean, inverse = saved[c].inverse;
        const double sum = sp_wide_sum(d, values), dot = sp_wide_dot(d, x, values, mean);

        d_bias[c] = (float)sum;
        d_weight[c] = (float)(dot * inverse);
        pull_back(x, values, (float)mean, (float)((double)weight[c] * inverse), (float)(sum / (double)values),
                  (float)(inverse * inverse * dot / (double)values), d);
    }
}
