/* Writing: lists of entries on the loop, segments on the thread. Three lists change places, so that a steady round
 * allocates nothing: of the record that is not complete, of what is to be written next, and of what is being written.
 */
#include "server/files.h"
#include "server/journal_format.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP 128           /* entries a write */
#define PARTS_OF_AN_ENTRY 3 /* head, body, padding */

struct item {
    struct sp_entry entry;
    bool begins;            /* no entry: a segment begins, for what follows entry.round */
    const void *body;       /* in `hold` */
    struct sp_buffer *hold; /* owned, one reference; NULL: the body is among the list's copies, from `at` on */
    size_t at;
};

struct list {
    struct item *items; /* owned */
    size_t count, room;
    uint8_t *copies; /* owned */
    size_t copied, copies_room;
    uint64_t bytes; /* of its entries, in the file */
};

/* The thread's, while a job runs; else the loop's. */
struct writer {
    char folder[SP_FILES_PATH_BYTES], path[SP_FILES_PATH_BYTES];
    uint64_t run;
    enum sp_fsync fsync;
    int fd;         /* of the present segment; -1: none, nothing is written until one begins */
    uint32_t round; /* that it follows */
    uint64_t at;    /* where the next entry goes */
    uint64_t good;  /* where its last complete record ends */
    bool dirty;     /* something was written since the last sync */
    uint32_t written, synced;
    struct sp_segment *segments; /* owned; of this run, the present one last */
    size_t segments_count;
    uint64_t bytes; /* of all of them */
    uint64_t syncs, sync_ns, longest_ns;
    struct sp_error error; /* code SP_OK: none */
};

struct sp_journal {
    struct sp_disk_job job; /* first: the thread gets the journal from it */
    struct sp_disk *disk;
    const struct sp_journal_events *events;
    void *owner;
    struct list open, next, writing;
    uint32_t open_round;
    bool broken;               /* memory was missing for an entry of the open record */
    bool after_first_gradient; /* the open record has nothing but the gradient of its first chunk */
    bool in_flight, well;
    bool sync_wanted, sync;   /* with the next job, and with the present one */
    bool prune_wanted, prune; /* likewise */
    uint32_t prune_round, pruned_round;
    uint64_t prune_max, pruned_max;
    struct sp_error trouble; /* on the loop: code SP_OK: none */
    struct writer writer;
    uint64_t segment_bytes;
    /* Copies of the writer's, as of the last job that was done. */
    uint32_t written, synced;
    uint64_t bytes, syncs, sync_ns, longest_ns;
};

/* --- lists -----------------------------------------------------------------------------------------------------------
 */

static void empty(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        sp_buffer_release(list->items[i].hold);
    list->count = list->copied = 0;
    list->bytes = 0;
}

static void finish(struct list *list)
{
    empty(list);
    free(list->items);
    free(list->copies);
}

static void swap(struct list *a, struct list *b)
{
    struct list c = *a;

    *a = *b;
    *b = c;
}

static void *grow(void *old, size_t *room, size_t wanted, size_t unit)
{
    size_t more = *room > 0 ? *room : 64;
    void *grown;

    while (more < wanted)
        more *= 2;
    grown = reallocarray(old, more, unit);
    if (grown != NULL)
        *room = more;
    return grown;
}

static bool make_room(struct list *list, size_t items, size_t bytes)
{
    if (list->count + items > list->room) {
        struct item *grown = grow(list->items, &list->room, list->count + items, sizeof *grown);

        if (grown == NULL)
            return false;
        list->items = grown;
    }
    if (list->copied + bytes > list->copies_room) {
        uint8_t *grown = grow(list->copies, &list->copies_room, list->copied + bytes, 1);

        if (grown == NULL)
            return false;
        list->copies = grown;
    }
    return true;
}

