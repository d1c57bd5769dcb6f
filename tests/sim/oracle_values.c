/* The numbers of the SGD phase, one at a time: mean, median, trimmed mean, Adam, and how they are coded. */
#include "cluster_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 256

/* --- many to one -----------------------------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    float x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static float mean(const float *values, unsigned n)
{
    double sum = 0.0;

    for (unsigned i = 0; i < n; i++)
        sum += (double)values[i];
    return (float)(sum / n);
}

float oracle_aggregate(const struct cluster *c, float *values, unsigned n)
{
    unsigned cut = (unsigned)floor(c->job.optimizer.sgd.trim * (double)n);

    if (n == 0)
        return 0.0f;
    if (c->job.optimizer.sgd.aggregate == SP_AGGREGATE_MEAN)
        return mean(values, n);
    qsort(values, n, sizeof *values, by_value);
    if (c->job.optimizer.sgd.aggregate == SP_AGGREGATE_MEDIAN)
        return (float)(((double)values[(n - 1) / 2] + (double)values[n / 2]) / 2.0) + 0.0f;
    while (2 * cut >= n)
        cut--;
    return mean(values + cut, n - 2 * cut) + 0.0f;
}

/* 1/(1 - beta^t) */
static float correction(double beta, uint32_t t)
{
    return (float)(1.0L / (1.0L - powl((long double)beta, (long double)t)));
}

/* Of the moments as of the last commit: a round that begins anew does not move them twice. */
float oracle_adam(struct cluster *c, uint64_t j, float gradient)
{
    double beta1 = c->job.optimizer.adam.beta1, beta2 = c->job.optimizer.adam.beta2;
    struct oracle *o = &c->oracle;
    float fresh = (float)(1.0 - beta2) * gradient;

    if (o->adam_round != o->committed + 1) {
        o->adam_round = o->committed + 1;
        o->adam_c1 = correction(beta1, o->adam_round);
        o->adam_c2 = correction(beta2, o->adam_round);
    }
    o->adam_next_m[j] = (float)beta1 * o->adam_m[j] + (float)(1.0 - beta1) * gradient;
    o->adam_next_v[j] = (float)beta2 * o->adam_v[j] + fresh * gradient;
    return (o->adam_next_m[j] * o->adam_c1) /
           (sqrtf(o->adam_next_v[j] * o->adam_c2) + (float)c->job.optimizer.adam.eps);
}

void oracle_adam_commit(struct cluster *c)
{
    size_t bytes = (size_t)c->layout.coordinates * sizeof(float);

    memcpy(c->oracle.adam_m, c->oracle.adam_next_m, bytes);
    memcpy(c->oracle.adam_v, c->oracle.adam_next_v, bytes);
}

/* --- blocks of int8 --------------------------------------------------------------------------------------------------
 */

/* The tensor of a coordinate. */
static uint32_t tensor_of(const struct cluster *c, uint64_t j)
{
    uint32_t i = 0;

    while (j >= c->layout.tensors[i].first + c->layout.tensors[i].count)
        i++;
    return i;
}

struct block {
    uint64_t first;
    uint32_t count;
    bool full;
};

/* The block that begins with a coordinate: it ends with its tensor, or with the chunk. */
static struct block block_at(const struct cluster *c, uint64_t first, uint64_t end)
{
    uint32_t i = tensor_of(c, first);
    uint64_t tensor_end = c->layout.tensors[i].first + c->layout.tensors[i].count;
    struct block block = {.first = first, .count = BLOCK, .full = oracle_is_full(c, i)};

    if (tensor_end < end)
        end = tensor_end;
    if (end - first < BLOCK)
        block.count = (uint32_t)(end - first);
    return block;
}

static uint32_t count_blocks(const struct cluster *c, uint64_t first, uint64_t end)
{
    uint32_t n = 0;

    for (uint64_t at = first; at < end; n++)
        at += block_at(c, at, end).count;
    return n;
}

