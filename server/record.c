#include "server/record.h"

#include "common/check.h"
#include "common/job_yaml.h"
#include "common/utf8.h"
#include "server/files.h"
#include "server/point.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

json_t *sp_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static bool is_utf8(const char *text)
{
    size_t bytes = 1;

    for (; *text != '\0' && bytes > 0; text += bytes)
        bytes = sp_utf8_bytes(text);
    return bytes > 0;
}

json_t *sp_json_words(const char *text)
{
    json_t *json;
    char *copy;

    if (text == NULL || is_utf8(text))
        return json_string(text);
    copy = strdup(text);
    if (copy == NULL)
        return NULL;
    for (char *at = copy; *at != '\0';) {
        size_t bytes = sp_utf8_bytes(at);

        if (bytes == 0)
            *at = '?';
        at += bytes > 0 ? bytes : 1;
    }
    json = json_string(copy);
    free(copy);
    return json;
}

void sp_json_put(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

void sp_json_append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

char *sp_json_text(const json_t *object, size_t flags, size_t more)
{
    size_t bytes = json_dumpb(object, NULL, 0, flags);
    char *text = bytes > 0 ? malloc(bytes + 1 + more) : NULL;

    if (text == NULL || json_dumpb(object, text, bytes, flags) != bytes) {
        free(text);
        return NULL;
    }
    text[bytes] = '\0';
    return text;
}

static int make_folder(const char *folder, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];
    int rc;

    if (strlen(folder) == 0 || strlen(folder) >= SP_RECORD_FOLDER_BYTES)
        return sp_error_set(error, SP_E_RANGE, "the run's folder must have a name of 1 to %d bytes",
                            SP_RECORD_FOLDER_BYTES - 1);
    (void)strcpy(path, folder);
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        rc = sp_files_make_folder(path, error);
        if (rc != SP_OK)
            return rc;
        *at = '/';
    }
    return sp_files_make_folder(path, error);
}

static int lock_folder(struct sp_record *record, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/lock", record->folder);
    record->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (record->lock < 0)
        return sp_files_error(error, "open", path);
    if (flock(record->lock, LOCK_EX | LOCK_NB) == 0)
        return SP_OK;
    (void)close(record->lock);
    record->lock = -1;
    if (errno == EWOULDBLOCK)
        return sp_error_set(
            error, SP_E_IO,
            "another signpostd writes to %s now; give this run a folder of its own with --out, or end the "
            "other with 'signpost stop %s'",
            record->folder, record->folder);
    return sp_files_error(error, "lock", path);
}

/* Whether there was such a file. */
static int move_aside(const struct sp_record *record, const char *name, bool *moved, struct sp_error *error)
{
    char from[SP_FILES_PATH_BYTES], to[SP_FILES_PATH_BYTES];

    (void)snprintf(from, sizeof from, "%s/%s", record->folder, name);
    (void)snprintf(to, sizeof to, "%s/previous-%s", record->folder, name);
    *moved = rename(from, to) == 0;
    return *moved || errno == ENOENT ? SP_OK : sp_files_error(error, "rename", from);
}

/* What an earlier run left must not be taken for this one's result, nor be lost to a run that fails at once. */
static int set_aside(const struct sp_record *record, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];
    bool model, summary;
    int rc = move_aside(record, "model.safetensors", &model, error);

    if (rc != SP_OK)
        return rc;
    if (model)
        return move_aside(record, "summary.json", &summary, error);
    (void)snprintf(path, sizeof path, "%s/summary.json", record->folder);
    (void)unlink(path);
    return SP_OK;
}

int sp_record_open(struct sp_record *record, const char *folder, struct sp_error *error)
{
    int rc;

    memset(record, 0, sizeof *record);
    record->lock = -1;
    rc = make_folder(folder, error);
    if (rc != SP_OK)
        return rc;
    (void)snprintf(record->folder, sizeof record->folder, "%s", folder);
    return lock_folder(record, error);
}

/* What is in it stays, and what is written goes behind it. */
static int open_history(struct sp_record *record, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/history.jsonl", record->folder);
    record->history = fopen(path, "a+e");
    return record->history != NULL ? SP_OK : sp_files_error(error, "write", path);
}

