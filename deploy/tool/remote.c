/* An operator's question over the network: HELLO, CHALLENGE, PROOF, ASK, ANSWER (proto/README.md), with or without TLS.
 */
#include "common/address.h"
#include "common/tls.h"
#include "deploy/tool/tool.h"
#include "proto/proof.h"
#include "version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE_SECONDS 5

struct remote {
    const char *server;
    int fd;
    struct sp_address address;
    struct sp_tls *tls; /* owned; NULL: none */
    struct sp_tls_paths paths;
    struct sp_secret secret;
    struct sp_hello hello;
};

static int connect_to(struct remote *remote, struct sp_error *error)
{
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    size_t count = 0;
    int code = 0;
    int rc = sp_address_parse(remote->server, &remote->address, error);

    if (rc == SP_OK)
        rc = sp_address_resolve(&remote->address, false, found, &count, error);
    for (size_t i = 0; rc == SP_OK && i < count; i++) {
        socklen_t bytes = found[i].ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

        remote->fd = socket(found[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (remote->fd >= 0) {
            (void)setsockopt(remote->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            (void)setsockopt(remote->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            if (connect(remote->fd, (const struct sockaddr *)&found[i], bytes) == 0)
                return SP_OK;
        }
        code = errno == EINPROGRESS ? ETIMEDOUT : errno;
        if (remote->fd >= 0)
            (void)close(remote->fd);
        remote->fd = -1;
    }
    return rc != SP_OK ? rc : sp_error_set(error, SP_E_IO, "cannot connect to %s: %s", remote->server, strerror(code));
}

static int send_bytes(struct remote *remote, const void *bytes, size_t count, struct sp_error *error)
{
    if (tool_send_all(remote->fd, bytes, count))
        return SP_OK;
    return sp_error_set(error, SP_E_IO, "cannot write to %s: %s", remote->server, strerror(errno));
}

/* Some bytes, at least one. */
static int receive_bytes(struct remote *remote, void *to, size_t room, size_t *got, struct sp_error *error)
{
    ssize_t n;

    do
        n = recv(remote->fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return sp_error_set(error, SP_E_CLOSED, "%s closed the connection without an answer", remote->server);
    if (n < 0)
        return sp_error_set(error, SP_E_IO, "no answer from %s: %s", remote->server,
                            errno == EAGAIN ? "nothing came within 5 s" : strerror(errno));
    *got = (size_t)n;
    return SP_OK;
}

/* --- TLS -------------------------------------------------------------------------------------------------------------
 */

static int send_encrypted(struct remote *remote, struct sp_error *error)
{
    const uint8_t *bytes;
    size_t count = sp_tls_out(remote->tls, &bytes);
    int rc = count > 0 ? send_bytes(remote, bytes, count, error) : SP_OK;

    sp_tls_sent(remote->tls);
    return rc;
}

static int receive_encrypted(struct remote *remote, struct sp_error *error)
{
    size_t room, got = 0;
    uint8_t *at = sp_tls_room(remote->tls, &room);
    int rc = receive_bytes(remote, at, room, &got, error);

    sp_tls_received(remote->tls, got);
    return rc;
}

static int begin_tls(struct remote *remote, const struct tool_remote *with, struct sp_error *error)
{
    const struct {
        const char *from;
        char *to;
    } files[] = {{with->cert, remote->paths.cert}, {with->key, remote->paths.key}, {with->ca, remote->paths.ca}};
    const char *name = with->name != NULL ? with->name : remote->address.host;
    struct sp_tls_files *loaded;
    int rc;

    if (!sp_tls_is_name(name))
        return sp_error_set(error, SP_E_RANGE, "a server's name must not be empty or begin with a dot: '%s'", name);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)snprintf(files[i].to, sizeof remote->paths.cert, "%s", files[i].from);
    rc = sp_tls_files_load(&loaded, SP_TLS_CLIENT, &remote->paths, error);
    if (rc != SP_OK)
        return rc;
    remote->tls = sp_tls_create(loaded, name);
    sp_tls_files_free(loaded);
    if (remote->tls == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    while ((rc = sp_tls_shake(remote->tls, error)) == SP_TLS_MORE) {
        rc = send_encrypted(remote, error);
        if (rc == SP_OK)
            rc = receive_encrypted(remote, error);
        if (rc != SP_OK)
            return rc;
    }
    if (rc != SP_OK) {
        (void)sp_error_prefix(error, "TLS with %s", remote->server);
        (void)send_encrypted(remote, NULL);
        return rc;
    }
    return send_encrypted(remote, error);
}

static int read_some(struct remote *remote, uint8_t *to, size_t room, size_t *got, struct sp_error *error)
{
    int rc = SP_OK;

    if (remote->tls == NULL)
        return receive_bytes(remote, to, room, got, error);
    while ((rc = sp_tls_read(remote->tls, to, room, got, error)) == SP_OK && *got == 0) {
        rc = receive_encrypted(remote, error);
        if (rc != SP_OK)
            return rc;
    }
    return rc == SP_OK ? SP_OK : sp_error_prefix(error, "TLS with %s", remote->server);
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

static int send_message(struct remote *remote, const struct sp_message *message, struct sp_error *error)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);
    int rc = SP_OK;

    if (frame == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (remote->tls == NULL)
        rc = send_bytes(remote, frame->data, frame->bytes, error);
    else if (sp_tls_write(remote->tls, frame->data, frame->bytes) != SP_OK)
        rc = sp_error_set(error, SP_E_NOMEM, "out of memory");
    else
        rc = send_encrypted(remote, error);
    sp_buffer_release(frame);
    return rc;
}

static int read_exactly(struct remote *remote, uint8_t *to, size_t bytes, struct sp_error *error)
{
    int rc = SP_OK;

    while (bytes > 0 && rc == SP_OK) {
        size_t got = 0;

        rc = read_some(remote, to, bytes, &got, error);
        to += got;
        bytes -= got;
    }
    return rc;
}

/* The next frame, which is of the awaited type or, with its words as the error, a BYE. */
static int read_message(struct remote *remote, enum sp_frame_type awaited, struct sp_message *message,
                        struct sp_error *error)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];
    uint8_t *control = NULL;
    int rc = read_exactly(remote, header, sizeof header, error);

    memset(message, 0, sizeof *message);
    if (rc == SP_OK)
        rc = sp_frame_decode(header, &message->frame, error);
    if (rc == SP_OK && message->frame.type != awaited && message->frame.type != SP_FRAME_BYE)
        rc = sp_error_set(error, SP_E_PROTOCOL, "%s sent %s in place of %s", remote->server,
                          sp_frame_name(message->frame.type), sp_frame_name(awaited));
    if (rc != SP_OK)
        return rc;
    control = malloc(message->frame.control_bytes + 1u);
    if (control == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    rc = read_exactly(remote, control, message->frame.control_bytes, error);
    if (rc == SP_OK)
        rc = sp_frame_check_control(header, &message->frame, control, error);
    if (rc == SP_OK)
        rc = sp_codec_decode(message, control, error);
    free(control);
    if (rc == SP_OK && message->frame.type == SP_FRAME_BYE)
        rc = sp_error_set(error, SP_E_REJECTED, "the server %s refused: %s", remote->server, message->bye.words);
    return rc;
}

static int shake_hands(struct remote *remote, struct sp_error *error)
{
    struct sp_message hello = {.frame = {.type = SP_FRAME_HELLO}}, proof = {.frame = {.type = SP_FRAME_PROOF}};
    struct sp_message challenge;
    struct sp_channel channel;
    uint8_t right[SP_PROOF_BYTES];
    int rc;

    (void)strcpy(remote->hello.program, TOOL " " SP_VERSION);
    remote->hello.role = SP_ROLE_OPERATOR;
    remote->hello.wanted_slot = SP_ANY_SLOT;
    remote->hello.has_nonce = remote->secret.bytes > 0;
    rc = sp_random_bytes(remote->hello.nonce, sizeof remote->hello.nonce, error);
    hello.hello = remote->hello;
    if (rc == SP_OK)
        rc = send_message(remote, &hello, error);
    if (rc == SP_OK && !remote->hello.has_nonce)
        return SP_OK;
    if (rc == SP_OK)
        rc = read_message(remote, SP_FRAME_CHALLENGE, &challenge, error);
    if (rc != SP_OK)
        return rc;
    if (sp_channel_of(remote->tls, &channel) != SP_OK ||
        sp_proof_make(&remote->secret, SP_PROVER_SERVER, &remote->hello, challenge.challenge.nonce, &channel, right) !=
            SP_OK ||
        sp_proof_make(&remote->secret, SP_PROVER_CLIENT, &remote->hello, challenge.challenge.nonce, &channel,
                      proof.proof) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (!sp_proof_equal(challenge.challenge.proof, right))
        return sp_error_set(error, SP_E_REJECTED,
                            "the server %s did not prove that it holds this secret: its "
                            "security.operator_token_file differs, or it is another server",
                            remote->server);
    return send_message(remote, &proof, error);
}

json_t *tool_ask_remote(const struct tool_remote *with, const char *command, struct sp_error *error)
{
    struct sp_message ask = {.frame = {.type = SP_FRAME_ASK}}, answer = {.frame = {.type = SP_FRAME_ANSWER}};
    struct remote remote = {.server = with->server, .fd = -1};
    json_t *json = NULL;
    int rc = with->token_file != NULL ? sp_secret_load(&remote.secret, with->token_file, error) : SP_OK;

    (void)snprintf(ask.command, sizeof ask.command, "%s", command);
    if (rc == SP_OK)
        rc = connect_to(&remote, error);
    if (rc == SP_OK && with->cert != NULL)
        rc = begin_tls(&remote, with, error);
    if (rc == SP_OK)
        rc = shake_hands(&remote, error);
    if (rc == SP_OK)
        rc = send_message(&remote, &ask, error);
    if (rc == SP_OK)
        rc = read_message(&remote, SP_FRAME_ANSWER, &answer, error);
    if (rc == SP_OK) {
        json = json_loads(answer.answer, 0, NULL);
        if (json == NULL)
            (void)sp_error_set(error, SP_E_PROTOCOL, "the answer of %s is not JSON", with->server);
    }
    sp_message_finish(&answer);
    if (remote.fd >= 0)
        (void)close(remote.fd);
    sp_tls_destroy(remote.tls);
    sp_secret_forget(&remote.secret);
    return tool_take_refusal(json, with->server, command, error);
}
