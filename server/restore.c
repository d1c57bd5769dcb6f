/* From a checkpoint and the journal back to a job that goes on. */
#include "common/check.h"
#include "server/round_state.h"

#include <stdlib.h>
#include <string.h>

static int refuse(const struct sp_checkpoint *checkpoint, const char *what, struct sp_error *error)
{
    return sp_error_set(error, SP_E_CORRUPT, "the checkpoint of round %u has no %s, or one that does not fit",
                        checkpoint->round, what);
}

static int refuse_version(uint32_t round, struct sp_error *error)
{
    return sp_error_set(error, SP_E_UNSUPPORTED,
                        "the state after round %u was written by another version of Signpost: go on with that one, or "
                        "begin anew with --fresh",
                        round);
}

static int restore_model(struct sp_round *r, const struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    const struct sp_checkpoint_section *section = sp_checkpoint_find(checkpoint, "layout");
    struct sp_hello model = {0};
    struct sp_archive archive;
    bool adopted;

    if (section == NULL)
        return refuse(checkpoint, "layout", error);
    archive = sp_archive_load(section->bytes, (size_t)section->count);
    sp_state_visit_model(&archive, &model);
    if (archive.bad || archive.used != archive.room || model.layout.trained == 0) {
        sp_layout_finish(&model.layout);
        return refuse(checkpoint, "layout", error);
    }
    model.layout_digest = sp_layout_digest(&model.layout);
    adopted = sp_roster_adopt(r, &model);
    sp_layout_finish(&model.layout);
    return adopted ? SP_OK
                   : sp_error_set(error, SP_E_NOMEM, "no memory for the model of the checkpoint of round %u",
                                  checkpoint->round);
}

static int load_state(struct sp_round *r, const void *bytes, size_t count)
{
    struct sp_archive archive = sp_archive_load(bytes, count), head = archive;
    uint64_t version = 0;

    sp_archive_u64(&head, &version);
    if (!head.bad && version != SP_STATE_VERSION)
        return SP_E_UNSUPPORTED;
    sp_state_visit(r, &archive, false);
    if (archive.bad || archive.used != archive.room || r->committed > r->rounds)
        return SP_E_CORRUPT;
    return sp_combine_prepare(r, r->form.phase) ? SP_OK : SP_E_NOMEM;
}

static bool copy_array(const struct sp_checkpoint *checkpoint, const char *name, void *to, uint64_t bytes)
{
    const struct sp_checkpoint_section *section = sp_checkpoint_find(checkpoint, name);

    if (bytes == 0)
        return section == NULL;
    if (section == NULL || to == NULL || section->count != bytes)
        return false;
    memcpy(to, section->bytes, (size_t)bytes);
    return true;
}

static int restore_arrays(struct sp_round *r, const struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    uint64_t d = r->layout.coordinates, moments = r->adam.m != NULL ? d * sizeof(float) : 0;

    if (!copy_array(checkpoint, "theta", r->theta, d * sizeof(float)))
        return refuse(checkpoint, "weights", error);
    if (!copy_array(checkpoint, "buffers", r->buffers, r->layout.buffers * sizeof(float)))
        return refuse(checkpoint, "buffers", error);
    if (!copy_array(checkpoint, "previous", r->previous, r->has_previous ? sp_bits_bytes(d) : 0))
        return refuse(checkpoint, "signs of the round before", error);
    if (!copy_array(checkpoint, "adam.m", r->adam.m, moments) || !copy_array(checkpoint, "adam.v", r->adam.v, moments))
        return refuse(checkpoint, "moments of Adam", error);
    return SP_OK;
}

