#include "worker/train/data_parts.h"

#include "common/check.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

void sp_part_finish(struct sp_part *part)
{
    free(part->memory);
    sp_mapping_destroy(part->mapping);
    memset(part, 0, sizeof *part);
}

void sp_examples_finish(struct sp_examples *examples)
{
    for (uint32_t i = 0; i < examples->parts_count; i++)
        sp_part_finish(&examples->parts[i]);
    free(examples->parts);
    free(examples->labels);
    memset(examples, 0, sizeof *examples);
}

void sp_examples_begin(struct sp_examples *examples, const char *files, const char *labels)
{
    memset(examples, 0, sizeof *examples);
    (void)snprintf(examples->from, sizeof examples->from, "%s", sp_path_shown(files));
    (void)snprintf(examples->labels_from, sizeof examples->labels_from, "%s",
                   sp_path_shown(labels != NULL ? labels : files));
}

int sp_examples_add_part(struct sp_examples *examples, const struct sp_part *part, struct sp_error *error)
{
    struct sp_part added = *part, *parts;

    parts = realloc(examples->parts, (examples->parts_count + (size_t)1) * sizeof *parts);
    if (parts == NULL) {
        sp_part_finish(&added);
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    }
    examples->parts = parts;
    added.first = examples->count;
    parts[examples->parts_count++] = added;
    examples->count += added.count;
    return SP_OK;
}

void sp_examples_count_classes(struct sp_examples *examples)
{
    examples->classes = 0;
    for (uint64_t i = 0; i < examples->count; i++)
        if (examples->labels[i] >= examples->classes)
            examples->classes = examples->labels[i] + 1u;
}

int sp_examples_check_test(const struct sp_examples *train, const struct sp_examples *test, struct sp_error *error)
{
    const struct sp_shape *a = &test->shape, *b = &train->shape;

    if (test->inputs != train->inputs)
        return sp_error_set(error, SP_E_MISMATCH, "%s: an image has %u inputs, but %u in the training data", test->from,
                            test->inputs, train->inputs);
    if (a->channels != b->channels || a->height != b->height || a->width != b->width)
        return sp_error_set(error, SP_E_MISMATCH, "%s: an image is %u x %u x %u, but %u x %u x %u in the training data",
                            test->from, a->channels, a->height, a->width, b->channels, b->height, b->width);
    if (test->columns != train->columns)
        return sp_error_set(error, SP_E_MISMATCH,
                            "%s: the columns have other names than in the training data, or another order", test->from);
    for (uint64_t i = 0; i < test->count; i++) {
        if (test->labels[i] >= train->classes)
            return sp_error_set(error, SP_E_RANGE,
                                "%s: label %llu (counted from 0) is %u, but the highest in the training data is %u",
                                test->labels_from, (unsigned long long)i, test->labels[i], train->classes - 1);
    }
    return SP_OK;
}

static size_t image_bytes(const struct sp_examples *examples)
{
    return examples->inputs * (examples->element == SP_ELEMENT_FLOAT ? sizeof(float) : sizeof(uint8_t));
}

uint64_t sp_examples_digest(const struct sp_examples *examples)
{
    const uint64_t count = htole64(examples->count);
    const uint32_t inputs = htole32(examples->inputs);
    const size_t bytes = image_bytes(examples);
    XXH64_state_t state;

    (void)XXH64_reset(&state, 0);
    (void)XXH64_update(&state, &count, sizeof count);
    (void)XXH64_update(&state, &inputs, sizeof inputs);
    for (uint64_t i = 0; i < examples->count; i++)
        (void)XXH64_update(&state, sp_examples_raw(examples, i), bytes);
    (void)XXH64_update(&state, examples->labels, (size_t)examples->count);
    return XXH64_digest(&state);
}

const void *sp_examples_raw(const struct sp_examples *examples, uint64_t index)
{
    uint32_t low = 0, high = examples->parts_count;
    const struct sp_part *part;

    sp_assert(index < examples->count);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (examples->parts[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    part = &examples->parts[low];
    return part->images + (size_t)(index - part->first) * part->stride;
}

void sp_examples_bytes(const struct sp_examples *examples, uint64_t *mapped, uint64_t *held)
{
    *mapped = *held = 0;
    for (uint32_t i = 0; i < examples->parts_count; i++)
        *(examples->parts[i].mapping != NULL ? mapped : held) += examples->parts[i].count * image_bytes(examples);
}

void sp_examples_gather(const struct sp_examples *examples, const uint32_t *indices, uint32_t n,
                        const struct sp_scale *scale, float *x, uint8_t *labels)
{
    for (uint32_t i = 0; i < n; i++) {
        sp_scale_apply(scale, examples, sp_examples_raw(examples, indices[i]), x + (size_t)i * examples->inputs);
        labels[i] = examples->labels[indices[i]];
    }
}
