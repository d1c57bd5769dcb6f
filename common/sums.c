#include "common/sums.h"

#include "common/rng.h"
#include "common/sums_kernels.h"

#include <string.h>

#define LANES SP_SUM_LANES
#define WORD 64

/* --- terms ------------------------------------------------------------------------------------------------------- */

typedef double one_term(const struct sp_terms *terms, size_t j);

static inline double square(const struct sp_terms *terms, size_t j)
{
    return (double)terms->values[j] * (double)terms->values[j];
}

static inline double signed_value(const struct sp_terms *terms, size_t j)
{
    uint64_t at = terms->first + j;
    double value = (double)terms->values[j];

    return (terms->bits[at / 8] >> (at % 8)) & 1u ? value : -value;
}

static inline double product(const struct sp_terms *terms, size_t j)
{
    return (double)terms->others[j] * (double)terms->values[j];
}

static inline double sign_product(const struct sp_terms *terms, size_t j)
{
    double sign = (double)(terms->others[j] > 0.0f) - (double)(terms->others[j] < 0.0f);

    return sign * (double)terms->values[j];
}

/* --- kernels, scalar --------------------------------------------------------------------------------------------- */

/* The lanes lie in an array of its own, so that the compiler knows that no term is among them. */
static inline __attribute__((always_inline)) void add_words(double lane[LANES], const struct sp_terms *terms,
                                                            size_t from, size_t words, one_term *term)
{
    const struct sp_terms own = *terms;
    double sum[LANES];

    memcpy(sum, lane, sizeof sum);
    for (size_t j = from; j < from + words * WORD; j += LANES) {
        for (unsigned l = 0; l < LANES; l++)
            sum[l] += term(&own, j + l);
    }
    memcpy(lane, sum, sizeof sum);
}

