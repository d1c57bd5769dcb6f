/* What must hold whatever happens: see cluster.h. */
#include "cluster_state.h"

#include "common/pack.h"
#include "common/weights.h"
#include "server/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void check_open(struct cluster *c)
{
    struct oracle *o = &c->oracle;
    uint64_t d = c->layout.coordinates;

    must(d <= (uint64_t)CHUNKS_MAX * SP_CHUNK_VALUES);
    o->theta = calloc(d, sizeof *o->theta);
    o->values = calloc(d, sizeof *o->values);
    o->bits = calloc(sp_bits_bytes(d), 1);
    o->digests = calloc(sp_job_rounds(&c->job, c->options->examples) + 1, sizeof *o->digests);
    must(o->theta != NULL && o->values != NULL && o->bits != NULL && o->digests != NULL);
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        o->ready[i] = NOBODY;
}

void check_close(struct cluster *c)
{
    free(c->oracle.theta);
    free(c->oracle.values);
    free(c->oracle.bits);
    free(c->oracle.digests);
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        free(c->oracle.pushed[i]);
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

void check_first_weights(struct cluster *c)
{
    struct sp_view view;

    sp_round_view(c->round, &view);
    must(view.round == 0);
    memcpy(c->oracle.theta, view.theta, c->layout.coordinates * sizeof(float));
    for (uint64_t j = 0; j < c->layout.coordinates; j++)
        must(view.theta[j] == objective_first_weight(c, j));
    c->oracle.digests[0] = sp_weights_digest(view.theta, c->layout.coordinates);
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
}

/* --- pushes and updates --------------------------------------------------------------------------------------------
 */

static bool all_finite(const uint8_t *bulk, uint32_t count)
{
    for (uint32_t j = 0; j < count; j++) {
        float value;

        memcpy(&value, bulk + j * sizeof value, sizeof value);
        if (!isfinite(value))
            return false;
    }
    return true;
}

void check_taken(struct cluster *c, uint32_t slot, const struct sp_frame *frame, const uint8_t *bulk)
{
    struct oracle *o = &c->oracle;
    uint32_t k = (uint32_t)(frame->first / cluster_chunk(c, o->phase));
    bool sign = o->phase == SP_PHASE_SIGN;

    must(slot < c->job.workers);
    must(frame->round == o->committed + 1);
    must(k < o->updates + SP_TALLY_WINDOW);
    must(k >= o->updates);
    must_say(!o->has[slot][k], "slot %u gives chunk %u of round %u a second time", slot, k, frame->round);
    if (!sign && !all_finite(bulk, frame->count))
        return;
    if (o->pushed[slot] == NULL)
        o->pushed[slot] = malloc(c->layout.coordinates * sizeof(float));
    must(o->pushed[slot] != NULL);
    memcpy(o->pushed[slot] + (sign ? frame->first / 8 : frame->first * sizeof(float)), bulk, frame->bulk_bytes);
    o->has[slot][k] = true;
}

/* One coordinate of a sign update, from what was taken. */
static unsigned count_one(const struct cluster *c, uint32_t k, uint64_t j)
{
    int sum = 0;

    for (uint32_t i = 0; i < c->job.workers; i++) {
        if (c->oracle.has[i][k])
            sum += (c->oracle.pushed[i][j / 8] >> (j % 8)) & 1 ? 1 : -1;
    }
    if (sum == 0)
        return sp_coin(j, c->oracle.committed + 1);
    return sum > 0;
}

static float mean_one(const struct cluster *c, uint32_t k, uint64_t j)
{
    double sum = 0.0;
    unsigned n = 0;

    for (uint32_t i = 0; i < c->job.workers; i++) {
        float value;

        if (!c->oracle.has[i][k])
            continue;
        memcpy(&value, c->oracle.pushed[i] + j * sizeof value, sizeof value);
        sum += (double)value;
        n++;
    }
    return n > 0 ? (float)(sum / n) : 0.0f;
}

/* Large models by samples. */
static uint64_t stride(const struct cluster *c)
{
    return c->layout.coordinates / 4000 + 1;
}

void check_update(struct cluster *c, const struct sp_action *action)
{
    struct oracle *o = &c->oracle;
    uint64_t first = action->update.first, end = first + action->update.count;
    uint32_t k = (uint32_t)(first / cluster_chunk(c, o->phase));

    must(action->round == o->committed + 1);
    must(first == o->staged);
    must(k == o->updates);
    must(action->update.last == (end == c->layout.coordinates));
    if (k == 0)
        must(o->live >= c->job.server.min_live);
    if (o->phase == SP_PHASE_SIGN)
        memcpy(o->bits + first / 8, action->update.bulk, action->update.bytes);
    else
        memcpy(o->values + first, action->update.bulk, action->update.bytes);
    for (uint64_t j = first; j < end; j += stride(c)) {
        if (o->phase == SP_PHASE_SIGN)
            must(((o->bits[j / 8] >> (j % 8)) & 1u) == count_one(c, k, j));
        else
            must(o->values[j] == mean_one(c, k, j));
    }
    o->staged = end;
    o->updates++;
}

static void check_voters(struct cluster *c, const struct sp_commit *commit)
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
}

