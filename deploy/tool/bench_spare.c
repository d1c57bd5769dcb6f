/* signpost bench-spare: connections of workers without a slot, for as long as the server keeps them.
 *
 * They are made of nothing but frames: each says who it is, is taken as a spare, and then only says that it is alive,
 * as one over libsignpost would. What libsignpost would hold for each, weights and momentum, is not there.
 */
#include "common/address.h"
#include "common/cli.h"
#include "common/secret.h"
#include "deploy/tool/bench.h"
#include "deploy/tool/tool.h"
#include "proto/proof.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM TOOL " bench-spare"
#define ANSWER_S 30
#define ALIVE_S 2.0 /* server.heartbeat.interval, as the job has it */

struct spares {
    struct bench_part part;
    struct bench_shared *shared;
    struct sp_secret secret;
    struct sp_layout layout; /* owned */
    struct sockaddr_storage server;
    struct pollfd fd[1 + BENCH_SPARES_EACH]; /* the first is the leash */
    unsigned open;
};

/* --- frames, one after another ---------------------------------------------------------------------------------------
 */

static int send_message(int fd, const struct sp_message *message, struct sp_error *error)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);
    bool sent = frame != NULL && tool_send_all(fd, frame->data, frame->bytes);

    sp_buffer_release(frame);
    return sent ? SP_OK : sp_error_set(error, SP_E_IO, "cannot send to the server: %s", strerror(errno));
}

