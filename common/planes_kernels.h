/* Inside planes.c and its kernels. */
#pragma once

#include "common/cpu.h"

#include <stddef.h>
#include <stdint.h>

/* What sp_planes_decode() is given; `stride` is that from one plane to the next, and table[c] the value of a count. */
struct sp_planes_work {
    const uint8_t *planes;
    size_t stride;
    unsigned voters;
    const float *table;
    float *values;
};

#define SP_PLANES_UNIT 32u

/* The first `count` coordinates, a multiple of SP_PLANES_UNIT. Returns the largest count there is. */
typedef unsigned sp_planes_kernel(const struct sp_planes_work *work, size_t count);

sp_planes_kernel sp_planes_avx2;
