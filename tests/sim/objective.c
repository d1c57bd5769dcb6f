/* What is trained: slot i has the loss 0.5 * sum of a_ij*(theta_j - c_ij)^2 / d, and noise on its gradient. */
#include "cluster_state.h"

#include <math.h>
#include <stdlib.h>

#define NOISE 0.5f

/* Uniform on [0, 1), from (what, slot, j). */
static float draw(uint32_t what, uint32_t slot, uint64_t j)
{
    return sp_rng_unit((uint32_t)(sp_mix64(((uint64_t)what << 56) + ((uint64_t)slot << 40) + j + 1) >> 32));
}

static float curvature(const struct cluster *c, uint32_t slot, uint64_t j)
{
    return 0.5f + draw(1, c->options->alike ? 0 : slot, j);
}

static float centre(const struct cluster *c, uint32_t slot, uint64_t j)
{
    return draw(2, 0, j) * 2.0f - 1.0f + (draw(3, c->options->alike ? 0 : slot, j) - 0.5f) * 0.5f;
}

static const float *quadratic(struct cluster *c, uint32_t slot)
{
    uint64_t d = c->layout.coordinates;
    float *q = c->quadratics[slot];

    if (q != NULL)
        return q;
    q = c->quadratics[slot] = calloc(d, 2 * sizeof *q);
    must(q != NULL);
    for (uint64_t j = 0; j < d; j++) {
        q[2 * j] = curvature(c, slot, j);
        q[2 * j + 1] = centre(c, slot, j);
    }
    return q;
}

void objective_finish(struct cluster *c)
{
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        free(c->quadratics[i]);
}

float objective_first_weight(const struct cluster *c, uint64_t j)
{
    return 4.0f * draw(4, (uint32_t)c->job.seed & 0xffff, j) - 2.0f;
}

float objective_first_buffer(const struct cluster *c, uint64_t j)
{
    return draw(5, (uint32_t)c->job.seed & 0xffff, j);
}

void objective_buffers(const struct cluster *c, uint32_t slot, uint32_t round, float *buffers)
{
    for (uint64_t j = 0; j < c->layout.buffers; j++) {
        float own = draw(6, slot, j * UINT64_C(1000003) + round);

        buffers[j] = isfinite(buffers[j]) ? 0.5f * buffers[j] + own : own;
    }
}

double objective_gradient(struct cluster *c, uint32_t slot, uint32_t round, const float *theta, float *gradient)
{
    uint64_t noise = 0, key = sp_mix64(c->job.seed + 1) ^ ((uint64_t)slot << 32 | round);
    const float *q = quadratic(c, slot);
    uint64_t d = c->layout.coordinates;
    double loss = 0.0;

    for (uint64_t j = 0; j < d; j++) {
        float a = q[2 * j], off = theta[j] - q[2 * j + 1];

        noise = j % 4 == 0 ? sp_mix64(sp_mix64(key) + j + 1) : noise >> 16;
        gradient[j] = a * off + (c->options->alike ? 0.0f : NOISE * ((float)(noise & 0xffff) * 0x1p-16f - 0.5f));
        loss += 0.5 * (double)a * (double)off * (double)off;
    }
    return loss / (double)d;
}

/* Samples coordinates of a large model: it is only to tell whether the loss falls. */
static uint64_t stride(const struct cluster *c)
{
    return c->layout.coordinates / 2000 + 1;
}

double objective_loss(const struct cluster *c, const float *theta)
{
    double loss = 0.0;
    uint64_t n = 0;

    for (uint64_t j = 0; j < c->layout.coordinates; j += stride(c)) {
        for (uint32_t i = 0; i < c->job.workers; i++) {
            double off = (double)theta[j] - (double)centre(c, i, j);

            loss += 0.5 * (double)curvature(c, i, j) * off * off;
            n++;
        }
    }
    return loss / (double)n;
}

double objective_least(const struct cluster *c)
{
    double loss = 0.0;
    uint64_t n = 0;

    for (uint64_t j = 0; j < c->layout.coordinates; j += stride(c)) {
        double a = 0.0, ac = 0.0, acc = 0.0;

        for (uint32_t i = 0; i < c->job.workers; i++) {
            double ai = (double)curvature(c, i, j), ci = (double)centre(c, i, j);

            a += ai;
            ac += ai * ci;
            acc += ai * ci * ci;
            n++;
        }
        loss += 0.5 * (acc - ac * ac / a);
    }
    return loss / (double)n;
}
