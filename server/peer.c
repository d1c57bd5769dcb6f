/* One connection: frames in, frames out.
 *
 * Happy path: accept, the handshake (handshake.c), then frames to the round core until a BYE of either side.
 *
 * Failure: broken frames, silence, slow reading or a refusal of the round core: the peer gets a BYE with the reason,
 * the core hears that it left, and the stream ends in its own time. The peer is freed in the stream's `closed`.
 */
#include "common/check.h"
#include "common/log.h"
#include "server/server_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES_FIRST (1024u * 1024u)
#define FULL_SAY_MS 10000
#define STRANGERS_SAID_MAX 20 /* in SP_LIMITS_SAY_MS */

struct sp_peer *sp_peer_find(struct sp_server *server, uint32_t id)
{
    for (struct sp_peer *peer = server->by_id[id % PEER_LISTS]; peer != NULL; peer = peer->next_of_id) {
        if (peer->id == id && !peer->ending)
            return peer;
    }
    return NULL;
}

void sp_peer_follow(struct sp_peer *peer, bool follow)
{
    struct sp_peer **at = &peer->server->following;

    if (peer->following == follow)
        return;
    peer->following = follow;
    while (*at != NULL && *at != peer)
        at = &(*at)->next_following;
    if (follow)
        peer->next_following = NULL;
    *at = follow ? peer : peer->next_following;
}

static void count_sent(struct sp_peer *peer, const struct sp_buffer *frame)
{
    unsigned type = frame->data[5];

    if (type == SP_FRAME_UPDATE || type == SP_FRAME_COMMIT)
        peer->server->bytes.updated += frame->bytes;
    else
        peer->server->bytes.other_out += frame->bytes;
}

static void part_with(struct sp_peer *peer, enum sp_reason reason, enum sp_limit limit, const char *words);

/* What was written since a peer was looked at last is not known here: the sum is then too large, never too small. */
static void account(struct sp_peer *peer)
{
    size_t queued = sp_stream_queued(peer->stream);

    peer->server->queued += (uint64_t)queued;
    peer->server->queued -= (uint64_t)peer->queued;
    peer->queued = queued;
}

/* Of all that waits, most waits for one. Those that are ending are not counted: no more than QUEUE_BYTES_FIRST waits
 * for them. */
static struct sp_peer *slowest(struct sp_server *server)
{
    struct sp_peer *found = NULL;

    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        if (peer->ending)
            continue;
        account(peer);
        if (found == NULL || peer->queued > found->queued)
            found = peer;
    }
    return found;
}

bool sp_peers_relieve(struct sp_server *server)
{
    bool relieved = false;

    while (server->queued > server->limits.buffered_bytes) {
        struct sp_peer *peer = slowest(server);

        if (peer == NULL || server->queued <= server->limits.buffered_bytes)
            break;
        part_with(
            peer, SP_REASON_BACKLOG, SP_LIMIT_BUFFERED,
            "the workers read too slowly: more waits for all of them together than server.limits.buffered allows, "
            "and most of it for this one");
        sp_server_drain(server);
        relieved = true;
    }
    return relieved;
}

static void check_sent(struct sp_peer *peer, int rc)
{
    if (rc == SP_E_BACKLOG)
        sp_peer_bye(peer, SP_REASON_BACKLOG,
                    "the worker reads too slowly: more than a model's worth of frames waits for it");
    else if (rc != SP_OK)
        sp_peer_bye(peer, SP_REASON_FAILED, "the connection broke while writing");
}

static void send_or_hold(struct sp_peer *peer, struct sp_buffer *frame, bool hold)
{
    int rc;

    if (peer->ending)
        return;
    rc = hold ? sp_stream_hold(peer->stream, frame) : sp_stream_send(peer->stream, frame);
    peer->spoke_ms = sp_server_now_ms();
    if (rc == SP_OK)
        count_sent(peer, frame);
    check_sent(peer, rc);
    if (!peer->ending)
        account(peer);
}

void sp_peer_send(struct sp_peer *peer, struct sp_buffer *frame)
{
    send_or_hold(peer, frame, false);
}

