#include "common/ars.h"

#include <threads.h>

#define WEYL_LOW UINT64_C(0x9E3779B97F4A7C15)
#define WEYL_HIGH UINT64_C(0xBB67AE8584CAA73B)

/* SubBytes and MixColumns of a byte in row 0 of its column: 2*s, s, s, 3*s from the lowest byte on. In another row the
 * word is rotated; s itself is byte 1. */
static uint32_t mixed[256];
static once_flag mixed_once = ONCE_FLAG_INIT;

static uint32_t twice(uint32_t x)
{
    return ((x << 1) ^ (x & 0x80 ? 0x1b : 0)) & 0xff;
}

static uint32_t rotate_byte(uint32_t x, unsigned by)
{
    return ((x << by) | (x >> (8 - by))) & 0xff;
}

/* 3 generates all bytes but 0, so that its powers, forwards and backwards, are each number and its inverse. */
static void make_mixed(void)
{
    uint8_t power[255];
    uint32_t x = 1;

    for (int i = 0; i < 255; i++) {
        power[i] = (uint8_t)x;
        x ^= twice(x);
    }
    for (int i = -1; i < 255; i++) {
        uint32_t at = i < 0 ? 0 : power[i], inverse = i < 0 ? 0 : power[(255 - i) % 255], s = inverse ^ 0x63;

        for (unsigned by = 1; by < 5; by++)
            s ^= rotate_byte(inverse, by);
        mixed[at] = twice(s) | s << 8 | s << 16 | (twice(s) ^ s) << 24;
    }
}

void sp_ars_init(struct sp_ars *ars, uint64_t key_low, uint64_t key_high)
{
    call_once(&mixed_once, make_mixed);
    for (unsigned i = 0; i <= SP_ARS_ROUNDS; i++) {
        ars->key[i][0] = key_low + i * WEYL_LOW;
        ars->key[i][1] = key_high + i * WEYL_HIGH;
    }
}

static uint32_t rotate(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

/* Column c of the next state takes row r from column c + r: that is ShiftRows. */
static uint32_t mixed_column(const uint32_t v[4], unsigned c)
{
    return mixed[v[c] & 0xff] ^ rotate(mixed[v[(c + 1) % 4] >> 8 & 0xff], 8) ^
           rotate(mixed[v[(c + 2) % 4] >> 16 & 0xff], 16) ^ rotate(mixed[v[(c + 3) % 4] >> 24], 24);
}

static uint32_t last_column(const uint32_t v[4], unsigned c)
{
    return (mixed[v[c] & 0xff] >> 8 & 0xff) | (mixed[v[(c + 1) % 4] >> 8 & 0xff] & 0xff00) |
           (mixed[v[(c + 2) % 4] >> 16 & 0xff] & 0xff00) << 8 | (mixed[v[(c + 3) % 4] >> 24] & 0xff00) << 16;
}

static void aes_round(uint64_t v[2], const uint64_t key[2], uint32_t column(const uint32_t v[4], unsigned c))
{
    const uint32_t word[4] = {(uint32_t)v[0], (uint32_t)(v[0] >> 32), (uint32_t)v[1], (uint32_t)(v[1] >> 32)};

    v[0] = key[0] ^ (column(word, 0) | (uint64_t)column(word, 1) << 32);
    v[1] = key[1] ^ (column(word, 2) | (uint64_t)column(word, 3) << 32);
}

void sp_ars_block(const struct sp_ars *ars, const uint64_t counter[2], uint64_t out[2])
{
    uint64_t v[2] = {counter[0] ^ ars->key[0][0], counter[1] ^ ars->key[0][1]};

    for (unsigned i = 1; i < SP_ARS_ROUNDS; i++)
        aes_round(v, ars->key[i], mixed_column);
    aes_round(v, ars->key[SP_ARS_ROUNDS], last_column);
    out[0] = v[0];
    out[1] = v[1];
}
