/* Who takes part: hello, slots, tickets, spares, initial weights, ready, resync, goodbye.
 *
 * Happy path: HELLO, a slot; the first worker of a new job gives the initial weights, all others get them; READY.
 * Failures: a worker that is granted INIT and gives no weights in time is sent away and the next one asked; a worker
 * that leaves frees its slot for a spare, and may come back to it with its ticket as long as it is free.
 */
#include "common/check.h"
#include "common/rules.h"
#include "common/weights.h"
#include "proto/proof.h"
#include "server/round_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARES_SAID_MAX 20 /* a second */

/* A worker sits at its number's place, or the next free one: with numbers given one after another it is found at once,
 * however many others are connected. */
static int find_index(const struct sp_round *r, uint32_t peer)
{
    for (uint32_t k = 0; k < SP_PEERS_MAX; k++) {
        uint32_t i = (peer + k) % SP_PEERS_MAX;

        if (r->workers[i] != NULL && r->workers[i]->peer == peer)
            return (int)i;
    }
    return -1;
}

struct worker *sp_roster_find(struct sp_round *r, uint32_t peer)
{
    int i = find_index(r, peer);

    return i >= 0 ? r->workers[i] : NULL;
}

const char *sp_roster_name(struct sp_round *r, int slot)
{
    int w = r->slots[slot].worker;

    return w >= 0 ? r->workers[w]->name : "nobody";
}

/* --- the model -------------------------------------------------------------------------------------------------------
 */

/* Memory of a size that the layout sets; the phases after the first take theirs when they come near. */
static bool make_arrays(struct sp_round *r)
{
    const struct sp_layout *layout = &r->layout;
    size_t d = (size_t)layout->coordinates, n = layout->trained;

    r->theta = calloc(d, sizeof(float));
    r->bits = calloc(sp_bits_bytes(d), 1);
    r->previous = calloc(sp_bits_bytes(d), 1);
    r->buffers = calloc((size_t)layout->buffers + 1, sizeof(float));
    r->averages = calloc((size_t)layout->buffers + 1, sizeof(float));
    r->full = calloc((size_t)layout->full + 1, sizeof(float));
    r->rates = calloc(n, sizeof(float));
    r->decays = calloc(n, sizeof(float));
    r->scaled = calloc(n, sizeof(float));
    r->step.tensor = calloc(n, sizeof(double));
    r->mean2.tensor = calloc(n, sizeof(double));
    r->now.tensor = calloc(n, sizeof(double));
    r->corrected = calloc(n, sizeof(double));
    return r->theta != NULL && r->bits != NULL && r->previous != NULL && r->buffers != NULL && r->averages != NULL &&
           r->full != NULL && r->rates != NULL && r->decays != NULL && r->scaled != NULL && r->step.tensor != NULL &&
           r->mean2.tensor != NULL && r->now.tensor != NULL && r->corrected != NULL;
}

static void say_tensors(struct sp_round *r)
{
    const struct sp_tensor_rule *idle;

    if (r->layout.full > 0)
        sp_round_note(r, SP_NOTE_INFO, "%llu of %llu parameters travel in full precision (tensors)",
                      (unsigned long long)r->layout.full, (unsigned long long)r->layout.coordinates);
    for (unsigned i = 0; (idle = sp_job_idle_rule(&r->job, &r->layout, i)) != NULL; i++)
        sp_round_note(r, SP_NOTE_WARN, "no tensor of the model matches '%s' (tensors): that rule does nothing",
                      idle->match);
}

