/* Job files: what is read from them, and where each kind of mistake is found. Lines and columns are counted from 1. */
#include "common/config.h"
#include "tests/unit/unit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Two lines with all that is required; what a test adds begins in line 3. */
#define HEAD "job: a\ndata: {train: {images: i, labels: l}}\n"

static struct sp_job job;
static struct sp_problems problems;

static int parse_bytes(const char *text, size_t bytes)
{
    /* A copy without a byte to spare, so that AddressSanitizer sees a read past the end. */
    char *copy = malloc(bytes > 0 ? bytes : 1);
    int rc;

    ck_assert_ptr_nonnull(copy);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    rc = sp_config_parse("t.yaml", copy, bytes, NULL, 0, &job, &problems);
    free(copy);
    ck_assert_int_eq(rc == SP_OK, problems.count == 0);
    return rc;
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static const char *problem(unsigned i)
{
    static char text[2 * SP_STRING_BYTES];

    if (i >= problems.count)
        return "(no such problem)";
    sp_problem_text(&problems, i, text, sizeof text);
    return text;
}

static void expect_ok(int rc)
{
    ck_assert_msg(rc == SP_OK, "%s", problem(0));
}

/* The only problem is this one. */
static void expect_only(const char *text, int code, const char *expected)
{
    int rc = parse(text);

    ck_assert_msg(problems.count >= 1, "no problem in: %s", text);
    ck_assert_str_eq(problem(0), expected);
    ck_assert_msg(problems.count == 1, "also: %s", problem(1));
    ck_assert_int_eq(rc, code);
}

static const char *get(const char *path)
{
    static char text[SP_VALUE_BYTES];

    sp_job_get(&job, sp_job_key(path), text, sizeof text);
    return text;
}

/* Up to four --set, NULL for none. */
static int parse_with(const char *text, const char *a, const char *b, const char *c, const char *d)
{
    const char *const sets[] = {a, b, c, d};
    size_t count = 0;

    while (count < COUNT(sets) && sets[count] != NULL)
        count++;
    return sp_config_parse("t.yaml", text, strlen(text), sets, count, &job, &problems);
}

/* Files that are right. */

/* The example of the design. */
static const char example[] =
    "job: digits\n"
    "seed: 1\n"
    "workers: 4\n"
    "data:\n"
    "  format: idx\n"
    "  train: {images: digits/train-images-idx3-ubyte, labels: digits/train-labels-idx1-ubyte}\n"
    "  test:  {images: digits/test-images-idx3-ubyte,  labels: digits/test-labels-idx1-ubyte}\n"
    "  scale: {divide: 16, mean: 0.305, std: 0.376}\n"
    "model: {type: mlp, hidden: [64]}\n"
    "train: {batch: 16, epochs: 30}             # batch per worker\n"
    "optimizer:\n"
    "  beta1: 0.9\n"
    "  sign:   {lr: 2.0e-3, schedule: linear}\n"
    "  dither: {sigma0: 0.5, schedule: exponential}\n"
    "  switch: {when: auto}\n"
    "  sgd:    {lambda: norm_tensor, scale: 0.6, rate: frozen, schedule: continue, wire: i8}\n"
    "server: {listen: 127.0.0.1:7700, http: 127.0.0.1:7701, close: all, min_live: 1}\n";

static void check_example(void)
{
    ck_assert_str_eq(job.job, "digits");
    ck_assert_uint_eq(job.seed, 1);
    ck_assert_uint_eq(job.workers, 4);
    ck_assert_str_eq(job.data.train_images, "digits/train-images-idx3-ubyte");
    ck_assert_str_eq(job.data.test_labels, "digits/test-labels-idx1-ubyte");
    ck_assert_double_eq(job.data.divide, 16);
    ck_assert_double_eq(job.data.mean[0], 0.305);
    ck_assert_double_eq(job.data.std[0], 0.376);
    ck_assert_int_eq(job.model.type, SP_MODEL_MLP);
    ck_assert_uint_eq(job.model.hidden_count, 1);
    ck_assert_uint_eq(job.model.hidden[0], 64);
    ck_assert_uint_eq(job.train.batch, 16);
    ck_assert_double_eq(job.train.epochs, 30);
    ck_assert_double_eq(job.optimizer.sign.lr, 0.002);
    ck_assert_double_eq(job.optimizer.dither.sigma0, 0.5);
    ck_assert_int_eq(job.optimizer.switch_.when, SP_SWITCH_AUTO);
    ck_assert_double_eq(job.optimizer.sgd.scale, 0.6);
    ck_assert_int_eq(job.server.close, SP_CLOSE_ALL);
}

START_TEST(test_example_of_the_design)
{
    expect_ok(parse(example));
    check_example();
    ck_assert_str_eq(job.server.http, "127.0.0.1:7701");
    ck_assert_str_eq(job.folder, ".");
    ck_assert_str_eq(problems.file, "t.yaml");
}
END_TEST

/* The further keys of the algorithm, each group in the form that the documentation shows. */
START_TEST(test_every_group_of_the_algorithm)
{
    expect_ok(parse(HEAD "optimizer:\n"
                         "  start: margin\n"
                         "  sign: {lr: 2e-3, schedule: step, warmup: 0.5, step: {epochs: 3, factor: 0.5}}\n"
                         "  margin: {lr: 8e-3, sigma0: 1.5}\n"
                         "  switch: {when: swats, to: sgd, tolerance: 0.1, patience: 7}\n"
                         "  sgd:\n"
                         "    {rate: tracking, lambda: ratio, lambda_min: 1e-4, lambda_max: 0.5, schedule: step,\n"
                         "     step: {epochs: 4, factor: 0.25}, wire: bf16, aggregate: trimmed_mean, trim: 0.1}\n"
                         "  adam: {lr: 1e-2, beta1: 0.8, beta2: 0.99, eps: 1e-6}\n"
                         "full: {lr: 0.2}\n"));
    ck_assert_int_eq(job.optimizer.start, SP_START_MARGIN);
    ck_assert_int_eq(job.optimizer.sign.schedule, SP_SCHEDULE_STEP);
    ck_assert_double_eq(job.optimizer.sign.warmup, 0.5);
    ck_assert_double_eq(job.optimizer.sign.step.epochs, 3);
    ck_assert_double_eq(job.optimizer.sign.step.factor, 0.5);
    ck_assert_double_eq(job.optimizer.margin.sigma0, 1.5);
    ck_assert_uint_eq(job.optimizer.switch_.patience, 7);
    ck_assert_double_eq(job.optimizer.sgd.lambda_max, 0.5);
    ck_assert_double_eq(job.optimizer.sgd.step.epochs, 4);
    ck_assert_int_eq(job.optimizer.sgd.wire, SP_SGD_WIRE_BF16);
    ck_assert_int_eq(job.optimizer.sgd.aggregate, SP_AGGREGATE_TRIMMED_MEAN);
    ck_assert_double_eq(job.optimizer.sgd.trim, 0.1);
    ck_assert_double_eq(job.optimizer.adam.eps, 1e-6);
    ck_assert_double_eq(job.full.lr, 0.2);
    expect_ok(parse(HEAD "optimizer: {switch: {when: at, to: margin, step: 100}, margin: {until: 0.9}}\n"));
    ck_assert_uint_eq(job.optimizer.switch_.step, 100);
    ck_assert_double_eq(job.optimizer.margin.until, 0.9);
}
END_TEST

/* Rules in flow and in block style, and what --set makes of them. */
START_TEST(test_rules_for_tensors)
{
    static const char two[] = "[{match: \"bn*\", update: full}, {match: \"*.bias\", decay: true}]";

    expect_ok(parse(HEAD "tensors:\n  - {match: \"bn*\", update: full}\n  - {match: '*.bias', decay: true}\n"));
    ck_assert_str_eq(get("tensors"), two);
    expect_ok(parse(HEAD "tensors: [{match: bn*, update: 'full'}, {decay: true, match: \"*.bias\"}]\n"));
    ck_assert_str_eq(get("tensors"), two);
    expect_ok(parse(HEAD "tensors:\n- match: bn*\n  update: full\n- decay: true\n  match: '*.bias'\n"));
    ck_assert_str_eq(get("tensors"), two);
    expect_ok(parse(HEAD "tensors: []\n"));
    ck_assert_uint_eq(job.tensors.count, 0);
    expect_ok(parse(HEAD "tensors: [{match: 'a[0-9],{:', update: vote, decay: false}]\n"));
    ck_assert_str_eq(get("tensors"), "[{match: \"a[0-9],{:\", update: vote, decay: false}]");
    expect_ok(parse_with(HEAD "tensors: [{match: a, update: full}]\n", "tensors=[{match: b*, decay: true}]", NULL, NULL,
                         NULL));
    ck_assert_str_eq(get("tensors"), "[{match: \"b*\", decay: true}]");
    expect_ok(parse_with(HEAD "tensors: [{match: a, update: full}]\n", "tensors=[]", NULL, NULL, NULL));
    ck_assert_uint_eq(job.tensors.count, 0);
}
END_TEST

START_TEST(test_number_of_rules)
{
    char text[4096] = HEAD "tensors:\n";

    for (unsigned i = 0; i < SP_RULES_MAX; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "- {match: t%u, update: full}\n", i);
    expect_ok(parse(text));
    ck_assert_uint_eq(job.tensors.count, SP_RULES_MAX);
    ck_assert_str_eq(job.tensors.rule[31].match, "t31");
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "- {match: t32, update: full}\n- {}\n- x\n");
    expect_only(text, SP_E_RANGE, "t.yaml:36:3: tensors: more than 32 rules");
}
END_TEST

