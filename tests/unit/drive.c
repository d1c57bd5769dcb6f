#include "drive.h"

#include "common/pack.h"
#include "common/planes.h"
#include "common/rules.h"
#include "common/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- making and ending ---------------------------------------------------------------------------------------------
 */

static void set(struct sp_job *job, const char *setting)
{
    char path[128];
    const char *equals = strchr(setting, '=');
    struct sp_error error = {0};

    ck_assert_ptr_nonnull(equals);
    (void)snprintf(path, sizeof path, "%.*s", (int)(equals - setting), setting);
    ck_assert_msg(sp_job_set(job, path, equals + 1, &error) == SP_OK, "%s: %s", setting, error.text);
}

static const char *const usual[] = {"job=drive",
                                    "workers=1",
                                    "train.rounds=10",
                                    "train.report=1000000",
                                    "optimizer.sign.lr=0.0625",
                                    "optimizer.sign.schedule=constant",
                                    "optimizer.dither.sigma0=0",
                                    "optimizer.switch.when=never",
                                    "optimizer.sgd.wire=f32",
                                    NULL};

static float *floats(uint64_t count)
{
    float *values = calloc((size_t)count + 1, sizeof *values);

    ck_assert_ptr_nonnull(values);
    return values;
}

static void make_model(struct drive *d, const struct drive_tensor *tensors)
{
    for (unsigned i = 0; tensors[i].count != 0; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {tensors[i].count}, .flags = tensors[i].flags};

        (void)snprintf(tensor.name, sizeof tensor.name, "%s", tensors[i].name);
        ck_assert_int_eq(sp_layout_add(&d->layout, &tensor, NULL), SP_OK);
    }
    d->traits = calloc(d->layout.trained, 1);
    ck_assert_ptr_nonnull(d->traits);
    (void)sp_job_traits(&d->job, &d->layout, d->traits);
    sp_layout_set_traits(&d->layout, d->traits);
    d->theta = floats(d->layout.coordinates);
    d->values = floats(d->layout.coordinates);
    d->full = floats(d->layout.full);
    d->buffers = floats(d->layout.buffers);
    d->averages = floats(d->layout.buffers);
    d->bits = calloc(sp_bits_bytes(d->layout.coordinates), 1);
    ck_assert_ptr_nonnull(d->bits);
}

void drive_open_model(struct drive *d, const char *const *settings, const struct drive_tensor *tensors)
{
    memset(d, 0, sizeof *d);
    sp_job_init(&d->job);
    for (const char *const *s = usual; *s != NULL; s++)
        set(&d->job, *s);
    for (; *settings != NULL; settings++)
        set(&d->job, *settings);
    make_model(d, tensors);
    d->examples = 160;
    d->data_digest = 0xda7a;
    d->now_ms = 1000;
    ck_assert_int_eq(sp_round_create(&d->round, &d->job), SP_OK);
}

void drive_open(struct drive *d, const char *const *settings, const uint64_t *tensors)
{
    static char names[SP_TENSORS_MAX][8];
    static struct drive_tensor model[SP_TENSORS_MAX + 1];
    unsigned i;

    for (i = 0; tensors[i] != 0; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%u", i);
        model[i] =
            (struct drive_tensor){.name = names[i], .count = tensors[i], .flags = i % 2 == 0 ? SP_TENSOR_DECAY : 0};
    }
    model[i].count = 0;
    drive_open_model(d, settings, model);
}

void drive_clear(struct drive *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->log[i].bulk);
        free(d->log[i].rates);
        free(d->log[i].decays);
    }
    d->count = 0;
}

void drive_close(struct drive *d)
{
    drive_clear(d);
    free(d->log);
    free(d->traits);
    free(d->theta);
    free(d->values);
    free(d->full);
    free(d->buffers);
    free(d->averages);
    free(d->bits);
    sp_layout_finish(&d->layout);
    sp_round_destroy(d->round);
}

/* --- the twin ------------------------------------------------------------------------------------------------------
 */

static void stage_main(struct drive *d, const struct sp_action *action)
{
    float *values = d->values + action->update.first;
    const uint8_t *bulk = action->update.bulk;
    uint32_t count = action->update.count;

    if (d->form.phase == SP_PHASE_SIGN)
        memcpy(d->bits + action->update.first / 8, bulk, action->update.bytes);
    else if (d->form.phase == SP_PHASE_MARGIN)
        ck_assert(sp_planes_decode(bulk, action->update.voters, count, values));
    else
        sp_values_decode(d->form.wire, &d->layout, action->update.first, count, bulk, values);
}

