#include "deploy/tool/compare_grid.h"

#include "common/job.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLUG_CHARACTERS 36 /* of a name; a hash of 8 digits may follow */

static int no_memory(struct sp_error *error)
{
    return sp_error_set(error, SP_E_NOMEM, "no memory for the rows to compare");
}

static bool ends_with(const char *path, const char *tail)
{
    size_t length = strlen(path), tail_length = strlen(tail);

    if (length < tail_length || strcmp(path + length - tail_length, tail) != 0)
        return false;
    return length == tail_length || path[length - tail_length - 1] == '.';
}

const char *compare_short_key(const char *path)
{
    const char *tail = path + strlen(path);

    while (tail > path) {
        unsigned count = 0;

        while (tail > path && *--tail != '.')
            ;
        for (size_t i = 0; i < sp_job_keys_count; i++)
            count += ends_with(sp_job_keys[i].path, tail + (*tail == '.'));
        if (count == 1)
            return tail + (*tail == '.');
    }
    return path;
}

static uint32_t hash(const char *text)
{
    uint32_t h = UINT32_C(2166136261); /* FNV-1a */

    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * UINT32_C(16777619);
    return h;
}

/* Folders are named after the row as far as possible. The path of the server's socket is short, so the name is cut; a
 * hash then keeps two names apart that begin alike. */
static void make_slug(const char *name, bool with_hash, char slug[COMPARE_SLUG_BYTES])
{
    const char *at = name;
    size_t n = 0;

    for (; *at != '\0' && n < SLUG_CHARACTERS; at++) {
        bool letter = (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z');

        if (letter || (*at >= '0' && *at <= '9') || strchr("_=+", *at) != NULL || (*at == '.' && n > 0))
            slug[n++] = *at;
        else if (n > 0 && slug[n - 1] != '-')
            slug[n++] = '-';
    }
    while (n > 0 && slug[n - 1] == '-')
        n--;
    slug[n] = '\0';
    if (with_hash || *at != '\0' || n == 0)
        (void)snprintf(slug + n, COMPARE_SLUG_BYTES - n, "%s%08x", n == 0 ? "" : "-", hash(name));
}

static int compare_names(const void *a, const void *b)
{
    const struct compare_row *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int compare_slugs(const void *a, const void *b)
{
    const struct compare_row *const *x = a, *const *y = b;

    return strcmp((*x)->slug, (*y)->slug);
}

static int check_names(struct compare_grid *grid, struct sp_error *error)
{
    struct compare_row **sorted = calloc(grid->rows_count, sizeof *sorted);
    int rc = SP_OK;

    if (sorted == NULL)
        return no_memory(error);
    for (size_t i = 0; i < grid->rows_count; i++)
        sorted[i] = &grid->rows[i];
    qsort(sorted, grid->rows_count, sizeof *sorted, compare_names);
    for (size_t i = 1; rc == SP_OK && i < grid->rows_count; i++)
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            rc = sp_error_set(error, SP_E_RANGE, "two rows are called '%s'; names and values must differ",
                              sorted[i]->name);
    qsort(sorted, grid->rows_count, sizeof *sorted, compare_slugs);
    for (size_t i = 1; i < grid->rows_count; i++) {
        char other[COMPARE_SLUG_BYTES];

        make_slug(sorted[i - 1]->name, false, other);
        if (strcmp(sorted[i]->slug, other) == 0) {
            make_slug(sorted[i - 1]->name, true, sorted[i - 1]->slug);
            make_slug(sorted[i]->name, true, sorted[i]->slug);
        }
    }
    free(sorted);
    return rc;
}

/* Appends to a row's name; what does not fit makes it as long as no name may be. */
static void __attribute__((format(printf, 3, 4))) append(char *name, size_t *used, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(name + *used, COMPARE_NAME_BYTES - *used, format, args);
    va_end(args);
    *used = n < 0 || *used + (size_t)n >= COMPARE_NAME_BYTES ? COMPARE_NAME_BYTES - 1 : *used + (size_t)n;
}

static void add_list(struct compare_row *row, const struct compare_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        row->sets[row->sets_count++] = list->item[i];
}

/* Row `number` of the grid: the digits of its number, the last first, say which value of each axis it has. */
static int make_row(struct compare_grid *grid, size_t number, const char *plain, struct sp_error *error)
{
    struct compare_row *row = &grid->rows[number];
    const struct compare_list *one = NULL;
    const char *value[COMPARE_AXES_MAX] = {NULL};
    size_t used = 0;

    for (size_t i = grid->axes_count; i-- > 0; number /= grid->axes[i].count)
        value[i] = grid->axes[i].item[number % grid->axes[i].count];
    if (grid->cases_count > 0) {
        one = &grid->cases[number];
        add_list(row, one);
        append(row->name, &used, "%s", one->name);
    } else if (grid->axes_count == 0) {
        append(row->name, &used, "%s", plain);
    }
    for (size_t i = 0; i < grid->axes_count; i++) {
        for (size_t k = 0; one != NULL && k < one->count; k++)
            if (compare_set_is_of(one->item[k], grid->axes[i].name))
                return sp_error_set(error, SP_E_RANGE, "case '%s' sets %s, which is varied as well", one->name,
                                    grid->axes[i].name);
        row->sets[row->sets_count++] = value[i];
        append(row->name, &used, "%s%s", used > 0 ? ", " : "",
               value[i] + (compare_short_key(grid->axes[i].name) - grid->axes[i].name));
    }
    if (used == COMPARE_NAME_BYTES - 1)
        return sp_error_set(error, SP_E_RANGE,
                            "the name of row '%.60s...' is longer than %d bytes; use --case to name it", row->name,
                            COMPARE_NAME_BYTES - 2);
    make_slug(row->name, false, row->slug);
    return SP_OK;
}

int compare_grid_build(struct compare_grid *grid, const char *plain, struct sp_error *error)
{
    size_t count = grid->cases_count > 0 ? grid->cases_count : 1;
    int rc = SP_OK;

    for (size_t i = 0; i < grid->axes_count && count <= COMPARE_ROWS_MAX; i++)
        count *= grid->axes[i].count;
    if (count > COMPARE_ROWS_MAX)
        return sp_error_set(error, SP_E_RANGE, "these are more than %d rows; vary less at once", COMPARE_ROWS_MAX);
    grid->rows = calloc(count, sizeof *grid->rows);
    if (grid->rows == NULL)
        return no_memory(error);
    grid->rows_count = count;
    for (size_t i = 0; rc == SP_OK && i < count; i++)
        rc = make_row(grid, i, plain, error);
    return rc == SP_OK ? check_names(grid, error) : rc;
}
