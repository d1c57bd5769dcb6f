/* Rounds: chunks are tallied in order as they become complete, then the round is committed and the next one begins. */
#include "server/round.h"

#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY_WAIT_MS 10000
#define DEADLINE_MS_MIN 1.0
#define INTERRUPTION_MS 20.0 /* what anybody may be late by, once */
#define PACELESS_MS 2000.0   /* what a quorum waits for a chunk at least as long as its pace is not known */
#define PROBE_ROUNDS 32u
#define WAITING_SHARE 5.0 /* of the time, one part in so many may go into waiting for those who are late */
#define TICK_MS 1000
#define LATENCY_ROUNDS 32.0 /* that an average of it goes back, more or less */

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

void sp_round_exchange_only(struct sp_round *r, bool on)
{
    r->exchange_only = on;
}

void sp_round_start_from(struct sp_round *r, sp_initial_read *read, void *arg)
{
    sp_assert(r->layout.tensors_count == 0);
    r->init = read;
    r->init_arg = arg;
}

bool sp_round_needs_init(const struct sp_round *r)
{
    return r->init != NULL;
}

void sp_round_destroy(struct sp_round *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < SP_PEERS_MAX; i++)
        free(r->workers[i]);
    sp_roster_forget_layout(r);
    free(r->saved);
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
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct worker *worker = r->slots[i].worker >= 0 ? r->workers[r->slots[i].worker] : NULL;

        if (worker != NULL && worker->held) {
            worker->held = false;
            (void)sp_round_act(r, SP_ACTION_RESUME, worker->peer);
        }
    }
}

/* Every so many rounds, or more seldom where rounds are short beside the deadline: there must be time for it. */
static void maybe_probe(struct sp_round *r, uint32_t t)
{
    r->probing = t - r->probed >= PROBE_ROUNDS && r->waited_ms <= 0.0;
    if (r->probing)
        r->probed = t;
}

void sp_round_begin(struct sp_round *r, uint32_t t)
{
    r->waited_ms = fmax(r->waited_ms - (double)(r->now_ms - r->began_ms) / WAITING_SHARE, 0.0);
    r->round = t;
    r->began_ms = r->now_ms;
    r->quorum_in = r->pace_taken = false;
    maybe_probe(r, t);
    r->paused = r->evaluation.pending; /* workers evaluate first: their time says nothing of the round */
    r->waits_said_ms = r->now_ms;
    r->waits[0] = '\0';
    sp_combine_begin(r);
    sp_tally_begin(&r->tally, &r->form);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        s->expected = s->worker >= 0 && r->workers[s->worker]->state == WORKER_READY && !r->suspicion.excluded[i];
        s->abstains = s->late = false;
    }
    resume_all(r);
    sp_roster_give_weights(r);
}

void sp_round_include(struct sp_round *r, int slot)
{
    /* A worker that died may have given chunks of this round under the same slot: they count, so the new one waits. */
    if (r->stage == SP_STAGE_RUNNING && r->tally.base == 0 && r->tally.slot[slot].arrived == 0)
        r->slots[slot].expected = !r->suspicion.excluded[slot];
}

bool sp_round_may_admit(const struct sp_round *r)
{
    return r->stage == SP_STAGE_GATHERING || r->stage == SP_STAGE_CLOSING ||
           (r->stage == SP_STAGE_RUNNING && r->tally.base == 0);
}

static void start(struct sp_round *r)
{
    r->stage = SP_STAGE_RUNNING;
    sp_commit_start(r);
    sp_quarantine_start(r);
    sp_round_note(r, SP_NOTE_INFO, "round 1 of %u begins with %u of %u workers", r->rounds, r->live, r->job.workers);
    sp_round_begin(r, 1);
}

uint64_t sp_round_gather_deadline(const struct sp_round *r)
{
    return r->gather_since_ms + (uint64_t)(r->job.server.start_timeout * 1e3);
}

