/* What messages say of keys and of what was given for them. */
#include "common/job_parts.h"

#include "common/rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 64 /* more than any path in the table has */

const char *sp_job_quote(const char *text, char out[SP_QUOTED_BYTES])
{
    size_t used = 0;

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (used > SP_QUOTED_BYTES - 8) {
            while (used > 0 && ((unsigned char)out[used - 1] & 0xc0) == 0x80) /* no half of a UTF-8 character */
                used--;
            if (used > 0 && (unsigned char)out[used - 1] >= 0xc0)
                used--;
            used += (size_t)snprintf(out + used, SP_QUOTED_BYTES - used, "...");
            break;
        }
        if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(out + used, SP_QUOTED_BYTES - used, "\\x%02X", c);
        else
            out[used++] = (char)c;
    }
    out[used] = '\0';
    return out;
}

static void allowed_choices(const struct sp_key *key, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; key->choices[i] != NULL && used < bytes; i++) {
        const char *joint = i == 0 ? "" : key->choices[i + 1] == NULL ? " or " : ", ";

        used += (size_t)snprintf(text + used, bytes - used, "%s%s", joint, key->choices[i]);
    }
}

static void allowed_real(const struct sp_key *key, char *text, size_t bytes)
{
    const char *min = (key->flags & SP_KEY_POSITIVE) != 0 ? "more than" : "at least";
    const char *max = (key->flags & SP_KEY_BELOW) != 0 ? "less than" : "at most";

    (void)snprintf(text, bytes, "a number of %s %.9g and %s %.9g", min, key->min, max, key->max);
}

static void allowed_string(const struct sp_key *key, char *text, size_t bytes)
{
    const char *some = (key->flags & SP_KEY_REQUIRED) != 0 ? "1 to" : "at most";

    if ((key->flags & SP_KEY_NAME) != 0)
        (void)snprintf(text, bytes,
                       "a name of %s %zu letters, digits, '.', '_' and '-' that begins with a letter or digit", some,
                       key->bytes - 1);
    else
        (void)snprintf(text, bytes, "a text of %s %zu bytes without control characters", some, key->bytes - 1);
}

void sp_job_allowed(const struct sp_key *key, char *text, size_t bytes)
{
    switch (key->type) {
    case SP_KEY_STRING:
        allowed_string(key, text, bytes);
        break;
    case SP_KEY_UINT:
        if (key->max >= UINT64_AS_REAL)
            (void)snprintf(text, bytes, "a whole number from %.0f to %" PRIu64, key->min, UINT64_MAX);
        else
            (void)snprintf(text, bytes, "a whole number from %.0f to %.0f", key->min, key->max);
        break;
    case SP_KEY_REAL:
        allowed_real(key, text, bytes);
        break;
    case SP_KEY_BOOL:
        (void)snprintf(text, bytes, "true or false");
        break;
    case SP_KEY_CHOICE:
        allowed_choices(key, text, bytes);
        break;
    case SP_KEY_UINT_LIST:
        (void)snprintf(text, bytes, "a list of at most %d whole numbers from %.0f to %.0f, such as [64, 32]",
                       SP_LIST_MAX, key->min, key->max);
        break;
    case SP_KEY_REAL_LIST:
        allowed_real(key, text, bytes);
        (void)snprintf(text + strlen(text), bytes - strlen(text), ", or a list of 1 to %d of them, such as [0.5, 0.25]",
                       SP_LIST_MAX);
        break;
    case SP_KEY_RULES:
        (void)snprintf(text, bytes, "a list of at most %d rules, such as [{match: \"bn*\", update: full}]",
                       SP_RULES_MAX);
        break;
    }
}

/* The nearest known path. */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits from a to b, each an insertion, a deletion, a replacement or a swap of two neighbours ('optimal string
 * alignment'). Both are shorter than PATH_BYTES. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][PATH_BYTES];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    size_t length = strlen(b);

    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= length; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= strlen(a); i++) {
        unsigned *oldest = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= length; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = last;
        last = row;
        row = oldest;
    }
    return last[length];
}

