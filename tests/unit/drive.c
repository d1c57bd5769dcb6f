#include "drive.h"

#include "common/pack.h"
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
                                    NULL};

void drive_open(struct drive *d, const char *const *settings, const uint64_t *tensors)
{
    memset(d, 0, sizeof *d);
    sp_job_init(&d->job);
    for (const char *const *s = usual; *s != NULL; s++)
        set(&d->job, *s);
    for (; *settings != NULL; settings++)
        set(&d->job, *settings);
    for (unsigned i = 0; tensors[i] != 0; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {tensors[i]}};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        tensor.flags = i % 2 == 0 ? SP_TENSOR_DECAY : 0;
        ck_assert_int_eq(sp_layout_add(&d->layout, &tensor, NULL), SP_OK);
    }
    d->examples = 160;
    d->data_digest = 0xda7a;
    d->now_ms = 1000;
    d->theta = calloc(d->layout.coordinates, sizeof *d->theta);
    d->values = calloc(d->layout.coordinates, sizeof *d->values);
    d->bits = calloc(sp_bits_bytes(d->layout.coordinates), 1);
    ck_assert(d->theta != NULL && d->values != NULL && d->bits != NULL);
    ck_assert_int_eq(sp_round_create(&d->round, &d->job), SP_OK);
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
    free(d->theta);
    free(d->values);
    free(d->bits);
    sp_layout_finish(&d->layout);
    sp_round_destroy(d->round);
}

/* --- the twin ------------------------------------------------------------------------------------------------------
 */

static void stage(struct drive *d, const struct sp_action *action)
{
    ck_assert_uint_eq(action->round, d->committed + 1);
    if (action->update.first == 0)
        d->staged = 0; /* the round is collected anew */
    ck_assert_uint_eq(action->update.first, d->staged);
    d->staged += action->update.count;
    ck_assert_uint_le(d->staged, d->layout.coordinates);
    ck_assert_int_eq(action->update.last, d->staged == d->layout.coordinates);
    if (d->phase == SP_PHASE_SIGN) {
        ck_assert_uint_eq(action->update.bytes, sp_bits_bytes(action->update.count));
        memcpy(d->bits + action->update.first / 8, action->update.bulk, action->update.bytes);
    } else {
        ck_assert_uint_eq(action->update.bytes, action->update.count * sizeof(float));
        memcpy(d->values + action->update.first, action->update.bulk, action->update.bytes);
    }
}

static void apply(struct drive *d, const struct sp_action *action)
{
    const struct sp_commit *c = &action->commit;
    struct sp_step step = {.rate = c->rate, .decay = c->decay, .rates = c->rates, .decays = c->decays};

    if (action->round > 0) {
        ck_assert_uint_eq(action->round, d->committed + 1);
        ck_assert_uint_eq(d->staged, d->layout.coordinates);
        if (c->has_digest)
            ck_assert_uint_eq(c->digest, sp_weights_digest(d->theta, d->layout.coordinates));
        if (d->phase == SP_PHASE_SIGN)
            sp_weights_apply_signs(&d->layout, &step, d->bits, d->theta);
        else
            sp_weights_apply_values(&d->layout, &step, d->values, d->theta);
    }
    d->committed = action->round;
    d->phase = (enum sp_phase)c->next_phase;
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
    d->has_weights = true;
}

/* The daemon encodes the weights when it takes the action: they must be those of the round that the action names. */
static void check_weights(struct drive *d, const struct sp_action *action)
{
    struct sp_view view;

    sp_round_view(d->round, &view);
    ck_assert_ptr_nonnull(view.theta);
    ck_assert_uint_eq(action->round, d->committed);
    ck_assert_mem_eq(view.theta, d->theta, d->layout.coordinates * sizeof(float));
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
        else if (action.type == SP_ACTION_WEIGHTS)
            check_weights(d, &action);
        else if (action.type == SP_ACTION_FOLLOW)
            adopt_weights(d);
    }
    sp_round_view(d->round, &view);
    ck_assert_uint_eq(view.round, d->committed);
    ck_assert_int_eq(view.theta != NULL, d->has_weights);
    if (d->has_weights)
        ck_assert_mem_eq(view.theta, d->theta, d->layout.coordinates * sizeof(float));
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

int drive_init(struct drive *d, uint32_t peer)
{
    uint64_t all = d->layout.coordinates;
    float *theta = calloc(all, sizeof *theta);
    struct sp_error error = {0};
    int rc = SP_OK;

    ck_assert_ptr_nonnull(theta);
    for (uint64_t j = 0; j < all; j++)
        theta[j] = drive_weight(j);
    for (uint64_t first = 0; first < all && rc == SP_OK; first += SP_CHUNK_VALUES) {
        struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS, .first = first}};
        struct sp_frame *frame = &message.frame;
        void *to = NULL;

        frame->count = (uint32_t)(all - first < SP_CHUNK_VALUES ? all - first : SP_CHUNK_VALUES);
        frame->bulk_bytes = (uint32_t)(frame->count * sizeof(float));
        if (first + frame->count == all) {
            frame->flags = SP_FRAME_LAST;
            message.digest = sp_weights_digest(theta, all);
        }
        rc = sp_round_place(d->round, peer, frame, &to, &error);
        if (rc != SP_OK)
            break;
        memcpy(to, theta + first, frame->bulk_bytes);
        rc = sp_round_weights(d->round, peer, &message, d->now_ms, &error);
        drive_absorb(d);
    }
    free(theta);
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

static uint32_t chunk_size(const struct drive *d)
{
    return d->phase == SP_PHASE_SIGN ? SP_CHUNK_SIGNS : SP_CHUNK_VALUES;
}

uint32_t drive_chunks(const struct drive *d)
{
    return (uint32_t)((d->layout.coordinates + chunk_size(d) - 1) / chunk_size(d));
}

static void fill_chunk(const struct drive *d, const struct drive_chunk *chunk, struct sp_message *message,
                       uint8_t *bulk)
{
    struct sp_frame *frame = &message->frame;
    uint64_t first = (uint64_t)chunk->k * chunk_size(d), left = d->layout.coordinates - first;

    memset(message, 0, sizeof *message);
    frame->type = SP_FRAME_PUSH;
    frame->round = chunk->round;
    frame->first = first;
    frame->count = (uint32_t)(left < chunk_size(d) ? left : chunk_size(d));
    if (d->phase == SP_PHASE_SIGN) {
        sp_pack_signs(chunk->values + first, first, frame->count, chunk->round, bulk);
        frame->bulk_bytes = (uint32_t)sp_bits_bytes(frame->count);
    } else {
        frame->bulk_bytes = (uint32_t)(frame->count * sizeof(float));
        memcpy(bulk, chunk->values + first, frame->bulk_bytes);
    }
    if (first + frame->count == d->layout.coordinates) {
        frame->flags = SP_FRAME_LAST;
        if (chunk->scalars != NULL)
            message->push = *chunk->scalars;
    }
    if (chunk->astray)
        message->push = *chunk->scalars;
    if (chunk->k == 0 || chunk->astray) {
        message->push.has_dot = chunk->has_dot;
        message->push.dot = chunk->dot;
    }
}

int drive_push_chunk(struct drive *d, uint32_t peer, const struct drive_chunk *chunk)
{
    static uint8_t bulk[SP_BULK_BYTES_MAX], scratch[SP_BULK_BYTES_MAX];
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
