#include "deploy/tool/eval_counts.h"

#include "common/check.h"
#include "worker/train/layers.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int eval_counts_init(struct eval_counts *counts, uint32_t classes, struct sp_error *error)
{
    sp_assert(classes >= 1);
    memset(counts, 0, sizeof *counts);
    counts->classes = classes;
    counts->examples_of = calloc((size_t)classes * (classes + 1u), sizeof *counts->examples_of);
    if (counts->examples_of == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the confusions of %u classes", classes);
    counts->confusion = counts->examples_of + classes;
    return SP_OK;
}

void eval_counts_finish(struct eval_counts *counts)
{
    free(counts->examples_of);
    memset(counts, 0, sizeof *counts);
}

static uint64_t *cell(const struct eval_counts *counts, uint32_t label, uint32_t prediction)
{
    return &counts->confusion[(size_t)label * counts->classes + prediction];
}

void eval_counts_add(struct eval_counts *counts, uint32_t label, uint32_t prediction, double loss)
{
    sp_assert(label < counts->classes && (prediction < counts->classes || prediction == SP_NOBODY));
    counts->examples++;
    counts->examples_of[label]++;
    counts->loss_sum += loss;
    counts->correct += prediction == label;
    if (prediction == SP_NOBODY)
        counts->not_a_number++;
    else
        ++*cell(counts, label, prediction);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : (double)NAN;
}

double eval_accuracy(const struct eval_counts *counts)
{
    return share(counts->correct, counts->examples);
}

double eval_loss(const struct eval_counts *counts)
{
    return counts->examples > 0 ? counts->loss_sum / (double)counts->examples : (double)NAN;
}

struct eval_class eval_class(const struct eval_counts *counts, uint32_t k)
{
    struct eval_class of = {.examples = counts->examples_of[k], .correct = *cell(counts, k, k)};

    for (uint32_t label = 0; label < counts->classes; label++)
        of.predicted += *cell(counts, label, k);
    of.accuracy = share(of.correct, of.examples);
    of.precision = share(of.correct, of.predicted);
    return of;
}

/* Whether class a has a place before class b, which both have examples: by their shares as exact fractions. */
static bool is_worse(const struct eval_counts *counts, uint32_t a, uint32_t b)
{
    const uint64_t examples_a = counts->examples_of[a], examples_b = counts->examples_of[b];
    const unsigned __int128 left = (unsigned __int128)*cell(counts, a, a) * examples_b;
    const unsigned __int128 right = (unsigned __int128)*cell(counts, b, b) * examples_a;

    if (left != right)
        return left < right;
    return examples_a != examples_b ? examples_a > examples_b : a < b;
}

uint32_t eval_worst(const struct eval_counts *counts, uint32_t *worst, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t k = 0; k < counts->classes; k++) {
        uint32_t at = count;

        if (counts->examples_of[k] == 0)
            continue;
        while (at > 0 && is_worse(counts, k, worst[at - 1]))
            at--;
        if (at == max)
            continue;
        count += count < max;
        memmove(worst + at + 1, worst + at, (count - 1 - at) * sizeof *worst);
        worst[at] = k;
    }
    return count;
}

uint32_t eval_confusions(const struct eval_counts *counts, struct eval_confusion *top, uint32_t max)
{
    const size_t cells = (size_t)counts->classes * counts->classes;
    uint32_t count = 0;

    for (size_t i = 0; i < cells; i++) {
        const struct eval_confusion next = {.label = (uint32_t)(i / counts->classes),
                                            .predicted = (uint32_t)(i % counts->classes),
                                            .examples = counts->confusion[i]};
        uint32_t at = count;

        if (next.examples == 0 || next.label == next.predicted)
            continue;
        while (at > 0 && next.examples > top[at - 1].examples)
            at--;
        if (at == max)
            continue;
        count += count < max;
        memmove(top + at + 1, top + at, (count - 1 - at) * sizeof *top);
        top[at] = next;
    }
    return count;
}
