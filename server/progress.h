/* What the daemon notes of rounds for people who look at the job: where their time went, how fast they come, the curve.
 */
#pragma once

#include "server/pace.h"
#include "server/series.h"

struct sp_server;

struct sp_progress {
    struct sp_totals totals;
    struct sp_totals at_commit, at_report; /* as they were after the last of each */
    uint32_t reported;                     /* round of the last report */
    uint64_t commit_ns;                    /* when the last COMMIT left; 0: none yet */
    struct sp_pace pace;
    struct sp_series series;
};

/* A run that goes on begins with what its history has: a line of it. */
void sp_progress_recall(void *progress, const json_t *line);

/* The COMMIT of a round has left (0: the job starts). */
void sp_progress_commit(struct sp_server *server, uint32_t round);

/* The point of a report, for the history. */
struct sp_point sp_progress_report(struct sp_server *server, const struct sp_report *report);

/* False before there were rounds enough. */
bool sp_progress_rates(const struct sp_server *server, struct sp_rates *rates);
