/* An operator's question over the network: HELLO, CHALLENGE, PROOF, ASK, ANSWER (proto/README.md). */
#include "common/address.h"
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
    struct sp_secret secret;
    struct sp_hello hello;
};

static int connect_to(struct remote *remote, struct sp_error *error)
{
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_address address;
    size_t count = 0;
    int code = 0;
    int rc = sp_address_parse(remote->server, &address, error);

    if (rc == SP_OK)
        rc = sp_address_resolve(&address, false, found, &count, error);
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

static int send_message(struct remote *remote, const struct sp_message *message, struct sp_error *error)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);
    int rc = SP_OK;

    if (frame == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (!tool_send_all(remote->fd, frame->data, frame->bytes))
        rc = sp_error_set(error, SP_E_IO, "cannot write to %s: %s", remote->server, strerror(errno));
    sp_buffer_release(frame);
    return rc;
}

static int read_exactly(struct remote *remote, uint8_t *to, size_t bytes, struct sp_error *error)
{
    while (bytes > 0) {
        ssize_t n = recv(remote->fd, to, bytes, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return sp_error_set(error, SP_E_CLOSED, "%s closed the connection without an answer", remote->server);
        if (n < 0)
            return sp_error_set(error, SP_E_IO, "no answer from %s: %s", remote->server,
                                errno == EAGAIN ? "nothing came within 5 s" : strerror(errno));
        to += n;
        bytes -= (size_t)n;
    }
    return SP_OK;
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
    uint8_t right[SP_PROOF_BYTES];
    int rc;

    (void)strcpy(remote->hello.program, TOOL " " SP_VERSION);
    remote->hello.role = SP_ROLE_OPERATOR;
    remote->hello.wanted_slot = SP_ANY_SLOT;
    remote->hello.has_nonce = true;
    rc = sp_random_bytes(remote->hello.nonce, sizeof remote->hello.nonce, error);
    hello.hello = remote->hello;
    if (rc == SP_OK)
        rc = send_message(remote, &hello, error);
    if (rc == SP_OK)
        rc = read_message(remote, SP_FRAME_CHALLENGE, &challenge, error);
    if (rc != SP_OK)
        return rc;
    if (sp_proof_make(&remote->secret, SP_PROVER_SERVER, &remote->hello, challenge.challenge.nonce, right) != SP_OK ||
        sp_proof_make(&remote->secret, SP_PROVER_CLIENT, &remote->hello, challenge.challenge.nonce, proof.proof) !=
            SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (!sp_proof_equal(challenge.challenge.proof, right))
        return sp_error_set(error, SP_E_REJECTED,
                            "the server %s did not prove that it holds this secret: its "
                            "security.operator_token_file differs, or it is another server",
                            remote->server);
    return send_message(remote, &proof, error);
}

json_t *tool_ask_remote(const char *server, const char *token_file, const char *command, struct sp_error *error)
{
    struct sp_message ask = {.frame = {.type = SP_FRAME_ASK}}, answer = {.frame = {.type = SP_FRAME_ANSWER}};
    struct remote remote = {.server = server, .fd = -1};
    json_t *json = NULL;
    int rc = sp_secret_load(&remote.secret, token_file, error);

    (void)snprintf(ask.command, sizeof ask.command, "%s", command);
    if (rc == SP_OK)
        rc = connect_to(&remote, error);
    if (rc == SP_OK)
        rc = shake_hands(&remote, error);
    if (rc == SP_OK)
        rc = send_message(&remote, &ask, error);
    if (rc == SP_OK)
        rc = read_message(&remote, SP_FRAME_ANSWER, &answer, error);
    if (rc == SP_OK) {
        json = json_loads(answer.answer, 0, NULL);
        if (json == NULL)
            (void)sp_error_set(error, SP_E_PROTOCOL, "the answer of %s is not JSON", server);
    }
    sp_message_finish(&answer);
    if (remote.fd >= 0)
        (void)close(remote.fd);
    sp_secret_forget(&remote.secret);
    return json;
}
