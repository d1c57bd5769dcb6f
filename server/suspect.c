#include "server/suspect.h"

#include "common/check.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FALSE_ALARMS 1e-3 /* of a job, over all its pairs */
#define SLACK 0.01
#define SAMPLES_MIN 4
#define VOTERS_MIN 3              /* of two that are opposed nobody can tell which one lies */
#define WORDS_COMPARED (1u << 19) /* in one sample, about: it takes a millisecond or two */

uint32_t sp_suspect_interval(double beta1)
{
    return (uint32_t)fmax(1.0, ceil(2.0 / (1.0 - beta1) - 1e-6));
}

/* --- samples ---------------------------------------------------------------------------------------------------------
 */

void sp_vote_sample_begin(struct sp_vote_sample *sample, unsigned voters, const uint8_t *slots, uint64_t count)
{
    unsigned pairs = voters * (voters - 1) / 2;
    uint64_t words = (count + 63) / 64;

    sp_assert(voters > 1 && voters <= SP_SLOTS_MAX);
    if (words > WORDS_COMPARED / pairs)
        words = WORDS_COMPARED / pairs;
    if (words > SP_SAMPLE_WORDS_MAX)
        words = SP_SAMPLE_WORDS_MAX;
    sp_assert(words * voters <= SP_SAMPLE_WORDS_ALL);
    sample->voters = voters;
    sample->words = (unsigned)words;
    sample->coordinates = words * 64 < count ? words * 64 : count;
    memcpy(sample->slots, slots, voters);
}

static unsigned ones(uint64_t word)
{
    return (unsigned)__builtin_popcountll(word);
}

/* False if there is no coordinate on which both voted. */
static bool compare(const struct sp_vote_sample *sample, unsigned a, unsigned b, double *correlation)
{
    size_t i = (size_t)a * sample->words, j = (size_t)b * sample->words;
    unsigned both = 0, differ = 0;

    for (unsigned w = 0; w < sample->words; w++) {
        uint64_t given = sample->given[i + w] & sample->given[j + w];

        both += ones(given);
        differ += ones(given & (sample->signs[i + w] ^ sample->signs[j + w]));
    }
    *correlation = both > 0 ? 1.0 - 2.0 * (double)differ / (double)both : 0.0;
    return both > 0;
}

/* --- sums ------------------------------------------------------------------------------------------------------------
 */

static size_t index_of(unsigned a, unsigned b)
{
    unsigned low = a < b ? a : b, high = a < b ? b : a;

    return (size_t)high * (high - 1) / 2 + low;
}

static void add(struct sp_suspect_pair *pair, double correlation)
{
    double step = correlation - pair->last;

    pair->squares += pair->samples > 0 ? step * step : 0.0;
    pair->sum += correlation;
    pair->last = correlation;
    pair->samples++;
}

void sp_suspicion_add(struct sp_suspicion *s, const struct sp_vote_sample *sample, uint32_t round)
{
    double correlation;

    s->round = round;
    for (unsigned b = 1; b < sample->voters; b++) {
        for (unsigned a = 0; a < b; a++) {
            if (compare(sample, a, b, &correlation))
                add(&s->pairs[index_of(sample->slots[a], sample->slots[b])], correlation);
        }
    }
}

void sp_suspicion_forget(struct sp_suspicion *s, unsigned slot)
{
    s->suspected[slot] = s->excluded[slot] = false;
    for (unsigned other = 0; other < SP_SLOTS_MAX; other++) {
        if (other != slot)
            memset(&s->pairs[index_of(slot, other)], 0, sizeof *s->pairs);
    }
}

static void swap(double *a, double *b)
{
    double value = *a;

    *a = *b;
    *b = value;
}

/* What would be in the middle if they were in order (Hoare's selection); it changes their order. */
static double median(double *values, ptrdiff_t n)
{
    ptrdiff_t low = 0, high = n - 1, middle = n / 2;

    while (low < high) {
        double pivot = values[middle];
        ptrdiff_t i = low, j = high;

        while (i <= j) {
            while (i < high && values[i] < pivot)
                i++;
            while (low < j && pivot < values[j])
                j--;
            if (i <= j)
                swap(&values[i++], &values[j--]);
        }
        if (j < middle)
            low = i;
        if (i > middle)
            high = j;
    }
    return values[middle];
}

