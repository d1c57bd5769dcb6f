/* Inside the HTTP side of the daemon: http.c (the loop), http_answer.c (requests), http_stream.c (long answers). */
#pragma once

#include "server/http.h"
#include "server/server_state.h"

#include <microhttpd.h>

/* An answer that is the same for all who ask within a while. */
struct sp_http_shared {
    struct MHD_Response *response; /* owned; NULL: not asked for yet */
    uint64_t made_ms;
    bool over; /* the job was, when it was made */
};

struct sp_http {
    struct sp_server *server;
    struct MHD_Daemon *daemon; /* owned */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;       /* that are being closed */
    int fd;                 /* of the listener, which the daemon takes over */
    bool loopback;          /* reached from this machine only */
    struct sp_secret token; /* no bytes: none is asked for */
    char host[256];         /* as the job file has it */
    char url[300];
    uint64_t rests_until_ns;                 /* it has had its share of the loop's time until then */
    uint64_t requests, spent_ns, longest_ns; /* answered; time of the loop, in all and at once */
    struct sp_http_shared status, metrics;
    bool has_made;      /* one of them, in this turn */
    uint64_t looked_ms; /* when somebody asked for the status last; 0: nobody has */
    bool saw_end;       /* and was told that the job is over */
};

/* --- http_answer.c: a callback of libmicrohttpd; its first argument is the sp_http. */
enum MHD_Result sp_http_answer(void *http, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_bytes, void **request);

void sp_http_forget_shared(struct sp_http *http);

/* --- http_stream.c: answers that are made while they are sent; NULL if out of memory. */
struct MHD_Response *sp_http_series(struct sp_server *server, uint32_t after);
struct MHD_Response *sp_http_history(struct sp_server *server, uint32_t from);
