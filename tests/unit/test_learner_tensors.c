/* What the job's rules may say of a tensor: that it travels in full, that its dither goes by its own size, that it is a
 * buffer. */
#include "common/pack.h"
#include "common/sums.h"
#include "learning.h"
#include "worker/client/dither.h"

#include <errno.h>
#include <math.h>

static struct learning p;

static const struct learning_next sign = {SP_PHASE_SIGN, SP_WIRE_F32, 0.0f, false};
static const struct learning_next dithered = {SP_PHASE_SIGN, SP_WIRE_F32, 0.5f, false};
static const struct learning_next averaging = {SP_PHASE_SIGN, SP_WIRE_F32, 0.0f, true};

static const struct sp_learner_setup by_tensor = {.seed = LEARNING_SEED,
                                                  .slot = LEARNING_SLOT,
                                                  .beta1 = LEARNING_BETA1,
                                                  .dither_scale = SP_DITHER_SCALE_TENSOR,
                                                  .momentum_after = true};

static void teardown(void)
{
    learning_close(&p);
}

static uint64_t packable(void)
{
    uint64_t first;
    uint32_t count;

    sp_learner_packable(&p.learner, &first, &count);
    return count;
}

static void begin(void)
{
    sp_learner_begin(&p.learner);
}

/* --- in full --------------------------------------------------------------------------------------------------------
 */

static const struct learning_tensor with_full[] = {{5, 0}, {4, SP_TENSOR_FULL}, {3, 0}};

/* In a sign round: no signs of it, its m in its own section, and its own rate. */
START_TEST(test_full_by_hand)
{
    static const float mean[4] = {1.0f, -2.0f, 0.5f, 0.0f};
    float rates[3] = {0.125f, 0.5f, 0.25f}, theta[12];
    struct sp_commit commit = {.rates = rates, .rates_count = 3, .decay = 1.0f};
    double dot = 0.0, norm2 = 0.0;
    struct sp_push push;
    uint8_t bits[2];

    learning_open(&p, with_full, 3, NULL);
    for (int j = 0; j < 12; j++)
        p.gradient[j] = (float)(j - 7) + 0.5f;
    memcpy(theta, p.learner.theta, sizeof theta);
    learning_give(&p);
    learning_pull_all(&p);
    ck_assert_uint_eq(p.pushes, 2);
    sp_pack_signs(p.gradient, 0, 12, 1, bits);
    ck_assert_uint_eq(p.push[0].bulk[0], bits[0] & 0x1fu);
    ck_assert_uint_eq(p.push[0].bulk[1], bits[1] & 0x0eu);
    ck_assert_uint_eq(p.push[1].message.frame.flags, SP_FRAME_FULL | SP_FRAME_LAST);
    ck_assert_uint_eq(p.push[1].message.frame.count, 4);
    ck_assert_mem_eq(p.push[1].bulk, p.learner.m + 5, 4 * sizeof(float));
    push = learning_scalars(&p);
    learning_stage(&p, &(struct learning_update){.values = p.gradient, .full = mean});
    ck_assert_int_eq(sp_learner_commit(&p.learner, 1, &commit, &p.error), SP_OK);
    for (int j = 0; j < 12; j++) {
        bool full = j >= 5 && j < 9;
        float step = full ? rates[1] * mean[j - 5] : rates[j < 5 ? 0 : 2] * (p.gradient[j] > 0.0f ? 1.0f : -1.0f);

        ck_assert_float_eq(p.learner.theta[j], theta[j] - step);
        dot += full ? 0.0 : fabs((double)p.gradient[j]);
        norm2 += full ? 0.0 : (double)p.gradient[j] * (double)p.gradient[j];
    }
    ck_assert_double_eq(push.gradient_norm2, norm2);
    sp_learner_dot(&p.learner, &push);
    ck_assert_double_eq(push.dot, dot);
    ck_assert_double_eq_tol(p.learner.rms, 0.1 * sqrt(norm2 / 8.0), 1e-7);
}
END_TEST

/* Nothing is voted on: there is no rms, and noise does not wait for one for ever. */
START_TEST(test_everything_in_full)
{
    static const struct learning_tensor all[] = {{5, SP_TENSOR_FULL}, {4, SP_TENSOR_FULL}};

    learning_open(&p, all, 2, NULL);
    learning_announce(&p, &dithered);
    for (uint32_t t = 1; t <= 3; t++) {
        learning_round(&p, t, &dithered);
        ck_assert_double_eq(p.learner.rms, 0.0);
        ck_assert_uint_eq(p.push[0].bulk[0] | p.push[0].bulk[1], 0);
        ck_assert_double_eq(learning_scalars(&p).gradient_norm2, 0.0);
        ck_assert_double_eq(learning_scalars(&p).dot, 0.0);
    }
}
END_TEST

