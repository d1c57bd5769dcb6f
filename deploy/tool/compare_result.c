/* What a run has left, read back: summary.json and history.jsonl. */
#include "deploy/tool/compare.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX ((off_t)64 << 20)

int compare_io_error(struct sp_error *error, const char *verb, const char *path)
{
    return sp_error_set(error, errno == ENOMEM ? SP_E_NOMEM : SP_E_IO, "cannot %s %s: %s", verb, path, strerror(errno));
}

char *compare_read(const char *path, struct sp_error *error)
{
    FILE *file = fopen(path, "re");
    struct stat about;
    char *text = NULL;

    if (file == NULL && errno == ENOENT)
        (void)sp_error_set(error, SP_E_MISSING, "there is no %s", path);
    if (file == NULL && errno != ENOENT)
        (void)compare_io_error(error, "read", path);
    if (file == NULL)
        return NULL;
    if (fstat(fileno(file), &about) != 0)
        (void)compare_io_error(error, "read", path);
    else if (about.st_size > FILE_BYTES_MAX)
        (void)sp_error_set(error, SP_E_RANGE, "%s is too long to be one of ours", path);
    else if ((text = malloc((size_t)about.st_size + 1)) == NULL)
        (void)sp_error_set(error, SP_E_NOMEM, "no memory to read %s", path);
    if (text != NULL)
        text[fread(text, 1, (size_t)about.st_size, file)] = '\0';
    if (text != NULL && ferror(file)) {
        (void)compare_io_error(error, "read", path);
        free(text);
        text = NULL;
    }
    (void)fclose(file);
    return text;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

struct target {
    double accuracy, round;
};

static void take_target(void *arg, const struct compare_point *point)
{
    struct target *target = arg;

    if (isnan(target->round) && point->test_accuracy >= target->accuracy)
        target->round = point->round;
}

static int take_line(const char *line, size_t bytes, const char *path, struct compare_point *point,
                     struct sp_error *error)
{
    json_t *json;
    int rc = tool_parse_json(line, bytes, path, &json, NULL, error);
    double round = number(json, "round");

    *point = (struct compare_point){0, NAN, NAN, NAN};
    /* Lines of another kind, such as those of an event, are for other readers. */
    if (rc == SP_OK && json_object_get(json, "event") == NULL && round >= 1 && round <= UINT32_MAX) {
        point->round = (uint32_t)round;
        point->epoch = number(json, "epoch");
        point->train_loss = number(json, "train_loss");
        point->test_accuracy = number(json, "test_accuracy");
    }
    json_decref(json);
    return rc;
}

int compare_history(struct compare *compare, const struct compare_run *run,
                    void (*take)(void *arg, const struct compare_point *point), void *arg, struct sp_error *error)
{
    char path[COMPARE_PATH_BYTES], *line = NULL;
    struct compare_point point;
    size_t room = 0;
    ssize_t bytes;
    FILE *file;
    int rc = SP_OK;

    compare_path(compare, run, "history.jsonl", path);
    file = fopen(path, "re");
    if (file == NULL)
        return compare_io_error(error, "read", path);
    while (rc == SP_OK && (errno = 0, bytes = getline(&line, &room, file)) >= 0) {
        rc = take_line(line, (size_t)bytes, path, &point, error);
        if (rc == SP_OK && point.round > 0)
            take(arg, &point);
    }
    if (rc == SP_OK && !feof(file))
        rc = compare_io_error(error, "read", path);
    free(line);
    (void)fclose(file);
    return rc;
}

static void take_summary(struct compare_run *run, const json_t *summary)
{
    double float32 = number(summary, "bytes_float32");

    run->metric[COMPARE_ACCURACY] = 100.0 * number(summary, "test_accuracy");
    run->metric[COMPARE_TEST_LOSS] = number(summary, "test_loss");
    run->metric[COMPARE_TRAIN_LOSS] = number(summary, "train_loss");
    run->metric[COMPARE_PUSHED] = number(summary, "bytes_pushed");
    run->metric[COMPARE_UPDATED] = number(summary, "bytes_updated");
    run->metric[COMPARE_BITS_UP] = 32.0 * run->metric[COMPARE_PUSHED] / float32;
    run->metric[COMPARE_BITS_DOWN] = 32.0 * run->metric[COMPARE_UPDATED] / float32;
    run->metric[COMPARE_TARGET] = (double)NAN;
    run->metric[COMPARE_SECONDS] = number(summary, "train_seconds");
    run->metric[COMPARE_SWITCH] = number(summary, "switch_round") / number(summary, "rounds");
}

static int check_summary(const json_t *summary, struct sp_error *error)
{
    const char *outcome = json_string_value(json_object_get(summary, "outcome"));

    if (outcome == NULL)
        return sp_error_set(error, SP_E_MISMATCH, "its summary.json cannot be read");
    if (!json_is_false(json_object_get(summary, "stopped")) ||
        !(number(summary, "rounds_done") >= number(summary, "rounds")))
        return sp_error_set(error, SP_E_MISMATCH, "it did not come to its end: %s", outcome);
    if (!json_is_false(json_object_get(summary, "test_partial")))
        return sp_error_set(error, SP_E_MISMATCH, "a part of its last evaluation is missing");
    return SP_OK;
}

int compare_take(struct compare *compare, struct compare_run *run, struct sp_error *error)
{
    struct target target = {compare->target, NAN};
    char path[COMPARE_PATH_BYTES], *text;
    json_t *summary = NULL;
    int rc;

    compare_path(compare, run, "summary.json", path);
    text = compare_read(path, error);
    if (text == NULL && error->code == SP_E_MISSING)
        return sp_error_set(error, SP_E_MISMATCH, "it left no summary.json");
    if (text == NULL)
        return error->code;
    rc = tool_parse_json(text, strlen(text), path, &summary, NULL, error);
    free(text);
    if (rc == SP_OK)
        rc = check_summary(summary, error);
    if (rc == SP_OK)
        take_summary(run, summary);
    json_decref(summary);
    if (rc == SP_OK && compare->target > 0.0) {
        rc = compare_history(compare, run, take_target, &target, error);
        run->metric[COMPARE_TARGET] = target.round;
    }
    if (rc == SP_OK)
        run->state = COMPARE_DONE;
    return rc;
}
