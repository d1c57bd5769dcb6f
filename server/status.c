#include "server/status.h"

#include "common/weights.h"
#include "server/http.h"
#include "server/server_state.h"
#include "version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *stage_name(enum sp_stage stage)
{
    static const char *const names[] = {"new", "gathering", "running", "closing", "over"};

    return names[stage];
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* JSON's readers agree on integers up to 2^63 - 1; a larger seed is a string. */
static json_t *seed_json(uint64_t seed)
{
    char text[24];

    if (seed <= INT64_MAX)
        return count(seed);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    return sp_json_words(text);
}

/* A key's value in the job file's words. */
static json_t *key_json(const struct sp_job *job, const char *path)
{
    char text[SP_VALUE_BYTES];

    sp_job_get(job, sp_job_key(path), text, sizeof text);
    return sp_json_words(text);
}

static double seconds_since(uint64_t ms)
{
    return ms > 0 ? (double)(sp_server_now_ms() - ms) / 1e3 : 0.0;
}

static json_t *test_accuracy(const struct sp_view *view)
{
    if (!view->evaluated || view->total == 0)
        return json_null();
    return sp_json_number((double)view->correct / (double)view->total);
}

/* A number, or an object by tensor where there is a rate for each. */
static json_t *sgd_rate(const struct sp_view *view)
{
    json_t *rates;

    if (view->phase != SP_PHASE_SGD && view->dry_reason[0] == '\0')
        return json_null();
    if (view->rates == NULL || view->layout == NULL)
        return view->lambda_known || view->dry_reason[0] != '\0' ? sp_json_number(view->lambda) : json_null();
    rates = json_object();
    for (uint32_t i = 0; i < view->layout->trained; i++) {
        if ((view->traits[i] & SP_TENSOR_FULL) == 0)
            sp_json_put(&rates, view->layout->tensors[i].name, sp_json_number((double)view->rates[i]));
    }
    return rates;
}

/* The last change of phase, and all of them in order. */
static void set_switches(json_t **to, const struct sp_view *view)
{
    const struct sp_switch_view *last = view->switches_count > 0 ? &view->switches[view->switches_count - 1] : NULL;
    const char *reason = last != NULL ? last->reason : view->dry_reason;
    json_t *all = json_array();

    for (unsigned i = 0; view->switches != NULL && i < view->switches_count; i++) {
        const struct sp_switch_view *s = &view->switches[i];

        sp_json_append(&all, json_pack("{s:I, s:s, s:s, s:s, s:o}", "round", (json_int_t)s->round, "from",
                                       sp_phase_name(s->from), "to", sp_phase_name(s->to), "test", s->test, "reason",
                                       sp_json_words(s->reason)));
    }
    sp_json_put(to, "switch_round", last != NULL ? json_integer(last->round) : json_null());
    sp_json_put(to, "switch_reason", reason[0] != '\0' ? sp_json_words(reason) : json_null());
    sp_json_put(to, "switch_dry_run", json_boolean(last == NULL && view->dry_reason[0] != '\0'));
    sp_json_put(to, "switches", all);
}

/* A choice of the job by its name, such as "hybrid". */
static json_t *setting_json(const struct sp_server *server, const char *path)
{
    char value[SP_VALUE_BYTES];

    sp_job_get(&server->job, sp_job_key(path), value, sizeof value);
    return sp_json_words(value);
}

static const char *slot_state(const struct sp_slot_view *s)
{
    if (!s->live)
        return "empty";
    if (s->is_excluded)
        return "excluded";
    return s->ready ? "live" : "joining";
}

/* A peer's address without its port. */
static json_t *host_json(const struct sp_peer *peer)
{
    const char *end = peer != NULL ? strrchr(peer->name, ':') : NULL;

    return end != NULL ? json_stringn(peer->name, (size_t)(end - peer->name)) : json_null();
}

static json_t *slots_json(const struct sp_server *server, const struct sp_view *view)
{
    json_t *slots = json_array();

    for (uint32_t i = 0; i < server->job.workers; i++) {
        const struct sp_slot_view *s = &view->slots[i];
        struct sp_peer *peer = s->live ? sp_peer_find((struct sp_server *)server, s->peer) : NULL;
        json_t *slot = json_object();

        sp_json_put(&slot, "slot", json_integer(i));
        sp_json_put(&slot, "state", json_string(slot_state(s)));
        sp_json_put(&slot, "address", peer != NULL ? sp_json_words(peer->name) : json_null());
        sp_json_put(&slot, "host", host_json(peer));
        sp_json_put(&slot, "silent_seconds",
                    peer != NULL ? sp_json_number(seconds_since(peer->heard_ms)) : json_null());
        sp_json_put(&slot, "latency_ms", s->latency_ms > 0.0 ? sp_json_number(s->latency_ms) : json_null());
        sp_json_put(&slot, "last", count(s->last));
        sp_json_put(&slot, "behind", json_boolean(s->behind));
        sp_json_put(&slot, "votes", count(s->votes));
        sp_json_put(&slot, "missed", count(s->missed));
        sp_json_put(&slot, "late", count(s->late));
        sp_json_put(&slot, "duplicates", count(s->duplicates));
        sp_json_put(&slot, "abstained", count(s->abstained));
        sp_json_put(&slot, "resyncs", count(s->resyncs));
        sp_json_put(&slot, "joins", count(s->joins));
        sp_json_put(&slot, "disagreement",
                    sp_json_number(s->compared > 0 ? (double)s->disagreed / (double)s->compared : (double)NAN));
        sp_json_put(&slot, "correlation", sp_json_number(s->correlation));
        sp_json_put(&slot, "suspected", json_boolean(s->suspected));
        sp_json_put(&slot, "excluded", count(s->excluded));
        sp_json_append(&slots, slot);
    }
    return slots;
}

static void set_bytes(json_t **to, const struct sp_server *server, const struct sp_view *view)
{
    sp_json_put(to, "bytes_pushed", count(server->bytes.pushed));
    sp_json_put(to, "bytes_updated", count(server->bytes.updated));
    sp_json_put(to, "bytes_pushed_sign", count(server->bytes.pushed_in[SP_PHASE_SIGN]));
    sp_json_put(to, "bytes_updated_sign", count(server->bytes.updated_in[SP_PHASE_SIGN]));
    sp_json_put(to, "bytes_pushed_margin", count(server->bytes.pushed_in[SP_PHASE_MARGIN]));
    sp_json_put(to, "bytes_updated_margin", count(server->bytes.updated_in[SP_PHASE_MARGIN]));
    sp_json_put(to, "bytes_other_in", count(server->bytes.other_in));
    sp_json_put(to, "bytes_other_out", count(server->bytes.other_out));
    sp_json_put(to, "bytes_float32", count(view->float32_bytes));
}

/* When a round closes; of a quorum, what it has learned of the workers. */
static void set_close(json_t **to, const struct sp_server *server, const struct sp_view *view)
{
    sp_json_put(to, "close", key_json(&server->job, "server.close"));
    if (server->job.server.close != SP_CLOSE_QUORUM)
        return;
    sp_json_put(to, "quorum", json_integer(server->job.server.quorum));
    sp_json_put(to, "deadline_ms", sp_json_number(view->deadline_ms));
    sp_json_put(to, "arrival_ms", sp_json_number(view->arrival_ms));
    sp_json_put(to, "arrival_spread_ms", sp_json_number(view->arrival_spread_ms));
}

static json_t *security_json(const struct sp_security *security)
{
    return json_pack("{s:b, s:b, s:b, s:b, s:o*, s:s}", "secret", security->worker.bytes > 0, "network_operators",
                     security->operator_.bytes > 0 || security->tls != NULL, "insecure", security->insecure, "tls",
                     security->tls != NULL, "certificate",
                     security->tls != NULL ? sp_json_words(sp_tls_files_words(security->tls)) : NULL, "words",
                     sp_security_words(security));
}

/* --- how it goes -----------------------------------------------------------------------------------------------------
 */

static json_t *votes_json(const struct sp_point *recent)
{
    json_t *votes;

    if (recent->round == 0 || recent->phase == SP_PHASE_SGD)
        return json_null();
    votes = json_object();
    sp_json_put(&votes, "margin", sp_json_number(recent->margin));
    sp_json_put(&votes, "ties", sp_json_number(recent->ties));
    sp_json_put(&votes, "unanimous", sp_json_number(recent->unanimous));
    sp_json_put(&votes, "flips", sp_json_number(recent->flips));
    return votes;
}

static json_t *estimates_json(const struct sp_point *recent)
{
    const struct sp_estimates *e = &recent->estimates;
    json_t *estimates;

    if (recent->round == 0 || e->stationarity == 0.0)
        return json_null();
    estimates = json_object();
    sp_json_put(&estimates, "paper", sp_json_number(e->paper));
    sp_json_put(&estimates, "ratio", sp_json_number(e->ratio));
    sp_json_put(&estimates, "denoised", sp_json_number(e->denoised));
    sp_json_put(&estimates, "noise_scale", sp_json_number(e->noise_scale));
    sp_json_put(&estimates, "stationarity", sp_json_number(e->stationarity));
    return estimates;
}

/* What the last seconds say of the speed, and of the time that is left. */
static void set_pace(json_t **to, const struct sp_server *server, const struct sp_view *view)
{
    struct sp_rates rates;
    json_t *pace;

    if (!sp_progress_rates(server, &rates)) {
        sp_json_put(to, "pace", json_null());
        sp_json_put(to, "eta_seconds", json_null());
        return;
    }
    pace = json_object();
    sp_json_put(&pace, "rounds_per_second", sp_json_number(rates.rounds_per_second));
    sp_json_put(&pace, "bytes_per_second_in", sp_json_number(rates.bytes_per_second_in));
    sp_json_put(&pace, "bytes_per_second_out", sp_json_number(rates.bytes_per_second_out));
    sp_json_put(&pace, "round_ms", sp_json_number(rates.times.round_ms));
    sp_json_put(&pace, "waiting_ms", sp_json_number(rates.times.waiting_ms));
    sp_json_put(&pace, "tally_ms", sp_json_number(rates.times.tally_ms));
    sp_json_put(&pace, "send_ms", sp_json_number(rates.times.send_ms));
    sp_json_put(to, "pace", pace);
    sp_json_put(to, "eta_seconds", sp_json_number((double)(view->rounds - view->round) / rates.rounds_per_second));
}

/* Sums since this server's start, for who takes the differences. */
static json_t *times_json(const struct sp_totals *totals)
{
    double send = (double)totals->send_ns / 1e9, tally = (double)totals->tally_ns / 1e9;
    double round = (double)totals->round_ns / 1e9;

    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "rounds", (json_int_t)totals->rounds, "round_seconds", round,
                     "waiting_seconds", fmax(round - tally - send, 0.0), "tally_seconds", tally, "send_seconds", send);
}

