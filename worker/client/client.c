/* The client as its caller sees it: events out, gradients and scores in (link.c: the connection; inbox.c: frames).
 *
 * Happy path: connect, HELLO, WELCOME; INIT or weights; READY; then a round after another: the gradient goes out in
 * PUSH chunks, UPDATE chunks are staged as they come, COMMIT applies them; at the end BYE.
 *
 * Failure: any connection that breaks, falls silent or breaks the protocol is closed, and after a pause a new one is
 * made, with the ticket of the old slot; staged chunks are dropped, momentum is kept. A BYE whose reason allows no
 * retry, or `give_up_s` without a server, ends in signpost_wait() returning a code.
 */
#include "worker/client/client_state.h"

#include "common/check.h"
#include "common/weights.h"
#include "version.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIVE_MS_DEFAULT 2000
#define SILENCE_MS_DEFAULT 15000

uint64_t sp_client_now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

void sp_client_say(signpost *s, enum signpost_log_level level, const char *format, ...)
{
    char line[SP_ERROR_TEXT_BYTES + 256];
    va_list args;

    if (s->log == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s->log(s->log_arg, level, line);
}

int sp_client_end(signpost *s, int code, const char *format, ...)
{
    va_list args;

    s->code = code;
    va_start(args, format);
    (void)vsnprintf(s->words, sizeof s->words, format, args);
    va_end(args);
    return code;
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* it only wakes the loop */
}

static int copy_options(signpost *s, const struct signpost_options *options, struct sp_error *error)
{
    const char *program = options->program != NULL ? options->program : "libsignpost " SP_VERSION;
    int rc = sp_address_parse(options->server, &s->address, error);

    if (rc != SP_OK)
        return rc;
    if (strlen(options->job) >= sizeof s->job || options->examples == 0 || options->layout->coordinates == 0)
        return sp_error_set(error, SP_E_RANGE, "a job needs a name of at most %zu bytes, examples and coordinates",
                            sizeof s->job - 1);
    (void)snprintf(s->server, sizeof s->server, "%s", options->server);
    (void)snprintf(s->job, sizeof s->job, "%s", options->job);
    (void)snprintf(s->program, sizeof s->program, "%s", program);
    s->examples = options->examples;
    s->test_examples = options->test_examples;
    s->data_digest = options->data_digest;
    s->wanted_slot = options->slot;
    s->give_up_s = options->give_up_s;
    s->log = options->log;
    s->log_arg = options->log_arg;
    return SP_OK;
}

int signpost_open(signpost **out, const struct signpost_options *options, char *words, size_t words_bytes)
{
    signpost *s = calloc(1, sizeof *s);
    struct sp_error error = {0};
    int rc = SP_E_NOMEM;

    *out = NULL;
    if (s == NULL)
        goto err;
    rc = copy_options(s, options, &error);
    if (rc != SP_OK)
        goto err;
    rc = sp_learner_create(&s->learner, options->layout);
    if (rc != SP_OK)
        goto err;
    if (uv_loop_init(&s->loop) != 0) {
        rc = sp_error_set(&error, SP_E_IO, "cannot make an event loop");
        goto err_after_learner;
    }
    (void)uv_timer_init(&s->loop, &s->timer);
    s->layout_digest = sp_layout_digest(&s->learner.layout);
    sp_backoff_init(&s->backoff, (uint64_t)getpid() ^ uv_hrtime());
    s->lost_ms = sp_client_now_ms();
    s->alive_ms = ALIVE_MS_DEFAULT;
    s->silence_ms = SILENCE_MS_DEFAULT;
    *out = s;
    return SP_OK;

err_after_learner:
    sp_learner_finish(&s->learner);
err:
    free(s);
    if (words != NULL && words_bytes > 0)
        (void)snprintf(words, words_bytes, "%s", error.text[0] != '\0' ? error.text : sp_code_text(rc));
    return rc;
}

void signpost_close(signpost *s)
{
    struct sp_message welcome = {.frame = {.type = SP_FRAME_WELCOME}};

    if (s == NULL)
        return;
    sp_link_finish(s);
    sp_link_drop(s);
    uv_close((uv_handle_t *)&s->timer, NULL);
    /* Every handle is closing now, the stream after LINGER at the latest: the loop ends by itself. */
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    sp_assert(s->closing == 0);
    (void)uv_loop_close(&s->loop);
    welcome.welcome = s->welcome;
    sp_message_finish(&welcome);
    sp_reader_finish(&s->reader);
    sp_learner_finish(&s->learner);
    free(s);
}

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
    memset(event, 0, sizeof *event);
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
        s->init_due = false;
        event->type = SIGNPOST_INIT;
        return true;
    }
    return s->stage == STAGE_READY && take_eval(s, event);
}

static void take_gradient(signpost *s, struct signpost_event *event)
{
    s->gradient_due = false;
    s->gradient_open = true;
    event->type = SIGNPOST_GRADIENT;
    event->round = s->learner.round + 1;
    sp_learner_begin(&s->learner);
}

/* Milliseconds until something is due by the clock. */
static uint64_t due_in_ms(const signpost *s, uint64_t now)
{
    uint64_t pause = 250;

    if (s->link != LINK_UP && s->retry_ms > now && s->retry_ms - now < pause)
        pause = s->retry_ms - now;
    else if (s->link == LINK_NONE && s->retry_ms <= now)
        pause = 0;
    return pause;
}

/* Before a wait everything that already lies in the socket is taken: a worker that was slow goes on from the newest
 * weights. */
