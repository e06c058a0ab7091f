/* SPDX-License-Identifier: MIT
 *
 * fixed_avx2.c — attention in 16-bit fixed point: vpmaddwd multiplies two channels (or keys) of 8
 * rows and adds the products. A tile of 16 or 32 rows is walked in strips of 16.
 */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Two neighbouring 16-bit values in every lane */
INLINE __m256i pair(const int16_t *x)
{
    int32_t w;
    memcpy(&w, x, 4);
    return _mm256_set1_epi32(w);
}

INLINE __m256i load(const int16_t *x)
{
    return _mm256_loadu_si256((const __m256i *)x);
}

INLINE __m256i rounded(__m256 x)
{
    return _mm256_cvtps_epi32(_mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

enum stored { STORED_f32, STORED_f16, STORED_bf16, STORED_q8_0 };

/* Elements c to c + 7 of a vector as it is stored; c a multiple of 8 */
INLINE __m256 elements(const char *x, enum stored type, int64_t c)
{
    __m128i h = _mm_setzero_si128();
    uint16_t scale;
    if (type == STORED_f32)
        return _mm256_loadu_ps((const float *)x + c);
    if (type == STORED_q8_0) {
        x += c / 32 * 34;
        memcpy(&scale, x, 2);
        h = _mm_loadl_epi64((const __m128i *)(x + 2 + c % 32));
        return _mm256_mul_ps(_mm256_set1_ps(_cvtsh_ss(scale)),
                             _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(h)));
    }
    h = _mm_loadu_si128((const __m128i *)(x + 2 * c));
    return type == STORED_f16
               ? _mm256_cvtph_ps(h)
               : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* d a multiple of 16. False: all 0, too small or not finite: the plain kernel knows. */
INLINE bool packk(int16_t *out, float *scale, const char *x, enum stored type, int64_t d)
{
    __m256 sum0 = _mm256_setzero_ps(), sum1 = sum0;
    __m128 q;
    float norm, inv;
    for (int64_t c = 0; c < d; c += 16) {
        __m256 v0 = elements(x, type, c), v1 = elements(x, type, c + 8);
        sum0 = _mm256_add_ps(sum0, _mm256_mul_ps(v0, v0));
        sum1 = _mm256_add_ps(sum1, _mm256_mul_ps(v1, v1));
    }
    sum0 = _mm256_add_ps(sum0, sum1);
    q = _mm_add_ps(_mm256_castps256_ps128(sum0), _mm256_extractf128_ps(sum0, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    norm = sqrtf(_mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q))));
    if (!(norm > 0.0f && norm <= STK_FLT_MAX && 32700.0f / norm <= STK_FLT_MAX))
        return false;
    inv = 32700.0f / norm;
    for (int64_t c = 0; c < d; c += 16) {
        __m256i lo = rounded(_mm256_mul_ps(elements(x, type, c), _mm256_set1_ps(inv)));
        __m256i hi = rounded(_mm256_mul_ps(elements(x, type, c + 8), _mm256_set1_ps(inv)));
        lo = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xd8);
        _mm256_storeu_si256((__m256i *)(out + c), lo);
    }
    *scale = norm / 32700.0f;
    return true;
}

/* Eight channels from c on; false if one of them is not finite, all 0 or too small. */
INLINE bool packv_channels(int16_t *out, float *scale, const char *x, enum stored type, int64_t c,
                           int64_t n, int64_t d, int64_t stride_bytes)
{
    const __m256 largest = _mm256_set1_ps(STK_FLT_MAX), zero = _mm256_setzero_ps();
    __m256 a = zero, good = _mm256_castsi256_ps(_mm256_set1_epi32(-1)), inv;
    for (int64_t j = 0; j < n; j++) {
        __m256 v = elements(x + j * stride_bytes, type, c);
        __m256 b = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
        good = _mm256_and_ps(good, _mm256_cmp_ps(b, largest, _CMP_LE_OQ));
        a = _mm256_max_ps(b, a);
    }
    inv = _mm256_div_ps(_mm256_set1_ps(4095.0f), a);
    good = _mm256_and_ps(good, _mm256_cmp_ps(inv, largest, _CMP_LE_OQ));
    if (_mm256_movemask_ps(good) != 0xff)
        return false;
    _mm256_storeu_ps(scale + c, _mm256_div_ps(a, _mm256_set1_ps(4095.0f * 32767.0f)));
    for (int64_t j = 0; j < STK_GROUP; j += 2) {
        __m256 v0 = j < n ? elements(x + j * stride_bytes, type, c) : zero;
        __m256 v1 = j + 1 < n ? elements(x + (j + 1) * stride_bytes, type, c) : zero;
        __m256i lo = rounded(_mm256_mul_ps(v0, inv)), hi = rounded(_mm256_mul_ps(v1, inv));
        lo = _mm256_or_si256(_mm256_and_si256(lo, _mm256_set1_epi32(0xffff)),
                             _mm256_slli_epi32(hi, 16));
        _mm256_storeu_si256((__m256i *)(out + (j / 2 * d + c) * 2), lo);
    }
    return true;
}

