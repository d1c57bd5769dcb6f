/* IDX files, plain and compressed, and everything that can be wrong with one. */
#include "tests/unit/files.h"
#include "tests/unit/unit.h"
#include "worker/train/data.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define IMAGES "images"
#define LABELS "labels"

static char images_path[256], labels_path[256];

/* 3 images of 2x2, and their labels. */
static const uint8_t good_images[] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2,  0,  0,
                                      0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t good_labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 255};

static void setup(void)
{
    (void)files_write(IMAGES, good_images, sizeof good_images);
    (void)files_write(LABELS, good_labels, sizeof good_labels);
}

/* Loads the two files, which must fail with this code and with words that contain both strings. */
static void expect_failure(int code, const char *words, const char *more)
{
    struct sp_examples examples;
    struct sp_error error = {0};

    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &examples, &error), code);
    ck_assert_int_eq(error.code, code);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' is not in: %s", words, error.text);
    ck_assert_msg(strstr(error.text, more) != NULL, "'%s' is not in: %s", more, error.text);
    ck_assert_ptr_null(examples.parts);
    ck_assert_ptr_null(examples.labels);
    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &examples, NULL), code);
}

/* The same for images whose byte `at` has another value. */
static void expect_bad_byte(size_t at, uint8_t value, int code, const char *words, const char *more)
{
    uint8_t bytes[sizeof good_images];

    memcpy(bytes, good_images, sizeof bytes);
    bytes[at] = value;
    (void)files_write(IMAGES, bytes, sizeof bytes);
    expect_failure(code, words, more);
    expect_failure(code, images_path, words);
}

START_TEST(test_good)
{
    struct sp_examples examples;

    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &examples, NULL), SP_OK);
    ck_assert_uint_eq(examples.count, 3);
    ck_assert_uint_eq(examples.inputs, 4);
    ck_assert_uint_eq(examples.classes, 256);
    ck_assert_uint_eq(examples.shape.channels, 1);
    ck_assert_uint_eq(examples.shape.height, 2);
    ck_assert_uint_eq(examples.shape.width, 2);
    ck_assert_mem_eq(sp_examples_raw(&examples, 0), good_images + 16, 12);
    ck_assert_mem_eq(examples.labels, good_labels + 8, 3);
    sp_examples_finish(&examples);
    ck_assert_ptr_null(examples.parts);
    sp_examples_finish(&examples);
}
END_TEST

START_TEST(test_dimensions)
{
    const uint8_t two[] = {0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6};
    const uint8_t four[] = {0, 0, 8, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6};
    struct sp_examples a, b;

    (void)files_write(IMAGES, two, sizeof two);
    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &a, NULL), SP_OK);
    (void)files_write(IMAGES, four, sizeof four);
    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &b, NULL), SP_OK);
    ck_assert_uint_eq(a.inputs, 2);
    ck_assert_uint_eq(b.inputs, 2);
    ck_assert_uint_eq(a.shape.width, 2);
    ck_assert_uint_eq(a.shape.channels, 1);
    ck_assert_uint_eq(b.shape.width, 1);
    ck_assert_uint_eq(b.shape.channels, 2);
    ck_assert_uint_eq(sp_examples_digest(&a), sp_examples_digest(&b));
    sp_examples_finish(&a);
    sp_examples_finish(&b);
}
END_TEST

/* Larger than the reader's first buffer and than its steps, so that growing is tested too. */
START_TEST(test_gzip_is_equal)
{
    const uint8_t header[] = {0, 0, 8, 2, 0, 0, 0, 3, 0, 0xb0, 0, 1};
    const size_t bytes = sizeof header + 3 * 0xb00001u;
    uint8_t *content = malloc(bytes);
    struct sp_examples plain, packed;

    ck_assert_ptr_nonnull(content);
    for (size_t i = 0; i < bytes; i++)
        content[i] = (uint8_t)(i * i >> 7);
    memcpy(content, header, sizeof header);
    (void)files_write(IMAGES, content, bytes);
    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &plain, NULL), SP_OK);
    ck_assert_mem_eq(sp_examples_raw(&plain, 0), content + sizeof header, bytes - sizeof header);
    (void)files_write_gzip(IMAGES, content, bytes);
    (void)files_write_gzip(LABELS, good_labels, sizeof good_labels);
    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &packed, NULL), SP_OK);
    ck_assert_uint_eq(packed.count, plain.count);
    ck_assert_uint_eq(packed.inputs, plain.inputs);
    ck_assert_uint_eq(packed.classes, plain.classes);
    ck_assert_mem_eq(sp_examples_raw(&packed, 0), sp_examples_raw(&plain, 0), bytes - sizeof header);
    ck_assert_mem_eq(packed.labels, plain.labels, 3);
    sp_examples_finish(&plain);
    sp_examples_finish(&packed);
    free(content);
}
END_TEST

