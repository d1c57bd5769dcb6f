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

#define INPUT_BYTES ((size_t)1 << 17)

/* A file while it is read: input that came and was not looked at yet, and if it is compressed zlib's state. */
struct sp_input {
    uint8_t bytes[INPUT_BYTES];
    size_t at, count; /* of what is not looked at yet: bytes[at] to bytes[count - 1] */
    bool ended;       /* there is no more to come */
    bool compressed;
    bool between; /* gzip streams: one is over */
    z_stream z;
};

static int refill(struct sp_source *source)
{
    struct sp_input *in = source->input;
    ssize_t n;

    do
        n = read(source->fd, in->bytes, sizeof in->bytes);
    while (n < 0 && errno == EINTR);
    in->at = 0;
    in->count = n > 0 ? (size_t)n : 0;
    in->ended = n == 0;
    return n >= 0 ? SP_OK : sp_source_fail(source, SP_E_IO, source->offset, "cannot read: %s", strerror(errno));
}

/* The first bytes say whether it is compressed: 1f 8b begins a gzip stream (RFC 1952). */
static int look(struct sp_source *source)
{
    struct sp_input *in = source->input;
    int rc = refill(source);

    if (rc != SP_OK)
        return rc;
    if (in->count < 2 || in->bytes[0] != 0x1f || in->bytes[1] != 0x8b)
        return SP_OK;
    if (inflateInit2(&in->z, 15 + 16) != Z_OK) /* the largest window; of gzip */
        return sp_error_set(source->error, SP_E_NOMEM, "%s: no memory to open it", sp_path_shown(source->path));
    in->compressed = true;
    return SP_OK;
}

int sp_source_open(struct sp_source *source, const char *path, struct sp_error *error)
{
    int rc;

    memset(source, 0, sizeof *source);
    source->path = path;
    source->error = error;
    source->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot open '%s': %s", sp_path_shown(path), strerror(errno));
    source->input = calloc(1, sizeof *source->input);
    rc = source->input != NULL ? look(source)
                               : sp_error_set(error, SP_E_NOMEM, "%s: no memory to open it", sp_path_shown(path));
    if (rc != SP_OK)
        sp_source_close(source);
    return rc;
}

void sp_source_close(struct sp_source *source)
{
    if (source->input != NULL && source->input->compressed)
        (void)inflateEnd(&source->input->z);
    free(source->input);
    if (source->path != NULL && source->fd >= 0)
        (void)close(source->fd);
    source->input = NULL;
    source->fd = -1;
}

bool sp_source_is_compressed(const struct sp_source *source)
{
    return source->input != NULL && source->input->compressed;
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

/* Between gzip streams: another one may follow at once, or zeros up to the end of the file, as tapes leave them. */
static int next_stream(struct sp_source *source)
{
    struct sp_input *in = source->input;
    bool padding = false;

    while (!in->ended) {
        while (in->at < in->count && in->bytes[in->at] == 0) {
            padding = true;
            in->at++;
        }
        if (in->at < in->count)
            break;
        if (refill(source) != SP_OK)
            return source->error != NULL ? (int)source->error->code : SP_E_IO;
    }
    if (in->ended)
        return SP_OK;
    if (padding || in->bytes[in->at] != 0x1f)
        return sp_source_fail(source, SP_E_CORRUPT, source->offset,
                              "what follows the gzip stream is neither another one nor zeros up to the file's end");
    in->between = false;
    return inflateReset(&in->z) == Z_OK ? SP_OK : SP_E_NOMEM;
}

/* What zlib met, in our words; its codes that are no failure give SP_OK. */
static int status_of(struct sp_source *source, int status)
{
    struct sp_input *in = source->input;

    switch (status) {
    case Z_OK:
        return SP_OK;
    case Z_STREAM_END:
        in->between = true;
        return SP_OK;
    case Z_BUF_ERROR:
        return SP_OK; /* it needs more input */
    case Z_MEM_ERROR:
        return sp_source_fail(source, SP_E_NOMEM, source->offset, "no memory to read on");
    default:
        return sp_source_fail(source, SP_E_CORRUPT, source->offset, "the gzip stream is damaged: %s",
                              in->z.msg != NULL ? in->z.msg : "not what zlib expects");
    }
}

static int inflate_some(struct sp_source *source, uint8_t *to, size_t bytes, size_t *got)
{
    struct sp_input *in = source->input;
    int rc;

    in->z.next_in = in->bytes + in->at;
    in->z.avail_in = (uInt)(in->count - in->at);
    in->z.next_out = to;
    in->z.avail_out = (uInt)bytes;
    rc = inflate(&in->z, Z_NO_FLUSH);
    in->at = in->count - in->z.avail_in;
    *got = bytes - in->z.avail_out;
    source->offset += *got;
    return status_of(source, rc);
}

static int copy_some(struct sp_source *source, uint8_t *to, size_t bytes, size_t *got)
{
    struct sp_input *in = source->input;

    *got = in->count - in->at < bytes ? in->count - in->at : bytes;
    memcpy(to, in->bytes + in->at, *got);
    in->at += *got;
    source->offset += *got;
    return SP_OK;
}

int sp_source_read(struct sp_source *source, void *to, uint64_t bytes, uint64_t *got)
{
    struct sp_input *in = source->input;
    size_t some;
    int rc = SP_OK;

    for (*got = 0; *got < bytes && rc == SP_OK; *got += some) {
        uint8_t *at = (uint8_t *)to + *got;

        some = 0;
        if (in->between)
            rc = next_stream(source);
        else if (in->at == in->count && !in->ended)
            rc = refill(source);
        if (rc != SP_OK || (in->ended && (in->between || !in->compressed)))
            break;
        if (in->ended)
            return sp_source_fail(source, SP_E_SYNTAX, source->offset,
                                  "the gzip stream ends too early; the file is truncated");
        rc = in->compressed ? inflate_some(source, at, (size_t)(bytes - *got), &some)
                            : copy_some(source, at, (size_t)(bytes - *got), &some);
    }
    return rc;
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
    if (less == NULL) {
        free(filled);
        return sp_source_fail(source, SP_E_NOMEM, source->offset, "no memory for %llu bytes", (unsigned long long)*got);
    }
    *buffer = less;
    return SP_OK;
}

int sp_source_map(const struct sp_source *source, struct sp_mapping **out)
{
    *out = NULL;
    return sp_source_is_compressed(source) ? SP_OK : sp_mapping_create(out, source->fd, source->path, source->error);
}
