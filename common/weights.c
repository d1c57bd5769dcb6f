#include "common/weights.h"

#include "common/sums.h"
#include "common/weights_kernels.h"

#include <endian.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

/* Weights travel and are hashed as they lie in memory. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Signpost keeps weights in little-endian memory; this processor is big-endian"
#endif

/* Weights that a step changes and then hashes: what the kernels ask for ahead (sp_prefetch() in x86.h), so that the
 * processor reads the next piece while it hashes this one, which takes as long. */
#define PIECE 256

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- kernels, scalar --------------------------------------------------------------------------------------------- */

static void apply_signs_some(float *theta, const uint8_t *bits, uint64_t first, size_t count, float decay, float rate)
{
    for (size_t j = 0; j < count; j++) {
        uint64_t c = first + j;
        float decayed = theta[j] * decay;

        theta[j] = decayed - ((bits[c / 8] >> (c % 8)) & 1u ? rate : -rate);
    }
}

static void apply_values_some(float *theta, const float *values, size_t count, float decay, float rate)
{
    for (size_t j = 0; j < count; j++) {
        float decayed = theta[j] * decay;

        theta[j] = decayed - rate * values[j];
    }
}

static void apply_signs_scalar(float *theta, const uint8_t *bits, size_t bytes, float decay, float rate)
{
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t byte = bits[i]; /* as far as the compiler knows, `theta` may lie over `bits` */

        apply_signs_some(theta + i * 8, &byte, 0, 8, decay, rate);
    }
}

static void apply_values_scalar(float *theta, const float *values, size_t groups, float decay, float rate)
{
    apply_values_some(theta, values, groups * 8, decay, rate);
}

/* --- one part of a tensor ----------------------------------------------------------------------------------------- */

static sp_apply_signs_kernel *const signs_kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(apply_signs_scalar, sp_apply_signs_avx2, sp_apply_signs_avx2);
static sp_apply_values_kernel *const values_kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(apply_values_scalar, sp_apply_values_avx2, sp_apply_values_avx2);

static void apply_signs_range(float *theta, const uint8_t *bits, uint64_t first, size_t count, float decay, float rate)
{
    size_t to_byte = (size_t)(-first % 8), head = count < to_byte ? count : to_byte;
    size_t bytes = (count - head) / 8, end = head + bytes * 8;

    apply_signs_some(theta, bits, first, head, decay, rate);
    if (bytes > 0)
        signs_kernels[sp_cpu()](theta + head, bits + (first + head) / 8, bytes, decay, rate);
    apply_signs_some(theta + end, bits, first + end, count - end, decay, rate);
}

static void apply_values_range(float *theta, const float *values, size_t count, float decay, float rate)
{
    size_t groups = count / 8, end = groups * 8;

    values_kernels[sp_cpu()](theta, values, groups, decay, rate);
    apply_values_some(theta + end, values + end, count - end, decay, rate);
}

/* What one call applies: bits, or else values. */
struct update {
    const struct sp_step *step;
    const uint8_t *bits;
    const float *values;
};

static void apply_part(const struct update *update, const struct sp_layout_part *part, float *theta)
{
    const struct sp_step *step = update->step;
    const struct sp_tensor *tensor = part->tensor;
    float rate = step->rates != NULL ? step->rates[part->index] : step->rate;
    float decay = step->decays != NULL ? step->decays[part->index] : step->decay;
    float *at = theta + part->first;

    /* Weights times 1 are the same weights. */
    if (!sp_tensor_is(tensor, SP_TENSOR_DECAY))
        decay = 1.0f;
    if (sp_tensor_is(tensor, SP_TENSOR_FULL))
        apply_values_range(at, step->full + tensor->full_first + (part->first - tensor->first), (size_t)part->count,
                           decay, rate);
    else if (update->bits != NULL)
        apply_signs_range(at, update->bits, part->first, (size_t)part->count, decay, rate);
    else
        apply_values_range(at, update->values + part->first, (size_t)part->count, decay, rate);
}

/* --- the digest -------------------------------------------------------------------------------------------------- */

/* The digest of weights that come one after another: a state over the digests of blocks, and that of the block. */
struct hash {
    XXH64_state_t whole, block;
    uint64_t count;
};

static void hash_begin(struct hash *hash)
{
    (void)XXH64_reset(&hash->whole, 0);
    (void)XXH64_reset(&hash->block, 0);
    hash->count = 0;
}

static void hash_end_block(struct hash *hash)
{
    uint64_t block = htole64(XXH64_digest(&hash->block));

    (void)XXH64_update(&hash->whole, &block, sizeof block);
    (void)XXH64_reset(&hash->block, 0);
}

/* Weights that lie in one block. */
static void hash_add(struct hash *hash, const float *theta, size_t count)
{
    (void)XXH64_update(&hash->block, theta, count * sizeof *theta);
    hash->count += count;
    if (hash->count % SP_SUM_BLOCK == 0)
        hash_end_block(hash);
}

static uint64_t hash_end(struct hash *hash)
{
    if (hash->count % SP_SUM_BLOCK != 0)
        hash_end_block(hash);
    return XXH64_digest(&hash->whole);
}

uint64_t sp_weights_digest(const float *theta, uint64_t coordinates)
{
    struct hash hash;

    hash_begin(&hash);
    for (uint64_t first = 0; first < coordinates; first += SP_SUM_BLOCK)
        hash_add(&hash, theta + first, (size_t)least(coordinates - first, SP_SUM_BLOCK));
    return hash_end(&hash);
}

/* --- the step ---------------------------------------------------------------------------------------------------- */

/* Pieces end with bytes of bits, wherever the tensor begins. */
static void apply_block(const struct sp_layout *layout, uint64_t first, uint64_t count, const struct update *update,
                        float *theta, struct hash *hash)
{
    uint64_t most = hash != NULL ? PIECE : SP_SUM_BLOCK;
    struct sp_layout_part part = {0};

    while (sp_layout_next(layout, first, count, &part)) {
        struct sp_layout_part piece = part;

        for (uint64_t at = 0; at < part.count; at += piece.count) {
            piece.first = part.first + at;
            piece.count = least(part.count - at, most - piece.first % 8);
            apply_part(update, &piece, theta);
            if (hash != NULL)
                hash_add(hash, theta + piece.first, (size_t)piece.count);
        }
    }
}

static void apply(const struct sp_layout *layout, const struct update *update, float *theta, uint64_t *digest)
{
    struct hash hash;

    hash_begin(&hash);
    for (uint64_t first = 0; first < layout->coordinates; first += SP_SUM_BLOCK)
        apply_block(layout, first, least(layout->coordinates - first, SP_SUM_BLOCK), update, theta,
                    digest != NULL ? &hash : NULL);
    if (digest != NULL)
        *digest = hash_end(&hash);
}

void sp_weights_apply_signs(const struct sp_layout *layout, const struct sp_step *step, const uint8_t *bits,
                            float *theta, uint64_t *digest)
{
    struct update update = {.step = step, .bits = bits};

    apply(layout, &update, theta, digest);
}

void sp_weights_apply_values(const struct sp_layout *layout, const struct sp_step *step, const float *values,
                             float *theta, uint64_t *digest)
{
    struct update update = {.step = step, .values = values};

    apply(layout, &update, theta, digest);
}
