/* The operator's socket, FOLDER/signpostd.sock: a line in, a line of JSON out, end. Whoever may write to the folder's
 * socket may operate the job; it is made with mode 0600.
 *
 * Failure: a line that is too long, unknown, or does not come within OPERATOR_MS_MAX ends that connection with an
 * answer that says so.
 */
#include "common/log.h"
#include "server/server_state.h"
#include "server/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES_MAX 256
#define OPERATOR_MS_MAX 5000

struct operator
{
    struct sp_server *server;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_write_t write;
    char line[LINE_BYTES_MAX];
    size_t used;
    char *answer; /* owned */
    unsigned handles;
    bool closing, stops;
};

static void on_closed(uv_handle_t *handle)
{
    struct operator* op = handle->data;

    if (--op->handles > 0)
        return;
    op->server->operators_count--;
    free(op->answer);
    free(op);
}

static void end(struct operator* op)
{
    if (op->closing)
        return;
    op->closing = true;
    uv_close((uv_handle_t *)&op->pipe, on_closed);
    uv_close((uv_handle_t *)&op->timer, on_closed);
}

static void on_written(uv_write_t *request, int status)
{
    struct operator* op = request->data;
    struct sp_server *server = op->server;
    bool stops = op->stops;

    (void)status;
    end(op);
    if (stops)
        sp_operator_stop(server);
}

static void answer(struct operator* op, char *text)
{
    static char no_memory[] = "{\"error\":\"the server has no memory for the answer; ask again\"}";
    uv_buf_t buf;

    (void)uv_read_stop((uv_stream_t *)&op->pipe);
    op->answer = text;
    op->write.data = op;
    if (text == NULL)
        text = no_memory;
    buf = uv_buf_init(text, (unsigned)strlen(text));
    if (uv_write(&op->write, (uv_stream_t *)&op->pipe, &buf, 1, on_written) != 0)
        end(op);
}

static char *text_of(json_t *object)
{
    char *text = sp_json_text(object, JSON_COMPACT | JSON_REAL_PRECISION(9), 0);

    json_decref(object);
    return text;
}

static char *obey_switch(struct sp_server *server)
{
    struct sp_error error = {0};
    int rc = sp_round_switch(server->round, sp_server_now_ms(), &error);
    char *text;

    if (rc == SP_OK)
        sp_log_info("server", "an operator asked for the next phase");
    text = rc == SP_OK ? text_of(json_pack("{s:b}", "ok", 1)) : text_of(json_pack("{s:s}", "error", error.text));
    sp_server_drain(server);
    return text;
}

/* The answer comes before the file is there: status says when it is. */
static char *obey_checkpoint(struct sp_server *server)
{
    struct sp_error error = {0};

    if (sp_keep_checkpoint(server, &error) != SP_OK)
        return text_of(json_pack("{s:s}", "error", error.text));
    sp_log_info("server", "an operator asked for a checkpoint");
    return text_of(json_pack("{s:b, s:I}", "ok", 1, "round", (json_int_t)sp_round_committed(server->round)));
}

/* "series", or "series ROUND" for what comes after one. */
static char *obey_series(struct sp_server *server, const char *round)
{
    unsigned long long after = strtoull(round, NULL, 10);
    json_t *answer = json_object();

    sp_json_put(&answer, "points",
                sp_series_json(&server->progress.series, after < UINT32_MAX ? (uint32_t)after : UINT32_MAX));
    return text_of(answer);
}

char *sp_operator_obey(struct sp_server *server, const char *command, bool *stops)
{
    *stops = strcmp(command, "stop") == 0;
    if (*stops)
        return text_of(json_pack("{s:b}", "ok", 1));
    if (strcmp(command, "status") == 0)
        return text_of(sp_status_json(server));
    if (strncmp(command, "series", 6) == 0 && (command[6] == '\0' || command[6] == ' '))
        return obey_series(server, command + 6);
    if (strcmp(command, "switch") == 0)
        return obey_switch(server);
    if (strcmp(command, "checkpoint") == 0)
        return obey_checkpoint(server);
    return text_of(json_pack("{s:s}", "error", "unknown command; known are: checkpoint, series, status, stop, switch"));
}

void sp_operator_stop(struct sp_server *server)
{
    sp_log_info("server", "stopped by an operator");
    sp_round_stop(server->round, "stopped by an operator", sp_server_now_ms());
    sp_server_drain(server);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct operator* op = handle->data;

    (void)suggested;
    *buf = uv_buf_init(op->line + op->used, (unsigned)(sizeof op->line - op->used));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct operator* op = stream->data;
    char *newline;

    (void)buf;
    if (n < 0) {
        end(op);
        return;
    }
    op->used += (size_t)n;
    newline = memchr(op->line, '\n', op->used);
    if (newline != NULL) {
        *newline = '\0';
        answer(op, sp_operator_obey(op->server, op->line, &op->stops));
    } else if (op->used == sizeof op->line) {
        answer(op, text_of(json_pack("{s:s}", "error", "the line is too long")));
    }
}

static void on_timer(uv_timer_t *timer)
{
    end(timer->data);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct sp_server *server = listener->data;
    struct operator* op = status == 0 ? calloc(1, sizeof *op) : NULL;

    /* libuv accepts nothing more until this connection is taken: sp_operators_beat() tries again. */
    server->operator_knocks = status == 0 && op == NULL;
    if (server->operator_knocks)
        sp_log_warn("server", "no memory for an operator's connection; it waits");
    if (op == NULL)
        return;
    op->server = server;
    op->handles = 2;
    server->operators_count++;
    (void)uv_pipe_init(&server->loop, &op->pipe, 0);
    (void)uv_timer_init(&server->loop, &op->timer);
    op->pipe.data = op->timer.data = op;
    if (uv_accept(listener, (uv_stream_t *)&op->pipe) != 0 || server->operators_count > SP_OPERATORS_MAX ||
        uv_read_start((uv_stream_t *)&op->pipe, on_alloc, on_read) != 0) {
        end(op);
        return;
    }
    (void)uv_timer_start(&op->timer, on_timer, OPERATOR_MS_MAX, 0);
}

void sp_operators_beat(struct sp_server *server)
{
    if (server->operators_open && server->operator_knocks)
        on_connection((uv_stream_t *)&server->operators, 0);
}

int sp_operators_open(struct sp_server *server, struct sp_error *error)
{
    char path[PATH_BYTES + 32];
    int rc;

    (void)snprintf(path, sizeof path, "%s/signpostd.sock", server->out);
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return sp_error_set(error, SP_E_RANGE,
                            "%s is longer than the %zu bytes that a socket's path may have; choose a shorter --out",
                            path, sizeof((struct sockaddr_un *)0)->sun_path - 1);
    (void)unlink(path); /* the folder is locked: nobody else serves it */
    (void)uv_pipe_init(&server->loop, &server->operators, 0);
    server->operators.data = server;
    server->operators_open = true;
    rc = uv_pipe_bind(&server->operators, path);
    if (rc == 0 && chmod(path, 0600) != 0)
        rc = uv_translate_sys_error(errno);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->operators, 16, on_connection);
    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot listen on the operator's socket %s: %s", path, uv_strerror(rc));
    return SP_OK;
}

void sp_operators_close(struct sp_server *server)
{
    char path[PATH_BYTES + 32];

    if (!server->operators_open)
        return;
    server->operators_open = false;
    (void)snprintf(path, sizeof path, "%s/signpostd.sock", server->out);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/address", server->out);
    (void)unlink(path);
    uv_close((uv_handle_t *)&server->operators, NULL);
}
