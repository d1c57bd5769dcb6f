/* The phases after the first, by hand: vote counts down in the margin phase; values both ways in the SGD phase, with
 * what int8 leaves out given back; statistics of a rate that is tracked. */
#include "learning.h"

#include <math.h>

static struct learning p;

static const struct learning_tensor two[] = {{13, 0}, {7, 0}};

static const struct learning_next margin = {SP_PHASE_MARGIN, SP_WIRE_F32, 0.0f, false};
static const struct learning_next values[] = {[SP_WIRE_F32] = {SP_PHASE_SGD, SP_WIRE_F32, 0.0f, false},
                                              [SP_WIRE_BF16] = {SP_PHASE_SGD, SP_WIRE_BF16, 0.0f, false},
                                              [SP_WIRE_I8] = {SP_PHASE_SGD, SP_WIRE_I8, 0.0f, false}};

static void open_two(const struct learning_next *next)
{
    learning_open(&p, two, 2, NULL);
    learning_announce(&p, next);
}

static void teardown(void)
{
    learning_close(&p);
}

/* --- margin ---------------------------------------------------------------------------------------------------------
 */

/* An UPDATE of all 20 coordinates, whose bulk is all zeros before a test fills it. */
static struct sp_message margin_update(unsigned voters, uint32_t bytes)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_UPDATE, .flags = SP_FRAME_LAST, .count = 20}};

    message.frame.round = p.learner.round + 1;
    message.frame.bulk_bytes = bytes;
    message.voters = voters;
    return message;
}

/* 4 votes in 3 planes: coordinates 0 to 4 have 0 to 4 ones, the others 2. */
START_TEST(test_margin_by_hand)
{
    const uint8_t planes[9] = {0x0a, 0, 0, 0xec, 0xff, 0x0f, 0x10, 0, 0};
    static const float expected[5] = {-1.0f, -0.5f, 0.0f, 0.5f, 1.0f};
    struct sp_message message;
    struct sp_push push = {0};
    float theta[20];

    open_two(&margin);
    memcpy(theta, p.learner.theta, sizeof theta);
    learning_give(&p);
    learning_pull_all(&p);
    ck_assert_uint_eq(p.push[0].bytes, 3);
    message = margin_update(4, sizeof planes);
    ck_assert_int_eq(learning_stage_chunk(&p, &message, planes), SP_OK);
    ck_assert_mem_eq(p.learner.theta, theta, sizeof theta); /* provisional until the COMMIT */
    ck_assert_int_eq(learning_commit(&p, &margin), SP_OK);
    for (unsigned j = 0; j < 20; j++)
        ck_assert_float_eq(p.learner.theta[j], theta[j] - 0.125f * (j < 5 ? expected[j] : 0.0f));
    sp_learner_dot(&p.learner, &push);
    ck_assert(push.has_dot);
    ck_assert_double_eq_tol(
        push.dot, (double)(p.gradient[4] - p.gradient[0]) + 0.5 * (double)(p.gradient[3] - p.gradient[1]), 1e-6);
}
END_TEST

/* A count above the votes, or a bit past the last coordinate: in any plane. */
START_TEST(test_margin_refused)
{
    static const struct {
        unsigned voters;
        uint32_t bytes;
        uint8_t planes[12];
    } rows[] = {
        {1, 3, {0, 0, 0x10}},
        {2, 6, {0x01, 0, 0, 0x01, 0, 0}},
        {2, 6, {0, 0, 0x08, 0, 0, 0x08}},
        {3, 6, {0, 0, 0, 0, 0, 0x80}},
        {4, 9, {0x01, 0, 0, 0, 0, 0, 0x01, 0, 0}},
        {6, 9, {0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0}},
        {0, 3, {0x01, 0, 0}},
    };
    float theta[20];

    open_two(&margin);
    memcpy(theta, p.learner.theta, sizeof theta);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct sp_message message = margin_update(rows[i].voters, rows[i].bytes);

        ck_assert_int_eq(learning_stage_chunk(&p, &message, rows[i].planes), SP_E_PROTOCOL);
        ck_assert_msg(strstr(p.error.text, "UPDATE of round 1 counts more than its") != NULL, "%s", p.error.text);
        ck_assert_mem_eq(p.learner.theta, theta, sizeof theta);
    }
}
END_TEST

