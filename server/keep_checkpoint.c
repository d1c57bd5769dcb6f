/* Checkpoints while the job goes on, and at its end. */
#include "common/log.h"
#include "server/keep_state.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLICE_BYTES (1024u * 1024u) /* copied between two looks at the sockets: some tenths of a millisecond */
#define RETRY_MS 10000              /* after a failure */
#define RESERVE_NAME "reserve"
#define RESERVE_SLACK_BYTES 65536 /* the state grows with the job */

static uint64_t size_of(const struct sp_checkpoint *checkpoint)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < checkpoint->sections; i++)
        bytes += checkpoint->section[i].count;
    return bytes;
}

static void reserve_path(const struct sp_keep *keep, char path[PATH_BYTES_INSIDE + 16])
{
    (void)snprintf(path, PATH_BYTES_INSIDE + 16, "%s/" RESERVE_NAME, keep->checkpoints_folder);
}

bool sp_keep_drop_reserve(const struct sp_keep *keep)
{
    char path[PATH_BYTES_INSIDE + 16];

    reserve_path(keep, path);
    return unlink(path) == 0;
}

/* A file as large as a checkpoint, which gives way to one on a disk that is full: the journal before it can go then. */
static void reserve(const struct writing *writing)
{
    char path[PATH_BYTES_INSIDE + 16];
    int fd;

    reserve_path(writing->keep, path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (posix_fallocate(fd, 0, (off_t)(size_of(&writing->checkpoint) + RESERVE_SLACK_BYTES)) != 0)
        (void)unlink(path); /* there is no room for it now; the next checkpoint tries again */
    (void)close(fd);
}

void sp_keep_write_checkpoint(struct sp_disk_job *job)
{
    struct writing *writing = (struct writing *)job;
    const char *folder = writing->keep->checkpoints_folder;
    uint64_t began = uv_hrtime();

    memset(&writing->error, 0, sizeof writing->error);
    writing->code = sp_checkpoint_write(folder, &writing->checkpoint, &writing->error);
    if (writing->code == SP_E_IO) {
        (void)sp_keep_drop_reserve(writing->keep);
        writing->code = sp_checkpoint_write(folder, &writing->checkpoint, &writing->error);
    }
    if (writing->code == SP_OK) {
        writing->oldest = sp_checkpoint_prune(folder, writing->files_kept, writing->first_kept, &writing->error);
        reserve(writing);
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

static void say_unpruned(const struct sp_error *error)
{
    if (error->code == SP_E_NOMEM)
        sp_log_warn("keep", "%s; old checkpoints are deleted after the next one", error->text);
}

void sp_keep_checkpoint_written(struct sp_disk_job *job)
{
    struct writing *writing = (struct writing *)job;
    struct sp_keep *keep = writing->keep;

    keep->writing = false;
    keep->checkpoint_bytes = size_of(&writing->checkpoint);
    if (writing->took_ms > keep->longest_write_ms)
        keep->longest_write_ms = writing->took_ms;
    sp_checkpoint_finish(&writing->checkpoint);
    if (writing->code != SP_OK) {
        sp_keep_fail(keep, &writing->error);
        sp_keep_release(keep);
    } else {
        keep->written_round = keep->asked_round;
        keep->written_ms = sp_server_now_ms();
        keep->base = true;
        if (writing->oldest == 0)
            say_unpruned(&writing->error);
        prune_journal(keep, writing->oldest);
        if (keep->failing && (keep->journal == NULL || sp_keep_journals(keep))) {
            keep->failing = false;
            sp_log_info("keep", "checkpoint of round %u is written: from here on nothing is lost again",
                        keep->written_round);
        }
        sp_log_debug("keep", "checkpoint of round %u is written (%.1f MB in %llu ms)", keep->written_round,
                     (double)keep->checkpoint_bytes / 1e6, (unsigned long long)writing->took_ms);
        sp_keep_release(keep);
    }
    if (keep->wanted && writing->code == SP_OK)
        sp_keep_begin_checkpoint(keep);
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
    sp_keep_save_numbers(keep->server);
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

void sp_keep_begin_checkpoint(struct sp_keep *keep)
{
    struct sp_error error = {0};
    int rc = begin_checkpoint(keep, &error);

    if (rc != SP_OK && rc != SP_E_STATE)
        sp_keep_fail(keep, &error);
}

bool sp_keep_is_due_by_round(const struct sp_keep *keep, uint32_t round)
{
    const struct sp_job *job = &keep->server->job;
    uint64_t max = job->server.journal.max_bytes;
    uint32_t every = job->server.checkpoint.every;

    if (keep->failing || keep->copying || keep->writing)
        return false;
    if (every > 0 && round - keep->asked_round >= every)
        return true;
    return sp_keep_journals(keep) && max > 0 && !job->server.journal.keep_history &&
           sp_journal_segment_bytes(keep->journal) > max / (job->server.checkpoint.keep + 1u);
}

bool sp_keep_is_due_by_time(const struct sp_keep *keep, uint64_t now)
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

/* --- the end ---------------------------------------------------------------------------------------------------------
 */

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
    sp_keep_save_numbers(keep->server);
    rc = sp_round_checkpoint(keep->server->round, error);
    if (rc != SP_OK)
        return rc;
    (void)sp_round_copy(keep->server->round, SIZE_MAX);
    (void)sp_round_copied(keep->server->round, &checkpoint);
    rc = sp_checkpoint_write(keep->checkpoints_folder, &checkpoint, error);
    sp_checkpoint_finish(&checkpoint);
    if (rc == SP_OK) {
        struct sp_error unpruned = {0};

        (void)sp_checkpoint_prune(keep->checkpoints_folder, keep->server->job.server.checkpoint.keep,
                                  keep->server->job.server.journal.keep_history, &unpruned);
        say_unpruned(&unpruned);
    }
    return rc;
}

int sp_keep_last(struct sp_server *server, struct sp_error *error)
{
    struct sp_keep *keep = server->keep;
    uint32_t round = sp_round_committed(server->round);

    if (!keep->checkpoints || !sp_round_has_started(server->round) || keep->written_round == round ||
        (sp_keep_journals(keep) && keep->base && sp_journal_written(keep->journal) >= round))
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

    if (sp_keep_drop_reserve(keep))
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
