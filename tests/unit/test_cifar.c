/* The binary versions of CIFAR-10 and CIFAR-100, plain and compressed, in one file and in several, and everything that
 * can be wrong with one. */
#include "tests/unit/files.h"
#include "tests/unit/unit.h"
#include "worker/train/data_parts.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define IMAGE 3072
#define RECORDS_MAX 4

static uint8_t bytes[RECORDS_MAX * (IMAGE + 2)];

/* Records whose labels are 3, 4, ... and whose images begin with `tag`, tag + 1, ...; of CIFAR-100 a coarse label of 19
 * comes before. Returns their bytes. */
static size_t make(uint32_t before, uint32_t count, uint8_t tag)
{
    const size_t record = before + IMAGE;

    memset(bytes, 0, sizeof bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *at = bytes + i * record;

        if (before == 2)
            at[0] = 19;
        at[before - 1] = (uint8_t)(3 + i);
        for (size_t k = 0; k < IMAGE; k++)
            at[before + k] = (uint8_t)(tag + i + 7 * k);
    }
    return count * record;
}

static void load(enum sp_data_format format, const char *path, struct sp_examples *out)
{
    struct sp_error error = {0};

    ck_assert_msg(sp_cifar_load(format, &path, 1, out, &error) == SP_OK, "%s", error.text);
}

static void expect_failure(enum sp_data_format format, const char *path, int code, const char *words)
{
    struct sp_examples examples;
    struct sp_error error = {0};

    ck_assert_int_eq(sp_cifar_load(format, &path, 1, &examples, &error), code);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' is not in: %s", words, error.text);
    ck_assert_msg(strstr(error.text, path) != NULL, "'%s' is not in: %s", path, error.text);
    ck_assert_ptr_null(examples.parts);
    ck_assert_ptr_null(examples.labels);
    ck_assert_int_eq(sp_cifar_load(format, &path, 1, &examples, NULL), code);
}

static void expect_records(const struct sp_examples *examples, uint32_t before, uint32_t count)
{
    const size_t record = before + IMAGE;

    ck_assert_uint_eq(examples->count, count);
    ck_assert_uint_eq(examples->inputs, IMAGE);
    ck_assert_uint_eq(examples->shape.channels, 3);
    ck_assert_uint_eq(examples->shape.height, 32);
    ck_assert_uint_eq(examples->shape.width, 32);
    ck_assert_int_eq(examples->element, SP_ELEMENT_BYTE);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_mem_eq(sp_examples_raw(examples, i), bytes + i * record + before, IMAGE);
        ck_assert_uint_eq(examples->labels[i], 3 + i);
    }
}

/* Each reader with its format, mapped and in memory. */
START_TEST(test_good)
{
    const enum sp_data_format format = _i < 2 ? SP_DATA_CIFAR10 : SP_DATA_CIFAR100;
    const uint32_t before = _i < 2 ? 1 : 2;
    const size_t count = make(before, 3, 40);
    struct sp_examples examples;
    uint64_t mapped, held;

    load(format, _i % 2 == 0 ? files_write("a.bin", bytes, count) : files_write_gzip("a.bin.gz", bytes, count),
         &examples);
    expect_records(&examples, before, 3);
    ck_assert_uint_eq(examples.classes, _i < 2 ? 10 : 100);
    sp_examples_bytes(&examples, &mapped, &held);
    ck_assert_uint_eq(mapped, _i % 2 == 0 ? UINT64_C(3) * IMAGE : 0);
    ck_assert_uint_eq(held, _i % 2 == 0 ? 0 : UINT64_C(3) * IMAGE);
    sp_examples_finish(&examples);
    ck_assert_ptr_null(examples.parts);
}
END_TEST

/* The digest is over the elements in order: not over labels between them, nor over how files cut them. */
START_TEST(test_several_files)
{
    const char *paths[3];
    uint8_t content[12 + 6 * IMAGE + 6] = {6, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c, 0, 0};
    struct sp_examples examples;
    struct sp_error error;

    for (uint32_t f = 0; f < 3; f++) {
        const size_t count = make(1, 1 + f, (uint8_t)(100 * f));
        const uint32_t first = f * (f + 1) / 2;
        char name[8];

        (void)snprintf(name, sizeof name, "%u", f);
        paths[f] = f == 1 ? files_write_gzip(name, bytes, count) : files_write(name, bytes, count);
        for (uint32_t i = 0; i <= f; i++) {
            memcpy(content + 12 + (size_t)(first + i) * IMAGE, bytes + i * (IMAGE + 1) + 1, IMAGE);
            content[12 + 6 * IMAGE + first + i] = bytes[i * (IMAGE + 1)];
        }
    }
    ck_assert_int_eq(sp_cifar_load(SP_DATA_CIFAR10, paths, 3, &examples, &error), SP_OK);
    ck_assert_uint_eq(examples.count, 6);
    ck_assert_uint_eq(examples.parts_count, 3);
    for (uint32_t i = 0; i < 6; i++)
        ck_assert_mem_eq(sp_examples_raw(&examples, i), content + 12 + (size_t)i * IMAGE, IMAGE);
    ck_assert_mem_eq(examples.labels, content + 12 + 6 * IMAGE, 6);
    ck_assert_uint_eq(sp_examples_digest(&examples), XXH64(content, sizeof content, 0));
    sp_examples_finish(&examples);

    (void)make(1, 3, 0);
    paths[2] = files_write("2", bytes, 100);
    ck_assert_int_eq(sp_cifar_load(SP_DATA_CIFAR10, paths, 3, &examples, &error), SP_E_SYNTAX);
    ck_assert_ptr_nonnull(strstr(error.text, "/2: at byte 100: "));
}
END_TEST

