/* What the parts of a job (job.c, job_text.c, job_words.c, rules.c) know of each other; not for anybody else. */
#pragma once

#include "common/job.h"

#include <locale.h>

#define UINT64_AS_REAL 0x1p64

/* A text means the same whatever the locale of the program that the library is part of: numbers have a point. */
static inline locale_t sp_c_locale_enter(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);

    return c == (locale_t)0 ? (locale_t)0 : uselocale(c);
}

static inline void sp_c_locale_leave(locale_t before)
{
    if (before != (locale_t)0)
        freelocale(uselocale(before));
}

/* Whether `group` is a group that `path` is in. */
bool sp_path_is_under(const char *path, const char *group);

/* Reads a value into its member of a job, which on failure stays as it was. Returns a code. */
int sp_text_parse(const struct sp_key *key, void *member, const char *text);

/* Fill in the words for a path that is no key, and for a value that sp_text_parse() refused. Return the code. */
int sp_words_refuse_path(const char *path, struct sp_error *error);
int sp_words_refuse_value(const struct sp_key *key, int code, const char *value, struct sp_error *error);
