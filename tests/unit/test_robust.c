/* Statistics in which some forge theirs: lambda by every rule beside that of the same gradients without forgers, and
 * without forgers beside the plain means.
 *
 * Gradients are drawn: a common one and each worker's own noise, sketched and multiplied as libsignpost does it.
 */
#include "common/rng.h"
#include "server/robust.h"
#include "unit.h"

#include <math.h>

#define COORDINATES 512u
#define ROUNDS 300u
#define WORKERS_MAX SP_SLOTS_MAX
#define GAMMA 0.01
#define FACTOR 1.5
#define RULES 4

static struct sp_job job;
static struct sp_robust robust;

static void setup(void)
{
    sp_job_init(&job);
    job.optimizer.sgd.lambda_min = 0.0;
    job.optimizer.sgd.lambda_max = 1e30;
    sp_robust_init(&robust, job.optimizer.beta2);
}

/* --- honest workers --------------------------------------------------------------------------------------------------
 */

struct honest {
    unsigned workers;
    double noise2; /* of one worker, as a multiple of the gradient's squared length */
    uint64_t seed;
    struct sp_rng rng;
    double dot[WORKERS_MAX], norm2[WORKERS_MAX];
    float sketch[WORKERS_MAX][SP_SKETCH_BUCKETS];
};

/* Nearly normal, of variance 1: the sum of four uniform numbers. */
static float noise(struct sp_rng *rng)
{
    uint64_t bits = unit_next64(rng);
    int sum = (int)(bits & 0xffff) + (int)(bits >> 16 & 0xffff) + (int)(bits >> 32 & 0xffff) + (int)(bits >> 48);

    return (float)(sum - 131070) * (1.0f / 37837.0f);
}

static void open_honest(struct honest *h, unsigned workers, double noise2, uint64_t seed)
{
    h->workers = workers;
    h->noise2 = noise2;
    h->seed = seed;
    h->rng = unit_rng(seed);
}

/* Of unit length times a factor that falls over the rounds; large in few coordinates, small in many. */
static float common(uint32_t t, unsigned j)
{
    float size = 1.0f - 0.5f * (float)t / (float)ROUNDS;

    return (j % 3 == 0 ? -1.0f : 1.0f) * (j % 16 == 0 ? 3.0f : 0.5f) * size * 0.0507f;
}

static void honest_round(struct honest *h, uint32_t t)
{
    static float gradient[WORKERS_MAX][COORDINATES];
    static float sum[COORDINATES];
    float scale = (float)sqrt(h->noise2 / COORDINATES);

    memset(sum, 0, sizeof sum);
    for (unsigned i = 0; i < h->workers; i++) {
        for (unsigned j = 0; j < COORDINATES; j++) {
            gradient[i][j] = common(t, j) + scale * noise(&h->rng);
            sum[j] += gradient[i][j];
        }
    }
    for (unsigned i = 0; i < h->workers; i++) {
        h->dot[i] = h->norm2[i] = 0.0;
        memset(h->sketch[i], 0, sizeof h->sketch[i]);
        for (unsigned j = 0; j < COORDINATES; j++) {
            float g = gradient[i][j];
            uint64_t signs = sp_sketch_signs(h->seed, t, j / 64);

            h->dot[i] += sum[j] > 0.0f ? (double)g : -(double)g;
            h->norm2[i] += (double)g * (double)g;
            h->sketch[i][j % SP_SKETCH_BUCKETS] += (signs >> (j % 64) & 1) != 0 ? -g : g;
        }
    }
}

/* --- forgeries -------------------------------------------------------------------------------------------------------
 */

struct forged {
    double dot, norm2;
    float sketch[SP_SKETCH_BUCKETS];
};

struct forgery {
    const char *name;
    double dot, norm2, sketch; /* factors */
    double constant;           /* in place of everything, if not 0 */
    bool random;               /* a sketch of the length it claims, times `sketch` */
    bool late;                 /* honest for half of the rounds */
};

