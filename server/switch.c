/* From phase to phase: when the next one begins, what is said and recorded of it, and how its numbers travel.
 *
 * A hybrid job goes from sign to SGD, from sign to margin (and on to SGD, if optimizer.margin.until says when), or from
 * margin to SGD. The change is in the COMMIT of the last round before it, so it is one round for all.
 */
#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *phase_words(enum sp_phase phase)
{
    static const char *const words[] = {
        [SP_PHASE_SIGN] = "sign updates", [SP_PHASE_SGD] = "SGD", [SP_PHASE_MARGIN] = "margin updates"};

    return words[phase];
}

enum sp_phase sp_switch_first(const struct sp_job *job)
{
    if (job->optimizer.mode != SP_MODE_HYBRID)
        return SP_PHASE_SGD;
    return job->optimizer.start == SP_START_MARGIN ? SP_PHASE_MARGIN : SP_PHASE_SIGN;
}

enum sp_phase sp_round_phase(const struct sp_round *r, uint32_t round)
{
    enum sp_phase phase = sp_switch_first(&r->job);

    for (unsigned i = 0; i < r->switches_count; i++) {
        if (round > r->switches[i].round)
            phase = r->switches[i].to;
    }
    return phase;
}

/* --- what is said ----------------------------------------------------------------------------------------------------
 */

struct sp_event sp_switch_new_event(struct sp_round *r, enum sp_event_type type, const char *test)
{
    struct sp_event event = {.type = type, .round = r->round, .test = test, .from = r->form.phase};

    event.to = event.from;
    /* Before round 1 there is none, nor a schedule to ask. */
    event.gamma = event.from == SP_PHASE_SGD || r->round == 0 ? (double)NAN : sp_rates_gamma(r, event.from, r->round);
    event.lambda = (double)NAN;
    event.rule = event.from == SP_PHASE_SGD ? sp_decide_rule_name(&r->decide) : NULL;
    sp_decide_numbers(&r->decide, &event.numbers);
    return event;
}

static void rate_words(const struct sp_event *event, char *words, size_t bytes)
{
    words[0] = '\0';
    if (event->to != SP_PHASE_SGD || event->rule == NULL)
        return;
    if (isnan(event->lambda))
        (void)snprintf(words, bytes, "; the rate (%s) comes with the first SGD round", event->rule);
    else if (event->unbounded != 0.0)
        (void)snprintf(words, bytes, "; lambda = %.5g (%s; %.3g without optimizer.sgd.lambda_min and lambda_max)",
                       event->lambda, event->rule, event->unbounded);
    else
        (void)snprintf(words, bytes, "; lambda = %s%.5g (%s)", event->about ? "about " : "", event->lambda,
                       event->rule);
}

void sp_switch_event(struct sp_round *r, const struct sp_event *event)
{
    char rate[160];

    rate_words(event, rate, sizeof rate);
    switch (event->type) {
    case SP_EVENT_SWITCH:
        sp_round_note(r, SP_NOTE_INFO, "switch from %s to %s after round %u: %s%s", phase_words(event->from),
                      phase_words(event->to), event->round, event->reason, rate);
        break;
    case SP_EVENT_RATES:
        if (event->rates != NULL)
            sp_round_note(r, SP_NOTE_INFO, "lambda from round %u: %s", event->round, event->reason);
        else
            sp_round_note(r, SP_NOTE_INFO, "lambda = %.5g (%s) from round %u", event->lambda, event->reason,
                          event->round);
        break;
    case SP_EVENT_DRY_RUN:
        sp_round_note(r, SP_NOTE_INFO, "dry run: would switch from %s to %s now, after round %u: %s%s; going on",
                      phase_words(event->from), phase_words(event->to), event->round, event->reason, rate);
        break;
    case SP_EVENT_REFUSAL:
        sp_round_note(r, SP_NOTE_WARN, "no switch from %s: %s", phase_words(event->from), event->reason);
        break;
    case SP_EVENT_QUARANTINE:
        sp_round_note(r, SP_NOTE_WARN, "%s; %s", event->reason,
                      event->excluded ? "it is excluded from the next round on"
                                      : "it still counts (server.quarantine: exclude would keep it out)");
        break;
    }
    sp_round_act(r, SP_ACTION_EVENT, 0)->event = *event;
}

/* --- when ------------------------------------------------------------------------------------------------------------
 */

/* Where a switch from the present phase leads. */
static enum sp_phase destination(const struct sp_round *r)
{
    bool to_margin = r->form.phase == SP_PHASE_SIGN && r->job.optimizer.switch_.to == SP_SWITCH_TO_MARGIN;

    return to_margin ? SP_PHASE_MARGIN : SP_PHASE_SGD;
}

static void decide(const struct sp_round *r, struct sp_decision *decision)
{
    double until = r->job.optimizer.margin.until;

    memset(decision, 0, sizeof *decision);
    if (r->asked) {
        decision->fires = true;
        decision->test = "manual";
        (void)snprintf(decision->reason, sizeof decision->reason, "manual: an operator asked for it");
    } else if (r->switches_count == 0) {
        sp_decide_switch(&r->decide, r->round, decision);
    } else if (until > 0.0) {
        uint32_t last = (uint32_t)sp_job_whole_rounds(until * (double)r->rounds);

        decision->fires = r->round >= last;
        decision->test = "until";
        (void)snprintf(decision->reason, sizeof decision->reason, "until: round %u, as optimizer.margin.until says",
                       last);
    }
    /* A switch after the last round would change nothing. */
    if (r->round >= r->rounds)
        decision->fires = false;
}

