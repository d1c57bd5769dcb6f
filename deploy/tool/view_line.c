#include "deploy/tool/view.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define PIECE_BYTES 2048
#define ENDING_BYTES 16 /* kept free for what closes a line */

static const char *const style_begins[] = {"", "\033[1m", "\033[2m", "\033[32m", "\033[1;33m"};
#define STYLE_ENDS "\033[0m"

struct glyph {
    const char *bytes;
    size_t count;
    size_t taken; /* of the text */
    unsigned columns;
};

/* The next character of a text that is not at its end. */
static struct glyph next_glyph(const char *text, bool utf8)
{
    struct glyph glyph = {.bytes = "?", .count = 1, .taken = 1, .columns = 1};
    mbstate_t state = {0};
    wchar_t wide = 0;
    size_t n;

    if ((unsigned char)*text < 0x80) {
        if (*text >= ' ' && *text != 0x7f)
            glyph.bytes = text;
        return glyph;
    }
    if (!utf8) {
        while (((unsigned char)text[glyph.taken] & 0xc0) == 0x80)
            glyph.taken++;
        return glyph;
    }
    n = mbrtowc(&wide, text, strnlen(text, MB_LEN_MAX), &state);
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0)
        return glyph;
    glyph.taken = n;
    if (wcwidth(wide) > 0) {
        glyph.bytes = text;
        glyph.count = n;
        glyph.columns = (unsigned)wcwidth(wide);
    }
    return glyph;
}

void view_line_begin(struct view_line *line, const struct view_window *window)
{
    line->text[0] = '\0';
    line->bytes = line->mark_bytes = 0;
    line->columns = line->mark_columns = 0;
    line->room = window->columns < VIEW_COLUMNS_MAX ? window->columns : VIEW_COLUMNS_MAX;
    line->colour = window->colour;
    line->utf8 = window->utf8;
    line->cut = false;
}

static void append(struct view_line *line, const char *bytes, size_t count)
{
    memcpy(line->text + line->bytes, bytes, count);
    line->bytes += count;
    line->text[line->bytes] = '\0';
}

static void append_word(struct view_line *line, const char *word)
{
    append(line, word, strlen(word));
}

/* Gives up the last column, or more of them, for a sign that something is missing. */
static void cut(struct view_line *line)
{
    line->cut = true;
    line->bytes = line->mark_bytes;
    line->columns = line->mark_columns;
    line->text[line->bytes] = '\0';
    if (line->columns < line->room) {
        append_word(line, line->utf8 ? "\xe2\x80\xa6" : ">");
        line->columns++;
    }
}

static void append_text(struct view_line *line, const char *text)
{
    while (*text != '\0' && !line->cut) {
        struct glyph glyph = next_glyph(text, line->utf8);

        if (line->columns < line->room) {
            line->mark_bytes = line->bytes;
            line->mark_columns = line->columns;
        }
        if (line->columns + glyph.columns > line->room ||
            line->bytes + glyph.count + ENDING_BYTES >= sizeof line->text) {
            cut(line);
            return;
        }
        append(line, glyph.bytes, glyph.count);
        line->columns += glyph.columns;
        text += glyph.taken;
    }
}

static void put_text(struct view_line *line, enum view_style style, const char *text)
{
    bool styled = line->colour && style != VIEW_PLAIN;

    if (line->cut || text[0] == '\0')
        return;
    styled = styled && line->bytes + 2 * (size_t)ENDING_BYTES < sizeof line->text;
    if (styled)
        append_word(line, style_begins[style]);
    append_text(line, text);
    if (styled || (line->cut && line->colour))
        append_word(line, STYLE_ENDS);
}

void view_put(struct view_line *line, enum view_style style, const char *format, ...)
{
    char text[PIECE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_text(line, style, text);
}

void view_put_within(struct view_line *line, enum view_style style, unsigned columns, const char *text)
{
    unsigned room = line->room, end = line->columns + columns;

    if (line->cut)
        return;
    if (end >= room) {
        put_text(line, style, text);
        return;
    }
    line->room = end;
    put_text(line, style, text);
    line->room = room;
    line->cut = false;
    view_pad(line, end);
}

static unsigned columns_of(const char *text, bool utf8)
{
    unsigned columns = 0;

    while (*text != '\0') {
        struct glyph glyph = next_glyph(text, utf8);

        columns += glyph.columns;
        text += glyph.taken;
    }
    return columns;
}

bool view_field(struct view_line *line, const char *separator, const char *format, ...)
{
    char text[PIECE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (line->cut || line->columns + strlen(separator) + columns_of(text, line->utf8) > line->room)
        return false;
    put_text(line, VIEW_PLAIN, separator);
    put_text(line, VIEW_PLAIN, text);
    return true;
}

void view_pad(struct view_line *line, unsigned column)
{
    while (line->columns < column && !line->cut)
        append_text(line, " ");
}

const char *view_clean(const char *text, bool utf8, char *to, size_t bytes)
{
    size_t used = 0;

    while (*text != '\0') {
        struct glyph glyph = next_glyph(text, utf8);

        if (used + glyph.count >= bytes)
            break;
        memcpy(to + used, glyph.bytes, glyph.count);
        used += glyph.count;
        text += glyph.taken;
    }
    to[used] = '\0';
    return to;
}
