#include "server/vote.h"

#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"
#include "server/vote_kernels.h"

#include <string.h>

/* A block of words, so that the compiler turns the loops over it into vector instructions. */
#define WORDS (SP_VOTE_UNIT / 8u)
#define BLOCK_BYTES SP_VOTE_UNIT

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
    size_t at, bytes; /* in each buffer */
    uint64_t first;
    size_t count;
    uint64_t valid[WORDS];
};

/* Votes are not trusted to be clear past `count`. */
static void write_planes(const struct sp_vote_work *work, const struct block *block, const struct planes *planes,
                         unsigned needed)
{
    uint64_t word[WORDS];

    for (unsigned p = 0; p < needed; p++) {
        for (unsigned w = 0; w < WORDS; w++)
            word[w] = planes->bit[p][w] & block->valid[w];
        memcpy(work->planes + p * work->stride + block->at, word, block->bytes);
    }
}

/* Ones of `word` xor those of a buffer. */
static uint64_t differing(const struct block *block, const uint8_t *from, const uint64_t word[WORDS])
{
    uint64_t other[WORDS];

    load(from + block->at, block->bytes, other);
    for (unsigned w = 0; w < WORDS; w++)
        other[w] = (other[w] ^ word[w]) & block->valid[w];
    return ones(other);
}

static void count_block(const struct sp_vote_work *work, const struct block *block, const struct planes *planes,
                        const uint64_t above[WORDS], const uint64_t tie[WORDS])
{
    const unsigned needed = sp_planes(work->voters);
    uint64_t below[WORDS], all[WORDS], none[WORDS], unused[WORDS];

    for (unsigned w = 0; w < WORDS; w++)
        below[w] = block->valid[w] & ~above[w] & ~tie[w];
    compare(planes, needed, work->voters, unused, all);
    compare(planes, needed, 0, unused, none);
    for (unsigned w = 0; w < WORDS; w++)
        all[w] = (all[w] | none[w]) & block->valid[w];
    work->counts->coordinates += block->count;
    work->counts->margin += margin(planes, needed, work->voters, above, below);
    work->counts->ties += ones(tie);
    work->counts->unanimous += ones(all);
}

static void add_votes(const struct sp_vote_work *work, const struct block *block, struct planes *planes)
{
    uint64_t word[WORDS];

    memset(planes, 0, sizeof *planes);
    for (unsigned i = 0; i < work->voters; i++) {
        load(work->votes[i] + block->at, block->bytes, word);
        add_vote(planes, sp_planes(work->voters), word);
    }
}

static void vote_block(const struct sp_vote_work *work, const struct block *block)
{
    const unsigned needed = sp_planes(work->voters);
    struct planes planes;
    uint64_t above[WORDS], tie[WORDS], outcome[WORDS];

    add_votes(work, block, &planes);
    if (work->planes != NULL)
        write_planes(work, block, &planes, needed);
    compare(&planes, needed, work->voters / 2, above, tie);
    for (unsigned w = 0; w < WORDS; w++) {
        above[w] &= block->valid[w];
        tie[w] = work->voters % 2 == 0 ? tie[w] & block->valid[w] : 0;
        outcome[w] = above[w] | (tie[w] & sp_coin_word(work->coins, block->first + w * 64u, work->t));
    }
    memcpy(work->result + block->at, outcome, block->bytes);
    if (work->counts != NULL) {
        count_block(work, block, &planes, above, tie);
        work->counts->flips += work->previous != NULL ? differing(block, work->previous, outcome) : 0;
    }
    for (unsigned i = 0; i < work->voters && work->disagree != NULL; i++)
        work->disagree[i] += differing(block, work->votes[i], outcome);
}

/* Coordinates from..to-1 of the range, `from` a multiple of a block. */
static void vote_range(const struct sp_vote_work *work, size_t from, size_t to)
{
    for (size_t done = from; done < to; done += BLOCK_BYTES * 8) {
        struct block block = {.at = done / 8, .first = work->first + done};

        block.count = to - done < BLOCK_BYTES * 8 ? to - done : BLOCK_BYTES * 8;
        block.bytes = sp_bits_bytes(block.count);
        valid_bits(block.count, block.valid);
        vote_block(work, &block);
    }
}

static void vote_scalar(const struct sp_vote_work *work, size_t bytes)
{
    vote_range(work, 0, bytes * 8);
}

static sp_vote_kernel *const kernels[SP_CPU_SETS] = SP_CPU_TABLE(vote_scalar, sp_vote_avx2, sp_vote_avx512);

void sp_vote(const uint8_t *const votes[], unsigned voters, uint64_t first, size_t count, uint32_t t,
             const uint8_t *previous, uint8_t *result, uint8_t *planes, struct sp_vote_counts *counts,
             uint64_t disagree[])
{
    const struct sp_vote_work work = {.votes = votes,
                                      .voters = voters,
                                      .first = first,
                                      .t = t,
                                      .coins = sp_coins(),
                                      .previous = previous,
                                      .result = result,
                                      .planes = planes,
                                      .stride = sp_bits_bytes(count),
                                      .counts = counts,
                                      .disagree = disagree};
    size_t whole = voters > 0 ? count / 8 / SP_VOTE_UNIT * SP_VOTE_UNIT : 0;

    sp_assert(voters <= SP_VOTES_MAX && first % 64 == 0);
    if (whole > 0)
        kernels[sp_cpu()](&work, whole);
    vote_range(&work, whole * 8, count);
}
