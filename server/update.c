/* What the server sends to many: encoded once, queued to every peer that follows the job. */
#include "common/check.h"
#include "common/log.h"
#include "common/weights.h"
#include "server/server_state.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SLACK_BYTES (1024u * 1024u)

/* `round`: of the update; 0 if the frame is of none. `hold`: others follow it. */
static void broadcast(struct sp_server *server, struct sp_buffer *frame, uint32_t round, bool hold)
{
    struct sp_peer *next;

    for (struct sp_peer *peer = server->following; peer != NULL; peer = next) {
        next = peer->next_following; /* one that cannot be sent to follows no longer */
        if (hold)
            sp_peer_hold(peer, frame);
        else
            sp_peer_send(peer, frame);
        if (round > 0 && !peer->ending)
            server->bytes.updated_in[sp_round_phase(server->round, round)] += frame->bytes;
    }
}

bool sp_update_flush(struct sp_server *server)
{
    struct sp_peer *next;
    bool all = true;

    for (struct sp_peer *peer = server->following; peer != NULL; peer = next) {
        next = peer->next_following;
        sp_peer_flush(peer);
        all = all && !peer->ending;
    }
    return all;
}

/* The server cannot go on when it cannot even send: the job ends, with its results so far. */
static void no_memory(struct sp_server *server)
{
    server->code = sp_error_set(&server->error, SP_E_NOMEM, "no memory for the frames of an update");
    sp_round_stop(server->round, "stopped for lack of memory", sp_server_now_ms());
}

void sp_update_chunk(struct sp_server *server, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_UPDATE, .round = action->round}};
    struct sp_buffer *frame;

    message.frame.first = action->update.first;
    message.frame.count = action->update.count;
    message.frame.flags = action->update.flags;
    message.voters = action->update.voters;
    frame = sp_codec_encode_pooled(&server->frames, &message, action->update.bulk, action->update.bytes);
    if (frame == NULL) {
        no_memory(server);
        return;
    }
    sp_keep_chunk(server, action, frame);
    broadcast(server, frame, action->round, true);
    sp_buffer_release(frame);
}

static unsigned followers(const struct sp_server *server)
{
    unsigned n = 0;

    for (const struct sp_peer *peer = server->following; peer != NULL; peer = peer->next_following)
        n++;
    return n;
}

/* Nobody is sent the weights of an earlier round any more: 4 bytes a coordinate go back to the system, but for frames
 * that wait to be written, which their streams hold. */
static void drop_old_weights(struct sp_server *server, uint32_t round)
{
    if (server->weights.count == 0 || server->weights.round >= round)
        return;
    sp_update_finish(server);
    (void)malloc_trim(0);
}

void sp_update_commit(struct sp_server *server, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_COMMIT, .round = action->round}};
    struct sp_buffer *frame;
    enum sp_phase phase = sp_round_phase(server->round, action->round);
    uint64_t began = uv_hrtime();

    message.commit = action->commit;
    frame = sp_codec_encode_pooled(&server->frames, &message, NULL, 0);
    if (frame == NULL) {
        no_memory(server);
        return;
    }
    if (action->round > 0) /* COMMIT 0 only starts the job */
        server->bytes.rounds_received_in[phase] += followers(server);
    broadcast(server, frame, action->round, false);
    sp_buffer_release(frame);
    drop_old_weights(server, action->round);
    server->progress.totals.send_ns += uv_hrtime() - began;
    sp_progress_commit(server, action->round);
}

void sp_update_finish(struct sp_server *server)
{
    for (size_t i = 0; i < server->weights.count; i++)
        sp_buffer_release(server->weights.frame[i]);
    free(server->weights.frame);
    memset(&server->weights, 0, sizeof server->weights);
}

static int encode_weights(struct sp_server *server, const struct sp_view *view, uint32_t round)
{
    const struct sp_layout *layout = view->layout;
    uint32_t count = sp_chunks_count(layout, &sp_weights_form);

    if (server->weights.count > 0 && server->weights.round == round)
        return SP_OK;
    sp_update_finish(server);
    server->weights.frame = calloc(count, sizeof *server->weights.frame);
    if (server->weights.frame == NULL)
        return SP_E_NOMEM;
    server->weights.round = round;
    for (uint32_t i = 0; i < count; i++) {
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .round = round}};
        struct sp_chunk chunk = sp_chunk_at(layout, &sp_weights_form, i);
        const float *values = chunk.section == SP_SECTION_MAIN ? view->theta : view->buffers;

        message.frame.first = chunk.first;
        message.frame.count = chunk.count;
        message.frame.flags = chunk.flags;
        if (i + 1 == count)
            message.digest = sp_weights_digest(view->theta, layout->coordinates);
        server->weights.frame[i] = sp_codec_encode(&message, values + chunk.first, chunk.bytes);
        if (server->weights.frame[i] == NULL)
            return SP_E_NOMEM;
        server->weights.count++;
    }
    return SP_OK;
}

/* All of the weights and a few rounds behind them may wait for a slow line; more is a peer that does not read. */
void sp_update_follow(struct sp_server *server, struct sp_peer *peer)
{
    const struct sp_layout *layout = sp_round_layout(server->round);
    uint32_t chunks = sp_chunks_count(layout, &sp_weights_form) + 1;

    chunks *= 2; /* of an update in float32, which may wait for a slow line or the disk, and of the one after it */
    if (chunks > SP_BUFFERS_KEPT_MAX)
        server->frames.kept_max = chunks;
    sp_stream_set_queue_max(peer->stream,
                            (size_t)((layout->coordinates + layout->full + layout->buffers) * sizeof(float) * 3) +
                                QUEUE_SLACK_BYTES);
    sp_peer_follow(peer, true);
}

void sp_update_weights(struct sp_server *server, struct sp_peer *peer, const struct sp_action *action)
{
    struct sp_message commit = {.frame = {.type = SP_FRAME_COMMIT}};
    struct sp_view view;

    sp_round_view(server->round, &view);
    if (view.round != action->round) { /* a peer that broke meanwhile has let a round be committed */
        sp_round_weights_again(server->round, peer->id);
        return;
    }
    commit.frame.round = view.round;
    if (encode_weights(server, &view, view.round) != SP_OK) {
        sp_update_finish(server);
        sp_peer_bye(peer, SP_REASON_FAILED, "the server has no memory to send the weights");
        return;
    }
    sp_update_follow(server, peer);
    for (size_t i = 0; i < server->weights.count && !peer->ending; i++)
        sp_peer_send(peer, server->weights.frame[i]);
    if (!action->started || peer->ending)
        return;
    commit.commit = *sp_round_last_commit(server->round);
    commit.commit.has_digest = false; /* it is of the weights before these */
    sp_peer_send_message(peer, &commit);
}