static void maybe_start(struct sp_round *r)
{
    if (r->live == r->job.workers || (r->now_ms >= sp_round_gather_deadline(r) && r->live >= r->job.server.min_live))
        start(r);
}

/* --- pushes ----------------------------------------------------------------------------------------------------------
 */

/* One sample a round: when a quorum had given its first chunk. Mean and deviation in the manner of TCP's timer
 * (RFC 6298). Stragglers are not learned from, or one of them could hold the deadline open for itself. */
static void learn_quorum(struct sp_round *r)
{
    double ms = (double)(r->now_ms - r->began_ms);
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

/* Chunks that nobody holds back, however slow another one is. */
static uint32_t free_chunks(const struct sp_round *r)
{
    return r->tally.chunks < SP_TALLY_WINDOW ? r->tally.chunks : SP_TALLY_WINDOW;
}

/* One sample a round as well: `ahead` workers have given the chunks that nobody holds back. What comes after them may
 * wait for a straggler, and says nothing of the quorum. */
static void learn_pace(struct sp_round *r, unsigned ahead)
{
    double ms;

    if (r->pace_taken || ahead < r->job.server.quorum || free_chunks(r) < 2 || (r->tally.base == 0 && !r->quorum_in))
        return;
    r->pace_taken = true;
    ms = (double)(r->now_ms - r->first_ms) / (free_chunks(r) - 1);
    r->pace_ms += r->pace_known ? (ms - r->pace_ms) / 8.0 : ms;
    r->pace_known = true;
}

/* `in` workers have given chunk `base`. Were it not for those that were waited for, they would have given it at
 * `par_ms`: a pace after the chunk before, or later by as much as they let the others wait. */
static void note_quorum(struct sp_round *r, unsigned in)
{
    double now = (double)r->now_ms;

    if (r->job.server.close != SP_CLOSE_QUORUM || r->quorum_in || in < r->job.server.quorum)
        return;
    r->quorum_in = true;
    if (r->tally.base > 0) {
        r->par_ms = fmin(now, r->par_ms + fmax(r->pace_ms, now - (double)r->tallied_ms));
        return;
    }
    r->par_ms = now;
    r->first_ms = r->now_ms;
    if (!r->paused)
        learn_quorum(r);
}

/* As long again as a quorum usually needs, and four deviations. There is so much of it twice; then it must have come
 * back as a share of the time. So no worker, however it is late, makes rounds longer by more than that share. */
double sp_round_deadline_ms(const struct sp_round *r)
{
    double pushing = r->tally.chunks > 1 ? r->pace_ms * (double)(r->tally.chunks - 1) : 0.0;
    double whole = fmax(r->arrival_ms + 4.0 * r->arrival_spread_ms + pushing, INTERRUPTION_MS);

    return fmax(fmin(whole, 2.0 * whole - r->waited_ms), DEADLINE_MS_MIN);
}

/* When the round goes on without those who have not given chunk `base`. It does not begin anew with every chunk: one
 * whose line is slow would be in time with each of them, and late with the round. The pace is known as soon as a quorum
 * has given a few. */
static uint64_t quorum_deadline(const struct sp_round *r)
{
    double ms = sp_round_deadline_ms(r);

    if (r->tally.chunks > 1 && !r->pace_known)
        ms = fmax(ms, PACELESS_MS);
    return (uint64_t)(r->par_ms + ms);
}

/* Whether the frame is the next chunk of a slot that is late: the round went on without this chunk. One that it has not
 * come to yet is counted, late or not. */
static bool comes_late(const struct sp_round *r, int slot, const struct sp_frame *frame)
{
    uint32_t k = r->tally.slot[slot].arrived;
    struct sp_chunk due;

    if (k >= r->tally.base)
        return false;
    due = sp_tally_chunk(&r->tally, k);
    return sp_chunk_is(&due, due.bytes, frame);
}

/* A chunk that is not wanted: it came before, or its round is over or went on without it. */
static void count_dropped(struct sp_round *r, struct worker *worker, const struct sp_frame *frame)
{
    struct slot *s = &r->slots[worker->slot];
    bool now = r->stage == SP_STAGE_RUNNING && frame->round == r->round && s->expected && !s->abstains;
    bool late = !now || comes_late(r, worker->slot, frame);

    if (now && late)
        sp_tally_skipped(&r->tally, (unsigned)worker->slot);
    if (!late) {
        s->view.duplicates++;
    } else if (worker->counted != frame->round) {
        worker->counted = frame->round;
        if (r->suspicion.excluded[worker->slot])
            s->view.excluded++;
        else
            s->view.late++;
    }
}

static void abstain(struct sp_round *r, int slot, const char *why)
{
    struct slot *s = &r->slots[slot];

    s->abstains = true;
    s->view.abstained++;
    r->workers[s->worker]->counted = r->round;
    sp_round_note(r, SP_NOTE_WARN, "worker %s, slot %d, abstains from round %u from chunk %u on: %s",
                  sp_roster_name(r, slot), slot, r->round, r->tally.slot[slot].arrived, why);
}

/* It is in: with as much as nobody holds back, for the rest may wait for a slower one. Milliseconds are coarse where
 * rounds are short, but their average is not. */
static void note_in(struct sp_round *r, int slot)
{
    struct slot *s = &r->slots[slot];
    double ms = (double)(r->now_ms - r->began_ms);

    s->in_at = ++r->in_count;
    if (r->paused || s->late)
        return;
    s->timed++;
    s->view.latency_ms += (ms - s->view.latency_ms) / fmin((double)s->timed, LATENCY_ROUNDS);
}

/* The chunk is in its place: check what only its values can tell. */
static int take_chunk(struct sp_round *r, int slot, const struct sp_message *message, struct sp_error *error)
{
    struct sp_chunk chunk = sp_tally_chunk(&r->tally, r->tally.slot[slot].arrived);
    int code;
    const uint8_t *bulk = sp_tally_place(&r->tally, (unsigned)slot, &code);
    int rc;

    sp_assert(bulk != NULL);
    rc = sp_combine_check(r, &chunk, bulk, error);
    if (rc == SP_E_RANGE) {
        abstain(r, slot, "values that are not finite");
        return SP_OK;
    }
    if (rc != SP_OK)
        return rc;
    sp_tally_arrived(&r->tally, (unsigned)slot);
    if (r->tally.slot[slot].arrived == free_chunks(r))
        note_in(r, slot);
    sp_scalars_take(r, slot, message);
    return SP_OK;
}

int sp_round_push_dropped(struct sp_round *r, uint32_t peer, const struct sp_frame *frame, uint64_t now_ms,
                          struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);

    r->now_ms = now_ms;
    if (worker == NULL || worker->slot < 0)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH without a slot");
    count_dropped(r, worker, frame);
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

        if (worker->state == WORKER_READY && frame->round > r->round)
            return sp_error_set(error, SP_E_PROTOCOL, "PUSH of round %u while round %u is collected", frame->round,
                                r->round);
        if (r->stage == SP_STAGE_RUNNING && frame->round == r->round && s->expected && !s->abstains)
            abstain(r, worker->slot, "its gradient was not finite");
        sp_round_advance(r);
        return SP_OK;
    }
    if (frame->bulk_bytes == 0)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH without coordinates");
    /* The round may have gone on while the bulk was read: ask again. */
    rc = sp_round_place(r, peer, frame, &unused, error);
    if (rc == SP_E_STATE) {
        count_dropped(r, worker, frame);
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

bool sp_round_lags(const struct sp_round *r, uint32_t slot)
{
    const struct slot *s = &r->slots[slot];

    return r->tally.base < r->tally.chunks && s->expected && !s->abstains &&
           r->tally.slot[slot].arrived <= r->tally.base;
}

bool sp_round_waits_for(const struct sp_round *r, uint32_t slot)
{
    const struct slot *s = &r->slots[slot];

    return sp_round_lags(r, slot) && !s->late && (r->probing || !s->view.behind);
}

/* Now and then: one that is now in time and now late falls behind many times a second. */
static void say_behind(struct sp_round *r, uint32_t slot)
{
    struct slot *s = &r->slots[slot];
    bool said = s->behind_said_ms != 0 && r->now_ms - s->behind_said_ms < SAY_WAIT_MS;

    if (!said)
        s->behind_said_ms = r->now_ms;
    sp_round_note(r, said ? SP_NOTE_DEBUG : SP_NOTE_INFO,
                  "worker %s, slot %u, is behind: rounds from %u on do not wait for it until it is in time again",
                  sp_roster_name(r, (int)slot), slot, r->round);
}

/* The round goes on without them. */
static void leave_behind(struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (!sp_round_lags(r, i) || r->slots[i].late)
            continue;
        r->slots[i].late = true;
        if (!r->slots[i].view.behind)
            say_behind(r, i);
        r->slots[i].view.behind = true;
    }
    resume_all(r);
}

