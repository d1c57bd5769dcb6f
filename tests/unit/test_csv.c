/* Rows of numbers as text: what is read, and everything that can be wrong with a file. */
#include "tests/unit/files.h"
#include "tests/unit/unit.h"
#include "worker/train/data_parts.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct sp_csv_options options;
static struct sp_examples examples;
static struct sp_error error;

static void setup(void)
{
    options = (struct sp_csv_options){.header = true, .separator = ',', .label = "label"};
    memset(&examples, 0, sizeof examples);
    memset(&error, 0, sizeof error);
}

static void teardown(void)
{
    sp_examples_finish(&examples);
}

static int load_path(const char *path)
{
    sp_examples_finish(&examples);
    return sp_csv_load(&options, &path, 1, &examples, &error);
}

static void load(const char *text)
{
    ck_assert_msg(load_path(files_write("a.csv", text, strlen(text))) == SP_OK, "%s", error.text);
}

static void refuse_file(const char *path, int code, const char *words)
{
    ck_assert_int_eq(load_path(path), code);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' is not in: %s", words, error.text);
    ck_assert_msg(strstr(error.text, path) != NULL, "'%s' is not in: %s", path, error.text);
    ck_assert_ptr_null(examples.parts);
    ck_assert_ptr_null(examples.labels);
    ck_assert_int_eq(sp_csv_load(&options, &path, 1, &examples, NULL), code);
}

static void refuse(const char *text, int code, const char *words)
{
    refuse_file(files_write("a.csv", text, strlen(text)), code, words);
}

static void expect(uint64_t count, uint32_t inputs, const float *values, const uint8_t *labels)
{
    ck_assert_uint_eq(examples.count, count);
    ck_assert_uint_eq(examples.inputs, inputs);
    ck_assert_int_eq(examples.element, SP_ELEMENT_FLOAT);
    ck_assert_mem_eq(examples.labels, labels, count);
    for (uint64_t i = 0; i < count; i++)
        ck_assert_mem_eq(sp_examples_raw(&examples, i), values + i * inputs, inputs * sizeof *values);
}

/* Semicolons, where quoted names may have commas; tabs. Another separator than the file's is suspected. */
START_TEST(test_separators)
{
    const float values[] = {1.5f, 2, 3, -4};
    const uint8_t labels[] = {1, 0};

    options.separator = ';';
    load("\"fixed, acid\";label;\"b\"\n1.5;1;2\n3;0;-4\n");
    expect(2, 2, values, labels);
    options.separator = '\t';
    load("a\tlabel\tb\n1.5\t1\t2\n3\t0\t-4\n");
    expect(2, 2, values, labels);
    options.separator = ',';
    refuse("a;label;b\n1;1;2\n", SP_E_MISSING, "the names are 'a;label;b'; is data.csv.separator right?");
    refuse("\"a\";\"label\"\n1;1\n", SP_E_SYNTAX, "is data.csv.separator right?");
}
END_TEST

/* Which column is the label's. */

START_TEST(test_label_by_name_or_number)
{
    static const char text[] = "a,label,b\n1,7,2\n3,255,-4.5\n";
    const float beside_second[] = {1, 2, 3, -4.5f}, beside_first[] = {2, 3};
    const uint8_t second[] = {7, 255}, third[] = {9};

    load(text);
    expect(2, 2, beside_second, second);
    ck_assert_uint_eq(examples.classes, 256);
    ck_assert_uint_eq(examples.shape.channels, 1);
    ck_assert_uint_eq(examples.shape.height, 1);
    ck_assert_uint_eq(examples.shape.width, 2);
    options.label = "2";
    load(text);
    expect(2, 2, beside_second, second);
    options.header = false;
    options.label = "3";
    load("2,3,9\n");
    expect(1, 2, beside_first, third);
    options.label = "1";
    load("9,2,3\n");
    expect(1, 2, beside_first, third);
    /* A column of that very name comes first. */
    options.header = true;
    options.label = "1";
    load("a,b,1\n2,3,9\n");
    expect(1, 2, beside_first, third);
}
END_TEST

