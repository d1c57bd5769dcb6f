/* Files of weights: every type, every kind of bad file, and what a layout finds in them. Files are written by hand
 * here, from the format's description; that what a run leaves is read back is in tests/integration/test_init.py. */
#include "common/safetensors.h"
#include "tests/unit/unit.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];
static struct sp_safetensors *file;
static struct sp_error error;

static void setup(void)
{
    (void)snprintf(path, sizeof path, "/tmp/sp-safetensors-%d", (int)getpid());
    file = NULL;
}

static void teardown(void)
{
    sp_safetensors_close(file);
    (void)unlink(path);
}

static void write_bytes(const void *bytes, size_t count)
{
    FILE *out = fopen(path, "wb");

    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(bytes, 1, count, out), count);
    ck_assert_int_eq(fclose(out), 0);
}

/* Header and data; returns the file's size. */
static size_t write_file(const char *header, const void *data, size_t count)
{
    const size_t length = strlen(header);
    const uint64_t length_le = htole64(length);
    uint8_t *whole = unit_alloc(8 + length + count);

    memcpy(whole, &length_le, 8);
    memcpy(whole + 8, header, length);
    if (count > 0)
        memcpy(whole + 8 + length, data, count);
    write_bytes(whole, 8 + length + count);
    free(whole);
    return 8 + length + count;
}

static int open_file(void)
{
    sp_safetensors_close(file);
    error.text[0] = '\0';
    return sp_safetensors_open(&file, path, &error);
}

static void expect_refused(int code, const char *words)
{
    int rc = open_file();

    ck_assert_msg(rc == code, "code %d: %s", rc, error.text);
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
    ck_assert_msg(strstr(error.text, path) != NULL, "%s", error.text);
}

/* A layout with one tensor, and perhaps a buffer. */
static void make_layout(struct sp_layout *layout, const char *name, uint64_t count, const char *buffer)
{
    struct sp_tensor tensor = {.dims = 1, .shape = {count}},
                     running = {.dims = 1, .flags = SP_TENSOR_BUFFER, .shape = {1}};

    memset(layout, 0, sizeof *layout);
    (void)snprintf(tensor.name, sizeof tensor.name, "%s", name);
    ck_assert_int_eq(sp_layout_add(layout, &tensor, &error), SP_OK);
    if (buffer == NULL)
        return;
    (void)snprintf(running.name, sizeof running.name, "%s", buffer);
    ck_assert_int_eq(sp_layout_add(layout, &running, &error), SP_OK);
}

static void expect_unread(int code, const char *words)
{
    struct sp_layout layout;
    float theta[8], buffers[1];

    ck_assert_msg(open_file() == SP_OK, "%s", error.text);
    make_layout(&layout, "w", 2, "running");
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, buffers, &error), code);
    ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
    sp_layout_finish(&layout);
}

/* --- good files ------------------------------------------------------------------------------------------------------
 */

#define TWO "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define RUNNING "\"running\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]}"

/* In any order, beside metadata and tensors that nobody asks for; data need not be aligned. */
START_TEST(test_reads_what_a_layout_has)
{
    static const char *const headers[] = {
        "{" TWO "," RUNNING ",\"more\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[12,20]}}",
        "{\"__metadata__\":{\"w\":\"x\"}, \"more\":{\"data_offsets\":[12,20],\"shape\":[1],\"dtype\":\"I64\"}," RUNNING
        "," TWO "}"};
    const float data[5] = {1.5f, -2.5f, 7.0f};
    float theta[2] = {0}, buffers[1] = {0};
    struct sp_layout layout;
    const char *name;

    make_layout(&layout, "w", 2, "running");
    for (size_t i = 0; i < 2; i++) {
        (void)write_file(headers[i], data, 20);
        ck_assert_msg(open_file() == SP_OK, "%s", error.text);
        ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, buffers, &error), SP_OK);
        ck_assert(theta[0] == 1.5f && theta[1] == -2.5f && buffers[0] == 7.0f);
        ck_assert_uint_eq(sp_safetensors_left_over(file, &layout, &name), 1);
        ck_assert_str_eq(name, "more");
    }
    sp_layout_finish(&layout);
}
END_TEST

