/* The job as a state machine without I/O: events in, actions out.
 *
 * Nothing here knows a socket, a clock or a file: time comes with the events, and what is to be done leaves as actions,
 * which the caller takes with sp_round_next() after every event until there are none. A test runs a hundred workers in
 * memory on it (tests/sim); the daemon puts sockets around it (server/server.c).
 *
 * Stages:  NEW -> GATHERING -> RUNNING -> CLOSING -> OVER, or from any to OVER when the job is stopped.
 *   NEW        nobody has given a layout and initial weights yet
 *   GATHERING  weights are there; round 1 starts when all slots are ready, or after start_timeout with min_live
 *   RUNNING    round after round
 *   CLOSING    all rounds are committed; the last evaluation is coming in
 *
 * A worker (a peer that said HELLO) is a spare, then INITING or WAITING for weights, then RECEIVING them, then READY;
 * it votes in the rounds that begin, or whose vote has not begun, after it became ready.
 */
#pragma once

#include "common/job.h"
#include "proto/codec.h"
#include "proto/reason.h"
#include "server/decide.h"
#include "server/suspect.h"
#include "server/tally.h"

#include <stdbool.h>
#include <stdint.h>

#ifndef SP_PEERS_MAX      /* fuzzing takes fewer: it would spend its time going through them */
#define SP_PEERS_MAX 2048 /* workers that are connected at once, spares included */
#endif

struct sp_round;

enum sp_stage { SP_STAGE_NEW, SP_STAGE_GATHERING, SP_STAGE_RUNNING, SP_STAGE_CLOSING, SP_STAGE_OVER };

enum sp_action_type {
    SP_ACTION_WELCOME, /* to `peer`: slot and ticket, or that it is a spare */
    SP_ACTION_INIT,    /* to `peer`: give the initial weights */
    SP_ACTION_WEIGHTS, /* to `peer`: the weights after `round` and, if `started`, the COMMIT of that round; it follows
                          now */
    SP_ACTION_FOLLOW,  /* `peer` holds the initial weights: it follows now, without being sent any */
    SP_ACTION_UPDATE,  /* to all that follow: a chunk of the round's result */
    SP_ACTION_COMMIT,  /* to all that follow */
    SP_ACTION_EVAL,    /* to `peer` */
    SP_ACTION_RESUME,  /* `peer` was held back by the window: read on */
    SP_ACTION_BYE,     /* to `peer`: reason and words; then close */
    SP_ACTION_NOTE,    /* a line for the log */
    SP_ACTION_REPORT,  /* a line for the history */
    SP_ACTION_EVENT,   /* a decision, for the history; its words are in a note */
    SP_ACTION_OVER,    /* the job ended: write what is to be written, say BYE to all with `reason` */
};

enum sp_note { SP_NOTE_WARN = 1, SP_NOTE_INFO = 2, SP_NOTE_DEBUG = 3 };

enum sp_event_type { SP_EVENT_SWITCH, SP_EVENT_RATES, SP_EVENT_DRY_RUN, SP_EVENT_REFUSAL, SP_EVENT_QUARANTINE };

/* A decision, with what it was made from. */
struct sp_event {
    enum sp_event_type type;
    uint32_t round; /* after which it was made, or in which */
    enum sp_phase from, to;
    struct sp_suspect suspect; /* QUARANTINE: of what follows only `excluded` and `reason` */
    bool excluded;
    const char *test;   /* "auto", "at", "swats", "manual", "until", "rate": static */
    char reason[320];   /* in words */
    double gamma;       /* rate of the phase it leads from; NaN if there is none */
    const char *rule;   /* of lambda: static; NULL where it has no part */
    bool about;         /* lambda is a guess */
    double lambda;      /* NaN: not known yet, or by tensor */
    double unbounded;   /* what lambda_min or lambda_max changed; 0 if they did not */
    const float *rates; /* one a trained tensor, or NULL; valid until the next event */
    struct sp_numbers numbers;
};

