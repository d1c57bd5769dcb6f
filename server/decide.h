/* From gradient statistics to decisions: the learning rate after the switch, and when to switch. Pure.
 *
 * Chen and Wang, arXiv 2604.25550 (the calibration and the switch); Keskar and Socher, arXiv 1712.07628 (SWATS, whose
 * projection it follows). The statistics of a round, over the workers that sent all of them:
 *     A = |mean dot|, dot_i = <s, g_i> with s and g of the same round
 *     B = ||mean sketch||^2, which estimates ||mean g||^2
 *     E = mean ||g_i||^2
 *     D = (M*B - E)/(M-1), without the noise's share (M > 1)
 * s is the sign update, V/M in the margin phase, and sign(mean) in an SGD phase that goes on calibrating.
 */
#pragma once

#include "common/job.h"
#include "common/layout.h"
#include "proto/codec.h"

#include <stdbool.h>
#include <stdint.h>

/* Of `auto`: a window is flat if it brings less than the bar, as a share of the loss won so far; so many in a row fire,
 * and the latest part of the job in any case. Neither it nor `swats` fires before the earliest. */
#define SP_AUTO_BAR 0.01
#define SP_AUTO_FLAT_WINDOWS 2
#define SP_AUTO_LATEST 0.7
#define SP_SWITCH_EARLIEST 0.1

struct sp_statistics {
    double a, b, e;
    unsigned workers; /* M */
};

/* The same over many rounds, corrected for their start; D as it is, which may be negative. */
struct sp_averages {
    double a, b, e, d;
};

struct sp_estimates {
    double paper, ratio, denoised; /* lambda by each rule, within the job's bounds; 0 before the first statistics */
    double noise_scale;            /* in examples: tr(covariance)/||gradient||^2, from ratios of EMAs; 0 if unknown */
    double stationarity;           /* EMA of A: the expected decrease of the loss per unit of gamma */
};

/* The numbers that decisions are made from, as records show them; NaN where there is none. */
struct sp_numbers {
    double a, b, e, d; /* averages, corrected for their start */
    double noise_scale;
    uint32_t rounds_seen;                    /* with statistics */
    double first_loss, best_loss, last_gain; /* of `auto`; the gain of the last window as a share of the loss won */
    uint32_t window, windows, flat;          /* rounds of a window, windows so far, flat ones in a row */
    double lambda_now, lambda_mean;          /* of `swats` */
    uint32_t settled;                        /* rounds in a row that they were close */
};

struct sp_decide {
    /* what the job says */
    double beta1, beta2;
    enum sp_switch_when when;
    uint32_t at; /* with `at`: the last round before the switch */
    enum sp_lambda_rule rule;
    double scale, lambda_min, lambda_max;
    double fixed;     /* the job's optimizer.sgd.lr; 0: calibrated */
    double tolerance; /* of swats */
    uint32_t patience;
    uint32_t rounds;
    uint32_t window; /* rounds */
    uint32_t batch;  /* examples per worker */
    /* moving averages */
    double ema_a, ema_b, ema_e, ema_d, ema_paper;
    double bias_paper; /* beta2^n */
    double bias_d;
    uint32_t rounds_seen, rounds_seen_d;
    /* swats */
    double lambda_now;
    uint32_t settled;
    /* diminishing returns */
    double first_loss, best, window_sum;
    uint32_t window_n, windows;
    unsigned flat;
    double last_gain; /* of the last window, as a share of the bar's base */
};

struct sp_decision {
    bool fires;
    bool capped;      /* the latest round for a switch was reached, rather than the test fulfilled */
    const char *test; /* "auto", "at", "swats": static */
    char reason[192]; /* which test, with its numbers */
};

/* Squared lengths: of the whole of what is voted on, and of each of its tensors (0 for the others). */
struct sp_norms {
    double whole;
    double *tensor; /* owned by whoever made it */
};

void sp_decide_init(struct sp_decide *decide, const struct sp_job *job, uint64_t examples);

/* Takes the statistics of a round that had rate gamma. */
void sp_decide_statistics(struct sp_decide *decide, const struct sp_statistics *statistics, double gamma);

/* Takes averages in place of its own, after the statistics of the round that completed them. */
void sp_decide_averages(struct sp_decide *decide, const struct sp_averages *averages);

/* Takes the mean loss of round t. */
void sp_decide_loss(struct sp_decide *decide, uint32_t t, double loss);

/* Whether a window of `auto` ends with round t. */
bool sp_decide_window_ends(const struct sp_decide *decide, uint32_t t);

/* The same for the round that a window ends with, of which the caller knows the loss: in place of the rounds' mean. */
void sp_decide_window(struct sp_decide *decide, double loss, double window);

/* Whether the round after round t is one of the next phase. Call it once a round, after the two above. */
void sp_decide_switch(const struct sp_decide *decide, uint32_t t, struct sp_decision *decision);

/* All estimates, gamma_s being the rate of the last sign round, or while in the sign phase of the present one. */
void sp_decide_estimates(const struct sp_decide *decide, double gamma_s, struct sp_estimates *estimates);

void sp_decide_numbers(const struct sp_decide *decide, struct sp_numbers *numbers);

/* "paper", "norm" and so on, or "optimizer.sgd.lr" if the rate is fixed. */
const char *sp_decide_rule_name(const struct sp_decide *decide);

/* True if the rule takes its rate from the first SGD round's mean rather than from the statistics. */
bool sp_decide_needs_mean(const struct sp_decide *decide);

/* True if the rule has what it needs: a rule that goes by the statistics needs some. */
bool sp_decide_can_switch(const struct sp_decide *decide);

/* The rate by the job's rule, or a guess of it for the norm rules while in the sign phase ("about x"), NaN if there are
 * no statistics to guess from. step_norm is the length of a step per unit of gamma: sqrt(d), or ||V/M||. If the job's
 * bounds changed it, *unbounded is what it was, else 0; NULL is allowed. */
double sp_decide_lambda(const struct sp_decide *decide, double gamma_s, double step_norm, double *unbounded);

/* norm: scale*gamma_s*||step||/(||mean|| + eps), returned. norm_tensor: the same for each tensor l with ||step_l|| and
 * ||mean_l||, at most 100 times that; written to rates[l] if `rates` is not NULL, for tensors that are voted on. A
 * tensor whose step has no length (all its counts were tied), or whose mean has none, gets the rate of the whole: by
 * its own it would stand still to the end, or its weights would decay to nothing. */
double sp_decide_norm(const struct sp_decide *decide, double gamma_s, const struct sp_layout *layout,
                      const struct sp_norms *step, const struct sp_norms *mean, float *rates);
