/* Rounds: chunks are tallied in order as they become complete, then the round is committed and the next one begins. */
#include "server/round.h"

#include "common/check.h"
#include "common/schedule.h"
#include "common/sums.h"
#include "server/round_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_ROUNDS 100
#define SAY_WAIT_MS 10000
#define DEADLINE_MS_MIN 20.0
#define DEADLINE_MS_UNKNOWN 10000.0
#define TICK_MS 1000

/* --- actions ---------------------------------------------------------------------------------------------------------
 */

static void grow_actions(struct sp_round *r)
{
    unsigned room = r->actions_room == 0 ? ACTIONS_FIRST : r->actions_room * 2;
    struct sp_action *grown = calloc(room, sizeof *grown);

    /* Without memory for an action the state machine and the world would part: there is no way on. */
    sp_assert(grown != NULL);
    for (unsigned i = 0; i < r->actions_count; i++)
        grown[i] = r->actions[(r->actions_head + i) % r->actions_room];
    free(r->actions);
    r->actions = grown;
    r->actions_head = 0;
    r->actions_room = room;
}

struct sp_action *sp_round_act(struct sp_round *r, enum sp_action_type type, uint32_t peer)
{
    struct sp_action *action;

    if (r->actions_count == r->actions_room)
        grow_actions(r);
    action = &r->actions[(r->actions_head + r->actions_count++) % r->actions_room];
    memset(action, 0, sizeof *action);
    action->type = type;
    action->peer = peer;
    return action;
}

bool sp_round_next(struct sp_round *r, struct sp_action *action)
{
    if (r->actions_count == 0)
        return false;
    *action = r->actions[r->actions_head];
    r->actions_head = (r->actions_head + 1) % r->actions_room;
    r->actions_count--;
    return true;
}

void sp_round_note(struct sp_round *r, enum sp_note level, const char *format, ...)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_NOTE, 0);
    va_list args;

    action->note.level = level;
    va_start(args, format);
    (void)vsnprintf(action->note.line, sizeof action->note.line, format, args);
    va_end(args);
}

void sp_round_bye(struct sp_round *r, uint32_t peer, enum sp_reason reason, const char *format, ...)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_BYE, peer);
    va_list args;

    action->bye.reason = reason;
    va_start(args, format);
    (void)vsnprintf(action->bye.words, sizeof action->bye.words, format, args);
    va_end(args);
}

/* --- making and ending -----------------------------------------------------------------------------------------------
 */

int sp_round_create(struct sp_round **out, const struct sp_job *job)
{
    struct sp_round *r = calloc(1, sizeof *r);

    *out = r;
    if (r == NULL)
        return SP_E_NOMEM;
    r->job = *job;
    r->kept_slot = -1;
    r->train_loss = (double)NAN;
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        r->slots[i].worker = -1;
    return SP_OK;
}

void sp_round_destroy(struct sp_round *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < SP_PEERS_MAX; i++)
        free(r->workers[i]);
    sp_tally_finish(&r->tally);
    sp_layout_finish(&r->layout);
    free(r->theta);
    free(r->bits);
    free(r->previous);
    free(r->mean);
    free(r->rates);
    free(r->scaled);
    free(r->decays);
    free(r->actions);
    free(r);
}

void sp_round_over(struct sp_round *r)
{
    struct sp_action *action;

    r->stage = SP_STAGE_OVER;
    r->waits[0] = '\0';
    action = sp_round_act(r, SP_ACTION_OVER, 0);
    action->bye.reason = r->stopped ? SP_REASON_STOPPED : SP_REASON_DONE;
    (void)snprintf(action->bye.words, sizeof action->bye.words, "%s", r->over_reason);
}

void sp_round_stop(struct sp_round *r, const char *words, uint64_t now_ms)
{
    r->now_ms = now_ms;
    if (r->stage == SP_STAGE_OVER)
        return;
    r->stopped = true;
    (void)snprintf(r->over_reason, sizeof r->over_reason, "%s after round %u of %u", words, r->committed, r->rounds);
    if (r->evaluation.pending)
        sp_evaluation_give_up(r, "the job was stopped");
    sp_round_over(r);
}

/* --- a round begins --------------------------------------------------------------------------------------------------
 */

static void resume_all(struct sp_round *r)
{
    for (int i = 0; i < SP_PEERS_MAX; i++) {
        if (r->workers[i] != NULL && r->workers[i]->held) {
            r->workers[i]->held = false;
            (void)sp_round_act(r, SP_ACTION_RESUME, r->workers[i]->peer);
        }
    }
}

