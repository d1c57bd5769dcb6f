/* Inside weights.c and its kernels. */
#pragma once

#include "common/cpu.h"

#include <stddef.h>
#include <stdint.h>

/* theta = theta*decay - rate*s of 8*bytes weights, each operation rounded to float32; the first belongs to bit 0 of
 * bits[0]. A decay of 1 changes nothing. */
typedef void sp_apply_signs_kernel(float *theta, const uint8_t *bits, size_t bytes, float decay, float rate);

/* theta = theta*decay - rate*values, of 8*groups weights. */
typedef void sp_apply_values_kernel(float *theta, const float *values, size_t groups, float decay, float rate);

sp_apply_signs_kernel sp_apply_signs_avx2;
sp_apply_values_kernel sp_apply_values_avx2;
