#include "worker/train/augment.h"

#include "common/rng.h"

#include <stdlib.h>
#include <string.h>

int sp_augment_create(struct sp_augment *augment, const struct sp_job *job, const struct sp_examples *examples,
                      struct sp_error *error)
{
    const struct sp_shape *shape = &examples->shape;

    *augment = (struct sp_augment){.seed = job->seed, .crop = job->data.augment.crop, .flip = job->data.augment.flip};
    if (augment->crop == 0 && !augment->flip)
        return SP_OK;
    if (shape->height == 1 || shape->width == 1)
        return sp_error_set(error, SP_E_MISMATCH,
                            "data.augment.%s: the data are no images: an example of %s is %u x %u x %u; leave it out%s",
                            augment->crop > 0 ? "crop" : "flip", examples->from, shape->channels, shape->height,
                            shape->width,
                            job->data.format == SP_DATA_CSV ? ", or say the shape by data.csv.shape" : "");
    if (augment->crop >= shape->height || augment->crop >= shape->width)
        return sp_error_set(error, SP_E_MISMATCH,
                            "data.augment.crop: %u pixels could leave nothing of an image of %u x %u; give fewer",
                            augment->crop, shape->height, shape->width);
    augment->image = malloc(examples->inputs * sizeof(float));
    return augment->image != NULL ? SP_OK : sp_error_set(error, SP_E_NOMEM, "out of memory");
}

void sp_augment_finish(struct sp_augment *augment)
{
    free(augment->image);
    memset(augment, 0, sizeof *augment);
}

static int32_t shift(uint32_t word, uint32_t crop)
{
    return (int32_t)((uint64_t)word * (2 * crop + 1) >> 32) - (int32_t)crop;
}

struct sp_augment_window sp_augment_draw(const struct sp_augment *augment, uint32_t round, uint32_t slot, uint32_t n)
{
    uint32_t word[4];

    sp_rng_block(sp_rng_key(augment->seed, SP_RNG_AUGMENT), n, round, slot, word);
    return (struct sp_augment_window){shift(word[0], augment->crop), shift(word[1], augment->crop),
                                      augment->flip && word[2] >> 31 != 0};
}

/* Swaps the row's elements end for end. */
static void mirror(uint8_t *row, uint32_t width, size_t bytes)
{
    uint8_t kept[sizeof(float)];

    for (uint32_t x = 0; x < width / 2; x++) {
        uint8_t *left = row + x * bytes, *right = row + (width - 1 - x) * bytes;

        memcpy(kept, left, bytes);
        memcpy(left, right, bytes);
        memcpy(right, kept, bytes);
    }
}

/* A row of the window: what it has of the image's row, zeros around it. */
static void crop_row(const uint8_t *row, uint32_t width, int32_t right, size_t bytes, uint8_t *out)
{
    const uint32_t outside = (uint32_t)abs(right); /* below the width */
    const size_t inside = (width - outside) * bytes;

    if (right >= 0) {
        memcpy(out, row + outside * bytes, inside);
        memset(out + inside, 0, outside * bytes);
    } else {
        memset(out, 0, outside * bytes);
        memcpy(out + outside * bytes, row, inside);
    }
}

void sp_augment_apply(const struct sp_augment_window *window, const struct sp_shape *shape, size_t element_bytes,
                      const void *raw, void *out)
{
    const size_t row_bytes = shape->width * element_bytes;
    uint8_t *to = out;

    for (uint32_t c = 0; c < shape->channels; c++) {
        const uint8_t *channel = (const uint8_t *)raw + (size_t)c * shape->height * row_bytes;

        for (uint32_t y = 0; y < shape->height; y++, to += row_bytes) {
            const int64_t from = (int64_t)y + window->down;

            if (from < 0 || from >= shape->height)
                memset(to, 0, row_bytes);
            else
                crop_row(channel + (size_t)from * row_bytes, shape->width, window->right, element_bytes, to);
            if (window->flip)
                mirror(to, shape->width, element_bytes);
        }
    }
}

void sp_augment_gather(const struct sp_augment *augment, const struct sp_examples *examples, const uint32_t *indices,
                       uint32_t n, const struct sp_scale *scale, uint32_t round, uint32_t slot, float *x,
                       uint8_t *labels)
{
    const size_t bytes = examples->element == SP_ELEMENT_FLOAT ? sizeof(float) : sizeof(uint8_t);

    if (augment->image == NULL) {
        sp_examples_gather(examples, indices, n, scale, x, labels);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct sp_augment_window window = sp_augment_draw(augment, round, slot, i);

        sp_augment_apply(&window, &examples->shape, bytes, sp_examples_raw(examples, indices[i]), augment->image);
        sp_scale_apply(scale, examples, augment->image, x + (size_t)i * examples->inputs);
        labels[i] = examples->labels[indices[i]];
    }
}
