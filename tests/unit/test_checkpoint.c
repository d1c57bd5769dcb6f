/* Checkpoint files: what was written comes back, and whatever else a file holds is found and told. */
#include "common/bytes.h"
#include "server/checkpoint.h"
#include "tests/unit/files.h"
#include "unit.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX 65536

static struct sp_error error;
static uint8_t file[FILE_BYTES_MAX];

static void read_into(const char *path, struct sp_checkpoint *checkpoint)
{
    ck_assert_msg(sp_checkpoint_read(path, checkpoint, &error) == SP_OK, "%s", error.text);
}

static void write_into(const char *folder, const struct sp_checkpoint *checkpoint)
{
    ck_assert_msg(sp_checkpoint_write(folder, checkpoint, &error) == SP_OK, "%s", error.text);
}

static void add_section(struct sp_checkpoint *checkpoint, const char *name, const void *bytes, uint64_t count)
{
    struct sp_checkpoint_section *section = &checkpoint->section[checkpoint->sections++];

    ck_assert_uint_lt(strlen(name), sizeof section->name);
    (void)strcpy(section->name, name);
    section->bytes = bytes;
    section->count = count;
}

/* The one that tests/fixtures holds, made by make_fixtures.py. */
static const float theta[] = {0.5f, -1.25f, 3.0e-8f, 0.0f, -7.0f};

static struct sp_checkpoint fixture(void)
{
    struct sp_checkpoint checkpoint = {.round = 41, .run = UINT64_C(0x0123456789abcdef)};

    add_section(&checkpoint, "theta", theta, sizeof theta);
    add_section(&checkpoint, "empty", NULL, 0);
    add_section(&checkpoint, "job", "seed: 1\n", 8);
    return checkpoint;
}

static void expect_same(const struct sp_checkpoint *got, const struct sp_checkpoint *wanted)
{
    ck_assert_uint_eq(got->round, wanted->round);
    ck_assert_uint_eq(got->run, wanted->run);
    ck_assert_uint_eq(got->sections, wanted->sections);
    for (uint32_t i = 0; i < wanted->sections; i++) {
        const struct sp_checkpoint_section *section = &got->section[i];

        ck_assert_str_eq(section->name, wanted->section[i].name);
        ck_assert_uint_eq(section->count, wanted->section[i].count);
        ck_assert_uint_eq((uintptr_t)section->bytes % 16, 0);
        if (section->count > 0)
            ck_assert_mem_eq(section->bytes, wanted->section[i].bytes, section->count);
    }
}

static const char *path_of(const char *folder, uint32_t round)
{
    static char path[400];

    sp_checkpoint_path(folder, round, path, sizeof path);
    return path;
}

static size_t load(const char *path, void *bytes, size_t room)
{
    FILE *from = fopen(path, "rb");
    size_t count;

    ck_assert_msg(from != NULL, "cannot open %s", path);
    count = fread(bytes, 1, room, from);
    (void)fclose(from);
    return count;
}

static const char *fixture_path(void)
{
    static char path[400];

    ck_assert_ptr_nonnull(getenv("SP_SOURCE_ROOT"));
    (void)snprintf(path, sizeof path, "%s/tests/fixtures/version1.checkpoint", getenv("SP_SOURCE_ROOT"));
    return path;
}

static unsigned files_in(const char *folder)
{
    DIR *names = opendir(folder);
    unsigned count = 0;

    ck_assert_ptr_nonnull(names);
    while (readdir(names) != NULL)
        count++;
    (void)closedir(names);
    return count - 2;
}

/* --- what is written -------------------------------------------------------------------------------------------------
 */

/* The format is pinned from both sides: what another program made is read, and what we write is the same to the byte.
 */
START_TEST(test_fixture)
{
    struct sp_checkpoint wanted = fixture(), got;
    uint8_t ours[4096], theirs[4096];
    size_t bytes;

    read_into(fixture_path(), &got);
    expect_same(&got, &wanted);
    sp_checkpoint_finish(&got);
    write_into(files_path("fixture"), &wanted);
    bytes = load(fixture_path(), theirs, sizeof theirs);
    ck_assert_uint_eq(load(path_of(files_path("fixture"), 41), ours, sizeof ours), bytes);
    ck_assert_mem_eq(ours, theirs, bytes);
}
END_TEST

