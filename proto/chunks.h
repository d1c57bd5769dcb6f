/* How the numbers of a round are cut into frames: what server and workers must agree on, in one place.
 *
 * A round's PUSH, and its UPDATE, is a series of chunks in up to three sections, one after the other:
 *   main     all d coordinates in the form of the phase: signs (UPDATE of the margin phase: vote counts), or values as
 *            the round's wire says; tensors that travel in full are zeros here
 *   full     float32 values of the tensors with trait FULL, one tensor after the other; flag FULL
 *   buffers  float32 values of the buffers, in a round that averages them; flag BUFFERS
 * Each chunk but the last of its section has the section's full size; the last chunk of the last section has flag LAST.
 */
#pragma once

#include "common/job.h"
#include "common/layout.h"
#include "common/values.h"
#include "proto/codec.h"

/* Coordinates in a chunk: at most what 64 KiB of bulk hold, whatever the tensors and the number of votes. */
#define SP_CHUNK_SIGNS (SP_BULK_BYTES_MAX * 8u)
#define SP_CHUNK_MARGIN SP_BULK_BYTES_MAX
#define SP_CHUNK_VALUES (SP_BULK_BYTES_MAX / 4u)
#define SP_CHUNK_SHORT (SP_BULK_BYTES_MAX / 2u) /* bfloat16 and int8 */

struct sp_round_form {
    enum sp_phase phase;
    enum sp_wire wire; /* of the main section in the SGD phase */
    bool buffers;
    bool weights; /* not a round's, but those of WEIGHTS frames: all weights as float32, then all buffers */
};

/* What optimizer.sgd.wire says, `auto` resolved. */
enum sp_wire sp_job_wire(const struct sp_job *job);

/* How weights travel. */
extern const struct sp_round_form sp_weights_form;

enum sp_section { SP_SECTION_MAIN, SP_SECTION_FULL, SP_SECTION_BUFFERS };

struct sp_chunk {
    enum sp_section section;
    uint64_t first; /* coordinate, or value of the section */
    uint32_t count;
    size_t bytes;   /* of its bulk in a PUSH, and in an UPDATE but for the margin phase's main section */
    uint16_t flags; /* of its frame */
};

/* Coordinates in a chunk of the main section. */
uint32_t sp_chunk_size(const struct sp_round_form *form);

/* Chunks of a round. */
uint32_t sp_chunks_count(const struct sp_layout *layout, const struct sp_round_form *form);

/* Chunk k, below that count. */
struct sp_chunk sp_chunk_at(const struct sp_layout *layout, const struct sp_round_form *form, uint32_t k);

/* Bytes of the chunk's bulk in an UPDATE that counted so many votes. */
size_t sp_chunk_update_bytes(const struct sp_round_form *form, const struct sp_chunk *chunk, unsigned voters);

/* Whether a frame is that chunk: range, bulk and flags. */
bool sp_chunk_is(const struct sp_chunk *chunk, size_t bytes, const struct sp_frame *frame);
