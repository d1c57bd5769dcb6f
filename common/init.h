/* The file of weights that a job starts from. */
#pragma once

#include "common/job.h"
#include "common/safetensors.h"

/* sp_safetensors_open() of what model.init names, with which the words of an error begin; *out is NULL if it names
 * none. The caller closes it. */
int sp_init_open(struct sp_safetensors **out, const struct sp_job *job, struct sp_error *error);
