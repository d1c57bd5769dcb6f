/* Inside the round core: shared by round.c (rounds, pushes, tally), commit.c (the end of a round), roster.c (who takes
 * part), evaluation.c, scalars.c, view.c (what others may know) and action.c. Nobody else includes this. */
#pragma once

#include "common/pack.h"
#include "common/weights.h"
#include "server/round.h"

#define NAME_BYTES 80
#define ACTIONS_FIRST 64

enum worker_state { WORKER_SPARE, WORKER_WAITING, WORKER_INITING, WORKER_RECEIVING, WORKER_READY };

struct worker {
    uint32_t peer;
    char name[NAME_BYTES];
    enum worker_state state;
    int slot;   /* -1: spare */
    int wanted; /* slot, or SP_ANY_SLOT */
    uint8_t ticket[SP_TICKET_BYTES];
    bool evaluates;
    bool held;      /* waits for SP_ACTION_RESUME */
    uint64_t order; /* of arrival */
};

/* What a slot has given to the round before, until its dot completes the statistics of it. */
struct scalars {
    bool complete;
    double norm2;
    float sketch[SP_SKETCH_BUCKETS];
};

struct slot {
    int worker; /* index, or -1 */
    bool has_ticket;
    uint8_t ticket[SP_TICKET_BYTES];
    bool expected; /* in this round */
    bool abstains; /* from chunk `arrived` on */
    bool dropped;  /* the round went on without it */
    bool has_dot, has_loss;
    double dot, loss;
    struct scalars now, before;
    struct sp_slot_view view;
};

struct part {
    bool done;
    int worker; /* who evaluates it, or -1 */
    struct sp_part_score score;
};

struct evaluation {
    bool pending;
    uint32_t round;
    unsigned parts, parts_done;
    uint64_t deadline_ms;
    struct part part[SP_SLOTS_MAX];
    /* the last one that ended */
    bool any, partial;
    uint64_t correct, total, expected;
    double loss;
};

struct sp_round {
    struct sp_job job;
    enum sp_stage stage;
    struct sp_layout layout;
    uint64_t layout_digest, data_digest, examples, test_examples;
    uint32_t rounds, epoch_rounds;

    struct worker *workers[SP_PEERS_MAX]; /* owned; NULL: free */
    unsigned spares;
    int kept_slot; /* being taken over by ticket; -1: none */
    uint64_t order_next;
    struct slot slots[SP_SLOTS_MAX];
    struct sp_slot_view views[SP_SLOTS_MAX];
    unsigned live; /* slots whose worker is ready */

    float *theta;  /* owned */
    uint8_t *bits; /* owned: the update of this sign round, and of the one before */
    uint8_t *previous;
    bool has_previous;
    float *mean;            /* owned: the update of this SGD round; NULL before the first */
    float *rates;           /* owned: the rates at the switch, one a tensor; in use if rates_in_use */
    float *scaled, *decays; /* owned: those of this round */
    bool has_weights;
    uint64_t init_next; /* next coordinate of the weights that come in */
    uint64_t init_deadline_ms;

    uint32_t round; /* being collected; committed rounds are those before it */
    uint32_t committed;
    enum sp_phase phase;
    float sigma;
    struct sp_tally tally;
    struct sp_vote_counts counts; /* of this round */
    double margin;                /* sum of |V|/M, in coordinates, of this round */
    struct sp_commit last_commit;
    struct sp_decide decide;
    double gamma_before; /* of the round whose statistics are completed next */
    uint32_t switch_round;
    char switch_reason[256];
    bool switch_dry;
    double gamma_switch, factor_switch;
    bool rates_in_use, lambda_known;
    double lambda;

    struct evaluation evaluation;

    /* deadlines of `close: quorum`, learned from arrivals */
    uint64_t began_ms;
    bool quorum_in; /* a quorum has given chunk `base`, since quorum_ms */
    uint64_t quorum_ms;
    bool paused; /* this round waited for something else than its pushes */
    double arrival_ms, arrival_spread_ms;
    bool arrivals_known;

    uint64_t gather_since_ms, waits_said_ms;
    char waits[256];
    uint64_t now_ms, ticked_ms;

    /* since the last report */
    double loss_sum;
    uint32_t loss_n;
    struct sp_vote_counts report_counts;
    double report_margin; /* sum over rounds of |V|/M, in coordinates */
    double epoch_loss_sum, train_loss;
    uint32_t epoch_loss_n;
    unsigned voters;
    uint64_t float32_bytes;
    struct sp_report report;

    char over_reason[256];
    bool stopped;

    struct sp_action *actions; /* owned ring */
    unsigned actions_head, actions_count, actions_room;
    bool actions_lost, over_given; /* there was no memory for one; OVER was taken */
    struct sp_action no_room;      /* where those go for which there is none */
};

/* --- action.c --- */
struct sp_action *sp_round_act(struct sp_round *r, enum sp_action_type type, uint32_t peer);
void sp_round_note(struct sp_round *r, enum sp_note level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sp_round_bye(struct sp_round *r, uint32_t peer, enum sp_reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* --- round.c --- */
void sp_round_advance(struct sp_round *r);
/* A worker became ready: it counts from now on. */
void sp_round_include(struct sp_round *r, int slot);
bool sp_round_may_admit(const struct sp_round *r);
void sp_round_over(struct sp_round *r);
/* Whether the chunk to be tallied next is still expected of this slot. */
bool sp_round_lags(const struct sp_round *r, uint32_t slot);
uint64_t sp_round_gather_deadline(const struct sp_round *r);

/* --- commit.c --- */
/* All chunks are tallied: makes the round's result final. */
void sp_commit_round(struct sp_round *r);
/* The COMMIT action of round t, from r->last_commit. */
void sp_commit_send(struct sp_round *r, uint32_t t);
/* The dither of sign round t. */
float sp_commit_sigma(const struct sp_round *r, uint32_t t);

/* --- view.c --- */
/* Fills in r->waits: what the job waits for at this moment, or "". */
void sp_view_describe_wait(struct sp_round *r);

/* --- roster.c --- */
struct worker *sp_roster_find(struct sp_round *r, uint32_t peer);
void sp_roster_give_weights(struct sp_round *r);
void sp_roster_tick(struct sp_round *r);
const char *sp_roster_name(struct sp_round *r, int slot);

/* --- evaluation.c --- */
bool sp_evaluation_due(const struct sp_round *r, uint32_t round);
void sp_evaluation_begin(struct sp_round *r, uint32_t round);
/* Parts without a worker are given to ready ones. Called when somebody left or became ready. False if there is a part
 * that nobody who holds the weights, or is getting them now, could do. */
bool sp_evaluation_reassign(struct sp_round *r);
/* Worker w is gone: what it still owed is nobody's. */
void sp_evaluation_forget(struct sp_round *r, int w);
/* Ends it without what is missing. */
void sp_evaluation_give_up(struct sp_round *r, const char *why);

/* --- scalars.c --- */
void sp_scalars_take(struct sp_round *r, int slot, const struct sp_message *message);
/* Statistics of the round before, complete now, to the decisions. */
void sp_scalars_decide(struct sp_round *r);
/* Mean loss of this round over those whose scalars count; NaN if none. */
double sp_scalars_loss(const struct sp_round *r);
/* This round becomes the one before. */
void sp_scalars_next(struct sp_round *r, double gamma);
