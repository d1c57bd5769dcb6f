/* Assertions on ourselves. A peer, a file or a user never makes one fail: those get an error code.
 * They stay on in every build, because a server that goes on with a broken invariant spoils a job in silence.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define sp_assert(condition)                                                                                           \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) {                                                                       \
            (void)fprintf(stderr, "signpost: internal error at %s:%d: '%s' does not hold; please report this\n",       \
                          __FILE__, __LINE__, #condition);                                                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
