/* How values travel, against a twin that takes one coordinate after another and rounds every operation for itself. */
#include "common/values.h"
#include "layouts.h"
#include "unit.h"

#include <float.h>
#include <math.h>
#include <signal.h>

#define D 3000
#define BULK_MAX (D * 4 + 4 * D)
#define GUARD 0xa5

static const enum sp_wire wires[] = {SP_WIRE_F32, SP_WIRE_BF16, SP_WIRE_I8};

/* --- the twin ------------------------------------------------------------------------------------------------------
 */

static float product(float a, float b)
{
    volatile float result = a * b;

    return result;
}

static float quotient(float a, float b)
{
    volatile float result = a / b;

    return result;
}

static float sum(float a, float b)
{
    volatile float result = a + b;

    return result;
}

/* By comparing the distances to both neighbours: those of the upper half of the bits, and of that plus one. */
static uint16_t twin_bf16(float value)
{
    uint32_t bits, low;
    float below, above;
    double down, up;

    memcpy(&bits, &value, sizeof bits);
    low = bits & UINT32_C(0xffff0000);
    if (isinf(value))
        return (uint16_t)(low >> 16);
    if (isnan(value))
        return (uint16_t)(low >> 16 | 0x40);
    below = unit_float(low);
    above = unit_float(low + 0x10000);
    down = fabs((double)value - (double)below);
    up = fabs((isinf(above) ? copysign(0x1p128, (double)value) : (double)above) - (double)value);
    if (up < down || (up == down && (low & 0x10000) != 0))
        low += 0x10000;
    return (uint16_t)(low >> 16);
}

static void twin_block(const float *values, float *residual, size_t n, float *scale, int8_t *q)
{
    float x[SP_I8_BLOCK], top = 0.0f;
    bool finite = true;

    for (size_t j = 0; j < n; j++) {
        x[j] = residual != NULL ? sum(values[j], residual[j]) : values[j];
        finite = finite && isfinite(x[j]);
        top = fmaxf(top, fabsf(x[j]));
    }
    memset(q, 0, n);
    *scale = quotient(top, 127.0f);
    if (!finite || isinf(product(*scale, 127.0f))) {
        *scale = INFINITY;
        return;
    }
    if (top == 0.0f || isinf(quotient(127.0f, top)))
        *scale = 0.0f;
    for (size_t j = 0; j < n; j++) {
        float scaled = *scale > 0.0f ? product(x[j], quotient(127.0f, top)) : 0.0f;

        q[j] = (int8_t)fmaxf(-127.0f, fminf(127.0f, rintf(scaled)));
        if (residual != NULL)
            residual[j] = sum(x[j], -product((float)q[j], *scale));
    }
}

/* Ends of blocks are found coordinate by coordinate. Returns the bytes. */
static size_t twin_i8(const struct sp_layout *layout, uint64_t first, size_t count, const float *values,
                      float *residual, uint8_t *bulk)
{
    static float scales[D];
    static int8_t q[D];
    size_t blocks = 0, start = 0;

    for (size_t j = 0; j < count; j++) {
        uint32_t tensor = sp_layout_find(layout, first + j);
        bool last = j + 1 == count || sp_layout_find(layout, first + j + 1) != tensor;

        if (!last && j + 1 - start < 256)
            continue;
        if (sp_tensor_is(&layout->tensors[tensor], SP_TENSOR_FULL)) {
            scales[blocks] = 0.0f;
            memset(q + start, 0, j + 1 - start);
        } else {
            twin_block(values + start, residual != NULL ? residual + start : NULL, j + 1 - start, &scales[blocks],
                       q + start);
        }
        blocks++;
        start = j + 1;
    }
    memcpy(bulk, scales, blocks * 4);
    memcpy(bulk + blocks * 4, q, count);
    return blocks * 4 + count;
}

