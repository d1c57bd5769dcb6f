/* The numbers that ride on pushes: loss, norms, sketches and dots, gathered over the slots in slot order. */
#include "server/round_state.h"

#include <math.h>
#include <string.h>

static bool finite_sketch(const struct sp_push *push)
{
    return sp_all_finite(push->sketch, SP_SKETCH_BUCKETS) && isfinite(push->gradient_norm2);
}

void sp_scalars_take(struct sp_round *r, int slot, const struct sp_message *message)
{
    struct slot *s = &r->slots[slot];
    const struct sp_push *push = &message->push;

    if (message->frame.first == 0 && push->has_dot && isfinite(push->dot)) {
        s->has_dot = true;
        s->dot = push->dot;
    }
    if (!(message->frame.flags & SP_FRAME_LAST) || !push->has_scalars)
        return;
    s->has_loss = isfinite(push->loss);
    s->loss = push->loss;
    s->now.complete = push->has_sketch && finite_sketch(push);
    s->now.norm2 = push->gradient_norm2;
    memcpy(s->now.sketch, push->sketch, sizeof s->now.sketch);
}

void sp_scalars_decide(struct sp_round *r)
{
    double sketch[SP_SKETCH_BUCKETS] = {0};
    struct sp_statistics statistics = {0};
    double dot = 0.0, norm2 = 0.0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        const struct slot *s = &r->slots[i];

        if (!s->before.complete || !s->has_dot)
            continue;
        statistics.workers++;
        dot += s->dot;
        norm2 += s->before.norm2;
        for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
            sketch[b] += (double)s->before.sketch[b];
    }
    if (statistics.workers == 0)
        return;
    statistics.a = fabs(dot / (double)statistics.workers);
    statistics.e = norm2 / (double)statistics.workers;
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++) {
        double mean = sketch[b] / (double)statistics.workers;

        statistics.b += mean * mean;
    }
    sp_decide_statistics(&r->decide, &statistics, r->gamma_before);
}

double sp_scalars_loss(const struct sp_round *r)
{
    double sum = 0.0;
    unsigned n = 0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (r->slots[i].has_loss) {
            sum += r->slots[i].loss;
            n++;
        }
    }
    return n > 0 ? sum / (double)n : (double)NAN;
}

void sp_scalars_next(struct sp_round *r, double gamma)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        struct slot *s = &r->slots[i];

        s->before = s->now;
        s->now.complete = false;
        s->has_dot = false;
        s->has_loss = false;
    }
    r->gamma_before = gamma;
}
