/* Requests: who may read, and what each path gives. */
#include "server/dashboard/page.h"
#include "server/http_state.h"
#include "server/metrics.h"
#include "server/status.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"
#define NDJSON "application/x-ndjson"
#define FRESH_MS 250 /* what all share is made anew after so long: with 255 workers it takes milliseconds */

/* --- answers ---------------------------------------------------------------------------------------------------------
 */

static enum MHD_Result set_headers(struct MHD_Response *response, unsigned code, const char *type)
{
    static const char *const headers[][2] = {
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
    };

    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    if (code == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    return MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
}

/* Takes over `response`. NULL: there was no memory for it, and the connection ends. */
static enum MHD_Result queue(struct MHD_Connection *connection, unsigned code, const char *type,
                             struct MHD_Response *response)
{
    enum MHD_Result rc = MHD_NO;

    if (response == NULL)
        return MHD_NO;
    if (set_headers(response, code, type) == MHD_YES)
        rc = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return rc;
}

static void forget(struct sp_http_shared *shared)
{
    if (shared->response != NULL)
        MHD_destroy_response(shared->response);
    shared->response = NULL;
}

void sp_http_forget_shared(struct sp_http *http)
{
    forget(&http->status);
    forget(&http->metrics);
}

/* Or as fresh as can be had: only one is made in a turn. */
static bool is_fresh(const struct sp_http *http, const struct sp_http_shared *shared)
{
    return shared->response != NULL && shared->over == http->server->over &&
           (http->has_made || sp_server_now_ms() - shared->made_ms < FRESH_MS);
}

/* `text` is taken over; NULL: out of memory, and nothing is shared. */
static void renew(struct sp_http *http, struct sp_http_shared *shared, const char *type, char *text)
{
    forget(shared);
    http->has_made = true;
    shared->over = http->server->over;
    shared->made_ms = sp_server_now_ms();
    if (text == NULL)
        return;
    shared->response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (shared->response == NULL)
        free(text);
    else if (set_headers(shared->response, MHD_HTTP_OK, type) != MHD_YES)
        forget(shared);
}

static enum MHD_Result queue_shared(struct MHD_Connection *connection, struct sp_http_shared *shared)
{
    return shared->response != NULL ? MHD_queue_response(connection, MHD_HTTP_OK, shared->response) : MHD_NO;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned code, const char *words)
{
    return queue(connection, code, TEXT,
                 MHD_create_response_from_buffer(strlen(words), (void *)words, MHD_RESPMEM_MUST_COPY));
}

/* --- paths -----------------------------------------------------------------------------------------------------------
 */

static enum MHD_Result give_page(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    (void)http;
    (void)from;
    return queue(
        connection, MHD_HTTP_OK, "text/html; charset=utf-8",
        MHD_create_response_from_buffer(sp_dashboard_page_bytes, (void *)sp_dashboard_page, MHD_RESPMEM_PERSISTENT));
}

static char *status_text(struct sp_server *server)
{
    json_t *status = sp_status_json(server);
    char *text = status != NULL ? sp_json_text(status, JSON_COMPACT | JSON_REAL_PRECISION(9), 0) : NULL;

    json_decref(status);
    return text;
}

static enum MHD_Result give_status(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    (void)from;
    if (!is_fresh(http, &http->status))
        renew(http, &http->status, "application/json", status_text(http->server));
    http->looked_ms = sp_server_now_ms();
    http->saw_end = http->server->over;
    return queue_shared(connection, &http->status);
}

static enum MHD_Result give_series(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    return queue(connection, MHD_HTTP_OK, NDJSON, sp_http_series(http->server, from));
}

static enum MHD_Result give_history(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    return queue(connection, MHD_HTTP_OK, NDJSON, sp_http_history(http->server, from));
}

static enum MHD_Result give_metrics(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    (void)from;
    if (!is_fresh(http, &http->metrics))
        renew(http, &http->metrics, "text/plain; version=0.0.4; charset=utf-8", sp_metrics_text(http->server));
    return queue_shared(connection, &http->metrics);
}

static enum MHD_Result give_health(struct sp_http *http, struct MHD_Connection *connection, uint32_t from)
{
    (void)from;
    return refuse(connection, MHD_HTTP_OK, http->server->over ? "over\n" : "ok\n");
}

static const struct {
    const char *path;
    enum MHD_Result (*give)(struct sp_http *http, struct MHD_Connection *connection, uint32_t from);
    bool open;  /* to who has no token: it says nothing of the job */
    bool takes; /* ?from=ROUND */
} paths[] = {
    {"/", give_page, true, false},
    {"/status", give_status, false, false},
    {"/series", give_series, false, true},
    {"/history", give_history, false, true},
    {"/metrics", give_metrics, false, false},
    {"/healthz", give_health, true, false},
};

#define PATHS (sizeof paths / sizeof paths[0])

/* --- who may read ----------------------------------------------------------------------------------------------------
 */

static bool shows_token(const struct sp_http *http, struct MHD_Connection *connection)
{
    static const char scheme[] = "Bearer ";
    const char *shown = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    struct sp_secret token = {0};
    bool right;

    if (shown == NULL || strncasecmp(shown, scheme, sizeof scheme - 1) != 0)
        return false;
    shown += sizeof scheme - 1;
    if (sp_secret_parse(&token, (const uint8_t *)shown, strlen(shown), "", NULL) != SP_OK)
        return false;
    right = token.bytes == http->token.bytes && CRYPTO_memcmp(token.data, http->token.data, token.bytes) == 0;
    sp_secret_forget(&token);
    return right;
}

/* A page of another site that has its name resolve to 127.0.0.1 would be let read by the browser: the name gives it
 * away. */
static bool names_this_machine(const struct sp_http *http, struct MHD_Connection *connection)
{
    const char *shown = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", http->host};
    size_t length;

    if (shown == NULL)
        return true; /* no browser */
    length = shown[0] == '[' ? strcspn(shown, "]") + 1 : strcspn(shown, ":");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == length && strncasecmp(shown, names[i], length) == 0)
            return true;
    return false;
}