static size_t twin_encode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, size_t count,
                          const float *values, float *residual, uint8_t *bulk)
{
    if (wire == SP_WIRE_I8)
        return twin_i8(layout, first, count, values, residual, bulk);
    for (size_t j = 0; j < count; j++) {
        bool full = sp_tensor_is(&layout->tensors[sp_layout_find(layout, first + j)], SP_TENSOR_FULL);
        float value = full ? 0.0f : values[j];
        uint16_t half = twin_bf16(value);

        if (wire == SP_WIRE_F32)
            memcpy(bulk + 4 * j, &value, 4);
        else
            memcpy(bulk + 2 * j, &half, 2);
    }
    return count * (wire == SP_WIRE_F32 ? 4 : 2);
}

/* Bulk that twin_encode() made. */
static void twin_decode(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, size_t count,
                        const uint8_t *bulk, size_t bytes, float *values)
{
    size_t block = 0, start = 0;

    for (size_t j = 0; j < count; j++) {
        uint32_t tensor = sp_layout_find(layout, first + j);

        if (j > 0 && (j - start == 256 || sp_layout_find(layout, first + j - 1) != tensor)) {
            start = j;
            block++;
        }
        if (wire == SP_WIRE_F32) {
            memcpy(&values[j], bulk + 4 * j, 4);
        } else if (wire == SP_WIRE_BF16) {
            values[j] = unit_float((uint32_t)(bulk[2 * j] | bulk[2 * j + 1] << 8) << 16);
        } else {
            float scale;

            memcpy(&scale, bulk + 4 * block, 4);
            values[j] = product((float)(int8_t)bulk[bytes - count + j], scale);
        }
        if (sp_tensor_is(&layout->tensors[tensor], SP_TENSOR_FULL))
            values[j] = 0.0f;
    }
}

/* --- against the twin ----------------------------------------------------------------------------------------------
 */

static float values[D], residual[D], twin_residual[D], decoded[D + 1], twin_decoded[D];
static uint8_t room[BULK_MAX + 8], twin_bulk[BULK_MAX];

static float special_value(struct sp_rng *rng)
{
    static const float special[] = {0.0f,    -0.0f,    FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, -FLT_MIN, 127.0f,
                                    FLT_MAX, -FLT_MAX, 0x1p-121f,    3.7e-37f,      0.5f,    1.5f,     -2.5f};

    return special[sp_rng_below(rng, UNIT_COUNT(special))];
}

/* Kinds of ranges: numbers of one size, of all sizes, with special ones between them, tiny ones, multiples of a half
 * (whose quotients are ties), and with something that is not finite. */
static void draw(struct sp_rng *rng, size_t count, unsigned kind)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};

    for (size_t j = 0; j < count; j++) {
        residual[j] = kind == 5 ? 0.0f : 0.01f * unit_uniform(rng);
        values[j] = unit_uniform(rng);
        if (kind == 1)
            values[j] = unit_wide(rng);
        if (kind == 2 && sp_rng_below(rng, 50) == 0)
            values[j] = special_value(rng);
        if (kind == 3)
            values[j] = special_value(rng);
        if (kind == 4) {
            values[j] = unit_uniform(rng) * 0x1p-120f;
            residual[j] = unit_uniform(rng) * 0x1p-140f;
        }
        if (kind == 5)
            values[j] = j % 200 == 0 ? 127.0f : 0.5f * (float)((int)sp_rng_below(rng, 507) - 253);
        if (kind == 6 && sp_rng_below(rng, 300) == 0)
            values[j] = bad[sp_rng_below(rng, 4)];
    }
}

#define KINDS 7

/* Whether everything that the twin's bulk decodes to is a number. */
static bool all_finite(size_t count)
{
    for (size_t j = 0; j < count; j++) {
        if (!isfinite(twin_decoded[j]))
            return false;
    }
    return true;
}

