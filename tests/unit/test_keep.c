/* A worker's momentum in a file: what was written is read, to the bit; nothing else is. */
#include "learning.h"
#include "tests/unit/files.h"
#include "worker/client/keep.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define D 20
#define BYTES (56 + 4 * D)
#define RUN 7

static struct learning p;
static struct sp_keep keep;
static struct sp_error error;
static char base[32], folder[600], path[SP_KEEP_PATH_BYTES]; /* base: of this test alone */
static const struct learning_next plain = {SP_PHASE_SIGN, SP_WIRE_F32, 0.0f, false};
static const float zero[D];

static void open_learner(uint64_t run)
{
    static const struct learning_tensor tensors[] = {{13, 0}, {7, 0}};
    struct sp_learner_setup with;

    learning_open(&p, tensors, 2, NULL);
    with = p.setup;
    with.run = run;
    learning_set_up(&p, &with);
    learning_announce(&p, &plain);
}

static void open_anew(uint64_t run)
{
    learning_close(&p);
    open_learner(run);
}

static void setup(void)
{
    static unsigned tests;

    open_learner(RUN);
    (void)snprintf(base, sizeof base, "%d-%u", (int)getpid(), tests++);
    (void)snprintf(folder, sizeof folder, "%s/runs", files_path(base));
    keep = (struct sp_keep){.folder = folder, .layout_digest = 0xfedcba9876543210, .slot = 3};
    sp_keep_path(&keep, path);
}

static void teardown(void)
{
    learning_close(&p);
}

/* Momentum of round 42, of three rounds of a worker that was late. */
static void write_some(float m[D])
{
    (void)sp_learner_replaced(&p.learner, 39);
    learning_announce(&p, &plain);
    for (uint32_t t = 40; t <= 42; t++)
        learning_round(&p, t, &plain);
    memcpy(m, p.learner.m, D * sizeof *m);
    ck_assert_int_eq(sp_keep_write(&keep, &p.learner, &error), SP_OK);
}

static void load(uint8_t bytes[BYTES])
{
    int fd = open(path, O_RDONLY);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(read(fd, bytes, BYTES), BYTES);
    (void)close(fd);
}

static void store(const uint8_t *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, count), (ssize_t)count);
    (void)close(fd);
}

static void expect_refused(int code, const char *words)
{
    ck_assert_int_eq(sp_keep_read(&keep, &p.learner, &error), code);
    unit_assert(strstr(error.text, words) != NULL, "'%s' lacks '%s'", error.text, words);
    unit_assert(strstr(error.text, path) != NULL, "'%s' does not name the file", error.text);
    unit_assert(memcmp(p.learner.m, zero, sizeof zero) == 0 && p.learner.own_rounds == 0 && p.learner.rms == 0.0,
                "a learner is no longer as it was");
}

START_TEST(test_round_trip)
{
    struct stat status;
    float m[D];

    write_some(m);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_size, BYTES);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    open_anew(RUN);
    ck_assert_int_eq(sp_keep_read(&keep, &p.learner, &error), SP_OK);
    ck_assert_mem_eq(p.learner.m, m, sizeof m);
    ck_assert_uint_eq(p.learner.momentum_round, 42);
    ck_assert_uint_eq(p.learner.momentum_run, RUN);
    ck_assert_uint_eq(p.learner.own_rounds, 3);
    ck_assert(p.learner.late);
    ck_assert_double_gt(p.learner.rms, 0.0);
    ck_assert_int_eq(sp_learner_replaced(&p.learner, 44), SP_MOMENTUM_KEPT);
}
END_TEST

/* Byte for byte as keep.h says, so that a later version can read it. */
START_TEST(test_format)
{
    static const uint8_t head[48] = {'S',  'P',  'M',  'O',  'M',  'E',  'N',  '1',  7,  0, 0, 0, 0, 0, 0, 0,
                                     0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 20, 0, 0, 0, 0, 0, 0, 0,
                                     3,    0,    0,    0,    42,   0,    0,    0,    3,  0, 0, 0, 1, 0, 0, 0};
    uint8_t bytes[BYTES];
    float m[D];

    write_some(m);
    load(bytes);
    ck_assert_mem_eq(bytes, head, sizeof head);
    ck_assert_mem_eq(bytes + 56, m, sizeof m);
}
END_TEST

