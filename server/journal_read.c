/* Reading: segment by segment, each record twice: first whether it is complete, then what it says. */
#include "server/files.h"
#include "server/journal_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES 65536

/* --- segments --------------------------------------------------------------------------------------------------------
 */

static int other_version(const char *path, char version, struct sp_error *error)
{
    return sp_error_set(
        error, SP_E_UNSUPPORTED,
        "%s has version '%c' of the journal's format, and this program reads version %d; use the release "
        "of Signpost that wrote it",
        sp_files_shown(path), version > ' ' && version < 0x7f ? version : '?', SP_JOURNAL_VERSION);
}

int sp_segment_look(const char *folder, uint32_t round, struct sp_segment *segment, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES];
    uint8_t header[SP_SEGMENT_HEADER_BYTES] = {0};
    struct stat status;
    uint32_t named;
    int64_t n = -1;
    int fd;

    sp_files_path(folder, round, SP_SEGMENT_SUFFIX, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sp_files_error(error, "read", path);
    if (fstat(fd, &status) == 0)
        n = sp_files_read(fd, 0, header, sizeof header);
    if (n < 0) {
        (void)sp_files_error(error, "read", path);
        (void)close(fd);
        return SP_E_IO;
    }
    (void)close(fd);
    if (n > SP_SEGMENT_MAGIC_BYTES && memcmp(header, SP_SEGMENT_MAGIC, SP_SEGMENT_MAGIC_BYTES) == 0 &&
        header[SP_SEGMENT_MAGIC_BYTES] != '0' + SP_JOURNAL_VERSION)
        return other_version(path, (char)header[SP_SEGMENT_MAGIC_BYTES], error);
    *segment = (struct sp_segment){.round = round, .bytes = (uint64_t)status.st_size};
    segment->whole = n == sizeof header && sp_segment_decode(header, &named, &segment->run) && named == round;
    return SP_OK;
}

int sp_segments_list(const char *folder, struct sp_segment **segments, size_t *count, struct sp_error *error)
{
    uint32_t *rounds;
    int rc = sp_files_list(folder, SP_SEGMENT_SUFFIX, &rounds, count, error);

    *segments = NULL;
    if (rc != SP_OK)
        return rc;
    *segments = calloc(*count + 1, sizeof **segments);
    if (*segments == NULL) {
        free(rounds);
        *count = 0;
        return sp_error_set(error, SP_E_NOMEM, "no memory for the names of the journal's segments in %s",
                            sp_files_shown(folder));
    }
    for (size_t i = 0; i < *count && rc == SP_OK; i++)
        rc = sp_segment_look(folder, rounds[i], &(*segments)[i], error);
    free(rounds);
    if (rc != SP_OK) {
        free(*segments);
        *segments = NULL;
        *count = 0;
    }
    return rc;
}

/* --- entries ---------------------------------------------------------------------------------------------------------
 */

struct reading {
    const char *folder;
    uint32_t after, to;
    sp_journal_take *take;
    void *arg;
    struct sp_journal_scan *scan;
    struct sp_error *error;
    char path[SP_FILES_PATH_BYTES]; /* of the segment that is read */
    int fd;
    uint64_t bytes;
    uint64_t from; /* how far it is good */
    uint32_t at;   /* round of the last record that is complete, wanted or not */
    uint8_t *body; /* owned */
    size_t body_room;
};

static int cannot_read(struct reading *reading)
{
    return sp_files_error(reading->error, "read", reading->path);
}

/* A file that is shorter than it was is for the caller to notice: the bytes are then not whole. */
static int read_bytes(struct reading *reading, uint64_t from, void *to, size_t bytes, bool *whole)
{
    int64_t n = sp_files_read(reading->fd, from, to, bytes);

    if (n < 0)
        return cannot_read(reading);
    *whole = (size_t)n == bytes;
    return SP_OK;
}

static int make_room(struct reading *reading, size_t bytes)
{
    uint8_t *grown;

    if (bytes <= reading->body_room)
        return SP_OK;
    grown = realloc(reading->body, bytes);
    if (grown == NULL)
        return sp_error_set(reading->error, SP_E_NOMEM, "no memory for an entry of %zu bytes of %s", bytes,
                            sp_files_shown(reading->path));
    reading->body = grown;
    reading->body_room = bytes;
    return SP_OK;
}

