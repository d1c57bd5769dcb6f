/* Who is suspected of bad votes: the arithmetic of the samples, and the promised rates over many made jobs.
 *
 * In a made job a worker's vote is 16 words of 64 coordinates, each word of one sign: gradients are of low rank, so
 * that what a sample says is much less than its coordinates would. A word follows the sign that all honest workers see
 * with a probability `signal`, else a coin of the worker's own: c_ij is signal^2 on average, with a deviation of 1/4.
 */
#include "server/suspect.h"
#include "tests/unit/unit.h"

#include <math.h>
#include <string.h>

enum { WORDS = 16 };

enum lie { LIE_FLIP, LIE_TOGETHER };

struct made {
    unsigned workers, liars; /* the liars have the last slots */
    double signal;
    enum lie lie;
    double sticks; /* how often a word is that of the sample before */
};

static struct sp_suspicion suspicion;
static struct sp_vote_sample sample;
static struct sp_suspect found[SP_SLOTS_MAX];
static bool last[SP_SLOTS_MAX][WORDS];

static bool chance(struct sp_rng *rng, double p)
{
    return (double)sp_rng_unit(sp_rng_next(rng)) < p;
}

/* Liars that look at all honest votes and vote together against their majority. */
static bool against(const struct made *made, const bool *votes, struct sp_rng *rng)
{
    int sum = 0;

    for (unsigned v = 0; v < made->workers - made->liars; v++)
        sum += votes[v] ? 1 : -1;
    return sum != 0 ? sum < 0 : chance(rng, 0.5);
}

static void make_word(const struct made *made, unsigned w, struct sp_rng *rng)
{
    bool common = chance(rng, 0.5), votes[SP_SLOTS_MAX];
    unsigned honest = made->workers - made->liars;

    for (unsigned v = 0; v < made->workers; v++) {
        bool own = chance(rng, made->sticks) ? last[v][w] : chance(rng, 0.5);

        last[v][w] = own;
        votes[v] = chance(rng, made->signal) ? common : own;
    }
    for (unsigned v = honest; v < made->workers; v++)
        votes[v] = made->lie == LIE_FLIP ? !votes[v] : v == honest ? against(made, votes, rng) : votes[honest];
    for (unsigned v = 0; v < made->workers; v++) {
        sample.signs[v * sample.words + w] = votes[v] ? ~UINT64_C(0) : 0;
        sample.given[v * sample.words + w] = ~UINT64_C(0);
    }
}

static void begin(unsigned voters, uint64_t count)
{
    uint8_t slots[SP_SLOTS_MAX];

    for (unsigned v = 0; v < voters; v++)
        slots[v] = (uint8_t)v;
    sp_vote_sample_begin(&sample, voters, slots, count);
}

/* Adds one sample, as that of round `round`. */
static void add_made(const struct made *made, uint32_t round, struct sp_rng *rng)
{
    begin(made->workers, WORDS * 64);
    ck_assert_uint_eq(sample.words, WORDS);
    for (unsigned w = 0; w < WORDS; w++)
        make_word(made, w, rng);
    sp_suspicion_add(&suspicion, &sample, round);
}

struct outcome {
    unsigned honest, liars; /* suspected */
    unsigned samples;       /* until the last liar was */
};

static struct outcome run(const struct made *made, unsigned samples, uint64_t seed)
{
    struct sp_rng rng = unit_rng(seed);
    struct outcome outcome = {0};

    memset(&suspicion, 0, sizeof suspicion);
    for (unsigned k = 1; k <= samples; k++) {
        unsigned n;

        add_made(made, k, &rng);
        n = sp_suspicion_judge(&suspicion, &sample, made->workers, made->workers, found);
        for (unsigned i = 0; i < n; i++) {
            if (found[i].slot < made->workers - made->liars)
                outcome.honest++;
            else
                outcome.liars++;
        }
        if (n > 0)
            outcome.samples = k;
    }
    return outcome;
}

/* --- the arithmetic --------------------------------------------------------------------------------------------------
 */