void sp_peer_hold(struct sp_peer *peer, struct sp_buffer *frame)
{
    send_or_hold(peer, frame, true);
}

void sp_peer_flush(struct sp_peer *peer)
{
    if (peer->ending)
        return;
    check_sent(peer, sp_stream_flush(peer->stream));
    if (!peer->ending)
        account(peer);
}

void sp_peer_send_message(struct sp_peer *peer, const struct sp_message *message)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);

    if (frame == NULL) {
        sp_peer_bye(peer, SP_REASON_FAILED, "the server is out of memory");
        return;
    }
    sp_peer_send(peer, frame);
    sp_buffer_release(frame);
}

/* Strangers, and workers that have no slot, may come and go many times a second: the log hears of some of them, and how
 * many more there were. */
bool sp_peer_may_say(struct sp_peer *peer)
{
    struct sp_server *server = peer->server;
    uint64_t now = sp_server_now_ms();

    if (peer->seated)
        return true;
    if (now - server->strangers_since_ms >= SP_LIMITS_SAY_MS) {
        if (server->strangers > STRANGERS_SAID_MAX)
            sp_log_warn("peer", "and %u more strangers before this one", server->strangers - STRANGERS_SAID_MAX);
        server->strangers_since_ms = now;
        server->strangers = 0;
    }
    return ++server->strangers <= STRANGERS_SAID_MAX;
}

static void forget(struct sp_peer *peer, const char *words)
{
    peer->ending = true;
    peer->server->queued -= peer->queued;
    peer->queued = 0;
    sp_peer_follow(peer, false);
    sp_reader_finish(&peer->reader);
    if (peer->stage == SP_PEER_WORKER)
        sp_round_left(peer->server->round, peer->id, words, sp_server_now_ms());
}

/* Lets the last words out, for which a stream takes its time. Of strangers only some get that; and nobody with much
 * that waits for it, which would be held meanwhile, unless the job is over. */
static void part(struct sp_peer *peer, bool over)
{
    struct sp_server *server = peer->server;
    bool stranger = peer->stage == SP_PEER_HELLO || peer->stage == SP_PEER_PROOF;

    if (!over && ((stranger && server->turned_away >= CONNECTIONS_ENDING) ||
                  sp_stream_queued(peer->stream) > QUEUE_BYTES_FIRST)) {
        sp_stream_close(peer->stream);
        return;
    }
    if (stranger) {
        peer->turned_away = true;
        server->turned_away++;
    }
    sp_stream_finish(peer->stream);
}

void sp_peer_end(struct sp_peer *peer, const char *words)
{
    if (peer->ending)
        return;
    forget(peer, words);
    part(peer, false);
}

/* A worker that is not told why waits for this server for ever: a goodbye has memory of its own to fall back on. */
static struct sp_buffer *encode_bye(struct sp_server *server, const struct sp_message *message)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);

    if (frame != NULL || server->reserve == NULL)
        return frame;
    sp_log_warn("peer", "no memory for a goodbye: taking what is kept for it");
    free(server->reserve);
    frame = sp_codec_encode(message, NULL, 0);
    server->reserve = malloc(RESERVE_BYTES);
    return frame;
}

/* Which limit a goodbye is for. */
static enum sp_limit limit_of(const struct sp_peer *peer, enum sp_reason reason)
{
    switch (reason) {
    case SP_REASON_PROTOCOL:
    case SP_REASON_VERSION:
        return SP_LIMIT_PROTOCOL;
    case SP_REASON_SECRET:
    case SP_REASON_OPERATOR:
        return SP_LIMIT_SECRET;
    case SP_REASON_SILENT:
        return peer->stage == SP_PEER_WORKER ? SP_LIMIT_SILENCE : SP_LIMIT_HANDSHAKE_TIME;
    case SP_REASON_BACKLOG:
        return SP_LIMIT_QUEUE;
    default:
        return SP_LIMITS_COUNT;
    }
}

