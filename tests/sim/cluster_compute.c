/* What a worker's caller does: gradients, what running statistics it keeps, scores; and the faults that come with them.
 */
#include "cluster_state.h"

#include <math.h>
#include <string.h>

#define PIECE_US_MAX 3000
#define EVALUATE_US_MAX 4000
#define SLOW_TIMES 60

bool worker_chance(struct process *p, unsigned of_ten_thousand)
{
    return sp_rng_below(&p->rng, 10000) < of_ten_thousand;
}

static void work_for(struct cluster *c, struct process *p, uint64_t us)
{
    p->busy = true;
    cluster_at(c, us, EVENT_WORK, (uint32_t)(p - c->processes), p->stamp);
}

/* Faults come where a round begins. */
static void maybe_fail(struct cluster *c, struct process *p)
{
    const struct cluster_faults *f = &c->options->faults;
    struct line *l = p->line != 0 ? c->lines[p->line] : NULL;
    uint32_t how = sp_rng_below(&p->rng, 3), frames = sp_rng_below(&p->rng, 4);
    uint32_t moment = sp_rng_below(&p->rng, 4 * PIECE_US_MAX);

    if (worker_chance(p, f->breaks)) {
        if (how == 0)
            l->breaks_up = (int)frames;
        else if (how == 1)
            l->breaks_down = (int)frames;
        else
            cluster_at(c, moment, EVENT_BREAK, p->line, 0);
    }
    if (worker_chance(p, f->dies))
        cluster_at(c, moment, EVENT_DIE, (uint32_t)(p - c->processes), 0);
    if (worker_chance(p, f->stray) && !p->stray) {
        float *weight = &p->learner.theta[sp_rng_next(&p->rng) % c->layout.coordinates];

        *weight += 0.25f; /* so much that rounding does not bring it back */
        p->stray = true;
        c->result->strays++;
    }
}

static void spoil(struct cluster *c, struct process *p)
{
    uint32_t at = sp_rng_next(&p->rng);

    if (c->layout.buffers > 0 && at % 2 == 0)
        p->learner.buffers[at % c->layout.buffers] = NAN;
    else
        p->gradient[at % c->layout.coordinates] = NAN;
}

static void begin_gradient(struct cluster *c, struct process *p)
{
    uint64_t d = c->layout.coordinates;
    bool slow;

    maybe_fail(c, p);
    p->gradient_due = false;
    sp_learner_begin(&p->learner);
    p->loss = objective_gradient(c, p->slot, p->learner.round + 1, p->learner.theta, p->gradient);
    for (uint64_t j = 0; p < c->processes + c->options->liars && j < d; j++)
        p->gradient[j] = -p->gradient[j];
    objective_buffers(c, p->slot, p->learner.round + 1, p->learner.buffers);
    if (worker_chance(p, c->options->faults.nan))
        spoil(c, p);
    slow = worker_chance(p, c->options->faults.slow);
    p->pieces = 1 + sp_rng_below(&p->rng, PIECES_MAX);
    p->piece = 0;
    p->backwards = sp_rng_below(&p->rng, 2) != 0;
    for (unsigned i = 0; i < p->pieces; i++)
        p->cuts[i] = sp_rng_next(&p->rng) % (d + 1);
    p->cuts[p->pieces - 1] = d;
    for (unsigned i = p->pieces - 1; i > 0; i--)
        p->cuts[i - 1] = p->cuts[i - 1] < p->cuts[i] ? p->cuts[i - 1] : p->cuts[i];
    work_for(c, p, (slow ? SLOW_TIMES : 1) * (uint64_t)(1 + sp_rng_below(&p->rng, PIECE_US_MAX)));
}

static void push_chunks(struct cluster *c, struct process *p, const struct sp_push *scalars)
{
    struct sp_message message;
    size_t bytes;

    while (sp_learner_next_push(&p->learner, scalars, &message, c->chunk, &bytes))
        cluster_send_message(c, p->line, true, &message, c->chunk, bytes);
}

static void end_gradient(struct cluster *c, struct process *p)
{
    struct sp_message abstain = {.frame = {.type = SP_FRAME_PUSH, .round = p->learner.round + 1}};
    struct sp_push scalars = {0};

    if (!p->learner.abstained) {
        sp_learner_scalars(&p->learner, p->loss, 1, &scalars);
        push_chunks(c, p, &scalars);
        return;
    }
    abstain.frame.flags = SP_FRAME_ABSTAIN;
    abstain.frame.first = p->learner.packed;
    cluster_send_message(c, p->line, true, &abstain, NULL, 0);
}

/* A part counts its examples right in proportion to nothing: what matters is that all of it comes together. */
static void score(struct cluster *c, struct process *p)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_SCORE, .round = p->evals[0].round}};
    const struct sp_eval *eval = &p->evals[0].eval;
    uint64_t n = c->options->test_examples;

    must(p->evals[0].round == p->learner.round);
    message.score.part = eval->part;
    message.score.total = (eval->part + 1) * n / eval->parts - eval->part * n / eval->parts;
    message.score.correct = message.score.total;
    message.score.loss_sum = 1.0;
    cluster_send_message(c, p->line, true, &message, NULL, 0);
    p->evals_count--;
    memmove(&p->evals[0], &p->evals[1], p->evals_count * sizeof p->evals[0]);
}

void worker_go_on(struct cluster *c, struct process *p)
{
    struct line *l = p->line != 0 ? c->lines[p->line] : NULL;

    if (p->busy || l == NULL || p->stage == STAGE_HELLO || p->stage == STAGE_SPARE) {
        if (l != NULL && !p->busy)
            cluster_look(c, p->line, false);
        return;
    }
    while (p->evals_count > 0 && p->evals[0].round < p->learner.round) {
        p->evals_count--;
        memmove(&p->evals[0], &p->evals[1], p->evals_count * sizeof p->evals[0]);
    }
    if (p->evals_count > 0 && p->evals[0].round == p->learner.round) {
        p->evaluating = true;
        work_for(c, p, 1 + sp_rng_below(&p->rng, EVALUATE_US_MAX));
    } else if (l->down.first != NULL && l->down.first->at_us <= c->now_us) {
        cluster_look(c, p->line, false);
    } else if (p->gradient_due) {
        begin_gradient(c, p);
    } else {
        cluster_look(c, p->line, false);
    }
}

static void give_piece(struct process *p, unsigned piece)
{
    uint64_t from = piece > 0 ? p->cuts[piece - 1] : 0;

    must(sp_learner_gradient(&p->learner, from, p->cuts[piece] - from, p->gradient + from) == SP_OK);
}

void worker_work(struct cluster *c, uint32_t process, uint32_t stamp)
{
    struct process *p = &c->processes[process];

    if (stamp != p->stamp || !p->busy)
        return;
    p->busy = false;
    if (p->evaluating) {
        p->evaluating = false;
        score(c, p);
        worker_go_on(c, p);
        return;
    }
    give_piece(p, p->backwards ? p->pieces - 1 - p->piece : p->piece);
    push_chunks(c, p, NULL);
    if (++p->piece < p->pieces) {
        work_for(c, p, 1 + sp_rng_below(&p->rng, PIECE_US_MAX));
        return;
    }
    end_gradient(c, p);
    worker_go_on(c, p);
}