/* NaN are compared by their kind, for q*scale keeps no sign of one; all else bit for bit. */
static void expect_decoded(size_t count)
{
    for (size_t j = 0; j < count; j++)
        unit_assert((isnan(decoded[j]) && isnan(twin_decoded[j])) ||
                        memcmp(&decoded[j], &twin_decoded[j], sizeof(float)) == 0,
                    "coordinate %zu: %a is not %a", j, (double)decoded[j], (double)twin_decoded[j]);
}

static void compare(enum sp_wire wire, const struct sp_layout *layout, uint64_t first, size_t count, bool feedback,
                    size_t offset)
{
    const float guard = 42.0f;
    uint8_t *bulk = room + 1 + offset;
    size_t bytes;

    memcpy(twin_residual, residual, sizeof residual);
    memset(room, GUARD, sizeof room);
    bytes = twin_encode(wire, layout, first, count, values, feedback ? twin_residual : NULL, twin_bulk);
    ck_assert_uint_eq(sp_values_bytes(wire, layout, first, count), bytes);
    sp_values_encode(wire, layout, first, count, values, feedback ? residual : NULL, bulk);
    ck_assert_mem_eq(bulk, twin_bulk, bytes);
    ck_assert_uint_eq(bulk[bytes], GUARD);
    ck_assert_uint_eq(bulk[-1], GUARD);
    ck_assert_mem_eq(residual, twin_residual, sizeof residual);

    decoded[count] = guard;
    sp_values_decode(wire, layout, first, count, bulk, decoded);
    twin_decode(wire, layout, first, count, twin_bulk, bytes, twin_decoded);
    expect_decoded(count);
    ck_assert(decoded[count] == guard);
    ck_assert_int_eq(sp_values_finite(wire, layout, first, count, bulk), all_finite(count));
}

/* All lengths around blocks, in one tensor that is longer, and every place in memory that bulk can have. */
START_TEST(test_lengths)
{
    static const uint64_t size = D;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    struct sp_rng rng = unit_rng((uint64_t)_i);

    for (size_t count = 1; count <= 700; count++) {
        draw(&rng, count, (unsigned)(count % KINDS));
        compare(wires[_i], &layout, sp_rng_below(&rng, (uint32_t)(D - count)), count, count % 3 != 0, count % 4);
    }
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_layouts)
{
    static const uint32_t largest[] = {1, 3, 20, 300, 700};
    struct sp_rng rng = unit_rng(100 + (uint64_t)_i);

    for (unsigned turn = 0; turn < 100; turn++) {
        struct sp_layout layout = unit_random_layout(&rng, D, largest[turn % UNIT_COUNT(largest)], turn % 3 == 0);

        for (unsigned range = 0; range < 10; range++) {
            size_t first = sp_rng_below(&rng, D), count = 1 + sp_rng_below(&rng, (uint32_t)(D - first));

            draw(&rng, count, sp_rng_below(&rng, KINDS));
            compare(wires[_i], &layout, first, count, range % 3 != 0, range % 4);
        }
        sp_layout_finish(&layout);
    }
}
END_TEST

START_TEST(test_nothing)
{
    static const uint64_t size = 5;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    uint8_t byte = GUARD;
    float value = 3.0f;

    ck_assert_uint_eq(sp_values_bytes(wires[_i], &layout, 2, 0), 0);
    sp_values_encode(wires[_i], &layout, 2, 0, &value, &value, &byte);
    ck_assert_uint_eq(byte, GUARD);
    ck_assert(sp_values_finite(wires[_i], &layout, 2, 0, &byte));
    sp_values_decode(wires[_i], &layout, 2, 0, &byte, &value);
    ck_assert(value == 3.0f);
    sp_layout_finish(&layout);
}
END_TEST