struct nearest {
    char path[PATH_BYTES]; /* "" if none is near enough */
    unsigned distance;
};

/* Counts edits only from the first component that differs, and allows one in three characters. */
static void consider(const char *path, const char *candidate, struct nearest *nearest)
{
    size_t same = 0, length;
    unsigned distance;

    if (sp_path_is_under(path, candidate)) /* a group that was found is not what was meant */
        return;
    for (size_t i = 0; path[i] == candidate[i] && path[i] != '\0'; i++)
        if (path[i] == '.')
            same = i + 1;
    length = strlen(path + same);
    distance = edit_distance(path + same, candidate + same);
    if (distance < nearest->distance && distance <= least((unsigned)(length + 2) / 3, 4)) {
        nearest->distance = distance;
        (void)snprintf(nearest->path, sizeof nearest->path, "%s", candidate);
    }
}

/* Whether `candidate` is `tail`, or ends with it after a dot. */
static bool ends_with(const char *candidate, const char *tail)
{
    size_t length = strlen(candidate), tail_length = strlen(tail);

    if (length < tail_length || strcmp(candidate + length - tail_length, tail) != 0)
        return false;
    return length == tail_length || candidate[length - tail_length - 1] == '.';
}

/* A key that was put in the wrong place, or without its groups: found by its last components, if only one key has them.
 */
static void consider_tails(const char *path, struct nearest *nearest)
{
    for (const char *tail = path; tail != NULL; tail = strchr(tail, '.')) {
        const char *found = NULL;
        unsigned count = 0;

        tail += *tail == '.';
        for (size_t i = 0; i < sp_job_keys_count; i++) {
            if (ends_with(sp_job_keys[i].path, tail)) {
                found = sp_job_keys[i].path;
                count++;
            }
        }
        if (count == 1) {
            (void)snprintf(nearest->path, sizeof nearest->path, "%s", found);
            return;
        }
    }
}

static void find_nearest(const char *path, struct nearest *nearest)
{
    nearest->path[0] = '\0';
    nearest->distance = PATH_BYTES;
    if (path[0] == '\0' || strlen(path) >= PATH_BYTES)
        return;
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *known = sp_job_keys[i].path;

        consider(path, known, nearest);
        for (const char *dot = strchr(known, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            char group[PATH_BYTES];

            (void)snprintf(group, sizeof group, "%.*s", (int)(dot - known), known);
            consider(path, group, nearest);
        }
    }
    if (nearest->path[0] == '\0')
        consider_tails(path, nearest);
}

int sp_words_refuse_path(const char *path, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];
    struct nearest nearest;

    sp_job_quote(path, quoted);
    for (size_t i = 0; i < sp_job_keys_count; i++)
        if (sp_path_is_under(sp_job_keys[i].path, path))
            return sp_error_set(error, SP_E_UNKNOWN, "'%s' is a group of keys; name one of them, such as '%s'", quoted,
                                sp_job_keys[i].path);
    find_nearest(path, &nearest);
    if (nearest.path[0] != '\0')
        return sp_error_set(error, SP_E_UNKNOWN, "unknown key '%s'; did you mean '%s'?", quoted, nearest.path);
    return sp_error_set(error, SP_E_UNKNOWN, "unknown key '%s'; README.md lists all keys", quoted);
}

/* Reads them once more for the words: what is wrong in a long text must be said to be found. */
static int refuse_rules(const struct sp_key *key, const char *value, struct sp_error *error)
{
    struct sp_tensor_rules rules;
    int rc = sp_rules_parse(&rules, value, error);

    (void)sp_error_prefix(error, "%s", key->path);
    return rc;
}

int sp_words_refuse_value(const struct sp_key *key, int code, const char *value, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES], allowed[256];

    if (key->type == SP_KEY_RULES && value[0] == '[')
        return refuse_rules(key, value, error);
    sp_job_quote(value, quoted);
    sp_job_allowed(key, allowed, sizeof allowed);
    return sp_error_set(error, (enum sp_code)code, "%s: must be %s, not '%s'", key->path, allowed, quoted);
}
