#include "common/cli.h"
#include "deploy/tool/watch.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SUMMARY_PATH_BYTES 1300
#define GONE_MS 5000 /* a server elsewhere that had no more to do and is gone so long has ended */

static void time_of_day(char text[16])
{
    time_t now = time(NULL);
    struct tm local;

    text[0] = '\0';
    if (localtime_r(&now, &local) != NULL)
        (void)strftime(text, 16, "%H:%M:%S", &local);
}

void watch_say(void *watch, const char *words)
{
    const struct watch *w = watch;
    char at[16], clean[VIEW_LINE_BYTES];

    time_of_day(at);
    (void)printf("%s %s\n", at, view_clean(words, w->utf8, clean, sizeof clean));
    (void)fflush(stdout);
}

void watch_say_state(struct watch *watch)
{
    const struct view_window window = {.columns = VIEW_COLUMNS_MAX, .lines = 1, .utf8 = watch->utf8};
    struct view_line line;

    view_line_begin(&line, &window);
    view_sum_up(watch->watched.status, &line);
    watch_say(watch, line.text);
}

void watch_say_trouble(struct watch *watch, uint64_t now_ms)
{
    bool first = watch->lost_ms == 0;

    if (first) {
        watch->lost_ms = now_ms;
        time_of_day(watch->lost_at);
    }
    (void)snprintf(watch->trouble, sizeof watch->trouble, "no answer since %s (%s): %s; waiting for it to come back",
                   watch->lost_at, view_duration((double)(now_ms - watch->lost_ms) / 1e3), watch->asker.error.text);
    if (watch->plain && (first || now_ms - watch->drawn_ms >= 1000u * watch->every_s)) {
        watch->drawn_ms = now_ms;
        watch_say(watch, watch->trouble);
    }
}

static void summary_path(const struct watch *watch, char path[SUMMARY_PATH_BYTES])
{
    (void)snprintf(path, SUMMARY_PATH_BYTES, "%s/summary.json", watch->folder);
}

bool watch_job_is_over(const struct watch *watch, uint64_t now_ms)
{
    const json_t *status = watch->watched.status;
    const char *stage = view_text(status, "stage");
    char path[SUMMARY_PATH_BYTES];

    if (watch->asking.remote.server == NULL) {
        summary_path(watch, path);
        return access(path, F_OK) == 0; /* a server that begins moves that of the run before away */
    }
    if (strcmp(stage, "closing") == 0 || strcmp(stage, "over") == 0)
        return true;
    return watch->lost_ms > 0 && now_ms - watch->lost_ms >= GONE_MS &&
           view_number(status, "eta_seconds") * 1e3 <= (double)(now_ms - watch->lost_ms) / 2.0;
}

/* What is left of a job on another machine. */
static void say_last_state(const struct watch *watch)
{
    const struct view_window window = {.columns = VIEW_COLUMNS_MAX, .lines = 1, .utf8 = watch->utf8};
    struct view_line line;

    view_line_begin(&line, &window);
    view_sum_up(watch->watched.status, &line);
    (void)printf(
        "%s\nThe server is gone, with nothing left to do: the job has come to its end. This is the last that it "
        "said; the result is in the run's folder on its machine.\n",
        line.text);
}

int watch_say_result(const struct watch *watch)
{
    struct sp_error error = {0};

    if (watch->asking.remote.server != NULL) {
        say_last_state(watch);
        return SP_EXIT_DONE;
    }
    if (watch->watched.status == NULL)
        (void)printf("No server runs in %s. The job there has come to its end:\n", watch->folder);
    return tool_print_result(stdout, watch->folder, &error) == SP_OK ? SP_EXIT_DONE : sp_cli_fail(TOOL, error.text);
}
