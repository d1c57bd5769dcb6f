/* signpost status: what a running server says of itself. */
#include "common/cli.h"
#include "deploy/tool/asking.h"
#include "deploy/tool/terminal.h"
#include "deploy/tool/view.h"

#include <argp.h>
#include <math.h>
#include <string.h>

static struct view_window window = {.columns = VIEW_COLUMNS_MAX, .lines = 1};

static double number(const json_t *object, const char *key)
{
    return view_number(object, key);
}

/* Names are foreign text. This one is valid until the eighth call after it. */
static const char *words(const json_t *object, const char *key)
{
    static char texts[8][1024];
    static unsigned next;
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? view_clean(text, window.utf8, texts[next++ % 8], sizeof texts[0]) : "-";
}

static void print_slots(const json_t *slots)
{
    struct view_slowest slowest = view_slowest(slots, false);
    size_t index;
    json_t *slot;

    (void)printf("  %-5s %-8s %-22s %8s %7s %6s %10s %9s %8s %12s %11s %8s %8s\n", "slot", "state", "address", "votes",
                 "missed", "late", "duplicates", "abstained", "resyncs", "disagreement", "correlation", "latency",
                 "silent");
    json_array_foreach((json_t *)slots, index, slot)
    {
        bool behind = json_is_true(json_object_get(slot, "behind"));

        (void)printf("  %-5.0f %-8s %-22s %8.0f %7.0f %6.0f %10.0f %9.0f %8.0f ", number(slot, "slot"),
                     behind ? "behind" : words(slot, "state"), words(slot, "address"), number(slot, "votes"),
                     number(slot, "missed"), number(slot, "late"), number(slot, "duplicates"),
                     number(slot, "abstained"), number(slot, "resyncs"));
        if (isnan(number(slot, "disagreement")))
            (void)printf("%12s ", "-");
        else
            (void)printf("%10.1f %% ", 100.0 * number(slot, "disagreement"));
        if (isnan(number(slot, "correlation")))
            (void)printf("%11s", "-");
        else
            (void)printf("%11.3f", number(slot, "correlation"));
        (void)printf(" %8s %8s", view_ms(number(slot, "latency_ms")), view_duration(number(slot, "silent_seconds")));
        if (view_true(slot, "suspected"))
            (void)printf("  suspected");
        if (number(slot, "slot") == (double)slowest.slot)
            (void)printf("  slowest, %s times the median", view_times(slowest.times));
        (void)printf("\n");
    }
}

static void print_switches(const json_t *switches)
{
    size_t index;
    json_t *s;

    json_array_foreach((json_t *)switches, index, s)
    {
        (void)printf("  switch          from %s to %s after round %.0f; %s\n", words(s, "from"), words(s, "to"),
                     number(s, "round"), words(s, "reason"));
    }
}

static void print_journal(const json_t *journal)
{
    if (!json_is_object(journal)) {
        (void)printf("; no journal\n");
        return;
    }
    (void)printf("; journal to round %.0f, on the disk to %.0f (%s, fsync %s)%s\n", number(journal, "round"),
                 number(journal, "round_on_disk"), tool_bytes(number(journal, "bytes")), words(journal, "fsync"),
                 json_is_true(json_object_get(journal, "written")) ? "" : ", which CANNOT BE WRITTEN");
}

/* What a restart would go on from. */
static void print_keep(const json_t *keep)
{
    const json_t *checkpoint = json_object_get(keep, "checkpoint");

    if (!json_is_object(checkpoint)) {
        (void)printf("  kept            nothing%s\n",
                     json_is_true(json_object_get(keep, "enabled")) ? " yet" : " (server.checkpoint.enabled is false)");
        return;
    }
    (void)printf("  kept            checkpoint of round %.0f (%.0f s ago%s)", number(checkpoint, "round"),
                 number(checkpoint, "seconds_ago"),
                 json_is_true(json_object_get(keep, "failing")) ? "; the last one FAILED" : "");
    print_journal(json_object_get(keep, "journal"));
    if (number(keep, "restarts") > 0)
        (void)printf("  restarts        %.0f of the server\n", number(keep, "restarts"));
}

/* Of a job whose rounds close by quorum. */
static void print_quorum(const json_t *status)
{
    if (strcmp(words(status, "close"), "quorum") != 0)
        return;
    (void)printf(
        "  rounds close    with %.0f workers and a deadline: they are in after %.1f ms (deviation %.1f ms), the "
        "others have %.1f ms more\n",
        number(status, "quorum"), number(status, "arrival_ms"), number(status, "arrival_spread_ms"),
        number(status, "deadline_ms"));
}

