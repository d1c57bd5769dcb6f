/* Signs as bits, against a twin that takes one coordinate after another. */
#include "common/pack.h"
#include "unit.h"

#include <float.h>
#include <signal.h>

#define COUNT_MAX 200

static const uint64_t firsts[] = {0,
                                  8,
                                  64,
                                  72,
                                  524288,
                                  (UINT64_C(1) << 32) - 104, /* the count crosses 32 bits */
                                  UINT64_C(1) << 32,
                                  (UINT64_C(1) << 34) - 256};

/* The formula of the design, section 2, to the letter: +1 if `((((uint32_t)(j*2654435761u)) >> 16) ^ t) & 1` is 0. */
static int coin(uint64_t j, uint32_t t)
{
    return ((((uint32_t)(j * 2654435761u)) >> 16) ^ t) & 1 ? -1 : 1;
}

static int sign(float value, uint64_t j, uint32_t t)
{
    if (value > 0.0f)
        return 1;
    return value < 0.0f ? -1 : coin(j, t);
}

/* Every sixth is 0, half of those -0; all others of any size, the smallest denormal and the largest number included. */
static float random_value(struct sp_rng *rng)
{
    static const float special[] = {FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, -FLT_MIN, FLT_MAX, -FLT_MAX};

    switch (sp_rng_below(rng, 12)) {
    case 0:
        return 0.0f;
    case 1:
        return -0.0f;
    case 2:
        return special[sp_rng_below(rng, UNIT_COUNT(special))];
    default:
        return unit_wide(rng);
    }
}

START_TEST(test_pack)
{
    uint64_t first = firsts[_i];
    struct sp_rng rng = unit_rng(first);

    for (size_t count = 1; count <= COUNT_MAX; count++) {
        size_t bytes = (count + 7) / 8;
        float *values = unit_alloc(count * sizeof *values);
        uint8_t *bits = unit_alloc(bytes);
        uint32_t t = sp_rng_next(&rng);

        ck_assert_uint_eq(sp_bits_bytes(count), bytes);
        memset(bits, (int)(count % 2 ? 0xff : 0x00), bytes);
        for (size_t j = 0; j < count; j++)
            values[j] = random_value(&rng);
        sp_pack_signs(values, first, count, t, bits);
        for (size_t j = 0; j < 8 * bytes; j++) {
            unsigned bit = (bits[j / 8] >> (j % 8)) & 1u;

            unit_assert(bit == (j < count && sign(values[j], first + j, t) > 0), "bit %zu of %zu", j, count);
        }
        ck_assert(sp_bits_tail_clear(bits, count));
        free(values);
        free(bits);
    }
}
END_TEST

START_TEST(test_unpack)
{
    struct sp_rng rng = unit_rng(2);

    for (size_t count = 1; count <= COUNT_MAX; count++) {
        size_t bytes = (count + 7) / 8;
        float *signs = unit_alloc(count * sizeof *signs);
        uint8_t *bits = unit_alloc(bytes);

        for (size_t i = 0; i < bytes; i++)
            bits[i] = (uint8_t)sp_rng_next(&rng); /* a tail that is not clear does no harm */
        sp_unpack_signs(bits, count, signs);
        for (size_t j = 0; j < count; j++)
            unit_assert(signs[j] == ((bits[j / 8] & (1u << (j % 8))) != 0 ? 1.0f : -1.0f), "sign %zu of %zu", j, count);
        free(signs);
        free(bits);
    }
}
END_TEST

/* Ranges that are packed for themselves, in any order, are the bits of the whole. */
START_TEST(test_ranges)
{
    struct sp_rng rng = unit_rng(3);
    float values[COUNT_MAX];
    uint8_t whole[COUNT_MAX / 8], parts[COUNT_MAX / 8] = {0};
    size_t at = COUNT_MAX;

    for (size_t j = 0; j < COUNT_MAX; j++)
        values[j] = random_value(&rng);
    sp_pack_signs(values, 4096, COUNT_MAX, 9, whole);
    while (at > 0) {
        size_t start = 8 * (size_t)sp_rng_below(&rng, (uint32_t)((at + 7) / 8));

        sp_pack_signs(values + start, 4096 + start, at - start, 9, parts + start / 8);
        at = start;
    }
    ck_assert_mem_eq(parts, whole, sizeof whole);
}
END_TEST

