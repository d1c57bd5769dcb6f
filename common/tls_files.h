/* Inside TLS: shared by tls_files.c and tls.c. Nobody else includes this. */
#pragma once

#include "common/tls.h"

#include <openssl/ssl.h>

/* OpenSSL's msg_callback: `arg` is a struct sp_tls. */
void sp_tls_watch(int sent, int version, int type, const void *bytes, size_t count, SSL *ssl, void *arg);

/* OpenSSL's verify_callback, when a certificate of the other side was looked at. */
int sp_tls_verified(int good, X509_STORE_CTX *store);

#define SP_TLS_TIME_BYTES 40

/* "Dec  1 12:00:00 2026 GMT", or "" if there is no memory. */
void sp_tls_time_text(const ASN1_TIME *time, char text[SP_TLS_TIME_BYTES]);
/* The same of this machine's clock. */
void sp_tls_now_text(char text[SP_TLS_TIME_BYTES]);

struct sp_tls_files {
    SSL_CTX *context; /* owned; every connection holds it as well */
    enum sp_tls_side side;
    char ca[200]; /* the end of its path, for words */
    char words[512];
};
