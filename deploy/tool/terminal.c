#include "deploy/tool/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LEAVE_MS 2000
#define COLUMNS_IF_UNKNOWN 80
#define LINES_IF_UNKNOWN 24

#define CURSOR_AWAY "\033[?25l"
#define CURSOR_BACK "\033[?25h"
#define SCREEN_OTHER "\033[?1049h\033[2J"
#define SCREEN_BEFORE "\033[H\033[2J\033[?1049l" /* where there is but one screen, it is left empty */
#define STYLE_NONE "\033[0m"

bool terminal_locale(void)
{
    return setlocale(LC_CTYPE, "") != NULL && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool terminal_is_ours(const struct terminal *terminal)
{
    pid_t group = tcgetpgrp(terminal->fd);

    return group <= 0 || group == getpgrp();
}

void terminal_measure(struct terminal *terminal)
{
    struct winsize size = {0};

    (void)ioctl(terminal->fd, TIOCGWINSZ, &size);
    terminal->columns = size.ws_col > 0 ? size.ws_col : COLUMNS_IF_UNKNOWN;
    terminal->lines = size.ws_row > 0 ? size.ws_row : LINES_IF_UNKNOWN;
}

static bool is_wanted(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0';
}

bool terminal_open(struct terminal *terminal, int fd, bool whole)
{
    const char *kind = getenv("TERM");
    char path[256];

    terminal->fd = -1;
    if (!isatty(fd) || kind == NULL || kind[0] == '\0' || strcmp(kind, "dumb") == 0)
        return false;
    if (ttyname_r(fd, path, sizeof path) != 0)
        return false;
    terminal->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (terminal->fd < 0)
        return false;
    if (!terminal_is_ours(terminal)) {
        (void)close(terminal->fd);
        terminal->fd = -1;
        return false;
    }
    terminal->whole = whole;
    terminal->colour = !is_wanted("NO_COLOR");
    terminal->utf8 = terminal_locale();
    terminal->used = terminal->sent = 0;
    terminal_measure(terminal);
    return true;
}

struct view_window terminal_window(const struct terminal *terminal, unsigned lines)
{
    struct view_window window = {
        .columns = terminal->columns > VIEW_COLUMNS_MIN ? terminal->columns - 1 : VIEW_COLUMNS_MIN,
        .lines = lines,
        .colour = terminal->colour,
        .utf8 = terminal->utf8,
    };

    return window;
}

bool terminal_put(struct terminal *terminal, const char *text, size_t bytes)
{
    if (bytes > sizeof terminal->out - terminal->used)
        return false;
    memcpy(terminal->out + terminal->used, text, bytes);
    terminal->used += bytes;
    return true;
}

bool terminal_say(struct terminal *terminal, const char *text)
{
    return terminal_put(terminal, text, strlen(text));
}

bool terminal_flush(struct terminal *terminal)
{
    while (terminal->sent < terminal->used) {
        ssize_t n = write(terminal->fd, terminal->out + terminal->sent, terminal->used - terminal->sent);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0) /* it is gone: nobody will see the rest */
            break;
        terminal->sent += (size_t)n;
    }
    terminal->used = terminal->sent = 0;
    return true;
}

bool terminal_flush_patiently(struct terminal *terminal)
{
    struct pollfd wait = {.fd = terminal->fd, .events = POLLOUT};
    bool all = false;

    while (!(all = terminal_flush(terminal)) && poll(&wait, 1, LEAVE_MS) > 0)
        ;
    terminal->used = terminal->sent = 0;
    return all;
}

/* Keys that are pressed meanwhile would be written into the picture. */
static void hide_keys(struct terminal *terminal)
{
    struct termios modes;

    terminal->has_modes = tcgetattr(terminal->fd, &terminal->modes) == 0;
    if (!terminal->has_modes)
        return;
    modes = terminal->modes;
    modes.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    (void)tcsetattr(terminal->fd, TCSANOW, &modes);
}

void terminal_enter(struct terminal *terminal)
{
    if (terminal->fd < 0 || terminal->entered)
        return;
    terminal->entered = true;
    hide_keys(terminal);
    if (terminal->whole)
        (void)terminal_say(terminal, SCREEN_OTHER);
    (void)terminal_say(terminal, CURSOR_AWAY);
}

void terminal_leave(struct terminal *terminal)
{
    if (terminal->fd < 0 || !terminal->entered)
        return;
    terminal->entered = false;
    (void)terminal_flush_patiently(terminal);
    (void)terminal_say(terminal, STYLE_NONE CURSOR_BACK);
    if (terminal->whole)
        (void)terminal_say(terminal, SCREEN_BEFORE);
    (void)terminal_flush_patiently(terminal);
    if (terminal->has_modes && terminal_is_ours(terminal)) /* else it would stop us, and the shell has set its own */
        (void)tcsetattr(terminal->fd, TCSANOW, &terminal->modes);
}

void terminal_close(struct terminal *terminal)
{
    terminal_leave(terminal);
    if (terminal->fd >= 0)
        (void)close(terminal->fd);
    terminal->fd = -1;
}
