/* What the server spends on its peers, at most. Decisions and counts alone: peer.c acts on them.
 *
 * Every limit at which a peer is sent away has a row here. The peer gets a reason, `signpost status` a count, the log a
 * line (of those at the door the first at once, then at most one in SP_LIMITS_SAY_MS, with the number of those in
 * between; of others see sp_peer_may_say()), and the job goes on.
 */
#pragma once

#include "common/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_HANDSHAKE_MS_MAX 10000 /* from the connection to the last frame of the handshake, TLS included */
#define SP_OPERATORS_MAX 16       /* connections at once at the socket in the run's folder */
#define SP_LIMITS_SAY_MS 10000
#define SP_LIMITS_SETS 256 /* of addresses that are told apart at a time: each has its place in one set */
#define SP_LIMITS_WAYS 4   /* places of a set */
#define SP_LIMITS_BURST_SECONDS 4

/* X(name in status, what it limits) */
#define SP_LIMIT_LIST(X)                                                                                               \
    X(CONNECTIONS, "connections", "connections at once")                                                               \
    X(HANDSHAKES, "handshakes", "connections at once whose handshake is not over")                                     \
    X(HANDSHAKE_TIME, "handshake_time", "time for a handshake")                                                        \
    X(JOINS, "joins", "connections a second and address")                                                              \
    X(TLS, "tls", "handshakes of TLS that failed")                                                                     \
    X(SECRET, "secret", "wrong or missing credentials")                                                                \
    X(PROTOCOL, "protocol", "frames that are too large, damaged, out of order or out of range")                        \
    X(SILENCE, "silence", "seconds without a byte from a worker")                                                      \
    X(QUEUE, "queue", "bytes that wait for one worker")                                                                \
    X(BUFFERED, "buffered", "bytes that wait for all workers together")

enum sp_limit {
#define SP_LIMIT_ENUM(name, text, words) SP_LIMIT_##name,
    SP_LIMIT_LIST(SP_LIMIT_ENUM)
#undef SP_LIMIT_ENUM
        SP_LIMITS_COUNT
};

struct sp_limit_state {
    uint64_t hits;    /* peers that were sent away at it */
    uint64_t said;    /* hits that the log knows of */
    uint64_t said_ms; /* when it last heard of one; 0: never */
};

struct sp_limits {
    unsigned connections, handshakes, joins;
    uint64_t buffered_bytes;
    uint64_t key; /* random: nobody can know which addresses share a set */
    struct sp_limit_state state[SP_LIMITS_COUNT];
    struct sp_limits_address {
        uint64_t group; /* of an address: sp_address_group() */
        uint64_t seen_ms;
        bool taken;
        double tokens; /* connections that it may still make at once */
    } addresses[SP_LIMITS_SETS][SP_LIMITS_WAYS];
};

/* `key` is random, or any number where nobody means ill. */
void sp_limits_init(struct sp_limits *limits, const struct sp_job *job, uint64_t key);

/* A connection of this address: whether it may come in now. */
bool sp_limits_may_join(struct sp_limits *limits, uint64_t group, uint64_t now_ms);

/* A connection of this address that failed kept the server busy for so many ms: as many others of it do not come in. */
void sp_limits_charge(struct sp_limits *limits, uint64_t group, unsigned spent_ms, uint64_t now_ms);

/* Of an address, by the key. */
uint64_t sp_limits_hash(const struct sp_limits *limits, uint64_t group);

/* Counts a peer that is sent away. True if the log is to hear of it; *more is then how many others it did not hear of.
 */
bool sp_limits_hit(struct sp_limits *limits, enum sp_limit limit, uint64_t now_ms, uint64_t *more);

const char *sp_limit_name(enum sp_limit limit);
const char *sp_limit_words(enum sp_limit limit);
