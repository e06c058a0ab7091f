/* SPDX-License-Identifier: MIT
 *
 * idot_avx512.c — integer dot products with VNNI, and the masses that come of them. vpdpbusd wants
 * unsigned times signed: the tile is shifted by 128 as it is loaded, and 128 times the vector's sum
 * is taken off. The dots of 8 (idot) or 16 vectors (imass) lie in registers while the channels
 * stream by, each word of a vector broadcast from memory; of imass no dot is stored.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* acc += q . the word at v, for all 16 rows. Not the intrinsic: with it GCC 12 copies accumulators.
 */
INLINE void dot4(__m512i *acc, __m512i q, const int8_t *v)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*acc) : "v"(q), "m"(*(const int32_t(*)[1])v));
}

/* Four channels of the tile, shifted */
INLINE __m512i word(const int8_t *q, int64_t c)
{
    return _mm512_xor_si512(_mm512_load_si512(q + c * 16), _mm512_set1_epi8((char)0x80));
}

/* The dots of NI vectors v[] with all rows. Even and odd words have sums of their own: eight chains
 * would wait for themselves. */
INLINE void dots(int32_t *out, const int8_t *q, const int8_t *const *v, const int32_t *sum,
                 int64_t dp, int NI)
{
    __m512i acc[8][2];
    int64_t c = 0;
    for (int i = 0; i < NI; i++) {
        acc[i][0] = _mm512_set1_epi32(-128 * sum[i]);
        acc[i][1] = _mm512_setzero_si512();
    }
    for (; c + 8 <= dp; c += 8) {
        __m512i even = word(q, c), odd = word(q, c + 4);
        for (int i = 0; i < NI; i++) {
            dot4(&acc[i][0], even, v[i] + c);
            dot4(&acc[i][1], odd, v[i] + c + 4);
        }
    }
    if (c < dp)
        for (int i = 0; i < NI; i++)
            dot4(&acc[i][0], word(q, c), v[i] + c);
    for (int i = 0; i < NI; i++)
        _mm512_storeu_si512(out + i * 16, _mm512_add_epi32(acc[i][0], acc[i][1]));
}

/* Vectors are gathered from all over: what comes after the next ones is asked for (a prefetch never
 * faults). */
#define AHEAD 24

void stk_idot_i8_r16__avx512(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                             const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    for (int64_t i = 0; i < n; i += 8) {
        const int8_t *v[8];
        int32_t s[8];
        int ni = n - i < 8 ? (int)(n - i) : 8;
        for (int k = 0; k < ni; k++) {
            int64_t id = idx != NULL ? idx[i + k] : i + k;
            v[k] = vec + id * stride;
            s[k] = sum[id];
            if (idx != NULL && i + k + AHEAD < n)
                for (int64_t c = 0; c < dp; c += 64)
                    _mm_prefetch((const char *)(vec + idx[i + k + AHEAD] * stride + c),
                                 _MM_HINT_T0);
        }
        if (ni == 8)
            dots(out + i * 16, q, v, s, dp, 8);
        else
            for (int k = 0; k < ni; k++)
                dots(out + (i + k) * 16, q, v + k, s + k, dp, 1);
    }
}

/* E's argument to E, and onto the sum */
INLINE __m512 add_e(__m512 sum, __m512i dot, float vscale, __m512 slope, __m512 base)
{
    __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(_mm512_set1_ps(vscale), slope));
    y = _mm512_max_ps(_mm512_add_ps(y, base), _mm512_setzero_ps()); /* NaN: 0 */
    y = _mm512_min_ps(y, _mm512_set1_ps(STK_E_TOP));
    return _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_cvttps_epi32(y)));
}

/* NI vectors, `stride` apart. */
INLINE __m512 mass_of(__m512 sum, const int8_t *q, const int8_t *vec, int64_t stride,
                      const int32_t *vsum, const float *vscale, __m512 slope, __m512 base,
                      int64_t dp, int NI)
{
    __m512i acc[16];
    for (int i = 0; i < NI; i++)
        acc[i] = _mm512_set1_epi32(-128 * vsum[i]);
    for (int64_t c = 0; c < dp; c += 4) {
        __m512i x = word(q, c);
        for (int i = 0; i < NI; i++)
            dot4(&acc[i], x, vec + i * stride + c);
    }
    for (int i = 0; i < NI; i++)
        sum = add_e(sum, acc[i], vscale[i], slope, base);
    return sum;
}

INLINE void mass(float *out, const int8_t *q, const int8_t *vec, int64_t stride,
                 const int32_t *vsum, const float *vscale, const float *slope, const float *base,
                 int64_t n, int64_t dp)
{
    __m512 sum = _mm512_setzero_ps(), a = _mm512_loadu_ps(slope), b = _mm512_loadu_ps(base);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        sum = mass_of(sum, q, vec + i * stride, stride, vsum + i, vscale + i, a, b, dp, 16);
    for (; i + 4 <= n; i += 4)
        sum = mass_of(sum, q, vec + i * stride, stride, vsum + i, vscale + i, a, b, dp, 4);
    for (; i < n; i++)
        sum = mass_of(sum, q, vec + i * stride, stride, vsum + i, vscale + i, a, b, dp, 1);
    _mm512_storeu_ps(out, sum);
}

/* The usual widths by name: vectors at fixed distances need no registers for their addresses. */
void stk_imass_i8_r16__avx512(float *out, const int8_t *q, const int8_t *vec, int64_t stride,
                              const int32_t *vsum, const float *vscale, const float *slope,
                              const float *base, int64_t n, int64_t dp)
{
    if (dp == 64 && stride == 64)
        mass(out, q, vec, 64, vsum, vscale, slope, base, n, 64);
    else if (dp == 128 && stride == 128)
        mass(out, q, vec, 128, vsum, vscale, slope, base, n, 128);
    else
        mass(out, q, vec, stride, vsum, vscale, slope, base, n, dp);
}
