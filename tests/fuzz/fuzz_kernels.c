/* libFuzzer target: the first byte chooses a comparison of tests/kernels, the rest is what its input is drawn from:
 * lengths, alignment, numbers. Every set of kernels, those of AVX-512 by emulation, must give the bits of the scalar
 * one, and must not step past the end of an array. */
#include "tests/kernels/kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source source;

    if (size == 0)
        return 0;
    source = (struct source){.data = data + 1, .size = size - 1};
    comparisons[data[0] % comparisons_count].run(&source);
    return 0;
}
