/* What must hold whatever happens: see cluster.h. */
#include "cluster_state.h"

#include "common/weights.h"
#include "server/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *zeros(size_t count, size_t bytes)
{
    void *array = calloc(count + 1, bytes);

    must(array != NULL);
    return array;
}

static size_t values_in_round(const struct cluster *c)
{
    return (size_t)(c->layout.coordinates + c->oracle.full + c->layout.buffers);
}

/* How the numbers of round t travel, if it is of this phase. */
static void take_form(struct cluster *c, enum sp_phase phase, uint32_t t, bool first_of_phase)
{
    struct oracle *o = &c->oracle;
    uint32_t rounds = sp_job_rounds(&c->job, c->options->examples);
    double every = c->job.train.evaluate * (double)sp_job_epoch_rounds(&c->job, c->options->examples);
    bool evaluated =
        c->options->test_examples > 0 && every > 0.0 && floor((double)t / every) > floor((double)(t - 1) / every);

    o->form.phase = phase;
    o->form.buffers = c->layout.buffers > 0 && t <= rounds && (t == rounds || evaluated || first_of_phase);
    o->form.wire = SP_WIRE_F32;
    if (phase == SP_PHASE_SGD &&
        (rates_known(c) || c->job.optimizer.sgd.lr > 0.0 || c->job.optimizer.sgd.lambda < SP_LAMBDA_NORM))
        o->form.wire = sp_job_wire(&c->job);
}

static enum sp_phase first_phase(const struct sp_job *job)
{
    if (job->optimizer.mode != SP_MODE_HYBRID)
        return SP_PHASE_SGD;
    return job->optimizer.start == SP_START_MARGIN ? SP_PHASE_MARGIN : SP_PHASE_SIGN;
}

void check_open(struct cluster *c)
{
    struct oracle *o = &c->oracle;
    size_t d = (size_t)c->layout.coordinates, rounds = sp_job_rounds(&c->job, c->options->examples);

    must(d <= (uint64_t)CHUNKS_MAX * SP_CHUNK_VALUES);
    for (uint32_t i = 0; i < c->layout.trained; i++)
        o->full += oracle_is_full(c, i) ? c->layout.tensors[i].count : 0;
    o->theta = zeros(d, sizeof(float));
    o->buffers = zeros((size_t)c->layout.buffers, sizeof(float));
    o->update = zeros(values_in_round(c), sizeof(float));
    o->residual = zeros(d, sizeof(float));
    o->adam_m = zeros(d, sizeof(float));
    o->adam_v = zeros(d, sizeof(float));
    o->adam_next_m = zeros(d, sizeof(float));
    o->adam_next_v = zeros(d, sizeof(float));
    o->norms = zeros(c->layout.trained, sizeof(double));
    o->digests = zeros(rounds + 1, sizeof(uint64_t));
    o->averaged = zeros(rounds + 1, sizeof(uint64_t));
    o->averages = zeros(rounds + 1, sizeof(bool));
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        o->ready[i] = NOBODY;
    rates_open(c);
    o->next = first_phase(&c->job);
}

void check_close(struct cluster *c)
{
    struct oracle *o = &c->oracle;
    void *owned[] = {o->theta,       o->buffers,     o->update, o->residual, o->adam_m,   o->adam_v,
                     o->adam_next_m, o->adam_next_v, o->norms,  o->digests,  o->averaged, o->averages};

    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        free(o->pushed[i]);
    rates_close(c);
}

void check_trace(struct cluster *c, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    uint64_t word;

    for (; count >= sizeof word; count -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        c->result->trace = sp_mix64(c->result->trace * 3 + word);
    }
    word = count;
    memcpy(&word, at, count < sizeof word ? count : 0);
    c->result->trace = sp_mix64(c->result->trace * 5 + word);
}

/* What the job's rules make of the tensors, which is known to whoever wrote both. */
void check_traits(const struct cluster *c, const uint8_t *traits, uint32_t count)
{
    must(count == c->layout.trained);
    for (uint32_t i = 0; i < count; i++) {
        unsigned decay = (c->options->decay >> i) & 1u ? SP_TENSOR_DECAY : 0;

        must(traits[i] == (decay | (oracle_is_full(c, i) ? (unsigned)SP_TENSOR_FULL : 0)));
    }
}

static uint64_t buffers_digest(const struct cluster *c, const float *buffers)
{
    return c->layout.buffers > 0 ? sp_weights_digest(buffers, c->layout.buffers) : 0;
}

