/* SPDX-License-Identifier: MIT
 *
 * vector_body.h — the elementwise kernels (max, expsum, softcap, rescale, quant, scale, gauss,
 * bound, fexp, fexp2, lanesum, above, score) as plain loops. vector_scalar.c, vector_avx2.c and
 * vector_avx512.c include this text and differ only in the instructions the compiler may use:
 * without contraction every lane does the same roundings, so the bits agree. Include with ISA
 * defined.
 */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define NAME2(op, isa) stk_##op##__##isa
#define NAME1(op, isa) NAME2(op, isa)
#define NAME(op) NAME1(op, ISA)

/* Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to an integer, ties to even. */
static const float round_magic = 12582912.0f;

/* exp(x) for x <= 0: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial for exp(r), n into the exponent.
 * NaN stays NaN. */
static inline float exp_neg(float x)
{
    float y = x >= -87.0f ? x : -87.0f;
    float n = (y * 1.44269504088896341f + round_magic) - round_magic;
    float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    int32_t bits;
    float two_n;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    bits = ((int32_t)n + 127) << 23;
    memcpy(&two_n, &bits, 4);
    p = p * two_n;
    return x >= -87.0f ? p : x < -87.0f ? 0.0f : x;
}

static inline float max_of(float x, float m)
{
    return x > m ? x : m; /* NaN in x never wins */
}

/* Before a loop over lanes: GCC makes one operation of it only if it has not unrolled it first. */
#define LANES _Pragma("GCC unroll 1")

/* Two maxima, so that one need not wait for the other. */
#define MAX_BODY(R)                                                                                \
    float a[R], b[R];                                                                              \
    int64_t j = 0;                                                                                 \
    memcpy(a, m, sizeof a);                                                                        \
    memcpy(b, m, sizeof b);                                                                        \
    for (; j + 2 <= n; j += 2)                                                                     \
        LANES for (int r = 0; r < R; r++) {                                                        \
            a[r] = max_of(t[j * R + r], a[r]);                                                     \
            b[r] = max_of(t[(j + 1) * R + r], b[r]);                                               \
        }                                                                                          \
    if (j < n)                                                                                     \
        LANES for (int r = 0; r < R; r++)                                                          \
        a[r] = max_of(t[j * R + r], a[r]);                                                         \
    LANES for (int r = 0; r < R; r++)                                                              \
        m[r] = max_of(b[r], a[r]);

void NAME(max_f32_r16)(float *restrict m, const float *restrict t, int64_t n)
{
    MAX_BODY(16)
}
void NAME(max_f32_r32)(float *restrict m, const float *restrict t, int64_t n)
{
    MAX_BODY(32)
}

#define EXPSUM_BODY(R)                                                                             \
    float base[R], acc[R];                                                                         \
    LANES for (int r = 0; r < R; r++) {                                                            \
        base[r] = m[r] == -INFINITY ? 0.0f : m[r];                                                 \
        acc[r] = sum[r];                                                                           \
    }                                                                                              \
    for (int64_t j = 0; j < n; j++)                                                                \
        LANES for (int r = 0; r < R; r++) {                                                        \
            float e = exp_neg(t[j * R + r] - base[r]);                                             \
            t[j * R + r] = e;                                                                      \
            acc[r] += e;                                                                           \
        }                                                                                          \
    LANES for (int r = 0; r < R; r++)                                                              \
        sum[r] = acc[r];

void NAME(expsum_f32_r16)(float *restrict t, float *restrict sum, const float *restrict m,
                          int64_t n)
{
    EXPSUM_BODY(16)
}
void NAME(expsum_f32_r32)(float *restrict t, float *restrict sum, const float *restrict m,
                          int64_t n)
{
    EXPSUM_BODY(32)
}

/* tanh(x) = sign(x) (1 - e) / (1 + e), e = exp(-2 |x|) */
static inline void softcap(float *restrict t, int64_t n, float cap)
{
    for (int64_t i = 0; i < n; i++) {
        float x = t[i] / cap, e = exp_neg(-2.0f * fabsf(x));
        t[i] = cap * copysignf((1.0f - e) / (1.0f + e), x);
    }
}

void NAME(softcap_f32_r16)(float *restrict t, int64_t n, float cap)
{
    softcap(t, n * 16, cap);
}
void NAME(softcap_f32_r32)(float *restrict t, int64_t n, float cap)
{
    softcap(t, n * 32, cap);
}

#define RESCALE_BODY(R)                                                                            \
    for (int64_t j = 0; j < n; j++)                                                                \
        for (int r = 0; r < R; r++)                                                                \
            t[j * R + r] *= f[r];

void NAME(rescale_f32_r16)(float *restrict t, const float *restrict f, int64_t n)
{
    RESCALE_BODY(16)
}
void NAME(rescale_f32_r32)(float *restrict t, const float *restrict f, int64_t n)
{
    RESCALE_BODY(32)
}

static inline float finite_or_0(float x)
{
    return fabsf(x) <= 3.402823466e38f ? x : 0.0f;
}