static bool append(struct list *list, const struct sp_entry *entry, const void *body, struct sp_buffer *hold)
{
    struct item *item;

    if (!make_room(list, 1, hold == NULL ? entry->bytes : 0))
        return false;
    item = &list->items[list->count++];
    *item = (struct item){.entry = *entry, .body = body, .at = list->copied};
    list->bytes += sp_entry_size(entry->bytes);
    if (hold != NULL) {
        item->hold = sp_buffer_hold(hold);
    } else if (entry->bytes > 0) {
        memcpy(list->copies + list->copied, body, entry->bytes);
        list->copied += entry->bytes;
    }
    return true;
}

static bool append_segment(struct list *list, uint32_t round)
{
    if (!make_room(list, 1, 0))
        return false;
    list->items[list->count++] = (struct item){.begins = true, .entry = {.round = round}};
    return true;
}

/* All of `from` goes behind `to`, as a rule by changing places. */
static bool move(struct list *to, struct list *from)
{
    if (to->count == 0) {
        swap(to, from);
        return true;
    }
    if (!make_room(to, from->count, from->copied))
        return false;
    for (size_t i = 0; i < from->count; i++) {
        to->items[to->count] = from->items[i];
        to->items[to->count++].at += to->copied;
    }
    if (from->copied > 0)
        memcpy(to->copies + to->copied, from->copies, from->copied);
    to->copied += from->copied;
    to->bytes += from->bytes;
    from->count = from->copied = 0;
    from->bytes = 0;
    return true;
}

/* --- the thread: segments --------------------------------------------------------------------------------------------
 */

/* The system tells of a failure once: another sync would find nothing to do, and lie. So it is clean either way. */
static bool sync_file(struct writer *w)
{
    uint64_t began = uv_hrtime(), took;
    bool well = fdatasync(w->fd) == 0;

    w->dirty = false;
    took = uv_hrtime() - began;
    w->syncs++;
    w->sync_ns += took;
    if (took > w->longest_ns)
        w->longest_ns = took;
    if (well)
        w->synced = w->written;
    return well;
}

static void close_segment(struct writer *w)
{
    (void)close(w->fd);
    w->fd = -1;
    w->dirty = false;
}

/* What follows the last complete record is cut off, or the whole file if there is none in it; what was complete is
 * still brought to the disk, if that can be. */
static void give_up(struct writer *w)
{
    if (w->fd < 0)
        return;
    if (w->good == 0)
        (void)unlink(w->path);
    else if (ftruncate(w->fd, (off_t)w->good) != 0)
        sp_log_warn("journal", "cannot cut %s after its last whole record: %s; it is cut when it is read",
                    sp_files_shown(w->path), strerror(errno));
    w->bytes -= w->at - w->good;
    if (w->dirty && w->fsync != SP_FSYNC_NEVER)
        (void)sync_file(w);
    close_segment(w);
}

static void fail(struct writer *w, const char *verb)
{
    (void)sp_files_error(&w->error, verb, w->path);
    give_up(w);
}

static bool sync_if_dirty(struct writer *w)
{
    if (w->fd < 0 || !w->dirty || w->fsync == SP_FSYNC_NEVER || sync_file(w))
        return true;
    fail(w, "sync");
    return false;
}

static bool sync_names(struct writer *w)
{
    if (w->fsync == SP_FSYNC_NEVER || sp_files_sync_folder(w->folder, &w->error) == SP_OK)
        return true;
    give_up(w);
    return false;
}

/* A file of that name has no record of this run, for they would be of rounds that are yet to come. */
static void set_aside(const char *path)
{
    char aside[SP_FILES_PATH_BYTES + 16];
    struct stat status;

    if (stat(path, &status) != 0)
        return;
    if (status.st_size <= SP_SEGMENT_HEADER_BYTES) {
        (void)unlink(path);
        return;
    }
    (void)snprintf(aside, sizeof aside, "%s" SP_ASIDE_SUFFIX, path);
    if (rename(path, aside) == 0)
        sp_log_warn("journal", "%s is in the way of a new one: it was renamed, to " SP_ASIDE_SUFFIX,
                    sp_files_shown(path));
}

