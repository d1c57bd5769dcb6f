/* What the server makes of the workers' values, coordinate by coordinate, and Adam. Pure.
 *
 * values[i] points to `count` finite float32 of one worker, i < voters <= SP_VALUES_MAX. Without voters every result is
 * 0. The mean goes in the order of `values`; median and trimmed mean do not depend on it: a result that is zero is +0,
 * whichever zeros went in.
 */
#pragma once

#include "common/job.h"

#include <stddef.h>
#include <stdint.h>

#define SP_VALUES_MAX SP_WORKERS_MAX

/* mean[j] of the votes' float32 values, taken in double in the order of `values`, rounded once. */
void sp_mean(const float *const values[], unsigned voters, size_t count, float *mean);

/* The middle value; with an even number the mean of the middle two, (a+b)/2 in double, then rounded. */
void sp_median(const float *const values[], unsigned voters, size_t count, float *result);

/* The mean of what is left when the `cut` lowest and the `cut` highest are left out, taken in double in ascending order
 * of value, then rounded. 2*cut < voters, or both are 0. */
void sp_trimmed_mean(const float *const values[], unsigned voters, unsigned cut, size_t count, float *result);

/* The one that a job names. A trimmed mean cuts floor(trim*voters), or as many as leave one value. */
void sp_aggregate_values(enum sp_aggregate rule, double trim, const float *const values[], unsigned voters,
                         size_t count, float *result);

/* Factors of Adam in round t (Kingma and Ba, arXiv 1412.6980, algorithm 1), each computed in double and rounded once:
 * c1 = 1/(1 - beta1^t), c2 = 1/(1 - beta2^t). */
struct sp_adam {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, c1, c2, eps;
};

/* t counts from 1; 0 <= beta < 1. The powers are products in a fixed order, for the sake of equal bits on every libm.
 */
void sp_adam_init(struct sp_adam *adam, double beta1, double beta2, double eps, uint32_t t);

/* For each coordinate, in float32, each operation rounded:
 *     m = beta1*m + (1-beta1)*g     v = beta2*v + ((1-beta2)*g)*g     update = (m*c1)/(sqrt(v*c2) + eps)
 * Gradients beyond 1e19 make v infinite, and the update of their coordinates 0 or, beyond 1e37, not a number. */
void sp_adam_update(const struct sp_adam *adam, const float *gradient, size_t count, float *m, float *v, float *update);
