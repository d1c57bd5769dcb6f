/* What the parts of the reader of job files know of each other; not for anybody else. */
#pragma once

#include "common/config.h"

#include <yaml.h>

#define SP_PATH_BYTES 256
#define SP_PLACES_MAX 256 /* more than there are keys and groups of keys */

/* Where a known key or group of keys was given. */
struct place {
    char path[64];
    unsigned line, column; /* 0 if only a --set gave it */
    const char *set;       /* the --set that gave it last; NULL if the file did */
    bool broken;           /* what it holds was refused, so nothing further is said about it */
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; owned */
    unsigned depth;     /* of mappings and lists that are open, the current event included */
    bool ended;         /* there are no more events */
    bool cut;           /* not all of the file was understood: what seems to be missing may be there */
    bool refused;       /* a value was refused: checks of several values would compare a default in its place */
    const char *text;
    size_t bytes;
    struct sp_job *job;
    struct sp_problems *problems;
    int code; /* of the first problem */
    struct place place[SP_PLACES_MAX];
    unsigned places;
};

/* config_place.c. Of a problem line and column are those in the file, 0 for none. */
void sp_reader_problem(struct reader *r, int code, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void sp_reader_set_problem(struct reader *r, int code, const char *set, const char *words);
struct place *sp_reader_place(struct reader *r, const char *path); /* NULL if it was not given */
/* The place of `path`, else of the innermost group around it that was given, else NULL. */
struct place *sp_reader_nearest_place(struct reader *r, const char *path);
struct place *sp_reader_add_place(struct reader *r, const char *path, unsigned line, unsigned column);
void sp_reader_refuse(struct reader *r, struct place *place);

/* config_yaml.c. */
/* Line and column, in characters, of a byte. */
void sp_reader_locate(const struct reader *r, size_t offset, unsigned *line, unsigned *column);
unsigned sp_reader_line(const struct reader *r); /* of the current event */
unsigned sp_reader_column(const struct reader *r);
/* Goes on to the next event. False, and no event, after the last one or at a problem that cannot be passed. */
bool sp_reader_next(struct reader *r);
/* Goes to the end of the node of which the current event is the start. */
void sp_reader_skip(struct reader *r);
const char *sp_reader_kind(const struct reader *r); /* "a list" */
/* The text of the current scalar; NULL, and a problem, if it holds a NUL. */
const char *sp_reader_text(struct reader *r);
bool sp_reader_is_null(const struct reader *r); /* what YAML takes for no value at all */

/* config_keys.c. */
/* The current event is not what the key takes: "KEY: must be ..., " and the words. */
void sp_reader_refuse_value(struct reader *r, struct place *place, const struct sp_key *key, int code,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Reads the whole file into the job. */
void sp_reader_read(struct reader *r);

/* config_rules.c: the value of `tensors`, of which the current event is the start. */
void sp_reader_rules(struct reader *r, const struct sp_key *key, struct place *place);
