#include "common/cpu.h"

#include "common/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define ENVIRONMENT "SIGNPOST_KERNELS"

static const char *const names[SP_CPU_SETS] = {
    [SP_CPU_SCALAR] = "scalar", [SP_CPU_AVX2] = "avx2", [SP_CPU_AVX512] = "avx512"};

static _Atomic int in_use = -1;

const char *sp_cpu_name(enum sp_cpu set)
{
    sp_assert(set < SP_CPU_SETS);
    return names[set];
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") && __builtin_cpu_supports("popcnt");
}

/* clang 14 has no name for it. */
static bool has_vaes(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_VAES) != 0;
}

/* SP_CPU_EMULATED: tests run the kernels of this set where the processor has not got it, by functions in C. */
static bool has_avx512(void)
{
#ifdef SP_CPU_EMULATED
    return true;
#else
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vpopcntdq") && has_vaes();
#endif
}
#else
static bool has_avx2(void)
{
    return false;
}

static bool has_avx512(void)
{
    return false;
}
#endif

bool sp_cpu_has(enum sp_cpu set)
{
    switch (set) {
    case SP_CPU_SCALAR:
        return true;
    case SP_CPU_AVX2:
        return has_avx2();
    case SP_CPU_AVX512:
        return has_avx2() && has_avx512();
    case SP_CPU_SETS:
        break;
    }
    return false;
}

static enum sp_cpu best(void)
{
    enum sp_cpu set = SP_CPU_SETS - 1;

    while (!sp_cpu_has(set))
        set--;
    return set;
}

enum sp_cpu sp_cpu(void)
{
    int set = atomic_load_explicit(&in_use, memory_order_relaxed);

    if (set >= 0)
        return (enum sp_cpu)set;
    (void)sp_cpu_choose(NULL);
    return (enum sp_cpu)atomic_load_explicit(&in_use, memory_order_relaxed);
}

void sp_cpu_use(enum sp_cpu set)
{
    sp_assert(sp_cpu_has(set));
    atomic_store_explicit(&in_use, (int)set, memory_order_relaxed);
}

static int by_name(const char *name, enum sp_cpu *set, struct sp_error *error)
{
    for (enum sp_cpu at = 0; at < SP_CPU_SETS; at++) {
        if (strcmp(name, names[at]) != 0)
            continue;
        if (!sp_cpu_has(at))
            return sp_error_set(error, SP_E_UNSUPPORTED,
                                ENVIRONMENT " is '%s', but this processor or this build has not got these "
                                            "instructions; the best it has is '%s'",
                                name, names[best()]);
        *set = at;
        return SP_OK;
    }
    return sp_error_set(error, SP_E_RANGE, ENVIRONMENT " is '%s'; it may be scalar, avx2 or avx512, or be left out",
                        name);
}

int sp_cpu_choose(struct sp_error *error)
{
    const char *name = getenv(ENVIRONMENT);
    enum sp_cpu set = best();
    int rc = name != NULL && name[0] != '\0' ? by_name(name, &set, error) : SP_OK;

    if (rc == SP_OK || atomic_load_explicit(&in_use, memory_order_relaxed) < 0)
        sp_cpu_use(set);
    return rc;
}