void check_first_weights(struct cluster *c)
{
    struct oracle *o = &c->oracle;
    struct sp_view view;

    sp_round_view(c->round, &view);
    must(view.round == 0);
    memcpy(o->theta, view.theta, c->layout.coordinates * sizeof(float));
    for (uint64_t j = 0; j < c->layout.coordinates; j++)
        must(view.theta[j] == objective_first_weight(c, j));
    for (uint64_t j = 0; j < c->layout.buffers; j++) {
        o->buffers[j] = objective_first_buffer(c, j);
        must(view.buffers[j] == o->buffers[j]);
    }
    o->digests[0] = sp_weights_digest(view.theta, c->layout.coordinates);
    o->averaged[0] = buffers_digest(c, o->buffers);
    c->result->first_loss = objective_loss(c, view.theta);
}

/* The weights that are about to be sent are those of the round that goes with them, and that round is the last one that
 * all who follow know of. */
void check_weights_sent(struct cluster *c, uint32_t round)
{
    struct sp_view view;

    sp_round_view(c->round, &view);
    must(round == c->oracle.committed);
    must(c->oracle.updates == 0);
    must(sp_weights_digest(view.theta, c->layout.coordinates) == c->oracle.digests[round]);
    must(buffers_digest(c, view.buffers) == c->oracle.averaged[round]);
}

/* --- pushes and updates --------------------------------------------------------------------------------------------
 */

static bool is_piece(const struct piece *piece, const struct sp_frame *frame)
{
    static const uint16_t flags[] = {0, SP_FRAME_FULL, SP_FRAME_BUFFERS};

    return frame->first == piece->first && frame->count == piece->count &&
           frame->flags == (flags[piece->section] | (piece->last ? SP_FRAME_LAST : 0));
}

/* Which chunk of the present round it is. */
static uint32_t number_of(const struct cluster *c, const struct sp_frame *frame)
{
    uint32_t k = 0;
    struct piece piece = oracle_piece(c, k);

    while (!is_piece(&piece, frame))
        piece = oracle_piece(c, ++k);
    return k;
}

void check_taken(struct cluster *c, uint32_t slot, const struct sp_frame *frame, const uint8_t *bulk)
{
    struct oracle *o = &c->oracle;
    uint32_t k = number_of(c, frame);
    struct piece piece = oracle_piece(c, k);

    must(slot < c->job.workers);
    must(frame->round == o->committed + 1);
    must(!o->excluded[slot]);
    must(k < o->updates + SP_TALLY_WINDOW);
    must(k >= o->updates);
    must_say(!o->has[slot][k], "slot %u gives chunk %u of round %u a second time", slot, k, frame->round);
    must_say(k == 0 || o->has[slot][k - 1] || o->missed[slot][k - 1], "slot %u leaves chunk %u of round %u out", slot,
             k - 1, frame->round);
    if (o->pushed[slot] == NULL)
        o->pushed[slot] = zeros(values_in_round(c), sizeof(float));
    o->has[slot][k] = oracle_read_push(c, &piece, bulk, o->pushed[slot] + piece.at);
}

/* A push comes too late if a chunk of it does, and is dropped if it is that of an excluded worker. These workers give
 * no chunk twice. */
void check_thrown_away(struct cluster *c, struct line *line, const struct sp_frame *frame)
{
    uint64_t *counts = c->oracle.excluded[line->slot] ? c->oracle.dropped : c->oracle.late;

    must(line->slot < c->job.workers);
    counts[line->slot] += line->late_round != frame->round;
    line->late_round = frame->round;
    if (c->oracle.started && frame->round == c->oracle.committed + 1 && (frame->flags & SP_FRAME_ABSTAIN) == 0 &&
        number_of(c, frame) < c->oracle.updates)
        c->oracle.missed[line->slot][number_of(c, frame)] = true;
}

void check_update(struct cluster *c, const struct sp_action *action)
{
    struct oracle *o = &c->oracle;
    uint32_t k = o->updates;
    struct piece piece = oracle_piece(c, k);
    struct sp_frame frame = {
        .first = action->update.first, .count = action->update.count, .flags = action->update.flags};
    static uint8_t bulk[2 * UPDATE_BYTES_MAX];
    unsigned voters;
    size_t bytes;

    must(action->round == o->committed + 1);
    must(is_piece(&piece, &frame));
    if (k == 0)
        must(o->live >= c->job.server.min_live);
    bytes = oracle_update(c, k, &voters, bulk);
    must(bytes <= UPDATE_BYTES_MAX);
    must(action->update.bytes == bytes);
    must(action->update.voters == voters);
    must_say(memcmp(action->update.bulk, bulk, bytes) == 0, "chunk %u of round %u is not what its pushes make", k,
             action->round);
    o->updates++;
}

static unsigned check_voters(struct cluster *c, const struct sp_commit *commit)
{
    unsigned voters = 0;

    for (uint32_t i = 0; i < c->job.workers; i++) {
        bool all = true;

        for (uint32_t k = 0; k < c->oracle.updates; k++)
            all = all && c->oracle.has[i][k];
        must(((commit->voters[i / 8] >> (i % 8)) & 1) == all);
        voters += all;
    }
    if (voters < c->result->voters_min)
        c->result->voters_min = voters;
    c->result->without_votes += voters == 0;
    return voters;
}

