/* A line of JSON, written by hand into room that is given: without allocation, and valid however little of a value
 * fits.
 */
#pragma once

#include <stddef.h>

struct sp_json_line {
    char *text;
    size_t used, room; /* what is left of `room` always takes the end of the line */
};

/* {"KEY":"VALUE" with `room` bytes, at least 64, for the whole line. */
void sp_json_line_begin(struct sp_json_line *line, char *text, size_t room);

/* A member of the object; `key` is plain ASCII. Control characters are escaped, bytes that are no UTF-8 become U+FFFD.
 * What does not fit is left off, character by character; a member of which not even the key fits is left out. */
void sp_json_line_put(struct sp_json_line *line, const char *key, const char *value);

/* The closing brace and the line break; returns the line's bytes. No NUL follows. */
size_t sp_json_line_end(struct sp_json_line *line);