#define SP_SWITCHES_MAX 2

struct sp_switch_view {
    uint32_t round; /* after which the phase changed */
    enum sp_phase from, to;
    const char *test; /* static */
    char reason[256];
};

/* The rounds since the last report, and the last evaluation if there is a new one. */
struct sp_report {
    uint32_t round;
    double epoch;
    enum sp_phase phase;
    double rate; /* gamma or lambda (of the largest tensor if there is one a tensor) of this round */
    double sigma;
    double loss; /* mean over workers and rounds; NaN if none */
    unsigned live, voters;
    double margin, ties, unanimous, flips; /* shares of the coordinates, margin as mean |V|/M; sign phase only */
    struct sp_estimates estimates;
    bool evaluated; /* then the next four */
    uint64_t correct, total, expected;
    double test_loss;
};

struct sp_action {
    enum sp_action_type type;
    uint32_t peer;
    uint32_t round;
    union {
        struct {
            bool spare;
            uint32_t slot;
        } welcome;
        struct {
            uint64_t first;
            uint32_t count;
            const void *bulk; /* valid until the next event */
            size_t bytes;
            const float *gradient; /* what went into Adam, if the rounds are kept; else NULL */
            uint16_t flags;        /* of the frame */
            unsigned voters;       /* for the frame: of the margin phase, else 0 */
        } update;
        struct sp_commit commit; /* rates and decays are borrowed; valid until the next event */
        struct sp_eval eval;
        struct {
            enum sp_reason reason;
            bool no_memory; /* OVER: the job failed for lack of memory */
            char words[256];
        } bye;
        struct {
            enum sp_note level;
            char line[512];
        } note;
        struct sp_report report;
        struct sp_event event;
        bool started;
    };
};

struct sp_slot_view {
    bool live, ready;
    uint32_t peer;
    uint64_t votes;      /* rounds it took part in to the end */
    bool behind;         /* a round went on without it: rounds do not wait for it until it is in time again */
    uint64_t missed;     /* rounds it was expected in and was not */
    uint64_t late;       /* pushes of which something was dropped: their round went on without it, or was over */
    uint64_t duplicates; /* chunks dropped because the slot had given them already */
    uint64_t abstained;  /* rounds */
    uint64_t resyncs, joins;
    uint64_t last;     /* rounds in which it was the last to be in: with its first SP_TALLY_WINDOW chunks, or all */
    double latency_ms; /* from a round's beginning until it is in, averaged over recent rounds; 0: none yet */
    uint64_t compared, disagreed; /* coordinates, with the vote */
    double correlation;           /* of its votes with those of half the others, or higher; NaN: unknown */
    bool suspected, is_excluded;  /* by server.quarantine */
    uint64_t excluded;            /* pushes dropped because of it: rounds */
};

/* For status and summary; borrowed, valid until the next event. */
struct sp_view {
    enum sp_stage stage;
    uint32_t round; /* committed */
    uint32_t rounds;
    double epoch, epochs; /* of them; 0 while `examples` are unknown */
    uint64_t examples, test_examples;
    enum sp_phase phase;
    const struct sp_layout *layout; /* NULL while unknown */
    const float *theta;             /* NULL before there are weights */
    const float *buffers;           /* NULL if there are none */
    const uint8_t *traits;          /* one a trained tensor; NULL while unknown */
    unsigned live, spares;
    /* With close: quorum. How long the others have once a quorum is in; when a quorum's first chunks are usually in,
     * after the round's beginning, and its mean deviation. 0: not learned yet. */
    double deadline_ms, arrival_ms, arrival_spread_ms;
    const struct sp_slot_view *slots; /* one for each of job.workers */
    const struct sp_switch_view *switches;
    unsigned switches_count;
    const char *dry_reason; /* why it would have switched, with dry_run; "" if it did not come to that */
    bool lambda_known;
    double lambda;      /* of the SGD phase, or about what it would have been; 0 with `rates` */
    uint32_t clipped;   /* rounds whose step optimizer.sgd.clip made shorter */
    const float *rates; /* one a trained tensor, or NULL */
    double train_loss;  /* of the last rounds */
    bool evaluated, partial;
    uint32_t evaluated_round;
    uint64_t correct, total;
    double test_loss;
    uint64_t float32_bytes; /* what each direction would have cost with float32 all the way */
    const char *waits;      /* what the job waits for, or "" */
    const char *over_reason;
    bool stopped;
    const struct sp_decide *decide;
};