/* Any number of sections of any length, empty ones and those around the padding included. */
START_TEST(test_round_trip)
{
    struct sp_rng rng = unit_rng(7);
    uint8_t *bytes = unit_alloc(5000);

    for (size_t i = 0; i < 5000; i++)
        bytes[i] = (uint8_t)sp_rng_next(&rng);
    for (uint32_t sections = 0; sections <= SP_SECTIONS_MAX; sections++) {
        struct sp_checkpoint wanted = {.round = UINT32_MAX - sections, .run = unit_next64(&rng)}, got;
        char name[32];

        for (uint32_t i = 0; i < sections; i++) {
            uint32_t count = i < 3 ? 63 + i : sp_rng_below(&rng, 300);

            (void)snprintf(name, sizeof name, "section.%07u", i);
            add_section(&wanted, name, bytes + sp_rng_below(&rng, 4000), count);
        }
        write_into(files_path("any"), &wanted);
        read_into(path_of(files_path("any"), wanted.round), &got);
        expect_same(&got, &wanted);
        sp_checkpoint_finish(&got);
    }
    free(bytes);
}
END_TEST

START_TEST(test_find)
{
    struct sp_checkpoint got;

    read_into(fixture_path(), &got);
    ck_assert_ptr_eq(sp_checkpoint_find(&got, "job"), &got.section[2]);
    ck_assert_ptr_null(sp_checkpoint_find(&got, "jo"));
    sp_checkpoint_finish(&got);
}
END_TEST

/* Weights are nobody else's; nothing but the file itself stays; an older one of the same round is replaced. */
START_TEST(test_files)
{
    struct sp_checkpoint checkpoint = fixture(), got;
    const char *folder = files_path("mode");
    struct stat status;

    write_into(folder, &checkpoint);
    checkpoint.run = 2;
    write_into(folder, &checkpoint);
    ck_assert_uint_eq(files_in(folder), 1);
    ck_assert_int_eq(stat(path_of(folder, 41), &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_str_eq(strrchr(path_of(folder, 41), '/'), "/0000000041.checkpoint");
    read_into(path_of(folder, 41), &got);
    ck_assert_uint_eq(got.run, 2);
    sp_checkpoint_finish(&got);
}
END_TEST

/* --- what is wrong ---------------------------------------------------------------------------------------------------
 */

static int read_bytes(const void *bytes, size_t count)
{
    struct sp_checkpoint got;
    int rc;

    memset(&error, 0, sizeof error);
    rc = sp_checkpoint_read(files_write("broken", bytes, count), &got, &error);
    ck_assert_ptr_null(rc == SP_OK ? NULL : got.memory);
    unit_assert(rc == SP_OK || strstr(error.text, "/broken") != NULL, "the words do not name the file: %s", error.text);
    if (rc == SP_OK)
        sp_checkpoint_finish(&got);
    return rc;
}

/* Cut at any byte it is found, and said to be cut. */
START_TEST(test_cut)
{
    size_t bytes = load(fixture_path(), file, sizeof file);

    for (size_t i = 0; i < bytes; i++) {
        unit_assert(read_bytes(file, i) == SP_E_CORRUPT, "cut after %zu: %s", i, error.text);
        unit_assert(strstr(error.text, "cut short") != NULL, "cut after %zu: %s", i, error.text);
    }
    ck_assert_int_eq(read_bytes(file, bytes), SP_OK);
    ck_assert_int_eq(read_bytes(file, bytes + 1), SP_E_CORRUPT);
}
END_TEST

/* A bit that is wrong anywhere is found, in the padding as well. */
START_TEST(test_flipped)
{
    size_t bytes = load(fixture_path(), file, sizeof file);

    for (size_t i = 0; i < bytes * 8; i++) {
        int rc;

        file[i / 8] ^= (uint8_t)(1u << i % 8);
        rc = read_bytes(file, bytes);
        file[i / 8] ^= (uint8_t)(1u << i % 8);
        unit_assert(rc == (i / 8 < 7    ? SP_E_SYNTAX
                           : i / 8 == 7 ? SP_E_UNSUPPORTED
                                        : SP_E_CORRUPT),
                    "bit %zu: %d, %s", i, rc, error.text);
    }
    file[bytes - 64] ^= 1; /* of the last section */
    ck_assert_int_eq(read_bytes(file, bytes), SP_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, "'job'"));
}
END_TEST

/* A header that is in order but for what this version does not know is not taken for what it says. */
START_TEST(test_strange_headers)
{
    static const size_t places[] = {24 + 28, 24 + 1, 24, 12}; /* a row's zero, a name's letters, the number of rows */
    static const uint8_t wrong[] = {1, '\n', 0, 17};
    size_t bytes = load(fixture_path(), file, sizeof file), end = 24 + 3 * 32;

    file[places[_i]] = wrong[_i];
    sp_put32(file + end, sp_crc32c(file, end));
    ck_assert_int_eq(read_bytes(file, bytes), SP_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, _i < 3 ? "no proper name" : "too many sections"));
}
END_TEST

