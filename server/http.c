#include "server/http.h"

#include "common/address.h"
#include "common/log.h"
#include "server/http_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORT_USUAL "7701"
#define CONNECTION_SECONDS_MAX                                                                                         \
    10                             /* of silence; also until it is noticed that one was left in the midst of a request \
                                    */
#define CONNECTION_BYTES_MAX 16384 /* of a request's head, and of the piece of an answer that is being sent */
#define BACKLOG 64
#define SHARE 50u           /* of the loop's time, one part in so many may go into HTTP */
#define REST_NS_MIN 500000u /* below this it is not worth a pause */
#define REST_NS_MAX 2000000000u
#define LINGER_MS 3000

/* --- the loop --------------------------------------------------------------------------------------------------------
 */

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

/* Of the processor, for this thread: what others take of it meanwhile is not HTTP's. */
static uint64_t processor_ns(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What it takes now it does not get until the loop has had so much time for the rest. By the processor's time: a turn
 * that others interrupted for half a second on a busy machine would cost HTTP half a minute. */
static void charge(struct sp_http *http, uint64_t used)
{
    uint64_t now = uv_hrtime();
    uint64_t until = (http->rests_until_ns > now ? http->rests_until_ns : now) + used * SHARE;

    http->rests_until_ns = until < now + REST_NS_MAX ? until : now + REST_NS_MAX;
}

static bool is_resting(const struct sp_http *http)
{
    return http->rests_until_ns > uv_hrtime() + REST_NS_MIN;
}

/* When there is something to do without anything having come: an answer goes on, a connection has timed out. */
static void plan(struct sp_http *http)
{
    MHD_UNSIGNED_LONG_LONG due = 0;

    if (is_resting(http)) {
        (void)uv_poll_stop(&http->poll);
        (void)uv_timer_start(&http->timer, on_timer, (http->rests_until_ns - uv_hrtime()) / 1000000u + 1, 0);
        return;
    }
    (void)uv_poll_start(&http->poll, UV_READABLE, on_poll);
    if (MHD_get_timeout(http->daemon, &due) == MHD_YES)
        (void)uv_timer_start(&http->timer, on_timer, due, 0);
    else
        (void)uv_timer_stop(&http->timer);
}

static void turn(struct sp_http *http)
{
    uint64_t used = processor_ns();

    http->has_made = false;
    (void)MHD_run(http->daemon);
    used = processor_ns() - used;
    http->spent_ns += used;
    http->longest_ns = used > http->longest_ns ? used : http->longest_ns;
    charge(http, used);
    plan(http);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

/* The loop's clock stands still within a turn of it, so after a long one the timer comes early. */
static void on_timer(uv_timer_t *timer)
{
    if (is_resting(timer->data))
        plan(timer->data);
    else
        turn(timer->data);
}

/* --- opening ---------------------------------------------------------------------------------------------------------
 */

/* A socket that listens there, or -1 with errno. */
static int listen_at(const struct sockaddr *address)
{
    socklen_t bytes = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, why;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address, bytes) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    why = errno;
    (void)close(fd);
    errno = why;
    return -1;
}

static int check_address(struct sp_http *http, const struct sockaddr *address, const char *text, struct sp_error *error)
{
    http->loopback = sp_address_is_loopback(address);
    if (http->loopback || http->token.bytes > 0)
        return SP_OK;
    return sp_error_set(error, SP_E_MISSING,
                        "server.http: %s can be reached from other machines, and without a token whoever reaches it "
                        "could read how the job goes: make one with 'signpost token FILE' and set "
                        "security.http_token_file; or use 127.0.0.1",
                        text);
}

static int open_listener(struct sp_http *http, const char *text, bool any_port, struct sp_error *error)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_address address;
    size_t count = 0;
    int rc = sp_address_parse(text, &address, error);

    if (rc == SP_OK)
        rc = sp_address_resolve(&address, true, found, &count, error);
    if (rc != SP_OK)
        return sp_error_prefix(error, "server.http");
    rc = check_address(http, (const struct sockaddr *)&found[0], text, error);
    if (rc != SP_OK)
        return rc;
    (void)snprintf(http->host, sizeof http->host, "%s", address.host);
    http->fd = listen_at((const struct sockaddr *)&found[0]);
    if (http->fd < 0 && errno == EADDRINUSE && any_port) {
        ((struct sockaddr_in *)&found[0])->sin_port = 0;
        http->fd = listen_at((const struct sockaddr *)&found[0]);
    }
    if (http->fd >= 0)
        return SP_OK;
    if (errno == EADDRINUSE)
        return sp_error_set(error, SP_E_IO,
                            "cannot listen on server.http %s: the port is taken; end the program that uses it, choose "
                            "another, or take 'auto'",
                            text);
    return sp_error_set(error, SP_E_IO, "cannot listen on server.http %s: %s", text, strerror(errno));
}

