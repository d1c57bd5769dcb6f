#include "common/safetensors.h"

#include "common/check.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES_MAX (UINT64_C(16) << 20)
#define FILE_TENSORS_MAX 65536
#define PATH_SHOWN_BYTES 200
#define SHAPE_BYTES 192

struct type {
    const char *name;
    uint32_t bytes;
    float (*read)(const uint8_t *at); /* NULL: a type that weights are not given in */
};

struct entry {
    const char *name;        /* of the header, which owns it */
    const struct type *type; /* NULL: not known */
    const char *type_name;   /* of the header as well */
    uint64_t shape[SP_TENSOR_DIMS_MAX];
    size_t dims; /* may be more than shape has room for */
    uint64_t count;
    uint64_t begin, end; /* bytes behind the header */
};

struct sp_safetensors {
    char *path;
    int fd;         /* -1: not open. Tensors are read when they are asked for */
    uint64_t bytes; /* of the file, when it was opened */
    uint64_t data;  /* where tensors begin, behind the header */
    json_t *header;
    struct entry *entries; /* in the order of their bytes */
    size_t count;
};

/* --- values ----------------------------------------------------------------------------------------------------------
 */

static float read_f32(const uint8_t *at)
{
    float value;

    memcpy(&value, at, sizeof value);
    return value;
}

static float read_f64(const uint8_t *at)
{
    double value;

    memcpy(&value, at, sizeof value);
    return (float)value;
}

