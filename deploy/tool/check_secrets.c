/* The files of secrets and certificates that a job names. */
#include "common/secret.h"
#include "common/tls.h"
#include "deploy/tool/check.h"

#include <stdio.h>

static int check_secret(const struct sp_job *job, const char *key, const char *file, struct sp_error *error)
{
    char path[2 * SP_STRING_BYTES];
    struct sp_secret secret;

    if (file[0] == '\0')
        return SP_OK;
    sp_job_path(job, file, path, sizeof path);
    if (sp_secret_load(&secret, path, error) != SP_OK)
        return sp_error_prefix(error, "%s", key);
    (void)printf("%s: a secret of %zu bytes\n", key, secret.bytes);
    sp_secret_forget(&secret);
    return SP_OK;
}

/* Good for one of the sides, whichever this machine is going to be. */
static int check_tls(const struct sp_job *job, struct sp_error *error)
{
    struct sp_tls_files *files = NULL;
    struct sp_tls_paths paths;

    if (!sp_job_tls_paths(job, &paths))
        return SP_OK;
    if (sp_tls_files_load(&files, SP_TLS_SERVER, &paths, error) == SP_OK)
        (void)printf("security.tls: for a server: %s\n", sp_tls_files_words(files));
    else if (sp_tls_files_load(&files, SP_TLS_CLIENT, &paths, error) == SP_OK)
        (void)printf("security.tls: for a worker: %s\n", sp_tls_files_words(files));
    else
        return sp_error_prefix(error, "security.tls");
    sp_tls_files_free(files);
    return SP_OK;
}

int check_secrets(const struct sp_job *job, struct sp_error *error)
{
    int rc = check_secret(job, "security.token_file", job->security.token_file, error);

    if (rc == SP_OK)
        rc = check_secret(job, "security.operator_token_file", job->security.operator_token_file, error);
    return rc == SP_OK ? check_tls(job, error) : rc;
}
