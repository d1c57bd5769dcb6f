/* What csv.c and csv_header.c know of each other; not for anybody else. */
#pragma once

#include "worker/train/data_parts.h"

#include <csv.h>
#include <locale.h>

#define SP_CSV_QUOTED_BYTES 64 /* of a field, or a name, in words */

/* Names of columns, one after another, each with its NUL. */
struct csv_names {
    char *text; /* owned */
    size_t used, room;
    uint32_t count;
};

struct csv {
    const struct sp_csv_options *options;
    struct sp_error *error;
    enum sp_code code;             /* of the first problem that a callback met */
    locale_t c;                    /* numbers have a point, whatever the locale */
    uint32_t columns, label;       /* fields of a row, 0: not known yet; index of the label's */
    struct csv_names first, names; /* of the first file, and of the present one while its header is read */
    float *values;                 /* [used], owned */
    uint64_t used, room;
    uint8_t *labels; /* [count], owned */
    uint64_t count, labels_room;
    /* Of the present file. */
    struct sp_source source;
    struct csv_parser parser;
    uint64_t line, at;         /* from 1, and from 0: of what libcsv is fed next */
    uint64_t row_line, row_at; /* where the present row began */
    uint64_t rows;
    uint32_t field; /* of the present row, from 0 */
    bool in_header, open, ended, after_return;
};

/* Says what is wrong with the present row; of several problems the first stays. */
void sp_csv_fail(struct csv *csv, enum sp_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* At most SP_CSV_QUOTED_BYTES of a text, fit for a message. */
const char *sp_csv_quote(const char *text, char out[SP_QUOTED_BYTES]);

/* The index that data.csv.label says by a number from 1; UINT32_MAX if it is none. */
uint32_t sp_csv_label_number(const char *label);

/* csv_header.c: the row of names, field by field; at its end finds the label's column, and compares with the first
 * file's. */
void sp_csv_take_name(struct csv *csv, const char *text, size_t length);
void sp_csv_end_header(struct csv *csv);
const char *sp_csv_name(const struct csv *csv, uint32_t column); /* of the first file; NULL without a header */
uint64_t sp_csv_names_digest(const struct csv *csv);             /* 0 without a header */
void sp_csv_forget_names(struct csv *csv);
