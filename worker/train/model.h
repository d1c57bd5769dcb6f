/* The worker's models: from weights and a batch to loss and gradient.
 *
 * softmax regression: one dense layer. MLP: dense layers of the sizes in `model.hidden`, each followed by ReLU, and one
 * dense layer on top. LeNet and ResNet-18: model_lenet.c, model_resnet.c. The loss is the mean softmax cross-entropy
 * (equations in layers.h). Weights, inputs and gradient are float32, row-major, and belong to the caller; a model owns
 * only its layout and room for a batch.
 *
 * The same input gives the same bits on the same machine with the same number of threads. OpenBLAS and libm may differ
 * between processors. One model serves one thread at a time.
 */
#pragma once

#include "common/error.h"
#include "common/job.h"
#include "common/layout.h"
#include "worker/train/data.h"

#include <stdint.h>

#define SP_MODEL_ROOM_BYTES_MAX (UINT64_C(1) << 35) /* of activations for one batch: 32 GiB */

struct sp_model;

/* Builds the model that job->model (type, hidden, width) describes, for images of this shape and labels below `classes`
 * (1..SP_CLASSES_MAX), with room for batches of up to `batch_max` examples (at least 1). The job is not kept. On
 * success the caller owns *out. Errors: SP_E_RANGE if a size is zero, too large, or too small for the model's
 * convolutions, SP_E_NOMEM. */
int sp_model_create(struct sp_model **out, const struct sp_job *job, const struct sp_shape *shape, uint32_t classes,
                    uint32_t batch_max, struct sp_error *error);

/* Examples that a worker of this job takes at a time at most: train.batch, or what it scores with if that is more. */
uint32_t sp_model_batch(const struct sp_job *job);

/* SP_E_RANGE with words if training by so many examples at a time would normalise single values, so that nothing below
 * that norm learned anything (PyTorch refuses that too). */
int sp_model_check_batch(const struct sp_model *model, uint32_t batch, struct sp_error *error);

/* NULL is allowed. */
void sp_model_destroy(struct sp_model *model);

/* "dense1.weight" [out, in] with SP_TENSOR_DECAY, "dense1.bias" [out] without, "conv1.weight" [out, in, height, width],
 * and so on: the arrays that torch.nn.Linear, Conv2d and BatchNorm2d take; a norm's running statistics are buffers.
 * Belongs to the model. */
const struct sp_layout *sp_model_layout(const struct sp_model *model);

/* What the model holds beside weights and gradient: activations of a batch and their derivatives, and the workspace of
 * convolutions, which the second function gives alone. */
uint64_t sp_model_bytes(const struct sp_model *model);
uint64_t sp_model_conv_bytes(const struct sp_model *model);

/* For people: parameters, tensors, what a batch takes. */
void sp_model_words(const struct sp_model *model, char *words, size_t bytes);

/* `progress(arg)` is called between layers, so that a caller can say that it is alive in a computation of many seconds.
 * NULL: nothing is. */
void sp_model_on_progress(struct sp_model *model, void (*progress)(void *arg), void *arg);

/* Writes initial weights: biases 0; weights of a hidden layer uniform on [-a, a) with a = sqrt(6/in) (K. He et al.,
 * 'Delving deep into rectifiers', ICCV 2015, equation 10, as a uniform law; of a convolution, `in` is channels * height
 * * width of its window), of the last layer with a = 1/sqrt(in); of norms 1. Running means are 0, variances 1.
 * Element e of tensor k is a*(2u - 1), u = sp_rng_unit() of word e%4 of block (e/4, k, 0) of stream SP_RNG_WEIGHTS:
 * the same on every machine. */
void sp_model_init(const struct sp_model *model, uint64_t seed, float *theta, float *buffers);

/* Mean loss over n examples (1..batch_max), added up in double in their order, and its gradient, every element of
 * which is written. x [n, inputs], labels [n], theta and gradient [layout's coordinates]. If anything is not finite on
 * the way, loss and gradient say so by not being finite either. `buffers` [layout's buffers], the running statistics,
 * go on by this batch; NULL if the layout has none. */
double sp_model_gradient(struct sp_model *model, const float *theta, float *buffers, const float *x,
                         const uint8_t *labels, uint32_t n, float *gradient);

/* The logits [n, classes] of n examples (1..batch_max), by the running statistics where the model has any. They belong
 * to the model and last until its next use. */
const float *sp_model_logits(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                             uint32_t n);

struct sp_score {
    uint64_t correct, total; /* examples */
    double loss_sum;         /* of the single examples' losses */
};

/* Adds n more examples (any number, taken batch_max at a time) to a score; for `correct` see sp_softmax_correct(). */
void sp_model_score(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                    const uint8_t *labels, uint64_t n, struct sp_score *add_to);

/* Threads of OpenBLAS (at least 1), for the whole process. */
void sp_model_set_threads(uint32_t threads);
