#include "common/check.h"
#include "common/weights.h"
#include "tests/kernels/kernels.h"

#include <string.h>

#define TENSORS 4
#define MOST 300 /* weights of a tensor */

struct weights {
    struct sp_layout layout;
    struct sp_step step;
    const uint8_t *bits; /* or else values */
    const float *values;
};

struct result {
    float theta[TENSORS * MOST];
};

static void run_weights(void *arg, void *out)
{
    const struct weights *w = arg;
    struct result *r = out;
    uint64_t digest;

    if (w->bits != NULL)
        sp_weights_apply_signs(&w->layout, &w->step, w->bits, r->theta, &digest);
    else
        sp_weights_apply_values(&w->layout, &w->step, w->values, r->theta, &digest);
    /* Not in the output: it is of NaNs too, of which processors make different ones. */
    sp_assert(digest == sp_weights_digest(r->theta, w->layout.coordinates));
}

static void draw_layout(struct source *source, struct sp_layout *layout)
{
    uint8_t traits[TENSORS];

    for (uint32_t i = 0; i < TENSORS; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {1 + source_number(source, MOST)}};

        tensor.name[0] = (char)('a' + i);
        traits[i] = (uint8_t)((source_number(source, 2) != 0 ? SP_TENSOR_DECAY : 0) |
                              (source_number(source, 3) == 0 ? SP_TENSOR_FULL : 0));
        sp_assert(sp_layout_add(layout, &tensor, NULL) == SP_OK);
    }
    sp_layout_set_traits(layout, traits);
}

void compare_weights(struct source *source)
{
    struct weights w = {.step.decay = 1.0f};
    float decays[TENSORS], rates[TENSORS];
    struct room values, full, bits;
    struct result before;
    size_t count;

    draw_layout(source, &w.layout);
    count = (size_t)w.layout.coordinates;
    values = room_for(source, count * sizeof(float));
    full = room_for(source, (size_t)w.layout.full * sizeof(float));
    bits = room_for(source, (count + 7) / 8);
    source_floats(source, false, values.at, count);
    source_floats(source, false, full.at, (size_t)w.layout.full);
    source_bytes(source, bits.at, (count + 7) / 8);
    memset(&before, 0, sizeof before);
    source_floats(source, false, before.theta, count);
    source_floats(source, true, rates, TENSORS);
    source_floats(source, true, decays, TENSORS);
    w.step = (struct sp_step){.decay = 1.0f, .rate = rates[0], .full = full.at};
    w.step.rates = source_number(source, 2) == 0 ? rates : NULL;
    w.step.decays = source_number(source, 2) == 0 ? decays : NULL;
    w.values = values.at;
    compare_sets("weights by values", run_weights, &w, &before, sizeof before);
    w.bits = bits.at;
    compare_sets("weights by signs", run_weights, &w, &before, sizeof before);
    sp_layout_finish(&w.layout);
    room_free(&values);
    room_free(&full);
    room_free(&bits);
}
