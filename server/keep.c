#include "server/keep.h"

#include "common/check.h"
#include "common/log.h"
#include "common/secret.h"
#include "server/server_state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_BYTES (4u * 1024u * 1024u) /* copied between two looks at the sockets: about a millisecond */
#define PENDING_BYTES_MAX (64u * 1024u * 1024u)
#define RETRY_MS 10000 /* after a failure */
#define SAY_WAIT_MS 5000
#define RESERVE_NAME "reserve"
#define RESERVE_SLACK_BYTES 65536 /* the state grows with the job */
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

/* --- failure ---------------------------------------------------------------------------------------------------------
 */

static void fail(struct sp_keep *keep, const struct sp_error *error)
{
    struct sp_server *server = keep->server;
    bool stops = server->job.server.journal.on_error == SP_ON_ERROR_STOP;

    keep->failures++;
    keep->failing = true;
    keep->asked_ms = sp_server_now_ms(); /* the next attempt comes some time from now */
    sp_log_error("keep", "%s; %s", error->text,
                 stops ? "the job stops (server.journal.on_error)"
                       : "the job goes on, and what a restart would lose grows until it can be written again");
    if (!stops || server->over)
        return;
    server->code = error->code;
    server->error = *error;
    sp_round_stop(server->round, "stopped because what it must keep cannot be written", sp_server_now_ms());
}

static void release(struct sp_keep *keep);

static void on_failed(void *owner, const struct sp_error *error)
{
    struct sp_keep *keep = owner;

    fail(keep, error);
    /* A job that stops over this ends with the round before: no worker has applied this one. */
    if (keep->server->job.server.journal.on_error == SP_ON_ERROR_STOP)
        keep->waits = false;
    release(keep);
    sp_server_drain(keep->server);
}

/* --- the journal -----------------------------------------------------------------------------------------------------
 */

static bool is_journalling(const struct sp_keep *keep)
{
    return keep != NULL && keep->journal != NULL && sp_journal_is_well(keep->journal);
}

void sp_keep_chunk(struct sp_server *server, const struct sp_action *action, struct sp_buffer *frame)
{
    struct sp_keep *keep = server->keep;
    struct sp_entry entry = {.type = SP_ENTRY_CHUNK,
                             .flags = action->update.flags,
                             .round = action->round,
                             .count = action->update.count,
                             .first = action->update.first,
                             .bytes = (uint32_t)action->update.bytes,
                             .voters = action->update.voters};

    /* Also after a failure: the journal may begin anew in the midst of a round. */
    if (keep == NULL || keep->journal == NULL)
        return;
    if (action->update.gradient != NULL) {
        struct sp_entry gradient = entry;

        gradient.type = SP_ENTRY_GRADIENT;
        gradient.voters = 0;
        gradient.bytes = action->update.count * (uint32_t)sizeof(float);
        (void)sp_journal_add(keep->journal, &gradient, action->update.gradient, NULL);
    }
    (void)sp_journal_add(keep->journal, &entry, frame->data + frame->bytes - action->update.bytes, frame);
}

/* Whether round `round` may be told to the workers. */
static bool may_leave(struct sp_keep *keep, uint32_t round)
{
    bool always = keep->server->job.server.journal.fsync == SP_FSYNC_ALWAYS;

    if (!is_journalling(keep))
        return true;
    keep->by_backlog = sp_journal_pending(keep->journal) > PENDING_BYTES_MAX;
    if (keep->by_backlog)
        return false;
    if (!keep->base && !keep->failing) /* a failure has been said, and is not waited for */
        return false;
    return !always || sp_journal_synced(keep->journal) >= round;
}