START_TEST(test_label_is_not_there)
{
    refuse("a,b,c\n1,2,3\n", SP_E_MISSING,
           ": line 1 (at byte 0): no column is named 'label', as data.csv.label says; the names are 'a', 'b', 'c'");
    options.label = "class";
    refuse(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,b,c,d,e,f,g,h,i,j,k,l,m,n,o,"
        "p,q,r,s,"
        "t,u\n1\n",
        SP_E_MISSING, "aaaaaa...', 'b', 'c', 'd', ");
    ck_assert_ptr_nonnull(strstr(error.text, ", ..."));
    options.label = "b";
    refuse("a,b,b\n1,2,3\n", SP_E_MISMATCH,
           "columns 2 and 3 are both named 'b'; give data.csv.label the number of one");
    options.label = "4";
    refuse("a,b,c\n1,2,3\n", SP_E_MISSING, "3 columns; data.csv.label says that number 4 is the label");
    options.header = false;
    refuse("1,2,3\n", SP_E_MISSING, "3 columns; data.csv.label says that number 4 is the label");
}
END_TEST

/* Numbers. */

START_TEST(test_numbers)
{
    const float values[] = {0.1f, 1e30f, -0.25f, 5, 16777217.0f, 123456789.0f, 0, 0, 3e-45f, 0x1.fffffep127f};
    const uint8_t labels[] = {0};

    load(
        "label,1,2,3,4,5,6,7,8,9,10\n0,.1,1e30,-2.5E-1,+5.,16777217,123456789,-0,1e-60,3e-45,3.40282346638528859e38\n");
    expect(1, 10, values, labels);
    ck_assert(!__builtin_signbitf(((const float *)sp_examples_raw(&examples, 0))[6]));
}
END_TEST

/* Even where a program speaks of numbers with a comma. The locale may not be there. */
START_TEST(test_locale)
{
    const float values[] = {1.5f};
    const uint8_t labels[] = {1};

    if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL)
        (void)setlocale(LC_ALL, "C.UTF-8");
    load("label,x\n1,1.5\n");
    expect(1, 1, values, labels);
    (void)setlocale(LC_ALL, "C");
}
END_TEST

static const struct {
    const char *field, *words;
} bad_values[] = {
    {"NaN", "'NaN' where a finite number such as -1.5e3 is expected"},
    {"nan", "'nan' where a finite"},
    {"inf", "'inf' where a finite"},
    {"-Infinity", "'-Infinity' where a finite"},
    {"", "nothing where a finite number"},
    {"\"\"", "nothing where a finite number"},
    {"  ", "nothing where a finite number"},
    {"red", "'red' where a finite"},
    {"0x10", "'0x10' where a finite"},
    {"1 2", "'1 2' where a finite"},
    {"\"1,5\"", "'1,5' where a finite"},
    {"1e39", "'1e39' where a number that fits float32 is expected"},
    {"-1e400", "'-1e400' where a number that fits float32"},
    {"1e", "'1e' where a finite"},
    {"\"a\nb\"", "'a\\x0Ab' where a finite"},
    {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxx",
     "xxxx...' where a finite"},
};

/* File, line, byte of the line, column, what is there, what is expected. */
START_TEST(test_bad_value)
{
    char text[512], words[512];

    (void)snprintf(text, sizeof text, "label,width,height\n1,2,3\n4,5,%s\n6,7,8\n", bad_values[_i].field);
    (void)snprintf(words, sizeof words, "a.csv: line 3 (at byte 25): column 3 ('height'): %s", bad_values[_i].words);
    refuse(text, SP_E_RANGE, bad_values[_i].words);
    if (strlen(bad_values[_i].field) < 60)
        refuse(text, SP_E_RANGE, words);
    options.header = false;
    options.label = "1";
    (void)snprintf(text, sizeof text, "1,2,3\n4,5,%s\n", bad_values[_i].field);
    refuse(text, SP_E_RANGE, ": line 2 (at byte 6): column 3: ");
}
END_TEST

START_TEST(test_nul_byte)
{
    refuse_file(files_write("a.csv", "label,x\n1,2\0003\n", 14), SP_E_RANGE, "column 2 ('x'): '2' where a finite");
    refuse_file(files_write("a.csv", "label,x\0y\n1,2\n", 14), SP_E_SYNTAX, "the name of column 2 has a NUL byte");
}
END_TEST

static const char *const bad_labels[] = {"256", "-1", "1.0", "red", "", "nan", "1e1", "99999999"};

