#include "deploy/tool/view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

double view_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

const char *view_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

bool view_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

__attribute__((format(printf, 2, 3))) static const char *say(double value, const char *format, ...)
{
    static char texts[8][48];
    static unsigned next;
    char *text = texts[next++ % 8];
    va_list args;

    if (!isfinite(value))
        return "-";
    va_start(args, format);
    (void)vsnprintf(text, sizeof texts[0], format, args);
    va_end(args);
    return text;
}

const char *view_rate(double value)
{
    return say(value, "%.3g", value);
}

const char *view_share(double value)
{
    double percent = 100.0 * value;

    return say(value, percent != 0.0 && fabs(percent) < 9.95 ? "%.1f %%" : "%.0f %%", percent);
}

const char *view_ms(double ms)
{
    if (ms >= 9999.5)
        return say(ms, "%.0f s", ms / 1e3);
    if (ms >= 999.5)
        return say(ms, "%.1f s", ms / 1e3);
    return say(ms, ms >= 99.95 ? "%.0f ms" : ms >= 9.995 ? "%.1f ms" : "%.2f ms", ms);
}

const char *view_duration(double seconds)
{
    double s = isfinite(seconds) ? floor(fmin(fmax(seconds, 0.0), 1e12) + 0.5) : 0.0;

    if (s < 60.0)
        return say(seconds, "%.0f s", s);
    if (s < 3600.0)
        return say(seconds, "%.0f min %.0f s", floor(s / 60.0), fmod(s, 60.0));
    if (s < 86400.0)
        return say(seconds, "%.0f h %.0f min", floor(s / 3600.0), floor(fmod(s, 3600.0) / 60.0));
    return say(seconds, "%.0f d %.0f h", floor(s / 86400.0), floor(fmod(s, 86400.0) / 3600.0));
}

const char *view_amount(double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    unsigned unit = 0;

    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000.0;
        unit++;
    }
    return say(bytes, unit == 0 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
}

const char *view_count(double value)
{
    return say(value, value < 99.5 ? "%.3g" : "%.0f", value);
}

const char *view_times(double times)
{
    return say(times, times < 9.95 ? "%.1f" : "%.0f", times);
}

const char *view_small(double value)
{
    return say(value, "%.2g", value);
}
