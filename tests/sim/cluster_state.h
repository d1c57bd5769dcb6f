/* Inside the simulated cluster. Nobody else includes this. */
#pragma once

#include "cluster.h"

#include "common/rng.h"
#include "proto/codec.h"
#include "server/round.h"
#include "worker/client/learner.h"

#include <check.h>

/* ck_assert() writes to a file each time, before it looks: too much for what is checked a million times. */
#define must_say(condition, ...)                                                                                       \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)
#define must(condition) must_say(condition, "'%s' does not hold", #condition)

#define PIECES_MAX 4
#define EVALS_MAX SP_SLOTS_MAX
#define CHUNKS_MAX 256
#define NOBODY UINT32_MAX

enum event_type {
    EVENT_UP,          /* the first frame on a line to the server is there */
    EVENT_BULK,        /* and so is the rest of its bulk */
    EVENT_DOWN,        /* the first frame on a line to a worker is there */
    EVENT_BREAK,       /* a line breaks now */
    EVENT_SERVER_SEES, /* the server learns that a line is broken */
    EVENT_WORKER_SEES,
    EVENT_DIE,
    EVENT_CONNECT,
    EVENT_WORK, /* a worker has computed a piece of its gradient, or its part of an evaluation */
    EVENT_TICK,
};

struct event {
    uint64_t at_us, order;
    enum event_type type;
    uint32_t index; /* of the line or process */
    uint32_t stamp; /* of the process, for those that may be out of date */
};

struct packet {
    struct packet *next;
    uint64_t at_us;
    struct sp_buffer *frame; /* held */
};

struct pipe {
    struct packet *first, *last;
    uint64_t last_at_us;
    bool due; /* an event for its first packet is in the queue */
};

/* A connection. Its index is its peer number; numbers are not used twice. */
struct line {
    uint32_t process;
    struct pipe up, down;
    bool broken;
    int breaks_up, breaks_down; /* after so many frames more; -1: never */
    /* the server's side */
    bool server_open, said_hello, following, held;
    bool reading; /* the first half of the bulk of `message` is in `destination` */
    struct sp_message message;
    uint8_t *destination;
    struct sp_hello hello; /* until its layout is there */
    uint8_t ticket[SP_TICKET_BYTES];
    uint32_t slot; /* NOBODY: none */
    /* the worker's */
    bool worker_open;
};

enum stage { STAGE_HELLO, STAGE_SPARE, STAGE_WEIGHTS, STAGE_READY };

struct process {
    struct sp_rng rng;
    struct sp_learner learner;
    bool has_learner;
    uint32_t line; /* 0: none */
    enum stage stage;
    uint32_t slot;
    bool has_ticket, done, stray;
    uint8_t ticket[SP_TICKET_BYTES];
    bool gradient_due, busy;
    uint32_t stamp; /* of the work that is going on */
    float *gradient;
    double loss;
    uint64_t cuts[PIECES_MAX + 1]; /* where the pieces of the gradient end */
    unsigned piece, pieces;
    bool backwards; /* the last piece comes first, as from backpropagation */
    struct {
        uint32_t round;
        struct sp_eval eval;
    } evals[EVALS_MAX];
    unsigned evals_count;
    bool evaluating;
};

/* What the server was seen to take and to send. */
struct oracle {
    float *theta, *values;
    uint8_t *bits;
    uint64_t staged;
    uint32_t updates; /* chunks of this round that were sent */
    uint32_t committed;
    enum sp_phase phase;
    bool started;
    uint64_t *digests; /* after each round */
    uint8_t *pushed[SP_SLOTS_MAX];
    bool has[SP_SLOTS_MAX][CHUNKS_MAX];
    uint32_t ready[SP_SLOTS_MAX]; /* the peer, or NOBODY */
    unsigned live;
};

struct cluster {
    const struct cluster_options *options;
    struct cluster_result *result;
    struct sp_job job;
    struct sp_layout layout;
    uint64_t layout_digest;
    struct sp_round *round;
    struct sp_rng rng;
    uint64_t now_us, order;
    struct event *events; /* a heap */
    size_t events_count, events_room;
    struct line **lines; /* from 1 */
    uint32_t lines_count, lines_room;
    struct process *processes;
    float *quadratics[SP_SLOTS_MAX]; /* of each slot: a_ij and c_ij in turn; NULL until asked for */
    struct oracle oracle;
    uint64_t tick_us; /* when the next tick is */
    uint32_t tick_stamp;
    uint64_t last_us; /* when something else than a tick happened */
    bool over, over_due;
    uint8_t scratch[SP_BULK_BYTES_MAX], chunk[SP_BULK_BYTES_MAX];
};

/* --- cluster.c: time, lines, faults --- */
void cluster_at(struct cluster *c, uint64_t delay_us, enum event_type type, uint32_t index, uint32_t stamp);
/* 0 .. bound-1 */
uint32_t cluster_random(struct cluster *c, uint32_t bound);
uint64_t cluster_now_ms(const struct cluster *c);
void cluster_send(struct cluster *c, uint32_t line, bool up, struct sp_buffer *frame);
void cluster_send_message(struct cluster *c, uint32_t line, bool up, const struct sp_message *message, const void *bulk,
                          size_t bytes);
/* Decodes; the bulk lies in the frame. */
void cluster_decode(const struct sp_buffer *frame, struct sp_message *message, const uint8_t **bulk);
void cluster_pop(struct pipe *pipe);
/* Looks at the first packet of a pipe again, now or when it is there. */
void cluster_look(struct cluster *c, uint32_t line, bool up);
void cluster_break(struct cluster *c, uint32_t line);
uint32_t cluster_chunk(const struct cluster *c, enum sp_phase phase);

/* --- cluster_server.c --- */
void server_up(struct cluster *c, uint32_t line);
void server_bulk(struct cluster *c, uint32_t line);
void server_sees(struct cluster *c, uint32_t line);
void server_tick(struct cluster *c, uint32_t stamp);

/* --- cluster_worker.c --- */
void worker_connect(struct cluster *c, uint32_t process);
void worker_down(struct cluster *c, uint32_t line);
void worker_sees(struct cluster *c, uint32_t line);
void worker_work(struct cluster *c, uint32_t process, uint32_t stamp);
void worker_die(struct cluster *c, uint32_t process);
void worker_finish(struct process *p);

/* --- objective.c --- */
void objective_finish(struct cluster *c);
float objective_first_weight(const struct cluster *c, uint64_t j);
/* Fills in the gradient of a slot in a round; returns the loss. */
double objective_gradient(struct cluster *c, uint32_t slot, uint32_t round, const float *theta, float *gradient);
/* Of all slots together, without noise. */
double objective_loss(const struct cluster *c, const float *theta);
double objective_least(const struct cluster *c);

/* --- cluster_check.c --- */
void check_open(struct cluster *c);
void check_close(struct cluster *c);
void check_first_weights(struct cluster *c);
void check_weights_sent(struct cluster *c, uint32_t round);
void check_taken(struct cluster *c, uint32_t slot, const struct sp_frame *frame, const uint8_t *bulk);
void check_update(struct cluster *c, const struct sp_action *action);
void check_commit(struct cluster *c, const struct sp_action *action);
void check_ready(struct cluster *c, uint32_t slot, uint32_t peer);
void check_gone(struct cluster *c, uint32_t slot, uint32_t peer);
void check_server(struct cluster *c);
void check_worker(struct cluster *c, const struct process *p);
void check_trace(struct cluster *c, const void *bytes, size_t count);
