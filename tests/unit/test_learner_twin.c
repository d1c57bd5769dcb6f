/* Jobs that pass through every phase, wire and section, against a twin that does each step on whole arrays; with the
 * gradient in any order and cut anywhere. Whatever the form: same pushes, same scalars, same weights, bit for bit. */
#include "common/sums.h"
#include "learning.h"
#include "worker/client/dither.h"

#include <math.h>
#include <stdio.h>

/* What a job may be. */
struct kind {
    const char *name;
    const struct learning_tensor *tensors;
    uint32_t count;
};

/* Tensors in full of 18000 values, and buffers of 17600: both sections end their first chunk within a tensor. Several
 * tensors lie in one chunk of the main section, and one lies in several. */
static const struct learning_tensor mixed[] = {
    {40000, 0}, {9000, SP_TENSOR_FULL}, {30001, SP_TENSOR_DECAY}, {9000, SP_TENSOR_FULL | SP_TENSOR_DECAY},
    {77, 0},    {1, SP_TENSOR_DECAY},   {600, SP_TENSOR_BUFFER},  {17000, SP_TENSOR_BUFFER}};
static const struct learning_tensor plain[] = {{70001, 0}, {5, SP_TENSOR_DECAY}};
static const struct learning_tensor small[] = {{13, SP_TENSOR_DECAY}, {7, 0}, {3, SP_TENSOR_BUFFER}};
static const struct learning_tensor only_full[] = {{100, SP_TENSOR_FULL}, {20000, SP_TENSOR_FULL}};

static const struct kind kinds[] = {{"mixed", mixed, UNIT_COUNT(mixed)},
                                    {"plain", plain, UNIT_COUNT(plain)},
                                    {"small", small, UNIT_COUNT(small)},
                                    {"only full", only_full, UNIT_COUNT(only_full)}};

/* Of round t stands at t - 1. */
static const struct learning_next course[] = {
    {SP_PHASE_SIGN, SP_WIRE_F32, 0.5f, false},   {SP_PHASE_SIGN, SP_WIRE_F32, 0.25f, true},
    {SP_PHASE_SIGN, SP_WIRE_F32, 0.0f, false},   {SP_PHASE_MARGIN, SP_WIRE_F32, 1.0f, true},
    {SP_PHASE_MARGIN, SP_WIRE_F32, 1.0f, false}, {SP_PHASE_SGD, SP_WIRE_F32, 0.0f, false},
    {SP_PHASE_SGD, SP_WIRE_BF16, 0.0f, true},    {SP_PHASE_SGD, SP_WIRE_I8, 0.0f, false},
    {SP_PHASE_SGD, SP_WIRE_I8, 0.0f, true},      {SP_PHASE_SGD, SP_WIRE_I8, 0.0f, false},
};

#define ROUNDS ((uint32_t)UNIT_COUNT(course))
#define TENSORS_MAX 8
#define VOTERS 5

static struct learning p;

static struct twin {
    uint64_t d, voted;
    float *m, *theta, *residual, *values, *full, *averages;
    float *g, *own; /* the gradient, and m, of what is voted on, one tensor after the other */
    double rms, rms_tensor[TENSORS_MAX], dot;
    bool has_dot;
} twin;

/* --- the twin -------------------------------------------------------------------------------------------------------
 */

static const struct sp_tensor *tensor_of(uint64_t j)
{
    return &p.layout.tensors[sp_layout_find(&p.layout, j)];
}

static void begin_twin(void)
{
    size_t d = (size_t)p.layout.coordinates;

    twin = (struct twin){.d = d, .voted = d - p.layout.full};
    twin.m = calloc(d, sizeof(float));
    twin.theta = calloc(d, sizeof(float));
    twin.residual = calloc(d, sizeof(float));
    twin.values = calloc(d, sizeof(float));
    twin.g = calloc(d, sizeof(float));
    twin.own = calloc(d, sizeof(float));
    twin.full = calloc((size_t)p.layout.full + 1, sizeof(float));
    twin.averages = calloc((size_t)p.layout.buffers + 1, sizeof(float));
    memcpy(twin.theta, p.learner.theta, d * sizeof(float));
}

static void end_twin(void)
{
    float *owned[] = {twin.m, twin.theta, twin.residual, twin.values, twin.g, twin.own, twin.full, twin.averages};

    for (size_t i = 0; i < UNIT_COUNT(owned); i++)
        free(owned[i]);
}

/* Leaves out the tensors in full. */
static void gather(const float *from, float *to)
{
    for (uint32_t i = 0; i < p.layout.trained; i++) {
        const struct sp_tensor *tensor = &p.layout.tensors[i];

        if (sp_tensor_is(tensor, SP_TENSOR_FULL))
            continue;
        memcpy(to, from + tensor->first, (size_t)tensor->count * sizeof *to);
        to += tensor->count;
    }
}

