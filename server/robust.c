#include "server/robust.h"

#include "common/check.h"

#include <math.h>
#include <string.h>

/* Nothing a gradient could be. What is beyond it must not make sums infinite. */
#define ABSURD 1e30
/* A sum that had so little of a round's share has faded: it would end as a subnormal number, which is slow. */
#define FADED 1e-12
/* A slot counts if it has this share of the mass that the middle one has. */
#define MASS_SHARE 0.5
/* Workers whose values agree to so many digits are not told apart. */
#define ALIKE 1e-9
/* Half of the workers are within 1 of the middle; honest ones are hardly ever beyond this. */
#define NEAR 10.0
#define LANES 8

/* Of workers, in the order of their slots: those whose pairs are kept come first. */
struct chosen {
    unsigned n, paired;
    const struct sp_sample *at[SP_SLOTS_MAX];
};

/* --- order -----------------------------------------------------------------------------------------------------------
 */

/* Shell's, with Ciura's gaps. */
static void sort(double *values, unsigned n)
{
    static const unsigned gaps[] = {57, 23, 10, 4, 1};

    for (unsigned g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        for (unsigned i = gaps[g]; i < n; i++) {
            double value = values[i];
            unsigned at = i;

            for (; at >= gaps[g] && values[at - gaps[g]] > value; at -= gaps[g])
                values[at] = values[at - gaps[g]];
            values[at] = value;
        }
    }
}

double sp_robust_mean(double *values, unsigned n, unsigned cut)
{
    double sum = 0.0;

    sp_assert(2 * cut < n);
    sort(values, n);
    for (unsigned i = cut; i < n - cut; i++)
        sum += values[i];
    return sum / (double)(n - 2 * cut);
}

static double median(const double *values, unsigned n)
{
    double sorted[SP_SLOTS_MAX];

    memcpy(sorted, values, n * sizeof *values);
    return sp_robust_mean(sorted, n, (n - 1) / 2);
}

/* --- sums ------------------------------------------------------------------------------------------------------------
 */

static unsigned pair_of(uint32_t a, uint32_t b)
{
    uint32_t high = a > b ? a : b, low = a > b ? b : a;

    return high * (high - 1) / 2 + low;
}

void sp_robust_init(struct sp_robust *robust, double beta2)
{
    memset(robust, 0, sizeof *robust);
    robust->beta2 = beta2;
}

void sp_robust_forget(struct sp_robust *robust, uint32_t slot)
{
    memset(&robust->slot[slot], 0, sizeof robust->slot[slot]);
    for (uint32_t other = 0; slot < SP_ROBUST_PAIRED && other < SP_ROBUST_PAIRED; other++) {
        if (other != slot)
            robust->pair[pair_of(slot, other)] = robust->pair_mass[pair_of(slot, other)] = 0.0;
    }
}

/* Whether or not a worker gave anything: so all averages are of the same rounds, and the mass of one that is away goes.
 */
static void fade(struct sp_robust *robust)
{
    double keep = robust->beta2, least = FADED * (1.0 - robust->beta2);

    for (unsigned i = 0; i < SP_SLOTS_MAX; i++) {
        struct sp_robust_slot *slot = &robust->slot[i];
        double kept = slot->mass > least ? keep : 0.0;

        slot->mass *= kept;
        slot->dot *= kept;
        slot->norm2 *= kept;
        slot->length2 *= kept;
    }
    for (unsigned i = 0; i < SP_ROBUST_PAIRS; i++) {
        double kept = robust->pair_mass[i] > least ? keep : 0.0;

        robust->pair_mass[i] *= kept;
        robust->pair[i] *= kept;
    }
}

static double within(double value)
{
    return fmin(fmax(value, -ABSURD), ABSURD);
}

static double product(const float *a, const float *b)
{
    double lane[LANES] = {0}, sum = 0.0;

    for (unsigned k = 0; k < SP_SKETCH_BUCKETS; k += LANES) {
        for (unsigned l = 0; l < LANES; l++)
            lane[l] += (double)a[k + l] * (double)b[k + l];
    }
    for (unsigned l = 0; l < LANES; l++)
        sum += lane[l];
    return within(sum);
}

static void add(struct sp_robust *robust, const struct sp_sample *samples, unsigned n)
{
    double share = 1.0 - robust->beta2;

    for (unsigned i = 0; i < n; i++) {
        const struct sp_sample *s = &samples[i];
        struct sp_robust_slot *slot = &robust->slot[s->slot];

        slot->mass += share;
        slot->dot += share * within(s->dot);
        slot->norm2 += share * within(s->norm2);
        slot->length2 += share * product(s->sketch, s->sketch);
        for (unsigned j = 0; s->slot < SP_ROBUST_PAIRED && j < i; j++) {
            unsigned pair = pair_of(s->slot, samples[j].slot);

            robust->pair_mass[pair] += share;
            robust->pair[pair] += share * product(s->sketch, samples[j].sketch);
        }
    }
}

