/* What a change of phase would be now, and how near it is: what `auto` and the other tests go by, in words. */
#include "server/round_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(struct sp_outlook *outlook, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct sp_outlook *outlook, const char *format, ...)
{
    size_t used = strlen(outlook->words);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(outlook->words + used, sizeof outlook->words - used, format, args);
    va_end(args);
}

/* The first round that is this part of the job, or more. */
static uint32_t round_at(const struct sp_round *r, double part)
{
    uint32_t t = (uint32_t)floor(part * (double)r->rounds);

    while ((double)t / (double)r->rounds < part)
        t++;
    return t > 0 ? t : 1;
}

static void say_rate(const struct sp_round *r, struct sp_outlook *outlook)
{
    if (outlook->to == SP_PHASE_MARGIN)
        say(outlook, "would switch to margin updates at gamma %.3g", sp_rates_gamma(r, SP_PHASE_MARGIN, r->round));
    else if (isnan(outlook->lambda))
        say(outlook, "lambda is not known before the statistics of some rounds");
    else
        say(outlook, "would switch at lambda %s%.3g", outlook->about ? "about " : "", outlook->lambda);
}

static void look_at_auto(const struct sp_round *r, struct sp_outlook *outlook)
{
    const struct sp_numbers *n = &outlook->numbers;

    outlook->flat_needed = SP_AUTO_FLAT_WINDOWS;
    outlook->bar = SP_AUTO_BAR;
    outlook->earliest = round_at(r, SP_SWITCH_EARLIEST);
    outlook->latest = round_at(r, SP_AUTO_LATEST);
    say_rate(r, outlook);
    if (n->windows == 0)
        say(outlook, "; no window of %u rounds is over yet", n->window);
    else
        say(outlook, "; flat windows %u of %u, last gain %.3g %%, bar %.3g %%",
            n->flat < outlook->flat_needed ? n->flat : outlook->flat_needed, outlook->flat_needed, n->last_gain * 100.0,
            outlook->bar * 100.0);
    if (r->round < outlook->earliest)
        say(outlook, "; not before round %u", outlook->earliest);
    say(outlook, "; at round %u in any case", outlook->latest);
}

static void look_at_swats(const struct sp_round *r, struct sp_outlook *outlook)
{
    const struct sp_numbers *n = &outlook->numbers;

    outlook->earliest = round_at(r, SP_SWITCH_EARLIEST);
    say_rate(r, outlook);
    if (n->rounds_seen > 0)
        say(outlook, "; a round's rate (%.3g) was within %.3g %% of the average (%.3g) for %u of %u rounds",
            n->lambda_now, r->decide.tolerance * 100.0, n->lambda_mean, n->settled, r->decide.patience);
    if (r->round < outlook->earliest)
        say(outlook, "; not before round %u", outlook->earliest);
}

static void look_at_round(const struct sp_round *r, struct sp_outlook *outlook, uint32_t round, const char *key)
{
    outlook->earliest = outlook->latest = round;
    say_rate(r, outlook);
    say(outlook, "; comes after round %u (%s), in %u rounds", round, key,
        round > r->committed ? round - r->committed : 0);
}

static void look_ahead(const struct sp_round *r, struct sp_outlook *outlook)
{
    if (r->switches_count > 0) { /* a margin phase that a switch led to */
        outlook->pending = r->job.optimizer.margin.until > 0.0;
        if (outlook->pending)
            look_at_round(r, outlook, (uint32_t)sp_job_whole_rounds(r->job.optimizer.margin.until * (double)r->rounds),
                          "optimizer.margin.until");
        else
            say(outlook, "the margin phase goes on to the end (optimizer.margin.until)");
        return;
    }
    outlook->pending = r->decide.when != SP_SWITCH_NEVER;
    switch (r->decide.when) {
    case SP_SWITCH_NEVER:
        say(outlook, "never (optimizer.switch.when)");
        break;
    case SP_SWITCH_MANUAL:
        say_rate(r, outlook);
        say(outlook, "; waits for 'signpost switch' (optimizer.switch.when: manual)");
        break;
    case SP_SWITCH_AT:
        look_at_round(r, outlook, r->decide.at, "optimizer.switch");
        break;
    case SP_SWITCH_SWATS:
        look_at_swats(r, outlook);
        break;
    case SP_SWITCH_AUTO:
        look_at_auto(r, outlook);
        break;
    }
    if (outlook->pending && r->job.optimizer.switch_.dry_run)
        say(outlook, "; a dry run (optimizer.switch.dry_run): it is only said");
}

static void look_at_rate(const struct sp_round *r, struct sp_outlook *outlook)
{
    double gamma = sp_rates_gamma(r, r->form.phase, r->committed);
    double unbounded;

    outlook->rule = sp_decide_rule_name(&r->decide);
    if (sp_decide_can_switch(&r->decide))
        outlook->lambda = sp_decide_lambda(&r->decide, gamma, sqrt(r->step.whole), &unbounded);
    outlook->about = sp_decide_needs_mean(&r->decide) && !isnan(outlook->lambda);
}

void sp_round_outlook(const struct sp_round *r, struct sp_outlook *outlook)
{
    bool to_margin = r->form.phase == SP_PHASE_SIGN && r->job.optimizer.switch_.to == SP_SWITCH_TO_MARGIN;

    memset(outlook, 0, sizeof *outlook);
    outlook->lambda = (double)NAN;
    outlook->to = to_margin ? SP_PHASE_MARGIN : SP_PHASE_SGD;
    if (r->job.optimizer.mode != SP_MODE_HYBRID) {
        say(outlook, "none: optimizer.mode is not hybrid, and the job has one phase");
    } else if (r->stage == SP_STAGE_NEW || r->stage == SP_STAGE_GATHERING) {
        outlook->pending = r->job.optimizer.switch_.when != SP_SWITCH_NEVER;
        say(outlook, "the job has not started");
    } else if (r->form.phase == SP_PHASE_SGD) {
        say(outlook, "the SGD phase is the last one");
    } else if (r->stage != SP_STAGE_RUNNING) {
        say(outlook, "all rounds are done");
    } else {
        sp_decide_numbers(&r->decide, &outlook->numbers);
        if (!to_margin && r->committed > 0)
            look_at_rate(r, outlook);
        look_ahead(r, outlook);
    }
}
