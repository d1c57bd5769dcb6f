/* Dithered signs: their law, their independence, their bits.
 *
 * All draws come from fixed seeds, so that a statistical test here passes for ever or fails for ever. The bounds are of
 * five standard deviations: a right generator would break one of them with probability 6e-7.
 */
#include "common/ars.h"
#include "common/pack.h"
#include "layouts.h"
#include "tests/unit/unit.h"
#include "worker/client/dither.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 262144
#define SIGMAS 5.0
#define FLIP_ERROR 6e-5

static float m[COUNT];
static uint8_t bits[COUNT / 8], others[COUNT / 8];

static struct sp_rng_key key(uint64_t seed)
{
    return sp_rng_key(seed, SP_RNG_DITHER);
}

static double tail(double x)
{
    return 0.5 * erfc(x / sqrt(2.0));
}

static void fill(float value)
{
    for (size_t j = 0; j < COUNT; j++)
        m[j] = value;
}

static bool is_set(const uint8_t *b, size_t j)
{
    return (b[j / 8] >> (j % 8)) & 1;
}

static size_t ones(const uint8_t *b)
{
    size_t n = 0;

    for (size_t j = 0; j < COUNT; j++)
        n += is_set(b, j);
    return n;
}

/* --- momentum ------------------------------------------------------------------------------------------------------
 */

/* Two products and a sum, each rounded: a fused multiply-add would give other bits in some of these. */
START_TEST(test_momentum_rounds_each_step)
{
    float g[1000], mine[1000];
    unsigned fused = 0;

    for (int j = 0; j < 1000; j++) {
        volatile float kept, added;

        m[j] = sinf((float)j);
        g[j] = cosf((float)j * 1.7f);
        kept = 0.9f * m[j];
        added = 0.1f * g[j];
        mine[j] = kept + added;
        fused += mine[j] != fmaf(0.9f, m[j], added);
    }
    sp_momentum(m, g, 1000, 0.9f, 0.1f);
    ck_assert_mem_eq(m, mine, sizeof mine);
    ck_assert_uint_gt(fused, 0);
}
END_TEST

/* --- the law of a flip, and the gain ------------------------------------------------------------------------------
 */

/* At each of the distances that there are: near Q, and never more than nearer to 0. Between them it is that of the
 * nearest. */
START_TEST(test_flip_is_near_the_tail)
{
    double worst = 0.0;
    uint32_t last = 32768;

    for (uint32_t k = 0; k < 32767; k++) {
        float x = (float)k / 8192.0f;
        uint32_t flip = sp_dither_flip(x);

        worst = fmax(worst, fabs(flip / 65536.0 - tail((double)x)));
        unit_assert(flip <= last, "more flips at %g than before", (double)x);
        last = flip;
    }
    ck_assert_double_le(worst, FLIP_ERROR);
    ck_assert_double_gt(worst, 5e-5); /* what it says is what it is */
    ck_assert_uint_eq(sp_dither_flip(0.0f), 32768);
    ck_assert_uint_gt(sp_dither_flip(3.8f), 0);
    ck_assert_uint_eq(sp_dither_flip(32766.5f / 8192.0f), sp_dither_flip(32766.0f / 8192.0f)); /* ties to even */
    ck_assert_uint_eq(sp_dither_flip(nextafterf(4.0f, 0.0f)), 0);
    ck_assert_uint_eq(sp_dither_flip(4.0f), 0);
    ck_assert_uint_eq(sp_dither_flip(FLT_MAX), 0);
    ck_assert_uint_eq(sp_dither_flip(INFINITY), 0);
    for (uint32_t k = 0; k < 5 * 65536; k++) {
        float x = (float)k / 65536.0f;

        ck_assert_uint_eq(sp_dither_flip(x), sp_dither_flip(rintf(x * 8192.0f) / 8192.0f));
    }
}
END_TEST

