#include "server/server.h"

#include "common/address.h"
#include "common/check.h"
#include "common/log.h"
#include "common/notify.h"
#include "server/http.h"
#include "server/server_state.h"
#include "server/status.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BACKLOG 511
#define BEAT_MS 250
#define OTHER_DESCRIPTORS 48u /* standard streams, loop, listeners, operators, files, and some */
#define RETURN_MS_MAX 6000    /* a worker's longest pause between attempts, and some */
#define GOODBYE_MS_MAX 9000
#define HELLO_MS_AFTER_END 1000
#define SAME_WISH_MS 500

uint64_t sp_server_now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

/* --- actions ---------------------------------------------------------------------------------------------------------
 */

static void do_welcome(struct sp_server *server, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME}};
    struct sp_peer *peer = sp_peer_find(server, action->peer);
    struct sp_setting *plan = calloc(sp_job_keys_count, sizeof *plan);
    char(*text)[SP_VALUE_BYTES] = calloc(sp_job_keys_count, sizeof *text);
    uint32_t n = 0;

    if (peer != NULL && plan != NULL && text != NULL) {
        for (size_t i = 0; i < sp_job_keys_count; i++) {
            if (!(sp_job_keys[i].flags & SP_KEY_PLAN))
                continue;
            sp_job_get(&server->job, &sp_job_keys[i], text[n], sizeof text[n]);
            plan[n].key = (char *)sp_job_keys[i].path;
            plan[n].value = text[n];
            n++;
        }
        peer->seated = !action->welcome.spare;
        message.welcome.spare = action->welcome.spare;
        message.welcome.slot = action->welcome.slot;
        memcpy(message.welcome.ticket, peer->ticket, SP_TICKET_BYTES);
        message.welcome.plan = plan;
        message.welcome.plan_count = n;
        message.welcome.alive_interval_ms = (uint32_t)(server->job.server.heartbeat_interval * 1e3);
        message.welcome.silence_ms_max = (uint32_t)(server->job.server.heartbeat_timeout * 1e3);
        sp_round_progress(server->round, &message.welcome);
        sp_peer_send_message(peer, &message);
    } else if (peer != NULL) {
        sp_peer_bye(peer, SP_REASON_FAILED, "the server has no memory for a WELCOME");
    }
    free(text);
    free(plan);
}

static void do_simple(struct sp_peer *peer, enum sp_frame_type type)
{
    struct sp_message message = {.frame = {.type = type}};

    if (peer != NULL)
        sp_peer_send_message(peer, &message);
}

static void do_eval(struct sp_server *server, const struct sp_action *action)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_EVAL, .round = action->round}};
    struct sp_peer *peer = sp_peer_find(server, action->peer);

    message.eval = action->eval;
    if (peer != NULL)
        sp_peer_send_message(peer, &message);
}

static void do_note(const struct sp_action *action)
{
    static const enum sp_log_level levels[] = {
        [SP_NOTE_WARN] = SP_LOG_WARN, [SP_NOTE_INFO] = SP_LOG_INFO, [SP_NOTE_DEBUG] = SP_LOG_DEBUG};

    sp_log(levels[action->note.level], "job", "%s", action->note.line);
}

static void log_report(const struct sp_server *server, const struct sp_report *report)
{
    struct sp_view view;
    char test[80] = "";
    bool sign = report->phase != SP_PHASE_SGD;

    sp_round_view(server->round, &view);
    if (report->evaluated && report->total > 0)
        (void)snprintf(test, sizeof test, ", test accuracy %.2f %% (%llu of %llu)%s",
                       100.0 * (double)report->correct / (double)report->total, (unsigned long long)report->correct,
                       (unsigned long long)report->total, report->total != report->expected ? ", partial" : "");
    if (sign)
        sp_log_info("train", "round %u/%u epoch %.1f %s: loss %.4g, gamma %.3g, sigma %.3g, margin %.2f%s",
                    report->round, view.rounds, report->epoch, sp_phase_name(report->phase), report->loss, report->rate,
                    report->sigma, report->margin, test);
    else
        sp_log_info("train", "round %u/%u epoch %.1f sgd: loss %.4g, lambda %.3g%s", report->round, view.rounds,
                    report->epoch, report->loss, report->rate, test);
}

