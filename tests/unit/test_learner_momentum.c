/* What becomes of the momentum when the weights are replaced: kept for weights of the same run that are near enough,
 * else it begins at zero; and momentum that a worker before this one left. */
#include "learning.h"

#include <math.h>

#define D 20

static struct learning p;
static const float zero[D];
static const struct learning_next dithered = {SP_PHASE_SIGN, SP_WIRE_F32, 0.5f, false};

static void setup(void)
{
    static const struct learning_tensor tensors[] = {{13, 0}, {7, 0}};

    learning_open(&p, tensors, 2, NULL);
    learning_announce(&p, &dithered);
}

static void teardown(void)
{
    learning_close(&p);
}

static void welcome(uint64_t run)
{
    struct sp_learner_setup with = p.setup;

    with.run = run;
    learning_set_up(&p, &with);
}

/* Momentum of round 30 of run `before`, and weights after `round` of run `now`. */
static const struct {
    uint64_t before, now;
    uint32_t round;
    enum sp_momentum_fate fate;
} replacements[] = {
    {7, 7, 30, SP_MOMENTUM_KEPT},        {7, 7, 29, SP_MOMENTUM_KEPT},
    {7, 7, 40, SP_MOMENTUM_KEPT},        {7, 7, 41, SP_MOMENTUM_OLD},
    {7, 7, 20, SP_MOMENTUM_KEPT}, /* the server was started again, some rounds back */
    {7, 7, 19, SP_MOMENTUM_OLD},         {7, 7, 1, SP_MOMENTUM_OLD},
    {7, 7, UINT32_MAX, SP_MOMENTUM_OLD}, {7, 8, 30, SP_MOMENTUM_FOREIGN},
    {7, 8, 41, SP_MOMENTUM_FOREIGN},     {0, 8, 30, SP_MOMENTUM_KEPT}, /* a run that is not known */
    {7, 0, 30, SP_MOMENTUM_KEPT},        {7, 0, 41, SP_MOMENTUM_OLD},
    {7, 7, 0, SP_MOMENTUM_OLD}, /* the job begins */
    {7, 8, 0, SP_MOMENTUM_FOREIGN},      {0, 0, 0, SP_MOMENTUM_OLD},
};

START_TEST(test_replaced)
{
    bool kept = replacements[_i].fate == SP_MOMENTUM_KEPT;
    float m[D];
    double rms;

    welcome(replacements[_i].before);
    p.learner.round = 27;
    for (uint32_t t = 28; t <= 30; t++)
        learning_round(&p, t, &dithered);
    memcpy(m, p.learner.m, sizeof m);
    rms = p.learner.rms;
    ck_assert_double_gt(rms, 0.0);
    welcome(replacements[_i].now);
    ck_assert_mem_eq(p.learner.m, m, sizeof m); /* until the weights are there */
    ck_assert_int_eq(sp_learner_replaced(&p.learner, replacements[_i].round), replacements[_i].fate);
    ck_assert_mem_eq(p.learner.m, kept ? m : zero, sizeof m);
    ck_assert_double_eq(p.learner.rms, kept ? rms : 0.0);
    ck_assert_uint_eq(p.learner.own_rounds, kept ? 3 : 0);
    ck_assert_int_eq(p.learner.late, !kept && replacements[_i].round > 0);
}
END_TEST

START_TEST(test_it_is_of_the_run_of_its_last_gradient)
{
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 5), SP_MOMENTUM_ABSENT);
    welcome(7);
    learning_round(&p, 6, &dithered);
    welcome(8);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 6), SP_MOMENTUM_FOREIGN);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 6), SP_MOMENTUM_ABSENT);
    learning_round(&p, 7, &dithered);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 7), SP_MOMENTUM_KEPT);
    welcome(7);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 7), SP_MOMENTUM_FOREIGN);
}
END_TEST

/* Rounds that it abstained from make the momentum older. */
START_TEST(test_age_counts_from_the_last_gradient)
{
    const struct learning_update update = {.values = p.gradient};

    learning_round(&p, 1, &dithered);
    for (uint32_t t = 2; t <= 12; t++) {
        learning_fill(&p, t);
        p.gradient[0] = NAN;
        sp_learner_begin(&p.learner);
        learning_give_range(&p, 0, D);
        ck_assert(p.learner.abstained);
        learning_fill(&p, t);
        learning_stage(&p, &update);
        ck_assert_int_eq(learning_commit(&p, &dithered), SP_OK);
        if (t == 11) {
            ck_assert_int_eq(sp_learner_replaced(&p.learner, t), SP_MOMENTUM_KEPT);
            learning_announce(&p, &dithered);
        }
    }
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 12), SP_MOMENTUM_OLD);
}
END_TEST

static void push_round(uint32_t t)
{
    learning_fill(&p, t);
    learning_give(&p);
    learning_pull_all(&p);
}

/* With what another worker left this one pushes, to the bit, what that one would have pushed. */
START_TEST(test_resumed)
{
    const struct learning_next values = {SP_PHASE_SGD, SP_WIRE_F32, 0.0f, false};
    const struct learning_next *next = _i == 0 ? &dithered : &values;
    uint8_t *before, *after;
    size_t before_bytes, after_bytes;
    double rms;
    float m[D];

    (void)sp_learner_replaced(&p.learner, 40); /* a late one, so that its rounds count in what it pushes */
    learning_announce(&p, &dithered);
    learning_round(&p, 41, &dithered);
    learning_round(&p, 42, next);
    memcpy(m, p.learner.m, sizeof m);
    rms = p.learner.rms;
    push_round(43);
    before = learning_pushed(&p, 0, &before_bytes);
    teardown();
    setup();
    memcpy(p.learner.m, m, sizeof m);
    sp_learner_resume(&p.learner, 0, 42, 2, true);
    ck_assert_double_eq(p.learner.rms, rms);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 42), SP_MOMENTUM_KEPT);
    ck_assert(p.learner.late);
    learning_announce(&p, next);
    push_round(43);
    after = learning_pushed(&p, 0, &after_bytes);
    ck_assert_uint_eq(after_bytes, before_bytes);
    ck_assert_mem_eq(after, before, before_bytes);
    free(before);
    free(after);
}
END_TEST

START_TEST(test_resumed_but_too_old)
{
    p.learner.m[3] = 1.0f;
    sp_learner_resume(&p.learner, 0, 42, 2, false);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 53), SP_MOMENTUM_OLD);
    ck_assert_mem_eq(p.learner.m, zero, sizeof zero);
    ck_assert(p.learner.late && p.learner.own_rounds == 0 && p.learner.rms == 0.0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("learner_momentum");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_replaced, 0, UNIT_COUNT(replacements));
    tcase_add_test(tests, test_it_is_of_the_run_of_its_last_gradient);
    tcase_add_test(tests, test_age_counts_from_the_last_gradient);
    tcase_add_loop_test(tests, test_resumed, 0, 2);
    tcase_add_test(tests, test_resumed_but_too_old);
    return unit_run(suite_create("learner_momentum"), tests);
}
