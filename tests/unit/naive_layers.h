/* Twins of worker/train/layers.h as plain loops, in double, with a loop order of their own: what the real ones are
 * compared with. Names, shapes and meanings are the same. For tests only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void naive_dense_forward(const double *x, const double *weight, const double *bias, size_t n, size_t in, size_t out,
                         double *y);
void naive_dense_backward(const double *x, const double *weight, const double *d_y, size_t n, size_t in, size_t out,
                          double *d_weight, double *d_bias, double *d_x);
void naive_relu_forward(double *y, size_t count);
void naive_relu_backward(const double *y, double *d_y, size_t count);
double naive_softmax_loss(const double *logits, size_t classes, uint8_t label, double scale, double *d_logits);
