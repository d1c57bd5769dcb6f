/* From a job to its examples: which files, and which reader. */
#include "worker/train/data_parts.h"

#include "common/check.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATTERN_BYTES                                                                                                  \
    (4 * SP_STRING_BYTES) /* a folder of at most SP_STRING_BYTES, each byte escaped, and a pattern                     \
                           */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int load_files(const struct sp_job *job, const char *const *paths, size_t count, struct sp_examples *out,
                      struct sp_error *error)
{
    static const char separators[] = {
        [SP_SEPARATOR_COMMA] = ',', [SP_SEPARATOR_SEMICOLON] = ';', [SP_SEPARATOR_TAB] = '\t'};
    const struct sp_csv_options csv = {.header = job->data.csv.header,
                                       .separator = separators[job->data.csv.separator],
                                       .label = job->data.csv.label,
                                       .shape = job->data.csv.shape,
                                       .shape_count = job->data.csv.shape_count};

    if (job->data.format == SP_DATA_CSV)
        return sp_csv_load(&csv, paths, count, out, error);
    return sp_cifar_load(job->data.format, paths, count, out, error);
}

/* What the pattern matches, in the order of names, byte by byte, whatever the locale. */
static int load_matches(const struct sp_job *job, const char *pattern, const char *shown, struct sp_examples *out,
                        struct sp_error *error)
{
    glob_t found;
    int rc;

    switch (glob(pattern, GLOB_ERR | GLOB_NOSORT, NULL, &found)) {
    case 0:
        break;
    case GLOB_NOMATCH:
        return sp_error_set(error, SP_E_MISSING, "no file has the name '%s', or matches it as a pattern",
                            sp_path_shown(shown));
    case GLOB_ABORTED:
        return sp_error_set(error, SP_E_IO, "cannot read a folder of the pattern '%s': %s", sp_path_shown(shown),
                            strerror(errno));
    default:
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    }
    qsort(found.gl_pathv, found.gl_pathc, sizeof found.gl_pathv[0], by_name);
    if (found.gl_pathc > SP_DATA_FILES_MAX)
        rc = sp_error_set(error, SP_E_RANGE, "'%s' matches %zu files; at most %d are allowed", sp_path_shown(shown),
                          found.gl_pathc, SP_DATA_FILES_MAX);
    else
        rc = load_files(job, (const char *const *)found.gl_pathv, found.gl_pathc, out, error);
    globfree(&found);
    return rc;
}

/* A file of that very name comes first: names may have brackets. Of `path` only the end, from `own` on, is a pattern:
 * the folder before it is not the user's to choose. */
static int load_pattern(const struct sp_job *job, const char *path, size_t own, struct sp_examples *out,
                        struct sp_error *error)
{
    char pattern[PATTERN_BYTES];
    struct stat status;
    size_t used = 0;

    if (stat(path, &status) == 0)
        return load_files(job, &path, 1, out, error);
    for (size_t i = 0; path[i] != '\0'; i++) {
        if (used > sizeof pattern - 3)
            return sp_error_set(error, SP_E_RANGE, "the path '%s' is too long", sp_path_shown(path));
        if (i < own && strchr("*?[\\", path[i]) != NULL)
            pattern[used++] = '\\';
        pattern[used++] = path[i];
    }
    pattern[used] = '\0';
    return load_matches(job, pattern, path, out, error);
}

int sp_data_load(const struct sp_job *job, enum sp_data_part part, struct sp_examples *out, struct sp_error *error)
{
    const bool train = part == SP_DATA_TRAIN;
    const char *files = train ? job->data.train_files : job->data.test_files;
    char path[2 * SP_STRING_BYTES], labels[2 * SP_STRING_BYTES];

    sp_assert(sp_job_has_data(job, part));
    memset(out, 0, sizeof *out);
    if (job->data.format == SP_DATA_IDX) {
        sp_job_path(job, train ? job->data.train_images : job->data.test_images, path, sizeof path);
        sp_job_path(job, train ? job->data.train_labels : job->data.test_labels, labels, sizeof labels);
        return sp_idx_load(path, labels, out, error);
    }
    sp_job_path(job, files, path, sizeof path);
    return load_pattern(job, path, strlen(path) - strlen(files), out, error);
}

int sp_data_load_paths(const struct sp_job *job, const char *files, const char *labels, struct sp_examples *out,
                       struct sp_error *error)
{
    memset(out, 0, sizeof *out);
    if (job->data.format == SP_DATA_IDX)
        return sp_idx_load(files, labels, out, error);
    return load_pattern(job, files, 0, out, error);
}