static double seconds_so_far(const struct sp_server *server)
{
    return (double)(sp_server_now_ms() - server->started_ms) / 1e3;
}

/* A line of the history that could not be written is lost; that is said, and the job goes on. */
static void note_history(struct sp_server *server, int rc, const struct sp_error *error)
{
    if (rc == SP_OK && server->history_lost > 0) {
        sp_log_info("record", "the history is written again; %llu of its lines are missing",
                    (unsigned long long)server->history_lost);
        server->history_lost = 0;
    }
    if (rc == SP_OK)
        return;
    if (server->history_lost++ == 0)
        sp_log_error("record", "%s; lines of the history are missing until it can be written again", error->text);
    if (rc == SP_E_NOMEM) {
        server->code = rc;
        server->error = *error;
    }
}

static void do_report(struct sp_server *server, const struct sp_action *action)
{
    struct sp_point point = sp_progress_report(server, &action->report);
    struct sp_error error = {0};

    log_report(server, &action->report);
    note_history(server, sp_record_point(&server->record, &point, &error), &error);
}

static void do_event(struct sp_server *server, const struct sp_action *action)
{
    struct sp_error error = {0};

    note_history(server,
                 sp_record_event(&server->record, &action->event, sp_round_layout(server->round),
                                 seconds_so_far(server), &error),
                 &error);
}

static int write_results(struct sp_server *server, struct sp_error *error)
{
    struct sp_view view;
    json_t *summary = sp_summary_json(server);
    json_t *metadata;
    int rc;

    sp_round_view(server->round, &view);
    metadata = json_pack("{s:s, s:s*}", "job", server->job.job, "weights_digest",
                         json_string_value(json_object_get(summary, "weights_digest")));
    rc = sp_record_json(&server->record, "summary.json", summary, error);
    /* A summary that cannot be written is no reason to lose the weights as well. */
    if (view.theta != NULL) {
        struct sp_error *to = rc == SP_OK ? error : NULL;
        int model_rc =
            sp_record_model(&server->record, "model.safetensors", view.layout, view.theta, view.buffers, metadata, to);

        rc = rc == SP_OK ? model_rc : rc;
    }
    json_decref(metadata);
    json_decref(summary);
    if (rc == SP_OK)
        sp_log_info("record", "results are in %s: summary.json, history.jsonl%s", server->out,
                    view.theta != NULL ? ", model.safetensors" : "");
    else
        sp_log_error("record", "%s", error->text);
    return rc;
}

static void keep_last(struct sp_server *server)
{
    struct sp_error error = {0};
    int rc = sp_keep_last(server, &error);

    if (rc == SP_OK)
        return;
    sp_log_error("keep", "%s; a server that is started again goes on from an earlier round", error.text);
    server->code = rc;
    server->error = error;
}

static void leave_results(struct sp_server *server, bool stopped)
{
    struct sp_error error = {0};
    int rc = write_results(server, &error);

    while (rc == SP_E_IO && !stopped && sp_keep_make_room(server))
        rc = write_results(server, &error);
    if (rc == SP_OK && !stopped)
        sp_keep_finished(server);
    if (rc == SP_OK)
        return;
    server->code = rc;
    server->error = error;
}

static void close_listeners(struct sp_server *server)
{
    for (unsigned i = 0; i < server->listeners_count; i++)
        uv_close((uv_handle_t *)&server->listeners[i], NULL);
    server->listeners_count = 0;
}

/* Workers that had a slot and are not there: they may be on their way back, and would knock at a closed door for ever.
 */
