/* libFuzzer target: the state machine of a job (server/round.h) under any series of events that hostile workers, a
 * clock and an operator can make. The first bytes choose the job's options, the others what happens: what the frame
 * and codec decoders let through may come in any order and with any content; a worker that breaks the protocol leaves.
 *
 * After each event (round_world.c): actions go to who is there, the round's chunks go out in order and whole before
 * its COMMIT, rounds are committed one after the other, rates are numbers, weights as well if nobody pushed absurd
 * ones, slots and what is live are what the connections say. A checkpoint restores to what it was made of; a core
 * that is killed comes back from a checkpoint and the records since with the same weights. At the end all leave, and
 * workers that behave bring the job to its end.
 */
#include "input.h"
#include "round_world.h"

#include "common/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX 2048
#define LAYOUTS 6
#define LARGE (7 * 16384 + 3) /* more chunks of values than the window has */
#define FINISH_ROUNDS_MAX 6
#define FINISH_STEPS_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the job ---------------------------------------------------------------------------------------------------------
 */

#define CHOICES 8

/* A byte for each line says which is taken; what does not go with those before it is left out. */
static const char *const options[][CHOICES] = {
    {"workers=1", "workers=2", "workers=3", "workers=4", "workers=6"},
    {"train.rounds=2", "train.rounds=1", "train.rounds=4", "train.rounds=20", "train.rounds=0",
     "train.rounds=200 train.batch=1000"},
    {"optimizer.mode=hybrid", "optimizer.mode=sgd", "optimizer.mode=adam", "optimizer.start=margin",
     "optimizer.switch.to=margin", "optimizer.switch.to=margin optimizer.margin.until=0.5"},
    {"optimizer.switch.when=auto", "optimizer.switch.when=at optimizer.switch.step=1", "optimizer.switch.when=manual",
     "optimizer.switch.when=swats optimizer.switch.patience=1", "optimizer.switch.dry_run=true",
     "optimizer.switch.when=at optimizer.switch.fraction=0.5"},
    {"optimizer.sgd.lambda=norm_tensor", "optimizer.sgd.lambda=norm", "optimizer.sgd.lambda=paper",
     "optimizer.sgd.lambda=ratio", "optimizer.sgd.lambda=denoised", "optimizer.sgd.lr=0.1"},
    {"optimizer.sgd.rate=frozen", "optimizer.sgd.rate=tracking", "optimizer.sgd.clip=0", "optimizer.sgd.schedule=step"},
    {"optimizer.sgd.wire=auto", "optimizer.sgd.wire=f32", "optimizer.sgd.wire=bf16", "optimizer.sgd.wire=i8"},
    {"optimizer.sgd.aggregate=mean", "optimizer.sgd.aggregate=median", "optimizer.sgd.aggregate=trimmed_mean",
     "optimizer.sgd.aggregate=trimmed_mean optimizer.sgd.trim=0.4"},
    {"server.close=all", "server.close.quorum=1", "server.close.quorum=2", "server.close.quorum=3"},
    {"server.quarantine=off", "server.quarantine=warn", "server.quarantine=exclude",
     "server.quarantine=exclude optimizer.beta1=0"},
    {"server.statistics=mean", "server.statistics=robust", "data.shards=by_label"},
    {"tensors=[]", "tensors=[{match: \"t1\", update: full}]", "tensors=[{match: \"*\", update: full}]",
     "tensors=[{match: \"t*\", decay: true}, {match: \"b*\", update: full}]"},
    {"server.min_live=1", "server.min_live=2", "server.start_timeout=1", "server.init_timeout=1"},
    {"server.rejoin_timeout=1", "server.rejoin_timeout=0", "server.evaluate_timeout=2"},
    {"train.evaluate=1", "train.evaluate=0", "train.evaluate=0.2", "train.report=1"},
    {"optimizer.weight_decay=0", "optimizer.weight_decay=0.5", "optimizer.weight_decay=1 full.lr=1"},
    {"optimizer.sign.schedule=linear", "optimizer.sign.schedule=step optimizer.sign.step.epochs=0.1",
     "optimizer.sign.schedule=cosine optimizer.sign.warmup=0.2", "optimizer.sign.schedule=constant"},
    {"optimizer.dither.sigma0=0", "optimizer.dither.sigma0=1", "optimizer.beta2=0", "optimizer.sgd.momentum=none"},
};

#define OPTIONS (sizeof options / sizeof options[0])

