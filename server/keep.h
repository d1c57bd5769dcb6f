/* What outlives the server: checkpoints and the journal, around the round core and its loop.
 *
 * Happy path: the job starts, a checkpoint of round 0 is written; every chunk of an update goes to the journal as it
 * goes out, and the state with its COMMIT; checkpoints follow by rounds, by time, when the journal is large, or when
 * somebody asks. Files are written by two threads (disk.h), one for each kind, so that a large checkpoint holds up no
 * record. With `fsync: always` a COMMIT waits, and all that comes after it, until its record is on the disk.
 *
 * Failure: what cannot be written is said at once and in `signpost status`; the job goes on without a journal and tries
 * again with a new checkpoint, or it stops, as server.journal.on_error says.
 */
#pragma once

#include "server/recover.h"
#include "server/round.h"
#include "server/server.h"

#include <jansson.h>

struct sp_keep;

/* After the folder is locked: makes server->round, from what an earlier run left, or new. SP_E_MISMATCH or SP_E_MISSING
 * with words where the folder holds what cannot be gone on from. */
int sp_keep_open(struct sp_server *server, bool fresh, struct sp_error *error);
/* The round that the job goes on after; false if it begins anew. */
bool sp_keep_goes_on(const struct sp_server *server, uint32_t *round);
/* The core goes on. Before the loop turns. */
void sp_keep_start(struct sp_server *server);

/* A chunk of an update, encoded. */
void sp_keep_chunk(struct sp_server *server, const struct sp_action *action, struct sp_buffer *frame);
/* A COMMIT: false if it has to wait, with all that follows, until sp_keep_waits() says no more. */
bool sp_keep_commit(struct sp_server *server, const struct sp_action *action);
bool sp_keep_waits(const struct sp_server *server);
/* Whether a push of this round comes before the COMMIT that its worker must have seen. */
bool sp_keep_is_early(const struct sp_server *server, uint32_t round);

void sp_keep_beat(struct sp_server *server);
/* Somebody asks for a checkpoint now. */
int sp_keep_checkpoint(struct sp_server *server, struct sp_error *error);
/* Of the job as it is, before it stops: if the journal does not have it, it is written to a checkpoint, at once. */
int sp_keep_last(struct sp_server *server, struct sp_error *error);
/* All is done, and workers are about to be told: from now on the results can be written without them. */
void sp_keep_end(struct sp_server *server);
/* The results cannot be written: gives room that is of no use any more, that of the reserve first, then the journal's.
 * False if there is none. */
bool sp_keep_make_room(struct sp_server *server);
/* The results of the whole job are written. */
void sp_keep_finished(struct sp_server *server);
/* Waits for what is being written, then frees all but what the loop still holds. */
void sp_keep_close(struct sp_server *server);

/* For status and summary. */
json_t *sp_keep_json(const struct sp_server *server);
