/* Servers that die and come back: what they come back with is the oracle's, to the bit, whatever the form of the job.
 */
#include "sim.h"

static const char *const forms[][5] = {
    {"optimizer.switch.step=40", "optimizer.sgd.wire=i8", "optimizer.dither.sigma0=0.5", "train.evaluate=0.3",
     "server.checkpoint.keep=3"},
    {"optimizer.switch.step=40", "optimizer.sgd.wire=f32", "optimizer.sgd.rate=tracking", "optimizer.sgd.clip=0.3",
     "tensors=[{match: t2, update: full}]"},
    {"optimizer.switch.step=40", "optimizer.sgd.wire=bf16", "optimizer.sgd.lambda=paper", "optimizer.beta2=0.9",
     "server.close.quorum=3"},
    {"optimizer.switch.step=20", "optimizer.switch.to=margin", "optimizer.margin.until=0.6", "optimizer.margin.lr=0.1",
     "train.evaluate=0.5"},
    {"optimizer.switch.when=never", "optimizer.mode=adam", "optimizer.adam.lr=0.05", "optimizer.sgd.wire=i8",
     "optimizer.sgd.aggregate=median"},
    {"optimizer.switch.when=never", "optimizer.mode=sgd", "optimizer.sgd.lr=0.3", "optimizer.sgd.wire=f32",
     "optimizer.weight_decay=0.01"},
    {"optimizer.switch.when=auto", "optimizer.sgd.lambda=denoised", "optimizer.sgd.schedule=cosine",
     "server.min_live=2", "optimizer.sgd.momentum=none"}};

#define FORMS (sizeof forms / sizeof forms[0])

START_TEST(test_restarts)
{
    static const uint64_t buffers[] = {12, 1, 0};
    const char *const settings[] = {"workers=5",
                                    "train.rounds=120",
                                    "optimizer.sign.lr=0.05",
                                    "optimizer.switch.when=at",
                                    forms[_i][0],
                                    forms[_i][1],
                                    forms[_i][2],
                                    forms[_i][3],
                                    forms[_i][4],
                                    "server.start_timeout=1",
                                    "server.rejoin_timeout=0.5",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .buffers = _i % 2 == 1 ? buffers : NULL,
                                      .decay = 1,
                                      .full = _i == 1 ? 4 : 0,
                                      .examples = 1600,
                                      .test_examples = 100,
                                      .seed = (uint64_t)_i,
                                      .processes = 6,
                                      .faults = {.breaks = 100, .dies = 50, .nan = 50, .crashes = 800}};
    struct cluster_result result;

    sim_run_three_times(&options, &result);
    ck_assert_uint_eq(result.rounds, 120);
    ck_assert_uint_gt(result.crashes, 3);
    ck_assert_uint_gt(result.checkpoints, 2);
    ck_assert_double_lt(sim_left(&result), 0.2);
}
END_TEST

/* Rounds of many chunks, broken off in the middle. */
START_TEST(test_restarts_within_rounds)
{
    static const uint64_t large[] = {300000, 240000, 7, 0};
    const char *const settings[] = {"workers=3",
                                    "train.rounds=20",
                                    "optimizer.sign.lr=0.2",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.step=8",
                                    _i == 0 ? "optimizer.sgd.wire=f32" : "optimizer.sgd.wire=i8",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = large,
                                      .decay = 1,
                                      .examples = 640,
                                      .seed = 5 + (uint64_t)_i,
                                      .processes = 3,
                                      .faults = {.breaks = 300, .crashes = 5000}};
    struct cluster_result result;
    uint64_t within = 0;

    for (unsigned i = 0; i < 5; i++, options.seed += 2) {
        cluster_run(&options, &result);
        ck_assert_uint_eq(result.rounds, 20);
        within += result.crashes_in_round;
    }
    ck_assert_uint_gt(within, 1);
}
END_TEST

TCase *sim_restarts(void)
{
    TCase *cases = tcase_create("restarts");

    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, test_restarts, 0, (int)FORMS);
    tcase_add_loop_test(cases, test_restarts_within_rounds, 0, 2);
    return cases;
}
