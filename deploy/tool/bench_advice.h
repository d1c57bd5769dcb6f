/* From what was measured to whether compression pays. Pure.
 *
 * Of a worker's round, gradient and exchange come one after the other; in the exchange, chunks stream: while some are
 * on the line others are packed and counted, up and down at once. So the slowest of line, server and worker sets its
 * time, and the weights change after it:
 *
 *     line     = max(bytes of a worker / its link, bytes of all workers / the server's link)    each way
 *     exchange = max(line, the server's processor time, the worker's without apply) + apply
 *
 * The ring all-reduce in float32 that it is compared with has no server: each worker sends, and receives,
 * 2*(M-1)/M times the gradient.
 */
#pragma once

#include <stdint.h>

/* Of Ethernet with frames of 1,500 bytes the share that is left to TCP's payload: 1448 of 1538 bytes. */
#define ADVICE_PAYLOAD (1448.0 / 1538.0)
/* Where communication is a smaller part of the round than this, compression brings too little. */
#define ADVICE_SHARE_LEAST 0.05
#define ADVICE_GAIN_LEAST 1.05

/* What one wire costs per coordinate, as it was measured. */
struct advice_cost {
    double up, down;  /* bytes at the socket, of one worker */
    double server_ns; /* processor time, for each worker */
    double worker_ns; /* of one worker, from the gradient to the weights */
    double apply_ns;  /* that of the latter which comes after the last byte */
};

enum advice_wire { ADVICE_BITS, ADVICE_I8, ADVICE_F32, ADVICE_RING, ADVICE_WIRES };

struct advice_job {
    uint32_t workers;
    double params;
    double link, server_link;             /* bits per second, each way */
    struct advice_cost cost[ADVICE_RING]; /* of the first three */
};

struct advice_exchange {
    double line_ms, server_ms, worker_ms; /* of the ring, server_ms is 0 */
    double ms;                            /* in all */
};

void advice_exchanges(const struct advice_job *job, struct advice_exchange exchange[ADVICE_WIRES]);

enum advice_verdict {
    ADVICE_WORTH,      /* one bit makes rounds faster than anything else here */
    ADVICE_I8_AS_GOOD, /* compression does, and int8 is as fast as one bit within 5 %, or faster */
    ADVICE_LITTLE,     /* communication in float32 is less than 5 % of a round */
    ADVICE_NO_GAIN,    /* the line is no limit: neither is 5 % faster than float32 */
};

struct advice {
    double share[ADVICE_WIRES]; /* of the exchange in a round, 0 to 1 */
    double gain[ADVICE_WIRES];  /* how many times as many rounds as with the faster of the two in float32 */
    enum advice_verdict verdict;
};

struct advice advice_for(const struct advice_exchange exchange[ADVICE_WIRES], double gradient_ms);

/* "1gbit", "100mbit", "2.5Gbit/s", "56000": bits per second; 0 if it is none of these. */
double advice_rate(const char *text);
