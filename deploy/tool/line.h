/* A blocking connection to a server, with or without TLS, for the commands that ask one something and go:
 *
 *     line_open(), line_greet(), line_send() and line_read() as the role wants, line_close()
 *
 * Every wait is over LINE_SECONDS after it began. A failure leaves in `line` what is known of the other side, for who
 * wants to say more of it than the error's words do.
 */
#pragma once

#include "common/address.h"
#include "common/tls.h"
#include "deploy/tool/tool.h"
#include "proto/codec.h"
#include "proto/proof.h"

#define LINE_SECONDS 5
#define LINE_SAID_BYTES 512

/* How far it came. */
enum line_step { LINE_NAME, LINE_CONNECT, LINE_TLS, LINE_FRAMES };

struct line {
    const char *server; /* borrowed: HOST:PORT */
    int fd;
    struct sp_address address;
    struct sp_tls *tls; /* owned; NULL: none */
    struct sp_secret secret;
    struct sp_hello hello;
    uint64_t until_ms; /* of the present wait */
    /* what is known */
    enum line_step step;
    int system;                    /* errno of what failed, or 0 */
    uint8_t said[LINE_SAID_BYTES]; /* how its first bytes are; with TLS, after the handshake, those within it */
    size_t said_bytes;             /* 0: nothing came */
    bool is_bye, proved;           /* it said `bye`; it has proved that it holds the secret */
    struct sp_bye bye;
    char cert[SP_ERROR_TEXT_BYTES]; /* with TLS: which certificate is ours, and until when it is valid */
};

/* `line` is all zero bytes, and is to be closed in any case. SP_E_IO: the name is not known, nobody listens there, ...;
 * SP_E_TIMEOUT; what sp_secret_load(), sp_tls_files_load() and sp_tls_shake() give. */
int line_open(struct line *line, const struct tool_remote *with, struct sp_error *error);
void line_close(struct line *line);

/* HELLO, whose nonce and program are filled in here, and with a secret CHALLENGE and PROOF. SP_E_MISMATCH if the server
 * has not got the secret. */
int line_greet(struct line *line, const struct sp_hello *hello, struct sp_error *error);

int line_send(struct line *line, const struct sp_message *message, struct sp_error *error);

/* The next frame, which is of the awaited type, and then the caller's to finish; or, with its words as the error, a
 * BYE: SP_E_REJECTED. SP_E_CLOSED, SP_E_TIMEOUT, SP_E_IO, SP_E_PROTOCOL, SP_E_UNSUPPORTED, SP_E_CORRUPT. */
int line_read(struct line *line, enum sp_frame_type awaited, struct sp_message *message, struct sp_error *error);