/* The main section leaves as it is ready; the other waits for all of the gradient, and with LAST for the scalars. */
START_TEST(test_full_waits)
{
    static const struct learning_tensor tensors[] = {
        {SP_CHUNK_VALUES + 9, SP_TENSOR_FULL}, {100, 0}, {2, SP_TENSOR_BUFFER}};
    const uint64_t d = SP_CHUNK_VALUES + 109;

    learning_open(&p, tensors, 3, NULL);
    learning_announce(&p, _i == 0 ? &sign : &averaging);
    begin();
    learning_give_range(&p, 0, d - 1);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(p.pushes, 0);
    ck_assert_uint_eq(packable(), 0);
    learning_give_range(&p, d - 1, d);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(p.pushes, _i == 0 ? 2 : 3);   /* the last one with LAST waits */
    ck_assert_uint_eq(packable(), _i == 0 ? 9 : 0); /* buffers are never among what is ready */
    learning_pull_all(&p);
    ck_assert_uint_eq(p.pushes, _i == 0 ? 3 : 4);
}
END_TEST

/* A late worker's m/(1-beta1^n) is for what is pushed as a value, whatever the phase. */
START_TEST(test_full_of_a_late_worker)
{
    learning_open(&p, with_full, 3, NULL);
    sp_learner_replaced(&p.learner, 12);
    learning_announce(&p, &sign);
    for (uint32_t n = 1; n <= 3; n++) {
        float factor = (float)(1.0 / (1.0 - pow(LEARNING_BETA1, n))), expected[4];

        learning_round(&p, 12 + n, &sign);
        for (int j = 0; j < 4; j++)
            expected[j] = p.learner.m[5 + j] * factor;
        ck_assert_mem_eq(p.push[1].bulk, expected, sizeof expected);
    }
}
END_TEST

/* What stands in the main section where a tensor travels in full does not count, on any wire. */
START_TEST(test_full_in_the_update)
{
    const struct learning_next next = {SP_PHASE_SGD, (enum sp_wire)_i, 0.0f, false};
    const struct learning_next margin = {SP_PHASE_MARGIN, SP_WIRE_F32, 0.0f, false};
    static const float mean[4] = {8.0f, 8.0f, 8.0f, 8.0f};
    struct learning_update update = {.full = mean, .voters = 3};
    static uint8_t bulk[SP_BULK_BYTES_MAX];
    struct sp_message message;
    float theta[12];

    learning_open(&p, with_full, 3, NULL);
    learning_announce(&p, _i <= SP_WIRE_I8 ? &next : _i == 3 ? &margin : &sign);
    memcpy(theta, p.learner.theta, sizeof theta);
    learning_make_chunk(&p, &update, 0, &message, bulk);
    if (_i == SP_WIRE_I8)
        memset(bulk + 12 + 5, 0x7f, 4);
    else if (_i == SP_WIRE_F32 || _i == SP_WIRE_BF16)
        memset(bulk + (_i == SP_WIRE_F32 ? 4u : 2u) * 5, 0x45, (_i == SP_WIRE_F32 ? 4u : 2u) * 4);
    else
        bulk[0] |= 0xe0;
    ck_assert_int_eq(learning_stage_chunk(&p, &message, bulk), SP_OK);
    learning_make_chunk(&p, &update, 1, &message, bulk);
    ck_assert_int_eq(learning_stage_chunk(&p, &message, bulk), SP_OK);
    ck_assert_int_eq(learning_commit(&p, &sign), SP_OK);
    for (int j = 5; j < 9; j++)
        ck_assert_float_eq(p.learner.theta[j], theta[j] - 1.0f);
}
END_TEST

