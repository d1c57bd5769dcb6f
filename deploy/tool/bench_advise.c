/* signpost bench --advise: whether compression pays for a job, from what its parts cost on this machine.
 *
 * Three short measurements of a few workers, in each wire, give the processor time of a coordinate on server and
 * workers; how long it takes on a line is arithmetic (bench_advice.c).
 */
#include "deploy/tool/bench_advice.h"

#include "common/cli.h"
#include "common/cpu.h"
#include "common/weights.h"
#include "deploy/tool/bench.h"
#include "deploy/tool/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 4
#define PARAMS_MAX 2000000u
#define ROUNDS 8
#define WARMUP 2
#define TIMES 5

static const char *const names[ADVICE_WIRES] = {"1 bit", "int8", "float32", "float32, ring"};
static const char *const keys[ADVICE_WIRES] = {"bits", "i8", "f32", "ring"};

/* --- measuring -------------------------------------------------------------------------------------------------------
 */

/* The best of some calls: nanoseconds a coordinate that come after the last byte of an update. */
static double time_apply(const struct sp_layout *layout, bool signs, const void *update, float *theta)
{
    const struct sp_step step = {.decay = 1.0f, .rate = 1e-4f};
    double best = 1e9;

    for (int i = 0; i < TIMES; i++) {
        double since = bench_seconds(), took;

        if (signs)
            sp_weights_apply_signs(layout, &step, update, theta, NULL);
        else
            sp_weights_apply_values(layout, &step, update, theta, NULL);
        took = bench_seconds() - since;
        best = took < best ? took : best;
    }
    return 1e9 * best / (double)layout->coordinates;
}

static int measure_apply(uint64_t params, struct advice_cost cost[ADVICE_RING], struct sp_error *error)
{
    struct sp_layout layout = {0};
    float *theta = calloc((size_t)params, sizeof *theta), *update = calloc((size_t)params, sizeof *update);
    int rc = bench_layout(&layout, params, error);

    if (theta == NULL || update == NULL)
        rc = sp_error_set(error, SP_E_NOMEM, "no memory for %llu weights", (unsigned long long)params);
    for (int i = 0; i < ADVICE_RING && rc == SP_OK; i++)
        cost[i].apply_ns = time_apply(&layout, i == ADVICE_BITS, update, theta);
    sp_layout_finish(&layout);
    free(theta);
    free(update);
    return rc;
}

static int measure(const struct bench_options *o, struct advice_job *job, struct sp_error *error)
{
    struct bench_options small = *o;
    struct bench_result result;
    int rc;

    small.rounds = ROUNDS;
    small.warmup = WARMUP;
    if (small.workers > WORKERS_MAX)
        small.workers = WORKERS_MAX;
    if (small.processes > small.workers)
        small.processes = small.workers;
    if (small.params > PARAMS_MAX)
        small.params = PARAMS_MAX;
    rc = measure_apply(small.params, job->cost, error);
    for (int i = 0; i < ADVICE_RING && rc == SP_OK; i++) {
        double all = (double)small.params * small.workers;
        struct advice_cost *cost = &job->cost[i];

        small.phase = i == ADVICE_BITS ? SP_PHASE_SIGN : SP_PHASE_SGD;
        small.wire = i == ADVICE_I8 ? SP_WIRE_I8 : SP_WIRE_F32;
        rc = bench_run(&small, &result, error);
        cost->up = result.up / (double)small.params;
        cost->down = result.down / (double)small.params;
        cost->server_ns = 1e6 * result.server_cpu_ms / all;
        cost->worker_ns = 1e6 * result.worker_cpu_ms / all;
    }
    return rc;
}

/* --- saying ----------------------------------------------------------------------------------------------------------
 */

static const char *verdict_words(enum advice_verdict verdict)
{
    switch (verdict) {
    case ADVICE_WORTH:
        return "1 bit pays";
    case ADVICE_I8_AS_GOOD:
        return "compression pays; int8 is as good as 1 bit here";
    case ADVICE_LITTLE:
        return "not worth it: communication is less than 5 % of a round in float32 already";
    default:
        return "not worth it: processors, not the line, set the time of the exchange";
    }
}

static const char *rate_words(double rate, char text[32])
{
    if (rate >= 1e9)
        (void)snprintf(text, 32, "%.4g Gbit/s", rate / 1e9);
    else
        (void)snprintf(text, 32, "%.4g Mbit/s", rate / 1e6);
    return text;
}

