/* Who may come in: the secrets, and where the server may listen with or without them. */
#pragma once

#include "common/job.h"
#include "common/secret.h"
#include "common/tls.h"

#include <stdbool.h>

struct sockaddr;

struct sp_security {
    struct sp_secret worker, operator_; /* no bytes: none */
    struct sp_tls_files *tls;           /* owned; NULL: no TLS */
    bool insecure;                      /* it listens off loopback, and frames after the handshake are not protected */
};

/* Reads the files that the job names. */
int sp_security_load(struct sp_security *security, const struct sp_job *job, struct sp_error *error);

/* Reads them once more, for connections that are still to come. On failure all stays as it was. What began with TLS or
 * with a secret cannot go on without. */
int sp_security_reload(struct sp_security *security, const struct sp_job *job, struct sp_error *error);

/* Whether the server may listen on an address: on loopback always; elsewhere with a secret, and without TLS only if the
 * job says security.insecure. `as_written` is for the words. */
int sp_security_check(struct sp_security *security, const struct sp_job *job, const struct sockaddr *address,
                      const char *as_written, struct sp_error *error);

/* One line for people: who may come in and what is protected. */
const char *sp_security_words(const struct sp_security *security);

void sp_security_forget(struct sp_security *security);
