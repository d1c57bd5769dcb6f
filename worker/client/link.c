/* The connection to the server: made, kept alive, lost, made again.
 *
 * Happy path: resolve, connect, HELLO; from then on inbox.c takes what comes.
 *
 * Failure: any connection that breaks, falls silent or breaks the protocol is closed, and after a pause a new one is
 * made, with the ticket of the old slot. `give_up_s` without a server ends in signpost_wait() returning a code.
 */
#include "worker/client/client_state.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_MS_MAX 10000
#define REPORT_WAIT_MS 5000
#define SLACK_BYTES (1024u * 1024u)

void sp_link_drop(signpost *s)
{
    s->link = LINK_NONE;
    if (s->stream == NULL)
        return;
    sp_reader_finish(&s->reader);
    s->closing++;
    sp_stream_close(s->stream);
    s->stream = NULL;
}

void sp_link_void_gradient(signpost *s)
{
    s->gradient_void = s->gradient_void || s->gradient_open;
    s->gradient_due = s->gradient_open = false;
}

void sp_link_lose(signpost *s, const char *words)
{
    uint32_t pause;
    uint64_t now;
    bool lost;

    if (s->link == LINK_NONE)
        return;
    /* What took the connection but never welcomed us (another program, a relay without a server) is no server lost. */
    lost = s->link == LINK_UP && s->stage > STAGE_HELLO;
    sp_link_drop(s);
    s->stage = STAGE_HELLO;
    sp_link_void_gradient(s);
    s->init_void = s->init_void || s->init_open;
    s->init_due = s->init_open = s->joined_due = false;
    s->evals_count = 0;
    now = sp_client_now_ms();
    pause = sp_backoff_next_ms(&s->backoff);
    s->retry_ms = now + pause;
    if (lost) {
        s->lost_ms = now;
        s->reported_ms = 0; /* if the next attempt fails as well, say so */
        sp_client_say(s, SIGNPOST_LOG_WARN, "lost the server %s: %s; connecting again in %.1f s", s->server, words,
                      (double)pause / 1e3);
    } else if (s->reported_ms == 0 || now - s->reported_ms >= REPORT_WAIT_MS) {
        s->reported_ms = now;
        sp_client_say(s, SIGNPOST_LOG_INFO, "waiting for the server %s for %.1f s (%s); next attempt in %.1f s",
                      s->server, (double)(now - s->lost_ms) / 1e3, words, (double)pause / 1e3);
    }
}

static void check_sent(signpost *s, int rc)
{
    if (rc == SP_E_BACKLOG)
        sp_link_lose(s, "the server reads too slowly");
    else if (rc == SP_E_NOMEM)
        sp_link_lose(s, "out of memory for the write queue");
    else if (rc != SP_OK && rc != SP_E_CLOSED)
        sp_link_lose(s, "the connection broke while writing");
    /* SP_E_CLOSED: the server closed its side. Why, may still lie unread in the socket: reading comes to its end. */
}

static void send_or_hold(signpost *s, struct sp_buffer *frame, bool hold)
{
    if (s->link != LINK_UP)
        return;
    if (frame == NULL) {
        sp_link_lose(s, "out of memory for a frame");
        return;
    }
    s->spoke_ms = sp_client_now_ms();
    check_sent(s, hold ? sp_stream_hold(s->stream, frame) : sp_stream_send(s->stream, frame));
}

void sp_link_hold(signpost *s, struct sp_buffer *frame)
{
    send_or_hold(s, frame, true);
}

void sp_link_send(signpost *s, const struct sp_message *message, const void *bulk, size_t bulk_bytes)
{
    struct sp_buffer *frame = s->link == LINK_UP ? sp_codec_encode(message, bulk, bulk_bytes) : NULL;

    send_or_hold(s, frame, false);
    sp_buffer_release(frame);
}

/* A COMMIT that came in now would change the weights under the caller's hands: so nothing is read. */
void sp_link_flush(signpost *s)
{
    if (s->link == LINK_UP)
        check_sent(s, sp_stream_flush(s->stream));
    if (s->link != LINK_UP || sp_stream_queued(s->stream) == 0)
        return;
    sp_stream_pause(s->stream, true);
    (void)uv_run(&s->loop, UV_RUN_NOWAIT);
    if (s->stream != NULL)
        sp_stream_pause(s->stream, false);
}

static void on_connected(void *owner)
{
    signpost *s = owner;

    s->link = LINK_UP;
    s->heard_ms = sp_client_now_ms();
    s->heard_bytes = 0;
    sp_reader_start(&s->reader, s->stream, &sp_inbox_events, s);
    sp_handshake_begin(s);
}

static void on_filled(void *owner)
{
    signpost *s = owner;

    sp_reader_filled(&s->reader);
}

/* Certificates that do not fit are a mistake that time does not mend; but once they did fit, they may have to be
 * renewed, on either side, while this worker waits. */
static void on_failed(void *owner, int code, const char *words)
{
    signpost *s = owner;

    if (code != SP_E_REJECTED || s->has_ticket) {
        sp_link_lose(s, words);
        return;
    }
    sp_link_drop(s);
    (void)sp_client_end(s, SP_E_REJECTED, "TLS with the server %s: %s", s->server, words);
}

