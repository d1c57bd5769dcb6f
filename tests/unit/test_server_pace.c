/* How fast a job goes, from totals that are noted after rounds. */
#include "unit.h"

#include "server/pace.h"

#include <math.h>

static struct sp_pace pace;
static struct sp_totals totals;
static struct sp_rates rates;

/* `n` rounds of so many ms each, of which a quarter is tally and a tenth sending. */
static uint64_t pass(uint64_t now_ms, unsigned n, unsigned ms)
{
    for (unsigned i = 0; i < n; i++) {
        now_ms += ms;
        totals.rounds++;
        totals.bytes_in += 1000;
        totals.bytes_out += 500;
        totals.round_ns += ms * 1000000ull;
        totals.tally_ns += ms * 250000ull;
        totals.send_ns += ms * 100000ull;
        sp_pace_note(&pace, now_ms, &totals);
    }
    return now_ms;
}

START_TEST(test_short_rounds)
{
    uint64_t now;

    ck_assert(!sp_pace_rates(&pace, 0, &rates));
    now = pass(1000, 10000, 2);
    ck_assert(sp_pace_rates(&pace, now, &rates));
    ck_assert_double_eq_tol(rates.rounds_per_second, 500.0, 1.0);
    ck_assert_double_eq_tol(rates.bytes_per_second_in, 500e3, 1e3);
    ck_assert_double_eq_tol(rates.bytes_per_second_out, 250e3, 1e3);
    ck_assert_double_eq_tol(rates.times.round_ms, 2.0, 1e-9);
    ck_assert_double_eq_tol(rates.times.tally_ms, 0.5, 1e-9);
    ck_assert_double_eq_tol(rates.times.send_ms, 0.2, 1e-9);
    ck_assert_double_eq_tol(rates.times.waiting_ms, 1.3, 1e-9);
}
END_TEST

/* Rounds of minutes: two of them say how fast it goes, and waiting for the third does not make it slower. */
START_TEST(test_long_rounds)
{
    uint64_t now = pass(0, 2, 60000);

    ck_assert(sp_pace_rates(&pace, now + 59000, &rates));
    ck_assert_double_eq_tol(rates.rounds_per_second, 1.0 / 60.0, 1e-6);
    ck_assert(sp_pace_rates(&pace, now + 600000, &rates));
    ck_assert_double_lt(rates.rounds_per_second, 1.0 / 600.0);
}
END_TEST

/* A job that came faster goes on slower: what is long past has no say. */
START_TEST(test_change_of_pace)
{
    uint64_t now = pass(0, 5000, 2);

    now = pass(now, 100, 100);
    ck_assert(sp_pace_rates(&pace, now, &rates));
    ck_assert_double_eq_tol(rates.rounds_per_second, 10.0, 0.5);
}
END_TEST

START_TEST(test_standing_still)
{
    uint64_t now = pass(0, 5000, 2);
    double before = INFINITY;

    for (unsigned s = 4; s < 4000; s *= 2) {
        ck_assert(sp_pace_rates(&pace, now + s * 1000u, &rates));
        ck_assert_double_lt(rates.rounds_per_second, before);
        before = rates.rounds_per_second;
    }
    ck_assert_double_lt(before, 2.0);
}
END_TEST

START_TEST(test_no_rounds_between)
{
    struct sp_times times = sp_pace_times(&totals, &totals);

    ck_assert(isnan(times.round_ms));
    ck_assert(isnan(times.waiting_ms));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pace");

    tcase_add_test(tests, test_short_rounds);
    tcase_add_test(tests, test_long_rounds);
    tcase_add_test(tests, test_change_of_pace);
    tcase_add_test(tests, test_standing_still);
    tcase_add_test(tests, test_no_rounds_between);
    return unit_run(suite_create("pace"), tests);
}
