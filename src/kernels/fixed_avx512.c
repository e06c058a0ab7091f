/* SPDX-License-Identifier: MIT
 *
 * fixed_avx512.c — attention in 16-bit fixed point with VNNI: vpdpwssd multiplies two channels (or
 * keys) of 16 rows and adds both products to a 32-bit lane, twice the rate of a fused multiply-add.
 *
 * iqk holds 8 keys times NV row vectors in accumulators. ipv holds the probabilities of all 16 keys
 * in registers and lets 4 channels stream by.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Two neighbouring 16-bit values in every lane */
INLINE __m512i pair(const int16_t *x)
{
    int32_t w;
    memcpy(&w, x, 4);
    return _mm512_set1_epi32(w);
}

INLINE __m512i rounded(__m512 x)
{
    return _mm512_cvt_roundps_epi32(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

enum stored { STORED_f32, STORED_f16, STORED_bf16, STORED_q8_0 };

/* Elements c to c + 15 of a vector of d as it is stored, zeros behind its end; 16 divides c */
INLINE __m512 elements(const char *x, enum stored type, int64_t c, int64_t d)
{
    __mmask16 lanes = d - c >= 16 ? 0xffff : (__mmask16)((1u << (d - c)) - 1);
    __m256i h;
    uint16_t scale;
    if (type == STORED_f32)
        return _mm512_maskz_loadu_ps(lanes, (const float *)x + c);
    if (type == STORED_q8_0) {
        x += c / 32 * 34;
        memcpy(&scale, x, 2);
        __m128i q = _mm_loadu_si128((const __m128i *)(x + 2 + c % 32));
        return _mm512_mul_ps(_mm512_set1_ps(_cvtsh_ss(scale)),
                             _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)));
    }
    h = _mm256_maskz_loadu_epi16(lanes, x + 2 * c);
    return type == STORED_f16
               ? _mm512_cvtph_ps(h)
               : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* False: all 0, too small or not finite: the plain kernel knows. */
INLINE bool packk(int16_t *out, float *scale, const char *x, enum stored type, int64_t d)
{
    __m512 sum = _mm512_setzero_ps();
    __m256 h;
    __m128 q;
    float norm, inv;
    for (int64_t c = 0; c < d; c += 16) {
        __m512 v = elements(x, type, c, d);
        sum = _mm512_add_ps(sum, _mm512_mul_ps(v, v));
    }
    h = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
    q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    norm = sqrtf(_mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q))));
    if (!(norm > 0.0f && norm <= STK_FLT_MAX && 32700.0f / norm <= STK_FLT_MAX))
        return false;
    inv = 32700.0f / norm;
    for (int64_t c = 0; c < d; c += 16) {
        __m512i v = rounded(_mm512_mul_ps(elements(x, type, c, d), _mm512_set1_ps(inv)));
        _mm256_mask_storeu_epi16(out + c, d - c >= 16 ? 0xffff : (__mmask16)((1u << (d - c)) - 1),
                                 _mm512_cvtepi32_epi16(v));
    }
    *scale = norm / 32700.0f;
    return true;
}

