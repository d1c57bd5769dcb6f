/* A worker's part: the client library's protocol (worker/client/client.c) around sp_learner, and a caller that
 * computes.
 *
 * As there, what the server sends is taken while nothing is computed, all that is there is taken before a gradient is
 * begun, and a lost connection is made anew with the ticket of the slot.
 */
#include "cluster_state.h"

#include "common/weights.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_US_MAX 60000
#define BIRTH_US_MAX 250000
#define JOIN_FAULT_TIMES 5
#define JOIN_FAULT_MAX 2000

static struct line *line_of(struct cluster *c, const struct process *p)
{
    return p->line != 0 ? c->lines[p->line] : NULL;
}

static uint32_t index_of(const struct cluster *c, const struct process *p)
{
    return (uint32_t)(p - c->processes);
}

/* --- connecting ----------------------------------------------------------------------------------------------------
 */

static void make_learner(struct cluster *c, struct process *p)
{
    if (p->has_learner)
        return;
    must((sp_learner_create(&p->learner, &c->layout)) == SP_OK);
    p->has_learner = true;
    p->gradient = calloc(c->layout.coordinates, sizeof *p->gradient);
    must(p->gradient != NULL);
}

void worker_finish(struct process *p)
{
    if (p->has_learner)
        sp_learner_finish(&p->learner);
    free(p->gradient);
    p->gradient = NULL;
    p->has_learner = false;
}

static struct line *new_line(struct cluster *c, uint32_t process)
{
    struct line *l = calloc(1, sizeof *l);

    must(l != NULL);
    if (++c->lines_count >= c->lines_room) {
        c->lines_room = c->lines_room == 0 ? 64 : c->lines_room * 2;
        c->lines = reallocarray(c->lines, c->lines_room, sizeof(struct line *));
        must(c->lines != NULL);
    }
    c->lines[c->lines_count] = l;
    l->process = process;
    l->slot = l->returns = NOBODY;
    l->server_open = l->worker_open = true;
    l->breaks_up = l->breaks_down = -1;
    return l;
}

/* A line may break while its worker joins: before HELLO is there, between HELLO and LAYOUT, in the initial
 * weights, before READY. */
static void maybe_break_joining(struct cluster *c, struct process *p, struct line *l)
{
    unsigned often = JOIN_FAULT_TIMES * c->options->faults.breaks;

    if (!worker_chance(p, often < JOIN_FAULT_MAX ? often : JOIN_FAULT_MAX))
        return;
    if (sp_rng_below(&p->rng, 2) == 0)
        l->breaks_up = (int)sp_rng_below(&p->rng, 5);
    else
        l->breaks_down = (int)sp_rng_below(&p->rng, 4);
}

void worker_connect(struct cluster *c, uint32_t process)
{
    struct process *p = &c->processes[process];
    struct sp_message message = {.frame = {.type = SP_FRAME_HELLO}}, layout = {.frame = {.type = SP_FRAME_LAYOUT}};
    struct sp_hello *hello = &message.hello;

    if (p->done || p->line != 0)
        return;
    make_learner(c, p);
    maybe_break_joining(c, p, new_line(c, process));
    p->line = c->lines_count;
    p->stage = STAGE_HELLO;
    (void)strcpy(hello->job, c->job.job);
    (void)strcpy(hello->program, "cluster");
    hello->layout_digest = c->layout_digest;
    hello->examples = c->options->examples;
    hello->test_examples = c->options->test_examples;
    hello->wanted_slot = SP_ANY_SLOT;
    hello->has_ticket = p->has_ticket;
    memcpy(hello->ticket, p->ticket, SP_TICKET_BYTES);
    layout.layout = c->layout;
    cluster_send_message(c, p->line, true, &message, NULL, 0);
    cluster_send_message(c, p->line, true, &layout, NULL, 0);
}

