/* What others may know of a job: its progress, and what it waits for. */
#include "server/round_state.h"

#include <stdio.h>
#include <string.h>

/* Those behind are waited for when nobody else is: then the quorum needs them. */
static bool needs_those_behind(const struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (sp_round_waits_for(r, i))
            return false;
    }
    return true;
}

/* The slots that the round waits for, as "slot 1" or "slots 1, 3"; "" if none. */
static void list_slots(const struct sp_round *r, char *text, size_t bytes)
{
    char numbers[128];
    size_t used = 0;
    unsigned n = 0;
    bool needs = needs_those_behind(r);

    numbers[0] = text[0] = '\0';
    for (uint32_t i = 0; i < r->job.workers; i++) {
        bool waits = needs ? sp_round_lags(r, i) : sp_round_waits_for(r, i);
        bool missing = r->stage == SP_STAGE_RUNNING ? waits : !r->slots[i].view.ready;

        if (!missing)
            continue;
        if (used < sizeof numbers - 8)
            used += (size_t)snprintf(numbers + used, sizeof numbers - used, "%s%u", n > 0 ? ", " : "", i);
        n++;
    }
    if (n > 0)
        (void)snprintf(text, bytes, "slot%s %s%s", n > 1 ? "s" : "", numbers,
                       used < sizeof numbers - 8 ? "" : " and more");
}

static void describe_return(struct sp_round *r)
{
    const struct rejoining *rejoining = &r->rejoining;
    double left = (double)rejoining->deadline_ms - (double)r->now_ms;

    if (rejoining->deadline_ms == 0)
        (void)snprintf(r->waits, sizeof r->waits, "the return of %u worker%s; none is back", rejoining->wanted,
                       rejoining->wanted == 1 ? "" : "s");
    else
        (void)snprintf(r->waits, sizeof r->waits,
                       "the return of workers: %u of %u are back; goes on in %.0f s at the latest "
                       "(server.rejoin_timeout)",
                       r->live, rejoining->wanted, left > 0.0 ? left / 1e3 : 0.0);
}

void sp_view_describe_wait(struct sp_round *r)
{
    char slots[160];
    double left = (double)sp_round_gather_deadline(r) - (double)r->now_ms;

    list_slots(r, slots, sizeof slots);
    r->waits[0] = '\0';
    if (r->stage == SP_STAGE_NEW)
        (void)snprintf(r->waits, sizeof r->waits, "the initial weights of a first worker");
    else if (r->stage == SP_STAGE_GATHERING && left > 0.0)
        (void)snprintf(r->waits, sizeof r->waits,
                       "workers: %u of %u are ready, without %s; starts in %.0f s at the latest with at least %u",
                       r->live, r->job.workers, slots, left / 1e3, r->job.server.min_live);
    else if (r->rejoining.on && r->tally.base == 0)
        describe_return(r);
    else if (r->stage == SP_STAGE_GATHERING ||
             (r->stage == SP_STAGE_RUNNING && r->tally.base == 0 && r->live < r->job.server.min_live))
        (void)snprintf(r->waits, sizeof r->waits, "workers: %u live, server.min_live is %u", r->live,
                       r->job.server.min_live);
    else if (r->stage == SP_STAGE_RUNNING && slots[0] != '\0')
        (void)snprintf(r->waits, sizeof r->waits, "the pushes of %s in round %u", slots, r->round);
    else if (r->evaluation.pending)
        (void)snprintf(r->waits, sizeof r->waits, "the evaluation after round %u: %u of %u parts are in",
                       r->evaluation.round, r->evaluation.parts_done, r->evaluation.parts);
}

void sp_round_progress(const struct sp_round *r, struct sp_welcome *welcome)
{
    welcome->run = r->run;
    welcome->rounds = r->rounds;
    welcome->round = r->committed;
    welcome->phase = r->form.phase;
    welcome->sigma = r->sigma;
    welcome->lambda = r->committed > 0 && sp_round_phase(r, r->committed) == SP_PHASE_SGD ? r->last_commit.rate : 0.0f;
    welcome->traits = r->traits;
    welcome->traits_count = r->layout.trained;
}

const struct sp_commit *sp_round_last_commit(const struct sp_round *r)
{
    return &r->last_commit;
}

uint32_t sp_round_committed(const struct sp_round *r)
{
    return r->committed;
}

bool sp_round_has_started(const struct sp_round *r)
{
    return r->started;
}

bool sp_round_evaluates(const struct sp_round *r)
{
    return r->evaluation.pending;
}

const struct sp_report *sp_round_latest(const struct sp_round *r)
{
    return r->latest.round > 0 ? &r->latest : NULL;
}

uint64_t sp_round_float32_bytes(const struct sp_round *r)
{
    return r->float32_bytes;
}

const struct sp_layout *sp_round_layout(const struct sp_round *r)
{
    return r->layout.tensors_count > 0 ? &r->layout : NULL;
}

void sp_round_view(struct sp_round *r, struct sp_view *view)
{
    sp_round_settle(r);
    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        r->views[i] = r->slots[i].view;
        r->views[i].behind = r->views[i].behind && r->views[i].live; /* an empty slot keeps it for who returns */
        r->views[i].correlation = sp_suspicion_correlation(&r->suspicion, i, r->job.workers);
        r->views[i].suspected = r->suspicion.suspected[i];
        r->views[i].is_excluded = r->suspicion.excluded[i];
    }
    view->stage = r->stage;
    view->round = r->committed;
    view->rounds = r->rounds;
    if (r->epoch_rounds > 0) {
        view->epoch = (double)r->committed / (double)r->epoch_rounds;
        view->epochs = (double)r->rounds / (double)r->epoch_rounds;
    }
    view->examples = r->examples;
    view->test_examples = r->test_examples;
    view->phase = r->form.phase;
    view->layout = sp_round_layout(r);
    view->theta = r->has_weights ? r->theta : NULL;
    view->buffers = r->layout.buffers > 0 ? r->buffers : NULL;
    view->traits = r->traits;
    view->live = r->live;
    view->spares = r->spares;
    if (r->job.server.close == SP_CLOSE_QUORUM) {
        view->deadline_ms = sp_round_deadline_ms(r);
        view->arrival_ms = r->arrival_ms;
        view->arrival_spread_ms = r->arrival_spread_ms;
    }
    view->slots = r->views;
    view->switches = r->switches;
    view->switches_count = r->switches_count;
    view->dry_reason = r->dry_reason;
    view->lambda_known = r->lambda_known;
    view->lambda = r->lambda;
    view->clipped = r->clipped;
    view->rates = r->rates_in_use ? r->rates : NULL;
    view->train_loss = r->train_loss;
    view->evaluated = r->evaluation.any;
    view->evaluated_round = r->evaluation.ended;
    view->partial = r->evaluation.partial || (r->evaluation.unanswered && !r->stopped);
    view->correct = r->evaluation.correct;
    view->total = r->evaluation.total;
    view->test_loss = r->evaluation.loss;
    view->float32_bytes = r->float32_bytes;
    view->waits = r->waits;
    view->over_reason = r->over_reason;
    view->stopped = r->stopped;
    view->decide = &r->decide;
}