static void set_all(struct sp_job *job, const char *settings)
{
    char text[160];
    char *rest = NULL;
    struct sp_job before = *job;

    (void)snprintf(text, sizeof text, "%s", settings);
    if (strncmp(settings, "tensors=", 8) == 0) {
        sp_assert(sp_job_set(job, "tensors", settings + 8, NULL) == SP_OK);
    } else {
        for (char *set = strtok_r(text, " ", &rest); set != NULL; set = strtok_r(NULL, " ", &rest)) {
            char *value = strchr(set, '=');

            *value++ = '\0';
            sp_assert(sp_job_set(job, set, value, NULL) == SP_OK);
        }
    }
    if (sp_job_validate(job, NULL, NULL) > 0)
        *job = before;
}

static void take_job(struct input *in, struct sp_job *job)
{
    static struct sp_job plain;

    if (plain.workers == 0) {
        sp_job_init(&plain);
        sp_assert(sp_job_set(&plain, "job", "fuzz", NULL) == SP_OK);
    }
    *job = plain;
    for (size_t i = 0; i < OPTIONS; i++) {
        size_t count = 0, choice;

        while (count < CHOICES && options[i][count] != NULL)
            count++;
        choice = (size_t)take(in, 1) % count;
        set_all(job, options[i][choice]);
    }
}

static const struct sp_layout *layout_of(unsigned number)
{
    static const uint64_t sizes[LAYOUTS][4] = {{7, 5}, {1}, {64, 200, 36}, {3, 300}, {9}, {LARGE}};
    static const uint64_t buffers[LAYOUTS] = {0, 0, 3, 1, 0, 0};
    static struct sp_layout layouts[LAYOUTS];
    struct sp_layout *layout = &layouts[number % LAYOUTS];

    if (layout->tensors_count > 0)
        return layout;
    for (unsigned i = 0; i < 4 && sizes[number % LAYOUTS][i] > 0; i++) {
        struct sp_tensor tensor = {.dims = 1, .shape = {sizes[number % LAYOUTS][i]}, .flags = i % 2};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        sp_assert(sp_layout_add(layout, &tensor, NULL) == SP_OK);
    }
    if (buffers[number % LAYOUTS] > 0) {
        struct sp_tensor tensor = {
            .name = "b", .dims = 1, .shape = {buffers[number % LAYOUTS]}, .flags = SP_TENSOR_BUFFER};

        sp_assert(sp_layout_add(layout, &tensor, NULL) == SP_OK);
    }
    return layout;
}

/* In place of the file of model.init: of layout 2, or of none. */
static int read_initial(void *arg, const struct sp_layout *layout, float *theta, float *buffers, char words[256],
                        struct sp_error *error)
{
    (void)arg;
    if (layout->coordinates != layout_of(2)->coordinates)
        return sp_error_set(error, SP_E_MISMATCH, "another model");
    for (uint64_t j = 0; j < layout->coordinates; j++)
        theta[j] = (float)j;
    memset(buffers, 0, (size_t)layout->buffers * sizeof *buffers);
    (void)snprintf(words, 256, "made");
    return SP_OK;
}

/* --- frames ----------------------------------------------------------------------------------------------------------
 */

/* Kinds of numbers, by the byte that a bulk is made of: such as a worker has, the opposite, small, huge, not finite. */
WATCHED_LESS static float number(uint8_t fill, uint64_t j)
{
    float value = (float)((fill + 7 * j) % 13) - 6.0f;

    if (fill < 0x80)
        return value / 8.0f;
    if (fill < 0xa0)
        return -number(fill - 0x80, j);
    if (fill < 0xb0)
        return value * 1e-30f;
    if (fill < 0xc0)
        return value * 5e37f;
    if (fill < 0xd0)
        return j % 5 == 1 ? NAN : value;
    return j % 7 == 3 ? -INFINITY : value;
}

/* What is not finite is not taken, and votes are votes, whatever they are made of. */
static bool is_modest(const struct world *w, const struct line *line)
{
    const struct sp_frame *frame = &line->message.frame;
    bool votes = frame->type == SP_FRAME_PUSH && w->form.phase != SP_PHASE_SGD &&
                 (frame->flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) == 0;

    return votes || line->fill < 0xb0 || (line->fill >= 0xc0 && line->fill < 0xe0);
}