static const struct forgery forgeries[] = {
    {.name = "none", .dot = 1, .norm2 = 1, .sketch = 1},
    {.name = "all by -1e6", .dot = -1e6, .norm2 = 1e12, .sketch = -1e6},
    {.name = "all by -10", .dot = -10, .norm2 = 100, .sketch = -10},
    {.name = "all by -1", .dot = -1, .norm2 = 1, .sketch = -1},
    {.name = "all by 0", .dot = 0, .norm2 = 0, .sketch = 0},
    {.name = "all by 0.5", .dot = 0.5, .norm2 = 0.25, .sketch = 0.5},
    {.name = "all by 1.2", .dot = 1.2, .norm2 = 1.44, .sketch = 1.2},
    {.name = "all by 3", .dot = 3, .norm2 = 9, .sketch = 3},
    {.name = "all by 10", .dot = 10, .norm2 = 100, .sketch = 10},
    {.name = "all by 1e3", .dot = 1e3, .norm2 = 1e6, .sketch = 1e3},
    {.name = "all by 1e6", .dot = 1e6, .norm2 = 1e12, .sketch = 1e6},
    {.name = "dot by 1e6", .dot = 1e6, .norm2 = 1, .sketch = 1},
    {.name = "dot by 3", .dot = 3, .norm2 = 1, .sketch = 1},
    {.name = "dot by -1", .dot = -1, .norm2 = 1, .sketch = 1},
    {.name = "dot by 0", .dot = 0, .norm2 = 1, .sketch = 1},
    {.name = "norm2 by 1e12", .dot = 1, .norm2 = 1e12, .sketch = 1},
    {.name = "norm2 by 3", .dot = 1, .norm2 = 3, .sketch = 1},
    {.name = "norm2 by 0", .dot = 1, .norm2 = 0, .sketch = 1},
    {.name = "norm2 by -1", .dot = 1, .norm2 = -1, .sketch = 1},
    {.name = "sketch by 1e6", .dot = 1, .norm2 = 1, .sketch = 1e6},
    {.name = "sketch by 3", .dot = 1, .norm2 = 1, .sketch = 3},
    {.name = "sketch by -1", .dot = 1, .norm2 = 1, .sketch = -1},
    {.name = "sketch by 0", .dot = 1, .norm2 = 1, .sketch = 0},
    {.name = "a random sketch", .dot = 1, .norm2 = 1, .sketch = 1, .random = true},
    {.name = "a random sketch by 1e4", .dot = 1, .norm2 = 1, .sketch = 1e4, .random = true},
    {.name = "1e37 everywhere", .constant = 1e37},
    {.name = "-1e37 everywhere", .constant = -1e37},
    {.name = "1 everywhere", .constant = 1},
    {.name = "all by 1e6, late", .dot = 1e6, .norm2 = 1e12, .sketch = 1e6, .late = true},
    {.name = "all by 3, late", .dot = 3, .norm2 = 9, .sketch = 3, .late = true},
    {.name = "all by -1, late", .dot = -1, .norm2 = 1, .sketch = -1, .late = true},
};

static void forge(const struct forgery *how, const struct honest *h, unsigned i, struct sp_rng *rng, struct forged *f)
{
    bool constant = how->constant != 0.0;

    f->dot = constant ? how->constant * (fabs(how->constant) > 2.0 ? 1e250 : 1.0) : how->dot * h->dot[i];
    f->norm2 = constant ? f->dot : how->norm2 * h->norm2[i];
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++) {
        double honest = how->random ? sqrt(h->norm2[i] / SP_SKETCH_BUCKETS) * (double)noise(rng) : h->sketch[i][b];

        f->sketch[b] = constant ? (float)how->constant : (float)(how->sketch * honest);
    }
}

/* --- what comes of them ----------------------------------------------------------------------------------------------
 */

struct outcome {
    double lambda[RULES]; /* paper, ratio, denoised, norm's guess */
    struct sp_numbers numbers;
};

static void outcome_of(const struct sp_decide *decide, struct outcome *o)
{
    struct sp_decide of_rule = *decide;

    for (int rule = 0; rule < RULES; rule++) {
        of_rule.rule = (enum sp_lambda_rule)rule;
        o->lambda[rule] = sp_decide_lambda(&of_rule, GAMMA, sqrt(COORDINATES), NULL);
    }
    sp_decide_numbers(decide, &o->numbers);
}

