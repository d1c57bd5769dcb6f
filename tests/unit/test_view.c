/* The live view without a terminal: what stands in its lines, and that nothing ever leaves the window. */
#include "deploy/tool/view.h"

#include "unit.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define HOSTILE "a\\u001b[31mb\\u009bc\\u202ed\\r\\n\\u4e16\\u754c"

static struct view_page page;
static struct view_curve curve;
static struct view_line line;

static json_t *made_status(unsigned workers, const char *job)
{
    char text[1024];
    json_t *status, *slots = json_array();

    (void)snprintf(
        text, sizeof text,
        "{\"job\":\"%s\",\"stage\":\"running\",\"phase\":\"sign\",\"round\":345,\"rounds\":690,\"epoch\":12.3,"
        "\"epochs\":30,\"live\":%u,\"workers\":%u,\"waits_for\":\"\",\"loss\":0.0312,\"test_accuracy\":0.9722,"
        "\"accuracy_round\":322,\"rate\":0.00123,\"sigma\":0.01,\"eta_seconds\":123.4,\"seconds\":60,"
        "\"vote\":{\"margin\":0.71,\"ties\":0.021,\"flips\":0.1},\"bytes_pushed\":14.5e6,\"bytes_updated\":8.6e6,"
        "\"bytes_float32\":156e6,\"pace\":{\"rounds_per_second\":512,\"bytes_per_second_in\":2.4e6,"
        "\"bytes_per_second_out\":1.4e6,\"round_ms\":1.95,\"waiting_ms\":1.5,\"tally_ms\":0.3,\"send_ms\":0.15},"
        "\"switch\":{\"pending\":true,\"words\":\"would switch at lambda about 0.042; flat windows 1 of 2\"}}",
        job, workers, workers);
    status = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(status);
    for (unsigned i = 0; i < workers; i++) {
        (void)snprintf(text, sizeof text, "10.0.0.%u", i);
        json_array_append_new(slots, json_pack("{s:i, s:s, s:s, s:f, s:f, s:i, s:f}", "slot", (int)i, "state", "live",
                                               "host", text, "latency_ms", 2.0, "disagreement", 0.2, "missed", 0,
                                               "silent_seconds", 0.1));
    }
    json_object_set_new(status, "slots", slots);
    return status;
}

static json_t *slot_of(json_t *status, unsigned i)
{
    return json_array_get(json_object_get(status, "slots"), i);
}

static void render(const json_t *status, unsigned columns, unsigned lines)
{
    const struct view_window window = {.columns = columns, .lines = lines, .utf8 = true};
    const struct view view = {status, &curve, NULL};

    view_render(&view, &window, &page);
}

/* The first line with the words; NULL if there is none. */
static const char *with(const char *words)
{
    for (unsigned i = 0; i < page.count; i++) {
        if (strstr(page.line[i].text, words) != NULL)
            return page.line[i].text;
    }
    return NULL;
}

static void must_have(const char *words)
{
    ck_assert_msg(with(words) != NULL, "no line has '%s'", words);
}

static unsigned measured(const char *text)
{
    wchar_t wide[VIEW_LINE_BYTES];
    size_t n = mbstowcs(wide, text, VIEW_LINE_BYTES);
    int columns = wcswidth(wide, n);

    unit_assert(n != (size_t)-1 && columns >= 0, "'%s' is no text of printable characters", text);
    return (unsigned)columns;
}

static struct view_window plain_window(unsigned columns, bool utf8)
{
    return (struct view_window){.columns = columns, .lines = 1, .utf8 = utf8};
}