WATCHED_LESS static void write_main(const struct world *w, const struct sp_layout *layout, const struct line *line,
                                    const float *values)
{
    const struct sp_frame *frame = &line->message.frame;
    uint8_t *to = line->destination;

    if (frame->type == SP_FRAME_PUSH && w->form.phase == SP_PHASE_SGD) {
        sp_values_encode(w->form.wire, layout, frame->first, frame->count, values, NULL, to);
        return;
    }
    memset(to, 0, frame->bulk_bytes);
    for (uint32_t j = 0; j < frame->count; j++) {
        const struct sp_tensor *tensor = &layout->tensors[sp_layout_find(layout, frame->first + j)];

        if (values[j] > 0.0f && !sp_tensor_is(tensor, SP_TENSOR_FULL))
            to[j / 8] |= (uint8_t)(1u << (j % 8));
    }
}

/* The bulk comes in; from 0xe0 on as bytes that mean nothing. */
WATCHED_LESS static void write_bulk(struct world *w, struct line *line)
{
    const struct sp_frame *frame = &line->message.frame;
    const struct sp_layout *layout = sp_round_layout(w->round);
    static float values[SP_CHUNK_SIGNS];
    bool plain = frame->type == SP_FRAME_WEIGHTS || (frame->flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) != 0;

    if (line->discards || frame->bulk_bytes == 0)
        return;
    w->modest = w->modest && is_modest(w, line);
    if (line->fill >= 0xe0) {
        for (uint32_t i = 0; i < frame->bulk_bytes; i++)
            ((uint8_t *)line->destination)[i] = (uint8_t)(line->fill * (i + 1) >> (i % 3));
        return;
    }
    for (uint32_t j = 0; j < frame->count; j++)
        values[j] = number(line->fill, frame->first + j);
    if (plain)
        memcpy(line->destination, values, frame->bulk_bytes);
    else
        write_main(w, layout, line, values);
}

static void fill_in(struct world *w, struct line *line)
{
    write_bulk(w, line);
    world_filled(w, line);
}

/* Sends line->message, of which `half`: the bulk is only begun. */
static void send_frame(struct world *w, struct line *line, bool half)
{
    if (line->message.frame.bulk_bytes == 0) {
        line->reading = true;
        line->held = line->discards = false;
        world_filled(w, line);
        return;
    }
    world_place(w, line);
    if (!line->reading || line->held || half)
        world_settle(w, NULL, SP_OK, NULL);
    else
        fill_in(w, line);
}

static void start_frame(struct line *line, enum sp_frame_type type, uint32_t round, uint8_t fill)
{
    memset(&line->message, 0, sizeof line->message);
    line->message.frame.type = type;
    line->message.frame.round = round;
    line->fill = fill;
}

static void put_chunk(struct line *line, const struct sp_chunk *chunk)
{
    line->message.frame.first = chunk->first;
    line->message.frame.count = chunk->count;
    line->message.frame.flags = chunk->flags;
    line->message.frame.bulk_bytes = (uint32_t)chunk->bytes;
}

static double scalar(unsigned kind)
{
    static const double kinds[] = {1.0, 0.0, -3.5, 1e-300, 1e308, -1e308, NAN, INFINITY};

    return kinds[kind % 8];
}

static void put_scalars(struct sp_push *push, uint8_t what)
{
    push->has_dot = (what & 1) == 0;
    push->dot = scalar(what >> 1);
    push->has_scalars = (what & 2) == 0;
    push->loss = scalar(what >> 2);
    push->gradient_norm2 = scalar(what >> 3);
    push->examples = what;
    push->has_sketch = what % 5 != 4;
    for (unsigned i = 0; i < SP_SKETCH_BUCKETS; i++)
        push->sketch[i] = (float)scalar(what >> 4) * (float)((i + what) % 3);
}

/* --- what workers do -------------------------------------------------------------------------------------------------
 */

static void say_hello(struct world *w, struct line *line, struct sp_hello *hello)
{
    static const char name[] = "127.0.0.1:1";

    world_drop(w, line);
    line->peer = ++w->peers;
    line->evals_count = 0;
    for (unsigned i = 0; i < SP_TICKET_BYTES; i++)
        line->ticket[i] = (uint8_t)(w->peers >> (8 * (i % 4)));
    hello->layout_digest = sp_layout_digest(&hello->layout);
    sp_round_hello(w->round, line->peer, name, hello, line->ticket, w->now_ms);
    world_settle(w, NULL, SP_OK, NULL);
}

