/* The command line of `signpost bench`. */
#pragma once

#include "deploy/tool/bench.h"

/* SP_EXIT_DONE, or SP_EXIT_USAGE after words; --help and --version end the program. */
int bench_arguments(struct bench_options *options, int argc, char **argv);

/* Processors that this process may run on. */
unsigned bench_cores(void);