/* Recorded once, and whenever an operator asks; it is tried again after every round. */
static void refuse(struct sp_round *r, const struct sp_decision *decision, const char *why)
{
    struct sp_event event;

    if (r->refused && !r->asked)
        return;
    r->refused = r->refused || !r->asked;
    event = sp_switch_new_event(r, SP_EVENT_REFUSAL, decision->test);
    event.to = destination(r);
    (void)snprintf(event.reason, sizeof event.reason, "%s, but %s", decision->reason, why);
    sp_switch_event(r, &event);
}

static void add_lambda(struct sp_round *r, struct sp_event *event)
{
    if (event->to != SP_PHASE_SGD)
        return;
    event->rule = sp_decide_rule_name(&r->decide);
    if (event->type == SP_EVENT_SWITCH && sp_decide_needs_mean(&r->decide))
        return;
    event->lambda = sp_decide_lambda(&r->decide, event->gamma, sqrt(r->step.whole), &event->unbounded);
    event->about = sp_decide_needs_mean(&r->decide) && !isnan(event->lambda);
}

static void dry_run(struct sp_round *r, const struct sp_decision *decision)
{
    struct sp_event event;

    if (r->dry_reason[0] != '\0' && !r->asked)
        return;
    event = sp_switch_new_event(r, SP_EVENT_DRY_RUN, decision->test);
    event.to = destination(r);
    add_lambda(r, &event);
    (void)snprintf(event.reason, sizeof event.reason, "%s", decision->reason);
    (void)snprintf(r->dry_reason, sizeof r->dry_reason, "dry run, would have switched after round %u: %s", r->round,
                   decision->reason);
    r->lambda = event.lambda;
    sp_switch_event(r, &event);
}

static void make_switch(struct sp_round *r, const struct sp_decision *decision)
{
    struct sp_event event = sp_switch_new_event(r, SP_EVENT_SWITCH, decision->test);
    struct sp_switch_view *made = &r->switches[r->switches_count];

    sp_assert(r->switches_count < SP_SWITCHES_MAX);
    event.to = destination(r);
    add_lambda(r, &event);
    (void)snprintf(event.reason, sizeof event.reason, "%s", decision->reason);
    made->round = r->round;
    made->from = event.from;
    made->to = event.to;
    made->test = event.test;
    (void)snprintf(made->reason, sizeof made->reason, "%s", decision->reason);
    r->switches_count++;
    r->refused = false;
    if (event.to == SP_PHASE_SGD) {
        r->sgd_from = r->round;
        r->gamma_switch = event.gamma;
        r->factor_switch = sp_rates_factor(r, r->round);
        r->bias_mean2 = 1.0;
        r->lambda_known = !isnan(event.lambda);
        r->lambda = r->lambda_known ? event.lambda : 0.0;
    }
    sp_switch_event(r, &event);
}

void sp_switch_decide(struct sp_round *r, enum sp_phase *next)
{
    struct sp_decision decision;

    *next = r->form.phase;
    sp_rates_take_step(r, r->form.phase);
    decide(r, &decision);
    if (!decision.fires) {
        r->asked = false;
        return;
    }
    if (destination(r) == SP_PHASE_SGD && !sp_decide_can_switch(&r->decide)) {
        refuse(r, &decision, "no worker has sent the statistics that its rate comes from (sketch and dot)");
    } else if (r->job.optimizer.switch_.dry_run) {
        dry_run(r, &decision);
    } else if (!sp_combine_prepare(r, destination(r))) {
        refuse(r, &decision, "there is no memory for the next phase");
    } else {
        *next = destination(r);
        make_switch(r, &decision);
    }
    r->asked = false;
}

int sp_round_switch(struct sp_round *r, uint64_t now_ms, struct sp_error *error)
{
    struct sp_event event;
    const char *why = NULL;

    r->now_ms = now_ms;
    if (r->stage != SP_STAGE_RUNNING)
        why = r->stage < SP_STAGE_RUNNING ? "the job has not started" : "all rounds are done";
    else if (r->job.optimizer.mode != SP_MODE_HYBRID)
        why = "optimizer.mode is not hybrid, and such a job has one phase only";
    else if (r->form.phase == SP_PHASE_SGD)
        why = "the SGD phase is the last one";
    else if (r->round >= r->rounds)
        why = "the last round is under way";
    if (why == NULL) {
        r->asked = true;
        return SP_OK;
    }
    event = sp_switch_new_event(r, SP_EVENT_REFUSAL, "manual");
    (void)snprintf(event.reason, sizeof event.reason, "an operator asked for one, but %s", why);
    sp_switch_event(r, &event);
    return sp_error_set(error, SP_E_STATE, "%s", why);
}

/* --- how -------------------------------------------------------------------------------------------------------------
 */

/* Buffers are averaged in rounds after which the weights are evaluated or written, and in the first of a phase. */
static bool averages_buffers(const struct sp_round *r, uint32_t t, bool first_of_phase)
{
    return r->layout.buffers > 0 && (first_of_phase || t == r->rounds || sp_evaluation_due(r, t));
}

struct sp_round_form sp_switch_form(const struct sp_round *r, enum sp_phase next, uint32_t t)
{
    bool switched = r->switches_count > 0 && r->switches[r->switches_count - 1].round + 1 == t;
    struct sp_round_form form = {.phase = next};

    form.buffers = averages_buffers(r, t, switched);
    if (next != SP_PHASE_SGD)
        return form;
    form.wire = sp_job_wire(&r->job);
    /* The rate comes from the lengths of values that were not coded: from coded ones a small tensor may have none. */
    if (sp_decide_needs_mean(&r->decide) && !r->lambda_known)
        form.wire = SP_WIRE_F32;
    return form;
}
