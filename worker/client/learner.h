/* A worker's part of a round without any I/O: gradient in, chunks to push out; update in, new weights out.
 * The client drives it over a socket, the simulation in memory.
 *
 * A round: sp_learner_begin(), sp_learner_gradient() range by range in any order, sp_learner_next_push() chunk by chunk
 * as far as there is one (learner_push.c); then sp_learner_place() and sp_learner_staged() for each chunk of the update
 * and sp_learner_commit() (learner_update.c).
 */
#pragma once

#include "common/job.h"
#include "common/layout.h"
#include "common/rng.h"
#include "common/sums.h"
#include "proto/chunks.h"
#include "proto/codec.h"

struct sp_learner_setup {
    uint64_t seed;
    uint64_t run; /* 0: unknown, which is taken for equal to any other */
    uint32_t slot;
    double beta1;
    enum sp_dither_scale dither_scale;
    bool momentum_after;   /* in the SGD phase the worker pushes m, not g */
    bool tracking;         /* it gives statistics in the SGD phase too */
    const uint8_t *traits; /* one a trained tensor, of enum sp_tensor_flags; NULL: as declared. Borrowed for the call */
};

/* Momentum is of use for weights that are at most so many rounds from its own. */
#define SP_MOMENTUM_AGE_MAX 10

/* What became of the momentum when the weights were replaced. */
enum sp_momentum_fate {
    SP_MOMENTUM_ABSENT, /* there was none */
    SP_MOMENTUM_KEPT,
    SP_MOMENTUM_OLD,    /* too many rounds from the weights, before or after them: it begins at zero */
    SP_MOMENTUM_FOREIGN /* of another run, or the job begins: it begins at zero */
};

struct sp_learner_range {
    uint64_t first, count;
    const float *values;
};

struct sp_learner {
    struct sp_learner_setup setup;
    struct sp_layout layout; /* owned */
    struct sp_rng_key key;
    float *theta, *m; /* owned; 64-byte aligned */
    float *buffers;   /* owned: the program's running statistics; NULL if the layout has none */
    uint32_t round;   /* the weights are those after this round */

    /* of the next round */
    enum sp_phase phase;
    enum sp_wire wire;
    bool buffers_due;
    float sigma;

    /* the update that is staged; all owned, NULL before they are needed */
    uint8_t *bits;   /* of a sign round */
    float *values;   /* of a margin or SGD round */
    float *full;     /* of the tensors that travel in full */
    float *averages; /* of the buffers */
    uint8_t *coded;  /* one chunk as it came, until it is decoded */
    uint64_t staged; /* coordinates of the main section that are staged */
    uint32_t staged_chunks;

    bool begun;          /* sp_learner_begin() was called for round + 1 */
    bool abstained;      /* from coordinate `given` on */
    uint64_t given;      /* coordinates of the gradient that are in m */
    uint64_t packed;     /* coordinates of the main section that were packed */
    uint64_t ahead;      /* and those whose signs are already in `signs`, which belong to the next chunk */
    uint64_t noise_from; /* how much of the gradient must be there before the noise of the next chunk is known */
    uint8_t *signs;      /* owned: one chunk */
    uint32_t next_chunk; /* to be packed */
    float *residual;     /* owned: what int8 left out so far; NULL before it is needed */
    float *work;         /* owned: values of one chunk before they are coded */
    /* Owned: the gradient of this round, by first coordinate; the first `ranges_taken` are in m, without gaps. They are
     * kept for the round's dot. */
    struct sp_learner_range *ranges;
    uint32_t ranges_count, ranges_taken, ranges_room;
    /* Sums go over the coordinates that are voted on: those of tensors in full are left out. */
    struct sp_running_sum gradient_squares, momentum_squares, tensor_squares;
    double sketch[SP_SKETCH_BUCKETS];
    double rms; /* of m of the round before; 0: none */
    /* Owned, NULL unless tensors differ in their dither: of each, of the round before and of this one. */
    double *rms_tensor, *rms_now;
    float *gains;
    uint32_t own_rounds;     /* rounds whose gradient went into m; 0: m is zero */
    uint32_t momentum_round; /* the last of them */
    uint64_t momentum_run;   /* and the run that it was of */
    bool late;               /* m started at zero after round 0: corrected where values are pushed */
    bool has_dot;
    double dot; /* of the round before */
    uint64_t abstentions;
    /* For measuring: rounds go their way, but nothing is computed. What is pushed are bits of earlier frames, or
     * zeros, and the weights stay as they are. */
    bool exchange_only;
};

/* Zero weights and momentum, round 0. `layout` is copied. */
int sp_learner_create(struct sp_learner *learner, const struct sp_layout *layout);
void sp_learner_finish(struct sp_learner *learner);