void NAME(quant_i8_row)(int8_t *restrict out, float *restrict scale, int32_t *restrict sum,
                        const float *restrict x, int64_t d)
{
    float lane[16] = {0}, a = 0.0f, inv;
    int32_t total = 0;
    int64_t whole = d / 16 * 16;
    for (int64_t c = 0; c < whole; c += 16)
        LANES for (int l = 0; l < 16; l++)
            lane[l] = max_of(fabsf(finite_or_0(x[c + l])), lane[l]);
    for (int64_t c = whole; c < d; c++)
        lane[0] = max_of(fabsf(finite_or_0(x[c])), lane[0]);
    for (int l = 0; l < 16; l++)
        a = max_of(lane[l], a);
    inv = a > 0.0f ? 127.0f / a : 0.0f;
    if (inv > 3.402823466e38f) /* a is so small that 127 / a overflows */
        inv = a = 0.0f;
    for (int64_t c = 0; c < d; c++) {
        float y = (finite_or_0(x[c]) * inv + round_magic) - round_magic;
        out[c] = (int8_t)(int32_t)y;
        total += (int32_t)y;
    }
    *scale = a / 127.0f;
    *sum = total;
}

void NAME(scale_i32_r16)(float *restrict t, const int32_t *restrict dot,
                         const float *restrict vscale, const int32_t *restrict idx,
                         const float *restrict rscale, const float *restrict rbase, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = vscale[idx != NULL ? idx[i] : i];
        for (int r = 0; r < 16; r++)
            t[i * 16 + r] = (float)dot[i * 16 + r] * (s * rscale[r]) + rbase[r];
    }
}

void NAME(gauss_i32_r16)(float *restrict t, const int32_t *restrict dot,
                         const float *restrict vscale, const float *restrict var,
                         const int32_t *restrict idx, const float *restrict rscale,
                         const float *restrict rbase, const float *restrict q2,
                         const float *restrict q2_root, int64_t n, float ln_b)
{
    float two_l = 2.0f * ln_b;
    for (int64_t i = 0; i < n; i++) {
        float s = vscale[idx[i]], v = var[idx[i]], root = sqrtf(two_l * v);
        for (int r = 0; r < 16; r++) {
            float x = (float)dot[i * 16 + r] * (s * rscale[r]) + rbase[r];
            float s2 = v * q2[r], normal = ln_b + s2 * 0.5f, capped = root * q2_root[r];
            t[i * 16 + r] = x + (s2 < two_l ? normal : capped);
        }
    }
}

void NAME(bound_i32_r16)(float *restrict t, const int32_t *restrict mid,
                         const float *restrict mid_scale, const int32_t *restrict half,
                         const float *restrict half_scale, const int32_t *restrict idx,
                         const float *restrict rscale, const float *restrict rbase, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float sm = mid_scale[idx[i]], sh = half_scale[idx[i]];
        for (int r = 0; r < 16; r++) {
            float x = (float)mid[i * 16 + r] * (sm * rscale[r]) + rbase[r];
            t[i * 16 + r] = x + (float)half[i * 16 + r] * (sh * rscale[r]);
        }
    }
}

void NAME(fexp_f32_r16)(float *restrict t, const float *restrict m, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < 16; r++)
            t[i * 16 + r] = stk_e((t[i * 16 + r] - m[r]) * STK_E_SLOPE + STK_E_ONE);
}

void NAME(fexp2_f32_r16)(float *restrict t, const float *restrict u, const float *restrict m,
                         int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < 16; r++) {
            float x = stk_e((t[i * 16 + r] - m[r]) * STK_E_SLOPE + STK_E_ONE);
            t[i * 16 + r] = x + stk_e((u[i * 16 + r] - m[r]) * STK_E_SLOPE + STK_E_ONE);
        }
}

void NAME(lanesum_f32_r16)(float *restrict sum, const float *restrict t, int64_t n)
{
    float acc[16];
    memcpy(acc, sum, sizeof acc);
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < 16; r++)
            acc[r] += t[i * 16 + r];
    memcpy(sum, acc, sizeof acc);
}

int64_t NAME(above_i32_row)(const int32_t *x, int32_t limit, int64_t n)
{
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += x[i] > limit;
    return count;
}

/* The first steps of a score: y[r] of r and r + 4, + 8, + 12. Each is a loop by itself: one loop
 * over them is not vectorised. */
static inline void score_steps(float *restrict y, const float *restrict p, const float *restrict w)
{
    float x[16];
    for (int r = 0; r < 16; r++)
        x[r] = p[r] * w[r];
    for (int r = 0; r < 8; r++)
        x[r] += x[r + 8];
    for (int r = 0; r < 4; r++)
        y[r] = x[r] + x[r + 4];
}

static inline float last_steps(const float *y)
{
    return (y[0] + y[2]) + (y[1] + y[3]);
}

/* 16 items at a time, for the last steps to be vectorised over them. */
void NAME(score_f32_r16)(float *restrict score, const float *restrict p, const float *restrict w,
                         int64_t n)
{
    float y[16 * 4];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++)
            score_steps(y + 4 * j, p + (i + j) * 16, w);
        for (int j = 0; j < 16; j++)
            score[i + j] = last_steps(y + 4 * j);
    }
    for (; i < n; i++) {
        score_steps(y, p + i * 16, w);
        score[i] = last_steps(y);
    }
}
