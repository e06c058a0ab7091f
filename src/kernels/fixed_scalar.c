/* SPDX-License-Identifier: MIT
 *
 * fixed_scalar.c — attention in 16-bit fixed point in plain C: the specification of the vector
 * forms.
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"
#include "kernels/kernels.h"

/* peak / a; 0 where it cannot be had: a = 0 or so small that it overflows */
static float inverse(float peak, float a)
{
    float inv = a > 0.0f ? peak / a : 0.0f;
    return inv <= STK_FLT_MAX ? inv : 0.0f;
}

enum stored { STORED_f32, STORED_f16, STORED_bf16, STORED_q8_0 };

/* Element c of a vector as it is stored */
static inline float element(const void *x, enum stored type, int64_t c)
{
    const char *p = x;
    uint16_t h;
    float f;
    if (type == STORED_f32) {
        memcpy(&f, p + 4 * c, 4);
        return f;
    }
    memcpy(&h, type == STORED_q8_0 ? p + c / 32 * 34 : p + 2 * c, 2);
    if (type == STORED_bf16)
        return sti_bf16_f32(h);
    f = sti_f16_f32(h);
    return type == STORED_q8_0 ? f * (float)(int8_t)p[c / 32 * 34 + 2 + c % 32] : f;
}

static inline void packk(int16_t *out, float *scale, const void *x, enum stored type, int64_t d)
{
    float lane[16] = {0}, norm, inv;
    for (int64_t c = 0; c < d; c++)
        lane[c % 16] += element(x, type, c) * element(x, type, c);
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    norm = sqrtf(lane[0]);
    if (!(norm <= STK_FLT_MAX)) {
        memset(out, 0, (size_t)d * sizeof *out);
        *scale = NAN;
        return;
    }
    inv = inverse(32700.0f, norm);
    for (int64_t c = 0; c < d; c++)
        out[c] = (int16_t)rintf(element(x, type, c) * inv);
    *scale = inv > 0.0f ? norm / 32700.0f : 0.0f;
}

static inline void packv(int16_t *out, float *scale, const char *x, enum stored type, int64_t n,
                         int64_t d, int64_t stride_bytes)
{
    for (int64_t c = 0; c < d; c++) {
        float v[STK_GROUP] = {0}, a = 0.0f, inv;
        bool finite = true;
        for (int64_t j = 0; j < n; j++) {
            v[j] = element(x + j * stride_bytes, type, c);
            a = fabsf(v[j]) > a ? fabsf(v[j]) : a;
            finite = finite && fabsf(v[j]) <= STK_FLT_MAX;
        }
        inv = finite ? inverse(4095.0f, a) : 0.0f;
        for (int64_t j = 0; j < STK_GROUP; j++)
            out[(j / 2 * d + c) * 2 + j % 2] = finite ? (int16_t)rintf(v[j] * inv) : 0;
        scale[c] = !finite ? NAN : inv > 0.0f ? a / (4095.0f * 32767.0f) : 0.0f;
    }
}

