/* What was measured, as a table for people, as lines about the goals, and as JSON. */
#include "tests/bench/kernels_bench.h"

#include <errno.h>

static const char *limit_word(const struct bench_stage *stage)
{
    if (stage->voters > 0)
        return "bits";
    if (stage->read > 0 && stage->write > 0)
        return "read, rmw";
    return stage->write > 0 ? "rmw" : "read";
}

void bench_print_limits(FILE *to, const struct limits *limits, size_t coordinates)
{
    static const char *const kinds[LIMIT_KINDS] = {"fastest", "one stream"};

    (void)fprintf(to, "memory limits of one core, %zu float32 (read; rmw: read, modify and write, both counted)\n",
                  coordinates);
    for (unsigned kind = 0; kind < LIMIT_KINDS; kind++) {
        const struct limit_of *of = &limits->of[kind];

        (void)fprintf(to, "  %-11s read %6.1f GB/s, %.3f ns a coordinate (%s)\n", kinds[kind], of->read_gbs,
                      4.0 / of->read_gbs, of->read_name);
        (void)fprintf(to, "  %-11s rmw  %6.1f GB/s, %.3f ns a coordinate (%s)\n", "", of->write_gbs,
                      8.0 / of->write_gbs, of->write_name);
    }
}

void bench_print_head(FILE *to)
{
    (void)fprintf(to, "\n%-30s %-7s %8s %8s  %-10s %8s %10s %10s\n", "stage", "kernels", "ns/coord", "GB/s", "limit",
                  "of it", "of 1 strm", "ns cached");
}

void bench_print_row(FILE *to, const struct bench_row *row)
{
    const char *set = row->stage->orients ? "-" : sp_cpu_name(row->set);

    (void)fprintf(to, "%-30s %-7s %8.3f %8.2f  %-10s %8.2f %10.2f %10.3f\n", row->stage->name, set, row->ns, row->gbs,
                  limit_word(row->stage), row->of[LIMIT_FASTEST], row->of[LIMIT_ONE_STREAM], row->ns_cached);
    (void)fflush(to);
}

static const char *verdict(double got, double wanted)
{
    return got >= wanted ? "met" : "not met";
}

static void print_goal(FILE *to, const struct bench_row *row)
{
    const struct bench_stage *stage = row->stage;
    const char *set = sp_cpu_name(row->set);
    const double fastest = row->of[LIMIT_FASTEST], one = row->of[LIMIT_ONE_STREAM];

    if (stage->voters > 0)
        (void)fprintf(to, "goal: %s: at least %.1f GB/s of input bits; %.1f with %s: %s\n", stage->name, stage->goal,
                      row->gbs, set, verdict(row->gbs, stage->goal));
    else
        (void)fprintf(
            to, "goal: %s: at least %.2f of the %s limit; with %s %.2f of the fastest: %s; %.2f of one stream: %s\n",
            stage->name, stage->goal, limit_word(stage), set, fastest, verdict(fastest, stage->goal), one,
            verdict(one, stage->goal));
}

void bench_print_goals(FILE *to, const struct bench_row rows[], unsigned n, enum sp_cpu set)
{
    (void)fputc('\n', to);
    for (unsigned i = 0; i < n; i++) {
        if (rows[i].set == set && rows[i].stage->goal > 0)
            print_goal(to, &rows[i]);
    }
}

static void write_row(FILE *to, const struct bench_row *row, bool last)
{
    const struct bench_stage *stage = row->stage;

    (void)fprintf(to,
                  "    {\"stage\": \"%s\", \"kernels\": \"%s\", \"ns\": %.5f, \"ns_cached\": %.5f, \"gbs\": %.3f, "
                  "\"limit\": \"%s\", \"bytes_read\": %.3f, \"bytes_written\": %.3f, \"of_limit\": %.4f, "
                  "\"of_one_stream\": %.4f, \"goal\": %.3f}%s\n",
                  stage->name, stage->orients ? "-" : sp_cpu_name(row->set), row->ns, row->ns_cached, row->gbs,
                  limit_word(stage), stage->read, stage->write, row->of[LIMIT_FASTEST], row->of[LIMIT_ONE_STREAM],
                  stage->goal, last ? "" : ",");
}

int bench_write_json(const char *path, const struct limits *limits, size_t coordinates, const struct bench_row rows[],
                     unsigned n)
{
    const struct limit_of *of = limits->of;
    FILE *to = fopen(path, "w");
    int rc;

    if (to == NULL)
        return errno;
    (void)fprintf(to,
                  "{\n  \"coordinates\": %zu,\n  \"limits_gbs\": {\"read\": %.3f, \"rmw\": %.3f, "
                  "\"read_one_stream\": %.3f, \"rmw_one_stream\": %.3f},\n  \"rows\": [\n",
                  coordinates, of[LIMIT_FASTEST].read_gbs, of[LIMIT_FASTEST].write_gbs, of[LIMIT_ONE_STREAM].read_gbs,
                  of[LIMIT_ONE_STREAM].write_gbs);
    for (unsigned i = 0; i < n; i++)
        write_row(to, &rows[i], i + 1 == n);
    (void)fprintf(to, "  ]\n}\n");
    rc = ferror(to) != 0 ? EIO : 0;
    return fclose(to) != 0 && rc == 0 ? errno : rc;
}
