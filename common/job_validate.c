/* Checks of several keys together. */
#include "common/address.h"
#include "common/job.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct findings {
    void (*report)(void *arg, const char *path, const char *words);
    void *arg;
    unsigned count;
};

static void __attribute__((format(printf, 3, 4)))
find(struct findings *findings, const char *path, const char *format, ...)
{
    char words[SP_ERROR_TEXT_BYTES];
    size_t used = (size_t)snprintf(words, sizeof words, "%s: ", path);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words + used, sizeof words - used, format, args);
    va_end(args);
    findings->count++;
    if (findings->report != NULL)
        findings->report(findings->arg, path, words);
}

static void validate_pair(const char *one, const char *one_path, const char *other, const char *other_path,
                          struct findings *findings)
{
    if (one[0] != '\0' && other[0] == '\0')
        find(findings, other_path, "missing, but %s is given; give both or neither", one_path);
}

/* Keys of one format that another does not use would be read by nobody. */
static void validate_other(const struct sp_job *job, const char *value, const char *path, const char *instead,
                           struct findings *findings)
{
    char format[32];

    if (value[0] == '\0')
        return;
    sp_job_get(job, sp_job_key("data.format"), format, sizeof format);
    find(findings, path, "data.format %s does not use it; give %s instead, or another data.format", format, instead);
}

static void validate_files(const struct sp_job *job, struct findings *findings)
{
    const char *images = job->data.train_images, *labels = job->data.train_labels;

    if (job->data.format != SP_DATA_IDX) {
        validate_other(job, images, "data.train.images", "data.train.files", findings);
        validate_other(job, labels, "data.train.labels", "data.train.files", findings);
        validate_other(job, job->data.test_images, "data.test.images", "data.test.files", findings);
        validate_other(job, job->data.test_labels, "data.test.labels", "data.test.files", findings);
        return;
    }
    validate_other(job, job->data.train_files, "data.train.files", "data.train.images and data.train.labels", findings);
    validate_other(job, job->data.test_files, "data.test.files", "data.test.images and data.test.labels", findings);
    validate_pair(images, "data.train.images", labels, "data.train.labels", findings);
    validate_pair(labels, "data.train.labels", images, "data.train.images", findings);
    images = job->data.test_images;
    labels = job->data.test_labels;
    validate_pair(images, "data.test.images", labels, "data.test.labels", findings);
    validate_pair(labels, "data.test.labels", images, "data.test.images", findings);
}

static void validate_csv(const struct sp_job *job, struct findings *findings)
{
    const uint32_t *shape = job->data.csv.shape, count = job->data.csv.shape_count;
    const char *label = job->data.csv.label;
    bool flat = count == 2 && shape[0] == 1;

    if (job->data.format != SP_DATA_CSV)
        return;
    if (count == 1 || count > 3)
        find(findings, "data.csv.shape", "%" PRIu32 " number%s; give [height, width] or [channels, height, width]",
             count, count == 1 ? "" : "s");
    if (label[0] == '\0')
        find(findings, "data.csv.label", "must name the column with the class, or give its number from 1");
    else if (!job->data.csv.header && (label[strspn(label, "0123456789")] != '\0' || label[0] == '0'))
        find(findings, "data.csv.label",
             "must be a column's number from 1, as data.csv.header is false: no column has a "
             "name");
    if ((count == 0 || flat) && (job->data.augment.crop > 0 || job->data.augment.flip))
        find(findings, job->data.augment.crop > 0 ? "data.augment.crop" : "data.augment.flip",
             "only has a meaning for images; say by data.csv.shape what image a row is, or leave this out");
}

static void validate_scale(const struct sp_job *job, struct findings *findings)
{
    if (job->data.compute == SP_COMPUTE_NONE)
        return;
    if (job->data.mean_count != 1 || job->data.mean[0] != 0.0)
        find(findings, "data.scale.mean", "is computed, as data.scale.compute says; leave one of the two out");
    if (job->data.std_count != 1 || job->data.std[0] != 1.0)
        find(findings, "data.scale.std", "is computed, as data.scale.compute says; leave one of the two out");
}

static void validate_data(const struct sp_job *job, struct findings *findings)
{
    validate_files(job, findings);
    validate_csv(job, findings);
    validate_scale(job, findings);
    if (job->model.type == SP_MODEL_MLP && job->model.hidden_count == 0)
        find(findings, "model.hidden", "an mlp needs at least one hidden layer; without one use model.type softmax");
}

static void validate_switch(const struct sp_job *job, struct findings *findings)
{
    static const char *const paths[] = {"optimizer.switch.epoch", "optimizer.switch.step", "optimizer.switch.fraction"};
    const bool given[] = {job->optimizer.switch_.epoch > 0, job->optimizer.switch_.step > 0,
                          job->optimizer.switch_.fraction > 0};
    bool at = job->optimizer.switch_.when == SP_SWITCH_AT;
    unsigned count = 0;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (!given[i])
            continue;
        count++;
        if (!at)
            find(findings, paths[i], "only has a meaning with optimizer.switch.when at; set that, or leave this out");
        else if (count > 1)
            find(findings, paths[i], "only one of optimizer.switch.epoch, step and fraction can be the moment");
    }
    if (at && count == 0)
        find(findings, "optimizer.switch.when",
             "at needs its moment: set one of optimizer.switch.epoch, step and fraction to more than 0");
}