/* Not a byte past the end is read or written, on the heap, where AddressSanitizer sees it. */
START_TEST(test_exact_room)
{
    static const uint64_t sizes[] = {3, 256, 258};

    struct sp_layout layout = unit_layout(sizes, NULL, 3);

    for (size_t count = 1; count <= 517; count++) {
        size_t bytes = sp_values_bytes(wires[_i], &layout, 0, count);
        uint8_t *bulk = unit_alloc(bytes);
        float *in = unit_alloc(count * sizeof *in), *out = unit_alloc(count * sizeof *out);
        float *left = unit_alloc(count * sizeof *left);

        for (size_t j = 0; j < count; j++) {
            in[j] = (float)j;
            left[j] = 0.0f;
        }
        sp_values_encode(wires[_i], &layout, 0, count, in, left, bulk);
        ck_assert(sp_values_finite(wires[_i], &layout, 0, count, bulk));
        sp_values_decode(wires[_i], &layout, 0, count, bulk, out);
        ck_assert(fabsf(out[count - 1] - in[count - 1]) <= in[count - 1] / 64.0f);
        free(bulk);
        free(in);
        free(out);
        free(left);
    }
    sp_layout_finish(&layout);
}
END_TEST

/* --- bf16 ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_bf16_by_hand)
{
    static const struct {
        uint32_t value;
        uint16_t coded;
    } rows[] = {
        {0x3f800000, 0x3f80}, /* 1 */
        {0x3f808000, 0x3f80}, /* half way: to the even one, below */
        {0x3f818000, 0x3f82}, /* half way: to the even one, above */
        {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80}, {0xbf808001, 0xbf81},
        {0x80000000, 0x8000}, {0x00000001, 0x0000}, /* the smallest subnormal */
        {0x00008001, 0x0001}, {0x7f7f0000, 0x7f7f}, {0x7f7f7fff, 0x7f7f},
        {0x7f7f8000, 0x7f80}, /* too large: infinite */
        {0xff7fffff, 0xff80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
        {0x7f800001, 0x7fc0}, /* a NaN whose upper half alone would be infinite */
        {0x7fffffff, 0x7fff}, /* and one that rounding would carry into the sign */
        {0xffffffff, 0xffff}, {0xff812345, 0xffc1},
    };
    static const uint64_t size = UNIT_COUNT(rows);
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    float in[UNIT_COUNT(rows)];
    uint16_t out[UNIT_COUNT(rows)];

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        memcpy(&in[i], &rows[i].value, sizeof in[i]);
    sp_values_encode(SP_WIRE_BF16, &layout, 0, UNIT_COUNT(rows), in, NULL, (uint8_t *)out);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        ck_assert_uint_eq(out[i], rows[i].coded);
    sp_layout_finish(&layout);
}
END_TEST

/* What was decoded encodes to the same bits again, for all 65536 of them but signalling NaN. */
START_TEST(test_bf16_is_exact_back)
{
    static const uint64_t size = 65536;
    static uint16_t in[65536], out[65536];
    static float between[65536];
    struct sp_layout layout = unit_layout(&size, NULL, 1);

    for (unsigned i = 0; i < 65536; i++)
        in[i] = (uint16_t)((i & 0x7f80) == 0x7f80 && (i & 0x7f) != 0 ? i | 0x40 : i);
    sp_values_decode(SP_WIRE_BF16, &layout, 0, 65536, (const uint8_t *)in, between);
    sp_values_encode(SP_WIRE_BF16, &layout, 0, 65536, between, NULL, (uint8_t *)out);
    ck_assert_mem_eq(in, out, sizeof in);
    sp_layout_finish(&layout);
}
END_TEST

/* --- i8 ------------------------------------------------------------------------------------------------------------
 */

