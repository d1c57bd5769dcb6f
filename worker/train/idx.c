/* Reads IDX files (see data.h for the format).
 *
 * Happy path: open, magic, dimensions, elements, end of file, close; first the images, then the labels.
 * A header may lie about the sizes. So they are checked against named maxima first, and the buffer then grows with what
 * really arrives: a file of 16 bytes that claims 32 GiB costs one small buffer before it is found to be too short.
 */
#include "worker/train/data_parts.h"

#include <stdlib.h>
#include <string.h>

#define IDX_UNSIGNED_BYTE 0x08
#define IDX_DIMS_MAX 4

/* One file while it is read. */
struct idx {
    struct sp_source source;
    uint32_t dims;
    uint64_t size[IDX_DIMS_MAX];
    uint64_t item; /* bytes of one item */
};

/* Reads exactly `bytes` of a header's field. */
static int read_field(struct idx *idx, uint8_t *to, uint64_t bytes, const char *what)
{
    uint64_t got;
    int rc = sp_source_read(&idx->source, to, bytes, &got);

    if (rc == SP_OK && got < bytes)
        return sp_source_fail(&idx->source, SP_E_SYNTAX, idx->source.offset,
                              "the file ends in %s, %llu bytes too early", what, (unsigned long long)(bytes - got));
    return rc;
}

static int read_magic(struct idx *idx, uint32_t dims_min, uint32_t dims_max)
{
    uint8_t magic[4];
    int rc = read_field(idx, magic, sizeof magic, "its magic number");

    if (rc != SP_OK)
        return rc;
    if (magic[0] != 0 || magic[1] != 0)
        return sp_source_fail(&idx->source, SP_E_SYNTAX, 0,
                              "not an IDX file: it begins with %02x %02x where 00 00 is expected", magic[0], magic[1]);
    if (magic[2] != IDX_UNSIGNED_BYTE)
        return sp_source_fail(&idx->source, SP_E_UNSUPPORTED, 2,
                              "elements are of type 0x%02x; only 0x%02x, unsigned bytes, is supported", magic[2],
                              IDX_UNSIGNED_BYTE);
    if (magic[3] < dims_min || magic[3] > dims_max)
        return sp_source_fail(
            &idx->source, SP_E_UNSUPPORTED, 3, "%u dimension%s; %s", magic[3], magic[3] == 1 ? "" : "s",
            dims_max == 1 ? "labels have 1 (is it a file of images?)" : "images have 2 to 4 (is it a file of labels?)");
    idx->dims = magic[3];
    return SP_OK;
}

static int read_sizes(struct idx *idx)
{
    for (uint32_t i = 0; i < idx->dims; i++) {
        uint64_t at = idx->source.offset;
        uint8_t field[4];
        int rc = read_field(idx, field, sizeof field, "its list of dimensions");

        if (rc != SP_OK)
            return rc;
        idx->size[i] = (uint64_t)field[0] << 24 | (uint64_t)field[1] << 16 | (uint64_t)field[2] << 8 | field[3];
        if (idx->size[i] == 0)
            return sp_source_fail(&idx->source, SP_E_RANGE, at, "dimension %u is 0; at least 1 is expected", i + 1);
    }
    return SP_OK;
}

static int check_sizes(struct idx *idx)
{
    idx->item = 1;
    if (idx->size[0] > SP_EXAMPLES_MAX)
        return sp_source_fail(&idx->source, SP_E_RANGE, 4, "%llu items; at most %llu are allowed",
                              (unsigned long long)idx->size[0], (unsigned long long)SP_EXAMPLES_MAX);
    for (uint32_t i = 1; i < idx->dims; i++) {
        /* Below 2^24 before, and a dimension is below 2^32: the product fits 64 bits. */
        idx->item *= idx->size[i];
        if (idx->item > SP_INPUTS_MAX)
            return sp_source_fail(&idx->source, SP_E_RANGE, 4 + UINT64_C(4) * i, "an item of more than %llu bytes",
                                  (unsigned long long)SP_INPUTS_MAX);
    }
    return SP_OK;
}

static int check_end(const struct idx *idx, uint64_t end, uint64_t bytes, uint64_t have)
{
    if (have < bytes)
        return sp_source_fail(&idx->source, SP_E_SYNTAX, end,
                              "the file ends too early: %llu of %llu elements are missing",
                              (unsigned long long)(bytes - have), (unsigned long long)bytes);
    if (have > bytes)
        return sp_source_fail(&idx->source, SP_E_SYNTAX, end - (have - bytes),
                              "the file goes on after its last element");
    return SP_OK;
}