/* All chunks are tallied: who gave each of them in time is behind no more. */
static void forgive_punctual(struct sp_round *r)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        if (s->expected && !s->late && (s->abstains || r->tally.slot[i].arrived == r->tally.chunks))
            s->view.behind = false;
    }
}

/* Nobody is left who could finish the round. Its updates were provisional: it is collected again from its first chunk.
 */
static void begin_anew(struct sp_round *r)
{
    sp_round_note(r, SP_NOTE_WARN, "nobody is left to finish round %u: it begins anew when workers are there",
                  r->round);
    if (r->residual != NULL)
        memset(r->residual, 0, (size_t)r->layout.coordinates * sizeof *r->residual);
    sp_round_begin(r, r->round);
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        s->now.complete = s->has_dot = s->has_loss = false;
    }
}

void sp_round_await_return(struct sp_round *r)
{
    if (r->stage != SP_STAGE_RUNNING)
        return;
    r->rejoining.on = true;
    r->rejoining.wanted = r->committed == 0 ? r->job.workers : r->voters > 1 ? r->voters : 1;
    r->rejoining.deadline_ms = 0;
}

/* The first that is back would else train alone, for as long as the others need to find their way. */
static bool awaits_return(struct sp_round *r)
{
    struct rejoining *rejoining = &r->rejoining;

    if (rejoining->on && rejoining->deadline_ms == 0 && r->live > 0)
        rejoining->deadline_ms = r->now_ms + (uint64_t)(r->job.server.rejoin_timeout * 1e3);
    if (rejoining->on && r->live > 0 && (r->live >= rejoining->wanted || r->now_ms >= rejoining->deadline_ms)) {
        rejoining->on = false;
        sp_round_note(r, SP_NOTE_INFO, "round %u goes on with %u of the %u workers of the round before", r->round,
                      r->live, rejoining->wanted);
    }
    return rejoining->on;
}

