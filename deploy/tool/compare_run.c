/* The processes of signpost compare: `signpost run` for every run that waits, some at a time.
 *
 * Happy path: each of --jobs places runs one job; when it has ended its results are read, and the place takes the next
 * run that waits.
 *
 * Failures: a run that fails is told of, and the others go on. A process that cannot be started closes its place. On
 * the first signal no more are started and those that run are stopped in order; a second one makes them kill all that
 * they started. If we are killed ourselves, they are stopped by --tied-to.
 */
#include "deploy/tool/compare.h"
#include "deploy/tool/process.h"
#include "deploy/tool/tool.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_BYTES 1024
#define INFO " info  " /* lines of a log that do not tell of what went wrong */

struct pool;

struct place {
    struct pool *pool;
    uv_process_t process;
    struct compare_run *run;
    bool alive;
};

struct pool {
    struct compare *compare;
    uv_loop_t loop;
    uv_signal_t intr, term;
    struct place *places;  /* owned; compare->jobs */
    size_t next;           /* the first run that was not looked at for a place yet */
    size_t waiting, ended; /* runs to make as it began, and how many of them have ended */
    uint32_t alive;
    unsigned signals;
    bool failed;
    uint64_t started_ms;
    char parent[24];
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

/* --- what people see -------------------------------------------------------------------------------------------------
 */

static size_t terminal_width(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* On a terminal the line of progress stays the last one, and is written anew; a line that is to `stay` goes above it.
 */
static void __attribute__((format(printf, 2, 3))) say(bool stay, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (!isatty(STDERR_FILENO))
        (void)fprintf(stderr, "%s\n", line);
    else if (stay)
        (void)fprintf(stderr, "\r\033[K%s\n", line);
    else
        (void)fprintf(stderr, "\r\033[K%.*s", (int)terminal_width() - 1, line);
    (void)fflush(stderr);
}

static void time_left(const struct pool *pool, char *text, size_t bytes)
{
    size_t left = pool->waiting - pool->ended;
    double seconds = (double)(now_ms() - pool->started_ms) / 1000.0 / (double)pool->ended * (double)left;

    text[0] = '\0';
    if (left == 0)
        return;
    if (seconds < 90.0)
        (void)snprintf(text, bytes, "; about %.0f s left", seconds);
    else if (seconds < 5400.0)
        (void)snprintf(text, bytes, "; about %.0f min left", seconds / 60.0);
    else
        (void)snprintf(text, bytes, "; about %.1f h left", seconds / 3600.0);
}

static void say_ended(struct pool *pool, const struct compare_run *run)
{
    struct compare *compare = pool->compare;
    const char *name = compare->grid.rows[run->row].name;
    char left[48], accuracy[48] = "", path[COMPARE_PATH_BYTES];
    size_t count = compare->runs_count - pool->waiting + pool->ended;

    time_left(pool, left, sizeof left);
    compare_path(compare, run, "run.log", path);
    if (run->metric[COMPARE_ACCURACY] >= 0.0)
        (void)snprintf(accuracy, sizeof accuracy, "accuracy %.2f %%, ", run->metric[COMPARE_ACCURACY]);
    if (run->state == COMPARE_DONE)
        say(false, "[%zu/%zu] %s seed %" PRIu64 ": %s%.*f s%s", count, compare->runs_count, name, run->seed, accuracy,
            run->metric[COMPARE_SECONDS] < 10.0 ? 2 : 0, run->metric[COMPARE_SECONDS], left);
    else
        say(true, "[%zu/%zu] %s seed %" PRIu64 " failed: %s (log: %s/%s)%s", count, compare->runs_count, name,
            run->seed, run->why != NULL ? run->why : "out of memory", compare->out, path, left);
}

/* --- runs ------------------------------------------------------------------------------------------------------------
 */

static void start_next(struct place *place);

static void on_closed(uv_handle_t *handle)
{
    start_next(handle->data);
}

static void end_run(struct pool *pool, struct compare_run *run, const char *why)
{
    run->state = why == NULL ? COMPARE_DONE : COMPARE_FAILED;
    run->why = why == NULL ? NULL : strdup(why);
    pool->failed = pool->failed || why != NULL;
    pool->ended++;
    say_ended(pool, run);
}

static void on_exit_of_run(uv_process_t *process, int64_t status, int signal_number)
{
    struct place *place = process->data;
    struct pool *pool = place->pool;
    char path[COMPARE_PATH_BYTES], line[384] = "", why[SP_ERROR_TEXT_BYTES];
    struct sp_error error = {0};

    place->alive = false;
    pool->alive--;
    compare_path(pool->compare, place->run, "run.log", path);
    if (status == 0 && signal_number == 0 && compare_take(pool->compare, place->run, &error) == SP_OK) {
        end_run(pool, place->run, NULL);
    } else if (pool->signals == 0) { /* else it was stopped, and waits for the next time */
        tool_last_line(path, INFO, line, sizeof line);
        if (signal_number != 0)
            (void)snprintf(why, sizeof why, "killed by signal %d: %s", signal_number, line);
        else if (status != 0)
            (void)snprintf(why, sizeof why, "exit code %d: %s", (int)status, line);
        end_run(pool, place->run, signal_number == 0 && status == 0 ? error.text : why);
    }
    uv_close((uv_handle_t *)process, on_closed);
}

static int start_run(struct place *place)
{
    struct compare *compare = place->pool->compare;
    char out[COMPARE_PATH_BYTES], log[COMPARE_PATH_BYTES], seed[32];
    char *arguments[2 * SP_SETS_MAX + 12];
    struct sp_sets sets;
    size_t n = 0;

    (void)snprintf(seed, sizeof seed, "seed=%" PRIu64, place->run->seed);
    compare_path(compare, place->run, "", out);
    compare_path(compare, place->run, "run.log", log);
    arguments[n++] = (char *)"/proc/self/exe";
    arguments[n++] = (char *)"run";
    arguments[n++] = compare->absolute;
    arguments[n++] = (char *)"--out";
    arguments[n++] = out;
    arguments[n++] = (char *)"--tied-to";
    arguments[n++] = place->pool->parent;
    compare_sets(compare, place->run->row, &sets);
    sets.item[sets.count++] = seed;
    for (size_t i = 0; i < sets.count; i++) {
        arguments[n++] = (char *)"--set";
        arguments[n++] = (char *)sets.item[i];
    }
    arguments[n] = NULL;
    place->process.data = place;
    return tool_spawn(&place->pool->loop, &place->process, arguments, log, UV_PROCESS_DETACHED, on_exit_of_run);
}

static struct compare_run *take_next(struct pool *pool)
{
    struct compare *compare = pool->compare;

    while (pool->signals == 0 && pool->next < compare->runs_count) {
        struct compare_run *run = &compare->runs[pool->next++];
        struct sp_error error = {0};

        if (run->state != COMPARE_WAITING)
            continue;
        if (compare_prepare(compare, run, &error) == SP_OK)
            return run;
        end_run(pool, run, error.text);
    }
    return NULL;
}

static void start_next(struct place *place)
{
    struct pool *pool = place->pool;

    place->run = take_next(pool);
    if (place->run != NULL && start_run(place) == SP_OK) {
        place->alive = true;
        pool->alive++;
    } else if (place->run != NULL) {
        pool->failed = true; /* what is in the way of one process is in the way of others */
    }
    if (pool->alive == 0 && !uv_is_closing((uv_handle_t *)&pool->intr)) {
        uv_close((uv_handle_t *)&pool->intr, NULL);
        uv_close((uv_handle_t *)&pool->term, NULL);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct pool *pool = handle->data;

    (void)number;
    pool->signals++;
    if (pool->signals == 1)
        say(true, TOOL ": stopping %u run%s in order; once more kills %s", pool->alive, pool->alive == 1 ? "" : "s",
            pool->alive == 1 ? "it" : "them");
    else
        say(true, TOOL ": again: killing everything");
    for (uint32_t i = 0; i < pool->compare->jobs; i++)
        if (pool->places[i].alive)
            (void)uv_process_kill(&pool->places[i].process, SIGTERM);
}

static int make_runs(struct pool *pool)
{
    if (uv_loop_init(&pool->loop) != 0)
        return SP_E_NOMEM;
    (void)uv_signal_init(&pool->loop, &pool->intr);
    (void)uv_signal_init(&pool->loop, &pool->term);
    pool->intr.data = pool->term.data = pool;
    (void)uv_signal_start(&pool->intr, on_signal, SIGINT);
    (void)uv_signal_start(&pool->term, on_signal, SIGTERM);
    pool->started_ms = now_ms();
    for (uint32_t i = 0; i < pool->compare->jobs; i++)
        pool->places[i].pool = pool;
    for (uint32_t i = 0; i < pool->compare->jobs && (i == 0 || pool->alive > 0); i++)
        start_next(&pool->places[i]);
    (void)uv_run(&pool->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&pool->loop);
    return SP_OK;
}

int compare_run_all(struct compare *compare)
{
    static struct pool pool;
    size_t left = 0;

    pool.compare = compare;
    (void)snprintf(pool.parent, sizeof pool.parent, "%ld", (long)getpid());
    for (size_t i = 0; i < compare->runs_count; i++)
        pool.waiting += compare->runs[i].state == COMPARE_WAITING;
    if (pool.waiting == 0)
        return SP_EXIT_DONE;
    pool.places = calloc(compare->jobs, sizeof *pool.places);
    if (pool.places == NULL || make_runs(&pool) != SP_OK) {
        free(pool.places);
        return sp_cli_fail(TOOL, "out of memory");
    }
    free(pool.places);
    if (isatty(STDERR_FILENO) && pool.ended > 0)
        (void)fprintf(stderr, "\n");
    for (size_t i = 0; i < compare->runs_count; i++)
        left += compare->runs[i].state == COMPARE_WAITING;
    if (left > 0)
        (void)fprintf(stderr, TOOL ": %s with %zu of %zu runs made; the same command goes on from there\n",
                      pool.signals > 0 ? "stopped" : "ended", compare->runs_count - left, compare->runs_count);
    return pool.failed || left > 0 ? SP_EXIT_FAILED : SP_EXIT_DONE;
}
