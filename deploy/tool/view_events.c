#include "deploy/tool/view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void view_sum_up(const json_t *status, struct view_line *line)
{
    const json_t *pace = json_object_get(status, "pace");
    double accuracy = view_number(status, "test_accuracy"), loss = view_number(status, "loss");
    double rounds = view_number(status, "rounds");

    view_put(line, VIEW_PLAIN, "%s: %s, %s phase, round %.0f of %.0f", view_text(status, "job"),
             view_text(status, "stage"), view_text(status, "phase"), view_number(status, "round"), rounds);
    if (rounds > 0.0)
        view_put(line, VIEW_PLAIN, " (%.1f %%)", 100.0 * view_number(status, "round") / rounds);
    if (!isnan(view_number(status, "epoch")))
        view_put(line, VIEW_PLAIN, ", epoch %.1f of %s", view_number(status, "epoch"),
                 view_count(view_number(status, "epochs")));
    if (isnan(loss))
        loss = view_number(status, "train_loss");
    if (!isnan(loss))
        view_put(line, VIEW_PLAIN, ", loss %.4g", loss);
    if (!isnan(accuracy))
        view_put(line, VIEW_PLAIN, ", accuracy %.2f %%", 100.0 * accuracy);
    if (!isnan(view_number(pace, "rounds_per_second")))
        view_put(line, VIEW_PLAIN, ", %s rounds/s", view_count(view_number(pace, "rounds_per_second")));
    if (!isnan(view_number(status, "eta_seconds")))
        view_put(line, VIEW_PLAIN, ", ETA %s", view_duration(view_number(status, "eta_seconds")));
    view_put(line, VIEW_PLAIN, ", %.0f of %.0f workers", view_number(status, "live"), view_number(status, "workers"));
    if (view_text(status, "waits_for")[0] != '\0')
        view_put(line, VIEW_PLAIN, "; waits for %s", view_text(status, "waits_for"));
}

struct teller {
    void (*say)(void *arg, const char *words);
    void *arg;
};

__attribute__((format(printf, 2, 3))) static void tell(const struct teller *teller, const char *format, ...)
{
    char words[1200];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    teller->say(teller->arg, words);
}

static void tell_switches(const json_t *before, const json_t *after, const struct teller *teller)
{
    const json_t *old = json_object_get(before, "switches"), *all = json_object_get(after, "switches");

    for (size_t i = json_array_size(old); i < json_array_size(all); i++) {
        const json_t *s = json_array_get(all, i);

        tell(teller, "switched from %s to %s after round %.0f; %s", view_text(s, "from"), view_text(s, "to"),
             view_number(s, "round"), view_text(s, "reason"));
    }
}

static bool is_there(const json_t *slot)
{
    return strcmp(view_text(slot, "state"), "empty") != 0;
}

static void tell_slots(const json_t *before, const json_t *after, const struct teller *teller)
{
    const json_t *old = json_object_get(before, "slots"), *all = json_object_get(after, "slots");

    for (size_t i = 0; i < json_array_size(all) && i < json_array_size(old); i++) {
        const json_t *was = json_array_get(old, i), *is = json_array_get(all, i);
        const char *host = view_text(is, "host");

        if (is_there(was) && !is_there(is))
            tell(teller, "worker %.0f is lost", view_number(is, "slot"));
        else if (!is_there(was) && is_there(is))
            tell(teller, "worker %.0f is %s%s%s", view_number(is, "slot"),
                 view_number(is, "joins") > 1 ? "back" : "there", host[0] != '\0' ? ", at " : "", host);
        if (view_true(is, "suspected") && !view_true(was, "suspected"))
            tell(teller, "worker %.0f is suspected: it is opposed to more than half of the others",
                 view_number(is, "slot"));
    }
}

void view_events(const json_t *before, const json_t *after, void (*say)(void *arg, const char *words), void *arg)
{
    const struct teller teller = {say, arg};

    if (before == NULL)
        return;
    if (json_integer_value(json_object_get(before, "pid")) != json_integer_value(json_object_get(after, "pid")))
        tell(&teller, "the server was started again, and goes on from round %.0f", view_number(after, "round"));
    if (strcmp(view_text(before, "stage"), view_text(after, "stage")) != 0)
        tell(&teller, "%s (it was %s)", view_text(after, "stage"), view_text(before, "stage"));
    tell_switches(before, after, &teller);
    tell_slots(before, after, &teller);
}
