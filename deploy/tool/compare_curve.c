/* The course of a row: mean and spread over its runs, round by round. */
#include "deploy/tool/compare.h"

#include <math.h>
#include <stdlib.h>

/* The first run of the row says which rounds there are, the others are merged into them: all are in order of rounds. */
struct reader {
    struct compare_curve *curve;
    size_t at; /* the knot where the run that is read has come to */
    bool first, no_memory;
};

static void add_knot(struct reader *reader, const struct compare_point *point)
{
    struct compare_curve *curve = reader->curve;
    struct compare_knot *knots = curve->knots;

    if ((curve->count & (curve->count - 1)) == 0) /* full at every power of two */
        knots = reallocarray(knots, curve->count > 0 ? 2 * curve->count : 1, sizeof *knots);
    if (knots == NULL) {
        reader->no_memory = true;
        return;
    }
    curve->knots = knots;
    knots[curve->count++] = (struct compare_knot){.round = point->round, .epoch = point->epoch};
}

static void take(void *arg, const struct compare_point *point)
{
    struct reader *reader = arg;
    struct compare_curve *curve = reader->curve;

    if (reader->no_memory || (isnan(point->train_loss) && isnan(point->test_accuracy)))
        return;
    if (reader->first && (curve->count == 0 || point->round > curve->knots[curve->count - 1].round))
        add_knot(reader, point);
    while (reader->at < curve->count && curve->knots[reader->at].round < point->round)
        reader->at++;
    if (reader->at == curve->count || curve->knots[reader->at].round != point->round)
        return;
    if (!isnan(point->test_accuracy))
        compare_add_value(&curve->knots[reader->at].accuracy, 100.0 * point->test_accuracy);
    if (!isnan(point->train_loss))
        compare_add_value(&curve->knots[reader->at].loss, point->train_loss);
    reader->at++; /* a second line of the same round would count twice */
}

static void finish(struct compare_stat *stat, uint32_t runs)
{
    if (stat->n < runs)
        stat->n = 0; /* a mean of other runs than its neighbours would make a kink */
    compare_finish_stat(stat);
}

int compare_curve_read(struct compare *compare, size_t row, struct compare_curve *curve, struct sp_error *error)
{
    struct reader reader = {.curve = curve, .first = true};
    uint32_t runs = 0;
    int rc = SP_OK;

    *curve = (struct compare_curve){0};
    for (size_t i = row; rc == SP_OK && i < compare->runs_count; i += compare->grid.rows_count) {
        if (compare->runs[i].state != COMPARE_DONE)
            continue;
        reader.at = 0;
        rc = compare_history(compare, &compare->runs[i], take, &reader, error);
        if (rc == SP_OK && reader.no_memory)
            rc = sp_error_set(error, SP_E_NOMEM, "no memory for the plots");
        reader.first = false;
        runs++;
    }
    for (size_t k = 0; k < curve->count; k++) {
        finish(&curve->knots[k].accuracy, runs);
        finish(&curve->knots[k].loss, runs);
    }
    return rc;
}
