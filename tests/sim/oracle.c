/* What must come of the pushes that the server took, computed as plainly as it can be said: how a round is cut into
 * pieces, what a push says, what the votes of a piece make. */
#include "cluster_state.h"

#include "common/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool oracle_is_full(const struct cluster *c, uint32_t tensor)
{
    return ((c->options->full >> tensor) & 1u) != 0;
}

/* --- how a round is cut ----------------------------------------------------------------------------------------------
 */

/* Values of a section, and how many of them 64 KiB hold. */
static void section(const struct cluster *c, unsigned which, uint64_t *values, uint32_t *size)
{
    const struct sp_round_form *form = &c->oracle.form;

    *size = 65536 / 4;
    *values = which == SP_SECTION_FULL ? c->oracle.full : form->buffers ? c->layout.buffers : 0;
    if (which != SP_SECTION_MAIN)
        return;
    *values = c->layout.coordinates;
    if (form->phase == SP_PHASE_SIGN)
        *size = 65536 * 8;
    else if (form->phase == SP_PHASE_MARGIN)
        *size = 65536;
    else if (form->wire != SP_WIRE_F32)
        *size = 65536 / 2;
}

uint32_t oracle_pieces(const struct cluster *c)
{
    uint32_t n = 0;

    for (unsigned s = SP_SECTION_MAIN; s <= SP_SECTION_BUFFERS; s++) {
        uint64_t values;
        uint32_t size;

        section(c, s, &values, &size);
        n += (uint32_t)((values + size - 1) / size);
    }
    return n;
}

struct piece oracle_piece(const struct cluster *c, uint32_t k)
{
    uint64_t before = 0;

    must(k < oracle_pieces(c));
    for (unsigned s = SP_SECTION_MAIN, n = 0;; s++) {
        struct piece piece = {.section = (enum sp_section)s, .last = k + 1 == oracle_pieces(c)};
        uint64_t values;
        uint32_t size;

        section(c, s, &values, &size);
        if (k < n + (uint32_t)((values + size - 1) / size)) {
            piece.first = (uint64_t)(k - n) * size;
            piece.at = before + piece.first;
            piece.count = (uint32_t)(values - piece.first < size ? values - piece.first : size);
            return piece;
        }
        n += (uint32_t)((values + size - 1) / size);
        before += values;
    }
}

/* --- what a push says ------------------------------------------------------------------------------------------------
 */

bool oracle_read_push(const struct cluster *c, const struct piece *piece, const uint8_t *bulk, float *values)
{
    enum sp_wire wire = piece->section == SP_SECTION_MAIN ? c->oracle.form.wire : SP_WIRE_F32;

    if (piece->section == SP_SECTION_MAIN && c->oracle.form.phase != SP_PHASE_SGD) {
        for (uint32_t j = 0; j < piece->count; j++)
            values[j] = (bulk[j / 8] >> (j % 8)) & 1u ? 1.0f : -1.0f;
        return true;
    }
    if (piece->section != SP_SECTION_MAIN)
        memcpy(values, bulk, piece->count * sizeof *values);
    else
        oracle_decode(c, wire, piece->first, piece->count, bulk, values);
    for (uint32_t j = 0; j < piece->count; j++) {
        if (!isfinite(values[j]))
            return false;
    }
    return true;
}

/* --- what votes make -------------------------------------------------------------------------------------------------
 */

/* The votes for one value, in the order of slots. */
static unsigned votes_for(const struct cluster *c, uint32_t k, uint64_t at, float votes[SP_SLOTS_MAX])
{
    unsigned n = 0;

    for (uint32_t i = 0; i < c->job.workers; i++) {
        if (c->oracle.has[i][k])
            votes[n++] = c->oracle.pushed[i][at];
    }
    return n;
}

static bool is_in_full(const struct cluster *c, uint64_t coordinate)
{
    uint32_t i = 0;

    while (coordinate >= c->layout.tensors[i].first + c->layout.tensors[i].count)
        i++;
    return oracle_is_full(c, i);
}

