#include "worker/train/data.h"

#include "common/check.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

void sp_examples_finish(struct sp_examples *examples)
{
    free(examples->images);
    free(examples->labels);
    memset(examples, 0, sizeof *examples);
}

int sp_examples_check_test(const struct sp_examples *train, const struct sp_examples *test, const char *images_path,
                           const char *labels_path, struct sp_error *error)
{
    if (test->inputs != train->inputs)
        return sp_error_set(error, SP_E_MISMATCH, "%.300s: an image has %u inputs, but %u in the training data",
                            images_path, test->inputs, train->inputs);
    for (uint64_t i = 0; i < test->count; i++) {
        if (test->labels[i] >= train->classes)
            return sp_error_set(error, SP_E_RANGE,
                                "%.300s: label %llu (counted from 0) is %u, but the highest in the training data is %u",
                                labels_path, (unsigned long long)i, test->labels[i], train->classes - 1);
    }
    return SP_OK;
}

uint64_t sp_examples_digest(const struct sp_examples *examples)
{
    const uint64_t count = htole64(examples->count);
    const uint32_t inputs = htole32(examples->inputs);
    XXH64_state_t state;

    (void)XXH64_reset(&state, 0);
    (void)XXH64_update(&state, &count, sizeof count);
    (void)XXH64_update(&state, &inputs, sizeof inputs);
    (void)XXH64_update(&state, examples->images, (size_t)(examples->count * examples->inputs));
    (void)XXH64_update(&state, examples->labels, (size_t)examples->count);
    return XXH64_digest(&state);
}

void sp_scale_init(struct sp_scale *scale, double divide, double mean, double std)
{
    sp_assert(divide != 0.0 && std != 0.0);
    for (int i = 0; i < 256; i++)
        scale->value[i] = (float)(((double)i / divide - mean) / std);
}

void sp_examples_gather(const struct sp_examples *examples, const uint32_t *indices, uint32_t n,
                        const struct sp_scale *scale, float *x, uint8_t *labels)
{
    const size_t inputs = examples->inputs;

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *image;

        sp_assert(indices[i] < examples->count);
        image = examples->images + indices[i] * inputs;
        for (size_t k = 0; k < inputs; k++)
            x[i * inputs + k] = scale->value[image[k]];
        labels[i] = examples->labels[indices[i]];
    }
}
