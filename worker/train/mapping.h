/* Files that are mapped into memory, read-only, so that data may be larger than it.
 *
 * Whoever cuts such a file short makes the next look at its end a SIGBUS. sp_mapping_guard() says so in words.
 */
#pragma once

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct sp_mapping;

/* Maps a whole regular file of which `path` is the name for words; `fd` may be closed afterwards. *out stays NULL,
 * which is no error, where that is not possible: a pipe, an empty file, a file system that cannot. On success the
 * caller owns *out. Errors: SP_E_NOMEM. One thread at a time. */
int sp_mapping_create(struct sp_mapping **out, int fd, const char *path, struct sp_error *error);

/* NULL is allowed. */
void sp_mapping_destroy(struct sp_mapping *mapping);

const uint8_t *sp_mapping_start(const struct sp_mapping *mapping);
uint64_t sp_mapping_bytes(const struct sp_mapping *mapping);

/* From now on a SIGBUS in a mapped file ends the process with a line "PROGRAM: FILE ..." on standard error and exit
 * status 1; any other is as before. `program` is borrowed for good. */
void sp_mapping_guard(const char *program);
