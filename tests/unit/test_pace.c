/* What a worker says of its first rounds. */
#include "worker/train/pace.h"

#include "unit.h"

static struct sp_pace pace;
static double now;
static char words[256];

/* A round of so many seconds; whether the line is due. */
static bool round_of(double gradient, double exchange)
{
    sp_pace_gradient(&pace, now += gradient, gradient);
    return sp_pace_weights(&pace, now += exchange);
}

static void begin(void)
{
    memset(&pace, 0, sizeof pace);
    now = 100.0;
    ck_assert(!sp_pace_weights(&pace, now)); /* those of the start */
    ck_assert(!round_of(9.0, 0.000001));
    ck_assert(!round_of(0.020, 0.007));
    ck_assert(!round_of(0.010, 0.005)); /* the least wait */
    ck_assert(!round_of(0.030, 0.050));
    ck_assert(!round_of(0.020, 0.006));
    ck_assert(round_of(0.020, 0.009));
}

START_TEST(test_the_first_round_and_longer_waits_do_not_count)
{
    begin();
    sp_pace_words(&pace, 1000000, 0.0, words, sizeof words);
    ck_assert_str_eq(words, "a round: gradient 20 ms, exchange 5 ms (20 %)");
    ck_assert(!round_of(0.020, 0.001)); /* it is said once */
}
END_TEST

START_TEST(test_float32_at_the_rate_of_the_weights)
{
    begin();
    sp_pace_words(&pace, 1000000, 3.875e6 / 0.025, words, sizeof words);
    ck_assert_str_eq(words,
                     "a round: gradient 20 ms, exchange 5 ms (20 %); in float32 the exchange would take about 30 "
                     "ms (60 %): compression pays");
    sp_pace_words(&pace, 1000000, 3.875e6 / 0.001, words, sizeof words);
    ck_assert_str_eq(words, "a round: gradient 20 ms, exchange 5 ms (20 %); in float32 the exchange would take about 6 "
                            "ms (23 %): compression is not worth it here");
}
END_TEST

START_TEST(test_a_round_with_an_evaluation_does_not_count)
{
    memset(&pace, 0, sizeof pace);
    now = 1.0;
    for (int i = 0; i < SP_PACE_SKIPPED + SP_PACE_ROUNDS - 1; i++)
        ck_assert(!round_of(0.1, 0.1));
    sp_pace_gradient(&pace, now += 0.1, 0.1);
    sp_pace_disturb(&pace);
    ck_assert(!sp_pace_weights(&pace, now += 0.001));
    ck_assert(round_of(0.1, 0.1));
    sp_pace_words(&pace, 1, 0.0, words, sizeof words);
    ck_assert_str_eq(words, "a round: gradient 100 ms, exchange 100 ms (50 %)");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pace");
    TCase *tests = tcase_create("all");

    tcase_add_test(tests, test_the_first_round_and_longer_waits_do_not_count);
    tcase_add_test(tests, test_float32_at_the_rate_of_the_weights);
    tcase_add_test(tests, test_a_round_with_an_evaluation_does_not_count);
    return unit_run(suite, tests);
}