double sp_suspicion_correlation(const struct sp_suspicion *s, unsigned slot, unsigned workers)
{
    double means[SP_SLOTS_MAX] = {0};
    ptrdiff_t n = 0;

    for (unsigned other = 0; other < workers; other++) {
        const struct sp_suspect_pair *pair =
            other != slot && !s->excluded[other] ? &s->pairs[index_of(slot, other)] : NULL;

        if (pair != NULL && pair->samples > 0)
            means[n++] = pair->sum / (double)pair->samples;
    }
    return n > 0 ? median(means, n) : (double)NAN;
}

/* --- the test --------------------------------------------------------------------------------------------------------
 */

/* Of one sample of the pair. Half the mean square of n successive differences has a little fewer degrees of freedom
 * than n (von Neumann, Ann. Math. Stat. 12, 1941), and a median below its mean: the median is what is put right. */
static double variance(const struct sp_suspect_pair *pair)
{
    double n = (double)pair->samples - 1.0;
    double freedom = 2.0 * n * n / (3.0 * n - 1.0);

    return pair->squares / (2.0 * n) / pow(1.0 - 2.0 / (9.0 * freedom), 3.0);
}

/* The least variance that is believed of a pair. */
static double least_variance(const struct sp_suspicion *s, struct sp_vote_sample *sample)
{
    double *variances = sample->variances;
    double least = 1.0 / (double)sample->coordinates;
    ptrdiff_t n = 0;

    for (unsigned b = 1; b < sample->voters; b++) {
        for (unsigned a = 0; a < b; a++) {
            const struct sp_suspect_pair *pair = &s->pairs[index_of(sample->slots[a], sample->slots[b])];

            if (pair->samples >= SAMPLES_MIN)
                variances[n++] = variance(pair);
        }
    }
    return n > 0 ? fmax(least, median(variances, n)) : least;
}

static bool is_opposed(const struct sp_suspect_pair *pair, double least, unsigned workers)
{
    double k = (double)pair->samples;
    double alpha = FALSE_ALARMS / ((double)workers * (double)(workers - 1) / 2.0);

    if (pair->samples < SAMPLES_MIN || pair->sum + SLACK * k >= 0.0)
        return false;
    return pair->sum + SLACK * k < -sqrt(fmax(least, variance(pair)) * (k + 1.0) * (log(k + 1.0) - 2.0 * log(alpha)));
}

static struct sp_suspect look_at(const struct sp_suspicion *s, const struct sp_vote_sample *sample, unsigned slot,
                                 unsigned workers, double least)
{
    struct sp_suspect suspect = {.slot = slot, .correlation = sp_suspicion_correlation(s, slot, workers)};

    for (unsigned v = 0; v < sample->voters; v++) {
        const struct sp_suspect_pair *pair;

        if (sample->slots[v] == slot)
            continue;
        pair = &s->pairs[index_of(slot, sample->slots[v])];
        suspect.opposed += is_opposed(pair, least, workers);
        if (pair->samples > suspect.samples)
            suspect.samples = pair->samples;
    }
    return suspect;
}

unsigned sp_suspicion_judge(struct sp_suspicion *s, struct sp_vote_sample *sample, unsigned workers, unsigned present,
                            struct sp_suspect suspects[SP_SLOTS_MAX])
{
    unsigned others = (present > sample->voters ? present : sample->voters) - 1;
    double least;
    unsigned n = 0;

    if (others + 1 < VOTERS_MIN)
        return 0;
    least = least_variance(s, sample);
    for (unsigned v = 0; v < sample->voters; v++) {
        unsigned slot = sample->slots[v];

        if (s->suspected[slot])
            continue;
        suspects[n] = look_at(s, sample, slot, workers, least);
        suspects[n].others = others;
        if (2 * suspects[n].opposed > others) {
            s->suspected[slot] = true;
            n++;
        }
    }
    return n;
}
