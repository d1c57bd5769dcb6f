/* UTF-8, as Unicode has it: no surrogates, no overlong forms, nothing beyond U+10FFFF. */
#pragma once

#include <stddef.h>

/* How many bytes the character takes that begins here; 0 if there is none. Reads no further than a NUL, which is one of
 * 1 byte. */
size_t sp_utf8_bytes(const char *at);

/* The length of `text`, or less: up to `max` bytes, and not within a character. */
size_t sp_utf8_cut(const char *text, size_t max);
