/* The window between workers and the vote. */
#include "server/tally.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct sp_tally tally;

static uint8_t *place(unsigned slot)
{
    int code = 1;
    uint8_t *at = sp_tally_place(&tally, slot, &code);

    ck_assert_int_eq(code, SP_OK);
    return at;
}

START_TEST(test_chunks_of_both_phases)
{
    sp_tally_init(&tally, 3, 2ull * SP_CHUNK_SIGNS + 13);
    sp_tally_begin(&tally, SP_PHASE_SIGN);
    ck_assert_uint_eq(tally.chunks, 3);
    ck_assert_uint_eq(sp_tally_first(&tally, 2), 2ull * SP_CHUNK_SIGNS);
    ck_assert_uint_eq(sp_tally_count(&tally, 1), SP_CHUNK_SIGNS);
    ck_assert_uint_eq(sp_tally_count(&tally, 2), 13);
    ck_assert_uint_eq(sp_tally_bytes(&tally, 1), SP_BULK_BYTES_MAX);
    ck_assert_uint_eq(sp_tally_bytes(&tally, 2), 2);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    ck_assert_uint_eq(tally.chunks, 65);
    ck_assert_uint_eq(sp_tally_first(&tally, 64), 2ull * SP_CHUNK_SIGNS);
    ck_assert_uint_eq(sp_tally_count(&tally, 63), SP_CHUNK_VALUES);
    ck_assert_uint_eq(sp_tally_bytes(&tally, 63), SP_BULK_BYTES_MAX);
    ck_assert_uint_eq(sp_tally_count(&tally, 64), 13);
    ck_assert_uint_eq(sp_tally_bytes(&tally, 64), 52);
    sp_tally_finish(&tally);
    /* Just as many as fit. */
    sp_tally_init(&tally, 1, SP_CHUNK_SIGNS);
    sp_tally_begin(&tally, SP_PHASE_SIGN);
    ck_assert_uint_eq(tally.chunks, 1);
    ck_assert_uint_eq(sp_tally_bytes(&tally, 0), SP_BULK_BYTES_MAX);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    ck_assert_uint_eq(tally.chunks, 32);
    sp_tally_finish(&tally);
}
END_TEST

/* No more than the window ahead of `base`, however large the round; the places of a slot do not overlap. */
START_TEST(test_window)
{
    uint8_t *places[SP_TALLY_WINDOW];

    sp_tally_init(&tally, 2, 20ull * SP_CHUNK_VALUES);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    for (unsigned k = 0; k < SP_TALLY_WINDOW; k++) {
        places[k] = place(0);
        ck_assert_ptr_nonnull(places[k]);
        ck_assert_ptr_eq(place(0), places[k]); /* asked again before it arrived */
        memset(places[k], (int)k + 1, SP_BULK_BYTES_MAX);
        sp_tally_arrived(&tally, 0);
    }
    ck_assert_ptr_null(place(0));
    ck_assert_ptr_nonnull(place(1)); /* the other slot has its own */
    for (unsigned k = 0; k < SP_TALLY_WINDOW; k++) {
        ck_assert_uint_eq(places[k][0], k + 1);
        ck_assert_uint_eq(places[k][SP_BULK_BYTES_MAX - 1], k + 1);
    }
    tally.base++;
    ck_assert_ptr_eq(place(0), places[0]);
    sp_tally_arrived(&tally, 0);
    ck_assert_ptr_null(place(0));
    sp_tally_finish(&tally);
}
END_TEST

START_TEST(test_votes_come_in_order_of_slots)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];
    static const unsigned order[] = {254, 3, 0, 77};

    sp_tally_init(&tally, 255, 3ull * SP_CHUNK_VALUES);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 0);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k <= i % 2; k++) {
            *place(order[i]) = (uint8_t)(order[i] + k);
            sp_tally_arrived(&tally, order[i]);
        }
    }
    ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 4);
    ck_assert_mem_eq(slots, ((uint8_t[]){0, 3, 77, 254}), 4);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(votes[i][0], slots[i]);
    tally.base = 1; /* only 3 and 77 gave a second chunk */
    ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 2);
    ck_assert_mem_eq(slots, ((uint8_t[]){3, 77}), 2);
    ck_assert_uint_eq(votes[1][0], 78);
    sp_tally_finish(&tally);
}
END_TEST

/* Where a chunk was placed is where its vote is found, all the way round the window and on. */
START_TEST(test_votes_lie_where_they_were_placed)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];

    sp_tally_init(&tally, 1, 11ull * SP_CHUNK_VALUES);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    for (unsigned k = 0; k < 11 + SP_TALLY_WINDOW - 1; k++) {
        if (k < 11) {
            uint8_t *at = place(0);

            ck_assert_ptr_nonnull(at);
            at[0] = (uint8_t)k;
            sp_tally_arrived(&tally, 0);
        }
        if (k < SP_TALLY_WINDOW - 1)
            continue;
        ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 1);
        ck_assert_uint_eq(votes[0][0], tally.base);
        tally.base++;
    }
    ck_assert_uint_eq(tally.base, 11);
    sp_tally_finish(&tally);
}
END_TEST

START_TEST(test_begin_forgets)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];
    uint8_t *before;

    sp_tally_init(&tally, 2, 6ull * SP_CHUNK_VALUES);
    sp_tally_begin(&tally, SP_PHASE_SGD);
    before = place(1);
    for (unsigned k = 0; k < SP_TALLY_WINDOW; k++) {
        (void)place(1);
        sp_tally_arrived(&tally, 1);
    }
    tally.base = 2;
    sp_tally_begin(&tally, SP_PHASE_SIGN);
    ck_assert_uint_eq(tally.base, 0);
    ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 0);
    ck_assert_ptr_eq(place(1), before); /* the buffer is kept */
    sp_tally_finish(&tally);
    sp_tally_finish(&tally);
}
END_TEST

int main(void)
{
    Suite *all = suite_create("tally");
    TCase *cases = tcase_create("tally");
    SRunner *runner = srunner_create(all);
    int failed;

    tcase_add_test(cases, test_chunks_of_both_phases);
    tcase_add_test(cases, test_window);
    tcase_add_test(cases, test_votes_come_in_order_of_slots);
    tcase_add_test(cases, test_votes_lie_where_they_were_placed);
    tcase_add_test(cases, test_begin_forgets);
    suite_add_tcase(all, cases);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
