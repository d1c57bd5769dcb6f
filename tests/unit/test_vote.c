/* The vote against a plain loop. */
#include "common/pack.h"
#include "common/planes.h"
#include "common/rng.h"
#include "server/vote.h"
#include "tests/unit/unit.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 3000
#define ROOM (COUNT_MAX / 8 + 64)

static const unsigned numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 127, 128, 254, 255};
static const size_t counts_tried[] = {1, 2, 7, 8, 9, 63, 64, 65, 100, 511, 512, 513, 520, 576, 1000, 1024, 1031, 2999};

static uint8_t votes[SP_VOTES_MAX][ROOM];
static const uint8_t *pointers[SP_VOTES_MAX];
static uint8_t previous[ROOM], result[ROOM];

static unsigned bit(const uint8_t *bits, size_t j)
{
    return (bits[j / 8] >> (j % 8)) & 1;
}

/* Random votes that agree so often on a coordinate that all numbers of ones come up, 0 and all of them too. */
static void draw(unsigned voters, size_t count, uint64_t seed)
{
    struct sp_rng rng;
    uint32_t bias[COUNT_MAX];

    sp_rng_init(&rng, sp_rng_key(seed, SP_RNG_TEST), voters, (uint32_t)count);
    memset(previous, 0, sizeof previous);
    for (size_t j = 0; j < count; j++) {
        bias[j] = sp_rng_below(&rng, 5) * 64;
        previous[j / 8] |= (uint8_t)(sp_rng_below(&rng, 2) << (j % 8));
    }
    for (unsigned i = 0; i < voters; i++) {
        memset(votes[i], 0, sizeof votes[i]);
        for (size_t j = 0; j < count; j++)
            votes[i][j / 8] |= (uint8_t)((sp_rng_next(&rng) >> 24 < bias[j]) << (j % 8));
        pointers[i] = votes[i];
    }
}

struct naive {
    uint8_t result[ROOM];
    struct sp_vote_counts counts;
    uint64_t disagree[SP_VOTES_MAX];
    uint8_t planes[SP_PLANES_MAX * ROOM];
    float values[COUNT_MAX]; /* V/M */
};

static void vote_naive(unsigned voters, uint64_t first, size_t count, uint32_t t, bool has_previous,
                       struct naive *naive)
{
    for (size_t j = 0; j < count; j++) {
        int v = 0;
        unsigned s;

        for (unsigned i = 0; i < voters; i++)
            v += bit(votes[i], j) ? 1 : -1;
        for (unsigned p = 0, c = (unsigned)(v + (int)voters) / 2; c >> p != 0; p++)
            naive->planes[p * sp_bits_bytes(count) + j / 8] |= (uint8_t)(((c >> p) & 1u) << (j % 8));
        naive->values[j] = voters > 0 ? (float)v / (float)voters : 0.0f;
        s = v > 0 || (v == 0 && sp_coin(first + j, t));
        naive->result[j / 8] |= (uint8_t)(s << (j % 8));
        naive->counts.coordinates++;
        naive->counts.margin += (uint64_t)abs(v);
        naive->counts.ties += v == 0;
        naive->counts.unanimous += (unsigned)abs(v) == voters;
        naive->counts.flips += has_previous && bit(previous, j) != s;
        for (unsigned i = 0; i < voters; i++)
            naive->disagree[i] += bit(votes[i], j) != s;
    }
}

static uint8_t planes[SP_PLANES_MAX * ROOM];

/* The planes are the naive counts, not a byte more is written, and they decode to V/M. */
static void check_planes(unsigned voters, size_t count, const struct naive *naive)
{
    size_t bytes = sp_planes_bytes(voters, count);
    static float values[COUNT_MAX];

    ck_assert_mem_eq(planes, naive->planes, bytes);
    ck_assert_uint_eq(planes[bytes], 0xee);
    ck_assert(sp_planes_decode(planes, voters, count, values));
    ck_assert_mem_eq(values, naive->values, count * sizeof *values);
}

static void compare(unsigned voters, uint64_t first, size_t count, uint32_t t, bool has_previous)
{
    struct sp_vote_counts counts = {0};
    uint64_t disagree[SP_VOTES_MAX] = {0};
    static struct naive naive;

    memset(&naive, 0, sizeof naive);
    draw(voters, count, first + t);
    memset(result, 0xee, sizeof result);
    memset(planes, 0xee, sizeof planes);
    vote_naive(voters, first, count, t, has_previous, &naive);
    sp_vote(pointers, voters, first, count, t, has_previous ? previous : NULL, result, planes, &counts, disagree);
    ck_assert_mem_eq(result, naive.result, sp_bits_bytes(count));
    ck_assert_uint_eq(result[sp_bits_bytes(count)], 0xee); /* and not a byte more */
    ck_assert(sp_bits_tail_clear(result, count));
    ck_assert_mem_eq(&counts, &naive.counts, sizeof counts);
    ck_assert_mem_eq(disagree, naive.disagree, sizeof disagree);
    check_planes(voters, count, &naive);
}

