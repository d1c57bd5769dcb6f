#include "common/job_yaml.h"

#include "common/check.h"
#include "common/job_parts.h"
#include "common/utf8.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <yaml.h>

#define HEAD "# The job of this run, as signpostd " SP_VERSION " took it: every key, with paths made absolute.\n"
#define GROUP_BYTES 64 /* more than any path in the table has */
#define FIRST_BYTES ((size_t)8192)

struct writer {
    yaml_emitter_t emitter;
    const struct sp_job *job;
    char *text; /* owned */
    size_t used, room;
    struct sp_error *error;
    int code; /* SP_OK as long as nothing failed */
};

/* What libyaml calls with each piece of the text; there is always room for a zero byte behind it. */
static int append(void *arg, unsigned char *bytes, size_t count)
{
    struct writer *w = arg;

    if (count >= w->room - w->used) {
        size_t room = 2 * (w->room + count) + FIRST_BYTES;
        char *text = realloc(w->text, room);

        if (text == NULL)
            return 0;
        w->text = text;
        w->room = room;
    }
    memcpy(w->text + w->used, bytes, count);
    w->used += count;
    w->text[w->used] = '\0';
    return 1;
}

/* --- events ----------------------------------------------------------------------------------------------------------
 */

/* Everything that libyaml is given here is well-formed: that it fails means that there is no memory. Takes the event.
 */
static bool emit(struct writer *w, yaml_event_t *event, int made)
{
    if (made != 0 && yaml_emitter_emit(&w->emitter, event) != 0)
        return true;
    w->code = sp_error_set(w->error, SP_E_NOMEM, "no memory for the job as a file");
    return false;
}

static bool emit_scalar(struct writer *w, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;

    return emit(
        w, &event,
        yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1, style));
}

static bool emit_plain(struct writer *w, const char *text)
{
    return emit_scalar(w, text, YAML_PLAIN_SCALAR_STYLE);
}

static bool emit_quoted(struct writer *w, const char *text)
{
    return emit_scalar(w, text, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

static bool begin_mapping(struct writer *w, yaml_mapping_style_t style)
{
    yaml_event_t event;

    return emit(w, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style));
}

static bool end_mapping(struct writer *w)
{
    yaml_event_t event;

    return emit(w, &event, yaml_mapping_end_event_initialize(&event));
}

static bool begin_list(struct writer *w)
{
    yaml_event_t event;

    return emit(w, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE));
}

static bool end_list(struct writer *w)
{
    yaml_event_t event;

    return emit(w, &event, yaml_sequence_end_event_initialize(&event));
}

/* --- strings ---------------------------------------------------------------------------------------------------------
 */

static bool is_utf8(const char *text)
{
    while (*text != '\0') {
        size_t bytes = sp_utf8_bytes(text);

        if (bytes == 0)
            return false;
        text += bytes;
    }
    return true;
}

/* Whether no reader of YAML takes the text, without quotes, for anything but itself. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    const bool begins = (text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z') || text[0] == '/';

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    return begins && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+")] == '\0';
}

/* A pattern that has become longer by the folder before it: of the whole only `own` at its end is the job's, as where
 * data are loaded (worker/train/load.c). There a file of that very name comes before any pattern. */
static void escape_folder(char path[SP_VALUE_BYTES], const char *own)
{
    const size_t folder = strlen(path) - strlen(own);
    char escaped[SP_VALUE_BYTES];
    size_t used = 0;

    if (access(path, F_OK) == 0)
        return;
    for (size_t i = 0; path[i] != '\0' && used < sizeof escaped - 2; i++) { /* a cut one is far too long for a key */
        if (i < folder && strchr("*?[\\", path[i]) != NULL)
            escaped[used++] = '\\';
        escaped[used++] = path[i];
    }
    escaped[used] = '\0';
    memcpy(path, escaped, used + 1);
}

/* Writes a path of the job as an absolute one. Links and ".." stay: it is that of the job with a folder before it. */
static int make_absolute(const struct sp_job *job, const struct sp_key *key, char path[SP_VALUE_BYTES],
                         struct sp_error *error)
{
    const char *own = (const char *)job + key->offset;
    char joined[2 * SP_STRING_BYTES], folder[SP_VALUE_BYTES - 2 * SP_STRING_BYTES] = "";

    path[0] = '\0';
    sp_job_path(job, own, joined, sizeof joined);
    if (joined[0] == '\0')
        return SP_OK;
    if (joined[0] != '/' && getcwd(folder, sizeof folder - 1) == NULL)
        return sp_error_set(error, errno == ERANGE ? SP_E_RANGE : SP_E_IO,
                            "%s: the path of the working folder is not to be had: %s", key->path, strerror(errno));
    (void)snprintf(path, SP_VALUE_BYTES, "%s%s%s", folder, joined[0] == '/' || strcmp(folder, "/") == 0 ? "" : "/",
                   joined);
    if ((key->flags & SP_KEY_PATTERN) != 0)
        escape_folder(path, own);
    if (strlen(path) >= key->bytes)
        return sp_error_set(error, SP_E_RANGE,
                            "%s: the file's absolute path has %zu bytes; at most %zu are allowed: use a folder with a "
                            "shorter path",
                            key->path, strlen(path), key->bytes - 1);
    return SP_OK;
}

