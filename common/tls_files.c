/* Certificates and keys from files, and the settings of every connection. */
#include "common/tls_files.h"

#include "common/secret.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_BYTES_MAX 65536
#define PATH_SHOWN 200 /* bytes */
#define MAKE "deploy/make-certs.sh makes what a cluster needs"

/* What OpenSSL says last; its queue is empty then. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *words = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return words != NULL ? words : "no reason given";
}

/* --- settings --------------------------------------------------------------------------------------------------------
 */

/* OpenSSL compares every share of a key with every group, and every signature with every other, before it looks at the
 * certificate: lists that no honest client has would cost a tenth of a second. */
static int check_hello(SSL *ssl, int *alert, void *arg)
{
    static const struct {
        unsigned type;
        size_t bytes_max;
    } lists[] = {{TLSEXT_TYPE_key_share, 4096},
                 {TLSEXT_TYPE_supported_groups, 256},
                 {TLSEXT_TYPE_signature_algorithms, 512},
                 {TLSEXT_TYPE_signature_algorithms_cert, 512},
                 {TLSEXT_TYPE_certificate_authorities, 0},
                 {TLSEXT_TYPE_status_request, 16}};
    const unsigned char *bytes;
    size_t count;

    (void)arg;
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    if (SSL_client_hello_get0_ciphers(ssl, &bytes) > 1024)
        return SSL_CLIENT_HELLO_ERROR;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (SSL_client_hello_get0_ext(ssl, lists[i].type, &bytes, &count) == 1 && count > lists[i].bytes_max)
            return SSL_CLIENT_HELLO_ERROR;
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* One version, both sides known, nothing resumed, nothing renegotiated: the fewer ways, the fewer mistakes. */
static bool set_up(SSL_CTX *context)
{
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, sp_tls_verified);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context, SP_TLS_CHAIN_BYTES_MAX);
    SSL_CTX_set_client_hello_cb(context, check_hello, NULL); /* asked of a server only */
    SSL_CTX_set_msg_callback(context, sp_tls_watch);
#ifdef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION /* what is packed cannot be looked at */
    SSL_CTX_set_options(context, SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
#endif
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 && /* others cost up to a sixth of a second each */
           SSL_CTX_set_ciphersuites(context,
                                    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1;
}

/* --- files -----------------------------------------------------------------------------------------------------------
 */

static int check_readable(const char *path, const char *what, struct sp_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot read the %s in %s: %s (" MAKE ")", what, path, strerror(errno));
    (void)close(fd);
    return SP_OK;
}

/* An encrypted key is not asked about: a daemon has nobody to ask. */
static int no_password(char *to, int bytes, int writes, void *arg)
{
    (void)to;
    (void)bytes;
    (void)writes;
    *(bool *)arg = true;
    return -1;
}

static int read_key(const char *path, EVP_PKEY **key, struct sp_error *error)
{
    bool encrypted = false;
    BIO *file;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    *key = NULL;
    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot read the private key in %s: %s (" MAKE ")", path, strerror(errno));
    rc = sp_secret_check_file(fd, path, error);
    file = rc == SP_OK ? BIO_new_fd(fd, BIO_NOCLOSE) : NULL;
    if (file != NULL)
        *key = PEM_read_bio_PrivateKey(file, NULL, no_password, &encrypted);
    BIO_free(file);
    (void)close(fd);
    if (rc != SP_OK || *key != NULL)
        return rc;
    if (encrypted)
        return sp_error_set(error, SP_E_RANGE,
                            "%s is encrypted, and there is nobody to ask for its password; write it without one: "
                            "openssl pkey -in %s -out NEW",
                            path, path);
    return sp_error_set(error, SP_E_RANGE, "%s holds no private key in PEM: %s (" MAKE ")", path, reason());
}

void sp_tls_time_text(const ASN1_TIME *time, char text[SP_TLS_TIME_BYTES])
{
    BIO *memory = BIO_new(BIO_s_mem());
    int n = memory != NULL && ASN1_TIME_print(memory, time) == 1 ? BIO_read(memory, text, SP_TLS_TIME_BYTES - 1) : 0;

    text[n > 0 ? n : 0] = '\0';
    BIO_free(memory);
}

void sp_tls_now_text(char text[SP_TLS_TIME_BYTES])
{
    ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));

    text[0] = '\0';
    if (now != NULL)
        sp_tls_time_text(now, text);
    ASN1_TIME_free(now);
}

