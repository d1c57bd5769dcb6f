/* What systemd is told of a service (sd_notify(3)): that it is ready, how it goes, that it still turns, that it ends.
 * All of it does nothing where nobody asks (no NOTIFY_SOCKET), or where the program was built without libsystemd. For
 * one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_NOTIFY_BEAT_MS 1000 /* who waits for something calls sp_notify_beat() so often */

/* Whether the program was built to tell anything. */
bool sp_notify_is_built(void);

/* The service has begun its work. */
void sp_notify_ready(void);

/* A line for `systemctl status`. */
void sp_notify_status(const char *words);

/* The program turns: to be called once a second or oftener while it does. Keeps a watchdog quiet, and tells the words
 * every 5 s; NULL: they stay. `write` makes them, and is called only when they are due. */
void sp_notify_beat(uint64_t now_ms, void (*write)(void *arg, char *words, size_t bytes), void *arg);

/* The service ends; further calls tell nothing. */
void sp_notify_stopping(void);
