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
 * The rounds come first: HTTP gets a fiftieth of the loop's time on average, however many clients ask. A turn serves
 * all connections that are ready, so each gets a small piece of its answer in it, and what is dear to make, /status and
 * /metrics, is made once for all who ask within 250 ms, and only one of the two in a turn.
 *
 * Who may read: on loopback everybody on this machine, unless security.http_token_file is set; elsewhere only who shows
 * that token. A page of another site cannot: on loopback the name in the request must be one of this machine.
 */
#pragma once

#include "common/job.h"

#include <jansson.h>
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

/* What it has cost since this server's start: requests, seconds of the loop, and longest_ms, the longest that it held
 * up the loop at once. Null if it is not served. */
json_t *sp_http_load_json(const struct sp_server *server);

/* After the end: whether somebody who was looking is still to be shown it. */
bool sp_http_lingers(const struct sp_server *server);

void sp_http_close(struct sp_server *server);
