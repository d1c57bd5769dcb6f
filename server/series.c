#include "server/series.h"

#include "server/record.h"

#include <math.h>
#include <string.h>

#define RECENT 32.0 /* rounds that a moving average goes back, more or less */

void sp_series_init(struct sp_series *series)
{
    memset(series, 0, sizeof *series);
    series->stride = 1;
}

static void average(double *to, double value)
{
    if (!isfinite(value))
        return;
    *to = isfinite(*to) ? *to + (value - *to) / RECENT : value;
}

static void add_recent(struct sp_point *recent, const struct sp_point *point)
{
    double loss = recent->loss, margin = recent->margin, ties = recent->ties;
    double unanimous = recent->unanimous, flips = recent->flips;
    bool first = recent->round == 0;
    bool voted = first || (recent->voted > 0 && point->voted > 0);

    *recent = *point;
    if (first)
        return;
    recent->loss = loss;
    average(&recent->loss, point->loss);
    if (!voted)
        return;
    recent->margin = margin;
    recent->ties = ties;
    recent->unanimous = unanimous;
    recent->flips = flips;
    average(&recent->margin, point->margin);
    average(&recent->ties, point->ties);
    average(&recent->unanimous, point->unanimous);
    average(&recent->flips, point->flips);
}

/* Neighbours become one if what they cover is no more than a point may: of a history that was read again points may be
 * wider than the stride, and stay as they are until it has come up to them. */
static void merge_neighbours(struct sp_series *series)
{
    uint32_t n = 0;

    series->stride *= 2;
    for (uint32_t i = 0; i < series->count; i++) {
        const struct sp_point *point = &series->point[i];

        if (n > 0 && point->round - series->point[n - 1].first < series->stride)
            sp_point_merge(&series->point[n - 1], point);
        else
            series->point[n++] = *point;
    }
    series->count = n;
}

/* Whether it went into the last point. */
static bool extend_last(struct sp_series *series, const struct sp_point *point)
{
    struct sp_point *last = series->count > 0 ? &series->point[series->count - 1] : NULL;

    if (last == NULL || point->round - last->first >= series->stride)
        return false;
    sp_point_merge(last, point);
    return true;
}

void sp_series_add(struct sp_series *series, const struct sp_point *point)
{
    struct sp_point *to;

    if (point->round <= series->recent.round)
        return;
    add_recent(&series->recent, point);
    if (extend_last(series, point))
        return;
    while (series->count == SP_SERIES_POINTS_MAX)
        merge_neighbours(series);
    if (extend_last(series, point))
        return;
    to = &series->point[series->count++];
    *to = *point;
    to->first = series->count > 1 ? to[-1].round + 1 : point->first;
}

/* The place of the first point with a `round` after this one. */
static uint32_t place_after(const struct sp_series *series, uint32_t round)
{
    uint32_t low = 0, high = series->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (series->point[middle].round > round)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void sp_series_evaluated(struct sp_series *series, const struct sp_point *point)
{
    struct sp_point *to;
    uint32_t at;

    if (point->round > series->recent.round)
        sp_series_add(series, point);
    at = place_after(series, point->round - 1);
    to = &series->point[at];
    if (at == series->count || point->round < to->first)
        return;
    to->evaluated = point->evaluated;
    to->correct = point->correct;
    to->total = point->total;
    to->expected = point->expected;
    to->test_loss = point->test_loss;
}

const struct sp_point *sp_series_after(const struct sp_series *series, uint32_t round)
{
    uint32_t at = place_after(series, round);

    return at < series->count ? &series->point[at] : NULL;
}

json_t *sp_series_json(const struct sp_series *series, uint32_t after)
{
    json_t *points = json_array();

    for (uint32_t i = place_after(series, after); i < series->count; i++)
        sp_json_append(&points, sp_point_json(&series->point[i]));
    return points;
}