START_TEST(test_interval_follows_momentum)
{
    ck_assert_uint_eq(sp_suspect_interval(0.0), 2);
    ck_assert_uint_eq(sp_suspect_interval(0.5), 4);
    ck_assert_uint_eq(sp_suspect_interval(0.9), 20);
    ck_assert_uint_eq(sp_suspect_interval(0.99), 200);
}
END_TEST

START_TEST(test_samples_have_bounds)
{
    for (unsigned voters = 2; voters <= SP_SLOTS_MAX; voters++) {
        begin(voters, UINT64_C(1) << 40);
        unit_assert(sample.words >= 16 && sample.words <= SP_SAMPLE_WORDS_MAX &&
                        (uint64_t)sample.words * voters <= SP_SAMPLE_WORDS_ALL,
                    "%u words of %u voters", sample.words, voters);
        unit_assert(sample.coordinates == 64ull * sample.words, "%u voters", voters);
    }
    begin(15, 130);
    ck_assert_uint_eq(sample.words, 3);
    ck_assert_uint_eq(sample.coordinates, 130);
    begin(15, 1 << 20);
    ck_assert_uint_eq(sample.words, SP_SAMPLE_WORDS_MAX);
}
END_TEST

/* Three voters of one word; of 8 coordinates both of a pair vote on 4. */
START_TEST(test_correlation_counts_where_both_voted)
{
    static const uint8_t slots[] = {1, 4, 7};

    memset(&suspicion, 0, sizeof suspicion);
    sp_vote_sample_begin(&sample, 3, slots, 8);
    ck_assert_uint_eq(sample.words, 1);
    sample.signs[0] = 0xff;
    sample.given[0] = 0x0f;
    sample.signs[1] = 0xf7;
    sample.given[1] = 0xff;
    sample.signs[2] = 0x00;
    sample.given[2] = 0xf0;
    sp_suspicion_add(&suspicion, &sample, 20);
    ck_assert_uint_eq(suspicion.round, 20);
    ck_assert(suspicion.pairs[4 * 3 / 2 + 1].sum == 0.5); /* 3 of 4 agree */
    ck_assert(suspicion.pairs[7 * 6 / 2 + 4].sum == -1.0);
    ck_assert_uint_eq(suspicion.pairs[7 * 6 / 2 + 1].samples, 0); /* nothing in common: no sample of that pair */
    ck_assert(sp_suspicion_correlation(&suspicion, 1, 8) == 0.5);
    ck_assert(sp_suspicion_correlation(&suspicion, 4, 8) == 0.5);
    ck_assert(isnan(sp_suspicion_correlation(&suspicion, 0, 8)));
    ck_assert(isnan(sp_suspicion_correlation(&suspicion, 4, 1)));
}
END_TEST

START_TEST(test_another_worker_begins_anew)
{
    const struct made made = {.workers = 5, .liars = 2, .signal = 0.6};

    ck_assert_uint_eq(run(&made, 40, 1).liars, 2);
    ck_assert(suspicion.suspected[3] && suspicion.suspected[4]);
    ck_assert(sp_suspicion_correlation(&suspicion, 3, 5) < 0.0);
    ck_assert(sp_suspicion_correlation(&suspicion, 0, 5) < sp_suspicion_correlation(&suspicion, 0, 3));
    suspicion.excluded[3] = suspicion.excluded[4] = true;
    ck_assert(sp_suspicion_correlation(&suspicion, 0, 5) == sp_suspicion_correlation(&suspicion, 0, 3));
    sp_suspicion_forget(&suspicion, 3);
    ck_assert(!suspicion.suspected[3] && !suspicion.excluded[3]);
    ck_assert(suspicion.suspected[4] && suspicion.excluded[4]);
    ck_assert(isnan(sp_suspicion_correlation(&suspicion, 3, 5)));
    for (unsigned b = 1; b < 5; b++) {
        for (unsigned a = 0; a < b; a++)
            ck_assert_uint_eq(suspicion.pairs[b * (b - 1) / 2 + a].samples, a == 3 || b == 3 ? 0 : 40);
    }
}
END_TEST

