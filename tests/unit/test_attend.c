/* SPDX-License-Identifier: MIT
 *
 * test_attend.c — attention against a plain double-precision loop, and the two identities: full
 * selection equals exact attention, a partial one equals exact attention under the same -inf mask.
 */
#include <string.h>

#include "check.h"
#include "problem.h"

/* Which numeric path is tested, and how far it may be from double precision. Fixed point: scores to
 * 1e-4, values to a[c] / 4095 / 2, a[c] the channel's largest of 16 (docs/kernels.md). */
static bool precise;
static double tolerance, worst_seen;

static problem make_problem(int n_head, int n_kv_head, int64_t n_q, int64_t n_k, int d_k, int d_v)
{
    problem p = problem_new(n_head, n_kv_head, n_q, n_k, d_k, d_v);
    p.a.precise = precise;
    return p;
}

/* attn.h's formula, word by word. keep: [n_head, n_q, n_k] or NULL (all). */
static void plain(const problem *p, const bool *keep, double *out, double *lse)
{
    const st_attn *a = &p->a;
    for (int h = 0; h < a->n_head; h++)
        for (int64_t i = 0; i < a->n_q; i++) {
            int g = h / (a->n_head / a->n_kv_head);
            double *s = malloc((size_t)a->n_k * sizeof *s), top = -INFINITY, sum = 0.0;
            double sink = a->sinks != NULL ? (double)a->sinks[h] : -INFINITY;
            int64_t lo = a->lo != NULL ? a->lo[i] : 0;
            int64_t hi = a->bias != NULL ? a->n_k
                         : a->hi != NULL ? a->hi[i]
                                         : a->first_query + i + 1;
            double *o = out + (h * a->n_q + i) * a->d_v;
            for (int64_t j = 0; j < a->n_k; j++) {
                s[j] = 0.0;
                for (int c = 0; c < a->d_k; c++)
                    s[j] += (double)p->q[(h * a->n_q + i) * a->d_k + c] *
                            p->k[(g * a->n_k + j) * a->d_k + c];
                s[j] *= (double)a->scale;
                if (a->softcap > 0)
                    s[j] = (double)a->softcap * tanh(s[j] / (double)a->softcap);
                if (a->bias != NULL)
                    s[j] += (a->slope != NULL ? (double)a->slope[h] : 1.0) *
                            (double)sti_f16_f32(a->bias[i * a->n_k + j]);
                if (j < lo || j >= hi || (keep != NULL && !keep[(h * a->n_q + i) * a->n_k + j]))
                    s[j] = -INFINITY;
                top = fmax(top, s[j]);
            }
            top = fmax(top, sink);
            for (int64_t j = 0; top > -INFINITY && j < a->n_k; j++)
                sum += exp(s[j] - top);
            sum += top > -INFINITY ? exp(sink - top) : 0.0;
            lse[h * a->n_q + i] = sum > 0 ? top + log(sum) : -INFINITY;
            for (int c = 0; c < a->d_v; c++) {
                o[c] = 0.0;
                for (int64_t j = 0; sum > 0 && j < a->n_k; j++)
                    o[c] += exp(s[j] - top) / sum * p->v[(g * a->n_k + j) * a->d_v + c];
            }
            free(s);
        }
}

struct result {
    float *out, *lse, *mass;
    double *want_out, *want_lse;
    st_attend_out o;
};

static struct result result_new(const st_attn *a, int64_t nnz)
{
    size_t rows = (size_t)(a->n_head * a->n_q);
    struct result r = {
        malloc(rows * (size_t)a->d_v * 4), malloc(rows * 4), malloc((size_t)nnz * 4 + 1),
        malloc(rows * (size_t)a->d_v * 8), malloc(rows * 8), {0}};
    r.o = (st_attend_out){.out = r.out,
                          .stride_tok = a->d_v,
                          .stride_head = a->n_q * a->d_v,
                          .lse = r.lse,
                          .mass = nnz > 0 ? r.mass : NULL};
    return r;
}

