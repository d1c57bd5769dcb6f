#include "round_world.h"

#include "common/sums.h"
#include "common/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- lines -----------------------------------------------------------------------------------------------------------
 */

void world_drop(struct world *w, struct line *line)
{
    uint32_t peer = line->peer;

    if (peer == 0)
        return;
    w->asked = w->asked && line->state != LINE_ASKED;
    w->gone[peer] = w->event;
    line->peer = 0;
    line->state = LINE_NONE;
    line->following = line->reading = line->held = line->breaks = false;
    sp_round_left(w->round, peer, "fuzzed", w->now_ms);
}

/* NULL: it left while the actions of this event are done. */
static struct line *line_of(struct world *w, uint32_t peer)
{
    for (unsigned i = 0; i < LINES; i++) {
        if (peer != 0 && w->lines[i].peer == peer)
            return &w->lines[i];
    }
    sp_assert(peer > 0 && peer <= w->peers && w->gone[peer] == w->event);
    return NULL;
}

void world_place(struct world *w, struct line *line)
{
    struct sp_error error = {0};
    int rc = sp_round_place(w->round, line->peer, &line->message.frame, &line->destination, &error);

    line->held = rc == SP_ROUND_HOLD;
    line->discards = rc == SP_E_STATE;
    line->reading = line->held || line->discards || rc == SP_OK;
    if (line->reading)
        return;
    sp_assert(rc < 0 && error.code == (enum sp_code)rc && error.text[0] != '\0');
    world_drop(w, line);
}

/* --- what is kept ----------------------------------------------------------------------------------------------------
 */

static void forget_entries(struct world *w, uint32_t first)
{
    for (uint32_t i = first; i < w->entries_count; i++)
        free(w->entries[i].body);
    w->entries_count = first;
}

static void keep_entry(struct world *w, const struct sp_entry *entry, const void *body)
{
    struct entry *e;

    if (w->entries_count == w->entries_room) {
        w->entries_room = 2 * w->entries_room + 16;
        w->entries = reallocarray(w->entries, w->entries_room, sizeof *w->entries);
        sp_assert(w->entries != NULL);
    }
    e = &w->entries[w->entries_count++];
    e->entry = *entry;
    e->body = aligned_alloc(8, (entry->bytes + 8u) / 8 * 8);
    sp_assert(e->body != NULL);
    memcpy(e->body, body, entry->bytes);
}

static void keep_update(struct world *w, const struct sp_action *action)
{
    struct sp_entry entry = {.type = SP_ENTRY_CHUNK,
                             .flags = action->update.flags,
                             .round = action->round,
                             .count = action->update.count,
                             .first = action->update.first,
                             .bytes = (uint32_t)action->update.bytes,
                             .voters = action->update.voters};
    struct sp_entry gradient = entry;

    if (w->updates == 0)
        forget_entries(w, w->whole);
    gradient.type = SP_ENTRY_GRADIENT;
    gradient.bytes = entry.count * (uint32_t)sizeof(float);
    if (action->update.gradient != NULL)
        keep_entry(w, &gradient, action->update.gradient);
    keep_entry(w, &entry, action->update.bulk);
}

static struct sp_round *restore(struct world *w, const struct sp_checkpoint *checkpoint)
{
    struct sp_error error = {0};
    struct sp_round *round;

    sp_assert(sp_round_create(&round, &w->job) == SP_OK);
    sp_round_keep(round, RUN, true);
    sp_assert(sp_round_restore(round, checkpoint, &error) == SP_OK);
    return round;
}

static void compare_jobs(struct world *w, const struct sp_checkpoint *checkpoint)
{
    struct sp_error error = {0};
    struct sp_job job;

    if (w->jobs_compared)
        return;
    w->jobs_compared = true;
    sp_assert(sp_state_job(checkpoint, &job, &error) == SP_OK);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        char ours[SP_VALUE_BYTES], theirs[SP_VALUE_BYTES];

        sp_job_get(&w->job, &sp_job_keys[i], ours, sizeof ours);
        sp_job_get(&job, &sp_job_keys[i], theirs, sizeof theirs);
        sp_assert(strcmp(ours, theirs) == 0);
    }
}

