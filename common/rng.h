/* The counter-based generator, and the small hashes, from which all randomness of a job comes.
 *
 * Philox4x32 with 7 rounds: J. Salmon, M. Moraes, R. Dror, D. Shaw, 'Parallel random numbers: as easy as 1, 2, 3',
 * SC 2011; 7 is the smallest number of rounds for which they report that BigCrush passes. A value depends on
 * (key, counter) alone, so that any kernel, in any order, and a replay later, draws the same bits.
 *
 * key     = seed, low and high 32 bits, exclusive-or'ed with a constant of the stream (below)
 * counter = {index low, index high, t, lane}: for dither, index = j/8, t = the round and lane = the slot
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct sp_rng_key {
    uint32_t word[2];
};

/* Streams never share bits, whatever their counters. */
enum sp_rng_stream {
    SP_RNG_DITHER = 1,  /* flips of sign bits: (j/8, round, slot) of another generator, see common/ars.h */
    SP_RNG_BATCH = 2,   /* the order of examples: (index, epoch, 0); of a slot's own shard (index, epoch, slot + 1) */
    SP_RNG_WEIGHTS = 3, /* initial weights: (index, tensor, 0) */
    SP_RNG_JITTER = 4,  /* pauses between attempts to connect */
    SP_RNG_TEST = 5,    /* tests and simulations */
    SP_RNG_AUGMENT = 6, /* crops and flips of images: (number in the batch, round, slot), see worker/train/augment.h */
};

struct sp_rng_key sp_rng_key(uint64_t seed, enum sp_rng_stream stream);

/* One block of 128 random bits. */
void sp_philox4x32(struct sp_rng_key key, const uint32_t counter[4], uint32_t out[4]);

/* Block (index, t, lane) of a stream. */
static inline void sp_rng_block(struct sp_rng_key key, uint64_t index, uint32_t t, uint32_t lane, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), t, lane};

    sp_philox4x32(key, counter, out);
}

/* Uniform on [0, 1) with 24 bits, exact in float32. */
static inline float sp_rng_unit(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

/* A sequence for code that draws one number after another (shuffles, tests). */
struct sp_rng {
    struct sp_rng_key key;
    uint64_t index;
    uint32_t t, lane;
    uint32_t block[4];
    unsigned used;
};

void sp_rng_init(struct sp_rng *rng, struct sp_rng_key key, uint32_t t, uint32_t lane);
uint32_t sp_rng_next(struct sp_rng *rng);

/* Uniform on 0..bound-1 without bias (Lemire's method with rejection). bound > 0. */
uint32_t sp_rng_below(struct sp_rng *rng, uint32_t bound);

/* The finaliser of splitmix64 (Steele, Lea, Flood; constants by Vigna): a bijection that mixes 64 bits. */
static inline uint64_t sp_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The 64 signs that the sketch uses for coordinates 64*word .. 64*word+63 in round t (bit set: minus).
 * They are common to all slots and fresh each round. */
static inline uint64_t sp_sketch_signs(uint64_t seed, uint32_t t, uint64_t word)
{
    uint64_t round_key = sp_mix64(seed + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(t + UINT64_C(1)));

    return sp_mix64(round_key + UINT64_C(0x9e3779b97f4a7c15) * (word + 1));
}