static void say_any_hello(struct world *w, struct line *line, struct input *in)
{
    static const uint64_t counts[] = {100, 1, 0, 33, UINT32_MAX, UINT64_MAX, 1000, 4};
    unsigned what = (unsigned)take(in, 1), more = (unsigned)take(in, 1);
    struct sp_hello hello = {.wanted_slot = SP_ANY_SLOT};
    const struct line *other = &w->lines[more % LINES];

    (void)snprintf(hello.job, sizeof hello.job, "%s", more == 0xff ? "other" : "fuzz");
    hello.layout = *layout_of(what % 8 < LAYOUTS ? what % 8 : 0);
    hello.examples = counts[more / 8 % 4 == 3 ? what / 8 % 8 : 0];
    hello.test_examples = what / 32 % 2 == 0 ? 10 : what / 64 % 4;
    hello.data_digest = more / 32 % 4 == 3 ? what : 0;
    hello.has_ticket = what / 64 % 2 == 1 && (other->has_ticket || more >= 128);
    memcpy(hello.ticket, other->ticket, SP_TICKET_BYTES);
    if (what / 128 == 1)
        hello.wanted_slot = (int)(more / 8 % 8) - 1;
    say_hello(w, line, &hello);
}

static void join(struct world *w, struct line *line)
{
    struct sp_hello hello = {.job = "fuzz", .examples = 100, .test_examples = 10, .wanted_slot = SP_ANY_SLOT};
    struct sp_view view;

    sp_round_view(w->round, &view);
    hello.layout = *layout_of(sp_round_needs_init(w->round) ? 2 : 0);
    if (view.layout != NULL) {
        hello.layout = *view.layout;
        hello.examples = view.examples;
        hello.test_examples = view.test_examples;
    }
    say_hello(w, line, &hello);
}

WATCHED_LESS static uint64_t digest_of(const struct sp_layout *layout, uint8_t fill)
{
    float *theta = calloc((size_t)layout->coordinates, sizeof *theta);
    uint64_t digest;

    sp_assert(theta != NULL);
    for (uint64_t j = 0; j < layout->coordinates; j++)
        theta[j] = number(fill, j);
    digest = sp_weights_digest(theta, layout->coordinates);
    free(theta);
    return digest;
}

static void give_weights(struct world *w, struct line *line, uint8_t fill, bool half)
{
    const struct sp_layout *layout = sp_round_layout(w->round);
    uint32_t chunks;
    struct sp_chunk chunk;

    if (layout == NULL)
        return;
    chunks = sp_chunks_count(layout, &sp_weights_form);
    chunk = sp_chunk_at(layout, &sp_weights_form, line->given < chunks ? line->given : 0);
    if (line->given == 0)
        line->theta = fill < 0xd0 ? fill : 0;
    start_frame(line, SP_FRAME_WEIGHTS, 0, chunk.section == SP_SECTION_MAIN ? line->theta : fill);
    put_chunk(line, &chunk);
    if ((chunk.flags & SP_FRAME_LAST) != 0)
        line->message.digest = digest_of(layout, line->theta) + (fill == 0xff);
    line->given++;
    send_frame(w, line, half);
}

/* Bytes for its scalars that also say that a push begins again, or is of the round before. */
#define AGAIN 0xfd
#define LATE 0xfc

static void push(struct world *w, struct line *line, uint8_t fill, uint8_t scalars, bool half)
{
    const struct sp_layout *layout = sp_round_layout(w->round);
    struct sp_chunk chunk;

    if (scalars == AGAIN)
        line->given = 0;
    if (layout == NULL || !w->started || line->given >= sp_chunks_count(layout, &w->form))
        return;
    chunk = sp_chunk_at(layout, &w->form, line->given);
    start_frame(line, SP_FRAME_PUSH, w->committed + (scalars != LATE), fill);
    put_chunk(line, &chunk);
    put_scalars(&line->message.push, scalars);
    line->given += scalars != LATE;
    send_frame(w, line, half);
}

static void say_ready(struct world *w, struct line *line, uint32_t round, uint64_t wrong)
{
    struct sp_error error = {0};
    const struct sp_layout *layout = sp_round_layout(w->round);
    struct sp_view view;
    uint64_t digest = wrong;
    int rc;

    sp_round_view(w->round, &view);
    if (view.theta != NULL)
        digest += sp_weights_digest(view.theta, layout->coordinates);
    rc = sp_round_ready(w->round, line->peer, round, digest, w->now_ms, &error);
    if (rc == SP_OK)
        line->state = LINE_READY;
    world_settle(w, line, rc, &error);
}