/* Whatever is wrong with rules is found at once, and what is wrong with the rest of the file as well. */
START_TEST(test_all_mistakes_in_rules_are_found_at_once)
{
    static const char text[] = HEAD "tensors:\n"
                                    "  - {match: a b, update: some, lr: 3}\n"
                                    "  - x\n"
                                    "  - {update: full}\n"
                                    "  - {match: c, update: full}\n"
                                    "seed: -1\n";
    static const unsigned places[][2] = {{4, 13}, {4, 26}, {4, 32}, {5, 5}, {6, 5}, {8, 7}};

    ck_assert_int_eq(parse(text), SP_E_SYNTAX);
    for (unsigned i = 0; i < COUNT(places); i++) {
        ck_assert_uint_eq(problems.item[i].line, places[i][0]);
        ck_assert_uint_eq(problems.item[i].column, places[i][1]);
    }
    ck_assert_uint_eq(problems.count, COUNT(places));
    ck_assert_uint_eq(job.tensors.count, 0);
}
END_TEST

START_TEST(test_least_job_has_the_defaults)
{
    struct sp_job defaults;

    expect_ok(parse(HEAD));
    sp_job_init(&defaults);
    ck_assert_int_eq(sp_job_set(&defaults, "job", "a", NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&defaults, "data.train.images", "i", NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&defaults, "data.train.labels", "l", NULL), SP_OK);
    ck_assert_int_eq(memcmp(&defaults, &job, sizeof job), 0);
}
END_TEST

START_TEST(test_other_spellings_of_the_same)
{
    expect_ok(
        parse("---\n'job': \"a\"\n\"data\":\n  train:\n    images: 'i'\n    labels: >-\n      l\n"
              "model:\n  hidden:\n  - 3\n  - '4'\nworkers: \"16\"\nserver: {http: ''}\ntrain:\nworker: {}\n...\n"));
    ck_assert_str_eq(job.data.train_labels, "l");
    ck_assert_uint_eq(job.workers, 16);
    ck_assert_str_eq(get("model.hidden"), "[3, 4]");
    expect_ok(parse("\xEF\xBB\xBFjob: a\r\ndata: {train: {images: i, labels: l}}\r\nseed: 18446744073709551615"));
    ck_assert(job.seed == UINT64_MAX);
    expect_ok(parse("%YAML 1.1\n---\n" HEAD));
    expect_ok(parse(HEAD "model: {type: softmax, hidden: []}\n"));
    expect_ok(parse(HEAD "optimizer: {switch: {when: at, epoch: 3, dry_run: true}}\n"));
    ck_assert(job.optimizer.switch_.dry_run);
}
END_TEST

/* Writes a job as a file, one key after the other in its groups. */
static void write_job(const struct sp_job *from, char *text, size_t bytes)
{
    size_t used = 0;
    char open[64] = ""; /* the groups that are open, as a path */

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *path = sp_job_keys[i].path, *name = path;
        char value[SP_VALUE_BYTES];
        bool text_key = sp_job_keys[i].type == SP_KEY_STRING;
        int depth = 0;

        if (strcmp(path, "server.close") == 0)
            continue; /* the quorum says it */
        for (const char *dot = strchr(path, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            size_t length = (size_t)(dot - path);

            if (strncmp(open, path, length) != 0 || (open[length] != '\0' && open[length] != '.')) {
                (void)snprintf(open, sizeof open, "%.*s", (int)length, path);
                used +=
                    (size_t)snprintf(text + used, bytes - used, "%*s%.*s:\n", 2 * depth, "", (int)(dot - name), name);
            }
            name = dot + 1;
            depth++;
        }
        (void)snprintf(open, sizeof open, "%.*s", name == path ? 0 : (int)(name - path - 1), path);
        sp_job_get(from, &sp_job_keys[i], value, sizeof value);
        used += (size_t)snprintf(text + used, bytes - used, text_key ? "%*s%s: '%s'\n" : "%*s%s: %s\n", 2 * depth, "",
                                 name, value);
    }
    ck_assert_uint_lt(used, bytes);
}

START_TEST(test_all_keys_come_back_from_a_file)
{
    static const char *const values[][2] = {{"job", "all"},
                                            {"seed", "18446744073709551615"},
                                            {"workers", "200"},
                                            {"data.train.images", "/a b/c: d #e"},
                                            {"data.train.labels", "l"},
                                            {"data.test.images", "i"},
                                            {"data.test.labels", "{x}"},
                                            {"data.scale.divide", "0.1"},
                                            {"data.scale.mean", "[-0.3, 0.25]"},
                                            {"data.scale.std", "1e-300"},
                                            {"data.augment.crop", "4"},
                                            {"data.augment.flip", "true"},
                                            {"data.csv.header", "false"},
                                            {"data.csv.shape", "[3, 4]"},
                                            {"model.type", "softmax"},
                                            {"model.hidden", "[9, 8, 7]"},
                                            {"model.threads", "2"},
                                            {"train.batch", "3"},
                                            {"train.epochs", "0.7"},
                                            {"train.rounds", "4000000000"},
                                            {"train.report", "7"},
                                            {"train.evaluate", "0.3"},
                                            {"optimizer.start", "margin"},
                                            {"optimizer.beta1", "0.1"},
                                            {"optimizer.sign.schedule", "step"},
                                            {"optimizer.sign.warmup", "0.2"},
                                            {"optimizer.sign.step.epochs", "0.3"},
                                            {"optimizer.dither.scale", "tensor"},
                                            {"optimizer.margin.lr", "0.004"},
                                            {"optimizer.switch.when", "at"},
                                            {"optimizer.switch.fraction", "0.3333333333333333"},
                                            {"optimizer.switch.dry_run", "true"},
                                            {"optimizer.switch.patience", "6"},
                                            {"optimizer.sgd.lambda", "paper"},
                                            {"optimizer.sgd.lambda_max", "0.7"},
                                            {"optimizer.sgd.step.factor", "0.3"},
                                            {"optimizer.sgd.wire", "bf16"},
                                            {"optimizer.sgd.aggregate", "median"},
                                            {"optimizer.adam.eps", "1e-05"},
                                            {"tensors", "[{match: \"*[a,b]\", update: full, decay: true}, "
                                                        "{match: \"c\", update: vote}]"},
                                            {"full.lr", "0.05"},
                                            {"server.listen", "[::1]:1"},
                                            {"server.http", "h:1"},
                                            {"server.close.quorum", "3"},
                                            {"server.min_live", "2"},
                                            {"server.heartbeat.interval", "0.1"},
                                            {"worker.give_up", "1.5"}};
    struct sp_job first;
    char text[8192];

    sp_job_init(&first);
    for (size_t i = 0; i < COUNT(values); i++)
        ck_assert_int_eq(sp_job_set(&first, values[i][0], values[i][1], NULL), SP_OK);
    write_job(&first, text, sizeof text);
    expect_ok(parse(text));
    ck_assert_int_eq(memcmp(&first, &job, sizeof job), 0);
}
END_TEST