START_TEST(test_gain)
{
    ck_assert_float_eq(sp_dither_gain(0.5, 0.25), 8.0f);
    ck_assert_float_eq(sp_dither_gain(0.3, 0.7), (float)(1.0 / (0.3 * 0.7)));
    ck_assert_float_eq(sp_dither_gain(0.0, 1.0), 0.0f);
    ck_assert_float_eq(sp_dither_gain(1.0, 0.0), 0.0f);
    ck_assert_float_eq(sp_dither_gain(1e-200, 1e-200), 0.0f); /* the product is 0 */
    ck_assert_float_eq(sp_dither_gain((double)NAN, 1.0), 0.0f);
    ck_assert_float_eq(sp_dither_gain(1e-34, 1.0), (float)1e34);
    ck_assert_float_eq(sp_dither_gain(1e-39, 1.0), SP_DITHER_GAIN_MAX);
    ck_assert_float_eq(sp_dither_gain(1e-300, 1.0), SP_DITHER_GAIN_MAX);
    ck_assert_float_eq(sp_dither_gain(1e39, 1.0), FLT_MIN);
    ck_assert_float_eq(sp_dither_gain(1e300, 1e300), FLT_MIN);
}
END_TEST

/* --- the law -------------------------------------------------------------------------------------------------------
 */

static const double distances[] = {0.0, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.7};

/* The share of flips at |m|/(sigma r) is Q of it, within the error of its approximation and that of a sample of 262144,
 * for either sign: at Q = 0.5 five standard deviations are 4.9e-3. */
START_TEST(test_flip_rate)
{
    double x = distances[_i], p = tail(x), sigma = 0.4, rms = 0.6;
    double bound = FLIP_ERROR + SIGMAS * sqrt(p * (1.0 - p) / COUNT);

    for (int sign = -1; sign <= 1; sign += 2) {
        double share;

        fill((float)(sign * x * sigma * rms));
        sp_dither_pack(m, 0, COUNT, sp_dither_gain(sigma, rms), key(11), (uint32_t)_i, sign > 0 ? 1 : 2, bits);
        share = (double)ones(bits) / COUNT;
        if (sign > 0 && x > 0.0)
            share = 1.0 - share;
        ck_assert_double_le(fabs(share - p), bound);
    }
}
END_TEST

START_TEST(test_beyond_four_nothing_flips)
{
    fill(1.0f);
    sp_dither_pack(m, 0, COUNT, 4.0f, key(1), 0, 1, bits);
    ck_assert_uint_eq(ones(bits), COUNT);
    fill(-1.0f);
    sp_dither_pack(m, 0, COUNT, 4.0f, key(1), 0, 1, bits);
    ck_assert_uint_eq(ones(bits), 0);
    sp_dither_pack(m, 0, COUNT, 3.9f, key(1), 0, 1, bits); /* 4 of 65536 or so */
    ck_assert_uint_gt(ones(bits), 0);
    ck_assert_uint_lt(ones(bits), 60);
}
END_TEST

/* Without noise the signs themselves, and the coin where there is none. */
START_TEST(test_sigma_zero)
{
    uint8_t plain[40];

    for (int j = 0; j < 320; j++)
        m[j] = j % 3 == 0 ? 0.0f : (float)(j % 7 - 3) * 1e-30f;
    sp_dither_pack(m, 640, 317, sp_dither_gain(0.0, 1.0), key(1), 5, 9, bits);
    sp_pack_signs(m, 640, 317, 9, plain);
    ck_assert_mem_eq(bits, plain, sizeof plain);
    ck_assert_int_eq(is_set(bits, 3), sp_coin(643, 9));
    ck_assert_int_eq(is_set(bits, 316), m[316] > 0.0f);
}
END_TEST

/* So little noise that nothing but a zero can flip, and so much that all is a coin. */
START_TEST(test_sigma_tiny_and_huge)
{
    double bound = SIGMAS * sqrt(0.25 / COUNT);

    fill(1e-30f);
    sp_dither_pack(m, 0, COUNT, sp_dither_gain(1e-300, 1.0), key(2), 0, 1, bits);
    ck_assert_uint_eq(ones(bits), COUNT);
    fill(1e6f);
    sp_dither_pack(m, 0, COUNT, sp_dither_gain(1e300, 1.0), key(2), 0, 1, bits);
    ck_assert_double_le(fabs((double)ones(bits) / COUNT - 0.5), bound);
    fill(FLT_MAX);
    sp_dither_pack(m, 0, COUNT, 1.0f, key(2), 0, 1, bits);
    ck_assert_uint_eq(ones(bits), COUNT);
    sp_dither_pack(m, 0, COUNT, SP_DITHER_GAIN_MAX, key(2), 0, 1, bits); /* the product is infinite */
    ck_assert_uint_eq(ones(bits), COUNT);
    fill(-0.0f);
    for (int tiny = 0; tiny < 2; tiny++) {
        sp_dither_pack(m, 0, COUNT, tiny ? SP_DITHER_GAIN_MAX : 1.0f, key(2), 0, 1, bits);
        ck_assert_double_le(fabs((double)ones(bits) / COUNT - 0.5), bound);
    }
}
END_TEST

