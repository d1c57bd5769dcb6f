#include "worker/train/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

const char *sp_path_shown(const char *path)
{
    size_t length = strlen(path);

    return length > SP_PATH_SHOWN_BYTES ? path + length - SP_PATH_SHOWN_BYTES : path;
}

int sp_source_open(struct sp_source *source, const char *path, struct sp_error *error)
{
    memset(source, 0, sizeof *source);
    source->path = path;
    source->error = error;
    source->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot open '%s': %s", sp_path_shown(path), strerror(errno));
    source->file = gzdopen(source->fd, "rb");
    if (source->file == NULL) {
        (void)close(source->fd);
        return sp_error_set(error, SP_E_NOMEM, "%s: no memory to open it", sp_path_shown(path));
    }
    (void)gzbuffer(source->file, 1u << 17);
    return SP_OK;
}

void sp_source_close(struct sp_source *source)
{
    if (source->file != NULL)
        (void)gzclose_r(source->file);
    source->file = NULL;
}

bool sp_source_is_compressed(const struct sp_source *source)
{
    return gzdirect(source->file) == 0;
}

int sp_source_fail(const struct sp_source *source, enum sp_code code, uint64_t offset, const char *format, ...)
{
    char words[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return sp_error_set(source->error, code, "%s: at byte %llu%s: %s", sp_path_shown(source->path),
                        (unsigned long long)offset, sp_source_is_compressed(source) ? " (uncompressed)" : "", words);
}

int sp_source_read(struct sp_source *source, void *to, uint64_t bytes, uint64_t *got)
{
    const char *words;
    int n, status;

    errno = 0;
    n = gzread(source->file, to, (unsigned)bytes);
    if (n > 0)
        source->offset += (unsigned)n;
    *got = n > 0 ? (unsigned)n : 0;
    if (*got == bytes)
        return SP_OK;
    words = gzerror(source->file, &status);
    switch (status) {
    case Z_OK:
    case Z_STREAM_END:
        return SP_OK;
    case Z_ERRNO:
        return sp_source_fail(source, SP_E_IO, source->offset, "cannot read: %s", strerror(errno));
    case Z_MEM_ERROR:
        return sp_source_fail(source, SP_E_NOMEM, source->offset, "no memory to read on");
    case Z_BUF_ERROR:
        return sp_source_fail(source, SP_E_SYNTAX, source->offset,
                              "the gzip stream ends too early; the file is truncated");
    default:
        return sp_source_fail(source, SP_E_CORRUPT, source->offset, "the gzip stream is damaged: %s", words);
    }
}

/* Doubles the room, up to `most`. */
static int grow(const struct sp_source *source, uint64_t most, uint8_t **buffer, uint64_t *room)
{
    uint64_t wanted = *room == 0 ? SP_SOURCE_STEP_BYTES : 2 * *room;
    uint8_t *grown;

    wanted = wanted < most ? wanted : most;
    grown = realloc(*buffer, (size_t)wanted);
    if (grown == NULL)
        return sp_source_fail(source, SP_E_NOMEM, source->offset, "no memory for %llu bytes",
                              (unsigned long long)wanted);
    *buffer = grown;
    *room = wanted;
    return SP_OK;
}

static int fill(struct sp_source *source, uint64_t most, uint8_t **buffer, uint64_t *got)
{
    uint64_t room = 0, step, n;
    int rc;

    do {
        if (*got == room) {
            rc = grow(source, most, buffer, &room);
            if (rc != SP_OK)
                return rc;
        }
        step = room - *got < SP_SOURCE_STEP_BYTES ? room - *got : SP_SOURCE_STEP_BYTES;
        rc = sp_source_read(source, *buffer + *got, step, &n);
        if (rc != SP_OK)
            return rc;
        *got += n;
    } while (n == step && *got < most);
    return SP_OK;
}

int sp_source_read_all(struct sp_source *source, uint64_t most, uint8_t **buffer, uint64_t *got)
{
    uint8_t *filled = NULL, *less;
    int rc;

    *buffer = NULL;
    *got = 0;
    rc = fill(source, most, &filled, got);
    if (rc != SP_OK || *got == 0) {
        free(filled);
        return rc;
    }
    less = realloc(filled, (size_t)*got);
    *buffer = less != NULL ? less : filled;
    return SP_OK;
}

int sp_source_map(const struct sp_source *source, struct sp_mapping **out)
{
    *out = NULL;
    return sp_source_is_compressed(source) ? SP_OK : sp_mapping_create(out, source->fd, source->path, source->error);
}
