/* SPDX-License-Identifier: MIT
 *
 * unpack_avx512.c — stored types to F32, 16 elements at a time; the last few in plain C.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

void stk_unpack_f16_row__avx512(float *dst, const void *src, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + i))));
    if (i < n)
        stk_unpack_f16_row__scalar(dst + i, p + i, n - i);
}

void stk_unpack_bf16_row__avx512(float *dst, const void *src, int64_t n)
{
    const uint16_t *p = src;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p + i)));
        _mm512_storeu_si512(dst + i, _mm512_slli_epi32(w, 16));
    }
    if (i < n)
        stk_unpack_bf16_row__scalar(dst + i, p + i, n - i);
}

void stk_unpack_q8_0_row__avx512(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t b = 0; b < n / 32; b++, p += 34) {
        __m512 scale = _mm512_set1_ps(_cvtsh_ss(*(const uint16_t *)p));
        for (int i = 0; i < 32; i += 16) {
            __m128i q = _mm_loadu_si128((const __m128i *)(p + 2 + i));
            __m512 f = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
            _mm512_storeu_ps(dst + b * 32 + i, _mm512_mul_ps(scale, f));
        }
    }
}
