#include "worker/train/data.h"

#include "common/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_SETS_MAX 1024                  /* tables of 1 KiB each */
#define WORDS_SETS_MAX 4                      /* that are said one by one */
#define PROGRESS_ELEMENTS (UINT64_C(1) << 22) /* between two calls */

static float scaled(const struct sp_scale *scale, const struct sp_moments *set, double element)
{
    return (float)((element / scale->divide - set->mean) / set->std);
}

static void fill(const struct sp_scale *scale, const struct sp_moments *set, float value[256])
{
    for (int i = 0; i < 256; i++)
        value[i] = scaled(scale, set, i);
}

void sp_scale_init(struct sp_scale *scale, double divide, double mean, double std)
{
    sp_assert(divide != 0.0 && std != 0.0);
    memset(scale, 0, sizeof *scale);
    scale->divide = divide;
    scale->sets = 1;
    scale->one = (struct sp_moments){mean, std};
    fill(scale, &scale->one, scale->value);
}

void sp_scale_finish(struct sp_scale *scale)
{
    free(scale->more);
    free(scale->values);
    memset(scale, 0, sizeof *scale);
}

/* Computing mean and standard deviation. Bytes are added up in integers, exactly: sums of squares times their number,
 * below 2^71 * 2^55, fit 128 bits. Floats are added up in double in the order of the examples, first for the mean, then
 * the squares of what they differ from it. */

struct sums {
    uint64_t sum; /* of bytes: below 2^55 * 2^8 */
    unsigned __int128 squares;
    double total, differences; /* of floats */
    float min, max;
};

struct pass {
    const struct sp_examples *examples;
    struct sums *sums; /* [sets], owned */
    uint32_t sets, run;
    void (*progress)(void *arg);
    void *arg;
};

static void add_bytes(struct sums *sums, const uint8_t *bytes, uint32_t n)
{
    uint64_t sum = 0, squares = 0; /* below 2^24 * 2^16 */

    for (uint32_t i = 0; i < n; i++) {
        sum += bytes[i];
        squares += (uint32_t)bytes[i] * bytes[i];
    }
    sums->sum += sum;
    sums->squares += squares;
}

static void add_floats(struct sums *sums, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sums->total += values[i];
        sums->min = values[i] < sums->min ? values[i] : sums->min;
        sums->max = values[i] > sums->max ? values[i] : sums->max;
    }
}

static void add_differences(struct sums *sums, double mean, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sums->differences += (values[i] - mean) * (values[i] - mean);
}

static double float_mean(const struct pass *pass, const struct sums *sums)
{
    return sums->total / ((double)pass->examples->count * pass->run);
}

static void add_image(const struct pass *pass, const void *raw, bool second)
{
    const uint32_t run = pass->run;

    for (uint32_t s = 0; s < pass->sets; s++) {
        struct sums *sums = &pass->sums[s];

        if (pass->examples->element == SP_ELEMENT_BYTE)
            add_bytes(sums, (const uint8_t *)raw + (size_t)s * run, run);
        else if (!second)
            add_floats(sums, (const float *)raw + (size_t)s * run, run);
        else
            add_differences(sums, float_mean(pass, sums), (const float *)raw + (size_t)s * run, run);
    }
}

static void go_through(const struct pass *pass, bool second)
{
    uint64_t elements = 0;

    for (uint64_t i = 0; i < pass->examples->count; i++) {
        add_image(pass, sp_examples_raw(pass->examples, i), second);
        elements += pass->examples->inputs;
        if (elements >= PROGRESS_ELEMENTS && pass->progress != NULL) {
            pass->progress(pass->arg);
            elements = 0;
        }
    }
}

static struct sp_moments byte_moments(const struct sums *sums, double n, double divide)
{
    const unsigned __int128 count = (unsigned __int128)n, squared = (unsigned __int128)sums->sum * sums->sum;
    double variance = (double)(count * sums->squares - squared) / n / n;

    return (struct sp_moments){(double)sums->sum / n / divide, variance > 0.0 ? sqrt(variance) / divide : 1.0};
}

/* Of equal values the mean may differ from them in its last bit, and the sum of squares then is not 0. */
static struct sp_moments float_moments(const struct sums *sums, double n, double divide)
{
    double deviation = sqrt(sums->differences / n) / divide;

    if (sums->min == sums->max)
        return (struct sp_moments){sums->min / divide, 1.0};
    return (struct sp_moments){sums->total / n / divide, deviation > 0.0 ? deviation : 1.0};
}