START_TEST(test_all_forms_of_close)
{
    expect_ok(parse(HEAD "workers: 4\nserver: {close: all}\n"));
    ck_assert_int_eq(job.server.close, SP_CLOSE_ALL);
    expect_ok(parse(HEAD "workers: 4\nserver: {close: {quorum: 3, deadline: adaptive}}\n"));
    ck_assert_int_eq(job.server.close, SP_CLOSE_QUORUM);
    ck_assert_uint_eq(job.server.quorum, 3);
    expect_ok(parse(HEAD "workers: 4\nserver: {close: {quorum: 4}}\n"));
    expect_only(HEAD "workers: 4\nserver: {close: quorum}\n", SP_E_MISMATCH,
                "t.yaml:4:10: server.close.quorum: must say how many workers are enough, 1 to 4: close: {quorum: N}");
    expect_only(HEAD "workers: 4\nserver: {close: {deadline: adaptive}}\n", SP_E_MISMATCH,
                "t.yaml:4:10: server.close.quorum: must say how many workers are enough, 1 to 4: close: {quorum: N}");
    expect_only(HEAD "workers: 4\nserver: {close: {quorum: 0}}\n", SP_E_MISMATCH,
                "t.yaml:4:18: server.close.quorum: must say how many workers are enough, 1 to 4: close: {quorum: N}");
    expect_only(HEAD "workers: 4\nserver: {close: {quorum: 5}}\n", SP_E_MISMATCH,
                "t.yaml:4:18: server.close.quorum: 5 is more than the job's workers (4)");
    expect_only(HEAD "server: {close: {quorum: 300}}\n", SP_E_RANGE,
                "t.yaml:3:26: server.close.quorum: must be a whole number from 0 to 255, not '300'");
    expect_only(HEAD "server: {close: [all]}\n", SP_E_SYNTAX,
                "t.yaml:3:17: server.close: must be all or quorum, not a list");
    expect_only(HEAD "server: {close: some}\n", SP_E_RANGE,
                "t.yaml:3:17: server.close: must be all or quorum, not 'some'");
    ck_assert_int_eq(parse(HEAD "server: {close: {quorums: 1}}\n"), SP_E_UNKNOWN);
    ck_assert_str_eq(problem(0),
                     "t.yaml:3:10: server.close.quorum: must say how many workers are enough, 1 to 1: close: "
                     "{quorum: N}");
    ck_assert_str_eq(problem(1),
                     "t.yaml:3:18: unknown key 'server.close.quorums'; did you mean 'server.close.quorum'?");
}
END_TEST

/* One problem, and its place. */