static void lose(struct cluster *c, struct process *p)
{
    struct line *l = line_of(c, p);

    if (l == NULL)
        return;
    c->result->breaks_in_update += p->stage == STAGE_READY && p->learner.staged > 0;
    l->worker_open = false;
    p->line = 0;
    p->busy = p->evaluating = p->gradient_due = false;
    p->stamp++;
    p->evals_count = 0;
    cluster_at(c, sp_rng_below(&p->rng, PAUSE_US_MAX), EVENT_CONNECT, index_of(c, p), 0);
}

void worker_sees(struct cluster *c, uint32_t line)
{
    if (c->lines[line]->worker_open)
        lose(c, &c->processes[c->lines[line]->process]);
}

/* Momentum, ticket, everything is gone; another process comes in its place. */
void worker_die(struct cluster *c, uint32_t process)
{
    struct process *p = &c->processes[process];

    if (p->line == 0 || p->done)
        return;
    c->result->deaths++;
    cluster_break(c, p->line);
    c->lines[p->line]->worker_open = false;
    p->line = 0;
    worker_finish(p);
    p->has_ticket = p->busy = p->evaluating = p->gradient_due = p->stray = false;
    p->stamp++;
    p->evals_count = 0;
    cluster_at(c, sp_rng_below(&p->rng, BIRTH_US_MAX), EVENT_CONNECT, process, 0);
}

/* --- what the server sends -----------------------------------------------------------------------------------------
 */

static void send_ready(struct cluster *c, struct process *p)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_READY, .round = p->learner.round}};

    message.digest = sp_weights_digest(p->learner.theta, c->layout.coordinates);
    p->stage = STAGE_READY;
    p->stray = false;
    cluster_send_message(c, p->line, true, &message, NULL, 0);
}

/* What a worker goes by, as worker/client/inbox.c takes it from the plan. */
static void set_up(struct cluster *c, struct process *p, const struct sp_welcome *welcome)
{
    const struct sp_job *job = &c->job;
    struct sp_learner_setup setup = {.seed = job->seed, .slot = welcome->slot, .beta1 = job->optimizer.beta1};

    check_traits(c, welcome->traits, welcome->traits_count);
    setup.dither_scale = job->optimizer.dither.scale;
    setup.momentum_after = job->optimizer.mode != SP_MODE_ADAM && job->optimizer.sgd.momentum == SP_MOMENTUM_EMA;
    setup.tracking = job->optimizer.mode == SP_MODE_HYBRID && job->optimizer.sgd.rate == SP_RATE_TRACKING;
    setup.traits = welcome->traits;
    must((sp_learner_set_up(&p->learner, &setup)) == SP_OK);
}

static void got_welcome(struct cluster *c, struct process *p, const struct sp_welcome *welcome)
{
    must(p->stage == STAGE_HELLO || p->stage == STAGE_SPARE);
    p->stage = welcome->spare ? STAGE_SPARE : STAGE_WEIGHTS;
    if (welcome->spare)
        return;
    set_up(c, p, welcome);
    p->slot = welcome->slot;
    p->has_ticket = true;
    memcpy(p->ticket, welcome->ticket, SP_TICKET_BYTES);
}

static void got_init(struct cluster *c, struct process *p)
{
    must(p->stage == STAGE_WEIGHTS);
    for (uint64_t j = 0; j < c->layout.coordinates; j++)
        p->learner.theta[j] = objective_first_weight(c, j);
    for (uint64_t j = 0; j < c->layout.buffers; j++)
        p->learner.buffers[j] = objective_first_buffer(c, j);
    cluster_send_weights(c, p->line, true, 0, p->learner.theta, p->learner.buffers);
    sp_learner_replaced(&p->learner, 0);
    send_ready(c, p);
}

static void got_weights(struct cluster *c, struct process *p, const struct sp_message *message, const uint8_t *bulk)
{
    const struct sp_frame *frame = &message->frame;
    bool buffers = (frame->flags & SP_FRAME_BUFFERS) != 0;

    must(p->stage == STAGE_WEIGHTS);
    must(frame->first + frame->count <= (buffers ? c->layout.buffers : c->layout.coordinates));
    memcpy((buffers ? p->learner.buffers : p->learner.theta) + frame->first, bulk, frame->bulk_bytes);
    if ((frame->flags & SP_FRAME_LAST) == 0)
        return;
    must(message->digest == sp_weights_digest(p->learner.theta, c->layout.coordinates));
    sp_learner_replaced(&p->learner, frame->round);
    send_ready(c, p);
    check_worker(c, p, true);
}

