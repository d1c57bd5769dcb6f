/* Whole jobs in memory, with faults: see cluster.h for what is checked after every event. */
#include "sim.h"

#include <stdlib.h>

static void add(Suite *suite, TCase *cases)
{
    tcase_set_timeout(cases, getenv("SP_SIM_SEEDS") != NULL ? 0 : 300);
    suite_add_tcase(suite, cases);
}

int main(void)
{
    Suite *all = suite_create("sim");
    SRunner *runner;
    int failed;

    add(all, sim_storms());
    add(all, sim_forms());
    add(all, sim_any());
    add(all, sim_restarts());
    add(all, sim_quarantine());
    runner = srunner_create(all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
