#include "tests/kernels/kernels.h"
#include "worker/client/dither.h"

#include <math.h>
#include <string.h>

struct dither {
    const float *m;
    uint64_t first;
    size_t count;
    float gain;
    struct sp_rng_key key;
    uint32_t slot, t;
};

static void dither(void *arg, void *out)
{
    const struct dither *d = arg;

    sp_dither_pack(d->m, d->first, d->count, d->gain, d->key, d->slot, d->t, out);
}

/* Of all sizes, and often one that brings the distances of ordinary numbers within 4. */
static float draw_gain(struct source *source)
{
    float gain;

    source_floats(source, true, &gain, 1);
    gain = source_number(source, 3) == 0 ? fabsf(gain) : (float)source_number(source, 100) / 16.0f;
    return fminf(gain, SP_DITHER_GAIN_MAX);
}

void compare_dither(struct source *source)
{
    struct dither d = {.first = source_number(source, UINT64_C(1) << 31) * 8 * (1 + source_number(source, 2)),
                       .count = (size_t)source_number(source, 700),
                       .gain = draw_gain(source),
                       .key = {{source_word(source), source_word(source)}},
                       .slot = (uint32_t)source_number(source, 255),
                       .t = source_word(source)};
    uint8_t before[700 / 8 + 1];
    struct room m = room_for(source, d.count * sizeof(float));

    source_floats(source, true, m.at, d.count);
    memset(before, 0xa5, sizeof before);
    d.m = m.at;
    compare_sets("dither", dither, &d, before, sizeof before);
    room_free(&m);
}

struct momentum {
    const float *gradient;
    size_t count;
    float beta1, one_minus_beta1;
};

static void momentum(void *arg, void *out)
{
    const struct momentum *p = arg;

    sp_momentum(out, p->gradient, p->count, p->beta1, p->one_minus_beta1);
}

void compare_momentum(struct source *source)
{
    struct momentum p = {.count = (size_t)source_number(source, 300)};
    float before[300 + 1], factors[2];
    struct room gradient = room_for(source, p.count * sizeof(float));

    source_floats(source, true, gradient.at, p.count);
    source_floats(source, true, before, p.count + 1);
    source_floats(source, true, factors, 2);
    p.gradient = gradient.at;
    p.beta1 = source_number(source, 2) == 0 ? 0.9f : factors[0];
    p.one_minus_beta1 = source_number(source, 2) == 0 ? 0.1f : factors[1];
    compare_sets("momentum", momentum, &p, before, (p.count + 1) * sizeof(float));
    room_free(&gradient);
}
