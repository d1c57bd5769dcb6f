/* What the cases of the simulation have in common. */
#pragma once

#include "cluster.h"

#include <check.h>

/* Models: of one chunk whatever the form; of one chunk as signs and counts, of two as int8 or bfloat16, of three as
 * float32. */
extern const uint64_t sim_small[], sim_middle[];
extern const struct cluster_faults sim_quiet, sim_storm;

/* How much of the loss that can be won at all is left. */
double sim_left(const struct cluster_result *r);

/* With SP_SIM_SHOW. */
void sim_show(const char *name, const struct cluster_result *r);

/* The same seed gives the same bits. */
void sim_run_twice(const struct cluster_options *options, struct cluster_result *result);

/* And another seed gives others. */
void sim_run_three_times(struct cluster_options *options, struct cluster_result *result);

/* --- the cases --- */
TCase *sim_storms(void);
TCase *sim_forms(void);
TCase *sim_any(void);
TCase *sim_restarts(void);
TCase *sim_quarantine(void);
