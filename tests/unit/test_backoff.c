/* Pauses between attempts to connect. */
#include "tests/unit/unit.h"
#include "worker/client/backoff.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static const uint32_t longest[] = {100, 200, 400, 800, 1000, 1000, 1000};
#define STEPS (sizeof longest / sizeof longest[0])

START_TEST(test_pauses_double_up_to_a_limit)
{
    struct sp_backoff backoff;

    for (uint64_t salt = 0; salt < 2000; salt++) {
        sp_backoff_init(&backoff, salt);
        for (size_t i = 0; i < STEPS; i++) {
            uint32_t pause = sp_backoff_next_ms(&backoff);

            if (pause > longest[i] || pause < longest[i] / 2)
                ck_abort_msg("pause %zu is %u ms", i, pause);
        }
    }
}
END_TEST

START_TEST(test_for_ever)
{
    struct sp_backoff backoff;

    sp_backoff_init(&backoff, 1);
    for (int i = 0; i < 100000; i++) {
        uint32_t pause = sp_backoff_next_ms(&backoff);

        if (i >= 4 && (pause > 1000 || pause < 500))
            ck_abort_msg("pause %d is %u ms", i, pause);
    }
    backoff.attempts = UINT32_MAX; /* many years later */
    ck_assert_uint_ge(sp_backoff_next_ms(&backoff), 50);
}
END_TEST

START_TEST(test_reset_begins_again)
{
    struct sp_backoff backoff;

    sp_backoff_init(&backoff, 3);
    for (int i = 0; i < 20; i++)
        (void)sp_backoff_next_ms(&backoff);
    sp_backoff_reset(&backoff);
    ck_assert_uint_le(sp_backoff_next_ms(&backoff), 100);
    ck_assert_uint_le(sp_backoff_next_ms(&backoff), 200);
}
END_TEST

/* Processes that lost the same server spread over half of the pause: the mean is 3/4 of it, and no eighth of the range
 * is empty. */
START_TEST(test_processes_do_not_return_in_step)
{
    unsigned eighths[8] = {0};
    double sum = 0.0;

    for (uint64_t salt = 0; salt < 4000; salt++) {
        struct sp_backoff backoff;
        uint32_t pause = 0;

        sp_backoff_init(&backoff, salt * UINT64_C(0x9e3779b97f4a7c15));
        for (int i = 0; i < 7; i++)
            pause = sp_backoff_next_ms(&backoff);
        sum += pause;
        eighths[(pause - 500) * 8 / 501]++;
    }
    ck_assert_double_eq_tol(sum / 4000.0, 750.0, 5.0 * 500.0 / sqrt(12.0 * 4000.0));
    for (int i = 0; i < 8; i++)
        ck_assert_uint_gt(eighths[i], 400);
}
END_TEST

int main(void)
{
    Suite *all = suite_create("backoff");
    TCase *cases = tcase_create("backoff");

    tcase_add_test(cases, test_pauses_double_up_to_a_limit);
    tcase_add_test(cases, test_for_ever);
    tcase_add_test(cases, test_reset_begins_again);
    tcase_add_test(cases, test_processes_do_not_return_in_step);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
