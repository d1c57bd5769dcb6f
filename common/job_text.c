/* Values from text, strictly, and to text. */
#include "common/job_parts.h"

#include "common/check.h"
#include "common/decimal.h"
#include "common/rules.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SP_REAL_BYTES 64 /* an item of a list as text */

/* Decimal digits only; a leading zero is refused because YAML 1.1 readers take it for octal. */
static int parse_uint(const char *text, uint64_t *value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    size_t length = strspn(digits, "0123456789");
    uint64_t sum = 0;

    if (length == 0 || digits[length] != '\0' || (digits[0] == '0' && length > 1))
        return SP_E_SYNTAX;
    if (text[0] == '-')
        return SP_E_RANGE;
    for (size_t i = 0; i < length; i++) {
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(digits[i] - '0'), &sum))
            return SP_E_RANGE;
    }
    *value = sum;
    return SP_OK;
}

static int parse_real(const char *text, double *value)
{
    locale_t before;

    if (!sp_is_decimal(text))
        return SP_E_SYNTAX;
    before = sp_c_locale_enter();
    *value = strtod(text, NULL) + 0.0; /* -0 becomes 0 */
    sp_c_locale_leave(before);
    return isfinite(*value) ? SP_OK : SP_E_RANGE;
}

static int set_string(const struct sp_key *key, char *member, const char *text)
{
    size_t length = strlen(text);

    if (length >= key->bytes)
        return SP_E_RANGE;
    if (length == 0 && (key->flags & SP_KEY_REQUIRED) != 0)
        return SP_E_MISSING;
    for (size_t i = 0; i < length; i++) {
        bool word = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z') ||
                    (text[i] >= 'a' && text[i] <= 'z');

        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return SP_E_SYNTAX;
        if ((key->flags & SP_KEY_NAME) != 0 && !word && (i == 0 || strchr("._-", text[i]) == NULL))
            return SP_E_SYNTAX;
    }
    memset(member, 0, key->bytes);
    memcpy(member, text, length);
    return SP_OK;
}

static bool uint_in_range(const struct sp_key *key, uint64_t value)
{
    return (double)value >= key->min && (key->max >= UINT64_AS_REAL || (double)value <= key->max);
}

static int set_uint(const struct sp_key *key, void *member, const char *text)
{
    uint64_t value;
    int rc = parse_uint(text, &value);

    if (rc != SP_OK)
        return rc;
    if (!uint_in_range(key, value))
        return SP_E_RANGE;
    if (key->bytes == sizeof(uint64_t))
        *(uint64_t *)member = value;
    else
        *(uint32_t *)member = (uint32_t)value;
    return SP_OK;
}

static int set_real(const struct sp_key *key, double *member, const char *text)
{
    double value;
    int rc = parse_real(text, &value);

    if (rc != SP_OK)
        return rc;
    if (value < key->min || value > key->max)
        return SP_E_RANGE;
    if ((key->flags & SP_KEY_POSITIVE) != 0 && value <= key->min)
        return SP_E_RANGE;
    if ((key->flags & SP_KEY_BELOW) != 0 && value >= key->max)
        return SP_E_RANGE;
    *member = value;
    return SP_OK;
}

static int set_bool(bool *member, const char *text)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return SP_E_SYNTAX;
    *member = text[0] == 't';
    return SP_OK;
}

static int set_choice(const struct sp_key *key, unsigned *member, const char *text)
{
    for (unsigned i = 0; key->choices[i] != NULL; i++) {
        if (strcmp(key->choices[i], text) == 0) {
            *member = i;
            return SP_OK;
        }
    }
    return SP_E_RANGE;
}

/* One item of a list, up to the next comma or bracket; *text then stands there. */
static int next_item(const char **text, char *word, size_t bytes)
{
    size_t length;

    *text += strspn(*text, " ");
    length = strcspn(*text, " ,]");
    if (length >= bytes)
        return SP_E_RANGE;
    memcpy(word, *text, length);
    word[length] = '\0';
    *text += length;
    *text += strspn(*text, " ");
    return SP_OK;
}

static int parse_uint_item(const struct sp_key *key, const char *word, void *items, uint32_t i)
{
    uint64_t value;
    int rc = parse_uint(word, &value);

    if (rc != SP_OK)
        return rc;
    if (!uint_in_range(key, value))
        return SP_E_RANGE;
    ((uint32_t *)items)[i] = (uint32_t)value;
    return SP_OK;
}

static int parse_real_item(const struct sp_key *key, const char *word, void *items, uint32_t i)
{
    return set_real(key, (double *)items + i, word);
}

/* "[", items, "]". */
static int parse_list(const struct sp_key *key, const char *text, void *items, uint32_t *count,
                      int (*parse)(const struct sp_key *key, const char *word, void *items, uint32_t i))
{
    *count = 0;
    if (*text++ != '[')
        return SP_E_SYNTAX;
    text += strspn(text, " ");
    if (*text != ']') {
        for (;; text++) {
            char word[SP_REAL_BYTES];
            int rc = *count == SP_LIST_MAX ? SP_E_RANGE : next_item(&text, word, sizeof word);

            if (rc == SP_OK)
                rc = parse(key, word, items, (*count)++);
            if (rc != SP_OK)
                return rc;
            if (*text != ',')
                break;
        }
    }
    return strcmp(text, "]") == 0 ? SP_OK : SP_E_SYNTAX;
}

