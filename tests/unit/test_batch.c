/* Which examples go into which batch. */
#include "common/rng.h"
#include "tests/unit/unit.h"
#include "worker/train/batch.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    uint32_t examples, workers, batch;
};

/* Divided evenly or not, a single example, a batch larger than the data, workers that share one example. */
static const struct shape shapes[] = {{96, 4, 8}, {97, 4, 8},    {1, 1, 1},  {5, 3, 4},
                                      {3, 7, 1},  {1437, 4, 16}, {100, 1, 7}};

static struct sp_batches *create(uint64_t seed, const struct shape *shape)
{
    const struct sp_batches_options options = {
        .seed = seed, .examples = shape->examples, .workers = shape->workers, .batch = shape->batch};
    struct sp_batches *batches = NULL;

    ck_assert_int_eq(sp_batches_create(&batches, &options, NULL), 0);
    return batches;
}

/* How often each example is taken in an epoch, by all slots together. */
static void count_epoch(struct sp_batches *batches, const struct shape *shape, uint32_t epoch, uint32_t *counts)
{
    uint32_t rounds = (uint32_t)sp_batches_epoch_rounds(batches);
    uint32_t *indices = calloc(shape->batch, sizeof *indices);

    ck_assert_ptr_nonnull(indices);
    memset(counts, 0, shape->examples * sizeof *counts);
    for (uint32_t p = 0; p < rounds; p++) {
        for (uint32_t slot = 0; slot < shape->workers; slot++) {
            sp_batches_pick(batches, epoch * rounds + p + 1, slot, indices);
            for (uint32_t n = 0; n < shape->batch; n++) {
                ck_assert_uint_lt(indices[n], shape->examples);
                counts[indices[n]]++;
            }
        }
    }
    free(indices);
}

/* Every example at least once; and none more than once more than another, so that slots are disjoint where W*b
 * divides N. */
START_TEST(test_epoch_is_complete)
{
    const struct shape *shape = &shapes[_i];
    struct sp_batches *batches = create(3, shape);
    uint32_t together = shape->workers * shape->batch;
    uint64_t rounds = (shape->examples + together - 1) / together;
    uint32_t *counts = calloc(shape->examples, sizeof *counts);

    ck_assert_ptr_nonnull(counts);
    ck_assert_uint_eq(sp_batches_epoch_rounds(batches), rounds);
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        uint64_t low = rounds * together / shape->examples;
        uint64_t total = 0;

        count_epoch(batches, shape, epoch, counts);
        for (uint32_t i = 0; i < shape->examples; i++) {
            ck_assert_uint_ge(counts[i], low);
            ck_assert_uint_le(counts[i], low + (rounds * together % shape->examples != 0));
            total += counts[i];
        }
        ck_assert_uint_ge(low, 1);
        ck_assert_uint_eq(total, rounds * together);
    }
    free(counts);
    sp_batches_destroy(batches);
}
END_TEST

/* The shuffle, written down once more from its definition. */
static void permute(uint64_t seed, uint32_t epoch, uint32_t lane, uint32_t count, uint32_t *order)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(seed, SP_RNG_BATCH), epoch, lane);
    for (uint32_t left = count; left > 1; left--) {
        uint32_t j = sp_rng_below(&rng, left), last = order[left - 1];

        order[left - 1] = order[j];
        order[j] = last;
    }
}

/* Every index is that of the formula, in whatever order rounds and slots are asked for; and so the wrap is as well. */
START_TEST(test_formula)
{
    const struct shape *shape = &shapes[_i];
    struct sp_batches *batches = create(9, shape);
    uint32_t rounds = (uint32_t)sp_batches_epoch_rounds(batches);
    uint32_t *order = calloc(shape->examples, sizeof *order), *indices = calloc(shape->batch, sizeof *indices);

    ck_assert(order != NULL && indices != NULL);
    for (uint32_t t = 2 * rounds + 1; t >= 1; t--) {
        uint32_t k = (t - 1) / rounds, p = (t - 1) % rounds;

        for (uint32_t i = 0; i < shape->examples; i++)
            order[i] = i;
        permute(9, k, 0, shape->examples, order);
        for (uint32_t i = shape->workers; i-- > 0;) {
            sp_batches_pick(batches, t, i, indices);
            for (uint32_t n = 0; n < shape->batch; n++)
                ck_assert_uint_eq(indices[n],
                                  order[(p * shape->workers * shape->batch + i * shape->batch + n) % shape->examples]);
        }
    }
    free(order);
    free(indices);
    sp_batches_destroy(batches);
}
END_TEST