static void release(struct sp_keep *keep)
{
    uint64_t now = sp_server_now_ms();

    if (!keep->waits || !may_leave(keep, keep->commit.round))
        return;
    keep->waits = false;
    keep->waited_ms += now - keep->waits_since_ms;
    if (now - keep->waits_since_ms >= SAY_WAIT_MS)
        sp_log_info("keep", "round %u waited %.1f s for the disk", keep->commit.round,
                    (double)(now - keep->waits_since_ms) / 1e3);
    sp_update_commit(keep->server, &keep->commit);
    sp_server_drain(keep->server);
}

static void on_progress(void *owner)
{
    release(owner);
}

bool sp_keep_waits(const struct sp_server *server)
{
    return server->keep != NULL && server->keep->waits;
}

bool sp_keep_is_early(const struct sp_server *server, uint32_t round)
{
    return sp_keep_waits(server) && round > server->keep->commit.round;
}

/* Numbers of the daemon that go on after a restart. */
static void save_numbers(struct sp_server *server)
{
    uint64_t *numbers = sp_round_owner_numbers(server->round);
    const struct sp_bytes *bytes = &server->bytes;
    unsigned n = 0;

    numbers[n++] = bytes->pushed;
    numbers[n++] = bytes->updated;
    numbers[n++] = bytes->other_in;
    numbers[n++] = bytes->other_out;
    for (unsigned i = 0; i < SP_PHASES; i++) {
        numbers[n++] = bytes->pushed_in[i];
        numbers[n++] = bytes->updated_in[i];
        numbers[n++] = bytes->rounds_received_in[i];
    }
    numbers[n++] = sp_server_now_ms() - server->started_ms;
    numbers[n++] = sp_server_now_ms() - server->first_round_ms;
    numbers[n++] = server->restarts;
}

static void restore_numbers(struct sp_server *server)
{
    const uint64_t *numbers = sp_round_owner_numbers(server->round);
    struct sp_bytes *bytes = &server->bytes;
    uint64_t now = sp_server_now_ms();
    unsigned n = 0;

    bytes->pushed = numbers[n++];
    bytes->updated = numbers[n++];
    bytes->other_in = numbers[n++];
    bytes->other_out = numbers[n++];
    for (unsigned i = 0; i < SP_PHASES; i++) {
        bytes->pushed_in[i] = numbers[n++];
        bytes->updated_in[i] = numbers[n++];
        bytes->rounds_received_in[i] = numbers[n++];
    }
    /* As if it had begun so long ago: the time that it was dead does not count. Only differences are used. */
    server->started_ms = now - numbers[n++];
    server->first_round_ms = now - numbers[n++];
    server->restarts = numbers[n++] + 1;
}

/* --- checkpoints -----------------------------------------------------------------------------------------------------
 */

static uint64_t size_of(const struct sp_checkpoint *checkpoint)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < checkpoint->sections; i++)
        bytes += checkpoint->section[i].count;
    return bytes;
}

/* A file as large as a checkpoint, which gives way to one on a disk that is full: the journal before it can go then. */
static void reserve(const struct writing *writing, bool wanted)
{
    char path[PATH_BYTES_INSIDE + 16];
    int fd;

    (void)snprintf(path, sizeof path, "%s/" RESERVE_NAME, writing->keep->checkpoints_folder);
    if (!wanted) {
        (void)unlink(path);
        return;
    }
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (posix_fallocate(fd, 0, (off_t)(size_of(&writing->checkpoint) + RESERVE_SLACK_BYTES)) != 0)
        (void)unlink(path); /* there is no room for it now; the next checkpoint tries again */
    (void)close(fd);
}

static void write_checkpoint(struct sp_disk_job *job)
{
    struct writing *writing = (struct writing *)job;
    const char *folder = writing->keep->checkpoints_folder;
    uint64_t began = uv_hrtime();

    memset(&writing->error, 0, sizeof writing->error);
    writing->code = sp_checkpoint_write(folder, &writing->checkpoint, &writing->error);
    if (writing->code == SP_E_IO) {
        reserve(writing, false);
        writing->code = sp_checkpoint_write(folder, &writing->checkpoint, &writing->error);
    }
    if (writing->code == SP_OK) {
        writing->oldest = sp_checkpoint_prune(folder, writing->files_kept, writing->first_kept, &writing->error);
        reserve(writing, true);
    }
    writing->took_ms = (uv_hrtime() - began) / 1000000u;
}

