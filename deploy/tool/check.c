/* signpost check: what a job file means, before anything runs. */
#include "common/cli.h"
#include "common/init.h"
#include "common/rules.h"
#include "common/secret.h"
#include "common/tls.h"
#include "deploy/tool/tool.h"
#include "proto/chunks.h"
#include "worker/train/augment.h"
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

/* Bytes of a worker's round in some form: its chunks and a header for each; up to the server, or down from it. */
static double round_bytes(const struct sp_layout *layout, const struct sp_round_form *form, unsigned voters)
{
    uint32_t chunks = sp_chunks_count(layout, form);
    double bytes = 0.0;

    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_chunk chunk = sp_chunk_at(layout, form, k);

        bytes += SP_FRAME_HEADER_BYTES;
        bytes += (double)(voters > 0 ? sp_chunk_update_bytes(form, &chunk, voters) : chunk.bytes);
    }
    return bytes;
}

static void print_phase(const struct sp_job *job, const struct sp_layout *layout, const struct sp_round_form *form,
                        const char *name)
{
    (void)printf("  %-16s %s up, %s down\n", name, tool_bytes(round_bytes(layout, form, 0)),
                 tool_bytes(round_bytes(layout, form, job->workers)));
}

/* What a round costs in each phase that the job may have; all of its workers take part. */
static void print_phases(const struct sp_job *job, const struct sp_layout *layout)
{
    static const char *const wires[] = {"sgd, float32", "sgd, bfloat16", "sgd, int8"};
    enum sp_wire wire = sp_job_wire(job);
    bool hybrid = job->optimizer.mode == SP_MODE_HYBRID;
    bool margin = job->optimizer.start == SP_START_MARGIN || job->optimizer.switch_.to == SP_SWITCH_TO_MARGIN;

    (void)printf("a worker's round, without the 600 bytes of statistics that ride on it:\n");
    if (hybrid && job->optimizer.start == SP_START_SIGN)
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SIGN}, "sign");
    if (hybrid && margin)
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_MARGIN}, "margin");
    print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SGD, .wire = wire}, wires[wire]);
    if (wire != SP_WIRE_F32)
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SGD}, "(float32)");
}

