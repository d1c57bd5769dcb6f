#include "server/metrics.h"

#include "server/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One sample of a metric: where its number stands in the status, and what it is multiplied by. Rows of one metric
 * follow each other. */
struct metric {
    const char *name, *help, *labels; /* labels NULL: none */
    const char *path;                 /* "keep.failures" */
    double factor;
};

static const struct metric metrics[] = {
    {"signpost_uptime_seconds", "Seconds since the job began, over restarts of the server.", NULL, "seconds", 1},
    {"signpost_rounds_total", "Rounds that were committed.", NULL, "round", 1},
    {"signpost_planned_rounds", "Rounds that the job has in all.", NULL, "rounds", 1},
    {"signpost_done_epochs", "Passes over the training data so far.", NULL, "epoch", 1},
    {"signpost_rounds_per_second", "Rounds a second in the last seconds.", NULL, "pace.rounds_per_second", 1},
    {"signpost_remaining_seconds", "Seconds until the last round, at the pace of the last seconds.", NULL,
     "eta_seconds", 1},
    {"signpost_model_parameters", "Parameters of the model.", NULL, "params", 1},
    {"signpost_configured_workers", "Workers that the job file asks for.", NULL, "workers", 1},
    {"signpost_live_workers", "Workers that take part.", NULL, "live", 1},
    {"signpost_spare_workers", "Workers that wait for a slot.", NULL, "spares", 1},
    {"signpost_train_loss_mean", "Training loss, a moving average of recent rounds.", NULL, "loss", 1},
    {"signpost_test_accuracy_ratio", "Test accuracy of the last evaluation.", NULL, "test_accuracy", 1},
    {"signpost_learning_rate_per_round",
     "The rate in force: gamma in the sign and margin phases, lambda in the SGD phase (of the largest tensor).", NULL,
     "rate", 1},
    {"signpost_dither_sigma_ratio", "Strength of the noise before the sign, in root mean squares of the momentum.",
     NULL, "sigma", 1},
    {"signpost_vote_margin_ratio", "Mean margin of the vote, |ones - zeros| / votes; none in the SGD phase.", NULL,
     "vote.margin", 1},
    {"signpost_vote_ties_ratio", "Share of the coordinates whose vote was tied.", NULL, "vote.ties", 1},
    {"signpost_vote_unanimous_ratio", "Share of the coordinates on which all workers agreed.", NULL, "vote.unanimous",
     1},
    {"signpost_vote_flips_ratio", "Share of the coordinates whose sign differs from that of the round before.", NULL,
     "vote.flips", 1},
    {"signpost_lambda_estimate_per_round", "The SGD rate as each rule estimates it.", "rule=\"paper\"",
     "estimates.paper", 1},
    {"signpost_lambda_estimate_per_round", NULL, "rule=\"ratio\"", "estimates.ratio", 1},
    {"signpost_lambda_estimate_per_round", NULL, "rule=\"denoised\"", "estimates.denoised", 1},
    {"signpost_gradient_noise_scale_examples", "Batch size at which noise and gradient are of one size.", NULL,
     "estimates.noise_scale", 1},
    {"signpost_stationarity_mean", "Expected decrease of the loss per unit of gamma: |<s, g>|, averaged.", NULL,
     "estimates.stationarity", 1},
    {"signpost_switch_lambda_per_round", "The SGD rate that a switch would choose now.", NULL, "switch.lambda", 1},
    {"signpost_switch_flat_windows", "Windows in a row that brought less than the bar (optimizer.switch.when: auto).",
     NULL, "switch.flat_windows", 1},
    {"signpost_switch_gain_ratio", "What the last window brought, as a share of the loss won so far.", NULL,
     "switch.last_gain", 1},
    {"signpost_received_bytes_total", "Bytes from workers: their pushes, and all else.", "kind=\"push\"",
     "bytes_pushed", 1},
    {"signpost_received_bytes_total", NULL, "kind=\"other\"", "bytes_other_in", 1},
    {"signpost_sent_bytes_total", "Bytes to workers: updates, and all else.", "kind=\"update\"", "bytes_updated", 1},
    {"signpost_sent_bytes_total", NULL, "kind=\"other\"", "bytes_other_out", 1},
    {"signpost_float32_bytes_total", "What pushes, or updates, would have cost in float32.", NULL, "bytes_float32", 1},
    {"signpost_timed_rounds_total",
     "Rounds since this server's start, whose time signpost_round_parts_seconds_total has.", NULL, "times.rounds", 1},
    {"signpost_round_parts_seconds_total", "Where the time of rounds went, since this server's start.",
     "part=\"waiting\"", "times.waiting_seconds", 1},
    {"signpost_round_parts_seconds_total", NULL, "part=\"tally\"", "times.tally_seconds", 1},
    {"signpost_round_parts_seconds_total", NULL, "part=\"send\"", "times.send_seconds", 1},
    {"signpost_server_restarts_total", "Restarts of this job's server.", NULL, "keep.restarts", 1},
    {"signpost_write_failures_total", "Writes of the journal or of checkpoints that failed.", NULL, "keep.failures", 1},
    {"signpost_checkpoint_age_seconds", "Seconds since the last checkpoint.", NULL, "keep.checkpoint.seconds_ago", 1},
    {"signpost_journal_bytes", "Size of the journal.", NULL, "keep.journal.bytes", 1},
    {"signpost_journal_synced_rounds", "The last round that is on the disk.", NULL, "keep.journal.round_on_disk", 1},
    {"signpost_http_requests_total", "Requests that this server has answered over HTTP.", NULL, "http_load.requests",
     1},
    {"signpost_http_busy_seconds_total", "Time of the server's loop that went into HTTP.", NULL, "http_load.seconds",
     1},
    {"signpost_http_longest_hold_seconds", "The longest that HTTP has held up the server's loop at once.", NULL,
     "http_load.longest_ms", 1e-3},
    {"process_resident_memory_bytes", "Resident memory of the server.", NULL, "process.resident_bytes", 1},
    {"process_cpu_seconds_total", "Processor time of the server.", NULL, "process.cpu_seconds", 1},
    {"process_start_time_seconds", "When the server was started, since 1970.", NULL, "process.started", 1},
};

