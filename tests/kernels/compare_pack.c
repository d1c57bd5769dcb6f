#include "common/pack.h"
#include "tests/kernels/kernels.h"

#include <string.h>

struct pack {
    const float *values;
    uint64_t first;
    size_t count;
    uint32_t t;
};

static void pack(void *arg, void *out)
{
    const struct pack *p = arg;

    sp_pack_signs(p->values, p->first, p->count, p->t, out);
}

void compare_pack(struct source *source)
{
    struct pack p = {.first = source_number(source, 1u << 24) * 8,
                     .count = (size_t)source_number(source, 700),
                     .t = source_word(source)};
    uint8_t before[700 / 8 + 1];
    struct room values = room_for(source, p.count * sizeof(float));

    source_floats(source, true, values.at, p.count);
    memset(before, 0xa5, sizeof before);
    p.values = values.at;
    compare_sets("pack", pack, &p, before, sizeof before);
    room_free(&values);
}