/* Sections in another order, one too few, one twice; a COMMIT counts all of them. The first chunk begins anew. */
START_TEST(test_sections_of_an_update)
{
    static const struct learning_tensor tensors[] = {{5, 0}, {4, SP_TENSOR_FULL}, {4, SP_TENSOR_BUFFER}};
    static uint8_t bulk[3][SP_BULK_BYTES_MAX];
    const struct learning_update update = {.values = NULL};
    struct sp_message message[3];

    learning_open(&p, tensors, 3, NULL);
    learning_announce(&p, &averaging);
    for (uint32_t k = 0; k < 3; k++)
        learning_make_chunk(&p, &update, k, &message[k], bulk[k]);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[1], bulk[1]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[2], bulk[2]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[0], bulk[0]), SP_OK);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[2], bulk[2]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_commit(&p, &sign), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[1], bulk[1]), SP_OK);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[1], bulk[1]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_commit(&p, &sign), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[0], bulk[0]), SP_OK);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[2], bulk[2]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[1], bulk[1]), SP_OK);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[2], bulk[2]), SP_OK);
    ck_assert_int_eq(learning_stage_chunk(&p, &message[2], bulk[2]), SP_E_PROTOCOL);
    ck_assert_int_eq(learning_commit(&p, &sign), SP_OK);
}
END_TEST

/* A gradient that is not finite in a tensor in full: the chunk of signs before it is out, its values never are. */
START_TEST(test_abstention_in_full)
{
    static const struct learning_tensor tensors[] = {{SP_CHUNK_SIGNS, 0}, {4, SP_TENSOR_FULL}};

    learning_open(&p, tensors, 2, NULL);
    p.gradient[SP_CHUNK_SIGNS + 3] = NAN;
    begin();
    learning_give_range(&p, SP_CHUNK_SIGNS, SP_CHUNK_SIGNS + 4);
    learning_give_range(&p, 0, SP_CHUNK_SIGNS);
    learning_pull(&p, NULL);
    ck_assert(p.learner.abstained);
    ck_assert_uint_eq(p.pushes, 1);
    ck_assert_uint_eq(p.learner.packed, SP_CHUNK_SIGNS);
}
END_TEST

/* --- dither by tensor -----------------------------------------------------------------------------------------------
 */

/* The bits of one tensor's coordinates are those of its own gain. */
static void expect_dithered(const double *rms, uint32_t t)
{
    uint8_t bits[16];

    for (uint32_t i = 0; i < p.layout.trained; i++) {
        const struct sp_tensor *tensor = &p.layout.tensors[i];

        sp_dither_pack(p.learner.m, 0, (size_t)p.layout.coordinates, sp_dither_gain(0.5, rms[i]),
                       sp_rng_key(LEARNING_SEED, SP_RNG_DITHER), LEARNING_SLOT, t, bits);
        for (uint64_t j = tensor->first; j < tensor->first + tensor->count; j++)
            unit_assert((((unsigned)bits[j / 8] ^ p.push[0].bulk[j / 8]) >> (j % 8) & 1) == 0, "round %u: bit %llu", t,
                        (unsigned long long)j);
    }
}

static double rms_of(uint32_t tensor)
{
    const struct sp_tensor *t = &p.layout.tensors[tensor];

    return sqrt(sp_sum_squares(p.learner.m + t->first, (size_t)t->count) / (double)t->count);
}

/* Noise as large as the tensor's own m was after the round before; in the first round, as it is now. */
START_TEST(test_gain_by_tensor)
{
    static const struct learning_tensor tensors[] = {{61, 0}, {50, 0}};
    double rms[2];

    learning_open(&p, tensors, 2, &by_tensor);
    learning_announce(&p, &dithered);
    for (uint32_t t = 1; t <= 4; t++) {
        learning_fill(&p, t);
        for (int j = 61; j < 111; j++)
            p.gradient[j] *= 1000.0f;
        learning_give(&p);
        for (uint32_t i = 0; i < 2 && t == 1; i++)
            rms[i] = rms_of(i);
        learning_pull_all(&p);
        expect_dithered(rms, t);
        ck_assert_double_gt(rms[1], 100.0 * rms[0]);
        for (uint32_t i = 0; i < 2; i++)
            rms[i] = rms_of(i);
        learning_stage(&p, &(struct learning_update){.values = p.gradient});
        ck_assert_int_eq(learning_commit(&p, &dithered), SP_OK);
    }
}
END_TEST

/* The first chunk ends within the second tensor: in the first round it waits for all of that, but not for the third.
 * Then each round has the rms of the one before, and nothing waits, until a tensor's m was 0. */
