/* The data of an evaluation: which files, and how their values are scaled. */
#include "deploy/tool/eval_run.h"

#include <stdio.h>
#include <string.h>

static int copy_path(char out[2 * SP_STRING_BYTES], const char *path, size_t length, struct sp_error *error)
{
    if (length == 0)
        return sp_error_set(error, SP_E_SYNTAX, "--data: a path is empty");
    if (length >= 2 * SP_STRING_BYTES)
        return sp_error_set(error, SP_E_RANGE, "--data: a path has %zu bytes; at most %d are allowed", length,
                            2 * SP_STRING_BYTES - 1);
    memcpy(out, path, length);
    out[length] = '\0';
    return SP_OK;
}

static int find_given(const struct eval_options *options, struct eval_report *report, struct sp_error *error)
{
    const char *data = options->data, *comma = strchr(data, ',');
    int rc;

    if (options->job->data.format != SP_DATA_IDX)
        return copy_path(report->data[0], data, strlen(data), error);
    if (comma == NULL || strchr(comma + 1, ',') != NULL)
        return sp_error_set(error, SP_E_SYNTAX,
                            "--data: must be IMAGES,LABELS: two files of data.format idx, joined by a comma");
    rc = copy_path(report->data[0], data, (size_t)(comma - data), error);
    return rc == SP_OK ? copy_path(report->data[1], comma + 1, strlen(comma + 1), error) : rc;
}

int eval_find_data(const struct eval_options *options, struct eval_report *report, struct sp_error *error)
{
    const struct sp_job *job = options->job;

    if (options->data != NULL)
        return find_given(options, report, error);
    if (!sp_job_has_data(job, SP_DATA_TEST))
        return sp_error_set(
            error, SP_E_MISSING, "job '%s' names no test data (%s); say by --data what to evaluate on", job->job,
            job->data.format == SP_DATA_IDX ? "data.test.images and data.test.labels" : "data.test.files");
    if (job->data.format == SP_DATA_IDX)
        sp_job_path(job, job->data.test_labels, report->data[1], sizeof report->data[1]);
    sp_job_path(job, job->data.format == SP_DATA_IDX ? job->data.test_images : job->data.test_files, report->data[0],
                sizeof report->data[0]);
    return SP_OK;
}

int eval_load_data(const struct eval_options *options, const struct eval_report *report, struct sp_examples *test,
                   struct sp_error *error)
{
    const char *labels = report->data[1][0] != '\0' ? report->data[1] : NULL;

    if (options->data == NULL)
        return sp_data_load(options->job, SP_DATA_TEST, test, error);
    return sp_data_load_paths(options->job, report->data[0], labels, test, error);
}

static void show_reading(void *arg)
{
    if (*(const bool *)arg)
        (void)fprintf(stderr, EVAL_CLEAR_LINE "reading the training data for data.scale.compute");
}

int eval_make_scale(const struct eval_options *options, const struct sp_examples *test, struct sp_scale *scale,
                    struct sp_error *error)
{
    const struct sp_job *job = options->job;
    struct sp_examples train = {0};
    int rc;

    if (job->data.compute == SP_COMPUTE_NONE)
        return sp_scale_create(scale, job, test, NULL, NULL, error);
    if (!sp_job_has_data(job, SP_DATA_TRAIN))
        return sp_error_set(error, SP_E_MISSING,
                            "data.scale.compute takes mean and std from the training data, but job '%s' names none",
                            job->job);
    rc = sp_data_load(job, SP_DATA_TRAIN, &train, error);
    if (rc != SP_OK)
        (void)sp_error_prefix(error, "data.scale.compute takes mean and std from the training data");
    if (rc == SP_OK)
        rc = sp_examples_check_test(&train, test, error);
    if (rc == SP_OK)
        rc = sp_scale_create(scale, job, &train, show_reading, (void *)&options->progress, error);
    if (options->progress)
        (void)fprintf(stderr, EVAL_CLEAR_LINE);
    sp_examples_finish(&train);
    return rc;
}
