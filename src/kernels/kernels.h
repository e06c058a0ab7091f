/* SPDX-License-Identifier: MIT
 *
 * kernels.h — what each kernel computes, and the table of the ones in use.
 *
 * A tile is R query rows in the lanes of a vector: R = 16 or 32, and arrays are `[n, R]`, so a row
 * is a lane and nothing ever sums across lanes (except `score`, in a fixed tree). That is why the
 * estimator's kernels give the same bits at every level: elementwise mul and add without
 * contraction, sums in ascending n, integer dot products. qk and pv use fused multiply-add where
 * the machine has it and differ from the scalar ones by rounding.
 *
 * Pointers need the alignment of their element and no more; n may be 0.
 */
#ifndef STI_KERNELS_H
#define STI_KERNELS_H

#include <stdint.h>

#include "cpu/cpu.h"

/* dst[i] = F32 of element i; src any alignment of its element. q8_0: n a multiple of 32. */
typedef void stk_unpack_fn(float *dst, const void *src, int64_t n);

/* s[j][r] = sum_c qt[c][r] * k[j * ldk + c], c ascending. qt: [d, R]. */
typedef void stk_qk_fn(float *s, const float *qt, const float *k, int64_t n_key, int64_t d,
                       int64_t ldk);

/* o[c][r] += sum_j p[j][r] * v[j * ldv + c], j ascending. o: [d, R], p: [n_key, R]. */
typedef void stk_pv_fn(float *o, const float *p, const float *v, int64_t n_key, int64_t d,
                       int64_t ldv);

/* Attention in 16-bit fixed point works on groups of 16 keys (docs/kernels.md).
 *
 * packk: out[c] = round(x[c] * 32700 / |x|), *scale = |x| / 32700, |x| Euclid, so that no dot of
 * two packed vectors leaves 32 bits. x = 0 gives zeros and scale 0; a value that is not finite
 * gives zeros and scale NaN. x: d elements as they are stored (q8_0: d a multiple of 32). */
#define STK_GROUP 16
#define STK_FLT_MAX 3.402823466e38f
typedef void stk_packk_fn(int16_t *out, float *scale, const void *x, int64_t d);

/* n <= 16 rows of d, stride_bytes apart, to out [8][d][2] (two keys side by side, missing ones 0):
 * round(x[j][c] * 4095 / a[c]), a[c] = max_j |x[j][c]|; scale[c] = a[c] / 4095 / 32767. Not finite:
 * as packk. */
typedef void stk_packv_fn(int16_t *out, float *scale, const void *x, int64_t n, int64_t d,
                          int64_t stride_bytes);

/* s[j][r] = (sum_c q[r][c] k[j][c]) * (kscale[j] * qscale[r]) for the 16 keys j. q: [dp / 2][R][2],
 * k: [16][dp], dp even, both packed by packk. `ahead`: 16 dp numbers that are wanted next; they are
 * fetched into the cache meanwhile, at best, and not read. Here and in ipv. */
typedef void stk_iqk_fn(float *s, const int16_t *q, const float *qscale, const int16_t *k,
                        const float *kscale, int64_t dp, const int16_t *ahead);

/* m[r] = max_j s[j][r], NaN never wins, and 0 instead of -inf in what follows;
 * e = exp(max(s[j][r] - m[r], -30)) * 32767 to 3e-6, p = e rounded (NaN: 0), sum[r] = sum_j e.
 * p: [8][R][2], s: [16][R]. */
typedef void stk_prob_fn(int16_t *p, float *max, float *sum, const float *s);

/* o[c][r] += (sum_j p[j][r] v[j][c]) * vscale[c] * f[r] for the 16 keys. p: of prob, v: of packv.
 */
typedef void stk_ipv_fn(float *o, const int16_t *p, const float *f, const int16_t *v,
                        const float *vscale, int64_t d, const int16_t *ahead);

/* sum[r] = f[r] * sum_{first <= j < end} p[j][r]: what some of the 16 keys have together. p: of
 * prob, 0 <= first <= end <= 16; the inner sum is exact. */
