/* The curve that the server keeps for people: what a point is, and that any number of rounds fits into it. */
#include "unit.h"

#include "server/series.h"

#include <math.h>
#include <stdio.h>

static struct sp_series series;

static double loss_of(uint32_t t)
{
    return 2.0 / (1.0 + (double)t) + (t % 3 == 0 ? 0.25 : 0.0);
}

/* Rounds up to `last_sign` are of the sign phase; those of which 5 is a divisor have no loss. */
static struct sp_point point_of(uint32_t t, uint32_t last_sign)
{
    struct sp_report report = {.round = t,
                               .epoch = (double)t / 10.0,
                               .phase = t <= last_sign ? SP_PHASE_SIGN : SP_PHASE_SGD,
                               .rate = 1.0 / (double)t,
                               .loss = t % 5 == 0 ? (double)NAN : loss_of(t),
                               .live = 4,
                               .voters = 3,
                               .margin = (double)(t % 7) / 7.0,
                               .ties = (double)(t % 2)};
    struct sp_point point = sp_point_of(&report, t);

    point.timed = 1;
    point.times = (struct sp_times){6.0 + (double)(t % 4), 3.0 + (double)(t % 4), 2.0, 1.0};
    point.bytes_pushed = 100u * t;
    point.bytes_updated = 50u * t;
    point.bytes_float32 = 3200u * t;
    point.seconds = (double)t / 1e3;
    return point;
}

static void fill(uint32_t rounds, uint32_t last_sign)
{
    sp_series_init(&series);
    for (uint32_t t = 1; t <= rounds; t++) {
        struct sp_point point = point_of(t, last_sign);

        sp_series_add(&series, &point);
    }
}

/* Points follow each other without a gap, and each has the means of its own rounds. */
static void check_points(uint32_t rounds, uint32_t last_sign)
{
    uint32_t t = 1;

    for (uint32_t i = 0; i < series.count; i++) {
        const struct sp_point *p = &series.point[i];
        double loss = 0.0, margin = 0.0, waiting = 0.0;
        unsigned lossy = 0, voted = 0, n = 0;

        ck_assert_uint_eq(p->first, t);
        for (; t <= p->round; t++, n++) {
            struct sp_point one = point_of(t, last_sign);

            waiting += one.times.waiting_ms;
            if (isfinite(one.loss)) {
                loss += one.loss;
                lossy++;
            }
            if (one.phase == SP_PHASE_SIGN) {
                margin += one.margin;
                voted++;
            }
        }
        ck_assert_uint_le(n, series.stride);
        ck_assert_uint_eq(p->timed, n);
        ck_assert_uint_eq(p->voted, voted);
        ck_assert_double_eq_tol(p->times.waiting_ms, waiting / n, 1e-9);
        if (lossy > 0)
            ck_assert_double_eq_tol(p->loss, loss / lossy, 1e-9);
        else
            ck_assert(isnan(p->loss));
        if (voted > 0)
            ck_assert_double_eq_tol(p->margin, margin / voted, 1e-9);
        ck_assert_uint_eq(p->bytes_pushed, 100u * p->round);
        ck_assert_double_eq(p->rate, 1.0 / (double)p->round);
        ck_assert_int_eq(p->phase, p->round <= last_sign ? SP_PHASE_SIGN : SP_PHASE_SGD);
    }
    ck_assert_uint_eq(t, rounds + 1);
}

START_TEST(test_any_number_of_rounds)
{
    static const uint32_t rounds[] = {1, 2, 5, 1023, 1024, 1025, 1026, 2047, 2048, 2049, 5000, 100000};

    for (size_t i = 0; i < UNIT_COUNT(rounds); i++) {
        fill(rounds[i], rounds[i] * 2 / 3);
        ck_assert_uint_le(series.count, SP_SERIES_POINTS_MAX);
        ck_assert_uint_ge(series.count, rounds[i] < 512 ? rounds[i] : 512);
        check_points(rounds[i], rounds[i] * 2 / 3);
    }
}
END_TEST

START_TEST(test_a_million_rounds)
{
    fill(1000000, 700000);
    ck_assert_uint_eq(series.stride, 1024);
    ck_assert_uint_eq(series.count, 977);
    check_points(1000000, 700000);
}
END_TEST

