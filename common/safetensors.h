/* The safetensors format: a u64 (little-endian) with the length of a JSON header, the header, which gives each tensor's
 * type, shape and bytes, then the tensors' bytes (https://github.com/huggingface/safetensors, README: Format).
 *
 * What a run leaves as model.safetensors (server/record.c writes it) is read here. A file from elsewhere may have
 * tensors that a layout does not know, which are left alone; its values may be F32, F64, F16 or BF16, each rounded to
 * float32.
 */
#pragma once

#include "common/error.h"
#include "common/layout.h"

#include <stdint.h>

struct sp_safetensors;

/* Opens the file and checks its whole header: sizes that agree with types and shapes, ranges that lie in the file and
 * do not overlap. On success the caller owns *out. Errors name the file, the tensor and the byte: SP_E_IO, SP_E_SYNTAX
 * (not a safetensors file, or cut short), SP_E_RANGE (a size above its maximum), SP_E_NOMEM. */
int sp_safetensors_open(struct sp_safetensors **out, const char *path, struct sp_error *error);

/* The path that it was opened by. */
const char *sp_safetensors_path(const struct sp_safetensors *file);

/* NULL is allowed. */
void sp_safetensors_close(struct sp_safetensors *file);

/* Copies every tensor of the layout, found by its name: trained ones to theta [coordinates], buffers to `buffers`
 * (NULL if the layout has none). SP_E_MISSING: the file lacks one; SP_E_MISMATCH: another shape; SP_E_UNSUPPORTED:
 * another type; SP_E_RANGE: a value that is not finite. The words name file, tensor, and both shapes. */
int sp_safetensors_read(const struct sp_safetensors *file, const struct sp_layout *layout, float *theta, float *buffers,
                        struct sp_error *error);

/* The number of the file's tensors that the layout does not have; the name of the first goes to *name (borrowed from
 * the file; NULL if none). */
unsigned sp_safetensors_left_over(const struct sp_safetensors *file, const struct sp_layout *layout, const char **name);

/* The shape of the file's tensor of this name: writes up to SP_TENSOR_DIMS_MAX sizes and returns how many it has, which
 * is 0 also if there is no such tensor. */
size_t sp_safetensors_shape(const struct sp_safetensors *file, const char *name, uint64_t shape[SP_TENSOR_DIMS_MAX]);
