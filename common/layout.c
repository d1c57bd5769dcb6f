#include "common/layout.h"

#include "common/check.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

void sp_layout_finish(struct sp_layout *layout)
{
    free(layout->tensors);
    memset(layout, 0, sizeof *layout);
}

static int check_name(const struct sp_layout *layout, const char *name, struct sp_error *error)
{
    size_t length = strnlen(name, SP_TENSOR_NAME_BYTES);

    if (length == 0 || length == SP_TENSOR_NAME_BYTES)
        return sp_error_set(error, SP_E_RANGE, "tensor %u: its name must have 1 to %d characters",
                            layout->tensors_count, SP_TENSOR_NAME_BYTES - 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];

        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\')
            return sp_error_set(error, SP_E_SYNTAX,
                                "tensor %u: character %zu of its name is not allowed (printable ASCII without space, "
                                "quote and backslash)",
                                layout->tensors_count, i + 1);
    }
    if (strcmp(name, "__metadata__") == 0)
        return sp_error_set(error, SP_E_RANGE,
                            "tensor %u: the name '%s' is reserved by the files that weights are kept in",
                            layout->tensors_count, name);
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        if (strcmp(layout->tensors[i].name, name) == 0)
            return sp_error_set(error, SP_E_RANGE, "tensor '%s' appears twice", name);
    }
    return SP_OK;
}

/* Multiplies the shape out, so that no product ever exceeds SP_COORDINATES_MAX before it is checked. */
static int count_coordinates(const struct sp_tensor *tensor, uint64_t *count, struct sp_error *error)
{
    *count = 1;
    if (tensor->dims == 0 || tensor->dims > SP_TENSOR_DIMS_MAX)
        return sp_error_set(error, SP_E_RANGE, "tensor '%s' has %u dimensions; 1 to %d are allowed", tensor->name,
                            tensor->dims, SP_TENSOR_DIMS_MAX);
    for (uint32_t i = 0; i < tensor->dims; i++) {
        if (tensor->shape[i] == 0 || tensor->shape[i] > SP_COORDINATES_MAX / *count)
            return sp_error_set(error, SP_E_RANGE, "tensor '%s' is empty or too large in dimension %u", tensor->name,
                                i);
        *count *= tensor->shape[i];
    }
    return SP_OK;
}

int sp_layout_add(struct sp_layout *layout, const struct sp_tensor *tensor, struct sp_error *error)
{
    struct sp_tensor *grown;
    uint64_t count;
    int rc;

    if (layout->tensors_count == SP_TENSORS_MAX)
        return sp_error_set(error, SP_E_RANGE, "more than %d tensors", SP_TENSORS_MAX);
    rc = check_name(layout, tensor->name, error);
    if (rc == SP_OK)
        rc = count_coordinates(tensor, &count, error);
    if (rc != SP_OK)
        return rc;
    if ((tensor->flags & SP_TENSOR_BUFFER) == 0 && layout->trained < layout->tensors_count)
        return sp_error_set(error, SP_E_RANGE, "tensor '%s' comes after a buffer; buffers must be the last tensors",
                            tensor->name);
    if (count > SP_COORDINATES_MAX - layout->coordinates - layout->buffers)
        return sp_error_set(error, SP_E_RANGE, "more than %llu coordinates in all",
                            (unsigned long long)SP_COORDINATES_MAX);
    grown = reallocarray(layout->tensors, layout->tensors_count + 1u, sizeof *grown);
    if (grown == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for %u tensors", layout->tensors_count + 1u);
    layout->tensors = grown;
    grown = &layout->tensors[layout->tensors_count++];
    memset(grown, 0, sizeof *grown);
    (void)strcpy(grown->name, tensor->name);
    grown->dims = tensor->dims;
    grown->flags = tensor->flags;
    memcpy(grown->shape, tensor->shape, tensor->dims * sizeof tensor->shape[0]);
    grown->traits = tensor->flags;
    grown->count = count;
    if ((tensor->flags & SP_TENSOR_BUFFER) != 0) {
        grown->first = layout->buffers;
        layout->buffers += count;
    } else {
        grown->first = layout->coordinates;
        layout->coordinates += count;
        layout->trained++;
    }
    return SP_OK;
}

void sp_layout_set_traits(struct sp_layout *layout, const uint8_t *traits)
{
    layout->full = 0;
    for (uint32_t i = 0; i < layout->trained; i++) {
        struct sp_tensor *tensor = &layout->tensors[i];

        tensor->traits = traits != NULL ? traits[i] & (SP_TENSOR_DECAY | SP_TENSOR_FULL) : tensor->flags;
        tensor->full_first = layout->full;
        if (sp_tensor_is(tensor, SP_TENSOR_FULL))
            layout->full += tensor->count;
    }
}

bool sp_layout_next(const struct sp_layout *layout, uint64_t first, uint64_t count, struct sp_layout_part *part)
{
    uint64_t end = first + count, at = part->tensor != NULL ? part->first + part->count : first;
    uint64_t end_of_tensor;

    if (at >= end)
        return false;
    part->index = part->tensor != NULL ? part->index + 1 : sp_layout_find(layout, at);
    part->tensor = &layout->tensors[part->index];
    end_of_tensor = part->tensor->first + part->tensor->count;
    part->first = at;
    part->count = (end_of_tensor < end ? end_of_tensor : end) - at;
    return true;
}

int sp_layout_copy(struct sp_layout *to, const struct sp_layout *from)
{
    struct sp_tensor *tensors = calloc(from->tensors_count + 1u, sizeof *tensors);

    if (tensors == NULL)
        return SP_E_NOMEM;
    if (from->tensors_count > 0)
        memcpy(tensors, from->tensors, from->tensors_count * sizeof *tensors);
    *to = *from;
    to->tensors = tensors;
    return SP_OK;
}

uint64_t sp_layout_digest(const struct sp_layout *layout)
{
    XXH64_state_t state;

    (void)XXH64_reset(&state, 0);
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];
        const uint32_t words[2] = {htole32(tensor->dims), htole32(tensor->flags)};

        (void)XXH64_update(&state, tensor->name, strlen(tensor->name) + 1);
        (void)XXH64_update(&state, words, sizeof words);
        for (uint32_t k = 0; k < tensor->dims; k++) {
            uint64_t size = htole64(tensor->shape[k]);

            (void)XXH64_update(&state, &size, sizeof size);
        }
    }
    return XXH64_digest(&state);
}

uint32_t sp_layout_find(const struct sp_layout *layout, uint64_t coordinate)
{
    uint32_t low = 0, high = layout->trained;

    sp_assert(coordinate < layout->coordinates);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (layout->tensors[middle].first <= coordinate)
            low = middle;
        else
            high = middle;
    }
    return low;
}
