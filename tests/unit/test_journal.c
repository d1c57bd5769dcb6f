/* The journal: what the thread writes is read back, and what is wrong with it is found. */
#include "tests/unit/files.h"
#include "tests/unit/journal_cases.h"
#include "unit.h"

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *cases[] = {journal_writing(), journal_damage()};

    files_begin();
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return unit_run_all(suite);
}
