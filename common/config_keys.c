/* From the events of a job file to the keys and values of a job. */
#include "common/config_reader.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A key as it was met in the file. */
struct entry {
    char path[SP_PATH_BYTES];
    unsigned line, column;
};

void sp_reader_refuse_value(struct reader *r, struct place *place, const struct sp_key *key, int code,
                            const char *format, ...)
{
    char allowed[256], words[SP_ERROR_TEXT_BYTES / 2];
    va_list args;

    sp_job_allowed(key, allowed, sizeof allowed);
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    sp_reader_problem(r, code, sp_reader_line(r), sp_reader_column(r), "%s: must be %s, %s", key->path, allowed, words);
    sp_reader_refuse(r, place);
}

static void read_scalar(struct reader *r, const struct sp_key *key, struct place *place)
{
    const char *text = sp_reader_text(r);
    struct sp_error error;

    if (text == NULL) {
        sp_reader_refuse(r, place);
    } else if (sp_reader_is_null(r)) {
        sp_reader_refuse_value(r, place, key, SP_E_MISSING, "but has no value");
    } else if (key->type == SP_KEY_UINT_LIST || key->type == SP_KEY_RULES) {
        sp_reader_refuse_value(r, place, key, SP_E_SYNTAX, "not a single value");
    } else if (key->type == SP_KEY_BOOL && r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        sp_reader_refuse_value(r, place, key, SP_E_SYNTAX, "without quotes");
    } else if (sp_job_set(r->job, key->path, text, &error) != SP_OK) {
        sp_reader_problem(r, error.code, sp_reader_line(r), sp_reader_column(r), "%s", error.text);
        sp_reader_refuse(r, place);
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
        sp_reader_refuse_value(r, place, key, SP_E_SYNTAX, "without %s in it", sp_reader_kind(r));
        sp_reader_skip(r);
        return false;
    }
    text = sp_reader_text(r);
    if (text == NULL) {
        sp_reader_refuse(r, place);
        return false;
    }
    rc = snprintf(one, sizeof one, "[%s]", text);
    if (text[0] == '\0' || rc >= (int)sizeof one || strpbrk(text, " ,[]") != NULL ||
        sp_job_set(r->job, key->path, one, NULL) != SP_OK) {
        sp_reader_refuse_value(r, place, key, SP_E_SYNTAX, "without '%s' in it", sp_job_quote(text, quoted));
        return false;
    }
    /* A list that is cut here is far longer than any key allows, and is refused as a whole below. */
    (void)snprintf(list + used, bytes - used, "%s%s", used > 1 ? ", " : "", text);
    return true;
}

static void read_list(struct reader *r, const struct sp_key *key, struct place *place)
{
    const unsigned line = sp_reader_line(r), column = sp_reader_column(r);
    char list[SP_VALUE_BYTES] = "[";
    struct sp_error error;
    bool good = true;

    while (sp_reader_next(r) && r->event.type != YAML_SEQUENCE_END_EVENT)
        good = read_item(r, key, place, list, sizeof list - 1) && good;
    if (!good || r->ended)
        return;
    (void)snprintf(list + strlen(list), 2, "]");
    if (sp_job_set(r->job, key->path, list, &error) != SP_OK) {
        sp_reader_problem(r, error.code, line, column, "%s", error.text);
        sp_reader_refuse(r, place);
    }
}

static void read_mapping(struct reader *r, const char *group);