START_TEST(test_bad_label)
{
    char text[64], words[128];

    (void)snprintf(text, sizeof text, "x,label\n1,0\n2,%s\n", bad_labels[_i]);
    (void)snprintf(words, sizeof words,
                   ": line 3 (at byte 12): column 2 ('label'): %s%s%s where a label, a whole number "
                   "from 0 to 255, is expected",
                   bad_labels[_i][0] ? "'" : "", bad_labels[_i][0] ? bad_labels[_i] : "nothing",
                   bad_labels[_i][0] ? "'" : "");
    refuse(text, SP_E_RANGE, words);
}
END_TEST

/* Rows. */

START_TEST(test_fields_of_a_row)
{
    refuse("label,a,b\n1,2,3\n1,2\n", SP_E_MISMATCH, ": line 3 (at byte 16): 2 fields; the first line has 3");
    refuse("label,a,b\n1,2,3\n1\n", SP_E_MISMATCH, ": line 3 (at byte 16): 1 field; the first line has 3");
    refuse("label,a,b\n1,2,3,\n", SP_E_MISMATCH,
           ": line 2 (at byte 10): more than 3 fields, which is what the first line has");
    refuse("label,a,b\n1,2", SP_E_MISMATCH, ": line 2 (at byte 10): 2 fields; the first line has 3");
    refuse("label\n1\n", SP_E_MISMATCH,
           "one column; a label and at least one input, separated by what data.csv.separator says, are expected");
    refuse("label;a;b\n1;2;3\n", SP_E_MISSING, "the names are 'label;a;b'");
    options.header = false;
    options.label = "1";
    refuse("1,2,3\n4,5,6,7\n", SP_E_MISMATCH, ": line 2 (at byte 6): more than 3 fields");
    refuse("1\n", SP_E_MISMATCH, "one column");
}
END_TEST

START_TEST(test_no_rows)
{
    refuse("", SP_E_SYNTAX, "the file has no rows");
    refuse("\n\r\n  \n", SP_E_SYNTAX, "the file has no rows");
    refuse("label,a\n", SP_E_SYNTAX, "the file has no rows below the names of columns");
    refuse("label,a", SP_E_SYNTAX, "the file has no rows below the names of columns");
    options.header = false;
    options.label = "1";
    refuse("", SP_E_SYNTAX, "the file has no rows");
}
END_TEST

START_TEST(test_header_or_not)
{
    refuse("1,2,3\n4,5,6\n", SP_E_SYNTAX,
           ": line 1 (at byte 0): numbers only, where the names of columns are expected; if the file has no such line, "
           "set "
           "data.csv.header to false");
    options.header = false;
    options.label = "1";
    refuse(
        "label,a\n1,2\n", SP_E_RANGE,
        "column 1: 'label' where a label, a whole number from 0 to 255, is expected; if this line names the columns, "
        "set "
        "data.csv.header to true");
    refuse("1,a\n1,2\n", SP_E_RANGE,
           "column 2: 'a' where a finite number such as -1.5e3 is expected; if this line names");
    refuse("1,2\n1,a\n", SP_E_RANGE, "is expected");
    ck_assert_ptr_null(strstr(error.text, "data.csv.header"));
    options.label = "label";
    ck_assert_int_eq(load_path(files_path("a.csv")), SP_E_MISMATCH);
    ck_assert_str_eq(error.text, "data.csv.label must be a column's number where none has a name");
}
END_TEST

/* Line ends of all kinds, blank lines and blanks, quotes, a byte order mark, no end of the last line: the same rows. */
START_TEST(test_forms_of_text)
{
    static const char *const texts[] = {
        "label,x,y\n1,2,3\n4,5,6\n",
        "label,x,y\r\n1,2,3\r\n4,5,6\r\n",
        "label,x,y\r1,2,3\r4,5,6\r",
        "label,x,y\n1,2,3\n4,5,6",
        "\n\nlabel,x,y\n \n1,2,3\n\n4,5,6\n\t\n",
        "label , x,y\n 1, 2 ,3\n4,5,\t6 \n",
        "\"label\",\"x\",y\n\"1\",2,\"3\"\n4,5,6\n",
        "\xEF\xBB\xBFlabel,x,y\n1,2,3\n4,5,6\n",
    };
    const float values[] = {2, 3, 5, 6};
    const uint8_t labels[] = {1, 4};
    uint64_t columns = 0;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        load(texts[i]);
        expect(2, 2, values, labels);
        columns = i == 0 ? examples.columns : columns;
        ck_assert_uint_eq(examples.columns, columns);
    }
    ck_assert_uint_eq(columns, XXH64("label\0x\0y", 10, 0));
}
END_TEST