START_TEST(test_cannot_read)
{
    ck_assert_int_eq(unlink(labels_path), 0);
    expect_failure(SP_E_IO, labels_path, "No such file or directory");
    ck_assert_int_eq(unlink(images_path), 0);
    expect_failure(SP_E_IO, images_path, "No such file or directory");
    ck_assert_int_eq(mkdir(images_path, 0700), 0);
    expect_failure(SP_E_IO, images_path, "Is a directory");
    ck_assert_int_eq(rmdir(images_path), 0);
}
END_TEST

START_TEST(test_bad_header)
{
    expect_bad_byte(0, 'P', SP_E_SYNTAX, "at byte 0: not an IDX file", "50 00 where 00 00 is expected");
    expect_bad_byte(1, 1, SP_E_SYNTAX, "not an IDX file", "00 01");
    expect_bad_byte(2, 0x0d, SP_E_UNSUPPORTED, "at byte 2: ", "type 0x0d");
    expect_bad_byte(3, 0, SP_E_UNSUPPORTED, "at byte 3: 0 dimensions", "images have 2 to 4");
    expect_bad_byte(3, 1, SP_E_UNSUPPORTED, "1 dimension;", "a file of labels?");
    expect_bad_byte(3, 5, SP_E_UNSUPPORTED, "5 dimensions", "images have 2 to 4");
    expect_bad_byte(7, 0, SP_E_RANGE, "at byte 4: dimension 1 is 0", "at least 1");
    expect_bad_byte(15, 0, SP_E_RANGE, "at byte 12: dimension 3 is 0", "at least 1");
}
END_TEST

START_TEST(test_bad_labels)
{
    (void)files_write(LABELS, good_images, sizeof good_images);
    expect_failure(SP_E_UNSUPPORTED, labels_path, "3 dimensions; labels have 1 (is it a file of images?)");
}
END_TEST

START_TEST(test_absurd_sizes)
{
    const uint8_t product[] = {0, 0, 8, 2, 0, 1, 0, 0, 0, 0x80, 0, 1};
    const uint8_t wraps[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0x80, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    const uint8_t lies[] = {0, 0, 8, 2, 0, 0, 8, 0, 1, 0, 0, 0, 1, 2, 3};

    expect_bad_byte(4, 255, SP_E_RANGE, "at byte 4: 4278190083 items", "at most 2147483648");
    expect_bad_byte(8, 1, SP_E_RANGE, "at byte 8: an item of more than", "16777216 bytes");
    (void)files_write_gzip(IMAGES, product, sizeof product);
    expect_failure(SP_E_RANGE, "65536 items of 8388609 bytes", "at most 34359738368 bytes are allowed in memory");
    (void)files_write(IMAGES, product, sizeof product); /* a file that can be mapped may be larger */
    expect_failure(SP_E_SYNTAX, "at byte 12: ", "549755879424 of 549755879424 elements are missing");
    (void)files_write(IMAGES, wraps, sizeof wraps);
    expect_failure(SP_E_RANGE, "at byte 12: an item of more than", "16777216 bytes");
    /* Exactly the most that is allowed, but not there: found without 32 GiB of memory. */
    (void)files_write(IMAGES, lies, sizeof lies);
    expect_failure(SP_E_SYNTAX, "at byte 15: ", "34359738365 of 34359738368 elements are missing");
}
END_TEST

/* 48 GiB, of which the disk has a few bytes: a file that is mapped may be larger than memory. */
START_TEST(test_larger_than_memory)
{
    enum { COUNT = 3072 };
    const uint8_t header[] = {0, 0, 8, 3, 0, 0, COUNT >> 8, COUNT & 255, 0, 0, 0x10, 0, 0, 0, 0x10, 0};
    const off_t bytes = sizeof header + (off_t)COUNT * SP_INPUTS_MAX;
    uint8_t labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, COUNT >> 8, COUNT & 255};
    struct sp_examples examples;
    struct sp_error error = {0};
    uint64_t mapped, held;
    const uint8_t *last;
    FILE *file;

    (void)files_write(IMAGES, header, sizeof header);
    (void)files_write(LABELS, labels, sizeof labels);
    file = fopen(images_path, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseeko(file, bytes - 1, SEEK_SET), 0);
    ck_assert_int_eq(fputc(77, file), 77);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_msg(sp_idx_load(images_path, labels_path, &examples, &error) == SP_OK, "%s", error.text);
    sp_examples_bytes(&examples, &mapped, &held);
    ck_assert_uint_eq(mapped, COUNT * SP_INPUTS_MAX);
    ck_assert_uint_eq(held, 0);
    last = sp_examples_raw(&examples, COUNT - 1);
    ck_assert_uint_eq(last[SP_INPUTS_MAX - 1], 77);
    ck_assert_uint_eq(last[SP_INPUTS_MAX - 2], 0);
    sp_examples_finish(&examples);
}
END_TEST

