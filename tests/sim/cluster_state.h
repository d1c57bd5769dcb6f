/* Inside the simulated cluster. Nobody else includes this. */
#pragma once

#include "cluster.h"

#include "common/rng.h"
#include "proto/codec.h"
#include "server/round.h"
#include "server/state.h"
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
#define UPDATE_BYTES_MAX SP_BULK_BYTES_MAX
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
    EVENT_WORK,  /* a worker has computed a piece of its gradient, or its part of an evaluation */
    EVENT_ASK,   /* an operator asks for a switch */
    EVENT_CRASH, /* the server dies, and comes back */
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
    uint32_t slot;       /* NOBODY: none */
    uint32_t late_round; /* the last one whose push came too late */
    uint32_t returns;    /* the slot whose ticket came with HELLO; NOBODY: none */
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
    uint64_t buffers_before; /* the last COMMIT */
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

/* A part of a round: what one frame carries. */
struct piece {
    enum sp_section section;
    uint64_t first; /* in its section */
    uint32_t count;
    uint64_t at; /* of its first value among all of the round: d of the main section, then full, then buffers */
    bool last;
};

/* What the server was seen to take and to send, and what must come of it. Values of a round lie in one array: those of
 * the main section (signs as +1 and -1), of tensors in full, of buffers. */
struct oracle {
    uint64_t full;          /* coordinates of the tensors that travel in full */
    float *theta, *buffers; /* after the last commit */
    uint32_t committed;
    bool started;
    struct sp_round_form form; /* of the round that is being collected */
    uint64_t *digests;         /* of the weights after each round */
    uint64_t *averaged;        /* of the buffers the server has after each round */
    bool *averages;            /* whether that round averaged them */
    /* the round that is being collected */
    uint32_t updates; /* chunks that were sent */
    float *update;    /* what they say */
    float *pushed[SP_SLOTS_MAX];
    bool has[SP_SLOTS_MAX][CHUNKS_MAX];
    bool missed[SP_SLOTS_MAX][CHUNKS_MAX]; /* came when the round had gone on without it */
    double *norms, whole_norm; /* ||update||^2 before it is coded: of each tensor, and of all that is voted on */
    /* what lasts */
    float *residual;
    float *adam_m, *adam_v, *adam_next_m, *adam_next_v; /* as of the last commit, and of the round since */
    float adam_c1, adam_c2;                             /* of adam_round */
    uint32_t adam_round;
    struct rates *rates; /* oracle_rates.c */
    enum sp_phase next;  /* of the next round, by the events so far */
    bool asked;          /* an operator asked for a switch, which must come */
    uint64_t late[SP_SLOTS_MAX];
    bool excluded[SP_SLOTS_MAX]; /* by the quarantine; then `dropped` counts instead of `late` */
    uint64_t dropped[SP_SLOTS_MAX];
    uint32_t ready[SP_SLOTS_MAX];                   /* the peer, or NOBODY */
    uint8_t tickets[SP_SLOTS_MAX][SP_TICKET_BYTES]; /* the last of each slot */
    unsigned live;
};

struct kept_entry {
    struct sp_entry entry;
    uint8_t *body; /* owned */
};

/* What outlives the server: entries of records up to `whole`, then those of the round that is being collected. */
struct kept {
    struct sp_rng rng;
    struct sp_checkpoint checkpoint;
    struct kept_entry *entries; /* owned */
    size_t count, room, whole;
    bool copying;
    /* The oracle's, as of the last COMMIT: what was counted since is lost. */
    uint64_t late[SP_SLOTS_MAX], dropped[SP_SLOTS_MAX];
    bool excluded[SP_SLOTS_MAX];
};

#define CLUSTER_RUN 77

