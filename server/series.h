/* The job's curve for people who look at it while it runs: as many points as a chart can show, however many rounds.
 *
 * A point covers `stride` rounds, the last one up to that many, one that came wider what it came with. When all places
 * are taken the stride doubles, and neighbours that it holds are merged. So a round costs a few additions, and memory
 * stays what it is. Pure.
 */
#pragma once

#include "server/point.h"

#define SP_SERIES_POINTS_MAX 1024

struct sp_series {
    uint32_t count;
    uint32_t stride;        /* rounds a point; a power of 2 */
    struct sp_point recent; /* means of recent rounds: moving averages; .round 0: none yet */
    struct sp_point point[SP_SERIES_POINTS_MAX];
};

void sp_series_init(struct sp_series *series);

/* Takes the rounds that follow those it has: one, or some that are one point already. Those that it has are left out.
 */
void sp_series_add(struct sp_series *series, const struct sp_point *point);

/* An evaluation (they take their time). If it does not have the round, for a server ended before the history had it, it
 * is added. */
void sp_series_evaluated(struct sp_series *series, const struct sp_point *point);

/* The first point with a `round` after this one, or NULL. Valid until the next call of another function here. */
const struct sp_point *sp_series_after(const struct sp_series *series, uint32_t round);

/* All of them, or those after a round, as an array. */
json_t *sp_series_json(const struct sp_series *series, uint32_t after);
