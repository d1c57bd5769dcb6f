/* Twins of worker/train/conv.h, norm.h and pool.h as plain loops, in double, with a loop order of their own: what the
 * real ones are compared with. Names and meanings are the same; images lie channel by channel. For tests only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct naive_conv {
    size_t in, out, kernel, stride, pad, height, width, out_height, out_width;
};

void naive_conv_forward(const struct naive_conv *conv, const double *x, const double *weight, const double *bias,
                        size_t n, double *y);
/* d_x is overwritten. */
void naive_conv_backward(const struct naive_conv *conv, const double *x, const double *weight, const double *d_y,
                         size_t n, double *d_weight, double *d_bias, double *d_x);

/* y before ReLU, for one channel; mean and variance are this batch's. */
void naive_norm_forward(const double *x, size_t values, double weight, double bias, double *mean, double *variance,
                        double *y);
void naive_norm_backward(const double *x, size_t values, double weight, const double *d_y, double *d_weight,
                         double *d_bias, double *d_x);

void naive_max_pool_forward(const double *x, size_t height, size_t width, size_t window, double *y);
/* d_x is overwritten. */
void naive_max_pool_backward(const double *x, size_t height, size_t width, size_t window, const double *d_y,
                             double *d_x);

void naive_mean_pool_forward(const double *x, size_t channels, size_t n, size_t pixels, double *y);
void naive_mean_pool_backward(const double *d_y, size_t channels, size_t n, size_t pixels, double *d_x);
