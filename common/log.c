#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

static enum sp_log_level log_level = SP_LOG_INFO;
static char log_name[64];

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

void sp_log_set_name(const char *name)
{
    (void)snprintf(log_name, sizeof log_name, "%s", name);
}

static size_t append_stamp(char *line, size_t bytes)
{
    struct timeval now;
    struct tm local;
    size_t used;

    (void)gettimeofday(&now, NULL);
    if (localtime_r(&now.tv_sec, &local) == NULL)
        return 0;
    used = strftime(line, bytes, "%Y-%m-%d %H:%M:%S", &local);
    used += (size_t)snprintf(line + used, bytes - used, ".%03d ", (int)(now.tv_usec / 1000));
    return used;
}

static void write_all(const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(STDERR_FILENO, text, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        bytes -= (size_t)n;
    }
}

void sp_log(enum sp_log_level level, const char *tag, const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    size_t used;
    va_list args;
    int n;

    if (level > log_level)
        return;
    used = append_stamp(line, sizeof line);
    n = snprintf(line + used, sizeof line - used, "%-5s %-7s %s%s", level_names[level], tag, log_name,
                 log_name[0] != '\0' ? ": " : "");
    used += (size_t)n;
    va_start(args, format);
    n = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    if (n > 0)
        used += (size_t)n < sizeof line - used - 1 ? (size_t)n : sizeof line - used - 2;
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    }
    line[used++] = '\n';
    /* One write, as a rule, keeps lines of several processes on one terminal apart. Nothing can be done when it fails.
     */
    write_all(line, used);
}