/* One sample for each worker; the path is of its slot. */
static const struct metric worker_metrics[] = {
    {"signpost_worker_latency_seconds",
     "From a round's beginning until the worker's first 256 KiB are in, or all; a moving average of recent rounds.",
     NULL, "latency_ms", 1e-3},
    {"signpost_worker_silent_seconds", "Seconds since anything was heard of the worker.", NULL, "silent_seconds", 1},
    {"signpost_worker_disagreement_ratio", "Share of the worker's votes that differ from the majority's.", NULL,
     "disagreement", 1},
    {"signpost_worker_last_rounds_total", "Rounds in which the worker was the last to be in.", NULL, "last", 1},
    {"signpost_worker_voted_rounds_total", "Rounds in which the worker took part to the end.", NULL, "votes", 1},
    {"signpost_worker_missed_rounds_total", "Rounds in which the worker was expected and was not there.", NULL,
     "missed", 1},
    {"signpost_worker_abstained_rounds_total", "Rounds from which the worker abstained: its gradient was not finite.",
     NULL, "abstained", 1},
    {"signpost_worker_excluded_rounds_total", "Rounds in which the worker's push was dropped by server.quarantine.",
     NULL, "excluded", 1},
    {"signpost_worker_late_pushes_total", "Pushes of which something came too late.", NULL, "late", 1},
    {"signpost_worker_duplicate_chunks_total", "Chunks that came twice.", NULL, "duplicates", 1},
    {"signpost_worker_resyncs_total", "Times that the worker's weights differed and were sent anew.", NULL, "resyncs",
     1},
    {"signpost_worker_joins_total", "Times that a worker took the slot.", NULL, "joins", 1},
};

static const json_t *find(const json_t *in, const char *path)
{
    char key[64];

    while (in != NULL && *path != '\0') {
        size_t length = strcspn(path, ".");

        (void)snprintf(key, sizeof key, "%.*s", (int)length, path);
        in = json_object_get(in, key);
        path += length + (path[length] == '.');
    }
    return in;
}