/* What would fail at every handshake is said now. */
static int check_own(const X509 *cert, enum sp_tls_side side, const char *path, struct sp_error *error)
{
    const ASN1_TIME *from = X509_get0_notBefore(cert), *until = X509_get0_notAfter(cert);
    char text[SP_TLS_TIME_BYTES], now[SP_TLS_TIME_BYTES];

    sp_tls_now_text(now);
    if (X509_cmp_current_time(until) < 0) {
        sp_tls_time_text(until, text);
        return sp_error_set(error, SP_E_RANGE,
                            "the certificate in %s expired on %s; make another one (" MAKE
                            "), unless this machine's clock, at %s, is wrong",
                            path, text, now);
    }
    if (X509_cmp_current_time(from) > 0) {
        sp_tls_time_text(from, text);
        return sp_error_set(error, SP_E_RANGE,
                            "the certificate in %s is valid from %s on only: is this machine's clock right? It is at "
                            "%s",
                            path, text, now);
    }
    if (X509_check_purpose((X509 *)cert, side == SP_TLS_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT,
                           0) != 1)
        return sp_error_set(error, SP_E_RANGE,
                            "the certificate in %s is not for %s: its extendedKeyUsage lacks %s (" MAKE ")", path,
                            side == SP_TLS_SERVER ? "a server" : "a worker or operator",
                            side == SP_TLS_SERVER ? "serverAuth" : "clientAuth");
    return SP_OK;
}

static void describe(struct sp_tls_files *files, const X509 *cert, const char *path)
{
    char name[128] = "", until[SP_TLS_TIME_BYTES];

    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    for (char *at = name; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    sp_tls_time_text(X509_get0_notAfter(cert), until);
    (void)snprintf(files->words, sizeof files->words, "certificate of '%s' in %.*s, valid until %s", name,
                   (int)sp_utf8_cut(path, PATH_SHOWN), path, until);
}

static int load(struct sp_tls_files *files, const struct sp_tls_paths *paths, struct sp_error *error)
{
    EVP_PKEY *key = NULL;
    const X509 *cert = NULL;
    int rc = check_readable(paths->cert, "certificate", error);

    if (rc == SP_OK)
        rc = check_readable(paths->ca, "CA's certificate", error);
    if (rc == SP_OK && SSL_CTX_use_certificate_chain_file(files->context, paths->cert) != 1)
        rc = sp_error_set(error, SP_E_RANGE, "%s holds no certificate in PEM: %s (" MAKE ")", paths->cert, reason());
    if (rc == SP_OK && SSL_CTX_load_verify_file(files->context, paths->ca) != 1)
        rc = sp_error_set(error, SP_E_RANGE, "%s holds no CA's certificate in PEM: %s (" MAKE ")", paths->ca, reason());
    if (rc == SP_OK)
        rc = read_key(paths->key, &key, error);
    /* Of a key of another kind OpenSSL takes it that it belongs to a certificate which is still to come. */
    if (rc == SP_OK) {
        cert = SSL_CTX_get0_certificate(files->context);
        if (X509_check_private_key(cert, key) != 1 || SSL_CTX_use_PrivateKey(files->context, key) != 1)
            rc = sp_error_set(error, SP_E_RANGE, "the key in %s is not that of the certificate in %s: %s", paths->key,
                              paths->cert, reason());
    }
    EVP_PKEY_free(key);
    if (rc != SP_OK)
        return rc;
    describe(files, cert, paths->cert);
    return check_own(cert, files->side, paths->cert, error);
}

int sp_tls_files_load(struct sp_tls_files **out, enum sp_tls_side side, const struct sp_tls_paths *paths,
                      struct sp_error *error)
{
    struct sp_tls_files *files = calloc(1, sizeof *files);
    int rc;

    *out = NULL;
    if (files != NULL)
        files->context = SSL_CTX_new(side == SP_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (files == NULL || files->context == NULL || !set_up(files->context)) {
        sp_tls_files_free(files);
        return sp_error_set(error, SP_E_NOMEM, "cannot set up TLS: %s", reason());
    }
    files->side = side;
    (void)snprintf(files->ca, sizeof files->ca, "%s",
                   paths->ca + (strlen(paths->ca) < sizeof files->ca ? 0 : strlen(paths->ca) - sizeof files->ca + 1));
    rc = load(files, paths, error);
    if (rc != SP_OK) {
        sp_tls_files_free(files);
        return rc;
    }
    *out = files;
    return SP_OK;
}

void sp_tls_files_free(struct sp_tls_files *files)
{
    if (files == NULL)
        return;
    SSL_CTX_free(files->context);
    free(files);
}

const char *sp_tls_files_words(const struct sp_tls_files *files)
{
    return files->words;
}
