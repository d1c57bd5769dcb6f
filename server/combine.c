/* What the votes of a chunk make: the majority, vote counts, or a mean; and the bulk of the UPDATE that says so. */
#include "common/check.h"
#include "common/planes.h"
#include "server/aggregate.h"
#include "server/round_state.h"

#include <stdlib.h>
#include <string.h>

/* --- memory ----------------------------------------------------------------------------------------------------------
 */

/* Bytes of the largest bulk of a margin round's update. */
static size_t margin_stride(const struct sp_round *r)
{
    return sp_planes_bytes(r->job.workers, SP_CHUNK_MARGIN);
}

static bool need(float **array, uint64_t count)
{
    if (*array == NULL && count > 0)
        *array = calloc((size_t)count, sizeof **array);
    return *array != NULL || count == 0;
}

/* Room for the bulk of a round's main section. Each phase has its own: the updates of the last margin round are not
 * sent yet when the first SGD round is prepared. */
static bool need_bulk(const struct sp_round *r, const struct sp_round_form *form, uint8_t **array, size_t stride)
{
    uint64_t chunks = (r->layout.coordinates + sp_chunk_size(form) - 1) / sp_chunk_size(form);

    if (*array == NULL)
        *array = calloc((size_t)chunks, stride);
    return *array != NULL;
}

static bool need_moments(struct sp_round *r)
{
    uint64_t d = r->layout.coordinates;

    return need(&r->adam.m, d) && need(&r->adam.v, d) && need(&r->adam_next.m, d) && need(&r->adam_next.v, d) &&
           (!r->keeps_gradients || need(&r->gradient, d));
}

/* The form that the rounds of a phase have, but for a first one in float32. */
static struct sp_round_form usual_form(const struct sp_round *r, enum sp_phase phase)
{
    return (struct sp_round_form){.phase = phase, .wire = sp_job_wire(&r->job)};
}

bool sp_combine_prepare(struct sp_round *r, enum sp_phase phase)
{
    struct sp_round_form form = usual_form(r, phase);
    uint64_t d = r->layout.coordinates;
    bool coded = form.wire != SP_WIRE_F32;

    if (phase == SP_PHASE_SIGN)
        return true;
    if (!need(&r->mean, d))
        return false;
    if (phase == SP_PHASE_MARGIN)
        return need_bulk(r, &form, &r->planes, margin_stride(r));
    if (r->job.optimizer.mode == SP_MODE_ADAM && !need_moments(r))
        return false;
    return !coded || (need_bulk(r, &form, &r->coded, SP_BULK_BYTES_MAX) &&
                      need(&r->decoded, (uint64_t)r->job.workers * SP_CHUNK_SHORT) &&
                      (form.wire != SP_WIRE_I8 || need(&r->residual, d)));
}

void sp_combine_finish(struct sp_round *r)
{
    free(r->mean);
    free(r->residual);
    free(r->decoded);
    free(r->planes);
    free(r->coded);
    free(r->adam.m);
    free(r->adam.v);
    free(r->adam_next.m);
    free(r->adam_next.v);
    free(r->gradient);
    r->mean = r->residual = r->decoded = r->gradient = NULL;
    memset(&r->adam, 0, sizeof r->adam);
    memset(&r->adam_next, 0, sizeof r->adam_next);
    r->planes = r->coded = NULL;
}

void sp_combine_begin(struct sp_round *r)
{
    memset(&r->counts, 0, sizeof r->counts);
    r->margin = 0.0;
    memset(&r->now_whole, 0, sizeof r->now_whole);
    memset(&r->now_tensor, 0, sizeof r->now_tensor);
}

/* --- what came -------------------------------------------------------------------------------------------------------
 */

/* Bits of tensors that travel in full are zeros, so that they disturb no count. */
static bool full_bits_clear(const struct sp_round *r, const struct sp_chunk *chunk, const uint8_t *bits)
{
    struct sp_layout_part part = {0};
    unsigned set = 0;

    if (r->layout.full == 0)
        return true;
    while (sp_layout_next(&r->layout, chunk->first, chunk->count, &part)) {
        for (uint64_t j = part.first; sp_tensor_is(part.tensor, SP_TENSOR_FULL) && j < part.first + part.count; j++)
            set |= (bits[(j - chunk->first) / 8] >> ((j - chunk->first) % 8)) & 1u;
    }
    return set == 0;
}

int sp_combine_check(const struct sp_round *r, const struct sp_chunk *chunk, const uint8_t *bulk,
                     struct sp_error *error)
{
    bool finite;

