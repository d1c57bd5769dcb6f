/* The client: one connection to the server, and what is due on it.
 *
 * Happy path: connect, HELLO, WELCOME; INIT or weights; READY; then a round after another: the gradient goes out in
 * PUSH chunks, UPDATE chunks are staged as they come, COMMIT applies them; at the end BYE.
 *
 * Failure: any connection that breaks, falls silent or breaks the protocol is closed, and after a pause a new one is
 * made, with the ticket of the old slot; staged chunks are dropped, momentum is kept. A BYE whose reason allows no
 * retry, or `give_up_s` without a server, ends in signpost_wait() returning a code.
 */
#include "worker/client/signpost.h"

#include "common/address.h"
#include "common/check.h"
#include "common/stream.h"
#include "common/weights.h"
#include "proto/reader.h"
#include "proto/reason.h"
#include "version.h"
#include "worker/client/backoff.h"
#include "worker/client/learner.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define CONNECT_MS_MAX 10000
#define GOODBYE_MS_MAX 2000
#define REPORT_WAIT_MS 5000
#define ALIVE_MS_DEFAULT 2000
#define SILENCE_MS_DEFAULT 15000
#define SLACK_BYTES (1024u * 1024u)
#define EVALS_MAX SP_SLOTS_MAX

enum link { LINK_NONE, LINK_CONNECTING, LINK_UP };

/* What the server and we have agreed on over the present connection. */
enum stage { STAGE_HELLO, STAGE_SPARE, STAGE_WEIGHTS, STAGE_READY, STAGE_OVER };

struct signpost {
    uv_loop_t loop;
    uv_timer_t timer; /* the next thing that is due by the clock */
    struct sp_learner learner;
    struct sp_reader reader;
    struct sp_stream *stream;
    enum link link;
    enum stage stage;
    unsigned closing; /* streams that were closed but are not gone */

    char job[64], program[64], server[300];
    struct sp_address address;
    uint64_t examples, test_examples, data_digest;
    uint64_t layout_digest;
    int wanted_slot;
    double give_up_s;
    void (*log)(void *, enum signpost_log_level, const char *);
    void *log_arg;

    struct sp_backoff backoff;
    uint64_t lost_ms;     /* since when there is no connection */
    uint64_t retry_ms;    /* when to try again */
    uint64_t reported_ms; /* when the caller's log last heard of it */
    uint64_t spoke_ms, heard_ms;
    uint64_t heard_bytes;
    uint32_t alive_ms, silence_ms;

    struct sp_welcome welcome; /* owned: the plan */
    bool has_ticket;
    bool joined_due, init_due, gradient_due; /* events that the caller has not seen */
    bool gradient_open;                      /* the caller owes the gradient of learner.round + 1 */
    bool running;                            /* the round after the weights has begun on the server */
    struct {
        uint32_t round;
        struct sp_eval eval;
    } evals[EVALS_MAX];
    unsigned evals_count;
    uint8_t chunk[SP_BULK_BYTES_MAX];

