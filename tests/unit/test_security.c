/* Who may come in: the job's secrets as they are loaded, and where a server may listen with and without them. */
#include "common/address.h"
#include "server/security.h"
#include "tls_made.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/test_security.XXXXXX";
static struct sp_job job;
static struct sp_security security;
static struct sp_error error;

#define WORKERS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define OPERATORS "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\n"

static void write_file(const char *name, const void *bytes, size_t count, mode_t mode)
{
    char path[80];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, count), (ssize_t)count);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void setup(void)
{
    sp_job_init(&job);
    (void)strcpy(job.folder, folder);
    memset(&security, 0xee, sizeof security);
    memset(&error, 0, sizeof error);
    write_file("workers", WORKERS, strlen(WORKERS), 0600);
    write_file("operators", OPERATORS, strlen(OPERATORS), 0600);
}

static void name_files(const char *workers, const char *operators)
{
    ck_assert_int_eq(sp_job_set(&job, "security.token_file", workers, NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "security.operator_token_file", operators, NULL), SP_OK);
}

static void load(const char *workers, const char *operators)
{
    name_files(workers, operators);
    ck_assert_msg(sp_security_load(&security, &job, &error) == SP_OK, "%s", error.text);
}

/* Refused with a code and words that begin so; nothing of any secret is kept. */
static void refuse(const char *workers, const char *operators, int code, const char *words)
{
    static const struct sp_security none;

    name_files(workers, operators);
    memset(&security, 0xee, sizeof security);
    ck_assert_int_eq(sp_security_load(&security, &job, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_msg(strncmp(error.text, words, strlen(words)) == 0, "%s", error.text);
    ck_assert_mem_eq(&security, &none, sizeof none);
}

/* --- loading --------------------------------------------------------------------------------------------------------
 */

START_TEST(test_no_secrets)
{
    load("", "");
    ck_assert_uint_eq(security.worker.bytes, 0);
    ck_assert_uint_eq(security.operator_.bytes, 0);
    ck_assert(!security.insecure);
}
END_TEST

/* Paths are relative to the job file's folder, like all in it. */
START_TEST(test_both_secrets)
{
    char path[80];

    (void)snprintf(path, sizeof path, "%s/operators", folder);
    load("workers", path);
    ck_assert_uint_eq(security.worker.bytes, 32);
    ck_assert_uint_eq(security.worker.data[1], 0x11);
    ck_assert_uint_eq(security.operator_.bytes, 32);
    ck_assert_uint_eq(security.operator_.data[0], 0xff);
    ck_assert(!security.insecure);
    load("", "operators");
    ck_assert_uint_eq(security.worker.bytes, 0);
    ck_assert_uint_eq(security.operator_.bytes, 32);
}
END_TEST

/* The words name the key, and then the file and what to do. */
START_TEST(test_errors_name_the_key)
{
    char words[256];

    (void)snprintf(words, sizeof words,
                   "security.token_file: cannot read the secret in %s/none: No such file or directory (make one with: "
                   "signpost token %s/none)",
                   folder, folder);
    refuse("none", "operators", SP_E_IO, words);
    refuse("workers", "none", SP_E_IO, "security.operator_token_file: cannot read the secret in ");
    write_file("short", "short", 5, 0600);
    refuse("short", "", SP_E_RANGE, "security.token_file: ");
    refuse("workers", "short", SP_E_RANGE, "security.operator_token_file: ");
    write_file("open", WORKERS, strlen(WORKERS), 0644);
    refuse("open", "operators", SP_E_RANGE, "security.token_file: ");
    ck_assert_ptr_nonnull(strstr(error.text, "; do: chmod 600 "));
    refuse("workers", "open", SP_E_RANGE, "security.operator_token_file: ");
    refuse(".", "", SP_E_IO, "security.token_file: ");
}
END_TEST

/* The same secret twice, in the same file, in a copy of it, or once as digits and once as bytes. */
START_TEST(test_equal_secrets_are_refused)
{
    static const char words[] = "security.token_file and security.operator_token_file hold the same secret";
    static const char bytes[] = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
                                "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

    refuse("workers", "workers", SP_E_RANGE, words);
    refuse("workers", "./workers", SP_E_RANGE, words);
    write_file("copy", WORKERS, strlen(WORKERS), 0600);
    refuse("workers", "copy", SP_E_RANGE, words);
    write_file("bytes", bytes, 32, 0600);
    refuse("workers", "bytes", SP_E_RANGE, words);
}
END_TEST

/* One that begins like the other is another. */
START_TEST(test_longer_secret_is_another)
{
    write_file("longer", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00", 66, 0600);
    load("workers", "longer");
    ck_assert_uint_eq(security.operator_.bytes, 33);
}
END_TEST

START_TEST(test_forget)
{
    static const struct sp_secret none;

    load("workers", "operators");
    sp_security_forget(&security);
    ck_assert_mem_eq(&security.worker, &none, sizeof none);
    ck_assert_mem_eq(&security.operator_, &none, sizeof none);
}
END_TEST

/* --- listening ------------------------------------------------------------------------------------------------------
 */

static int check(const char *text)
{
    struct sockaddr_storage found[SP_ADDRESSES_MAX];
    struct sp_address address;
    size_t count;

    ck_assert_int_eq(sp_address_parse(text, &address, NULL), SP_OK);
    ck_assert_int_eq(sp_address_resolve(&address, true, found, &count, NULL), SP_OK);
    return sp_security_check(&security, &job, (const struct sockaddr *)&found[0], text, &error);
}

static void set_insecure(const char *value)
{
    ck_assert_int_eq(sp_job_set(&job, "security.insecure", value, NULL), SP_OK);
}

static const char *const loopbacks[] = {"127.0.0.1:7700", "127.0.0.2:0", "[::1]:7700"};
static const char *const others[] = {"0.0.0.0:7700", "[::]:7700", "192.0.2.1:7700", "[2001:db8::1]:7700"};

/* On loopback always, and whatever security.insecure says it is not insecure there. */
START_TEST(test_loopback)
{
    for (size_t i = 0; i < UNIT_COUNT(loopbacks); i++) {
        for (int k = 0; k < 4; k++) {
            set_insecure(k % 2 ? "true" : "false");
            load(k < 2 ? "" : "workers", "");
            ck_assert_int_eq(check(loopbacks[i]), SP_OK);
            ck_assert(!security.insecure);
        }
    }
}
END_TEST

/* Without a secret nowhere else, even if the job says that it may be insecure. An operators' secret is none of the
 * workers'. */
START_TEST(test_off_loopback_without_a_secret)
{
    for (size_t i = 0; i < UNIT_COUNT(others); i++) {
        for (int k = 0; k < 4; k++) {
            set_insecure(k % 2 ? "true" : "false");
            load("", k < 2 ? "" : "operators");
            ck_assert_int_eq(check(others[i]), SP_E_MISSING);
            ck_assert_int_eq(strncmp(error.text, others[i], strlen(others[i])), 0);
            ck_assert_ptr_nonnull(strstr(error.text, "'signpost token FILE'"));
            ck_assert_ptr_nonnull(strstr(error.text, "security.token_file"));
            ck_assert_ptr_nonnull(strstr(error.text, "listen on 127.0.0.1"));
            ck_assert(!security.insecure);
        }
    }
}
END_TEST

/* With one, only if the job says so; and then the server says what that means. */
START_TEST(test_off_loopback_with_a_secret)
{
    for (size_t i = 0; i < UNIT_COUNT(others); i++) {
        set_insecure("false");
        load("workers", "");
        ck_assert_int_eq(check(others[i]), SP_E_MISSING);
        ck_assert_int_eq(strncmp(error.text, others[i], strlen(others[i])), 0);
        ck_assert_ptr_nonnull(strstr(error.text, "security.insecure: true"));
        ck_assert_ptr_nonnull(strstr(error.text, "no TLS"));
        ck_assert(!security.insecure);
        set_insecure("true");
        ck_assert_int_eq(check(others[i]), SP_OK);
        ck_assert(security.insecure);
    }
}
END_TEST

/* Of several addresses one off loopback is enough. */
START_TEST(test_one_address_off_loopback_is_enough)
{
    set_insecure("true");
    load("workers", "operators");
    ck_assert_int_eq(check("0.0.0.0:1"), SP_OK);
    ck_assert_int_eq(check("127.0.0.1:1"), SP_OK);
    ck_assert(security.insecure);
}
END_TEST

START_TEST(test_words)
{
    load("", "operators");
    ck_assert_str_eq(sp_security_words(&security),
                     "no secret: whoever is on this machine may take part; not reached from others");
    load("workers", "");
    ck_assert_str_eq(sp_security_words(&security),
                     "workers prove that they hold the secret; reached from this machine only");
    set_insecure("true");
    ck_assert_int_eq(check("0.0.0.0:1"), SP_OK);
    ck_assert_ptr_nonnull(strstr(sp_security_words(&security), "NOT protected"));
    ck_assert_ptr_nonnull(strstr(sp_security_words(&security), "security.insecure"));
}
END_TEST

/* --- TLS ------------------------------------------------------------------------------------------------------------
 */

static void name_certificates(const char *who)
{
    struct sp_tls_paths paths;
    char cert[64], key[64];

    (void)snprintf(cert, sizeof cert, "one/%s.crt", who);
    (void)snprintf(key, sizeof key, "one/%s.key", who);
    tls_made_paths(&paths, cert, key, "one/ca.crt");
    ck_assert_int_eq(sp_job_set(&job, "security.tls.cert", paths.cert, NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "security.tls.key", paths.key, NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "security.tls.ca", paths.ca, NULL), SP_OK);
}

/* With TLS everywhere, with or without a secret, and it is never insecure. */
START_TEST(test_tls)
{
    for (int k = 0; k < 4; k++) {
        name_certificates("server");
        set_insecure(k % 2 ? "true" : "false");
        load(k < 2 ? "" : "workers", "");
        ck_assert_ptr_nonnull(security.tls);
        for (size_t i = 0; i < UNIT_COUNT(others); i++)
            ck_assert_int_eq(check(others[i]), SP_OK);
        ck_assert(!security.insecure);
        ck_assert_str_eq(sp_security_words(&security),
                         k < 2
                             ? "TLS 1.3 with certificates on both sides"
                             : "TLS 1.3 with certificates on both sides, and workers prove that they hold the secret");
        sp_security_forget(&security);
        ck_assert_ptr_null(security.tls);
    }
}
END_TEST

START_TEST(test_tls_errors_name_the_key)
{
    name_certificates("none");
    refuse("workers", "", SP_E_IO, "security.tls: cannot read the certificate in ");
    name_certificates("worker");
    refuse("", "", SP_E_RANGE, "security.tls: the certificate in ");
}
END_TEST

/* All of it is read anew, or nothing is. */
START_TEST(test_reload)
{
    struct sp_security before;

    name_certificates("server");
    load("workers", "operators");
    before = security;
    write_file("workers", "short", 5, 0600);
    ck_assert_int_eq(sp_security_reload(&security, &job, &error), SP_E_RANGE);
    ck_assert_mem_eq(&security, &before, sizeof before);
    write_file("workers", "0f" WORKERS, strlen(WORKERS) + 2, 0600);
    name_certificates("none");
    ck_assert_int_eq(sp_security_reload(&security, &job, &error), SP_E_IO);
    ck_assert_mem_eq(&security, &before, sizeof before);
    name_certificates("server");
    security.insecure = true;
    ck_assert_int_eq(sp_security_reload(&security, &job, &error), SP_OK);
    ck_assert_uint_eq(security.worker.bytes, 33);
    ck_assert_uint_eq(security.worker.data[0], 0x0f);
    ck_assert(security.insecure);
    ck_assert_ptr_nonnull(security.tls);
    sp_security_forget(&security);
}
END_TEST

static void remove_all(void)
{
    static const char *const names[] = {"workers", "operators", "short", "open", "copy", "bytes", "longer"};
    char path[80];

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

int main(void)
{
    TCase *tests = tcase_create("security");
    int rc;

    if (mkdtemp(folder) == NULL)
        return EXIT_FAILURE;
    tls_made_begin();
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_no_secrets);
    tcase_add_test(tests, test_both_secrets);
    tcase_add_test(tests, test_errors_name_the_key);
    tcase_add_test(tests, test_equal_secrets_are_refused);
    tcase_add_test(tests, test_longer_secret_is_another);
    tcase_add_test(tests, test_forget);
    tcase_add_test(tests, test_loopback);
    tcase_add_test(tests, test_off_loopback_without_a_secret);
    tcase_add_test(tests, test_off_loopback_with_a_secret);
    tcase_add_test(tests, test_one_address_off_loopback_is_enough);
    tcase_add_test(tests, test_words);
    tcase_add_test(tests, test_tls);
    tcase_add_test(tests, test_tls_errors_name_the_key);
    tcase_add_test(tests, test_reload);
    rc = unit_run(suite_create("security"), tests);
    remove_all();
    tls_made_end();
    return rc;
}