static void first_epoch(uint64_t seed, uint32_t epoch, uint32_t order[32])
{
    const struct shape shape = {32, 2, 4};
    struct sp_batches *batches = create(seed, &shape);

    for (uint32_t p = 0; p < 4; p++) {
        for (uint32_t slot = 0; slot < 2; slot++)
            sp_batches_pick(batches, 4 * epoch + p + 1, slot, order + 8 * p + 4 * slot);
    }
    sp_batches_destroy(batches);
}

START_TEST(test_seed_and_epoch)
{
    uint32_t one[32], again[32], other_seed[32], high_seed[32], other_epoch[32];

    first_epoch(1, 0, one);
    first_epoch(1, 0, again);
    first_epoch(2, 0, other_seed);
    first_epoch(1 + (UINT64_C(1) << 32), 0, high_seed);
    first_epoch(1, 1, other_epoch);
    ck_assert_mem_eq(one, again, sizeof one);
    ck_assert_mem_ne(one, other_seed, sizeof one);
    ck_assert_mem_ne(one, high_seed, sizeof one);
    ck_assert_mem_ne(one, other_epoch, sizeof one);
}
END_TEST

/* A change of the order would change every job's result, so it must not come about unnoticed. The numbers are of an
 * implementation in Python, written from the definitions in batch.h and rng.h. */
START_TEST(test_pinned)
{
    static const uint32_t expected[2][10] = {{9, 3, 6, 5, 4, 1, 2, 7, 8, 0}, {9, 8, 6, 4, 0, 1, 7, 3, 5, 2}};
    const struct shape shape = {10, 2, 5};
    struct sp_batches *batches = create(1, &shape);
    uint32_t indices[10];

    for (uint32_t i = 0; i < 2; i++) {
        sp_batches_pick(batches, 3 * i + 1, 0, indices);
        sp_batches_pick(batches, 3 * i + 1, 1, indices + 5);
        ck_assert_mem_eq(indices, expected[i], sizeof indices);
    }
    sp_batches_destroy(batches);
}
END_TEST

/* Where example 0 lands over many epochs: chi-square with 7 degrees of freedom, whose 0.9999 quantile is 29.9. */
START_TEST(test_shuffle_is_fair)
{
    const struct shape shape = {8, 1, 8};
    struct sp_batches *batches = create(5, &shape);
    const uint32_t epochs = 8000;
    uint32_t counts[8] = {0}, indices[8];
    double chi_square = 0.0;

    for (uint32_t t = 1; t <= epochs; t++) {
        sp_batches_pick(batches, t, 0, indices);
        for (int i = 0; i < 8; i++)
            counts[i] += indices[i] == 0;
    }
    for (int i = 0; i < 8; i++)
        chi_square += (counts[i] - epochs / 8.0) * (counts[i] - epochs / 8.0) / (epochs / 8.0);
    ck_assert_double_lt(chi_square, 29.9);
    sp_batches_destroy(batches);
}
END_TEST

/* by_label. */

/* Some labels are frequent, some rare, most absent; in no order. */
static uint8_t *make_labels(uint32_t count)
{
    static const uint8_t kinds[] = {7, 0, 7, 255, 3, 7, 9, 0, 3, 7, 7, 128};
    uint8_t *labels = malloc(count);

    ck_assert_ptr_nonnull(labels);
    for (uint32_t i = 0; i < count; i++)
        labels[i] = kinds[i * 5 % sizeof kinds];
    return labels;
}

static struct sp_batches *create_by_label(uint64_t seed, const struct shape *shape, const uint8_t *labels)
{
    const struct sp_batches_options options = {.seed = seed,
                                               .examples = shape->examples,
                                               .workers = shape->workers,
                                               .batch = shape->batch,
                                               .shards = SP_SHARDS_BY_LABEL,
                                               .labels = labels};
    struct sp_batches *batches = NULL;

