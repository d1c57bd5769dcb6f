#include "server/archive.h"

#include <string.h>

struct sp_archive sp_archive_save(void *to, size_t room)
{
    return (struct sp_archive){.saving = true, .to = to, .room = to != NULL ? room : SIZE_MAX};
}

struct sp_archive sp_archive_load(const void *from, size_t bytes)
{
    return (struct sp_archive){.from = from, .room = bytes};
}

void sp_archive_bytes(struct sp_archive *a, void *bytes, size_t count)
{
    if (a->bad || count > a->room - a->used) {
        a->bad = true;
        return;
    }
    if (!a->saving && count > 0)
        memcpy(bytes, a->from + a->used, count);
    else if (a->to != NULL && count > 0)
        memcpy(a->to + a->used, bytes, count);
    a->used += count;
}

/* `width` bytes. */
static void number(struct sp_archive *a, uint64_t *value, unsigned width)
{
    uint8_t bytes[8] = {0};

    for (unsigned i = 0; i < width; i++)
        bytes[i] = (uint8_t)(*value >> (8 * i));
    sp_archive_bytes(a, bytes, width);
    if (a->saving || a->bad)
        return;
    *value = 0;
    for (unsigned i = 0; i < width; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
}

void sp_archive_u64(struct sp_archive *a, uint64_t *value)
{
    number(a, value, 8);
}

void sp_archive_u32(struct sp_archive *a, uint32_t *value)
{
    uint64_t wide = *value;

    number(a, &wide, 4);
    *value = (uint32_t)wide;
}

void sp_archive_bool(struct sp_archive *a, bool *value)
{
    *value = sp_archive_limited(a, *value, 1) != 0;
}

uint32_t sp_archive_limited(struct sp_archive *a, uint32_t value, uint32_t most)
{
    uint32_t loaded = value;

    sp_archive_u32(a, &loaded);
    if (loaded > most)
        a->bad = true;
    return a->bad ? value : loaded;
}

void sp_archive_same(struct sp_archive *a, uint64_t value)
{
    uint64_t loaded = value;

    sp_archive_u64(a, &loaded);
    if (loaded != value)
        a->bad = true;
}

void sp_archive_double(struct sp_archive *a, double *value)
{
    uint64_t bits;

    memcpy(&bits, value, sizeof bits);
    sp_archive_u64(a, &bits);
    memcpy(value, &bits, sizeof bits);
}

void sp_archive_float(struct sp_archive *a, float *value)
{
    uint32_t bits;

    memcpy(&bits, value, sizeof bits);
    sp_archive_u32(a, &bits);
    memcpy(value, &bits, sizeof bits);
}

/* As they lie in memory: common/weights.c refuses to be built where that is not little-endian. */
void sp_archive_floats(struct sp_archive *a, float *values, size_t count)
{
    sp_archive_bytes(a, values, count * sizeof *values);
}

void sp_archive_doubles(struct sp_archive *a, double *values, size_t count)
{
    sp_archive_bytes(a, values, count * sizeof *values);
}

void sp_archive_text(struct sp_archive *a, char *text, size_t room)
{
    uint32_t length = (uint32_t)strnlen(text, room - 1);

    length = sp_archive_limited(a, length, (uint32_t)(room - 1));
    if (a->bad)
        return;
    sp_archive_bytes(a, text, length);
    if (!a->saving && !a->bad)
        text[length] = '\0';
}