static void twin_momentum(const struct learning_next *now)
{
    bool is_plain = now->phase == SP_PHASE_SGD && !p.setup.momentum_after;
    float beta1 = is_plain ? 0.0f : (float)LEARNING_BETA1;
    float rest = is_plain ? 1.0f : (float)(1.0 - LEARNING_BETA1);

    for (uint64_t j = 0; j < twin.d; j++) {
        volatile float kept = beta1 * twin.m[j], added = rest * p.gradient[j];

        twin.m[j] = kept + added;
    }
    gather(p.gradient, twin.g);
    gather(twin.m, twin.own);
}

static double rms_of(const float *values, uint64_t count)
{
    return count > 0 ? sqrt(sp_sum_squares(values, (size_t)count) / (double)count) : 0.0;
}

static void twin_signs(const struct learning_next *now, uint8_t *bits)
{
    float gains[TENSORS_MAX];
    double rms = twin.rms > 0.0 ? twin.rms : rms_of(twin.own, twin.voted);

    for (uint32_t i = 0; i < p.layout.trained; i++) {
        const struct sp_tensor *tensor = &p.layout.tensors[i];
        double own = twin.rms_tensor[i] > 0.0 ? twin.rms_tensor[i] : rms_of(twin.m + tensor->first, tensor->count);
        double scale = p.setup.dither_scale == SP_DITHER_SCALE_JOB      ? rms
                       : p.setup.dither_scale == SP_DITHER_SCALE_TENSOR ? own
                                                                        : 1.0;

        gains[i] = sp_dither_gain((double)now->sigma, scale);
    }
    sp_dither_pack_tensors(&p.layout, gains, twin.m, 0, (size_t)twin.d, sp_rng_key(LEARNING_SEED, SP_RNG_DITHER),
                           LEARNING_SLOT, p.learner.round + 1, bits);
}

/* --- what is compared -----------------------------------------------------------------------------------------------
 */

static void expect_bytes(unsigned flags, const void *expected, size_t bytes, const char *what)
{
    size_t pushed_bytes;
    uint8_t *pushed = learning_pushed(&p, flags, &pushed_bytes);

    unit_assert(pushed_bytes == bytes, "round %u: %zu bytes of %s, not %zu", p.learner.round + 1, pushed_bytes, what,
                bytes);
    unit_assert(bytes == 0 || memcmp(pushed, expected, bytes) == 0, "round %u: %s differs", p.learner.round + 1, what);
    free(pushed);
}

static void expect_main(const struct learning_next *now)
{
    uint8_t *expected = unit_alloc((size_t)twin.d * 4 + 65536);
    size_t bytes = (size_t)(twin.d + 7) / 8;
    uint32_t size = now->wire == SP_WIRE_F32 ? 16384 : 32768;

    if (now->phase != SP_PHASE_SGD) {
        twin_signs(now, expected);
    } else {
        bytes = 0;
        for (uint64_t first = 0; first < twin.d; first += size) {
            uint64_t n = twin.d - first < size ? twin.d - first : size;

            sp_values_encode(now->wire, &p.layout, first, n, twin.m + first, twin.residual + first, expected + bytes);
            bytes += sp_values_bytes(now->wire, &p.layout, first, n);
        }
    }
    expect_bytes(0, expected, bytes, "the main section");
    free(expected);
}

static void expect_full(void)
{
    float *expected = unit_alloc((size_t)p.layout.full * sizeof *expected);
    size_t n = 0;

    for (uint64_t j = 0; j < twin.d; j++)
        if (sp_tensor_is(tensor_of(j), SP_TENSOR_FULL))
            expected[n++] = twin.m[j];
    expect_bytes(SP_FRAME_FULL, expected, n * sizeof *expected, "the section in full");
    free(expected);
}

static void expect_scalars(const struct learning_next *now)
{
    bool statistics = now->phase != SP_PHASE_SGD || p.setup.tracking;
    struct sp_push push = learning_scalars(&p);
    double sketch[SP_SKETCH_BUCKETS] = {0};

    unit_assert(push.has_scalars && push.loss == 1.5 && push.examples == 16, "scalars");
    unit_assert(push.gradient_norm2 == sp_sum_squares(twin.g, (size_t)twin.voted), "norm");
    unit_assert(push.has_sketch == statistics, "a sketch, or none");
    for (uint32_t i = 0; i < p.layout.trained && statistics; i++) {
        const struct sp_tensor *tensor = &p.layout.tensors[i];

        if (!sp_tensor_is(tensor, SP_TENSOR_FULL))
            sp_sketch_add(sketch, LEARNING_SEED, p.learner.round + 1, tensor->first, p.gradient + tensor->first,
                          (size_t)tensor->count);
    }
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
        unit_assert(push.sketch[b] == (float)sketch[b], "bucket %u: %g, not %g", b, (double)push.sketch[b], sketch[b]);
    unit_assert(push.has_dot == twin.has_dot && push.dot == (twin.has_dot ? twin.dot : 0.0), "dot %.17g, not %.17g",
                push.dot, twin.dot);
}

static void expect_pushes(const struct learning_next *now)
{
    expect_main(now);
    expect_full();
    expect_bytes(SP_FRAME_BUFFERS, p.learner.buffers, now->buffers ? (size_t)p.layout.buffers * sizeof(float) : 0,
                 "buffers");
    expect_scalars(now);
}

