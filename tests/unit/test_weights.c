/* How weights change, bit for bit, against a twin that rounds every operation; and their digest. */
#include "common/weights.h"
#include "unit.h"

#include <stdio.h>

#define TENSORS 7

/* Sizes that put tensors at every place within a byte of bits; odd ones decay. */
static const uint64_t tensor_sizes[TENSORS] = {1, 3, 64, 5, 777, 8, 2};

static struct sp_layout make_layout(void)
{
    struct sp_layout layout = {0};

    for (uint32_t i = 0; i < TENSORS; i++) {
        struct sp_tensor tensor = {.dims = 1, .flags = i % 2 ? SP_TENSOR_DECAY : 0, .shape = {tensor_sizes[i]}};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    }
    return layout;
}

struct arrays {
    struct sp_layout layout;
    float *theta, *twin, *values, *full;
    uint8_t *bits;
};

static struct arrays make_arrays(uint64_t seed)
{
    struct sp_rng rng = unit_rng(seed);
    struct arrays a = {.layout = make_layout()};
    size_t count = (size_t)a.layout.coordinates;

    a.theta = unit_alloc(count * sizeof *a.theta);
    a.twin = unit_alloc(count * sizeof *a.twin);
    a.values = unit_alloc(count * sizeof *a.values);
    a.full = unit_alloc(count * sizeof *a.full);
    a.bits = unit_alloc((count + 7) / 8);
    for (size_t j = 0; j < count; j++) {
        a.theta[j] = a.twin[j] = unit_uniform(&rng);
        a.values[j] = unit_uniform(&rng);
        a.full[j] = unit_uniform(&rng);
    }
    for (size_t i = 0; i < (count + 7) / 8; i++)
        a.bits[i] = (uint8_t)sp_rng_next(&rng);
    return a;
}

static void free_arrays(struct arrays *a)
{
    sp_layout_finish(&a->layout);
    free(a->theta);
    free(a->twin);
    free(a->values);
    free(a->full);
    free(a->bits);
}

/* One coordinate, each operation rounded to float32 for itself: no product is kept wider than its type. */
static float twin_coordinate(float theta, float decay, float rate, float direction)
{
    volatile float decayed = theta * decay;
    volatile float change = rate * direction;
    volatile float result = decayed - change;

    return result;
}

/* `signs`: bits, else values. */
static void twin_apply(struct arrays *a, const struct sp_step *step, bool signs)
{
    size_t j = 0, n = 0;

    for (uint32_t i = 0; i < TENSORS; i++) {
        const uint32_t traits = a->layout.tensors[i].traits;
        float rate = step->rates != NULL ? step->rates[i] : step->rate;
        float decay = step->decays != NULL ? step->decays[i] : step->decay;

        for (uint64_t k = 0; k < tensor_sizes[i]; k++, j++) {
            float sign = (a->bits[j / 8] & (1u << (j % 8))) != 0 ? 1.0f : -1.0f;
            float direction = (traits & SP_TENSOR_FULL) != 0 ? a->full[n++] : signs ? sign : a->values[j];

            a->twin[j] = twin_coordinate(a->twin[j], (traits & SP_TENSOR_DECAY) != 0 ? decay : 1.0f, rate, direction);
        }
    }
}

static void expect_twin(const struct arrays *a)
{
    for (uint64_t j = 0; j < a->layout.coordinates; j++)
        unit_assert(memcmp(&a->theta[j], &a->twin[j], sizeof(float)) == 0, "coordinate %llu: %a is not %a",
                    (unsigned long long)j, (double)a->theta[j], (double)a->twin[j]);
}

static const float rates[TENSORS] = {0.1f, 0.02f, 0.003f, 4e-4f, 0.0f, 5e-5f, 0.6f};
static const float decays[TENSORS] = {0.5f, 0.99f, 0.25f, 1.0f, 0.75f, 0.9999f, 0.125f};