static unsigned count_absent(struct sp_server *server)
{
    struct sp_view view;
    unsigned absent = 0;

    sp_round_view(server->round, &view);
    for (uint32_t i = 0; i < server->job.workers; i++)
        absent += view.slots[i].joins > 0 && !view.slots[i].live;
    return absent;
}

static void do_over(struct sp_server *server, const struct sp_action *action)
{
    bool stopped = action->bye.reason == SP_REASON_STOPPED;

    if (server->over)
        return;
    server->over = true;
    server->over_ms = sp_server_now_ms();
    sp_log_info("job", "%s", action->bye.words);
    if (action->bye.no_memory)
        server->code = sp_error_set(&server->error, SP_E_NOMEM, "%s", action->bye.words);
    server->absent = count_absent(server);
    if (!stopped)
        sp_keep_end(server);
    /* Goodbyes first: writing may take longer than a worker's patience with a silent server. */
    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (peer->stage >= SP_PEER_WORKER) /* the others believe it when they know us: see say_goodbye_to_strangers() */
            sp_peer_bye(peer, action->bye.reason, action->bye.words);
    if (stopped)
        keep_last(server);
    leave_results(server, stopped);
    if (server->absent > 0)
        sp_log_info("server", "%u workers lost their connection before the end; listening for %d s to tell them",
                    server->absent, RETURN_MS_MAX / 1000);
    else
        close_listeners(server);
    sp_operators_close(server);
    uv_unref((uv_handle_t *)&server->term);
    uv_unref((uv_handle_t *)&server->intr);
    uv_unref((uv_handle_t *)&server->hangup);
    uv_close((uv_handle_t *)&server->timer, NULL);
}

static void do_action(struct sp_server *server, const struct sp_action *action)
{
    struct sp_peer *peer = sp_peer_find(server, action->peer);
    uint64_t began;

    switch (action->type) {
    case SP_ACTION_WELCOME:
        do_welcome(server, action);
        break;
    case SP_ACTION_INIT:
        do_simple(peer, SP_FRAME_INIT);
        break;
    case SP_ACTION_WEIGHTS:
        if (peer != NULL)
            sp_update_weights(server, peer, action);
        break;
    case SP_ACTION_FOLLOW:
        if (peer != NULL)
            sp_update_follow(server, peer);
        break;
    case SP_ACTION_UPDATE:
        began = uv_hrtime();
        sp_update_chunk(server, action);
        server->progress.totals.send_ns += uv_hrtime() - began;
        break;
    case SP_ACTION_COMMIT:
        if (server->first_round_ms == 0)
            server->first_round_ms = sp_server_now_ms();
        if (sp_keep_commit(server, action))
            sp_update_commit(server, action);
        break;
    case SP_ACTION_EVAL:
        do_eval(server, action);
        break;
    case SP_ACTION_RESUME:
        if (peer != NULL)
            sp_peer_resume(peer);
        break;
    case SP_ACTION_BYE:
        if (peer != NULL)
            sp_peer_bye(peer, action->bye.reason, action->bye.words);
        break;
    case SP_ACTION_NOTE:
        do_note(action);
        break;
    case SP_ACTION_REPORT:
        do_report(server, action);
        break;
    case SP_ACTION_EVENT:
        do_event(server, action);
        break;
    case SP_ACTION_OVER:
        do_over(server, action);
        break;
    }
}

static void on_timer(uv_timer_t *timer);

static void arm_timer(struct sp_server *server)
{
    uint64_t now = sp_server_now_ms();
    uint64_t due = sp_round_due_ms(server->round);

    uv_update_time(&server->loop);
    (void)uv_timer_start(&server->timer, on_timer, due > now ? due - now : 1, 0);
}

static void settle(struct sp_server *server)
{
    uint64_t began = uv_hrtime();

    sp_round_settle(server->round);
    server->progress.totals.tally_ns += uv_hrtime() - began;
}

