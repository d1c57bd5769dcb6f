#include "common/weights.h"

#include "common/check.h"
#include "common/sums.h"

#include <endian.h>
#include <math.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

/* Weights travel and are hashed as they lie in memory. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Signpost keeps weights in little-endian memory; this processor is big-endian"
#endif

static void decay_range(float *theta, uint64_t count, float decay)
{
    for (uint64_t j = 0; j < count; j++)
        theta[j] *= decay;
}

static void apply_signs_range(float *theta, const uint8_t *bits, uint64_t first, uint64_t count, float rate)
{
    for (uint64_t j = 0; j < count; j++) {
        uint64_t c = first + j;

        theta[j] -= (bits[c / 8] >> (c % 8)) & 1u ? rate : -rate;
    }
}

static void apply_values_range(float *theta, const float *values, uint64_t count, float rate)
{
    for (uint64_t j = 0; j < count; j++)
        theta[j] -= rate * values[j];
}

static float tensor_rate(const struct sp_step *step, uint32_t tensor)
{
    return step->rates != NULL ? step->rates[tensor] : step->rate;
}

/* A factor of 1 multiplies nothing, so that a job without decay does not depend on it. */
static void decay_tensor(const struct sp_layout *layout, const struct sp_step *step, uint32_t i, float *theta)
{
    const struct sp_tensor *tensor = &layout->tensors[i];
    float decay = step->decays != NULL ? step->decays[i] : step->decay;

    if (sp_tensor_is(tensor, SP_TENSOR_DECAY) && decay != 1.0f)
        decay_range(theta + tensor->first, tensor->count, decay);
}

void sp_weights_apply_signs(const struct sp_layout *layout, const struct sp_step *step, const uint8_t *bits,
                            float *theta)
{
    for (uint32_t i = 0; i < layout->trained; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        decay_tensor(layout, step, i, theta);
        if (sp_tensor_is(tensor, SP_TENSOR_FULL))
            apply_values_range(theta + tensor->first, step->full + tensor->full_first, tensor->count,
                               tensor_rate(step, i));
        else
            apply_signs_range(theta + tensor->first, bits, tensor->first, tensor->count, tensor_rate(step, i));
    }
}

void sp_weights_apply_values(const struct sp_layout *layout, const struct sp_step *step, const float *values,
                             float *theta)
{
    for (uint32_t i = 0; i < layout->trained; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];
        bool full = sp_tensor_is(tensor, SP_TENSOR_FULL);

        decay_tensor(layout, step, i, theta);
        apply_values_range(theta + tensor->first, full ? step->full + tensor->full_first : values + tensor->first,
                           tensor->count, tensor_rate(step, i));
    }
}

uint64_t sp_weights_digest(const float *theta, uint64_t coordinates)
{
    XXH64_state_t state;

    (void)XXH64_reset(&state, 0);
    for (uint64_t first = 0; first < coordinates; first += SP_SUM_BLOCK) {
        uint64_t n = coordinates - first < SP_SUM_BLOCK ? coordinates - first : SP_SUM_BLOCK;
        uint64_t block = htole64(XXH64(theta + first, (size_t)n * sizeof *theta, 0));

        (void)XXH64_update(&state, &block, sizeof block);
    }
    return XXH64_digest(&state);
}
