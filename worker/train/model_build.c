/* Puts a model together: its operations and tensors first, then the memory that a batch needs. */
#include "common/check.h"
#include "worker/train/model_parts.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN_BYTES 64

static void __attribute__((format(printf, 3, 4))) fail(struct sp_builder *b, enum sp_code code, const char *format, ...)
{
    char words[256];
    va_list args;

    if (b->rc != SP_OK)
        return;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    b->rc = sp_error_set(b->error, code, "%s", words);
}

static struct sp_values *here(const struct sp_builder *b)
{
    return &b->model->values[b->at];
}

static struct sp_op *add_op(struct sp_builder *b, enum sp_op_kind kind, const char *name)
{
    struct sp_op *op = &b->model->ops[b->model->ops_count++];

    sp_assert(b->model->ops_count <= SP_OPS_MAX);
    *op = (struct sp_op){.kind = kind, .in = b->at, .out = b->at, .around = SP_NONE};
    (void)snprintf(op->name, sizeof op->name, "%s", name);
    return op;
}

/* New values, which the operation gives and the next one takes. */
static void add_values(struct sp_builder *b, struct sp_op *op, struct sp_shape shape, bool rows)
{
    struct sp_values *values = &b->model->values[b->model->values_count];

    op->out = b->at = b->model->values_count++;
    *values = (struct sp_values){.shape = shape, .rows = rows, .slot = SP_NONE};
    values->count = (uint64_t)shape.channels * shape.height * shape.width;
}

/* Returns the tensor's first coordinate (or value among the buffers). */
static uint64_t add_tensor(struct sp_builder *b, const char *layer, const char *what, struct sp_tensor tensor)
{
    struct sp_layout *layout = &b->model->layout;
    int rc;

    if (b->rc != SP_OK)
        return 0;
    (void)snprintf(tensor.name, sizeof tensor.name, "%s.%s", layer, what);
    rc = sp_layout_add(layout, &tensor, b->error);
    if (rc != SP_OK) {
        b->rc = rc;
        return 0;
    }
    return layout->tensors[layout->tensors_count - 1].first;
}

void sp_build_dense(struct sp_builder *b, const char *name, uint32_t out)
{
    const uint64_t in = here(b)->count;
    struct sp_op *op;

    if (b->rc != SP_OK)
        return;
    if (in > INT_MAX || out > INT_MAX) {
        fail(b, SP_E_RANGE, "layer %s: %llu inputs and %u outputs; at most %d each are allowed", name,
             (unsigned long long)in, out, INT_MAX);
        return;
    }
    op = add_op(b, SP_OP_DENSE, name);
    op->tensor = b->model->layout.tensors_count;
    op->weight =
        add_tensor(b, name, "weight", (struct sp_tensor){.dims = 2, .flags = SP_TENSOR_DECAY, .shape = {out, in}});
    op->bias = add_tensor(b, name, "bias", (struct sp_tensor){.dims = 1, .shape = {out}});
    add_values(b, op, (struct sp_shape){1, 1, out}, true);
}

/* Of an image's side, or 0 if the window does not fit in. */
static uint32_t slide(uint32_t side, uint32_t window, uint32_t stride, uint32_t pad)
{
    const uint64_t padded = side + UINT64_C(2) * pad;

    return padded >= window ? (uint32_t)((padded - window) / stride) + 1 : 0;
}

