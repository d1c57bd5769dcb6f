/* Inside the round core: shared by round.c (rounds, pushes), combine.c (what a chunk's votes make), commit.c (the end
 * of a round), rates.c (its learning rates), switch.c (from phase to phase), admit.c and roster.c (who takes part),
 * evaluation.c, scalars.c, state.c, state_model.c, copy.c and restore.c (what outlives the server), view.c (what others
 * may know) and action.c. Nobody else includes this. */
#pragma once

#include "common/pack.h"
#include "common/schedule.h"
#include "common/sums.h"
#include "common/weights.h"
#include "server/archive.h"
#include "server/robust.h"
#include "server/round.h"
#include "server/state.h"
#include "server/suspect.h"

#define NAME_BYTES 80
#define OWNER_NUMBERS 24
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
    uint32_t given;   /* the round of the weights that it was sent last; 0 for its own initial ones */
    bool held;        /* waits for SP_ACTION_RESUME */
    uint32_t counted; /* the last round whose push is counted as late or abstained: once a round */
    uint64_t order;   /* of arrival */
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
    bool late;     /* the round went on without a chunk of it */
    uint64_t behind_said_ms;
    uint64_t timed; /* rounds in view.latency_ms */
    uint64_t in_at; /* in the order of this round's pushes, when its own was in */
    bool has_dot, has_loss;
    double dot, loss;
    struct scalars now, before;
    struct sp_slot_view view;
};

/* Adam's, of every coordinate. */
struct moments {
    float *m, *v;
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
    bool unanswered; /* nobody gave a part of the last one */
    /* the last one that ended with at least one */
    bool any, partial;
    uint32_t ended; /* its round; 0: before the server was restarted */
    uint64_t correct, total, expected;
    double loss;
};

/* A checkpoint in the making: what is small was copied at once, the arrays follow. */
struct copying {
    struct sp_checkpoint checkpoint;   /* its memory is owned */
    const void *from[SP_SECTIONS_MAX]; /* borrowed; NULL: copied */
    unsigned section;
    uint64_t done; /* bytes of that section */
};

/* After all workers were lost: a round does not begin with the first that is back. */
struct rejoining {
    bool on;
    unsigned wanted;      /* workers, those of the round before */
    uint64_t deadline_ms; /* once one is back; 0: none is */
};

struct sp_round {
    struct sp_job job;
    uint64_t run; /* 0: unknown */
    bool keeps_gradients;
    uint64_t owner[OWNER_NUMBERS];
    uint8_t *saved; /* owned */
    size_t saved_room;
    struct copying copying;
    uint64_t copied_at_once;
    float *gradient; /* owned: the means that went into Adam, if its rounds are kept; else NULL */
    struct rejoining rejoining;
    bool exchange_only;
    enum sp_stage stage;
    struct sp_layout layout;
    uint64_t layout_digest, data_digest, examples, test_examples;
    uint32_t rounds, epoch_rounds;

    struct worker *workers[SP_PEERS_MAX]; /* owned; NULL: free */
    unsigned spares;
    unsigned spares_said; /* in that second, to the log */
    uint64_t spares_second;
    int kept_slot; /* being taken over by ticket; -1: none */
    uint64_t order_next;
    struct slot slots[SP_SLOTS_MAX];
    struct sp_slot_view views[SP_SLOTS_MAX];
    unsigned live; /* slots whose worker is ready */

    uint8_t *traits; /* owned: one a trained tensor, as the job's rules say */
    float *theta;    /* owned */
    float *buffers;  /* owned: averaged last; NULL if the layout has none */
    uint8_t *bits;   /* owned: the majority of this round, and of the one before */
    uint8_t *previous;
    bool has_previous;
    float *full, *averages;      /* owned: this round's update of tensors in full, and of buffers; NULL if none */
    float *rates;                /* owned: the SGD rates, one a tensor; in use if rates_in_use */
    float *scaled, *decays;      /* owned: those of this round */
    struct sp_norms step, mean2; /* ||step||^2 for the norm rules, and ||mean||^2 averaged over SGD rounds */
    double bias_mean2;           /* beta2^n of that average */
    double *corrected;           /* owned: room for that average, corrected */
    struct sp_norms now;         /* of this round's values, before they are coded */
    struct sp_running_sum now_whole, now_tensor;
    /* Owned, taken when the first margin or SGD round comes near; NULL before: */
    float *mean;             /* the update of this round */
    float *residual;         /* what int8 left out of updates so far */
    float *decoded;          /* values of one chunk of every slot */
    uint8_t *planes, *coded; /* the bulk of this round's updates as they are sent: of a margin round, of values */
    struct moments adam, adam_next;
    bool has_weights, started;
    bool unsettled; /* theta is still the one before the last committed round, whose phase was `settles` */
    enum sp_phase settles;
    uint64_t digest;       /* of theta, once it is settled, if the next COMMIT carries it */
    sp_initial_read *init; /* NULL: a worker gives the initial weights, or they are there */
    void *init_arg;
    uint32_t init_next; /* next chunk of the weights that come in */
    uint64_t init_deadline_ms;

