/* Time, lines and faults of the simulated cluster. */
#include "cluster_state.h"

#include "common/weights.h"

#include <stdlib.h>
#include <string.h>

#define LATENCY_US_MIN 100
#define LATENCY_US_SPREAD 900
#define IDLE_US_MAX 60000000
#define HALF_OPEN_OF_TEN 3
#define HALF_OPEN_US_MAX 400000
#define NOTICE_US_MAX 5000

/* --- time ----------------------------------------------------------------------------------------------------------
 */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
    struct event t = *a;

    *a = *b;
    *b = t;
}

void cluster_at(struct cluster *c, uint64_t delay_us, enum event_type type, uint32_t index, uint32_t stamp)
{
    size_t i = c->events_count++;

    if (i == c->events_room) {
        c->events_room = c->events_room == 0 ? 256 : c->events_room * 2;
        c->events = reallocarray(c->events, c->events_room, sizeof *c->events);
        must(c->events != NULL);
    }
    c->events[i] = (struct event){c->now_us + delay_us, c->order++, type, index, stamp};
    for (; i > 0 && before(&c->events[i], &c->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&c->events[i], &c->events[(i - 1) / 2]);
}

static struct event next_event(struct cluster *c)
{
    struct event first;
    size_t i = 0;

    must(c->events_count > 0);
    first = c->events[0];
    c->events[0] = c->events[--c->events_count];
    for (;;) {
        size_t least = i;

        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < c->events_count; k++) {
            if (before(&c->events[k], &c->events[least]))
                least = k;
        }
        if (least == i)
            return first;
        swap(&c->events[i], &c->events[least]);
        i = least;
    }
}

uint32_t cluster_random(struct cluster *c, uint32_t bound)
{
    return sp_rng_below(&c->rng, bound);
}

uint64_t cluster_now_ms(const struct cluster *c)
{
    return 1000 + c->now_us / 1000;
}

/* --- lines ---------------------------------------------------------------------------------------------------------
 */

void cluster_look(struct cluster *c, uint32_t line, bool up)
{
    struct pipe *pipe = up ? &c->lines[line]->up : &c->lines[line]->down;
    uint64_t at;

    if (pipe->first == NULL || pipe->due)
        return;
    at = pipe->first->at_us > c->now_us ? pipe->first->at_us : c->now_us;
    pipe->due = true;
    cluster_at(c, at - c->now_us, up ? EVENT_UP : EVENT_DOWN, line, 0);
}

void cluster_send(struct cluster *c, uint32_t line, bool up, struct sp_buffer *frame)
{
    struct pipe *pipe = up ? &c->lines[line]->up : &c->lines[line]->down;
    struct packet *packet;

    if (c->lines[line]->broken)
        return; /* whoever sends does not know it yet */
    packet = calloc(1, sizeof *packet);
    must(packet != NULL);
    packet->frame = sp_buffer_hold(frame);
    packet->at_us = c->now_us + LATENCY_US_MIN + cluster_random(c, LATENCY_US_SPREAD);
    if (packet->at_us < pipe->last_at_us)
        packet->at_us = pipe->last_at_us;
    pipe->last_at_us = packet->at_us;
    if (pipe->last != NULL)
        pipe->last->next = packet;
    else
        pipe->first = packet;
    pipe->last = packet;
    cluster_look(c, line, up);
}

void cluster_send_message(struct cluster *c, uint32_t line, bool up, const struct sp_message *message, const void *bulk,
                          size_t bytes)
{
    struct sp_buffer *frame = sp_codec_encode(message, bulk, bytes);

    must(frame != NULL);
    cluster_send(c, line, up, frame);
    sp_buffer_release(frame);
}

void cluster_send_weights(struct cluster *c, uint32_t line, bool up, uint32_t round, const float *theta,
                          const float *buffers)
{
    uint32_t chunks = sp_chunks_count(&c->layout, &sp_weights_form);

    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .round = round}};
        struct sp_chunk chunk = sp_chunk_at(&c->layout, &sp_weights_form, k);

        message.frame.first = chunk.first;
        message.frame.count = chunk.count;
        message.frame.flags = chunk.flags;
        if (k + 1 == chunks)
            message.digest = sp_weights_digest(theta, c->layout.coordinates);
        cluster_send_message(c, line, up, &message, (chunk.section == SP_SECTION_MAIN ? theta : buffers) + chunk.first,
                             chunk.bytes);
    }
}

