/* libFuzzer target: any bytes as files of data, in each format, plain or compressed. They are refused in words and
 * nothing is left, or what was read keeps what data.h promises: sizes that fit each other, labels below the classes,
 * numbers that are finite, every element within the file or the memory that it is in. The same bytes compressed come to
 * the same examples, or to the same code, but that what is not mapped may claim to be too large.
 *
 * The first bytes choose format and options, where the second file begins (of idx the labels), and what follows the
 * first one's bytes, so that the fuzzer need not write out images or many rows: so many zeros, or its bytes again.
 */
#include "folder.h"
#include "input.h"

#include "common/check.h"
#include "worker/train/data.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define FILE_BYTES_MAX 65536
#define PADDING_MAX 16384
#define AGAIN_TIMES 6 /* as much: beyond what a reader takes at once */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *path_of(char name)
{
    static char path[2][64];
    char *mine = path[name % 2];

    (void)snprintf(mine, sizeof path[0], "%s/%c", folder, name);
    return mine;
}

/* With gzip's header and checksum. */
static size_t compress_bytes(const uint8_t *bytes, size_t size, uint8_t *to, size_t room)
{
    z_stream z = {.next_in = (uint8_t *)bytes, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)room};

    sp_assert(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    sp_assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
    sp_assert(deflateEnd(&z) == Z_OK);
    return room - z.avail_out;
}