int sp_round_restore(struct sp_round *r, const struct sp_checkpoint *checkpoint, struct sp_error *error)
{
    const struct sp_checkpoint_section *state = sp_checkpoint_find(checkpoint, "state");
    int rc;

    sp_assert(r->layout.tensors_count == 0);
    r->run = checkpoint->run;
    rc = restore_model(r, checkpoint, error);
    if (rc != SP_OK)
        return rc;
    if (state == NULL)
        return refuse(checkpoint, "state", error);
    rc = load_state(r, state->bytes, (size_t)state->count);
    if (rc == SP_E_NOMEM)
        return sp_error_set(error, rc, "no memory for the phase of the checkpoint of round %u", checkpoint->round);
    if (rc == SP_E_UNSUPPORTED)
        return refuse_version(checkpoint->round, error);
    if (rc != SP_OK || r->committed != checkpoint->round)
        return refuse(checkpoint, "state", error);
    rc = restore_arrays(r, checkpoint, error);
    if (rc != SP_OK)
        return rc;
    r->init = NULL;
    r->has_weights = r->started = true;
    sp_round_begin(r, r->committed + 1);
    return SP_OK;
}

int sp_round_restore_end(struct sp_round *r, const struct sp_checkpoint *end, struct sp_error *error)
{
    const struct sp_checkpoint_section *state = sp_checkpoint_find(end, "state");
    uint32_t committed = r->committed;

    if (state == NULL || load_state(r, state->bytes, (size_t)state->count) != SP_OK || r->committed != committed)
        return refuse(end, "state", error);
    return SP_OK;
}

/* --- the journal -----------------------------------------------------------------------------------------------------
 */

static int replay_commit(struct sp_round *r, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    struct sp_round_form form = r->form;
    uint64_t digest = r->digest;
    int rc;

    if (r->tally.base != r->tally.chunks)
        return sp_error_set(error, SP_E_CORRUPT, "the record of round %u has %u of %u chunks", entry->round,
                            r->tally.base, r->tally.chunks);
    rc = load_state(r, body, entry->bytes);
    if (rc == SP_E_NOMEM)
        return sp_error_set(error, rc, "no memory for the phase after round %u", entry->round);
    if (rc == SP_E_UNSUPPORTED)
        return refuse_version(entry->round, error);
    if (rc != SP_OK || r->committed != entry->round)
        return sp_error_set(error, SP_E_CORRUPT, "the state in the record of round %u cannot be read", entry->round);
    if (r->last_commit.has_digest && r->last_commit.digest != digest)
        return sp_error_set(error, SP_E_CORRUPT,
                            "the weights after round %u have digest %016llx, in the job they had %016llx",
                            entry->round - 1, (unsigned long long)digest, (unsigned long long)r->last_commit.digest);
    sp_commit_take(r, &form);
    sp_round_settle(r);
    sp_round_begin(r, r->committed + 1);
    return SP_OK;
}

int sp_round_replay(struct sp_round *r, const struct sp_entry *entry, const void *body, struct sp_error *error)
{
    if (entry->round != r->committed + 1 || r->committed == r->rounds)
        return sp_error_set(error, SP_E_CORRUPT, "a record of round %u follows round %u", entry->round, r->committed);
    if (entry->type == SP_ENTRY_COMMIT)
        return replay_commit(r, entry, body, error);
    return sp_combine_replay(r, entry, body, error);
}

/* --- going on --------------------------------------------------------------------------------------------------------
 */

/* Nobody holds a part any more; whoever comes first gets all of it. */
static void evaluate_again(struct sp_round *r)
{
    struct evaluation *e = &r->evaluation;

    e->parts = 1;
    e->parts_done = 0;
    memset(e->part, 0, sizeof e->part);
    e->part[0].worker = -1;
    e->deadline_ms = r->now_ms + (uint64_t)(r->job.server.evaluate_timeout * 1e3);
}

void sp_round_go_on(struct sp_round *r, uint64_t now_ms)
{
    r->now_ms = r->began_ms = now_ms;
    r->stage = SP_STAGE_RUNNING;
    if (r->job.server.quarantine != SP_QUARANTINE_EXCLUDE) /* the key may change with a restart */
        memset(r->suspicion.excluded, 0, sizeof r->suspicion.excluded);
    if (r->evaluation.pending)
        evaluate_again(r);
    if (r->residual != NULL)
        sp_round_note(r, SP_NOTE_INFO, "what int8 left out of updates before the restart is lost: it begins at zero");
    if (r->committed == r->rounds) {
        r->stage = SP_STAGE_CLOSING;
        r->round = r->committed; /* no other one begins */
    } else {
        sp_round_begin(r, r->committed + 1);
        sp_round_await_return(r);
    }
    sp_round_advance(r);
}