static const struct sp_step steps[] = {
    {.decay = 1.0f, .rate = 0.001f},
    {.decay = 0.9997f, .rate = 0.0013f},
    {.decay = 0.9997f, .rate = 7.0f, .rates = rates},
    {.decay = 0.5f, .rate = 0.0013f, .decays = decays},
    {.decay = 0.5f, .rate = 7.0f, .rates = rates, .decays = decays},
    {.decay = 0.0f, .rate = 0.3f},
    {.decay = 1.0f, .rate = 0.0f},
};

/* Many rounds, so that a wrong rounding anywhere spreads. */
START_TEST(test_apply_signs)
{
    struct arrays a = make_arrays((uint64_t)_i);

    for (int round = 0; round < 50; round++) {
        sp_weights_apply_signs(&a.layout, &steps[_i], a.bits, a.theta, NULL);
        twin_apply(&a, &steps[_i], true);
        expect_twin(&a);
    }
    free_arrays(&a);
}
END_TEST

START_TEST(test_apply_values)
{
    struct arrays a = make_arrays((uint64_t)_i);

    for (int round = 0; round < 50; round++) {
        sp_weights_apply_values(&a.layout, &steps[_i], a.values, a.theta, NULL);
        twin_apply(&a, &steps[_i], false);
        expect_twin(&a);
    }
    free_arrays(&a);
}
END_TEST

/* Tensors in full take their values, one tensor after the other, in both functions; decay and rates are theirs as of
 * any. As the job's rules say: not what a tensor declared. */
START_TEST(test_apply_full)
{
    static const uint8_t some[TENSORS] = {SP_TENSOR_FULL, 0, SP_TENSOR_DECAY | SP_TENSOR_FULL, 0, SP_TENSOR_DECAY, 0,
                                          SP_TENSOR_FULL};
    static const uint8_t all[TENSORS] = {4, 5, 4, 5, 4, 5, 4};
    struct arrays a = make_arrays(100 + (uint64_t)_i);
    struct sp_step step = steps[_i % (int)UNIT_COUNT(steps)];

    step.full = a.full;
    sp_layout_set_traits(&a.layout, _i < (int)UNIT_COUNT(steps) ? some : all);
    for (int round = 0; round < 50; round++) {
        if (round % 2 == 0)
            sp_weights_apply_signs(&a.layout, &step, a.bits, a.theta, NULL);
        else
            sp_weights_apply_values(&a.layout, &step, a.values, a.theta, NULL);
        twin_apply(&a, &step, round % 2 == 0);
        expect_twin(&a);
    }
    free_arrays(&a);
}
END_TEST

/* Numbers that can be worked out by hand: where decay acts, and that it acts before the step. */
START_TEST(test_by_hand)
{
    static const float halves[2] = {0.25f, 0.5f}, own[2] = {2.0f, 4.0f};
    struct sp_tensor plain = {.name = "plain", .dims = 1, .shape = {2}};
    struct sp_tensor decaying = {.name = "decaying", .dims = 1, .flags = SP_TENSOR_DECAY, .shape = {2}};
    const struct sp_step step = {.decay = 0.5f, .rate = 1.0f};
    const struct sp_step per_tensor = {.decay = 9.0f, .rate = 9.0f, .rates = own, .decays = halves};
    const uint8_t bits = 0x05; /* +, -, +, - */
    float theta[4] = {8.0f, 8.0f, 8.0f, 8.0f}, values[4] = {1.0f, -2.0f, 3.0f, -4.0f};
    struct sp_layout layout = {0};

    ck_assert_int_eq(sp_layout_add(&layout, &plain, NULL), SP_OK);
    ck_assert_int_eq(sp_layout_add(&layout, &decaying, NULL), SP_OK);
    sp_weights_apply_signs(&layout, &step, &bits, theta, NULL);
    ck_assert_mem_eq(theta, ((float[]){7.0f, 9.0f, 3.0f, 5.0f}), sizeof theta);
    sp_weights_apply_values(&layout, &step, values, theta, NULL);
    ck_assert_mem_eq(theta, ((float[]){6.0f, 11.0f, -1.5f, 6.5f}), sizeof theta);
    sp_weights_apply_values(&layout, &per_tensor, values, theta, NULL);
    ck_assert_mem_eq(theta, ((float[]){4.0f, 15.0f, -12.75f, 19.25f}), sizeof theta);
    sp_weights_apply_signs(&layout, &per_tensor, &bits, theta, NULL);
    ck_assert_mem_eq(theta, ((float[]){2.0f, 17.0f, -10.375f, 13.625f}), sizeof theta);
    sp_layout_finish(&layout);
}
END_TEST

