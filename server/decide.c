#include "server/decide.h"

#include "common/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EPS 1e-12
#define NORM_TENSOR_TIMES_MAX 100.0
#define WINDOW_ROUNDS_MIN 50
#define WINDOW_EXAMPLES_MIN 4000.0

static uint32_t switch_round(const struct sp_job *job, uint64_t examples, uint32_t rounds)
{
    double at = (double)job->optimizer.switch_.step;

    if (job->optimizer.switch_.epoch > 0.0)
        at = sp_job_whole_rounds(job->optimizer.switch_.epoch * (double)sp_job_epoch_rounds(job, examples));
    else if (job->optimizer.switch_.fraction > 0.0)
        at = sp_job_whole_rounds(job->optimizer.switch_.fraction * (double)rounds);
    if (at < 1.0)
        return 1;
    return at > (double)rounds ? rounds : (uint32_t)at;
}

static uint32_t window_rounds(const struct sp_job *job, uint64_t examples)
{
    double quarter = ceil((double)sp_job_epoch_rounds(job, examples) / 4.0);
    double enough = ceil(WINDOW_EXAMPLES_MIN / ((double)job->workers * (double)job->train.batch));

    return (uint32_t)fmin(fmax(WINDOW_ROUNDS_MIN, fmax(quarter, enough)), 4e9);
}

/* 0: none, it is calibrated. The modes that begin with values have nothing to calibrate a rate from. */
static double fixed_rate(const struct sp_job *job)
{
    if (job->optimizer.mode == SP_MODE_ADAM)
        return job->optimizer.adam.lr;
    if (job->optimizer.mode == SP_MODE_SGD && job->optimizer.sgd.lr == 0.0)
        return SP_SGD_LR_DEFAULT;
    return job->optimizer.sgd.lr;
}

void sp_decide_init(struct sp_decide *decide, const struct sp_job *job, uint64_t examples)
{
    memset(decide, 0, sizeof *decide);
    decide->beta1 = job->optimizer.beta1;
    decide->beta2 = job->optimizer.beta2;
    decide->when = job->optimizer.mode == SP_MODE_HYBRID ? job->optimizer.switch_.when : SP_SWITCH_NEVER;
    decide->rule = job->optimizer.sgd.lambda;
    decide->scale = job->optimizer.sgd.scale;
    decide->lambda_min = job->optimizer.sgd.lambda_min;
    decide->lambda_max = job->optimizer.sgd.lambda_max;
    decide->fixed = fixed_rate(job);
    decide->tolerance = job->optimizer.switch_.tolerance;
    decide->patience = job->optimizer.switch_.patience;
    decide->batch = job->train.batch;
    decide->rounds = sp_job_rounds(job, examples);
    decide->at = switch_round(job, examples, decide->rounds);
    decide->window = window_rounds(job, examples);
    decide->bias_paper = decide->bias_d = 1.0;
    decide->best = INFINITY;
    decide->first_loss = NAN;
}

static void average(double *ema, double value, double beta2)
{
    *ema = beta2 * *ema + (1.0 - beta2) * value;
}

/* SWATS: how long the rate of a round and the average of rates have been close (its section 3, but relatively). */
static void note_rate(struct sp_decide *decide, double lambda)
{
    double mean = decide->ema_paper / (1.0 - decide->bias_paper);

    decide->lambda_now = lambda;
    if (fabs(lambda - mean) <= decide->tolerance * mean)
        decide->settled++;
    else
        decide->settled = 0;
}

void sp_decide_statistics(struct sp_decide *decide, const struct sp_statistics *statistics, double gamma)
{
    double m = (double)statistics->workers;

    if (statistics->workers == 0)
        return;
    average(&decide->ema_a, statistics->a, decide->beta2);
    average(&decide->ema_b, statistics->b, decide->beta2);
    average(&decide->ema_e, statistics->e, decide->beta2);
    average(&decide->ema_paper, gamma * statistics->a / (statistics->b + EPS), decide->beta2);
    decide->bias_paper *= decide->beta2;
    decide->rounds_seen++;
    note_rate(decide, gamma * statistics->a / (statistics->b + EPS));
    if (statistics->workers > 1) {
        average(&decide->ema_d, (m * statistics->b - statistics->e) / (m - 1.0), decide->beta2);
        decide->bias_d *= decide->beta2;
        decide->rounds_seen_d++;
    }
}

void sp_decide_averages(struct sp_decide *decide, const struct sp_averages *averages)
{
    double whole = 1.0 - decide->bias_paper;

    decide->ema_a = averages->a * whole;
    decide->ema_b = averages->b * whole;
    decide->ema_e = averages->e * whole;
    decide->ema_d = averages->d * (1.0 - decide->bias_d);
}

