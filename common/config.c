#include "common/config_reader.h"

#include "common/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1 << 20)

static bool is_before(const struct sp_problem *a, const struct sp_problem *b)
{
    if (a->line == 0 || b->line == 0)
        return a->line != 0 && b->line == 0;
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

/* In the order of the file, those without a place last. Insertion keeps the order of equals, and there are few. */
static void sort_problems(struct sp_problems *problems)
{
    for (unsigned i = 1; i < problems->count; i++) {
        const struct sp_problem problem = problems->item[i];
        unsigned j = i;

        for (; j > 0 && is_before(&problem, &problems->item[j - 1]); j--)
            problems->item[j] = problems->item[j - 1];
        problems->item[j] = problem;
    }
}

void sp_problem_text(const struct sp_problems *problems, unsigned i, char *text, size_t bytes)
{
    const struct sp_problem *problem = &problems->item[i];

    sp_assert(i < problems->count);
    if (problem->from_set)
        (void)snprintf(text, bytes, "%s", problem->text);
    else if (problem->line == 0)
        (void)snprintf(text, bytes, "%s: %s", problems->file, problem->text);
    else
        (void)snprintf(text, bytes, "%s:%u:%u: %s", problems->file, problem->line, problem->column, problem->text);
}

/* What --set adds. */

static void apply_set(struct reader *r, const char *set)
{
    const char *equals = strchr(set, '=');
    struct place *place;
    struct sp_error error;
    char path[SP_PATH_BYTES];

    if (equals == NULL || equals == set) {
        sp_reader_set_problem(r, SP_E_SYNTAX, set, "must be KEY=VALUE, such as train.batch=16");
        return;
    }
    (void)snprintf(path, sizeof path, "%.*s", (int)(equals - set < SP_PATH_BYTES ? equals - set : SP_PATH_BYTES), set);
    place = sp_reader_place(r, path);
    if (place == NULL && sp_job_key(path) != NULL)
        place = sp_reader_add_place(r, path, 0, 0);
    if (sp_job_set(r->job, path, equals + 1, &error) != SP_OK) {
        sp_reader_set_problem(r, error.code, set, error.text);
        r->refused = true;
    } else {
        sp_assert(place != NULL);
        place->set = set;
    }
}

/* A --set that moves the switch takes out the moment that the file gave: the two would contradict each other. */
static void replace_moment(struct reader *r)
{
    static const char *const moments[] = {"optimizer.switch.epoch", "optimizer.switch.step",
                                          "optimizer.switch.fraction"};
    const size_t count = sizeof moments / sizeof moments[0];
    const struct place *when = sp_reader_place(r, "optimizer.switch.when");
    bool replaced = when != NULL && when->set != NULL && r->job->optimizer.switch_.when != SP_SWITCH_AT;

    for (size_t i = 0; i < count; i++) {
        const struct place *place = sp_reader_place(r, moments[i]);
        char value[SP_VALUE_BYTES];

        sp_job_get(r->job, sp_job_key(moments[i]), value, sizeof value);
        if (place != NULL && place->set != NULL && strcmp(value, "0") != 0)
            replaced = true;
    }
    for (size_t i = 0; replaced && i < count; i++) {
        const struct place *place = sp_reader_place(r, moments[i]);

        if (place != NULL && place->set == NULL)
            sp_assert(sp_job_set(r->job, moments[i], "0", NULL) == SP_OK);
    }
}

/* Checks of the whole. */

static void check_required(struct reader *r)
{
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];
        const struct place *near;

        if ((key->flags & SP_KEY_REQUIRED) == 0 || sp_reader_place(r, key->path) != NULL)
            continue;
        near = sp_reader_nearest_place(r, key->path);
        if (near == NULL)
            sp_reader_problem(r, SP_E_MISSING, 0, 0, "'%s' is missing; every job needs it: %s", key->path,
                              key->meaning);
        else if (!near->broken)
            sp_reader_problem(r, SP_E_MISSING, near->line, near->column, "'%s' is missing; every job needs it: %s",
                              key->path, key->meaning);
    }
}

