/* Workers that push the opposite of their gradients, among others that come and go: they are excluded, whatever the
 * form of the job, and nothing that they push from then on is counted, waited for, or asked of them. */
#include "sim.h"

static const char *const forms[][3] = {
    {"optimizer.switch.when=never", "optimizer.dither.sigma0=0.5", "train.evaluate=0.5"},
    {"optimizer.switch.step=60", "optimizer.sgd.wire=i8", "tensors=[{match: t2, update: full}]"},
    {"optimizer.switch.step=30", "optimizer.switch.to=margin", "optimizer.margin.lr=0.1"},
    {"optimizer.switch.when=never", "optimizer.mode=adam", "optimizer.adam.lr=0.05"},
    {"optimizer.switch.step=200", "optimizer.sgd.aggregate=median", "server.close.quorum=4"}};

#define FORMS (sizeof forms / sizeof forms[0])

/* Spares take the places of those who died; a liar that dies comes back as another one, and is excluded again. */
START_TEST(test_liars_are_excluded)
{
    static const uint64_t buffers[] = {12, 1, 0};
    const char *const settings[] = {"workers=7",
                                    "train.rounds=240",
                                    "optimizer.beta1=0.5",
                                    "optimizer.sign.lr=0.05",
                                    "optimizer.switch.when=at",
                                    "server.quarantine=exclude",
                                    "server.start_timeout=1",
                                    forms[_i][0],
                                    forms[_i][1],
                                    forms[_i][2],
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .buffers = _i % 2 == 1 ? buffers : NULL,
                                      .decay = 1,
                                      .full = _i == 1 ? 4 : 0,
                                      .examples = 1600,
                                      .test_examples = 100,
                                      .seed = (uint64_t)_i,
                                      .liars = 3,
                                      .processes = 8,
                                      .alike = true,
                                      .faults = {.breaks = 60, .dies = 10, .nan = 30, .stray = 4, .slow = 10}};
    struct cluster_result result;

    sim_run_twice(&options, &result);
    ck_assert_uint_eq(result.rounds, 240);
    ck_assert_uint_ge(result.excluded, 3);
    ck_assert_uint_eq(result.denounced, 0);
    ck_assert_double_lt(sim_left(&result), 0.2);
}
END_TEST

TCase *sim_quarantine(void)
{
    TCase *cases = tcase_create("quarantine");

    tcase_add_loop_test(cases, test_liars_are_excluded, 0, (int)FORMS);
    return cases;
}
