/* The SGD phase: how values travel and are combined, its modes, and its rates over time. */
#include "drive.h"
#include "round_cases.h"
#include "unit.h"

#include "common/values.h"

#include <math.h>
#include <stdio.h>

static const uint64_t small[] = {4, 9, 0};
static const float ramp[13] = {3, -4, 0, 0, 1, -2, 2, 4, 0, 0, 0, 0, 0}; /* norms 5 and 5 */
static struct drive d;

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

static const struct sp_commit *last_commit(void)
{
    return &drive_last(&d, SP_ACTION_COMMIT)->action.commit;
}

static void expect_rate(double expected, double is)
{
    ck_assert_double_eq_tol(is, expected, 1e-6 * expected);
}

/* Freed by the caller. */
static float *draw(uint64_t seed, float around)
{
    struct sp_rng rng = unit_rng(seed);
    float *values = unit_alloc(d.layout.coordinates * sizeof *values);

    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        values[j] = around * (float)(1 + j % 7) + unit_uniform(&rng);
    return values;
}

static void all_push(const float *values)
{
    for (uint32_t peer = 1; peer <= d.job.workers; peer++)
        ck_assert_int_eq(drive_push(&d, peer, values), SP_OK);
}

static struct sp_push scalars_of(float bucket)
{
    struct sp_push push = {.has_scalars = true, .loss = 1.0, .gradient_norm2 = 4.0, .examples = 16};

    push.has_sketch = true;
    push.sketch[3] = bucket;
    return push;
}

/* --- the wire ------------------------------------------------------------------------------------------------------
 */

/* A model of two chunks of short values, two workers, SGD from round 2 on. */
static void open_coded(const char *wire, const char *setting)
{
    drive_open(&d,
               (const char *[]){"workers=2", "optimizer.switch.when=at", "optimizer.switch.step=1", "train.rounds=12",
                                wire, setting, NULL},
               (const uint64_t[]){SP_CHUNK_SHORT - 100, 400, 0});
    ck_assert_uint_eq(drive_join_all(&d, 2), 1);
    all_push(d.theta);
    ck_assert_uint_eq(d.committed, 1);
}

/* What the server makes of a worker's values. */
static void decoded(enum sp_wire wire, const float *values, float *result)
{
    uint8_t *bulk = unit_alloc(SP_I8_BYTES_MAX(2ull * SP_CHUNK_SHORT) * 2);

    for (uint64_t first = 0; first < d.layout.coordinates; first += SP_CHUNK_SHORT) {
        uint64_t left = d.layout.coordinates - first, n = left < SP_CHUNK_SHORT ? left : SP_CHUNK_SHORT;

        sp_values_encode(wire, &d.layout, first, n, values + first, NULL, bulk);
        sp_values_decode(wire, &d.layout, first, n, bulk, result + first);
    }
    free(bulk);
}

/* The round's two UPDATEs are the mean of the two, coded with what was left out before. */
static void expect_update(enum sp_wire wire, const float *one, const float *other, float *residual, float *mean)
{
    float *a = unit_alloc(d.layout.coordinates * sizeof *a), *b = unit_alloc(d.layout.coordinates * sizeof *b);
    uint8_t *bulk = unit_alloc(SP_BULK_BYTES_MAX);

    decoded(wire, one, a);
    decoded(wire, other, b);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        mean[j] = (float)(((double)a[j] + (double)b[j]) / 2.0);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_UPDATE), 2);
    for (unsigned k = 0; k < 2; k++) {
        const struct drive_entry *update = drive_find(&d, SP_ACTION_UPDATE, k);
        uint64_t first = k * (uint64_t)SP_CHUNK_SHORT;

        sp_values_encode(wire, &d.layout, first, update->action.update.count, mean + first,
                         wire == SP_WIRE_I8 ? residual + first : NULL, bulk);
        ck_assert_uint_eq(update->action.update.bytes,
                          sp_values_bytes(wire, &d.layout, first, update->action.update.count));
        ck_assert_mem_eq(update->bulk, bulk, update->action.update.bytes);
    }
    free(a);
    free(b);
    free(bulk);
}

/* With a norm rule the first round is in float32, for the sake of its lengths; those after it are coded, and what int8
 * leaves out of one comes with the next: the sum of updates follows the sum of means. */