static void send_bye(struct sp_peer *peer, enum sp_reason reason, const char *words)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_BYE}};
    struct sp_buffer *frame;

    message.bye.reason = reason;
    (void)snprintf(message.bye.words, sizeof message.bye.words, "%s", words);
    frame = encode_bye(peer->server, &message);
    if (frame == NULL)
        return;
    if (sp_stream_send(peer->stream, frame) == SP_OK)
        count_sent(peer, frame);
    sp_buffer_release(frame);
}

void sp_peer_bye(struct sp_peer *peer, enum sp_reason reason, const char *words)
{
    part_with(peer, reason, limit_of(peer, reason), words);
}

static void part_with(struct sp_peer *peer, enum sp_reason reason, enum sp_limit limit, const char *words)
{
    if (peer->ending)
        return;
    if (limit != SP_LIMITS_COUNT)
        peer->server->limits.state[limit].hits++;
    if (reason != SP_REASON_DONE && reason != SP_REASON_STOPPED &&
        (reason != SP_REASON_BUSY || peer->stage == SP_PEER_WORKER) && sp_peer_may_say(peer))
        sp_log_warn("peer", "%s: sent away: %s", peer->name, words);
    send_bye(peer, reason, words);
    forget(peer, words);
    if (reason == SP_REASON_BACKLOG || reason == SP_REASON_SILENT)
        sp_stream_close(peer->stream);
    else
        part(peer, reason == SP_REASON_DONE || reason == SP_REASON_STOPPED);
}

