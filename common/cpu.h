/* Which kernels this process runs: each hot loop exists in a plain scalar version, which is the reference, and in
 * faster ones for instruction sets that a processor may have. All of them give the same bits.
 *
 * A stage keeps one file a set (pack.c, pack_avx2.c, pack_avx512.c) and chooses by a table:
 *     static pack_kernel *const kernels[SP_CPU_SETS] = SP_CPU_TABLE(pack_scalar, sp_pack_avx2, sp_pack_avx512);
 *     kernels[sp_cpu()](...);
 * Where a set brings nothing over the one before, the table names the kernel of that.
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>

enum sp_cpu {
    SP_CPU_SCALAR, /* C as the compiler makes it for any processor of the architecture: with NEON on aarch64 */
    SP_CPU_AVX2,   /* x86-64 with AVX2, AES and POPCNT: Haswell, Zen, and later */
    SP_CPU_AVX512, /* and AVX-512 F, BW, DQ, VL, VBMI, VPOPCNTDQ and VAES: Ice Lake, Zen 4, and later */
    SP_CPU_SETS,
};

#if defined(__x86_64__)
#define SP_CPU_TABLE(scalar, avx2, avx512)                                                                             \
    {                                                                                                                  \
        [SP_CPU_SCALAR] = (scalar), [SP_CPU_AVX2] = (avx2), [SP_CPU_AVX512] = (avx512)                                 \
    }
#else
#define SP_CPU_TABLE(scalar, avx2, avx512)                                                                             \
    {                                                                                                                  \
        [SP_CPU_SCALAR] = (scalar)                                                                                     \
    }
#endif

/* The set in use: what sp_cpu_choose() or sp_cpu_use() said, or else the best that the processor has. */
enum sp_cpu sp_cpu(void);

/* "scalar", "avx2", "avx512". */
const char *sp_cpu_name(enum sp_cpu set);

/* Whether this build and this processor can run it. */
bool sp_cpu_has(enum sp_cpu set);

/* Takes the set that the environment variable SIGNPOST_KERNELS names; the best one if it is not set. SP_E_RANGE with
 * words if there is no such set, SP_E_UNSUPPORTED if the processor has not got it: the one in use then stays. */
int sp_cpu_choose(struct sp_error *error);

/* For tests and benchmarks: this set from now on. It must be one that the processor has. */
void sp_cpu_use(enum sp_cpu set);
