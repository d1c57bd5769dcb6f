/* Workers whose votes oppose the others' (server.quarantine): samples of the votes to the test (suspect.c), and what
 * follows for who is suspected.
 *
 * A sample is taken of one chunk of the round's main section, a later chunk each time. Who is excluded stays connected
 * and gets updates, but counts for nothing: no round waits for it, and what it pushes is dropped. It is so until
 * another worker takes its slot; one that returns with its ticket is the same.
 */
#include "server/round_state.h"

#include <stdio.h>

static bool is_on(const struct sp_round *r)
{
    return r->job.server.quarantine != SP_QUARANTINE_OFF && r->job.data.shards == SP_SHARDS_IID;
}

void sp_quarantine_start(struct sp_round *r)
{
    if (r->job.server.quarantine != SP_QUARANTINE_OFF && !is_on(r))
        sp_round_note(r, SP_NOTE_INFO,
                      "nobody is suspected of bad votes (server.quarantine): with data.shards: by_label honest workers "
                      "oppose each other");
}

bool sp_quarantine_due(const struct sp_round *r, const struct sp_chunk *chunk)
{
    uint32_t interval = sp_suspect_interval(r->job.optimizer.beta1);
    uint64_t size = sp_chunk_size(&r->form), chunks = (r->layout.coordinates + size - 1) / size;

    return is_on(r) && chunk->section == SP_SECTION_MAIN && r->round % interval == 0 &&
           chunk->first == r->round / interval % chunks * size && r->suspicion.round != r->round;
}

/* --- a sample --------------------------------------------------------------------------------------------------------
 */

/* Which of the 64 coordinates from `first` on, of which the chunk has `count`, are voted on. */
static uint64_t voted(const struct sp_round *r, uint64_t first, uint32_t count)
{
    struct sp_layout_part part = {0};
    uint64_t word = 0;

    while (sp_layout_next(&r->layout, first, count, &part)) {
        if (sp_tensor_is(part.tensor, SP_TENSOR_FULL))
            continue;
        word |= (part.count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << part.count) - 1) << (part.first - first);
    }
    return word;
}

static uint64_t signs_of_bits(const uint8_t *bits, uint32_t count)
{
    uint64_t word = 0;

    for (uint32_t i = 0; i < sp_bits_bytes(count); i++)
        word |= (uint64_t)bits[i] << (8 * i);
    return word;
}

static uint64_t signs_of_values(const float *values, uint32_t count, uint64_t *given)
{
    uint64_t signs = 0;

    *given = 0;
    for (uint32_t i = 0; i < count; i++) {
        signs |= (uint64_t)(values[i] > 0.0f) << i;
        *given |= (uint64_t)(values[i] != 0.0f) << i;
    }
    return signs;
}

/* Word w of every voter: 64 coordinates of the chunk, or what is left of it, from the `at`-th on. */
static void take_word(struct sp_round *r, const struct sp_chunk *chunk, const uint8_t *const *bits,
                      const float *const *values, unsigned w, uint32_t at)
{
    struct sp_vote_sample *sample = &r->sample;
    uint32_t count = chunk->count - at < 64 ? chunk->count - at : 64;
    uint64_t mask = voted(r, chunk->first + at, count);

    for (unsigned v = 0; v < sample->voters; v++) {
        size_t i = (size_t)v * sample->words + w;

        sample->given[i] = mask;
        if (values != NULL)
            sample->signs[i] = signs_of_values(values[v] + at, count, &sample->given[i]);
        else
            sample->signs[i] = signs_of_bits(bits[v] + at / 8, count);
    }
}

void sp_quarantine_sample(struct sp_round *r, const struct sp_chunk *chunk, unsigned voters, const uint8_t *slots,
                          const uint8_t *const *bits, const float *const *values)
{
    uint32_t words = (chunk->count + 63) / 64;

    if (voters < 2)
        return;
    sp_vote_sample_begin(&r->sample, voters, slots, chunk->count);
    for (unsigned w = 0; w < r->sample.words; w++)
        take_word(r, chunk, bits, values, w, (uint32_t)((uint64_t)w * words / r->sample.words) * 64);
    sp_suspicion_add(&r->suspicion, &r->sample, r->round);
}

/* --- what follows ----------------------------------------------------------------------------------------------------
 */

/* From the next round on. The statistics of this one cannot become complete. */
static void exclude(struct sp_round *r, unsigned slot)
{
    struct slot *s = &r->slots[slot];

    r->suspicion.excluded[slot] = true;
    s->before.complete = s->now.complete = false;
    if (s->worker >= 0 && r->workers[s->worker]->state == WORKER_READY)
        r->live--;
}

static void say(struct sp_round *r, const struct sp_suspect *suspect)
{
    struct sp_event event = {
        .type = SP_EVENT_QUARANTINE, .round = r->round, .from = r->form.phase, .suspect = *suspect};

    event.to = event.from;
    event.excluded = r->suspicion.excluded[suspect->slot];
    (void)snprintf(event.reason, sizeof event.reason,
                   "worker %s, slot %u, votes against %u of %u others (correlation %.3f, %u samples)",
                   sp_roster_name(r, (int)suspect->slot), suspect->slot, suspect->opposed, suspect->others,
                   suspect->correlation, suspect->samples);
    sp_switch_event(r, &event);
}

void sp_quarantine_judge(struct sp_round *r)
{
    struct sp_suspect suspects[SP_SLOTS_MAX];
    unsigned n;

    if (!is_on(r) || r->suspicion.round != r->round)
        return;
    n = sp_suspicion_judge(&r->suspicion, &r->sample, r->job.workers, r->live, suspects);
    for (unsigned i = 0; i < n; i++) {
        if (r->job.server.quarantine == SP_QUARANTINE_EXCLUDE)
            exclude(r, suspects[i].slot);
        say(r, &suspects[i]);
    }
}
