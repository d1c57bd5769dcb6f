#include "learning.h"

#include "common/pack.h"
#include "common/planes.h"
#include "common/sums.h"

#include <math.h>
#include <stdio.h>

/* --- the learner ----------------------------------------------------------------------------------------------------
 */

static void add_tensors(struct learning *p, const struct learning_tensor *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {tensors[i].count}};

        tensor.flags = tensors[i].traits & (SP_TENSOR_DECAY | SP_TENSOR_BUFFER);
        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        ck_assert_int_eq(sp_layout_add(&p->layout, &tensor, NULL), SP_OK);
    }
}

void learning_set_up(struct learning *p, const struct sp_learner_setup *setup)
{
    uint8_t traits[UINT8_MAX];

    p->setup = *setup;
    unit_assert(p->layout.trained <= sizeof traits, "too many tensors");
    for (uint32_t i = 0; i < p->layout.trained; i++)
        traits[i] = (uint8_t)p->layout.tensors[i].traits;
    p->setup.traits = traits;
    ck_assert_int_eq(sp_learner_set_up(&p->learner, &p->setup), SP_OK);
    p->setup.traits = NULL;
}

void learning_open(struct learning *p, const struct learning_tensor *tensors, uint32_t count,
                   const struct sp_learner_setup *setup)
{
    static const struct sp_learner_setup plain = {
        .seed = LEARNING_SEED, .slot = LEARNING_SLOT, .beta1 = LEARNING_BETA1, .momentum_after = true};
    uint8_t traits[UINT8_MAX];
    size_t d;

    memset(p, 0, sizeof *p);
    add_tensors(p, tensors, count);
    d = (size_t)p->layout.coordinates;
    for (uint32_t i = 0; i < p->layout.trained; i++)
        traits[i] = (uint8_t)tensors[i].traits;
    ck_assert_int_eq(sp_learner_create(&p->learner, &p->layout), SP_OK);
    sp_layout_set_traits(&p->layout, traits);
    learning_set_up(p, setup != NULL ? setup : &plain);
    for (size_t j = 0; j < d; j++)
        p->learner.theta[j] = (float)(j % 13) * 0.25f - 1.5f;
    sp_learner_replaced(&p->learner, 0);
    p->gradient = unit_alloc(d * sizeof *p->gradient);
    p->update = unit_alloc(d * sizeof *p->update);
    learning_fill(p, 1);
}

static void drop_pushes(struct learning *p)
{
    for (unsigned i = 0; i < p->pushes; i++)
        free(p->push[i].bulk);
    p->pushes = 0;
}

void learning_close(struct learning *p)
{
    drop_pushes(p);
    sp_learner_finish(&p->learner);
    sp_layout_finish(&p->layout);
    free(p->gradient);
    free(p->update);
}

static struct sp_commit commit_for(const struct learning_next *next)
{
    return (struct sp_commit){.rate = 0.125f,
                              .decay = 1.0f,
                              .voters = {1u << LEARNING_SLOT},
                              .next_phase = next->phase,
                              .next_wire = next->wire,
                              .next_sigma = next->sigma,
                              .next_buffers = next->buffers};
}

void learning_announce(struct learning *p, const struct learning_next *next)
{
    struct sp_commit commit = commit_for(next);

    ck_assert_int_eq(sp_learner_commit(&p->learner, p->learner.round, &commit, &p->error), SP_OK);
}

int learning_commit(struct learning *p, const struct learning_next *next)
{
    struct sp_commit commit = commit_for(next);

    return sp_learner_commit(&p->learner, p->learner.round + 1, &commit, &p->error);
}

/* --- the gradient, and what is pushed -------------------------------------------------------------------------------
 */

void learning_fill(struct learning *p, uint32_t t)
{
    struct sp_rng rng = unit_rng(1000 + t);

    for (uint64_t j = 0; j < p->layout.coordinates; j++)
        p->gradient[j] = unit_uniform(&rng) * (j % 7 == 0 ? 16.0f : 0.0625f);
}

void learning_give_range(struct learning *p, uint64_t first, uint64_t end)
{
    ck_assert_int_eq(sp_learner_gradient(&p->learner, first, end - first, p->gradient + first), SP_OK);
}

void learning_give(struct learning *p)
{
    drop_pushes(p);
    sp_learner_begin(&p->learner);
    learning_give_range(p, 0, p->layout.coordinates);
}