#define PACK(type)                                                                                 \
    void stk_packk_##type##_row__scalar(int16_t *out, float *scale, const void *x, int64_t d)      \
    {                                                                                              \
        packk(out, scale, x, STORED_##type, d);                                                    \
    }                                                                                              \
    void stk_packv_##type##_g16__scalar(int16_t *out, float *scale, const void *x, int64_t n,      \
                                        int64_t d, int64_t stride_bytes)                           \
    {                                                                                              \
        packv(out, scale, x, STORED_##type, n, d, stride_bytes);                                   \
    }

PACK(f32)
PACK(f16)
PACK(bf16)
PACK(q8_0)

static inline void iqk(float *restrict s, const int16_t *restrict q, const float *restrict qscale,
                       const int16_t *restrict k, const float *restrict kscale, int64_t dp, int R)
{
    for (int j = 0; j < STK_GROUP; j++) {
        int32_t acc[32] = {0};
        for (int64_t c = 0; c < dp; c++)
            for (int r = 0; r < R; r++)
                acc[r] += q[(c / 2 * R + r) * 2 + c % 2] * k[j * dp + c];
        for (int r = 0; r < R; r++)
            s[j * R + r] = (float)acc[r] * (kscale[j] * qscale[r]);
    }
}

static inline void prob(int16_t *restrict p, float *restrict max, float *restrict sum,
                        const float *restrict s, int R)
{
    for (int r = 0; r < R; r++) {
        float m = -INFINITY;
        for (int j = 0; j < STK_GROUP; j++)
            m = s[j * R + r] > m ? s[j * R + r] : m;
        max[r] = m;
        sum[r] = 0.0f;
        for (int j = 0; j < STK_GROUP; j++) {
            float x = s[j * R + r] - (m == -INFINITY ? 0.0f : m);
            float e = expf(x < -30.0f ? -30.0f : x) * 32767.0f;
            p[(j / 2 * R + r) * 2 + j % 2] = isnan(e) ? 0 : (int16_t)rintf(e);
            sum[r] += e;
        }
    }
}

static inline void ipv(float *restrict o, const int16_t *restrict p, const float *restrict f,
                       const int16_t *restrict v, const float *restrict vscale, int64_t d, int R)
{
    for (int64_t c = 0; c < d; c++)
        for (int r = 0; r < R; r++) {
            int32_t acc = 0;
            for (int j = 0; j < STK_GROUP; j++)
                acc += p[(j / 2 * R + r) * 2 + j % 2] * v[(j / 2 * d + c) * 2 + j % 2];
            o[c * R + r] += (float)acc * (vscale[c] * f[r]);
        }
}

static inline void keysum(float *restrict sum, const int16_t *restrict p, const float *restrict f,
                          int64_t first, int64_t end, int R)
{
    int32_t acc[32] = {0};
    for (int64_t j = first; j < end; j++)
        for (int r = 0; r < R; r++)
            acc[r] += p[(j / 2 * R + r) * 2 + j % 2];
    for (int r = 0; r < R; r++)
        sum[r] = (float)acc[r] * f[r];
}

#define FORMS(R)                                                                                   \
    void stk_iqk_i16_r##R##__scalar(float *s, const int16_t *q, const float *qscale,               \
        const int16_t *k, const float *kscale, int64_t dp,                                         \
        const int16_t *ahead)                                                                      \
    {                                                                                              \
        (void)ahead;                                                                               \
        iqk(s, q, qscale, k, kscale, dp, R);                                                       \
    }                                                                                              \
    void stk_prob_i16_r##R##__scalar(int16_t *p, float *max, float *sum, const float *s)           \
    {                                                                                              \
        prob(p, max, sum, s, R);                                                                   \
    }                                                                                              \
    void stk_ipv_i16_r##R##__scalar(float *o, const int16_t *p, const float *f, const int16_t *v,  \
        const float *vscale, int64_t d, const int16_t *ahead)                                      \
    {                                                                                              \
        (void)ahead;                                                                               \
        ipv(o, p, f, v, vscale, d, R);                                                             \
    }                                                                                              \
    void stk_keysum_i16_r##R##__scalar(float *sum, const int16_t *p, const float *f,               \
                                       int64_t first, int64_t end)                                 \
    {                                                                                              \
        keysum(sum, p, f, first, end, R);                                                          \
    }

FORMS(16)
FORMS(32)

int64_t stk_peak_i16_row__scalar(int64_t rounds, int32_t *sink)
{
    uint32_t acc[16] = {0};
    for (int64_t i = 0; i < rounds; i++)
        for (int r = 0; r < 16; r++)
            acc[r] += (uint32_t)((int32_t)(int16_t)i * 3);
    for (int r = 1; r < 16; r++)
        acc[0] += acc[r];
    *sink = (int32_t)acc[0];
    return rounds * 16;
}
