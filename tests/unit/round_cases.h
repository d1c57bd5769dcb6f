/* The parts of test_round. */
#pragma once

#include <check.h>

TCase *round_roster_cases(void);     /* who takes part */
TCase *round_probe_cases(void);      /* what who only asks is told */
TCase *round_init_cases(void);       /* initial weights from a file */
TCase *round_push_cases(void);       /* what is counted, and when a round closes */
TCase *round_switch_cases(void);     /* the switch, its rates, what a COMMIT says */
TCase *round_decisions_cases(void);  /* switches by hand, dry runs, refusals */
TCase *round_outlook_cases(void);    /* how near the switch is; who is late */
TCase *round_robust_cases(void);     /* statistics and losses of which some are forged */
TCase *round_margin_cases(void);     /* vote counts as updates; from phase to phase */
TCase *round_values_cases(void);     /* the SGD phase: wires, modes, rates over time */
TCase *round_full_cases(void);       /* tensors that travel in full precision */
TCase *round_buffers_cases(void);    /* running statistics */
TCase *round_evaluation_cases(void); /* evaluations, resync, stop */
TCase *round_quarantine_cases(void); /* workers whose votes oppose the others' */