INLINE void packv(int16_t *out, float *scale, const char *x, enum stored type, int64_t n, int64_t d,
                  int64_t stride_bytes)
{
    const __m512 largest = _mm512_set1_ps(STK_FLT_MAX), zero = _mm512_setzero_ps();
    for (int64_t c = 0; c < d; c += 16) {
        __mmask16 lanes = d - c >= 16 ? 0xffff : (__mmask16)((1u << (d - c)) - 1), good = 0xffff;
        __m512 v[STK_GROUP], a = zero, inv, step;
        for (int64_t j = 0; j < STK_GROUP; j++) {
            __m512 b;
            v[j] = j < n ? elements(x + j * stride_bytes, type, c, d) : zero;
            b = _mm512_abs_ps(v[j]);
            good &= _mm512_cmp_ps_mask(b, largest, _CMP_LE_OQ);
            a = _mm512_max_ps(b, a);
        }
        inv = _mm512_div_ps(_mm512_set1_ps(4095.0f), a); /* a = 0: inf, taken out below */
        inv = _mm512_maskz_mov_ps(good & _mm512_cmp_ps_mask(inv, largest, _CMP_LE_OQ), inv);
        step = _mm512_div_ps(a, _mm512_set1_ps(4095.0f * 32767.0f));
        step = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(inv, zero, _CMP_GT_OQ), step);
        step = _mm512_mask_mov_ps(_mm512_set1_ps(NAN), good, step);
        _mm512_mask_storeu_ps(scale + c, lanes, step);
        for (int64_t j = 0; j < STK_GROUP; j += 2) {
            __m512i lo = rounded(_mm512_maskz_mul_ps(good, v[j], inv));
            __m512i hi = rounded(_mm512_maskz_mul_ps(good, v[j + 1], inv));
            lo = _mm512_or_si512(_mm512_and_si512(lo, _mm512_set1_epi32(0xffff)),
                                 _mm512_slli_epi32(hi, 16));
            _mm512_mask_storeu_epi32(out + (j / 2 * d + c) * 2, lanes, lo);
        }
    }
}

#define PACK(type)                                                                                 \
    void stk_packk_##type##_row__avx512(int16_t *out, float *scale, const void *x, int64_t d)      \
    {                                                                                              \
        if (!packk(out, scale, x, STORED_##type, d))                                               \
            stk_packk_##type##_row__scalar(out, scale, x, d);                                      \
    }                                                                                              \
    void stk_packv_##type##_g16__avx512(int16_t *out, float *scale, const void *x, int64_t n,      \
                                        int64_t d, int64_t stride_bytes)                           \
    {                                                                                              \
        if (n == STK_GROUP) /* the usual case, without a branch for each key */                    \
            packv(out, scale, x, STORED_##type, STK_GROUP, d, stride_bytes);                       \
        else                                                                                       \
            packv(out, scale, x, STORED_##type, n, d, stride_bytes);                               \
    }

PACK(f32)
PACK(f16)
PACK(bf16)
PACK(q8_0)

/* acc += x . b by pairs. Not the intrinsic: with it GCC 12 copies every accumulator twice a round.
 */
INLINE void dot2(__m512i *acc, __m512i x, __m512i b)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(*acc) : "v"(x), "v"(b));
}

INLINE void iqk(float *s, const int16_t *q, const float *qscale, const int16_t *k,
                const float *kscale, int64_t dp, const int16_t *ahead, int NV)
{
    for (int j0 = 0; j0 < STK_GROUP; j0 += 8) {
        const int16_t *k0 = k + j0 * dp;
        __m512i acc[8][2];
        for (int j = 0; j < 8; j++)
            for (int v = 0; v < NV; v++)
                acc[j][v] = _mm512_setzero_si512();
        for (int64_t c = 0; c < dp; c += 2) {
            __m512i x[2];
            if (j0 == 0) /* a line of 32 numbers for each pair of channels: all 16 dp */
                _mm_prefetch((const char *)(ahead + c * 16), _MM_HINT_T0);
            for (int v = 0; v < NV; v++)
                x[v] = _mm512_loadu_si512(q + (c * NV + 2 * v) * 16);
            for (int j = 0; j < 8; j++) {
                __m512i b = pair(k0 + j * dp + c);
                for (int v = 0; v < NV; v++)
                    dot2(&acc[j][v], x[v], b);
            }
        }
        for (int j = 0; j < 8; j++)
            for (int v = 0; v < NV; v++) {
                __m512 scale =
                    _mm512_mul_ps(_mm512_set1_ps(kscale[j0 + j]), _mm512_loadu_ps(qscale + v * 16));
                _mm512_storeu_ps(s + ((j0 + j) * NV + v) * 16,
                                 _mm512_mul_ps(_mm512_cvtepi32_ps(acc[j][v]), scale));
            }
    }
}

/* exp(x) * 32767 for x <= 0 to 3e-6: x log2(e) = n + t, 2^t by a polynomial, n added to the
 * exponent. NaN stays NaN. */
INLINE __m512 exp_32767(__m512 x)
{
    const __m512 log2e = _mm512_set1_ps(1.44269504088896341f);
    const __m512 magic = _mm512_set1_ps(12582912.0f); /* adding it rounds, n lies in the low bits */
    /* below -30 it rounds to 0; of max's operands the second one wins over NaN */
    __m512 y = _mm512_max_ps(_mm512_set1_ps(-30.0f), x);
    __m512 n = _mm512_fmadd_ps(y, log2e, magic);
    __m512 t = _mm512_fmsub_ps(y, log2e, _mm512_sub_ps(n, magic));
    __m512 p = _mm512_set1_ps(0.00956051f * 32767.0f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.05591704f * 32767.0f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.24024981f * 32767.0f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.69312197f * 32767.0f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.99999919f * 32767.0f));
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}