typedef void stk_keysum_fn(float *sum, const int16_t *p, const float *f, int64_t first,
                           int64_t end);

/* Multiply-adds of 16-bit integers as fast as the machine makes them, operands in registers: what
 * iqk and ipv are measured against. Returns how many were made; *sink is the sum. */
typedef int64_t stk_peak_fn(int64_t rounds, int32_t *sink);

/* m[r] = max(m[r], t[j][r] for all j); NaN never wins. */
typedef void stk_max_fn(float *m, const float *t, int64_t n);

/* t[j][r] = e(t[j][r] - m[r]); sum[r] += t[j][r], j ascending. e(x) = exp(x) to 2 ulp for x <= 0,
 * and exactly 0 below -87. Where m[r] is -inf, 0 stands for it. */
typedef void stk_expsum_fn(float *t, float *sum, const float *m, int64_t n);

/* t = cap * tanh(t / cap) */
typedef void stk_softcap_fn(float *t, int64_t n, float cap);

/* t[j][r] *= f[r] */
typedef void stk_rescale_fn(float *t, const float *f, int64_t n);

/* out[c] = round(x[c] * 127 / a) with a = max |x[c]|, ties to even; *scale = a / 127; *sum = sum of
 * out. A value that is not finite counts as 0; a = 0 gives zeros and scale 0. x, out: any
 * alignment. */
typedef void stk_quant_fn(int8_t *out, float *scale, int32_t *sum, const float *x, int64_t d);

/* out[i][r] = sum_c q[r][c] * vec[idx[i]][c], exact. q: the tile [dp / 4][16][4]. vec: rows of
 * `stride` bytes, values -127..127, dp of them (a multiple of 4). idx NULL: 0, 1, ... sum: sum of
 * each vec row (same numbering as vec; lets unsigned-signed instructions correct their offset). */
typedef void stk_idot_fn(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                         const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp);

/* t[i][r] = dot[i][r] * (vscale[idx[i]] * rscale[r]) + rbase[r] */
typedef void stk_scale_fn(float *t, const int32_t *dot, const float *vscale, const int32_t *idx,
                          const float *rscale, const float *rbase, int64_t n);

/* scale's score of a block's mean, plus g: s2 = var[idx[i]] * q2[r], L = ln_b >= 0,
 * g = s2 < 2L ? L + s2 / 2 : sqrt(2L var[idx[i]]) * q2_root[r], q2_root[r] = sqrt(q2[r]): the
 * log-sum-exp of exp(L) keys whose scores are normal with variance s2, capped where the largest of
 * them rules (random energy model). */
typedef void stk_gauss_fn(float *t, const int32_t *dot, const float *vscale, const float *var,
                          const int32_t *idx, const float *rscale, const float *rbase,
                          const float *q2, const float *q2_root, int64_t n, float ln_b);

/* scale's score of the middle of a block's range, plus that of half its width (of |q|, no base) */
typedef void stk_bound_fn(float *t, const int32_t *mid, const float *mid_scale, const int32_t *half,
                          const float *half_scale, const int32_t *idx, const float *rscale,
                          const float *rbase, int64_t n);

/* E(x) = exp(x) within 4 %, its mean error near 0: the float whose bits are the integer part of
 * x * STK_E_SLOPE + STK_E_ONE, clamped to 0..STK_E_TOP (Schraudolph 1999). Enough to rank by mass,
 * and four instructions. NaN gives 0. */
#define STK_E_SLOPE 12102203.0f /* 2^23 / ln 2 */
#define STK_E_ONE 1064866816.0f /* 127 * 2^23 less what centres the error */
#define STK_E_TOP 1900000000.0f

/* E of an argument in its units */
static inline float stk_e(float y)
{
    union {
        int32_t bits;
        float e;
    } x;
    y = y > 0.0f ? y : 0.0f;
    x.bits = (int32_t)(y < STK_E_TOP ? y : STK_E_TOP);
    return x.e;
}

