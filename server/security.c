#include "server/security.h"

#include "common/address.h"

#include <string.h>

static int load(struct sp_secret *secret, const struct sp_job *job, const char *key, const char *file,
                struct sp_error *error)
{
    char path[2 * SP_STRING_BYTES];

    if (file[0] == '\0')
        return SP_OK;
    sp_job_path(job, file, path, sizeof path);
    return sp_secret_load(secret, path, error) == SP_OK ? SP_OK : sp_error_prefix(error, "%s", key);
}

int sp_security_load(struct sp_security *security, const struct sp_job *job, struct sp_error *error)
{
    struct sp_tls_paths paths;
    int rc;

    memset(security, 0, sizeof *security);
    rc = load(&security->worker, job, "security.token_file", job->security.token_file, error);
    if (rc == SP_OK)
        rc = load(&security->operator_, job, "security.operator_token_file", job->security.operator_token_file, error);
    if (rc == SP_OK && security->worker.bytes > 0 && security->worker.bytes == security->operator_.bytes &&
        memcmp(security->worker.data, security->operator_.data, security->worker.bytes) == 0)
        rc = sp_error_set(error, SP_E_RANGE,
                          "security.token_file and security.operator_token_file hold the same secret: every worker "
                          "could operate the job; make another one with: signpost token FILE");
    if (rc == SP_OK && sp_job_tls_paths(job, &paths)) {
        rc = sp_tls_files_load(&security->tls, SP_TLS_SERVER, &paths, error);
        if (rc != SP_OK)
            (void)sp_error_prefix(error, "security.tls");
    }
    if (rc != SP_OK)
        sp_security_forget(security);
    return rc;
}

int sp_security_reload(struct sp_security *security, const struct sp_job *job, struct sp_error *error)
{
    struct sp_security fresh;
    int rc = sp_security_load(&fresh, job, error);

    if (rc != SP_OK)
        return rc;
    fresh.insecure = security->insecure;
    sp_security_forget(security);
    *security = fresh;
    return SP_OK;
}

int sp_security_check(struct sp_security *security, const struct sp_job *job, const struct sockaddr *address,
                      const char *as_written, struct sp_error *error)
{
    if (sp_address_is_loopback(address) || security->tls != NULL)
        return SP_OK;
    if (security->worker.bytes == 0)
        return sp_error_set(error, SP_E_MISSING,
                            "%s can be reached from other machines, and without a secret whoever reaches it could "
                            "take part: set security.tls (deploy/make-certs.sh makes certificates), or make a secret "
                            "with 'signpost token FILE', give the file to the workers, and set security.token_file; or "
                            "listen on 127.0.0.1",
                            as_written);
    if (!job->security.insecure)
        return sp_error_set(error, SP_E_MISSING,
                            "%s can be reached from other machines: workers will prove that they hold the secret, but "
                            "what is sent after that is not protected, for there is no TLS; set security.tls "
                            "(deploy/make-certs.sh makes certificates), or security.insecure: true if you trust the "
                            "network",
                            as_written);
    security->insecure = true;
    return SP_OK;
}

const char *sp_security_words(const struct sp_security *security)
{
    if (security->tls != NULL && security->worker.bytes > 0)
        return "TLS 1.3 with certificates on both sides, and workers prove that they hold the secret";
    if (security->tls != NULL)
        return "TLS 1.3 with certificates on both sides";
    if (security->insecure)
        return "workers prove that they hold the secret; frames after the handshake are NOT protected: whoever is on "
               "the way can read and change them (security.insecure)";
    if (security->worker.bytes > 0)
        return "workers prove that they hold the secret; reached from this machine only";
    return "no secret: whoever is on this machine may take part; not reached from others";
}

void sp_security_forget(struct sp_security *security)
{
    sp_secret_forget(&security->worker);
    sp_secret_forget(&security->operator_);
    sp_tls_files_free(security->tls);
    security->tls = NULL;
}