static void take_what_is_there(signpost *s)
{
    uint64_t before;

    do {
        before = s->stream != NULL ? sp_stream_bytes_received(s->stream) : 0;
        if (s->stream != NULL && s->link == LINK_UP)
            sp_reader_resume(&s->reader);
        (void)uv_run(&s->loop, UV_RUN_NOWAIT);
    } while (s->stream != NULL && sp_stream_bytes_received(s->stream) != before && s->evals_count == 0);
}

static void sleep_in_loop(signpost *s, uint64_t deadline)
{
    uint64_t now = sp_client_now_ms();
    uint64_t pause = due_in_ms(s, now);

    if (deadline != 0 && deadline - now < pause)
        pause = deadline - now;
    uv_update_time(&s->loop);
    (void)uv_timer_start(&s->timer, on_timer, pause, 0);
    (void)uv_run(&s->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&s->timer);
}

int signpost_wait(signpost *s, int timeout_ms, struct signpost_event *event)
{
    uint64_t deadline = timeout_ms >= 0 ? sp_client_now_ms() + (uint64_t)timeout_ms : 0;

    /* The time that the caller took to compute is not the server's silence. */
    s->heard_ms = sp_client_now_ms();
    for (;;) {
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
        if (s->code != 0)
            return s->code;
        if (deadline != 0 && sp_client_now_ms() >= deadline)
            return SP_OK;
        sleep_in_loop(s, deadline);
    }
}

const float *signpost_weights(const signpost *s)
{
    return s->learner.theta;
}

float *signpost_weights_to_init(signpost *s)
{
    return s->learner.theta;
}

int signpost_init_done(signpost *s)
{
    uint64_t d = s->learner.layout.coordinates;

    if (s->stage != STAGE_WEIGHTS || s->link != LINK_UP)
        return SP_OK; /* the connection was lost meanwhile; the server asks again, or another worker */
    if (!sp_all_finite(s->learner.theta, (size_t)d))
        return sp_client_end(s, SP_E_RANGE, "the initial weights are not finite");
    for (uint64_t first = 0; first < d; first += SP_CHUNK_VALUES) {
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = first}};

        message.frame.count = (uint32_t)(d - first < SP_CHUNK_VALUES ? d - first : SP_CHUNK_VALUES);
        if (first + message.frame.count == d) {
            message.frame.flags = SP_FRAME_LAST;
            message.digest = sp_weights_digest(s->learner.theta, d);
        }
        sp_link_send(s, &message, s->learner.theta + first, message.frame.count * sizeof(float));
    }
    sp_learner_replaced(&s->learner, 0);
    if (s->link == LINK_UP)
        sp_inbox_send_ready(s);
    return SP_OK;
}

static void push_chunks(signpost *s, const struct sp_push *scalars)
{
    struct sp_message message;
    size_t bytes;

    while (sp_learner_next_push(&s->learner, scalars, &message, s->chunk, &bytes))
        sp_link_send(s, &message, s->chunk, bytes);
}

int signpost_gradient(signpost *s, uint64_t count, const float *values)
{
    if (!s->gradient_open)
        return s->code != 0 || s->link != LINK_UP ? SP_OK : SP_E_STATE;
    if (count > s->learner.layout.coordinates - s->learner.given)
        return SP_E_RANGE;
    if (sp_learner_gradient(&s->learner, count, values) != SP_OK)
        return sp_client_end(s, SP_E_NOMEM, "out of memory for the gradient");
    push_chunks(s, NULL);
    signpost_alive(s);
    return SP_OK;
}

static void push_abstention(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .round = s->learner.round + 1}};

    s->counts.abstentions++;
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

int signpost_push(signpost *s, double loss, uint32_t examples)
{
    struct sp_push scalars = {0};

    if (!s->gradient_open)
        return s->code != 0 || s->link != LINK_UP ? SP_OK : SP_E_STATE;
    s->gradient_open = false;
    warn_if_slow(s);
    if (!s->learner.abstained && s->learner.given != s->learner.layout.coordinates)
        return sp_client_end(s, SP_E_STATE, "push of round %u after %llu of %llu coordinates", s->learner.round + 1,
                             (unsigned long long)s->learner.given, (unsigned long long)s->learner.layout.coordinates);
    if (s->learner.abstained) {
        push_abstention(s);
    } else {
        sp_learner_scalars(&s->learner, isfinite(loss) ? loss : 0.0, examples, &scalars);
        scalars.has_scalars = isfinite(loss);
        push_chunks(s, &scalars);
    }
    s->counts.pushes++;
    return SP_OK;
}

int signpost_score(signpost *s, const struct signpost_event *event, uint64_t correct, uint64_t total, double loss_sum)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_SCORE, .round = event->round}};

    message.score.part = event->part;
    message.score.correct = correct;
    message.score.total = total;
    message.score.loss_sum = loss_sum;
    sp_link_send(s, &message, NULL, 0);
    return SP_OK;
}

const char *signpost_plan(const signpost *s, const char *key)
{
    return sp_welcome_setting(&s->welcome, key);
}

bool signpost_plan_item(const signpost *s, size_t index, const char **key, const char **value)
{
    if (index >= s->welcome.plan_count)
        return false;
    *key = s->welcome.plan[index].key;
    *value = s->welcome.plan[index].value;
    return true;
}

void signpost_get_counts(const signpost *s, struct signpost_counts *counts)
{
    *counts = s->counts;
}

const char *signpost_error(const signpost *s)
{
    return s->words;
}