static void begin_round(struct sp_round *r, uint32_t t)
{
    r->round = t;
    r->began_before_ms = r->began_ms;
    r->began_ms = r->now_ms;
    r->waits_said_ms = r->now_ms;
    r->waits[0] = '\0';
    memset(&r->counts, 0, sizeof r->counts);
    sp_tally_begin(&r->tally, r->phase);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        s->expected = s->worker >= 0 && r->workers[s->worker]->state == WORKER_READY;
        s->abstains = s->dropped = false;
    }
    resume_all(r);
    sp_roster_give_weights(r);
}

void sp_round_include(struct sp_round *r, int slot)
{
    /* A worker that died may have given chunks of this round under the same slot: they count, so the new one waits. */
    if (r->stage == SP_STAGE_RUNNING && r->tally.base == 0 && r->tally.slot[slot].arrived == 0)
        r->slots[slot].expected = true;
}

bool sp_round_may_admit(const struct sp_round *r)
{
    return r->stage == SP_STAGE_GATHERING || r->stage == SP_STAGE_CLOSING ||
           (r->stage == SP_STAGE_RUNNING && r->tally.base == 0);
}

static double gamma_of(const struct sp_round *r, uint32_t t)
{
    return r->job.optimizer.sign.lr * sp_schedule_factor(r->job.optimizer.sign.schedule, t, r->rounds);
}

static float sigma_of(const struct sp_round *r, uint32_t t)
{
    double factor = sp_dither_factor(r->job.optimizer.dither.schedule, t, r->rounds);

    return (float)(r->job.optimizer.dither.sigma0 * factor);
}

static void send_commit(struct sp_round *r, uint32_t t)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_COMMIT, 0);

    action->round = t;
    action->commit = r->last_commit;
}

static void start(struct sp_round *r)
{
    r->stage = SP_STAGE_RUNNING;
    r->phase = SP_PHASE_SIGN;
    r->sigma = sigma_of(r, 1);
    memset(&r->last_commit, 0, sizeof r->last_commit);
    r->last_commit.decay = 1.0f;
    r->last_commit.next_phase = SP_PHASE_SIGN;
    r->last_commit.next_sigma = r->sigma;
    send_commit(r, 0);
    sp_round_note(r, SP_NOTE_INFO, "round 1 of %u begins with %u of %u workers", r->rounds, r->live, r->job.workers);
    begin_round(r, 1);
}

static uint64_t gather_deadline(const struct sp_round *r)
{
    return r->gather_since_ms + (uint64_t)(r->job.server.start_timeout * 1e3);
}

static void maybe_start(struct sp_round *r)
{
    if (r->live == r->job.workers || (r->now_ms >= gather_deadline(r) && r->live >= r->job.server.min_live))
        start(r);
}

/* --- pushes ----------------------------------------------------------------------------------------------------------
 */

/* Means and deviations of arrivals in the manner of TCP's timer (RFC 6298). */
static void learn_arrival(struct sp_round *r, double ms)
{
    double off;

    if (!r->arrivals_known) {
        r->arrivals_known = true;
        r->arrival_ms = ms;
        r->arrival_spread_ms = ms / 2.0;
        return;
    }
    off = ms - r->arrival_ms;
    r->arrival_spread_ms += (fabs(off) - r->arrival_spread_ms) / 4.0;
    r->arrival_ms += off / 8.0;
}

static uint64_t quorum_deadline(const struct sp_round *r)
{
    double ms = DEADLINE_MS_UNKNOWN;

    if (r->arrivals_known)
        ms = fmax(r->arrival_ms + 4.0 * r->arrival_spread_ms, DEADLINE_MS_MIN);
    return r->began_ms + (uint64_t)ms;
}

static void count_late(struct sp_round *r, struct slot *s, const struct sp_frame *frame)
{
    if (frame->first != 0)
        return;
    s->view.late++;
    if (frame->round + 1 == r->round && r->stage == SP_STAGE_RUNNING)
        learn_arrival(r, (double)(r->now_ms - r->began_before_ms));
}

static void abstain(struct sp_round *r, int slot, const char *why)
{
    struct slot *s = &r->slots[slot];

    s->abstains = true;
    s->view.abstained++;
    sp_round_note(r, SP_NOTE_WARN, "worker %s, slot %d, abstains from round %u from chunk %u on: %s",
                  sp_roster_name(r, slot), slot, r->round, r->tally.slot[slot].arrived, why);
}

