/* SPDX-License-Identifier: MIT
 *
 * oracle.c — method `exact`: F32 attention mass of every block on every row of the query block.
 * What all estimators are measured against.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"
#include "select/mass.h"
#include "select/methods.h"

#define R 32

/* Rows [row, row + n) of head h, scaled, into the tile qt [d, 32]. */
static void fill_tile(float *qt, float *tmp, const st_attn *a, int h, int64_t row, int n)
{
    memset(qt, 0, (size_t)a->d_k * R * sizeof *qt);
    for (int r = 0; r < n; r++) {
        sti_read_row(tmp, &a->q, h, row + r, a->d_k);
        for (int c = 0; c < a->d_k; c++)
            qt[c * R + r] = tmp[c] * a->scale;
    }
}

/* Mass of block b on the tile's rows: max [32], sum [32]. s: [bk, 32]. */
static void block_mass(const sti_work *w, float *max, float *sum, float *s, const float *qt,
                       float *key_buf, int kv, int64_t b, int64_t row, int n)
{
    const st_attn *a = w->a;
    int64_t key = b * w->p->bk, n_key = sti_min(w->p->bk, a->n_k - key), ld;
    const float *k = sti_read_rows(key_buf, &a->k, kv, key, n_key, a->d_k, &ld);
    sti_kernels()->qk_f32_r32(s, qt, k, n_key, a->d_k, ld);
    if (a->softcap > 0.0f)
        sti_kernels()->softcap_f32_r32(s, n_key, a->softcap);
    for (int r = 0; r < R; r++) {
        int64_t lo = r < n ? sti_row_lo(a, row + r) : 0, hi = r < n ? sti_row_hi(a, row + r) : 0;
        for (int64_t j = 0; j < n_key; j++)
            if (key + j < lo || key + j >= hi)
                s[j * R + r] = -INFINITY;
        max[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    sti_kernels()->max_f32_r32(max, s, n_key);
    sti_kernels()->expsum_f32_r32(s, sum, max, n_key);
}

/* Adds each visible block's share of a row's mass, summed over the tile's rows, to share [n_blk].
 */
static void add_shares(double *share, const float *max_r, const float *sum_r, int64_t n_blk,
                       const float *sink, int n)
{
    for (int r = 0; r < n; r++) {
        float top = sink != NULL ? *sink : -INFINITY;
        double total;
        for (int64_t b = 0; b < n_blk; b++)
            top = max_r[b * R + r] > top ? max_r[b * R + r] : top;
        if (top == -INFINITY)
            continue;
        total = sink != NULL ? exp((double)*sink - top) : 0.0;
        for (int64_t b = 0; b < n_blk; b++)
            total += sum_r[b * R + r] * exp((double)max_r[b * R + r] - top);
        for (int64_t b = 0; b < n_blk; b++)
            share[b] += sum_r[b * R + r] * exp((double)max_r[b * R + r] - top) / total;
    }
}

/* A mass budget sees one lane: the mean share over all rows. */
static int64_t keep_by_share(sti_work *w, const sti_frame *f, const double *share, int32_t *kept)
{
    int64_t n = sti_frame_candidates(f);
    float always[R16] = {0};
    for (int64_t b = f->blk_lo; b < f->blk_hi; b++) {
        float mean = (float)(share[b - f->blk_lo] / f->n_row);
        if (b < f->cand_lo || b >= f->cand_hi) {
            always[0] += mean;
            continue;
        }
        w->score[b - f->cand_lo] = mean;
        w->t_r[(b - f->cand_lo) * R16] = mean;
    }
    n = sti_keep(w, f, w->t_r, always, 0, 1, n, kept);
    for (int64_t i = 0; i < n; i++)
        kept[i] += (int32_t)f->cand_lo;
    return n;
}

int64_t sti_select_exact(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    const st_attn *a = w->a;
    int64_t n_blk = f->blk_hi - f->blk_lo, n_kept = -1;
    float *qt = sti_alloc((size_t)a->d_k * (R + 1) * sizeof *qt);
    float *s = sti_alloc((size_t)w->p->bk * R * sizeof *s);
    float *key_buf = sti_alloc((size_t)w->p->bk * (size_t)a->d_k * sizeof *key_buf);
    float *max_r = sti_alloc((size_t)n_blk * R * sizeof *max_r);
    float *sum_r = sti_alloc((size_t)n_blk * R * sizeof *sum_r);
    double *share = sti_calloc((size_t)n_blk * sizeof *share);
    if (qt && s && key_buf && max_r && sum_r && share && sti_work_reserve(w, n_blk)) {
        for (int64_t row = f->row0; row < f->row0 + f->n_row; row += R) {
            int n = (int)sti_min(R, f->row0 + f->n_row - row);
            fill_tile(qt, qt + a->d_k * R, a, h, row, n);
            for (int64_t b = 0; b < n_blk; b++)
                block_mass(w, max_r + b * R, sum_r + b * R, s, qt, key_buf, sti_kv_head(a, h),
                           f->blk_lo + b, row, n);
            add_shares(share, max_r, sum_r, n_blk, a->sinks != NULL ? &a->sinks[h] : NULL, n);
        }
        n_kept = keep_by_share(w, f, share, kept);
    }
    sti_free(qt);
    sti_free(s);
    sti_free(key_buf);
    sti_free(max_r);
    sti_free(sum_r);
    sti_free(share);
    return n_kept;
}