    int code; /* how it ended; 0 while it has not */
    bool done, stopped;
    char words[SP_ERROR_TEXT_BYTES];
    struct signpost_counts counts;
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

static void say(signpost *s, enum signpost_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(signpost *s, enum signpost_log_level level, const char *format, ...)
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

static int end(signpost *s, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int end(signpost *s, int code, const char *format, ...)
{
    va_list args;

    s->code = code;
    va_start(args, format);
    (void)vsnprintf(s->words, sizeof s->words, format, args);
    va_end(args);
    return code;
}

/* --- the connection --------------------------------------------------------------------------------------------------
 */

static void drop_connection(signpost *s)
{
    s->link = LINK_NONE;
    if (s->stream == NULL)
        return;
    sp_reader_finish(&s->reader);
    s->closing++;
    sp_stream_close(s->stream);
    s->stream = NULL;
}

/* The connection is of no use any more: close it and try again later. Momentum stays; staged chunks do not count. */
static void lose(signpost *s, const char *words)
{
    uint32_t pause;

    if (s->link == LINK_NONE)
        return;
    if (s->link == LINK_UP) {
        s->lost_ms = now_ms();
        s->reported_ms = 0;
        say(s, SIGNPOST_LOG_WARN, "lost the server %s: %s", s->server, words);
    }
    drop_connection(s);
    s->stage = STAGE_HELLO;
    s->running = false;
    s->gradient_due = s->gradient_open = s->init_due = s->joined_due = false;
    s->evals_count = 0;
    pause = sp_backoff_next_ms(&s->backoff);
    s->retry_ms = now_ms() + pause;
    if (s->reported_ms == 0 || now_ms() - s->reported_ms >= REPORT_WAIT_MS) {
        s->reported_ms = now_ms();
        say(s, SIGNPOST_LOG_INFO, "waiting for the server %s for %.1f s (%s); next attempt in %.1f s", s->server,
            (double)(now_ms() - s->lost_ms) / 1000.0, words, (double)pause / 1000.0);
    }
}

static void transmit(signpost *s, const struct sp_message *message, const void *bulk, size_t bulk_bytes)
{
    struct sp_buffer *frame;
    int rc;

    if (s->link != LINK_UP)
        return;
    frame = sp_codec_encode(message, bulk, bulk_bytes);
    if (frame == NULL) {
        lose(s, "out of memory for a frame");
        return;
    }
    rc = sp_stream_send(s->stream, frame);
    sp_buffer_release(frame);
    s->spoke_ms = now_ms();
    if (rc == SP_E_BACKLOG)
        lose(s, "the server reads too slowly");
    else if (rc != SP_OK)
        lose(s, "the connection broke while writing");
}

static void send_hello(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}};
    struct sp_hello *hello = &message.hello;

    memcpy(hello->job, s->job, sizeof hello->job);
    memcpy(hello->program, s->program, sizeof hello->program);
    hello->layout = s->learner.layout;
    hello->layout_digest = s->layout_digest;
    hello->examples = s->examples;
    hello->test_examples = s->test_examples;
    hello->data_digest = s->data_digest;
    hello->wanted_slot = s->wanted_slot;
    hello->has_ticket = s->has_ticket;
    memcpy(hello->ticket, s->welcome.ticket, sizeof hello->ticket);
    transmit(s, &message, NULL, 0);
}

static void send_ready(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_READY, .round = s->learner.round}};

    message.digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    transmit(s, &message, NULL, 0);
    s->stage = STAGE_READY;
}

/* --- frames from the server ------------------------------------------------------------------------------------------
 */

static int set_up(signpost *s, struct sp_error *error)
{
    struct sp_learner_setup setup = {.slot = s->welcome.slot};
    const char *seed = signpost_plan(s, "seed");
    const char *beta1 = signpost_plan(s, "optimizer.beta1");
    const char *scale = signpost_plan(s, "optimizer.dither.scale");
    const char *momentum = signpost_plan(s, "optimizer.sgd.momentum");

    if (seed == NULL || beta1 == NULL || scale == NULL || momentum == NULL)
        return sp_error_set(error, SP_E_PROTOCOL, "the server's plan lacks seed, beta1, dither scale or momentum");
    setup.seed = strtoull(seed, NULL, 10);
    setup.beta1 = strtod(beta1, NULL);
    if (!(setup.beta1 >= 0.0 && setup.beta1 < 1.0))
        return sp_error_set(error, SP_E_PROTOCOL, "the server's plan has optimizer.beta1 = '%s'", beta1);
    setup.dither_absolute = strcmp(scale, "absolute") == 0;
    setup.momentum_after = strcmp(momentum, "none") != 0;
    sp_learner_set_up(&s->learner, &setup);
    return SP_OK;
}

