/* The numbers of the state, in the order of the format, and the bytes that they make. */
#include "server/state.h"

#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sp_round_keep(struct sp_round *r, uint64_t run, bool journal)
{
    sp_assert(run != 0);
    r->run = run;
    r->keeps_gradients = journal && r->job.optimizer.mode == SP_MODE_ADAM;
}

uint64_t sp_round_run(const struct sp_round *r)
{
    return r->run;
}

uint64_t *sp_round_owner_numbers(struct sp_round *r)
{
    return r->owner;
}

/* --- groups of numbers -----------------------------------------------------------------------------------------------
 */

static enum sp_phase visit_phase(struct sp_archive *a, enum sp_phase phase)
{
    return (enum sp_phase)sp_archive_limited(a, phase, SP_PHASES - 1);
}

static void visit_form(struct sp_archive *a, struct sp_round_form *form)
{
    form->phase = visit_phase(a, form->phase);
    form->wire = (enum sp_wire)sp_archive_limited(a, form->wire, SP_WIRE_I8);
    sp_archive_bool(a, &form->buffers);
}

static void visit_commit(struct sp_round *r, struct sp_archive *a)
{
    struct sp_commit *c = &r->last_commit;
    bool rates = c->rates != NULL, decays = c->decays != NULL;

    sp_archive_float(a, &c->rate);
    sp_archive_float(a, &c->decay);
    sp_archive_bool(a, &rates);
    sp_archive_bool(a, &decays);
    if (rates)
        sp_archive_floats(a, r->scaled, r->layout.trained);
    if (decays)
        sp_archive_floats(a, r->decays, r->layout.trained);
    sp_archive_bytes(a, c->voters, sizeof c->voters);
    sp_archive_bool(a, &c->last);
    c->next_phase = visit_phase(a, (enum sp_phase)c->next_phase);
    c->next_wire = sp_archive_limited(a, c->next_wire, SP_WIRE_I8);
    sp_archive_bool(a, &c->next_buffers);
    sp_archive_float(a, &c->next_sigma);
    sp_archive_bool(a, &c->has_digest);
    sp_archive_u64(a, &c->digest);
    if (a->saving)
        return;
    c->rates = rates ? r->scaled : NULL;
    c->rates_count = rates ? r->layout.trained : 0;
    c->decays = decays ? r->decays : NULL;
    c->decays_count = decays ? r->layout.trained : 0;
}

static void visit_decide(struct sp_archive *a, struct sp_decide *d)
{
    double *const numbers[] = {&d->ema_a,  &d->ema_b,      &d->ema_e,      &d->ema_d, &d->ema_paper,  &d->bias_paper,
                               &d->bias_d, &d->lambda_now, &d->first_loss, &d->best,  &d->window_sum, &d->last_gain};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sp_archive_double(a, numbers[i]);
    sp_archive_u32(a, &d->rounds_seen);
    sp_archive_u32(a, &d->rounds_seen_d);
    sp_archive_u32(a, &d->settled);
    sp_archive_u32(a, &d->window_n);
    sp_archive_u32(a, &d->windows);
    sp_archive_u32(a, &d->flat);
}

/* The names of tests are static wherever they are used. */
static const char *visit_test(struct sp_archive *a, const char *test)
{
    static const char *const tests[] = {"never", "at", "auto", "swats", "manual", "until"};
    const uint32_t count = sizeof tests / sizeof tests[0];
    uint32_t i = 0;

    while (a->saving && i + 1 < count && strcmp(tests[i], test) != 0)
        i++;
    return tests[sp_archive_limited(a, i, count - 1)];
}

static void visit_switches(struct sp_round *r, struct sp_archive *a)
{
    r->switches_count = sp_archive_limited(a, r->switches_count, SP_SWITCHES_MAX);
    for (unsigned i = 0; i < r->switches_count; i++) {
        struct sp_switch_view *s = &r->switches[i];

        sp_archive_u32(a, &s->round);
        s->from = visit_phase(a, s->from);
        s->to = visit_phase(a, s->to);
        s->test = visit_test(a, s->test);
        sp_archive_text(a, s->reason, sizeof s->reason);
    }
    sp_archive_text(a, r->dry_reason, sizeof r->dry_reason);
    sp_archive_bool(a, &r->refused);
    sp_archive_double(a, &r->gamma_switch);
    sp_archive_double(a, &r->factor_switch);
    sp_archive_u32(a, &r->sgd_from);
}