START_TEST(test_foreign_text_is_harmless)
{
    const struct view_window wide = plain_window(80, true), ascii = plain_window(80, false);
    char clean[8];

    view_line_begin(&line, &wide);
    view_put(&line, VIEW_ALERT,
             "a\033[31mb\xc2\x9b"
             "c\xe2\x80\xae\r\n\x7f\xff\xe4\xb8\x96.");
    ck_assert_str_eq(line.text, "a?[31mb?c????"
                                "?\xe4\xb8\x96.");
    ck_assert_uint_eq(line.columns, 17);
    view_line_begin(&line, &ascii);
    view_put(&line, VIEW_PLAIN, "x\xe4\xb8\x96y\033");
    ck_assert_str_eq(line.text, "x?y?");
    ck_assert_str_eq(view_clean("\033]0;longer", true, clean, sizeof clean), "?]0;lon");
    ck_assert_str_eq(view_clean("12345\xe4\xb8\x96", true, clean, sizeof clean), "12345");
}
END_TEST

START_TEST(test_a_line_is_cut_at_its_room)
{
    const struct view_window five = plain_window(5, true), ascii = plain_window(5, false);

    view_line_begin(&line, &five);
    view_put(&line, VIEW_PLAIN, "abcde");
    ck_assert(!line.cut);
    ck_assert_str_eq(line.text, "abcde");
    view_put(&line, VIEW_PLAIN, "f");
    ck_assert_str_eq(line.text, "abcd\xe2\x80\xa6");
    view_put(&line, VIEW_PLAIN, "g");
    ck_assert_uint_eq(line.columns, 5);
    view_line_begin(&line, &five); /* a wide character does not find room in one column */
    view_put(&line, VIEW_PLAIN, "abcd\xe4\xb8\x96");
    ck_assert_str_eq(line.text, "abcd\xe2\x80\xa6");
    view_line_begin(&line, &ascii);
    view_put(&line, VIEW_PLAIN, "abcdefg");
    ck_assert_str_eq(line.text, "abcd>");
    view_line_begin(&line, &five);
    ck_assert(view_field(&line, "", "abc"));
    ck_assert(!view_field(&line, ", ", "d"));
    ck_assert_str_eq(line.text, "abc");
    view_line_begin(&line, &five);
    view_put_within(&line, VIEW_PLAIN, 3, "abcd");
    view_put(&line, VIEW_PLAIN, "xy");
    ck_assert_str_eq(line.text, "ab\xe2\x80\xa6xy");
}
END_TEST

START_TEST(test_styles_end_where_they_began)
{
    const struct view_window five = {.columns = 5, .lines = 1, .utf8 = true, .colour = true};

    view_line_begin(&line, &five);
    view_put(&line, VIEW_STRONG, "ab");
    view_put(&line, VIEW_PLAIN, "c");
    ck_assert_str_eq(line.text, "\033[1mab\033[0mc");
    view_put(&line, VIEW_GOOD, "defg");
    ck_assert_str_eq(line.text + line.bytes - 4, "\033[0m");
    ck_assert_uint_eq(line.columns, 5);
}
END_TEST

START_TEST(test_a_line_holds_whatever_is_put)
{
    const struct view_window wide = {.columns = VIEW_COLUMNS_MAX, .lines = 1, .utf8 = true, .colour = true};

    view_line_begin(&line, &wide);
    for (int i = 0; i < 5000; i++)
        view_put(&line, VIEW_ALERT, "\xe2\x96\x81");
    ck_assert_uint_lt(line.bytes, sizeof line.text);
    ck_assert_uint_eq(line.text[line.bytes], '\0');
    ck_assert_uint_le(line.columns, VIEW_COLUMNS_MAX);
}
END_TEST

