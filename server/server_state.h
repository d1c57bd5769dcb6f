/* Inside the daemon: shared by server.c, peer.c, handshake.c, probe.c, update.c, keep.c, operator.c and status.c.
 * Nobody else includes this. */
#pragma once

#include "common/stream.h"
#include "proto/reader.h"
#include "server/keep.h"
#include "server/limit.h"
#include "server/progress.h"
#include "server/record.h"
#include "server/round.h"
#include "server/security.h"
#include "server/server.h"

#include <time.h>
#include <uv.h>

#define PEER_LISTS 1024
#define CONNECTIONS_ENDING 64 /* more that may be open while they are told that there are too many */
#define LISTENERS_MAX 4
#define PATH_BYTES 1200
#define RESERVE_BYTES 65536

/* What the next frame of a connection may be. */
enum sp_peer_stage {
    SP_PEER_HELLO,    /* a stranger: HELLO */
    SP_PEER_PROOF,    /* it was sent a CHALLENGE: PROOF */
    SP_PEER_LAYOUT,   /* LAYOUT, then the round core knows it */
    SP_PEER_WORKER,   /* what a worker sends */
    SP_PEER_OPERATOR, /* ASK */
};

struct sp_peer {
    struct sp_server *server;
    struct sp_peer *next;           /* of all */
    struct sp_peer *next_of_id;     /* of those in the same list of `by_id` */
    struct sp_peer *next_following; /* of those that follow, while it is one of them */
    uint32_t id;
    struct sp_stream *stream;
    struct sp_reader reader;
    enum sp_peer_stage stage;
    struct sp_hello hello;                /* from HELLO to LAYOUT */
    uint8_t server_nonce[SP_NONCE_BYTES]; /* of our CHALLENGE */
    bool seated;                          /* it has, or had, a slot */
    bool following, ending, turned_away;
    size_t queued; /* bytes that wait for it, when that was looked at last */
    uint64_t since_ms, heard_ms, spoke_ms, heard_bytes;
    uint8_t ticket[SP_TICKET_BYTES];
    char name[80];
};

/* Bytes at the socket, header and control message included. */
struct sp_bytes {
    uint64_t pushed, updated;                             /* PUSH; UPDATE and COMMIT: training */
    uint64_t pushed_in[SP_PHASES], updated_in[SP_PHASES]; /* of these in rounds of each phase */
    uint64_t rounds_received_in[SP_PHASES]; /* sum over the phase's rounds of the workers that got its COMMIT */
    uint64_t other_in, other_out;           /* weights, evaluation, handshake, heartbeats */
};

/* The weights of one round as frames, encoded once for all that join then. */
struct sp_weights_frames {
    uint32_t round;
    size_t count;
    struct sp_buffer **frame; /* owned, each */
};

struct sp_server {
    struct sp_job job;
    struct sp_keep *keep; /* owned */
    uint64_t restarts;    /* of this job's server */
    struct sp_round *round;
    struct sp_safetensors *init; /* owned: the file of model.init, or NULL */
    struct sp_security security;
    struct sp_limits limits;
    unsigned turned_away; /* connections that are told why they cannot come in */
    uint64_t queued;      /* sum of all peers' */
    uv_loop_t loop;
    uv_tcp_t listeners[LISTENERS_MAX];
    unsigned listeners_count;
    bool knocks[LISTENERS_MAX]; /* a connection waits there that could not be accepted yet */
    uv_timer_t timer, beat;
    uv_prepare_t prepare; /* before the loop waits: what is held of updates leaves */
    uv_signal_t term, intr, hangup;
    uv_pipe_t operators;
    bool operators_open, operator_knocks;
    unsigned operators_count;
    struct sp_peer *peers;
    struct sp_peer *by_id[PEER_LISTS]; /* by id % PEER_LISTS; ids are given one after another */
    struct sp_peer *following;         /* those that updates go to, among many that wait for a slot */
    unsigned peers_count, peers_max;
    uint32_t next_id;
    bool draining, over, exchange_only;
    unsigned absent;       /* workers not there when the job ended */
    uint64_t signalled_ms; /* when the job was stopped by a signal; 0: it was not */
    struct sp_weights_frames weights;
    struct sp_buffers frames; /* of rounds */
    struct sp_bytes bytes;
    struct sp_record record;
    struct sp_progress progress;
    struct sp_http *http; /* owned; NULL: not served */
    time_t started_at;    /* this process, since 1970 */
    uint64_t started_ms, first_round_ms, over_ms;
    uint64_t history_lost;       /* lines of the history, since it could be written last */
    uint64_t strangers_since_ms; /* since when `strangers` were sent away */
    unsigned strangers;
    uint64_t full_said_ms; /* when the log last heard that a connection cannot be taken */
    int code;
    struct sp_error error;
    char address[SP_ERROR_TEXT_BYTES]; /* what it listens on, as people write it */
    char out[PATH_BYTES];
    void *reserve;                      /* owned: memory to say goodbye with; NULL: used */
    uint8_t scratch[SP_BULK_BYTES_MAX]; /* where bulk goes that nobody wants */
};

