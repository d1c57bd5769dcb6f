/* Reads tests/golden/NAME.json: reference runs on a small quadratic. What they are stands in tests/golden/README.md. */
#pragma once

#include <stdbool.h>

#define GOLDEN_D 12
#define GOLDEN_ROUNDS 14
#define GOLDEN_SWITCH 9 /* the last sign round */
#define GOLDEN_WORKERS_MAX 4

struct golden_round {
    double loss;
    bool sign; /* then the next ones are there */
    char bits[GOLDEN_WORKERS_MAX][GOLDEN_D + 1];
    char s[GOLDEN_D + 1];
    double g2sk, g2, mg2, sg, paper, ratio, dn;
    double switch_lambda;  /* 0 if the round carries no switch */
    float theta[GOLDEN_D]; /* after the round */
};

struct golden {
    unsigned workers;
    struct golden_round round[GOLDEN_ROUNDS];
};

extern const char *const golden_names[];
extern const int golden_count;

/* Ends the test if the file is not there or not like that. */
void golden_load(const char *name, struct golden *golden);