static void result_free(struct result *r)
{
    free(r->out);
    free(r->lse);
    free(r->mass);
    free(r->want_out);
    free(r->want_lse);
}

static bool agrees(const st_attn *a, const struct result *r)
{
    double worst = 0.0;
    for (int64_t i = 0; i < a->n_head * a->n_q; i++) {
        if (r->want_lse[i] == -INFINITY ? r->lse[i] != -INFINITY
                                        : !(fabs(r->lse[i] - r->want_lse[i]) < tolerance))
            return false;
        for (int c = 0; c < a->d_v; c++)
            worst = fmax(worst, fabs(r->out[i * a->d_v + c] - r->want_out[i * a->d_v + c]));
    }
    worst_seen = fmax(worst_seen, worst);
    return worst < tolerance;
}

/* A problem with one of the features: window, sinks, softcap, several sequences, nothing visible.
 */
static problem featured(int which, int32_t **lo, int32_t **hi, float **sinks)
{
    int group = 1 + problem_below(4), kv = 1 + problem_below(3);
    int64_t n_k = 1 + problem_below(300), n_q = 1 + problem_below((int)n_k);
    problem p =
        make_problem(group * kv, kv, n_q, n_k, 1 + problem_below(80), 1 + problem_below(80));
    *lo = calloc((size_t)n_q, sizeof **lo);
    *hi = calloc((size_t)n_q, sizeof **hi);
    *sinks = problem_fill(p.a.n_head, true);
    if (which == 1 || which == 3)
        p.a.sinks = *sinks;
    if (which == 2)
        p.a.softcap = 5.0f;
    for (int64_t i = 0; i < n_q; i++) {
        int64_t hi_i = p.a.first_query + i + 1;
        (*hi)[i] = (int32_t)(which == 5 && i % 7 == 0 ? 0 : hi_i);
        (*lo)[i] = (int32_t)(which == 3 ? sti_max(hi_i - 33, 0) : which == 4 ? hi_i / 3 * 2 : 0);
        (*lo)[i] = (int32_t)sti_min((*lo)[i], (*hi)[i]);
    }
    if (which >= 3) {
        p.a.lo = *lo;
        p.a.hi = *hi;
    }
    return p;
}

static void test_exact(st_pool *pool)
{
    for (int t = 0; t < 36; t++) {
        int32_t *lo, *hi;
        float *sinks;
        problem p = featured(t % 6, &lo, &hi, &sinks);
        struct result r = result_new(&p.a, 0);
        CHECK_STATUS(st_attend_exact(&p.a, pool, &r.o, NULL), ST_OK);
        plain(&p, NULL, r.want_out, r.want_lse);
        CHECK(agrees(&p.a, &r));
        result_free(&r);
        problem_free(&p);
        free(lo);
        free(hi);
        free(sinks);
    }
}

