#include "server/journal_format.h"
#include "tests/unit/files.h"
#include "tests/unit/journal_cases.h"
#include "tests/unit/journal_made.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#define FILE_BYTES_MAX 131072
#define ROUNDS 6

static char folder[256];
static uint8_t file[FILE_BYTES_MAX];
static size_t bytes;            /* of the last segment, which is loaded */
static size_t ends[ROUNDS + 1]; /* where the record of each round ends in it */

static void setup(void)
{
    char name[32];

    (void)snprintf(name, sizeof name, "damage.%d", (int)getpid());
    (void)snprintf(folder, sizeof folder, "%s", files_path(name));
}

static void open_at(uint32_t round)
{
    journal_open(folder, JOURNAL_RUN, SP_FSYNC_NEVER);
    sp_journal_begin(journal(), round);
}

/* One segment of rounds 1..ROUNDS. */
static void make_one(void)
{
    open_at(0);
    ends[0] = SP_SEGMENT_HEADER_BYTES;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        journal_rounds(round, round);
        ends[round] = (size_t)sp_journal_segment_bytes(journal());
    }
    journal_close();
    bytes = journal_load(journal_path(folder, 0), file, sizeof file);
    ck_assert_uint_eq(bytes, ends[ROUNDS]);
}

/* The round whose record holds byte `at`, or ends there. */
static uint32_t round_of(size_t at)
{
    uint32_t round = 0;

    while (round < ROUNDS && ends[round] <= at)
        round++;
    return round;
}

static void read_all(void)
{
    ck_assert_msg(journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX) == SP_OK, "%s", journal_read_words.text);
}

static void mend(void)
{
    struct sp_error error;

    ck_assert_msg(sp_journal_mend(folder, &journal_scan, &error) == SP_OK, "%s", error.text);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static const char *aside(uint32_t round)
{
    static char path[420];

    (void)snprintf(path, sizeof path, "%s.damaged", journal_path(folder, round));
    return path;
}

/* --- the format ------------------------------------------------------------------------------------------------------
 */

struct fixture {
    struct sp_entry entry;
    uint8_t first_byte;
};

/* What counts of tests/fixtures/journal: of round 43, which began anew, the second part. */
static const struct fixture fixtures[] = {
    {{SP_ENTRY_CHUNK, 0, 42, 100, 0, 13, 3}, 0},
    {{SP_ENTRY_CHUNK, SP_FRAME_FULL | SP_FRAME_LAST, 42, 2, 0, 8, 3}, 7},
    {{SP_ENTRY_COMMIT, 0, 42, 0, 0, 24, 0}, 't'},
    {{SP_ENTRY_GRADIENT, 0, 43, 5, 0, 20, 1}, 200},
    {{SP_ENTRY_CHUNK, 0, 43, 100, 0, 13, 1}, 0x55},
    {{SP_ENTRY_CHUNK, SP_FRAME_BUFFERS | SP_FRAME_LAST, 43, 0, UINT64_C(1) << 33, 0, 1}, 0},
    {{SP_ENTRY_COMMIT, 0, 43, 0, 0, 0, 0}, 0},
};

static int take_fixture(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    size_t *i = arg;
    const struct sp_entry *wanted = &fixtures[*i].entry;

    (void)error;
    ck_assert_uint_lt(*i, UNIT_COUNT(fixtures));
    ck_assert_int_eq(entry->type, wanted->type);
    ck_assert_uint_eq(entry->flags, wanted->flags);
    ck_assert_uint_eq(entry->round, wanted->round);
    ck_assert_uint_eq(entry->count, wanted->count);
    ck_assert_uint_eq(entry->first, wanted->first);
    ck_assert_uint_eq(entry->bytes, wanted->bytes);
    ck_assert_uint_eq(entry->voters, wanted->voters);
    ck_assert_ptr_nonnull(body);
    if (entry->bytes > 0)
        ck_assert_uint_eq(*(const uint8_t *)body, fixtures[*i].first_byte);
    (*i)++;
    return SP_OK;
}

START_TEST(test_fixture)
{
    char path[400];
    size_t i = 0;
    struct sp_error error;

    (void)snprintf(path, sizeof path, "%s/tests/fixtures/journal", getenv("SP_SOURCE_ROOT"));
    ck_assert_int_eq(sp_journal_read(path, JOURNAL_RUN, 41, UINT32_MAX, take_fixture, &i, &journal_scan, &error),
                     SP_OK);
    ck_assert_uint_eq(i, UNIT_COUNT(fixtures));
    ck_assert_uint_eq(journal_scan.last, 43);
    ck_assert(!journal_scan.torn && !journal_scan.gap);
}
END_TEST

START_TEST(test_other_version)
{
    make_one();
    file[7] = '2';
    journal_store(journal_path(folder, 0), file, bytes);
    ck_assert_int_eq(journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX), SP_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(journal_read_words.text, "version '2'"));
    ck_assert_ptr_nonnull(strstr(journal_read_words.text, "0000000000.journal"));
}
END_TEST

