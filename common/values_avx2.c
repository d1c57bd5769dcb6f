#include "common/values_kernels.h"
#include "common/x86.h"

#include <string.h>

#define BLOCK SP_I8_BLOCK

static __m256i load(const void *from)
{
    return _mm256_loadu_si256(from);
}

/* --- bf16 ----------------------------------------------------------------------------------------------------------
 */

static __m256i round_bf16(__m256 v)
{
    __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));

    bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_srli_epi32(bits, 16);
}

/* NaNs, which are not rounded, are for the scalar code: finite numbers have none. */
static void encode_bf16(const float *values, size_t count, uint8_t *bulk)
{
    for (size_t j = 0; j < count; j += 16) {
        __m256 a = _mm256_loadu_ps(values + j), b = _mm256_loadu_ps(values + j + 8);
        __m256i halves = _mm256_packus_epi32(round_bf16(a), round_bf16(b));

        _mm256_storeu_si256((void *)(bulk + j * 2), _mm256_permute4x64_epi64(halves, 0xd8));
        if (_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_UNORD_Q)) != 0)
            sp_values_scalar.encode_bf16(values + j, 16, bulk + j * 2);
    }
}

static void decode_bf16(const uint8_t *bulk, size_t count, float *values)
{
    for (size_t j = 0; j < count; j += 8) {
        __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(bulk + j * 2)));

        _mm256_storeu_si256((void *)(values + j), _mm256_slli_epi32(bits, 16));
    }
}

/* --- i8 ------------------------------------------------------------------------------------------------------------
 */

static inline __m256 load_x(const float *values, const float *residual, bool feedback)
{
    __m256 x = _mm256_loadu_ps(values);

    return feedback ? _mm256_add_ps(x, _mm256_loadu_ps(residual)) : x;
}

static inline __m256i larger(__m256i top, __m256 x)
{
    return _mm256_max_epi32(top, _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(INT32_MAX)));
}

static inline float largest(const float *values, const float *residual, bool feedback)
{
    __m256i top[4];
    __m128i half;

    for (size_t k = 0; k < 4; k++)
        top[k] = _mm256_setzero_si256();
    for (size_t j = 0; j < BLOCK; j += 32) {
        for (size_t k = 0; k < 4; k++)
            top[k] = larger(top[k], load_x(values + j + k * 8, residual + j + k * 8, feedback));
    }
    top[0] = _mm256_max_epi32(_mm256_max_epi32(top[0], top[1]), _mm256_max_epi32(top[2], top[3]));
    half = _mm_max_epi32(_mm256_castsi256_si128(top[0]), _mm256_extracti128_si256(top[0], 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(half));
}

/* The low byte of x*inverse + ROUNDER, as bits, is q. */
static inline __m256i quantise(__m256 x, __m256 inverse, __m256 scale, __m256 *residual)
{
    const __m256 rounder = _mm256_set1_ps(SP_I8_ROUNDER);
    __m256 sum = _mm256_add_ps(_mm256_mul_ps(x, inverse), rounder);

    *residual = _mm256_sub_ps(x, _mm256_mul_ps(_mm256_sub_ps(sum, rounder), scale));
    return _mm256_and_si256(_mm256_castps_si256(sum), _mm256_set1_epi32(0xff));
}

static inline void quantise_block(const float *values, float *residual, bool feedback, struct sp_i8_scale by,
                                  uint8_t *bytes)
{
    const __m256 inverse = _mm256_set1_ps(by.inverse), scale = _mm256_set1_ps(by.scale);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

    for (size_t j = 0; j < BLOCK; j += 32) {
        __m256i q[4];

        for (size_t k = 0; k < 4; k++) {
            __m256 left;

            q[k] = quantise(load_x(values + j + k * 8, residual + j + k * 8, feedback), inverse, scale, &left);
            if (feedback)
                _mm256_storeu_ps(residual + j + k * 8, left);
        }
        q[0] = _mm256_packus_epi16(_mm256_packus_epi32(q[0], q[1]), _mm256_packus_epi32(q[2], q[3]));
        _mm256_storeu_si256((void *)(bytes + j), _mm256_permutevar8x32_epi32(q[0], order));
    }
}

static inline void encode_blocks(const float *values, float *residual, bool feedback, size_t blocks, uint8_t *scales,
                                 uint8_t *bytes)
{
    for (size_t i = 0; i < blocks; i++) {
        struct sp_i8_scale by = sp_i8_scale(largest(values, residual, feedback));

        memcpy(scales + i * 4, &by.scale, sizeof by.scale);
        if (by.scale > FLT_MAX)
            memset(bytes, 0, BLOCK);
        else
            quantise_block(values, residual, feedback, by, bytes);
        values += BLOCK;
        residual += feedback ? BLOCK : 0;
        bytes += BLOCK;
    }
}

static void encode_i8(const float *values, float *residual, size_t blocks, uint8_t *scales, uint8_t *bytes)
{
    float nobody[BLOCK] = {0};

    if (residual != NULL)
        encode_blocks(values, residual, true, blocks, scales, bytes);
    else
        encode_blocks(values, nobody, false, blocks, scales, bytes);
}

static void decode_i8(const uint8_t *scales, const uint8_t *bytes, size_t blocks, float *values)
{
    for (size_t i = 0; i < blocks; i++) {
        float number;
        __m256 scale;

        memcpy(&number, scales + i * 4, sizeof number);
        scale = _mm256_set1_ps(number);
        for (size_t j = i * BLOCK; j < (i + 1) * BLOCK; j += 8) {
            __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(bytes + j)));

            _mm256_storeu_ps(values + j, _mm256_mul_ps(_mm256_cvtepi32_ps(q), scale));
        }
    }
}