/* A random part of the visible blocks; attention over it equals exact attention under that mask. */
static void test_identities(st_pool *pool)
{
    for (int t = 0; t < 48; t++) {
        int32_t *lo, *hi;
        float *sinks;
        problem p = featured(t % 6, &lo, &hi, &sinks);
        int bq = 1 + problem_below(70), bk = 1 + problem_below(t % 4 == 0 ? 300 : 40);
        bool full = t % 2 == 0;
        st_selection *sel;
        struct result r;
        int64_t n = 0, begin = 0;
        bool *keep = calloc((size_t)(p.a.n_head * p.a.n_q * p.a.n_k), 1);
        CHECK_STATUS(st_select_all(&p.a, bq, bk, &sel, NULL), ST_OK);
        for (int64_t row = 0; row < sel->n_head * sel->nbq; row++) {
            int64_t end = sel->indptr[row + 1], qb = sel->first_blk + row % sel->nbq;
            for (int64_t i = begin; i < end; i++) {
                int32_t b = sel->indices[i];
                if (!full && problem_below(3) == 0)
                    continue;
                sel->indices[n++] = b;
                for (int64_t q = 0; q < p.a.n_q; q++)
                    if ((p.a.first_query + q) / bq == qb)
                        for (int64_t j = (int64_t)b * bk; j < sti_min((b + 1LL) * bk, p.a.n_k); j++)
                            keep[(row / sel->nbq * p.a.n_q + q) * p.a.n_k + j] = true;
            }
            begin = end;
            sel->indptr[row + 1] = n;
        }
        r = result_new(&p.a, n + 1);
        CHECK_STATUS(st_attend(&p.a, sel, pool, &r.o, NULL), ST_OK);
        plain(&p, full ? NULL : keep, r.want_out, r.want_lse);
        CHECK(agrees(&p.a, &r));
        if (full && !precise && t % 6 < 3) { /* whatever the blocks: exact, to the last bit */
            struct result exact = result_new(&p.a, 0);
            CHECK_STATUS(st_attend_exact(&p.a, pool, &exact.o, NULL), ST_OK);
            CHECK(memcmp(exact.out, r.out,
                         (size_t)(p.a.n_head * p.a.n_q * p.a.d_v) * sizeof *r.out) == 0);
            CHECK(memcmp(exact.lse, r.lse, (size_t)(p.a.n_head * p.a.n_q) * sizeof *r.lse) == 0);
            result_free(&exact);
        }
        /* mass: each row of a block that sees something gives 1, less what goes to the sink */
        for (int64_t row = 0;
             full && p.a.sinks == NULL && t % 6 != 5 && row < sel->n_head * sel->nbq; row++) {
            double sum = 0.0;
            for (int64_t i = sel->indptr[row]; i < sel->indptr[row + 1]; i++)
                sum += r.mass[i];
            CHECK(fabs(sum - 1.0) < 1e-4);
        }
        result_free(&r);
        st_selection_free(sel);
        free(keep);
        problem_free(&p);
        free(lo);
        free(hi);
        free(sinks);
    }
}

/* Keeps a random part of all blocks, of some query blocks nothing but the first. */
static st_selection *random_part(const st_attn *a, int bq, int bk)
{
    st_selection *sel;
    int64_t n = 0, begin = 0;
    CHECK_STATUS(st_select_all(a, bq, bk, &sel, NULL), ST_OK);
    for (int64_t row = 0; row < sel->n_head * sel->nbq; row++) {
        int64_t end = sel->indptr[row + 1];
        int of = 1 + problem_below(8);
        for (int64_t i = begin; i < end; i++)
            if (i == begin || problem_below(of) == 1)
                sel->indices[n++] = sel->indices[i];
        begin = end;
        sel->indptr[row + 1] = n;
    }
    return sel;
}

/* What a query block reads is nothing to its neighbours, to the last bit, nor are their NaNs. */
static void test_neighbours(st_pool *pool)
{
    for (int t = 0; t < 36; t++) {
        int32_t *lo, *hi, at[2] = {0};
        float *sinks;
        problem p = featured(t % 6, &lo, &hi, &sinks);
        int bq = 1 + problem_below(t % 3 ? 6 : 20), bk = 1 + problem_below(24), d_v = p.a.d_v;
        st_selection *sel = random_part(&p.a, bq, bk), one;
        int64_t nnz = sel->indptr[sel->n_head * sel->nbq];
        struct result r = result_new(&p.a, nnz + 1), own;
        p.q[problem_below((int)p.a.n_q) * p.a.d_k] = NAN;
        CHECK_STATUS(st_attend(&p.a, sel, pool, &r.o, NULL), ST_OK);
        for (int64_t task = 0; task < sel->n_head * sel->nbq; task++) {
            int64_t qb = sel->first_blk + task % sel->nbq, h = task / sel->nbq;
            int64_t row = sti_max(qb * bq - p.a.first_query, 0);
            int64_t n_row = sti_min((qb + 1) * bq - p.a.first_query, p.a.n_q) - row;
            int64_t indptr[] = {0, sel->indptr[task + 1] - sel->indptr[task]};
            int64_t group = p.a.n_head / p.a.n_kv_head;
            st_attn a = p.a;
            a.q = st_rows_contiguous(p.q + (h * a.n_q + row) * a.d_k, ST_DTYPE_F32, n_row, a.d_k);
            a.k.data = p.k + h / group * a.n_k * a.d_k;
            a.v.data = p.v + h / group * a.n_k * a.d_v;
            a.n_head = a.n_kv_head = 1;
            a.n_q = n_row;
            a.first_query += row;
            a.lo = a.lo != NULL ? a.lo + row : NULL;
            a.hi = a.hi != NULL ? a.hi + row : NULL;
            a.sinks = a.sinks != NULL ? a.sinks + h : NULL;
            one = *sel;
            one.n_head = one.nbq = 1;
            one.first_blk = qb;
            one.indptr = indptr;
            one.indices = sel->indices + sel->indptr[task];
            own = result_new(&a, indptr[1] + 1);
            CHECK_STATUS(st_attend(&a, &one, pool, &own.o, NULL), ST_OK);
            at[0] += memcmp(own.out, r.out + (h * p.a.n_q + row) * d_v,
                            (size_t)(n_row * d_v) * sizeof *r.out) != 0;
            at[0] += memcmp(own.lse, r.lse + h * p.a.n_q + row, (size_t)n_row * 4) != 0;
            at[1] += memcmp(own.mass, r.mass + sel->indptr[task], (size_t)indptr[1] * 4) != 0;
            result_free(&own);
        }
        CHECK_EQ(at[0], 0);
        CHECK_EQ(at[1], 0);
        result_free(&r);
        st_selection_free(sel);
        problem_free(&p);
        free(lo);
        free(hi);
        free(sinks);
    }
}

