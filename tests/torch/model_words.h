/* A model from a program's arguments, for model_step.c and tests/bench/model_time.c:
 *
 *     model.type=resnet18 model.width=8 shape=3x32x32 classes=10 batch=7 room=32 steps=1 warm=0 rate=0.1
 *
 * `model.` keys are those of a job file; shape is channels x height x width of an image.
 */
#pragma once

#include "worker/train/model.h"

#include <stdint.h>

struct model_words {
    struct sp_job job;
    struct sp_shape shape; /* default 1x8x8 */
    uint32_t classes;      /* default 10 */
    uint32_t batch;        /* examples in each batch; default 16 */
    uint32_t room;         /* examples that the model has room for; default `batch` */
    uint32_t steps, warm;  /* default 1 and 0 */
    float rate;            /* of the steps, default 0 */
};

/* Writes words to stderr and exits: `what`, and the error's if it is not NULL. */
_Noreturn void model_fail(const char *what, const struct sp_error *error);

/* Reads words[0..count-1]; one that is wrong ends the program. */
void model_words_read(struct model_words *out, int count, char **words);

/* Makes the model; if that cannot be the program ends. The caller destroys it. */
struct sp_model *model_words_create(const struct model_words *words);

/* `count` floats of zero, which the caller frees; never NULL. */
float *model_floats(uint64_t count);