static bool flush(struct sp_server *server)
{
    uint64_t began = uv_hrtime();
    bool all = sp_update_flush(server);

    server->progress.totals.send_ns += uv_hrtime() - began;
    return all;
}

void sp_server_drain(struct sp_server *server)
{
    struct sp_action action;

    if (server->draining)
        return;
    server->draining = true;
    /* A COMMIT that waits for the disk holds up what follows it. */
    while (!sp_keep_waits(server) && sp_round_next(server->round, &action))
        do_action(server, &action);
    settle(server);
    server->draining = false;
    if (server->init != NULL && !sp_round_needs_init(server->round))
        sp_initial_close(server);
    if (!server->over)
        arm_timer(server);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct sp_server *server = prepare->data;

    do {
        while (!flush(server)) /* each time at least one follows no longer */
            sp_server_drain(server);
    } while (sp_peers_relieve(server));
}

/* --- the clock and the signals ---------------------------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer)
{
    struct sp_server *server = timer->data;

    sp_round_tick(server->round, sp_server_now_ms());
    sp_server_drain(server);
}

/* Who was in the handshake when the job ended hears of it at its end; who has not even said HELLO by now, at once. */
static void say_goodbye_to_strangers(struct sp_server *server)
{
    struct sp_view view;

    sp_round_view(server->round, &view);
    for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (peer->stage == SP_PEER_HELLO && sp_server_now_ms() - peer->since_ms >= HELLO_MS_AFTER_END)
            sp_peer_bye(peer, view.stopped ? SP_REASON_STOPPED : SP_REASON_DONE, view.over_reason);
}

/* libuv accepts nothing more at a listener whose connection was not taken: it is asked again with every beat. */
static void take_connection(struct sp_server *server, uv_stream_t *listener)
{
    server->knocks[(uv_tcp_t *)listener - server->listeners] = !sp_peer_accept(server, listener);
}

static void take_connections(struct sp_server *server)
{
    for (unsigned i = 0; i < server->listeners_count; i++) {
        if (server->knocks[i])
            take_connection(server, (uv_stream_t *)&server->listeners[i]);
    }
}

/* A line for `systemctl status`. */
static void write_state(void *arg, char *words, size_t bytes)
{
    const struct sp_server *server = arg;
    struct sp_welcome progress = {0};

    sp_round_progress(server->round, &progress);
    (void)snprintf(words, bytes, "job '%s': round %u of %u, %s phase%s", server->job.job, progress.round,
                   progress.rounds, sp_phase_name((enum sp_phase)progress.phase),
                   sp_round_has_started(server->round) ? "" : ", waiting for workers");
}

/* After the end: streams close by themselves within their time, then nothing holds the loop but this beat. */
static void on_beat(uv_timer_t *timer)
{
    struct sp_server *server = timer->data;

    take_connections(server);
    sp_operators_beat(server);
    sp_notify_beat(sp_server_now_ms(), write_state, server);
    if (!server->over) {
        sp_keep_beat(server);
        sp_peers_beat(server);
        return;
    }
    sp_notify_stopping();
    if (sp_server_now_ms() - server->over_ms >= HELLO_MS_AFTER_END)
        say_goodbye_to_strangers(server);
    if (server->absent > 0 && sp_server_now_ms() - server->over_ms < RETURN_MS_MAX)
        return;
    close_listeners(server);
    if ((server->peers_count == 0 && !sp_http_lingers(server)) ||
        sp_server_now_ms() - server->over_ms >= GOODBYE_MS_MAX) {
        for (struct sp_peer *peer = server->peers; peer != NULL; peer = peer->next)
            sp_stream_close(peer->stream);
        uv_close((uv_handle_t *)timer, NULL);
    }
}

static void say_certificate(const struct sp_server *server)
{
    if (server->security.tls != NULL)
        sp_log_info("server", "TLS: %s", sp_tls_files_words(server->security.tls));
}

