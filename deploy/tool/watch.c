/* signpost watch: a live view of a running job, or plain lines where there is no terminal.
 *
 * The server is asked every second, in a thread (asker.h); the picture is made anew twice a second, and whenever the
 * window changes. When there is no answer, the files say whether the job is over; if not, its server is waited for.
 */
#include "deploy/tool/watch.h"

#include "common/cli.h"

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 50
#define ASK_EVERY_MS 1000
#define DRAW_EVERY_MS 500
#define EVERY_S_DEFAULT 5
#define EVERY_S_MAX 86400

enum { KEY_PLAIN = 'p', KEY_EVERY = 'e' };

static const int watched_signals[] = {SIGINT, SIGTERM, SIGWINCH, SIGTSTP, SIGCONT};
#define SIGNALS (sizeof watched_signals / sizeof watched_signals[0])

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

static void end(struct watch *watch)
{
    uv_stop(&watch->loop);
}

/* --- drawing ---------------------------------------------------------------------------------------------------------
 */

static void put_page(struct terminal *terminal, const struct view_page *page)
{
    (void)terminal_say(terminal, "\033[H");
    for (unsigned i = 0; i < page->count; i++) {
        (void)terminal_put(terminal, page->line[i].text, page->line[i].bytes);
        (void)terminal_say(terminal, i + 1 < page->count ? "\033[K\r\n" : "\033[K");
    }
    (void)terminal_say(terminal, "\033[J");
}

/* A picture that the terminal has no time for is left out. */
static void draw(struct watch *watch)
{
    struct terminal *terminal = &watch->terminal;
    const struct view view = {watch->watched.status, &watch->watched.curve, watch->lost_ms > 0 ? watch->trouble : NULL};
    struct view_window window;

    if (!terminal_is_ours(terminal) || !terminal_flush(terminal))
        return;
    if (!terminal->entered || watch->resized)
        terminal_measure(terminal);
    terminal_enter(terminal);
    if (watch->resized)
        (void)terminal_say(terminal, "\033[0m\033[2J");
    watch->resized = false;
    watch->drawn_ms = now_ms();
    window = terminal_window(terminal, terminal->lines);
    view_render(&view, &window, &watch->page);
    put_page(terminal, &watch->page);
    (void)terminal_flush(terminal);
}

/* --- what comes from the server --------------------------------------------------------------------------------------
 */

static void on_no_answer(struct watch *watch)
{
    if (watch_job_is_over(watch, now_ms())) {
        watch->over = true;
        end(watch);
    } else if (watch->watched.status == NULL) {
        watch->exit_code = sp_cli_fail(TOOL, watch->asker.error.text);
        end(watch);
    } else {
        watch_say_trouble(watch, now_ms());
    }
}

static void on_told(void *arg)
{
    struct watch *watch = arg;
    bool answered;
    json_t *before = tool_watched_take(&watch->watched, &watch->asker, &answered);

    if (!answered) {
        on_no_answer(watch);
        return;
    }
    if (watch->plain) {
        if (watch->lost_ms > 0)
            watch_say(watch, "the server answers again");
        view_events(before, watch->watched.status, watch_say, watch);
        if (before == NULL || watch->lost_ms > 0 || now_ms() - watch->drawn_ms + TICK_MS >= 1000u * watch->every_s) {
            watch->drawn_ms = now_ms();
            watch_say_state(watch);
        }
    } else if (before == NULL) {
        draw(watch);
    }
    watch->lost_ms = 0;
    json_decref(before);
}

static void on_timer(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    uint64_t now = now_ms();

    if (now - watch->asker.asked_ms >= ASK_EVERY_MS)
        tool_asker_look(&watch->asker, &watch->loop, view_curve_from(&watch->watched.curve));
    if (watch->plain || watch->watched.status == NULL)
        return;
    if (watch->resized || now - watch->drawn_ms >= DRAW_EVERY_MS)
        draw(watch);
    else
        (void)terminal_flush(&watch->terminal);
}

