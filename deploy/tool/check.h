/* Inside `signpost check`: check.c (arguments), check_keys.c, check_data.c, check_costs.c, check_need.c,
 * check_secrets.c, check_connect.c and check_trouble.c. Nobody else includes this. */
#pragma once

#include "common/job.h"
#include "deploy/tool/tool.h"
#include "proto/codec.h"
#include "worker/train/model.h"

#include <stdbool.h>
#include <stdint.h>

/* What a worker of this job would hold, as its data say; without data it is not known. */
struct check_model {
    bool wants_digest; /* set by the caller: it takes a pass over all data */
    bool known;
    struct sp_layout layout; /* owned; with the traits of the job's rules */
    uint64_t layout_digest;  /* as a worker says it */
    uint64_t examples, test_examples, data_digest;
    uint64_t mapped_bytes, held_bytes; /* of examples, for training and for tests */
    uint64_t activation_bytes;
    uint32_t inputs, batch; /* elements of an example; examples that are taken at a time at most */
};

void check_model_finish(struct check_model *model);

/* --- check_keys.c --- */
/* A line a key, its columns separated by tabs: path, default, what it takes, what it means. */
void check_list_keys(void);
/* The effective job, and keys that were set in vain. */
void check_keys(const struct sp_job *job);

/* --- check_data.c --- */
/* Looks at all data that the job names. `model` is all zero bytes but for its wish, and the caller's to
 * finish. */
int check_data(const struct sp_job *job, struct check_model *model, struct sp_error *error);

/* --- check_costs.c --- */
/* The model's layout with the job's rules; those that match no tensor are said. */
int check_tensors(const struct sp_job *job, struct sp_layout *layout, struct sp_error *error);
/* What a round costs in each phase that the job may have; all of its workers take part. */
void check_costs(const struct sp_job *job, const struct sp_layout *layout);
/* Whether the job may have rounds of a phase. */
bool check_has_phase(const struct sp_job *job, enum sp_phase phase);

/* --- check_need.c --- */
/* Memory of server and worker, by what it is for. */
void check_need(const struct sp_job *job, const struct check_model *model);

/* --- check_secrets.c --- */
int check_secrets(const struct sp_job *job, struct sp_error *error);

/* --- check_connect.c --- */
/* Asks the server what would become of a worker of this job, and says it. An exit code. */
int check_connect(const struct sp_job *job, const struct check_model *model, const char *server);
