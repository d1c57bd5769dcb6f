#include "worker/train/train.h"

#include "common/check.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/tls.h"
#include "version.h"
#include "worker/client/signpost.h"
#include "worker/train/augment.h"
#include "worker/train/batch.h"
#include "worker/train/data.h"
#include "worker/train/model.h"
#include "worker/train/pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct trainer {
    struct sp_job job; /* with the server's plan, once there is one */
    struct sp_examples train, test;
    struct sp_scale scale;
    struct sp_augment augment;
    struct sp_model *model;
    struct sp_batches *batches;
    signpost *client;
    uint32_t *indices;
    uint8_t *labels;
    float *x, *gradient;
    struct sp_pace pace;
};

static void on_log(void *arg, int level, const char *line)
{
    static const enum sp_log_level levels[] = {
        [SIGNPOST_LOG_WARN] = SP_LOG_WARN, [SIGNPOST_LOG_INFO] = SP_LOG_INFO, [SIGNPOST_LOG_DEBUG] = SP_LOG_DEBUG};

    (void)arg;
    sp_log(levels[level], "client", "%s", line);
    if (level != SIGNPOST_LOG_DEBUG)
        sp_notify_status(line);
}

/* "0.1 MB mapped", "0.1 MB in memory", or both. */
static void say_bytes(const struct sp_examples *examples, char *text, size_t bytes)
{
    uint64_t mapped, held;

    sp_examples_bytes(examples, &mapped, &held);
    if (mapped > 0 && held > 0)
        (void)snprintf(text, bytes, "%.1f MB mapped, %.1f MB in memory", (double)mapped / 1e6, (double)held / 1e6);
    else
        (void)snprintf(text, bytes, "%.1f MB %s", (double)(mapped + held) / 1e6, held > 0 ? "in memory" : "mapped");
}

static void say_data(const struct trainer *t)
{
    const struct sp_shape *shape = &t->train.shape;
    char format[SP_VALUE_BYTES], bytes[96], test[96] = "none to test with";

    sp_job_get(&t->job, sp_job_key("data.format"), format, sizeof format);
    say_bytes(&t->train, bytes, sizeof bytes);
    if (t->test.count > 0)
        (void)snprintf(test, sizeof test, "%llu to test with", (unsigned long long)t->test.count);
    sp_log_info("data", "%s: %llu examples of %u x %u x %u, %u classes, %s; %s", format,
                (unsigned long long)t->train.count, shape->channels, shape->height, shape->width, t->train.classes,
                bytes, test);
}

static int load_data(struct trainer *t, struct sp_error *error)
{
    int rc = sp_data_load(&t->job, SP_DATA_TRAIN, &t->train, error);

    if (rc == SP_OK && sp_job_has_data(&t->job, SP_DATA_TEST)) {
        rc = sp_data_load(&t->job, SP_DATA_TEST, &t->test, error);
        if (rc == SP_OK)
            rc = sp_examples_check_test(&t->train, &t->test, error);
    }
    if (rc == SP_OK)
        say_data(t);
    return rc;
}

static void forget_batches(struct trainer *t)
{
    sp_batches_destroy(t->batches);
    free(t->indices);
    free(t->labels);
    free(t->x);
    t->batches = NULL;
    t->indices = NULL;
    t->labels = NULL;
    t->x = NULL;
}

static void be_alive(void *arg)
{
    const struct trainer *t = arg;

    signpost_alive(t->client);
}

/* The model is made before the plan is there, since HELLO names its tensors; the plan then says batch, seed and
 * workers. */
static int make_model(struct trainer *t, struct sp_error *error)
{
    int rc = sp_model_create(&t->model, &t->job, &t->train.shape, t->train.classes, sp_model_batch(&t->job), error);

    if (rc != SP_OK)
        return rc;
    sp_model_on_progress(t->model, be_alive, t);
    free(t->gradient);
    t->gradient = malloc(sp_model_layout(t->model)->coordinates * sizeof *t->gradient);
    return t->gradient != NULL ? SP_OK : sp_error_set(error, SP_E_NOMEM, "no memory for the gradient");
}