START_TEST(test_coded_rounds)
{
    enum sp_wire wire = _i == 0 ? SP_WIRE_BF16 : SP_WIRE_I8;
    float *residual, *mean, *means, *updates;

    open_coded(_i == 0 ? "optimizer.sgd.wire=bf16" : "optimizer.sgd.wire=i8", NULL);
    residual = calloc(d.layout.coordinates, sizeof(float));
    means = calloc(d.layout.coordinates, sizeof(float));
    updates = calloc(d.layout.coordinates, sizeof(float));
    mean = unit_alloc(d.layout.coordinates * sizeof *mean);
    ck_assert_int_eq(d.form.wire, SP_WIRE_F32);
    ck_assert_uint_eq(drive_chunks(&d), 3);
    all_push(d.theta);
    for (uint32_t t = 3; t <= 10; t++) {
        float *one = draw(t, 0.5f), *other = draw(t + 100, 0.5f);

        ck_assert_int_eq(d.form.wire, wire);
        ck_assert_uint_eq(last_commit()->next_wire, wire);
        drive_clear(&d);
        ck_assert_int_eq(drive_push(&d, 1, one), SP_OK);
        ck_assert_int_eq(drive_push(&d, 2, other), SP_OK);
        expect_update(wire, one, other, residual, mean);
        for (uint64_t j = 0; j < d.layout.coordinates; j++) {
            means[j] += mean[j];
            updates[j] += d.values[j];
            /* |x| is at most 5, so that a step of int8 is 5/127; bfloat16 has 8 bits, for each round anew. */
            unit_assert(fabsf(means[j] - updates[j]) <= (_i == 0 ? 0.02f * (float)(t - 2) : 0.021f),
                        "coordinate %llu is %g off after round %u", (unsigned long long)j,
                        (double)(means[j] - updates[j]), t);
        }
        free(one);
        free(other);
    }
    free(residual);
    free(mean);
    free(means);
    free(updates);
    drive_close(&d);
}
END_TEST

/* A rate that does not come from the first mean needs no round in float32. */
START_TEST(test_coded_at_once)
{
    const struct sp_push scalars = scalars_of(2.0f);

    drive_open(&d,
               (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.sgd.wire=auto",
                                _i == 0 ? "optimizer.sgd.lr=0.5" : "optimizer.sgd.lambda=ratio", NULL},
               small);
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 2; t++)
        ck_assert_int_eq(drive_push_scalars(&d, 1, ramp, 3.0, &scalars), SP_OK);
    ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
    ck_assert_int_eq(d.form.wire, SP_WIRE_I8); /* what `auto` is in a hybrid job */
    all_push(ramp);
    ck_assert_uint_eq(drive_last(&d, SP_ACTION_UPDATE)->action.update.bytes, 13 + 2 * 4);
    drive_close(&d);
}
END_TEST

/* A coded value that is not finite, or none that an encoder makes: that worker abstains from there on. */
START_TEST(test_coded_values_that_are_not_finite)
{
    float *bad, *good;

    open_coded(_i == 0 ? "optimizer.sgd.wire=bf16" : "optimizer.sgd.wire=i8", "optimizer.sgd.lr=0.5");
    bad = draw(1, 0.0f);
    good = draw(2, 0.0f);
    bad[SP_CHUNK_SHORT + 5] = INFINITY;
    drive_clear(&d);
    ck_assert_int_eq(drive_push(&d, 1, bad), SP_OK);
    ck_assert(drive_said(&d, "abstains from round 2 from chunk 1 on: values that are not finite"));
    ck_assert_int_eq(drive_push(&d, 2, good), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_uint_eq(last_commit()->voters[0], 2);
    free(bad);
    free(good);
    drive_close(&d);
}
END_TEST

static int push_first(uint32_t peer, const float *values)
{
    struct drive_chunk chunk = {.round = d.committed + 1, .values = values};

    return drive_push_chunk(&d, peer, &chunk);
}

/* All workers are lost in the middle of a round: what int8 left out goes with it, and the round is collected again from
 * its first chunk. */
START_TEST(test_begins_anew_without_the_residual)
{
    float *one, *other, *residual, *mean;

    open_coded("optimizer.sgd.wire=i8", "optimizer.sgd.lr=0.5");
    one = draw(1, 0.5f);
    other = draw(2, 0.5f);
    residual = calloc(d.layout.coordinates, sizeof *residual);
    mean = unit_alloc(d.layout.coordinates * sizeof *mean);
    ck_assert_int_eq(drive_push(&d, 1, one), SP_OK);
    ck_assert_int_eq(drive_push(&d, 2, other), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    ck_assert_int_eq(push_first(1, one), SP_OK);
    ck_assert_int_eq(push_first(2, one), SP_OK);
    drive_left(&d, 1);
    drive_left(&d, 2);
    ck_assert(drive_said(&d, "nobody is left to finish round 3: it begins anew"));
    drive_clear(&d);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 1)), SP_OK);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 2)), SP_OK);
    ck_assert_int_eq(drive_push(&d, 3, one), SP_OK);
    ck_assert_int_eq(drive_push(&d, 4, other), SP_OK);
    ck_assert_uint_eq(d.committed, 3);
    expect_update(SP_WIRE_I8, one, other, residual, mean);
    free(one);
    free(other);
    free(residual);
    free(mean);
    drive_close(&d);
}
END_TEST

