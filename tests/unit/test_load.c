/* From a job to its examples: folders, patterns, formats. */
#include "tests/unit/files.h"
#include "tests/unit/unit.h"
#include "worker/train/data.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sp_job job;
static struct sp_examples examples;
static struct sp_error error;

static void set(const char *key, const char *value)
{
    ck_assert_int_eq(sp_job_set(&job, key, value, &error), SP_OK);
}

/* A file of one record with this label. */
static void record(const char *name, uint8_t label)
{
    uint8_t bytes[3073] = {label};

    (void)files_write(name, bytes, sizeof bytes);
}

static void setup(void)
{
    sp_job_init(&job);
    (void)mkdir(files_path("job[1]"), 0700);
    (void)snprintf(job.folder, sizeof job.folder, "%s", files_path("job[1]"));
    set("data.format", "cifar10");
    record("job[1]/batch_10.bin", 0);
    record("job[1]/batch_2.bin", 1);
    record("job[1]/batch_B.bin", 2);
    record("job[1]/batch_a.bin", 3);
    record("job[1]/other.bin", 4);
    memset(&examples, 0, sizeof examples);
}

static void teardown(void)
{
    sp_examples_finish(&examples);
}

static void expect_labels(const char *labels)
{
    ck_assert_uint_eq(examples.count, strlen(labels));
    for (size_t i = 0; i < strlen(labels); i++)
        ck_assert_uint_eq(examples.labels[i], labels[i] - '0');
}

static void load(enum sp_data_part part)
{
    sp_examples_finish(&examples);
    ck_assert_msg(sp_data_load(&job, part, &examples, &error) == SP_OK, "%s", error.text);
}

/* By name, byte by byte: upper case before lower, 10 before 2. The folder's own brackets are no pattern. */
START_TEST(test_order)
{
    (void)setlocale(LC_ALL, "C.UTF-8");
    set("data.train.files", "batch_*.bin");
    load(SP_DATA_TRAIN);
    expect_labels("0123");
    set("data.train.files", "batch_[0-9a]*");
    load(SP_DATA_TRAIN);
    expect_labels("013");
    set("data.test.files", "other.bin");
    load(SP_DATA_TEST);
    expect_labels("4");
}
END_TEST

START_TEST(test_a_name_before_a_pattern)
{
    record("job[1]/batch_[2].bin", 9);
    set("data.train.files", "batch_[2].bin");
    load(SP_DATA_TRAIN);
    expect_labels("9");
    ck_assert_int_eq(unlink(files_path("job[1]/batch_[2].bin")), 0);
    load(SP_DATA_TRAIN);
    expect_labels("1");
}
END_TEST

START_TEST(test_nothing_matches)
{
    char words[2 * SP_STRING_BYTES];

    set("data.train.files", "data_*.bin");
    ck_assert_int_eq(sp_data_load(&job, SP_DATA_TRAIN, &examples, &error), SP_E_MISSING);
    (void)snprintf(words, sizeof words, "no file has the name '%s/data_*.bin', or matches it as a pattern", job.folder);
    ck_assert_str_eq(error.text, words);
    ck_assert_ptr_null(examples.parts);
}
END_TEST

START_TEST(test_absolute)
{
    char path[2 * SP_STRING_BYTES];

    (void)snprintf(path, sizeof path, "%s/other.bin", job.folder);
    set("data.train.files", path);
    (void)snprintf(job.folder, sizeof job.folder, "/nowhere");
    load(SP_DATA_TRAIN);
    expect_labels("4");
}
END_TEST

/* Others than the job's: where the program is, not where the job file is. */
START_TEST(test_paths)
{
    ck_assert_int_eq(chdir(job.folder), 0);
    (void)snprintf(job.folder, sizeof job.folder, "/nowhere");
    ck_assert_int_eq(sp_data_load_paths(&job, "batch_?.bin", NULL, &examples, &error), SP_OK);
    expect_labels("123");
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_idx)
{
    static const uint8_t images[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6};
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 1, 7};

    (void)files_write("job[1]/images", images, sizeof images);
    (void)files_write("job[1]/labels", labels, sizeof labels);
    set("data.format", "idx");
    ck_assert(!sp_job_has_data(&job, SP_DATA_TRAIN));
    set("data.train.images", "images");
    set("data.train.labels", "labels");
    ck_assert(sp_job_has_data(&job, SP_DATA_TRAIN));
    load(SP_DATA_TRAIN);
    expect_labels("7");
    ck_assert_uint_eq(examples.shape.channels, 2);
    ck_assert_uint_eq(examples.shape.height, 1);
    ck_assert_uint_eq(examples.shape.width, 3);
    sp_examples_finish(&examples);
    ck_assert_int_eq(chdir(job.folder), 0);
    ck_assert_int_eq(sp_data_load_paths(&job, "images", "labels", &examples, &error), SP_OK);
    expect_labels("7");
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_csv)
{
    static const char text[] = "a,class,b,c,d\n1,2,3,4,5\n";

    (void)files_write("job[1]/rows.csv", text, sizeof text - 1);
    set("data.format", "csv");
    set("data.csv.label", "class");
    set("data.csv.shape", "[2, 2]");
    set("data.test.files", "*.csv");
    ck_assert(!sp_job_has_data(&job, SP_DATA_TRAIN) && sp_job_has_data(&job, SP_DATA_TEST));
    load(SP_DATA_TEST);
    expect_labels("2");
    ck_assert_uint_eq(examples.shape.height, 2);
    ck_assert_uint_eq(examples.shape.width, 2);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("load");
    TCase *jobs = tcase_create("jobs");

    tcase_add_checked_fixture(jobs, setup, teardown);
    tcase_add_test(jobs, test_order);
    tcase_add_test(jobs, test_a_name_before_a_pattern);
    tcase_add_test(jobs, test_nothing_matches);
    tcase_add_test(jobs, test_absolute);
    tcase_add_test(jobs, test_paths);
    tcase_add_test(jobs, test_idx);
    tcase_add_test(jobs, test_csv);
    suite_add_tcase(all, jobs);
    return all;
}

int main(void)
{
    files_begin();
    return unit_run_all(suite());
}