/* What comes before the oldest checkpoint is of use only to those who keep history. */
static void prune_journal(struct sp_keep *keep, uint32_t oldest)
{
    bool history = keep->server->job.server.journal.keep_history;
    uint64_t max = keep->server->job.server.journal.max_bytes;

    if (keep->journal != NULL && (!history || max > 0))
        sp_journal_prune(keep->journal, oldest, history ? max : 0);
}

static void begin_due_checkpoint(struct sp_keep *keep);

static void checkpoint_written(struct sp_disk_job *job)
{
    struct writing *writing = (struct writing *)job;
    struct sp_keep *keep = writing->keep;

    keep->writing = false;
    keep->checkpoint_bytes = size_of(&writing->checkpoint);
    if (writing->took_ms > keep->longest_write_ms)
        keep->longest_write_ms = writing->took_ms;
    sp_checkpoint_finish(&writing->checkpoint);
    if (writing->code != SP_OK) {
        fail(keep, &writing->error);
        release(keep);
    } else {
        keep->written_round = keep->asked_round;
        keep->written_ms = sp_server_now_ms();
        keep->base = true;
        if (writing->oldest == 0 && writing->error.code == SP_E_NOMEM)
            sp_log_warn("keep", "%s; old checkpoints are deleted after the next one", writing->error.text);
        prune_journal(keep, writing->oldest);
        if (keep->failing && (keep->journal == NULL || is_journalling(keep))) {
            keep->failing = false;
            sp_log_info("keep", "checkpoint of round %u is written: from here on nothing is lost again",
                        keep->written_round);
        }
        sp_log_debug("keep", "checkpoint of round %u is written (%.1f MB in %llu ms)", keep->written_round,
                     (double)keep->checkpoint_bytes / 1e6, (unsigned long long)writing->took_ms);
        release(keep);
    }
    if (keep->wanted && writing->code == SP_OK)
        begin_due_checkpoint(keep);
    keep->wanted = false;
    sp_server_drain(keep->server);
}

/* What the core has copied, if that is all, goes to the disk. */
static bool hand_over(struct sp_keep *keep)
{
    struct writing *writing = &keep->write;

    if (!keep->copying || !sp_round_copied(keep->server->round, &writing->checkpoint))
        return false;
    keep->copying = false;
    keep->writing = true;
    /* After a failure only what is newer is of use, and the room of the rest; but history is not given for it. */
    writing->first_kept = keep->server->job.server.journal.keep_history;
    writing->files_kept = keep->failing && !writing->first_kept ? 1 : keep->server->job.server.checkpoint.keep;
    sp_disk_do(keep->checkpoint_disk, &writing->job);
    return true;
}

static void on_idle(uv_idle_t *idle)
{
    struct sp_keep *keep = idle->data;
    uint64_t began = uv_hrtime(), took;

    (void)sp_round_copy(keep->server->round, SLICE_BYTES);
    took = (uv_hrtime() - began) / 1000u;
    if (took > keep->longest_copy_us)
        keep->longest_copy_us = took;
    if (hand_over(keep))
        (void)uv_idle_stop(idle);
}

static int begin_checkpoint(struct sp_keep *keep, struct sp_error *error)
{
    uint32_t round = sp_round_committed(keep->server->round);
    int rc;

    if (keep->copying || keep->writing)
        return sp_error_set(error, SP_E_STATE, "a checkpoint (of round %u) is being written", keep->asked_round);
    save_numbers(keep->server);
    rc = sp_round_checkpoint(keep->server->round, error);
    if (rc != SP_OK)
        return rc;
    keep->copying = true;
    keep->asked_round = round;
    keep->asked_ms = sp_server_now_ms();
    if (keep->journal != NULL)
        sp_journal_begin(keep->journal, round);
    (void)uv_idle_start(&keep->idle, on_idle);
    return SP_OK;
}

