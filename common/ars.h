/* The generator of dither: ARS with 5 rounds, of the same paper as Philox (common/rng.h); 5 is the smallest number of
 * rounds for which its authors know of no statistical flaw. It is made of the round of AES, for which processors have
 * an instruction. Like Philox it has no state: a block depends on key and counter alone. It keeps no secret.
 *
 *     v = counter xor key
 *     5 times:  key += (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B), two sums of 64 bits, low and high
 *               v = a round of AES (FIPS 197): SubBytes, ShiftRows, MixColumns (not the fifth time), xor key
 *
 * v, counter and key are 128 bits: byte 0 of AES is the lowest of them. key = {word 0, word 1 of the stream's key, 0,
 * 0}; counter = {index low, index high, t, lane}, as in rng.h.
 */
#pragma once

#include "common/rng.h"

#include <stdint.h>

#define SP_ARS_ROUNDS 5

/* What is exclusive-or'ed to the counter, and after each round: low and high 64 bits. */
struct sp_ars {
    uint64_t key[SP_ARS_ROUNDS + 1][2];
};

void sp_ars_init(struct sp_ars *ars, uint64_t key_low, uint64_t key_high);

/* One block of 128 random bits; low and high 64 bits of counter and of result. */
void sp_ars_block(const struct sp_ars *ars, const uint64_t counter[2], uint64_t out[2]);