/* --- who is suspected ------------------------------------------------------------------------------------------------
 */

/* Every minority that turns its bits over is found, soon and once, and nobody else. */
START_TEST(test_minorities_that_flip)
{
    static const struct {
        unsigned workers, liars, most; /* samples that it may take */
    } cases[] = {{3, 1, 30}, {4, 1, 30}, {5, 2, 30}, {8, 3, 30}, {15, 1, 30}, {15, 7, 30}, {16, 7, 30}, {40, 19, 40}};

    for (unsigned c = 0; c < UNIT_COUNT(cases); c++) {
        const struct made made = {.workers = cases[c].workers, .liars = cases[c].liars, .signal = 0.7, .sticks = 0.2};

        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct outcome o = run(&made, 50, 1000 * c + seed);

            unit_assert(o.honest == 0, "%u of %u, seed %u: an honest one", made.liars, made.workers, (unsigned)seed);
            unit_assert(o.liars == made.liars, "%u of %u: %u found", made.liars, made.workers, o.liars);
            unit_assert(o.samples >= 4 && o.samples <= cases[c].most, "%u of %u: after %u", made.liars, made.workers,
                        o.samples);
        }
    }
}
END_TEST

/* The nominal rate is one job in 1000. Honest workers that have nothing in common are the hardest case without liars.
 */
START_TEST(test_honest_workers_are_not_suspected)
{
    for (unsigned c = 0; c < 4; c++) {
        const struct made made = {.workers = c < 2 ? 15 : 3, .sticks = c % 2 == 0 ? 0.0 : 0.2};
        unsigned alarms = 0;

        for (uint64_t seed = 1; seed <= (made.workers == 3 ? 5000 : 250); seed++)
            alarms += run(&made, 50, 100000 * (c + 1) + seed).honest > 0;
        unit_assert(alarms <= (made.workers == 3 ? 5 : 1), "%u workers, case %u: %u alarms", made.workers, c, alarms);
    }
}
END_TEST

/* Liars that see all votes, and agree on what opposes the honest ones most, turn half of the others against each of
 * these. That must not do. */
START_TEST(test_liars_cannot_denounce)
{
    unsigned alarms = 0, liars = 0;

    for (uint64_t seed = 1; seed <= 250; seed++) {
        const struct made made = {.workers = 15, .liars = 7, .lie = LIE_TOGETHER};
        struct outcome o = run(&made, 50, 700000 + seed);

        alarms += o.honest > 0;
        liars += o.liars;
    }
    ck_assert_uint_le(alarms, 1);
    ck_assert_uint_gt(liars, 250 * 7 * 3 / 4);
}
END_TEST

/* Among those who are in time the liars may be the majority; they are not of all that are there. */
START_TEST(test_majority_is_of_all_who_are_present)
{
    const struct made made = {.workers = 8, .liars = 7, .signal = 0.9};
    struct sp_rng rng = unit_rng(5);

    memset(&suspicion, 0, sizeof suspicion);
    for (uint32_t k = 1; k <= 100; k++) {
        add_made(&made, k, &rng);
        ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 15, 15, found), 0);
    }
    ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 15, 8, found), 1); /* it would be the honest one */
    ck_assert_uint_eq(found[0].slot, 0);
    ck_assert_uint_eq(found[0].opposed, 7);
    ck_assert_uint_eq(found[0].others, 7);
    ck_assert_uint_eq(found[0].samples, 100);
    ck_assert(found[0].correlation < -0.5);
    ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 15, 8, found), 0); /* said once */
}
END_TEST

START_TEST(test_of_two_nobody_is_suspected)
{
    const struct made two = {.workers = 2, .liars = 1, .signal = 1.0}, four = {.workers = 3, .liars = 1, .signal = 1.0};

    ck_assert_uint_eq(run(&two, 200, 1).liars + run(&two, 200, 2).honest, 0);
    ck_assert_uint_eq(run(&four, 3, 3).liars, 0); /* too few samples to know how much they vary */
    ck_assert_uint_eq(run(&four, 4, 3).liars, 1);
}
END_TEST

