/* Parts of test_stream.c in files of their own. */
#pragma once

#include <check.h>

void stream_add_hold(TCase *tests);