int sp_keep_checkpoint(struct sp_server *server, struct sp_error *error)
{
    struct sp_keep *keep = server->keep;

    if (keep == NULL || !keep->checkpoints)
        return sp_error_set(error, SP_E_STATE, "server.checkpoint.enabled is false in this job");
    keep->wanted = keep->copying || keep->writing;
    return keep->wanted ? SP_OK : begin_checkpoint(keep, error);
}

static void begin_due_checkpoint(struct sp_keep *keep)
{
    struct sp_error error = {0};
    int rc = begin_checkpoint(keep, &error);

    if (rc != SP_OK && rc != SP_E_STATE)
        fail(keep, &error);
}

/* After a round: by rounds, or because the journal has grown. */
static bool is_due_by_round(const struct sp_keep *keep, uint32_t round)
{
    const struct sp_job *job = &keep->server->job;
    uint64_t max = job->server.journal.max_bytes;
    uint32_t every = job->server.checkpoint.every;

    if (keep->failing || keep->copying || keep->writing)
        return false;
    if (every > 0 && round - keep->asked_round >= every)
        return true;
    return is_journalling(keep) && max > 0 && !job->server.journal.keep_history &&
           sp_journal_segment_bytes(keep->journal) > max / (job->server.checkpoint.keep + 1u);
}

static bool is_due_by_time(const struct sp_keep *keep, uint64_t now)
{
    double seconds = keep->server->job.server.checkpoint.seconds;

    if (keep->copying || keep->writing)
        return false;
    if (keep->failing)
        return now - keep->asked_ms >= RETRY_MS;
    if (sp_round_committed(keep->server->round) == keep->asked_round)
        return false;
    return seconds > 0.0 && (double)(now - keep->asked_ms) >= seconds * 1e3;
}

/* --- rounds ----------------------------------------------------------------------------------------------------------
 */

static void record_commit(struct sp_keep *keep, uint32_t round)
{
    struct sp_error error = {0};
    const void *state;
    size_t bytes;
    int rc;

    if (keep->journal == NULL)
        return;
    save_numbers(keep->server);
    rc = sp_round_save(keep->server->round, false, &state, &bytes);
    sp_assert(sp_round_committed(keep->server->round) == round);
    sp_assert(rc == SP_OK || rc == SP_E_NOMEM);
    if (rc == SP_OK) {
        (void)sp_journal_commit(keep->journal, round, state, bytes); /* tells of a failure by itself */
        return;
    }
    (void)sp_error_set(&error, SP_E_NOMEM, "no memory for the record of round %u in the journal", round);
    fail(keep, &error);
}

static void sync_when_due(struct sp_keep *keep, uint64_t now)
{
    const struct sp_job *job = &keep->server->job;

    if (!is_journalling(keep) || job->server.journal.fsync != SP_FSYNC_INTERVAL ||
        now - keep->synced_ms < job->server.journal.interval_ms)
        return;
    keep->synced_ms = now;
    sp_journal_sync(keep->journal);
}

/* The job starts: what an earlier run left goes, and what this one begins with is kept. */
static void begin_keeping(struct sp_keep *keep)
{
    struct sp_error error = {0};

    if (sp_recover_forget(keep->server->out, &error) != SP_OK) {
        /* Beside those files nobody could tell later which run to go on with. */
        keep->server->code = error.code;
        keep->server->error = error;
        sp_round_stop(keep->server->round, "stopped because what an earlier run left cannot be deleted",
                      sp_server_now_ms());
        return;
    }
    if (keep->checkpoints)
        begin_due_checkpoint(keep);
}

