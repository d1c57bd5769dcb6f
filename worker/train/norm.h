/* Batch normalisation (S. Ioffe and C. Szegedy, ICML 2015, algorithm 1), with what mostly follows it: the sum with a
 * way around (of residual networks), and ReLU. Conventions and constants are those of torch.nn.BatchNorm2d.
 *
 * Images lie channel by channel, [channels, values], values = n*height*width. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_NORM_EPS 1e-5
#define SP_NORM_MOMENTUM 0.1

struct sp_norm {
    uint32_t channels;
    bool relu;
};

/* What a backward pass needs of the forward one, for each channel. */
struct sp_norm_saved {
    double mean;
    double inverse; /* 1/sqrt(variance + eps) */
};

/*     y = (x - mean) / sqrt(variance + eps) * weight + bias (+ around) (, then ReLU)
 * with mean and variance of this batch (divided by `values`). saved [channels]. The running statistics [channels] go
 * on by one tenth of this batch's, the variance divided by values - 1; with one value it is 0. */
void sp_norm_forward(const struct sp_norm *norm, const float *x, size_t values, const float *weight, const float *bias,
                     const float *around, struct sp_norm_saved *saved, float *running_mean, float *running_var,
                     float *y);

/* The same by the running statistics. */
void sp_norm_apply(const struct sp_norm *norm, const float *x, size_t values, const float *weight, const float *bias,
                   const float *around, const float *running_mean, const float *running_var, float *y);

/* d holds d_y, past the gate of ReLU (sp_relu_backward()), and becomes d_x. */
void sp_norm_backward(const struct sp_norm *norm, const float *x, size_t values, const float *weight,
                      const struct sp_norm_saved *saved, float *d_weight, float *d_bias, float *d);
