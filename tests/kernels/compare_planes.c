#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"
#include "tests/kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 1500

struct outcome {
    float values[COUNT_MAX];
    uint8_t taken;
};

struct planes {
    const uint8_t *planes;
    unsigned voters;
    size_t count;
};

/* Of planes that are refused the values are nobody's. */
static void decode(void *arg, void *out)
{
    const struct planes *p = arg;
    struct outcome *outcome = out;

    outcome->taken = sp_planes_decode(p->planes, p->voters, p->count, outcome->values);
    if (!outcome->taken)
        memset(outcome->values, 0, p->count * sizeof(float));
}

static void draw_counts(struct source *source, const struct planes *p, uint8_t *to)
{
    const size_t bytes = sp_bits_bytes(p->count);

    memset(to, 0, sp_planes_bytes(p->voters, p->count));
    for (size_t j = 0; j < p->count; j++) {
        unsigned c = (unsigned)source_number(source, p->voters + 1);

        for (unsigned plane = 0; c >> plane != 0; plane++)
            to[plane * bytes + j / 8] |= (uint8_t)(((c >> plane) & 1u) << (j % 8));
    }
}

void compare_planes(struct source *source)
{
    struct planes p = {.voters = (unsigned)source_number(source, SP_PLANES_VOTERS_MAX + 1),
                       .count = (size_t)source_number(source, COUNT_MAX + 1)};
    static struct outcome before;
    size_t bytes;
    struct room room;

    if (source_number(source, 3) == 0)
        p.voters %= 17;
    bytes = sp_planes_bytes(p.voters, p.count);
    room = room_for(source, bytes);
    draw_counts(source, &p, room.at);
    /* Now and then a bit too many, which may make a count that is too large or stand behind the last. */
    if (bytes > 0 && source_number(source, 3) == 0)
        ((uint8_t *)room.at)[source_number(source, bytes)] |= (uint8_t)(1u << source_number(source, 8));
    p.planes = room.at;
    memset(&before, 0x5a, sizeof before);
    compare_sets("planes", decode, &p, &before, sizeof before);
    room_free(&room);
}
