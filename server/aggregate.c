#include "server/aggregate.h"

#include "common/check.h"
#include "server/aggregate_kernels.h"

#include <math.h>
#include <string.h>

#define MEAN_BLOCK 512

static void mean_scalar(const float *const values[], unsigned voters, size_t first, size_t end, float *mean)
{
    for (size_t start = first; start < end; start += MEAN_BLOCK) {
        size_t n = end - start < MEAN_BLOCK ? end - start : MEAN_BLOCK;
        double sum[MEAN_BLOCK] = {0};

        for (unsigned i = 0; i < voters; i++) {
            for (size_t j = 0; j < n; j++)
                sum[j] += (double)values[i][start + j];
        }
        for (size_t j = 0; j < n; j++)
            mean[start + j] = (float)(sum[j] / (double)voters);
    }
}

/* --- median and trimmed mean ---------------------------------------------------------------------------------------
 *
 * The workers' values of a block of coordinates are rows, which a sorting network puts in order: whole rows are
 * compared with each other, so that every column is sorted by the same vector instructions.
 */

#define COLUMNS 64

struct rows {
    float row[SP_VALUES_MAX][COLUMNS];
};

/* Of two zeros with different signs one may come out twice, which is nothing to a sum or a middle: two comparisons that
 * do not depend on each other are what compilers make a minimum and a maximum of. */
static void order(float low[COLUMNS], float high[COLUMNS])
{
    for (size_t j = 0; j < COLUMNS; j++) {
        float a = low[j], b = high[j];

        low[j] = b < a ? b : a;
        high[j] = b > a ? b : a;
    }
}

/* Batcher's odd-even merge sort for any number of rows: Knuth, The Art of Computer Programming, 5.2.2, algorithm M. */
static void sort_rows(struct rows *rows, unsigned n)
{
    unsigned top = 1;

    while (2 * top < n)
        top *= 2;
    for (unsigned p = top; p > 0; p /= 2) {
        unsigned r = 0, d = p;

        for (unsigned q = top; q >= p; q /= 2) {
            for (unsigned i = 0; i + d < n; i++) {
                if ((i & p) == r)
                    order(rows->row[i], rows->row[i + d]);
            }
            d = q - p;
            r = p;
        }
    }
}

static void load_rows(const float *const values[], unsigned voters, size_t start, size_t n, struct rows *rows)
{
    for (unsigned i = 0; i < voters; i++) {
        memcpy(rows->row[i], values[i] + start, n * sizeof(float));
        memset(rows->row[i] + n, 0, (COLUMNS - n) * sizeof(float));
    }
    sort_rows(rows, voters);
}

/* Adding 0 turns -0 into +0 and changes nothing else. Which of two zeros is the lower one depends on the slots. */
static void median_scalar(const float *const values[], unsigned voters, size_t first, size_t end, float *result)
{
    struct rows rows;

    for (size_t start = first; start < end; start += COLUMNS) {
        size_t n = end - start < COLUMNS ? end - start : COLUMNS;
        const float *low = rows.row[(voters - 1) / 2], *high = rows.row[voters / 2];

        load_rows(values, voters, start, n, &rows);
        for (size_t j = 0; j < n; j++)
            result[start + j] = (float)(((double)low[j] + (double)high[j]) / 2.0) + 0.0f;
    }
}

static void trimmed_mean_scalar(const float *const values[], unsigned voters, unsigned cut, size_t first, size_t end,
                                float *result)
{
    struct rows rows;

    for (size_t start = first; start < end; start += COLUMNS) {
        size_t n = end - start < COLUMNS ? end - start : COLUMNS;
        double sum[COLUMNS] = {0};

        load_rows(values, voters, start, n, &rows);
        for (unsigned i = cut; i < voters - cut; i++) {
            for (size_t j = 0; j < COLUMNS; j++)
                sum[j] += (double)rows.row[i][j];
        }
        for (size_t j = 0; j < n; j++)
            result[start + j] = (float)(sum[j] / (double)(voters - 2 * cut)) + 0.0f;
    }
}

/* --- Adam ----------------------------------------------------------------------------------------------------------
 */

static double power(double base, uint32_t exponent)
{
    double result = 1.0;

    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2 != 0)
            result *= base;
        base *= base;
    }
    return result;
}

