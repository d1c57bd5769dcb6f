#include "proto/reason.h"

struct row {
    const char *words;
    int again;
};

static const struct row rows[] = {
#define REASON_ROW(name, number, words, again) [number] = {words, again},
    SP_REASON_LIST(REASON_ROW)
#undef REASON_ROW
};

#define ROWS (sizeof rows / sizeof rows[0])

const char *sp_reason_text(unsigned reason)
{
    return reason < ROWS ? rows[reason].words : "a reason that this version does not know";
}

int sp_reason_may_retry(unsigned reason)
{
    return reason < ROWS && rows[reason].again;
}