START_TEST(test_vote)
{
    for (size_t i = 0; i < sizeof counts_tried / sizeof counts_tried[0]; i++) {
        compare(numbers[_i], 0, counts_tried[i], 1, true);
        compare(numbers[_i], UINT64_C(64) * 12345 * (i + 1), counts_tried[i], 2 + (uint32_t)i, i % 2 == 0);
    }
    compare(numbers[_i], (UINT64_C(1) << 34) - 64, 64, UINT32_MAX, true);
}
END_TEST

/* All for, all against, and one who is not: what the counts are at the ends. */
START_TEST(test_unanimity)
{
    unsigned voters = numbers[_i];
    struct sp_vote_counts counts = {0};
    uint64_t disagree[SP_VOTES_MAX] = {0};

    if (voters == 0)
        return;
    for (unsigned i = 0; i < voters; i++) {
        memset(votes[i], i == 0 ? 0x0f : 0xff, 2);
        votes[i][1] = i == voters - 1 ? 0xf0 : 0x00;
        pointers[i] = votes[i];
    }
    sp_vote(pointers, voters, 0, 16, 1, NULL, result, NULL, &counts, disagree);
    ck_assert_uint_eq(counts.coordinates, 16);
    ck_assert_uint_eq(counts.flips, 0);
    ck_assert_uint_eq(counts.unanimous, voters == 1 ? 16 : 4 + 4);
    ck_assert_uint_eq(counts.margin, voters == 1 ? 16 : 8ull * voters + 8ull * (voters - 2));
    ck_assert_uint_eq(counts.ties, voters == 2 ? 8 : 0);
}
END_TEST

/* Counts and disagreements are added to, chunk after chunk. */
START_TEST(test_counts_add_up)
{
    struct sp_vote_counts whole = {0}, parts = {0};
    uint64_t whole_disagree[SP_VOTES_MAX] = {0}, parts_disagree[SP_VOTES_MAX] = {0};
    uint8_t other[ROOM];
    const uint8_t *shifted[SP_VOTES_MAX];

    draw(6, 2000, 5);
    sp_vote(pointers, 6, 0, 2000, 3, previous, result, NULL, &whole, whole_disagree);
    for (size_t first = 0; first < 2000; first += 640) {
        for (int i = 0; i < 6; i++)
            shifted[i] = votes[i] + first / 8;
        sp_vote(shifted, 6, first, 2000 - first < 640 ? 2000 - first : 640, 3, previous + first / 8, other + first / 8,
                NULL, &parts, parts_disagree);
    }
    ck_assert_mem_eq(result, other, 250);
    ck_assert_mem_eq(&whole, &parts, sizeof whole);
    ck_assert_mem_eq(whole_disagree, parts_disagree, sizeof whole_disagree);
}
END_TEST

/* Bits of a vote past the last coordinate get neither into the result nor into the planes. */
START_TEST(test_planes_are_clear_past_the_end)
{
    struct sp_vote_counts counts = {0};
    uint64_t disagree[SP_VOTES_MAX] = {0};
    static float values[COUNT_MAX];

    for (size_t count = 513; count < 520; count++) {
        draw(5, count, count);
        for (unsigned i = 0; i < 5; i++)
            votes[i][count / 8] |= (uint8_t)(0xffu << (count % 8));
        sp_vote(pointers, 5, 0, count, 1, NULL, result, planes, &counts, disagree);
        ck_assert(sp_bits_tail_clear(result, count));
        ck_assert(sp_planes_decode(planes, 5, count, values));
    }
}
END_TEST

/* What is not wanted is not touched, and the result is the same. */
START_TEST(test_nothing_wanted)
{
    struct sp_vote_counts counts = {0}, again = {0};
    uint64_t disagree[SP_VOTES_MAX] = {0}, disagree_again[SP_VOTES_MAX] = {0};
    uint8_t other[ROOM];

    draw(numbers[_i], COUNT_MAX, 7);
    sp_vote(pointers, numbers[_i], 64, COUNT_MAX, 4, previous, result, NULL, &counts, disagree);
    sp_vote(pointers, numbers[_i], 64, COUNT_MAX, 4, NULL, other, NULL, NULL, NULL);
    ck_assert_mem_eq(other, result, COUNT_MAX / 8);
    memset(other, 0, sizeof other);
    sp_vote(pointers, numbers[_i], 64, COUNT_MAX, 4, previous, other, NULL, &again, NULL);
    ck_assert_mem_eq(other, result, COUNT_MAX / 8);
    ck_assert_mem_eq(&again, &counts, sizeof counts);
    sp_vote(pointers, numbers[_i], 64, COUNT_MAX, 4, NULL, other, NULL, NULL, disagree_again);
    ck_assert_mem_eq(disagree_again, disagree, sizeof disagree);
}
END_TEST

int main(void)
{
    const int count = (int)(sizeof numbers / sizeof numbers[0]);
    Suite *all = suite_create("vote");
    TCase *cases = tcase_create("vote");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_vote, 0, count);
    tcase_add_loop_test(cases, test_unanimity, 0, count);
    tcase_add_loop_test(cases, test_nothing_wanted, 0, count);
    tcase_add_test(cases, test_counts_add_up);
    tcase_add_test(cases, test_planes_are_clear_past_the_end);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
