/* The vector instructions of x86-64 as functions, for files that are named after the set that they use.
 *
 * With SP_CPU_EMULATED those of AVX-512 are functions in C (SIMD Everywhere), so that tests run the kernels of that set
 * on a processor without it; the few that the library has not got stand in tests/kernels/missing.h.
 */
#pragma once

#ifdef SP_CPU_EMULATED
#define SIMDE_ENABLE_NATIVE_ALIASES
#include "tests/kernels/missing.h"
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif
