#include "common/cpu.h"
#include "deploy/tool/bench.h"
#include "deploy/tool/bench_arguments.h"
#include "deploy/tool/tool.h"

#include <stdio.h>
#include <string.h>

static const char *wire_word(const struct bench_options *o)
{
    static const char *const words[] = {"f32", "bf16", "i8"};

    return o->phase == SP_PHASE_SGD ? words[o->wire] : "bits";
}

static void print_json(const struct bench_options *o, const struct bench_result *r)
{
    json_t *json = json_pack("{s:i, s:I, s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "workers",
                             (int)o->workers, "params", (json_int_t)o->params, "phase", sp_phase_name(o->phase), "wire",
                             wire_word(o), "compute", o->compute, "round_ms_median", r->round_ms_median, "round_ms_p99",
                             r->round_ms_p99, "server_cpu_ms_per_round", r->server_cpu_ms, "worker_cpu_ms_per_round",
                             r->worker_cpu_ms, "wire_bytes_up_per_worker", r->up, "wire_bytes_down_per_worker", r->down,
                             "server_rss_bytes", r->server_rss, "server_rss_peak_bytes", r->server_rss_peak);
    json_t *more = json_pack("{s:f, s:i, s:i, s:i, s:i, s:I, s:s, s:i, s:s}", "dither", o->sigma, "rounds",
                             (int)r->rounds, "warmup", (int)o->warmup, "processes", (int)o->processes, "spares",
                             (int)o->spares, "votes", (json_int_t)r->votes, "kernels", sp_cpu_name(sp_cpu()), "cores",
                             (int)bench_cores(), "address", r->address);

    (void)json_object_update(json, more);
    (void)json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    (void)printf("\n");
    json_decref(more);
    json_decref(json);
}

/* "model name" of the first processor; "" if nobody knows. */
static void processor_name(char name[80])
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    name[0] = '\0';
    while (file != NULL && name[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        const char *at = strchr(line, ':');

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "model name", 10) == 0 && at != NULL)
            (void)snprintf(name, 80, ", %.70s", at + 2);
    }
    if (file != NULL)
        (void)fclose(file);
}

static void print_head(const struct bench_options *o, const struct bench_result *r)
{
    char name[80];

    processor_name(name);
    (void)printf("%u %s in %u %s and a server at %s; %u %s%s; kernels: %s\n", o->workers,
                 o->workers == 1 ? "worker" : "workers", o->processes, o->processes == 1 ? "process" : "processes",
                 r->address, bench_cores(), bench_cores() == 1 ? "core" : "cores", name, sp_cpu_name(sp_cpu()));
    if (o->spares > 0)
        (void)printf("%u connections of workers without a slot beside them\n", o->spares);
    (void)printf("%llu parameters, phase %s", (unsigned long long)o->params, sp_phase_name(o->phase));
    if (o->phase == SP_PHASE_SGD)
        (void)printf(" in %s", wire_word(o));
    else
        (void)printf(" with dither %g", o->sigma);
    (void)printf("; %s\n", o->compute ? "all from momentum to applied weights" : "the exchange alone (--compute off)");
    (void)printf("%u rounds measured after %u of warm-up\n\n", r->rounds, o->warmup);
}

static void print_bytes(const char *label, double bytes, double float32)
{
    (void)printf("  %-14s %10.0f bytes per worker and round, %.1f times less than float32 (%s)\n", label, bytes,
                 float32 / bytes, tool_bytes(float32));
}

void bench_print(const struct bench_options *o, const struct bench_result *r)
{
    double float32 = 4.0 * (double)o->params;

    if (o->json) {
        print_json(o, r);
        return;
    }
    print_head(o, r);
    (void)printf("  %-14s %10.3f ms median, %.3f ms p99\n", "round", r->round_ms_median, r->round_ms_p99);
    (void)printf("  %-14s %10.3f ms of processor time per round\n", "server", r->server_cpu_ms);
    (void)printf("  %-14s %10.3f ms of processor time per round, %.3f ms each\n", "workers", r->worker_cpu_ms,
                 r->worker_cpu_ms / o->workers);
    print_bytes("up", r->up, float32);
    print_bytes("down", r->down, float32);
    (void)printf("  %-14s %10s resident, %s at most\n", "server memory", tool_bytes(r->server_rss),
                 tool_bytes(r->server_rss_peak));
}
