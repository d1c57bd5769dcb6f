/* The table for people: as Markdown in table.md, and aligned on standard output. */
#include "deploy/tool/compare.h"
#include "deploy/tool/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 120
#define GAP 2
#define CELL_BYTES 64
#define FAILURES_SHOWN 10

enum { LEFT_OUT, MEAN, FULL }; /* of a metric on the terminal */

static const struct column {
    enum compare_metric metric;
    const char *head, *markdown_head;
    int decimals; /* -1: bytes, with a unit */
    int terminal;
    int drop; /* the lowest goes first when the table is too wide; 0: never */
} columns[] = {
    {COMPARE_ACCURACY, "accuracy %", "test accuracy, %", 2, FULL, 0},
    {COMPARE_TEST_LOSS, "test loss", "test loss", 4, FULL, 1},
    {COMPARE_TRAIN_LOSS, "train loss", "train loss", 4, FULL, 4},
    {COMPARE_PUSHED, "pushed", "pushed", -1, LEFT_OUT, 0},
    {COMPARE_UPDATED, "updated", "updated", -1, LEFT_OUT, 0},
    {COMPARE_BITS_UP, "bits up", "bits up", 2, MEAN, 6},
    {COMPARE_BITS_DOWN, "bits down", "bits down", 2, MEAN, 3},
    {COMPARE_TARGET, "to target", "rounds to target", 0, FULL, 7},
    {COMPARE_SECONDS, "seconds", "seconds", 2, MEAN, 2},
    {COMPARE_SWITCH, "switch at", "switch at", 2, MEAN, 5},
};

#define COLUMNS (sizeof columns / sizeof columns[0])

static bool is_there(const struct compare *compare, const struct column *column)
{
    return column->metric != COMPARE_TARGET || compare->target > 0.0;
}

/* --- a cell ----------------------------------------------------------------------------------------------------------
 */

static void put_value(char *text, size_t bytes, double value, int decimals)
{
    if (isnan(value))
        (void)snprintf(text, bytes, "-");
    else if (decimals < 0)
        (void)snprintf(text, bytes, "%s", tool_bytes(value));
    else
        (void)snprintf(text, bytes, "%.*f", decimals, value);
}

static void put_cell(char text[CELL_BYTES], const struct compare_stat *stats, const struct column *column,
                     const char *plus_minus, bool full)
{
    const struct compare_stat *stat = &stats[column->metric];
    const uint32_t runs = stats[COMPARE_SECONDS].n;
    char mean[24], sd[24];

    put_value(mean, sizeof mean, stat->mean, column->decimals);
    put_value(sd, sizeof sd, stat->sd, column->decimals);
    if (column->metric == COMPARE_TARGET && stat->n < runs)
        (void)snprintf(text, CELL_BYTES, "%" PRIu32 " of %" PRIu32, stat->n, runs);
    else if (stat->n == 0)
        (void)snprintf(text, CELL_BYTES, "-");
    else if (full)
        (void)snprintf(text, CELL_BYTES, "%s %s %s", mean, plus_minus, sd);
    else
        (void)snprintf(text, CELL_BYTES, "%s", mean);
    if (column->metric == COMPARE_SWITCH && stat->n > 0 && stat->n < runs)
        (void)snprintf(text + strlen(text), CELL_BYTES - strlen(text), " (%" PRIu32 " of %" PRIu32 ")", stat->n, runs);
}

/* '*' for the best mean accuracy of several rows, '~' for what its spread does not tell from it. */
static char mark_of(const struct compare *compare, long best, size_t row)
{
    const struct compare_stat *stat = &compare->stats[row][COMPARE_ACCURACY], *top;

    if (best < 0 || compare->grid.rows_count < 2 || stat->n == 0)
        return ' ';
    top = &compare->stats[best][COMPARE_ACCURACY];
    if (stat->mean >= top->mean)
        return '*';
    return stat->mean >= top->mean - top->sd ? '~' : ' ';
}

