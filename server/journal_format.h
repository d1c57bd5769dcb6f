/* The bytes of the journal's segments, shared by what writes and what reads them. Nobody else includes this. */
#pragma once

#include "common/bytes.h"
#include "common/check.h"
#include "common/layout.h"
#include "proto/frame.h"
#include "server/journal.h"

#define SP_SEGMENT_SUFFIX ".journal"
#define SP_ASIDE_SUFFIX ".damaged"
#define SP_SEGMENT_MAGIC "SPJOURN"
#define SP_SEGMENT_MAGIC_BYTES 7 /* then the version's digit */
#define SP_SEGMENT_HEADER_BYTES 32
#define SP_ENTRY_MAGIC 0x59525453u /* "STRY" */
#define SP_ENTRY_HEAD_BYTES 48
#define SP_ENTRY_CRC_AT 44
#define SP_ENTRY_ALIGNMENT 8

static inline uint32_t sp_entry_bytes_max(enum sp_entry_type type)
{
    return type != SP_ENTRY_CHUNK ? SP_JOURNAL_BODY_BYTES_MAX : SP_BULK_BYTES_MAX;
}

/* Zeros behind a body. */
static inline uint32_t sp_entry_padding(uint32_t bytes)
{
    return -bytes % SP_ENTRY_ALIGNMENT;
}

/* An entry in its file. */
static inline uint64_t sp_entry_size(uint32_t bytes)
{
    return SP_ENTRY_HEAD_BYTES + (uint64_t)bytes + sp_entry_padding(bytes);
}

static inline bool sp_entry_is_at_start(const struct sp_entry *entry)
{
    return entry->type != SP_ENTRY_COMMIT && entry->first == 0 && !(entry->flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS));
}

/* Whether it begins a record, or begins it anew: at coordinate 0, and not the chunk whose gradient did that. */
static inline bool sp_entry_is_first(const struct sp_entry *entry, bool after_first_gradient)
{
    return sp_entry_is_at_start(entry) && !(entry->type == SP_ENTRY_CHUNK && after_first_gradient);
}

static inline void sp_segment_encode(uint32_t round, uint64_t run, uint8_t header[SP_SEGMENT_HEADER_BYTES])
{
    memset(header, 0, SP_SEGMENT_HEADER_BYTES);
    memcpy(header, SP_SEGMENT_MAGIC, SP_SEGMENT_MAGIC_BYTES);
    header[SP_SEGMENT_MAGIC_BYTES] = '0' + SP_JOURNAL_VERSION;
    sp_put32(header + 8, round);
    sp_put64(header + 16, run);
    sp_put32(header + 24, sp_crc32c(header, 24));
}

static inline bool sp_segment_decode(const uint8_t header[SP_SEGMENT_HEADER_BYTES], uint32_t *round, uint64_t *run)
{
    uint8_t same[SP_SEGMENT_HEADER_BYTES];

    *round = sp_get32(header + 8);
    *run = sp_get64(header + 16);
    sp_segment_encode(*round, *run, same);
    return memcmp(header, same, sizeof same) == 0;
}

static inline void sp_entry_encode(const struct sp_entry *entry, const void *body, uint8_t head[SP_ENTRY_HEAD_BYTES])
{
    memset(head, 0, SP_ENTRY_HEAD_BYTES);
    sp_put32(head, SP_ENTRY_MAGIC);
    sp_put16(head + 4, (uint16_t)entry->type);
    sp_put16(head + 6, entry->flags);
    sp_put32(head + 8, entry->round);
    sp_put32(head + 12, entry->count);
    sp_put64(head + 16, entry->first);
    sp_put32(head + 24, entry->bytes);
    sp_put32(head + 28, entry->voters);
    sp_put32(head + 32, sp_crc32c(body, entry->bytes));
    sp_put32(head + SP_ENTRY_CRC_AT, sp_crc32c(head, SP_ENTRY_CRC_AT));
}

/* False if it is not the head of an entry, or beyond what any may be. */
static inline bool sp_entry_decode(const uint8_t head[SP_ENTRY_HEAD_BYTES], struct sp_entry *entry, uint32_t *crc)
{
    const unsigned type = sp_get16(head + 4);

    if (sp_get32(head) != SP_ENTRY_MAGIC || sp_get32(head + SP_ENTRY_CRC_AT) != sp_crc32c(head, SP_ENTRY_CRC_AT) ||
        type < SP_ENTRY_CHUNK || type > SP_ENTRY_COMMIT || sp_get64(head + 36) != 0)
        return false;
    entry->type = (enum sp_entry_type)type;
    entry->flags = sp_get16(head + 6);
    entry->round = sp_get32(head + 8);
    entry->count = sp_get32(head + 12);
    entry->first = sp_get64(head + 16);
    entry->bytes = sp_get32(head + 24);
    entry->voters = sp_get32(head + 28);
    *crc = sp_get32(head + 32);
    return entry->bytes <= sp_entry_bytes_max(entry->type) && entry->first <= SP_COORDINATES_MAX &&
           entry->count <= SP_COORDINATES_MAX - entry->first;
}

/* A segment as its header has it. */
struct sp_segment {
    uint32_t round; /* as its name has it */
    bool whole;     /* the header is, and fits the name */
    uint64_t run;   /* if it is whole */
    uint64_t bytes; /* of the file */
};

/* --- journal_read.c --- */
/* Looks at FOLDER/ROUND.journal. SP_OK also if its header is not whole; SP_E_IO, SP_E_UNSUPPORTED. */
int sp_segment_look(const char *folder, uint32_t round, struct sp_segment *segment, struct sp_error *error);

/* All of the folder, by round; the caller frees them. */
int sp_segments_list(const char *folder, struct sp_segment **segments, size_t *count, struct sp_error *error);

/* What is another run's is none of ours; what cannot be told is. */
static inline bool sp_segment_is_of(const struct sp_segment *segment, uint64_t run)
{
    return run == 0 || !segment->whole || segment->run == run;
}
