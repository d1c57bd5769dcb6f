#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"
#include "server/vote.h"
#include "tests/kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

/* More than a block of the kernels, which is 8 KiB of each buffer, but of few voters and now and then only. */
#define BYTES_MAX 10000
#define ALL_BYTES_MAX 30000
#define ALL_BYTES_RARELY 160000

struct outcome {
    struct sp_vote_counts counts;
    uint64_t disagree[SP_VOTES_MAX];
    uint8_t result[BYTES_MAX];
    uint8_t planes[BYTES_MAX * SP_PLANES_MAX];
};

struct vote {
    const uint8_t *votes[SP_VOTES_MAX];
    struct room rooms[SP_VOTES_MAX], previous;
    unsigned voters;
    uint64_t first;
    size_t count;
    uint32_t t;
    bool has_previous, planes, counts, disagree;
};

static void vote(void *arg, void *out)
{
    const struct vote *v = arg;
    struct outcome *outcome = out;

    sp_vote(v->votes, v->voters, v->first, v->count, v->t, v->has_previous ? v->previous.at : NULL, outcome->result,
            v->planes ? outcome->planes : NULL, v->counts ? &outcome->counts : NULL,
            v->disagree ? outcome->disagree : NULL);
}

/* Votes that agree with a first one as often as `alike` says: from hardly ever to nearly always. */
static void draw_votes(struct source *source, struct vote *v, size_t bytes)
{
    uint64_t alike = source_number(source, 5);

    for (unsigned i = 0; i < v->voters; i++) {
        uint8_t *at;

        v->rooms[i] = room_for(source, bytes);
        v->votes[i] = at = v->rooms[i].at;
        source_bytes(source, at, bytes);
        for (size_t k = 0; k < bytes && i > 0; k++) {
            uint8_t differs = at[k];

            for (uint64_t n = 0; n < alike; n++)
                differs &= (uint8_t)(differs >> 3 | at[(k + n + 1) % bytes] << 5);
            at[k] = alike == 0 ? at[k] : v->votes[0][k] ^ differs;
        }
    }
}

void compare_vote(struct source *source)
{
    struct vote v = {.voters = (unsigned)source_number(source, SP_VOTES_MAX + 1),
                     .first = source_number(source, 1u << 28) * 64,
                     .t = source_word(source)};
    uint32_t wanted = source_word(source);
    struct outcome *before = malloc(sizeof *before);
    size_t most, bytes;

    sp_assert(before != NULL);
    if (source_number(source, 4) == 0)
        v.voters %= 18;
    most = (source_number(source, 10) == 0 ? ALL_BYTES_RARELY : ALL_BYTES_MAX) / (v.voters + 1);
    most = most < BYTES_MAX ? most : BYTES_MAX;
    v.count = (size_t)source_number(source, most * 8);
    bytes = sp_bits_bytes(v.count);
    v.has_previous = (wanted & 1) != 0;
    v.planes = (wanted & 2) != 0;
    v.counts = (wanted & 12) != 0;
    v.disagree = (wanted & 48) != 0;
    v.previous = room_for(source, bytes);
    source_bytes(source, v.previous.at, bytes);
    draw_votes(source, &v, bytes);
    memset(before, 0xa5, sizeof *before);
    compare_sets("vote", vote, &v, before, sizeof *before);
    for (unsigned i = 0; i < v.voters; i++)
        room_free(&v.rooms[i]);
    room_free(&v.previous);
    free(before);
}
