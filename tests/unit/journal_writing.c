#include "proto/frame.h"
#include "tests/unit/files.h"
#include "tests/unit/journal_cases.h"
#include "tests/unit/journal_made.h"
#include "unit.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES 32

static char folder[256];
static uint8_t bytes[1 << 16];

static void setup(void)
{
    char name[32];

    (void)snprintf(name, sizeof name, "journal.%d", (int)getpid());
    (void)snprintf(folder, sizeof folder, "%s", files_path(name));
}

static void open_with(enum sp_fsync fsync)
{
    journal_open(folder, JOURNAL_RUN, fsync);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* --- what is written -------------------------------------------------------------------------------------------------
 */

/* All of it comes back, whatever is forced to the disk, from any segment on. */
START_TEST(test_round_trip)
{
    open_with((enum sp_fsync)_i);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 30);
    sp_journal_begin(journal(), 30);
    journal_wait();
    journal_rounds(31, 70);
    sp_journal_begin(journal(), 70);
    journal_close();
    journal_expect(folder, 0, 70);
    journal_expect(folder, 30, 70);
    journal_expect(folder, 45, 70);
    journal_expect(folder, 70, 0);
    ck_assert_uint_eq(journal_size(journal_path(folder, 70)), HEADER_BYTES);
    ck_assert_uint_eq(journal_failures, 0);
}
END_TEST

/* The format is pinned: what another program made (tests/fixtures/make_fixtures.py) begins with what we write of it. */
START_TEST(test_fixture)
{
    static const uint8_t first[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, second[] = {7, 7, 7, 7, 7, 7, 7, 7};
    const struct sp_entry chunk = {.type = SP_ENTRY_CHUNK, .round = 42, .count = 100, .bytes = 13, .voters = 3};
    const struct sp_entry full = {.type = SP_ENTRY_CHUNK,
                                  .flags = SP_FRAME_FULL | SP_FRAME_LAST,
                                  .round = 42,
                                  .count = 2,
                                  .bytes = 8,
                                  .voters = 3};
    uint8_t theirs[4096];
    char path[400];
    size_t count;

    open_with(SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 41);
    ck_assert_int_eq(sp_journal_add(journal(), &chunk, first, NULL), SP_OK);
    ck_assert_int_eq(sp_journal_add(journal(), &full, second, NULL), SP_OK);
    ck_assert_int_eq(sp_journal_commit(journal(), 42, "the state after round 42", 24), SP_OK);
    journal_close();
    (void)snprintf(path, sizeof path, "%s/tests/fixtures/journal/0000000041.journal", getenv("SP_SOURCE_ROOT"));
    count = journal_load(path, theirs, sizeof theirs);
    ck_assert_uint_gt(count, 224);
    ck_assert_uint_eq(journal_load(journal_path(folder, 41), bytes, sizeof bytes), 224);
    ck_assert_mem_eq(bytes, theirs, 224);
}
END_TEST

struct large {
    unsigned entries;
    uint32_t body_bytes, state_bytes;
};

static int count_large(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    struct large *large = arg;
    const uint8_t *at = body;
    uint32_t wanted = entry->type == SP_ENTRY_COMMIT ? large->state_bytes : large->body_bytes;

    (void)error;
    unit_assert(entry->bytes == wanted, "%u bytes, not %u", entry->bytes, wanted);
    for (uint32_t i = 0; i < entry->bytes; i++)
        unit_assert(at[i] == (uint8_t)(i % 251), "byte %u of entry %u", i, large->entries);
    large->entries++;
    return SP_OK;
}

/* The largest bodies, and more entries than are written at once. */
START_TEST(test_large)
{
    const unsigned chunks = 300;
    struct large large = {.body_bytes = SP_BULK_BYTES_MAX, .state_bytes = SP_JOURNAL_BODY_BYTES_MAX};
    uint8_t *body = unit_alloc(SP_JOURNAL_BODY_BYTES_MAX);
    struct sp_journal_scan scan;
    struct sp_error error;

    for (uint32_t i = 0; i < SP_JOURNAL_BODY_BYTES_MAX; i++)
        body[i] = (uint8_t)(i % 251);
    open_with(SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 0);
    for (unsigned i = 0; i < chunks; i++) {
        const struct sp_entry entry = {.type = SP_ENTRY_CHUNK,
                                       .round = 1,
                                       .first = (uint64_t)i * SP_BULK_BYTES_MAX,
                                       .count = 1,
                                       .bytes = large.body_bytes};

        ck_assert_int_eq(sp_journal_add(journal(), &entry, body, NULL), SP_OK);
    }
    ck_assert_int_eq(sp_journal_commit(journal(), 1, body, large.state_bytes), SP_OK);
    ck_assert_uint_gt(sp_journal_pending(journal()), chunks * SP_BULK_BYTES_MAX);
    journal_wait();
    ck_assert_uint_eq(sp_journal_pending(journal()), 0);
    ck_assert_uint_eq(sp_journal_segment_bytes(journal()), journal_size(journal_path(folder, 0)));
    journal_close();
    ck_assert_int_eq(sp_journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX, count_large, &large, &scan, &error), SP_OK);
    ck_assert_uint_eq(large.entries, chunks + 1);
    free(body);
}
END_TEST

