/* Inside aggregate.c and its kernels. */
#pragma once

#include "common/cpu.h"
#include "server/aggregate.h"

/* Kernels take a multiple of so many coordinates, and at least one voter; aggregate.c does the rest. */
#define SP_AGGREGATE_STEP 16

/* Coordinates first..end-1 of all arrays. */
typedef void sp_mean_kernel(const float *const values[], unsigned voters, size_t first, size_t end, float *mean);
typedef void sp_median_kernel(const float *const values[], unsigned voters, size_t first, size_t end, float *result);
typedef void sp_trimmed_mean_kernel(const float *const values[], unsigned voters, unsigned cut, size_t first,
                                    size_t end, float *result);
typedef void sp_adam_kernel(const struct sp_adam *adam, const float *gradient, size_t first, size_t end, float *m,
                            float *v, float *update);

struct sp_aggregate_kernels {
    sp_mean_kernel *mean;
    sp_median_kernel *median;
    sp_trimmed_mean_kernel *trimmed_mean;
    sp_adam_kernel *adam;
};

sp_mean_kernel sp_mean_avx2;
sp_adam_kernel sp_adam_avx2;
extern const struct sp_aggregate_kernels sp_aggregate_avx2;
extern const struct sp_aggregate_kernels sp_aggregate_avx512;
