/* Reads rows of numbers as text, by libcsv: RFC 4180, with blank lines and blanks around a field left out.
 *
 * Happy path: for each file: open, feed libcsv line by line, which hands back fields and ends of rows. The first row of
 * all says how many columns there are; csv_header.c knows their names. libcsv itself counts nothing, so that where a
 * row begins (for the words of an error) is counted here.
 */
#include "worker/train/csv_parts.h"

#include "common/check.h"
#include "common/decimal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_BYTES (1u << 16)
#define BLOCK_BYTES 4096u /* by which libcsv's buffer of a field grows */
#define VALUES_MIN 4096   /* of the first buffer */
#define VALUES_MAX (SP_EXAMPLES_BYTES_MAX / sizeof(float))

void sp_csv_fail(struct csv *csv, enum sp_code code, const char *format, ...)
{
    char words[SP_ERROR_TEXT_BYTES];
    va_list args;

    if (csv->code != SP_OK)
        return;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    csv->code = code;
    (void)sp_error_set(csv->error, code, "%.*s: line %llu (at byte %llu%s): %s", SP_PATH_SHOWN_BYTES,
                       sp_path_shown(csv->source.path), (unsigned long long)csv->row_line,
                       (unsigned long long)csv->row_at, sp_source_is_compressed(&csv->source) ? ", uncompressed" : "",
                       words);
}

const char *sp_csv_quote(const char *text, char out[SP_QUOTED_BYTES])
{
    char cut[SP_CSV_QUOTED_BYTES];
    size_t length = strnlen(text, sizeof cut);

    if (length < sizeof cut)
        return sp_job_quote(text, out);
    length = sizeof cut - 4;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) /* no half of a UTF-8 character */
        length--;
    (void)snprintf(cut, sizeof cut, "%.*s...", (int)length, text);
    return sp_job_quote(cut, out);
}

/* "column 3 ('width')" */
static void refuse_field(struct csv *csv, const char *text, const char *expected)
{
    const char *name = sp_csv_name(csv, csv->field);
    char quoted[SP_QUOTED_BYTES], quoted_name[SP_QUOTED_BYTES];

    sp_csv_fail(
        csv, SP_E_RANGE, "column %u%s%s%s: %s%s%s where %s is expected%s", csv->field + 1, name != NULL ? " ('" : "",
        name != NULL ? sp_csv_quote(name, quoted_name) : "", name != NULL ? "')" : "",
        text[0] != '\0' ? "'" : "nothing", text[0] != '\0' ? sp_csv_quote(text, quoted) : "",
        text[0] != '\0' ? "'" : "", expected,
        csv->rows == 0 && !csv->options->header ? "; if this line names the columns, set data.csv.header to true" : "");
}

/* Growing. */

static int grow_values(struct csv *csv)
{
    uint64_t room = csv->room == 0 ? VALUES_MIN : 2 * csv->room;
    float *values;

    if (csv->used >= VALUES_MAX) {
        sp_csv_fail(csv, SP_E_RANGE, "all rows together need more than %llu bytes of memory",
                    (unsigned long long)SP_EXAMPLES_BYTES_MAX);
        return SP_E_RANGE;
    }
    room = room < VALUES_MAX ? room : VALUES_MAX;
    values = realloc(csv->values, (size_t)room * sizeof *values);
    if (values == NULL) {
        sp_csv_fail(csv, SP_E_NOMEM, "no memory for %llu values", (unsigned long long)room);
        return SP_E_NOMEM;
    }
    csv->values = values;
    csv->room = room;
    return SP_OK;
}

static int grow_labels(struct csv *csv)
{
    uint64_t room = csv->labels_room == 0 ? VALUES_MIN : 2 * csv->labels_room;
    uint8_t *labels;

    if (csv->count >= SP_EXAMPLES_MAX) {
        sp_csv_fail(csv, SP_E_RANGE, "more than %llu rows", (unsigned long long)SP_EXAMPLES_MAX);
        return SP_E_RANGE;
    }
    labels = realloc(csv->labels, (size_t)room);
    if (labels == NULL) {
        sp_csv_fail(csv, SP_E_NOMEM, "no memory for %llu labels", (unsigned long long)room);
        return SP_E_NOMEM;
    }
    csv->labels = labels;
    csv->labels_room = room;
    return SP_OK;
}

/* Fields. */

/* Of up to 7 digits the value is exact in float32; most pixels are such. */
static bool short_number(const char *text, size_t length, uint32_t *value)
{
    *value = 0;
    if (length == 0 || length > 7)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *value = *value * 10 + (uint32_t)(text[i] - '0');
    }
    return true;
}

static void take_label(struct csv *csv, const char *text, size_t length)
{
    uint32_t value;

    if (!short_number(text, length, &value) || value >= SP_CLASSES_MAX) {
        refuse_field(csv, text, "a label, a whole number from 0 to 255,");
        return;
    }
    if (csv->count < csv->labels_room || grow_labels(csv) == SP_OK)
        csv->labels[csv->count] = (uint8_t)value;
}