static void got_update(struct process *p, const struct sp_message *message, const uint8_t *bulk)
{
    struct sp_error error = {0};
    void *to;

    if (p->stage == STAGE_WEIGHTS)
        return;
    must(p->stage == STAGE_READY);
    to = sp_learner_place(&p->learner, message, &error);
    must_say(to != NULL, "%s", error.text);
    memcpy(to, bulk, message->frame.bulk_bytes);
    must_say(sp_learner_staged(&p->learner, message, &error) == SP_OK, "%s", error.text);
}

static void ask_for_weights(struct cluster *c, struct process *p)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_RESYNC, .round = p->learner.round}};

    must_say(p->stray, "the weights of slot %u after round %u went astray", p->slot, p->learner.round);
    message.digest = sp_weights_digest(p->learner.theta, c->layout.coordinates);
    p->stage = STAGE_WEIGHTS;
    p->gradient_due = false;
    p->evals_count = 0;
    cluster_send_message(c, p->line, true, &message, NULL, 0);
}

static void got_commit(struct cluster *c, struct process *p, const struct sp_message *message)
{
    struct sp_error error = {0};
    int rc;

    if (p->stage == STAGE_WEIGHTS)
        return;
    must(p->stage == STAGE_READY);
    p->buffers_before = check_buffers(c, p);
    rc = sp_learner_commit(&p->learner, message->frame.round, &message->commit, &error);
    if (rc == SP_E_MISMATCH) {
        ask_for_weights(c, p);
        return;
    }
    must_say(rc == SP_OK, "%s", error.text);
    must(!p->stray || !message->commit.has_digest);
    check_worker(c, p, false);
    p->gradient_due = !message->commit.last;
}

static void got_bye(struct cluster *c, struct process *p, const struct sp_bye *bye)
{
    must_say(bye->reason == SP_REASON_DONE || bye->reason == SP_REASON_INIT_TIMEOUT, "a worker is sent away: %s",
             bye->words);
    p->done = bye->reason == SP_REASON_DONE;
    lose(c, p);
}

static void got(struct cluster *c, struct process *p, struct sp_message *message, const uint8_t *bulk)
{
    switch (message->frame.type) {
    case SP_FRAME_WELCOME:
        got_welcome(c, p, &message->welcome);
        break;
    case SP_FRAME_INIT:
        got_init(c, p);
        break;
    case SP_FRAME_WEIGHTS:
        got_weights(c, p, message, bulk);
        break;
    case SP_FRAME_UPDATE:
        got_update(p, message, bulk);
        break;
    case SP_FRAME_COMMIT:
        got_commit(c, p, message);
        break;
    case SP_FRAME_EVAL:
        if (p->stage != STAGE_READY)
            break;
        must(p->evals_count < EVALS_MAX);
        p->evals[p->evals_count].round = message->frame.round;
        p->evals[p->evals_count++].eval = message->eval;
        break;
    case SP_FRAME_BYE:
        got_bye(c, p, &message->bye);
        break;
    default:
        ck_abort_msg("the server sent %s", sp_frame_name(message->frame.type));
    }
}

void worker_down(struct cluster *c, uint32_t line)
{
    struct line *l = c->lines[line];
    struct process *p = &c->processes[l->process];
    struct sp_message message;
    const uint8_t *bulk;

    if (!l->worker_open || p->busy)
        return;
    cluster_decode(l->down.first->frame, &message, &bulk);
    got(c, p, &message, bulk);
    sp_message_finish(&message);
    if (l->down.first != NULL)
        cluster_pop(&l->down);
    worker_go_on(c, p);
}