static void print_progress(const json_t *status)
{
    (void)printf("  progress        %s, epoch %s of %s, ETA %s\n",
                 view_share(number(status, "round") / number(status, "rounds")), view_count(number(status, "epoch")),
                 view_count(number(status, "epochs")), view_duration(number(status, "eta_seconds")));
}

/* What the present phase goes by, and how it ends. */
static void print_phase(const json_t *status)
{
    const json_t *vote = json_object_get(status, "vote");
    bool sgd = strcmp(words(status, "phase"), "sgd") == 0;

    (void)printf("  rate            %s %s", sgd ? "lambda" : "gamma", view_rate(number(status, "rate")));
    if (!sgd)
        (void)printf(", sigma %s; votes: margin %s, ties %s, unanimous %s, flips %s",
                     view_rate(number(status, "sigma")), view_share(number(vote, "margin")),
                     view_share(number(vote, "ties")), view_share(number(vote, "unanimous")),
                     view_share(number(vote, "flips")));
    (void)printf("\n");
    if (view_true(json_object_get(status, "switch"), "pending"))
        (void)printf("  switch ahead    %s\n", words(json_object_get(status, "switch"), "words"));
}

static void print_pace(const json_t *pace)
{
    struct view_line parts;

    view_line_begin(&parts, &window);
    view_round_parts(&parts, pace);
    (void)printf("  pace            %s rounds/s, %s/s up, %s/s down\n", view_count(number(pace, "rounds_per_second")),
                 view_amount(number(pace, "bytes_per_second_in")), view_amount(number(pace, "bytes_per_second_out")));
    (void)printf("  a round         %s\n", parts.text);
}

static void print_status(const json_t *status)
{
    double accuracy = number(status, "test_accuracy");

    (void)printf("%s at %s: %s, %s phase, round %.0f of %.0f, for %.1f s\n", words(status, "job"),
                 words(status, "address"), words(status, "stage"), words(status, "phase"), number(status, "round"),
                 number(status, "rounds"), number(status, "seconds"));
    (void)printf("  security        %s\n", words(json_object_get(status, "security"), "words"));
    if (words(status, "waits_for")[0] != '\0')
        (void)printf("  waits for       %s\n", words(status, "waits_for"));
    (void)printf("  workers         %.0f of %.0f live, %.0f spares\n", number(status, "live"),
                 number(status, "workers"), number(status, "spares"));
    print_quorum(status);
    print_progress(status);
    (void)printf("  loss            %s in recent rounds\n", view_rate(number(status, "loss")));
    if (!isnan(number(status, "train_loss")))
        (void)printf("  train loss      %.4g in the last whole epoch\n", number(status, "train_loss"));
    if (!isnan(accuracy))
        (void)printf("  test accuracy   %.2f %%\n", 100.0 * accuracy);
    print_phase(status);
    print_switches(json_object_get(status, "switches"));
    print_pace(json_object_get(status, "pace"));
    (void)printf("  pushed          %s; float32 all the way would be %s\n", tool_bytes(number(status, "bytes_pushed")),
                 tool_bytes(number(status, "bytes_float32")));
    (void)printf("  updated         %s\n", tool_bytes(number(status, "bytes_updated")));
    print_keep(json_object_get(status, "keep"));
    print_slots(json_object_get(status, "slots"));
}

int tool_status(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", 'j', NULL, 0, "Print the server's answer as it is", 0}, TOOL_REMOTE_OPTIONS, {0}};
    static const struct argp argp = {
        options,
        tool_parse_asking,
        "RUN",
        "Shows the state of a running job. RUN is its folder (runs/<job>) or its job file." SP_CLI_EXAMPLE
        "signpost status runs/digits",
        NULL,
        NULL,
        NULL};
    struct tool_asking asking = {0};
    json_t *answer = NULL;
    int rc = tool_ask_run(argc, argv, &argp, "status", &asking, &answer);

    if (rc != SP_EXIT_DONE)
        return rc;
    if (asking.json) {
        if (json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0)
            rc = sp_cli_fail(TOOL, "cannot print the answer: out of memory, or nobody reads it");
        (void)printf("\n");
    } else {
        window.utf8 = terminal_locale();
        print_status(answer);
    }
    json_decref(answer);
    return rc;
}
