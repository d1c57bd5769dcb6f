/* What people and monitoring read over HTTP, served on the daemon's loop (libmicrohttpd): GET only, nothing can be
 * changed by it.
 *
 *     /            the dashboard, one page (dashboard/)
 *     /status      the job now, JSON, as `signpost status --json`
 *     /series      its curve, NDJSON, the points after a round: ?from=ROUND
 *     /history     the lines of history.jsonl from a round on: ?from=ROUND
 *     /metrics     for Prometheus (metrics.c)
 *     /healthz     200 while the loop turns
 *
 * The rounds come first: HTTP gets a twentieth of the loop's time on average, however many clients ask, and answers
 * leave in small pieces. But one turn serves all connections that are ready: with 32 greedy clients it takes tens of
 * milliseconds, with many workers some 200.
 *
 * Who may read: on loopback everybody on this machine, unless security.http_token_file is set; elsewhere only who shows
 * that token. A page of another site cannot: on loopback the name in the request must be one of this machine.
 */
#pragma once

#include "common/job.h"

#include <stdbool.h>

#define SP_HTTP_CONNECTIONS_MAX 32

struct sp_http;
struct sp_server;

/* False: server.http is "off". */
bool sp_http_is_wanted(const struct sp_job *job);

/* Listens as server.http says. "off": does nothing. With "auto" a failure is logged, and the job goes on without. */
int sp_http_open(struct sp_server *server, struct sp_error *error);

/* Where the page is, "http://127.0.0.1:7701/"; NULL if it is not served. */
const char *sp_http_url(const struct sp_server *server);

/* After the end: whether somebody who was looking is still to be shown it. */
bool sp_http_lingers(const struct sp_server *server);

void sp_http_close(struct sp_server *server);
