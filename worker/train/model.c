#include "worker/train/model.h"

#include "common/check.h"
#include "common/rng.h"
#include "worker/train/data.h"
#include "worker/train/layers.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX (SP_HIDDEN_MAX + 1)

struct layer {
    uint32_t in, out;
    uint64_t weight, bias; /* their first coordinates */
    float *y;              /* [batch_max, out], after ReLU if there is one; part of the model's room */
};

struct sp_model {
    void (*progress)(void *arg);
    void *progress_arg;
    uint64_t room_bytes;
    struct sp_layout layout;
    uint32_t batch_max;
    uint32_t layers_count;
    struct layer layers[LAYERS_MAX]; /* every one but the last is followed by ReLU */
    float *delta[2];                 /* [batch_max, widest layer]; part of the room */
    float *room;                     /* owned: the activations of all layers, and both deltas */
};

/* Fills in tensor 2*i (weight) and 2*i+1 (bias) of the layout, and layer i. */
static int add_dense(struct sp_model *model, uint32_t in, uint32_t out, struct sp_error *error)
{
    struct sp_tensor weight = {.dims = 2, .flags = SP_TENSOR_DECAY, .shape = {out, in}};
    struct sp_tensor bias = {.dims = 1, .shape = {out}};
    uint32_t i = model->layers_count;
    int rc;

    sp_assert(i < LAYERS_MAX);
    if (in > INT_MAX || out > INT_MAX)
        return sp_error_set(error, SP_E_RANGE, "layer %u: %u inputs and %u outputs; at most %d each are allowed", i + 1,
                            in, out, INT_MAX);
    (void)snprintf(weight.name, sizeof weight.name, "dense%u.weight", i + 1);
    (void)snprintf(bias.name, sizeof bias.name, "dense%u.bias", i + 1);
    rc = sp_layout_add(&model->layout, &weight, error);
    if (rc == SP_OK)
        rc = sp_layout_add(&model->layout, &bias, error);
    if (rc != SP_OK)
        return rc;
    model->layers[i].in = in;
    model->layers[i].out = out;
    model->layers[i].weight = model->layout.tensors[2 * i].first;
    model->layers[i].bias = model->layout.tensors[2 * i + 1].first;
    model->layers_count++;
    return SP_OK;
}

static int add_layers(struct sp_model *model, const struct sp_job *job, uint32_t inputs, uint32_t classes,
                      struct sp_error *error)
{
    uint32_t hidden = job->model.type == SP_MODEL_MLP ? job->model.hidden_count : 0;
    uint32_t in = inputs;

    sp_assert(hidden <= SP_HIDDEN_MAX);
    for (uint32_t i = 0; i < hidden; i++) {
        int rc = add_dense(model, in, job->model.hidden[i], error);

        if (rc != SP_OK)
            return rc;
        in = job->model.hidden[i];
    }
    return add_dense(model, in, classes, error);
}