static bool list_segments(struct writer *w)
{
    struct sp_segment *all;
    size_t count, ours = 0;

    if (sp_segments_list(w->folder, &all, &count, &w->error) != SP_OK) {
        give_up(w);
        return false;
    }
    w->bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (!all[i].whole || all[i].run != w->run)
            continue;
        w->bytes += all[i].bytes;
        all[ours++] = all[i];
    }
    free(w->segments);
    w->segments = all;
    w->segments_count = ours;
    return true;
}

static bool write_header(struct writer *w)
{
    uint8_t header[SP_SEGMENT_HEADER_BYTES];
    struct iovec part = {header, sizeof header};

    sp_segment_encode(w->round, w->run, header);
    w->dirty = true;
    if (!sp_files_write(w->fd, &part, 1)) {
        fail(w, "write");
        return false;
    }
    w->at = w->good = sizeof header;
    return true;
}

static bool begin_segment(struct writer *w, uint32_t round)
{
    if (!sync_if_dirty(w))
        return false;
    if (w->fd >= 0)
        close_segment(w);
    w->round = round;
    w->at = w->good = 0;
    sp_files_path(w->folder, round, SP_SEGMENT_SUFFIX, w->path);
    if (sp_files_make_folder(w->folder, &w->error) != SP_OK)
        return false;
    set_aside(w->path);
    w->fd = open(w->path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (w->fd < 0) {
        fail(w, "make");
        return false;
    }
    return write_header(w) && sync_names(w) && list_segments(w);
}

/* --- the thread: entries ---------------------------------------------------------------------------------------------
 */

struct group {
    uint8_t heads[GROUP][SP_ENTRY_HEAD_BYTES];
    struct iovec parts[GROUP * PARTS_OF_AN_ENTRY];
    int entries, parts_count;
    uint64_t bytes;
};

static void put(struct group *group, const struct item *item, const struct list *list)
{
    static const uint8_t zeros[SP_ENTRY_ALIGNMENT];
    const void *body = item->hold != NULL ? item->body : list->copies + item->at;
    const uint32_t bytes = item->entry.bytes, padding = sp_entry_padding(bytes);
    uint8_t *head = group->heads[group->entries++];

    sp_entry_encode(&item->entry, body, head);
    group->parts[group->parts_count++] = (struct iovec){head, SP_ENTRY_HEAD_BYTES};
    if (bytes > 0)
        group->parts[group->parts_count++] = (struct iovec){(void *)body, bytes};
    if (padding > 0)
        group->parts[group->parts_count++] = (struct iovec){(void *)zeros, padding};
    group->bytes += sp_entry_size(bytes);
}

static bool write_group(struct writer *w, struct group *group)
{
    bool well = group->entries == 0;

    if (!well) {
        w->dirty = true;
        well = sp_files_write(w->fd, group->parts, group->parts_count);
    }
    if (!well) {
        fail(w, "write");
        return false;
    }
    w->at += group->bytes;
    w->bytes += group->bytes;
    group->entries = group->parts_count = 0;
    group->bytes = 0;
    return true;
}

/* Records one by one, each in few calls, so that it is known which of them are whole. */
static bool write_list(struct writer *w, const struct list *list)
{
    struct group group = {.entries = 0};

    for (size_t i = 0; i < list->count; i++) {
        const struct item *item = &list->items[i];

        if (item->begins) {
            if (!begin_segment(w, item->entry.round))
                return false;
            continue;
        }
        sp_assert(w->fd >= 0);
        put(&group, item, list);
        if (group.entries < GROUP && item->entry.type != SP_ENTRY_COMMIT)
            continue;
        if (!write_group(w, &group))
            return false;
        if (item->entry.type == SP_ENTRY_COMMIT) {
            w->good = w->at;
            w->written = item->entry.round;
        }
    }
    sp_assert(group.entries == 0);
    return true;
}

static void prune(struct writer *w, uint32_t round, uint64_t max_bytes)
{
    char path[SP_FILES_PATH_BYTES];
    size_t gone = 0;

    while (gone + 1 < w->segments_count && w->segments[gone + 1].round <= round &&
           (max_bytes == 0 || w->bytes > max_bytes)) {
        sp_files_path(w->folder, w->segments[gone].round, SP_SEGMENT_SUFFIX, path);
        if (unlink(path) != 0 && errno != ENOENT) {
            sp_log_warn("journal", "cannot delete %s: %s", sp_files_shown(path), strerror(errno));
            break;
        }
        w->bytes -= w->segments[gone++].bytes;
    }
    if (gone == 0)
        return;
    w->segments_count -= gone;
    memmove(w->segments, w->segments + gone, w->segments_count * sizeof *w->segments);
    if (w->fsync != SP_FSYNC_NEVER)
        (void)sp_files_sync_folder(w->folder, NULL); /* a file that comes back is deleted the next time */
}

static void run(struct sp_disk_job *job)
{
    struct sp_journal *journal = (struct sp_journal *)job;
    struct writer *w = &journal->writer;

    if (!write_list(w, &journal->writing))
        return;
    if ((journal->sync || w->fsync == SP_FSYNC_ALWAYS) && !sync_if_dirty(w))
        return;
    if (journal->prune)
        prune(w, journal->pruned_round, journal->pruned_max);
}

/* --- the loop --------------------------------------------------------------------------------------------------------
 */

static void submit(struct sp_journal *journal)
{
    if (journal->in_flight)
        return;
    sp_assert(journal->writing.count == 0);
    swap(&journal->writing, &journal->next);
    journal->sync = journal->sync_wanted;
    journal->prune = journal->prune_wanted;
    journal->pruned_round = journal->prune_round;
    journal->pruned_max = journal->prune_max;
    journal->sync_wanted = journal->prune_wanted = false;
    journal->in_flight = true;
    sp_disk_do(journal->disk, &journal->job);
}

/* What the thread came to. Returns whether that is more than before. */
static bool take_results(struct sp_journal *journal)
{
    const struct writer *w = &journal->writer;
    bool more = journal->written != w->written || journal->synced != w->synced;

    journal->written = w->written;
    journal->synced = w->synced;
    journal->bytes = w->bytes;
    journal->syncs = w->syncs;
    journal->sync_ns = w->sync_ns;
    journal->longest_ns = w->longest_ns;
    return more;
}

static void done(struct sp_disk_job *job)
{
    struct sp_journal *journal = (struct sp_journal *)job;
    struct sp_error error = journal->writer.error.code != SP_OK ? journal->writer.error : journal->trouble;
    bool more = take_results(journal);

    journal->in_flight = false;
    empty(&journal->writing);
    journal->writer.error.code = journal->trouble.code = SP_OK;
    if (error.code != SP_OK) {
        journal->well = false;
        empty(&journal->next);
    }
    if (more)
        journal->events->progress(journal->owner);
    if (error.code != SP_OK)
        journal->events->failed(journal->owner, &error);
    if (journal->next.count > 0 || journal->sync_wanted || journal->prune_wanted || journal->trouble.code != SP_OK)
        submit(journal);
}

/* Told from the loop, as every failure is, and not within the call that met with it. */
static int no_memory(struct sp_journal *journal)
{
    int rc = sp_error_set(&journal->trouble, SP_E_NOMEM, "no memory for the journal's record of round %u",
                          journal->open_round);

    journal->well = false;
    empty(&journal->next);
    submit(journal);
    return rc;
}

int sp_journal_create(struct sp_journal **out, struct sp_disk *disk, const char *folder, uint64_t run_number,
                      enum sp_fsync fsync, const struct sp_journal_events *events, void *owner, struct sp_error *error)
{
    struct sp_journal *journal;
    int rc = sp_files_make_folder(folder, error);

    *out = NULL;
    if (rc != SP_OK)
        return rc;
    journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the journal in %s", sp_files_shown(folder));
    journal->job = (struct sp_disk_job){.run = run, .done = done};
    journal->disk = disk;
    journal->events = events;
    journal->owner = owner;
    (void)strcpy(journal->writer.folder, folder);
    journal->writer.run = run_number;
    journal->writer.fsync = fsync;
    journal->writer.fd = -1;
    *out = journal;
    return SP_OK;
}

void sp_journal_destroy(struct sp_journal *journal)
{
    if (journal == NULL)
        return;
    sp_assert(!journal->in_flight);
    if (journal->writer.fd >= 0)
        close_segment(&journal->writer);
    finish(&journal->open);
    finish(&journal->next);
    finish(&journal->writing);
    free(journal->writer.segments);
    free(journal);
}

void sp_journal_begin(struct sp_journal *journal, uint32_t round)
{
    journal->segment_bytes = SP_SEGMENT_HEADER_BYTES + journal->open.bytes;
    if (!append_segment(&journal->next, round)) {
        (void)no_memory(journal);
        return;
    }
    journal->well = true;
    submit(journal);
}

static void drop_open(struct sp_journal *journal)
{
    journal->segment_bytes -= journal->open.bytes;
    empty(&journal->open);
    journal->broken = journal->after_first_gradient = false;
}

int sp_journal_add(struct sp_journal *journal, const struct sp_entry *entry, const void *body, struct sp_buffer *hold)
{
    bool first = sp_entry_is_first(entry, journal->after_first_gradient);

    sp_assert(entry->type != SP_ENTRY_COMMIT && entry->bytes <= sp_entry_bytes_max(entry->type));
    if (first) {
        drop_open(journal);
        journal->open_round = entry->round;
    }
    sp_assert(first || ((journal->open.count > 0 || journal->broken) && entry->round == journal->open_round));
    journal->after_first_gradient = first && entry->type == SP_ENTRY_GRADIENT;
    if (journal->broken || !append(&journal->open, entry, body, hold)) {
        drop_open(journal);
        journal->broken = true;
        return journal->well ? no_memory(journal) : SP_E_NOMEM;
    }
    journal->segment_bytes += sp_entry_size(entry->bytes);
    return SP_OK;
}

int sp_journal_commit(struct sp_journal *journal, uint32_t round, const void *state, size_t bytes)
{
    const struct sp_entry entry = {.type = SP_ENTRY_COMMIT, .round = round, .bytes = (uint32_t)bytes};
    bool broken = journal->broken;

    sp_assert(bytes <= SP_JOURNAL_BODY_BYTES_MAX && journal->open_round == round);
    sp_assert(journal->open.count > 0 || broken);
    if (!journal->well) {
        drop_open(journal);
        return SP_OK;
    }
    if (broken || !append(&journal->open, &entry, state, NULL) || !move(&journal->next, &journal->open)) {
        drop_open(journal);
        return no_memory(journal);
    }
    journal->segment_bytes += sp_entry_size(entry.bytes);
    journal->after_first_gradient = false;
    submit(journal);
    return SP_OK;
}

void sp_journal_sync(struct sp_journal *journal)
{
    journal->sync_wanted = true;
    submit(journal);
}

void sp_journal_prune(struct sp_journal *journal, uint32_t round, uint64_t max_bytes)
{
    journal->prune_wanted = true;
    journal->prune_round = round;
    journal->prune_max = max_bytes;
    submit(journal);
}

uint32_t sp_journal_written(const struct sp_journal *journal)
{
    return journal->written;
}

uint32_t sp_journal_synced(const struct sp_journal *journal)
{
    return journal->synced;
}

uint64_t sp_journal_bytes(const struct sp_journal *journal)
{
    return journal->bytes;
}

uint64_t sp_journal_segment_bytes(const struct sp_journal *journal)
{
    return journal->segment_bytes;
}

size_t sp_journal_pending(const struct sp_journal *journal)
{
    return journal->open.bytes + journal->next.bytes + journal->writing.bytes;
}

bool sp_journal_is_well(const struct sp_journal *journal)
{
    return journal->well;
}

void sp_journal_times(const struct sp_journal *journal, double *longest_ms, double *mean_ms)
{
    *longest_ms = (double)journal->longest_ns / 1e6;
    *mean_ms = journal->syncs > 0 ? (double)journal->sync_ns / 1e6 / (double)journal->syncs : 0.0;
}
