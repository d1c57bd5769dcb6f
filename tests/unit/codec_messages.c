#include "codec_messages.h"

#include <stdio.h>

/* --- making ------------------------------------------------------------------------------------------------------- */

/* Any bits but those of -0, which proto3 does not send: a field of value 0 is left out. */
static float any_float(struct sp_rng *rng)
{
    uint32_t bits = sp_rng_below(rng, 8) == 0 ? 0x7f800000 + sp_rng_below(rng, 3) : sp_rng_next(rng);

    return unit_float(bits == 0x80000000 ? 1 : bits);
}

static double any_double(struct sp_rng *rng)
{
    uint64_t bits = unit_next64(rng);
    double value;

    if (sp_rng_below(rng, 8) == 0)
        bits = UINT64_C(0x7ff0000000000000) + sp_rng_below(rng, 3);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 0, the largest, or anything. */
static uint32_t any32(struct sp_rng *rng)
{
    uint32_t what = sp_rng_below(rng, 8);

    return what == 0 ? 0 : what == 1 ? UINT32_MAX : sp_rng_next(rng) >> sp_rng_below(rng, 32);
}

static uint64_t any64(struct sp_rng *rng)
{
    uint32_t what = sp_rng_below(rng, 8);

    return what == 0 ? 0 : what == 1 ? UINT64_MAX : unit_next64(rng) >> sp_rng_below(rng, 64);
}

static bool any_bool(struct sp_rng *rng)
{
    return sp_rng_below(rng, 2) != 0;
}

/* Printable, up to `bytes` - 1 of them; UTF-8's bytes among them if `wide`. */
static void any_text(struct sp_rng *rng, char *text, size_t bytes, bool wide, bool extreme)
{
    size_t length = extreme ? bytes - 1 : sp_rng_below(rng, (uint32_t)bytes);

    for (size_t i = 0; i < length; i++) {
        uint32_t c = '#' + sp_rng_below(rng, '[' - '#');

        text[i] = (char)(wide && sp_rng_below(rng, 4) == 0 ? '\\' + sp_rng_below(rng, '~' - '\\') : c);
    }
    text[length] = '\0';
}

static void any_bytes(struct sp_rng *rng, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)sp_rng_next(rng);
}

/* `extreme`: 4096 tensors of names and shapes as long as can be. */
static void make_layout(struct sp_layout *layout, struct sp_rng *rng, bool extreme)
{
    uint32_t count = extreme ? SP_TENSORS_MAX : 1 + sp_rng_below(rng, 20), trained = 1 + sp_rng_below(rng, count);

    for (uint32_t i = 0; i < count; i++) {
        struct sp_tensor tensor = {.dims = extreme ? 8 : 1 + sp_rng_below(rng, 8), .flags = any32(rng)};
        struct sp_error error = {0};

        tensor.flags &= (uint32_t)SP_TENSOR_DECAY;
        tensor.flags |= i < trained ? 0 : SP_TENSOR_BUFFER;
        if (extreme)
            memset(tensor.name, 'x', sizeof tensor.name - 1);
        tensor.name[snprintf(tensor.name, sizeof tensor.name, "%u.", i)] = extreme ? 'x' : '\0';
        for (uint32_t k = 0; k < tensor.dims; k++)
            tensor.shape[k] = 1 + sp_rng_below(rng, 5);
        if (extreme && i == 0)
            tensor.shape[0] = SP_COORDINATES_MAX >> 20;
        unit_assert(sp_layout_add(layout, &tensor, &error) == SP_OK, "%s", error.text);
    }
}