struct cluster {
    struct kept kept;
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
/* All of them, as WEIGHTS frames of a round. */
void cluster_send_weights(struct cluster *c, uint32_t line, bool up, uint32_t round, const float *theta,
                          const float *buffers);
/* Decodes; the bulk lies in the frame. */
void cluster_decode(const struct sp_buffer *frame, struct sp_message *message, const uint8_t **bulk);
void cluster_pop(struct pipe *pipe);
void cluster_empty(struct pipe *pipe);
/* Looks at the first packet of a pipe again, now or when it is there. */
void cluster_look(struct cluster *c, uint32_t line, bool up);
void cluster_break(struct cluster *c, uint32_t line);

/* --- cluster_job.c: the job, from its beginning to what came of it --- */
void cluster_open(struct cluster *c);
void cluster_close(struct cluster *c);
void cluster_take_result(struct cluster *c);

/* --- cluster_server.c --- */
void server_up(struct cluster *c, uint32_t line);
void server_bulk(struct cluster *c, uint32_t line);
void server_sees(struct cluster *c, uint32_t line);
void server_tick(struct cluster *c, uint32_t stamp);
void server_ask(struct cluster *c);
/* Does the actions that the round core has left. */
void server_drain(struct cluster *c);

/* --- cluster_keep.c --- */
void keep_update(struct cluster *c, const struct sp_action *action);
void keep_commit(struct cluster *c, uint32_t round);
/* Copies a slice of a checkpoint. */
void keep_go_on(struct cluster *c);
void keep_open(struct cluster *c);
void keep_close(struct cluster *c);
void server_crash(struct cluster *c);

/* --- cluster_worker.c --- */
void worker_connect(struct cluster *c, uint32_t process);
void worker_down(struct cluster *c, uint32_t line);
void worker_sees(struct cluster *c, uint32_t line);
void worker_die(struct cluster *c, uint32_t process);
void worker_finish(struct process *p);

/* --- cluster_compute.c: a worker's caller --- */
bool worker_chance(struct process *p, unsigned of_ten_thousand);
/* Scores first, then what lies on the line, then a gradient. */
void worker_go_on(struct cluster *c, struct process *p);
void worker_work(struct cluster *c, uint32_t process, uint32_t stamp);

/* --- objective.c --- */
void objective_finish(struct cluster *c);
float objective_first_weight(const struct cluster *c, uint64_t j);
float objective_first_buffer(const struct cluster *c, uint64_t j);
/* Fills in the gradient of a slot in a round; returns the loss. */
double objective_gradient(struct cluster *c, uint32_t slot, uint32_t round, const float *theta, float *gradient);
/* What a gradient leaves in the buffers: half of what was there, and something of the slot's and the round's own. */
void objective_buffers(const struct cluster *c, uint32_t slot, uint32_t round, float *buffers);
/* Of all slots together, without noise. */
double objective_loss(const struct cluster *c, const float *theta);
double objective_least(const struct cluster *c);

/* --- cluster_check.c --- */
void check_open(struct cluster *c);
void check_close(struct cluster *c);
void check_traits(const struct cluster *c, const uint8_t *traits, uint32_t count);
void check_first_weights(struct cluster *c);
void check_weights_sent(struct cluster *c, uint32_t round);
void check_taken(struct cluster *c, uint32_t slot, const struct sp_frame *frame, const uint8_t *bulk);
void check_thrown_away(struct cluster *c, struct line *line, const struct sp_frame *frame);
void check_update(struct cluster *c, const struct sp_action *action);
void check_event(struct cluster *c, const struct sp_event *event);
void check_commit(struct cluster *c, const struct sp_action *action);
/* A line gets a slot and a ticket. */
void check_welcome(struct cluster *c, uint32_t slot, uint32_t line);
void check_ready(struct cluster *c, uint32_t slot, uint32_t peer);
void check_gone(struct cluster *c, uint32_t slot, uint32_t peer);
/* The server is dead: all that it held are gone, and the round that it collected. */
void check_crashed(struct cluster *c);
void check_server(struct cluster *c);
/* Digest of a worker's buffers; before a COMMIT it goes to p->buffers_before. */
uint64_t check_buffers(const struct cluster *c, const struct process *p);
/* The worker's weights have just become those after a round. `replaced`: its weights came from the server, not from a
 * COMMIT. */
void check_worker(struct cluster *c, const struct process *p, bool replaced);
void check_trace(struct cluster *c, const void *bytes, size_t count);

/* --- oracle.c: how a round is cut, what a push says, what votes make; oracle_values.c: the numbers of SGD --- */
bool oracle_is_full(const struct cluster *c, uint32_t tensor);
uint32_t oracle_pieces(const struct cluster *c);
struct piece oracle_piece(const struct cluster *c, uint32_t k);
/* Writes what a push says to `values`; false if it is not finite. */
bool oracle_read_push(const struct cluster *c, const struct piece *piece, const uint8_t *bulk, float *values);
/* The UPDATE of piece k: its bulk to `bulk` (UPDATE_BYTES_MAX), what it says to c->oracle.update. Returns its bytes. */
size_t oracle_update(struct cluster *c, uint32_t k, unsigned *voters, uint8_t *bulk);
size_t oracle_values_bytes(const struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count);
void oracle_decode(const struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count, const uint8_t *bulk,
                   float *values);
void oracle_encode(struct cluster *c, enum sp_wire wire, uint64_t first, uint32_t count, const float *values,
                   uint8_t *bulk);
/* Mean, median or trimmed mean of n values in the order of slots, which are put in another one. */
float oracle_aggregate(const struct cluster *c, float *values, unsigned n);
float oracle_adam(struct cluster *c, uint64_t j, float gradient);
void oracle_adam_commit(struct cluster *c);

/* --- oracle_rates.c --- */
void rates_open(struct cluster *c);
void rates_close(struct cluster *c);
/* The rates of a COMMIT of the round that is being collected, to be called before the next one is taken from it. */
void rates_check(struct cluster *c, const struct sp_commit *commit, unsigned voters);
/* Whether the SGD rate is known after that. */
bool rates_known(const struct cluster *c);
