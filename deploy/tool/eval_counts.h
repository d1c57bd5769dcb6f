/* What a model makes of labelled examples: counts by class, and what follows from them. No I/O. */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct eval_counts {
    uint32_t classes;
    uint64_t examples;
    uint64_t correct;
    uint64_t not_a_number; /* examples without a prediction; they are wrong */
    double loss_sum;       /* of the single examples' losses, in their order */
    uint64_t *examples_of; /* [classes]; owned, with the next in one block */
    uint64_t *confusion;   /* [classes of the labels, classes predicted] */
};

/* All zero, for 1 to SP_CLASSES_MAX classes. The one error is SP_E_NOMEM. */
int eval_counts_init(struct eval_counts *counts, uint32_t classes, struct sp_error *error);
void eval_counts_finish(struct eval_counts *counts);

/* One more example; the label is below counts->classes, and so is the prediction unless it is SP_NOBODY
 * (worker/train/layers.h). */
void eval_counts_add(struct eval_counts *counts, uint32_t label, uint32_t prediction, double loss);

/* Shares are 0 to 1, and NaN where nothing was counted to divide by. */
double eval_accuracy(const struct eval_counts *counts);
double eval_loss(const struct eval_counts *counts); /* mean */

struct eval_class {
    uint64_t examples;  /* with this label */
    uint64_t correct;   /* of these, taken for this class */
    uint64_t predicted; /* taken for this class, whatever their label */
    double accuracy;    /* correct / examples, which is also called recall */
    double precision;   /* correct / predicted */
};

struct eval_class eval_class(const struct eval_counts *counts, uint32_t k);

/* Writes up to `max` classes, those with the lowest accuracy first (of equal ones the one with more examples, then the
 * lower class); classes without examples are left out. Returns how many it wrote. */
uint32_t eval_worst(const struct eval_counts *counts, uint32_t *worst, uint32_t max);

struct eval_confusion {
    uint32_t label, predicted; /* different */
    uint64_t examples;         /* at least 1 */
};

/* Writes up to `max` confusions, the most frequent first (of equal ones the lower label, then the lower prediction).
 * Returns how many it wrote. */
uint32_t eval_confusions(const struct eval_counts *counts, struct eval_confusion *top, uint32_t max);
