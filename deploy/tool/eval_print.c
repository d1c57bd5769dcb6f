#include "deploy/tool/eval.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>

#define CLASSES_LISTED_MAX 30 /* with more classes, only the worst have a line */
#define WORST 15
#define MATRIX_CLASSES_MAX 20 /* with more classes, only the most frequent confusions are shown */
#define CONFUSIONS 20

/* --- for people ------------------------------------------------------------------------------------------------------
 */

static void print_share(FILE *to, double share)
{
    if (isnan(share))
        (void)fprintf(to, "  %9s", "-");
    else
        (void)fprintf(to, "  %7.2f %%", 100.0 * share);
}

static void print_class(FILE *to, const struct eval_counts *counts, uint32_t k)
{
    const struct eval_class of = eval_class(counts, k);

    (void)fprintf(to, "  %5" PRIu32 "  %8" PRIu64 "  %8" PRIu64, k, of.examples, of.correct);
    print_share(to, of.accuracy);
    print_share(to, of.precision);
    (void)fprintf(to, "\n");
}

static void print_classes(FILE *to, const struct eval_counts *counts)
{
    const bool all = counts->classes <= CLASSES_LISTED_MAX;
    uint32_t worst[WORST], count = all ? counts->classes : eval_worst(counts, worst, WORST);

    if (!all)
        (void)fprintf(to,
                      "\n  The %" PRIu32 " of %" PRIu32 " classes with the lowest accuracy (--json has them all):\n",
                      count, counts->classes);
    (void)fprintf(to, "%s  %5s  %8s  %8s  %9s  %9s\n", all ? "\n" : "", "class", "examples", "right", "accuracy",
                  "precision");
    for (uint32_t i = 0; i < count; i++)
        print_class(to, counts, all ? i : worst[i]);
}

/* What the widest number of the matrix takes, and a space before it. */
static int cell_width(const struct eval_counts *counts)
{
    const size_t cells = (size_t)counts->classes * counts->classes;
    uint64_t highest = counts->classes - 1;

    for (size_t i = 0; i < cells; i++)
        highest = counts->confusion[i] > highest ? counts->confusion[i] : highest;
    return 2 + snprintf(NULL, 0, "%" PRIu64, highest);
}

static void print_matrix(FILE *to, const struct eval_counts *counts)
{
    const int width = cell_width(counts);

    (void)fprintf(to, "\n  Confusions: a row is a true class, a column what the model took it for.\n  %5s", "");
    for (uint32_t k = 0; k < counts->classes; k++)
        (void)fprintf(to, "%*" PRIu32, width, k);
    (void)fprintf(to, "\n");
    for (uint32_t label = 0; label < counts->classes; label++) {
        const uint64_t *row = counts->confusion + (size_t)label * counts->classes;

        (void)fprintf(to, "  %5" PRIu32, label);
        for (uint32_t k = 0; k < counts->classes; k++) {
            if (row[k] == 0)
                (void)fprintf(to, "%*s", width, ".");
            else
                (void)fprintf(to, "%*" PRIu64, width, row[k]);
        }
        (void)fprintf(to, "\n");
    }
}

static void print_confusions(FILE *to, const struct eval_counts *counts)
{
    struct eval_confusion top[CONFUSIONS];
    uint32_t count = eval_confusions(counts, top, CONFUSIONS);

    if (count == 0)
        return;
    (void)fprintf(to, "\n  The most frequent confusions (--json has them all):\n  %5s  %9s  %8s  %s\n", "class",
                  "taken for", "examples", "of the class");
    for (uint32_t i = 0; i < count; i++)
        (void)fprintf(to, "  %5" PRIu32 "  %9" PRIu32 "  %8" PRIu64 "  %10.2f %%\n", top[i].label, top[i].predicted,
                      top[i].examples,
                      100.0 * (double)top[i].examples / (double)eval_class(counts, top[i].label).examples);
}