START_TEST(test_what_comes_after_a_round)
{
    fill(3000, 3000);
    ck_assert_uint_eq(sp_series_after(&series, 0)->first, 1);
    for (uint32_t t = 1; t < 3000; t++) {
        const struct sp_point *p = sp_series_after(&series, t);

        unit_assert(p->round > t && p->first <= t + 1, "round %u: %u to %u", t, p->first, p->round);
    }
    ck_assert_ptr_null(sp_series_after(&series, 3000));
    ck_assert_ptr_null(sp_series_after(&series, UINT32_MAX));
    sp_series_init(&series);
    ck_assert_ptr_null(sp_series_after(&series, 0));
}
END_TEST

/* A round that it has is left out: a job that went back some rounds begins behind its history. */
START_TEST(test_rounds_are_taken_once)
{
    struct sp_point again = point_of(7, 100);

    fill(10, 100);
    again.loss = 99.0;
    sp_series_add(&series, &again);
    ck_assert_uint_eq(series.count, 10);
    check_points(10, 100);
}
END_TEST

/* What a server that was killed had not written to the history. */
START_TEST(test_a_gap)
{
    struct sp_point late = point_of(15, 100);

    fill(10, 100);
    sp_series_add(&series, &late);
    ck_assert_uint_eq(series.count, 11);
    ck_assert_uint_eq(series.point[10].first, 11);
    ck_assert_double_eq(series.point[10].margin, late.margin);
}
END_TEST

START_TEST(test_points_of_a_history)
{
    sp_series_init(&series);
    for (uint32_t t = 50; t <= 100000; t += 50) {
        struct sp_point point = point_of(t, 100000);

        point.first = t - 49;
        sp_series_add(&series, &point);
    }
    ck_assert_uint_le(series.count, SP_SERIES_POINTS_MAX);
    ck_assert_uint_eq(series.point[0].first, 1);
    for (uint32_t i = 1; i < series.count; i++)
        ck_assert_uint_eq(series.point[i].first, series.point[i - 1].round + 1);
    ck_assert_uint_eq(series.point[series.count - 1].round, 100000);
}
END_TEST

/* What was read again from a history of reports every 100 rounds stays as it was while single rounds come after it. */
START_TEST(test_wide_points_do_not_collapse)
{
    sp_series_init(&series);
    for (uint32_t t = 100; t <= 50000; t += 100) {
        struct sp_point point = point_of(t, 100000);

        point.first = t - 99;
        point.timed = point.voted = 100;
        point.lossy = 100;
        sp_series_add(&series, &point);
    }
    ck_assert_uint_eq(series.count, 500);
    for (uint32_t t = 50001; t <= 70000; t++) {
        struct sp_point point = point_of(t, 100000);

        sp_series_add(&series, &point);
        ck_assert_uint_le(series.count, SP_SERIES_POINTS_MAX);
    }
    for (uint32_t i = 0; i < 500; i++)
        ck_assert_uint_eq(series.point[i].round, 100 * (i + 1));
    for (uint32_t i = 1; i < series.count; i++)
        ck_assert_uint_eq(series.point[i].first, series.point[i - 1].round + 1);
    ck_assert_uint_eq(series.point[series.count - 1].round, 70000);
    for (uint32_t t = 70001; t <= 400000; t++) {
        struct sp_point point = point_of(t, 400000);

        sp_series_add(&series, &point);
    }
    ck_assert_uint_ge(series.count, SP_SERIES_POINTS_MAX / 2);
    ck_assert_uint_le(series.point[0].round, series.stride);
}
END_TEST

START_TEST(test_evaluations)
{
    struct sp_point late = point_of(40, 100);

    fill(3000, 3000);
    late.evaluated = true;
    late.correct = 3;
    late.total = late.expected = 4;
    late.test_loss = 0.5;
    sp_series_evaluated(&series, &late);
    ck_assert(sp_series_after(&series, 39)->evaluated);
    ck_assert_uint_eq(sp_series_after(&series, 39)->correct, 3);
    ck_assert(!sp_series_after(&series, 100)->evaluated);
    late.round = 3050; /* a restarted server has the rounds since its last report in no history */
    late.first = 3001;
    sp_series_evaluated(&series, &late);
    ck_assert_uint_eq(series.recent.round, 3050);
    ck_assert(sp_series_after(&series, 3049)->evaluated);
    ck_assert_uint_eq(sp_series_after(&series, 3049)->round, 3050);
    ck_assert(!sp_series_after(&series, 2990)->evaluated);
    fill(100000, 1);
    late.round = 100000;
    sp_series_evaluated(&series, &late);
    ck_assert(series.point[series.count - 1].evaluated);
}
END_TEST

