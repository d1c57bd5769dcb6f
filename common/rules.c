#include "common/rules.h"

#include "common/job_parts.h"
#include "common/layout.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define RULE_BYTES (SP_PATTERN_BYTES + 48) /* of one rule as text, and what joins it to the next */

_Static_assert(SP_RULES_MAX *RULE_BYTES < SP_VALUE_BYTES, "any rules fit into the text of a value");

static int set_match(struct sp_tensor_rule *rule, const char *value, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];
    size_t length = strlen(value), good = 0;

    while (value[good] > ' ' && value[good] < 0x7f && value[good] != '"' && value[good] != '\\')
        good++;
    if (length == 0 || length >= SP_PATTERN_BYTES || good < length)
        return sp_error_set(error, good < length ? SP_E_SYNTAX : SP_E_RANGE,
                            "match: must be a pattern of 1 to %d ASCII characters without space, '\"' and '\\', not "
                            "'%s'",
                            SP_PATTERN_BYTES - 1, sp_job_quote(value, quoted));
    memcpy(rule->match, value, length);
    return SP_OK;
}

/* The index of the value among the two that a member may have, or -1. */
static int one_of(const char *member, const char *value, const char *first, const char *second, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];

    if (strcmp(value, first) == 0)
        return 0;
    if (strcmp(value, second) == 0)
        return 1;
    (void)sp_error_set(error, SP_E_RANGE, "%s: must be %s or %s, not '%s'", member, first, second,
                       sp_job_quote(value, quoted));
    return -1;
}

static int set_update(struct sp_tensor_rule *rule, const char *value, struct sp_error *error)
{
    int which = one_of("update", value, "vote", "full", error);

    if (which < 0)
        return SP_E_RANGE;
    rule->update = which == 0 ? SP_RULE_UPDATE_VOTE : SP_RULE_UPDATE_FULL;
    return SP_OK;
}

static int set_decay(struct sp_tensor_rule *rule, const char *value, struct sp_error *error)
{
    int which = one_of("decay", value, "true", "false", error);

    if (which < 0)
        return SP_E_RANGE;
    rule->decay = which == 0 ? SP_RULE_DECAY_YES : SP_RULE_DECAY_NO;
    return SP_OK;
}

int sp_rule_set(struct sp_tensor_rule *rule, const char *member, const char *value, struct sp_error *error)
{
    const struct {
        const char *name;
        bool given;
        int (*set)(struct sp_tensor_rule *rule, const char *value, struct sp_error *error);
    } members[] = {{"match", rule->match[0] != '\0', set_match},
                   {"update", rule->update != SP_RULE_UPDATE_AS_IS, set_update},
                   {"decay", rule->decay != SP_RULE_DECAY_AS_IS, set_decay}};
    char quoted[SP_QUOTED_BYTES];

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strcmp(member, members[i].name) != 0)
            continue;
        if (members[i].given)
            return sp_error_set(error, SP_E_MISMATCH, "repeated member '%s'", member);
        return members[i].set(rule, value, error);
    }
    return sp_error_set(error, SP_E_UNKNOWN, "unknown member '%s'; a rule has match, and update or decay or both",
                        sp_job_quote(member, quoted));
}

int sp_rule_check(const struct sp_tensor_rule *rule, struct sp_error *error)
{
    if (rule->match[0] == '\0')
        return sp_error_set(error, SP_E_MISSING, "'match' is missing: the pattern of the tensors' names");
    if (rule->update == SP_RULE_UPDATE_AS_IS && rule->decay == SP_RULE_DECAY_AS_IS)
        return sp_error_set(error, SP_E_MISSING, "changes nothing; give it update or decay, or leave it out");
    return SP_OK;
}

/* From text. */

/* Passes blanks and this character. False, and nothing but blanks passed, if another one comes. */
static bool take(const char **text, char what)
{
    *text += strspn(*text, " ");
    if (**text != what)
        return false;
    ++*text;
    return true;
}

/* A word with or without quotes. One that is longer than any pattern is cut to a length that is refused as well. */
static bool take_word(const char **text, char word[SP_PATTERN_BYTES + 1])
{
    const char *start;
    size_t length;

    *text += strspn(*text, " ");
    start = *text;
    if (*start == '"' || *start == '\'') {
        const char *end = strchr(start + 1, *start);

        if (end == NULL)
            return false;
        *text = end + 1;
        length = (size_t)(end - ++start);
    } else {
        length = strcspn(start, " ,{}[]:\"'");
        *text = start + length;
        if (length == 0)
            return false;
    }
    if (length > SP_PATTERN_BYTES)
        length = SP_PATTERN_BYTES;
    memcpy(word, start, length);
    word[length] = '\0';
    return true;
}

static int refuse_at(const char *text, const char *expected, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];

    if (*text == '\0')
        return sp_error_set(error, SP_E_SYNTAX, "expected %s, but the text ends", expected);
    return sp_error_set(error, SP_E_SYNTAX, "expected %s before '%s'", expected, sp_job_quote(text, quoted));
}

