/* SPDX-License-Identifier: MIT
 *
 * attend_avx512.c — qk and pv with rows in the lanes of 512-bit vectors.
 *
 * Register blocking: 8 keys (or channels) times NV row vectors are held in accumulators while the
 * other index runs; one broadcast feeds NV fused multiply-adds. K and V are read as they lie, no
 * transpose.
 */
#include <immintrin.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* NK keys at once */
INLINE void qk_keys(float *s, const float *qt, const float *k, int64_t d, int64_t ldk, int NK,
                    int NV)
{
    __m512 acc[8][2];
    for (int j = 0; j < NK; j++)
        for (int v = 0; v < NV; v++)
            acc[j][v] = _mm512_setzero_ps();
    for (int64_t c = 0; c < d; c++) {
        __m512 q[2];
        for (int v = 0; v < NV; v++)
            q[v] = _mm512_load_ps(qt + (c * NV + v) * 16);
        for (int j = 0; j < NK; j++) {
            __m512 b = _mm512_set1_ps(k[j * ldk + c]);
            for (int v = 0; v < NV; v++)
                acc[j][v] = _mm512_fmadd_ps(q[v], b, acc[j][v]);
        }
    }
    for (int j = 0; j < NK; j++)
        for (int v = 0; v < NV; v++)
            _mm512_store_ps(s + (j * NV + v) * 16, acc[j][v]);
}

INLINE void qk(float *s, const float *qt, const float *k, int64_t n_key, int64_t d, int64_t ldk,
               int NV)
{
    int64_t j = 0;
    for (; j + 8 <= n_key; j += 8)
        qk_keys(s + j * NV * 16, qt, k + j * ldk, d, ldk, 8, NV);
    for (; j < n_key; j++)
        qk_keys(s + j * NV * 16, qt, k + j * ldk, d, ldk, 1, NV);
}

/* NC channels at once */
INLINE void pv_channels(float *o, const float *p, const float *v, int64_t n_key, int64_t ldv,
                        int NC, int NV)
{
    __m512 acc[8][2];
    for (int c = 0; c < NC; c++)
        for (int i = 0; i < NV; i++)
            acc[c][i] = _mm512_load_ps(o + (c * NV + i) * 16);
    for (int64_t j = 0; j < n_key; j++) {
        __m512 w[2];
        for (int i = 0; i < NV; i++)
            w[i] = _mm512_load_ps(p + (j * NV + i) * 16);
        for (int c = 0; c < NC; c++) {
            __m512 b = _mm512_set1_ps(v[j * ldv + c]);
            for (int i = 0; i < NV; i++)
                acc[c][i] = _mm512_fmadd_ps(w[i], b, acc[c][i]);
        }
    }
    for (int c = 0; c < NC; c++)
        for (int i = 0; i < NV; i++)
            _mm512_store_ps(o + (c * NV + i) * 16, acc[c][i]);
}

INLINE void pv(float *o, const float *p, const float *v, int64_t n_key, int64_t d, int64_t ldv,
               int NV)
{
    int64_t c = 0;
    for (; c + 8 <= d; c += 8)
        pv_channels(o + c * NV * 16, p, v + c, n_key, ldv, 8, NV);
    for (; c < d; c++)
        pv_channels(o + c * NV * 16, p, v + c, n_key, ldv, 1, NV);
}

void stk_qk_f32_r16__avx512(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                            int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 1);
}
void stk_qk_f32_r32__avx512(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                            int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 2);
}
void stk_pv_f32_r16__avx512(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                            int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 1);
}
void stk_pv_f32_r32__avx512(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                            int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 2);
}
