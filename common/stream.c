#include "common/stream.h"

#include "common/address.h"
#include "common/check.h"
#include "common/tls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <uv.h>

#define LINGER_MS 3000
#define DISCARD_BYTES 4096
#define ENCRYPTED_BATCH_BYTES (128u * 1024u) /* leave together */

enum state { STATE_OPEN, STATE_FINISHING, STATE_CLOSING };

struct sp_stream {
    uv_tcp_t tcp;
    uv_timer_t linger;
    uv_idle_t again; /* with TLS: what came before somebody asked for it is looked at in the next turn of the loop */
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    const struct sp_stream_events *events;
    void *owner;
    enum state state;
    unsigned handles; /* not closed yet */
    bool connects;    /* our side called the other one */
    bool reading, paused, failed;
    bool mute; /* the other side takes nothing more; reading comes to what it said last, and to the end */
    bool shut, end_sent, end_received; /* while finishing */
    uint8_t *next;                     /* where the next byte goes */
    size_t missing;
    size_t queued, queue_max;
    struct pending_write *unused; /* owned */
    struct sp_tls *tls;           /* owned; NULL: none */
    bool shaken;                  /* the handshake of TLS is over */
    bool advancing;               /* advance() is at work, and looks at what there is by itself */
    bool alerted;                 /* the last that goes out says what was wrong with TLS */
    struct sp_buffer *held[SP_STREAM_HELD_MAX + 1];
    unsigned held_count;
    uint64_t received;
    uint64_t group; /* of the other side's address */
    char peer[SP_ADDRESS_TEXT_BYTES];
    uint8_t discard[DISCARD_BYTES];
};

/* What waits to be written. Those that are done are kept for the next. */
struct pending_write {
    uv_write_t request;
    struct pending_write *next;
    struct sp_stream *stream;
    struct sp_buffer *buffer;
    size_t bytes;
};

static void finish_when_drained(struct sp_stream *stream);
static void let_go(struct sp_stream *stream);
static void advance(struct sp_stream *stream);
static int send_out(struct sp_stream *stream);
static void start_reading(struct sp_stream *stream);
static void go_on_reading(struct sp_stream *stream);

struct sp_stream *sp_stream_create(uv_loop_t *loop, const struct sp_stream_events *events, void *owner,
                                   size_t queue_bytes_max)
{
    struct sp_stream *stream = calloc(1, sizeof *stream);

    if (stream == NULL)
        return NULL;
    stream->events = events;
    stream->owner = owner;
    stream->queue_max = queue_bytes_max;
    (void)strcpy(stream->peer, "unknown address");
    if (uv_tcp_init(loop, &stream->tcp) != 0) {
        free(stream);
        return NULL;
    }
    (void)uv_timer_init(loop, &stream->linger);
    (void)uv_idle_init(loop, &stream->again);
    stream->handles = 3;
    stream->tcp.data = stream->linger.data = stream->again.data = stream;
    return stream;
}

static void on_closed(uv_handle_t *handle)
{
    struct sp_stream *stream = handle->data;
    void (*closed)(void *) = stream->events->closed;
    void *owner = stream->owner;

    if (--stream->handles > 0)
        return;
    while (stream->unused != NULL) {
        struct pending_write *pending = stream->unused;

        stream->unused = pending->next;
        free(pending);
    }
    sp_tls_destroy(stream->tls);
    free(stream);
    if (closed != NULL)
        closed(owner);
}

void sp_stream_close(struct sp_stream *stream)
{
    if (stream->state == STATE_CLOSING)
        return;
    stream->state = STATE_CLOSING;
    stream->missing = 0;
    let_go(stream);
    uv_close((uv_handle_t *)&stream->tcp, on_closed);
    uv_close((uv_handle_t *)&stream->linger, on_closed);
    uv_close((uv_handle_t *)&stream->again, on_closed);
}

/* While the stream is open its owner hears of a failure, once; while it is finishing there is nothing left to say. */
static void fail(struct sp_stream *stream, int code, const char *words)
{
    if (stream->state == STATE_FINISHING) {
        sp_stream_close(stream);
    } else if (stream->state == STATE_OPEN && !stream->failed) {
        stream->failed = true;
        if (stream->reading)
            (void)uv_read_stop((uv_stream_t *)&stream->tcp);
        stream->reading = false;
        stream->events->failed(stream->owner, code, words);
    }
}

static void fail_uv(struct sp_stream *stream, int status)
{
    if (status == UV_EOF && stream->state == STATE_FINISHING && !stream->end_sent)
        stream->end_received = true; /* what is queued still leaves; on_shut() closes */
    else if (status == UV_EOF)
        fail(stream, SP_E_CLOSED, "the other side closed the connection");
    else
        fail(stream, SP_E_IO, uv_strerror(status));
}

