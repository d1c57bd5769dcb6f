/* The end of a round: statistics to decisions, the rates, the switch, the weights, the report. */
#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <string.h>

void sp_commit_send(struct sp_round *r, uint32_t t)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_COMMIT, 0);

    action->round = t;
    action->commit = r->last_commit;
}

static unsigned count_voters(struct sp_round *r, struct sp_commit *commit)
{
    unsigned voters = 0;
    int last = -1;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        if (r->tally.slot[i].arrived == r->tally.chunks && !s->late) {
            commit->voters[i / 8] |= (uint8_t)(1u << (i % 8));
            s->view.votes++;
            voters++;
            if (last < 0 || s->in_at > r->slots[last].in_at)
                last = (int)i;
        } else if (s->expected) {
            s->view.missed++;
        }
    }
    if (voters > 1)
        r->slots[last].view.last++;
    return voters;
}

/* What the round's statistics say, and what follows from them for its rates and for the phase of the next one. */
static void decide_signs(struct sp_round *r, struct sp_commit *commit, double loss, enum sp_phase *next)
{
    sp_rates_signs(r, commit);
    sp_scalars_decide(r);
    sp_scalars_decide_loss(r, loss);
    sp_switch_decide(r, next);
    sp_scalars_next(r, sp_rates_gamma(r, r->form.phase, r->round));
}

static void decide_values(struct sp_round *r, struct sp_commit *commit)
{
    if (r->job.optimizer.sgd.rate == SP_RATE_TRACKING)
        sp_scalars_decide(r);
    sp_rates_values(r, commit);
    sp_scalars_next(r, r->gamma_switch);
}

static void swap_previous(struct sp_round *r)
{
    uint8_t *swap = r->previous;

    r->previous = r->bits;
    r->bits = swap;
    r->has_previous = true;
}

void sp_round_settle(struct sp_round *r)
{
    const struct sp_commit *commit = &r->last_commit;
    uint64_t *digest = (r->committed + 1) % SP_DIGEST_ROUNDS == 0 ? &r->digest : NULL;
    struct sp_step step = {.decay = commit->decay,
                           .rate = commit->rate,
                           .rates = commit->rates,
                           .decays = commit->decays,
                           .full = r->full};

    if (!r->unsettled)
        return;
    r->unsettled = false;
    if (r->settles == SP_PHASE_SIGN)
        sp_weights_apply_signs(&r->layout, &step, r->previous, r->theta, digest);
    else
        sp_weights_apply_values(&r->layout, &step, r->mean, r->theta, digest);
}

void sp_commit_take(struct sp_round *r, const struct sp_round_form *form)
{
    r->unsettled = !r->exchange_only;
    r->settles = form->phase;
    sp_combine_commit(r);
    if (form->phase != SP_PHASE_SGD)
        swap_previous(r);
    if (form->buffers && !r->exchange_only)
        memcpy(r->buffers, r->averages, (size_t)r->layout.buffers * sizeof *r->buffers);
}

