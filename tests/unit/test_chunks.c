/* How a round is cut into frames: every form over random layouts, against plain counting. */
#include "proto/chunks.h"
#include "unit.h"

#include <stdio.h>

static struct sp_layout layout;

static void teardown(void)
{
    sp_layout_finish(&layout);
}

static void add(uint64_t count, uint32_t flags)
{
    struct sp_tensor tensor = {.dims = 1, .shape = {count}, .flags = flags};

    (void)snprintf(tensor.name, sizeof tensor.name, "t%u", layout.tensors_count);
    ck_assert_int_eq(sp_layout_add(&layout, &tensor, NULL), SP_OK);
}

/* Sizes from 1 to some chunks, and now and then exactly a chunk or one more or less. */
static uint64_t draw_count(struct sp_rng *rng)
{
    static const uint64_t sizes[] = {SP_CHUNK_SIGNS, SP_CHUNK_MARGIN, SP_CHUNK_VALUES, SP_CHUNK_SHORT};

    switch (sp_rng_below(rng, 4)) {
    case 0:
        return 1 + sp_rng_below(rng, 10);
    case 1:
        return sizes[sp_rng_below(rng, 4)] - 1 + sp_rng_below(rng, 3);
    default:
        return 1 + sp_rng_below(rng, 3 * SP_CHUNK_VALUES);
    }
}

static void draw_layout(uint64_t seed)
{
    struct sp_rng rng = unit_rng(seed);
    uint32_t trained = 1 + sp_rng_below(&rng, 6), buffers = sp_rng_below(&rng, 3);
    uint8_t traits[8];

    for (uint32_t i = 0; i < trained; i++) {
        add(draw_count(&rng), 0);
        traits[i] = sp_rng_below(&rng, 3) == 0 ? SP_TENSOR_FULL : 0;
    }
    for (uint32_t i = 0; i < buffers; i++)
        add(draw_count(&rng), SP_TENSOR_BUFFER);
    sp_layout_set_traits(&layout, traits);
}

/* --- what a chunk must be ------------------------------------------------------------------------------------------
 */

/* Bytes of values first.. in blocks that end with their tensor, one coordinate after the other. */
static size_t count_i8(uint64_t first, uint32_t count)
{
    size_t bytes = count;
    uint32_t in_block = SP_I8_BLOCK;

    for (uint64_t j = first; j < first + count; j++) {
        if (in_block == SP_I8_BLOCK || layout.tensors[sp_layout_find(&layout, j)].first == j) {
            bytes += 4;
            in_block = 0;
        }
        in_block++;
    }
    return bytes;
}

static size_t expected_bytes(const struct sp_round_form *form, const struct sp_chunk *chunk)
{
    if (chunk->section != SP_SECTION_MAIN)
        return 4 * (size_t)chunk->count;
    if (form->phase != SP_PHASE_SGD)
        return (chunk->count + 7) / 8;
    if (form->wire == SP_WIRE_I8)
        return count_i8(chunk->first, chunk->count);
    return (form->wire == SP_WIRE_F32 ? 4 : 2) * (size_t)chunk->count;
}

static void check_update_bytes(const struct sp_round_form *form, const struct sp_chunk *chunk)
{
    static const struct {
        unsigned voters, planes;
    } cases[] = {{0, 1}, {1, 1}, {2, 2}, {3, 2}, {4, 3}, {7, 3}, {8, 4}, {127, 7}, {128, 8}, {255, 8}};

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        size_t bytes = sp_chunk_update_bytes(form, chunk, cases[i].voters);

        if (form->phase == SP_PHASE_MARGIN && chunk->section == SP_SECTION_MAIN)
            unit_assert(bytes == (size_t)cases[i].planes * ((chunk->count + 7) / 8), "%u votes take %zu bytes",
                        cases[i].voters, bytes);
        else
            unit_assert(bytes == chunk->bytes, "an update of %zu bytes, not %zu", bytes, chunk->bytes);
        unit_assert(bytes <= SP_BULK_BYTES_MAX, "%zu bytes are too many", bytes);
    }
}

static const uint32_t full_size[] = {
    [SP_SECTION_MAIN] = 0, [SP_SECTION_FULL] = SP_CHUNK_VALUES, [SP_SECTION_BUFFERS] = SP_CHUNK_VALUES};
static const uint16_t flag[] = {
    [SP_SECTION_MAIN] = 0, [SP_SECTION_FULL] = SP_FRAME_FULL, [SP_SECTION_BUFFERS] = SP_FRAME_BUFFERS};

/* Walks all chunks; `values` are those that each section must have. */
static void check_form(const struct sp_round_form *form, uint32_t size, const uint64_t values[3])
{
    uint32_t chunks = sp_chunks_count(&layout, form);
    uint64_t seen[3] = {0};
    enum sp_section before = SP_SECTION_MAIN;

    unit_assert(sp_chunk_size(form) == size, "chunks of %u", sp_chunk_size(form));
    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_chunk chunk = sp_chunk_at(&layout, form, k);
        uint32_t full = chunk.section == SP_SECTION_MAIN ? size : full_size[chunk.section];

        unit_assert(chunk.section >= before, "section %d after %d", (int)chunk.section, (int)before);
        before = chunk.section;
        unit_assert(chunk.first == seen[chunk.section], "chunk %u has a gap before it", k);
        seen[chunk.section] += chunk.count;
        unit_assert(chunk.count > 0 && chunk.count <= full, "chunk %u has %u values", k, chunk.count);
        unit_assert(chunk.count == full || seen[chunk.section] == values[chunk.section], "chunk %u is too short", k);
        unit_assert(chunk.flags == (flag[chunk.section] | (k + 1 == chunks ? SP_FRAME_LAST : 0)),
                    "chunk %u has flags %x", k, chunk.flags);
        unit_assert(chunk.bytes == expected_bytes(form, &chunk), "chunk %u has %zu bytes, not %zu", k, chunk.bytes,
                    expected_bytes(form, &chunk));
        unit_assert(chunk.bytes <= SP_BULK_BYTES_MAX, "chunk %u has %zu bytes", k, chunk.bytes);
        check_update_bytes(form, &chunk);
    }
    for (int i = 0; i < 3; i++)
        unit_assert(seen[i] == values[i], "section %d has %llu values, not %llu", i, (unsigned long long)seen[i],
                    (unsigned long long)values[i]);
}