/* --- words around it -------------------------------------------------------------------------------------------------
 */

static void put_title(FILE *file, const struct compare *compare)
{
    (void)fprintf(file, "%s: mean and standard deviation of ", compare->job);
    if (compare->seeds == 1)
        (void)fprintf(file, "one run, seed %" PRIu64, compare->first_seed);
    else
        (void)fprintf(file, "%" PRIu32 " runs, seeds %" PRIu64 " to %" PRIu64, compare->seeds, compare->first_seed,
                      compare->first_seed + compare->seeds - 1);
    for (size_t i = 0; i < compare->sets.count; i++)
        (void)fprintf(file, "%s%s", i == 0 ? "; all with " : ", ", compare->sets.item[i]);
    (void)fputc('\n', file);
}

static void put_notes(FILE *file, const struct compare *compare, const char *item)
{
    if (compare_best(compare) >= 0 && compare->grid.rows_count > 1)
        (void)fprintf(file, "%s'*' is the best mean accuracy, '~' is within one standard deviation of it\n", item);
    (void)fprintf(file, "%sbits are of a coordinate and round, up and down, averaged over the job; float32 is 32\n",
                  item);
    if (compare->target > 0.0)
        (void)fprintf(file, "%sto target: rounds until an evaluation said %g %%, or in how many runs one did\n", item,
                      100.0 * compare->target);
    (void)fprintf(file, "%sseconds are of training%s; switch at: the part of the job before it\n", item,
                  compare->jobs > 1 ? ", beside other jobs on this machine" : "");
}

static void put_failures(FILE *file, const struct compare *compare, const char *item)
{
    char path[COMPARE_PATH_BYTES];
    size_t failed = 0;

    for (size_t i = 0; i < compare->runs_count; i++) {
        const struct compare_run *run = &compare->runs[i];

        if (run->state != COMPARE_FAILED || ++failed > FAILURES_SHOWN)
            continue;
        compare_path(compare, run, "run.log", path);
        (void)fprintf(file, "%sfailed: %s seed %" PRIu64 ": %s (%s)\n", item, compare->grid.rows[run->row].name,
                      run->seed, run->why != NULL ? run->why : "out of memory", path);
    }
    if (failed > FAILURES_SHOWN)
        (void)fprintf(file, "%sand %zu more failed\n", item, failed - FAILURES_SHOWN);
    if (failed > 0)
        (void)fprintf(file, "%sthe same command tries again what failed\n", item);
}

/* --- Markdown --------------------------------------------------------------------------------------------------------
 */

static void put_escaped(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("|*_`<\\[]", *text) != NULL)
            (void)fputc('\\', file);
        (void)fputc(*text, file);
    }
}

static int write_markdown(const struct compare *compare, struct sp_error *error)
{
    const long best = compare_best(compare);
    FILE *file = compare_open("table.md", error);
    char cell[CELL_BYTES];

    if (file == NULL)
        return error->code;
    put_title(file, compare);
    (void)fputs("\n| row | n |", file);
    for (size_t k = 0; k < COLUMNS; k++)
        if (is_there(compare, &columns[k]))
            (void)fprintf(file, " %s |", columns[k].markdown_head);
    (void)fputs("\n|---|---:|", file);
    for (size_t k = 0; k < COLUMNS; k++)
        (void)fputs(is_there(compare, &columns[k]) ? "---:|" : "", file);
    for (size_t r = 0; r < compare->grid.rows_count; r++) {
        char mark = mark_of(compare, best, r);

        (void)fputs("\n| ", file);
        put_escaped(file, compare->grid.rows[r].name);
        (void)fprintf(file, " | %" PRIu32 " |", compare->stats[r][COMPARE_SECONDS].n);
        for (size_t k = 0; k < COLUMNS; k++) {
            if (!is_there(compare, &columns[k]))
                continue;
            put_cell(cell, compare->stats[r], &columns[k], "±", true);
            (void)fprintf(file, " %s%s |", cell,
                          columns[k].metric != COMPARE_ACCURACY || mark == ' ' ? ""
                          : mark == '*'                                        ? " \\*"
                                                                               : " ~");
        }
    }
    (void)fputs("\n\n", file);
    put_notes(file, compare, "- ");
    put_failures(file, compare, "- ");
    return compare_close(file, "table.md", error);
}