static void say_score(struct world *w, struct line *line, uint32_t round, const struct sp_part_score *score)
{
    struct sp_error error = {0};
    int rc = sp_round_score(w->round, line->peer, round, score, w->now_ms, &error);

    world_settle(w, line, rc, &error);
}

static void answer_evaluation(struct world *w, struct line *line)
{
    struct sp_part_score score = {.part = line->evals[--line->evals_count].part, .correct = 1, .total = 1};

    score.loss_sum = 0.5;
    say_score(w, line, line->evals_round, &score);
}

static void ask_again(struct world *w, struct line *line, uint32_t round)
{
    struct sp_error error = {0};
    int rc;

    line->following = false;
    if (line->state == LINE_READY) {
        line->state = LINE_SEATED;
        line->evals_count = 0;
    }
    rc = sp_round_resync(w->round, line->peer, round, 1, w->now_ms, &error);
    world_settle(w, line, rc, &error);
}

/* Whatever the frame decoder lets through. */
static void send_any(struct world *w, struct line *line, struct input *in)
{
    static const uint64_t firsts[] = {0, 1, 16384, 65536, 1u << 19, SP_COORDINATES_MAX, UINT32_MAX, 7};
    unsigned what = (unsigned)take(in, 1), range = (unsigned)take(in, 1);
    enum sp_frame_type type = what % 2 == 0 ? SP_FRAME_PUSH : SP_FRAME_WEIGHTS;
    uint32_t round = w->committed + (what / 2 % 8 == 7 ? (uint32_t)take(in, 4) : what / 2 % 8 / 2);
    struct sp_frame *frame = &line->message.frame;

    start_frame(line, type, round, (uint8_t)take(in, 1));
    frame->flags = (uint16_t)(what / 16);
    frame->first = firsts[range % 8];
    frame->count = range / 8 % 4 == 3 ? (uint32_t)take(in, 4) : range / 8 % 4 * 6;
    frame->bulk_bytes = range / 32 % 4 == 3 ? (uint32_t)take(in, 3) % (SP_BULK_BYTES_MAX + 1) : frame->count * 4;
    if (frame->count > SP_COORDINATES_MAX - frame->first || frame->bulk_bytes > SP_BULK_BYTES_MAX)
        frame->count = frame->bulk_bytes = 0;
    if (frame->count == 0 || frame->bulk_bytes == 0)
        frame->count = frame->bulk_bytes = 0;
    if (type == SP_FRAME_WEIGHTS)
        line->message.digest = take(in, 8);
    else
        put_scalars(&line->message.push, line->fill);
    if (line->fill < 0xe0)
        line->fill |= 0xe0; /* its range may be no chunk's, of which alone numbers can be written */
    send_frame(w, line, false);
}

/* What a worker that behaves does next. */
static void go_on(struct world *w, struct line *line, uint8_t fill)
{
    if (line->held)
        return;
    if (line->reading)
        fill_in(w, line);
    else if (line->peer == 0)
        join(w, line);
    else if (line->state == LINE_ASKED)
        give_weights(w, line, fill, false);
    else if (line->state == LINE_SENT)
        say_ready(w, line, line->round, 0);
    else if (line->state == LINE_READY && line->evals_count > 0)
        answer_evaluation(w, line);
    else if (line->state == LINE_READY)
        push(w, line, fill, 0, false);
}

/* --- events ----------------------------------------------------------------------------------------------------------
 */

static void tick(struct world *w, uint64_t ms)
{
    uint64_t due;

    w->now_ms += ms;
    sp_round_tick(w->round, w->now_ms);
    due = sp_round_due_ms(w->round);
    sp_assert(due > w->now_ms && due <= w->now_ms + 1000);
    world_settle(w, NULL, SP_OK, NULL);
}

static void operate(struct world *w, unsigned what)
{
    struct sp_error error = {0};
    int rc;

    if (what == 0xff) {
        sp_round_stop(w->round, "stopped by the fuzzer", w->now_ms);
    } else {
        rc = sp_round_switch(w->round, w->now_ms, &error);
        sp_assert(rc == SP_OK || (rc == SP_E_STATE && error.text[0] != '\0'));
    }
    world_settle(w, NULL, SP_OK, NULL);
}

static void say_any_score(struct world *w, struct line *line, struct input *in)
{
    unsigned what = (unsigned)take(in, 1);
    struct sp_part_score score = {
        .part = what % 8, .correct = what / 8 % 4, .total = what / 32, .loss_sum = scalar(what)};

    if (what == 0xff)
        score.part = UINT32_MAX;
    say_score(w, line, what % 5 == 4 ? what : line->evals_round, &score);
}

