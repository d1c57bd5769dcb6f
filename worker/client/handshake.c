/* The first frames of a connection: HELLO, and with a secret the server's CHALLENGE and our PROOF; then LAYOUT. WELCOME
 * is the inbox's.
 *
 * Failure: a server that cannot prove that it holds our secret hears why in a BYE, and signpost_wait() returns a code.
 * A server that says that the job is over before it has proved anything is not believed: we come back later.
 */
#include "proto/proof.h"
#include "worker/client/client_state.h"

#include <string.h>

static void send_layout(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_LAYOUT}};

    message.layout = s->learner.layout;
    sp_link_send(s, &message, NULL, 0);
    s->stage = STAGE_HELLO;
}

void sp_handshake_begin(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}};
    struct sp_hello *hello = &s->hello;
    struct sp_error error = {0};

    memset(hello, 0, sizeof *hello);
    memcpy(hello->job, s->job, sizeof hello->job);
    memcpy(hello->program, s->program, sizeof hello->program);
    hello->role = SP_ROLE_WORKER;
    hello->layout_digest = s->layout_digest;
    hello->examples = s->examples;
    hello->test_examples = s->test_examples;
    hello->data_digest = s->data_digest;
    hello->wanted_slot = s->wanted_slot;
    hello->has_ticket = s->has_ticket;
    memcpy(hello->ticket, s->welcome.ticket, sizeof hello->ticket);
    hello->has_nonce = s->secret.bytes > 0;
    if (hello->has_nonce && sp_random_bytes(hello->nonce, sizeof hello->nonce, &error) != SP_OK) {
        sp_link_lose(s, error.text);
        return;
    }
    message.hello = *hello;
    s->stage = hello->has_nonce ? STAGE_CHALLENGE : STAGE_HELLO;
    sp_link_send(s, &message, NULL, 0);
    if (s->link == LINK_UP && !hello->has_nonce)
        send_layout(s);
}

static int refuse_server(signpost *s)
{
    (void)sp_client_end(s, SP_E_REJECTED,
                        "the server %s did not prove that it holds the same secret as this worker: security.token_file "
                        "differs, or it is another server",
                        s->server);
    sp_link_finish(s, SP_REASON_SECRET, "the server's proof is wrong: it does not hold the secret of this worker");
    return SP_OK;
}

int sp_handshake_challenge(signpost *s, const struct sp_challenge *challenge, struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PROOF}};
    struct sp_channel channel;
    uint8_t right[SP_PROOF_BYTES];

    if (sp_channel_of(sp_stream_tls(s->stream), &channel) != SP_OK ||
        sp_proof_make(&s->secret, SP_PROVER_SERVER, &s->hello, challenge->nonce, &channel, right) != SP_OK ||
        sp_proof_make(&s->secret, SP_PROVER_CLIENT, &s->hello, challenge->nonce, &channel, message.proof) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a proof");
    if (!sp_proof_equal(challenge->proof, right))
        return refuse_server(s);
    sp_link_send(s, &message, NULL, 0);
    if (s->link == LINK_UP)
        send_layout(s);
    return SP_OK;
}

int sp_handshake_header(const signpost *s, const struct sp_frame *frame, struct sp_error *error)
{
    bool awaited = s->stage == STAGE_CHALLENGE;

    if (frame->type == SP_FRAME_BYE || (frame->type == SP_FRAME_CHALLENGE) == awaited)
        return SP_OK;
    if (awaited)
        return sp_error_set(error, SP_E_PROTOCOL,
                            "it sent %s without proving that it holds the secret of this worker's security.token_file",
                            sp_frame_name(frame->type));
    return sp_error_set(error, SP_E_PROTOCOL,
                        "it asks for a proof that this worker, which has no secret, did not offer");
}
