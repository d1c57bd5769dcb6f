/* The learning rates of a round, and what sets them: schedules, and at the switch the calibration. */
#include "common/check.h"
#include "server/round_state.h"

#include <math.h>
#include <stdio.h>

double sp_rates_factor(const struct sp_round *r, uint32_t t)
{
    struct sp_course course = sp_job_sign_course(&r->job, r->examples);

    return sp_schedule_factor(&course, t);
}

double sp_rates_gamma(const struct sp_round *r, enum sp_phase phase, uint32_t t)
{
    double lr = r->job.optimizer.sign.lr;

    if (phase == SP_PHASE_MARGIN)
        lr = r->job.optimizer.margin.lr > 0.0 ? r->job.optimizer.margin.lr : SP_MARGIN_TIMES * lr;
    return lr * sp_rates_factor(r, t);
}

float sp_rates_sigma(const struct sp_round *r, enum sp_phase phase, uint32_t t)
{
    if (phase == SP_PHASE_MARGIN)
        return (float)r->job.optimizer.margin.sigma0;
    if (phase == SP_PHASE_SGD)
        return 0.0f;
    return (float)(r->job.optimizer.dither.sigma0 * sp_dither_factor(r->job.optimizer.dither.schedule, t, r->rounds));
}

static float decay_of(const struct sp_round *r, double rate)
{
    return (float)(1.0 - rate * r->job.optimizer.weight_decay);
}

/* A rate a tensor: rates[i], or `rate` if that is NULL, times `factor`; tensors in full have their own. */
static void set_rates(struct sp_round *r, struct sp_commit *commit, const float *rates, double rate, double factor)
{
    double full = r->job.full.lr * sp_rates_factor(r, r->round);

    for (uint32_t i = 0; i < r->layout.trained; i++) {
        double own = rates != NULL ? (double)rates[i] * factor : rate;

        if (sp_tensor_is(&r->layout.tensors[i], SP_TENSOR_FULL))
            own = full;
        r->scaled[i] = (float)own;
        r->decays[i] = decay_of(r, own);
    }
    commit->rates = r->scaled;
    commit->rates_count = r->layout.trained;
    if (r->job.optimizer.weight_decay > 0.0) {
        commit->decays = r->decays;
        commit->decays_count = r->layout.trained;
    }
}

void sp_rates_signs(struct sp_round *r, struct sp_commit *commit)
{
    double gamma = sp_rates_gamma(r, r->form.phase, r->round);

    commit->rate = (float)gamma;
    commit->decay = decay_of(r, gamma);
    if (r->layout.full > 0)
        set_rates(r, commit, NULL, gamma, 1.0);
}

/* Counts that all tie have no length, which would make the rate 0 to the job's end: the one before it stays, or that of
 * signs if there was none. */
static void take_length(double *length, double counts, double signs)
{
    if (counts > 0.0)
        *length = counts;
    else if (*length == 0.0)
        *length = signs;
}

void sp_rates_take_step(struct sp_round *r, enum sp_phase phase)
{
    bool margin = phase == SP_PHASE_MARGIN;
    double signs = (double)(r->layout.coordinates - r->layout.full);

    take_length(&r->step.whole, margin ? r->now.whole : signs, signs);
    for (uint32_t i = 0; i < r->layout.trained; i++) {
        signs = (double)r->layout.tensors[i].count;
        take_length(&r->step.tensor[i], margin ? r->now.tensor[i] : signs, signs);
    }
}

/* --- the SGD phase ---------------------------------------------------------------------------------------------------
 */

static bool tracks(const struct sp_round *r)
{
    return r->job.optimizer.mode == SP_MODE_HYBRID && r->job.optimizer.sgd.rate == SP_RATE_TRACKING;
}

/* Averages of ||mean||^2 over the SGD rounds so far, corrected for their start: with one round, that round's. */
static void average_norms(struct sp_round *r, struct sp_norms *corrected)
{
    double beta2 = r->decide.beta2;

    r->bias_mean2 *= beta2;
    r->mean2.whole = beta2 * r->mean2.whole + (1.0 - beta2) * r->now.whole;
    corrected->whole = r->mean2.whole / (1.0 - r->bias_mean2);
    for (uint32_t i = 0; i < r->layout.trained; i++) {
        r->mean2.tensor[i] = beta2 * r->mean2.tensor[i] + (1.0 - beta2) * r->now.tensor[i];
        corrected->tensor[i] = r->mean2.tensor[i] / (1.0 - r->bias_mean2);
    }
}

#define RATES_SAID_MAX 8 /* of more tensors the least and the largest are said; the record has them all */

/* ": NAME RATE, NAME RATE", or ": of 62 tensors, RATE (NAME) to RATE (NAME)". */
static void rates_words(const struct sp_round *r, char *words, size_t bytes)
{
    const struct sp_tensor *tensors = r->layout.tensors;
    uint32_t least = UINT32_MAX, most = UINT32_MAX, count = 0;
    size_t used = 0;

    for (uint32_t i = 0; i < r->layout.trained; i++) {
        if (sp_tensor_is(&tensors[i], SP_TENSOR_FULL))
            continue;
        least = least == UINT32_MAX || r->rates[i] < r->rates[least] ? i : least;
        most = most == UINT32_MAX || r->rates[i] > r->rates[most] ? i : most;
        count++;
    }
    if (count > RATES_SAID_MAX) {
        (void)snprintf(words, bytes, ": of %u tensors, %.4g (%s) to %.4g (%s)", count, (double)r->rates[least],
                       tensors[least].name, (double)r->rates[most], tensors[most].name);
        return;
    }
    words[0] = '\0';
    for (uint32_t i = 0; i < r->layout.trained && used < bytes; i++) {
        if (!sp_tensor_is(&tensors[i], SP_TENSOR_FULL))
            used += (size_t)snprintf(words + used, bytes - used, "%s%s %.4g", used > 0 ? ", " : ": ", tensors[i].name,
                                     (double)r->rates[i]);
    }
}

