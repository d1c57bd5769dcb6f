/* A whole job under one program's eyes, as `signpost run` and `signpost launch` have it. */
#pragma once

#include "common/cli.h"
#include "deploy/tool/launch.h"

struct run_order {
    const struct sp_job *job;
    const struct sp_sets *sets; /* for the server, and for workers on this machine */
    const char *file, *out;     /* the job file; the run's folder, NULL: runs/<job> */
    bool fresh, plain;
    const struct launch *launch; /* NULL: the workers are on this machine */
};

/* From start to end, with the result printed; once in a program. Returns an exit code. */
int run_job(const struct run_order *order);
