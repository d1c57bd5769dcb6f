/* One rank of an all-reduce of float32 by MPI, for compare.sh, which builds it with mpicc:
 *
 *     mpirun -n M allreduce_mpi D ROUNDS WARM on|off [INTERFACE]
 *
 * off: the all-reduce alone, each after a barrier. on: then SGD with momentum 0.9 as well, rounds without a pause.
 * Every rank prints the line of JSON that exchange_torch.py describes. */
#include <errno.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RATE 1e-3f
#define MOMENTUM 0.9f
#define PARAMS_MAX 2000000000L
#define ROUNDS_MAX 1000000L

struct job {
    long params, rounds, warm;
    bool compute;
    const char *interface;
    float *gradient, *sum, *momentum, *weights;
    double *seconds;
    double cpu;
    int rank, ranks;
};

static double clock_seconds(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fail(const char *words, const char *what)
{
    (void)fprintf(stderr, "allreduce_mpi: %s%s\n", words, what);
    (void)MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1); /* which MPI_Abort() does not promise to do */
}

static long number(const char *text, long least, long most)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < least || value > most)
        fail("not a number in its range: ", text);
    return value;
}

static float *floats(long count)
{
    float *at = malloc((size_t)count * sizeof *at);

    if (at == NULL)
        fail("no memory for the arrays of the model", "");
    for (long i = 0; at != NULL && i < count; i++)
        at[i] = (float)((i * 2654435761u >> 8) & 0xffff) / 65536.0f - 0.5f;
    return at;
}

static void descend(const struct job *job)
{
    float part = 1.0f / (float)job->ranks;

    for (long i = 0; i < job->params; i++) {
        job->momentum[i] = MOMENTUM * job->momentum[i] + job->sum[i] * part;
        job->weights[i] -= RATE * job->momentum[i];
    }
}

static void run(struct job *job, long rounds)
{
    double cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID), last = clock_seconds(CLOCK_MONOTONIC);

    job->cpu = 0.0;
    for (long i = 0; i < rounds; i++) {
        if (!job->compute) {
            (void)MPI_Barrier(MPI_COMM_WORLD);
            cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
            last = clock_seconds(CLOCK_MONOTONIC);
        }
        (void)MPI_Allreduce(job->gradient, job->sum, (int)job->params, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (job->compute)
            descend(job);
        job->seconds[i] = clock_seconds(CLOCK_MONOTONIC) - last;
        job->cpu += clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        last += job->seconds[i];
        cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    }
}

/* What an interface counted, in bytes. */
static double counter(const char *interface, const char *way)
{
    char path[256];
    double bytes = 0.0;
    FILE *file;

    (void)snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s_bytes", interface, way);
    file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%lf", &bytes) != 1)
        fail("cannot read ", path);
    if (file != NULL)
        (void)fclose(file);
    return bytes;
}

static void print(const struct job *job, const double counted[2])
{
    double ring = 2.0 * (job->ranks - 1) * 4.0 * (double)job->params / job->ranks;
    char text[128] = "null";
    size_t room = 256 + (size_t)job->rounds * 16, used;
    char *line = malloc(room);

    if (line == NULL)
        fail("no memory for the times", "");
    if (job->interface != NULL)
        (void)snprintf(text, sizeof text, "[%.0f, %.0f]", counted[0] / (double)job->rounds,
                       counted[1] / (double)job->rounds);
    used = (size_t)snprintf(line, room, "{\"seconds\": [");
    for (long i = 0; i < job->rounds; i++)
        used += (size_t)snprintf(line + used, room - used, "%s%.6f", i == 0 ? "" : ", ", job->seconds[i]);
    (void)snprintf(line + used, room - used, "], \"cpu\": %.6f, \"bytes\": [%.0f, %.0f], \"counted\": %s}\n",
                   job->cpu / (double)job->rounds, ring, ring, text);
    (void)fputs(line, stdout); /* in one piece, so that the ranks' lines do not mix */
    (void)fflush(stdout);
    free(line);
}

int main(int argc, char **argv)
{
    struct job job = {0};
    double counted[2] = {0.0, 0.0};
    static const char *const ways[] = {"tx", "rx"};

    (void)MPI_Init(&argc, &argv);
    if (argc < 5)
        fail("arguments are: D ROUNDS WARM on|off [INTERFACE]", "");
    job.params = number(argv[1], 1, PARAMS_MAX);
    job.rounds = number(argv[2], 1, ROUNDS_MAX);
    job.warm = number(argv[3], 0, ROUNDS_MAX);
    job.compute = strcmp(argv[4], "on") == 0;
    job.interface = argc > 5 ? argv[5] : NULL;
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &job.ranks);
    job.gradient = floats(job.params);
    job.sum = floats(job.params);
    job.momentum = floats(job.params);
    job.weights = floats(job.params);
    job.seconds = calloc((size_t)(job.rounds > job.warm ? job.rounds : job.warm), sizeof *job.seconds);
    if (job.seconds == NULL)
        fail("no memory for the times", "");

    run(&job, job.warm);
    (void)MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 2 && job.interface != NULL; i++)
        counted[i] = -counter(job.interface, ways[i]);
    run(&job, job.rounds);
    for (int i = 0; i < 2 && job.interface != NULL; i++)
        counted[i] += counter(job.interface, ways[i]);
    print(&job, counted);
    (void)MPI_Finalize();
    return 0;
}
