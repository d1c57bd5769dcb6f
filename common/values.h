/* How values travel: momentum and gradients to the server, their mean back.
 *
 * f32 and bf16 are one number after another, little-endian. i8 is a range of coordinates cut at the boundaries of
 * tensors, each part cut into blocks of SP_I8_BLOCK coordinates, the last of a part shorter: first the scales of all
 * blocks in order, as little-endian float32, then one signed byte a coordinate, in order. Per block, in float32, each
 * operation rounded:
 *
 *     x = value + residual        A = max |x|        scale = A/127        q = x*(127/A), to the nearest, ties to even
 *     decoded = q*scale           residual = x - decoded
 *
 * What is lost in one round is so given back in the next (error feedback: Karimireddy, Rebjock, Stich and Jaggi, arXiv
 * 1901.09847). A block that is all 0, or so small that 127/A is infinite, has scale 0, and its q are 0. One that holds
 * something not finite, or is so large that 127*scale is infinite, has an infinite scale, its q are 0 and its residual
 * stays as it was: the receiver refuses it, as it does with f32 and bf16.
 *
 * Tensors with SP_TENSOR_FULL travel elsewhere: here they are zeros, their residual stays as it was, and they decode to
 * zeros whatever stands there. `bulk` may lie at any address.
 */
#pragma once

#include "common/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sp_wire { SP_WIRE_F32 = 0, SP_WIRE_BF16 = 1, SP_WIRE_I8 = 2 }; /* numbers on the wire */

#define SP_I8_BLOCK 256

/* The most bytes that `count` coordinates take as i8, whatever their layout: each tensor ends a block early once. */
#define SP_I8_BYTES_MAX(count) ((count) + 4 * ((count) / SP_I8_BLOCK + SP_TENSORS_MAX))

/* Bytes that coordinates first..first+count-1 take: 4*count, 2*count, or 4 a block and 1 a coordinate. */
size_t sp_values_bytes(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count);

/* values[0] and residual[0] are coordinate `first`; `bulk` has room for sp_values_bytes(). `residual` is NULL, or with
 * i8 the error feedback of these coordinates, which is used and then replaced; f32 and bf16 do not look at it. bf16
 * rounds to nearest even: beyond its range to infinity, and a NaN stays one. */
void sp_values_encode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const float *values, float *residual, uint8_t *bulk);

/* Any bytes decode to something; only those that pass sp_values_finite() to finite numbers. */
void sp_values_decode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk, float *values);

/* Whether `bulk` is what an encoder makes of finite numbers: with i8 no scale is negative or so large that 127*scale is
 * infinite, and no q is -128. */
bool sp_values_finite(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, uint64_t count,
                      const uint8_t *bulk);
