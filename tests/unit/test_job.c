/* The table of keys, and what a job takes, gives back and refuses. */
#include "common/job.h"
#include "tests/unit/unit.h"

#include <check.h>
#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct sp_job job;

static void setup(void)
{
    sp_job_init(&job);
}

static void set(const char *path, const char *value)
{
    struct sp_error error = {.code = SP_OK};

    ck_assert_msg(sp_job_set(&job, path, value, &error) == SP_OK, "%s=%s: %s", path, value, error.text);
}

static const char *get(const struct sp_job *from, const char *path)
{
    static char text[SP_VALUE_BYTES];

    sp_job_get(from, sp_job_key(path), text, sizeof text);
    return text;
}

/* Refused with this code and exactly these words, and the job stays as it was. */
static void refuse(const char *path, const char *value, int code, const char *words)
{
    struct sp_error error = {.code = SP_OK};
    struct sp_job before = job;

    ck_assert_msg(sp_job_set(&job, path, value, &error) == code, "%s=%s gave %d: %s", path, value, error.code,
                  error.text);
    ck_assert_int_eq(error.code, code);
    if (words != NULL)
        ck_assert_str_eq(error.text, words);
    ck_assert_int_eq(sp_job_set(&job, path, value, NULL), code);
    ck_assert_int_eq(memcmp(&before, &job, sizeof job), 0);
}

/* The table. */

START_TEST(test_table_rows_are_sound)
{
    static unsigned char taken[sizeof(struct sp_job)];

    memset(taken, 0, sizeof taken);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        ck_assert(key->path != NULL && strlen(key->path) < 64 && key->meaning != NULL && key->meaning[0] != '\0');
        ck_assert_msg(sp_job_key(key->path) == key, "%s is there twice", key->path);
        ck_assert_msg((key->fallback == NULL) == ((key->flags & SP_KEY_REQUIRED) != 0), "%s", key->path);
        ck_assert_msg((key->choices != NULL) == (key->type == SP_KEY_CHOICE), "%s", key->path);
        ck_assert(key->offset + key->bytes <= sizeof job);
        for (size_t b = key->offset; b < key->offset + key->bytes; b++)
            ck_assert_msg(taken[b]++ == 0, "%s shares its member with another key", key->path);
        if (key->type == SP_KEY_REAL || key->type == SP_KEY_UINT || key->type == SP_KEY_UINT_LIST ||
            key->type == SP_KEY_REAL_LIST)
            ck_assert_msg(key->min < key->max, "%s", key->path);
    }
}
END_TEST

START_TEST(test_defaults_are_what_the_table_says)
{
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        if (key->fallback == NULL)
            ck_assert_str_eq(get(&job, key->path), "");
        else if (key->type == SP_KEY_REAL)
            ck_assert_double_eq(strtod(get(&job, key->path), NULL), strtod(key->fallback, NULL));
        else
            ck_assert_str_eq(get(&job, key->path), key->fallback);
    }
}
END_TEST

START_TEST(test_defaults_are_the_documented_ones)
{
    ck_assert_uint_eq(job.seed, 1);
    ck_assert_uint_eq(job.workers, 1);
    ck_assert_double_eq(job.data.divide, 0);
    ck_assert_double_eq(sp_job_divide(&job), 255);
    ck_assert_uint_eq(job.data.mean_count, 1);
    ck_assert_double_eq(job.data.mean[0], 0);
    ck_assert_uint_eq(job.data.std_count, 1);
    ck_assert_double_eq(job.data.std[0], 1);
    ck_assert_int_eq(job.data.compute, SP_COMPUTE_NONE);
    ck_assert(job.data.csv.header);
    ck_assert_str_eq(job.data.csv.label, "label");
    ck_assert_uint_eq(job.data.csv.shape_count, 0);
    ck_assert_uint_eq(job.data.augment.crop, 0);
    ck_assert(!job.data.augment.flip);
    ck_assert_int_eq(job.data.shards, SP_SHARDS_IID);
    ck_assert_int_eq(job.model.type, SP_MODEL_MLP);
    ck_assert_uint_eq(job.model.hidden_count, 1);
    ck_assert_uint_eq(job.model.hidden[0], 64);
    ck_assert_uint_eq(job.model.width, 64);
    ck_assert_str_eq(job.model.init, "");
    ck_assert_uint_eq(job.train.batch, 16);
    ck_assert_double_eq(job.train.epochs, 10);
    ck_assert_uint_eq(job.train.report, 50);
    ck_assert_str_eq(job.server.listen, "127.0.0.1:7700");
    ck_assert_int_eq(job.server.close, SP_CLOSE_ALL);
    ck_assert_uint_eq(job.server.quorum, 0);
    ck_assert_uint_eq(job.server.min_live, 1);
    ck_assert_double_eq(job.server.heartbeat_interval, 2);
    ck_assert_double_eq(job.server.heartbeat_timeout, 15);
    ck_assert_str_eq(job.security.token_file, "");
    ck_assert_str_eq(job.security.operator_token_file, "");
    ck_assert(!job.security.insecure);
    ck_assert_double_eq(job.worker.give_up, 0);
    ck_assert_str_eq(job.folder, ".");
    ck_assert_uint_eq(sp_job_validate(&job, NULL, NULL), 0);
}
END_TEST

START_TEST(test_defaults_of_the_first_phase)
{
    ck_assert_int_eq(job.optimizer.mode, SP_MODE_HYBRID);
    ck_assert_int_eq(job.optimizer.start, SP_START_SIGN);
    ck_assert_double_eq(job.optimizer.beta1, 0.9);
    ck_assert_double_eq(job.optimizer.beta2, 0.99);
    ck_assert_double_eq(job.optimizer.weight_decay, 0);
    ck_assert_double_eq(job.optimizer.sign.lr, 1e-3);
    ck_assert_int_eq(job.optimizer.sign.schedule, SP_SCHEDULE_LINEAR);
    ck_assert_double_eq(job.optimizer.sign.warmup, 0);
    ck_assert_double_eq(job.optimizer.sign.step.epochs, 10);
    ck_assert_double_eq(job.optimizer.sign.step.factor, 0.1);
    ck_assert_double_eq(job.optimizer.dither.sigma0, 0);
    ck_assert_int_eq(job.optimizer.dither.schedule, SP_DITHER_EXPONENTIAL);
    ck_assert_int_eq(job.optimizer.dither.scale, SP_DITHER_SCALE_JOB);
    ck_assert_double_eq(job.optimizer.margin.lr, 0);
    ck_assert_double_eq(job.optimizer.margin.sigma0, 1);
    ck_assert_double_eq(job.optimizer.margin.until, 0);
    ck_assert_uint_eq(job.tensors.count, 0);
    ck_assert_double_eq(job.full.lr, 0.1);
}
END_TEST

