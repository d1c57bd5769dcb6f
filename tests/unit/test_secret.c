/* Secrets: what a file of one may look like, who may read it, and the system's random bytes. */
#include "common/secret.h"
#include "unit.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/test_secret.XXXXXX";
static char path[64];
static struct sp_secret secret;
static struct sp_error error;

/* 64 digits, for bytes 0x00, 0x11, ... 0xff, twice. */
#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static const uint8_t bytes_of_digits[32] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
                                            0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55,
                                            0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

static void setup(void)
{
    memset(&secret, 0xee, sizeof secret);
    memset(&error, 0, sizeof error);
}

static void write_file(const void *bytes, size_t count, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, count), (ssize_t)count);
    ck_assert_int_eq(fchmod(fd, mode), 0); /* whatever the umask */
    ck_assert_int_eq(close(fd), 0);
}

static int load(const void *bytes, size_t count, mode_t mode)
{
    write_file(bytes, count, mode);
    return sp_secret_load(&secret, path, &error);
}

static void expect_secret(const void *bytes, size_t count)
{
    ck_assert_uint_eq(secret.bytes, count);
    ck_assert_mem_eq(secret.data, bytes, count);
    for (size_t i = count; i < sizeof secret.data; i++)
        unit_assert(secret.data[i] == 0, "byte %zu after the secret is not 0", i);
}

/* `format` has the path once or twice. */
#define expect_words(format, ...)                                                                                      \
    do {                                                                                                               \
        char expected_words[SP_ERROR_TEXT_BYTES];                                                                      \
        (void)snprintf(expected_words, sizeof expected_words, format, __VA_ARGS__);                                    \
        ck_assert_str_eq(error.text, expected_words);                                                                  \
    } while (0)

/* --- text and bytes -------------------------------------------------------------------------------------------------
 */

/* Hexadecimal digits in either case, with any white space at both ends, stand for the secret's bytes. */
START_TEST(test_digits)
{
    static const char *const files[] = {DIGITS, DIGITS "\n", DIGITS "\r\n", "  \t" DIGITS "\n\n", "\v\f" DIGITS " "};

    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        setup();
        ck_assert_msg(load(files[i], strlen(files[i]), 0600) == SP_OK, "%s", error.text);
        expect_secret(bytes_of_digits, 32);
    }
}
END_TEST

/* Whatever is not an even number of at least 64 digits and nothing else is the secret itself, all of it, white space
 * and zeros as well. */
START_TEST(test_anything_else_is_the_secret_itself)
{
    static const char *const files[] = {
        DIGITS "0",                                                          /* an odd digit */
        DIGITS "0\n",                                                        /* and white space */
        "0" DIGITS,                                                          /* 65 */
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddee",    /* 62 digits are too few for that */
        "00112233445566778899aabbccddeeff 00112233445566778899aabbccddeeff", /* white space in between */
        "0x" DIGITS,
        DIGITS "g0",
        "correct horse battery staple, and then some\n",
        " a text of 32 bytes, white space\n",
    };

    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        setup();
        ck_assert_msg(load(files[i], strlen(files[i]), 0600) == SP_OK, "%s", error.text);
        expect_secret(files[i], strlen(files[i]));
    }
}
END_TEST

START_TEST(test_bytes_with_zeros)
{
    uint8_t bytes[64];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i % 3 == 0 ? 0 : 0x80 + i);
    bytes[63] = '\n';
    ck_assert_msg(load(bytes, sizeof bytes, 0600) == SP_OK, "%s", error.text);
    expect_secret(bytes, sizeof bytes);
}
END_TEST

/* 32 to 1024 bytes, as bytes and as digits. */
START_TEST(test_sizes)
{
    static const size_t good[] = {32, 33, 64, 1023, 1024}, bad[] = {0, 1, 16, 31, 1025, 2047, 4096};
    static char text[4096];

    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        memset(text, '!', sizeof text);
        ck_assert_int_eq(load(text, good[i], 0600), SP_OK);
        ck_assert_uint_eq(secret.bytes, good[i]);
        memset(text, 'a', sizeof text);
        ck_assert_int_eq(load(text, 2 * good[i], 0600), SP_OK);
        ck_assert_uint_eq(secret.bytes, good[i]);
    }
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        memset(text, '!', sizeof text);
        ck_assert_int_eq(load(text, bad[i], 0600), SP_E_RANGE);
        expect_words("%s holds a secret of %zu bytes; it must have 32 to 1024 random bytes (make one with: signpost "
                     "token %s)",
                     path, bad[i], path);
        ck_assert_uint_eq(secret.bytes, 0);
    }
}
END_TEST