void sp_adam_init(struct sp_adam *adam, double beta1, double beta2, double eps, uint32_t t)
{
    sp_assert(t > 0);
    adam->beta1 = (float)beta1;
    adam->one_minus_beta1 = (float)(1.0 - beta1);
    adam->beta2 = (float)beta2;
    adam->one_minus_beta2 = (float)(1.0 - beta2);
    adam->c1 = (float)(1.0 / (1.0 - power(beta1, t)));
    adam->c2 = (float)(1.0 / (1.0 - power(beta2, t)));
    adam->eps = (float)eps;
}

static void adam_scalar(const struct sp_adam *adam, const float *gradient, size_t first, size_t end, float *m, float *v,
                        float *update)
{
    const struct sp_adam a = *adam;

    for (size_t j = first; j < end; j++) {
        float g = gradient[j];

        m[j] = a.beta1 * m[j] + a.one_minus_beta1 * g;
        v[j] = a.beta2 * v[j] + a.one_minus_beta2 * g * g;
        update[j] = (m[j] * a.c1) / (sqrtf(v[j] * a.c2) + a.eps);
    }
}

/* --- by instruction set --------------------------------------------------------------------------------------------
 */

static const struct sp_aggregate_kernels scalar = {
    .mean = mean_scalar,
    .median = median_scalar,
    .trimmed_mean = trimmed_mean_scalar,
    .adam = adam_scalar,
};

static const struct sp_aggregate_kernels *const kernels[SP_CPU_SETS] =
    SP_CPU_TABLE(&scalar, &sp_aggregate_avx2, &sp_aggregate_avx512);

static size_t steps_of(size_t count)
{
    return count / SP_AGGREGATE_STEP * SP_AGGREGATE_STEP;
}

/* Whether there is nothing to aggregate, and so zeros are the result. */
static bool nobody(unsigned voters, size_t count, float *result)
{
    sp_assert(voters <= SP_VALUES_MAX);
    if (voters == 0 && count > 0)
        memset(result, 0, count * sizeof *result);
    return voters == 0;
}

void sp_mean(const float *const values[], unsigned voters, size_t count, float *mean)
{
    size_t whole = steps_of(count);

    if (nobody(voters, count, mean))
        return;
    kernels[sp_cpu()]->mean(values, voters, 0, whole, mean);
    mean_scalar(values, voters, whole, count, mean);
}

void sp_median(const float *const values[], unsigned voters, size_t count, float *result)
{
    size_t whole = steps_of(count);

    if (nobody(voters, count, result))
        return;
    kernels[sp_cpu()]->median(values, voters, 0, whole, result);
    median_scalar(values, voters, whole, count, result);
}

void sp_trimmed_mean(const float *const values[], unsigned voters, unsigned cut, size_t count, float *result)
{
    size_t whole = steps_of(count);

    sp_assert(2 * cut < voters || (voters == 0 && cut == 0));
    if (nobody(voters, count, result))
        return;
    kernels[sp_cpu()]->trimmed_mean(values, voters, cut, 0, whole, result);
    trimmed_mean_scalar(values, voters, cut, whole, count, result);
}

void sp_adam_update(const struct sp_adam *adam, const float *gradient, size_t count, float *m, float *v, float *update)
{
    size_t whole = steps_of(count);

    kernels[sp_cpu()]->adam(adam, gradient, 0, whole, m, v, update);
    adam_scalar(adam, gradient, whole, count, m, v, update);
}

void sp_aggregate_values(enum sp_aggregate rule, double trim, const float *const values[], unsigned voters,
                         size_t count, float *result)
{
    unsigned most = voters > 0 ? (voters - 1) / 2 : 0;
    unsigned cut = (unsigned)(trim * (double)voters);

    switch (rule) {
    case SP_AGGREGATE_MEAN:
        sp_mean(values, voters, count, result);
        break;
    case SP_AGGREGATE_MEDIAN:
        sp_median(values, voters, count, result);
        break;
    case SP_AGGREGATE_TRIMMED_MEAN:
        sp_trimmed_mean(values, voters, cut < most ? cut : most, count, result);
        break;
    }
}