START_TEST(test_numbers_in_words)
{
    ck_assert_str_eq(view_share(0.71), "71 %");
    ck_assert_str_eq(view_share(0.0212), "2.1 %");
    ck_assert_str_eq(view_share(0.0), "0 %");
    ck_assert_str_eq(view_share((double)NAN), "-");
    ck_assert_str_eq(view_ms(1.953), "1.95 ms");
    ck_assert_str_eq(view_ms(61.24), "61.2 ms");
    ck_assert_str_eq(view_ms(1234.0), "1.2 s");
    ck_assert_str_eq(view_duration(35.2), "35 s");
    ck_assert_str_eq(view_duration(123.4), "2 min 3 s");
    ck_assert_str_eq(view_duration(59.7), "1 min 0 s");
    ck_assert_str_eq(view_duration(11520.0), "3 h 12 min");
    ck_assert_str_eq(view_duration(183600.0), "2 d 3 h");
    ck_assert_str_eq(view_duration((double)NAN), "-");
    ck_assert_str_eq(view_amount(23.1e6), "23.1 MB");
    ck_assert_str_eq(view_amount(999.0), "999 bytes");
    ck_assert_str_eq(view_times(3.14), "3.1");
    ck_assert_str_eq(view_times(13.2), "13");
}
END_TEST

START_TEST(test_the_whole_picture)
{
    json_t *status = made_status(4, "digits");

    render(status, 100, 30);
    must_have("digits  running, sign phase");
    must_have("50.0 %, round 345 of 690, epoch 12.3 of 30, ETA 2 min 3 s");
    must_have("gamma 0.00123, sigma 0.01, vote margin 71 %, ties 2.1 %, flips 10 %");
    must_have("would switch at lambda about 0.042");
    must_have("512 rounds/s, 2.4 MB/s up, 1.4 MB/s down");
    must_have("1.95 ms = 1.5 waiting + 0.3 tally + 0.15 sending");
    must_have("23.1 MB sent, float32 would be 312 MB: 14 times less");
    must_have("loss      0.0312");
    must_have("accuracy  97.22 %");
    must_have("4 of 4 live");
    must_have("   3  10.0.0.3");
    ck_assert_ptr_null(with("slowest"));
    ck_assert_ptr_null(with("waits for"));
    ck_assert_ptr_null(with("more"));
    json_object_set_new(status, "waits_for", json_string("the pushes of slot 2 in round 346"));
    render(status, 100, 30);
    must_have("waits for the pushes of slot 2");
    json_decref(status);
}
END_TEST

START_TEST(test_what_is_missing_is_a_dash)
{
    json_t *status =
        json_loads("{\"job\":\"old\",\"phase\":\"sign\",\"rate\":\"odd\",\"slots\":7,\"switches\":{}}", 0, NULL);

    render(status, 80, 24);
    must_have("gamma -, sigma -, vote margin -, ties -, flips -");
    must_have("- rounds/s");
    must_have("switch    -");
    must_have("accuracy  -");
    json_decref(status);
    render(NULL, 80, 24);
    ck_assert_uint_eq(page.count, 1);
}
END_TEST

START_TEST(test_the_switch_behind_us)
{
    json_t *status = made_status(1, "digits");

    json_object_set_new(status, "phase", json_string("sgd"));
    json_object_set_new(status, "switch", json_pack("{s:b, s:s}", "pending", 0, "words", "old words"));
    json_object_set_new(status, "switches",
                        json_loads("[{\"from\":\"sign\",\"to\":\"sgd\",\"round\":378,"
                                   "\"reason\":\"auto: diminishing returns\"}]",
                                   0, NULL));
    render(status, 100, 24);
    must_have("from sign to sgd after round 378; auto: diminishing returns");
    must_have("sgd       lambda 0.00123");
    ck_assert_ptr_null(with("sigma"));
    ck_assert_ptr_null(with("old words"));
    json_decref(status);
}
END_TEST

START_TEST(test_the_slowest_is_marked)
{
    json_t *status = made_status(4, "digits");

    json_object_set_new(slot_of(status, 2), "latency_ms", json_real(6.2));
    render(status, 100, 30);
    ck_assert_ptr_nonnull(strstr(with("   2  10.0.0.2"), "slowest, 3.1 times the median"));
    render(status, 60, 30);
    ck_assert_ptr_nonnull(strstr(with("   2  10.0.0.2"), "slowest, 3.1x"));
    render(status, 40, 10); /* no table: the line that sums up says it, if there is room */
    ck_assert_ptr_null(with("10.0.0.2"));
    render(status, 100, 12);
    must_have("slot 2 is slowest, 3.1 times the median");
    json_object_set_new(slot_of(status, 2), "latency_ms", json_real(2.9));
    render(status, 100, 30);
    ck_assert_ptr_null(with("slowest"));
    json_decref(status);
}
END_TEST