static void on_invalid(void *arg, const char *path, const char *words)
{
    struct reader *r = arg;
    const struct place *place = sp_reader_nearest_place(r, path);

    if (place == NULL)
        sp_reader_problem(r, SP_E_MISMATCH, 0, 0, "%s", words);
    else if (place->set != NULL)
        sp_reader_set_problem(r, SP_E_MISMATCH, place->set, words);
    else
        sp_reader_problem(r, SP_E_MISMATCH, place->line, place->column, "%s", words);
}

/* Data paths in a job file are relative to it. */
static void set_folder(struct reader *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);

    if (slash == NULL)
        (void)snprintf(r->job->folder, sizeof r->job->folder, ".");
    else if (length >= sizeof r->job->folder)
        sp_reader_problem(r, SP_E_RANGE, 0, 0, "the path of the job file's folder is longer than %zu bytes",
                          sizeof r->job->folder - 1);
    else
        (void)snprintf(r->job->folder, sizeof r->job->folder, "%.*s", length == 0 ? 1 : (int)length, path);
}

static bool check_text(struct reader *r)
{
    const char *nul;
    unsigned line, column;

    if (r->bytes > FILE_BYTES_MAX) {
        sp_reader_problem(r, SP_E_RANGE, 0, 0, "longer than %zu bytes, which no job file is", FILE_BYTES_MAX);
        return false;
    }
    nul = r->bytes > 0 ? memchr(r->text, '\0', r->bytes) : NULL;
    if (nul != NULL) {
        sp_reader_locate(r, (size_t)(nul - r->text), &line, &column);
        sp_reader_problem(r, SP_E_SYNTAX, line, column, "there is a NUL byte; a job file must be UTF-8 text");
        return false;
    }
    if (r->bytes >= 3 && memcmp(r->text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark, which is no column */
        r->text += 3;
        r->bytes -= 3;
    }
    return true;
}

static void start(struct reader *r, const char *name, struct sp_job *job, struct sp_problems *problems)
{
    memset(r, 0, sizeof *r);
    r->job = job;
    r->problems = problems;
    problems->count = problems->dropped = 0;
    (void)snprintf(problems->file, sizeof problems->file, "%s", name);
    sp_job_init(job);
}

int sp_config_parse(const char *name, const char *text, size_t bytes, const char *const *sets, size_t sets_count,
                    struct sp_job *job, struct sp_problems *problems)
{
    struct reader r;

    start(&r, name, job, problems);
    r.text = text;
    r.bytes = bytes;
    set_folder(&r, name);
    if (check_text(&r))
        sp_reader_read(&r);
    else
        r.cut = true;
    for (size_t i = 0; i < sets_count; i++)
        apply_set(&r, sets[i]);
    replace_moment(&r);
    if (!r.cut)
        check_required(&r);
    if (!r.cut && !r.refused)
        (void)sp_job_validate(job, on_invalid, &r);
    sort_problems(problems);
    return r.code;
}

/* All of a file, but no more than one byte above the limit; NULL with errno if it cannot be read. */
static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "re");
    char *text;
    int saved;

    if (file == NULL)
        return NULL;
    text = malloc(FILE_BYTES_MAX + 1);
    if (text != NULL) {
        *bytes = fread(text, 1, FILE_BYTES_MAX + 1, file);
        if (ferror(file)) {
            saved = errno;
            free(text);
            text = NULL;
            errno = saved;
        }
    }
    saved = errno;
    (void)fclose(file);
    errno = saved;
    return text;
}

int sp_config_load(const char *path, const char *const *sets, size_t sets_count, struct sp_job *job,
                   struct sp_problems *problems)
{
    size_t bytes = 0;
    char *text = read_file(path, &bytes);
    int rc;

    if (text == NULL) {
        struct reader r;
        const char *why = strerror(errno);

        start(&r, path, job, problems);
        sp_reader_problem(&r, SP_E_IO, 0, 0, "cannot read the job file: %s", why);
        return r.code;
    }
    rc = sp_config_parse(path, text, bytes, sets, sets_count, job, problems);
    free(text);
    return rc;
}
