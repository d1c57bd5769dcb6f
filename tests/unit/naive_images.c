#include "tests/unit/naive_images.h"

#include <math.h>
#include <string.h>

/* Where the pixel is that place (a, b) of the window meets at output (r, c), or NULL outside. */
static const double *pixel(const struct naive_conv *conv, const double *x, size_t n, size_t k, size_t i, size_t at_row,
                           size_t at_column)
{
    if (at_row < conv->pad || at_column < conv->pad)
        return NULL;
    at_row -= conv->pad;
    at_column -= conv->pad;
    if (at_row >= conv->height || at_column >= conv->width)
        return NULL;
    return x + ((k * n + i) * conv->height + at_row) * conv->width + at_column;
}

/* Calls `each` for every product of a weight and a pixel that goes into an output. */
static void for_each_product(const struct naive_conv *conv, const double *x, size_t n,
                             void (*each)(void *arg, size_t weight, const double *pixel, size_t output), void *arg)
{
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < conv->out_height; r++)
            for (size_t c = 0; c < conv->out_width; c++)
                for (size_t a = 0; a < conv->kernel; a++)
                    for (size_t b = 0; b < conv->kernel; b++)
                        for (size_t k = 0; k < conv->in; k++) {
                            const double *at = pixel(conv, x, n, k, i, r * conv->stride + a, c * conv->stride + b);

                            for (size_t o = 0; at != NULL && o < conv->out; o++)
                                each(arg, ((o * conv->in + k) * conv->kernel + a) * conv->kernel + b, at,
                                     ((o * n + i) * conv->out_height + r) * conv->out_width + c);
                        }
}

struct forward {
    const double *weight;
    double *y;
};

static void add_product(void *arg, size_t weight, const double *at, size_t output)
{
    struct forward *forward = arg;

    forward->y[output] += forward->weight[weight] * *at;
}

void naive_conv_forward(const struct naive_conv *conv, const double *x, const double *weight, const double *bias,
                        size_t n, double *y)
{
    const size_t plane = n * conv->out_height * conv->out_width;
    struct forward forward = {weight, y};

    for (size_t i = 0; i < conv->out * plane; i++)
        y[i] = bias != NULL ? bias[i / plane] : 0.0;
    for_each_product(conv, x, n, add_product, &forward);
}

struct backward {
    const double *x, *weight, *d_y;
    double *d_weight, *d_x;
};

static void add_derivatives(void *arg, size_t weight, const double *at, size_t output)
{
    struct backward *backward = arg;

    backward->d_weight[weight] += backward->d_y[output] * *at;
    backward->d_x[at - backward->x] += backward->d_y[output] * backward->weight[weight];
}

void naive_conv_backward(const struct naive_conv *conv, const double *x, const double *weight, const double *d_y,
                         size_t n, double *d_weight, double *d_bias, double *d_x)
{
    const size_t plane = n * conv->out_height * conv->out_width;
    struct backward backward = {x, weight, d_y, d_weight, d_x};

    memset(d_weight, 0, conv->out * conv->in * conv->kernel * conv->kernel * sizeof *d_weight);
    memset(d_x, 0, conv->in * n * conv->height * conv->width * sizeof *d_x);
    memset(d_bias, 0, conv->out * sizeof *d_bias);
    for (size_t i = 0; i < conv->out * plane; i++)
        d_bias[i / plane] += d_y[i];
    for_each_product(conv, x, n, add_derivatives, &backward);
}

void naive_norm_forward(const double *x, size_t values, double weight, double bias, double *mean, double *variance,
                        double *y)
{
    *mean = *variance = 0.0;
    for (size_t i = values; i-- > 0;)
        *mean += x[i] / (double)values;
    for (size_t i = values; i-- > 0;)
        *variance += (x[i] - *mean) * (x[i] - *mean) / (double)values;
    for (size_t i = 0; i < values; i++)
        y[i] = weight * (x[i] - *mean) / sqrt(*variance + 1e-5) + bias;
}

/* By the chain rule over mean and variance, written out; the real one has it simplified. */
void naive_norm_backward(const double *x, size_t values, double weight, const double *d_y, double *d_weight,
                         double *d_bias, double *d_x)
{
    double mean = 0.0, variance = 0.0, d_variance = 0.0, d_mean = 0.0, deviation;

    *d_weight = *d_bias = 0.0;
    for (size_t i = 0; i < values; i++)
        mean += x[i] / (double)values;
    for (size_t i = 0; i < values; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)values;
    deviation = sqrt(variance + 1e-5);
    for (size_t i = 0; i < values; i++) {
        *d_weight += d_y[i] * (x[i] - mean) / deviation;
        *d_bias += d_y[i];
        d_variance += d_y[i] * weight * (x[i] - mean) * -0.5 / (deviation * deviation * deviation);
        d_mean -= d_y[i] * weight / deviation;
    }
    for (size_t i = 0; i < values; i++)
        d_x[i] =
            d_y[i] * weight / deviation + d_variance * 2.0 * (x[i] - mean) / (double)values + d_mean / (double)values;
}

static size_t best_of(const double *x, size_t width, size_t window, size_t r, size_t c)
{
    size_t best = r * window * width + c * window;

    for (size_t a = 0; a < window; a++)
        for (size_t b = 0; b < window; b++) {
            size_t at = (r * window + a) * width + c * window + b;

            if (x[at] > x[best])
                best = at;
        }
    return best;
}

void naive_max_pool_forward(const double *x, size_t height, size_t width, size_t window, double *y)
{
    for (size_t r = 0; r < height / window; r++)
        for (size_t c = 0; c < width / window; c++)
            y[r * (width / window) + c] = x[best_of(x, width, window, r, c)];
}

void naive_max_pool_backward(const double *x, size_t height, size_t width, size_t window, const double *d_y,
                             double *d_x)
{
    memset(d_x, 0, height * width * sizeof *d_x);
    for (size_t r = 0; r < height / window; r++)
        for (size_t c = 0; c < width / window; c++)
            d_x[best_of(x, width, window, r, c)] += d_y[r * (width / window) + c];
}

void naive_mean_pool_forward(const double *x, size_t channels, size_t n, size_t pixels, double *y)
{
    memset(y, 0, n * channels * sizeof *y);
    for (size_t k = 0; k < pixels; k++)
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < channels; c++)
                y[i * channels + c] += x[(c * n + i) * pixels + k] / (double)pixels;
}

void naive_mean_pool_backward(const double *d_y, size_t channels, size_t n, size_t pixels, double *d_x)
{
    for (size_t k = 0; k < pixels; k++)
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < channels; c++)
                d_x[(c * n + i) * pixels + k] = d_y[i * channels + c] / (double)pixels;
}
