/* SPDX-License-Identifier: MIT
 *
 * idot_avx2.c — integer dot products with vpmaddubsw, and the masses that come of them. That
 * instruction wants unsigned times signed, so |q| is multiplied by v carrying q's sign; |q|, |v| <=
 * 127 keeps the 16-bit pair sums from saturating.
 */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* The dots of NI vectors v[] with rows 0..7 and 8..15. Several at once share |q|. */
INLINE void dots(__m256i acc[][2], const int8_t *q, const int8_t *const *v, int64_t dp, int NI)
{
    const __m256i one = _mm256_set1_epi16(1);
    for (int i = 0; i < NI; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    for (int64_t c = 0; c < dp; c += 4) {
        const __m256i *tile = (const __m256i *)(q + c * 16);
        for (int i = 0; i < NI; i++) {
            int32_t word;
            memcpy(&word, v[i] + c, 4);
            for (int h = 0; h < 2; h++) {
                __m256i x = _mm256_load_si256(tile + h);
                __m256i y = _mm256_sign_epi8(_mm256_set1_epi32(word), x);
                __m256i pair = _mm256_maddubs_epi16(_mm256_abs_epi8(x), y);
                acc[i][h] = _mm256_add_epi32(acc[i][h], _mm256_madd_epi16(pair, one));
            }
        }
    }
}

/* Dots of NI vectors into out [NI][16]. */
INLINE void put_dots(int32_t *out, const int8_t *q, const int8_t *const *v, int64_t dp, int NI)
{
    __m256i acc[4][2];
    dots(acc, q, v, dp, NI);
    for (int i = 0; i < NI; i++)
        for (int h = 0; h < 2; h++)
            _mm256_storeu_si256((__m256i *)(out + i * 16 + h * 8), acc[i][h]);
}

/* As in idot_avx512.c. */
#define AHEAD 24

void stk_idot_i8_r16__avx2(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                           const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    (void)sum;
    for (int64_t i = 0; i < n; i += 4) {
        const int8_t *v[4];
        int ni = n - i < 4 ? (int)(n - i) : 4;
        for (int k = 0; k < ni; k++) {
            v[k] = vec + (idx != NULL ? idx[i + k] : i + k) * stride;
            if (idx != NULL && i + k + AHEAD < n)
                for (int64_t c = 0; c < dp; c += 64)
                    _mm_prefetch((const char *)(vec + idx[i + k + AHEAD] * stride + c),
                                 _MM_HINT_T0);
        }
        if (ni == 4)
            put_dots(out + i * 16, q, v, dp, 4);
        else
            for (int k = 0; k < ni; k++)
                put_dots(out + (i + k) * 16, q, v + k, dp, 1);
    }
}

/* Onto the masses of rows 0..7 and 8..15: those of NI vectors, `stride` apart. */
INLINE void add_masses(__m256 total[2], const int8_t *q, const int8_t *vec, int64_t stride,
                       const float *vscale, const float *slope, const float *base, int64_t dp,
                       int NI)
{
    const __m256 zero = _mm256_setzero_ps(), top = _mm256_set1_ps(STK_E_TOP);
    __m256i acc[4][2];
    const int8_t *v[4];
    for (int i = 0; i < NI; i++)
        v[i] = vec + i * stride;
    dots(acc, q, v, dp, NI);
    for (int i = 0; i < NI; i++)
        for (int h = 0; h < 2; h++) {
            __m256 f = _mm256_mul_ps(_mm256_set1_ps(vscale[i]), _mm256_loadu_ps(slope + h * 8));
            __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][h]), f);
            y = _mm256_max_ps(_mm256_add_ps(y, _mm256_loadu_ps(base + h * 8)), zero); /* NaN: 0 */
            y = _mm256_min_ps(y, top);
            total[h] = _mm256_add_ps(total[h], _mm256_castsi256_ps(_mm256_cvttps_epi32(y)));
        }
}

void stk_imass_i8_r16__avx2(float *sum, const int8_t *q, const int8_t *vec, int64_t stride,
                            const int32_t *vsum, const float *vscale, const float *slope,
                            const float *base, int64_t n, int64_t dp)
{
    __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    (void)vsum;
    for (; i + 4 <= n; i += 4)
        add_masses(total, q, vec + i * stride, stride, vscale + i, slope, base, dp, 4);
    for (; i < n; i++)
        add_masses(total, q, vec + i * stride, stride, vscale + i, slope, base, dp, 1);
    _mm256_storeu_ps(sum, total[0]);
    _mm256_storeu_ps(sum + 8, total[1]);
}