/* The first HELLO says what the model is; memory for it is taken here, once. */
bool sp_roster_adopt(struct sp_round *r, const struct sp_hello *hello)
{
    if (sp_layout_copy(&r->layout, &hello->layout) != SP_OK)
        return false;
    r->traits = calloc(r->layout.trained, 1);
    if (r->traits == NULL)
        return false;
    (void)sp_job_traits(&r->job, &r->layout, r->traits);
    sp_layout_set_traits(&r->layout, r->traits);
    sp_tally_init(&r->tally, r->job.workers, &r->layout);
    if (!make_arrays(r) || !sp_combine_prepare(r, sp_switch_first(&r->job)))
        return false;
    r->layout_digest = hello->layout_digest;
    r->data_digest = hello->data_digest;
    r->examples = hello->examples;
    r->test_examples = hello->test_examples;
    r->rounds = sp_job_rounds(&r->job, r->examples);
    r->epoch_rounds = sp_job_epoch_rounds(&r->job, r->examples);
    sp_decide_init(&r->decide, &r->job, r->examples);
    sp_robust_init(&r->robust, r->job.optimizer.beta2);
    r->form.phase = sp_switch_first(&r->job);
    r->factor_switch = 1.0;
    r->lambda = r->decide.fixed;
    r->lambda_known = r->job.optimizer.mode != SP_MODE_HYBRID;
    sp_rates_take_step(r, SP_PHASE_SIGN);
    sp_round_note(r, SP_NOTE_INFO, "the job is %u rounds of a model with %llu parameters, %u rounds an epoch",
                  r->rounds, (unsigned long long)r->layout.coordinates, r->epoch_rounds);
    say_tensors(r);
    return true;
}

/* The layout has just been adopted; the weights come from the file that the job names, if it names one. */
static bool take_init(struct sp_round *r, uint32_t peer, const char *name)
{
    struct sp_error error = {0};
    char words[256] = "";

    if (r->init == NULL)
        return true;
    if (r->init(r->init_arg, &r->layout, r->theta, r->buffers, words, &error) != SP_OK) {
        sp_round_note(r, SP_NOTE_WARN, "the model of worker %s does not fit the initial weights (model.init): %s", name,
                      error.text);
        sp_round_bye(r, peer, SP_REASON_LAYOUT, "the model does not fit the initial weights (model.init): %s",
                     error.text);
        return false;
    }
    if (words[0] != '\0')
        sp_round_note(r, SP_NOTE_INFO, "model.init: %s", words);
    r->init = NULL;
    r->has_weights = true;
    r->stage = SP_STAGE_GATHERING;
    r->gather_since_ms = r->now_ms;
    sp_round_note(r, SP_NOTE_INFO, "the initial weights are those of model.init, digest %016llx",
                  (unsigned long long)sp_weights_digest(r->theta, r->layout.coordinates));
    return true;
}

/* Before there are weights, and with nobody left who could give them, the next worker may bring another model. */
void sp_roster_forget_layout(struct sp_round *r)
{
    void *owned[] = {r->traits, r->theta,  r->bits,   r->previous,    r->buffers,      r->averages,   r->full,
                     r->rates,  r->decays, r->scaled, r->step.tensor, r->mean2.tensor, r->now.tensor, r->corrected};

    sp_copy_forget(r);
    sp_tally_finish(&r->tally);
    sp_combine_finish(r);
    sp_layout_finish(&r->layout);
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    r->traits = r->bits = r->previous = NULL;
    r->theta = r->buffers = r->averages = r->full = r->rates = r->decays = r->scaled = NULL;
    r->step.tensor = r->mean2.tensor = r->now.tensor = r->corrected = NULL;
    r->data_digest = r->test_examples = 0;
}

/* --- slots -----------------------------------------------------------------------------------------------------------
 */

static void welcome(struct sp_round *r, int w, bool spare)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_WELCOME, r->workers[w]->peer);

    action->welcome.spare = spare;
    action->welcome.slot = spare ? 0 : (uint32_t)r->workers[w]->slot;
}

static void seat(struct sp_round *r, int w, int slot)
{
    struct worker *worker = r->workers[w];
    struct slot *s = &r->slots[slot];

    sp_assert(s->worker < 0);
    s->worker = w;
    s->has_ticket = true;
    memcpy(s->ticket, worker->ticket, SP_TICKET_BYTES);
    s->expected = false;
    s->view.joins++;
    s->timed = 0;
    s->view.latency_ms = 0.0;
    s->view.live = true;
    s->view.peer = worker->peer;
    worker->slot = slot;
    worker->state = WORKER_WAITING;
    sp_round_note(r, SP_NOTE_INFO, "worker %s takes slot %d", worker->name, slot);
    welcome(r, w, false);
}

static int slot_of_ticket(const struct sp_round *r, const struct sp_hello *hello)
{
    for (uint32_t i = 0; hello->has_ticket && i < r->job.workers; i++) {
        if (r->slots[i].has_ticket && sp_ticket_equal(r->slots[i].ticket, hello->ticket))
            return (int)i;
    }
    return -1;
}

