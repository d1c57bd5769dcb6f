/* The layout of a model: its tensors in order, and what is true of each.
 * The weights of a job are one array of float32, tensor after tensor, row-major; a *coordinate* is an index into it.
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_TENSORS_MAX 4096
#define SP_TENSOR_NAME_BYTES 64
#define SP_TENSOR_DIMS_MAX 8
#define SP_COORDINATES_MAX (UINT64_C(1) << 34)

enum sp_tensor_flags {
    SP_TENSOR_DECAY = 1u << 0, /* weight decay applies to it */
};

struct sp_tensor {
    char name[SP_TENSOR_NAME_BYTES]; /* ends with 0; unique in its layout */
    uint32_t dims;
    uint32_t flags; /* of enum sp_tensor_flags */
    uint64_t shape[SP_TENSOR_DIMS_MAX];
    uint64_t first; /* its first coordinate; filled in by sp_layout_add() */
    uint64_t count; /* its number of coordinates; filled in by sp_layout_add() */
};

struct sp_layout {
    uint32_t tensors_count;
    uint64_t coordinates;
    struct sp_tensor *tensors; /* owned */
};

/* An empty layout is all zero bytes. */
void sp_layout_finish(struct sp_layout *layout);

/* Appends a tensor, of which name, dims, flags and shape are read. Refuses empty or repeated names, control characters,
 * zero dimensions and more than SP_COORDINATES_MAX coordinates in all (checked without overflow). */
int sp_layout_add(struct sp_layout *layout, const struct sp_tensor *tensor, struct sp_error *error);

int sp_layout_copy(struct sp_layout *to, const struct sp_layout *from);

/* XXH64 (seed 0) over, for each tensor in order: name with its 0, dims and flags as little-endian u32, shape as
 * little-endian u64. Two layouts with the same digest may share a job. */
uint64_t sp_layout_digest(const struct sp_layout *layout);

/* Index of the tensor that holds `coordinate` (which lies inside the layout). */
uint32_t sp_layout_find(const struct sp_layout *layout, uint64_t coordinate);
