#include "worker/train/pool.h"

#include "worker/train/wide.h"

#include <math.h>
#include <string.h>

/* Where in its plane the largest value of a window lies: the first of equal ones, or the last NaN. */
static inline size_t largest(const struct sp_pool *pool, const float *x, size_t row, size_t column)
{
    size_t best = row * pool->window * pool->in_width + column * pool->window;
    size_t at = best;

    for (uint32_t a = 0; a < pool->window; a++, at += pool->in_width - pool->window)
        for (uint32_t b = 0; b < pool->window; b++, at++)
            if (x[at] > x[best] || isnan(x[at]))
                best = at;
    return best;
}

void sp_max_pool_forward(const struct sp_pool *pool, const float *x, size_t planes, float *y)
{
    for (size_t p = 0; p < planes; p++, x += (size_t)pool->in_height * pool->in_width)
        for (size_t r = 0; r < pool->out_height; r++)
            for (size_t c = 0; c < pool->out_width; c++)
                *y++ = x[largest(pool, x, r, c)];
}

void sp_max_pool_backward(const struct sp_pool *pool, const float *x, const float *d_y, size_t planes, float *d_x)
{
    const size_t plane = (size_t)pool->in_height * pool->in_width;

    memset(d_x, 0, planes * plane * sizeof *d_x);
    for (size_t p = 0; p < planes; p++, x += plane, d_x += plane)
        for (size_t r = 0; r < pool->out_height; r++)
            for (size_t c = 0; c < pool->out_width; c++)
                d_x[largest(pool, x, r, c)] = *d_y++;
}

void sp_mean_pool_forward(const float *x, uint32_t channels, uint32_t n, size_t pixels, float *y)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < n; i++)
            y[i * channels + c] = (float)(sp_wide_sum(x + (c * n + i) * pixels, pixels) / (double)pixels);
}

void sp_mean_pool_backward(const float *d_y, uint32_t channels, uint32_t n, size_t pixels, float *d_x)
{
    const float share = (float)(1.0 / (double)pixels);

    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < pixels; k++)
                *d_x++ = d_y[i * channels + c] * share;
}

void sp_flatten_forward(const float *x, uint32_t channels, uint32_t n, size_t pixels, float *y)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < n; i++)
            memcpy(y + (i * channels + c) * pixels, x + (c * n + i) * pixels, pixels * sizeof *x);
}

void sp_flatten_backward(const float *d_y, uint32_t channels, uint32_t n, size_t pixels, float *d_x)
{
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < n; i++)
            memcpy(d_x + (c * n + i) * pixels, d_y + (i * channels + c) * pixels, pixels * sizeof *d_x);
}