void sp_peer_resume(struct sp_peer *peer)
{
    sp_reader_resume(&peer->reader);
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

/* The core has gone on to the next round while this one's COMMIT waits for the disk; no worker can know of it. */
static bool is_early(struct sp_peer *peer, const struct sp_frame *frame, struct sp_error *error)
{
    if (!sp_keep_is_early(peer->server, frame->round))
        return false;
    (void)sp_error_set(error, SP_E_PROTOCOL, "PUSH of round %u before the COMMIT of the round before it", frame->round);
    return true;
}

static int on_place(void *owner, const struct sp_message *message, void **destination, struct sp_error *error)
{
    struct sp_peer *peer = owner;
    int rc;

    if (message->frame.type != SP_FRAME_PUSH && message->frame.type != SP_FRAME_WEIGHTS)
        return sp_error_set(error, SP_E_PROTOCOL, "%s is not for a worker to send", sp_frame_name(message->frame.type));
    if (message->frame.type == SP_FRAME_PUSH && is_early(peer, &message->frame, error))
        return error->code;
    rc = sp_round_place(peer->server->round, peer->id, &message->frame, destination, error);
    if (rc == SP_E_STATE) {
        *destination = peer->server->scratch; /* shared by all */
        return SP_READER_DISCARD;
    }
    return rc == SP_ROUND_HOLD ? SP_READER_HOLD : rc;
}

static void count_received(struct sp_peer *peer, const struct sp_frame *frame)
{
    struct sp_bytes *bytes = &peer->server->bytes;
    uint64_t n = SP_FRAME_HEADER_BYTES + (uint64_t)frame->control_bytes + frame->bulk_bytes;

    if (frame->type != SP_FRAME_PUSH) {
        bytes->other_in += n;
        return;
    }
    bytes->pushed += n;
    bytes->pushed_in[sp_round_phase(peer->server->round, frame->round)] += n;
}

static void got_bye(struct sp_peer *peer, const struct sp_bye *bye)
{
    char words[300];

    (void)snprintf(words, sizeof words, "it said goodbye: %s",
                   bye->words[0] ? bye->words : sp_reason_text(bye->reason));
    /* The round core tells of a worker that leaves; of one that never got in nobody else does. */
    if (peer->stage != SP_PEER_WORKER && sp_peer_may_say(peer))
        sp_log_warn("peer", "%s left in the handshake: %s", peer->name, words);
    sp_peer_end(peer, words);
}

static int tally(struct sp_peer *peer, const struct sp_message *message, uint64_t now, struct sp_error *error)
{
    uint64_t began = uv_hrtime();
    int rc = sp_round_push(peer->server->round, peer->id, message, now, error);

    peer->server->progress.totals.tally_ns += uv_hrtime() - began;
    return rc;
}

static int dispatch(struct sp_peer *peer, struct sp_message *message, const void *bulk, struct sp_error *error)
{
    struct sp_round *round = peer->server->round;
    uint64_t now = sp_server_now_ms();
    const struct sp_frame *frame = &message->frame;

    switch (frame->type) {
    case SP_FRAME_HELLO:
    case SP_FRAME_PROOF:
    case SP_FRAME_LAYOUT:
    case SP_FRAME_ASK:
        return sp_handshake_got(peer, message, error);
    case SP_FRAME_WEIGHTS:
        return sp_round_weights(round, peer->id, message, now, error);
    case SP_FRAME_READY:
        return sp_round_ready(round, peer->id, frame->round, message->digest, now, error);
    case SP_FRAME_PUSH:
        if (is_early(peer, frame, error))
            return error->code;
        if (frame->bulk_bytes > 0 && bulk == NULL)
            return sp_round_push_dropped(round, peer->id, frame, now, error);
        return tally(peer, message, now, error);
    case SP_FRAME_SCORE:
        return sp_round_score(round, peer->id, frame->round, &message->score, now, error);
    case SP_FRAME_RESYNC:
        sp_peer_flush(peer);
        sp_peer_follow(peer, false);
        return sp_round_resync(round, peer->id, frame->round, message->digest, now, error);
    case SP_FRAME_BYE:
        got_bye(peer, &message->bye);
        return SP_OK;
    case SP_FRAME_ALIVE:
        return SP_OK;
    default:
        return sp_error_set(error, SP_E_PROTOCOL, "%s is not for a worker to send", sp_frame_name(frame->type));
    }
}

static int on_got(void *owner, struct sp_message *message, const void *bulk, struct sp_error *error)
{
    struct sp_peer *peer = owner;
    int rc;

    count_received(peer, &message->frame);
    rc = dispatch(peer, message, bulk, error);
    if (rc == SP_OK)
        sp_server_drain(peer->server);
    return rc;
}

static void on_broken(void *owner, const struct sp_error *error)
{
    struct sp_peer *peer = owner;

    /* Once a worker has spoken our version, another one is a damaged byte: it may come back. */
    enum sp_reason reason =
        error->code == SP_E_UNSUPPORTED && peer->stage == SP_PEER_HELLO ? SP_REASON_VERSION : SP_REASON_PROTOCOL;

    if (error->code == SP_E_NOMEM)
        reason = SP_REASON_FAILED; /* ours is the fault, not the worker's */
    sp_peer_bye(peer, reason, error->text);
    sp_server_drain(peer->server);
}

static const struct sp_reader_events reader_events = {
    .header = sp_handshake_header, .place = on_place, .got = on_got, .broken = on_broken};

/* --- the stream ------------------------------------------------------------------------------------------------------
 */

static void on_filled(void *owner)
{
    struct sp_peer *peer = owner;

    sp_reader_filled(&peer->reader);
}

/* Its handshake of TLS failed: an alert may be on its way to it, and who speaks no TLS is told in a BYE. */
static void refuse_tls(struct sp_peer *peer, int code, const char *words)
{
    struct sp_limits *limits = &peer->server->limits;

    limits->state[SP_LIMIT_TLS].hits++;
    sp_limits_charge(limits, sp_stream_group(peer->stream), sp_tls_spent_ms(sp_stream_tls(peer->stream)),
                     sp_server_now_ms());
    if (sp_peer_may_say(peer))
        sp_log_warn("peer", "%s: sent away: TLS: %s", peer->name, words);
    if (code == SP_E_UNSUPPORTED)
        send_bye(peer, SP_REASON_SECRET, words);
    forget(peer, words);
    part(peer, false);
}

static void on_failed(void *owner, int code, const char *words)
{
    struct sp_peer *peer = owner;

    if (peer->ending)
        return;
    if (peer->stage == SP_PEER_HELLO && sp_stream_tls(peer->stream) != NULL && code != SP_E_CLOSED && code != SP_E_IO) {
        refuse_tls(peer, code, words);
        return;
    }
    forget(peer, words);
    sp_stream_close(peer->stream);
    sp_server_drain(peer->server);
}

static void on_closed(void *owner)
{
    struct sp_peer *peer = owner;
    struct sp_server *server = peer->server;

    for (struct sp_peer **at = &server->by_id[peer->id % PEER_LISTS]; *at != NULL; at = &(*at)->next_of_id) {
        if (*at == peer) {
            *at = peer->next_of_id;
            break;
        }
    }
    for (struct sp_peer **at = &server->peers; *at != NULL; at = &(*at)->next) {
        if (*at == peer) {
            *at = peer->next;
            break;
        }
    }
    server->peers_count--;
    server->turned_away -= peer->turned_away;
    free(peer);
    sp_server_drain(server);
}

static const struct sp_stream_events stream_events = {.filled = on_filled, .failed = on_failed, .closed = on_closed};

/* Whoever knocks at a full house may do so many times a second. */
static void say_full(struct sp_server *server, const char *words)
{
    uint64_t now = sp_server_now_ms();

    if (server->full_said_ms != 0 && now - server->full_said_ms < FULL_SAY_MS)
        return;
    server->full_said_ms = now;
    sp_log_warn("peer", "%u connections: %s", server->peers_count, words);
}

static bool is_full(struct sp_server *server)
{
    if (server->peers_count < server->peers_max)
        return false;
    say_full(server, "all that this server has files for; further ones wait until one ends. If they are workers and "
                     "not strangers, raise the limit with 'ulimit -n'");
    return true;
}

/* After 2^32 connections numbers begin anew: not with 0, which is nobody's, nor with one that is still in use. */
static uint32_t next_id(struct sp_server *server)
{
    for (;;) {
        uint32_t id = server->next_id++;
        const struct sp_peer *peer = server->by_id[id % PEER_LISTS];

        while (peer != NULL && peer->id != id)
            peer = peer->next_of_id;
        if (id != 0 && peer == NULL)
            return id;
    }
}

/* Tells why, if there is room for those that are being told; costs as little as can be. */
static void turn_away(struct sp_peer *peer, enum sp_limit limit, unsigned max, const char *words)
{
    struct sp_server *server = peer->server;
    uint64_t more;

    if (sp_limits_hit(&server->limits, limit, sp_server_now_ms(), &more))
        sp_log_warn("peer", "%s: sent away: %s (%u %s; %llu more were sent away before)", peer->name, words, max,
                    sp_limit_words(limit), (unsigned long long)more);
    send_bye(peer, SP_REASON_BUSY, words);
    forget(peer, words);
    part(peer, false);
}

static bool shakes_hands(const struct sp_peer *peer)
{
    return !peer->ending && (peer->stage == SP_PEER_HELLO || peer->stage == SP_PEER_PROOF);
}

static unsigned *holders(unsigned counts[PEER_LISTS], const struct sp_peer *peer)
{
    return &counts[sp_limits_hash(&peer->server->limits, sp_stream_group(peer->stream)) % PEER_LISTS];
}

/* Who has just come in takes the place of another that has proved nothing yet: of the address that holds most of such
 * places, the one that has held it for longest. An honest one, whose handshake takes milliseconds and whose address
 * makes few of them at a time, is the last to go. */
static void make_place(struct sp_server *server)
{
    unsigned counts[PEER_LISTS] = {0}, count = 0, most = 0;
    struct sp_peer *oldest = NULL;

    if (server->peers_count <= server->limits.handshakes)
        return;
    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        if (shakes_hands(peer)) {
            unsigned held = ++*holders(counts, peer);

            count++;
            most = held > most ? held : most;
        }
    }
    if (count <= server->limits.handshakes)
        return;
    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        if (shakes_hands(peer) && *holders(counts, peer) == most)
            oldest = peer; /* new ones are in front */
    }
    sp_assert(oldest != NULL);
    turn_away(oldest, SP_LIMIT_HANDSHAKES, server->limits.handshakes,
              "too many connections shake hands with this server, and this one has for longest");
}

