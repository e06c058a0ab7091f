/* SPDX-License-Identifier: MIT
 *
 * attend_avx2.c — qk and pv with rows in the lanes of 256-bit vectors. Sixteen registers allow two
 * row vectors times six keys (or channels) at once; a tile of 16 or 32 rows is walked in strips
 * of 16.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define BLOCK 6

/* NK keys against the 16 rows at qt, of a tile R wide */
INLINE void qk_keys(float *s, const float *qt, const float *k, int64_t d, int64_t ldk, int NK,
                    int R)
{
    __m256 acc[BLOCK][2];
    for (int j = 0; j < NK; j++)
        acc[j][0] = acc[j][1] = _mm256_setzero_ps();
    for (int64_t c = 0; c < d; c++) {
        __m256 q0 = _mm256_load_ps(qt + c * R), q1 = _mm256_load_ps(qt + c * R + 8);
        for (int j = 0; j < NK; j++) {
            __m256 b = _mm256_broadcast_ss(k + j * ldk + c);
            acc[j][0] = _mm256_fmadd_ps(q0, b, acc[j][0]);
            acc[j][1] = _mm256_fmadd_ps(q1, b, acc[j][1]);
        }
    }
    for (int j = 0; j < NK; j++) {
        _mm256_store_ps(s + j * R, acc[j][0]);
        _mm256_store_ps(s + j * R + 8, acc[j][1]);
    }
}

INLINE void qk(float *s, const float *qt, const float *k, int64_t n_key, int64_t d, int64_t ldk,
               int R)
{
    for (int strip = 0; strip < R; strip += 16) {
        int64_t j = 0;
        for (; j + BLOCK <= n_key; j += BLOCK)
            qk_keys(s + j * R + strip, qt + strip, k + j * ldk, d, ldk, BLOCK, R);
        for (; j + 2 <= n_key; j += 2)
            qk_keys(s + j * R + strip, qt + strip, k + j * ldk, d, ldk, 2, R);
        for (; j < n_key; j++)
            qk_keys(s + j * R + strip, qt + strip, k + j * ldk, d, ldk, 1, R);
    }
}

/* NC channels for the 16 rows at o, of a tile R wide */
INLINE void pv_channels(float *o, const float *p, const float *v, int64_t n_key, int64_t ldv,
                        int NC, int R)
{
    __m256 acc[BLOCK][2];
    for (int c = 0; c < NC; c++) {
        acc[c][0] = _mm256_load_ps(o + c * R);
        acc[c][1] = _mm256_load_ps(o + c * R + 8);
    }
    for (int64_t j = 0; j < n_key; j++) {
        __m256 w0 = _mm256_load_ps(p + j * R), w1 = _mm256_load_ps(p + j * R + 8);
        for (int c = 0; c < NC; c++) {
            __m256 b = _mm256_broadcast_ss(v + j * ldv + c);
            acc[c][0] = _mm256_fmadd_ps(w0, b, acc[c][0]);
            acc[c][1] = _mm256_fmadd_ps(w1, b, acc[c][1]);
        }
    }
    for (int c = 0; c < NC; c++) {
        _mm256_store_ps(o + c * R, acc[c][0]);
        _mm256_store_ps(o + c * R + 8, acc[c][1]);
    }
}

INLINE void pv(float *o, const float *p, const float *v, int64_t n_key, int64_t d, int64_t ldv,
               int R)
{
    for (int strip = 0; strip < R; strip += 16) {
        int64_t c = 0;
        for (; c + BLOCK <= d; c += BLOCK)
            pv_channels(o + c * R + strip, p + strip, v + c, n_key, ldv, BLOCK, R);
        for (; c + 2 <= d; c += 2)
            pv_channels(o + c * R + strip, p + strip, v + c, n_key, ldv, 2, R);
        for (; c < d; c++)
            pv_channels(o + c * R + strip, p + strip, v + c, n_key, ldv, 1, R);
    }
}

void stk_qk_f32_r16__avx2(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                          int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 16);
}
void stk_qk_f32_r32__avx2(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                          int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 32);
}
void stk_pv_f32_r16__avx2(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                          int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 16);
}
void stk_pv_f32_r32__avx2(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                          int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 32);
}
