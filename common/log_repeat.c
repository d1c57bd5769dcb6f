#include "common/log_repeat.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static struct sp_repeat places[SP_REPEAT_PLACES];

static uint64_t hash_of(enum sp_log_level level, const char *tag, const char *text)
{
    uint64_t hash = XXH3_64bits_withSeed(tag, strlen(tag), (XXH64_hash_t)level);

    hash = XXH3_64bits_withSeed(text, strlen(text), hash);
    return hash != 0 ? hash : 1;
}

static bool is_new(const struct sp_repeat *place, uint64_t now_ms)
{
    return now_ms - place->since_ms < SP_LOG_REPEAT_MS;
}

bool sp_repeat_take(enum sp_log_level level, const char *tag, const char *text, uint64_t now_ms, struct sp_repeat *over)
{
    uint64_t hash = hash_of(level, tag, text);
    struct sp_repeat *place = &places[hash % SP_REPEAT_PLACES];

    if (place->hash == hash && is_new(place, now_ms)) {
        place->count++;
        return false;
    }
    *over = *place;
    place->hash = hash;
    place->since_ms = now_ms;
    place->count = 0;
    place->level = level;
    (void)snprintf(place->tag, sizeof place->tag, "%s", tag);
    (void)snprintf(place->text, sizeof place->text, "%s", text);
    return true;
}

bool sp_repeat_next(uint64_t now_ms, bool all, struct sp_repeat *over)
{
    for (size_t i = 0; i < SP_REPEAT_PLACES; i++) {
        if (places[i].count == 0 || (!all && is_new(&places[i], now_ms)))
            continue;
        *over = places[i];
        memset(&places[i], 0, sizeof places[i]);
        return true;
    }
    return false;
}
