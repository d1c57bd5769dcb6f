/* The training data, the model that is made for it, and the file of model.init. */
#include "common/init.h"
#include "deploy/tool/check.h"
#include "worker/train/augment.h"
#include "worker/train/model.h"
#include "worker/train/scale.h"

#include <stdlib.h>

static void add_bytes(struct check_model *model, const struct sp_examples *examples)
{
    uint64_t mapped = 0, held = 0;

    if (examples->count == 0)
        return;
    sp_examples_bytes(examples, &mapped, &held);
    model->mapped_bytes += mapped;
    model->held_bytes += held + examples->count; /* a label is a byte */
}

/* What the worker would refuse: a scale or an augmentation that does not fit the data, or test data of another kind. */
static int look_at_data(const struct sp_job *job, const struct sp_examples *train, struct check_model *model,
                        struct sp_error *error)
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
    model->test_examples = test.count;
    add_bytes(model, &test);
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

/* What of the model outlives it. */
static int keep_model(const struct sp_job *job, const struct sp_model *from, const struct sp_examples *train,
                      struct check_model *model, struct sp_error *error)
{
    if (sp_layout_copy(&model->layout, sp_model_layout(from)) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    model->known = true;
    model->layout_digest = sp_layout_digest(&model->layout);
    model->examples = train->count;
    model->data_digest = model->wants_digest ? sp_examples_digest(train) : 0;
    model->activation_bytes = sp_model_bytes(from);
    model->inputs = train->inputs;
    model->batch = sp_model_batch(job);
    add_bytes(model, train);
    return check_tensors(job, &model->layout, error);
}

static int look_at_model(const struct sp_job *job, const struct sp_examples *train, struct check_model *model,
                         struct sp_error *error)
{
    struct sp_model *made = NULL;
    char words[256];
    int rc = sp_model_create(&made, job, &train->shape, train->classes, sp_model_batch(job), error);

    if (rc == SP_OK)
        rc = sp_model_check_batch(made, job->train.batch, error);
    if (rc == SP_OK) {
        sp_model_words(made, words, sizeof words);
        (void)printf("%s\n%u rounds, %u an epoch\n", words, sp_job_rounds(job, train->count),
                     sp_job_epoch_rounds(job, train->count));
        rc = keep_model(job, made, train, model, error);
    }
    if (rc == SP_OK) {
        check_costs(job, &model->layout);
        rc = check_init(job, &model->layout, error);
    }
    sp_model_destroy(made);
    return rc;
}

int check_data(const struct sp_job *job, struct check_model *model, struct sp_error *error)
{
    struct sp_examples train = {0};
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
        rc = look_at_data(job, &train, model, error);
    }
    if (rc == SP_OK)
        rc = look_at_model(job, &train, model, error);
    sp_examples_finish(&train);
    return rc;
}
