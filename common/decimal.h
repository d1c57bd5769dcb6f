/* Decimal numbers in text, strictly. */
#pragma once

#include <stdbool.h>

/* Whether the whole text is [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. strtod()
 * also takes "nan", "inf", hexadecimal, leading blanks, and a comma for the point in some locales. */
bool sp_is_decimal(const char *text);