void learning_pull(struct learning *p, const struct sp_push *scalars)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    uint8_t bulk[SP_BULK_BYTES_MAX];
    struct sp_message message;
    size_t bytes;

    if (!p->learner.begun || p->learner.next_chunk == 0)
        drop_pushes(p);
    while (sp_learner_next_push(&p->learner, scalars, &message, bulk, &bytes)) {
        struct learning_push *push = &p->push[p->pushes];
        struct sp_chunk chunk = sp_chunk_at(&p->layout, &form, p->pushes);

        message.frame.bulk_bytes = (uint32_t)bytes;
        unit_assert(p->pushes < LEARNING_PUSHES_MAX, "no room");
        unit_assert(sp_chunk_is(&chunk, chunk.bytes, &message.frame), "push %u is not that chunk", p->pushes);
        unit_assert(message.frame.type == SP_FRAME_PUSH && message.frame.round == p->learner.round + 1, "its frame");
        unit_assert(!message.push.has_dot || p->pushes == 0, "a dot in push %u", p->pushes);
        unit_assert(!message.push.has_scalars || (chunk.flags & SP_FRAME_LAST) != 0, "scalars in push %u", p->pushes);
        *push = (struct learning_push){.message = message, .bytes = bytes, .bulk = unit_alloc(bytes)};
        memcpy(push->bulk, bulk, bytes);
        p->pushes++;
    }
}

void learning_pull_all(struct learning *p)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    struct sp_push scalars = {0};

    sp_learner_scalars(&p->learner, 1.5, 16, &scalars);
    learning_pull(p, &scalars);
    ck_assert_uint_eq(p->pushes, sp_chunks_count(&p->layout, &form));
}

/* Coordinates at which the gradient is cut: 0, random ones, some next to each other, and the end, in order. */
static unsigned make_cuts(struct sp_rng *rng, uint64_t d, uint64_t *cuts, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cuts[i] = i % 3 == 2 ? cuts[i - 1] : unit_next64(rng) % (d + 1);
    cuts[0] = 0;
    cuts[count - 1] = d;
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = i; k > 0 && cuts[k] < cuts[k - 1]; k--) {
            uint64_t cut = cuts[k];

            cuts[k] = cuts[k - 1];
            cuts[k - 1] = cut;
        }
    return count - 1;
}

static void shuffle(struct sp_rng *rng, unsigned *order, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned k = sp_rng_below(rng, i + 1);

        order[i] = order[k];
        order[k] = i;
    }
}

void learning_give_in_order(struct learning *p, uint32_t how)
{
    struct sp_rng rng = unit_rng(1000 * (uint64_t)how + p->learner.round);
    uint64_t cuts[40];
    unsigned order[40], pieces;

    if (how == 0) {
        learning_give(p);
        return;
    }
    drop_pushes(p);
    sp_learner_begin(&p->learner);
    for (uint32_t i = p->layout.trained; i-- > 0 && how == 1; learning_pull(p, NULL))
        learning_give_range(p, p->layout.tensors[i].first, p->layout.tensors[i].first + p->layout.tensors[i].count);
    if (how == 1)
        return;
    pieces = make_cuts(&rng, p->layout.coordinates, cuts, 2 + sp_rng_below(&rng, 39));
    shuffle(&rng, order, pieces);
    for (unsigned i = 0; i < pieces; i++) {
        learning_give_range(p, cuts[order[i]], cuts[order[i] + 1]);
        learning_pull(p, NULL);
    }
}

uint8_t *learning_pushed(const struct learning *p, unsigned flags, size_t *bytes)
{
    uint8_t *all = unit_alloc((size_t)LEARNING_PUSHES_MAX * SP_BULK_BYTES_MAX);

    *bytes = 0;
    for (unsigned i = 0; i < p->pushes; i++) {
        const struct learning_push *push = &p->push[i];

        if ((push->message.frame.flags & ~(unsigned)SP_FRAME_LAST) != flags)
            continue;
        memcpy(all + *bytes, push->bulk, push->bytes);
        *bytes += push->bytes;
    }
    return all;
}

struct sp_push learning_scalars(const struct learning *p)
{
    struct sp_push push = p->push[p->pushes - 1].message.push;

    push.has_dot = p->push[0].message.push.has_dot;
    push.dot = p->push[0].message.push.dot;
    return push;
}

/* --- the update -----------------------------------------------------------------------------------------------------
 */

static unsigned count_for(float margin, unsigned voters)
{
    float count = roundf((margin + 1.0f) * 0.5f * (float)voters);

    return count < 0.0f ? 0 : count > (float)voters ? voters : (unsigned)count;
}

static void make_planes(const float *values, uint32_t count, unsigned voters, uint8_t *bulk)
{
    size_t plane = (count + 7u) / 8u;

    memset(bulk, 0, sp_planes_bytes(voters, count));
    for (uint32_t j = 0; j < count; j++) {
        unsigned c = count_for(values[j], voters);

        for (unsigned bit = 0; c >> bit != 0; bit++)
            bulk[bit * plane + j / 8] |= (uint8_t)(((c >> bit) & 1u) << (j % 8));
    }
}

