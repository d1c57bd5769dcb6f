#include "deploy/tool/asker.h"

#include <string.h>

/* Each takes a connection of its own: after the first looks there is a new piece of the curve at every so many. */
#define REMOTE_SERIES_FIRST 10
#define REMOTE_SERIES_EVERY 5

static void on_work(uv_work_t *work)
{
    struct tool_asker *asker = work->data;
    struct sp_error error = {0};
    bool is_remote = asker->asking->remote.server != NULL;
    char line[32];

    memset(&asker->error, 0, sizeof asker->error);
    asker->status = tool_answer(asker->asking, "status", &asker->error);
    if (asker->status == NULL || asker->no_series ||
        (is_remote && asker->looks > REMOTE_SERIES_FIRST && asker->looks % REMOTE_SERIES_EVERY != 0))
        return;
    (void)snprintf(line, sizeof line, "series %u", asker->from);
    asker->series = tool_answer(asker->asking, line, &error);
    asker->no_series = asker->series == NULL && strstr(error.text, "unknown command") != NULL;
}

static void on_worked(uv_work_t *work, int status)
{
    struct tool_asker *asker = work->data;

    (void)status;
    asker->busy = false;
    asker->looks++;
    asker->told(asker->arg);
    tool_asker_drop(asker);
}

void tool_asker_look(struct tool_asker *asker, uv_loop_t *loop, uint32_t from)
{
    if (asker->busy)
        return;
    asker->work.data = asker;
    asker->from = from;
    asker->asked_ms = uv_hrtime() / 1000000u;
    asker->busy = uv_queue_work(loop, &asker->work, on_work, on_worked) == 0;
}

void tool_asker_drop(struct tool_asker *asker)
{
    json_decref(asker->status);
    json_decref(asker->series);
    asker->status = asker->series = NULL;
}

json_t *tool_watched_take(struct tool_watched *watched, struct tool_asker *asker, bool *answered)
{
    json_t *before = watched->status;

    *answered = asker->status != NULL;
    if (!*answered)
        return NULL;
    watched->status = asker->status;
    asker->status = NULL;
    if (asker->no_series)
        view_curve_note(&watched->curve, watched->status);
    else
        view_curve_take(&watched->curve, asker->series);
    if (view_number(watched->status, "round") < view_number(before, "round"))
        view_curve_cut(&watched->curve, (uint32_t)view_number(watched->status, "round"));
    return before;
}

void tool_watched_finish(struct tool_watched *watched)
{
    json_decref(watched->status);
    watched->status = NULL;
}
