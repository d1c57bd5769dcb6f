/* One connection's TLS. */
#include "common/check.h"
#include "common/tls_files.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORTER_LABEL "EXPORTER-Signpost-proof"
#define FRAME_MAGIC "SGNP" /* how a side that speaks without TLS begins: proto/frame.h */
#define MAGIC_BYTES (sizeof FRAME_MAGIC - 1)
#define RECORDS_MAX (1u << 23)
#define OUT_FIRST 4096u
#define READ_ERROR "what came is no TLS, or was changed on its way"

struct sp_tls {
    SSL *ssl; /* owned */
    enum sp_tls_side side;
    char ca[200];
    char name[256];  /* whom the certificate must name */
    char dates[100]; /* of the other side's certificate that is not valid now */
    bool judged, shaken;
    bool retried; /* we asked for another first message, which ours never need */
    uint64_t spent_ns;
    uint8_t *in; /* owned: what came, from in_first to in_end */
    size_t in_first, in_end, in_room;
    uint8_t *out; /* owned: what is to go */
    size_t out_used, out_room;
    unsigned keys;    /* changes of the other side's */
    uint32_t records; /* that were encrypted with our present key */
    size_t came;      /* before the handshake was over */
};

/* --- the line, as OpenSSL sees it ------------------------------------------------------------------------------------
 */

static int line_read(BIO *line, char *to, size_t bytes, size_t *got)
{
    struct sp_tls *tls = BIO_get_data(line);
    size_t n = tls->in_end - tls->in_first;

    BIO_clear_retry_flags(line);
    *got = 0;
    if (n == 0) {
        BIO_set_retry_read(line);
        return 0;
    }
    *got = n < bytes ? n : bytes;
    memcpy(to, tls->in + tls->in_first, *got);
    tls->in_first += *got;
    return 1;
}

static bool make_room(struct sp_tls *tls, size_t bytes)
{
    size_t room = tls->out_room > 0 ? tls->out_room : OUT_FIRST;
    uint8_t *grown;

    if (bytes > SP_TLS_OUT_MAX - tls->out_used)
        return false;
    while (room < tls->out_used + bytes)
        room *= 2;
    if (room == tls->out_room)
        return true;
    grown = realloc(tls->out, room);
    if (grown == NULL)
        return false;
    tls->out = grown;
    tls->out_room = room;
    return true;
}

static bool put_out(struct sp_tls *tls, const void *from, size_t bytes)
{
    if (!make_room(tls, bytes))
        return false;
    memcpy(tls->out + tls->out_used, from, bytes);
    tls->out_used += bytes;
    return true;
}

static int line_write(BIO *line, const char *from, size_t bytes, size_t *written)
{
    struct sp_tls *tls = BIO_get_data(line);

    BIO_clear_retry_flags(line);
    *written = put_out(tls, from, bytes) ? bytes : 0;
    return *written == bytes;
}

static long line_control(BIO *line, int command, long number, void *pointer)
{
    (void)line;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Made once, kept for ever. */
static BIO_METHOD *line_method(void)
{
    static BIO_METHOD *method;
    BIO_METHOD *made = __atomic_load_n(&method, __ATOMIC_ACQUIRE), *nobody = NULL;

    if (made != NULL)
        return made;
    made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "signpost's line");
    if (made == NULL)
        return NULL;
    (void)BIO_meth_set_read_ex(made, line_read);
    (void)BIO_meth_set_write_ex(made, line_write);
    (void)BIO_meth_set_ctrl(made, line_control);
    if (__atomic_compare_exchange_n(&method, &nobody, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return made;
    BIO_meth_free(made);
    return nobody;
}

/* Whether it is a HelloRetryRequest, which is a ServerHello with a certain random (RFC 8446, 4.1.3). */
static bool is_retry(const uint8_t *message, size_t count)
{
    static const uint8_t begin[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11};

    return count > 6 + 32 && message[0] == SSL3_MT_SERVER_HELLO && memcmp(message + 6, begin, sizeof begin) == 0;
}

/* Certificates whose keys OpenSSL can take seconds to read, which it does before it asks whether it trusts any: many,
 * or elliptic curves that are spelt out (the OID of a field's type) in place of named ones. */
static bool is_costly(const uint8_t *message, size_t count)
{
    static const uint8_t field_type[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01};
    size_t at, certificates = 0;

    if (memmem(message, count, field_type, sizeof field_type) != NULL)
        return true;
    at = count > 5 ? 5u + message[4] + 3u : count; /* type and length, context, length of the list */
    while (at + 3 <= count) {
        size_t bytes = (size_t)message[at] << 16 | (size_t)message[at + 1] << 8 | message[at + 2];

        certificates++;
        at += 3 + bytes;
        if (at + 2 > count)
            break;
        at += 2 + ((size_t)message[at] << 8 | message[at + 1]); /* extensions */
    }
    return certificates > SP_TLS_CERTIFICATES_MAX;
}

/* OpenSSL has no other way to look at a message before it reads it, nor to refuse it then: a context that is longer
 * than the message makes it stop there, with an alert. */
static void spoil(const uint8_t *certificates, size_t count)
{
    if (count > 4)
        memset((uint8_t *)certificates + 4, 0xff, count - 4);
}

void sp_tls_watch(int sent, int version, int type, const void *bytes, size_t count, SSL *ssl, void *arg)
{
    struct sp_tls *tls = arg;
    const uint8_t *message = bytes;

    (void)version;
    (void)ssl;
    if (tls == NULL || type != SSL3_RT_HANDSHAKE || count == 0)
        return;
    if (sent)
        tls->retried = tls->retried || is_retry(message, count);
    else if (message[0] == SSL3_MT_KEY_UPDATE)
        tls->keys++; /* each costs an answer, and they may be asked for without end */
    else if (message[0] == SSL3_MT_CERTIFICATE && is_costly(message, count))
        spoil(message, count);
}

/* --- beginning and end -----------------------------------------------------------------------------------------------
 */

static bool is_address(const char *name)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

bool sp_tls_is_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.';
}

static bool expect_name(struct sp_tls *tls, const char *name)
{
    if (!sp_tls_is_name(name))
        return false;
    (void)snprintf(tls->name, sizeof tls->name, "%s", name);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), name) == 1;
    SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(tls->ssl, name) == 1;
}