/* Rounds 3..10 in a segment of their own, each begun so often; its size. */
static size_t write_anew(uint32_t follows, bool often)
{
    sp_journal_begin(journal(), follows);
    for (uint32_t round = 3; round <= 10; round++) {
        for (unsigned i = 1; often && i <= journal_entries(round); i++)
            journal_add(round, 0, i);
        journal_wait();
        journal_rounds(round, round);
    }
    journal_wait();
    return journal_size(journal_path(folder, follows));
}

/* A round that begins anew, with or without gradients, leaves nothing of what was collected before. */
START_TEST(test_anew)
{
    size_t often;

    open_with(SP_FSYNC_INTERVAL);
    often = write_anew(2, true);
    ck_assert_uint_eq(sp_journal_segment_bytes(journal()), often);
    journal_expect(folder, 2, 10);
    ck_assert_uint_eq(write_anew(11, false), often);
    journal_close();
}
END_TEST

/* A segment that begins in the midst of a record has all of it, and the one before has nothing of it. */
START_TEST(test_begin_within_a_record)
{
    open_with(SP_FSYNC_ALWAYS);
    sp_journal_begin(journal(), 0);
    for (uint32_t round = 1; round <= 12; round++) {
        journal_add(round, 0, 1);
        if (_i != 0)
            journal_wait();
        sp_journal_begin(journal(), round - 1);
        journal_add(round, 1, journal_entries(round) - 1);
        sp_journal_begin(journal(), round - 1);
        journal_commit(round);
    }
    journal_wait();
    ck_assert_uint_eq(sp_journal_segment_bytes(journal()), journal_size(journal_path(folder, 11)));
    journal_close();
    for (uint32_t after = 0; after < 12; after++)
        journal_expect(folder, after, 12);
}
END_TEST

/* --- when it is on the disk ------------------------------------------------------------------------------------------
 */

