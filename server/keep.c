#include "server/keep.h"

#include "common/check.h"
#include "common/log.h"
#include "server/keep_state.h"

#define PENDING_BYTES_MAX (64u * 1024u * 1024u)
#define SAY_WAIT_MS 5000

/* --- failure ---------------------------------------------------------------------------------------------------------
 */

void sp_keep_fail(struct sp_keep *keep, const struct sp_error *error)
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

void sp_keep_on_failed(void *owner, const struct sp_error *error)
{
    struct sp_keep *keep = owner;

    sp_keep_fail(keep, error);
    /* A job that stops over this ends with the round before: no worker has applied this one. */
    if (keep->server->job.server.journal.on_error == SP_ON_ERROR_STOP)
        keep->waits = false;
    sp_keep_release(keep);
    sp_server_drain(keep->server);
}

/* --- the journal -----------------------------------------------------------------------------------------------------
 */

bool sp_keep_journals(const struct sp_keep *keep)
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

    if (!sp_keep_journals(keep))
        return true;
    keep->by_backlog = sp_journal_pending(keep->journal) > PENDING_BYTES_MAX;
    if (keep->by_backlog)
        return false;
    if (!keep->base && !keep->failing) /* a failure has been said, and is not waited for */
        return false;
    return !always || sp_journal_synced(keep->journal) >= round;
}

void sp_keep_release(struct sp_keep *keep)
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

void sp_keep_on_progress(void *owner)
{
    sp_keep_release(owner);
}

bool sp_keep_waits(const struct sp_server *server)
{
    return server->keep != NULL && server->keep->waits;
}

bool sp_keep_is_early(const struct sp_server *server, uint32_t round)
{
    return sp_keep_waits(server) && round > server->keep->commit.round;
}

void sp_keep_save_numbers(struct sp_server *server)
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

void sp_keep_restore_numbers(struct sp_server *server)
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
    sp_keep_save_numbers(keep->server);
    rc = sp_round_save(keep->server->round, false, &state, &bytes);
    sp_assert(sp_round_committed(keep->server->round) == round);
    sp_assert(rc == SP_OK || rc == SP_E_NOMEM);
    if (rc == SP_OK) {
        (void)sp_journal_commit(keep->journal, round, state, bytes); /* tells of a failure by itself */
        return;
    }
    (void)sp_error_set(&error, SP_E_NOMEM, "no memory for the record of round %u in the journal", round);
    sp_keep_fail(keep, &error);
}

static void sync_when_due(struct sp_keep *keep, uint64_t now)
{
    const struct sp_job *job = &keep->server->job;

    if (!sp_keep_journals(keep) || job->server.journal.fsync != SP_FSYNC_INTERVAL ||
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
        sp_keep_begin_checkpoint(keep);
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
    if (sp_keep_is_due_by_round(keep, action->round))
        sp_keep_begin_checkpoint(keep);
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
    if (sp_keep_is_due_by_time(keep, now))
        sp_keep_begin_checkpoint(keep);
    say_wait(keep, now);
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

static json_t *checkpoint_json(const struct sp_keep *keep)
{
    return json_pack("{s:I, s:f, s:I, s:f, s:I, s:I}", "round", (json_int_t)keep->written_round, "seconds_ago",
                     (double)(sp_server_now_ms() - keep->written_ms) / 1e3, "bytes", (json_int_t)keep->checkpoint_bytes,
                     "copy_ms_longest", (double)keep->longest_copy_us / 1e3, "copy_bytes_at_once",
                     (json_int_t)sp_round_copied_at_once(keep->server->round), "write_ms_longest",
                     (json_int_t)keep->longest_write_ms);
}

json_t *sp_keep_json(const struct sp_server *server)
{
    const struct sp_keep *keep = server->keep;
    json_t *object = json_object();

    sp_json_put(&object, "restarts", json_integer((json_int_t)server->restarts));
    sp_json_put(&object, "failures", json_integer(keep->failures));
    sp_json_put(&object, "failing", json_boolean(keep->failing));
    sp_json_put(&object, "checkpoint", keep->written_ms > 0 ? checkpoint_json(keep) : json_null());
    sp_json_put(&object, "enabled", json_boolean(keep->checkpoints));
    sp_json_put(&object, "journal", keep->journal != NULL && keep->asked_ms > 0 ? journal_json(keep) : json_null());
    return object;
}
