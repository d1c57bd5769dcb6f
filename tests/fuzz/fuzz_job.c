/* libFuzzer target: any bytes as a job file, with a --set or without. Either there are problems, each in words and with
 * a place in the file or none; or the job is one: its keys are within their ranges, it passes its checks, and written
 * as a job file it is the same job when it is read again.
 *
 * The first byte says where the file lies; the second is the length of the --set (0: none), which comes before the
 * file's bytes.
 */
#include "input.h"

#include "common/check.h"
#include "common/config.h"
#include "common/job_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sp_problems problems;

/* From memory with not a byte to spare, so that AddressSanitizer sees a read past its end. */
static int parse(const char *name, const void *bytes, size_t size, const char *set, struct sp_job *job)
{
    char *text = malloc(size > 0 ? size : 1);
    int rc;

    sp_assert(text != NULL);
    if (size > 0)
        memcpy(text, bytes, size);
    rc = sp_config_parse(name, text, size, &set, set != NULL, job, &problems);
    free(text);
    return rc;
}

static void check_problems(int rc, size_t size, bool has_set)
{
    sp_assert((rc == SP_OK) == (problems.count == 0));
    sp_assert(problems.count <= SP_PROBLEMS_MAX && (problems.dropped == 0 || problems.count == SP_PROBLEMS_MAX));
    for (unsigned i = 0; i < problems.count; i++) {
        const struct sp_problem *problem = &problems.item[i];
        char text[2 * SP_STRING_BYTES];

        sp_problem_text(&problems, i, text, sizeof text);
        sp_assert(problem->text[0] != '\0' && strlen(text) < sizeof text && (has_set || !problem->from_set));
        sp_assert((problem->line == 0) == (problem->column == 0));
        sp_assert(problem->line <= size + 1 && problem->column <= size + 1);
        for (const char *c = text; *c != '\0'; c++)
            sp_assert((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
}

/* Every value is one that its key takes, and comes to the same text. */
static void check_values(const struct sp_job *job)
{
    static struct sp_job other;
    char text[SP_VALUE_BYTES], again[SP_VALUE_BYTES];

    sp_assert(sp_job_validate(job, NULL, NULL) == 0);
    other = *job;
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        sp_job_get(job, key, text, sizeof text);
        sp_assert(strlen(text) < sizeof text - 1);
        sp_assert(sp_job_set(&other, key->path, text, NULL) == SP_OK);
        sp_job_get(&other, key, again, sizeof again);
        sp_assert(strcmp(text, again) == 0);
    }
    sp_assert(memcmp(&other, job, sizeof other) == 0);
}

/* A path is absolute in the file that was written; of a pattern the folder may have been escaped. */
static void compare(const struct sp_job *job, const struct sp_job *back, bool absolute)
{
    char text[2 * SP_STRING_BYTES + SP_VALUE_BYTES], again[sizeof text];

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        sp_job_get(job, key, text, sizeof text);
        sp_job_get(back, key, again, sizeof again);
        if ((key->flags & SP_KEY_PATH) != 0) {
            sp_job_path(job, (const char *)job + key->offset, text, sizeof text);
            sp_assert((text[0] == '\0') == (again[0] == '\0') && (again[0] == '\0' || again[0] == '/'));
        }
        if ((key->flags & SP_KEY_PATH) == 0 || (absolute && (key->flags & SP_KEY_PATTERN) == 0))
            sp_assert(strcmp(text, again) == 0);
    }
}

static void write_and_read(const struct sp_job *job, bool absolute)
{
    static struct sp_job back;
    struct sp_error error = {0};
    char *text = NULL, *again = NULL;
    int rc = sp_job_yaml(job, &text, &error);

    if (rc != SP_OK) {
        sp_assert(error.code == (enum sp_code)rc && (rc == SP_E_UNSUPPORTED || rc == SP_E_RANGE));
        sp_assert(error.text[0] != '\0');
        return;
    }
    rc = parse("/elsewhere/job.yaml", text, strlen(text), NULL, &back);
    sp_assert(rc == SP_OK);
    compare(job, &back, absolute);
    sp_assert(sp_job_yaml(&back, &again, &error) == SP_OK);
    sp_assert(strcmp(text, again) == 0);
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"/fuzz/job.yaml", "job.yaml", "/job.yaml", "/a [*]?\\/job.yaml",
                                        "a/b/job.yaml"};
    static struct sp_job job;
    struct input in = {.data = data, .size = size};
    const char *name = names[take(&in, 1) % (sizeof names / sizeof names[0])];
    size_t length = (size_t)take(&in, 1);
    char set[SET_BYTES] = "";
    int rc;

    if (length > in.size)
        length = in.size;
    memcpy(set, in.data, length);
    in.data += length;
    in.size -= length;
    rc = parse(name, in.data, in.size, length > 0 ? set : NULL, &job);
    check_problems(rc, in.size, length > 0);
    if (rc != SP_OK)
        return 0;
    check_values(&job);
    write_and_read(&job, name[0] == '/');
    return 0;
}
