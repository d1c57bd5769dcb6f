/* The end of a round: statistics to decisions, the rates, the switch, the weights, the report. */
#include "common/check.h"
#include "common/schedule.h"
#include "common/sums.h"
#include "server/round_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_ROUNDS 100

static double sign_factor(const struct sp_round *r, uint32_t t)
{
    struct sp_course course = sp_job_sign_course(&r->job, r->examples);

    return sp_schedule_factor(&course, t);
}

static double gamma_of(const struct sp_round *r, uint32_t t)
{
    return r->job.optimizer.sign.lr * sign_factor(r, t);
}

float sp_commit_sigma(const struct sp_round *r, uint32_t t)
{
    double factor = sp_dither_factor(r->job.optimizer.dither.schedule, t, r->rounds);

    return (float)(r->job.optimizer.dither.sigma0 * factor);
}

void sp_commit_send(struct sp_round *r, uint32_t t)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_COMMIT, 0);

    action->round = t;
    action->commit = r->last_commit;
}

static unsigned count_voters(struct sp_round *r, struct sp_commit *commit)
{
    unsigned voters = 0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        if (r->tally.slot[i].arrived == r->tally.chunks) {
            commit->voters[i / 8] |= (uint8_t)(1u << (i % 8));
            s->view.votes++;
            voters++;
        } else if (s->expected) {
            s->view.missed++;
        }
    }
    return voters;
}

static const char *lambda_rule_name(enum sp_lambda_rule rule)
{
    static const char *const names[] = {"paper", "ratio", "denoised", "norm", "norm_tensor"};

    return names[rule];
}

static void note_dry_switch(struct sp_round *r, const struct sp_decision *decision, double gamma)
{
    bool norm = sp_decide_needs_mean(&r->decide);

    r->switch_dry = true;
    r->lambda = sp_decide_lambda(&r->decide, gamma, r->layout.coordinates);
    (void)snprintf(r->switch_reason, sizeof r->switch_reason, "dry run, would have switched after round %u: %s",
                   r->round, decision->reason);
    sp_round_note(r, SP_NOTE_INFO,
                  "would switch to SGD now, after round %u, at lambda = %s%.4g (%s); dry run: going on", r->round,
                  norm ? "about " : "", r->lambda, decision->reason);
}

static void make_switch(struct sp_round *r, const struct sp_decision *decision, double gamma)
{
    r->mean = calloc(r->layout.coordinates, sizeof *r->mean);
    if (r->mean == NULL) {
        sp_round_note(r, SP_NOTE_WARN, "no memory for the SGD phase (%llu bytes); staying in the sign phase",
                      (unsigned long long)(r->layout.coordinates * sizeof *r->mean));
        r->decide.when = SP_SWITCH_NEVER;
        return;
    }
    r->switch_round = r->round;
    r->phase = SP_PHASE_SGD;
    r->gamma_switch = gamma;
    r->factor_switch = sign_factor(r, r->round);
    (void)snprintf(r->switch_reason, sizeof r->switch_reason, "%s", decision->reason);
    if (sp_decide_needs_mean(&r->decide)) {
        sp_round_note(r, SP_NOTE_INFO, "switch to SGD after round %u: %s; the rate (%s) comes with the first SGD round",
                      r->round, decision->reason, lambda_rule_name(r->decide.rule));
        return;
    }
    r->lambda = sp_decide_lambda(&r->decide, gamma, r->layout.coordinates);
    r->lambda_known = true;
    sp_round_note(r, SP_NOTE_INFO, "switch to SGD after round %u: %s; lambda = %.5g (%s)", r->round, decision->reason,
                  r->lambda, r->decide.fixed > 0.0 ? "optimizer.sgd.lr" : lambda_rule_name(r->decide.rule));
}

static void commit_sign(struct sp_round *r, struct sp_commit *commit, double loss)
{
    struct sp_decision decision;
    double gamma = gamma_of(r, r->round);

    commit->rate = (float)gamma;
    commit->decay = (float)(1.0 - gamma * r->job.optimizer.weight_decay);
    sp_scalars_decide(r);
    sp_decide_loss(&r->decide, r->round, loss);
    sp_decide_switch(&r->decide, r->round, &decision);
    if (decision.fires && r->job.optimizer.switch_.dry_run) {
        if (!r->switch_dry)
            note_dry_switch(r, &decision, gamma);
    } else if (decision.fires) {
        make_switch(r, &decision, gamma);
    }
    sp_scalars_next(r, gamma);
}

static void note_rates(struct sp_round *r)
{
    char line[400];
    size_t used = 0;

    for (uint32_t i = 0; i < r->layout.tensors_count && used < sizeof line - 100; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %.4g", i > 0 ? ", " : "",
                                 r->layout.tensors[i].name, (double)r->rates[i]);
    sp_round_note(r, SP_NOTE_INFO, "lambda by %s, scale %g, from round %u: %s", lambda_rule_name(r->decide.rule),
                  r->decide.scale, r->round, line);
}

/* A mean that no worker gave all of, or of length 0, has no rate: it would be infinite, and stay so to the end. */
static bool mean_has_length(const struct sp_round *r)
{
    return r->voters > 0 && sp_sum_squares(r->mean, (size_t)r->layout.coordinates) > 0.0;
}

/* The rates that keep the length of a step: from the first SGD round's own mean. */
static void take_norm_rates(struct sp_round *r)
{
    bool by_tensor = r->decide.rule == SP_LAMBDA_NORM_TENSOR;

    r->lambda = sp_decide_norm(&r->decide, r->gamma_switch, &r->layout, r->mean, by_tensor ? r->rates : NULL);
    r->lambda_known = true;
    r->rates_in_use = by_tensor;
    if (by_tensor)
        note_rates(r);
    else
        sp_round_note(r, SP_NOTE_INFO, "lambda = %.5g (norm, scale %g) from round %u", r->lambda, r->decide.scale,
                      r->round);
}