/* 1025 bytes as digits are as bad as 1025 bytes; 4096 bytes of digits are still looked at. */
START_TEST(test_too_many_digits)
{
    static char text[4096];

    memset(text, '7', sizeof text);
    ck_assert_int_eq(load(text, 2050, 0600), SP_E_RANGE);
    expect_words("%s holds a secret of 1025 bytes; it must have 32 to 1024 random bytes (make one with: signpost token "
                 "%s)",
                 path, path);
    ck_assert_int_eq(load(text, sizeof text, 0600), SP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.text, "a secret of 2048 bytes"));
    memset(text + 2048, '\n', 2048);
    ck_assert_int_eq(load(text, sizeof text, 0600), SP_OK);
    ck_assert_uint_eq(secret.bytes, 1024);
}
END_TEST

/* A file that is no secret's, however large it is: no more than a secret's file is read of it. */
START_TEST(test_huge_files)
{
    static char text[4097];
    int fd;

    memset(text, 'x', sizeof text);
    ck_assert_int_eq(load(text, sizeof text, 0600), SP_E_RANGE);
    expect_words("%s is larger than any secret's file, which has at most 4096 bytes", path);
    ck_assert_uint_eq(secret.bytes, 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)1 << 40), 0); /* a hole of a terabyte */
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(sp_secret_load(&secret, path, &error), SP_E_RANGE);
    expect_words("%s is larger than any secret's file, which has at most 4096 bytes", path);
}
END_TEST

/* What sp_secret_load() reads goes through sp_secret_parse(), which takes bytes from anywhere. */
START_TEST(test_parse)
{
    uint8_t *block = unit_alloc(64);

    memcpy(block, DIGITS, 64);
    ck_assert_int_eq(sp_secret_parse(&secret, block, 64, "here", NULL), SP_OK);
    expect_secret(bytes_of_digits, 32);
    ck_assert_int_eq(sp_secret_parse(&secret, block, 31, "here", &error), SP_E_RANGE);
    ck_assert_str_eq(error.text, "here holds a secret of 31 bytes; it must have 32 to 1024 random bytes (make one "
                                 "with: signpost token here)");
    memset(block, ' ', 64);
    ck_assert_int_eq(sp_secret_parse(&secret, block, 64, "here", &error), SP_OK); /* white space alone is no text */
    expect_secret(block, 64);
    free(block);
}
END_TEST

/* --- who may read it ------------------------------------------------------------------------------------------------
 */

/* The owner alone, or its group to read it. */
START_TEST(test_modes)
{
    static const struct {
        mode_t mode;
        bool ok;
    } rows[] = {{0600, true},  {0400, true},  {0640, true},  {0440, true},  {0700, true},
                {0644, false}, {0660, false}, {0604, false}, {0602, false}, {0601, false},
                {0620, false}, {0666, false}, {0777, false}, {04644, false}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        (void)unlink(path);
        setup();
        if (rows[i].ok) {
            ck_assert_msg(load(DIGITS, 64, rows[i].mode) == SP_OK, "%s", error.text);
            expect_secret(bytes_of_digits, 32);
            continue;
        }
        ck_assert_int_eq(load(DIGITS, 64, rows[i].mode), SP_E_RANGE);
        expect_words("%s has mode %04o: other users may read or change it, so it is no secret; do: chmod 600 %s", path,
                     (unsigned)rows[i].mode, path);
        ck_assert_uint_eq(secret.bytes, 0);
    }
}
END_TEST

/* A link is as good as what it points to, whose mode counts. */
START_TEST(test_links)
{
    char link[80];

    (void)snprintf(link, sizeof link, "%s/link", folder);
    write_file(DIGITS, 64, 0600);
    ck_assert_int_eq(symlink(path, link), 0);
    ck_assert_int_eq(sp_secret_load(&secret, link, &error), SP_OK);
    expect_secret(bytes_of_digits, 32);
    write_file(DIGITS, 64, 0644);
    ck_assert_int_eq(sp_secret_load(&secret, link, &error), SP_E_RANGE);
    ck_assert_int_eq(unlink(link), 0);
}
END_TEST

/* --- what is no file ------------------------------------------------------------------------------------------------
 */

START_TEST(test_missing_files)
{
    ck_assert_int_eq(sp_secret_load(&secret, path, &error), SP_E_IO);
    ck_assert_int_eq(error.code, SP_E_IO);
    expect_words("cannot read the secret in %s: No such file or directory (make one with: signpost token %s)", path,
                 path);
    ck_assert_uint_eq(secret.bytes, 0);
    ck_assert_int_eq(sp_secret_load(&secret, path, NULL), SP_E_IO);
    ck_assert_int_eq(sp_secret_load(&secret, "", &error), SP_E_IO);
}
END_TEST

