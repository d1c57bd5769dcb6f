/* Inside what is kept: shared by keep.c (rounds), keep_checkpoint.c and keep_open.c. Nobody else includes this. */
#pragma once

#include "server/keep.h"
#include "server/server_state.h"

#define PATH_BYTES_INSIDE (PATH_BYTES + 32)

/* A checkpoint on its way to the disk. */
struct writing {
    struct sp_disk_job job; /* first: the thread gets it back from there */
    struct sp_keep *keep;
    struct sp_checkpoint checkpoint; /* owned while it is written */
    unsigned files_kept;
    bool first_kept;
    int code;
    struct sp_error error;
    uint32_t oldest;
    uint64_t took_ms;
};

struct sp_keep {
    struct sp_server *server;
    struct sp_disk *journal_disk, *checkpoint_disk;
    struct sp_journal *journal; /* NULL: none */
    bool checkpoints;           /* are made */
    bool resumed, copying, writing, failing;
    bool journal_dropped;
    bool wanted; /* one more when the present one is written */
    bool base;   /* a checkpoint that the journal follows is on the disk */
    uint32_t from_round;
    uint32_t asked_round;   /* of the checkpoint that was begun last */
    uint32_t written_round; /* and of the one that is on the disk */
    uint64_t asked_ms, written_ms;
    uint64_t synced_ms; /* when the journal was last told to sync */
    uint64_t longest_copy_us, longest_write_ms;
    uint64_t checkpoint_bytes;
    unsigned failures;
    /* A COMMIT that waits. */
    bool waits, by_backlog;
    struct sp_action commit;
    uint64_t waits_since_ms, said_ms, waited_ms;
    uv_idle_t idle;
    struct writing write;
    char checkpoints_folder[PATH_BYTES_INSIDE], journal_folder[PATH_BYTES_INSIDE];
};

/* --- keep.c --- */
/* What cannot be written is said; the job goes on or stops, as it says itself. */
void sp_keep_fail(struct sp_keep *keep, const struct sp_error *error);
void sp_keep_on_failed(void *owner, const struct sp_error *error);
void sp_keep_on_progress(void *owner);
/* Whether records are being written. `keep` may be NULL. */
bool sp_keep_journals(const struct sp_keep *keep);
/* Lets the COMMIT go that waits, if it may. */
void sp_keep_release(struct sp_keep *keep);
/* Numbers of the daemon that go on after a restart. */
void sp_keep_save_numbers(struct sp_server *server);
void sp_keep_restore_numbers(struct sp_server *server);

/* --- keep_checkpoint.c --- */
/* If none is being made. */
void sp_keep_begin_checkpoint(struct sp_keep *keep);
/* After a round: by rounds, or because the journal has grown. */
bool sp_keep_is_due_by_round(const struct sp_keep *keep, uint32_t round);
bool sp_keep_is_due_by_time(const struct sp_keep *keep, uint64_t now);
/* Of the disk's thread, and back on the loop. */
void sp_keep_write_checkpoint(struct sp_disk_job *job);
void sp_keep_checkpoint_written(struct sp_disk_job *job);
/* The file that gives way to a checkpoint on a full disk; false if it was not there. */
bool sp_keep_drop_reserve(const struct sp_keep *keep);
