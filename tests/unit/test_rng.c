/* The generator. Where numbers are given without a source they are those of an implementation in Python, written from
 * the paper and from the comments in rng.h. */
#include "common/ars.h"
#include "common/rng.h"
#include "unit.h"

#include <math.h>
#include <signal.h>

/* kat_vectors of Random123, `philox4x32 7`. */
START_TEST(test_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}},
    };

    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        const struct sp_rng_key key = {{vectors[i].key[0], vectors[i].key[1]}};
        uint32_t out[4];

        sp_philox4x32(key, vectors[i].counter, out);
        ck_assert_mem_eq(out, vectors[i].out, sizeof out);
    }
}
END_TEST

/* Of a script in Python, written from ars.h, which gives the published numbers of others for 1, 2, 3 and 10 rounds: its
 * last row is the input of those. */
START_TEST(test_ars)
{
    static const struct {
        uint64_t key[2], counter[2], out[2];
    } vectors[] = {
        {{0, 0}, {0, 0}, {UINT64_C(0x7cdc3bca7ecce06f), UINT64_C(0x29d24c9b15513c87)}},
        {{UINT64_MAX, UINT64_MAX},
         {UINT64_MAX, UINT64_MAX},
         {UINT64_C(0x870acd82524f3d4c), UINT64_C(0x915b1320835b5954)}},
        {{UINT64_C(0x00234567) << 32 | 0x89abcdef, 0},
         {UINT64_C(0xfedcba9876543210), UINT64_C(3) << 32 | 1000},
         {UINT64_C(0xff7839201f94f9f8), UINT64_C(0x7021d6713660fbce)}},
        {{UINT64_C(0x5a7da274d3b8146a), UINT64_C(0x07b8e4b6aa98ec24)},
         {UINT64_C(0xb47607190d0dfefc), UINT64_C(0x9799b5d54f7b9227)},
         {UINT64_C(0x07d43f64091de677), UINT64_C(0x7ef5e85bf2a23c0c)}},
    };

    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        struct sp_ars ars;
        uint64_t out[2];

        sp_ars_init(&ars, vectors[i].key[0], vectors[i].key[1]);
        sp_ars_block(&ars, vectors[i].counter, out);
        ck_assert_mem_eq(out, vectors[i].out, sizeof out);
    }
}
END_TEST

/* Where seed, stream, index, round and lane go. */
START_TEST(test_blocks)
{
    static const uint32_t dither[4] = {0x1e40220a, 0x571ab152, 0xdd2355d7, 0x02a9361c};
    static const uint32_t test[4] = {0x8c1789ad, 0x46a8c000, 0x267ae424, 0xe3421b59};
    uint32_t out[4];

    sp_rng_block(sp_rng_key(UINT64_C(0x0123456789abcdef), SP_RNG_DITHER), UINT64_C(0xfedcba9876543210), 1000, 3, out);
    ck_assert_mem_eq(out, dither, sizeof out);
    sp_rng_block(sp_rng_key(7, SP_RNG_TEST), 2, 3, 4, out);
    ck_assert_mem_eq(out, test, sizeof out);
}
END_TEST

/* Jobs are replayed from their numbers. */
START_TEST(test_streams_keep_their_numbers)
{
    ck_assert_int_eq(SP_RNG_DITHER, 1);
    ck_assert_int_eq(SP_RNG_BATCH, 2);
    ck_assert_int_eq(SP_RNG_WEIGHTS, 3);
    ck_assert_int_eq(SP_RNG_JITTER, 4);
    ck_assert_int_eq(SP_RNG_TEST, 5);
}
END_TEST

/* Blocks of all streams, both halves of the seed, both of the index, rounds and lanes: no two are alike. */
START_TEST(test_streams_differ)
{
    static const uint64_t seeds[] = {0, 1, UINT64_C(1) << 32, UINT64_C(1) << 63};
    static const uint64_t indices[] = {0, 1, UINT64_C(1) << 32};
    static uint32_t blocks[5 * 4 * 3 * 2 * 2][4];
    size_t n = 0;

    for (int stream = SP_RNG_DITHER; stream <= SP_RNG_TEST; stream++) {
        for (size_t k = 0; k < UNIT_COUNT(seeds) * UNIT_COUNT(indices) * 4; k++) {
            struct sp_rng_key key = sp_rng_key(seeds[k / 12], (enum sp_rng_stream)stream);

            sp_rng_block(key, indices[k / 4 % 3], (uint32_t)(k / 2 % 2), (uint32_t)(k % 2), blocks[n++]);
        }
    }
    ck_assert_uint_eq(n, UNIT_COUNT(blocks));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            unit_assert(memcmp(blocks[i], blocks[k], sizeof blocks[i]) != 0, "blocks %zu and %zu", i, k);
    }
}
END_TEST

