/* What checkpoints and the journal share: numbered files in a folder, bytes that are written all, and words. */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SP_FILES_PATH_BYTES 1300
#define SP_FILES_NEW ".new" /* of a file that is not whole yet */

/* SP_E_IO: "cannot VERB PATH: why; what to do", from errno. */
int sp_files_error(struct sp_error *error, const char *verb, const char *path);

/* The end of a long path, which says more than its beginning. */
const char *sp_files_shown(const char *path);

/* Makes the folder, in one that is there, if need be. SP_E_RANGE if its name is too long. */
int sp_files_make_folder(const char *folder, struct sp_error *error);

/* So that names that came and went are on the disk. */
int sp_files_sync_folder(const char *folder, struct sp_error *error);

/* The same, of the folder that PATH is in. */
int sp_files_sync_parent(const char *path, struct sp_error *error);

/* FOLDER/ROUND.SUFFIX, ROUND with 10 digits, in SP_FILES_PATH_BYTES. */
void sp_files_path(const char *folder, uint32_t round, const char *suffix, char path[SP_FILES_PATH_BYTES]);

/* Whether the name is ROUND.SUFFIX. */
bool sp_files_is_name(const char *name, const char *suffix, uint32_t *round);

/* The rounds of the files FOLDER/ROUND.SUFFIX, from the smallest on; the caller frees them. A folder that is not there
 * has none. SP_E_IO, SP_E_RANGE (too many, a name too long), SP_E_NOMEM. */
int sp_files_list(const char *folder, const char *suffix, uint32_t **rounds, size_t *count, struct sp_error *error);

/* Writes all of the parts, which it uses up. Returns false with errno. */
bool sp_files_write(int fd, struct iovec *parts, int count);

/* Writes all of the parts, which it uses up, as the file PATH, all of it or nothing: to PATH.new first, which is synced
 * and renamed. When it returns, the name is on the disk too. SP_E_IO: PATH is as it was. */
int sp_files_replace(const char *path, mode_t mode, struct iovec *parts, int count, struct sp_error *error);

/* Reads up to `bytes` from there; fewer only at the end of the file. -1 with errno. */
int64_t sp_files_read(int fd, uint64_t at, void *to, size_t bytes);