/* What is restored is what was saved. */
static void compare(struct world *w, const struct sp_checkpoint *checkpoint)
{
    struct sp_round *round = restore(w, checkpoint);
    const struct sp_checkpoint_section *state = sp_checkpoint_find(checkpoint, "state");
    const struct sp_checkpoint_section *theta = sp_checkpoint_find(checkpoint, "theta");
    struct sp_view view;
    const void *bytes;
    size_t count;

    compare_jobs(w, checkpoint);
    sp_assert(sp_round_save(round, true, &bytes, &count) == SP_OK);
    sp_assert(count == state->count && memcmp(bytes, state->bytes, count) == 0);
    sp_round_view(round, &view);
    sp_assert(view.round == checkpoint->round);
    sp_assert(theta->count == view.layout->coordinates * sizeof *view.theta);
    sp_assert(memcmp(view.theta, theta->bytes, (size_t)theta->count) == 0);
    sp_round_destroy(round);
}

static void take_checkpoint(struct world *w)
{
    struct sp_checkpoint checkpoint;
    uint32_t kept = 0;

    if (!sp_round_copied(w->round, &checkpoint))
        return;
    if (checkpoint.round > 0)
        compare(w, &checkpoint);
    sp_checkpoint_finish(&w->kept);
    w->kept = checkpoint;
    for (uint32_t i = 0; i < w->entries_count; i++) {
        if (w->entries[i].entry.round > checkpoint.round)
            w->entries[kept++] = w->entries[i];
        else
            free(w->entries[i].body);
    }
    w->whole -= w->entries_count - kept;
    w->entries_count = kept;
}

void world_checkpoint(struct world *w, size_t bytes)
{
    struct sp_error error = {0};
    int rc = sp_round_checkpoint(w->round, &error);

    sp_assert(rc == SP_OK || (rc == SP_E_STATE && error.text[0] != '\0'));
    (void)sp_round_copy(w->round, bytes);
    take_checkpoint(w);
}

static void keep_commit(struct world *w, uint32_t round)
{
    struct sp_entry entry = {.type = SP_ENTRY_COMMIT, .round = round};
    const void *state;
    size_t bytes;

    if (round == 0) {
        world_checkpoint(w, SIZE_MAX);
        return;
    }
    sp_assert(sp_round_save(w->round, false, &state, &bytes) == SP_OK);
    entry.bytes = (uint32_t)bytes;
    keep_entry(w, &entry, state);
    w->whole = w->entries_count;
}

bool world_crash(struct world *w)
{
    struct sp_error error = {0};
    struct sp_view view;

    if (w->kept.memory == NULL || w->over)
        return false;
    for (unsigned i = 0; i < LINES; i++)
        world_drop(w, &w->lines[i]);
    sp_round_destroy(w->round);
    w->round = restore(w, &w->kept);
    forget_entries(w, w->whole);
    for (uint32_t i = 0; i < w->entries_count; i++)
        sp_assert(sp_round_replay(w->round, &w->entries[i].entry, w->entries[i].body, &error) == SP_OK);
    sp_round_view(w->round, &view);
    sp_assert(view.round == w->committed);
    sp_assert(sp_weights_digest(view.theta, view.layout->coordinates) == w->digest);
    w->updates = 0;
    w->stage = SP_STAGE_RUNNING;
    sp_round_go_on(w->round, w->now_ms);
    return true;
}

/* --- actions ---------------------------------------------------------------------------------------------------------
 */

WATCHED_LESS static void read_bytes(const void *bytes, size_t count)
{
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]); /* the sanitizer sees a step too far */
}

