#include "common/values.h"

#include "common/values_kernels.h"

#include <string.h>

/* A chunk of i8 has up to 32768 coordinates, and its bulk 64 KiB. */
_Static_assert(SP_I8_BYTES_MAX(32768) <= 65536, "a chunk of i8 fits whatever the layout");

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Values travel as they lie in little-endian memory; this processor is big-endian"
#endif

#define BLOCK SP_I8_BLOCK

static size_t blocks_of(uint64_t count)
{
    return (size_t)((count + BLOCK - 1) / BLOCK);
}

static size_t count_blocks(const struct sp_layout *layout, uint64_t first, uint64_t count)
{
    struct sp_layout_part part = {0};
    size_t blocks = 0;

    while (sp_layout_next(layout, first, count, &part))
        blocks += blocks_of(part.count);
    return blocks;
}

size_t sp_values_bytes(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count)
{
    if (wire == SP_WIRE_I8)
        return (size_t)count + 4 * count_blocks(layout, first, count);
    return (size_t)count * (wire == SP_WIRE_F32 ? 4 : 2);
}

static const struct sp_values_kernels *const kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(&sp_values_scalar, &sp_values_avx2, &sp_values_avx2);

static size_t steps_of(uint64_t count)
{
    return (size_t)count / SP_VALUES_STEP * SP_VALUES_STEP;
}

/* Fewer coordinates than a block: a whole one of them and zeros, which change neither its scale nor the others. */
static void encode_short(const float *values, float *residual, size_t count, uint8_t *scale, uint8_t *bytes)
{
    float x[BLOCK] = {0}, left[BLOCK] = {0};
    uint8_t q[BLOCK];

    memcpy(x, values, count * sizeof *x);
    if (residual != NULL)
        memcpy(left, residual, count * sizeof *left);
    kernels[sp_cpu()]->encode_i8(x, residual != NULL ? left : NULL, 1, scale, q);
    memcpy(bytes, q, count);
    if (residual != NULL)
        memcpy(residual, left, count * sizeof *left);
}

static void encode_part(const float *values, float *residual, size_t count, uint8_t *scales, uint8_t *bytes)
{
    size_t blocks = count / BLOCK, done = blocks * BLOCK;

    kernels[sp_cpu()]->encode_i8(values, residual, blocks, scales, bytes);
    if (done < count)
        encode_short(values + done, residual != NULL ? residual + done : NULL, count - done, scales + 4 * blocks,
                     bytes + done);
}

static void encode_parts(const struct sp_layout *layout, uint64_t first, uint64_t count, const float *values,
                         float *residual, uint8_t *bulk)
{
    struct sp_layout_part part = {0};
    uint8_t *scales = bulk, *bytes = bulk + 4 * count_blocks(layout, first, count);

    while (sp_layout_next(layout, first, count, &part)) {
        size_t at = (size_t)(part.first - first), n = (size_t)part.count, blocks = blocks_of(part.count);

        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL)) {
            memset(scales, 0, 4 * blocks);
            memset(bytes + at, 0, n);
        } else {
            encode_part(values + at, residual != NULL ? residual + at : NULL, n, scales, bytes + at);
        }
        scales += 4 * blocks;
    }
}

static void decode_part(const uint8_t *scales, const uint8_t *bytes, size_t count, float *values)
{
    size_t blocks = count / BLOCK, done = blocks * BLOCK;
    uint8_t q[BLOCK] = {0};
    float x[BLOCK];

    kernels[sp_cpu()]->decode_i8(scales, bytes, blocks, values);
    if (done == count)
        return;
    memcpy(q, bytes + done, count - done);
    kernels[sp_cpu()]->decode_i8(scales + 4 * blocks, q, 1, x);
    memcpy(values + done, x, (count - done) * sizeof *x);
}

static void decode_parts(const struct sp_layout *layout, uint64_t first, uint64_t count, const uint8_t *bulk,
                         float *values)
{
    struct sp_layout_part part = {0};
    const uint8_t *scales = bulk, *bytes = bulk + 4 * count_blocks(layout, first, count);

    while (sp_layout_next(layout, first, count, &part)) {
        size_t at = (size_t)(part.first - first);

        decode_part(scales, bytes + at, (size_t)part.count, values + at);
        scales += 4 * blocks_of(part.count);
    }
}

/* Zeros in place of tensors with FULL; `width` is the bytes of a value. */
static void clear_full(const struct sp_layout *layout, uint64_t first, uint64_t count, size_t width, uint8_t *to)
{
    struct sp_layout_part part = {0};

    while (layout->full > 0 && sp_layout_next(layout, first, count, &part)) {
        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            memset(to + (size_t)(part.first - first) * width, 0, (size_t)part.count * width);
    }
}

void sp_values_encode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const float *values, float *residual, uint8_t *bulk)
{
    size_t whole = steps_of(count);

    if (count == 0)
        return;
    switch (wire) {
    case SP_WIRE_F32:
        memcpy(bulk, values, (size_t)count * 4);
        clear_full(layout, first, count, 4, bulk);
        break;
    case SP_WIRE_BF16:
        kernels[sp_cpu()]->encode_bf16(values, whole, bulk);
        sp_values_scalar.encode_bf16(values + whole, (size_t)count - whole, bulk + whole * 2);
        clear_full(layout, first, count, 2, bulk);
        break;
    case SP_WIRE_I8:
        encode_parts(layout, first, count, values, residual, bulk);
        break;
    }
}

void sp_values_decode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk, float *values)
{
    size_t whole = steps_of(count);

    if (count == 0)
        return;
    switch (wire) {
    case SP_WIRE_F32:
        memcpy(values, bulk, (size_t)count * 4);
        break;
    case SP_WIRE_BF16:
        kernels[sp_cpu()]->decode_bf16(bulk, whole, values);
        sp_values_scalar.decode_bf16(bulk + whole * 2, (size_t)count - whole, values + whole);
        break;
    case SP_WIRE_I8:
        decode_parts(layout, first, count, bulk, values);
        break;
    }
    clear_full(layout, first, count, sizeof *values, (uint8_t *)values);
}

bool sp_values_finite(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk)
{
    const struct sp_values_kernels *use = kernels[sp_cpu()];
    size_t n = (size_t)count, whole = steps_of(count), blocks;

    switch (wire) {
    case SP_WIRE_F32:
        return use->finite_f32(bulk, whole) && sp_values_scalar.finite_f32(bulk + whole * 4, n - whole);
    case SP_WIRE_BF16:
        return use->finite_bf16(bulk, whole) && sp_values_scalar.finite_bf16(bulk + whole * 2, n - whole);
    case SP_WIRE_I8:
        blocks = count_blocks(layout, first, count);
        bulk += blocks * 4;
        return sp_i8_good_scales(bulk - blocks * 4, blocks) && use->finite_i8(bulk, whole) &&
               sp_values_scalar.finite_i8(bulk + whole, n - whole);
    }
    return false;
}