static void forget_round(struct cluster *c)
{
    struct oracle *o = &c->oracle;

    o->updates = 0;
    o->whole_norm = 0.0;
    memset(o->norms, 0, c->layout.trained * sizeof *o->norms);
    memset(o->has, 0, sizeof o->has);
    memset(o->missed, 0, sizeof o->missed);
}

static void apply(struct cluster *c, const struct sp_commit *commit)
{
    struct oracle *o = &c->oracle;
    uint64_t full = c->layout.coordinates;

    for (uint32_t i = 0; i < c->layout.trained; i++) {
        const struct sp_tensor *tensor = &c->layout.tensors[i];
        const float *values = o->update + (oracle_is_full(c, i) ? full : tensor->first);
        float rate = commit->rates != NULL ? commit->rates[i] : commit->rate;
        float decay = commit->decays != NULL ? commit->decays[i] : commit->decay;

        full += oracle_is_full(c, i) ? tensor->count : 0;
        for (uint64_t j = 0; j < tensor->count; j++) {
            float *theta = &o->theta[tensor->first + j];

            if ((c->options->decay >> i) & 1u)
                *theta *= decay;
            *theta -= rate * values[j];
        }
    }
    if (o->form.buffers)
        memcpy(o->buffers, o->update + full, (size_t)c->layout.buffers * sizeof *o->buffers);
}

/* The round that was collected. */
static void check_round(struct cluster *c, const struct sp_commit *commit)
{
    struct oracle *o = &c->oracle;
    uint32_t t = o->committed + 1;
    unsigned voters;

    must(o->updates == oracle_pieces(c));
    voters = check_voters(c, commit);
    must(commit->has_digest == (t % 100 == 0));
    if (commit->has_digest)
        must(commit->digest == o->digests[o->committed]);
    rates_check(c, commit, voters);
    apply(c, commit);
    o->committed = t;
    o->digests[t] = sp_weights_digest(o->theta, c->layout.coordinates);
    o->averaged[t] = buffers_digest(c, o->buffers);
    o->averages[t] = o->form.buffers;
    c->result->averaged += o->averages[t];
}

/* And what comes after it. */
static void check_next(struct cluster *c, const struct sp_commit *commit)
{
    struct oracle *o = &c->oracle;
    bool switches = o->next != o->form.phase && o->started;

    must(commit->last == (o->committed == sp_job_rounds(&c->job, c->options->examples)));
    must(commit->next_phase == o->next);
    take_form(c, o->next, o->committed + 1, switches);
    if (!commit->last)
        must(commit->next_wire == o->form.wire);
    must(commit->next_buffers == o->form.buffers);
    if (o->next == SP_PHASE_SGD || commit->last)
        must(commit->next_sigma == 0.0f);
    else if (o->next == SP_PHASE_MARGIN)
        must(commit->next_sigma == (float)c->job.optimizer.margin.sigma0);
}

void check_commit(struct cluster *c, const struct sp_action *action)
{
    const struct sp_commit *commit = &action->commit;
    struct oracle *o = &c->oracle;

    if (action->round > 0) {
        must(action->round == o->committed + 1);
        check_round(c, commit);
        if (c->job.optimizer.mode == SP_MODE_ADAM)
            oracle_adam_commit(c);
    } else {
        must(!o->started);
    }
    must_say(!o->asked, "an operator asked for a switch, and round %u brought none", o->committed);
    check_next(c, commit);
    o->started = true;
    forget_round(c);
}

/* --- decisions -------------------------------------------------------------------------------------------------------
 */

static void check_quarantine(struct cluster *c, const struct sp_event *event)
{
    struct oracle *o = &c->oracle;
    uint32_t slot = event->suspect.slot;

    must(event->round == o->committed + 1);
    must(slot < c->job.workers && !o->excluded[slot]);
    must(event->excluded == (c->job.server.quarantine == SP_QUARANTINE_EXCLUDE));
    if (!event->excluded)
        return;
    o->excluded[slot] = true;
    if (o->ready[slot] == NOBODY)
        return;
    o->live--;
    if (c->lines[o->ready[slot]]->process < c->options->liars)
        c->result->excluded++;
    else
        c->result->denounced++;
}

