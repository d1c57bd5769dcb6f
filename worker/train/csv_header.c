/* The names of a CSV file's columns. */
#include "worker/train/csv_parts.h"

#include "common/decimal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LISTED_BYTES 160 /* of the names that an error lists */

uint32_t sp_csv_label_number(const char *label)
{
    uint64_t number = 0;

    for (const char *c = label; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || number > SP_INPUTS_MAX)
            return UINT32_MAX;
        number = number * 10 + (uint64_t)(*c - '0');
    }
    return number >= 1 && number <= SP_INPUTS_MAX + 1 ? (uint32_t)(number - 1) : UINT32_MAX;
}

void sp_csv_take_name(struct csv *csv, const char *text, size_t length)
{
    struct csv_names *names = &csv->names;

    if (strlen(text) != length) {
        sp_csv_fail(csv, SP_E_SYNTAX, "the name of column %u has a NUL byte", csv->field + 1);
        return;
    }
    if (names->used + length + 1 > names->room) {
        size_t room = 2 * (names->room + length + 1);
        char *grown = realloc(names->text, room);

        if (grown == NULL) {
            sp_csv_fail(csv, SP_E_NOMEM, "no memory for the names of columns");
            return;
        }
        names->text = grown;
        names->room = room;
    }
    memcpy(names->text + names->used, text, length + 1);
    names->used += length + 1;
    names->count++;
}

static const char *next_name(const char *name)
{
    return name + strlen(name) + 1;
}

static bool are_numbers(const struct csv_names *names)
{
    const char *name = names->text;

    for (uint32_t i = 0; i < names->count; i++, name = next_name(name))
        if (!sp_is_decimal(name))
            return false;
    return true;
}

/* "'a', 'b', 'c', ..." */
static void list_names(const struct csv_names *names, char text[LISTED_BYTES])
{
    const char *name = names->text;
    char quoted[SP_QUOTED_BYTES];
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < names->count; i++, name = next_name(name)) {
        sp_csv_quote(name, quoted);
        if (used + strlen(quoted) + sizeof "'', ..." > LISTED_BYTES) {
            (void)snprintf(text + used, LISTED_BYTES - used, "...");
            return;
        }
        used += (size_t)snprintf(text + used, LISTED_BYTES - used, "'%s'%s", quoted, i + 1 < names->count ? ", " : "");
    }
}

/* A column of that very name comes before one of that number. */
static void find_label(struct csv *csv)
{
    const char *wanted = csv->options->label, *name = csv->names.text;
    char quoted[SP_QUOTED_BYTES], listed[LISTED_BYTES];
    uint32_t found = UINT32_MAX;

    for (uint32_t i = 0; i < csv->names.count; i++, name = next_name(name)) {
        if (strcmp(name, wanted) != 0)
            continue;
        if (found != UINT32_MAX)
            sp_csv_fail(csv, SP_E_MISMATCH,
                        "columns %u and %u are both named '%s'; give data.csv.label the number of one", found + 1,
                        i + 1, sp_csv_quote(wanted, quoted));
        found = i;
    }
    if (found != UINT32_MAX)
        csv->label = found;
    if (csv->label != UINT32_MAX)
        return;
    list_names(&csv->names, listed);
    sp_csv_fail(csv, SP_E_MISSING, "no column is named '%s', as data.csv.label says; the names are %s%s",
                sp_csv_quote(wanted, quoted), listed,
                strpbrk(csv->names.text, ",;\t") != NULL ? "; is data.csv.separator right?" : "");
}

/* Later files must have the columns of the first. */
static void compare(struct csv *csv)
{
    const char *name = csv->names.text, *first = csv->first.text;
    char quoted[SP_QUOTED_BYTES], quoted_first[SP_QUOTED_BYTES];

    if (csv->names.count != csv->first.count)
        sp_csv_fail(csv, SP_E_MISMATCH, "%u columns; the first file has %u", csv->names.count, csv->first.count);
    for (uint32_t i = 0; i < csv->first.count && csv->code == SP_OK; i++) {
        if (strcmp(name, first) != 0)
            sp_csv_fail(csv, SP_E_MISMATCH, "column %u is named '%s'; in the first file it is '%s'", i + 1,
                        sp_csv_quote(name, quoted), sp_csv_quote(first, quoted_first));
        name = next_name(name);
        first = next_name(first);
    }
}

void sp_csv_end_header(struct csv *csv)
{
    if (are_numbers(&csv->names)) {
        sp_csv_fail(csv, SP_E_SYNTAX,
                    "numbers only, where the names of columns are expected; if the file has no such line, set "
                    "data.csv.header to false");
    } else if (csv->columns == 0) {
        find_label(csv);
        csv->first = csv->names;
        csv->names = (struct csv_names){0};
    } else {
        compare(csv);
    }
    csv->names.used = csv->names.count = 0;
}

const char *sp_csv_name(const struct csv *csv, uint32_t column)
{
    const char *name = csv->first.text;

    if (column >= csv->first.count)
        return NULL;
    for (uint32_t i = 0; i < column; i++)
        name = next_name(name);
    return name;
}

uint64_t sp_csv_names_digest(const struct csv *csv)
{
    uint64_t digest = csv->first.count > 0 ? XXH64(csv->first.text, csv->first.used, 0) : 0;

    return digest == 0 && csv->first.count > 0 ? 1 : digest;
}

void sp_csv_forget_names(struct csv *csv)
{
    free(csv->names.text);
    free(csv->first.text);
}
