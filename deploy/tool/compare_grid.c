#include "deploy/tool/compare_grid.h"

#include "common/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t"

static int no_memory(struct sp_error *error)
{
    return sp_error_set(error, SP_E_NOMEM, "no memory for the rows to compare");
}

/* --- texts -----------------------------------------------------------------------------------------------------------
 */

/* Where the item that begins at `at` ends: at one of `separators` outside of brackets, or at the end of the text. NULL
 * if its brackets do not pair. */
static const char *item_end(const char *at, const char *separators)
{
    char open[32];
    size_t depth = 0;

    for (; *at != '\0' && (depth > 0 || strchr(separators, *at) == NULL); at++) {
        if (*at == '[' || *at == '{') {
            if (depth == sizeof open)
                return NULL;
            open[depth++] = *at;
        } else if (*at == ']' || *at == '}') {
            if (depth == 0 || open[--depth] != (*at == ']' ? '[' : '{'))
                return NULL;
        }
    }
    return depth == 0 ? at : NULL;
}

static void trim(const char **begin, const char **end)
{
    while (*begin < *end && strchr(BLANKS, **begin) != NULL)
        (*begin)++;
    while (*begin < *end && strchr(BLANKS, (*end)[-1]) != NULL)
        (*end)--;
}

static int list_add(struct compare_list *list, const char *key, size_t key_length, const char *value, size_t length,
                    struct sp_error *error)
{
    char **item = list->item;

    if ((list->count & (list->count - 1)) == 0) /* full at every power of two */
        item = reallocarray(item, list->count > 0 ? 2 * list->count : 1, sizeof *item);
    if (item == NULL)
        return no_memory(error);
    list->item = item;
    if (asprintf(&item[list->count], "%.*s=%.*s", (int)key_length, key, (int)length, value) < 0)
        return no_memory(error);
    list->count++;
    return SP_OK;
}

static void list_finish(struct compare_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    free(list->name);
    memset(list, 0, sizeof *list);
}

bool compare_set_is_of(const char *set, const char *key)
{
    size_t length = strlen(key);

    return strncmp(set, key, length) == 0 && set[length] == '=';
}

int compare_grid_may_set(const char *set, struct sp_error *error)
{
    if (compare_set_is_of(set, "seed"))
        return sp_error_set(error, SP_E_RANGE, "every run has a seed of its own: give --seeds and --first-seed");
    if (compare_set_is_of(set, "server.listen") || compare_set_is_of(set, "server.http"))
        return sp_error_set(error, SP_E_RANGE, "every run has ports of its own; leave '%.*s' out",
                            (int)strcspn(set, "="), set);
    return SP_OK;
}

static int add_key(struct compare_grid *grid, const char *set, struct sp_error *error)
{
    for (size_t i = 0; i < grid->keys_count; i++)
        if (compare_set_is_of(set, grid->keys[i]))
            return SP_OK;
    if (grid->keys_count == COMPARE_KEYS_MAX)
        return sp_error_set(error, SP_E_RANGE, "more than %d different keys", COMPARE_KEYS_MAX);
    grid->keys[grid->keys_count] = strndup(set, strcspn(set, "="));
    if (grid->keys[grid->keys_count] == NULL)
        return no_memory(error);
    grid->keys_count++;
    return SP_OK;
}

/* --- --vary ----------------------------------------------------------------------------------------------------------
 */

static int split_values(struct compare_list *axis, const char *at, struct sp_error *error)
{
    size_t key_length = strlen(axis->name);
    int rc = SP_OK;

    while (rc == SP_OK) {
        const char *end = item_end(at, ","), *begin = at, *after = end;

        if (end == NULL)
            return sp_error_set(error, SP_E_SYNTAX, "the brackets do not pair");
        if (axis->count == COMPARE_ROWS_MAX)
            return sp_error_set(error, SP_E_RANGE, "more than %d values", COMPARE_ROWS_MAX);
        trim(&begin, &end);
        rc = list_add(axis, axis->name, key_length, begin, (size_t)(end - begin), error);
        if (*after == '\0')
            break;
        at = after + 1;
    }
    return rc;
}