static void make_hello(struct sp_hello *hello, struct sp_rng *rng, bool extreme)
{
    any_text(rng, hello->job, sizeof hello->job, true, extreme);
    any_text(rng, hello->program, sizeof hello->program, true, extreme);
    hello->role = extreme ? SP_ROLE_PROBE : sp_rng_below(rng, 3);
    hello->layout_digest = extreme ? UINT64_MAX : any64(rng);
    hello->examples = extreme ? UINT64_MAX : any64(rng);
    hello->test_examples = extreme ? UINT64_MAX : any64(rng);
    hello->data_digest = any64(rng);
    hello->wanted_slot = extreme ? SP_SLOTS_MAX - 1 : (int)sp_rng_below(rng, SP_SLOTS_MAX + 1) - 1;
    hello->has_ticket = extreme || any_bool(rng);
    if (hello->has_ticket)
        any_bytes(rng, hello->ticket, sizeof hello->ticket);
    hello->has_nonce = extreme || any_bool(rng);
    if (hello->has_nonce)
        any_bytes(rng, hello->nonce, sizeof hello->nonce);
}

/* `extreme`: field number, three bytes of length and the text fill the frame to the last byte. */
static char *make_answer(struct sp_rng *rng, bool extreme)
{
    size_t bytes = extreme ? SP_CONTROL_BYTES_MAX - 4 + 1 : 200;
    char *answer = unit_alloc(bytes);

    any_text(rng, answer, bytes, true, extreme);
    return answer;
}

static void make_welcome(struct sp_welcome *welcome, struct sp_rng *rng, bool extreme)
{
    size_t key = extreme ? 40 : 20, value = extreme ? 900 : 30; /* with their terminator */

    welcome->spare = !extreme && any_bool(rng);
    welcome->slot = extreme ? SP_SLOTS_MAX - 1 : sp_rng_below(rng, SP_SLOTS_MAX);
    if (!welcome->spare)
        any_bytes(rng, welcome->ticket, sizeof welcome->ticket);
    welcome->plan_count = extreme ? SP_SETTINGS_MAX : sp_rng_below(rng, 30);
    welcome->plan = calloc(welcome->plan_count + 1u, sizeof *welcome->plan);
    ck_assert_ptr_nonnull(welcome->plan);
    for (uint32_t i = 0; i < welcome->plan_count; i++) {
        welcome->plan[i].key = unit_alloc(key);
        welcome->plan[i].value = unit_alloc(value);
        any_text(rng, welcome->plan[i].key, key, true, extreme);
        any_text(rng, welcome->plan[i].value, value, true, extreme);
    }
    welcome->rounds = any32(rng);
    welcome->round = any32(rng);
    welcome->phase = sp_rng_below(rng, SP_PHASES);
    welcome->sigma = any_float(rng);
    welcome->lambda = any_float(rng);
    welcome->traits_count = extreme ? SP_TENSORS_MAX : sp_rng_below(rng, 4) * sp_rng_below(rng, 40);
    if (welcome->traits_count > 0) {
        welcome->traits = unit_alloc(welcome->traits_count);
        any_bytes(rng, welcome->traits, welcome->traits_count);
    }
    welcome->alive_interval_ms = any32(rng);
    welcome->silence_ms_max = any32(rng);
    welcome->run = any64(rng);
}

static void make_push(struct sp_push *push, struct sp_rng *rng, bool extreme)
{
    push->has_dot = extreme || any_bool(rng);
    push->dot = any_double(rng);
    push->has_scalars = extreme || any_bool(rng);
    push->loss = any_double(rng);
    push->gradient_norm2 = any_double(rng);
    push->examples = extreme ? UINT32_MAX : any32(rng);
    push->has_sketch = extreme || any_bool(rng);
    for (int i = 0; i < SP_SKETCH_BUCKETS && push->has_sketch; i++)
        push->sketch[i] = i == 5 ? -0.0f : any_float(rng);
}

static float *make_floats(struct sp_rng *rng, uint32_t count)
{
    float *values = unit_alloc(count * sizeof *values);

    for (uint32_t i = 0; i < count; i++)
        values[i] = i == 3 ? -0.0f : any_float(rng);
    return values;
}

