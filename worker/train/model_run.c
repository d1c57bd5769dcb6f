/* One batch through a model, forward and backward. */
#include "common/check.h"
#include "worker/train/layers.h"
#include "worker/train/model_parts.h"

#include <string.h>

/* A pass: the model, and what it is given. */
struct pass {
    struct sp_model *model;
    const float *theta, *x;
    float *buffers, *gradient;
    uint32_t n;
    bool training;
};

static const float *read_values(const struct pass *pass, uint32_t values)
{
    return values == 0 ? pass->x : pass->model->values[values].data;
}

static float *derivatives(const struct pass *pass, uint32_t values)
{
    const uint32_t slot = pass->model->values[values].slot;

    return slot == SP_NONE ? NULL : pass->model->slots[slot];
}

/* How images lie: the batch example by example, all others channel by channel. */
static struct sp_planes planes_of(const struct pass *pass, uint32_t values)
{
    const struct sp_shape *shape = &pass->model->values[values].shape;
    const size_t plane = (size_t)shape->height * shape->width;

    return values == 0 ? (struct sp_planes){plane, plane * shape->channels}
                       : (struct sp_planes){plane * pass->n, plane};
}

/* Pixels of a plane. */
static size_t pixels_of(const struct sp_values *values)
{
    return (size_t)values->shape.height * values->shape.width;
}

static void norm_forward(const struct pass *pass, const struct sp_op *op, const float *x, float *y)
{
    const float *weight = pass->theta + op->weight, *bias = pass->theta + op->bias;
    const float *around = op->around != SP_NONE ? read_values(pass, op->around) : NULL;
    const size_t values = pass->n * pixels_of(&pass->model->values[op->out]);
    float *mean = pass->buffers + op->mean, *variance = pass->buffers + op->variance;

    if (pass->training)
        sp_norm_forward(&op->norm, x, values, weight, bias, around, op->saved, mean, variance, y);
    else
        sp_norm_apply(&op->norm, x, values, weight, bias, around, mean, variance, y);
}

static void op_forward(const struct pass *pass, const struct sp_op *op)
{
    const struct sp_values *in = &pass->model->values[op->in], *out = &pass->model->values[op->out];
    const float *x = read_values(pass, op->in), *weight = pass->theta + op->weight, *bias = pass->theta + op->bias;
    const uint32_t n = pass->n;

    switch (op->kind) {
    case SP_OP_DENSE:
        sp_dense_forward(x, weight, bias, n, (uint32_t)in->count, (uint32_t)out->count, out->data);
        break;
    case SP_OP_CONV:
        sp_conv_forward(&op->conv, x, planes_of(pass, op->in), weight, op->has_bias ? bias : NULL, n,
                        pass->model->conv_room, out->data);
        break;
    case SP_OP_NORM:
        norm_forward(pass, op, x, out->data);
        break;
    case SP_OP_RELU:
        sp_relu_forward(out->data, (size_t)n * out->count);
        break;
    case SP_OP_MAX_POOL:
        sp_max_pool_forward(&op->pool, x, (size_t)n * in->shape.channels, out->data);
        break;
    case SP_OP_MEAN_POOL:
        sp_mean_pool_forward(x, in->shape.channels, n, pixels_of(in), out->data);
        break;
    case SP_OP_FLATTEN:
        sp_flatten_forward(x, in->shape.channels, n, pixels_of(in), out->data);
        break;
    }
}

static void say_progress(const struct sp_model *model)
{
    if (model->progress != NULL)
        model->progress(model->progress_arg);
}

const float *sp_model_forward(struct sp_model *model, const float *theta, float *buffers, const float *x, uint32_t n,
                              bool training)
{
    const struct pass pass = {.model = model, .theta = theta, .x = x, .buffers = buffers, .n = n, .training = training};

    sp_assert(n >= 1 && n <= model->batch_max);
    sp_assert(buffers != NULL || model->layout.buffers == 0);
    for (uint32_t i = 0; i < model->ops_count; i++) {
        op_forward(&pass, &model->ops[i]);
        say_progress(model);
    }
    return model->values[model->ops[model->ops_count - 1].out].data;
}

float *sp_model_logit_derivatives(struct sp_model *model)
{
    return model->slots[model->values[model->ops[model->ops_count - 1].out].slot];
}

/* --- backward --------------------------------------------------------------------------------------------------------
 */

static void conv_backward(const struct pass *pass, const struct sp_op *op, const float *d_y)
{
    float *d_x = derivatives(pass, op->in);

    if (d_x != NULL && !op->adds)
        memset(d_x, 0, pass->n * pass->model->values[op->in].count * sizeof *d_x);
    sp_conv_backward(&op->conv, read_values(pass, op->in), planes_of(pass, op->in), pass->theta + op->weight, d_y,
                     pass->n, pass->model->conv_room, pass->gradient + op->weight,
                     op->has_bias ? pass->gradient + op->bias : NULL, d_x);
}

/* In place: the derivatives of `out` become those of `in`, which share the slot. */
static void norm_backward(const struct pass *pass, const struct sp_op *op, float *d)
{
    const struct sp_values *out = &pass->model->values[op->out];
    const size_t all = pass->n * out->count;

    if (op->norm.relu)
        sp_relu_backward(out->data, d, all);
    if (op->around != SP_NONE)
        memcpy(derivatives(pass, op->around), d, all * sizeof *d);
    sp_norm_backward(&op->norm, read_values(pass, op->in), pass->n * pixels_of(out), pass->theta + op->weight,
                     op->saved, pass->gradient + op->weight, pass->gradient + op->bias, d);
}

static void op_backward(const struct pass *pass, const struct sp_op *op)
{
    const struct sp_values *in = &pass->model->values[op->in], *out = &pass->model->values[op->out];
    float *d_y = derivatives(pass, op->out), *d_x = derivatives(pass, op->in);
    const uint32_t n = pass->n;

    switch (op->kind) {
    case SP_OP_DENSE:
        sp_dense_backward(read_values(pass, op->in), pass->theta + op->weight, d_y, n, (uint32_t)in->count,
                          (uint32_t)out->count, pass->gradient + op->weight, pass->gradient + op->bias, d_x);
        break;
    case SP_OP_CONV:
        conv_backward(pass, op, d_y);
        break;
    case SP_OP_NORM:
        norm_backward(pass, op, d_y);
        break;
    case SP_OP_RELU:
        sp_relu_backward(out->data, d_y, (size_t)n * out->count);
        break;
    case SP_OP_MAX_POOL:
        sp_max_pool_backward(&op->pool, read_values(pass, op->in), d_y, (size_t)n * in->shape.channels, d_x);
        break;
    case SP_OP_MEAN_POOL:
        sp_mean_pool_backward(d_y, in->shape.channels, n, pixels_of(in), d_x);
        break;
    case SP_OP_FLATTEN:
        sp_flatten_backward(d_y, in->shape.channels, n, pixels_of(in), d_x);
        break;
    }
}

void sp_model_backward(struct sp_model *model, const float *theta, const float *x, uint32_t n, float *gradient)
{
    const struct pass pass = {.model = model, .theta = theta, .x = x, .n = n, .gradient = gradient, .training = true};

    for (uint32_t i = model->ops_count; i-- > 0;) {
        op_backward(&pass, &model->ops[i]);
        say_progress(model);
    }
}
