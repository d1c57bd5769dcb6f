/* The weights and what changes them. Server and workers share these functions: that, and the rule that every factor
 * comes from the server as float32, is why they hold equal weights to the bit.
 */
#pragma once

#include "common/layout.h"

#include <stddef.h>
#include <stdint.h>

/* What a COMMIT says about how the update of its round is to be applied. */
struct sp_step {
    float decay;         /* tensors with SP_TENSOR_DECAY are multiplied by it first; 1 leaves them alone */
    float rate;          /* gamma in the sign phase; lambda in the SGD phase */
    const float *rates;  /* one lambda a tensor, in place of `rate`; NULL if there is one for all */
    const float *decays; /* one factor a tensor, in place of `decay`; NULL if there is one for all */
    const float *full;   /* values of the tensors with trait FULL, one after the other; NULL if there are none */
};

/* COMMIT of every round t that is a multiple of it carries the digest of the weights after round t-1. */
#define SP_DIGEST_ROUNDS 100

/* theta = theta*decay - rate*s for every coordinate; bit j of `bits` is the sign of coordinate j. Tensors with trait
 * FULL take their values from step->full instead, in both functions. Each operation is rounded to float32.
 * `digest` is NULL, or gets sp_weights_digest() of the weights as the step leaves them: they are hashed block by block
 * on the way, which is sooner done than afterwards. */
void sp_weights_apply_signs(const struct sp_layout *layout, const struct sp_step *step, const uint8_t *bits,
                            float *theta, uint64_t *digest);

/* theta = theta*decay - rate*values. */
void sp_weights_apply_values(const struct sp_layout *layout, const struct sp_step *step, const float *values,
                             float *theta, uint64_t *digest);

/* XXH64 (seed 0) over the XXH64 (seed 0), as little-endian u64, of each block of SP_SUM_BLOCK weights (little-endian
 * float32) in order. */
uint64_t sp_weights_digest(const float *theta, uint64_t coordinates);