static void got_welcome(struct world *w, struct line *line, const struct sp_action *action)
{
    struct sp_welcome welcome = {0};

    sp_assert(line->state == LINE_NONE || line->state == LINE_SPARE);
    sp_assert(action->welcome.spare ? line->state == LINE_NONE : action->welcome.slot < w->job.workers);
    line->state = action->welcome.spare ? LINE_SPARE : LINE_SEATED;
    line->slot = action->welcome.slot;
    line->has_ticket = !action->welcome.spare;
    sp_round_progress(w->round, &welcome);
    read_bytes(welcome.traits, welcome.traits_count);
    sp_assert(welcome.rounds > 0 && welcome.round <= welcome.rounds);
}

static void got_weights(struct world *w, struct line *line, const struct sp_action *action)
{
    struct sp_view view;

    sp_assert(line->state == LINE_SEATED && !line->following);
    sp_round_view(w->round, &view);
    if (view.round != action->round) {
        sp_round_weights_again(w->round, line->peer);
        return;
    }
    sp_assert(action->started == w->started);
    line->state = LINE_SENT;
    line->following = true;
    line->round = action->round;
    line->given = 0;
    if (line->breaks)
        world_drop(w, line);
}

/* What goes to all finds out which lines are broken: their peers leave while actions are done. */
static void send_to_all(struct world *w)
{
    for (unsigned i = 0; i < LINES; i++) {
        if (w->lines[i].following && w->lines[i].breaks)
            world_drop(w, &w->lines[i]);
    }
}

static void got_update(struct world *w, const struct sp_action *action)
{
    const struct sp_layout *layout = sp_round_layout(w->round);
    struct sp_chunk chunk;

    sp_assert(w->started && action->round == w->committed + 1);
    if (action->update.first == 0 && (action->update.flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) == 0)
        w->updates = 0; /* the round begins, or begins anew */
    sp_assert(w->updates < sp_chunks_count(layout, &w->form));
    chunk = sp_chunk_at(layout, &w->form, w->updates);
    sp_assert(action->update.first == chunk.first && action->update.count == chunk.count);
    sp_assert(action->update.flags == chunk.flags && action->update.voters <= w->job.workers);
    sp_assert(action->update.bytes == sp_chunk_update_bytes(&w->form, &chunk, action->update.voters));
    sp_assert(action->update.bytes <= SP_BULK_BYTES_MAX);
    read_bytes(action->update.bulk, action->update.bytes);
    keep_update(w, action);
    w->updates++;
}

static bool is_rate(float rate)
{
    return isfinite(rate) && rate >= 0.0f;
}

static void check_rates(const struct sp_layout *layout, const struct sp_commit *commit)
{
    sp_assert(is_rate(commit->rate) && isfinite(commit->decay) && isfinite(commit->next_sigma));
    sp_assert(commit->rates_count == 0 || commit->rates_count == layout->trained);
    sp_assert(commit->decays_count == 0 || commit->decays_count == layout->trained);
    for (uint32_t i = 0; i < commit->rates_count; i++)
        sp_assert(is_rate(commit->rates[i]));
    for (uint32_t i = 0; i < commit->decays_count; i++)
        sp_assert(isfinite(commit->decays[i]));
}

static void check_weights(const struct world *w, const struct sp_view *view)
{
    bool bounded = w->job.optimizer.sgd.clip > 0.0 || w->job.optimizer.mode != SP_MODE_HYBRID;

    if (!w->modest)
        return;
    sp_assert(!bounded || sp_all_finite(view->theta, (size_t)view->layout->coordinates));
    sp_assert(view->buffers == NULL || sp_all_finite(view->buffers, (size_t)view->layout->buffers));
}

