/* Jobs that a seed makes up. */
#include "sim.h"

#include "common/rng.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTINGS_MAX 32

struct any {
    struct sp_rng rng;
    char text[SETTINGS_MAX][320];
    const char *settings[SETTINGS_MAX + 1];
    unsigned count, mode; /* where the mode stands */
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

/* From a list that ends with NULL. */
static void add_one(struct any *any, const char *key, const char *const *values)
{
    uint32_t n = 0;

    while (values[n] != NULL)
        n++;
    add(any, "%s=%s", key, values[pick(any, n)]);
}

#define ADD_ONE(any, key, ...) add_one(any, key, (const char *const[]){__VA_ARGS__, NULL})

/* The phases of the job; an operator may ask for the next one at any time. */
static void any_phases(struct any *any, struct cluster_options *options, uint32_t rounds)
{
    bool to_margin = pick(any, 3) == 0;

    ADD_ONE(any, "optimizer.mode", "hybrid", "hybrid", "hybrid", "hybrid", "sgd", "adam");
    if (to_margin)
        ADD_ONE(any, "optimizer.margin.until", "0", "0.6", "0.9");
    else
        ADD_ONE(any, "optimizer.start", "sign", "margin");
    add(any, "optimizer.switch.to=%s", to_margin ? "margin" : "sgd");
    if (pick(any, 4) == 0) {
        ADD_ONE(any, "optimizer.switch.when", "never", "auto", "swats", "manual");
    } else {
        add(any, "optimizer.switch.when=at");
        add(any, "optimizer.switch.step=%u", 1 + pick(any, rounds));
    }
    ADD_ONE(any, "optimizer.switch.dry_run", "false", "false", "false", "true");
    for (unsigned i = 0; i < 2; i++)
        options->asks[i] = pick(any, 3) * (1 + pick(any, rounds));
}

static void any_sgd(struct any *any)
{
    bool fixed = pick(any, 4) == 0;

    ADD_ONE(any, "optimizer.sgd.lambda", "paper", "ratio", "denoised", "norm", "norm_tensor");
    ADD_ONE(any, "optimizer.sgd.momentum", "ema", "none");
    ADD_ONE(any, "optimizer.sgd.wire", "auto", "f32", "bf16", "i8");
    ADD_ONE(any, "optimizer.sgd.aggregate", "mean", "median", "trimmed_mean");
    ADD_ONE(any, "optimizer.sgd.schedule", "continue", "constant", "cosine");
    ADD_ONE(any, "optimizer.sgd.clip", "1", "0", "0.3");
    ADD_ONE(any, "optimizer.adam.lr", "0.02");
    if (fixed)
        add(any, "optimizer.sgd.lr=0.3");
    else
        ADD_ONE(any, "optimizer.sgd.rate", "frozen", "tracking");
}

/* Weight decay and full precision for any of the tensors t0 to t3, by a rule for each; what they must come to. Mode
 * adam has no tensors in full. */
static void any_tensors(struct any *any, struct cluster_options *options)
{
    bool adam = strstr(any->text[any->mode], "adam") != NULL;
    char rules[256] = "";
    size_t used = 0;

    options->decay = pick(any, 16);
    options->full = adam || pick(any, 2) == 0 ? 0 : pick(any, 16);
    if (options->tensors[2] == 0) {
        options->decay &= 3;
        options->full &= 3;
    }
    for (unsigned i = 0; options->tensors[i] != 0; i++)
        used += (size_t)snprintf(rules + used, sizeof rules - used, "%s{match: t%u, decay: %s%s}", i > 0 ? ", " : "", i,
                                 (options->decay >> i) & 1u ? "true" : "false",
                                 (options->full >> i) & 1u ? ", update: full" : "");
    add(any, "tensors=[%s]", rules);
}

static void any_settings(struct any *any, struct cluster_options *options, uint32_t workers, uint32_t rounds)
{
    add(any, "workers=%u", workers);
    add(any, "train.rounds=%u", rounds);
    add(any, "seed=%u", pick(any, 1000));
    add(any, "optimizer.sign.lr=0.05");
    ADD_ONE(any, "optimizer.sign.schedule", "linear", "constant");
    ADD_ONE(any, "optimizer.dither.sigma0", "0", "0.7");
    ADD_ONE(any, "optimizer.dither.scale", "job", "tensor", "absolute");
    ADD_ONE(any, "optimizer.weight_decay", "0", "0.01");
    any->mode = any->count;
    any_phases(any, options, rounds);
    any_sgd(any);
    any_tensors(any, options);
    add(any, "server.min_live=%u", 1 + pick(any, workers));
    ADD_ONE(any, "server.start_timeout", "0.05", "3");
    ADD_ONE(any, "train.evaluate", "0", "0.7");
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
        static const uint64_t buffers[] = {12, 1, 0};
        struct any any = {.count = 0};
        struct cluster_options options = {.settings = any.settings, .seed = seed};
        struct cluster_result result;
        uint32_t workers, rounds;

        sp_rng_init(&any.rng, sp_rng_key(seed, SP_RNG_TEST), 0, 1);
        workers = 1 + pick(&any, 9);
        rounds = 2 + pick(&any, 130);
        options.tensors = pick(&any, 12) == 0 ? sim_middle : sim_small;
        options.buffers = pick(&any, 2) == 0 ? buffers : NULL;
        any_settings(&any, &options, workers, rounds);
        options.examples = 16ull * workers * (1 + pick(&any, 40));
        options.test_examples = pick(&any, 2) * 100;
        options.processes = workers + pick(&any, 3);
        options.faults.breaks = pick(&any, 3) * pick(&any, 600);
        options.faults.dies = pick(&any, 2) * pick(&any, 200);
        options.faults.nan = pick(&any, 3) * pick(&any, 500);
        options.faults.stray = pick(&any, 2) * pick(&any, 500);
        options.faults.slow = pick(&any, 2) * pick(&any, 500);
        options.faults.crashes = pick(&any, 2) * pick(&any, 1500);
        if (getenv("SP_SIM_SHOW") != NULL)
            (void)fprintf(stderr, "seed %u\n", seed);
        cluster_run(&options, &result);
        ck_assert_uint_eq(result.rounds, rounds);
    }
}
END_TEST

TCase *sim_any(void)
{
    TCase *cases = tcase_create("any");

    tcase_add_test(cases, test_any_job);
    return cases;
}
