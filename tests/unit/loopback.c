#include "loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- events ------------------------------------------------------------------------------------------------------- */

static void take_event(void *owner, enum loopback_event event)
{
    struct loopback *l = owner;

    ck_assert_ptr_nonnull(l->stream);
    ck_assert_msg(!l->ended || event == EVENT_CLOSED, "event %d after the end", event);
    ck_assert_msg(l->count[EVENT_FAILED] == 0 || event == EVENT_CLOSED, "event %d after a failure", event);
    l->count[event]++;
    if (event == EVENT_CLOSED)
        l->stream = NULL;
    if (l->hook != NULL)
        l->hook(l, event);
}

static void on_connected(void *owner)
{
    take_event(owner, EVENT_CONNECTED);
}

static void on_filled(void *owner)
{
    take_event(owner, EVENT_FILLED);
}

static void on_drained(void *owner)
{
    take_event(owner, EVENT_DRAINED);
}

static void on_failed(void *owner, int code, const char *words)
{
    struct loopback *l = owner;

    l->code = code;
    (void)snprintf(l->words, sizeof l->words, "%s", words);
    take_event(owner, EVENT_FAILED);
}

static void on_closed(void *owner)
{
    ck_assert(((struct loopback *)owner)->ended);
    take_event(owner, EVENT_CLOSED);
}

static const struct sp_stream_events events = {on_connected, on_filled, on_drained, on_failed, on_closed};

/* --- opening and closing -------------------------------------------------------------------------------------------
 */

/* Little room in the socket, so that few bytes fill it; and segments that are small against it, or TCP would wait for a
 * window that never becomes large enough. */
static void narrow(int fd)
{
    const int room = 16384, segment = 1400;

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment), 0);
}

static int make_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    narrow(fd);
    return fd;
}

int loopback_bound_socket(struct sockaddr_in *address, bool listening)
{
    socklen_t length = sizeof *address;
    int fd = make_socket();

    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)address, length), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &length), 0);
    if (listening)
        ck_assert_int_eq(listen(fd, 8), 0);
    return fd;
}

void loopback_create(struct loopback *l, size_t queue_bytes_max)
{
    memset(l, 0, sizeof *l);
    l->peer = -1;
    ck_assert_int_eq(uv_loop_init(&l->loop), 0);
    l->stream = sp_stream_create(&l->loop, &events, l, queue_bytes_max);
    ck_assert_ptr_nonnull(l->stream);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct loopback *l = listener->data;
    struct sp_error error = {0};

    ck_assert_int_eq(status, 0);
    ck_assert_msg(sp_stream_accept(l->stream, listener, &error) == SP_OK, "%s", error.text);
    uv_close((uv_handle_t *)listener, NULL);
}

void loopback_open(struct loopback *l, size_t queue_bytes_max)
{
    struct sockaddr_in address;
    uv_tcp_t listener;

    loopback_create(l, queue_bytes_max);
    ck_assert_int_eq(uv_tcp_init(&l->loop, &listener), 0);
    ck_assert_int_eq(uv_tcp_open(&listener, loopback_bound_socket(&address, true)), 0);
    listener.data = l;
    ck_assert_int_eq(uv_listen((uv_stream_t *)&listener, 8, on_connection), 0);
    l->peer = make_socket();
    ck_assert_int_eq(connect(l->peer, (const struct sockaddr *)&address, sizeof address), 0);
    while (uv_run(&l->loop, UV_RUN_ONCE) != 0) /* until nothing is active: the listener is closed */
        ;
}

void loopback_open_connecting(struct loopback *l, size_t queue_bytes_max)
{
    loopback_open_connecting_tls(l, queue_bytes_max, NULL);
}

void loopback_open_connecting_tls(struct loopback *l, size_t queue_bytes_max, struct sp_tls *tls)
{
    struct sockaddr_in address;
    struct sp_error error = {0};
    int listener = loopback_bound_socket(&address, true);

    loopback_create(l, queue_bytes_max);
    if (tls != NULL)
        sp_stream_secure(l->stream, tls);
    ck_assert_msg(sp_stream_connect(l->stream, (const struct sockaddr *)&address, &error) == SP_OK, "%s", error.text);
    l->peer = accept(listener, NULL, NULL);
    ck_assert_int_ge(l->peer, 0);
    narrow(loopback_socket(l));
    (void)close(listener);
}

void loopback_close_stream(struct loopback *l)
{
    l->ended = true;
    sp_stream_close(l->stream);
}

