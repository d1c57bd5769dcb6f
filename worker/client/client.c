/* The client as its caller sees it: events out, gradients and scores in (open.c: its beginning and end; blocking.c: the
 * simple use; link.c: the connection; handshake.c and inbox.c: frames).
 *
 * Happy path: connect, HELLO, LAYOUT, WELCOME; INIT or weights; READY; then a round after another: the gradient goes
 * out in PUSH chunks, UPDATE chunks are staged as they come, COMMIT applies them; at the end BYE.
 *
 * Failure: any connection that breaks, falls silent or breaks the protocol is closed, and after a pause a new one is
 * made, with the ticket of the old slot; staged chunks are dropped, momentum is kept. A BYE whose reason allows no
 * retry, or `give_up_s` without a server, ends in signpost_wait() returning a code.
 */
#include "worker/client/client_state.h"

#include "common/check.h"
#include "common/weights.h"

#include <math.h>
#include <string.h>

#define PAUSE_MS_MAX 250 /* how long nothing is looked at by the clock */
#define HOLD_NS 200000
#define TURNS_MAX 64 /* reads in one call */

/* --- events out -----------------------------------------------------------------------------------------------------
 */

static bool take_eval(signpost *s, struct signpost_event *event)
{
    while (s->evals_count > 0 && s->evals[0].round <= s->learner.round) {
        bool current = s->evals[0].round == s->learner.round;

        event->type = SIGNPOST_EVALUATE;
        event->round = s->evals[0].round;
        event->part = s->evals[0].eval.part;
        event->parts = s->evals[0].eval.parts;
        s->evals_count--;
        memmove(&s->evals[0], &s->evals[1], s->evals_count * sizeof s->evals[0]);
        if (current)
            return true;
    }
    return false;
}

/* True if there is something for the caller that does not wait for the line to fall quiet. */
static bool take_event(signpost *s, struct signpost_event *event)
{
    event->rounds = s->welcome.rounds;
    event->slot = s->welcome.slot;
    if (s->done) {
        event->type = SIGNPOST_DONE;
        event->stopped = s->stopped;
        return true;
    }
    if (s->joined_due) {
        s->joined_due = false;
        event->type = SIGNPOST_JOINED;
        return true;
    }
    if (s->init_due) {
        s->init_due = s->init_void = false;
        s->init_open = true;
        memset(s->learner.theta, 0, (size_t)s->learner.layout.coordinates * sizeof *s->learner.theta);
        if (s->learner.buffers != NULL)
            memset(s->learner.buffers, 0, (size_t)s->learner.layout.buffers * sizeof *s->learner.buffers);
        event->type = SIGNPOST_INIT;
        return true;
    }
    return s->stage == STAGE_READY && take_eval(s, event);
}

static void take_gradient(signpost *s, struct signpost_event *event)
{
    s->gradient_due = false;
    s->gradient_open = true;
    s->gradient_void = false;
    event->type = SIGNPOST_GRADIENT;
    event->round = s->learner.round + 1;
    sp_learner_begin(&s->learner);
}

/* Milliseconds until something is due by the clock. */
static uint64_t due_in_ms(const signpost *s, uint64_t now)
{
    uint64_t pause = PAUSE_MS_MAX;

    if (s->link != LINK_UP && s->retry_ms > now && s->retry_ms - now < pause)
        pause = s->retry_ms - now;
    else if (s->link == LINK_NONE && s->retry_ms <= now)
        pause = 0;
    return pause;
}

/* Before a wait what already lies in the socket is taken: a worker that was slow goes on from the newest weights. A
 * server that never ceases to send does not keep the caller here. */
static void take_what_is_there(signpost *s)
{
    unsigned turns = TURNS_MAX;
    uint64_t before;

    do {
        before = s->stream != NULL ? sp_stream_bytes_received(s->stream) : 0;
        if (s->stream != NULL && s->link == LINK_UP)
            sp_reader_resume(&s->reader);
        (void)uv_run(&s->loop, UV_RUN_NOWAIT);
    } while (s->stream != NULL && sp_stream_bytes_received(s->stream) != before && s->evals_count == 0 && --turns > 0);
}