void sp_build_conv(struct sp_builder *b, const char *name, uint32_t out, uint32_t kernel, uint32_t stride, uint32_t pad,
                   bool bias)
{
    const struct sp_shape shape = here(b)->shape;
    struct sp_conv conv = {.in = shape.channels,
                           .out = out,
                           .kernel = kernel,
                           .stride = stride,
                           .pad = pad,
                           .in_height = shape.height,
                           .in_width = shape.width,
                           .out_height = slide(shape.height, kernel, stride, pad),
                           .out_width = slide(shape.width, kernel, stride, pad)};
    struct sp_op *op;

    if (b->rc != SP_OK)
        return;
    if (conv.out_height == 0 || conv.out_width == 0) {
        fail(b, SP_E_RANGE, "layer %s: an image of %u x %u is smaller than its window of %u x %u", name, shape.height,
             shape.width, kernel, kernel);
        return;
    }
    if ((uint64_t)conv.in * kernel * kernel > INT_MAX ||
        (uint64_t)conv.out_height * conv.out_width * b->model->batch_max > INT_MAX) {
        fail(b, SP_E_RANGE, "layer %s: a batch of %u images of %u x %u is too large", name, b->model->batch_max,
             shape.height, shape.width);
        return;
    }
    op = add_op(b, SP_OP_CONV, name);
    op->conv = conv;
    op->has_bias = bias;
    op->tensor = b->model->layout.tensors_count;
    op->weight =
        add_tensor(b, name, "weight",
                   (struct sp_tensor){.dims = 4, .flags = SP_TENSOR_DECAY, .shape = {out, conv.in, kernel, kernel}});
    if (bias)
        op->bias = add_tensor(b, name, "bias", (struct sp_tensor){.dims = 1, .shape = {out}});
    add_values(b, op, (struct sp_shape){out, conv.out_height, conv.out_width}, false);
}

void sp_build_norm(struct sp_builder *b, const char *name, uint32_t around, bool relu)
{
    const struct sp_shape shape = here(b)->shape;
    const struct sp_tensor each = {.dims = 1, .shape = {shape.channels}};
    struct sp_op *op;

    if (b->rc != SP_OK)
        return;
    op = add_op(b, SP_OP_NORM, name);
    op->norm = (struct sp_norm){.channels = shape.channels, .relu = relu};
    op->around = around;
    op->tensor = b->model->layout.tensors_count;
    op->weight = add_tensor(b, name, "weight", each);
    op->bias = add_tensor(b, name, "bias", each);
    add_values(b, op, shape, false);
    sp_assert(around == SP_NONE || b->model->values[around].count == here(b)->count);
}

void sp_build_relu(struct sp_builder *b)
{
    if (b->rc == SP_OK)
        (void)add_op(b, SP_OP_RELU, "");
}

/* The last operation that has a name. */
static const char *last_layer(const struct sp_model *model)
{
    for (uint32_t i = model->ops_count; i-- > 0;)
        if (model->ops[i].name[0] != '\0')
            return model->ops[i].name;
    return "0";
}

void sp_build_max_pool(struct sp_builder *b, uint32_t window)
{
    const struct sp_shape shape = here(b)->shape;
    struct sp_op *op;

    if (b->rc != SP_OK)
        return;
    if (shape.height < window || shape.width < window) {
        fail(b, SP_E_RANGE, "after layer %s: an image of %u x %u is too small to be pooled by %u x %u",
             last_layer(b->model), shape.height, shape.width, window, window);
        return;
    }
    op = add_op(b, SP_OP_MAX_POOL, "");
    op->pool = (struct sp_pool){window, shape.height, shape.width, shape.height / window, shape.width / window};
    add_values(b, op, (struct sp_shape){shape.channels, op->pool.out_height, op->pool.out_width}, false);
}

void sp_build_mean_pool(struct sp_builder *b)
{
    if (b->rc == SP_OK)
        add_values(b, add_op(b, SP_OP_MEAN_POOL, ""), (struct sp_shape){1, 1, here(b)->shape.channels}, true);
}

void sp_build_flatten(struct sp_builder *b)
{
    if (b->rc == SP_OK)
        add_values(b, add_op(b, SP_OP_FLATTEN, ""), (struct sp_shape){1, 1, (uint32_t)here(b)->count}, true);
}

/* --- the end --------------------------------------------------------------------------------------------------------
 */

/* Buffers are a layout's last tensors. */
static void add_buffers(struct sp_builder *b)
{
    for (uint32_t i = 0; i < b->model->ops_count; i++) {
        struct sp_op *op = &b->model->ops[i];
        const struct sp_tensor each = {.dims = 1, .flags = SP_TENSOR_BUFFER, .shape = {op->norm.channels}};

        if (op->kind != SP_OP_NORM)
            continue;
        op->mean = add_tensor(b, op->name, "running_mean", each);
        op->variance = add_tensor(b, op->name, "running_var", each);
    }
}