/* A type that is newer than this program is no reason to refuse what is not wanted. */
START_TEST(test_unknown_type_beside)
{
    struct sp_layout layout;
    float theta[2];

    (void)write_file("{" TWO ",\"v\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[8,12]}}", (float[3]){1, 2, 3},
                     12);
    ck_assert_msg(open_file() == SP_OK, "%s", error.text);
    make_layout(&layout, "w", 2, NULL);
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, NULL, &error), SP_OK);
    ck_assert(theta[1] == 2.0f);
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_what_is_no_file)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refused(SP_E_SYNTAX, "not a safetensors file, but a pipe or device");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_refused(SP_E_SYNTAX, "not a safetensors file, but a folder");
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(test_nothing_left_over)
{
    struct sp_layout layout;
    const char *name = "x";

    (void)write_file("{" TWO "}", (float[2]){0}, 8);
    ck_assert_int_eq(open_file(), SP_OK);
    make_layout(&layout, "w", 2, NULL);
    ck_assert_uint_eq(sp_safetensors_left_over(file, &layout, &name), 0);
    ck_assert_ptr_null(name);
    sp_layout_finish(&layout);
}
END_TEST

/* binary64 is rounded to nearest, ties to even: 1 + 2^-24 is half way between 1 and its next. */
START_TEST(test_doubles)
{
    const double data[4] = {1.0 + 0x1p-24, 1.0 + 0x3p-24, 0.1, -0x1p-149};
    struct sp_layout layout;
    float theta[4];

    (void)write_file("{\"w\":{\"dtype\":\"F64\",\"shape\":[4],\"data_offsets\":[0,32]}}", data, 32);
    ck_assert_int_eq(open_file(), SP_OK);
    make_layout(&layout, "w", 4, NULL);
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, NULL, &error), SP_OK);
    ck_assert(theta[0] == 1.0f && theta[1] == 1.0f + 0x1p-22f && theta[2] == 0.1f && theta[3] == -0x1p-149f);
    sp_layout_finish(&layout);
}
END_TEST

/* All 65536 patterns of a 16-bit type, those that are not finite apart. */
static void expect_halves(const char *type, double (*value)(unsigned bits))
{
    const size_t room = 65536;
    uint8_t *data = unit_alloc(2 * room);
    double *expected = unit_alloc(room * sizeof *expected);
    float *theta = unit_alloc(room * sizeof *theta);
    struct sp_layout layout;
    char header[128];
    size_t count = 0;

    for (unsigned bits = 0; bits < room; bits++) {
        if (!isfinite(value(bits)))
            continue;
        expected[count] = value(bits);
        data[2 * count] = (uint8_t)(bits & 0xff);
        data[2 * count++ + 1] = (uint8_t)(bits >> 8);
    }
    (void)snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", type,
                   count, 2 * count);
    (void)write_file(header, data, 2 * count);
    ck_assert_msg(open_file() == SP_OK, "%s", error.text);
    make_layout(&layout, "w", count, NULL);
    ck_assert_msg(sp_safetensors_read(file, &layout, theta, NULL, &error) == SP_OK, "%s", error.text);
    for (size_t i = 0; i < count; i++)
        unit_assert((double)theta[i] == expected[i] && !signbit(theta[i]) == !signbit(expected[i]), "%s, value %zu",
                    type, i);
    sp_layout_finish(&layout);
    free(data);
    free(expected);
    free(theta);
}

/* A 16-bit pattern that is no finite number must not become a weight. */
static void expect_no_half(const char *type, uint16_t bits)
{
    const uint16_t data[2] = {0, htole16(bits)};
    struct sp_layout layout;
    char header[128];
    float theta[2];

    (void)snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,4]}}", type);
    (void)write_file(header, data, 4);
    ck_assert_int_eq(open_file(), SP_OK);
    make_layout(&layout, "w", 2, NULL);
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, NULL, &error), SP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.text, "tensor 'w': value 1 (counted from 0) is"));
    sp_layout_finish(&layout);
}

static double half(unsigned bits)
{
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    const int exponent = (int)(bits >> 10) & 31;
    const double mantissa = (double)(bits & 1023) / 1024.0;

    if (exponent == 31)
        return (double)NAN;
    return sign * (exponent == 0 ? mantissa * 0x1p-14 : (1.0 + mantissa) * exp2((double)exponent - 15.0));
}

