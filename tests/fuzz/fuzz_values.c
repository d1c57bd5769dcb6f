/* libFuzzer target: a chunk of values as a peer might send it, over a layout that comes first. Whatever the bytes, they
 * decode to numbers, finite ones if they pass for such; tensors in full to zeros. Coding them again loses what the wire
 * loses, and no more: what is left out is the residual, and coding once more gives the same bytes. */
#include "common/check.h"
#include "common/values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS_MAX 8
#define TENSOR_MAX 700
#define TINY 1e-36f /* a block of numbers below has scale 0, or may the next time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

struct range {
    enum sp_wire wire;
    struct sp_layout layout;
    uint64_t first, count;
    size_t bytes;
};

static unsigned take(struct input *in, size_t bytes)
{
    unsigned value = 0;

    for (size_t i = 0; i < bytes && in->size > 0; i++, in->data++, in->size--)
        value |= (unsigned)in->data[0] << (8 * i);
    return value;
}

/* A block with not a byte to spare, so that AddressSanitizer sees a step past its end. */
static void *room(size_t bytes)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);

    sp_assert(memory != NULL);
    return memory;
}

static void take_range(struct input *in, struct range *range)
{
    uint8_t traits[TENSORS_MAX] = {0};
    unsigned what = take(in, 1);
    uint32_t tensors = 1 + what / 4 % TENSORS_MAX;

    memset(range, 0, sizeof *range);
    range->wire = (enum sp_wire)(what % 3);
    for (uint32_t i = 0; i < tensors; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {1 + take(in, 2) % TENSOR_MAX}};

        traits[i] = take(in, 1) % 4 == 3 ? SP_TENSOR_FULL : 0;
        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        sp_assert(sp_layout_add(&range->layout, &tensor, NULL) == SP_OK);
    }
    sp_layout_set_traits(&range->layout, traits);
    range->first = take(in, 2) % range->layout.coordinates;
    range->count = take(in, 2) % (range->layout.coordinates - range->first + 1);
    range->bytes = sp_values_bytes(range->wire, &range->layout, range->first, range->count);
    sp_assert(range->wire != SP_WIRE_I8 || range->bytes <= SP_I8_BYTES_MAX(range->count));
}

static bool is_full(const struct range *range, uint64_t j)
{
    const struct sp_tensor *tensor = &range->layout.tensors[sp_layout_find(&range->layout, range->first + j)];

    return sp_tensor_is(tensor, SP_TENSOR_FULL);
}

static float *decode(const struct range *range, const uint8_t *bulk)
{
    float *values = room((size_t)range->count * sizeof *values);
    bool finite = sp_values_finite(range->wire, &range->layout, range->first, range->count, bulk);

    sp_values_decode(range->wire, &range->layout, range->first, range->count, bulk, values);
    for (uint64_t j = 0; j < range->count; j++) {
        sp_assert(!finite || isfinite(values[j]));
        sp_assert(!is_full(range, j) || (values[j] == 0.0f && !signbit(values[j])));
    }
    return values;
}

static uint8_t *encode(const struct range *range, const float *values, float *residual)
{
    static const size_t widths[] = {[SP_WIRE_F32] = 4, [SP_WIRE_BF16] = 2, [SP_WIRE_I8] = 1};
    const size_t width = widths[range->wire], begin = range->bytes - width * (size_t)range->count;
    uint8_t *bulk = room(range->bytes);

    memset(bulk, 0xee, range->bytes);
    sp_values_encode(range->wire, &range->layout, range->first, range->count, values, residual, bulk);
    for (uint64_t j = 0; j < range->count; j++)
        sp_assert(!is_full(range, j) || memcmp(bulk + begin + j * width, "\0\0\0", width) == 0);
    return bulk;
}

/* f32 and bf16 are exact back. */
static void check_exact(const struct range *range, const float *values)
{
    uint8_t *bulk = encode(range, values, NULL);
    float *back = decode(range, bulk);

    sp_assert(memcmp(back, values, (size_t)range->count * sizeof *back) == 0);
    free(bulk);
    free(back);
}

/* The residual is what the decoded numbers lack, of which the next coding takes account. */
static void check_residual(const struct range *range, const float *values)
{
    float *residual = room((size_t)range->count * sizeof *residual);
    float *before = room((size_t)range->count * sizeof *before);

    for (int round = 0; round < 2; round++) {
        uint8_t *bulk = encode(range, values, residual);
        float *back = decode(range, bulk);
        bool finite = sp_values_finite(range->wire, &range->layout, range->first, range->count, bulk);

        for (uint64_t j = 0; j < range->count && finite; j++) {
            float x = values[j] + before[j], left = x - back[j];

            sp_assert(is_full(range, j) ? residual[j] == before[j] : residual[j] == left);
        }
        memcpy(before, residual, (size_t)range->count * sizeof *before);
        free(bulk);
        free(back);
    }
    free(residual);
    free(before);
}

/* Numbers that an encoder made come to the same bytes again, of which only a scale may be an ulp off. */
static void check_stable(const struct range *range, const float *values)
{
    uint8_t *once = encode(range, values, NULL), *twice;
    float *back = decode(range, once), *again;

    twice = encode(range, back, NULL);
    again = decode(range, twice);
    for (uint64_t j = 0; j < range->count; j++) {
        size_t at = range->bytes - (size_t)range->count + (size_t)j;

        if (!sp_values_finite(range->wire, &range->layout, range->first, range->count, once))
            break;
        sp_assert(once[at] == twice[at] || (again[j] == 0.0f && fabsf(back[j]) < TINY));
    }
    free(once);
    free(twice);
    free(back);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};
    struct range range;
    uint8_t *bulk;
    float *values;

    take_range(&in, &range);
    bulk = room(range.bytes);
    if (in.size > 0)
        memcpy(bulk, in.data, in.size < range.bytes ? in.size : range.bytes);
    values = decode(&range, bulk);
    if (sp_values_finite(range.wire, &range.layout, range.first, range.count, bulk)) {
        if (range.wire != SP_WIRE_I8)
            check_exact(&range, values);
        else
            check_residual(&range, values);
        if (range.wire == SP_WIRE_I8)
            check_stable(&range, values);
    }
    free(values);
    free(bulk);
    sp_layout_finish(&range.layout);
    return 0;
}