/* The slot whose ticket the worker brings, even from a connection that is not known to be gone; else a free one. */
static int choose_slot(struct sp_round *r, const struct sp_hello *hello)
{
    int slot = slot_of_ticket(r, hello);

    if (slot >= 0 && r->slots[slot].worker >= 0) {
        uint32_t old = r->workers[r->slots[slot].worker]->peer;

        sp_round_bye(r, old, SP_REASON_REPLACED, "another connection took over slot %d with its ticket", slot);
        r->kept_slot = slot; /* not for a spare */
        sp_round_left(r, old, "another connection took over its slot with its ticket", r->now_ms);
        r->kept_slot = -1;
    }
    return slot >= 0 ? slot : sp_admit_free_slot(r, hello->wanted_slot);
}

/* Another worker has the slot from now on: nothing that is known of the one before is its own. */
static void begin_slot(struct sp_round *r, int slot)
{
    r->slots[slot].view.behind = false;
    sp_robust_forget(&r->robust, (uint32_t)slot);
    sp_suspicion_forget(&r->suspicion, (unsigned)slot);
    r->pairs_changed = true;
}

/* They may come and go many times a second. */
static enum sp_note spare_level(struct sp_round *r)
{
    uint64_t second = r->now_ms / 1000;

    if (second != r->spares_second) {
        r->spares_second = second;
        r->spares_said = 0;
    }
    return ++r->spares_said <= SPARES_SAID_MAX ? SP_NOTE_INFO : SP_NOTE_DEBUG;
}

enum { NO_ROOM = -1, NO_MEMORY = -2 };

/* An index, or one of the two above. */
static int add_worker(struct sp_round *r, uint32_t peer, const char *name, const struct sp_hello *hello,
                      const uint8_t *ticket)
{
    for (uint32_t k = 0; k < SP_PEERS_MAX; k++) {
        uint32_t i = (peer + k) % SP_PEERS_MAX;

        if (r->workers[i] != NULL)
            continue;
        r->workers[i] = calloc(1, sizeof *r->workers[i]);
        if (r->workers[i] == NULL)
            return NO_MEMORY;
        r->workers[i]->peer = peer;
        (void)snprintf(r->workers[i]->name, NAME_BYTES, "%s", name);
        r->workers[i]->state = WORKER_SPARE;
        r->workers[i]->slot = -1;
        r->workers[i]->wanted = hello->wanted_slot;
        r->workers[i]->evaluates = hello->test_examples > 0;
        r->workers[i]->order = r->order_next++;
        memcpy(r->workers[i]->ticket, ticket, SP_TICKET_BYTES);
        return (int)i;
    }
    return NO_ROOM;
}

void sp_round_hello(struct sp_round *r, uint32_t peer, const char *name, const struct sp_hello *hello,
                    const uint8_t ticket[SP_TICKET_BYTES], uint64_t now_ms)
{
    struct sp_refusal refusal;
    bool returns;
    int w, slot;

    r->now_ms = now_ms;
    sp_assert(sp_roster_find(r, peer) == NULL);
    if (!sp_admit_job(r, hello, &refusal) || !sp_admit_model(r, hello, &refusal)) {
        sp_round_bye(r, peer, refusal.reason, "%s", refusal.words);
        return;
    }
    if (r->layout.tensors_count == 0 && !sp_roster_adopt(r, hello)) {
        sp_roster_forget_layout(r);
        sp_round_bye(r, peer, SP_REASON_FAILED, "the server has no memory for a model of %llu coordinates",
                     (unsigned long long)hello->layout.coordinates);
        return;
    }
    if (!r->has_weights && !take_init(r, peer, name)) {
        sp_roster_forget_layout(r);
        return;
    }
    if (r->test_examples == 0)
        r->test_examples = hello->test_examples;
    slot = choose_slot(r, hello);
    returns = slot >= 0 && slot == slot_of_ticket(r, hello);
    w = add_worker(r, peer, name, hello, ticket);
    if (w < 0) {
        if (w == NO_MEMORY)
            sp_round_bye(r, peer, SP_REASON_FAILED, "the server has no memory for one more worker");
        else
            sp_round_bye(r, peer, SP_REASON_BUSY, "more than %d workers and spares", SP_PEERS_MAX);
        return;
    }
    if (slot < 0) {
        r->spares++;
        sp_round_note(r, spare_level(r), "worker %s is a spare: %s", name,
                      hello->wanted_slot >= 0 ? "the slot it wants is taken" : "all slots are taken");
        welcome(r, w, true);
        return;
    }
    if (!returns)
        begin_slot(r, slot);
    seat(r, w, slot);
    sp_roster_give_weights(r);
}

