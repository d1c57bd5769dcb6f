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

/* What is true of a tensor. A worker declares DECAY and BUFFER; the job's rules may change DECAY, and add FULL. */
enum sp_tensor_flags {
    SP_TENSOR_DECAY = 1u << 0,  /* weight decay applies to it */
    SP_TENSOR_BUFFER = 1u << 1, /* not trained: running statistics, which are averaged now and then */
    SP_TENSOR_FULL = 1u << 2,   /* in full precision in every phase; never declared */
};

struct sp_tensor {
    char name[SP_TENSOR_NAME_BYTES]; /* ends with 0; unique in its layout */
    uint32_t dims;
    uint32_t flags; /* of enum sp_tensor_flags, as declared */
    uint64_t shape[SP_TENSOR_DIMS_MAX];
    /* Filled in by sp_layout_add() and sp_layout_set_traits(): */
    uint32_t traits;     /* its flags as the job's rules leave them */
    uint64_t first;      /* its first coordinate; of a buffer, its first value among the buffers' */
    uint64_t count;      /* its number of coordinates, or values */
    uint64_t full_first; /* with FULL: its first value among those that travel in full */
};

/* Buffers come after all tensors that are trained. */
struct sp_layout {
    uint32_t tensors_count;
    uint32_t trained;          /* tensors that are no buffers */
    uint64_t coordinates;      /* of all tensors but buffers: d */
    uint64_t buffers;          /* values of all buffers */
    uint64_t full;             /* coordinates of tensors with FULL */
    struct sp_tensor *tensors; /* owned */
};

/* An empty layout is all zero bytes. */
void sp_layout_finish(struct sp_layout *layout);

/* Appends a tensor, of which name, dims, flags and shape are read. Refuses a trained tensor after a buffer, empty or
 * repeated names, control characters, zero dimensions and more than SP_COORDINATES_MAX coordinates in all (checked
 * without overflow). */
int sp_layout_add(struct sp_layout *layout, const struct sp_tensor *tensor, struct sp_error *error);

int sp_layout_copy(struct sp_layout *to, const struct sp_layout *from);

/* Makes `traits` (one a tensor, of enum sp_tensor_flags) those of the layout: DECAY and FULL count, of tensors that are
 * no buffers. NULL: as declared. */
void sp_layout_set_traits(struct sp_layout *layout, const uint8_t *traits);

static inline bool sp_tensor_is(const struct sp_tensor *tensor, enum sp_tensor_flags trait)
{
    return (tensor->traits & (uint32_t)trait) != 0;
}

/* XXH64 (seed 0) over, for each tensor in order: name with its 0, dims and flags as little-endian u32, shape as
 * little-endian u64. Two layouts with the same digest may share a job. */
uint64_t sp_layout_digest(const struct sp_layout *layout);

/* Index of the tensor that holds `coordinate` (below layout->coordinates); never a buffer. */
uint32_t sp_layout_find(const struct sp_layout *layout, uint64_t coordinate);

/* A part of a range of coordinates that lies in one tensor. */
struct sp_layout_part {
    const struct sp_tensor *tensor;
    uint32_t index; /* of the tensor */
    uint64_t first; /* its first coordinate */
    uint64_t count;
};

/* Walks the parts of coordinates first..first+count-1 in order: `part` begins as all zero bytes, and the call is true
 * as long as there is one more. */
bool sp_layout_next(const struct sp_layout *layout, uint64_t first, uint64_t count, struct sp_layout_part *part);
