/* Inside pack.c and its kernels. */
#pragma once

#include "common/cpu.h"

#include <stddef.h>
#include <stdint.h>

/* sp_pack_signs() of 64*words coordinates. */
typedef void sp_pack_kernel(const float *values, uint64_t first, size_t words, uint32_t t, uint8_t *bits);

sp_pack_kernel sp_pack_avx2;
