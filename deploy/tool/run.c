/* signpost run: one server and all workers of a job on this machine; for `signpost launch` the workers on others.
 *
 * Happy path: the server is started; when its operator's socket answers with its process id, the workers are started
 * with the address that it listens on; when the server ends, the workers end by themselves, and the result is printed.
 *
 * Failures: a server that ends early ends all, with its exit code. A worker killed by a signal is started again (it
 * returns to the job); one that fails by itself is not, and its last line is shown; when all have failed the server is
 * stopped. Ctrl-C stops the job in order; a second one kills everything. Of a launch one worker that fails ends all,
 * unless it is told to go on; one whose line to its host broke is started again.
 */
#include "deploy/tool/run.h"
#include "common/cli.h"
#include "deploy/tool/process.h"
#include "deploy/tool/run_view.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>

#define PATH_BYTES 1300
#define POLL_MS 20
#define START_MS_MAX 15000
#define RESTARTS_MAX 5
#define RESTART_MS 1000 /* of a launch, doubled with each: hosts and lines may be away for some seconds */
#define GOODBYE_MS 5000
#define SAME_WISH_MS 500  /* signals within it are one */
#define PACE_EVERY_MS 100 /* how often a worker's log is looked at for it */
#define PACE_MS_MAX 60000
#define PACE_BEGIN "a round: " /* of worker/train/pace.c */
#define PACE_WORDS "in float32 the exchange would"

enum { KEY_TIED_TO = 256, KEY_FRESH, KEY_PLAIN };

struct run;

struct child {
    struct run *run;
    uv_process_t process;
    int number;                /* of the worker; -1: the server */
    bool alive, failed, again; /* the last: it is started again */
    unsigned restarts;
    uint64_t due_ms;            /* when that is; 0: not, or not yet closed */
    struct launch_input *input; /* of its ssh; NULL: none */
};

struct run {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[6];
    struct sp_job job;
    struct sp_sets sets;
    const char *file, *out;
    bool fresh, plain;
    const struct launch *launch; /* NULL: all on this machine */
    char folder[PATH_BYTES], server_path[PATH_BYTES], worker_path[PATH_BYTES], address[300];
    struct child server;
    struct child *workers; /* owned */
    unsigned workers_alive;
    bool workers_started, stopping;
    uint64_t interrupted_ms;                       /* 0: not yet */
    uint64_t started_ms, server_ended_ms, pace_ms; /* the last: when a log was looked at; 0: it is settled */
    unsigned pace_next;
    int exit_code;
    struct run_view view;
};

static const int watched_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT};
#define SIGNALS (sizeof watched_signals / sizeof watched_signals[0])
#define ENDING_SIGNALS 3 /* the first of them; the others are the view's */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

/* --- starting programs ---------------------------------------------------------------------------------------------
 */

static void on_exit_of_child(uv_process_t *process, int64_t status, int signal_number);

/* `log` NULL: it is the server, which writes to our standard error, or to the view that is there. */
static int spawn(struct child *child, char **arguments, const char *log)
{
    struct run *run = child->run;
    int rc;

    child->process.data = child;
    if (log != NULL) {
        rc = tool_spawn(&run->loop, &child->process, arguments, log, 0, on_exit_of_child);
    } else {
        rc =
            tool_spawn_to(&run->loop, &child->process, arguments, run_view_server_end(&run->view), 0, on_exit_of_child);
        run_view_started(&run->view);
    }
    if (rc == SP_E_MISSING)
        run_view_say(&run->view, TOOL ": cannot start %s: there is no such program", arguments[0]);
    child->alive = rc == SP_OK;
    return rc;
}

/* Appends --set KEY=VALUE for every set. */
static void add_sets(const struct run *run, char **arguments, size_t *n)
{
    for (size_t i = 0; i < run->sets.count; i++) {
        arguments[(*n)++] = (char *)"--set";
        arguments[(*n)++] = (char *)run->sets.item[i];
    }
    arguments[*n] = NULL;
}