INLINE void prob(int16_t *p, float *max, float *sum, const float *s, int NV)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 m[2][2], base[2], total[2][2]; /* [vector][even or odd key]: shorter chains */
    for (int v = 0; v < NV; v++)
        for (int h = 0; h < 2; h++) {
            m[v][h] = none;
            total[v][h] = _mm512_setzero_ps();
        }
    for (int j = 0; j < STK_GROUP; j++)
        for (int v = 0; v < NV; v++) /* the second operand wins over NaN */
            m[v][j % 2] = _mm512_max_ps(_mm512_loadu_ps(s + (j * NV + v) * 16), m[v][j % 2]);
    for (int v = 0; v < NV; v++) {
        m[v][0] = _mm512_max_ps(m[v][0], m[v][1]);
        base[v] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(m[v][0], none, _CMP_NEQ_UQ), m[v][0]);
        _mm512_storeu_ps(max + v * 16, m[v][0]);
    }
    for (int j = 0; j < STK_GROUP; j += 2)
        for (int v = 0; v < NV; v++) {
            __m512i i[2];
            for (int h = 0; h < 2; h++) {
                __m512 x = _mm512_loadu_ps(s + ((j + h) * NV + v) * 16);
                __m512 e = exp_32767(_mm512_sub_ps(x, base[v]));
                total[v][h] = _mm512_add_ps(total[v][h], e);
                i[h] = _mm512_cvtps_epi32(e);
            }
            i[1] = _mm512_mask_mov_epi16(_mm512_slli_epi32(i[1], 16), 0x55555555, i[0]);
            _mm512_storeu_si512(p + (j / 2 * NV + v) * 32, i[1]);
        }
    for (int v = 0; v < NV; v++)
        _mm512_storeu_ps(sum + v * 16, _mm512_add_ps(total[v][0], total[v][1]));
}

INLINE void ipv_channels(float *o, const __m512i P[8][2], const __m512 *f, const int16_t *v,
                         const float *vscale, int64_t d, int NC, int NV)
{
    __m512i acc[4][2];
    for (int c = 0; c < NC; c++)
        for (int i = 0; i < NV; i++)
            acc[c][i] = _mm512_setzero_si512();
    for (int j = 0; j < STK_GROUP / 2; j++)
        for (int c = 0; c < NC; c++) {
            __m512i b = pair(v + (j * d + c) * 2);
            for (int i = 0; i < NV; i++)
                dot2(&acc[c][i], P[j][i], b);
        }
    for (int c = 0; c < NC; c++) {
        __m512 scale = _mm512_set1_ps(vscale[c]);
        for (int i = 0; i < NV; i++) {
            float *at = o + (c * NV + i) * 16;
            __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[c][i]), scale);
            _mm512_storeu_ps(at, _mm512_fmadd_ps(x, f[i], _mm512_loadu_ps(at)));
        }
    }
}

INLINE void ipv(float *o, const int16_t *p, const float *f, const int16_t *v, const float *vscale,
                int64_t d, const int16_t *ahead, int NV)
{
    __m512i P[8][2];
    __m512 F[2];
    int64_t c = 0;
    for (int j = 0; j < STK_GROUP / 2; j++)
        for (int i = 0; i < NV; i++)
            P[j][i] = _mm512_loadu_si512(p + (j * NV + i) * 32);
    for (int i = 0; i < NV; i++)
        F[i] = _mm512_loadu_ps(f + i * 16);
    for (; c + 4 <= d; c += 4) {
        _mm_prefetch((const char *)(ahead + c * 16), _MM_HINT_T0);
        _mm_prefetch((const char *)(ahead + c * 16 + 32), _MM_HINT_T0);
        ipv_channels(o + c * NV * 16, P, F, v + c * 2, vscale + c, d, 4, NV);
    }
    for (; c < d; c++)
        ipv_channels(o + c * NV * 16, P, F, v + c * 2, vscale + c, d, 1, NV);
}