/* The lengths that the rates come from begin anew as well: of a tensor of which a half was counted, too. */
START_TEST(test_begins_anew_with_its_lengths)
{
    uint64_t first = SP_CHUNK_SHORT - 100;
    float *ones;

    open_coded("optimizer.sgd.wire=i8", "optimizer.sgd.scale=1");
    ones = unit_alloc(d.layout.coordinates * sizeof *ones);
    for (uint64_t j = 0; j < d.layout.coordinates; j++)
        ones[j] = j < first ? 1.0f : 4.0f;
    ck_assert_int_eq(push_first(1, ones), SP_OK);
    ck_assert_int_eq(push_first(2, ones), SP_OK);
    drive_left(&d, 1);
    drive_left(&d, 2);
    ck_assert_int_eq(drive_ready(&d, drive_return(&d, 1)), SP_OK);
    drive_tick(&d, 60000);
    ck_assert_int_eq(drive_push(&d, 3, ones), SP_OK);
    ck_assert_uint_eq(d.committed, 2);
    expect_rate(0.0625, (double)drive_last(&d, SP_ACTION_COMMIT)->rates[0]);
    expect_rate(0.0625 / 4.0, (double)drive_last(&d, SP_ACTION_COMMIT)->rates[1]);
    expect_rate(0.0625 * sqrt(((double)first + 400.0) / ((double)first + 6400.0)), (double)last_commit()->rate);
    free(ones);
    drive_close(&d);
}
END_TEST

/* --- how they are combined -----------------------------------------------------------------------------------------
 */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Five workers; of their sorted values the middle one, or the mean of the middle three. */
START_TEST(test_robust_means)
{
    float *values[5];

    drive_open(&d,
               (const char *[]){"workers=5", "optimizer.mode=sgd",
                                _i == 0 ? "optimizer.sgd.aggregate=median" : "optimizer.sgd.aggregate=trimmed_mean",
                                "optimizer.sgd.trim=0.3", NULL},
               (const uint64_t[]){100, 1000, 0});
    (void)drive_join_all(&d, 5);
    for (uint32_t i = 0; i < 5; i++) {
        values[i] = draw(i, i == 2 ? 1e6f : 0.5f);
        ck_assert_int_eq(drive_push(&d, i + 1, values[i]), SP_OK);
    }
    ck_assert_uint_eq(d.committed, 1);
    for (uint64_t j = 0; j < 1100; j++) {
        float sorted[5] = {values[0][j], values[1][j], values[2][j], values[3][j], values[4][j]}, expected;

        qsort(sorted, 5, sizeof *sorted, ascending);
        expected = sorted[2];
        if (_i == 1)
            expected = (float)(((double)sorted[1] + (double)sorted[2] + (double)sorted[3]) / 3.0);
        unit_assert(d.values[j] == expected, "coordinate %llu", (unsigned long long)j);
        unit_assert(d.theta[j] == drive_weight(j) - 0.5f * expected, "weight %llu", (unsigned long long)j);
    }
    for (uint32_t i = 0; i < 5; i++)
        free(values[i]);
    drive_close(&d);
}
END_TEST

