/* The folder of one run of a comparison: runs/<row>/<seed>.
 *
 * `settings` says with which settings the run was made; it is written before the run, so that a folder without it is
 * not ours, and nothing in that is touched. A run counts only if summary.json says that it came to its end with these
 * settings.
 */
#include "deploy/tool/compare.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_TRIES 100 /* of BUSY_MS each */
#define BUSY_MS 100

void compare_path(const struct compare *compare, const struct compare_run *run, const char *file,
                  char path[COMPARE_PATH_BYTES])
{
    (void)snprintf(path, COMPARE_PATH_BYTES, "runs/%s/%" PRIu64 "%s%s", compare->grid.rows[run->row].slug, run->seed,
                   file[0] != '\0' ? "/" : "", file);
}

int compare_make_folder(const char *folder, struct sp_error *error)
{
    char *path = strdup(folder);
    int rc = SP_OK;

    if (path == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a path");
    for (char *at = path + 1; rc == SP_OK && path[0] != '\0'; at++) {
        char end = *at;

        if (end != '/' && end != '\0')
            continue;
        *at = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            rc = compare_io_error(error, "make the folder", path);
        *at = end;
        if (end == '\0')
            break;
    }
    free(path);
    return rc;
}

/* --- an earlier run --------------------------------------------------------------------------------------------------
 */

/* A comparison that was killed leaves servers that need a moment to end. */
static int wait_until_free(const struct compare *compare, const struct compare_run *run, struct sp_error *error)
{
    char path[COMPARE_PATH_BYTES];
    bool busy = true;
    int fd;

    compare_path(compare, run, "lock", path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return SP_OK;
    for (int i = 0; i < BUSY_TRIES && busy; i++) {
        if (i > 0)
            (void)usleep(1000 * BUSY_MS);
        busy = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    }
    (void)close(fd);
    if (!busy)
        return SP_OK;
    compare_path(compare, run, "", path);
    return sp_error_set(error, SP_E_IO, "a server still writes to %s/%s; end it with 'signpost stop' and this folder",
                        compare->out, path);
}

/* Says at which key two texts of settings part. */
static void say_difference(const char *before, const char *now, char *why, size_t bytes)
{
    size_t at = 0, line = 0, length, old_length, new_length;
    char key[64] = "";

    while (before[at] != '\0' && before[at] == now[at])
        if (now[at++] == '\n')
            line = at;
    before += line;
    now += line;
    length = strcspn(now, ":\n");
    old_length = strcspn(before, "\n");
    new_length = strcspn(now, "\n");
    if (length == 0 || length >= sizeof key || strncmp(before, now, length + 1) != 0 || old_length + new_length > 300) {
        (void)snprintf(why, bytes, "it was made with other settings");
        return;
    }
    memcpy(key, now, length);
    (void)snprintf(why, bytes, "it was made with other settings: %s was%.*s, is%.*s", compare_short_key(key),
                   (int)(old_length - length - 1), before + length + 1, (int)(new_length - length - 1),
                   now + length + 1);
}

/* For free(); NULL with words. */
static char *settings_of(const struct compare *compare, const struct compare_run *run, struct sp_error *error)
{
    char *text;

    if (asprintf(&text, "seed: %" PRIu64 "\n%s", run->seed, compare->settings[run->row]) >= 0)
        return text;
    (void)sp_error_set(error, SP_E_NOMEM, "no memory for a run's settings");
    return NULL;
}

static int look_inside(struct compare *compare, struct compare_run *run, const char *before, char *why, size_t bytes,
                       struct sp_error *error)
{
    char *now = settings_of(compare, run, error);
    struct sp_error words = {0};
    int rc = SP_OK;

    if (now == NULL)
        return SP_E_NOMEM;
    if (strcmp(before, now) != 0)
        say_difference(before, now, why, bytes);
    else
        rc = compare_take(compare, run, &words);
    free(now);
    if (rc == SP_E_NOMEM)
        return sp_error_set(error, SP_E_NOMEM, "%s", words.text);
    if (rc != SP_OK)
        (void)snprintf(why, bytes, "%s", words.text);
    return SP_OK;
}

int compare_look(struct compare *compare, struct compare_run *run, char *why, size_t bytes, struct sp_error *error)
{
    char path[COMPARE_PATH_BYTES], *before;
    struct stat about;
    int rc;

    why[0] = '\0';
    compare_path(compare, run, "", path);
    if (stat(path, &about) != 0)
        return SP_OK;
    rc = wait_until_free(compare, run, error);
    if (rc != SP_OK)
        return rc;
    compare_path(compare, run, "settings", path);
    before = compare_read(path, error);
    if (before == NULL && error->code == SP_E_MISSING) {
        compare_path(compare, run, "", path);
        if (rmdir(path) == 0)
            return SP_OK;
        return sp_error_set(error, SP_E_IO,
                            "the folder %s/%s is there already, but no comparison made it; choose another --out",
                            compare->out, path);
    }
    if (before == NULL)
        return error->code;
    rc = look_inside(compare, run, before, why, bytes, error);
    free(before);
    return rc;
}

/* --- a new run -------------------------------------------------------------------------------------------------------
 */

/* The settings go last, by being written over: until then the folder is known for ours. */
static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    if (where->level == 0 || (where->level == 1 && strcmp(path + where->base, "settings") == 0))
        return 0;
    return remove(path);
}

int compare_prepare(struct compare *compare, struct compare_run *run, struct sp_error *error)
{
    char path[COMPARE_PATH_BYTES], *text;
    FILE *file;
    int rc;

    compare_path(compare, run, "", path);
    if (nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return compare_io_error(error, "empty the folder", path);
    rc = compare_make_folder(path, error);
    if (rc != SP_OK)
        return rc;
    text = settings_of(compare, run, error);
    if (text == NULL)
        return SP_E_NOMEM;
    compare_path(compare, run, "settings", path);
    file = fopen(path, "we");
    if (file == NULL || fputs(text, file) < 0)
        rc = compare_io_error(error, "write", path);
    if (file != NULL && fclose(file) != 0 && rc == SP_OK)
        rc = compare_io_error(error, "write", path);
    free(text);
    return rc;
}