static const struct {
    const char *text;
    int code;
    const char *expected;
} cases[] = {
    /* keys */
    {HEAD "sead: 3\n", SP_E_UNKNOWN, "t.yaml:3:1: unknown key 'sead'; did you mean 'seed'?"},
    {HEAD "train:\n  bacth: 3\n", SP_E_UNKNOWN, "t.yaml:4:3: unknown key 'train.bacth'; did you mean 'train.batch'?"},
    {HEAD "train: {epochs: 3, batch: 4, lr: [1, {a: b}]}\n", SP_E_UNKNOWN,
     "t.yaml:3:30: unknown key 'train.lr'; README.md lists all keys"},
    {HEAD "optimiser: {sign: {lr: 0.1}}\n", SP_E_UNKNOWN,
     "t.yaml:3:1: unknown key 'optimiser'; did you mean 'optimizer'?"},
    {HEAD "batch: 16\n", SP_E_UNKNOWN, "t.yaml:3:1: unknown key 'batch'; did you mean 'train.batch'?"},
    {HEAD "train.batch: 16\n", SP_E_UNKNOWN,
     "t.yaml:3:1: unknown key 'train.batch'; dots are for --set, in a file write keys in groups, such as train: "
     "{batch: "
     "16}"},
    {HEAD "? {a: b}\n: 3\n", SP_E_SYNTAX, "t.yaml:3:3: a key must be a word, not a group of keys"},
    {HEAD "[a, b]: 3\n", SP_E_SYNTAX, "t.yaml:3:1: a key must be a word, not a list"},
    {HEAD "<<: {seed: 3}\n", SP_E_UNKNOWN, "t.yaml:3:1: unknown key '<<'; README.md lists all keys"},
    {HEAD "'': 3\n", SP_E_UNKNOWN, "t.yaml:3:1: unknown key ''; README.md lists all keys"},
    {HEAD "\"se\\ned\": 3\n", SP_E_UNKNOWN, "t.yaml:3:1: unknown key 'se\\x0Aed'; did you mean 'seed'?"},
    {HEAD "\"seed\\0\": 3\n", SP_E_SYNTAX, "t.yaml:3:1: a text with a NUL character is of no use here"},
    {HEAD "seed: 3\nworkers: 2\nseed: 4\n", SP_E_SYNTAX, "t.yaml:5:1: repeated key 'seed'; it is in line 3 already"},
    {HEAD "train: {batch: 3, batch: 3}\n", SP_E_SYNTAX,
     "t.yaml:3:19: repeated key 'train.batch'; it is in line 3 already"},
    {HEAD "data: {scale: {divide: 3}}\n", SP_E_SYNTAX, "t.yaml:3:1: repeated key 'data'; it is in line 2 already"},
    {HEAD "workers: 4\nserver: {close: all, close: {quorum: 3}}\n", SP_E_SYNTAX,
     "t.yaml:4:22: repeated key 'server.close'; it is in line 4 already"},
    /* kinds */
    {HEAD "workers: [4]\n", SP_E_SYNTAX, "t.yaml:3:10: workers: must be a whole number from 1 to 255, not a list"},
    {HEAD "workers:\n  a: 4\n", SP_E_SYNTAX,
     "t.yaml:4:3: workers: must be a whole number from 1 to 255, not a group of keys"},
    {HEAD "workers:\nseed: 1\n", SP_E_MISSING,
     "t.yaml:3:9: workers: must be a whole number from 1 to 255, but has no value"},
    {HEAD "workers: ~\n", SP_E_MISSING, "t.yaml:3:10: workers: must be a whole number from 1 to 255, but has no value"},
    {HEAD "model: {type: null}\n", SP_E_MISSING,
     "t.yaml:3:15: model.type: must be softmax, mlp, lenet or resnet18, but has no value"},
    {"job: a\ndata:\n  train: {images: i, labels: l}\n  scale: {mean: [0.5, x]}\n", SP_E_SYNTAX,
     "t.yaml:4:23: data.scale.mean: must be a number of at least -1000000 and at most 1000000, or a list of 1 to 16 of "
     "them, such as [0.5, 0.25], without 'x' in it"},
    {"job: a\ndata:\n  train: {images: i, labels: l}\n  scale: {mean: []}\n", SP_E_RANGE,
     "t.yaml:4:17: data.scale.mean: must be a number of at least -1000000 and at most 1000000, or a list of 1 to 16 of "
     "them, such as [0.5, 0.25], not '[]'"},
    {"job: a\ndata:\n  train: {images: i, labels: l}\n  scale: {std: {a: 1}}\n", SP_E_SYNTAX,
     "t.yaml:4:16: data.scale.std: must be a number of more than 0 and at most 1000000, or a list of 1 to 16 of them, "
     "such as [0.5, 0.25], not a group of keys"},
    {"job: a\ndata:\n  format: csv\n  train: {images: i}\n", SP_E_MISMATCH,
     "t.yaml:4:11: data.train.images: data.format csv does not use it; give data.train.files instead, or another "
     "data.format"},
    {HEAD "model: {hidden: 64}\n", SP_E_SYNTAX,
     "t.yaml:3:17: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], not a "
     "single value"},
    {HEAD "model: {hidden: '[64]'}\n", SP_E_SYNTAX,
     "t.yaml:3:17: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], not a "
     "single value"},
    {HEAD "model: {hidden: {a: 64}}\n", SP_E_SYNTAX,
     "t.yaml:3:17: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], not a "
     "group of keys"},
    {HEAD "model: {hidden: [64, [32]]}\n", SP_E_SYNTAX,
     "t.yaml:3:22: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], without "
     "a "
     "list in it"},
    {HEAD "model: {hidden: [64, '32, 16']}\n", SP_E_SYNTAX,
     "t.yaml:3:22: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], without "
     "'32, 16' in it"},
    {HEAD "model:\n  hidden:\n    - 64\n    - 0\n", SP_E_SYNTAX,
     "t.yaml:6:7: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], without "
     "'0' in it"},
    {HEAD "model: {hidden: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}\n", SP_E_RANGE,
     "t.yaml:3:17: model.hidden: must be a list of at most 16 whole numbers from 1 to 65536, such as [64, 32], not "
     "'[1, "
     "1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]'"},
    {HEAD "train: 3\n", SP_E_SYNTAX,
     "t.yaml:3:8: train: must be a group of keys such as 'train.batch', not a single value"},
    {HEAD "train:\n- batch: 3\n", SP_E_SYNTAX,
     "t.yaml:4:1: train: must be a group of keys such as 'train.batch', not a list"},
    {"job: a\ndata: 3\n", SP_E_SYNTAX,
     "t.yaml:2:7: data: must be a group of keys such as 'data.format', not a single value"},
    /* values */
    {HEAD "workers: four\n", SP_E_SYNTAX, "t.yaml:3:10: workers: must be a whole number from 1 to 255, not 'four'"},
    {HEAD "workers:   256\n", SP_E_RANGE, "t.yaml:3:12: workers: must be a whole number from 1 to 255, not '256'"},
    {HEAD "train: {epochs: .nan}\n", SP_E_SYNTAX,
     "t.yaml:3:17: train.epochs: must be a number of more than 0 and at most 1000000, not '.nan'"},
    {HEAD "optimizer:\n  sign:\n    lr: 0\n", SP_E_RANGE,
     "t.yaml:5:9: optimizer.sign.lr: must be a number of more than 0 and at most 1000000, not '0'"},
    {HEAD "optimizer: {switch: {dry_run: yes}}\n", SP_E_SYNTAX,
     "t.yaml:3:31: optimizer.switch.dry_run: must be true or false, not 'yes'"},
    {HEAD "optimizer: {switch: {dry_run: 'true'}}\n", SP_E_SYNTAX,
     "t.yaml:3:31: optimizer.switch.dry_run: must be true or false, without quotes"},
    {HEAD "model: {type: cnn}\n", SP_E_RANGE,
     "t.yaml:3:15: model.type: must be softmax, mlp, lenet or resnet18, not 'cnn'"},
    {HEAD "server: {http: \"a\\tb\"}\n", SP_E_SYNTAX,
     "t.yaml:3:16: server.http: must be a text of at most 255 bytes without control characters, not 'a\\x09b'"},
    {HEAD "server: {http: \"a\\0b\"}\n", SP_E_SYNTAX, "t.yaml:3:16: a text with a NUL character is of no use here"},
    {"job: a b\ndata: {train: {images: i, labels: l}}\n", SP_E_SYNTAX,
     "t.yaml:1:6: job: must be a name of 1 to 63 letters, digits, '.', '_' and '-' that begins with a letter or digit, "
     "not 'a b'"},
    {"job: a # \xC3\xBC\ndata: {train: {\"\\xfc\": \xC3\xBC, images: i, labels: l}}\n", SP_E_UNKNOWN,
     "t.yaml:2:16: unknown key 'data.train.\xC3\xBC'; README.md lists all keys"},
    {"job: a\ndata: {train: {images: \xC3\xBC\xC3\xBC, labels: l, x: 3}}\n", SP_E_UNKNOWN,
     "t.yaml:2:39: unknown key 'data.train.x'; README.md lists all keys"},
    /* rules */
    {HEAD "tensors: {match: 'bn*', update: full}\n", SP_E_SYNTAX,
     "t.yaml:3:10: tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], not a group "
     "of "
     "keys"},
    {HEAD "tensors: bn*\n", SP_E_SYNTAX,
     "t.yaml:3:10: tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], not a single "
     "value"},
    {HEAD "tensors:\n", SP_E_MISSING,
     "t.yaml:3:9: tensors: must be a list of at most 32 rules, such as [{match: \"bn*\", update: full}], but has no "
     "value"},
    {HEAD "tensors: [bn*]\n", SP_E_SYNTAX,
     "t.yaml:3:11: tensors: rule 1: must be a group such as {match: \"bn*\", update: full}, not a single value"},
    {HEAD "tensors: [{match: a, decay: true}, [b]]\n", SP_E_SYNTAX,
     "t.yaml:3:36: tensors: rule 2: must be a group such as {match: \"bn*\", update: full}, not a list"},
    {HEAD "tensors:\n  - {match: a, decay: true}\n  - {match: b}\n", SP_E_MISSING,
     "t.yaml:5:5: tensors: rule 2: changes nothing; give it update or decay, or leave it out"},
    {HEAD "tensors:\n  - update: full\n", SP_E_MISSING,
     "t.yaml:4:5: tensors: rule 1: 'match' is missing: the pattern of the tensors' names"},
    {HEAD "tensors: [{}]\n", SP_E_MISSING,
     "t.yaml:3:11: tensors: rule 1: 'match' is missing: the pattern of the tensors' names"},
    {HEAD "tensors: [{match: a, updates: full}]\n", SP_E_UNKNOWN,
     "t.yaml:3:22: tensors: rule 1: unknown member 'updates'; a rule has match, and update or decay or both"},
    {HEAD "tensors: [{match: a, update: full, match: b}]\n", SP_E_MISMATCH,
     "t.yaml:3:36: tensors: rule 1: repeated member 'match'"},
    {HEAD "tensors: [{match: a, update: none}]\n", SP_E_RANGE,
     "t.yaml:3:30: tensors: rule 1: update: must be vote or full, not 'none'"},
    {HEAD "tensors: [{match: a, decay: yes}]\n", SP_E_RANGE,
     "t.yaml:3:29: tensors: rule 1: decay: must be true or false, not 'yes'"},
    {HEAD "tensors: [{match: a, decay: 'true'}]\n", SP_E_SYNTAX,
     "t.yaml:3:29: tensors: rule 1: decay: must be true or false, without quotes"},
    {HEAD "tensors: [{match: a, decay: }]\n", SP_E_MISSING, "t.yaml:3:29: tensors: rule 1: 'decay' has no value"},
    {HEAD "tensors: [{match: ~, decay: true}]\n", SP_E_MISSING, "t.yaml:3:19: tensors: rule 1: 'match' has no value"},
    {HEAD "tensors: [{match: [a, b], decay: true}]\n", SP_E_SYNTAX,
     "t.yaml:3:19: tensors: rule 1: match: must be a single value, not a list"},
    {HEAD "tensors: [{[match]: a, decay: true}]\n", SP_E_SYNTAX,
     "t.yaml:3:12: tensors: rule 1: the name of a member must be a word, not a list"},
    {HEAD "tensors: [{match: '', decay: true}]\n", SP_E_RANGE,
     "t.yaml:3:19: tensors: rule 1: match: must be a pattern of 1 to 63 ASCII characters without space, '\"' and '\\', "
     "not ''"},
    {HEAD "tensors: [{match: \"a\\0b\", decay: true}]\n", SP_E_SYNTAX,
     "t.yaml:3:19: a text with a NUL character is of no use here"},
    {HEAD "tensors: [{match: *bias, decay: true}]\n", SP_E_UNSUPPORTED,
     "t.yaml:3:19: aliases ('*bias') are not allowed in a job file; write the value out, in quotes if it begins with "
     "'*'"},
    {HEAD "tensors: [{match: *.bias, decay: true}]\n", SP_E_SYNTAX,
     "t.yaml:3:20: not well-formed YAML: did not find expected alphabetic or numeric character, while scanning an "
     "alias; a text that begins with '*' needs quotes"},
    {HEAD "full: 0.1\n", SP_E_SYNTAX,
     "t.yaml:3:7: full: must be a group of keys such as 'full.lr', not a single value"},
    /* optimizer.switch.step is a number, optimizer.sign.step a group */
    {HEAD "optimizer: {sign: {schedule: step, step: 10}}\n", SP_E_SYNTAX,
     "t.yaml:3:42: optimizer.sign.step: must be a group of keys such as 'optimizer.sign.step.epochs', not a single "
     "value"},
    {HEAD "optimizer: {switch: {when: at, step: {epochs: 10}}}\n", SP_E_SYNTAX,
     "t.yaml:3:38: optimizer.switch.step: must be a whole number from 0 to 4000000000, not a group of keys"},
    {HEAD "optimizer: {sign: {step: {epoch: 10}}}\n", SP_E_UNKNOWN,
     "t.yaml:3:27: unknown key 'optimizer.sign.step.epoch'; did you mean 'optimizer.sign.step.epochs'?"},
    /* required */
    {"data: {train: {images: i, labels: l}}\n", SP_E_MISSING,
     "t.yaml: 'job' is missing; every job needs it: name of the job; its run folder is `runs/<job>`"},
    {"job:\ndata: {train: {images: i, labels: l}}\n", SP_E_MISSING,
     "t.yaml:1:5: job: must be a name of 1 to 63 letters, digits, '.', '_' and '-' that begins with a letter or digit, "
     "but has no value"},
    /* keys together */
    {"job: a\ndata:\n  train: {images: i}\n", SP_E_MISMATCH,
     "t.yaml:3:3: data.train.labels: missing, but data.train.images is given; give both or neither"},
    {HEAD "server: {min_live: 2}\n", SP_E_MISMATCH,
     "t.yaml:3:10: server.min_live: 2 is more than the job's workers (1)"},
    {"job: a\ndata:\n  train: {images: i, labels: l}\n  test: {labels: l}\n", SP_E_MISMATCH,
     "t.yaml:4:3: data.test.images: missing, but data.test.labels is given; give both or neither"},
    {HEAD "optimizer: {switch: {epoch: 3}}\n", SP_E_MISMATCH,
     "t.yaml:3:22: optimizer.switch.epoch: only has a meaning with optimizer.switch.when at; set that, or leave this "
     "out"},
    {HEAD "optimizer: {switch: {when: at, step: 3, fraction: 0.5}}\n", SP_E_MISMATCH,
     "t.yaml:3:41: optimizer.switch.fraction: only one of optimizer.switch.epoch, step and fraction can be the moment"},
    {HEAD "optimizer: {switch: {when: at}}\n", SP_E_MISMATCH,
     "t.yaml:3:22: optimizer.switch.when: at needs its moment: set one of optimizer.switch.epoch, step and fraction to "
     "more than 0"},
    {HEAD "server: {heartbeat: {interval: 60}}\n", SP_E_MISMATCH,
     "t.yaml:3:10: server.heartbeat.timeout: 15 seconds is less than twice server.heartbeat.interval (60)"},
    {HEAD "optimizer:\n  sign: {warmup: 3}\ntrain: {epochs: 3}\n", SP_E_MISMATCH,
     "t.yaml:4:10: optimizer.sign.warmup: 3 epochs leave nothing of the job, which has 3 (train.epochs); make it "
     "shorter"},
    {HEAD "optimizer: {mode: adam}\ntensors:\n- {match: a, update: full}\n", SP_E_MISMATCH,
     "t.yaml:4:1: tensors: rule 1 (\"a\") has update: full, but in mode adam every tensor is updated by Adam; leave "
     "that out"},
    {HEAD "server: {listen: 7700}\n", SP_E_MISMATCH, "t.yaml:3:10: server.listen: '7700' is not HOST:PORT"},
    /* YAML that is not for a job file */
    {HEAD "seed: &x 3\n", SP_E_UNSUPPORTED, "t.yaml:3:7: anchors ('&x') are not allowed in a job file; leave it out"},
    {HEAD "&k seed: 3\n", SP_E_UNSUPPORTED, "t.yaml:3:1: anchors ('&k') are not allowed in a job file; leave it out"},
    {HEAD "seed: *x\n", SP_E_UNSUPPORTED,
     "t.yaml:3:7: aliases ('*x') are not allowed in a job file; write the value out, in quotes if it begins with '*'"},
    {HEAD "*x : 3\n", SP_E_UNSUPPORTED,
     "t.yaml:3:1: aliases ('*x') are not allowed in a job file; write the value out, in quotes if it begins with '*'"},
    {HEAD "train: *x\n", SP_E_UNSUPPORTED,
     "t.yaml:3:8: aliases ('*x') are not allowed in a job file; write the value out, in quotes if it begins with '*'"},
    {HEAD "seed: !!int 3\n", SP_E_UNSUPPORTED,
     "t.yaml:3:7: tags ('tag:yaml.org,2002:int') are not allowed in a job file; leave it out"},
    {HEAD "train: !x {batch: 3}\n", SP_E_UNSUPPORTED,
     "t.yaml:3:8: tags ('!x') are not allowed in a job file; leave it out"},
    {HEAD "---\n" HEAD, SP_E_SYNTAX,
     "t.yaml:3:1: a second document begins here; a job file holds one, so remove all from "
     "here on"},
    {"", SP_E_MISSING, "t.yaml: the file is empty; configs/minimal.yaml shows the least that a job needs"},
    {"# job: a\n\n", SP_E_MISSING, "t.yaml: the file is empty; configs/minimal.yaml shows the least that a job needs"},
    {"---\n", SP_E_MISSING, "t.yaml: the file is empty; configs/minimal.yaml shows the least that a job needs"},
    {"\n- job: a\n", SP_E_SYNTAX,
     "t.yaml:2:1: a job file must hold keys and values, such as 'job: digits', not a list"},
    {"digits\n", SP_E_SYNTAX,
     "t.yaml:1:1: a job file must hold keys and values, such as 'job: digits', not a single value"},
    {"*x\n", SP_E_UNSUPPORTED,
     "t.yaml:1:1: aliases ('*x') are not allowed in a job file; write the value out, in quotes if it begins with '*'"},
    {HEAD "x: [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]\n", SP_E_UNKNOWN, NULL},
    /* not YAML */
    {"job: a\ndata: {train: {images: i\n", SP_E_SYNTAX,
     "t.yaml:3:1: not well-formed YAML: did not find expected ',' or '}', while parsing a flow mapping that begins at "
     "line 2"},
    {HEAD "\tseed: 3\n", SP_E_SYNTAX,
     "t.yaml:3:1: not well-formed YAML: found character that cannot start any token, while scanning for the next "
     "token; "
     "indent with spaces, not tabs"},
    {HEAD "seed: 1: 2\n", SP_E_SYNTAX,
     "t.yaml:3:8: not well-formed YAML: mapping values are not allowed in this context"},
    {HEAD "seed: \"3\n", SP_E_SYNTAX,
     "t.yaml:4:1: not well-formed YAML: found unexpected end of stream, while scanning a quoted scalar that begins at "
     "line 3"},
    {HEAD "seed: @3\n", SP_E_SYNTAX,
     "t.yaml:3:7: not well-formed YAML: found character that cannot start any token, while scanning for the next "
     "token"},
    {HEAD "seed: 3 \xFF\n", SP_E_SYNTAX, "t.yaml:3:9: not UTF-8 text: invalid leading UTF-8 octet"},
    {HEAD "# \xC3\xBC\x01\n", SP_E_SYNTAX, "t.yaml:3:4: not UTF-8 text: control characters are not allowed"},
};

