#include "deploy/tool/launch.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 1024

struct place {
    const char *path;
    unsigned line;
};

static int fail(const struct place *at, struct sp_error *error, const char *words, const char *what)
{
    return sp_error_set(error, SP_E_SYNTAX, "%s:%u: %s '%s'", at->path, at->line, words, what);
}

static int parse_slots(struct launch_host *host, const char *text, const struct place *at, struct sp_error *error)
{
    char *end;
    unsigned long slots = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || slots < 1 || slots > SP_WORKERS_MAX)
        return fail(at, error, "slots= takes a number from 1 to 255, not", text);
    if (host->slots > 0)
        return fail(at, error, "slots= stands there twice; the second time with", text);
    host->slots = (unsigned)slots;
    return SP_OK;
}

static int parse_dir(struct launch_host *host, const char *text, const struct place *at, struct sp_error *error)
{
    if (text[0] != '/')
        return fail(at, error, "dir= takes an absolute path, not", text);
    if (strlen(text) >= sizeof host->dir)
        return fail(at, error, "this path is too long:", text);
    if (host->dir[0] != '\0')
        return fail(at, error, "dir= stands there twice; the second time with", text);
    (void)strcpy(host->dir, text);
    return SP_OK;
}

static int parse_setting(struct launch_host *host, const char *word, const struct place *at, struct sp_error *error)
{
    if (strncmp(word, "slots=", 6) == 0)
        return parse_slots(host, word + 6, at, error);
    if (strncmp(word, "dir=", 4) == 0)
        return parse_dir(host, word + 4, at, error);
    return fail(at, error, "a line is HOST, then slots=N and dir=PATH if need be; this is neither:", word);
}

static int parse_name(struct launch_host *host, const char *word, const struct place *at, struct sp_error *error)
{
    if (word[0] == '-') /* ssh would take it for an option */
        return fail(at, error, "a host's name does not begin with a dash:", word);
    if (strlen(word) >= sizeof host->name)
        return fail(at, error, "this name is too long:", word);
    (void)strcpy(host->name, word);
    return SP_OK;
}

static int parse_line(struct launch_hosts *hosts, char *line, const struct place *at, struct sp_error *error)
{
    struct launch_host *host = &hosts->host[hosts->count];
    char *rest = NULL;
    int rc;

    line[strcspn(line, "#")] = '\0';
    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL; word = strtok_r(NULL, " \t\r", &rest)) {
        if (hosts->count == LAUNCH_HOSTS_MAX)
            return fail(at, error, "there are 255 hosts already; this is one too many:", word);
        rc = host->name[0] == '\0' ? parse_name(host, word, at, error) : parse_setting(host, word, at, error);
        if (rc != SP_OK)
            return rc;
    }
    if (hosts->count < LAUNCH_HOSTS_MAX && host->name[0] != '\0') {
        host->slots = host->slots > 0 ? host->slots : 1;
        hosts->count++;
        hosts->slots += host->slots;
    }
    return SP_OK;
}

int launch_hosts_parse(struct launch_hosts *hosts, const char *path, const char *text, struct sp_error *error)
{
    struct place at = {path, 0};
    char line[LINE_BYTES];
    int rc = SP_OK;

    memset(hosts, 0, sizeof *hosts);
    while (rc == SP_OK && *text != '\0') {
        size_t bytes = strcspn(text, "\n");

        at.line++;
        if (bytes >= sizeof line)
            return sp_error_set(error, SP_E_SYNTAX, "%s:%u: a line of more than %d bytes", path, at.line,
                                LINE_BYTES - 1);
        memcpy(line, text, bytes);
        line[bytes] = '\0';
        if (strlen(line) < bytes)
            return sp_error_set(error, SP_E_SYNTAX, "%s:%u: a NUL byte: this is no text", path, at.line);
        rc = parse_line(hosts, line, &at, error);
        text += bytes + (text[bytes] == '\n');
    }
    if (rc == SP_OK && hosts->count == 0)
        return sp_error_set(error, SP_E_MISSING,
                            "%s names no host: it wants a line for each, such as 'user@host slots=2'", path);
    return rc;
}

const struct launch_host *launch_host_of(const struct launch_hosts *hosts, unsigned worker)
{
    for (unsigned i = 0; i < hosts->count; i++) {
        if (worker < hosts->host[i].slots)
            return &hosts->host[i];
        worker -= hosts->host[i].slots;
    }
    return NULL;
}

bool launch_host_is_here(const struct launch_host *host)
{
    const char *at = strrchr(host->name, '@');
    const char *name = at != NULL ? at + 1 : host->name;

    return strcmp(name, "localhost") == 0 || strncmp(name, "127.", 4) == 0 || strcmp(name, "::1") == 0;
}
