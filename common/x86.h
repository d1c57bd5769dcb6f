/* The vector instructions of x86-64 as functions, for files that are named after the set that they use.
 *
 * With SP_CPU_EMULATED those of AVX-512 are functions in C (SIMD Everywhere), so that tests run the kernels of that set
 * on a processor without it; the few that the library has not got stand in tests/kernels/missing.h.
 */
#pragma once

#include <stdint.h>

#ifdef SP_CPU_EMULATED
#define SIMDE_ENABLE_NATIVE_ALIASES
#include "tests/kernels/missing.h"
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

/* For a loop that goes through memory from one end to the other and has more to do than to read; called once for each
 * cache line. Processors fetch ahead by themselves, but one stream at a time, which is less than memory can give: so
 * this asks for the line of the next 64 KiB that belongs to one of four streams through them, 16 KiB apart. (The
 * address's bits 8 to 15 rotate by 2.) An address behind the end of an array does no harm.
 *
 * Always inline: to gcc 12 a function that does nothing but this has no effect, and it drops calls that are left. */
static inline __attribute__((always_inline)) void sp_prefetch(const void *at)
{
    uintptr_t a = (uintptr_t)at;
    uintptr_t group = (a >> 2 & 0x3f00) | (a << 6 & 0xc000);

    _mm_prefetch((const char *)((a & ~(uintptr_t)0xff00) + 0x10000 + group), _MM_HINT_T1);
}
