/* How fast a job goes: what happened in the last seconds, from totals that are noted after rounds. Pure. */
#pragma once

#include "server/point.h"

#define SP_PACE_NOTES 24
#define SP_PACE_NOTE_MS 250 /* between two notes; so they cover about 6 s, or as many rounds as there are notes */

/* Since the server's start. */
struct sp_totals {
    uint64_t rounds, bytes_in, bytes_out;
    uint64_t round_ns, tally_ns, send_ns;
};

struct sp_pace {
    unsigned count, next;
    uint64_t at_ms[SP_PACE_NOTES];
    struct sp_totals totals[SP_PACE_NOTES];
};

struct sp_rates {
    double rounds_per_second, bytes_per_second_in, bytes_per_second_out;
    struct sp_times times; /* of a round */
};

/* After a round; what comes too soon after the last note is left out. */
void sp_pace_note(struct sp_pace *pace, uint64_t now_ms, const struct sp_totals *totals);

/* False before there were rounds enough. A job that stands still has fewer and fewer rounds a second. */
bool sp_pace_rates(const struct sp_pace *pace, uint64_t now_ms, struct sp_rates *rates);

/* Of the rounds between two totals; all NaN if there are none. */
struct sp_times sp_pace_times(const struct sp_totals *from, const struct sp_totals *to);