static void say_rates(struct sp_round *r)
{
    struct sp_event event = sp_switch_new_event(r, SP_EVENT_RATES, "rate");
    size_t used = (size_t)snprintf(event.reason, sizeof event.reason, "%s, scale %g", event.rule, r->decide.scale);

    event.gamma = r->gamma_switch;
    event.lambda = r->rates_in_use ? (double)NAN : r->lambda;
    event.rates = r->rates_in_use ? r->rates : NULL;
    if (r->rates_in_use)
        rates_words(r, event.reason + used, sizeof event.reason - used);
    sp_switch_event(r, &event);
}

/* The rates that keep the length of a step: from the first SGD round's own mean, or from the mean's length since. */
static void take_norm_rates(struct sp_round *r)
{
    bool by_tensor = r->decide.rule == SP_LAMBDA_NORM_TENSOR, first = !r->lambda_known;
    struct sp_norms *mean = &r->now, corrected = {.tensor = r->corrected};

    if (tracks(r)) {
        average_norms(r, &corrected);
        mean = &corrected;
    }
    r->lambda = sp_decide_norm(&r->decide, r->gamma_switch, &r->layout, &r->step, mean, by_tensor ? r->rates : NULL);
    r->lambda_known = true;
    r->rates_in_use = by_tensor;
    if (first)
        say_rates(r);
}

/* A mean that no worker gave all of, or of length 0, has no rate: it would be infinite, and stay so to the end. */
static bool mean_has_length(struct sp_round *r)
{
    struct sp_event event;

    if (r->voters > 0 && r->now.whole > 0.0)
        return true;
    if (r->lambda_known || r->refused)
        return false;
    r->refused = true; /* recorded once; it is tried again with every round */
    event = sp_switch_new_event(r, SP_EVENT_REFUSAL, "rate");
    (void)snprintf(
        event.reason, sizeof event.reason,
        "round %u brought no mean to take the SGD rate from; it changes nothing, and the next ones are asked",
        r->round);
    sp_switch_event(r, &event);
    return false;
}

static double factor_of(const struct sp_round *r)
{
    struct sp_course course;

    if (r->job.optimizer.sgd.schedule == SP_SGD_SCHEDULE_CONTINUE)
        return sp_rates_factor(r, r->round) / r->factor_switch;
    course = sp_job_sgd_course(&r->job, r->examples, r->rounds - r->sgd_from);
    return sp_schedule_factor(&course, r->round - r->sgd_from);
}

/* Whether the rate of this round is known, after what this round's mean and statistics have to say of it. */
static bool calibrate(struct sp_round *r)
{
    if (sp_decide_needs_mean(&r->decide)) {
        if ((!r->lambda_known || tracks(r)) && mean_has_length(r))
            take_norm_rates(r);
    } else if (tracks(r)) {
        r->lambda = sp_decide_lambda(&r->decide, r->gamma_switch, 0.0, NULL);
    }
    return r->lambda_known;
}

/* The share of a rate that keeps its step within optimizer.sgd.clip lengths of a step before the switch. */
static double within_clip(const struct sp_round *r, double rate, double mean2, double step2, double factor)
{
    double clip = r->job.optimizer.sgd.clip, length = rate * sqrt(mean2);
    double longest = clip * r->gamma_switch * factor * sqrt(step2);

    if (clip == 0.0 || r->job.optimizer.mode != SP_MODE_HYBRID || r->decide.fixed > 0.0 || length <= longest)
        return 1.0;
    return longest / length;
}

static void clip_steps(struct sp_round *r, struct sp_commit *commit, double factor)
{
    double whole = within_clip(r, r->lambda * factor, r->now.whole, r->step.whole, factor);
    bool clipped = !r->rates_in_use && whole < 1.0;

    if (clipped) {
        commit->rate = (float)(r->lambda * factor * whole);
        commit->decay = decay_of(r, r->lambda * factor * whole);
    }
    for (uint32_t i = 0; commit->rates != NULL && i < r->layout.trained; i++) {
        double share = whole, own = (double)r->scaled[i];

        if (sp_tensor_is(&r->layout.tensors[i], SP_TENSOR_FULL))
            continue;
        if (r->rates_in_use)
            share = within_clip(r, own, r->now.tensor[i], r->step.tensor[i], factor);
        if (share == 1.0)
            continue;
        r->scaled[i] = (float)(own * share);
        r->decays[i] = decay_of(r, own * share);
        clipped = true;
    }
    r->clipped += clipped;
}

void sp_rates_values(struct sp_round *r, struct sp_commit *commit)
{
    double factor;

    if (!calibrate(r)) {
        commit->decay = 1.0f;
        if (r->layout.full > 0) {
            set_rates(r, commit, NULL, 0.0, 1.0);
            commit->rate = 0.0f;
        }
        return;
    }
    factor = factor_of(r);
    commit->rate = (float)(r->lambda * factor);
    commit->decay = decay_of(r, r->lambda * factor);
    if (r->rates_in_use || r->layout.full > 0)
        set_rates(r, commit, r->rates_in_use ? r->rates : NULL, r->lambda * factor, factor);
    clip_steps(r, commit, factor);
}