/* The number of votes says how many planes there are: bytes of another number do not fit. */
START_TEST(test_margin_bytes)
{
    static const unsigned planes[] = {1, 1, 2, 2, 3, 3, 3, 3, 4};

    open_two(&margin);
    for (unsigned voters = 0; voters < UNIT_COUNT(planes); voters++)
        for (uint32_t bytes = 1; bytes <= 15; bytes++) {
            struct sp_message message = margin_update(voters, bytes);
            bool fits = bytes == 3 * planes[voters];

            unit_assert((sp_learner_place(&p.learner, &message, &p.error) != NULL) == fits, "%u votes in %u bytes",
                        voters, bytes);
            if (!fits)
                ck_assert_int_eq(p.error.code, SP_E_PROTOCOL);
        }
}
END_TEST

/* Each chunk has votes of its own: somebody abstains from the second one on, and nobody is left for the third. */
START_TEST(test_margin_votes_of_each_chunk)
{
    static const struct learning_tensor large[] = {{2 * SP_CHUNK_MARGIN, 0}, {9, 0}};
    static const unsigned voters[] = {255, 2, 0};
    struct learning_update update = {.values = NULL};
    static uint8_t bulk[SP_BULK_BYTES_MAX];
    float *theta;

    learning_open(&p, large, 2, NULL);
    learning_announce(&p, &margin);
    update.values = p.gradient;
    theta = unit_alloc((size_t)p.layout.coordinates * sizeof *theta);
    memcpy(theta, p.learner.theta, (size_t)p.layout.coordinates * sizeof *theta);
    for (uint64_t j = 0; j < p.layout.coordinates; j++)
        p.gradient[j] = j % 2 == 0 ? 1.0f : -1.0f;
    for (uint32_t k = 0; k < 3; k++) {
        struct sp_message message;

        update.voters = voters[k];
        learning_make_chunk(&p, &update, k, &message, bulk);
        ck_assert_uint_eq(message.frame.bulk_bytes, k == 0 ? SP_BULK_BYTES_MAX : k == 1 ? 2 * 8192 : 2);
        ck_assert_int_eq(learning_stage_chunk(&p, &message, bulk), SP_OK);
    }
    ck_assert_int_eq(learning_commit(&p, &margin), SP_OK);
    for (uint64_t j = 0; j < p.layout.coordinates; j++) {
        float step = j >= 2 * SP_CHUNK_MARGIN ? 0.0f : 0.125f * p.gradient[j];

        unit_assert(p.learner.theta[j] == theta[j] - step, "coordinate %llu", (unsigned long long)j);
    }
    free(theta);
}
END_TEST

/* --- values ---------------------------------------------------------------------------------------------------------
 */

static void expect_pushed(const float *expected, float *residual, enum sp_wire wire)
{
    uint8_t bytes[200];
    size_t count = sp_values_bytes(wire, &p.layout, 0, 20);

    sp_values_encode(wire, &p.layout, 0, 20, expected, residual, bytes);
    ck_assert_uint_eq(p.pushes, 1);
    ck_assert_uint_eq(p.push[0].bytes, count);
    ck_assert_mem_eq(p.push[0].bulk, bytes, count);
}

