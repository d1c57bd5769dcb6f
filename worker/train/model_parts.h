/* What the parts of a model (model.c, model_build.c, model_run.c, and a file for each model) know of each other; not
 * for anybody else.
 *
 * A model is a list of operations over numbered arrays of values. Values 0 are the batch itself; the last operation
 * gives the logits. Going forward each operation reads `in` (and `around`) and writes `out`; going backward it turns
 * the derivatives of `out` into those of `in`, of `around` and of its own weights. Derivatives live in a few slots that
 * are used again as soon as nothing needs them any more: model_build.c assigns them once.
 */
#pragma once

#include "worker/train/conv.h"
#include "worker/train/model.h"
#include "worker/train/norm.h"
#include "worker/train/pool.h"

#include <stdbool.h>

#define SP_OPS_MAX 96
#define SP_SLOTS_MAX 8
#define SP_NONE UINT32_MAX

enum sp_op_kind {
    SP_OP_DENSE,
    SP_OP_CONV,
    SP_OP_NORM,
    SP_OP_RELU, /* in place: `in` is `out` */
    SP_OP_MAX_POOL,
    SP_OP_MEAN_POOL,
    SP_OP_FLATTEN
};

struct sp_op {
    enum sp_op_kind kind;
    uint32_t in, out;
    uint32_t around;         /* values that a norm adds, or SP_NONE */
    char name[48];           /* of the layer; its tensors are NAME.weight, NAME.bias, ... */
    uint32_t tensor;         /* index of NAME.weight in the layout; NAME.bias follows it */
    uint64_t weight, bias;   /* their first coordinates */
    uint64_t mean, variance; /* of a norm: first values among the buffers */
    bool has_bias;           /* of a convolution */
    bool adds;               /* backward, others have written derivatives of `in` before: they are added to */
    struct sp_conv conv;
    struct sp_norm norm;
    struct sp_norm_saved *saved; /* of a norm, [channels]; part of the room */
    struct sp_pool pool;
};

struct sp_values {
    struct sp_shape shape; /* of one example */
    uint64_t count;        /* of one example */
    bool rows;             /* [n, count], as linear layers take them; else [channels, n, height, width] */
    float *data;           /* [batch_max * count], part of the room; NULL: the batch */
    uint32_t slot;         /* of their derivatives, or SP_NONE */
};

struct sp_model {
    struct sp_layout layout;
    uint32_t batch_max, classes;
    uint32_t ops_count, values_count;
    struct sp_op ops[SP_OPS_MAX];
    struct sp_values values[SP_OPS_MAX + 1];
    uint32_t slots_count;
    uint64_t slot_count[SP_SLOTS_MAX]; /* values of one example that a slot must hold */
    float *slots[SP_SLOTS_MAX];        /* part of the room */
    float *conv_room;                  /* as well */
    uint64_t conv_bytes, room_bytes;
    void *room; /* owned */
    void (*progress)(void *arg);
    void *progress_arg;
};

/* --- building (model_build.c) ---
 * A builder goes on from the values that the last call made. After a failure its functions do nothing. */

struct sp_builder {
    struct sp_model *model;
    uint32_t at; /* the values that the next operation takes */
    struct sp_error *error;
    int rc;
};

void sp_build_dense(struct sp_builder *b, const char *name, uint32_t out);
void sp_build_conv(struct sp_builder *b, const char *name, uint32_t out, uint32_t kernel, uint32_t stride, uint32_t pad,
                   bool bias);
void sp_build_norm(struct sp_builder *b, const char *name, uint32_t around, bool relu);
void sp_build_relu(struct sp_builder *b);
void sp_build_max_pool(struct sp_builder *b, uint32_t window);
void sp_build_mean_pool(struct sp_builder *b);
void sp_build_flatten(struct sp_builder *b);

/* The models. */
void sp_build_mlp(struct sp_builder *b, const uint32_t *hidden, uint32_t hidden_count); /* softmax: without hidden */
void sp_build_lenet(struct sp_builder *b);
void sp_build_resnet18(struct sp_builder *b, uint32_t width);

/* Adds the buffers to the layout, assigns the slots, and takes the memory. */
void sp_build_finish(struct sp_builder *b);

/* --- running (model_run.c) --- */

/* Returns the logits [n, classes]. With `training` by the batch's own statistics, and buffers go on; else by buffers.
 */
const float *sp_model_forward(struct sp_model *model, const float *theta, float *buffers, const float *x, uint32_t n,
                              bool training);

/* After a forward pass in training: the derivatives of the logits, and what they become for every weight. */
float *sp_model_logit_derivatives(struct sp_model *model);
void sp_model_backward(struct sp_model *model, const float *theta, const float *x, uint32_t n, float *gradient);
