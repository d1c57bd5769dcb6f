/* From UPDATE and COMMIT frames to new weights: what arrives is staged, and applied when its round is final. */
#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"
#include "common/weights.h"
#include "worker/client/learner.h"

#include <stdlib.h>
#include <string.h>

/* Whether the chunk's bulk has to be decoded once it is there. */
static bool is_coded(const struct sp_learner *learner, enum sp_section section)
{
    if (section != SP_SECTION_MAIN)
        return false;
    return learner->phase == SP_PHASE_MARGIN || (learner->phase == SP_PHASE_SGD && learner->wire != SP_WIRE_F32);
}

static bool fits(const struct sp_learner *learner, const struct sp_message *message, struct sp_chunk *chunk)
{
    struct sp_round_form form = sp_learner_form(learner);

    if (learner->staged_chunks == sp_chunks_count(&learner->layout, &form))
        return false;
    *chunk = sp_chunk_at(&learner->layout, &form, learner->staged_chunks);
    return sp_chunk_is(chunk, sp_chunk_update_bytes(&form, chunk, message->voters), &message->frame);
}

void *sp_learner_place(struct sp_learner *learner, const struct sp_message *message, struct sp_error *error)
{
    const struct sp_frame *frame = &message->frame;
    struct sp_chunk chunk;

    if (frame->round != learner->round + 1) {
        (void)sp_error_set(error, SP_E_PROTOCOL, "UPDATE of round %u while the weights are those after round %u",
                           frame->round, learner->round);
        return NULL;
    }
    if (frame->first == 0 && (frame->flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) == 0)
        learner->staged = learner->staged_chunks = 0; /* the server collects this round anew */
    if (!fits(learner, message, &chunk)) {
        (void)sp_error_set(error, SP_E_PROTOCOL, "UPDATE with %u coordinates from %llu in %u bytes does not fit",
                           frame->count, (unsigned long long)frame->first, frame->bulk_bytes);
        return NULL;
    }
    learner->staged_chunks++;
    if (chunk.section == SP_SECTION_FULL)
        return learner->full + chunk.first;
    if (chunk.section == SP_SECTION_BUFFERS)
        return learner->averages + chunk.first;
    learner->staged += chunk.count;
    if (is_coded(learner, chunk.section))
        return learner->coded;
    if (learner->phase == SP_PHASE_SIGN)
        return learner->bits + chunk.first / 8;
    return learner->values + chunk.first;
}

int sp_learner_staged(struct sp_learner *learner, const struct sp_message *message, struct sp_error *error)
{
    const struct sp_frame *frame = &message->frame;
    float *values;

    if ((frame->flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) != 0 || !is_coded(learner, SP_SECTION_MAIN))
        return SP_OK;
    values = learner->values + frame->first;
    if (learner->phase == SP_PHASE_SGD) {
        sp_values_decode(learner->wire, &learner->layout, frame->first, frame->count, learner->coded, values);
        return SP_OK;
    }
    if (sp_planes_decode(learner->coded, message->voters, frame->count, values))
        return SP_OK;
    return sp_error_set(error, SP_E_PROTOCOL, "UPDATE of round %u counts more than its %u votes", frame->round,
                        message->voters);
}

static void add_dot(const struct sp_learner *learner, struct sp_running_sum *sum, uint64_t first, uint64_t count,
                    const float *gradient)
{
    if (learner->phase == SP_PHASE_SIGN)
        sp_running_add_dot(sum, learner->bits, first, gradient, (size_t)count);
    else if (learner->phase == SP_PHASE_MARGIN)
        sp_running_add_products(sum, learner->values + first, gradient, (size_t)count);
    else
        sp_running_add_sign_products(sum, learner->values + first, gradient, (size_t)count);
}