    if (chunk->section == SP_SECTION_MAIN && r->form.phase != SP_PHASE_SGD) {
        if (!sp_bits_tail_clear(bulk, chunk->count))
            return sp_error_set(error, SP_E_PROTOCOL, "PUSH with bits set beyond its last coordinate");
        if (!full_bits_clear(r, chunk, bulk))
            return sp_error_set(error, SP_E_PROTOCOL, "PUSH with bits set for tensors that travel in full");
        return SP_OK;
    }
    if (chunk->section == SP_SECTION_MAIN)
        finite = sp_values_finite(r->form.wire, &r->layout, chunk->first, chunk->count, bulk);
    else
        finite = sp_all_finite((const float *)(const void *)bulk, chunk->count);
    return finite ? SP_OK : SP_E_RANGE;
}

/* --- the update ------------------------------------------------------------------------------------------------------
 */

struct votes {
    unsigned count;
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *bulk[SP_SLOTS_MAX];
};

static uint64_t full_in(const struct sp_round *r, const struct sp_chunk *chunk)
{
    struct sp_layout_part part = {0};
    uint64_t full = 0;

    while (r->layout.full > 0 && sp_layout_next(&r->layout, chunk->first, chunk->count, &part))
        full += sp_tensor_is(part.tensor, SP_TENSOR_FULL) ? part.count : 0;
    return full;
}

/* Without votes there are coins for them too. Returns how many it took back. */
static uint64_t clear_full(const struct sp_round *r, const struct sp_chunk *chunk, uint8_t *bits)
{
    struct sp_layout_part part = {0};
    uint64_t cleared = 0;

    while (r->layout.full > 0 && sp_layout_next(&r->layout, chunk->first, chunk->count, &part)) {
        for (uint64_t j = part.first; sp_tensor_is(part.tensor, SP_TENSOR_FULL) && j < part.first + part.count; j++) {
            uint8_t bit = (uint8_t)(1u << ((j - chunk->first) % 8));

            cleared += (bits[(j - chunk->first) / 8] & bit) != 0;
            bits[(j - chunk->first) / 8] &= (uint8_t)~bit;
        }
    }
    return cleared;
}

static void vote(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes, uint8_t *planes)
{
    uint64_t disagree[SP_SLOTS_MAX] = {0};
    uint64_t full = full_in(r, chunk), cleared;
    struct sp_vote_counts counts = {0};
    uint8_t *bits = r->bits + chunk->first / 8;

    sp_vote(votes->bulk, votes->count, chunk->first, chunk->count, r->round,
            r->has_previous ? r->previous + chunk->first / 8 : NULL, bits, planes, &counts, disagree);
    if (votes->count == 0) {
        cleared = clear_full(r, chunk, bits);
        counts.ties -= full;
        counts.flips -= r->has_previous ? cleared : 0; /* they were zeros before */
    }
    for (unsigned i = 0; i < votes->count; i++) {
        r->slots[votes->slots[i]].view.compared += chunk->count - full;
        r->slots[votes->slots[i]].view.disagreed += disagree[i];
    }
    /* The zeros of tensors in full are no votes: all of them agree. */
    r->counts.coordinates += counts.coordinates - full;
    r->counts.unanimous += counts.unanimous - full;
    r->counts.ties += counts.ties;
    r->counts.flips += counts.flips;
    if (votes->count > 0)
        r->margin += (double)(counts.margin - full * votes->count) / (double)votes->count;
}

/* Whether this round's lengths are asked for: in a margin round by the rates after the switch; in the SGD phase of a
 * hybrid job by the norm rules until they have a rate, or in every round, and by optimizer.sgd.clip. */
static bool needs_norms(const struct sp_round *r)
{
    const struct sp_job *job = &r->job;

    if (r->form.phase == SP_PHASE_MARGIN)
        return true;
    if (job->optimizer.mode != SP_MODE_HYBRID || r->decide.fixed > 0.0)
        return false;
    return !r->lambda_known || job->optimizer.sgd.rate == SP_RATE_TRACKING || job->optimizer.sgd.clip > 0.0;
}

/* Lengths of what is voted on, tensor by tensor, from the numbers before they are coded. */
static void add_norms(struct sp_round *r, const struct sp_chunk *chunk, const float *values)
{
    struct sp_layout_part part = {0};

    while (needs_norms(r) && sp_layout_next(&r->layout, chunk->first, chunk->count, &part)) {
        const float *at = values + (part.first - chunk->first);

        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            continue;
        sp_running_add_squares(&r->now_whole, at, (size_t)part.count);
        sp_running_add_squares(&r->now_tensor, at, (size_t)part.count);
        if (part.first + part.count < part.tensor->first + part.tensor->count)
            continue;
        r->now.tensor[part.index] = sp_running_total(&r->now_tensor);
        memset(&r->now_tensor, 0, sizeof r->now_tensor);
    }
    if (chunk->first + chunk->count == r->layout.coordinates)
        r->now.whole = sp_running_total(&r->now_whole);
}