static void take_means(const struct honest *h, struct sp_decide *decide)
{
    struct sp_statistics statistics = {.workers = h->workers};

    for (unsigned i = 0; i < h->workers; i++) {
        statistics.a += h->dot[i] / h->workers;
        statistics.e += h->norm2[i] / h->workers;
    }
    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++) {
        double mean = 0.0;

        for (unsigned i = 0; i < h->workers; i++)
            mean += (double)h->sketch[i][b] / h->workers;
        statistics.b += mean * mean;
    }
    sp_decide_statistics(decide, &statistics, GAMMA);
}

/* A job of which some workers forge: every slot whose number is one of the last `forgers` of `among`. */
struct forged_job {
    struct sp_robust robust;
    struct sp_decide decide;
    struct sp_rng rng;
};

static bool is_forger(unsigned slot, unsigned forgers, unsigned among)
{
    return slot % among >= among - forgers;
}

static void take(struct forged_job *f, const struct sp_sample *samples, unsigned n)
{
    struct sp_statistics statistics;
    struct sp_averages averages;

    ck_assert(sp_robust_take(&f->robust, samples, n, &statistics, &averages));
    sp_decide_statistics(&f->decide, &statistics, GAMMA);
    sp_decide_averages(&f->decide, &averages);
}

static void forged_round(struct forged_job *f, const struct forgery *how, const struct honest *h, unsigned forgers,
                         unsigned among)
{
    static struct forged forged[WORKERS_MAX];
    struct sp_sample samples[WORKERS_MAX];

    for (unsigned i = 0; i < h->workers; i++) {
        samples[i] = (struct sp_sample){i, h->dot[i], h->norm2[i], h->sketch[i]};
        if (!is_forger(i, forgers, among))
            continue;
        forge(how, h, i, &f->rng, &forged[i]);
        samples[i] = (struct sp_sample){i, forged[i].dot, forged[i].norm2, forged[i].sketch};
    }
    take(f, samples, h->workers);
}

static void open_job(struct forged_job *f, uint64_t seed)
{
    sp_robust_init(&f->robust, job.optimizer.beta2);
    sp_decide_init(&f->decide, &job, 1000);
    f->rng = unit_rng(seed);
}

static void expect_factor(const struct sp_decide *means, const struct sp_decide *decide, const char *what, uint32_t t)
{
    static const char *const rules[RULES] = {"paper", "ratio", "denoised", "norm"};
    struct outcome expected, got;

    outcome_of(means, &expected);
    outcome_of(decide, &got);
    for (int rule = 0; rule < RULES; rule++) {
        double factor = got.lambda[rule] / expected.lambda[rule];

        unit_assert(factor < FACTOR && factor > 1.0 / FACTOR, "%s: lambda by %s is %g times the honest one, round %u",
                    what, rules[rule], factor, t);
    }
}

static const struct {
    unsigned workers, forgers, among;
    double noise2;
    size_t every; /* how many of the forgeries */
} cases[] = {{5, 1, 5, 0.5, 1},   {5, 1, 5, 10, 1},    {5, 1, 5, 100, 1},    {5, 1, 5, 1000, 1},
             {8, 2, 8, 0.5, 1},   {8, 2, 8, 10, 1},    {8, 2, 8, 100, 1},    {8, 2, 8, 1000, 1},
             {15, 3, 15, 0.5, 1}, {15, 3, 15, 10, 1},  {15, 3, 15, 100, 1},  {15, 3, 15, 1000, 1},
             {64, 3, 15, 0.5, 3}, {64, 3, 15, 100, 3}, {255, 3, 15, 0.5, 7}, {255, 3, 15, 100, 7}};

/* Beside the means of the same round's gradients without forgers, after every hundredth round. */
START_TEST(test_forgers_hardly_move_lambda)
{
    static struct honest honest;
    static struct forged_job jobs[UNIT_COUNT(forgeries)];
    struct sp_decide means;

    sp_decide_init(&means, &job, 1000);
    for (size_t k = 0; k < UNIT_COUNT(forgeries); k++)
        open_job(&jobs[k], 1000 + k);
    open_honest(&honest, cases[_i].workers, cases[_i].noise2, (uint64_t)_i);
    for (uint32_t t = 1; t <= ROUNDS; t++) {
        honest_round(&honest, t);
        take_means(&honest, &means);
        for (size_t k = 0; k < UNIT_COUNT(forgeries); k += cases[_i].every) {
            bool yet = !forgeries[k].late || t > ROUNDS / 2;

            forged_round(&jobs[k], &forgeries[yet ? k : 0], &honest, cases[_i].forgers, cases[_i].among);
            if (t % 100 == 0)
                expect_factor(&means, &jobs[k].decide, forgeries[k].name, t);
        }
    }
}
END_TEST