static void print_exchanges(const struct advice_job *job, const struct advice_exchange e[ADVICE_WIRES])
{
    char link[32], server[32];

    (void)printf("%u workers, %.0f parameters; links of %s, the server's %s; kernels: %s\n\n", job->workers,
                 job->params, rate_words(job->link, link), rate_words(job->server_link, server), sp_cpu_name(sp_cpu()));
    (void)printf("  %-14s %12s %14s %14s %14s\n", "exchange", "in all", "on the line", "server's cpu", "worker's cpu");
    for (int i = 0; i < ADVICE_WIRES; i++) {
        char cpu[32] = "-";

        if (i != ADVICE_RING)
            (void)snprintf(cpu, sizeof cpu, "%.2f ms", e[i].server_ms);
        (void)printf("  %-14s %9.2f ms %11.2f ms %14s %11.2f ms\n", names[i], e[i].ms, e[i].line_ms, cpu,
                     e[i].worker_ms);
    }
    (void)printf(
        "\nShare of the exchange in a round, and rounds with 1 bit and int8 against the faster in float32:\n\n");
    (void)printf("  %-10s %8s %8s %8s %8s %8s %8s\n", "gradient", "1 bit", "int8", "float32", "ring", "1 bit", "int8");
}

static void print_advice(double gradient_ms, const struct advice *a)
{
    (void)printf("  %7.5g ms %6.1f %% %6.1f %% %6.1f %% %6.1f %% %6.2f x %6.2f x  %s\n", gradient_ms,
                 100.0 * a->share[ADVICE_BITS], 100.0 * a->share[ADVICE_I8], 100.0 * a->share[ADVICE_F32],
                 100.0 * a->share[ADVICE_RING], a->gain[ADVICE_BITS], a->gain[ADVICE_I8], verdict_words(a->verdict));
}

static json_t *exchange_json(const struct advice_exchange *e)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "ms", e->ms, "line_ms", e->line_ms, "server_cpu_ms", e->server_ms,
                     "worker_cpu_ms", e->worker_ms);
}

static json_t *advice_json(double gradient_ms, const struct advice *a)
{
    json_t *json =
        json_pack("{s:f, s:b, s:s}", "gradient_ms", gradient_ms, "worth_it",
                  a->verdict == ADVICE_WORTH || a->verdict == ADVICE_I8_AS_GOOD, "words", verdict_words(a->verdict));
    json_t *share = json_object(), *gain = json_object();

    for (int i = 0; i < ADVICE_WIRES; i++) {
        (void)json_object_set_new(share, keys[i], json_real(a->share[i]));
        (void)json_object_set_new(gain, keys[i], json_real(a->gain[i]));
    }
    (void)json_object_set_new(json, "share", share);
    (void)json_object_set_new(json, "speed_up", gain);
    return json;
}

static void print_json(const struct advice_job *job, const struct advice_exchange e[ADVICE_WIRES], json_t *advices)
{
    json_t *json = json_pack("{s:i, s:f, s:f, s:f, s:s, s:o}", "workers", (int)job->workers, "params", job->params,
                             "link_bits_per_s", job->link, "server_link_bits_per_s", job->server_link, "kernels",
                             sp_cpu_name(sp_cpu()), "gradients", advices);
    json_t *exchanges = json_object();

    for (int i = 0; i < ADVICE_WIRES; i++)
        (void)json_object_set_new(exchanges, keys[i], exchange_json(&e[i]));
    (void)json_object_set_new(json, "exchange", exchanges);
    (void)json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    (void)printf("\n");
    json_decref(json);
}

int bench_advise(const struct bench_options *o)
{
    static const double gradients[] = {10.0, 100.0, 1000.0};
    const double *gradient = o->gradient_ms > 0.0 ? &o->gradient_ms : gradients;
    size_t count = o->gradient_ms > 0.0 ? 1 : sizeof gradients / sizeof gradients[0];
    struct advice_job job = {.workers = o->workers, .params = (double)o->params};
    struct advice_exchange exchange[ADVICE_WIRES];
    json_t *advices = json_array();
    struct sp_error error = {0};

    job.link = o->link;
    job.server_link = o->server_link > 0.0 ? o->server_link : o->link;
    if (measure(o, &job, &error) != SP_OK) {
        json_decref(advices);
        return sp_cli_fail(TOOL " bench", error.text);
    }
    advice_exchanges(&job, exchange);
    if (!o->json)
        print_exchanges(&job, exchange);
    for (size_t i = 0; i < count; i++) {
        struct advice a = advice_for(exchange, gradient[i]);

        if (o->json)
            (void)json_array_append_new(advices, advice_json(gradient[i], &a));
        else
            print_advice(gradient[i], &a);
    }
    if (o->json)
        print_json(&job, exchange, json_incref(advices));
    else
        (void)printf("\nThe line is what TCP gets of it, each way at once; its latency is not in it, and the gradient "
                     "does not overlap the exchange.\n");
    json_decref(advices);
    return SP_EXIT_DONE;
}