static void print_figures(FILE *to, const struct eval_report *report)
{
    const struct eval_counts *counts = &report->counts;

    (void)fprintf(to, "%s\n", report->run);
    (void)fprintf(to, "  model           %s, %" PRIu64 " parameters, %" PRIu32 " classes\n", report->model,
                  report->params, counts->classes);
    (void)fprintf(to, "  file            %s\n", report->file);
    (void)fprintf(to, "  data            %s\n", report->data[0]);
    if (report->data[1][0] != '\0')
        (void)fprintf(to, "                  %s\n", report->data[1]);
    (void)fprintf(to, "  examples        %" PRIu64 "\n", counts->examples);
    (void)fprintf(to, "  accuracy        %.2f %%, %" PRIu64 " right\n", 100.0 * eval_accuracy(counts), counts->correct);
    if (isfinite(eval_loss(counts)))
        (void)fprintf(to, "  loss            %.4g\n", eval_loss(counts));
    else
        (void)fprintf(to, "  loss            not finite\n");
    if (counts->not_a_number > 0)
        (void)fprintf(to,
                      "  not a number    %" PRIu64
                      " examples: the model's output has a NaN, so that they are taken for "
                      "no class and count as wrong\n",
                      counts->not_a_number);
}

void eval_print_text(FILE *to, const struct eval_report *report)
{
    print_figures(to, report);
    print_classes(to, &report->counts);
    if (report->counts.classes <= MATRIX_CLASSES_MAX)
        print_matrix(to, &report->counts);
    else
        print_confusions(to, &report->counts);
}

/* --- for programs ----------------------------------------------------------------------------------------------------
 */

/* Puts a value, which it takes over. Without memory for it the whole is given up and *object is NULL, as it then stays:
 * JSON with a key missing would be taken for the truth. */
static void put(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

static void append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *class_json(const struct eval_counts *counts, uint32_t k)
{
    const struct eval_class of = eval_class(counts, k);
    json_t *object = json_object();

    put(&object, "class", count(k));
    put(&object, "examples", count(of.examples));
    put(&object, "correct", count(of.correct));
    put(&object, "accuracy", number(of.accuracy));
    put(&object, "precision", number(of.precision));
    return object;
}

static json_t *classes_json(const struct eval_counts *counts)
{
    json_t *classes = json_array();

    for (uint32_t k = 0; k < counts->classes; k++)
        append(&classes, class_json(counts, k));
    return classes;
}

static json_t *confusion_json(const struct eval_counts *counts)
{
    json_t *rows = json_array();

    for (uint32_t label = 0; label < counts->classes; label++) {
        json_t *row = json_array();

        for (uint32_t k = 0; k < counts->classes; k++)
            append(&row, count(counts->confusion[(size_t)label * counts->classes + k]));
        append(&rows, row);
    }
    return rows;
}

static json_t *data_json(const struct eval_report *report)
{
    json_t *data = json_array();

    for (size_t i = 0; i < 2 && report->data[i][0] != '\0'; i++)
        append(&data, json_string(report->data[i]));
    return data;
}

int eval_print_json(FILE *to, const struct eval_report *report, struct sp_error *error)
{
    const struct eval_counts *counts = &report->counts;
    json_t *object = json_object();
    int rc;

    put(&object, "run", json_string(report->run));
    put(&object, "model", json_string(report->model));
    put(&object, "params", count(report->params));
    put(&object, "data", data_json(report));
    put(&object, "examples", count(counts->examples));
    put(&object, "accuracy", number(eval_accuracy(counts)));
    put(&object, "loss", number(eval_loss(counts)));
    put(&object, "not_a_number", count(counts->not_a_number));
    put(&object, "classes", classes_json(counts));
    put(&object, "confusion", confusion_json(counts));
    rc = object != NULL ? json_dumpf(object, to, JSON_REAL_PRECISION(9)) : -1;
    json_decref(object);
    if (rc != 0)
        return sp_error_set(error, SP_E_IO,
                            "cannot print the result as JSON: out of memory, a path that is not UTF-8, or nobody "
                            "reads it");
    (void)fprintf(to, "\n");
    return SP_OK;
}