/* Without forgers nothing is biased: over 30 jobs, the mean of the differences to the plain means. */
START_TEST(test_honest_workers_are_not_biased)
{
    static const double noises[] = {0.5, 10, 100, 1000};
    static struct honest honest;
    static struct forged_job one;
    double a = 0.0, b = 0.0, e = 0.0, d = 0.0, scale = noises[_i] + 1.0;
    const unsigned seeds = 30;

    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct outcome expected, got;
        struct sp_decide means;

        sp_decide_init(&means, &job, 1000);
        open_job(&one, seed);
        open_honest(&honest, 15, noises[_i], seed);
        for (uint32_t t = 1; t <= ROUNDS / 3; t++) {
            honest_round(&honest, t);
            take_means(&honest, &means);
            forged_round(&one, &forgeries[0], &honest, 0, 15);
        }
        outcome_of(&means, &expected);
        outcome_of(&one.decide, &got);
        a += (got.numbers.a / expected.numbers.a - 1.0) / seeds;
        b += (got.numbers.b / expected.numbers.b - 1.0) / seeds;
        e += (got.numbers.e / expected.numbers.e - 1.0) / seeds;
        d += (got.numbers.d - expected.numbers.d) / scale / seeds;
    }
    /* A median of sketches would have B wrong by up to 57 %, and D by 4 % of E. */
    unit_assert(fabs(a) < 0.005 && fabs(b) < 0.01 && fabs(e) < 0.005 && fabs(d) < 0.001, "off by %g, %g, %g, %g", a, b,
                e, d);
}
END_TEST

/* Adds to a sketch what a gradient of `times` the common one, with noise of variance noise2, has in it. */
static void add_to_sketch(const struct honest *h, uint32_t t, float times, double noise2, struct sp_rng *rng,
                          float *sketch)
{
    float scale = (float)sqrt(noise2);

    for (unsigned j = 0; j < COORDINATES; j++) {
        float g = times * common(t, j) + scale * noise(rng);
        uint64_t signs = sp_sketch_signs(h->seed, t, j / 64);

        sketch[j % SP_SKETCH_BUCKETS] += (signs >> (j % 64) & 1) != 0 ? -g : g;
    }
}

/* Forgers who know the gradient and each other: as long as honest ones, opposed to everybody else, and so alike among
 * themselves that their product with the sum of all others is what an honest worker's is. With x = <f, g> = -5*D for
 * the others and y = <f, f'> = 28*D: (12*x + 2*y)/14 = (11*D + 3*x)/14. */
START_TEST(test_forgers_who_know_each_other)
{
    static struct honest honest;
    static struct forged_job one;
    static float forged[3][SP_SKETCH_BUCKETS];
    struct sp_decide means;

    sp_decide_init(&means, &job, 1000);
    open_job(&one, 1);
    open_honest(&honest, 15, 30.0, 1);
    for (uint32_t t = 1; t <= ROUNDS; t++) {
        float size = 1.0f - 0.5f * (float)t / (float)ROUNDS;
        double d = (double)(size * size);
        struct sp_sample samples[15];

        honest_round(&honest, t);
        take_means(&honest, &means);
        memset(forged, 0, sizeof forged);
        add_to_sketch(&honest, t, -5.0f, 3.0 * d / COORDINATES, &one.rng, forged[0]);
        memcpy(forged[1], forged[0], sizeof forged[0]);
        memcpy(forged[2], forged[0], sizeof forged[0]);
        for (unsigned i = 0; i < 15; i++)
            samples[i] = (struct sp_sample){i, honest.dot[i], honest.norm2[i], i < 3 ? forged[i] : honest.sketch[i]};
        for (unsigned i = 0; i < 3; i++)
            add_to_sketch(&honest, t, 0.0f, (30.0 - 27.0 * d) / COORDINATES, &one.rng, forged[i]);
        take(&one, samples, 15);
    }
    expect_factor(&means, &one.decide, "forgers who know each other", ROUNDS);
}
END_TEST

