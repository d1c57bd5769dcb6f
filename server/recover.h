/* From a run's folder to the job as it was after a round: the newest checkpoint that is good, and the journal after it.
 * The server goes on from there, `signpost replay` looks at it: both by this one way.
 */
#pragma once

#include "server/state.h"

#define SP_RECOVER_LATEST UINT32_MAX

struct sp_recovery {
    struct sp_round *round; /* the caller's; NULL: the folder has nothing to go on from */
    uint64_t run;
    uint32_t checkpoint; /* the round it began from */
    uint32_t committed;  /* the round it came to */
    bool finished;       /* that run came to its end, and its results were written */
    struct sp_journal_scan scan;
};

/* What is to be known: `bad` is for damage. */
typedef void sp_recover_say(void *arg, bool bad, const char *line);

struct sp_recover_options {
    const char *folder;       /* the run's */
    const struct sp_job *job; /* what the core is to go by; its training keys must be the checkpoint's. NULL: that of
                                 the checkpoint */
    uint32_t to;              /* the last round wanted, or SP_RECOVER_LATEST */
    sp_recover_say *say;      /* called during the call */
    void *arg;
};

/* SP_OK with out->round NULL if there is no checkpoint in the folder. SP_E_MISMATCH: a job with other training keys
 * (the words name the first); SP_E_MISSING: no checkpoint at or before `to`, or records are missing before it;
 * SP_E_CORRUPT: no checkpoint can be read; SP_E_IO, SP_E_NOMEM. The core has not gone on yet (sp_round_go_on()). */
int sp_recover(struct sp_recovery *out, const struct sp_recover_options *options, struct sp_error *error);

/* Names of the folders inside the run's. */
void sp_recover_paths(const char *folder, char *checkpoints, char *journal, size_t bytes);

/* Checkpoints of later rounds, which were of no use, go to NAME.damaged: what follows now takes their place. */
int sp_recover_set_aside(const char *folder, uint32_t round, struct sp_error *error);

/* Says that the run came to its end: a new one in the folder begins anew. */
int sp_recover_finish(const char *folder, uint64_t run, struct sp_error *error);

/* All rounds are done and evaluated, and the workers are about to be told: a server that dies before the results are
 * written needs no worker to write them. */
int sp_recover_end(const char *folder, struct sp_round *round, struct sp_error *error);
void sp_recover_end_forget(const char *folder);

/* For room on the disk, once nothing of it is needed. */
int sp_recover_drop_journal(const char *folder, struct sp_error *error);

/* Deletes what an earlier run left of checkpoints and journal. */
int sp_recover_forget(const char *folder, struct sp_error *error);
