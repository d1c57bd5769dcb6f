/* What the round core knows, as bytes, and back: how a job outlives its server.
 *
 * A *checkpoint* has all of it: sections `job` (its keys), `layout`, `state` (numbers of rounds, statistics, decisions,
 * slots), `theta`, `buffers`, `previous` (the signs of the round before, which `flips` are counted against), `adam.m`,
 * `adam.v`. A *journal* has what each round changes: the update as it was sent, and the state after it. A checkpoint
 * and the records that follow it give the weights of any of their rounds, to the bit: they are applied by the same
 * functions as in the job (commit.c).
 *
 * What is not kept: the round that was being collected, the statistics of the round before it (its dots went with the
 * workers' connections), what int8 left out on the server.
 *
 * No I/O here: the daemon's keep.c and `signpost replay` give and take the bytes.
 */
#pragma once

#include "server/checkpoint.h"
#include "server/journal.h"
#include "server/round.h"

#define SP_STATE_VERSION 1

/* --- saving --------------------------------------------------------------------------------------------------------
 */

/* Before the first event: `run` is the job's number, random and not 0. `journal`: updates come with what Adam needs to
 * be replayed. */
void sp_round_keep(struct sp_round *r, uint64_t run, bool journal);
uint64_t sp_round_run(const struct sp_round *r);

/* Numbers of the caller's own, which are saved and restored with the state. */
uint64_t *sp_round_owner_numbers(struct sp_round *r);

/* The state after the round that was committed last, `whole` or what may follow that of the round before. Borrowed
 * until the next call. SP_E_NOMEM; SP_E_STATE before the job has started. */
int sp_round_save(struct sp_round *r, bool whole, const void **bytes, size_t *count);

/* Begins a checkpoint of that state. Weights are copied by and by, with sp_round_copy(), and what is left at once when
 * the next round is committed, which is about to change them. SP_E_STATE: one is under way, or the job has not started;
 * SP_E_NOMEM. */
int sp_round_checkpoint(struct sp_round *r, struct sp_error *error);

/* Copies at most `bytes` more. True if there is nothing left to copy. */
bool sp_round_copy(struct sp_round *r, size_t bytes);

/* The most bytes so far that were left to be copied when a round was committed. */
uint64_t sp_round_copied_at_once(const struct sp_round *r);

/* Gives the copy, which is the caller's from now on (sp_checkpoint_finish()); false if it is not whole or there is
 * none. */
bool sp_round_copied(struct sp_round *r, struct sp_checkpoint *checkpoint);

/* --- restoring -----------------------------------------------------------------------------------------------------
 */

/* Fills in the keys of the job that a checkpoint is of. SP_E_CORRUPT, SP_E_UNKNOWN (a key that this version lacks). */
int sp_state_job(const struct sp_checkpoint *checkpoint, struct sp_job *job, struct sp_error *error);

/* Before the first event: everything as the checkpoint has it. SP_E_CORRUPT, SP_E_UNSUPPORTED (another version),
 * SP_E_NOMEM; after a failure the core is of no use but to be destroyed. */
int sp_round_restore(struct sp_round *r, const struct sp_checkpoint *checkpoint, struct sp_error *error);

/* Then the entries of the journal from the next round on, in order. SP_E_CORRUPT: an entry that does not fit, or
 * weights that differ from the digest in a COMMIT. */
int sp_round_replay(struct sp_round *r, const struct sp_entry *entry, const void *body, struct sp_error *error);

/* Or the state alone of a job that is over, in place of what it is now. SP_E_CORRUPT. */
int sp_round_restore_end(struct sp_round *r, const struct sp_checkpoint *end, struct sp_error *error);

/* Then the job goes on: it waits for the workers of its last round. */
void sp_round_go_on(struct sp_round *r, uint64_t now_ms);
