/* From a model's file and test data to counts. */
#pragma once

#include "common/job.h"
#include "deploy/tool/eval.h"
#include "worker/train/data.h"

#include <stdbool.h>

#define EVAL_CLEAR_LINE "\r\033[K" /* of a terminal: what was said of the progress goes away */

struct eval_options {
    const struct sp_job *job;
    const char *model; /* path of the .safetensors file */
    const char *data;  /* of --data: "IMAGES,LABELS" with data.format idx, else a file or pattern; NULL: the job's */
    uint32_t batch;    /* examples that are computed together: at least 1 */
    bool progress;     /* on standard error, as long as it goes on */
};

/* Fills in the names of the test data. SP_E_MISSING if there are none, SP_E_SYNTAX, SP_E_RANGE if a path is too long:
 * all of them mistakes of a command line. */
int eval_find_data(const struct eval_options *options, struct eval_report *report, struct sp_error *error);

/* Reads the data that were found. The caller finishes the examples. */
int eval_load_data(const struct eval_options *options, const struct eval_report *report, struct sp_examples *test,
                   struct sp_error *error);

/* How the job scales such data. Mean and standard deviation are those of the training data where the job has them
 * computed: these are read then, and only then. The caller finishes the scale. */
int eval_make_scale(const struct eval_options *options, const struct sp_examples *test, struct sp_scale *scale,
                    struct sp_error *error);

/* Reads the data that eval_find_data() named, and fills in what the report has of file, model and counts. Errors name
 * the file at fault. In either case the caller calls eval_finish(). */
int eval_run(const struct eval_options *options, struct eval_report *report, struct sp_error *error);
void eval_finish(struct eval_report *report);