/* The upper half of a float32. */
static float read_bf16(const uint8_t *at)
{
    const uint32_t bits = (uint32_t)at[1] << 24 | (uint32_t)at[0] << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16: a sign, 5 bits of exponent with a bias of 15, 10 of mantissa. Every one is a float32. */
static float read_f16(const uint8_t *at)
{
    const unsigned bits = (unsigned)at[1] << 8 | at[0], exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    float value;

    if (exponent == 0x1f)
        value = mantissa != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf((float)mantissa, -24);
    else
        value = ldexpf((float)(mantissa | 0x400), (int)exponent - 25);
    return (bits & 0x8000) != 0 ? -value : value;
}

static const struct type types[] = {
    {"F32", 4, read_f32}, {"F64", 8, read_f64}, {"F16", 2, read_f16}, {"BF16", 2, read_bf16}, {"I64", 8, NULL},
    {"U64", 8, NULL},     {"I32", 4, NULL},     {"U32", 4, NULL},     {"I16", 2, NULL},       {"U16", 2, NULL},
    {"I8", 1, NULL},      {"U8", 1, NULL},      {"BOOL", 1, NULL},
};

static const struct type *find_type(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

/* --- the header ------------------------------------------------------------------------------------------------------
 */

/* The end of a long path says more than its beginning. */
static const char *shown(const char *path)
{
    size_t length = strlen(path);

    return length > PATH_SHOWN_BYTES ? path + length - PATH_SHOWN_BYTES : path;
}

static int fail(const struct sp_safetensors *file, enum sp_code code, struct sp_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int fail(const struct sp_safetensors *file, enum sp_code code, struct sp_error *error, const char *format, ...)
{
    char words[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return sp_error_set(error, code, "%s: %s", shown(file->path), words);
}

/* Read rather than mapped: somebody may cut a file short while it is mapped, which kills the program. */
static int read_at(const struct sp_safetensors *file, uint64_t at, void *to, size_t count, struct sp_error *error)
{
    size_t got = 0;

    while (got < count) {
        ssize_t n = pread(file->fd, (uint8_t *)to + got, count - got, (off_t)(at + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(file, SP_E_IO, error, "at byte %llu: cannot be read: %s", (unsigned long long)(at + got),
                        strerror(errno));
        if (n == 0)
            return fail(file, SP_E_SYNTAX, error, "cut short while it was read: it ends at byte %llu of %llu",
                        (unsigned long long)(at + got), (unsigned long long)file->bytes);
        got += (size_t)n;
    }
    return SP_OK;
}

static int open_file(struct sp_safetensors *file, struct sp_error *error)
{
    struct stat stat;

    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe would wait for a writer */
    if (file->fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot open '%s': %s", shown(file->path), strerror(errno));
    if (fstat(file->fd, &stat) != 0)
        return fail(file, SP_E_IO, error, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return fail(file, SP_E_SYNTAX, error, "not a safetensors file, but a %s",
                    S_ISDIR(stat.st_mode) ? "folder" : "pipe or device");
    if (stat.st_size < 8)
        return fail(file, SP_E_SYNTAX, error, "not a safetensors file: at least 8 bytes are expected");
    file->bytes = (uint64_t)stat.st_size;
    return SP_OK;
}

static int parse_header(struct sp_safetensors *file, const char *text, size_t length, struct sp_error *error)
{
    json_error_t why;

    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (file->header == NULL && json_error_code(&why) == json_error_out_of_memory)
        return fail(file, SP_E_NOMEM, error, "no memory for its header");
    if (file->header == NULL)
        return fail(file, SP_E_SYNTAX, error, "at byte %d: the header is no JSON object: %s",
                    8 + (why.position > 0 ? why.position : 0), why.text);
    if (!json_is_object(file->header))
        return fail(file, SP_E_SYNTAX, error, "at byte 8: the header is no JSON object");
    return SP_OK;
}

static int read_header(struct sp_safetensors *file, struct sp_error *error)
{
    uint64_t length;
    char *text;
    int rc = read_at(file, 0, &length, sizeof length, error);

    if (rc != SP_OK)
        return rc;
    length = le64toh(length);
    if (length > file->bytes - 8)
        return fail(
            file, SP_E_SYNTAX, error,
            "not a safetensors file, or cut short (torch.save() writes another format): at byte 0, a header of %llu "
            "bytes is announced, but %llu follow",
            (unsigned long long)length, (unsigned long long)(file->bytes - 8));
    if (length > HEADER_BYTES_MAX)
        return fail(file, SP_E_RANGE, error, "at byte 0: a header of %llu bytes; at most %llu are allowed",
                    (unsigned long long)length, (unsigned long long)HEADER_BYTES_MAX);
    file->data = 8 + length;
    text = malloc((size_t)length + 1);
    if (text == NULL)
        return fail(file, SP_E_NOMEM, error, "no memory for its header");
    rc = read_at(file, 8, text, (size_t)length, error);
    if (rc == SP_OK)
        rc = parse_header(file, text, (size_t)length, error);
    free(text);
    return rc;
}

static bool take_whole(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static int take_shape(const struct sp_safetensors *file, const json_t *shape, struct entry *entry,
                      struct sp_error *error)
{
    size_t i;
    json_t *value;

    if (!json_is_array(shape))
        return fail(file, SP_E_SYNTAX, error, "tensor '%.64s' has no shape", entry->name);
    entry->dims = json_array_size(shape);
    entry->count = 1;
    json_array_foreach(shape, i, value)
    {
        uint64_t size;

        if (!take_whole(value, &size) || __builtin_mul_overflow(entry->count, size, &entry->count))
            return fail(file, SP_E_SYNTAX, error, "tensor '%.64s': size %zu of its shape is no size", entry->name,
                        i + 1);
        if (i < SP_TENSOR_DIMS_MAX)
            entry->shape[i] = size;
    }
    return SP_OK;
}

static int take_entry(const struct sp_safetensors *file, const json_t *value, struct entry *entry,
                      struct sp_error *error)
{
    const json_t *offsets = json_object_get(value, "data_offsets");
    const char *type = json_string_value(json_object_get(value, "dtype"));
    uint64_t bytes;
    int rc;

    entry->type = find_type(type);
    entry->type_name = type;
    if (type == NULL)
        return fail(file, SP_E_SYNTAX, error, "tensor '%.64s' has no dtype", entry->name);
    rc = take_shape(file, json_object_get(value, "shape"), entry, error);
    if (rc != SP_OK)
        return rc;
    if (json_array_size(offsets) != 2 || !take_whole(json_array_get(offsets, 0), &entry->begin) ||
        !take_whole(json_array_get(offsets, 1), &entry->end) || entry->begin > entry->end)
        return fail(file, SP_E_SYNTAX, error, "tensor '%.64s': data_offsets must be where its bytes begin and end",
                    entry->name);
    if (entry->type == NULL) /* newer than this program: its place is known, and it is only refused if it is wanted */
        return SP_OK;
    if (__builtin_mul_overflow(entry->count, entry->type->bytes, &bytes) || bytes != entry->end - entry->begin)
        return fail(file, SP_E_SYNTAX, error,
                    "tensor '%.64s': %llu values of %u bytes, but data_offsets have %llu bytes", entry->name,
                    (unsigned long long)entry->count, entry->type->bytes,
                    (unsigned long long)(entry->end - entry->begin));
    return SP_OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* One after the other, from the header to the end of the file: the format has neither holes nor overlaps. */
static int check_places(const struct sp_safetensors *file, struct sp_error *error)
{
    const uint64_t all = file->bytes - file->data;
    uint64_t at = 0;

    for (size_t i = 0; i < file->count; i++) {
        const struct entry *entry = &file->entries[i];

        if (entry->begin != at)
            return fail(file, SP_E_SYNTAX, error,
                        "tensor '%.64s' begins at byte %llu of the data, where %llu is expected: tensors overlap, or "
                        "leave a hole",
                        entry->name, (unsigned long long)entry->begin, (unsigned long long)at);
        at = entry->end;
        if (at > all)
            return fail(file, SP_E_SYNTAX, error,
                        "cut short: tensor '%.64s' ends at byte %llu of the data, of which there are %llu", entry->name,
                        (unsigned long long)at, (unsigned long long)all);
    }
    if (at != all)
        return fail(file, SP_E_SYNTAX, error, "the file goes on for %llu bytes after its last tensor",
                    (unsigned long long)(all - at));
    return SP_OK;
}

/* Names go into messages and logs. */
static bool is_printable(const char *name)
{
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    return true;
}

static int take_entries(struct sp_safetensors *file, struct sp_error *error)
{
    const bool metadata = json_object_get(file->header, "__metadata__") != NULL;
    const size_t room = json_object_size(file->header) - metadata;
    const char *name;
    json_t *value;

    if (room > FILE_TENSORS_MAX)
        return fail(file, SP_E_RANGE, error, "%zu tensors; at most %d are allowed", room, FILE_TENSORS_MAX);
    file->entries = calloc(room + 1, sizeof *file->entries);
    if (file->entries == NULL)
        return fail(file, SP_E_NOMEM, error, "no memory for its header");
    json_object_foreach(file->header, name, value)
    {
        int rc;

        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!is_printable(name))
            return fail(file, SP_E_SYNTAX, error, "a tensor's name has control characters");
        file->entries[file->count].name = name;
        rc = take_entry(file, value, &file->entries[file->count++], error);
        if (rc != SP_OK)
            return rc;
    }
    qsort(file->entries, file->count, sizeof *file->entries, by_begin);
    return check_places(file, error);
}

int sp_safetensors_open(struct sp_safetensors **out, const char *path, struct sp_error *error)
{
    struct sp_safetensors *file = calloc(1, sizeof *file);
    int rc = SP_OK;

    *out = NULL;
    if (file != NULL) {
        file->fd = -1;
        file->path = strdup(path);
    }
    if (file == NULL || file->path == NULL) {
        free(file);
        return sp_error_set(error, SP_E_NOMEM, "no memory to read %s", shown(path));
    }
    rc = open_file(file, error);
    if (rc == SP_OK)
        rc = read_header(file, error);
    if (rc == SP_OK)
        rc = take_entries(file, error);
    if (rc != SP_OK) {
        sp_safetensors_close(file);
        return rc;
    }
    *out = file;
    return SP_OK;
}

const char *sp_safetensors_path(const struct sp_safetensors *file)
{
    return file->path;
}

void sp_safetensors_close(struct sp_safetensors *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        (void)close(file->fd);
    json_decref(file->header);
    free(file->entries);
    free(file->path);
    free(file);
}

/* --- tensors ---------------------------------------------------------------------------------------------------------
 */

static const struct entry *find_entry(const struct sp_safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0)
            return &file->entries[i];
    return NULL;
}

static void write_shape(const uint64_t *shape, size_t dims, char text[SHAPE_BYTES])
{
    size_t used = (size_t)snprintf(text, SHAPE_BYTES, "[");

    for (size_t i = 0; i < dims && i < SP_TENSOR_DIMS_MAX; i++)
        used += (size_t)snprintf(text + used, SHAPE_BYTES - used, "%s%llu", i > 0 ? ", " : "",
                                 (unsigned long long)shape[i]);
    (void)snprintf(text + used, SHAPE_BYTES - used, "%s]", dims > SP_TENSOR_DIMS_MAX ? ", ..." : "");
}

/* A single number may be of shape [] or [1]. */
static bool same_shape(const struct entry *entry, const struct sp_tensor *tensor)
{
    if (entry->dims == 0)
        return tensor->dims == 1 && tensor->shape[0] == 1;
    return entry->dims == tensor->dims && memcmp(entry->shape, tensor->shape, entry->dims * sizeof(uint64_t)) == 0;
}

static int read_values(const struct sp_safetensors *file, const struct entry *entry, float *to, struct sp_error *error)
{
    const uint64_t bytes = entry->type->bytes;
    uint8_t piece[8192];
    int rc = SP_OK;

    for (uint64_t first = 0; first < entry->count; first += sizeof piece / bytes) {
        const uint64_t left = entry->count - first, room = sizeof piece / bytes, count = left < room ? left : room;

        rc = read_at(file, file->data + entry->begin + first * bytes, piece, (size_t)(count * bytes), error);
        for (uint64_t i = 0; rc == SP_OK && i < count; i++) {
            to[first + i] = entry->type->read(piece + i * bytes);
            if (!isfinite(to[first + i]))
                rc = fail(file, SP_E_RANGE, error, "tensor '%.64s': value %llu (counted from 0) is %g", entry->name,
                          (unsigned long long)(first + i), (double)to[first + i]);
        }
        if (rc != SP_OK)
            return rc;
    }
    return rc;
}

static int read_tensor(const struct sp_safetensors *file, const struct sp_tensor *tensor, float *to,
                       struct sp_error *error)
{
    const struct entry *entry = find_entry(file, tensor->name);
    char there[SHAPE_BYTES], here[SHAPE_BYTES];

    if (entry == NULL)
        return fail(file, SP_E_MISSING, error, "has no tensor '%.64s', which the model has", tensor->name);
    if (!same_shape(entry, tensor)) {
        write_shape(entry->shape, entry->dims, there);
        write_shape(tensor->shape, tensor->dims, here);
        return sp_error_set(error, SP_E_MISMATCH, "%s: tensor '%.64s' is %s, but %s in the model", shown(file->path),
                            tensor->name, there, here);
    }
    if (entry->type == NULL || entry->type->read == NULL)
        return fail(file, SP_E_UNSUPPORTED, error, "tensor '%.64s' is of type %.40s; F32, F64, F16 or BF16 is expected",
                    tensor->name, entry->type_name);
    return read_values(file, entry, to, error);
}

int sp_safetensors_read(const struct sp_safetensors *file, const struct sp_layout *layout, float *theta, float *buffers,
                        struct sp_error *error)
{
    int rc = SP_OK;

    sp_assert(buffers != NULL || layout->buffers == 0);
    for (uint32_t i = 0; i < layout->tensors_count && rc == SP_OK; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        rc = read_tensor(file, tensor, (i < layout->trained ? theta : buffers) + tensor->first, error);
    }
    return rc;
}

static bool layout_has(const struct sp_layout *layout, const char *name)
{
    for (uint32_t i = 0; i < layout->tensors_count; i++)
        if (strcmp(layout->tensors[i].name, name) == 0)
            return true;
    return false;
}

unsigned sp_safetensors_left_over(const struct sp_safetensors *file, const struct sp_layout *layout, const char **name)
{
    unsigned count = 0;

    *name = NULL;
    for (size_t i = 0; i < file->count; i++) {
        if (layout_has(layout, file->entries[i].name))
            continue;
        if (count++ == 0)
            *name = file->entries[i].name;
    }
    return count;
}

size_t sp_safetensors_shape(const struct sp_safetensors *file, const char *name, uint64_t shape[SP_TENSOR_DIMS_MAX])
{
    const struct entry *entry = find_entry(file, name);

    if (entry == NULL)
        return 0;
    memcpy(shape, entry->shape, sizeof entry->shape);
    return entry->dims;
}