void cluster_decode(const struct sp_buffer *frame, struct sp_message *message, const uint8_t **bulk)
{
    struct sp_error error = {0};
    const uint8_t *control = frame->data + SP_FRAME_HEADER_BYTES;

    memset(message, 0, sizeof *message);
    must((sp_frame_decode(frame->data, &message->frame, &error)) == SP_OK);
    must((sp_frame_check_control(frame->data, &message->frame, control, &error)) == SP_OK);
    must_say(sp_codec_decode(message, control, &error) == SP_OK, "%s", error.text);
    *bulk = control + message->frame.control_bytes;
    must((sp_frame_check_bulk(&message->frame, *bulk, &error)) == SP_OK);
}

void cluster_pop(struct pipe *pipe)
{
    struct packet *packet = pipe->first;

    pipe->first = packet->next;
    if (pipe->first == NULL)
        pipe->last = NULL;
    sp_buffer_release(packet->frame);
    free(packet);
}

void cluster_empty(struct pipe *pipe)
{
    while (pipe->first != NULL)
        cluster_pop(pipe);
}

/* What is on its way is lost. Often one side notices much later than the other. */
void cluster_break(struct cluster *c, uint32_t line)
{
    struct line *l = c->lines[line];
    bool half_open = cluster_random(c, 10) < HALF_OPEN_OF_TEN;
    uint32_t late = cluster_random(c, HALF_OPEN_US_MAX), soon = cluster_random(c, NOTICE_US_MAX);
    bool server_late = cluster_random(c, 2) == 0;

    if (l->broken)
        return;
    l->broken = true;
    c->result->breaks++;
    cluster_empty(&l->up);
    cluster_empty(&l->down);
    cluster_at(c, half_open && server_late ? late : soon, EVENT_SERVER_SEES, line, 0);
    cluster_at(c, half_open && !server_late ? late : soon, EVENT_WORKER_SEES, line, 0);
}

/* True if the line breaks instead of letting its next frame through. */
static bool breaks_before(struct cluster *c, uint32_t line, bool up)
{
    struct line *l = c->lines[line];
    int *after = up ? &l->breaks_up : &l->breaks_down;

    if (*after < 0)
        return false;
    if ((*after)-- > 0)
        return false;
    cluster_break(c, line);
    return true;
}

/* --- the run -------------------------------------------------------------------------------------------------------
 */

static void handle_frame(struct cluster *c, const struct event *e)
{
    bool up = e->type == EVENT_UP;
    struct pipe *pipe = up ? &c->lines[e->index]->up : &c->lines[e->index]->down;

    pipe->due = false;
    if (pipe->first == NULL || breaks_before(c, e->index, up))
        return;
    if (up)
        server_up(c, e->index);
    else
        worker_down(c, e->index);
}

static void handle(struct cluster *c, const struct event *e)
{
    if (e->type != EVENT_TICK)
        c->last_us = c->now_us;
    switch (e->type) {
    case EVENT_UP:
    case EVENT_DOWN:
        handle_frame(c, e);
        break;
    case EVENT_BULK:
        server_bulk(c, e->index);
        break;
    case EVENT_BREAK:
        cluster_break(c, e->index);
        break;
    case EVENT_SERVER_SEES:
        server_sees(c, e->index);
        break;
    case EVENT_WORKER_SEES:
        worker_sees(c, e->index);
        break;
    case EVENT_DIE:
        worker_die(c, e->index);
        break;
    case EVENT_CONNECT:
        worker_connect(c, e->index);
        break;
    case EVENT_WORK:
        worker_work(c, e->index, e->stamp);
        break;
    case EVENT_ASK:
        server_ask(c);
        break;
    case EVENT_CRASH:
        server_crash(c);
        break;
    case EVENT_TICK:
        server_tick(c, e->stamp);
        break;
    }
}

static void check_alive(struct cluster *c)
{
    struct sp_view view;

    if (c->now_us - c->last_us < IDLE_US_MAX)
        return;
    sp_round_view(c->round, &view);
    ck_abort_msg("nothing happens any more in round %u, stage %d: it waits for %s", view.round + 1, view.stage,
                 view.waits);
}

void cluster_run(const struct cluster_options *options, struct cluster_result *result)
{
    struct cluster *c = calloc(1, sizeof *c);

    must(c != NULL);
    memset(result, 0, sizeof *result);
    result->voters_min = UINT32_MAX;
    c->options = options;
    c->result = result;
    cluster_open(c);
    while (!c->over) {
        struct event e = next_event(c);

        must(e.at_us >= c->now_us);
        c->now_us = e.at_us;
        handle(c, &e);
        check_alive(c);
    }
    cluster_take_result(c);
    cluster_close(c);
    free(c);
}