static bool read_all(int fd, void *bytes, size_t count)
{
    uint8_t *at = bytes;

    while (count > 0) {
        ssize_t n = read(fd, at, count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        count -= (size_t)n;
    }
    return true;
}

/* The next frame, which must be of this type; the caller finishes the message. */
static int receive(int fd, enum sp_frame_type type, struct sp_message *message, struct sp_error *error)
{
    uint8_t header[SP_FRAME_HEADER_BYTES];
    uint8_t *control;
    int rc;

    memset(message, 0, sizeof *message);
    if (!read_all(fd, header, sizeof header))
        return sp_error_set(error, SP_E_CLOSED, "no %s from the server within %d s", sp_frame_name(type), ANSWER_S);
    rc = sp_frame_decode(header, &message->frame, error);
    if (rc != SP_OK)
        return rc;
    control = malloc(message->frame.control_bytes + 1u);
    if (control == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (!read_all(fd, control, message->frame.control_bytes))
        rc = sp_error_set(error, SP_E_CLOSED, "the server closed the connection");
    else
        rc = sp_codec_decode(message, control, error);
    free(control);
    if (rc == SP_OK && message->frame.type == SP_FRAME_BYE)
        rc = sp_error_set(error, SP_E_REJECTED, "the server said goodbye: %s", message->bye.words);
    else if (rc == SP_OK && message->frame.type != type)
        rc = sp_error_set(error, SP_E_PROTOCOL, "%s came in place of %s", sp_frame_name(message->frame.type),
                          sp_frame_name(type));
    return rc;
}

/* --- a spare comes in ------------------------------------------------------------------------------------------------
 */

static int prove(const struct spares *spares, int fd, const struct sp_hello *hello, struct sp_error *error)
{
    struct sp_message message, proof = {.frame = {.type = SP_FRAME_PROOF}};
    int rc = receive(fd, SP_FRAME_CHALLENGE, &message, error);

    if (rc == SP_OK && sp_proof_make(&spares->secret, SP_PROVER_CLIENT, hello, message.challenge.nonce,
                                     &(struct sp_channel){0}, proof.proof) != SP_OK)
        rc = sp_error_set(error, SP_E_NOMEM, "no memory for a proof");
    if (rc == SP_OK)
        rc = send_message(fd, &proof, error);
    sp_message_finish(&message);
    return rc;
}

static int shake_hands(const struct spares *spares, int fd, struct sp_error *error)
{
    struct sp_message hello = {.frame = {.type = SP_FRAME_HELLO}}, layout = {.frame = {.type = SP_FRAME_LAYOUT}};
    struct sp_message welcome;
    int rc = SP_OK;

    (void)snprintf(hello.hello.job, sizeof hello.hello.job, BENCH_JOB);
    (void)snprintf(hello.hello.program, sizeof hello.hello.program, "signpost bench");
    hello.hello.layout_digest = sp_layout_digest(&spares->layout);
    hello.hello.examples = 1;
    hello.hello.wanted_slot = SP_ANY_SLOT;
    hello.hello.has_nonce = spares->secret.bytes > 0;
    if (hello.hello.has_nonce)
        rc = sp_random_bytes(hello.hello.nonce, sizeof hello.hello.nonce, error);
    if (rc == SP_OK)
        rc = send_message(fd, &hello, error);
    if (rc == SP_OK && hello.hello.has_nonce)
        rc = prove(spares, fd, &hello.hello, error);
    layout.layout = spares->layout;
    if (rc == SP_OK)
        rc = send_message(fd, &layout, error);
    if (rc != SP_OK)
        return rc;
    rc = receive(fd, SP_FRAME_WELCOME, &welcome, error);
    if (rc == SP_OK && !welcome.welcome.spare)
        rc = sp_error_set(error, SP_E_STATE, "it got slot %u: a worker has left", welcome.welcome.slot);
    sp_message_finish(&welcome);
    return rc;
}

static int come_in(struct spares *spares, struct sp_error *error)
{
    struct timeval limit = {.tv_sec = ANSWER_S};
    socklen_t bytes = spares->server.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(spares->server.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot make a socket: %s", strerror(errno));
    spares->fd[++spares->open] = (struct pollfd){.fd = fd, .events = POLLIN};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&spares->server, bytes) != 0)
        return sp_error_set(error, SP_E_IO, "cannot connect to %s: %s", spares->part.server, strerror(errno));
    return shake_hands(spares, fd, error);
}

/* --- and stays -------------------------------------------------------------------------------------------------------
 */

static int say_alive(const struct spares *spares, struct sp_error *error)
{
    const struct sp_message alive = {.frame = {.type = SP_FRAME_ALIVE}};
    int rc = SP_OK;

    for (unsigned i = 1; i <= BENCH_SPARES_EACH && rc == SP_OK; i++)
        rc = spares->fd[i].fd > 0 ? send_message(spares->fd[i].fd, &alive, error) : SP_OK;
    return rc;
}

/* What the server says is not looked at: it is signs of life, and a goodbye that its end of stream says as well. */
static void listen_to(struct spares *spares)
{
    uint8_t bytes[4096];

    for (unsigned i = 1; i <= BENCH_SPARES_EACH; i++) {
        struct pollfd *fd = &spares->fd[i];

        if (fd->fd <= 0 || fd->revents == 0 || read(fd->fd, bytes, sizeof bytes) > 0)
            continue;
        (void)close(fd->fd);
        fd->fd = -1;
        spares->open--;
    }
}

/* Until the server has closed all of them. */
static int stay(struct spares *spares, struct sp_error *error)
{
    double due = bench_seconds() + ALIVE_S;
    int rc = SP_OK;

    while (rc == SP_OK && spares->open > 0) {
        int wait_ms = due > bench_seconds() ? (int)((due - bench_seconds()) * 1e3) + 1 : 0;

        if (poll(spares->fd, 1 + BENCH_SPARES_EACH, wait_ms) > 0) {
            if (spares->fd[0].revents & (POLLHUP | POLLERR))
                return sp_error_set(error, SP_E_CLOSED, "the program that started it is gone");
            listen_to(spares);
        }
        if (bench_seconds() >= due) {
            rc = say_alive(spares, error);
            due = bench_seconds() + ALIVE_S;
        }
    }
    return rc;
}

static int set_up(struct spares *spares, const char *path, struct sp_error *error)
{
    struct sp_address address;
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    size_t count;
    int rc = bench_part_read(&spares->part, path, error);

    for (unsigned i = 0; i <= BENCH_SPARES_EACH; i++)
        spares->fd[i] = (struct pollfd){.fd = i == 0 ? STDIN_FILENO : -1};
    if (rc == SP_OK && spares->part.count > BENCH_SPARES_EACH)
        rc = sp_error_set(error, SP_E_RANGE, "%u spares in a process", spares->part.count);
    if (rc == SP_OK && spares->part.token_file[0] != '\0')
        rc = sp_secret_load(&spares->secret, spares->part.token_file, error);
    if (rc == SP_OK)
        rc = bench_layout(&spares->layout, spares->part.params, error);
    if (rc == SP_OK)
        rc = sp_address_parse(spares->part.server, &address, error);
    if (rc == SP_OK)
        rc = sp_address_resolve(&address, false, found, &count, error);
    if (rc != SP_OK)
        return rc;
    spares->server = found[0];
    spares->shared = bench_share(spares->part.folder, false, error);
    return spares->shared != NULL ? SP_OK : SP_E_IO;
}

int tool_bench_spare(int argc, char **argv)
{
    static struct spares spares;
    struct sp_error error = {0};
    int rc;

    if (argc != 2) {
        (void)sp_cli_fail(TOOL, "bench-spare is a part of 'signpost bench', which starts it");
        return SP_EXIT_USAGE;
    }
    rc = set_up(&spares, argv[1], &error);
    for (uint32_t i = 0; i < spares.part.count && rc == SP_OK; i++) {
        rc = come_in(&spares, &error);
        if (rc == SP_OK)
            spares.shared->spares++;
    }
    if (rc == SP_OK)
        rc = stay(&spares, &error);
    sp_layout_finish(&spares.layout);
    sp_secret_forget(&spares.secret);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(PROGRAM, error.text);
}