/* A tie gets a coin, but not where a tensor in full has its zeros: there nobody voted. */
static size_t majority(struct cluster *c, uint32_t k, const struct piece *piece, uint8_t *bulk)
{
    float votes[SP_SLOTS_MAX];

    memset(bulk, 0, sp_bits_bytes(piece->count));
    for (uint32_t j = 0; j < piece->count; j++) {
        unsigned n = votes_for(c, k, piece->at + j, votes), bit;
        float sum = 0.0f;

        for (unsigned i = 0; i < n; i++)
            sum += votes[i];
        bit = sum == 0.0f ? sp_coin(piece->first + j, c->oracle.committed + 1) : sum > 0.0f;
        if (n == 0 && is_in_full(c, piece->first + j))
            bit = 0;
        bulk[j / 8] |= (uint8_t)(bit << (j % 8));
        c->oracle.update[piece->at + j] = bit ? 1.0f : -1.0f;
    }
    return sp_bits_bytes(piece->count);
}

/* Plane p holds bit p of the counts, which go up to `voters`. */
static size_t counts(struct cluster *c, uint32_t k, const struct piece *piece, unsigned voters, uint8_t *bulk)
{
    size_t bytes = (piece->count + 7) / 8;
    float votes[SP_SLOTS_MAX];
    unsigned planes = 1;

    while (voters >= 1u << planes)
        planes++;
    memset(bulk, 0, planes * bytes);
    for (uint32_t j = 0; j < piece->count; j++) {
        unsigned ones = 0;

        (void)votes_for(c, k, piece->at + j, votes);
        for (unsigned i = 0; i < voters; i++)
            ones += votes[i] > 0.0f;
        for (unsigned p = 0; p < planes; p++)
            bulk[p * bytes + j / 8] |= (uint8_t)(((ones >> p) & 1u) << (j % 8));
        c->oracle.update[piece->at + j] = voters > 0 ? (float)(2 * (int)ones - (int)voters) / (float)voters : 0.0f;
    }
    return planes * bytes;
}

static void aggregate(struct cluster *c, uint32_t k, const struct piece *piece, float *values)
{
    bool adam = c->job.optimizer.mode == SP_MODE_ADAM && piece->section == SP_SECTION_MAIN;
    float votes[SP_SLOTS_MAX];

    for (uint32_t j = 0; j < piece->count; j++) {
        unsigned n = votes_for(c, k, piece->at + j, votes);

        values[j] = oracle_aggregate(c, votes, n);
        if (n == 0 && piece->section == SP_SECTION_BUFFERS)
            values[j] = c->oracle.buffers[piece->first + j]; /* they stay as they are */
        if (adam)
            values[j] = oracle_adam(c, piece->first + j, values[j]);
    }
}

/* Squares are added up in another order than the server's: lengths agree nearly. */
static void add_norms(struct cluster *c, const struct piece *piece, const float *values)
{
    for (uint32_t i = 0; i < c->layout.trained; i++) {
        const struct sp_tensor *tensor = &c->layout.tensors[i];

        for (uint32_t j = 0; j < piece->count && !oracle_is_full(c, i); j++) {
            double value = (double)values[j];

            if (piece->first + j < tensor->first || piece->first + j >= tensor->first + tensor->count)
                continue;
            c->oracle.norms[i] += value * value;
            c->oracle.whole_norm += value * value;
        }
    }
}

static size_t means(struct cluster *c, uint32_t k, const struct piece *piece, uint8_t *bulk)
{
    enum sp_wire wire = c->oracle.form.wire;
    static float values[UPDATE_BYTES_MAX / 2];

    aggregate(c, k, piece, values);
    if (piece->section != SP_SECTION_MAIN) {
        memcpy(bulk, values, piece->count * sizeof *values);
        memcpy(c->oracle.update + piece->at, bulk, piece->count * sizeof *values);
        return piece->count * sizeof *values;
    }
    add_norms(c, piece, values);
    oracle_encode(c, wire, piece->first, piece->count, values, bulk);
    oracle_decode(c, wire, piece->first, piece->count, bulk, c->oracle.update + piece->at);
    return oracle_values_bytes(c, wire, piece->first, piece->count);
}

size_t oracle_update(struct cluster *c, uint32_t k, unsigned *voters, uint8_t *bulk)
{
    struct piece piece = oracle_piece(c, k);
    size_t bytes;

    *voters = 0;
    if (piece.section != SP_SECTION_MAIN || c->oracle.form.phase == SP_PHASE_SGD)
        return means(c, k, &piece, bulk);
    if (c->oracle.form.phase == SP_PHASE_SIGN)
        return majority(c, k, &piece, bulk);
    for (uint32_t i = 0; i < c->job.workers; i++)
        *voters += c->oracle.has[i][k];
    bytes = counts(c, k, &piece, *voters, bulk);
    add_norms(c, &piece, c->oracle.update + piece.at);
    return bytes;
}