/* Whether it may go on to the handshake. */
static bool admit(struct sp_peer *peer)
{
    struct sp_server *server = peer->server;
    struct sp_limits *limits = &server->limits;

    if (!sp_limits_may_join(limits, sp_stream_group(peer->stream), sp_server_now_ms())) {
        turn_away(peer, SP_LIMIT_JOINS, limits->joins, "too many connections came from this address within seconds");
        return false;
    }
    if (server->peers_count - server->turned_away > limits->connections) {
        turn_away(peer, SP_LIMIT_CONNECTIONS, limits->connections, "this server has all the connections that it takes");
        return false;
    }
    if (server->security.tls != NULL) {
        struct sp_tls *tls = sp_tls_create(server->security.tls, NULL);

        if (tls == NULL) {
            sp_peer_bye(peer, SP_REASON_FAILED, "the server has no memory for TLS");
            return false;
        }
        sp_stream_secure(peer->stream, tls);
    }
    return true;
}

bool sp_peer_accept(struct sp_server *server, uv_stream_t *listener)
{
    struct sp_error error = {0};
    struct sp_peer *peer;

    if (is_full(server))
        return false;
    peer = calloc(1, sizeof *peer);
    if (peer != NULL)
        peer->stream = sp_stream_create(&server->loop, &stream_events, peer, QUEUE_BYTES_FIRST);
    if (peer == NULL || peer->stream == NULL) {
        free(peer);
        say_full(server, "no memory for one more; it waits");
        return false;
    }
    peer->server = server;
    peer->id = next_id(server);
    peer->next = server->peers;
    server->peers = peer;
    peer->next_of_id = server->by_id[peer->id % PEER_LISTS];
    server->by_id[peer->id % PEER_LISTS] = peer;
    server->peers_count++;
    peer->since_ms = peer->heard_ms = peer->spoke_ms = sp_server_now_ms();
    if (sp_stream_accept(peer->stream, listener, &error) != SP_OK) {
        sp_log_warn("peer", "%s", error.text);
        peer->ending = true;
        sp_stream_close(peer->stream);
        return true;
    }
    (void)snprintf(peer->name, sizeof peer->name, "%s", sp_stream_peer(peer->stream));
    if (admit(peer)) {
        sp_reader_start(&peer->reader, peer->stream, &reader_events, peer);
        make_place(server);
    }
    return true;
}