/* Merged neighbours keep the later one's evaluation, or else the earlier one's. */
START_TEST(test_evaluations_survive_merging)
{
    struct sp_point a = point_of(1, 10), b = point_of(2, 10);

    a.evaluated = true;
    a.correct = 1;
    sp_point_merge(&a, &b);
    ck_assert(a.evaluated);
    ck_assert_uint_eq(a.correct, 1);
    b = point_of(3, 10);
    b.evaluated = true;
    b.correct = 2;
    sp_point_merge(&a, &b);
    ck_assert_uint_eq(a.correct, 2);
}
END_TEST

START_TEST(test_recent)
{
    fill(1, 1000);
    ck_assert_double_eq(series.recent.loss, loss_of(1));
    fill(1000, 1000);
    ck_assert_uint_eq(series.recent.round, 1000);
    ck_assert_double_eq_tol(series.recent.margin, 3.0 / 7.0, 0.05);
    ck_assert_double_eq_tol(series.recent.loss, 0.25 / 3.0, 0.03);
    ck_assert_uint_eq(series.recent.bytes_pushed, 100000);
}
END_TEST

START_TEST(test_json_and_back)
{
    for (uint32_t t = 99; t <= 101; t++) {
        struct sp_point point = point_of(t, 100), read;
        json_t *line;

        point.evaluated = t == 101;
        point.correct = 351;
        point.total = 360;
        point.expected = 361;
        point.test_loss = 0.125;
        point.estimates = (struct sp_estimates){1, 2, 3, 4, 5};
        line = sp_point_json(&point);
        ck_assert_ptr_nonnull(line);
        ck_assert(sp_point_parse(&read, line));
        json_decref(line);
        ck_assert_uint_eq(read.round, t);
        ck_assert_uint_eq(read.timed, 1);
        ck_assert_uint_eq(read.lossy, t % 5 != 0);
        ck_assert_int_eq(read.phase, point.phase);
        ck_assert_double_eq(read.rate, point.rate);
        ck_assert_double_eq(read.times.tally_ms, 2.0);
        ck_assert_uint_eq(read.bytes_float32, point.bytes_float32);
        ck_assert_int_eq(read.evaluated, t == 101);
        ck_assert_double_eq(read.estimates.denoised, t <= 100 ? 3.0 : 0.0);
        ck_assert_double_eq(read.margin, t <= 100 ? point.margin : 0.0);
        if (t == 101)
            ck_assert_uint_eq(read.correct, 351);
    }
}
END_TEST

START_TEST(test_what_is_no_point)
{
    static const char *const lines[] = {"{}",
                                        "{\"round\":3}",
                                        "{\"round\":0,\"phase\":\"sign\"}",
                                        "{\"round\":-1,\"phase\":\"sign\"}",
                                        "{\"round\":4294967296,\"phase\":\"sign\"}",
                                        "{\"round\":3,\"phase\":\"up\"}",
                                        "{\"round\":\"3\",\"phase\":\"sign\"}",
                                        "{\"event\":\"switch\",\"round\":3,\"phase\":\"sign\"}",
                                        "[]"};
    struct sp_point point;

    for (size_t i = 0; i < UNIT_COUNT(lines); i++) {
        json_t *line = json_loads(lines[i], 0, NULL);

        ck_assert_ptr_nonnull(line);
        ck_assert_msg(!sp_point_parse(&point, line), "%s", lines[i]);
        json_decref(line);
    }
    ck_assert(!sp_point_parse(&point, NULL));
}
END_TEST

START_TEST(test_series_json)
{
    json_t *points;

    fill(3000, 3000);
    points = sp_series_json(&series, 0);
    ck_assert_uint_eq(json_array_size(points), series.count);
    json_decref(points);
    points = sp_series_json(&series, 2999);
    ck_assert_uint_eq(json_array_size(points), 1);
    json_decref(points);
    points = sp_series_json(&series, 3000);
    ck_assert_uint_eq(json_array_size(points), 0);
    json_decref(points);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("series");

    tcase_add_test(tests, test_any_number_of_rounds);
    tcase_add_test(tests, test_a_million_rounds);
    tcase_add_test(tests, test_what_comes_after_a_round);
    tcase_add_test(tests, test_rounds_are_taken_once);
    tcase_add_test(tests, test_a_gap);
    tcase_add_test(tests, test_points_of_a_history);
    tcase_add_test(tests, test_wide_points_do_not_collapse);
    tcase_add_test(tests, test_evaluations);
    tcase_add_test(tests, test_evaluations_survive_merging);
    tcase_add_test(tests, test_recent);
    tcase_add_test(tests, test_json_and_back);
    tcase_add_test(tests, test_what_is_no_point);
    tcase_add_test(tests, test_series_json);
    return unit_run(suite_create("series"), tests);
}
