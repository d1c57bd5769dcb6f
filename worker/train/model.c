#include "worker/train/model.h"

#include "common/check.h"
#include "common/rng.h"
#include "worker/train/layers.h"
#include "worker/train/model_parts.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Linear models are scored with more examples at a time, which is faster; what a batch of images takes is counted in
 * megabytes. */
#define SCORE_BATCH 256

uint32_t sp_model_batch(const struct sp_job *job)
{
    const bool images = job->model.type == SP_MODEL_LENET || job->model.type == SP_MODEL_RESNET18;

    return images || job->train.batch > SCORE_BATCH ? job->train.batch : SCORE_BATCH;
}

int sp_model_check_batch(const struct sp_model *model, uint32_t batch, struct sp_error *error)
{
    for (uint32_t i = 0; i < model->ops_count; i++) {
        const struct sp_op *op = &model->ops[i];
        const struct sp_shape *shape = &model->values[op->out].shape;

        if (op->kind == SP_OP_NORM && (uint64_t)batch * shape->height * shape->width < 2)
            return sp_error_set(
                error, SP_E_RANGE,
                "train.batch: with %u, layer %s has a single value a channel to normalise; give at least 2, or "
                "larger images",
                batch, op->name);
    }
    return SP_OK;
}

static void build(struct sp_builder *b, const struct sp_job *job)
{
    switch (job->model.type) {
    case SP_MODEL_SOFTMAX:
        sp_build_mlp(b, NULL, 0);
        break;
    case SP_MODEL_MLP:
        sp_build_mlp(b, job->model.hidden, job->model.hidden_count);
        break;
    case SP_MODEL_LENET:
        sp_build_lenet(b);
        break;
    case SP_MODEL_RESNET18:
        sp_build_resnet18(b, job->model.width);
        break;
    }
    sp_build_finish(b);
}

