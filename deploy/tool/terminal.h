/* A terminal that something live is drawn on. It is written to without waiting for it: what it does not take at once
 * stays in a buffer, and a stopped or slow terminal holds nothing up. */
#pragma once

#include "deploy/tool/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#define TERMINAL_BYTES (640u * 1024u) /* the largest picture has room */

struct terminal {
    int fd;                   /* ours alone, so that its being non-blocking is nobody else's affair; -1: not open */
    unsigned columns, lines;  /* as terminal_measure() found them */
    bool colour, utf8, whole; /* the whole screen is ours, and what was there before comes back at the end */
    bool entered, has_modes;
    struct termios modes; /* as they were */
    size_t used, sent;    /* of `out` */
    char out[TERMINAL_BYTES];
};

/* Takes the locale's character set, which view.h needs. Whether it is UTF-8. */
bool terminal_locale(void);

/* Opens the terminal behind a descriptor; false if there is none, it knows no control sequences (TERM=dumb), or it
 * belongs to another job of the shell at present: then plain lines are the right thing. */
bool terminal_open(struct terminal *terminal, int fd, bool whole);

/* Puts the cursor away, and back. What is typed is not shown meanwhile. Leaving has patience, see below. */
void terminal_enter(struct terminal *terminal);
void terminal_leave(struct terminal *terminal);
void terminal_close(struct terminal *terminal);

/* False while the shell runs us in the background. */
bool terminal_is_ours(const struct terminal *terminal);

/* Asks for its size anew. */
void terminal_measure(struct terminal *terminal);

/* The window that a view has in it: one column less, since the last one has rules of its own. */
struct view_window terminal_window(const struct terminal *terminal, unsigned lines);

/* Puts text behind what waits; false if there is no room: then nothing is put. */
bool terminal_put(struct terminal *terminal, const char *text, size_t bytes);
bool terminal_say(struct terminal *terminal, const char *text);

/* Writes what it takes; whether nothing waits any more. */
bool terminal_flush(struct terminal *terminal);

/* Writes all of it to a terminal that does not stand still for two seconds; whether it did not. */
bool terminal_flush_patiently(struct terminal *terminal);