/* A further signal is from somebody who waits for us to end, and so is the first after the job's end. Several at once
 * are one wish: Ctrl-C reaches all programs on a terminal, and `signpost run` then sends SIGTERM; batch systems do
 * alike. */
static void on_signal(uv_signal_t *handle, int number)
{
    struct sp_server *server = handle->data;
    bool again = server->signalled_ms > 0;
    const char *name = number == SIGTERM ? "SIGTERM" : "SIGINT";
    char words[64];

    if (again && sp_server_now_ms() - server->signalled_ms < SAME_WISH_MS)
        return;
    if (server->over) {
        sp_log_warn("server", "%s%s: ending at once; workers that do not know yet are not told", name,
                    again ? " again" : "");
        _exit(server->code == SP_OK ? EXIT_SUCCESS : EXIT_FAILURE); /* the results are written */
    }
    if (again) {
        sp_log_error("server", "%s again: ending at once, without results: a round is waiting for the disk still",
                     name);
        _exit(EXIT_FAILURE);
    }
    sp_log_info("server", "%s: writing the results and ending", name);
    (void)snprintf(words, sizeof words, "stopped by %s", name);
    sp_round_stop(server->round, words, sp_server_now_ms());
    sp_server_drain(server);
    server->signalled_ms = sp_server_now_ms();
}

/* For certificates that were renewed and secrets that were changed. */
static void on_hangup(uv_signal_t *handle, int number)
{
    struct sp_server *server = handle->data;
    struct sp_error error = {0};

    (void)number;
    if (sp_security_reload(&server->security, &server->job, &error) == SP_OK) {
        sp_log_info("server", "SIGHUP: secrets and certificates were read again, for connections from now on");
        say_certificate(server);
    } else {
        sp_log_error("server", "SIGHUP: %s; those that were read before stay in force", error.text);
    }
}

/* Every connection needs a descriptor, and what else the server opens until the end of the job must find one too: so
 * connections get a number of them, and where that is used up others wait for one. */
static int limit_connections(struct sp_server *server, struct sp_error *error)
{
    const unsigned others = OTHER_DESCRIPTORS + (sp_http_is_wanted(&server->job) ? SP_HTTP_CONNECTIONS_MAX : 0);
    const rlim_t wanted = server->limits.connections + CONNECTIONS_ENDING + others;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return sp_error_set(error, SP_E_IO, "cannot tell how many files may be open: %s", strerror(errno));
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < others + server->job.workers)
        return sp_error_set(
            error, SP_E_IO,
            "only %llu files may be open here, but %u workers need %u; raise the limit with 'ulimit -n'",
            (unsigned long long)limit.rlim_cur, server->job.workers, others + server->job.workers);
    server->peers_max = (unsigned)(limit.rlim_cur < wanted ? limit.rlim_cur : wanted) - others;
    return SP_OK;
}

/* --- opening ---------------------------------------------------------------------------------------------------------
 */

static void on_connection(uv_stream_t *listener, int status)
{
    if (status != 0) {
        sp_log_warn("server", "cannot accept a connection: %s", uv_strerror(status));
        return;
    }
    take_connection(listener->data, listener);
}

static int listen_on(struct sp_server *server, const struct sockaddr *address, const char *as_written,
                     struct sp_error *error)
{
    uv_tcp_t *listener = &server->listeners[server->listeners_count];
    int rc = uv_tcp_init(&server->loop, listener);

    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot make a socket: %s", uv_strerror(rc));
    server->listeners_count++;
    listener->data = server;
    rc = uv_tcp_bind(listener, address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)listener, BACKLOG, on_connection);
    if (rc == UV_EADDRINUSE)
        return sp_error_set(
            error, SP_E_IO,
            "cannot listen on %s: the port is taken; end the program that uses it, or choose another with "
            "--listen or server.listen",
            as_written);
    if (rc != 0)
        return sp_error_set(error, SP_E_IO, "cannot listen on %s: %s", as_written, uv_strerror(rc));
    return SP_OK;
}

