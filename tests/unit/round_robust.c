/* server.statistics: robust, in rounds: the switch of `auto`, its rate, and slots that change hands. */
#include "drive.h"
#include "round_cases.h"
#include "server/robust.h"
#include "unit.h"

#include <math.h>

#define WORKERS 15u
#define FORGERS 3u
#define WINDOW 50u

static const uint64_t small[] = {4, 9, 0};
static const float ramp[13] = {3, -4, 0, 0, 1, -2, 2, 4, 0, 0, 0, 0, 0};
static struct drive d;

static void push(uint32_t peer, double loss, double dot)
{
    struct sp_push scalars = {.has_scalars = true, .loss = loss, .gradient_norm2 = 4.0, .has_sketch = true};

    scalars.sketch[3] = 2.0f;
    ck_assert_int_eq(drive_push_scalars(&d, peer, ramp, dot, &scalars), SP_OK);
}

static double stationarity(void)
{
    return drive_last(&d, SP_ACTION_REPORT)->action.report.estimates.stationarity;
}

/* --- the switch ------------------------------------------------------------------------------------------------------
 */

enum forged_loss { HONEST, HUGE_LOSS, NEGATIVE, FALLS, RISES, SEESAW, FORGED_LOSSES };

static double forge_loss(enum forged_loss how, uint32_t t, double honest)
{
    switch (how) {
    case HUGE_LOSS:
        return 1e12;
    case NEGATIVE:
        return -1e12;
    case FALLS: /* returns that never diminish */
        return 5000.0 - 5.0 * t;
    case RISES:
        return 5.0 * t;
    case SEESAW:
        return t / WINDOW % 2 == 0 ? 0.0 : 1e6;
    default:
        return honest;
    }
}

/* A loss that falls from 2.3 towards 0.3, seen through small batches. `auto` fires by itself at about half of the job,
 * or at the cap, round 700 of 1000. Returns the round, and lambda. */
static uint32_t switch_of(const char *statistics, enum forged_loss how, double *lambda)
{
    struct sp_rng rng = unit_rng(3);
    uint32_t t;

    drive_open(&d,
               (const char *[]){"workers=15", "train.rounds=1000", "train.batch=80", "optimizer.switch.when=auto",
                                "optimizer.sgd.lambda=ratio", statistics, NULL},
               small);
    (void)drive_join_all(&d, WORKERS);
    for (t = 1; d.form.phase == SP_PHASE_SIGN; t++) {
        drive_clear(&d);
        for (uint32_t i = 0; i < WORKERS; i++) {
            double noise = (double)unit_uniform(&rng), loss = 0.3 + 2.0 * exp(-(double)t / 120.0);
            bool forges = how != HONEST && i < FORGERS;

            loss *= 1.0 + 0.8 * noise;
            push(i + 1, forges ? forge_loss(how, t, loss) : loss, forges ? 1e6 : 3.0 + noise);
        }
    }
    *lambda = drive_last(&d, SP_ACTION_EVENT)->action.event.lambda;
    drive_close(&d);
    return t - 1;
}

START_TEST(test_forged_losses_hardly_move_the_switch)
{
    double expected, lambda;
    uint32_t round = switch_of("server.statistics=mean", HONEST, &expected), forged;

    ck_assert(round > 4 * WINDOW && round < 700);
    forged = switch_of("server.statistics=robust", (enum forged_loss)_i, &lambda);
    ck_assert_msg(forged <= round + 2 * WINDOW && round <= forged + 2 * WINDOW, "round %u, honest %u", forged, round);
    ck_assert_msg(lambda < 1.1 * expected && lambda > expected / 1.1, "lambda %g, honest %g", lambda, expected);
}
END_TEST

/* What the rule above is for: the same forgers move the plain mean. */
START_TEST(test_forged_losses_move_the_mean)
{
    double honest, lambda;

    (void)switch_of("server.statistics=mean", HONEST, &honest);
    ck_assert_uint_eq(switch_of("server.statistics=mean", FALLS, &lambda), 700);
    ck_assert_double_eq(lambda, 1.0); /* the bound of the job */
    ck_assert_uint_lt(switch_of("server.statistics=mean", RISES, &lambda), 4 * WINDOW);
}
END_TEST