START_TEST(test_first_round_waits_for_its_tensors)
{
    static const struct learning_tensor tensors[] = {{SP_CHUNK_SIGNS - 10, 0}, {30, 0}, {50, 0}};
    const uint64_t end = SP_CHUNK_SIGNS + 20;

    learning_open(&p, tensors, 3, &by_tensor);
    learning_announce(&p, &dithered);
    begin();
    learning_give_range(&p, 0, end - 1);
    ck_assert_uint_eq(packable(), 0);
    learning_give_range(&p, end - 1, end);
    ck_assert_uint_eq(packable(), SP_CHUNK_SIGNS);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(packable(), 0); /* the second chunk has the third tensor */
    learning_give_range(&p, end, end + 49);
    ck_assert_uint_eq(packable(), 0);
    learning_give_range(&p, end + 49, end + 50);
    ck_assert_uint_eq(packable(), 70);
    learning_pull_all(&p);
    learning_stage(&p, &(struct learning_update){.values = p.gradient});
    ck_assert_int_eq(learning_commit(&p, &dithered), SP_OK);
    begin();
    learning_give_range(&p, 0, SP_CHUNK_SIGNS);
    ck_assert_uint_eq(packable(), SP_CHUNK_SIGNS);
    learning_announce(&p, &sign);
    begin();
    learning_give_range(&p, 0, SP_CHUNK_SIGNS); /* and without noise nothing waits in any round */
    ck_assert_uint_eq(packable(), SP_CHUNK_SIGNS);
}
END_TEST

/* A tensor without any gradient so far waits for all of its own when some comes, and takes its size from that. One in
 * full has no noise and keeps nobody waiting. */
START_TEST(test_tensor_of_zeros_waits)
{
    static const struct learning_tensor tensors[] = {{SP_CHUNK_SIGNS - 20, 0}, {10, 0}, {500, SP_TENSOR_FULL}};
    static const struct learning_tensor growing[] = {{SP_CHUNK_SIGNS - 20, 0}, {500, 0}};
    const bool full = _i == 1;

    learning_open(&p, full ? tensors : growing, full ? 3 : 2, &by_tensor);
    learning_announce(&p, &dithered);
    for (uint64_t j = SP_CHUNK_SIGNS - 20; j < p.layout.coordinates; j++)
        p.gradient[j] = 0.0f;
    learning_give(&p);
    learning_pull_all(&p);
    learning_stage(&p, &(struct learning_update){.values = p.gradient, .full = p.gradient});
    ck_assert_int_eq(learning_commit(&p, &dithered), SP_OK);
    begin();
    learning_give_range(&p, 0, SP_CHUNK_SIGNS);
    ck_assert_uint_eq(packable(), full ? SP_CHUNK_SIGNS : 0);
    learning_give_range(&p, SP_CHUNK_SIGNS, p.layout.coordinates);
    ck_assert_uint_eq(packable(), SP_CHUNK_SIGNS);
}
END_TEST

/* A round that the worker abstained from leaves the sizes as they were, also of tensors that it had taken. */
START_TEST(test_abstention_keeps_each_rms)
{
    static const struct learning_tensor tensors[] = {{61, 0}, {50, 0}};
    double rms[2];

    learning_open(&p, tensors, 2, &by_tensor);
    learning_announce(&p, &dithered);
    learning_round(&p, 1, &dithered);
    for (uint32_t i = 0; i < 2; i++)
        rms[i] = rms_of(i);
    learning_fill(&p, 2);
    begin();
    learning_give_range(&p, 0, 61);
    p.gradient[70] = INFINITY;
    learning_give_range(&p, 61, 111);
    ck_assert(p.learner.abstained);
    learning_fill(&p, 2);
    learning_stage(&p, &(struct learning_update){.values = p.gradient});
    ck_assert_int_eq(learning_commit(&p, &dithered), SP_OK);
    learning_fill(&p, 3);
    learning_give(&p);
    learning_pull_all(&p);
    expect_dithered(rms, 3);
}
END_TEST

/* Where the momentum begins at zero no size of before shows in it. */
START_TEST(test_replaced_forgets_each_rms)
{
    learning_open(&p, with_full, 3, &by_tensor);
    learning_announce(&p, &dithered);
    for (uint32_t t = 1; t <= 3; t++)
        learning_round(&p, t, &dithered);
    sp_learner_replaced(&p.learner, 7);
    ck_assert_double_gt(p.learner.rms_tensor[0], 0.0);
    sp_learner_replaced(&p.learner, _i == 0 ? 0 : 40);
    ck_assert_double_eq(p.learner.rms_tensor[0], 0.0);
    ck_assert_double_eq(p.learner.rms_tensor[2], 0.0);
}
END_TEST

