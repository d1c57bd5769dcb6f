#include "server/vote.h"

#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"

#include <string.h>

/* A block of words, so that the compiler turns the loops over it into vector instructions. */
#define WORDS 8
#define BLOCK_BYTES (WORDS * 8u)

struct planes {
    uint64_t bit[SP_PLANES_MAX][WORDS];
};

static void load(const uint8_t *from, size_t bytes, uint64_t word[WORDS])
{
    if (bytes == BLOCK_BYTES) {
        memcpy(word, from, BLOCK_BYTES);
        return;
    }
    memset(word, 0, BLOCK_BYTES);
    memcpy(word, from, bytes);
}

static void add_vote(struct planes *planes, unsigned needed, const uint64_t vote[WORDS])
{
    uint64_t carry[WORDS];

    memcpy(carry, vote, sizeof carry);
    for (unsigned p = 0; p < needed; p++) {
        for (unsigned w = 0; w < WORDS; w++) {
            uint64_t next = planes->bit[p][w] & carry[w];

            planes->bit[p][w] ^= carry[w];
            carry[w] = next;
        }
    }
}

/* Compares every count with a constant, plane by plane from the highest. */
static void compare(const struct planes *planes, unsigned needed, unsigned constant, uint64_t above[WORDS],
                    uint64_t equal[WORDS])
{
    for (unsigned w = 0; w < WORDS; w++) {
        above[w] = 0;
        equal[w] = ~UINT64_C(0);
    }
    for (unsigned p = needed; p-- > 0;) {
        uint64_t one = (constant >> p) & 1u ? ~UINT64_C(0) : 0;

        for (unsigned w = 0; w < WORDS; w++) {
            above[w] |= equal[w] & planes->bit[p][w] & ~one;
            equal[w] &= ~(planes->bit[p][w] ^ one);
        }
    }
}

static uint64_t ones(const uint64_t word[WORDS])
{
    uint64_t total = 0;

    for (unsigned w = 0; w < WORDS; w++)
        total += (uint64_t)__builtin_popcountll(word[w]);
    return total;
}

/* Bits of the block that stand for coordinates. */
static void valid_bits(size_t count, uint64_t valid[WORDS])
{
    for (unsigned w = 0; w < WORDS; w++) {
        size_t left = count > w * 64u ? count - w * 64u : 0;

        valid[w] = left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
    }
}

/* sum |V| = sum over coordinates with more ones of 2c-M, and with fewer of M-2c; c is read off the planes. */
static uint64_t margin(const struct planes *planes, unsigned needed, unsigned voters, const uint64_t above[WORDS],
                       const uint64_t below[WORDS])
{
    uint64_t ones_above = 0, ones_below = 0;

    for (unsigned p = 0; p < needed; p++) {
        for (unsigned w = 0; w < WORDS; w++) {
            ones_above += (uint64_t)__builtin_popcountll(planes->bit[p][w] & above[w]) << p;
            ones_below += (uint64_t)__builtin_popcountll(planes->bit[p][w] & below[w]) << p;
        }
    }
    return 2 * ones_above - voters * ones(above) + voters * ones(below) - 2 * ones_below;
}

struct block {
    const uint8_t *const *votes;
    unsigned voters, needed;
    size_t offset, bytes; /* in each buffer */
    uint64_t first;
    size_t count;
    uint32_t t;
};

/* Votes are not trusted to be clear past `count`. */
static void write_planes(const struct block *block, const struct planes *planes, const uint64_t valid[WORDS],
                         size_t stride, uint8_t *to)
{
    uint64_t word[WORDS];

    for (unsigned p = 0; p < block->needed; p++) {
        for (unsigned w = 0; w < WORDS; w++)
            word[w] = planes->bit[p][w] & valid[w];
        memcpy(to + p * stride + block->offset, word, block->bytes);
    }
}

static void count_block(const struct block *block, const struct planes *planes, uint64_t above[WORDS],
                        const uint64_t tie[WORDS], const uint64_t valid[WORDS], struct sp_vote_counts *counts)
{
    uint64_t below[WORDS], all[WORDS], none[WORDS], unused[WORDS];

    for (unsigned w = 0; w < WORDS; w++)
        below[w] = valid[w] & ~above[w] & ~tie[w];
    compare(planes, block->needed, block->voters, unused, all);
    compare(planes, block->needed, 0, unused, none);
    for (unsigned w = 0; w < WORDS; w++)
        all[w] = (all[w] | none[w]) & valid[w];
    counts->coordinates += block->count;
    counts->margin += margin(planes, block->needed, block->voters, above, below);
    counts->ties += ones(tie);
    counts->unanimous += ones(all);
}

static void add_votes(const struct block *block, struct planes *planes)
{
    uint64_t word[WORDS];

    memset(planes, 0, sizeof *planes);
    for (unsigned i = 0; i < block->voters; i++) {
        load(block->votes[i] + block->offset, block->bytes, word);
        add_vote(planes, block->needed, word);
    }
}

static void vote_block(const struct block *block, const struct planes *planes, const uint64_t valid[WORDS],
                       const uint8_t *previous, uint8_t *result, struct sp_vote_counts *counts, uint64_t disagree[])
{
    uint64_t above[WORDS], tie[WORDS], word[WORDS], outcome[WORDS];

    compare(planes, block->needed, block->voters / 2, above, tie);
    for (unsigned w = 0; w < WORDS; w++) {
        above[w] &= valid[w];
        tie[w] = block->voters % 2 == 0 ? tie[w] & valid[w] : 0;
        outcome[w] = above[w] | (tie[w] & sp_coin_word(sp_coins(), block->first + w * 64u, block->t));
    }
    count_block(block, planes, above, tie, valid, counts);
    if (previous != NULL) {
        load(previous + block->offset, block->bytes, word);
        for (unsigned w = 0; w < WORDS; w++)
            word[w] = (word[w] ^ outcome[w]) & valid[w];
        counts->flips += ones(word);
    }
    for (unsigned i = 0; i < block->voters; i++) {
        load(block->votes[i] + block->offset, block->bytes, word);
        for (unsigned w = 0; w < WORDS; w++)
            word[w] = (word[w] ^ outcome[w]) & valid[w];
        disagree[i] += ones(word);
    }
    memcpy(result + block->offset, outcome, block->bytes);
}

void sp_vote(const uint8_t *const votes[], unsigned voters, uint64_t first, size_t count, uint32_t t,
             const uint8_t *previous, uint8_t *result, uint8_t *planes, struct sp_vote_counts *counts,
             uint64_t disagree[])
{
    struct block block = {.votes = votes, .voters = voters, .needed = sp_planes(voters), .t = t};
    struct planes counted;
    uint64_t valid[WORDS];

    sp_assert(voters <= SP_VOTES_MAX && first % 64 == 0);
    for (size_t done = 0; done < count; done += block.count) {
        block.offset = done / 8;
        block.count = count - done < BLOCK_BYTES * 8 ? count - done : BLOCK_BYTES * 8;
        block.bytes = sp_bits_bytes(block.count);
        block.first = first + done;
        valid_bits(block.count, valid);
        add_votes(&block, &counted);
        if (planes != NULL)
            write_planes(&block, &counted, valid, sp_bits_bytes(count), planes);
        vote_block(&block, &counted, valid, previous, result, counts, disagree);
    }
}