/* The name may have several addresses (IPv4 and IPv6): listen on each, but only on the first if the port is chosen
 * freely. */
static int open_listeners(struct sp_server *server, const char *text, struct sp_error *error)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX], own;
    struct sp_address address;
    char bound[SP_ADDRESS_TEXT_BYTES];
    int length = (int)sizeof own;
    size_t count = 0;
    int rc = sp_address_parse(text, &address, error);

    if (rc == SP_OK)
        rc = sp_address_resolve(&address, true, found, &count, error);
    if (rc != SP_OK)
        return sp_error_prefix(error, "server.listen or --listen");
    if (strcmp(address.port, "0") == 0)
        count = 1;
    for (size_t i = 0; i < count && i < LISTENERS_MAX; i++) {
        const struct sockaddr *at = (const struct sockaddr *)&found[i];

        rc = sp_security_check(&server->security, &server->job, at, text, error);
        if (rc != SP_OK)
            return sp_error_prefix(error, "server.listen or --listen");
        rc = listen_on(server, at, text, error);
        if (rc != SP_OK)
            return rc;
    }
    if (uv_tcp_getsockname(&server->listeners[0], (struct sockaddr *)&own, &length) != 0)
        return sp_error_set(error, SP_E_IO, "cannot tell the own address");
    sp_address_text((const struct sockaddr *)&own, bound);
    (void)snprintf(server->address, sizeof server->address, "%s:%s", address.host, strrchr(bound, ':') + 1);
    if (strchr(address.host, ':') != NULL)
        (void)snprintf(server->address, sizeof server->address, "[%s]:%s", address.host, strrchr(bound, ':') + 1);
    return SP_OK;
}

static int open_clock(struct sp_server *server, struct sp_error *error)
{
    int rc;

    (void)uv_timer_init(&server->loop, &server->timer);
    (void)uv_timer_init(&server->loop, &server->beat);
    (void)uv_prepare_init(&server->loop, &server->prepare);
    uv_unref((uv_handle_t *)&server->prepare);
    server->prepare.data = server->timer.data = server->beat.data = server->term.data = server->intr.data =
        server->hangup.data = server;
    rc = uv_timer_start(&server->beat, on_beat, BEAT_MS, BEAT_MS);
    if (rc == 0)
        rc = uv_prepare_start(&server->prepare, on_prepare);
    if (rc == 0)
        rc = uv_signal_init(&server->loop, &server->term);
    if (rc == 0)
        rc = uv_signal_init(&server->loop, &server->intr);
    if (rc == 0)
        rc = uv_signal_start(&server->term, on_signal, SIGTERM);
    if (rc == 0)
        rc = uv_signal_start(&server->intr, on_signal, SIGINT);
    if (rc == 0)
        rc = uv_signal_init(&server->loop, &server->hangup);
    if (rc == 0)
        rc = uv_signal_start(&server->hangup, on_hangup, SIGHUP);
    return rc == 0 ? SP_OK : sp_error_set(error, SP_E_IO, "cannot watch for signals: %s", uv_strerror(rc));
}

/* The job is over: a signal that comes now is not to turn its end into a failure. */
static void block_signals(void)
{
    sigset_t ours;

    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGTERM);
    (void)sigaddset(&ours, SIGINT);
    (void)sigaddset(&ours, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &ours, NULL);
}

static void on_walk(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void sp_server_destroy(struct sp_server *server)
{
    if (server == NULL)
        return;
    sp_operators_close(server);
    sp_http_close(server);
    sp_keep_close(server);
    uv_walk(&server->loop, on_walk, NULL);
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&server->loop);
    sp_update_finish(server);
    sp_buffers_finish(&server->frames);
    sp_record_close(&server->record);
    sp_round_destroy(server->round);
    sp_initial_close(server);
    sp_security_forget(&server->security);
    free(server->reserve);
    free(server->keep);
    free(server);
}

