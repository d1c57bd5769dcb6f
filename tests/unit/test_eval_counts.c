/* Counts of an evaluation against what follows from their definitions, and its prediction against sp_softmax_correct().
 */
#include "deploy/tool/eval_counts.h"

#include "unit.h"
#include "worker/train/layers.h"

#include <math.h>

static struct eval_counts counts;

static void init(uint32_t classes)
{
    ck_assert_int_eq(eval_counts_init(&counts, classes, NULL), SP_OK);
}

static void finish(void)
{
    eval_counts_finish(&counts);
}

static void add(uint32_t times, uint32_t label, uint32_t prediction)
{
    while (times-- > 0)
        eval_counts_add(&counts, label, prediction, 0.5);
}

START_TEST(test_nothing_counted)
{
    uint32_t worst[2];
    struct eval_confusion top[2];

    init(2);
    ck_assert(isnan(eval_accuracy(&counts)) && isnan(eval_loss(&counts)));
    ck_assert(isnan(eval_class(&counts, 1).accuracy) && isnan(eval_class(&counts, 1).precision));
    ck_assert_uint_eq(eval_worst(&counts, worst, 2), 0);
    ck_assert_uint_eq(eval_confusions(&counts, top, 2), 0);
}
END_TEST

/* Class 0: 4 of 5 right, 1 taken for 1. Class 1: 2 of 4, 1 taken for 0, 1 for nobody. Class 2: no examples. Class 3:
 * none right, so no example is taken for it. */
static void add_some(void)
{
    init(4);
    add(4, 0, 0);
    add(1, 0, 1);
    add(2, 1, 1);
    add(1, 1, 0);
    add(1, 1, SP_NOBODY);
    add(3, 3, 0);
}

START_TEST(test_counts_by_hand)
{
    static const uint64_t confusion[4][4] = {{4, 1, 0, 0}, {1, 2, 0, 0}, {0, 0, 0, 0}, {3, 0, 0, 0}};
    struct eval_class of;

    add_some();
    ck_assert_uint_eq(counts.examples, 12);
    ck_assert_uint_eq(counts.correct, 6);
    ck_assert_uint_eq(counts.not_a_number, 1);
    ck_assert_int_eq(memcmp(counts.confusion, confusion, sizeof confusion), 0);
    ck_assert_double_eq(eval_accuracy(&counts), 0.5);
    ck_assert_double_eq(eval_loss(&counts), 0.5);
    of = eval_class(&counts, 0);
    ck_assert(of.examples == 5 && of.correct == 4 && of.predicted == 8);
    ck_assert(of.accuracy == 0.8 && of.precision == 0.5);
    of = eval_class(&counts, 1);
    ck_assert(of.examples == 4 && of.correct == 2 && of.predicted == 3);
    ck_assert(of.accuracy == 0.5 && of.precision == 2.0 / 3.0);
    of = eval_class(&counts, 2);
    ck_assert(of.examples == 0 && of.predicted == 0 && isnan(of.accuracy) && isnan(of.precision));
    of = eval_class(&counts, 3);
    ck_assert(of.examples == 3 && of.correct == 0 && of.accuracy == 0.0 && isnan(of.precision));
}
END_TEST

START_TEST(test_the_order_of_worst_and_confusions)
{
    uint32_t worst[4];
    struct eval_confusion top[4];

    add_some();
    ck_assert_uint_eq(eval_worst(&counts, worst, 4), 3);
    ck_assert(worst[0] == 3 && worst[1] == 1 && worst[2] == 0);
    ck_assert_uint_eq(eval_worst(&counts, worst, 1), 1);
    ck_assert_uint_eq(worst[0], 3);
    ck_assert_uint_eq(eval_confusions(&counts, top, 4), 3);
    ck_assert(top[0].label == 3 && top[0].predicted == 0 && top[0].examples == 3);
    ck_assert(top[1].label == 0 && top[1].predicted == 1 && top[1].examples == 1);
    ck_assert(top[2].label == 1 && top[2].predicted == 0 && top[2].examples == 1);
    ck_assert_uint_eq(eval_confusions(&counts, top, 2), 2);
    ck_assert(top[1].label == 0);
}
END_TEST

/* Of equal shares the class with more examples comes first, then the lower one. */
START_TEST(test_ties_among_the_worst)
{
    uint32_t worst[3];

    init(3);
    add(1, 0, 0);
    add(1, 0, 1);
    add(1, 1, 1);
    add(1, 1, 2);
    add(2, 2, 2);
    add(2, 2, 0);
    ck_assert_uint_eq(eval_worst(&counts, worst, 3), 3);
    ck_assert(worst[0] == 2 && worst[1] == 0 && worst[2] == 1);
}
END_TEST