static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop); /* it wakes the loop, which would else go on to wait for I/O without a limit */
}

static void sleep_in_loop(signpost *s, uint64_t deadline)
{
    uint64_t now = sp_client_now_ms();
    uint64_t pause = due_in_ms(s, now);

    if (deadline != 0 && deadline < now + pause)
        pause = deadline > now ? deadline - now : 0;
    uv_update_time(&s->loop);
    (void)uv_timer_start(&s->timer, on_timer, pause, 0);
    (void)uv_run(&s->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&s->timer);
}

/* What can be done now without waiting. */
static int process(signpost *s, struct signpost_event *event)
{
    memset(event, 0, sizeof *event);
    if (s->code != 0)
        return s->code;
    if (take_event(s, event))
        return SP_OK;
    take_what_is_there(s);
    if (s->code != 0)
        return s->code;
    if (take_event(s, event))
        return SP_OK;
    if (s->gradient_due) {
        take_gradient(s, event);
        return SP_OK;
    }
    sp_link_tick(s);
    return s->code;
}

int signpost_process(signpost *s, struct signpost_event *event)
{
    struct sp_quiet quiet;
    int rc;

    if (s == NULL)
        return SP_E_MISSING;
    if (event == NULL)
        return sp_client_fail(s, SP_E_MISSING, "signpost_process() without an event to fill in");
    sp_quiet_begin(&quiet);
    rc = process(s, event);
    sp_quiet_end(&quiet);
    return rc;
}

int signpost_wait(signpost *s, int timeout_ms, struct signpost_event *event)
{
    struct sp_quiet quiet;
    uint64_t deadline;
    int rc;

    if (s == NULL)
        return SP_E_MISSING;
    if (event == NULL)
        return sp_client_fail(s, SP_E_MISSING, "signpost_wait() without an event to fill in");
    deadline = timeout_ms >= 0 ? sp_client_now_ms() + (uint64_t)timeout_ms : 0;
    sp_quiet_begin(&quiet);
    while ((rc = process(s, event)) == SP_OK && event->type == SIGNPOST_NOTHING &&
           (deadline == 0 || sp_client_now_ms() < deadline))
        sleep_in_loop(s, deadline);
    sp_quiet_end(&quiet);
    return rc;
}

int signpost_fd(const signpost *s)
{
    return s != NULL ? uv_backend_fd(&s->loop) : SP_E_MISSING;
}

static bool has_event(const signpost *s)
{
    return s->code != 0 || s->done || s->joined_due || s->init_due || s->gradient_due ||
           (s->stage == STAGE_READY && s->evals_count > 0 && s->evals[0].round <= s->learner.round);
}

int signpost_timeout_ms(const signpost *s)
{
    int due, loop;

    if (s == NULL || has_event(s))
        return 0;
    due = (int)due_in_ms(s, sp_client_now_ms());
    /* A loop with nothing in it, as between two attempts to connect, says 0. */
    loop = uv_loop_alive(&s->loop) ? uv_backend_timeout(&s->loop) : -1;
    return loop >= 0 && loop < due ? loop : due;
}

/* --- weights, gradients and scores in -------------------------------------------------------------------------------
 */

float *signpost_weights_to_init(signpost *s)
{
    return s != NULL ? s->learner.theta : NULL;
}

static void send_weights(signpost *s)
{
    const struct sp_layout *layout = &s->learner.layout;
    uint32_t chunks = sp_chunks_count(layout, &sp_weights_form);

    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_chunk chunk = sp_chunk_at(layout, &sp_weights_form, k);
        const float *values = chunk.section == SP_SECTION_MAIN ? s->learner.theta : s->learner.buffers;
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = chunk.first}};

        message.frame.count = chunk.count;
        message.frame.flags = chunk.flags;
        if (k + 1 == chunks)
            message.digest = sp_weights_digest(s->learner.theta, layout->coordinates);
        sp_link_send(s, &message, values + chunk.first, chunk.bytes);
    }
    sp_momentum_meet(s, 0);
    if (s->link == LINK_UP)
        sp_inbox_send_ready(s);
}