static int read_axis(struct compare_grid *grid, struct compare_list *axis, const char *text, struct sp_error *error)
{
    const char *equals = strchr(text, '=');
    int rc;

    if (equals == NULL || equals == text)
        return sp_error_set(error, SP_E_SYNTAX, "must be KEY=V1,V2,..., such as optimizer.sign.lr=1e-3,2e-3");
    axis->name = strndup(text, (size_t)(equals - text));
    if (axis->name == NULL)
        return no_memory(error);
    rc = split_values(axis, equals + 1, error);
    if (rc == SP_OK)
        rc = compare_grid_may_set(axis->item[0], error);
    return rc == SP_OK ? add_key(grid, axis->item[0], error) : rc;
}

int compare_grid_vary(struct compare_grid *grid, const char *text, struct sp_error *error)
{
    struct compare_list *axis = &grid->axes[grid->axes_count];
    char quoted[SP_QUOTED_BYTES];
    int rc;

    if (grid->axes_count == COMPARE_AXES_MAX)
        return sp_error_set(error, SP_E_RANGE, "more than %d times --vary", COMPARE_AXES_MAX);
    for (size_t i = 0; i < grid->axes_count; i++)
        if (compare_set_is_of(text, grid->axes[i].name))
            return sp_error_set(error, SP_E_RANGE, "--vary %s is there twice; give all of its values at once",
                                sp_job_quote(grid->axes[i].name, quoted));
    rc = read_axis(grid, axis, text, error);
    if (rc == SP_OK) {
        grid->axes_count++;
        return SP_OK;
    }
    list_finish(axis);
    return sp_error_prefix(error, "--vary %s", sp_job_quote(text, quoted));
}

/* --- --case ----------------------------------------------------------------------------------------------------------
 */

static int read_case_sets(struct compare_grid *grid, struct compare_list *one, const char *at, struct sp_error *error)
{
    int rc = SP_OK;

    for (at += strspn(at, BLANKS); rc == SP_OK && *at != '\0'; at += strspn(at, BLANKS)) {
        const char *end = item_end(at, BLANKS), *equals = strchr(at, '=');

        if (end == NULL)
            return sp_error_set(error, SP_E_SYNTAX, "the brackets do not pair");
        if (equals == NULL || equals >= end || equals == at)
            return sp_error_set(error, SP_E_SYNTAX, "'%.*s' must be KEY=VALUE", (int)(end - at), at);
        if (one->count == COMPARE_CASE_SETS_MAX)
            return sp_error_set(error, SP_E_RANGE, "more than %d keys", COMPARE_CASE_SETS_MAX);
        rc = list_add(one, at, (size_t)(equals - at), equals + 1, (size_t)(end - equals - 1), error);
        if (rc == SP_OK)
            rc = compare_grid_may_set(one->item[one->count - 1], error);
        if (rc == SP_OK)
            rc = add_key(grid, one->item[one->count - 1], error);
        at = end;
    }
    return rc;
}

static int read_case(struct compare_grid *grid, struct compare_list *one, const char *text, struct sp_error *error)
{
    const char *begin = text, *colon = strchr(text, ':'), *end = colon;

    if (colon == NULL)
        return sp_error_set(error, SP_E_SYNTAX,
                            "must be 'NAME: KEY=VALUE KEY=VALUE', such as 'signs only: optimizer.switch.when=never'");
    trim(&begin, &end);
    if (begin == end)
        return sp_error_set(error, SP_E_SYNTAX, "the name before the colon is missing");
    one->name = strndup(begin, (size_t)(end - begin));
    if (one->name == NULL)
        return no_memory(error);
    for (const char *at = one->name; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return sp_error_set(error, SP_E_SYNTAX, "a control character in the name");
    return read_case_sets(grid, one, colon + 1, error);
}

int compare_grid_case(struct compare_grid *grid, const char *text, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];
    struct compare_list *one = &grid->cases[grid->cases_count];

    if (grid->cases_count == COMPARE_ROWS_MAX)
        return sp_error_set(error, SP_E_RANGE, "more than %d times --case", COMPARE_ROWS_MAX);
    if (read_case(grid, one, text, error) == SP_OK) {
        grid->cases_count++;
        return SP_OK;
    }
    list_finish(one);
    return sp_error_prefix(error, "--case '%s'", sp_job_quote(text, quoted));
}

void compare_grid_finish(struct compare_grid *grid)
{
    for (size_t i = 0; i < grid->axes_count; i++)
        list_finish(&grid->axes[i]);
    for (size_t i = 0; i < grid->cases_count; i++)
        list_finish(&grid->cases[i]);
    for (size_t i = 0; i < grid->keys_count; i++)
        free(grid->keys[i]);
    free(grid->rows);
    memset(grid, 0, sizeof *grid);
}
