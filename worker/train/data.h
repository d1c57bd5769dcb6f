/* Labelled examples: images of unsigned bytes, or rows of float32, and the class of each.
 *
 * sp_data_load() does all from a job: format, paths, patterns. Readers, one a format:
 *   idx      idx.c. Y. LeCun's page on MNIST: two bytes 0, one byte for the type of the elements, one byte for the
 *            number of dimensions, each dimension as big-endian u32, then the elements, the last dimension running
 *            fastest.
 *   cifar10, cifar100
 *            cifar.c. A. Krizhevsky's page on CIFAR, the binary version: records of a label (of CIFAR-100 two: coarse
 *            and fine) and 3072 bytes, [3, 32, 32].
 *   csv      csv.c. Rows of numbers, of which one is the class.
 * Files may be plain or compressed with gzip. Plain files of bytes are mapped rather than read, so that data may be
 * larger than memory.
 */
#pragma once

#include "common/error.h"
#include "common/job.h"
#include "worker/train/scale.h"
#include "worker/train/source.h"

#include <stdint.h>

/* Sizes that a file may claim; each is checked in 64 bits before anything is allocated. */
#define SP_EXAMPLES_MAX (UINT64_C(1) << 31)       /* an example's index fits uint32_t */
#define SP_INPUTS_MAX (UINT64_C(1) << 24)         /* elements of one image, all channels */
#define SP_EXAMPLES_BYTES_MAX (UINT64_C(1) << 35) /* of what is held in memory, all elements: 32 GiB */
#define SP_CLASSES_MAX 256                        /* a label is one byte */
#define SP_DATA_FILES_MAX 10000                   /* that a pattern may name */
#define SP_CSV_LINE_BYTES_MAX (UINT64_C(1) << 26) /* from one row's end to the next: 64 MiB */
#define SP_CSV_FIELD_BYTES_MAX 65536

/* Of one image, as models take it: [channels, height, width]. Data without such a shape are [1, 1, inputs]. */
struct sp_shape {
    uint32_t channels, height, width;
};

enum sp_element { SP_ELEMENT_BYTE, SP_ELEMENT_FLOAT }; /* uint8_t, float */

/* Some of the examples, that lie in one piece. */
struct sp_part {
    uint64_t first, count;      /* index of its first example among all, and how many it has */
    const uint8_t *images;      /* its first example's first element */
    size_t stride;              /* bytes from an example to the next */
    void *memory;               /* owned: what `images` is in, */
    struct sp_mapping *mapping; /* or owned: the file that it is in */
};

struct sp_examples {
    uint64_t count;  /* 1..SP_EXAMPLES_MAX */
    uint32_t inputs; /* elements of one image, its dimensions flattened: 1..SP_INPUTS_MAX */
    struct sp_shape shape;
    uint32_t classes; /* highest label + 1; of cifar always 10 or 100 */
    enum sp_element element;
    uint32_t parts_count;
    struct sp_part *parts;              /* owned, in order */
    uint8_t *labels;                    /* [count], owned */
    uint64_t columns;                   /* of csv with a header: XXH64 of the columns' names in order; else 0 */
    char from[SP_PATH_SHOWN_BYTES + 1]; /* the (first) file of images, and of labels, as words have it */
    char labels_from[SP_PATH_SHOWN_BYTES + 1];
};

/* Loads the job's data of this part, which sp_job_has_data() says are named. On success `out` owns memory until
 * sp_examples_finish(); on failure it is all zero. Errors name the file, the byte or line at fault, counted in the
 * uncompressed content, and what was expected there:
 *   SP_E_IO           cannot be opened or read
 *   SP_E_SYNTAX       not of the format, ends too early, or goes on after its last element
 *   SP_E_CORRUPT      gzip's own checks failed
 *   SP_E_UNSUPPORTED  elements of another type, or another number of dimensions
 *   SP_E_RANGE        a size of zero or above its maximum, a label or a number that is not allowed
 *   SP_E_MISMATCH     images and labels differ in number, files in their columns
 *   SP_E_MISSING      nothing matches a pattern, or a column is not there
 *   SP_E_NOMEM */
int sp_data_load(const struct sp_job *job, enum sp_data_part part, struct sp_examples *out, struct sp_error *error);

/* The same from other files than the job names, in its format. The paths are taken as they are, not relative to the
 * job's folder: with idx `files` is that of the images, and `labels` theirs; with the others `files` is a file or a
 * pattern of glob(3), and `labels` NULL. */
int sp_data_load_paths(const struct sp_job *job, const char *files, const char *labels, struct sp_examples *out,
                       struct sp_error *error);

/* Reads images (2 to 4 dimensions, the first counts them) and their labels (1 dimension); both must hold unsigned bytes
 * and equally many items. Shapes: [N, w]: {1, 1, w}; [N, h, w]: {1, h, w}; [N, c, h, w]: {c, h, w}. */
int sp_idx_load(const char *images_path, const char *labels_path, struct sp_examples *out, struct sp_error *error);

/* Frees what `examples` owns and makes it all zero; does nothing to one that is all zero. */
void sp_examples_finish(struct sp_examples *examples);

/* Checks that a model made for `train` can be tested with `test`: the same shape, of csv the same columns, and no label
 * outside the classes of `train` (fewer classes are fine). SP_E_MISMATCH or, for a label, SP_E_RANGE. */
int sp_examples_check_test(const struct sp_examples *train, const struct sp_examples *test, struct sp_error *error);

/* XXH64 (seed 0) over count (little-endian u64), inputs (little-endian u32), all elements in order (bytes, or
 * little-endian float32) and labels. Workers whose digests are equal hold the same data. */
uint64_t sp_examples_digest(const struct sp_examples *examples);

/* The elements of an example, as they are in its file: [inputs] of uint8_t or float. */
const void *sp_examples_raw(const struct sp_examples *examples, uint64_t index);

/* Bytes of elements that are mapped, and that are held in memory. */
void sp_examples_bytes(const struct sp_examples *examples, uint64_t *mapped, uint64_t *held);

/* Copies the n examples with these indices, each below examples->count: x is [n, inputs], labels [n]. Both belong to
 * the caller. */
void sp_examples_gather(const struct sp_examples *examples, const uint32_t *indices, uint32_t n,
                        const struct sp_scale *scale, float *x, uint8_t *labels);