/* --- the terminal ----------------------------------------------------------------------------------------------------
 */

struct layout {
    bool shown[COLUMNS];
    size_t width[COLUMNS], name_width, count_width;
};

/* Characters, not bytes, of UTF-8. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t whole_width(const struct layout *layout)
{
    size_t width = layout->name_width + GAP + layout->count_width;

    for (size_t k = 0; k < COLUMNS; k++)
        width += layout->shown[k] ? GAP + layout->width[k] : 0;
    return width + 2; /* the mark */
}

static void plan_layout(const struct compare *compare, struct layout *layout)
{
    char cell[CELL_BYTES];

    layout->name_width = strlen("row");
    layout->count_width = (size_t)snprintf(cell, sizeof cell, "%" PRIu32, compare->seeds);
    for (size_t r = 0; r < compare->grid.rows_count; r++)
        if (width_of(compare->grid.rows[r].name) > layout->name_width)
            layout->name_width = width_of(compare->grid.rows[r].name);
    for (size_t k = 0; k < COLUMNS; k++) {
        layout->shown[k] = columns[k].terminal != LEFT_OUT && is_there(compare, &columns[k]);
        layout->width[k] = strlen(columns[k].head);
        for (size_t r = 0; r < compare->grid.rows_count; r++) {
            put_cell(cell, compare->stats[r], &columns[k], "+-", columns[k].terminal == FULL);
            if (strlen(cell) > layout->width[k])
                layout->width[k] = strlen(cell);
        }
    }
    for (int drop = 1; whole_width(layout) > WIDTH_MAX && drop <= (int)COLUMNS; drop++)
        for (size_t k = 0; k < COLUMNS; k++)
            if (columns[k].drop == drop)
                layout->shown[k] = false;
}

static void print_row(const struct compare *compare, const struct layout *layout, size_t r, char mark)
{
    const char *name = compare->grid.rows[r].name;
    char cell[CELL_BYTES];

    (void)printf("%s%*s%*s%*" PRIu32, name, (int)(layout->name_width - width_of(name)), "", GAP, "",
                 (int)layout->count_width, compare->stats[r][COMPARE_SECONDS].n);
    for (size_t k = 0; k < COLUMNS; k++) {
        if (!layout->shown[k])
            continue;
        put_cell(cell, compare->stats[r], &columns[k], "+-", columns[k].terminal == FULL);
        (void)printf("%*s%*s", GAP, "", (int)layout->width[k], cell);
        if (columns[k].metric == COMPARE_ACCURACY)
            (void)printf(" %c", mark);
    }
    (void)printf("\n");
}

int compare_table(struct compare *compare, struct sp_error *error)
{
    const long best = compare_best(compare);
    struct layout layout;
    int rc = write_markdown(compare, error);

    if (rc != SP_OK)
        return rc;
    plan_layout(compare, &layout);
    put_title(stdout, compare);
    (void)printf("\n%-*s%*s%*s", (int)layout.name_width, "row", GAP, "", (int)layout.count_width, "n");
    for (size_t k = 0; k < COLUMNS; k++)
        if (layout.shown[k])
            (void)printf("%*s%*s%s", GAP, "", (int)layout.width[k], columns[k].head,
                         columns[k].metric == COMPARE_ACCURACY ? "  " : "");
    (void)printf("\n");
    for (size_t r = 0; r < compare->grid.rows_count; r++)
        print_row(compare, &layout, r, mark_of(compare, best, r));
    (void)printf("\n");
    put_notes(stdout, compare, "");
    put_failures(stdout, compare, "");
    (void)printf("tables  %s: table.md (all columns), table.csv, runs.csv\n", compare->out);
    return SP_OK;
}
