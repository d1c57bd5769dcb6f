/* Sums in vectors of any width: sums_avx2.c and sums_avx512.c include this after they have said what a vector is:
 *     V(name)           the instruction of that name, of this width
 *     KERNEL(name)      what the kernel of that name is called in this set
 *     doubles, floats   a register, and half of one, with VEC_LANES numbers each
 *     load_floats
 *     with_sign         a value whose sign is turned where the other is negative, and 0 where that is 0
 *     turned            values with the signs that bits k..k+VEC_LANES-1 of a word turn
 * Behind it they define add_words(), which differs in kind: where a sketch's buckets are kept depends on how many
 * registers there are.
 */
#include "common/sums_kernels.h"

#define INLINE static inline __attribute__((always_inline))

#define PARTS (SP_SUM_LANES / VEC_LANES)

struct lanes {
    doubles part[PARTS];
};

INLINE struct lanes load_lanes(const double lane[SP_SUM_LANES])
{
    struct lanes lanes;

    for (unsigned p = 0; p < PARTS; p++)
        lanes.part[p] = V(loadu_pd)(lane + p * VEC_LANES);
    return lanes;
}

INLINE void store_lanes(double lane[SP_SUM_LANES], const struct lanes *lanes)
{
    for (unsigned p = 0; p < PARTS; p++)
        V(storeu_pd)(lane + p * VEC_LANES, lanes->part[p]);
}

INLINE void add_part(struct lanes *lanes, unsigned p, doubles terms)
{
    lanes->part[p] = V(add_pd)(lanes->part[p], terms);
}

INLINE doubles load_doubles(const float *values)
{
    return V(cvtps_pd)(load_floats(values));
}

void KERNEL(sp_squares)(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        for (unsigned p = 0; p < PARTS; p++) {
            doubles v = load_doubles(values + j + p * VEC_LANES);

            add_part(&lanes, p, V(mul_pd)(v, v));
        }
    }
    store_lanes(lane, &lanes);
}

void KERNEL(sp_dot)(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    const float *values = terms->values + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t i = 0; i < words; i++, values += 64) {
        uint64_t minus = ~sp_bits_word(terms->bits, terms->first + from + i * 64);

        for (unsigned k = 0; k < 64; k += SP_SUM_LANES) {
            sp_prefetch(values + k);
            for (unsigned p = 0; p < PARTS; p++) {
                unsigned at = k + p * VEC_LANES;

                add_part(&lanes, p, turned(load_doubles(values + at), minus, at));
            }
        }
    }
    store_lanes(lane, &lanes);
}

/* The values by the others, or by the others' signs. */
INLINE void add_products(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words,
                         bool by_sign)
{
    const float *values = terms->values + from, *others = terms->others + from;
    struct lanes lanes = load_lanes(lane);

    for (size_t j = 0; j < words * 64; j += SP_SUM_LANES) {
        sp_prefetch(values + j);
        sp_prefetch(others + j);
        for (unsigned p = 0; p < PARTS; p++) {
            floats v = load_floats(values + j + p * VEC_LANES), other = load_floats(others + j + p * VEC_LANES);

            add_part(&lanes, p,
                     by_sign ? V(cvtps_pd)(with_sign(v, other)) : V(mul_pd)(V(cvtps_pd)(other), V(cvtps_pd)(v)));
        }
    }
    store_lanes(lane, &lanes);
}

void KERNEL(sp_products)(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_products(lane, terms, from, words, false);
}

void KERNEL(sp_sign_products)(double lane[SP_SUM_LANES], const struct sp_terms *terms, size_t from, size_t words)
{
    add_products(lane, terms, from, words, true);
}

/* The buckets get the values, as sp_sketch_kernel; unless `lanes` is NULL, they get the squares. */
static inline void add_words(double *sketch, struct lanes *lanes, struct sp_sketch_place place, const float *values,
                             size_t words);

void KERNEL(sp_sketch)(double *sketch, const struct sp_sketch_place *place, const float *values, size_t words)
{
    add_words(sketch, NULL, *place, values, words);
}

void KERNEL(sp_squares_sketch)(double lane[SP_SUM_LANES], double *sketch, const struct sp_sketch_place *place,
                               const float *values, size_t words)
{
    struct lanes lanes = load_lanes(lane);

    add_words(sketch, &lanes, *place, values, words);
    store_lanes(lane, &lanes);
}