/* The chunk is in its place: check what only its values can tell. */
static int take_chunk(struct sp_round *r, int slot, const struct sp_message *message, struct sp_error *error)
{
    const struct sp_frame *frame = &message->frame;
    int code;
    const uint8_t *chunk = sp_tally_place(&r->tally, (unsigned)slot, &code);

    sp_assert(chunk != NULL);
    if (r->phase == SP_PHASE_SIGN && !sp_bits_tail_clear(chunk, frame->count))
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH with bits set beyond its last coordinate");
    if (r->phase == SP_PHASE_SGD && !sp_all_finite((const float *)(const void *)chunk, frame->count)) {
        abstain(r, slot, "values that are not finite");
        return SP_OK;
    }
    sp_tally_arrived(&r->tally, (unsigned)slot);
    sp_scalars_take(r, slot, message);
    if (frame->flags & SP_FRAME_LAST)
        learn_arrival(r, (double)(r->now_ms - r->began_ms));
    return SP_OK;
}

int sp_round_push(struct sp_round *r, uint32_t peer, const struct sp_message *message, uint64_t now_ms,
                  struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);
    const struct sp_frame *frame = &message->frame;
    void *unused;
    int rc;

    r->now_ms = now_ms;
    if (worker == NULL || worker->slot < 0)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH without a slot");
    if ((frame->flags & SP_FRAME_ABSTAIN) != 0) {
        struct slot *s = &r->slots[worker->slot];

        if (r->stage == SP_STAGE_RUNNING && frame->round == r->round && s->expected && !s->abstains && !s->dropped)
            abstain(r, worker->slot, "its gradient was not finite");
        sp_round_advance(r);
        return SP_OK;
    }
    if (frame->bulk_bytes == 0)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH without coordinates");
    /* The round may have gone on while the bulk was read: ask again. */
    rc = sp_round_place(r, peer, frame, &unused, error);
    if (rc == SP_E_STATE) {
        count_late(r, &r->slots[worker->slot], frame);
        return SP_OK;
    }
    sp_assert(rc != SP_ROUND_HOLD);
    if (rc == SP_OK)
        rc = take_chunk(r, worker->slot, message, error);
    if (rc == SP_OK)
        sp_round_advance(r);
    return rc;
}

/* --- tally -----------------------------------------------------------------------------------------------------------
 */

static bool lags(const struct sp_round *r, uint32_t slot)
{
    const struct slot *s = &r->slots[slot];

    return r->tally.base < r->tally.chunks && s->expected && !s->abstains && !s->dropped &&
           r->tally.slot[slot].arrived <= r->tally.base;
}

static void drop_laggards(struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (!lags(r, i))
            continue;
        r->slots[i].dropped = true;
        sp_round_note(r, SP_NOTE_DEBUG, "round %u goes on without slot %u", r->round, i);
    }
    resume_all(r);
}

/* Whether chunk `base` can be tallied now: all that are expected are in, or enough are and the deadline has passed. */
static bool chunk_complete(struct sp_round *r)
{
    unsigned missing = 0, in = 0;

    if (r->tally.base == 0 && r->live < r->job.server.min_live)
        return false;
    for (uint32_t i = 0; i < r->job.workers; i++) {
        missing += lags(r, i);
        in += r->tally.slot[i].arrived > r->tally.base || (r->slots[i].expected && r->slots[i].abstains);
    }
    if (missing == 0)
        return in > 0 || r->tally.base > 0;
    if (r->job.server.close != SP_CLOSE_QUORUM || in < r->job.server.quorum || r->now_ms < quorum_deadline(r))
        return false;
    drop_laggards(r);
    return true;
}

static void vote_chunk(struct sp_round *r, uint32_t k, unsigned voters, const uint8_t *slots, const uint8_t **votes)
{
    uint64_t first = sp_tally_first(&r->tally, k);
    uint32_t count = sp_tally_count(&r->tally, k);
    uint64_t disagree[SP_SLOTS_MAX] = {0};
    uint64_t margin = r->counts.margin;

    sp_vote(votes, voters, first, count, r->round, r->has_previous ? r->previous + first / 8 : NULL,
            r->bits + first / 8, &r->counts, disagree);
    for (unsigned i = 0; i < voters; i++) {
        r->slots[slots[i]].view.compared += count;
        r->slots[slots[i]].view.disagreed += disagree[i];
    }
    if (voters > 0)
        r->report_margin += (double)(r->counts.margin - margin) / (double)voters;
}

