/* Whole jobs with faults, and few without: see cluster.h for what is checked after every event. */
#include "sim.h"

#include <stdio.h>

/* --- without faults ------------------------------------------------------------------------------------------------
 */

/* Same job, same membership in every round: the same weights, however long frames take. */
START_TEST(test_delays_change_nothing)
{
    const char *const settings[] = {"workers=6",
                                    "seed=3",
                                    "train.rounds=160",
                                    "optimizer.sign.lr=0.05",
                                    "optimizer.dither.sigma0=0.5",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.fraction=0.5",
                                    "optimizer.weight_decay=0.001",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .decay = 1,
                                      .examples = 960,
                                      .test_examples = 30,
                                      .seed = 1,
                                      .processes = 6,
                                      .alike = false,
                                      .faults = sim_quiet};
    struct cluster_result result, other;

    cluster_run(&options, &result);
    sim_show("quiet", &result);
    ck_assert_uint_eq(result.rounds, 160);
    ck_assert_uint_eq(result.switch_round, 80);
    ck_assert_uint_eq(result.voters_min, 6);
    ck_assert_uint_eq(result.joins, 6);
    ck_assert_uint_eq(result.late + result.resyncs + result.breaks, 0);
    ck_assert(result.evaluated && !result.partial);
    ck_assert_double_lt(sim_left(&result), 0.02);
    options.seed = 2;
    cluster_run(&options, &other);
    ck_assert_uint_eq(result.digest, other.digest);
    ck_assert_uint_ne(result.trace, other.trace);
}
END_TEST

/* Equal workers give what one of them gives alone: a vote of equals is the sign, a mean of equals the value. */
START_TEST(test_equal_workers)
{
    static const char *const numbers[] = {"workers=1", "workers=3", "workers=4"};
    const char *settings[] = {NULL,
                              "train.rounds=80",
                              "optimizer.sign.lr=0.05",
                              "optimizer.dither.sigma0=0",
                              "optimizer.switch.when=at",
                              "optimizer.switch.step=40",
                              "optimizer.sgd.lr=0.3",
                              NULL};
    uint64_t digests[3];

    for (unsigned i = 0; i < 3; i++) {
        struct cluster_options options = {.settings = settings,
                                          .tensors = sim_small,
                                          .decay = 1,
                                          .examples = 480,
                                          .test_examples = 0,
                                          .seed = i,
                                          .processes = i == 0 ? 1 : i + 2,
                                          .alike = true,
                                          .faults = sim_quiet};
        struct cluster_result result;

        settings[0] = numbers[i];
        if (_i == 1) /* sign updates to the end */
            settings[4] = "optimizer.switch.when=never", settings[5] = settings[6] = "seed=1";
        cluster_run(&options, &result);
        sim_show("equal", &result);
        ck_assert_uint_eq(result.switch_round, _i == 1 ? 0 : 40);
        ck_assert_double_lt(sim_left(&result), 0.02);
        digests[i] = result.digest;
    }
    ck_assert_uint_eq(digests[0], digests[1]);
    ck_assert_uint_eq(digests[0], digests[2]);
}
END_TEST

/* --- with faults ---------------------------------------------------------------------------------------------------
 */

/* A hundred workers, through sign rounds, the switch by itself, and SGD rounds. */
START_TEST(test_storm)
{
    const char *const settings[] = {"workers=100",
                                    "train.rounds=160",
                                    "optimizer.sign.lr=0.04",
                                    "optimizer.sign.schedule=linear",
                                    "optimizer.dither.sigma0=0.5",
                                    "optimizer.switch.when=auto",
                                    "server.start_timeout=1",
                                    _i == 0 ? "server.close=all" : "server.close.quorum=80",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .decay = 1,
                                      .examples = 16000,
                                      .test_examples = 1000,
                                      .seed = 11,
                                      .processes = 104,
                                      .alike = false,
                                      .faults = sim_storm};
    struct cluster_result result;

    sim_run_three_times(&options, &result);
    ck_assert_uint_eq(result.rounds, 160);
    ck_assert_uint_gt(result.switch_round, 0);
    ck_assert_uint_gt(result.breaks, 100);
    ck_assert_uint_gt(result.breaks_in_update, 0);
    ck_assert_uint_gt(result.deaths, 30);
    ck_assert_uint_gt(result.takeovers, 0);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert_uint_gt(result.abstained, 30);
    ck_assert_uint_gt(result.late, 0);
    ck_assert_double_lt(sim_left(&result), 0.02);
}
END_TEST

START_TEST(test_storm_of_signs)
{
    const char *const settings[] = {"workers=40",
                                    "train.rounds=250",
                                    "optimizer.sign.lr=0.04",
                                    "optimizer.dither.sigma0=1",
                                    "optimizer.dither.scale=absolute",
                                    "optimizer.dither.schedule=linear",
                                    "optimizer.switch.when=never",
                                    "server.start_timeout=1",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .decay = 1,
                                      .examples = 16000,
                                      .test_examples = 0,
                                      .seed = 5,
                                      .processes = 42,
                                      .alike = false,
                                      .faults = sim_storm};
    struct cluster_result result;

    sim_run_three_times(&options, &result);
    ck_assert_uint_eq(result.switch_round, 0);
    ck_assert_double_lt(sim_left(&result), 0.03);
}
END_TEST