/* Of chunk `base`. */
struct attendance {
    unsigned in;      /* have given it, or abstain */
    unsigned ahead;   /* in time, and with all that nobody holds back */
    unsigned missing; /* have not given it, among them: */
    unsigned awaited; /* in time so far, and not behind */
    unsigned late;
};

static struct attendance attendance(const struct sp_round *r)
{
    struct attendance a = {0};

    for (uint32_t i = 0; i < r->job.workers; i++) {
        const struct slot *s = &r->slots[i];
        bool abstains = s->expected && s->abstains, lags = sp_round_lags(r, i);

        a.in += r->tally.slot[i].arrived > r->tally.base || abstains;
        a.ahead += (r->tally.slot[i].arrived >= free_chunks(r) && !s->late) || abstains;
        a.missing += lags;
        a.awaited += lags && sp_round_waits_for(r, i);
        a.late += lags && s->late;
    }
    return a;
}

/* Whether chunk `base` can be tallied now: all that are expected are in, or enough are and nobody is to be waited for
 * any longer. Those behind and those late are waited for until there is a quorum: without it they are needed. So a
 * worker that stops in the midst of its push does not hold a round for longer than one that stopped before it. */
static bool chunk_complete(struct sp_round *r)
{
    struct attendance a;

    if (r->live == 0 && r->tally.base > 0)
        begin_anew(r);
    if (r->tally.base == 0 && (awaits_return(r) || r->live < r->job.server.min_live)) {
        r->paused = true;
        return false;
    }
    a = attendance(r);
    note_quorum(r, a.in);
    learn_pace(r, a.ahead);
    if (a.missing == a.late && (a.late == 0 || a.in >= r->job.server.quorum))
        return a.in > 0 || r->tally.base > 0;
    if (!r->quorum_in || a.in < r->job.server.quorum || (a.awaited > 0 && r->now_ms < quorum_deadline(r)))
        return false;
    if (a.awaited > 0) {
        r->waited_ms += (double)r->now_ms - r->par_ms;
        r->par_ms = (double)r->now_ms; /* whoever is left has time for himself */
    }
    leave_behind(r);
    return true;
}

