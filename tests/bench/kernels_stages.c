/* The stages, each by its public function. */
#include "common/check.h"
#include "common/pack.h"
#include "common/planes.h"
#include "common/sums.h"
#include "common/values.h"
#include "common/weights.h"
#include "proto/frame.h"
#include "server/aggregate.h"
#include "tests/bench/kernels_bench.h"
#include "worker/client/dither.h"

#include <isa-l/crc.h>
#include <string.h>

#define ROUND 3
#define SLOT 1
#define GAIN 700.0f /* noise as large as the momenta: of each cell of the table some */

static volatile double sink;

static void run_pack(const struct bench_stage *stage, struct bench_data *data)
{
    sp_pack_signs(data->values[0], 0, data->coordinates, ROUND, data->result);
}

static void run_dither(const struct bench_stage *stage, struct bench_data *data)
{
    sp_dither_pack(data->values[0], 0, data->coordinates, GAIN, sp_rng_key(1, SP_RNG_DITHER), SLOT, ROUND,
                   data->result);
}

static void run_dither_tensors(const struct bench_stage *stage, struct bench_data *data)
{
    float gains[64];

    sp_assert(data->layout.trained <= 64);
    for (unsigned i = 0; i < 64; i++)
        gains[i] = GAIN;
    sp_dither_pack_tensors(&data->layout, gains, data->values[0], 0, data->coordinates, sp_rng_key(1, SP_RNG_DITHER),
                           SLOT, ROUND, data->result);
}

static void run_momentum(const struct bench_stage *stage, struct bench_data *data)
{
    sp_momentum(data->theta, data->values[0], data->coordinates, 0.9f, 0.1f);
}

static void run_unpack(const struct bench_stage *stage, struct bench_data *data)
{
    sp_unpack_signs(data->bits, data->coordinates, data->out);
}

static void run_apply_signs(const struct bench_stage *stage, struct bench_data *data)
{
    const struct sp_step step = {.decay = 1.0f, .rate = 1e-5f};

    sp_weights_apply_signs(&data->layout, &step, data->bits, data->theta, NULL);
}

static void run_apply_signs_digest(const struct bench_stage *stage, struct bench_data *data)
{
    const struct sp_step step = {.decay = 1.0f, .rate = 1e-5f};
    uint64_t digest;

    sp_weights_apply_signs(&data->layout, &step, data->bits, data->theta, &digest);
    sink = (double)digest;
}

static void run_apply_signs_decay(const struct bench_stage *stage, struct bench_data *data)
{
    const struct sp_step step = {.decay = 0.9999f, .rate = 1e-5f};

    sp_weights_apply_signs(&data->layout, &step, data->bits, data->theta, NULL);
}

static void run_apply_values(const struct bench_stage *stage, struct bench_data *data)
{
    const struct sp_step step = {.decay = 1.0f, .rate = 1e-5f};

    sp_weights_apply_values(&data->layout, &step, data->values[0], data->theta, NULL);
}

static void run_digest(const struct bench_stage *stage, struct bench_data *data)
{
    sink = (double)sp_weights_digest(data->theta, data->coordinates);
}

static void run_sketch(const struct bench_stage *stage, struct bench_data *data)
{
    static double sketch[SP_SKETCH_BUCKETS];

    sp_sketch_add(sketch, 1, ROUND, 0, data->values[0], data->coordinates);
}

static void run_squares_sketch(const struct bench_stage *stage, struct bench_data *data)
{
    static double sketch[SP_SKETCH_BUCKETS];
    struct sp_running_sum sum = {0};

    sp_running_add_squares_sketch(&sum, sketch, 1, ROUND, 0, data->values[0], data->coordinates);
    sink = sp_running_total(&sum);
}

static void run_squares(const struct bench_stage *stage, struct bench_data *data)
{
    sink = sp_sum_squares(data->values[0], data->coordinates);
}

static void run_dot(const struct bench_stage *stage, struct bench_data *data)
{
    sink = sp_dot_signs(data->bits, data->values[0], data->coordinates);
}

static void run_products(const struct bench_stage *stage, struct bench_data *data)
{
    struct sp_running_sum sum = {0};

    sp_running_add_products(&sum, data->values[0], data->values[1], data->coordinates);
    sink = sp_running_total(&sum);
}

static void run_sign_products(const struct bench_stage *stage, struct bench_data *data)
{
    struct sp_running_sum sum = {0};

    sp_running_add_sign_products(&sum, data->values[0], data->values[1], data->coordinates);
    sink = sp_running_total(&sum);
}

static void run_finite(const struct bench_stage *stage, struct bench_data *data)
{
    sink = sp_all_finite(data->values[0], data->coordinates) ? 1.0 : 0.0;
}

static enum sp_wire wire_of(const struct bench_stage *stage)
{
    return strstr(stage->name, "bf16") != NULL ? SP_WIRE_BF16 : SP_WIRE_I8;
}

static void run_encode(const struct bench_stage *stage, struct bench_data *data)
{
    sp_values_encode(wire_of(stage), &data->layout, 0, data->coordinates, data->values[0],
                     wire_of(stage) == SP_WIRE_I8 ? data->out : NULL, data->bulk);
}

