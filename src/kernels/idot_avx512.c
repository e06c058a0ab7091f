/* SPDX-License-Identifier: MIT
 *
 * idot_avx512.c — integer dot products with VNNI. vpdpbusd wants unsigned times signed: the tile is
 * shifted by 128 as it is loaded, and 128 times the vector's sum is taken off. 64 channels of the
 * tile stay in 16 registers while eight vectors stream by, each word broadcast from memory.
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
