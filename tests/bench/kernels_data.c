/* The arrays that the stages run over. */
#include "common/check.h"
#include "common/pack.h"
#include "common/rng.h"
#include "common/values.h"
#include "proto/chunks.h"
#include "server/tally.h"
#include "tests/bench/kernels_bench.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64
#define LAYERS 16

static size_t up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static void *need(size_t bytes)
{
    const size_t whole = up(bytes, LIMIT_STEP) + LIMIT_STEP;
    void *memory = aligned_alloc(LINE, whole);

    if (memory == NULL) {
        (void)fprintf(stderr, "kernels: no memory for an array of %zu bytes; give fewer --coordinates\n", whole);
        exit(EXIT_FAILURE);
    }
    memset(memory, 0, whole);
    return memory;
}

/* Momenta of a size that they have in training, none of them 0. */
static float *need_values(size_t count, uint64_t seed)
{
    float *values = need(count * sizeof *values);

    for (size_t j = 0; j < count; j++) {
        uint64_t mixed = sp_mix64(seed << 40 ^ j);
        float unit = sp_rng_unit((uint32_t)mixed) + 0x1p-25f;

        values[j] = (mixed >> 63 ? 2e-3f : -2e-3f) * unit;
    }
    return values;
}

static uint8_t *need_bits(size_t bytes, uint64_t seed)
{
    uint8_t *bits = need(bytes);

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t word = sp_mix64(seed << 40 ^ i);

        memcpy(bits + i, &word, sizeof word);
    }
    return bits;
}

/* Counts of 4 votes, none of them above 3. */
static uint8_t *need_planes(size_t coordinates)
{
    const size_t bytes = sp_bits_bytes(coordinates);
    uint8_t *planes = need(bytes * 3);

    for (size_t i = 0; i + 1 < bytes; i++) {
        planes[i] = (uint8_t)sp_mix64(i);
        planes[bytes + i] = (uint8_t)(sp_mix64(i) >> 8);
    }
    return planes;
}

/* Layers of a matrix and a bias each, of which no length is a multiple of 8, so that tensors begin anywhere in a byte.
 */
static void make_layout(struct sp_layout *layout, size_t coordinates)
{
    const size_t layers = coordinates >= (size_t)LAYERS * 512 ? LAYERS : 1, bias = 99;
    size_t left = coordinates;

    for (size_t i = 0; i < 2 * layers; i++) {
        struct sp_tensor tensor = {.dims = 1, .flags = i % 2 == 0 ? SP_TENSOR_DECAY : 0};
        size_t count = i % 2 == 1 ? bias : coordinates / layers - bias;

        if (i + 1 == 2 * layers)
            count = left;
        tensor.shape[0] = count;
        left -= count;
        (void)snprintf(tensor.name, sizeof tensor.name, "layer%zu.%s", i / 2, i % 2 == 0 ? "weight" : "bias");
        sp_assert(sp_layout_add(layout, &tensor, NULL) == SP_OK);
    }
    sp_layout_set_traits(layout, NULL);
}

static size_t window_stride(size_t coordinates)
{
    const size_t whole = up(coordinates, (size_t)LINE * 8) / 8, window = (size_t)SP_TALLY_WINDOW * SP_BULK_BYTES_MAX;

    return whole < window ? whole : window;
}

double bench_data_bytes(size_t coordinates, unsigned voters)
{
    const double votes = (double)voters * ((double)coordinates / 8.0 + (double)window_stride(coordinates));

    return (double)coordinates * (4.0 * (BENCH_VALUES + 4) + 6.0 / 8.0) + votes;
}

void bench_data_make(struct bench_data *data, size_t coordinates, unsigned voters)
{
    *data = (struct bench_data){.coordinates = coordinates, .voters = voters};
    make_layout(&data->layout, coordinates);
    for (unsigned i = 0; i < BENCH_VALUES; i++)
        data->values[i] = need_values(coordinates, i + 1);
    data->theta = need_values(coordinates, 9);
    data->out = need_values(coordinates, 10);
    data->second = need_values(coordinates, 16);
    for (size_t j = 0; j < coordinates; j++)
        data->second[j] *= data->second[j];
    data->bulk = need(coordinates * sizeof(float) + SP_I8_BYTES_MAX(0));
    data->bits = need_bits(sp_bits_bytes(coordinates), 11);
    data->previous = need_bits(sp_bits_bytes(coordinates), 12);
    data->result = need_bits(sp_bits_bytes(coordinates), 13);
    data->planes = need_planes(coordinates);
    data->votes_stride = up(coordinates, (size_t)LINE * 8) / 8;
    data->votes_bytes = data->votes_stride * voters;
    data->votes = need_bits(data->votes_bytes, 14);
    data->window_stride = window_stride(coordinates);
    data->window_bytes = data->window_stride * voters;
    data->window = need_bits(data->window_bytes, 15);
}

void bench_data_free(struct bench_data *data)
{
    for (unsigned i = 0; i < BENCH_VALUES; i++)
        free(data->values[i]);
    free(data->theta);
    free(data->out);
    free(data->second);
    free(data->bulk);
    free(data->bits);
    free(data->previous);
    free(data->result);
    free(data->planes);
    free(data->votes);
    free(data->window);
    sp_layout_finish(&data->layout);
}
