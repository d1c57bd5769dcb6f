/* A job as a job file: read back it is the same job. */
#include "common/job_yaml.h"

#include "common/config.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define JOBS 300
#define CHANGES 400 /* of keys, for each job; those that the job cannot have are taken back */

static struct sp_job job, back;
static struct sp_problems problems;
static struct sp_error error;

static void setup(void)
{
    sp_job_init(&job);
    ck_assert_int_eq(sp_job_set(&job, "job", "j", NULL), SP_OK);
    memset(&error, 0, sizeof error);
}

static void set(const char *path, const char *value)
{
    ck_assert_msg(sp_job_set(&job, path, value, &error) == SP_OK, "%s", error.text);
}

/* The caller frees it. */
static char *write_job(const struct sp_job *from)
{
    char *text = NULL;

    unit_assert(sp_job_yaml(from, &text, &error) == SP_OK, "%s", error.text);
    return text;
}

/* As a file in another folder than that of the job. */
static void read_back(const char *text)
{
    char words[2 * SP_STRING_BYTES] = "";

    if (sp_config_parse("/else/where/job.yaml", text, strlen(text), NULL, 0, &back, &problems) != SP_OK)
        sp_problem_text(&problems, 0, words, sizeof words);
    unit_assert(problems.count == 0, "%s\n%s", words, text);
}

static void expect_part(const char *part)
{
    char *text = write_job(&job);

    ck_assert_msg(strstr(text, part) != NULL, "no '%s' in:\n%s", part, text);
    free(text);
}

static void refuse(int code, const char *words)
{
    char *text = NULL;

    ck_assert_int_eq(sp_job_yaml(&job, &text, &error), code);
    ck_assert_ptr_null(text);
    ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
    memset(&error, 0, sizeof error);
}

/* --- random jobs -----------------------------------------------------------------------------------------------------
 */

/* Whatever YAML could take for something else, or break a line at. */
static void random_string(struct sp_rng *rng, const struct sp_key *key, char *text)
{
    static const char *const pieces[] = {"a",
                                         "Z",
                                         "7",
                                         ".",
                                         "/",
                                         "-",
                                         "_",
                                         " ",
                                         "  ",
                                         "'",
                                         "\"",
                                         "\\",
                                         "#",
                                         " # ",
                                         ": ",
                                         ":",
                                         "- ",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         "*",
                                         "&",
                                         "!",
                                         "%",
                                         "@",
                                         "`",
                                         "?",
                                         "| ",
                                         "> ",
                                         "=",
                                         "~",
                                         "<",
                                         "null",
                                         "true",
                                         "\\n",
                                         "%s ",
                                         "--",
                                         "..",
                                         "\xc3\xa9",
                                         "\xc2\x80",
                                         "\xc2\x85",
                                         "\xe2\x80\xa8",
                                         "\xef\xbb\xbf",
                                         "\xef\xbf\xbe",
                                         "\xee\x80\x80",
                                         "\xf0\x9f\x98\x80",
                                         "\xf4\x8f\xbf\xbf"};
    static const char *const names[] = {"null", "7", "j", "J.7", "0x10", "1e3", "yes", "NO", "a_-."};
    static const char *const words[] = {"",     "null", "~",          "true", "No", "1_000",
                                        ".inf", "0o7",  "2001-01-01", "---",  "..."};
    uint32_t count = sp_rng_below(rng, 12);

    text[0] = '\0';
    if ((key->flags & SP_KEY_NAME) != 0)
        (void)strcpy(text, names[sp_rng_below(rng, UNIT_COUNT(names))]);
    else if ((key->flags & SP_KEY_PATH) == 0) /* an address */
        (void)sprintf(text, "%s:%u", sp_rng_below(rng, 2) == 0 ? "[::1]" : "localhost", sp_rng_below(rng, 65536));
    else if (sp_rng_below(rng, 3) == 0)
        (void)strcpy(text, words[sp_rng_below(rng, UNIT_COUNT(words))]);
    else
        for (uint32_t i = 0; i < count; i++)
            (void)strcat(text, pieces[sp_rng_below(rng, UNIT_COUNT(pieces))]);
    if ((key->flags & SP_KEY_PATH) != 0 && sp_rng_below(rng, 60) == 0) /* a long one */
        for (uint32_t i = 0; i < 500; i++)
            (void)strcat(text, i % 9 == 0 ? " " : "x");
}

