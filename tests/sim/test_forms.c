/* Every form that the numbers of a round can have: in every order of arrival, and in storms. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

struct form {
    const char *name;
    const char *settings[10];
    unsigned workers;
    const uint64_t *tensors, *buffers;
    uint32_t decay, full, asks[2];
    uint32_t switches[2]; /* rounds; 0: none */
    double left;          /* at most, without faults; in storms twice that */
};

static const uint64_t some_buffers[] = {7, 40, 0};

#define ROUNDS "train.rounds=100"
#define AT_40 "optimizer.switch.when=at", "optimizer.switch.step=40"
#define MARGIN_40_70 "optimizer.switch.to=margin", "optimizer.margin.until=0.7", AT_40
#define FULL_1_AND_3 "tensors=[{match: \"t[13]\", update: full}, {match: t2, decay: true}]"

static const struct form forms[] = {
    {.name = "margin, odd", .settings = {"optimizer.start=margin", "optimizer.switch.when=never"}, .workers = 5},
    {.name = "margin, even", .settings = {"optimizer.start=margin", "optimizer.switch.when=never"}, .workers = 6},
    {.name = "margin, one", .settings = {"optimizer.start=margin", "optimizer.switch.when=never"}, .workers = 1},
    {.name = "margin, i8", .settings = {"optimizer.start=margin", AT_40}, .workers = 3, .switches = {40}},
    {.name = "sign, margin, i8", .settings = {MARGIN_40_70}, .workers = 6, .switches = {40, 70}},
    {.name = "i8", .settings = {AT_40}, .workers = 7, .switches = {40}},
    {.name = "bf16", .settings = {AT_40, "optimizer.sgd.wire=bf16"}, .workers = 6, .switches = {40}},
    {.name = "f32", .settings = {AT_40, "optimizer.sgd.wire=f32"}, .workers = 6, .switches = {40}},
    {.name = "sgd, i8, median",
     .settings = {"optimizer.mode=sgd", "optimizer.sgd.wire=i8", "optimizer.sgd.aggregate=median"},
     .workers = 6},
    {.name = "sgd, bf16, trimmed",
     .settings = {"optimizer.mode=sgd", "optimizer.sgd.wire=bf16", "optimizer.sgd.aggregate=trimmed_mean"},
     .workers = 9},
    {.name = "adam", .settings = {"optimizer.mode=adam", "optimizer.adam.lr=0.05"}, .workers = 5},
    {.name = "adam, i8",
     .settings = {"optimizer.mode=adam", "optimizer.adam.lr=0.05", "optimizer.sgd.wire=i8"},
     .workers = 5},
    {.name = "full",
     .settings = {MARGIN_40_70, "optimizer.weight_decay=0.002", FULL_1_AND_3},
     .workers = 6,
     .buffers = some_buffers,
     .decay = 5,
     .full = 10,
     .switches = {40, 70}},
    {.name = "buffers",
     .settings = {AT_40, "train.evaluate=3"},
     .workers = 6,
     .buffers = some_buffers,
     .switches = {40}},
    {.name = "dither by tensor",
     .settings = {AT_40, "optimizer.dither.scale=tensor", FULL_1_AND_3},
     .workers = 6,
     .decay = 5,
     .full = 10,
     .switches = {40}},
    {.name = "tracking norms", .settings = {AT_40, "optimizer.sgd.rate=tracking"}, .workers = 6, .switches = {40}},
    {.name = "tracking ratio",
     .settings = {AT_40, "optimizer.sgd.rate=tracking", "optimizer.sgd.lambda=ratio"},
     .workers = 6,
     .switches = {40}},
    {.name = "asked",
     .settings = {"optimizer.switch.when=manual", "optimizer.switch.to=margin"},
     .workers = 6,
     .asks = {23, 61},
     .switches = {23, 61}},
};

#define FORMS ((int)(sizeof forms / sizeof forms[0]))
#define SETTINGS_MAX 24

struct case_ {
    const char *settings[SETTINGS_MAX];
    char workers[32];
    struct cluster_options options;
};

static void prepare(const struct form *form, unsigned times, struct case_ *it)
{
    const char *const common[] = {ROUNDS,
                                  "seed=3",
                                  "optimizer.sign.lr=0.05",
                                  "optimizer.dither.sigma0=0.5",
                                  "optimizer.sgd.scale=0.5",
                                  "full.lr=0.5",
                                  "server.start_timeout=1",
                                  it->workers};
    size_t n = 0;

    (void)snprintf(it->workers, sizeof it->workers, "workers=%u", form->workers * times);
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        it->settings[n++] = common[i];
    for (size_t i = 0; form->settings[i] != NULL; i++)
        it->settings[n++] = form->settings[i];
    it->settings[n] = NULL;
    it->options = (struct cluster_options){.settings = it->settings,
                                           .tensors = form->tensors != NULL ? form->tensors : sim_small,
                                           .buffers = form->buffers,
                                           .decay = form->decay > 0 ? form->decay : 1,
                                           .full = form->full,
                                           .examples = (uint64_t)form->workers * times * 160,
                                           .test_examples = 30,
                                           .seed = 1,
                                           .processes = form->workers * times,
                                           .asks = {form->asks[0], form->asks[1]}};
}

static void check_switches(const struct form *form, const struct cluster_result *result)
{
    ck_assert_uint_eq(result->rounds, 100);
    ck_assert_uint_eq(result->switch_round, form->switches[0]);
    ck_assert_uint_eq(result->second_switch, form->switches[1]);
    ck_assert(result->averaged > 0 || form->buffers == NULL);
}

/* Same job, same membership in every round: the same weights and buffers, however long frames take. */
START_TEST(test_any_order)
{
    const struct form *form = &forms[_i];
    struct cluster_result result, other;
    struct case_ it;

    prepare(form, 1, &it);
    cluster_run(&it.options, &result);
    sim_show(form->name, &result);
    check_switches(form, &result);
    ck_assert_uint_eq(result.voters_min, form->workers);
    ck_assert_uint_eq(result.late + result.resyncs + result.breaks, 0);
    ck_assert(result.evaluated && !result.partial);
    it.options.seed = 2;
    cluster_run(&it.options, &other);
    ck_assert_uint_eq(result.digest, other.digest);
    ck_assert_uint_eq(result.buffers, other.buffers);
    ck_assert_uint_ne(result.trace, other.trace);
    ck_assert_double_lt(sim_left(&result), 0.05);
}
END_TEST

START_TEST(test_form_in_a_storm)
{
    const struct form *form = &forms[_i];
    struct cluster_result result;
    struct case_ it;

    prepare(form, 5, &it);
    it.options.processes++;
    it.options.faults = (struct cluster_faults){.breaks = 200, .dies = 60, .nan = 150, .stray = 40, .slow = 30};
    sim_run_twice(&it.options, &result);
    check_switches(form, &result);
    ck_assert_uint_gt(result.breaks, 0);
    ck_assert_double_lt(sim_left(&result), 0.1);
}
END_TEST

TCase *sim_forms(void)
{
    TCase *cases = tcase_create("forms");

    tcase_add_loop_test(cases, test_any_order, 0, FORMS);
    tcase_add_loop_test(cases, test_form_in_a_storm, 0, FORMS);
    return cases;
}
