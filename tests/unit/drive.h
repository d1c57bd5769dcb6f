/* Drives the round core by events, as the daemon does, and keeps what it answers.
 *
 * It also keeps a twin of the weights that knows only what leaves as actions: updates are staged, commits applied.
 * After every event the twin must be the server's weights to the bit; whoever is sent weights must be sent those of the
 * round that goes with them.
 */
#pragma once

#include "proto/chunks.h"
#include "server/round.h"

#include <check.h>

struct drive_entry {
    struct sp_action action;
    uint8_t *bulk;         /* owned: of an UPDATE */
    float *rates, *decays; /* owned: of a COMMIT; rates of an EVENT too */
};

/* A tensor of the model. */
struct drive_tensor {
    const char *name;
    uint64_t count;
    uint32_t flags; /* as a worker declares them */
};

struct drive {
    struct sp_job job;
    struct sp_layout layout;
    uint64_t examples, test_examples, data_digest; /* what the next HELLO says */
    struct sp_round *round;
    uint64_t now_ms;
    uint32_t peers;           /* given so far; they count from 1 */
    const float *own_buffers; /* borrowed: what workers push of their buffers; NULL: zeros */
    struct drive_entry *log;
    size_t count, room;
    /* the twin */
    uint8_t *traits;
    float *theta, *values, *full, *buffers, *averages;
    uint8_t *bits;
    uint32_t staged; /* chunks */
    uint32_t committed;
    struct sp_round_form form; /* of the round after `committed` */
    bool has_weights;
    bool weights_from_a_file; /* set by the test: the first that are sent are the initial ones */
};

/* A chunk to push. `values` are all of the model's: signs are packed from them, or they travel themselves, coded
 * without a residual. */
struct drive_chunk {
    uint32_t round, k; /* chunk k of the round's form */
    const float *values;
    bool has_dot;
    double dot;
    const struct sp_push *scalars; /* for the last chunk; NULL: none */
    bool astray;                   /* dot and scalars ride on this chunk, where they do not belong */
};

/* `settings` are "key=value", ended by NULL; `tensors` are their sizes, ended by 0. Without settings to the contrary:
 * 10 rounds at a rate of 1/16 without schedule, dither and switch; SGD values in float32. */
void drive_open(struct drive *d, const char *const *settings, const uint64_t *tensors);
/* The same with names and flags; `tensors` are ended by a count of 0. */
void drive_open_model(struct drive *d, const char *const *settings, const struct drive_tensor *tensors);
void drive_close(struct drive *d);
/* Forgets the actions so far. */
void drive_clear(struct drive *d);
/* Takes the actions that are there, checks them against the twin, logs them. After every event. */
void drive_absorb(struct drive *d);

/* The ticket that peer gets with its slot. */
void drive_ticket(uint32_t peer, uint8_t ticket[SP_TICKET_BYTES]);
/* What a worker of this job says first. */
void drive_hello_of(const struct drive *d, int wanted, struct sp_hello *hello);
uint32_t drive_hello_with(struct drive *d, const struct sp_hello *hello);
uint32_t drive_hello(struct drive *d, int wanted);
/* With the ticket that `before` got. */
uint32_t drive_return(struct drive *d, uint32_t before);
/* The initial weights of coordinate j, and of the buffers' value j. */
float drive_weight(uint64_t j);
float drive_buffer(uint64_t j);
int drive_init(struct drive *d, uint32_t peer);
int drive_ready(struct drive *d, uint32_t peer);
/* HELLO, the initial weights if asked for, READY. */
uint32_t drive_join(struct drive *d, int wanted);
/* `n` workers join, each in the slot of its turn; the first of them is returned, the others follow in number. */
uint32_t drive_join_all(struct drive *d, uint32_t n);
/* The code of place or push; SP_ROUND_HOLD where the window holds it back. */
int drive_push_chunk(struct drive *d, uint32_t peer, const struct drive_chunk *chunk);
/* All chunks of the round that is collected. */
int drive_push(struct drive *d, uint32_t peer, const float *values);
int drive_push_scalars(struct drive *d, uint32_t peer, const float *values, double dot, const struct sp_push *scalars);
int drive_abstain(struct drive *d, uint32_t peer, uint32_t round);
int drive_score(struct drive *d, uint32_t peer, uint32_t round, uint32_t part, uint64_t correct, uint64_t total);
void drive_left(struct drive *d, uint32_t peer);
void drive_tick(struct drive *d, uint64_t passed_ms);
int drive_switch(struct drive *d, struct sp_error *error);

uint32_t drive_chunks(const struct drive *d);
void drive_view(struct drive *d, struct sp_view *view);
/* The n-th action of a type in the log, from 0; NULL if there are fewer. */
const struct drive_entry *drive_find(const struct drive *d, enum sp_action_type type, unsigned n);
unsigned drive_number(const struct drive *d, enum sp_action_type type);
/* The last action of a type; there must be one. */
const struct drive_entry *drive_last(const struct drive *d, enum sp_action_type type);
/* The first action of a type for a peer; NULL if there is none. */
const struct drive_entry *drive_to(const struct drive *d, enum sp_action_type type, uint32_t peer);
/* Whether a note or a BYE has these words. */
bool drive_said(const struct drive *d, const char *words);
/* Checks that the one BYE in the log is to that peer and has that reason. */
void drive_expect_bye(const struct drive *d, uint32_t peer, enum sp_reason reason);
