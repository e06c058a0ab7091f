/* SPDX-License-Identifier: MIT
 *
 * test_kernels.c — every row of the ledger against the scalar kernel of the same name, on random
 * data with the edges that matter: odd sizes, infinities, NaN, zeros, unaligned rows. Rows above
 * the level in use (ST_CPU) are left to the run at that level.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/check.h"
#include "base/util.h"
#include "kernels/kernels.h"

static uint64_t state = 1;

static double uniform(void)
{
    state = sti_mix(state);
    return (double)(state >> 11) * 0x1p-53;
}

static float normal(void)
{
    return (float)(sqrt(-2.0 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform()));
}

static int below(int n)
{
    return (int)(uniform() * n);
}

static float *floats(int64_t n, float scale)
{
    float *x = sti_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = normal() * scale;
    return x;
}

/* Within the row's tolerance; NaN equals NaN, infinities must match. */
static bool close_to(const float *a, const float *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++) {
        if (isnan(b[i]) ? isnan(a[i]) : a[i] == b[i])
            continue;
        if (tolerance == 0.0 ||
            !(fabs((double)a[i] - b[i]) <= tolerance * (1.0 + fabs((double)b[i])))) {
            printf("  element %lld: %.9g, scalar %.9g\n", (long long)i, (double)a[i], (double)b[i]);
            return false;
        }
    }
    return true;
}

static int lanes(const sti_kernel_row *row)
{
    return atoi(row->tile + 1);
}

/* ---- one check per op: runs the row and the scalar one on the same data ---------------------- */

static bool check_unpack(const sti_kernel_row *row, stk_unpack_fn *scalar)
{
    stk_unpack_fn *fn = (stk_unpack_fn *)row->fn;
    bool q8 = strcmp(row->dtype, "q8_0") == 0, ok = true;
    for (int n = 0; n < 150 && ok; n += q8 ? 32 : 1) {
        size_t bytes = q8 ? (size_t)n / 32 * 34 : (size_t)n * 2;
        uint8_t *src = sti_alloc(bytes + 2);
        float *a = floats(n + 1, 1), *b = floats(n + 1, 1);
        for (size_t i = 0; i < bytes + 2; i++)
            src[i] = (uint8_t)below(256);
        for (int i = 0; q8 && i < n / 32; i++) /* a finite scale, as ggml writes it */
            src[2 + i * 34 + 1] &= 0xbf;
        fn(a, src + 2, n); /* rows start anywhere a 2-byte element may */
        scalar(b, src + 2, n);
        ok = close_to(a, b, n, row->tolerance);
        sti_free(src);
        sti_free(a);
        sti_free(b);
    }
    return ok;
}

static bool check_qk(const sti_kernel_row *row, stk_qk_fn *scalar)
{
    int64_t R = lanes(row), n = 1 + below(40), d = 1 + below(130), ld = d + below(9);
    float *qt = floats(d * R, 1), *k = floats(n * ld, 1), *a = floats(n * R, 1),
          *b = floats(n * R, 1);
    bool ok;
    ((stk_qk_fn *)row->fn)(a, qt, k, n, d, ld);
    scalar(b, qt, k, n, d, ld);
    ok = close_to(a, b, n * R, row->tolerance);
    sti_free(qt);
    sti_free(k);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_pv(const sti_kernel_row *row, stk_pv_fn *scalar)
{
    int64_t R = lanes(row), n = 1 + below(40), d = 1 + below(130), ld = d + below(9);
    float *p = floats(n * R, 1), *v = floats(n * ld, 1), *a = floats(d * R, 1),
          *b = floats(d * R, 1);
    bool ok;
    memcpy(a, b, (size_t)(d * R) * sizeof *a);
    ((stk_pv_fn *)row->fn)(a, p, v, n, d, ld);
    scalar(b, p, v, n, d, ld);
    ok = close_to(a, b, d * R, row->tolerance);
    sti_free(p);
    sti_free(v);
    sti_free(a);
    sti_free(b);
    return ok;
}

/* ---- fixed point: packed operands as the scalar kernels make them -----------------------------
 */

/* n rows of d random numbers, `ld` apart, stored as `dtype`; some of them not finite or all 0 */
static void *stored(const char *dtype, int64_t n, int64_t d, int64_t ld, int64_t *stride_bytes)
{
    float size = below(4) ? 1.0f : 1e-38f, *x = floats(n * ld, size);
    bool q8_0 = strcmp(dtype, "q8_0") == 0, f16 = strcmp(dtype, "f16") == 0;
    char *out;
    if (below(4) == 0)
        x[below((int)(n * ld))] = below(2) ? NAN : INFINITY;
    for (int64_t j = 0; below(4) == 0 && j < n; j++)
        x[j * ld] = 0.0f;
    if (below(8) == 0)
        memset(x, 0, (size_t)(n * ld) * sizeof *x);
    if (strcmp(dtype, "f32") == 0) {
        *stride_bytes = ld * 4;
        return x;
    }
    *stride_bytes = q8_0 ? d / 32 * 34 : ld * 2;
    out = sti_alloc((size_t)(n * *stride_bytes));
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < d; c++) {
            float v = x[j * ld + c];
            uint16_t h = f16 || q8_0 ? sti_f32_f16(v) : (uint16_t)(sti_f32_bits(v) >> 16);
            if (!q8_0)
                memcpy(out + j * *stride_bytes + 2 * c, &h, 2);
            else if (c % 32 == 0) /* a block's scale is its first number */
                memcpy(out + j * *stride_bytes + c / 32 * 34, &h, 2);
            if (q8_0)
                out[j * *stride_bytes + c / 32 * 34 + 2 + c % 32] = (char)below(256);
        }
    sti_free(x);
    return out;
}

