/* The picture: four panels over one axis, and a legend below them. */
#include "common/check.h"
#include "deploy/tool/gnuplot.h"
#include "deploy/tool/plot.h"

#include <math.h>
#include <string.h>

#define WIDTH 1200
#define PANELS_HEIGHT 800
#define LEGEND_LINE 22              /* its height */
#define LEGEND_FIRST ((size_t)1000) /* gnuplot numbers arrows and labels */
#define SWITCH_WORDS "switch to the next phase"
#define LETTER 8           /* its width */
#define NAME_BYTES_MAX 120 /* of a name; of a longer one the end is shown */
#define KNOTS_MAX 3000     /* of a curve: more than the picture has columns */
#define SETTLED 0.25       /* the part of a run after which its accuracy is worth looking at closely */
#define FADING 0.97        /* after which a rate that goes to nothing would press the rest of its panel together */

enum panel { LOSS, ACCURACY, RATE, SENT, PANELS };
enum column { X = 1, OF_LOSS, OF_ACCURACY, OF_GAMMA, OF_LAMBDA, OF_SENT };

struct range {
    double low, high;
};

struct picture {
    FILE *file;
    const struct plot *plot;
    enum plot_axis sent; /* what the last panel shows */
    double x_unit, sent_unit;
    const char *x_words, *sent_words;
    struct range y[PANELS], all[PANELS];  /* of the values that say most, and of all */
    bool has[PLOT_RUNS_MAX][OF_SENT + 1]; /* whether a run has any value of a column */
};

static void widen(struct range *range, double value)
{
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
}

/* --- units -----------------------------------------------------------------------------------------------------------
 */

static const char *unit_of(const struct plot *plot, enum plot_axis axis, double *unit)
{
    static const char *const byte_words[] = {"bytes sent, both ways", "kB sent, both ways", "MB sent, both ways",
                                             "GB sent, both ways", "TB sent, both ways"};
    static const char *const words[] = {[PLOT_ROUND] = "round", [PLOT_EPOCH] = "epoch", [PLOT_SECONDS] = "seconds"};
    double most = 0.0;
    size_t power = 0;

    *unit = 1.0;
    if (axis != PLOT_BYTES)
        return words[axis];
    for (size_t i = 0; i < plot->runs_count; i++)
        for (size_t k = 0; k < plot->runs[i].count; k++)
            most = fmax(most, plot->runs[i].points[k].x[axis]); /* fmax() passes over what is NAN */
    while (most / *unit >= 1e3 && power + 1 < sizeof byte_words / sizeof byte_words[0]) {
        *unit *= 1e3;
        power++;
    }
    return byte_words[power];
}

/* --- data ------------------------------------------------------------------------------------------------------------
 */

static void put_value(struct picture *picture, size_t run, enum column column, double value)
{
    if (isfinite(value)) {
        (void)fprintf(picture->file, " %.9g", value);
        picture->has[run][column] = true;
    } else {
        (void)fputs(" ?", picture->file);
    }
}

/* A logarithmic axis has no place for what is not positive. */
static double positive(double value)
{
    return value > 0.0 ? value : (double)NAN;
}

/* A report's loss is the mean since the report before: one of a few rounds says little, and would be a spike. What is
 * not shown for that counts in the next one. */
static double smooth_loss(const struct plot_run *run, size_t k, double *sum, double *rounds)
{
    const double usual = run->points[run->count - 1].x[PLOT_ROUND] / (double)run->count;
    const double since = run->points[k].x[PLOT_ROUND] - (k > 0 ? run->points[k - 1].x[PLOT_ROUND] : 0.0);
    double mean;

    if (!isfinite(run->points[k].loss) || !(since > 0.0))
        return (double)NAN;
    *sum += since * run->points[k].loss;
    *rounds += since;
    if (*rounds < 0.6 * usual)
        return (double)NAN;
    mean = *sum / *rounds;
    *sum = *rounds = 0.0;
    return mean;
}

static void note_range(struct picture *picture, enum panel panel, double value, bool typical)
{
    if (!isfinite(value))
        return;
    widen(&picture->all[panel], value);
    if (typical)
        widen(&picture->y[panel], value);
}