START_TEST(test_all_forms)
{
    static const struct {
        struct sp_round_form form;
        uint32_t size;
    } cases[] = {{{.phase = SP_PHASE_SIGN}, 524288},
                 {{.phase = SP_PHASE_MARGIN}, 65536},
                 {{.phase = SP_PHASE_SGD, .wire = SP_WIRE_F32}, 16384},
                 {{.phase = SP_PHASE_SGD, .wire = SP_WIRE_BF16}, 32768},
                 {{.phase = SP_PHASE_SGD, .wire = SP_WIRE_I8}, 32768}};

    draw_layout((uint64_t)_i);
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        struct sp_round_form form = cases[i].form;

        check_form(&form, cases[i].size, (uint64_t[]){layout.coordinates, layout.full, 0});
        form.buffers = true;
        check_form(&form, cases[i].size, (uint64_t[]){layout.coordinates, layout.full, layout.buffers});
    }
    /* Weights are whole, those of tensors in full among them. */
    check_form(&sp_weights_form, 16384, (uint64_t[]){layout.coordinates, 0, layout.buffers});
}
END_TEST

/* A tensor a coordinate makes the most of i8's scales: a chunk must hold them. */
START_TEST(test_largest_i8_chunk)
{
    const struct sp_round_form form = {.phase = SP_PHASE_SGD, .wire = SP_WIRE_I8};
    struct sp_chunk chunk;

    for (unsigned i = 0; i < SP_TENSORS_MAX - 1; i++)
        add(1, 0);
    add(SP_CHUNK_SHORT, 0);
    chunk = sp_chunk_at(&layout, &form, 0);
    ck_assert_uint_eq(chunk.count, SP_CHUNK_SHORT);
    ck_assert_uint_eq(chunk.bytes, count_i8(0, SP_CHUNK_SHORT));
    ck_assert_uint_gt(chunk.bytes, SP_CHUNK_SHORT + 4 * (SP_TENSORS_MAX - 1));
    ck_assert_uint_le(chunk.bytes, SP_BULK_BYTES_MAX);
}
END_TEST

START_TEST(test_frames_that_are_not_the_chunk)
{
    const struct sp_round_form form = {.phase = SP_PHASE_SIGN};
    struct sp_chunk chunk;
    struct sp_frame frame, wrong;

    add(SP_CHUNK_SIGNS, 0);
    add(20, 0);
    sp_layout_set_traits(&layout, (const uint8_t[]){0, SP_TENSOR_FULL});
    for (uint32_t k = 0; k < 3; k++) {
        chunk = sp_chunk_at(&layout, &form, k);
        frame = (struct sp_frame){
            .first = chunk.first, .count = chunk.count, .bulk_bytes = (uint32_t)chunk.bytes, .flags = chunk.flags};
        ck_assert(sp_chunk_is(&chunk, chunk.bytes, &frame));
        ck_assert(!sp_chunk_is(&chunk, chunk.bytes + 1, &frame));
        wrong = frame;
        wrong.first++;
        ck_assert(!sp_chunk_is(&chunk, chunk.bytes, &wrong));
        wrong = frame;
        wrong.count--;
        ck_assert(!sp_chunk_is(&chunk, chunk.bytes, &wrong));
        for (uint16_t bit = SP_FRAME_LAST; bit <= SP_FRAME_BUFFERS; bit = (uint16_t)(bit << 1)) {
            wrong = frame;
            wrong.flags ^= bit;
            ck_assert(!sp_chunk_is(&chunk, chunk.bytes, &wrong));
        }
    }
}
END_TEST

START_TEST(test_wires_of_jobs)
{
    static const struct {
        const char *mode, *wire;
        enum sp_wire expected;
    } cases[] = {{"hybrid", "auto", SP_WIRE_I8},   {"sgd", "auto", SP_WIRE_F32}, {"adam", "auto", SP_WIRE_F32},
                 {"hybrid", "f32", SP_WIRE_F32},   {"sgd", "i8", SP_WIRE_I8},    {"adam", "bf16", SP_WIRE_BF16},
                 {"hybrid", "bf16", SP_WIRE_BF16}, {"hybrid", "i8", SP_WIRE_I8}};
    struct sp_job job;

    sp_job_init(&job);
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        ck_assert_int_eq(sp_job_set(&job, "optimizer.mode", cases[i].mode, NULL), SP_OK);
        ck_assert_int_eq(sp_job_set(&job, "optimizer.sgd.wire", cases[i].wire, NULL), SP_OK);
        ck_assert_int_eq(sp_job_wire(&job), cases[i].expected);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chunks");
    TCase *tests = tcase_create("chunks");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_loop_test(tests, test_all_forms, 0, 200);
    tcase_add_test(tests, test_largest_i8_chunk);
    tcase_add_test(tests, test_frames_that_are_not_the_chunk);
    tcase_add_test(tests, test_wires_of_jobs);
    return unit_run(suite, tests);
}
