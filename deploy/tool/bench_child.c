#include "deploy/tool/bench.h"

#include "common/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64
#define LOG_LINES 3
#define LOG_LINE_BYTES 132 /* so that they find room in an error's words */

int bench_children_init(struct bench_children *children, struct sp_error *error)
{
    memset(children, 0, sizeof *children);
    if (pipe2(children->leash, O_CLOEXEC) != 0)
        return sp_error_set(error, SP_E_IO, "cannot make a pipe: %s", strerror(errno));
    return SP_OK;
}

/* --- the command -----------------------------------------------------------------------------------------------------
 */

/* Appends the words of a prefix, %d replaced, in memory of `room`. */
static bool add_prefix(const char *prefix, unsigned number, char *room, size_t bytes, char **command, size_t *count)
{
    const char *at = prefix;
    size_t used = 0;

    while (*(at += strspn(at, " \t")) != '\0') {
        if (*count + 1 >= WORDS_MAX)
            return false;
        command[(*count)++] = room + used;
        while (*at != '\0' && *at != ' ' && *at != '\t' && used + 16 < bytes) {
            if (at[0] == '%' && at[1] == 'd') {
                used += (size_t)sprintf(room + used, "%u", number);
                at += 2;
            } else {
                room[used++] = *at++;
            }
        }
        room[used++] = '\0';
        if (used + 16 >= bytes)
            return false;
    }
    return true;
}

/* In the child, between fork and exec. */
static _Noreturn void become(char **command, int log, int input, pid_t parent)
{
    sp_assert(command[0] != NULL);
    (void)setpgid(0, 0); /* a terminal's Ctrl-C is for the program that started us, which then ends us in order */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(input, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(127);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)execvp(command[0], command);
    (void)dprintf(STDERR_FILENO, "cannot start %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

int bench_child_start(struct bench_children *children, const char *name, const char *log, const char *prefix,
                      unsigned number, char *const arguments[], struct sp_error *error)
{
    struct bench_child *child = &children->child[children->count];
    char *command[WORDS_MAX + 1], room[2048];
    size_t count = 0;
    pid_t parent = getpid();
    int fd;

    if (prefix != NULL && !add_prefix(prefix, number, room, sizeof room, command, &count))
        return sp_error_set(error, SP_E_RANGE, "the prefix '%s' is too long", prefix);
    for (size_t i = 0; arguments[i] != NULL && count < WORDS_MAX; i++)
        command[count++] = arguments[i];
    command[count] = NULL;
    (void)snprintf(child->name, sizeof child->name, "%s", name);
    (void)snprintf(child->log, sizeof child->log, "%s", log);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot write %s: %s", log, strerror(errno));
    child->pid = fork();
    if (child->pid == 0)
        become(command, fd, children->leash[0], parent);
    (void)close(fd);
    if (child->pid < 0) {
        child->pid = 0;
        return sp_error_set(error, SP_E_IO, "cannot start %s: %s", name, strerror(errno));
    }
    children->count++;
    return SP_OK;
}

/* --- how they end ----------------------------------------------------------------------------------------------------
 */

void bench_log_end(const char *log, struct sp_error *error)
{
    char lines[LOG_LINES][LOG_LINE_BYTES] = {{0}}, next[1024];
    FILE *file = fopen(log, "re");
    unsigned count = 0;
    size_t used = strlen(error->text);

    while (file != NULL && fgets(next, sizeof next, file) != NULL) {
        next[strcspn(next, "\n")] = '\0';
        if (next[0] != '\0')
            (void)snprintf(lines[count++ % LOG_LINES], LOG_LINE_BYTES, "%.*s", LOG_LINE_BYTES - 1, next);
    }
    if (file != NULL)
        (void)fclose(file);
    if (count == 0 && used < sizeof error->text)
        (void)snprintf(error->text + used, sizeof error->text - used, " (it is empty)");
    for (unsigned i = count > LOG_LINES ? count - LOG_LINES : 0; i < count && used < sizeof error->text; i++)
        used += (size_t)snprintf(error->text + used, sizeof error->text - used, "\n    %s", lines[i % LOG_LINES]);
}

/* It has ended, with this status of waitpid(). */
static int explain(struct bench_child *child, int status, struct sp_error *error)
{
    child->pid = 0;
    if (WIFSIGNALED(status))
        (void)sp_error_set(error, SP_E_CLOSED, "%s was killed by signal %d; the end of its log:", child->name,
                           WTERMSIG(status));
    else
        (void)sp_error_set(error, SP_E_CLOSED, "%s ended with exit code %d; the end of its log:", child->name,
                           WEXITSTATUS(status));
    bench_log_end(child->log, error);
    return SP_E_CLOSED;
}

int bench_children_check(struct bench_children *children, struct sp_error *error)
{
    int rc = SP_OK;

    for (unsigned i = 0; i < children->count; i++) {
        struct bench_child *child = &children->child[i];
        int status;

        if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        /* The server first: when it is gone the others fail as well, and its words say why. */
        if (rc == SP_OK)
            rc = explain(child, status, error);
        child->pid = 0;
    }
    return rc;
}

int bench_child_end(struct bench_child *child, double patience_s, struct sp_error *error)
{
    double until = bench_seconds() + patience_s;
    int status;

    while (child->pid != 0) {
        if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                child->pid = 0;
                return SP_OK;
            }
            return explain(child, status, error);
        }
        if (bench_seconds() > until) {
            (void)sp_error_set(error, SP_E_TIMEOUT, "%s did not end within %.0f s; the end of its log:", child->name,
                               patience_s);
            bench_log_end(child->log, error);
            return SP_E_TIMEOUT;
        }
        bench_sleep_ms(5);
    }
    return SP_OK;
}

void bench_children_finish(struct bench_children *children)
{
    for (unsigned i = 0; i < children->count; i++) {
        struct bench_child *child = &children->child[i];

        if (child->pid == 0)
            continue;
        (void)kill(-child->pid, SIGKILL); /* and what a prefix has started */
        (void)kill(child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
        child->pid = 0;
    }
    for (int i = 0; i < 2 && children->leash[1] > 0; i++)
        (void)close(children->leash[i]);
}