static void end_window(struct sp_decide *decide, double w)
{
    double base = decide->first_loss - fmin(decide->best, w);
    double gain = decide->best - w;

    if (gain <= 0.0 || gain < SP_AUTO_BAR * base)
        decide->flat++;
    else
        decide->flat = 0;
    decide->last_gain = isfinite(gain) && base > 0.0 ? gain / base : 1.0;
    decide->best = fmin(decide->best, w);
    decide->windows++;
    decide->window_sum = 0.0;
    decide->window_n = 0;
}

static void take_loss(struct sp_decide *decide, double loss)
{
    if (!isfinite(loss))
        return;
    if (isnan(decide->first_loss))
        decide->first_loss = loss;
    decide->window_sum += loss;
    decide->window_n++;
}

bool sp_decide_window_ends(const struct sp_decide *decide, uint32_t t)
{
    return t % decide->window == 0;
}

void sp_decide_loss(struct sp_decide *decide, uint32_t t, double loss)
{
    take_loss(decide, loss);
    if (sp_decide_window_ends(decide, t) && decide->window_n > 0)
        end_window(decide, decide->window_sum / (double)decide->window_n);
}

void sp_decide_window(struct sp_decide *decide, double loss, double window)
{
    take_loss(decide, loss);
    end_window(decide, window);
}

static void decide_auto(const struct sp_decide *decide, uint32_t t, struct sp_decision *decision)
{
    double progress = (double)t / (double)decide->rounds;
    double gain = fabs(decide->last_gain) < 5e-5 ? 0.0 : decide->last_gain * 100.0;

    if (decide->flat >= SP_AUTO_FLAT_WINDOWS && progress >= SP_SWITCH_EARLIEST) {
        decision->fires = true;
        (void)snprintf(
            decision->reason, sizeof decision->reason,
            "auto: diminishing returns, %u windows of %u rounds in a row brought less than %.0f %% (the last "
            "%.2f %%) of the loss won so far%s",
            decide->flat, decide->window, SP_AUTO_BAR * 100.0, gain,
            decide->flat > SP_AUTO_FLAT_WINDOWS ? "; there is no switch in the first tenth of a job" : "");
    } else if (progress >= SP_AUTO_LATEST) {
        decision->fires = true;
        decision->capped = true;
        (void)snprintf(decision->reason, sizeof decision->reason,
                       "auto: cap, round %u is %.0f %% of the job and returns did not diminish before (flat windows %u "
                       "of %d)",
                       t, SP_AUTO_LATEST * 100.0, decide->flat, SP_AUTO_FLAT_WINDOWS);
    }
}

static void decide_swats(const struct sp_decide *decide, uint32_t t, struct sp_decision *decision)
{
    decision->fires = decide->settled >= decide->patience && (double)t >= SP_SWITCH_EARLIEST * (double)decide->rounds;
    (void)snprintf(
        decision->reason, sizeof decision->reason,
        "swats: for %u rounds the rate of a round (the last %.4g) was within %.3g %% of the average of rates "
        "(%.4g)",
        decide->settled, decide->lambda_now, decide->tolerance * 100.0, decide->ema_paper / (1.0 - decide->bias_paper));
}

void sp_decide_switch(const struct sp_decide *decide, uint32_t t, struct sp_decision *decision)
{
    static const char *const tests[] = {"never", "at", "auto", "swats", "manual"};

    memset(decision, 0, sizeof *decision);
    decision->test = tests[decide->when];
    switch (decide->when) {
    case SP_SWITCH_NEVER:
    case SP_SWITCH_MANUAL:
        break;
    case SP_SWITCH_AT:
        decision->fires = t >= decide->at;
        (void)snprintf(decision->reason, sizeof decision->reason, "at: round %u, as the job file says", decide->at);
        break;
    case SP_SWITCH_SWATS:
        decide_swats(decide, t, decision);
        break;
    case SP_SWITCH_AUTO:
        decide_auto(decide, t, decision);
        break;
    }
    /* A switch after the last round would change nothing. */
    if (t >= decide->rounds)
        decision->fires = false;
}

static double clamp(const struct sp_decide *decide, double lambda)
{
    return fmin(fmax(lambda, decide->lambda_min), decide->lambda_max);
}

/* The denoised ||mean g||^2: never below a tenth of what the sketch gives. */
static double denoised_norm2(const struct sp_decide *decide)
{
    return decide->rounds_seen_d > 0 ? fmax(decide->ema_d, decide->ema_b / 10.0) : decide->ema_b;
}

static double raw_lambda(const struct sp_decide *decide, enum sp_lambda_rule rule, double gamma_s)
{
    if (rule == SP_LAMBDA_PAPER)
        return decide->ema_paper / (1.0 - decide->bias_paper);
    return gamma_s * decide->ema_a / ((rule == SP_LAMBDA_RATIO ? decide->ema_b : denoised_norm2(decide)) + EPS);
}