static void become_connected(struct sp_stream *stream)
{
    struct sockaddr_storage address;
    int length = (int)sizeof address;

    (void)uv_tcp_nodelay(&stream->tcp, 1);
    if (uv_tcp_getpeername(&stream->tcp, (struct sockaddr *)&address, &length) == 0) {
        sp_address_text((const struct sockaddr *)&address, stream->peer);
        stream->group = sp_address_group((const struct sockaddr *)&address);
    }
    if (stream->tls != NULL)
        start_reading(stream);
}

void sp_stream_secure(struct sp_stream *stream, struct sp_tls *tls)
{
    sp_assert(stream->tls == NULL && stream->received == 0);
    stream->tls = tls;
    if (uv_is_readable((uv_stream_t *)&stream->tcp))
        start_reading(stream);
}

const struct sp_tls *sp_stream_tls(const struct sp_stream *stream)
{
    return stream->tls;
}

int sp_stream_accept(struct sp_stream *stream, uv_stream_t *listener, struct sp_error *error)
{
    int rc = uv_accept(listener, (uv_stream_t *)&stream->tcp);

    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot accept a connection: %s", uv_strerror(rc));
    become_connected(stream);
    return SP_OK;
}

static void on_connected(uv_connect_t *request, int status)
{
    struct sp_stream *stream = request->data;

    if (stream->state != STATE_OPEN)
        return;
    if (status != 0) {
        fail_uv(stream, status);
        return;
    }
    become_connected(stream);
    if (stream->tls != NULL)
        advance(stream);
    else
        stream->events->connected(stream->owner);
}

int sp_stream_connect(struct sp_stream *stream, const struct sockaddr *address, struct sp_error *error)
{
    int rc;

    stream->connects = true;
    stream->connect.data = stream;
    sp_address_text(address, stream->peer);
    rc = uv_tcp_connect(&stream->connect, &stream->tcp, address, on_connected);
    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot connect to %s: %s", stream->peer, uv_strerror(rc));
    return SP_OK;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct sp_stream *stream = handle->data;

    (void)suggested;
    if (stream->state == STATE_OPEN && stream->tls != NULL) {
        size_t room;
        uint8_t *at = sp_tls_room(stream->tls, &room);

        *buf = uv_buf_init((char *)at, (unsigned)room);
    } else if (stream->state == STATE_OPEN)
        *buf = uv_buf_init((char *)stream->next, (unsigned)stream->missing);
    else
        *buf = uv_buf_init((char *)stream->discard, DISCARD_BYTES);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct sp_stream *stream = handle->data;

    (void)buf;
    if (n < 0) {
        fail_uv(stream, (int)n);
        return;
    }
    if (n == 0 || stream->state != STATE_OPEN)
        return;
    stream->received += (uint64_t)n;
    if (stream->tls != NULL) {
        sp_tls_received(stream->tls, (size_t)n);
        advance(stream);
        return;
    }
    stream->next += n;
    stream->missing -= (size_t)n;
    if (stream->missing > 0)
        return;
    stream->events->filled(stream->owner);
    if (stream->state == STATE_OPEN && stream->missing == 0 && stream->reading) {
        stream->reading = false;
        (void)uv_read_stop(handle);
    }
}

static void start_reading(struct sp_stream *stream)
{
    int rc = uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read);

    sp_assert(rc == 0);
    stream->reading = true;
}

/* libuv asks for a length that fits an unsigned int: a larger read comes in pieces by itself, since on_alloc is called
 * anew. */
void sp_stream_read(struct sp_stream *stream, void *destination, size_t bytes)
{
    sp_assert(bytes > 0 && bytes <= UINT32_MAX && stream->missing == 0);
    if (stream->state != STATE_OPEN || stream->failed)
        return;
    stream->next = destination;
    stream->missing = bytes;
    go_on_reading(stream);
}

/* --- TLS -------------------------------------------------------------------------------------------------------------
 */

static void fail_tls(struct sp_stream *stream, const struct sp_error *error)
{
    if (error->code == SP_E_CLOSED) {
        fail_uv(stream, UV_EOF);
        return;
    }
    stream->alerted = send_out(stream) == SP_OK;
    fail(stream, error->code, error->text);
}

