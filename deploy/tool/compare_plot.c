/* The plots of a comparison: for each one its data (.dat), a script (.gp), and what gnuplot draws by it (.svg, .png).
 */
#include "deploy/tool/compare.h"
#include "deploy/tool/gnuplot.h"
#include "deploy/tool/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 24  /* more lines cannot be told apart */
#define BANDS_MAX 8  /* more of them lie on each other */
#define SETTLED 0.25 /* the part of the job after which a row's accuracy is worth looking at closely */

enum { ACCURACY, LOSS, BITS, PLOTS };

static const struct {
    const char *name, *title, *x, *y;
} kinds[PLOTS] = {
    [ACCURACY] = {"accuracy", "test accuracy", "epoch", "test accuracy, %"},
    [LOSS] = {"loss", "train loss", "epoch", "train loss"},
    [BITS] = {"bits", "test accuracy and bits", "bits up, a coordinate and round (log scale)", "test accuracy, %"},
};

struct range {
    double low, high;
};

struct plots {
    struct compare *compare;
    size_t rows[ROWS_MAX], rows_count; /* those that are drawn, in the table's order */
    int block[PLOTS][ROWS_MAX];        /* where a row's data are in the file; -1: it has none */
    int blocks[PLOTS];
    struct range y[PLOTS], bits;
    FILE *data[PLOTS];
};

static void widen(struct range *range, double low, double high)
{
    range->low = fmin(range->low, low);
    range->high = fmax(range->high, high);
}

