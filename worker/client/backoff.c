#include "worker/client/backoff.h"

#define FIRST_MS 100u
#define LAST_MS 1000u /* a server that is back is found within a second */

void sp_backoff_init(struct sp_backoff *backoff, uint64_t salt)
{
    sp_rng_init(&backoff->rng, sp_rng_key(salt, SP_RNG_JITTER), 0, 0);
    backoff->attempts = 0;
}

void sp_backoff_reset(struct sp_backoff *backoff)
{
    backoff->attempts = 0;
}

uint32_t sp_backoff_next_ms(struct sp_backoff *backoff)
{
    uint32_t pause = LAST_MS;

    if (backoff->attempts < 4 && (FIRST_MS << backoff->attempts) < LAST_MS)
        pause = FIRST_MS << backoff->attempts;
    backoff->attempts++;
    return pause - sp_rng_below(&backoff->rng, pause / 2 + 1);
}