static void seat_spare(struct sp_round *r, int slot)
{
    int best = -1;

    for (int i = 0; i < SP_PEERS_MAX; i++) {
        const struct worker *worker = r->workers[i];

        if (worker == NULL || worker->state != WORKER_SPARE ||
            (worker->wanted != SP_ANY_SLOT && worker->wanted != slot))
            continue;
        if (best < 0 || worker->order < r->workers[best]->order)
            best = i;
    }
    if (best < 0)
        return;
    sp_assert(r->spares > 0);
    r->spares--;
    begin_slot(r, slot);
    seat(r, best, slot);
}

static bool anybody(const struct sp_round *r)
{
    for (int i = 0; i < SP_PEERS_MAX; i++) {
        if (r->workers[i] != NULL)
            return true;
    }
    return false;
}

static void leave_slot(struct sp_round *r, int slot, const char *words)
{
    struct slot *s = &r->slots[slot];
    struct worker *worker = r->workers[s->worker];

    if (r->stage != SP_STAGE_OVER)
        sp_round_note(r, SP_NOTE_WARN, "worker %s left slot %d: %s", worker->name, slot, words);
    s->worker = -1;
    s->expected = false;                                       /* what it gave of this round stays counted */
    s->before.complete = s->now.complete = s->has_dot = false; /* the next one's dots do not belong to them */
    s->view.live = s->view.ready = false;
    if (worker->state == WORKER_READY && !r->suspicion.excluded[slot] && --r->live == 0)
        sp_round_await_return(r);
}

void sp_round_left(struct sp_round *r, uint32_t peer, const char *words, uint64_t now_ms)
{
    int w = find_index(r, peer);
    int slot;

    r->now_ms = now_ms;
    if (w < 0)
        return;
    slot = r->workers[w]->slot;
    if (slot >= 0)
        leave_slot(r, slot, words);
    else
        r->spares--;
    sp_evaluation_forget(r, w);
    free(r->workers[w]);
    r->workers[w] = NULL;
    if (r->stage == SP_STAGE_OVER)
        return;
    if (slot >= 0 && slot != r->kept_slot)
        seat_spare(r, slot);
    /* Whoever takes over this slot brings the same layout, and is about to be seated. */
    if (!r->has_weights && r->kept_slot < 0 && !anybody(r))
        sp_roster_forget_layout(r);
    (void)sp_evaluation_reassign(r);
    /* Weights come after, for this may commit the round, and they are sent as they are when the event is over. */
    sp_round_advance(r);
    sp_roster_give_weights(r);
}

/* --- weights ---------------------------------------------------------------------------------------------------------
 */

static void grant_init(struct sp_round *r)
{
    struct worker *best = NULL;

    for (int i = 0; i < SP_PEERS_MAX; i++) {
        struct worker *worker = r->workers[i];

        if (worker != NULL && worker->state == WORKER_INITING)
            return;
        if (worker != NULL && worker->state == WORKER_WAITING && (best == NULL || worker->order < best->order))
            best = worker;
    }
    if (best == NULL)
        return;
    best->state = WORKER_INITING;
    r->init_next = 0;
    r->init_deadline_ms = r->now_ms + (uint64_t)(r->job.server.init_timeout * 1e3);
    (void)sp_round_act(r, SP_ACTION_INIT, best->peer);
    sp_round_note(r, SP_NOTE_INFO, "worker %s is asked for the initial weights", best->name);
}

