#include "deploy/tool/eval_run.h"

#include "common/safetensors.h"
#include "worker/train/layers.h"
#include "worker/train/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PROGRESS_NS 200000000 /* between two lines */

/* --- the model -------------------------------------------------------------------------------------------------------
 */

struct eval {
    const struct eval_options *options;
    const struct sp_job *job;
    struct eval_report *report;
    struct sp_examples test;
    struct sp_scale scale;
    struct sp_safetensors *file;
    struct sp_model *model;
    uint32_t classes, batch;
    float *theta, *buffers, *x; /* all owned */
    uint32_t *indices;
    uint8_t *labels;
};

static void finish(struct eval *e)
{
    free(e->labels);
    free(e->indices);
    free(e->x);
    free(e->buffers);
    free(e->theta);
    sp_model_destroy(e->model);
    sp_safetensors_close(e->file);
    sp_scale_finish(&e->scale);
    sp_examples_finish(&e->test);
}

/* Words behind those of an error: a tensor may have another shape by the job, or by the data. */
static int refuse_model(const struct eval *e, struct sp_error *error, int code)
{
    const struct sp_shape *shape = &e->test.shape;
    char words[SP_ERROR_TEXT_BYTES];

    if (code != SP_E_MISMATCH && code != SP_E_MISSING)
        return code;
    (void)snprintf(words, sizeof words, "%s", error->text);
    return sp_error_set(error, (enum sp_code)code,
                        "%.390s; the job's model (model.*), for images of %" PRIu32 " x %" PRIu32 " x %" PRIu32
                        ", is another than that of the file",
                        words, shape->channels, shape->height, shape->width);
}

/* A model may well fit into a part of another. */
static int refuse_left_over(const struct eval *e, struct sp_error *error)
{
    const char *name = NULL;
    unsigned count = sp_safetensors_left_over(e->file, sp_model_layout(e->model), &name);

    if (count == 0)
        return SP_OK;
    return sp_error_set(error, SP_E_MISMATCH, "%.250s: %u of its tensors are not in the job's model, such as %.64s",
                        e->options->model, count, name);
}

static int refuse_shape(const struct eval *e, const struct sp_tensor *first, uint64_t inputs, struct sp_error *error)
{
    const struct sp_shape *shape = &e->test.shape;

    return sp_error_set(error, SP_E_MISMATCH,
                        "%s: an image has %" PRIu32 " x %" PRIu32 " x %" PRIu32 " values (channels, height, width), "
                        "which is not what the model takes: %s of %.150s has %" PRIu64
                        " inputs, with these data %" PRIu64,
                        e->test.from, shape->channels, shape->height, shape->width, first->name, e->options->model,
                        inputs, first->shape[1]);
}

/* The trained tensors begin with the layer that takes the images and end with the one that gives a logit a class. What
 * the file says of both is compared before the weights are read, as the data may be at fault as well. */
static int probe(struct eval *e, struct sp_error *error)
{
    const struct sp_shape *shape = &e->test.shape;
    const struct sp_tensor *first, *last;
    uint64_t of_file[SP_TENSOR_DIMS_MAX];
    struct sp_model *model = NULL;
    int rc = sp_model_create(&model, e->job, shape, 1, 1, error);

    if (rc == SP_E_RANGE)
        (void)sp_error_prefix(error, "%s and the job's model (model.*)", e->test.from);
    if (rc != SP_OK)
        return rc;
    first = &sp_model_layout(model)->tensors[0];
    last = &sp_model_layout(model)->tensors[sp_model_layout(model)->trained - 1];
    e->classes = 1; /* a file that lacks these tensors is refused when the weights are read */
    if (sp_safetensors_shape(e->file, last->name, of_file) > 0)
        e->classes = of_file[0] <= SP_CLASSES_MAX ? (uint32_t)of_file[0] : SP_CLASSES_MAX + 1;
    if (sp_safetensors_shape(e->file, first->name, of_file) >= 2 && first->dims >= 2 && of_file[1] != first->shape[1])
        rc = refuse_shape(e, first, of_file[1], error);
    sp_model_destroy(model);
    return rc;
}

static int read_weights(struct eval *e, struct sp_error *error)
{
    const struct sp_layout *layout = sp_model_layout(e->model);
    int rc;

    e->theta = malloc((size_t)layout->coordinates * sizeof *e->theta);
    if (layout->buffers > 0)
        e->buffers = malloc((size_t)layout->buffers * sizeof *e->buffers);
    if (e->theta == NULL || (layout->buffers > 0 && e->buffers == NULL))
        return sp_error_set(error, SP_E_NOMEM, "no memory for the weights of the model");
    rc = sp_safetensors_read(e->file, layout, e->theta, e->buffers, error);
    if (rc == SP_OK)
        rc = refuse_left_over(e, error);
    return refuse_model(e, error, rc);
}

