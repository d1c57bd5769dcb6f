/* Error codes, from one list, and an error with its words.
 *
 * A function that can fail for a reason outside the program (a file, a peer, a user) returns one of
 * these codes: 0 is success, all others are negative. Where words help the reader, it also takes a
 * `struct sp_error *` that it fills in on failure and leaves alone on success; NULL is allowed.
 * The words name what was wrong and where, and if there is one, what to do about it.
 */
#pragma once

#include <stdarg.h>

#define SP_ERROR_LIST(X)                                                                                               \
    X(SP_E_NOMEM, -1, "out of memory")                                                                                 \
    X(SP_E_IO, -2, "input or output failed")                                                                           \
    X(SP_E_SYNTAX, -3, "not well-formed")                                                                              \
    X(SP_E_RANGE, -4, "value out of range")                                                                            \
    X(SP_E_UNKNOWN, -5, "unknown name")                                                                                \
    X(SP_E_MISSING, -6, "something required is missing")                                                               \
    X(SP_E_PROTOCOL, -7, "the peer broke the protocol")                                                                \
    X(SP_E_CORRUPT, -8, "checksum does not match")                                                                     \
    X(SP_E_BACKLOG, -9, "the peer reads too slowly")                                                                   \
    X(SP_E_CLOSED, -10, "the connection is closed")                                                                    \
    X(SP_E_TIMEOUT, -11, "timed out")                                                                                  \
    X(SP_E_REJECTED, -12, "the server refused")                                                                        \
    X(SP_E_STATE, -13, "not possible in this state")                                                                   \
    X(SP_E_UNSUPPORTED, -14, "not supported")                                                                          \
    X(SP_E_MISMATCH, -15, "does not match")

enum sp_code {
    SP_OK = 0,
#define SP_ERROR_ENUM(name, value, text) name = value,
    SP_ERROR_LIST(SP_ERROR_ENUM)
#undef SP_ERROR_ENUM
};

#define SP_ERROR_TEXT_BYTES 512

struct sp_error {
    enum sp_code code;
    char text[SP_ERROR_TEXT_BYTES];
};

/* The words of a code; never NULL. */
const char *sp_code_text(int code);

/* Fills in `error` (if not NULL) and returns `code`, so that a caller can write `return sp_error_set(...)`. */
int sp_error_set(struct sp_error *error, enum sp_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the words that are already there. Returns the code in `error`. */
int sp_error_prefix(struct sp_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