/* The newest counts, and a temporary file that was left behind is in nobody's way. */
START_TEST(test_written_again)
{
    char left[SP_KEEP_PATH_BYTES + 8];
    struct stat status;
    float m[D];

    write_some(m);
    (void)snprintf(left, sizeof left, "%s.new", path);
    ck_assert_int_eq(mkfifo(left, 0600), 0);
    learning_round(&p, 43, &plain);
    ck_assert_int_eq(sp_keep_write(&keep, &p.learner, &error), SP_OK);
    ck_assert_int_eq(access(left, F_OK), -1);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    memcpy(m, p.learner.m, sizeof m);
    open_anew(RUN);
    ck_assert_int_eq(sp_keep_read(&keep, &p.learner, &error), SP_OK);
    ck_assert_mem_eq(p.learner.m, m, sizeof m);
    ck_assert_uint_eq(p.learner.momentum_round, 43);
}
END_TEST

START_TEST(test_cut_at_every_byte)
{
    uint8_t bytes[BYTES + 1] = {0};
    float m[D];

    write_some(m);
    load(bytes);
    open_anew(RUN);
    for (size_t n = 0; n < BYTES; n++) {
        store(bytes, n);
        expect_refused(SP_E_CORRUPT, "cut short");
    }
    store(bytes, BYTES + 1);
    expect_refused(SP_E_CORRUPT, "137 of 136 bytes");
    store(bytes, BYTES);
    ck_assert_int_eq(sp_keep_read(&keep, &p.learner, &error), SP_OK);
}
END_TEST