/* --- finite --------------------------------------------------------------------------------------------------------
 */

static bool finite_f32(const uint8_t *bulk, size_t count)
{
    const __m256i size = _mm256_set1_epi32(INT32_MAX);
    __m256i a = _mm256_setzero_si256(), b = a;

    for (size_t j = 0; j < count * 4; j += 64) {
        a = _mm256_max_epi32(a, _mm256_and_si256(load(bulk + j), size));
        b = _mm256_max_epi32(b, _mm256_and_si256(load(bulk + j + 32), size));
    }
    a = _mm256_cmpgt_epi32(_mm256_max_epi32(a, b), _mm256_set1_epi32(INT32_C(0x7f7fffff)));
    return _mm256_testz_si256(a, a) != 0;
}

static bool finite_bf16(const uint8_t *bulk, size_t count)
{
    const __m256i size = _mm256_set1_epi16(INT16_MAX);
    __m256i a = _mm256_setzero_si256(), b = a;

    for (size_t j = 0; j < count * 2; j += 64) {
        a = _mm256_max_epi16(a, _mm256_and_si256(load(bulk + j), size));
        b = _mm256_max_epi16(b, _mm256_and_si256(load(bulk + j + 32), size));
    }
    a = _mm256_cmpgt_epi16(_mm256_max_epi16(a, b), _mm256_set1_epi16(0x7f7f));
    return _mm256_testz_si256(a, a) != 0;
}

static bool finite_i8(const uint8_t *bytes, size_t count)
{
    __m256i a = _mm256_setzero_si256(), b = a;

    for (size_t j = 0; j < count; j += 64) {
        a = _mm256_min_epi8(a, load(bytes + j));
        b = _mm256_min_epi8(b, load(bytes + j + 32));
    }
    a = _mm256_cmpeq_epi8(_mm256_min_epi8(a, b), _mm256_set1_epi8(INT8_MIN));
    return _mm256_testz_si256(a, a) != 0;
}

const struct sp_values_kernels sp_values_avx2 = {
    .encode_bf16 = encode_bf16,
    .decode_bf16 = decode_bf16,
    .encode_i8 = encode_i8,
    .decode_i8 = decode_i8,
    .finite_f32 = finite_f32,
    .finite_bf16 = finite_bf16,
    .finite_i8 = finite_i8,
};