/* edit.h's definition: whether row i of head h may read key j. */
static bool may_read(const st_attn *a, int h, int64_t i, int64_t j)
{
    bool kept = false, named = false;
    for (int64_t e = 0; e < a->n_edit; e++) {
        const st_edit *x = &a->edit[e];
        int64_t at = a->first_query + i;
        bool key = j >= x->key_begin && j < x->key_end;
        if ((x->head >= 0 && x->head != h) || at < x->q_begin || at >= x->q_end)
            continue;
        if (x->kind == ST_EDIT_DENY && key)
            return false;
        kept = kept || x->kind == ST_EDIT_KEEP;
        named = named || (x->kind == ST_EDIT_KEEP && key);
    }
    return named || !kept;
}

static int64_t random_edits(const st_attn *a, st_edit *edit, int64_t n)
{
    for (int64_t e = 0; e < n; e++) {
        int64_t q = a->first_query + problem_below((int)a->n_q), k = problem_below((int)a->n_k);
        edit[e] = (st_edit){.kind = problem_below(2) ? ST_EDIT_KEEP : ST_EDIT_DENY,
                            .layer = 99, /* not looked at */
                            .head = problem_below(a->n_head + 1) - 1,
                            .q_begin = q,
                            .q_end = q + 1 + problem_below(40),
                            .key_begin = k,
                            .key_end = k + 1 + problem_below(60)};
    }
    return n;
}

/* Keys of selected blocks that the edits leave, as plain wants them; and that blocks which are to
 * be kept were added. */
static void edited_mask(const st_attn *a, const st_selection *sel, bool *keep)
{
    for (int h = 0; h < a->n_head; h++)
        for (int64_t i = 0; i < a->n_q; i++) {
            int64_t at = a->first_query + i, row = h * sel->nbq + at / sel->bq - sel->first_blk;
            int64_t lo = a->lo != NULL ? a->lo[i] : 0, hi = a->hi != NULL ? a->hi[i] : at + 1;
            bool *x = keep + (h * a->n_q + i) * a->n_k;
            for (int64_t e = sel->indptr[row]; e < sel->indptr[row + 1]; e++)
                for (int64_t j = (int64_t)sel->indices[e] * sel->bk;
                     j < sti_min((sel->indices[e] + 1LL) * sel->bk, a->n_k); j++)
                    x[j] = may_read(a, h, i, j);
            for (int64_t e = 0; e < a->n_edit; e++)
                for (int64_t j = sti_max(a->edit[e].key_begin, lo);
                     a->edit[e].kind == ST_EDIT_KEEP && at >= a->edit[e].q_begin &&
                     at < a->edit[e].q_end && (a->edit[e].head < 0 || a->edit[e].head == h) &&
                     j < sti_min(a->edit[e].key_end, hi);
                     j++)
                    CHECK(x[j] == may_read(a, h, i, j));
        }
}