static int refuse(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    (void)body;
    if (entry->round < 3)
        return SP_OK;
    ++*(unsigned *)arg;
    return sp_error_set(error, SP_E_MISMATCH, "not this one");
}

/* What is not liked ends the reading, with its words. */
START_TEST(test_refused)
{
    unsigned refused = 0;
    struct sp_error error;

    make_one();
    ck_assert_int_eq(sp_journal_read(folder, 0, 0, UINT32_MAX, refuse, &refused, &journal_scan, &error), SP_E_MISMATCH);
    ck_assert_str_eq(error.text, "not this one");
    ck_assert_uint_eq(refused, 1);
    ck_assert_uint_eq(journal_scan.last, 2);
}
END_TEST

START_TEST(test_nothing)
{
    read_all();
    ck_assert_uint_eq(journal_scan.last, 0);
    ck_assert(!journal_scan.torn && !journal_scan.gap && !journal_scan.more);
    mend();
}
END_TEST

/* --- a torn tail -----------------------------------------------------------------------------------------------------
 */

static void expect_torn(size_t from, size_t end)
{
    unit_assert(journal_scan.torn && !journal_scan.gap && !journal_scan.more, "cut at %zu: not torn", end);
    unit_assert(journal_scan.torn_at == from && journal_scan.torn_bytes == end - from,
                "cut at %zu: torn at %llu, %llu bytes", end, (unsigned long long)journal_scan.torn_at,
                (unsigned long long)journal_scan.torn_bytes);
    unit_assert(strcmp(journal_scan.torn_path, journal_path(folder, 0)) == 0, "torn is %s", journal_scan.torn_path);
}

/* Killed at any byte: what was complete is there, the rest is told and cut, and a new segment follows it. */
START_TEST(test_cut)
{
    make_one();
    for (size_t end = 0; end <= bytes; end++) {
        uint32_t last = end < ends[0] ? 0 : round_of(end) - (round_of(end) > 0 && end < ends[ROUNDS]);
        bool whole = end >= ends[0] && end == ends[last];

        journal_store(journal_path(folder, 0), file, end);
        read_all();
        unit_assert(journal_scan.last == last, "cut at %zu: last is %u, not %u", end, journal_scan.last, last);
        if (whole)
            unit_assert(!journal_scan.torn && !journal_scan.gap, "cut at %zu, where a record ends: not whole", end);
        else
            expect_torn(end < ends[0] ? 0 : ends[last], end);
        mend();
        unit_assert(exists(journal_path(folder, 0)) == (end >= ends[0]), "cut at %zu: a file without a header", end);
        read_all();
        unit_assert(journal_scan.last == last && !journal_scan.torn, "cut at %zu: not mended", end);
        unit_assert(!exists(aside(0)), "cut at %zu: a torn tail is not kept", end);
    }
}
END_TEST

/* A job goes on behind what was cut, as often as it is killed. */
START_TEST(test_go_on)
{
    uint32_t last = 0;

    for (unsigned life = 0; life < 10; life++) {
        size_t size;

        open_at(last);
        journal_rounds(last + 1, last + 5);
        journal_close();
        size = journal_load(journal_path(folder, last), file, sizeof file);
        journal_store(journal_path(folder, last), file, size - 1 - life * 20);
        read_all();
        ck_assert(journal_scan.torn && !journal_scan.gap);
        ck_assert_uint_ge(journal_scan.last, last);
        last = journal_scan.last;
        mend();
    }
    ck_assert_uint_gt(last, 30);
    journal_expect(folder, 0, last);
}
END_TEST