static int parse_rule(const char **text, struct sp_tensor_rule *rule, struct sp_error *error)
{
    char member[SP_PATTERN_BYTES + 1], value[SP_PATTERN_BYTES + 1];

    if (!take(text, '{'))
        return refuse_at(*text, "a rule such as {match: \"bn*\", update: full}", error);
    do {
        int rc;

        if (!take_word(text, member))
            return refuse_at(*text, "match:, update: or decay:", error);
        if (!take(text, ':'))
            return refuse_at(*text, "':'", error);
        if (!take_word(text, value))
            return refuse_at(*text, "a value", error);
        rc = sp_rule_set(rule, member, value, error);
        if (rc != SP_OK)
            return rc;
    } while (take(text, ','));
    if (!take(text, '}'))
        return refuse_at(*text, "',' or '}'", error);
    return sp_rule_check(rule, error);
}

int sp_rules_parse(struct sp_tensor_rules *rules, const char *text, struct sp_error *error)
{
    struct sp_tensor_rules read = {.count = 0};

    if (*text++ != '[')
        return sp_error_set(error, SP_E_SYNTAX, "must begin with '['");
    if (!take(&text, ']')) {
        do {
            int rc;

            if (read.count == SP_RULES_MAX)
                return sp_error_set(error, SP_E_RANGE, "more than %d rules", SP_RULES_MAX);
            rc = parse_rule(&text, &read.rule[read.count], error);
            if (rc != SP_OK) {
                (void)sp_error_prefix(error, "rule %u", read.count + 1);
                return rc;
            }
            read.count++;
        } while (take(&text, ','));
        if (!take(&text, ']'))
            return refuse_at(text, "',' or ']'", error);
    }
    if (*text != '\0')
        return refuse_at(text, "the end", error);
    *rules = read;
    return SP_OK;
}

/* To text. */

void sp_rule_write(const struct sp_tensor_rule *rule, char *text, size_t bytes)
{
    static const char *const updates[] = {"", ", update: vote", ", update: full"};
    static const char *const decays[] = {"", ", decay: true", ", decay: false"};

    (void)snprintf(text, bytes, "{match: \"%s\"%s%s}", rule->match, updates[rule->update], decays[rule->decay]);
}

void sp_rules_write(const struct sp_tensor_rules *rules, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "[");

    for (uint32_t i = 0; i < rules->count && used < bytes; i++) {
        char rule[RULE_BYTES];

        sp_rule_write(&rules->rule[i], rule, sizeof rule);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : ", ", rule);
    }
    if (used < bytes)
        (void)snprintf(text + used, bytes - used, "]");
}

/* On a layout. */

static bool matches(const struct sp_tensor_rule *rule, const struct sp_tensor *tensor)
{
    return fnmatch(rule->match, tensor->name, 0) == 0;
}

static uint8_t traits_of(const struct sp_tensor_rules *rules, const struct sp_tensor *tensor)
{
    unsigned traits = tensor->flags & SP_TENSOR_DECAY;

    for (uint32_t i = 0; i < rules->count; i++) {
        const struct sp_tensor_rule *rule = &rules->rule[i];

        if (!matches(rule, tensor))
            continue;
        if (rule->decay != SP_RULE_DECAY_AS_IS)
            traits = (traits & ~SP_TENSOR_DECAY) | (rule->decay == SP_RULE_DECAY_YES ? SP_TENSOR_DECAY : 0);
        if (rule->update != SP_RULE_UPDATE_AS_IS)
            traits = (traits & ~SP_TENSOR_FULL) | (rule->update == SP_RULE_UPDATE_FULL ? SP_TENSOR_FULL : 0);
    }
    return (uint8_t)traits;
}

uint32_t sp_job_traits(const struct sp_job *job, const struct sp_layout *layout, uint8_t *traits)
{
    locale_t before = sp_c_locale_enter(); /* a range such as [a-z] is the same everywhere */

    for (uint32_t i = 0; i < layout->trained; i++)
        traits[i] = traits_of(&job->tensors, &layout->tensors[i]);
    sp_c_locale_leave(before);
    return layout->trained;
}

static bool is_idle(const struct sp_tensor_rule *rule, const struct sp_layout *layout)
{
    for (uint32_t i = 0; i < layout->trained; i++)
        if (matches(rule, &layout->tensors[i]))
            return false;
    return true;
}

const struct sp_tensor_rule *sp_job_idle_rule(const struct sp_job *job, const struct sp_layout *layout, unsigned index)
{
    const struct sp_tensor_rule *found = NULL;
    locale_t before = sp_c_locale_enter();

    for (uint32_t i = 0; i < job->tensors.count && found == NULL; i++)
        if (is_idle(&job->tensors.rule[i], layout) && index-- == 0)
            found = &job->tensors.rule[i];
    sp_c_locale_leave(before);
    return found;
}
