#include "worker/client/keep.h"

#include "common/check.h"
#include "common/sums.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* for a hash state on the stack */
#include <xxhash.h>

#define MAGIC "SPMOMEN1"
#define MAGIC_BYTES 8
#define VERSION_AT 7

/* As it lies in the file; every number little-endian, and no padding between them. */
struct header {
    char magic[MAGIC_BYTES];
    uint64_t run, layout_digest, coordinates;
    uint32_t slot, round, own_rounds, late;
    uint64_t checksum;
};

_Static_assert(sizeof(struct header) == 56 && offsetof(struct header, checksum) == 48, "it is the file's header");

void sp_keep_path(const struct sp_keep *keep, char path[SP_KEEP_PATH_BYTES])
{
    (void)snprintf(path, SP_KEEP_PATH_BYTES, "%s/momentum-%u", keep->folder, keep->slot);
}

static void temporary_path(const struct sp_keep *keep, char path[SP_KEEP_PATH_BYTES])
{
    (void)snprintf(path, SP_KEEP_PATH_BYTES, "%s/momentum-%u.new", keep->folder, keep->slot);
}

static uint64_t bytes_of(const struct sp_learner *learner)
{
    return learner->layout.coordinates * sizeof *learner->m;
}

static uint64_t checksum(const struct header *header, const struct sp_learner *learner)
{
    XXH64_state_t state;

    (void)XXH64_reset(&state, 0);
    (void)XXH64_update(&state, header, offsetof(struct header, checksum));
    (void)XXH64_update(&state, learner->m, (size_t)bytes_of(learner));
    return htole64(XXH64_digest(&state));
}

/* --- writing --------------------------------------------------------------------------------------------------------
 */