void loopback_finish_stream(struct loopback *l)
{
    l->ended = true;
    sp_stream_finish(l->stream);
}

void loopback_close(struct loopback *l)
{
    if (l->stream != NULL) {
        loopback_close_stream(l);
        loopback_run_until(l, l->stream == NULL);
    }
    ck_assert_uint_eq(l->count[EVENT_CLOSED], 1);
    ck_assert_int_eq(uv_run(&l->loop, UV_RUN_NOWAIT), 0);
    ck_assert_int_eq(uv_loop_close(&l->loop), 0);
    if (l->peer >= 0)
        (void)close(l->peer);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

void loopback_run_once(struct loopback *l, const char *what)
{
    ck_assert_msg(uv_loop_alive(&l->loop), "nothing is left to wait for, but not '%s'", what);
    (void)uv_run(&l->loop, UV_RUN_ONCE);
}

void loopback_run_idle(struct loopback *l)
{
    for (int i = 0; i < 10; i++)
        (void)uv_run(&l->loop, UV_RUN_NOWAIT);
}

/* --- the peer ----------------------------------------------------------------------------------------------------- */

void loopback_peer_send(struct loopback *l, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    while (count > 0) {
        ssize_t n = send(l->peer, at, count, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0) {
            unit_assert(errno == EAGAIN, "the peer cannot send: %s", strerror(errno));
            (void)uv_run(&l->loop, UV_RUN_NOWAIT);
            continue;
        }
        at += n;
        count -= (size_t)n;
    }
}

void loopback_peer_receive(struct loopback *l, void *bytes, size_t count)
{
    uint8_t *at = bytes;

    while (count > 0) {
        ssize_t n = recv(l->peer, at, count, MSG_DONTWAIT);

        unit_assert(n != 0, "the end came %zu bytes too early", count);
        if (n < 0) {
            unit_assert(errno == EAGAIN, "%zu bytes before the end: %s", count, strerror(errno));
            (void)uv_run(&l->loop, UV_RUN_NOWAIT);
            continue;
        }
        at += n;
        count -= (size_t)n;
    }
}

void loopback_peer_expect_end(struct loopback *l)
{
    uint8_t byte;

    for (;;) {
        ssize_t n = recv(l->peer, &byte, 1, MSG_DONTWAIT);

        if (n == 0)
            return;
        unit_assert(n < 0, "a byte where the end should be");
        unit_assert(errno == EAGAIN, "not the end but: %s", strerror(errno));
        (void)uv_run(&l->loop, UV_RUN_NOWAIT);
    }
}

void loopback_peer_half_close(struct loopback *l)
{
    ck_assert_int_eq(shutdown(l->peer, SHUT_WR), 0);
}

void loopback_peer_close(struct loopback *l)
{
    ck_assert_int_eq(close(l->peer), 0);
    l->peer = -1;
}

void loopback_peer_reset(struct loopback *l)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};

    ck_assert_int_eq(setsockopt(l->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    loopback_peer_close(l);
}

/* --- sockets and bytes ---------------------------------------------------------------------------------------------
 */

static void find_handle(uv_handle_t *handle, void *arg)
{
    if (handle->type == UV_TCP)
        *(uv_handle_t **)arg = handle;
}

uv_handle_t *loopback_handle(struct loopback *l)
{
    uv_handle_t *handle = NULL;

    uv_walk(&l->loop, find_handle, &handle);
    ck_assert_ptr_nonnull(handle);
    return handle;
}

int loopback_socket(struct loopback *l)
{
    uv_os_fd_t fd;

    ck_assert_int_eq(uv_fileno(loopback_handle(l), &fd), 0);
    return fd;
}

size_t loopback_unread(struct loopback *l, size_t least)
{
    struct pollfd wait = {.fd = loopback_socket(l), .events = POLLIN};
    int unread;

    do {
        if (least > 0)
            ck_assert_int_eq(poll(&wait, 1, -1), 1);
        ck_assert_int_eq(ioctl(wait.fd, FIONREAD, &unread), 0);
    } while ((size_t)unread < least);
    return (size_t)unread;
}

uint8_t loopback_byte(size_t i)
{
    return (uint8_t)(sp_mix64(i) >> 20);
}

struct sp_buffer *loopback_buffer(size_t bytes, size_t from)
{
    struct sp_buffer *buffer = sp_buffer_create(bytes);

    ck_assert_ptr_nonnull(buffer);
    for (size_t i = 0; i < bytes; i++)
        buffer->data[i] = loopback_byte(from + i);
    return buffer;
}
