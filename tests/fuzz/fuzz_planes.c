/* libFuzzer target: the counts of a vote as a peer might send them: the number of votes, that of coordinates (two
 * bytes), planes. What is accepted is what the bits say, one by one; what is refused holds a count or a bit too much.
 */
#include "common/check.h"
#include "common/planes.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned bit_at(const uint8_t *planes, size_t plane_bytes, unsigned plane, size_t j)
{
    return (planes[plane * plane_bytes + j / 8] >> (j % 8)) & 1u;
}

static unsigned count_at(const uint8_t *planes, size_t plane_bytes, unsigned needed, size_t j)
{
    unsigned count = 0;

    for (unsigned p = 0; p < needed; p++)
        count |= bit_at(planes, plane_bytes, p, j) << p;
    return count;
}

static void check(const uint8_t *planes, unsigned voters, size_t count)
{
    float *values = malloc(count > 0 ? count * sizeof *values : 1);
    const size_t bytes = (count + 7) / 8;
    bool right = true, taken;

    sp_assert(values != NULL);
    taken = sp_planes_decode(planes, voters, count, values);
    for (size_t j = 0; j < bytes * 8; j++)
        right = right && count_at(planes, bytes, sp_planes(voters), j) <= (j < count ? voters : 0);
    sp_assert(taken == right);
    for (size_t j = 0; j < count && taken; j++) {
        int margin = 2 * (int)count_at(planes, bytes, sp_planes(voters), j) - (int)voters;

        sp_assert(values[j] == (voters > 0 ? (float)margin / (float)voters : 0.0f));
        sp_assert(values[j] >= -1.0f && values[j] <= 1.0f);
    }
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count, bytes;
    uint8_t *planes;

    if (size < 3)
        return 0;
    count = (size_t)(data[1] | data[2] << 8) % 1000;
    bytes = sp_planes_bytes(data[0], count);
    planes = calloc(1, bytes > 0 ? bytes : 1); /* not a byte to spare */
    sp_assert(planes != NULL);
    memcpy(planes, data + 3, size - 3 < bytes ? size - 3 : bytes);
    check(planes, data[0], count);
    free(planes);
    return 0;
}