static void take_value(struct csv *csv, const char *text, size_t length)
{
    uint32_t whole;
    float value;

    if (short_number(text, length, &whole)) {
        value = (float)whole;
    } else {
        if (strlen(text) != length || !sp_is_decimal(text)) {
            refuse_field(csv, text, "a finite number such as -1.5e3");
            return;
        }
        value = strtof_l(text, NULL, csv->c) + 0.0f; /* -0 becomes 0 */
        if (isinf(value)) {
            refuse_field(csv, text, "a number that fits float32");
            return;
        }
    }
    if (csv->used < csv->room || grow_values(csv) == SP_OK)
        csv->values[csv->used++] = value;
}

static void refuse_length(struct csv *csv)
{
    sp_csv_fail(csv, SP_E_RANGE, "column %u: a field of more than %d bytes; is a quote not closed?", csv->field + 1,
                SP_CSV_FIELD_BYTES_MAX);
}

static void on_field(void *field, size_t length, void *arg)
{
    struct csv *csv = arg;
    const char *text = field;

    if (csv->code != SP_OK)
        return;
    if (length > SP_CSV_FIELD_BYTES_MAX)
        refuse_length(csv);
    else if (csv->columns > 0 && csv->field >= csv->columns)
        sp_csv_fail(csv, SP_E_MISMATCH, "more than %u fields, which is what the first line has", csv->columns);
    else if (csv->field > SP_INPUTS_MAX)
        sp_csv_fail(csv, SP_E_RANGE, "more than %llu columns beside the label", (unsigned long long)SP_INPUTS_MAX);
    else if (csv->in_header)
        sp_csv_take_name(csv, text, length);
    else if (csv->field == csv->label)
        take_label(csv, text, length);
    else
        take_value(csv, text, length);
    csv->field++;
}

/* Once the number of columns is known. */
static void check_columns(struct csv *csv)
{
    const struct sp_csv_options *options = csv->options;
    uint64_t inputs = 1;

    csv->columns = csv->field;
    if (csv->columns < 2)
        sp_csv_fail(
            csv, SP_E_MISMATCH,
            "one column; a label and at least one input, separated by what data.csv.separator says, are expected");
    else if (csv->label >= csv->columns)
        sp_csv_fail(csv, SP_E_MISSING, "%u columns; data.csv.label says that number %u is the label", csv->columns,
                    csv->label + 1);
    if (options->shape_count == 0)
        return;
    for (uint32_t i = 0; i < options->shape_count && inputs <= SP_INPUTS_MAX; i++)
        inputs *= options->shape[i];
    if (inputs != csv->columns - 1)
        sp_csv_fail(csv, SP_E_MISMATCH, "%u columns beside the label; data.csv.shape is that of %llu%s inputs",
                    csv->columns - 1, (unsigned long long)inputs, inputs > SP_INPUTS_MAX ? " or more" : "");
}

static void end_row(struct csv *csv)
{
    if (csv->field < csv->columns)
        sp_csv_fail(csv, SP_E_MISMATCH, "%u field%s; the first line has %u", csv->field, csv->field == 1 ? "" : "s",
                    csv->columns);
    else if (csv->columns == 0)
        check_columns(csv);
    csv->count++;
    csv->rows++;
}

static void on_row(int terminator, void *arg)
{
    struct csv *csv = arg;

    (void)terminator;
    csv->ended = true;
    if (csv->code != SP_OK)
        return;
    if (csv->in_header) {
        bool first = csv->columns == 0;

        sp_csv_end_header(csv);
        csv->in_header = false;
        if (csv->code == SP_OK && first)
            check_columns(csv);
    } else {
        end_row(csv);
    }
    csv->field = 0;
}

/* Lines. */

static void refuse_syntax(struct csv *csv)
{
    int code = csv_error(&csv->parser);

    if (code == CSV_EPARSE)
        sp_csv_fail(csv, SP_E_SYNTAX,
                    "a quote where none may be: a field with quotes begins and ends with one, and has "
                    "others doubled; is data.csv.separator right?");
    else
        sp_csv_fail(csv, SP_E_NOMEM, "no memory for a field: %s", csv_strerror(code));
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (strchr(" \t\r\n", text[i]) == NULL || text[i] == '\0')
            return false;
    return true;
}

/* A line, or as much of it as there is yet. */
static void feed_piece(struct csv *csv, const char *text, size_t bytes)
{
    if (!csv->open) {
        csv->row_line = csv->line;
        csv->row_at = csv->at;
    }
    csv->ended = false;
    if (csv_parse(&csv->parser, text, bytes, on_field, on_row, csv) != bytes)
        refuse_syntax(csv);
    csv->open = !csv->ended && (csv->open || !is_blank(text, bytes));
    if (text[bytes - 1] == '\r' || (text[bytes - 1] == '\n' && !(bytes == 1 && csv->after_return)))
        csv->line++;
    csv->after_return = text[bytes - 1] == '\r';
    csv->at += bytes;
    if (csv_get_buffer_size(&csv->parser) > SP_CSV_FIELD_BYTES_MAX + BLOCK_BYTES)
        refuse_length(csv); /* before libcsv has all of it */
    if (csv->open && csv->at - csv->row_at > SP_CSV_LINE_BYTES_MAX)
        sp_csv_fail(csv, SP_E_RANGE, "the line is longer than %llu bytes", (unsigned long long)SP_CSV_LINE_BYTES_MAX);
}

