/* What a run leaves in its folder: lines of the history, the model, whole files. */
#include "server/point.h"
#include "server/record.h"
#include "unit.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static char folder[] = "/tmp/test_record.XXXXXX";
static char run[80];
static struct sp_layout layout;
static struct sp_record record;
static struct sp_error error;

static void add(const char *name, uint32_t flags, uint32_t dims, const uint64_t shape[])
{
    struct sp_tensor tensor = {.dims = dims, .flags = flags};

    (void)strcpy(tensor.name, name);
    memcpy(tensor.shape, shape, dims * sizeof *shape);
    ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
}

static void open_record(void)
{
    ck_assert_msg(sp_record_open(&record, run, &error) == SP_OK, "%s", error.text);
    ck_assert_msg(sp_record_begin(&record, &error) == SP_OK, "%s", error.text);
}

static void setup(void)
{
    memset(&layout, 0, sizeof layout);
    add("w", SP_TENSOR_DECAY, 2, (const uint64_t[]){3, 4});
    add("bn", 0, 1, (const uint64_t[]){2});
    add("b", 0, 1, (const uint64_t[]){3});
    add("bn.mean", SP_TENSOR_BUFFER, 1, (const uint64_t[]){2});
    add("bn.count", SP_TENSOR_BUFFER, 3, (const uint64_t[]){1, 2, 2});
    sp_layout_set_traits(&layout, (const uint8_t[]){SP_TENSOR_DECAY, SP_TENSOR_FULL, 0});
    open_record();
}

static void teardown(void)
{
    sp_record_close(&record);
    sp_layout_finish(&layout);
}

static const char *path_of(const char *name)
{
    static char path[160];

    (void)snprintf(path, sizeof path, "%s/%s", run, name);
    return path;
}

static bool exists(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

/* The history's line n, from 0, as JSON; the file has `lines`. */
static json_t *read_line(unsigned n, unsigned lines)
{
    FILE *file = fopen(path_of("history.jsonl"), "re");
    char text[8192], wanted[8192] = "";
    unsigned count = 0;
    json_t *line;

    ck_assert_ptr_nonnull(file);
    while (fgets(text, sizeof text, file) != NULL) {
        ck_assert_int_eq(text[strlen(text) - 1], '\n');
        if (count++ == n)
            (void)strcpy(wanted, text);
    }
    (void)fclose(file);
    ck_assert_uint_eq(count, lines);
    line = json_loads(wanted, JSON_REJECT_DUPLICATES, NULL);
    ck_assert(json_is_object(line));
    return line;
}

static double number(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);

    ck_assert_msg(json_is_number(value), "no number '%s'", key);
    return json_number_value(value);
}

static void expect_text(const json_t *line, const char *key, const char *expected)
{
    const json_t *value = json_object_get(line, key);

    ck_assert_msg(json_is_string(value), "no text '%s'", key);
    ck_assert_str_eq(json_string_value(value), expected);
}

static void expect_null(const json_t *line, const char *key)
{
    ck_assert_msg(json_is_null(json_object_get(line, key)), "'%s' is not null", key);
}

/* --- events --------------------------------------------------------------------------------------------------------
 */

static const struct sp_numbers numbers = {.a = 1.5,
                                          .b = 2.5,
                                          .e = 3.5,
                                          .d = 4.5,
                                          .noise_scale = 5.5,
                                          .rounds_seen = 6,
                                          .first_loss = 7.5,
                                          .best_loss = 8.5,
                                          .last_gain = 9.5,
                                          .window = 10,
                                          .windows = 11,
                                          .flat = 12,
                                          .lambda_now = 13.5,
                                          .lambda_mean = 14.5,
                                          .settled = 15};

static struct sp_event an_event(enum sp_event_type type)
{
    struct sp_event event = {.type = type,
                             .round = 42,
                             .from = SP_PHASE_MARGIN,
                             .to = SP_PHASE_SGD,
                             .test = "until",
                             .reason = "a \"reason\"\n",
                             .gamma = 0.25,
                             .rule = "ratio",
                             .lambda = 0.125,
                             .numbers = numbers};

    return event;
}

static void write_event(const struct sp_event *event)
{
    ck_assert_msg(sp_record_event(&record, event, &layout, 12.5, &error) == SP_OK, "%s", error.text);
}

