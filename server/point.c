#include "server/point.h"

#include "server/record.h"

#include <math.h>
#include <string.h>

struct sp_point sp_point_of(const struct sp_report *report, uint32_t first)
{
    uint32_t rounds = report->round - first + 1;
    struct sp_point point = {.first = first,
                             .round = report->round,
                             .voted = report->phase != SP_PHASE_SGD ? rounds : 0,
                             .lossy = isfinite(report->loss) ? rounds : 0,
                             .epoch = report->epoch,
                             .phase = report->phase,
                             .live = report->live,
                             .voters = report->voters,
                             .rate = report->rate,
                             .sigma = report->sigma,
                             .estimates = report->estimates,
                             .loss = report->loss,
                             .margin = report->margin,
                             .ties = report->ties,
                             .unanimous = report->unanimous,
                             .flips = report->flips,
                             .evaluated = report->evaluated && report->total > 0,
                             .correct = report->correct,
                             .total = report->total,
                             .expected = report->expected,
                             .test_loss = report->test_loss};

    return point;
}

/* The mean of `n` rounds that had the value *to, and `more` that had `value`. */
static void mean(double *to, uint32_t n, double value, uint32_t more)
{
    if (n == 0)
        *to = value;
    else if (more > 0)
        *to += (value - *to) * (double)more / ((double)n + (double)more);
}

static void merge_times(struct sp_point *point, const struct sp_point *next)
{
    mean(&point->times.round_ms, point->timed, next->times.round_ms, next->timed);
    mean(&point->times.waiting_ms, point->timed, next->times.waiting_ms, next->timed);
    mean(&point->times.tally_ms, point->timed, next->times.tally_ms, next->timed);
    mean(&point->times.send_ms, point->timed, next->times.send_ms, next->timed);
    point->timed += next->timed;
}

static void merge_votes(struct sp_point *point, const struct sp_point *next)
{
    mean(&point->margin, point->voted, next->margin, next->voted);
    mean(&point->ties, point->voted, next->ties, next->voted);
    mean(&point->unanimous, point->voted, next->unanimous, next->voted);
    mean(&point->flips, point->voted, next->flips, next->voted);
    point->voted += next->voted;
}

