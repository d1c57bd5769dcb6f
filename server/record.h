/* What a run leaves in its folder: job.yaml at its start; history.jsonl while it goes on; summary.json and
 * model.safetensors at its end.
 *
 * Files that are written whole go to a temporary name first, are synced, and then renamed: a reader sees the old file
 * or the new one, never a part.
 */
#pragma once

#include "common/error.h"
#include "common/layout.h"
#include "server/round.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

#define SP_RECORD_FOLDER_BYTES 1200
#define SP_RECORD_MARK_BYTES 65536

struct sp_point;

/* No line before byte `at` is of a later round than this. */
struct sp_mark {
    off_t at;
    uint32_t round;
};

struct sp_record {
    FILE *history;         /* owned */
    struct sp_mark *marks; /* owned: one every SP_RECORD_MARK_BYTES or so */
    size_t marks_count;
    off_t end;       /* of the history, as far as it was marked */
    uint32_t latest; /* round of its lines so far */
    int lock;        /* file descriptor; the folder is ours while it is open */
    char folder[SP_RECORD_FOLDER_BYTES];
};

/* Makes the folder if need be and locks it. Fails if another server uses it. */
int sp_record_open(struct sp_record *record, const char *folder, struct sp_error *error);

/* A new run: what an earlier one left is set aside, and a new history begins. */
int sp_record_begin(struct sp_record *record, struct sp_error *error);

/* Is given a line of a history; borrowed. */
typedef void sp_record_take(void *arg, const json_t *line);

/* A run that goes on after a round: its history stays, without lines of later rounds, without the report of that one if
 * it is evaluated again, and without a line that was cut in the middle. `take` is given what stays. */
int sp_record_go_on(struct sp_record *record, uint32_t round, bool evaluates, sp_record_take *take, void *arg,
                    struct sp_error *error);
void sp_record_close(struct sp_record *record);

/* Writes FOLDER/job.yaml: the whole job, with what --set said, as a job file that makes the same run again. */
int sp_record_job(const struct sp_record *record, const struct sp_job *job, struct sp_error *error);

/* A line of the history: the rounds since the last one. */
int sp_record_point(struct sp_record *record, const struct sp_point *point, struct sp_error *error);

/* A line of the history: a decision with all its numbers. `layout` names its rates. */
int sp_record_event(struct sp_record *record, const struct sp_event *event, const struct sp_layout *layout,
                    double seconds, struct sp_error *error);

/* Reads of the history, from byte `at` on: as many bytes as there are, at most `room`; 0: no more. -1: it cannot be
 * read.
 */
ssize_t sp_record_read(const struct sp_record *record, off_t at, char *to, size_t room);
/* The byte that lines of this round and later ones begin behind. Some of earlier rounds may follow it as well. */
off_t sp_record_find(const struct sp_record *record, uint32_t round);

/* Writes FOLDER/NAME atomically. */
int sp_record_json(const struct sp_record *record, const char *name, json_t *object, struct sp_error *error);
int sp_record_text(const struct sp_record *record, const char *name, const char *text, struct sp_error *error);

/* Writes FOLDER/NAME (model.safetensors): one F32 tensor for each of the layout, buffers included (NULL: it has none),
 * and `metadata`, a JSON object of strings (NULL: there was no memory for it). */
int sp_record_model(const struct sp_record *record, const char *name, const struct sp_layout *layout,
                    const float *theta, const float *buffers, json_t *metadata, struct sp_error *error);

/* A number, or JSON's null where it is not finite. */
json_t *sp_json_number(double value);

/* Words that may hold what others wrote: of bytes that are no UTF-8 a '?' is left. NULL: out of memory. */
json_t *sp_json_words(const char *text);

/* The object as text, which the caller frees, with room for `more` bytes behind it; NULL if out of memory. Unlike
 * json_dumps(), which goes on without the keys that it has no memory for. */
char *sp_json_text(const json_t *object, size_t flags, size_t more);

/* Puts a value, which it takes over, into an object or behind an array. Without memory for it the whole is given up and
 * *object or *array is NULL, as it then stays: JSON with a key missing would be taken for the truth. */
void sp_json_put(json_t **object, const char *key, json_t *value);
void sp_json_append(json_t **array, json_t *value);
