/* What a run's history tells of its course. */
#include "deploy/tool/plot.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct plot_run *run;
    const char *path;
    unsigned long line;
    struct sp_error *error;
};

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int add_point(struct reader *reader, const json_t *json)
{
    struct plot_run *run = reader->run;
    struct plot_point *points = run->points;

    if (run->count == PLOT_POINTS_MAX)
        return sp_error_set(reader->error, SP_E_RANGE, "%s has more than %u reports, which no picture can show",
                            reader->path, PLOT_POINTS_MAX);
    if ((run->count & (run->count - 1)) == 0) /* full at every power of two */
        points = reallocarray(points, run->count > 0 ? 2 * run->count : 1, sizeof *points);
    if (points == NULL)
        return sp_error_set(reader->error, SP_E_NOMEM, "no memory to read %s", reader->path);
    run->points = points;
    points[run->count++] = (struct plot_point){
        .x = {number(json, "round"), number(json, "epoch"), number(json, "seconds"),
              number(json, "bytes_pushed") + number(json, "bytes_updated")},
        .loss = number(json, "train_loss"),
        .accuracy = 100.0 * number(json, "test_accuracy"),
        .gamma = number(json, "gamma"),
        .lambda = number(json, "lambda"),
    };
    return SP_OK;
}

static void take_event(struct plot_run *run, const char *event, double round)
{
    if (event != NULL && strcmp(event, "switch") == 0 && run->switches_count < PLOT_SWITCHES_MAX)
        run->switches[run->switches_count++] = round;
}

/* A line that is not whole is still being written, or was cut when its server died. */
static int take_line(struct reader *reader, const char *line, size_t bytes)
{
    const char *why = "";
    json_t *json, *event;
    double round;
    int rc = tool_parse_json(line, bytes, reader->path, &json, &why, reader->error);

    if (rc != SP_OK)
        return rc;
    if (json == NULL && line[bytes - 1] != '\n')
        return SP_OK;
    if (json == NULL)
        return sp_error_set(reader->error, SP_E_SYNTAX, "%s:%lu: this is no JSON: %s", reader->path, reader->line, why);
    event = json_object_get(json, "event");
    round = number(json, "round");
    if (!(round >= 0.0))
        rc = sp_error_set(reader->error, SP_E_SYNTAX, "%s:%lu: this is no line of a history: it has no round",
                          reader->path, reader->line);
    else if (event != NULL)
        take_event(reader->run, json_string_value(event), round);
    else
        rc = add_point(reader, json);
    json_decref(json);
    return rc;
}

static int read_lines(struct reader *reader, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    int rc = SP_OK;

    while (rc == SP_OK && (errno = 0, bytes = getline(&line, &room, file)) > 0) {
        reader->line++;
        if ((size_t)bytes > PLOT_LINE_BYTES_MAX)
            rc = sp_error_set(reader->error, SP_E_RANGE, "%s:%lu: this line is too long for one of a history",
                              reader->path, reader->line);
        else
            rc = take_line(reader, line, (size_t)bytes);
    }
    if (rc == SP_OK && !feof(file))
        rc = sp_error_set(reader->error, errno == ENOMEM ? SP_E_NOMEM : SP_E_IO, "cannot read %s: %s", reader->path,
                          strerror(errno));
    free(line);
    return rc;
}

int plot_read(struct plot_run *run, struct sp_error *error)
{
    char path[PLOT_PATH_BYTES + 32];
    struct reader reader = {.run = run, .path = path, .error = error};
    FILE *file;
    int rc;

    (void)snprintf(path, sizeof path, "%s/history.jsonl", run->folder);
    file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return sp_error_set(error, SP_E_MISSING,
                            "there is no %s: no run was made there; name a run's folder, or its job file", path);
    if (file == NULL)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    rc = read_lines(&reader, file);
    (void)fclose(file);
    if (rc == SP_OK && run->count == 0)
        rc = sp_error_set(error, SP_E_MISSING,
                          "%s has no report yet: the first comes after train.report rounds, or at the first evaluation",
                          path);
    return rc;
}

/* --- names -----------------------------------------------------------------------------------------------------------
 */

/* Whether a character where a part of a path begins adds nothing to it: a second slash, or a dot that is the whole
 * part.
 */
static bool is_idle(const char *at, bool first)
{
    return at[0] == '.' ? at[1] == '/' || (at[1] == '\0' && !first) : at[0] == '/';
}

/* One spelling of a path: no slashes at its end or in a row, no parts that are a dot. */
static void tidy(char *path)
{
    char *to = path;

    for (const char *from = path; *from != '\0'; from++) {
        const bool root = from == path && *from == '/', begins = to == path || to[-1] == '/';

        if (root || !begins || !is_idle(from, to == path))
            *to++ = *from;
    }
    while (to > path + 1 && to[-1] == '/')
        to--;
    *to = '\0';
}

/* The last parts of a path, that many. */
static const char *tail(const char *path, unsigned parts)
{
    const char *at = path + strlen(path);

    while (at > path && (at[-1] != '/' || --parts > 0))
        at--;
    return at;
}

static bool is_alone(const struct plot *plot, size_t run, unsigned parts)
{
    const char *name = tail(plot->runs[run].folder, parts);

    for (size_t i = 0; i < plot->runs_count; i++)
        if (i != run && strcmp(tail(plot->runs[i].folder, parts), name) == 0)
            return false;
    return true;
}

int plot_name(struct plot *plot, struct sp_error *error)
{
    for (size_t i = 0; i < plot->runs_count; i++)
        tidy(plot->runs[i].folder);
    for (size_t i = 0; i < plot->runs_count; i++) {
        struct plot_run *run = &plot->runs[i];
        unsigned parts = 1;

        for (size_t k = 0; k < i; k++)
            if (strcmp(plot->runs[k].folder, run->folder) == 0)
                return sp_error_set(error, SP_E_RANGE, "%s and %s are the same run", plot->runs[k].argument,
                                    run->argument);
        while (!is_alone(plot, i, parts) && tail(run->folder, parts) > run->folder)
            parts++;
        run->name = tail(run->folder, parts);
    }
    return SP_OK;
}