static json_t *process_json(const struct sp_server *server)
{
    struct rusage usage;
    size_t resident = 0;

    (void)uv_resident_set_memory(&resident);
    (void)getrusage(RUSAGE_SELF, &usage);
    return json_pack("{s:I, s:f, s:I}", "resident_bytes", (json_int_t)resident, "cpu_seconds",
                     (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
                     "started", (json_int_t)server->started_at);
}

static void set_progress(json_t **to, const struct sp_server *server, const struct sp_view *view)
{
    const struct sp_point *recent = &server->progress.series.recent;
    bool any = recent->round > 0;

    sp_json_put(to, "epoch", view->examples > 0 ? sp_json_number(view->epoch) : json_null());
    sp_json_put(to, "epochs", view->examples > 0 ? sp_json_number(view->epochs) : json_null());
    sp_json_put(to, "loss", any ? sp_json_number(recent->loss) : json_null());
    sp_json_put(to, "accuracy_round", view->evaluated_round > 0 ? json_integer(view->evaluated_round) : json_null());
    sp_json_put(to, "rate", any ? sp_json_number(recent->rate) : json_null());
    sp_json_put(to, "sigma", any ? sp_json_number(recent->sigma) : json_null());
    sp_json_put(to, "vote", votes_json(recent));
    sp_json_put(to, "estimates", estimates_json(recent));
    set_pace(to, server, view);
}

/* How near a change of phase is, and what it would be now. */
static json_t *outlook_json(const struct sp_server *server)
{
    struct sp_outlook outlook;
    json_t *object = json_object();

    sp_round_outlook(server->round, &outlook);
    sp_json_put(&object, "when", key_json(&server->job, "optimizer.switch.when"));
    sp_json_put(&object, "to", json_string(sp_phase_name(outlook.to)));
    sp_json_put(&object, "pending", json_boolean(outlook.pending));
    sp_json_put(&object, "words", sp_json_words(outlook.words));
    sp_json_put(&object, "lambda", sp_json_number(outlook.lambda));
    sp_json_put(&object, "lambda_is_a_guess", json_boolean(outlook.about));
    sp_json_put(&object, "rule", outlook.rule != NULL ? sp_json_words(outlook.rule) : json_null());
    sp_json_put(&object, "earliest_round", outlook.earliest > 0 ? json_integer(outlook.earliest) : json_null());
    sp_json_put(&object, "latest_round", outlook.latest > 0 ? json_integer(outlook.latest) : json_null());
    if (outlook.flat_needed == 0)
        return object;
    sp_json_put(&object, "flat_windows", json_integer(outlook.numbers.flat));
    sp_json_put(&object, "flat_windows_needed", json_integer(outlook.flat_needed));
    sp_json_put(&object, "last_gain", sp_json_number(outlook.numbers.last_gain));
    sp_json_put(&object, "bar", sp_json_number(outlook.bar));
    sp_json_put(&object, "window", json_integer(outlook.numbers.window));
    return object;
}

/* --- the whole -------------------------------------------------------------------------------------------------------
 */

/* How many peers were sent away at each limit. */
static json_t *limits_json(const struct sp_limits *limits)
{
    json_t *hits = json_object();

    for (int i = 0; i < SP_LIMITS_COUNT; i++)
        sp_json_put(&hits, sp_limit_name((enum sp_limit)i), count(limits->state[i].hits));
    return hits;
}

json_t *sp_status_json(struct sp_server *server)
{
    json_t *status = json_object();
    struct sp_view view;

    sp_round_view(server->round, &view);
    sp_json_put(&status, "job", sp_json_words(server->job.job));
    sp_json_put(&status, "version", json_string(SP_VERSION));
    sp_json_put(&status, "pid", json_integer(getpid()));
    sp_json_put(&status, "address", sp_json_words(server->address));
    sp_json_put(&status, "http", sp_http_url(server) != NULL ? sp_json_words(sp_http_url(server)) : json_null());
    sp_json_put(&status, "http_load", sp_http_load_json(server));
    sp_json_put(&status, "stage", json_string(stage_name(view.stage)));
    sp_json_put(&status, "phase", json_string(sp_phase_name(view.phase)));
    sp_json_put(&status, "round", json_integer(view.round));
    sp_json_put(&status, "rounds", json_integer(view.rounds));
    sp_json_put(&status, "params", view.layout != NULL ? count(view.layout->coordinates) : json_null());
    sp_json_put(&status, "workers", json_integer(server->job.workers));
    sp_json_put(&status, "live", json_integer(view.live));
    sp_json_put(&status, "spares", json_integer(view.spares));
    sp_json_put(&status, "waits_for", sp_json_words(view.waits));
    set_close(&status, server, &view);
    sp_json_put(&status, "train_loss", sp_json_number(view.train_loss));
    sp_json_put(&status, "test_accuracy", test_accuracy(&view));
    set_progress(&status, server, &view);
    sp_json_put(&status, "switch", outlook_json(server));
    set_switches(&status, &view);
    sp_json_put(&status, "sgd_lr", sgd_rate(&view));
    sp_json_put(&status, "outcome", view.stage == SP_STAGE_OVER ? sp_json_words(view.over_reason) : json_null());
    sp_json_put(&status, "keep", sp_keep_json(server));
    sp_json_put(&status, "security", security_json(&server->security));
    sp_json_put(&status, "sent_away", limits_json(&server->limits));
    sp_json_put(&status, "seconds", sp_json_number(seconds_since(server->started_ms)));
    sp_json_put(&status, "times", times_json(&server->progress.at_commit));
    sp_json_put(&status, "process", process_json(server));
    set_bytes(&status, server, &view);
    sp_json_put(&status, "slots", slots_json(server, &view));
    return status;
}

json_t *sp_summary_json(struct sp_server *server)
{
    json_t *summary = json_object();
    struct sp_view view;
    char digest[20] = "";

    sp_round_view(server->round, &view);
    if (view.theta != NULL)
        (void)snprintf(digest, sizeof digest, "%016llx",
                       (unsigned long long)sp_weights_digest(view.theta, view.layout->coordinates));
    sp_json_put(&summary, "job", sp_json_words(server->job.job));
    sp_json_put(&summary, "version", json_string(SP_VERSION));
    sp_json_put(&summary, "seed", seed_json(server->job.seed));
    sp_json_put(&summary, "params", view.layout != NULL ? count(view.layout->coordinates) : json_null());
    sp_json_put(&summary, "params_full", view.layout != NULL ? count(view.layout->full) : json_null());
    sp_json_put(&summary, "workers", json_integer(server->job.workers));
    sp_json_put(&summary, "examples", count(view.examples));
    sp_json_put(&summary, "shards", key_json(&server->job, "data.shards"));
    sp_json_put(&summary, "rounds", json_integer(view.rounds));
    sp_json_put(&summary, "rounds_done", json_integer(view.round));
    sp_json_put(&summary, "stopped", json_boolean(view.stopped));
    sp_json_put(&summary, "outcome", sp_json_words(view.over_reason));
    sp_json_put(&summary, "init",
                server->job.model.init[0] != '\0' ? sp_json_words(server->job.model.init) : json_null());
    sp_json_put(&summary, "mode", setting_json(server, "optimizer.mode"));
    set_switches(&summary, &view);
    sp_json_put(&summary, "sgd_lr", sgd_rate(&view));
    sp_json_put(&summary, "clipped_rounds", count(view.clipped));
    sp_json_put(&summary, "test_accuracy", test_accuracy(&view));
    sp_json_put(&summary, "accuracy_round",
                view.evaluated_round > 0 ? json_integer(view.evaluated_round) : json_null());
    sp_json_put(&summary, "test_loss", view.evaluated ? sp_json_number(view.test_loss) : json_null());
    sp_json_put(&summary, "test_examples", view.evaluated ? count(view.total) : json_null());
    sp_json_put(&summary, "test_partial", json_boolean(view.evaluated && view.partial));
    sp_json_put(&summary, "train_loss", sp_json_number(view.train_loss));
    set_bytes(&summary, server, &view);
    sp_json_put(&summary, "sign_rounds_received", count(server->bytes.rounds_received_in[SP_PHASE_SIGN]));
    sp_json_put(&summary, "restarts", count(server->restarts));
    sp_json_put(&summary, "wall_seconds", sp_json_number(seconds_since(server->started_ms)));
    sp_json_put(&summary, "train_seconds", sp_json_number(seconds_since(server->first_round_ms)));
    sp_json_put(&summary, "weights_digest", view.theta != NULL ? json_string(digest) : json_null());
    sp_json_put(&summary, "slots", slots_json(server, &view));
    return summary;
}
