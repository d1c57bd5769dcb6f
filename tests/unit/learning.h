/* A learner that a test takes through rounds of any form: whole updates are made and staged as a server would send
 * them, and all that it pushes is kept, each frame checked to be the next chunk of its round.
 */
#pragma once

#include "unit.h"
#include "worker/client/learner.h"

#define LEARNING_SEED 77
#define LEARNING_SLOT 2
#define LEARNING_BETA1 0.9
#define LEARNING_PUSHES_MAX 64

/* `traits` of enum sp_tensor_flags, those that the job's rules make included; buffers come last. */
struct learning_tensor {
    uint64_t count;
    uint32_t traits;
};

struct learning_next {
    enum sp_phase phase;
    enum sp_wire wire;
    float sigma;
    bool buffers;
};

struct learning_push {
    struct sp_message message;
    size_t bytes;
    uint8_t *bulk; /* owned */
};

struct learning {
    struct sp_layout layout; /* as the learner's */
    struct sp_learner learner;
    struct sp_learner_setup setup;
    struct sp_error error;
    float *gradient;
    float *update;   /* what the staged update means for each coordinate: signs, V/M, or values; 0 in full */
    unsigned pushes; /* of the present round */
    struct learning_push push[LEARNING_PUSHES_MAX];
};

/* The learner after round 0, all set up. `setup` without traits; NULL: neither tracking nor dither a tensor. */
void learning_open(struct learning *p, const struct learning_tensor *tensors, uint32_t count,
                   const struct sp_learner_setup *setup);
void learning_close(struct learning *p);
/* A WELCOME with another setup. */
void learning_set_up(struct learning *p, const struct sp_learner_setup *setup);

/* COMMIT of the round that the weights are from: the next is to be such. */
void learning_announce(struct learning *p, const struct learning_next *next);

/* The gradient of round t: numbers of many sizes and both signs. */
void learning_fill(struct learning *p, uint32_t t);
/* Begins the round and gives all of it. */
void learning_give(struct learning *p);
void learning_give_range(struct learning *p, uint64_t first, uint64_t end);
/* The same in pieces, taking pushes after each: tensor after tensor from the last one on (1), or cut anywhere and in
 * any order (2 and up; each number another one). 0: whole. */
void learning_give_in_order(struct learning *p, uint32_t how);
/* Takes what can be pushed. `scalars`: NULL while they are not known. */
void learning_pull(struct learning *p, const struct sp_push *scalars);
/* Takes the rest, with a loss of 1.5 over 16 examples. */
void learning_pull_all(struct learning *p);
/* All bytes of the pushes with these flags, LAST apart, one after the other: the caller's to free. */
uint8_t *learning_pushed(const struct learning *p, unsigned flags, size_t *bytes);
/* Scalars and dot of the round. */
struct sp_push learning_scalars(const struct learning *p);

/* What a server makes of its workers' pushes: `values` of all coordinates (signs, or counts of `voters` that are as
 * near to V/M as can be, or coded as the wire says), of all tensors in full, of all buffers; NULL: zeros. */
struct learning_update {
    const float *values, *full, *averages;
    unsigned voters;
};

/* Chunk k of an update: its frame in `message`, its bulk in `bulk`. */
void learning_make_chunk(const struct learning *p, const struct learning_update *update, uint32_t k,
                         struct sp_message *message, uint8_t *bulk);
/* Stages one chunk: the code of sp_learner_place() or sp_learner_staged(). */
int learning_stage_chunk(struct learning *p, const struct sp_message *message, const uint8_t *bulk);
/* Stages all of it, and fills p->update. */
void learning_stage(struct learning *p, const struct learning_update *update);
/* COMMIT of the next round at rate 1/8. */
int learning_commit(struct learning *p, const struct learning_next *next);
/* A round of which nothing is looked at: given, pushed, staged with the gradient as its update, committed. */
void learning_round(struct learning *p, uint32_t t, const struct learning_next *next);