/* --- modes ---------------------------------------------------------------------------------------------------------
 */

/* One phase from the first round on, whatever `switch` says; a rate of 0.5 by default that follows the sign phase's
 * schedule, or one of its own over the whole job. */
START_TEST(test_mode_sgd)
{
    float *theta;
    struct sp_welcome welcome = {0};

    drive_open(&d,
               (const char *[]){"workers=3", "optimizer.mode=sgd", "optimizer.sign.schedule=linear",
                                _i == 0 ? "optimizer.sgd.schedule=continue" : "optimizer.sgd.schedule=cosine",
                                "optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.weight_decay=0.25",
                                "optimizer.sgd.wire=auto", "train.report=1", NULL},
               (const uint64_t[]){100, 1000, 0});
    (void)drive_join_all(&d, 3);
    sp_round_progress(d.round, &welcome);
    ck_assert_uint_eq(welcome.phase, SP_PHASE_SGD);
    theta = unit_alloc(1100 * sizeof *theta);
    for (uint32_t t = 1; t <= 10; t++) {
        double lambda = 0.5 * (_i == 0 ? (11.0 - t) / 10.0 : 0.5 * (1.0 + cos(M_PI * (t - 1.0) / 10.0)));
        float rate = (float)lambda, decay = (float)(1.0 - lambda * 0.25);
        float *values[3];

        ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
        ck_assert_int_eq(d.form.wire, SP_WIRE_F32);
        memcpy(theta, d.theta, 1100 * sizeof *theta);
        for (uint32_t i = 0; i < 3; i++) {
            values[i] = draw(10 * t + i, 0.1f);
            ck_assert_int_eq(drive_push(&d, i + 1, values[i]), SP_OK);
        }
        ck_assert_float_eq(last_commit()->rate, rate);
        for (uint64_t j = 0; j < 1100; j++) {
            float mean = (float)(((double)values[0][j] + (double)values[1][j] + (double)values[2][j]) / 3.0);
            float expected = (j < 100 ? theta[j] * decay : theta[j]) - rate * mean;

            unit_assert(d.theta[j] == expected, "weight %llu after round %u", (unsigned long long)j, t);
        }
        for (uint32_t i = 0; i < 3; i++)
            free(values[i]);
    }
    ck_assert_double_eq_tol(drive_last(&d, SP_ACTION_REPORT)->action.report.rate, (double)last_commit()->rate, 1e-9);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 0);
    ck_assert_uint_eq(look().switches_count, 0);
    ck_assert_double_eq(look().lambda, 0.5);
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    free(theta);
    drive_close(&d);
}
END_TEST

struct adam {
    float m[500], v[500], theta[500];        /* with each operation in float32 */
    double m64[500], v64[500], theta64[500]; /* and in double */
};

static void adam_naively(struct adam *a, uint32_t t, const float *one, const float *other)
{
    float c1 = (float)(1.0 / (1.0 - pow(0.8, t))), c2 = (float)(1.0 / (1.0 - pow(0.95, t)));

    for (unsigned j = 0; j < 500; j++) {
        double g = ((double)one[j] + (double)other[j]) / 2.0;
        float f = (float)g;

        a->m[j] = 0.8f * a->m[j] + (float)(1.0 - 0.8) * f;
        a->v[j] = 0.95f * a->v[j] + (float)(1.0 - 0.95) * f * f;
        a->theta[j] -= 0.03125f * ((a->m[j] * c1) / (sqrtf(a->v[j] * c2) + 1e-3f));
        a->m64[j] = 0.8 * a->m64[j] + 0.2 * g;
        a->v64[j] = 0.95 * a->v64[j] + 0.05 * g * g;
        a->theta64[j] -= 0.03125 * (a->m64[j] / (1.0 - pow(0.8, t))) / (sqrt(a->v64[j] / (1.0 - pow(0.95, t))) + 1e-3);
    }
}

