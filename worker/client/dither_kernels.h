/* Inside dither.c and its kernels. */
#pragma once

#include "common/ars.h"
#include "common/cpu.h"

#include <stddef.h>
#include <stdint.h>

/* sp_dither_flip(), see there, as 16-bit arithmetic. */
#define SP_DITHER_STEPS 8192.0f
enum {
    SP_DITHER_ROOT = 55110, /* fourth root of 2^63 and a little: T at 0 is 32769 */
    SP_DITHER_C1 = 43953,
    SP_DITHER_C2 = 53241,
    SP_DITHER_C3 = 22739,
    SP_DITHER_C4 = 65247,
    SP_DITHER_C5 = 41477,
};

/* What draws the flips of a range: the key's schedule, and the upper half of the counter, round and slot. */
struct sp_dither_draws {
    struct sp_ars ars;
    uint64_t lane;
};

/* sp_dither_pack() of 64*words coordinates from block `index` of the generator on, a multiple of 8; gain is not 0. */
typedef void sp_dither_kernel(const float *m, size_t words, float gain, const struct sp_dither_draws *draws,
                              uint64_t index, uint8_t *bits);

sp_dither_kernel sp_dither_avx2, sp_dither_avx512;

/* sp_momentum() of 32*blocks coordinates. */
typedef void sp_momentum_kernel(float *m, const float *gradient, size_t blocks, float beta1, float one_minus_beta1);

sp_momentum_kernel sp_momentum_avx2;