static void note_ranges(struct picture *picture, const struct plot_point *point, double loss, double progress)
{
    note_range(picture, LOSS, positive(loss), true);
    note_range(picture, ACCURACY, point->accuracy, progress >= SETTLED);
    note_range(picture, RATE, positive(point->gamma), progress <= FADING);
    note_range(picture, RATE, positive(point->lambda), progress <= FADING);
}

/* Of many reports every n-th; of the others those with an accuracy. */
static void put_data(struct picture *picture, size_t i)
{
    const struct plot_run *run = &picture->plot->runs[i];
    const double last = run->points[run->count - 1].x[PLOT_ROUND];
    const size_t stride = (run->count + KNOTS_MAX - 1) / KNOTS_MAX;
    double sum = 0.0, rounds = 0.0;

    (void)fprintf(picture->file, "$run%zu << END\n", i);
    for (size_t k = 0; k < run->count; k++) {
        const struct plot_point *point = &run->points[k];
        double loss = smooth_loss(run, k, &sum, &rounds);

        note_ranges(picture, point, loss, point->x[PLOT_ROUND] / last);
        if (!isfinite(point->x[picture->plot->axis]) || (k % stride != 0 && !isfinite(point->accuracy)))
            continue;
        (void)fprintf(picture->file, "%.9g", point->x[picture->plot->axis] / picture->x_unit);
        put_value(picture, i, OF_LOSS, positive(loss));
        put_value(picture, i, OF_ACCURACY, point->accuracy);
        put_value(picture, i, OF_GAMMA, positive(point->gamma));
        put_value(picture, i, OF_LAMBDA, positive(point->lambda));
        put_value(picture, i, OF_SENT, point->x[picture->sent] / picture->sent_unit);
        (void)fputc('\n', picture->file);
    }
    (void)fputs("END\n", picture->file);
}

/* --- switches --------------------------------------------------------------------------------------------------------
 */

/* Where a round lies on the axis, between the reports before and after it; NAN: beyond them. */
static double place_of(const struct plot_run *run, double round, enum plot_axis axis)
{
    double before_round = 0.0, before = 0.0;

    for (size_t k = 0; k < run->count; k++) {
        const double at = run->points[k].x[PLOT_ROUND], x = run->points[k].x[axis];

        if (!isfinite(x))
            continue;
        if (at >= round)
            return at > before_round ? before + (x - before) * (round - before_round) / (at - before_round) : x;
        before_round = at;
        before = x;
    }
    return (double)NAN;
}

static void put_switches(const struct picture *picture)
{
    for (size_t i = 0; i < picture->plot->runs_count; i++) {
        const struct plot_run *run = &picture->plot->runs[i];

        for (unsigned k = 0; k < run->switches_count; k++) {
            double x = place_of(run, run->switches[k], picture->plot->axis) / picture->x_unit;

            if (isfinite(x))
                (void)fprintf(picture->file,
                              "set arrow from %.9g, graph 0 to %.9g, graph 1 nohead dt 3 lw 1.5 lc rgb '%s' back\n", x,
                              x, gnuplot_colours[i % GNUPLOT_COLOURS]);
        }
    }
}

/* --- panels ----------------------------------------------------------------------------------------------------------
 */

static void put_log_range(FILE *file, const struct range *y)
{
    const bool narrow = y->high < 10.0 * y->low;

    (void)fprintf(file, "set logscale y\nset yrange [%.6g:%.6g]\n", narrow ? y->low / 3.0 : y->low / 1.6,
                  narrow ? y->high * 3.0 : y->high * 1.6);
}

/* The first epochs would press what is interesting of the accuracy into a line: they may leave the picture. */
static void put_range(const struct picture *picture, enum panel panel)
{
    const struct range *y = picture->y[panel].low <= picture->y[panel].high ? &picture->y[panel] : &picture->all[panel];
    double margin = fmax(0.08 * (y->high - y->low), 0.25);

    (void)fputs("unset logscale y\n", picture->file);
    if (panel == SENT)
        (void)fputs("set yrange [0:*]\n", picture->file);
    else if (panel == ACCURACY)
        (void)fprintf(picture->file, "set yrange [%.6g:%.6g]\n", fmax(y->low - margin, 0.0),
                      fmin(y->high + margin, 100.0 + margin / 2.0));
    else if (panel == LOSS && y->high < 5.0 * y->low)
        (void)fprintf(picture->file, "set yrange [0:%.6g]\n", 1.1 * y->high);
    else
        put_log_range(picture->file, y);
}