START_TEST(test_sequence_is_the_blocks_in_order)
{
    struct sp_rng_key key = sp_rng_key(7, SP_RNG_TEST);
    struct sp_rng rng;

    sp_rng_init(&rng, key, 3, 4);
    for (uint64_t index = 0; index < 10; index++) {
        uint32_t out[4];

        sp_rng_block(key, index, 3, 4, out);
        for (int i = 0; i < 4; i++)
            ck_assert_uint_eq(sp_rng_next(&rng), out[i]);
    }
}
END_TEST

START_TEST(test_unit)
{
    ck_assert(sp_rng_unit(0) == 0.0f);
    ck_assert(sp_rng_unit(0xff) == 0.0f);
    ck_assert(sp_rng_unit(0x100) == 0x1p-24f);
    ck_assert(sp_rng_unit(0x80000000) == 0.5f);
    ck_assert(sp_rng_unit(0xffffffff) == 1.0f - 0x1p-24f);
    ck_assert(sp_rng_unit(0xfffffeff) == 1.0f - 0x1p-23f);
}
END_TEST

/* What Python draws, and how many numbers it takes from the sequence for it: rejections are part of the definition. */
START_TEST(test_below_is_pinned)
{
    static const struct {
        uint32_t bound, draws[8], used;
    } rows[] = {
        {1, {0, 0, 0, 0, 0, 0, 0, 0}, 8},
        {2, {0, 1, 1, 0, 1, 0, 0, 0}, 8},
        {3, {1, 1, 2, 1, 2, 0, 0, 1}, 8},
        {10, {4, 5, 7, 3, 9, 1, 2, 3}, 8},
        {1000003, {413659, 559360, 712335, 395879, 921772, 166812, 237763, 389735}, 8},
        {2147483649u,
         {888325173, 850141181, 1979485699, 358226002, 1894152529, 1814236925, 1374377129, 1885826644},
         19},
        {4294967295u,
         {1776650346, 2402427156u, 3059448798u, 1700282362, 3958971397u, 716452004, 1021183405, 1673897381},
         8},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct sp_rng rng, other;

        sp_rng_init(&rng, sp_rng_key(7, SP_RNG_TEST), 3, 4);
        other = rng;
        for (int k = 0; k < 8; k++)
            ck_assert_uint_eq(sp_rng_below(&rng, rows[i].bound), rows[i].draws[k]);
        for (uint32_t k = 0; k < rows[i].used; k++)
            (void)sp_rng_next(&other);
        ck_assert_uint_eq(sp_rng_next(&rng), sp_rng_next(&other));
    }
}
END_TEST

/* In 30000 draws each of three thirds of 0..bound-1 comes 10000 times, with a standard deviation of 82. A bound of
 * 3 * 2^30 without rejection would give 15000, 7500, 7500 (or another such order). */
START_TEST(test_below_has_no_bias)
{
    static const uint32_t bounds[] = {3, 9, 3u << 29, 3u << 30, UINT32_MAX};

    for (size_t i = 0; i < UNIT_COUNT(bounds); i++) {
        struct sp_rng rng = unit_rng(bounds[i]);
        uint32_t thirds[3] = {0}, residues[3] = {0}, third = bounds[i] / 3;

        for (int k = 0; k < 30000; k++) {
            uint32_t draw = sp_rng_below(&rng, bounds[i]);

            unit_assert(draw < bounds[i], "%u of %u", draw, bounds[i]);
            thirds[draw / third]++;
            residues[draw % 3]++;
        }
        for (int k = 0; k < 3; k++) {
            ck_assert_uint_gt(thirds[k], 9600);
            ck_assert_uint_lt(thirds[k], 10400);
            ck_assert_uint_gt(residues[k], 9600);
            ck_assert_uint_lt(residues[k], 10400);
        }
    }
}
END_TEST