/* Every bit of it counts. */
START_TEST(test_flipped_bits)
{
    uint8_t bytes[BYTES];
    float m[D];

    write_some(m);
    load(bytes);
    open_anew(RUN);
    for (size_t bit = 0; bit < 8u * BYTES; bit++) {
        int rc;

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        store(bytes, BYTES);
        rc = sp_keep_read(&keep, &p.learner, &error);
        unit_assert(rc != SP_OK && rc != SP_E_MISSING && rc != SP_E_IO, "bit %zu: code %d", bit, rc);
        unit_assert(memcmp(p.learner.m, zero, sizeof zero) == 0 && p.learner.own_rounds == 0, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

START_TEST(test_of_something_else)
{
    uint8_t bytes[BYTES];
    float m[D];

    write_some(m);
    load(bytes);
    open_anew(RUN + 1);
    expect_refused(SP_E_MISMATCH, "another run");
    open_anew(RUN);
    keep.layout_digest++;
    expect_refused(SP_E_MISMATCH, "another model");
    keep.layout_digest--;
    keep.slot = 4;
    sp_keep_path(&keep, path);
    store(bytes, BYTES);
    expect_refused(SP_E_MISMATCH, "is of slot 3");
    bytes[7] = '2';
    store(bytes, BYTES);
    expect_refused(SP_E_UNSUPPORTED, "another version");
    bytes[0] = 'X';
    store(bytes, BYTES);
    expect_refused(SP_E_SYNTAX, "no file of a momentum");
}
END_TEST

/* A run that the server does not name is as good as any. */
START_TEST(test_of_an_unknown_run)
{
    float m[D];

    write_some(m);
    open_anew(0);
    ck_assert_int_eq(sp_keep_read(&keep, &p.learner, &error), SP_OK);
    ck_assert_mem_eq(p.learner.m, m, sizeof m);
}
END_TEST

/* With a right checksum around it: it would be pushed, and averaged into everyone's weights. */
START_TEST(test_not_finite)
{
    float m[D];

    write_some(m);
    p.learner.m[11] = NAN;
    ck_assert_int_eq(sp_keep_write(&keep, &p.learner, &error), SP_OK);
    open_anew(RUN);
    expect_refused(SP_E_CORRUPT, "damaged");
}
END_TEST

START_TEST(test_nothing_there)
{
    expect_refused(SP_E_MISSING, "No such file");
    (void)files_write(base, "a file where a folder should be", 1);
    expect_refused(SP_E_MISSING, "Not a directory");
}
END_TEST

/* A folder or a pipe of that name: neither waited for nor read. */
START_TEST(test_no_file)
{
    ck_assert_int_eq(mkdir(files_path(base), 0700), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(_i == 0 ? mkdir(path, 0700) : mkfifo(path, 0600), 0);
    expect_refused(SP_E_SYNTAX, "is not a file");
    ck_assert_int_eq(remove(path), 0);
}
END_TEST

static void expect_not_written(int rc, const char *words)
{
    char left[SP_KEEP_PATH_BYTES + 8];

    ck_assert_int_eq(rc, SP_E_IO);
    unit_assert(strstr(error.text, words) != NULL, "'%s' lacks '%s'", error.text, words);
    unit_assert(strstr(error.text, path) != NULL, "'%s' does not name the file", error.text);
    (void)snprintf(left, sizeof left, "%s.new", path);
    ck_assert_int_eq(access(left, F_OK), -1);
}

START_TEST(test_no_folder_can_be_made)
{
    learning_round(&p, 1, &plain);
    (void)files_write(base, "a file where a folder should be", 1);
    expect_not_written(sp_keep_write(&keep, &p.learner, &error), "Not a directory");
}
END_TEST

/* What could not be put in its place is not left beside it. */
START_TEST(test_no_place)
{
    learning_round(&p, 1, &plain);
    ck_assert_int_eq(mkdir(files_path(base), 0700), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_not_written(sp_keep_write(&keep, &p.learner, &error), "Is a directory");
}
END_TEST

/* What was there before stays, whatever the reason. */
START_TEST(test_cannot_be_written)
{
    const struct rlimit small = {BYTES - 1, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
    uint8_t before[BYTES], after[BYTES];
    float m[D];
    int rc;

    write_some(m);
    load(before);
    learning_round(&p, 43, &plain);
    (void)setrlimit(RLIMIT_FSIZE, &small); /* check's own files are under it as well */
    rc = sp_keep_write(&keep, &p.learner, &error);
    (void)setrlimit(RLIMIT_FSIZE, &all);
    expect_not_written(rc, "File too large"); /* and no signal has ended this program */
    load(after);
    ck_assert_mem_eq(after, before, BYTES);
    if (geteuid() == 0)
        return; /* whom no folder is closed to */
    ck_assert_int_eq(chmod(folder, 0500), 0);
    expect_not_written(sp_keep_write(&keep, &p.learner, &error), "Permission denied");
    ck_assert_int_eq(chmod(folder, 0700), 0);
    load(after);
    ck_assert_mem_eq(after, before, BYTES);
}
END_TEST

START_TEST(test_removed)
{
    char left[SP_KEEP_PATH_BYTES + 8];
    float m[D];

    write_some(m);
    (void)snprintf(left, sizeof left, "%s.new", path);
    ck_assert_int_eq(close(open(left, O_WRONLY | O_CREAT, 0600)), 0);
    sp_keep_remove(&keep);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(access(left, F_OK), -1);
    sp_keep_remove(&keep);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("keep");

    files_begin();
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_round_trip);
    tcase_add_test(tests, test_format);
    tcase_add_test(tests, test_written_again);
    tcase_add_test(tests, test_cut_at_every_byte);
    tcase_add_test(tests, test_flipped_bits);
    tcase_add_test(tests, test_of_something_else);
    tcase_add_test(tests, test_of_an_unknown_run);
    tcase_add_test(tests, test_not_finite);
    tcase_add_test(tests, test_nothing_there);
    tcase_add_loop_test(tests, test_no_file, 0, 2);
    tcase_add_test(tests, test_no_folder_can_be_made);
    tcase_add_test(tests, test_no_place);
    tcase_add_test(tests, test_cannot_be_written);
    tcase_add_test(tests, test_removed);
    return unit_run(suite_create("keep"), tests);
}