/* Where the tail could not be cut and a new segment followed: that is no gap. */
START_TEST(test_torn_and_gone_on)
{
    make_one();
    open_at(4);
    journal_rounds(5, 9);
    journal_close();
    journal_store(journal_path(folder, 0), file, ends[5] - 8);
    journal_expect(folder, 0, 9);
}
END_TEST

/* --- damage ----------------------------------------------------------------------------------------------------------
 */

/* A bit that is wrong anywhere is found. It ends what is read; whether that is a tail follows from what is behind. */
START_TEST(test_flipped)
{
    make_one();
    for (size_t i = 0; i < bytes; i++) {
        uint32_t damaged = i < ends[0] ? 1 : round_of(i);
        int rc;

        file[i] ^= (uint8_t)(1u << i % 8);
        journal_store(journal_path(folder, 0), file, bytes);
        file[i] ^= (uint8_t)(1u << i % 8);
        rc = journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX);
        unit_assert(rc == (i == 7 ? SP_E_UNSUPPORTED : SP_OK), "byte %zu: %d, %s", i, rc, journal_read_words.text);
        if (i == 7)
            continue;
        unit_assert(journal_scan.last == damaged - 1, "byte %zu, of round %u: last is %u", i, damaged,
                    journal_scan.last);
        unit_assert(journal_scan.gap == (damaged < ROUNDS) && journal_scan.torn == (damaged == ROUNDS),
                    "byte %zu, of round %u: gap %d, torn %d", i, damaged, journal_scan.gap, journal_scan.torn);
    }
}
END_TEST

/* Damage in the midst: what follows is set aside, all of it, and a new segment follows what is good. */
START_TEST(test_gap_within)
{
    static uint8_t rest[FILE_BYTES_MAX];

    make_one();
    open_at(ROUNDS);
    journal_rounds(ROUNDS + 1, ROUNDS + 3);
    journal_close();
    file[ends[3] + 60] ^= 1;
    journal_store(journal_path(folder, 0), file, bytes);
    read_all();
    ck_assert(journal_scan.gap && !journal_scan.torn);
    ck_assert_uint_eq(journal_scan.last, 3);
    mend();
    ck_assert_uint_eq(journal_size(journal_path(folder, 0)), ends[3]);
    ck_assert_uint_eq(journal_load(aside(0), rest, sizeof rest), bytes - ends[3]);
    ck_assert_mem_eq(rest, file + ends[3], bytes - ends[3]);
    ck_assert(exists(aside(ROUNDS)) && !exists(journal_path(folder, ROUNDS)));
    open_at(3);
    journal_rounds(4, 9);
    journal_close();
    journal_expect(folder, 0, 9);
}
END_TEST

/* A segment is missing, or begins too late. */
START_TEST(test_gap_between)
{
    make_one();
    open_at(8);
    journal_rounds(9, 10);
    journal_close();
    read_all();
    ck_assert(journal_scan.gap && !journal_scan.torn);
    ck_assert_uint_eq(journal_scan.last, ROUNDS);
    journal_expect(folder, 8, 10);
    ck_assert_int_eq(unlink(journal_path(folder, 0)), 0);
    read_all();
    ck_assert(journal_scan.gap);
    ck_assert_uint_eq(journal_scan.last, 0);
    mend();
    ck_assert(exists(aside(8)));
    read_all();
    ck_assert(!journal_scan.gap);
}
END_TEST

/* What follows a gap is set aside, but nothing of another run. */
START_TEST(test_gap_beside_another_run)
{
    make_one();
    open_at(8);
    journal_close();
    journal_open(folder, JOURNAL_RUN + 1, SP_FSYNC_NEVER);
    sp_journal_begin(journal(), 9);
    journal_rounds(10, 11);
    journal_close();
    read_all();
    ck_assert(journal_scan.gap);
    mend();
    ck_assert(exists(aside(8)) && !exists(journal_path(folder, 8)));
    ck_assert(exists(journal_path(folder, 9)) && exists(journal_path(folder, 0)));
}
END_TEST

/* Rounds that are there twice are damage: the later ones are not taken for the same. */
START_TEST(test_overlap)
{
    make_one();
    open_at(4);
    journal_rounds(5, 5);
    journal_close();
    read_all();
    ck_assert(journal_scan.gap);
    ck_assert_uint_eq(journal_scan.last, ROUNDS);
}
END_TEST

