/* SPDX-License-Identifier: MIT
 *
 * idot_avx2.c — integer dot products with vpmaddubsw. That instruction wants unsigned times signed,
 * so |q| is multiplied by v carrying q's sign; |q|, |v| <= 127 keeps the 16-bit pair sums from
 * saturating.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

static inline __m256i dot4(__m256i q, __m256i v)
{
    __m256i pair = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(v, q));
    return _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
}

void stk_idot_i8_r16__avx2(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                           const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    (void)sum;
    for (int64_t i = 0; i < n; i++) {
        const int8_t *v = vec + (idx != NULL ? idx[i] : i) * stride;
        __m256i acc0 = _mm256_setzero_si256(), acc1 = acc0;
        for (int64_t c = 0; c < dp; c += 4) {
            const __m256i *tile = (const __m256i *)(q + c * 16);
            int32_t word;
            __m256i b;
            memcpy(&word, v + c, 4);
            b = _mm256_set1_epi32(word);
            acc0 = _mm256_add_epi32(acc0, dot4(_mm256_load_si256(tile), b));
            acc1 = _mm256_add_epi32(acc1, dot4(_mm256_load_si256(tile + 1), b));
        }
        _mm256_storeu_si256((__m256i *)(out + i * 16), acc0);
        _mm256_storeu_si256((__m256i *)(out + i * 16 + 8), acc1);
    }
}
