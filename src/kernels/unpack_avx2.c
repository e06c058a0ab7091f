/* SPDX-License-Identifier: MIT
 *
 * unpack_avx2.c — stored types to F32, 8 elements at a time; the last few in plain C.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

void stk_unpack_f16_row__avx2(float *dst, const void *src, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + i))));
    if (i < n)
        stk_unpack_f16_row__scalar(dst + i, p + i, n - i);
}

void stk_unpack_bf16_row__avx2(float *dst, const void *src, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + i)));
        _mm256_storeu_si256((__m256i *)(dst + i), _mm256_slli_epi32(w, 16));
    }
    if (i < n)
        stk_unpack_bf16_row__scalar(dst + i, p + i, n - i);
}

void stk_unpack_q8_0_row__avx2(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t b = 0; b < n / 32; b++, p += 34) {
        __m256 scale = _mm256_set1_ps(_cvtsh_ss(*(const uint16_t *)p));
        for (int i = 0; i < 32; i += 8) {
            __m128i q = _mm_loadl_epi64((const __m128i *)(p + 2 + i));
            __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
            _mm256_storeu_ps(dst + b * 32 + i, _mm256_mul_ps(scale, f));
        }
    }
}