/* --- requests --------------------------------------------------------------------------------------------------------
 */

/* False if it is no round. */
static bool read_from(struct MHD_Connection *connection, uint32_t *from)
{
    const char *text = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "from");
    char *end;
    unsigned long long value;

    *from = 0;
    if (text == NULL)
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    value = strtoull(text, &end, 10);
    *from = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
    return *end == '\0';
}

static enum MHD_Result answer(struct sp_http *http, struct MHD_Connection *connection, const char *url)
{
    uint32_t from = 0;
    size_t i = 0;

    while (i < PATHS && strcmp(url, paths[i].path) != 0)
        i++;
    if (i == PATHS)
        return refuse(connection, MHD_HTTP_NOT_FOUND,
                      "no such page; there are / (the dashboard), /status, /series, /history, /metrics and /healthz\n");
    if (http->token.bytes > 0 && !paths[i].open && !shows_token(http, connection))
        return refuse(connection, MHD_HTTP_UNAUTHORIZED,
                      "this wants the token of security.http_token_file: 'Authorization: Bearer TOKEN'\n");
    if (http->token.bytes == 0 && !names_this_machine(http, connection))
        return refuse(connection, MHD_HTTP_FORBIDDEN,
                      "the name by which this was asked for is not this machine's; use 127.0.0.1 or localhost, or "
                      "set security.http_token_file\n");
    if (paths[i].takes && !read_from(connection, &from))
        return refuse(connection, MHD_HTTP_BAD_REQUEST, "'from' must be the number of a round, such as ?from=100\n");
    return paths[i].give(http, connection, from);
}

enum MHD_Result sp_http_answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_bytes, void **request)
{
    static char begun;
    struct sp_http *http = arg;

    (void)version;
    (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET: nothing can be changed here\n");
    if (*request == NULL) { /* only the head is there */
        *request = &begun;
        return MHD_YES;
    }
    if (*upload_bytes > 0) { /* a body means nothing here */
        *upload_bytes = 0;
        return MHD_YES;
    }
    http->requests++;
    return answer(http, connection, url);
}
