/* Answers that are made piece by piece while they are sent: a slow client holds a cursor here and no more. */
#include "server/http_state.h"

#include <stdlib.h>
#include <string.h>

#define SERIES_PIECE_BYTES 1024 /* a line takes tens of microseconds to make: no more at once for each client */
#define HISTORY_PIECE_BYTES 32768
#define ROUND_WITHIN 128 /* bytes of a line, in which its round stands */

/* --- the curve -------------------------------------------------------------------------------------------------------
 */

struct series_cursor {
    struct sp_server *server;
    uint32_t after, end; /* rounds: the last one sent, and the last there was when the request came */
    char *line;          /* owned: being sent; NULL: none */
    size_t length, sent;
};

static bool next_point(struct series_cursor *cursor)
{
    const struct sp_point *point = sp_series_after(&cursor->server->progress.series, cursor->after);
    json_t *json = point != NULL && cursor->after < cursor->end ? sp_point_json(point) : NULL;

    if (json == NULL)
        return false;
    cursor->after = point->round;
    cursor->line = sp_json_text(json, JSON_COMPACT | JSON_REAL_PRECISION(6), 1);
    json_decref(json);
    if (cursor->line == NULL)
        return false;
    cursor->length = strlen(cursor->line);
    cursor->line[cursor->length++] = '\n';
    cursor->sent = 0;
    return true;
}

static ssize_t read_series(void *arg, uint64_t at, char *to, size_t room)
{
    struct series_cursor *cursor = arg;
    size_t used = 0;

    (void)at;
    room = room < SERIES_PIECE_BYTES ? room : SERIES_PIECE_BYTES;
    while (used < room && (cursor->line != NULL || next_point(cursor))) {
        size_t left = cursor->length - cursor->sent;
        size_t n = left < room - used ? left : room - used;

        memcpy(to + used, cursor->line + cursor->sent, n);
        used += n;
        cursor->sent += n;
        if (cursor->sent < cursor->length)
            break;
        free(cursor->line);
        cursor->line = NULL;
    }
    return used > 0 ? (ssize_t)used : MHD_CONTENT_READER_END_OF_STREAM;
}

static void forget_series(void *arg)
{
    struct series_cursor *cursor = arg;

    free(cursor->line);
    free(cursor);
}

struct MHD_Response *sp_http_series(struct sp_server *server, uint32_t after)
{
    struct series_cursor *cursor = calloc(1, sizeof *cursor);
    struct MHD_Response *response;

    if (cursor == NULL)
        return NULL;
    cursor->server = server;
    cursor->after = after;
    cursor->end = server->progress.series.recent.round;
    response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, SERIES_PIECE_BYTES, read_series, cursor, forget_series);
    if (response == NULL)
        forget_series(cursor);
    return response;
}

/* --- the history -----------------------------------------------------------------------------------------------------
 */

struct history_cursor {
    struct sp_server *server;
    uint32_t from;
    off_t at, end;      /* bytes of the file */
    bool within, gives; /* in the midst of a line; which is sent */
};

/* Lines are ours: "round" is among their first keys. */
static bool is_wanted(const char *line, size_t bytes, uint32_t from)
{
    static const char key[] = "\"round\":";
    const char *found = memmem(line, bytes < ROUND_WITHIN ? bytes : ROUND_WITHIN, key, sizeof key - 1);

    return found != NULL && strtoull(found + sizeof key - 1, NULL, 10) >= from;
}

/* Takes the piece of a line, or all of it, that begins a block; returns how much of it was sent. */
static size_t take_piece(struct history_cursor *cursor, const char *block, size_t bytes, char *to, size_t room)
{
    const char *newline = memchr(block, '\n', bytes);
    size_t piece = newline != NULL ? (size_t)(newline - block) + 1 : bytes;

    if (!cursor->within)
        cursor->gives = is_wanted(block, piece, cursor->from);
    if (cursor->gives && piece > room) {
        piece = room;
        newline = NULL;
    }
    if (cursor->gives)
        memcpy(to, block, piece);
    cursor->within = newline == NULL;
    cursor->at += (off_t)piece;
    return cursor->gives ? piece : 0;
}

/* Whether a line begins here of which not enough is there to tell its round. */
static bool is_cut_short(const struct history_cursor *cursor, const char *block, size_t bytes)
{
    return !cursor->within && bytes < ROUND_WITHIN && memchr(block, '\n', bytes) == NULL;
}

static ssize_t read_history(void *arg, uint64_t pos, char *to, size_t room)
{
    char block[HISTORY_PIECE_BYTES + 1];
    struct history_cursor *cursor = arg;
    size_t used = 0;

    (void)pos;
    while (used == 0 && cursor->at < cursor->end) {
        off_t left = cursor->end - cursor->at;
        size_t want = left < HISTORY_PIECE_BYTES ? (size_t)left : HISTORY_PIECE_BYTES;
        ssize_t n = sp_record_read(&cursor->server->record, cursor->at, block, want);
        off_t began = cursor->at;

        if (n <= 0)
            return n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
        block[n] = '\0';
        while (cursor->at - began < n && used < room) {
            size_t done = (size_t)(cursor->at - began);

            if (is_cut_short(cursor, block + done, (size_t)n - done) && done > 0)
                break; /* the next block begins with this line */
            used += take_piece(cursor, block + done, (size_t)n - done, to + used, room - used);
        }
    }
    return used > 0 ? (ssize_t)used : MHD_CONTENT_READER_END_OF_STREAM;
}

struct MHD_Response *sp_http_history(struct sp_server *server, uint32_t from)
{
    struct history_cursor *cursor = calloc(1, sizeof *cursor);
    struct MHD_Response *response;

    if (cursor == NULL)
        return NULL;
    cursor->server = server;
    cursor->from = from;
    cursor->at = sp_record_find(&server->record, from);
    cursor->end = server->record.end;
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HISTORY_PIECE_BYTES, read_history, cursor, free);
    if (response == NULL)
        free(cursor);
    return response;
}