/* Everyone that waits for weights gets them, if now is a moment between rounds, or before the vote of a round. */
void sp_roster_give_weights(struct sp_round *r)
{
    if (!r->has_weights) {
        grant_init(r);
        return;
    }
    if (!sp_round_may_admit(r))
        return;
    for (int i = 0; i < SP_PEERS_MAX; i++) {
        struct sp_action *action;

        if (r->workers[i] == NULL || r->workers[i]->state != WORKER_WAITING)
            continue;
        r->workers[i]->state = WORKER_RECEIVING;
        r->workers[i]->given = r->committed;
        action = sp_round_act(r, SP_ACTION_WEIGHTS, r->workers[i]->peer);
        action->round = r->committed;
        action->started = r->stage >= SP_STAGE_RUNNING;
    }
}

void sp_round_weights_again(struct sp_round *r, uint32_t peer)
{
    struct worker *worker = sp_roster_find(r, peer);

    if (worker == NULL || worker->state != WORKER_RECEIVING)
        return;
    worker->state = WORKER_WAITING;
    sp_roster_give_weights(r);
}

static int place_weights(struct sp_round *r, const struct worker *worker, const struct sp_frame *frame,
                         void **destination, struct sp_error *error)
{
    struct sp_chunk chunk;

    if (worker->state != WORKER_INITING)
        return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS that nobody asked for");
    if (r->init_next == sp_chunks_count(&r->layout, &sp_weights_form))
        return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS after the last of them");
    chunk = sp_chunk_at(&r->layout, &sp_weights_form, r->init_next);
    if (!sp_chunk_is(&chunk, chunk.bytes, frame))
        return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS out of order or beyond the layout");
    *destination = (chunk.section == SP_SECTION_MAIN ? r->theta : r->buffers) + chunk.first;
    return SP_OK;
}

int sp_round_weights(struct sp_round *r, uint32_t peer, const struct sp_message *message, uint64_t now_ms,
                     struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);
    uint64_t d = r->layout.coordinates;

    r->now_ms = now_ms;
    if (worker == NULL || worker->state != WORKER_INITING)
        return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS that nobody asked for");
    if (message->frame.bulk_bytes == 0) /* for such a frame nobody asked sp_round_place() */
        return sp_error_set(error, SP_E_PROTOCOL, "WEIGHTS without values");
    r->init_next++;
    if (!(message->frame.flags & SP_FRAME_LAST))
        return SP_OK;
    if (message->digest != sp_weights_digest(r->theta, d))
        return sp_error_set(error, SP_E_CORRUPT, "the initial weights do not match their digest");
    if (!sp_all_finite(r->theta, (size_t)d) || !sp_all_finite(r->buffers, (size_t)r->layout.buffers))
        return sp_error_set(error, SP_E_RANGE, "the initial weights are not finite");
    r->has_weights = true;
    r->stage = SP_STAGE_GATHERING;
    r->gather_since_ms = now_ms;
    worker->state = WORKER_RECEIVING; /* its READY follows */
    (void)sp_round_act(r, SP_ACTION_FOLLOW, peer);
    sp_round_note(r, SP_NOTE_INFO, "worker %s gave the initial weights", worker->name);
    sp_roster_give_weights(r);
    return SP_OK;
}

int sp_round_ready(struct sp_round *r, uint32_t peer, uint32_t round, uint64_t digest, uint64_t now_ms,
                   struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);

    r->now_ms = now_ms;
    if (worker == NULL || worker->state != WORKER_RECEIVING || round != worker->given)
        return sp_error_set(error, SP_E_PROTOCOL,
                            "READY without weights, or for another round than that of the weights");
    sp_round_settle(r);
    if (round == r->committed && digest != sp_weights_digest(r->theta, r->layout.coordinates))
        return sp_error_set(error, SP_E_CORRUPT, "READY with weights that differ from the server's");
    worker->state = WORKER_READY;
    if (!r->suspicion.excluded[worker->slot])
        r->live++;
    r->slots[worker->slot].view.ready = true;
    sp_round_note(r, SP_NOTE_INFO, "worker %s is ready in slot %d after round %u: %u of %u live", worker->name,
                  worker->slot, round, r->live, r->job.workers);
    sp_round_include(r, worker->slot);
    (void)sp_evaluation_reassign(r);
    sp_round_advance(r);
    return SP_OK;
}

