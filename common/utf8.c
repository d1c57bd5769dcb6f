#include "common/utf8.h"

size_t sp_utf8_bytes(const char *at)
{
    const unsigned char *c = (const unsigned char *)at;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t bytes;

    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2 || c[0] > 0xf4)
        return 0;
    bytes = c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (c[0] == 0xe0)
        low = 0xa0;
    else if (c[0] == 0xed)
        high = 0x9f;
    else if (c[0] == 0xf0)
        low = 0x90;
    else if (c[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < bytes; i++) {
        if (c[i] < low || c[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return bytes;
}

size_t sp_utf8_cut(const char *text, size_t max)
{
    size_t used = 0;

    while (text[used] != '\0') {
        size_t bytes = sp_utf8_bytes(text + used);

        bytes = bytes > 0 ? bytes : 1;
        if (used + bytes > max)
            break;
        used += bytes;
    }
    return used;
}
