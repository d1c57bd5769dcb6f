/* What takes images apart and together: max-pooling, the mean of a channel, and images as rows of a linear layer.
 * Images lie channel by channel, [channels, n, height, width]; a plane is one channel of one image. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of square windows side by side; a row or column that fills no window is left out (torch.nn.MaxPool2d(window)). */
struct sp_pool {
    uint32_t window;
    uint32_t in_height, in_width, out_height, out_width;
};

/* y is the largest value of each window, or NaN if there is one. x and y hold `planes` planes. */
void sp_max_pool_forward(const struct sp_pool *pool, const float *x, size_t planes, float *y);

/* d_x, all of which is written, is d_y where x is y's value, the first in row-major order, and 0 elsewhere. */
void sp_max_pool_backward(const struct sp_pool *pool, const float *x, const float *d_y, size_t planes, float *d_x);

/* y [n, channels] is the mean of each plane of x [channels, n, pixels]. */
void sp_mean_pool_forward(const float *x, uint32_t channels, uint32_t n, size_t pixels, float *y);
void sp_mean_pool_backward(const float *d_y, uint32_t channels, uint32_t n, size_t pixels, float *d_x);

/* y [n, channels, pixels], as torch.flatten() has it, from x [channels, n, pixels]; and back. */
void sp_flatten_forward(const float *x, uint32_t channels, uint32_t n, size_t pixels, float *y);
void sp_flatten_backward(const float *d_y, uint32_t channels, uint32_t n, size_t pixels, float *d_x);