/* As many workers as there can be, and one less: a vote of an even number may be tied. */
START_TEST(test_storm_of_255)
{
    static const char *const starts[] = {"sign", "margin", "margin"};
    char start[32], workers[32];
    const char *const settings[] = {workers,
                                    start,
                                    "train.rounds=50",
                                    "optimizer.sign.lr=0.15",
                                    "optimizer.margin.lr=0.4",
                                    "optimizer.switch.when=at",
                                    _i == 1 ? "optimizer.switch.step=50" : "optimizer.switch.step=30",
                                    "optimizer.sgd.lambda=denoised",
                                    "optimizer.beta2=0.9",
                                    "server.start_timeout=1",
                                    NULL};
    unsigned slots = _i < 2 ? 255 : 254;
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .decay = 1,
                                      .examples = 65000,
                                      .test_examples = 4000,
                                      .seed = 7,
                                      .processes = slots + 5,
                                      .faults = sim_storm};
    struct cluster_result result;

    (void)snprintf(start, sizeof start, "optimizer.start=%s", starts[_i]);
    (void)snprintf(workers, sizeof workers, "workers=%u", slots);
    sim_run_twice(&options, &result);
    ck_assert_uint_eq(result.rounds, 50);
    ck_assert_uint_eq(result.switch_round, _i == 1 ? 0 : 30);
    ck_assert_double_lt(sim_left(&result), 0.1);
}
END_TEST

/* Rounds of many chunks, in which the window of four holds workers back: two of signs and then 33 of float32; or, with
 * buffers and a tensor in full among them, one of signs, six of counts, eleven of int8, and five more. */
START_TEST(test_storm_of_chunks)
{
    static const uint64_t large[] = {300000, 240000, 7, 0}, mixed[] = {90000, 40000, 200000, 7, 0};
    static const uint64_t buffers[] = {20000, 3, 0};
    const struct cluster_faults hard = {.breaks = 2000, .dies = 500, .nan = 500, .slow = 300};
    const char *const settings[] = {"workers=4",
                                    "train.rounds=12",
                                    "optimizer.sign.lr=0.25",
                                    "optimizer.margin.lr=0.5",
                                    "optimizer.dither.sigma0=0.5",
                                    "optimizer.switch.when=at",
                                    "full.lr=0.5",
                                    "server.start_timeout=1",
                                    _i == 0 ? "optimizer.switch.step=6" : "optimizer.switch.step=3",
                                    _i == 0 ? "optimizer.sgd.momentum=none" : "optimizer.switch.to=margin",
                                    _i == 0 ? "optimizer.sgd.wire=f32" : "optimizer.margin.until=0.6",
                                    _i == 0 ? "tensors=[]" : "tensors=[{match: t1, update: full}]",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = _i == 0 ? large : mixed,
                                      .buffers = _i == 0 ? NULL : buffers,
                                      .decay = 1,
                                      .full = _i == 0 ? 0 : 2,
                                      .examples = 640,
                                      .seed = 3,
                                      .processes = 4,
                                      .faults = hard};
    struct cluster_result result;

    sim_run_twice(&options, &result);
    ck_assert_uint_eq(result.rounds, 12);
    ck_assert_uint_gt(result.holds, 0);
    ck_assert_uint_gt(result.breaks_in_push, 0);
    ck_assert(_i == 0 || (result.averaged > 0 && result.second_switch == 8));
    ck_assert_double_lt(sim_left(&result), 0.5);
}
END_TEST

/* The same with few rounds lost in the middle of a model of two chunks, and so with many rounds. */
START_TEST(test_storm_of_two_chunks)
{
    static const uint64_t two_chunks[] = {16000, 3000, 0};
    const struct cluster_faults hard = {.breaks = 500, .dies = 100, .nan = 200, .stray = 200, .slow = 100};
    const char *const settings[] = {"workers=8",
                                    "train.rounds=110",
                                    "optimizer.sign.lr=0.1",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.step=20",
                                    "optimizer.sgd.scale=0.3",
                                    "optimizer.sgd.wire=f32",
                                    "server.start_timeout=1",
                                    _i == 0 ? "server.close=all" : "server.close.quorum=5",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = two_chunks,
                                      .decay = 1,
                                      .examples = 2560,
                                      .test_examples = 100,
                                      .seed = 13,
                                      .processes = 9,
                                      .faults = hard};
    struct cluster_result result;

    sim_run_twice(&options, &result);
    ck_assert_uint_gt(result.breaks_in_push, 0);
    ck_assert_uint_gt(result.breaks_in_update, 0);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert_double_lt(sim_left(&result), 0.05);
}
END_TEST