START_TEST(test_sizes)
{
    const size_t count = make(1, 2, 0);

    expect_failure(SP_DATA_CIFAR10, files_path("none"), SP_E_IO, "No such file");
    expect_failure(SP_DATA_CIFAR10, files_write("a", bytes, 0), SP_E_SYNTAX,
                   "at byte 0: the file is empty; records of CIFAR-10 have 3073 bytes");
    expect_failure(
        SP_DATA_CIFAR10, files_write("a", bytes, count - 1), SP_E_SYNTAX,
        "at byte 6145: the file ends in record 2, of which 1 bytes are missing; records of CIFAR-10 have 3073");
    expect_failure(
        SP_DATA_CIFAR100, files_write("a", bytes, count), SP_E_SYNTAX,
        "at byte 6146: the file ends in record 2, of which 2 bytes are missing; records of CIFAR-100 have 3074");
    expect_failure(SP_DATA_CIFAR10, files_write_gzip("a", bytes, count - 1), SP_E_SYNTAX,
                   "at byte 6145 (uncompressed): the file ends in record 2");
    expect_failure(SP_DATA_CIFAR10, files_write_gzip("a", bytes, 0), SP_E_SYNTAX, "the file is empty");
}
END_TEST

START_TEST(test_labels)
{
    size_t count = make(1, 3, 0);

    bytes[2 * (IMAGE + 1)] = 10;
    expect_failure(SP_DATA_CIFAR10, files_write("a", bytes, count), SP_E_RANGE,
                   "at byte 6146: the label of record 3 is 10; CIFAR-10 has 0 to 9");
    expect_failure(SP_DATA_CIFAR10, files_write_gzip("a", bytes, count), SP_E_RANGE,
                   "at byte 6146 (uncompressed): the label of record 3 is 10");
    count = make(2, 3, 0);
    bytes[IMAGE + 3] = 100;
    expect_failure(SP_DATA_CIFAR100, files_write("a", bytes, count), SP_E_RANGE,
                   "at byte 3075: the label of record 2 is 100; CIFAR-100 has 0 to 99");
}
END_TEST

START_TEST(test_truncated_gzip)
{
    const size_t count = make(1, 3, 0);
    uint8_t packed[16384];
    size_t size;

    (void)files_write_gzip("a", bytes, count);
    size = files_read("a", packed, sizeof packed);
    for (size_t kept = 2; kept < size; kept += 13)
        expect_failure(SP_DATA_CIFAR10, files_write("a", packed, kept), SP_E_SYNTAX, "the gzip stream ends too early");
    packed[size - 8] ^= 1;
    expect_failure(SP_DATA_CIFAR10, files_write("a", packed, size), SP_E_CORRUPT, "incorrect data check");
}
END_TEST

/* SIGBUS in words: the file shrinks under the mapping, and the process ends with status 1. */
START_TEST(test_cut_short)
{
    const size_t count = make(1, 4, 0);
    const char *path = files_write("a", bytes, count);
    struct sp_examples examples;

    load(SP_DATA_CIFAR10, path, &examples);
    ck_assert_ptr_nonnull(freopen(files_path("stderr"), "w", stderr));
    sp_mapping_guard("test_cifar");
    ck_assert_int_eq(truncate(path, 100), 0);
    (void)sp_examples_digest(&examples);
}
END_TEST

START_TEST(test_cut_short_words)
{
    char said[512] = "", expected[300];

    said[files_read("stderr", said, sizeof said - 1)] = '\0';
    (void)snprintf(expected, sizeof expected, "test_cifar: %s: the file was cut short", files_path("a"));
    ck_assert_msg(strstr(said, expected) == said, "%s", said);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("cifar");
    TCase *files = tcase_create("files");

    tcase_set_timeout(files, 60);
    tcase_add_loop_test(files, test_good, 0, 4);
    tcase_add_test(files, test_several_files);
    tcase_add_test(files, test_sizes);
    tcase_add_test(files, test_labels);
    tcase_add_test(files, test_truncated_gzip);
    tcase_add_exit_test(files, test_cut_short, 1);
    tcase_add_test(files, test_cut_short_words);
    suite_add_tcase(all, files);
    return all;
}

int main(void)
{
    files_begin();
    return unit_run_all(suite());
}
