#include "proto/codec.h"

#include "common/check.h"
#include "proto/signpost.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_BYTES_MAX (4u * SP_CONTROL_BYTES_MAX)

const char *sp_phase_name(enum sp_phase phase)
{
    static const char *const names[SP_PHASES] = {
        [SP_PHASE_SIGN] = "sign", [SP_PHASE_SGD] = "sgd", [SP_PHASE_MARGIN] = "margin"};

    return names[phase];
}

/* --- encode ------------------------------------------------------------------------------------------------------ */

/* Where a frame goes, and its bulk. */
struct target {
    struct sp_buffer *buffer; /* a pooled one whose bulk is in its place; NULL: one of the pool's, or a new one */
    struct sp_buffers *pool;  /* or NULL */
    const void *bulk;
    size_t bulk_bytes;
};

/* Header and control message in front of the bulk, which is where it belongs. */
static struct sp_buffer *complete(struct sp_buffer *buffer, struct sp_frame *frame, const ProtobufCMessage *control)
{
    uint8_t *bulk = sp_buffer_bulk(buffer);
    uint8_t *at = bulk - frame->control_bytes;

    if (frame->control_bytes > 0)
        (void)protobuf_c_message_pack(control, at);
    buffer->data = at - SP_FRAME_HEADER_BYTES;
    buffer->bytes = SP_FRAME_HEADER_BYTES + (size_t)frame->control_bytes + frame->bulk_bytes;
    sp_frame_encode(frame, at, bulk, buffer->data);
    return buffer;
}

static struct sp_buffer *make_pooled(struct sp_frame *frame, const ProtobufCMessage *control,
                                     const struct target *target)
{
    struct sp_buffer *buffer = target->buffer != NULL ? target->buffer : sp_buffer_take(target->pool);

    if (buffer == NULL)
        return NULL;
    if (target->buffer == NULL && frame->bulk_bytes > 0)
        memcpy(sp_buffer_bulk(buffer), target->bulk, frame->bulk_bytes);
    return complete(buffer, frame, control);
}

/* Lays out header, control message and bulk in one buffer. */
static struct sp_buffer *make_frame(struct sp_frame frame, const ProtobufCMessage *control, const struct target *target)
{
    size_t control_bytes = control != NULL ? protobuf_c_message_get_packed_size(control) : 0;
    bool fits = control_bytes <= SP_BUFFER_HEAD_BYTES - SP_FRAME_HEADER_BYTES;
    struct sp_buffer *buffer;
    uint8_t *at;

    frame.control_bytes = (uint32_t)control_bytes;
    frame.bulk_bytes = (uint32_t)target->bulk_bytes;
    sp_assert(target->buffer == NULL || fits);
    if (target->buffer != NULL || (target->pool != NULL && fits))
        return make_pooled(&frame, control, target);
    sp_assert(target->bulk_bytes == 0 || target->bulk != NULL);
    buffer = sp_buffer_create(SP_FRAME_HEADER_BYTES + control_bytes + target->bulk_bytes);
    if (buffer == NULL)
        return NULL;
    at = buffer->data + SP_FRAME_HEADER_BYTES;
    if (control_bytes > 0)
        (void)protobuf_c_message_pack(control, at);
    if (target->bulk_bytes > 0)
        memcpy(at + control_bytes, target->bulk, target->bulk_bytes);
    sp_frame_encode(&frame, at, at + control_bytes, buffer->data);
    return buffer;
}

static void free_tensors(Signpost__Wire__Tensor **tensors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(tensors[i]);
    free(tensors);
}

/* Strings and shapes are borrowed from the layout. */
static Signpost__Wire__Tensor **make_tensors(const struct sp_layout *layout)
{
    Signpost__Wire__Tensor **tensors = calloc(layout->tensors_count + 1u, sizeof *tensors);

    if (tensors == NULL)
        return NULL;
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        tensors[i] = malloc(sizeof *tensors[i]);
        if (tensors[i] == NULL) {
            free_tensors(tensors, i);
            return NULL;
        }
        signpost__wire__tensor__init(tensors[i]);
        tensors[i]->name = layout->tensors[i].name;
        tensors[i]->n_shape = layout->tensors[i].dims;
        tensors[i]->shape = layout->tensors[i].shape;
        tensors[i]->flags = layout->tensors[i].flags;
    }
    return tensors;
}

