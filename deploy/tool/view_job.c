#include "deploy/tool/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BAR_COLUMNS_MIN 8
#define BAR_COLUMNS_MAX 60
#define VALUE_COLUMNS 9
#define CURVE_COLUMNS_MIN 8
#define CURVE_COLUMNS_MAX 64

static const char *or_dash(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

static void head(struct view_page *page, const json_t *status)
{
    struct view_line *line = view_add(page, VIEW_RANK_HEAD);
    const char *stage = or_dash(view_text(status, "stage"));

    view_put_within(line, VIEW_STRONG,
                    line->room / 2 < strlen(view_text(status, "job")) ? line->room / 2
                                                                      : (unsigned)strlen(view_text(status, "job")),
                    or_dash(view_text(status, "job")));
    view_put(line, VIEW_PLAIN, "  ");
    view_put(line, strcmp(stage, "running") == 0 ? VIEW_GOOD : VIEW_ALERT, "%s", stage);
    view_put(line, VIEW_PLAIN, ", %s phase", or_dash(view_text(status, "phase")));
    if (!isnan(view_number(status, "seconds")))
        (void)view_field(line, ", ", "for %s", view_duration(view_number(status, "seconds")));
    if (view_text(status, "http")[0] != '\0')
        (void)view_field(line, "  ", "%s", view_text(status, "http"));
    else if (view_text(status, "address")[0] != '\0')
        (void)view_field(line, ", ", "at %s", view_text(status, "address"));
}

/* Of the figures as many as leave room for a bar. */
static void progress(struct view_page *page, const json_t *status)
{
    double round = view_number(status, "round"), rounds = view_number(status, "rounds");
    double epoch = view_number(status, "epoch"), epochs = view_number(status, "epochs");
    double share = rounds > 0.0 && round >= 0.0 ? fmin(round / rounds, 1.0) : 0.0;
    struct view_line *line = view_add(page, VIEW_RANK_PROGRESS);
    char parts[4][64], text[280] = "";
    unsigned bar, full;

    (void)snprintf(parts[0], sizeof parts[0], "%.1f %%", 100.0 * share);
    (void)snprintf(parts[1], sizeof parts[1], ", round %.0f of %.0f", round, rounds);
    parts[2][0] = '\0';
    if (!isnan(epoch))
        (void)snprintf(parts[2], sizeof parts[2], ", epoch %.1f of %s", epoch, view_count(epochs));
    (void)snprintf(parts[3], sizeof parts[3], ", ETA %s", view_duration(view_number(status, "eta_seconds")));
    for (int mask = 0; mask < 4; mask++) { /* first the epoch is given up, then the round */
        (void)snprintf(text, sizeof text, "%s%s%s%s", parts[0], mask < 2 ? parts[1] : "", mask < 1 ? parts[2] : "",
                       mask < 3 ? parts[3] : "");
        if (strlen(text) + BAR_COLUMNS_MIN + 4 <= line->room)
            break;
    }
    bar = line->room > strlen(text) + 4 ? line->room - (unsigned)strlen(text) - 4 : 0;
    bar = bar < BAR_COLUMNS_MAX ? bar : BAR_COLUMNS_MAX;
    full = (unsigned)(share * bar + 0.5);
    view_put(line, VIEW_PLAIN, "[");
    for (unsigned i = 0; i < bar; i++)
        view_put(line, VIEW_PLAIN, "%s",
                 i >= full    ? (line->utf8 ? "\xe2\x96\x91" : ".")
                 : line->utf8 ? "\xe2\x96\x88"
                              : "#");
    view_put(line, VIEW_PLAIN, "]  %s", text);
}

void view_job_head(struct view_page *page, const struct view *view)
{
    if (view->status == NULL) {
        view_put(view_add(page, VIEW_RANK_HEAD), VIEW_STRONG, "signpost");
        return;
    }
    head(page, view->status);
    progress(page, view->status);
}

/* A value, the curve that led there, and a few words behind it. */
static void curve_line(struct view_page *page, const struct view *view, bool loss, const char *value, const char *words)
{
    struct view_line *line =
        view_add_labelled(page, loss ? VIEW_RANK_LOSS : VIEW_RANK_ACCURACY, loss ? "loss" : "accuracy");
    unsigned room, columns = 0;
    uint32_t since = 0;

    view_put(line, VIEW_STRONG, "%s", value);
    view_pad(line, line->columns > 10 + VALUE_COLUMNS ? line->columns + 1 : 10 + VALUE_COLUMNS);
    room = line->room > line->columns ? line->room - line->columns : 0;
    columns = room > 24 + CURVE_COLUMNS_MIN ? room - 24 : room;
    columns = columns < CURVE_COLUMNS_MAX ? columns : CURVE_COLUMNS_MAX;
    if (view->curve != NULL && columns >= CURVE_COLUMNS_MIN)
        since = view_curve_draw(view->curve, loss, columns, line);
    if (since > 0 && loss)
        (void)view_field(line, "  ", "since round %u", since);
    if (words[0] != '\0')
        (void)view_field(line, "  ", "%s", words);
}

void view_job_curves(struct view_page *page, const struct view *view)
{
    const json_t *status = view->status;
    double loss = view_number(status, "loss"), epoch_loss = view_number(status, "train_loss");
    double accuracy = view_number(status, "test_accuracy");
    char value[40] = "-", words[64] = "";

    if (isnan(loss))
        loss = epoch_loss;
    if (!isnan(loss))
        (void)snprintf(value, sizeof value, loss < 9999.5 && (loss >= 9.995e-4 || loss == 0.0) ? "%.4f" : "%.3g", loss);
    curve_line(page, view, true, value, "");
    (void)snprintf(value, sizeof value, "-");
    if (!isnan(accuracy))
        (void)snprintf(value, sizeof value, "%.2f %%", 100.0 * accuracy);
    if (!isnan(view_number(status, "accuracy_round")))
        (void)snprintf(words, sizeof words, "in round %.0f", view_number(status, "accuracy_round"));
    curve_line(page, view, false, value, words);
}

const char *view_switch_words(const json_t *status)
{
    static char text[1024];
    const json_t *next = json_object_get(status, "switch"), *all = json_object_get(status, "switches");
    const json_t *last = json_array_get(all, json_array_size(all) - 1);

    text[0] = '\0';
    if (last != NULL && !view_true(next, "pending"))
        (void)snprintf(text, sizeof text, "from %s to %s after round %.0f; %s", or_dash(view_text(last, "from")),
                       or_dash(view_text(last, "to")), view_number(last, "round"), or_dash(view_text(last, "reason")));
    else if (view_text(next, "words")[0] != '\0')
        (void)snprintf(text, sizeof text, "%s", view_text(next, "words"));
    return text;
}

void view_job_phase(struct view_page *page, const json_t *status)
{
    const char *phase = or_dash(view_text(status, "phase")), *words = view_switch_words(status);
    const json_t *vote = json_object_get(status, "vote");
    bool sgd = strcmp(phase, "sgd") == 0;
    struct view_line *line = view_add_labelled(page, VIEW_RANK_PHASE, phase);

    (void)view_field(line, "", "%s %s", sgd ? "lambda" : "gamma", view_rate(view_number(status, "rate")));
    if (!sgd) {
        (void)(view_field(line, ", ", "sigma %s", view_rate(view_number(status, "sigma"))) &&
               view_field(line, ", ", "vote margin %s", view_share(view_number(vote, "margin"))) &&
               view_field(line, ", ", "ties %s", view_share(view_number(vote, "ties"))) &&
               view_field(line, ", ", "flips %s", view_share(view_number(vote, "flips"))));
    }
    view_add_words(page, VIEW_RANK_SWITCH, VIEW_PLAIN, "switch", or_dash(words));
}