/* True when it is over, and the owner, if it connected, knows. */
static bool shake(struct sp_stream *stream, struct sp_error *error)
{
    int rc = sp_tls_shake(stream->tls, error);

    if (rc != SP_OK && rc != SP_TLS_MORE) {
        fail_tls(stream, error);
        return false;
    }
    if (send_out(stream) != SP_OK) {
        fail(stream, SP_E_IO, "the connection broke in the handshake of TLS");
        return false;
    }
    if (rc == SP_TLS_MORE)
        return false;
    stream->shaken = true;
    if (stream->connects)
        stream->events->connected(stream->owner);
    return true;
}

static bool is_wanted(const struct sp_stream *stream)
{
    return stream->state == STATE_OPEN && !stream->failed && !stream->paused && stream->missing > 0;
}

/* What TLS itself answers, such as a change of keys. Who asks for that and does not read makes the queue grow no more
 * than by frames. */
static void answer(struct sp_stream *stream)
{
    const uint8_t *bytes;

    if (sp_tls_out(stream->tls, &bytes) == 0)
        return;
    if (stream->queued > stream->queue_max)
        fail(stream, SP_E_BACKLOG, "it wants answers of TLS, and does not read them");
    else if (send_out(stream) != SP_OK)
        stream->mute = true;
}

static void decrypt(struct sp_stream *stream, struct sp_error *error)
{
    while (is_wanted(stream)) {
        size_t got;

        if (sp_tls_read(stream->tls, stream->next, stream->missing, &got, error) != SP_OK) {
            fail_tls(stream, error);
            return;
        }
        if (got == 0)
            break;
        stream->next += got;
        stream->missing -= got;
        if (stream->missing == 0)
            stream->events->filled(stream->owner);
    }
    if (stream->state == STATE_OPEN && !stream->failed)
        answer(stream);
}

/* As far as the bytes go that are there. */
static void advance(struct sp_stream *stream)
{
    struct sp_error error = {0};

    if (stream->state != STATE_OPEN || stream->failed || stream->paused)
        return;
    stream->advancing = true;
    if (stream->shaken || shake(stream, &error))
        decrypt(stream, &error);
    stream->advancing = false;
    if (stream->state != STATE_OPEN || stream->failed || !stream->shaken)
        return;
    if (stream->missing == 0 && stream->reading) {
        stream->reading = false;
        (void)uv_read_stop((uv_stream_t *)&stream->tcp);
    } else if (is_wanted(stream) && !stream->reading) {
        start_reading(stream);
    }
}

static void on_again(uv_idle_t *idle)
{
    (void)uv_idle_stop(idle);
    advance(idle->data);
}

/* The owner must not hear of what it asked for while it still asks. What was read before it comes first: there may be
 * no room for more. */
static bool looks_again(struct sp_stream *stream)
{
    if (stream->tls == NULL || !stream->shaken || stream->advancing || sp_tls_unread(stream->tls) == 0)
        return false;
    (void)uv_idle_start(&stream->again, on_again);
    return true;
}

static void go_on_reading(struct sp_stream *stream)
{
    if (!stream->paused && !looks_again(stream) && !stream->reading)
        start_reading(stream);
}

static void on_written(uv_write_t *request, int status)
{
    struct pending_write *pending = request->data;
    struct sp_stream *stream = pending->stream;

    stream->queued -= pending->bytes;
    sp_buffer_release(pending->buffer);
    pending->next = stream->unused;
    stream->unused = pending;
    /* The other side is gone; but its last words may lie unread in the socket, and reading will find the end itself. */
    if ((status == UV_EPIPE || status == UV_ECONNRESET) && (stream->reading || stream->paused) && !stream->end_received)
        return;
    if (status != 0) {
        fail_uv(stream, status);
        return;
    }
    if (stream->queued > 0)
        return;
    if (stream->state == STATE_FINISHING)
        finish_when_drained(stream);
    else if (stream->state == STATE_OPEN && stream->events->drained != NULL)
        stream->events->drained(stream->owner);
}

static struct pending_write *take_pending(struct sp_stream *stream)
{
    struct pending_write *pending = stream->unused;

    if (pending == NULL)
        return malloc(sizeof *pending);
    stream->unused = pending->next;
    return pending;
}

static int queue_rest(struct sp_stream *stream, struct sp_buffer *buffer, size_t sent)
{
    struct pending_write *pending = take_pending(stream);
    uv_buf_t rest = uv_buf_init((char *)buffer->data + sent, (unsigned)(buffer->bytes - sent));
    int rc;

    if (pending == NULL)
        return SP_E_NOMEM;
    pending->request.data = pending;
    pending->stream = stream;
    pending->buffer = sp_buffer_hold(buffer);
    pending->bytes = buffer->bytes - sent;
    rc = uv_write(&pending->request, (uv_stream_t *)&stream->tcp, &rest, 1, on_written);
    if (rc != 0) {
        sp_buffer_release(buffer);
        pending->next = stream->unused;
        stream->unused = pending;
        return SP_E_IO;
    }
    stream->queued += pending->bytes;
    return SP_OK;
}

