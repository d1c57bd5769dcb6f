/* From the elements of data to what a model takes: (element/divide - mean)/std, computed in double and rounded once.
 *
 * Mean and standard deviation are one for all, or one for each channel or input, given in the job or computed from the
 * training data (population standard deviation; one that is 0 becomes 1).
 */
#pragma once

#include "common/error.h"
#include "common/job.h"

#include <stdint.h>

struct sp_examples;

struct sp_moments {
    double mean, std;
};

struct sp_scale {
    double divide;
    uint32_t sets;           /* 1, or as many as channels, or inputs */
    struct sp_moments one;   /* with sets == 1 */
    struct sp_moments *more; /* [sets], owned; NULL with sets == 1 */
    float value[256];        /* with sets == 1: what each byte becomes */
    float (*values)[256];    /* [sets], owned: the same for each of some sets; NULL: computed as they come */
};

/* One set for all; nothing is owned. `divide` and `std` are not 0. */
void sp_scale_init(struct sp_scale *scale, double divide, double mean, double std);

/* What the job says, for such examples. With data.scale.compute they must be the training data, also where others are
 * to be scaled; otherwise any of their shape. `progress(arg)` is called now and then, as a pass over all data takes a
 * while; it may be NULL. On success the caller finishes the scale. Errors: SP_E_MISMATCH (as many means as there are no
 * channels), SP_E_NOMEM. */
int sp_scale_create(struct sp_scale *scale, const struct sp_job *job, const struct sp_examples *examples,
                    void (*progress)(void *arg), void *arg, struct sp_error *error);

/* Frees what it owns; it is all zero then. */
void sp_scale_finish(struct sp_scale *scale);

/* Scales the raw elements of one of these examples, or of an image of the same shape: x is [inputs]. */
void sp_scale_apply(const struct sp_scale *scale, const struct sp_examples *examples, const void *raw, float *x);

/* "mean 0.305, std 0.376", "mean [0.49, 0.48, 0.45], std [...]", of many sets their number and range. */
void sp_scale_words(const struct sp_scale *scale, char *text, size_t bytes);