static void tally_chunk(struct sp_round *r)
{
    uint32_t k = r->tally.base;
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];
    unsigned voters = sp_tally_votes(&r->tally, slots, votes);
    uint64_t first = sp_tally_first(&r->tally, k);
    struct sp_action *action;

    if (r->phase == SP_PHASE_SIGN)
        vote_chunk(r, k, voters, slots, votes);
    else
        sp_mean((const float *const *)(const void *)votes, voters, sp_tally_count(&r->tally, k), r->mean + first);
    action = sp_round_act(r, SP_ACTION_UPDATE, 0);
    action->round = r->round;
    action->update.first = first;
    action->update.count = sp_tally_count(&r->tally, k);
    action->update.bytes = sp_tally_bytes(&r->tally, k);
    action->update.bulk =
        r->phase == SP_PHASE_SIGN ? (const void *)(r->bits + first / 8) : (const void *)(r->mean + first);
    action->update.last = k + 1 == r->tally.chunks;
    r->tally.base++;
    resume_all(r);
}

/* --- commit ----------------------------------------------------------------------------------------------------------
 */

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
    r->factor_switch = sp_schedule_factor(r->job.optimizer.sign.schedule, r->round, r->rounds);
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
        factor = sp_schedule_factor(r->job.optimizer.sign.schedule, r->round, r->rounds) / r->factor_switch;
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
    r->report_rounds++;
    r->report_counts.coordinates += r->counts.coordinates;
    r->report_counts.ties += r->counts.ties;
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
    r->loss_n = r->report_rounds = 0;
    memset(&r->report_counts, 0, sizeof r->report_counts);
}

static void next_round(struct sp_round *r)
{
    if (r->committed < r->rounds) {
        begin_round(r, r->committed + 1);
        return;
    }
    r->stage = SP_STAGE_CLOSING;
    resume_all(r);
    sp_roster_give_weights(r);
}

static void commit(struct sp_round *r)
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
    r->sigma = r->phase == SP_PHASE_SIGN && !c->last ? sigma_of(r, t + 1) : 0.0f;
    c->next_phase = r->phase;
    c->next_sigma = r->sigma;
    if (sp_evaluation_due(r, t))
        sp_evaluation_begin(r, t);
    send_commit(r, t);
    r->committed = t;
    apply(r, phase);
    count_round(r, loss);
    if (t % r->job.train.report == 0 || c->last || r->evaluation.pending)
        make_report(r, phase, sigma);
    if (!r->evaluation.pending && (t % r->job.train.report == 0 || c->last))
        sp_round_act(r, SP_ACTION_REPORT, 0)->report = r->report;
    next_round(r);
}

/* Does one thing if one can be done. */
static bool step(struct sp_round *r)
{
    if (r->stage != SP_STAGE_RUNNING)
        return false;
    if (r->tally.base < r->tally.chunks) {
        if (!chunk_complete(r))
            return false;
        tally_chunk(r);
        return true;
    }
    if (r->evaluation.pending) {
        if (r->job.server.close != SP_CLOSE_QUORUM)
            return false;
        sp_evaluation_give_up(r, "the next round closed by quorum before all parts were in");
    }
    commit(r);
    return true;
}

void sp_round_advance(struct sp_round *r)
{
    if (r->stage == SP_STAGE_GATHERING)
        maybe_start(r);
    while (step(r))
        continue;
    if (r->stage == SP_STAGE_CLOSING && !r->evaluation.pending) {
        (void)snprintf(r->over_reason, sizeof r->over_reason, "the job is done: %u rounds%s", r->rounds,
                       r->evaluation.any && r->evaluation.partial ? ", but the last evaluation is partial" : "");
        sp_round_over(r);
    }
}

/* --- time ------------------------------------------------------------------------------------------------------------
 */

/* The slots that the round waits for, as "1, 3". */
static void list_slots(const struct sp_round *r, char *text, size_t bytes)
{
    size_t used = 0;
    unsigned more = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < r->job.workers; i++) {
        bool missing = r->stage == SP_STAGE_RUNNING ? lags(r, i) : !r->slots[i].view.ready;

        if (!missing)
            continue;
        if (used > bytes - 24)
            more++;
        else
            used += (size_t)snprintf(text + used, bytes - used, "%s%u", used > 0 ? ", " : "", i);
    }
    if (more > 0)
        (void)snprintf(text + used, bytes - used, " and %u more", more);
}

