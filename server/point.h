/* What is known of some rounds in a row, as curves show it: means over the rounds, and where the job was after them.
 *
 * One round makes a point, and neighbours can be merged to one. `history.jsonl` has one a report interval, /series what
 * series.h keeps. A value that there is none of is NaN, and null in JSON.
 */
#pragma once

#include "server/round.h"

#include <jansson.h>

/* Where a round's time went; a worker computes its gradient while the server waits. */
struct sp_times {
    double round_ms;   /* from one COMMIT to the next: the sum of the other three */
    double waiting_ms; /* for pushes, and where COMMIT waits for it, for the disk */
    double tally_ms;   /* votes or means, decisions, weights */
    double send_ms;    /* updates encoded, given to the journal, and written to sockets */
};

struct sp_point {
    uint32_t first, round; /* rounds `first` to `round` */
    uint32_t timed, voted; /* of these: those whose times are known, those of a sign or margin phase */
    uint32_t lossy;        /* and those with a loss */
    double epoch;          /* after them, as is all up to `stationarity` */
    enum sp_phase phase;
    unsigned live, voters;
    double rate, sigma;
    struct sp_estimates estimates; /* all 0: none */
    double loss;                   /* a mean, like what follows */
    double margin, ties, unanimous, flips;
    struct sp_times times;
    bool evaluated; /* the last evaluation among them */
    uint64_t correct, total, expected;
    double test_loss;
    uint64_t bytes_pushed, bytes_updated, bytes_float32; /* totals; the last: what each direction would have cost */
    double seconds;                                      /* since the job's start */
};

/* The point of a report, without times and bytes. `first`: the round after the report before it. */
struct sp_point sp_point_of(const struct sp_report *report, uint32_t first);

/* Takes in what follows it. */
void sp_point_merge(struct sp_point *point, const struct sp_point *next);

/* NULL if out of memory, as all of the JSON here. */
json_t *sp_point_json(const struct sp_point *point);

/* From a line of the history. False if it is no point. `first` is then its round, and the caller's to set right. */
bool sp_point_parse(struct sp_point *point, const json_t *line);
