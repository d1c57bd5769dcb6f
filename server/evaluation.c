/* Evaluations: the test set in as many parts as there are workers, their scores added in the order of parts.
 *
 * The EVAL frames of a round leave before its COMMIT, so that a worker knows of them when it holds those weights; the
 * next round is not committed before the scores are in, so that a lost worker's part can go to another that still holds
 * them.
 */
#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <string.h>

bool sp_evaluation_due(const struct sp_round *r, uint32_t round)
{
    double every = r->job.train.evaluate * (double)r->epoch_rounds;

    if (r->test_examples == 0)
        return false;
    if (round == r->rounds)
        return true;
    return every > 0.0 && floor((double)round / every) > floor((double)(round - 1) / every);
}

static bool has_weights(const struct sp_round *r, int w)
{
    const struct worker *worker = r->workers[w];

    return worker != NULL && worker->state == WORKER_READY && worker->evaluates && !r->suspicion.excluded[worker->slot];
}

static bool somebody_in_time(const struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (r->slots[i].worker >= 0 && has_weights(r, r->slots[i].worker) && !r->slots[i].late)
            return true;
    }
    return false;
}

/* Those who were late with the round only where there is nobody else. */
static bool can_evaluate(const struct sp_round *r, int w)
{
    return has_weights(r, w) && (!r->slots[r->workers[w]->slot].late || !somebody_in_time(r));
}

static void send_part(struct sp_round *r, unsigned part, int w)
{
    struct evaluation *e = &r->evaluation;
    struct sp_action *action = sp_round_act(r, SP_ACTION_EVAL, r->workers[w]->peer);

    e->part[part].worker = w;
    action->round = e->round;
    action->eval.part = part;
    action->eval.parts = e->parts;
}

void sp_evaluation_begin(struct sp_round *r, uint32_t round)
{
    struct evaluation *e = &r->evaluation;

    sp_assert(!e->pending);
    e->pending = true;
    e->round = round;
    e->parts = 0;
    e->parts_done = 0;
    e->deadline_ms = r->now_ms + (uint64_t)(r->job.server.evaluate_timeout * 1e3);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (r->slots[i].worker >= 0 && can_evaluate(r, r->slots[i].worker))
            e->parts++;
    }
    memset(e->part, 0, sizeof e->part);
    if (e->parts == 0) {
        /* Nobody is there; whoever comes gets all of it. */
        e->parts = 1;
        e->part[0].worker = -1;
        return;
    }
    for (uint32_t i = 0, part = 0; i < r->job.workers; i++) {
        if (r->slots[i].worker >= 0 && can_evaluate(r, r->slots[i].worker))
            send_part(r, part++, r->slots[i].worker);
    }
}

/* The ready worker with the fewest parts to do. */
static int least_busy(const struct sp_round *r)
{
    const struct evaluation *e = &r->evaluation;
    int best = -1;
    unsigned best_parts = 0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        int w = r->slots[i].worker;
        unsigned parts = 0;

        if (w < 0 || !can_evaluate(r, w))
            continue;
        for (unsigned p = 0; p < e->parts; p++)
            parts += !e->part[p].done && e->part[p].worker == w;
        if (best < 0 || parts < best_parts) {
            best = w;
            best_parts = parts;
        }
    }
    return best;
}

/* Somebody gets these weights now, and may evaluate them when it is ready. */
static bool somebody_comes(const struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        int w = r->slots[i].worker;

        if (w >= 0 && r->workers[w]->state == WORKER_RECEIVING && r->workers[w]->evaluates && !r->suspicion.excluded[i])
            return true;
    }
    return false;
}

bool sp_evaluation_reassign(struct sp_round *r)
{
    struct evaluation *e = &r->evaluation;

    if (!e->pending)
        return true;
    for (unsigned p = 0; p < e->parts; p++) {
        int w = e->part[p].worker;

        if (e->part[p].done || (w >= 0 && can_evaluate(r, w)))
            continue;
        w = least_busy(r);
        if (w < 0)
            return somebody_comes(r);
        sp_round_note(r, SP_NOTE_INFO, "part %u of the evaluation after round %u goes to slot %d", p, e->round,
                      r->workers[w]->slot);
        send_part(r, p, w);
    }
    return true;
}

static void finish(struct sp_round *r)
{
    struct evaluation *e = &r->evaluation;

    e->pending = false;
    e->unanswered = e->parts_done == 0;
    if (e->unanswered) { /* what the one before had found stays */
        sp_round_act(r, SP_ACTION_REPORT, 0)->report = r->report;
        return;
    }
    e->any = true;
    e->ended = e->round;
    e->correct = e->total = 0;
    e->loss = 0.0;
    e->expected = r->test_examples;
    for (unsigned p = 0; p < e->parts; p++) {
        if (!e->part[p].done)
            continue;
        e->correct += e->part[p].score.correct;
        e->total += e->part[p].score.total;
        e->loss += e->part[p].score.loss_sum;
    }
    e->loss = e->total > 0 ? e->loss / (double)e->total : (double)NAN;
    e->partial = e->total != e->expected;
    r->report.evaluated = true;
    r->report.correct = e->correct;
    r->report.total = e->total;
    r->report.expected = e->expected;
    r->report.test_loss = e->loss;
    sp_round_act(r, SP_ACTION_REPORT, 0)->report = r->report;
}

void sp_evaluation_forget(struct sp_round *r, int w)
{
    for (unsigned p = 0; r->evaluation.pending && p < r->evaluation.parts; p++) {
        if (r->evaluation.part[p].worker == w)
            r->evaluation.part[p].worker = -1;
    }
}

void sp_evaluation_give_up(struct sp_round *r, const char *why)
{
    struct evaluation *e = &r->evaluation;

    sp_assert(e->pending);
    sp_round_note(r, SP_NOTE_WARN, "the evaluation after round %u is partial, %u of %u parts: %s", e->round,
                  e->parts_done, e->parts, why);
    finish(r);
}

int sp_round_score(struct sp_round *r, uint32_t peer, uint32_t round, const struct sp_part_score *score,
                   uint64_t now_ms, struct sp_error *error)
{
    struct evaluation *e = &r->evaluation;
    struct worker *worker = sp_roster_find(r, peer);
    struct part *part;

    r->now_ms = now_ms;
    if (worker == NULL || worker->state != WORKER_READY)
        return sp_error_set(error, SP_E_PROTOCOL, "SCORE before READY");
    if (!e->pending || round != e->round)
        return SP_OK; /* too late: the evaluation ended without it */
    if (score->part >= e->parts)
        return sp_error_set(error, SP_E_PROTOCOL, "SCORE of part %u of %u", score->part, e->parts);
    if (e->part[score->part].worker < 0 || r->workers[e->part[score->part].worker] != worker)
        return SP_OK; /* the part was given to another meanwhile */
    part = &e->part[score->part];
    if (score->correct > score->total || score->total > r->test_examples || !isfinite(score->loss_sum))
        return sp_error_set(error, SP_E_PROTOCOL, "SCORE that cannot be: %llu correct of %llu, loss %g",
                            (unsigned long long)score->correct, (unsigned long long)score->total, score->loss_sum);
    if (part->done)
        return SP_OK;
    part->done = true;
    part->score = *score;
    if (++e->parts_done == e->parts)
        finish(r);
    sp_round_advance(r);
    return SP_OK;
}
