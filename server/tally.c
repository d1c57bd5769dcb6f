#include "server/tally.h"

#include "common/check.h"

#include <stdlib.h>
#include <string.h>

void sp_tally_init(struct sp_tally *tally, unsigned slots, const struct sp_layout *layout)
{
    memset(tally, 0, sizeof *tally);
    tally->slots = slots;
    tally->layout = layout;
}

void sp_tally_finish(struct sp_tally *tally)
{
    for (unsigned i = 0; i < tally->slots; i++)
        free(tally->slot[i].buffer);
    memset(tally, 0, sizeof *tally);
}

void sp_tally_begin(struct sp_tally *tally, const struct sp_round_form *form)
{
    tally->form = *form;
    tally->chunks = sp_chunks_count(tally->layout, form);
    tally->base = 0;
    for (unsigned i = 0; i < tally->slots; i++)
        tally->slot[i].arrived = 0;
}

struct sp_chunk sp_tally_chunk(const struct sp_tally *tally, uint32_t k)
{
    sp_assert(k < tally->chunks);
    return sp_chunk_at(tally->layout, &tally->form, k);
}

uint8_t *sp_tally_place(struct sp_tally *tally, unsigned slot, int *code)
{
    struct sp_tally_slot *s = &tally->slot[slot];

    *code = SP_OK;
    sp_assert(s->arrived < tally->chunks);
    if (s->arrived >= tally->base + SP_TALLY_WINDOW)
        return NULL;
    if (s->buffer == NULL) {
        s->buffer = aligned_alloc(64, (size_t)SP_TALLY_WINDOW * SP_BULK_BYTES_MAX); /* as vectors like it */
        if (s->buffer == NULL) {
            *code = SP_E_NOMEM;
            return NULL;
        }
    }
    return s->buffer + (size_t)(s->arrived % SP_TALLY_WINDOW) * SP_BULK_BYTES_MAX;
}

void sp_tally_arrived(struct sp_tally *tally, unsigned slot)
{
    sp_assert(tally->slot[slot].arrived < tally->base + SP_TALLY_WINDOW);
    tally->slot[slot].arrived++;
}

void sp_tally_skipped(struct sp_tally *tally, unsigned slot)
{
    sp_assert(tally->slot[slot].arrived < tally->base);
    tally->slot[slot].arrived++;
}

unsigned sp_tally_votes(const struct sp_tally *tally, uint8_t slots[SP_SLOTS_MAX], const uint8_t *votes[SP_SLOTS_MAX])
{
    unsigned n = 0;

    for (unsigned i = 0; i < tally->slots; i++) {
        if (tally->slot[i].arrived <= tally->base)
            continue;
        slots[n] = (uint8_t)i;
        votes[n++] = tally->slot[i].buffer + (size_t)(tally->base % SP_TALLY_WINDOW) * SP_BULK_BYTES_MAX;
    }
    return n;
}
