/* What a load process writes down, and what follows from it. */
#include "deploy/tool/bench_load.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MIN 10
#define ROUNDS_BY_TIME_MAX 20000

static double clock_seconds(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int bench_record_begin(struct bench_record *record, const struct bench_part *part, struct sp_error *error)
{
    uint32_t rounds = part->rounds > 0 ? part->rounds : ROUNDS_BY_TIME_MAX;

    memset(record, 0, sizeof *record);
    record->room = part->warmup + rounds + 1;
    record->moment = calloc(record->room, sizeof *record->moment);
    if (record->moment == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the times of %u rounds", record->room);
    if (part->number == 0 && clock_getcpuclockid(part->server_pid, &record->server_clock) != 0)
        return sp_error_set(error, SP_E_IO,
                            "cannot see the processor time of the server (process %d); it has to run in the same "
                            "space of process numbers",
                            (int)part->server_pid);
    return SP_OK;
}

void bench_record_end(struct bench_record *record)
{
    free(record->moment);
    record->moment = NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of the rounds from+1 to from+count: how long each took, in ascending order; the caller's. NULL: no memory. */
static double *sorted_times(const struct bench_record *record, uint32_t from, uint32_t count)
{
    double *times = malloc(count * sizeof *times);

    for (uint32_t i = 0; times != NULL && i < count; i++)
        times[i] = record->moment[from + i + 1].when - record->moment[from + i].when;
    if (times != NULL)
        qsort(times, count, sizeof *times, by_size);
    return times;
}

static double median_of(const double *sorted, uint32_t count)
{
    return count % 2 == 1 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

/* The smallest value that 99 of 100 do not exceed. */
static double p99_of(const double *sorted, uint32_t count)
{
    return sorted[(uint32_t)ceil(0.99 * count) - 1];
}

static uint32_t choose_rounds(const struct bench_record *record, const struct bench_part *part)
{
    double *times, rounds;

    if (part->rounds > 0)
        return part->rounds;
    times = sorted_times(record, 0, part->warmup);
    if (times == NULL)
        return ROUNDS_MIN;
    rounds = BENCH_AIM_S / fmax(median_of(times, part->warmup), 1e-9);
    free(times);
    return (uint32_t)fmin(fmax(rounds, ROUNDS_MIN), ROUNDS_BY_TIME_MAX);
}

/* VmRSS and VmHWM, in bytes. */
static void look_at_server(struct bench_record *record, pid_t pid)
{
    char path[64], line[128];
    unsigned long long kib;
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            record->server_rss = (double)kib * 1024.0;
        else if (sscanf(line, "VmHWM: %llu", &kib) == 1)
            record->server_rss_peak = (double)kib * 1024.0;
    }
    if (file != NULL)
        (void)fclose(file);
}

int bench_record_round(struct bench_record *record, const struct bench_part *part, struct bench_shared *shared,
                       uint32_t round, struct sp_error *error)
{
    uint32_t t = round - 1;

    if (t == 0 && part->number == 0) {
        shared->begun = 1;
        while (shared->ready == 0)
            bench_sleep_ms(5);
    }
    if (t >= record->room)
        return sp_error_set(error, SP_E_STATE, "round %u came after the measurement's end", round);
    record->moment[t].when = bench_seconds();
    record->moment[t].cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (part->number != 0)
        return SP_OK;
    record->moment[t].server_cpu = clock_seconds(record->server_clock);
    shared->begun = round;
    if (t == part->warmup) {
        record->last = part->warmup + choose_rounds(record, part);
        shared->last = record->last;
    } else if (t == record->last) {
        look_at_server(record, part->server_pid);
    }
    return SP_OK;
}

static json_t *times_json(const struct bench_record *record, uint32_t from, uint32_t rounds)
{
    const struct bench_moment *first = &record->moment[from], *last = &record->moment[from + rounds];
    double *times = sorted_times(record, from, rounds);
    json_t *json;

    if (times == NULL)
        return NULL;
    json = json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "rounds", (int)rounds, "round_ms_median",
                     1e3 * median_of(times, rounds), "round_ms_p99", 1e3 * p99_of(times, rounds), "server_cpu_ms",
                     1e3 * (last->server_cpu - first->server_cpu) / rounds, "server_rss", record->server_rss,
                     "server_rss_peak", record->server_rss_peak);
    free(times);
    return json;
}

int bench_record_write(const struct bench_record *record, const struct bench_part *part, struct sp_error *error)
{
    uint32_t last = part->number == 0 ? record->last : 0, rounds;
    char path[BENCH_PATH_BYTES + 32];
    json_t *json;
    int rc;

    while (part->number != 0 && last + 1 < record->room && record->moment[last + 1].when > 0.0)
        last++;
    rounds = last - part->warmup;
    json = part->number == 0 ? times_json(record, part->warmup, rounds) : json_object();
    rc = json_object_set_new(json, "worker_cpu_ms",
                             json_real(1e3 * (record->moment[last].cpu - record->moment[part->warmup].cpu) / rounds));
    (void)snprintf(path, sizeof path, "%s/load-%u.json", part->folder, part->number);
    if (rc == 0)
        rc = json_dump_file(json, path, 0);
    json_decref(json);
    return rc == 0 ? SP_OK : sp_error_set(error, SP_E_IO, "cannot write %s: %s", path, strerror(errno));
}