void sp_decide_estimates(const struct sp_decide *decide, double gamma_s, struct sp_estimates *estimates)
{
    memset(estimates, 0, sizeof *estimates);
    if (decide->rounds_seen == 0)
        return;
    estimates->paper = clamp(decide, raw_lambda(decide, SP_LAMBDA_PAPER, gamma_s));
    estimates->ratio = clamp(decide, raw_lambda(decide, SP_LAMBDA_RATIO, gamma_s));
    estimates->denoised = clamp(decide, raw_lambda(decide, SP_LAMBDA_DENOISED, gamma_s));
    estimates->stationarity = decide->ema_a / (1.0 - decide->bias_paper);
    if (decide->rounds_seen_d > 0)
        estimates->noise_scale =
            (double)decide->batch * fmax(decide->ema_e - decide->ema_d, 0.0) / (denoised_norm2(decide) + EPS);
}

void sp_decide_numbers(const struct sp_decide *decide, struct sp_numbers *numbers)
{
    struct sp_estimates estimates;
    double whole = decide->rounds_seen > 0 ? 1.0 - decide->bias_paper : NAN;

    sp_decide_estimates(decide, 1.0, &estimates);
    numbers->a = decide->ema_a / whole;
    numbers->b = decide->ema_b / whole;
    numbers->e = decide->ema_e / whole;
    numbers->d = decide->rounds_seen_d > 0 ? decide->ema_d / (1.0 - decide->bias_d) : NAN;
    numbers->noise_scale = decide->rounds_seen_d > 0 ? estimates.noise_scale : NAN;
    numbers->rounds_seen = decide->rounds_seen;
    numbers->first_loss = decide->first_loss;
    numbers->best_loss = decide->windows > 0 ? decide->best : NAN;
    numbers->last_gain = decide->windows > 0 ? decide->last_gain : NAN;
    numbers->window = decide->window;
    numbers->windows = decide->windows;
    numbers->flat = decide->flat;
    numbers->lambda_now = decide->rounds_seen > 0 ? decide->lambda_now : NAN;
    numbers->lambda_mean = decide->ema_paper / whole;
    numbers->settled = decide->settled;
}

const char *sp_decide_rule_name(const struct sp_decide *decide)
{
    static const char *const names[] = {"paper", "ratio", "denoised", "norm", "norm_tensor"};

    return decide->fixed > 0.0 ? "optimizer.sgd.lr" : names[decide->rule];
}

bool sp_decide_needs_mean(const struct sp_decide *decide)
{
    return decide->fixed == 0.0 && (decide->rule == SP_LAMBDA_NORM || decide->rule == SP_LAMBDA_NORM_TENSOR);
}

bool sp_decide_can_switch(const struct sp_decide *decide)
{
    return decide->fixed > 0.0 || sp_decide_needs_mean(decide) || decide->rounds_seen > 0;
}

/* ||mean m||^2 as the statistics of g let one guess it: m averages the noise of g away, not the signal. */
static double guess_norm(const struct sp_decide *decide, double gamma_s, double step_norm)
{
    double correction = 1.0 - decide->bias_paper;
    double signal = denoised_norm2(decide) / correction;
    double total = decide->ema_b / correction;
    double norm2 = signal + (total - signal) * (1.0 - decide->beta1) / (1.0 + decide->beta1);

    return decide->scale * gamma_s * step_norm / (sqrt(fmax(norm2, 0.0)) + EPS);
}

double sp_decide_lambda(const struct sp_decide *decide, double gamma_s, double step_norm, double *unbounded)
{
    double raw, lambda;

    if (unbounded != NULL)
        *unbounded = 0.0;
    if (decide->fixed > 0.0)
        return decide->fixed;
    if (sp_decide_needs_mean(decide))
        return decide->rounds_seen > 0 ? guess_norm(decide, gamma_s, step_norm) : (double)NAN;
    raw = decide->rounds_seen > 0 ? raw_lambda(decide, decide->rule, gamma_s) : 0.0;
    lambda = clamp(decide, raw);
    if (unbounded != NULL && lambda != raw)
        *unbounded = raw;
    return lambda;
}

double sp_decide_norm(const struct sp_decide *decide, double gamma_s, const struct sp_layout *layout,
                      const struct sp_norms *step, const struct sp_norms *mean, float *rates)
{
    double length = decide->scale * gamma_s;
    double whole = length * sqrt(step->whole) / (sqrt(mean->whole) + EPS);

    for (uint32_t i = 0; rates != NULL && i < layout->trained; i++) {
        double rate = length * sqrt(step->tensor[i]) / (sqrt(mean->tensor[i]) + EPS);

        /* Nothing says what its rate should be; a hundred times the whole's would soon decay its weights to nothing. */
        if (step->tensor[i] == 0.0 || mean->tensor[i] == 0.0)
            rate = whole;
        rates[i] = (float)fmin(rate, NORM_TENSOR_TIMES_MAX * whole);
    }
    return whole;
}
