/* signpost bench-load: some of the workers, in one loop, over libsignpost.
 *
 * Happy path: each joins its slot, and pushes whenever a gradient is due. Worker 0 of process 0 says on the shared page
 * which round is the last, before it pushes the first measured one, so that nobody can be past it. After that round all
 * stay connected, push nothing more, and wait for the server's goodbye.
 */
#include "deploy/tool/bench_load.h"
#include "common/cli.h"
#include "common/rng.h"
#include "deploy/tool/bench.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define READY_MAX 64

struct worker {
    signpost *s; /* owned */
    uint32_t slot;
    bool finished, over;
};

struct load {
    struct bench_part part;
    struct bench_shared *shared;
    struct bench_record record;
    struct worker worker[SP_WORKERS_MAX];
    float *gradient; /* owned: more than the model, so that workers and rounds can take it from different places */
    int loop;
    uint32_t finished, over;
    double due; /* when all workers are to be looked at, readable or not */
};

/* --- gradients -------------------------------------------------------------------------------------------------------
 */

#define PLACES 4096u
#define PLACE 16u /* floats: a cache line */

/* The sum of the four bytes of a random word is near enough to a normal distribution. */
static float normal_like(uint32_t word)
{
    uint32_t sum = (word & 0xffu) + (word >> 8 & 0xffu) + (word >> 16 & 0xffu) + (word >> 24);

    return ((float)sum - 510.0f) * (1.0f / 14800.0f); /* standard deviation 0.01 */
}

static float *make_gradient(uint64_t count, uint32_t lane)
{
    struct sp_rng_key key = sp_rng_key(1, SP_RNG_TEST);
    uint64_t blocks = (count + PLACES * PLACE) / 4 + 1;
    float *values = aligned_alloc(64, (size_t)((blocks * 16 + 63) / 64 * 64));

    for (uint64_t i = 0; values != NULL && i < blocks; i++) {
        uint32_t words[4];

        sp_rng_block(key, i, 0, lane, words);
        for (unsigned k = 0; k < 4; k++)
            values[4 * i + k] = normal_like(words[k]);
    }
    return values;
}

static const float *gradient_of(const struct load *load, const struct worker *worker, uint32_t round)
{
    if (load->gradient == NULL)
        return signpost_weights(worker->s); /* nobody reads it */
    return load->gradient + (uint64_t)((worker->slot * 1009u + round * 7919u) % PLACES) * PLACE;
}

/* --- rounds ----------------------------------------------------------------------------------------------------------
 */

static int fail_worker(const struct worker *worker, const char *what)
{
    (void)fprintf(stderr, TOOL " bench-load: worker %u: %s: %s\n", worker->slot, what, signpost_error(worker->s));
    return SP_E_IO;
}

static int finish(struct load *load, struct worker *worker)
{
    struct sp_error error = {0};

    if (worker->finished)
        return SP_OK;
    worker->finished = true;
    if (++load->finished < load->part.count)
        return SP_OK;
    if (bench_record_write(&load->record, &load->part, &error) != SP_OK)
        return sp_cli_fail(TOOL " bench-load", error.text);
    load->shared->finished++;
    return SP_OK;
}

static int push(struct load *load, struct worker *worker, uint32_t round)
{
    struct sp_error error = {0};
    uint32_t last;

    if (worker == &load->worker[0] && bench_record_round(&load->record, &load->part, load->shared, round, &error) != 0)
        return sp_cli_fail(TOOL " bench-load", error.text);
    last = load->shared->last;
    if (last != 0 && round > last)
        return finish(load, worker);
    if (signpost_gradient(worker->s, 0, load->part.params, gradient_of(load, worker, round)) != SIGNPOST_OK)
        return fail_worker(worker, "cannot give its gradient");
    if (signpost_push(worker->s, 1.0, 1) != SIGNPOST_OK)
        return fail_worker(worker, "cannot push");
    return SP_OK;
}

/* The job is stopped when all have measured; before that its end is a failure. */
static int end_worker(struct load *load, struct worker *worker)
{
    worker->over = true;
    load->over++;
    return worker->finished ? SP_OK : fail_worker(worker, "the job ended before it was measured");
}

static int answer(struct load *load, struct worker *worker)
{
    struct signpost_event event;

    while (!worker->over) {
        int rc = signpost_process(worker->s, &event);

        if (rc != SIGNPOST_OK)
            return fail_worker(worker, "lost");
        if (event.type == SIGNPOST_NOTHING)
            break;
        rc = SP_OK;
        if (event.type == SIGNPOST_INIT && signpost_init_done(worker->s) != SIGNPOST_OK) /* zeros will do */
            rc = fail_worker(worker, "cannot give initial weights");
        else if (event.type == SIGNPOST_GRADIENT)
            rc = push(load, worker, event.round);
        else if (event.type == SIGNPOST_DONE)
            rc = end_worker(load, worker);
        if (rc != SP_OK)
            return rc;
    }
    if (!worker->over)
        load->due = fmin(load->due, bench_seconds() + signpost_timeout_ms(worker->s) / 1e3);
    return SP_OK;
}

static int answer_all(struct load *load)
{
    int rc = SP_OK;

    load->due = INFINITY;
    for (uint32_t i = 0; i < load->part.count && rc == SP_OK; i++)
        rc = answer(load, &load->worker[i]);
    return rc;
}

