#include "proto/chunks.h"

#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"

const struct sp_round_form sp_weights_form = {
    .phase = SP_PHASE_SGD, .wire = SP_WIRE_F32, .buffers = true, .weights = true};

enum sp_wire sp_job_wire(const struct sp_job *job)
{
    switch (job->optimizer.sgd.wire) {
    case SP_SGD_WIRE_AUTO:
        return job->optimizer.mode == SP_MODE_HYBRID ? SP_WIRE_I8 : SP_WIRE_F32;
    case SP_SGD_WIRE_F32:
        return SP_WIRE_F32;
    case SP_SGD_WIRE_BF16:
        return SP_WIRE_BF16;
    case SP_SGD_WIRE_I8:
        return SP_WIRE_I8;
    }
    sp_assert(false && "a wire of the list");
    return SP_WIRE_F32;
}

uint32_t sp_chunk_size(const struct sp_round_form *form)
{
    if (form->phase == SP_PHASE_SIGN)
        return SP_CHUNK_SIGNS;
    if (form->phase == SP_PHASE_MARGIN)
        return SP_CHUNK_MARGIN;
    return form->wire == SP_WIRE_F32 ? SP_CHUNK_VALUES : SP_CHUNK_SHORT;
}

static uint32_t count_chunks(uint64_t values, uint32_t size)
{
    return (uint32_t)((values + size - 1) / size);
}

static uint64_t full_values(const struct sp_layout *layout, const struct sp_round_form *form)
{
    return form->weights ? 0 : layout->full;
}

static uint64_t buffer_values(const struct sp_layout *layout, const struct sp_round_form *form)
{
    return form->buffers ? layout->buffers : 0;
}

uint32_t sp_chunks_count(const struct sp_layout *layout, const struct sp_round_form *form)
{
    return count_chunks(layout->coordinates, sp_chunk_size(form)) +
           count_chunks(full_values(layout, form), SP_CHUNK_VALUES) +
           count_chunks(buffer_values(layout, form), SP_CHUNK_VALUES);
}

static size_t main_bytes(const struct sp_layout *layout, const struct sp_round_form *form, const struct sp_chunk *chunk)
{
    if (form->phase != SP_PHASE_SGD)
        return sp_bits_bytes(chunk->count);
    return sp_values_bytes(form->wire, layout, chunk->first, chunk->count);
}

struct sp_chunk sp_chunk_at(const struct sp_layout *layout, const struct sp_round_form *form, uint32_t k)
{
    static const uint16_t flags[] = {
        [SP_SECTION_MAIN] = 0, [SP_SECTION_FULL] = SP_FRAME_FULL, [SP_SECTION_BUFFERS] = SP_FRAME_BUFFERS};
    const uint64_t values[] = {[SP_SECTION_MAIN] = layout->coordinates,
                               [SP_SECTION_FULL] = full_values(layout, form),
                               [SP_SECTION_BUFFERS] = buffer_values(layout, form)};
    const uint32_t sizes[] = {[SP_SECTION_MAIN] = sp_chunk_size(form),
                              [SP_SECTION_FULL] = SP_CHUNK_VALUES,
                              [SP_SECTION_BUFFERS] = SP_CHUNK_VALUES};
    bool last = k + 1 == sp_chunks_count(layout, form);
    struct sp_chunk chunk = {.section = SP_SECTION_MAIN};
    uint64_t left;

    while (k >= count_chunks(values[chunk.section], sizes[chunk.section])) {
        k -= count_chunks(values[chunk.section], sizes[chunk.section]);
        sp_assert(chunk.section < SP_SECTION_BUFFERS);
        chunk.section++;
    }
    chunk.first = (uint64_t)k * sizes[chunk.section];
    left = values[chunk.section] - chunk.first;
    chunk.count = left < sizes[chunk.section] ? (uint32_t)left : sizes[chunk.section];
    chunk.bytes =
        chunk.section == SP_SECTION_MAIN ? main_bytes(layout, form, &chunk) : (size_t)chunk.count * sizeof(float);
    chunk.flags = (uint16_t)(flags[chunk.section] | (last ? SP_FRAME_LAST : 0));
    return chunk;
}

size_t sp_chunk_update_bytes(const struct sp_round_form *form, const struct sp_chunk *chunk, unsigned voters)
{
    if (form->phase == SP_PHASE_MARGIN && chunk->section == SP_SECTION_MAIN)
        return sp_planes_bytes(voters, chunk->count);
    return chunk->bytes;
}

bool sp_chunk_is(const struct sp_chunk *chunk, size_t bytes, const struct sp_frame *frame)
{
    return frame->first == chunk->first && frame->count == chunk->count && frame->bulk_bytes == bytes &&
           frame->flags == chunk->flags;
}
