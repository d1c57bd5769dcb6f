/* The job as a state machine, driven by events. */
#include "round_cases.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

int main(void)
{
    Suite *all = suite_create("round");

    suite_add_tcase(all, round_roster_cases());
    suite_add_tcase(all, round_probe_cases());
    suite_add_tcase(all, round_init_cases());
    suite_add_tcase(all, round_push_cases());
    suite_add_tcase(all, round_switch_cases());
    suite_add_tcase(all, round_decisions_cases());
    suite_add_tcase(all, round_outlook_cases());
    suite_add_tcase(all, round_robust_cases());
    suite_add_tcase(all, round_margin_cases());
    suite_add_tcase(all, round_values_cases());
    suite_add_tcase(all, round_full_cases());
    suite_add_tcase(all, round_buffers_cases());
    suite_add_tcase(all, round_evaluation_cases());
    suite_add_tcase(all, round_quarantine_cases());
    return unit_run_all(all);
}