static bool begin(struct sp_tls *tls, const struct sp_tls_files *files, const char *name)
{
    BIO_METHOD *method = line_method();
    BIO *line = method != NULL ? BIO_new(method) : NULL;

    tls->in = malloc(SP_TLS_ROOM_FIRST);
    tls->in_room = SP_TLS_ROOM_FIRST;
    tls->ssl = SSL_new(files->context);
    if (line == NULL || tls->in == NULL || tls->ssl == NULL) {
        BIO_free(line);
        return false;
    }
    BIO_set_data(line, tls);
    BIO_set_init(line, 1);
    SSL_set_bio(tls->ssl, line, line); /* which owns it */
    SSL_set_msg_callback_arg(tls->ssl, tls);
    SSL_set_app_data(tls->ssl, tls);
    if (files->side == SP_TLS_SERVER)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return name == NULL || expect_name(tls, name);
}

struct sp_tls *sp_tls_create(const struct sp_tls_files *files, const char *name)
{
    struct sp_tls *tls = calloc(1, sizeof *tls);

    sp_assert((name != NULL) == (files->side == SP_TLS_CLIENT));
    if (tls == NULL)
        return NULL;
    tls->side = files->side;
    memcpy(tls->ca, files->ca, sizeof tls->ca);
    if (!begin(tls, files, name)) {
        sp_tls_destroy(tls);
        ERR_clear_error();
        return NULL;
    }
    return tls;
}

void sp_tls_destroy(struct sp_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    free(tls->in);
    free(tls->out);
    free(tls);
}

/* --- bytes of the line -----------------------------------------------------------------------------------------------
 */

/* A line that filled all of the room brings more than that at once: fewer calls, if there is more of it. */
static void widen(struct sp_tls *tls)
{
    uint8_t *grown;

    if (!tls->shaken || tls->in_end < tls->in_room || tls->in_room >= SP_TLS_ROOM_MAX)
        return;
    grown = realloc(tls->in, 2 * tls->in_room);
    if (grown == NULL)
        return; /* it goes on with what there is */
    tls->in = grown;
    tls->in_room *= 2;
}

uint8_t *sp_tls_room(struct sp_tls *tls, size_t *bytes)
{
    if (tls->in_first == tls->in_end) {
        widen(tls);
        tls->in_first = tls->in_end = 0;
    }
    *bytes = tls->in_room - tls->in_end;
    return tls->in + tls->in_end;
}

void sp_tls_received(struct sp_tls *tls, size_t bytes)
{
    sp_assert(bytes <= tls->in_room - tls->in_end);
    tls->in_end += bytes;
    if (!tls->shaken)
        tls->came += bytes;
}

size_t sp_tls_unread(const struct sp_tls *tls)
{
    return tls->in_end - tls->in_first + (size_t)SSL_pending(tls->ssl);
}

size_t sp_tls_out(const struct sp_tls *tls, const uint8_t **bytes)
{
    *bytes = tls->out;
    return tls->out_used;
}

void sp_tls_sent(struct sp_tls *tls)
{
    tls->out_used = 0;
}

/* --- what went wrong -------------------------------------------------------------------------------------------------
 */

