#include "server/progress.h"

#include "server/server_state.h"

#include <math.h>

/* A line of the history has the means of all its rounds. */
static void weigh(struct sp_point *point, uint32_t rounds)
{
    point->timed *= rounds;
    point->voted *= rounds;
    point->lossy *= rounds;
}

void sp_progress_recall(void *arg, const json_t *line)
{
    struct sp_progress *progress = arg;
    struct sp_point point;

    if (!sp_point_parse(&point, line) || point.round <= progress->reported)
        return;
    point.first = progress->reported + 1;
    weigh(&point, point.round - progress->reported);
    progress->reported = point.round;
    sp_series_add(&progress->series, &point);
}

static void set_totals(struct sp_server *server, struct sp_point *point)
{
    point->bytes_pushed = server->bytes.pushed;
    point->bytes_updated = server->bytes.updated;
    point->bytes_float32 = sp_round_float32_bytes(server->round);
    point->seconds = (double)(sp_server_now_ms() - server->started_ms) / 1e3;
}

static void set_times(struct sp_point *point, const struct sp_totals *from, const struct sp_totals *to)
{
    point->times = sp_pace_times(from, to);
    point->timed = (uint32_t)(to->rounds - from->rounds);
}

static void add_round(struct sp_server *server)
{
    struct sp_progress *progress = &server->progress;
    const struct sp_report *latest = sp_round_latest(server->round);
    struct sp_point point;

    if (latest == NULL)
        return;
    point = sp_point_of(latest, latest->round);
    set_totals(server, &point);
    set_times(&point, &progress->at_commit, &progress->totals);
    sp_series_add(&progress->series, &point);
}

void sp_progress_commit(struct sp_server *server, uint32_t round)
{
    struct sp_progress *progress = &server->progress;
    struct sp_totals *totals = &progress->totals;
    uint64_t now = uv_hrtime();

    totals->bytes_in = server->bytes.pushed + server->bytes.other_in;
    totals->bytes_out = server->bytes.updated + server->bytes.other_out;
    if (progress->commit_ns > 0 && round > 0) {
        totals->rounds++;
        totals->round_ns += now - progress->commit_ns;
    }
    progress->commit_ns = now;
    if (round > 0)
        add_round(server);
    progress->at_commit = *totals;
    sp_pace_note(&progress->pace, now / 1000000u, totals);
}

struct sp_point sp_progress_report(struct sp_server *server, const struct sp_report *report)
{
    struct sp_progress *progress = &server->progress;
    uint32_t first = report->round > progress->reported ? progress->reported + 1 : report->round;
    struct sp_point point = sp_point_of(report, first);

    set_totals(server, &point);
    set_times(&point, &progress->at_report, &progress->at_commit);
    progress->at_report = progress->at_commit;
    progress->reported = report->round > progress->reported ? report->round : progress->reported;
    if (point.evaluated)
        sp_series_evaluated(&progress->series, &point);
    return point;
}

bool sp_progress_rates(const struct sp_server *server, struct sp_rates *rates)
{
    return sp_pace_rates(&server->progress.pace, sp_server_now_ms(), rates);
}