static void make_commit(struct sp_commit *commit, struct sp_rng *rng, bool extreme)
{
    commit->rate = any_float(rng);
    commit->decay = any_float(rng);
    commit->rates_count = extreme ? SP_TENSORS_MAX : sp_rng_below(rng, 4) * sp_rng_below(rng, 40);
    commit->decays_count = extreme ? SP_TENSORS_MAX : sp_rng_below(rng, 4) * sp_rng_below(rng, 40);
    if (commit->rates_count > 0)
        commit->rates = make_floats(rng, commit->rates_count);
    if (commit->decays_count > 0)
        commit->decays = make_floats(rng, commit->decays_count);
    any_bytes(rng, commit->voters, extreme ? sizeof commit->voters : sp_rng_below(rng, sizeof commit->voters + 1));
    if (extreme)
        commit->voters[sizeof commit->voters - 1] = 0x7f;
    commit->last = any_bool(rng);
    commit->next_phase = sp_rng_below(rng, SP_PHASES);
    commit->next_sigma = any_float(rng);
    commit->next_wire = extreme ? SP_WIRE_I8 : sp_rng_below(rng, 3);
    commit->next_buffers = extreme || any_bool(rng);
    commit->has_digest = extreme || any_bool(rng);
    commit->digest = any64(rng);
}

void codec_make(struct sp_message *message, enum sp_frame_type type, struct sp_rng *rng, bool extreme)
{
    memset(message, 0, sizeof *message);
    message->frame.type = type;
    message->frame.round = any32(rng);
    switch (type) {
    case SP_FRAME_HELLO:
        make_hello(&message->hello, rng, extreme);
        break;
    case SP_FRAME_WELCOME:
        make_welcome(&message->welcome, rng, extreme);
        break;
    case SP_FRAME_PUSH:
        message->frame.flags = (uint16_t)sp_rng_below(rng, 16);
        make_push(&message->push, rng, extreme);
        break;
    case SP_FRAME_UPDATE:
        message->frame.flags = (uint16_t)sp_rng_below(rng, 16);
        message->voters = extreme ? SP_SLOTS_MAX : sp_rng_below(rng, SP_SLOTS_MAX + 1);
        break;
    case SP_FRAME_COMMIT:
        make_commit(&message->commit, rng, extreme);
        break;
    case SP_FRAME_EVAL:
        message->eval.parts = extreme ? UINT32_MAX : 1 + sp_rng_below(rng, 300);
        message->eval.part = extreme ? UINT32_MAX - 1 : sp_rng_below(rng, message->eval.parts);
        break;
    case SP_FRAME_SCORE:
        message->score = (struct sp_part_score){any32(rng), any64(rng), any64(rng), any_double(rng)};
        break;
    case SP_FRAME_BYE:
        message->bye.reason = any32(rng);
        any_text(rng, message->bye.words, sizeof message->bye.words, true, extreme);
        break;
    case SP_FRAME_WEIGHTS:
        message->frame.flags = (uint16_t)sp_rng_below(rng, 16);
        message->digest = (message->frame.flags & SP_FRAME_LAST) != 0 ? any64(rng) : 0;
        break;
    case SP_FRAME_READY:
    case SP_FRAME_RESYNC:
        message->digest = any64(rng);
        break;
    case SP_FRAME_CHALLENGE:
        any_bytes(rng, message->challenge.nonce, sizeof message->challenge.nonce);
        any_bytes(rng, message->challenge.proof, sizeof message->challenge.proof);
        break;
    case SP_FRAME_PROOF:
        any_bytes(rng, message->proof, sizeof message->proof);
        break;
    case SP_FRAME_LAYOUT:
        make_layout(&message->layout, rng, extreme);
        break;
    case SP_FRAME_ASK:
        any_text(rng, message->command, sizeof message->command, true, extreme);
        break;
    case SP_FRAME_ANSWER:
        message->answer = make_answer(rng, extreme);
        break;
    default:
        break;
    }
}

