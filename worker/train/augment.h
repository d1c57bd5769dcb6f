/* Augmentation of images while training: a random crop of the padded image, then a mirror image by chance.
 *
 * What becomes of an example follows from (seed, round, slot, n) alone, where n is its number in the batch, from 0:
 * with w0, w1, w2, w3 the words of block (index n, t = round, lane = slot) of stream SP_RNG_AUGMENT (common/rng.h),
 *
 *     down  = floor(w0 * (2*crop + 1) / 2^32) - crop        -crop..crop, uniform to within 2^-25
 *     right = floor(w1 * (2*crop + 1) / 2^32) - crop
 *     flip  = w2 >= 2^31, if data.augment.flip says so, else never
 *
 *     cropped[c][y][x] = image[c][y + down][x + right], or 0 where the image has no such pixel
 *     out[c][y][x]     = cropped[c][y][flip ? width - 1 - x : x]
 *
 * That is the image, padded by `crop` zeros on all sides, and a window of its own size at row crop + down and column
 * crop + right. Zero is that of the data: a byte 0, or 0.0, before any scale.
 */
#pragma once

#include "worker/train/data.h"

struct sp_augment {
    uint64_t seed;
    uint32_t crop;
    bool flip;
    void *image; /* owned: room for one; NULL if there is nothing to do */
};

struct sp_augment_window {
    int32_t down, right;
    bool flip;
};

/* What the job says, for such examples. Errors: SP_E_MISMATCH if they are no images, or too small for the crop;
 * SP_E_NOMEM. On success the caller finishes it. */
int sp_augment_create(struct sp_augment *augment, const struct sp_job *job, const struct sp_examples *examples,
                      struct sp_error *error);

/* Frees what it owns; it is all zero then. */
void sp_augment_finish(struct sp_augment *augment);

struct sp_augment_window sp_augment_draw(const struct sp_augment *augment, uint32_t round, uint32_t slot, uint32_t n);

/* raw and out: images of this shape, of elements of 1 or 4 bytes; they do not overlap. */
void sp_augment_apply(const struct sp_augment_window *window, const struct sp_shape *shape, size_t element_bytes,
                      const void *raw, void *out);

/* sp_examples_gather(), augmented as slot's batch of this round. */
void sp_augment_gather(const struct sp_augment *augment, const struct sp_examples *examples, const uint32_t *indices,
                       uint32_t n, const struct sp_scale *scale, uint32_t round, uint32_t slot, float *x,
                       uint8_t *labels);
