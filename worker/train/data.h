/* Labelled examples in memory: images of unsigned bytes and the class of each, read from IDX files.
 *
 * The IDX format is described at the end of Y. LeCun's page on MNIST: two bytes 0, one byte for the type of the
 * elements, one byte for the number of dimensions, each dimension as big-endian u32, then the elements, the last
 * dimension running fastest. Files may be plain or compressed with gzip.
 */
#pragma once

#include "common/error.h"

#include <stdint.h>

/* Sizes that a file may claim; each is checked in 64 bits before anything is allocated. */
#define SP_EXAMPLES_MAX (UINT64_C(1) << 31)       /* an example's index fits uint32_t */
#define SP_INPUTS_MAX (UINT64_C(1) << 24)         /* pixels of one image, all channels */
#define SP_EXAMPLES_BYTES_MAX (UINT64_C(1) << 35) /* pixels of all images: 32 GiB */
#define SP_CLASSES_MAX 256                        /* a label is one byte */

/* Of one image, as models take it: [channels, height, width]. Data without such a shape are [1, 1, inputs]. */
struct sp_shape {
    uint32_t channels, height, width;
};

struct sp_examples {
    uint64_t count;  /* 1..SP_EXAMPLES_MAX */
    uint32_t inputs; /* bytes of one image, its dimensions flattened: 1..SP_INPUTS_MAX */
    struct sp_shape shape;
    uint32_t classes; /* highest label + 1 */
    uint8_t *images;  /* [count, inputs], owned */
    uint8_t *labels;  /* [count], owned */
};

/* Reads images (2 to 4 dimensions, the first counts them) and their labels (1 dimension); both must hold unsigned bytes
 * and equally many items. On success `out` owns memory until sp_examples_finish(); on failure it is all zero.
 * Errors name the file, the byte at fault, counted in the uncompressed content, and what was expected there:
 *   SP_E_IO           cannot be opened or read
 *   SP_E_SYNTAX       not an IDX file, ends too early, or goes on after its last element
 *   SP_E_CORRUPT      gzip's own checks failed
 *   SP_E_UNSUPPORTED  elements of another type, or another number of dimensions
 *   SP_E_RANGE        a size of zero, or above its maximum
 *   SP_E_MISMATCH     images and labels differ in number
 *   SP_E_NOMEM
 * Padding after a gzip stream is skipped, as gzip itself does. */
int sp_idx_load(const char *images_path, const char *labels_path, struct sp_examples *out, struct sp_error *error);

/* Frees what `examples` owns and makes it all zero; does nothing to one that is all zero. */
void sp_examples_finish(struct sp_examples *examples);

/* Checks that a model made for `train` can be tested with `test`: equally many inputs, and no label outside the classes
 * of `train` (fewer classes are fine). The paths are those of the test files, for the words of the error, which is
 * SP_E_MISMATCH or, for a label, SP_E_RANGE. */
int sp_examples_check_test(const struct sp_examples *train, const struct sp_examples *test, const char *images_path,
                           const char *labels_path, struct sp_error *error);

/* XXH64 (seed 0) over count (little-endian u64), inputs (little-endian u32), images and labels. Workers whose digests
 * are equal hold the same data. */
uint64_t sp_examples_digest(const struct sp_examples *examples);

/* What each byte of an image becomes: (byte/divide - mean)/std, computed in double and rounded once. */
struct sp_scale {
    float value[256];
};

/* `divide` and `std` are not 0. */
void sp_scale_init(struct sp_scale *scale, double divide, double mean, double std);

/* Copies the n examples with these indices, each below examples->count: x is [n, inputs], labels [n]. Both belong to
 * the caller. */
void sp_examples_gather(const struct sp_examples *examples, const uint32_t *indices, uint32_t n,
                        const struct sp_scale *scale, float *x, uint8_t *labels);
