/* The reference runs of tests/golden through the real stages: gradient, learner, vote or mean, learner. */
#include "golden.h"

#include "common/pack.h"
#include "server/aggregate.h"
#include "server/vote.h"
#include "tests/unit/unit.h"
#include "worker/client/learner.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GAMMA 0.05f

static struct golden golden;
static struct sp_learner learners[GOLDEN_WORKERS_MAX];

/* A and C of tests/golden/README.md; both are exact in float32. */
static float curvature(unsigned i, unsigned j)
{
    return j == GOLDEN_D - 1 ? 0.0f : 0.25f * (float)(1 + (3 * i + 2 * j) % 5);
}

static float centre(unsigned i, unsigned j)
{
    return 0.125f * ((float)((7 * i + 5 * j) % 9) - 4.0f);
}

/* Differences and their squares in float32, the rest in double, as in the recorded runs. */
static double loss_of(const float *theta)
{
    double sum = 0.0;

    for (unsigned i = 0; i < golden.workers; i++) {
        for (unsigned j = 0; j < GOLDEN_D; j++) {
            float off = theta[j] - centre(i, j), square = off * off;

            sum += 0.5 * (double)curvature(i, j) * (double)square;
        }
    }
    return sum / golden.workers;
}

static void open_learners(void)
{
    struct sp_layout layout = {0};
    const struct sp_tensor tensor = {.name = "w", .dims = 1, .shape = {GOLDEN_D}};

    ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
    for (unsigned i = 0; i < golden.workers; i++) {
        const struct sp_learner_setup setup = {.seed = 1, .slot = i, .beta1 = 0.9, .momentum_after = true};

        ck_assert_int_eq(sp_learner_create(&learners[i], &layout), SP_OK);
        ck_assert_int_eq(sp_learner_set_up(&learners[i], &setup), SP_OK);
        for (unsigned j = 0; j < GOLDEN_D; j++)
            learners[i].theta[j] = 0.5f * ((float)(3 * j % 7) - 3.0f);
        sp_learner_replaced(&learners[i], 0);
    }
    sp_layout_finish(&layout);
}

/* Gradient and push of one worker. The gradient stays in `gradient` until the commit. */
static void push(unsigned i, float *gradient, uint8_t *bulk, struct sp_push *scalars)
{
    struct sp_learner *learner = &learners[i];

    for (unsigned j = 0; j < GOLDEN_D; j++)
        gradient[j] = curvature(i, j) * (learner->theta[j] - centre(i, j));
    sp_learner_begin(learner);
    ck_assert_int_eq(sp_learner_gradient(learner, 0, GOLDEN_D, gradient), SP_OK);
    sp_learner_dot(learner, scalars);
    (void)sp_learner_pack(learner, bulk);
    sp_learner_scalars(learner, 0.0, 1, scalars);
}

static void update(uint32_t round, const void *bulk, size_t bytes, const struct sp_commit *commit)
{
    struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .round = round, .count = GOLDEN_D, .flags = SP_FRAME_LAST}};
    struct sp_error error = {0};

    message.frame.bulk_bytes = (uint32_t)bytes;
    for (unsigned i = 0; i < golden.workers; i++) {
        void *to = sp_learner_place(&learners[i], &message, &error);

        ck_assert_msg(to != NULL, "%s", error.text);
        memcpy(to, bulk, bytes);
        ck_assert_msg(sp_learner_staged(&learners[i], &message, &error) == SP_OK, "%s", error.text);
        ck_assert_msg(sp_learner_commit(&learners[i], round, commit, &error) == SP_OK, "%s", error.text);
    }
}

static void expect_bits(const char *expected, const uint8_t *bits)
{
    for (unsigned j = 0; j < GOLDEN_D; j++)
        ck_assert_int_eq((bits[j / 8] >> (j % 8)) & 1, expected[j] == '1');
    ck_assert(sp_bits_tail_clear(bits, GOLDEN_D));
}

static void expect_theta(const struct golden_round *round)
{
    for (unsigned i = 0; i < golden.workers; i++) {
        if (round->sign)
            ck_assert_mem_eq(learners[i].theta, round->theta, sizeof round->theta);
        else
            ck_assert_mem_eq(learners[i].theta, learners[0].theta, sizeof round->theta);
    }
    for (unsigned j = 0; j < GOLDEN_D; j++)
        ck_assert_double_le(fabs((double)learners[0].theta[j] - (double)round->theta[j]),
                            1e-6 * fabs((double)round->theta[j]));
}

