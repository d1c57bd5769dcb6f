/* What a job's first rounds take, and whether its compression pays: one line for the log.
 *
 * The exchange is the time from a worker's gradient to its new weights. A worker that waits for slower ones waits
 * longest in some rounds and least in others: the shortest exchange of a few rounds has the least of it. In float32 the
 * exchange would take longer by the additional bytes of one direction (the other runs meanwhile) at the rate at which
 * the weights came, when all workers got them at once, as they get updates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_PACE_SKIPPED 1 /* the first round */
#define SP_PACE_ROUNDS 5  /* those after it are measured */

/* All zero bytes is one that has seen nothing. */
struct sp_pace {
    double since;      /* when the last gradient was there, in seconds; 0: not to be measured */
    double gradient_s; /* of the last round */
    double gradient_sum, exchange_least;
    unsigned rounds;
};

/* A gradient is there, `gradient_s` seconds after its computation began. */
void sp_pace_gradient(struct sp_pace *pace, double now, double gradient_s);
/* Something else than an exchange goes on until the next weights. */
void sp_pace_disturb(struct sp_pace *pace);
/* New weights are there. True once: now it can be said. */
bool sp_pace_weights(struct sp_pace *pace, double now);

/* The line, of a model with `coordinates`; `rate` is in bytes per second, 0 if nobody knows: then nothing is said of
 * float32. */
void sp_pace_words(const struct sp_pace *pace, uint64_t coordinates, double rate, char *words, size_t bytes);
