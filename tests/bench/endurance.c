/* A job of very many rounds in the round core: no sockets, no learners, and workers whose pushes are made once. Does
 * memory stay as it is, and do the counters count on?
 *
 * Usage: endurance [ROUNDS [PARAMS]]           1000000 and 5000 where they are not given
 *
 * Four workers push by a quorum of three; half of the job are sign rounds, half SGD in int8. In every eighth round a
 * chunk comes twice, in every sixteenth one worker is late, and every hundredth a worker leaves and another one comes.
 * Prints a line with every tenth of the job. Ends with 1 if a counter is not what it must be, or if memory grew after
 * the first tenth of either half.
 */
#include "common/sums.h"
#include "common/values.h"
#include "common/weights.h"
#include "proto/chunks.h"
#include "server/round.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 4, MADE = 16, TWICE = 8, LATE = 16, LEAVES = 100, TENTHS = 10 };
#define GROWTH_KIB_MAX 1024

/* Milliseconds since some start, soon more than 32 bits. */
#define START_MS (UINT32_MAX - UINT64_C(1000))

struct endurance {
    struct sp_job job;
    struct sp_layout layout;
    struct sp_round *round;
    struct sp_round_form form; /* of the round that is collected */
    uint32_t committed, peers, peer[WORKERS];
    uint64_t now_ms, twice, late, left;
    uint64_t rss_kib; /* once it is settled */
    float *made[MADE];
    uint8_t scratch[SP_BULK_BYTES_MAX];
};

static _Noreturn void fail(const char *words, uint64_t found, uint64_t expected)
{
    (void)fprintf(stderr, "endurance: %s: %" PRIu64 ", not %" PRIu64 "\n", words, found, expected);
    exit(1);
}

static void expect(const char *words, uint64_t found, uint64_t expected)
{
    if (found != expected)
        fail(words, found, expected);
}

static uint64_t rss_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;

    if (file == NULL || fscanf(file, "%*u %llu", &pages) != 1)
        fail("pages in /proc/self/statm", 0, 1);
    (void)fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
}

/* --- the job ---------------------------------------------------------------------------------------------------------
 */

static void set(struct endurance *e, const char *key, const char *value)
{
    struct sp_error error = {0};

    if (sp_job_set(&e->job, key, value, &error) != SP_OK)
        fail(error.text, 0, 1);
}

static void make_job(struct endurance *e, uint32_t rounds)
{
    static const char *const settings[][2] = {{"job", "endurance"},
                                              {"workers", "4"},
                                              {"train.report", "1000"},
                                              {"optimizer.sign.lr", "0.0001"},
                                              {"optimizer.switch.when", "at"},
                                              {"optimizer.sgd.wire", "i8"},
                                              {"server.close.quorum", "3"}};
    char text[32];

    sp_job_init(&e->job);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        set(e, settings[i][0], settings[i][1]);
    (void)snprintf(text, sizeof text, "%" PRIu32, rounds);
    set(e, "train.rounds", text);
    (void)snprintf(text, sizeof text, "%" PRIu32, rounds / 2);
    set(e, "optimizer.switch.step", text);
}

static void make_model(struct endurance *e, uint64_t params)
{
    const struct sp_tensor tensor = {.name = "weight", .dims = 1, .shape = {params}, .flags = SP_TENSOR_DECAY};
    uint64_t x = 88172645463325252u;

    if (sp_layout_add(&e->layout, &tensor, NULL) != SP_OK)
        fail("a model of so many parameters", params, 0);
    for (unsigned i = 0; i < MADE; i++) {
        e->made[i] = calloc((size_t)params, sizeof *e->made[i]);
        for (uint64_t j = 0; e->made[i] != NULL && j < params; j++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            e->made[i][j] = (float)((double)(x >> 11) / 9007199254740992.0 - 0.5);
        }
        if (e->made[i] == NULL)
            fail("memory for gradients", i, MADE);
    }
}

/* --- events ----------------------------------------------------------------------------------------------------------
 */

static void take_actions(struct endurance *e)
{
    struct sp_action action;

    while (sp_round_next(e->round, &action)) {
        if (action.type != SP_ACTION_COMMIT)
            continue;
        e->committed = action.round;
        e->form = (struct sp_round_form){.phase = (enum sp_phase)action.commit.next_phase,
                                         .wire = (enum sp_wire)action.commit.next_wire,
                                         .buffers = action.commit.next_buffers};
    }
    sp_round_settle(e->round);
}

static uint64_t weights_digest(struct endurance *e)
{
    struct sp_view view;

    sp_round_view(e->round, &view);
    return sp_weights_digest(view.theta, e->layout.coordinates);
}

