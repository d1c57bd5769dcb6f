/* The daemon around the round core: one libuv loop, one listener, the peers, the clock, the signals, the files.
 *
 * Happy path: sp_server_open() listens and opens the run's folder; sp_server_run() turns the loop until the job is
 * over, has its results written, and all peers have been told.
 *
 * Failure: a peer's fault ends that peer; a fault of ours that the job cannot go on with ends the job with its files
 * written as far as possible and sp_server_run() returning a code.
 */
#pragma once

#include "common/error.h"
#include "common/job.h"

#include <stdbool.h>

struct sp_server;

struct sp_server_options {
    const struct sp_job *job; /* copied */
    const char *listen;       /* HOST:PORT, or NULL for the job's server.listen; port 0 for any free one */
    const char *out;          /* the run's folder, made if need be */
    bool fresh;               /* begin anew, even if the folder holds a run to go on with */
    bool exchange_only;       /* for measuring: updates are made and sent, but not applied to the weights */
};

int sp_server_open(struct sp_server **out, const struct sp_server_options *options, struct sp_error *error);
int sp_server_run(struct sp_server *server, struct sp_error *error);
void sp_server_destroy(struct sp_server *server);