static void stage(struct drive *d, const struct sp_action *action)
{
    bool main = (action->update.flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) == 0;
    struct sp_chunk chunk;

    ck_assert_uint_eq(action->round, d->committed + 1);
    if (main && action->update.first == 0)
        d->staged = 0; /* the round is collected anew */
    ck_assert_uint_lt(d->staged, drive_chunks(d));
    chunk = sp_chunk_at(&d->layout, &d->form, d->staged++);
    ck_assert_uint_eq(action->update.first, chunk.first);
    ck_assert_uint_eq(action->update.count, chunk.count);
    ck_assert_uint_eq(action->update.flags, chunk.flags);
    ck_assert_uint_eq(action->update.bytes, sp_chunk_update_bytes(&d->form, &chunk, action->update.voters));
    ck_assert(action->update.voters == 0 || (main && d->form.phase == SP_PHASE_MARGIN));
    if (main)
        stage_main(d, action);
    else
        memcpy((chunk.section == SP_SECTION_FULL ? d->full : d->averages) + chunk.first, action->update.bulk,
               action->update.bytes);
}

static void apply(struct drive *d, const struct sp_action *action)
{
    const struct sp_commit *c = &action->commit;
    struct sp_step step = {.rate = c->rate, .decay = c->decay, .rates = c->rates, .decays = c->decays, .full = d->full};

    if (action->round > 0) {
        ck_assert_uint_eq(action->round, d->committed + 1);
        ck_assert_uint_eq(d->staged, drive_chunks(d));
        if (c->has_digest)
            ck_assert_uint_eq(c->digest, sp_weights_digest(d->theta, d->layout.coordinates));
        if (d->form.phase == SP_PHASE_SIGN)
            sp_weights_apply_signs(&d->layout, &step, d->bits, d->theta, NULL);
        else
            sp_weights_apply_values(&d->layout, &step, d->values, d->theta, NULL);
        if (d->form.buffers)
            memcpy(d->buffers, d->averages, d->layout.buffers * sizeof(float));
    }
    d->committed = action->round;
    d->form = (struct sp_round_form){
        .phase = (enum sp_phase)c->next_phase, .wire = (enum sp_wire)c->next_wire, .buffers = c->next_buffers};
    d->staged = 0;
}

/* The initial weights are there: the twin starts from them. */
static void adopt_weights(struct drive *d)
{
    struct sp_view view;

    sp_round_view(d->round, &view);
    ck_assert_ptr_nonnull(view.theta);
    ck_assert(!d->has_weights);
    memcpy(d->theta, view.theta, d->layout.coordinates * sizeof(float));
    if (d->layout.buffers > 0)
        memcpy(d->buffers, view.buffers, d->layout.buffers * sizeof(float));
    d->has_weights = true;
}

static void compare(const struct drive *d, const struct sp_view *view)
{
    ck_assert_mem_eq(view->theta, d->theta, d->layout.coordinates * sizeof(float));
    ck_assert_int_eq(view->buffers != NULL, d->layout.buffers > 0);
    if (d->layout.buffers > 0)
        ck_assert_mem_eq(view->buffers, d->buffers, d->layout.buffers * sizeof(float));
}

/* The daemon encodes the weights when it takes the action: they must be those of the round that the action names. */
static void check_weights(struct drive *d, const struct sp_action *action)
{
    struct sp_view view;

    sp_round_view(d->round, &view);
    ck_assert_ptr_nonnull(view.theta);
    ck_assert_uint_eq(action->round, d->committed);
    compare(d, &view);
}

static void *copy(const void *from, size_t bytes)
{
    void *to = from != NULL ? malloc(bytes) : NULL;

    if (from == NULL)
        return NULL;
    ck_assert_ptr_nonnull(to);
    return memcpy(to, from, bytes);
}

static void keep(struct drive *d, const struct sp_action *action)
{
    struct drive_entry *entry;

    if (d->count == d->room) {
        d->room = d->room == 0 ? 64 : d->room * 2;
        d->log = realloc(d->log, d->room * sizeof *d->log);
        ck_assert_ptr_nonnull(d->log);
    }
    entry = &d->log[d->count++];
    memset(entry, 0, sizeof *entry);
    entry->action = *action;
    if (action->type == SP_ACTION_UPDATE)
        entry->bulk = copy(action->update.bulk, action->update.bytes);
    if (action->type == SP_ACTION_EVENT) {
        /* Each decision has its line, right before. */
        ck_assert(d->count > 1 && entry[-1].action.type == SP_ACTION_NOTE);
        entry->rates = copy(action->event.rates, d->layout.trained * sizeof(float));
    }
    if (action->type != SP_ACTION_COMMIT)
        return;
    entry->rates = copy(action->commit.rates, action->commit.rates_count * sizeof(float));
    entry->decays = copy(action->commit.decays, action->commit.decays_count * sizeof(float));
}