static bool check_packk(const sti_kernel_row *row, stk_packk_fn *scalar)
{
    int64_t d = strcmp(row->dtype, "q8_0") == 0 ? 32 * (1 + below(6)) : 1 + below(200), stride;
    void *x = stored(row->dtype, 1, d, d, &stride);
    float scale_a, scale_b;
    int16_t a[256] = {0}, b[256] = {0};
    bool ok;
    ((stk_packk_fn *)row->fn)(a, &scale_a, x, d);
    scalar(b, &scale_b, x, d);
    ok = memcmp(a, b, sizeof a) == 0 && close_to(&scale_a, &scale_b, 1, row->tolerance);
    sti_free(x);
    return ok;
}

static bool check_packv(const sti_kernel_row *row, stk_packv_fn *scalar)
{
    int64_t d = strcmp(row->dtype, "q8_0") == 0 ? 32 * (1 + below(3)) : 1 + below(100);
    int64_t n = below(2) ? 16 : 1 + below(16), stride;
    void *x = stored(row->dtype, n, d, d + below(5), &stride);
    float scale_a[128], scale_b[128];
    int16_t a[16 * 128] = {0}, b[16 * 128] = {0};
    bool ok;
    ((stk_packv_fn *)row->fn)(a, scale_a, x, n, d, stride);
    scalar(b, scale_b, x, n, d, stride);
    ok = memcmp(a, b, sizeof a) == 0 && close_to(scale_a, scale_b, d, row->tolerance);
    sti_free(x);
    return ok;
}

/* Packed rows [n, dp] and their scales */
static int16_t *packed(int64_t n, int64_t dp, float *scale)
{
    int16_t *out = sti_alloc((size_t)(n * dp) * sizeof *out);
    float *x = floats(n * dp, 1);
    for (int64_t j = 0; j < n; j++)
        stk_packk_f32_row__scalar(out + j * dp, &scale[j], x + j * dp, dp);
    sti_free(x);
    return out;
}

static bool check_iqk(const sti_kernel_row *row, stk_iqk_fn *scalar)
{
    int64_t R = lanes(row), dp = 2 * (1 + below(100));
    float q_scale[32], k_scale[16], a[16 * 32], b[16 * 32];
    int16_t *rows = packed(R, dp, q_scale), *k = packed(16, dp, k_scale);
    int16_t *q = sti_alloc((size_t)(R * dp) * sizeof *q);
    bool ok;
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < dp; c++)
            q[(c / 2 * R + r) * 2 + c % 2] = rows[r * dp + c];
    if (below(4) == 0)
        k_scale[below(16)] = NAN;
    ((stk_iqk_fn *)row->fn)(a, q, q_scale, k, k_scale, dp, k);
    scalar(b, q, q_scale, k, k_scale, dp, k);
    ok = close_to(a, b, 16 * R, row->tolerance);
    sti_free(rows);
    sti_free(k);
    sti_free(q);
    return ok;
}

