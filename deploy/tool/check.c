/* signpost check: what a job file means, before anything runs. */
#include "common/cli.h"
#include "common/rules.h"
#include "common/secret.h"
#include "deploy/tool/tool.h"
#include "proto/frame.h"
#include "worker/train/data.h"
#include "worker/train/model.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *file;
    struct sp_sets sets;
};

enum { KEY_KEYS = 256 };

/* A line a key, its columns separated by tabs: path, default, what it takes, what it means. */
static void list_keys(void)
{
    char allowed[SP_VALUE_BYTES];

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        const char *fallback = key->fallback == NULL ? "required" : key->fallback[0] == '\0' ? "\"\"" : key->fallback;

        sp_job_allowed(key, allowed, sizeof allowed);
        (void)printf("%s\t%s\t%s\t%s\n", key->path, fallback, allowed, key->meaning);
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 's':
        sp_sets_add(&arguments->sets, value, state);
        break;
    case KEY_KEYS:
        list_keys();
        exit(SP_EXIT_DONE);
    case ARGP_KEY_ARG:
        if (arguments->file != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        arguments->file = value;
        break;
    case ARGP_KEY_END:
        if (arguments->file == NULL)
            argp_error(state, "name the job file");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* One rule a line: together they can be thousands of characters. */
static void print_rules(const char *path, const struct sp_tensor_rules *rules)
{
    char text[SP_VALUE_BYTES];

    for (uint32_t i = 0; i < rules->count; i++) {
        sp_rule_write(&rules->rule[i], text, sizeof text);
        (void)printf("%-28s - %s\n", i == 0 ? path : "", text);
    }
}

static void print_keys(const struct sp_job *job)
{
    static struct sp_job defaults;
    char value[SP_VALUE_BYTES], fallback[SP_VALUE_BYTES];

    sp_job_init(&defaults);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        bool standard;

        if (key->type == SP_KEY_RULES && job->tensors.count > 0) {
            print_rules(key->path, &job->tensors);
            continue;
        }
        sp_job_get(job, key, value, sizeof value);
        sp_job_get(&defaults, key, fallback, sizeof fallback); /* written alike: the table may say 1e-3 for 0.001 */
        standard = key->fallback != NULL && strcmp(value, fallback) == 0;
        (void)printf("%-28s %-16s %s\n", key->path, value[0] != '\0' ? value : "\"\"", standard ? "(default)" : "");
    }
}

static int load(const struct sp_job *job, const char *images, const char *labels, struct sp_examples *examples,
                struct sp_error *error)
{
    char images_path[2 * SP_STRING_BYTES], labels_path[2 * SP_STRING_BYTES];

    sp_job_path(job, images, images_path, sizeof images_path);
    sp_job_path(job, labels, labels_path, sizeof labels_path);
    return sp_idx_load(images_path, labels_path, examples, error);
}

/* Bytes of one way of a round: the values and a header a chunk. */
static double round_bytes(uint64_t coordinates, uint32_t chunk, double bytes_each)
{
    uint64_t chunks = (coordinates + chunk - 1) / chunk;

    return bytes_each * (double)coordinates + (double)(chunks * SP_FRAME_HEADER_BYTES);
}

/* They are no mistake, as one file may be for several models, but a slip of the pen looks the same. */
static void print_idle_rules(const struct sp_job *job, const struct sp_layout *layout)
{
    const struct sp_tensor_rule *rule;

    for (unsigned i = 0; (rule = sp_job_idle_rule(job, layout, i)) != NULL; i++)
        (void)printf("note: no tensor of this model is called \"%s\"; that rule of `tensors` does nothing\n",
                     rule->match);
}

static int print_costs(const struct sp_job *job, struct sp_error *error)
{
    struct sp_examples train = {0};
    struct sp_model *model = NULL;
    uint64_t d;
    int rc;

    if (job->data.train_images[0] == '\0') {
        (void)printf("\nno data: the workers of this job are programs of your own (libsignpost)\n");
        return SP_OK;
    }
    rc = load(job, job->data.train_images, job->data.train_labels, &train, error);

    if (rc == SP_OK)
        rc = sp_model_create(&model, job, train.inputs, train.classes, job->train.batch, error);
    if (rc == SP_OK) {
        d = sp_model_layout(model)->coordinates;
        (void)printf("\n%llu training examples of %u inputs, %u classes; %llu parameters\n",
                     (unsigned long long)train.count, train.inputs, train.classes, (unsigned long long)d);
        (void)printf("%u rounds, %u an epoch\n", sp_job_rounds(job, train.count),
                     sp_job_epoch_rounds(job, train.count));
        (void)printf("a worker's round, each way: %s in the sign phase (and about 600 bytes of statistics up), %s in "
                     "the SGD phase\n",
                     tool_bytes(round_bytes(d, SP_CHUNK_SIGNS, 0.125)),
                     tool_bytes(round_bytes(d, SP_CHUNK_VALUES, 4.0)));
        print_idle_rules(job, sp_model_layout(model));
    }
    sp_model_destroy(model);
    sp_examples_finish(&train);
    return rc;
}

static int check_secret(const struct sp_job *job, const char *key, const char *file, struct sp_error *error)
{
    char path[2 * SP_STRING_BYTES];
    struct sp_secret secret;

    if (file[0] == '\0')
        return SP_OK;
    sp_job_path(job, file, path, sizeof path);
    if (sp_secret_load(&secret, path, error) != SP_OK)
        return sp_error_prefix(error, "%s", key);
    (void)printf("%s: a secret of %zu bytes\n", key, secret.bytes);
    sp_secret_forget(&secret);
    return SP_OK;
}

static int check_secrets(const struct sp_job *job, struct sp_error *error)
{
    int rc = check_secret(job, "security.token_file", job->security.token_file, error);

    return rc == SP_OK ? check_secret(job, "security.operator_token_file", job->security.operator_token_file, error)
                       : rc;
}

int tool_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file; repeatable", 0},
        {"keys", KEY_KEYS, NULL, 0, "List every key that a job file may have, with default and meaning", 0},
        {0}};
    static const struct argp argp = {
        options, parse, "JOB.yaml", "Checks a job file and its training data, and prints every key with its value.",
        NULL,    NULL,  NULL};
    static struct arguments arguments;
    static struct sp_job job;
    struct sp_error error = {0};
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    if (sp_cli_load(TOOL, arguments.file, &arguments.sets, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    print_keys(&job);
    if (print_costs(&job, &error) != SP_OK || check_secrets(&job, &error) != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    return SP_EXIT_DONE;
}