/* Lines are counted as an editor does, whatever ends them, and a name or a field may go over several. */
START_TEST(test_where_a_row_begins)
{
    refuse("label,x\r\n\r\n1,2\r\n1,?\r\n", SP_E_RANGE, ": line 4 (at byte 16): column 2 ('x'): '?'");
    refuse("label,x\r\r1,2\r1,?\r", SP_E_RANGE, ": line 4 (at byte 13): column 2 ('x'): '?'");
    refuse("label,\"x\ny\"\n1,2\n1,?\n", SP_E_RANGE, ": line 4 (at byte 16): column 2 ('x\\x0Ay'): '?'");
    refuse("label,x\n1,\"2\n\n\"\n1,2\n", SP_E_RANGE, ": line 2 (at byte 8): column 2 ('x'): '2\\x0A\\x0A'");
    refuse("\xEF\xBB\xBFlabel,x\n1,?\n", SP_E_RANGE, ": line 2 (at byte 11): column 2 ('x'): '?'");
}
END_TEST

START_TEST(test_quotes)
{
    refuse("label,x\n1,2\n1,2\"3\n", SP_E_SYNTAX, ": line 3 (at byte 12): a quote where none may be");
    refuse("label,x\n1,\"2\"3\n", SP_E_SYNTAX, ": line 2 (at byte 8): a quote where none may be");
    refuse("label,x\n1,2\n1,\"2\n3,4\n", SP_E_SYNTAX,
           ": line 3 (at byte 12): the file ends in a field whose quote is not closed");
}
END_TEST

/* Shapes. */

START_TEST(test_shapes)
{
    static const uint32_t square[] = {2, 2}, channels[] = {4, 1, 1}, wrong[] = {2, 3};
    static const uint32_t huge[] = {1u << 24, 1u << 24, 1u << 24};

    options.shape = square;
    options.shape_count = 2;
    load("label,a,b,c,d\n1,2,3,4,5\n");
    ck_assert_uint_eq(examples.shape.channels, 1);
    ck_assert_uint_eq(examples.shape.height, 2);
    ck_assert_uint_eq(examples.shape.width, 2);
    options.shape = channels;
    options.shape_count = 3;
    load("label,a,b,c,d\n1,2,3,4,5\n");
    ck_assert_uint_eq(examples.shape.channels, 4);
    ck_assert_uint_eq(examples.shape.height, 1);
    ck_assert_uint_eq(examples.shape.width, 1);
    options.shape = wrong;
    options.shape_count = 2;
    refuse("label,a,b,c,d\n1,2,3,4,5\n", SP_E_MISMATCH,
           "4 columns beside the label; data.csv.shape is that of 6 inputs");
    options.shape = huge;
    options.shape_count = 3;
    refuse("label,a,b,c,d\n1,2,3,4,5\n", SP_E_MISMATCH, "4 columns beside the label; data.csv.shape is that of ");
}
END_TEST

/* Several files. */

static int load_two(const char *one, const char *two)
{
    const char *paths[] = {files_write("1.csv", one, strlen(one)), files_write_gzip("2.csv.gz", two, strlen(two))};

    sp_examples_finish(&examples);
    return sp_csv_load(&options, paths, 2, &examples, &error);
}

START_TEST(test_several_files)
{
    const float values[] = {1, 2, 3, 4, 5, 6};
    const uint8_t labels[] = {7, 8, 9};
    uint8_t content[12 + sizeof values + 3] = {3, 0, 0, 0, 0, 0, 0, 0, 2};

    ck_assert_msg(load_two("a,label,b\n1,7,2\n", "a,label,b\n3,8,4\n5,9,6\n") == SP_OK, "%s", error.text);
    expect(3, 2, values, labels);
    memcpy(content + 12, values, sizeof values);
    memcpy(content + 12 + sizeof values, labels, 3);
    ck_assert_uint_eq(sp_examples_digest(&examples), XXH64(content, sizeof content, 0));

    ck_assert_int_eq(load_two("a,label,b\n1,7,2\n", "b,label,a\n3,8,4\n"), SP_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(error.text,
                                 "2.csv.gz: line 1 (at byte 0, uncompressed): column 1 is named 'b'; in the "
                                 "first file it is 'a'"));
    ck_assert_int_eq(load_two("a,label,b\n1,7,2\n", "a,label\n3,8\n"), SP_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(error.text, "2 columns; the first file has 3"));
    ck_assert_int_eq(load_two("a,label,b\n1,7,2\n", "a,label,b\n"), SP_E_SYNTAX);
    ck_assert_ptr_nonnull(strstr(error.text, "2.csv.gz: "));
    ck_assert_ptr_nonnull(strstr(error.text, "no rows"));
    ck_assert_int_eq(load_two("a,label,b\n1,7,2\n", "a,label,b\n1,7,2\n1,7,x\n"), SP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.text, "2.csv.gz: line 3 (at byte 16, uncompressed): column 3 ('b'): 'x'"));
    options.header = false;
    options.label = "2";
    ck_assert_int_eq(load_two("1,7,2\n", "3,8,4\n5,9,6\n"), SP_OK);
    expect(3, 2, values, labels);
    ck_assert_uint_eq(examples.columns, 0);
    ck_assert_int_eq(load_two("1,7,2\n", "3,8\n"), SP_E_MISMATCH);
}
END_TEST