START_TEST(test_below_nothing_aborts)
{
    struct sp_rng rng = unit_rng(1);

    (void)sp_rng_below(&rng, 0);
}
END_TEST

/* The first numbers of splitmix64 with the seed 1234567, as they are published with it. */
START_TEST(test_mix64)
{
    static const uint64_t expected[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                        UINT64_C(16408922859458223821)};

    for (uint64_t i = 0; i < UNIT_COUNT(expected); i++)
        ck_assert_uint_eq(sp_mix64(1234567 + UINT64_C(0x9e3779b97f4a7c15) * (i + 1)), expected[i]);
}
END_TEST

START_TEST(test_sketch_signs_are_pinned)
{
    static const struct {
        uint64_t seed;
        uint32_t t;
        uint64_t word, signs;
    } rows[] = {
        {0, 0, 0, UINT64_C(0xa706dd2f4d197e6f)},
        {1, 1, 0, UINT64_C(0x778b1aa9c29bc868)},
        {1, 1, 1, UINT64_C(0x08c9eb4685b1dad7)},
        {1, 2, 0, UINT64_C(0xa6c7188e0551111e)},
        {UINT64_MAX, UINT32_MAX, (UINT64_C(1) << 28) - 1, UINT64_C(0xa632292fe461c911)},
        {UINT64_C(0xdeadbeef), 77, 12345, UINT64_C(0x11f4f475dd0b9811)},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        ck_assert_uint_eq(sp_sketch_signs(rows[i].seed, rows[i].t, rows[i].word), rows[i].signs);
}
END_TEST

/* How many of 64 * `words` bits are set, and how many are, in exclusive-or with the signs of the next round, of the
 * next word and of the next seed: half of each, within five standard deviations. Each bit for itself as well. */
START_TEST(test_sketch_signs_are_balanced)
{
    const int words = 4096;
    const double error = 5.0 * sqrt(64.0 * words) / 2.0, bit_error = 5.0 * sqrt(words) / 2.0;
    uint64_t set[4] = {0};
    uint32_t of_bit[64] = {0};

    for (uint64_t i = 0; i < (uint64_t)words; i++) {
        uint32_t t = (uint32_t)(i / 64) + 1;
        uint64_t signs = sp_sketch_signs(3, t, i % 64);

        set[0] += (uint64_t)__builtin_popcountll(signs);
        set[1] += (uint64_t)__builtin_popcountll(signs ^ sp_sketch_signs(3, t + 1, i % 64));
        set[2] += (uint64_t)__builtin_popcountll(signs ^ sp_sketch_signs(3, t, i % 64 + 1));
        set[3] += (uint64_t)__builtin_popcountll(signs ^ sp_sketch_signs(4, t, i % 64));
        for (int b = 0; b < 64; b++)
            of_bit[b] += (uint32_t)(signs >> b) & 1u;
    }
    for (int i = 0; i < 4; i++)
        ck_assert_double_lt(fabs((double)set[i] - 32.0 * words), error);
    for (int b = 0; b < 64; b++)
        ck_assert_double_lt(fabs(of_bit[b] - words / 2.0), bit_error);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("rng");

    tcase_add_test(tests, test_known_answers);
    tcase_add_test(tests, test_ars);
    tcase_add_test(tests, test_blocks);
    tcase_add_test(tests, test_streams_keep_their_numbers);
    tcase_add_test(tests, test_streams_differ);
    tcase_add_test(tests, test_sequence_is_the_blocks_in_order);
    tcase_add_test(tests, test_unit);
    tcase_add_test(tests, test_below_is_pinned);
    tcase_add_test(tests, test_below_has_no_bias);
    tcase_add_test_raise_signal(tests, test_below_nothing_aborts, SIGABRT);
    tcase_add_test(tests, test_mix64);
    tcase_add_test(tests, test_sketch_signs_are_pinned);
    tcase_add_test(tests, test_sketch_signs_are_balanced);
    return unit_run(suite_create("rng"), tests);
}