/* always: what is written is synced when that is told. interval: when it is asked for. never: not at all. */
START_TEST(test_synced)
{
    double longest_ms, mean_ms;

    open_with((enum sp_fsync)_i);
    sp_journal_begin(journal(), 0);
    journal_wait();
    ck_assert_uint_eq(sp_journal_written(journal()), 0);
    journal_syncs = 0;
    for (uint32_t round = 1; round <= 5; round++) {
        journal_rounds(round, round);
        journal_wait();
        ck_assert_uint_eq(sp_journal_written(journal()), round);
        ck_assert_uint_eq(sp_journal_synced(journal()), _i == SP_FSYNC_ALWAYS ? round : 0);
    }
    ck_assert_uint_eq(journal_syncs, _i == SP_FSYNC_ALWAYS ? 5 : 0);
    ck_assert_uint_ge(journal_progresses, 5);
    for (int i = 0; i < 3; i++) {
        sp_journal_sync(journal());
        journal_wait();
        ck_assert_uint_eq(sp_journal_synced(journal()), _i == SP_FSYNC_NEVER ? 0 : 5);
    }
    ck_assert_uint_eq(journal_syncs, _i == SP_FSYNC_ALWAYS ? 5 : _i == SP_FSYNC_INTERVAL ? 1 : 0);
    sp_journal_times(journal(), &longest_ms, &mean_ms);
    ck_assert(mean_ms >= 0.0 && longest_ms >= mean_ms && (longest_ms > 0.0) == (_i != SP_FSYNC_NEVER));
    journal_close();
}
END_TEST

/* Rounds that are complete while others are written share one sync. */
START_TEST(test_together)
{
    open_with(SP_FSYNC_ALWAYS);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 1);
    journal_wait();
    journal_syncs = 0;
    journal_rounds(2, 100);
    journal_wait();
    ck_assert_uint_eq(sp_journal_synced(journal()), 100);
    ck_assert_uint_le(journal_syncs, 3);
    journal_close();
    journal_expect(folder, 0, 100);
}
END_TEST

/* What was written last in a segment is synced before the next one begins: a sync is of one file. */
START_TEST(test_segment_is_synced_at_its_end)
{
    open_with(SP_FSYNC_INTERVAL);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 3);
    journal_wait();
    ck_assert_uint_eq(sp_journal_synced(journal()), 0);
    sp_journal_begin(journal(), 3);
    journal_wait();
    ck_assert_uint_eq(sp_journal_synced(journal()), 3);
    journal_close();
}
END_TEST

/* Lists grow to what a round needs, then no more. */
START_TEST(test_steady_rounds)
{
    open_with(SP_FSYNC_INTERVAL);
    sp_journal_begin(journal(), 0);
    for (uint32_t round = 1; round <= 100; round++) {
        journal_rounds(round, round);
        journal_wait();
    }
    journal_grows = 0;
    for (uint32_t round = 101; round <= 500; round++) {
        journal_rounds(round, round);
        journal_wait();
    }
    ck_assert_uint_eq(journal_grows, 0);
    journal_close();
    journal_expect(folder, 0, 500);
}
END_TEST

static uint32_t next_round;

static void write_next(void)
{
    if (next_round <= 50)
        journal_rounds(next_round, next_round);
    next_round++;
}

/* What is told may bring the next round at once. */
START_TEST(test_from_within)
{
    open_with(SP_FSYNC_ALWAYS);
    journal_on_progress = write_next;
    next_round = 2;
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 1);
    journal_close(); /* waits for what follows as well */
    journal_expect(folder, 0, 50);
}
END_TEST

/* --- failures --------------------------------------------------------------------------------------------------------
 */

/* Rounds 1..last are on the disk. */
static void begin_well(uint32_t last)
{
    open_with(SP_FSYNC_ALWAYS);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, last);
    journal_wait();
    ck_assert_uint_eq(sp_journal_synced(journal()), last);
}

/* Told once, with words; up to round `good` all is there. */
static void end_badly(uint32_t last, const char *words, uint32_t good)
{
    journal_rounds(last + 1, last + 10);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 1);
    ck_assert(!sp_journal_is_well(journal()));
    ck_assert_msg(strstr(journal_words.text, words) != NULL, "%s", journal_words.text);
    ck_assert_uint_eq(sp_journal_pending(journal()), 0);
    journal_expect(folder, 0, good);
}