void drive_absorb(struct drive *d)
{
    struct sp_action action;
    struct sp_view view;

    while (sp_round_next(d->round, &action)) {
        keep(d, &action);
        if (action.type == SP_ACTION_UPDATE)
            stage(d, &action);
        else if (action.type == SP_ACTION_COMMIT)
            apply(d, &action);
        else if (action.type == SP_ACTION_WEIGHTS && d->weights_from_a_file && !d->has_weights)
            adopt_weights(d);
        else if (action.type == SP_ACTION_WEIGHTS)
            check_weights(d, &action);
        else if (action.type == SP_ACTION_FOLLOW)
            adopt_weights(d);
    }
    sp_round_view(d->round, &view);
    ck_assert_uint_eq(view.round, d->committed);
    ck_assert_int_eq(view.theta != NULL, d->has_weights);
    if (d->has_weights)
        compare(d, &view);
}

/* --- joining -------------------------------------------------------------------------------------------------------
 */

void drive_ticket(uint32_t peer, uint8_t ticket[SP_TICKET_BYTES])
{
    memset(ticket, 0xa5, SP_TICKET_BYTES);
    memcpy(ticket, &peer, sizeof peer);
}

void drive_hello_of(const struct drive *d, int wanted, struct sp_hello *hello)
{
    memset(hello, 0, sizeof *hello);
    (void)strcpy(hello->job, d->job.job);
    (void)strcpy(hello->program, "drive");
    hello->layout = d->layout;
    hello->layout_digest = sp_layout_digest(&d->layout);
    hello->examples = d->examples;
    hello->test_examples = d->test_examples;
    hello->data_digest = d->data_digest;
    hello->wanted_slot = wanted;
}

uint32_t drive_hello_with(struct drive *d, const struct sp_hello *hello)
{
    uint32_t peer = ++d->peers;
    uint8_t ticket[SP_TICKET_BYTES];
    char name[16];

    (void)snprintf(name, sizeof name, "peer%u", peer);
    drive_ticket(peer, ticket);
    sp_round_hello(d->round, peer, name, hello, ticket, d->now_ms);
    drive_absorb(d);
    return peer;
}

uint32_t drive_hello(struct drive *d, int wanted)
{
    struct sp_hello hello;

    drive_hello_of(d, wanted, &hello);
    return drive_hello_with(d, &hello);
}

uint32_t drive_return(struct drive *d, uint32_t before)
{
    struct sp_hello hello;

    drive_hello_of(d, SP_ANY_SLOT, &hello);
    hello.has_ticket = true;
    drive_ticket(before, hello.ticket);
    return drive_hello_with(d, &hello);
}

float drive_weight(uint64_t j)
{
    return (float)((double)(j * 37 % 101) - 50.0) / 64.0f;
}

float drive_buffer(uint64_t j)
{
    return (float)(j + 1) / 8.0f;
}

static int give_chunk(struct drive *d, uint32_t peer, uint32_t k, const float *theta, const float *buffers)
{
    struct sp_chunk chunk = sp_chunk_at(&d->layout, &sp_weights_form, k);
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = chunk.first, .flags = chunk.flags}};
    struct sp_error error = {0};
    void *to = NULL;
    int rc;

    message.frame.count = chunk.count;
    message.frame.bulk_bytes = (uint32_t)chunk.bytes;
    if ((chunk.flags & SP_FRAME_LAST) != 0)
        message.digest = sp_weights_digest(theta, d->layout.coordinates);
    rc = sp_round_place(d->round, peer, &message.frame, &to, &error);
    if (rc != SP_OK)
        return rc;
    memcpy(to, (chunk.section == SP_SECTION_MAIN ? theta : buffers) + chunk.first, chunk.bytes);
    rc = sp_round_weights(d->round, peer, &message, d->now_ms, &error);
    drive_absorb(d);
    return rc;
}

int drive_init(struct drive *d, uint32_t peer)
{
    float *theta = floats(d->layout.coordinates), *buffers = floats(d->layout.buffers);
    int rc = SP_OK;

    for (uint64_t j = 0; j < d->layout.coordinates; j++)
        theta[j] = drive_weight(j);
    for (uint64_t j = 0; j < d->layout.buffers; j++)
        buffers[j] = drive_buffer(j);
    for (uint32_t k = 0; k < sp_chunks_count(&d->layout, &sp_weights_form) && rc == SP_OK; k++)
        rc = give_chunk(d, peer, k, theta, buffers);
    free(theta);
    free(buffers);
    return rc;
}

