/* Whole jobs in memory, with faults: see cluster.h for what is checked after every event. */
#include "cluster.h"

#include "common/rng.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t small[] = {150, 10, 200, 33, 0}, middle[] = {16000, 3000, 0};

static const struct cluster_faults quiet, storm = {.breaks = 60, .dies = 30, .nan = 30, .stray = 4, .slow = 10};

/* How much of the loss that can be won at all is left. */
static double left(const struct cluster_result *r)
{
    return (r->last_loss - r->least_loss) / (r->first_loss - r->least_loss);
}

static void show(const char *name, const struct cluster_result *r)
{
    if (getenv("SP_SIM_SHOW") == NULL)
        return;
    (void)fprintf(
        stderr,
        "%s: %u rounds, switch %u, loss %.4f -> %.4f (least %.4f, left %.4f), voters >= %u, breaks %llu (%llu in "
        "push, %llu in update), deaths %llu, takeovers %llu, strays %llu, resyncs %llu, joins %llu, holds "
        "%llu, late %llu, abstained %llu, anew %llu, missed %llu, %.1f s, %016llx\n",
        name, r->rounds, r->switch_round, r->first_loss, r->last_loss, r->least_loss, left(r), r->voters_min,
        (unsigned long long)r->breaks, (unsigned long long)r->breaks_in_push, (unsigned long long)r->breaks_in_update,
        (unsigned long long)r->deaths, (unsigned long long)r->takeovers, (unsigned long long)r->strays,
        (unsigned long long)r->resyncs, (unsigned long long)r->joins, (unsigned long long)r->holds,
        (unsigned long long)r->late, (unsigned long long)r->abstained, (unsigned long long)r->anew,
        (unsigned long long)r->missed, (double)r->end_ms / 1e3, (unsigned long long)r->digest);
}

/* The same seed gives the same bits. */
static void run_twice(const struct cluster_options *options, struct cluster_result *result)
{
    struct cluster_result again;

    cluster_run(options, result);
    cluster_run(options, &again);
    ck_assert_mem_eq(result, &again, sizeof again);
    show("run", result);
}

/* And another seed gives others. */
static void run_three_times(struct cluster_options *options, struct cluster_result *result)
{
    struct cluster_result other;

    run_twice(options, result);
    options->seed++;
    cluster_run(options, &other);
    ck_assert_uint_ne(result->trace, other.trace);
    ck_assert_uint_ne(result->digest, other.digest);
    show("other", &other);
}

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
                                      .tensors = small,
                                      .decay = 1,
                                      .examples = 960,
                                      .test_examples = 30,
                                      .seed = 1,
                                      .processes = 6,
                                      .alike = false,
                                      .faults = quiet};
    struct cluster_result result, other;

    cluster_run(&options, &result);
    show("quiet", &result);
    ck_assert_uint_eq(result.rounds, 160);
    ck_assert_uint_eq(result.switch_round, 80);
    ck_assert_uint_eq(result.voters_min, 6);
    ck_assert_uint_eq(result.joins, 6);
    ck_assert_uint_eq(result.late + result.resyncs + result.breaks, 0);
    ck_assert(result.evaluated && !result.partial);
    ck_assert_double_lt(left(&result), 0.02);
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
                                          .tensors = small,
                                          .decay = 1,
                                          .examples = 480,
                                          .test_examples = 0,
                                          .seed = i,
                                          .processes = i == 0 ? 1 : i + 2,
                                          .alike = true,
                                          .faults = quiet};
        struct cluster_result result;

        settings[0] = numbers[i];
        if (_i == 1) /* sign updates to the end */
            settings[4] = "optimizer.switch.when=never", settings[5] = settings[6] = "seed=1";
        cluster_run(&options, &result);
        show("equal", &result);
        ck_assert_uint_eq(result.switch_round, _i == 1 ? 0 : 40);
        ck_assert_double_lt(left(&result), 0.02);
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
                                    "train.rounds=220",
                                    "optimizer.sign.lr=0.04",
                                    "optimizer.sign.schedule=linear",
                                    "optimizer.dither.sigma0=0.5",
                                    "optimizer.switch.when=auto",
                                    "server.start_timeout=1",
                                    _i == 0 ? "server.close=all" : "server.close.quorum=80",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = small,
                                      .decay = 1,
                                      .examples = 16000,
                                      .test_examples = 1000,
                                      .seed = 11,
                                      .processes = 104,
                                      .alike = false,
                                      .faults = storm};
    struct cluster_result result;

    run_three_times(&options, &result);
    ck_assert_uint_eq(result.rounds, 220);
    ck_assert_uint_gt(result.switch_round, 0);
    ck_assert_uint_gt(result.breaks, 100);
    ck_assert_uint_gt(result.breaks_in_update, 0);
    ck_assert_uint_gt(result.deaths, 50);
    ck_assert_uint_gt(result.takeovers, 0);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert_uint_gt(result.abstained, 50);
    ck_assert_uint_gt(result.late, 0);
    ck_assert_double_lt(left(&result), 0.02);
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
                                      .tensors = small,
                                      .decay = 1,
                                      .examples = 16000,
                                      .test_examples = 0,
                                      .seed = 5,
                                      .processes = 42,
                                      .alike = false,
                                      .faults = storm};
    struct cluster_result result;

    run_three_times(&options, &result);
    ck_assert_uint_eq(result.switch_round, 0);
    ck_assert_double_lt(left(&result), 0.03);
}
END_TEST

