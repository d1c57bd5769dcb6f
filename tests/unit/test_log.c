/* The log, read back through a pipe that keeps writes apart: what comes out of one read was one write. */
#include "common/log.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BYTES 24 /* "2026-01-02 03:04:05.678 " */
#define HEAD_BYTES 14  /* "info  t       " */
#define WRITE_BYTES_MAX 4096

static int catcher[2];
static int real_stderr;

static void catch_stderr(void)
{
    ck_assert_int_eq(pipe2(catcher, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(real_stderr, 0);
    ck_assert_int_ge(dup2(catcher[1], STDERR_FILENO), 0);
}

static void release_stderr(void)
{
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(catcher[0]);
    (void)close(catcher[1]);
    sp_log_set_level(SP_LOG_INFO);
    sp_log_set_name("");
}

/* The next write of the log; false if there was none. */
static bool next_write(char line[WRITE_BYTES_MAX + 1])
{
    ssize_t n = read(catcher[0], line, WRITE_BYTES_MAX);

    if (n < 0) {
        ck_assert_int_eq(errno, EAGAIN);
        return false;
    }
    line[n] = '\0';
    ck_assert_uint_eq(strlen(line), n);
    return true;
}

/* The next event must be one line in one write, whose text after the stamp is this. */
static void expect(const char *text)
{
    char line[WRITE_BYTES_MAX + 1];

    ck_assert(next_write(line));
    ck_assert_uint_gt(strlen(line), STAMP_BYTES);
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
    ck_assert_str_eq(line + STAMP_BYTES, text);
}

static void expect_nothing(void)
{
    char line[WRITE_BYTES_MAX + 1];

    ck_assert(!next_write(line));
}

START_TEST(test_one_line_an_event)
{
    sp_log(SP_LOG_INFO, "peer", "worker %d joined from %s", 2, "127.0.0.1:41234");
    sp_log_warn("round", "late");
    sp_log_error("a-long-tag", "%s", "");
    expect("info  peer    worker 2 joined from 127.0.0.1:41234\n");
    expect("warn  round   late\n");
    expect("error a-long-tag \n");
    expect_nothing();
}
END_TEST

START_TEST(test_stamp)
{
    static const char shape[] = "dddd-dd-dd dd:dd:dd.ddd ";
    char line[WRITE_BYTES_MAX + 1];
    time_t before, after, stamp;
    struct tm parts = {0};

    ck_assert_int_eq(setenv("TZ", "XYZ-5:30", 1), 0);
    tzset();
    before = time(NULL);
    sp_log_info("t", "now");
    after = time(NULL);
    ck_assert(next_write(line));
    for (size_t i = 0; i < STAMP_BYTES; i++) {
        if (shape[i] == 'd')
            ck_assert(line[i] >= '0' && line[i] <= '9');
        else
            ck_assert_int_eq(line[i], shape[i]);
    }
    ck_assert_ptr_eq(strptime(line, "%Y-%m-%d %H:%M:%S", &parts), line + 19);
    parts.tm_isdst = -1;
    stamp = mktime(&parts);
    ck_assert_int_ge(stamp, before - 1); /* time() may lag behind gettimeofday() by a tick */
    ck_assert_int_le(stamp, after + 1);
}
END_TEST

START_TEST(test_levels_filter)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char text[64];

    for (int least = SP_LOG_ERROR; least <= SP_LOG_DEBUG; least++) {
        sp_log_set_level((enum sp_log_level)least);
        sp_log_error("t", "words");
        sp_log_warn("t", "words");
        sp_log_info("t", "words");
        sp_log_debug("t", "words");
        for (int level = SP_LOG_ERROR; level <= least; level++) {
            (void)snprintf(text, sizeof text, "%-5s t       words\n", names[level]);
            expect(text);
        }
        expect_nothing();
    }
}
END_TEST

START_TEST(test_default_level)
{
    sp_log_debug("t", "unseen");
    sp_log_info("t", "seen");
    expect("info  t       seen\n");
    expect_nothing();
}
END_TEST

START_TEST(test_level_names)
{
    static const char *const wrong[] = {"", "Info", "infos", "warning", "0", " info", "debug "};
    enum sp_log_level level = SP_LOG_DEBUG;

    ck_assert(sp_log_level_parse("error", &level));
    ck_assert_int_eq(level, SP_LOG_ERROR);
    ck_assert(sp_log_level_parse("warn", &level));
    ck_assert_int_eq(level, SP_LOG_WARN);
    ck_assert(sp_log_level_parse("info", &level));
    ck_assert_int_eq(level, SP_LOG_INFO);
    ck_assert(sp_log_level_parse("debug", &level));
    ck_assert_int_eq(level, SP_LOG_DEBUG);
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        level = SP_LOG_WARN;
        ck_assert(!sp_log_level_parse(wrong[i], &level));
        ck_assert_int_eq(level, SP_LOG_WARN);
    }
}
END_TEST