size_t codec_bulk_max(enum sp_frame_type type)
{
    return type == SP_FRAME_PUSH || type == SP_FRAME_UPDATE || type == SP_FRAME_WEIGHTS ? SP_BULK_BYTES_MAX : 0;
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

#define SAME(field) ck_assert_mem_eq(&a->field, &b->field, sizeof a->field)

static void same_hello(const struct sp_hello *a, const struct sp_hello *b)
{
    ck_assert_str_eq(a->job, b->job);
    ck_assert_str_eq(a->program, b->program);
    SAME(role);
    SAME(layout_digest);
    SAME(examples);
    SAME(test_examples);
    SAME(data_digest);
    SAME(wanted_slot);
    SAME(has_ticket);
    SAME(ticket);
    SAME(has_nonce);
    SAME(nonce);
}

static void same_layout(const struct sp_layout *a, const struct sp_layout *b)
{
    SAME(tensors_count);
    SAME(trained);
    SAME(coordinates);
    SAME(buffers);
    for (uint32_t i = 0; i < a->tensors_count; i++)
        unit_assert(memcmp(&a->tensors[i], &b->tensors[i], sizeof a->tensors[i]) == 0, "tensor %u differs", i);
}

static void same_welcome(const struct sp_welcome *a, const struct sp_welcome *b)
{
    SAME(spare);
    SAME(slot);
    SAME(ticket);
    SAME(plan_count);
    for (uint32_t i = 0; i < a->plan_count; i++) {
        unit_assert(strcmp(a->plan[i].key, b->plan[i].key) == 0, "key %u differs", i);
        unit_assert(strcmp(a->plan[i].value, b->plan[i].value) == 0, "value %u differs", i);
    }
    SAME(rounds);
    SAME(round);
    SAME(phase);
    SAME(sigma);
    SAME(lambda);
    SAME(traits_count);
    ck_assert_int_eq(a->traits == NULL, b->traits == NULL);
    if (a->traits_count > 0)
        ck_assert_mem_eq(a->traits, b->traits, a->traits_count);
    SAME(alive_interval_ms);
    SAME(silence_ms_max);
    SAME(run);
}

static void same_push(const struct sp_push *a, const struct sp_push *b)
{
    SAME(has_dot);
    SAME(dot);
    SAME(has_scalars);
    SAME(loss);
    SAME(gradient_norm2);
    SAME(examples);
    SAME(has_sketch);
    SAME(sketch);
}

static void same_commit(const struct sp_commit *a, const struct sp_commit *b)
{
    SAME(rate);
    SAME(decay);
    SAME(rates_count);
    SAME(decays_count);
    ck_assert_int_eq(a->rates == NULL, b->rates == NULL);
    ck_assert_int_eq(a->decays == NULL, b->decays == NULL);
    if (a->rates_count > 0)
        ck_assert_mem_eq(a->rates, b->rates, a->rates_count * sizeof *a->rates);
    if (a->decays_count > 0)
        ck_assert_mem_eq(a->decays, b->decays, a->decays_count * sizeof *a->decays);
    SAME(voters);
    SAME(last);
    SAME(next_phase);
    SAME(next_sigma);
    SAME(next_wire);
    SAME(next_buffers);
    SAME(has_digest);
    SAME(digest);
}

static void same_score(const struct sp_part_score *a, const struct sp_part_score *b)
{
    SAME(part);
    SAME(correct);
    SAME(total);
    SAME(loss_sum);
}

void codec_expect_same(const struct sp_message *a, const struct sp_message *b)
{
    SAME(frame.type);
    SAME(frame.flags);
    SAME(frame.round);
    SAME(frame.first);
    SAME(frame.count);
    switch (a->frame.type) {
    case SP_FRAME_HELLO:
        same_hello(&a->hello, &b->hello);
        break;
    case SP_FRAME_WELCOME:
        same_welcome(&a->welcome, &b->welcome);
        break;
    case SP_FRAME_PUSH:
        same_push(&a->push, &b->push);
        break;
    case SP_FRAME_UPDATE:
        SAME(voters);
        break;
    case SP_FRAME_COMMIT:
        same_commit(&a->commit, &b->commit);
        break;
    case SP_FRAME_EVAL:
        SAME(eval.part);
        SAME(eval.parts);
        break;
    case SP_FRAME_SCORE:
        same_score(&a->score, &b->score);
        break;
    case SP_FRAME_BYE:
        SAME(bye.reason);
        ck_assert_str_eq(a->bye.words, b->bye.words);
        break;
    case SP_FRAME_WEIGHTS:
    case SP_FRAME_READY:
    case SP_FRAME_RESYNC:
        SAME(digest);
        break;
    case SP_FRAME_CHALLENGE:
        SAME(challenge.nonce);
        SAME(challenge.proof);
        break;
    case SP_FRAME_PROOF:
        SAME(proof);
        break;
    case SP_FRAME_LAYOUT:
        same_layout(&a->layout, &b->layout);
        break;
    case SP_FRAME_ASK:
        ck_assert_str_eq(a->command, b->command);
        break;
    case SP_FRAME_ANSWER:
        ck_assert_uint_eq(strlen(a->answer), strlen(b->answer));
        ck_assert_mem_eq(a->answer, b->answer, strlen(a->answer));
        break;
    default:
        break;
    }
}

/* --- decoding ----------------------------------------------------------------------------------------------------- */

int codec_decode(struct sp_message *message, enum sp_frame_type type, unsigned flags, const void *control, size_t bytes,
                 struct sp_error *error)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    int rc;

    unit_assert(copy != NULL, "out of memory");
    if (bytes > 0)
        memcpy(copy, control, bytes);
    memset(message, 0xee, sizeof *message);
    memset(&message->frame, 0, sizeof message->frame);
    message->frame.type = type;
    message->frame.flags = (uint16_t)flags;
    message->frame.control_bytes = (uint32_t)bytes;
    rc = sp_codec_decode(message, copy, error);
    free(copy);
    return rc;
}