/* Each is found again from the momentum alone, to the bit. */
START_TEST(test_resumed_momentum_has_each_rms)
{
    double rms, tensor[3];
    float m[12];

    learning_open(&p, with_full, 3, &by_tensor);
    learning_announce(&p, &dithered);
    for (uint32_t t = 1; t <= 3; t++)
        learning_round(&p, t, &dithered);
    rms = p.learner.rms;
    memcpy(tensor, p.learner.rms_tensor, sizeof tensor);
    memcpy(m, p.learner.m, sizeof m);
    learning_close(&p);
    learning_open(&p, with_full, 3, &by_tensor);
    memcpy(p.learner.m, m, sizeof m);
    sp_learner_resume(&p.learner, 0, 3, 3, false);
    ck_assert_double_eq(p.learner.rms, rms);
    ck_assert_mem_eq(p.learner.rms_tensor, tensor, sizeof tensor);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 3), SP_MOMENTUM_KEPT);
    ck_assert_mem_eq(p.learner.rms_tensor, tensor, sizeof tensor);
}
END_TEST

/* The furthest that a weight of the second tensor, whose gradient is always 0, is from its start in 200 rounds of a
 * worker that is alone, in steps. */
static float drift(enum sp_dither_scale scale, const struct learning_next *next)
{
    static const struct learning_tensor tensors[] = {{61, 0}, {50, 0}};
    struct sp_learner_setup setup = by_tensor;
    float start[111], furthest = 0.0f;

    setup.dither_scale = scale;
    learning_open(&p, tensors, 2, &setup);
    memcpy(start, p.learner.theta, sizeof start);
    learning_announce(&p, next);
    for (uint32_t t = 1; t <= 200; t++) {
        struct sp_message message;
        uint8_t bulk[14];

        learning_fill(&p, t);
        memset(p.gradient + 61, 0, 50 * sizeof(float));
        learning_give(&p);
        learning_pull_all(&p);
        learning_make_chunk(&p, &(struct learning_update){.values = p.gradient}, 0, &message, bulk);
        ck_assert_int_eq(learning_stage_chunk(&p, &message, p.push[0].bulk), SP_OK);
        ck_assert_int_eq(learning_commit(&p, next), SP_OK);
        for (int j = 61; j < 111; j++)
            furthest = fmaxf(furthest, fabsf(p.learner.theta[j] - start[j]));
    }
    return furthest / 0.125f;
}

/* Without noise, and with noise that goes by the tensor's own size, the coin takes it one step forth and back, however
 * large the gradients beside it. */
START_TEST(test_tensor_of_zeros_does_not_drift)
{
    ck_assert_float_eq(drift((enum sp_dither_scale)(_i / 2), _i % 2 == 0 ? &sign : &dithered), 1.0f);
}
END_TEST

/* Noise as large as the whole model's m, or of a fixed size, makes its signs those of the noise: a walk, which goes
 * further (200 fair steps: about 14, the furthest of 50 walks about 40). */
START_TEST(test_tensor_of_zeros_walks_with_the_job)
{
    float furthest = drift(_i == 0 ? SP_DITHER_SCALE_JOB : SP_DITHER_SCALE_ABSOLUTE, &dithered);

    ck_assert_float_gt(furthest, 10.0f);
    ck_assert_float_lt(furthest, 80.0f);
}
END_TEST

/* --- buffers --------------------------------------------------------------------------------------------------------
 */

static const struct learning_tensor with_buffers[] = {
    {9, 0}, {SP_CHUNK_VALUES, SP_TENSOR_BUFFER}, {3, SP_TENSOR_BUFFER}};

static void fill_buffers(float from)
{
    for (uint64_t j = 0; j < p.layout.buffers; j++)
        p.learner.buffers[j] = from + (float)j;
}