static int load_model(struct eval *e, struct sp_error *error)
{
    int rc = sp_safetensors_open(&e->file, e->options->model, error);

    if (rc == SP_OK)
        rc = probe(e, error);
    if (rc == SP_OK)
        rc = sp_model_create(&e->model, e->job, &e->test.shape, e->classes, e->batch, error);
    return rc == SP_OK ? read_weights(e, error) : rc;
}

/* --- the evaluation --------------------------------------------------------------------------------------------------
 */

static int check_labels(const struct eval *e, struct sp_error *error)
{
    for (uint64_t i = 0; i < e->test.count; i++)
        if (e->test.labels[i] >= e->classes)
            return sp_error_set(error, SP_E_RANGE,
                                "%.300s: label %" PRIu64
                                " (counted from 0) is %u, but the model knows only the %" PRIu32
                                " classes from 0 to %" PRIu32,
                                e->test.labels_from, i, e->test.labels[i], e->classes, e->classes - 1);
    return SP_OK;
}

static int make_room(struct eval *e, struct sp_error *error)
{
    e->indices = malloc(e->batch * sizeof *e->indices);
    e->labels = malloc(e->batch);
    e->x = malloc((size_t)e->batch * e->test.inputs * sizeof *e->x);
    if (e->indices == NULL || e->labels == NULL || e->x == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a batch of %" PRIu32 " examples; give a smaller --batch",
                            e->batch);
    return SP_OK;
}

/* A line that writes over itself, a few times a second. */
static void show_progress(uint64_t done, uint64_t of)
{
    static struct timespec shown;
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (shown.tv_sec == 0)
        shown = now;
    if ((now.tv_sec - shown.tv_sec) * 1000000000L + now.tv_nsec - shown.tv_nsec < PROGRESS_NS)
        return;
    shown = now;
    (void)fprintf(stderr, EVAL_CLEAR_LINE "%" PRIu64 " of %" PRIu64 " examples", done, of);
}

static void evaluate(struct eval *e)
{
    struct eval_counts *counts = &e->report->counts;

    while (counts->examples < e->test.count) {
        const uint64_t first = counts->examples, left = e->test.count - first;
        const uint32_t n = left < e->batch ? (uint32_t)left : e->batch;
        const float *logits;

        for (uint32_t i = 0; i < n; i++)
            e->indices[i] = (uint32_t)(first + i);
        sp_examples_gather(&e->test, e->indices, n, &e->scale, e->x, e->labels);
        logits = sp_model_logits(e->model, e->theta, e->buffers, e->x, n);
        for (uint32_t i = 0; i < n; i++, logits += e->classes)
            eval_counts_add(counts, e->labels[i], sp_softmax_predict(logits, e->classes),
                            sp_softmax_loss(logits, e->classes, e->labels[i], 1.0, NULL));
        if (e->options->progress)
            show_progress(counts->examples, e->test.count);
    }
    if (e->options->progress)
        (void)fprintf(stderr, EVAL_CLEAR_LINE);
}

static int run(struct eval *e, struct sp_error *error)
{
    int rc = eval_load_data(e->options, e->report, &e->test, error);

    if (rc != SP_OK)
        return rc;
    e->batch = e->options->batch > 0 ? e->options->batch : sp_model_batch(e->job);
    e->batch = e->test.count < e->batch ? (uint32_t)e->test.count : e->batch;
    rc = load_model(e, error);
    if (rc == SP_OK)
        rc = check_labels(e, error);
    if (rc == SP_OK)
        rc = eval_make_scale(e->options, &e->test, &e->scale, error);
    if (rc == SP_OK)
        rc = make_room(e, error);
    if (rc == SP_OK)
        rc = eval_counts_init(&e->report->counts, e->classes, error);
    if (rc != SP_OK)
        return rc;
    e->report->params = sp_model_layout(e->model)->coordinates;
    evaluate(e);
    return SP_OK;
}

int eval_run(const struct eval_options *options, struct eval_report *report, struct sp_error *error)
{
    struct eval e = {.options = options, .job = options->job, .report = report};
    const struct sp_key *type = sp_job_key("model.type");
    int rc;

    report->file = options->model;
    report->model = type->choices[options->job->model.type];
    sp_model_set_threads(options->job->model.threads);
    rc = run(&e, error);
    finish(&e);
    return rc;
}

void eval_finish(struct eval_report *report)
{
    eval_counts_finish(&report->counts);
}