START_TEST(test_each_mistake_has_its_place)
{
    const char *expected = cases[_i].expected;

    if (expected != NULL) {
        expect_only(cases[_i].text, cases[_i].code, expected);
        return;
    }
    ck_assert_int_eq(parse(cases[_i].text), cases[_i].code); /* an unknown key, and what is in it is too deep */
    ck_assert_uint_eq(problems.count, 2);
    ck_assert_str_eq(problem(1), "t.yaml:3:19: nested deeper than 16 levels");
}
END_TEST

START_TEST(test_a_nul_byte_has_its_place)
{
    static const char text[] = "job: a\nse\0ed: 3\n";

    ck_assert_int_eq(parse_bytes(text, sizeof text - 1), SP_E_SYNTAX);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problem(0), "t.yaml:2:3: there is a NUL byte; a job file must be UTF-8 text");
}
END_TEST

/* Several problems. */

START_TEST(test_all_mistakes_are_found_at_once)
{
    static const char text[] = "job: digits\n"
                               "seed: -1\n"
                               "workers: [4]\n"
                               "bogus: {a: [1, 2]}\n"
                               "data:\n"
                               "  train: {images: i, labels: l}\n"
                               "  wdith: 3\n"
                               "model: {hidden: [64, x, 0], type: mpl}\n"
                               "train: {batch: 0, batch: 16, epochs: ten}\n"
                               "optimizer:\n"
                               "  sing: {lr: 1}\n"
                               "  switch: {when: at}\n"
                               "server: {min_live: 9}\n";
    static const unsigned places[][2] = {{2, 7},  {3, 10}, {4, 1},  {7, 3},  {8, 22}, {8, 25},
                                         {8, 35}, {9, 16}, {9, 19}, {9, 38}, {11, 3}};

    ck_assert_int_eq(parse(text), SP_E_RANGE);
    for (unsigned i = 0; i < COUNT(places); i++) {
        ck_assert_uint_eq(problems.item[i].line, places[i][0]);
        ck_assert_uint_eq(problems.item[i].column, places[i][1]);
    }
    ck_assert_uint_eq(problems.count, COUNT(places));
}
END_TEST