/* The numbers are those of an XXH64 written in Python from its specification: that of the packed little-endian u64 of
 * each block of 65536 weights, the weights being struct.pack('<f', 0.25*j - 7). */
START_TEST(test_digest_is_pinned)
{
    static const struct {
        uint64_t count, digest;
    } rows[] = {
        {0, UINT64_C(0xef46db3751d8e999)},     {1, UINT64_C(0x6d42afeecb21dd96)},
        {5, UINT64_C(0xc2a3e99cfca2d4af)},     {65536, UINT64_C(0x5a4d1800327fa510)},
        {65537, UINT64_C(0x139f024c97e22217)}, {140000, UINT64_C(0x817afb01195d4943)},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        float *theta = unit_alloc((size_t)rows[i].count * sizeof *theta);

        for (uint64_t j = 0; j < rows[i].count; j++)
            theta[j] = 0.25f * (float)j - 7.0f;
        ck_assert_uint_eq(sp_weights_digest(theta, rows[i].count), rows[i].digest);
        free(theta);
    }
}
END_TEST

/* Any bit of any weight, and the weights' order. */
START_TEST(test_digest_sees_every_bit)
{
    float theta[70];
    uint64_t digest;

    for (size_t j = 0; j < 70; j++)
        theta[j] = (float)j;
    digest = sp_weights_digest(theta, 70);
    for (size_t bit = 0; bit < 8 * sizeof theta; bit++) {
        uint8_t *byte = (uint8_t *)theta + bit / 8;

        *byte ^= (uint8_t)(1u << (bit % 8));
        unit_assert(sp_weights_digest(theta, 70) != digest, "bit %zu", bit);
        *byte ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert_uint_eq(sp_weights_digest(theta, 70), digest);
    ck_assert_uint_ne(sp_weights_digest(theta, 69), digest);
    theta[3] = 4.0f;
    theta[4] = 3.0f;
    ck_assert_uint_ne(sp_weights_digest(theta, 70), digest);
}
END_TEST

START_TEST(test_digest_sees_every_block)
{
    static const uint64_t places[] = {0, 65535, 65536, 131071, 131072, 131080};
    const uint64_t count = 131081;
    float *theta = unit_alloc((size_t)count * sizeof *theta);
    uint64_t digest;

    for (uint64_t j = 0; j < count; j++)
        theta[j] = 0.0f;
    digest = sp_weights_digest(theta, count);
    for (size_t i = 0; i < UNIT_COUNT(places); i++) {
        theta[places[i]] = -0.0f;
        ck_assert_uint_ne(sp_weights_digest(theta, count), digest);
        theta[places[i]] = 0.0f;
    }
    free(theta);
}
END_TEST

/* A layout of more than two blocks, whose tensors end before, at and after where blocks do; every trait is there. */
static struct sp_layout make_long_layout(void)
{
    static const uint64_t sizes[] = {65531, 5, 3, 1, 65536, 70001, 2};
    static const uint8_t traits[] = {
        SP_TENSOR_DECAY, 0, SP_TENSOR_FULL, SP_TENSOR_DECAY, 0, SP_TENSOR_DECAY | SP_TENSOR_FULL, 0};
    struct sp_layout layout = {0};

    for (uint32_t i = 0; i < UNIT_COUNT(sizes); i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {sizes[i]}};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    }
    sp_layout_set_traits(&layout, traits);
    return layout;
}

static float *random_floats(struct sp_rng *rng, size_t count)
{
    float *values = unit_alloc(count * sizeof *values);

    for (size_t j = 0; j < count; j++)
        values[j] = unit_uniform(rng);
    return values;
}