int sp_tls_verified(int good, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct sp_tls *tls = SSL_get_app_data(ssl);
    const X509 *cert = X509_STORE_CTX_get_current_cert(store);
    int why = X509_STORE_CTX_get_error(store);
    char from[SP_TLS_TIME_BYTES], until[SP_TLS_TIME_BYTES];

    if (good || cert == NULL || (why != X509_V_ERR_CERT_HAS_EXPIRED && why != X509_V_ERR_CERT_NOT_YET_VALID))
        return good;
    sp_tls_time_text(X509_get0_notBefore(cert), from);
    sp_tls_time_text(X509_get0_notAfter(cert), until);
    (void)snprintf(tls->dates, sizeof tls->dates, "from %s until %s", from, until);
    return good;
}

static int refuse(const struct sp_tls *tls, long why, struct sp_error *error)
{
    const char *text = X509_verify_cert_error_string(why);
    char now[SP_TLS_TIME_BYTES];

    switch (why) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return sp_error_set(error, SP_E_REJECTED,
                            "its certificate does not name '%s': reach it by a name that the certificate has, or say "
                            "which one is meant with security.tls.name",
                            tls->name);
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        sp_tls_now_text(now);
        return sp_error_set(error, SP_E_REJECTED,
                            "its certificate is not valid now (%s): it is valid %s, and this machine's clock is at %s. "
                            "A wrong clock is a usual cause: set it right, or make another certificate",
                            text, tls->dates, now);
    case X509_V_ERR_INVALID_PURPOSE:
        return sp_error_set(error, SP_E_REJECTED, "its certificate is not that of a %s (extendedKeyUsage)",
                            tls->side == SP_TLS_CLIENT ? "server" : "worker or operator");
    default:
        return sp_error_set(error, SP_E_REJECTED, "its certificate is not trusted: %s (who signs is in %s)", text,
                            tls->ca);
    }
}

/* Alerts: what the other side holds against us. */
static int heed_alert(unsigned long code, struct sp_error *error)
{
    switch (ERR_GET_REASON(code)) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return sp_error_set(error, SP_E_REJECTED, "the other side wants a certificate: set security.tls");
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return sp_error_set(error, SP_E_REJECTED,
                            "the other side says that our certificate has expired: make another "
                            "one, or set the clocks right");
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return sp_error_set(error, SP_E_REJECTED,
                            "the other side does not know who signed our certificate: both must "
                            "have the same security.tls.ca, or each that of the other");
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return sp_error_set(error, SP_E_REJECTED, "the other side does not take our certificate (%s)",
                            ERR_reason_error_string(code));
    default:
        return SP_OK;
    }
}

/* The code and words of a call that failed for good. */
static int explain(struct sp_tls *tls, int rc, struct sp_error *error)
{
    int kind = SSL_get_error(tls->ssl, rc);
    long verified = SSL_get_verify_result(tls->ssl);
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    int found;

    ERR_clear_error();
    if (kind == SSL_ERROR_ZERO_RETURN)
        return sp_error_set(error, SP_E_CLOSED, "the other side closed the connection");
    if (reason == ERR_R_MALLOC_FAILURE)
        return sp_error_set(error, SP_E_NOMEM, "no memory for TLS");
    if (verified != X509_V_OK)
        return refuse(tls, verified, error);
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return sp_error_set(error, SP_E_REJECTED, "it showed no certificate: set security.tls there");
    /* Before the end of its handshake a client has shown none, and whoever is on the way can make up an alert. */
    found = tls->side == SP_TLS_SERVER || tls->shaken ? heed_alert(code, error) : SP_OK;
    if (found != SP_OK)
        return found;
    if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION ||
        reason == SSL_R_UNKNOWN_PROTOCOL || reason == SSL_R_WRONG_SSL_VERSION)
        return sp_error_set(error, SP_E_UNSUPPORTED, "it does not speak TLS 1.3");
    if (tls->shaken)
        return sp_error_set(error, SP_E_CORRUPT, READ_ERROR " (%s)", text != NULL ? text : "no reason given");
    return sp_error_set(error, SP_E_PROTOCOL, READ_ERROR " (%s)", text != NULL ? text : "no reason given");
}

/* --- the connection --------------------------------------------------------------------------------------------------
 */

/* OpenSSL makes room for as much as the first message says that it has. */
static int judge_hello(struct sp_tls *tls, struct sp_error *error)
{
    static const uint8_t alert[] = {SSL3_RT_ALERT, 3, 3, 0, 2, SSL3_AL_FATAL, SSL_AD_ILLEGAL_PARAMETER};
    const uint8_t *at = tls->in + tls->in_first; /* a record's header of 5 bytes, a message's of 4 */

    if (tls->in_end - tls->in_first < 9)
        return SP_TLS_MORE;
    if (((unsigned)at[3] << 8 | at[4]) < 4 ||
        ((uint32_t)at[6] << 16 | (uint32_t)at[7] << 8 | at[8]) > SP_TLS_HELLO_BYTES_MAX) {
        (void)put_out(tls, alert, sizeof alert);
        return sp_error_set(error, SP_E_PROTOCOL, "its first message of TLS is split, or has more than %d bytes",
                            SP_TLS_HELLO_BYTES_MAX);
    }
    tls->judged = true;
    return SP_OK;
}

