#include "server/checkpoint.h"

#include "common/bytes.h"
#include "common/check.h"
#include "server/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".checkpoint"
#define TEMPORARY SUFFIX SP_FILES_NEW
#define MAGIC "SPCHECK"
#define MAGIC_BYTES 7 /* then the version's digit */
#define ALIGNMENT 64
#define START_BYTES 24
#define ROW_BYTES 32 /* of the header, for a section */
#define END_BYTES 8
#define HEADER_BYTES_MAX (START_BYTES + ROW_BYTES * SP_SECTIONS_MAX + END_BYTES)

static size_t header_bytes(uint32_t sections)
{
    return START_BYTES + (size_t)sections * ROW_BYTES + END_BYTES;
}

void sp_checkpoint_path(const char *folder, uint32_t round, char *path, size_t bytes)
{
    char whole[SP_FILES_PATH_BYTES];

    sp_files_path(folder, round, SUFFIX, whole);
    (void)snprintf(path, bytes, "%s", whole);
}

/* --- writing ---------------------------------------------------------------------------------------------------------
 */

static size_t encode_header(const struct sp_checkpoint *checkpoint, uint8_t *header)
{
    size_t bytes = header_bytes(checkpoint->sections);

    memset(header, 0, bytes);
    memcpy(header, MAGIC, MAGIC_BYTES);
    header[MAGIC_BYTES] = '0' + SP_CHECKPOINT_VERSION;
    sp_put32(header + 8, checkpoint->round);
    sp_put32(header + 12, checkpoint->sections);
    sp_put64(header + 16, checkpoint->run);
    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        const struct sp_checkpoint_section *section = &checkpoint->section[i];
        uint8_t *row = header + START_BYTES + (size_t)i * ROW_BYTES;

        sp_assert(memchr(section->name, '\0', SP_SECTION_NAME_BYTES) != NULL);
        memcpy(row, section->name, strlen(section->name));
        sp_put64(row + 16, section->count);
        sp_put32(row + 24, sp_crc32c(section->bytes, section->count));
    }
    sp_put32(header + bytes - END_BYTES, sp_crc32c(header, bytes - END_BYTES));
    return bytes;
}

int sp_checkpoint_write(const char *folder, const struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    static const uint8_t zeros[ALIGNMENT];
    char path[SP_FILES_PATH_BYTES];
    uint8_t header[HEADER_BYTES_MAX];
    struct iovec parts[1 + 2 * SP_SECTIONS_MAX];
    int count = 0, rc;

    sp_assert(checkpoint->sections <= SP_SECTIONS_MAX);
    rc = sp_files_make_folder(folder, error);
    if (rc != SP_OK)
        return rc;
    sp_files_path(folder, checkpoint->round, SUFFIX, path);
    parts[count++] = (struct iovec){header, encode_header(checkpoint, header)};
    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        const struct sp_checkpoint_section *section = &checkpoint->section[i];

        parts[count++] = (struct iovec){(void *)section->bytes, section->count};
        parts[count++] = (struct iovec){(void *)zeros, -section->count % ALIGNMENT};
    }
    return sp_files_replace(path, 0600, parts, count, error);
}

/* --- reading ---------------------------------------------------------------------------------------------------------
 */

struct file {
    const char *path;
    int fd;
    uint64_t bytes;
};

static int damaged(const struct file *file, struct sp_error *error, const char *what)
{
    return sp_error_set(error, SP_E_CORRUPT, "%s is damaged: %s; use an earlier checkpoint", sp_files_shown(file->path),
                        what);
}

static int cut_short(const struct file *file, struct sp_error *error)
{
    return sp_error_set(error, SP_E_CORRUPT, "%s is cut short, after %llu bytes; use an earlier checkpoint",
                        sp_files_shown(file->path), (unsigned long long)file->bytes);
}

static int read_bytes(const struct file *file, uint64_t at, void *to, size_t bytes, struct sp_error *error)
{
    int64_t n = sp_files_read(file->fd, at, to, bytes);

    if (n < 0)
        return sp_files_error(error, "read", file->path);
    return (size_t)n == bytes ? SP_OK : cut_short(file, error);
}

