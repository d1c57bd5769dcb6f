#include "common/sums.h"

#include "common/rng.h"

#include <math.h>
#include <string.h>

#define LANES 16

static double add_lanes(const double lane[LANES])
{
    double sum[LANES];

    memcpy(sum, lane, sizeof sum);
    for (unsigned width = LANES / 2; width > 0; width /= 2) {
        for (unsigned l = 0; l < width; l++)
            sum[l] += sum[l + width];
    }
    return sum[0];
}

static void add_squares(double lane[LANES], const float *values, size_t count)
{
    size_t j = 0;

    for (; j + LANES <= count; j += LANES) {
        for (unsigned l = 0; l < LANES; l++)
            lane[l] += (double)values[j + l] * (double)values[j + l];
    }
    for (; j < count; j++)
        lane[j % LANES] += (double)values[j] * (double)values[j];
}

/* How many of `count` terms still belong to the block that the sum is in. */
static size_t block_room(const struct sp_running_sum *sum, size_t count)
{
    size_t room = SP_SUM_BLOCK - (size_t)(sum->count % SP_SUM_BLOCK);

    return count < room ? count : room;
}

static void end_terms(struct sp_running_sum *sum, size_t n)
{
    sum->count += n;
    if (sum->count % SP_SUM_BLOCK == 0) {
        sum->total += add_lanes(sum->lane);
        memset(sum->lane, 0, sizeof sum->lane);
    }
}

void sp_running_add_squares(struct sp_running_sum *sum, const float *values, size_t count)
{
    while (count > 0) {
        size_t n = block_room(sum, count);

        if (sum->count % LANES == 0) {
            add_squares(sum->lane, values, n);
        } else {
            for (size_t j = 0; j < n; j++)
                sum->lane[(sum->count + j) % LANES] += (double)values[j] * (double)values[j];
        }
        end_terms(sum, n);
        values += n;
        count -= n;
    }
}

void sp_running_add_dot(struct sp_running_sum *sum, const uint8_t *bits, uint64_t first, const float *values,
                        size_t count)
{
    while (count > 0) {
        size_t n = block_room(sum, count);

        for (size_t j = 0; j < n; j++) {
            double value = (double)values[j];
            unsigned bit = (bits[(first + j) / 8] >> ((first + j) % 8)) & 1u;

            sum->lane[(sum->count + j) % LANES] += bit ? value : -value;
        }
        end_terms(sum, n);
        first += n;
        values += n;
        count -= n;
    }
}

void sp_running_add_products(struct sp_running_sum *sum, const float *a, const float *b, size_t count)
{
    while (count > 0) {
        size_t n = block_room(sum, count);

        for (size_t j = 0; j < n; j++)
            sum->lane[(sum->count + j) % LANES] += (double)a[j] * (double)b[j];
        end_terms(sum, n);
        a += n;
        b += n;
        count -= n;
    }
}

void sp_running_add_sign_products(struct sp_running_sum *sum, const float *signs, const float *values, size_t count)
{
    while (count > 0) {
        size_t n = block_room(sum, count);

        for (size_t j = 0; j < n; j++) {
            double sign = (double)(signs[j] > 0.0f) - (double)(signs[j] < 0.0f);

            sum->lane[(sum->count + j) % LANES] += sign * (double)values[j];
        }
        end_terms(sum, n);
        signs += n;
        values += n;
        count -= n;
    }
}

double sp_running_total(const struct sp_running_sum *sum)
{
    /* A full block was added when it ended; adding its empty lanes again would add 0. */
    return sum->count % SP_SUM_BLOCK == 0 ? sum->total : sum->total + add_lanes(sum->lane);
}

double sp_sum_squares(const float *values, size_t count)
{
    struct sp_running_sum sum = {0};

    sp_running_add_squares(&sum, values, count);
    return sp_running_total(&sum);
}

double sp_dot_signs(const uint8_t *bits, const float *values, size_t count)
{
    struct sp_running_sum sum = {0};

    sp_running_add_dot(&sum, bits, 0, values, count);
    return sp_running_total(&sum);
}

bool sp_all_finite(const float *values, size_t count)
{
    uint32_t bad = 0;

    for (size_t j = 0; j < count; j++) {
        uint32_t bits;

        memcpy(&bits, &values[j], sizeof bits);
        bad |= (bits & UINT32_C(0x7f800000)) == UINT32_C(0x7f800000);
    }
    return bad == 0;
}

void sp_sketch_add(double sketch[SP_SKETCH_BUCKETS], uint64_t seed, uint32_t t, uint64_t first, const float *values,
                   size_t count)
{
    size_t j = 0;

    while (j < count) {
        uint64_t coordinate = first + j;
        uint64_t signs = sp_sketch_signs(seed, t, coordinate / 64) >> (coordinate % 64);
        size_t n = 64 - (size_t)(coordinate % 64);
        double *bucket = &sketch[coordinate % SP_SKETCH_BUCKETS];

        if (n > count - j)
            n = count - j;
        for (size_t i = 0; i < n; i++) {
            double value = (double)values[j + i];

            bucket[i] += (signs >> i) & 1u ? -value : value;
        }
        j += n;
    }
}