int sp_round_create(struct sp_round **out, const struct sp_job *job);
void sp_round_destroy(struct sp_round *r);

/* For measuring: rounds go their way, but the weights stay as they are, and nobody is told their digest. Before the
 * first event. */
void sp_round_exchange_only(struct sp_round *r, bool on);

/* Gives the initial weights of a model: theta [coordinates], buffers [buffers]. A code with words if there are none for
 * it. What else the log should say goes to `words`. */
typedef int sp_initial_read(void *arg, const struct sp_layout *layout, float *theta, float *buffers, char words[256],
                            struct sp_error *error);

/* Before the first event: the initial weights come from this function (a file's, which is not for the core to read),
 * and no worker is asked for them. It is called when a worker has named the model; one for which it fails is refused.
 */
void sp_round_start_from(struct sp_round *r, sp_initial_read *read, void *arg);
/* Whether it may still be called: until the first worker is in. */
bool sp_round_needs_init(const struct sp_round *r);

/* --- events ---
 * `peer` is a number that the caller chose for the connection, not 0, and of no other that is still there. `now_ms`
 * never goes back. */

/* `name` stands for the peer in notes ("127.0.0.1:4321"); `ticket` are fresh random bytes that it gets with a slot. */
void sp_round_hello(struct sp_round *r, uint32_t peer, const char *name, const struct sp_hello *hello,
                    const uint8_t ticket[SP_TICKET_BYTES], uint64_t now_ms);
/* Why a HELLO is refused. */
struct sp_refusal {
    enum sp_reason reason;
    char words[256];
};

/* What would become of a worker. */
struct sp_probe {
    struct sp_refusal refusal;
    int slot;       /* that it would get; -1: it would be a spare */
    unsigned taken; /* slots */
    bool compared;  /* its model and data with the job's, which are known */
};

/* Answers with what sp_round_hello() would come to, but for a ticket; no event: nothing changes. A layout_digest of 0
 * stands for a worker whose model and data are not known. False if it would be refused: then `refusal` says why. */
bool sp_round_probe(const struct sp_round *r, const struct sp_hello *hello, struct sp_probe *probe);

/* The connection is gone or was closed; unknown peers are ignored. */
void sp_round_left(struct sp_round *r, uint32_t peer, const char *words, uint64_t now_ms);

/* Where the bulk of a WEIGHTS or PUSH frame goes. SP_E_STATE: nowhere, read it and throw it away (and give the event
 * nonetheless: it is counted); 1: the peer is ahead, hold it until SP_ACTION_RESUME; other codes: it broke the
 * protocol. */
#define SP_ROUND_HOLD 1
int sp_round_place(struct sp_round *r, uint32_t peer, const struct sp_frame *frame, void **destination,
                   struct sp_error *error);
/* The frame, its bulk being where sp_round_place() said. A code with words if the peer broke the protocol. */
int sp_round_weights(struct sp_round *r, uint32_t peer, const struct sp_message *message, uint64_t now_ms,
                     struct sp_error *error);
int sp_round_push(struct sp_round *r, uint32_t peer, const struct sp_message *message, uint64_t now_ms,
                  struct sp_error *error);