START_TEST(test_truncated)
{
    for (size_t kept = 0; kept < sizeof good_images; kept++) {
        char at[32];

        (void)snprintf(at, sizeof at, "at byte %zu: ", kept);
        (void)files_write(IMAGES, good_images, kept);
        expect_failure(SP_E_SYNTAX, images_path, at);
    }
}
END_TEST

START_TEST(test_truncated_gzip)
{
    uint8_t bytes[256];
    size_t count;

    (void)files_write_gzip(IMAGES, good_images, sizeof good_images);
    count = files_read(IMAGES, bytes, sizeof bytes);
    /* Two bytes are the least that zlib takes for gzip. */
    for (size_t kept = 2; kept < count; kept++) {
        (void)files_write(IMAGES, bytes, kept);
        expect_failure(SP_E_SYNTAX, images_path, "the gzip stream ends too early");
    }
    bytes[count - 8] ^= 1;
    (void)files_write(IMAGES, bytes, count);
    expect_failure(SP_E_CORRUPT, images_path, "incorrect data check");
    (void)files_write_gzip(IMAGES, good_images, sizeof good_images - 1);
    expect_failure(SP_E_SYNTAX, "at byte 27 (uncompressed): ", "1 of 12 elements are missing");
}
END_TEST

START_TEST(test_trailing)
{
    uint8_t bytes[sizeof good_images + 1] = {0};

    memcpy(bytes, good_images, sizeof good_images);
    (void)files_write(IMAGES, bytes, sizeof bytes);
    expect_failure(SP_E_SYNTAX, "at byte 28: ", "goes on after its last element");
    (void)files_write_gzip(IMAGES, bytes, sizeof bytes);
    expect_failure(SP_E_SYNTAX, "at byte 28 (uncompressed): ", "goes on after its last element");
}
END_TEST

START_TEST(test_counts_differ)
{
    const uint8_t two[] = {0, 0, 8, 1, 0, 0, 0, 2, 2, 0};

    (void)files_write(LABELS, two, sizeof two);
    expect_failure(SP_E_MISMATCH, "has 3 images", "has 2 labels");
    expect_failure(SP_E_MISMATCH, images_path, labels_path);
}
END_TEST

/* The end of a path that is too long to show is kept, and so are the words. */
START_TEST(test_long_path)
{
    char path[1000];
    struct sp_examples examples;
    struct sp_error error;

    memset(path, 'x', sizeof path);
    (void)strcpy(path + 900, "/the-end");
    ck_assert_int_eq(sp_idx_load(path, labels_path, &examples, &error), SP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "xx/the-end': "));
}
END_TEST

START_TEST(test_check_test)
{
    uint8_t train_labels[] = {0, 3}, test_labels[] = {1, 3, 4};
    struct sp_examples train = {.count = 2, .inputs = 5, .classes = 4, .labels = train_labels};
    struct sp_examples test = {
        .count = 2, .inputs = 5, .classes = 4, .labels = test_labels, .from = "ti", .labels_from = "tl"};
    struct sp_error error;

    ck_assert_int_eq(sp_examples_check_test(&train, &test, &error), SP_OK);
    test.count = 3;
    ck_assert_int_eq(sp_examples_check_test(&train, &test, &error), SP_E_RANGE);
    ck_assert_str_eq(error.text, "tl: label 2 (counted from 0) is 4, but the highest in the training data is 3");
    test.inputs = 6;
    ck_assert_int_eq(sp_examples_check_test(&train, &test, &error), SP_E_MISMATCH);
    ck_assert_str_eq(error.text, "ti: an image has 6 inputs, but 5 in the training data");
}
END_TEST