static void got_commit(struct world *w, const struct sp_action *action)
{
    const struct sp_commit *commit = &action->commit;
    struct sp_view view;

    sp_round_view(w->round, &view);
    sp_assert(w->started ? action->round == w->committed + 1 : action->round == 0);
    sp_assert(!w->started || w->updates == sp_chunks_count(view.layout, &w->form));
    sp_assert(commit->last == (action->round == view.rounds) && action->round == view.round);
    for (uint32_t i = w->job.workers; i < 8 * sizeof commit->voters; i++)
        sp_assert((commit->voters[i / 8] >> (i % 8) & 1) == 0);
    check_rates(view.layout, commit);
    check_weights(w, &view);
    w->started = true;
    w->committed = action->round;
    w->updates = 0;
    w->form = (struct sp_round_form){.phase = (enum sp_phase)commit->next_phase,
                                     .wire = (enum sp_wire)commit->next_wire,
                                     .buffers = commit->next_buffers};
    w->digest = sp_weights_digest(view.theta, view.layout->coordinates);
    for (unsigned i = 0; i < LINES; i++) {
        if (!w->lines[i].following)
            continue;
        w->lines[i].given = 0;
        w->lines[i].round = action->round;
    }
    keep_commit(w, action->round);
}

static void got_eval(struct line *line, const struct sp_action *action)
{
    sp_assert(line->state == LINE_READY && action->eval.part < action->eval.parts);
    if (line->evals_round != action->round)
        line->evals_count = 0;
    line->evals_round = action->round;
    if (line->evals_count < EVALS_MAX)
        line->evals[line->evals_count++].part = action->eval.part;
}

static void got_over(struct world *w, const struct sp_action *action)
{
    sp_assert(!w->over && !action->bye.no_memory && action->bye.words[0] != '\0');
    w->over = true;
    for (unsigned i = 0; i < LINES; i++)
        world_drop(w, &w->lines[i]);
}

static void act_on(struct world *w, struct line *line, const struct sp_action *action)
{
    switch (action->type) {
    case SP_ACTION_WELCOME:
        got_welcome(w, line, action);
        break;
    case SP_ACTION_INIT:
        sp_assert(!w->asked && line->state == LINE_SEATED);
        w->asked = true;
        line->state = LINE_ASKED;
        line->given = 0;
        break;
    case SP_ACTION_WEIGHTS:
        got_weights(w, line, action);
        break;
    case SP_ACTION_FOLLOW:
        sp_assert(line->state == LINE_ASKED);
        w->asked = false;
        line->state = LINE_SENT;
        line->following = true;
        line->round = line->given = 0;
        break;
    case SP_ACTION_EVAL:
        got_eval(line, action);
        break;
    case SP_ACTION_RESUME:
        sp_assert(line->held);
        world_place(w, line);
        break;
    case SP_ACTION_BYE:
        sp_assert(action->bye.words[0] != '\0');
        world_drop(w, line);
        break;
    default:
        sp_assert(false && "an action for a peer");
    }
}

static void act(struct world *w, const struct sp_action *action)
{
    struct line *line;

    switch (action->type) {
    case SP_ACTION_UPDATE:
        sp_assert(!w->over);
        got_update(w, action);
        send_to_all(w);
        break;
    case SP_ACTION_COMMIT:
        sp_assert(!w->over);
        got_commit(w, action);
        send_to_all(w);
        break;
    case SP_ACTION_NOTE:
        sp_assert(action->note.line[0] != '\0');
        break;
    case SP_ACTION_REPORT:
        sp_assert(action->report.round <= w->committed && action->report.correct <= action->report.total);
        break;
    case SP_ACTION_EVENT:
        sp_assert(action->event.reason[0] != '\0');
        if (action->event.rates != NULL)
            read_bytes(action->event.rates, sp_round_layout(w->round)->trained * sizeof(float));
        break;
    case SP_ACTION_OVER:
        got_over(w, action);
        break;
    default:
        line = line_of(w, action->peer);
        if (line != NULL)
            act_on(w, line, action);
        break;
    }
}

/* --- what is always true ---------------------------------------------------------------------------------------------
 */

static const struct line *find(const struct world *w, uint32_t peer)
{
    for (unsigned i = 0; i < LINES; i++) {
        if (w->lines[i].peer == peer)
            return &w->lines[i];
    }
    return NULL;
}