static int cut_history(struct sp_record *record, off_t end, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/history.jsonl", record->folder);
    return ftruncate(fileno(record->history), end) == 0 ? SP_OK : sp_files_error(error, "cut", path);
}

int sp_record_begin(struct sp_record *record, struct sp_error *error)
{
    int rc = set_aside(record, error);

    if (rc == SP_OK)
        rc = open_history(record, error);
    return rc == SP_OK ? cut_history(record, 0, error) : rc;
}

/* --- where lines lie -------------------------------------------------------------------------------------------------
 */

/* A line of a round was written. Where there is no memory for a mark, finding takes longer. */
static void mark_line(struct sp_record *record, uint32_t round, size_t bytes)
{
    off_t last = record->marks_count > 0 ? record->marks[record->marks_count - 1].at : 0;

    if (record->end - last >= SP_RECORD_MARK_BYTES) {
        struct sp_mark *marks = realloc(record->marks, (record->marks_count + 1) * sizeof *marks);

        if (marks != NULL) {
            record->marks = marks;
            marks[record->marks_count++] = (struct sp_mark){record->end, record->latest};
        }
    }
    record->end += (off_t)bytes;
    record->latest = round > record->latest ? round : record->latest;
}

off_t sp_record_find(const struct sp_record *record, uint32_t round)
{
    off_t at = 0;

    for (size_t i = 0; i < record->marks_count && record->marks[i].round < round; i++)
        at = record->marks[i].at;
    return at;
}

ssize_t sp_record_read(const struct sp_record *record, off_t at, char *to, size_t room)
{
    ssize_t n;

    do
        n = pread(fileno(record->history), to, room, at);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Whether the line is of a round that was not lost. */
static bool is_kept(const json_t *line, uint32_t round, bool evaluates)
{
    json_t *of = json_object_get(line, "round");
    json_int_t n = json_integer_value(of);
    bool again = evaluates && n == (json_int_t)round && json_object_get(line, "event") == NULL;

    return json_is_integer(of) && n >= 0 && n <= (json_int_t)round && !again;
}

/* Gives on what is kept, up to the first line that is not: those of later rounds, and one that was cut, are the last.
 */
static void recall(struct sp_record *record, uint32_t round, bool evaluates, sp_record_take *take, void *arg)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    bool kept = true;

    while (kept && (length = getline(&text, &room, record->history)) > 0 && text[length - 1] == '\n') {
        json_t *line = json_loads(text, 0, NULL);

        kept = is_kept(line, round, evaluates);
        if (kept) {
            take(arg, line);
            mark_line(record, (uint32_t)json_integer_value(json_object_get(line, "round")), (size_t)length);
        }
        json_decref(line);
    }
    free(text);
}

int sp_record_go_on(struct sp_record *record, uint32_t round, bool evaluates, sp_record_take *take, void *arg,
                    struct sp_error *error)
{
    int rc = set_aside(record, error); /* of a run that was stopped */

    if (rc == SP_OK)
        rc = open_history(record, error);
    if (rc != SP_OK)
        return rc;
    rewind(record->history);
    recall(record, round, evaluates, take, arg);
    return cut_history(record, record->end, error);
}

void sp_record_close(struct sp_record *record)
{
    if (record->history != NULL)
        (void)fclose(record->history);
    if (record->lock >= 0)
        (void)close(record->lock);
    free(record->marks);
    record->marks = NULL;
    record->history = NULL;
    record->lock = -1;
}

/* The whole line or nothing of it; past the stream, which would try again later what it could not write now. */
static int write_whole_line(struct sp_record *record, const char *text, struct sp_error *error)
{
    struct iovec line[] = {{(void *)text, strlen(text)}, {(void *)"\n", 1}};
    int fd = fileno(record->history);
    struct stat before;
    int why;

    if (fstat(fd, &before) == 0) {
        if (sp_files_write(fd, line, sizeof line / sizeof line[0]))
            return SP_OK;
        why = errno;
        if (cut_history(record, before.st_size, error) != SP_OK)
            return SP_E_IO;
        errno = why;
    }
    return sp_error_set(error, SP_E_IO, "cannot write %s/history.jsonl: %s", record->folder, strerror(errno));
}

