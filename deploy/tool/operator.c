#include "common/cli.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_SECONDS_MAX 5
#define FILE_BYTES 1300 /* of the path of a run's file */
#define ANSWER_BYTES_MAX (4u * 1024u * 1024u)

/* A run that has come to its end has nobody to ask, but a result. */
static int no_server(const char *folder, const char *socket_path, int code, struct sp_error *error)
{
    char path[FILE_BYTES];
    json_t *summary;
    const char *outcome;

    (void)snprintf(path, sizeof path, "%s/summary.json", folder);
    summary = code == ENOENT ? json_load_file(path, 0, NULL) : NULL;
    outcome = json_string_value(json_object_get(summary, "outcome"));
    if (outcome != NULL)
        (void)sp_error_set(error, SP_E_IO, "no server runs in %s: %s; 'signpost watch %s' shows the result", folder,
                           outcome, folder);
    else
        (void)sp_error_set(error, SP_E_IO, "no server runs in %s (%s: %s)", folder, socket_path, strerror(code));
    json_decref(summary);
    return error->code;
}

/* A wait with a time limit, as these are, ends with EINTR even when a stopped process is merely continued. */
static int connect_again(int fd, const struct sockaddr_un *address)
{
    int rc;

    do
        rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    while (rc != 0 && errno == EINTR);
    return rc;
}

static int connect_to(const char *folder, struct sp_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS_MAX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s/signpostd.sock", folder);
    int fd;

    if (n < 0 || (size_t)n >= sizeof address.sun_path)
        return sp_error_set(error, SP_E_RANGE, "%s/signpostd.sock is too long for a socket's path", folder);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot make a socket: %s", strerror(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect_again(fd, &address) != 0) {
        int code = errno;

        (void)close(fd);
        return no_server(folder, address.sun_path, code, error);
    }
    return fd;
}

/* jansson calls a string that it has no memory for a syntax error: what it allocates is watched instead, in every
 * thread that reads an answer. */
static _Thread_local bool no_memory;
static pthread_once_t watched = PTHREAD_ONCE_INIT;

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);

    no_memory = no_memory || memory == NULL;
    return memory;
}

static void watch_memory(void)
{
    json_set_alloc_funcs(allocate, free);
}

static json_t *read_answer(int fd, const char *folder, struct sp_error *error)
{
    char *text = malloc(ANSWER_BYTES_MAX);
    json_t *answer = NULL;
    size_t used = 0;
    ssize_t n = 0;

    if (text == NULL) {
        (void)sp_error_set(error, SP_E_NOMEM, "out of memory");
        return NULL;
    }
    do {
        n = read(fd, text + used, ANSWER_BYTES_MAX - used);
        used += n > 0 ? (size_t)n : 0;
    } while ((n > 0 && used < ANSWER_BYTES_MAX) || (n < 0 && errno == EINTR));
    (void)pthread_once(&watched, watch_memory);
    no_memory = false;
    if (n == 0)
        answer = json_loadb(text, used, 0, NULL);
    if (no_memory) { /* jansson may even have gone on, without a key */
        json_decref(answer);
        answer = NULL;
        (void)sp_error_set(error, SP_E_NOMEM, "no memory for the answer of the server in %s", folder);
    } else if (answer == NULL) {
        (void)sp_error_set(error, SP_E_IO, "the server in %s gave no answer that can be read within %d s", folder,
                           ANSWER_SECONDS_MAX);
    }
    free(text);
    return answer;
}

bool tool_send_all(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;

    while (count > 0) {
        ssize_t n = send(fd, at, count, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        count -= (size_t)n;
    }
    return true;
}

json_t *tool_take_refusal(json_t *answer, const char *who, const char *line, struct sp_error *error)
{
    const char *words = json_string_value(json_object_get(answer, "error"));

    if (words == NULL)
        return answer;
    (void)sp_error_set(error, SP_E_REJECTED, "the server %s refused '%s': %s", who, line, words);
    json_decref(answer);
    return NULL;
}

json_t *tool_ask(const char *folder, const char *line, struct sp_error *error)
{
    int fd = connect_to(folder, error);
    char who[1300];
    json_t *answer = NULL;

    if (fd < 0)
        return NULL;
    if (tool_send_all(fd, line, strlen(line)) && tool_send_all(fd, "\n", 1))
        answer = read_answer(fd, folder, error);
    else
        (void)sp_error_set(error, SP_E_IO, "cannot write to the server in %s: %s", folder, strerror(errno));
    (void)close(fd);
    (void)snprintf(who, sizeof who, "in %s", folder);
    return tool_take_refusal(answer, who, line, error);
}

/* A job file that has a history beside it. */
static bool is_of_run(const char *path, char *folder, size_t bytes)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    char history[FILE_BYTES];
    struct stat status;

    if (strcmp(name, "job.yaml") != 0 || stat(path, &status) != 0 || S_ISDIR(status.st_mode))
        return false;
    (void)snprintf(folder, bytes, "%.*s", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
    (void)snprintf(history, sizeof history, "%s/history.jsonl", folder);
    return access(history, F_OK) == 0;
}

int tool_folder(const char *argument, char *folder, size_t bytes)
{
    static const struct sp_sets none;
    static struct sp_job job;
    struct stat status;

    if (is_of_run(argument, folder, bytes))
        return SP_EXIT_DONE;
    if (stat(argument, &status) != 0) {
        (void)fprintf(stderr, TOOL ": %s: %s; name a run's folder or a job file\n", argument, strerror(errno));
        return SP_EXIT_USAGE;
    }
    if (S_ISDIR(status.st_mode)) {
        (void)snprintf(folder, bytes, "%s", argument);
        return SP_EXIT_DONE;
    }
    if (sp_cli_load(TOOL, argument, &none, &job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    (void)snprintf(folder, bytes, "runs/%s", job.job);
    return SP_EXIT_DONE;
}
