#include "common/log.h"

#include "common/log_json.h"
#include "common/log_repeat.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BYTES 40
#define READER_MS 1000

/* The loop of the server and its threads that write to the disk log alike. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static enum sp_log_level log_level = SP_LOG_INFO;
static enum sp_log_format log_format = SP_LOG_TEXT;
static char log_name[64];
static uint64_t (*log_clock)(void);
static bool flushes_at_exit;
static unsigned lost; /* lines in a row that nobody read */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void sp_log_set_level(enum sp_log_level level)
{
    log_level = level;
}

bool sp_log_level_parse(const char *name, enum sp_log_level *level)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum sp_log_level)i;
            return true;
        }
    }
    return false;
}

void sp_log_set_format(enum sp_log_format format)
{
    log_format = format;
}

enum sp_log_format sp_log_format(void)
{
    return log_format;
}

bool sp_log_format_parse(const char *name, enum sp_log_format *format)
{
    if (strcmp(name, "text") != 0 && strcmp(name, "json") != 0)
        return false;
    *format = name[0] == 'j' ? SP_LOG_JSON : SP_LOG_TEXT;
    return true;
}

void sp_log_set_name(const char *name)
{
    (void)pthread_mutex_lock(&mutex);
    (void)snprintf(log_name, sizeof log_name, "%s", name);
    (void)pthread_mutex_unlock(&mutex);
}

void sp_log_set_clock(uint64_t (*now_ms)(void))
{
    log_clock = now_ms;
}

static uint64_t clock_ms(void)
{
    struct timespec now;

    if (log_clock != NULL)
        return log_clock();
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* --- a line ----------------------------------------------------------------------------------------------------------
 */

/* In text "2026-01-02 03:04:05.678 ", in JSON "2026-01-02T03:04:05.678+00:00" (RFC 3339); local time. */
static size_t make_stamp(char stamp[STAMP_BYTES])
{
    bool json = log_format == SP_LOG_JSON;
    struct timeval now;
    struct tm local;
    size_t used;
    int offset; /* minutes east of UTC */

    (void)gettimeofday(&now, NULL);
    stamp[0] = '\0';
    if (localtime_r(&now.tv_sec, &local) == NULL)
        return 0;
    used = strftime(stamp, STAMP_BYTES, json ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &local);
    used += (size_t)snprintf(stamp + used, STAMP_BYTES - used, ".%03d", (int)(now.tv_usec / 1000));
    if (!json)
        return used + (size_t)snprintf(stamp + used, STAMP_BYTES - used, " ");
    offset = (int)(local.tm_gmtoff / 60);
    return used + (size_t)snprintf(stamp + used, STAMP_BYTES - used, "%c%02d:%02d", offset < 0 ? '-' : '+',
                                   abs(offset) / 60, abs(offset) % 60);
}

/* Control characters, U+0080 to U+009F among them, and bytes that are no UTF-8, become spaces: for a terminal they may
 * begin a command. */
static void make_harmless(char *line)
{
    for (unsigned char *at = (unsigned char *)line; *at != '\0';) {
        size_t bytes = sp_utf8_bytes((char *)at);
        bool control = *at < ' ' || *at == 0x7f || (at[0] == 0xc2 && at[1] <= 0x9f);

        if (bytes == 0 || control)
            memset(at, ' ', bytes > 0 ? bytes : 1);
        at += bytes > 0 ? bytes : 1;
    }
}

static size_t make_text(char *line, enum sp_log_level level, const char *tag, const char *message)
{
    size_t used = make_stamp(line);
    int n = snprintf(line + used, SP_LOG_LINE_BYTES_MAX - used - 1, "%-5s %-7s %s%s%s", level_names[level], tag,
                     log_name, log_name[0] != '\0' ? ": " : "", message);

    if (n > 0)
        used += (size_t)n < SP_LOG_LINE_BYTES_MAX - used - 1 ? (size_t)n : SP_LOG_LINE_BYTES_MAX - used - 2;
    line[used] = '\0';
    make_harmless(line);
    line[used++] = '\n';
    return used;
}

static size_t make_json(char *text, enum sp_log_level level, const char *tag, const char *message)
{
    struct sp_json_line line;
    char stamp[STAMP_BYTES];

    (void)make_stamp(stamp);
    sp_json_line_begin(&line, text, SP_LOG_JSON_LINE_BYTES_MAX);
    sp_json_line_put(&line, "time", stamp);
    sp_json_line_put(&line, "level", level_names[level]);
    sp_json_line_put(&line, "tag", tag);
    if (log_name[0] != '\0')
        sp_json_line_put(&line, "name", log_name);
    sp_json_line_put(&line, "message", message);
    return sp_json_line_end(&line);
}

/* Whether a line can be written now. A pipe, or a terminal, whose reader stands still must not hold up the job: it is
 * waited for once, and then not again until it reads. */
static bool is_taken(void)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    int rc;

    while ((rc = poll(&out, 1, lost > 0 ? 0 : READER_MS)) < 0 && errno == EINTR)
        ;
    return rc != 0; /* what fails, fails in write() */
}