START_TEST(test_of_many_workers_the_worst_come_first)
{
    json_t *status = made_status(255, "digits");

    json_object_set_new(slot_of(status, 200), "state", json_string("empty"));
    json_object_set_new(slot_of(status, 100), "latency_ms", json_real(50.0));
    json_object_set_new(slot_of(status, 150), "suspected", json_true());
    render(status, 80, 24);
    ck_assert_uint_eq(page.count, 24);
    ck_assert_ptr_nonnull(strstr(page.line[12].text, " 200  10.0.0.200"));
    ck_assert_ptr_nonnull(strstr(page.line[13].text, " 150  10.0.0.150"));
    ck_assert_ptr_nonnull(strstr(page.line[14].text, " 100  10.0.0.100"));
    ck_assert_str_eq(page.line[23].text, "and 244 more, all live");
    for (unsigned i = 1; i < 255; i++)
        json_object_set_new(slot_of(status, i), "state", json_string("empty"));
    render(status, 80, 24);
    ck_assert_str_eq(page.line[23].text, "and 244 more, 243 of them not live");
    json_decref(status);
}
END_TEST

/* Whatever the window, the names and the numbers. */
static void check_window(const json_t *status, const char *trouble, unsigned columns, unsigned lines)
{
    const struct view_window window = {.columns = columns, .lines = lines, .utf8 = true};
    const struct view view = {status, &curve, trouble};

    view_render(&view, &window, &page);
    unit_assert(page.count >= 1 && page.count <= lines, "%u lines of %u", page.count, lines);
    for (unsigned i = 0; i < page.count; i++) {
        unit_assert(page.line[i].columns <= columns, "'%s' is wider than %u", page.line[i].text, columns);
        unit_assert(measured(page.line[i].text) == page.line[i].columns, "'%s' is %u wide", page.line[i].text,
                    page.line[i].columns);
    }
}

START_TEST(test_nothing_leaves_the_window)
{
    json_t *status = made_status(30, HOSTILE HOSTILE HOSTILE);

    for (unsigned i = 0; i < 30; i++)
        json_object_set_new(slot_of(status, i), i % 2 != 0 ? "host" : "state",
                            json_string("\033]0;title\007\xe4\xb8\x96\xe7\x95\x8c\xe4\xb8\x96\xe7\x95\x8c long name"));
    json_object_set_new(status, "waits_for",
                        json_string("\033[2Jsomething with a very long description, and more of it"));
    json_object_set_new(status, "bytes_pushed", json_real(1e300));
    json_object_set_new(status, "round", json_real(-1e300));
    json_object_set_new(status, "eta_seconds", json_real(1e300));
    json_object_set_new(slot_of(status, 3), "missed", json_real(1e18));
    for (uint32_t i = 1; i < 100; i++)
        curve.point[curve.count++] = (struct view_point){i, i, 1.0 / i, i / 100.0};
    for (unsigned columns = 20; columns <= 140; columns += columns < 60 ? 1 : 9) {
        for (unsigned lines = 1; lines <= 44; lines++) {
            check_window(status, NULL, columns, lines);
            check_window(status, "no answer since 12:00:00\033[H", columns, lines);
        }
    }
    check_window(status, NULL, 5000, 5000);
    json_decref(status);
}
END_TEST

START_TEST(test_a_short_window_keeps_what_matters)
{
    json_t *status = made_status(4, "digits");

    json_object_set_new(status, "waits_for", json_string("slot 3"));
    render(status, 40, 4);
    must_have("digits");
    must_have("50.0 %");
    must_have("waits for slot 3");
    must_have("4 of 4 live");
    json_decref(status);
}
END_TEST

