#include "server/files.h"

#include "common/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS 10
#define NAME_BYTES 64 /* of a name in a folder, with the slash */
#define FILES_MAX ((size_t)1 << 20)
#define SHOWN_BYTES 200

/* --- words -----------------------------------------------------------------------------------------------------------
 */

static const char *advice(int reason)
{
    switch (reason) {
    case ENOSPC:
    case EDQUOT:
        return "free space there";
    case EFBIG:
        return "raise the limit of files' sizes ('ulimit -f')";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files ('ulimit -n')";
    case EACCES:
    case EPERM:
    case EROFS:
        return "let signpostd write there, or choose another folder";
    case ENOENT:
    case ENOTDIR:
        return "the folder was moved or deleted: put it back";
    default:
        return "look after the disk";
    }
}

const char *sp_files_shown(const char *path)
{
    const size_t length = strlen(path);

    return length > SHOWN_BYTES ? path + length - SHOWN_BYTES : path;
}

int sp_files_error(struct sp_error *error, const char *verb, const char *path)
{
    const int reason = errno;

    return sp_error_set(error, SP_E_IO, "cannot %s %s: %s; %s", verb, sp_files_shown(path), strerror(reason),
                        advice(reason));
}

/* --- folders ---------------------------------------------------------------------------------------------------------
 */

static int check_length(const char *folder, struct sp_error *error)
{
    if (strlen(folder) > 0 && strlen(folder) < SP_FILES_PATH_BYTES - NAME_BYTES)
        return SP_OK;
    return sp_error_set(error, SP_E_RANGE, "a folder must have a name of 1 to %d bytes: %s",
                        SP_FILES_PATH_BYTES - NAME_BYTES - 1, sp_files_shown(folder));
}

int sp_files_make_folder(const char *folder, struct sp_error *error)
{
    int rc = check_length(folder, error);

    if (rc != SP_OK)
        return rc;
    if (mkdir(folder, 0777) != 0)
        return errno == EEXIST ? SP_OK : sp_files_error(error, "make the folder", folder);
    return sp_files_sync_parent(folder, error);
}

int sp_files_sync_folder(const char *folder, struct sp_error *error)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = SP_OK;

    if (fd < 0 && errno == EACCES) /* it may be written but not read: whoever made it so does without */
        return SP_OK;
    if (fd < 0)
        return sp_files_error(error, "open the folder", folder);
    if (fsync(fd) != 0 && errno != EINVAL) /* what some file systems that have nothing to sync there answer */
        rc = sp_files_error(error, "sync the folder", folder);
    (void)close(fd);
    return rc;
}

int sp_files_sync_parent(const char *path, struct sp_error *error)
{
    char parent[SP_FILES_PATH_BYTES];
    char *slash;

    (void)snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        return sp_files_sync_folder(".", error);
    slash[slash == parent] = '\0';
    return sp_files_sync_folder(parent, error);
}

/* --- names -----------------------------------------------------------------------------------------------------------
 */

void sp_files_path(const char *folder, uint32_t round, const char *suffix, char path[SP_FILES_PATH_BYTES])
{
    (void)snprintf(path, SP_FILES_PATH_BYTES, "%s/%0*u%s", folder, DIGITS, round, suffix);
}

bool sp_files_is_name(const char *name, const char *suffix, uint32_t *round)
{
    uint64_t value = 0;

    for (int i = 0; i < DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(name[i] - '0');
    }
    if (value > UINT32_MAX || strcmp(name + DIGITS, suffix) != 0)
        return false;
    *round = (uint32_t)value;
    return true;
}

static int by_round(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int append(uint32_t **rounds, size_t *count, size_t *room, uint32_t round)
{
    if (*count == *room) {
        size_t more = *room > 0 ? 2 * *room : 64;
        uint32_t *grown = more <= FILES_MAX ? realloc(*rounds, more * sizeof *grown) : NULL;

        if (grown == NULL)
            return more <= FILES_MAX ? SP_E_NOMEM : SP_E_RANGE;
        *rounds = grown;
        *room = more;
    }
    (*rounds)[(*count)++] = round;
    return SP_OK;
}

static int read_names(DIR *names, const char *folder, const char *suffix, uint32_t **rounds, size_t *count,
                      struct sp_error *error)
{
    const struct dirent *entry;
    size_t room = 0;
    uint32_t round;

    for (errno = 0; (entry = readdir(names)) != NULL; errno = 0) {
        int rc = sp_files_is_name(entry->d_name, suffix, &round) ? append(rounds, count, &room, round) : SP_OK;

        if (rc == SP_E_RANGE)
            return sp_error_set(error, rc, "more than %zu files in %s; delete the oldest", FILES_MAX,
                                sp_files_shown(folder));
        if (rc != SP_OK)
            return sp_error_set(error, rc, "no memory for the names of the files in %s", sp_files_shown(folder));
    }
    return errno == 0 ? SP_OK : sp_files_error(error, "read the folder", folder);
}

int sp_files_list(const char *folder, const char *suffix, uint32_t **rounds, size_t *count, struct sp_error *error)
{
    DIR *names;
    int rc = check_length(folder, error);

    *rounds = NULL;
    *count = 0;
    if (rc != SP_OK)
        return rc;
    names = opendir(folder);
    if (names == NULL)
        return errno == ENOENT ? SP_OK : sp_files_error(error, "read the folder", folder);
    rc = read_names(names, folder, suffix, rounds, count, error);
    (void)closedir(names);
    if (rc != SP_OK) {
        free(*rounds);
        *rounds = NULL;
        *count = 0;
        return rc;
    }
    if (*count > 1)
        qsort(*rounds, *count, sizeof **rounds, by_round);
    return SP_OK;
}

/* --- bytes -----------------------------------------------------------------------------------------------------------
 */

bool sp_files_write(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t n = parts->iov_len > 0 ? writev(fd, parts, count < IOV_MAX ? count : IOV_MAX) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0 && parts->iov_len > 0) {
            errno = EIO;
            return false;
        }
        for (; count > 0 && (size_t)n >= parts->iov_len; parts++, count--)
            n -= (ssize_t)parts->iov_len;
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return true;
}

static int write_new(const char *path, mode_t mode, struct iovec *parts, int count, struct sp_error *error)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode), rc = SP_OK;

    if (fd < 0)
        return sp_files_error(error, "write", path);
    if (!sp_files_write(fd, parts, count))
        rc = sp_files_error(error, "write", path);
    else if (fsync(fd) != 0)
        rc = sp_files_error(error, "sync", path);
    if (close(fd) != 0 && rc == SP_OK)
        rc = sp_files_error(error, "write", path);
    return rc;
}

int sp_files_replace(const char *path, mode_t mode, struct iovec *parts, int count, struct sp_error *error)
{
    char temporary[SP_FILES_PATH_BYTES];
    int rc;

    sp_assert(strlen(path) < sizeof temporary - sizeof SP_FILES_NEW);
    (void)snprintf(temporary, sizeof temporary, "%s" SP_FILES_NEW, path);
    rc = write_new(temporary, mode, parts, count, error);
    if (rc == SP_OK && rename(temporary, path) != 0)
        rc = sp_files_error(error, "rename", temporary);
    if (rc != SP_OK) {
        (void)unlink(temporary);
        return rc;
    }
    return sp_files_sync_parent(path, error);
}

int64_t sp_files_read(int fd, uint64_t at, void *to, size_t bytes)
{
    size_t got = 0;

    while (got < bytes) {
        ssize_t n = pread(fd, (uint8_t *)to + got, bytes - got, (off_t)(at + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (int64_t)got;
}