/* --- whom to trust ---------------------------------------------------------------------------------------------------
 */

static void count_paired(struct chosen *chosen)
{
    chosen->paired = 0;
    while (chosen->paired < chosen->n && chosen->at[chosen->paired]->slot < SP_ROBUST_PAIRED)
        chosen->paired++;
}

/* Those who gave something for about as many rounds as the others, if these are enough; else all. */
static void choose(const struct sp_robust *robust, const struct sp_sample *samples, unsigned n, struct chosen *chosen)
{
    double mass[SP_SLOTS_MAX], least;

    for (unsigned i = 0; i < n; i++)
        mass[i] = robust->slot[samples[i].slot].mass;
    least = MASS_SHARE * median(mass, n);
    chosen->n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (mass[i] >= least)
            chosen->at[chosen->n++] = &samples[i];
    }
    for (unsigned i = 0; chosen->n < SP_ROBUST_WORKERS_MIN && i < n; i++)
        chosen->at[i] = &samples[i];
    if (chosen->n < SP_ROBUST_WORKERS_MIN)
        chosen->n = n;
    count_paired(chosen);
}

/* Of each of the paired: the trimmed mean of its products with the others. */
static void products(const struct sp_robust *robust, const struct chosen *chosen, double *rows)
{
    for (unsigned i = 0; i < chosen->paired; i++) {
        double row[SP_ROBUST_PAIRED];
        unsigned n = 0;

        for (unsigned j = 0; j < chosen->paired; j++) {
            unsigned pair = j != i ? pair_of(chosen->at[i]->slot, chosen->at[j]->slot) : 0;

            if (j != i)
                row[n++] = robust->pair[pair] / robust->pair_mass[pair];
        }
        rows[i] = sp_robust_mean(row, n, chosen->paired / 4);
    }
}

/* How far each value is from their median, in median distances; kept where it is farther than `far` has it. */
static void measure(const double *values, unsigned n, double *far)
{
    double distance[SP_SLOTS_MAX] = {0}, middle = median(values, n), unit;

    for (unsigned i = 0; i < n; i++)
        distance[i] = fabs(values[i] - middle);
    unit = fmax(median(distance, n), ALIKE * fabs(middle) + 1.0 / ABSURD);
    for (unsigned i = 0; i < n; i++)
        far[i] = fmax(far[i], distance[i] / unit);
}

static void measure_all(const struct sp_robust *robust, const struct chosen *chosen, double *far)
{
    double dot[SP_SLOTS_MAX], norm2[SP_SLOTS_MAX], length2[SP_SLOTS_MAX], rows[SP_ROBUST_PAIRED];

    for (unsigned i = 0; i < chosen->n; i++) {
        const struct sp_robust_slot *slot = &robust->slot[chosen->at[i]->slot];

        dot[i] = slot->dot / slot->mass;
        norm2[i] = slot->norm2 / slot->mass;
        length2[i] = slot->length2 / slot->mass;
        far[i] = 0.0;
    }
    measure(dot, chosen->n, far);
    measure(norm2, chosen->n, far);
    measure(length2, chosen->n, far);
    products(robust, chosen, rows);
    measure(rows, chosen->paired, far);
}

/* Leaves out the quarter that is farthest from the others. */
static void leave_out(struct chosen *chosen, double *far)
{
    for (unsigned k = chosen->n / 4; k > 0; k--) {
        unsigned farthest = 0;

        for (unsigned i = 1; i < chosen->n; i++) {
            if (far[i] >= far[farthest])
                farthest = i;
        }
        chosen->n--;
        for (unsigned i = farthest; i < chosen->n; i++) {
            chosen->at[i] = chosen->at[i + 1];
            far[i] = far[i + 1];
        }
    }
    count_paired(chosen);
}

/* All who are not far from the others at all. */
static void choose_near(const struct chosen *chosen, const double *far, struct chosen *near)
{
    near->n = 0;
    for (unsigned i = 0; i < chosen->n; i++) {
        if (far[i] <= NEAR)
            near->at[near->n++] = chosen->at[i];
    }
    count_paired(near);
}

/* --- statistics ------------------------------------------------------------------------------------------------------
 */