/* While a value is refused, its default stands in its place: a comparison with that would only mislead. */
START_TEST(test_no_follow_up_mistakes)
{
    expect_only(HEAD "workers: 4x\nserver: {min_live: 4}\n", SP_E_SYNTAX,
                "t.yaml:3:10: workers: must be a whole number from 1 to 255, not '4x'");
    ck_assert_int_eq(parse("seed: x\ndata: {train: {images: i}, tset: {}}\nfoo: [\n"), SP_E_SYNTAX);
    ck_assert_uint_eq(problems.count, 4); /* nothing about job and labels: they may come after the break */
}
END_TEST

START_TEST(test_validation_goes_with_other_mistakes_in_the_order_of_the_file)
{
    ck_assert_int_eq(parse("workers: 2\nserver: {min_live: 3}\nsead: 1\n"), SP_E_UNKNOWN);
    ck_assert_uint_eq(problems.count, 3);
    ck_assert_str_eq(problem(0), "t.yaml:2:10: server.min_live: 3 is more than the job's workers (2)");
    ck_assert_str_eq(problem(1), "t.yaml:3:1: unknown key 'sead'; did you mean 'seed'?");
    ck_assert_ptr_nonnull(strstr(problem(2), "t.yaml: 'job' is missing"));
}
END_TEST

START_TEST(test_problems_beyond_the_limit_are_counted)
{
    char text[2048] = HEAD;

    for (unsigned i = 0; i < SP_PROBLEMS_MAX + 7; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "bogus%u: 3\n", i);
    ck_assert_int_eq(parse(text), SP_E_UNKNOWN);
    ck_assert_uint_eq(problems.count, SP_PROBLEMS_MAX);
    ck_assert_uint_eq(problems.dropped, 7);
    ck_assert_uint_eq(problems.item[SP_PROBLEMS_MAX - 1].line, 2 + SP_PROBLEMS_MAX);
    expect_ok(parse(HEAD));
    ck_assert_uint_eq(problems.dropped, 0);
}
END_TEST

/* --set. */

START_TEST(test_set_prevails_over_the_file)
{
    expect_ok(parse_with(HEAD "seed: 3\n", "seed=7", "train.batch=8", "model.hidden=[1, 2]", "server.http="));
    ck_assert_uint_eq(job.seed, 7);
    ck_assert_uint_eq(job.train.batch, 8);
    ck_assert_str_eq(get("model.hidden"), "[1, 2]");
    expect_ok(parse_with(HEAD, "seed=7", "seed=8", NULL, NULL));
    ck_assert_uint_eq(job.seed, 8);
    expect_ok(parse_with(HEAD, "data.train.images=a=b", NULL, NULL, NULL));
    ck_assert_str_eq(job.data.train_images, "a=b");
    expect_ok(parse_with("data: {train: {images: i}}\n", "job=x", "data.train.labels=l", NULL, NULL));
    expect_ok(parse_with(HEAD "server: {min_live: 3}\n", "workers=3", NULL, NULL, NULL));
}
END_TEST

START_TEST(test_set_moves_the_switch)
{
    static const char at[] = HEAD "optimizer: {switch: {when: at, epoch: 3}}\n";

    expect_ok(parse_with(at, "optimizer.switch.when=never", NULL, NULL, NULL));
    ck_assert_int_eq(job.optimizer.switch_.when, SP_SWITCH_NEVER);
    ck_assert_double_eq(job.optimizer.switch_.epoch, 0);
    expect_ok(parse_with(at, "optimizer.switch.when=auto", NULL, NULL, NULL));
    expect_ok(parse_with(at, "optimizer.switch.when=at", NULL, NULL, NULL));
    ck_assert_double_eq(job.optimizer.switch_.epoch, 3);
    expect_ok(parse_with(at, "optimizer.switch.step=100", NULL, NULL, NULL));
    ck_assert_double_eq(job.optimizer.switch_.epoch, 0);
    ck_assert_uint_eq(job.optimizer.switch_.step, 100);
    expect_ok(parse_with(at, "optimizer.switch.epoch=5", NULL, NULL, NULL));
    ck_assert_double_eq(job.optimizer.switch_.epoch, 5);
    expect_ok(parse_with(HEAD, "optimizer.switch.when=at", "optimizer.switch.fraction=0.5", NULL, NULL));
    expect_ok(
        parse_with(HEAD "optimizer: {switch: {when: auto, epoch: 3}}\n", "optimizer.switch.when=at", NULL, NULL, NULL));
    ck_assert_int_eq(parse_with(at, "optimizer.switch.when=auto", "optimizer.switch.step=4", NULL, NULL),
                     SP_E_MISMATCH);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problem(0), "--set optimizer.switch.step=4: optimizer.switch.step: only has a meaning with "
                                 "optimizer.switch.when at; set that, or leave this out");
    ck_assert_int_eq(parse_with(at, "optimizer.switch.epoch=0", NULL, NULL, NULL), SP_E_MISMATCH);
}
END_TEST