/* A test set must have the training set's columns, in their order. */
START_TEST(test_check_test)
{
    struct sp_examples train;

    load("a,label,b\n1,1,2\n");
    train = examples;
    memset(&examples, 0, sizeof examples);
    load("a,label,b\n3,0,4\n");
    ck_assert_int_eq(sp_examples_check_test(&train, &examples, &error), SP_OK);
    load("b,label,a\n3,0,4\n");
    ck_assert_int_eq(sp_examples_check_test(&train, &examples, &error), SP_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(error.text, "a.csv: the columns have other names than in the training data"));
    load("a,label\n3,0\n");
    ck_assert_int_eq(sp_examples_check_test(&train, &examples, &error), SP_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(error.text, "a.csv: an image has 1 inputs, but 2 in the training data"));
    sp_examples_finish(&train);
}
END_TEST

/* Sizes. */

/* More than the first buffers hold, and than one chunk of the file; the numbers say where each belongs. */
START_TEST(test_many)
{
    enum { ROWS = 5000, COLUMNS = 40 };
    char *text = malloc(ROWS * COLUMNS * 8), *at = text;

    ck_assert_ptr_nonnull(text);
    options.header = false;
    options.label = "40";
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < COLUMNS; k++)
            at += sprintf(at, "%d%c", k == COLUMNS - 1 ? i % 200 : i * 39 + k, k == COLUMNS - 1 ? '\n' : ',');
    ck_assert_int_eq(load_path(files_write_gzip("a.csv.gz", text, (size_t)(at - text))), SP_OK);
    ck_assert_uint_eq(examples.count, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        const float *row = sp_examples_raw(&examples, i);

        ck_assert_uint_eq(examples.labels[i], i % 200);
        for (uint32_t k = 0; k < COLUMNS - 1; k++)
            ck_assert(row[k] == (float)(i * 39 + k));
    }
    free(text);
}
END_TEST

static char *filled(const char *unit, size_t count, const char *end, size_t *bytes)
{
    const size_t length = strlen(unit);
    char *text = malloc(count * length + strlen(end) + 1);

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * length, unit, length);
    (void)strcpy(text + count * length, end);
    *bytes = count * length + strlen(end);
    return text;
}

START_TEST(test_too_many_columns)
{
    size_t bytes;
    char *text = filled("1,", SP_INPUTS_MAX + 1, "1\n", &bytes);

    options.header = false;
    options.label = "1";
    refuse_file(files_write_gzip("a.csv.gz", text, bytes), SP_E_RANGE, "more than 16777216 columns beside the label");
    free(text);
}
END_TEST

START_TEST(test_too_long_a_line)
{
    size_t bytes;
    char *text = filled("xxxxxxx,", SP_CSV_LINE_BYTES_MAX / 8 + 8192, "\n", &bytes);

    refuse_file(files_write_gzip("a.csv.gz", text, bytes), SP_E_RANGE,
                ": line 1 (at byte 0, uncompressed): the line is longer than 67108864 bytes");
    free(text);
}
END_TEST