static size_t held_bytes(const struct sp_stream *stream)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < stream->held_count; i++)
        bytes += stream->held[i]->bytes;
    return bytes;
}

static void let_go(struct sp_stream *stream)
{
    for (unsigned i = 0; i < stream->held_count; i++)
        sp_buffer_release(stream->held[i]);
    stream->held_count = 0;
}

/* Gives the socket what it takes at once of all frames that are held; *sent are its bytes. */
static int try_held(struct sp_stream *stream, size_t *sent)
{
    uv_buf_t all[SP_STREAM_HELD_MAX + 1];
    int n;

    for (unsigned i = 0; i < stream->held_count; i++)
        all[i] = uv_buf_init((char *)stream->held[i]->data, (unsigned)stream->held[i]->bytes);
    n = uv_try_write((uv_stream_t *)&stream->tcp, all, stream->held_count);
    *sent = n > 0 ? (size_t)n : 0;
    return n >= 0 || n == UV_EAGAIN ? SP_OK : SP_E_CLOSED;
}

static int queue_held(struct sp_stream *stream, size_t sent)
{
    const bool begun = sent > 0;
    int rc = SP_OK;

    for (unsigned i = 0; i < stream->held_count && rc == SP_OK; i++) {
        struct sp_buffer *buffer = stream->held[i];
        size_t of_it = sent < buffer->bytes ? sent : buffer->bytes;

        sent -= of_it;
        if (of_it < buffer->bytes)
            rc = queue_rest(stream, buffer, of_it);
        /* A part is out and its rest is lost: whatever followed would be read as that rest. */
        if (rc != SP_OK && (begun || i > 0))
            stream->failed = true;
    }
    return rc;
}

/* What TLS has for the line: at once what the socket takes of it, the rest from a copy. */
static int send_out(struct sp_stream *stream)
{
    const uint8_t *bytes;
    size_t count = sp_tls_out(stream->tls, &bytes), sent = 0;
    struct sp_buffer *rest;
    int rc;

    if (count == 0)
        return SP_OK;
    if (stream->queued == 0) {
        uv_buf_t all = uv_buf_init((char *)bytes, (unsigned)count);
        int n = uv_try_write((uv_stream_t *)&stream->tcp, &all, 1);

        if (n < 0 && n != UV_EAGAIN)
            return SP_E_CLOSED;
        sent = n > 0 ? (size_t)n : 0;
    }
    if (sent == count) {
        sp_tls_sent(stream->tls);
        return SP_OK;
    }
    rest = sp_buffer_create(count - sent);
    if (rest == NULL)
        return SP_E_NOMEM;
    memcpy(rest->data, bytes + sent, count - sent);
    sp_tls_sent(stream->tls);
    rc = queue_rest(stream, rest, 0);
    sp_buffer_release(rest);
    return rc;
}

static int write_encrypted(struct sp_stream *stream, const struct sp_buffer *buffer)
{
    const uint8_t *bytes;
    int rc = sp_tls_write(stream->tls, buffer->data, buffer->bytes);

    return rc == SP_OK && sp_tls_out(stream->tls, &bytes) >= ENCRYPTED_BATCH_BYTES ? send_out(stream) : rc;
}

/* Once a byte is encrypted the next one must follow: after a failure nothing can. */
static int send_encrypted(struct sp_stream *stream)
{
    int rc = SP_OK;

    if (!stream->shaken)
        return SP_E_CLOSED;
    for (unsigned i = 0; i < stream->held_count && rc == SP_OK; i++)
        rc = write_encrypted(stream, stream->held[i]);
    if (rc == SP_OK)
        rc = send_out(stream);
    if (rc == SP_E_CLOSED)
        stream->mute = true;
    else if (rc != SP_OK)
        stream->failed = true;
    return rc;
}

/* A word at the door is for those that do not speak TLS, and does no harm to others. */
static bool goes_plainly(const struct sp_stream *stream)
{
    return stream->tls == NULL || (!stream->shaken && (stream->received == 0 || stream->alerted) && !stream->connects);
}

/* After a failure of TLS a last word may still go out. */
static bool takes_nothing(const struct sp_stream *stream)
{
    return stream->state != STATE_OPEN || (stream->failed && !stream->alerted) || stream->mute;
}