/* --- who counts ------------------------------------------------------------------------------------------------------
 */

/* Gives the same numbers for slots from..to-1, with sketches that differ by their slot. */
static unsigned same(struct sp_sample *samples, unsigned from, unsigned to, double value)
{
    static float sketch[WORKERS_MAX][SP_SKETCH_BUCKETS];

    for (unsigned i = from; i < to; i++) {
        for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
            sketch[i][b] = 1.0f;
        samples[i - from] = (struct sp_sample){i, value, 128.0, sketch[i]};
    }
    return to - from;
}

static bool take_same(unsigned from, unsigned to, double value, struct sp_averages *averages)
{
    struct sp_sample samples[WORKERS_MAX];
    struct sp_statistics statistics;

    return sp_robust_take(&robust, samples, same(samples, from, to, value), &statistics, averages);
}

START_TEST(test_too_few_to_tell)
{
    struct sp_averages averages;

    ck_assert(!take_same(0, 0, 1.0, &averages));
    ck_assert(!take_same(0, 4, 1.0, &averages));
    ck_assert(take_same(0, 5, 1.0, &averages));
    ck_assert(take_same(59, 64, 1.0, &averages));
    ck_assert(!take_same(60, 255, 1.0, &averages)); /* four of them have pairs */
    ck_assert(take_same(0, 255, 1.0, &averages));
}
END_TEST

/* All alike: what they gave, whatever beta2 makes of it, and B is D. */
START_TEST(test_all_alike)
{
    struct sp_averages averages;

    for (unsigned t = 0; t < 50; t++) {
        ck_assert(take_same(0, 7, -3.0, &averages));
        ck_assert_double_eq_tol(averages.a, 3.0, 1e-12);
        ck_assert_double_eq_tol(averages.e, 128.0, 1e-10);
        ck_assert_double_eq_tol(averages.d, 128.0, 1e-10);
        ck_assert_double_eq_tol(averages.b, 128.0, 1e-10);
    }
}
END_TEST

/* An honest worker may stand out for nothing, where the others agree closely: then it is left out in the forger's
 * place, and the forger is cut off all the same. */
START_TEST(test_left_out_for_nothing)
{
    static const double dots[] = {0.9, 1.0, 1.1, 1.05, 1e3}, norms[] = {128.0, 128.0, 128.0, 128.1, 128.0};
    struct sp_sample samples[5];
    struct sp_statistics statistics;
    struct sp_averages averages;

    (void)same(samples, 0, 5, 1.0);
    for (unsigned i = 0; i < 5; i++) {
        samples[i].dot = dots[i];
        samples[i].norm2 = norms[i];
    }
    ck_assert(sp_robust_take(&robust, samples, 5, &statistics, &averages));
    ck_assert_double_eq_tol(averages.a, 1.05, 1e-9);
    ck_assert_double_eq_tol(statistics.a, 1.0, 1e-9); /* neither of the two is in it */
}
END_TEST

/* D may be below 0 by chance; B may not, since the paper's rate is divided by it. */
START_TEST(test_workers_who_oppose_each_other)
{
    static float sketches[8][SP_SKETCH_BUCKETS];
    struct sp_sample samples[8];
    struct sp_statistics statistics;
    struct sp_averages averages;

    for (unsigned i = 0; i < 8; i++) {
        for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
            sketches[i][b] = i % 2 == 0 ? 1.0f : -1.0f;
        samples[i] = (struct sp_sample){i, 1.0, 128.0, sketches[i]};
    }
    ck_assert(sp_robust_take(&robust, samples, 8, &statistics, &averages));
    ck_assert_double_lt(averages.d, 0.0);
    ck_assert_double_eq_tol(averages.b, 128.0 / 8.0, 1e-10);
    ck_assert_double_ge(statistics.b, 0.0);
}
END_TEST