/* The model's layout with the job's rules; those that match no tensor are said. */
static int print_tensors(const struct sp_job *job, struct sp_layout *layout, struct sp_error *error)
{
    uint8_t *traits = calloc(layout->trained, 1);
    const struct sp_tensor_rule *idle;

    if (traits == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    (void)sp_job_traits(job, layout, traits);
    sp_layout_set_traits(layout, traits);
    free(traits);
    for (unsigned i = 0; (idle = sp_job_idle_rule(job, layout, i)) != NULL; i++)
        (void)printf("tensors: no tensor of the model matches '%s'; that rule does nothing\n", idle->match);
    for (uint32_t i = 0; i < layout->trained; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        (void)printf("  %-24s %10llu parameters%s%s\n", tensor->name, (unsigned long long)tensor->count,
                     sp_tensor_is(tensor, SP_TENSOR_FULL) ? ", in full precision" : "",
                     sp_tensor_is(tensor, SP_TENSOR_DECAY) ? ", weight decay" : "");
    }
    return SP_OK;
}

static int print_model(const struct sp_job *job, const struct sp_layout *model, struct sp_error *error)
{
    struct sp_layout layout;
    int rc = sp_layout_copy(&layout, model);

    if (rc != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    rc = print_tensors(job, &layout, error);
    if (rc == SP_OK)
        print_phases(job, &layout);
    sp_layout_finish(&layout);
    return rc;
}

/* What the worker would refuse: a scale or an augmentation that does not fit the data, or test data of another kind. */
static int check_data(const struct sp_job *job, const struct sp_examples *train, struct sp_error *error)
{
    struct sp_examples test = {0};
    struct sp_augment augment = {0};
    struct sp_scale scale = {0};
    char words[256];
    int rc = sp_scale_create(&scale, job, train, NULL, NULL, error);

    if (rc == SP_OK)
        rc = sp_augment_create(&augment, job, train, error);
    if (rc == SP_OK && job->data.compute != SP_COMPUTE_NONE) {
        sp_scale_words(&scale, words, sizeof words);
        (void)printf("of the training data, divided by %g: %s\n", scale.divide, words);
    }
    if (rc == SP_OK && sp_job_has_data(job, SP_DATA_TEST))
        rc = sp_data_load(job, SP_DATA_TEST, &test, error);
    if (rc == SP_OK && test.count > 0)
        rc = sp_examples_check_test(train, &test, error);
    if (rc == SP_OK && test.count > 0)
        (void)printf("%llu examples to test with\n", (unsigned long long)test.count);
    sp_augment_finish(&augment);
    sp_scale_finish(&scale);
    sp_examples_finish(&test);
    return rc;
}

static void say_init(const struct sp_safetensors *file, const struct sp_layout *layout)
{
    const char *first;

    if (layout == NULL)
        (void)printf("model.init: the file can be read\n");
    else if (sp_safetensors_left_over(file, layout, &first) > 0)
        (void)printf("model.init: the file fits the model; it has more tensors, which are not used\n");
    else
        (void)printf("model.init: the file fits the model\n");
}

/* Whether the file of model.init is there, and has every tensor of the model (NULL: the model is not known). */
static int check_init(const struct sp_job *job, const struct sp_layout *layout, struct sp_error *error)
{
    struct sp_safetensors *file;
    float *values = NULL;
    int rc = sp_init_open(&file, job, error);

    if (rc != SP_OK || file == NULL)
        return rc;
    if (layout != NULL) {
        values = malloc((size_t)(layout->coordinates + layout->buffers) * sizeof *values);
        if (values == NULL)
            rc = sp_error_set(error, SP_E_NOMEM, "no memory for the model");
        else
            rc = sp_safetensors_read(file, layout, values, values + layout->coordinates, error);
    }
    if (rc == SP_OK)
        say_init(file, layout);
    else
        (void)sp_error_prefix(error, "model.init");
    free(values);
    sp_safetensors_close(file);
    return rc;
}

/* Keys that were set, but that nothing of this job looks at: no mistake where a word is changed to compare, but a
 * surprise to whoever hoped for an effect. */
static void print_idle(const struct sp_job *job)
{
    const struct {
        const char *prefix, *other;
        bool used;
    } groups[] = {{"model.hidden", "model.type mlp", job->model.type == SP_MODEL_MLP},
                  {"model.width", "model.type resnet18", job->model.type == SP_MODEL_RESNET18},
                  {"data.csv.", "data.format csv", job->data.format == SP_DATA_CSV}};
    char value[SP_VALUE_BYTES];

    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        for (size_t k = 0; k < sp_job_keys_count && !groups[i].used; k++) {
            const struct sp_key *key = &sp_job_keys[k];

            sp_job_get(job, key, value, sizeof value);
            if (strncmp(key->path, groups[i].prefix, strlen(groups[i].prefix)) == 0 &&
                strcmp(value, key->fallback) != 0)
                (void)printf("%s: has no effect without %s\n", key->path, groups[i].other);
        }
}

static int print_costs(const struct sp_job *job, struct sp_error *error)
{
    struct sp_examples train = {0};
    struct sp_model *model = NULL;
    char words[256];
    int rc;

    if (!sp_job_has_data(job, SP_DATA_TRAIN)) {
        (void)printf("\nno data: the workers of this job are programs of your own (libsignpost)\n");
        return check_init(job, NULL, error);
    }
    rc = sp_data_load(job, SP_DATA_TRAIN, &train, error);
    if (rc == SP_OK) {
        (void)printf("\n%llu training examples of %u inputs (%u x %u x %u), %u classes\n",
                     (unsigned long long)train.count, train.inputs, train.shape.channels, train.shape.height,
                     train.shape.width, train.classes);
        rc = check_data(job, &train, error);
    }
    if (rc == SP_OK)
        rc = sp_model_create(&model, job, &train.shape, train.classes, sp_model_batch(job), error);
    if (rc == SP_OK)
        rc = sp_model_check_batch(model, job->train.batch, error);
    if (rc == SP_OK) {
        sp_model_words(model, words, sizeof words);
        (void)printf("%s\n%u rounds, %u an epoch\n", words, sp_job_rounds(job, train.count),
                     sp_job_epoch_rounds(job, train.count));
        rc = print_model(job, sp_model_layout(model), error);
        if (rc == SP_OK)
            rc = check_init(job, sp_model_layout(model), error);
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

/* Good for one of the sides, whichever this machine is going to be. */
static int check_tls(const struct sp_job *job, struct sp_error *error)
{
    struct sp_tls_files *files = NULL;
    struct sp_tls_paths paths;

    if (!sp_job_tls_paths(job, &paths))
        return SP_OK;
    if (sp_tls_files_load(&files, SP_TLS_SERVER, &paths, error) == SP_OK)
        (void)printf("security.tls: for a server: %s\n", sp_tls_files_words(files));
    else if (sp_tls_files_load(&files, SP_TLS_CLIENT, &paths, error) == SP_OK)
        (void)printf("security.tls: for a worker: %s\n", sp_tls_files_words(files));
    else
        return sp_error_prefix(error, "security.tls");
    sp_tls_files_free(files);
    return SP_OK;
}

static int check_secrets(const struct sp_job *job, struct sp_error *error)
{
    int rc = check_secret(job, "security.token_file", job->security.token_file, error);

    if (rc == SP_OK)
        rc = check_secret(job, "security.operator_token_file", job->security.operator_token_file, error);
    return rc == SP_OK ? check_tls(job, error) : rc;
}

int tool_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file; repeatable", 0},
        {"keys", KEY_KEYS, NULL, 0, "List every key that a job file may have, with default and meaning", 0},
        {0}};
    static const struct argp argp = {
        options,
        parse,
        "JOB.yaml",
        "Checks a job file and its training data, and prints every key with its value." SP_CLI_EXAMPLE
        "signpost check configs/digits.yaml --set workers=8",
        NULL,
        NULL,
        NULL};
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
    print_idle(&job);
    sp_mapping_guard(TOOL);
    if (print_costs(&job, &error) != SP_OK || check_secrets(&job, &error) != SP_OK)
        return sp_cli_fail(TOOL, error.text);
    return SP_EXIT_DONE;
}