static int write_line(struct sp_record *record, json_t *line, uint32_t round, struct sp_error *error)
{
    char *text = sp_json_text(line, JSON_COMPACT | JSON_REAL_PRECISION(9), 0);
    int rc;

    json_decref(line);
    if (text == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for a line of %s/history.jsonl", record->folder);
    rc = write_whole_line(record, text, error);
    if (rc == SP_OK)
        mark_line(record, round, strlen(text) + 1);
    free(text);
    return rc;
}

int sp_record_point(struct sp_record *record, const struct sp_point *point, struct sp_error *error)
{
    return write_line(record, sp_point_json(point), point->round, error);
}

/* --- decisions -------------------------------------------------------------------------------------------------------
 */

static const char *event_name(enum sp_event_type type)
{
    static const char *const names[] = {[SP_EVENT_SWITCH] = "switch",
                                        [SP_EVENT_RATES] = "rates",
                                        [SP_EVENT_DRY_RUN] = "dry_run",
                                        [SP_EVENT_REFUSAL] = "refusal",
                                        [SP_EVENT_QUARANTINE] = "quarantine"};

    return names[type];
}

static json_t *rates_json(const struct sp_event *event, const struct sp_layout *layout)
{
    json_t *rates = json_object();

    for (uint32_t i = 0; i < layout->trained; i++) {
        if (!sp_tensor_is(&layout->tensors[i], SP_TENSOR_FULL))
            sp_json_put(&rates, layout->tensors[i].name, sp_json_number((double)event->rates[i]));
    }
    return rates;
}

static void put_numbers(json_t **line, const struct sp_numbers *numbers)
{
    const struct {
        const char *key;
        double value;
    } values[] = {{"a", numbers->a},
                  {"b", numbers->b},
                  {"e", numbers->e},
                  {"d", numbers->d},
                  {"noise_scale", numbers->noise_scale},
                  {"first_loss", numbers->first_loss},
                  {"best_loss", numbers->best_loss},
                  {"last_gain", numbers->last_gain},
                  {"lambda_now", numbers->lambda_now},
                  {"lambda_mean", numbers->lambda_mean}};
    const struct {
        const char *key;
        uint32_t value;
    } counts[] = {{"rounds_seen", numbers->rounds_seen},
                  {"window", numbers->window},
                  {"windows", numbers->windows},
                  {"flat_windows", numbers->flat},
                  {"settled_rounds", numbers->settled}};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        sp_json_put(line, values[i].key, sp_json_number(values[i].value));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        sp_json_put(line, counts[i].key, json_integer(counts[i].value));
}

static json_t *suspect_json(const struct sp_event *event, double seconds)
{
    json_t *line = json_object();

    sp_json_put(&line, "event", json_string(event_name(event->type)));
    sp_json_put(&line, "round", json_integer(event->round));
    sp_json_put(&line, "phase", json_string(sp_phase_name(event->from)));
    sp_json_put(&line, "slot", json_integer(event->suspect.slot));
    sp_json_put(&line, "opposed", json_integer(event->suspect.opposed));
    sp_json_put(&line, "others", json_integer(event->suspect.others));
    sp_json_put(&line, "correlation", sp_json_number(event->suspect.correlation));
    sp_json_put(&line, "samples", json_integer(event->suspect.samples));
    sp_json_put(&line, "excluded", json_boolean(event->excluded));
    sp_json_put(&line, "reason", sp_json_words(event->reason));
    sp_json_put(&line, "seconds", sp_json_number(seconds));
    return line;
}

static json_t *event_json(const struct sp_event *event, const struct sp_layout *layout, double seconds)
{
    json_t *line = json_object();

    sp_json_put(&line, "event", json_string(event_name(event->type)));
    sp_json_put(&line, "round", json_integer(event->round));
    sp_json_put(&line, "phase", json_string(sp_phase_name(event->from)));
    sp_json_put(&line, "to", json_string(sp_phase_name(event->to)));
    sp_json_put(&line, "test", sp_json_words(event->test));
    sp_json_put(&line, "reason", sp_json_words(event->reason));
    sp_json_put(&line, "gamma", sp_json_number(event->gamma));
    if (event->rule != NULL) {
        sp_json_put(&line, "rule", json_string(event->rule));
        sp_json_put(&line, "lambda",
                    event->rates != NULL && layout != NULL ? rates_json(event, layout) : sp_json_number(event->lambda));
        sp_json_put(&line, "lambda_is_a_guess", json_boolean(event->about));
        if (event->unbounded != 0.0)
            sp_json_put(&line, "lambda_without_bounds", sp_json_number(event->unbounded));
    }
    put_numbers(&line, &event->numbers);
    sp_json_put(&line, "seconds", sp_json_number(seconds));
    return line;
}

int sp_record_event(struct sp_record *record, const struct sp_event *event, const struct sp_layout *layout,
                    double seconds, struct sp_error *error)
{
    if (event->type == SP_EVENT_QUARANTINE)
        return write_line(record, suspect_json(event, seconds), event->round, error);
    return write_line(record, event_json(event, layout, seconds), event->round, error);
}

/* --- whole files -----------------------------------------------------------------------------------------------------
 */

static int write_file(const struct sp_record *record, const char *name, struct iovec *parts, int count,
                      struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/%s", record->folder, name);
    return sp_files_replace(path, 0666, parts, count, error);
}

int sp_record_text(const struct sp_record *record, const char *name, const char *text, struct sp_error *error)
{
    return write_file(record, name, &(struct iovec){(void *)text, strlen(text)}, 1, error);
}

int sp_record_job(const struct sp_record *record, const struct sp_job *job, struct sp_error *error)
{
    char *text = NULL;
    int rc = sp_job_yaml(job, &text, error);

    if (rc != SP_OK) {
        (void)sp_error_prefix(error, "cannot write %s/job.yaml", record->folder);
        return rc;
    }
    rc = sp_record_text(record, "job.yaml", text, error);
    free(text);
    return rc;
}

int sp_record_json(const struct sp_record *record, const char *name, json_t *object, struct sp_error *error)
{
    char *text = sp_json_text(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9), 0);
    struct iovec parts[2] = {{text, 0}, {(void *)"\n", 1}};
    int rc;

    if (text == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for %s", name);
    parts[0].iov_len = strlen(text);
    rc = write_file(record, name, parts, 2, error);
    free(text);
    return rc;
}

/* safetensors: u64 length of a JSON header, the header padded with spaces to 8 bytes, then the tensors' bytes. */
int sp_record_model(const struct sp_record *record, const char *name, const struct sp_layout *layout,
                    const float *theta, const float *buffers, json_t *metadata, struct sp_error *error)
{
    json_t *header = json_object();
    char *text;
    size_t length, room;
    uint64_t length_le;
    int rc;

    sp_json_put(&header, "__metadata__", json_incref(metadata));
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];
        json_t *shape = json_array();
        uint64_t first = i < layout->trained ? tensor->first : layout->coordinates + tensor->first;
        json_int_t begin = (json_int_t)(first * sizeof(float));

        for (uint32_t k = 0; k < tensor->dims; k++)
            sp_json_append(&shape, json_integer((json_int_t)tensor->shape[k]));
        sp_json_put(&header, tensor->name,
                    json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", begin,
                              begin + (json_int_t)(tensor->count * sizeof(float))));
    }
    text = sp_json_text(header, JSON_COMPACT, 8);
    json_decref(header);
    if (text == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for %s", name);
    length = strlen(text);
    room = (length + 7) / 8 * 8;
    memset(text + length, ' ', room - length);
    length_le = room;
    rc = write_file(record, name,
                    (struct iovec[]){{&length_le, sizeof length_le},
                                     {text, room},
                                     {(void *)theta, (size_t)(layout->coordinates * sizeof(float))},
                                     {(void *)buffers, (size_t)(layout->buffers * sizeof(float))}},
                    4, error);
    free(text);
    return rc;
}
