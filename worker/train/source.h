/* One data file while it is read: plain or compressed by gzip, with errors that name file and byte. source.c alone
 * includes zlib.h. */
#pragma once

#include "common/error.h"
#include "worker/train/mapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_SOURCE_STEP_BYTES (UINT64_C(1) << 24) /* most that one sp_source_read() takes */
#define SP_PATH_SHOWN_BYTES 180                  /* of a path in words: two of them and the rest fit an error's text */

struct sp_input;

struct sp_source {
    const char *path;       /* borrowed */
    struct sp_input *input; /* owned; NULL if not open */
    int fd;
    uint64_t offset; /* bytes of content read so far */
    struct sp_error *error;
};

/* The end of a long path says more than its beginning. */
const char *sp_path_shown(const char *path);

/* Words of all errors go to `error`. Errors: SP_E_IO, SP_E_NOMEM. */
int sp_source_open(struct sp_source *source, const char *path, struct sp_error *error);

/* Does nothing if it is not open. */
void sp_source_close(struct sp_source *source);

/* "PATH: at byte OFFSET: WORDS"; `offset` is that of what is at fault, in the uncompressed content. Returns `code`. */
int sp_source_fail(const struct sp_source *source, enum sp_code code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether the file is compressed. */
bool sp_source_is_compressed(const struct sp_source *source);

/* Reads up to `bytes` (at most SP_SOURCE_STEP_BYTES); *got is less only at the end of a file that is well up to there.
 * Errors: SP_E_IO, SP_E_NOMEM, SP_E_SYNTAX (a gzip stream that ends too early), SP_E_CORRUPT (gzip's checks, and
 * anything after a gzip stream but another one or zeros). */
int sp_source_read(struct sp_source *source, void *to, uint64_t bytes, uint64_t *got);

/* Reads on to the end of the file, or until there are `most` bytes (at least 1), in a new buffer that grows with what
 * really arrives. On success the caller owns *buffer, which is NULL if *got is 0. */
int sp_source_read_all(struct sp_source *source, uint64_t most, uint8_t **buffer, uint64_t *got);

/* Maps the whole file; *out stays NULL if it is compressed or cannot be mapped. */
int sp_source_map(const struct sp_source *source, struct sp_mapping **out);