int sp_stream_flush(struct sp_stream *stream)
{
    size_t sent = 0;
    int rc = SP_OK;

    if (stream->held_count == 0)
        return SP_OK;
    if (takes_nothing(stream))
        rc = SP_E_CLOSED;
    else if (stream->queued > 0 && stream->queued + held_bytes(stream) > stream->queue_max)
        rc = SP_E_BACKLOG;
    else if (!goes_plainly(stream)) {
        rc = send_encrypted(stream);
        let_go(stream);
        return rc;
    } else if (stream->queued == 0)
        rc = try_held(stream, &sent);
    if (rc == SP_OK)
        rc = queue_held(stream, sent);
    /* A frame is lost that was taken before: nothing may follow. */
    if (rc == SP_E_CLOSED)
        stream->mute = stream->mute || stream->held_count > 1;
    else if (rc != SP_OK && stream->held_count > 1)
        stream->failed = true;
    let_go(stream);
    return rc;
}

int sp_stream_hold(struct sp_stream *stream, struct sp_buffer *buffer)
{
    int rc = stream->held_count == SP_STREAM_HELD_MAX ? sp_stream_flush(stream) : SP_OK;

    if (rc != SP_OK || stream->state != STATE_OPEN || stream->failed || stream->mute)
        return rc != SP_OK ? rc : SP_E_CLOSED;
    stream->held[stream->held_count++] = sp_buffer_hold(buffer);
    return SP_OK;
}

int sp_stream_send(struct sp_stream *stream, struct sp_buffer *buffer)
{
    if (takes_nothing(stream))
        return SP_E_CLOSED;
    stream->held[stream->held_count++] = sp_buffer_hold(buffer); /* for which there is always room */
    return sp_stream_flush(stream);
}

void sp_stream_pause(struct sp_stream *stream, bool pause)
{
    if (stream->state != STATE_OPEN || stream->failed || stream->paused == pause)
        return;
    stream->paused = pause;
    if (pause && stream->reading) {
        (void)uv_read_stop((uv_stream_t *)&stream->tcp);
        stream->reading = false;
    } else if (!pause && stream->missing > 0) {
        go_on_reading(stream);
    }
}

void sp_stream_set_queue_max(struct sp_stream *stream, size_t queue_bytes_max)
{
    stream->queue_max = queue_bytes_max;
}

size_t sp_stream_queued(const struct sp_stream *stream)
{
    return stream->queued;
}

size_t sp_stream_unread(const struct sp_stream *stream)
{
    uv_os_fd_t socket;
    int bytes = 0;

    if (uv_fileno((const uv_handle_t *)&stream->tcp, &socket) != 0 || ioctl(socket, FIONREAD, &bytes) != 0 || bytes < 0)
        bytes = 0;
    return (size_t)bytes + (stream->tls != NULL ? sp_tls_unread(stream->tls) : 0);
}

uint64_t sp_stream_bytes_received(const struct sp_stream *stream)
{
    return stream->received;
}

uint64_t sp_stream_group(const struct sp_stream *stream)
{
    return stream->group;
}

const char *sp_stream_peer(const struct sp_stream *stream)
{
    return stream->peer;
}

static void on_linger(uv_timer_t *timer)
{
    sp_stream_close(timer->data);
}

static void on_shut(uv_shutdown_t *request, int status)
{
    struct sp_stream *stream = request->data;

    stream->end_sent = true;
    if (status != 0 || stream->end_received)
        sp_stream_close(stream);
}

static void finish_when_drained(struct sp_stream *stream)
{
    if (stream->shut)
        return;
    stream->shut = true;
    stream->shutdown.data = stream;
    if (uv_shutdown(&stream->shutdown, (uv_stream_t *)&stream->tcp, on_shut) != 0)
        sp_stream_close(stream);
}

/* Closing a socket with unread bytes in it resets the connection, and the last frame (a reason, perhaps) is lost on its
 * way. So what still comes is read and thrown away until the other side ends, for LINGER_MS at most. */
void sp_stream_finish(struct sp_stream *stream)
{
    if (stream->state != STATE_OPEN)
        return;
    if ((!stream->alerted && (sp_stream_flush(stream) != SP_OK || stream->failed)) ||
        !uv_is_readable((uv_stream_t *)&stream->tcp)) {
        sp_stream_close(stream);
        return;
    }
    if (stream->shaken && !stream->alerted) {
        sp_tls_end(stream->tls);
        (void)send_out(stream);
    }
    stream->state = STATE_FINISHING;
    stream->missing = 0;
    (void)uv_timer_start(&stream->linger, on_linger, LINGER_MS, 0);
    if (!stream->reading && uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read) != 0) {
        sp_stream_close(stream);
        return;
    }
    stream->reading = true;
    if (stream->queued == 0)
        finish_when_drained(stream);
}
