/* The suites of test_journal.c. */
#pragma once

#include <check.h>

TCase *journal_writing(void);
TCase *journal_damage(void);
