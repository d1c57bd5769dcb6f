#include "deploy/tool/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDS_OUT 1.5 /* times the median */
#define HOST_COLUMNS_MIN 4
#define HOST_COLUMNS_MAX 40
#define SILENT_SECONDS 2.0 /* from here on it is said */

const char *view_state(const json_t *slot)
{
    const char *state = view_text(slot, "state");

    return view_true(slot, "behind") ? "behind" : state[0] != '\0' ? state : "-";
}

static bool is_live(const json_t *slot)
{
    return strcmp(view_state(slot), "live") == 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

struct view_slowest view_slowest(const json_t *slots, bool over)
{
    struct view_slowest slowest = {.slot = -1};
    double latency[VIEW_SLOTS_MAX], median;
    size_t n = 0, index;
    json_t *slot;

    json_array_foreach((json_t *)slots, index, slot)
    {
        double ms = view_number(slot, "latency_ms");
        const char *state = view_state(slot);

        if (!isfinite(ms) || n == VIEW_SLOTS_MAX || strcmp(state, "excluded") == 0 ||
            (!over && strcmp(state, "empty") == 0))
            continue;
        latency[n++] = ms;
        if (ms > slowest.latency_ms) {
            slowest.latency_ms = ms;
            slowest.slot = (int)view_number(slot, "slot");
        }
    }
    qsort(latency, n, sizeof latency[0], compare_numbers);
    median = n > 1 ? latency[(n - 1) / 2] : 0.0;
    slowest.times = median > 0.0 ? slowest.latency_ms / median : 0.0;
    if (slowest.times < STANDS_OUT)
        slowest.slot = -1;
    return slowest;
}

void view_workers_head(struct view_page *page, const json_t *status, bool table_follows)
{
    struct view_line *line = view_add_labelled(page, VIEW_RANK_WORKERS, "workers");
    struct view_slowest slowest = view_slowest(json_object_get(status, "slots"), false);
    double live = view_number(status, "live"), workers = view_number(status, "workers");

    view_put(line, live < workers ? VIEW_ALERT : VIEW_PLAIN, "%.0f of %.0f live", live, workers);
    if (view_number(status, "spares") > 0)
        (void)view_field(line, ", ", "%.0f spares", view_number(status, "spares"));
    if (!table_follows && slowest.slot >= 0)
        (void)view_field(line, ", ", "slot %d is slowest, %s times the median", slowest.slot,
                         view_times(slowest.times));
}

unsigned view_workers_lines(const json_t *status)
{
    size_t slots = json_array_size(json_object_get(status, "slots"));

    return slots > 0 ? 1 + (unsigned)(slots < VIEW_SLOTS_MAX ? slots : VIEW_SLOTS_MAX) : 0;
}

/* --- the worst first -------------------------------------------------------------------------------------------------
 */

struct row {
    const json_t *slot;
    double trouble;
    size_t index;
};

static double trouble_of(const json_t *slot)
{
    double latency = view_number(slot, "latency_ms"), silent = view_number(slot, "silent_seconds");

    return (is_live(slot) ? 0.0 : 1e12) + (view_true(slot, "suspected") ? 1e11 : 0.0) +
           (silent >= SILENT_SECONDS ? fmin(silent, 1e4) * 1e6 : 0.0) + (isfinite(latency) ? fmin(latency, 1e6) : 0.0);
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->trouble != y->trouble)
        return x->trouble > y->trouble ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static size_t rows_of(const json_t *slots, struct row *rows)
{
    size_t n = 0, index;
    json_t *slot;

    json_array_foreach((json_t *)slots, index, slot)
    {
        if (n < VIEW_SLOTS_MAX)
            rows[n++] = (struct row){slot, trouble_of(slot), index};
    }
    return n;
}

/* --- columns ---------------------------------------------------------------------------------------------------------
 */

/* Of a table: which of its columns there is room for. In the order in which they are given room. */
struct columns {
    unsigned host; /* 0: left out */
    bool latency, silent, missed, disagreement;
};

#define SLOT_COLUMNS 4
#define STATE_COLUMNS 9
#define LATENCY_COLUMNS 8
#define SILENT_COLUMNS 8
#define MISSED_COLUMNS 8
#define DISAGREEMENT_COLUMNS 11
#define MARK_COLUMNS 15           /* that are kept free for "slowest, 3.1x" */
#define SUSPECTED_MARK_COLUMNS 20 /* "suspected, slowest" */

static unsigned host_columns(const json_t *slots)
{
    unsigned most = HOST_COLUMNS_MIN;
    size_t index;
    json_t *slot;

    json_array_foreach((json_t *)slots, index, slot)
    {
        size_t bytes = strlen(view_text(slot, "host"));

        if (bytes > most)
            most = bytes < HOST_COLUMNS_MAX ? (unsigned)bytes : HOST_COLUMNS_MAX;
    }
    return most + 2;
}

static unsigned mark_columns(const json_t *slots)
{
    size_t index;
    json_t *slot;

    json_array_foreach((json_t *)slots, index, slot)
    {
        if (view_true(slot, "suspected"))
            return SUSPECTED_MARK_COLUMNS;
    }
    return MARK_COLUMNS;
}

static struct columns choose(const json_t *slots, unsigned room)
{
    struct columns c = {0};
    unsigned marks = mark_columns(slots), used = SLOT_COLUMNS + 2 + STATE_COLUMNS + marks, host = host_columns(slots);
    const struct {
        bool *wanted;
        unsigned columns;
    } more[] = {{&c.silent, SILENT_COLUMNS}, {&c.missed, MISSED_COLUMNS}, {&c.disagreement, DISAGREEMENT_COLUMNS}};

    c.latency = room >= used - marks + LATENCY_COLUMNS;
    used += c.latency ? LATENCY_COLUMNS : 0;
    if (used + HOST_COLUMNS_MIN + 4 <= room) {
        c.host = used + host <= room ? host : room - used;
        used += c.host;
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0] && used + more[i].columns <= room; i++) {
        *more[i].wanted = true;
        used += more[i].columns;
    }
    return c;
}

