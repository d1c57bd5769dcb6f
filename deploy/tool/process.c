#include "deploy/tool/process.h"

#include "common/error.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

void tool_find_program(const char *name, const char *in_build, char *path, size_t bytes)
{
    char self[PATH_MAX], folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    (void)snprintf(path, bytes, "%s", name);
    if (n <= 0)
        return;
    self[n] = '\0';
    (void)snprintf(folder, sizeof folder, "%s", dirname(self));
    if ((size_t)snprintf(path, bytes, "%s/%s", folder, name) < bytes && access(path, X_OK) == 0)
        return;
    if ((size_t)snprintf(path, bytes, "%s/../../%s/%s", folder, in_build, name) < bytes && access(path, X_OK) == 0)
        return;
    (void)snprintf(path, bytes, "%s", name);
}

int tool_spawn_to(uv_loop_t *loop, uv_process_t *process, char **arguments, int fd, unsigned flags, uv_exit_cb on_exit)
{
    uv_stdio_container_t streams[3] = {{.flags = UV_IGNORE}};
    uv_process_options_t options = {.exit_cb = on_exit, .file = arguments[0], .args = arguments, .flags = flags};
    int rc;

    for (int i = 1; i < 3; i++) {
        streams[i].flags = UV_INHERIT_FD;
        streams[i].data.fd = fd;
    }
    options.stdio = streams;
    options.stdio_count = 3;
    rc = uv_spawn(loop, process, &options);
    if (rc == 0)
        return SP_OK;
    uv_close((uv_handle_t *)process, NULL);
    if (rc == UV_ENOENT)
        return SP_E_MISSING;
    (void)fprintf(stderr, TOOL ": cannot start %s: %s\n", arguments[0], uv_strerror(rc));
    return SP_E_IO;
}

int tool_spawn(uv_loop_t *loop, uv_process_t *process, char **arguments, const char *log, unsigned flags,
               uv_exit_cb on_exit)
{
    int fd = log != NULL ? open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666) : STDERR_FILENO;
    int rc;

    if (fd < 0) {
        (void)fprintf(stderr, TOOL ": cannot write %s: %s\n", log, strerror(errno));
        return SP_E_IO;
    }
    rc = tool_spawn_to(loop, process, arguments, fd, flags, on_exit);
    if (log != NULL)
        (void)close(fd);
    return rc;
}

void tool_last_line(const char *path, const char *but, char *line, size_t bytes)
{
    FILE *file = fopen(path, "re");
    char next[512];

    line[0] = '\0';
    while (file != NULL && fgets(next, (int)sizeof next, file) != NULL) {
        next[strcspn(next, "\n")] = '\0';
        if (next[0] != '\0' && (but == NULL || strstr(next, but) == NULL))
            (void)snprintf(line, bytes, "%.*s", (int)bytes - 1, next);
    }
    if (file != NULL)
        (void)fclose(file);
}

void tool_line_with(const char *path, const char *words, char *line, size_t bytes)
{
    FILE *file = fopen(path, "re");
    char next[512];

    line[0] = '\0';
    while (file != NULL && line[0] == '\0' && fgets(next, (int)sizeof next, file) != NULL) {
        next[strcspn(next, "\n")] = '\0';
        if (strstr(next, words) != NULL)
            (void)snprintf(line, bytes, "%.*s", (int)bytes - 1, next);
    }
    if (file != NULL)
        (void)fclose(file);
}