static void expect_numbers(const json_t *line)
{
    static const struct {
        const char *key;
        double value;
    } keys[] = {{"a", 1.5},
                {"b", 2.5},
                {"e", 3.5},
                {"d", 4.5},
                {"noise_scale", 5.5},
                {"rounds_seen", 6},
                {"first_loss", 7.5},
                {"best_loss", 8.5},
                {"last_gain", 9.5},
                {"window", 10},
                {"windows", 11},
                {"flat_windows", 12},
                {"lambda_now", 13.5},
                {"lambda_mean", 14.5},
                {"settled_rounds", 15},
                {"seconds", 12.5}};

    for (size_t i = 0; i < UNIT_COUNT(keys); i++)
        ck_assert_double_eq(number(line, keys[i].key), keys[i].value);
}

/* One line each, with all that it was made from. */
START_TEST(test_events)
{
    static const char *const names[] = {"switch", "rates", "dry_run", "refusal"};

    for (enum sp_event_type type = SP_EVENT_SWITCH; type <= SP_EVENT_REFUSAL; type++) {
        struct sp_event event = an_event(type);
        json_t *line;

        event.about = type == SP_EVENT_DRY_RUN;
        write_event(&event);
        line = read_line(type, type + 1);
        ck_assert_uint_eq(json_object_size(line), 26);
        expect_text(line, "event", names[type]);
        ck_assert_double_eq(number(line, "round"), 42);
        expect_text(line, "phase", "margin");
        expect_text(line, "to", "sgd");
        expect_text(line, "test", "until");
        expect_text(line, "reason", "a \"reason\"\n");
        ck_assert_double_eq(number(line, "gamma"), 0.25);
        expect_text(line, "rule", "ratio");
        ck_assert_double_eq(number(line, "lambda"), 0.125);
        ck_assert(json_is_boolean(json_object_get(line, "lambda_is_a_guess")));
        ck_assert_int_eq(json_is_true(json_object_get(line, "lambda_is_a_guess")), type == SP_EVENT_DRY_RUN);
        expect_numbers(line);
        json_decref(line);
    }
}
END_TEST

START_TEST(test_quarantine)
{
    const struct sp_event event = {.type = SP_EVENT_QUARANTINE,
                                   .round = 80,
                                   .from = SP_PHASE_SIGN,
                                   .to = SP_PHASE_SIGN,
                                   .suspect = {14, 8, 13, -0.25, 4},
                                   .excluded = true,
                                   .reason = "words"};
    json_t *line;

    write_event(&event);
    line = read_line(0, 1);
    ck_assert_uint_eq(json_object_size(line), 11);
    expect_text(line, "event", "quarantine");
    ck_assert_double_eq(number(line, "round"), 80);
    expect_text(line, "phase", "sign");
    ck_assert_double_eq(number(line, "slot"), 14);
    ck_assert_double_eq(number(line, "opposed"), 8);
    ck_assert_double_eq(number(line, "others"), 13);
    ck_assert_double_eq(number(line, "correlation"), -0.25);
    ck_assert_double_eq(number(line, "samples"), 4);
    ck_assert(json_is_true(json_object_get(line, "excluded")));
    expect_text(line, "reason", "words");
    ck_assert_double_eq(number(line, "seconds"), 12.5);
    json_decref(line);
}
END_TEST

/* A rate a tensor is an object by name, without those that travel in full; what bounds changed is told. */
START_TEST(test_rates_of_an_event)
{
    const float rates[] = {0.5f, 99.0f, 0.25f};
    struct sp_event event = an_event(SP_EVENT_RATES);
    const json_t *lambda;
    json_t *line;

    event.rates = rates;
    event.lambda = (double)NAN;
    event.unbounded = 3.5;
    write_event(&event);
    line = read_line(0, 1);
    lambda = json_object_get(line, "lambda");
    ck_assert_uint_eq(json_object_size(lambda), 2);
    ck_assert_double_eq(number(lambda, "w"), 0.5);
    ck_assert_double_eq(number(lambda, "b"), 0.25);
    ck_assert_double_eq(number(line, "lambda_without_bounds"), 3.5);
    json_decref(line);
}
END_TEST

/* What is not there is null; a decision in which lambda has no part says nothing of it. */
START_TEST(test_events_without_numbers)
{
    struct sp_event event = an_event(SP_EVENT_SWITCH);
    json_t *line;

    event.lambda = event.gamma = event.numbers.a = event.numbers.d = (double)NAN;
    event.numbers.lambda_now = (double)INFINITY;
    write_event(&event);
    event.rule = NULL;
    ck_assert_int_eq(sp_record_event(&record, &event, NULL, 1.0, &error), SP_OK); /* before there is a layout */
    line = read_line(0, 2);
    expect_null(line, "lambda");
    expect_null(line, "gamma");
    expect_null(line, "a");
    expect_null(line, "d");
    expect_null(line, "lambda_now");
    json_decref(line);
    line = read_line(1, 2);
    ck_assert_ptr_null(json_object_get(line, "rule"));
    ck_assert_ptr_null(json_object_get(line, "lambda"));
    ck_assert_ptr_null(json_object_get(line, "lambda_is_a_guess"));
    ck_assert_uint_eq(json_object_size(line), 23);
    json_decref(line);
}
END_TEST

