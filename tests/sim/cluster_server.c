/* The daemon's part: frames to events, actions to frames, as server/peer.c, server/update.c and server/server.c do. */
#include "cluster_state.h"

#include "common/weights.h"

#include <stdlib.h>
#include <string.h>

#define BULK_US_MAX 200
#define ASK_US_MAX 4000

/* --- actions -------------------------------------------------------------------------------------------------------
 */

static void send_to_all(struct cluster *c, const struct sp_message *message, const void *bulk, size_t bytes)
{
    struct sp_buffer *frame = sp_codec_encode(message, bulk, bytes);

    must(frame != NULL);
    for (uint32_t i = 1; i <= c->lines_count; i++) {
        if (c->lines[i]->server_open && c->lines[i]->following)
            cluster_send(c, i, false, frame);
    }
    sp_buffer_release(frame);
}

static void send_weights(struct cluster *c, const struct sp_action *action)
{
    struct sp_message commit = {.frame = {.type = SP_FRAME_COMMIT, .round = action->round}};
    struct sp_view view;

    sp_round_view(c->round, &view);
    check_weights_sent(c, action->round);
    cluster_send_weights(c, action->peer, false, action->round, view.theta, view.buffers);
    c->lines[action->peer]->following = true;
    if (!action->started)
        return;
    commit.commit = *sp_round_last_commit(c->round);
    commit.commit.has_digest = false;
    cluster_send_message(c, action->peer, false, &commit, NULL, 0);
}

static void send_welcome(struct cluster *c, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME}};
    struct line *l = c->lines[action->peer];

    message.welcome.spare = action->welcome.spare;
    message.welcome.slot = action->welcome.slot;
    memcpy(message.welcome.ticket, l->ticket, SP_TICKET_BYTES);
    sp_round_progress(c->round, &message.welcome);
    cluster_send_message(c, action->peer, false, &message, NULL, 0);
    if (action->welcome.spare)
        return;
    l->slot = action->welcome.slot;
    check_welcome(c, l->slot, action->peer);
}

static void close_line(struct cluster *c, uint32_t line)
{
    struct line *l = c->lines[line];

    if (!l->server_open)
        return;
    l->server_open = l->following = l->reading = l->held = false;
    if (l->slot != NOBODY)
        check_gone(c, l->slot, line);
    if (l->said_hello)
        sp_round_left(c->round, line, "the simulated line is closed", cluster_now_ms(c));
}

static void say_bye(struct cluster *c, uint32_t line, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_BYE}};

    message.bye.reason = action->bye.reason;
    (void)strcpy(message.bye.words, action->bye.words);
    if (!c->lines[line]->server_open)
        return;
    cluster_send_message(c, line, false, &message, NULL, 0);
    c->result->takeovers += action->bye.reason == SP_REASON_REPLACED;
    close_line(c, line);
}

static void send_update(struct cluster *c, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_UPDATE, .round = action->round}};

    message.frame.first = action->update.first;
    message.frame.count = action->update.count;
    message.frame.flags = action->update.flags;
    message.voters = action->update.voters;
    check_update(c, action);
    keep_update(c, action);
    send_to_all(c, &message, action->update.bulk, action->update.bytes);
}

static void send_commit(struct cluster *c, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_COMMIT, .round = action->round}};

    message.commit = action->commit;
    check_commit(c, action);
    keep_commit(c, action->round);
    send_to_all(c, &message, NULL, 0);
    for (unsigned i = 0; i < sizeof c->options->asks / sizeof c->options->asks[0]; i++) {
        if (action->round > 0 && action->round + 1 == c->options->asks[i])
            cluster_at(c, cluster_random(c, ASK_US_MAX), EVENT_ASK, 0, 0);
    }
}

static void send_simple(struct cluster *c, const struct sp_action *action, enum sp_frame_type type)
{
    struct sp_message message = {.frame = {.type = type}};

    if (type == SP_FRAME_EVAL) {
        message.frame.round = action->round;
        message.eval = action->eval;
    }
    if (c->lines[action->peer]->server_open)
        cluster_send_message(c, action->peer, false, &message, NULL, 0);
}