static void random_real(struct sp_rng *rng, const struct sp_key *key, char *text)
{
    double unit = (double)unit_next64(rng) * 0x1p-64, value = key->min + (key->max - key->min) * unit;

    if (sp_rng_below(rng, 2) == 0)
        value = (double)(int)(unit * 1000.0) / 1000.0;
    (void)sprintf(text, "%.17g", value);
}

static void random_reals(struct sp_rng *rng, const struct sp_key *key, char *text)
{
    uint32_t count = sp_rng_below(rng, SP_LIST_MAX + 1);

    (void)strcpy(text, "[");
    for (uint32_t i = 0; i < count; i++) {
        (void)strcat(text, i == 0 ? "" : ", ");
        random_real(rng, key, text + strlen(text));
    }
    (void)strcat(text, "]");
}

static void random_list(struct sp_rng *rng, char *text)
{
    uint32_t count = sp_rng_below(rng, SP_HIDDEN_MAX + 1);

    (void)strcpy(text, "[");
    for (uint32_t i = 0; i < count; i++)
        (void)sprintf(text + strlen(text), "%s%u", i == 0 ? "" : ", ", 1 + sp_rng_below(rng, 65536));
    (void)strcat(text, "]");
}

static void random_rules(struct sp_rng *rng, char *text)
{
    static const char *const patterns[] = {"bn*", "*.bias", "[a,b]:{}", "it's", "!#$%&()*+-./;<=>?@^_`|~", "true", "~"};
    static const char *const rest[] = {"update: full", "update: vote", "decay: true", "update: full, decay: false"};
    uint32_t count = sp_rng_below(rng, SP_RULES_MAX + 1);

    (void)strcpy(text, "[");
    for (uint32_t i = 0; i < count; i++)
        (void)sprintf(text + strlen(text), "%s{match: \"%s\", %s}", i == 0 ? "" : ", ",
                      patterns[sp_rng_below(rng, UNIT_COUNT(patterns))], rest[sp_rng_below(rng, UNIT_COUNT(rest))]);
    (void)strcat(text, "]");
}

static void random_value(struct sp_rng *rng, const struct sp_key *key, char *text)
{
    uint32_t choices = 0;

    switch (key->type) {
    case SP_KEY_STRING:
        random_string(rng, key, text);
        break;
    case SP_KEY_UINT:
        (void)sprintf(text, "%llu",
                      (unsigned long long)(key->max > 1e10 || sp_rng_below(rng, 3) == 0 ? unit_next64(rng)
                                                                                        : sp_rng_below(rng, 300)));
        break;
    case SP_KEY_REAL:
        random_real(rng, key, text);
        break;
    case SP_KEY_BOOL:
        (void)strcpy(text, sp_rng_below(rng, 2) == 0 ? "true" : "false");
        break;
    case SP_KEY_CHOICE:
        while (key->choices[choices] != NULL)
            choices++;
        (void)strcpy(text, key->choices[sp_rng_below(rng, choices)]);
        break;
    case SP_KEY_UINT_LIST:
        random_list(rng, text);
        break;
    case SP_KEY_REAL_LIST:
        random_reals(rng, key, text);
        break;
    case SP_KEY_RULES:
        random_rules(rng, text);
        break;
    }
}

/* Changes the job key by key; what is refused, or would not go with the rest, is left as it was. Two keys at once,
 * since some go together only. */
static void random_job(struct sp_rng *rng)
{
    static const char *const folders[] = {".", "/", "/data sets/x", "configs", "../up: one/", "\xc3\xa9/./y"};
    static struct sp_job before;

    setup();
    for (unsigned i = 0; i < CHANGES; i++) {
        before = job;
        for (unsigned k = 0; k < 2; k++) {
            const struct sp_key *key = &sp_job_keys[sp_rng_below(rng, (uint32_t)sp_job_keys_count)];
            char text[SP_VALUE_BYTES];

            random_value(rng, key, text);
            (void)sp_job_set(&job, key->path, text, NULL);
        }
        if (sp_job_validate(&job, NULL, NULL) > 0)
            job = before;
    }
    (void)strcpy(job.folder, folders[sp_rng_below(rng, UNIT_COUNT(folders))]);
}