static struct sp_buffer *encode_hello(const struct sp_frame *frame, const struct sp_hello *hello,
                                      const struct target *target)
{
    Signpost__Wire__Hello m = SIGNPOST__WIRE__HELLO__INIT;

    m.job = (char *)hello->job;
    m.program = (char *)hello->program;
    m.role = hello->role;
    m.layout_digest = hello->layout_digest;
    m.examples = hello->examples;
    m.test_examples = hello->test_examples;
    m.data_digest = hello->data_digest;
    m.wanted_slot = (uint32_t)(hello->wanted_slot + 1);
    if (hello->has_ticket)
        m.ticket = (ProtobufCBinaryData){.len = SP_TICKET_BYTES, .data = (uint8_t *)hello->ticket};
    if (hello->has_nonce)
        m.nonce = (ProtobufCBinaryData){.len = SP_NONCE_BYTES, .data = (uint8_t *)hello->nonce};
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_layout(const struct sp_frame *frame, const struct sp_layout *layout,
                                       const struct target *target)
{
    Signpost__Wire__Layout m = SIGNPOST__WIRE__LAYOUT__INIT;
    struct sp_buffer *buffer;

    m.tensors = make_tensors(layout);
    if (m.tensors == NULL)
        return NULL;
    m.n_tensors = layout->tensors_count;
    buffer = make_frame(*frame, &m.base, target);
    free_tensors(m.tensors, m.n_tensors);
    return buffer;
}

static struct sp_buffer *encode_challenge(const struct sp_frame *frame, const struct sp_challenge *challenge,
                                          const struct target *target)
{
    Signpost__Wire__Challenge m = SIGNPOST__WIRE__CHALLENGE__INIT;

    m.nonce = (ProtobufCBinaryData){.len = SP_NONCE_BYTES, .data = (uint8_t *)challenge->nonce};
    m.proof = (ProtobufCBinaryData){.len = SP_PROOF_BYTES, .data = (uint8_t *)challenge->proof};
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_proof(const struct sp_frame *frame, const uint8_t *proof, const struct target *target)
{
    Signpost__Wire__Proof m = SIGNPOST__WIRE__PROOF__INIT;

    m.proof = (ProtobufCBinaryData){.len = SP_PROOF_BYTES, .data = (uint8_t *)proof};
    return make_frame(*frame, &m.base, target);
}

/* The two messages that are one string have the same field number and type. */
static struct sp_buffer *encode_text(const struct sp_frame *frame, const char *text, const struct target *target)
{
    Signpost__Wire__Answer m = SIGNPOST__WIRE__ANSWER__INIT;

    m.json = (char *)text;
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_welcome(const struct sp_frame *frame, const struct sp_welcome *welcome,
                                        const struct target *target)
{
    Signpost__Wire__Welcome m = SIGNPOST__WIRE__WELCOME__INIT;
    Signpost__Wire__Setting *settings = calloc(welcome->plan_count + 1u, sizeof *settings);
    Signpost__Wire__Setting **pointers = calloc(welcome->plan_count + 1u, sizeof *pointers);
    struct sp_buffer *buffer = NULL;

    if (settings != NULL && pointers != NULL) {
        for (uint32_t i = 0; i < welcome->plan_count; i++) {
            signpost__wire__setting__init(&settings[i]);
            settings[i].key = welcome->plan[i].key;
            settings[i].value = welcome->plan[i].value;
            pointers[i] = &settings[i];
        }
        m.n_plan = welcome->plan_count;
        m.plan = pointers;
        m.spare = welcome->spare;
        m.slot = welcome->slot;
        m.ticket.data = (uint8_t *)welcome->ticket;
        m.ticket.len = welcome->spare ? 0 : SP_TICKET_BYTES;
        m.traits.data = welcome->traits;
        m.traits.len = welcome->traits_count;
        m.rounds = welcome->rounds;
        m.round = welcome->round;
        m.phase = welcome->phase;
        m.sigma = welcome->sigma;
        m.lambda = welcome->lambda;
        m.alive_interval_ms = welcome->alive_interval_ms;
        m.silence_ms_max = welcome->silence_ms_max;
        m.run = welcome->run;
        buffer = make_frame(*frame, &m.base, target);
    }
    free(pointers);
    free(settings);
    return buffer;
}

static struct sp_buffer *encode_push(const struct sp_frame *frame, const struct sp_push *push,
                                     const struct target *target)
{
    Signpost__Wire__Push m = SIGNPOST__WIRE__PUSH__INIT;

    m.has_dot = push->has_dot;
    m.dot = push->dot;
    m.has_scalars = push->has_scalars;
    m.loss = push->loss;
    m.gradient_norm2 = push->gradient_norm2;
    m.examples = push->examples;
    if (push->has_sketch) {
        m.n_sketch = SP_SKETCH_BUCKETS;
        m.sketch = (float *)push->sketch;
    }
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_update(const struct sp_frame *frame, uint32_t voters, const struct target *target)
{
    Signpost__Wire__Update m = SIGNPOST__WIRE__UPDATE__INIT;

    m.voters = voters;
    return make_frame(*frame, &m.base, target);
}

static size_t used_bytes(const uint8_t *bytes, size_t count)
{
    while (count > 0 && bytes[count - 1] == 0)
        count--;
    return count;
}

static struct sp_buffer *encode_commit(const struct sp_frame *frame, const struct sp_commit *commit,
                                       const struct target *target)
{
    Signpost__Wire__Commit m = SIGNPOST__WIRE__COMMIT__INIT;

    m.rate = commit->rate;
    m.n_rates = commit->rates_count;
    m.rates = commit->rates;
    m.decay = commit->decay;
    m.n_decays = commit->decays_count;
    m.decays = commit->decays;
    m.voters.data = (uint8_t *)commit->voters;
    m.voters.len = used_bytes(commit->voters, sizeof commit->voters);
    m.last = commit->last;
    m.next_phase = commit->next_phase;
    m.next_sigma = commit->next_sigma;
    m.next_wire = commit->next_wire;
    m.next_buffers = commit->next_buffers;
    m.has_digest = commit->has_digest;
    m.digest = commit->digest;
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_score(const struct sp_frame *frame, const struct sp_part_score *score,
                                      const struct target *target)
{
    Signpost__Wire__Score m = SIGNPOST__WIRE__SCORE__INIT;

    m.part = score->part;
    m.correct = score->correct;
    m.total = score->total;
    m.loss_sum = score->loss_sum;
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_eval(const struct sp_frame *frame, const struct sp_eval *eval,
                                     const struct target *target)
{
    Signpost__Wire__Eval m = SIGNPOST__WIRE__EVAL__INIT;

    m.part = eval->part;
    m.parts = eval->parts;
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode_bye(const struct sp_frame *frame, const struct sp_bye *bye, const struct target *target)
{
    Signpost__Wire__Bye m = SIGNPOST__WIRE__BYE__INIT;

    m.reason = bye->reason;
    m.words = (char *)bye->words;
    return make_frame(*frame, &m.base, target);
}

/* The three messages that are one digest have the same field number and type. */
static struct sp_buffer *encode_digest(const struct sp_frame *frame, uint64_t digest, const struct target *target)
{
    Signpost__Wire__Weights m = SIGNPOST__WIRE__WEIGHTS__INIT;

    m.digest = digest;
    return make_frame(*frame, &m.base, target);
}

static struct sp_buffer *encode(const struct sp_message *message, const struct target *target)
{
    const struct sp_frame *frame = &message->frame;

    switch (frame->type) {
    case SP_FRAME_HELLO:
        return encode_hello(frame, &message->hello, target);
    case SP_FRAME_WELCOME:
        return encode_welcome(frame, &message->welcome, target);
    case SP_FRAME_WEIGHTS:
        if (!(frame->flags & SP_FRAME_LAST))
            return make_frame(*frame, NULL, target);
        return encode_digest(frame, message->digest, target);
    case SP_FRAME_READY:
    case SP_FRAME_RESYNC:
        return encode_digest(frame, message->digest, target);
    case SP_FRAME_PUSH:
        return encode_push(frame, &message->push, target);
    case SP_FRAME_COMMIT:
        return encode_commit(frame, &message->commit, target);
    case SP_FRAME_EVAL:
        return encode_eval(frame, &message->eval, target);
    case SP_FRAME_SCORE:
        return encode_score(frame, &message->score, target);
    case SP_FRAME_BYE:
        return encode_bye(frame, &message->bye, target);
    case SP_FRAME_CHALLENGE:
        return encode_challenge(frame, &message->challenge, target);
    case SP_FRAME_PROOF:
        return encode_proof(frame, message->proof, target);
    case SP_FRAME_LAYOUT:
        return encode_layout(frame, &message->layout, target);
    case SP_FRAME_ASK:
        return encode_text(frame, message->command, target);
    case SP_FRAME_ANSWER:
        return encode_text(frame, message->answer, target);
    case SP_FRAME_UPDATE:
        return encode_update(frame, message->voters, target);
    case SP_FRAME_INIT:
    case SP_FRAME_ALIVE:
        return make_frame(*frame, NULL, target);
    }
    sp_assert(false && "a frame type of the list");
    return NULL;
}

struct sp_buffer *sp_codec_encode(const struct sp_message *message, const void *bulk, size_t bulk_bytes)
{
    return encode(message, &(struct target){.bulk = bulk, .bulk_bytes = bulk_bytes});
}

struct sp_buffer *sp_codec_encode_pooled(struct sp_buffers *pool, const struct sp_message *message, const void *bulk,
                                         size_t bulk_bytes)
{
    sp_assert(bulk_bytes <= SP_BUFFER_BULK_BYTES);
    return encode(message, &(struct target){.pool = pool, .bulk = bulk, .bulk_bytes = bulk_bytes});
}

void sp_codec_complete(struct sp_buffer *buffer, const struct sp_message *message, size_t bulk_bytes)
{
    sp_assert(bulk_bytes <= SP_BUFFER_BULK_BYTES);
    (void)encode(message, &(struct target){.buffer = buffer, .bulk_bytes = bulk_bytes});
}

/* --- decode ------------------------------------------------------------------------------------------------------ */

static int refuse(const struct sp_frame *frame, struct sp_error *error, const char *words)
{
    return sp_error_set(error, SP_E_PROTOCOL, "%s frame: %s", sp_frame_name(frame->type), words);
}

/* Copies a string of a peer: bounded, printable, so that it may stand in a log line. */
static bool copy_text(const char *from, char *to, size_t bytes)
{
    size_t length = strnlen(from, bytes);

    if (length == bytes)
        return false;
    for (size_t i = 0; i < length; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[length] = '\0';
    return true;
}

static int take_tensors(const Signpost__Wire__Layout *m, struct sp_layout *layout, struct sp_error *error)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const Signpost__Wire__Tensor *from = m->tensors[i];
        struct sp_tensor tensor = {.dims = (uint32_t)from->n_shape, .flags = from->flags};
        int rc;

        if (from->n_shape > SP_TENSOR_DIMS_MAX)
            return sp_error_set(error, SP_E_RANGE, "tensor %zu has %zu dimensions; at most %d are allowed", i,
                                from->n_shape, SP_TENSOR_DIMS_MAX);
        if ((from->flags & ~(uint32_t)(SP_TENSOR_DECAY | SP_TENSOR_BUFFER)) != 0)
            return sp_error_set(error, SP_E_RANGE, "tensor %zu has unknown flags 0x%x", i, from->flags);
        if (!copy_text(from->name, tensor.name, sizeof tensor.name))
            return sp_error_set(error, SP_E_RANGE, "the name of tensor %zu is longer than %d bytes", i,
                                SP_TENSOR_NAME_BYTES - 1);
        if (from->n_shape > 0)
            memcpy(tensor.shape, from->shape, from->n_shape * sizeof tensor.shape[0]);
        rc = sp_layout_add(layout, &tensor, error);
        if (rc != SP_OK)
            return rc;
    }
    return SP_OK;
}

static int take_layout(const struct sp_frame *frame, const Signpost__Wire__Layout *m, struct sp_layout *layout,
                       struct sp_error *error)
{
    int rc;

    if (m->n_tensors == 0 || m->n_tensors > SP_TENSORS_MAX)
        return refuse(frame, error, "the layout has no tensors, or too many");
    rc = take_tensors(m, layout, error);
    if (rc == SP_OK && layout->trained == 0)
        rc = refuse(frame, error, "the layout has nothing but buffers");
    if (rc != SP_OK)
        sp_layout_finish(layout);
    return rc;
}

static int take_hello(const struct sp_frame *frame, const Signpost__Wire__Hello *m, struct sp_hello *hello,
                      struct sp_error *error)
{
    if (!copy_text(m->job, hello->job, sizeof hello->job) ||
        !copy_text(m->program, hello->program, sizeof hello->program))
        return refuse(frame, error, "the name of the job or the program is too long");
    if (m->role > SP_ROLE_PROBE)
        return refuse(frame, error, "an unknown role");
    if (m->ticket.len != 0 && m->ticket.len != SP_TICKET_BYTES)
        return refuse(frame, error, "a ticket of the wrong length");
    if (m->nonce.len != 0 && m->nonce.len != SP_NONCE_BYTES)
        return refuse(frame, error, "a nonce of the wrong length");
    if (m->wanted_slot > SP_SLOTS_MAX)
        return refuse(frame, error, "no job has the slot that is wanted");
    hello->role = m->role;
    hello->layout_digest = m->layout_digest;
    hello->examples = m->examples;
    hello->test_examples = m->test_examples;
    hello->data_digest = m->data_digest;
    hello->wanted_slot = (int)m->wanted_slot - 1;
    hello->has_ticket = m->ticket.len > 0;
    if (hello->has_ticket)
        memcpy(hello->ticket, m->ticket.data, SP_TICKET_BYTES);
    hello->has_nonce = m->nonce.len > 0;
    if (hello->has_nonce)
        memcpy(hello->nonce, m->nonce.data, SP_NONCE_BYTES);
    return SP_OK;
}

static int take_challenge(const struct sp_frame *frame, const Signpost__Wire__Challenge *m,
                          struct sp_challenge *challenge, struct sp_error *error)
{
    if (m->nonce.len != SP_NONCE_BYTES || m->proof.len != SP_PROOF_BYTES)
        return refuse(frame, error, "a nonce or a proof of the wrong length");
    memcpy(challenge->nonce, m->nonce.data, SP_NONCE_BYTES);
    memcpy(challenge->proof, m->proof.data, SP_PROOF_BYTES);
    return SP_OK;
}

static int take_proof(const struct sp_frame *frame, const Signpost__Wire__Proof *m, uint8_t *proof,
                      struct sp_error *error)
{
    if (m->proof.len != SP_PROOF_BYTES)
        return refuse(frame, error, "a proof of the wrong length");
    memcpy(proof, m->proof.data, SP_PROOF_BYTES);
    return SP_OK;
}

static int take_ask(const struct sp_frame *frame, const Signpost__Wire__Ask *m, char *command, struct sp_error *error)
{
    return copy_text(m->command, command, SP_COMMAND_BYTES) ? SP_OK
                                                            : refuse(frame, error, "a command that is too long");
}

static int take_answer(const Signpost__Wire__Answer *m, char **answer, struct sp_error *error)
{
    *answer = strdup(m->json);
    return *answer != NULL ? SP_OK : sp_error_set(error, SP_E_NOMEM, "no memory for the answer");
}

static void free_plan(struct sp_welcome *welcome)
{
    for (uint32_t i = 0; i < welcome->plan_count; i++) {
        free(welcome->plan[i].key);
        free(welcome->plan[i].value);
    }
    free(welcome->plan);
    free(welcome->traits);
    welcome->plan = NULL;
    welcome->traits = NULL;
    welcome->plan_count = welcome->traits_count = 0;
}

static bool take_traits(const Signpost__Wire__Welcome *m, struct sp_welcome *welcome)
{
    if (m->traits.len == 0)
        return true;
    welcome->traits = malloc(m->traits.len);
    if (welcome->traits == NULL)
        return false;
    memcpy(welcome->traits, m->traits.data, m->traits.len);
    welcome->traits_count = (uint32_t)m->traits.len;
    return true;
}

static int take_plan(const Signpost__Wire__Welcome *m, struct sp_welcome *welcome)
{
    welcome->plan = calloc(m->n_plan + 1u, sizeof *welcome->plan);
    if (welcome->plan == NULL)
        return SP_E_NOMEM;
    for (size_t i = 0; i < m->n_plan; i++) {
        struct sp_setting *setting = &welcome->plan[welcome->plan_count++];

        setting->key = strdup(m->plan[i]->key);
        setting->value = strdup(m->plan[i]->value);
        if (setting->key == NULL || setting->value == NULL) {
            free_plan(welcome);
            return SP_E_NOMEM;
        }
    }
    return SP_OK;
}

static int take_welcome(const struct sp_frame *frame, const Signpost__Wire__Welcome *m, struct sp_welcome *welcome,
                        struct sp_error *error)
{
    if (m->n_plan > SP_SETTINGS_MAX)
        return refuse(frame, error, "a plan with too many settings");
    if (!m->spare && (m->slot >= SP_SLOTS_MAX || m->ticket.len != SP_TICKET_BYTES))
        return refuse(frame, error, "a slot out of range or a ticket of the wrong length");
    if (m->phase >= SP_PHASES)
        return refuse(frame, error, "an unknown phase");
    if (m->traits.len > SP_TENSORS_MAX)
        return refuse(frame, error, "traits of too many tensors");
    welcome->spare = m->spare;
    welcome->slot = m->slot;
    if (!m->spare)
        memcpy(welcome->ticket, m->ticket.data, SP_TICKET_BYTES);
    welcome->rounds = m->rounds;
    welcome->round = m->round;
    welcome->phase = m->phase;
    welcome->sigma = m->sigma;
    welcome->lambda = m->lambda;
    welcome->alive_interval_ms = m->alive_interval_ms;
    welcome->silence_ms_max = m->silence_ms_max;
    welcome->run = m->run;
    if (take_plan(m, welcome) != SP_OK || !take_traits(m, welcome)) {
        free_plan(welcome);
        return sp_error_set(error, SP_E_NOMEM, "no memory for the plan");
    }
    return SP_OK;
}

static int take_push(const struct sp_frame *frame, const Signpost__Wire__Push *m, struct sp_push *push,
                     struct sp_error *error)
{
    if (m->n_sketch != 0 && m->n_sketch != SP_SKETCH_BUCKETS)
        return refuse(frame, error, "a sketch of the wrong size");
    push->has_dot = m->has_dot;
    push->dot = m->dot;
    push->has_scalars = m->has_scalars;
    push->loss = m->loss;
    push->gradient_norm2 = m->gradient_norm2;
    push->examples = m->examples;
    push->has_sketch = m->n_sketch > 0;
    if (push->has_sketch)
        memcpy(push->sketch, m->sketch, sizeof push->sketch);
    return SP_OK;
}

static int take_commit(const struct sp_frame *frame, const Signpost__Wire__Commit *m, struct sp_commit *commit,
                       struct sp_error *error)
{
    if (m->n_rates > SP_TENSORS_MAX || m->n_decays > SP_TENSORS_MAX || m->voters.len > sizeof commit->voters ||
        m->next_phase >= SP_PHASES || m->next_wire > SP_WIRE_I8)
        return refuse(frame, error, "too many rates or voters, or an unknown phase or wire");
    commit->rate = m->rate;
    commit->decay = m->decay;
    if (m->voters.len > 0)
        memcpy(commit->voters, m->voters.data, m->voters.len);
    commit->last = m->last;
    commit->next_phase = m->next_phase;
    commit->next_sigma = m->next_sigma;
    commit->next_wire = m->next_wire;
    commit->next_buffers = m->next_buffers;
    commit->has_digest = m->has_digest;
    commit->digest = m->digest;
    commit->rates = m->n_rates > 0 ? m->rates : NULL;
    commit->rates_count = (uint32_t)m->n_rates;
    commit->decays = m->n_decays > 0 ? m->decays : NULL;
    commit->decays_count = (uint32_t)m->n_decays;
    return SP_OK;
}

static int take_bye(const struct sp_frame *frame, const Signpost__Wire__Bye *m, struct sp_bye *bye,
                    struct sp_error *error)
{
    bye->reason = m->reason;
    if (!copy_text(m->words, bye->words, sizeof bye->words))
        return refuse(frame, error, "words that are too long");
    return SP_OK;
}

static int take_eval(const struct sp_frame *frame, const Signpost__Wire__Eval *m, struct sp_eval *eval,
                     struct sp_error *error)
{
    eval->part = m->part;
    eval->parts = m->parts;
    return m->part < m->parts ? SP_OK : refuse(frame, error, "a part that does not exist");
}

static int take_score(const Signpost__Wire__Score *m, struct sp_part_score *score)
{
    score->part = m->part;
    score->correct = m->correct;
    score->total = m->total;
    score->loss_sum = m->loss_sum;
    return SP_OK;
}

/* What each frame's control message is, and where it goes. NULL: the frame has none. */
static const ProtobufCMessageDescriptor *descriptor(const struct sp_frame *frame)
{
    switch (frame->type) {
    case SP_FRAME_HELLO:
        return &signpost__wire__hello__descriptor;
    case SP_FRAME_WELCOME:
        return &signpost__wire__welcome__descriptor;
    case SP_FRAME_WEIGHTS:
    case SP_FRAME_READY:
    case SP_FRAME_RESYNC:
        return &signpost__wire__weights__descriptor;
    case SP_FRAME_PUSH:
        return &signpost__wire__push__descriptor;
    case SP_FRAME_UPDATE:
        return &signpost__wire__update__descriptor;
    case SP_FRAME_COMMIT:
        return &signpost__wire__commit__descriptor;
    case SP_FRAME_EVAL:
        return &signpost__wire__eval__descriptor;
    case SP_FRAME_SCORE:
        return &signpost__wire__score__descriptor;
    case SP_FRAME_BYE:
        return &signpost__wire__bye__descriptor;
    case SP_FRAME_CHALLENGE:
        return &signpost__wire__challenge__descriptor;
    case SP_FRAME_PROOF:
        return &signpost__wire__proof__descriptor;
    case SP_FRAME_LAYOUT:
        return &signpost__wire__layout__descriptor;
    case SP_FRAME_ASK:
        return &signpost__wire__ask__descriptor;
    case SP_FRAME_ANSWER:
        return &signpost__wire__answer__descriptor;
    case SP_FRAME_INIT:
    case SP_FRAME_ALIVE:
        break;
    }
    return NULL;
}

static int take(struct sp_message *message, const ProtobufCMessage *control, struct sp_error *error)
{
    const struct sp_frame *frame = &message->frame;
    const void *m = control;

    switch (frame->type) {
    case SP_FRAME_HELLO:
        return take_hello(frame, m, &message->hello, error);
    case SP_FRAME_WELCOME:
        return take_welcome(frame, m, &message->welcome, error);
    case SP_FRAME_PUSH:
        return take_push(frame, m, &message->push, error);
    case SP_FRAME_UPDATE:
        message->voters = ((const Signpost__Wire__Update *)m)->voters;
        return message->voters <= SP_SLOTS_MAX ? SP_OK : refuse(frame, error, "more votes than there can be");
    case SP_FRAME_COMMIT:
        return take_commit(frame, m, &message->commit, error);
    case SP_FRAME_EVAL:
        return take_eval(frame, m, &message->eval, error);
    case SP_FRAME_SCORE:
        return take_score(m, &message->score);
    case SP_FRAME_BYE:
        return take_bye(frame, m, &message->bye, error);
    case SP_FRAME_CHALLENGE:
        return take_challenge(frame, m, &message->challenge, error);
    case SP_FRAME_PROOF:
        return take_proof(frame, m, message->proof, error);
    case SP_FRAME_LAYOUT:
        return take_layout(frame, m, &message->layout, error);
    case SP_FRAME_ASK:
        return take_ask(frame, m, message->command, error);
    case SP_FRAME_ANSWER:
        return take_answer(m, &message->answer, error);
    default:
        message->digest = ((const Signpost__Wire__Weights *)m)->digest;
        return SP_OK;
    }
}

/* protobuf-c answers NULL to bytes that are no message and to the lack of memory alike: this tells them apart. What the
 * arena has no room for comes from the heap, up to DECODED_BYTES_MAX: a MiB of messages of two bytes, each of them
 * empty, would else become fifty. */
struct allocation {
    struct sp_arena *arena;
    size_t taken;
    bool failed, too_much;
};

static void *allocate(void *arg, size_t bytes)
{
    struct allocation *allocation = arg;
    void *memory = allocation->arena != NULL ? sp_arena_take(allocation->arena, bytes) : NULL;

    if (memory == NULL && bytes > DECODED_BYTES_MAX - allocation->taken) {
        allocation->too_much = true;
        return NULL;
    }
    if (memory == NULL) {
        allocation->taken += bytes;
        memory = malloc(bytes);
    }
    allocation->failed = allocation->failed || memory == NULL;
    return memory;
}

static void release(void *arg, void *memory)
{
    struct allocation *allocation = arg;

    if (allocation->arena == NULL || !sp_arena_holds(allocation->arena, memory))
        free(memory);
}

static void free_control(ProtobufCMessage *control, struct sp_arena *arena)
{
    struct allocation allocation = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = &allocation};

    protobuf_c_message_free_unpacked(control, &allocator);
}

int sp_codec_decode_in(struct sp_arena *arena, struct sp_message *message, const uint8_t *control,
                       struct sp_error *error)
{
    const ProtobufCMessageDescriptor *type = descriptor(&message->frame);
    struct sp_frame frame = message->frame;
    struct allocation allocation = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = &allocation};
    ProtobufCMessage *m;
    int rc;

    memset(message, 0, sizeof *message);
    message->frame = frame;
    if (arena != NULL)
        sp_arena_reset(arena);
    if (type == NULL)
        return SP_OK;
    m = protobuf_c_message_unpack(type, &allocator, frame.control_bytes, control);
    if (m == NULL && allocation.too_much)
        return refuse(&frame, error, "its control message has too many parts");
    if (m == NULL && allocation.failed)
        return sp_error_set(error, SP_E_NOMEM, "no memory to decode a %s frame", sp_frame_name(frame.type));
    if (m == NULL)
        return refuse(&frame, error, "its control message cannot be decoded");
    rc = take(message, m, error);
    if (rc == SP_OK && frame.type == SP_FRAME_COMMIT) {
        message->control = m; /* its rates lie in there */
        message->arena = arena;
    } else {
        free_control(m, arena);
    }
    return rc;
}

int sp_codec_decode(struct sp_message *message, const uint8_t *control, struct sp_error *error)
{
    return sp_codec_decode_in(NULL, message, control, error);
}

static void free_commit(struct sp_message *message)
{
    if (message->control != NULL) {
        free_control(message->control, message->arena);
    } else {
        free(message->commit.rates);
        free(message->commit.decays);
    }
    message->control = NULL;
    message->commit.rates = message->commit.decays = NULL;
    message->commit.rates_count = message->commit.decays_count = 0;
}

void sp_message_finish(struct sp_message *message)
{
    switch (message->frame.type) {
    case SP_FRAME_LAYOUT:
        sp_layout_finish(&message->layout);
        break;
    case SP_FRAME_ANSWER:
        free(message->answer);
        message->answer = NULL;
        break;
    case SP_FRAME_WELCOME:
        free_plan(&message->welcome);
        break;
    case SP_FRAME_COMMIT:
        free_commit(message);
        break;
    default:
        break;
    }
}

const char *sp_welcome_setting(const struct sp_welcome *welcome, const char *key)
{
    for (uint32_t i = 0; i < welcome->plan_count; i++) {
        if (strcmp(welcome->plan[i].key, key) == 0)
            return welcome->plan[i].value;
    }
    return NULL;
}