static void next_round(struct sp_round *r)
{
    if (r->committed < r->rounds) {
        sp_round_begin(r, r->committed + 1);
        return;
    }
    r->stage = SP_STAGE_CLOSING;
    resume_all(r);
    sp_roster_give_weights(r);
}

/* Does one thing if one can be done. */
static bool step(struct sp_round *r)
{
    if (r->stage != SP_STAGE_RUNNING)
        return false;
    if (r->tally.base < r->tally.chunks) {
        if (!chunk_complete(r))
            return false;
        sp_combine_chunk(r);
        r->tally.base++;
        r->tallied_ms = r->now_ms;
        if (r->tally.base == r->tally.chunks && r->quorum_in && !r->paused)
            r->waited_ms += (double)r->now_ms - r->par_ms;
        r->quorum_in = false;
        resume_all(r);
        return true;
    }
    /* The weights stay as they are until they are evaluated; what stragglers owe of it goes to the others. */
    if (r->evaluation.pending) {
        if (sp_evaluation_reassign(r))
            return false;
        /* Who comes now gets weights with the next round, not these. */
        sp_evaluation_give_up(r, "nobody is left who holds these weights");
    }
    forgive_punctual(r);
    sp_commit_round(r);
    next_round(r);
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
                       r->evaluation.unanswered                     ? ", but nobody evaluated the last weights"
                       : r->evaluation.any && r->evaluation.partial ? ", but the last evaluation is partial"
                                                                    : "");
        sp_round_over(r);
    }
}

/* --- time ------------------------------------------------------------------------------------------------------------
 */

static void say_wait(struct sp_round *r)
{
    sp_view_describe_wait(r);
    if (r->waits_said_ms == 0)
        r->waits_said_ms = r->now_ms;
    if (r->stage == SP_STAGE_OVER || r->waits[0] == '\0' || r->now_ms - r->waits_said_ms < SAY_WAIT_MS)
        return;
    r->waits_said_ms = r->now_ms;
    sp_round_note(r, SP_NOTE_INFO, "waiting for %s", r->waits);
}

void sp_round_tick(struct sp_round *r, uint64_t now_ms)
{
    r->now_ms = r->ticked_ms = now_ms;
    sp_roster_tick(r);
    if (r->evaluation.pending && now_ms >= r->evaluation.deadline_ms)
        sp_evaluation_give_up(r, "server.evaluate_timeout has passed");
    sp_round_advance(r);
    say_wait(r);
}

uint64_t sp_round_due_ms(const struct sp_round *r)
{
    uint64_t due = r->ticked_ms + TICK_MS;

    if (r->stage == SP_STAGE_RUNNING && r->quorum_in && quorum_deadline(r) > r->now_ms && quorum_deadline(r) < due)
        due = quorum_deadline(r);
    if (r->rejoining.on && r->rejoining.deadline_ms > r->now_ms && r->rejoining.deadline_ms < due)
        due = r->rejoining.deadline_ms;
    return due;
}