int codec_decode_frame(const struct sp_buffer *buffer, struct sp_message *message, struct sp_error *error)
{
    const uint8_t *control = buffer->data + SP_FRAME_HEADER_BYTES;
    struct sp_frame frame = {0};
    int rc;

    ck_assert_uint_ge(buffer->bytes, SP_FRAME_HEADER_BYTES);
    rc = sp_frame_decode(buffer->data, &frame, error);
    if (rc != SP_OK)
        return rc;
    ck_assert_uint_eq(buffer->bytes, (size_t)SP_FRAME_HEADER_BYTES + frame.control_bytes + frame.bulk_bytes);
    rc = sp_frame_check_control(buffer->data, &frame, control, error);
    if (rc == SP_OK)
        rc = sp_frame_check_bulk(&frame, control + frame.control_bytes, error);
    if (rc != SP_OK)
        return rc;
    rc = codec_decode(message, frame.type, frame.flags, control, frame.control_bytes, error);
    message->frame = frame;
    return rc;
}

/* --- writing by hand ---------------------------------------------------------------------------------------------- */

void codec_put_varint(struct codec_bytes *out, uint64_t value)
{
    do {
        unit_assert(out->used < sizeof out->data, "no room");
        out->data[out->used++] = (uint8_t)(value > 0x7f ? value | 0x80 : value);
        value >>= 7;
    } while (value > 0);
}

static void put_raw(struct codec_bytes *out, const void *bytes, size_t count)
{
    unit_assert(count <= sizeof out->data - out->used, "no room");
    if (count > 0)
        memcpy(out->data + out->used, bytes, count);
    out->used += count;
}

void codec_put_uint(struct codec_bytes *out, unsigned field, uint64_t value)
{
    codec_put_varint(out, field << 3 | 0);
    codec_put_varint(out, value);
}

void codec_put_fixed64(struct codec_bytes *out, unsigned field, uint64_t value)
{
    codec_put_varint(out, field << 3 | 1);
    put_raw(out, &value, sizeof value);
}

void codec_put_double(struct codec_bytes *out, unsigned field, double value)
{
    codec_put_varint(out, field << 3 | 1);
    put_raw(out, &value, sizeof value);
}

void codec_put_bytes(struct codec_bytes *out, unsigned field, const void *bytes, size_t count)
{
    codec_put_varint(out, field << 3 | 2);
    codec_put_varint(out, count);
    put_raw(out, bytes, count);
}

void codec_put_text(struct codec_bytes *out, unsigned field, const char *text)
{
    codec_put_bytes(out, field, text, strlen(text));
}

void codec_put_float(struct codec_bytes *out, unsigned field, float value)
{
    codec_put_varint(out, field << 3 | 5);
    put_raw(out, &value, sizeof value);
}