void check_event(struct cluster *c, const struct sp_event *event)
{
    struct oracle *o = &c->oracle;

    must(event->from == o->form.phase);
    if (event->type == SP_EVENT_QUARANTINE)
        check_quarantine(c, event);
    if (event->type == SP_EVENT_REFUSAL || event->type == SP_EVENT_DRY_RUN)
        o->asked = false;
    if (event->type != SP_EVENT_SWITCH)
        return;
    must(event->round == o->committed + 1);
    must(event->to != event->from);
    must(event->to != SP_PHASE_SIGN && event->from != SP_PHASE_SGD);
    must((strcmp(event->test, "manual") == 0) == o->asked);
    o->asked = false;
    o->next = event->to;
}

/* --- who is there --------------------------------------------------------------------------------------------------
 */

/* Whoever comes without the slot's ticket is another worker. */
void check_welcome(struct cluster *c, uint32_t slot, uint32_t line)
{
    must(slot < c->job.workers);
    if (c->lines[line]->returns != slot)
        c->oracle.excluded[slot] = false;
    memcpy(c->oracle.tickets[slot], c->lines[line]->ticket, SP_TICKET_BYTES);
}

void check_ready(struct cluster *c, uint32_t slot, uint32_t peer)
{
    must(slot < c->job.workers);
    must(c->oracle.ready[slot] == NOBODY);
    c->oracle.ready[slot] = peer;
    c->oracle.live += !c->oracle.excluded[slot];
}

/* With nobody left to finish it a round begins anew. */
static void maybe_anew(struct cluster *c)
{
    struct oracle *o = &c->oracle;

    if (o->live > 0 || o->updates == 0 || o->updates == oracle_pieces(c))
        return;
    forget_round(c);
    memset(o->residual, 0, c->layout.coordinates * sizeof *o->residual);
    c->result->anew++;
}

void check_gone(struct cluster *c, uint32_t slot, uint32_t peer)
{
    struct oracle *o = &c->oracle;
    unsigned given = 0, chunks = o->started ? oracle_pieces(c) : 0;

    if (o->ready[slot] != peer)
        return;
    o->ready[slot] = NOBODY;
    o->live -= !o->excluded[slot];
    for (unsigned k = 0; k < chunks; k++)
        given += o->has[slot][k];
    c->result->breaks_in_push += given > 0 && given < chunks;
    maybe_anew(c);
}

void check_crashed(struct cluster *c)
{
    struct oracle *o = &c->oracle;

    for (uint32_t i = 0; i < c->job.workers; i++)
        o->ready[i] = NOBODY;
    o->live = 0;
    o->asked = false;
    memcpy(o->late, c->kept.late, sizeof o->late);
    memcpy(o->dropped, c->kept.dropped, sizeof o->dropped);
    memcpy(o->excluded, c->kept.excluded, sizeof o->excluded);
    forget_round(c);
    memset(o->residual, 0, c->layout.coordinates * sizeof *o->residual);
}

static void check_slots(struct cluster *c, const struct sp_view *view)
{
    for (uint32_t i = 0; i < c->job.workers; i++) {
        const struct sp_slot_view *slot = &view->slots[i];

        must(slot->ready == (c->oracle.ready[i] != NOBODY));
        if (slot->ready)
            must(slot->peer == c->oracle.ready[i]);
        must(slot->live || !slot->ready);
        must(slot->votes + slot->missed <= view->round);
        must(slot->late == c->oracle.late[i]);
        must(slot->duplicates == 0);
        must(!slot->behind || (slot->live && c->job.server.close == SP_CLOSE_QUORUM));
        must(slot->is_excluded == c->oracle.excluded[i]);
        must(slot->excluded == c->oracle.dropped[i]);
    }
}

void check_server(struct cluster *c)
{
    struct oracle *o = &c->oracle;
    struct sp_view view;

    sp_round_view(c->round, &view);
    must(view.round == o->committed);
    must(view.live == o->live);
    check_slots(c, &view);
    must(view.spares <= c->lines_count);
    if (view.theta == NULL || o->updates > 0)
        return;
    must(memcmp(view.theta, o->theta, c->layout.coordinates * sizeof(float)) == 0);
    if (c->layout.buffers > 0)
        must(memcmp(view.buffers, o->buffers, c->layout.buffers * sizeof(float)) == 0);
}

uint64_t check_buffers(const struct cluster *c, const struct process *p)
{
    return buffers_digest(c, p->learner.buffers);
}

void check_worker(struct cluster *c, const struct process *p, bool replaced)
{
    uint32_t round = p->learner.round;

    must(round <= c->oracle.committed);
    must_say(check_buffers(c, p) ==
                 (replaced || c->oracle.averages[round] ? c->oracle.averaged[round] : p->buffers_before),
             "the buffers of slot %u after round %u are not what they should be", p->slot, round);
    if (p->stray)
        return;
    must_say(sp_weights_digest(p->learner.theta, c->layout.coordinates) == c->oracle.digests[round],
             "the weights of slot %u after round %u are not the server's", p->slot, round);
}
