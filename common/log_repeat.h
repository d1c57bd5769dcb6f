/* Which messages of the log came in the last time, and how often again. Not thread-safe: the log locks. */
#pragma once

#include "common/log.h"

#define SP_REPEAT_PLACES 16
#define SP_REPEAT_TEXT_BYTES 160 /* of a message's beginning, by which it is named when its count is said */
#define SP_REPEAT_TAG_BYTES 16

/* The last message that was written of those whose hash leads here. */
struct sp_repeat {
    uint64_t hash; /* 0: there was none */
    uint64_t since_ms;
    uint64_t count; /* how often it came again */
    enum sp_log_level level;
    char tag[SP_REPEAT_TAG_BYTES];
    char text[SP_REPEAT_TEXT_BYTES];
};

/* Whether a message is to be written. If not it was counted. `over` is what then gives up its place: to be said if its
 * count is not 0. */
bool sp_repeat_take(enum sp_log_level level, const char *tag, const char *text, uint64_t now_ms,
                    struct sp_repeat *over);

/* The next one that was counted and has had its time, or any with `all`; false if there is none. */
bool sp_repeat_next(uint64_t now_ms, bool all, struct sp_repeat *over);