/* Rounds go on without; a segment that begins anew is whole, be it in the midst of a round. */
static void begin_anew(uint32_t round)
{
    uint64_t before = exists(journal_path(folder, 0)) ? journal_size(journal_path(folder, 0)) : 0;

    journal_write_fails = journal_sync_fails = journal_grow_fails = -1;
    journal_rounds(round - 3, round);
    journal_add(round + 1, 0, 2);
    journal_wait();
    sp_journal_begin(journal(), round);
    ck_assert(sp_journal_is_well(journal()));
    journal_add(round + 1, 2, journal_entries(round + 1) - 2);
    journal_commit(round + 1);
    journal_rounds(round + 2, round + 6);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 1);
    ck_assert_uint_eq(sp_journal_written(journal()), round + 6);
    ck_assert_uint_eq(sp_journal_segment_bytes(journal()), journal_size(journal_path(folder, round)));
    ck_assert_uint_eq(sp_journal_bytes(journal()), before + journal_size(journal_path(folder, round)));
    journal_close();
    journal_expect(folder, round, round + 6);
}

/* The disk is full at any write, after any number of bytes of it. */
START_TEST(test_write_fails)
{
    begin_well(10);
    journal_writes = 0;
    journal_short_write = (size_t)(_i % 16) * 9; /* less than a record */
    journal_write_fails = _i % 3;
    end_badly(10, "free space", 10 + (uint32_t)_i % 3);
    ck_assert_ptr_nonnull(strstr(journal_words.text, "0000000000.journal"));
    ck_assert_ptr_nonnull(strstr(journal_words.text, "No space left"));
    begin_anew(24);
}
END_TEST

/* No room even for a segment's header: there is no file then. */
START_TEST(test_header_fails)
{
    open_with(SP_FSYNC_ALWAYS);
    journal_short_write = (size_t)_i * 10;
    journal_write_fails = 0;
    sp_journal_begin(journal(), 6);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 1);
    ck_assert(!exists(journal_path(folder, 6)));
    journal_write_fails = -1;
    sp_journal_begin(journal(), 6);
    journal_rounds(7, 8);
    journal_close();
    journal_expect(folder, 6, 8);
}
END_TEST

/* Records that are written stay, whether or not the sync of them fails; but nobody is told that they are synced. */
START_TEST(test_sync_fails)
{
    begin_well(10);
    journal_add(11, 0, journal_entries(11));
    journal_syncs = 0;
    journal_sync_fails = 0;
    journal_commit(11);
    journal_wait();
    ck_assert_uint_eq(sp_journal_written(journal()), 11);
    ck_assert_uint_eq(sp_journal_synced(journal()), 10);
    ck_assert_uint_eq(journal_syncs, 1); /* a second one would find nothing to do, and succeed */
    ck_assert_uint_eq(journal_failures, 1);
    ck_assert_ptr_nonnull(strstr(journal_words.text, "cannot sync"));
    journal_sync_fails = -1;
    journal_rounds(12, 12);
    sp_journal_begin(journal(), 12);
    journal_rounds(13, 13);
    journal_wait();
    ck_assert_uint_eq(sp_journal_synced(journal()), 13);
    journal_close();
    journal_expect(folder, 12, 13);
}
END_TEST

/* The system's own limit. */
START_TEST(test_file_is_too_large)
{
    struct rlimit limit;

    begin_well(400);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = journal_size(journal_path(folder, 0)) + 100;
    ck_assert_uint_gt(limit.rlim_cur, 65536); /* what check writes of this test is less */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    end_badly(400, "ulimit -f", 400);
    begin_anew(424);
}
END_TEST

