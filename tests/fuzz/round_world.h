/* The world around a round core that is fuzzed: lines to workers, what the core said to each, what it sent to all, and
 * what must be true of that. As server/peer.c and server/server.c do, but in memory; only fuzz_round.c includes this.
 */
#pragma once

#include "common/check.h"
#include "server/round.h"
#include "server/state.h"

#define LINES 8
#define EVALS_MAX 8
#define PEERS_MAX 8192 /* connections of one input */
#define RUN 7

/* Loops of ours over many bytes, which are nothing that the fuzzer should take an interest in. */
#define WATCHED_LESS __attribute__((no_sanitize("coverage")))

enum line_state { LINE_NONE, LINE_SPARE, LINE_SEATED, LINE_ASKED, LINE_SENT, LINE_READY };

/* A connection, and what its worker may know. */
struct line {
    uint32_t peer; /* 0: none */
    enum line_state state;
    bool following;
    bool breaks; /* when something is sent to it the next time */
    uint32_t slot;
    uint32_t round; /* of the weights it was sent */
    uint32_t given; /* chunks of the initial weights, or of the present round */
    bool has_ticket;
    uint8_t ticket[SP_TICKET_BYTES]; /* the last it got, also of a connection before */
    struct sp_part_score evals[EVALS_MAX];
    uint32_t evals_round, evals_count;
    /* A frame whose bulk is being read, or is held back by the window. */
    bool reading, held, discards;
    struct sp_message message;
    void *destination;
    uint8_t fill;  /* what its bulk is made of */
    uint8_t theta; /* what the initial weights are made of */
};

struct entry {
    struct sp_entry entry;
    uint8_t *body; /* owned */
};

struct world {
    struct sp_job job;
    struct sp_round *round;
    uint64_t now_ms;
    struct line lines[LINES];
    uint32_t peers;            /* numbers that were given so far */
    uint32_t event;            /* number of the present one */
    uint32_t gone[PEERS_MAX];  /* the event in which a peer left; 0: none */
    bool modest;               /* all that was pushed has a size that sums and rates do not make infinite */
    bool over, asked;          /* OVER came; INIT was said to somebody who has not answered */
    bool started;              /* COMMIT 0 came */
    uint32_t committed;        /* of the last COMMIT */
    struct sp_round_form form; /* of the round that is collected, as that COMMIT said */
    uint32_t updates;          /* chunks of it that came */
    enum sp_stage stage;       /* at the end of the event before */
    uint64_t digest;           /* of the weights after `committed` */
    struct sp_checkpoint kept; /* none before the job has started */
    bool jobs_compared;        /* with that of a checkpoint: once is enough */
    struct entry *entries;     /* owned: of the rounds after it */
    uint32_t entries_count, entries_room, whole;
};

void world_open(struct world *w);
void world_close(struct world *w);

/* The peer broke the protocol, or is gone. */
void world_drop(struct world *w, struct line *line);
/* Takes what an event returned, does what the core wants done, and checks. `line` may be NULL. */
void world_settle(struct world *w, struct line *line, int rc, const struct sp_error *error);
/* The bulk of line->message begins: where it goes. */
void world_place(struct world *w, struct line *line);
/* All of it is there, if it is not thrown away. */
void world_filled(struct world *w, struct line *line);

/* Begins a checkpoint, or goes on with it; a whole one is restored, and must say the same. */
void world_checkpoint(struct world *w, size_t bytes);
/* kill -9; the core comes back from what was kept. False if there is nothing yet. */
bool world_crash(struct world *w);
