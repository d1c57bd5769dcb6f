/* What server and load processes have left in the folder. */
#include "deploy/tool/bench.h"

#include <stdio.h>

static int read_json(const char *path, json_t **json, struct sp_error *error)
{
    json_error_t where;

    *json = json_load_file(path, 0, &where);
    return *json != NULL ? SP_OK : sp_error_set(error, SP_E_SYNTAX, "%s: %s", path, where.text);
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static int take_records(const struct bench_options *o, const char *folder, struct bench_result *r,
                        struct sp_error *error)
{
    for (uint32_t i = 0; i < o->processes; i++) {
        char path[BENCH_PATH_BYTES + 32];
        json_t *json;

        (void)snprintf(path, sizeof path, "%s/load-%u.json", folder, i);
        if (read_json(path, &json, error) != SP_OK)
            return SP_E_SYNTAX;
        r->worker_cpu_ms += number(json, "worker_cpu_ms");
        if (i == 0) {
            r->rounds = (uint32_t)number(json, "rounds");
            r->round_ms_median = number(json, "round_ms_median");
            r->round_ms_p99 = number(json, "round_ms_p99");
            r->server_cpu_ms = number(json, "server_cpu_ms");
            r->server_rss = number(json, "server_rss");
            r->server_rss_peak = number(json, "server_rss_peak");
        }
        json_decref(json);
    }
    return SP_OK;
}

static int take_summary(const struct bench_options *o, const char *folder, struct bench_result *r,
                        struct sp_error *error)
{
    double rounds = (double)r->rounds + o->warmup, pairs = rounds * o->workers;
    char path[BENCH_PATH_BYTES + 32];
    json_t *summary, *slot;
    size_t i;

    (void)snprintf(path, sizeof path, "%s/run/summary.json", folder);
    if (read_json(path, &summary, error) != SP_OK)
        return SP_E_SYNTAX;
    r->up = number(summary, "bytes_pushed") / pairs;
    r->down = number(summary, "bytes_updated") / pairs;
    json_array_foreach(json_object_get(summary, "slots"), i, slot) r->votes += (uint64_t)number(slot, "votes");
    json_decref(summary);
    if ((double)r->votes == pairs)
        return SP_OK;
    return sp_error_set(error, SP_E_STATE,
                        "%.0f rounds of %u workers should be %.0f votes, but %llu were counted: a worker was away, and "
                        "the figures would not be those of this job",
                        rounds, o->workers, pairs, (unsigned long long)r->votes);
}

int bench_result_read(const struct bench_options *options, const char *folder, struct bench_result *result,
                      struct sp_error *error)
{
    int rc = take_records(options, folder, result, error);

    return rc == SP_OK ? take_summary(options, folder, result, error) : rc;
}
