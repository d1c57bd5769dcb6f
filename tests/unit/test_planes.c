/* Bit planes of vote counts, against counts written down one by one. */
#include "common/pack.h"
#include "common/planes.h"
#include "unit.h"

#include <signal.h>
#include <stdbool.h>

#define COUNT_MAX 700

static const unsigned voters_tried[] = {0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 100, 127, 128, 254, 255};

static void write_planes(const unsigned *c, unsigned planes, size_t count, uint8_t *to)
{
    size_t stride = (count + 7) / 8;

    memset(to, 0, planes * stride);
    for (size_t j = 0; j < count; j++) {
        for (unsigned p = 0; p < planes; p++)
            to[p * stride + j / 8] |= (uint8_t)(((c[j] >> p) & 1u) << (j % 8));
    }
}

START_TEST(test_planes)
{
    static const unsigned expected[][2] = {{0, 1},  {1, 1},  {2, 2},  {3, 2},  {4, 3},  {7, 3},   {8, 4},   {15, 4},
                                           {16, 5}, {31, 5}, {32, 6}, {63, 6}, {64, 7}, {127, 7}, {128, 8}, {255, 8}};

    for (size_t i = 0; i < UNIT_COUNT(expected); i++) {
        unsigned voters = expected[i][0];

        ck_assert_uint_eq(sp_planes(voters), expected[i][1]);
        for (uint64_t count = 0; count < 30; count++)
            ck_assert_uint_eq(sp_planes_bytes(voters, count), expected[i][1] * ((count + 7) / 8));
    }
    ck_assert_uint_eq(sp_planes_bytes(255, UINT64_C(1) << 34), UINT64_C(1) << 34);
}
END_TEST

/* Every count, 0 and M too, in every place of every length. */
START_TEST(test_decode)
{
    unsigned voters = voters_tried[_i], planes = sp_planes(voters), c[COUNT_MAX];
    struct sp_rng rng = unit_rng(voters);

    for (size_t count = 1; count <= COUNT_MAX; count++) {
        uint8_t *bulk = unit_alloc(sp_planes_bytes(voters, count));
        float values[COUNT_MAX + 1];

        for (size_t j = 0; j < count; j++)
            c[j] = (unsigned)(j + count) % 7 == 0 ? (j % 2 ? voters : 0) : sp_rng_below(&rng, voters + 1);
        write_planes(c, planes, count, bulk);
        values[count] = 42.0f;
        ck_assert(sp_planes_decode(bulk, voters, count, values));
        ck_assert(values[count] == 42.0f);
        for (size_t j = 0; j < count; j++) {
            volatile float expected = voters > 0 ? (float)(2 * (int)c[j] - (int)voters) / (float)voters : 0.0f;
            float copy = expected;

            unit_assert(memcmp(&values[j], &copy, sizeof copy) == 0, "count %u of %u", c[j], voters);
        }
        free(bulk);
    }
}
END_TEST

/* A count above M is refused wherever it stands; with M = 2^n - 1 there is none. */
START_TEST(test_refuses_counts)
{
    unsigned voters = voters_tried[_i], planes = sp_planes(voters), c[70];
    float values[70];
    uint8_t bulk[SP_PLANES_MAX * 9];

    for (unsigned wrong = voters + 1; wrong < 1u << planes; wrong++) {
        for (size_t count = 1; count <= 70; count += 3) {
            size_t at = wrong % count;

            for (size_t j = 0; j < count; j++)
                c[j] = voters;
            write_planes(c, planes, count, bulk);
            ck_assert(sp_planes_decode(bulk, voters, count, values));
            c[at] = wrong;
            write_planes(c, planes, count, bulk);
            unit_assert(!sp_planes_decode(bulk, voters, count, values), "%u of %u at %zu", wrong, voters, at);
        }
    }
}
END_TEST

START_TEST(test_refuses_bits_past_the_end)
{
    unsigned voters = voters_tried[_i], planes = sp_planes(voters);
    float values[COUNT_MAX];
    uint8_t bulk[SP_PLANES_MAX * 9];

    for (size_t count = 1; count <= 70; count++) {
        size_t stride = (count + 7) / 8;

        memset(bulk, 0, sizeof bulk);
        for (size_t bit = count; bit < stride * 8; bit++) {
            for (unsigned p = 0; p < planes; p++) {
                ck_assert(sp_planes_decode(bulk, voters, count, values));
                bulk[p * stride + bit / 8] = (uint8_t)(1u << (bit % 8));
                unit_assert(!sp_planes_decode(bulk, voters, count, values), "bit %zu of plane %u", bit, p);
                bulk[p * stride + bit / 8] = 0;
            }
        }
    }
}
END_TEST

/* 10 coordinates, 5 voters, counts 0 to 5 and then 5, 4, 1, 0. */
START_TEST(test_by_hand)
{
    static const uint8_t bulk[] = {0x6a, 0x01, 0x0c, 0x00, 0xf0, 0x00};
    static const float expected[] = {-1.0f, -0.6f, -0.2f, 0.2f, 0.6f, 1.0f, 1.0f, 0.6f, -0.6f, -1.0f};
    float values[10];

    ck_assert_uint_eq(sp_planes_bytes(5, 10), sizeof bulk);
    ck_assert(sp_planes_decode(bulk, 5, 10, values));
    ck_assert_mem_eq(values, expected, sizeof values);
}
END_TEST

START_TEST(test_nothing)
{
    float value = 3.0f;
    uint8_t byte = 0xff;

    ck_assert(sp_planes_decode(&byte, 9, 0, &value));
    ck_assert(value == 3.0f);
    ck_assert(!sp_planes_decode(&byte, 0, 1, &value));
}
END_TEST

START_TEST(test_too_many_voters_abort)
{
    uint8_t bulk[9] = {0};
    float value;

    (void)sp_planes_decode(bulk, 256, 1, &value);
}
END_TEST

int main(void)
{
    const int all = (int)UNIT_COUNT(voters_tried);
    TCase *tests = tcase_create("planes");

    tcase_add_test(tests, test_planes);
    tcase_add_loop_test(tests, test_decode, 0, all);
    tcase_add_loop_test(tests, test_refuses_counts, 0, all);
    tcase_add_loop_test(tests, test_refuses_bits_past_the_end, 0, all);
    tcase_add_test(tests, test_by_hand);
    tcase_add_test(tests, test_nothing);
    tcase_add_test_raise_signal(tests, test_too_many_voters_abort, SIGABRT);
    return unit_run(suite_create("planes"), tests);
}