int signpost_init_done(signpost *s)
{
    struct sp_quiet quiet;

    if (s == NULL)
        return SP_E_MISSING;
    if (s->init_void) {
        s->init_void = false;
        return SP_OK; /* the connection was lost meanwhile; the server asks again, or another worker */
    }
    if (!s->init_open)
        return sp_client_fail(s, SP_E_STATE, "nobody asked this worker for initial weights");
    s->init_open = false;
    if (!sp_all_finite(s->learner.theta, (size_t)s->learner.layout.coordinates) ||
        !sp_all_finite(s->learner.buffers, (size_t)s->learner.layout.buffers))
        return sp_client_end(s, SP_E_RANGE, "the initial weights are not finite");
    sp_quiet_begin(&quiet);
    send_weights(s);
    sp_quiet_end(&quiet);
    return SP_OK;
}

/* Every chunk that can be packed now goes out, straight from where it was packed. */
static void push_chunks(signpost *s, const struct sp_push *scalars)
{
    struct sp_message message;
    size_t bytes;

    while (s->link == LINK_UP && sp_learner_has_push(&s->learner, scalars)) {
        struct sp_buffer *frame = sp_buffer_take(&s->frames);

        if (frame != NULL) {
            (void)sp_learner_next_push(&s->learner, scalars, &message, sp_buffer_bulk(frame), &bytes);
            sp_codec_complete(frame, &message, bytes);
        }
        sp_link_hold(s, frame);
        sp_buffer_release(frame);
    }
}

/* Chunk by chunk into the momentum: each is on its way while the next is packed. Those that are ready within a moment
 * of each other leave together, which costs the kernel less. */
static void take_gradient_in(signpost *s)
{
    uint64_t since = uv_hrtime();

    while (s->gradient_open && sp_learner_take(&s->learner)) {
        push_chunks(s, NULL);
        if (uv_hrtime() - since < HOLD_NS)
            continue;
        sp_link_flush(s);
        since = uv_hrtime();
    }
    sp_link_flush(s);
}

/* Whether the caller may give a gradient; what it gives for a round that was lost meanwhile is not used. */
static int check_open(signpost *s, const char *what)
{
    if (s->gradient_open || s->gradient_void)
        return SP_OK;
    return sp_client_fail(s, SP_E_STATE, "%s without SIGNPOST_GRADIENT before it", what);
}

static int give_range(signpost *s, uint64_t first, uint64_t count, const float *values)
{
    uint64_t d = s->learner.layout.coordinates;
    int rc = check_open(s, "a gradient");

    if (rc != SP_OK || !s->gradient_open)
        return rc;
    if (first > d || count > d - first)
        return sp_client_fail(s, SP_E_RANGE, "gradient of %llu coordinates from %llu on: the model has %llu",
                              (unsigned long long)count, (unsigned long long)first, (unsigned long long)d);
    rc = sp_learner_offer(&s->learner, first, count, values);
    if (rc == SP_E_RANGE)
        return sp_client_fail(s, rc, "gradient of %llu coordinates from %llu on: some of them were given before",
                              (unsigned long long)count, (unsigned long long)first);
    if (rc != SP_OK)
        return sp_client_fail(s, rc, "no memory for one more range of the gradient");
    take_gradient_in(s);
    return SP_OK;
}

int signpost_gradient(signpost *s, uint64_t first, uint64_t count, const float *values)
{
    struct sp_quiet quiet;
    int rc;

    if (s == NULL)
        return SP_E_MISSING;
    if (values == NULL && count > 0)
        return sp_client_fail(s, SP_E_MISSING, "a gradient without values");
    sp_quiet_begin(&quiet);
    rc = give_range(s, first, count, values);
    sp_link_alive(s);
    sp_quiet_end(&quiet);
    return rc;
}