/* --- independence --------------------------------------------------------------------------------------------------
 */

/* Flips of m = 0.5, which are 0.3085 of all. */
static void draw(uint64_t seed, uint32_t slot, uint32_t t, uint8_t *to)
{
    fill(-0.5f);
    sp_dither_pack(m, 0, COUNT, 1.0f, key(seed), slot, t, to);
}

/* Sum of products of the centred flips of j and of j + lag, in standard deviations. */
static double correlation(const uint8_t *a, const uint8_t *b, size_t lag)
{
    double p = sp_dither_flip(0.5f) / 65536.0, sum = 0.0;
    size_t n = COUNT - lag;

    for (size_t j = 0; j < n; j++)
        sum += ((double)is_set(a, j) - p) * ((double)is_set(b, j + lag) - p);
    return sum / (sqrt((double)n) * p * (1.0 - p));
}

START_TEST(test_neighbours_are_independent)
{
    static const size_t lags[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 64, 128, 512, 4096, 65536};

    draw(1, 0, 1, bits);
    for (size_t i = 0; i < sizeof lags / sizeof lags[0]; i++)
        ck_assert_double_lt(fabs(correlation(bits, bits, lags[i])), SIGMAS);
}
END_TEST

START_TEST(test_slots_rounds_and_seeds_are_independent)
{
    static const struct {
        uint64_t seed;
        uint32_t slot, t;
    } with[] = {{1, 4, 7},
                {1, 3, 8},
                {1, 4, 8},
                {1, 7, 3},
                {1, 2, 8},
                {2, 3, 7},
                {1 + (1ull << 32), 3, 7},
                {1, 254, 7},
                {1, 3, 7 + (1u << 16)},
                {1ull << 63, 3, 7}};

    draw(1, 3, 7, bits);
    for (size_t i = 0; i < sizeof with / sizeof with[0]; i++) {
        draw(with[i].seed, with[i].slot, with[i].t, others);
        ck_assert_double_lt(fabs(correlation(bits, others, 0)), SIGMAS);
        ck_assert_double_lt(fabs(correlation(bits, others, 1)), SIGMAS);
        ck_assert_double_lt(fabs(correlation(bits, others, 8)), SIGMAS);
    }
}
END_TEST

/* Bytes of coins: chi-square with 255 degrees of freedom, whose quantile at 1 - 1e-6 is 377. */
START_TEST(test_bytes_are_uniform)
{
    uint32_t cells[256] = {0};
    double chi_square = 0.0, expected = COUNT / 8 / 256.0;

    fill(0.0f);
    sp_dither_pack(m, 0, COUNT, 1.0f, key(3), 1, 1, bits);
    for (size_t i = 0; i < COUNT / 8; i++)
        cells[bits[i]]++;
    for (int i = 0; i < 256; i++)
        chi_square += (cells[i] - expected) * (cells[i] - expected) / expected;
    ck_assert_double_lt(chi_square, 377.0);
    ck_assert_double_gt(chi_square, 150.0); /* that at 1e-7 is 154: too even is wrong too */
}
END_TEST

/* The votes of 255 slots on one coordinate: their sum has the variance of independent coins. Over 4096 coordinates the
 * mean of (n - 127.5)^2/63.75 is 1 with a standard deviation of sqrt(2/4096). */