/* The digest on the way is that of the weights afterwards, and asking for it changes no weight. */
START_TEST(test_digest_on_the_way)
{
    struct sp_rng rng = unit_rng(70 + (uint64_t)_i);
    struct sp_layout layout = make_long_layout();
    size_t count = (size_t)layout.coordinates;
    float *theta = random_floats(&rng, count), *same = random_floats(&rng, count);
    float *values = random_floats(&rng, count), *full = random_floats(&rng, (size_t)layout.full);
    const struct sp_step step = {.decay = 0.75f, .rate = 0.01f, .full = full};
    uint64_t digest = 0;

    memcpy(same, theta, count * sizeof *theta);
    if (_i == 0) {
        sp_weights_apply_signs(&layout, &step, (const uint8_t *)values, theta, &digest);
        sp_weights_apply_signs(&layout, &step, (const uint8_t *)values, same, NULL);
    } else {
        sp_weights_apply_values(&layout, &step, values, theta, &digest);
        sp_weights_apply_values(&layout, &step, values, same, NULL);
    }
    ck_assert_uint_eq(digest, sp_weights_digest(theta, layout.coordinates));
    ck_assert_mem_eq(theta, same, count * sizeof *theta);
    sp_layout_finish(&layout);
    free(theta);
    free(same);
    free(values);
    free(full);
}
END_TEST

/* A tensor that lies in several blocks changes as it would in one piece. */
START_TEST(test_blocks_leave_no_trace)
{
    struct sp_rng rng = unit_rng(80);
    struct sp_layout layout = make_long_layout();
    size_t count = (size_t)layout.coordinates;
    float *theta = random_floats(&rng, count), *before = random_floats(&rng, count);
    float *full = random_floats(&rng, (size_t)layout.full);
    uint8_t *bits = unit_alloc(count / 8 + 1);
    const struct sp_step step = {.decay = 0.75f, .rate = 0.01f, .full = full};

    for (size_t i = 0; i <= count / 8; i++)
        bits[i] = (uint8_t)sp_rng_next(&rng);
    memcpy(before, theta, count * sizeof *theta);
    sp_weights_apply_signs(&layout, &step, bits, theta, NULL);
    for (uint32_t i = 0; i < layout.trained; i++) {
        const struct sp_tensor *tensor = &layout.tensors[i];
        float decay = sp_tensor_is(tensor, SP_TENSOR_DECAY) ? step.decay : 1.0f;

        for (uint64_t k = 0; k < tensor->count; k++) {
            uint64_t j = tensor->first + k;
            float sign = (bits[j / 8] & (1u << (j % 8))) != 0 ? 1.0f : -1.0f;
            float direction = sp_tensor_is(tensor, SP_TENSOR_FULL) ? full[tensor->full_first + k] : sign;
            float expected = twin_coordinate(before[j], decay, step.rate, direction);

            unit_assert(memcmp(&theta[j], &expected, sizeof expected) == 0, "coordinate %llu", (unsigned long long)j);
        }
    }
    sp_layout_finish(&layout);
    free(theta);
    free(before);
    free(full);
    free(bits);
}
END_TEST

/* Of no weights too. */
START_TEST(test_digest_of_nothing_on_the_way)
{
    const struct sp_step step = {.decay = 1.0f, .rate = 1.0f};
    struct sp_layout layout = {0};
    uint64_t digest = 0;

    sp_weights_apply_signs(&layout, &step, NULL, NULL, &digest);
    ck_assert_uint_eq(digest, sp_weights_digest(NULL, 0));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("weights");

    tcase_add_loop_test(tests, test_apply_signs, 0, (int)UNIT_COUNT(steps));
    tcase_add_loop_test(tests, test_apply_values, 0, (int)UNIT_COUNT(steps));
    tcase_add_loop_test(tests, test_apply_full, 0, 2 * (int)UNIT_COUNT(steps));
    tcase_add_test(tests, test_by_hand);
    tcase_add_test(tests, test_digest_is_pinned);
    tcase_add_test(tests, test_digest_sees_every_bit);
    tcase_add_test(tests, test_digest_sees_every_block);
    tcase_add_loop_test(tests, test_digest_on_the_way, 0, 2);
    tcase_add_test(tests, test_digest_of_nothing_on_the_way);
    tcase_add_test(tests, test_blocks_leave_no_trace);
    return unit_run(suite_create("weights"), tests);
}