/* Returns the scale. */
static float encode_block(const float *values, float *residual, uint32_t n, int8_t *q)
{
    float top = 0.0f, scale;

    for (uint32_t j = 0; j < n; j++)
        top = fmaxf(top, fabsf(values[j] + residual[j]));
    scale = top / 127.0f;
    must(isfinite(127.0f * scale));
    for (uint32_t j = 0; j < n; j++) {
        float x = values[j] + residual[j];

        if (top == 0.0f || isinf(127.0f / top)) {
            q[j] = 0;
            scale = 0.0f;
        } else {
            q[j] = (int8_t)lrintf(x * (127.0f / top));
        }
        residual[j] = x - (float)q[j] * scale;
    }
    return scale;
}

static void encode_blocks(struct cluster *c, uint64_t first, uint64_t end, const float *values, uint8_t *bulk)
{
    uint8_t *bytes = bulk + (size_t)count_blocks(c, first, end) * sizeof(float);
    struct block block;

    for (uint64_t at = first; at < end; at += block.count, bulk += sizeof(float)) {
        float scale = 0.0f;
        int8_t q[BLOCK] = {0};

        block = block_at(c, at, end);
        if (!block.full)
            scale = encode_block(values + (at - first), c->oracle.residual + at, block.count, q);
        memcpy(bulk, &scale, sizeof scale);
        memcpy(bytes + (at - first), q, block.count);
    }
}

static void decode_blocks(const struct cluster *c, uint64_t first, uint64_t end, const uint8_t *bulk, float *values)
{
    const uint8_t *bytes = bulk + (size_t)count_blocks(c, first, end) * sizeof(float);
    struct block block;

    for (uint64_t at = first; at < end; at += block.count, bulk += sizeof(float)) {
        float scale;

        block = block_at(c, at, end);
        memcpy(&scale, bulk, sizeof scale);
        for (uint64_t j = at - first; j < at - first + block.count; j++)
            values[j] = block.full ? 0.0f : (float)(int8_t)bytes[j] * scale;
    }
}

/* --- all codes -------------------------------------------------------------------------------------------------------
 */

size_t oracle_values_bytes(const struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count)
{
    if (wire == SP_WIRE_F32)
        return 4 * (size_t)count;
    if (wire == SP_WIRE_BF16)
        return 2 * (size_t)count;
    return count + sizeof(float) * (size_t)count_blocks(c, first, first + count);
}

void oracle_decode(const struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count, const uint8_t *bulk,
                   float *values)
{
    if (wire == SP_WIRE_I8) {
        decode_blocks(c, first, first + count, bulk, values);
        return;
    }
    for (uint32_t j = 0; j < count; j++) {
        uint32_t bits = 0;

        if (wire == SP_WIRE_F32)
            memcpy(&bits, bulk + 4 * (size_t)j, 4);
        else
            bits = (uint32_t)bulk[2 * j] << 16 | (uint32_t)bulk[2 * j + 1] << 24;
        memcpy(&values[j], &bits, sizeof bits);
    }
}

/* Of the two bfloat16 next to a float32 the nearer one, of equally near ones the even one. */
static uint16_t to_bf16(float value)
{
    uint32_t bits, low;

    memcpy(&bits, &value, sizeof bits);
    low = bits & 0xffff;
    bits >>= 16;
    if (low > 0x8000 || (low == 0x8000 && bits % 2 != 0))
        bits++;
    return (uint16_t)bits;
}

void oracle_encode(struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count, const float *values,
                   uint8_t *bulk)
{
    if (wire == SP_WIRE_I8) {
        encode_blocks(c, first, first + count, values, bulk);
        return;
    }
    for (uint32_t j = 0; j < count; j++) {
        uint16_t half = to_bf16(values[j]);

        if (wire == SP_WIRE_F32)
            memcpy(bulk + 4 * (size_t)j, &values[j], 4);
        else
            memcpy(bulk + 2 * (size_t)j, &half, 2);
    }
}
