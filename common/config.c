#include "common/config.h"

#include "common/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_BYTES_MAX ((size_t)1 << 20)
#define DEPTH_MAX 16 /* of mappings and lists within each other; a job needs 3 */
#define PATH_BYTES 256
#define PLACES_MAX 128 /* more than there are keys and groups of keys */

/* Where a known key or group of keys was given. */
struct place {
    char path[64];
    unsigned line, column; /* 0 if only a --set gave it */
    const char *set;       /* the --set that gave it last; NULL if the file did */
    bool broken;           /* what it holds was refused, so nothing further is said about it */
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; owned */
    unsigned depth;     /* of mappings and lists that are open, the current event included */
    bool ended;         /* there are no more events */
    bool cut;           /* not all of the file was understood: what seems to be missing may be there */
    bool refused;       /* a value was refused: checks of several values would compare a default in its place */
    const char *text;
    size_t bytes;
    struct sp_job *job;
    struct sp_problems *problems;
    int code; /* of the first problem */
    struct place place[PLACES_MAX];
    unsigned places;
};

/* A key as it was met in the file. */
struct entry {
    char path[PATH_BYTES];
    unsigned line, column;
};

/* Problems. */

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

static void __attribute__((format(printf, 5, 6)))
add_problem(struct reader *r, int code, unsigned line, unsigned column, const char *format, ...)
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

static void add_set_problem(struct reader *r, int code, const char *set, const char *words)
{
    struct sp_problem *problem = new_problem(r, code);
    char quoted[SP_QUOTED_BYTES];

    if (problem == NULL)
        return;
    problem->from_set = true;
    (void)snprintf(problem->text, sizeof problem->text, "--set %s: %.*s", sp_job_quote(set, quoted),
                   SP_ERROR_TEXT_BYTES - SP_QUOTED_BYTES - 16, words);
}

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

/* Places. */

static struct place *find_place(struct reader *r, const char *path)
{
    for (unsigned i = 0; i < r->places; i++)
        if (strcmp(r->place[i].path, path) == 0)
            return &r->place[i];
    return NULL;
}

/* The place of `path`, else of the innermost group around it that was given, else NULL. */
static struct place *nearest_place(struct reader *r, const char *path)
{
    char group[PATH_BYTES];

    (void)snprintf(group, sizeof group, "%s", path);
    for (;;) {
        struct place *place = find_place(r, group);
        char *dot = strrchr(group, '.');

        if (place != NULL || dot == NULL)
            return place;
        *dot = '\0';
    }
}

static struct place *add_place(struct reader *r, const char *path, unsigned line, unsigned column)
{
    struct place *place = &r->place[r->places++];

    sp_assert(r->places <= PLACES_MAX && strlen(path) < sizeof place->path);
    memcpy(place->path, path, strlen(path) + 1);
    place->line = line;
    place->column = column;
    return place;
}

static void refuse(struct reader *r, struct place *place)
{
    place->broken = true;
    r->refused = true;
}

/* A key of which `path` is a group, or NULL. */
static const struct sp_key *key_in_group(const char *path)
{
    const size_t length = strlen(path);

    for (size_t i = 0; i < sp_job_keys_count; i++)
        if (strncmp(sp_job_keys[i].path, path, length) == 0 && sp_job_keys[i].path[length] == '.')
            return &sp_job_keys[i];
    return NULL;
}

/* Events of the YAML parser. */