/* Zeros. */
static void give_weights(struct endurance *e, uint32_t peer)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_WEIGHTS}};
    uint32_t chunks = sp_chunks_count(&e->layout, &sp_weights_form);
    float *zeros = calloc((size_t)e->layout.coordinates, sizeof *zeros);

    if (zeros == NULL)
        fail("memory for weights", 0, 1);
    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_chunk chunk = sp_chunk_at(&e->layout, &sp_weights_form, k);
        void *to = NULL;

        message.frame.first = chunk.first;
        message.frame.count = chunk.count;
        message.frame.flags = chunk.flags;
        message.frame.bulk_bytes = (uint32_t)chunk.bytes;
        message.digest = sp_weights_digest(zeros, e->layout.coordinates);
        expect("place of weights", (uint64_t)sp_round_place(e->round, peer, &message.frame, &to, NULL), SP_OK);
        memset(to, 0, chunk.bytes);
        expect("weights", (uint64_t)sp_round_weights(e->round, peer, &message, e->now_ms, NULL), SP_OK);
    }
    free(zeros);
    take_actions(e);
}

static void join(struct endurance *e, int slot)
{
    struct sp_hello hello = {.layout = e->layout, .examples = 1000, .wanted_slot = slot};
    uint32_t peer = ++e->peers;
    uint8_t ticket[SP_TICKET_BYTES] = {0};

    (void)strcpy(hello.job, "endurance");
    (void)strcpy(hello.program, "endurance");
    hello.layout_digest = sp_layout_digest(&e->layout);
    memcpy(ticket, &peer, sizeof peer);
    sp_round_hello(e->round, peer, "a worker", &hello, ticket, e->now_ms);
    take_actions(e);
    if (peer == 1)
        give_weights(e, peer);
    expect("READY", (uint64_t)sp_round_ready(e->round, peer, e->committed, weights_digest(e), e->now_ms, NULL), SP_OK);
    take_actions(e);
    e->peer[slot] = peer;
}

static void fill(struct endurance *e, const struct sp_chunk *chunk, const float *values, uint8_t *to)
{
    const float *from = values + chunk->first;

    if (e->form.phase == SP_PHASE_SGD) {
        sp_values_encode(e->form.wire, &e->layout, chunk->first, chunk->count, from, NULL, to);
        return;
    }
    memset(to, 0, chunk->bytes);
    for (uint32_t j = 0; j < chunk->count; j++)
        to[j / 8] |= (uint8_t)((from[j] > 0.0f) << (j % 8));
}

static void give_scalars(const struct endurance *e, const struct sp_chunk *chunk, uint32_t t, struct sp_push *push)
{
    memset(push, 0, sizeof *push);
    push->has_dot = chunk->first == 0;
    push->dot = 0.5;
    push->has_scalars = push->has_sketch = chunk->first + chunk->count == e->layout.coordinates;
    push->loss = 1.0 + 1.0 / (double)t;
    push->gradient_norm2 = (double)e->layout.coordinates / 12.0;
    push->examples = 1;
    for (unsigned i = 0; i < SP_SKETCH_BUCKETS; i++)
        push->sketch[i] = (float)((i * 37u + t) % 11u) - 5.0f;
}

/* Chunk k of round t as the daemon hands it over: what is not wanted lands in the scratch. */
static void push_chunk(struct endurance *e, uint32_t slot, uint32_t t, uint32_t k)
{
    struct sp_chunk chunk = sp_chunk_at(&e->layout, &e->form, k);
    struct sp_message message = {.frame = {.type = SP_FRAME_PUSH,
                                           .round = t,
                                           .first = chunk.first,
                                           .count = chunk.count,
                                           .flags = chunk.flags,
                                           .bulk_bytes = (uint32_t)chunk.bytes}};
    struct sp_error error = {0};
    void *to = NULL;
    int rc = sp_round_place(e->round, e->peer[slot], &message.frame, &to, &error);

    if (rc != SP_OK && rc != SP_E_STATE)
        fail(error.text[0] != '\0' ? error.text : "a push is held back", (uint64_t)rc, SP_OK);
    fill(e, &chunk, e->made[(slot * 5u + t) % MADE], rc == SP_OK ? to : e->scratch);
    give_scalars(e, &chunk, t, &message.push);
    rc = sp_round_push(e->round, e->peer[slot], &message, e->now_ms, &error);
    expect(error.text[0] != '\0' ? error.text : "a push", (uint64_t)rc, SP_OK);
    take_actions(e);
}