/* As many workers as there can be. */
START_TEST(test_storm_of_255)
{
    const char *const settings[] = {"workers=255",
                                    "train.rounds=60",
                                    "optimizer.sign.lr=0.15",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.step=40",
                                    "optimizer.sgd.lambda=denoised",
                                    "optimizer.beta2=0.9",
                                    "server.start_timeout=1",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = small,
                                      .decay = 1,
                                      .examples = 65000,
                                      .test_examples = 4000,
                                      .seed = 7,
                                      .processes = 260,
                                      .alike = false,
                                      .faults = storm};
    struct cluster_result result;

    run_twice(&options, &result);
    ck_assert_uint_eq(result.rounds, 60);
    ck_assert_uint_eq(result.switch_round, 40);
    ck_assert_double_lt(left(&result), 0.1);
}
END_TEST

/* Rounds of several chunks: two in the sign phase, 33 in the SGD phase, where the window of four holds workers back. */
START_TEST(test_storm_of_chunks)
{
    const uint64_t large[] = {300000, 240000, 7, 0};
    const struct cluster_faults hard = {.breaks = 2000, .dies = 500, .nan = 500, .slow = 300};
    const char *const settings[] = {"workers=4",
                                    "train.rounds=12",
                                    "optimizer.sign.lr=0.25",
                                    "optimizer.dither.sigma0=0.5",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.step=6",
                                    "optimizer.sgd.momentum=none",
                                    "server.start_timeout=1",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = large,
                                      .decay = 1,
                                      .examples = 640,
                                      .test_examples = 0,
                                      .seed = 3,
                                      .processes = 4,
                                      .alike = false,
                                      .faults = hard};
    struct cluster_result result;

    run_twice(&options, &result);
    ck_assert_uint_eq(result.rounds, 12);
    ck_assert_uint_gt(result.holds, 0);
    ck_assert_uint_gt(result.breaks_in_push, 0);
    ck_assert_double_lt(left(&result), 0.5);
}
END_TEST

/* The same with few rounds lost in the middle of a model of two chunks, and so with many rounds. */
START_TEST(test_storm_of_two_chunks)
{
    const struct cluster_faults hard = {.breaks = 500, .dies = 100, .nan = 200, .stray = 200, .slow = 100};
    const char *const settings[] = {"workers=8",
                                    "train.rounds=130",
                                    "optimizer.sign.lr=0.1",
                                    "optimizer.switch.when=at",
                                    "optimizer.switch.step=20",
                                    "optimizer.sgd.scale=0.3",
                                    "server.start_timeout=1",
                                    _i == 0 ? "server.close=all" : "server.close.quorum=5",
                                    NULL};
    struct cluster_options options = {.settings = settings,
                                      .tensors = middle,
                                      .decay = 1,
                                      .examples = 2560,
                                      .test_examples = 100,
                                      .seed = 9,
                                      .processes = 9,
                                      .alike = false,
                                      .faults = hard};
    struct cluster_result result;

    run_twice(&options, &result);
    ck_assert_uint_gt(result.breaks_in_push, 0);
    ck_assert_uint_gt(result.breaks_in_update, 0);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert_double_lt(left(&result), 0.05);
}
END_TEST

/* Few workers that are lost all the time: the job waits for its min_live again and again, and comes to its end. */
START_TEST(test_hardly_anybody)
{
    static const char *const numbers[][2] = {
        {"workers=1", "server.min_live=1"}, {"workers=2", "server.min_live=2"}, {"workers=5", "server.min_live=4"}};
    static const unsigned processes[] = {1, 2, 5};
    const struct cluster_faults hard = {.breaks = 600, .dies = 100, .nan = 200, .stray = 1200};
    const char *const settings[] = {
        "train.rounds=250", "optimizer.sign.lr=0.04", "optimizer.switch.when=at", "optimizer.switch.step=100",
        numbers[_i][0],     numbers[_i][1],           "server.start_timeout=1",   NULL};
    /* Of two chunks after the switch for the first two: then nobody may be left to finish a round. */
    struct cluster_options options = {.settings = settings,
                                      .tensors = _i < 2 ? middle : small,
                                      .decay = 1,
                                      .examples = 1600,
                                      .test_examples = 50,
                                      .seed = 22,
                                      .processes = processes[_i],
                                      .alike = false,
                                      .faults = hard};
    struct cluster_result result;

    run_three_times(&options, &result);
    ck_assert_uint_eq(result.rounds, 250);
    ck_assert_uint_gt(result.resyncs, 0);
    ck_assert(_i > 0 || result.anew > 0);
    ck_assert_double_lt(left(&result), 0.05);
}
END_TEST