static double mean_of(unsigned old, double value)
{
    struct sp_sample samples[WORKERS_MAX];
    struct sp_statistics statistics;
    struct sp_averages averages;
    unsigned n = same(samples, 0, old, 1.0);

    n += same(samples + n, old, 9, value);
    ck_assert(sp_robust_take(&robust, samples, n, &statistics, &averages));
    return averages.a;
}

/* Who came lately does not count until it gave half of what others gave; who was away long begins anew. */
START_TEST(test_newcomers_wait)
{
    struct sp_averages averages;

    for (unsigned t = 0; t < 400; t++)
        ck_assert(take_same(0, 5, 1.0, &averages));
    for (unsigned t = 0; t < 60; t++)
        ck_assert_double_eq_tol(mean_of(5, 2.0), 1.0, 1e-12);
    for (unsigned t = 0; t < 40; t++)
        (void)mean_of(5, 2.0);
    ck_assert_double_gt(mean_of(5, 2.0), 1.1);
    for (unsigned t = 0; t < 400; t++)
        ck_assert(take_same(0, 5, 1.0, &averages));
    ck_assert_double_eq_tol(mean_of(5, 2.0), 1.0, 1e-12);
}
END_TEST

/* Of five each counts, however new: without one of them there would be too few. */
START_TEST(test_one_of_five_does_not_wait)
{
    struct sp_averages averages;

    for (unsigned t = 0; t < 400; t++)
        ck_assert(take_same(0, 5, 1.0, &averages));
    sp_robust_forget(&robust, 2);
    ck_assert(take_same(0, 5, 1.0, &averages));
}
END_TEST

/* If all but a few are new, they need not wait. */
START_TEST(test_many_newcomers_do_not_wait)
{
    struct sp_averages averages;

    for (unsigned t = 0; t < 400; t++)
        ck_assert(take_same(0, 5, 1.0, &averages));
    for (unsigned t = 0; t < 400; t++)
        ck_assert(!take_same(0, 2, 1.0, &averages));
    for (uint32_t i = 2; i < 5; i++)
        sp_robust_forget(&robust, i);
    ck_assert_double_gt(mean_of(2, 2.0), 1.9);
}
END_TEST

/* The next worker of a slot owes nothing to the one before; nobody else loses anything. */
START_TEST(test_a_slot_is_forgotten)
{
    static struct sp_robust before;
    struct sp_averages averages;

    for (unsigned t = 0; t < 20; t++)
        ck_assert(take_same(0, 70, 1.0, &averages));
    sp_robust_loss(&robust, 3, 1.0);
    before = robust;
    sp_robust_forget(&robust, 3);
    sp_robust_forget(&robust, 66);
    for (unsigned i = 0; i < 70; i++)
        ck_assert_double_eq(robust.slot[i].mass, i == 3 || i == 66 ? 0.0 : before.slot[i].mass);
    ck_assert_uint_eq(robust.slot[3].losses, 0);
    for (unsigned i = 1, pair = 0; i < SP_ROBUST_PAIRED; i++) {
        for (unsigned j = 0; j < i; j++, pair++)
            ck_assert_double_eq(robust.pair_mass[pair], i == 3 || j == 3 ? 0.0 : before.pair_mass[pair]);
    }
    ck_assert(take_same(0, 70, 1.0, &averages));
    ck_assert_double_eq_tol(averages.d, 128.0, 1e-10);
}
END_TEST

/* Whatever finite numbers are given, even by all: the averages are finite. */
START_TEST(test_numbers_beyond_all_bounds)
{
    static float sketches[15][SP_SKETCH_BUCKETS];
    static const double odd[] = {1e308, -1e308, 0.0, 1e-308, 1.0, -1.0, 3e38};
    struct sp_sample samples[15];
    struct sp_statistics statistics;
    struct sp_averages averages;

    for (unsigned t = 0; t < 200; t++) {
        unsigned forgers = t < 100 ? 3 : 15;

        for (unsigned i = 0; i < 15; i++) {
            double value = i < forgers ? odd[(t < 150 ? t + i : t) % UNIT_COUNT(odd)] : 2.0;

            for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++)
                sketches[i][b] = (float)fmin(fmax(value, -3e38), 3e38);
            samples[i] = (struct sp_sample){i, value, i < forgers ? value : 512.0, sketches[i]};
        }
        ck_assert(sp_robust_take(&robust, samples, 15, &statistics, &averages));
        ck_assert(isfinite(averages.a) && isfinite(averages.b) && isfinite(averages.e) && isfinite(averages.d));
        ck_assert(isfinite(statistics.a) && isfinite(statistics.b) && isfinite(statistics.e));
        if (t < 100) {
            ck_assert_double_eq_tol(averages.a, 2.0, 1e-12);
            ck_assert_double_eq_tol(averages.d, 512.0, 1e-9);
            ck_assert_double_eq_tol(statistics.b, 512.0, 1e-9);
        }
    }
}
END_TEST