/* Only in a round that averages them, only with the scalars, and as they then are. */
START_TEST(test_buffers_pushed)
{
    struct sp_push scalars = {0};
    size_t bytes;
    uint8_t *pushed;

    learning_open(&p, with_buffers, 3, NULL);
    ck_assert_uint_eq(p.layout.coordinates, 9);
    fill_buffers(1.0f);
    learning_round(&p, 1, &averaging);
    ck_assert_uint_eq(p.pushes, 1);
    learning_give(&p);
    learning_pull(&p, NULL);
    ck_assert_uint_eq(p.pushes, 1);
    ck_assert_uint_eq(packable(), 0);
    fill_buffers(100.0f);
    sp_learner_scalars(&p.learner, 1.0, 1, &scalars);
    learning_pull(&p, &scalars);
    ck_assert_uint_eq(p.pushes, 3);
    ck_assert(!p.push[1].message.push.has_scalars && p.push[2].message.push.has_scalars);
    pushed = learning_pushed(&p, SP_FRAME_BUFFERS, &bytes);
    ck_assert_uint_eq(bytes, (SP_CHUNK_VALUES + 3) * sizeof(float));
    ck_assert_mem_eq(pushed, p.learner.buffers, bytes);
    free(pushed);
}
END_TEST

/* Their mean takes their place with the COMMIT, also for a worker that gave nothing; the next round has none again. */
START_TEST(test_buffers_replaced)
{
    struct learning_update update = {.values = NULL};
    float *averages;

    learning_open(&p, with_buffers, 3, NULL);
    averages = unit_alloc((size_t)p.layout.buffers * sizeof *averages);
    for (uint64_t j = 0; j < p.layout.buffers; j++)
        averages[j] = -2.0f * (float)j;
    update.averages = averages;
    fill_buffers(1.0f);
    learning_announce(&p, &averaging);
    learning_stage(&p, &update);
    ck_assert_float_eq(p.learner.buffers[5], 6.0f);
    ck_assert_int_eq(learning_commit(&p, &sign), SP_OK);
    ck_assert_mem_eq(p.learner.buffers, averages, (size_t)p.layout.buffers * sizeof *averages);
    fill_buffers(1.0f);
    learning_round(&p, 2, &sign);
    ck_assert_float_eq(p.learner.buffers[5], 6.0f);
    free(averages);
}
END_TEST

/* What came in the place of averages is taken as it is, whoever voted: the server sends its own where nobody did. */
START_TEST(test_buffers_that_nobody_gave)
{
    const struct sp_commit commit = {.rate = 0.125f, .decay = 1.0f};
    const struct learning_update update = {.averages = NULL};

    learning_open(&p, with_buffers, 3, NULL);
    learning_announce(&p, &averaging);
    fill_buffers(1.0f);
    learning_stage(&p, &update);
    ck_assert_int_eq(sp_learner_commit(&p.learner, 1, &commit, &p.error), SP_OK);
    ck_assert_float_eq(p.learner.buffers[5], 0.0f);
}
END_TEST

/* A round that averages buffers of a model that has none is as any other. */
START_TEST(test_no_buffers_to_average)
{
    learning_open(&p, with_full, 3, NULL);
    ck_assert_ptr_null(p.learner.buffers);
    learning_announce(&p, &averaging);
    learning_round(&p, 1, &sign);
    ck_assert_uint_eq(p.pushes, 2);
}
END_TEST

/* --- set up anew ----------------------------------------------------------------------------------------------------
 */

/* Traits are those of the last WELCOME, or those declared. Momentum stays. */
START_TEST(test_traits_of_another_welcome)
{
    static const struct learning_tensor declared[] = {{5, SP_TENSOR_DECAY}, {4, 0}};
    static const uint8_t rules[] = {SP_TENSOR_FULL, SP_TENSOR_DECAY};
    struct sp_learner_setup setup = by_tensor;
    const struct sp_layout *layout = &p.learner.layout;
    float m[9];

    learning_open(&p, declared, 2, NULL);
    learning_round(&p, 1, &sign);
    memcpy(m, p.learner.m, sizeof m);
    setup.traits = rules;
    ck_assert_int_eq(sp_learner_set_up(&p.learner, &setup), SP_OK);
    ck_assert_uint_eq(layout->full, 5);
    ck_assert_ptr_nonnull(p.learner.full);
    ck_assert(!sp_tensor_is(&layout->tensors[0], SP_TENSOR_DECAY));
    ck_assert_ptr_null(p.learner.setup.traits); /* borrowed for the call alone */
    setup.traits = NULL;
    ck_assert_int_eq(sp_learner_set_up(&p.learner, &setup), SP_OK);
    ck_assert_uint_eq(layout->full, 0);
    ck_assert_ptr_null(p.learner.full);
    ck_assert(sp_tensor_is(&layout->tensors[0], SP_TENSOR_DECAY) &&
              !sp_tensor_is(&layout->tensors[1], SP_TENSOR_DECAY));
    ck_assert_mem_eq(p.learner.m, m, sizeof m);
}
END_TEST