/* Under edits: exact attention, attention over a selection, and the certificate between them. */
static void test_edits(st_pool *pool)
{
    for (int t = 0; t < 36; t++) {
        int32_t *lo, *hi;
        float *sinks;
        problem p = featured(t % 6, &lo, &hi, &sinks);
        st_edit edit[8];
        st_select_params sp = st_select_params_default();
        st_selection *sel;
        bool *keep = calloc((size_t)(p.a.n_head * p.a.n_q * p.a.n_k), 1);
        struct result r;
        int64_t row = problem_below((int)p.a.n_q);
        float recall[16];
        double *exact;
        p.a.edit = edit;
        p.a.n_edit = random_edits(&p.a, edit, 1 + problem_below(8));
        for (int h = 0; h < p.a.n_head; h++)
            for (int64_t i = 0; i < p.a.n_q; i++)
                for (int64_t j = 0; j < p.a.n_k; j++)
                    keep[(h * p.a.n_q + i) * p.a.n_k + j] = may_read(&p.a, h, i, j);
        sp.bq = 1 + problem_below(40);
        sp.bk = 1 + problem_below(20);
        sp.k = st_select_min_k(&sp) + problem_below(4);
        CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &sel, NULL), ST_OK);
        CHECK_STATUS(st_selection_keep(sel, &p.a, NULL), ST_OK);
        r = result_new(&p.a, sel->indptr[sel->n_head * sel->nbq] + 1);
        r.o.mass = NULL;
        CHECK_STATUS(st_attend_exact(&p.a, pool, &r.o, NULL), ST_OK);
        plain(&p, keep, r.want_out, r.want_lse);
        CHECK(agrees(&p.a, &r));
        exact = malloc((size_t)(p.a.n_head * p.a.n_q) * sizeof *exact);
        memcpy(exact, r.want_lse, (size_t)(p.a.n_head * p.a.n_q) * sizeof *exact);
        memset(keep, 0, (size_t)(p.a.n_head * p.a.n_q * p.a.n_k));
        edited_mask(&p.a, sel, keep);
        r.o.mass = r.mass;
        CHECK_STATUS(st_attend(&p.a, sel, pool, &r.o, NULL), ST_OK);
        plain(&p, keep, r.want_out, r.want_lse);
        CHECK(agrees(&p.a, &r));
        CHECK_STATUS(st_certify(&p.a, sel, &r.o, &row, 1, pool, recall, NULL, NULL), ST_OK);
        for (int h = 0; h < p.a.n_head && p.a.sinks == NULL; h++) {
            double all = exact[h * p.a.n_q + row];
            if (all > -INFINITY)
                CHECK(fabs(recall[h] - exp(r.want_lse[h * p.a.n_q + row] - all)) < tolerance);
        }
        free(exact);
        result_free(&r);
        st_selection_free(sel);
        free(keep);
        problem_free(&p);
        free(lo);
        free(hi);
        free(sinks);
    }
}