static void trace_action(struct cluster *c, const struct sp_action *action)
{
    uint64_t head[4] = {c->now_us, action->type, action->peer, action->round};

    check_trace(c, head, sizeof head);
    if (action->type == SP_ACTION_UPDATE)
        check_trace(c, action->update.bulk, action->update.bytes);
    else if (action->type == SP_ACTION_NOTE)
        check_trace(c, action->note.line, strlen(action->note.line));
}

static void act(struct cluster *c, const struct sp_action *action)
{
    trace_action(c, action);
    switch (action->type) {
    case SP_ACTION_WELCOME:
        send_welcome(c, action);
        break;
    case SP_ACTION_INIT:
        send_simple(c, action, SP_FRAME_INIT);
        break;
    case SP_ACTION_EVAL:
        send_simple(c, action, SP_FRAME_EVAL);
        break;
    case SP_ACTION_WEIGHTS:
        send_weights(c, action);
        break;
    case SP_ACTION_FOLLOW:
        c->lines[action->peer]->following = true;
        check_first_weights(c);
        break;
    case SP_ACTION_UPDATE:
        send_update(c, action);
        break;
    case SP_ACTION_COMMIT:
        send_commit(c, action);
        break;
    case SP_ACTION_RESUME:
        must(c->lines[action->peer]->held);
        c->lines[action->peer]->held = false;
        cluster_look(c, action->peer, true);
        break;
    case SP_ACTION_BYE:
        say_bye(c, action->peer, action);
        break;
    case SP_ACTION_EVENT:
        check_event(c, &action->event);
        break;
    case SP_ACTION_NOTE:
    case SP_ACTION_REPORT:
        break;
    case SP_ACTION_OVER:
        must(action->bye.reason == SP_REASON_DONE);
        c->over = true;
        break;
    }
}

void server_drain(struct cluster *c)
{
    struct sp_action action;
    uint64_t due_us;

    while (sp_round_next(c->round, &action))
        act(c, &action);
    keep_go_on(c);
    check_server(c);
    due_us = (sp_round_due_ms(c->round) - 1000) * 1000;
    if (due_us <= c->now_us)
        due_us = c->now_us + 1000;
    if (due_us < c->tick_us) {
        c->tick_us = due_us;
        cluster_at(c, due_us - c->now_us, EVENT_TICK, 0, ++c->tick_stamp);
    }
}

/* --- frames --------------------------------------------------------------------------------------------------------
 */

/* HELLO and LAYOUT are there: the round core takes both as one. */
static void layout(struct cluster *c, uint32_t line, const struct sp_layout *layout)
{
    struct line *l = c->lines[line];

    must_say(sp_layout_digest(layout) == l->hello.layout_digest, "the layout is not the one of HELLO");
    l->hello.layout = *layout; /* borrowed */
    for (unsigned i = 0; i < SP_TICKET_BYTES; i++)
        l->ticket[i] = (uint8_t)cluster_random(c, 256);
    for (uint32_t i = 0; l->hello.has_ticket && i < c->job.workers; i++) {
        if (memcmp(l->hello.ticket, c->oracle.tickets[i], SP_TICKET_BYTES) == 0)
            l->returns = i;
    }
    l->said_hello = true;
    sp_round_hello(c->round, line, "a worker", &l->hello, l->ticket, cluster_now_ms(c));
    memset(&l->hello, 0, sizeof l->hello);
}

/* Whether the server will count this push: then the checks remember it. */
static void look_at_push(struct cluster *c, uint32_t line, const struct sp_message *message)
{
    struct sp_error error = {0};
    void *place;
    int rc;

    if (message->frame.bulk_bytes == 0)
        return;
    rc = sp_round_place(c->round, line, &message->frame, &place, &error);
    if (rc == SP_E_STATE)
        check_thrown_away(c, c->lines[line], &message->frame);
    if (rc != SP_OK)
        return;
    must_say(place == c->lines[line]->destination, "what is counted is not what was read");
    check_taken(c, c->lines[line]->slot, &message->frame, place);
}