static void feed(struct csv *csv, const char *text, size_t bytes)
{
    const char *end = text + bytes;

    while (text < end && csv->code == SP_OK) {
        const char *next = text;

        while (next < end && *next != '\n' && *next != '\r')
            next++;
        next += next < end;
        feed_piece(csv, text, (size_t)(next - text));
        text = next;
    }
}

static int read_rows(struct csv *csv)
{
    char *chunk = malloc(CHUNK_BYTES), *text;
    uint64_t got = 0;
    int rc = SP_OK;

    if (chunk == NULL)
        return sp_error_set(csv->error, SP_E_NOMEM, "out of memory");
    do {
        rc = sp_source_read(&csv->source, chunk, CHUNK_BYTES, &got);
        text = chunk;
        if (rc == SP_OK && csv->at == 0 && got >= 3 && memcmp(chunk, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
            text += 3;
            csv->at = 3;
        }
        if (rc == SP_OK)
            feed(csv, text, got - (size_t)(text - chunk));
    } while (rc == SP_OK && csv->code == SP_OK && got == CHUNK_BYTES);
    free(chunk);
    if (rc == SP_OK && csv->code == SP_OK && csv_fini(&csv->parser, on_field, on_row, csv) != 0)
        sp_csv_fail(csv, SP_E_SYNTAX, "the file ends in a field whose quote is not closed");
    if (rc == SP_OK && csv->code == SP_OK && csv->rows == 0)
        sp_csv_fail(csv, SP_E_SYNTAX, "the file has no rows%s",
                    csv->options->header ? " below the names of columns" : "");
    return rc == SP_OK ? csv->code : rc;
}

static int load_file(struct csv *csv, const char *path)
{
    int rc = sp_source_open(&csv->source, path, csv->error);

    if (rc != SP_OK)
        return rc;
    sp_assert(csv_init(&csv->parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) == 0);
    csv_set_delim(&csv->parser, (unsigned char)csv->options->separator);
    csv_set_blk_size(&csv->parser, BLOCK_BYTES);
    csv->line = csv->row_line = 1;
    csv->at = csv->row_at = csv->rows = 0;
    csv->field = 0;
    csv->open = csv->after_return = false;
    csv->in_header = csv->options->header;
    rc = read_rows(csv);
    csv_free(&csv->parser);
    sp_source_close(&csv->source);
    return rc;
}

static struct sp_shape shape_of(const struct csv *csv)
{
    const uint32_t *shape = csv->options->shape;

    switch (csv->options->shape_count) {
    case 2:
        return (struct sp_shape){1, shape[0], shape[1]};
    case 3:
        return (struct sp_shape){shape[0], shape[1], shape[2]};
    default:
        return (struct sp_shape){1, 1, csv->columns - 1};
    }
}

/* What was read becomes the examples' own. */
static int hand_over(struct csv *csv, struct sp_examples *out)
{
    struct sp_part part = {.count = csv->count};
    float *values;

    sp_assert(csv->used > 0);
    values = realloc(csv->values, (size_t)csv->used * sizeof *values);
    if (values == NULL)
        return sp_error_set(csv->error, SP_E_NOMEM, "no memory for %llu values", (unsigned long long)csv->used);
    out->inputs = csv->columns - 1;
    out->shape = shape_of(csv);
    out->element = SP_ELEMENT_FLOAT;
    out->columns = sp_csv_names_digest(csv);
    out->labels = csv->labels;
    part.images = (const uint8_t *)values;
    part.memory = values;
    part.stride = out->inputs * sizeof(float);
    csv->values = NULL;
    csv->labels = NULL;
    return sp_examples_add_part(out, &part, csv->error);
}

int sp_csv_load(const struct sp_csv_options *options, const char *const *paths, size_t count, struct sp_examples *out,
                struct sp_error *error)
{
    struct csv csv = {.options = options, .error = error};
    int rc = SP_OK;

    sp_examples_begin(out, paths[0], NULL);
    csv.c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (csv.c == (locale_t)0)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    csv.label = sp_csv_label_number(options->label);
    if (!options->header && csv.label == UINT32_MAX)
        rc = sp_error_set(error, SP_E_MISMATCH, "data.csv.label must be a column's number where none has a name");
    for (size_t i = 0; i < count && rc == SP_OK; i++)
        rc = load_file(&csv, paths[i]);
    if (rc == SP_OK)
        rc = hand_over(&csv, out);
    if (rc == SP_OK)
        sp_examples_count_classes(out);
    else
        sp_examples_finish(out);
    freelocale(csv.c);
    free(csv.values);
    free(csv.labels);
    sp_csv_forget_names(&csv);
    return rc;
}