static int turn(struct load *load)
{
    struct epoll_event ready[READY_MAX];
    double wait_s = load->due - bench_seconds();
    int count, rc = SP_OK;

    count = epoll_wait(load->loop, ready, READY_MAX, wait_s > 0.0 ? (int)ceil(wait_s * 1e3) : 0);
    for (int i = 0; i < count && rc == SP_OK; i++) {
        if (ready[i].data.ptr == NULL)
            return sp_cli_fail(TOOL " bench-load", "the program that started it is gone");
        rc = answer(load, ready[i].data.ptr);
    }
    if (rc == SP_OK && bench_seconds() >= load->due)
        rc = answer_all(load);
    return rc;
}

/* --- making ----------------------------------------------------------------------------------------------------------
 */

static void on_log(void *arg, int level, const char *line)
{
    const struct worker *worker = arg;

    if (level != SIGNPOST_LOG_DEBUG)
        (void)fprintf(stderr, "worker %u: %s\n", worker->slot, line);
}

static int open_worker(struct load *load, struct worker *worker, const struct signpost_tensor *tensors, uint32_t count)
{
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    char words[256], cert[BENCH_PATH_BYTES + 16], key[BENCH_PATH_BYTES + 16], ca[BENCH_PATH_BYTES + 16];

    options.server = load->part.server;
    options.job = BENCH_JOB;
    options.program = "signpost bench";
    options.token_file = load->part.token_file[0] != '\0' ? load->part.token_file : NULL;
    if (load->part.tls[0] != '\0') {
        (void)snprintf(cert, sizeof cert, "%s/worker.crt", load->part.tls);
        (void)snprintf(key, sizeof key, "%s/worker.key", load->part.tls);
        (void)snprintf(ca, sizeof ca, "%s/ca.crt", load->part.tls);
        options.tls_cert = cert;
        options.tls_key = key;
        options.tls_ca = ca;
        options.tls_name = "localhost";
    }
    options.tensors = tensors;
    options.tensors_count = count;
    options.slot = (int)worker->slot;
    options.log = on_log;
    options.log_arg = worker;
    if (signpost_open(&worker->s, &options, words, sizeof words) != SIGNPOST_OK)
        return sp_cli_fail(TOOL " bench-load", words);
    if (!load->part.compute)
        sp_client_exchange_only(worker->s);
    return SP_OK;
}

static int watch(const struct load *load, int fd, void *owner)
{
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = owner};

    /* What was started with a file for its input needs no leash, and epoll takes none. */
    if (epoll_ctl(load->loop, EPOLL_CTL_ADD, fd, &want) == 0 || (owner == NULL && errno == EPERM))
        return SP_OK;
    (void)fprintf(stderr, TOOL " bench-load: cannot watch a connection: %s\n", strerror(errno));
    return SP_E_IO;
}

static int open_workers(struct load *load)
{
    static struct signpost_tensor tensors[SP_TENSORS_MAX];
    struct sp_layout layout = {0};
    struct sp_error error = {0};
    int rc = bench_layout(&layout, load->part.params, &error);

    if (rc != SP_OK)
        return sp_cli_fail(TOOL " bench-load", error.text);
    for (uint32_t i = 0; i < layout.tensors_count; i++) {
        const struct sp_tensor *tensor = &layout.tensors[i];

        tensors[i] = (struct signpost_tensor){
            .name = tensor->name, .shape = tensor->shape, .dims = tensor->dims, .flags = tensor->flags};
    }
    for (uint32_t i = 0; i < load->part.count && rc == SP_OK; i++) {
        load->worker[i].slot = load->part.first + i;
        rc = open_worker(load, &load->worker[i], tensors, layout.tensors_count);
        if (rc == SP_OK)
            rc = watch(load, signpost_fd(load->worker[i].s), &load->worker[i]);
    }
    sp_layout_finish(&layout);
    return rc;
}

static int set_up(struct load *load, const char *path)
{
    struct rlimit files;
    struct sp_error error = {0};

    if (bench_part_read(&load->part, path, &error) != SP_OK)
        return sp_cli_fail(TOOL " bench-load", error.text);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    load->shared = bench_share(load->part.folder, false, &error);
    load->loop = epoll_create1(EPOLL_CLOEXEC);
    if (load->shared == NULL || load->loop < 0 || bench_record_begin(&load->record, &load->part, &error) != SP_OK)
        return sp_cli_fail(TOOL " bench-load", error.text[0] != '\0' ? error.text : strerror(errno));
    if (load->part.compute) {
        load->gradient = make_gradient(load->part.params, load->part.number);
        if (load->gradient == NULL)
            return sp_cli_fail(TOOL " bench-load", "no memory for a gradient");
    }
    return watch(load, STDIN_FILENO, NULL) == SP_OK ? open_workers(load) : SP_E_IO;
}

int tool_bench_load(int argc, char **argv)
{
    static struct load load;
    int rc;

    if (argc != 2) {
        (void)sp_cli_fail(TOOL, "bench-load is a part of 'signpost bench', which starts it");
        return SP_EXIT_USAGE;
    }
    rc = set_up(&load, argv[1]);
    if (rc == SP_OK)
        rc = answer_all(&load);
    while (rc == SP_OK && load.over < load.part.count)
        rc = turn(&load);
    for (uint32_t i = 0; i < load.part.count; i++)
        signpost_close(load.worker[i].s);
    free(load.gradient);
    bench_record_end(&load.record);
    return rc == SP_OK ? SP_EXIT_DONE : SP_EXIT_FAILED;
}