/* The entry that begins there, its body in reading->body; *good is whether it is one, whole and as it was written. */
static int read_entry(struct reading *reading, uint64_t from, struct sp_entry *entry, bool *good)
{
    static const uint8_t zeros[SP_ENTRY_ALIGNMENT];
    uint8_t head[SP_ENTRY_HEAD_BYTES];
    uint32_t crc = 0, bytes;
    int rc;

    *good = false;
    if (reading->bytes - from < SP_ENTRY_HEAD_BYTES)
        return SP_OK;
    rc = read_bytes(reading, from, head, sizeof head, good);
    if (rc != SP_OK || !*good)
        return rc;
    *good = sp_entry_decode(head, entry, &crc) && sp_entry_size(entry->bytes) <= reading->bytes - from;
    if (!*good)
        return SP_OK;
    bytes = entry->bytes + sp_entry_padding(entry->bytes);
    rc = make_room(reading, bytes + SP_ENTRY_ALIGNMENT);
    if (rc == SP_OK)
        rc = read_bytes(reading, from + SP_ENTRY_HEAD_BYTES, reading->body, bytes, good);
    if (rc == SP_OK && *good)
        *good = sp_crc32c(reading->body, entry->bytes) == crc &&
                memcmp(reading->body + entry->bytes, zeros, bytes - entry->bytes) == 0;
    return rc;
}

/* --- records ---------------------------------------------------------------------------------------------------------
 */

/* From where on the record counts that begins at `from`, and where it ends; *good is whether it is complete. */
static int look_at_record(struct reading *reading, uint64_t from, uint64_t *first, uint64_t *end, bool *good)
{
    bool after_first_gradient = false, begun = false;
    struct sp_entry entry;

    for (*end = from; *end < reading->bytes; *end += sp_entry_size(entry.bytes)) {
        int rc = read_entry(reading, *end, &entry, good);

        if (rc != SP_OK || !*good)
            return rc;
        if (sp_entry_is_first(&entry, after_first_gradient)) {
            *first = *end;
            begun = true;
            after_first_gradient = entry.type == SP_ENTRY_GRADIENT;
        } else {
            after_first_gradient = false;
        }
        *good = begun && entry.round == reading->at + 1;
        if (!*good)
            return SP_OK;
        if (entry.type == SP_ENTRY_COMMIT) {
            *end += sp_entry_size(entry.bytes);
            return SP_OK;
        }
    }
    *good = false;
    return SP_OK;
}

static int take_record(struct reading *reading, uint64_t first, uint64_t end)
{
    struct sp_entry entry;
    bool good;

    for (uint64_t from = first; from < end; from += sp_entry_size(entry.bytes)) {
        int rc = read_entry(reading, from, &entry, &good);

        if (rc == SP_OK && !good)
            rc = sp_error_set(reading->error, SP_E_IO, "%s was changed while it was read",
                              sp_files_shown(reading->path));
        if (rc == SP_OK)
            rc = reading->take(reading->arg, &entry, reading->body, reading->error);
        if (rc != SP_OK)
            return rc;
    }
    return SP_OK;
}

/* Records one after the other, up to one that is not complete, the end, or round `to`. */
static int read_records(struct reading *reading)
{
    uint64_t first = 0, end;
    bool good;

    while (reading->from < reading->bytes && reading->at < reading->to) {
        int rc = look_at_record(reading, reading->from, &first, &end, &good);

        if (rc != SP_OK || !good)
            return rc;
        if (reading->at + 1 > reading->after) {
            rc = take_record(reading, first, end);
            if (rc != SP_OK)
                return rc;
            reading->scan->last = reading->at + 1;
        }
        reading->at++;
        reading->from = end;
    }
    return SP_OK;
}

/* --- what is not good ------------------------------------------------------------------------------------------------
 */

static bool is_commit_after(const uint8_t *head, uint32_t round)
{
    struct sp_entry entry;
    uint32_t crc;

    return sp_entry_decode(head, &entry, &crc) && entry.type == SP_ENTRY_COMMIT && entry.round > round;
}