static void write_head(FILE *to, const char *name, const char *help)
{
    size_t length = strlen(name);
    bool counter = length > 6 && strcmp(name + length - 6, "_total") == 0;

    (void)fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, counter ? "counter" : "gauge");
}

/* What is not known has no sample. */
static void write_sample(FILE *to, const struct metric *metric, const char *labels, const json_t *in)
{
    const json_t *value = find(in, metric->path);

    if (!json_is_number(value))
        return;
    if (labels != NULL)
        (void)fprintf(to, "%s{%s} %.12g\n", metric->name, labels, json_number_value(value) * metric->factor);
    else
        (void)fprintf(to, "%s %.12g\n", metric->name, json_number_value(value) * metric->factor);
}

/* A label's value: backslash, quote and line break are escaped. */
static void write_label(FILE *to, const char *name, const char *value)
{
    (void)fprintf(to, "%s=\"", name);
    for (const char *at = value != NULL ? value : ""; *at != '\0'; at++) {
        if (*at == '\n')
            (void)fputs("\\n", to);
        else if (*at == '\\' || *at == '"')
            (void)fprintf(to, "\\%c", *at);
        else
            (void)fputc(*at, to);
    }
    (void)fputc('"', to);
}

static void write_info(FILE *to, const json_t *status)
{
    static const char *const keys[] = {"job", "version", "stage", "phase"};

    write_head(to, "signpost_job_info", "The job, and where it stands; always 1.");
    (void)fputs("signpost_job_info{", to);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        (void)fputs(i > 0 ? "," : "", to);
        write_label(to, keys[i], json_string_value(json_object_get(status, keys[i])));
    }
    (void)fputs("} 1\n", to);
}

static void write_workers(FILE *to, const json_t *slots)
{
    static const char *const keys[] = {"state", "host"};
    char label[32];
    size_t index;
    json_t *slot;

    write_head(to, "signpost_worker_info", "A slot, and who has it; always 1.");
    json_array_foreach((json_t *)slots, index, slot)
    {
        (void)fprintf(to, "signpost_worker_info{slot=\"%zu\"", index);
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            (void)fputc(',', to);
            write_label(to, keys[i], json_string_value(json_object_get(slot, keys[i])));
        }
        (void)fputs("} 1\n", to);
    }
    for (size_t i = 0; i < sizeof worker_metrics / sizeof worker_metrics[0]; i++) {
        write_head(to, worker_metrics[i].name, worker_metrics[i].help);
        json_array_foreach((json_t *)slots, index, slot)
        {
            (void)snprintf(label, sizeof label, "slot=\"%zu\"", index);
            write_sample(to, &worker_metrics[i], label, slot);
        }
    }
}

static void write_switches(FILE *to, const json_t *status)
{
    write_head(to, "signpost_switches_total", "Changes of phase so far.");
    (void)fprintf(to, "signpost_switches_total %zu\n", json_array_size(json_object_get(status, "switches")));
}

/* How many peers were sent away at each limit. */
static void write_limits(FILE *to, json_t *limits)
{
    const char *name;
    json_t *hits;

    write_head(to, "signpost_sent_away_connections_total",
               "Connections that were sent away, by the limit that they met.");
    json_object_foreach(limits, name, hits)(void)
        fprintf(to, "signpost_sent_away_connections_total{limit=\"%s\"} %.12g\n", name, json_number_value(hits));
}

static void write_all(FILE *to, const json_t *status)
{
    write_info(to, status);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        if (metrics[i].help != NULL)
            write_head(to, metrics[i].name, metrics[i].help);
        write_sample(to, &metrics[i], metrics[i].labels, status);
    }
    write_switches(to, status);
    write_limits(to, json_object_get(status, "sent_away"));
    write_workers(to, json_object_get(status, "slots"));
}

char *sp_metrics_text(struct sp_server *server)
{
    json_t *status = sp_status_json(server);
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = status != NULL ? open_memstream(&text, &bytes) : NULL;
    bool whole;

    if (to != NULL)
        write_all(to, status);
    json_decref(status);
    if (to == NULL)
        return NULL;
    whole = ferror(to) == 0;
    if (fclose(to) == 0 && whole)
        return text;
    free(text);
    return NULL;
}