static int set_uints(const struct sp_key *key, uint32_t *member, const char *text)
{
    uint32_t items[SP_LIST_MAX] = {0}, count;
    int rc = parse_list(key, text, items, &count, parse_uint_item);

    sp_assert(key->bytes == sizeof items);
    if (rc != SP_OK)
        return rc;
    memcpy(member, items, sizeof items);
    member[SP_LIST_MAX] = count;
    return SP_OK;
}

/* The count lies behind the items. */
static uint32_t *reals_count(const double *member)
{
    return (uint32_t *)(uintptr_t)(member + SP_LIST_MAX);
}

static int set_reals(const struct sp_key *key, double *member, const char *text)
{
    double items[SP_LIST_MAX] = {0};
    uint32_t count = 1;
    int rc = text[0] == '[' ? parse_list(key, text, items, &count, parse_real_item) : set_real(key, items, text);

    sp_assert(key->bytes == sizeof items);
    if (rc != SP_OK)
        return rc;
    if (count == 0)
        return SP_E_RANGE;
    memcpy(member, items, sizeof items);
    *reals_count(member) = count;
    return SP_OK;
}

int sp_text_parse(const struct sp_key *key, void *member, const char *text)
{
    switch (key->type) {
    case SP_KEY_STRING:
        return set_string(key, member, text);
    case SP_KEY_UINT:
        return set_uint(key, member, text);
    case SP_KEY_REAL:
        return set_real(key, member, text);
    case SP_KEY_BOOL:
        return set_bool(member, text);
    case SP_KEY_CHOICE:
        return set_choice(key, member, text);
    case SP_KEY_UINT_LIST:
        return set_uints(key, member, text);
    case SP_KEY_REAL_LIST:
        return set_reals(key, member, text);
    case SP_KEY_RULES:
        return sp_rules_parse(member, text, NULL);
    }
    return SP_E_SYNTAX;
}

static void get_real(double value, char *text, size_t bytes)
{
    static const int digits[] = {9, 15, 17};
    locale_t before = sp_c_locale_enter();

    for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
        (void)snprintf(text, bytes, "%.*g", digits[i], value);
        if (strtod(text, NULL) == value)
            break;
    }
    sp_c_locale_leave(before);
}

static void get_uints(const uint32_t *items, char *text, size_t bytes)
{
    const uint32_t count = items[SP_LIST_MAX];
    size_t used = (size_t)snprintf(text, bytes, "[");

    for (uint32_t i = 0; i < count && i < SP_LIST_MAX && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%" PRIu32, i == 0 ? "" : ", ", items[i]);
    if (used < bytes)
        (void)snprintf(text + used, bytes - used, "]");
}

static void get_reals(const double *items, char *text, size_t bytes)
{
    const uint32_t count = *reals_count(items);
    size_t used = 0;

    for (uint32_t i = 0; i < count && i < SP_LIST_MAX && used < bytes; i++) {
        char item[SP_REAL_BYTES];

        get_real(items[i], item, sizeof item);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i > 0 ? ", " : count > 1 ? "[" : "", item);
    }
    if (count > 1 && used < bytes)
        (void)snprintf(text + used, bytes - used, "]");
}

static const char *choice_name(const struct sp_key *key, unsigned value)
{
    for (unsigned i = 0; key->choices[i] != NULL; i++)
        if (i == value)
            return key->choices[i];
    return "?";
}

void sp_job_get(const struct sp_job *job, const struct sp_key *key, char *text, size_t bytes)
{
    const void *value = (const char *)job + key->offset;

    switch (key->type) {
    case SP_KEY_STRING:
        (void)snprintf(text, bytes, "%s", (const char *)value);
        break;
    case SP_KEY_UINT:
        if (key->bytes == sizeof(uint64_t))
            (void)snprintf(text, bytes, "%" PRIu64, *(const uint64_t *)value);
        else
            (void)snprintf(text, bytes, "%" PRIu32, *(const uint32_t *)value);
        break;
    case SP_KEY_REAL:
        get_real(*(const double *)value, text, bytes);
        break;
    case SP_KEY_BOOL:
        (void)snprintf(text, bytes, "%s", *(const bool *)value ? "true" : "false");
        break;
    case SP_KEY_CHOICE:
        (void)snprintf(text, bytes, "%s", choice_name(key, *(const unsigned *)value));
        break;
    case SP_KEY_UINT_LIST:
        get_uints(value, text, bytes);
        break;
    case SP_KEY_REAL_LIST:
        get_reals(value, text, bytes);
        break;
    case SP_KEY_RULES:
        sp_rules_write(value, text, bytes);
        break;
    }
}