int sp_model_create(struct sp_model **out, const struct sp_job *job, const struct sp_shape *shape, uint32_t classes,
                    uint32_t batch_max, struct sp_error *error)
{
    const uint64_t plane = (uint64_t)shape->height * shape->width;
    struct sp_builder b = {.error = error};

    if (plane < 1 || plane > SP_INPUTS_MAX || shape->channels < 1 || plane * shape->channels > SP_INPUTS_MAX)
        return sp_error_set(error, SP_E_RANGE, "images of %u x %u x %u; 1 to %llu values are allowed", shape->channels,
                            shape->height, shape->width, (unsigned long long)SP_INPUTS_MAX);
    if (job->model.type == SP_MODEL_RESNET18 && (shape->height == 1 || shape->width == 1))
        return sp_error_set(
            error, SP_E_RANGE,
            "model.type: resnet18 takes images, but these examples are %u x %u x %u; text has a shape by "
            "data.csv.shape",
            shape->channels, shape->height, shape->width);
    if (classes < 1 || classes > SP_CLASSES_MAX)
        return sp_error_set(error, SP_E_RANGE, "%u classes; 1 to %d are allowed", classes, SP_CLASSES_MAX);
    if (batch_max < 1 || batch_max > INT_MAX)
        return sp_error_set(error, SP_E_RANGE, "a batch of %u examples; 1 to %d are allowed", batch_max, INT_MAX);
    b.model = calloc(1, sizeof *b.model);
    if (b.model == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a model");
    b.model->batch_max = batch_max;
    b.model->classes = classes;
    b.model->values_count = 1;
    b.model->values[0] = (struct sp_values){.shape = *shape, .count = plane * shape->channels, .slot = SP_NONE};
    build(&b, job);
    if (b.rc != SP_OK) {
        sp_model_destroy(b.model);
        (void)sp_error_prefix(error, "images of %u x %u x %u", shape->channels, shape->height, shape->width);
        return b.rc;
    }
    *out = b.model;
    return SP_OK;
}

void sp_model_destroy(struct sp_model *model)
{
    if (model == NULL)
        return;
    sp_layout_finish(&model->layout);
    free(model->room);
    free(model);
}

const struct sp_layout *sp_model_layout(const struct sp_model *model)
{
    return &model->layout;
}

uint64_t sp_model_bytes(const struct sp_model *model)
{
    return model->room_bytes;
}

uint64_t sp_model_conv_bytes(const struct sp_model *model)
{
    return model->conv_bytes;
}

void sp_model_words(const struct sp_model *model, char *words, size_t bytes)
{
    const struct sp_layout *layout = &model->layout;
    char statistics[64] = "", convolutions[64] = "";

    if (layout->buffers > 0)
        (void)snprintf(statistics, sizeof statistics, " and %llu running statistics",
                       (unsigned long long)layout->buffers);
    if (model->conv_bytes > 0)
        (void)snprintf(convolutions, sizeof convolutions, ", %.1f MB of it for convolutions",
                       (double)model->conv_bytes / 1e6);
    (void)snprintf(words, bytes,
                   "%llu parameters in %u tensors%s; a batch of %u takes %.1f MB%s, beside %.1f MB each for weights, "
                   "momentum and gradient",
                   (unsigned long long)layout->coordinates, layout->trained, statistics, model->batch_max,
                   (double)model->room_bytes / 1e6, convolutions, (double)layout->coordinates * sizeof(float) / 1e6);
}

void sp_model_on_progress(struct sp_model *model, void (*progress)(void *arg), void *arg)
{
    model->progress = progress;
    model->progress_arg = arg;
}

/* 2u - 1 is exact in float32, so the one rounding is that of the product. */
static void init_uniform(uint64_t seed, uint32_t tensor, float bound, float *values, uint64_t count)
{
    const struct sp_rng_key key = sp_rng_key(seed, SP_RNG_WEIGHTS);
    uint32_t word[4];

    for (uint64_t e = 0; e < count; e++) {
        if (e % 4 == 0)
            sp_rng_block(key, e / 4, tensor, 0, word);
        values[e] = bound * (2.0f * sp_rng_unit(word[e % 4]) - 1.0f);
    }
}

/* The one bound of a layer's weights: what follows but the last layer is ReLU, or a norm. */
static float bound(const struct sp_model *model, const struct sp_op *op)
{
    const struct sp_tensor *weight = &model->layout.tensors[op->tensor];
    const uint64_t inputs = weight->count / weight->shape[0];
    const bool last = op == &model->ops[model->ops_count - 1];

    return (float)sqrt((last ? 1.0 : 6.0) / (double)inputs);
}

static void fill(float *values, uint64_t count, float value)
{
    for (uint64_t i = 0; i < count; i++)
        values[i] = value;
}

void sp_model_init(const struct sp_model *model, uint64_t seed, float *theta, float *buffers)
{
    memset(theta, 0, (size_t)model->layout.coordinates * sizeof *theta);
    for (uint32_t i = 0; i < model->ops_count; i++) {
        const struct sp_op *op = &model->ops[i];

        if (op->kind == SP_OP_DENSE || op->kind == SP_OP_CONV)
            init_uniform(seed, op->tensor, bound(model, op), theta + op->weight,
                         model->layout.tensors[op->tensor].count);
        if (op->kind == SP_OP_NORM) {
            fill(theta + op->weight, op->norm.channels, 1.0f);
            fill(buffers + op->mean, op->norm.channels, 0.0f);
            fill(buffers + op->variance, op->norm.channels, 1.0f);
        }
    }
}

double sp_model_gradient(struct sp_model *model, const float *theta, float *buffers, const float *x,
                         const uint8_t *labels, uint32_t n, float *gradient)
{
    const float *logits = sp_model_forward(model, theta, buffers, x, n, true);
    float *d_logits = sp_model_logit_derivatives(model);
    const size_t classes = model->classes;
    const double scale = 1.0 / (double)n;
    double loss = 0.0;

    for (size_t i = 0; i < n; i++)
        loss += sp_softmax_loss(logits + i * classes, model->classes, labels[i], scale, d_logits + i * classes);
    sp_model_backward(model, theta, x, n, gradient);
    return loss / (double)n;
}

const float *sp_model_logits(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                             uint32_t n)
{
    return sp_model_forward(model, theta, (float *)buffers, x, n, false);
}

void sp_model_score(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                    const uint8_t *labels, uint64_t n, struct sp_score *add_to)
{
    const size_t inputs = (size_t)model->values[0].count, classes = model->classes;

    while (n > 0) {
        uint32_t count = n < model->batch_max ? (uint32_t)n : model->batch_max;
        const float *logits = sp_model_logits(model, theta, buffers, x, count);

        for (size_t i = 0; i < count; i++) {
            add_to->loss_sum += sp_softmax_loss(logits + i * classes, model->classes, labels[i], 1.0, NULL);
            add_to->correct += sp_softmax_correct(logits + i * classes, model->classes, labels[i]);
        }
        add_to->total += count;
        x += count * inputs;
        labels += count;
        n -= count;
    }
}

void sp_model_set_threads(uint32_t threads)
{
    sp_assert(threads >= 1 && threads <= INT_MAX);
    openblas_set_num_threads((int)threads);
}