static void count_margins(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes, uint8_t *planes)
{
    bool good;

    vote(r, chunk, votes, planes);
    good = sp_planes_decode(planes, votes->count, chunk->count, r->mean + chunk->first);
    sp_assert(good);
    add_norms(r, chunk, r->mean + chunk->first);
}

/* Moments go to a place of their own until the round is final: one that begins anew begins from those before it. */
static void adam(struct sp_round *r, const struct sp_chunk *chunk, float *values)
{
    float *m = r->adam_next.m + chunk->first, *v = r->adam_next.v + chunk->first;
    struct sp_adam adam;

    memcpy(m, r->adam.m + chunk->first, chunk->count * sizeof *m);
    memcpy(v, r->adam.v + chunk->first, chunk->count * sizeof *v);
    if (r->gradient != NULL)
        memcpy(r->gradient + chunk->first, values, chunk->count * sizeof *values);
    sp_adam_init(&adam, r->job.optimizer.adam.beta1, r->job.optimizer.adam.beta2, r->job.optimizer.adam.eps, r->round);
    sp_adam_update(&adam, values, chunk->count, m, v, values);
}

void sp_combine_commit(struct sp_round *r)
{
    struct moments swap = r->adam;

    r->adam = r->adam_next;
    r->adam_next = swap;
}

static void aggregate(struct sp_round *r, const float *const *values, unsigned voters, size_t count, float *result)
{
    sp_aggregate_values(r->job.optimizer.sgd.aggregate, r->job.optimizer.sgd.trim, values, voters, count, result);
}

/* Values of the chunk as the voters pushed them: decoded already, or float32. */
static void values_of_votes(const struct sp_round *r, const struct votes *votes, const float *values[SP_SLOTS_MAX])
{
    bool coded = r->form.wire != SP_WIRE_F32;

    for (unsigned i = 0; i < votes->count; i++)
        values[i] = coded ? r->decoded + (size_t)i * SP_CHUNK_SHORT : (const float *)(const void *)votes->bulk[i];
}

static void average_values(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes, uint8_t *coded)
{
    enum sp_wire wire = r->form.wire;
    float *mean = r->mean + chunk->first;
    const float *values[SP_SLOTS_MAX];

    for (unsigned i = 0; wire != SP_WIRE_F32 && i < votes->count; i++)
        sp_values_decode(wire, &r->layout, chunk->first, chunk->count, votes->bulk[i],
                         r->decoded + (size_t)i * SP_CHUNK_SHORT);
    values_of_votes(r, votes, values);
    aggregate(r, values, votes->count, chunk->count, mean);
    if (r->job.optimizer.mode == SP_MODE_ADAM)
        adam(r, chunk, mean);
    add_norms(r, chunk, mean);
    if (wire == SP_WIRE_F32)
        return;
    sp_values_encode(wire, &r->layout, chunk->first, chunk->count, mean,
                     wire == SP_WIRE_I8 ? r->residual + chunk->first : NULL, coded);
    sp_values_decode(wire, &r->layout, chunk->first, chunk->count, coded, mean);
}

static const void *combine_main(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes)
{
    uint8_t *bulk;

    if (r->form.phase == SP_PHASE_SIGN) {
        vote(r, chunk, votes, NULL);
        return r->bits + chunk->first / 8;
    }
    if (r->form.phase == SP_PHASE_MARGIN) {
        bulk = r->planes + (size_t)r->tally.base * margin_stride(r);
        count_margins(r, chunk, votes, bulk);
        return bulk;
    }
    bulk = r->form.wire != SP_WIRE_F32 ? r->coded + (size_t)r->tally.base * SP_BULK_BYTES_MAX : NULL;
    average_values(r, chunk, votes, bulk);
    return bulk != NULL ? (const void *)bulk : r->mean + chunk->first;
}

static void sample_votes(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes)
{
    bool sgd = r->form.phase == SP_PHASE_SGD;
    const float *values[SP_SLOTS_MAX];

    if (sgd)
        values_of_votes(r, votes, values);
    sp_quarantine_sample(r, chunk, votes->count, votes->slots, votes->bulk, sgd ? values : NULL);
}