static void dispatch(struct cluster *c, uint32_t line, struct sp_message *message)
{
    const struct sp_frame *frame = &message->frame;
    uint64_t now = cluster_now_ms(c);
    struct sp_error error = {0};
    int rc = SP_OK;

    switch (frame->type) {
    case SP_FRAME_HELLO:
        c->lines[line]->hello = message->hello;
        break;
    case SP_FRAME_LAYOUT:
        layout(c, line, &message->layout);
        break;
    case SP_FRAME_WEIGHTS:
        rc = sp_round_weights(c->round, line, message, now, &error);
        break;
    case SP_FRAME_READY:
        check_ready(c, c->lines[line]->slot, line);
        rc = sp_round_ready(c->round, line, frame->round, message->digest, now, &error);
        break;
    case SP_FRAME_PUSH:
        look_at_push(c, line, message);
        rc = sp_round_push(c->round, line, message, now, &error);
        break;
    case SP_FRAME_SCORE:
        rc = sp_round_score(c->round, line, frame->round, &message->score, now, &error);
        break;
    case SP_FRAME_RESYNC:
        c->lines[line]->following = false;
        check_gone(c, c->lines[line]->slot, line);
        rc = sp_round_resync(c->round, line, frame->round, message->digest, now, &error);
        break;
    default:
        ck_abort_msg("a worker sent %s", sp_frame_name(frame->type));
    }
    /* These workers never break the protocol. */
    must_say(rc == SP_OK, "%s refused: %s", sp_frame_name(frame->type), error.text);
    server_drain(c);
}

/* Half of the bulk is there at once, the rest a little later, as on a socket: much may happen in between. */
static bool begin_bulk(struct cluster *c, uint32_t line, const struct sp_message *message, const uint8_t *bulk)
{
    struct line *l = c->lines[line];
    struct sp_error error = {0};
    void *to = NULL;
    int rc = sp_round_place(c->round, line, &message->frame, &to, &error);

    if (rc == SP_ROUND_HOLD) {
        l->held = true;
        c->result->holds++;
        return false;
    }
    must_say(rc == SP_OK || rc == SP_E_STATE, "%s refused: %s", sp_frame_name(message->frame.type), error.text);
    l->destination = rc == SP_OK ? to : c->scratch;
    l->message = *message;
    l->reading = true;
    memcpy(l->destination, bulk, message->frame.bulk_bytes / 2);
    cluster_at(c, 1 + cluster_random(c, BULK_US_MAX), EVENT_BULK, line, 0);
    return true;
}

void server_up(struct cluster *c, uint32_t line)
{
    struct line *l = c->lines[line];
    struct sp_message message;
    const uint8_t *bulk;

    if (!l->server_open || l->held || l->reading)
        return;
    cluster_decode(l->up.first->frame, &message, &bulk);
    if (message.frame.bulk_bytes > 0) {
        (void)begin_bulk(c, line, &message, bulk);
        server_drain(c);
        return;
    }
    cluster_pop(&l->up);
    dispatch(c, line, &message);
    sp_message_finish(&message);
    cluster_look(c, line, true);
}

void server_bulk(struct cluster *c, uint32_t line)
{
    struct line *l = c->lines[line];
    size_t half = l->message.frame.bulk_bytes / 2;
    struct sp_message message;
    const uint8_t *bulk;

    if (!l->reading || l->broken)
        return;
    l->reading = false;
    cluster_decode(l->up.first->frame, &message, &bulk);
    memcpy(l->destination + half, bulk + half, message.frame.bulk_bytes - half);
    dispatch(c, line, &message);
    if (l->up.first != NULL)
        cluster_pop(&l->up);
    cluster_look(c, line, true);
}

void server_sees(struct cluster *c, uint32_t line)
{
    close_line(c, line);
    server_drain(c);
}

void server_tick(struct cluster *c, uint32_t stamp)
{
    if (stamp != c->tick_stamp)
        return; /* an earlier one was due since */
    c->tick_us = UINT64_MAX;
    sp_round_tick(c->round, cluster_now_ms(c));
    server_drain(c);
}

void server_ask(struct cluster *c)
{
    struct sp_error error = {0};
    struct sp_view view;
    bool can;

    sp_round_view(c->round, &view);
    can = view.stage == SP_STAGE_RUNNING && c->job.optimizer.mode == SP_MODE_HYBRID && view.phase != SP_PHASE_SGD &&
          view.round + 1 < view.rounds;
    c->oracle.asked = can;
    c->result->switches_asked += can;
    c->result->switches_refused += !can;
    must(sp_round_switch(c->round, cluster_now_ms(c), &error) == (can ? SP_OK : SP_E_STATE));
    server_drain(c);
}
