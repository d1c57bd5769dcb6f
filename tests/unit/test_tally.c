/* The window between workers and the vote. */
#include "server/tally.h"
#include "tests/unit/unit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct sp_round_form signs = {.phase = SP_PHASE_SIGN}, margins = {.phase = SP_PHASE_MARGIN},
                                  values = {.phase = SP_PHASE_SGD}, halves = {SP_PHASE_SGD, SP_WIRE_BF16, false, false},
                                  bytes = {.phase = SP_PHASE_SGD, .wire = SP_WIRE_I8};

static struct sp_tally tally;
static struct sp_layout layout;

/* A window for a model of `coordinates`, the last three of which travel in full, and of `buffers`. */
static void open_tally(unsigned slots, uint64_t coordinates, uint64_t buffers)
{
    const struct sp_tensor w = {.name = "w", .dims = 1, .shape = {coordinates - 3}};
    const struct sp_tensor b = {.name = "b", .dims = 1, .shape = {3}};
    const struct sp_tensor running = {.name = "running", .dims = 1, .shape = {buffers}, .flags = SP_TENSOR_BUFFER};

    ck_assert_int_eq(sp_layout_add(&layout, &w, NULL), SP_OK);
    ck_assert_int_eq(sp_layout_add(&layout, &b, NULL), SP_OK);
    if (buffers > 0)
        ck_assert_int_eq(sp_layout_add(&layout, &running, NULL), SP_OK);
    sp_tally_init(&tally, slots, &layout);
}

static void close_tally(void)
{
    sp_tally_finish(&tally);
    sp_layout_finish(&layout);
}

static uint8_t *place(unsigned slot)
{
    int code = 1;
    uint8_t *at = sp_tally_place(&tally, slot, &code);

    ck_assert_int_eq(code, SP_OK);
    return at;
}

/* The chunks of a round are those of its form, whatever the form before it. */
START_TEST(test_chunks_of_all_forms)
{
    struct sp_round_form with_buffers = margins;
    struct sp_chunk chunk;

    open_tally(3, 2ull * SP_CHUNK_SIGNS + 13, 5);
    sp_tally_begin(&tally, &signs);
    ck_assert_uint_eq(tally.chunks, 3);
    chunk = sp_tally_chunk(&tally, 2);
    ck_assert_uint_eq(chunk.first, 2ull * SP_CHUNK_SIGNS);
    ck_assert_uint_eq(chunk.count, 13);
    ck_assert_uint_eq(chunk.bytes, 2);
    sp_tally_begin(&tally, &margins);
    ck_assert_uint_eq(tally.chunks, 17);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 15).count, SP_CHUNK_MARGIN);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 15).bytes, SP_CHUNK_MARGIN / 8);
    with_buffers.buffers = true;
    sp_tally_begin(&tally, &with_buffers);
    ck_assert_uint_eq(tally.chunks, 18);
    ck_assert_int_eq(sp_tally_chunk(&tally, 17).section, SP_SECTION_BUFFERS);
    sp_tally_begin(&tally, &values);
    ck_assert_uint_eq(tally.chunks, 65);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 63).bytes, SP_BULK_BYTES_MAX);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 64).bytes, 52);
    sp_tally_begin(&tally, &halves);
    ck_assert_uint_eq(tally.chunks, 33);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 32).bytes, 26);
    sp_tally_begin(&tally, &bytes);
    ck_assert_uint_eq(tally.chunks, 33);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 31).bytes, SP_CHUNK_SHORT + SP_CHUNK_SHORT / SP_I8_BLOCK * 4);
    ck_assert_uint_eq(sp_tally_chunk(&tally, 32).bytes, 13 + 2 * 4); /* a block of each tensor */
    close_tally();
}
END_TEST

/* No more than the window ahead of `base`, however large the round; the places of a slot do not overlap. */
START_TEST(test_window)
{
    uint8_t *places[SP_TALLY_WINDOW];

    open_tally(2, 20ull * SP_CHUNK_VALUES, 0);
    sp_tally_begin(&tally, &values);
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
    close_tally();
}
END_TEST

START_TEST(test_votes_come_in_order_of_slots)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];
    static const unsigned order[] = {254, 3, 0, 77};

    open_tally(255, 3ull * SP_CHUNK_VALUES, 0);
    sp_tally_begin(&tally, &values);
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
    close_tally();
}
END_TEST

/* Where a chunk was placed is where its vote is found, all the way round the window and on. */
START_TEST(test_votes_lie_where_they_were_placed)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];

    open_tally(1, 11ull * SP_CHUNK_VALUES, 0);
    sp_tally_begin(&tally, &values);
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
    close_tally();
}
END_TEST

START_TEST(test_begin_forgets)
{
    uint8_t slots[SP_SLOTS_MAX];
    const uint8_t *votes[SP_SLOTS_MAX];
    uint8_t *before;

    open_tally(2, 6ull * SP_CHUNK_VALUES, 0);
    sp_tally_begin(&tally, &values);
    before = place(1);
    for (unsigned k = 0; k < SP_TALLY_WINDOW; k++) {
        (void)place(1);
        sp_tally_arrived(&tally, 1);
    }
    tally.base = 2;
    sp_tally_begin(&tally, &signs);
    ck_assert_uint_eq(tally.base, 0);
    ck_assert_uint_eq(sp_tally_votes(&tally, slots, votes), 0);
    ck_assert_ptr_eq(place(1), before); /* the buffer is kept */
    sp_tally_finish(&tally);
    close_tally(); /* twice is as good as once */
}
END_TEST

int main(void)
{
    Suite *all = suite_create("tally");
    TCase *cases = tcase_create("tally");

    tcase_add_test(cases, test_chunks_of_all_forms);
    tcase_add_test(cases, test_window);
    tcase_add_test(cases, test_votes_come_in_order_of_slots);
    tcase_add_test(cases, test_votes_lie_where_they_were_placed);
    tcase_add_test(cases, test_begin_forgets);
    suite_add_tcase(all, cases);
    return unit_run_all(all);
}