START_TEST(test_other_files)
{
    size_t bytes = load(fixture_path(), file, sizeof file);
    struct sp_checkpoint got;

    file[7] = '2';
    ck_assert_int_eq(read_bytes(file, bytes), SP_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.text, "version '2'"));
    ck_assert_int_eq(read_bytes("{\"not\": \"a checkpoint\"}", 23), SP_E_SYNTAX);
    ck_assert_int_eq(sp_checkpoint_read(files_path("."), &got, &error), SP_E_SYNTAX);
    ck_assert_int_eq(sp_checkpoint_read(files_path("missing"), &got, &error), SP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "/missing"));
}
END_TEST

/* A disk that is full leaves the checkpoint before as it was, and nothing else. */
START_TEST(test_full)
{
    static const uint8_t large[FILE_BYTES_MAX];
    const struct rlimit limit = {4096, 4096};
    struct sp_checkpoint checkpoint = fixture();
    const char *folder = files_path("full");

    write_into(folder, &checkpoint);
    add_section(&checkpoint, "large", large, sizeof large);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(sp_checkpoint_write(folder, &checkpoint, &error), SP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "0000000041.checkpoint.new"));
    ck_assert_ptr_nonnull(strstr(error.text, "ulimit -f"));
    ck_assert_uint_eq(files_in(folder), 1);
    checkpoint.sections--;
    read_into(path_of(folder, 41), &checkpoint);
    sp_checkpoint_finish(&checkpoint);
}
END_TEST

/* --- folders ---------------------------------------------------------------------------------------------------------
 */

START_TEST(test_list_and_prune)
{
    static const uint32_t rounds[] = {7, 100, 3, 4000000000u, 50};
    struct sp_checkpoint checkpoint = fixture();
    char folder[256];
    uint32_t got[8];

    (void)snprintf(folder, sizeof folder, "%s", files_path("many"));
    ck_assert_int_eq(sp_checkpoint_list(folder, got, 8, &error), 0);
    ck_assert_uint_eq(sp_checkpoint_prune(folder, 2, false, NULL), 0);
    for (size_t i = 0; i < UNIT_COUNT(rounds); i++) {
        checkpoint.round = rounds[i];
        write_into(folder, &checkpoint);
    }
    (void)files_write("many/0000000008.checkpoint.new", "x", 1);
    (void)files_write("many/8.checkpoint", "x", 1);
    (void)files_write("many/0000000008.checkpoint.mine", "x", 1);
    (void)files_write("many/9999999999.checkpoint", "x", 1);
    ck_assert_int_eq(sp_checkpoint_list(folder, got, 8, &error), 5);
    ck_assert(got[0] == 4000000000u && got[1] == 100 && got[2] == 50 && got[3] == 7 && got[4] == 3);
    ck_assert_int_eq(sp_checkpoint_list(folder, got, 2, &error), 2);
    ck_assert(got[0] == 4000000000u && got[1] == 100);
    ck_assert_uint_eq(sp_checkpoint_prune(folder, 3, false, NULL), 50);
    ck_assert_int_eq(sp_checkpoint_list(folder, got, 8, &error), 3);
    ck_assert_uint_eq(files_in(folder), 6); /* what is not ours stays */
    ck_assert_uint_eq(sp_checkpoint_prune(folder, 3, false, NULL), 50);
    ck_assert_uint_eq(sp_checkpoint_prune(folder, 1, true, NULL), 4000000000u);
    ck_assert_int_eq(sp_checkpoint_list(folder, got, 8, &error), 2);
    ck_assert(got[0] == 4000000000u && got[1] == 50);
    ck_assert_uint_eq(sp_checkpoint_prune(folder, 1, true, NULL), 4000000000u);
    ck_assert_int_eq(sp_checkpoint_list(files_path("many/8.checkpoint"), got, 8, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "8.checkpoint"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tests = tcase_create("checkpoint");

    files_begin();
    tcase_add_test(tests, test_fixture);
    tcase_add_test(tests, test_round_trip);
    tcase_add_test(tests, test_find);
    tcase_add_test(tests, test_files);
    tcase_add_test(tests, test_cut);
    tcase_add_test(tests, test_flipped);
    tcase_add_loop_test(tests, test_strange_headers, 0, 4);
    tcase_add_test(tests, test_other_files);
    tcase_add_test(tests, test_full);
    tcase_add_test(tests, test_list_and_prune);
    return unit_run(suite, tests);
}
