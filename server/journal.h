/* The journal: what every round changed, in FOLDER/ROUND.journal (10 digits: the round that its records follow).
 *
 * A record is a round: entries with its update, chunk by chunk as it went out (PUSH's twin), then one COMMIT entry with
 * the state of the job after it, which makes it count. Its first entry is the chunk of the main section that begins at
 * coordinate 0; a GRADIENT goes before its chunk, and may be the first. Where a first entry comes again the round began
 * anew, and counts from there on. A segment begins after a checkpoint and ends with the next one. Within a run every
 * round is there once, and follows the one before.
 *
 * Format, little-endian: segments begin with magic "SPJOURN1", u32 round, u32 0, u64 run, u32 CRC-32C of these, u32 0.
 * An entry is a head of 48 bytes: u32 magic, u16 type, u16 flags, u32 round, u32 count, u64 first, u32 bytes, u32
 * voters, u32 CRC-32C of the body, 8 bytes 0, u32 CRC-32C of the head before it; then its body, padded with zeros to 8.
 *
 * Entries are queued on the loop and written by a thread (disk.h), so that the loop never waits for the disk. A record
 * is written when it is complete; what is not is held until then.
 * Failure: the first write or sync that fails ends the journal: the torn record is cut off, `failed` is called once,
 * and nothing more is written until sp_journal_begin() begins a segment anew.
 */
#pragma once

#include "common/buffer.h"
#include "common/error.h"
#include "common/job.h"
#include "server/disk.h"

#define SP_JOURNAL_VERSION 1
#define SP_JOURNAL_BODY_BYTES_MAX (4u * 1024u * 1024u) /* of GRADIENT and COMMIT; of CHUNK: SP_BULK_BYTES_MAX */

enum sp_entry_type { SP_ENTRY_CHUNK = 1, SP_ENTRY_GRADIENT = 2, SP_ENTRY_COMMIT = 3 };

struct sp_entry {
    enum sp_entry_type type;
    uint16_t flags; /* of the chunk: as the UPDATE frame's */
    uint32_t round;
    uint32_t count; /* coordinates */
    uint64_t first;
    uint32_t bytes; /* of the body */
    uint32_t voters;
};

/* --- reading -------------------------------------------------------------------------------------------------------
 */

/* Called for each entry of each complete record, in order; `body` is 8-byte aligned and valid during the call. Anything
 * but SP_OK ends the reading with that code. */
typedef int sp_journal_take(void *arg, const struct sp_entry *entry, const void *body, struct sp_error *error);

struct sp_journal_scan {
    uint32_t last; /* round of the last complete record that was taken; 0: none */
    bool torn;     /* the last segment ends in a record that is not complete, or damaged */
    char torn_path[1300];
    uint64_t torn_at, torn_bytes; /* where its good part ends, and how much follows */
    bool gap;                     /* a record is missing or damaged before others: what follows it was not read */
    bool more;                    /* records of rounds after `to` follow */
    /* With `gap` or `more`, what was not read: of torn_path what begins at torn_at, if torn_path is not "", and the
     * segments of run `run` from that of round `unread` on, if that is not 0. */
    uint64_t run;
    uint32_t unread;
};

/* Reads all records of rounds after..to of run `run` (0: of any) from the segments in the folder; `after` is the round
 * of the checkpoint that they follow. Segments of another run, and records up to `after`, are passed over.
 * Memory: one entry's body at a time. SP_OK also with a torn tail or a gap, which `scan` tells; else SP_E_IO,
 * SP_E_NOMEM, SP_E_UNSUPPORTED (another version of the format), or what `take` returned. */
int sp_journal_read(const char *folder, uint64_t run, uint32_t after, uint32_t to, sp_journal_take *take, void *arg,
                    struct sp_journal_scan *scan, struct sp_error *error);

/* Makes of the folder what was read from it, so that a new segment may follow: cuts the torn tail off, and syncs. What
 * follows a gap, or the round up to which was read, goes to NAME.damaged. SP_E_IO with words. */
int sp_journal_mend(const char *folder, const struct sp_journal_scan *scan, struct sp_error *error);

/* --- writing -------------------------------------------------------------------------------------------------------
 */

struct sp_journal;

struct sp_journal_events {
    void (*progress)(void *owner);                             /* `written` or `synced` went on */
    void (*failed)(void *owner, const struct sp_error *error); /* once, until it is begun anew */
};

/* Opens nothing yet. `folder` is made if need be. */
int sp_journal_create(struct sp_journal **out, struct sp_disk *disk, const char *folder, uint64_t run,
                      enum sp_fsync fsync, const struct sp_journal_events *events, void *owner, struct sp_error *error);
/* Waits for nothing: the disk must have been stopped, or be idle. */
void sp_journal_destroy(struct sp_journal *journal);

/* From here on records go to a new segment, for what follows `round`; one that has begun goes there as well. Queued
 * like entries. A file of that name with records in it, of another run, is kept as NAME.damaged. */
void sp_journal_begin(struct sp_journal *journal, uint32_t round);

/* One entry more. `body` lies in `hold`, of which a reference is taken until it is written; or, with `hold` NULL, it is
 * copied. A first entry drops what there is of a round that has no COMMIT. To be called after a failure too: the
 * journal may begin anew in the midst of a record, which must be whole then. Only a first entry may follow a COMMIT.
 * SP_E_NOMEM: the journal has failed, which is told by `failed` as well. */
int sp_journal_add(struct sp_journal *journal, const struct sp_entry *entry, const void *body, struct sp_buffer *hold);

/* The record is complete: it is on its way to the disk. `state` is copied. With fsync `always` it is synced as well.
 * After a failure the record is dropped. SP_E_NOMEM as above. */
int sp_journal_commit(struct sp_journal *journal, uint32_t round, const void *state, size_t bytes);

/* With fsync `interval`: the thread syncs what was written since the last time. */
void sp_journal_sync(struct sp_journal *journal);

/* Deletes segments of this run whose records are all of rounds up to `round`, the oldest first, as long as all are
 * larger than `max_bytes` (0: all that may go); never the present one. Runs on the thread. */
void sp_journal_prune(struct sp_journal *journal, uint32_t round, uint64_t max_bytes);

uint32_t sp_journal_written(const struct sp_journal *journal);       /* last round whose record the system has */
uint32_t sp_journal_synced(const struct sp_journal *journal);        /* and that the disk has */
uint64_t sp_journal_bytes(const struct sp_journal *journal);         /* of all segments of this run, as written */
uint64_t sp_journal_segment_bytes(const struct sp_journal *journal); /* of the present one, queued ones included */
size_t sp_journal_pending(const struct sp_journal *journal);         /* bytes of entries that are not written yet */
bool sp_journal_is_well(const struct sp_journal *journal);           /* no failure since it was begun */
/* Longest and mean time of a sync, in ms, so far. */
void sp_journal_times(const struct sp_journal *journal, double *longest_ms, double *mean_ms);