/* --- the clock -------------------------------------------------------------------------------------------------------
 */

static void beat(struct sp_peer *peer, uint64_t now)
{
    static const struct sp_message alive = {.frame = {.type = SP_FRAME_ALIVE}};
    const struct sp_job *job = &peer->server->job;
    uint64_t bytes = sp_stream_bytes_received(peer->stream);
    char words[240];

    if (bytes != peer->heard_bytes || sp_reader_is_held(&peer->reader)) {
        peer->heard_bytes = bytes;
        peer->heard_ms = now;
    }
    if (peer->stage != SP_PEER_WORKER && now - peer->since_ms >= SP_HANDSHAKE_MS_MAX) {
        sp_peer_bye(peer, SP_REASON_SILENT,
                    peer->stage == SP_PEER_HELLO ? "no HELLO within 10 s" : "the handshake was not over within 10 s");
    } else if ((double)(now - peer->heard_ms) >= job->server.heartbeat_timeout * 1e3) {
        (void)snprintf(words, sizeof words,
                       "nothing was heard of the worker for %.1f s (server.heartbeat.timeout is %g): it hangs, its "
                       "line is cut, or its "
                       "gradient takes longer than that",
                       (double)(now - peer->heard_ms) / 1e3, job->server.heartbeat_timeout);
        sp_peer_bye(peer, SP_REASON_SILENT, words);
    } else if (peer->stage == SP_PEER_WORKER &&
               (double)(now - peer->spoke_ms) >= job->server.heartbeat_interval * 1e3) {
        sp_peer_send_message(peer, &alive);
    }
}

void sp_peers_beat(struct sp_server *server)
{
    uint64_t now = sp_server_now_ms();

    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        if (!peer->ending)
            beat(peer, now);
    }
    sp_server_drain(server);
}