/* The run's folder, and the round core: new, or as an earlier server left it there. */
static int open_run(struct sp_server *server, const struct sp_server_options *options, struct sp_error *error)
{
    uint32_t after = 0;
    int rc = sp_record_open(&server->record, options->out, error);

    if (rc == SP_OK)
        rc = sp_keep_open(server, options->fresh, error);
    if (rc != SP_OK)
        return rc;
    if (sp_keep_goes_on(server, &after))
        return sp_record_go_on(&server->record, after, sp_round_evaluates(server->round), sp_progress_recall,
                               &server->progress, error);
    sp_round_exchange_only(server->round, options->exchange_only);
    rc = sp_initial_open(server, error);
    if (rc == SP_OK)
        rc = sp_record_begin(&server->record, error);
    return rc == SP_OK ? sp_record_job(&server->record, &server->job, error) : rc;
}

int sp_server_open(struct sp_server **out, const struct sp_server_options *options, struct sp_error *error)
{
    const char *listen = options->listen != NULL ? options->listen : options->job->server.listen;
    struct sp_server *server = calloc(1, sizeof *server);
    uint64_t key = 0;
    int rc;

    *out = NULL;
    if (server == NULL || strlen(options->out) >= sizeof server->out) {
        free(server);
        return sp_error_set(error, SP_E_NOMEM, "no memory for the server, or --out is too long");
    }
    server->record.lock = -1;
    sp_series_init(&server->progress.series);
    server->job = *options->job;
    server->exchange_only = options->exchange_only;
    server->next_id = 1;
    server->started_ms = sp_server_now_ms();
    server->started_at = time(NULL);
    (void)strcpy(server->out, options->out);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like others */
    rc = uv_loop_init(&server->loop);
    if (rc != 0) {
        free(server);
        return sp_error_set(error, SP_E_IO, "cannot make an event loop: %s", uv_strerror(rc));
    }
    server->reserve = malloc(RESERVE_BYTES);
    rc = server->reserve != NULL ? SP_OK : SP_E_NOMEM;
    if (rc == SP_OK)
        rc = sp_random_bytes(&key, sizeof key, error);
    sp_limits_init(&server->limits, &server->job, key);
    if (rc == SP_OK)
        rc = limit_connections(server, error);
    if (rc == SP_OK)
        rc = sp_security_load(&server->security, &server->job, error);
    if (rc == SP_OK)
        rc = open_listeners(server, listen, error);
    if (rc == SP_OK)
        rc = open_run(server, options, error);
    if (rc == SP_OK)
        rc = sp_operators_open(server, error);
    if (rc == SP_OK)
        rc = sp_http_open(server, error);
    if (rc == SP_OK)
        rc = open_clock(server, error); /* signals are ours before anybody can know that we are here */
    if (rc == SP_OK)
        rc = sp_record_text(&server->record, "address", server->address, error);
    if (rc != SP_OK) {
        sp_server_destroy(server);
        return rc;
    }
    *out = server;
    return SP_OK;
}

int sp_server_run(struct sp_server *server, struct sp_error *error)
{
    sp_log_info("server", "job '%s' for %u workers, listening on %s, results go to %s", server->job.job,
                server->job.workers, server->address, server->out);
    if (server->exchange_only)
        sp_log_warn("server",
                    "--exchange-only: updates are sent but not applied; this job measures, and learns nothing");
    sp_log(server->security.insecure ? SP_LOG_WARN : SP_LOG_INFO, "server", "%s", sp_security_words(&server->security));
    say_certificate(server);
    if (sp_http_url(server) != NULL)
        sp_log_info("http", "dashboard at %s", sp_http_url(server));
    sp_keep_start(server);
    sp_server_drain(server);
    sp_notify_ready();
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    block_signals();
    if (server->code != SP_OK)
        *error = server->error;
    sp_log_info("server", "ended");
    return server->code;
}