static bool is_packed(const uint8_t *bytes, size_t size)
{
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static void write_file(char name, const uint8_t *bytes, size_t size, bool compressed)
{
    static uint8_t packed[2 * (FILE_BYTES_MAX + AGAIN_TIMES * PADDING_MAX)];
    int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    if (compressed) {
        size = compress_bytes(bytes, size, packed, sizeof packed);
        bytes = packed;
    }
    sp_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
}

/* --- what was read ---------------------------------------------------------------------------------------------------
 */

static void check_parts(const struct sp_examples *examples, size_t image)
{
    uint64_t first = 0;

    for (uint32_t i = 0; i < examples->parts_count; i++) {
        const struct sp_part *part = &examples->parts[i];

        sp_assert(part->first == first && part->count > 0 && part->stride >= image);
        first += part->count;
        if (part->mapping != NULL) {
            const uint8_t *start = sp_mapping_start(part->mapping), *end = start + sp_mapping_bytes(part->mapping);

            sp_assert(part->memory == NULL && part->images >= start && part->images < end);
            sp_assert((part->count - 1) * part->stride + image <= (uint64_t)(end - part->images));
        }
    }
    sp_assert(first == examples->count);
}

static void check_elements(const struct sp_examples *examples, size_t image)
{
    unsigned sum = 0;

    for (uint64_t i = 0; i < examples->count; i++) {
        const uint8_t *raw = sp_examples_raw(examples, i);

        sp_assert(examples->labels[i] < examples->classes);
        for (size_t j = 0; j < image; j++)
            sum += raw[j]; /* the sanitizer sees a step too far */
        for (uint32_t j = 0; examples->element == SP_ELEMENT_FLOAT && j < examples->inputs; j++)
            sp_assert(isfinite(((const float *)(const void *)raw)[j]));
    }
    sp_assert(sum <= 255 * examples->count * image);
}

static void check_scale(const struct sp_job *job, const struct sp_examples *examples)
{
    const uint32_t indices[] = {0, (uint32_t)(examples->count - 1), (uint32_t)(examples->count / 2)};
    float *x = calloc(3u * examples->inputs, sizeof *x);
    struct sp_error error = {0};
    struct sp_scale scale;
    uint8_t labels[3];
    char words[256];

    sp_assert(x != NULL);
    if (sp_scale_create(&scale, job, examples, NULL, NULL, &error) == SP_OK) {
        sp_scale_words(&scale, words, sizeof words);
        sp_examples_gather(examples, indices, 3, &scale, x, labels);
        for (uint64_t j = 0; j < 3ull * examples->inputs; j++)
            sp_assert(isfinite(x[j]));
        sp_scale_finish(&scale);
    } else {
        sp_assert(error.code == SP_E_MISMATCH && error.text[0] != '\0');
    }
    free(x);
}

static void check(const struct sp_job *job, const struct sp_examples *examples)
{
    const struct sp_shape *shape = &examples->shape;
    size_t image = examples->inputs * (examples->element == SP_ELEMENT_FLOAT ? sizeof(float) : 1);
    uint64_t mapped, held;

    sp_assert(examples->count >= 1 && examples->count <= SP_EXAMPLES_MAX && examples->parts_count >= 1);
    sp_assert(examples->inputs >= 1 && examples->inputs <= SP_INPUTS_MAX);
    sp_assert((uint64_t)shape->channels * shape->height * shape->width == examples->inputs);
    sp_assert(examples->classes >= 1 && examples->classes <= SP_CLASSES_MAX);
    sp_examples_bytes(examples, &mapped, &held);
    sp_assert(mapped + held == examples->count * image);
    check_parts(examples, image);
    check_elements(examples, image);
    check_scale(job, examples);
    sp_assert(sp_examples_check_test(examples, examples, NULL) == SP_OK);
}

/* Returns the code, and of good examples their digest. */
static int load(const struct sp_job *job, bool two, uint64_t *digest)
{
    struct sp_examples examples;
    struct sp_error error = {0};
    char pattern[80];
    int rc;

    (void)snprintf(pattern, sizeof pattern, "%s/[ab]", folder);
    if (job->data.format == SP_DATA_IDX)
        rc = sp_data_load_paths(job, path_of('a'), path_of('b'), &examples, &error);
    else
        rc = sp_data_load_paths(job, two ? pattern : path_of('a'), NULL, &examples, &error);
    *digest = 0;
    if (rc == SP_OK) {
        check(job, &examples);
        *digest = sp_examples_digest(&examples);
        sp_examples_finish(&examples);
    } else {
        sp_assert(error.code == (enum sp_code)rc && error.text[0] != '\0');
    }
    sp_assert(examples.count == 0 && examples.parts == NULL && examples.labels == NULL);
    return rc;
}

/* --- what is chosen --------------------------------------------------------------------------------------------------
 */

static void choose(struct sp_job *job, unsigned what, unsigned more)
{
    static const char *const labels[] = {"label", "1", "2", "y"};
    static const uint32_t shapes[][4] = {{0}, {2, 1, 2}, {2, 2, 2}, {3, 1, 2, 2}};
    const uint32_t *shape = shapes[more / 4 % 4];
    static struct sp_job plain;

    if (plain.workers == 0)
        sp_job_init(&plain);
    *job = plain;
    job->data.format = (enum sp_data_format)(what % 4);
    job->data.csv.header = what / 4 % 2 == 0;
    job->data.csv.separator = (enum sp_separator)(what / 8 % 3);
    (void)snprintf(job->data.csv.label, sizeof job->data.csv.label, "%s", labels[more % 4]);
    job->data.csv.shape_count = shape[0];
    memcpy(job->data.csv.shape, shape + 1, 3 * sizeof *shape);
    job->data.compute = (enum sp_compute)(more / 16 % 4);
    if (job->data.compute == SP_COMPUTE_NONE && more / 64 % 2 == 1)
        job->data.mean_count = 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[FILE_BYTES_MAX + AGAIN_TIMES * PADDING_MAX];
    struct input in = {.data = data, .size = size};
    static struct sp_job job;
    unsigned what = (unsigned)take(&in, 1), more = (unsigned)take(&in, 1);
    uint64_t digest, other;
    size_t cut, padding;
    bool two = what / 64 % 2 == 1;
    int rc, packed_rc;

    if (size > FILE_BYTES_MAX)
        return -1;
    choose(&job, what, more);
    cut = (size_t)take(&in, 2);
    padding = (size_t)take(&in, 2) % PADDING_MAX;
    cut = cut < in.size ? cut : in.size;
    make_folder();
    memcpy(bytes, in.data, cut);
    if (more >= 128 && cut > 0)
        padding *= AGAIN_TIMES;
    for (size_t i = 0; i < padding; i++)
        bytes[cut + i] = more >= 128 && cut > 0 ? bytes[i] : 0;
    write_file('a', bytes, cut + padding, false);
    write_file('b', in.data + cut, in.size - cut, false);
    rc = load(&job, two, &digest);
    if (what < 128 || is_packed(bytes, cut + padding) || is_packed(in.data + cut, in.size - cut))
        return 0;
    write_file('a', bytes, cut + padding, true);
    write_file('b', in.data + cut, in.size - cut, true);
    packed_rc = load(&job, two, &other);
    sp_assert(other == digest && (packed_rc == rc || (rc != SP_OK && packed_rc == SP_E_RANGE)));
    return 0;
}
