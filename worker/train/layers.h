/* The layers that models are made of: free functions over plain arrays, forward and backward side by side. All arrays
 * are row-major float32 and belong to the caller; n is the number of examples. A `d_` array holds the derivatives of
 * the loss with respect to what its name goes on with. tests/unit/naive_layers.c has each of them as plain loops.
 *
 * NaN and infinity pass through, so that whoever checks the gradient sees them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y = x W^T + b, the convention of torch.nn.Linear.
 * x [n, in], weight [out, in], bias [out], y [n, out]; all sizes fit int. */
void sp_dense_forward(const float *x, const float *weight, const float *bias, uint32_t n, uint32_t in, uint32_t out,
                      float *y);

/* d_weight = d_y^T x, d_bias = the sum of d_y's rows in order, d_x = d_y W; each is overwritten.
 * d_x [n, in] may be NULL (the first layer has no use for it). */
void sp_dense_backward(const float *x, const float *weight, const float *d_y, uint32_t n, uint32_t in, uint32_t out,
                       float *d_weight, float *d_bias, float *d_x);

/* y = max(y, 0), in place. */
void sp_relu_forward(float *y, size_t count);

/* d_y is set to 0 where y, the layer's output, is 0; the derivative at the kink is taken as 0, as PyTorch does. */
void sp_relu_backward(const float *y, float *d_y, size_t count);

/* Softmax and cross-entropy of one example with 1..SP_CLASSES_MAX logits z and a label y below `classes`:
 *     loss = log(sum_k exp(z_k - max z)) + max z - z_y          (log-sum-exp: no overflow), in double
 *     d_logits_k = scale * (softmax(z)_k - [k == y])            scale = 1/n for the mean over n examples
 * d_logits [classes] may be NULL. Returns the loss, unscaled. */
double sp_softmax_loss(const float *logits, uint32_t classes, uint8_t label, double scale, float *d_logits);

/* The class with the highest logit. Of equal logits the lowest class wins; with a NaN among them nobody does. */
#define SP_NOBODY UINT32_MAX
uint32_t sp_softmax_predict(const float *logits, uint32_t classes);

/* Whether that is the label. */
bool sp_softmax_correct(const float *logits, uint32_t classes, uint8_t label);
