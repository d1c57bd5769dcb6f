/* Messages as C structs, and their frames. codec.c is the only file that includes the generated protobuf code.
 */
#pragma once

#include "common/buffer.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/sums.h"
#include "common/values.h"
#include "proto/arena.h"
#include "proto/frame.h"

#include <stdbool.h>

#define SP_TICKET_BYTES 16
#define SP_SLOTS_MAX 255
#define SP_SETTINGS_MAX 1024
#define SP_ANY_SLOT (-1)
#define SP_NONCE_BYTES 32
#define SP_PROOF_BYTES 32
#define SP_COMMAND_BYTES 64

enum sp_phase { SP_PHASE_SIGN = 0, SP_PHASE_SGD = 1, SP_PHASE_MARGIN = 2 };
#define SP_PHASES 3

/* "sign", "margin", "sgd": static. */
const char *sp_phase_name(enum sp_phase phase);

/* Numbers on the wire. */
enum sp_role { SP_ROLE_WORKER = 0, SP_ROLE_OPERATOR = 1, SP_ROLE_PROBE = 2 };

struct sp_hello {
    char job[64], program[64];
    uint32_t role;           /* of enum sp_role */
    struct sp_layout layout; /* not in this frame: that of the LAYOUT frame, for who joins by both */
    uint64_t layout_digest;
    uint64_t examples, test_examples, data_digest;
    int wanted_slot; /* or SP_ANY_SLOT */
    bool has_ticket;
    uint8_t ticket[SP_TICKET_BYTES];
    bool has_nonce; /* it holds a secret and asks for proof */
    uint8_t nonce[SP_NONCE_BYTES];
};

struct sp_challenge {
    uint8_t nonce[SP_NONCE_BYTES];
    uint8_t proof[SP_PROOF_BYTES];
};

struct sp_setting {
    char *key, *value; /* owned */
};

struct sp_welcome {
    bool spare;
    uint32_t slot;
    uint8_t ticket[SP_TICKET_BYTES];
    struct sp_setting *plan; /* owned */
    uint32_t plan_count;
    uint32_t rounds, round;
    uint32_t phase; /* of enum sp_phase */
    float sigma, lambda;
    uint8_t *traits; /* owned: one a tensor that is trained, of enum sp_tensor_flags; NULL if spare */
    uint32_t traits_count;
    uint32_t alive_interval_ms, silence_ms_max;
    uint64_t run; /* one number for the whole job, also when its server was restarted; 0: unknown */
};

struct sp_push {
    bool has_dot, has_scalars;
    double dot;
    double loss, gradient_norm2;
    uint32_t examples;
    bool has_sketch;
    float sketch[SP_SKETCH_BUCKETS];
};

struct sp_commit {
    float rate, decay;
    float *rates, *decays; /* one a tensor each, or NULL if rate and decay are for all; owned by the message */
    uint32_t rates_count, decays_count;
    uint8_t voters[32];
    bool last;
    uint32_t next_phase; /* of enum sp_phase */
    float next_sigma;
    uint32_t next_wire; /* of enum sp_wire: how values of the next round travel, if it is one of the SGD phase */
    bool next_buffers;  /* the next round also averages the buffers */
    bool has_digest;
    uint64_t digest;
};

struct sp_eval {
    uint32_t part, parts;
};

struct sp_part_score {
    uint32_t part;
    uint64_t correct, total;
    double loss_sum;
};

struct sp_bye {
    uint32_t reason; /* of enum sp_reason, or one that a later version knows */
    char words[256];
};

/* One frame without its bulk. Which member of the union counts follows from frame.type. */
struct sp_message {
    struct sp_frame frame;
    union {
        struct sp_hello hello;
        struct sp_welcome welcome;
        uint64_t digest; /* WEIGHTS (its last chunk), READY, RESYNC */
        struct sp_push push;
        uint32_t voters; /* UPDATE: votes that were counted in this chunk */
        struct sp_commit commit;
        struct sp_eval eval;
        struct sp_part_score score;
        struct sp_bye bye;
        struct sp_challenge challenge;
        uint8_t proof[SP_PROOF_BYTES];
        struct sp_layout layout;        /* owned */
        char command[SP_COMMAND_BYTES]; /* ASK */
        char *answer;                   /* owned, except while it is encoded */
    };
    void *control; /* owned: where the rates of a decoded COMMIT lie; in `arena`, unless it had no room */
    struct sp_arena *arena;
};

/* The frame of a message, ready to be sent: type, flags, round, first and count are read from message->frame; the
 * lengths are filled in here. `bulk` has `bulk_bytes` bytes. NULL if out of memory. */
struct sp_buffer *sp_codec_encode(const struct sp_message *message, const void *bulk, size_t bulk_bytes);

/* The same in a buffer of the pool, if the control message fits in front of its bulk. */
struct sp_buffer *sp_codec_encode_pooled(struct sp_buffers *pool, const struct sp_message *message, const void *bulk,
                                         size_t bulk_bytes);

/* The same in a pooled buffer whose bulk is already in its place. The control message is one of a round's: at most
 * SP_BUFFER_HEAD_BYTES with the header. */
void sp_codec_complete(struct sp_buffer *buffer, const struct sp_message *message, size_t bulk_bytes);

/* Decodes the control bytes of `message->frame` (which sp_frame_decode() filled in). On success the message owns what
 * it points to until sp_message_finish(). */
int sp_codec_decode(struct sp_message *message, const uint8_t *control, struct sp_error *error);

/* The same with memory of the arena, which is reset first: what a message of before borrowed of it is gone. */
int sp_codec_decode_in(struct sp_arena *arena, struct sp_message *message, const uint8_t *control,
                       struct sp_error *error);

void sp_message_finish(struct sp_message *message);

/* A plan's value for a key, or NULL. */
const char *sp_welcome_setting(const struct sp_welcome *welcome, const char *key);