/* Against sorting all of them: the first `max` of many, for every max. */
START_TEST(test_cuts_of_random_counts)
{
    static uint32_t all[64], some[64];
    static struct eval_confusion all_top[64 * 64], some_top[64 * 64];
    struct sp_rng rng = unit_rng(3);
    uint32_t total;

    init(64);
    for (unsigned i = 0; i < 3000; i++)
        add(1, sp_rng_below(&rng, 60), sp_rng_below(&rng, 30) == 0 ? SP_NOBODY : sp_rng_below(&rng, 64));
    total = eval_worst(&counts, all, 64);
    ck_assert_uint_eq(total, 60);
    for (uint32_t i = 1; i < total; i++)
        ck_assert(eval_class(&counts, all[i - 1]).accuracy <= eval_class(&counts, all[i]).accuracy);
    for (uint32_t max = 0; max <= 64; max++) {
        ck_assert_uint_eq(eval_worst(&counts, some, max), max < total ? max : total);
        ck_assert_int_eq(memcmp(all, some, (max < total ? max : total) * sizeof *all), 0);
    }
    total = eval_confusions(&counts, all_top, 64 * 64);
    for (uint32_t i = 1; i < total; i++)
        ck_assert(all_top[i - 1].examples >= all_top[i].examples);
    for (uint32_t max = 0; max <= 64; max++) {
        ck_assert_uint_eq(eval_confusions(&counts, some_top, max), max);
        ck_assert_int_eq(memcmp(all_top, some_top, max * sizeof *all_top), 0);
    }
}
END_TEST

START_TEST(test_sums)
{
    struct sp_rng rng = unit_rng(4);
    uint64_t examples = 0, correct = 0, predicted = 0;

    init(10);
    for (unsigned i = 0; i < 1000; i++)
        add(1, sp_rng_below(&rng, 10), sp_rng_below(&rng, 50) == 0 ? SP_NOBODY : sp_rng_below(&rng, 10));
    for (uint32_t k = 0; k < 10; k++) {
        struct eval_class of = eval_class(&counts, k);

        examples += of.examples;
        correct += of.correct;
        predicted += of.predicted;
    }
    ck_assert_uint_eq(examples, counts.examples);
    ck_assert_uint_eq(correct, counts.correct);
    ck_assert_uint_eq(predicted + counts.not_a_number, counts.examples);
    ck_assert_uint_gt(counts.not_a_number, 0);
}
END_TEST

/* It is right where sp_softmax_correct() says so, for every label; few values, so that there are ties. */
START_TEST(test_prediction_is_the_rule_of_training)
{
    static const float values[] = {0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN};
    struct sp_rng rng = unit_rng(5);
    unsigned nobody = 0;

    for (unsigned i = 0; i < 20000; i++) {
        uint32_t classes = 1 + sp_rng_below(&rng, 6), predicted;
        uint32_t kinds = sp_rng_below(&rng, 2) == 0 ? 4 : UNIT_COUNT(values);
        float logits[6];

        for (uint32_t k = 0; k < classes; k++)
            logits[k] = values[sp_rng_below(&rng, kinds)];
        predicted = sp_softmax_predict(logits, classes);
        nobody += predicted == SP_NOBODY;
        unit_assert(predicted < classes || predicted == SP_NOBODY, "%u of %u", predicted, classes);
        for (uint32_t k = 0; k < classes; k++)
            unit_assert(sp_softmax_correct(logits, classes, (uint8_t)k) == (k == predicted), "class %u of %u", k,
                        classes);
    }
    ck_assert(nobody > 1000 && nobody < 19000);
}
END_TEST

START_TEST(test_a_loss_that_is_not_a_number_stays_one)
{
    init(2);
    add(3, 0, 0);
    eval_counts_add(&counts, 1, SP_NOBODY, (double)NAN);
    ck_assert(isnan(eval_loss(&counts)));
    ck_assert_double_eq(eval_accuracy(&counts), 0.75);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eval_counts");
    TCase *tests = tcase_create("eval_counts");

    tcase_add_checked_fixture(tests, NULL, finish);
    tcase_add_test(tests, test_nothing_counted);
    tcase_add_test(tests, test_counts_by_hand);
    tcase_add_test(tests, test_the_order_of_worst_and_confusions);
    tcase_add_test(tests, test_ties_among_the_worst);
    tcase_add_test(tests, test_cuts_of_random_counts);
    tcase_add_test(tests, test_sums);
    tcase_add_test(tests, test_prediction_is_the_rule_of_training);
    tcase_add_test(tests, test_a_loss_that_is_not_a_number_stays_one);
    return unit_run(suite, tests);
}