START_TEST(test_set_changes_how_rounds_close)
{
    static const char quorum[] = HEAD "workers: 4\nserver: {close: {quorum: 3, deadline: adaptive}}\n";

    expect_ok(parse_with(quorum, "server.close=all", NULL, NULL, NULL));
    ck_assert_int_eq(job.server.close, SP_CLOSE_ALL);
    ck_assert_uint_eq(job.server.quorum, 0);
    expect_ok(parse_with(quorum, "server.close.quorum=2", NULL, NULL, NULL));
    ck_assert_uint_eq(job.server.quorum, 2);
    expect_ok(parse_with(quorum, "server.close=quorum", NULL, NULL, NULL));
    ck_assert_uint_eq(job.server.quorum, 3);
    expect_ok(parse_with(HEAD "workers: 4\nserver: {close: all}\n", "server.close.quorum=2", NULL, NULL, NULL));
    ck_assert_int_eq(job.server.close, SP_CLOSE_QUORUM);
    expect_ok(parse_with(HEAD "workers: 4\nserver: {close: quorum}\n", "server.close.quorum=2", NULL, NULL, NULL));
    ck_assert_int_eq(parse_with(quorum, "workers=2", NULL, NULL, NULL), SP_E_MISMATCH);
    ck_assert_str_eq(problem(0), "t.yaml:4:18: server.close.quorum: 3 is more than the job's workers (2)");
}
END_TEST

/* Both secrets and security.insecure come from the file, and --set prevails. */
START_TEST(test_security)
{
    static const char file[] = HEAD "security: {token_file: s.token, operator_token_file: /o.token, insecure: true}\n";

    expect_ok(parse(file));
    ck_assert_str_eq(job.security.token_file, "s.token");
    ck_assert_str_eq(job.security.operator_token_file, "/o.token");
    ck_assert(job.security.insecure);
    expect_ok(parse_with(file, "security.token_file=other", "security.insecure=false", NULL, NULL));
    ck_assert_str_eq(job.security.token_file, "other");
    ck_assert(!job.security.insecure);
    expect_ok(parse(HEAD "security: {token_file: ''}\n"));
    ck_assert_str_eq(job.security.token_file, "");
}
END_TEST

START_TEST(test_mistakes_in_security)
{
    expect_only(HEAD "security: {token_file: a, operator_token_file: a}\n", SP_E_MISMATCH,
                "t.yaml:3:27: security.operator_token_file: must be another file than security.token_file: else every "
                "worker could operate the job");
    expect_only(HEAD "security: {tls: {cert: a, ca: b}}\n", SP_E_MISMATCH,
                "t.yaml:3:18: security.tls.cert: security.tls takes cert, key and ca together, or none of them");
    expect_only(HEAD "security: {tls: {name: a}}\n", SP_E_MISMATCH,
                "t.yaml:3:18: security.tls.name: means nothing without security.tls.cert, key and ca");
    expect_only(HEAD "security: {token: a}\n", SP_E_UNKNOWN,
                "t.yaml:3:12: unknown key 'security.token'; README.md lists all keys");
}
END_TEST

START_TEST(test_mistakes_of_set_name_it)
{
    static const struct {
        const char *set;
        int code;
        const char *expected;
    } sets[] = {
        {"seed=x", SP_E_SYNTAX, "--set seed=x: seed: must be a whole number from 0 to 18446744073709551615, not 'x'"},
        {"sead=1", SP_E_UNKNOWN, "--set sead=1: unknown key 'sead'; did you mean 'seed'?"},
        {"seed", SP_E_SYNTAX, "--set seed: must be KEY=VALUE, such as train.batch=16"},
        {"=1", SP_E_SYNTAX, "--set =1: must be KEY=VALUE, such as train.batch=16"},
        {"", SP_E_SYNTAX, "--set : must be KEY=VALUE, such as train.batch=16"},
        {"job=", SP_E_MISSING,
         "--set job=: job: must be a name of 1 to 63 letters, digits, '.', '_' and '-' that begins with a letter or "
         "digit, not ''"},
        {"optimizer.sgd.wire=i4", SP_E_RANGE,
         "--set optimizer.sgd.wire=i4: optimizer.sgd.wire: must be auto, f32, bf16 or i8, not 'i4'"},
        {"optimizer.sign.step=10", SP_E_UNKNOWN,
         "--set optimizer.sign.step=10: 'optimizer.sign.step' is a group of keys; name one of them, such as "
         "'optimizer.sign.step.epochs'"},
        {"tensors=[{match: a, update: all}]", SP_E_RANGE,
         "--set tensors=[{match: a, update: all}]: tensors: rule 1: update: must be vote or full, not 'all'"},
        {"security.tls.key=1", SP_E_MISMATCH,
         "--set security.tls.key=1: security.tls.key: security.tls takes cert, key and ca together, or none of them"},
        {"security.insecure=yes", SP_E_SYNTAX,
         "--set security.insecure=yes: security.insecure: must be true or false, not 'yes'"},
        {"server.min_live=9", SP_E_MISMATCH,
         "--set server.min_live=9: server.min_live: 9 is more than the job's workers (1)"},
    };

    for (size_t i = 0; i < COUNT(sets); i++) {
        ck_assert_int_eq(parse_with(HEAD, sets[i].set, NULL, NULL, NULL), sets[i].code);
        ck_assert_uint_eq(problems.count, 1);
        ck_assert(problems.item[0].from_set);
        ck_assert_str_eq(problem(0), sets[i].expected);
    }
    ck_assert_int_eq(parse_with("job: a\n\x02", "seed=x", "\x1b[1m", NULL, NULL), SP_E_SYNTAX);
    ck_assert_uint_eq(problems.count, 3);
    ck_assert_str_eq(problem(2), "--set \\x1B[1m: must be KEY=VALUE, such as train.batch=16");
}
END_TEST

/* Files. */

static const char *source_file(const char *path)
{
    static char text[4096];
    const char *root = getenv("SP_SOURCE_ROOT");
    const char *slash = strrchr(__FILE__, '/');

    if (root != NULL)
        (void)snprintf(text, sizeof text, "%s/%s", root, path);
    else
        (void)snprintf(text, sizeof text, "%.*s/../../%s", slash == NULL ? 1 : (int)(slash - __FILE__),
                       slash == NULL ? "." : __FILE__, path);
    return text;
}

static void expect_data(const char *path)
{
    char file[2 * SP_STRING_BYTES];

    sp_job_path(&job, path, file, sizeof file);
    ck_assert_msg(access(file, R_OK) == 0, "%s is not there", file);
}

START_TEST(test_shipped_jobs_load)
{
    expect_ok(sp_config_load(source_file("configs/digits.yaml"), NULL, 0, &job, &problems));
    check_example();
    ck_assert_str_eq(job.server.http, "auto");
    expect_data(job.data.train_images);
    expect_data(job.data.train_labels);
    expect_data(job.data.test_images);
    expect_data(job.data.test_labels);
    expect_ok(sp_config_load(source_file("configs/minimal.yaml"), NULL, 0, &job, &problems));
    ck_assert_uint_eq(job.workers, 1);
    expect_data(job.data.train_images);
    expect_data(job.data.train_labels);
}
END_TEST