static void run_decode(const struct bench_stage *stage, struct bench_data *data)
{
    sp_values_decode(wire_of(stage), &data->layout, 0, data->coordinates, data->bulk, data->out);
}

static void run_values_finite(const struct bench_stage *stage, struct bench_data *data)
{
    sink = sp_values_finite(wire_of(stage), &data->layout, 0, data->coordinates, data->bulk) ? 1.0 : 0.0;
}

static void run_planes(const struct bench_stage *stage, struct bench_data *data)
{
    sp_assert(sp_planes_decode(data->planes, 4, data->coordinates, data->out));
}

static void run_mean(const struct bench_stage *stage, struct bench_data *data)
{
    sp_mean((const float *const *)data->values, BENCH_VALUES, data->coordinates, data->out);
}

static void run_median(const struct bench_stage *stage, struct bench_data *data)
{
    sp_median((const float *const *)data->values, BENCH_VALUES, data->coordinates, data->out);
}

static void run_trimmed(const struct bench_stage *stage, struct bench_data *data)
{
    sp_trimmed_mean((const float *const *)data->values, BENCH_VALUES, 1, data->coordinates, data->out);
}

static void run_adam(const struct bench_stage *stage, struct bench_data *data)
{
    struct sp_adam adam;

    sp_adam_init(&adam, 0.9, 0.999, 1e-8, ROUND);
    sp_adam_update(&adam, data->values[0], data->coordinates, data->theta, data->second, data->out);
}

static void run_crc(const struct bench_stage *stage, struct bench_data *data)
{
    sink = (double)crc32_gzip_refl(0, (const uint8_t *)data->values[0], data->coordinates * sizeof(float));
}

/* The function takes an int as length: bulk by bulk, as frames have it. */
static void run_crc32c(const struct bench_stage *stage, struct bench_data *data)
{
    unsigned char *bytes = (unsigned char *)data->values[0];
    size_t count = data->coordinates * sizeof(float);
    uint32_t crc = 0;

    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < SP_BULK_BYTES_MAX ? count - at : SP_BULK_BYTES_MAX;
        crc ^= crc32_iscsi(bytes + at, (int)n, UINT32_MAX);
    }
    sink = (double)crc;
}

static void run_copy(const struct bench_stage *stage, struct bench_data *data)
{
    memcpy(data->out, data->values[0], data->coordinates * sizeof(float));
}

static const struct bench_stage plain[] = {
    {.name = "pack", .run = run_pack, .read = 4, .goal = 0.9},
    {.name = "dither", .run = run_dither, .read = 4, .goal = 0.65},
    {.name = "dither, tensors", .run = run_dither_tensors, .read = 4},
    {.name = "apply signs", .run = run_apply_signs, .write = 4, .goal = 0.9},
    {.name = "apply signs, decay", .run = run_apply_signs_decay, .write = 4},
    {.name = "apply signs, digest", .run = run_apply_signs_digest, .write = 4},
    {.name = "apply values", .run = run_apply_values, .read = 4, .write = 4},
    {.name = "sketch", .run = run_sketch, .read = 4, .goal = 0.85},
    {.name = "squares and sketch", .run = run_squares_sketch, .read = 4},
    {.name = "momentum", .run = run_momentum, .read = 4, .write = 4},
    {.name = "unpack", .run = run_unpack, .write = 4},
    {.name = "sum of squares", .run = run_squares, .read = 4},
    {.name = "dot with signs", .run = run_dot, .read = 4},
    {.name = "products", .run = run_products, .read = 8},
    {.name = "sign products", .run = run_sign_products, .read = 8},
    {.name = "all finite", .run = run_finite, .read = 4},
    {.name = "encode bf16", .run = run_encode, .read = 4, .write = 2},
    {.name = "decode bf16", .run = run_decode, .read = 2, .write = 4},
    {.name = "finite bf16", .run = run_values_finite, .read = 2},
    {.name = "encode i8", .run = run_encode, .read = 4, .write = 5},
    {.name = "decode i8", .run = run_decode, .read = 1, .write = 4},
    {.name = "finite i8", .run = run_values_finite, .read = 1},
    {.name = "planes of 4", .run = run_planes, .read = 0.375, .write = 4},
    {.name = "mean of 4", .run = run_mean, .read = 16, .write = 4},
    {.name = "median of 4", .run = run_median, .read = 16, .write = 4},
    {.name = "trimmed mean of 4", .run = run_trimmed, .read = 16, .write = 4},
    {.name = "adam", .run = run_adam, .read = 4, .write = 12},
    {.name = "digest (xxhash)", .run = run_digest, .read = 4, .orients = true},
    {.name = "CRC-32 (isa-l)", .run = run_crc, .read = 4, .orients = true},
    {.name = "CRC-32C (isa-l)", .run = run_crc32c, .read = 4, .orients = true},
    {.name = "copy (libc)", .run = run_copy, .read = 4, .write = 4, .orients = true},
};

unsigned bench_stages(struct bench_stage stages[BENCH_STAGES_MAX], const unsigned voters[], unsigned voters_count)
{
    const unsigned n = sizeof plain / sizeof plain[0];

    sp_assert(n + 4 * voters_count <= BENCH_STAGES_MAX);
    memcpy(stages, plain, sizeof plain);
    return n + bench_stages_vote(stages + n, voters, voters_count);
}
