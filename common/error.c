#include "common/error.h"

#include <stdio.h>
#include <string.h>

const char *sp_code_text(int code)
{
    switch (code) {
    case SP_OK:
        return "no error";
#define SP_ERROR_CASE(name, value, text)                                                                               \
    case name:                                                                                                         \
        return text;
        SP_ERROR_LIST(SP_ERROR_CASE)
#undef SP_ERROR_CASE
    default:
        return "unknown error code";
    }
}

int sp_error_set(struct sp_error *error, enum sp_code code, const char *format, ...)
{
    if (error != NULL) {
        va_list args;

        error->code = code;
        va_start(args, format);
        (void)vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}

int sp_error_prefix(struct sp_error *error, const char *format, ...)
{
    char prefix[SP_ERROR_TEXT_BYTES / 2];
    char rest[SP_ERROR_TEXT_BYTES];
    size_t room;
    va_list args;

    if (error == NULL)
        return SP_OK;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(rest, error->text, sizeof rest);
    room = sizeof error->text - strlen(prefix) - sizeof ": ";
    (void)snprintf(error->text, sizeof error->text, "%s: %.*s", prefix, (int)room, rest);
    return error->code;
}