static void make_main(const struct learning *p, const struct learning_update *update, const struct sp_chunk *chunk,
                      uint8_t *bulk)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    float *zeros = update->values == NULL ? calloc(chunk->count, sizeof *zeros) : NULL;
    const float *values = update->values != NULL ? update->values + chunk->first : zeros;

    if (form.phase == SP_PHASE_SIGN)
        sp_pack_signs(values, chunk->first, chunk->count, p->learner.round + 1, bulk);
    else if (form.phase == SP_PHASE_MARGIN)
        make_planes(values, chunk->count, update->voters, bulk);
    else
        sp_values_encode(form.wire, &p->layout, chunk->first, chunk->count, values, NULL, bulk);
    free(zeros);
}

void learning_make_chunk(const struct learning *p, const struct learning_update *update, uint32_t k,
                         struct sp_message *message, uint8_t *bulk)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    struct sp_chunk chunk = sp_chunk_at(&p->layout, &form, k);
    const float *values = chunk.section == SP_SECTION_FULL ? update->full : update->averages;

    memset(message, 0, sizeof *message);
    message->frame.type = SP_FRAME_UPDATE;
    message->frame.round = p->learner.round + 1;
    message->frame.first = chunk.first;
    message->frame.count = chunk.count;
    message->frame.flags = chunk.flags;
    message->frame.bulk_bytes = (uint32_t)sp_chunk_update_bytes(&form, &chunk, update->voters);
    message->voters = update->voters;
    if (chunk.section == SP_SECTION_MAIN)
        make_main(p, update, &chunk, bulk);
    else if (values != NULL)
        memcpy(bulk, values + chunk.first, chunk.bytes);
    else
        memset(bulk, 0, chunk.bytes);
}

int learning_stage_chunk(struct learning *p, const struct sp_message *message, const uint8_t *bulk)
{
    void *to = sp_learner_place(&p->learner, message, &p->error);

    if (to == NULL)
        return p->error.code;
    memcpy(to, bulk, message->frame.bulk_bytes);
    return sp_learner_staged(&p->learner, message, &p->error);
}

/* Of one coordinate: what its sign, its count or its coded value means. */
static void note_meaning(struct learning *p, const struct learning_update *update, const struct sp_chunk *chunk,
                         const uint8_t *bulk)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    float *to = p->update + chunk->first;

    if (form.phase == SP_PHASE_SGD)
        sp_values_decode(form.wire, &p->layout, chunk->first, chunk->count, bulk, to);
    for (uint32_t j = 0; j < chunk->count && form.phase == SP_PHASE_SIGN; j++)
        to[j] = (bulk[j / 8] >> (j % 8)) & 1u ? 1.0f : -1.0f;
    for (uint32_t j = 0; j < chunk->count && form.phase == SP_PHASE_MARGIN; j++) {
        float value = update->values != NULL ? update->values[chunk->first + j] : 0.0f;
        int margin = 2 * (int)count_for(value, update->voters) - (int)update->voters;

        to[j] = update->voters > 0 ? (float)margin / (float)update->voters : 0.0f;
    }
    for (uint32_t j = 0; j < chunk->count; j++)
        if (sp_tensor_is(&p->layout.tensors[sp_layout_find(&p->layout, chunk->first + j)], SP_TENSOR_FULL))
            to[j] = 0.0f;
}

void learning_stage(struct learning *p, const struct learning_update *update)
{
    struct sp_round_form form = sp_learner_form(&p->learner);
    uint8_t bulk[SP_BULK_BYTES_MAX];

    for (uint32_t k = 0; k < sp_chunks_count(&p->layout, &form); k++) {
        struct sp_chunk chunk = sp_chunk_at(&p->layout, &form, k);
        struct sp_message message;

        learning_make_chunk(p, update, k, &message, bulk);
        unit_assert(learning_stage_chunk(p, &message, bulk) == SP_OK, "chunk %u: %s", k, p->error.text);
        if (chunk.section == SP_SECTION_MAIN)
            note_meaning(p, update, &chunk, bulk);
    }
}

void learning_round(struct learning *p, uint32_t t, const struct learning_next *next)
{
    const struct learning_update update = {.values = p->gradient, .full = p->gradient, .voters = 3};

    learning_fill(p, t);
    learning_give(p);
    learning_pull_all(p);
    learning_stage(p, &update);
    ck_assert_int_eq(learning_commit(p, next), SP_OK);
    ck_assert_uint_eq(p->learner.round, t);
}