int drive_ready(struct drive *d, uint32_t peer)
{
    struct sp_error error = {0};
    int rc = sp_round_ready(d->round, peer, d->committed, sp_weights_digest(d->theta, d->layout.coordinates), d->now_ms,
                            &error);

    drive_absorb(d);
    return rc;
}

uint32_t drive_join(struct drive *d, int wanted)
{
    uint32_t peer = drive_hello(d, wanted);

    if (drive_to(d, SP_ACTION_INIT, peer) != NULL)
        ck_assert_int_eq(drive_init(d, peer), SP_OK);
    ck_assert_int_eq(drive_ready(d, peer), SP_OK);
    return peer;
}

uint32_t drive_join_all(struct drive *d, uint32_t n)
{
    uint32_t first = drive_join(d, 0);

    for (uint32_t i = 1; i < n; i++)
        ck_assert_uint_eq(drive_join(d, (int)i), first + i);
    return first;
}

/* --- rounds --------------------------------------------------------------------------------------------------------
 */

uint32_t drive_chunks(const struct drive *d)
{
    return sp_chunks_count(&d->layout, &d->form);
}

/* Signs of the chunk's coordinates; tensors in full have zeros there. */
static void pack_signs(const struct drive *d, const struct sp_chunk *chunk, const struct drive_chunk *from,
                       uint8_t *bulk)
{
    struct sp_layout_part part = {0};

    sp_pack_signs(from->values + chunk->first, chunk->first, chunk->count, from->round, bulk);
    while (sp_layout_next(&d->layout, chunk->first, chunk->count, &part)) {
        uint64_t at = part.first - chunk->first;

        for (uint64_t j = at; sp_tensor_is(part.tensor, SP_TENSOR_FULL) && j < at + part.count; j++)
            bulk[j / 8] &= (uint8_t) ~(1u << (j % 8));
    }
}

/* Values first.. of those of tensors in full. */
static void gather_full(const struct drive *d, const struct sp_chunk *chunk, const float *values, float *bulk)
{
    for (uint32_t i = 0; i < d->layout.trained; i++) {
        const struct sp_tensor *tensor = &d->layout.tensors[i];

        for (uint64_t j = 0; sp_tensor_is(tensor, SP_TENSOR_FULL) && j < tensor->count; j++) {
            uint64_t at = tensor->full_first + j;

            if (at >= chunk->first && at < chunk->first + chunk->count)
                bulk[at - chunk->first] = values[tensor->first + j];
        }
    }
}

static void fill_bulk(const struct drive *d, const struct sp_chunk *chunk, const struct drive_chunk *from, void *bulk)
{
    if (chunk->section == SP_SECTION_FULL)
        gather_full(d, chunk, from->values, bulk);
    else if (chunk->section == SP_SECTION_BUFFERS && d->own_buffers != NULL)
        memcpy(bulk, d->own_buffers + chunk->first, chunk->bytes);
    else if (chunk->section == SP_SECTION_BUFFERS)
        memset(bulk, 0, chunk->bytes);
    else if (d->form.phase != SP_PHASE_SGD)
        pack_signs(d, chunk, from, bulk);
    else
        sp_values_encode(d->form.wire, &d->layout, chunk->first, chunk->count, from->values + chunk->first, NULL, bulk);
}

static void fill_chunk(const struct drive *d, const struct drive_chunk *from, struct sp_message *message, void *bulk)
{
    struct sp_chunk chunk = sp_chunk_at(&d->layout, &d->form, from->k);

    memset(message, 0, sizeof *message);
    message->frame.type = SP_FRAME_PUSH;
    message->frame.round = from->round;
    message->frame.first = chunk.first;
    message->frame.count = chunk.count;
    message->frame.flags = chunk.flags;
    message->frame.bulk_bytes = (uint32_t)chunk.bytes;
    fill_bulk(d, &chunk, from, bulk);
    if (from->scalars != NULL && ((chunk.flags & SP_FRAME_LAST) != 0 || from->astray))
        message->push = *from->scalars;
    if (from->k == 0 || from->astray) {
        message->push.has_dot = from->has_dot;
        message->push.dot = from->dot;
    }
}

