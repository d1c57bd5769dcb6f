/* From a gradient to sign bits: momentum, then noise before the sign, drawn without drawing any noise.
 *
 * Chen and Wang, arXiv 2604.25550: the worker sends sign(m + sigma*r*xi) with xi ~ N(0,1). The probability that the
 * noise turns the sign of m over is Q(|m|/(sigma*r)), Q the tail of the normal distribution; so
 *     bit = [m is not negative] XOR [u < Q(|m|/(sigma*r))],   u uniform,
 * has the same law, and one 16-bit u a coordinate is enough. (A zero of either sign flips half of the time.)
 */
#pragma once

#include "common/layout.h"
#include "common/rng.h"

#include <stddef.h>
#include <stdint.h>

/* m = beta1*m + (1-beta1)*g, both factors as float32 (1-beta1 is computed in double, then rounded). */
void sp_momentum(float *m, const float *gradient, size_t count, float beta1, float one_minus_beta1);

/* The float32 that |m| is multiplied by: 1/(sigma*scale), computed in double, at most SP_DITHER_GAIN_MAX, so that a
 * kernel can multiply it by a power of two. 0 if sigma or scale is 0: no dither. A sigma so large that the quotient
 * rounds to 0 gives the smallest normal number: coins. */
#define SP_DITHER_GAIN_MAX 0x1p114f
float sp_dither_gain(double sigma, double scale);

/* P(flip)*65536 for |m|/(sigma*r) = x, 0 from 4 on, within 6e-5 (as a probability) of Q. x is not negative and not NaN.
 *
 * Q(x) is half the fourth power of a function that is nearly a straight line, so a polynomial will do: in integers of
 * 16 bits, with high(a, b) = a*b div 65536, v = 2 * (8192*x rounded to the nearest whole number, ties to even, at most
 * 32767) r = 55110 - high(v, c1 + high(v, c2 - high(v, c3 + high(v, c4 - high(v, c5))))) s = high(r, r) flip = high(s,
 * s) - 1 with c1..c5 as in dither_kernels.h. */
uint32_t sp_dither_flip(float x);

/* bits = the dithered signs of m[0..count-1], which are coordinates first.. of the model; first is a multiple of 8; m
 * is finite. With gain 0 they are plain signs, coin(j, t) where m is 0. The u of coordinate j comes from block (j/8, t,
 * slot) of ARS with the key of stream SP_RNG_DITHER: its 16-bit word j%8, word 0 the lowest, with the highest bit
 * inverted (so that kernels can compare signed numbers). */
void sp_dither_pack(const float *m, uint64_t first, size_t count, float gain, struct sp_rng_key key, uint32_t slot,
                    uint32_t t, uint8_t *bits);

/* The same with a gain a tensor: gains[i] for the coordinates of tensor i of the layout, 0 for plain signs. Tensors end
 * anywhere in a byte. Those with SP_TENSOR_FULL, whose values travel elsewhere, get bits 0. */
void sp_dither_pack_tensors(const struct sp_layout *layout, const float *gains, const float *m, uint64_t first,
                            size_t count, struct sp_rng_key key, uint32_t slot, uint32_t t, uint8_t *bits);