/* The estimates are those of the averages, not of averages of what single rounds say. */
START_TEST(test_estimates_are_of_the_averages)
{
    static struct sp_robust robust;
    struct sp_rng rng = unit_rng(9);

    drive_open(&d, (const char *[]){"workers=6", "train.report=1", "train.rounds=60", "server.statistics=robust", NULL},
               small);
    (void)drive_join_all(&d, 6);
    sp_robust_init(&robust, d.job.optimizer.beta2);
    for (unsigned t = 0; t < 50; t++) {
        struct sp_push scalars = {.has_scalars = true, .gradient_norm2 = 4.0, .has_sketch = true};
        static float sketch[SP_SKETCH_BUCKETS];
        struct sp_sample samples[6];
        struct sp_statistics statistics;
        struct sp_averages averages;

        for (uint32_t i = 0; i < 6; i++) {
            samples[i] = (struct sp_sample){i, 3.0 + 2.0 * (double)unit_uniform(&rng), 4.0, sketch};
            scalars.sketch[3] = 2.0f;
            ck_assert_int_eq(drive_push_scalars(&d, i + 1, ramp, samples[i].dot, &scalars), SP_OK);
        }
        if (t == 0)
            continue; /* these dots belong to no round */
        sketch[3] = 2.0f;
        ck_assert(sp_robust_take(&robust, samples, 6, &statistics, &averages));
        ck_assert_double_eq_tol(stationarity(), averages.a, 1e-12);
    }
    drive_close(&d);
}
END_TEST

/* Every worker's mean over the window is 2, whereas every round's mean without its ends is 5/3. */
START_TEST(test_windows_are_of_workers)
{
    drive_open(&d,
               (const char *[]){"workers=5", "train.batch=80", "train.rounds=1000", "optimizer.switch.dry_run=true",
                                "optimizer.switch.when=manual", "server.statistics=robust", NULL},
               small);
    (void)drive_join_all(&d, 5);
    for (uint32_t t = 0; t <= WINDOW; t++) {
        if (t == WINDOW)
            ck_assert_int_eq(drive_switch(&d, NULL), SP_OK);
        for (uint32_t i = 0; i < 5; i++)
            push(i + 1, (i + t) % 5 < 2 ? 5.0 : 0.0, 1.0);
    }
    ck_assert_double_eq_tol(drive_last(&d, SP_ACTION_EVENT)->action.event.numbers.first_loss, 5.0 / 3.0, 1e-12);
    ck_assert_double_eq_tol(drive_last(&d, SP_ACTION_EVENT)->action.event.numbers.best_loss, 2.0, 1e-12);
    drive_close(&d);
}
END_TEST

/* The losses that are reported are trimmed too. */
START_TEST(test_reported_loss)
{
    drive_open(&d, (const char *[]){"workers=5", "train.report=1", "server.statistics=robust", NULL}, small);
    (void)drive_join_all(&d, 5);
    for (uint32_t i = 0; i < 5; i++)
        push(i + 1, i == 2 ? 1e9 : (double)i, 0.0);
    ck_assert_double_eq(drive_last(&d, SP_ACTION_REPORT)->action.report.loss, (1.0 + 3.0 + 4.0) / 3.0);
    drive_close(&d);
}
END_TEST

/* --- few workers -----------------------------------------------------------------------------------------------------
 */

/* Four workers are too few: everything is as with the mean. */
START_TEST(test_few_workers_have_means)
{
    double seen[2], loss[2];

    for (unsigned k = 0; k < 2; k++) {
        drive_open(&d,
                   (const char *[]){"workers=4", "train.report=1", "optimizer.beta2=0.5",
                                    k == 0 ? "server.statistics=mean" : "server.statistics=robust", NULL},
                   small);
        (void)drive_join_all(&d, 4);
        for (unsigned t = 0; t < 6; t++) {
            for (uint32_t i = 0; i < 4; i++)
                push(i + 1, 0.1 * i + t, i == 2 ? 1e3 : 0.3 * t);
        }
        seen[k] = stationarity();
        loss[k] = drive_last(&d, SP_ACTION_REPORT)->action.report.loss;
        drive_close(&d);
    }
    ck_assert_double_eq(seen[1], seen[0]);
    ck_assert_double_eq(loss[1], loss[0]);
}
END_TEST