/* --- any job -------------------------------------------------------------------------------------------------------
 */

#define SETTINGS_MAX 16

struct any {
    struct sp_rng rng;
    char text[SETTINGS_MAX][64];
    const char *settings[SETTINGS_MAX + 1];
    unsigned count;
};

static uint32_t pick(struct any *any, uint32_t bound)
{
    return sp_rng_below(&any->rng, bound);
}

static void add(struct any *any, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct any *any, const char *format, ...)
{
    va_list args;

    ck_assert_uint_lt(any->count, SETTINGS_MAX);
    va_start(args, format);
    (void)vsnprintf(any->text[any->count], sizeof any->text[0], format, args);
    va_end(args);
    any->settings[any->count] = any->text[any->count];
    any->count++;
}

static void any_settings(struct any *any, uint32_t workers, uint32_t rounds)
{
    static const char *const rules[] = {"paper", "ratio", "denoised", "norm", "norm_tensor"};

    add(any, "workers=%u", workers);
    add(any, "train.rounds=%u", rounds);
    add(any, "seed=%u", pick(any, 1000));
    add(any, "optimizer.sign.lr=0.05");
    add(any, "optimizer.sign.schedule=%s", pick(any, 2) == 0 ? "linear" : "constant");
    add(any, "optimizer.dither.sigma0=%s", pick(any, 2) == 0 ? "0" : "0.7");
    add(any, "optimizer.weight_decay=%s", pick(any, 2) == 0 ? "0" : "0.01");
    add(any, "optimizer.sgd.lambda=%s", rules[pick(any, 5)]);
    add(any, "optimizer.sgd.momentum=%s", pick(any, 2) == 0 ? "ema" : "none");
    add(any, "optimizer.switch.when=at");
    add(any, "optimizer.switch.step=%u", 1 + pick(any, rounds));
    add(any, "server.min_live=%u", 1 + pick(any, workers));
    add(any, "server.start_timeout=%s", pick(any, 2) == 0 ? "0.05" : "3");
    add(any, "train.evaluate=%s", pick(any, 2) == 0 ? "0" : "0.7");
    if (pick(any, 2) == 0)
        add(any, "server.close.quorum=%u", 1 + pick(any, workers));
}

static unsigned any_count(void)
{
    return getenv("SP_SIM_SEEDS") != NULL ? (unsigned)strtoul(getenv("SP_SIM_SEEDS"), NULL, 10) : 40;
}

/* Jobs that a seed makes up: settings, workers, spares and faults. They come to their end, and all that is checked on
 * the way holds. SP_SIM_SEEDS=5000 looks further. */
START_TEST(test_any_job)
{
    for (uint32_t seed = 0; seed < any_count(); seed++) {
        struct any any = {.count = 0};
        struct cluster_options options = {.settings = any.settings, .decay = 1, .seed = seed};
        struct cluster_result result;
        uint32_t workers, rounds;

        sp_rng_init(&any.rng, sp_rng_key(seed, SP_RNG_TEST), 0, 1);
        workers = 1 + pick(&any, 9);
        rounds = 2 + pick(&any, 130);
        any_settings(&any, workers, rounds);
        options.tensors = pick(&any, 4) == 0 ? middle : small;
        options.examples = 16ull * workers * (1 + pick(&any, 40));
        options.test_examples = pick(&any, 2) * 100;
        options.processes = workers + pick(&any, 3);
        options.faults.breaks = pick(&any, 3) * pick(&any, 600);
        options.faults.dies = pick(&any, 2) * pick(&any, 200);
        options.faults.nan = pick(&any, 3) * pick(&any, 500);
        options.faults.stray = pick(&any, 2) * pick(&any, 500);
        options.faults.slow = pick(&any, 2) * pick(&any, 500);
        if (getenv("SP_SIM_SHOW") != NULL)
            (void)fprintf(stderr, "seed %u\n", seed);
        cluster_run(&options, &result);
        ck_assert_uint_eq(result.rounds, rounds);
    }
}
END_TEST

int main(void)
{
    Suite *all = suite_create("sim");
    TCase *cases = tcase_create("sim");
    SRunner *runner = srunner_create(all);
    int failed;

    tcase_set_timeout(cases, getenv("SP_SIM_SEEDS") != NULL ? 0 : 300);
    tcase_add_test(cases, test_delays_change_nothing);
    tcase_add_loop_test(cases, test_equal_workers, 0, 2);
    tcase_add_loop_test(cases, test_storm, 0, 2);
    tcase_add_test(cases, test_storm_of_signs);
    tcase_add_test(cases, test_storm_of_255);
    tcase_add_test(cases, test_storm_of_chunks);
    tcase_add_loop_test(cases, test_storm_of_two_chunks, 0, 2);
    tcase_add_loop_test(cases, test_hardly_anybody, 0, 3);
    tcase_add_test(cases, test_any_job);
    suite_add_tcase(all, cases);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