static void on_closed(void *owner)
{
    signpost *s = owner;

    s->closing--;
}

static const struct sp_stream_events stream_events = {
    .connected = on_connected, .filled = on_filled, .failed = on_failed, .closed = on_closed};

/* A round's push at its largest, and some: what a slow line may hold back. All tensors may travel in full, and then as
 * zeros among the others as well. */
static size_t queue_bytes_max(const signpost *s)
{
    const struct sp_layout *layout = &s->learner.layout;

    return (size_t)((2 * layout->coordinates + layout->buffers) * sizeof(float) * 5 / 4) + SLACK_BYTES;
}

/* Who renews certificates writes new files: the next connection takes them, as soon as they are whole. */
static void renew_tls(signpost *s)
{
    struct sp_tls_files *files;
    struct sp_error error = {0};

    if (!s->tls_used) {
        s->tls_used = true;
    } else if (sp_tls_files_load(&files, SP_TLS_CLIENT, &s->tls_paths, &error) == SP_OK) {
        sp_tls_files_free(s->tls);
        s->tls = files;
    } else if (s->reported_ms == 0) {
        sp_client_say(s, SIGNPOST_LOG_WARN, "%s; going on with what was read before", error.text);
    }
}

/* SP_E_NOMEM with words. */
static int secure(signpost *s, struct sp_error *error)
{
    struct sp_tls *tls;

    if (s->tls == NULL)
        return SP_OK;
    renew_tls(s);
    tls = sp_tls_create(s->tls, s->tls_name);
    if (tls == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory for TLS");
    sp_stream_secure(s->stream, tls);
    return SP_OK;
}

/* Takes the addresses of the name in turn, one an attempt. */
static void sp_link_connect(signpost *s)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_error error = {0};
    size_t count = 0;
    const struct sockaddr *address;

    s->link = LINK_CONNECTING;
    s->retry_ms = sp_client_now_ms() + CONNECT_MS_MAX;
    memset(&s->reader, 0, sizeof s->reader);
    if (sp_address_resolve(&s->address, false, found, &count, &error) != SP_OK) {
        sp_link_lose(s, error.text);
        return;
    }
    s->stream = sp_stream_create(&s->loop, &stream_events, s, queue_bytes_max(s));
    if (s->stream == NULL) {
        sp_link_lose(s, "out of memory");
        return;
    }
    address = (const struct sockaddr *)&found[s->backoff.attempts % count];
    if (secure(s, &error) != SP_OK || sp_stream_connect(s->stream, address, &error) != SP_OK)
        sp_link_lose(s, error.text);
}

static void check_give_up(signpost *s, uint64_t now)
{
    double waited_s = (double)(now - s->lost_ms) / 1000.0;

    if ((s->link != LINK_UP || s->stage <= STAGE_HELLO) && s->give_up_s > 0.0 && waited_s >= s->give_up_s) {
        sp_link_drop(s);
        (void)sp_client_end(s, SP_E_TIMEOUT,
                            "no server at %s for %.0f s; giving up (give_up_s; worker.give_up in a job file)",
                            s->server, waited_s);
    }
}

static void check_silence(signpost *s, uint64_t now)
{
    uint64_t bytes = sp_stream_bytes_received(s->stream);

    if (bytes != s->heard_bytes || sp_reader_is_held(&s->reader)) {
        s->heard_bytes = bytes;
        s->heard_ms = now;
    }
    if (now - s->heard_ms >= s->silence_ms) {
        char words[128];

        (void)snprintf(words, sizeof words, "nothing was heard from it for %.1f s", (double)(now - s->heard_ms) / 1e3);
        sp_link_lose(s, words);
    }
}

void sp_link_alive(signpost *s)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_ALIVE}};

    if (s->link == LINK_UP && s->stage > STAGE_HELLO && sp_client_now_ms() - s->spoke_ms >= s->alive_ms)
        sp_link_send(s, &message, NULL, 0);
}

void sp_link_tick(signpost *s)
{
    uint64_t now = sp_client_now_ms();

    check_give_up(s, now);
    if (s->code != 0 || s->done)
        return;
    if (s->link == LINK_NONE && now >= s->retry_ms)
        sp_link_connect(s);
    else if (s->link == LINK_CONNECTING && now >= s->retry_ms)
        sp_link_lose(s, "no answer");
    if (s->link == LINK_UP) {
        check_silence(s, now);
        sp_link_alive(s);
    }
}

void sp_link_finish(signpost *s, enum sp_reason reason, const char *words)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_BYE}};

    if (s->link != LINK_UP)
        return;
    uv_update_time(&s->loop); /* the caller may have been away for long, and the goodbye has a time limit */
    message.bye.reason = reason;
    (void)snprintf(message.bye.words, sizeof message.bye.words, "%s", words);
    sp_link_send(s, &message, NULL, 0);
    if (s->stream == NULL)
        return;
    sp_reader_finish(&s->reader);
    s->closing++;
    sp_stream_finish(s->stream);
    s->stream = NULL;
    s->link = LINK_NONE;
}