/* What a path of the job means, from the root. */
static void resolve(const struct sp_job *of, const char *path, char *out, size_t bytes)
{
    char joined[2 * SP_STRING_BYTES], here[1024];

    sp_job_path(of, path, joined, sizeof joined);
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    (void)snprintf(out, bytes, "%s%s%s", joined[0] == '/' || joined[0] == '\0' ? "" : here,
                   joined[0] == '/' || joined[0] == '\0' ? "" : "/", joined);
}

static void expect_equal(const char *text)
{
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        char before[SP_VALUE_BYTES], after[SP_VALUE_BYTES];

        sp_job_get(&job, key, after, sizeof after);
        (void)snprintf(before, sizeof before, "%s", after);
        if ((key->flags & SP_KEY_PATH) != 0)
            resolve(&job, after, before, sizeof before);
        sp_job_get(&back, key, after, sizeof after);
        unit_assert(strcmp(before, after) == 0, "%s: '%s' came back as '%s' from\n%s", key->path, before, after, text);
    }
}

START_TEST(test_random_jobs_come_back)
{
    struct sp_rng rng = unit_rng(1);
    unsigned quorums = 0, rules = 0, paths = 0;

    for (unsigned i = 0; i < JOBS; i++) {
        char *text, *again;

        random_job(&rng);
        text = write_job(&job);
        read_back(text);
        expect_equal(text);
        again = write_job(&back);
        ck_assert_str_eq(again, text);
        free(again);
        free(text);
        quorums += job.server.close == SP_CLOSE_QUORUM;
        rules += job.tensors.count > 0;
        paths += job.model.init[0] != '\0';
    }
    ck_assert_uint_gt(quorums, JOBS / 10);
    ck_assert_uint_gt(rules, JOBS / 10);
    ck_assert_uint_gt(paths, JOBS / 10);
}
END_TEST

/* --- single keys -----------------------------------------------------------------------------------------------------
 */

START_TEST(test_the_file_begins_with_its_version_and_has_every_key)
{
    char *text = write_job(&job);

    ck_assert_msg(strncmp(text, "# The job of this run, as signpostd ", 36) == 0, "%s", text);
    ck_assert(strchr(text, '\n') == strstr(text, "\njob: j\nseed: 1\n"));
    ck_assert_int_eq(text[strlen(text) - 1], '\n');
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *last = strrchr(sp_job_keys[i].path, '.');
        char line[80];

        /* With close: all there is no quorum to write. */
        if (strncmp(sp_job_keys[i].path, "server.close.", 13) == 0)
            continue;
        (void)snprintf(line, sizeof line, "%s:", last != NULL ? last + 1 : sp_job_keys[i].path);
        ck_assert_msg(strstr(text, line) != NULL, "no %s in\n%s", sp_job_keys[i].path, text);
    }
    free(text);
}
END_TEST

START_TEST(test_forms)
{
    set("model.hidden", "[300, 100]");
    set("tensors", "[{match: bn*, update: full}, {match: 'a', decay: false}]");
    set("optimizer.sign.lr", "2.0e-3");
    set("security.insecure", "true");
    expect_part("\n  hidden: [300, 100]\n");
    expect_part("\ntensors: [{match: \"bn*\", update: full}, {match: \"a\", decay: false}]\n");
    expect_part("\n  sign:\n    lr: 0.002\n");
    expect_part("\n  insecure: true\n");
    expect_part("\n  close: all\n");
    set("workers", "4");
    set("server.close.quorum", "3");
    expect_part("\n  close:\n    quorum: 3\n    deadline: adaptive\n");
}
END_TEST