/* A user who flips optimizer.mode to compare leaves the rest as it is: what sgd and adam do not use is no mistake. */
static void validate_phases(const struct sp_job *job, struct findings *findings)
{
    const bool to_margin = job->optimizer.switch_.to == SP_SWITCH_TO_MARGIN;

    if (job->optimizer.mode != SP_MODE_HYBRID)
        return;
    if (job->optimizer.start == SP_START_MARGIN && to_margin)
        find(findings, "optimizer.switch.to",
             "margin is where the job is already, by optimizer.start; set this to sgd, or optimizer.start to sign");
    if (job->optimizer.margin.until > 0 && !to_margin)
        find(findings, "optimizer.margin.until",
             "only has a meaning with optimizer.switch.to margin; set that, or leave this out");
    if (job->optimizer.sgd.rate == SP_RATE_TRACKING && job->optimizer.sgd.lr > 0)
        find(findings, "optimizer.sgd.rate",
             "tracking has nothing to track while optimizer.sgd.lr fixes the rate; leave one of the two out");
}

static void validate_rates(const struct sp_job *job, struct findings *findings)
{
    const double warmup = job->optimizer.sign.warmup;

    if (job->optimizer.sgd.lambda_min > job->optimizer.sgd.lambda_max)
        find(findings, "optimizer.sgd.lambda_min", "%g is more than optimizer.sgd.lambda_max (%g)",
             job->optimizer.sgd.lambda_min, job->optimizer.sgd.lambda_max);
    if (job->train.rounds == 0 && warmup >= job->train.epochs)
        find(findings, "optimizer.sign.warmup",
             "%g epochs leave nothing of the job, which has %g (train.epochs); make it shorter", warmup,
             job->train.epochs);
}

static void validate_tensors(const struct sp_job *job, struct findings *findings)
{
    if (job->optimizer.mode != SP_MODE_ADAM)
        return;
    for (uint32_t i = 0; i < job->tensors.count; i++)
        if (job->tensors.rule[i].update == SP_RULE_UPDATE_FULL)
            find(findings, "tensors",
                 "rule %" PRIu32 " (\"%s\") has update: full, but in mode adam every tensor is updated by Adam; leave "
                 "that out",
                 i + 1, job->tensors.rule[i].match);
}

static void validate_address(const char *path, const char *text, struct findings *findings)
{
    struct sp_address address;
    struct sp_error error;

    if (sp_address_parse(text, &address, &error) != SP_OK)
        find(findings, path, "%s", error.text);
}

static void validate_server(const struct sp_job *job, struct findings *findings)
{
    validate_address("server.listen", job->server.listen, findings);
    if (job->server.http[0] != '\0' && strcmp(job->server.http, SP_HTTP_AUTO) != 0 &&
        strcmp(job->server.http, SP_HTTP_OFF) != 0)
        validate_address("server.http", job->server.http, findings);
    if (job->server.close == SP_CLOSE_QUORUM && job->server.quorum == 0)
        find(findings, "server.close.quorum",
             "must say how many workers are enough, 1 to %" PRIu32 ": close: {quorum: N}", job->workers);
    if (job->server.quorum > job->workers)
        find(findings, "server.close.quorum", "%" PRIu32 " is more than the job's workers (%" PRIu32 ")",
             job->server.quorum, job->workers);
    if (job->server.min_live > job->workers)
        find(findings, "server.min_live", "%" PRIu32 " is more than the job's workers (%" PRIu32 ")",
             job->server.min_live, job->workers);
    if (job->server.heartbeat_timeout < 2 * job->server.heartbeat_interval)
        find(findings, "server.heartbeat.timeout", "%g seconds is less than twice server.heartbeat.interval (%g)",
             job->server.heartbeat_timeout, job->server.heartbeat_interval);
}

static void validate_keeping(const struct sp_job *job, struct findings *findings)
{
    if (job->server.journal.enabled && !job->server.checkpoint.enabled)
        find(findings, "server.journal.enabled",
             "a journal goes on from a checkpoint; set server.checkpoint.enabled, or make this false as well");
    if (job->server.quarantine == SP_QUARANTINE_EXCLUDE && job->data.shards == SP_SHARDS_BY_LABEL)
        find(findings, "server.quarantine",
             "exclude: with data.shards by_label honest workers oppose each other; use off or warn");
    if (job->server.statistics == SP_STATISTICS_ROBUST && job->data.shards == SP_SHARDS_BY_LABEL)
        find(findings, "server.statistics",
             "robust: with data.shards by_label honest workers differ as forged ones do; use mean");
}

static void validate_tls(const struct sp_job *job, struct findings *findings)
{
    const bool cert = job->security.tls.cert[0] != '\0', key = job->security.tls.key[0] != '\0';
    const bool ca = job->security.tls.ca[0] != '\0';

    if (cert && key && ca)
        return;
    if (cert || key || ca)
        find(findings,
             cert  ? "security.tls.cert"
             : key ? "security.tls.key"
                   : "security.tls.ca",
             "security.tls takes cert, key and ca together, or none of them");
    else if (job->security.tls.name[0] != '\0')
        find(findings, "security.tls.name", "means nothing without security.tls.cert, key and ca");
}

static void validate_security(const struct sp_job *job, struct findings *findings)
{
    if (job->security.token_file[0] != '\0' && strcmp(job->security.token_file, job->security.operator_token_file) == 0)
        find(findings, "security.operator_token_file",
             "must be another file than security.token_file: else every worker could operate the job");
    validate_tls(job, findings);
}

unsigned sp_job_validate(const struct sp_job *job, void (*report)(void *arg, const char *path, const char *words),
                         void *arg)
{
    struct findings findings = {.report = report, .arg = arg};

    validate_data(job, &findings);
    validate_switch(job, &findings);
    validate_phases(job, &findings);
    validate_rates(job, &findings);
    validate_tensors(job, &findings);
    validate_server(job, &findings);
    validate_keeping(job, &findings);
    validate_security(job, &findings);
    return findings.count;
}