/* Without memory at any moment: a record is whole, or not there. */
START_TEST(test_no_memory)
{
    static uint8_t body[SP_BULK_BYTES_MAX];
    const struct sp_entry entry = {.type = SP_ENTRY_CHUNK, .round = 11, .bytes = sizeof body, .count = 1};
    struct sp_entry second = entry;

    begin_well(10);
    second.first = 1;
    journal_grows = 0;
    journal_grow_fails = _i;
    (void)sp_journal_add(journal(), &entry, body, NULL);
    (void)sp_journal_add(journal(), &second, body, NULL);
    ck_assert_int_eq(sp_journal_commit(journal(), 11, body, sizeof body), _i == 2 ? SP_E_NOMEM : SP_OK);
    ck_assert(!sp_journal_is_well(journal()));
    ck_assert_uint_eq(journal_failures, 0); /* it is told from the loop */
    journal_wait();
    ck_assert_uint_eq(journal_failures, 1);
    ck_assert_ptr_nonnull(strstr(journal_words.text, "no memory for the journal's record of round 11"));
    journal_grow_fails = -1;
    sp_journal_begin(journal(), 11);
    journal_rounds(12, 20);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 1);
    journal_close();
    journal_expect(folder, 11, 20);
    journal_read(folder, JOURNAL_RUN, 0, 10);
    ck_assert_uint_eq(journal_scan.last, 10);
}
END_TEST

/* An entry is missing from a record for lack of memory: if the journal begins anew within it, it fails again. */
START_TEST(test_no_memory_and_begun_anew)
{
    static uint8_t body[SP_BULK_BYTES_MAX];
    const struct sp_entry entry = {.type = SP_ENTRY_CHUNK, .round = 11, .bytes = sizeof body, .count = 1};
    struct sp_entry second = entry;

    begin_well(10);
    journal_grows = 0;
    journal_grow_fails = 0;
    ck_assert_int_eq(sp_journal_add(journal(), &entry, body, NULL), SP_E_NOMEM);
    journal_grow_fails = -1;
    second.first = 1;
    ck_assert_int_eq(sp_journal_add(journal(), &second, body, NULL), SP_E_NOMEM); /* nothing is held in vain */
    ck_assert_uint_eq(sp_journal_pending(journal()), 0);
    journal_wait();
    sp_journal_begin(journal(), 10);
    ck_assert_int_eq(sp_journal_commit(journal(), 11, "", 0), SP_E_NOMEM);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 2);
    journal_close();
    journal_expect(folder, 0, 10);
}
END_TEST

/* A folder that cannot be written in. */
START_TEST(test_no_folder)
{
    struct sp_journal *none;
    struct sp_error error;

    (void)files_write("file", "x", 1);
    ck_assert_int_eq(sp_journal_create(&none, NULL, files_path("file/journal"), 1, SP_FSYNC_NEVER, NULL, NULL, &error),
                     SP_E_IO);
    ck_assert_ptr_null(none);
    ck_assert_ptr_nonnull(strstr(error.text, "/file/journal"));
    open_with(SP_FSYNC_ALWAYS);
    ck_assert_int_eq(mkdir(journal_path(folder, 5), 0777), 0);
    sp_journal_begin(journal(), 5);
    journal_rounds(6, 8);
    journal_wait();
    ck_assert_uint_eq(journal_failures, 0); /* it was in the way, and was set aside */
    journal_close();
    journal_expect(folder, 5, 8);
}
END_TEST

/* --- segments --------------------------------------------------------------------------------------------------------
 */

static void make_segments(void)
{
    for (uint32_t round = 0; round < 50; round += 10) {
        sp_journal_begin(journal(), round);
        journal_rounds(round + 1, round + 10);
    }
    journal_wait();
}

static unsigned segments_left(void)
{
    unsigned count = 0;

    for (uint32_t round = 0; round < 100; round++)
        count += exists(journal_path(folder, round));
    return count;
}

