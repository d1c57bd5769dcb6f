/* The rates that a COMMIT must carry: schedules by the job's settings, and after a switch the calibration by the norms
 * of what the oracle found. Where a rule goes by sketches and dots, which only the server adds up, its rate is taken
 * from there, and only its bounds and its schedule are checked. */
#include "cluster_state.h"

#include "common/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TENSOR_TIMES_MAX 100.0
#define NEARLY 2e-6

struct rates {
    bool known;
    double lambda, *lambdas;            /* before the schedule; one a tensor with norm_tensor */
    double step, *steps;                /* ||step||^2 per unit of gamma of the last round that voted */
    double gamma, factor;               /* of the last round before SGD */
    uint32_t sgd_from;                  /* that round */
    double average, *averages, weights; /* of ||mean||^2, tracking: sums and the sum of weights */
};

static double *zeros(uint32_t n)
{
    double *array = calloc(n, sizeof *array);

    must(array != NULL);
    return array;
}

void rates_open(struct cluster *c)
{
    const struct sp_job *job = &c->job;
    struct rates *rates = calloc(1, sizeof *rates);

    must(rates != NULL);
    c->oracle.rates = rates;
    rates->lambdas = zeros(c->layout.trained);
    rates->steps = zeros(c->layout.trained);
    rates->averages = zeros(c->layout.trained);
    rates->factor = 1.0;
    rates->known = job->optimizer.mode != SP_MODE_HYBRID;
    rates->lambda = job->optimizer.mode == SP_MODE_ADAM ? job->optimizer.adam.lr : job->optimizer.sgd.lr;
    if (rates->lambda == 0.0)
        rates->lambda = SP_SGD_LR_DEFAULT;
}

void rates_close(struct cluster *c)
{
    free(c->oracle.rates->lambdas);
    free(c->oracle.rates->steps);
    free(c->oracle.rates->averages);
    free(c->oracle.rates);
}

bool rates_known(const struct cluster *c)
{
    return c->oracle.rates->known;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= NEARLY * fmax(fabs(a), fabs(b));
}

static double sign_factor(const struct cluster *c, uint32_t t)
{
    struct sp_course course = sp_job_sign_course(&c->job, c->options->examples);

    return sp_schedule_factor(&course, t);
}

static bool goes_by_norms(const struct cluster *c)
{
    return c->job.optimizer.mode == SP_MODE_HYBRID && c->job.optimizer.sgd.lr == 0.0 &&
           c->job.optimizer.sgd.lambda >= SP_LAMBDA_NORM;
}

/* --- sign and margin -------------------------------------------------------------------------------------------------
 */

/* Counts that are tied everywhere, or of nobody, have no length: then that of the round before, or of signs. */
static double length_of(bool margin, double counts, double signs, double before)
{
    if (!margin)
        return signs;
    if (counts > 0.0)
        return counts;
    return before > 0.0 ? before : signs;
}

static void take_step(struct cluster *c)
{
    struct rates *rates = c->oracle.rates;
    bool margin = c->oracle.form.phase == SP_PHASE_MARGIN;

    rates->step =
        length_of(margin, c->oracle.whole_norm, (double)(c->layout.coordinates - c->oracle.full), rates->step);
    for (uint32_t i = 0; i < c->layout.trained; i++)
        rates->steps[i] = length_of(margin, c->oracle.norms[i], (double)c->layout.tensors[i].count, rates->steps[i]);
}

static double vote_rate(struct cluster *c, uint32_t t)
{
    double lr = c->job.optimizer.sign.lr;

    if (c->oracle.form.phase == SP_PHASE_MARGIN)
        lr = c->job.optimizer.margin.lr > 0.0 ? c->job.optimizer.margin.lr : 4.0 * lr;
    take_step(c);
    c->oracle.rates->gamma = lr * sign_factor(c, t);
    c->oracle.rates->factor = sign_factor(c, t);
    c->oracle.rates->sgd_from = t;
    return c->oracle.rates->gamma;
}

/* --- SGD -------------------------------------------------------------------------------------------------------------
 */

static double average(double *sum, double value, double beta2, double weights)
{
    *sum = beta2 * *sum + (1.0 - beta2) * value;
    return *sum / weights;
}