static int compute(struct sp_scale *scale, struct pass *pass, struct sp_moments *moments, struct sp_error *error)
{
    const bool bytes = pass->examples->element == SP_ELEMENT_BYTE;
    const double n = (double)pass->examples->count * pass->run;

    pass->sums = calloc(pass->sets, sizeof *pass->sums);
    if (pass->sums == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    for (uint32_t s = 0; s < pass->sets; s++) {
        pass->sums[s].min = INFINITY;
        pass->sums[s].max = -INFINITY;
    }
    go_through(pass, false);
    if (!bytes)
        go_through(pass, true);
    for (uint32_t s = 0; s < pass->sets; s++)
        moments[s] =
            bytes ? byte_moments(&pass->sums[s], n, scale->divide) : float_moments(&pass->sums[s], n, scale->divide);
    free(pass->sums);
    return SP_OK;
}

/* From the job. */

static int check_counts(const struct sp_job *job, const struct sp_examples *examples, struct sp_error *error)
{
    const uint32_t channels = examples->shape.channels;
    const uint32_t counts[] = {job->data.mean_count, job->data.std_count};

    for (int i = 0; i < 2; i++) {
        if (counts[i] != 1 && counts[i] != channels)
            return sp_error_set(error, SP_E_MISMATCH,
                                "data.scale.%s has %u numbers, but %s has %u channel%s; give one for all%s",
                                i == 0 ? "mean" : "std", counts[i], examples->from, channels, channels == 1 ? "" : "s",
                                channels == 1 ? "" : ", or one for each channel");
    }
    return SP_OK;
}

static uint32_t count_sets(const struct sp_job *job, const struct sp_examples *examples)
{
    switch (job->data.compute) {
    case SP_COMPUTE_CHANNEL:
        return examples->shape.channels;
    case SP_COMPUTE_INPUT:
        return examples->inputs;
    case SP_COMPUTE_ALL:
        return 1;
    case SP_COMPUTE_NONE:
        break;
    }
    return job->data.mean_count > 1 || job->data.std_count > 1 ? examples->shape.channels : 1;
}

static void take_given(const struct sp_job *job, uint32_t sets, struct sp_moments *moments)
{
    for (uint32_t s = 0; s < sets; s++) {
        moments[s].mean = job->data.mean[job->data.mean_count > 1 ? s : 0];
        moments[s].std = job->data.std[job->data.std_count > 1 ? s : 0];
    }
}

/* `moments` [sets] become the scale's own, with tables where there are few of them. */
static int take_over(struct sp_scale *scale, const struct sp_examples *examples, struct sp_moments *moments,
                     struct sp_error *error)
{
    scale->more = moments;
    if (examples->element != SP_ELEMENT_BYTE || scale->sets > VALUES_SETS_MAX)
        return SP_OK;
    scale->values = calloc(scale->sets, sizeof *scale->values);
    if (scale->values == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    for (uint32_t s = 0; s < scale->sets; s++)
        fill(scale, &moments[s], scale->values[s]);
    return SP_OK;
}

int sp_scale_create(struct sp_scale *scale, const struct sp_job *job, const struct sp_examples *examples,
                    void (*progress)(void *arg), void *arg, struct sp_error *error)
{
    const uint32_t sets = count_sets(job, examples);
    struct pass pass = {examples, NULL, sets, examples->inputs / sets, progress, arg};
    struct sp_moments *moments;
    int rc = check_counts(job, examples, error);

    memset(scale, 0, sizeof *scale);
    if (rc != SP_OK)
        return rc;
    scale->divide = sp_job_divide(job);
    moments = calloc(sets, sizeof *moments);
    if (moments == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    if (job->data.compute != SP_COMPUTE_NONE)
        rc = compute(scale, &pass, moments, error);
    else
        take_given(job, sets, moments);
    if (rc != SP_OK || sets == 1) {
        if (rc == SP_OK)
            sp_scale_init(scale, scale->divide, moments->mean, moments->std);
        free(moments);
        return rc;
    }
    scale->sets = sets;
    rc = take_over(scale, examples, moments, error);
    if (rc != SP_OK)
        sp_scale_finish(scale);
    return rc;
}

/* Use. */

static void apply_bytes(const struct sp_scale *scale, uint32_t set, const uint8_t *raw, uint32_t n, float *x)
{
    const float *value = scale->sets == 1 ? scale->value : scale->values != NULL ? scale->values[set] : NULL;

    if (value == NULL) {
        for (uint32_t k = 0; k < n; k++)
            x[k] = scaled(scale, &scale->more[set], raw[k]);
        return;
    }
    for (uint32_t k = 0; k < n; k++)
        x[k] = value[raw[k]];
}

static void apply_floats(const struct sp_scale *scale, uint32_t set, const float *raw, uint32_t n, float *x)
{
    const struct sp_moments *moments = scale->sets == 1 ? &scale->one : &scale->more[set];

    for (uint32_t k = 0; k < n; k++)
        x[k] = scaled(scale, moments, (double)raw[k]);
}

void sp_scale_apply(const struct sp_scale *scale, const struct sp_examples *examples, const void *raw, float *x)
{
    const uint32_t run = examples->inputs / scale->sets;

    for (uint32_t s = 0; s < scale->sets; s++) {
        const size_t at = (size_t)s * run;

        if (examples->element == SP_ELEMENT_BYTE)
            apply_bytes(scale, s, (const uint8_t *)raw + at, run, x + at);
        else
            apply_floats(scale, s, (const float *)raw + at, run, x + at);
    }
}

static void say_range(const struct sp_scale *scale, char *text, size_t bytes)
{
    struct sp_moments min = scale->more[0], max = scale->more[0];

    for (uint32_t s = 1; s < scale->sets; s++) {
        const struct sp_moments *m = &scale->more[s];

        min = (struct sp_moments){fmin(min.mean, m->mean), fmin(min.std, m->std)};
        max = (struct sp_moments){fmax(max.mean, m->mean), fmax(max.std, m->std)};
    }
    (void)snprintf(text, bytes, "%u means from %.6g to %.6g, stds from %.6g to %.6g", scale->sets, min.mean, max.mean,
                   min.std, max.std);
}

void sp_scale_words(const struct sp_scale *scale, char *text, size_t bytes)
{
    const char *words[] = {"mean [", "], std ["};
    size_t used = 0;

    if (scale->sets == 1) {
        (void)snprintf(text, bytes, "mean %.6g, std %.6g", scale->one.mean, scale->one.std);
        return;
    }
    if (scale->sets > WORDS_SETS_MAX) {
        say_range(scale, text, bytes);
        return;
    }
    for (int i = 0; i < 2; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s", words[i]);
        for (uint32_t s = 0; s < scale->sets && used < bytes; s++)
            used += (size_t)snprintf(text + used, bytes - used, "%s%.6g", s == 0 ? "" : ", ",
                                     i == 0 ? scale->more[s].mean : scale->more[s].std);
        if (used >= bytes)
            return;
    }
    (void)snprintf(text + used, bytes - used, "]");
}