static bool check_prob(const sti_kernel_row *row, stk_prob_fn *scalar)
{
    int64_t R = lanes(row);
    float *s = floats(16 * R, 20), max_a[32], max_b[32], sum_a[32], sum_b[32];
    int16_t a[16 * 32], b[16 * 32];
    bool ok;
    for (int64_t i = 0; i < 16 * R; i++)
        if (below(8) == 0)
            s[i] = below(20) == 0 ? NAN : -INFINITY;
    for (int j = 0; j < 16; j++)
        s[j * R + 3] = -INFINITY; /* a row that sees nothing */
    ((stk_prob_fn *)row->fn)(a, max_a, sum_a, s);
    scalar(b, max_b, sum_b, s);
    ok = close_to(max_a, max_b, R, 0.0) && close_to(sum_a, sum_b, R, row->tolerance);
    ok = ok && max_a[3] == -INFINITY && sum_a[3] < 1e-6f;
    for (int64_t i = 0; i < 16 * R; i++)
        ok = ok && abs(a[i] - b[i]) <= 1; /* either side of a half */
    sti_free(s);
    return ok;
}

static bool check_ipv(const sti_kernel_row *row, stk_ipv_fn *scalar)
{
    int64_t R = lanes(row), d = 1 + below(100);
    int16_t p[16 * 32], *v = sti_alloc((size_t)(16 * d) * sizeof *v);
    float *x = floats(16 * d, 1), *scale = floats(d, 1), *f = floats(R, 1);
    float *a = floats(d * R, 1), *b = floats(d * R, 1);
    bool ok, extreme = below(4) == 0; /* the largest sum that 32 bits must hold */
    for (int64_t i = 0; i < 16 * R; i++)
        p[i] = (int16_t)(extreme ? 32767 : below(32768));
    stk_packv_f32_g16__scalar(v, scale, x, 16, d, d * 4);
    for (int64_t i = 0; extreme && i < 16 * d; i++)
        v[i] = -4095;
    memcpy(a, b, (size_t)(d * R) * sizeof *a);
    ((stk_ipv_fn *)row->fn)(a, p, f, v, scale, d, v);
    scalar(b, p, f, v, scale, d, v);
    ok = close_to(a, b, d * R, row->tolerance);
    sti_free(v);
    sti_free(x);
    sti_free(scale);
    sti_free(f);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_keysum(const sti_kernel_row *row, stk_keysum_fn *scalar)
{
    int64_t R = lanes(row), first = below(17), end = first + below((int)(17 - first));
    int16_t p[16 * 32];
    float *f = floats(R, 1), *a = floats(R, 1), *b = floats(R, 1), *plain = floats(R, 1);
    bool ok;
    for (int64_t i = 0; i < 16 * R; i++)
        p[i] = (int16_t)below(32768);
    for (int64_t r = 0; r < R; r++) {
        int32_t sum = 0;
        for (int64_t j = first; j < end; j++)
            sum += p[(j / 2 * R + r) * 2 + j % 2];
        plain[r] = f[r] * (float)sum;
    }
    ((stk_keysum_fn *)row->fn)(a, p, f, first, end);
    scalar(b, p, f, first, end);
    ok = close_to(a, b, R, row->tolerance) && close_to(b, plain, R, 0.0);
    sti_free(f);
    sti_free(a);
    sti_free(b);
    sti_free(plain);
    return ok;
}

/* [n, R] scores, some of them -inf, a few NaN */
static float *scores(int64_t n)
{
    float *t = floats(n, 20);
    for (int64_t i = 0; i < n; i++)
        if (below(8) == 0)
            t[i] = below(20) == 0 ? NAN : -INFINITY;
    return t;
}

static bool check_max(const sti_kernel_row *row, stk_max_fn *scalar)
{
    int64_t R = lanes(row), n = below(40);
    float *t = scores(n * R + 1), *a = floats(R, 1), *b = floats(R, 1);
    bool ok;
    a[3] = -INFINITY;
    memcpy(b, a, (size_t)R * sizeof *a);
    ((stk_max_fn *)row->fn)(a, t, n);
    scalar(b, t, n);
    ok = close_to(a, b, R, row->tolerance);
    sti_free(t);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_expsum(const sti_kernel_row *row, stk_expsum_fn *scalar)
{
    int64_t R = lanes(row), n = below(40);
    float *t = scores(n * R + 1), *u = floats(n * R + 1, 1), *m = floats(R, 1);
    float *a = floats(R, 1), *b = floats(R, 1);
    bool ok;
    for (int r = 0; r < R; r++)
        m[r] = -INFINITY;
    stk_max_f32_r16__scalar(m, t, R == 16 ? n : 0);
    if (R == 32)
        stk_max_f32_r32__scalar(m, t, n);
    memcpy(u, t, (size_t)(n * R) * sizeof *u);
    memcpy(b, a, (size_t)R * sizeof *a);
    ((stk_expsum_fn *)row->fn)(t, a, m, n);
    scalar(u, b, m, n);
    ok = close_to(a, b, R, row->tolerance) && close_to(t, u, n * R, row->tolerance);
    sti_free(t);
    sti_free(u);
    sti_free(m);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_softcap(const sti_kernel_row *row, stk_softcap_fn *scalar)
{
    int64_t R = lanes(row), n = below(40);
    float *t = floats(n * R + 1, 50), *u = floats(n * R + 1, 1);
    bool ok;
    memcpy(u, t, (size_t)(n * R) * sizeof *u);
    ((stk_softcap_fn *)row->fn)(t, n, 30.0f);
    scalar(u, n, 30.0f);
    ok = close_to(t, u, n * R, row->tolerance);
    sti_free(t);
    sti_free(u);
    return ok;
}

static bool check_rescale(const sti_kernel_row *row, stk_rescale_fn *scalar)
{
    int64_t R = lanes(row), n = below(40);
    float *t = floats(n * R + 1, 50), *u = floats(n * R + 1, 1), *f = floats(R, 1);
    bool ok;
    memcpy(u, t, (size_t)(n * R) * sizeof *u);
    ((stk_rescale_fn *)row->fn)(t, f, n);
    scalar(u, f, n);
    ok = close_to(t, u, n * R, row->tolerance);
    sti_free(t);
    sti_free(u);
    sti_free(f);
    return ok;
}

static bool check_quant(const sti_kernel_row *row, stk_quant_fn *scalar)
{
    int64_t d = 1 + below(200);
    float *x = floats(d, below(2) ? 1.0f : 1e-30f), scale_a, scale_b;
    int8_t a[256] = {0}, b[256] = {0};
    int32_t sum_a, sum_b;
    bool ok;
    if (below(3) == 0)
        x[below((int)d)] = below(2) ? NAN : INFINITY;
    if (below(8) == 0)
        memset(x, 0, (size_t)d * sizeof *x);
    ((stk_quant_fn *)row->fn)(a, &scale_a, &sum_a, x, d);
    scalar(b, &scale_b, &sum_b, x, d);
    ok = memcmp(a, b, sizeof a) == 0 && scale_a == scale_b && sum_a == sum_b;
    sti_free(x);
    return ok;
}

static bool check_idot(const sti_kernel_row *row, stk_idot_fn *scalar)
{
    int64_t dp = 4 * (1 + below(70)), n = below(30), stride = dp + 4 * below(4), n_vec = n + 5;
    int8_t *q = sti_alloc((size_t)dp * 16), *vec = sti_alloc((size_t)(n_vec * stride));
    int32_t *sum = sti_calloc((size_t)n_vec * 4), *idx = sti_alloc((size_t)n * 4 + 4);
    int32_t *a = sti_alloc((size_t)n * 64), *b = sti_alloc((size_t)n * 64);
    bool ok;
    for (int64_t i = 0; i < dp * 16; i++)
        q[i] = (int8_t)(below(255) - 127);
    for (int64_t i = 0; i < n_vec * stride; i++)
        vec[i] = (int8_t)(below(16) ? below(255) - 127 : below(2) ? 127 : -127);
    for (int64_t i = 0; i < n_vec; i++)
        for (int64_t c = 0; c < dp; c++)
            sum[i] += vec[i * stride + c];
    for (int64_t i = 0; i < n; i++)
        idx[i] = below((int)n_vec);
    ((stk_idot_fn *)row->fn)(a, q, vec, stride, sum, idx, n, dp);
    scalar(b, q, vec, stride, sum, idx, n, dp);
    ok = memcmp(a, b, (size_t)n * 64) == 0;
    ((stk_idot_fn *)row->fn)(a, q, vec, stride, sum, NULL, n, dp);
    scalar(b, q, vec, stride, sum, NULL, n, dp);
    ok = ok && memcmp(a, b, (size_t)n * 64) == 0;
    sti_free(q);
    sti_free(vec);
    sti_free(sum);
    sti_free(idx);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_imass(const sti_kernel_row *row, stk_imass_fn *scalar)
{
    int64_t dp = below(3) ? 4 * (1 + below(70)) : below(2) ? 64 : 128, n = below(40);
    int64_t stride = dp + 4 * below(2);
    int8_t *q = sti_alloc((size_t)dp * 16), *vec = sti_alloc((size_t)((n + 1) * stride));
    int32_t *sum = sti_calloc((size_t)(n + 1) * 4);
    float *vs = floats(n + 1, 1e-3f), *slope = floats(16, 1e5f), *base = floats(16, 1e8f);
    float a[16], b[16];
    bool ok;
    for (int64_t i = 0; i < dp * 16; i++)
        q[i] = (int8_t)(below(255) - 127);
    for (int64_t i = 0; i < n * stride; i++)
        vec[i] = (int8_t)(below(16) ? below(255) - 127 : below(2) ? 127 : -127);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < dp; c++)
            sum[i] += vec[i * stride + c];
    for (int r = 0; r < 16; r++)
        base[r] += STK_E_ONE;
    ((stk_imass_fn *)row->fn)(a, q, vec, stride, sum, vs, slope, base, n, dp);
    scalar(b, q, vec, stride, sum, vs, slope, base, n, dp);
    ok = close_to(a, b, 16, row->tolerance);
    sti_free(q);
    sti_free(vec);
    sti_free(sum);
    sti_free(vs);
    sti_free(slope);
    sti_free(base);
    return ok;
}

/* Dots, their vectors' scales, row scales and bases, and which vectors: what scores are made of */
struct scored {
    int64_t n;
    int32_t *dot[2], *idx;
    float *vscale[2], *rscale, *rbase;
};

static struct scored scored(void)
{
    struct scored x = {.n = below(30)};
    for (int k = 0; k < 2; k++) {
        x.dot[k] = sti_alloc((size_t)x.n * 64 + 4);
        x.vscale[k] = floats(x.n + 5, 1e-3f);
        for (int64_t i = 0; i < x.n * 16; i++)
            x.dot[k][i] = below(2000000) - 1000000;
    }
    x.rscale = floats(16, 1);
    x.rbase = floats(16, 1);
    x.idx = sti_alloc((size_t)x.n * 4 + 4);
    for (int64_t i = 0; i < x.n; i++)
        x.idx[i] = below((int)x.n + 5);
    return x;
}

static void scored_free(struct scored *x)
{
    for (int k = 0; k < 2; k++) {
        sti_free(x->dot[k]);
        sti_free(x->vscale[k]);
    }
    sti_free(x->rscale);
    sti_free(x->rbase);
    sti_free(x->idx);
}

static bool check_scale(const sti_kernel_row *row, stk_scale_fn *scalar)
{
    struct scored x = scored();
    float *t = floats(x.n * 16 + 1, 1), *u = floats(x.n * 16 + 1, 1);
    bool ok = true;
    for (int which = 0; which < 2; which++) {
        const int32_t *idx = which ? x.idx : NULL;
        ((stk_scale_fn *)row->fn)(t, x.dot[0], x.vscale[0], idx, x.rscale, x.rbase, x.n);
        scalar(u, x.dot[0], x.vscale[0], idx, x.rscale, x.rbase, x.n);
        ok = ok && close_to(t, u, x.n * 16, row->tolerance);
    }
    sti_free(t);
    sti_free(u);
    scored_free(&x);
    return ok;
}

static bool check_gauss(const sti_kernel_row *row, stk_gauss_fn *scalar)
{
    struct scored x = scored();
    float *t = floats(x.n * 16 + 1, 1), *u = floats(x.n * 16 + 1, 1), *var = floats(x.n + 5, 1);
    float *q2 = floats(16, 4), *root = floats(16, 1);
    bool ok;
    for (int64_t i = 0; i < x.n + 5; i++)
        var[i] = fabsf(var[i]);
    for (int r = 0; r < 16; r++) {
        q2[r] *= q2[r];
        root[r] = sqrtf(q2[r]);
    }
    ((stk_gauss_fn *)row->fn)(t, x.dot[0], x.vscale[0], var, x.idx, x.rscale, x.rbase, q2, root,
                              x.n, 2.7725887f);
    scalar(u, x.dot[0], x.vscale[0], var, x.idx, x.rscale, x.rbase, q2, root, x.n, 2.7725887f);
    ok = close_to(t, u, x.n * 16, row->tolerance);
    sti_free(t);
    sti_free(u);
    sti_free(var);
    sti_free(q2);
    sti_free(root);
    scored_free(&x);
    return ok;
}

static bool check_bound(const sti_kernel_row *row, stk_bound_fn *scalar)
{
    struct scored x = scored();
    float *t = floats(x.n * 16 + 1, 1), *u = floats(x.n * 16 + 1, 1);
    bool ok;
    ((stk_bound_fn *)row->fn)(t, x.dot[0], x.vscale[0], x.dot[1], x.vscale[1], x.idx, x.rscale,
                              x.rbase, x.n);
    scalar(u, x.dot[0], x.vscale[0], x.dot[1], x.vscale[1], x.idx, x.rscale, x.rbase, x.n);
    ok = close_to(t, u, x.n * 16, row->tolerance);
    sti_free(t);
    sti_free(u);
    scored_free(&x);
    return ok;
}

static bool check_fexp(const sti_kernel_row *row, stk_fexp_fn *scalar)
{
    int64_t n = below(30);
    float *t = floats(n * 16 + 1, 60), *u = floats(n * 16 + 1, 1), *m = floats(16, 10);
    bool ok;
    for (int64_t i = 0; i < n * 16; i++)
        if (below(8) == 0)
            t[i] = below(4) == 0 ? NAN : below(4) == 0 ? INFINITY : -INFINITY;
    memcpy(u, t, (size_t)n * 64);
    ((stk_fexp_fn *)row->fn)(t, m, n);
    scalar(u, m, n);
    ok = close_to(t, u, n * 16, row->tolerance);
    sti_free(t);
    sti_free(u);
    sti_free(m);
    return ok;
}

static bool check_fexp2(const sti_kernel_row *row, stk_fexp2_fn *scalar)
{
    int64_t n = below(30);
    float *t = floats(n * 16 + 1, 60), *u = floats(n * 16 + 1, 60), *m = floats(16, 10);
    float *v = floats(n * 16 + 1, 1);
    bool ok;
    for (int64_t i = 0; i < n * 16; i++)
        if (below(8) == 0)
            (below(2) ? t : u)[i] = below(4) == 0 ? NAN : below(4) == 0 ? INFINITY : -INFINITY;
    memcpy(v, t, (size_t)n * 64);
    ((stk_fexp2_fn *)row->fn)(t, u, m, n);
    scalar(v, u, m, n);
    ok = close_to(t, v, n * 16, row->tolerance);
    sti_free(t);
    sti_free(u);
    sti_free(v);
    sti_free(m);
    return ok;
}

static bool check_lanesum(const sti_kernel_row *row, stk_lanesum_fn *scalar)
{
    int64_t n = below(30);
    float *t = floats(n * 16 + 1, 1), *a = floats(16, 1), *b = floats(16, 1);
    bool ok;
    memcpy(a, b, 64);
    ((stk_lanesum_fn *)row->fn)(a, t, n);
    scalar(b, t, n);
    ok = close_to(a, b, 16, row->tolerance);
    sti_free(t);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_above(const sti_kernel_row *row, stk_above_fn *scalar)
{
    int32_t n = below(200), x[200], limit = below(100) - 50, want = 0;
    for (int32_t i = 0; i < n; i++) {
        x[i] = below(100) - 50;
        want += x[i] > limit;
    }
    return ((stk_above_fn *)row->fn)(x, limit, n) == want && scalar(x, limit, n) == want;
}

static bool check_peak(const sti_kernel_row *row, stk_peak_fn *scalar)
{
    int32_t sink = 0;
    int64_t n = ((stk_peak_fn *)row->fn)(10, &sink);
    (void)scalar; /* how many products a round has is each one's own affair; that they are made is
                     not */
    return n > 0 && (row->isa == STI_CPU_SCALAR ? sink == 16 * 3 * 45 : sink == 3 * n);
}

static bool check_score(const sti_kernel_row *row, stk_score_fn *scalar)
{
    int64_t n = below(30);
    float *p = floats(n * 16 + 1, 1), *w = floats(16, 1), *a = floats(n + 1, 1),
          *b = floats(n + 1, 1);
    bool ok;
    ((stk_score_fn *)row->fn)(a, p, w, n);
    scalar(b, p, w, n);
    ok = close_to(a, b, n, row->tolerance);
    sti_free(p);
    sti_free(w);
    sti_free(a);
    sti_free(b);
    return ok;
}

static bool check_row(const sti_kernel_row *row, const sti_kernel_row *scalar)
{
#define CASE(name)                                                                                 \
    if (strcmp(row->op, #name) == 0)                                                               \
        return check_##name(row, (stk_##name##_fn *)scalar->fn);
    CASE(unpack)
    CASE(qk)
    CASE(pv)
    CASE(packk)
    CASE(packv)
    CASE(iqk)
    CASE(prob)
    CASE(ipv)
    CASE(keysum)
    CASE(max)
    CASE(expsum)
    CASE(softcap)
    CASE(rescale)
    CASE(quant)
    CASE(gauss)
    CASE(bound)
    CASE(fexp)
    CASE(fexp2)
    CASE(lanesum)
    CASE(above)
    CASE(idot)
    CASE(imass)
    CASE(scale)
    CASE(score)
    CASE(peak)
    printf("op %s has no check\n", row->op);
    return false;
}

static const sti_kernel_row *scalar_row(const sti_kernel_row *rows, int n, const sti_kernel_row *of)
{
    for (int i = 0; i < n; i++)
        if (rows[i].isa == STI_CPU_SCALAR && strcmp(rows[i].op, of->op) == 0 &&
            strcmp(rows[i].dtype, of->dtype) == 0 && strcmp(rows[i].tile, of->tile) == 0)
            return &rows[i];
    return NULL;
}

/* ---- the scalar kernels themselves, against libm and plain sums ------------------------------ */

static void test_exp(void)
{
    _Alignas(64) float t[16], m[16] = {0}, sum[16] = {0};
    double worst = 0.0;
    for (int i = 0; i < 90000; i++) {
        for (int r = 0; r < 16; r++)
            t[r] = -(float)i * 0.00097f - (float)r * 1e-5f;
        float x = t[5];
        stk_expsum_f32_r16__scalar(t, sum, m, 1);
        if (x >= -87.0f)
            worst = fmax(worst, fabs(t[5] / exp((double)x) - 1.0));
        else
            CHECK(t[5] == 0.0f);
    }
    CHECK(worst < 2.4e-7); /* 2 ulp */
    printf("exp: relative error %.2g\n", worst);
}

/* E(x) is exp(x) within 4 %, and right on average. */
static void test_fexp(void)
{
    _Alignas(64) float t[16], m[16] = {0};
    double worst = 0.0, sum = 0.0;
    for (int i = 0; i < 10000; i++) {
        float x = (float)i * -0.0057f + 3.0f;
        for (int r = 0; r < 16; r++)
            t[r] = x;
        stk_fexp_f32_r16__scalar(t, m, 1);
        worst = fmax(worst, fabs(t[9] / exp((double)x) - 1.0));
        sum += t[9] / exp((double)x) - 1.0;
    }
    printf("E: relative error %.3g, mean %.2g\n", worst, sum / 10000);
    CHECK(worst < 0.04);
    CHECK(fabs(sum / 10000) < 0.01);
}

static void test_softcap(void)
{
    _Alignas(64) float t[16];
    for (int i = -40; i <= 40; i++) {
        for (int r = 0; r < 16; r++)
            t[r] = (float)i * 3.0f + (float)r * 0.1f;
        float x = t[7];
        stk_softcap_f32_r16__scalar(t, 1, 50.0f);
        CHECK(fabs(t[7] - 50.0 * tanh(x / 50.0)) < 2e-5);
    }
}

int main(void)
{
    int n;
    const sti_kernel_row *rows = sti_kernel_rows(&n);
    CHECK_LEVEL();
    printf("level %s\n", sti_cpu_level_name(sti_cpu()));
    test_exp();
    test_fexp();
    test_softcap();
    for (int i = 0; i < n; i++) {
        const sti_kernel_row *scalar = scalar_row(rows, n, &rows[i]);
        bool ok = scalar != NULL;
        if (rows[i].isa > sti_cpu())
            continue;
        for (int k = 0; k < 60 && ok; k++)
            ok = check_row(&rows[i], scalar);
        if (!ok)
            printf("stk_%s_%s_%s__%s\n", rows[i].op, rows[i].dtype, rows[i].tile,
                   sti_cpu_level_name(rows[i].isa));
        CHECK(ok);
    }
    return check_report();
}
