#include "common/log_json.h"

#include "common/check.h"
#include "common/utf8.h"

#include <stdio.h>
#include <string.h>

#define END "}\n"
#define ESCAPE_BYTES 8 /* of one character, with its NUL */
#define REPLACEMENT "\xef\xbf\xbd"

void sp_json_line_begin(struct sp_json_line *line, char *text, size_t room)
{
    sp_assert(room >= 64);
    *line = (struct sp_json_line){text, 0, room - strlen(END)};
    line->text[line->used++] = '{';
}

/* What stands for the character of `bytes` bytes (0: one byte that is none) at `at`; returns its length. */
static size_t escape(const unsigned char *at, size_t bytes, char to[ESCAPE_BYTES])
{
    static const char short_forms[] = "btn?fr"; /* of 8, 9, 10, 12 and 13 */

    if (bytes == 0)
        return (size_t)snprintf(to, ESCAPE_BYTES, REPLACEMENT);
    if (at[0] == '"' || at[0] == '\\')
        return (size_t)snprintf(to, ESCAPE_BYTES, "\\%c", at[0]);
    if (at[0] >= '\b' && at[0] <= '\r' && at[0] != '\v')
        return (size_t)snprintf(to, ESCAPE_BYTES, "\\%c", short_forms[at[0] - '\b']);
    if (at[0] < ' ' || at[0] == 0x7f)
        return (size_t)snprintf(to, ESCAPE_BYTES, "\\u%04x", at[0]);
    memcpy(to, at, bytes);
    return bytes;
}

static void put_value(struct sp_json_line *line, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    char piece[ESCAPE_BYTES];

    while (*at != '\0') {
        size_t bytes = sp_utf8_bytes((const char *)at);
        size_t length = escape(at, bytes, piece);

        if (line->used + length + 1 > line->room)
            break;
        memcpy(line->text + line->used, piece, length);
        line->used += length;
        at += bytes > 0 ? bytes : 1;
    }
    line->text[line->used++] = '"';
}

void sp_json_line_put(struct sp_json_line *line, const char *key, const char *value)
{
    const char *comma = line->used > 1 ? "," : "";

    if (line->used + strlen(comma) + strlen(key) + strlen("\"\":\"\"") + 1 > line->room)
        return;
    line->used += (size_t)snprintf(line->text + line->used, line->room - line->used, "%s\"%s\":\"", comma, key);
    put_value(line, value);
}

size_t sp_json_line_end(struct sp_json_line *line)
{
    memcpy(line->text + line->used, END, strlen(END));
    return line->used + strlen(END);
}
