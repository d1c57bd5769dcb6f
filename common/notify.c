#include "common/notify.h"

#include <stdio.h>
#include <string.h>

#ifdef SP_HAVE_SYSTEMD

#include <systemd/sd-daemon.h>

#define STATUS_MS 5000
#define WORDS_BYTES 256

static struct {
    bool asked, stopping;
    uint64_t watchdog_ms; /* half of what it allows; 0: there is none */
    uint64_t alive_ms, said_ms;
} notify = {.asked = true};

static void tell(const char *state)
{
    if (notify.asked)
        notify.asked = sd_notify(0, state) > 0;
}

bool sp_notify_is_built(void)
{
    return true;
}

void sp_notify_ready(void)
{
    uint64_t allowed_us = 0;

    tell("READY=1");
    if (sd_watchdog_enabled(0, &allowed_us) > 0)
        notify.watchdog_ms = allowed_us / 2000;
}

void sp_notify_status(const char *words)
{
    char state[WORDS_BYTES + 8];

    if (notify.stopping)
        return;
    (void)snprintf(state, sizeof state, "STATUS=%s", words);
    for (char *at = state; *at != '\0'; at++)
        *at = *at == '\n' ? ' ' : *at;
    tell(state);
}

static bool is_due(uint64_t *last_ms, uint64_t every_ms, uint64_t now_ms)
{
    if (*last_ms != 0 && now_ms - *last_ms < every_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

void sp_notify_beat(uint64_t now_ms, void (*write)(void *arg, char *words, size_t bytes), void *arg)
{
    char words[WORDS_BYTES];

    if (!notify.asked || notify.stopping)
        return;
    if (notify.watchdog_ms > 0 && /* at half of what it allows, less a beat by which the caller may be late */
        is_due(&notify.alive_ms,
               notify.watchdog_ms > 2 * SP_NOTIFY_BEAT_MS ? notify.watchdog_ms - SP_NOTIFY_BEAT_MS : 0, now_ms))
        tell("WATCHDOG=1");
    if (write == NULL || !is_due(&notify.said_ms, STATUS_MS, now_ms))
        return;
    write(arg, words, sizeof words);
    sp_notify_status(words);
}

void sp_notify_stopping(void)
{
    if (notify.stopping)
        return;
    tell("STOPPING=1");
    notify.stopping = true;
}

#else

bool sp_notify_is_built(void)
{
    return false;
}

void sp_notify_ready(void)
{
}

void sp_notify_status(const char *words)
{
}

void sp_notify_beat(uint64_t now_ms, void (*write)(void *arg, char *words, size_t bytes), void *arg)
{
}

void sp_notify_stopping(void)
{
}

#endif
