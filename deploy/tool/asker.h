/* Asks a running server without waiting for it: in a thread, with the time limits of tool_ask() and tool_ask_remote().
 * One question at a time. */
#pragma once

#include "deploy/tool/asking.h"
#include "deploy/tool/view.h"

#include <uv.h>

struct tool_asker {
    uv_work_t work;
    const struct tool_asking *asking; /* .run is a folder; stays as it is */
    void (*told)(void *arg);          /* called in the loop when the answer, or none, is there */
    void *arg;
    bool busy;
    bool no_series; /* the server does not know that command */
    uint32_t from;
    json_t *status, *series; /* the answers, which told() takes over or tool_asker_drop() drops; NULL: none */
    struct sp_error error;   /* of the status */
    uint64_t asked_ms;       /* when: of uv_hrtime() */
    unsigned looks;
};

/* Asks for the status, and for the curve from `from` on. Does nothing while the last question is under way. */
void tool_asker_look(struct tool_asker *asker, uv_loop_t *loop, uint32_t from);
void tool_asker_drop(struct tool_asker *asker);

/* What a view needs of a server, kept up to date. */
struct tool_watched {
    json_t *status; /* owned; NULL: none yet */
    struct view_curve curve;
};

/* Takes over what an asker was told; returns the status before, which the caller drops, or NULL. False in `answered`:
 * there was no answer, and all stays. */
json_t *tool_watched_take(struct tool_watched *watched, struct tool_asker *asker, bool *answered);
void tool_watched_finish(struct tool_watched *watched);
