#include "deploy/tool/line.h"

#include "version.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* --- the socket ------------------------------------------------------------------------------------------------------
 */

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static int left_ms(const struct line *line)
{
    uint64_t now = now_ms();

    return now < line->until_ms ? (int)(line->until_ms - now) : 0;
}

/* One address; errno if it cannot be had. */
static bool connect_one(struct line *line, const struct sockaddr_storage *to)
{
    socklen_t bytes = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int left = left_ms(line) + 1; /* of 0 the kernel thinks that there is no end */
    struct timeval patience = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
    int code;

    line->fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (line->fd < 0)
        return false;
    (void)setsockopt(line->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(line->fd, (const struct sockaddr *)to, bytes) == 0)
        return true;
    code = errno == EINPROGRESS ? ETIMEDOUT : errno;
    (void)close(line->fd);
    line->fd = -1;
    errno = code;
    return false;
}

static int connect_to(struct line *line, struct sp_error *error)
{
    struct timeval patience = {.tv_sec = LINE_SECONDS};
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    size_t count = 0;
    int rc = sp_address_parse(line->server, &line->address, error);

    if (rc == SP_OK)
        rc = sp_address_resolve(&line->address, false, found, &count, error);
    if (rc != SP_OK)
        return rc;
    line->step = LINE_CONNECT;
    line->until_ms = now_ms() + LINE_SECONDS * 1000u;
    for (size_t i = 0; i < count; i++) {
        if (connect_one(line, &found[i])) {
            (void)setsockopt(line->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            return SP_OK;
        }
        line->system = errno;
    }
    return sp_error_set(error, line->system == ETIMEDOUT ? SP_E_TIMEOUT : SP_E_IO, "cannot connect to %s: %s",
                        line->server, strerror(line->system));
}

static int send_bytes(struct line *line, const void *bytes, size_t count, struct sp_error *error)
{
    line->until_ms = now_ms() + LINE_SECONDS * 1000u;
    if (tool_send_all(line->fd, bytes, count))
        return SP_OK;
    line->system = errno;
    return sp_error_set(error, SP_E_IO, "cannot write to %s: %s", line->server, strerror(errno));
}

/* Whether something came, or the other side ended, before the time was up. */
static bool wait_for_bytes(const struct line *line)
{
    struct pollfd fd = {.fd = line->fd, .events = POLLIN};
    int rc;

    do
        rc = poll(&fd, 1, left_ms(line));
    while (rc < 0 && errno == EINTR);
    return rc != 0;
}

static void note_said(struct line *line, const uint8_t *bytes, size_t count)
{
    size_t room = sizeof line->said - line->said_bytes;

    count = count < room ? count : room;
    memcpy(line->said + line->said_bytes, bytes, count);
    line->said_bytes += count;
}

/* Some bytes, at least one. */
static int receive_bytes(struct line *line, uint8_t *to, size_t room, size_t *got, struct sp_error *error)
{
    ssize_t n;

    if (!wait_for_bytes(line))
        return sp_error_set(error, SP_E_TIMEOUT, "no answer from %s: nothing came within %d s", line->server,
                            LINE_SECONDS);
    do
        n = recv(line->fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return sp_error_set(error, SP_E_CLOSED, "%s closed the connection without an answer", line->server);
    if (n < 0) {
        line->system = errno;
        return sp_error_set(error, SP_E_IO, "no answer from %s: %s", line->server, strerror(errno));
    }
    *got = (size_t)n;
    if (line->step != LINE_FRAMES || line->tls == NULL)
        note_said(line, to, *got);
    return SP_OK;
}

/* --- TLS -------------------------------------------------------------------------------------------------------------
 */

static int send_encrypted(struct line *line, struct sp_error *error)
{
    const uint8_t *bytes;
    size_t count = sp_tls_out(line->tls, &bytes);
    int rc = count > 0 ? send_bytes(line, bytes, count, error) : SP_OK;

    sp_tls_sent(line->tls);
    return rc;
}

static int receive_encrypted(struct line *line, struct sp_error *error)
{
    size_t room, got = 0;
    uint8_t *at = sp_tls_room(line->tls, &room);
    int rc = receive_bytes(line, at, room, &got, error);

    sp_tls_received(line->tls, got);
    return rc;
}

static int load_tls(struct line *line, const struct tool_remote *with, struct sp_error *error)
{
    struct sp_tls_paths paths;
    const struct {
        const char *from;
        char *to;
    } files[] = {{with->cert, paths.cert}, {with->key, paths.key}, {with->ca, paths.ca}};
    const char *name = with->name != NULL ? with->name : line->address.host;
    struct sp_tls_files *loaded;
    int rc;

    if (!sp_tls_is_name(name))
        return sp_error_set(error, SP_E_RANGE, "a server's name must not be empty or begin with a dot: '%s'", name);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)snprintf(files[i].to, sizeof paths.cert, "%s", files[i].from);
    rc = sp_tls_files_load(&loaded, SP_TLS_CLIENT, &paths, error);
    if (rc != SP_OK)
        return rc;
    (void)snprintf(line->cert, sizeof line->cert, "%s", sp_tls_files_words(loaded));
    line->tls = sp_tls_create(loaded, name);
    sp_tls_files_free(loaded);
    return line->tls != NULL ? SP_OK : sp_error_set(error, SP_E_NOMEM, "out of memory");
}

static int begin_tls(struct line *line, const struct tool_remote *with, struct sp_error *error)
{
    int rc = load_tls(line, with, error);

    if (rc != SP_OK)
        return rc;
    line->step = LINE_TLS;
    while ((rc = sp_tls_shake(line->tls, error)) == SP_TLS_MORE) {
        rc = send_encrypted(line, error);
        if (rc == SP_OK)
            rc = receive_encrypted(line, error);
        if (rc != SP_OK)
            return rc;
    }
    if (rc != SP_OK) {
        (void)sp_error_prefix(error, "TLS with %s", line->server);
        (void)send_encrypted(line, NULL);
        return rc;
    }
    line->said_bytes = 0;
    return send_encrypted(line, error);
}

static int read_some(struct line *line, uint8_t *to, size_t room, size_t *got, struct sp_error *error)
{
    int rc = SP_OK;

    if (line->tls == NULL)
        return receive_bytes(line, to, room, got, error);
    while ((rc = sp_tls_read(line->tls, to, room, got, error)) == SP_OK && *got == 0) {
        rc = receive_encrypted(line, error);
        if (rc != SP_OK)
            return rc;
    }
    if (rc != SP_OK)
        return sp_error_prefix(error, "TLS with %s", line->server);
    note_said(line, to, *got);
    return SP_OK;
}

int line_open(struct line *line, const struct tool_remote *with, struct sp_error *error)
{
    int rc = with->token_file != NULL ? sp_secret_load(&line->secret, with->token_file, error) : SP_OK;

    line->fd = -1;
    line->server = with->server;
    if (rc == SP_OK)
        rc = connect_to(line, error);
    if (rc == SP_OK && with->cert != NULL)
        rc = begin_tls(line, with, error);
    if (rc == SP_OK)
        line->step = LINE_FRAMES;
    return rc;
}

void line_close(struct line *line)
{
    if (line->fd >= 0)
        (void)close(line->fd);
    sp_tls_destroy(line->tls);
    sp_secret_forget(&line->secret);
    line->fd = -1;
    line->tls = NULL;
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

int line_send(struct line *line, const struct sp_message *message, struct sp_error *error)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);
    int rc = SP_OK;

    if (frame == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (line->tls == NULL)
        rc = send_bytes(line, frame->data, frame->bytes, error);
    else if (sp_tls_write(line->tls, frame->data, frame->bytes) != SP_OK)
        rc = sp_error_set(error, SP_E_NOMEM, "out of memory");
    else
        rc = send_encrypted(line, error);
    sp_buffer_release(frame);
    return rc;
}

static int read_exactly(struct line *line, uint8_t *to, size_t bytes, struct sp_error *error)
{
    int rc = SP_OK;

    while (bytes > 0 && rc == SP_OK) {
        size_t got = 0;

        rc = read_some(line, to, bytes, &got, error);
        to += got;
        bytes -= got;
    }
    return rc;
}

static int read_control(struct line *line, const uint8_t *header, struct sp_message *message, struct sp_error *error)
{
    uint8_t *control = malloc(message->frame.control_bytes + 1u);
    int rc;

    if (control == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    rc = read_exactly(line, control, message->frame.control_bytes, error);
    if (rc == SP_OK)
        rc = sp_frame_check_control(header, &message->frame, control, error);
    if (rc == SP_OK)
        rc = sp_codec_decode(message, control, error);
    free(control);
    return rc;
}

int line_read(struct line *line, enum sp_frame_type awaited, struct sp_message *message, struct sp_error *error)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];
    int rc;

    memset(message, 0, sizeof *message);
    rc = read_exactly(line, header, sizeof header, error);
    if (rc == SP_OK)
        rc = sp_frame_decode(header, &message->frame, error);
    if (rc == SP_OK && message->frame.type != awaited && message->frame.type != SP_FRAME_BYE)
        rc = sp_error_set(error, SP_E_PROTOCOL, "%s sent %s in place of %s", line->server,
                          sp_frame_name(message->frame.type), sp_frame_name(awaited));
    if (rc == SP_OK)
        rc = read_control(line, header, message, error);
    if (rc != SP_OK || message->frame.type != SP_FRAME_BYE)
        return rc;
    line->is_bye = true;
    line->bye = message->bye;
    return sp_error_set(error, SP_E_REJECTED, "the server %s refused: %s", line->server, line->bye.words);
}

