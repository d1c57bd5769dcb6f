/* The parts of test_client. */
#pragma once

#include <check.h>

TCase *client_open_cases(void);      /* options, and calls at a wrong time or with wrong arguments */
TCase *client_handshake_cases(void); /* up to WELCOME, and how a server may turn a worker away */
TCase *client_round_cases(void);     /* rounds, gradients and scores, connections that are lost */
TCase *client_phases_cases(void);    /* traits, buffers, and the phases after the first */
TCase *client_momentum_cases(void);  /* momentum that outlives a process */
TCase *client_process_cases(void);   /* by events and steps: what waits, what does not, and signals */