START_TEST(test_sums_over_slots)
{
    static uint32_t sums[4096];
    double variance = 0.0;

    memset(sums, 0, sizeof sums);
    fill(0.0f);
    for (uint32_t slot = 0; slot < 255; slot++) {
        sp_dither_pack(m, 0, 4096, 1.0f, key(4), slot, 12, bits);
        for (size_t j = 0; j < 4096; j++)
            sums[j] += is_set(bits, j);
    }
    for (size_t j = 0; j < 4096; j++)
        variance += (sums[j] - 127.5) * (sums[j] - 127.5) / 63.75 / 4096.0;
    ck_assert_double_lt(fabs(variance - 1.0), SIGMAS * sqrt(2.0 / 4096.0));
}
END_TEST

/* --- the bits ------------------------------------------------------------------------------------------------------
 */

/* Of an implementation in Python, written from the definitions in dither.h and ars.h. */
START_TEST(test_pinned)
{
    static const uint8_t expected[2][6] = {{0x5e, 0xf8, 0xe0, 0x8d, 0x17, 0x0c}, {0x1e, 0xb8, 0xe1, 0x9b, 0x0b, 0x0c}};
    float gain = sp_dither_gain(0.5, 0.75);

    for (int j = 0; j < 44; j++)
        m[j] = (float)((37 * j) % 41 - 20) / 16.0f;
    sp_dither_pack(m, 16, 44, gain, key(UINT64_C(0x0123456789abcdef)), 3, 7, bits);
    ck_assert_mem_eq(bits, expected[0], 6);
    sp_dither_pack(m, (UINT64_C(1) << 36) + 8, 44, gain, key(5), 254, 4000000000u, bits);
    ck_assert_mem_eq(bits, expected[1], 6);
}
END_TEST

/* Bits depend on the coordinate alone, not on where a range was cut; those beyond the last are 0. */
START_TEST(test_ranges_do_not_matter)
{
    uint8_t whole[126], parts[126];

    for (int j = 0; j < 1003; j++)
        m[j] = cosf((float)j);
    memset(parts, 0xff, sizeof parts);
    sp_dither_pack(m, 0, 1003, 1.3f, key(9), 2, 3, whole);
    for (size_t first = 0, step = 8; first < 1003; first += step, step += 24)
        sp_dither_pack(m + first, first, first + step < 1003 ? step : 1003 - first, 1.3f, key(9), 2, 3,
                       parts + first / 8);
    ck_assert_mem_eq(whole, parts, sizeof whole);
    ck_assert(sp_bits_tail_clear(whole, 1003));
}
END_TEST

/* --- a gain a tensor -----------------------------------------------------------------------------------------------
 */

#define TENSORS_D 1500

/* Some are 0, of either sign, so that coins are drawn with and without a gain. */
static void draw_momentum(struct sp_rng *rng)
{
    for (size_t j = 0; j < TENSORS_D; j++)
        m[j] = sp_rng_below(rng, 5) == 0 ? (j % 2 ? 0.0f : -0.0f) : unit_uniform(rng);
}

static unsigned naive_bit(const struct sp_layout *layout, const float *gains, uint64_t j, uint32_t slot, uint32_t t)
{
    const uint64_t counter[2] = {j / 8, t | (uint64_t)slot << 32};
    uint32_t i = sp_layout_find(layout, j);
    struct sp_ars ars;
    uint16_t words[8];
    int draw;

    if (sp_tensor_is(&layout->tensors[i], SP_TENSOR_FULL))
        return 0;
    if (gains[i] == 0.0f)
        return m[j] == 0.0f ? sp_coin(j, t) : m[j] > 0.0f;
    sp_ars_init(&ars, key(6).word[0] | (uint64_t)key(6).word[1] << 32, 0);
    sp_ars_block(&ars, counter, (uint64_t *)(void *)words);
    draw = words[j % 8] < 0x8000 ? words[j % 8] + 0x8000 : words[j % 8] - 0x8000;
    return !signbit(m[j]) != (draw < (int)sp_dither_flip(fabsf(m[j]) * gains[i]));
}

static void compare_tensors(const struct sp_layout *layout, const float *gains, uint64_t first, size_t count)
{
    size_t bytes = sp_bits_bytes(count);

    memset(bits, 0xa5, bytes + 1);
    sp_dither_pack_tensors(layout, gains, m + first, first, count, key(6), 4, 11, bits);
    for (size_t j = 0; j < count; j++)
        unit_assert(is_set(bits, j) == naive_bit(layout, gains, first + j, 4, 11), "bit %zu of %zu", j, count);
    ck_assert(sp_bits_tail_clear(bits, count));
    ck_assert_uint_eq(bits[bytes], 0xa5);
}

