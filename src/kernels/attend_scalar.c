/* SPDX-License-Identifier: MIT
 *
 * attend_scalar.c — qk and pv in plain C: the specification of the vector forms.
 */
#include "kernels/kernels.h"

static inline void qk(float *restrict s, const float *restrict qt, const float *restrict k,
                      int64_t n_key, int64_t d, int64_t ldk, int R)
{
    for (int64_t j = 0; j < n_key; j++) {
        float acc[32] = {0};
        for (int64_t c = 0; c < d; c++)
            for (int r = 0; r < R; r++)
                acc[r] += qt[c * R + r] * k[j * ldk + c];
        for (int r = 0; r < R; r++)
            s[j * R + r] = acc[r];
    }
}

static inline void pv(float *restrict o, const float *restrict p, const float *restrict v,
                      int64_t n_key, int64_t d, int64_t ldv, int R)
{
    for (int64_t j = 0; j < n_key; j++)
        for (int64_t c = 0; c < d; c++)
            for (int r = 0; r < R; r++)
                o[c * R + r] += p[j * R + r] * v[j * ldv + c];
}

void stk_qk_f32_r16__scalar(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                            int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 16);
}
void stk_qk_f32_r32__scalar(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                            int64_t ldk)
{
    qk(s, qt, k, n_key, d, ldk, 32);
}
void stk_pv_f32_r16__scalar(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                            int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 16);
}
void stk_pv_f32_r32__scalar(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                            int64_t ldv)
{
    pv(o, p, v, n_key, d, ldv, 32);
}