/* The value of a key that is one, or of a group of keys; server.close is both. */
static void read_known(struct reader *r, const struct sp_key *key, const struct sp_key *member, struct place *place)
{
    const bool list = r->event.type == YAML_SEQUENCE_START_EVENT, mapping = r->event.type == YAML_MAPPING_START_EVENT;

    if (r->event.type == YAML_ALIAS_EVENT) {
        sp_reader_refuse(r, place); /* the problem is there already */
    } else if (mapping && member != NULL) {
        if (key != NULL) /* the long form of server.close is there for a quorum; without a number it is refused later */
            sp_assert(sp_job_set(r->job, key->path, "quorum", NULL) == SP_OK);
        read_mapping(r, place->path);
    } else if (key != NULL && list && (key->type == SP_KEY_UINT_LIST || key->type == SP_KEY_REAL_LIST)) {
        read_list(r, key, place);
    } else if (key != NULL && list && key->type == SP_KEY_RULES) {
        sp_reader_rules(r, key, place);
    } else if (key != NULL && r->event.type == YAML_SCALAR_EVENT) {
        read_scalar(r, key, place);
    } else if (key != NULL) {
        sp_reader_refuse_value(r, place, key, SP_E_SYNTAX, "not %s", sp_reader_kind(r));
        sp_reader_skip(r);
    } else if (!sp_reader_is_null(r)) { /* a group with nothing in it is an empty group */
        sp_assert(member != NULL);
        sp_reader_problem(r, SP_E_SYNTAX, sp_reader_line(r), sp_reader_column(r),
                          "%s: must be a group of keys such as '%s', not %s", place->path, member->path,
                          sp_reader_kind(r));
        sp_reader_refuse(r, place);
        sp_reader_skip(r);
    }
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

static void read_entry(struct reader *r, const struct entry *entry)
{
    const struct sp_key *key = sp_job_key(entry->path), *member = key_in_group(entry->path);
    struct place *place = sp_reader_place(r, entry->path);
    struct sp_error error = {.code = SP_OK};

    if (key == NULL && member == NULL) {
        if (r->problems->count < SP_PROBLEMS_MAX) /* to look for the nearest key a million times takes a while */
            (void)sp_job_set(r->job, entry->path, "", &error);
        sp_reader_problem(r, error.code, entry->line, entry->column, "%s", error.text);
        sp_reader_skip(r);
        return;
    }
    if (place != NULL) {
        sp_reader_problem(r, SP_E_SYNTAX, entry->line, entry->column, "repeated key '%s'; it is in line %u already",
                          entry->path, place->line);
        if (key != NULL) {
            sp_reader_skip(r);
            return;
        }
    } else {
        place = sp_reader_add_place(r, entry->path, entry->line, entry->column);
    }
    read_known(r, key, member, place);
}

/* Takes the current event as a key in `group`. False, and a problem, if it cannot be one. */
static bool take_key(struct reader *r, const char *group, struct entry *entry)
{
    const char *text;
    char quoted[SP_QUOTED_BYTES];

    entry->line = sp_reader_line(r);
    entry->column = sp_reader_column(r);
    if (r->event.type == YAML_ALIAS_EVENT)
        return false;
    if (r->event.type != YAML_SCALAR_EVENT) {
        sp_reader_problem(r, SP_E_SYNTAX, entry->line, entry->column, "a key must be a word, not %s",
                          sp_reader_kind(r));
        return false;
    }
    text = sp_reader_text(r);
    if (text == NULL)
        return false;
    if (strchr(text, '.') != NULL) {
        sp_reader_problem(
            r, SP_E_UNKNOWN, entry->line, entry->column,
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
    while (sp_reader_next(r) && r->event.type != YAML_MAPPING_END_EVENT) {
        struct entry entry;
        bool good = take_key(r, group, &entry);

        sp_reader_skip(r);
        if (!sp_reader_next(r))
            return;
        if (good)
            read_entry(r, &entry);
        else
            sp_reader_skip(r);
    }
}

static void read_document(struct reader *r)
{
    if (!sp_reader_next(r))
        return;
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        read_mapping(r, "");
    } else if (sp_reader_is_null(r)) {
        sp_reader_problem(r, SP_E_MISSING, 0, 0,
                          "the file is empty; configs/minimal.yaml shows the least that a job needs");
        r->cut = true;
    } else {
        if (r->event.type != YAML_ALIAS_EVENT)
            sp_reader_problem(r, SP_E_SYNTAX, sp_reader_line(r), sp_reader_column(r),
                              "a job file must hold keys and values, such as 'job: digits', not %s", sp_reader_kind(r));
        sp_reader_skip(r);
        r->cut = true;
    }
    (void)sp_reader_next(r); /* the end of the document */
}

static void read_stream(struct reader *r)
{
    if (!sp_reader_next(r) || !sp_reader_next(r)) /* the start of the stream, then of the document */
        return;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        sp_reader_problem(r, SP_E_MISSING, 0, 0,
                          "the file is empty; configs/minimal.yaml shows the least that a job needs");
        r->cut = true;
        return;
    }
    read_document(r);
    if (sp_reader_next(r) && r->event.type == YAML_DOCUMENT_START_EVENT)
        sp_reader_problem(r, SP_E_SYNTAX, sp_reader_line(r), sp_reader_column(r),
                          "a second document begins here; a job file holds one, so remove all from here on");
}

void sp_reader_read(struct reader *r)
{
    if (yaml_parser_initialize(&r->parser) == 0) {
        sp_reader_problem(r, SP_E_NOMEM, 0, 0, "out of memory");
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
