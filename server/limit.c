#include "server/limit.h"

#include "common/rng.h"

#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *words;
} texts[] = {
#define SP_LIMIT_TEXT(name, text, words) {text, words},
    SP_LIMIT_LIST(SP_LIMIT_TEXT)
#undef SP_LIMIT_TEXT
};

const char *sp_limit_name(enum sp_limit limit)
{
    return texts[limit].name;
}

const char *sp_limit_words(enum sp_limit limit)
{
    return texts[limit].words;
}

static uint64_t half_of_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);

    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes / 2 : UINT64_MAX;
}

void sp_limits_init(struct sp_limits *limits, const struct sp_job *job, uint64_t key)
{
    memset(limits, 0, sizeof *limits);
    limits->key = key;
    limits->connections = job->server.limits.connections;
    limits->handshakes = job->server.limits.handshakes;
    limits->joins = job->server.limits.joins;
    limits->buffered_bytes =
        job->server.limits.buffered > 0.0 ? (uint64_t)(job->server.limits.buffered * 1e6) : half_of_memory();
}

static void refill(const struct sp_limits *limits, struct sp_limits_address *address, uint64_t now_ms)
{
    const double full = (double)limits->joins * SP_LIMITS_BURST_SECONDS;

    address->tokens += (double)(now_ms - address->seen_ms) * 1e-3 * (double)limits->joins;
    if (!address->taken || address->tokens > full)
        address->tokens = full;
    address->seen_ms = now_ms;
}

uint64_t sp_limits_hash(const struct sp_limits *limits, uint64_t group)
{
    return sp_mix64(group ^ limits->key);
}

/* A bucket of tokens for each address, or rather for each that was seen lately. One that is new takes the place of the
 * one in its set with the most tokens, and those tokens: so addresses that drive each other out gain nothing. */
static struct sp_limits_address *bucket(struct sp_limits *limits, uint64_t group, uint64_t now_ms)
{
    struct sp_limits_address *set = limits->addresses[sp_limits_hash(limits, group) % SP_LIMITS_SETS], *found = NULL;
    struct sp_limits_address *fullest = set;

    for (unsigned i = 0; i < SP_LIMITS_WAYS; i++) {
        refill(limits, &set[i], now_ms);
        if (set[i].taken && set[i].group == group)
            found = &set[i];
        if (set[i].tokens > fullest->tokens)
            fullest = &set[i];
    }
    if (found == NULL) {
        found = fullest;
        found->group = group;
        found->taken = true;
    }
    return found;
}

bool sp_limits_may_join(struct sp_limits *limits, uint64_t group, uint64_t now_ms)
{
    struct sp_limits_address *address = bucket(limits, group, now_ms);

    if (address->tokens < 1.0)
        return false;
    address->tokens -= 1.0;
    return true;
}

void sp_limits_charge(struct sp_limits *limits, uint64_t group, unsigned spent_ms, uint64_t now_ms)
{
    bucket(limits, group, now_ms)->tokens -= (double)spent_ms;
}

bool sp_limits_hit(struct sp_limits *limits, enum sp_limit limit, uint64_t now_ms, uint64_t *more)
{
    struct sp_limit_state *state = &limits->state[limit];

    state->hits++;
    if (state->said_ms != 0 && now_ms - state->said_ms < SP_LIMITS_SAY_MS)
        return false;
    *more = state->hits - state->said - 1;
    state->said = state->hits;
    state->said_ms = now_ms;
    return true;
}
