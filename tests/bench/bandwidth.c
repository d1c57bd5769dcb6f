#define LIMIT_BYTES 16
#define LIMIT_NAME "128 bits"
#define LIMIT_TABLE limit_ways
#include "common/check.h"
#include "common/cpu.h"
#include "tests/bench/bandwidth_ways.h"

#include <stdlib.h>
#include <time.h>

#define TRIALS 9
#define LIMIT_WAYS_MAX (LIMIT_WAYS * SP_CPU_SETS)

static volatile uint64_t sink;

double bench_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *numbers, size_t n)
{
    sp_assert(n > 0);
    qsort(numbers, n, sizeof *numbers, by_size);
    return n % 2 == 1 ? numbers[n / 2] : (numbers[n / 2 - 1] + numbers[n / 2]) / 2.0;
}

static double time_read(limit_read_pass *pass, const void *memory, size_t span, size_t bytes)
{
    const double start = bench_now();

    for (size_t done = 0; done < bytes; done += span) {
        size_t piece = bytes - done < span ? bytes - done : span;

        sink = sink + pass(memory, piece / LIMIT_STEP * LIMIT_STEP);
    }
    return bench_now() - start;
}

static double time_write(limit_write_pass *pass, void *memory, size_t span, size_t bytes)
{
    const double start = bench_now();

    for (size_t done = 0; done < bytes; done += span) {
        size_t piece = bytes - done < span ? bytes - done : span;

        pass(memory, piece / LIMIT_STEP * LIMIT_STEP, 0.0f);
    }
    return bench_now() - start;
}

double limits_time_read(const struct limits *limits, enum limit_kind kind, const void *memory, size_t span,
                        size_t bytes)
{
    return time_read(limits->of[kind].read, memory, span, bytes);
}

double limits_time_write(const struct limits *limits, enum limit_kind kind, void *memory, size_t span, size_t bytes)
{
    return time_write(limits->of[kind].write, memory, span, bytes);
}

static void take_read(struct limit_of *of, const struct limit_way *way, double gbs)
{
    if (gbs <= of->read_gbs)
        return;
    of->read_gbs = gbs;
    of->read = way->read;
    of->read_name = way->name;
}

static void take_write(struct limit_of *of, const struct limit_way *way, double gbs)
{
    if (gbs <= of->write_gbs)
        return;
    of->write_gbs = gbs;
    of->write = way->write;
    of->write_name = way->name;
}

/* All ways in turn, so that what else the machine does meanwhile befalls all of them. */
static void try_ways(struct limits *limits, const struct limit_way *const ways[], unsigned n, void *memory,
                     size_t bytes)
{
    static double read[LIMIT_WAYS_MAX][TRIALS], write[LIMIT_WAYS_MAX][TRIALS];

    for (unsigned trial = 0; trial < TRIALS; trial++) {
        for (unsigned i = 0; i < n; i++) {
            read[i][trial] = time_read(ways[i]->read, memory, bytes, bytes);
            write[i][trial] = time_write(ways[i]->write, memory, bytes, bytes);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        const double read_gbs = 1e-9 * (double)bytes / bench_median(read[i], TRIALS);
        const double write_gbs = 2e-9 * (double)bytes / bench_median(write[i], TRIALS);

        take_read(&limits->of[LIMIT_FASTEST], ways[i], read_gbs);
        take_write(&limits->of[LIMIT_FASTEST], ways[i], write_gbs);
        if (i % LIMIT_WAYS == 0) {
            take_read(&limits->of[LIMIT_ONE_STREAM], ways[i], read_gbs);
            take_write(&limits->of[LIMIT_ONE_STREAM], ways[i], write_gbs);
        }
    }
}

void limits_choose(struct limits *limits, void *memory, size_t bytes)
{
    const struct limit_way *tables[SP_CPU_SETS] = SP_CPU_TABLE(limit_ways, limit_ways_avx2, limit_ways_avx512);
    const struct limit_way *ways[LIMIT_WAYS_MAX];
    unsigned n = 0;

    *limits = (struct limits){0};
    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
        for (unsigned i = 0; tables[set] != NULL && sp_cpu_has(set) && i < LIMIT_WAYS; i++)
            ways[n++] = &tables[set][i];
    }
    try_ways(limits, ways, n, memory, bytes);
}