static void all_go_on(struct world *w, uint8_t fill)
{
    for (unsigned i = 0; i < LINES && i < w->job.workers + 1; i++)
        go_on(w, &w->lines[i], fill);
}

enum { HELLO, GO_ON, ALL, PUSH, WEIGHTS, READY, ANY, FILL, SCORE, RESYNC, LEFT, TICK, OPERATE, KEEP, CRASH, LEAVE_ALL };

/* What a worker sends; one whose bulk is on its way sends nothing else. */
static void from_worker(struct world *w, struct line *line, unsigned event, struct input *in)
{
    uint8_t what = event == ANY || event == SCORE ? 0 : (uint8_t)take(in, 1);
    uint8_t scalars = event == PUSH ? (uint8_t)take(in, 1) : 0;

    if (line->peer == 0 || line->reading)
        return;
    switch (event) {
    case GO_ON:
        go_on(w, line, what);
        break;
    case PUSH:
        push(w, line, what, scalars, what % 4 == 3);
        break;
    case WEIGHTS:
        give_weights(w, line, what, what % 4 == 3);
        break;
    case READY:
        say_ready(w, line, what < 0xf0 ? line->round : what * 0x10001u, what % 8 == 7);
        break;
    case ANY:
        send_any(w, line, in);
        break;
    case SCORE:
        say_any_score(w, line, in);
        break;
    case RESYNC:
        ask_again(w, line, what);
        break;
    default:
        break;
    }
}

static void happen(struct world *w, struct input *in)
{
    static const uint32_t times[] = {0, 1, 5, 30, 100, 1000, 12000, 130000};
    unsigned event = (unsigned)take(in, 1);
    struct line *line = &w->lines[event / 16 % LINES];
    uint64_t due;

    switch (event % 16) {
    case HELLO:
        say_any_hello(w, line, in);
        break;
    case ALL:
        all_go_on(w, (uint8_t)take(in, 1));
        break;
    case FILL:
        if (line->reading && !line->held)
            fill_in(w, line);
        break;
    case LEFT:
        line->breaks = event >= 128;
        if (!line->breaks)
            world_drop(w, line);
        world_settle(w, NULL, SP_OK, NULL);
        break;
    case TICK:
        due = sp_round_due_ms(w->round);
        tick(w, event < 128 ? times[event / 16 % 8] : due > w->now_ms ? due - w->now_ms : 1);
        break;
    case OPERATE:
        operate(w, (unsigned)take(in, 1));
        break;
    case KEEP:
        world_checkpoint(w, event / 16 % 8 * 16);
        break;
    case CRASH:
        if (world_crash(w))
            world_settle(w, NULL, SP_OK, NULL);
        break;
    case LEAVE_ALL:
        for (unsigned i = 0; i < LINES; i++)
            world_drop(w, &w->lines[i]);
        world_settle(w, NULL, SP_OK, NULL);
        break;
    default:
        from_worker(w, line, event % 16, in);
        break;
    }
}

/* Whatever happened, workers that behave bring the job to its end. */
static void finish(struct world *w)
{
    struct sp_view view;
    uint32_t left;

    sp_round_view(w->round, &view);
    left = view.layout != NULL ? view.rounds - view.round : w->job.train.rounds;
    if (left > FINISH_ROUNDS_MAX || (view.layout == NULL && left == 0))
        return;
    for (unsigned i = 0; i < LINES; i++)
        world_drop(w, &w->lines[i]);
    world_settle(w, NULL, SP_OK, NULL);
    for (unsigned step = 0; step < FINISH_STEPS_MAX && !w->over; step++) {
        for (uint32_t i = 0; i < w->job.workers && !w->over; i++)
            go_on(w, &w->lines[i], (uint8_t)(step % 100));
        tick(w, step < 40 ? 50 : 1000);
    }
    sp_assert(w->over);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};
    static struct world w;
    unsigned what;

    if (size > INPUT_BYTES_MAX)
        return -1;
    memset(&w, 0, sizeof w);
    take_job(&in, &w.job);
    world_open(&w);
    what = (unsigned)take(&in, 1);
    if (what % 8 == 7)
        sp_round_start_from(w.round, read_initial, NULL);
    while (in.size > 0 && w.peers < PEERS_MAX / 2)
        happen(&w, &in);
    if (what < 128)
        finish(&w);
    world_close(&w);
    return 0;
}