static bool has_any(const struct picture *picture, enum column column)
{
    for (size_t i = 0; i < picture->plot->runs_count; i++)
        if (picture->has[i][column])
            return true;
    return false;
}

static void put_curves(const struct picture *picture, enum column column, bool dashed, const char **separator)
{
    for (size_t i = 0; i < picture->plot->runs_count; i++) {
        if (!picture->has[i][column])
            continue;
        (void)fprintf(picture->file, "%s$run%zu using %d:%d with %s lw 2 dt %d lc rgb '%s' notitle", *separator, i, X,
                      column, column == OF_ACCURACY ? "linespoints pt 7 ps 0.35" : "lines",
                      dashed                ? 2
                      : i < GNUPLOT_COLOURS ? 1
                                            : 4,
                      gnuplot_colours[i % GNUPLOT_COLOURS]);
        *separator = ", \\\n     ";
    }
}

static void put_panel(const struct picture *picture, enum panel panel)
{
    static const struct {
        const char *title, *none;
        enum column column;
    } kinds[PANELS] = {
        [LOSS] = {"training loss", "no report has a loss", OF_LOSS},
        [ACCURACY] = {"test accuracy, %", "nothing was evaluated", OF_ACCURACY},
        [RATE] = {"rate: gamma (solid), lambda of SGD (dashed)", "no report has a rate", OF_GAMMA},
        [SENT] = {NULL, "no report has bytes", OF_SENT},
    };
    const char *separator = "plot ", *title = panel == SENT ? picture->sent_words : kinds[panel].title;
    bool any = has_any(picture, kinds[panel].column) || (panel == RATE && has_any(picture, OF_LAMBDA));

    (void)fprintf(picture->file, "set title '%s'\nset xlabel '%s'\n", title, panel >= RATE ? picture->x_words : "");
    if (any) {
        put_range(picture, panel);
        put_curves(picture, kinds[panel].column, false, &separator);
        if (panel == RATE)
            put_curves(picture, OF_LAMBDA, true, &separator);
    } else {
        (void)fprintf(
            picture->file,
            "unset logscale y\nset yrange [0:1]\nset label 1 '%s' at graph 0.5, graph 0.5 center\nplot NaN notitle",
            kinds[panel].none);
    }
    (void)fprintf(picture->file, "\nunset label 1\n");
}

/* --- the whole -------------------------------------------------------------------------------------------------------
 */

/* Bytes of signs and of values are so far apart that they need a logarithmic axis. */
static void put_x_range(const struct picture *picture)
{
    const enum plot_axis axis = picture->plot->axis;
    struct range x = {INFINITY, 0.0};

    for (size_t i = 0; i < picture->plot->runs_count; i++) {
        for (size_t k = 0; k < picture->plot->runs[i].count; k++) {
            const double value = picture->plot->runs[i].points[k].x[axis] / picture->x_unit;

            if (value > 0.0)
                widen(&x, value);
        }
    }
    if (axis == PLOT_BYTES && x.high > x.low)
        (void)fprintf(picture->file, "set logscale x\nset xrange [%.9g:%.9g]\n", x.low, x.high);
    else
        (void)fprintf(picture->file, "set xrange [0:%.9g]\n", x.high > 0.0 ? x.high : 1.0);
}

struct legend {
    size_t entries, columns, lines, cell, height; /* the last two in pixels */
};

/* As many columns as the longest name lets stand beside each other. */
static struct legend legend_of(const struct plot *plot)
{
    struct legend legend = {.entries = plot->runs_count};
    size_t longest = strlen(SWITCH_WORDS);
    bool switches = false;

    sp_assert(plot->runs_count > 0);
    for (size_t i = 0; i < plot->runs_count; i++) {
        longest = strlen(plot->runs[i].name) > longest ? strlen(plot->runs[i].name) : longest;
        switches = switches || plot->runs[i].switches_count > 0;
    }
    legend.entries += switches;
    longest = longest < NAME_BYTES_MAX ? longest : NAME_BYTES_MAX + 3;
    legend.cell = longest * LETTER + 70;
    legend.columns = (WIDTH - 40) / legend.cell;
    legend.columns = legend.columns > 0 ? legend.columns : 1;
    legend.columns = legend.columns < legend.entries ? legend.columns : legend.entries;
    legend.lines = (legend.entries + legend.columns - 1) / legend.columns;
    legend.height = legend.lines * LEGEND_LINE + 14;
    return legend;
}