/* --- reports -------------------------------------------------------------------------------------------------------
 */

START_TEST(test_reports)
{
    static const struct {
        enum sp_phase phase;
        const char *name, *rate;
    } cases[] = {
        {SP_PHASE_SIGN, "sign", "gamma"}, {SP_PHASE_MARGIN, "margin", "gamma"}, {SP_PHASE_SGD, "sgd", "lambda"}};

    for (unsigned i = 0; i < 3; i++) {
        struct sp_report report = {.round = 7, .epoch = 1.5, .phase = cases[i].phase, .rate = 0.5, .loss = 0.75};
        struct sp_point point;
        json_t *line;

        report.live = 3;
        report.voters = 2;
        report.margin = 0.5;
        report.evaluated = i == 1;
        report.correct = 3;
        report.total = 4;
        report.expected = 5;
        if (i == 2)
            report.loss = (double)NAN;
        point = sp_point_of(&report, 5);
        point.bytes_pushed = 1000;
        point.bytes_updated = 2000;
        ck_assert_int_eq(sp_record_point(&record, &point, &error), SP_OK);
        line = read_line(i, i + 1);
        ck_assert_double_eq(number(line, "first"), 5);
        ck_assert_double_eq(number(line, "round"), 7);
        expect_text(line, "phase", cases[i].name);
        ck_assert_double_eq(number(line, cases[i].rate), 0.5);
        ck_assert_int_eq(json_object_get(line, "margin") != NULL, cases[i].phase != SP_PHASE_SGD);
        ck_assert_int_eq(json_object_get(line, "test_accuracy") != NULL, i == 1);
        if (i == 1)
            ck_assert_double_eq(number(line, "test_accuracy"), 0.75);
        if (i == 1)
            ck_assert(json_is_true(json_object_get(line, "test_partial")));
        if (i == 2)
            expect_null(line, "train_loss");
        ck_assert_double_eq(number(line, "bytes_pushed"), 1000);
        ck_assert_double_eq(number(line, "bytes_updated"), 2000);
        json_decref(line);
    }
}
END_TEST

/* --- the model -----------------------------------------------------------------------------------------------------
 */

static uint8_t file[8192];

static size_t read_file(const char *name)
{
    FILE *from = fopen(path_of(name), "re");
    size_t bytes;

    ck_assert_ptr_nonnull(from);
    bytes = fread(file, 1, sizeof file, from);
    ck_assert_uint_lt(bytes, sizeof file);
    (void)fclose(from);
    return bytes;
}

/* A tensor of the header: its shape, and where its bytes are, right behind those of the one before. */
static void expect_tensor(const json_t *header, const struct sp_tensor *tensor, const uint8_t *data, size_t *offset,
                          const float *expected)
{
    const json_t *entry = json_object_get(header, tensor->name), *offsets = json_object_get(entry, "data_offsets");
    const json_t *shape = json_object_get(entry, "shape");
    size_t bytes = (size_t)tensor->count * sizeof(float);

    expect_text(entry, "dtype", "F32");
    ck_assert_uint_eq(json_array_size(shape), tensor->dims);
    for (uint32_t k = 0; k < tensor->dims; k++)
        ck_assert_int_eq(json_integer_value(json_array_get(shape, k)), (json_int_t)tensor->shape[k]);
    ck_assert_uint_eq(json_array_size(offsets), 2);
    ck_assert_int_eq(json_integer_value(json_array_get(offsets, 0)), (json_int_t)*offset);
    ck_assert_int_eq(json_integer_value(json_array_get(offsets, 1)), (json_int_t)(*offset + bytes));
    ck_assert_mem_eq(data + *offset, expected, bytes);
    *offset += bytes;
}