static int got_welcome(signpost *s, struct sp_message *message, struct sp_error *error)
{
    struct sp_message old = {.frame = {.type = SP_FRAME_WELCOME}};
    int rc;

    if (s->stage != STAGE_HELLO && s->stage != STAGE_SPARE)
        return sp_error_set(error, SP_E_PROTOCOL, "a second WELCOME");
    if (message->welcome.spare) {
        s->stage = STAGE_SPARE;
        say(s, SIGNPOST_LOG_INFO, "every slot is taken (or the wanted one is); waiting as a spare");
        return SP_OK;
    }
    old.welcome = s->welcome;
    sp_message_finish(&old);
    s->welcome = message->welcome;
    memset(&message->welcome, 0, sizeof message->welcome);
    s->has_ticket = true;
    s->stage = STAGE_WEIGHTS;
    if (s->welcome.alive_interval_ms > 0)
        s->alive_ms = s->welcome.alive_interval_ms;
    if (s->welcome.silence_ms_max > 0)
        s->silence_ms = s->welcome.silence_ms_max;
    rc = set_up(s, error);
    if (rc == SP_OK) {
        s->joined_due = true;
        say(s, SIGNPOST_LOG_INFO, "joined job '%s' at %s as slot %u of %s, after round %u of %u", s->job, s->server,
            s->welcome.slot, signpost_plan(s, "workers") != NULL ? signpost_plan(s, "workers") : "?", s->welcome.round,
            s->welcome.rounds);
    }
    return rc;
}

static int place(void *owner, const struct sp_message *message, void **destination, struct sp_error *error)
{
    signpost *s = owner;
    const struct sp_frame *frame = &message->frame;
    uint64_t d = s->learner.layout.coordinates;

    if (frame->type == SP_FRAME_UPDATE && s->stage == STAGE_READY) {
        /* The caller still has to evaluate the weights as they are. */
        if (s->evals_count > 0 && s->evals[0].round == s->learner.round)
            return SP_READER_HOLD;
        *destination = sp_learner_place(&s->learner, frame, error);
        return *destination != NULL ? SP_OK : error->code;
    }
    if (frame->type == SP_FRAME_UPDATE && s->stage == STAGE_WEIGHTS) {
        *destination = s->chunk; /* of a round that the weights still to come already contain */
        return SP_OK;
    }
    if (frame->type == SP_FRAME_WEIGHTS && s->stage == STAGE_WEIGHTS) {
        if (frame->first % SP_CHUNK_VALUES != 0 || frame->count > SP_CHUNK_VALUES || frame->first + frame->count > d ||
            frame->bulk_bytes != (size_t)frame->count * sizeof(float))
            return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS beyond the layout");
        *destination = s->learner.theta + frame->first;
        return SP_OK;
    }
    return sp_error_set(error, SP_E_PROTOCOL, "unexpected %s frame", sp_frame_name(frame->type));
}

static int got_weights(signpost *s, const struct sp_message *message, struct sp_error *error)
{
    uint64_t digest;

    if (!(message->frame.flags & SP_FRAME_LAST))
        return SP_OK;
    digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    if (digest != message->digest)
        return sp_error_set(error, SP_E_CORRUPT, "the weights received do not match their digest");
    sp_learner_replaced(&s->learner, message->frame.round);
    send_ready(s);
    return SP_OK;
}

/* Weights that went astray are never trained on: ask for the server's, and go on from there. */
static void resync(signpost *s, const struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_RESYNC, .round = s->learner.round}};

    message.digest = sp_weights_digest(s->learner.theta, s->learner.layout.coordinates);
    s->counts.resyncs++;
    s->stage = STAGE_WEIGHTS;
    s->running = s->gradient_due = s->gradient_open = false;
    s->evals_count = 0;
    say(s, SIGNPOST_LOG_WARN, "%s; asking the server for its weights", error->text);
    transmit(s, &message, NULL, 0);
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
    s->gradient_open = false;
    s->running = !message->commit.last;
    s->gradient_due = s->running;
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

static void got_bye(signpost *s, const struct sp_bye *bye)
{
    const char *words = bye->words[0] != '\0' ? bye->words : sp_reason_text(bye->reason);

    if (bye->reason == SP_REASON_DONE || bye->reason == SP_REASON_STOPPED) {
        s->done = true;
        s->stopped = bye->reason == SP_REASON_STOPPED;
        (void)snprintf(s->words, sizeof s->words, "%s", words);
        drop_connection(s);
    } else if (sp_reason_may_retry(bye->reason)) {
        char line[SP_ERROR_TEXT_BYTES];

        (void)snprintf(line, sizeof line, "the server says: %s", words);
        lose(s, line);
    } else {
        (void)end(s, SP_E_REJECTED, "the server %s refused: %s", s->server, words);
        drop_connection(s);
    }
}