/* --- slots that change hands -----------------------------------------------------------------------------------------
 */

static uint32_t peers[8];

static void open_eight(const char *beta2)
{
    drive_open(
        &d,
        (const char *[]){"workers=8", "train.report=1", "train.rounds=300", beta2, "server.statistics=robust", NULL},
        small);
    (void)drive_join_all(&d, 8);
    for (uint32_t i = 0; i < 8; i++)
        peers[i] = i + 1;
}

/* Slots from..to-1 give another dot than 1. */
static void round_of_eight(uint32_t from, uint32_t to, double dot)
{
    for (uint32_t i = 0; i < 8; i++)
        push(peers[i], 1.0, i >= from && i < to ? dot : 1.0);
}

/* Two forgers are left out for what they gave. Honest workers take their slots, and two others begin to forge: these
 * could not be left out as well. */
START_TEST(test_a_new_worker_begins_anew)
{
    open_eight("optimizer.beta2=0.5");
    for (unsigned t = 0; t < 10; t++)
        round_of_eight(6, 8, 1e6);
    ck_assert_double_eq_tol(stationarity(), 1.0, 1e-9);
    for (uint32_t i = 6; i < 8; i++) {
        drive_left(&d, peers[i]);
        peers[i] = drive_join(&d, (int)i);
    }
    for (unsigned t = 0; t < 3; t++)
        round_of_eight(8, 8, 1.0);
    for (unsigned t = 0; t < 5; t++)
        round_of_eight(4, 6, 1e6);
    ck_assert_double_eq_tol(stationarity(), 1.0, 1e-9);
    drive_close(&d);
}
END_TEST

/* A spare that takes a slot is another worker too. */
START_TEST(test_a_spare_begins_anew)
{
    uint32_t spares[2];

    open_eight("optimizer.beta2=0.5");
    for (unsigned t = 0; t < 10; t++)
        round_of_eight(6, 8, 1e6);
    for (unsigned k = 0; k < 2; k++)
        spares[k] = drive_hello(&d, SP_ANY_SLOT);
    for (uint32_t i = 6; i < 8; i++) {
        drive_left(&d, peers[i]);
        peers[i] = spares[i - 6];
        ck_assert_int_eq(drive_ready(&d, peers[i]), SP_OK);
    }
    for (unsigned t = 0; t < 3; t++)
        round_of_eight(8, 8, 1.0);
    for (unsigned t = 0; t < 5; t++)
        round_of_eight(4, 6, 1e6);
    ck_assert_double_eq_tol(stationarity(), 1.0, 1e-9);
    drive_close(&d);
}
END_TEST

/* Who returns with its ticket is the one it was: one other round does not make another average. */
START_TEST(test_who_returns_is_known)
{
    open_eight("optimizer.beta2=0.99");
    for (unsigned t = 0; t < 101; t++)
        round_of_eight(8, 8, 1.0);
    for (uint32_t i = 4; i < 8; i++) {
        drive_left(&d, peers[i]);
        peers[i] = drive_return(&d, peers[i]);
        ck_assert_int_eq(drive_ready(&d, peers[i]), SP_OK);
    }
    round_of_eight(8, 8, 1.0); /* the dots of this one belong to no round of theirs */
    round_of_eight(4, 8, 2.0);
    ck_assert_double_gt(stationarity(), 1.0);
    ck_assert_double_lt(stationarity(), 1.05);
    drive_close(&d);
}
END_TEST

TCase *round_robust_cases(void)
{
    TCase *cases = tcase_create("robust");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_forged_losses_hardly_move_the_switch, 0, FORGED_LOSSES);
    tcase_add_test(cases, test_forged_losses_move_the_mean);
    tcase_add_test(cases, test_estimates_are_of_the_averages);
    tcase_add_test(cases, test_windows_are_of_workers);
    tcase_add_test(cases, test_reported_loss);
    tcase_add_test(cases, test_few_workers_have_means);
    tcase_add_test(cases, test_a_new_worker_begins_anew);
    tcase_add_test(cases, test_a_spare_begins_anew);
    tcase_add_test(cases, test_who_returns_is_known);
    return cases;
}