/* Whether a round later than the next was written behind what is not good: then that is no torn tail. */
static int look_for_more(struct reading *reading, bool *found)
{
    uint8_t window[WINDOW_BYTES];
    uint64_t at = reading->from;

    *found = false;
    while (!*found && at < reading->bytes) {
        int64_t n = sp_files_read(reading->fd, at, window, sizeof window);
        size_t i = 0;

        if (n < 0)
            return cannot_read(reading);
        for (; i + SP_ENTRY_HEAD_BYTES <= (size_t)n && !*found; i += SP_ENTRY_ALIGNMENT)
            *found = is_commit_after(window + i, reading->at + 1);
        if (i == 0)
            return SP_OK;
        at += i;
    }
    return SP_OK;
}

static int read_segment(struct reading *reading, const struct sp_segment *segment)
{
    reading->from = 0;
    reading->bytes = segment->bytes;
    sp_files_path(reading->folder, segment->round, SP_SEGMENT_SUFFIX, reading->path);
    reading->fd = open(reading->path, O_RDONLY | O_CLOEXEC);
    if (reading->fd < 0)
        return cannot_read(reading);
    if (!segment->whole)
        return SP_OK;
    reading->from = SP_SEGMENT_HEADER_BYTES;
    return read_records(reading);
}

/* What of the segment was not read, and that of round `unread` follows, or none (0). */
static void set_end(struct reading *reading, uint32_t unread)
{
    struct sp_journal_scan *scan = reading->scan;

    (void)snprintf(scan->torn_path, sizeof scan->torn_path, "%s", reading->path);
    scan->torn_at = reading->from;
    scan->torn_bytes = reading->bytes - reading->from;
    scan->unread = unread;
}

/* After the last segment, or that of round `to`. */
static int look_at_end(struct reading *reading, uint32_t unread)
{
    struct sp_journal_scan *scan = reading->scan;
    bool found = false;
    int rc = SP_OK;

    if (reading->at >= reading->to) {
        scan->more = unread > 0 || reading->from < reading->bytes;
    } else if (reading->from < reading->bytes || reading->from == 0) {
        rc = look_for_more(reading, &found);
        scan->gap = found;
        scan->torn = !found;
    }
    if (scan->more || scan->gap || scan->torn)
        set_end(reading, unread);
    return rc;
}

/* The one of round `next` (0: none) must begin where this one ends. */
static int read_and_look(struct reading *reading, const struct sp_segment *segment, uint32_t next, bool *ended)
{
    int rc = read_segment(reading, segment);

    *ended = rc != SP_OK || next == 0 || reading->at >= reading->to || reading->at != next;
    if (rc == SP_OK && *ended) {
        if (next > 0 && reading->at < reading->to) {
            reading->scan->gap = true;
            set_end(reading, next);
        } else {
            rc = look_at_end(reading, next);
        }
    }
    if (reading->fd >= 0)
        (void)close(reading->fd);
    reading->fd = -1;
    return rc;
}

static int read_segments(struct reading *reading, const struct sp_segment *segments, size_t count)
{
    bool ended = false;
    int rc = SP_OK;

    reading->at = segments[0].round;
    if (reading->at > reading->after) {
        reading->scan->gap = true;
        reading->scan->unread = reading->at;
        return SP_OK;
    }
    for (size_t i = 0; i < count && !ended; i++)
        rc = read_and_look(reading, &segments[i], i + 1 < count ? segments[i + 1].round : 0, &ended);
    free(reading->body);
    return rc;
}

/* Leaves those of the run, from the one on that holds what follows round `after`. */
static size_t choose(struct sp_segment *segments, size_t count, uint64_t run, uint32_t after)
{
    size_t ours = 0, first = 0;

    for (size_t i = 0; i < count; i++) {
        if (sp_segment_is_of(&segments[i], run))
            segments[ours++] = segments[i];
    }
    while (first + 1 < ours && segments[first + 1].round <= after)
        first++;
    memmove(segments, segments + first, (ours - first) * sizeof *segments);
    return ours - first;
}

int sp_journal_read(const char *folder, uint64_t run, uint32_t after, uint32_t to, sp_journal_take *take, void *arg,
                    struct sp_journal_scan *scan, struct sp_error *error)
{
    struct reading *reading;
    struct sp_segment *segments;
    size_t count;
    int rc = sp_segments_list(folder, &segments, &count, error);

