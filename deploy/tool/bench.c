/* signpost bench: how long a round takes, and what it costs.
 *
 * Happy path: a folder, the job file, the server; when it answers, the load processes and the spares; when all of them
 * have measured, the server is stopped in order, and its summary and their records are read.
 *
 * Failure: whatever ends early, or does not go on for longer than it may, ends all, with its name and the end of its
 * log. Nothing that was started stays behind.
 */
#include "deploy/tool/bench.h"

#include "common/cli.h"
#include "deploy/tool/bench_arguments.h"
#include "deploy/tool/process.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 20
#define START_S 20.0
#define END_S 30.0
#define PATIENCE_S 60.0       /* without progress */
#define SLOW_LINE_BYTES_S 5e6 /* weights are sent at least so fast, or --timeout has to say so */

struct bench {
    struct bench_options options;
    struct bench_children children;
    struct bench_shared *shared;
    struct bench_part part;
    struct bench_result result;
    char folder[BENCH_PATH_BYTES], run[BENCH_PATH_BYTES + 8], tls[BENCH_PATH_BYTES];
    char server_path[BENCH_PATH_BYTES], self[BENCH_PATH_BYTES];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

double bench_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void bench_sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&pause, NULL);
}

/* --- starting --------------------------------------------------------------------------------------------------------
 */

static int start_server(struct bench *b, struct sp_error *error)
{
    char config[BENCH_PATH_BYTES + 16], log[BENCH_PATH_BYTES + 16];
    char *arguments[] = {b->server_path,
                         (char *)"--config",
                         config,
                         (char *)"--out",
                         b->run,
                         (char *)"--listen",
                         (char *)b->options.listen,
                         (char *)"--exchange-only",
                         NULL};

    (void)snprintf(config, sizeof config, "%s/job.yaml", b->folder);
    (void)snprintf(log, sizeof log, "%s/server.log", b->folder);
    if (b->options.listen == NULL)
        arguments[6] = (char *)"127.0.0.1:0";
    if (b->options.compute)
        arguments[7] = NULL;
    return bench_child_start(&b->children, "the server", log, b->options.server_prefix, 1, arguments, error);
}

/* Nothing went wrong with those that were started, and nobody wants us to end. */
static int check(struct bench *b, struct sp_error *error)
{
    if (interrupted != 0)
        return sp_error_set(error, SP_E_CLOSED, "stopped by signal %d", (int)interrupted);
    return bench_children_check(&b->children, error);
}

/* True when it has said where it listens, and which process it is. */
static bool server_answers(struct bench *b)
{
    struct sp_error error = {0};
    json_t *status = tool_ask(b->run, "status", &error);
    const char *address = json_string_value(json_object_get(status, "address"));

    b->part.server_pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
    if (address != NULL && strncmp(address, "0.0.0.0:", 8) == 0)
        (void)snprintf(b->part.server, sizeof b->part.server, "127.0.0.1:%s", address + 8);
    else if (address != NULL)
        (void)snprintf(b->part.server, sizeof b->part.server, "%s", address);
    json_decref(status);
    return address != NULL && b->part.server_pid > 0;
}

static int await_server(struct bench *b, struct sp_error *error)
{
    double until = bench_seconds() + START_S;
    int rc;

    while ((rc = check(b, error)) == SP_OK && !server_answers(b)) {
        if (bench_seconds() > until) {
            (void)sp_error_set(error, SP_E_TIMEOUT,
                               "the server did not come up within %.0f s; the end of its log:", START_S);
            bench_log_end(b->children.child[0].log, error);
            return SP_E_TIMEOUT;
        }
        bench_sleep_ms(POLL_MS);
    }
    return rc;
}

/* Process `number` of one kind: its file, its log, its command. */
static int start_part(struct bench *b, const char *kind, unsigned number, unsigned host, const char *name,
                      struct sp_error *error)
{
    char path[BENCH_PATH_BYTES + 32], log[BENCH_PATH_BYTES + 32], command[32];
    char *arguments[] = {b->self, command, path, NULL};