INLINE bool packv(int16_t *out, float *scale, const char *x, enum stored type, int64_t n, int64_t d,
                  int64_t stride_bytes)
{
    bool ok = d % 8 == 0;
    for (int64_t c = 0; ok && c < d; c += 8)
        ok = packv_channels(out, scale, x, type, c, n, d, stride_bytes);
    return ok;
}

#define PACK(type)                                                                                 \
    void stk_packk_##type##_row__avx2(int16_t *out, float *scale, const void *x, int64_t d)        \
    {                                                                                              \
        if (d % 16 != 0 || !packk(out, scale, x, STORED_##type, d))                                \
            stk_packk_##type##_row__scalar(out, scale, x, d);                                      \
    }                                                                                              \
    void stk_packv_##type##_g16__avx2(int16_t *out, float *scale, const void *x, int64_t n,        \
                                      int64_t d, int64_t stride_bytes)                             \
    {                                                                                              \
        if (!packv(out, scale, x, STORED_##type, n, d, stride_bytes))                              \
            stk_packv_##type##_g16__scalar(out, scale, x, n, d, stride_bytes);                     \
    }

PACK(f32)
PACK(f16)
PACK(bf16)
PACK(q8_0)

/* Four keys against the 16 rows at q, of a tile R wide */
INLINE void iqk_keys(float *s, const int16_t *q, const float *qscale, const int16_t *k,
                     const float *kscale, int64_t dp, int R)
{
    __m256i acc[4][2];
    for (int j = 0; j < 4; j++)
        acc[j][0] = acc[j][1] = _mm256_setzero_si256();
    for (int64_t c = 0; c < dp; c += 2) {
        __m256i q0 = load(q + c * R), q1 = load(q + c * R + 16);
        for (int j = 0; j < 4; j++) {
            __m256i b = pair(k + j * dp + c);
            acc[j][0] = _mm256_add_epi32(acc[j][0], _mm256_madd_epi16(q0, b));
            acc[j][1] = _mm256_add_epi32(acc[j][1], _mm256_madd_epi16(q1, b));
        }
    }
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 2; i++) {
            __m256 scale =
                _mm256_mul_ps(_mm256_set1_ps(kscale[j]), _mm256_loadu_ps(qscale + i * 8));
            _mm256_storeu_ps(s + j * R + i * 8,
                             _mm256_mul_ps(_mm256_cvtepi32_ps(acc[j][i]), scale));
        }
}

/* A line of 32 numbers for each pair of channels: all 16 d */
INLINE void fetch(const int16_t *ahead, int64_t d)
{
    for (int64_t c = 0; c < d; c += 2)
        _mm_prefetch((const char *)(ahead + c * 16), _MM_HINT_T0);
}

INLINE void iqk(float *s, const int16_t *q, const float *qscale, const int16_t *k,
                const float *kscale, int64_t dp, const int16_t *ahead, int R)
{
    fetch(ahead, dp);
    for (int strip = 0; strip < R; strip += 16)
        for (int j = 0; j < STK_GROUP; j += 4)
            iqk_keys(s + j * R + strip, q + strip * 2, qscale + strip, k + j * dp, kscale + j, dp,
                     R);
}

/* As in fixed_avx512.c. */
INLINE __m256 exp_32767(__m256 x)
{
    const __m256 log2e = _mm256_set1_ps(1.44269504088896341f);
    const __m256 magic = _mm256_set1_ps(12582912.0f);
    __m256 y = _mm256_max_ps(_mm256_set1_ps(-30.0f), x);
    __m256 n = _mm256_fmadd_ps(y, log2e, magic);
    __m256 t = _mm256_fmsub_ps(y, log2e, _mm256_sub_ps(n, magic));
    __m256 p = _mm256_set1_ps(0.00956051f * 32767.0f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.05591704f * 32767.0f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.24024981f * 32767.0f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.69312197f * 32767.0f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.99999919f * 32767.0f));
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}

INLINE void prob(int16_t *p, float *max, float *sum, const float *s, int R)
{
    for (int v = 0; v < R; v += 8) {
        __m256 none = _mm256_set1_ps(-INFINITY), m = none, base, total = _mm256_setzero_ps();
        for (int j = 0; j < STK_GROUP; j++) /* the second operand wins over NaN */
            m = _mm256_max_ps(_mm256_loadu_ps(s + j * R + v), m);
        base = _mm256_andnot_ps(_mm256_cmp_ps(m, none, _CMP_EQ_OQ), m);
        for (int j = 0; j < STK_GROUP; j += 2) {
            __m256i i[2];
            for (int h = 0; h < 2; h++) {
                __m256 e = exp_32767(_mm256_sub_ps(_mm256_loadu_ps(s + (j + h) * R + v), base));
                total = _mm256_add_ps(total, e);
                i[h] = _mm256_cvtps_epi32(e);
            }
            i[1] = _mm256_or_si256(_mm256_and_si256(i[0], _mm256_set1_epi32(0xffff)),
                                   _mm256_slli_epi32(i[1], 16));
            _mm256_storeu_si256((__m256i *)(p + (j / 2 * R + v) * 2), i[1]);
        }
        _mm256_storeu_ps(max + v, m);
        _mm256_storeu_ps(sum + v, total);
    }
}

/* NC channels for the 16 rows at o, of a tile R wide */
INLINE void ipv_channels(float *o, const int16_t *p, const float *f, const int16_t *v,
                         const float *vscale, int64_t d, int NC, int R)
{
    __m256i acc[4][2];
    for (int c = 0; c < NC; c++)
        acc[c][0] = acc[c][1] = _mm256_setzero_si256();
    for (int j = 0; j < STK_GROUP / 2; j++) {
        __m256i p0 = load(p + j * R * 2), p1 = load(p + j * R * 2 + 16);
        for (int c = 0; c < NC; c++) {
            __m256i b = pair(v + (j * d + c) * 2);
            acc[c][0] = _mm256_add_epi32(acc[c][0], _mm256_madd_epi16(p0, b));
            acc[c][1] = _mm256_add_epi32(acc[c][1], _mm256_madd_epi16(p1, b));
        }
    }
    for (int c = 0; c < NC; c++)
        for (int i = 0; i < 2; i++) {
            float *at = o + c * R + i * 8;
            __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[c][i]), _mm256_set1_ps(vscale[c]));
            _mm256_storeu_ps(at,
                             _mm256_fmadd_ps(x, _mm256_loadu_ps(f + i * 8), _mm256_loadu_ps(at)));
        }
}