/* Numbers that are there to the bit on every wire, up and down. */
START_TEST(test_values_by_hand)
{
    struct learning_update update = {.values = NULL};
    float pushed[20], theta[20];

    learning_open(&p, two, 2,
                  &(struct sp_learner_setup){.seed = LEARNING_SEED, .beta1 = LEARNING_BETA1, .momentum_after = false});
    learning_announce(&p, &values[_i]);
    for (int j = 0; j < 20; j++)
        p.gradient[j] = j == 0 || j == 13 ? 127.0f : (float)(j - 9);
    learning_give(&p);
    learning_pull_all(&p);
    ck_assert_uint_eq(p.push[0].bytes, ((size_t[]){80, 40, 28})[_i]);
    sp_values_decode((enum sp_wire)_i, &p.layout, 0, 20, p.push[0].bulk, pushed);
    ck_assert_mem_eq(pushed, p.gradient, sizeof pushed);
    memcpy(theta, p.learner.theta, sizeof theta);
    update.values = p.gradient;
    learning_stage(&p, &update);
    ck_assert_int_eq(learning_commit(&p, &values[_i]), SP_OK);
    for (int j = 0; j < 20; j++)
        ck_assert_float_eq(p.learner.theta[j], theta[j] - 0.125f * p.gradient[j]);
}
END_TEST

/* Where memory for values is taken: not before a COMMIT says that they are needed. */
START_TEST(test_memory_of_the_phases)
{
    static const struct learning_next sign = {SP_PHASE_SIGN, SP_WIRE_F32, 0.0f, false};

    open_two(&sign);
    learning_round(&p, 1, &sign);
    ck_assert_ptr_null(p.learner.values);
    learning_round(&p, 2, &margin);
    ck_assert_ptr_nonnull(p.learner.values);
    learning_round(&p, 3, &values[SP_WIRE_BF16]);
    ck_assert_ptr_null(p.learner.residual);
    learning_round(&p, 4, &values[SP_WIRE_I8]);
    ck_assert_ptr_nonnull(p.learner.residual);
    learning_round(&p, 5, &values[SP_WIRE_I8]);
}
END_TEST

/* An update must have the bytes of its round's wire. */
START_TEST(test_bytes_of_another_wire)
{
    open_two(&values[_i]);
    for (int wire = SP_WIRE_F32; wire <= SP_WIRE_I8; wire++) {
        struct sp_message message = margin_update(0, (uint32_t)sp_values_bytes((enum sp_wire)wire, &p.layout, 0, 20));
        void *place = sp_learner_place(&p.learner, &message, &p.error);

        unit_assert((place != NULL) == (wire == _i), "wire %d in a round of wire %d", wire, _i);
        if (place == NULL)
            ck_assert_msg(strstr(p.error.text, "does not fit") != NULL, "%s", p.error.text);
    }
}
END_TEST

/* What int8 leaves out in one round goes out in the next: the sum of all that was pushed stays within a step of the sum
 * of all gradients, though half of the coordinates are too small for a single one. */
START_TEST(test_error_feedback)
{
    double pushed_sum[20] = {0}, worst = 0.0;

    learning_open(&p, two, 2,
                  &(struct sp_learner_setup){.seed = LEARNING_SEED, .beta1 = LEARNING_BETA1, .momentum_after = false});
    learning_announce(&p, &values[SP_WIRE_I8]);
    for (int j = 0; j < 20; j++)
        p.gradient[j] = j % 13 == 0 ? 127.0f : j % 2 == 0 ? 0.3f : 0.017f * (float)j;
    for (int t = 1; t <= 100; t++) {
        const struct learning_update update = {.values = p.gradient};
        float pushed[20];

        learning_give(&p);
        learning_pull_all(&p);
        sp_values_decode(SP_WIRE_I8, &p.layout, 0, 20, p.push[0].bulk, pushed);
        for (int j = 0; j < 20; j++) {
            pushed_sum[j] += (double)pushed[j];
            worst = fmax(worst, fabs(pushed_sum[j] - t * (double)p.gradient[j]));
        }
        learning_stage(&p, &update);
        ck_assert_int_eq(learning_commit(&p, &values[SP_WIRE_I8]), SP_OK);
    }
    ck_assert_double_lt(worst, 0.51); /* half a step, 127/127, and rounding */
    ck_assert_double_gt(worst, 0.01);
}
END_TEST