void sp_point_merge(struct sp_point *point, const struct sp_point *next)
{
    merge_times(point, next);
    merge_votes(point, next);
    mean(&point->loss, point->lossy, next->loss, next->lossy);
    point->lossy += next->lossy;
    point->round = next->round;
    point->epoch = next->epoch;
    point->phase = next->phase;
    point->live = next->live;
    point->voters = next->voters;
    point->rate = next->rate;
    point->sigma = next->sigma;
    point->estimates = next->estimates;
    if (next->evaluated) {
        point->evaluated = true;
        point->correct = next->correct;
        point->total = next->total;
        point->expected = next->expected;
        point->test_loss = next->test_loss;
    }
    point->bytes_pushed = next->bytes_pushed;
    point->bytes_updated = next->bytes_updated;
    point->bytes_float32 = next->bytes_float32;
    point->seconds = next->seconds;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------
 */

static void put_signs(json_t **line, const struct sp_point *point)
{
    const struct sp_estimates *e = &point->estimates;
    const struct {
        const char *key;
        double value;
    } values[] = {{"sigma", point->sigma},          {"margin", point->margin},        {"ties", point->ties},
                  {"unanimous", point->unanimous},  {"flips", point->flips},          {"lambda_paper", e->paper},
                  {"lambda_ratio", e->ratio},       {"lambda_denoised", e->denoised}, {"noise_scale", e->noise_scale},
                  {"stationarity", e->stationarity}};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        sp_json_put(line, values[i].key, sp_json_number(values[i].value));
}

static void put_evaluation(json_t **line, const struct sp_point *point)
{
    sp_json_put(line, "test_accuracy", sp_json_number((double)point->correct / (double)point->total));
    sp_json_put(line, "test_loss", sp_json_number(point->test_loss));
    sp_json_put(line, "test_examples", json_integer((json_int_t)point->total));
    sp_json_put(line, "test_partial", json_boolean(point->total != point->expected));
}

static void put_times(json_t **line, const struct sp_times *times)
{
    sp_json_put(line, "round_ms", sp_json_number(times->round_ms));
    sp_json_put(line, "waiting_ms", sp_json_number(times->waiting_ms));
    sp_json_put(line, "tally_ms", sp_json_number(times->tally_ms));
    sp_json_put(line, "send_ms", sp_json_number(times->send_ms));
}

json_t *sp_point_json(const struct sp_point *point)
{
    json_t *line = json_object();
    bool sign = point->phase != SP_PHASE_SGD;

    sp_json_put(&line, "first", json_integer(point->first));
    sp_json_put(&line, "round", json_integer(point->round));
    sp_json_put(&line, "epoch", sp_json_number(point->epoch));
    sp_json_put(&line, "phase", json_string(sp_phase_name(point->phase)));
    sp_json_put(&line, sign ? "gamma" : "lambda", sp_json_number(point->rate));
    sp_json_put(&line, "train_loss", sp_json_number(point->loss));
    sp_json_put(&line, "live", json_integer(point->live));
    sp_json_put(&line, "voters", json_integer(point->voters));
    if (sign)
        put_signs(&line, point);
    if (point->evaluated)
        put_evaluation(&line, point);
    sp_json_put(&line, "bytes_pushed", json_integer((json_int_t)point->bytes_pushed));
    sp_json_put(&line, "bytes_updated", json_integer((json_int_t)point->bytes_updated));
    sp_json_put(&line, "bytes_float32", json_integer((json_int_t)point->bytes_float32));
    if (point->timed > 0)
        put_times(&line, &point->times);
    sp_json_put(&line, "seconds", sp_json_number(point->seconds));
    return line;
}

static double number(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* 0 where there is none, as in a line of an earlier version. */
static uint64_t whole(const json_t *line, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(line, key));

    return value > 0 ? (uint64_t)value : 0;
}

static void parse_signs(struct sp_point *point, const json_t *line)
{
    struct sp_estimates *e = &point->estimates;

    point->sigma = number(line, "sigma");
    point->margin = number(line, "margin");
    point->ties = number(line, "ties");
    point->unanimous = number(line, "unanimous");
    point->flips = number(line, "flips");
    e->paper = number(line, "lambda_paper");
    e->ratio = number(line, "lambda_ratio");
    e->denoised = number(line, "lambda_denoised");
    e->noise_scale = number(line, "noise_scale");
    e->stationarity = number(line, "stationarity");
}

static void parse_evaluation(struct sp_point *point, const json_t *line)
{
    double accuracy = number(line, "test_accuracy");

    point->total = whole(line, "test_examples");
    point->evaluated = point->total > 0 && accuracy >= 0.0 && accuracy <= 1.0;
    if (!point->evaluated)
        return;
    point->correct = (uint64_t)llround(accuracy * (double)point->total);
    point->expected = point->total + json_is_true(json_object_get(line, "test_partial"));
    point->test_loss = number(line, "test_loss");
}

static bool parse_phase(struct sp_point *point, const json_t *line)
{
    const char *name = json_string_value(json_object_get(line, "phase"));

    for (int i = 0; name != NULL && i < SP_PHASES; i++) {
        if (strcmp(name, sp_phase_name((enum sp_phase)i)) == 0) {
            point->phase = (enum sp_phase)i;
            return true;
        }
    }
    return false;
}

bool sp_point_parse(struct sp_point *point, const json_t *line)
{
    const json_int_t round = json_integer_value(json_object_get(line, "round"));

    memset(point, 0, sizeof *point);
    if (json_object_get(line, "event") != NULL || round < 1 || round > UINT32_MAX || !parse_phase(point, line))
        return false;
    point->first = point->round = (uint32_t)round;
    point->epoch = number(line, "epoch");
    point->live = (unsigned)whole(line, "live");
    point->voters = (unsigned)whole(line, "voters");
    point->rate = number(line, point->phase != SP_PHASE_SGD ? "gamma" : "lambda");
    point->loss = number(line, "train_loss");
    point->lossy = isfinite(point->loss);
    point->voted = point->phase != SP_PHASE_SGD;
    if (point->voted > 0)
        parse_signs(point, line);
    if (json_object_get(line, "test_accuracy") != NULL)
        parse_evaluation(point, line);
    point->bytes_pushed = whole(line, "bytes_pushed");
    point->bytes_updated = whole(line, "bytes_updated");
    point->bytes_float32 = whole(line, "bytes_float32");
    point->times.round_ms = number(line, "round_ms");
    point->times.waiting_ms = number(line, "waiting_ms");
    point->times.tally_ms = number(line, "tally_ms");
    point->times.send_ms = number(line, "send_ms");
    point->timed = isfinite(point->times.round_ms);
    point->seconds = number(line, "seconds");
    return true;
}