START_TEST(test_the_folder_is_that_of_the_file)
{
    static const char *const names[][2] = {{"a.yaml", "."},  {"./a.yaml", "."},   {"x/y/a.yaml", "x/y"},
                                           {"/a.yaml", "/"}, {"/x/a.yaml", "/x"}, {"../a", ".."}};
    char name[SP_STRING_BYTES + 8];

    for (size_t i = 0; i < COUNT(names); i++) {
        expect_ok(sp_config_parse(names[i][0], HEAD, strlen(HEAD), NULL, 0, &job, &problems));
        ck_assert_str_eq(job.folder, names[i][1]);
    }
    memset(name, 'x', sizeof name);
    memcpy(name + SP_STRING_BYTES - 1, "/a", 3);
    expect_ok(sp_config_parse(name, HEAD, strlen(HEAD), NULL, 0, &job, &problems));
    memcpy(name + SP_STRING_BYTES - 1, "x/a", 4);
    ck_assert_int_eq(sp_config_parse(name, HEAD, strlen(HEAD), NULL, 0, &job, &problems), SP_E_RANGE);
}
END_TEST

START_TEST(test_files_that_cannot_be_read)
{
    char folder[] = "/tmp/sp-config-XXXXXX", path[64];

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/none.yaml", folder);
    ck_assert_int_eq(sp_config_load(path, NULL, 0, &job, &problems), SP_E_IO);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_str_eq(problems.item[0].text, "cannot read the job file: No such file or directory");
    ck_assert_int_eq(strncmp(problem(0), path, strlen(path)), 0);
    ck_assert_int_eq(sp_config_load(folder, NULL, 0, &job, &problems), SP_E_IO);
    ck_assert_str_eq(problems.item[0].text, "cannot read the job file: Is a directory");
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(test_files_at_the_limit_of_size)
{
    const size_t limit = (size_t)1 << 20;
    char path[] = "/tmp/sp-config-XXXXXX";
    int fd = mkstemp(path);
    char *text = malloc(limit + 1);

    ck_assert(fd >= 0 && text != NULL);
    memset(text, '\n', limit + 1);
    memcpy(text, HEAD, strlen(HEAD));
    ck_assert_int_eq(write(fd, text, limit), (ssize_t)limit);
    expect_ok(sp_config_load(path, NULL, 0, &job, &problems));
    ck_assert_str_eq(job.folder, "/tmp");
    ck_assert_int_eq(write(fd, "\n", 1), 1);
    ck_assert_int_eq(sp_config_load(path, NULL, 0, &job, &problems), SP_E_RANGE);
    ck_assert_str_eq(problems.item[0].text, "longer than 1048576 bytes, which no job file is");
    ck_assert_int_eq(sp_config_parse("t", text, limit + 1, NULL, 0, &job, &problems), SP_E_RANGE);
    free(text);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

/* Nothing that can be in a file crashes the reader, and no problem points outside of the file. */

static void parse_anything(const char *text, size_t bytes)
{
    unsigned lines = 1;

    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n' || text[i] == '\r';
    (void)parse_bytes(text, bytes);
    for (unsigned i = 0; i < problems.count; i++) {
        ck_assert_uint_le(problems.item[i].line, lines + 1);
        ck_assert_uint_gt(strlen(problem(i)), 8);
    }
}

static const char rules_example[] = HEAD "tensors:\n"
                                         "  - {match: \"bn*\", update: full}\n"
                                         "  - match: '*.bias'\n"
                                         "    decay: true\n"
                                         "  - {match: head.*, update: vote, decay: false}\n";

static const struct {
    const char *text;
    size_t bytes;
} examples[] = {{example, sizeof example - 1}, {rules_example, sizeof rules_example - 1}};

START_TEST(test_every_cut_of_a_file)
{
    const char *text = examples[_i].text;

    for (size_t bytes = 0; bytes <= examples[_i].bytes; bytes++) {
        parse_anything(text, bytes);
        parse_anything(text + examples[_i].bytes - bytes, bytes);
    }
}
END_TEST

START_TEST(test_bytes_changed)
{
    static const char others[] = "\0\t\n\r :-[]{}&*!|>'\"%@`#,?~.\\x0\x80\xFF";
    char text[sizeof example];

    ck_assert_uint_le(examples[_i].bytes, sizeof text);
    for (size_t i = 0; i < examples[_i].bytes; i += 3) { /* all would take valgrind a minute */
        memcpy(text, examples[_i].text, examples[_i].bytes);
        for (size_t j = 0; j < sizeof others - 1; j++) {
            text[i] = others[j];
            parse_anything(text, examples[_i].bytes);
        }
    }
}
END_TEST

START_TEST(test_large_and_deep_files)
{
    static const char *const units[] = {"[",  "{",     "- ",  "? ",       "{a: ", "a: 1\n", "bogus_key_number: {}\n",
                                        "'",  "&a ",   "*a ", "!a ",      "|",    "\\",     "\xC3\xBC",
                                        "# ", "---\n", "[],", "seed: 1\n"};
    const size_t bytes = 100000;
    char *text = malloc(bytes + 32);

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < COUNT(units); i++) {
        size_t used = 0;

        while (used < bytes) {
            memcpy(text + used, units[i], strlen(units[i]));
            used += strlen(units[i]);
        }
        parse_anything(text, used);
    }
    free(text);
}
END_TEST

START_TEST(test_a_list_without_end)
{
    char *text = malloc(200000);
    size_t used = (size_t)snprintf(text, 200000, "%smodel: {hidden: [1", HEAD);

    while (used < 190000)
        used += (size_t)snprintf(text + used, 200000 - used, ", 65536");
    (void)snprintf(text + used, 200000 - used, "]}\n");
    ck_assert_int_eq(parse(text), SP_E_RANGE);
    ck_assert_uint_eq(problems.count, 1);
    ck_assert_uint_eq(problems.item[0].column, 17);
    free(text);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("config");
    TCase *c = tcase_create("config");

    tcase_set_timeout(c, 120); /* for valgrind and sanitizers */
    tcase_add_test(c, test_example_of_the_design);
    tcase_add_test(c, test_every_group_of_the_algorithm);
    tcase_add_test(c, test_rules_for_tensors);
    tcase_add_test(c, test_number_of_rules);
    tcase_add_test(c, test_all_mistakes_in_rules_are_found_at_once);
    tcase_add_test(c, test_least_job_has_the_defaults);
    tcase_add_test(c, test_other_spellings_of_the_same);
    tcase_add_test(c, test_all_keys_come_back_from_a_file);
    tcase_add_test(c, test_all_forms_of_close);
    tcase_add_loop_test(c, test_each_mistake_has_its_place, 0, (int)COUNT(cases));
    tcase_add_test(c, test_a_nul_byte_has_its_place);
    tcase_add_test(c, test_all_mistakes_are_found_at_once);
    tcase_add_test(c, test_no_follow_up_mistakes);
    tcase_add_test(c, test_validation_goes_with_other_mistakes_in_the_order_of_the_file);
    tcase_add_test(c, test_problems_beyond_the_limit_are_counted);
    tcase_add_test(c, test_set_prevails_over_the_file);
    tcase_add_test(c, test_set_moves_the_switch);
    tcase_add_test(c, test_set_changes_how_rounds_close);
    tcase_add_test(c, test_security);
    tcase_add_test(c, test_mistakes_in_security);
    tcase_add_test(c, test_mistakes_of_set_name_it);
    tcase_add_test(c, test_shipped_jobs_load);
    tcase_add_test(c, test_the_folder_is_that_of_the_file);
    tcase_add_test(c, test_files_that_cannot_be_read);
    tcase_add_test(c, test_files_at_the_limit_of_size);
    tcase_add_loop_test(c, test_every_cut_of_a_file, 0, (int)COUNT(examples));
    tcase_add_loop_test(c, test_bytes_changed, 0, (int)COUNT(examples));
    tcase_add_test(c, test_large_and_deep_files);
    tcase_add_test(c, test_a_list_without_end);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return unit_run_all(suite());
}