static void add_range_dot(const struct sp_learner *learner, struct sp_running_sum *sum,
                          const struct sp_learner_range *range)
{
    struct sp_layout_part part = {0};

    if (learner->layout.full == 0) {
        add_dot(learner, sum, range->first, range->count, range->values);
        return;
    }
    while (sp_layout_next(&learner->layout, range->first, range->count, &part)) {
        if (!sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            add_dot(learner, sum, part.first, part.count, range->values + (part.first - range->first));
    }
}

/* <s_t, g_t> once s_t is final: it rides in the first push of the next round. */
static void take_dot(struct sp_learner *learner)
{
    struct sp_running_sum sum = {0};

    learner->has_dot = false;
    if (learner->exchange_only || !learner->begun || learner->abstained || !sp_learner_gives_statistics(learner) ||
        learner->given != learner->layout.coordinates)
        return;
    for (uint32_t i = 0; i < learner->ranges_count; i++)
        add_range_dot(learner, &sum, &learner->ranges[i]);
    learner->dot = sp_running_total(&sum);
    learner->has_dot = true;
}

static int check_digest(const struct sp_learner *learner, const struct sp_commit *commit, struct sp_error *error)
{
    uint64_t own;

    if (!commit->has_digest)
        return SP_OK;
    own = sp_weights_digest(learner->theta, learner->layout.coordinates);
    if (own == commit->digest)
        return SP_OK;
    return sp_error_set(error, SP_E_MISMATCH, "weights after round %u have digest %016llx, the server's have %016llx",
                        learner->round, (unsigned long long)own, (unsigned long long)commit->digest);
}

static void apply(struct sp_learner *learner, const struct sp_commit *commit)
{
    struct sp_step step = {.decay = commit->decay,
                           .rate = commit->rate,
                           .rates = commit->rates,
                           .decays = commit->decays,
                           .full = learner->full};

    if (learner->exchange_only)
        return;
    if (learner->phase == SP_PHASE_SIGN)
        sp_weights_apply_signs(&learner->layout, &step, learner->bits, learner->theta, NULL);
    else
        sp_weights_apply_values(&learner->layout, &step, learner->values, learner->theta, NULL);
    if (learner->buffers_due && learner->buffers != NULL)
        memcpy(learner->buffers, learner->averages, (size_t)learner->layout.buffers * sizeof(float));
}

static void keep_rms(struct sp_learner *learner)
{
    if (learner->begun && !learner->abstained && learner->given == learner->layout.coordinates)
        sp_learner_keep_rms(learner);
}

static int check_commit(const struct sp_learner *learner, uint32_t round, const struct sp_commit *commit,
                        struct sp_error *error)
{
    struct sp_round_form form = sp_learner_form(learner);

    if (round != learner->round + 1)
        return sp_error_set(error, SP_E_PROTOCOL, "COMMIT of round %u while the weights are those after round %u",
                            round, learner->round);
    if ((commit->rates_count != 0 && commit->rates_count != learner->layout.trained) ||
        (commit->decays_count != 0 && commit->decays_count != learner->layout.trained))
        return sp_error_set(error, SP_E_PROTOCOL, "COMMIT with %u rates for %u tensors", commit->rates_count,
                            learner->layout.trained);
    if (learner->staged_chunks != sp_chunks_count(&learner->layout, &form))
        return sp_error_set(error, SP_E_PROTOCOL, "COMMIT of round %u after %llu of %llu coordinates", round,
                            (unsigned long long)learner->staged, (unsigned long long)learner->layout.coordinates);
    return check_digest(learner, commit, error);
}

/* Memory that the phases after the first need is taken when the first of their rounds is announced. */
static float *need(float **array, uint64_t count)
{
    if (*array == NULL)
        *array = calloc((size_t)count, sizeof **array);
    return *array;
}

static int prepare_next(struct sp_learner *learner, const struct sp_commit *commit, struct sp_error *error)
{
    uint64_t d = learner->layout.coordinates;

    if ((commit->next_phase != SP_PHASE_SIGN && need(&learner->values, d) == NULL) ||
        (commit->next_phase == SP_PHASE_SGD && commit->next_wire == SP_WIRE_I8 && need(&learner->residual, d) == NULL))
        return sp_error_set(error, SP_E_NOMEM, "no memory for the values of %llu coordinates", (unsigned long long)d);
    learner->phase = (enum sp_phase)commit->next_phase;
    learner->wire = (enum sp_wire)commit->next_wire;
    learner->buffers_due = commit->next_buffers;
    learner->sigma = commit->next_sigma;
    return SP_OK;
}

int sp_learner_commit(struct sp_learner *learner, uint32_t round, const struct sp_commit *commit,
                      struct sp_error *error)
{
    int rc;

    if (round != learner->round) {
        rc = check_commit(learner, round, commit, error);
        if (rc != SP_OK)
            return rc;
        take_dot(learner);
        apply(learner, commit);
        keep_rms(learner);
        learner->round = round;
    }
    /* A COMMIT of the round that the weights are from begins the next one anew: nothing of before may count in it. */
    learner->begun = false;
    learner->staged = 0;
    learner->staged_chunks = 0;
    return prepare_next(learner, commit, error);
}
