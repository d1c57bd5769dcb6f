/* Events of the YAML parser, and what of YAML a job file may not have. */
#include "common/config_reader.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16 /* of mappings and lists within each other; a job needs 3 */

void sp_reader_locate(const struct reader *r, size_t offset, unsigned *line, unsigned *column)
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

/* What to do about the commonest mistakes. */
static const char *yaml_advice(const struct reader *r)
{
    const yaml_parser_t *p = &r->parser;

    if (is_tab(r, p->problem_mark.index))
        return "; indent with spaces, not tabs";
    if (p->context != NULL && strcmp(p->context, "while scanning an alias") == 0)
        return "; a text that begins with '*' needs quotes";
    return "";
}

static void add_yaml_problem(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *what = p->problem != NULL ? p->problem : "unknown problem";
    char context[128] = "";
    unsigned line, column;

    switch (p->error) {
    case YAML_MEMORY_ERROR:
        sp_reader_problem(r, SP_E_NOMEM, 0, 0, "out of memory");
        return;
    case YAML_READER_ERROR:
        sp_reader_locate(r, p->problem_offset, &line, &column);
        sp_reader_problem(r, SP_E_SYNTAX, line, column, "not UTF-8 text: %s", what);
        return;
    default:
        break;
    }
    if (p->context != NULL && p->context_mark.line != p->problem_mark.line)
        (void)snprintf(context, sizeof context, ", %s that begins at line %zu", p->context, p->context_mark.line + 1);
    else if (p->context != NULL)
        (void)snprintf(context, sizeof context, ", %s", p->context);
    sp_reader_problem(r, SP_E_SYNTAX, (unsigned)p->problem_mark.line + 1, (unsigned)p->problem_mark.column + 1,
                      "not well-formed YAML: %s%s%s", what, context, yaml_advice(r));
}

unsigned sp_reader_line(const struct reader *r)
{
    return (unsigned)r->event.start_mark.line + 1;
}

unsigned sp_reader_column(const struct reader *r)
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
        sp_reader_problem(r, SP_E_UNSUPPORTED, sp_reader_line(r), sp_reader_column(r),
                          "anchors ('&%s') are not allowed in a job file; leave it out",
                          sp_job_quote((const char *)anchor, quoted));
    if (tag != NULL)
        sp_reader_problem(r, SP_E_UNSUPPORTED, sp_reader_line(r), sp_reader_column(r),
                          "tags ('%s') are not allowed in a job file; leave it out",
                          sp_job_quote((const char *)tag, quoted));
    if (r->event.type == YAML_ALIAS_EVENT)
        sp_reader_problem(
            r, SP_E_UNSUPPORTED, sp_reader_line(r), sp_reader_column(r),
            "aliases ('*%s') are not allowed in a job file; write the value out, in quotes if it begins with '*'",
            sp_job_quote((const char *)r->event.data.alias.anchor, quoted));
}

bool sp_reader_next(struct reader *r)
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
        sp_reader_problem(r, SP_E_RANGE, sp_reader_line(r), sp_reader_column(r), "nested deeper than %d levels",
                          DEPTH_MAX);
        yaml_event_delete(&r->event);
        r->ended = r->cut = true;
    }
    return !r->ended;
}

void sp_reader_skip(struct reader *r)
{
    const unsigned depth = r->depth;

    if (r->event.type != YAML_MAPPING_START_EVENT && r->event.type != YAML_SEQUENCE_START_EVENT)
        return;
    while (sp_reader_next(r) && r->depth >= depth)
        continue;
}

const char *sp_reader_kind(const struct reader *r)
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

const char *sp_reader_text(struct reader *r)
{
    const char *text = (const char *)r->event.data.scalar.value;

    if (strlen(text) == r->event.data.scalar.length)
        return text;
    sp_reader_problem(r, SP_E_SYNTAX, sp_reader_line(r), sp_reader_column(r),
                      "a text with a NUL character is of no use here");
    return NULL;
}

bool sp_reader_is_null(const struct reader *r)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp((const char *)r->event.data.scalar.value, words[i]) == 0)
            return true;
    return false;
}
