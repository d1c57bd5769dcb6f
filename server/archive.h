/* Numbers to bytes and back, by one function for both ways: what it visits when it saves it visits when it loads, so
 * the two cannot differ. Little-endian; nothing is aligned.
 *
 * Failure: `bad` is set, and everything after does nothing: no room, bytes that end too soon, a value beyond its limit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_archive {
    bool saving;
    bool bad;
    uint8_t *to;         /* when saving: borrowed; NULL only counts */
    const uint8_t *from; /* when loading: borrowed */
    size_t used, room;
};

/* Counts what saving would take, if `to` is NULL. */
struct sp_archive sp_archive_save(void *to, size_t room);
struct sp_archive sp_archive_load(const void *from, size_t bytes);

void sp_archive_bytes(struct sp_archive *a, void *bytes, size_t count);
void sp_archive_bool(struct sp_archive *a, bool *value);
void sp_archive_u32(struct sp_archive *a, uint32_t *value);
void sp_archive_u64(struct sp_archive *a, uint64_t *value);
void sp_archive_float(struct sp_archive *a, float *value);
void sp_archive_double(struct sp_archive *a, double *value);
void sp_archive_floats(struct sp_archive *a, float *values, size_t count);
void sp_archive_doubles(struct sp_archive *a, double *values, size_t count);
/* A text in an array of `room` bytes, ending with 0. */
void sp_archive_text(struct sp_archive *a, char *text, size_t room);
/* An enum's value, or a count: at most `most`. */
uint32_t sp_archive_limited(struct sp_archive *a, uint32_t value, uint32_t most);
/* What must be the same when it is loaded. */
void sp_archive_same(struct sp_archive *a, uint64_t value);
