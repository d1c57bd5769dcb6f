/* Reads the binary version of CIFAR-10 and CIFAR-100 (A. Krizhevsky's page on CIFAR).
 *
 * Happy path, for each file: open, map or read, check its size, check and copy the labels.
 */
#include "common/check.h"
#include "worker/train/data_parts.h"

#include <stdlib.h>
#include <string.h>

#define CHANNELS 3
#define SIDE 32
#define IMAGE_BYTES (CHANNELS * SIDE * SIDE)

/* A record is its labels and its image. */
struct form {
    const char *name;
    uint32_t classes;
    uint32_t before; /* bytes before the image, of which the last is the label: of CIFAR-100 coarse and fine */
};

static const struct form cifar10 = {"CIFAR-10", 10, 1}, cifar100 = {"CIFAR-100", 100, 2};

/* All bytes of a file: mapped, or in memory, of which there is `room`. */
static int get_bytes(struct sp_source *source, uint64_t room, struct sp_part *part, const uint8_t **bytes,
                     uint64_t *count)
{
    uint8_t *memory = NULL;
    int rc = sp_source_map(source, &part->mapping);

    if (rc != SP_OK)
        return rc;
    if (part->mapping != NULL) {
        *bytes = sp_mapping_start(part->mapping);
        *count = sp_mapping_bytes(part->mapping);
        return SP_OK;
    }
    rc = sp_source_read_all(source, room + 1, &memory, count);
    part->memory = memory;
    *bytes = memory;
    if (rc == SP_OK && *count > room)
        return sp_source_fail(source, SP_E_RANGE, source->offset,
                              "all files together need more than %llu bytes of memory; files that are not compressed "
                              "would be mapped instead",
                              (unsigned long long)SP_EXAMPLES_BYTES_MAX);
    return rc;
}

static int check_size(const struct sp_source *source, const struct form *form, uint64_t count, uint64_t examples)
{
    const uint64_t record = form->before + (uint64_t)IMAGE_BYTES, rest = count % record;

    if (count == 0)
        return sp_source_fail(source, SP_E_SYNTAX, 0, "the file is empty; records of %s have %llu bytes", form->name,
                              (unsigned long long)record);
    if (rest != 0)
        return sp_source_fail(source, SP_E_SYNTAX, count,
                              "the file ends in record %llu, of which %llu bytes are missing; records of %s have %llu "
                              "bytes",
                              (unsigned long long)(count / record + 1), (unsigned long long)(record - rest), form->name,
                              (unsigned long long)record);
    if (count / record > SP_EXAMPLES_MAX - examples)
        return sp_source_fail(source, SP_E_RANGE, 0, "more than %llu records in all files",
                              (unsigned long long)SP_EXAMPLES_MAX);
    return SP_OK;
}

static int take_labels(const struct sp_source *source, const struct form *form, const uint8_t *bytes, uint64_t count,
                       uint8_t *labels)
{
    const uint64_t record = form->before + (uint64_t)IMAGE_BYTES;

    sp_assert(bytes != NULL);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = i * record + form->before - 1;

        if (bytes[at] >= form->classes)
            return sp_source_fail(source, SP_E_RANGE, at, "the label of record %llu is %u; %s has 0 to %u",
                                  (unsigned long long)(i + 1), bytes[at], form->name, form->classes - 1);
        labels[i] = bytes[at];
    }
    return SP_OK;
}

/* Takes over the labels and, last, the part; until then the part is the caller's. */
static int take_records(const struct sp_source *source, const struct form *form, const uint8_t *bytes,
                        struct sp_part *part, struct sp_examples *out)
{
    uint8_t *labels = realloc(out->labels, (size_t)(out->count + part->count));
    int rc;

    if (labels == NULL)
        return sp_error_set(source->error, SP_E_NOMEM, "no memory for %llu labels",
                            (unsigned long long)(out->count + part->count));
    out->labels = labels;
    rc = take_labels(source, form, bytes, part->count, labels + out->count);
    if (rc != SP_OK)
        return rc;
    rc = sp_examples_add_part(out, part, source->error);
    memset(part, 0, sizeof *part);
    return rc;
}

static int load_file(const struct form *form, const char *path, uint64_t *held, struct sp_examples *out,
                     struct sp_error *error)
{
    const uint64_t record = form->before + (uint64_t)IMAGE_BYTES;
    struct sp_source source;
    struct sp_part part = {0};
    const uint8_t *bytes = NULL;
    uint64_t count = 0;
    int rc = sp_source_open(&source, path, error);

    if (rc == SP_OK)
        rc = get_bytes(&source, SP_EXAMPLES_BYTES_MAX - *held, &part, &bytes, &count);
    if (rc == SP_OK)
        rc = check_size(&source, form, count, out->count);
    if (rc == SP_OK) {
        *held += part.memory != NULL ? count : 0;
        part.count = count / record;
        part.images = bytes + form->before;
        part.stride = (size_t)record;
        rc = take_records(&source, form, bytes, &part, out);
    }
    sp_part_finish(&part);
    sp_source_close(&source);
    return rc;
}

int sp_cifar_load(enum sp_data_format format, const char *const *paths, size_t count, struct sp_examples *out,
                  struct sp_error *error)
{
    const struct form *form = format == SP_DATA_CIFAR100 ? &cifar100 : &cifar10;
    uint64_t held = 0;
    int rc = SP_OK;

    sp_examples_begin(out, paths[0], NULL);
    out->inputs = IMAGE_BYTES;
    out->shape = (struct sp_shape){CHANNELS, SIDE, SIDE};
    out->classes = form->classes;
    for (size_t i = 0; i < count && rc == SP_OK; i++)
        rc = load_file(form, paths[i], &held, out, error);
    if (rc != SP_OK)
        sp_examples_finish(out);
    return rc;
}