    memset(scan, 0, sizeof *scan);
    scan->run = run;
    if (rc != SP_OK)
        return rc;
    count = choose(segments, count, run, after);
    reading = calloc(1, sizeof *reading);
    if (reading == NULL) {
        rc = sp_error_set(error, SP_E_NOMEM, "no memory to read the journal in %s", sp_files_shown(folder));
    } else if (count > 0 && to > after) {
        *reading = (struct reading){.folder = folder, .after = after, .to = to, .take = take, .arg = arg};
        reading->scan = scan;
        reading->error = error;
        reading->fd = -1;
        rc = read_segments(reading, segments, count);
    }
    free(reading);
    free(segments);
    return rc;
}

/* --- mending ---------------------------------------------------------------------------------------------------------
 */

static int copy_bytes(int from, uint64_t at, int to, const char *path, struct sp_error *error)
{
    uint8_t window[WINDOW_BYTES];

    for (;;) {
        int64_t n = sp_files_read(from, at, window, sizeof window);
        struct iovec part = {window, n > 0 ? (size_t)n : 0};

        if (n < 0)
            return sp_files_error(error, "read what is to be kept as", path);
        if (n == 0)
            break;
        if (!sp_files_write(to, &part, 1))
            return sp_files_error(error, "write", path);
        at += (uint64_t)n;
    }
    return fsync(to) == 0 ? SP_OK : sp_files_error(error, "sync", path);
}

/* What was not read is kept, for whoever wants to look at it. */
static int keep_rest(const struct sp_journal_scan *scan, int fd, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES + 16];
    int to, rc;

    (void)snprintf(path, sizeof path, "%s" SP_ASIDE_SUFFIX, scan->torn_path);
    to = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (to < 0)
        return sp_files_error(error, "write", path);
    rc = copy_bytes(fd, scan->torn_at, to, path, error);
    (void)close(to);
    return rc;
}

static int cut(const struct sp_journal_scan *scan, struct sp_error *error)
{
    const char *path = scan->torn_path;
    int fd = open(path, O_RDWR | O_CLOEXEC), rc = SP_OK;

    if (fd < 0)
        return sp_files_error(error, "open", path);
    if (!scan->torn && scan->torn_bytes > 0)
        rc = keep_rest(scan, fd, error);
    if (rc == SP_OK && (ftruncate(fd, (off_t)scan->torn_at) != 0 || fsync(fd) != 0))
        rc = sp_files_error(error, "cut the end off", path);
    if (rc == SP_OK && scan->torn_at < SP_SEGMENT_HEADER_BYTES && unlink(path) != 0)
        rc = sp_files_error(error, "delete", path);
    (void)close(fd);
    return rc;
}

static int rename_unread(const char *folder, const struct sp_journal_scan *scan, struct sp_error *error)
{
    char path[SP_FILES_PATH_BYTES], aside[SP_FILES_PATH_BYTES + 16];
    struct sp_segment *segments;
    size_t count;
    int rc = sp_segments_list(folder, &segments, &count, error);

    for (size_t i = 0; i < count && rc == SP_OK; i++) {
        if (segments[i].round < scan->unread || !sp_segment_is_of(&segments[i], scan->run))
            continue;
        sp_files_path(folder, segments[i].round, SP_SEGMENT_SUFFIX, path);
        (void)snprintf(aside, sizeof aside, "%s" SP_ASIDE_SUFFIX, path);
        if (rename(path, aside) != 0)
            rc = sp_files_error(error, "rename", path);
    }
    free(segments);
    return rc;
}

int sp_journal_mend(const char *folder, const struct sp_journal_scan *scan, struct sp_error *error)
{
    int rc = SP_OK;

    if (!scan->torn && !scan->gap && !scan->more)
        return SP_OK;
    if (scan->torn_path[0] != '\0')
        rc = cut(scan, error);
    if (rc == SP_OK && scan->unread > 0)
        rc = rename_unread(folder, scan, error);
    return rc == SP_OK ? sp_files_sync_folder(folder, error) : rc;
}