/* Line and column, in characters, of a byte. */
static void locate(const struct reader *r, size_t offset, unsigned *line, unsigned *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < offset && i < r->bytes; i++) {
        if (r->text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)r->text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static bool is_tab(const struct reader *r, size_t index)
{
    for (size_t i = 0; i < r->bytes; i++)
        if (((unsigned char)r->text[i] & 0xc0) != 0x80 && index-- == 0)
            return r->text[i] == '\t';
    return false;
}

static void add_yaml_problem(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *what = p->problem != NULL ? p->problem : "unknown problem";
    char context[128] = "";
    unsigned line, column;

    switch (p->error) {
    case YAML_MEMORY_ERROR:
        add_problem(r, SP_E_NOMEM, 0, 0, "out of memory");
        return;
    case YAML_READER_ERROR:
        locate(r, p->problem_offset, &line, &column);
        add_problem(r, SP_E_SYNTAX, line, column, "not UTF-8 text: %s", what);
        return;
    default:
        break;
    }
    if (p->context != NULL && p->context_mark.line != p->problem_mark.line)
        (void)snprintf(context, sizeof context, ", %s that begins at line %zu", p->context, p->context_mark.line + 1);
    else if (p->context != NULL)
        (void)snprintf(context, sizeof context, ", %s", p->context);
    add_problem(r, SP_E_SYNTAX, (unsigned)p->problem_mark.line + 1, (unsigned)p->problem_mark.column + 1,
                "not well-formed YAML: %s%s%s", what, context,
                is_tab(r, p->problem_mark.index) ? "; indent with spaces, not tabs" : "");
}

static unsigned event_line(const struct reader *r)
{
    return (unsigned)r->event.start_mark.line + 1;
}

static unsigned event_column(const struct reader *r)
{
    return (unsigned)r->event.start_mark.column + 1;
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

static const yaml_char_t *event_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.tag;
    default:
        return NULL;
    }
}

/* Aliases can make a short file a huge job, and a tag can make a value something else than it looks. */
static void refuse_decoration(struct reader *r)
{
    const yaml_char_t *anchor = event_anchor(&r->event), *tag = event_tag(&r->event);
    char quoted[SP_QUOTED_BYTES];

    if (anchor != NULL)
        add_problem(r, SP_E_UNSUPPORTED, event_line(r), event_column(r),
                    "anchors ('&%s') are not allowed in a job file; leave it out",
                    sp_job_quote((const char *)anchor, quoted));
    if (tag != NULL)
        add_problem(r, SP_E_UNSUPPORTED, event_line(r), event_column(r),
                    "tags ('%s') are not allowed in a job file; leave it out", sp_job_quote((const char *)tag, quoted));
    if (r->event.type == YAML_ALIAS_EVENT)
        add_problem(r, SP_E_UNSUPPORTED, event_line(r), event_column(r),
                    "aliases ('*%s') are not allowed in a job file; write the value out",
                    sp_job_quote((const char *)r->event.data.alias.anchor, quoted));
}

/* Goes on to the next event. False, and no event, after the last one or at a problem that cannot be passed. */
static bool next_event(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (r->ended)
        return false;
    if (yaml_parser_parse(&r->parser, &r->event) == 0) {
        memset(&r->event, 0, sizeof r->event);
        add_yaml_problem(r);
        r->ended = r->cut = true;
        return false;
    }
    refuse_decoration(r);
    switch (r->event.type) {
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        r->depth++;
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        r->depth--;
        break;
    default:
        break;
    }
    if (r->depth > DEPTH_MAX) {
        add_problem(r, SP_E_RANGE, event_line(r), event_column(r), "nested deeper than %d levels", DEPTH_MAX);
        yaml_event_delete(&r->event);
        r->ended = r->cut = true;
    }
    return !r->ended;
}

/* Goes to the end of the node of which the current event is the start. */
static void skip_node(struct reader *r)
{
    const unsigned depth = r->depth;

    if (r->event.type != YAML_MAPPING_START_EVENT && r->event.type != YAML_SEQUENCE_START_EVENT)
        return;
    while (next_event(r) && r->depth >= depth)
        continue;
}

static const char *event_kind(const struct reader *r)
{
    switch (r->event.type) {
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_MAPPING_START_EVENT:
        return "a group of keys";
    default:
        return "a single value";
    }
}

/* The text of the current scalar; NULL, and a problem, if it holds a NUL. */
static const char *scalar_text(struct reader *r)
{
    const char *text = (const char *)r->event.data.scalar.value;

    if (strlen(text) == r->event.data.scalar.length)
        return text;
    add_problem(r, SP_E_SYNTAX, event_line(r), event_column(r), "a text with a NUL character is of no use here");
    return NULL;
}

/* What YAML takes for no value at all. */
static bool is_null(const struct reader *r)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp((const char *)r->event.data.scalar.value, words[i]) == 0)
            return true;
    return false;
}

/* Keys and values. */