/* In the other loop all workers are lost once after the first chunk is combined: its moments must not move twice. */
START_TEST(test_mode_adam)
{
    static struct adam a;
    uint32_t peers[2] = {1, 2};

    drive_open(&d,
               (const char *[]){"workers=2", "optimizer.mode=adam", "optimizer.adam.lr=0.03125",
                                "optimizer.adam.beta1=0.8", "optimizer.adam.beta2=0.95", "optimizer.adam.eps=1e-3",
                                NULL},
               (const uint64_t[]){500, SP_CHUNK_VALUES, 0});
    (void)drive_join_all(&d, 2);
    for (unsigned j = 0; j < 500; j++)
        a.theta64[j] = (double)(a.theta[j] = drive_weight(j));
    for (uint32_t t = 1; t <= 10; t++) {
        float *one = draw(t, 0.2f), *other = draw(t + 100, -0.1f);

        ck_assert_int_eq(d.form.phase, SP_PHASE_SGD);
        if (_i == 1 && t == 4) {
            ck_assert_int_eq(push_first(1, other), SP_OK);
            ck_assert_int_eq(push_first(2, other), SP_OK);
            drive_left(&d, 1);
            drive_left(&d, 2);
            for (int i = 0; i < 2; i++)
                ck_assert_int_eq(drive_ready(&d, peers[i] = drive_return(&d, peers[i])), SP_OK);
        }
        ck_assert_int_eq(drive_push(&d, peers[0], one), SP_OK);
        ck_assert_int_eq(drive_push(&d, peers[1], other), SP_OK);
        ck_assert_uint_eq(d.committed, t);
        ck_assert_float_eq(last_commit()->rate, 0.03125f);
        adam_naively(&a, t, one, other);
        for (unsigned j = 0; j < 500; j++) {
            unit_assert(d.theta[j] == a.theta[j], "weight %u after round %u", j, t);
            unit_assert(fabs((double)d.theta[j] - a.theta64[j]) < 1e-5, "weight %u after round %u", j, t);
        }
        free(one);
        free(other);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 0);
    drive_close(&d);
}
END_TEST

/* --- rates over time -----------------------------------------------------------------------------------------------
 */

/* Schedules of its own span the SGD phase, here rounds 5 to 10, and know nothing of the sign phase's. */
START_TEST(test_schedules_of_the_sgd_phase)
{
    static const char *const schedules[] = {"optimizer.sgd.schedule=linear", "optimizer.sgd.schedule=cosine",
                                            "optimizer.sgd.schedule=step"};

    drive_open(&d,
               (const char *[]){"train.batch=40", "optimizer.sign.schedule=cosine", "optimizer.switch.when=at",
                                "optimizer.switch.step=4", "optimizer.sgd.lr=0.5", schedules[_i],
                                "optimizer.sgd.step.epochs=0.5", "optimizer.sgd.step.factor=0.25", NULL},
               small);
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 4; t++)
        all_push(ramp);
    for (uint32_t n = 1; n <= 6; n++) {
        const double expected[] = {(7.0 - n) / 6.0, 0.5 * (1.0 + cos(M_PI * (n - 1.0) / 6.0)),
                                   pow(0.25, floor((n - 1.0) / 2.0))}; /* 4 rounds an epoch */

        all_push(ramp);
        expect_rate(0.5 * expected[_i], (double)last_commit()->rate);
    }
    ck_assert_int_eq(look().stage, SP_STAGE_OVER);
    drive_close(&d);
}
END_TEST

/* Two rounds of warm-up, then what is left of the schedule; `continue` goes on with it. */
START_TEST(test_warmup)
{
    static const double factors[] = {1.0 / 3.0, 2.0 / 3.0, 1.0, 7.0 / 8.0, 6.0 / 8.0, 5.0 / 8.0, 4.0 / 8.0};

    drive_open(&d,
               (const char *[]){"train.batch=40", "optimizer.sign.lr=0.5", "optimizer.sign.schedule=linear",
                                "optimizer.sign.warmup=0.5", "optimizer.switch.when=at", "optimizer.switch.step=4",
                                "optimizer.sgd.lr=0.75", NULL},
               small);
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 7; t++) {
        all_push(ramp);
        expect_rate(t <= 4 ? 0.5 * factors[t - 1] : 0.75 * factors[t - 1] / factors[3], (double)last_commit()->rate);
    }
    drive_close(&d);
}
END_TEST

