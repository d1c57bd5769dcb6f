/* The job's state as JSON, for `signpost status`, and its result, for summary.json. */
#pragma once

#include <jansson.h>

struct sp_server;

json_t *sp_status_json(struct sp_server *server);
json_t *sp_summary_json(struct sp_server *server);