static void check_slots(const struct world *w, const struct sp_view *view)
{
    unsigned live = 0, spares = 0, seated = 0;

    for (uint32_t i = 0; i < w->job.workers; i++) {
        const struct sp_slot_view *slot = &view->slots[i];
        const struct line *line = slot->live ? find(w, slot->peer) : NULL;

        sp_assert(slot->live || !slot->ready);
        sp_assert(!slot->live || (line != NULL && line->peer != 0 && line->slot == i));
        sp_assert(!slot->live || slot->ready == (line->state == LINE_READY));
        sp_assert(isnan(slot->correlation) || fabs(slot->correlation) <= 1.01);
        sp_assert(slot->disagreed <= slot->compared);
        live += slot->ready && !slot->is_excluded;
        seated += slot->live;
    }
    for (unsigned i = 0; i < LINES; i++) {
        spares += w->lines[i].state == LINE_SPARE;
        seated -= w->lines[i].state > LINE_SPARE;
    }
    sp_assert(view->live == live && view->spares == spares && seated == 0);
}

static void check_numbers(const struct sp_view *view)
{
    sp_assert(!view->lambda_known || isfinite(view->lambda));
    for (uint32_t i = 0; view->rates != NULL && i < view->layout->trained; i++)
        sp_assert(isfinite(view->rates[i]));
    sp_assert(view->deadline_ms >= 0.0 && isfinite(view->deadline_ms));
}

static void check(struct world *w)
{
    struct sp_view view;
    uint64_t due = sp_round_due_ms(w->round);

    sp_round_view(w->round, &view);
    sp_assert(view.round == w->committed && view.round == sp_round_committed(w->round));
    sp_assert(view.layout == NULL || view.round <= view.rounds);
    sp_assert(view.stage >= w->stage && (view.stage == SP_STAGE_OVER) == w->over);
    sp_assert((view.stage >= SP_STAGE_GATHERING) <= (view.theta != NULL || view.stopped));
    sp_assert(view.correct <= view.total && view.switches_count <= SP_SWITCHES_MAX);
    sp_assert(sp_round_has_started(w->round) == w->started);
    sp_assert(!w->started || (view.phase == w->form.phase && sp_round_phase(w->round, view.round + 1) == view.phase));
    sp_assert(due <= w->now_ms + 1000);
    w->stage = view.stage;
    check_slots(w, &view);
    check_numbers(&view);
}

void world_settle(struct world *w, struct line *line, int rc, const struct sp_error *error)
{
    struct sp_action action;

    if (rc != SP_OK) {
        sp_assert(rc < 0 && error->code == (enum sp_code)rc && error->text[0] != '\0');

        world_drop(w, line);
    }
    while (sp_round_next(w->round, &action))
        act(w, &action);
    sp_round_settle(w->round);
    check(w);
    w->event++;
}

void world_filled(struct world *w, struct line *line)
{
    const struct sp_frame *frame = &line->message.frame;
    struct sp_error error = {0};
    int rc;

    sp_assert(line->reading && !line->held);
    line->reading = false;
    if (frame->type == SP_FRAME_WEIGHTS)
        rc = sp_round_weights(w->round, line->peer, &line->message, w->now_ms, &error);
    else if (line->discards)
        rc = sp_round_push_dropped(w->round, line->peer, frame, w->now_ms, &error);
    else
        rc = sp_round_push(w->round, line->peer, &line->message, w->now_ms, &error);
    world_settle(w, line, rc, &error);
}

void world_open(struct world *w)
{
    w->now_ms = 1000;
    w->event = 1;
    w->modest = true;
    sp_assert(sp_round_create(&w->round, &w->job) == SP_OK);
    sp_round_keep(w->round, RUN, true);
}

void world_close(struct world *w)
{
    sp_round_destroy(w->round);
    sp_checkpoint_finish(&w->kept);
    forget_entries(w, 0);
    free(w->entries);
}