START_TEST(test_defaults_of_the_switch_and_what_follows)
{
    ck_assert_int_eq(job.optimizer.switch_.when, SP_SWITCH_AUTO);
    ck_assert_int_eq(job.optimizer.switch_.to, SP_SWITCH_TO_SGD);
    ck_assert_double_eq(job.optimizer.switch_.epoch, 0);
    ck_assert_uint_eq(job.optimizer.switch_.step, 0);
    ck_assert_double_eq(job.optimizer.switch_.fraction, 0);
    ck_assert_double_eq(job.optimizer.switch_.tolerance, 0.05);
    ck_assert_uint_eq(job.optimizer.switch_.patience, 5);
    ck_assert(!job.optimizer.switch_.dry_run);
    ck_assert_int_eq(job.optimizer.sgd.lambda, SP_LAMBDA_NORM_TENSOR);
    ck_assert_double_eq(job.optimizer.sgd.scale, 0.6);
    ck_assert_double_eq(job.optimizer.sgd.lambda_min, 1e-5);
    ck_assert_double_eq(job.optimizer.sgd.lambda_max, 1);
    ck_assert_double_eq(job.optimizer.sgd.clip, 1);
    ck_assert_double_eq(job.optimizer.sgd.lr, 0);
    ck_assert_int_eq(job.optimizer.sgd.rate, SP_RATE_FROZEN);
    ck_assert_int_eq(job.optimizer.sgd.schedule, SP_SGD_SCHEDULE_CONTINUE);
    ck_assert_double_eq(job.optimizer.sgd.step.epochs, 10);
    ck_assert_double_eq(job.optimizer.sgd.step.factor, 0.1);
    ck_assert_int_eq(job.optimizer.sgd.wire, SP_SGD_WIRE_AUTO);
    ck_assert_int_eq(job.optimizer.sgd.momentum, SP_MOMENTUM_EMA);
    ck_assert_int_eq(job.optimizer.sgd.aggregate, SP_AGGREGATE_MEAN);
    ck_assert_double_eq(job.optimizer.sgd.trim, 0.25);
    ck_assert_double_eq(job.optimizer.adam.lr, 1e-3);
    ck_assert_double_eq(job.optimizer.adam.beta1, 0.9);
    ck_assert_double_eq(job.optimizer.adam.beta2, 0.999);
    ck_assert_double_eq(job.optimizer.adam.eps, 1e-8);
}
END_TEST

