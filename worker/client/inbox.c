/* Frames from the server, and what each of them changes. */
#include "worker/client/client_state.h"

#include "common/job.h"
#include "common/weights.h"

#include <stdio.h>
#include <string.h>

#define LINE_RATE_BYTES_MIN (1024u * 1024u) /* less says little of a line */

void sp_inbox_send_ready(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_READY, .round = s->learner.round}};

    message.digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    sp_link_send(s, &message, NULL, 0);
    s->stage = STAGE_READY;
}

/* The keys of the plan that the client itself goes by, read as a job file's would be, whatever the program's locale. */
static int set_up(signpost *s, struct sp_error *error)
{
    static const char *const keys[] = {"seed",
                                       "optimizer.mode",
                                       "optimizer.beta1",
                                       "optimizer.dither.scale",
                                       "optimizer.sgd.momentum",
                                       "optimizer.sgd.rate"};
    struct sp_learner_setup setup = {.slot = s->welcome.slot, .run = s->welcome.run};
    struct sp_job job;

    sp_job_init(&job);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *value = signpost_plan(s, keys[i]);

        if (value == NULL)
            return sp_error_set(error, SP_E_PROTOCOL, "the server's plan lacks %s", keys[i]);
        if (sp_job_set(&job, keys[i], value, error) != SP_OK)
            return sp_error_prefix(error, "the server's plan");
    }
    setup.seed = job.seed;
    setup.beta1 = job.optimizer.beta1;
    setup.dither_scale = job.optimizer.dither.scale;
    setup.momentum_after = job.optimizer.mode != SP_MODE_ADAM && job.optimizer.sgd.momentum == SP_MOMENTUM_EMA;
    setup.tracking = job.optimizer.mode == SP_MODE_HYBRID && job.optimizer.sgd.rate == SP_RATE_TRACKING;
    if (s->welcome.traits_count != 0 && s->welcome.traits_count != s->learner.layout.trained)
        return sp_error_set(error, SP_E_PROTOCOL,
                            "WELCOME with traits of %u tensors; the model has %u that are trained",
                            s->welcome.traits_count, s->learner.layout.trained);
    setup.traits = s->welcome.traits;
    if (sp_learner_set_up(&s->learner, &setup) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "no memory for what this job needs of a worker");
    return SP_OK;
}

static void take_heartbeat(signpost *s, const struct sp_welcome *welcome)
{
    if (welcome->alive_interval_ms > 0)
        s->alive_ms = welcome->alive_interval_ms;
    if (welcome->silence_ms_max > 0)
        s->silence_ms = welcome->silence_ms_max;
}

static int got_welcome(signpost *s, struct sp_message *message, struct sp_error *error)
{
    struct sp_message old = {.frame = {.type = SP_FRAME_WELCOME}};
    int rc;

    if (s->stage != STAGE_HELLO && s->stage != STAGE_SPARE)
        return sp_error_set(error, SP_E_PROTOCOL, "a second WELCOME");
    take_heartbeat(s, &message->welcome);
    if (message->welcome.spare) {
        s->stage = STAGE_SPARE;
        s->has_slot = false;
        if (s->wanted_slot >= 0)
            sp_client_say(s, SIGNPOST_LOG_INFO, "slot %d is taken; waiting for it as a spare", s->wanted_slot);
        else
            sp_client_say(s, SIGNPOST_LOG_INFO, "all slots are taken; waiting for one as a spare");
        return SP_OK;
    }
    old.welcome = s->welcome;
    sp_message_finish(&old);
    s->welcome = message->welcome;
    memset(&message->welcome, 0, sizeof message->welcome);
    s->reconnects += s->has_ticket;
    s->has_ticket = s->has_slot = true;
    s->stage = STAGE_WEIGHTS;
    rc = set_up(s, error);
    if (rc == SP_OK) {
        s->joined_due = true;
        sp_client_say(s, SIGNPOST_LOG_INFO, "joined job '%s' at %s as slot %u of %s, after round %u of %u", s->job,
                      s->server, s->welcome.slot,
                      signpost_plan(s, "workers") != NULL ? signpost_plan(s, "workers") : "?", s->welcome.round,
                      s->welcome.rounds);
        sp_momentum_look(s);
    }
    return rc;
}