static void commit_sgd(struct sp_round *r, struct sp_commit *commit)
{
    double factor = 1.0, wd = r->job.optimizer.weight_decay;

    if (!r->lambda_known && !mean_has_length(r)) {
        sp_round_note(r, SP_NOTE_WARN, "round %u brought no mean to take the SGD rate from; it changes nothing",
                      r->round);
        commit->decay = 1.0f;
        return;
    }
    if (!r->lambda_known)
        take_norm_rates(r);
    if (r->job.optimizer.sgd.schedule == SP_SGD_SCHEDULE_CONTINUE)
        factor = sign_factor(r, r->round) / r->factor_switch;
    commit->rate = (float)(r->lambda * factor);
    commit->decay = (float)(1.0 - r->lambda * factor * wd);
    if (!r->rates_in_use)
        return;
    for (uint32_t i = 0; i < r->layout.tensors_count; i++) {
        r->scaled[i] = (float)((double)r->rates[i] * factor);
        r->decays[i] = (float)(1.0 - (double)r->rates[i] * factor * wd);
    }
    commit->rates = r->scaled;
    commit->rates_count = r->layout.tensors_count;
    if (wd > 0.0) {
        commit->decays = r->decays;
        commit->decays_count = r->layout.tensors_count;
    }
}

static void apply(struct sp_round *r, enum sp_phase phase)
{
    const struct sp_commit *commit = &r->last_commit;
    struct sp_step step = {
        .decay = commit->decay, .rate = commit->rate, .rates = commit->rates, .decays = commit->decays};

    if (phase == SP_PHASE_SIGN) {
        uint8_t *swap = r->previous;

        sp_weights_apply_signs(&r->layout, &step, r->bits, r->theta);
        r->previous = r->bits;
        r->bits = swap;
        r->has_previous = true;
    } else {
        sp_weights_apply_values(&r->layout, &step, r->mean, r->theta);
    }
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
    if ((r->round % r->epoch_rounds == 0 || r->round == r->rounds) && r->epoch_loss_n > 0) {
        r->train_loss = r->epoch_loss_sum / (double)r->epoch_loss_n;
        r->epoch_loss_sum = 0.0;
        r->epoch_loss_n = 0;
    }
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

static double shown_rate(const struct sp_round *r)
{
    uint32_t largest = 0;

    if (r->last_commit.rates == NULL)
        return (double)r->last_commit.rate;
    for (uint32_t i = 1; i < r->layout.tensors_count; i++) {
        if (r->layout.tensors[i].count > r->layout.tensors[largest].count)
            largest = i;
    }
    return (double)r->last_commit.rates[largest];
}

/* Fills in r->report from the rounds since the last one. `phase` and sigma are those of the round just committed. */
static void make_report(struct sp_round *r, enum sp_phase phase, float sigma)
{
    struct sp_report *report = &r->report;

    memset(report, 0, sizeof *report);
    report->round = r->committed;
    report->epoch = (double)r->committed / (double)r->epoch_rounds;
    report->phase = phase;
    report->rate = shown_rate(r);
    report->sigma = (double)sigma;
    report->loss = r->loss_n > 0 ? r->loss_sum / (double)r->loss_n : (double)NAN;
    report->live = r->live;
    report->voters = r->voters;
    report->margin = r->report_counts.coordinates > 0 ? r->report_margin / (double)r->report_counts.coordinates : 0.0;
    report->ties = share(r->report_counts.ties, r->report_counts.coordinates);
    report->unanimous = share(r->report_counts.unanimous, r->report_counts.coordinates);
    report->flips = share(r->report_counts.flips, r->report_counts.coordinates);
    sp_decide_estimates(&r->decide, phase == SP_PHASE_SIGN ? r->gamma_before : r->gamma_switch, &report->estimates);
    r->loss_sum = r->report_margin = 0.0;
    r->loss_n = 0;
    memset(&r->report_counts, 0, sizeof r->report_counts);
}

void sp_commit_round(struct sp_round *r)
{
    struct sp_commit *c = &r->last_commit;
    enum sp_phase phase = r->phase;
    float sigma = r->sigma;
    double loss = sp_scalars_loss(r);
    uint32_t t = r->round;

    memset(c, 0, sizeof *c);
    r->voters = count_voters(r, c);
    if (phase == SP_PHASE_SIGN) {
        commit_sign(r, c, loss);
    } else {
        commit_sgd(r, c);
        sp_scalars_next(r, 0.0);
    }
    if (t % DIGEST_ROUNDS == 0) {
        c->has_digest = true;
        c->digest = sp_weights_digest(r->theta, r->layout.coordinates);
    }
    c->last = t == r->rounds;
    r->sigma = r->phase == SP_PHASE_SIGN && !c->last ? sp_commit_sigma(r, t + 1) : 0.0f;
    c->next_phase = r->phase;
    c->next_sigma = r->sigma;
    if (sp_evaluation_due(r, t))
        sp_evaluation_begin(r, t);
    sp_commit_send(r, t);
    r->committed = t;
    apply(r, phase);
    count_round(r, loss);
    if (t % r->job.train.report == 0 || c->last || r->evaluation.pending)
        make_report(r, phase, sigma);
    if (!r->evaluation.pending && (t % r->job.train.report == 0 || c->last))
        sp_round_act(r, SP_ACTION_REPORT, 0)->report = r->report;
}