static int start_server(struct run *run)
{
    char *arguments[2 * SP_SETS_MAX + 9];
    size_t n = 0;

    arguments[n++] = run->server_path;
    arguments[n++] = (char *)"--config";
    arguments[n++] = (char *)run->file;
    arguments[n++] = (char *)"--out";
    arguments[n++] = run->folder;
    if (run->fresh)
        arguments[n++] = (char *)"--fresh";
    add_sets(run, arguments, &n);
    run->server.run = run;
    run->server.number = -1;
    return spawn(&run->server, arguments, NULL);
}

static void worker_log(const struct run *run, int number, char path[PATH_BYTES + 32])
{
    (void)snprintf(path, PATH_BYTES + 32, "%s/worker-%d.log", run->folder, number);
}

/* "worker 3", or "worker 3 on HOST". */
static const char *name_of(const struct run *run, int number)
{
    static char name[LAUNCH_NAME_BYTES + 32];

    if (run->launch == NULL)
        (void)snprintf(name, sizeof name, "worker %d", number);
    else
        (void)snprintf(name, sizeof name, "worker %d on %s", number,
                       launch_host_of(&run->launch->hosts, (unsigned)number)->name);
    return name;
}

static int launch_child(struct child *child, const char *log)
{
    struct run *run = child->run;
    const char *port = strrchr(run->address, ':');
    int rc;

    child->process.data = child;
    rc = launch_start(run->launch, (unsigned)child->number, (unsigned)atoi(port != NULL ? port + 1 : "0"), &run->loop,
                      &child->process, &child->input, log, on_exit_of_child);
    child->alive = rc == SP_OK;
    return rc;
}

static int start_worker(struct run *run, int number)
{
    char *arguments[2 * SP_SETS_MAX + 8];
    char log[PATH_BYTES + 32];
    struct child *child = &run->workers[number];
    size_t n = 0;

    arguments[n++] = run->worker_path;
    arguments[n++] = (char *)"--config";
    arguments[n++] = (char *)run->file;
    arguments[n++] = (char *)"--server";
    arguments[n++] = run->address;
    arguments[n++] = (char *)"--out";
    arguments[n++] = run->folder;
    add_sets(run, arguments, &n);
    child->run = run;
    child->number = number;
    child->again = false;
    worker_log(run, number, log);
    if ((run->launch != NULL ? launch_child(child, log) : spawn(child, arguments, log)) != SP_OK)
        return SP_E_IO;
    run->workers_alive++;
    return SP_OK;
}

/* --- what happens to them --------------------------------------------------------------------------------------------
 */

static void stop_server(struct run *run)
{
    run->stopping = true;
    if (run->server.alive)
        (void)uv_process_kill(&run->server.process, SIGTERM);
}

/* A worker on another machine ends by the end of its ssh's input, after ssh, or before if ssh waits for it. */
static void kill_all(struct run *run, int number)
{
    if (run->server.alive)
        (void)uv_process_kill(&run->server.process, number);
    for (uint32_t i = 0; i < run->job.workers; i++) {
        if (run->workers[i].alive)
            (void)uv_process_kill(&run->workers[i].process, number);
        launch_let_go(&run->workers[i].input);
    }
}

/* Why it is to be started again; NULL: it failed by itself, and would again. */
static const char *accident(const struct child *child, int64_t status, int signal_number, const char *log)
{
    static char words[64];

    if (child->run->launch == NULL && signal_number == 0)
        return NULL;
    if (child->run->launch != NULL && !launch_has_begun(log))
        return NULL;
    if (child->run->launch != NULL && signal_number == 0 && status == LAUNCH_GIVES_UP)
        return "lost its line to us";
    if (signal_number == 0 && status > 128) /* as the shell there tells of it */
        signal_number = (int)status - 128;
    if (signal_number == 0)
        return NULL;
    (void)snprintf(words, sizeof words, "was killed by signal %d", signal_number);
    return words;
}

/* The first is at once, and so are all on this machine, where nothing is awaited. */
static uint64_t restart_pause_ms(const struct child *child)
{
    return child->run->launch == NULL || child->restarts < 2 ? 0 : (uint64_t)RESTART_MS << (child->restarts - 1);
}

static const char *pause_words(const struct child *child)
{
    static char words[32];
    uint64_t pause_ms = restart_pause_ms(child);

    if (pause_ms == 0)
        return "";
    (void)snprintf(words, sizeof words, " in %llu s", (unsigned long long)pause_ms / 1000);
    return words;
}