/* A rate that a quiet round gave makes no step of a loud one longer than one before the switch (times the clip). */
START_TEST(test_no_step_is_longer_than_before)
{
    static const char *const clips[] = {"optimizer.sgd.clip=0", "optimizer.sgd.clip=1", "optimizer.sgd.clip=2"};
    static const double times[] = {6.0, 1.0, 2.0};
    float loud[13];
    double length, longest;

    drive_open(&d,
               (const char *[]){"optimizer.sign.schedule=constant", "optimizer.switch.when=at",
                                "optimizer.switch.step=2", "optimizer.sgd.scale=0.6", "optimizer.sgd.lambda=norm",
                                clips[_i], NULL},
               small);
    (void)drive_join(&d, 0);
    all_push(ramp);
    all_push(ramp);
    all_push(ramp); /* gives the rate: a step of 0.6 lengths */
    for (unsigned j = 0; j < 13; j++)
        loud[j] = 10.0f * ramp[j];
    all_push(loud);
    longest = (double)drive_last(&d, SP_ACTION_COMMIT)->action.commit.rate * sqrt(50.0) * 10.0;
    length = d.job.optimizer.sign.lr * sqrt(13.0);
    ck_assert_double_eq_tol(longest, times[_i] * length, 1e-6 * length);
    drive_close(&d);
}
END_TEST

/* The norm rules go by an average of the mean's squared length since the switch; a round without one adds nothing. */
START_TEST(test_tracking_of_norms)
{
    double average[2] = {0}, bias = 1.0;

    drive_open(&d,
               (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=2", "optimizer.sgd.scale=1",
                                "optimizer.sgd.rate=tracking", "optimizer.beta2=0.75", "optimizer.sgd.clip=0", NULL},
               small);
    (void)drive_join(&d, 0);
    all_push(ramp);
    all_push(ramp);
    for (uint32_t t = 3; t <= 8; t++) {
        float values[13];

        for (unsigned j = 0; j < 13; j++)
            values[j] = ramp[j] * (float)(j < 4 ? t : 1);
        if (t == 5) {
            ck_assert_int_eq(drive_abstain(&d, 1, 5), SP_OK);
        } else {
            all_push(values);
            average[0] = 0.75 * average[0] + 0.25 * 25.0 * t * t;
            average[1] = 0.75 * average[1] + 0.25 * 25.0;
            bias *= 0.75;
        }
        ck_assert_uint_eq(d.committed, t);
        expect_rate(0.0625 * 2.0 / sqrt(average[0] / (1.0 - bias)), (double)drive_last(&d, SP_ACTION_COMMIT)->rates[0]);
        expect_rate(0.0625 * 3.0 / sqrt(average[1] / (1.0 - bias)), (double)drive_last(&d, SP_ACTION_COMMIT)->rates[1]);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 2); /* the switch, and the first rates */
    drive_close(&d);
}
END_TEST

/* The rules of statistics go on with sketches and dots of SGD rounds, by the rate of the last sign round. Frozen rates
 * do not look at them. */
START_TEST(test_tracking_of_statistics)
{
    bool paper = _i % 2 == 1, tracks = _i < 2;
    double a = 0.0, b = 0.0, ratios = 0.0, bias = 1.0, frozen = 0.0;

    drive_open(&d,
               (const char *[]){"optimizer.sign.lr=0.5", "optimizer.sign.schedule=linear", "optimizer.switch.when=at",
                                "optimizer.switch.step=3", "optimizer.beta2=0.5", "optimizer.sgd.schedule=constant",
                                "optimizer.sgd.wire=i8",
                                paper ? "optimizer.sgd.lambda=paper" : "optimizer.sgd.lambda=ratio",
                                tracks ? "optimizer.sgd.rate=tracking" : "optimizer.sgd.rate=frozen", NULL},
               small);
    (void)drive_join(&d, 0);
    for (uint32_t t = 1; t <= 9; t++) {
        const struct sp_push scalars = scalars_of((float)(4 + t)); /* B of round t is (4+t)^2 */
        double gamma = t <= 4 ? 0.5 * (12.0 - t) / 10.0 : 0.4;     /* of the round before */

        ck_assert_int_eq(drive_push_scalars(&d, 1, ramp, 1.5 * t, &scalars), SP_OK);
        if (t >= 2) {
            a = 0.5 * a + 0.5 * 1.5 * t;
            b = 0.5 * b + 0.5 * (3.0 + t) * (3.0 + t);
            ratios = 0.5 * ratios + 0.5 * gamma * 1.5 * t / ((3.0 + t) * (3.0 + t));
            bias *= 0.5;
        }
        if (t == 3 || (t > 3 && tracks))
            frozen = paper ? ratios / (1.0 - bias) : 0.4 * a / b;
        if (t >= 4)
            expect_rate(frozen, (double)last_commit()->rate);
    }
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    drive_close(&d);
}
END_TEST

