/* The client as its caller sees it, against a server that a test scripts. */
#include "client_cases.h"
#include "tests/unit/files.h"
#include "unit.h"

int main(void)
{
    TCase *const cases[] = {client_open_cases(),   client_handshake_cases(), client_round_cases(),
                            client_phases_cases(), client_momentum_cases(),  client_process_cases()};
    Suite *suite = suite_create("client");

    files_begin();
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return unit_run_all(suite);
}