    b->part.number = number;
    (void)snprintf(command, sizeof command, "bench-%s", kind);
    (void)snprintf(path, sizeof path, "%s/%s-%u.part", b->folder, kind, number);
    (void)snprintf(log, sizeof log, "%s/%s-%u.log", b->folder, kind, number);
    if (bench_part_write(&b->part, path, error) != SP_OK)
        return SP_E_IO;
    return bench_child_start(&b->children, name, log, b->options.worker_prefix, host + 2, arguments, error);
}

static int start_load(struct bench *b, struct sp_error *error)
{
    const struct bench_options *o = &b->options;
    char name[64];
    int rc = SP_OK;

    for (uint32_t i = 0; i < o->processes && rc == SP_OK; i++) {
        b->part.first = o->workers * i / o->processes;
        b->part.count = o->workers * (i + 1) / o->processes - b->part.first;
        (void)snprintf(name, sizeof name, "load process %u (workers %u to %u)", i, b->part.first,
                       b->part.first + b->part.count - 1);
        rc = start_part(b, "load", i, i, name, error);
    }
    return rc;
}

static int start_spares(struct bench *b, struct sp_error *error)
{
    const struct bench_options *o = &b->options;
    uint32_t started = 0;
    char name[64];
    int rc = SP_OK;

    for (unsigned i = 0; started < o->spares && rc == SP_OK; i++) {
        b->part.first = started;
        b->part.count = o->spares - started < BENCH_SPARES_EACH ? o->spares - started : BENCH_SPARES_EACH;
        (void)snprintf(name, sizeof name, "process %u of spares (%u to %u)", i, started, started + b->part.count - 1);
        rc = start_part(b, "spare", i, i % o->processes, name, error);
        started += b->part.count;
    }
    return rc;
}

/* --- waiting ---------------------------------------------------------------------------------------------------------
 */

static double patience(const struct bench_options *o)
{
    if (o->patience_s > 0.0)
        return o->patience_s;
    return PATIENCE_S + 2.0 * 4.0 * (double)o->params * o->workers / SLOW_LINE_BYTES_S;
}

/* Until a number on the shared page is what it should become; *progress is one that grows meanwhile. */
static int await(struct bench *b, const _Atomic uint32_t *number, uint32_t goal, const _Atomic uint32_t *progress,
                 const char *what, struct sp_error *error)
{
    double limit = patience(&b->options), since = bench_seconds();
    uint32_t seen = *progress;
    int rc;

    while ((rc = check(b, error)) == SP_OK && *number < goal) {
        if (*progress != seen) {
            seen = *progress;
            since = bench_seconds();
        } else if (bench_seconds() - since > limit) {
            (void)sp_error_set(
                error, SP_E_TIMEOUT,
                "%s: nothing went on for %.0f s (--timeout) after %u; the end of the server's log:", what, limit, seen);
            bench_log_end(b->children.child[0].log, error);
            return SP_E_TIMEOUT;
        }
        bench_sleep_ms(POLL_MS);
    }
    return rc;
}

static int measure(struct bench *b, struct sp_error *error)
{
    int rc = start_server(b, error);

    if (rc == SP_OK)
        rc = await_server(b, error);
    (void)snprintf(b->result.address, sizeof b->result.address, "%s", b->part.server);
    if (rc == SP_OK)
        rc = start_load(b, error);
    /* When a round has begun all slots are taken, and who comes is a spare. */
    if (rc == SP_OK && b->options.spares > 0) {
        rc = await(b, &b->shared->begun, 1, &b->shared->begun, "waiting for the first round", error);
        if (rc == SP_OK)
            rc = start_spares(b, error);
        if (rc == SP_OK)
            rc = await(b, &b->shared->spares, b->options.spares, &b->shared->spares, "waiting for the spares", error);
    }
    b->shared->ready = 1;
    if (rc == SP_OK)
        rc = await(b, &b->shared->finished, b->options.processes, &b->shared->begun, "waiting for rounds", error);
    return rc;
}