    ck_assert_int_eq(sp_batches_create(&batches, &options, NULL), 0);
    return batches;
}

/* The place of an example in the order by label, and by index among equal ones: how many come before it. */
static uint32_t place_of(uint32_t example, const uint8_t *labels, uint32_t count)
{
    uint32_t before = 0;

    for (uint32_t i = 0; i < count; i++)
        before += labels[i] < labels[example] || (labels[i] == labels[example] && i < example);
    return before;
}

/* Writes a slot's shard and returns its size. */
static uint32_t make_shard(const struct shape *shape, const uint8_t *labels, uint32_t slot, uint32_t *shard)
{
    uint32_t n = shape->examples, w = shape->workers;
    uint32_t first = n < w ? slot % n : slot * n / w, end = n < w ? first + 1 : (slot + 1) * n / w;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = place_of(i, labels, n);

        if (place >= first && place < end)
            shard[place - first] = i;
    }
    return end - first;
}

/* The shards are a partition: every example is in the batches of one slot and no other's (where there are fewer
 * examples than slots, of each slot that shares it), and that slot has all of its shard in every epoch. */
START_TEST(test_shards_are_a_partition)
{
    const struct shape *shape = &shapes[_i];
    uint8_t *labels = make_labels(shape->examples);
    struct sp_batches *batches = create_by_label(3, shape, labels);
    uint32_t rounds = (uint32_t)sp_batches_epoch_rounds(batches), n = shape->examples, owners = 0;
    bool *seen = calloc(n, sizeof *seen);
    uint32_t *indices = calloc(shape->batch, sizeof *indices), *shard = calloc(n, sizeof *shard);

    ck_assert(seen != NULL && indices != NULL && shard != NULL);
    for (uint32_t slot = 0; slot < shape->workers; slot++) {
        uint32_t size = make_shard(shape, labels, slot, shard);

        ck_assert_uint_ge(size, 1);
        owners += size;
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            memset(seen, 0, n * sizeof *seen);
            for (uint32_t p = 0; p < rounds; p++) {
                sp_batches_pick(batches, epoch * rounds + p + 1, slot, indices);
                for (uint32_t i = 0; i < shape->batch; i++)
                    seen[indices[i]] = true;
            }
            for (uint32_t i = 0; i < size; i++) {
                ck_assert_msg(seen[shard[i]], "slot %u lacks example %u", slot, shard[i]);
                seen[shard[i]] = false;
            }
            for (uint32_t i = 0; i < n; i++)
                ck_assert_msg(!seen[i], "slot %u has example %u of another's shard", slot, i);
        }
    }
    ck_assert_uint_eq(owners, n < shape->workers ? shape->workers : n);
    free(labels);
    free(seen);
    free(indices);
    free(shard);
    sp_batches_destroy(batches);
}
END_TEST

/* Every index is that of the formula, the wrap within the shard too, in whatever order rounds and slots are asked for:
 * a worker that takes over a slot goes on as the one before would have. */
START_TEST(test_shards_formula)
{
    const struct shape *shape = &shapes[_i];
    uint8_t *labels = make_labels(shape->examples);
    struct sp_batches *batches = create_by_label(9, shape, labels);
    uint32_t rounds = (uint32_t)sp_batches_epoch_rounds(batches);
    uint32_t *shard = calloc(shape->examples, sizeof *shard), *indices = calloc(shape->batch, sizeof *indices);

    ck_assert(shard != NULL && indices != NULL);
    for (uint32_t t = 2 * rounds + 1; t >= 1; t--) {
        uint32_t k = (t - 1) / rounds, p = (t - 1) % rounds;

        for (uint32_t slot = shape->workers; slot-- > 0;) {
            uint32_t size = make_shard(shape, labels, slot, shard);

            permute(9, k, slot + 1, size, shard);
            sp_batches_pick(batches, t, slot, indices);
            for (uint32_t n = 0; n < shape->batch; n++)
                ck_assert_uint_eq(indices[n], shard[(p * shape->batch + n) % size]);
        }
    }
    free(labels);
    free(shard);
    free(indices);
    sp_batches_destroy(batches);
}
END_TEST