/* Dots that came with this round's pushes are of the round before. */
static void expect_scalars(uint32_t t, const struct sp_push scalars[])
{
    double norm2 = 0.0, dot = 0.0;

    for (unsigned i = 0; i < golden.workers; i++) {
        ck_assert_int_eq(scalars[i].has_dot, t > 1);
        norm2 += scalars[i].gradient_norm2;
        dot += scalars[i].dot;
    }
    if (golden.round[t - 1].sign)
        ck_assert_double_eq_tol(norm2 / golden.workers, golden.round[t - 1].mg2, 1e-12 * golden.round[t - 1].mg2);
    if (t > 1 && golden.round[t - 2].sign)
        ck_assert_double_eq_tol(dot / golden.workers, golden.round[t - 2].sg, 1e-12 * golden.round[t - 2].sg);
}

static void sign_round(uint32_t t)
{
    const struct golden_round *round = &golden.round[t - 1];
    struct sp_commit commit = {.rate = GAMMA, .decay = 1.0f, .next_phase = SP_PHASE_SIGN};
    float gradients[GOLDEN_WORKERS_MAX][GOLDEN_D];
    uint8_t bits[GOLDEN_WORKERS_MAX][SP_BULK_BYTES_MAX / 1024], result[8] = {0};
    const uint8_t *votes[GOLDEN_WORKERS_MAX];
    struct sp_push scalars[GOLDEN_WORKERS_MAX] = {0};
    struct sp_vote_counts counts = {0};
    uint64_t disagree[GOLDEN_WORKERS_MAX] = {0};

    for (unsigned i = 0; i < golden.workers; i++) {
        push(i, gradients[i], bits[i], &scalars[i]);
        expect_bits(round->bits[i], bits[i]);
        votes[i] = bits[i];
    }
    expect_scalars(t, scalars);
    sp_vote(votes, golden.workers, 0, GOLDEN_D, t, NULL, result, NULL, &counts, disagree);
    expect_bits(round->s, result);
    if (t == GOLDEN_SWITCH)
        commit.next_phase = SP_PHASE_SGD;
    update(t, result, sp_bits_bytes(GOLDEN_D), &commit);
}

static void sgd_round(uint32_t t)
{
    struct sp_commit commit = {.decay = 1.0f, .next_phase = SP_PHASE_SGD};
    float gradients[GOLDEN_WORKERS_MAX][GOLDEN_D], values[GOLDEN_WORKERS_MAX][GOLDEN_D], mean[GOLDEN_D];
    struct sp_push scalars[GOLDEN_WORKERS_MAX] = {0};
    const float *votes[GOLDEN_WORKERS_MAX];

    for (unsigned i = 0; i < golden.workers; i++) {
        push(i, gradients[i], (uint8_t *)values[i], &scalars[i]);
        votes[i] = values[i];
    }
    if (t == GOLDEN_SWITCH + 1)
        expect_scalars(t, scalars);
    sp_mean(votes, golden.workers, GOLDEN_D, mean);
    commit.rate = (float)golden.round[GOLDEN_SWITCH - 1].switch_lambda;
    update(t, mean, sizeof mean, &commit);
}

START_TEST(test_golden)
{
    golden_load(golden_names[_i], &golden);
    open_learners();
    for (uint32_t t = 1; t <= GOLDEN_ROUNDS; t++) {
        const struct golden_round *round = &golden.round[t - 1];
        double loss = loss_of(learners[0].theta);

        ck_assert_double_eq_tol(loss, round->loss, (round->sign ? 1e-12 : 1e-6) * round->loss);
        if (round->sign)
            sign_round(t);
        else
            sgd_round(t);
        expect_theta(round);
    }
    for (unsigned i = 0; i < golden.workers; i++)
        sp_learner_finish(&learners[i]);
}
END_TEST

int main(void)
{
    Suite *all = suite_create("golden");
    TCase *cases = tcase_create("golden");

    tcase_add_loop_test(cases, test_golden, 0, golden_count);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