static void __attribute__((format(printf, 5, 6)))
refuse_value(struct reader *r, struct place *place, const struct sp_key *key, int code, const char *format, ...)
{
    char allowed[256], words[SP_ERROR_TEXT_BYTES / 2];
    va_list args;

    sp_job_allowed(key, allowed, sizeof allowed);
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    add_problem(r, code, event_line(r), event_column(r), "%s: must be %s, %s", key->path, allowed, words);
    refuse(r, place);
}

static void read_scalar(struct reader *r, const struct sp_key *key, struct place *place)
{
    const char *text = scalar_text(r);
    struct sp_error error;

    if (text == NULL) {
        refuse(r, place);
    } else if (is_null(r)) {
        refuse_value(r, place, key, SP_E_MISSING, "but has no value");
    } else if (key->type == SP_KEY_UINT_LIST) {
        refuse_value(r, place, key, SP_E_SYNTAX, "not a single value");
    } else if (key->type == SP_KEY_BOOL && r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        refuse_value(r, place, key, SP_E_SYNTAX, "without quotes");
    } else if (sp_job_set(r->job, key->path, text, &error) != SP_OK) {
        add_problem(r, error.code, event_line(r), event_column(r), "%s", error.text);
        refuse(r, place);
    }
}

/* One item of a list on its own, so that a problem has the place of the item. */
static bool read_item(struct reader *r, const struct sp_key *key, struct place *place, char *list, size_t bytes)
{
    const char *text;
    char one[SP_VALUE_BYTES], quoted[SP_QUOTED_BYTES];
    size_t used = strlen(list);
    int rc;

    if (r->event.type != YAML_SCALAR_EVENT) {
        refuse_value(r, place, key, SP_E_SYNTAX, "without %s in it", event_kind(r));
        skip_node(r);
        return false;
    }
    text = scalar_text(r);
    if (text == NULL) {
        refuse(r, place);
        return false;
    }
    rc = snprintf(one, sizeof one, "[%s]", text);
    if (text[0] == '\0' || rc >= (int)sizeof one || strpbrk(text, " ,[]") != NULL ||
        sp_job_set(r->job, key->path, one, NULL) != SP_OK) {
        refuse_value(r, place, key, SP_E_SYNTAX, "without '%s' in it", sp_job_quote(text, quoted));
        return false;
    }
    /* A list that is cut here is far longer than any key allows, and is refused as a whole below. */
    (void)snprintf(list + used, bytes - used, "%s%s", used > 1 ? ", " : "", text);
    return true;
}

static void read_list(struct reader *r, const struct sp_key *key, struct place *place)
{
    const unsigned line = event_line(r), column = event_column(r);
    char list[SP_VALUE_BYTES] = "[";
    struct sp_error error;
    bool good = true;

    while (next_event(r) && r->event.type != YAML_SEQUENCE_END_EVENT)
        good = read_item(r, key, place, list, sizeof list - 1) && good;
    if (!good || r->ended)
        return;
    (void)snprintf(list + strlen(list), 2, "]");
    if (sp_job_set(r->job, key->path, list, &error) != SP_OK) {
        add_problem(r, error.code, line, column, "%s", error.text);
        refuse(r, place);
    }
}

static void read_mapping(struct reader *r, const char *group);

/* The value of a key that is one, or of a group of keys; server.close is both. */
static void read_known(struct reader *r, const struct sp_key *key, const struct sp_key *member, struct place *place)
{
    const bool list = r->event.type == YAML_SEQUENCE_START_EVENT, mapping = r->event.type == YAML_MAPPING_START_EVENT;

    if (r->event.type == YAML_ALIAS_EVENT) {
        refuse(r, place); /* the problem is there already */
    } else if (mapping && member != NULL) {
        if (key != NULL) /* the long form of server.close is there for a quorum; without a number it is refused later */
            sp_assert(sp_job_set(r->job, key->path, "quorum", NULL) == SP_OK);
        read_mapping(r, place->path);
    } else if (key != NULL && list && key->type == SP_KEY_UINT_LIST) {
        read_list(r, key, place);
    } else if (key != NULL && r->event.type == YAML_SCALAR_EVENT) {
        read_scalar(r, key, place);
    } else if (key != NULL) {
        refuse_value(r, place, key, SP_E_SYNTAX, "not %s", event_kind(r));
        skip_node(r);
    } else if (!is_null(r)) { /* a group with nothing in it is an empty group */
        sp_assert(member != NULL);
        add_problem(r, SP_E_SYNTAX, event_line(r), event_column(r), "%s: must be a group of keys such as '%s', not %s",
                    place->path, member->path, event_kind(r));
        refuse(r, place);
        skip_node(r);
    }
}