static void count_round(struct sp_round *r, double loss)
{
    r->float32_bytes += (uint64_t)r->voters * r->layout.coordinates * sizeof(float);
    r->report_counts.coordinates += r->counts.coordinates;
    r->report_counts.ties += r->counts.ties;
    r->report_margin += r->margin;
    r->report_counts.unanimous += r->counts.unanimous;
    r->report_counts.flips += r->counts.flips;
    if (isfinite(loss)) {
        r->loss_sum += loss;
        r->loss_n++;
        r->epoch_loss_sum += loss;
        r->epoch_loss_n++;
    }
    /* Of the last whole epoch; a part of one is only taken where there is no more. */
    if ((r->round % r->epoch_rounds == 0 || (r->round == r->rounds && isnan(r->train_loss))) && r->epoch_loss_n > 0) {
        r->train_loss = r->epoch_loss_sum / (double)r->epoch_loss_n;
        r->epoch_loss_sum = 0.0;
        r->epoch_loss_n = 0;
    }
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

/* Of the largest tensor that is voted on, if there is a rate for each. */
static double shown_rate(const struct sp_round *r)
{
    const struct sp_tensor *tensors = r->layout.tensors;
    uint32_t largest = 0;

    if (r->last_commit.rates == NULL || !r->rates_in_use)
        return (double)r->last_commit.rate;
    for (uint32_t i = 1; i < r->layout.trained; i++) {
        if (!sp_tensor_is(&tensors[i], SP_TENSOR_FULL) &&
            (tensors[i].count > tensors[largest].count || sp_tensor_is(&tensors[largest], SP_TENSOR_FULL)))
            largest = i;
    }
    return (double)r->last_commit.rates[largest];
}

/* What rounds had, as a report has it: sums over their coordinates, and the mean of their losses. */
static void fill_report(const struct sp_round *r, struct sp_report *report, enum sp_phase phase, float sigma,
                        const struct sp_vote_counts *counts, double margin, double loss)
{
    memset(report, 0, sizeof *report);
    report->round = r->committed;
    report->epoch = (double)r->committed / (double)r->epoch_rounds;
    report->phase = phase;
    report->rate = shown_rate(r);
    report->sigma = (double)sigma;
    report->loss = loss;
    report->live = r->live;
    report->voters = r->voters;
    report->margin = counts->coordinates > 0 ? margin / (double)counts->coordinates : 0.0;
    report->ties = share(counts->ties, counts->coordinates);
    report->unanimous = share(counts->unanimous, counts->coordinates);
    report->flips = share(counts->flips, counts->coordinates);
    sp_decide_estimates(&r->decide, phase != SP_PHASE_SGD ? r->gamma_before : r->gamma_switch, &report->estimates);
}

/* Fills in r->report from the rounds since the last one. `phase` and sigma are those of the round just committed. */
static void make_report(struct sp_round *r, enum sp_phase phase, float sigma)
{
    double loss = r->loss_n > 0 ? r->loss_sum / (double)r->loss_n : (double)NAN;

    fill_report(r, &r->report, phase, sigma, &r->report_counts, r->report_margin, loss);
    r->loss_sum = r->report_margin = 0.0;
    r->loss_n = 0;
    memset(&r->report_counts, 0, sizeof r->report_counts);
}

/* What the next round is. */
static void announce(struct sp_round *r, struct sp_commit *commit, enum sp_phase next, uint32_t t)
{
    r->form = sp_switch_form(r, next, t);
    r->sigma = commit->last ? 0.0f : sp_rates_sigma(r, next, t);
    commit->next_phase = r->form.phase;
    commit->next_wire = r->form.wire;
    commit->next_buffers = r->form.buffers && !commit->last;
    commit->next_sigma = r->sigma;
}

void sp_commit_start(struct sp_round *r)
{
    struct sp_commit *c = &r->last_commit;

    r->started = true;
    memset(c, 0, sizeof *c);
    c->decay = 1.0f;
    announce(r, c, sp_switch_first(&r->job), 1);
    sp_commit_send(r, 0);
}

void sp_commit_round(struct sp_round *r)
{
    struct sp_commit *c = &r->last_commit;
    struct sp_round_form form = r->form;
    enum sp_phase next = form.phase;
    float sigma = r->sigma;
    double loss = sp_scalars_loss(r);
    uint32_t t = r->round;

    sp_round_settle(r);
    sp_copy_finish(r);
    memset(c, 0, sizeof *c);
    r->voters = count_voters(r, c);
    if (form.phase == SP_PHASE_SGD)
        decide_values(r, c);
    else
        decide_signs(r, c, loss, &next);
    if (t % SP_DIGEST_ROUNDS == 0 && !r->exchange_only) {
        c->has_digest = true;
        c->digest = r->digest;
    }
    c->last = t == r->rounds;
    sp_quarantine_judge(r);
    announce(r, c, next, t + 1);
    if (sp_evaluation_due(r, t))
        sp_evaluation_begin(r, t);
    sp_commit_send(r, t);
    r->committed = t;
    sp_commit_take(r, &form);
    count_round(r, loss);
    fill_report(r, &r->latest, form.phase, sigma, &r->counts, r->margin, loss);
    if (t % r->job.train.report == 0 || c->last || r->evaluation.pending)
        make_report(r, form.phase, sigma);
    if (!r->evaluation.pending && (t % r->job.train.report == 0 || c->last))
        sp_round_act(r, SP_ACTION_REPORT, 0)->report = r->report;
}