static int check_magic(const struct file *file, const uint8_t *header, size_t bytes, struct sp_error *error)
{
    if (memcmp(header, MAGIC, bytes < MAGIC_BYTES ? bytes : MAGIC_BYTES) != 0)
        return sp_error_set(error, SP_E_SYNTAX, "%s is no checkpoint", sp_files_shown(file->path));
    if (bytes > MAGIC_BYTES && header[MAGIC_BYTES] != '0' + SP_CHECKPOINT_VERSION)
        return sp_error_set(
            error, SP_E_UNSUPPORTED,
            "%s has version '%c' of the checkpoint's format, and this program reads version %d; use the "
            "release of Signpost that wrote it",
            sp_files_shown(file->path),
            header[MAGIC_BYTES] > ' ' && header[MAGIC_BYTES] < 0x7f ? header[MAGIC_BYTES] : '?', SP_CHECKPOINT_VERSION);
    return SP_OK;
}

/* A name goes into messages. */
static bool is_name(const uint8_t *name)
{
    size_t length = strnlen((const char *)name, SP_SECTION_NAME_BYTES);

    for (size_t i = 0; i < SP_SECTION_NAME_BYTES; i++) {
        if (i < length ? name[i] <= ' ' || name[i] >= 0x7f : name[i] != 0)
            return false;
    }
    return length > 0 && length < SP_SECTION_NAME_BYTES;
}

static uint64_t padded(uint64_t bytes)
{
    return bytes + -bytes % ALIGNMENT;
}

/* Names and lengths of the sections, which must fill the file. */
static int take_rows(const struct file *file, const uint8_t *header, struct sp_checkpoint *checkpoint,
                     struct sp_error *error)
{
    uint64_t end = header_bytes(checkpoint->sections);

    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        const uint8_t *row = header + START_BYTES + (size_t)i * ROW_BYTES;
        struct sp_checkpoint_section *section = &checkpoint->section[i];

        if (!is_name(row) || sp_get32(row + 28) != 0)
            return damaged(file, error, "a section has no proper name");
        memcpy(section->name, row, SP_SECTION_NAME_BYTES);
        section->count = sp_get64(row + 16);
        if (end > file->bytes || section->count > file->bytes - end)
            return cut_short(file, error);
        end += padded(section->count);
    }
    if (end > file->bytes)
        return cut_short(file, error);
    return end == file->bytes ? SP_OK : damaged(file, error, "it goes on after its last section");
}

static int take_header(const struct file *file, const uint8_t *header, struct sp_checkpoint *checkpoint,
                       struct sp_error *error)
{
    size_t bytes;
    int rc = check_magic(file, header, file->bytes < HEADER_BYTES_MAX ? file->bytes : HEADER_BYTES_MAX, error);

    if (rc != SP_OK)
        return rc;
    if (file->bytes < START_BYTES)
        return cut_short(file, error);
    checkpoint->round = sp_get32(header + 8);
    checkpoint->sections = sp_get32(header + 12);
    checkpoint->run = sp_get64(header + 16);
    if (checkpoint->sections > SP_SECTIONS_MAX)
        return damaged(file, error, "its header names too many sections");
    bytes = header_bytes(checkpoint->sections);
    if (file->bytes < bytes)
        return cut_short(file, error);
    if (sp_get32(header + bytes - END_BYTES) != sp_crc32c(header, bytes - END_BYTES) ||
        sp_get32(header + bytes - 4) != 0)
        return damaged(file, error, "the checksum of its header does not match");
    return take_rows(file, header, checkpoint, error);
}

static bool is_zero(const uint8_t *bytes, uint64_t count)
{
    while (count > 0 && bytes[count - 1] == 0)
        count--;
    return count == 0;
}

static int take_sections(const struct file *file, const uint8_t *header, struct sp_checkpoint *checkpoint,
                         struct sp_error *error)
{
    const uint8_t *at = checkpoint->memory;

    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        const uint8_t *row = header + START_BYTES + (size_t)i * ROW_BYTES;
        struct sp_checkpoint_section *section = &checkpoint->section[i];
        char what[80];