/* Worked out by hand, and the layout of the bulk: scales first, tensors apart, ties to even. */
START_TEST(test_i8_by_hand)
{
    static const uint64_t sizes[] = {5, 2, 2, 3};
    static const uint8_t traits[] = {0, 0, SP_TENSOR_FULL, 0};
    static const float in[] = {127.0f, 0.5f, 1.5f, -2.5f, -127.0f, -254.0f, 3.0f, 9.0f, 9.0f, 0.0f, -0.0f, 0.0f};
    static const uint8_t expected[] = {0,   0, 0x80, 0x3f, 0,    0,    0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, /* 1, 2, 0, 0 */
                                       127, 0, 2,    0xfe, 0x81, 0x81, 2, 0,    0, 0, 0, 0};
    static const float back[] = {127.0f, 0.0f, 2.0f, -2.0f, -127.0f, -254.0f, 4.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    static const float lost[] = {0.0f, 0.5f, -0.5f, -0.5f, 0.0f, 0.0f, -1.0f, 7.0f, 7.0f, 0.0f, 0.0f, 0.0f};
    struct sp_layout layout = unit_layout(sizes, traits, 4);
    float left[12] = {[7] = 7.0f, [8] = 7.0f}, out[12];
    uint8_t bulk[sizeof expected];

    ck_assert_uint_eq(sp_values_bytes(SP_WIRE_I8, &layout, 0, 12), sizeof expected);
    sp_values_encode(SP_WIRE_I8, &layout, 0, 12, in, left, bulk);
    ck_assert_mem_eq(bulk, expected, sizeof expected);
    sp_values_decode(SP_WIRE_I8, &layout, 0, 12, bulk, out);
    ck_assert_mem_eq(out, back, sizeof out);
    for (size_t j = 0; j < 12; j++)
        ck_assert(left[j] == lost[j]);
    sp_layout_finish(&layout);
}
END_TEST

/* Where scales begin to exist and cease to: 127/A and 127*scale are finite, one step further they are not. */
START_TEST(test_i8_tiny_and_huge)
{
    static const uint64_t size = 2;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    float least = 127.0f / FLT_MAX;

    while (isinf(127.0f / least))
        least = nextafterf(least, 1.0f);
    while (!isinf(127.0f / nextafterf(least, 0.0f)))
        least = nextafterf(least, 0.0f);
    for (int side = 0; side < 2; side++) {
        float in[2] = {side == 0 ? least : nextafterf(least, 0.0f), FLT_TRUE_MIN}, left[2] = {0.0f, 0.0f}, scale;
        uint8_t bulk[6];

        sp_values_encode(SP_WIRE_I8, &layout, 0, 2, in, left, bulk);
        memcpy(&scale, bulk, sizeof scale);
        ck_assert(sp_values_finite(SP_WIRE_I8, &layout, 0, 2, bulk));
        ck_assert(side == 0 ? scale > 0.0f && bulk[4] == 127 : scale == 0.0f && bulk[4] == 0 && left[0] == in[0]);
        ck_assert(left[1] == FLT_TRUE_MIN);
    }
    for (unsigned step = 0; step < 300; step++) {
        float in[2], out[2];
        uint8_t bulk[6];
        uint32_t top = UINT32_C(0x7f7fffff) - step;

        memcpy(&in[0], &top, sizeof in[0]);
        in[1] = -in[0];
        sp_values_encode(SP_WIRE_I8, &layout, 0, 2, in, NULL, bulk);
        sp_values_decode(SP_WIRE_I8, &layout, 0, 2, bulk, out);
        ck_assert(isinf(in[0] / 127.0f * 127.0f) ? !sp_values_finite(SP_WIRE_I8, &layout, 0, 2, bulk)
                                                 : isfinite(out[0]) && isfinite(out[1]));
    }
    sp_layout_finish(&layout);
}
END_TEST

/* Sums that overflow are refused as well, and only the block concerned is spoiled; its residual stays. */
START_TEST(test_i8_not_finite)
{
    static const uint64_t size = 600;
    static const float bad[] = {INFINITY, -INFINITY, NAN, FLT_MAX};
    struct sp_layout layout = unit_layout(&size, NULL, 1);

    for (size_t k = 0; k < UNIT_COUNT(bad); k++) {
        float in[600], left[600], scales[3];
        uint8_t bulk[612];

        for (size_t j = 0; j < 600; j++) {
            in[j] = 1.0f;
            left[j] = j == 300 ? 1e38f : 0.25f;
        }
        in[300] = bad[k];
        sp_values_encode(SP_WIRE_I8, &layout, 0, 600, in, left, bulk);
        memcpy(scales, bulk, sizeof scales);
        ck_assert(scales[0] == 1.25f / 127.0f && isinf(scales[1]) && scales[1] > 0.0f && scales[2] == scales[0]);
        for (size_t j = 0; j < 600; j++) {
            ck_assert_uint_eq(bulk[12 + j], j / 256 == 1 ? 0 : 127);
            if (j / 256 == 1)
                ck_assert(left[j] == (j == 300 ? 1e38f : 0.25f));
        }
        ck_assert(!sp_values_finite(SP_WIRE_I8, &layout, 0, 600, bulk));
    }
    sp_layout_finish(&layout);
}
END_TEST

/* Over rounds, what was decoded in all stays within half a step of what went in: nothing is lost for good. */
START_TEST(test_i8_error_feedback)
{
    static const uint64_t sizes[] = {1, 400, 99, 500};
    struct sp_layout layout = unit_layout(sizes, NULL, 4);
    struct sp_rng rng = unit_rng(7);
    double in_all[1000] = {0}, out_all[1000] = {0};
    uint8_t bulk[1000 + 4 * 6];

    memset(residual, 0, sizeof residual);
    ck_assert_uint_eq(sp_values_bytes(SP_WIRE_I8, &layout, 0, 1000), sizeof bulk);
    for (int round = 1; round <= 200; round++) {
        /* One large value keeps the scale large, so that most others are below half a step in a single round. */
        for (size_t j = 0; j < 1000; j++) {
            values[j] = j % 250 == 3 ? 1.0f : 0.003f * unit_uniform(&rng) + 0.001f;
            in_all[j] += (double)values[j];
        }
        sp_values_encode(SP_WIRE_I8, &layout, 0, 1000, values, residual, bulk);
        sp_values_decode(SP_WIRE_I8, &layout, 0, 1000, bulk, decoded);
        for (size_t j = 0; j < 1000; j++) {
            out_all[j] += (double)decoded[j];
            unit_assert(fabs(in_all[j] - out_all[j]) <= 1.02 / 127.0 / 2.0, "coordinate %zu in round %d", j, round);
        }
    }
    ck_assert_double_gt(out_all[500], 0.15); /* 200 times 0.001, which alone would always round to 0 */
    sp_layout_finish(&layout);
}
END_TEST

/* Without feedback the same input is the same output for ever, and the residual is nobody's. */
START_TEST(test_i8_without_feedback)
{
    static const uint64_t size = 300;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    struct sp_rng rng = unit_rng(8);
    uint8_t once[308], twice[308];

    for (size_t j = 0; j < 300; j++)
        values[j] = unit_uniform(&rng);
    memset(residual, 0, sizeof residual);
    sp_values_encode(SP_WIRE_I8, &layout, 0, 300, values, NULL, once);
    sp_values_encode(SP_WIRE_I8, &layout, 0, 300, values, residual, twice);
    ck_assert_mem_eq(once, twice, sizeof once);
    sp_values_encode(SP_WIRE_I8, &layout, 0, 300, values, residual, twice);
    ck_assert_mem_ne(once, twice, sizeof once);
    sp_layout_finish(&layout);
}
END_TEST

/* --- what a peer may send ------------------------------------------------------------------------------------------
 */

START_TEST(test_finite_i8)
{
    static const struct {
        uint32_t scale;
        bool finite;
    } rows[] = {{0x00000000, true},  {0x00000001, true},  {0x3f800000, true},  {0x7c01020b, false},
                {0x7f7fffff, false}, {0x7f800000, false}, {0x7fc00000, false}, {0x80000000, false},
                {0x80000001, false}, {0xbf800000, false}, {0xff800000, false}, {0xffffffff, false}};
    static const uint64_t size = 520;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    uint8_t bulk[520 + 12];

    for (size_t i = 0; i < UNIT_COUNT(rows) * 3; i++) {
        memset(bulk, 0, sizeof bulk);
        memcpy(bulk + 4 * (i % 3), &rows[i / 3].scale, 4);
        ck_assert_int_eq(sp_values_finite(SP_WIRE_I8, &layout, 0, 520, bulk), rows[i / 3].finite);
    }
    memset(bulk, 0, 12);
    for (size_t j = 0; j < 520; j++) {
        memset(bulk + 12, 0x81, 520);
        ck_assert(sp_values_finite(SP_WIRE_I8, &layout, 0, 520, bulk));
        bulk[12 + j] = 0x80;
        unit_assert(!sp_values_finite(SP_WIRE_I8, &layout, 0, 520, bulk), "coordinate %zu", j);
    }
    sp_layout_finish(&layout);
}
END_TEST

/* Any scale that passes decodes 127 and -127 to numbers; the last that does is found by halving. */
START_TEST(test_finite_i8_scales)
{
    static const uint64_t size = 2;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    uint8_t bulk[6] = {0, 0, 0, 0, 127, 0x81};
    uint32_t good = 0, bad = UINT32_C(0x7f800000);
    float out[2];

    while (bad - good > 1) {
        uint32_t middle = good + (bad - good) / 2;

        memcpy(bulk, &middle, 4);
        sp_values_decode(SP_WIRE_I8, &layout, 0, 2, bulk, out);
        ck_assert_int_eq(sp_values_finite(SP_WIRE_I8, &layout, 0, 2, bulk), isfinite(out[0]) && isfinite(out[1]));
        if (isfinite(out[0]))
            good = middle;
        else
            bad = middle;
    }
    ck_assert_uint_eq(good, UINT32_C(0x7c010203)); /* FLT_MAX/127, rounded, is one more: its product is infinite */
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_finite_f32_and_bf16)
{
    static const uint32_t words[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff};
    static const uint64_t size = 301;
    struct sp_layout layout = unit_layout(&size, NULL, 1);
    uint8_t f32[4 * 301], bf16[2 * 301];

    for (size_t i = 0; i < UNIT_COUNT(words) * 301; i++) {
        uint16_t half = (uint16_t)(words[i % 5] >> 16);

        memset(f32, 0x7f, sizeof f32);
        memset(bf16, 0x7f, sizeof bf16);
        ck_assert(sp_values_finite(SP_WIRE_F32, &layout, 0, 301, f32));
        ck_assert(sp_values_finite(SP_WIRE_BF16, &layout, 0, 301, bf16));
        memcpy(f32 + 4 * (i / 5), &words[i % 5], 4);
        memcpy(bf16 + 2 * (i / 5), &half, 2);
        unit_assert(!sp_values_finite(SP_WIRE_F32, &layout, 0, 301, f32), "f32 %zu", i);
        unit_assert(!sp_values_finite(SP_WIRE_BF16, &layout, 0, 301, bf16), "bf16 %zu", i);
    }
    sp_layout_finish(&layout);
}
END_TEST

/* Tensors that travel in full decode to zeros, whatever a peer puts in their place. */
START_TEST(test_full_decodes_to_zero)
{
    static const uint64_t sizes[] = {2, 3, 2};
    static const uint8_t traits[] = {0, SP_TENSOR_FULL, 0};
    struct sp_layout layout = unit_layout(sizes, traits, 3);
    uint8_t bulk[28];
    float out[7];

    memset(bulk, 0x3f, sizeof bulk);
    sp_values_decode(wires[_i], &layout, 0, 7, bulk, out);
    for (size_t j = 0; j < 7; j++)
        ck_assert_int_eq(out[j] != 0.0f, j < 2 || j >= 5);
    sp_layout_finish(&layout);
}
END_TEST

/* The layout with the most blocks: a chunk of 32768 coordinates fits into 64 KiB, and below what the macro says. */
START_TEST(test_most_blocks)
{
    static uint64_t sizes[SP_TENSORS_MAX];
    struct sp_layout layout;

    for (size_t i = 0; i < SP_TENSORS_MAX; i++)
        sizes[i] = i < 112 ? 257 : 1;
    sizes[SP_TENSORS_MAX - 1] = 32768 - (112 * 257 + SP_TENSORS_MAX - 113);
    layout = unit_layout(sizes, NULL, SP_TENSORS_MAX);
    ck_assert_uint_eq(layout.coordinates, 32768);
    ck_assert_uint_le(sp_values_bytes(SP_WIRE_I8, &layout, 0, 32768), SP_I8_BYTES_MAX(32768));
    ck_assert_uint_ge(sp_values_bytes(SP_WIRE_I8, &layout, 0, 32768), SP_I8_BYTES_MAX(32768) - 4 * 17);
    ck_assert_uint_le(SP_I8_BYTES_MAX(32768), 65536);
    sp_layout_finish(&layout);
}
END_TEST

/* FNV-1a with 64 bits. */
static uint64_t hash(const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    uint64_t result = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < count; i++)
        result = (result ^ at[i]) * UINT64_C(0x100000001b3);
    return result;
}

