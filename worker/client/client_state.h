/* Inside libsignpost's client: shared by open.c, client.c, blocking.c (what the caller sees), link.c (the connection),
 * handshake.c and inbox.c (frames from the server), momentum.c (what outlives the process). Nobody else includes this.
 */
#pragma once

#include "common/address.h"
#include "common/secret.h"
#include "common/stream.h"
#include "common/tls.h"
#include "proto/reader.h"
#include "proto/reason.h"
#include "worker/client/backoff.h"
#include "worker/client/keep.h"
#include "worker/client/learner.h"
#include "worker/client/signpost.h"

#include <signal.h>
#include <uv.h>

#define EVALS_MAX SP_SLOTS_MAX

enum link { LINK_NONE, LINK_CONNECTING, LINK_UP };

/* What the server and we have agreed on over the present connection. */
enum stage {
    STAGE_CHALLENGE, /* HELLO was sent, and the server has to prove that it holds the secret */
    STAGE_HELLO,     /* LAYOUT was sent */
    STAGE_SPARE,
    STAGE_WEIGHTS,
    STAGE_READY,
};

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
    struct sp_secret secret;
    struct sp_tls_paths tls_paths;
    struct sp_tls_files *tls; /* owned; NULL: no TLS */
    char tls_name[256];
    bool tls_used;         /* a connection was made with these files */
    struct sp_hello hello; /* of the present connection */
    struct sp_address address;
    uint64_t examples, test_examples, data_digest;
    uint64_t layout_digest;
    int wanted_slot;
    double give_up_s;
    void (*log)(void *, int, const char *);
    void *log_arg;

    struct sp_backoff backoff;
    uint64_t lost_ms;     /* since when there is no connection */
    uint64_t retry_ms;    /* when to try again */
    uint64_t reported_ms; /* when the caller's log last heard of it */
    uint64_t spoke_ms, heard_ms;
    uint64_t heard_bytes;
    uint32_t alive_ms, silence_ms;

    struct sp_welcome welcome; /* owned: the plan */
    bool has_ticket, has_slot;
    bool joined_due, init_due, gradient_due; /* events that the caller has not seen */
    bool init_open, init_void; /* the caller owes the initial weights; it did, and the connection was lost */
    bool gradient_open;        /* the caller owes the gradient of learner.round + 1 */
    bool gradient_void;        /* it owed one, and the round was lost: what it still gives of it is not used */
    struct {
        uint32_t round;
        struct sp_eval eval;
    } evals[EVALS_MAX];
    unsigned evals_count;
    uint8_t chunk[SP_BULK_BYTES_MAX]; /* where bulk goes that nobody wants */
    struct sp_buffers frames;         /* of pushes */

    struct {
        char folder[SP_KEEP_FOLDER_BYTES]; /* "": it is not saved */
        uint64_t every;                    /* rounds */
        uint32_t saved_round;
        uint64_t due_ms; /* not saved again before */
        bool looked;     /* for what a process before this one saved */
        bool found;      /* and it is in m, until the weights come */
        bool failed;     /* the last time that it was saved, and that was said */
        bool ours;       /* a file is: that of `slot` */
        uint32_t slot;
    } momentum;

    /* Of the blocking interface. */
    const float *initial; /* the caller's */
    bool joined;

    int code; /* how it ended; 0 while it has not */
    bool done, stopped;
    int reason; /* the server's, or SIGNPOST_REASON_NONE */
    char words[SP_ERROR_TEXT_BYTES];
    uint64_t pushes, abstentions, reconnects, resyncs;

    /* Of the weights that came last: when the first chunk was there, bytes since then, and bytes per second. */
    uint64_t weights_since_ns, weights_bytes, weights_lying, line_rate;
};

/* --- open.c --- */
uint64_t sp_client_now_ms(void);
/* A line for the caller's log. */
void sp_client_say(signpost *s, enum signpost_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The words of a call that failed; the client goes on. Returns the code. */
int sp_client_fail(signpost *s, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* It is over: signpost_wait() returns this code from now on. Returns it as well. */
int sp_client_end(signpost *s, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* For measuring (`signpost bench --compute off`): see struct sp_learner. Before the first round. */
void sp_client_exchange_only(signpost *s);

/* --- momentum.c --- */
/* A WELCOME gave slot and run: the first one takes what a process before this one saved. */
void sp_momentum_look(signpost *s);
/* The weights were replaced by those after `round`. */
void sp_momentum_meet(signpost *s, uint32_t round);
/* All of a round is pushed. */
void sp_momentum_save(signpost *s);
/* The job is done, and nobody will ask for it. */
void sp_momentum_finish(signpost *s);

/* --- quiet.c --- */
/* SIGPIPE of writes between the two does not reach the program, whatever it does with that signal. */
struct sp_quiet {
    sigset_t before;
    bool pending;
};
void sp_quiet_begin(struct sp_quiet *quiet);
void sp_quiet_end(const struct sp_quiet *quiet);

/* --- link.c --- */
void sp_link_drop(signpost *s);
/* The connection is of no use any more: close it and try again later. Momentum stays; staged chunks do not count. */
void sp_link_lose(signpost *s, const char *words);
void sp_link_send(signpost *s, const struct sp_message *message, const void *bulk, size_t bulk_bytes);
/* Sends a frame, which stays the caller's, with others that follow it shortly. */
void sp_link_hold(signpost *s, struct sp_buffer *frame);
/* Gives the line what is held and what waits for it, if it takes it, without reading anything. */
void sp_link_flush(signpost *s);
/* Says goodbye if there is a connection. */
void sp_link_finish(signpost *s, enum sp_reason reason, const char *words);
/* Says that this worker is alive, if it is time to. */
void sp_link_alive(signpost *s);
/* The round is lost for this worker. */
void sp_link_void_gradient(signpost *s);
/* Whatever is due by the clock: an attempt to connect, a sign of life, the end of patience. */
void sp_link_tick(signpost *s);

/* --- handshake.c --- */
void sp_handshake_begin(signpost *s);
int sp_handshake_challenge(signpost *s, const struct sp_challenge *challenge, struct sp_error *error);
/* Whether this frame may come before the server has proved that it holds the secret. */
int sp_handshake_header(const signpost *s, const struct sp_frame *frame, struct sp_error *error);

/* --- inbox.c --- */
extern const struct sp_reader_events sp_inbox_events;
void sp_inbox_send_ready(signpost *s);
