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

static bool gave_all(const struct slot *s)
{
    return s->before.complete && s->has_dot;
}

static bool robust(const struct sp_round *r)
{
    return r->job.server.statistics == SP_STATISTICS_ROBUST;
}

/* False if the workers are too few for that. */
static bool decide_robustly(struct sp_round *r)
{
    struct sp_sample samples[SP_SLOTS_MAX];
    struct sp_statistics statistics;
    struct sp_averages averages;
    unsigned n = 0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        const struct slot *s = &r->slots[i];

        if (gave_all(s))
            samples[n++] = (struct sp_sample){i, s->dot, s->before.norm2, s->before.sketch};
    }
    if (!sp_robust_take(&r->robust, samples, n, &statistics, &averages))
        return false;
    sp_decide_statistics(&r->decide, &statistics, r->gamma_before);
    sp_decide_averages(&r->decide, &averages);
    return true;
}

static void decide_by_means(struct sp_round *r)
{
    double sketch[SP_SKETCH_BUCKETS] = {0};
    struct sp_statistics statistics = {0};
    double dot = 0.0, norm2 = 0.0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        const struct slot *s = &r->slots[i];

        if (!gave_all(s))
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

void sp_scalars_decide(struct sp_round *r)
{
    if (!robust(r) || !decide_robustly(r))
        decide_by_means(r);
}

double sp_scalars_loss(const struct sp_round *r)
{
    double losses[SP_SLOTS_MAX], sum = 0.0;
    unsigned n = 0;

    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (r->slots[i].has_loss) {
            losses[n++] = r->slots[i].loss;
            sum += r->slots[i].loss;
        }
    }
    if (robust(r) && n >= SP_ROBUST_WORKERS_MIN)
        return sp_robust_mean(losses, n, n / 4);
    return n > 0 ? sum / (double)n : (double)NAN;
}

void sp_scalars_decide_loss(struct sp_round *r, double loss)
{
    double window = (double)NAN;

    if (robust(r)) {
        for (uint32_t i = 0; i < r->job.workers; i++) {
            if (r->slots[i].has_loss)
                sp_robust_loss(&r->robust, i, r->slots[i].loss);
        }
        if (sp_decide_window_ends(&r->decide, r->round))
            window = sp_robust_window(&r->robust);
    }
    if (isnan(window))
        sp_decide_loss(&r->decide, r->round, loss);
    else
        sp_decide_window(&r->decide, loss, window);
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
