#include "common/sums.h"
#include "tests/kernels/kernels.h"

#include <string.h>

#define MOST 700

struct sums {
    float *values, *others;
    uint8_t *bits;
    uint64_t first, seed;
    uint32_t t;
    size_t count;
};

struct results {
    struct sp_running_sum squares, dot, products, sign_products, both;
    double sketch[SP_SKETCH_BUCKETS], sketch_of_both[SP_SKETCH_BUCKETS];
    bool finite;
};

static void run_sums(void *arg, void *out)
{
    const struct sums *s = arg;
    struct results *r = out;

    sp_running_add_squares(&r->squares, s->values, s->count);
    sp_running_add_dot(&r->dot, s->bits, s->first, s->values, s->count);
    sp_running_add_products(&r->products, s->others, s->values, s->count);
    sp_sketch_add(r->sketch, s->seed, s->t, s->first, s->values, s->count);
    sp_running_add_squares_sketch(&r->both, r->sketch_of_both, s->seed, s->t, s->first, s->values, s->count);
}

/* What takes infinity and NaN: a NaN has no sign. */
static void run_any(void *arg, void *out)
{
    const struct sums *s = arg;
    struct results *r = out;

    r->finite = sp_all_finite(s->others, s->count);
    sp_running_add_sign_products(&r->sign_products, s->others, s->values, s->count);
}

/* A sum that begins anywhere: near the end of a block as often as elsewhere. */
static struct sp_running_sum begun(struct source *source)
{
    struct sp_running_sum sum = {.total = (double)source_word(source)};
    uint64_t place = source_number(source, 2) == 0 ? source_number(source, MOST) : 64 * source_number(source, 8);

    sum.count = source_number(source, 2) == 0 ? place : 3 * SP_SUM_BLOCK - place;
    for (unsigned l = 0; l < 16; l++)
        sum.lane[l] = (double)(int32_t)source_word(source) * 0x1p-20;
    return sum;
}

void compare_sums(struct source *source)
{
    struct sums s = {.seed = source_word(source), .t = source_word(source), .count = source_number(source, MOST)};
    struct room values = room_for(source, s.count * sizeof(float)), others = room_for(source, s.count * sizeof(float));
    struct room bits;
    struct results before;

    memset(&before, 0, sizeof before);
    s.first = source_number(source, 2) == 0 ? source_number(source, 500) : 64 * source_number(source, 8);
    bits = room_for(source, (size_t)(s.first + s.count + 7) / 8);
    s.values = values.at;
    s.others = others.at;
    s.bits = bits.at;
    source_floats(source, true, s.values, s.count);
    source_floats(source, true, s.others, s.count);
    source_bytes(source, s.bits, (size_t)(s.first + s.count + 7) / 8);
    before.squares = begun(source);
    before.dot = begun(source);
    before.products = begun(source);
    before.sign_products = begun(source);
    before.both = begun(source);
    compare_sets("sums", run_sums, &s, &before, sizeof before);
    source_floats(source, false, s.others, s.count);
    compare_sets("sums of any floats", run_any, &s, &before, sizeof before);
    room_free(&values);
    room_free(&others);
    room_free(&bits);
}
