#define LIMIT_BYTES 32
#define LIMIT_NAME "256 bits"
#define LIMIT_TABLE limit_ways_avx2
#include "tests/bench/bandwidth_ways.h"