static bool all_failed(const struct run *run)
{
    for (uint32_t i = 0; i < run->job.workers; i++) {
        if (!run->workers[i].failed)
            return false;
    }
    return true;
}

static void on_worker_exit(struct run *run, struct child *child, int64_t status, int signal_number)
{
    char log[PATH_BYTES + 32], line[512];
    const char *why;

    run->workers_alive--;
    launch_let_go(&child->input);
    if (!run->server.alive || run->stopping || (status == 0 && signal_number == 0))
        return;
    worker_log(run, child->number, log);
    why = accident(child, status, signal_number, log);
    if (why != NULL && child->restarts < RESTARTS_MAX) {
        child->restarts++;
        child->again = true;
        run_view_say(&run->view, TOOL ": %s %s; starting it again%s (log: %s)", name_of(run, child->number), why,
                     pause_words(child), log);
        return; /* its handle is closed first; restart_workers() starts it */
    }
    child->failed = true;
    tool_last_line(log, NULL, line, sizeof line);
    run_view_say(&run->view, TOOL ": %s failed (exit code %lld): %s (log: %s)", name_of(run, child->number),
                 (long long)status, line, log);
    if (run->launch != NULL && !run->launch->goes_on)
        run_view_say(&run->view, TOOL ": stopping the job, for a worker failed; with --go-on the others would go on");
    else if (all_failed(run))
        run_view_say(&run->view, TOOL ": all workers failed, the last one with: %s; stopping the server", line);
    else
        return;
    run->exit_code = SP_EXIT_FAILED;
    stop_server(run);
}

static void on_worker_closed(uv_handle_t *handle)
{
    struct child *child = handle->data;

    child->due_ms = now_ms() + restart_pause_ms(child);
}

static void restart_workers(struct run *run)
{
    for (uint32_t i = 0; i < run->job.workers && !run->stopping; i++) {
        struct child *child = &run->workers[i];

        if (child->due_ms == 0 || now_ms() < child->due_ms)
            continue;
        child->due_ms = 0;
        if (start_worker(run, (int)i) == SP_OK)
            continue;
        child->failed = true; /* why has been said */
        run_view_say(&run->view, TOOL ": %s cannot be started again; stopping the job", name_of(run, (int)i));
        run->exit_code = SP_EXIT_FAILED;
        stop_server(run);
    }
}

static void on_exit_of_child(uv_process_t *process, int64_t status, int signal_number)
{
    struct child *child = process->data;
    struct run *run = child->run;

    child->alive = false;
    if (child->number >= 0) {
        on_worker_exit(run, child, status, signal_number);
        uv_close((uv_handle_t *)process, child->again ? on_worker_closed : NULL);
        return;
    }
    run->server_ended_ms = now_ms();
    if (signal_number != 0) {
        run_view_say(&run->view, TOOL ": the server was killed by signal %d", signal_number);
        run->exit_code = SP_EXIT_FAILED;
    } else if (status != 0) {
        run->exit_code = (int)status;
    }
    uv_close((uv_handle_t *)process, NULL);
}

/* --- the clock -------------------------------------------------------------------------------------------------------
 */

/* The operator's socket of an earlier run may still lie there: only an answer with our server's process id counts. */
static bool server_is_up(struct run *run)
{
    struct sp_error error = {0};
    json_t *status = tool_ask(run->folder, "status", &error);
    const char *address = json_string_value(json_object_get(status, "address"));
    bool up = json_integer_value(json_object_get(status, "pid")) == run->server.process.pid && address != NULL;

    if (up && strncmp(address, "0.0.0.0:", 8) == 0)
        (void)snprintf(run->address, sizeof run->address, "127.0.0.1:%s", address + 8);
    else if (up)
        (void)snprintf(run->address, sizeof run->address, "%s", address);
    json_decref(status);
    return up;
}

static void start_workers(struct run *run)
{
    char log[PATH_BYTES + 32];

    run->workers_started = true;
    run_view_ask(&run->view);
    run->pace_ms = now_ms();
    for (uint32_t i = 0; i < run->job.workers; i++) {
        worker_log(run, (int)i, log);
        (void)unlink(log);
        if (start_worker(run, (int)i) != SP_OK) {
            run->exit_code = SP_EXIT_FAILED;
            stop_server(run);
            return;
        }
    }
    run_view_say(&run->view, TOOL ": %u workers started%s, their logs are %s/worker-*.log", run->job.workers,
                 run->launch != NULL ? " by ssh" : "", run->folder);
}