/* ||mean||^2 of this round, or its average so far. */
static void norm_rates(struct cluster *c)
{
    struct rates *rates = c->oracle.rates;
    double beta2 = c->job.optimizer.beta2, scale = c->job.optimizer.sgd.scale * rates->gamma;
    bool tracking = c->job.optimizer.sgd.rate == SP_RATE_TRACKING;
    double whole = c->oracle.whole_norm;

    rates->weights = beta2 * rates->weights + (1.0 - beta2);
    if (tracking)
        whole = average(&rates->average, whole, beta2, rates->weights);
    rates->lambda = scale * sqrt(rates->step) / (sqrt(whole) + 1e-12);
    for (uint32_t i = 0; i < c->layout.trained; i++) {
        double norm = c->oracle.norms[i];

        if (tracking)
            norm = average(&rates->averages[i], norm, beta2, rates->weights);
        rates->lambdas[i] =
            fmin(scale * sqrt(rates->steps[i]) / (sqrt(norm) + 1e-12), TENSOR_TIMES_MAX * rates->lambda);
        if (rates->steps[i] == 0.0 || norm == 0.0)
            rates->lambdas[i] = rates->lambda;
    }
    rates->known = true;
}

/* What the statistics gave; the server's word is taken for it. */
static void statistics_rate(struct cluster *c)
{
    struct rates *rates = c->oracle.rates;
    struct sp_view view;

    sp_round_view(c->round, &view);
    must(view.lambda_known);
    must(view.lambda >= c->job.optimizer.sgd.lambda_min && view.lambda <= c->job.optimizer.sgd.lambda_max);
    rates->lambda = view.lambda;
    rates->known = true;
}

static void calibrate(struct cluster *c, unsigned voters)
{
    bool tracking = c->job.optimizer.sgd.rate == SP_RATE_TRACKING;

    if (c->job.optimizer.mode != SP_MODE_HYBRID || (c->oracle.rates->known && !tracking))
        return;
    if (c->job.optimizer.sgd.lr > 0.0)
        c->oracle.rates->known = true;
    else if (!goes_by_norms(c))
        statistics_rate(c);
    else if (voters > 0 && c->oracle.whole_norm > 0.0)
        norm_rates(c);
}

static double sgd_factor(const struct cluster *c, uint32_t t)
{
    const struct rates *rates = c->oracle.rates;
    uint32_t rounds = sp_job_rounds(&c->job, c->options->examples);
    struct sp_course course;

    if (c->job.optimizer.sgd.schedule == SP_SGD_SCHEDULE_CONTINUE)
        return sign_factor(c, t) / rates->factor;
    course = sp_job_sgd_course(&c->job, c->options->examples, rounds - rates->sgd_from);
    return sp_schedule_factor(&course, t - rates->sgd_from);
}

/* --- both ------------------------------------------------------------------------------------------------------------
 */

/* A calibrated rate makes no step longer than optimizer.sgd.clip steps of the phase before. */
static double clipped(const struct cluster *c, double rate, double norm, double step, uint32_t t)
{
    const struct rates *rates = c->oracle.rates;
    double longest = c->job.optimizer.sgd.clip * rates->gamma * sgd_factor(c, t) * sqrt(step);

    if (c->job.optimizer.sgd.clip == 0.0 || c->job.optimizer.mode != SP_MODE_HYBRID || c->job.optimizer.sgd.lr > 0.0 ||
        rate * sqrt(norm) <= longest)
        return rate;
    return longest / sqrt(norm);
}

static double expected_rate(struct cluster *c, uint32_t i, uint32_t t, double rate)
{
    const struct rates *rates = c->oracle.rates;

    if (oracle_is_full(c, i))
        return c->job.full.lr * sign_factor(c, t);
    if (c->oracle.form.phase != SP_PHASE_SGD || !rates->known)
        return rate;
    if (goes_by_norms(c) && c->job.optimizer.sgd.lambda == SP_LAMBDA_NORM_TENSOR)
        return clipped(c, rates->lambdas[i] * sgd_factor(c, t), c->oracle.norms[i], rates->steps[i], t);
    return clipped(c, rate, c->oracle.whole_norm, rates->step, t);
}

void rates_check(struct cluster *c, const struct sp_commit *commit, unsigned voters)
{
    const struct rates *rates = c->oracle.rates;
    uint32_t t = c->oracle.committed + 1;
    double rate = 0.0;

    if (c->oracle.form.phase != SP_PHASE_SGD) {
        rate = vote_rate(c, t);
    } else {
        calibrate(c, voters);
        rate = rates->known ? rates->lambda * sgd_factor(c, t) : 0.0;
    }
    for (uint32_t i = 0; i < c->layout.trained; i++) {
        double expected = expected_rate(c, i, t, rate);
        double own = (double)(commit->rates != NULL ? commit->rates[i] : commit->rate);
        double decay = (double)(commit->decays != NULL ? commit->decays[i] : commit->decay);

        must_say(near(own, expected), "rate %.9g of tensor %u in round %u should be %.9g", own, i, t, expected);
        must_say(near(decay, 1.0 - expected * c->job.optimizer.weight_decay),
                 "decay %.9g of tensor %u in round %u with rate %.9g", decay, i, t, expected);
    }
    must(commit->rates == NULL || commit->rates_count == c->layout.trained);
    must(commit->decays == NULL || commit->decays_count == c->layout.trained);
}