/* A segment under another's name is none of the rounds that it is named for. */
START_TEST(test_other_name)
{
    make_one();
    ck_assert_int_eq(rename(journal_path(folder, 0), journal_path(folder, 3)), 0);
    ck_assert_int_eq(journal_read(folder, JOURNAL_RUN, 3, UINT32_MAX), SP_OK);
    ck_assert(journal_scan.gap);
    ck_assert_uint_eq(journal_scan.last, 0);
    journal_store(journal_path(folder, 3), file, SP_SEGMENT_HEADER_BYTES);
    ck_assert_int_eq(journal_read(folder, JOURNAL_RUN, 3, UINT32_MAX), SP_OK);
    ck_assert(journal_scan.torn);
    ck_assert_uint_eq(journal_scan.torn_at, 0);
}
END_TEST

/* --- up to a round ---------------------------------------------------------------------------------------------------
 */

/* Up to any round; what follows is said to be there, and set aside if the job goes on from that round. */
START_TEST(test_up_to)
{
    make_one();
    open_at(ROUNDS);
    journal_rounds(ROUNDS + 1, ROUNDS + 3);
    journal_close();
    for (uint32_t to = ROUNDS + 3; to >= 1; to--) {
        ck_assert_int_eq(journal_read(folder, JOURNAL_RUN, 0, to), SP_OK);
        ck_assert_uint_eq(journal_scan.last, to);
        ck_assert(!journal_scan.torn && !journal_scan.gap);
        ck_assert_int_eq(journal_scan.more, to < ROUNDS + 3);
    }
    ck_assert_int_eq(journal_read(folder, JOURNAL_RUN, 0, (uint32_t)_i), SP_OK);
    mend();
    journal_expect(folder, 0, (uint32_t)_i);
    open_at((uint32_t)_i);
    journal_rounds((uint32_t)_i + 1, 20);
    journal_close();
    journal_expect(folder, 0, 20);
}
END_TEST

/* --- what no server writes -------------------------------------------------------------------------------------------
 */

/* Puts an entry behind what is in `file`, its checksums right. */
static void put_entry(struct sp_entry entry)
{
    static const uint8_t zeros[SP_BULK_BYTES_MAX + 8];

    ck_assert_uint_lt(bytes + sp_entry_size(entry.bytes), sizeof file);
    sp_entry_encode(&entry, zeros, file + bytes);
    memset(file + bytes + SP_ENTRY_HEAD_BYTES, 0, sp_entry_size(entry.bytes) - SP_ENTRY_HEAD_BYTES);
    bytes += sp_entry_size(entry.bytes);
}

static void put_record(uint32_t round)
{
    put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = round, .count = 8, .bytes = 1});
    put_entry((struct sp_entry){.type = SP_ENTRY_COMMIT, .round = round});
}

static int count(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    (void)entry;
    (void)body;
    (void)error;
    ++*(unsigned *)arg;
    return SP_OK;
}

/* Reads `file`: rounds up to 1 are good, and the rest is a tail. */
static void expect_refused(size_t from)
{
    struct sp_error error;
    unsigned taken = 0;

    journal_store(journal_path(folder, 0), file, bytes);
    ck_assert_int_eq(sp_journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX, count, &taken, &journal_scan, &error), SP_OK);
    ck_assert_uint_eq(journal_scan.last, 1);
    ck_assert_uint_eq(taken, 2);
    ck_assert(journal_scan.torn);
    ck_assert_uint_eq(journal_scan.torn_at, from);
}

/* Behind round 1, or behind the first chunk of round 2. */
static const struct strange {
    bool within;
    struct sp_entry entry;
} strange[] = {
    {false, {SP_ENTRY_COMMIT, 0, 2, 0, 0, 0, 0}},                     /* of a round without a chunk */
    {false, {SP_ENTRY_CHUNK, 0, 1, 8, 0, 1, 0}},                      /* of a round that was there */
    {false, {SP_ENTRY_CHUNK, 0, 3, 8, 0, 1, 0}},                      /* of one too far on */
    {false, {SP_ENTRY_CHUNK, 0, 2, 8, 8, 1, 0}},                      /* not the first of its round */
    {false, {SP_ENTRY_CHUNK, SP_FRAME_FULL, 2, 8, 0, 1, 0}},          /* nor of its first section */
    {true, {SP_ENTRY_CHUNK, 0, 3, 8, 8, 1, 0}},                       /* of another round than the first */
    {true, {SP_ENTRY_CHUNK, 0, 2, 2, (UINT64_C(1) << 34) - 1, 1, 0}}, /* beyond all coordinates */
    {true, {SP_ENTRY_CHUNK, 0, 2, 0, (UINT64_C(1) << 34) + 1, 1, 0}},
    {true, {SP_ENTRY_CHUNK, 0, 2, 8, 8, SP_BULK_BYTES_MAX + 1, 0}}, /* larger than any */
    {true, {(enum sp_entry_type)4, 0, 2, 8, 8, 1, 0}},              /* of a later version */
    {true, {(enum sp_entry_type)0, 0, 2, 8, 8, 1, 0}},
};

