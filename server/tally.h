/* The window between workers and the vote: a few chunks of every slot, tallied when all that are expected are there.
 *
 * Each slot pushes its chunks in order. Chunk `base` is the next one to be tallied; a slot may be at most
 * SP_TALLY_WINDOW chunks ahead of it, which bounds the memory at slots * SP_TALLY_WINDOW * 64 KiB however large the
 * model is.
 */
#pragma once

#include "common/error.h"
#include "proto/chunks.h"
#include "proto/codec.h"
#include "server/vote.h"

#include <stdbool.h>
#include <stdint.h>

#define SP_TALLY_WINDOW 4

struct sp_tally_slot {
    uint8_t *buffer;  /* owned; SP_TALLY_WINDOW chunks; NULL until the slot is first used */
    uint32_t arrived; /* chunks of this round that are in, counted or still to be, or came too late */
};

struct sp_tally {
    unsigned slots;
    const struct sp_layout *layout; /* borrowed */
    struct sp_round_form form;      /* of this round */
    uint32_t chunks;                /* in a round of this form */
    uint32_t base;
    struct sp_tally_slot slot[SP_SLOTS_MAX];
};

/* `layout` stays the caller's and must stay where it is. */
void sp_tally_init(struct sp_tally *tally, unsigned slots, const struct sp_layout *layout);
void sp_tally_finish(struct sp_tally *tally);

/* Forgets what has arrived; the new round is one of `form`. */
void sp_tally_begin(struct sp_tally *tally, const struct sp_round_form *form);

/* Chunk k of this round. */
struct sp_chunk sp_tally_chunk(const struct sp_tally *tally, uint32_t k);

/* Where the next chunk of a slot goes: NULL if it is ahead of the window (*code is SP_OK), or if there is no memory. */
uint8_t *sp_tally_place(struct sp_tally *tally, unsigned slot, int *code);

/* The bulk of the next chunk of a slot is in its place. */
void sp_tally_arrived(struct sp_tally *tally, unsigned slot);

/* The next chunk of a slot is one that was tallied without it: it came too late. */
void sp_tally_skipped(struct sp_tally *tally, unsigned slot);

/* Votes of chunk `base` that are in: their slots in ascending order, and where they lie. Returns their number. */
unsigned sp_tally_votes(const struct sp_tally *tally, uint8_t slots[SP_SLOTS_MAX], const uint8_t *votes[SP_SLOTS_MAX]);
