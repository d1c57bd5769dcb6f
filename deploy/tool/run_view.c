#include "deploy/tool/run_view.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define ASK_EVERY_MS 1000
#define DRAW_EVERY_MS 500
#define LINES_EVERY_MS 100                /* lines wait so long for others, for the sake of slow terminals */
#define LOG_LINES_KEPT 7                  /* of the window are left to what is said, if it has as many more */
#define TROUBLE_MS 2500                   /* a server that is silent so long is said to be */
#define LINES_AT_ONCE_BYTES (16u * 1024u) /* a slow terminal has the block in sight between them */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

/* --- lines -----------------------------------------------------------------------------------------------------------
 */

static void keep_recent(struct run_view *view, const char *line, size_t bytes)
{
    if (view->recent_bytes + bytes > sizeof view->recent) {
        size_t half = sizeof view->recent / 2;
        const char *from = view->recent_bytes > half ? view->recent + view->recent_bytes - half : view->recent;
        const char *next = memchr(from, '\n', (size_t)(view->recent + view->recent_bytes - from));

        from = next != NULL ? next + 1 : view->recent + view->recent_bytes;
        view->recent_bytes -= (size_t)(from - view->recent);
        memmove(view->recent, from, view->recent_bytes);
    }
    memcpy(view->recent + view->recent_bytes, line, bytes);
    view->recent_bytes += bytes;
}

static bool add_line(struct run_view *view, const char *words)
{
    char line[RUN_VIEW_LINE_BYTES + 2];
    size_t bytes;

    (void)view_clean(words, view->terminal.utf8, line, RUN_VIEW_LINE_BYTES);
    bytes = strlen(line);
    line[bytes++] = '\r';
    line[bytes++] = '\n';
    if (bytes > sizeof view->text - view->text_bytes)
        return false;
    memcpy(view->text + view->text_bytes, line, bytes);
    view->text_bytes += bytes;
    keep_recent(view, line, bytes);
    return true;
}

/* The terminal may stand still for as long as it likes: what had no room meanwhile is counted, and said. */
static void take_line(struct run_view *view, const char *words)
{
    char lost[120];

    if (view->lost > 0) {
        (void)snprintf(lost, sizeof lost, TOOL ": %lu lines are missing here: the terminal did not take them in time",
                       view->lost);
        if (view->text_bytes > sizeof view->text / 2 || !add_line(view, lost)) {
            view->lost++;
            return;
        }
        view->lost = 0;
    }
    if (!add_line(view, words))
        view->lost++;
}