static size_t begin_strange(bool within)
{
    size_t from;

    open_at(0);
    journal_close();
    bytes = journal_load(journal_path(folder, 0), file, sizeof file);
    put_record(1);
    from = bytes;
    if (within)
        put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = 2, .count = 8, .bytes = 1});
    return from;
}

/* An entry that is in order by itself is not taken where it does not belong. */
START_TEST(test_strange_entries)
{
    size_t from = begin_strange(strange[_i].within);

    put_entry(strange[_i].entry);
    put_entry((struct sp_entry){.type = SP_ENTRY_COMMIT, .round = 2});
    expect_refused(from);
}
END_TEST

/* Nor is one whose bytes that have no meaning yet have one. */
START_TEST(test_strange_head)
{
    size_t from = begin_strange(true), head = bytes;

    put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = 2, .first = 8, .count = 8, .bytes = 1});
    file[head + 40] = 1;
    sp_put32(file + head + SP_ENTRY_CRC_AT, sp_crc32c(file + head, SP_ENTRY_CRC_AT));
    put_entry((struct sp_entry){.type = SP_ENTRY_COMMIT, .round = 2});
    expect_refused(from);
}
END_TEST

/* No length is believed that the file does not have. */
START_TEST(test_longer_than_the_file)
{
    size_t from = begin_strange(true);

    put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = 2, .first = 8, .count = 8, .bytes = 32768});
    bytes -= 8;
    expect_refused(from);
}
END_TEST

/* A round that was begun anew in the file counts from where it last began; a COMMIT of another round ends nothing. */
START_TEST(test_anew_in_the_file)
{
    struct sp_error error;
    unsigned taken = 0;

    open_at(0);
    journal_close();
    bytes = journal_load(journal_path(folder, 0), file, sizeof file);
    put_entry((struct sp_entry){.type = SP_ENTRY_GRADIENT, .round = 1, .count = 8, .bytes = 32});
    put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = 1, .count = 8, .bytes = 1});
    put_entry((struct sp_entry){.type = SP_ENTRY_CHUNK, .round = 1, .first = 8, .count = 8, .bytes = 1});
    put_record(1);
    journal_store(journal_path(folder, 0), file, bytes);
    ck_assert_int_eq(sp_journal_read(folder, JOURNAL_RUN, 0, UINT32_MAX, count, &taken, &journal_scan, &error), SP_OK);
    ck_assert_uint_eq(journal_scan.last, 1);
    ck_assert_uint_eq(taken, 2);
}
END_TEST

TCase *journal_damage(void)
{
    TCase *tests = tcase_create("damage");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_fixture);
    tcase_add_test(tests, test_other_version);
    tcase_add_test(tests, test_refused);
    tcase_add_test(tests, test_nothing);
    tcase_add_test(tests, test_cut);
    tcase_add_test(tests, test_go_on);
    tcase_add_test(tests, test_torn_and_gone_on);
    tcase_add_test(tests, test_flipped);
    tcase_add_test(tests, test_gap_within);
    tcase_add_test(tests, test_gap_between);
    tcase_add_test(tests, test_gap_beside_another_run);
    tcase_add_test(tests, test_overlap);
    tcase_add_test(tests, test_other_name);
    tcase_add_loop_test(tests, test_up_to, 1, ROUNDS + 4);
    tcase_add_loop_test(tests, test_strange_entries, 0, (int)UNIT_COUNT(strange));
    tcase_add_test(tests, test_strange_head);
    tcase_add_test(tests, test_longer_than_the_file);
    tcase_add_test(tests, test_anew_in_the_file);
    return tests;
}
