#include "worker/train/layers.h"

#include "common/check.h"
#include "worker/train/data.h"
#include "worker/train/wide.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

void sp_dense_forward(const float *x, const float *weight, const float *bias, uint32_t n, uint32_t in, uint32_t out,
                      float *y)
{
    for (size_t i = 0; i < n; i++)
        memcpy(y + i * out, bias, out * sizeof *y);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)out, (int)in, 1.0f, x, (int)in, weight, (int)in,
                1.0f, y, (int)out);
}

void sp_dense_backward(const float *x, const float *weight, const float *d_y, uint32_t n, uint32_t in, uint32_t out,
                       float *d_weight, float *d_bias, float *d_x)
{
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)out, (int)in, (int)n, 1.0f, d_y, (int)out, x, (int)in,
                0.0f, d_weight, (int)in);
    memset(d_bias, 0, out * sizeof *d_bias);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < out; k++)
            d_bias[k] += d_y[i * out + k];
    }
    if (d_x != NULL)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)in, (int)out, 1.0f, d_y, (int)out, weight,
                    (int)in, 0.0f, d_x, (int)in);
}

/* Both comparisons are false for NaN, which is thus kept. */
SP_WIDE void sp_relu_forward(float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

SP_WIDE void sp_relu_backward(const float *y, float *d_y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        d_y[i] = y[i] <= 0.0f ? 0.0f : d_y[i];
}

double sp_softmax_loss(const float *logits, uint32_t classes, uint8_t label, double scale, float *d_logits)
{
    double power[SP_CLASSES_MAX];
    double highest, sum = 0.0;

    sp_assert(classes >= 1 && classes <= SP_CLASSES_MAX);
    sp_assert(label < classes);
    highest = (double)logits[0];
    for (uint32_t k = 1; k < classes; k++)
        highest = (double)logits[k] > highest ? (double)logits[k] : highest;
    for (uint32_t k = 0; k < classes; k++) {
        power[k] = exp((double)logits[k] - highest);
        sum += power[k];
    }
    if (d_logits != NULL) {
        for (uint32_t k = 0; k < classes; k++)
            d_logits[k] = (float)(scale * (power[k] / sum - (k == label ? 1.0 : 0.0)));
    }
    return log(sum) + (highest - (double)logits[label]);
}

uint32_t sp_softmax_predict(const float *logits, uint32_t classes)
{
    uint32_t best = 0;

    for (uint32_t k = 0; k < classes; k++) {
        if (isnan(logits[k]))
            return SP_NOBODY;
        if (logits[k] > logits[best])
            best = k;
    }
    return best;
}

bool sp_softmax_correct(const float *logits, uint32_t classes, uint8_t label)
{
    return sp_softmax_predict(logits, classes) == label;
}