/* After a WELCOME. Momentum is kept until the weights come. SP_E_NOMEM. */
int sp_learner_set_up(struct sp_learner *learner, const struct sp_learner_setup *setup);

/* The weights were replaced by those after `round`: staged chunks, what int8 left out, and the dot of the round before
 * are dropped; momentum as well if it is of another run, or too old for them, or if the job begins. */
enum sp_momentum_fate sp_learner_replaced(struct sp_learner *learner, uint32_t round);

/* `m` was filled with the momentum of a worker before this one, whose counts are given; after sp_learner_set_up(), when
 * the learner has none of its own. Whether it is kept is decided when the weights come. */
void sp_learner_resume(struct sp_learner *learner, uint64_t run, uint32_t round, uint32_t own_rounds, bool late);

/* What the dither of the next round goes by is the m of this one. */
void sp_learner_keep_rms(struct sp_learner *learner);

/* How the numbers of the next round are cut. */
struct sp_round_form sp_learner_form(const struct sp_learner *learner);

void sp_learner_begin(struct sp_learner *learner);

/* A range of this round's gradient, in any order; it goes into m once all before it are there. `values` stays the
 * caller's and must stay as it is until the round's commit. A block of it (2048 coordinates at most) that is not finite
 * makes the worker abstain from there on: m stays as it was, and what was pushed before counts. SP_E_RANGE if a part of
 * it was given before. */
int sp_learner_gradient(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values);

/* The same in two steps, so that chunks can leave in between: sp_learner_offer() only notes the range, and each call of
 * sp_learner_take() takes what is there of one chunk (learner_take.c). False if nothing is. */
int sp_learner_offer(struct sp_learner *learner, uint64_t first, uint64_t count, const float *values);
bool sp_learner_take(struct sp_learner *learner);

/* The sums over all of m as it is, as they are made block by block while it changes. */
void sp_learner_measure(struct sp_learner *learner);

/* beta1 of the present phase: where g itself is pushed, m is g. */
double sp_learner_beta1(const struct sp_learner *learner);

/* Root mean square of m, of this round, over what is voted on. */
double sp_learner_momentum_rms(const struct sp_learner *learner);

/* Whether this worker sends sketch, norm and dot in the present phase. */
bool sp_learner_gives_statistics(const struct sp_learner *learner);

/* --- learner_push.c --- */

/* The next chunk to be pushed is another one: from where on its noise is known. */
void sp_learner_expect_chunk(struct sp_learner *learner);

/* Packs the signs of what is in m of the next chunk, if its noise is known. */
void sp_learner_pack_ahead(struct sp_learner *learner);

/* The next chunk that can be pushed now: its range; count 0 if there is none yet. Buffers, which the caller may change
 * until it pushes, are not among them. */
void sp_learner_packable(const struct sp_learner *learner, uint64_t *first, uint32_t *count);

/* Packs that chunk into `bulk` (SP_BULK_BYTES_MAX bytes) and returns the bytes used. */
size_t sp_learner_pack(struct sp_learner *learner, uint8_t *bulk);

/* Whether sp_learner_next_push() would give one. */
bool sp_learner_has_push(const struct sp_learner *learner, const struct sp_push *scalars);

/* The next PUSH that can be sent: its frame and scalars in `message`, its bulk in `bulk` (SP_BULK_BYTES_MAX bytes) and
 * *bytes. The round's last chunk, and all of the buffers, wait for `scalars` (NULL until they are known). False if
 * there is nothing to send. */
bool sp_learner_next_push(struct sp_learner *learner, const struct sp_push *scalars, struct sp_message *message,
                          uint8_t *bulk, size_t *bytes);

/* The dot of the round before, for the first chunk; loss and so on, for the last. */
void sp_learner_dot(const struct sp_learner *learner, struct sp_push *push);
void sp_learner_scalars(const struct sp_learner *learner, double loss, uint32_t examples, struct sp_push *push);

/* --- learner_update.c --- */

/* Where the bulk of an UPDATE frame belongs, checked against the form and the layout; NULL with words if it does not
 * fit. `message` holds the frame and the number of votes. */
void *sp_learner_place(struct sp_learner *learner, const struct sp_message *message, struct sp_error *error);

/* The bulk is there: decodes it if it is coded. SP_E_PROTOCOL with words if it cannot be. */
int sp_learner_staged(struct sp_learner *learner, const struct sp_message *message, struct sp_error *error);

/* Applies the staged update: the weights are then those after `round`, which must be the next one (or equal: then only
 * what concerns the next round is taken). SP_E_MISMATCH if the weights differ from the digest in the commit. */
int sp_learner_commit(struct sp_learner *learner, uint32_t round, const struct sp_commit *commit,
                      struct sp_error *error);