static int place(void *owner, const struct sp_message *message, void **destination, struct sp_error *error)
{
    signpost *s = owner;
    const struct sp_frame *frame = &message->frame;

    if (frame->type == SP_FRAME_UPDATE && s->stage == STAGE_READY) {
        /* The caller still has to evaluate the weights as they are. */
        if (s->evals_count > 0 && s->evals[0].round == s->learner.round)
            return SP_READER_HOLD;
        *destination = sp_learner_place(&s->learner, message, error);
        return *destination != NULL ? SP_OK : error->code;
    }
    if (frame->type == SP_FRAME_UPDATE && s->stage == STAGE_WEIGHTS) {
        *destination = s->chunk; /* of a round that the weights still to come already contain */
        return SP_OK;
    }
    if (frame->type == SP_FRAME_WEIGHTS && s->stage == STAGE_WEIGHTS) {
        bool buffers = (frame->flags & SP_FRAME_BUFFERS) != 0;

        if (frame->first % SP_CHUNK_VALUES != 0 || frame->count > SP_CHUNK_VALUES ||
            frame->first + frame->count > (buffers ? s->learner.layout.buffers : s->learner.layout.coordinates) ||
            frame->bulk_bytes != (size_t)frame->count * sizeof(float))
            return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS beyond the layout");
        *destination = (buffers ? s->learner.buffers : s->learner.theta) + frame->first;
        return SP_OK;
    }
    return sp_error_set(error, SP_E_PROTOCOL, "unexpected %s frame", sp_frame_name(frame->type));
}

/* The line's rate is that of the weights which come while this side does nothing but wait for them: not of those that
 * came before the caller heard that it has joined, for it may have been busy since; and not of those that lay in the
 * socket by then, which are read as fast as memory. */
static void time_weights(signpost *s, const struct sp_frame *frame)
{
    uint64_t now = uv_hrtime();

    if (s->joined_due || (frame->first == 0 && !(frame->flags & SP_FRAME_BUFFERS))) {
        s->weights_since_ns = s->weights_bytes = s->line_rate = 0;
        return;
    }
    if (s->weights_since_ns == 0) {
        s->weights_since_ns = now;
        s->weights_lying = sp_stream_unread(s->stream);
        return;
    }
    s->weights_bytes += frame->bulk_bytes;
    if (s->weights_lying > 0 && s->weights_bytes >= s->weights_lying) {
        s->weights_since_ns = now;
        s->weights_bytes = s->weights_lying = 0;
    } else if ((frame->flags & SP_FRAME_LAST) && s->weights_lying == 0 && s->weights_bytes >= LINE_RATE_BYTES_MIN &&
               now > s->weights_since_ns) {
        s->line_rate = (uint64_t)((double)s->weights_bytes * 1e9 / (double)(now - s->weights_since_ns));
    }
}

static int got_weights(signpost *s, const struct sp_message *message, struct sp_error *error)
{
    uint64_t digest;

    time_weights(s, &message->frame);
    if (!(message->frame.flags & SP_FRAME_LAST))
        return SP_OK;
    digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    if (digest != message->digest)
        return sp_error_set(error, SP_E_CORRUPT, "the weights received do not match their digest");
    sp_momentum_meet(s, message->frame.round);
    sp_inbox_send_ready(s);
    return SP_OK;
}

/* Weights that went astray are never trained on: ask for the server's, and go on from there. */
static void resync(signpost *s, const struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_RESYNC, .round = s->learner.round}};

    message.digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    s->resyncs++;
    s->stage = STAGE_WEIGHTS;
    sp_link_void_gradient(s);
    s->evals_count = 0;
    sp_client_say(s, SIGNPOST_LOG_WARN, "%s; asking the server for its weights", error->text);
    sp_link_send(s, &message, NULL, 0);
}

static int got_commit(signpost *s, const struct sp_message *message, struct sp_error *error)
{
    int rc;

    if (s->stage == STAGE_WEIGHTS)
        return SP_OK; /* of a round that the weights still to come already contain */
    if (s->stage != STAGE_READY)
        return sp_error_set(error, SP_E_PROTOCOL, "COMMIT before the weights");
    rc = sp_learner_commit(&s->learner, message->frame.round, &message->commit, error);
    if (rc == SP_E_MISMATCH) {
        resync(s, error);
        return SP_OK;
    }
    if (rc != SP_OK)
        return rc;
    sp_backoff_reset(&s->backoff);
    sp_link_void_gradient(s);
    s->gradient_due = !message->commit.last;
    return SP_OK;
}

static int got_eval(signpost *s, const struct sp_message *message, struct sp_error *error)
{
    if (s->stage != STAGE_READY)
        return SP_OK;
    if (s->evals_count == EVALS_MAX)
        return sp_error_set(error, SP_E_PROTOCOL, "more than %d evaluations at once", EVALS_MAX);
    s->evals[s->evals_count].round = message->frame.round;
    s->evals[s->evals_count++].eval = message->eval;
    return SP_OK;
}