/* The least and the largest value that a number of the optimizer takes, and the nearest ones that it does not. */
static const struct {
    const char *path;
    const char *taken[2], *refused[2];
} ranges[] = {
    {"optimizer.beta1", {"0", "0.999999"}, {"-0.1", "1"}},
    {"optimizer.beta2", {"0", "0.999999"}, {"-0.1", "1"}},
    {"optimizer.weight_decay", {"0", "1"}, {"-0.1", "1.1"}},
    {"optimizer.sign.lr", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sign.warmup", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.sign.step.epochs", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sign.step.factor", {"1e-30", "1"}, {"0", "1.1"}},
    {"optimizer.dither.sigma0", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.margin.lr", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.margin.sigma0", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.margin.until", {"0", "1"}, {"-0.1", "1.1"}},
    {"optimizer.switch.epoch", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.switch.step", {"0", "4000000000"}, {"-1", "4000000001"}},
    {"optimizer.switch.fraction", {"0", "1"}, {"-0.1", "1.1"}},
    {"optimizer.switch.tolerance", {"1e-30", "1"}, {"0", "1.1"}},
    {"optimizer.switch.patience", {"1", "4000000000"}, {"0", "4000000001"}},
    {"optimizer.sgd.scale", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sgd.lambda_min", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sgd.lambda_max", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sgd.clip", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.sgd.lr", {"0", "1e6"}, {"-0.1", "1000001"}},
    {"optimizer.sgd.step.epochs", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.sgd.step.factor", {"1e-30", "1"}, {"0", "1.1"}},
    {"optimizer.sgd.trim", {"0", "0.499999"}, {"-0.1", "0.5"}},
    {"optimizer.adam.lr", {"1e-30", "1e6"}, {"0", "1000001"}},
    {"optimizer.adam.beta1", {"0", "0.999999"}, {"-0.1", "1"}},
    {"optimizer.adam.beta2", {"0", "0.999999"}, {"-0.1", "1"}},
    {"optimizer.adam.eps", {"1e-30", "1"}, {"0", "1.1"}},
    {"full.lr", {"1e-30", "1e6"}, {"0", "1000001"}},
};

START_TEST(test_ranges_of_the_optimizer)
{
    size_t count = 0;

    for (size_t i = 0; i < COUNT(ranges); i++) {
        for (unsigned k = 0; k < 2; k++) {
            refuse(ranges[i].path, ranges[i].refused[k], SP_E_RANGE, NULL);
            set(ranges[i].path, ranges[i].taken[k]);
        }
    }
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        if (strncmp(key->path, "optimizer.", 10) == 0 && (key->type == SP_KEY_REAL || key->type == SP_KEY_UINT))
            count++;
    }
    ck_assert_uint_eq(count + 1, COUNT(ranges)); /* all of them, and full.lr */
}
END_TEST

/* What each choice of the optimizer takes, in the order of its enum. */
static const char *const choices[][2] = {
    {"optimizer.mode", "hybrid, sgd or adam"},
    {"optimizer.start", "sign or margin"},
    {"optimizer.sign.schedule", "constant, linear, cosine or step"},
    {"optimizer.dither.schedule", "none, constant, exponential, linear, cosine or inverse"},
    {"optimizer.dither.scale", "job, tensor or absolute"},
    {"optimizer.switch.when", "never, at, auto, swats or manual"},
    {"optimizer.switch.to", "sgd or margin"},
    {"optimizer.sgd.lambda", "paper, ratio, denoised, norm or norm_tensor"},
    {"optimizer.sgd.rate", "frozen or tracking"},
    {"optimizer.sgd.schedule", "continue, constant, linear, cosine or step"},
    {"optimizer.sgd.wire", "auto, f32, bf16 or i8"},
    {"optimizer.sgd.momentum", "ema or none"},
    {"optimizer.sgd.aggregate", "mean, median or trimmed_mean"},
};

START_TEST(test_choices_of_the_optimizer)
{
    size_t count = 0;

    for (size_t i = 0; i < COUNT(choices); i++) {
        char allowed[256];

        sp_job_allowed(sp_job_key(choices[i][0]), allowed, sizeof allowed);
        ck_assert_str_eq(allowed, choices[i][1]);
    }
    for (size_t i = 0; i < sp_job_keys_count; i++)
        count += sp_job_keys[i].type == SP_KEY_CHOICE && strncmp(sp_job_keys[i].path, "optimizer.", 10) == 0;
    ck_assert_uint_eq(count, COUNT(choices));
    set("optimizer.mode", "adam");
    ck_assert_int_eq(job.optimizer.mode, SP_MODE_ADAM);
    set("optimizer.start", "margin");
    ck_assert_int_eq(job.optimizer.start, SP_START_MARGIN);
    set("optimizer.sign.schedule", "step");
    ck_assert_int_eq(job.optimizer.sign.schedule, SP_SCHEDULE_STEP);
    set("optimizer.dither.schedule", "inverse");
    ck_assert_int_eq(job.optimizer.dither.schedule, SP_DITHER_INVERSE);
    set("optimizer.dither.scale", "absolute");
    ck_assert_int_eq(job.optimizer.dither.scale, SP_DITHER_SCALE_ABSOLUTE);
    set("optimizer.switch.when", "manual");
    ck_assert_int_eq(job.optimizer.switch_.when, SP_SWITCH_MANUAL);
    set("optimizer.switch.to", "margin");
    ck_assert_int_eq(job.optimizer.switch_.to, SP_SWITCH_TO_MARGIN);
    set("optimizer.sgd.lambda", "norm");
    ck_assert_int_eq(job.optimizer.sgd.lambda, SP_LAMBDA_NORM);
    set("optimizer.sgd.rate", "tracking");
    ck_assert_int_eq(job.optimizer.sgd.rate, SP_RATE_TRACKING);
    set("optimizer.sgd.schedule", "step");
    ck_assert_int_eq(job.optimizer.sgd.schedule, SP_SGD_SCHEDULE_STEP);
    set("optimizer.sgd.wire", "i8");
    ck_assert_int_eq(job.optimizer.sgd.wire, SP_SGD_WIRE_I8);
    set("optimizer.sgd.momentum", "none");
    ck_assert_int_eq(job.optimizer.sgd.momentum, SP_MOMENTUM_NONE);
    set("optimizer.sgd.aggregate", "trimmed_mean");
    ck_assert_int_eq(job.optimizer.sgd.aggregate, SP_AGGREGATE_TRIMMED_MEAN);
}
END_TEST

/* Whatever governs training travels in the PLAN; where things are and how long to wait does not. */
START_TEST(test_plan_has_all_that_governs_training)
{
    static const char *const others[] = {"data.format", "data.train.",   "data.test.",   "data.csv.",
                                         "model.init",  "model.threads", "train.report", "train.evaluate",
                                         "server.",     "security.",     "worker."};

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        bool local = false;

        for (size_t j = 0; j < COUNT(others); j++)
            local = local || strncmp(sp_job_keys[i].path, others[j], strlen(others[j])) == 0;
        ck_assert_msg(local == ((sp_job_keys[i].flags & SP_KEY_PLAN) == 0), "%s", sp_job_keys[i].path);
    }
}
END_TEST

/* Text and back. */

static const char *sample(const struct sp_key *key, unsigned i)
{
    static char text[64];

    switch (key->type) {
    case SP_KEY_STRING:
        return i == 0 ? "a" : "Name.of-it_7";
    case SP_KEY_UINT:
        return i == 0 ? "1" : key->max < 250 ? "7" : "250";
    case SP_KEY_REAL_LIST:
        return i == 0 ? "[0.1, 0.30000000000000004, 7]" : "0.25";
    case SP_KEY_REAL:
        return i == 0 ? "0.1" : "0.30000000000000004";
    case SP_KEY_BOOL:
        return i == 0 ? "true" : "false";
    case SP_KEY_CHOICE:
        return key->choices[i == 0 || key->choices[1] == NULL ? 0 : 1];
    case SP_KEY_UINT_LIST:
        (void)snprintf(text, sizeof text, i == 0 ? "[65536, 1, 7]" : "[]");
        return text;
    case SP_KEY_RULES:
        return i == 0 ? "[{match: \"bn*\", update: full}, {match: \"*\", update: vote, decay: false}]" : "[]";
    }
    return "";
}

START_TEST(test_every_key_gives_back_what_was_set)
{
    for (unsigned i = 0; i < 2; i++) {
        for (size_t k = 0; k < sp_job_keys_count; k++) {
            set(sp_job_keys[k].path, sample(&sp_job_keys[k], i));
            ck_assert_str_eq(get(&job, sp_job_keys[k].path), sample(&sp_job_keys[k], i));
        }
    }
}
END_TEST

static void check_copies(void)
{
    struct sp_job forwards, backwards;

    sp_job_init(&forwards);
    sp_job_init(&backwards);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *first = sp_job_keys[i].path, *last = sp_job_keys[sp_job_keys_count - 1 - i].path;

        ck_assert_int_eq(sp_job_set(&forwards, first, get(&job, first), NULL), SP_OK);
        ck_assert_int_eq(sp_job_set(&backwards, last, get(&job, last), NULL), SP_OK);
    }
    ck_assert_int_eq(memcmp(&forwards, &job, sizeof job), 0);
    ck_assert_int_eq(memcmp(&backwards, &job, sizeof job), 0);
}

START_TEST(test_whole_jobs_copy_by_text_in_any_order)
{
    set("job", "copy");
    set("data.train.images", "i");
    set("data.train.labels", "l");
    check_copies();
    set("workers", "4");
    set("server.close.quorum", "3");
    set("optimizer.switch.when", "at");
    set("optimizer.switch.fraction", "0.7");
    set("model.hidden", "[300, 200, 100]");
    set("tensors", "[{match: \"bn*\", update: full}, {match: \"*.bias\", decay: true}]");
    set("seed", "18446744073709551615");
    check_copies();
    for (size_t k = 0; k < sp_job_keys_count; k++)
        if (strncmp(sp_job_keys[k].path, "server.close", 12) != 0)
            set(sp_job_keys[k].path, sample(&sp_job_keys[k], 1));
    check_copies();
}
END_TEST

START_TEST(test_reals_come_back_to_the_bit)
{
    static const double some[] = {0.1,          1.0 / 3, 2.0e-3, 1e-300, 5e-324, DBL_MIN, 0.305, 999999.99999999988,
                                  0x1.fffffep-3};
    uint64_t state = 1;

    for (size_t i = 0; i < COUNT(some) + 5000; i++) {
        double value;
        char text[64], back[SP_VALUE_BYTES];

        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        value = i < COUNT(some) ? some[i] : ldexp((double)(state >> 11), -53 - (int)(state % 30) + 10);
        (void)snprintf(text, sizeof text, "%.17g", value);
        set("optimizer.dither.sigma0", text);
        ck_assert_double_eq(job.optimizer.dither.sigma0, value);
        (void)snprintf(back, sizeof back, "%s", get(&job, "optimizer.dither.sigma0"));
        set("optimizer.sgd.lr", back);
        ck_assert_int_eq(memcmp(&job.optimizer.sgd.lr, &value, sizeof value), 0);
    }
}
END_TEST

START_TEST(test_reals_are_shown_short)
{
    static const char *const texts[][2] = {
        {"2.0e-3", "0.002"}, {"0.1", "0.1"},     {"1E+2", "100"},
        {"+.5", "0.5"},      {"5.", "5"},        {"-0", "0"},
        {"1e-9", "1e-09"},   {"0.305", "0.305"}, {"0.123456789012", "0.123456789012"}};

    for (size_t i = 0; i < COUNT(texts); i++) {
        set("optimizer.dither.sigma0", texts[i][0]);
        ck_assert_str_eq(get(&job, "optimizer.dither.sigma0"), texts[i][1]);
    }
}
END_TEST

START_TEST(test_numbers_do_not_depend_on_the_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (setlocale(LC_ALL, names[i]) != NULL)
            break;
    set("optimizer.sign.lr", "0.25");
    ck_assert_double_eq(job.optimizer.sign.lr, 0.25);
    ck_assert_str_eq(get(&job, "optimizer.sign.lr"), "0.25");
    refuse("optimizer.sign.lr", "0,25", SP_E_SYNTAX, NULL);
    ck_assert(setlocale(LC_ALL, "C") != NULL);
}
END_TEST

/* What is refused. */

START_TEST(test_whole_numbers_are_strict)
{
    static const char *const bad[] = {"",   " ",   " 4",  "4 ",  "4x",  "x",   "+4", "04",
                                      "00", "0x4", "1e2", "4.0", "4_0", "--4", "-"};

    for (size_t i = 0; i < COUNT(bad); i++) {
        refuse("workers", bad[i], SP_E_SYNTAX, NULL);
        refuse("seed", bad[i], SP_E_SYNTAX, NULL);
    }
    refuse("workers", "0", SP_E_RANGE, "workers: must be a whole number from 1 to 255, not '0'");
    refuse("workers", "256", SP_E_RANGE, "workers: must be a whole number from 1 to 255, not '256'");
    refuse("workers", "-1", SP_E_RANGE, NULL);
    refuse("workers", "4294967297", SP_E_RANGE, NULL);
    refuse("workers", "99999999999999999999999999", SP_E_RANGE, NULL);
    refuse("seed", "18446744073709551616", SP_E_RANGE,
           "seed: must be a whole number from 0 to 18446744073709551615, not '18446744073709551616'");
    refuse("train.rounds", "4000000001", SP_E_RANGE, NULL);
    set("train.rounds", "4000000000");
    ck_assert_uint_eq(job.train.rounds, 4000000000u);
    set("seed", "18446744073709551615");
    ck_assert(job.seed == UINT64_MAX);
    set("seed", "0");
    ck_assert(job.seed == 0);
}
END_TEST

START_TEST(test_reals_are_strict)
{
    static const char *const bad[] = {"",    " ",        " 1",    "1 ",     "nan", "NaN", "-nan",
                                      "inf", "infinity", ".inf",  "0x1p-3", "1e",  "1e+", "e1",
                                      ".",   "+",        "1.2.3", "1,5",    "1f",  "--1", "1_0"};

    for (size_t i = 0; i < COUNT(bad); i++)
        refuse("optimizer.sign.lr", bad[i], SP_E_SYNTAX, NULL);
    refuse("optimizer.sign.lr", "1e999", SP_E_RANGE, NULL);
    refuse("optimizer.sign.lr", "1e-999", SP_E_RANGE, NULL);
    refuse("optimizer.sign.lr", "0", SP_E_RANGE,
           "optimizer.sign.lr: must be a number of more than 0 and at most 1000000, not '0'");
    refuse("optimizer.sign.lr", "-0.0", SP_E_RANGE, NULL);
    refuse("optimizer.beta1", "1", SP_E_RANGE,
           "optimizer.beta1: must be a number of at least 0 and less than 1, not '1'");
    refuse("optimizer.beta1", "-1e-9", SP_E_RANGE, NULL);
    refuse("optimizer.switch.fraction", "1.01", SP_E_RANGE, NULL);
    set("optimizer.beta1", "0.99999999999999989");
    set("optimizer.beta1", "0");
    set("optimizer.weight_decay", "1");
    set("optimizer.switch.fraction", "1");
    set("data.scale.mean", "-3");
}
END_TEST

START_TEST(test_names_and_texts_are_checked)
{
    static const char *const bad[] = {"a b", ".a", "-a", "_a", "a/b", "..", "a\n", "\xC3\xA4", "a\x7f"};
    char text[SP_STRING_BYTES + 1];

    for (size_t i = 0; i < COUNT(bad); i++)
        refuse("job", bad[i], SP_E_SYNTAX, NULL);
    refuse("job", "", SP_E_MISSING, NULL);
    set("job", "1.a_b-C");
    memset(text, 'x', sizeof text);
    text[64] = '\0';
    refuse("job", text, SP_E_RANGE, NULL);
    text[63] = '\0';
    set("job", text);
    text[63] = text[64] = 'x';
    text[SP_STRING_BYTES] = '\0';
    refuse("data.test.images", text, SP_E_RANGE, NULL);
    text[SP_STRING_BYTES - 1] = '\0';
    set("data.test.images", text);
    ck_assert_str_eq(job.data.test_images, text);
    set("data.test.images", "");
    ck_assert_str_eq(job.data.test_images, "");
    refuse("data.test.images", "a\tb\x1b[0m", SP_E_SYNTAX,
           "data.test.images: must be a text of at most 1023 bytes without control characters, not 'a\\x09b\\x1B[0m'");
    set("data.test.images", "gr\xC3\xBC\xC3\x9F"
                            "e x/y");
}
END_TEST

/* One number or several; of one the list is the number. */
START_TEST(test_lists_of_reals)
{
    set("data.scale.mean", "[0.49, -0.48, 4.5e-1]");
    ck_assert_uint_eq(job.data.mean_count, 3);
    ck_assert_double_eq(job.data.mean[1], -0.48);
    ck_assert_str_eq(get(&job, "data.scale.mean"), "[0.49, -0.48, 0.45]");
    set("data.scale.mean", "[ 0.1307 ]");
    ck_assert_uint_eq(job.data.mean_count, 1);
    ck_assert_str_eq(get(&job, "data.scale.mean"), "0.1307");
    ck_assert_double_eq(job.data.mean[1], 0);
    set("data.scale.std", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,0.30000000000000004]");
    ck_assert_double_eq(job.data.std[15], 0.30000000000000004);
    refuse("data.scale.std", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", SP_E_RANGE, NULL);
    refuse("data.scale.std", "[1, 0]", SP_E_RANGE,
           "data.scale.std: must be a number of more than 0 and at most 1000000, or a list of 1 to 16 of them, such as "
           "[0.5, 0.25], not '[1, 0]'");
    refuse("data.scale.std", "[]", SP_E_RANGE, NULL);
    refuse("data.scale.std", "", SP_E_SYNTAX, NULL);
    refuse("data.scale.std", "[1, 2", SP_E_SYNTAX, NULL);
    refuse("data.scale.std", "[1, x]", SP_E_SYNTAX, NULL);
    refuse("data.scale.std", "[1, nan]", SP_E_SYNTAX, NULL);
    refuse("data.scale.std", "[1,, 2]", SP_E_SYNTAX, NULL);
    refuse("data.scale.std", "1, 2", SP_E_SYNTAX, NULL);
    refuse("data.scale.mean", "[1, 1e7]", SP_E_RANGE, NULL);
    ck_assert_double_eq(job.data.std[15], 0.30000000000000004);
}
END_TEST

START_TEST(test_lists_bools_and_choices_are_checked)
{
    static const char *const bad[] = {"",    "64",    "[",     "]",      "[64", "64]",   "[,]",   "[64,]",   "[64 32]",
                                      "[a]", "[1.5]", "[64],", "[[64]]", "[-]", " [64]", "[64] ", "[64,,32]"};

    for (size_t i = 0; i < COUNT(bad); i++)
        refuse("model.hidden", bad[i], SP_E_SYNTAX, NULL);
    refuse("model.hidden", "[0]", SP_E_RANGE,
           "model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], not '[0]'");
    refuse("model.hidden", "[65537]", SP_E_RANGE, NULL);
    refuse("model.hidden", "[11111111111111111111111111]", SP_E_RANGE, NULL);
    refuse("model.hidden", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", SP_E_RANGE, NULL);
    set("model.hidden", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]");
    ck_assert_uint_eq(job.model.hidden_count, 16);
    set("model.hidden", "[ 64 ,32 ]");
    ck_assert_str_eq(get(&job, "model.hidden"), "[64, 32]");
    refuse("optimizer.switch.dry_run", "True", SP_E_SYNTAX,
           "optimizer.switch.dry_run: must be true or false, not 'True'");
    refuse("optimizer.switch.dry_run", "1", SP_E_SYNTAX, NULL);
    refuse("model.type", "mpl", SP_E_RANGE, "model.type: must be softmax, mlp, lenet or resnet18, not 'mpl'");
    refuse("model.type", "MLP", SP_E_RANGE, NULL);
    refuse("data.shards", "sorted", SP_E_RANGE, "data.shards: must be iid or by_label, not 'sorted'");
    set("data.shards", "by_label");
    ck_assert_int_eq(job.data.shards, SP_SHARDS_BY_LABEL);
    refuse("optimizer.dither.schedule", "", SP_E_RANGE,
           "optimizer.dither.schedule: must be none, constant, exponential, linear, cosine or inverse, not ''");
}
END_TEST

START_TEST(test_unknown_keys_get_a_suggestion)
{
    static const char *const cases[][2] = {{"sead", "seed"},
                                           {"workres", "workers"},
                                           {"train.bacth", "train.batch"},
                                           {"train.epoch", "train.epochs"},
                                           {"optimiser.sign.lr", "optimizer.sign.lr"},
                                           {"optimizer.sing.lr", "optimizer.sign.lr"},
                                           {"optimiser", "optimizer"},
                                           {"optimizer.dithr", "optimizer.dither"},
                                           {"Seed", "seed"},
                                           {"batch", "train.batch"},
                                           {"optimizer.batch", "train.batch"},
                                           {"switch.when", "optimizer.switch.when"},
                                           {"server.heartbeat_timeout", "server.heartbeat.timeout"},
                                           {"model.hiden", "model.hidden"}};
    static const char *const none[] = {"",
                                       ".",
                                       "..",
                                       "lr",
                                       "x",
                                       "bogus",
                                       "optimizer.sign.xx",
                                       "train.",
                                       "a.very.long.path.with.more.characters.than.any.key.of.the.table.has.got"};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char words[160];

        (void)snprintf(words, sizeof words, "unknown key '%s'; did you mean '%s'?", cases[i][0], cases[i][1]);
        refuse(cases[i][0], "1", SP_E_UNKNOWN, words);
    }
    for (size_t i = 0; i < COUNT(none); i++) {
        char words[160];

        (void)snprintf(words, sizeof words, "unknown key '%s'; README.md lists all keys", none[i]);
        refuse(none[i], "1", SP_E_UNKNOWN, words);
    }
    refuse("optimizer.sign", "1", SP_E_UNKNOWN,
           "'optimizer.sign' is a group of keys; name one of them, such as 'optimizer.sign.lr'");
    refuse("optimizer.sign.step", "10", SP_E_UNKNOWN,
           "'optimizer.sign.step' is a group of keys; name one of them, such as 'optimizer.sign.step.epochs'");
    ck_assert_ptr_null(sp_job_key("optimizer.sign"));
    ck_assert_ptr_null(sp_job_key(""));
}
END_TEST

START_TEST(test_quoting_is_safe_and_bounded)
{
    char out[SP_QUOTED_BYTES], text[1024];

    ck_assert_str_eq(sp_job_quote("", out), "");
    ck_assert_str_eq(sp_job_quote("a\x1b[1m\r\n\x7f", out), "a\\x1B[1m\\x0D\\x0A\\x7F");
    ck_assert_str_eq(sp_job_quote("\xC3\xBC", out), "\xC3\xBC");
    for (size_t length = 0; length < 300; length++) {
        memset(text, 1, length);
        text[length] = '\0';
        ck_assert_uint_lt(strlen(sp_job_quote(text, out)), sizeof out);
        for (size_t i = 0; i < length; i++)
            text[i] = i % 2 == 0 ? '\xC3' : '\xBC';
        sp_job_quote(text, out);
        ck_assert_uint_lt(strlen(out), sizeof out);
        if (length > 200)
            ck_assert_str_eq(out + strlen(out) - 5, "\xC3\xBC...");
        memset(text, 0xBC, length);
        ck_assert_uint_lt(strlen(sp_job_quote(text, out)), sizeof out);
    }
}
END_TEST

START_TEST(test_quorum_and_close_follow_each_other)
{
    set("workers", "4");
    set("server.close.quorum", "3");
    ck_assert_int_eq(job.server.close, SP_CLOSE_QUORUM);
    set("server.close", "all");
    ck_assert_uint_eq(job.server.quorum, 0);
    set("server.close.quorum", "0");
    ck_assert_int_eq(job.server.close, SP_CLOSE_ALL);
    set("server.close", "quorum");
    ck_assert_uint_eq(sp_job_validate(&job, NULL, NULL), 1);
    set("server.close.quorum", "4");
    ck_assert_uint_eq(sp_job_validate(&job, NULL, NULL), 0);
    refuse("server.close.quorum", "256", SP_E_RANGE, NULL);
    refuse("server.close.deadline", "fixed", SP_E_RANGE, "server.close.deadline: must be adaptive, not 'fixed'");
}
END_TEST

/* Keys together. */

struct report {
    char text[2048];
};

static void note(void *arg, const char *path, const char *words)
{
    struct report *report = arg;
    size_t used = strlen(report->text);

    ck_assert_ptr_nonnull(sp_job_key(path));
    ck_assert_int_eq(strncmp(words, path, strlen(path)), 0);
    (void)snprintf(report->text + used, sizeof report->text - used, "%s\n", words);
}

static void expect_findings(const char *expected)
{
    struct report report = {.text = ""};
    unsigned lines = 0;

    for (const char *c = expected; *c != '\0'; c++)
        lines += *c == '\n';
    ck_assert_uint_eq(sp_job_validate(&job, note, &report), lines);
    ck_assert_str_eq(report.text, expected);
    setup();
}

/* Only signpost-worker needs data; a job may be for workers of another kind. */
START_TEST(test_data_are_needed_by_who_trains_on_them)
{
    struct sp_error error = {0};

    set("job", "bare");
    ck_assert_uint_eq(sp_job_validate(&job, NULL, NULL), 0);
    ck_assert_int_eq(sp_job_need_data(&job, &error), SP_E_MISSING);
    ck_assert_ptr_nonnull(strstr(error.text, "job 'bare' names no data"));
    set("data.train.images", "i");
    ck_assert_int_eq(sp_job_need_data(&job, &error), SP_OK);
    expect_findings("data.train.labels: missing, but data.train.images is given; give both or neither\n");
}
END_TEST

START_TEST(test_validate_data_and_model)
{
    expect_findings("");
    set("data.test.images", "x");
    expect_findings("data.test.labels: missing, but data.test.images is given; give both or neither\n");
    set("data.test.labels", "x");
    expect_findings("data.test.images: missing, but data.test.labels is given; give both or neither\n");
    set("data.test.images", "x");
    set("data.test.labels", "x");
    expect_findings("");
    set("model.hidden", "[]");
    expect_findings("model.hidden: an mlp needs at least one hidden layer; without one use model.type softmax\n");
    set("model.hidden", "[]");
    set("model.type", "softmax");
    expect_findings("");
}
END_TEST

START_TEST(test_validate_keys_of_a_format)
{
    static const char *const others[] = {"cifar10", "cifar100", "csv"};

    set("data.train.files", "x");
    expect_findings("data.train.files: data.format idx does not use it; give data.train.images and data.train.labels "
                    "instead, or another data.format\n");
    set("data.test.files", "x");
    expect_findings("data.test.files: data.format idx does not use it; give data.test.images and data.test.labels "
                    "instead, or another data.format\n");
    for (size_t i = 0; i < COUNT(others); i++) {
        char words[512];

        set("data.format", others[i]);
        set("data.train.files", "x");
        set("data.test.files", "x");
        ck_assert_int_eq(sp_job_need_data(&job, NULL), SP_OK);
        expect_findings("");
        set("data.format", others[i]);
        set("data.train.images", "x");
        set("data.test.labels", "x");
        ck_assert_int_eq(sp_job_need_data(&job, NULL), SP_E_MISSING);
        (void)snprintf(
            words, sizeof words,
            "data.train.images: data.format %s does not use it; give data.train.files instead, or another "
            "data.format\ndata.test.labels: data.format %s does not use it; give data.test.files instead, or "
            "another data.format\n",
            others[i], others[i]);
        expect_findings(words);
    }
}
END_TEST

START_TEST(test_validate_csv)
{
    set("data.format", "csv");
    ck_assert_double_eq(sp_job_divide(&job), 1);
    set("data.csv.shape", "[8]");
    expect_findings("data.csv.shape: 1 number; give [height, width] or [channels, height, width]\n");
    set("data.format", "csv");
    set("data.csv.shape", "[1, 1, 8, 8]");
    expect_findings("data.csv.shape: 4 numbers; give [height, width] or [channels, height, width]\n");
    set("data.format", "csv");
    set("data.csv.label", "");
    expect_findings("data.csv.label: must name the column with the class, or give its number from 1\n");
    for (unsigned i = 0; i < 2; i++) {
        set("data.format", "csv");
        set("data.csv.header", "false");
        set("data.csv.label", i == 0 ? "label" : "0");
        expect_findings(
            "data.csv.label: must be a column's number from 1, as data.csv.header is false: no column has a "
            "name\n");
    }
    set("data.format", "csv");
    set("data.csv.header", "false");
    set("data.csv.label", "10");
    expect_findings("");
    set("data.format", "csv");
    set("data.augment.flip", "true");
    expect_findings("data.augment.flip: only has a meaning for images; say by data.csv.shape what image a row is, or "
                    "leave this out\n");
    set("data.format", "csv");
    set("data.csv.shape", "[1, 64]");
    set("data.augment.crop", "1");
    expect_findings("data.augment.crop: only has a meaning for images; say by data.csv.shape what image a row is, or "
                    "leave this out\n");
    set("data.format", "csv");
    set("data.csv.shape", "[8, 8]");
    set("data.augment.crop", "64");
    expect_findings("");
    refuse("data.augment.crop", "65", SP_E_RANGE, NULL);
}
END_TEST

START_TEST(test_validate_scale)
{
    static const char *const computes[] = {"all", "channel", "input"};

    for (size_t i = 0; i < COUNT(computes); i++) {
        set("data.scale.compute", computes[i]);
        expect_findings("");
        set("data.scale.compute", computes[i]);
        set("data.scale.mean", "0.1");
        set("data.scale.std", "[1, 1]");
        expect_findings("data.scale.mean: is computed, as data.scale.compute says; leave one of the two out\n"
                        "data.scale.std: is computed, as data.scale.compute says; leave one of the two out\n");
    }
    set("data.scale.divide", "16");
    ck_assert_double_eq(sp_job_divide(&job), 16);
}
END_TEST

START_TEST(test_validate_switch)
{
    static const char *const moments[] = {"optimizer.switch.epoch", "optimizer.switch.step",
                                          "optimizer.switch.fraction"};
    static const char *const whens[] = {"never", "auto", "swats", "manual"};

    for (size_t i = 0; i < COUNT(moments); i++) {
        set("optimizer.switch.when", "at");
        set(moments[i], "1");
        expect_findings("");
        for (size_t j = 0; j < COUNT(whens); j++) {
            char words[160];

            set("optimizer.switch.when", whens[j]);
            set(moments[i], "1");
            (void)snprintf(words, sizeof words,
                           "%s: only has a meaning with optimizer.switch.when at; set that, or leave this out\n",
                           moments[i]);
            expect_findings(words);
        }
    }
    set("optimizer.switch.when", "at");
    expect_findings(
        "optimizer.switch.when: at needs its moment: set one of optimizer.switch.epoch, step and fraction to "
        "more than 0\n");
    set("optimizer.switch.when", "at");
    set("optimizer.switch.epoch", "3");
    set("optimizer.switch.step", "100");
    expect_findings("optimizer.switch.step: only one of optimizer.switch.epoch, step and fraction can be the moment\n");
}
END_TEST

START_TEST(test_validate_phases)
{
    set("optimizer.start", "margin");
    expect_findings("");
    set("optimizer.start", "margin");
    set("optimizer.switch.to", "margin");
    expect_findings("optimizer.switch.to: margin is where the job is already, by optimizer.start; set this to sgd, or "
                    "optimizer.start to sign\n");
    set("optimizer.switch.to", "margin");
    set("optimizer.margin.until", "0.9");
    expect_findings("");
    set("optimizer.margin.until", "0.9");
    expect_findings("optimizer.margin.until: only has a meaning with optimizer.switch.to margin; set that, or leave "
                    "this out\n");
    set("optimizer.sgd.rate", "tracking");
    expect_findings("");
    set("optimizer.sgd.rate", "tracking");
    set("optimizer.sgd.lr", "0.1");
    expect_findings("optimizer.sgd.rate: tracking has nothing to track while optimizer.sgd.lr fixes the rate; leave "
                    "one of the two out\n");
}
END_TEST

/* One key is flipped to compare, and the rest of the file stays as it is. */
START_TEST(test_other_modes_do_not_mind_the_keys_of_phases)
{
    static const char *const modes[] = {"sgd", "adam"};

    for (size_t i = 0; i < COUNT(modes); i++) {
        set("optimizer.mode", modes[i]);
        set("optimizer.start", "margin");
        set("optimizer.switch.to", "margin");
        set("optimizer.switch.dry_run", "true");
        set("optimizer.switch.when", "swats");
        set("optimizer.dither.sigma0", "1");
        set("optimizer.sgd.rate", "tracking");
        set("optimizer.sgd.lr", "0.1");
        expect_findings("");
        set("optimizer.mode", modes[i]);
        set("optimizer.margin.until", "0.9");
        expect_findings("");
    }
}
END_TEST

START_TEST(test_validate_rates)
{
    set("optimizer.sgd.lambda_min", "1");
    expect_findings("");
    set("optimizer.sgd.lambda_min", "2");
    expect_findings("optimizer.sgd.lambda_min: 2 is more than optimizer.sgd.lambda_max (1)\n");
    set("optimizer.sign.warmup", "9.99");
    expect_findings("");
    set("optimizer.sign.warmup", "10");
    expect_findings("optimizer.sign.warmup: 10 epochs leave nothing of the job, which has 10 (train.epochs); make it "
                    "shorter\n");
    set("optimizer.sign.warmup", "10");
    set("train.rounds", "5"); /* how many epochs that is, only the data can say */
    expect_findings("");
    set("optimizer.sign.schedule", "constant");
    set("optimizer.sgd.trim", "0.4");
    set("optimizer.switch.tolerance", "0.5");
    expect_findings("");
}
END_TEST

START_TEST(test_validate_tensors)
{
    static const char rules[] = "[{match: a, update: full}, {match: b, decay: true}, {match: c, update: vote}, "
                                "{match: d*, update: full, decay: true}]";

    set("tensors", rules);
    expect_findings("");
    set("tensors", rules);
    set("optimizer.mode", "sgd");
    expect_findings("");
    set("tensors", rules);
    set("optimizer.mode", "adam");
    expect_findings(
        "tensors: rule 1 (\"a\") has update: full, but in mode adam every tensor is updated by Adam; leave "
        "that out\n"
        "tensors: rule 4 (\"d*\") has update: full, but in mode adam every tensor is updated by Adam; leave "
        "that out\n");
}
END_TEST

START_TEST(test_validate_server)
{
    set("server.min_live", "2");
    expect_findings("server.min_live: 2 is more than the job's workers (1)\n");
    set("server.close.quorum", "2");
    expect_findings("server.close.quorum: 2 is more than the job's workers (1)\n");
    set("workers", "5");
    set("server.close", "quorum");
    expect_findings("server.close.quorum: must say how many workers are enough, 1 to 5: close: {quorum: N}\n");
    set("server.heartbeat.interval", "7.6");
    expect_findings("server.heartbeat.timeout: 15 seconds is less than twice server.heartbeat.interval (7.6)\n");
    set("server.heartbeat.interval", "7.5");
    expect_findings("");
    set("server.listen", "here");
    expect_findings("server.listen: 'here' is not HOST:PORT\n");
    set("server.listen", "");
    expect_findings("server.listen: '' is not HOST:PORT\n");
    set("server.http", "h:70000");
    expect_findings("server.http: 'h:70000': the port must be a number from 0 to 65535\n");
    set("server.http", "127.0.0.1:7701");
    set("server.listen", "[::1]:0");
    expect_findings("");
}
END_TEST

/* A worker's secret that is the operators' as well would let every worker stop the job. */
START_TEST(test_validate_security)
{
    set("security.token_file", "a");
    expect_findings("");
    set("security.operator_token_file", "a");
    expect_findings(""); /* operators alone */
    set("security.token_file", "a");
    set("security.operator_token_file", "b");
    expect_findings("");
    set("security.token_file", "a");
    set("security.operator_token_file", "a");
    expect_findings("security.operator_token_file: must be another file than security.token_file: else every worker "
                    "could operate the job\n");
    set("security.insecure", "true"); /* where that has a meaning, the server alone can see */
    expect_findings("");
}
END_TEST

/* Paths and rounds. */

START_TEST(test_paths_are_relative_to_the_folder)
{
    char out[2 * SP_STRING_BYTES], small[8];

    sp_job_path(&job, "digits/x", out, sizeof out);
    ck_assert_str_eq(out, "digits/x");
    (void)snprintf(job.folder, sizeof job.folder, "configs");
    sp_job_path(&job, "digits/x", out, sizeof out);
    ck_assert_str_eq(out, "configs/digits/x");
    sp_job_path(&job, "/data/x", out, sizeof out);
    ck_assert_str_eq(out, "/data/x");
    sp_job_path(&job, "", out, sizeof out);
    ck_assert_str_eq(out, "");
    (void)snprintf(job.folder, sizeof job.folder, "/");
    sp_job_path(&job, "x", out, sizeof out);
    ck_assert_str_eq(out, "/x");
    sp_job_path(&job, "123456", small, sizeof small);
    ck_assert_str_eq(small, "/123456");
    sp_job_path(&job, "1234567", small, sizeof small);
    ck_assert_str_eq(small, "");
}
END_TEST

START_TEST(test_rounds_follow_the_formula)
{
    set("workers", "4");
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, 1437), 23);
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, 64), 1);
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, 65), 2);
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, 1), 1);
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, 0), 1);
    set("train.epochs", "30");
    ck_assert_uint_eq(sp_job_rounds(&job, 1437), 690);
    set("train.epochs", "0.5");
    ck_assert_uint_eq(sp_job_rounds(&job, 1437), 12);
    set("train.epochs", "1e-9");
    ck_assert_uint_eq(sp_job_rounds(&job, 1437), 1);
    set("train.rounds", "77");
    ck_assert_uint_eq(sp_job_rounds(&job, 1437), 77);
}
END_TEST