/* Pairs that differ on `differ` of 1000 coordinates, in every sample. */
static unsigned run_steady(unsigned differ, unsigned samples)
{
    unsigned n = 0;

    memset(&suspicion, 0, sizeof suspicion);
    begin(3, 1000);
    for (unsigned v = 0; v < 3; v++) {
        for (unsigned w = 0; w < sample.words; w++) {
            sample.signs[v * sample.words + w] = 0;
            sample.given[v * sample.words + w] = w < 15 ? ~UINT64_C(0) : (UINT64_C(1) << 40) - 1;
        }
    }
    for (unsigned j = 0; j < differ; j++)
        sample.signs[j / 64] |= UINT64_C(1) << j % 64;
    for (uint32_t k = 1; k <= samples; k++) {
        sp_suspicion_add(&suspicion, &sample, k);
        n += sp_suspicion_judge(&suspicion, &sample, 3, 3, found);
        if (n > 0)
            break;
    }
    return n;
}

/* Batches drawn without replacement oppose each other by less than 0.01; that alone is never held against anyone. */
START_TEST(test_slack)
{
    ck_assert_uint_eq(run_steady(504, 20000), 0);
    ck_assert(fabs(suspicion.pairs[0].sum / 20000.0 + 0.008) < 1e-9);
    ck_assert_uint_eq(run_steady(515, 2000), 1);
    ck_assert_uint_eq(found[0].slot, 0);
}
END_TEST

/* Pairs of 5 slots with 4 samples each, all of which say that slot 0 is opposed to three others. */
static void set_pairs(double noise)
{
    static const double opposed = -0.4;

    memset(&suspicion, 0, sizeof suspicion);
    begin(5, 1 << 20);
    for (unsigned b = 1; b < 5; b++) {
        for (unsigned a = 0; a < b; a++) {
            bool quiet = a == 0 && b < 4;

            suspicion.pairs[b * (b - 1) / 2 + a] = (struct sp_suspect_pair){
                .samples = 4, .sum = quiet ? 4.0 * opposed : 0.0, .squares = quiet ? 1e-6 : 6.0 * noise * noise};
        }
    }
}

/* Few samples may happen to lie close together: what all pairs show is believed, rather than that. */
START_TEST(test_variance_of_all_pairs)
{
    set_pairs(0.01);
    ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 5, 5, found), 1);
    ck_assert_uint_eq(found[0].slot, 0);
    ck_assert_uint_eq(found[0].opposed, 3);
    set_pairs(0.2);
    ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 5, 5, found), 0);
}
END_TEST

/* Nor is what a pair itself shows forgotten because others are quiet: liars could see to that. */
START_TEST(test_variance_of_the_pair)
{
    set_pairs(1e-4);
    for (unsigned b = 1; b < 4; b++)
        suspicion.pairs[b * (b - 1) / 2].squares = 6.0 * 0.2 * 0.2;
    ck_assert_uint_eq(sp_suspicion_judge(&suspicion, &sample, 5, 5, found), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("suspect");
    TCase *tests = tcase_create("suspect");

    tcase_add_test(tests, test_interval_follows_momentum);
    tcase_add_test(tests, test_samples_have_bounds);
    tcase_add_test(tests, test_correlation_counts_where_both_voted);
    tcase_add_test(tests, test_another_worker_begins_anew);
    tcase_add_test(tests, test_minorities_that_flip);
    tcase_add_test(tests, test_honest_workers_are_not_suspected);
    tcase_add_test(tests, test_liars_cannot_denounce);
    tcase_add_test(tests, test_majority_is_of_all_who_are_present);
    tcase_add_test(tests, test_of_two_nobody_is_suspected);
    tcase_add_test(tests, test_slack);
    tcase_add_test(tests, test_variance_of_all_pairs);
    tcase_add_test(tests, test_variance_of_the_pair);
    return unit_run(suite, tests);
}