static json_t *points(const char *text)
{
    json_t *answer = json_object();

    json_object_set_new(answer, "points", json_loads(text, 0, NULL));
    return answer;
}

START_TEST(test_the_curve_is_put_together)
{
    json_t *answer;

    ck_assert_uint_eq(view_curve_from(&curve), 0);
    answer = points("[{\"first\":1,\"round\":4,\"train_loss\":2.0,\"test_accuracy\":null},"
                    "{\"first\":5,\"round\":6,\"train_loss\":1.0,\"test_accuracy\":0.5}]");
    view_curve_take(&curve, answer);
    json_decref(answer);
    ck_assert_uint_eq(curve.count, 2);
    ck_assert(isnan(curve.point[0].accuracy));
    ck_assert_uint_eq(view_curve_from(&curve), 4);
    answer =
        points("[{\"first\":5,\"round\":8,\"train_loss\":0.9},{\"first\":9,\"round\":9,\"train_loss\":0.8}, 7, {}]");
    view_curve_take(&curve, answer);
    json_decref(answer);
    ck_assert_uint_eq(curve.count, 3);
    ck_assert_uint_eq(curve.point[1].round, 8);
    answer = points("[{\"first\":1,\"round\":16,\"train_loss\":0.7}]"); /* merged by the server */
    view_curve_take(&curve, answer);
    json_decref(answer);
    ck_assert_uint_eq(curve.count, 1);
    view_curve_cut(&curve, 10);
    ck_assert_uint_eq(curve.count, 0);
}
END_TEST

START_TEST(test_a_curve_of_ones_own)
{
    json_t *status = made_status(1, "digits");

    for (int i = 1; i <= 3 * VIEW_POINTS_MAX; i++) {
        json_object_set_new(status, "round", json_integer(i));
        json_object_set_new(status, "test_accuracy", json_real(i < 100 ? 0.5 : 0.75));
        view_curve_note(&curve, status);
        view_curve_note(&curve, status);
    }
    ck_assert_uint_le(curve.count, VIEW_POINTS_MAX);
    ck_assert_uint_eq(curve.point[0].first, 1);
    for (unsigned i = 1; i < curve.count; i++)
        ck_assert_uint_eq(curve.point[i].first, curve.point[i - 1].round + 1);
    ck_assert_uint_eq(curve.point[curve.count - 1].round, 3 * VIEW_POINTS_MAX);
    json_decref(status);
}
END_TEST

START_TEST(test_the_picture_of_a_curve)
{
    const struct view_window wide = plain_window(80, true), ascii = plain_window(80, false);

    for (uint32_t i = 0; i < 8; i++)
        curve.point[curve.count++] = (struct view_point){i + 1, i + 1, (double)NAN, i / 7.0};
    view_line_begin(&line, &wide);
    ck_assert_uint_eq(view_curve_draw(&curve, false, 80, &line), 1);
    ck_assert_str_eq(
        line.text, "\xe2\x96\x81\xe2\x96\x82\xe2\x96\x83\xe2\x96\x84\xe2\x96\x85\xe2\x96\x86\xe2\x96\x87\xe2\x96\x88");
    view_line_begin(&line, &ascii);
    ck_assert_uint_eq(view_curve_draw(&curve, false, 2, &line), 5);
    ck_assert_str_eq(line.text, "_#");
    view_line_begin(&line, &ascii);
    ck_assert_uint_eq(view_curve_draw(&curve, true, 80, &line), 0);
    ck_assert_str_eq(line.text, "");
    for (uint32_t i = 8; i < 400; i++) /* of many, the later half, which is level */
        curve.point[curve.count++] = (struct view_point){i + 1, i + 1, (double)NAN, i < 200 ? 0.0 : 0.5};
    view_line_begin(&line, &ascii);
    ck_assert_uint_eq(view_curve_draw(&curve, false, 10, &line), 201);
    ck_assert_str_eq(line.text, "__________");
    curve.point[390].accuracy = 0.6;
    view_line_begin(&line, &ascii);
    ck_assert_uint_eq(view_curve_draw(&curve, false, 10, &line), 201);
    ck_assert_str_eq(line.text, "_________#");
    curve.count = 1;
    view_line_begin(&line, &ascii); /* one value has no height */
    ck_assert_uint_eq(view_curve_draw(&curve, false, 80, &line), 1);
    ck_assert_str_eq(line.text, "_");
}
END_TEST