static void put_heading(struct view_page *page, const struct columns *c)
{
    struct view_line *line = view_add(page, VIEW_RANK_WORKERS);

    view_put(line, VIEW_FAINT, "%*s  ", SLOT_COLUMNS, "slot");
    if (c->host > 0)
        view_put_within(line, VIEW_FAINT, c->host, "host");
    view_put_within(line, VIEW_FAINT, STATE_COLUMNS, "state");
    if (c->latency)
        view_put(line, VIEW_FAINT, "%*s", LATENCY_COLUMNS, "latency");
    if (c->disagreement)
        view_put(line, VIEW_FAINT, "%*s", DISAGREEMENT_COLUMNS, "disagrees");
    if (c->missed)
        view_put(line, VIEW_FAINT, "%*s", MISSED_COLUMNS, "missed");
    if (c->silent)
        view_put(line, VIEW_FAINT, "%*s", SILENT_COLUMNS, "silent");
}

static void put_marks(struct view_line *line, const json_t *slot, const struct view_slowest *slowest)
{
    bool suspected = view_true(slot, "suspected") && view_field(line, "  ", "suspected");
    const char *separator = suspected ? ", " : "  ";

    if (view_number(slot, "slot") == (double)slowest->slot)
        (void)(view_field(line, separator, "slowest, %s times the median", view_times(slowest->times)) ||
               view_field(line, separator, "slowest, %sx", view_times(slowest->times)) ||
               view_field(line, separator, "slowest"));
}

static void put_row(struct view_page *page, const struct columns *c, const json_t *slot,
                    const struct view_slowest *slowest)
{
    struct view_line *line = view_add(page, VIEW_RANK_WORKERS);
    const char *host = view_text(slot, "host");
    double silent = view_number(slot, "silent_seconds");

    view_put(line, VIEW_PLAIN, "%*.0f  ", SLOT_COLUMNS, view_number(slot, "slot"));
    if (c->host > 0) {
        view_put_within(line, VIEW_PLAIN, c->host - 2, host[0] != '\0' ? host : "-");
        view_put(line, VIEW_PLAIN, "  ");
    }
    view_put_within(line, is_live(slot) ? VIEW_GOOD : VIEW_ALERT, STATE_COLUMNS, view_state(slot));
    if (c->latency)
        view_put(line, VIEW_PLAIN, "%*s", LATENCY_COLUMNS, view_ms(view_number(slot, "latency_ms")));
    if (c->disagreement)
        view_put(line, VIEW_PLAIN, "%*s", DISAGREEMENT_COLUMNS, view_share(view_number(slot, "disagreement")));
    if (c->missed)
        view_put(line, VIEW_PLAIN, "%*s", MISSED_COLUMNS, view_count(view_number(slot, "missed")));
    if (c->silent)
        view_put(line, silent >= SILENT_SECONDS ? VIEW_ALERT : VIEW_PLAIN, "%*s", SILENT_COLUMNS,
                 silent < 1.0 ? "0 s" : view_duration(silent));
    put_marks(line, slot, slowest);
}

void view_workers_table(struct view_page *page, const json_t *status, unsigned lines)
{
    const json_t *slots = json_object_get(status, "slots");
    struct view_slowest slowest = view_slowest(slots, false);
    struct row rows[VIEW_SLOTS_MAX];
    size_t n = rows_of(slots, rows), shown = n, dead = 0;
    struct columns c = choose(slots, page->window.columns);

    if (n == 0)
        return;
    if (n + 1 > lines) {
        qsort(rows, n, sizeof rows[0], compare_rows);
        shown = lines > 2 ? lines - 2 : 0;
    }
    put_heading(page, &c);
    for (size_t i = 0; i < shown; i++)
        put_row(page, &c, rows[i].slot, &slowest);
    for (size_t i = shown; i < n; i++)
        dead += !is_live(rows[i].slot);
    if (shown == n)
        return;
    if (dead == 0)
        view_put(view_add(page, VIEW_RANK_WORKERS), VIEW_FAINT, "and %zu more, all live", n - shown);
    else
        view_put(view_add(page, VIEW_RANK_WORKERS), VIEW_ALERT, "and %zu more, %zu of them not live", n - shown, dead);
}
