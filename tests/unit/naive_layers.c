#include "tests/unit/naive_layers.h"

#include <math.h>

void naive_dense_forward(const double *x, const double *weight, const double *bias, size_t n, size_t in, size_t out,
                         double *y)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t o = 0; o < out; o++) {
            y[i * out + o] = bias[o];
            for (size_t k = 0; k < in; k++)
                y[i * out + o] += x[i * in + k] * weight[o * in + k];
        }
    }
}

void naive_dense_backward(const double *x, const double *weight, const double *d_y, size_t n, size_t in, size_t out,
                          double *d_weight, double *d_bias, double *d_x)
{
    for (size_t o = 0; o < out; o++) {
        d_bias[o] = 0.0;
        for (size_t k = 0; k < in; k++)
            d_weight[o * in + k] = 0.0;
        for (size_t i = 0; i < n; i++) {
            d_bias[o] += d_y[i * out + o];
            for (size_t k = 0; k < in; k++)
                d_weight[o * in + k] += d_y[i * out + o] * x[i * in + k];
        }
    }
    for (size_t i = 0; d_x != NULL && i < n; i++) {
        for (size_t k = 0; k < in; k++) {
            d_x[i * in + k] = 0.0;
            for (size_t o = 0; o < out; o++)
                d_x[i * in + k] += d_y[i * out + o] * weight[o * in + k];
        }
    }
}

void naive_relu_forward(double *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] > 0.0 ? y[i] : 0.0;
}

void naive_relu_backward(const double *y, double *d_y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        d_y[i] = y[i] > 0.0 ? d_y[i] : 0.0;
}

double naive_softmax_loss(const double *logits, size_t classes, uint8_t label, double scale, double *d_logits)
{
    double sum = 0.0;

    for (size_t k = 0; k < classes; k++)
        sum += exp(logits[k] - logits[label]);
    for (size_t k = 0; d_logits != NULL && k < classes; k++)
        d_logits[k] = scale * (exp(logits[k] - logits[label]) / sum - (k == label));
    return log(sum);
}