/* What the first rounds cost is in the workers' logs: shown once, from one that could tell what float32 would take. */
static void show_pace(struct run *run)
{
    char log[PATH_BYTES + 32], line[512];
    const char *words;

    if (run->pace_ms == 0 || now_ms() - run->pace_ms < PACE_EVERY_MS)
        return;
    run->pace_ms = now_ms() - run->started_ms < PACE_MS_MAX ? now_ms() : 0;
    worker_log(run, (int)(run->pace_next++ % run->job.workers), log);
    tool_line_with(log, PACE_WORDS, line, sizeof line);
    words = strstr(line, PACE_BEGIN);
    if (words == NULL)
        return;
    run_view_say(&run->view, TOOL ": %s", words);
    run->pace_ms = 0;
}

static void finish(struct run *run)
{
    uv_close((uv_handle_t *)&run->timer, NULL);
    for (size_t i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&run->signals[i], NULL);
    run_view_end(&run->view);
}

static void on_timer(uv_timer_t *timer)
{
    struct run *run = timer->data;

    run_view_tick(&run->view);
    if (!run->server.alive) {
        if (run->workers_alive == 0 && (run_view_drained(&run->view) || now_ms() - run->server_ended_ms >= GOODBYE_MS))
            finish(run);
        else if (now_ms() - run->server_ended_ms >= GOODBYE_MS)
            kill_all(run, SIGKILL);
    } else if (!run->workers_started && server_is_up(run)) {
        start_workers(run);
    } else if (!run->workers_started && now_ms() - run->started_ms >= START_MS_MAX && !run->stopping) {
        run_view_say(&run->view, TOOL ": the server did not answer within %d s; stopping it", START_MS_MAX / 1000);
        run->exit_code = SP_EXIT_FAILED;
        stop_server(run);
    } else if (run->workers_started) {
        restart_workers(run);
        show_pace(run);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct run *run = handle->data;

    if (number == SIGTSTP) {
        run_view_stop(&run->view);
        return;
    }
    if (number == SIGWINCH || number == SIGCONT) {
        run_view_resize(&run->view);
        return;
    }
    if (run->interrupted_ms > 0 && (number == SIGHUP || now_ms() - run->interrupted_ms < SAME_WISH_MS))
        return; /* a terminal's end is told by several, and a batch system may send more than one signal */
    if (run->interrupted_ms > 0) {
        run_view_say(&run->view, TOOL ": again: killing everything");
        run->exit_code = SP_EXIT_FAILED;
        kill_all(run, SIGKILL);
        return;
    }
    run->interrupted_ms = now_ms();
    run_view_say(&run->view, TOOL ": stopping the job in order; once more kills it");
    stop_server(run);
}

/* As nohup leaves it: the job goes on without its terminal. */
static bool ignores_hangup(void)
{
    struct sigaction action;

    return sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int supervise(struct run *run)
{
    (void)uv_loop_init(&run->loop);
    (void)uv_timer_init(&run->loop, &run->timer);
    run->timer.data = run;
    run->started_ms = now_ms();
    run_view_begin(&run->view, &run->loop, run->folder, run->plain);
    /* Signals first: one that came after the server's start and killed us would leave the server behind. */
    for (size_t i = 0; i < SIGNALS; i++) {
        (void)uv_signal_init(&run->loop, &run->signals[i]);
        run->signals[i].data = run;
        if (watched_signals[i] == SIGHUP && ignores_hangup())
            continue;
        if (i < ENDING_SIGNALS || run->view.on)
            (void)uv_signal_start(&run->signals[i], on_signal, watched_signals[i]);
    }
    if (start_server(run) != SP_OK) {
        run->exit_code = SP_EXIT_FAILED;
        finish(run);
    } else {
        (void)uv_timer_start(&run->timer, on_timer, POLL_MS, POLL_MS);
    }
    (void)uv_run(&run->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&run->loop);
    tool_watched_finish(&run->view.watched);
    return run->exit_code;
}

/* Of a launch, for each host: how its workers fared. */
static void say_hosts(const struct run *run)
{
    unsigned number = 0;

    for (unsigned i = 0; run->launch != NULL && run->workers_started && i < run->launch->hosts.count; i++) {
        const struct launch_host *host = &run->launch->hosts.host[i];
        unsigned workers = 0, again = 0, failed = 0;

        for (; workers < host->slots && number < run->job.workers; workers++, number++) {
            again += run->workers[number].restarts;
            failed += run->workers[number].failed;
        }
        (void)fprintf(stderr, TOOL ": on %s: workers %u, started again %u, failed %u\n", host->name, workers, again,
                      failed);
    }
}

/* --- the order -------------------------------------------------------------------------------------------------------
 */

int run_job(const struct run_order *order)
{
    static struct run run;
    struct sp_error error = {0};
    int rc;

    run.job = *order->job;
    run.sets = *order->sets;
    run.file = order->file;
    run.fresh = order->fresh;
    run.plain = order->plain;
    run.launch = order->launch;
    if (order->out != NULL)
        (void)snprintf(run.folder, sizeof run.folder, "%s", order->out);
    else
        (void)snprintf(run.folder, sizeof run.folder, "runs/%s", run.job.job);
    tool_find_program("signpostd", "server", run.server_path, PATH_BYTES);
    tool_find_program("signpost-worker", "worker/train", run.worker_path, PATH_BYTES);
    run.workers = calloc(run.job.workers, sizeof *run.workers);
    if (run.workers == NULL)
        return sp_cli_fail(TOOL, "out of memory");
    rc = supervise(&run);
    say_hosts(&run);
    free(run.workers);
    if (rc == SP_EXIT_DONE && tool_print_result(stdout, run.folder, &error) != SP_OK)
        rc = sp_cli_fail(TOOL, error.text);
    return rc;
}

/* --- arguments -------------------------------------------------------------------------------------------------------
 */

struct arguments {
    struct sp_sets sets;
    const char *file, *out;
    bool fresh, plain;
};

/* A job that another program started is not left behind by it: it ends in order when that one is gone. */
static void tie_to_parent(const char *parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (strtol(parent, NULL, 10) != getppid())
        exit(sp_cli_fail(TOOL, "the program that started this job is gone already"));
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case KEY_TIED_TO:
        tie_to_parent(value);
        break;
    case KEY_FRESH:
        arguments->fresh = true;
        break;
    case KEY_PLAIN:
        arguments->plain = true;
        break;
    case 'o':
        arguments->out = value;
        break;
    case 's':
        sp_sets_add(&arguments->sets, value, state);
        break;
    case ARGP_KEY_ARG:
        if (arguments->file != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        arguments->file = value;
        break;
    case ARGP_KEY_END:
        if (arguments->file == NULL)
            argp_error(state, "name the job file");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int tool_run(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "DIR", 0, "The run's folder; default runs/<job>", 0},
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file, e.g. seed=7; repeatable", 0},
        {"fresh", KEY_FRESH, NULL, 0, "Begin anew, even if the folder holds a run that did not come to its end", 0},
        {"plain", KEY_PLAIN, NULL, 0, "No live view at the bottom of the terminal: plain lines", 0},
        {"tied-to", KEY_TIED_TO, "PID", OPTION_HIDDEN, "Stop in order when this process, our parent, ends", 0},
        {0}};
    static const struct argp argp = {
        options,
        parse,
        "JOB.yaml",
        "Runs a whole job on this machine, one server and all of its workers, and prints the result." SP_CLI_EXAMPLE
        "signpost run configs/digits.yaml --set seed=7 --out runs/seven",
        NULL,
        NULL,
        NULL};
    static struct arguments arguments;
    static struct sp_job job;
    struct run_order order = {.job = &job, .sets = &arguments.sets};
    struct sp_error error = {0};
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    if (sp_cli_load(TOOL, arguments.file, &arguments.sets, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    if (sp_job_need_data(&job, &error) != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        return SP_EXIT_USAGE;
    }
    order.file = arguments.file;
    order.out = arguments.out;
    order.fresh = arguments.fresh;
    order.plain = arguments.plain;
    return run_job(&order);
}
