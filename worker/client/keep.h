/* A worker's momentum in a file, for the process that takes its slot if this one is killed: FOLDER/momentum-SLOT.
 *
 * It is written beside it and renamed, and not synced: the kernel keeps it when the process dies, and after a crash of
 * the machine the checksum tells whether all of it is there.
 *
 * Format, little-endian: magic "SPMOMEN1" (the digit is the format's version); u64 run, layout digest, coordinates; u32
 * slot, round, rounds whose gradient went into it, 1 if the worker is `late` (else 0); u64 checksum: XXH64 (seed 0) of
 * the 48 bytes before it and of all that follows; then the momentum, float32.
 */
#pragma once

#include "common/error.h"
#include "worker/client/learner.h"

#define SP_KEEP_FOLDER_BYTES 4000
#define SP_KEEP_PATH_BYTES (SP_KEEP_FOLDER_BYTES + 32)

/* Whose momentum it is. */
struct sp_keep {
    const char *folder; /* borrowed; less than SP_KEEP_FOLDER_BYTES */
    uint64_t layout_digest;
    uint32_t slot;
};

/* The file's name. */
void sp_keep_path(const struct sp_keep *keep, char path[SP_KEEP_PATH_BYTES]);

/* Writes the learner's momentum, of which there must be some; mode 0600. Folders are made if need be. SP_E_IO with
 * words; the file of before is then still there. */
int sp_keep_write(const struct sp_keep *keep, const struct sp_learner *learner, struct sp_error *error);

/* Reads it into a learner that has none and is set up: see sp_learner_resume(). With words, and the learner as it was:
 * SP_E_MISSING, there is no file; SP_E_MISMATCH, it is of another run, model or slot; SP_E_UNSUPPORTED, of another
 * version; SP_E_SYNTAX, no such file at all; SP_E_CORRUPT, damaged or cut short; SP_E_IO. */
int sp_keep_read(const struct sp_keep *keep, struct sp_learner *learner, struct sp_error *error);

/* Deletes it, and what a process that was killed while it wrote left beside it. */
void sp_keep_remove(const struct sp_keep *keep);
