#include "deploy/tool/bench_advice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static double line_ms(double bytes, double link)
{
    return 8e3 * bytes / (link * ADVICE_PAYLOAD);
}

static struct advice_exchange by_server(const struct advice_job *job, const struct advice_cost *cost)
{
    double bytes = fmax(cost->up, cost->down) * job->params;
    double apply_ms = 1e-6 * cost->apply_ns * job->params;
    struct advice_exchange e;

    e.line_ms = fmax(line_ms(bytes, job->link), line_ms(bytes * job->workers, job->server_link));
    e.server_ms = 1e-6 * cost->server_ns * job->params * job->workers;
    e.worker_ms = 1e-6 * cost->worker_ns * job->params;
    e.ms = fmax(fmax(e.line_ms, e.server_ms), e.worker_ms - apply_ms) + apply_ms;
    return e;
}

/* What a worker does with a byte is taken to cost what it costs with the server, where as many come as go. */
static struct advice_exchange by_ring(const struct advice_job *job)
{
    const struct advice_cost *f32 = &job->cost[ADVICE_F32];
    double times = 2.0 * (job->workers - 1.0) / job->workers;
    double apply_ms = 1e-6 * f32->apply_ns * job->params;
    struct advice_exchange e = {.line_ms = line_ms(4.0 * times * job->params, job->link)};

    e.worker_ms = times * (1e-6 * f32->worker_ns * job->params - apply_ms) + apply_ms;
    e.ms = fmax(e.line_ms, e.worker_ms - apply_ms) + apply_ms;
    return e;
}

void advice_exchanges(const struct advice_job *job, struct advice_exchange exchange[ADVICE_WIRES])
{
    for (int i = 0; i < ADVICE_RING; i++)
        exchange[i] = by_server(job, &job->cost[i]);
    exchange[ADVICE_RING] = by_ring(job);
}

struct advice advice_for(const struct advice_exchange exchange[ADVICE_WIRES], double gradient_ms)
{
    double float32 = fmin(exchange[ADVICE_F32].ms, exchange[ADVICE_RING].ms);
    struct advice a;

    for (int i = 0; i < ADVICE_WIRES; i++) {
        a.share[i] = exchange[i].ms / (gradient_ms + exchange[i].ms);
        a.gain[i] = (gradient_ms + float32) / (gradient_ms + exchange[i].ms);
    }
    if (float32 / (gradient_ms + float32) < ADVICE_SHARE_LEAST)
        a.verdict = ADVICE_LITTLE;
    else if (fmax(a.gain[ADVICE_BITS], a.gain[ADVICE_I8]) < ADVICE_GAIN_LEAST)
        a.verdict = ADVICE_NO_GAIN;
    else if (a.gain[ADVICE_BITS] < ADVICE_GAIN_LEAST * a.gain[ADVICE_I8])
        a.verdict = ADVICE_I8_AS_GOOD;
    else
        a.verdict = ADVICE_WORTH;
    return a;
}

double advice_rate(const char *text)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1.0}, {"bit", 1.0}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"tbit", 1e12}};
    char *end;
    double value = strtod(text, &end);
    size_t length = strlen(end);

    if (end == text || !(value > 0.0) || !isfinite(value))
        return 0.0;
    if (length > 2 && strcasecmp(end + length - 2, "/s") == 0)
        length -= 2;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strlen(units[i].name) == length && strncasecmp(units[i].name, end, length) == 0)
            return value * units[i].factor;
    return 0.0;
}