/* What is left out belongs to these weights: with others it is dropped, and m stays. */
START_TEST(test_residual_is_dropped_with_the_weights)
{
    float residual[20] = {0};

    open_two(&values[SP_WIRE_I8]);
    for (uint32_t t = 1; t <= 3; t++) {
        learning_round(&p, t, &values[SP_WIRE_I8]);
        expect_pushed(p.learner.m, residual, SP_WIRE_I8);
    }
    ck_assert_mem_eq(p.learner.residual, residual, sizeof residual);
    learning_fill(&p, 4);
    learning_give(&p);
    learning_pull_all(&p);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 9), SP_MOMENTUM_KEPT);
    memset(residual, 0, sizeof residual);
    ck_assert_mem_eq(p.learner.residual, residual, sizeof residual);
    learning_announce(&p, &values[SP_WIRE_I8]);
    learning_give(&p);
    learning_pull_all(&p);
    expect_pushed(p.learner.m, residual, SP_WIRE_I8); /* not corrected either: m is not new */
}
END_TEST

/* A worker that began in the middle pushes m/(1-beta1^n), on every wire; m itself is left alone. */
START_TEST(test_late_correction)
{
    float residual[20] = {0};

    learning_open(&p, two, 2, NULL);
    sp_learner_replaced(&p.learner, 40);
    learning_announce(&p, &values[_i]);
    for (uint32_t n = 1; n <= 4; n++) {
        const struct learning_update update = {.values = p.gradient};
        float factor = (float)(1.0 / (1.0 - pow(LEARNING_BETA1, n))), corrected[20], m[20];

        learning_fill(&p, n);
        learning_give(&p);
        memcpy(m, p.learner.m, sizeof m);
        for (int j = 0; j < 20; j++)
            corrected[j] = m[j] * factor;
        learning_pull_all(&p);
        expect_pushed(corrected, residual, (enum sp_wire)_i);
        ck_assert_mem_eq(p.learner.m, m, sizeof m);
        learning_stage(&p, &update);
        ck_assert_int_eq(learning_commit(&p, &values[_i]), SP_OK);
    }
}
END_TEST

/* Where the gradient itself is pushed there is nothing to correct. */
START_TEST(test_no_correction_without_momentum)
{
    learning_open(&p, two, 2,
                  &(struct sp_learner_setup){.seed = LEARNING_SEED, .beta1 = LEARNING_BETA1, .momentum_after = false});
    sp_learner_replaced(&p.learner, 40);
    learning_announce(&p, &values[SP_WIRE_BF16]);
    learning_give(&p);
    learning_pull_all(&p);
    expect_pushed(p.gradient, NULL, SP_WIRE_BF16);
}
END_TEST

/* A chunk is pushed when its coordinates are there, and then only: what int8 leaves out of the second one is as it was
 * when a gradient that is not finite comes there. */
START_TEST(test_abstention_between_chunks)
{
    static const struct learning_tensor large[] = {{2 * SP_CHUNK_SHORT, 0}};
    const uint64_t size = SP_CHUNK_SHORT;
    float *residual, *m;

    learning_open(&p, large, 1, NULL);
    learning_announce(&p, &values[SP_WIRE_I8]);
    learning_round(&p, 1, &values[SP_WIRE_I8]);
    residual = unit_alloc(2 * size * sizeof *residual);
    m = unit_alloc(2 * size * sizeof *m);
    memcpy(residual, p.learner.residual, 2 * size * sizeof *residual);
    memcpy(m, p.learner.m, 2 * size * sizeof *m);
    sp_learner_begin(&p.learner);
    p.gradient[size + 5] = NAN;
    learning_give_range(&p, size, 2 * size);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(p.pushes, 0);
    learning_give_range(&p, 0, size);
    ck_assert(p.learner.abstained);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(p.pushes, 1);
    ck_assert_uint_eq(p.learner.packed, size); /* from where on the worker abstains */
    ck_assert_mem_ne(p.learner.residual, residual, size * sizeof *residual);
    ck_assert_mem_eq(p.learner.residual + size, residual + size, size * sizeof *residual);
    ck_assert_mem_eq(p.learner.m + size, m + size, size * sizeof *m);
    free(residual);
    free(m);
}
END_TEST