/* All of the round's chunks in turn, as the window wants it. The last worker comes first, for it may be behind. */
static void push_all(struct endurance *e, uint32_t t, uint32_t workers, bool twice)
{
    uint32_t chunks = sp_chunks_count(&e->layout, &e->form);

    for (uint32_t k = 0; k < chunks; k++) {
        for (uint32_t slot = workers; slot-- > 0;) {
            push_chunk(e, slot, t, k);
            if (twice && k == 0 && slot == WORKERS - 1)
                push_chunk(e, slot, t, k);
        }
    }
}

/* The last worker has still not given anything when its time is up; then it does, and is in time in the next round. */
static void go_on_without_the_last(struct endurance *e, uint32_t t)
{
    struct sp_round_form form = e->form, next;

    while (e->committed < t) {
        e->now_ms += 1;
        sp_round_tick(e->round, e->now_ms);
        take_actions(e);
    }
    next = e->form;
    e->form = form;
    push_chunk(e, WORKERS - 1, t, 0);
    e->form = next;
    e->late++;
}

static void run_round(struct endurance *e, uint32_t t, uint32_t rounds)
{
    bool late = t % LATE == LATE - 1 && t < rounds && sp_chunks_count(&e->layout, &e->form) == 1;
    bool twice = t % TWICE == 0;

    e->now_ms += 2;
    push_all(e, t, late ? WORKERS - 1 : WORKERS, twice);
    e->twice += twice;
    if (late)
        go_on_without_the_last(e, t);
    expect("the round", e->committed, t);
    if (t % LEAVES == 0 && t < rounds) {
        sp_round_left(e->round, e->peer[t / LEAVES % WORKERS], "it leaves", e->now_ms);
        take_actions(e);
        join(e, (int)(t / LEAVES % WORKERS));
        e->left++;
    }
}

/* --- what came of it -------------------------------------------------------------------------------------------------
 */

/* Memory is settled after the first tenth of a half: the SGD phase takes some of its own. */
static void look(struct endurance *e, unsigned tenth)
{
    uint64_t kib = rss_kib();

    (void)printf("| %9" PRIu32 " | %5s | %8" PRIu64 " | %9" PRIu64 " | %9" PRIu64 " | %9" PRIu64 " |\n", e->committed,
                 sp_phase_name(sp_round_phase(e->round, e->committed)), kib, e->twice, e->late, e->left);
    (void)fflush(stdout);
    if (tenth % (TENTHS / 2) == 1)
        e->rss_kib = kib;
    else if (kib > e->rss_kib + GROWTH_KIB_MAX)
        fail("KiB of memory, which grew", kib, e->rss_kib);
}

static void check_counters(struct endurance *e, uint32_t rounds)
{
    struct sp_view view;
    uint64_t votes = 0, missed = 0, late = 0, duplicates = 0, joins = 0, compared = 0;

    sp_round_view(e->round, &view);
    for (unsigned i = 0; i < WORKERS; i++) {
        votes += view.slots[i].votes;
        missed += view.slots[i].missed;
        late += view.slots[i].late;
        duplicates += view.slots[i].duplicates;
        joins += view.slots[i].joins;
        compared += view.slots[i].compared;
    }
    expect("stage", view.stage, SP_STAGE_OVER);
    expect("rounds", view.round, rounds);
    expect("late pushes", late, e->late);
    expect("missed rounds", missed, e->late);
    expect("votes", votes, (uint64_t)WORKERS * rounds - e->late);
    expect("duplicates", duplicates, e->twice);
    expect("joins", joins, WORKERS + e->left);
    if (compared < e->layout.coordinates * (rounds / 2) * (WORKERS - 1))
        fail("coordinates compared", compared, e->layout.coordinates * (rounds / 2) * (WORKERS - 1));
}

int main(int argc, char **argv)
{
    static struct endurance e;
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    uint64_t params = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000;
    unsigned tenth = 0;

    if (rounds < 2 * TENTHS || params == 0) {
        (void)fprintf(stderr, "Usage: endurance [ROUNDS [PARAMS]], at least %d rounds\n", 2 * TENTHS);
        return 2;
    }
    e.now_ms = START_MS;
    make_job(&e, rounds);
    make_model(&e, params);
    if (sp_round_create(&e.round, &e.job) != SP_OK)
        fail("memory for the job", 0, 1);
    for (int slot = 0; slot < WORKERS; slot++)
        join(&e, slot);
    (void)printf("|    rounds | phase |  RSS KiB |     twice |      late |      left |\n|---|---|---|---|---|---|\n");
    for (uint32_t t = 1; t <= rounds; t++) {
        run_round(&e, t, rounds);
        if ((uint64_t)t * TENTHS / rounds > tenth)
            look(&e, ++tenth);
    }
    check_counters(&e, rounds);
    sp_round_destroy(e.round);
    sp_layout_finish(&e.layout);
    for (unsigned i = 0; i < MADE; i++)
        free(e.made[i]);
    return 0;
}
