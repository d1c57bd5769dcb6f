/* Parts of test_stream.c in files of their own. */
#pragma once

#include <check.h>

void stream_add_hold(TCase *tests);
void stream_add_tls(TCase *tests); /* between tls_made_begin() and tls_made_end() */