/* safetensors: the header's length, a header of JSON that fills up 8 bytes, then all tensors without a gap. */
START_TEST(test_model)
{
    float theta[17], buffers[6];
    json_t *metadata = json_pack("{s:s}", "job", "digits"), *header;
    size_t bytes, offset = 0;
    uint64_t length = 0;

    for (unsigned j = 0; j < 17; j++)
        theta[j] = (float)j / 8.0f;
    for (unsigned j = 0; j < 6; j++)
        buffers[j] = -1.0f - (float)j;
    ck_assert_int_eq(sp_record_model(&record, "model.safetensors", &layout, theta, buffers, metadata, &error), SP_OK);
    json_decref(metadata);
    bytes = read_file("model.safetensors");
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)file[i] << (8 * i);
    ck_assert_uint_eq(length % 8, 0);
    ck_assert_uint_eq(bytes, 8 + length + (17 + 6) * sizeof(float));
    header = json_loadb((const char *)file + 8, length, JSON_REJECT_DUPLICATES, NULL);
    ck_assert(json_is_object(header));
    ck_assert_uint_eq(json_object_size(header), 6);
    expect_text(json_object_get(header, "__metadata__"), "job", "digits");
    for (uint32_t i = 0; i < layout.tensors_count; i++) {
        const struct sp_tensor *tensor = &layout.tensors[i];

        expect_tensor(header, tensor, file + 8 + length, &offset, (i < 3 ? theta : buffers) + tensor->first);
    }
    ck_assert_uint_eq(8 + length + offset, bytes);
    json_decref(header);
    ck_assert(!exists("model.safetensors.new"));
}
END_TEST

START_TEST(test_model_without_buffers)
{
    const float theta[2] = {1.0f, 2.0f};
    json_t *metadata = json_object();
    size_t bytes;

    sp_layout_finish(&layout);
    add("w", 0, 1, (const uint64_t[]){2});
    ck_assert_int_eq(sp_record_model(&record, "model.safetensors", &layout, theta, NULL, metadata, &error), SP_OK);
    json_decref(metadata);
    bytes = read_file("model.safetensors");
    ck_assert_mem_eq(file + bytes - sizeof theta, theta, sizeof theta);
    ck_assert_int_eq(sp_record_model(&record, "model.safetensors", &layout, theta, NULL, NULL, &error), SP_E_NOMEM);
}
END_TEST

/* --- the folder ----------------------------------------------------------------------------------------------------
 */

START_TEST(test_whole_files)
{
    json_t *object = json_pack("{s:i, s:f}", "rounds", 3, "loss", 0.1);

    ck_assert_int_eq(sp_record_json(&record, "summary.json", object, &error), SP_OK);
    json_decref(object);
    file[read_file("summary.json")] = '\0';
    ck_assert_str_eq((const char *)file, "{\n  \"rounds\": 3,\n  \"loss\": 0.1\n}\n");
    ck_assert_int_eq(sp_record_text(&record, "address", "127.0.0.1:7700\n", &error), SP_OK);
    ck_assert_int_eq(sp_record_text(&record, "address", "::1\n", &error), SP_OK);
    file[read_file("address")] = '\0';
    ck_assert_str_eq((const char *)file, "::1\n");
    ck_assert(!exists("address.new"));
    ck_assert_int_eq(sp_record_json(&record, "summary.json", NULL, &error), SP_E_NOMEM);
    ck_assert_int_eq(sp_record_text(&record, "no/such", "", &error), SP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "no/such.new"));
}
END_TEST

/* One server a folder. What an earlier run left is not taken for this one's. */
START_TEST(test_folder_is_locked_and_cleared)
{
    struct sp_record second;
    struct sp_event event = an_event(SP_EVENT_SWITCH);

    write_event(&event);
    ck_assert_int_eq(sp_record_text(&record, "summary.json", "{}", &error), SP_OK);
    ck_assert_int_eq(sp_record_text(&record, "model.safetensors", "", &error), SP_OK);
    ck_assert_int_eq(sp_record_open(&second, run, &error), SP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "another signpostd writes to"));
    ck_assert(exists("summary.json"));
    sp_record_close(&record);
    sp_record_close(&record); /* twice is as good as once */
    open_record();
    ck_assert(!exists("summary.json") && !exists("model.safetensors"));
    ck_assert(exists("previous-summary.json") && exists("previous-model.safetensors"));
    ck_assert_uint_eq(read_file("history.jsonl"), 0);
    /* A run that came to nothing, and the next: what is kept is still that of the one before. */
    ck_assert_int_eq(sp_record_text(&record, "summary.json", "{\"stopped\": true}", &error), SP_OK);
    sp_record_close(&record);
    open_record();
    ck_assert(!exists("summary.json") && exists("previous-model.safetensors"));
    ck_assert_uint_eq(read_file("previous-summary.json"), 2);
    ck_assert_int_eq(sp_record_open(&second, "", &error), SP_E_RANGE);
    ck_assert_int_eq(sp_record_open(&second, "/dev/null/run", &error), SP_E_IO);
}
END_TEST

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A disk that was full for a while leaves lines out, and none in parts. */
START_TEST(test_a_line_is_written_whole_or_not_at_all)
{
    struct sp_event event = an_event(SP_EVENT_DRY_RUN);
    json_t *line;

    (void)signal(SIGXFSZ, SIG_IGN);
    write_event(&event);
    for (unsigned room = 0; room < 3; room++) {
        limit_files(read_file("history.jsonl") + room * 20);
        event.round = 100 + room;
        ck_assert_int_eq(sp_record_event(&record, &event, &layout, 1.0, &error), SP_E_IO);
        ck_assert_ptr_nonnull(strstr(error.text, "history.jsonl: File too large"));
        json_decref(read_line(0, 1));
    }
    limit_files(RLIM_INFINITY);
    event.round = 7;
    write_event(&event);
    line = read_line(1, 2);
    ck_assert_double_eq(number(line, "round"), 7.0);
    json_decref(line);
}
END_TEST