static int make_scale(struct trainer *t, struct sp_error *error)
{
    char words[256];
    int rc;

    sp_scale_finish(&t->scale);
    rc = sp_scale_create(&t->scale, &t->job, &t->train, be_alive, t, error);
    if (rc != SP_OK || t->job.data.compute == SP_COMPUTE_NONE)
        return rc;
    sp_scale_words(&t->scale, words, sizeof words);
    sp_log_info("data", "of the training data, divided by %g: %s", t->scale.divide, words);
    return SP_OK;
}

static int make_augment(struct trainer *t, struct sp_error *error)
{
    sp_augment_finish(&t->augment);
    return sp_augment_create(&t->augment, &t->job, &t->train, error);
}

static int make_batches(struct trainer *t, struct sp_error *error)
{
    const struct sp_batches_options options = {.seed = t->job.seed,
                                               .examples = t->train.count,
                                               .workers = t->job.workers,
                                               .batch = t->job.train.batch,
                                               .shards = t->job.data.shards,
                                               .labels = t->train.labels};
    uint32_t n = sp_model_batch(&t->job);
    int rc;

    forget_batches(t);
    t->indices = malloc(n * sizeof *t->indices);
    t->labels = malloc(n);
    t->x = malloc((size_t)n * t->train.inputs * sizeof *t->x);
    if (t->indices == NULL || t->labels == NULL || t->x == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a batch of %u examples", n);
    rc = make_scale(t, error);
    if (rc == SP_OK)
        rc = make_augment(t, error);
    return rc == SP_OK ? sp_batches_create(&t->batches, &options, error) : rc;
}

static void say_model(const struct trainer *t)
{
    char type[SP_VALUE_BYTES], words[256];

    sp_job_get(&t->job, sp_job_key("model.type"), type, sizeof type);
    sp_model_words(t->model, words, sizeof words);
    sp_log_info("model", "%s: %s; threads: %u", type, words, t->job.model.threads);
}

/* The server's file governs training: every key of its plan replaces what this worker's own file says. */
static int take_plan(struct trainer *t, struct sp_error *error)
{
    bool changes = t->batches == NULL;
    const char *key, *value;
    char before[SP_VALUE_BYTES];
    uint64_t own;
    int rc;

    for (size_t i = 0; signpost_plan_item(t->client, i, &key, &value); i++) {
        const struct sp_key *known = sp_job_key(key);

        if (known == NULL || !(known->flags & SP_KEY_PLAN))
            return sp_error_set(error, SP_E_UNKNOWN, "the server's plan has key '%s', which this version does not know",
                                key);
        sp_job_get(&t->job, known, before, sizeof before);
        changes = changes || strcmp(before, value) != 0;
        rc = sp_job_set(&t->job, key, value, error);
        if (rc != SP_OK)
            return sp_error_prefix(error, "the server's plan");
    }
    if (!changes)
        return SP_OK; /* it is back in the same job, for which all is made */
    own = sp_layout_digest(sp_model_layout(t->model));
    sp_model_destroy(t->model);
    t->model = NULL;
    rc = make_model(t, error);
    /* The client's weights have the size that HELLO said. */
    if (rc == SP_OK && sp_layout_digest(sp_model_layout(t->model)) != own)
        rc = sp_error_set(error, SP_E_MISMATCH,
                          "the server's job trains another model than this worker's job file says; give both the same "
                          "model.type, model.hidden and model.width");
    if (rc == SP_OK)
        rc = sp_model_check_batch(t->model, t->job.train.batch, error);
    if (rc != SP_OK)
        return rc;
    say_model(t);
    return make_batches(t, error);
}

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Once, after the first rounds of a sign or margin phase. */
static void say_pace(struct trainer *t)
{
    char words[256];

    if (!sp_pace_weights(&t->pace, seconds()) || signpost_phase(t->client) == SIGNPOST_PHASE_SGD)
        return;
    sp_pace_words(&t->pace, signpost_coordinates(t->client), (double)signpost_count(t->client, SIGNPOST_LINE_RATE),
                  words, sizeof words);
    sp_log_info("train", "%s", words);
}

static int give_gradient(struct trainer *t, const struct signpost_event *event)
{
    uint32_t batch = t->job.train.batch;
    uint64_t d = sp_model_layout(t->model)->coordinates;
    double loss, began, now;
    int rc;

    say_pace(t);
    began = seconds();
    sp_batches_pick(t->batches, event->round, event->slot, t->indices);
    sp_augment_gather(&t->augment, &t->train, t->indices, batch, &t->scale, event->round, event->slot, t->x, t->labels);
    loss = sp_model_gradient(t->model, signpost_weights(t->client), signpost_buffers(t->client), t->x, t->labels, batch,
                             t->gradient);
    now = seconds();
    sp_pace_gradient(&t->pace, now, now - began);
    rc = signpost_gradient(t->client, 0, d, t->gradient);
    return rc == SIGNPOST_OK ? signpost_push(t->client, loss, batch) : rc;
}

static int give_score(struct trainer *t, const struct signpost_event *event)
{
    uint64_t n = t->test.count;
    uint64_t first = n * event->part / event->parts;
    uint64_t end = n * (event->part + 1) / event->parts;
    const uint32_t most = sp_model_batch(&t->job);
    struct sp_score score = {0};

    while (first < end) {
        uint32_t count = end - first < most ? (uint32_t)(end - first) : most;

        for (uint32_t i = 0; i < count; i++)
            t->indices[i] = (uint32_t)(first + i);
        sp_examples_gather(&t->test, t->indices, count, &t->scale, t->x, t->labels);
        sp_model_score(t->model, signpost_weights(t->client), signpost_buffers(t->client), t->x, t->labels, count,
                       &score);
        first += count;
        signpost_alive(t->client);
        sp_notify_beat((uint64_t)(seconds() * 1e3), NULL, NULL);
    }
    return signpost_score(t->client, event, score.correct, score.total, score.loss_sum);
}

/* What the library answered, with its words. */
static int from_client(struct trainer *t, int code, struct sp_error *error)
{
    return code == SIGNPOST_OK ? SP_OK : sp_error_set(error, (enum sp_code)code, "%s", signpost_error(t->client));
}

/* Lines in JSON are collected from many workers; in text the file's name tells whose they are. */
static void name_log(const struct signpost_event *event)
{
    char name[32];

    (void)snprintf(name, sizeof name, "worker %u", event->slot);
    if (sp_log_format() == SP_LOG_JSON)
        sp_log_set_name(name);
}

static int obey(struct trainer *t, const struct signpost_event *event, struct sp_error *error)
{
    switch (event->type) {
    case SIGNPOST_JOINED:
        name_log(event);
        sp_pace_disturb(&t->pace);
        return take_plan(t, error);
    case SIGNPOST_INIT:
        sp_model_init(t->model, t->job.seed, signpost_weights_to_init(t->client), signpost_buffers(t->client));
        return from_client(t, signpost_init_done(t->client), error);
    case SIGNPOST_GRADIENT:
        return from_client(t, give_gradient(t, event), error);
    case SIGNPOST_EVALUATE:
        sp_pace_disturb(&t->pace);
        return from_client(t, give_score(t, event), error);
    default:
        return SP_OK;
    }
}

/* A line for `systemctl status`; what the library logs, as that it waits for the server, stands there as well. */
static void write_state(void *arg, char *words, size_t bytes)
{
    const struct signpost_event *event = arg;

    (void)snprintf(words, bytes, "slot %u: round %u of %u", event->slot, event->round, event->rounds);
}

static int loop(struct trainer *t, struct sp_error *error)
{
    struct signpost_event event;
    int rc;

    sp_notify_ready();
    do {
        rc = signpost_wait(t->client, SP_NOTIFY_BEAT_MS, &event);
        if (rc != SP_OK)
            return from_client(t, rc, error);
        sp_notify_beat((uint64_t)(seconds() * 1e3), event.type == SIGNPOST_GRADIENT ? write_state : NULL, &event);
        rc = obey(t, &event, error);
        if (rc != SP_OK)
            return rc;
    } while (event.type != SIGNPOST_DONE);
    sp_notify_stopping();
    sp_log_info("train", "%s; this worker pushed %llu rounds; weights digest %016llx", signpost_error(t->client),
                (unsigned long long)signpost_count(t->client, SIGNPOST_PUSHES),
                (unsigned long long)signpost_weights_digest(t->client));
    return SP_OK;
}

/* The model's tensors as the library wants them; the names and shapes stay the layout's. */
static struct signpost_tensor *describe(const struct sp_layout *layout)
{
    struct signpost_tensor *tensors = calloc(layout->tensors_count, sizeof *tensors);

    for (uint32_t i = 0; tensors != NULL && i < layout->tensors_count; i++) {
        tensors[i].name = layout->tensors[i].name;
        tensors[i].shape = layout->tensors[i].shape;
        tensors[i].dims = layout->tensors[i].dims;
        tensors[i].flags = layout->tensors[i].flags;
    }
    return tensors;
}

/* NULL if it is not to be saved. */
static const char *momentum_folder(const struct sp_job *job, const char *folder, char *path, size_t bytes)
{
    if (job->worker.momentum.every == 0)
        return NULL;
    if (job->worker.momentum.folder[0] != '\0')
        sp_job_path(job, job->worker.momentum.folder, path, bytes);
    else if (folder != NULL)
        return folder;
    else
        (void)snprintf(path, bytes, "runs/%s", job->job);
    return path;
}

static int join(struct trainer *t, const struct sp_train_options *options, struct sp_error *error)
{
    struct signpost_options client = SIGNPOST_OPTIONS_INIT;
    struct signpost_tensor *tensors = describe(sp_model_layout(t->model));
    char token_file[2 * SP_STRING_BYTES], momentum[2 * SP_STRING_BYTES];
    struct sp_tls_paths tls;
    int rc;

    if (tensors == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    sp_job_path(&t->job, t->job.security.token_file, token_file, sizeof token_file);
    client.server = options->server != NULL ? options->server : t->job.server.listen;
    client.job = t->job.job;
    client.program = "signpost-worker " SP_VERSION;
    client.token_file = token_file[0] != '\0' ? token_file : NULL;
    client.tensors = tensors;
    client.tensors_count = sp_model_layout(t->model)->tensors_count;
    client.examples = t->train.count;
    client.test_examples = t->test.count;
    client.data_digest = sp_examples_digest(&t->train);
    client.slot = options->slot;
    client.give_up_s = t->job.worker.give_up;
    client.momentum_folder = momentum_folder(&t->job, options->folder, momentum, sizeof momentum);
    client.momentum_every = t->job.worker.momentum.every;
    if (sp_job_tls_paths(&t->job, &tls)) {
        client.tls_cert = tls.cert;
        client.tls_key = tls.key;
        client.tls_ca = tls.ca;
        client.tls_name = t->job.security.tls.name[0] != '\0' ? t->job.security.tls.name : NULL;
    }
    client.log = on_log;
    error->code = SP_OK;
    rc = signpost_open(&t->client, &client, error->text, sizeof error->text);
    if (rc != SP_OK)
        error->code = (enum sp_code)rc;
    free(tensors);
    return rc;
}

int sp_train(const struct sp_train_options *options, struct sp_error *error)
{
    struct trainer *t = calloc(1, sizeof *t);
    int rc;

    if (t == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    t->job = *options->job;
    sp_model_set_threads(t->job.model.threads);
    rc = load_data(t, error);
    if (rc == SP_OK)
        rc = make_model(t, error);
    if (rc == SP_OK)
        rc = join(t, options, error);
    if (rc == SP_OK)
        rc = loop(t, error);
    signpost_close(t->client);
    forget_batches(t);
    free(t->gradient);
    sp_model_destroy(t->model);
    sp_augment_finish(&t->augment);
    sp_scale_finish(&t->scale);
    sp_examples_finish(&t->train);
    sp_examples_finish(&t->test);
    free(t);
    return rc;
}