/* A side that is set up without TLS must hear of that, and not of a wrong version number. No record of TLS begins as a
 * frame does. */
static int judge_first_bytes(struct sp_tls *tls, struct sp_error *error)
{
    const uint8_t *at = tls->in + tls->in_first;
    size_t n = tls->in_end - tls->in_first;

    if (tls->judged || n == 0)
        return SP_OK;
    if (at[0] == SSL3_RT_HANDSHAKE)
        return judge_hello(tls, error);
    if (memcmp(at, FRAME_MAGIC, n < MAGIC_BYTES ? n : MAGIC_BYTES) != 0) {
        tls->judged = true;
        return SP_OK;
    }
    if (n < MAGIC_BYTES)
        return SP_TLS_MORE;
    return sp_error_set(error, SP_E_UNSUPPORTED,
                        tls->side == SP_TLS_SERVER
                            ? SP_TLS_WANTED ": set security.tls there"
                            : "it answers without TLS: it has no security.tls, or it turned us away at the door");
}

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned sp_tls_spent_ms(const struct sp_tls *tls)
{
    return (unsigned)(tls->spent_ns / 1000000u);
}

int sp_tls_shake(struct sp_tls *tls, struct sp_error *error)
{
    int rc = judge_first_bytes(tls, error);
    uint64_t began;

    if (rc != SP_OK)
        return rc;
    if (tls->came > SP_TLS_SHAKE_BYTES_MAX)
        return sp_error_set(error, SP_E_PROTOCOL, "its handshake has more than %u bytes", SP_TLS_SHAKE_BYTES_MAX);
    ERR_clear_error();
    began = now_ns();
    rc = SSL_do_handshake(tls->ssl);
    tls->spent_ns += now_ns() - began;
    if (tls->retried)
        return sp_error_set(error, SP_E_PROTOCOL, "its first message of TLS has no key for X25519 or P-256");
    if (rc == 1) {
        tls->shaken = true;
        return SP_OK;
    }
    if (SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ)
        return SP_TLS_MORE;
    return explain(tls, rc, error);
}

int sp_tls_read(struct sp_tls *tls, void *to, size_t bytes, size_t *got, struct sp_error *error)
{
    int rc;

    ERR_clear_error();
    rc = SSL_read_ex(tls->ssl, to, bytes, got);
    if (tls->keys > SP_TLS_KEYS_MAX)
        return sp_error_set(error, SP_E_PROTOCOL, "it changed its keys more than %d times", SP_TLS_KEYS_MAX);
    if (rc == 1)
        return SP_OK;
    *got = 0;
    if (SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ)
        return SP_OK;
    return explain(tls, rc, error);
}

/* RFC 8446, 5.5: a key of AES-GCM is good for 2^24.5 records of full size. */
static void change_keys(struct sp_tls *tls, size_t bytes)
{
    tls->records += 1 + (uint32_t)(bytes / SSL3_RT_MAX_PLAIN_LENGTH);
    if (tls->records < RECORDS_MAX)
        return;
    if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
        tls->records = 0;
}

int sp_tls_write(struct sp_tls *tls, const void *from, size_t bytes)
{
    size_t written = 0;

    ERR_clear_error();
    change_keys(tls, bytes);
    if (SSL_write_ex(tls->ssl, from, bytes, &written) == 1 && written == bytes)
        return SP_OK;
    ERR_clear_error();
    return tls->out_used + bytes > SP_TLS_OUT_MAX ? SP_E_NOMEM : SP_E_CLOSED;
}

void sp_tls_end(struct sp_tls *tls)
{
    if (tls->shaken)
        (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

bool sp_tls_has_role(const struct sp_tls *tls, const char *uri)
{
    const X509 *cert = SSL_get0_peer_certificate(tls->ssl);
    GENERAL_NAMES *names = cert != NULL ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;
    bool found = false;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_URI)
            found = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier) == strlen(uri) &&
                    memcmp(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), uri, strlen(uri)) == 0;
    }
    GENERAL_NAMES_free(names);
    return found;
}

int sp_tls_exporter(const struct sp_tls *tls, uint8_t bytes[SP_TLS_EXPORTER_BYTES])
{
    if (SSL_export_keying_material(tls->ssl, bytes, SP_TLS_EXPORTER_BYTES, EXPORTER_LABEL, sizeof EXPORTER_LABEL - 1,
                                   NULL, 0, 0) == 1)
        return SP_OK;
    ERR_clear_error();
    return SP_E_NOMEM;
}
