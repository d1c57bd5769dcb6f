#include "common/pack.h"

#include "common/check.h"

uint64_t sp_coin_word(uint64_t first, uint32_t t)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < 64; i++)
        word |= (uint64_t)sp_coin(first + i, t) << i;
    return word;
}

void sp_pack_signs(const float *values, uint64_t first, size_t count, uint32_t t, uint8_t *bits)
{
    size_t bytes = sp_bits_bytes(count);

    sp_assert(first % 8 == 0);
    for (size_t i = 0; i < bytes; i++) {
        size_t n = count - i * 8 < 8 ? count - i * 8 : 8;
        unsigned byte = 0;

        for (size_t k = 0; k < n; k++) {
            float v = values[i * 8 + k];
            unsigned bit = v > 0.0f ? 1u : 0u;

            if (v == 0.0f)
                bit = sp_coin(first + i * 8 + k, t);
            byte |= bit << k;
        }
        bits[i] = (uint8_t)byte;
    }
}

void sp_unpack_signs(const uint8_t *bits, size_t count, float *signs)
{
    for (size_t j = 0; j < count; j++)
        signs[j] = (bits[j / 8] >> (j % 8)) & 1u ? 1.0f : -1.0f;
}

int sp_bits_tail_clear(const uint8_t *bits, uint64_t count)
{
    return count % 8 == 0 || (bits[count / 8] >> (count % 8)) == 0;
}
