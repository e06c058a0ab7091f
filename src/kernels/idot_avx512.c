/* SPDX-License-Identifier: MIT
 *
 * idot_avx512.c — integer dot products with VNNI, and the masses that come of them. vpdpbusd wants
 * unsigned times signed: the tile is shifted by 128 as it is loaded, and 128 times the vector's sum
 * is taken off. idot holds 64 channels of the tile in 16 registers while eight vectors stream by;
 * imass holds the dots of 16 vectors and lets the channels stream by, so that no dot is stored.
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

/* NW words (4 channels each) of NI vectors, added to out (or to the offset correction if `first`)
 */
INLINE void chunk(int32_t *out, const __m512i *q, const int8_t *const *v, const int32_t *sum,
                  int NW, int NI, int first)
{
    __m512i acc[8];
    for (int i = 0; i < NI; i++)
        acc[i] = first ? _mm512_set1_epi32(-128 * sum[i]) : _mm512_loadu_si512(out + i * 16);
    for (int w = 0; w < NW; w++)
        for (int i = 0; i < NI; i++)
            dot4(&acc[i], q[w], v[i] + 4 * w);
    for (int i = 0; i < NI; i++)
        _mm512_storeu_si512(out + i * 16, acc[i]);
}

/* All n vectors against NW words of the tile starting at channel c. */
INLINE void strip(int32_t *out, const int8_t *tile, const int8_t *vec, int64_t stride,
                  const int32_t *sum, const int32_t *idx, int64_t n, int64_t c, int NW)
{
    __m512i q[16];
    int64_t i = 0;
    for (int w = 0; w < NW; w++)
        q[w] = _mm512_xor_si512(_mm512_load_si512(tile + (c + 4 * w) * 16),
                                _mm512_set1_epi8((char)0x80));
    for (; i < n; i += 8) {
        const int8_t *v[8];
        int32_t s[8];
        int ni = n - i < 8 ? (int)(n - i) : 8;
        for (int k = 0; k < ni; k++) {
            int64_t id = idx != NULL ? idx[i + k] : i + k;
            v[k] = vec + id * stride + c;
            s[k] = sum[id];
        }
        if (ni == 8)
            chunk(out + i * 16, q, v, s, NW, 8, c == 0);
        else
            for (int k = 0; k < ni; k++)
                chunk(out + (i + k) * 16, q, v + k, s + k, NW, 1, c == 0);
    }
}

void stk_idot_i8_r16__avx512(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                             const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    int64_t c = 0;
    for (; c + 64 <= dp; c += 64)
        strip(out, q, vec, stride, sum, idx, n, c, 16);
    for (; c + 16 <= dp; c += 16)
        strip(out, q, vec, stride, sum, idx, n, c, 4);
    for (; c < dp; c += 4)
        strip(out, q, vec, stride, sum, idx, n, c, 1);
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
    const __m512i shift = _mm512_set1_epi8((char)0x80);
    __m512i acc[16];
    for (int i = 0; i < NI; i++)
        acc[i] = _mm512_set1_epi32(-128 * vsum[i]);
    for (int64_t c = 0; c < dp; c += 4) {
        __m512i x = _mm512_xor_si512(_mm512_load_si512(q + c * 16), shift);
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