bool sp_keep_commit(struct sp_server *server, const struct sp_action *action)
{
    struct sp_keep *keep = server->keep;

    if (keep == NULL)
        return true;
    if (action->round == 0) {
        begin_keeping(keep);
        return true;
    }
    if (!keep->checkpoints)
        return true;
    record_commit(keep, action->round);
    sync_when_due(keep, sp_server_now_ms());
    if (is_due_by_round(keep, action->round))
        begin_due_checkpoint(keep);
    if (may_leave(keep, action->round))
        return true;
    keep->waits = true;
    keep->commit = *action;
    keep->waits_since_ms = keep->said_ms = sp_server_now_ms();
    return false;
}

static void say_wait(struct sp_keep *keep, uint64_t now)
{
    if (!keep->waits || now - keep->said_ms < SAY_WAIT_MS)
        return;
    keep->said_ms = now;
    sp_log_warn("keep", "round %u has waited %.1f s for the disk: %s", keep->commit.round,
                (double)(now - keep->waits_since_ms) / 1e3,
                keep->by_backlog ? "the journal is written more slowly than the job makes it"
                                 : "its record is not on the disk yet (server.journal.fsync is always)");
}

void sp_keep_beat(struct sp_server *server)
{
    struct sp_keep *keep = server->keep;
    uint64_t now = sp_server_now_ms();

    if (keep == NULL || !keep->checkpoints || server->over)
        return;
    sync_when_due(keep, now);
    if (is_due_by_time(keep, now))
        begin_due_checkpoint(keep);
    say_wait(keep, now);
}

/* --- opening and closing ---------------------------------------------------------------------------------------------
 */

static void on_recovering(void *arg, bool bad, const char *line)
{
    (void)arg;
    sp_log(bad ? SP_LOG_ERROR : SP_LOG_INFO, "keep", "%s", line);
}

static int begin_anew(struct sp_server *server, struct sp_error *error)
{
    uint64_t run = 0;
    int rc = sp_round_create(&server->round, &server->job);

    while (rc == SP_OK && run == 0)
        rc = sp_random_bytes((uint8_t *)&run, sizeof run, error);
    if (rc == SP_OK)
        sp_round_keep(server->round, run, server->job.server.journal.enabled);
    return rc;
}

static int go_on(struct sp_keep *keep, const struct sp_recovery *recovery, struct sp_error *error)
{
    keep->resumed = true;
    keep->base = true;
    keep->from_round = recovery->committed;
    keep->asked_round = keep->written_round = recovery->checkpoint;
    keep->asked_ms = keep->written_ms = sp_server_now_ms();
    restore_numbers(keep->server);
    sp_log_info("keep", "going on after round %u: the checkpoint of round %u and %u rounds of the journal",
                recovery->committed, recovery->checkpoint, recovery->committed - recovery->checkpoint);
    if (sp_recover_set_aside(keep->server->out, recovery->checkpoint, error) != SP_OK)
        return error->code;
    return sp_journal_mend(keep->journal_folder, &recovery->scan, error);
}

static int recover(struct sp_keep *keep, struct sp_error *error)
{
    struct sp_server *server = keep->server;
    const struct sp_recover_options options = {
        .folder = server->out, .job = &server->job, .to = SP_RECOVER_LATEST, .say = on_recovering};
    struct sp_recovery recovery;
    int rc = sp_recover(&recovery, &options, error);

    if (rc != SP_OK)
        return rc;
    if (recovery.round == NULL)
        return begin_anew(server, error);
    if (!keep->checkpoints) {
        sp_round_destroy(recovery.round);
        return sp_error_set(error, SP_E_MISMATCH,
                            "%s holds a run that did not come to its end, and with server.checkpoint.enabled false it "
                            "would be lost; leave that key out to go on, or begin anew with --fresh",
                            server->out);
    }
    server->round = recovery.round;
    return go_on(keep, &recovery, error);
}

