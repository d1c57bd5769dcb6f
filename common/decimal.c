#include "common/decimal.h"

#include <string.h>

static const char digits[] = "0123456789";

bool sp_is_decimal(const char *text)
{
    size_t whole, part = 0;

    if (*text == '+' || *text == '-')
        text++;
    whole = strspn(text, digits);
    text += whole;
    if (*text == '.') {
        part = strspn(++text, digits);
        text += part;
    }
    if (whole + part == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-')
            text++;
        whole = strspn(text, digits);
        if (whole == 0)
            return false;
        text += whole;
    }
    return *text == '\0';
}
