/* Every stage's kernels beside the memory limits of this machine: kernels --help. Run by hand, on a quiet machine;
 * limit and kernel are timed in alternation, and a ratio is the median of the pairs' ratios. */
#include "common/check.h"
#include "server/vote.h"
#include "tests/bench/kernels_bench.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX (BENCH_STAGES_MAX * SP_CPU_SETS)
#define REPEATS_MAX 101
#define REPEATS_LEAST 3
#define SECONDS_A_STAGE 4.0
#define CACHED_SECONDS 0.5e-3 /* of one measurement in the cache */
#define COORDINATES_LEAST 4096
#define BYTES_MOST 8e9

struct options {
    size_t coordinates, block;
    unsigned voters[4], voters_count;
    unsigned repeats;
    bool set[SP_CPU_SETS];
    const char *only, *json;
    bool goals;
};

enum { OPTION_SET = 1000, OPTION_BLOCK, OPTION_ONLY, OPTION_JSON, OPTION_GOALS, OPTION_REPEATS };

static const struct argp_option options_known[] = {
    {"set", OPTION_SET, "SET", 0, "scalar, avx2, avx512 or all; if left out, what the programs use here, and scalar",
     0},
    {"coordinates", 'd', "D", 0, "length of the arrays (25000000)", 0},
    {"workers", 'w', "M", 0, "votes of M workers alone, in place of 4, 16, 64 and 255", 0},
    {"block", OPTION_BLOCK, "D", 0, "coordinates of the block that stays in the cache (8192)", 0},
    {"repeats", OPTION_REPEATS, "N", 0, "measurements of each stage, at most (15)", 0},
    {"only", OPTION_ONLY, "NAME", 0, "stages that have NAME in their names", 0},
    {"goals", OPTION_GOALS, NULL, 0, "then a line for each goal: what was wanted, what it is", 0},
    {"json", OPTION_JSON, "FILE", 0, "the figures as JSON too", 0},
    {0},
};

static unsigned long long number(struct argp_state *state, const char *what, const char *text, unsigned long long least,
                                 unsigned long long most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < least || value > most)
        argp_error(state, "--%s is '%s'; it must be a number from %llu to %llu", what, text, least, most);
    return value;
}

static void take_set(struct argp_state *state, struct options *options, const char *name)
{
    bool found = false;

    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
        if (strcmp(name, "all") != 0 && strcmp(name, sp_cpu_name(set)) != 0)
            continue;
        if (sp_cpu_has(set))
            options->set[set] = found = true;
        else if (strcmp(name, "all") != 0)
            argp_error(state, "--set is '%s', but this processor or this build has not got these instructions", name);
    }
    if (!found)
        argp_error(state, "--set is '%s'; it may be scalar, avx2, avx512 or all", name);
}

static error_t take_option(int key, char *value, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_SET:
        take_set(state, options, value);
        return 0;
    case 'd':
        options->coordinates = (size_t)number(state, "coordinates", value, COORDINATES_LEAST, UINT64_C(1) << 30);
        return 0;
    case 'w':
        options->voters[0] = (unsigned)number(state, "workers", value, 1, SP_VOTES_MAX);
        options->voters_count = 1;
        return 0;
    case OPTION_BLOCK:
        options->block = (size_t)number(state, "block", value, COORDINATES_LEAST, 1u << 24);
        return 0;
    case OPTION_REPEATS:
        options->repeats = (unsigned)number(state, "repeats", value, REPEATS_LEAST, REPEATS_MAX);
        return 0;
    case OPTION_ONLY:
        options->only = value;
        return 0;
    case OPTION_GOALS:
        options->goals = true;
        return 0;
    case OPTION_JSON:
        options->json = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- measuring -------------------------------------------------------------------------------------------------------
 */

struct bench {
    struct options options;
    struct limits limits;
    struct bench_data all, block;
    struct bench_row rows[ROWS_MAX];
    unsigned rows_count;
};

/* Seconds that memory takes for what the stage must do with it. */
static double time_limit(const struct bench *bench, enum limit_kind kind, const struct bench_stage *stage)
{
    const struct bench_data *data = &bench->all;
    const double d = (double)data->coordinates;
    const void *from = data->values[0];
    size_t span = data->coordinates * sizeof(float);
    double seconds = 0.0;

    if (stage->write > 0)
        seconds += limits_time_write(&bench->limits, kind, data->theta, span, (size_t)(stage->write * d));
    if (stage->voters > 0) {
        from = stage->chunks ? data->window : data->votes;
        span = stage->voters * (stage->chunks ? data->window_stride : data->votes_stride);
    }
    if (stage->read > 0)
        seconds += limits_time_read(&bench->limits, kind, from, span, (size_t)(stage->read * d));
    return seconds;
}

static double time_stage(const struct bench_stage *stage, struct bench_data *data, unsigned times)
{
    const double start = bench_now();

    for (unsigned i = 0; i < times; i++)
        stage->run(stage, data);
    return (bench_now() - start) / times;
}

static double time_cached(const struct bench_stage *stage, struct bench_data *block, unsigned repeats)
{
    double seconds[REPEATS_MAX], once = time_stage(stage, block, 3);
    unsigned times = once * 1000 < CACHED_SECONDS ? 1000 : 1 + (unsigned)(CACHED_SECONDS / once);

    for (unsigned i = 0; i < repeats; i++)
        seconds[i] = time_stage(stage, block, times);
    return bench_median(seconds, repeats);
}

struct samples {
    double seconds[REPEATS_MAX], of[LIMIT_KINDS][REPEATS_MAX];
};

static void sample(struct bench *bench, const struct bench_stage *stage, enum sp_cpu set, struct samples *samples,
                   unsigned i)
{
    sp_cpu_use(set);
    for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++)
        samples->of[kind][i] = time_limit(bench, kind, stage);
    samples->seconds[i] = time_stage(stage, &bench->all, 1);
    for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++)
        samples->of[kind][i] /= samples->seconds[i];
}

