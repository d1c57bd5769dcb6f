/* Checkpoint files: FOLDER/ROUND.checkpoint (ROUND with 10 digits), each a list of named sections with their checksums.
 *
 * A file is written under a temporary name, synced, renamed, and its folder synced: it is there whole, or not at all.
 * What is in the sections is the round core's business (server/state.h); this file knows bytes only.
 *
 * Format, little-endian: magic "SPCHECK1" (8 bytes; the digit is the format's version), u32 round, u32 number of
 * sections, u64 run, then for each section: 16 bytes of name, zero-padded; u64 bytes; u32 CRC-32C of the bytes; u32 0;
 * then u32 CRC-32C of all of the header up to here, u32 0; then the sections' bytes, each padded with zeros to 64.
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_CHECKPOINT_VERSION 1
#define SP_SECTIONS_MAX 16
#define SP_SECTION_NAME_BYTES 16

struct sp_checkpoint_section {
    char name[SP_SECTION_NAME_BYTES]; /* ends with 0 */
    const void *bytes;                /* borrowed; 16-byte aligned when read */
    uint64_t count;
};

struct sp_checkpoint {
    uint32_t round;
    uint64_t run;
    struct sp_checkpoint_section section[SP_SECTIONS_MAX];
    uint32_t sections;
    void *memory; /* owned, when read */
};

/* Makes the folder if need be and writes the file, mode 0600. SP_E_IO with words that name the file and what to do. */
int sp_checkpoint_write(const char *folder, const struct sp_checkpoint *checkpoint, struct sp_error *error);

/* Reads a file and checks all of it. SP_E_IO; SP_E_CORRUPT: cut short, a wrong checksum (the words name the section);
 * SP_E_UNSUPPORTED: another version of the format; SP_E_SYNTAX: no checkpoint at all; SP_E_NOMEM. */
int sp_checkpoint_read(const char *path, struct sp_checkpoint *checkpoint, struct sp_error *error);
void sp_checkpoint_finish(struct sp_checkpoint *checkpoint);

/* NULL if there is no such section. */
const struct sp_checkpoint_section *sp_checkpoint_find(const struct sp_checkpoint *checkpoint, const char *name);

/* The rounds of the checkpoint files in a folder, the newest first: up to `max`; the number is returned. A folder that
 * is not there has none. -1 with words if it cannot be read. */
int sp_checkpoint_list(const char *folder, uint32_t *rounds, unsigned max, struct sp_error *error);
void sp_checkpoint_path(const char *folder, uint32_t round, char *path, size_t bytes);

/* Deletes all but the newest `keep`, and with `first` the oldest, and temporary files that were left behind. Returns
 * the round of the oldest of the newest `keep`, or 0, with words if they cannot be listed. */
uint32_t sp_checkpoint_prune(const char *folder, unsigned keep, bool first, struct sp_error *error);