static int got(void *owner, struct sp_message *message, const void *bulk, struct sp_error *error)
{
    signpost *s = owner;

    (void)bulk;
    switch (message->frame.type) {
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
    case SP_FRAME_ALIVE:
        return SP_OK;
    default:
        return sp_error_set(error, SP_E_PROTOCOL, "unexpected %s frame", sp_frame_name(message->frame.type));
    }
}

static void broken(void *owner, const struct sp_error *error)
{
    signpost *s = owner;

    if (error->code == SP_E_UNSUPPORTED) {
        (void)end(s, SP_E_UNSUPPORTED, "server %s: %s", s->server, error->text);
        drop_connection(s);
        return;
    }
    lose(s, error->text);
}

static const struct sp_reader_events reader_events = {.place = place, .got = got, .broken = broken};

/* --- connecting ------------------------------------------------------------------------------------------------------
 */

static void on_connected(void *owner)
{
    signpost *s = owner;

    s->link = LINK_UP;
    s->stage = STAGE_HELLO;
    s->heard_ms = now_ms();
    s->heard_bytes = 0;
    sp_reader_start(&s->reader, s->stream, &reader_events, s);
    send_hello(s);
}

static void on_filled(void *owner)
{
    signpost *s = owner;

    sp_reader_filled(&s->reader);
}

static void on_failed(void *owner, int code, const char *words)
{
    (void)code;
    lose(owner, words);
}

static void on_closed(void *owner)
{
    signpost *s = owner;

    s->closing--;
}

static const struct sp_stream_events stream_events = {
    .connected = on_connected, .filled = on_filled, .failed = on_failed, .closed = on_closed};

/* A round's push in float32, and some: what a slow line may hold back. */
static size_t queue_bytes_max(const signpost *s)
{
    return (size_t)(s->learner.layout.coordinates * sizeof(float) * 5 / 4) + SLACK_BYTES;
}

/* Takes the addresses of the name in turn, one an attempt. */
static void try_to_connect(signpost *s)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_error error = {0};
    size_t count = 0;
    const struct sockaddr *address;

    s->link = LINK_CONNECTING;
    s->retry_ms = now_ms() + CONNECT_MS_MAX;
    memset(&s->reader, 0, sizeof s->reader);
    if (sp_address_resolve(&s->address, false, found, &count, &error) != SP_OK) {
        lose(s, error.text);
        return;
    }
    s->stream = sp_stream_create(&s->loop, &stream_events, s, queue_bytes_max(s));
    if (s->stream == NULL) {
        lose(s, "out of memory");
        return;
    }
    address = (const struct sockaddr *)&found[s->backoff.attempts % count];
    if (sp_stream_connect(s->stream, address, &error) != SP_OK)
        lose(s, error.text);
}

/* --- what is due by the clock ----------------------------------------------------------------------------------------
 */

static void check_give_up(signpost *s, uint64_t now)
{
    double waited_s = (double)(now - s->lost_ms) / 1000.0;

    if (s->link != LINK_UP && s->give_up_s > 0.0 && waited_s >= s->give_up_s) {
        drop_connection(s);
        (void)end(s, SP_E_TIMEOUT, "no server at %s for %.0f s; giving up, as worker.give_up says", s->server,
                  waited_s);
    }
}

static void check_silence(signpost *s, uint64_t now)
{
    uint64_t bytes = sp_stream_bytes_received(s->stream);

    if (bytes != s->heard_bytes) {
        s->heard_bytes = bytes;
        s->heard_ms = now;
    }
    if (now - s->heard_ms >= s->silence_ms) {
        char words[128];

        (void)snprintf(words, sizeof words, "nothing was heard from it for %.1f s", (double)(now - s->heard_ms) / 1e3);
        lose(s, words);
    }
}

void signpost_alive(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_ALIVE}};

    if (s->link == LINK_UP && now_ms() - s->spoke_ms >= s->alive_ms)
        transmit(s, &message, NULL, 0);
}

static void do_what_is_due(signpost *s)
{
    uint64_t now = now_ms();

    check_give_up(s, now);
    if (s->code != 0 || s->done)
        return;
    if (s->link == LINK_NONE && now >= s->retry_ms)
        try_to_connect(s);
    else if (s->link == LINK_CONNECTING && now >= s->retry_ms)
        lose(s, "no answer");
    if (s->link == LINK_UP) {
        check_silence(s, now);
        signpost_alive(s);
    }
}

