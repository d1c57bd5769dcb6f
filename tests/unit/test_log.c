/* The log, read back through a pipe that keeps writes apart: what comes out of one read was one write. */
#include "common/log.h"
#include "common/log_json.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BYTES 24 /* "2026-01-02 03:04:05.678 " */
#define HEAD_BYTES 14  /* "info  t       " */
#define WRITE_BYTES_MAX 4096

static int catcher[2];
static int real_stderr;
static uint64_t now_ms = 1;

static uint64_t made_clock(void)
{
    return now_ms;
}

/* What was said before may be said again. */
static void later(void)
{
    now_ms += SP_LOG_REPEAT_MS;
}

static void catch_stderr(void)
{
    later();
    sp_log_set_clock(made_clock);
    ck_assert_int_eq(pipe2(catcher, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(real_stderr, 0);
    ck_assert_int_ge(dup2(catcher[1], STDERR_FILENO), 0);
}

static void release_stderr(void)
{
    sp_log_flush();
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(catcher[0]);
    (void)close(catcher[1]);
    sp_log_set_level(SP_LOG_INFO);
    sp_log_set_format(SP_LOG_TEXT);
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
        later();
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
    later();
    sp_log_info("t", "words");
    expect("info  t       words\n");

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    sp_log_set_name(name);
    later();
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
        later();
        sp_log_info("t", "a%cb", c);
        (void)snprintf(text, sizeof text, "info  t       a%cb\n", c < 0x7f ? c : ' ');
        expect(text);
    }
    sp_log_info("t", "a\xc2\x9b b\xc3\xa9 \xe2\x96\x88"); /* U+009B is a terminal's CSI */
    expect("info  t       a   b\xc3\xa9 \xe2\x96\x88\n");
    sp_log_set_name("two\nlines");
    sp_log_info("tag\r", "\ttabs\n\n");
    expect("info  tag     two lines:  tabs  \n");
    expect_nothing();
}
END_TEST

/* Nobody reads, as where the program that does is stopped: lines get lost, are counted, and nothing waits for them. */
START_TEST(test_a_reader_that_stands_still)
{
    char line[WRITE_BYTES_MAX + 1], text[80];
    unsigned taken = 0;

    ck_assert_int_eq(fcntl(catcher[1], F_SETFL, O_DIRECT), 0); /* a write that does not fit would wait for ever */
    for (unsigned i = 0; i < 1000; i++) {
        later();
        sp_log_info("t", "line %u", i);
    }
    while (next_write(line))
        taken++;
    ck_assert_uint_gt(taken, 0);
    ck_assert_uint_lt(taken, 1000);
    sp_log_info("t", "read again");
    (void)snprintf(text, sizeof text, "warn  log     %u lines are missing here: nobody read them\n", 1000 - taken);
    expect(text);
    expect("info  t       read again\n");
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
        later(); /* what is left of two that were cut is equal */
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

/* --- JSON ------------------------------------------------------------------------------------------------------------
 */

/* The next event, which must be one line in one write, and an object whose members are all strings. */
static json_t *next_object(size_t *bytes)
{
    char line[WRITE_BYTES_MAX + 1];
    json_t *object, *value;
    json_error_t error;
    const char *key;

    ck_assert(next_write(line));
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
    ck_assert_uint_le(strlen(line), SP_LOG_JSON_LINE_BYTES_MAX);
    for (const char *c = line; c[1] != '\0'; c++)
        ck_assert((unsigned char)*c >= ' ' && *c != 0x7f);
    object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json_is_object(object), "%s: %s", error.text, line);
    json_object_foreach(object, key, value) ck_assert(json_is_string(value));
    *bytes = strlen(line);
    return object;
}

static void expect_member(const json_t *object, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (value == NULL)
        ck_assert_ptr_null(text);
    else
        ck_assert_str_eq(text, value);
}

static void expect_message(const char *message)
{
    size_t bytes;
    json_t *object = next_object(&bytes);

    expect_member(object, "message", message);
    json_decref(object);
}

START_TEST(test_json)
{
    size_t bytes;
    json_t *object;

    sp_log_set_format(SP_LOG_JSON);
    sp_log_info("peer", "worker %d joined", 2);
    object = next_object(&bytes);
    ck_assert_uint_eq(json_object_size(object), 4);
    expect_member(object, "level", "info");
    expect_member(object, "tag", "peer");
    expect_member(object, "name", NULL);
    expect_member(object, "message", "worker 2 joined");
    json_decref(object);
    sp_log_set_name("worker 3");
    sp_log_error("a\"tag", "%s", "");
    object = next_object(&bytes);
    ck_assert_uint_eq(json_object_size(object), 5);
    expect_member(object, "level", "error");
    expect_member(object, "tag", "a\"tag");
    expect_member(object, "name", "worker 3");
    expect_member(object, "message", "");
    json_decref(object);
    expect_nothing();
}
END_TEST

/* RFC 3339 with milliseconds, local time with its offset, west and east of Greenwich. */
START_TEST(test_json_time)
{
    static const struct {
        const char *zone, *offset;
        long seconds;
    } zones[] = {{"XYZ-5:30", "+05:30", 19800}, {"XYZ3:30", "-03:30", -12600}, {"UTC", "+00:00", 0}};
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.ddd";

    sp_log_set_format(SP_LOG_JSON);
    for (size_t i = 0; i < UNIT_COUNT(zones); i++) {
        struct tm parts = {0};
        const char *text;
        size_t bytes;
        json_t *object;
        time_t now;

        ck_assert_int_eq(setenv("TZ", zones[i].zone, 1), 0);
        tzset();
        later();
        sp_log_info("t", "now");
        now = time(NULL);
        object = next_object(&bytes);
        text = json_string_value(json_object_get(object, "time"));
        ck_assert_uint_eq(strlen(text), strlen(shape) + 6);
        for (size_t k = 0; k < strlen(shape); k++)
            ck_assert(shape[k] == 'd' ? text[k] >= '0' && text[k] <= '9' : text[k] == shape[k]);
        ck_assert_str_eq(text + strlen(shape), zones[i].offset);
        ck_assert_ptr_eq(strptime(text, "%Y-%m-%dT%H:%M:%S", &parts), text + 19);
        ck_assert_int_le(labs((long)(timegm(&parts) - zones[i].seconds - now)), 2);
        json_decref(object);
    }
}
END_TEST

/* Each byte between two others, and characters of every length. */
START_TEST(test_json_escapes)
{
    static const struct {
        const char *words, *read;
    } cases[] = {
        {"\"quoted\" \\ /", "\"quoted\" \\ /"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xf4\x8f\xbf\xbf|\xed\x9f\xbf|\xee\x80\x80", "\xf4\x8f\xbf\xbf|\xed\x9f\xbf|\xee\x80\x80"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* an overlong NUL */
        {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* an overlong / */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* a surrogate */
        {"\xf0\x8f\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond the last */
        {"a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd"},                               /* ends too early */
        {"\xe2\x82\"", "\xef\xbf\xbd\xef\xbf\xbd\""},                             /* the same */
    };
    char text[64];

    sp_log_set_format(SP_LOG_JSON);
    for (int c = 1; c < 256; c++) {
        sp_log_info("t", "a%cb", c);
        (void)snprintf(text, sizeof text,
                       c < 0x80 ? "a%cb"
                                : "a\xef\xbf\xbd"
                                  "b%.0d",
                       c < 0x80 ? c : 0);
        later();
        expect_message(text);
    }
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        sp_log_info("t", "%s", cases[i].words);
        expect_message(cases[i].read);
    }
    sp_log_set_name("two\nlines\xff");
    sp_log_info("tag\r", "words");
    expect_message("words");
}
END_TEST

/* Cut at any length, with characters that take 1 to 6 bytes: still an object, and what is left begins the message. */
START_TEST(test_json_is_cut)
{
    static const struct {
        const char *piece, *read;
    } pieces[] = {
        {"a", "a"}, {"\"", "\""}, {"\x01", "\x01"}, {"\xff", "\xef\xbf\xbd"}, {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    static char words[5000];
    size_t longest = 0, bytes;

    sp_log_set_format(SP_LOG_JSON);
    for (size_t p = 0; p < UNIT_COUNT(pieces); p++) {
        for (size_t length = 600; length < 4900; length += length < 720 || (length > 1990 && length < 2060) ? 1 : 97) {
            const size_t piece = strlen(pieces[p].piece);
            json_t *object;
            const char *message;

            for (size_t i = 0; i < length; i++)
                words[i] = pieces[p].piece[i % piece];
            words[length / piece * piece] = '\0';
            later();
            sp_log_info("t", "%s", words);
            object = next_object(&bytes);
            message = json_string_value(json_object_get(object, "message"));
            ck_assert_mem_eq(message, pieces[p].read, strlen(pieces[p].read));
            longest = bytes > longest ? bytes : longest;
            json_decref(object);
        }
    }
    ck_assert_uint_ge(longest, SP_LOG_JSON_LINE_BYTES_MAX - 6);
}
END_TEST

/* Whatever the room is. */
START_TEST(test_json_line_in_little_room)
{
    char text[400];

    for (size_t room = 64; room < 300; room++) {
        struct sp_json_line line;
        json_t *object;

        sp_json_line_begin(&line, text, room);
        for (int i = 0; i < 3; i++)
            sp_json_line_put(&line,
                             i == 0   ? "a"
                             : i == 1 ? "bb"
                                      : "a-longer-key",
                             "\x01\"\xc3\xa4 and more words of this value, so that little is left of the room");
        ck_assert_uint_le(sp_json_line_end(&line), room);
        object = json_loadb(text, line.used + 1, JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(json_is_object(object), "room %zu: %.*s", room, (int)line.used, text);
        ck_assert_uint_eq(json_object_size(object), room > 250 ? 3 : json_object_size(object));
        json_decref(object);
    }
}
END_TEST

START_TEST(test_format_names)
{
    enum sp_log_format format = SP_LOG_TEXT;

    ck_assert(sp_log_format_parse("json", &format));
    ck_assert_int_eq(format, SP_LOG_JSON);
    ck_assert(!sp_log_format_parse("JSON", &format));
    ck_assert(!sp_log_format_parse("", &format));
    ck_assert(!sp_log_format_parse("texts", &format));
    ck_assert_int_eq(format, SP_LOG_JSON);
    ck_assert(sp_log_format_parse("text", &format));
    ck_assert_int_eq(format, SP_LOG_TEXT);
}
END_TEST

/* --- messages that come again ----------------------------------------------------------------------------------------
 */

START_TEST(test_repeats_are_counted)
{
    for (int i = 0; i < 18; i++)
        sp_log_warn("t", "the disk is full");
    expect("warn  t       the disk is full\n");
    expect_nothing();
    now_ms += SP_LOG_REPEAT_MS - 1;
    sp_log_info("other", "not yet");
    expect("info  other   not yet\n");
    expect_nothing();
    now_ms += 1;
    sp_log_info("other", "now");
    expect("warn  t       the disk is full (this was said 17 more times in 10 s)\n");
    expect("info  other   now\n");
    sp_log_warn("t", "the disk is full");
    expect("warn  t       the disk is full\n");
    expect_nothing();
}
END_TEST

/* The count is said before the message itself is written again. */
START_TEST(test_repeat_after_its_time)
{
    sp_log_error("t", "words");
    sp_log_error("t", "words");
    now_ms += SP_LOG_REPEAT_MS + 1500;
    sp_log_error("t", "words");
    expect("error t       words\n");
    expect("error t       words (this was said 1 more time in 12 s)\n");
    expect("error t       words\n");
    expect_nothing();
    now_ms += SP_LOG_REPEAT_MS - 1;
    sp_log_error("t", "words");
    expect_nothing();
}
END_TEST

START_TEST(test_other_level_tag_or_words_are_no_repeat)
{
    sp_log_error("t", "words");
    sp_log_warn("t", "words");
    sp_log_error("u", "words");
    sp_log_error("t", "word");
    sp_log_error("t", "words ");
    expect("error t       words\n");
    expect("warn  t       words\n");
    expect("error u       words\n");
    expect("error t       word\n");
    expect("error t       words \n");
    expect_nothing();
}
END_TEST

/* A message that is not counted any more for lack of places is written: of many different ones each is, and none of
 * their repeats is lost. */
START_TEST(test_many_messages)
{
    char line[WRITE_BYTES_MAX + 1];
    unsigned written = 0, counted = 0;

    for (int i = 0; i < 200; i++) {
        for (int n = 0; n < 3; n++)
            sp_log_error("t", "message %d", i);
        while (next_write(line)) {
            unsigned more = 0;
            const char *words = strstr(line, "(this was said ");

            if (words != NULL) {
                ck_assert_int_eq(sscanf(words, "(this was said %u more time", &more), 1);
                counted += more;
            } else {
                written++;
                ck_assert_int_eq(atoi(strstr(line, "message ") + 8), i);
            }
        }
        ck_assert_uint_eq(written, i + 1);
    }
    sp_log_flush();
    while (next_write(line)) {
        ck_assert_ptr_nonnull(strstr(line, "(this was said 2 more times in 0 s)"));
        counted += 2;
    }
    ck_assert_uint_eq(counted, 2 * written);
}
END_TEST

/* Said by its beginning, in JSON as well. */
START_TEST(test_repeats_of_long_messages)
{
    static char words[2000], text[WRITE_BYTES_MAX + 1];

    memset(words, 'w', sizeof words - 1);
    sp_log_info("t", "%s", words);
    sp_log_info("t", "%s", words);
    words[sizeof words - 2] = 'v';
    sp_log_info("t", "%s", words);
    ck_assert(next_write(text));
    ck_assert(next_write(text));
    expect_nothing();
    sp_log_set_format(SP_LOG_JSON);
    sp_log_flush();
    words[159] = '\0';
    (void)snprintf(text, sizeof text, "%s... (this was said 1 more time in 0 s)", words);
    expect_message(text);
    sp_log_flush();
    expect_nothing();
}
END_TEST

START_TEST(test_debug_holds_nothing_back)
{
    sp_log_set_level(SP_LOG_DEBUG);
    sp_log_info("t", "words");
    sp_log_info("t", "words");
    expect("info  t       words\n");
    expect("info  t       words\n");
    expect_nothing();
}
END_TEST

START_TEST(test_said_at_exit)
{
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        sp_log_warn("t", "words");
        sp_log_warn("t", "words");
        exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    expect("warn  t       words\n");
    expect("warn  t       words (this was said 1 more time in 0 s)\n");
    expect_nothing();
}
END_TEST

#define THREADS 4
#define THREAD_LINES 500

static void *log_much(void *arg)
{
    for (int i = 0; i < THREAD_LINES; i++) {
        sp_log_info("t", "all say this");
        sp_log_info("t", "thread %d: %d", *(int *)arg, i);
    }
    return NULL;
}

/* Lines of several threads are whole, each is there, and no repeat goes uncounted. */
START_TEST(test_threads)
{
    static int numbers[THREADS];
    static char line[WRITE_BYTES_MAX + 1];
    pthread_t threads[THREADS];
    unsigned own = 0, same = 0;
    FILE *file = tmpfile();

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_much, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    sp_log_flush();
    rewind(file);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned more;
        int thread, n;

        if (sscanf(line + STAMP_BYTES, "info  t       thread %d: %d\n", &thread, &n) == 2)
            own++;
        else if (sscanf(line + STAMP_BYTES, "info  t       all say this (this was said %u more", &more) == 1)
            same += more;
        else if (strcmp(line + STAMP_BYTES, "info  t       all say this\n") == 0)
            same++;
        else
            ck_abort_msg("a broken line: %s", line);
    }
    (void)fclose(file);
    ck_assert_uint_eq(own, THREADS * THREAD_LINES);
    ck_assert_uint_eq(same, THREADS * THREAD_LINES);
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
    tcase_add_test(tests, test_a_reader_that_stands_still);
    tcase_add_test(tests, test_long_lines_are_cut);
    tcase_add_test(tests, test_write_fails);
    tcase_add_test(tests, test_json);
    tcase_add_test(tests, test_json_time);
    tcase_add_test(tests, test_json_escapes);
    tcase_add_test(tests, test_json_is_cut);
    tcase_add_test(tests, test_json_line_in_little_room);
    tcase_add_test(tests, test_format_names);
    tcase_add_test(tests, test_repeats_are_counted);
    tcase_add_test(tests, test_repeat_after_its_time);
    tcase_add_test(tests, test_other_level_tag_or_words_are_no_repeat);
    tcase_add_test(tests, test_many_messages);
    tcase_add_test(tests, test_repeats_of_long_messages);
    tcase_add_test(tests, test_debug_holds_nothing_back);
    tcase_add_test(tests, test_said_at_exit);
    tcase_add_test(tests, test_threads);
    return unit_run(suite_create("log"), tests);
}
