/* Inside TLS: shared by tls_files.c and tls.c. Nobody else includes this. */
#pragma once

#include "common/tls.h"

#include <openssl/ssl.h>

/* OpenSSL's msg_callback: `arg` is a struct sp_tls. */
void sp_tls_watch(int sent, int version, int type, const void *bytes, size_t count, SSL *ssl, void *arg);

struct sp_tls_files {
    SSL_CTX *context; /* owned; every connection holds it as well */
    enum sp_tls_side side;
    char ca[200]; /* the end of its path, for words */
    char words[512];
};
