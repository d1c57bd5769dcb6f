/* The advisor's arithmetic against figures worked out by hand. */
#include "deploy/tool/bench_advice.h"

#include "unit.h"

#include <math.h>

static struct advice_job job;
static struct advice_exchange e[ADVICE_WIRES];

/* Ten million parameters, a link whose payload is 1e9 bits a second, processors that cost nothing. */
static void begin(double server_links)
{
    static const double bytes[ADVICE_RING] = {0.125, 1.0, 4.0};

    memset(&job, 0, sizeof job);
    job.workers = 4;
    job.params = 1e7;
    job.link = 1e9 / ADVICE_PAYLOAD;
    job.server_link = server_links * job.link;
    for (int i = 0; i < ADVICE_RING; i++)
        job.cost[i].up = job.cost[i].down = bytes[i];
}

static void near(double value, double expected)
{
    ck_assert_double_eq_tol(value, expected, 1e-9 * fabs(expected) + 1e-12);
}

START_TEST(test_the_line_of_a_worker)
{
    begin(4.0);
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].ms, 10.0);
    near(e[ADVICE_I8].ms, 80.0);
    near(e[ADVICE_F32].ms, 320.0);
    near(e[ADVICE_RING].ms, 480.0); /* 1.5 times 40 MB */
}
END_TEST

START_TEST(test_the_line_of_the_server)
{
    begin(1.0);
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].ms, 40.0);
    near(e[ADVICE_F32].ms, 1280.0);
    near(e[ADVICE_RING].ms, 480.0); /* it has none */
    begin(2.0);
    job.cost[ADVICE_BITS].down = 0.375; /* the direction with more bytes counts */
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].ms, 60.0);
}
END_TEST

START_TEST(test_the_slowest_stage_and_what_follows_it)
{
    begin(4.0);
    job.cost[ADVICE_BITS].server_ns = 0.1; /* 4 ms: hidden behind the line's 10 */
    job.cost[ADVICE_BITS].worker_ns = 1.0; /* 10 ms, of which 4 come after the last byte */
    job.cost[ADVICE_BITS].apply_ns = 0.4;
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].server_ms, 4.0);
    near(e[ADVICE_BITS].worker_ms, 10.0);
    near(e[ADVICE_BITS].ms, 14.0);
    job.cost[ADVICE_BITS].server_ns = 0.5; /* 20 ms */
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].ms, 24.0);
    job.cost[ADVICE_BITS].worker_ns = 3.0; /* 26 ms before the last byte */
    advice_exchanges(&job, e);
    near(e[ADVICE_BITS].ms, 30.0);
    job.cost[ADVICE_F32].worker_ns = 100.0; /* 1000 ms; the ring handles 1.5 times the bytes */
    advice_exchanges(&job, e);
    near(e[ADVICE_RING].ms, 1500.0);
}
END_TEST

START_TEST(test_two_workers_in_a_ring_send_one_model)
{
    begin(4.0);
    job.workers = 2;
    advice_exchanges(&job, e);
    near(e[ADVICE_RING].ms, 320.0);
}
END_TEST

static enum advice_verdict verdict(double bits, double i8, double f32, double ring, double gradient)
{
    struct advice_exchange given[ADVICE_WIRES] = {{.ms = bits}, {.ms = i8}, {.ms = f32}, {.ms = ring}};

    return advice_for(given, gradient).verdict;
}

START_TEST(test_shares_and_gains)
{
    struct advice a;

    begin(1.0);
    advice_exchanges(&job, e);
    a = advice_for(e, 40.0);
    near(a.share[ADVICE_BITS], 0.5);
    near(a.share[ADVICE_F32], 1280.0 / 1320.0);
    near(a.gain[ADVICE_BITS], 520.0 / 80.0); /* against the ring, the faster of the two */
    near(a.gain[ADVICE_RING], 1.0);
    ck_assert_int_eq(a.verdict, ADVICE_WORTH);
}
END_TEST

START_TEST(test_verdicts)
{
    ck_assert_int_eq(verdict(1, 8, 32, 48, 100), ADVICE_WORTH);
    ck_assert_int_eq(verdict(1, 8, 32, 48, 32.0 / 0.05 - 32.0 + 1.0), ADVICE_LITTLE);
    ck_assert_int_eq(verdict(1, 8, 32, 48, 32.0 / 0.05 - 32.0 - 1.0), ADVICE_I8_AS_GOOD);
    ck_assert_int_eq(verdict(30, 31, 32, 48, 100), ADVICE_NO_GAIN);
    ck_assert_int_eq(verdict(40, 8, 32, 48, 100), ADVICE_I8_AS_GOOD);
    ck_assert_int_eq(verdict(1, 8, 32, 1.5, 10), ADVICE_NO_GAIN);
}
END_TEST

START_TEST(test_rates)
{
    near(advice_rate("1gbit"), 1e9);
    near(advice_rate("100mbit"), 1e8);
    near(advice_rate("2.5Gbit/s"), 2.5e9);
    near(advice_rate("64Kbit"), 64e3);
    near(advice_rate("1e9"), 1e9);
    near(advice_rate("56000bit"), 56000.0);
    ck_assert(advice_rate("") == 0.0);
    ck_assert(advice_rate("gbit") == 0.0);
    ck_assert(advice_rate("1 gbit") == 0.0);
    ck_assert(advice_rate("1gbyte") == 0.0);
    ck_assert(advice_rate("-1gbit") == 0.0);
    ck_assert(advice_rate("inf") == 0.0);
    ck_assert(advice_rate("nan") == 0.0);
    ck_assert(advice_rate("0mbit") == 0.0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_advice");
    TCase *tests = tcase_create("all");

    tcase_add_test(tests, test_the_line_of_a_worker);
    tcase_add_test(tests, test_the_line_of_the_server);
    tcase_add_test(tests, test_the_slowest_stage_and_what_follows_it);
    tcase_add_test(tests, test_two_workers_in_a_ring_send_one_model);
    tcase_add_test(tests, test_shares_and_gains);
    tcase_add_test(tests, test_verdicts);
    tcase_add_test(tests, test_rates);
    return unit_run(suite, tests);
}
