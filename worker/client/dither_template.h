/* The dither in vectors of any width: dither_avx2.c and dither_avx512.c include this after they have said what a vector
 * is:
 *     V(name)                 the instruction of that name, of this width
 *     shorts, floats          a register of 16-bit numbers, and of float32
 *     as_shorts               the bits of a register of float32
 *     load_low, load_high     the halves of vector i: what is packed from them is in the order of its draws
 *     part_bits, bits_of      the bits of two vectors: an integer, and how they become it
 *     aes                     a register of blocks of AES; CIPHERS of them make the draws of a step
 *     in_all_blocks           a register of one block
 *     begin_blocks, aes_round, end_blocks, next_counter
 *
 * A step is of four vectors of 16-bit numbers. The next step's draws are made while the flips of this one are computed,
 * a round of AES after each step of the polynomial: both are chains, each step of which waits for the one before, and a
 * processor looks ahead only so far for others.
 */
#include "worker/client/dither_kernels.h"

#include <string.h>

#define VECTORS 4
#define COORDINATES (VECTORS * sizeof(shorts) / 2)

static shorts word(int value)
{
    return V(set1_epi16)((short)value);
}

static inline void look_ahead(const float *m)
{
    for (unsigned i = 0; i < COORDINATES; i += 16)
        sp_prefetch(m + i);
}

/* Distances as 16-bit numbers, doubled, and signs. A product beyond the 32-bit integers, infinite ones too, becomes
 * -2^31, then -32768, then the largest distance. */
static inline void distances(const float *m, floats scale, shorts x[VECTORS], shorts signs[VECTORS])
{
    for (int i = 0; i < VECTORS; i++) {
        floats low = load_low(m, i), high = load_high(m, i);

        signs[i] = V(packs_epi32)(as_shorts(low), as_shorts(high));
        x[i] = V(packs_epi32)(V(cvtps_epi32)(V(mul_ps)(low, scale)), V(cvtps_epi32)(V(mul_ps)(high, scale)));
    }
    for (int i = 0; i < VECTORS; i++) {
        x[i] = V(abs_epi16)(x[i]);
        x[i] = V(adds_epu16)(x[i], x[i]);
    }
    signs[0] = V(packs_epi16)(signs[0], signs[1]);
    signs[1] = V(packs_epi16)(signs[2], signs[3]);
}

static inline void minus(int c, const shorts x[VECTORS], shorts y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = V(sub_epi16)(word(c), V(mulhi_epu16)(x[i], y[i]));
}

static inline void plus(int c, const shorts x[VECTORS], shorts y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = V(add_epi16)(word(c), V(mulhi_epu16)(x[i], y[i]));
}

static inline void square(shorts y[VECTORS])
{
    for (int i = 0; i < VECTORS; i++)
        y[i] = V(mulhi_epu16)(y[i], y[i]);
}

/* `draws` are those of m, and then those from the counter on. */
static inline void dither_step(const float *m, floats scale, aes counter, const aes key[SP_ARS_ROUNDS + 1],
                               shorts draws[VECTORS], uint8_t *bits)
{
    shorts signs[VECTORS], x[VECTORS],
        y[VECTORS] = {word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5), word(SP_DITHER_C5)};
    aes block[CIPHERS];
    part_bits part[2];

    look_ahead(m);
    begin_blocks(counter, key[0], block);
    distances(m, scale, x, signs);
    minus(SP_DITHER_C4, x, y);
    aes_round(key[1], block);
    plus(SP_DITHER_C3, x, y);
    aes_round(key[2], block);
    minus(SP_DITHER_C2, x, y);
    aes_round(key[3], block);
    plus(SP_DITHER_C1, x, y);
    aes_round(key[4], block);
    minus(SP_DITHER_ROOT, x, y);
    square(y);
    square(y);
    /* A saturated difference has the sign of the true one: negative where a coordinate flips. */
    for (int i = 0; i < VECTORS; i++)
        y[i] = V(subs_epi16)(draws[i], V(add_epi16)(y[i], word(32767)));
    end_blocks(key[5], block, draws);
    part[0] = bits_of(signs[0], y[0], y[1]);
    part[1] = bits_of(signs[1], y[2], y[3]);
    memcpy(bits, part, sizeof part);
}

/* sp_dither_kernel() of COORDINATES*steps coordinates. */
static inline __attribute__((always_inline)) void dither_steps(const float *m, size_t steps, float gain,
                                                               const struct sp_dither_draws *draws, uint64_t index,
                                                               uint8_t *bits)
{
    const floats scale = V(set1_ps)(gain * SP_DITHER_STEPS);
    aes counter = in_all_blocks(index, draws->lane);
    aes key[SP_ARS_ROUNDS + 1], block[CIPHERS];
    shorts drawn[VECTORS];

    for (int i = 0; i <= SP_ARS_ROUNDS; i++)
        key[i] = in_all_blocks(draws->ars.key[i][0], draws->ars.key[i][1]);
    begin_blocks(counter, key[0], block);
    for (int round = 1; round < SP_ARS_ROUNDS; round++)
        aes_round(key[round], block);
    end_blocks(key[SP_ARS_ROUNDS], block, drawn);
    for (size_t i = 0; i < steps; i++) {
        counter = next_counter(counter);
        dither_step(m + COORDINATES * i, scale, counter, key, drawn, bits + COORDINATES / 8 * i);
    }
}