/* --- the whole -------------------------------------------------------------------------------------------------------
 */

static int stop(struct bench *b, struct sp_error *error)
{
    int rc;

    (void)kill(b->part.server_pid, SIGTERM);
    rc = bench_child_end(&b->children.child[0], END_S, error);
    for (unsigned i = 1; i < b->children.count && rc == SP_OK; i++)
        rc = bench_child_end(&b->children.child[i], END_S, error);
    return rc;
}

static int find_programs(struct bench *b, struct sp_error *error)
{
    ssize_t n = readlink("/proc/self/exe", b->self, sizeof b->self - 1);

    if (n <= 0)
        return sp_error_set(error, SP_E_IO, "cannot tell where this program lies: %s", strerror(errno));
    b->self[n] = '\0';
    tool_find_program("signpostd", "server", b->server_path, sizeof b->server_path);
    return SP_OK;
}

static int prepare(struct bench *b, struct sp_error *error)
{
    struct sigaction action = {.sa_handler = on_signal};
    int rc = bench_memory_check(&b->options, error);

    if (rc == SP_OK)
        rc = find_programs(b, error);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    if (rc == SP_OK)
        rc = bench_folder_make(b->folder, error);
    if (rc != SP_OK) {
        b->folder[0] = '\0';
        return rc;
    }
    (void)snprintf(b->run, sizeof b->run, "%s/run", b->folder);
    (void)snprintf(b->part.folder, sizeof b->part.folder, "%s", b->folder);
    if (b->options.listen != NULL)
        (void)snprintf(b->part.token_file, sizeof b->part.token_file, "%.*s/token", BENCH_PATH_BYTES - 8, b->folder);
    if (b->options.tls != NULL && realpath(b->options.tls, b->tls) == NULL)
        return sp_error_set(error, SP_E_IO, "--tls %s: %s (deploy/make-certs.sh makes such a folder)", b->options.tls,
                            strerror(errno));
    if (b->options.tls != NULL) {
        b->options.tls = b->tls;
        (void)snprintf(b->part.tls, sizeof b->part.tls, "%s", b->tls);
    }
    b->part.params = b->options.params;
    b->part.rounds = b->options.rounds;
    b->part.warmup = b->options.warmup;
    b->part.compute = b->options.compute;
    b->shared = bench_share(b->folder, true, error);
    if (b->shared == NULL)
        return SP_E_IO;
    b->shared->ready = b->options.spares == 0;
    return bench_job_write(&b->options, b->folder, error);
}

int bench_run(const struct bench_options *options, struct bench_result *result, struct sp_error *error)
{
    static struct bench bench;
    struct bench *b = &bench;
    int rc;

    memset(b, 0, sizeof *b);
    b->options = *options;
    rc = prepare(b, error);
    if (rc == SP_OK)
        rc = bench_children_init(&b->children, error);
    if (rc == SP_OK)
        rc = measure(b, error);
    if (rc == SP_OK)
        rc = stop(b, error);
    if (rc == SP_OK)
        rc = bench_result_read(&b->options, b->folder, &b->result, error);
    bench_children_finish(&b->children);
    if (b->folder[0] != '\0' && !options->keep)
        bench_folder_remove(b->folder);
    else if (b->folder[0] != '\0')
        (void)fprintf(stderr, TOOL " bench: job file, logs and results are in %s\n", b->folder);
    *result = b->result;
    return rc;
}

int tool_bench(int argc, char **argv)
{
    struct bench_options options;
    struct bench_result result;
    struct sp_error error = {0};

    if (bench_arguments(&options, argc, argv) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    if (options.advise)
        return bench_advise(&options);
    if (bench_run(&options, &result, &error) != SP_OK)
        return sp_cli_fail(TOOL " bench", error.text);
    bench_print(&options, &result);
    return SP_EXIT_DONE;
}
