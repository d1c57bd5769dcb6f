#include "deploy/tool/tool.h"
#include "deploy/tool/view.h"

#include <math.h>
#include <string.h>

#define PATH_BYTES 1400

const char *tool_bytes(double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];
    unsigned unit = 0;

    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000.0;
        unit++;
    }
    (void)snprintf(text, sizeof texts[0], unit == 0 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
    return text;
}

static double number(const json_t *summary, const char *key)
{
    const json_t *value = json_object_get(summary, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *words(const json_t *summary, const char *key)
{
    const char *text = json_string_value(json_object_get(summary, key));

    return text != NULL ? text : "";
}

static void print_test(FILE *to, const json_t *summary)
{
    double accuracy = number(summary, "test_accuracy"), round = number(summary, "accuracy_round");

    if (isnan(accuracy)) {
        (void)fprintf(to, "  test accuracy   none: there was no evaluation\n");
        return;
    }
    (void)fprintf(to, "  test accuracy   %.2f %% of %.0f examples%s, loss %.4g", 100.0 * accuracy,
                  number(summary, "test_examples"),
                  json_is_true(json_object_get(summary, "test_partial")) ? " (partial: some parts are missing)" : "",
                  number(summary, "test_loss"));
    if (!isnan(round) && round < number(summary, "rounds_done"))
        (void)fprintf(to, ", after round %.0f", round);
    (void)fprintf(to, "\n");
}

#define RATES_SHOWN_MAX 8

/* Of many tensors the least and the largest rate. */
static void print_range(FILE *to, const json_t *rates)
{
    const char *key, *least = NULL, *most = NULL;
    double low = INFINITY, high = -INFINITY;
    json_t *value;

    json_object_foreach((json_t *)rates, key, value)
    {
        const double rate = json_number_value(value);

        least = rate < low ? key : least;
        most = rate > high ? key : most;
        low = fmin(low, rate);
        high = fmax(high, rate);
    }
    (void)fprintf(to, "of %zu tensors, %.4g (%s) to %.4g (%s); summary.json has each\n", json_object_size(rates), low,
                  least != NULL ? least : "", high, most != NULL ? most : "");
}

static void print_rate(FILE *to, const json_t *summary)
{
    const json_t *rate = json_object_get(summary, "sgd_lr");
    const char *key;
    json_t *value;
    const char *separator = "";

    (void)fprintf(to, "  rate chosen     ");
    if (json_object_size(rate) > RATES_SHOWN_MAX) {
        print_range(to, rate);
    } else if (json_is_object(rate)) {
        json_object_foreach((json_t *)rate, key, value)
        {
            (void)fprintf(to, "%s%s %.4g", separator, key, json_number_value(value));
            separator = ", ";
        }
        (void)fprintf(to, "\n");
    } else {
        (void)fprintf(to, "%.5g\n", json_number_value(rate));
    }
}

static void print_mode(FILE *to, const json_t *summary)
{
    const char *mode = words(summary, "mode");

    if (strcmp(mode, "hybrid") == 0)
        return;
    (void)fprintf(to, "  mode            %s, full precision from the first round on\n", mode);
    print_rate(to, summary);
}

static void print_switches(FILE *to, const json_t *summary)
{
    const json_t *switches = json_object_get(summary, "switches");
    size_t index;
    json_t *s;

    if (strcmp(words(summary, "mode"), "hybrid") != 0)
        return;
    json_array_foreach((json_t *)switches, index, s)
    {
        (void)fprintf(to, "  switch          from %s to %s after round %lld; %s\n", words(s, "from"), words(s, "to"),
                      (long long)json_integer_value(json_object_get(s, "round")), words(s, "reason"));
    }
    if (!json_is_null(json_object_get(summary, "sgd_lr")) && json_array_size(switches) > 0)
        print_rate(to, summary);
    if (json_array_size(switches) == 0)
        (void)fprintf(to, "  switch          none%s%s\n", words(summary, "switch_reason")[0] != '\0' ? "; " : "",
                      words(summary, "switch_reason"));
}

static void print_bytes(FILE *to, const json_t *summary, const char *label, const char *key, double float32)
{
    double bytes = number(summary, key);

    (void)fprintf(to, "  %-15s %s; float32 all the way would be %s", label, tool_bytes(bytes), tool_bytes(float32));
    if (bytes > 0.0)
        (void)fprintf(to, ", %.1f times as much; %s saved", float32 / bytes, tool_bytes(fmax(float32 - bytes, 0.0)));
    (void)fprintf(to, "\n");
}

/* The worker that the others waited for, if one stood out. */
static void print_slowest(FILE *to, const json_t *slots)
{
    struct view_slowest slowest = view_slowest(slots, true);
    const json_t *slot = slowest.slot >= 0 ? json_array_get(slots, (size_t)slowest.slot) : NULL;

    if (slot == NULL)
        return;
    (void)fprintf(
        to, "  slowest worker  slot %d: %s in recent rounds, %s times the median; the last to be in in %.0f rounds\n",
        slowest.slot, view_ms(slowest.latency_ms), view_times(slowest.times), number(slot, "last"));
}

static void print_summary(FILE *to, const json_t *summary, const char *folder)
{
    double float32 = number(summary, "bytes_float32");
    double received = number(summary, "sign_rounds_received");

    (void)fprintf(to, "\n%s: %s\n", words(summary, "job"), words(summary, "outcome"));
    print_test(to, summary);
    (void)fprintf(to, "  train loss      %.4g\n", number(summary, "train_loss"));
    (void)fprintf(to, "  model           %.0f parameters, %.0f workers\n", number(summary, "params"),
                  number(summary, "workers"));
    print_mode(to, summary);
    print_switches(to, summary);
    print_bytes(to, summary, "pushed", "bytes_pushed", float32);
    print_bytes(to, summary, "updated", "bytes_updated", float32);
    if (received > 0.0)
        (void)fprintf(to, "  in sign rounds  %s up and %s down per worker and round; float32: %s each\n",
                      tool_bytes(number(summary, "bytes_pushed_sign") / received),
                      tool_bytes(number(summary, "bytes_updated_sign") / received),
                      tool_bytes(4.0 * number(summary, "params")));
    print_slowest(to, json_object_get(summary, "slots"));
    (void)fprintf(to, "  time            %.2f s training, %.2f s in all\n", number(summary, "train_seconds"),
                  number(summary, "wall_seconds"));
    (void)fprintf(to, "  weights digest  %s\n", words(summary, "weights_digest"));
    (void)fprintf(to, "  files           %s: summary.json, history.jsonl, model.safetensors\n", folder);
}

int tool_print_result(FILE *to, const char *folder, struct sp_error *error)
{
    char path[PATH_BYTES];
    json_error_t why;
    json_t *summary;

    (void)snprintf(path, sizeof path, "%s/summary.json", folder);
    summary = json_load_file(path, 0, &why);
    if (summary == NULL)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path,
                            why.text[0] != '\0' ? why.text : "out of memory");
    print_summary(to, summary, folder);
    json_decref(summary);
    return SP_OK;
}