/* The server collects a round anew: the first chunk begins again, coded or not. */
START_TEST(test_update_begins_again)
{
    struct learning_update update = {.values = NULL, .voters = 1};
    float theta[20];

    open_two(_i == 3 ? &margin : &values[_i]);
    memcpy(theta, p.learner.theta, sizeof theta);
    for (int j = 0; j < 20; j++)
        p.gradient[j] = -1.0f;
    update.values = p.gradient;
    learning_stage(&p, &update);
    for (int j = 0; j < 20; j++)
        p.gradient[j] = 1.0f;
    learning_stage(&p, &update);
    ck_assert_int_eq(learning_commit(&p, &margin), SP_OK);
    for (int j = 0; j < 20; j++)
        ck_assert_float_eq(p.learner.theta[j], theta[j] - 0.125f);
}
END_TEST

/* --- tracking -------------------------------------------------------------------------------------------------------
 */

/* <sign(mean), g>: where the mean is 0 the coordinate has no say, whatever its gradient. Without tracking there is
 * neither dot nor sketch. */
START_TEST(test_tracking)
{
    bool tracking = _i < 3;
    const struct sp_learner_setup setup = {.seed = LEARNING_SEED,
                                           .slot = LEARNING_SLOT,
                                           .beta1 = LEARNING_BETA1,
                                           .momentum_after = true,
                                           .tracking = tracking};
    const struct learning_next *next = &values[_i % 3];
    float mean[20] = {[0] = 2.0f, [2] = -0.0f, [3] = -127.0f, [19] = 1.0f};
    const struct learning_update update = {.values = mean};
    struct sp_push push;

    learning_open(&p, two, 2, &setup);
    learning_announce(&p, next);
    learning_give(&p);
    learning_pull_all(&p);
    ck_assert_int_eq(learning_scalars(&p).has_sketch, tracking);
    learning_stage(&p, &update);
    ck_assert_int_eq(learning_commit(&p, next), SP_OK);
    memset(&push, 0, sizeof push);
    sp_learner_dot(&p.learner, &push);
    ck_assert_int_eq(push.has_dot, tracking);
    if (tracking)
        ck_assert_double_eq(push.dot, (double)p.gradient[0] - (double)p.gradient[3] + (double)p.gradient[19]);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("learner_values");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, test_margin_by_hand);
    tcase_add_test(tests, test_margin_refused);
    tcase_add_test(tests, test_margin_bytes);
    tcase_add_test(tests, test_margin_votes_of_each_chunk);
    tcase_add_loop_test(tests, test_values_by_hand, SP_WIRE_F32, SP_WIRE_I8 + 1);
    tcase_add_test(tests, test_memory_of_the_phases);
    tcase_add_loop_test(tests, test_bytes_of_another_wire, SP_WIRE_F32, SP_WIRE_I8 + 1);
    tcase_add_test(tests, test_error_feedback);
    tcase_add_test(tests, test_residual_is_dropped_with_the_weights);
    tcase_add_loop_test(tests, test_late_correction, SP_WIRE_F32, SP_WIRE_I8 + 1);
    tcase_add_test(tests, test_no_correction_without_momentum);
    tcase_add_test(tests, test_abstention_between_chunks);
    tcase_add_loop_test(tests, test_update_begins_again, 0, 4);
    tcase_add_loop_test(tests, test_tracking, 0, 6);
    return unit_run(suite_create("learner_values"), tests);
}