static int put(int fd, const void *from, uint64_t bytes)
{
    const char *at = from;

    while (bytes > 0) {
        ssize_t n = write(fd, at, (size_t)bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

/* A write beyond this limit would end the program by a signal. */
static bool is_allowed(uint64_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur)
        return true;
    errno = EFBIG;
    return false;
}

static int make_folders(const char *folder)
{
    char path[SP_KEEP_FOLDER_BYTES];

    (void)snprintf(path, sizeof path, "%s", folder);
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return -1;
        *at = '/';
    }
    return mkdir(path, 0777) != 0 && errno != EEXIST ? -1 : 0;
}

/* Nobody else's file, whatever lies there under that name. */
static int create(const struct sp_keep *keep, const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd;

    (void)unlink(path);
    fd = open(path, flags, 0600);
    if (fd < 0 && errno == ENOENT && make_folders(keep->folder) == 0)
        fd = open(path, flags, 0600);
    return fd;
}

static int write_file(const struct sp_keep *keep, const struct header *header, const struct sp_learner *learner,
                      const char *path)
{
    int fd = is_allowed(sizeof *header + bytes_of(learner)) ? create(keep, path) : -1;
    int rc, code;

    if (fd < 0)
        return -1;
    rc = put(fd, header, sizeof *header);
    if (rc == 0)
        rc = put(fd, learner->m, bytes_of(learner));
    code = errno;
    if (close(fd) != 0 && rc == 0)
        return -1;
    errno = code;
    return rc;
}

int sp_keep_write(const struct sp_keep *keep, const struct sp_learner *learner, struct sp_error *error)
{
    struct header header = {.run = htole64(learner->momentum_run),
                            .layout_digest = htole64(keep->layout_digest),
                            .coordinates = htole64(learner->layout.coordinates),
                            .slot = htole32(keep->slot),
                            .round = htole32(learner->momentum_round),
                            .own_rounds = htole32(learner->own_rounds),
                            .late = htole32(learner->late)};
    char path[SP_KEEP_PATH_BYTES], temporary[SP_KEEP_PATH_BYTES];
    int code;

    sp_assert(learner->own_rounds > 0);
    memcpy(header.magic, MAGIC, MAGIC_BYTES);
    header.checksum = checksum(&header, learner);
    sp_keep_path(keep, path);
    temporary_path(keep, temporary);
    if (write_file(keep, &header, learner, temporary) == 0 && rename(temporary, path) == 0)
        return SP_OK;
    code = errno;
    (void)unlink(temporary);
    return sp_error_set(error, SP_E_IO, "cannot save the momentum in %s: %s", path, strerror(code));
}

/* --- reading --------------------------------------------------------------------------------------------------------
 */

static int get(int fd, void *to, uint64_t bytes)
{
    char *at = to;

    while (bytes > 0) {
        ssize_t n = read(fd, at, (size_t)bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* it was cut short while it was read */
        if (n <= 0)
            return -1;
        at += n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int check_header(const struct sp_keep *keep, const struct sp_learner *learner, const struct header *header,
                        const char *path, struct sp_error *error)
{
    uint64_t run = le64toh(header->run);

    if (memcmp(header->magic, MAGIC, VERSION_AT) != 0)
        return sp_error_set(error, SP_E_SYNTAX, "%s is no file of a momentum", path);
    if (header->magic[VERSION_AT] != MAGIC[VERSION_AT])
        return sp_error_set(error, SP_E_UNSUPPORTED, "%s has another version of the format than this one", path);
    if (run != learner->setup.run && run != 0 && learner->setup.run != 0)
        return sp_error_set(error, SP_E_MISMATCH, "the momentum in %s is of another run", path);
    if (le64toh(header->layout_digest) != keep->layout_digest ||
        le64toh(header->coordinates) != learner->layout.coordinates)
        return sp_error_set(error, SP_E_MISMATCH, "the momentum in %s is of another model", path);
    if (le32toh(header->slot) != keep->slot)
        return sp_error_set(error, SP_E_MISMATCH, "the momentum in %s is of slot %u", path, le32toh(header->slot));
    return SP_OK;
}

/* The rest of it, into the learner's m. */
static int take_momentum(int fd, const struct header *header, struct sp_learner *learner, const char *path,
                         struct sp_error *error)
{
    if (get(fd, learner->m, bytes_of(learner)) != 0)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    if (header->checksum != checksum(header, learner) || header->own_rounds == 0 || header->round == 0 ||
        !sp_all_finite(learner->m, (size_t)learner->layout.coordinates))
        return sp_error_set(error, SP_E_CORRUPT, "%s is damaged", path);
    return SP_OK;
}

static int read_file(const struct sp_keep *keep, int fd, struct header *header, struct sp_learner *learner,
                     const char *path, struct sp_error *error)
{
    struct stat status;
    int rc;

    if (fstat(fd, &status) != 0)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return sp_error_set(error, SP_E_SYNTAX, "%s is not a file", path);
    if ((uint64_t)status.st_size < sizeof *header)
        return sp_error_set(error, SP_E_CORRUPT, "%s is cut short: it has %lld bytes", path, (long long)status.st_size);
    if (get(fd, header, sizeof *header) != 0)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    rc = check_header(keep, learner, header, path, error);
    if (rc == SP_OK && (uint64_t)status.st_size != sizeof *header + bytes_of(learner))
        rc = sp_error_set(error, SP_E_CORRUPT, "%s is cut short: it has %lld of %llu bytes", path,
                          (long long)status.st_size, (unsigned long long)(sizeof *header + bytes_of(learner)));
    return rc == SP_OK ? take_momentum(fd, header, learner, path, error) : rc;
}

int sp_keep_read(const struct sp_keep *keep, struct sp_learner *learner, struct sp_error *error)
{
    char path[SP_KEEP_PATH_BYTES];
    struct header header = {0};
    int fd, rc;

    sp_assert(learner->own_rounds == 0);
    sp_keep_path(keep, path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe of that name would keep us waiting */
    if (fd < 0)
        return sp_error_set(error, errno == ENOENT || errno == ENOTDIR ? SP_E_MISSING : SP_E_IO, "cannot read %s: %s",
                            path, strerror(errno));
    rc = read_file(keep, fd, &header, learner, path, error);
    (void)close(fd);
    if (rc != SP_OK) {
        memset(learner->m, 0, (size_t)bytes_of(learner));
        return rc;
    }
    sp_learner_resume(learner, le64toh(header.run), le32toh(header.round), le32toh(header.own_rounds),
                      header.late != 0);
    return SP_OK;
}

void sp_keep_remove(const struct sp_keep *keep)
{
    char path[SP_KEEP_PATH_BYTES];

    temporary_path(keep, path);
    (void)unlink(path);
    sp_keep_path(keep, path);
    (void)unlink(path);
}