static void set_url(struct sp_http *http)
{
    struct sockaddr_storage own;
    socklen_t bytes = sizeof own;
    char text[SP_ADDRESS_TEXT_BYTES];
    bool six = strchr(http->host, ':') != NULL;

    if (getsockname(http->fd, (struct sockaddr *)&own, &bytes) != 0)
        return;
    sp_address_text((const struct sockaddr *)&own, text);
    (void)snprintf(http->url, sizeof http->url, "http://%s%s%s:%s/", six ? "[" : "", http->host, six ? "]" : "",
                   strrchr(text, ':') + 1);
}

static void log_words(void *arg, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void log_words(void *arg, const char *format, va_list args)
{
    char words[256];

    (void)arg;
    (void)vsnprintf(words, sizeof words, format, args);
    words[strcspn(words, "\n")] = '\0';
    sp_log_debug("http", "%s", words);
}

static int start_daemon(struct sp_http *http, struct sp_error *error)
{
    const union MHD_DaemonInfo *info;
    int rc = -1;

    http->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, sp_http_answer, http,
                                    MHD_OPTION_EXTERNAL_LOGGER, log_words, NULL, MHD_OPTION_LISTEN_SOCKET, http->fd,
                                    MHD_OPTION_CONNECTION_LIMIT, (unsigned)SP_HTTP_CONNECTIONS_MAX,
                                    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_SECONDS_MAX,
                                    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES_MAX, MHD_OPTION_END);
    if (http->daemon == NULL)
        return sp_error_set(error, SP_E_NOMEM, "cannot serve HTTP: no memory, or too many open files");
    http->fd = -1;
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info != NULL)
        rc = uv_poll_init(&http->server->loop, &http->poll, info->epoll_fd);
    if (rc != 0) {
        MHD_stop_daemon(http->daemon);
        http->daemon = NULL;
        return sp_error_set(error, SP_E_IO, "cannot serve HTTP on the loop: %s", uv_strerror(rc));
    }
    (void)uv_timer_init(&http->server->loop, &http->timer);
    http->poll.data = http->timer.data = http;
    uv_unref((uv_handle_t *)&http->poll);
    uv_unref((uv_handle_t *)&http->timer);
    plan(http);
    return SP_OK;
}

static int load_token(struct sp_http *http, struct sp_error *error)
{
    const struct sp_job *job = &http->server->job;
    char path[2 * SP_STRING_BYTES];

    if (job->security.http_token_file[0] == '\0')
        return SP_OK;
    sp_job_path(job, job->security.http_token_file, path, sizeof path);
    return sp_secret_load(&http->token, path, error) == SP_OK ? SP_OK
                                                              : sp_error_prefix(error, "security.http_token_file");
}

static void discard(struct sp_http *http)
{
    if (http->fd >= 0)
        (void)close(http->fd);
    sp_secret_forget(&http->token);
    free(http);
}

bool sp_http_is_wanted(const struct sp_job *job)
{
    return job->server.http[0] != '\0' && strcmp(job->server.http, SP_HTTP_OFF) != 0;
}

int sp_http_open(struct sp_server *server, struct sp_error *error)
{
    const char *where = server->job.server.http;
    bool any = strcmp(where, SP_HTTP_AUTO) == 0;
    struct sp_http *http;
    int rc;

    if (!sp_http_is_wanted(&server->job))
        return SP_OK;
    http = calloc(1, sizeof *http);
    if (http == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory to serve HTTP");
    http->server = server;
    http->fd = -1;
    rc = load_token(http, error);
    if (rc == SP_OK) {
        rc = open_listener(http, any ? "127.0.0.1:" PORT_USUAL : where, any, error);
        if (rc == SP_OK) {
            set_url(http);
            rc = start_daemon(http, error);
        }
        if (rc != SP_OK && any) {
            sp_log_warn("http", "no dashboard: %s", error->text);
            discard(http);
            return SP_OK;
        }
    }
    if (rc != SP_OK) {
        discard(http);
        return rc;
    }
    server->http = http;
    return SP_OK;
}

const char *sp_http_url(const struct sp_server *server)
{
    return server->http != NULL ? server->http->url : NULL;
}

json_t *sp_http_load_json(const struct sp_server *server)
{
    const struct sp_http *http = server->http;

    if (http == NULL)
        return json_null();
    return json_pack("{s:I, s:f, s:f}", "requests", (json_int_t)http->requests, "seconds", (double)http->spent_ns / 1e9,
                     "longest_ms", (double)http->longest_ns / 1e6);
}

bool sp_http_lingers(const struct sp_server *server)
{
    const struct sp_http *http = server->http;
    uint64_t now = sp_server_now_ms();

    return http != NULL && http->looked_ms > 0 && !http->saw_end && server->over_ms - http->looked_ms < LINGER_MS &&
           now - server->over_ms < LINGER_MS;
}

static void on_closed(uv_handle_t *handle)
{
    struct sp_http *http = handle->data;

    if (--http->handles == 0)
        discard(http);
}

void sp_http_close(struct sp_server *server)
{
    struct sp_http *http = server->http;

    if (http == NULL)
        return;
    server->http = NULL;
    http->handles = 2;
    uv_close((uv_handle_t *)&http->poll, on_closed);
    uv_close((uv_handle_t *)&http->timer, on_closed);
    MHD_stop_daemon(http->daemon);
    sp_http_forget_shared(http);
}