/* --- server.c --- */
uint64_t sp_server_now_ms(void);
/* Does the actions that the round core has left. Called after every event. */
void sp_server_drain(struct sp_server *server);

/* --- initial.c --- */
/* Opens the file of model.init, if the job names one, and tells the core of it. Before the record, which sets aside
 * what an earlier run left in the folder. SP_E_RANGE if the file is that folder's own model. */
int sp_initial_open(struct sp_server *server, struct sp_error *error);
/* Does nothing if it is not open. */
void sp_initial_close(struct sp_server *server);

/* --- peer.c --- */
/* Takes a connection that waits. False: not now, ask again a little later; until then libuv accepts no other there. */
bool sp_peer_accept(struct sp_server *server, uv_stream_t *listener);
/* Sends a buffer, which stays the caller's. A peer that reads too slowly is sent away. */
void sp_peer_send(struct sp_peer *peer, struct sp_buffer *frame);
/* The same for one that others follow shortly: it leaves with them, or before the loop waits. */
void sp_peer_hold(struct sp_peer *peer, struct sp_buffer *frame);
void sp_peer_flush(struct sp_peer *peer);
void sp_peer_send_message(struct sp_peer *peer, const struct sp_message *message);
/* Ends the connection after what is queued, without a BYE. */
void sp_peer_end(struct sp_peer *peer, const char *words);
/* Says why and ends the connection; the round core is told. */
void sp_peer_bye(struct sp_peer *peer, enum sp_reason reason, const char *words);
void sp_peer_resume(struct sp_peer *peer);
/* Whether the log hears of what this one did: of strangers only some times in a while. */
bool sp_peer_may_say(struct sp_peer *peer);
struct sp_peer *sp_peer_find(struct sp_server *server, uint32_t id);
/* Whether updates go to it. */
void sp_peer_follow(struct sp_peer *peer, bool follow);
void sp_peers_beat(struct sp_server *server);
/* If more waits for all together than may, the one for which most waits is sent away, and true is returned; not while
 * frames are being sent. */
bool sp_peers_relieve(struct sp_server *server);

/* --- handshake.c --- */
/* Whether a frame may come now, before anything is allocated for it. */
int sp_handshake_header(void *owner, const struct sp_frame *frame, struct sp_error *error);
/* HELLO, PROOF, LAYOUT and ASK. */
int sp_handshake_got(struct sp_peer *peer, struct sp_message *message, struct sp_error *error);

/* --- probe.c --- */
/* Tells a probe that got through the handshake what would become of a worker, and ends the connection. */
int sp_probe_answer(struct sp_peer *peer, struct sp_error *error);

/* --- update.c --- */
void sp_update_chunk(struct sp_server *server, const struct sp_action *action);
void sp_update_commit(struct sp_server *server, const struct sp_action *action);
/* What is held of updates leaves. False if a peer was lost over it: the round core then has actions. */
bool sp_update_flush(struct sp_server *server);
void sp_update_weights(struct sp_server *server, struct sp_peer *peer, const struct sp_action *action);
/* The peer holds the weights: it gets every UPDATE and COMMIT from now on. */
void sp_update_follow(struct sp_server *server, struct sp_peer *peer);
void sp_update_finish(struct sp_server *server);

/* --- operator.c --- */
/* What a command gives, JSON text that the caller frees; NULL if out of memory. *stops: the job is to be stopped, after
 * the answer is on its way. */
char *sp_operator_obey(struct sp_server *server, const char *command, bool *stops);
void sp_operator_stop(struct sp_server *server);
int sp_operators_open(struct sp_server *server, struct sp_error *error);
void sp_operators_beat(struct sp_server *server);
void sp_operators_close(struct sp_server *server);