/* --- which rows ------------------------------------------------------------------------------------------------------
 */

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* All of them, or those with the best accuracy. Without test data all are equal, and the first ones are drawn. */
static int choose_rows(struct plots *plots, struct sp_error *error)
{
    const size_t count = plots->compare->grid.rows_count;
    double *sorted = calloc(count, sizeof *sorted), least;

    if (sorted == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the plots");
    for (size_t r = 0; r < count; r++) {
        const struct compare_stat *stat = &plots->compare->stats[r][COMPARE_ACCURACY];

        sorted[r] = stat->n > 0 ? stat->mean : -1.0;
    }
    qsort(sorted, count, sizeof *sorted, descending);
    least = sorted[(count < ROWS_MAX ? count : ROWS_MAX) - 1];
    free(sorted);
    for (size_t r = 0; r < count && plots->rows_count < ROWS_MAX; r++) {
        const struct compare_stat *stat = &plots->compare->stats[r][COMPARE_ACCURACY];

        if ((stat->n > 0 ? stat->mean : -1.0) >= least)
            plots->rows[plots->rows_count++] = r;
    }
    if (count > ROWS_MAX)
        (void)printf("plots   of the %d rows with the best accuracy\n", ROWS_MAX);
    return SP_OK;
}

/* --- data ------------------------------------------------------------------------------------------------------------
 */

static const char *row_name(const struct plots *plots, size_t i)
{
    return plots->compare->grid.rows[plots->rows[i]].name;
}

/* Blocks are parted by two empty lines; gnuplot counts those that have data. */
static void begin_block(struct plots *plots, int kind, size_t i, const char *heads)
{
    if (plots->block[kind][i] >= 0)
        return;
    plots->block[kind][i] = plots->blocks[kind]++;
    (void)fprintf(plots->data[kind], "%s# %s\n# %s\n", plots->block[kind][i] > 0 ? "\n\n" : "", row_name(plots, i),
                  heads);
}

static void put_knot(struct plots *plots, int kind, size_t i, double epoch, const struct compare_stat *stat)
{
    double sd = isnan(stat->sd) ? 0.0 : stat->sd;
    /* A logarithmic axis has no place for what is not positive. */
    double low = kind == LOSS ? fmax(stat->mean - sd, stat->mean / 10.0) : fmax(stat->mean - sd, 0.0);
    double high = kind == LOSS ? stat->mean + sd : fmin(stat->mean + sd, 100.0);

    if (stat->n == 0 || (kind == LOSS && stat->mean <= 0.0))
        return;
    begin_block(plots, kind, i, "epoch mean low high (one standard deviation)");
    (void)fprintf(plots->data[kind], "%.6g %.9g %.9g %.9g\n", epoch, stat->mean, low, high);
}

static void put_accuracy(struct plots *plots, size_t i, const struct compare_knot *knot, double last_epoch)
{
    const struct compare_stat *stat = &knot->accuracy;

    put_knot(plots, ACCURACY, i, knot->epoch, stat);
    if (stat->n > 0 && knot->epoch >= SETTLED * last_epoch)
        widen(&plots->y[ACCURACY], stat->mean, fmin(stat->mean + (isnan(stat->sd) ? 0.0 : stat->sd), 100.0));
}

/* A line's loss is the mean since the line before: one of a few rounds says little, and would be a spike. */
static void put_loss(struct plots *plots, size_t i, const struct compare_curve *curve, size_t k)
{
    const struct compare_knot *knot = &curve->knots[k];
    double usual = (double)curve->knots[curve->count - 1].round / (double)curve->count;

    if (k > 0 && knot->round - curve->knots[k - 1].round < 0.6 * usual)
        return;
    put_knot(plots, LOSS, i, knot->epoch, &knot->loss);
    if (knot->loss.n > 0 && knot->loss.mean > 0.0)
        widen(&plots->y[LOSS], knot->loss.mean, knot->loss.mean);
}

static int write_curves(struct plots *plots, size_t i, struct sp_error *error)
{
    struct compare_curve curve;
    int rc = compare_curve_read(plots->compare, plots->rows[i], &curve, error);

    for (size_t k = 0; rc == SP_OK && k < curve.count; k++) {
        put_accuracy(plots, i, &curve.knots[k], curve.knots[curve.count - 1].epoch);
        put_loss(plots, i, &curve, k);
    }
    free(curve.knots);
    return rc;
}

static void write_bits(struct plots *plots, size_t i)
{
    const struct compare_stat *stats = plots->compare->stats[plots->rows[i]];
    const struct compare_stat *accuracy = &stats[COMPARE_ACCURACY], *bits = &stats[COMPARE_BITS_UP];
    double sd = isnan(accuracy->sd) ? 0.0 : accuracy->sd, bits_sd = isnan(bits->sd) ? 0.0 : bits->sd;

    if (accuracy->n == 0 || bits->n == 0 || bits->mean <= 0.0)
        return;
    begin_block(plots, BITS, i, "bits mean_accuracy sd_bits sd_accuracy");
    (void)fprintf(plots->data[BITS], "%.9g %.9g %.9g %.9g\n", bits->mean, accuracy->mean, bits_sd, sd);
    widen(&plots->bits, bits->mean / 1.3, bits->mean * 1.3);
    widen(&plots->y[BITS], accuracy->mean - sd, accuracy->mean + sd);
}

static int write_data(struct plots *plots, struct sp_error *error)
{
    char path[32];
    int rc = SP_OK;

    for (int kind = 0; kind < PLOTS && rc == SP_OK; kind++) {
        (void)snprintf(path, sizeof path, "%s.dat", kinds[kind].name);
        plots->data[kind] = compare_open(path, error);
        if (plots->data[kind] == NULL)
            rc = error->code;
    }
    for (size_t i = 0; i < plots->rows_count && rc == SP_OK; i++) {
        rc = write_curves(plots, i, error);
        write_bits(plots, i);
    }
    for (int kind = 0; kind < PLOTS; kind++) {
        (void)snprintf(path, sizeof path, "%s.dat", kinds[kind].name);
        if (plots->data[kind] != NULL && compare_close(plots->data[kind], path, error) != SP_OK && rc == SP_OK)
            rc = error->code;
    }
    return rc;
}

/* --- scripts ---------------------------------------------------------------------------------------------------------
 */

static void put_frame(FILE *file, const struct plots *plots, int kind, bool bands)
{
    const struct compare *compare = plots->compare;
    char title[256];

    (void)snprintf(title, sizeof title, "%s: %s, seed%s %" PRIu64, compare->job, kinds[kind].title,
                   compare->seeds == 1 ? "" : "s", compare->first_seed);
    if (compare->seeds > 1)
        (void)snprintf(title + strlen(title), sizeof title - strlen(title), " to %" PRIu64 " (mean%s)",
                       compare->first_seed + compare->seeds - 1,
                       kind == BITS ? "; bars: standard deviation"
                       : bands      ? "; band: standard deviation"
                                    : "");
    (void)fprintf(file, "# Change it as you like, and draw it again with: gnuplot %s.gp\nreset\nset title ",
                  kinds[kind].name);
    gnuplot_quote(file, title);
    (void)fprintf(file,
                  " noenhanced\nset xlabel '%s'\nset ylabel '%s'\nset border 3 lc rgb '#666666'\n"
                  "set tics nomirror textcolor rgb '#333333'\nset grid lc rgb '#dddddd' lt 1\n"
                  "set key outside right center vertical Left reverse noenhanced samplen 2 spacing 1.3\n",
                  kinds[kind].x, kinds[kind].y);
}

/* The accuracy's first epochs would press the interesting part into a line: they may leave the picture. */
static void put_ranges(FILE *file, const struct plots *plots, int kind)
{
    const struct range *y = &plots->y[kind];
    double margin = fmax(0.08 * (y->high - y->low), 0.25);

    if (kind == LOSS)
        (void)fprintf(file, "set logscale y\nset xrange [0:*]\nset yrange [%.3g:%.3g]\n", y->low / 2.0, y->high * 1.5);
    else if (y->high >= y->low)
        (void)fprintf(file, "set yrange [%.2f:%.2f]\n", fmax(y->low - margin, 0.0), y->high + margin);
    if (kind == ACCURACY)
        (void)fprintf(file, "set xrange [0:*]\n");
    if (kind == BITS)
        (void)fprintf(file, "set logscale x 2\nset xrange [%.3g:%.3g]\nset xtics (0.5, 1, 2, 4, 8, 16, 32, 64)\n",
                      fmin(plots->bits.low, 0.9), fmax(plots->bits.high, 40.0));
}

static void put_curve(FILE *file, const struct plots *plots, int kind, size_t i)
{
    const char *colour = gnuplot_colours[i % GNUPLOT_COLOURS];
    const int block = plots->block[kind][i];

    if (kind == BITS)
        (void)fprintf(file,
                      "'bits.dat' index %d using 1:2:3:4 with xyerrorbars lw 1.5 ps 1.3 pt %zu lc rgb '%s' title ",
                      block, 5 + 2 * (i % 5), colour);
    else
        (void)fprintf(file, "'%s.dat' index %d using 1:2 with %s lw 2 dt %d lc rgb '%s' title ", kinds[kind].name,
                      block, kind == ACCURACY ? "linespoints pt 7 ps 0.4" : "lines", i < GNUPLOT_COLOURS ? 1 : 2,
                      colour);
    gnuplot_quote(file, row_name(plots, i));
}

static void put_plot(FILE *file, const struct plots *plots, int kind, bool bands)
{
    const char *separator = "plot ";

    for (size_t i = 0; i < plots->rows_count && bands && kind != BITS; i++) {
        if (plots->block[kind][i] < 0)
            continue;
        (void)fprintf(
            file,
            "%s'%s.dat' index %d using 1:3:4 with filledcurves fs transparent solid 0.12 noborder lc rgb '%s' "
            "notitle",
            separator, kinds[kind].name, plots->block[kind][i], gnuplot_colours[i % GNUPLOT_COLOURS]);
        separator = ", \\\n     ";
    }
    for (size_t i = 0; i < plots->rows_count; i++) {
        if (plots->block[kind][i] < 0)
            continue;
        (void)fputs(separator, file);
        put_curve(file, plots, kind, i);
        separator = ", \\\n     ";
    }
    (void)fputc('\n', file);
}

/* The legend stands beside the plot, which keeps its size whatever the rows are called. */
static void put_terminals(FILE *file, const struct plots *plots, int kind, bool bands)
{
    const char *name = kinds[kind].name;
    size_t longest = 0, width, height;

    for (size_t i = 0; i < plots->rows_count; i++)
        if (strlen(row_name(plots, i)) > longest)
            longest = strlen(row_name(plots, i));
    width = 760 + 8 * longest;
    height = plots->rows_count > 18 ? 500 + 22 * (plots->rows_count - 18) : 500;
    gnuplot_svg(file, width, height, "sans,13");
    (void)fprintf(file, "set output '%s.svg'\n", name);
    put_plot(file, plots, kind, bands);
    gnuplot_png(file, width, height, "sans,10");
    (void)fprintf(file, "set output '%s.png'\nreplot\nset output\n", name);
}

static int write_script(const struct plots *plots, int kind, struct sp_error *error)
{
    bool bands = plots->compare->seeds > 1 && plots->rows_count <= BANDS_MAX;
    char path[32];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s.gp", kinds[kind].name);
    file = compare_open(path, error);
    if (file == NULL)
        return error->code;
    put_frame(file, plots, kind, bands);
    put_ranges(file, plots, kind);
    put_terminals(file, plots, kind, bands);
    return compare_close(file, path, error);
}

int compare_plots(struct compare *compare, struct sp_error *error)
{
    static struct plots plots;
    const char *scripts[PLOTS + 1] = {NULL};
    size_t count = 0;
    int rc;

    plots.compare = compare;
    memset(plots.block, -1, sizeof plots.block);
    plots.bits = (struct range){INFINITY, -INFINITY};
    for (int kind = 0; kind < PLOTS; kind++)
        plots.y[kind] = plots.bits;
    rc = choose_rows(&plots, error);
    if (rc == SP_OK)
        rc = write_data(&plots, error);
    for (int kind = 0; kind < PLOTS && rc == SP_OK; kind++) {
        if (plots.blocks[kind] == 0)
            continue;
        rc = write_script(&plots, kind, error);
        scripts[count++] = kinds[kind].name;
    }
    return rc == SP_OK && count > 0 ? compare_draw(compare, scripts, error) : rc;
}