START_TEST(test_name)
{
    char name[200], text[300];

    (void)strcpy(name, "worker 3");
    sp_log_set_name(name);
    (void)strcpy(name, "changed!");
    sp_log_info("t", "words");
    expect("info  t       worker 3: words\n");
    sp_log_set_name("");
    sp_log_info("t", "words");
    expect("info  t       words\n");

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    sp_log_set_name(name);
    sp_log_info("t", "words");
    (void)snprintf(text, sizeof text, "info  t       %.63s: words\n", name);
    expect(text);
}
END_TEST

/* Whatever a peer's words hold, an event stays one line. */
START_TEST(test_control_characters)
{
    char text[64];

    for (int c = 1; c < ' '; c++) {
        sp_log_info("t", "a%cb", c);
        expect("info  t       a b\n");
    }
    for (int c = ' '; c < 256; c++) {
        if (c == 0x7f)
            continue;
        sp_log_info("t", "a%cb", c);
        (void)snprintf(text, sizeof text, "info  t       a%cb\n", c);
        expect(text);
    }
    sp_log_set_name("two\nlines");
    sp_log_info("tag\r", "\ttabs\n\n");
    expect("info  tag     two lines:  tabs  \n");
    expect_nothing();
}
END_TEST

/* Every length around the room for a line: cut at its end, never in two writes, and always with its line break. */
START_TEST(test_long_lines_are_cut)
{
    static char words[5000];
    char line[WRITE_BYTES_MAX + 1];
    size_t longest = 0, cut = 0, kept;

    for (size_t i = 0; i < sizeof words - 1; i++)
        words[i] = (char)('a' + i % 26);
    for (size_t length = 1900; length < sizeof words; length += length < 2100 ? 1 : 97) {
        sp_log_info("t", "%.*s", (int)length, words);
        ck_assert(next_write(line));
        ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
        ck_assert_uint_le(strlen(line), 2048);
        line[strlen(line) - 1] = '\0';
        ck_assert_mem_eq(line + STAMP_BYTES, "info  t       ", HEAD_BYTES);
        kept = strlen(line) - STAMP_BYTES - HEAD_BYTES;
        ck_assert_uint_le(kept, length);
        ck_assert_mem_eq(line + STAMP_BYTES + HEAD_BYTES, words, kept);
        cut += kept < length;
        longest = strlen(line) > longest ? strlen(line) : longest;
    }
    expect_nothing();
    ck_assert_uint_ge(longest, 2040);
    ck_assert_uint_gt(cut, 0);
}
END_TEST

/* Nobody reads standard error any more: the program goes on. */
START_TEST(test_write_fails)
{
    (void)close(STDERR_FILENO);
    sp_log_error("t", "into the void");
    ck_assert_int_ge(dup2(catcher[1], STDERR_FILENO), 0);
    sp_log_error("t", "heard again");
    expect("error t       heard again\n");
    expect_nothing();
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("log");

    tcase_add_checked_fixture(tests, catch_stderr, release_stderr);
    tcase_add_test(tests, test_one_line_an_event);
    tcase_add_test(tests, test_stamp);
    tcase_add_test(tests, test_levels_filter);
    tcase_add_test(tests, test_default_level);
    tcase_add_test(tests, test_level_names);
    tcase_add_test(tests, test_name);
    tcase_add_test(tests, test_control_characters);
    tcase_add_test(tests, test_long_lines_are_cut);
    tcase_add_test(tests, test_write_fails);
    return unit_run(suite_create("log"), tests);
}