/* Which of the pair of keys 2 i, 2 i + 1 lie in [first, end): factors for a product of pairs */
INLINE int32_t chosen(int64_t i, int64_t first, int64_t end)
{
    return (2 * i >= first && 2 * i < end ? 1 : 0) |
           (2 * i + 1 >= first && 2 * i + 1 < end ? 0x10000 : 0);
}

INLINE void keysum(float *sum, const int16_t *p, const float *f, int64_t first, int64_t end, int NV)
{
    __m512i acc[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t i = first / 2; 2 * i < end; i++) {
        __m512i b = _mm512_set1_epi32(chosen(i, first, end));
        for (int v = 0; v < NV; v++)
            acc[v] = _mm512_add_epi32(
                acc[v], _mm512_madd_epi16(_mm512_loadu_si512(p + (i * NV + v) * 32), b));
    }
    for (int v = 0; v < NV; v++)
        _mm512_storeu_ps(sum + v * 16,
                         _mm512_mul_ps(_mm512_cvtepi32_ps(acc[v]), _mm512_loadu_ps(f + v * 16)));
}

#define FORMS(R)                                                                                   \
    void stk_iqk_i16_r##R##__avx512(float *s, const int16_t *q, const float *qscale,               \
        const int16_t *k, const float *kscale, int64_t dp,                                         \
        const int16_t *ahead)                                                                      \
    {                                                                                              \
        iqk(s, q, qscale, k, kscale, dp, ahead, R / 16);                                           \
    }                                                                                              \
    void stk_prob_i16_r##R##__avx512(int16_t *p, float *max, float *sum, const float *s)           \
    {                                                                                              \
        prob(p, max, sum, s, R / 16);                                                              \
    }                                                                                              \
    void stk_ipv_i16_r##R##__avx512(float *o, const int16_t *p, const float *f, const int16_t *v,  \
        const float *vscale, int64_t d, const int16_t *ahead)                                      \
    {                                                                                              \
        ipv(o, p, f, v, vscale, d, ahead, R / 16);                                                 \
    }                                                                                              \
    void stk_keysum_i16_r##R##__avx512(float *sum, const int16_t *p, const float *f,               \
                                       int64_t first, int64_t end)                                 \
    {                                                                                              \
        keysum(sum, p, f, first, end, R / 16);                                                     \
    }

FORMS(16)
FORMS(32)

int64_t stk_peak_i16_row__avx512(int64_t rounds, int32_t *sink)
{
    __m512i x = _mm512_set1_epi16(1), b = _mm512_set1_epi16(3), a0 = _mm512_setzero_si512();
    __m512i a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, a8 = a0, a9 = a0;
    for (int64_t n = 0; n < rounds; n++) { /* one by one: in an array they would lie in memory */
        dot2(&a0, x, b);
        dot2(&a1, x, b);
        dot2(&a2, x, b);
        dot2(&a3, x, b);
        dot2(&a4, x, b);
        dot2(&a5, x, b);
        dot2(&a6, x, b);
        dot2(&a7, x, b);
        dot2(&a8, x, b);
        dot2(&a9, x, b);
    }
    a0 = _mm512_add_epi32(_mm512_add_epi32(a0, a1), _mm512_add_epi32(a2, a3));
    a4 = _mm512_add_epi32(_mm512_add_epi32(a4, a5), _mm512_add_epi32(a6, a7));
    a0 = _mm512_add_epi32(_mm512_add_epi32(a0, a4), _mm512_add_epi32(a8, a9));
    *sink = _mm512_reduce_add_epi32(a0);
    return rounds * 10 * 32;
}
