/* What `signpost eval` found, and how it is told. */
#pragma once

#include "common/job.h"
#include "deploy/tool/eval_counts.h"

#include <stdio.h>

struct eval_report {
    const char *run;                   /* its folder */
    const char *file;                  /* of the weights */
    const char *model;                 /* its model.type */
    uint64_t params;                   /* trained coordinates */
    char data[2][2 * SP_STRING_BYTES]; /* what was read; the second is empty if one says it all */
    struct eval_counts counts;
};

/* For people: figures, a table by class (of many classes those with the lowest accuracy), the confusion matrix (of many
 * classes the most frequent confusions). */
void eval_print_text(FILE *to, const struct eval_report *report);

/* One JSON object with everything, in one line; null where a figure is undefined. SP_E_IO if it cannot be printed. */
int eval_print_json(FILE *to, const struct eval_report *report, struct sp_error *error);