/* Rounds that bring no mean are refused as a source of the rate, which is said once; then there is one, and it is told.
 */
START_TEST(test_events_of_rounds_without_a_mean)
{
    const float zero[13] = {0};
    const struct sp_event *event;

    drive_open(&d,
               (const char *[]){"optimizer.switch.when=at", "optimizer.switch.step=1", "optimizer.sgd.scale=1",
                                _i == 0 ? "optimizer.sgd.lambda=norm" : "optimizer.sgd.lambda=norm_tensor",
                                "optimizer.sgd.wire=i8", NULL},
               small);
    (void)drive_join(&d, 0);
    all_push(ramp);
    drive_clear(&d);
    ck_assert_int_eq(drive_abstain(&d, 1, 2), SP_OK);
    ck_assert_int_eq(d.form.wire, SP_WIRE_F32); /* still */
    all_push(zero);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    event = &drive_find(&d, SP_ACTION_EVENT, 0)->action.event;
    ck_assert_int_eq(event->type, SP_EVENT_REFUSAL);
    ck_assert_str_eq(event->test, "rate");
    ck_assert_uint_eq(event->round, 2);
    ck_assert(drive_said(&d, "round 2 brought no mean to take the SGD rate from"));
    drive_clear(&d);
    all_push(ramp);
    all_push(ramp);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_EVENT), 1);
    event = &drive_find(&d, SP_ACTION_EVENT, 0)->action.event;
    ck_assert_int_eq(event->type, SP_EVENT_RATES);
    ck_assert_uint_eq(event->round, 4);
    ck_assert_str_eq(event->rule, _i == 0 ? "norm" : "norm_tensor");
    expect_rate(0.0625, event->gamma);
    if (_i == 0)
        expect_rate(0.0625 * sqrt(13.0 / 50.0), event->lambda);
    else
        expect_rate(0.0625 * 3.0 / 5.0, (double)drive_find(&d, SP_ACTION_EVENT, 0)->rates[1]);
    ck_assert_int_eq(drive_said(&d, "lambda from round 4: norm_tensor, scale 1: t0 0.025, t1 0.0375"), _i == 1);
    ck_assert_int_eq(drive_said(&d, "(norm, scale 1) from round 4"), _i == 0);
    drive_close(&d);
}
END_TEST

TCase *round_values_cases(void)
{
    TCase *cases = tcase_create("values");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_coded_rounds, 0, 2);
    tcase_add_loop_test(cases, test_coded_at_once, 0, 2);
    tcase_add_loop_test(cases, test_coded_values_that_are_not_finite, 0, 2);
    tcase_add_test(cases, test_begins_anew_without_the_residual);
    tcase_add_test(cases, test_begins_anew_with_its_lengths);
    tcase_add_loop_test(cases, test_robust_means, 0, 2);
    tcase_add_loop_test(cases, test_mode_sgd, 0, 2);
    tcase_add_loop_test(cases, test_mode_adam, 0, 2);
    tcase_add_loop_test(cases, test_schedules_of_the_sgd_phase, 0, 3);
    tcase_add_test(cases, test_warmup);
    tcase_add_loop_test(cases, test_no_step_is_longer_than_before, 0, 3);
    tcase_add_test(cases, test_tracking_of_norms);
    tcase_add_loop_test(cases, test_tracking_of_statistics, 0, 4);
    tcase_add_loop_test(cases, test_events_of_rounds_without_a_mean, 0, 2);
    return cases;
}