static double brain(unsigned bits)
{
    return (double)unit_float(bits << 16);
}

START_TEST(test_halves)
{
    expect_halves("F16", half);
    expect_halves("BF16", brain);
    expect_no_half("F16", 0x7c00);
    expect_no_half("F16", 0xfe01);
    expect_no_half("BF16", 0xff80);
    expect_no_half("BF16", 0x7fc0);
}
END_TEST

/* --- bad files -------------------------------------------------------------------------------------------------------
 */

START_TEST(test_cut_short_at_every_byte)
{
    const float data[3] = {1.0f, 2.0f, 3.0f};
    const size_t count = write_file("{" TWO "," RUNNING "}", data, sizeof data);
    uint8_t *whole = unit_alloc(count);
    FILE *in = fopen(path, "rb");

    ck_assert_ptr_nonnull(in);
    ck_assert_uint_eq(fread(whole, 1, count, in), count);
    ck_assert_int_eq(fclose(in), 0);
    ck_assert_int_eq(open_file(), SP_OK);
    for (size_t kept = 0; kept < count; kept++) {
        write_bytes(whole, kept);
        expect_refused(SP_E_SYNTAX, kept + sizeof data >= count ? "cut short: tensor" : "not a safetensors file");
    }
    free(whole);
}
END_TEST

START_TEST(test_bad_lengths)
{
    static const uint64_t lengths[] = {1, 17, UINT64_MAX, UINT64_C(1) << 63};
    uint8_t bytes[24] = {0};

    (void)unlink(path);
    expect_refused(SP_E_IO, "cannot open");
    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        const uint64_t length = htole64(lengths[i]);

        memcpy(bytes, &length, 8);
        write_bytes(bytes, sizeof bytes);
        expect_refused(SP_E_SYNTAX, i == 0 ? "the header is no JSON object" : "header of");
    }
    memset(bytes, 0, sizeof bytes);
    write_bytes(bytes, 8);
    expect_refused(SP_E_SYNTAX, "no JSON object");
}
END_TEST

#define LONG "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggghhhhhhhhhhiiiiiiiiiijjjjjjjjjj"

static const struct {
    const char *header;
    int code;
    const char *words;
} bad[] = {
    {"[]", SP_E_SYNTAX, "no JSON object"},
    {"{\"w\"", SP_E_SYNTAX, "no JSON object"},
    {"{} x", SP_E_SYNTAX, "no JSON object"},
    {"{\"w\":1}", SP_E_SYNTAX, "tensor 'w' has no dtype"},
    {"{" TWO "," TWO "}", SP_E_SYNTAX, "duplicate"},
    {"{\"w\":{\"shape\":[8],\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "tensor 'w' has no dtype"},
    {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "tensor 'w' has no shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "tensor 'w' has no shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1,-2],\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "'w': size 2 of its shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "'w': size 1 of its shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,8]}}", SP_E_SYNTAX,
     "'w': size 2 of its shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "4 bytes, but"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", SP_E_SYNTAX, "'w': data_offsets must be"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", SP_E_SYNTAX, "'w': data_offsets must be"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", SP_E_SYNTAX, "'w': data_offsets must be"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", SP_E_SYNTAX, "'w': data_offsets must be"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", SP_E_SYNTAX,
     "'w': 3 values of 4 bytes, but data_offsets have 8 bytes"},
    {"{" TWO ",\"v\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", SP_E_SYNTAX,
     "'v' begins at byte 4 of the data, where 8 is expected: tensors overlap, or leave a hole"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", SP_E_SYNTAX, "'w' begins at byte 4"},
    {"{\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"v\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[3,8]}}",
     SP_E_SYNTAX, "'v' begins at byte 3 of the data, where 2 is expected"},
    {"{\"a\\nb\":{\"dtype\":\"F9\",\"shape\":[8],\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "has control characters"},
    {"{\"" LONG LONG LONG LONG "\":{\"dtype\":\"F9\",\"data_offsets\":[0,8]}}", SP_E_SYNTAX, "' has no shape"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", SP_E_SYNTAX,
     "goes on for 4 bytes after its last tensor"},
};

START_TEST(test_bad_headers)
{
    (void)write_file(bad[_i].header, (uint8_t[8]){0}, 8);
    expect_refused(bad[_i].code, bad[_i].words);
}
END_TEST

