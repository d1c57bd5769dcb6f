#include "common/rng.h"

#include "common/check.h"

#include <string.h>

#define PHILOX_ROUNDS 7
#define PHILOX_M0 UINT32_C(0xD2511F53)
#define PHILOX_M1 UINT32_C(0xCD9E8D57)
#define PHILOX_W0 UINT32_C(0x9E3779B9)
#define PHILOX_W1 UINT32_C(0xBB67AE85)

struct sp_rng_key sp_rng_key(uint64_t seed, enum sp_rng_stream stream)
{
    struct sp_rng_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32) ^ ((uint32_t)stream << 24)}};

    return key;
}

void sp_philox4x32(struct sp_rng_key key, const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key.word[0], k1 = key.word[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void sp_rng_init(struct sp_rng *rng, struct sp_rng_key key, uint32_t t, uint32_t lane)
{
    memset(rng, 0, sizeof *rng);
    rng->key = key;
    rng->t = t;
    rng->lane = lane;
    rng->used = 4;
}

uint32_t sp_rng_next(struct sp_rng *rng)
{
    if (rng->used == 4) {
        sp_rng_block(rng->key, rng->index++, rng->t, rng->lane, rng->block);
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

uint32_t sp_rng_below(struct sp_rng *rng, uint32_t bound)
{
    uint64_t product;
    uint32_t reject;

    sp_assert(bound > 0);
    reject = (uint32_t)(-bound) % bound;
    do {
        product = (uint64_t)sp_rng_next(rng) * bound;
    } while ((uint32_t)product < reject);
    return (uint32_t)(product >> 32);
}
