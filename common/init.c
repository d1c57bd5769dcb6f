#include "common/init.h"

int sp_init_open(struct sp_safetensors **out, const struct sp_job *job, struct sp_error *error)
{
    char path[2 * SP_STRING_BYTES];
    int rc;

    *out = NULL;
    if (job->model.init[0] == '\0')
        return SP_OK;
    sp_job_path(job, job->model.init, path, sizeof path);
    rc = sp_safetensors_open(out, path, error);
    if (rc != SP_OK)
        (void)sp_error_prefix(error, "model.init");
    return rc;
}
