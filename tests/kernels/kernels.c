#include "tests/kernels/kernels.h"

#include "common/check.h"
#include "common/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct comparison comparisons[] = {
    {"adam", compare_adam},       {"aggregate", compare_aggregate}, {"pack", compare_pack},     {"sums", compare_sums},
    {"weights", compare_weights}, {"values", compare_values},       {"planes", compare_planes}, {"vote", compare_vote},
    {"dither", compare_dither},   {"momentum", compare_momentum},
};
const size_t comparisons_count = sizeof comparisons / sizeof comparisons[0];

uint64_t compared_digest;

void source_bytes(struct source *source, void *to, size_t bytes)
{
    uint8_t *at = to;

    for (size_t i = 0; i < bytes; i++) {
        if (source->size > 0) {
            source->state = sp_mix64(source->state ^ *source->data);
            at[i] = *source->data++;
            source->size--;
        } else {
            source->state += UINT64_C(0x9e3779b97f4a7c15);
            at[i] = (uint8_t)(sp_mix64(source->state) >> 32);
        }
    }
}

uint32_t source_word(struct source *source)
{
    uint32_t word;

    source_bytes(source, &word, sizeof word);
    return word;
}

uint64_t source_number(struct source *source, uint64_t below)
{
    return source_word(source) % below;
}

static uint32_t make_float(struct source *source, uint64_t kind)
{
    static const uint32_t few[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x00000001, 0x807fffff,
                                   0x7f7fffff, 0xff7fffff, 0x00800000, 0x34000000, 0x42fe0000, 0xc2ff0000};
    uint32_t word = source_word(source);

    switch (kind) {
    case 0:
        return word;
    case 1:
        return few[word % (sizeof few / sizeof few[0])];
    case 2:
        return word % 4 == 0 ? 0 : (word & UINT32_C(0x807fffff)) | UINT32_C(0x3e000000);
    default:
        return (word & UINT32_C(0x807fffff)) | (107 + (word >> 8) % 40) << 23;
    }
}

void source_floats(struct source *source, bool finite, float *to, size_t count)
{
    uint64_t kind = source_number(source, 5);

    for (size_t j = 0; j < count; j++) {
        uint32_t bits = make_float(source, kind);

        if (finite && (bits & UINT32_C(0x7f800000)) == UINT32_C(0x7f800000))
            bits &= UINT32_C(0xff7fffff);
        memcpy(&to[j], &bits, sizeof bits);
    }
}

struct room room_for(struct source *source, size_t bytes)
{
    size_t before = 4 * (size_t)source_number(source, 16);
    struct room room = {.block = malloc(before + bytes + (bytes == 0))};

    sp_assert(room.block != NULL);
    room.at = (uint8_t *)room.block + before;
    return room;
}

void room_free(struct room *room)
{
    free(room->block);
}

/* Which NaN an operation makes is the processor's affair, so all of them count as one. */
static void add_digest(const uint8_t *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
        uint32_t word = 0;

        memcpy(&word, out + i, bytes - i < sizeof word ? bytes - i : sizeof word);
        if ((word & UINT32_C(0x7fffffff)) > UINT32_C(0x7f800000))
            word = UINT32_C(0x7fc00000);
        compared_digest = sp_mix64(compared_digest ^ word);
    }
}

void compare_sets(const char *what, run_kernel *run, void *arg, const void *before, size_t bytes)
{
    enum sp_cpu in_use = sp_cpu();
    uint8_t *right = malloc(bytes + 1), *out = malloc(bytes + 1);

    sp_assert(right != NULL && out != NULL);
    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
        if (!sp_cpu_has(set))
            continue;
        sp_cpu_use(set);
        memcpy(out, before, bytes);
        run(arg, out);
        if (set == SP_CPU_SCALAR)
            memcpy(right, out, bytes);
        for (size_t i = 0; i < bytes; i++) {
            if (out[i] == right[i])
                continue;
            (void)fprintf(stderr, "%s: byte %zu of %zu is %02x with %s, %02x with scalar\n", what, i, bytes, out[i],
                          sp_cpu_name(set), right[i]);
            abort();
        }
    }
    add_digest(right, bytes);
    sp_cpu_use(in_use);
    free(right);
    free(out);
}
