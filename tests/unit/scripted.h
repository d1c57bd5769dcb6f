/* A client, and a server that does what a test tells it to: a plain socket on loopback, frames made with proto/codec.
 *
 * Both live in one thread. While a test waits for something of either, the client is given its turn again and again,
 * and the events that it gives are kept in a queue. A test may also give the client to another thread: then it only
 * waits. Nothing waits for longer than SCRIPTED_MS_MAX, and no turn of the client may change the signal mask.
 */
#pragma once

#include "common/secret.h"
#include "proto/proof.h"
#include "proto/reason.h"
#include "unit.h"
#include "worker/client/signpost.h"

#include <signal.h>
#include <stdbool.h>

#define SCRIPTED_MS_MAX 10000
#define SCRIPTED_D 17 /* coordinates: a tensor "a" of 3x4 with decay, and "b" of 5 */

struct scripted {
    signpost *s;        /* NULL: none, or another thread has it */
    int listener, line; /* the line is the connection that the server talks on; -1: none */
    char address[64];
    int code; /* that the client ended with; 0 while it has not */
    struct signpost_event events[16];
    unsigned events_count;
    char token[80];          /* the client's file of `secret`; "" while there is none */
    struct sp_secret secret; /* the server's */
    uint32_t rounds;         /* of the job */
    uint64_t run;
    uint32_t alive_ms, silence_ms;
    uint8_t traits[8]; /* that WELCOME says of the first `traits_count` tensors */
    uint32_t traits_count;
    struct sp_hello hello; /* of the present line */
    uint8_t server_nonce[SP_NONCE_BYTES];
    struct sp_frame frame; /* that came last, and its bulk */
    uint8_t bulk[SP_BULK_BYTES_MAX];
    char log[32768]; /* the client's lines, each with its level before it */
    sigset_t mask;   /* as it was before the client was opened */
};

uint64_t scripted_now_ms(void);

/* A server that listens, and no client yet. */
void scripted_listen(struct scripted *p);
/* From now on nobody listens at the server's address. */
void scripted_deafen(struct scripted *p);
/* Makes a secret that both sides hold. */
void scripted_share_secret(struct scripted *p);
/* For a client of this server, of job "test". */
struct signpost_options scripted_options(struct scripted *p);
void scripted_open(struct scripted *p, const struct signpost_options *options);
/* A server and a client, with or without a secret. */
void scripted_begin(struct scripted *p, bool secret);
/* Closes both. */
void scripted_end(struct scripted *p);

/* The client's turn: for about a millisecond, or until it has an event. */
void scripted_turn(struct scripted *p);

/* Turns until the condition holds. */
#define scripted_until(p, condition)                                                                                   \
    do {                                                                                                               \
        uint64_t until_ms = scripted_now_ms() + SCRIPTED_MS_MAX;                                                       \
                                                                                                                       \
        while (!(condition)) {                                                                                         \
            unit_assert(scripted_now_ms() < until_ms, "waited in vain for '%s'; code %d; log: %s", #condition,         \
                        (p)->code, (p)->log);                                                                          \
            scripted_turn(p);                                                                                          \
        }                                                                                                              \
    } while (0)

/* The next event must be of this type. */
struct signpost_event scripted_expect_event(struct scripted *p, uint32_t type);
/* The client must end with this code, words that contain these, and this reason. */
void scripted_expect_code(struct scripted *p, int code, const char *words, int reason);

/* --- the server's side ----------------------------------------------------------------------------------------------
 */

bool scripted_is_called(const struct scripted *p);
/* Takes the next connection; an old line is closed. */
void scripted_accept(struct scripted *p);
/* The next frame must be of this type; signs of life before it are passed over. The caller finishes the message, or
 * gives none. */
void scripted_receive(struct scripted *p, enum sp_frame_type type, struct sp_message *message);
/* Nothing comes for so long. */
void scripted_expect_quiet(struct scripted *p, uint64_t ms);
/* The client closes the line. */
void scripted_expect_end(struct scripted *p);

void scripted_send(struct scripted *p, const struct sp_message *message, const void *bulk, size_t bulk_bytes);
void scripted_send_bytes(struct scripted *p, const void *bytes, size_t count);
void scripted_send_bare(struct scripted *p, enum sp_frame_type type);
/* A frame as another version of the protocol would send it. */
void scripted_send_version(struct scripted *p, const struct sp_message *message, uint8_t version);
void scripted_send_bye(struct scripted *p, uint32_t reason, const char *words);
void scripted_hang_up(struct scripted *p);

/* --- steps of the happy path ----------------------------------------------------------------------------------------
 */

/* A connection and its HELLO; and, without a secret, its LAYOUT. */
void scripted_take_hello(struct scripted *p);
/* A CHALLENGE with a proof by this secret, of this side. */
void scripted_challenge(struct scripted *p, const struct sp_secret *secret, enum sp_prover prover);
/* PROOF, which must be right, and LAYOUT. */
void scripted_take_proof(struct scripted *p);
/* All of the handshake up to LAYOUT, with the secret if there is one. */
void scripted_take_handshake(struct scripted *p);
/* A WELCOME with a plan, after round `round`. The ticket's bytes are all `ticket`. */
void scripted_welcome(struct scripted *p, uint32_t round, uint8_t ticket);
/* Weight j of the test's job at its start. */
float scripted_weight(unsigned j);
/* COMMIT of a round, at rate 1/8, after which comes another of signs without dither. */
void scripted_commit(struct scripted *p, uint32_t round);
/* From the connection to the first round, in which the client's gradient is due. */
void scripted_start(struct scripted *p);
/* The client came back: handshake, WELCOME, weights of `round`, and the next round. */
void scripted_take_back(struct scripted *p, uint32_t round);
/* An UPDATE of all signs +1, and its COMMIT: each weight goes down by 1/8. */
void scripted_update(struct scripted *p, uint32_t round);