START_TEST(test_strings_have_quotes_where_they_need_them)
{
    static const char *const values[][2] = {
        {"/a/b-c_d.e", "/a/b-c_d.e"},     {"/a b", "\"/a b\""},           {"/#", "\"/#\""},
        {"/a\\b\"c", "\"/a\\\\b\\\"c\""}, {"/\xc3\xa9", "\"/\xc3\xa9\""}, {"/\xe2\x80\xa8", "\"/\\L\""}};

    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        char line[80];

        set("model.init", values[i][0]);
        (void)snprintf(line, sizeof line, "\n  init: %s\n", values[i][1]);
        expect_part(line);
    }
    expect_part("\n  listen: \"127.0.0.1:7700\"\n");
    expect_part("\n  http: auto\n");
    set("server.http", "");
    expect_part("\n  http: \"\"\n");
    set("job", "null");
    expect_part("\njob: \"null\"\n");
}
END_TEST

/* Of a pattern the folder is none, unless a file has that very name, brackets and all. */
START_TEST(test_folders_before_a_pattern)
{
    char folder[] = "/tmp/test_job_yaml[1].XXXXXX", path[80], line[200];

    set("data.format", "csv");
    set("data.train.files", "x*[12].csv");
    (void)strcpy(job.folder, "/a[b]/c*\\?");
    expect_part("\n    files: \"/a\\\\[b]/c\\\\*\\\\\\\\\\\\?/x*[12].csv\"\n");
    set("data.train.files", "/a[b]/x*.csv");
    expect_part("\n    files: \"/a[b]/x*.csv\"\n");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)strcpy(job.folder, folder);
    (void)snprintf(path, sizeof path, "%s/x[1].csv", folder);
    ck_assert_int_eq(close(creat(path, 0600)), 0);
    set("data.train.files", "x[1].csv");
    (void)snprintf(line, sizeof line, "\n    files: \"%s\"\n", path);
    expect_part(line);
    (void)unlink(path);
    (void)rmdir(folder);
    (void)snprintf(line, sizeof line, "\n    files: \"/tmp/test_job_yaml\\\\[1].%s/x[1].csv\"\n",
                   strrchr(folder, '.') + 1);
    expect_part(line);
}
END_TEST

START_TEST(test_what_is_not_utf8_is_refused)
{
    static const char *const values[] = {
        "/\xff", "/\xc3", "/\xc0\xaf", "/\xed\xa0\x80", "/\xe2\x80", "/\xf0\x80\x80\x80", "/\xf4\x90\x80\x80", "/\x80"};

    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        set("model.init", values[i]);
        refuse(SP_E_UNSUPPORTED, "model.init: '/");
    }
}
END_TEST

START_TEST(test_a_path_that_is_too_long_is_refused)
{
    char *text;

    memset(job.folder, 'f', 600);
    job.folder[0] = '/';
    memset(job.model.init, 'i', SP_STRING_BYTES - 1 - 601);
    text = write_job(&job);
    read_back(text);
    free(text);
    ck_assert_uint_eq(strlen(back.model.init), SP_STRING_BYTES - 1);
    job.model.init[SP_STRING_BYTES - 1 - 601] = 'i';
    refuse(SP_E_RANGE, "model.init: the file's absolute path has 1024 bytes; at most 1023 are allowed");
}
END_TEST

START_TEST(test_a_working_folder_that_is_gone)
{
    char folder[] = "/tmp/test_job_yaml.XXXXXX";
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ck_assert_int_ge(here, 0);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    set("model.init", "a");
    refuse(SP_E_IO, "model.init: the path of the working folder is not to be had: No such file or directory");
    set("model.init", "/a");
    free(write_job(&job));
    ck_assert_int_eq(fchdir(here), 0);
    (void)close(here);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job_yaml");
    TCase *tests = tcase_create("job_yaml");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_random_jobs_come_back);
    tcase_add_test(tests, test_the_file_begins_with_its_version_and_has_every_key);
    tcase_add_test(tests, test_forms);
    tcase_add_test(tests, test_strings_have_quotes_where_they_need_them);
    tcase_add_test(tests, test_folders_before_a_pattern);
    tcase_add_test(tests, test_what_is_not_utf8_is_refused);
    tcase_add_test(tests, test_a_path_that_is_too_long_is_refused);
    tcase_add_test(tests, test_a_working_folder_that_is_gone);
    return unit_run(suite, tests);
}
