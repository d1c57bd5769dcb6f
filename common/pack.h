/* Signs as bits, and back.
 *
 * Coordinate j is bit j%8 of byte j/8 (least significant bit first); 1 stands for +1, 0 for -1. Bits past the last
 * coordinate are 0. A range that is packed or unpacked starts at a multiple of 8.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline size_t sp_bits_bytes(uint64_t count)
{
    return (size_t)((count + 7) / 8);
}

/* coin(j, t): what stands in for a sign that does not exist (a gradient of 0, a tied vote). 1 is +1, 0 is -1.
 * It alternates over rounds, so that such a coordinate does not drift. Design, section 2. */
static inline unsigned sp_coin(uint64_t j, uint32_t t)
{
    return (~((((uint32_t)j * UINT32_C(2654435761)) >> 16) ^ t)) & 1u;
}

/* coin(j, t) depends on j mod 2^17 and on t mod 2: the bits of coin(j, 1), packed. Made once. Behind a period follows
 * the beginning of the next, so that 64 bytes can be read from any place. */
#define SP_COINS_PERIOD 16384u
#define SP_COINS_BYTES (SP_COINS_PERIOD + 64u)
const uint8_t *sp_coins(void);

/* The coins of coordinates first..first+63 as one word (bit i: coordinate first+i); `first` is a multiple of 8. */
static inline uint64_t sp_coin_word(const uint8_t *coins, uint64_t first, uint32_t t)
{
    uint64_t word;

    memcpy(&word, coins + first / 8 % SP_COINS_PERIOD, sizeof word);
    return t % 2 != 0 ? word : ~word;
}

/* bits[j] = values[j] > 0, or coin(first+j, t) where values[j] == 0. `values` has `count` finite numbers, `bits` room
 * for sp_bits_bytes(count) bytes. */
void sp_pack_signs(const float *values, uint64_t first, size_t count, uint32_t t, uint8_t *bits);

/* signs[j] = +1 or -1. */
void sp_unpack_signs(const uint8_t *bits, size_t count, float *signs);

/* True if every bit past `count` in the last byte is 0, as the wire demands. */
int sp_bits_tail_clear(const uint8_t *bits, uint64_t count);
