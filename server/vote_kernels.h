/* Inside vote.c and its kernels. */
#pragma once

#include "common/cpu.h"
#include "server/vote.h"

/* What sp_vote() is given, and sp_coins(). `stride` is that from one plane of `planes` to the next, in bytes. */
struct sp_vote_work {
    const uint8_t *const *votes;
    unsigned voters;
    uint64_t first;
    uint32_t t;
    const uint8_t *coins;
    const uint8_t *previous;
    uint8_t *result, *planes;
    size_t stride;
    struct sp_vote_counts *counts;
    uint64_t *disagree;
};

#define SP_VOTE_UNIT 64u

/* The first `bytes` bytes of all buffers, a multiple of SP_VOTE_UNIT; at least one voter. */
typedef void sp_vote_kernel(const struct sp_vote_work *work, size_t bytes);

sp_vote_kernel sp_vote_avx2;
sp_vote_kernel sp_vote_avx512;