static char heard[2048];

static void hear(void *arg, const char *words)
{
    (void)arg;
    ck_assert_uint_lt(strlen(heard) + strlen(words) + 2, sizeof heard);
    (void)strcat(strcat(heard, words), "\n");
}

START_TEST(test_events)
{
    json_t *before = made_status(3, "digits"), *after = made_status(3, "digits");

    heard[0] = '\0';
    view_events(NULL, after, hear, NULL);
    view_events(before, after, hear, NULL);
    ck_assert_str_eq(heard, "");
    json_object_set_new(after, "pid", json_integer(2));
    json_object_set_new(slot_of(before, 1), "state", json_string("empty"));
    json_object_set_new(slot_of(after, 1), "joins", json_integer(2));
    json_object_set_new(slot_of(after, 2), "state", json_string("empty"));
    json_object_set_new(after, "stage", json_string("closing"));
    json_object_set_new(after, "switches",
                        json_loads("[{\"from\":\"sign\",\"to\":\"sgd\",\"round\":3,\"reason\":\"why\"}]", 0, NULL));
    view_events(before, after, hear, NULL);
    ck_assert_str_eq(heard, "the server was started again, and goes on from round 345\nclosing (it was "
                            "running)\nswitched from sign to sgd after round 3; why\nworker 1 is back, at "
                            "10.0.0.1\nworker 2 is lost\n");
    json_decref(before);
    json_decref(after);
}
END_TEST

START_TEST(test_the_job_in_one_line)
{
    const struct view_window wide = plain_window(VIEW_COLUMNS_MAX, true);
    json_t *status = made_status(4, "digits");

    view_line_begin(&line, &wide);
    view_sum_up(status, &line);
    ck_assert_str_eq(line.text,
                     "digits: running, sign phase, round 345 of 690 (50.0 %), epoch 12.3 of 30, loss 0.0312, "
                     "accuracy 97.22 %, 512 rounds/s, ETA 2 min 3 s, 4 of 4 workers");
    json_decref(status);
}
END_TEST

static void set_up(void)
{
    ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
    memset(&curve, 0, sizeof curve);
}

int main(void)
{
    Suite *suite = suite_create("view");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, test_foreign_text_is_harmless);
    tcase_add_test(tests, test_a_line_is_cut_at_its_room);
    tcase_add_test(tests, test_styles_end_where_they_began);
    tcase_add_test(tests, test_a_line_holds_whatever_is_put);
    tcase_add_test(tests, test_numbers_in_words);
    tcase_add_test(tests, test_the_whole_picture);
    tcase_add_test(tests, test_what_is_missing_is_a_dash);
    tcase_add_test(tests, test_the_switch_behind_us);
    tcase_add_test(tests, test_the_slowest_is_marked);
    tcase_add_test(tests, test_of_many_workers_the_worst_come_first);
    tcase_add_test(tests, test_nothing_leaves_the_window);
    tcase_add_test(tests, test_a_short_window_keeps_what_matters);
    tcase_add_test(tests, test_the_curve_is_put_together);
    tcase_add_test(tests, test_a_curve_of_ones_own);
    tcase_add_test(tests, test_the_picture_of_a_curve);
    tcase_add_test(tests, test_events);
    tcase_add_test(tests, test_the_job_in_one_line);
    return unit_run(suite, tests);
}