START_TEST(test_rounds_are_clamped)
{
    set("train.batch", "1");
    ck_assert_uint_eq(sp_job_epoch_rounds(&job, UINT64_MAX), UINT32_MAX);
    ck_assert_uint_eq(sp_job_rounds(&job, UINT64_MAX), UINT32_MAX);
    set("train.epochs", "1000000");
    ck_assert_uint_eq(sp_job_rounds(&job, 5000), UINT32_MAX);
    set("train.epochs", "1");
    ck_assert_uint_eq(sp_job_rounds(&job, UINT32_MAX), UINT32_MAX);
    ck_assert_uint_eq(sp_job_rounds(&job, UINT32_MAX - 1), UINT32_MAX - 1);
}
END_TEST

/* k/10 epochs of n rounds is ceil(k*n/10), although most tenths are not exact in binary. */
START_TEST(test_fractions_of_epochs_round_up_only_where_they_should)
{
    set("train.batch", "1");
    for (unsigned k = 1; k < 100; k++) {
        char text[32];

        (void)snprintf(text, sizeof text, "%u.%u", k / 10, k % 10);
        set("train.epochs", text);
        for (unsigned n = 1; n < 300; n++)
            ck_assert_uint_eq(sp_job_rounds(&job, n), (k * n + 9) / 10);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("job");
    TCase *c = tcase_create("job");

    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, test_table_rows_are_sound);
    tcase_add_test(c, test_defaults_are_what_the_table_says);
    tcase_add_test(c, test_defaults_are_the_documented_ones);
    tcase_add_test(c, test_defaults_of_the_first_phase);
    tcase_add_test(c, test_defaults_of_the_switch_and_what_follows);
    tcase_add_test(c, test_ranges_of_the_optimizer);
    tcase_add_test(c, test_choices_of_the_optimizer);
    tcase_add_test(c, test_plan_has_all_that_governs_training);
    tcase_add_test(c, test_every_key_gives_back_what_was_set);
    tcase_add_test(c, test_whole_jobs_copy_by_text_in_any_order);
    tcase_add_test(c, test_reals_come_back_to_the_bit);
    tcase_add_test(c, test_reals_are_shown_short);
    tcase_add_test(c, test_numbers_do_not_depend_on_the_locale);
    tcase_add_test(c, test_whole_numbers_are_strict);
    tcase_add_test(c, test_reals_are_strict);
    tcase_add_test(c, test_names_and_texts_are_checked);
    tcase_add_test(c, test_data_are_needed_by_who_trains_on_them);
    tcase_add_test(c, test_lists_of_reals);
    tcase_add_test(c, test_lists_bools_and_choices_are_checked);
    tcase_add_test(c, test_unknown_keys_get_a_suggestion);
    tcase_add_test(c, test_quoting_is_safe_and_bounded);
    tcase_add_test(c, test_quorum_and_close_follow_each_other);
    tcase_add_test(c, test_validate_data_and_model);
    tcase_add_test(c, test_validate_keys_of_a_format);
    tcase_add_test(c, test_validate_csv);
    tcase_add_test(c, test_validate_scale);
    tcase_add_test(c, test_validate_switch);
    tcase_add_test(c, test_validate_phases);
    tcase_add_test(c, test_other_modes_do_not_mind_the_keys_of_phases);
    tcase_add_test(c, test_validate_rates);
    tcase_add_test(c, test_validate_tensors);
    tcase_add_test(c, test_validate_server);
    tcase_add_test(c, test_validate_security);
    tcase_add_test(c, test_paths_are_relative_to_the_folder);
    tcase_add_test(c, test_rounds_follow_the_formula);
    tcase_add_test(c, test_rounds_are_clamped);
    tcase_add_test(c, test_fractions_of_epochs_round_up_only_where_they_should);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return unit_run_all(suite());
}
