#include "server/pace.h"

#include <math.h>

#define IDLE_MS 3000.0
#define IDLE_ROUNDS 3.0

void sp_pace_note(struct sp_pace *pace, uint64_t now_ms, const struct sp_totals *totals)
{
    unsigned last = (pace->next + SP_PACE_NOTES - 1) % SP_PACE_NOTES;

    if (pace->count > 0 && now_ms - pace->at_ms[last] < SP_PACE_NOTE_MS)
        return;
    pace->at_ms[pace->next] = now_ms;
    pace->totals[pace->next] = *totals;
    pace->next = (pace->next + 1) % SP_PACE_NOTES;
    pace->count += pace->count < SP_PACE_NOTES;
}

struct sp_times sp_pace_times(const struct sp_totals *from, const struct sp_totals *to)
{
    double n = (double)(to->rounds - from->rounds) * 1e6;
    struct sp_times times = {NAN, NAN, NAN, NAN};

    if (n == 0.0)
        return times;
    times.round_ms = (double)(to->round_ns - from->round_ns) / n;
    times.tally_ms = (double)(to->tally_ns - from->tally_ns) / n;
    times.send_ms = (double)(to->send_ns - from->send_ns) / n;
    times.waiting_ms = fmax(times.round_ms - times.tally_ms - times.send_ms, 0.0);
    return times;
}

bool sp_pace_rates(const struct sp_pace *pace, uint64_t now_ms, struct sp_rates *rates)
{
    unsigned last = (pace->next + SP_PACE_NOTES - 1) % SP_PACE_NOTES;
    unsigned first = pace->count < SP_PACE_NOTES ? 0 : pace->next;
    const struct sp_totals *from = &pace->totals[first], *to = &pace->totals[last];
    double rounds, ms, idle;

    if (pace->count < 2)
        return false;
    rounds = (double)(to->rounds - from->rounds);
    ms = (double)(pace->at_ms[last] - pace->at_ms[first]);
    idle = (double)(now_ms - pace->at_ms[last]);
    if (idle > IDLE_MS && idle > IDLE_ROUNDS * ms / rounds)
        ms += idle;
    rates->rounds_per_second = rounds / ms * 1e3;
    rates->bytes_per_second_in = (double)(to->bytes_in - from->bytes_in) / ms * 1e3;
    rates->bytes_per_second_out = (double)(to->bytes_out - from->bytes_out) / ms * 1e3;
    rates->times = sp_pace_times(from, to);
    return true;
}