static void test_bias(st_pool *pool)
{
    for (int t = 0; t < 8; t++) {
        problem p = make_problem(6, 2, 1 + problem_below(50), 50 + problem_below(100), 24, 16);
        uint16_t *bias = malloc((size_t)(p.a.n_q * p.a.n_k) * sizeof *bias);
        float slope[6];
        struct result r = result_new(&p.a, 0);
        st_selection *sel;
        for (int64_t i = 0; i < p.a.n_q * p.a.n_k; i++)
            bias[i] = problem_below(3) == 0 ? 0xfc00 : sti_f32_f16(problem_normal());
        for (int h = 0; h < 6; h++)
            slope[h] = 1.0f / (float)(1 + h);
        p.a.bias = bias;
        p.a.stride_bias_bytes = p.a.n_k * 2;
        p.a.slope = t % 2 ? slope : NULL;
        CHECK_STATUS(st_attend_exact(&p.a, pool, &r.o, NULL), ST_OK);
        plain(&p, NULL, r.want_out, r.want_lse);
        CHECK(agrees(&p.a, &r));
        /* the heaviest blocks: no more than asked, ascending, and the output stays exact */
        CHECK_STATUS(st_attend_exact_heaviest(&p.a, 8, 4, 5, pool, &r.o, &sel, NULL), ST_OK);
        CHECK(agrees(&p.a, &r));
        for (int64_t row = 0; row < sel->n_head * sel->nbq; row++) {
            CHECK(sel->indptr[row + 1] - sel->indptr[row] <= 5);
            for (int64_t i = sel->indptr[row] + 1; i < sel->indptr[row + 1]; i++)
                CHECK(sel->indices[i] > sel->indices[i - 1]);
        }
        st_selection_free(sel);
        result_free(&r);
        free(bias);
        problem_free(&p);
    }
}

/* All stored types give what F32 of the same numbers gives. */
static void test_types(st_pool *pool)
{
    problem p = make_problem(4, 2, 40, 200, 64, 32);
    int64_t nk = 2 * 200 * 64, nv = 2 * 200 * 32;
    uint16_t *k16 = malloc((size_t)nk * 2), *v16 = malloc((size_t)nv * 2);
    struct result a, b;
    for (int pass = 0; pass < 2; pass++) { /* F16, BF16 */
        for (int64_t i = 0; i < nk; i++) {
            k16[i] = pass ? (uint16_t)(sti_f32_bits(p.k[i]) >> 16) : sti_f32_f16(p.k[i]);
            p.k[i] = pass ? sti_bf16_f32(k16[i]) : sti_f16_f32(k16[i]);
        }
        for (int64_t i = 0; i < nv; i++) {
            v16[i] = pass ? (uint16_t)(sti_f32_bits(p.v[i]) >> 16) : sti_f32_f16(p.v[i]);
            p.v[i] = pass ? sti_bf16_f32(v16[i]) : sti_f16_f32(v16[i]);
        }
        a = result_new(&p.a, 0);
        b = result_new(&p.a, 0);
        CHECK_STATUS(st_attend_exact(&p.a, pool, &a.o, NULL), ST_OK);
        st_attn half = p.a;
        half.k = st_rows_contiguous(k16, pass ? ST_DTYPE_BF16 : ST_DTYPE_F16, 200, 64);
        half.v = st_rows_contiguous(v16, pass ? ST_DTYPE_BF16 : ST_DTYPE_F16, 200, 32);
        CHECK_STATUS(st_attend_exact(&half, pool, &b.o, NULL), ST_OK);
        CHECK(memcmp(a.out, b.out, (size_t)(4 * 40 * 32) * 4) == 0);
        result_free(&a);
        result_free(&b);
    }
    free(k16);
    free(v16);
    problem_free(&p);
}

