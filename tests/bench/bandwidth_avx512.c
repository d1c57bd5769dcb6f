#define LIMIT_BYTES 64
#define LIMIT_NAME "512 bits"
#define LIMIT_TABLE limit_ways_avx512
#include "tests/bench/bandwidth_ways.h"