void run_view_say(struct run_view *view, const char *format, ...)
{
    char words[RUN_VIEW_LINE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    if (view->on)
        take_line(view, words);
    else
        (void)fprintf(stderr, "%s\n", words);
}

static void end_partial(struct run_view *view)
{
    view->partial[view->partial_bytes] = '\0';
    if (view->partial_bytes > 0)
        take_line(view, view->partial);
    view->partial_bytes = 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct run_view *view = handle->data;

    (void)suggested;
    *buf = uv_buf_init(view->read, sizeof view->read);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct run_view *view = stream->data;

    for (ssize_t i = 0; i < n; i++) {
        if (buf->base[i] == '\n' || view->partial_bytes == sizeof view->partial - 1)
            end_partial(view);
        if (buf->base[i] != '\n')
            view->partial[view->partial_bytes++] = buf->base[i];
    }
    if (n >= 0)
        return;
    end_partial(view);
    view->drained = true;
    (void)uv_read_stop(stream);
}

/* --- the server ------------------------------------------------------------------------------------------------------
 */

int run_view_server_end(struct run_view *view)
{
    uv_file ends[2];

    if (!view->on || uv_pipe(ends, UV_NONBLOCK_PIPE, 0) != 0)
        return STDERR_FILENO;
    (void)uv_pipe_init(view->loop, &view->pipe, 0);
    view->pipe.data = view;
    view->piped = true;
    view->server_end = ends[1];
    if (uv_pipe_open(&view->pipe, ends[0]) != 0 || uv_read_start((uv_stream_t *)&view->pipe, on_alloc, on_read) != 0)
        view->drained = true;
    return ends[1];
}

void run_view_started(struct run_view *view)
{
    if (view->server_end >= 0)
        (void)close(view->server_end);
    view->server_end = -1;
}

bool run_view_drained(const struct run_view *view)
{
    return !view->piped || view->drained;
}

static void on_told(void *arg)
{
    struct run_view *view = arg;
    bool answered;

    json_decref(tool_watched_take(&view->watched, &view->asker, &answered));
    view->lost_ms = answered ? 0 : view->lost_ms;
}

void run_view_ask(struct run_view *view)
{
    view->asks = view->on;
}

/* The question that has no answer yet is the sign of a server that does not get on. */
static void look(struct run_view *view)
{
    uint64_t now = now_ms();

    if (!view->asks)
        return;
    if (!view->asker.busy && now - view->asker.asked_ms >= ASK_EVERY_MS)
        tool_asker_look(&view->asker, view->loop, view_curve_from(&view->watched.curve));
    if (view->asker.busy && view->lost_ms == 0 && now - view->asker.asked_ms >= TROUBLE_MS)
        view->lost_ms = view->asker.asked_ms;
    if (view->lost_ms > 0)
        (void)snprintf(view->trouble, sizeof view->trouble, "has not answered for %s; is it stopped, or short of time?",
                       view_duration((double)(now - view->lost_ms) / 1e3));
}

/* --- drawing ---------------------------------------------------------------------------------------------------------
 */

static void render(struct run_view *view)
{
    const struct view what = {view->watched.status, &view->watched.curve, view->lost_ms > 0 ? view->trouble : NULL};
    unsigned lines = view->terminal.lines, most = lines / 2;
    struct view_window window;

    if (lines > 2 * LOG_LINES_KEPT)
        most = lines - LOG_LINES_KEPT;
    window = terminal_window(&view->terminal, most > 0 ? most : 1);
    view->page.count = 0;
    if (view->watched.status != NULL && most > 0)
        view_render(&what, &window, &view->page);
}

static void erase(struct run_view *view)
{
    char up[32];

    if (view->height > 1) {
        (void)snprintf(up, sizeof up, "\033[%uA", view->height - 1);
        (void)terminal_say(&view->terminal, up);
    }
    if (view->height > 0)
        (void)terminal_say(&view->terminal, "\r");
}

/* As many of the lines that wait as go well with one picture. */
static void put_lines(struct run_view *view)
{
    size_t bytes = view->text_bytes;

    if (bytes == 0)
        return;
    if (bytes > LINES_AT_ONCE_BYTES) {
        bytes = LINES_AT_ONCE_BYTES;
        while (view->text[bytes - 1] != '\n')
            bytes--;
    }
    (void)terminal_say(&view->terminal, view->height > 0 ? "\033[J" : "");
    if (!terminal_put(&view->terminal, view->text, bytes))
        return;
    view->text_bytes -= bytes;
    memmove(view->text, view->text + bytes, view->text_bytes);
}

static void put_block(struct run_view *view)
{
    const struct view_page *page = &view->page;

    for (unsigned i = 0; i < page->count; i++) {
        (void)terminal_put(&view->terminal, page->line[i].text, page->line[i].bytes);
        (void)terminal_say(&view->terminal, i + 1 < page->count ? "\033[K\r\n" : "\033[K");
    }
    if (page->count > 0 || view->height > 0)
        (void)terminal_say(&view->terminal, "\033[J");
    view->height = page->count;
}

/* Where the old block is after a change of the window depends on the terminal: all is written anew. */
static void begin_anew(struct run_view *view)
{
    terminal_measure(&view->terminal);
    (void)terminal_say(&view->terminal, "\033[0m\033[H\033[2J");
    (void)terminal_put(&view->terminal, view->recent, view->recent_bytes);
    view->text_bytes = 0; /* it is part of the recent lines, or older than what they hold */
    view->height = 0;
    view->resized = false;
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct run_view *view = poll->data;

    (void)events;
    if (terminal_flush(&view->terminal) || status != 0)
        (void)uv_poll_stop(poll);
}

static bool flush(struct run_view *view)
{
    if (terminal_flush(&view->terminal))
        return true;
    (void)uv_poll_start(&view->writable, UV_WRITABLE, on_writable);
    return false;
}

static void draw(struct run_view *view)
{
    if (!flush(view))
        return;
    if (view->resized && view->text_bytes < sizeof view->recent / 2)
        begin_anew(view);
    else
        erase(view);
    terminal_enter(&view->terminal);
    view->drawn_ms = now_ms();
    render(view);
    put_lines(view);
    put_block(view);
    (void)flush(view);
}

/* In the background there is no block, but what is said is said. */
static void draw_lines(struct run_view *view)
{
    view->height = 0;
    view->terminal.entered = false;
    if (flush(view))
        put_lines(view);
    (void)flush(view);
}

void run_view_tick(struct run_view *view)
{
    uint64_t age = now_ms() - view->drawn_ms;

    if (!view->on)
        return;
    look(view);
    if (!terminal_is_ours(&view->terminal))
        draw_lines(view);
    else if (view->resized || age >= DRAW_EVERY_MS || view->text_bytes >= LINES_AT_ONCE_BYTES / 2 ||
             (view->text_bytes > 0 && age >= LINES_EVERY_MS))
        draw(view);
}

void run_view_resize(struct run_view *view)
{
    view->resized = view->on;
}

void run_view_stop(struct run_view *view)
{
    if (view->on)
        terminal_leave(&view->terminal);
    (void)raise(SIGSTOP);
    run_view_resize(view);
}

/* --- from start to end -----------------------------------------------------------------------------------------------
 */

void run_view_begin(struct run_view *view, uv_loop_t *loop, const char *folder, bool plain)
{
    view->loop = loop;
    view->server_end = -1;
    view->terminal.fd = -1;
    view->asking.run = folder;
    view->asker.asking = &view->asking;
    view->asker.told = on_told;
    view->asker.arg = view;
    view->on = !plain && terminal_open(&view->terminal, STDERR_FILENO, false);
    if (!view->on)
        return;
    view->writable.data = view;
    view->polled = uv_poll_init(loop, &view->writable, view->terminal.fd) == 0;
    if (!view->polled) {
        terminal_close(&view->terminal);
        view->on = false;
    }
}

/* What was said is written to its end, unless the terminal stands still. */
static void take_away(struct run_view *view)
{
    bool goes_on = terminal_flush_patiently(&view->terminal);

    erase(view);
    if (view->height > 0)
        (void)terminal_say(&view->terminal, "\033[J");
    view->height = 0;
    do {
        put_lines(view);
        goes_on = goes_on && terminal_flush_patiently(&view->terminal);
    } while (goes_on && view->text_bytes > 0);
    for (size_t i = 0; i < view->text_bytes; i++)
        view->lost += view->text[i] == '\n';
    view->lost += !goes_on; /* at least one was on its way */
}

void run_view_end(struct run_view *view)
{
    if (view->piped && !uv_is_closing((uv_handle_t *)&view->pipe))
        uv_close((uv_handle_t *)&view->pipe, NULL);
    if (!view->on)
        return;
    uv_close((uv_handle_t *)&view->writable, NULL);
    view->asks = false;
    take_away(view);
    terminal_close(&view->terminal);
    view->on = false;
    if (view->lost > 0)
        (void)fprintf(stderr, TOOL ": %lu lines are missing here: the terminal did not take them in time\n",
                      view->lost);
}
