/* TLS 1.3 between two sides that both show a certificate, on bytes in memory: it knows no socket. stream.c and the
 * operator's tool move the bytes. This and tls_files.c alone include OpenSSL's ssl.h.
 *
 * Happy path: sp_tls_files_load() once; for each connection sp_tls_create(); what the line brings goes into
 * sp_tls_room(), what it is to carry comes from sp_tls_out(); sp_tls_shake() until it is SP_OK; then sp_tls_read() and
 * sp_tls_write(), in any order.
 *
 * Who is who: a certificate names in its subjectAltName, as a URI, what its holder may be: "signpost:worker",
 * "signpost:operator"; a server's has the names and addresses by which it is reached, and serverAuth among its uses.
 * Every certificate must be signed, over intermediate ones or directly, by one in the `ca` file, and be valid now.
 *
 * Failure: a code with words that say what was wrong and what to do; an alert for the other side may then be in
 * sp_tls_out(). Nothing may follow but sp_tls_destroy().
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_TLS_MORE 1 /* no error: bytes of the other side are wanted first */
#define SP_TLS_EXPORTER_BYTES 32
#define SP_TLS_ROLE_WORKER "signpost:worker"
#define SP_TLS_ROLE_OPERATOR "signpost:operator"

/* How the words begin that a client without TLS hears from a server with it. */
#define SP_TLS_WANTED "it speaks without TLS, which this server asks for"

/* Limits for what a stranger can make us hold or do. */
#define SP_TLS_ROOM_FIRST 18432u       /* bytes of the line that a connection holds undecrypted: a record, and some */
#define SP_TLS_ROOM_MAX (144u * 1024u) /* the same after the handshake, if so much comes at once */
#define SP_TLS_OUT_MAX (2048u * 1024u) /* bytes that are encrypted at once, or answers that wait unsent */
#define SP_TLS_HELLO_BYTES_MAX 8192    /* of the first message; what one has in fact is some hundreds */
#define SP_TLS_CERTIFICATES_MAX 4      /* of the other side's, its own and intermediate ones */
#define SP_TLS_CHAIN_BYTES_MAX 16384   /* of them together */
#define SP_TLS_SHAKE_BYTES_MAX 65536u  /* from the other side before the handshake is over */
#define SP_TLS_KEYS_MAX 1000           /* times that the other side may change its keys */
#define SP_TLS_PATH_BYTES 2048

enum sp_tls_side { SP_TLS_SERVER, SP_TLS_CLIENT };

/* Paths of PEM files. */
struct sp_tls_paths {
    char cert[SP_TLS_PATH_BYTES]; /* ours, and intermediate ones behind it; "": no TLS */
    char key[SP_TLS_PATH_BYTES];  /* its private key, which nobody else may read */
    char ca[SP_TLS_PATH_BYTES];   /* who signs certificates of the other side */
};

/* What the files hold. Connections that were made of it outlive it. */
struct sp_tls_files;

/* SP_E_IO: a file cannot be read; SP_E_RANGE: it holds no certificate or key, others may read the key, they do not
 * belong together, the certificate is not valid now or not for this side. */
int sp_tls_files_load(struct sp_tls_files **out, enum sp_tls_side side, const struct sp_tls_paths *paths,
                      struct sp_error *error);
void sp_tls_files_free(struct sp_tls_files *files);

/* One line for people: whose certificate it is and until when. */
const char *sp_tls_files_words(const struct sp_tls_files *files);

/* Whether a certificate may be asked to have this name: OpenSSL would take any name for an empty one, and any below it
 * for one that begins with a dot. */
bool sp_tls_is_name(const char *name);

struct sp_tls;

/* `name`: of a client, the host name or address that the server's certificate must have (sp_tls_is_name()); NULL on the
 * server's side. NULL if out of memory. */
struct sp_tls *sp_tls_create(const struct sp_tls_files *files, const char *name);
void sp_tls_destroy(struct sp_tls *tls);

/* Room for bytes of the line, more than none unless what is there was not read yet; then how many were put there. */
uint8_t *sp_tls_room(struct sp_tls *tls, size_t *bytes);
void sp_tls_received(struct sp_tls *tls, size_t bytes);
/* How long the handshake has kept this thread busy, in ms. */
unsigned sp_tls_spent_ms(const struct sp_tls *tls);
/* Bytes that were received and not read yet. */
size_t sp_tls_unread(const struct sp_tls *tls);

/* Bytes for the line; valid until the next call. sp_tls_sent(): they are on their way, or copied. */
size_t sp_tls_out(const struct sp_tls *tls, const uint8_t **bytes);
void sp_tls_sent(struct sp_tls *tls);

/* SP_OK: the handshake is over; SP_TLS_MORE; SP_E_REJECTED: one side does not take the other's certificate;
 * SP_E_UNSUPPORTED: the other side speaks no TLS, or not this version; SP_E_PROTOCOL; SP_E_NOMEM. */
int sp_tls_shake(struct sp_tls *tls, struct sp_error *error);
/* Decrypts up to `bytes`; *got is 0 if more of the line is wanted. SP_E_CLOSED: the other side ended; SP_E_REJECTED: it
 * does not take our certificate; SP_E_CORRUPT: the bytes were changed on their way; SP_E_NOMEM. */
int sp_tls_read(struct sp_tls *tls, void *to, size_t bytes, size_t *got, struct sp_error *error);
/* Encrypts all of it into sp_tls_out(). SP_E_NOMEM, SP_E_CLOSED. */
int sp_tls_write(struct sp_tls *tls, const void *from, size_t bytes);
/* Says in sp_tls_out() that nothing follows. */
void sp_tls_end(struct sp_tls *tls);

/* After the handshake: whether the other side's certificate has this URI. */
bool sp_tls_has_role(const struct sp_tls *tls, const char *uri);
/* Bytes that both sides of this connection have, and nobody else (RFC 8446, 7.5): a proof over them holds for no other
 * connection. SP_E_NOMEM. */
int sp_tls_exporter(const struct sp_tls *tls, uint8_t bytes[SP_TLS_EXPORTER_BYTES]);
