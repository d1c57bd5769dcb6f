/* The worker's loop: batches and gradients for a job, between libsignpost's events. Uses only signpost.h of the client.
 */
#pragma once

#include "common/error.h"
#include "common/job.h"

struct sp_train_options {
    const struct sp_job *job; /* the worker's own file: paths, address, threads; the server's plan governs the rest */
    const char *server;       /* HOST:PORT, or NULL for the job's server.listen */
    int slot;                 /* or -1 */
    const char *folder; /* where the momentum is saved unless the job's worker.momentum.folder says; NULL: runs/<job> */
};

/* Runs until the job is done. Data files that are missing or bad, a refusal of the server and the end of patience are
 * errors with words. */
int sp_train(const struct sp_train_options *options, struct sp_error *error);