static void squares_scalar(double lane[LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_words(lane, terms, from, words, square);
}

static void dot_scalar(double lane[LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_words(lane, terms, from, words, signed_value);
}

static void products_scalar(double lane[LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_words(lane, terms, from, words, product);
}

static void sign_products_scalar(double lane[LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_words(lane, terms, from, words, sign_product);
}

static bool finite_scalar(const float *values, size_t words)
{
    uint32_t bad = 0;

    for (size_t j = 0; j < words * WORD; j++) {
        uint32_t bits;

        memcpy(&bits, &values[j], sizeof bits);
        bad |= (bits & UINT32_C(0x7f800000)) == UINT32_C(0x7f800000);
    }
    return bad == 0;
}

/* Bucket i of `bucket` gets value i with sign i of `signs`. */
static void sketch_some(double *bucket, uint64_t signs, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value = (double)values[i];

        bucket[i] += (signs >> i) & 1u ? -value : value;
    }
}

static void sketch_scalar(double *sketch, const struct sp_sketch_place *place, const float *values, size_t words)
{
    for (size_t i = 0; i < words; i++)
        sketch_some(sp_sketch_half(sketch, place, i), sp_sketch_minus(place, i), values + i * WORD, WORD);
}

static void squares_sketch_scalar(double lane[LANES], double *sketch, const struct sp_sketch_place *place,
                                  const float *values, size_t words)
{
    squares_scalar(lane, &(struct sp_terms){.values = values}, 0, words);
    sketch_scalar(sketch, place, values, words);
}

/* --- sums -------------------------------------------------------------------------------------------------------- */

static sp_sum_kernel *const squares[SP_CPU_SETS] = SP_CPU_TABLE(squares_scalar, sp_squares_avx2, sp_squares_avx512);
static sp_sum_kernel *const dots[SP_CPU_SETS] = SP_CPU_TABLE(dot_scalar, sp_dot_avx2, sp_dot_avx512);
static sp_sum_kernel *const products[SP_CPU_SETS] = SP_CPU_TABLE(products_scalar, sp_products_avx2, sp_products_avx512);
static sp_sum_kernel *const sign_products[SP_CPU_SETS] =
    SP_CPU_TABLE(sign_products_scalar, sp_sign_products_avx2, sp_sign_products_avx512);
static sp_finite_kernel *const finites[SP_CPU_SETS] = SP_CPU_TABLE(finite_scalar, sp_finite_avx2, sp_finite_avx2);
static sp_sketch_kernel *const sketches[SP_CPU_SETS] = SP_CPU_TABLE(sketch_scalar, sp_sketch_avx2, sp_sketch_avx512);
static sp_squares_sketch_kernel *const squares_sketches[SP_CPU_SETS] =
    SP_CPU_TABLE(squares_sketch_scalar, sp_squares_sketch_avx2, sp_squares_sketch_avx512);

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

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void end_terms(struct sp_running_sum *sum)
{
    if (sum->count % SP_SUM_BLOCK == 0) {
        sum->total += add_lanes(sum->lane);
        memset(sum->lane, 0, sizeof sum->lane);
    }
}

static void add_some(struct sp_running_sum *sum, const struct sp_terms *terms, size_t from, size_t count,
                     one_term *term)
{
    for (size_t j = from; j < from + count; j++)
        sum->lane[sum->count++ % LANES] += term(terms, j);
}

/* Up to the end of the block that the sum is in: a kernel takes what lies between the first term of lane 0 and the last
 * whole word. */
static size_t add_in_block(struct sp_running_sum *sum, const struct sp_terms *terms, size_t from, size_t count,
                           one_term *term, sp_sum_kernel *kernel)
{
    size_t n = least(count, SP_SUM_BLOCK - (size_t)(sum->count % SP_SUM_BLOCK));
    size_t head = least(n, (size_t)(-sum->count % LANES));
    size_t words = (n - head) / WORD;

    add_some(sum, terms, from, head, term);
    if (words > 0)
        kernel(sum->lane, terms, from + head, words);
    sum->count += words * WORD;
    add_some(sum, terms, from + head + words * WORD, n - head - words * WORD, term);
    end_terms(sum);
    return n;
}

static void add_terms(struct sp_running_sum *sum, const struct sp_terms *terms, size_t count, one_term *term,
                      sp_sum_kernel *kernel)
{
    for (size_t j = 0; j < count;)
        j += add_in_block(sum, terms, j, count - j, term, kernel);
}

void sp_running_add_squares(struct sp_running_sum *sum, const float *values, size_t count)
{
    struct sp_terms terms = {.values = values};

    add_terms(sum, &terms, count, square, squares[sp_cpu()]);
}

void sp_running_add_dot(struct sp_running_sum *sum, const uint8_t *bits, uint64_t first, const float *values,
                        size_t count)
{
    struct sp_terms terms = {.values = values, .bits = bits, .first = first};

    add_terms(sum, &terms, count, signed_value, dots[sp_cpu()]);
}

void sp_running_add_products(struct sp_running_sum *sum, const float *a, const float *b, size_t count)
{
    struct sp_terms terms = {.values = b, .others = a};

    add_terms(sum, &terms, count, product, products[sp_cpu()]);
}

void sp_running_add_sign_products(struct sp_running_sum *sum, const float *signs, const float *values, size_t count)
{
    struct sp_terms terms = {.values = values, .others = signs};

    add_terms(sum, &terms, count, sign_product, sign_products[sp_cpu()]);
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

/* --- finiteness, the sketch -------------------------------------------------------------------------------------- */

bool sp_all_finite(const float *values, size_t count)
{
    size_t words = count / WORD;
    float last[WORD] = {0.0f};

    if (!finites[sp_cpu()](values, words))
        return false;
    if (count % WORD > 0)
        memcpy(last, values + words * WORD, count % WORD * sizeof *values);
    return finite_scalar(last, 1);
}

/* Coordinates `first` and on up to the end of their word. */
static size_t sketch_in_word(double sketch[SP_SKETCH_BUCKETS], uint64_t seed, uint32_t t, uint64_t first,
                             const float *values, size_t count)
{
    size_t n = least(count, WORD - (size_t)(first % WORD));

    sketch_some(sketch + first % SP_SKETCH_BUCKETS, sp_sketch_signs(seed, t, first / WORD) >> (first % WORD), values,
                n);
    return n;
}

void sp_sketch_add(double sketch[SP_SKETCH_BUCKETS], uint64_t seed, uint32_t t, uint64_t first, const float *values,
                   size_t count)
{
    size_t j = first % WORD != 0 ? sketch_in_word(sketch, seed, t, first, values, count) : 0;
    struct sp_sketch_place place = {.seed = seed, .t = t, .word = (first + j) / WORD};
    size_t words = (count - j) / WORD;

    if (words > 0)
        sketches[sp_cpu()](sketch, &place, values + j, words);
    j += words * WORD;
    if (j < count)
        (void)sketch_in_word(sketch, seed, t, first + j, values + j, count - j);
}

/* How many of `count` coordinates a kernel can take for sum and sketch together: words that lie in the sum's block. */
static size_t words_together(const struct sp_running_sum *sum, uint64_t first, size_t count)
{
    if (first % WORD != 0 || sum->count % LANES != 0)
        return 0;
    return least(count, SP_SUM_BLOCK - (size_t)(sum->count % SP_SUM_BLOCK)) / WORD;
}

/* How many to take apart before words can be taken together again, which they never can if lanes do not begin where
 * words do. */
static size_t count_apart(const struct sp_running_sum *sum, uint64_t first, size_t count)
{
    return (first - sum->count) % LANES == 0 ? least(count, WORD - (size_t)(first % WORD)) : count;
}

void sp_running_add_squares_sketch(struct sp_running_sum *sum, double sketch[SP_SKETCH_BUCKETS], uint64_t seed,
                                   uint32_t t, uint64_t first, const float *values, size_t count)
{
    size_t n;

    for (size_t j = 0; j < count; j += n) {
        size_t words = words_together(sum, first + j, count - j);

        if (words > 0) {
            struct sp_sketch_place place = {.seed = seed, .t = t, .word = (first + j) / WORD};

            n = words * WORD;
            squares_sketches[sp_cpu()](sum->lane, sketch, &place, values + j, words);
            sum->count += n;
            end_terms(sum);
        } else {
            n = count_apart(sum, first + j, count - j);
            sp_sketch_add(sketch, seed, t, first + j, values + j, n);
            sp_running_add_squares(sum, values + j, n);
        }
    }
}
