/* From a stranger to a worker, an operator, or a probe that has its answer.
 *
 * Happy path without a secret: HELLO, LAYOUT, and the round core answers with WELCOME. With one: HELLO (with a nonce),
 * our CHALLENGE (with our proof), PROOF, LAYOUT. An operator's PROOF is followed by ASK in place of LAYOUT. A probe
 * goes a worker's way up to LAYOUT, which it may leave out; then it is answered (probe.c), and the core never hears of
 * it.
 *
 * Failure: a frame out of order, no or a wrong proof, or no end within SP_HANDSHAKE_MS_MAX: a BYE that says why. Until
 * the proof is there nothing else of what the peer said is looked at, and no more than a small frame is held for it.
 */
#include "common/log.h"
#include "proto/proof.h"
#include "server/server_state.h"
#include "server/status.h"

#include <stdlib.h>
#include <string.h>

/* --- order -----------------------------------------------------------------------------------------------------------
 */

static bool belongs_to_handshake(enum sp_frame_type type)
{
    return type == SP_FRAME_HELLO || type == SP_FRAME_PROOF || type == SP_FRAME_LAYOUT || type == SP_FRAME_ASK;
}

int sp_handshake_header(void *owner, const struct sp_frame *frame, struct sp_error *error)
{
    static const enum sp_frame_type awaited[] = {[SP_PEER_HELLO] = SP_FRAME_HELLO,
                                                 [SP_PEER_PROOF] = SP_FRAME_PROOF,
                                                 [SP_PEER_LAYOUT] = SP_FRAME_LAYOUT,
                                                 [SP_PEER_OPERATOR] = SP_FRAME_ASK};
    const struct sp_peer *peer = owner;

    if (frame->type == SP_FRAME_BYE)
        return SP_OK;
    if (peer->stage == SP_PEER_WORKER) {
        if (!belongs_to_handshake(frame->type))
            return SP_OK;
        return sp_error_set(error, SP_E_PROTOCOL, "%s after the handshake", sp_frame_name(frame->type));
    }
    if (frame->type != awaited[peer->stage])
        return sp_error_set(error, SP_E_PROTOCOL, "%s before %s", sp_frame_name(frame->type),
                            sp_frame_name(awaited[peer->stage]));
    return SP_OK;
}

/* --- secrets ---------------------------------------------------------------------------------------------------------
 */

static const struct sp_secret *secret_for(const struct sp_peer *peer)
{
    const struct sp_security *security = &peer->server->security;

    return peer->hello.role == SP_ROLE_OPERATOR ? &security->operator_ : &security->worker;
}

/* False, after a BYE, if this peer and the secrets of this server cannot come together. */
static bool may_prove(struct sp_peer *peer, const struct sp_hello *hello)
{
    bool operates = hello->role == SP_ROLE_OPERATOR;
    bool has_secret = secret_for(peer)->bytes > 0;
    const struct sp_tls *tls = sp_stream_tls(peer->stream);

    if (tls != NULL && !sp_tls_has_role(tls, operates ? SP_TLS_ROLE_OPERATOR : SP_TLS_ROLE_WORKER)) {
        sp_peer_bye(peer, SP_REASON_SECRET,
                    operates
                        ? "this certificate is not an operator's: its subjectAltName lacks URI:" SP_TLS_ROLE_OPERATOR
                        : "this certificate is not a worker's: its subjectAltName lacks URI:" SP_TLS_ROLE_WORKER);
        return false;
    }
    if (operates && !has_secret && tls == NULL) {
        sp_peer_bye(peer, SP_REASON_OPERATOR,
                    "this server takes no operators over the network: set security.operator_token_file in its job "
                    "file, or name the run's folder on its machine");
        return false;
    }
    if (has_secret && !hello->has_nonce) {
        sp_peer_bye(peer, SP_REASON_SECRET,
                    operates ? "this server asks operators for their secret: give its file with --token-file"
                             : "this server asks workers for a secret: give them its file and set security.token_file");
        return false;
    }
    if (!has_secret && hello->has_nonce) {
        sp_peer_bye(peer, SP_REASON_SECRET,
                    operates
                        ? "this server has no secret for operators, and this one brings one: leave --token-file out"
                        : "this server runs without a secret, and the worker has one: set security.token_file on "
                          "both sides or on neither");
        return false;
    }
    return true;
}

static int make_proof(const struct sp_peer *peer, enum sp_prover prover, uint8_t proof[SP_PROOF_BYTES])
{
    struct sp_channel channel;
    int rc = sp_channel_of(sp_stream_tls(peer->stream), &channel);

    if (rc == SP_OK)
        rc = sp_proof_make(secret_for(peer), prover, &peer->hello, peer->server_nonce, &channel, proof);
    return rc;
}