static void visit_norms(struct sp_archive *a, struct sp_norms *norms, uint32_t trained)
{
    sp_archive_double(a, &norms->whole);
    sp_archive_doubles(a, norms->tensor, trained);
}

static void visit_rates(struct sp_round *r, struct sp_archive *a)
{
    sp_archive_bool(a, &r->rates_in_use);
    sp_archive_bool(a, &r->lambda_known);
    sp_archive_u32(a, &r->clipped);
    sp_archive_double(a, &r->lambda);
    sp_archive_floats(a, r->rates, r->layout.trained);
    visit_norms(a, &r->step, r->layout.trained);
    visit_norms(a, &r->mean2, r->layout.trained);
    sp_archive_double(a, &r->bias_mean2);
    sp_archive_double(a, &r->gamma_before);
}

static void visit_evaluation(struct sp_archive *a, struct evaluation *e)
{
    sp_archive_bool(a, &e->pending);
    sp_archive_u32(a, &e->round);
    sp_archive_bool(a, &e->any);
    sp_archive_bool(a, &e->partial);
    sp_archive_u64(a, &e->correct);
    sp_archive_u64(a, &e->total);
    sp_archive_u64(a, &e->expected);
    sp_archive_double(a, &e->loss);
}

static void visit_counts(struct sp_round *r, struct sp_archive *a)
{
    struct sp_vote_counts *c = &r->report_counts;
    double *const sums[] = {&r->loss_sum, &r->report_margin, &r->epoch_loss_sum, &r->train_loss};
    uint64_t *const counts[] = {&c->coordinates, &c->ties, &c->unanimous, &c->flips, &c->margin, &r->float32_bytes};

    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        sp_archive_double(a, sums[i]);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        sp_archive_u64(a, counts[i]);
    sp_archive_u32(a, &r->loss_n);
    sp_archive_u32(a, &r->epoch_loss_n);
    sp_archive_u32(a, &r->voters);
}

/* Of the round that is being evaluated: it is made complete by the evaluation. */
static void visit_report(struct sp_archive *a, struct sp_report *p)
{
    struct sp_estimates *e = &p->estimates;
    double *const numbers[] = {&p->epoch,    &p->rate,        &p->sigma,       &p->loss,  &p->margin,
                               &p->ties,     &p->unanimous,   &p->flips,       &e->paper, &e->ratio,
                               &e->denoised, &e->noise_scale, &e->stationarity};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sp_archive_double(a, numbers[i]);
    sp_archive_u32(a, &p->round);
    p->phase = visit_phase(a, p->phase);
    sp_archive_u32(a, &p->live);
    sp_archive_u32(a, &p->voters);
}

static void visit_arrivals(struct sp_round *r, struct sp_archive *a)
{
    sp_archive_bool(a, &r->arrivals_known);
    sp_archive_double(a, &r->arrival_ms);
    sp_archive_double(a, &r->arrival_spread_ms);
    sp_archive_bool(a, &r->pace_known);
    sp_archive_double(a, &r->pace_ms);
    sp_archive_double(a, &r->waited_ms);
}

static void visit_slot(struct sp_archive *a, struct slot *s)
{
    struct sp_slot_view *v = &s->view;
    uint64_t *const counts[] = {&v->votes, &v->missed,   &v->late,      &v->duplicates, &v->abstained,
                                &v->joins, &v->compared, &v->disagreed, &v->resyncs,    &v->excluded};

    sp_archive_bool(a, &v->behind);
    sp_archive_bool(a, &s->has_ticket);
    if (s->has_ticket)
        sp_archive_bytes(a, s->ticket, SP_TICKET_BYTES);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        sp_archive_u64(a, counts[i]);
}

/* What pairs of workers have in common grows with the square of their number: it is visited where it changed (in the
 * rounds that took a sample, and when another worker has a slot), and where all is. */