/* A line and what it stands for, below all panels. gnuplot's own legend would be that of one panel, and as wide. */
static void put_entry(const struct picture *picture, const struct legend *legend, size_t i, size_t height)
{
    const struct plot *plot = picture->plot;
    const size_t column = i / legend->lines, line = i % legend->lines;
    const double left = (WIDTH - (double)(legend->columns * legend->cell)) / 2.0;
    const double x = left + 20.0 + (double)(column * legend->cell);
    const double y = ((double)(legend->height - line * LEGEND_LINE) - LEGEND_LINE / 2.0) / (double)height;
    const bool run = i < plot->runs_count;
    const char *name = run ? plot->runs[i].name : SWITCH_WORDS;
    const size_t bytes = strlen(name);
    char shown[NAME_BYTES_MAX + 8];

    (void)snprintf(shown, sizeof shown, "%s%s", bytes > NAME_BYTES_MAX ? "..." : "",
                   name + (bytes > NAME_BYTES_MAX ? bytes - NAME_BYTES_MAX : 0));
    (void)fprintf(picture->file,
                  "set arrow %zu from screen %.5f,%.5f to screen %.5f,%.5f nohead lw %s dt %d lc rgb '%s'\n"
                  "set label %zu at screen %.5f,%.5f left ",
                  LEGEND_FIRST + i, x / WIDTH, y, (x + 32.0) / WIDTH, y, run ? "3" : "1.5",
                  !run                  ? 3
                  : i < GNUPLOT_COLOURS ? 1
                                        : 4,
                  run ? gnuplot_colours[i % GNUPLOT_COLOURS] : "#666666", LEGEND_FIRST + i, (x + 40.0) / WIDTH, y);
    gnuplot_quote(picture->file, shown);
    (void)fputc('\n', picture->file);
}

/* Drawn with the first panel alone. */
static void end_legend(const struct picture *picture)
{
    const struct legend legend = legend_of(picture->plot);

    for (size_t i = 0; i < legend.entries; i++)
        (void)fprintf(picture->file, "unset arrow %zu\nunset label %zu\n", LEGEND_FIRST + i, LEGEND_FIRST + i);
}

static void put_frame(const struct picture *picture, const char *picture_file)
{
    const struct legend legend = legend_of(picture->plot);
    const size_t below = 50 + legend.height, height = PANELS_HEIGHT + below;
    if (picture->plot->png)
        gnuplot_png(picture->file, WIDTH, height, "sans,10");
    else
        gnuplot_svg(picture->file, WIDTH, height, "sans,13");
    (void)fprintf(picture->file,
                  "set output '%s'\nset datafile missing '?'\nset border 3 lc rgb '#666666'\nset tics nomirror "
                  "textcolor rgb '#333333'\n"
                  "set grid lc rgb '#dddddd' lt 1\nset format '%%g'\n"
                  "unset key\nset multiplot layout 2,2 margins 0.06,0.98,%.4f,%.4f spacing 0.07,0.08\n",
                  picture_file, (double)below / (double)height, 1.0 - 34.0 / (double)height);
    put_x_range(picture);
    for (size_t i = 0; i < legend.entries; i++)
        put_entry(picture, &legend, i, height);
}

void plot_script(FILE *file, const struct plot *plot, const char *picture_file)
{
    static struct picture picture;

    picture = (struct picture){.file = file, .plot = plot};
    picture.sent = plot->axis == PLOT_BYTES ? PLOT_SECONDS : PLOT_BYTES;
    picture.x_words = unit_of(plot, plot->axis, &picture.x_unit);
    picture.sent_words = unit_of(plot, picture.sent, &picture.sent_unit);
    for (int panel = 0; panel < PANELS; panel++)
        picture.y[panel] = picture.all[panel] = (struct range){INFINITY, -INFINITY};
    for (size_t i = 0; i < plot->runs_count; i++)
        put_data(&picture, i);
    put_switches(&picture);
    (void)fprintf(file, "set encoding utf8\n");
    put_frame(&picture, picture_file);
    for (int panel = 0; panel < PANELS; panel++) {
        put_panel(&picture, (enum panel)panel);
        if (panel == LOSS)
            end_legend(&picture);
    }
    (void)fputs("unset multiplot\nset output\n", file);
}