static void report(struct bench *bench, const struct bench_stage *stage, enum sp_cpu set, struct samples *samples,
                   unsigned n)
{
    struct bench_row *row = &bench->rows[bench->rows_count++];

    sp_cpu_use(set);
    *row = (struct bench_row){.stage = stage, .set = set};
    row->ns = 1e9 * bench_median(samples->seconds, n) / (double)bench->all.coordinates;
    row->ns_cached = 1e9 * time_cached(stage, &bench->block, n) / (double)bench->block.coordinates;
    row->gbs = (stage->read + 2.0 * stage->write) / row->ns;
    for (enum limit_kind kind = 0; kind < LIMIT_KINDS; kind++)
        row->of[kind] = bench_median(samples->of[kind], n);
    bench_print_row(stdout, row);
}

static bool takes_part(const struct bench *bench, const struct bench_stage *stage, enum sp_cpu set)
{
    bool first = true;

    for (enum sp_cpu before = 0; before < set; before++)
        first = first && !bench->options.set[before];
    return bench->options.set[set] && (first || !stage->orients);
}

/* All sets in turn, the first time to warm up. */
static void measure(struct bench *bench, const struct bench_stage *stage)
{
    static struct samples samples[SP_CPU_SETS];
    const double start = bench_now();
    unsigned n = 0;

    for (unsigned i = 0; i < bench->options.repeats + 1; i++) {
        for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
            if (takes_part(bench, stage, set))
                sample(bench, stage, set, &samples[set], i == 0 ? 0 : i - 1);
        }
        n = i;
        if (n >= REPEATS_LEAST && bench_now() - start > SECONDS_A_STAGE)
            break;
    }
    for (enum sp_cpu set = 0; set < SP_CPU_SETS; set++) {
        if (takes_part(bench, stage, set))
            report(bench, stage, set, &samples[set], n);
    }
}

static void check_memory(const struct options *options)
{
    unsigned voters = options->voters[options->voters_count - 1];
    double bytes = bench_data_bytes(options->coordinates, voters);

    if (bytes <= BYTES_MOST)
        return;
    (void)fprintf(stderr,
                  "kernels: %zu coordinates and votes of %u workers would take %.1f GB, more than %.0f: give fewer "
                  "--coordinates or --workers\n",
                  options->coordinates, voters, bytes * 1e-9, BYTES_MOST * 1e-9);
    exit(EXIT_FAILURE);
}

static void measure_all(struct bench *bench, const struct bench_stage stages[], unsigned n)
{
    const struct options *options = &bench->options;

    limits_choose(&bench->limits, bench->all.theta, options->coordinates * sizeof(float) / LIMIT_STEP * LIMIT_STEP);
    bench_print_limits(stdout, &bench->limits, options->coordinates);
    bench_print_head(stdout);
    for (unsigned i = 0; i < n; i++) {
        if (options->only == NULL || strstr(stages[i].name, options->only) != NULL)
            measure(bench, &stages[i]);
    }
    if (bench->rows_count == 0) {
        (void)fprintf(stderr, "kernels: no stage has '%s' in its name; without --only all are named\n", options->only);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = options_known,
                                     .parser = take_option,
                                     .doc = "Times every stage's kernels beside what one core's memory allows."};
    static struct bench_stage stages[BENCH_STAGES_MAX];
    static struct bench bench = {
        .options = {
            .coordinates = 25000000, .block = 8192, .voters = {4, 16, 64, 255}, .voters_count = 4, .repeats = 15}};
    struct options *options = &bench.options;
    enum sp_cpu best = sp_cpu();
    int rc = 0;

    (void)argp_parse(&argp, argc, argv, 0, NULL, options);
    if (!options->set[SP_CPU_SCALAR] && !options->set[SP_CPU_AVX2] && !options->set[SP_CPU_AVX512])
        options->set[SP_CPU_SCALAR] = options->set[best] = true;
    check_memory(options);
    bench_data_make(&bench.all, options->coordinates, options->voters[options->voters_count - 1]);
    bench_data_make(&bench.block, options->block, options->voters[options->voters_count - 1]);
    measure_all(&bench, stages, bench_stages(stages, options->voters, options->voters_count));
    if (options->goals)
        bench_print_goals(stdout, bench.rows, bench.rows_count, best);
    if (options->json != NULL)
        rc = bench_write_json(options->json, &bench.limits, options->coordinates, bench.rows, bench.rows_count);
    if (rc != 0)
        (void)fprintf(stderr, "kernels: cannot write %s: %s\n", options->json, strerror(rc));
    bench_data_free(&bench.all);
    bench_data_free(&bench.block);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
