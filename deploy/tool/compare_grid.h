/* The rows of a comparison, from --vary and --case: which keys each sets, and what it is called. No files, no
 * processes. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

#define COMPARE_ROWS_MAX 1000
#define COMPARE_AXES_MAX 16
#define COMPARE_CASE_SETS_MAX 48
#define COMPARE_SETS_MAX (COMPARE_AXES_MAX + COMPARE_CASE_SETS_MAX) /* of a row */
#define COMPARE_KEYS_MAX 64                                         /* of all rows together */
#define COMPARE_NAME_BYTES 256
#define COMPARE_SLUG_BYTES 48

/* Each item is "KEY=VALUE". A --vary has its key's path for a name. */
struct compare_list {
    char *name;  /* owned */
    char **item; /* owned, both */
    size_t count;
};

struct compare_row {
    char name[COMPARE_NAME_BYTES];
    char slug[COMPARE_SLUG_BYTES];      /* the name as that of a folder; no other row has it */
    const char *sets[COMPARE_SETS_MAX]; /* of the lists */
    size_t sets_count;
};

struct compare_grid {
    struct compare_list axes[COMPARE_AXES_MAX];
    size_t axes_count;
    struct compare_list cases[COMPARE_ROWS_MAX];
    size_t cases_count;
    char *keys[COMPARE_KEYS_MAX]; /* owned; all that a row sets, in the order given */
    size_t keys_count;
    struct compare_row *rows; /* owned */
    size_t rows_count;
};

/* Takes the value of a --vary, "KEY=V1,V2"; commas within brackets or braces belong to a value. */
int compare_grid_vary(struct compare_grid *grid, const char *text, struct sp_error *error);

/* Takes the value of a --case, "NAME: KEY=VALUE KEY=VALUE"; blanks within brackets or braces belong to a value. */
int compare_grid_case(struct compare_grid *grid, const char *text, struct sp_error *error);

/* Makes the rows: every case with every combination of the varied values, the last --vary changing fastest. Without any
 * of them there is one row, called `plain`. */
int compare_grid_build(struct compare_grid *grid, const char *plain, struct sp_error *error);

void compare_grid_finish(struct compare_grid *grid);

/* SP_E_RANGE, in words, for "KEY=VALUE" with a key that every run needs for itself. */
int compare_grid_may_set(const char *set, struct sp_error *error);

bool compare_set_is_of(const char *set, const char *key);

/* The end of a key's path, as much of it as no other key ends with. */
const char *compare_short_key(const char *path);
