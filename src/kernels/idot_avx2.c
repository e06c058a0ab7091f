/* SPDX-License-Identifier: MIT
 *
 * idot_avx2.c — integer dot products with vpmaddubsw, and the masses that come of them. That
 * instruction wants unsigned times signed, so |q| is multiplied by v carrying q's sign; |q|, |v| <=
 * 127 keeps the 16-bit pair sums from saturating.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

static inline __m256i dot4(__m256i q, __m256i v)
{
    __m256i pair = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(v, q));
    return _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
}

/* The dots of one vector with rows 0..7 and 8..15 */
static inline void dots(__m256i acc[2], const int8_t *q, const int8_t *v, int64_t dp)
{
    acc[0] = acc[1] = _mm256_setzero_si256();
    for (int64_t c = 0; c < dp; c += 4) {
        const __m256i *tile = (const __m256i *)(q + c * 16);
        int32_t word;
        __m256i b;
        memcpy(&word, v + c, 4);
        b = _mm256_set1_epi32(word);
        acc[0] = _mm256_add_epi32(acc[0], dot4(_mm256_load_si256(tile), b));
        acc[1] = _mm256_add_epi32(acc[1], dot4(_mm256_load_si256(tile + 1), b));
    }
}

/* As in idot_avx512.c. */
#define AHEAD 24

void stk_idot_i8_r16__avx2(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                           const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    (void)sum;
    for (int64_t i = 0; i < n; i++) {
        __m256i acc[2];
        if (idx != NULL && i + AHEAD < n)
            for (int64_t c = 0; c < dp; c += 64)
                _mm_prefetch((const char *)(vec + idx[i + AHEAD] * stride + c), _MM_HINT_T0);
        dots(acc, q, vec + (idx != NULL ? idx[i] : i) * stride, dp);
        _mm256_storeu_si256((__m256i *)(out + i * 16), acc[0]);
        _mm256_storeu_si256((__m256i *)(out + i * 16 + 8), acc[1]);
    }
}

void stk_imass_i8_r16__avx2(float *sum, const int8_t *q, const int8_t *vec, int64_t stride,
                            const int32_t *vsum, const float *vscale, const float *slope,
                            const float *base, int64_t n, int64_t dp)
{
    const __m256 zero = _mm256_setzero_ps(), top = _mm256_set1_ps(STK_E_TOP);
    __m256 total[2] = {zero, zero};
    (void)vsum;
    for (int64_t i = 0; i < n; i++) {
        __m256i acc[2];
        dots(acc, q, vec + i * stride, dp);
        for (int h = 0; h < 2; h++) {
            __m256 f = _mm256_mul_ps(_mm256_set1_ps(vscale[i]), _mm256_loadu_ps(slope + h * 8));
            __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[h]), f);
            y = _mm256_max_ps(_mm256_add_ps(y, _mm256_loadu_ps(base + h * 8)), zero); /* NaN: 0 */
            y = _mm256_min_ps(y, top);
            total[h] = _mm256_add_ps(total[h], _mm256_castsi256_ps(_mm256_cvttps_epi32(y)));
        }
    }
    _mm256_storeu_ps(sum, total[0]);
    _mm256_storeu_ps(sum + 8, total[1]);
}