/* What no checkpoint needs goes, the present segment stays, and so does another run's. */
START_TEST(test_prune)
{
    uint64_t all;

    journal_open(folder, 77, SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 5);
    journal_rounds(6, 6);
    journal_close();
    open_with(SP_FSYNC_INTERVAL);
    make_segments();
    all = sp_journal_bytes(journal());
    sp_journal_prune(journal(), 9, 0);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 6);
    sp_journal_prune(journal(), 29, 0);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 4);
    ck_assert(exists(journal_path(folder, 20)) && exists(journal_path(folder, 5)));
    ck_assert_uint_lt(sp_journal_bytes(journal()), all);
    sp_journal_prune(journal(), 1000, 0);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 2);
    ck_assert_uint_eq(sp_journal_bytes(journal()), journal_size(journal_path(folder, 40)));
    journal_close();
    journal_expect(folder, 40, 50);
}
END_TEST

/* As much as is asked for is kept, from the newest on. */
START_TEST(test_prune_by_bytes)
{
    uint64_t all;

    open_with(SP_FSYNC_ALWAYS);
    make_segments();
    all = sp_journal_bytes(journal());
    sp_journal_prune(journal(), 1000, all);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 5);
    sp_journal_prune(journal(), 1000, all - 1);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 4);
    ck_assert(!exists(journal_path(folder, 0)));
    sp_journal_prune(journal(), 15, 1);
    journal_wait();
    ck_assert_uint_eq(segments_left(), 4); /* that of round 10 goes to 20 */
    journal_close();
    journal_expect(folder, 10, 50);
}
END_TEST

/* Two runs share a folder: each reads its own, and does not destroy the other's. */
START_TEST(test_two_runs)
{
    char aside[420];

    journal_open(folder, 1, SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 5);
    sp_journal_begin(journal(), 5);
    journal_rounds(6, 8);
    journal_close();
    journal_open(folder, 2, SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 0);
    journal_rounds(1, 3);
    sp_journal_begin(journal(), 3);
    journal_rounds(4, 9);
    journal_wait();
    ck_assert_uint_eq(sp_journal_bytes(journal()),
                      journal_size(journal_path(folder, 0)) + journal_size(journal_path(folder, 3)));
    journal_close();
    ck_assert_int_eq(journal_read(folder, 2, 0, UINT32_MAX), SP_OK);
    ck_assert_uint_eq(journal_scan.last, 9);
    ck_assert(!journal_scan.torn && !journal_scan.gap);
    ck_assert_int_eq(journal_read(folder, 1, 5, UINT32_MAX), SP_OK);
    ck_assert_uint_eq(journal_scan.last, 8);
    (void)snprintf(aside, sizeof aside, "%s.damaged", journal_path(folder, 0));
    ck_assert(exists(aside));
}
END_TEST

TCase *journal_writing(void)
{
    TCase *tests = tcase_create("writing");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, test_round_trip, SP_FSYNC_ALWAYS, SP_FSYNC_NEVER + 1);
    tcase_add_test(tests, test_fixture);
    tcase_add_test(tests, test_large);
    tcase_add_test(tests, test_anew);
    tcase_add_loop_test(tests, test_begin_within_a_record, 0, 2);
    tcase_add_loop_test(tests, test_synced, SP_FSYNC_ALWAYS, SP_FSYNC_NEVER + 1);
    tcase_add_test(tests, test_together);
    tcase_add_test(tests, test_segment_is_synced_at_its_end);
    tcase_add_test(tests, test_steady_rounds);
    tcase_add_test(tests, test_from_within);
    tcase_add_loop_test(tests, test_write_fails, 0, 30);
    tcase_add_loop_test(tests, test_header_fails, 0, 3);
    tcase_add_test(tests, test_sync_fails);
    tcase_add_test(tests, test_file_is_too_large);
    tcase_add_loop_test(tests, test_no_memory, 0, 3);
    tcase_add_test(tests, test_no_memory_and_begun_anew);
    tcase_add_test(tests, test_no_folder);
    tcase_add_test(tests, test_prune);
    tcase_add_test(tests, test_prune_by_bytes);
    tcase_add_test(tests, test_two_runs);
    return tests;
}
