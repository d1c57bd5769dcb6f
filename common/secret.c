#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define HINT "make one with: signpost token %s"

/* What others must not be able to do with the file: read or write it; nor the group write it. */
#define FORBIDDEN (S_IRWXO | S_IWGRP)

void sp_secret_forget(struct sp_secret *secret)
{
    explicit_bzero(secret, sizeof *secret);
}

int sp_random_bytes(void *out, size_t bytes, struct sp_error *error)
{
    uint8_t *at = out;

    while (bytes > 0) {
        ssize_t n = getrandom(at, bytes, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sp_error_set(error, SP_E_IO, "the system has no random bytes: %s", strerror(errno));
        at += n;
        bytes -= (size_t)n;
    }
    return SP_OK;
}

/* Bytes of ASCII, whatever the program's locale. */
static bool is_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Of a hexadecimal digit. */
static unsigned value_of(uint8_t c)
{
    return c <= '9' ? c - (unsigned)'0' : (c | 0x20u) - 'a' + 10u;
}

/* Whether it is hexadecimal text; *first and *count then say where the digits are. */
static bool find_digits(const uint8_t *file, size_t bytes, size_t *first, size_t *count)
{
    size_t from = 0, to = bytes;

    while (from < to && is_space(file[from]))
        from++;
    while (to > from && is_space(file[to - 1]))
        to--;
    for (size_t i = from; i < to; i++)
        if (!is_digit(file[i]))
            return false;
    *first = from;
    *count = to - from;
    return *count % 2 == 0 && *count >= 2 * SP_SECRET_BYTES_MIN;
}

int sp_secret_parse(struct sp_secret *secret, const uint8_t *file, size_t bytes, const char *path,
                    struct sp_error *error)
{
    size_t first = 0, count = 0;
    bool text = find_digits(file, bytes, &first, &count);
    size_t length = text ? count / 2 : bytes;

    memset(secret, 0, sizeof *secret);
    if (length < SP_SECRET_BYTES_MIN || length > SP_SECRET_BYTES_MAX)
        return sp_error_set(error, SP_E_RANGE,
                            "%s holds a secret of %zu bytes; it must have %d to %d random bytes (" HINT ")", path,
                            length, SP_SECRET_BYTES_MIN, SP_SECRET_BYTES_MAX, path);
    secret->bytes = length;
    for (size_t i = 0; i < length; i++)
        secret->data[i] =
            text ? (uint8_t)(value_of(file[first + 2 * i]) << 4 | value_of(file[first + 2 * i + 1])) : file[i];
    return SP_OK;
}

int sp_secret_check_file(int fd, const char *path, struct sp_error *error)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return sp_error_set(error, SP_E_IO, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return sp_error_set(error, SP_E_IO, "%s is not a file, which is what holds a secret", path);
    if ((status.st_mode & FORBIDDEN) != 0)
        return sp_error_set(error, SP_E_RANGE,
                            "%s has mode %04o: other users may read or change it, so it is no secret; do: chmod 600 %s",
                            path, (unsigned)(status.st_mode & 07777), path);
    return SP_OK;
}

static int read_all(int fd, uint8_t *file, size_t room, size_t *bytes, const char *path, struct sp_error *error)
{
    *bytes = 0;
    while (*bytes < room) {
        ssize_t n = read(fd, file + *bytes, room - *bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            return SP_OK;
        *bytes += (size_t)n;
    }
    return sp_error_set(error, SP_E_RANGE, "%s is larger than any secret's file, which has at most %d bytes", path,
                        SP_SECRET_FILE_BYTES_MAX);
}

int sp_secret_load(struct sp_secret *secret, const char *path, struct sp_error *error)
{
    uint8_t file[SP_SECRET_FILE_BYTES_MAX + 1];
    size_t bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    memset(secret, 0, sizeof *secret);
    if (fd < 0)
        return sp_error_set(error, SP_E_IO, "cannot read the secret in %s: %s (" HINT ")", path, strerror(errno), path);
    rc = sp_secret_check_file(fd, path, error);
    if (rc == SP_OK)
        rc = read_all(fd, file, sizeof file, &bytes, path, error);
    if (rc == SP_OK)
        rc = sp_secret_parse(secret, file, bytes, path, error);
    explicit_bzero(file, sizeof file);
    (void)close(fd);
    return rc;
}
