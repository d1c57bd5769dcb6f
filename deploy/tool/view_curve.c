#include "deploy/tool/view.h"

#include <math.h>
#include <string.h>

static uint32_t round_of(const json_t *object, const char *key)
{
    double value = view_number(object, key);

    return value >= 0.0 && value <= (double)UINT32_MAX ? (uint32_t)value : 0;
}

void view_curve_cut(struct view_curve *curve, uint32_t round)
{
    while (curve->count > 0 && curve->point[curve->count - 1].round > round)
        curve->count--;
}

uint32_t view_curve_from(const struct view_curve *curve)
{
    uint32_t first = curve->count > 0 ? curve->point[curve->count - 1].first : 0;

    return first > 0 ? first - 1 : 0;
}

static double mean(double a, double b)
{
    return isnan(a) ? b : isnan(b) ? a : 0.5 * (a + b);
}

/* The older half of all points becomes half as many. */
static void thin(struct view_curve *curve)
{
    const unsigned half = VIEW_POINTS_MAX / 2;

    for (unsigned i = 0; i < half / 2; i++) {
        const struct view_point *a = &curve->point[2 * i], *b = &curve->point[2 * i + 1];

        curve->point[i] =
            (struct view_point){a->first, b->round, mean(a->loss, b->loss), mean(a->accuracy, b->accuracy)};
    }
    memmove(curve->point + half / 2, curve->point + half, (curve->count - half) * sizeof curve->point[0]);
    curve->count -= half / 2;
}

static void append(struct view_curve *curve, struct view_point point)
{
    if (curve->count == VIEW_POINTS_MAX)
        thin(curve);
    curve->point[curve->count++] = point;
}

void view_curve_take(struct view_curve *curve, const json_t *answer)
{
    const json_t *points = json_object_get(answer, "points");
    size_t index;
    json_t *p;

    json_array_foreach((json_t *)points, index, p)
    {
        uint32_t first = round_of(p, "first"), round = round_of(p, "round");

        if (round == 0 || first > round)
            continue;
        view_curve_cut(curve, first > 0 ? first - 1 : 0);
        append(curve, (struct view_point){first, round, view_number(p, "train_loss"), view_number(p, "test_accuracy")});
    }
}

void view_curve_note(struct view_curve *curve, const json_t *status)
{
    uint32_t round = round_of(status, "round");
    double accuracy = view_number(status, "test_accuracy"), loss = view_number(status, "loss");
    bool fresh = !isnan(accuracy) && accuracy != curve->accuracy;

    if (round == 0)
        return;
    if (isnan(loss))
        loss = view_number(status, "train_loss");
    view_curve_cut(curve, round);
    if (fresh)
        curve->accuracy = accuracy;
    if (curve->count > 0 && curve->point[curve->count - 1].round == round) {
        curve->point[curve->count - 1].loss = loss;
        if (fresh)
            curve->point[curve->count - 1].accuracy = accuracy;
        return;
    }
    append(curve, (struct view_point){curve->count > 0 ? curve->point[curve->count - 1].round + 1 : round, round, loss,
                                      fresh ? accuracy : (double)NAN});
}

static double value_of(const struct view_point *point, bool loss)
{
    if (!loss)
        return point->accuracy;
    return point->loss > 0.0 ? log(point->loss) : (double)NAN;
}

/* The values that there are, in order; returns how many. `*begin` is the first that is drawn: the later half of the
 * rounds, or more, if there are not so many values in it as columns. */
static unsigned collect(const struct view_curve *curve, bool loss, unsigned columns, double *values, unsigned *begin,
                        uint32_t *since)
{
    uint32_t half = curve->count > 0 ? curve->point[curve->count - 1].round / 2 : 0;
    uint32_t first[VIEW_POINTS_MAX] = {0};
    unsigned n = 0;

    *begin = 0;
    for (unsigned i = 0; i < curve->count; i++) {
        values[n] = value_of(&curve->point[i], loss);
        first[n] = curve->point[i].first;
        if (!isfinite(values[n]))
            continue;
        if (first[n++] <= half)
            *begin = n;
    }
    if (*begin + columns > n)
        *begin = n > columns ? n - columns : 0;
    *since = *begin < n ? first[*begin] : 0;
    return n;
}

uint32_t view_curve_draw(const struct view_curve *curve, bool loss, unsigned columns, struct view_line *line)
{
    static const char *const blocks[] = {"\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83", "\xe2\x96\x84",
                                         "\xe2\x96\x85", "\xe2\x96\x86", "\xe2\x96\x87", "\xe2\x96\x88"};
    static const char *const letters[] = {"_", ".", ",", "-", "=", "+", "*", "#"};
    double values[VIEW_POINTS_MAX] = {0}, low = INFINITY, high = -INFINITY;
    uint32_t since;
    unsigned begin, n = collect(curve, loss, columns, values, &begin, &since), m = n - begin;

    columns = columns < m ? columns : m;
    for (unsigned i = 0; i < columns; i++) {
        unsigned from = begin + i * m / columns, end = begin + (i + 1) * m / columns;
        double sum = 0.0;

        for (unsigned j = from; j < end; j++)
            sum += values[j];
        values[i] = sum / (end - from); /* not above `from`, so nothing that is still needed */
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    for (unsigned i = 0; i < columns; i++) {
        double height = high > low ? (values[i] - low) / (high - low) * 7.0 + 0.5 : 0.0;
        unsigned step = height >= 0.0 && height < 8.0 ? (unsigned)height : 0; /* a server may say 1e308 and -1e308 */

        view_put(line, VIEW_PLAIN, "%s", (line->utf8 ? blocks : letters)[step]);
    }
    return since;
}