static void visit_suspicion(struct sp_round *r, struct sp_archive *a, bool whole)
{
    struct sp_suspicion *s = &r->suspicion;
    bool pairs = whole || r->pairs_changed || s->round == r->committed;

    sp_archive_u32(a, &s->round);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        sp_archive_bool(a, &s->suspected[i]);
        sp_archive_bool(a, &s->excluded[i]);
    }
    sp_archive_bool(a, &pairs);
    for (uint32_t i = 0; pairs && i < r->job.workers * (r->job.workers - 1) / 2; i++) {
        sp_archive_double(a, &s->pairs[i].sum);
        sp_archive_double(a, &s->pairs[i].squares);
        sp_archive_double(a, &s->pairs[i].last);
        sp_archive_u32(a, &s->pairs[i].samples);
    }
}

static void visit_robust(struct sp_round *r, struct sp_archive *a)
{
    struct sp_robust *robust = &r->robust;
    uint32_t paired = r->job.workers < SP_ROBUST_PAIRED ? r->job.workers : SP_ROBUST_PAIRED;

    bool kept = r->job.server.statistics == SP_STATISTICS_ROBUST;

    sp_archive_bool(a, &kept); /* the key may change with a restart */
    if (!kept)
        return;
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct sp_robust_slot *s = &robust->slot[i];
        double *const numbers[] = {&s->mass, &s->dot, &s->norm2, &s->length2, &s->loss};

        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            sp_archive_double(a, numbers[k]);
        sp_archive_u32(a, &s->losses);
    }
    sp_archive_doubles(a, robust->pair, paired * (paired - 1) / 2);
    sp_archive_doubles(a, robust->pair_mass, paired * (paired - 1) / 2);
}

void sp_state_visit(struct sp_round *r, struct sp_archive *a, bool whole)
{
    sp_archive_same(a, SP_STATE_VERSION);
    sp_archive_same(a, r->layout.trained);
    sp_archive_same(a, r->job.workers);
    sp_archive_same(a, r->rounds);
    sp_archive_u32(a, &r->committed);
    visit_form(a, &r->form);
    sp_archive_float(a, &r->sigma);
    sp_archive_u64(a, &r->digest);
    sp_archive_bool(a, &r->has_previous);
    visit_commit(r, a);
    visit_decide(a, &r->decide);
    visit_switches(r, a);
    visit_rates(r, a);
    visit_evaluation(a, &r->evaluation);
    visit_counts(r, a);
    visit_report(a, &r->report);
    visit_arrivals(r, a);
    for (uint32_t i = 0; i < r->job.workers; i++)
        visit_slot(a, &r->slots[i]);
    visit_suspicion(r, a, whole);
    visit_robust(r, a);
    for (unsigned i = 0; i < OWNER_NUMBERS; i++)
        sp_archive_u64(a, &r->owner[i]);
}

/* --- saving ----------------------------------------------------------------------------------------------------------
 */

/* What the state takes at most, however it changes. */
static size_t room_needed(struct sp_round *r)
{
    struct sp_archive count = sp_archive_save(NULL, 0);

    sp_state_visit(r, &count, true);
    return count.used + 2u * r->layout.trained * sizeof(float) + r->job.workers * SP_TICKET_BYTES +
           SP_SWITCHES_MAX * sizeof(struct sp_switch_view) + sizeof r->dry_reason;
}

int sp_round_save(struct sp_round *r, bool whole, const void **bytes, size_t *count)
{
    struct sp_archive archive;

    if (!r->started)
        return SP_E_STATE;
    if (r->saved == NULL) {
        r->saved_room = room_needed(r);
        r->saved = malloc(r->saved_room);
        if (r->saved == NULL)
            return SP_E_NOMEM;
    }
    archive = sp_archive_save(r->saved, r->saved_room);
    sp_state_visit(r, &archive, whole);
    sp_assert(!archive.bad);
    r->pairs_changed = r->pairs_changed && whole; /* the next record has them, if this is not it */
    *bytes = r->saved;
    *count = archive.used;
    return SP_OK;
}