static int challenge(struct sp_peer *peer, struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_CHALLENGE}};
    int rc = sp_random_bytes(peer->server_nonce, sizeof peer->server_nonce, error);

    if (rc != SP_OK)
        return rc;
    memcpy(message.challenge.nonce, peer->server_nonce, sizeof peer->server_nonce);
    rc = make_proof(peer, SP_PROVER_SERVER, message.challenge.proof);
    if (rc != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "the server has no memory for a proof");
    peer->stage = SP_PEER_PROOF;
    sp_peer_send_message(peer, &message);
    return SP_OK;
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

/* It has proved what it must. */
static int go_on(struct sp_peer *peer, struct sp_error *error)
{
    const struct sp_hello *hello = &peer->hello;

    peer->stage = hello->role == SP_ROLE_OPERATOR ? SP_PEER_OPERATOR : SP_PEER_LAYOUT;
    return hello->role == SP_ROLE_PROBE && hello->layout_digest == 0 ? sp_probe_answer(peer, error) : SP_OK;
}

static int got_hello(struct sp_peer *peer, const struct sp_hello *hello, struct sp_error *error)
{
    peer->hello = *hello;
    if (!may_prove(peer, hello))
        return SP_OK;
    return hello->has_nonce ? challenge(peer, error) : go_on(peer, error);
}

static int got_proof(struct sp_peer *peer, const uint8_t *proof, struct sp_error *error)
{
    bool operates = peer->hello.role == SP_ROLE_OPERATOR;
    uint8_t right[SP_PROOF_BYTES];

    if (make_proof(peer, SP_PROVER_CLIENT, right) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "the server has no memory for a proof");
    if (!sp_proof_equal(proof, right)) {
        sp_peer_bye(peer, SP_REASON_SECRET,
                    operates ? "the proof is wrong: this is not the secret in the server's security.operator_token_file"
                             : "the proof is wrong: this is not the secret in the server's security.token_file");
        return SP_OK;
    }
    return go_on(peer, error);
}

static int got_layout(struct sp_peer *peer, const struct sp_layout *layout, struct sp_error *error)
{
    int rc;

    if (sp_layout_digest(layout) != peer->hello.layout_digest)
        return sp_error_set(error, SP_E_PROTOCOL, "the layout does not match the digest in HELLO");
    peer->hello.layout = *layout; /* borrowed */
    if (peer->hello.role == SP_ROLE_PROBE)
        return sp_probe_answer(peer, error);
    rc = sp_random_bytes(peer->ticket, sizeof peer->ticket, error);
    if (rc != SP_OK)
        return rc;
    peer->stage = SP_PEER_WORKER;
    sp_log_debug("peer", "%s: HELLO from %s, job '%s', %llu coordinates", peer->name, peer->hello.program,
                 peer->hello.job, (unsigned long long)layout->coordinates);
    sp_round_hello(peer->server->round, peer->id, peer->name, &peer->hello, peer->ticket, sp_server_now_ms());
    memset(&peer->hello, 0, sizeof peer->hello);
    return SP_OK;
}

/* Answers an operator and ends the connection: one command each. */
static int got_ask(struct sp_peer *peer, const char *command, struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_ANSWER}};
    struct sp_server *server = peer->server;
    bool stops = false;

    if (peer->hello.job[0] != '\0' && strcmp(peer->hello.job, server->job.job) != 0) {
        char words[256];

        (void)snprintf(words, sizeof words, "this server runs job '%s', not '%s'", server->job.job, peer->hello.job);
        sp_peer_bye(peer, SP_REASON_JOB, words);
        return SP_OK;
    }
    sp_log_info("peer", "%s: an operator asks: %s", peer->name, command);
    message.answer = sp_operator_obey(server, command, &stops);
    if (message.answer == NULL || strlen(message.answer) > SP_CONTROL_BYTES_MAX - 16) {
        free(message.answer);
        return sp_error_set(error, SP_E_NOMEM, "the server has no memory for its answer");
    }
    sp_peer_send_message(peer, &message);
    free(message.answer);
    sp_peer_end(peer, "it was answered");
    if (stops)
        sp_operator_stop(server);
    return SP_OK;
}

int sp_handshake_got(struct sp_peer *peer, struct sp_message *message, struct sp_error *error)
{
    switch (message->frame.type) {
    case SP_FRAME_HELLO:
        return got_hello(peer, &message->hello, error);
    case SP_FRAME_PROOF:
        return got_proof(peer, message->proof, error);
    case SP_FRAME_LAYOUT:
        return got_layout(peer, &message->layout, error);
    case SP_FRAME_ASK:
        return got_ask(peer, message->command, error);
    default:
        return sp_error_set(error, SP_E_PROTOCOL, "%s is not for a client to send", sp_frame_name(message->frame.type));
    }
}