START_TEST(test_directories)
{
    ck_assert_int_eq(sp_secret_load(&secret, folder, &error), SP_E_IO);
    expect_words("%s is not a file, which is what holds a secret", folder);
    ck_assert_uint_eq(secret.bytes, 0);
}
END_TEST

/* A pipe that nobody writes to, and a device without end: neither is waited for. */
START_TEST(test_pipes_and_devices)
{
    struct timespec before, after;

    ck_assert_int_eq(mkfifo(path, 0600), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    ck_assert_int_eq(sp_secret_load(&secret, path, &error), SP_E_IO);
    expect_words("%s is not a file, which is what holds a secret", path);
    ck_assert_int_eq(sp_secret_load(&secret, "/dev/zero", &error), SP_E_IO);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    ck_assert_int_le(after.tv_sec - before.tv_sec, 5);
}
END_TEST

/* No load leaves a descriptor open, whether it succeeds or fails. */
START_TEST(test_no_descriptor_is_left)
{
    int first = dup(STDIN_FILENO), next;

    ck_assert_int_ge(first, 0);
    ck_assert_int_eq(close(first), 0);
    ck_assert_int_eq(load(DIGITS, 64, 0600), SP_OK);
    ck_assert_int_eq(load(DIGITS, 64, 0644), SP_E_RANGE);
    ck_assert_int_eq(load(DIGITS, 5, 0600), SP_E_RANGE);
    ck_assert_int_eq(sp_secret_load(&secret, folder, &error), SP_E_IO);
    next = dup(STDIN_FILENO);
    ck_assert_int_eq(next, first);
    (void)close(next);
}
END_TEST

/* --- forgetting, random bytes ---------------------------------------------------------------------------------------
 */

START_TEST(test_forget)
{
    static const struct sp_secret none;

    ck_assert_int_eq(load(DIGITS, 64, 0600), SP_OK);
    sp_secret_forget(&secret);
    ck_assert_mem_eq(&secret, &none, sizeof none);
}
END_TEST

/* All of them are there, also of more than one call of the system gives, none beyond; and never the same again. */
START_TEST(test_random_bytes)
{
    static uint8_t some[100000], more[100000 + 1];
    unsigned counts[256] = {0};

    ck_assert_int_eq(sp_random_bytes(some, sizeof some, &error), SP_OK);
    more[sizeof some] = 0x5a;
    ck_assert_int_eq(sp_random_bytes(more, sizeof some, NULL), SP_OK);
    ck_assert_uint_eq(more[sizeof some], 0x5a);
    ck_assert_mem_ne(some, more, 16);
    ck_assert_mem_ne(some + sizeof some - 16, more + sizeof some - 16, 16);
    for (size_t i = 0; i < sizeof some; i++)
        counts[some[i]]++;
    for (unsigned value = 0; value < 256; value++) /* 391 are to be expected, 20 standard deviations are 395 */
        unit_assert(counts[value] > 100 && counts[value] < 800, "%u times byte %u", counts[value], value);
    ck_assert_int_eq(sp_random_bytes(some, 0, &error), SP_OK);
}
END_TEST

static void add_files(TCase *tests)
{
    tcase_add_test(tests, test_modes);
    tcase_add_test(tests, test_links);
    tcase_add_test(tests, test_missing_files);
    tcase_add_test(tests, test_directories);
    tcase_add_test(tests, test_pipes_and_devices);
    tcase_add_test(tests, test_no_descriptor_is_left);
}

static void teardown(void)
{
    (void)unlink(path);
}

int main(void)
{
    TCase *tests = tcase_create("secret");
    int rc;

    if (mkdtemp(folder) == NULL)
        return EXIT_FAILURE;
    (void)snprintf(path, sizeof path, "%s/token", folder);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_digits);
    tcase_add_test(tests, test_anything_else_is_the_secret_itself);
    tcase_add_test(tests, test_bytes_with_zeros);
    tcase_add_test(tests, test_sizes);
    tcase_add_test(tests, test_too_many_digits);
    tcase_add_test(tests, test_huge_files);
    tcase_add_test(tests, test_parse);
    add_files(tests);
    tcase_add_test(tests, test_forget);
    tcase_add_test(tests, test_random_bytes);
    rc = unit_run(suite_create("secret"), tests);
    (void)unlink(path);
    (void)rmdir(folder);
    return rc;
}