static void write_history(const char *text)
{
    FILE *to = fopen(path_of("history.jsonl"), "we");

    ck_assert_ptr_nonnull(to);
    ck_assert_int_ge(fputs(text, to), 0);
    ck_assert_int_eq(fclose(to), 0);
}

static void count_line(void *arg, const json_t *line)
{
    unsigned *lines = arg;

    ck_assert_int_ge(json_integer_value(json_object_get(line, "round")), 1);
    ++*lines;
}

/* Lines of rounds that were lost go, one that was cut does, and the report of a round that is evaluated once more. */
START_TEST(test_history_goes_on)
{
    static const char good[] = "{\"round\":1}\n{\"round\":2,\"event\":\"rates\"}\n{\"round\":2}\n";
    struct sp_event event = an_event(SP_EVENT_DRY_RUN);
    unsigned lines;
    char text[256];

    for (int more = 0; more < 3; more++) {
        static const char *const ends[] = {"", "{\"round\":3}\n", "{\"round\":2}"};

        for (int again = 0; again < 2; again++) {
            (void)snprintf(text, sizeof text, "%s%s", good, ends[more]);
            write_history(text);
            sp_record_close(&record);
            ck_assert_int_eq(sp_record_open(&record, run, &error), SP_OK);
            lines = 0;
            ck_assert_int_eq(sp_record_go_on(&record, 2, again == 1, count_line, &lines, &error), SP_OK);
            ck_assert_uint_eq(lines, again == 1 ? 2 : 3);
            write_event(&event);
            json_decref(read_line(2, again == 1 ? 3 : 4));
        }
    }
}
END_TEST

static void clean_up(void)
{
    static const char *const names[] = {"lock",
                                        "history.jsonl",
                                        "summary.json",
                                        "model.safetensors",
                                        "address",
                                        "previous-summary.json",
                                        "previous-model.safetensors"};
    char deep[80];

    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        (void)unlink(path_of(names[i]));
    (void)rmdir(run);
    (void)snprintf(deep, sizeof deep, "%s/deep", folder);
    (void)rmdir(deep);
    (void)rmdir(folder);
}

/* One byte that is no UTF-8 would else be the end of a whole status. */
START_TEST(test_words)
{
    static const char *const rows[][2] = {{"plain", "plain"},       {"\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"},
                                          {"cut\xc3", "cut?"},      {"\xff\xfe", "?\x3f"},
                                          {"a\n\"b\"", "a\n\"b\""}, {"", ""}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        json_t *words = sp_json_words(rows[i][0]);

        ck_assert_str_eq(json_string_value(words), rows[i][1]);
        json_decref(words);
    }
    ck_assert_ptr_null(sp_json_words(NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("record");
    TCase *tests = tcase_create("record");
    int rc;

    if (mkdtemp(folder) == NULL)
        return EXIT_FAILURE;
    (void)snprintf(run, sizeof run, "%s/deep/run", folder);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_words);
    tcase_add_test(tests, test_events);
    tcase_add_test(tests, test_quarantine);
    tcase_add_test(tests, test_rates_of_an_event);
    tcase_add_test(tests, test_events_without_numbers);
    tcase_add_test(tests, test_reports);
    tcase_add_test(tests, test_model);
    tcase_add_test(tests, test_model_without_buffers);
    tcase_add_test(tests, test_whole_files);
    tcase_add_test(tests, test_folder_is_locked_and_cleared);
    tcase_add_test(tests, test_history_goes_on);
    tcase_add_test(tests, test_a_line_is_written_whole_or_not_at_all);
    rc = unit_run(suite, tests);
    clean_up();
    return rc;
}