/* B of m workers. The true D is not negative, only its estimate can be. */
static double noisy(const struct sp_averages *averages, unsigned m)
{
    double signal = fmax(averages->d, 0.0);

    return signal + (averages->e - signal) / (double)m;
}

/* Trimmed once more: by chance the quarter that was left out was an honest one. */
static void average(const struct sp_robust *robust, const struct chosen *chosen, unsigned m,
                    struct sp_averages *averages)
{
    double dot[SP_SLOTS_MAX], norm2[SP_SLOTS_MAX], rows[SP_ROBUST_PAIRED];
    unsigned n = chosen->n;

    for (unsigned i = 0; i < n; i++) {
        const struct sp_robust_slot *slot = &robust->slot[chosen->at[i]->slot];

        dot[i] = slot->dot / slot->mass;
        norm2[i] = slot->norm2 / slot->mass;
    }
    products(robust, chosen, rows);
    averages->a = fabs(sp_robust_mean(dot, n, n / 4));
    averages->e = sp_robust_mean(norm2, n, n / 4);
    averages->d = sp_robust_mean(rows, chosen->paired, chosen->paired / 4);
    averages->b = noisy(averages, m);
}

/* Of the paired: a sketch by itself does not tell whether it opposes the others. */
static double mean_length2(const struct chosen *chosen)
{
    double sum2 = 0.0;

    for (unsigned b = 0; b < SP_SKETCH_BUCKETS; b++) {
        double sum = 0.0;

        for (unsigned i = 0; i < chosen->paired; i++)
            sum += (double)chosen->at[i]->sketch[b];
        sum2 += sum * sum;
    }
    return sum2 / ((double)chosen->paired * (double)chosen->paired);
}

/* Of this round alone, as the paper's rule and `swats` want it: plain means, since within a round honest values are far
 * from symmetric, and an average of ratios feels every worker that is not in it. A mean over fewer workers has more
 * noise in it, so B is brought to what it would be of all m; it stays positive so, which a mean of products would not.
 */
static void of_this_round(const struct chosen *near, const struct sp_averages *averages, unsigned m,
                          struct sp_statistics *statistics)
{
    double dot = 0.0, norm2 = 0.0, fewer = noisy(averages, near->paired);

    for (unsigned i = 0; i < near->n; i++) {
        dot += within(near->at[i]->dot);
        norm2 += within(near->at[i]->norm2);
    }
    statistics->a = fabs(dot / (double)near->n);
    statistics->e = norm2 / (double)near->n;
    statistics->b = mean_length2(near) * (fewer > 0.0 ? averages->b / fewer : 1.0);
    statistics->workers = m;
}

bool sp_robust_take(struct sp_robust *robust, const struct sp_sample *samples, unsigned n,
                    struct sp_statistics *statistics, struct sp_averages *averages)
{
    struct chosen chosen, near;
    double far[SP_SLOTS_MAX];

    sp_assert(n <= SP_SLOTS_MAX);
    fade(robust);
    add(robust, samples, n);
    if (n < SP_ROBUST_WORKERS_MIN)
        return false;
    choose(robust, samples, n, &chosen);
    if (chosen.paired < SP_ROBUST_WORKERS_MIN)
        return false;
    measure_all(robust, &chosen, far);
    choose_near(&chosen, far, &near);
    leave_out(&chosen, far);
    if (chosen.paired < SP_ROBUST_WORKERS_MIN - 1)
        return false;
    average(robust, &chosen, n, averages);
    of_this_round(2 * near.paired > chosen.paired ? &near : &chosen, averages, n, statistics);
    return true;
}

/* --- losses ----------------------------------------------------------------------------------------------------------
 */

void sp_robust_loss(struct sp_robust *robust, uint32_t slot, double loss)
{
    robust->slot[slot].loss += within(loss);
    robust->slot[slot].losses++;
}

double sp_robust_window(struct sp_robust *robust)
{
    double means[SP_SLOTS_MAX];
    uint32_t most = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < SP_SLOTS_MAX; i++)
        most = robust->slot[i].losses > most ? robust->slot[i].losses : most;
    for (unsigned i = 0; i < SP_SLOTS_MAX; i++) {
        struct sp_robust_slot *slot = &robust->slot[i];

        /* A few rounds of one would stand beside many of others. */
        if (slot->losses > 0 && slot->losses >= most / 2)
            means[n++] = slot->loss / (double)slot->losses;
        slot->loss = 0.0;
        slot->losses = 0;
    }
    return n >= SP_ROBUST_WORKERS_MIN ? sp_robust_mean(means, n, n / 4) : (double)NAN;
}