/* Tensors from mostly one coordinate to mostly several bytes; gains of 0 and others side by side. */
START_TEST(test_tensors)
{
    static const uint32_t largest[] = {5, 9, 20, 100};
    struct sp_rng rng = unit_rng((uint64_t)_i);

    for (int turn = 0; turn < 40; turn++) {
        struct sp_layout layout = unit_random_layout(&rng, TENSORS_D, largest[_i], turn % 2 != 0);
        float gains[UNIT_TENSORS_MAX];

        for (uint32_t i = 0; i < layout.tensors_count; i++)
            gains[i] = turn < 4 || sp_rng_below(&rng, 3) == 0 ? 0.0f : sp_dither_gain(1.0, 0.01 * (i + 1));
        draw_momentum(&rng);
        compare_tensors(&layout, gains, 0, TENSORS_D);
        for (int range = 0; range < 40; range++) {
            uint64_t first = 8 * (uint64_t)sp_rng_below(&rng, TENSORS_D / 8);

            compare_tensors(&layout, gains, first, sp_rng_below(&rng, (uint32_t)(TENSORS_D - first)) + 1);
        }
        sp_layout_finish(&layout);
    }
}
END_TEST

/* With one gain for all, and every tensor taking part, it is sp_dither_pack(). */
START_TEST(test_tensors_with_one_gain)
{
    static const float gain[] = {0.0f, 1.3f, 40.0f, SP_DITHER_GAIN_MAX, FLT_MIN};
    struct sp_rng rng = unit_rng(8);
    float gains[UNIT_TENSORS_MAX];

    for (size_t k = 0; k < UNIT_COUNT(gain); k++) {
        struct sp_layout layout = unit_random_layout(&rng, TENSORS_D, 30, false);

        for (uint32_t i = 0; i < layout.tensors_count; i++)
            gains[i] = gain[k];
        draw_momentum(&rng);
        for (uint64_t first = 0; first < TENSORS_D; first += 72) {
            size_t count = 1 + sp_rng_below(&rng, (uint32_t)(TENSORS_D - first));

            sp_dither_pack(m + first, first, count, gain[k], key(3), 9, 5, others);
            sp_dither_pack_tensors(&layout, gains, m + first, first, count, key(3), 9, 5, bits);
            ck_assert_mem_eq(bits, others, sp_bits_bytes(count));
        }
        sp_layout_finish(&layout);
    }
}
END_TEST

START_TEST(test_tensors_from_within_a_byte_abort)
{
    static const uint64_t size = 64;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    const float gain = 0.0f;

    sp_dither_pack_tensors(&layout, &gain, m, 4, 8, key(1), 0, 1, bits);
}
END_TEST

int main(void)
{
    Suite *all = suite_create("dither");
    TCase *cases = tcase_create("dither");

    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, test_momentum_rounds_each_step);
    tcase_add_test(cases, test_flip_is_near_the_tail);
    tcase_add_test(cases, test_gain);
    tcase_add_loop_test(cases, test_flip_rate, 0, (int)(sizeof distances / sizeof distances[0]));
    tcase_add_test(cases, test_beyond_four_nothing_flips);
    tcase_add_test(cases, test_sigma_zero);
    tcase_add_test(cases, test_sigma_tiny_and_huge);
    tcase_add_test(cases, test_neighbours_are_independent);
    tcase_add_test(cases, test_slots_rounds_and_seeds_are_independent);
    tcase_add_test(cases, test_bytes_are_uniform);
    tcase_add_test(cases, test_sums_over_slots);
    tcase_add_test(cases, test_pinned);
    tcase_add_test(cases, test_ranges_do_not_matter);
    tcase_add_loop_test(cases, test_tensors, 0, 4);
    tcase_add_test(cases, test_tensors_with_one_gain);
    tcase_add_test_raise_signal(cases, test_tensors_from_within_a_byte_abort, SIGABRT);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