INLINE void ipv(float *o, const int16_t *p, const float *f, const int16_t *v, const float *vscale,
                int64_t d, const int16_t *ahead, int R)
{
    fetch(ahead, d);
    for (int strip = 0; strip < R; strip += 16) {
        int64_t c = 0;
        for (; c + 4 <= d; c += 4)
            ipv_channels(o + c * R + strip, p + strip * 2, f + strip, v + c * 2, vscale + c, d, 4,
                         R);
        for (; c < d; c++)
            ipv_channels(o + c * R + strip, p + strip * 2, f + strip, v + c * 2, vscale + c, d, 1,
                         R);
    }
}

/* As in fixed_avx512.c. */
INLINE int32_t chosen(int64_t i, int64_t first, int64_t end)
{
    return (2 * i >= first && 2 * i < end ? 1 : 0) |
           (2 * i + 1 >= first && 2 * i + 1 < end ? 0x10000 : 0);
}

INLINE void keysum(float *sum, const int16_t *p, const float *f, int64_t first, int64_t end, int R)
{
    for (int v = 0; v < R; v += 8) {
        __m256i acc = _mm256_setzero_si256();
        __m256 x;
        for (int64_t i = first / 2; 2 * i < end; i++)
            acc =
                _mm256_add_epi32(acc, _mm256_madd_epi16(load(p + (i * R + v) * 2),
                                                        _mm256_set1_epi32(chosen(i, first, end))));
        x = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(f + v));
        _mm256_storeu_ps(sum + v, x);
    }
}

#define FORMS(R)                                                                                   \
    void stk_iqk_i16_r##R##__avx2(float *s, const int16_t *q, const float *qscale,                 \
        const int16_t *k, const float *kscale, int64_t dp,                                         \
        const int16_t *ahead)                                                                      \
    {                                                                                              \
        iqk(s, q, qscale, k, kscale, dp, ahead, R);                                                \
    }                                                                                              \
    void stk_prob_i16_r##R##__avx2(int16_t *p, float *max, float *sum, const float *s)             \
    {                                                                                              \
        prob(p, max, sum, s, R);                                                                   \
    }                                                                                              \
    void stk_ipv_i16_r##R##__avx2(float *o, const int16_t *p, const float *f, const int16_t *v,    \
        const float *vscale, int64_t d, const int16_t *ahead)                                      \
    {                                                                                              \
        ipv(o, p, f, v, vscale, d, ahead, R);                                                      \
    }                                                                                              \
    void stk_keysum_i16_r##R##__avx2(float *sum, const int16_t *p, const float *f, int64_t first,  \
                                     int64_t end)                                                  \
    {                                                                                              \
        keysum(sum, p, f, first, end, R);                                                          \
    }

FORMS(16)
FORMS(32)

int64_t stk_peak_i16_row__avx2(int64_t rounds, int32_t *sink)
{
    __m256i acc[8], b = _mm256_set1_epi16(3);
    int32_t lane[8];
    for (int i = 0; i < 8; i++)
        acc[i] = _mm256_setzero_si256();
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < 8; i++) {
            __m256i x = _mm256_set1_epi16(1);
            __asm__("" : "+x"(x)); /* not a constant: the product stays in the loop */
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(x, b));
        }
    for (int i = 1; i < 8; i++)
        acc[0] = _mm256_add_epi32(acc[0], acc[i]);
    _mm256_storeu_si256((__m256i *)lane, acc[0]);
    *sink = 0;
    for (int i = 0; i < 8; i++)
        *sink += lane[i];
    return rounds * 8 * 16;
}