/* In one piece, and over lines in a quote that otherwise would go on to the file's end. */
START_TEST(test_too_long_a_field)
{
    size_t bytes;
    char *text = filled("xxxxxxx\n", 1 << 17, "\n", &bytes);

    text[0] = '"';
    refuse_file(files_write("a.csv", text, bytes), SP_E_RANGE,
                ": line 1 (at byte 0): column 1: a field of more than 65536 bytes; is a quote not closed?");
    memset(text, 'x', bytes - 1);
    refuse_file(files_write("a.csv", text, bytes), SP_E_RANGE, "column 1: a field of more than 65536 bytes");
    memcpy(text, "label,x\n1,2\n3,", 14);
    memset(text + 14, '1', SP_CSV_FIELD_BYTES_MAX);
    text[14 + SP_CSV_FIELD_BYTES_MAX] = '\n';
    refuse_file(files_write("a.csv", text, 15 + SP_CSV_FIELD_BYTES_MAX), SP_E_RANGE,
                "111...' where a number that fits");
    text[14 + SP_CSV_FIELD_BYTES_MAX] = '1';
    text[15 + SP_CSV_FIELD_BYTES_MAX] = '\n';
    refuse_file(files_write("a.csv", text, 16 + SP_CSV_FIELD_BYTES_MAX), SP_E_RANGE,
                ": line 3 (at byte 12): column 2: a field of more than 65536 bytes");
    free(text);
}
END_TEST

START_TEST(test_cannot_read)
{
    static const char text[] = "label,x\n1,2\n3,4\n";
    uint8_t packed[256];
    size_t size;

    refuse_file(files_path("none.csv"), SP_E_IO, "No such file or directory");
    (void)files_write_gzip("a.csv.gz", text, sizeof text - 1);
    size = files_read("a.csv.gz", packed, sizeof packed);
    for (size_t kept = 2; kept < size; kept++)
        refuse_file(files_write("a.csv.gz", packed, kept), SP_E_SYNTAX, "the gzip stream ends too early");
    packed[size - 8] ^= 1;
    refuse_file(files_write("a.csv.gz", packed, size), SP_E_CORRUPT, "incorrect data check");
    /* Behind a stream there may be another one, or zeros; what is neither must not be dropped without a word. */
    packed[size - 8] ^= 1;
    memset(packed + size, 0, sizeof packed - size);
    ck_assert_int_eq(load_path(files_write("a.csv.gz", packed, sizeof packed)), SP_OK);
    packed[sizeof packed - 1] = 1;
    refuse_file(files_write("a.csv.gz", packed, sizeof packed), SP_E_CORRUPT,
                "what follows the gzip stream is neither another one nor zeros");
    packed[size] = 'x';
    refuse_file(files_write("a.csv.gz", packed, size + 5), SP_E_CORRUPT, "what follows the gzip stream");
    memcpy(packed + size, packed, 5); /* another one, damaged */
    packed[size] = 0x1e;
    refuse_file(files_write("a.csv.gz", packed, size + 5), SP_E_CORRUPT, "what follows the gzip stream");
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("csv");
    TCase *rows = tcase_create("rows"), *sizes = tcase_create("sizes");

    tcase_add_checked_fixture(rows, setup, teardown);
    tcase_add_test(rows, test_separators);
    tcase_add_test(rows, test_label_by_name_or_number);
    tcase_add_test(rows, test_label_is_not_there);
    tcase_add_test(rows, test_numbers);
    tcase_add_test(rows, test_locale);
    tcase_add_loop_test(rows, test_bad_value, 0, sizeof bad_values / sizeof bad_values[0]);
    tcase_add_test(rows, test_nul_byte);
    tcase_add_loop_test(rows, test_bad_label, 0, sizeof bad_labels / sizeof bad_labels[0]);
    tcase_add_test(rows, test_fields_of_a_row);
    tcase_add_test(rows, test_no_rows);
    tcase_add_test(rows, test_header_or_not);
    tcase_add_test(rows, test_forms_of_text);
    tcase_add_test(rows, test_where_a_row_begins);
    tcase_add_test(rows, test_quotes);
    tcase_add_test(rows, test_shapes);
    tcase_add_test(rows, test_several_files);
    tcase_add_test(rows, test_check_test);
    suite_add_tcase(all, rows);
    tcase_add_checked_fixture(sizes, setup, teardown);
    tcase_set_timeout(sizes, 60);
    tcase_add_test(sizes, test_many);
    tcase_add_test(sizes, test_too_many_columns);
    tcase_add_test(sizes, test_too_long_a_line);
    tcase_add_test(sizes, test_too_long_a_field);
    tcase_add_test(sizes, test_cannot_read);
    suite_add_tcase(all, sizes);
    return all;
}

int main(void)
{
    files_begin();
    return unit_run_all(suite());
}