/* Reads the elements into a new buffer. One byte more is asked for: reading on to the end also makes zlib compare the
 * checksum of a gzip stream. */
static int read_elements(struct idx *idx, uint64_t bytes, uint8_t **buffer)
{
    uint64_t got;
    int rc;

    if (bytes > SP_EXAMPLES_BYTES_MAX)
        return sp_source_fail(&idx->source, SP_E_RANGE, 4,
                              "%llu items of %llu bytes; at most %llu bytes are allowed in memory; a file that is not "
                              "compressed would be mapped instead",
                              (unsigned long long)idx->size[0], (unsigned long long)idx->item,
                              (unsigned long long)SP_EXAMPLES_BYTES_MAX);
    rc = sp_source_read_all(&idx->source, bytes + 1, buffer, &got);
    if (rc == SP_OK)
        rc = check_end(idx, idx->source.offset, bytes, got);
    if (rc != SP_OK) {
        free(*buffer);
        *buffer = NULL;
    }
    return rc;
}

static int open_file(struct idx *idx, const char *path, uint32_t dims_min, uint32_t dims_max, struct sp_error *error)
{
    int rc = sp_source_open(&idx->source, path, error);

    if (rc == SP_OK)
        rc = read_magic(idx, dims_min, dims_max);
    if (rc == SP_OK)
        rc = read_sizes(idx);
    return rc == SP_OK ? check_sizes(idx) : rc;
}

static struct sp_shape shape_of(const struct idx *idx)
{
    const uint64_t *size = idx->size;

    if (idx->dims == 2)
        return (struct sp_shape){1, 1, (uint32_t)size[1]};
    if (idx->dims == 3)
        return (struct sp_shape){1, (uint32_t)size[1], (uint32_t)size[2]};
    return (struct sp_shape){(uint32_t)size[1], (uint32_t)size[2], (uint32_t)size[3]};
}

/* The elements of images: mapped where the file can be, else in memory. */
static int get_images(struct idx *idx, struct sp_part *part)
{
    const uint64_t header = idx->source.offset, bytes = idx->size[0] * idx->item;
    uint8_t *memory = NULL;
    uint64_t size;
    int rc = sp_source_map(&idx->source, &part->mapping);

    part->count = idx->size[0];
    part->stride = (size_t)idx->item;
    if (rc != SP_OK)
        return rc;
    if (part->mapping != NULL) {
        size = sp_mapping_bytes(part->mapping);
        part->images = sp_mapping_start(part->mapping) + header;
        return size < header
                   ? sp_source_fail(&idx->source, SP_E_SYNTAX, size, "the file became shorter while it was read")
                   : check_end(idx, size, bytes, size - header);
    }
    rc = read_elements(idx, bytes, &memory);
    part->memory = memory;
    part->images = memory;
    return rc;
}

static int load_images(const char *path, struct sp_examples *out, struct sp_error *error)
{
    struct idx idx;
    struct sp_part part = {0};
    int rc = open_file(&idx, path, 2, IDX_DIMS_MAX, error);

    if (rc == SP_OK)
        rc = get_images(&idx, &part);
    if (rc == SP_OK) {
        out->inputs = (uint32_t)idx.item;
        out->shape = shape_of(&idx);
        rc = sp_examples_add_part(out, &part, error);
    } else {
        sp_part_finish(&part);
    }
    sp_source_close(&idx.source);
    return rc;
}

static int load_labels(const char *path, uint8_t **labels, uint64_t *count, struct sp_error *error)
{
    struct idx idx;
    int rc = open_file(&idx, path, 1, 1, error);

    if (rc == SP_OK) {
        *count = idx.size[0];
        rc = read_elements(&idx, *count, labels);
    }
    sp_source_close(&idx.source);
    return rc;
}

int sp_idx_load(const char *images_path, const char *labels_path, struct sp_examples *out, struct sp_error *error)
{
    uint64_t labels = 0;
    int rc;

    sp_examples_begin(out, images_path, labels_path);
    rc = load_images(images_path, out, error);
    if (rc == SP_OK)
        rc = load_labels(labels_path, &out->labels, &labels, error);
    if (rc == SP_OK && labels != out->count)
        rc =
            sp_error_set(error, SP_E_MISMATCH, "%s has %llu images, but %s has %llu labels (both counts are at byte 4)",
                         sp_path_shown(images_path), (unsigned long long)out->count, sp_path_shown(labels_path),
                         (unsigned long long)labels);
    if (rc != SP_OK)
        sp_examples_finish(out);
    else
        sp_examples_count_classes(out);
    return rc;
}
