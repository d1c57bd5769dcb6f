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

/* Asks for what lies 1 KiB beyond `at`, in a loop that goes through memory and has more to do than to read: processors
 * fetch ahead by themselves, but not far enough, nor from one page into the next. An address behind the end of an array
 * does no harm. */
static inline void sp_prefetch(const float *at)
{
    _mm_prefetch((const char *)at + 1024, _MM_HINT_T0);
}