static int open_files(struct sp_keep *keep, struct sp_error *error)
{
    static const struct sp_journal_events events = {.progress = on_progress, .failed = on_failed};
    struct sp_server *server = keep->server;
    int rc = sp_disk_start(&keep->checkpoint_disk, &server->loop, error);

    if (rc == SP_OK && server->job.server.journal.enabled)
        rc = sp_disk_start(&keep->journal_disk, &server->loop, error);
    if (rc == SP_OK && server->job.server.journal.enabled)
        rc = sp_journal_create(&keep->journal, keep->journal_disk, keep->journal_folder, sp_round_run(server->round),
                               server->job.server.journal.fsync, &events, keep, error);
    return rc;
}

int sp_keep_open(struct sp_server *server, bool fresh, struct sp_error *error)
{
    struct sp_keep *keep = calloc(1, sizeof *keep);
    int rc;

    if (keep == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    server->keep = keep;
    keep->server = server;
    keep->checkpoints = server->job.server.checkpoint.enabled && !server->exchange_only;
    keep->write.keep = keep;
    keep->write.job.run = write_checkpoint;
    keep->write.job.done = checkpoint_written;
    (void)uv_idle_init(&server->loop, &keep->idle);
    keep->idle.data = keep;
    sp_recover_paths(server->out, keep->checkpoints_folder, keep->journal_folder, sizeof keep->journal_folder);
    rc = fresh ? sp_recover_forget(server->out, error) : SP_OK;
    if (rc == SP_OK)
        rc = fresh || server->exchange_only ? begin_anew(server, error) : recover(keep, error);
    if (rc == SP_OK && keep->checkpoints)
        rc = open_files(keep, error);
    return rc;
}

bool sp_keep_goes_on(const struct sp_server *server, uint32_t *round)
{
    *round = server->keep->from_round;
    return server->keep->resumed;
}

void sp_keep_start(struct sp_server *server)
{
    if (!server->keep->resumed)
        return;
    sp_round_go_on(server->round, sp_server_now_ms());
    if (server->keep->checkpoints && !server->over)
        begin_due_checkpoint(server->keep);
}

/* On the loop: nothing else is to be done any more. */
static int write_last(struct sp_keep *keep, struct sp_error *error)
{
    struct sp_checkpoint checkpoint;
    int rc;

    keep->wanted = false;
    sp_disk_stop(keep->checkpoint_disk); /* what is being written is of an earlier round */
    keep->checkpoint_disk = NULL;
    (void)sp_round_copy(keep->server->round, SIZE_MAX);
    if (sp_round_copied(keep->server->round, &checkpoint))
        sp_checkpoint_finish(&checkpoint);
    save_numbers(keep->server);
    rc = sp_round_checkpoint(keep->server->round, error);
    if (rc != SP_OK)
        return rc;
    (void)sp_round_copy(keep->server->round, SIZE_MAX);
    (void)sp_round_copied(keep->server->round, &checkpoint);
    rc = sp_checkpoint_write(keep->checkpoints_folder, &checkpoint, error);
    sp_checkpoint_finish(&checkpoint);
    if (rc == SP_OK)
        (void)sp_checkpoint_prune(keep->checkpoints_folder, keep->server->job.server.checkpoint.keep,
                                  keep->server->job.server.journal.keep_history, NULL);
    return rc;
}

int sp_keep_last(struct sp_server *server, struct sp_error *error)
{
    struct sp_keep *keep = server->keep;
    uint32_t round = sp_round_committed(server->round);

    if (!keep->checkpoints || !sp_round_has_started(server->round) || keep->written_round == round ||
        (is_journalling(keep) && keep->base && sp_journal_written(keep->journal) >= round))
        return SP_OK;
    (void)uv_idle_stop(&keep->idle);
    keep->copying = false;
    return write_last(keep, error);
}

void sp_keep_end(struct sp_server *server)
{
    struct sp_error error = {0};
    int rc = sp_keep_last(server, &error);

    if (rc == SP_OK && server->keep->checkpoints)
        rc = sp_recover_end(server->out, server->round, &error);
    if (rc != SP_OK)
        sp_log_error("keep",
                     "%s; if the server dies before the results are written, the last rounds or the last evaluation "
                     "have to be made again",
                     error.text);
}

bool sp_keep_make_room(struct sp_server *server)
{
    struct sp_keep *keep = server->keep;
    struct sp_error error = {0};
    char path[PATH_BYTES_INSIDE + 16];

    (void)snprintf(path, sizeof path, "%s/" RESERVE_NAME, keep->checkpoints_folder);
    if (unlink(path) == 0)
        return true;
    if (keep->journal == NULL || sp_journal_bytes(keep->journal) == 0 || keep->journal_dropped)
        return false;
    keep->journal_dropped = true;
    sp_log_warn("keep", "the journal is deleted to make room for the results");
    return sp_recover_drop_journal(server->out, &error) == SP_OK;
}

void sp_keep_finished(struct sp_server *server)
{
    struct sp_error error = {0};

    if (server->keep->checkpoints && sp_recover_finish(server->out, sp_round_run(server->round), &error) != SP_OK)
        sp_log_error("keep", "%s; a server that is started in this folder again would take the job for unfinished",
                     error.text);
    else
        sp_recover_end_forget(server->out);
}

void sp_keep_close(struct sp_server *server)
{
    struct sp_keep *keep = server->keep;

    if (keep == NULL)
        return;
    if (keep->journal != NULL && server->job.server.journal.fsync != SP_FSYNC_NEVER)
        sp_journal_sync(keep->journal);
    sp_disk_stop(keep->checkpoint_disk);
    sp_disk_stop(keep->journal_disk);
    sp_journal_destroy(keep->journal);
    sp_checkpoint_finish(&keep->write.checkpoint);
    uv_close((uv_handle_t *)&keep->idle, NULL);
}

/* --- what is known of it ---------------------------------------------------------------------------------------------
 */

static json_t *journal_json(const struct sp_keep *keep)
{
    static const char *const names[] = {"always", "interval", "never"};
    double longest_ms, mean_ms;

    sp_journal_times(keep->journal, &longest_ms, &mean_ms);
    return json_pack("{s:b, s:s, s:I, s:I, s:I, s:f, s:f, s:f}", "written", sp_journal_is_well(keep->journal), "fsync",
                     names[keep->server->job.server.journal.fsync], "round",
                     (json_int_t)sp_journal_written(keep->journal), "round_on_disk",
                     (json_int_t)sp_journal_synced(keep->journal), "bytes", (json_int_t)sp_journal_bytes(keep->journal),
                     "sync_ms_longest", longest_ms, "sync_ms_mean", mean_ms, "waited_seconds",
                     (double)keep->waited_ms / 1e3);
}

json_t *sp_keep_json(const struct sp_server *server)
{
    const struct sp_keep *keep = server->keep;
    json_t *object = json_object();
    json_t *checkpoint;

    sp_json_put(&object, "restarts", json_integer((json_int_t)server->restarts));
    sp_json_put(&object, "failures", json_integer(keep->failures));
    sp_json_put(&object, "failing", json_boolean(keep->failing));
    checkpoint = keep->written_ms > 0 ? json_pack("{s:I, s:f, s:I, s:f, s:I}", "round", (json_int_t)keep->written_round,
                                                  "seconds_ago", (double)(sp_server_now_ms() - keep->written_ms) / 1e3,
                                                  "bytes", (json_int_t)keep->checkpoint_bytes, "copy_ms_longest",
                                                  (double)keep->longest_copy_us / 1e3, "write_ms_longest",
                                                  (json_int_t)keep->longest_write_ms)
                                      : json_null();
    sp_json_put(&object, "checkpoint", checkpoint);
    sp_json_put(&object, "enabled", json_boolean(keep->checkpoints));
    sp_json_put(&object, "journal", keep->journal != NULL && keep->asked_ms > 0 ? journal_json(keep) : json_null());
    return object;
}