static uint32_t take_slot(struct sp_model *model, bool *taken, uint64_t count)
{
    uint32_t slot = 0;

    while (slot < model->slots_count && taken[slot])
        slot++;
    sp_assert(slot < SP_SLOTS_MAX);
    if (slot == model->slots_count)
        model->slots_count++;
    taken[slot] = true;
    if (model->slot_count[slot] < count)
        model->slot_count[slot] = count;
    return slot;
}

/* Gives values a slot unless they have one; true if they had, so that derivatives are added to what is there. */
static bool need_slot(struct sp_model *model, bool *taken, uint32_t values)
{
    struct sp_values *v = &model->values[values];

    if (v->slot != SP_NONE)
        return true;
    v->slot = take_slot(model, taken, v->count);
    return false;
}

/* As the backward pass will go. A norm works in place: the derivatives of its input take over the slot. */
static void assign_slots(struct sp_model *model)
{
    bool taken[SP_SLOTS_MAX] = {false};

    (void)need_slot(model, taken, model->ops[model->ops_count - 1].out);
    for (uint32_t i = model->ops_count; i-- > 0;) {
        struct sp_op *op = &model->ops[i];
        const uint32_t slot = model->values[op->out].slot;

        if (op->around != SP_NONE) {
            const bool before = need_slot(model, taken, op->around);

            sp_assert(!before); /* no operation that follows uses these values */
        }
        if (op->kind == SP_OP_NORM) {
            sp_assert(model->values[op->in].slot == SP_NONE);
            model->values[op->in].slot = slot;
        } else if (op->kind != SP_OP_RELU) {
            if (op->in != 0)
                op->adds = need_slot(model, taken, op->in);
            sp_assert(!op->adds || op->kind == SP_OP_CONV);
            taken[slot] = false;
        }
    }
}

/* Hands out parts of the room; without a room yet it only counts. Sums of products below 2^57 fit 64 bits. */
static void *part(struct sp_model *model, uint64_t *used, uint64_t bytes)
{
    void *at = model->room != NULL ? (char *)model->room + *used : NULL;

    *used += (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    return at;
}

static uint64_t share_room(struct sp_model *model)
{
    uint64_t used = 0;

    for (uint32_t i = 1; i < model->values_count; i++)
        model->values[i].data = part(model, &used, model->values[i].count * model->batch_max * sizeof(float));
    for (uint32_t i = 0; i < model->slots_count; i++)
        model->slots[i] = part(model, &used, model->slot_count[i] * model->batch_max * sizeof(float));
    for (uint32_t i = 0; i < model->ops_count; i++) {
        struct sp_op *op = &model->ops[i];

        if (op->kind == SP_OP_NORM)
            op->saved = part(model, &used, op->norm.channels * sizeof *op->saved);
    }
    model->conv_room = part(model, &used, model->conv_bytes);
    return used;
}

static void make_room(struct sp_builder *b)
{
    struct sp_model *model = b->model;

    for (uint32_t i = 0; i < model->ops_count; i++) {
        uint64_t bytes = model->ops[i].kind == SP_OP_CONV ? sp_conv_room(&model->ops[i].conv) * sizeof(float) : 0;

        model->conv_bytes = bytes > model->conv_bytes ? bytes : model->conv_bytes;
    }
    model->room_bytes = share_room(model);
    if (model->room_bytes > SP_MODEL_ROOM_BYTES_MAX) {
        fail(b, SP_E_RANGE,
             "a batch of %u examples needs more than %llu bytes of activations; give a smaller "
             "train.batch or model",
             model->batch_max, (unsigned long long)SP_MODEL_ROOM_BYTES_MAX);
        return;
    }
    model->room = aligned_alloc(ALIGN_BYTES, (size_t)model->room_bytes);
    if (model->room == NULL) {
        fail(b, SP_E_NOMEM, "no memory for %llu bytes of activations", (unsigned long long)model->room_bytes);
        return;
    }
    (void)share_room(model);
}

void sp_build_finish(struct sp_builder *b)
{
    add_buffers(b);
    if (b->rc != SP_OK)
        return;
    assign_slots(b->model);
    make_room(b);
}