static void describe_wait(struct sp_round *r)
{
    char slots[160];
    double left = (double)gather_deadline(r) - (double)r->now_ms;

    list_slots(r, slots, sizeof slots);
    r->waits[0] = '\0';
    if (r->stage == SP_STAGE_NEW)
        (void)snprintf(r->waits, sizeof r->waits, "the initial weights of a first worker");
    else if (r->stage == SP_STAGE_GATHERING && left > 0.0)
        (void)snprintf(
            r->waits, sizeof r->waits,
            "workers: %u of %u are ready, slots %s are missing; starts in %.0f s at the latest with at least %u",
            r->live, r->job.workers, slots, left / 1e3, r->job.server.min_live);
    else if (r->stage == SP_STAGE_GATHERING ||
             (r->stage == SP_STAGE_RUNNING && r->tally.base == 0 && r->live < r->job.server.min_live))
        (void)snprintf(r->waits, sizeof r->waits, "workers: %u live, server.min_live is %u", r->live,
                       r->job.server.min_live);
    else if (r->stage == SP_STAGE_RUNNING && slots[0] != '\0')
        (void)snprintf(r->waits, sizeof r->waits, "the pushes of slots %s in round %u", slots, r->round);
    else if (r->evaluation.pending)
        (void)snprintf(r->waits, sizeof r->waits, "the evaluation after round %u: %u of %u parts are in",
                       r->evaluation.round, r->evaluation.parts_done, r->evaluation.parts);
}

static void say_wait(struct sp_round *r)
{
    describe_wait(r);
    if (r->waits_said_ms == 0)
        r->waits_said_ms = r->now_ms;
    if (r->stage == SP_STAGE_OVER || r->waits[0] == '\0' || r->now_ms - r->waits_said_ms < SAY_WAIT_MS)
        return;
    r->waits_said_ms = r->now_ms;
    sp_round_note(r, SP_NOTE_INFO, "waiting for %s", r->waits);
}

void sp_round_tick(struct sp_round *r, uint64_t now_ms)
{
    r->now_ms = now_ms;
    sp_roster_tick(r);
    if (r->evaluation.pending && now_ms >= r->evaluation.deadline_ms)
        sp_evaluation_give_up(r, "server.evaluate_timeout has passed");
    sp_round_advance(r);
    say_wait(r);
}

uint64_t sp_round_due_ms(const struct sp_round *r)
{
    uint64_t due = r->now_ms + TICK_MS;

    if (r->stage == SP_STAGE_RUNNING && r->job.server.close == SP_CLOSE_QUORUM && quorum_deadline(r) > r->now_ms &&
        quorum_deadline(r) < due)
        due = quorum_deadline(r);
    return due;
}

/* --- what others may know --------------------------------------------------------------------------------------------
 */

void sp_round_progress(const struct sp_round *r, struct sp_welcome *welcome)
{
    welcome->rounds = r->rounds;
    welcome->round = r->committed;
    welcome->phase = r->phase;
    welcome->sigma = r->sigma;
    welcome->lambda = r->committed > 0 && r->switch_round != 0 ? r->last_commit.rate : 0.0f;
}

const struct sp_commit *sp_round_last_commit(const struct sp_round *r)
{
    return &r->last_commit;
}

void sp_round_view(struct sp_round *r, struct sp_view *view)
{
    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; i < r->job.workers; i++)
        r->views[i] = r->slots[i].view;
    view->stage = r->stage;
    view->round = r->committed;
    view->rounds = r->rounds;
    view->examples = r->examples;
    view->test_examples = r->test_examples;
    view->phase = r->phase;
    view->layout = r->layout.tensors_count > 0 ? &r->layout : NULL;
    view->theta = r->has_weights ? r->theta : NULL;
    view->live = r->live;
    view->spares = r->spares;
    view->slots = r->views;
    view->switch_round = r->switch_round;
    view->switch_reason = r->switch_reason;
    view->switch_dry = r->switch_dry;
    view->lambda = r->lambda;
    view->rates = r->rates_in_use ? r->rates : NULL;
    view->train_loss = r->train_loss;
    view->evaluated = r->evaluation.any;
    view->partial = r->evaluation.partial;
    view->correct = r->evaluation.correct;
    view->total = r->evaluation.total;
    view->test_loss = r->evaluation.loss;
    view->float32_bytes = r->float32_bytes;
    view->waits = r->waits;
    view->over_reason = r->over_reason;
    view->stopped = r->stopped;
    view->decide = &r->decide;
}