START_TEST(test_nothing)
{
    uint8_t byte = 0x5a;
    float value = 3.0f;

    ck_assert_uint_eq(sp_bits_bytes(0), 0);
    sp_pack_signs(&value, 0, 0, 1, &byte);
    ck_assert_uint_eq(byte, 0x5a);
    sp_unpack_signs(&byte, 0, &value);
    ck_assert(value == 3.0f);
    ck_assert(sp_bits_tail_clear(&byte, 0));
}
END_TEST

START_TEST(test_range_within_a_byte_aborts)
{
    const float value = 1.0f;
    uint8_t byte;

    sp_pack_signs(&value, 4, 1, 1, &byte);
}
END_TEST

START_TEST(test_coin)
{
    /* Written out from the formula: j = 0 is 0, j = 1 is 0x9e3779b1 whose bit 16 is 1, j = 2 is 0x3c6ef362 with 0,
     * j = 3 is 0xdaa66d13 with 0. */
    ck_assert_uint_eq(sp_coin(0, 0), 1);
    ck_assert_uint_eq(sp_coin(0, 1), 0);
    ck_assert_uint_eq(sp_coin(1, 0), 0);
    ck_assert_uint_eq(sp_coin(1, 1), 1);
    ck_assert_uint_eq(sp_coin(2, 0), 1);
    ck_assert_uint_eq(sp_coin(3, 2), 1);
    ck_assert_uint_eq(sp_coin(3, 3), 0);
    for (size_t i = 0; i < UNIT_COUNT(firsts); i++) {
        for (uint64_t j = firsts[i]; j < firsts[i] + 256; j++) {
            for (uint32_t t = 0; t < 9; t++) {
                unit_assert(sp_coin(j, t) == (coin(j, t) > 0), "coin(%llu, %u)", (unsigned long long)j, t);
                unit_assert(sp_coin(j, t) != sp_coin(j, t + 1), "coin(%llu, %u) twice", (unsigned long long)j, t);
            }
            unit_assert(sp_coin(j, UINT32_MAX) != sp_coin(j, 0), "the round wraps");
        }
    }
}
END_TEST

/* In one round, half of the coordinates get +1: between neighbours it must not be one and the same. */
START_TEST(test_coin_over_coordinates)
{
    uint32_t ones = 0, changes = 0;

    for (uint64_t j = 0; j < 65536; j++) {
        ones += sp_coin(j, 5);
        changes += sp_coin(j, 5) != sp_coin(j + 1, 5);
    }
    ck_assert_uint_ge(ones, 32000);
    ck_assert_uint_le(ones, 33536);
    ck_assert_uint_ge(changes, 16384);
}
END_TEST

START_TEST(test_coin_word)
{
    for (size_t i = 0; i < UNIT_COUNT(firsts); i++) {
        for (uint32_t t = 7; t < 9; t++) {
            uint64_t word = sp_coin_word(sp_coins(), firsts[i], t);

            for (unsigned b = 0; b < 64; b++)
                ck_assert_uint_eq((word >> b) & 1u, coin(firsts[i] + b, t) > 0);
        }
    }
}
END_TEST

START_TEST(test_tail)
{
    for (unsigned count = 1; count <= 24; count++) {
        for (unsigned bit = 0; bit < 24; bit++) {
            uint8_t *bits = unit_alloc((count + 7) / 8);

            memset(bits, 0, (count + 7) / 8);
            if (bit / 8 < (count + 7) / 8)
                bits[bit / 8] = (uint8_t)(1u << (bit % 8));
            ck_assert_int_eq(sp_bits_tail_clear(bits, count) != 0, bit < count || bit >= (count + 7) / 8 * 8);
            free(bits);
        }
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pack");

    tcase_add_loop_test(tests, test_pack, 0, (int)UNIT_COUNT(firsts));
    tcase_add_test(tests, test_unpack);
    tcase_add_test(tests, test_ranges);
    tcase_add_test(tests, test_nothing);
    tcase_add_test_raise_signal(tests, test_range_within_a_byte_aborts, SIGABRT);
    tcase_add_test(tests, test_coin);
    tcase_add_test(tests, test_coin_over_coordinates);
    tcase_add_test(tests, test_coin_word);
    tcase_add_test(tests, test_tail);
    return unit_run(suite_create("pack"), tests);
}