static void write_all(const char *text, size_t bytes)
{
    while (bytes > 0 && is_taken()) {
        ssize_t n = write(STDERR_FILENO, text, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        bytes -= (size_t)n;
    }
}

static size_t make_line(char *line, enum sp_log_level level, const char *tag, const char *message)
{
    return log_format == SP_LOG_JSON ? make_json(line, level, tag, message) : make_text(line, level, tag, message);
}

/* Says in their place how many lines are missing. */
static void say_lost(void)
{
    char line[SP_LOG_JSON_LINE_BYTES_MAX], message[96];

    (void)snprintf(message, sizeof message, "%u lines are missing here: nobody read them", lost);
    lost = 0;
    write_all(line, make_line(line, SP_LOG_WARN, "log", message));
}

static void write_line(enum sp_log_level level, const char *tag, const char *message)
{
    char line[SP_LOG_JSON_LINE_BYTES_MAX];
    size_t used = make_line(line, level, tag, message);

    if (!is_taken()) {
        lost++;
        return;
    }
    if (lost > 0)
        say_lost();
    /* One write, as a rule, keeps lines of several processes on one terminal apart. Nothing can be done when it fails.
     */
    write_all(line, used);
}

/* --- messages that come again ----------------------------------------------------------------------------------------
 */

static void say_repeat(const struct sp_repeat *over, uint64_t now_ms)
{
    char message[SP_REPEAT_TEXT_BYTES + 80];
    bool cut = strlen(over->text) + 1 == sizeof over->text;

    (void)snprintf(message, sizeof message, "%s%s (this was said %" PRIu64 " more time%s in %" PRIu64 " s)", over->text,
                   cut ? "..." : "", over->count, over->count == 1 ? "" : "s", (now_ms - over->since_ms + 999) / 1000);
    write_line(over->level, over->tag, message);
}

static void say_repeats(uint64_t now_ms, bool all)
{
    struct sp_repeat over;

    while (sp_repeat_next(now_ms, all, &over))
        say_repeat(&over, now_ms);
}

/* Whether the message is to be written; what gives up its place is said before it. */
static bool is_due(enum sp_log_level level, const char *tag, const char *message)
{
    uint64_t now_ms = clock_ms();
    struct sp_repeat over;

    say_repeats(now_ms, false);
    if (log_level == SP_LOG_DEBUG)
        return true;
    if (!sp_repeat_take(level, tag, message, now_ms, &over)) {
        if (!flushes_at_exit)
            flushes_at_exit = atexit(sp_log_flush) == 0;
        return false;
    }
    if (over.count > 0)
        say_repeat(&over, now_ms);
    return true;
}

void sp_log_flush(void)
{
    (void)pthread_mutex_lock(&mutex);
    say_repeats(clock_ms(), true);
    (void)pthread_mutex_unlock(&mutex);
}

void sp_log(enum sp_log_level level, const char *tag, const char *format, ...)
{
    char message[SP_LOG_LINE_BYTES_MAX];
    va_list args;
    int n;

    if (level > log_level)
        return;
    va_start(args, format);
    n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n < 0)
        message[0] = '\0';
    (void)pthread_mutex_lock(&mutex);
    if (is_due(level, tag, message))
        write_line(level, tag, message);
    (void)pthread_mutex_unlock(&mutex);
}
