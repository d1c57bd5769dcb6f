/* Layouts for the tests of what walks over tensors: sizes given, or drawn. */
#pragma once

#include "common/layout.h"
#include "unit.h"

#include <stdio.h>

/* Tensor i has sizes[i] coordinates and traits[i]; NULL: no traits. */
static inline struct sp_layout unit_layout(const uint64_t *sizes, const uint8_t *traits, uint32_t count)
{
    struct sp_layout layout = {0};

    for (uint32_t i = 0; i < count; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {sizes[i]}};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    }
    if (traits != NULL)
        sp_layout_set_traits(&layout, traits);
    return layout;
}

#define UNIT_TENSORS_MAX 300

/* Tensors of 1..largest coordinates, `coordinates` in all; one in four travels in full, if `full`. */
static inline struct sp_layout unit_random_layout(struct sp_rng *rng, uint64_t coordinates, uint32_t largest, bool full)
{
    uint64_t sizes[UNIT_TENSORS_MAX], left = coordinates;
    uint8_t traits[UNIT_TENSORS_MAX];
    uint32_t n = 0;

    while (left > 0) {
        uint64_t size = 1 + sp_rng_below(rng, largest);

        sizes[n] = size < left && n + 1 < UNIT_TENSORS_MAX ? size : left;
        traits[n] = full && sp_rng_below(rng, 4) == 0 ? SP_TENSOR_FULL : 0;
        left -= sizes[n++];
    }
    return unit_layout(sizes, traits, n);
}