static void read_entry(struct reader *r, const struct entry *entry)
{
    const struct sp_key *key = sp_job_key(entry->path), *member = key_in_group(entry->path);
    struct place *place = find_place(r, entry->path);
    struct sp_error error = {.code = SP_OK};

    if (key == NULL && member == NULL) {
        if (r->problems->count < SP_PROBLEMS_MAX) /* to look for the nearest key a million times takes a while */
            (void)sp_job_set(r->job, entry->path, "", &error);
        add_problem(r, error.code, entry->line, entry->column, "%s", error.text);
        skip_node(r);
        return;
    }
    if (place != NULL) {
        add_problem(r, SP_E_SYNTAX, entry->line, entry->column, "repeated key '%s'; it is in line %u already",
                    entry->path, place->line);
        if (key != NULL) {
            skip_node(r);
            return;
        }
    } else {
        place = add_place(r, entry->path, entry->line, entry->column);
    }
    read_known(r, key, member, place);
}

/* Takes the current event as a key in `group`. False, and a problem, if it cannot be one. */
static bool take_key(struct reader *r, const char *group, struct entry *entry)
{
    const char *text;
    char quoted[SP_QUOTED_BYTES];

    entry->line = event_line(r);
    entry->column = event_column(r);
    if (r->event.type == YAML_ALIAS_EVENT)
        return false;
    if (r->event.type != YAML_SCALAR_EVENT) {
        add_problem(r, SP_E_SYNTAX, entry->line, entry->column, "a key must be a word, not %s", event_kind(r));
        return false;
    }
    text = scalar_text(r);
    if (text == NULL)
        return false;
    if (strchr(text, '.') != NULL) {
        add_problem(r, SP_E_UNKNOWN, entry->line, entry->column,
                    "unknown key '%s'; dots are for --set, in a file write keys in groups, such as train: {batch: 16}",
                    sp_job_quote(text, quoted));
        return false;
    }
    (void)snprintf(entry->path, sizeof entry->path, "%s%s%s", group, group[0] != '\0' ? "." : "", text);
    return true;
}

/* From the start of a mapping to its end. The table of keys bounds how deep this calls itself. */
static void read_mapping(struct reader *r, const char *group)
{
    while (next_event(r) && r->event.type != YAML_MAPPING_END_EVENT) {
        struct entry entry;
        bool good = take_key(r, group, &entry);

        skip_node(r);
        if (!next_event(r))
            return;
        if (good)
            read_entry(r, &entry);
        else
            skip_node(r);
    }
}

static void read_document(struct reader *r)
{
    if (!next_event(r))
        return;
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        read_mapping(r, "");
    } else if (is_null(r)) {
        add_problem(r, SP_E_MISSING, 0, 0, "the file is empty; configs/minimal.yaml shows the least that a job needs");
        r->cut = true;
    } else {
        if (r->event.type != YAML_ALIAS_EVENT)
            add_problem(r, SP_E_SYNTAX, event_line(r), event_column(r),
                        "a job file must hold keys and values, such as 'job: digits', not %s", event_kind(r));
        skip_node(r);
        r->cut = true;
    }
    (void)next_event(r); /* the end of the document */
}

static void read_stream(struct reader *r)
{
    if (!next_event(r) || !next_event(r)) /* the start of the stream, then of the document */
        return;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        add_problem(r, SP_E_MISSING, 0, 0, "the file is empty; configs/minimal.yaml shows the least that a job needs");
        r->cut = true;
        return;
    }
    read_document(r);
    if (next_event(r) && r->event.type == YAML_DOCUMENT_START_EVENT)
        add_problem(r, SP_E_SYNTAX, event_line(r), event_column(r),
                    "a second document begins here; a job file holds one, so remove all from here on");
}