static int prove(struct line *line, const struct sp_challenge *challenge, struct sp_error *error)
{
    struct sp_message proof = {.frame = {.type = SP_FRAME_PROOF}};
    bool operates = line->hello.role == SP_ROLE_OPERATOR;
    struct sp_channel channel;
    uint8_t right[SP_PROOF_BYTES];

    if (sp_channel_of(line->tls, &channel) != SP_OK ||
        sp_proof_make(&line->secret, SP_PROVER_SERVER, &line->hello, challenge->nonce, &channel, right) != SP_OK ||
        sp_proof_make(&line->secret, SP_PROVER_CLIENT, &line->hello, challenge->nonce, &channel, proof.proof) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (!sp_proof_equal(challenge->proof, right))
        return sp_error_set(error, SP_E_MISMATCH,
                            "the server %s did not prove that it holds this secret: its security.%s differs, or it is "
                            "another server",
                            line->server, operates ? "operator_token_file" : "token_file");
    line->proved = true;
    return line_send(line, &proof, error);
}

int line_greet(struct line *line, const struct sp_hello *hello, struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}}, challenge;
    int rc;

    line->hello = *hello;
    (void)strcpy(line->hello.program, TOOL " " SP_VERSION);
    line->hello.has_nonce = line->secret.bytes > 0;
    rc = sp_random_bytes(line->hello.nonce, sizeof line->hello.nonce, error);
    message.hello = line->hello;
    if (rc == SP_OK)
        rc = line_send(line, &message, error);
    if (rc != SP_OK || !line->hello.has_nonce)
        return rc;
    rc = line_read(line, SP_FRAME_CHALLENGE, &challenge, error);
    return rc == SP_OK ? prove(line, &challenge.challenge, error) : rc;
}