/* Allocates the room for one batch and hands out its parts. No layer is wider than INT_MAX: the sums fit 64 bits. */
static int make_room(struct sp_model *model, struct sp_error *error)
{
    uint64_t widest = 0, width = 0, bytes;
    float *next;

    for (uint32_t i = 0; i < model->layers_count; i++) {
        width += model->layers[i].out;
        widest = model->layers[i].out > widest ? model->layers[i].out : widest;
    }
    width += 2 * widest;
    if (width > SP_MODEL_ROOM_BYTES_MAX / sizeof *next / model->batch_max)
        return sp_error_set(error, SP_E_RANGE, "a batch of %u examples needs more than %llu bytes of activations",
                            model->batch_max, (unsigned long long)SP_MODEL_ROOM_BYTES_MAX);
    bytes = width * model->batch_max * sizeof *next;
    sp_assert(bytes > 0);
    model->room_bytes = bytes;
    model->room = malloc((size_t)bytes);
    if (model->room == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for %llu bytes of activations", (unsigned long long)bytes);
    next = model->room;
    for (uint32_t i = 0; i < model->layers_count; i++) {
        model->layers[i].y = next;
        next += (uint64_t)model->batch_max * model->layers[i].out;
    }
    model->delta[0] = next;
    model->delta[1] = next + model->batch_max * widest;
    return SP_OK;
}

int sp_model_create(struct sp_model **out, const struct sp_job *job, const struct sp_shape *shape, uint32_t classes,
                    uint32_t batch_max, struct sp_error *error)
{
    const uint32_t inputs = shape->channels * shape->height * shape->width;
    struct sp_model *model;
    int rc;

    if (classes < 1 || classes > SP_CLASSES_MAX)
        return sp_error_set(error, SP_E_RANGE, "%u classes; 1 to %d are allowed", classes, SP_CLASSES_MAX);
    if (batch_max < 1 || batch_max > INT_MAX)
        return sp_error_set(error, SP_E_RANGE, "a batch of %u examples; 1 to %d are allowed", batch_max, INT_MAX);
    model = calloc(1, sizeof *model);
    if (model == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a model");
    model->batch_max = batch_max;
    rc = add_layers(model, job, inputs, classes, error);
    if (rc == SP_OK)
        rc = make_room(model, error);
    if (rc != SP_OK) {
        sp_model_destroy(model);
        return rc;
    }
    *out = model;
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

void sp_model_init(const struct sp_model *model, uint64_t seed, float *theta, float *buffers)
{
    for (uint32_t i = 0; i < model->layers_count; i++) {
        const struct layer *layer = &model->layers[i];
        bool last = i == model->layers_count - 1;
        double bound = sqrt((last ? 1.0 : 6.0) / (double)layer->in);

        init_uniform(seed, 2 * i, (float)bound, theta + layer->weight, (uint64_t)layer->in * layer->out);
        memset(theta + layer->bias, 0, layer->out * sizeof *theta);
    }
}

/* Returns the logits, [n, classes], which belong to the model and last until its next use. */
static const float *forward(struct sp_model *model, const float *theta, const float *x, uint32_t n)
{
    sp_assert(n >= 1 && n <= model->batch_max);
    for (uint32_t i = 0; i < model->layers_count; i++) {
        const struct layer *layer = &model->layers[i];

        sp_dense_forward(x, theta + layer->weight, theta + layer->bias, n, layer->in, layer->out, layer->y);
        if (i < model->layers_count - 1)
            sp_relu_forward(layer->y, (size_t)n * layer->out);
        x = layer->y;
    }
    return x;
}

/* Carries the derivatives of the logits, in delta[0], down through all layers. */
static void backward(struct sp_model *model, const float *theta, const float *x, uint32_t n, float *gradient)
{
    float *d_y = model->delta[0], *d_x = model->delta[1];

    for (uint32_t i = model->layers_count; i-- > 0;) {
        const struct layer *layer = &model->layers[i];
        const float *input = i > 0 ? model->layers[i - 1].y : x;
        float *done = d_y;

        sp_dense_backward(input, theta + layer->weight, d_y, n, layer->in, layer->out, gradient + layer->weight,
                          gradient + layer->bias, i > 0 ? d_x : NULL);
        if (i > 0)
            sp_relu_backward(input, d_x, (size_t)n * layer->in);
        d_y = d_x;
        d_x = done;
    }
}

double sp_model_gradient(struct sp_model *model, const float *theta, float *buffers, const float *x,
                         const uint8_t *labels, uint32_t n, float *gradient)
{
    const float *logits = forward(model, theta, x, n);
    const size_t classes = model->layers[model->layers_count - 1].out;
    const double scale = 1.0 / (double)n;
    double loss = 0.0;

    for (size_t i = 0; i < n; i++)
        loss +=
            sp_softmax_loss(logits + i * classes, (uint32_t)classes, labels[i], scale, model->delta[0] + i * classes);
    backward(model, theta, x, n, gradient);
    return loss / (double)n;
}

const float *sp_model_logits(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                             uint32_t n)
{
    return forward(model, theta, x, n);
}

void sp_model_score(struct sp_model *model, const float *theta, const float *buffers, const float *x,
                    const uint8_t *labels, uint64_t n, struct sp_score *add_to)
{
    const size_t inputs = model->layers[0].in;
    const size_t classes = model->layers[model->layers_count - 1].out;

    while (n > 0) {
        uint32_t part = n < model->batch_max ? (uint32_t)n : model->batch_max;
        const float *logits = sp_model_logits(model, theta, buffers, x, part);

        for (size_t i = 0; i < part; i++) {
            add_to->loss_sum += sp_softmax_loss(logits + i * classes, (uint32_t)classes, labels[i], 1.0, NULL);
            add_to->correct += sp_softmax_correct(logits + i * classes, (uint32_t)classes, labels[i]);
        }
        add_to->total += part;
        x += part * inputs;
        labels += part;
        n -= part;
    }
}

void sp_model_set_threads(uint32_t threads)
{
    sp_assert(threads >= 1 && threads <= INT_MAX);
    openblas_set_num_threads((int)threads);
}
