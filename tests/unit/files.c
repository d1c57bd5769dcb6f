#include "tests/unit/files.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define PATHS 8

static char folder[] = "/tmp/sp-test.XXXXXX";
static pid_t maker;

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    (void)remove(path);
    return 0;
}

/* Each test is a process of its own, which must not take the folder away. */
static void end(void)
{
    if (getpid() == maker)
        (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void files_begin(void)
{
    if (mkdtemp(folder) == NULL)
        exit(EXIT_FAILURE);
    maker = getpid();
    (void)atexit(end);
}

const char *files_path(const char *name)
{
    static char path[PATHS][256];
    static unsigned next;
    char *mine = path[next++ % PATHS];

    (void)snprintf(mine, sizeof path[0], "%s/%s", folder, name);
    return mine;
}

const char *files_write(const char *name, const void *bytes, size_t count)
{
    const char *path = files_path(name);
    FILE *file;

    (void)unlink(path);
    file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

const char *files_write_gzip(const char *name, const void *bytes, size_t count)
{
    const char *path = files_path(name);
    gzFile file;

    (void)unlink(path);
    file = gzopen(path, "wb1");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(count > 0 ? gzwrite(file, bytes, (unsigned)count) : 0, (int)count);
    ck_assert_int_eq(gzclose(file), Z_OK);
    return path;
}

size_t files_read(const char *name, void *bytes, size_t room)
{
    FILE *file = fopen(files_path(name), "rb");
    size_t count;

    ck_assert_ptr_nonnull(file);
    count = fread(bytes, 1, room, file);
    ck_assert_int_eq(fclose(file), 0);
    return count;
}