/* --- the caller's side -----------------------------------------------------------------------------------------------
 */

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
    s->lost_ms = now_ms();
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

static void say_goodbye(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_BYE}};

    if (s->link != LINK_UP)
        return;
    message.bye.reason = SP_REASON_LEAVING;
    transmit(s, &message, NULL, 0);
    if (s->stream == NULL)
        return;
    sp_reader_finish(&s->reader);
    s->closing++;
    sp_stream_finish(s->stream);
    s->stream = NULL;
    s->link = LINK_NONE;
}

void signpost_close(signpost *s)
{
    struct sp_message welcome = {.frame = {.type = SP_FRAME_WELCOME}};

    if (s == NULL)
        return;
    say_goodbye(s);
    drop_connection(s);
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
    uint64_t now = now_ms();
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
    uint64_t deadline = timeout_ms >= 0 ? now_ms() + (uint64_t)timeout_ms : 0;

    /* The time that the caller took to compute is not the server's silence. */
    s->heard_ms = now_ms();
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
        do_what_is_due(s);
        if (s->code != 0)
            return s->code;
        if (deadline != 0 && now_ms() >= deadline)
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
        return end(s, SP_E_RANGE, "the initial weights are not finite");
    for (uint64_t first = 0; first < d; first += SP_CHUNK_VALUES) {
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = first}};

        message.frame.count = (uint32_t)(d - first < SP_CHUNK_VALUES ? d - first : SP_CHUNK_VALUES);
        if (first + message.frame.count == d) {
            message.frame.flags = SP_FRAME_LAST;
            message.digest = sp_weights_digest(s->learner.theta, d);
        }
        transmit(s, &message, s->learner.theta + first, message.frame.count * sizeof(float));
    }
    sp_learner_replaced(&s->learner, 0);
    if (s->link == LINK_UP)
        send_ready(s);
    return SP_OK;
}

/* Pushes what can be pushed. The model's last chunk waits for the scalars. */
static void push_chunks(signpost *s, const struct sp_push *scalars)
{
    uint64_t d = s->learner.layout.coordinates;

    for (;;) {
        struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .round = s->learner.round + 1}};
        struct sp_frame *frame = &message.frame;
        size_t bytes;

        sp_learner_packable(&s->learner, &frame->first, &frame->count);
        if (frame->count == 0 || (frame->first + frame->count == d && scalars == NULL))
            return;
        if (frame->first + frame->count == d) {
            message.push = *scalars;
            frame->flags = SP_FRAME_LAST;
        }
        if (frame->first == 0)
            sp_learner_dot(&s->learner, &message.push);
        bytes = sp_learner_pack(&s->learner, s->chunk);
        transmit(s, &message, s->chunk, bytes);
    }
}

int signpost_gradient(signpost *s, uint64_t count, const float *values)
{
    if (!s->gradient_open)
        return s->code != 0 || s->link != LINK_UP ? SP_OK : SP_E_STATE;
    if (count > s->learner.layout.coordinates - s->learner.given)
        return SP_E_RANGE;
    if (sp_learner_gradient(&s->learner, count, values) != SP_OK)
        return end(s, SP_E_NOMEM, "out of memory for the gradient");
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
    say(s, SIGNPOST_LOG_WARN, "the gradient of round %u is not finite from coordinate %llu on; abstaining from there",
        s->learner.round + 1, (unsigned long long)s->learner.given);
    transmit(s, &message, NULL, 0);
}

int signpost_push(signpost *s, double loss, uint32_t examples)
{
    struct sp_push scalars = {0};

    if (!s->gradient_open)
        return s->code != 0 || s->link != LINK_UP ? SP_OK : SP_E_STATE;
    s->gradient_open = false;
    if (!s->learner.abstained && s->learner.given != s->learner.layout.coordinates)
        return end(s, SP_E_STATE, "push of round %u after %llu of %llu coordinates", s->learner.round + 1,
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
    transmit(s, &message, NULL, 0);
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
