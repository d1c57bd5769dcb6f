/* Inside libsignpost's client: shared by client.c (what the caller sees), link.c (the connection) and inbox.c (frames
 * from the server). Nobody else includes this. */
#pragma once

#include "common/address.h"
#include "common/stream.h"
#include "proto/reader.h"
#include "proto/reason.h"
#include "worker/client/backoff.h"
#include "worker/client/learner.h"
#include "worker/client/signpost.h"

#include <uv.h>

#define EVALS_MAX SP_SLOTS_MAX

enum link { LINK_NONE, LINK_CONNECTING, LINK_UP };

/* What the server and we have agreed on over the present connection. */
enum stage { STAGE_HELLO, STAGE_SPARE, STAGE_WEIGHTS, STAGE_READY };

struct signpost {
    uv_loop_t loop;
    uv_timer_t timer; /* the next thing that is due by the clock */
    struct sp_learner learner;
    struct sp_reader reader;
    struct sp_stream *stream;
    enum link link;
    enum stage stage;
    unsigned closing; /* streams that were closed but are not gone */

    char job[64], program[64], server[300];
    struct sp_address address;
    uint64_t examples, test_examples, data_digest;
    uint64_t layout_digest;
    int wanted_slot;
    double give_up_s;
    void (*log)(void *, enum signpost_log_level, const char *);
    void *log_arg;

    struct sp_backoff backoff;
    uint64_t lost_ms;     /* since when there is no connection */
    uint64_t retry_ms;    /* when to try again */
    uint64_t reported_ms; /* when the caller's log last heard of it */
    uint64_t spoke_ms, heard_ms;
    uint64_t heard_bytes;
    uint32_t alive_ms, silence_ms;

    struct sp_welcome welcome; /* owned: the plan */
    bool has_ticket;
    bool joined_due, init_due, gradient_due; /* events that the caller has not seen */
    bool gradient_open;                      /* the caller owes the gradient of learner.round + 1 */
    struct {
        uint32_t round;
        struct sp_eval eval;
    } evals[EVALS_MAX];
    unsigned evals_count;
    uint8_t chunk[SP_BULK_BYTES_MAX];

    int code; /* how it ended; 0 while it has not */
    bool done, stopped;
    char words[SP_ERROR_TEXT_BYTES];
    struct signpost_counts counts;
};

/* --- client.c --- */
uint64_t sp_client_now_ms(void);
/* A line for the caller's log. */
void sp_client_say(signpost *s, enum signpost_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* It is over: signpost_wait() returns this code from now on. Returns it as well. */
int sp_client_end(signpost *s, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* --- link.c --- */
void sp_link_drop(signpost *s);
/* The connection is of no use any more: close it and try again later. Momentum stays; staged chunks do not count. */
void sp_link_lose(signpost *s, const char *words);
void sp_link_send(signpost *s, const struct sp_message *message, const void *bulk, size_t bulk_bytes);
/* Says goodbye if there is a connection. */
void sp_link_finish(signpost *s);
/* Whatever is due by the clock: an attempt to connect, a sign of life, the end of patience. */
void sp_link_tick(signpost *s);

/* --- inbox.c --- */
extern const struct sp_reader_events sp_inbox_events;
void sp_inbox_send_ready(signpost *s);