int sp_round_resync(struct sp_round *r, uint32_t peer, uint32_t round, uint64_t digest, uint64_t now_ms,
                    struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);
    struct slot *s;

    r->now_ms = now_ms;
    if (worker == NULL || worker->state != WORKER_READY)
        return sp_error_set(error, SP_E_PROTOCOL, "RESYNC before READY");
    s = &r->slots[worker->slot];
    s->view.resyncs++;
    s->view.ready = false;
    s->expected = false;
    worker->state = WORKER_WAITING;
    if (!r->suspicion.excluded[worker->slot])
        r->live--;
    sp_round_note(r, SP_NOTE_WARN,
                  "worker %s, slot %d: its weights went astray (after round %u their digest was %016llx); sending ours",
                  worker->name, worker->slot, round, (unsigned long long)digest);
    sp_evaluation_forget(r, find_index(r, peer));
    (void)sp_evaluation_reassign(r);
    /* As in sp_round_left(): the round may have waited for this worker alone. */
    sp_round_advance(r);
    sp_roster_give_weights(r);
    return SP_OK;
}

/* Whether the frame lies before the chunk that is due. */
static bool is_repeated(const struct sp_chunk *due, const struct sp_frame *frame)
{
    enum sp_section section = SP_SECTION_MAIN;

    if ((frame->flags & SP_FRAME_BUFFERS) != 0)
        section = SP_SECTION_BUFFERS;
    else if ((frame->flags & SP_FRAME_FULL) != 0)
        section = SP_SECTION_FULL;
    return section < due->section || (section == due->section && frame->first < due->first);
}

int sp_round_place(struct sp_round *r, uint32_t peer, const struct sp_frame *frame, void **destination,
                   struct sp_error *error)
{
    struct worker *worker = sp_roster_find(r, peer);
    struct sp_chunk chunk;
    struct slot *s;
    int code;

    if (worker == NULL)
        return sp_error_set(error, SP_E_PROTOCOL, "%s before HELLO", sp_frame_name(frame->type));
    if (frame->type == SP_FRAME_WEIGHTS)
        return place_weights(r, worker, frame, destination, error);
    if (worker->state != WORKER_READY && worker->slot < 0)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH before READY");
    s = &r->slots[worker->slot];
    if (worker->state != WORKER_READY)
        return SP_E_STATE;
    /* Before round 1 too: its bulk would be thrown away, and the round might begin before it is counted. */
    if (frame->round > r->round)
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH of round %u while round %u is collected", frame->round,
                            r->round);
    if (r->stage != SP_STAGE_RUNNING || frame->round < r->round || !s->expected || s->abstains)
        return SP_E_STATE;
    if (r->tally.slot[worker->slot].arrived == r->tally.chunks)
        return SP_E_STATE;
    chunk = sp_tally_chunk(&r->tally, r->tally.slot[worker->slot].arrived);
    if (is_repeated(&chunk, frame))
        return SP_E_STATE;
    if (!sp_chunk_is(&chunk, chunk.bytes, frame))
        return sp_error_set(error, SP_E_PROTOCOL, "PUSH of %u coordinates from %llu in %u bytes is not the next chunk",
                            frame->count, (unsigned long long)frame->first, frame->bulk_bytes);
    if (r->tally.slot[worker->slot].arrived < r->tally.base)
        return SP_E_STATE; /* the round went on without it */
    *destination = sp_tally_place(&r->tally, (unsigned)worker->slot, &code);
    if (code != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the pushes of slot %d", worker->slot);
    worker->held = *destination == NULL;
    return worker->held ? SP_ROUND_HOLD : SP_OK;
}

/* --- time ------------------------------------------------------------------------------------------------------------
 */

void sp_roster_tick(struct sp_round *r)
{
    for (int i = 0; i < SP_PEERS_MAX && !r->has_weights; i++) {
        struct worker *worker = r->workers[i];

        if (worker == NULL || worker->state != WORKER_INITING || r->now_ms < r->init_deadline_ms)
            continue;
        sp_round_bye(r, worker->peer, SP_REASON_INIT_TIMEOUT, "the initial weights did not come within %g s",
                     r->job.server.init_timeout);
        sp_round_left(r, worker->peer, "it did not give the initial weights in time", r->now_ms);
        return;
    }
}