int drive_push_chunk(struct drive *d, uint32_t peer, const struct drive_chunk *chunk)
{
    static _Alignas(float) uint8_t bulk[SP_BULK_BYTES_MAX], scratch[SP_BULK_BYTES_MAX];
    struct sp_message message;
    struct sp_error error = {0};
    void *to = scratch;
    int rc;

    fill_chunk(d, chunk, &message, bulk);
    rc = sp_round_place(d->round, peer, &message.frame, &to, &error);
    drive_absorb(d);
    if (rc == SP_E_STATE)
        to = scratch;
    else if (rc != SP_OK)
        return rc;
    memcpy(to, bulk, message.frame.bulk_bytes);
    rc = sp_round_push(d->round, peer, &message, d->now_ms, &error);
    ck_assert_int_eq(rc != SP_OK, error.text[0] != '\0');
    drive_absorb(d);
    return rc;
}

int drive_push_scalars(struct drive *d, uint32_t peer, const float *values, double dot, const struct sp_push *scalars)
{
    uint32_t chunks = drive_chunks(d);
    struct drive_chunk chunk = {.round = d->committed + 1, .values = values, .scalars = scalars, .dot = dot};
    int rc = SP_OK;

    chunk.has_dot = scalars != NULL;
    for (chunk.k = 0; chunk.k < chunks && rc == SP_OK; chunk.k++)
        rc = drive_push_chunk(d, peer, &chunk);
    return rc;
}

int drive_push(struct drive *d, uint32_t peer, const float *values)
{
    return drive_push_scalars(d, peer, values, 0.0, NULL);
}

int drive_abstain(struct drive *d, uint32_t peer, uint32_t round)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH, .flags = SP_FRAME_ABSTAIN, .round = round}};
    struct sp_error error = {0};
    int rc = sp_round_push(d->round, peer, &message, d->now_ms, &error);

    drive_absorb(d);
    return rc;
}

int drive_score(struct drive *d, uint32_t peer, uint32_t round, uint32_t part, uint64_t correct, uint64_t total)
{
    struct sp_part_score score = {.part = part, .correct = correct, .total = total, .loss_sum = 0.5 * (double)total};
    struct sp_error error = {0};
    int rc = sp_round_score(d->round, peer, round, &score, d->now_ms, &error);

    drive_absorb(d);
    return rc;
}

void drive_left(struct drive *d, uint32_t peer)
{
    sp_round_left(d->round, peer, "the test says so", d->now_ms);
    drive_absorb(d);
}

void drive_tick(struct drive *d, uint64_t passed_ms)
{
    d->now_ms += passed_ms;
    sp_round_tick(d->round, d->now_ms);
    drive_absorb(d);
}

int drive_switch(struct drive *d, struct sp_error *error)
{
    int rc = sp_round_switch(d->round, d->now_ms, error);

    drive_absorb(d);
    return rc;
}

/* --- looking -------------------------------------------------------------------------------------------------------
 */

void drive_view(struct drive *d, struct sp_view *view)
{
    sp_round_view(d->round, view);
}

const struct drive_entry *drive_find(const struct drive *d, enum sp_action_type type, unsigned n)
{
    for (size_t i = 0; i < d->count; i++) {
        if (d->log[i].action.type == type && n-- == 0)
            return &d->log[i];
    }
    return NULL;
}

unsigned drive_number(const struct drive *d, enum sp_action_type type)
{
    unsigned n = 0;

    for (size_t i = 0; i < d->count; i++)
        n += d->log[i].action.type == type;
    return n;
}

const struct drive_entry *drive_last(const struct drive *d, enum sp_action_type type)
{
    unsigned n = drive_number(d, type);

    ck_assert_uint_gt(n, 0);
    return drive_find(d, type, n - 1);
}

const struct drive_entry *drive_to(const struct drive *d, enum sp_action_type type, uint32_t peer)
{
    for (size_t i = 0; i < d->count; i++) {
        if (d->log[i].action.type == type && d->log[i].action.peer == peer)
            return &d->log[i];
    }
    return NULL;
}

bool drive_said(const struct drive *d, const char *words)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct sp_action *action = &d->log[i].action;

        if (action->type == SP_ACTION_NOTE && strstr(action->note.line, words) != NULL)
            return true;
        if (action->type == SP_ACTION_BYE && strstr(action->bye.words, words) != NULL)
            return true;
    }
    return false;
}

void drive_expect_bye(const struct drive *d, uint32_t peer, enum sp_reason reason)
{
    const struct drive_entry *bye = drive_to(d, SP_ACTION_BYE, peer);

    ck_assert_uint_eq(drive_number(d, SP_ACTION_BYE), 1);
    ck_assert_ptr_nonnull(bye);
    ck_assert_int_eq(bye->action.bye.reason, reason);
    ck_assert_uint_gt(strlen(bye->action.bye.words), 0);
}
