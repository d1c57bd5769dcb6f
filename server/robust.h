/* Statistics that a few workers who forge theirs hardly move. Pure.
 *
 * Noise hides a forger within a round, but not over many. So averages over time come first, of every slot (dot,
 * ||g||^2, ||sketch||^2) and of every pair of slots (the inner product of their sketches). Then the quarter of the
 * workers is left out that is farthest from the others by any of these, and of the rest a trimmed mean is taken. What a
 * single round says is the plain mean over all who are not far by any of them.
 *
 * A median of sketches, bucket by bucket, is no way: the noise in the square of a median is pi/2 times that in the
 * square of a mean, so B and D would be biased. D needs only products of different workers' sketches, in which no
 * worker's noise meets itself:
 *     D = mean over i != j of <sketch_i, sketch_j>, and B = D + (E - D)/M
 * which are D = (M*B - E)/(M - 1) turned round. One product per pair, rather than one of each sketch with the sum of
 * the others: forgers who know each other could hide in that sum.
 *
 * Up to a quarter of the workers may forge. Pairs are kept of the slots below SP_ROBUST_PAIRED only, since their number
 * grows with the square; D is then theirs, and a quarter of these may forge.
 */
#pragma once

#include "server/decide.h"

#include <stdbool.h>
#include <stdint.h>

#define SP_ROBUST_WORKERS_MIN 5u /* fewer have no quarter that could be left out */
#define SP_ROBUST_PAIRED 64u
#define SP_ROBUST_PAIRS (SP_ROBUST_PAIRED * (SP_ROBUST_PAIRED - 1u) / 2u)

/* Sums that fade by beta2 a round; divided by their mass, which fades too, they are averages. */
struct sp_robust_slot {
    double mass; /* 0: nothing is known of it */
    double dot, norm2, length2;
    double loss; /* sum over the present window of `auto` */
    uint32_t losses;
};

/* Saved and restored as it is: no pointers. */
struct sp_robust {
    double beta2;
    struct sp_robust_slot slot[SP_SLOTS_MAX];
    double pair[SP_ROBUST_PAIRS], pair_mass[SP_ROBUST_PAIRS]; /* of slots i > j at i*(i - 1)/2 + j */
};

/* What a worker gave to a round. All finite. */
struct sp_sample {
    uint32_t slot;
    double dot, norm2;
    const float *sketch; /* SP_SKETCH_BUCKETS, borrowed */
};

void sp_robust_init(struct sp_robust *robust, double beta2);

/* Another worker has the slot now: nothing of the one before is its own. */
void sp_robust_forget(struct sp_robust *robust, uint32_t slot);

/* Takes what the workers gave to a round, in the order of their slots. Fills in the statistics of this round and the
 * averages, both over M = n; false if there are too few workers to tell. */
bool sp_robust_take(struct sp_robust *robust, const struct sp_sample *samples, unsigned n,
                    struct sp_statistics *statistics, struct sp_averages *averages);

/* A worker's loss of a round. */
void sp_robust_loss(struct sp_robust *robust, uint32_t slot, double loss);

/* The loss of the window that ends, from every slot's own mean over it; NaN if there are too few to tell. Begins the
 * next window. */
double sp_robust_window(struct sp_robust *robust);

/* The mean without the `cut` least and the `cut` greatest of n values, which are sorted; 2*cut < n. */
double sp_robust_mean(double *values, unsigned n, unsigned cut);