/* Where shards end between labels a worker sees one label only; and it is the labels that count, not the indices. */
START_TEST(test_shards_keep_labels_apart)
{
    const struct shape shape = {60, 3, 4};
    uint8_t labels[60];
    struct sp_batches *batches;
    uint32_t indices[4];

    for (uint32_t i = 0; i < 60; i++)
        labels[i] = (uint8_t)(2 - i % 3);
    batches = create_by_label(1, &shape, labels);
    for (uint32_t t = 1; t <= 15; t++) {
        for (uint32_t slot = 0; slot < 3; slot++) {
            sp_batches_pick(batches, t, slot, indices);
            for (uint32_t n = 0; n < 4; n++)
                ck_assert_uint_eq(labels[indices[n]], slot);
        }
    }
    sp_batches_destroy(batches);
}
END_TEST

/* A worker that joins in the middle, with nothing but the options, takes what the one before it would have taken;
 * another seed or epoch gives another order. The labels may be gone once the batches are made. */
START_TEST(test_shards_follow_from_the_options)
{
    const struct shape shape = {96, 3, 8};
    uint8_t *labels = make_labels(shape.examples);
    struct sp_batches *one = create_by_label(1, &shape, labels), *again = create_by_label(1, &shape, labels);
    struct sp_batches *other = create_by_label(2, &shape, labels);
    uint32_t last[32], late[32], seed[32], epoch[32];

    memset(labels, 0, shape.examples);
    free(labels);
    for (uint32_t t = 1; t <= 8; t++)
        sp_batches_pick(one, t, t % 3, last);
    for (uint32_t p = 0; p < 4; p++) {
        sp_batches_pick(one, 4 + p + 1, 2, last + 8 * p);
        sp_batches_pick(again, 4 + p + 1, 2, late + 8 * p);
        sp_batches_pick(other, 4 + p + 1, 2, seed + 8 * p);
        sp_batches_pick(again, 8 + p + 1, 2, epoch + 8 * p);
    }
    ck_assert_mem_eq(last, late, sizeof last);
    ck_assert_mem_ne(last, seed, sizeof last);
    ck_assert_mem_ne(last, epoch, sizeof last);
    sp_batches_destroy(one);
    sp_batches_destroy(again);
    sp_batches_destroy(other);
}
END_TEST

/* As test_pinned: the numbers are of an implementation in Python, written from batch.h. Round 2 wraps in slots 0 and 1,
 * whose shards have 3 items; slot 2's has 4. */
START_TEST(test_shards_pinned)
{
    static const uint8_t labels[10] = {3, 0, 2, 1, 0, 2, 3, 1, 1, 0};
    static const uint32_t expected[3][6] = {{1, 9, 8, 7, 6, 2}, {4, 1, 3, 8, 5, 0}, {4, 9, 3, 7, 6, 5}};
    const struct shape shape = {10, 3, 2};
    struct sp_batches *batches = create_by_label(1, &shape, labels);
    uint32_t indices[6];

    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t slot = 0; slot < 3; slot++)
            sp_batches_pick(batches, i + 1, slot, indices + 2 * slot);
        ck_assert_mem_eq(indices, expected[i], sizeof indices);
    }
    sp_batches_destroy(batches);
}
END_TEST

START_TEST(test_destroy_nothing)
{
    sp_batches_destroy(NULL);
}
END_TEST

int main(void)
{
    const int count = (int)(sizeof shapes / sizeof shapes[0]);
    Suite *all = suite_create("batch");
    TCase *cases = tcase_create("batch");

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_epoch_is_complete, 0, count);
    tcase_add_loop_test(cases, test_formula, 0, count);
    tcase_add_test(cases, test_seed_and_epoch);
    tcase_add_test(cases, test_pinned);
    tcase_add_test(cases, test_shuffle_is_fair);
    tcase_add_loop_test(cases, test_shards_are_a_partition, 0, count);
    tcase_add_loop_test(cases, test_shards_formula, 0, count);
    tcase_add_test(cases, test_shards_keep_labels_apart);
    tcase_add_test(cases, test_shards_follow_from_the_options);
    tcase_add_test(cases, test_shards_pinned);
    tcase_add_test(cases, test_destroy_nothing);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
