/* A worker's part of a round without any I/O: gradient in, chunks to push out; update in, new weights out.
 * The client drives it over a socket, the simulation in memory.
 *
 * A round: sp_learner_begin(), sp_learner_gradient() range by range in any order, sp_learner_pack() chunk by chunk as
 * far as sp_learner_packable() says, sp_learner_scalars(); then sp_learner_stage() for each chunk of the update and
 * sp_learner_commit().
 */
#pragma once

#include "common/layout.h"
#include "common/rng.h"
#include "common/sums.h"
#include "proto/codec.h"

struct sp_learner_setup {
    uint64_t seed;
    uint32_t slot;
    double beta1;
    bool dither_absolute; /* sigma is absolute, not relative to the rms of m */
    bool momentum_after;  /* after the switch the worker pushes m, not g */
};

struct sp_learner_range {
    uint64_t first, count;
    const float *values;
};

struct sp_learner {
    struct sp_learner_setup setup;
    struct sp_layout layout; /* owned */
    struct sp_rng_key key;
    float *theta, *m;    /* owned; 64-byte aligned */
    uint8_t *bits;       /* owned: the staged update of a sign round */
    float *values;       /* owned: the staged update of an SGD round; NULL before the first */
    uint64_t staged;     /* coordinates of the update that are staged */
    uint32_t round;      /* the weights are those after this round */
    enum sp_phase phase; /* of the next round */
    float sigma;         /* of the next round */

    bool begun;             /* sp_learner_begin() was called for round + 1 */
    bool abstained;         /* from coordinate `given` on */
    uint64_t given, packed; /* coordinates of the gradient that are in m; that were packed */
    /* Owned: the gradient of this round, by first coordinate; the first `ranges_taken` are in m, without gaps. They are
     * kept for the round's dot. */
    struct sp_learner_range *ranges;
    uint32_t ranges_count, ranges_taken, ranges_room;
    struct sp_running_sum gradient_squares, momentum_squares;
    double sketch[SP_SKETCH_BUCKETS];
    double rms;          /* of m of the round before; 0: none */
    uint32_t own_rounds; /* rounds whose gradient went into m */
    bool late;           /* m started at zero after round 0: corrected in the SGD phase */
    bool has_dot;
    double dot; /* of the round before */
    uint64_t abstentions;
};

/* Zero weights and momentum, round 0. `layout` is copied. */
int sp_learner_create(struct sp_learner *learner, const struct sp_layout *layout);
void sp_learner_finish(struct sp_learner *learner);

/* After a WELCOME. Momentum is kept if the learner has any. */
void sp_learner_set_up(struct sp_learner *learner, const struct sp_learner_setup *setup);

/* The weights were replaced by those after `round`: staged chunks and the dot of the round before are dropped. */
void sp_learner_replaced(struct sp_learner *learner, uint32_t round);

void sp_learner_begin(struct sp_learner *learner);

/* A range of this round's gradient, in any order; it goes into m once all before it are there. `values` stays the
 * caller's and must stay as it is until the round's commit. A range that is not finite makes the worker abstain from it
 * on. SP_E_RANGE if a part of it was given before. */
int sp_learner_gradient(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values);

/* The next chunk that can be pushed now, at most the phase's chunk size; count 0 if there is none yet. A chunk is the
 * model's last one if first + count is its number of coordinates. */
void sp_learner_packable(const struct sp_learner *learner, uint64_t *first, uint32_t *count);

/* Packs that chunk into `bulk` (SP_BULK_BYTES_MAX bytes) and returns the bytes used. */
size_t sp_learner_pack(struct sp_learner *learner, uint8_t *bulk);

/* The next PUSH that can be sent: its frame and scalars in `message`, its bulk in `bulk` (SP_BULK_BYTES_MAX bytes) and
 * *bytes. The model's last chunk waits for `scalars` (NULL until they are known). False if there is nothing to send. */
bool sp_learner_next_push(struct sp_learner *learner, const struct sp_push *scalars, struct sp_message *message,
                          uint8_t *bulk, size_t *bytes);

/* The dot of the round before, for the first chunk; loss and so on, for the last. */
void sp_learner_dot(const struct sp_learner *learner, struct sp_push *push);
void sp_learner_scalars(const struct sp_learner *learner, double loss, uint32_t examples, struct sp_push *push);

/* Where the bulk of an UPDATE frame belongs, checked against the phase and the layout; NULL with words if it does not
 * fit. */
void *sp_learner_place(struct sp_learner *learner, const struct sp_frame *frame, struct sp_error *error);

/* Applies the staged update: the weights are then those after `round`, which must be the next one (or equal: then only
 * what concerns the next round is taken). SP_E_MISMATCH if the weights differ from the digest in the commit. */
int sp_learner_commit(struct sp_learner *learner, uint32_t round, const struct sp_commit *commit,
                      struct sp_error *error);