static unsigned allocations_left = UINT32_MAX;

/* In place of the C library's, for the whole program: it fails when a test says so. */
void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *memory = NULL;

    if (allocations_left == 0) {
        errno = ENOMEM;
        return NULL;
    }
    allocations_left--;
    return posix_memalign(&memory, alignment, bytes) == 0 ? memory : NULL;
}

/* Whichever array cannot be had, set-up says so, and the next one that has memory makes all of it good. */
START_TEST(test_memory_of_the_set_up)
{
    static const struct learning_tensor declared[] = {{5, 0}, {4, 0}};
    static const uint8_t rules[] = {SP_TENSOR_FULL, 0};
    struct sp_learner_setup setup = by_tensor;
    unsigned needed = 0;

    setup.traits = rules;
    for (int rc = SP_E_NOMEM; rc != SP_OK; needed++) {
        learning_open(&p, declared, 2, NULL);
        allocations_left = needed;
        rc = sp_learner_set_up(&p.learner, &setup);
        allocations_left = UINT32_MAX;
        ck_assert(rc == SP_OK || rc == SP_E_NOMEM);
        ck_assert_int_eq(sp_learner_set_up(&p.learner, &setup), SP_OK);
        sp_layout_set_traits(&p.layout, rules);
        learning_announce(&p, &dithered);
        for (uint32_t t = 1; t <= 2; t++)
            learning_round(&p, t, &dithered);
        learning_close(&p);
    }
    ck_assert_uint_eq(needed, 5); /* full, two rms, gains; and none */
    learning_open(&p, declared, 2, NULL);
}
END_TEST

/* Creating fails as a whole. */
START_TEST(test_memory_of_the_learner)
{
    struct sp_learner learner;
    unsigned needed = 0;

    learning_open(&p, with_buffers, 3, NULL);
    for (int rc = SP_E_NOMEM; rc != SP_OK; needed++) {
        allocations_left = needed;
        rc = sp_learner_create(&learner, &p.layout);
        allocations_left = UINT32_MAX;
        ck_assert(rc == SP_OK || rc == SP_E_NOMEM);
        if (rc != SP_OK)
            ck_assert_ptr_null(learner.theta);
    }
    sp_learner_finish(&learner);
    ck_assert_uint_eq(needed, 9);
}
END_TEST

static void add_dither(TCase *tests)
{
    tcase_add_test(tests, test_gain_by_tensor);
    tcase_add_test(tests, test_first_round_waits_for_its_tensors);
    tcase_add_loop_test(tests, test_tensor_of_zeros_waits, 0, 2);
    tcase_add_test(tests, test_abstention_keeps_each_rms);
    tcase_add_loop_test(tests, test_replaced_forgets_each_rms, 0, 2);
    tcase_add_test(tests, test_resumed_momentum_has_each_rms);
    /* JOB without noise; TENSOR without and with; ABSOLUTE without. */
    tcase_add_loop_test(tests, test_tensor_of_zeros_does_not_drift, 0, 1);
    tcase_add_loop_test(tests, test_tensor_of_zeros_does_not_drift, 2, 5);
    tcase_add_loop_test(tests, test_tensor_of_zeros_walks_with_the_job, 0, 2);
}

int main(void)
{
    TCase *tests = tcase_create("learner_tensors");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, test_full_by_hand);
    tcase_add_test(tests, test_everything_in_full);
    tcase_add_loop_test(tests, test_full_waits, 0, 2);
    tcase_add_test(tests, test_full_of_a_late_worker);
    tcase_add_loop_test(tests, test_full_in_the_update, 0, 5);
    tcase_add_test(tests, test_sections_of_an_update);
    tcase_add_test(tests, test_abstention_in_full);
    add_dither(tests);
    tcase_add_test(tests, test_buffers_pushed);
    tcase_add_test(tests, test_buffers_replaced);
    tcase_add_test(tests, test_buffers_that_nobody_gave);
    tcase_add_test(tests, test_no_buffers_to_average);
    tcase_add_test(tests, test_traits_of_another_welcome);
    tcase_add_test(tests, test_memory_of_the_set_up);
    tcase_add_test(tests, test_memory_of_the_learner);
    return unit_run(suite_create("learner_tensors"), tests);
}