/* t[i][r] = E(t[i][r] - m[r]); -inf gives 0 */
typedef void stk_fexp_fn(float *t, const float *m, int64_t n);

/* t[i][r] = E(t[i][r] - m[r]) + E(u[i][r] - m[r]) */
typedef void stk_fexp2_fn(float *t, const float *u, const float *m, int64_t n);

/* The mass of neighbouring keys: sum[r] = sum_i E(y), i ascending, with the whole argument in E's
 * units, y = (sum_c q[r][c] * vec[i][c]) * (vscale[i] * slope[r]) + base[r]. q, vec, stride, vsum,
 * dp: as idot's. */
typedef void stk_imass_fn(float *sum, const int8_t *q, const int8_t *vec, int64_t stride,
                          const int32_t *vsum, const float *vscale, const float *slope,
                          const float *base, int64_t n, int64_t dp);

/* sum[r] += t[i][r], i ascending */
typedef void stk_lanesum_fn(float *sum, const float *t, int64_t n);

/* How many of x[0..n) are above limit. */
typedef int64_t stk_above_fn(const int32_t *x, int32_t limit, int64_t n);

/* score[i] = sum_r p[i][r] * w[r], by the tree (r, r + 8), (r, r + 4), (r, r + 2), (r, r + 1). */
typedef void stk_score_fn(float *score, const float *p, const float *w, int64_t n);

#define ST_KERNEL(op, dtype, tile, isa, tol) stk_##op##_fn stk_##op##_##dtype##_##tile##__##isa;
#include "kernels/kernels.def"

/* The kernels in use: one member per scalar row of the ledger. */
typedef struct sti_kernel_table {
    stk_unpack_fn *unpack_f16_row, *unpack_bf16_row, *unpack_q8_0_row;
    stk_qk_fn *qk_f32_r16, *qk_f32_r32;
    stk_pv_fn *pv_f32_r16, *pv_f32_r32;
    stk_packk_fn *packk_f32_row, *packk_f16_row, *packk_bf16_row, *packk_q8_0_row;
    stk_packv_fn *packv_f32_g16, *packv_f16_g16, *packv_bf16_g16, *packv_q8_0_g16;
    stk_iqk_fn *iqk_i16_r16, *iqk_i16_r32;
    stk_prob_fn *prob_i16_r16, *prob_i16_r32;
    stk_ipv_fn *ipv_i16_r16, *ipv_i16_r32;
    stk_keysum_fn *keysum_i16_r16, *keysum_i16_r32;
    stk_peak_fn *peak_i16_row;
    stk_max_fn *max_f32_r16, *max_f32_r32;
    stk_expsum_fn *expsum_f32_r16, *expsum_f32_r32;
    stk_softcap_fn *softcap_f32_r16, *softcap_f32_r32;
    stk_rescale_fn *rescale_f32_r16, *rescale_f32_r32;
    stk_quant_fn *quant_i8_row;
    stk_idot_fn *idot_i8_r16;
    stk_imass_fn *imass_i8_r16;
    stk_scale_fn *scale_i32_r16;
    stk_gauss_fn *gauss_i32_r16;
    stk_bound_fn *bound_i32_r16;
    stk_fexp_fn *fexp_f32_r16;
    stk_fexp2_fn *fexp2_f32_r16;
    stk_lanesum_fn *lanesum_f32_r16;
    stk_above_fn *above_i32_row;
    stk_score_fn *score_f32_r16;
} sti_kernel_table;

/* Installed once, for sti_cpu(). */
const sti_kernel_table *sti_kernels(void);

/* The ledger as data, for tests and benches. */
typedef struct sti_kernel_row {
    const char *op, *dtype, *tile;
    sti_cpu_level isa;
    double tolerance;
    void (*fn)(void); /* cast to the op's type */
} sti_kernel_row;

const sti_kernel_row *sti_kernel_rows(int *n);

#endif