/* The shell's Ctrl-Z: the screen is given back meanwhile. */
static void stop_for_a_while(struct watch *watch)
{
    terminal_leave(&watch->terminal);
    (void)raise(SIGSTOP);
    watch->resized = true;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct watch *watch = handle->data;

    if (number == SIGTSTP) {
        stop_for_a_while(watch);
    } else if (number == SIGWINCH || number == SIGCONT) {
        watch->resized = true;
    } else {
        watch->ended_by = number;
        end(watch);
    }
}

/* --- from start to end -----------------------------------------------------------------------------------------------
 */

static int finish(struct watch *watch)
{
    terminal_close(&watch->terminal);
    if (watch->ended_by != 0) {
        (void)fprintf(stderr, TOOL ": no longer watching; the job goes on\n");
        watch->exit_code = 128 + watch->ended_by;
    } else if (watch->over) {
        watch->exit_code = watch_say_result(watch);
    }
    (void)fflush(stdout);
    if (watch->asker.busy) /* its thread may wait for some seconds more, and nobody needs what it finds */
        _exit(watch->exit_code);
    return watch->exit_code;
}

static int supervise(struct watch *watch)
{
    (void)uv_loop_init(&watch->loop);
    (void)uv_timer_init(&watch->loop, &watch->timer);
    watch->timer.data = watch;
    for (size_t i = 0; i < SIGNALS; i++) {
        (void)uv_signal_init(&watch->loop, &watch->signals[i]);
        watch->signals[i].data = watch;
        if (!watch->plain || i < 2)
            (void)uv_signal_start(&watch->signals[i], on_signal, watched_signals[i]);
    }
    watch->asker.asking = &watch->asking;
    watch->asker.told = on_told;
    watch->asker.arg = watch;
    (void)uv_timer_start(&watch->timer, on_timer, 0, TICK_MS);
    (void)uv_run(&watch->loop, UV_RUN_DEFAULT);
    return finish(watch);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct watch *watch = state->input;
    char *rest = NULL;
    long every;
    error_t rc;

    switch (key) {
    case KEY_PLAIN:
        watch->plain = true;
        return 0;
    case KEY_EVERY:
        every = strtol(value, &rest, 10);
        if (rest == value || *rest != '\0' || every < 1 || every > EVERY_S_MAX)
            argp_error(state, "--every takes whole seconds from 1 to %d, not '%s'", EVERY_S_MAX, value);
        watch->every_s = (unsigned)every;
        return 0;
    case ARGP_KEY_INIT:
        watch->every_s = EVERY_S_DEFAULT;
        return 0;
    default:
        state->input = &watch->asking;
        rc = tool_parse_asking(key, value, state);
        state->input = watch;
        return rc;
    }
}

int tool_watch(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"plain", KEY_PLAIN, NULL, 0, "Plain lines, as they are printed where there is no terminal", 0},
        {"every", KEY_EVERY, "SECONDS", 0, "How often a plain line is printed; default 5. Events are told at once", 0},
        TOOL_REMOTE_OPTIONS,
        {0}};
    static const struct argp argp = {
        options,
        parse,
        "RUN",
        "Shows a running job as it goes on, until it ends or Ctrl-C is pressed, which does "
        "not end the job. RUN is its folder (runs/<job>) or its job file." SP_CLI_EXAMPLE "signpost watch runs/digits",
        NULL,
        NULL,
        NULL};
    static struct watch watch;
    int rc = argp_parse(&argp, argc, argv, 0, NULL, &watch);

    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    watch.terminal.fd = -1;
    if (watch.asking.remote.server == NULL) {
        rc = tool_folder(watch.asking.run, watch.folder, sizeof watch.folder);
        if (rc != SP_EXIT_DONE)
            return rc;
        watch.asking.run = watch.folder;
    }
    watch.utf8 = terminal_locale();
    if (!watch.plain)
        watch.plain = !terminal_open(&watch.terminal, STDOUT_FILENO, true);
    return supervise(&watch);
}
