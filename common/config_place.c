/* The reader's problems, and the places of keys that they name. */
#include "common/config_reader.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct sp_problem *new_problem(struct reader *r, int code)
{
    struct sp_problem *problem;

    if (r->code == SP_OK)
        r->code = code;
    if (r->problems->count == SP_PROBLEMS_MAX) {
        r->problems->dropped++;
        return NULL;
    }
    problem = &r->problems->item[r->problems->count++];
    memset(problem, 0, sizeof *problem);
    return problem;
}

void sp_reader_problem(struct reader *r, int code, unsigned line, unsigned column, const char *format, ...)
{
    struct sp_problem *problem = new_problem(r, code);
    va_list args;

    if (problem == NULL)
        return;
    problem->line = line;
    problem->column = column;
    va_start(args, format);
    (void)vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
}

void sp_reader_set_problem(struct reader *r, int code, const char *set, const char *words)
{
    struct sp_problem *problem = new_problem(r, code);
    char quoted[SP_QUOTED_BYTES];

    if (problem == NULL)
        return;
    problem->from_set = true;
    (void)snprintf(problem->text, sizeof problem->text, "--set %s: %.*s", sp_job_quote(set, quoted),
                   SP_ERROR_TEXT_BYTES - SP_QUOTED_BYTES - 16, words);
}

/* Places. */

struct place *sp_reader_place(struct reader *r, const char *path)
{
    for (unsigned i = 0; i < r->places; i++)
        if (strcmp(r->place[i].path, path) == 0)
            return &r->place[i];
    return NULL;
}

struct place *sp_reader_nearest_place(struct reader *r, const char *path)
{
    char group[SP_PATH_BYTES];

    (void)snprintf(group, sizeof group, "%s", path);
    for (;;) {
        struct place *place = sp_reader_place(r, group);
        char *dot = strrchr(group, '.');

        if (place != NULL || dot == NULL)
            return place;
        *dot = '\0';
    }
}

struct place *sp_reader_add_place(struct reader *r, const char *path, unsigned line, unsigned column)
{
    struct place *place = &r->place[r->places++];

    sp_assert(r->places <= SP_PLACES_MAX && strlen(path) < sizeof place->path);
    memcpy(place->path, path, strlen(path) + 1);
    place->line = line;
    place->column = column;
    return place;
}

void sp_reader_refuse(struct reader *r, struct place *place)
{
    place->broken = true;
    r->refused = true;
}