/* Of an implementation in Python, written from values.h: two rounds with feedback. */
START_TEST(test_i8_pinned)
{
    static const uint64_t sizes[] = {7, 260, 3};
    static const uint64_t expected[] = {UINT64_C(0x095c84700d213f96), UINT64_C(0xa97b5dbc862d1a65)};
    static const uint8_t begins[] = {0xf0, 0xf7, 0xfb, 0x3d, 0xce, 0x66, 0x43, 0x3e, 0xdc, 0xed, 0xb6, 0x3d,
                                     0x26, 0x93, 0xc9, 0x3d, 0xfa, 0xf1, 0x34, 0x81, 0xf3, 0x04, 0xde, 0x0a};
    struct sp_layout layout = unit_layout(sizes, NULL, 3);
    float left[270] = {0};
    uint8_t bulk[270 + 16];

    for (unsigned round = 0; round < 2; round++) {
        for (int j = 0; j < 270; j++)
            values[j] = (float)((j * 37) % 101 - 50) / 64.0f * (float)(1 + j % 5 * 8) + (float)round * 0.125f;
        sp_values_encode(SP_WIRE_I8, &layout, 0, 270, values, left, bulk);
        if (round == 0)
            ck_assert_mem_eq(bulk, begins, sizeof begins);
        ck_assert_uint_eq(hash(bulk, sizeof bulk), expected[round]);
    }
    ck_assert_uint_eq(hash(left, sizeof left), UINT64_C(0xb6754db68e18e4d5));
    sp_layout_finish(&layout);
}
END_TEST

int main(void)
{
    const int all = (int)UNIT_COUNT(wires);
    TCase *tests = tcase_create("values");

    tcase_add_loop_test(tests, test_lengths, 0, all);
    tcase_add_loop_test(tests, test_layouts, 0, all);
    tcase_add_loop_test(tests, test_nothing, 0, all);
    tcase_add_loop_test(tests, test_exact_room, 0, all);
    tcase_add_test(tests, test_bf16_by_hand);
    tcase_add_test(tests, test_bf16_is_exact_back);
    tcase_add_test(tests, test_i8_by_hand);
    tcase_add_test(tests, test_i8_tiny_and_huge);
    tcase_add_test(tests, test_i8_not_finite);
    tcase_add_test(tests, test_i8_error_feedback);
    tcase_add_test(tests, test_i8_without_feedback);
    tcase_add_test(tests, test_finite_i8);
    tcase_add_test(tests, test_finite_i8_scales);
    tcase_add_test(tests, test_finite_f32_and_bf16);
    tcase_add_loop_test(tests, test_full_decodes_to_zero, 0, all);
    tcase_add_test(tests, test_most_blocks);
    tcase_add_test(tests, test_i8_pinned);
    return unit_run(suite_create("values"), tests);
}