START_TEST(test_too_much)
{
    char *header = unit_alloc(UINT64_C(17) << 20);
    size_t used = 1;

    memset(header, ' ', UINT64_C(17) << 20);
    memcpy(header, "{}", 2);
    header[(UINT64_C(17) << 20) - 1] = '\0';
    (void)write_file(header, NULL, 0);
    expect_refused(SP_E_RANGE, "at most 16777216 are allowed");
    for (int i = 0; i <= 65536; i++)
        used += (size_t)sprintf(header + used, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                                i > 0 ? "," : "", i);
    (void)strcpy(header + used, "}");
    (void)write_file(header, NULL, 0);
    expect_refused(SP_E_RANGE, "65537 tensors; at most 65536 are allowed");
    /* One less is well, and metadata are no tensor. */
    used = 1;
    for (int i = 0; i < 65536; i++)
        used += (size_t)sprintf(header + used, "\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},", i);
    (void)strcpy(header + used, "\"__metadata__\":{}}");
    (void)write_file(header, NULL, 0);
    ck_assert_msg(open_file() == SP_OK, "%s", error.text);
    free(header);
}
END_TEST

/* A double that no float32 is near, and a file that is cut short after it was opened. */
START_TEST(test_what_shows_only_when_it_is_read)
{
    const double huge[2] = {0.0, 1e300};
    struct sp_layout layout;
    float theta[2];

    make_layout(&layout, "w", 2, NULL);
    (void)write_file("{\"w\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", huge, 16);
    ck_assert_int_eq(open_file(), SP_OK);
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, NULL, &error), SP_E_RANGE);
    ck_assert_int_eq(truncate(path, 70), 0);
    ck_assert_int_eq(sp_safetensors_read(file, &layout, theta, NULL, &error), SP_E_SYNTAX);
    ck_assert_msg(strstr(error.text, "cut short while it was read: it ends at byte 70") != NULL, "%s", error.text);
    sp_layout_finish(&layout);
}
END_TEST

START_TEST(test_what_a_layout_does_not_find)
{
    const float good[3] = {1, 2, 3}, infinite[3] = {1, INFINITY, 3};

    (void)write_file("{" TWO "}", good, 8);
    expect_unread(SP_E_MISSING, "has no tensor 'running', which the model has");
    (void)write_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]}," RUNNING "}", good, 12);
    expect_unread(SP_E_MISMATCH, "tensor 'w' is [1, 2], but [2] in the model");
    (void)write_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[2,1,1,1,1,1,1,1,1],\"data_offsets\":[0,8]}," RUNNING "}",
                     good, 12);
    expect_unread(SP_E_MISMATCH, "tensor 'w' is [2, 1, 1, 1, 1, 1, 1, 1, ...], but [2] in the model");
    (void)write_file("{\"w\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}," RUNNING "}", good, 12);
    expect_unread(SP_E_UNSUPPORTED, "tensor 'w' is of type I32; F32, F64, F16 or BF16 is expected");
    (void)write_file("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,8]}," RUNNING "}", good, 12);
    expect_unread(SP_E_UNSUPPORTED, "tensor 'w' is of type F8_E4M3; F32, F64, F16 or BF16 is expected");
    (void)write_file("{" TWO "," RUNNING "}", infinite, 12);
    expect_unread(SP_E_RANGE, "tensor 'w': value 1 (counted from 0) is inf");
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("safetensors");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_reads_what_a_layout_has);
    tcase_add_test(tests, test_unknown_type_beside);
    tcase_add_test(tests, test_what_is_no_file);
    tcase_add_test(tests, test_nothing_left_over);
    tcase_add_test(tests, test_doubles);
    tcase_add_test(tests, test_halves);
    tcase_add_test(tests, test_cut_short_at_every_byte);
    tcase_add_test(tests, test_bad_lengths);
    tcase_add_loop_test(tests, test_bad_headers, 0, UNIT_COUNT(bad));
    tcase_add_test(tests, test_too_much);
    tcase_add_test(tests, test_what_shows_only_when_it_is_read);
    tcase_add_test(tests, test_what_a_layout_does_not_find);
    return unit_run(suite_create("safetensors"), tests);
}