/* A PUSH frame for which sp_round_place() said SP_E_STATE, whatever it would say now. */
int sp_round_push_dropped(struct sp_round *r, uint32_t peer, const struct sp_frame *frame, uint64_t now_ms,
                          struct sp_error *error);
int sp_round_ready(struct sp_round *r, uint32_t peer, uint32_t round, uint64_t digest, uint64_t now_ms,
                   struct sp_error *error);
int sp_round_score(struct sp_round *r, uint32_t peer, uint32_t round, const struct sp_part_score *score,
                   uint64_t now_ms, struct sp_error *error);
int sp_round_resync(struct sp_round *r, uint32_t peer, uint32_t round, uint64_t digest, uint64_t now_ms,
                    struct sp_error *error);
/* Time has passed. */
void sp_round_tick(struct sp_round *r, uint64_t now_ms);
/* An operator wants the next phase to begin after this round. SP_E_STATE with words if that cannot be; both are
 * recorded. */
int sp_round_switch(struct sp_round *r, uint64_t now_ms, struct sp_error *error);
/* Somebody wants the job to end now. */
void sp_round_stop(struct sp_round *r, const char *words, uint64_t now_ms);

/* --- actions --- */

/* The weights after the round that was committed last. They are made when the caller has nothing better to do: after
 * the actions, among which was the COMMIT that workers wait for; or when they are asked for (sp_round_view()), or the
 * next round needs their place. */
void sp_round_settle(struct sp_round *r);

bool sp_round_next(struct sp_round *r, struct sp_action *action);

/* SP_ACTION_WEIGHTS came when another round had been committed, whose COMMIT is among the actions still: the peer gets
 * weights after that one. */
void sp_round_weights_again(struct sp_round *r, uint32_t peer);

/* What a WELCOME says of the job's progress: rounds, round, phase, sigma, lambda, run. */
void sp_round_progress(const struct sp_round *r, struct sp_welcome *welcome);

/* The COMMIT of the last committed round, or of round 0 once the job has started; what a worker that got weights needs
 * to go on. Borrowed. */
const struct sp_commit *sp_round_last_commit(const struct sp_round *r);

/* The round that was committed last. Cheap as well. */
uint32_t sp_round_committed(const struct sp_round *r);

/* Whether the job has started; whether it evaluates the weights of the round that was committed last. Cheap. */
bool sp_round_has_started(const struct sp_round *r);
bool sp_round_evaluates(const struct sp_round *r);

/* The phase that a round was of, or will be unless the job switches before it. Cheap, unlike a view. */
enum sp_phase sp_round_phase(const struct sp_round *r, uint32_t round);
/* NULL while unknown. Cheap as well. */
const struct sp_layout *sp_round_layout(const struct sp_round *r);
void sp_round_view(struct sp_round *r, struct sp_view *view);

/* The round that was committed last, as a report of it alone; without evaluation. Cheap. NULL before round 1. */
const struct sp_report *sp_round_latest(const struct sp_round *r);
/* What each direction would have cost so far with float32 all the way. Cheap as well. */
uint64_t sp_round_float32_bytes(const struct sp_round *r);

/* What a change of phase would be now, and how near it is. */
struct sp_outlook {
    bool pending;     /* one lies ahead */
    enum sp_phase to; /* where it leads */
    const char *rule; /* of lambda: static; NULL where it has no part */
    double lambda;    /* NaN: not known before there are statistics, or no part */
    bool about;       /* it is a guess */
    struct sp_numbers numbers;
    unsigned flat_needed;      /* of `auto`: windows in a row */
    double bar;                /* what a window must bring, as a share of the loss won so far */
    uint32_t earliest, latest; /* rounds: not before, and at that in any case; 0: no such bound */
    char words[320];
};

void sp_round_outlook(const struct sp_round *r, struct sp_outlook *outlook);

/* When sp_round_tick() is due at the latest. */
uint64_t sp_round_due_ms(const struct sp_round *r);