static bool emit_string(struct writer *w, const struct sp_key *key)
{
    char text[SP_VALUE_BYTES];

    if ((key->flags & SP_KEY_PATH) == 0)
        sp_job_get(w->job, key, text, sizeof text);
    else
        w->code = make_absolute(w->job, key, text, w->error);
    if (w->code == SP_OK && !is_utf8(text))
        w->code =
            sp_error_set(w->error, SP_E_UNSUPPORTED,
                         "%s: '%.200s' is not UTF-8, as a job file must be; give it another name", key->path, text);
    if (w->code != SP_OK)
        return false;
    return is_plain(text) ? emit_plain(w, text) : emit_quoted(w, text);
}

/* --- keys ------------------------------------------------------------------------------------------------------------
 */

/* Items as sp_job_get() writes them: "[64, 32]". */
static bool emit_list(struct writer *w, char *text)
{
    bool good = begin_list(w);
    char *rest = NULL;

    for (char *item = strtok_r(text, "[, ]", &rest); good && item != NULL; item = strtok_r(NULL, "[, ]", &rest))
        good = emit_plain(w, item);
    return good && end_list(w);
}

static bool emit_rule(struct writer *w, const struct sp_tensor_rule *rule)
{
    bool good = begin_mapping(w, YAML_FLOW_MAPPING_STYLE) && emit_plain(w, "match") && emit_quoted(w, rule->match);

    if (good && rule->update != SP_RULE_UPDATE_AS_IS)
        good = emit_plain(w, "update") && emit_plain(w, rule->update == SP_RULE_UPDATE_VOTE ? "vote" : "full");
    if (good && rule->decay != SP_RULE_DECAY_AS_IS)
        good = emit_plain(w, "decay") && emit_plain(w, rule->decay == SP_RULE_DECAY_YES ? "true" : "false");
    return good && end_mapping(w);
}

static bool emit_rules(struct writer *w, const struct sp_tensor_rules *rules)
{
    bool good = begin_list(w);

    for (uint32_t i = 0; good && i < rules->count; i++)
        good = emit_rule(w, &rules->rule[i]);
    return good && end_list(w);
}

static bool emit_value(struct writer *w, const struct sp_key *key)
{
    char text[SP_VALUE_BYTES];

    switch (key->type) {
    case SP_KEY_STRING:
        return emit_string(w, key);
    case SP_KEY_RULES:
        return emit_rules(w, &w->job->tensors);
    default:
        sp_job_get(w->job, key, text, sizeof text);
        return text[0] == '[' ? emit_list(w, text) : emit_plain(w, text);
    }
}

/* The path of the group's member that `path` is or is in; false if it is not in the group. */
static bool member_of(const char *group, const char *path, char member[GROUP_BYTES])
{
    size_t length = group[0] == '\0' ? 0 : strlen(group) + 1;

    if (length > 0 && !sp_path_is_under(path, group))
        return false;
    length += strcspn(path + length, ".");
    sp_assert(length < GROUP_BYTES);
    (void)snprintf(member, GROUP_BYTES, "%.*s", (int)length, path);
    return true;
}

static bool is_first_of(size_t index, const char *member)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(sp_job_keys[i].path, member) == 0 || sp_path_is_under(sp_job_keys[i].path, member))
            return false;
    return true;
}

/* The table of keys bounds how deep this calls itself. */
static bool emit_group(struct writer *w, const char *group)
{
    const size_t skip = group[0] == '\0' ? 0 : strlen(group) + 1;
    bool good = begin_mapping(w, YAML_BLOCK_MAPPING_STYLE);

    for (size_t i = 0; good && i < sp_job_keys_count; i++) {
        char member[GROUP_BYTES];
        const struct sp_key *key;

        if (!member_of(group, sp_job_keys[i].path, member) || !is_first_of(i, member))
            continue;
        key = sp_job_key(member);
        if (key != NULL && key->offset == offsetof(struct sp_job, server.close) &&
            w->job->server.close == SP_CLOSE_QUORUM)
            key = NULL; /* a word or a group: of the quorum only the group says how many */
        good = emit_plain(w, member + skip);
        good = good && (key != NULL ? emit_value(w, key) : emit_group(w, member));
    }
    return good && end_mapping(w);
}

static bool emit_document(struct writer *w)
{
    yaml_event_t event;

    return emit(w, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
           emit(w, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) && emit_group(w, "") &&
           emit(w, &event, yaml_document_end_event_initialize(&event, 1)) &&
           emit(w, &event, yaml_stream_end_event_initialize(&event));
}

int sp_job_yaml(const struct sp_job *job, char **text, struct sp_error *error)
{
    struct writer w = {.job = job, .error = error};
    char head[] = HEAD;

    if (yaml_emitter_initialize(&w.emitter) == 0 || append(&w, (unsigned char *)head, strlen(head)) == 0) {
        yaml_emitter_delete(&w.emitter);
        return sp_error_set(error, SP_E_NOMEM, "no memory for the job as a file");
    }
    yaml_emitter_set_output(&w.emitter, append, &w);
    yaml_emitter_set_unicode(&w.emitter, 1);
    yaml_emitter_set_width(&w.emitter, -1); /* a long string stays in one line */
    (void)emit_document(&w);
    yaml_emitter_delete(&w.emitter);
    if (w.code != SP_OK) {
        free(w.text);
        return w.code;
    }
    *text = w.text;
    return SP_OK;
}
