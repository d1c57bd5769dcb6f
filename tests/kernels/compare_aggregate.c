#include "server/aggregate.h"
#include "tests/kernels/kernels.h"

#include <math.h>
#include <string.h>

#define COUNT_MAX 150
#define MEAN_COUNT_MAX 2500

struct aggregate {
    const float *values[SP_VALUES_MAX];
    unsigned voters, cut;
    size_t count, odd; /* the result begins at `odd` */
};

static void mean(void *arg, void *out)
{
    const struct aggregate *a = arg;

    sp_mean(a->values, a->voters, a->count, (float *)out + a->odd);
}

static void median(void *arg, void *out)
{
    const struct aggregate *a = arg;

    sp_median(a->values, a->voters, a->count, (float *)out + a->odd);
}

static void trimmed_mean(void *arg, void *out)
{
    const struct aggregate *a = arg;

    sp_trimmed_mean(a->values, a->voters, a->cut, a->count, (float *)out + a->odd);
}

/* A few voters more often than many. Some stand next to each other in memory, as chunks of a window do, and some are
 * the same. */
void compare_aggregate(struct source *source)
{
    unsigned most = source_number(source, 4) == 0 ? SP_VALUES_MAX + 1 : 34;
    struct aggregate a = {.voters = (unsigned)source_number(source, most), .odd = (size_t)source_number(source, 16)};
    float before[16 + MEAN_COUNT_MAX] = {0};
    struct room rooms[8];
    size_t length, at = 0;

    a.count = (size_t)source_number(source, a.voters > 8 || source_number(source, 4) != 0 ? COUNT_MAX : MEAN_COUNT_MAX);
    a.cut = a.voters > 0 ? (unsigned)source_number(source, (a.voters + 1) / 2) : 0;
    length = a.count * ((a.voters + 7) / 8);
    for (unsigned i = 0; i < 8; i++) {
        rooms[i] = room_for(source, length * sizeof(float));
        source_floats(source, true, rooms[i].at, length);
    }
    for (unsigned i = 0; i < a.voters; i++) {
        a.values[i] = (const float *)rooms[i % 8].at + at;
        at += i % 8 == 7 ? a.count : 0;
    }
    compare_sets("mean", mean, &a, before, sizeof before);
    compare_sets("median", median, &a, before, sizeof before);
    compare_sets("trimmed mean", trimmed_mean, &a, before, sizeof before);
    for (unsigned i = 0; i < 8; i++)
        room_free(&rooms[i]);
}

/* --- Adam ----------------------------------------------------------------------------------------------------------
 */

struct adam {
    struct sp_adam factors;
    const float *gradient;
    size_t count;
    bool in_place; /* the update replaces the gradient */
};

struct adam_state {
    float m[COUNT_MAX], v[COUNT_MAX], update[COUNT_MAX];
};

static void adam(void *arg, void *out)
{
    const struct adam *a = arg;
    struct adam_state *to = out;

    if (a->in_place)
        memcpy(to->update, a->gradient, a->count * sizeof(float));
    sp_adam_update(&a->factors, a->in_place ? to->update : a->gradient, a->count, to->m, to->v, to->update);
}

void compare_adam(struct source *source)
{
    static const double betas[] = {0.0, 0.5, 0.9, 0.99, 0.999};
    struct adam a = {.count = (size_t)source_number(source, COUNT_MAX + 1), .in_place = source_number(source, 2) == 0};
    struct room gradient = room_for(source, a.count * sizeof(float));
    struct adam_state before;
    double beta1 = betas[source_number(source, 5)], beta2 = betas[source_number(source, 5)];
    double eps = source_number(source, 2) == 0 ? 0.0 : 1e-8; /* in order: that of arguments is the compiler's affair */
    uint32_t t = 1 + (uint32_t)source_number(source, 1000);

    sp_adam_init(&a.factors, beta1, beta2, eps, t);
    source_floats(source, true, gradient.at, a.count);
    source_floats(source, true, before.m, COUNT_MAX);
    source_floats(source, true, before.v, COUNT_MAX);
    memset(before.update, 0, sizeof before.update);
    for (size_t j = 0; j < COUNT_MAX; j++)
        before.v[j] = fabsf(before.v[j]);
    a.gradient = gradient.at;
    compare_sets("adam", adam, &a, &before, sizeof before);
    room_free(&gradient);
}
