/* A whole job in memory: the round core, workers around sp_learner, and a network between them that delays, breaks and
 * forgets. Time is simulated, every choice comes from a seed, and nothing sleeps.
 *
 * Frames travel encoded, as on a socket, in order on each line. A line may break at any moment: in the middle of a
 * push, of an update, of the initial weights, of a bulk that is half read; either side may notice much later than the
 * other, so that a worker returns with its ticket while the server still believes in its old connection. A worker may
 * die and another come in its place, may have a gradient or a buffer that is not finite, may have weights that went
 * astray.
 *
 * After every event of the server, and every change of a worker's weights, cluster_check.c compares:
 *     - the weights of a worker that is ready after round t with the server's after round t, to the bit, and its
 *       buffers if that round averaged them, or if they came with the weights;
 *     - each chunk of each update, byte by byte, with what an oracle makes of the pushes that the server took for it: a
 *       plain count, mean, median, Adam, a code with a residual of its own (oracle.c, oracle_values.c);
 *     - the rates of each COMMIT with the job's settings and the norms of those updates (oracle_rates.c);
 *     - the phases, the live workers, the round (which never goes back), and the window with what was seen to arrive.
 * A failure ends the test through check.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cluster_faults { /* in 1/10000, for every worker and round */
    unsigned breaks;    /* of its line */
    unsigned dies;
    unsigned nan;     /* its gradient is not finite from somewhere on, or one of its buffers is not */
    unsigned stray;   /* one of its weights changes by itself */
    unsigned slow;    /* its gradient takes 60 times as long */
    unsigned crashes; /* of the server, for every round */
};

struct cluster_options {
    const char *const *settings; /* of the job, "key=value", ended by NULL */
    const uint64_t *tensors;     /* sizes, ended by 0: t0, t1 and so on, of which t0 declares weight decay */
    const uint64_t *buffers;     /* sizes, ended by 0; NULL: none */
    uint32_t decay, full;        /* bit i: what the job's rules must make of tensor i */
    uint64_t examples, test_examples;
    uint64_t seed;      /* of the network and of faults; the job has its own */
    unsigned liars;     /* of the processes, the first: what they push is the opposite of their gradients */
    unsigned processes; /* workers that run at once; more than the job's slots: spares */
    bool alike;         /* every slot has the same gradient, without noise */
    uint32_t asks[2];   /* rounds in which an operator asks for a switch; 0: none */
    struct cluster_faults faults;
};

struct cluster_result {
    uint64_t digest;  /* of the weights at the end */
    uint64_t trace;   /* hash over all that the server did, with the time it did it */
    uint64_t buffers; /* digest of the buffers at the end */
    uint32_t rounds, switch_round, second_switch;
    double first_loss, last_loss, least_loss; /* at the first and last weights; at the best there are */
    unsigned voters_min;                      /* in any round */
    bool evaluated, partial;
    /* what happened */
    uint64_t breaks, breaks_in_push, breaks_in_update, deaths, takeovers, strays, resyncs, joins, holds, late,
        abstained;
    uint64_t crashes, crashes_in_round, checkpoints;
    uint64_t excluded, denounced; /* by the quarantine: liars, and others */
    uint64_t anew, missed, averaged, switches_asked, switches_refused, without_votes;
    uint64_t end_ms;
};

/* Runs the job to its end, which is checked to come. */
void cluster_run(const struct cluster_options *options, struct cluster_result *result);