/* Before its proof a server may turn us away for what concerns the handshake; what it says of the job is not believed.
 */
static bool is_believed(const signpost *s, uint32_t reason)
{
    return s->stage != STAGE_CHALLENGE || sp_reason_may_retry(reason) || reason == SP_REASON_SECRET ||
           reason == SP_REASON_VERSION;
}

static void got_bye(signpost *s, const struct sp_bye *bye)
{
    const char *words = bye->words[0] != '\0' ? bye->words : sp_reason_text(bye->reason);

    bool over = bye->reason == SP_REASON_DONE || bye->reason == SP_REASON_STOPPED;

    if (!is_believed(s, bye->reason)) {
        char line[SP_ERROR_TEXT_BYTES];

        (void)snprintf(line, sizeof line, "it says '%s', but did not prove that it holds the secret", words);
        sp_link_lose(s, line);
        return;
    }
    if (over) {
        s->done = true;
        s->reason = (int)bye->reason;
        sp_link_void_gradient(s);
        s->stopped = bye->reason == SP_REASON_STOPPED;
        if (!s->stopped)
            sp_momentum_finish(s);
        (void)snprintf(s->words, sizeof s->words, "%s", words);
        sp_link_drop(s);
    } else if (sp_reason_may_retry(bye->reason)) {
        char line[SP_ERROR_TEXT_BYTES];

        (void)snprintf(line, sizeof line, "the server says: %s", words);
        sp_link_lose(s, line);
    } else {
        sp_link_void_gradient(s);
        s->reason = (int)(bye->reason <= INT32_MAX ? bye->reason : INT32_MAX);
        (void)sp_client_end(s, SP_E_REJECTED, "the server %s refused: %s", s->server, words);
        sp_link_drop(s);
    }
}

static int header(void *owner, const struct sp_frame *frame, struct sp_error *error)
{
    return sp_handshake_header(owner, frame, error);
}

static int got(void *owner, struct sp_message *message, const void *bulk, struct sp_error *error)
{
    signpost *s = owner;
    const struct sp_frame *frame = &message->frame;

    (void)bulk;
    /* For such a frame place() was not asked. */
    if ((frame->type == SP_FRAME_WEIGHTS || frame->type == SP_FRAME_UPDATE) && frame->bulk_bytes == 0)
        return sp_error_set(error, SP_E_PROTOCOL, "%s without values", sp_frame_name(frame->type));
    switch (frame->type) {
    case SP_FRAME_CHALLENGE:
        return sp_handshake_challenge(s, &message->challenge, error);
    case SP_FRAME_WELCOME:
        return got_welcome(s, message, error);
    case SP_FRAME_INIT:
        if (s->stage != STAGE_WEIGHTS)
            return sp_error_set(error, SP_E_PROTOCOL, "unexpected INIT");
        s->init_due = true;
        return SP_OK;
    case SP_FRAME_WEIGHTS:
        return got_weights(s, message, error);
    case SP_FRAME_COMMIT:
        return got_commit(s, message, error);
    case SP_FRAME_EVAL:
        return got_eval(s, message, error);
    case SP_FRAME_BYE:
        got_bye(s, &message->bye);
        return SP_OK;
    case SP_FRAME_UPDATE:
        return s->stage == STAGE_READY ? sp_learner_staged(&s->learner, message, error) : SP_OK;
    case SP_FRAME_ALIVE:
        return SP_OK;
    default:
        return sp_error_set(error, SP_E_PROTOCOL, "unexpected %s frame", sp_frame_name(frame->type));
    }
}

static void broken(void *owner, const struct sp_error *error)
{
    signpost *s = owner;

    if (error->code == SP_E_NOMEM && s->reader.message.frame.type == SP_FRAME_BYE) {
        (void)sp_client_end(s, SP_E_NOMEM, "the server %s said goodbye, but there was no memory to read why",
                            s->server);
        sp_link_drop(s);
        return;
    }
    /* Once the server has spoken our version, another one is a damaged byte. */
    if (error->code == SP_E_UNSUPPORTED && s->stage <= STAGE_HELLO) {
        (void)sp_client_end(s, SP_E_UNSUPPORTED, "server %s: %s", s->server, error->text);
        sp_link_drop(s);
        return;
    }
    sp_link_lose(s, error->text);
}

const struct sp_reader_events sp_inbox_events = {.header = header, .place = place, .got = got, .broken = broken};