    uint32_t round; /* being collected; committed rounds are those before it */
    uint32_t committed;
    struct sp_round_form form; /* of `round` */
    float sigma;
    struct sp_tally tally;
    struct sp_vote_counts counts; /* of this round */
    double margin;                /* sum of |V|/M, in coordinates, of this round */
    struct sp_commit last_commit;
    struct sp_decide decide;
    struct sp_robust robust; /* in use if server.statistics says so */
    double gamma_before;     /* of the round whose statistics are completed next */
    struct sp_switch_view switches[SP_SWITCHES_MAX];
    unsigned switches_count;
    char dry_reason[256]; /* of dry_run; "" if it would not have switched */
    bool asked;           /* an operator asked for a switch after this round */
    bool refused;         /* a refusal is recorded, and holds */
    double gamma_switch, factor_switch;
    uint32_t sgd_from; /* the last round before the SGD phase, or 0 */
    bool rates_in_use, lambda_known;
    uint32_t clipped; /* rounds whose step optimizer.sgd.clip made shorter */
    double lambda;

    struct evaluation evaluation;
    struct sp_suspicion suspicion;
    bool pairs_changed;           /* since the state was saved: a slot was forgotten */
    struct sp_vote_sample sample; /* the last one */

    /* deadlines of `close: quorum`, learned from arrivals */
    uint64_t began_ms;
    bool quorum_in;                       /* a quorum has given chunk `base` */
    double par_ms;                        /* when it would have, had nobody been waited for */
    uint64_t first_ms;                    /* when a quorum had given the first chunk */
    uint64_t tallied_ms;                  /* when the chunk before `base` was tallied */
    bool paused;                          /* this round waited for something else than its pushes */
    bool probing;                         /* those behind are waited for as well */
    uint32_t probed;                      /* the last round in which they were */
    double waited_ms;                     /* for those who were late, less a share of the time since */
    double arrival_ms, arrival_spread_ms; /* of a quorum's first chunks, since the round began */
    double pace_ms;                       /* from one chunk of a quorum to its next */
    bool arrivals_known, pace_known;
    bool pace_taken; /* of this round */

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
    struct sp_report latest; /* of the round that was committed last */
    uint64_t in_count;       /* pushes that were in so far */

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
/* Round t is collected from now on. */
void sp_round_begin(struct sp_round *r, uint32_t t);
/* All workers are lost: the next round waits for those of the one before. */
void sp_round_await_return(struct sp_round *r);
/* A worker became ready: it counts from now on. */
void sp_round_include(struct sp_round *r, int slot);
bool sp_round_may_admit(const struct sp_round *r);
void sp_round_over(struct sp_round *r);
/* Whether the chunk to be tallied next is still to come from this slot. */
bool sp_round_lags(const struct sp_round *r, uint32_t slot);
/* Whether the round waits for it while others are expected: not for one that is behind, or late in this round. */
bool sp_round_waits_for(const struct sp_round *r, uint32_t slot);
/* What the others get once a quorum is in, as it is learned by now. */
double sp_round_deadline_ms(const struct sp_round *r);
uint64_t sp_round_gather_deadline(const struct sp_round *r);

/* --- combine.c --- */
/* Memory for rounds of a phase, if it is not there yet; false without. */
bool sp_combine_prepare(struct sp_round *r, enum sp_phase phase);
void sp_combine_finish(struct sp_round *r);
/* A round begins, or is collected anew: nothing of it is there. */
void sp_combine_begin(struct sp_round *r);
/* Whether what a worker pushed can be counted. SP_E_RANGE: values that are not finite; SP_E_PROTOCOL with words. */
int sp_combine_check(const struct sp_round *r, const struct sp_chunk *chunk, const uint8_t *bulk,
                     struct sp_error *error);
/* Makes the update of the chunk that is to be tallied next, and the action that sends it. */
void sp_combine_chunk(struct sp_round *r);
/* The round is final. */
void sp_combine_commit(struct sp_round *r);
/* Takes an entry of the journal in place of votes. SP_E_CORRUPT with words. */
int sp_combine_replay(struct sp_round *r, const struct sp_entry *entry, const void *body, struct sp_error *error);

/* --- quarantine.c --- */
/* The job starts. */
void sp_quarantine_start(struct sp_round *r);
/* Whether a sample is to be taken of this chunk of the present round. */
bool sp_quarantine_due(const struct sp_round *r, const struct sp_chunk *chunk);
/* Takes it: the votes of `voters` slots, as bits, or in the SGD phase as `values` (NULL otherwise). */
void sp_quarantine_sample(struct sp_round *r, const struct sp_chunk *chunk, unsigned voters, const uint8_t *slots,
                          const uint8_t *const *bits, const float *const *values);
/* The round is final: says who is suspected, and excludes if the job says so. */
void sp_quarantine_judge(struct sp_round *r);

/* --- commit.c --- */
/* All chunks are tallied: makes the round's result final. */
void sp_commit_round(struct sp_round *r);
/* The COMMIT action of round t, from r->last_commit. */
void sp_commit_send(struct sp_round *r, uint32_t t);
/* COMMIT 0: the job starts. */
void sp_commit_start(struct sp_round *r);
/* What follows from the result of the round that was committed, but for the weights (sp_round_settle()). */
void sp_commit_take(struct sp_round *r, const struct sp_round_form *form);

/* --- rates.c --- */
/* The rate of the job's sign or margin phase in round t. */
double sp_rates_gamma(const struct sp_round *r, enum sp_phase phase, uint32_t t);
float sp_rates_sigma(const struct sp_round *r, enum sp_phase phase, uint32_t t);
/* The factor of the sign phase's schedule. */
double sp_rates_factor(const struct sp_round *r, uint32_t t);
/* Fills in rates and decays of the COMMIT of this round. */
void sp_rates_signs(struct sp_round *r, struct sp_commit *commit);
void sp_rates_values(struct sp_round *r, struct sp_commit *commit);
/* ||step|| per unit of gamma of the present round, squared, into r->step: of a sign round, or of a margin round. */
void sp_rates_take_step(struct sp_round *r, enum sp_phase phase);

/* --- switch.c --- */
/* The first phase of the job, and of its modes. */
enum sp_phase sp_switch_first(const struct sp_job *job);
/* After round r->round of a sign or margin phase: whether the next round is of another phase; says and records it. */
void sp_switch_decide(struct sp_round *r, enum sp_phase *next);
/* How the numbers of round t, of phase `next`, travel. */
struct sp_round_form sp_switch_form(const struct sp_round *r, enum sp_phase next, uint32_t t);
/* A line and a record. */
void sp_switch_event(struct sp_round *r, const struct sp_event *event);
/* What all events have: round, phases, rates, numbers. */
struct sp_event sp_switch_new_event(struct sp_round *r, enum sp_event_type type, const char *test);

/* --- view.c --- */
/* Fills in r->waits: what the job waits for at this moment, or "". */
void sp_view_describe_wait(struct sp_round *r);

/* --- admit.c --- */
/* Whether the job is one that this HELLO may join: job, slot; and model and data, if they are known. False with the
 * reason. */
bool sp_admit_job(const struct sp_round *r, const struct sp_hello *hello, struct sp_refusal *refusal);
bool sp_admit_model(const struct sp_round *r, const struct sp_hello *hello, struct sp_refusal *refusal);
/* The first that is free, or the wanted one if it is; -1 if none is. */
int sp_admit_free_slot(const struct sp_round *r, int wanted);

/* --- roster.c --- */
struct worker *sp_roster_find(struct sp_round *r, uint32_t peer);
/* Memory and all that follows from a first worker's layout and data. False without memory. */
bool sp_roster_adopt(struct sp_round *r, const struct sp_hello *hello);
/* Everything that depends on the model. */
void sp_roster_forget_layout(struct sp_round *r);
void sp_roster_give_weights(struct sp_round *r);
void sp_roster_tick(struct sp_round *r);
const char *sp_roster_name(struct sp_round *r, int slot);

/* --- state.c, copy.c --- */
/* Copies all that is left, before it changes. */
void sp_copy_finish(struct sp_round *r);
void sp_copy_forget(struct sp_round *r);
/* Visits all numbers of the state, in the order of the format; `whole` counts when it saves: see sp_round_save(). */
void sp_state_visit(struct sp_round *r, struct sp_archive *a, bool whole);

/* --- state_model.c --- */
/* Visits layout, examples, test examples and data digest; when loading, the layout is empty before, and the caller's
 * after. */
void sp_state_visit_model(struct sp_archive *a, struct sp_hello *model);
/* All keys as text that sp_state_job() reads; returns the bytes that this takes, without a 0. `text` may be NULL. */
size_t sp_state_write_job(const struct sp_job *job, char *text, size_t room);

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
/* Loss of this round over those whose scalars count, by the job's server.statistics; NaN if none. */
double sp_scalars_loss(const struct sp_round *r);
/* That loss, and what it says of the window that it is in, to the decisions. */
void sp_scalars_decide_loss(struct sp_round *r, double loss);
/* This round becomes the one before. */
void sp_scalars_next(struct sp_round *r, double gamma);