/* Values of tensors in full, or buffers. Buffers that nobody gives stay as they are. */
static const void *combine_section(struct sp_round *r, const struct sp_chunk *chunk, const struct votes *votes)
{
    float *to = (chunk->section == SP_SECTION_FULL ? r->full : r->averages) + chunk->first;

    if (chunk->section == SP_SECTION_BUFFERS && votes->count == 0)
        memcpy(to, r->buffers + chunk->first, chunk->bytes);
    else
        aggregate(r, (const float *const *)(const void *)votes->bulk, votes->count, chunk->count, to);
    return to;
}

void sp_combine_chunk(struct sp_round *r)
{
    struct sp_chunk chunk = sp_tally_chunk(&r->tally, r->tally.base);
    struct sp_action *action;
    struct votes votes;
    const void *bulk;

    sp_round_settle(r); /* it needs what this chunk is going to overwrite */
    votes.count = sp_tally_votes(&r->tally, votes.slots, votes.bulk);
    bulk = chunk.section == SP_SECTION_MAIN ? combine_main(r, &chunk, &votes) : combine_section(r, &chunk, &votes);
    if (sp_quarantine_due(r, &chunk))
        sample_votes(r, &chunk, &votes);
    action = sp_round_act(r, SP_ACTION_UPDATE, 0);
    action->round = r->round;
    action->update.first = chunk.first;
    action->update.count = chunk.count;
    action->update.bytes = sp_chunk_update_bytes(&r->form, &chunk, votes.count);
    action->update.bulk = bulk;
    action->update.flags = chunk.flags;
    if (r->gradient != NULL && chunk.section == SP_SECTION_MAIN)
        action->update.gradient = r->gradient + chunk.first;
    action->update.voters = r->form.phase == SP_PHASE_MARGIN && chunk.section == SP_SECTION_MAIN ? votes.count : 0;
}

/* --- replay ----------------------------------------------------------------------------------------------------------
 */

static int refuse(const struct sp_entry *entry, const char *why, struct sp_error *error)
{
    return sp_error_set(error, SP_E_CORRUPT, "an entry of round %u, %u coordinates from %llu in %u bytes, %s",
                        entry->round, entry->count, (unsigned long long)entry->first, entry->bytes, why);
}

static int replay_gradient(struct sp_round *r, const struct sp_chunk *chunk, const struct sp_entry *entry,
                           const void *body, struct sp_error *error)
{
    if (r->job.optimizer.mode != SP_MODE_ADAM || entry->first != chunk->first || entry->count != chunk->count ||
        entry->bytes != chunk->count * sizeof(float) || chunk->section != SP_SECTION_MAIN)
        return refuse(entry, "is no gradient of the next chunk", error);
    memcpy(r->mean + chunk->first, body, entry->bytes);
    adam(r, chunk, r->mean + chunk->first);
    return SP_OK;
}

static int replay_main(struct sp_round *r, const struct sp_chunk *chunk, const struct sp_entry *entry, const void *body,
                       struct sp_error *error)
{
    float *values;

    if (r->form.phase == SP_PHASE_SIGN) {
        memcpy(r->bits + chunk->first / 8, body, entry->bytes);
        return SP_OK;
    }
    sp_assert(r->mean != NULL); /* the state before said that this phase comes */
    values = r->mean + chunk->first;
    if (r->form.phase == SP_PHASE_MARGIN) {
        if (!sp_planes_decode(body, entry->voters, chunk->count, values))
            return refuse(entry, "counts more votes than there were", error);
    } else if (r->form.wire == SP_WIRE_F32) {
        memcpy(values, body, entry->bytes);
    } else {
        sp_values_decode(r->form.wire, &r->layout, chunk->first, chunk->count, body, values);
    }
    return SP_OK;
}

int sp_combine_replay(struct sp_round *r, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    struct sp_chunk chunk;
    int rc = SP_OK;

    if (r->tally.base == r->tally.chunks || entry->voters > r->job.workers)
        return refuse(entry, "is one too many", error);
    chunk = sp_tally_chunk(&r->tally, r->tally.base);
    if (entry->type == SP_ENTRY_GRADIENT)
        return replay_gradient(r, &chunk, entry, body, error);
    if (entry->first != chunk.first || entry->count != chunk.count || entry->flags != chunk.flags ||
        entry->bytes != sp_chunk_update_bytes(&r->form, &chunk, entry->voters))
        return refuse(entry, "is not the next chunk", error);
    if (chunk.section == SP_SECTION_MAIN)
        rc = replay_main(r, &chunk, entry, body, error);
    else
        memcpy((chunk.section == SP_SECTION_FULL ? r->full : r->averages) + chunk.first, body, entry->bytes);
    r->tally.base += rc == SP_OK;
    return rc;
}