START_TEST(test_digest)
{
    uint8_t bytes[] = {3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 0, 255};
    struct sp_examples examples;

    ck_assert_int_eq(sp_idx_load(images_path, labels_path, &examples, NULL), SP_OK);
    ck_assert_uint_eq(sp_examples_digest(&examples), XXH64(bytes, sizeof bytes, 0));
    examples.labels[1] = 1;
    ck_assert_uint_ne(sp_examples_digest(&examples), XXH64(bytes, sizeof bytes, 0));
    sp_examples_finish(&examples);
}
END_TEST

START_TEST(test_gather)
{
    uint8_t images[] = {0, 255, 16, 32, 1, 2}, labels[] = {7, 8, 9}, got[3];
    struct sp_part part = {.count = 3, .images = images, .stride = 2};
    struct sp_examples examples = {
        .count = 3, .inputs = 2, .classes = 10, .parts = &part, .parts_count = 1, .labels = labels};
    const uint32_t indices[] = {2, 0, 2};
    const uint8_t pixels[] = {1, 2, 0, 255, 1, 2};
    struct sp_scale scale;
    float x[6];

    sp_scale_init(&scale, 16.0, 0.305, 0.376);
    sp_examples_gather(&examples, indices, 3, &scale, x, got);
    for (int i = 0; i < 6; i++)
        ck_assert(x[i] == (float)((pixels[i] / 16.0 - 0.305) / 0.376));
    ck_assert_uint_eq(got[0], 9);
    ck_assert_uint_eq(got[1], 7);
    ck_assert_uint_eq(got[2], 9);
}
END_TEST

static void load_digits(const char *part, struct sp_examples *examples, char images[], char labels[])
{
    const char *root = getenv("SP_SOURCE_ROOT");
    struct sp_error error;
    int rc;

    (void)snprintf(images, 1024, "%s/configs/digits/%s-images-idx3-ubyte", root ? root : ".", part);
    (void)snprintf(labels, 1024, "%s/configs/digits/%s-labels-idx1-ubyte", root ? root : ".", part);
    rc = sp_idx_load(images, labels, examples, &error);
    ck_assert_msg(rc == SP_OK, "%s", error.text);
}

START_TEST(test_digits)
{
    char images[1024], labels[1024];
    struct sp_examples train, test;

    load_digits("train", &train, images, labels);
    load_digits("test", &test, images, labels);
    ck_assert_uint_eq(train.count, 1437);
    ck_assert_uint_eq(test.count, 360);
    ck_assert_uint_eq(train.inputs, 64);
    ck_assert_uint_eq(train.classes, 10);
    ck_assert_int_eq(sp_examples_check_test(&train, &test, NULL), SP_OK);
    sp_examples_finish(&train);
    sp_examples_finish(&test);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("idx");
    TCase *files = tcase_create("files");
    TCase *memory = tcase_create("memory");

    tcase_add_checked_fixture(files, setup, NULL);
    tcase_set_timeout(files, 60);
    tcase_add_test(files, test_good);
    tcase_add_test(files, test_dimensions);
    tcase_add_test(files, test_gzip_is_equal);
    tcase_add_test(files, test_cannot_read);
    tcase_add_test(files, test_bad_header);
    tcase_add_test(files, test_bad_labels);
    tcase_add_test(files, test_absurd_sizes);
    tcase_add_test(files, test_larger_than_memory);
    tcase_add_test(files, test_truncated);
    tcase_add_test(files, test_truncated_gzip);
    tcase_add_test(files, test_trailing);
    tcase_add_test(files, test_counts_differ);
    tcase_add_test(files, test_long_path);
    tcase_add_test(files, test_digest);
    suite_add_tcase(all, files);
    tcase_add_test(memory, test_check_test);
    tcase_add_test(memory, test_gather);
    tcase_add_test(memory, test_digits);
    suite_add_tcase(all, memory);
    return all;
}

int main(void)
{
    files_begin();
    (void)snprintf(images_path, sizeof images_path, "%s", files_path(IMAGES));
    (void)snprintf(labels_path, sizeof labels_path, "%s", files_path(LABELS));
    return unit_run_all(suite());
}