        section->bytes = at;
        if (sp_crc32c(at, section->count) != sp_get32(row + 24) ||
            !is_zero(at + section->count, padded(section->count) - section->count)) {
            (void)snprintf(what, sizeof what, "the checksum of section '%s' does not match", section->name);
            return damaged(file, error, what);
        }
        at += padded(section->count);
    }
    return SP_OK;
}

static int read_file(const struct file *file, struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    uint8_t header[HEADER_BYTES_MAX];
    uint64_t first, bytes;
    int rc = read_bytes(file, 0, header, file->bytes < sizeof header ? (size_t)file->bytes : sizeof header, error);

    if (rc == SP_OK)
        rc = take_header(file, header, checkpoint, error);
    if (rc != SP_OK)
        return rc;
    first = header_bytes(checkpoint->sections);
    bytes = file->bytes - first;
    checkpoint->memory = aligned_alloc(ALIGNMENT, bytes > 0 ? bytes : ALIGNMENT);
    if (checkpoint->memory == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the %llu bytes of %s", (unsigned long long)bytes,
                            sp_files_shown(file->path));
    rc = read_bytes(file, first, checkpoint->memory, bytes, error);
    return rc == SP_OK ? take_sections(file, header, checkpoint, error) : rc;
}

int sp_checkpoint_read(const char *path, struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    struct file file = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    struct stat status;
    int rc;

    memset(checkpoint, 0, sizeof *checkpoint);
    if (file.fd < 0)
        return sp_files_error(error, "read", path);
    if (fstat(file.fd, &status) != 0) {
        rc = sp_files_error(error, "read", path);
    } else if (!S_ISREG(status.st_mode)) {
        rc = sp_error_set(error, SP_E_SYNTAX, "%s is no file, and so no checkpoint", sp_files_shown(path));
    } else {
        file.bytes = (uint64_t)status.st_size;
        rc = read_file(&file, checkpoint, error);
    }
    (void)close(file.fd);
    if (rc != SP_OK)
        sp_checkpoint_finish(checkpoint);
    return rc;
}

void sp_checkpoint_finish(struct sp_checkpoint *checkpoint)
{
    free(checkpoint->memory);
    memset(checkpoint, 0, sizeof *checkpoint);
}

const struct sp_checkpoint_section *sp_checkpoint_find(const struct sp_checkpoint *checkpoint, const char *name)
{
    for (uint32_t i = 0; i < checkpoint->sections; i++) {
        if (strcmp(checkpoint->section[i].name, name) == 0)
            return &checkpoint->section[i];
    }
    return NULL;
}

/* --- folders ---------------------------------------------------------------------------------------------------------
 */

int sp_checkpoint_list(const char *folder, uint32_t *rounds, unsigned max, struct sp_error *error)
{
    uint32_t *all;
    size_t count, n;

    if (sp_files_list(folder, SUFFIX, &all, &count, error) != SP_OK)
        return -1;
    n = count < max ? count : max;
    for (size_t i = 0; i < n; i++)
        rounds[i] = all[count - 1 - i];
    free(all);
    return (int)n;
}

/* What was being written when a server was killed. */
static void remove_temporaries(const char *folder)
{
    char path[SP_FILES_PATH_BYTES];
    uint32_t *rounds;
    size_t count;

    if (sp_files_list(folder, TEMPORARY, &rounds, &count, NULL) != SP_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        sp_files_path(folder, rounds[i], TEMPORARY, path);
        (void)unlink(path);
    }
    free(rounds);
}

uint32_t sp_checkpoint_prune(const char *folder, unsigned keep, bool first, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];
    uint32_t *rounds, oldest = 0;
    size_t count, gone = 0; /* the first one counts among them when it stays */

    remove_temporaries(folder);
    if (sp_files_list(folder, SUFFIX, &rounds, &count, error) != SP_OK)
        return 0;
    while (count - gone > keep) {
        sp_files_path(folder, rounds[gone], SUFFIX, path);
        if (!(first && gone == 0) && unlink(path) != 0 && errno != ENOENT)
            break;
        gone++;
    }
    if (gone < count)
        oldest = rounds[gone];
    free(rounds);
    if (gone > 0)
        (void)sp_files_sync_folder(folder, NULL);
    return oldest;
}