static void test_certify(st_pool *pool)
{
    problem p = make_problem(6, 2, 100, 400, 32, 16);
    st_select_params sp = st_select_params_default();
    st_selection *sel, *all;
    int64_t rows[] = {0, 31, 32, 57, 99};
    float recall[6 * 5], err_rel[6 * 5];
    struct result r;
    sp.k = 6;
    CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &sel, NULL), ST_OK);
    CHECK_STATUS(st_select_all(&p.a, sp.bq, sp.bk, &all, NULL), ST_OK);
    r = result_new(&p.a, all->indptr[all->n_head * all->nbq]);
    CHECK_STATUS(st_attend(&p.a, all, pool, &r.o, NULL), ST_OK);
    CHECK_STATUS(st_certify(&p.a, all, &r.o, rows, 5, pool, recall, err_rel, NULL), ST_OK);
    for (int i = 0; i < 30; i++)
        CHECK(recall[i] > 0.9999f && err_rel[i] < (float)tolerance);
    r.o.mass = NULL;
    CHECK_STATUS(st_attend(&p.a, sel, pool, &r.o, NULL), ST_OK);
    CHECK_STATUS(st_certify(&p.a, sel, &r.o, rows, 5, pool, recall, err_rel, NULL), ST_OK);
    plain(&p, NULL, r.want_out, r.want_lse);
    for (int i = 0; i < 30; i++) {
        /* recall = exp(sparse lse - exact lse); error as defined */
        int64_t row = i / 5 * 100 + rows[i % 5];
        double diff = 0.0, norm = 0.0;
        for (int c = 0; c < 16; c++) {
            diff += pow(r.out[row * 16 + c] - r.want_out[row * 16 + c], 2);
            norm += pow(r.want_out[row * 16 + c], 2);
        }
        CHECK(fabs(recall[i] - exp(r.lse[row] - r.want_lse[row])) < tolerance);
        CHECK(fabs(err_rel[i] - sqrt(diff / norm)) < 1e-3);
        CHECK(recall[i] < 0.9999f); /* something was pruned, or the test shows nothing */
    }
    rows[4] = 100;
    CHECK_STATUS(st_certify(&p.a, sel, &r.o, rows, 5, pool, recall, err_rel, NULL),
                 ST_ERR_ARG);
    result_free(&r);
    st_selection_free(sel);
    st_selection_free(all);
    problem_free(&p);
}

/* NaN in the input comes out as NaN, not as a number that looks sound. */
static void test_nan(st_pool *pool)
{
    problem p = make_problem(2, 1, 20, 60, 16, 8);
    struct result r = result_new(&p.a, 0);
    p.q[3 * 16 + 2] = NAN;
    CHECK_STATUS(st_attend_exact(&p.a, pool, &r.o, NULL), ST_OK);
    CHECK(isnan(r.out[3 * 8]) && !isnan(r.out[4 * 8]));
    result_free(&r);
    problem_free(&p);
}

static void test_errors(void)
{
    problem p = make_problem(2, 1, 10, 20, 8, 8);
    struct result r = result_new(&p.a, 0);
    st_selection *sel;
    st_error err;
    st_attn bad = p.a;
    CHECK_STATUS(st_select_all(&p.a, 4, 4, &sel, NULL), ST_OK);
    sel->indices[1] = sel->indices[0];
    CHECK_STATUS(st_attend(&p.a, sel, NULL, &r.o, &err), ST_ERR_ARG);
    CHECK_EQ(err.position, 1);
    sel->indices[1] = 500;
    CHECK_STATUS(st_attend(&p.a, sel, NULL, &r.o, &err), ST_ERR_ARG);
    st_selection_free(sel);
    bad.n_head = 3;
    bad.n_kv_head = 2;
    CHECK_STATUS(st_attend_exact(&bad, NULL, &r.o, &err), ST_ERR_ARG);
    bad = p.a;
    bad.first_query = 11;
    CHECK_STATUS(st_attend_exact(&bad, NULL, &r.o, &err), ST_ERR_ARG);
    bad = p.a;
    bad.v.data = NULL;
    CHECK_STATUS(st_attend_exact(&bad, NULL, &r.o, &err), ST_ERR_ARG);
    bad = p.a;
    bad.d_k = 4096;
    CHECK_STATUS(st_attend_exact(&bad, NULL, &r.o, &err), ST_ERR_ARG);
    result_free(&r);
    problem_free(&p);
}

int main(void)
{
    st_pool *pool;
    CHECK_LEVEL();
    CHECK_STATUS(st_pool_create(3, &pool, NULL), ST_OK);
    for (int i = 0; i < 2; i++) {
        precise = i == 0;
        tolerance = precise ? 1e-5 : 1e-3;
        worst_seen = 0.0;
        test_exact(pool);
        test_identities(pool);
        test_neighbours(pool);
        test_bias(pool);
        test_edits(pool);
        test_types(pool);
        test_certify(pool);
        test_nan(pool);
        printf("%s: outputs within %.2g\n", precise ? "F32" : "fixed point", worst_seen);
    }
    test_errors();
    st_pool_free(pool);
    return check_report();
}