static void read_text(struct reader *r)
{
    if (yaml_parser_initialize(&r->parser) == 0) {
        add_problem(r, SP_E_NOMEM, 0, 0, "out of memory");
        r->cut = true;
        return;
    }
    /* Given rather than detected: UTF-16 holds NUL bytes, which are refused before. */
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->bytes);
    read_stream(r);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
}

/* What --set adds. */

static void apply_set(struct reader *r, const char *set)
{
    const char *equals = strchr(set, '=');
    struct place *place;
    struct sp_error error;
    char path[PATH_BYTES];

    if (equals == NULL || equals == set) {
        add_set_problem(r, SP_E_SYNTAX, set, "must be KEY=VALUE, such as train.batch=16");
        return;
    }
    (void)snprintf(path, sizeof path, "%.*s", (int)(equals - set < PATH_BYTES ? equals - set : PATH_BYTES), set);
    place = find_place(r, path);
    if (place == NULL && sp_job_key(path) != NULL)
        place = add_place(r, path, 0, 0);
    if (sp_job_set(r->job, path, equals + 1, &error) != SP_OK) {
        add_set_problem(r, error.code, set, error.text);
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
    const struct place *when = find_place(r, "optimizer.switch.when");
    bool replaced = when != NULL && when->set != NULL && r->job->optimizer.switch_.when != SP_SWITCH_AT;

    for (size_t i = 0; i < count; i++) {
        const struct place *place = find_place(r, moments[i]);
        char value[SP_VALUE_BYTES];

        sp_job_get(r->job, sp_job_key(moments[i]), value, sizeof value);
        if (place != NULL && place->set != NULL && strcmp(value, "0") != 0)
            replaced = true;
    }
    for (size_t i = 0; replaced && i < count; i++) {
        const struct place *place = find_place(r, moments[i]);

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

        if ((key->flags & SP_KEY_REQUIRED) == 0 || find_place(r, key->path) != NULL)
            continue;
        near = nearest_place(r, key->path);
        if (near == NULL)
            add_problem(r, SP_E_MISSING, 0, 0, "'%s' is missing; every job needs it: %s", key->path, key->meaning);
        else if (!near->broken)
            add_problem(r, SP_E_MISSING, near->line, near->column, "'%s' is missing; every job needs it: %s", key->path,
                        key->meaning);
    }
}

static void on_invalid(void *arg, const char *path, const char *words)
{
    struct reader *r = arg;
    const struct place *place = nearest_place(r, path);

    if (place == NULL)
        add_problem(r, SP_E_MISMATCH, 0, 0, "%s", words);
    else if (place->set != NULL)
        add_set_problem(r, SP_E_MISMATCH, place->set, words);
    else
        add_problem(r, SP_E_MISMATCH, place->line, place->column, "%s", words);
}

/* Data paths in a job file are relative to it. */
static void set_folder(struct reader *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);

    if (slash == NULL)
        (void)snprintf(r->job->folder, sizeof r->job->folder, ".");
    else if (length >= sizeof r->job->folder)
        add_problem(r, SP_E_RANGE, 0, 0, "the path of the job file's folder is longer than %zu bytes",
                    sizeof r->job->folder - 1);
    else
        (void)snprintf(r->job->folder, sizeof r->job->folder, "%.*s", length == 0 ? 1 : (int)length, path);
}

static bool check_text(struct reader *r)
{
    const char *nul;
    unsigned line, column;

    if (r->bytes > FILE_BYTES_MAX) {
        add_problem(r, SP_E_RANGE, 0, 0, "longer than %zu bytes, which no job file is", FILE_BYTES_MAX);
        return false;
    }
    nul = r->bytes > 0 ? memchr(r->text, '\0', r->bytes) : NULL;
    if (nul != NULL) {
        locate(r, (size_t)(nul - r->text), &line, &column);
        add_problem(r, SP_E_SYNTAX, line, column, "there is a NUL byte; a job file must be UTF-8 text");
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
        read_text(&r);
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
        add_problem(&r, SP_E_IO, 0, 0, "cannot read the job file: %s", why);
        return r.code;
    }
    rc = sp_config_parse(path, text, bytes, sets, sets_count, job, problems);
    free(text);
    return rc;
}
