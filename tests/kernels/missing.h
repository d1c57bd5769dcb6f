/* Instructions of AVX-512 that SIMD Everywhere 0.7.4 has not got, as plain C. */
#pragma once