void check_commit(struct cluster *c, const struct sp_action *action)
{
    const struct sp_commit *commit = &action->commit;
    struct oracle *o = &c->oracle;
    struct sp_step step = {
        .rate = commit->rate, .decay = commit->decay, .rates = commit->rates, .decays = commit->decays};

    if (action->round > 0) {
        must(action->round == o->committed + 1);
        must(o->staged == c->layout.coordinates);
        check_voters(c, commit);
        must(commit->has_digest == (action->round % 100 == 0));
        if (commit->has_digest)
            must(commit->digest == o->digests[o->committed]);
        if (o->phase == SP_PHASE_SIGN)
            sp_weights_apply_signs(&c->layout, &step, o->bits, o->theta);
        else
            sp_weights_apply_values(&c->layout, &step, o->values, o->theta);
    } else {
        must(!o->started);
    }
    o->started = true;
    o->committed = action->round;
    must(o->phase == SP_PHASE_SIGN || commit->next_phase == SP_PHASE_SGD);
    o->phase = (enum sp_phase)commit->next_phase;
    o->digests[o->committed] = sp_weights_digest(o->theta, c->layout.coordinates);
    o->staged = 0;
    o->updates = 0;
    memset(o->has, 0, sizeof o->has);
}

/* --- who is there --------------------------------------------------------------------------------------------------
 */

void check_ready(struct cluster *c, uint32_t slot, uint32_t peer)
{
    must(slot < c->job.workers);
    must(c->oracle.ready[slot] == NOBODY);
    c->oracle.ready[slot] = peer;
    c->oracle.live++;
}

/* With nobody left to finish it a round begins anew. */
static void maybe_anew(struct cluster *c)
{
    struct oracle *o = &c->oracle;

    if (o->live > 0 || o->updates == 0 || o->staged == c->layout.coordinates)
        return;
    o->staged = 0;
    o->updates = 0;
    memset(o->has, 0, sizeof o->has);
    c->result->anew++;
}

void check_gone(struct cluster *c, uint32_t slot, uint32_t peer)
{
    struct oracle *o = &c->oracle;
    unsigned given = 0, chunks = 0;

    if (o->ready[slot] != peer)
        return;
    o->ready[slot] = NOBODY;
    o->live--;
    for (uint64_t first = 0; first < c->layout.coordinates; first += cluster_chunk(c, o->phase))
        given += o->has[slot][chunks++];
    c->result->breaks_in_push += given > 0 && given < chunks;
    maybe_anew(c);
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
    if (view.theta != NULL && o->updates == 0)
        must(memcmp(view.theta, o->theta, c->layout.coordinates * sizeof(float)) == 0);
}

/* The worker's weights have just become those after a round. */
void check_worker(struct cluster *c, const struct process *p)
{
    uint32_t round = p->learner.round;

    must(round <= c->oracle.committed);
    if (p->stray)
        return;
    must_say(sp_weights_digest(p->learner.theta, c->layout.coordinates) == c->oracle.digests[round],
             "the weights of slot %u after round %u are not the server's", p->slot, round);
}