int signpost_gradient_tensor(signpost *s, uint32_t tensor, const float *values)
{
    const struct sp_layout *layout;

    if (s == NULL)
        return SP_E_MISSING;
    layout = &s->learner.layout;
    if (tensor >= layout->trained)
        return sp_client_fail(s, SP_E_RANGE, "gradient of tensor %u: the model has %u that are trained, counted from 0",
                              tensor, layout->trained);
    return signpost_gradient(s, layout->tensors[tensor].first, layout->tensors[tensor].count, values);
}

static void push_abstention(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .round = s->learner.round + 1}};

    s->abstentions++;
    message.frame.flags = SP_FRAME_ABSTAIN;
    message.frame.first = s->learner.packed;
    sp_client_say(s, SIGNPOST_LOG_WARN,
                  "the gradient of round %u is not finite from coordinate %llu on; abstaining from there",
                  s->learner.round + 1, (unsigned long long)s->learner.given);
    sp_link_send(s, &message, NULL, 0);
}

/* The server has given up a worker that computed for too long without a sign of life: say so here as well. */
static void warn_if_slow(signpost *s)
{
    uint64_t quiet = sp_client_now_ms() - s->spoke_ms;

    if (quiet >= s->silence_ms)
        sp_client_say(s, SIGNPOST_LOG_WARN,
                      "the gradient of round %u took %.1f s without a call of signpost_alive(), more than the server's "
                      "server.heartbeat.timeout of %.1f s: it takes this worker for lost; raise that key",
                      s->learner.round + 1, (double)quiet / 1e3, (double)s->silence_ms / 1e3);
}

static int push(signpost *s, double loss, uint32_t examples)
{
    uint64_t given = s->learner.given, d = s->learner.layout.coordinates;
    struct sp_push scalars = {0};
    int rc = check_open(s, "a push");

    if (rc != SP_OK || !s->gradient_open) {
        s->gradient_void = false;
        return rc;
    }
    if (!s->learner.abstained && given != d)
        return sp_client_fail(s, SP_E_STATE, "push of round %u, but the gradient is missing from coordinate %llu on",
                              s->learner.round + 1, (unsigned long long)given);
    s->gradient_open = false;
    warn_if_slow(s);
    if (s->learner.abstained) {
        push_abstention(s);
    } else {
        if (isfinite(loss))
            sp_learner_scalars(&s->learner, loss, examples, &scalars);
        push_chunks(s, &scalars);
        sp_link_flush(s);
        sp_momentum_save(s);
    }
    s->pushes++;
    return SP_OK;
}

int signpost_push(signpost *s, double loss, uint32_t examples)
{
    struct sp_quiet quiet;
    int rc;

    if (s == NULL)
        return SP_E_MISSING;
    sp_quiet_begin(&quiet);
    rc = push(s, loss, examples);
    sp_quiet_end(&quiet);
    return rc;
}

int signpost_score(signpost *s, const struct signpost_event *event, uint64_t correct, uint64_t total, double loss_sum)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_SCORE}};
    struct sp_quiet quiet;

    if (s == NULL)
        return SP_E_MISSING;
    if (event == NULL)
        return sp_client_fail(s, SP_E_MISSING, "a score without its event");
    if (event->type != SIGNPOST_EVALUATE)
        return sp_client_fail(s, SP_E_STATE, "a score for an event that is not SIGNPOST_EVALUATE");
    if (correct > total || !isfinite(loss_sum))
        return sp_client_fail(s, SP_E_RANGE, "score: %llu of %llu correct, with losses of %g in all",
                              (unsigned long long)correct, (unsigned long long)total, loss_sum);
    if (s->stage != STAGE_READY)
        return SP_OK; /* the connection was lost meanwhile: the part is somebody else's now */
    message.frame.round = event->round;
    message.score.part = event->part;
    message.score.correct = correct;
    message.score.total = total;
    message.score.loss_sum = loss_sum;
    sp_quiet_begin(&quiet);
    sp_link_send(s, &message, NULL, 0);
    sp_quiet_end(&quiet);
    return SP_OK;
}

void signpost_alive(signpost *s)
{
    struct sp_quiet quiet;

    if (s == NULL)
        return;
    sp_quiet_begin(&quiet);
    sp_link_alive(s);
    sp_quiet_end(&quiet);
}
