/* The rules of `tensors`, read one by one so that each problem has its place. */
#include "common/config_reader.h"

#include "common/check.h"
#include "common/rules.h"

#include <stdio.h>
#include <string.h>

/* The rule that is being read. */
struct draft {
    struct sp_tensor_rule rule;
    unsigned number; /* from 1 */
    bool good;
};

/* A member's name and where it stands. */
struct member {
    char name[SP_QUOTED_BYTES];
    unsigned line, column;
};

static void __attribute__((format(printf, 6, 7)))
refuse_rule(struct reader *r, struct draft *draft, int code, unsigned line, unsigned column, const char *format, ...)
{
    char words[SP_ERROR_TEXT_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    sp_reader_problem(r, code, line, column, "tensors: rule %u: %.*s", draft->number, SP_ERROR_TEXT_BYTES - 32, words);
    draft->good = false;
}

/* Takes the current event as a member's name. */
static bool take_member(struct reader *r, struct draft *draft, struct member *member)
{
    const char *text;

    member->line = sp_reader_line(r);
    member->column = sp_reader_column(r);
    if (r->event.type == YAML_SCALAR_EVENT) {
        text = sp_reader_text(r);
        if (text != NULL) {
            (void)snprintf(member->name, sizeof member->name, "%s", text);
            return true;
        }
    } else if (r->event.type != YAML_ALIAS_EVENT) {
        refuse_rule(r, draft, SP_E_SYNTAX, member->line, member->column, "the name of a member must be a word, not %s",
                    sp_reader_kind(r));
    }
    draft->good = false;
    return false;
}

/* The value of a member that is a single value. */
static void set_member(struct reader *r, struct draft *draft, const struct member *member)
{
    const bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    unsigned line = sp_reader_line(r), column = sp_reader_column(r);
    const char *text = sp_reader_text(r);
    struct sp_error error;
    int rc;

    if (text == NULL) {
        draft->good = false;
        return;
    }
    rc = sp_rule_set(&draft->rule, member->name, text, &error);
    if (rc == SP_E_UNKNOWN || rc == SP_E_MISMATCH) {
        line = member->line;
        column = member->column;
    } else if (sp_reader_is_null(r)) {
        rc = sp_error_set(&error, SP_E_MISSING, "'%s' has no value", member->name);
    } else if (rc == SP_OK && strcmp(member->name, "decay") == 0 && !plain) {
        rc = sp_error_set(&error, SP_E_SYNTAX, "decay: must be true or false, without quotes");
    }
    if (rc != SP_OK)
        refuse_rule(r, draft, rc, line, column, "%s", error.text);
}

static void read_member(struct reader *r, struct draft *draft, const struct member *member)
{
    if (r->event.type == YAML_SCALAR_EVENT) {
        set_member(r, draft, member);
        return;
    }
    if (r->event.type == YAML_ALIAS_EVENT) {
        draft->good = false; /* the problem is there already */
    } else {
        char quoted[SP_QUOTED_BYTES];

        refuse_rule(r, draft, SP_E_SYNTAX, sp_reader_line(r), sp_reader_column(r), "%s: must be a single value, not %s",
                    sp_job_quote(member->name, quoted), sp_reader_kind(r));
    }
    sp_reader_skip(r);
}

/* From the start of a rule to its end. */
static void read_rule(struct reader *r, struct draft *draft)
{
    const unsigned line = sp_reader_line(r), column = sp_reader_column(r);
    struct sp_error error;
    int rc;

    if (r->event.type != YAML_MAPPING_START_EVENT) {
        if (r->event.type != YAML_ALIAS_EVENT)
            refuse_rule(r, draft, SP_E_SYNTAX, line, column,
                        "must be a group such as {match: \"bn*\", update: full}, not %s", sp_reader_kind(r));
        draft->good = false;
        sp_reader_skip(r);
        return;
    }
    while (sp_reader_next(r) && r->event.type != YAML_MAPPING_END_EVENT) {
        struct member member;
        bool good = take_member(r, draft, &member);

        sp_reader_skip(r);
        if (!sp_reader_next(r))
            break;
        if (good)
            read_member(r, draft, &member);
        else
            sp_reader_skip(r);
    }
    if (r->ended || !draft->good)
        return;
    rc = sp_rule_check(&draft->rule, &error);
    if (rc != SP_OK)
        refuse_rule(r, draft, rc, line, column, "%s", error.text);
}

void sp_reader_rules(struct reader *r, const struct sp_key *key, struct place *place)
{
    struct sp_tensor_rules rules = {.count = 0};
    char text[SP_VALUE_BYTES];
    bool good = true;

    for (unsigned number = 1; sp_reader_next(r) && r->event.type != YAML_SEQUENCE_END_EVENT; number++) {
        struct draft draft = {.number = number, .good = number <= SP_RULES_MAX};

        if (number == SP_RULES_MAX + 1)
            sp_reader_problem(r, SP_E_RANGE, sp_reader_line(r), sp_reader_column(r), "%s: more than %d rules",
                              key->path, SP_RULES_MAX);
        if (draft.good)
            read_rule(r, &draft);
        else
            sp_reader_skip(r);
        good = good && draft.good;
        if (good)
            rules.rule[rules.count++] = draft.rule;
    }
    if (!good)
        sp_reader_refuse(r, place);
    if (!good || r->ended)
        return;
    sp_rules_write(&rules, text, sizeof text);
    sp_assert(sp_job_set(r->job, key->path, text, NULL) == SP_OK);
}