/* --- update and commit ----------------------------------------------------------------------------------------------
 */

static void make_update(uint32_t t)
{
    struct sp_rng rng = unit_rng(500 + t);

    for (uint64_t j = 0; j < twin.d; j++)
        twin.values[j] = j % 5 == 0 ? 0.0f : unit_uniform(&rng);
    for (uint64_t j = 0; j < p.layout.full; j++)
        twin.full[j] = unit_uniform(&rng);
    for (uint64_t j = 0; j < p.layout.buffers; j++)
        twin.averages[j] = unit_uniform(&rng);
}

/* The dot of this round, for the push of the next, and the rms. */
static void twin_statistics(const struct learning_next *now)
{
    float *update = unit_alloc((size_t)twin.d * sizeof *update);
    struct sp_running_sum sum = {0};

    gather(p.update, update);
    if (now->phase == SP_PHASE_MARGIN)
        sp_running_add_products(&sum, update, twin.g, (size_t)twin.voted);
    else
        sp_running_add_sign_products(&sum, update, twin.g, (size_t)twin.voted);
    twin.has_dot = now->phase != SP_PHASE_SGD || p.setup.tracking;
    twin.dot = sp_running_total(&sum);
    twin.rms = rms_of(twin.own, twin.voted);
    for (uint32_t i = 0; i < p.layout.trained; i++)
        twin.rms_tensor[i] = rms_of(twin.m + p.layout.tensors[i].first, p.layout.tensors[i].count);
    free(update);
}

static void apply(const struct learning_next *next)
{
    float rates[TENSORS_MAX], decays[TENSORS_MAX];
    struct sp_commit commit = {.rates = rates,
                               .decays = decays,
                               .rates_count = p.layout.trained,
                               .decays_count = p.layout.trained,
                               .voters = {1u << LEARNING_SLOT},
                               .next_phase = next->phase,
                               .next_wire = next->wire,
                               .next_sigma = next->sigma,
                               .next_buffers = next->buffers};
    uint64_t n = 0;

    for (uint32_t i = 0; i < p.layout.trained; i++) {
        rates[i] = 0.01f * (float)(i + 1);
        decays[i] = 1.0f - 0.003f * (float)(i + 1);
    }
    for (uint64_t j = 0; j < twin.d; j++) {
        const struct sp_tensor *tensor = tensor_of(j);
        uint32_t i = (uint32_t)(tensor - p.layout.tensors);
        volatile float kept = sp_tensor_is(tensor, SP_TENSOR_DECAY) ? twin.theta[j] * decays[i] : twin.theta[j];
        volatile float step = rates[i] * (sp_tensor_is(tensor, SP_TENSOR_FULL) ? twin.full[n++] : p.update[j]);

        twin.theta[j] = kept - step;
    }
    ck_assert_int_eq(sp_learner_commit(&p.learner, p.learner.round + 1, &commit, &p.error), SP_OK);
    unit_assert(memcmp(p.learner.theta, twin.theta, (size_t)twin.d * sizeof(float)) == 0, "weights after round %u",
                p.learner.round);
}

static void whole_round(uint32_t t, uint32_t how)
{
    const struct learning_next *now = &course[t - 1], *next = &course[t % ROUNDS];
    const struct learning_update update = {twin.values, twin.full, twin.averages, VOTERS};

    learning_fill(&p, t);
    for (uint64_t j = 0; j < p.layout.buffers; j++)
        p.learner.buffers[j] = (float)j + 0.5f * (float)t;
    learning_give_in_order(&p, how);
    learning_pull_all(&p);
    twin_momentum(now);
    expect_pushes(now);
    unit_assert(memcmp(p.learner.m, twin.m, (size_t)twin.d * sizeof(float)) == 0, "m of round %u", t);
    make_update(t);
    learning_stage(&p, &update);
    apply(next);
    twin_statistics(now);
    for (uint64_t j = 0; j < p.layout.buffers; j++)
        unit_assert(p.learner.buffers[j] == (now->buffers ? twin.averages[j] : (float)j + 0.5f * (float)t),
                    "buffers after round %u", t);
}

/* Every kind with every scale of the dither, with and without tracking and momentum. */
START_TEST(test_twin)
{
    const struct kind *kind = &kinds[_i / 3];
    const struct sp_learner_setup setup = {.seed = LEARNING_SEED,
                                           .slot = LEARNING_SLOT,
                                           .beta1 = LEARNING_BETA1,
                                           .dither_scale = (enum sp_dither_scale)(_i % 3),
                                           .momentum_after = _i % 2 == 0,
                                           .tracking = _i % 4 < 2};

    for (uint32_t how = 0; how < (kind->tensors == small ? 40 : 5); how++) {
        learning_open(&p, kind->tensors, kind->count, &setup);
        learning_announce(&p, &course[0]);
        begin_twin();
        for (uint32_t t = 1; t <= ROUNDS; t++)
            whole_round(t, how);
        end_twin();
        learning_close(&p);
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("learner_twin");

    tcase_add_loop_test(tests, test_twin, 0, 3 * (int)UNIT_COUNT(kinds));
    return unit_run(suite_create("learner_twin"), tests);
}