/* Few workers that are lost all the time: the job waits for its min_live again and again, and comes to its end. */
START_TEST(test_hardly_anybody)
{
    static const char *const numbers[][2] = {
        {"workers=1", "server.min_live=1"}, {"workers=2", "server.min_live=2"}, {"workers=5", "server.min_live=4"}};
    static const unsigned processes[] = {1, 2, 5};
    const struct cluster_faults hard = {.breaks = 600, .dies = 100, .nan = 200, .stray = 2000};
    const char *const settings[] = {
        "train.rounds=250", "optimizer.sign.lr=0.04", "optimizer.switch.when=at", "optimizer.switch.step=100",
        numbers[_i][0],     numbers[_i][1],           "server.start_timeout=1",   NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .decay = 1,
                                      .examples = 1600,
                                      .test_examples = 50,
                                      .seed = 23,
                                      .processes = processes[_i],
                                      .faults = hard};
    struct cluster_result result;

    sim_run_three_times(&options, &result);
    ck_assert_uint_eq(result.rounds, 250);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert_double_lt(sim_left(&result), 0.05);
}
END_TEST

/* A single worker whose line breaks in the middle of its push: nobody is left to finish the round, and what was sent of
 * it already is taken back, whatever its form. The server's code of what a single worker coded leaves no residual; that
 * of what Adam made of it does. */
START_TEST(test_begun_anew)
{
    static const uint64_t tensors[] = {3000, 40000, 0}, buffers[] = {20000, 0};
    static const char *const forms[][3] = {
        {"optimizer.switch.step=3", "optimizer.sgd.wire=i8", "tensors=[{match: t0, update: full}]"},
        {"optimizer.switch.step=3", "optimizer.sgd.wire=bf16", "optimizer.sgd.rate=tracking"},
        {"optimizer.switch.step=20", "optimizer.switch.to=margin", "optimizer.margin.lr=0.1"},
        {"optimizer.sgd.wire=i8", "optimizer.mode=adam", "optimizer.adam.lr=0.07"}};
    const char *const settings[] = {
        "workers=1",          "train.rounds=60",
        "train.evaluate=0.1", "optimizer.sign.lr=0.1",
        "full.lr=0.3",        _i == 3 ? "optimizer.switch.when=never" : "optimizer.switch.when=at",
        forms[_i][0],         forms[_i][1],
        forms[_i][2],         NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = tensors,
                                      .buffers = buffers,
                                      .decay = 1,
                                      .full = _i == 0,
                                      .examples = 1600,
                                      .test_examples = 50,
                                      .seed = 4,
                                      .processes = 1,
                                      .faults = {.breaks = 3000, .nan = 300}};
    struct cluster_result result;

    sim_run_twice(&options, &result);
    ck_assert_uint_gt(result.anew, 0);
    ck_assert_uint_gt(result.averaged, 0);
    ck_assert_double_lt(sim_left(&result), 0.1);
}
END_TEST

/* Every other gradient or buffer is not finite: there are rounds in which nobody votes, and they change nothing but
 * what weight decay and coins do; the last round before a switch, and the first one after it, are among them. */
START_TEST(test_rounds_without_votes)
{
    static const uint64_t buffers[] = {5, 0};
    const char *const settings[] = {"workers=2",
                                    "train.rounds=200",
                                    "optimizer.sign.lr=0.05",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.to=margin",
                                    "optimizer.switch.step=50",
                                    "optimizer.margin.until=0.5",
                                    "train.evaluate=0.1",
                                    "tensors=[{match: t1, update: full}]",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = sim_small,
                                      .buffers = buffers,
                                      .decay = 1,
                                      .full = 2,
                                      .examples = 3200,
                                      .test_examples = 10,
                                      .seed = (uint64_t)_i,
                                      .processes = 2,
                                      .faults = {.nan = 6000}};
    struct cluster_result result;

    sim_run_twice(&options, &result);
    ck_assert_uint_gt(result.without_votes, 10);
    ck_assert_uint_gt(result.averaged, 0);
    ck_assert_double_lt(sim_left(&result), 0.1);
}
END_TEST

TCase *sim_storms(void)
{
    TCase *cases = tcase_create("storms");

    tcase_add_test(cases, test_delays_change_nothing);
    tcase_add_loop_test(cases, test_equal_workers, 0, 2);
    tcase_add_loop_test(cases, test_storm, 0, 2);
    tcase_add_test(cases, test_storm_of_signs);
    tcase_add_loop_test(cases, test_storm_of_255, 0, 3);
    tcase_add_loop_test(cases, test_storm_of_chunks, 0, 2);
    tcase_add_loop_test(cases, test_storm_of_two_chunks, 0, 2);
    tcase_add_loop_test(cases, test_hardly_anybody, 0, 3);
    tcase_add_loop_test(cases, test_begun_anew, 0, 4);
    tcase_add_loop_test(cases, test_rounds_without_votes, 0, 12);
    return cases;
}
