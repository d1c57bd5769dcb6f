/* Reads IDX files (see data.h for the format).
 *
 * Happy path: open, magic, dimensions, elements, end of file, close; first the images, then the labels.
 * A header may lie about the sizes. So they are checked against named maxima first, and the buffer then grows with what
 * really arrives: a file of 16 bytes that claims 32 GiB costs one small buffer before it is found to be too short.
 */
#include "worker/train/data.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define IDX_UNSIGNED_BYTE 0x08
#define IDX_DIMS_MAX 4
#define STEP_BYTES (UINT64_C(1) << 24) /* of the first buffer, and of one read; below INT_MAX for gzread() */
#define PATH_SHOWN_BYTES 180           /* two paths and the words fit an error's text */

/* One file while it is read. */
struct idx {
    const char *path;
    gzFile file;     /* NULL if not open */
    uint64_t offset; /* bytes of content read so far */
    uint32_t dims;
    uint64_t size[IDX_DIMS_MAX];
    struct sp_error *error;
};

/* The end of a long path says more than its beginning. */
static const char *shown(const char *path)
{
    size_t length = strlen(path);

    return length > PATH_SHOWN_BYTES ? path + length - PATH_SHOWN_BYTES : path;
}

static int fail(const struct idx *idx, enum sp_code code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* `offset` is that of the field at fault. */
static int fail(const struct idx *idx, enum sp_code code, uint64_t offset, const char *format, ...)
{
    char words[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return sp_error_set(idx->error, code, "%s: at byte %llu%s: %s", shown(idx->path), (unsigned long long)offset,
                        gzdirect(idx->file) ? "" : " (uncompressed)", words);
}

static int open_file(struct idx *idx)
{
    errno = 0;
    idx->file = gzopen(idx->path, "rbe");
    if (idx->file == NULL && errno == 0)
        return sp_error_set(idx->error, SP_E_NOMEM, "%s: no memory to open it", shown(idx->path));
    if (idx->file == NULL)
        return sp_error_set(idx->error, SP_E_IO, "cannot open '%s': %s", shown(idx->path), strerror(errno));
    (void)gzbuffer(idx->file, 1u << 17);
    return SP_OK;
}

static void close_file(struct idx *idx)
{
    if (idx->file != NULL)
        (void)gzclose_r(idx->file);
    idx->file = NULL;
}

/* Reads up to `bytes` (at most STEP_BYTES); `*got` is less only at the end of a file that is well up to there. */
static int read_some(struct idx *idx, void *to, uint64_t bytes, uint64_t *got)
{
    const char *words;
    int n, status;

    errno = 0;
    n = gzread(idx->file, to, (unsigned)bytes);
    if (n > 0)
        idx->offset += (unsigned)n;
    *got = n > 0 ? (unsigned)n : 0;
    if (*got == bytes)
        return SP_OK;
    words = gzerror(idx->file, &status);
    switch (status) {
    case Z_OK:
    case Z_STREAM_END:
        return SP_OK;
    case Z_ERRNO:
        return fail(idx, SP_E_IO, idx->offset, "cannot read: %s", strerror(errno));
    case Z_MEM_ERROR:
        return fail(idx, SP_E_NOMEM, idx->offset, "no memory to read on");
    case Z_BUF_ERROR:
        return fail(idx, SP_E_SYNTAX, idx->offset, "the gzip stream ends too early; the file is truncated");
    default:
        return fail(idx, SP_E_CORRUPT, idx->offset, "the gzip stream is damaged: %s", words);
    }
}

/* Reads exactly `bytes` of a header's field. */
static int read_field(struct idx *idx, uint8_t *to, uint64_t bytes, const char *what)
{
    uint64_t got;
    int rc = read_some(idx, to, bytes, &got);

    if (rc == SP_OK && got < bytes)
        return fail(idx, SP_E_SYNTAX, idx->offset, "the file ends in %s, %llu bytes too early", what,
                    (unsigned long long)(bytes - got));
    return rc;
}

static int read_magic(struct idx *idx, uint32_t dims_min, uint32_t dims_max)
{
    uint8_t magic[4];
    int rc = read_field(idx, magic, sizeof magic, "its magic number");

    if (rc != SP_OK)
        return rc;
    if (magic[0] != 0 || magic[1] != 0)
        return fail(idx, SP_E_SYNTAX, 0, "not an IDX file: it begins with %02x %02x where 00 00 is expected", magic[0],
                    magic[1]);
    if (magic[2] != IDX_UNSIGNED_BYTE)
        return fail(idx, SP_E_UNSUPPORTED, 2, "elements are of type 0x%02x; only 0x%02x, unsigned bytes, is supported",
                    magic[2], IDX_UNSIGNED_BYTE);
    if (magic[3] < dims_min || magic[3] > dims_max)
        return fail(idx, SP_E_UNSUPPORTED, 3, "%u dimension%s; %s", magic[3], magic[3] == 1 ? "" : "s",
                    dims_max == 1 ? "labels have 1 (is it a file of images?)"
                                  : "images have 2 to 4 (is it a file of labels?)");
    idx->dims = magic[3];
    return SP_OK;
}

static int read_sizes(struct idx *idx)
{
    for (uint32_t i = 0; i < idx->dims; i++) {
        uint64_t at = idx->offset;
        uint8_t field[4];
        int rc = read_field(idx, field, sizeof field, "its list of dimensions");

        if (rc != SP_OK)
            return rc;
        idx->size[i] = (uint64_t)field[0] << 24 | (uint64_t)field[1] << 16 | (uint64_t)field[2] << 8 | field[3];
        if (idx->size[i] == 0)
            return fail(idx, SP_E_RANGE, at, "dimension %u is 0; at least 1 is expected", i + 1);
    }
    return SP_OK;
}

/* Puts the number of bytes of one item into *item, once all sizes are known to be below their maxima. */
static int check_sizes(const struct idx *idx, uint64_t *item)
{
    *item = 1;
    if (idx->size[0] > SP_EXAMPLES_MAX)
        return fail(idx, SP_E_RANGE, 4, "%llu items; at most %llu are allowed", (unsigned long long)idx->size[0],
                    (unsigned long long)SP_EXAMPLES_MAX);
    for (uint32_t i = 1; i < idx->dims; i++) {
        /* Below 2^24 before, and a dimension is below 2^32: the product fits 64 bits. */
        *item *= idx->size[i];
        if (*item > SP_INPUTS_MAX)
            return fail(idx, SP_E_RANGE, 4 + UINT64_C(4) * i, "an item of more than %llu bytes",
                        (unsigned long long)SP_INPUTS_MAX);
    }
    if (*item * idx->size[0] > SP_EXAMPLES_BYTES_MAX)
        return fail(idx, SP_E_RANGE, 4, "%llu items of %llu bytes; at most %llu bytes are allowed in all",
                    (unsigned long long)idx->size[0], (unsigned long long)*item,
                    (unsigned long long)SP_EXAMPLES_BYTES_MAX);
    return SP_OK;
}

/* Reads the elements, `bytes` in number, into a new buffer that the caller owns, also if an error is returned. */
static int read_elements(struct idx *idx, uint64_t bytes, uint8_t **buffer)
{
    uint64_t room = 0, filled = 0, got;

    while (filled < bytes) {
        uint64_t step;
        int rc;

        if (filled == room) {
            uint8_t *grown;

            room = room == 0 ? STEP_BYTES : 2 * room;
            room = room < bytes ? room : bytes;
            grown = realloc(*buffer, (size_t)room);
            if (grown == NULL)
                return fail(idx, SP_E_NOMEM, idx->offset, "no memory for %llu bytes", (unsigned long long)room);
            *buffer = grown;
        }
        step = room - filled < STEP_BYTES ? room - filled : STEP_BYTES;
        rc = read_some(idx, *buffer + filled, step, &got);
        if (rc != SP_OK)
            return rc;
        filled += got;
        if (got < step)
            return fail(idx, SP_E_SYNTAX, idx->offset, "the file ends too early: %llu of %llu elements are missing",
                        (unsigned long long)(bytes - filled), (unsigned long long)bytes);
    }
    return SP_OK;
}

/* Reading on to the end also makes zlib compare the checksum of a gzip stream. */
static int read_end(struct idx *idx)
{
    uint64_t at = idx->offset, got;
    uint8_t byte;
    int rc = read_some(idx, &byte, 1, &got);

    if (rc == SP_OK && got > 0)
        return fail(idx, SP_E_SYNTAX, at, "the file goes on after its last element");
    return rc;
}

/* Reads one whole file. On failure nothing is owned. */
static int load_file(const char *path, uint32_t dims_min, uint32_t dims_max, uint64_t *count, uint64_t *item,
                     uint8_t **elements, struct sp_error *error)
{
    struct idx idx = {.path = path, .error = error};
    uint8_t *buffer = NULL;
    int rc = open_file(&idx);

    if (rc == SP_OK)
        rc = read_magic(&idx, dims_min, dims_max);
    if (rc == SP_OK)
        rc = read_sizes(&idx);
    if (rc == SP_OK)
        rc = check_sizes(&idx, item);
    if (rc == SP_OK)
        rc = read_elements(&idx, idx.size[0] * *item, &buffer);
    if (rc == SP_OK)
        rc = read_end(&idx);
    close_file(&idx);
    if (rc != SP_OK) {
        free(buffer);
        return rc;
    }
    *count = idx.size[0];
    *elements = buffer;
    return SP_OK;
}

int sp_idx_load(const char *images_path, const char *labels_path, struct sp_examples *out, struct sp_error *error)
{
    uint64_t inputs = 0, labels = 0, one = 0;
    int rc;

    memset(out, 0, sizeof *out);
    rc = load_file(images_path, 2, IDX_DIMS_MAX, &out->count, &inputs, &out->images, error);
    if (rc == SP_OK)
        rc = load_file(labels_path, 1, 1, &labels, &one, &out->labels, error);
    if (rc == SP_OK && labels != out->count)
        rc = sp_error_set(error, SP_E_MISMATCH,
                          "%s has %llu images, but %s has %llu labels (both counts are at byte 4)", shown(images_path),
                          (unsigned long long)out->count, shown(labels_path), (unsigned long long)labels);
    if (rc != SP_OK) {
        sp_examples_finish(out);
        return rc;
    }
    out->inputs = (uint32_t)inputs;
    out->shape = (struct sp_shape){1, 1, out->inputs};
    for (uint64_t i = 0; i < out->count; i++) {
        if (out->labels[i] >= out->classes)
            out->classes = out->labels[i] + 1u;
    }
    return SP_OK;
}
