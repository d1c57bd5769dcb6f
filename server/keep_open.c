/* How what is kept is opened, with what an earlier server left, and closed. */
#include "common/log.h"
#include "common/secret.h"
#include "server/keep_state.h"

#include <stdlib.h>

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
    sp_keep_restore_numbers(keep->server);
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
    static const struct sp_journal_events events = {.progress = sp_keep_on_progress, .failed = sp_keep_on_failed};
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
    keep->write.job.run = sp_keep_write_checkpoint;
    keep->write.job.done = sp_keep_checkpoint_written;
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
        sp_keep_begin_checkpoint(server->keep);
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
    (void)sp_keep_drop_reserve(keep);
    sp_checkpoint_finish(&keep->write.checkpoint);
    uv_close((uv_handle_t *)&keep->idle, NULL);
}
