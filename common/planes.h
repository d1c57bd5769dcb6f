/* The counts of a vote as bit planes, in which the margin phase's update travels.
 *
 * Plane p holds bit p of the number of ones of each coordinate: bit j%8 of its byte j/8 belongs to coordinate j, bits
 * past the last are 0. It begins at byte p*sp_bits_bytes(count). Counts 0..M take as many planes as M has bits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_PLANES_MAX 8
#define SP_PLANES_VOTERS_MAX 255

/* Planes that counts 0..voters need: at least 1. */
unsigned sp_planes(unsigned voters);

/* Bytes of all planes of `count` coordinates. */
size_t sp_planes_bytes(unsigned voters, uint64_t count);

/* values[j] = V/M = (2c - M)/M in float32, rounded once: c is the count of coordinate j, M = voters, at most
 * SP_PLANES_VOTERS_MAX. 0 for M = 0. False if a count exceeds M or a bit past `count` is set: `values` then hold
 * nothing of use. */
bool sp_planes_decode(const uint8_t *planes, unsigned voters, size_t count, float *values);
