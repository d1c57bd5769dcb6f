/* The block at the bottom of the terminal while `signpost run` works: the same picture as that of `signpost watch`.
 * What server and run have to say scrolls above it. Nothing here waits for the terminal or for the server. */
#pragma once

#include "deploy/tool/asker.h"
#include "deploy/tool/terminal.h"

#define RUN_VIEW_TEXT_BYTES (256u * 1024u)  /* of lines that the terminal has not taken yet */
#define RUN_VIEW_RECENT_BYTES (32u * 1024u) /* of lines that are written again when the window changes */
#define RUN_VIEW_LINE_BYTES 4096

struct run_view {
    bool on;
    uv_loop_t *loop;
    uv_pipe_t pipe; /* what the server writes */
    bool piped, drained;
    int server_end; /* of the pipe, until the server has it; -1: none */
    char read[RUN_VIEW_LINE_BYTES];
    char partial[RUN_VIEW_LINE_BYTES]; /* of a line that has not come to its end */
    size_t partial_bytes;
    char text[RUN_VIEW_TEXT_BYTES]; /* whole lines */
    size_t text_bytes;
    unsigned long lost; /* lines that had no room */
    char recent[RUN_VIEW_RECENT_BYTES];
    size_t recent_bytes;
    struct tool_asking asking;
    struct tool_asker asker;
    struct tool_watched watched;
    char trouble[800];
    bool asks, resized;
    uv_poll_t writable; /* the terminal takes more of what waits */
    bool polled;
    uint64_t drawn_ms, lost_ms;
    unsigned height; /* lines of the block that are on the screen */
    struct terminal terminal;
    struct view_page page;
};

/* On if standard error is a terminal that can show it, and `plain` is false. */
void run_view_begin(struct run_view *view, uv_loop_t *loop, const char *folder, bool plain);

/* The descriptor that a server is to write to; run_view_started() when it has it, or could not be started. */
int run_view_server_end(struct run_view *view);
void run_view_started(struct run_view *view);

/* From now on the server in the folder is the right one, and can be asked. */
void run_view_ask(struct run_view *view);

/* A line of run's own: above the block, or on standard error. */
void run_view_say(struct run_view *view, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At every tick of the clock. */
void run_view_tick(struct run_view *view);
/* When the window has changed, or we go on after Ctrl-Z; and for Ctrl-Z itself. */
void run_view_resize(struct run_view *view);
void run_view_stop(struct run_view *view);

/* Whether all that the server wrote has been read. */
bool run_view_drained(const struct run_view *view);

/* Takes the block away; what was said stays. */
void run_view_end(struct run_view *view);
