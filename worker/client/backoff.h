/* Pauses between attempts to connect: they double from 100 ms up to 1 s, each shortened by up to half at random, so
 * that many workers that lost the same server do not return in step. */
#pragma once

#include "common/rng.h"

#include <stdint.h>

struct sp_backoff {
    struct sp_rng rng;
    uint32_t attempts;
};

/* `salt` should differ between processes. */
void sp_backoff_init(struct sp_backoff *backoff, uint64_t salt);
/* The next attempt is the first one again. */
void sp_backoff_reset(struct sp_backoff *backoff);
uint32_t sp_backoff_next_ms(struct sp_backoff *backoff);
