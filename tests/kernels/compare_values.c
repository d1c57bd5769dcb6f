#include "common/check.h"
#include "common/values.h"
#include "tests/kernels/kernels.h"

#include <stdio.h>
#include <string.h>

#define COUNT_MAX 2000
#define BULK_MAX (4 * COUNT_MAX + 4 * COUNT_MAX / SP_I8_BLOCK + 4 * 8)

struct values {
    enum sp_wire wire;
    struct sp_layout layout;
    uint64_t first;
    size_t count, bytes;
    const float *values;
    const float *residual; /* or NULL */
    const uint8_t *bulk;
    size_t odd; /* where `bulk` begins in the output */
};

struct coded {
    uint8_t room[16 + BULK_MAX];
    float residual[COUNT_MAX];
};

static void encode(void *arg, void *out)
{
    const struct values *v = arg;
    struct coded *to = out;

    if (v->residual != NULL)
        memcpy(to->residual, v->residual, v->count * sizeof(float));
    sp_values_encode(v->wire, &v->layout, v->first, v->count, v->values, v->residual != NULL ? to->residual : NULL,
                     to->room + v->odd);
}

static void decode(void *arg, void *out)
{
    const struct values *v = arg;

    sp_values_decode(v->wire, &v->layout, v->first, v->count, v->bulk, out);
}

static void check(void *arg, void *out)
{
    const struct values *v = arg;

    *(bool *)out = sp_values_finite(v->wire, &v->layout, v->first, v->count, v->bulk);
}

/* Up to four tensors, some of which travel elsewhere. */
static void draw_layout(struct source *source, struct values *v)
{
    uint64_t before = source_number(source, 300), sizes[4] = {before + v->count + 1, 1 + source_number(source, 300), 1};
    uint32_t tensors = 1 + (uint32_t)source_number(source, 4);
    uint8_t traits[4] = {0};

    if (tensors == 4) {
        sizes[0] = 1 + source_number(source, 300);
        sizes[3] = before + v->count + 1;
    }
    for (uint32_t i = 0; i < tensors; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {sizes[i]}};
        int rc;

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        rc = sp_layout_add(&v->layout, &tensor, NULL);
        sp_assert(rc == SP_OK);
        traits[i] = source_number(source, 8) == 0 ? SP_TENSOR_FULL : 0;
    }
    sp_layout_set_traits(&v->layout, traits);
    v->first = before;
    v->bytes = sp_values_bytes(v->wire, &v->layout, v->first, v->count);
    sp_assert(v->bytes <= BULK_MAX);
}

/* The bytes of a peer: what an encoder made of finite numbers, with one of them spoiled or not, or anything. */
static void draw_bulk(struct source *source, const struct values *v, uint8_t *bulk)
{
    if (source_number(source, 4) == 0) {
        source_bytes(source, bulk, v->bytes);
        return;
    }
    sp_values_encode(v->wire, &v->layout, v->first, v->count, v->values, NULL, bulk);
    if (v->bytes > 0 && source_number(source, 2) == 0)
        bulk[source_number(source, v->bytes)] = (uint8_t)(0x7f + source_number(source, 2));
}

static void compare(struct source *source, struct values *v, uint8_t *bulk)
{
    static struct coded before;
    float decoded[COUNT_MAX + 1] = {0};
    bool any = false;

    memset(&before, 0xa5, sizeof before);
    compare_sets("values: encode", encode, v, &before, sizeof before);
    draw_bulk(source, v, bulk);
    v->bulk = bulk;
    compare_sets("values: decode", decode, v, decoded, sizeof decoded);
    compare_sets("values: finite", check, v, &any, sizeof any);
}

void compare_values(struct source *source)
{
    struct values v = {.wire = (enum sp_wire)source_number(source, 3),
                       .count = (size_t)source_number(source, source_number(source, 2) == 0 ? 80 : COUNT_MAX),
                       .odd = (size_t)source_number(source, 16)};
    bool all_finite = source_number(source, 2) == 0, feedback = source_number(source, 2) == 0;
    struct room values = room_for(source, v.count * sizeof(float)), bulk, left;

    draw_layout(source, &v);
    bulk = room_for(source, v.odd + v.bytes);
    left = room_for(source, v.count * sizeof(float));
    source_floats(source, all_finite, values.at, v.count);
    source_floats(source, all_finite, left.at, v.count);
    v.values = values.at;
    v.residual = feedback ? left.at : NULL;
    compare(source, &v, (uint8_t *)bulk.at + v.odd);
    room_free(&values);
    room_free(&bulk);
    room_free(&left);
    sp_layout_finish(&v.layout);
}