/* --- losses ----------------------------------------------------------------------------------------------------------
 */

START_TEST(test_mean_without_the_ends)
{
    double seven[] = {5, -1e300, 3, 4, 1e300, 6, 1}, one[] = {8};
    double many[255];

    ck_assert_double_eq(sp_robust_mean(seven, 7, 1), 19.0 / 5.0);
    ck_assert_double_eq(sp_robust_mean(seven, 7, 3), 4.0);
    ck_assert_double_eq(sp_robust_mean(one, 1, 0), 8.0);
    for (unsigned i = 0; i < 255; i++)
        many[i] = (double)(i * 101 % 255);
    ck_assert_double_eq(sp_robust_mean(many, 255, 63), 127.0);
    for (unsigned i = 0; i < 255; i++)
        ck_assert_double_eq(many[i], (double)i);
}
END_TEST

/* Each worker's mean over the window first: noise that would hide a forger in one round does not in fifty. */
START_TEST(test_loss_of_a_window)
{
    struct sp_rng rng = unit_rng(5);
    double spread = 0.0;

    for (unsigned window = 0; window < 40; window++) {
        double forged = window % 2 == 0 ? 1e9 : 1.0, loss;

        for (unsigned t = 0; t < 50; t++) {
            for (uint32_t i = 0; i < 15; i++)
                sp_robust_loss(&robust, i, i >= 12 ? forged : 2.0 + (double)noise(&rng));
        }
        loss = sp_robust_window(&robust);
        spread = fmax(spread, fabs(loss - 2.0));
    }
    ck_assert_double_lt(spread, 0.25); /* trimmed means of rounds are 0.45 away, every other window on another side */
    ck_assert_double_nan(sp_robust_window(&robust));
}
END_TEST

START_TEST(test_who_counts_in_a_window)
{
    for (uint32_t i = 0; i < 4; i++)
        sp_robust_loss(&robust, i, 1.0);
    ck_assert_double_nan(sp_robust_window(&robust));
    for (unsigned t = 0; t < 10; t++) {
        for (uint32_t i = 0; i < 5; i++)
            sp_robust_loss(&robust, i, 1.0);
        for (uint32_t i = 5; t < 4 && i < 9; i++)
            sp_robust_loss(&robust, i, 7.0); /* too few rounds of them */
    }
    ck_assert_double_eq(sp_robust_window(&robust), 1.0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("robust");
    TCase *tests = tcase_create("robust");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, test_forgers_hardly_move_lambda, 0, (int)UNIT_COUNT(cases));
    tcase_add_loop_test(tests, test_honest_workers_are_not_biased, 0, 4);
    tcase_add_test(tests, test_forgers_who_know_each_other);
    tcase_add_test(tests, test_too_few_to_tell);
    tcase_add_test(tests, test_all_alike);
    tcase_add_test(tests, test_left_out_for_nothing);
    tcase_add_test(tests, test_workers_who_oppose_each_other);
    tcase_add_test(tests, test_newcomers_wait);
    tcase_add_test(tests, test_one_of_five_does_not_wait);
    tcase_add_test(tests, test_many_newcomers_do_not_wait);
    tcase_add_test(tests, test_a_slot_is_forgotten);
    tcase_add_test(tests, test_numbers_beyond_all_bounds);
    tcase_add_test(tests, test_mean_without_the_ends);
    tcase_add_test(tests, test_loss_of_a_window);
    tcase_add_test(tests, test_who_counts_in_a_window);
    return unit_run(suite, tests);
}
